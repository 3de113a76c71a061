/* SPDX-License-Identifier: Apache-2.0 */
/* dial.c: see dial.h. */
#include "exporters/probe/dial.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"

#define TURN_MS 200 /* how soon the end of the program is seen */

bool
dial_split(const char *address, char host[256], char port[8], struct err *err)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL || colon == address || colon[1] == '\0' || strlen(colon + 1) > 5 ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return err_set(err, ERR_CONFIG, 0, "'%.200s' is no host:port", address);
    size_t size = (size_t)(colon - address);
    if (address[0] == '[' && size > 2 && address[size - 1] == ']') {
        address++;
        size -= 2;
    } else if (memchr(address, ':', size) != NULL) {
        return err_set(err, ERR_CONFIG, 0,
                       "'%.200s' is no host:port; write an IPv6 address as "
                       "[::1]:9092",
                       address);
    }
    if (size >= 256)
        return err_set(err, ERR_CONFIG, 0, "'%.100s' is too long for a host name", address);
    memcpy(host, address, size);
    host[size] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return true;
}

/* 0 when the connection stands, else errno; ETIMEDOUT when the round is over. */
static int
wait_connected(int fd, const struct remote_call *call)
{
    struct pollfd poller = {.fd = fd, .events = POLLOUT};
    for (;;) {
        uint64_t now_ms = clock_monotonic_ms();
        if (now_ms >= call->deadline_ms || atomic_load(call->stop))
            return ETIMEDOUT;
        uint64_t left_ms = call->deadline_ms - now_ms;
        int ready = poll(&poller, 1, left_ms < TURN_MS ? (int)left_ms : TURN_MS);
        if (ready == 0 || (ready < 0 && errno == EINTR))
            continue;
        int number = 0;
        socklen_t size = sizeof(number);
        if (ready < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &size) != 0)
            return errno;
        return number;
    }
}

static int
try_address(const struct addrinfo *info, const struct remote_call *call)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int number = connect(fd, info->ai_addr, info->ai_addrlen) == 0 ? 0 : errno;
    if (number == EINPROGRESS)
        number = wait_connected(fd, call);
    (void)close(fd);
    return number;
}

bool
dial_tcp(const char *address, const struct remote_call *call, struct err *err)
{
    char host[256];
    char port[8];
    if (!dial_split(address, host, port, err))
        return false;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(host, port, &hints, &found);
    if (failed != 0)
        return err_set(err, ERR_RETRY, 0, "cannot resolve '%s': %s", host, gai_strerror(failed));
    int number = ENOENT;
    for (const struct addrinfo *info = found; info != NULL && number != 0; info = info->ai_next)
        number = try_address(info, call);
    freeaddrinfo(found);
    if (number == ETIMEDOUT)
        return err_set(err, ERR_RETRY, number, "'%.200s' does not answer", address);
    return number == 0 || err_errno(err, ERR_RETRY, number, "connect to '%.200s'", address);
}
