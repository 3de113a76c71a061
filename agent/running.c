/* SPDX-License-Identifier: Apache-2.0 */
/* running.c: see running.h. One GET of HTTP/1.0, whose answer ends with the connection. */
#include "agent/running.h"

#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_MAX ((size_t)1024 * 1024)
#define REQUEST_MAX ((size_t)16 * 1024) /* a path of 4 KiB, each byte as %XX */

/* "host:port", ":port", "[::1]:port"; no host is this one. -1: nobody is there. */
static int
connect_to(const char *listen)
{
    const struct timeval patience = {.tv_sec = 2};
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char host[256];
    const char *colon = strrchr(listen, ':');
    size_t size = colon == NULL ? 0 : (size_t)(colon - listen);
    if (colon == NULL || size >= sizeof(host))
        return -1;
    bool bracketed = size > 2 && listen[0] == '[' && listen[size - 1] == ']';
    memcpy(host, listen + bracketed, size - 2U * bracketed);
    host[size - 2U * bracketed] = '\0';
    if (getaddrinfo(host[0] == '\0' ? NULL : host, colon + 1, &hints, &found) != 0)
        return -1;
    int fd = -1;
    for (const struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
        if (fd < 0)
            continue;
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        if (connect(fd, at->ai_addr, at->ai_addrlen) == 0)
            break;
        (void)close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

static bool
send_request(int fd, const char *path)
{
    struct buffer request;
    buffer_init(&request, REQUEST_MAX);
    buffer_text(&request, "GET /explain?path=");
    for (const unsigned char *at = (const unsigned char *)path; *at != '\0'; at++)
        buffer_format(&request, "%%%02X", *at);
    buffer_text(&request, " HTTP/1.0\r\nHost: localhost\r\n\r\n");
    bool sent = !request.failed &&
                send(fd, request.bytes, request.size, MSG_NOSIGNAL) == (ssize_t)request.size;
    buffer_done(&request);
    return sent;
}

bool
running_explain(const char *listen, const char *path, struct buffer *out)
{
    int fd = connect_to(listen);
    if (fd < 0)
        return false;
    struct buffer answer;
    buffer_init(&answer, ANSWER_MAX);
    char bytes[4096];
    ssize_t got = send_request(fd, path) ? recv(fd, bytes, sizeof(bytes), 0) : -1;
    for (; got > 0; got = recv(fd, bytes, sizeof(bytes), 0))
        buffer_append(&answer, bytes, (size_t)got);
    (void)close(fd);
    const char *text = buffer_string(&answer);
    const char *status = strchr(text, ' ');
    const char *body = strstr(text, "\r\n\r\n");
    bool fine = !answer.failed && got == 0 && strncmp(text, "HTTP/", 5) == 0 && body != NULL &&
                status != NULL && strncmp(status, " 200 ", 5) == 0;
    if (fine)
        buffer_text(out, body + 4);
    buffer_done(&answer);
    return fine;
}
