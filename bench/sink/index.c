/* SPDX-License-Identifier: Apache-2.0 */
/* index.c: bench-index, a search server that costs next to nothing: it takes bulks, remembers
 * the hash of every id, and answers as a healthy server does. A thread for each connection.
 *     bench-index PORT [FAULTS_SEED | full]
 * With a seed 5 % of the bulks are refused with 429, 2 % with 503, and 0.5 % of the items with
 * 429; `full`: every bulk with 429. GET /_bench tells as JSON what came; POST /_bench forgets
 * it. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xxhash.h>

#include "bench/agent/client.h"

#define IDS_MAX (1U << 23) /* slots: twice what a run sends */
#define HEAD_MAX 65536
#define INFLATED_MAX (256U << 20)
#define ID_START "{\"create\":{\"_id\":\""

static struct {
    pthread_mutex_t lock;
    uint64_t *ids; /* open addressing, 0 is free */
    uint64_t documents, again, requests, refused, bytes;
    uint64_t faults; /* state of the generator, 0: none */
    bool full;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct text {
    char *bytes;
    size_t size, capacity;
};

struct connection {
    int fd;
    struct text in, out, plain;
    struct libdeflate_decompressor *inflate;
};

static void
text_append(struct text *text, const char *bytes, size_t size)
{
    while (text->size + size > text->capacity) {
        text->capacity = text->capacity == 0 ? HEAD_MAX : text->capacity * 2;
        text->bytes = realloc(text->bytes, text->capacity);
        if (text->bytes == NULL)
            fail("answer", "out of memory");
    }
    memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
}

/* One in `of`, when faults are wanted. */
static bool
strikes(uint64_t of)
{
    if (seen.faults == 0)
        return false;
    seen.faults ^= seen.faults << 13;
    seen.faults ^= seen.faults >> 7;
    seen.faults ^= seen.faults << 17;
    return seen.faults % of == 0;
}

/* False: it was there. */
static bool
remember(uint64_t hash)
{
    hash |= 1;
    for (size_t at = hash % IDS_MAX;; at = (at + 1) % IDS_MAX) {
        if (seen.ids[at] == hash)
            return false;
        if (seen.ids[at] == 0) {
            seen.ids[at] = hash;
            return true;
        }
    }
}

static void
answer(struct connection *connection, int status, const struct text *body)
{
    char head[256];
    int size = snprintf(head, sizeof(head),
                        "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: "
                        "%zu\r\n\r\n",
                        status, body->size);
    struct iovec parts[2] = {{.iov_base = head, .iov_len = (size_t)size},
                             {.iov_base = body->bytes, .iov_len = body->size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    while (parts[0].iov_len + parts[1].iov_len > 0) {
        ssize_t sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL);
        if (sent < 0)
            return;
        for (size_t i = 0; i < 2; i++) {
            size_t taken = (size_t)sent < parts[i].iov_len ? (size_t)sent : parts[i].iov_len;
            parts[i].iov_base = (char *)parts[i].iov_base + taken;
            parts[i].iov_len -= taken;
            sent -= (ssize_t)taken;
        }
    }
}

static void
answer_text(struct connection *connection, int status, const char *body)
{
    struct text text = {.bytes = (char *)(uintptr_t)body, .size = strlen(body)};
    answer(connection, status, &text);
}

static void
take_items(struct connection *connection, const char *body, size_t size)
{
    static const char created[] = "{\"create\":{\"status\":201}}";
    static const char there[] = "{\"create\":{\"status\":409,\"error\":{\"type\":"
                                "\"version_conflict_engine_exception\",\"reason\":\"there\"}}}";
    static const char full[] = "{\"create\":{\"status\":429,\"error\":{\"type\":"
                               "\"es_rejected_execution_exception\",\"reason\":\"full\"}}}";
    const char *end = body + size;
    bool first = true;
    static const char begin[] = "{\"took\":1,\"errors\":false,\"items\":[";
    connection->out.size = 0;
    text_append(&connection->out, begin, sizeof(begin) - 1);
    while (body < end) {
        const char *id = body + sizeof(ID_START) - 1;
        const char *quote = memchr(id, '"', (size_t)(end - id));
        const char *value = quote == NULL ? NULL : memchr(quote, '\n', (size_t)(end - quote));
        const char *next =
            value == NULL ? NULL : memchr(value + 1, '\n', (size_t)(end - value - 1));
        if (next == NULL || memcmp(body, ID_START, sizeof(ID_START) - 1) != 0)
            fail("bulk", "not two lines of create and document");
        if (!first)
            text_append(&connection->out, ",", 1);
        first = false;
        if (strikes(200)) {
            text_append(&connection->out, full, sizeof(full) - 1);
        } else if (remember(XXH3_64bits(id, (size_t)(quote - id)))) {
            seen.documents++;
            text_append(&connection->out, created, sizeof(created) - 1);
        } else {
            seen.again++;
            text_append(&connection->out, there, sizeof(there) - 1);
        }
        body = next + 1;
    }
    text_append(&connection->out, "]}", 2);
    answer(connection, 200, &connection->out);
}

static void
take_bulk(struct connection *connection, const char *body, size_t size, bool gzip)
{
    size_t plain = size;
    if (gzip) {
        if (connection->plain.bytes == NULL &&
            (connection->plain.bytes = malloc(INFLATED_MAX)) == NULL)
            fail("body", "out of memory");
        if (libdeflate_gzip_decompress(connection->inflate, body, size, connection->plain.bytes,
                                       INFLATED_MAX, &plain) != LIBDEFLATE_SUCCESS)
            fail("body", "no gzip");
        body = connection->plain.bytes;
    }
    pthread_mutex_lock(&seen.lock);
    seen.requests++;
    seen.bytes += size;
    if (seen.full || strikes(20)) {
        seen.refused++;
        answer_text(connection, 429,
                    "{\"error\":{\"type\":\"es_rejected_execution_exception\",\"reason\":"
                    "\"rejected execution of coordinating operation\"},\"status\":429}");
    } else if (strikes(50)) {
        seen.refused++;
        answer_text(connection, 503, "{\"error\":\"no master\",\"status\":503}");
    } else {
        take_items(connection, body, plain);
    }
    pthread_mutex_unlock(&seen.lock);
}

static void
tell(struct connection *connection, bool forget)
{
    char text[512];
    pthread_mutex_lock(&seen.lock);
    (void)snprintf(text, sizeof(text),
                   "{\"documents\":%" PRIu64 ",\"again\":%" PRIu64 ",\"requests\":%" PRIu64
                   ",\"refused\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
                   seen.documents, seen.again, seen.requests, seen.refused, seen.bytes);
    if (forget) {
        seen.documents = seen.again = seen.requests = seen.refused = seen.bytes = 0;
        memset(seen.ids, 0, IDS_MAX * sizeof(*seen.ids));
    }
    pthread_mutex_unlock(&seen.lock);
    answer_text(connection, 200, text);
}

static void
serve(struct connection *connection, const char *head, const char *body, size_t size)
{
    const char *path = strchr(head, ' ');
    bool get = strncmp(head, "GET ", 4) == 0;
    if (strstr(head, "/_bench") != NULL)
        tell(connection, !get);
    else if (path != NULL && strstr(path, "/_bulk") != NULL)
        take_bulk(connection, body, size, strcasestr(head, "content-encoding: gzip") != NULL);
    else if (strstr(head, "/_flush") != NULL)
        answer_text(connection, 200, "{\"_shards\":{\"total\":1,\"successful\":1,\"failed\":0}}");
    else if (get && path != NULL && strncmp(path, " / ", 3) == 0)
        answer_text(connection, 200,
                    "{\"name\":\"bench\",\"cluster_name\":\"bench\",\"version\":{\"number\":"
                    "\"7.17.29\",\"build_flavor\":\"default\"},\"tagline\":\"You Know, for "
                    "Search\"}");
    else if (get)
        answer_text(connection, 404,
                    "{\"error\":{\"type\":\"resource_not_found_exception\","
                    "\"reason\":\"bench\"},\"status\":404}");
    else
        answer_text(connection, 200, "{\"acknowledged\":true}");
}

/* One more read. False at the end. */
static bool
fill(struct connection *connection)
{
    static const char none[HEAD_MAX];
    size_t size = connection->in.size;
    text_append(&connection->in, none, sizeof(none)); /* makes room */
    ssize_t got =
        recv(connection->fd, connection->in.bytes + size, connection->in.capacity - size - 1, 0);
    connection->in.size = size + (got > 0 ? (size_t)got : 0);
    connection->in.bytes[connection->in.size] = '\0';
    return got > 0;
}

static void *
run_connection(void *context)
{
    struct connection *connection = context;
    for (;;) {
        char *end;
        while (connection->in.size == 0 || (end = strstr(connection->in.bytes, "\r\n\r\n")) == NULL)
            if (!fill(connection))
                goto over;
        size_t head = (size_t)(end - connection->in.bytes) + 4;
        end[2] = '\0';
        const char *length = strcasestr(connection->in.bytes, "content-length:");
        size_t size = length == NULL ? 0 : strtoul(length + 15, NULL, 10);
        while (connection->in.size < head + size)
            if (!fill(connection))
                goto over;
        serve(connection, connection->in.bytes, connection->in.bytes + head, size);
        connection->in.size -= head + size;
        memmove(connection->in.bytes, connection->in.bytes + head + size, connection->in.size);
        connection->in.bytes[connection->in.size] = '\0';
    }
over:
    close(connection->fd);
    free(connection->in.bytes);
    free(connection->out.bytes);
    free(connection->plain.bytes);
    libdeflate_free_decompressor(connection->inflate);
    free(connection);
    return NULL;
}

int
main(int argc, char **argv)
{
    if (argc < 2)
        fail("bench-index", "PORT [FAULTS_SEED | full]");
    seen.full = argc > 2 && strcmp(argv[2], "full") == 0;
    seen.faults = argc > 2 && !seen.full ? number(argv[2]) : 0;
    seen.ids = calloc(IDS_MAX, sizeof(*seen.ids));
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)number(argv[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (seen.ids == NULL || bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 64) != 0)
        fail("listen", strerror(errno));
    for (;;) {
        struct connection *connection = calloc(1, sizeof(*connection));
        pthread_t thread;
        if (connection == NULL)
            fail("accept", "out of memory");
        connection->fd = accept(listener, NULL, NULL);
        connection->inflate = libdeflate_alloc_decompressor();
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (connection->fd < 0 || connection->inflate == NULL ||
            pthread_create(&thread, NULL, run_connection, connection) != 0)
            fail("accept", strerror(errno));
        pthread_detach(thread);
    }
}
