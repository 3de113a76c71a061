/* SPDX-License-Identifier: Apache-2.0 */
/* http.c: see http.h. libmicrohttpd runs one thread with epoll; a handler builds its whole answer
 * before the first byte goes out, so a slow client holds memory, never the thread. */
#include "core/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "core/ask.h"
#include "core/assert.h"
#include "core/health.h"
#include "core/metrics.h"

#define HTTP_TIMEOUT_S 30  /* a connection that does nothing for so long is closed */
#define HTTP_BACKLOG 1024  /* connections that wait to be accepted: a thousand scrapes at once */
#define GZIP_SIZE_MIN 1024 /* below, the header costs more than it saves */
#define HTTP_MAGIC 0x74687470U

struct http {
    unsigned magic;
    struct MHD_Daemon *daemon;
    struct metrics *metrics;
    struct health *health;
    const struct http_page *pages;
    size_t page_count;
    unsigned port;
};

struct http_request {
    struct MHD_Connection *connection;
};

const char *
http_query(const struct http_request *request, const char *name)
{
    const char *value = NULL;
    size_t size = 0;
    if (MHD_lookup_connection_value_n(request->connection, MHD_GET_ARGUMENT_KIND, name,
                                      strlen(name), &value, &size) != MHD_YES)
        return NULL;
    return value == NULL ? "" : value;
}

struct query_all {
    const char *name;
    const char **values;
    size_t count, max;
};

static enum MHD_Result
on_argument(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct query_all *query = cls;
    (void)kind;
    if (strcmp(name, query->name) == 0 && query->count < query->max)
        query->values[query->count++] = value == NULL ? "" : value;
    return MHD_YES;
}

size_t
http_query_all(const struct http_request *request, const char *name, const char **values,
               size_t max)
{
    struct query_all query = {.name = name, .values = values, .max = max};
    (void)MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, on_argument,
                                    &query);
    return query.count;
}

/* "q=0.75" in thousandths; 1000 for a text that is no weight. */
static int
read_weight(const char *text)
{
    int weight = text[0] == '1' ? 1000 : 0;
    if ((text[0] != '0' && text[0] != '1') || text[1] != '.')
        return text[0] == '0' ? 0 : 1000;
    int digit_value = 100;
    for (const char *at = text + 2; *at >= '0' && *at <= '9' && digit_value > 0; at++) {
        weight += (*at - '0') * digit_value;
        digit_value /= 10;
    }
    return weight > 1000 ? 1000 : weight;
}

/* The weight that an Accept-like header gives to a word: 0 when absent or refused, else up to 1000.
 * Of several entries of the word, as Prometheus sends for versions, the greatest counts. */
static int
header_weight(const char *header, const char *word)
{
    size_t size = strlen(word);
    int greatest = 0;
    for (const char *at = header; *at != '\0';) {
        at += strspn(at, ", \t");
        size_t entry = strcspn(at, ",");
        int weight = 1000;
        for (const char *part = memchr(at, ';', entry); part != NULL;
             part = memchr(part, ';', (size_t)(at + entry - part))) {
            part += 1 + strspn(part + 1, " \t");
            if ((part[0] == 'q' || part[0] == 'Q') && part[1] == '=')
                weight = read_weight(part + 2);
        }
        if (strcspn(at, ";, \t") == size && strncasecmp(at, word, size) == 0 && weight > greatest)
            greatest = weight;
        at += entry;
    }
    return greatest;
}

const char *
http_header(const struct http_request *request, const char *name)
{
    const char *value = MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
    return value == NULL ? "" : value;
}

bool
http_takes_gzip(const struct http_request *request)
{
    return header_weight(http_header(request, MHD_HTTP_HEADER_ACCEPT_ENCODING), "gzip") > 0;
}

enum metric_page
http_metrics_form(const struct http_request *request, const char **content_type)
{
    const char *accept = http_header(request, MHD_HTTP_HEADER_ACCEPT);
    int open = header_weight(accept, "application/openmetrics-text");
    if (open > 0 && open >= header_weight(accept, "text/plain")) {
        *content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        return METRIC_PAGE_OPENMETRICS;
    }
    *content_type = "text/plain; version=0.0.4; charset=utf-8";
    return METRIC_PAGE_TEXT;
}

static void
serve_not_found(const struct http *http, struct http_response *response)
{
    response->status = MHD_HTTP_NOT_FOUND;
    buffer_text(&response->body, "no such page; there are: /metrics /healthz /readyz");
    for (size_t i = 0; i < http->page_count; i++)
        if (strcmp(http->pages[i].path, "/metrics") != 0) /* a program may have its own */
            buffer_format(&response->body, " %s", http->pages[i].path);
    buffer_text(&response->body, "\n");
}

static void
route(struct http *http, const struct http_request *request, const char *path,
      struct http_response *response)
{
    for (size_t i = 0; i < http->page_count; i++)
        if (strcmp(http->pages[i].path, path) == 0) {
            http->pages[i].handler(http->pages[i].context, request, response);
            return;
        }
    if (strcmp(path, "/metrics") == 0) {
        enum metric_page form = http_metrics_form(request, &response->content_type);
        metrics_render(http->metrics, form, &response->body);
        return;
    }
    if (strcmp(path, "/healthz") == 0) {
        if (!health_alive(http->health, &response->body))
            response->status = MHD_HTTP_SERVICE_UNAVAILABLE;
        return;
    }
    if (strcmp(path, "/readyz") == 0) {
        bool local = http_query(request, "local") != NULL;
        if (!health_ready(http->health, local, &response->body))
            response->status = MHD_HTTP_SERVICE_UNAVAILABLE;
        return;
    }
    serve_not_found(http, response);
}

/* Replaces the body by its gzip form; false, and the body as it was, when that does not help. */
static bool
compress_body(struct buffer *body)
{
    z_stream stream = {0};
    if (deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    struct buffer packed;
    buffer_init(&packed, HTTP_BODY_MAX);
    char *room = buffer_reserve(&packed, body->size);
    bool done = false;
    if (room != NULL) {
        stream.next_in = (Bytef *)body->bytes;
        stream.avail_in = (uInt)body->size;
        stream.next_out = (Bytef *)room;
        stream.avail_out = (uInt)body->size;
        done = deflate(&stream, Z_FINISH) == Z_STREAM_END;
        packed.size = stream.total_out;
    }
    (void)deflateEnd(&stream);
    if (!done) {
        buffer_done(&packed);
        return false;
    }
    buffer_done(body);
    *body = packed;
    return true;
}

/* Whether more than half of the places are taken. */
static bool
is_crowded(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *own =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_DAEMON);
    const union MHD_DaemonInfo *all =
        own == NULL ? NULL : MHD_get_daemon_info(own->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return all != NULL && all->num_connections > HTTP_CONNECTIONS_MAX / 2;
}

static ssize_t
read_stream(void *cls, uint64_t at, char *out, size_t max)
{
    struct http_stream *stream = cls;
    (void)at; /* in their order, each once */
    size_t size = stream->read(stream, out, max);
    return size > 0 ? (ssize_t)size : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void
free_stream(void *cls)
{
    struct http_stream *stream = cls;
    stream->free(stream);
}

/* Takes the body and the stream. */
static struct MHD_Response *
make_answer(struct http_response *response)
{
    struct http_stream *stream = response->stream;
    struct MHD_Response *answer =
        stream != NULL ? MHD_create_response_from_callback(stream->size, stream->block_size,
                                                           read_stream, stream, free_stream)
                       : MHD_create_response_from_buffer(response->body.size, response->body.bytes,
                                                         MHD_RESPMEM_MUST_FREE);
    if (answer == NULL && stream != NULL)
        stream->free(stream);
    if (answer == NULL || stream != NULL)
        buffer_done(&response->body);
    return answer;
}

static enum MHD_Result
send_response(const struct http_request *request, struct http_response *response)
{
    struct MHD_Connection *connection = request->connection;
    if (response->body.failed && response->stream != NULL) {
        response->stream->free(response->stream);
        response->stream = NULL;
    }
    if (response->body.failed) {
        buffer_clear(&response->body);
        response->packed = false;
        response->status = MHD_HTTP_INTERNAL_SERVER_ERROR;
        response->content_type = "text/plain; charset=utf-8";
        buffer_text(&response->body, "the answer is too large, or memory is short\n");
    }
    bool packed = response->packed || (response->body.size >= GZIP_SIZE_MIN &&
                                       http_takes_gzip(request) && compress_body(&response->body));

    struct MHD_Response *answer = make_answer(response);
    if (answer == NULL)
        return MHD_NO; /* closes the connection */
    (void)MHD_add_response_header(answer, MHD_HTTP_HEADER_CONTENT_TYPE, response->content_type);
    (void)MHD_add_response_header(answer, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(answer, MHD_HTTP_HEADER_VARY, "Accept-Encoding");
    (void)MHD_add_response_header(answer, "X-Content-Type-Options", "nosniff");
    if (is_crowded(connection)) /* kept connections must not keep others out */
        (void)MHD_add_response_header(answer, MHD_HTTP_HEADER_CONNECTION, "close");
    if (packed)
        (void)MHD_add_response_header(answer, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
    if (response->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(answer, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, (unsigned)response->status, answer);
    MHD_destroy_response(answer);
    return result;
}

static enum MHD_Result
on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
           const char *version, const char *upload, size_t *upload_size, void **con_cls)
{
    struct http *http = cls;
    ASSERT(http->magic == HTTP_MAGIC);
    (void)version;
    (void)upload;

    struct http_request request = {.connection = connection};
    struct http_response response = {
        .status = MHD_HTTP_OK,
        .content_type = "text/plain; charset=utf-8",
    };
    buffer_init(&response.body, HTTP_BODY_MAX);
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        response.status = MHD_HTTP_METHOD_NOT_ALLOWED; /* before its body is sent */
        buffer_text(&response.body, "only GET and HEAD\n");
        return send_response(&request, &response);
    }

    /* The first call has the headers only; a body, if any, is read and thrown away before the
     * answer. */
    static int seen;
    if (*con_cls == NULL) {
        *con_cls = &seen;
        return MHD_YES;
    }
    if (*upload_size > 0) {
        *upload_size = 0;
        return MHD_YES;
    }
    route(http, &request, url, &response);
    return send_response(&request, &response);
}

/* Splits "host:port", ":port", "[::1]:port". */
static bool
split_listen(const char *listen, char host[256], char port[8], struct err *err)
{
    const char *colon = strrchr(listen, ':');
    size_t host_size = colon == NULL ? 0 : (size_t)(colon - listen);
    if (colon == NULL || colon[1] == '\0')
        return err_set(err, ERR_CONFIG, 0,
                       "http.listen '%.200s' has no port; write \":PORT\" or \"127.0.0.1:PORT\"",
                       listen);
    if (strlen(colon + 1) > 5 || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strtoul(colon + 1, NULL, 10) > 65535)
        return err_set(err, ERR_CONFIG, 0,
                       "http.listen '%.200s' has a bad port; it is a number from 0 to 65535",
                       listen);
    bool bracketed = host_size > 2 && listen[0] == '[' && colon[-1] == ']';
    size_t odd = strcspn(listen + bracketed, bracketed ? "[] \t" : "[]: \t");
    if (host_size >= 256 || bracketed + odd < host_size - bracketed)
        return err_set(
            err, ERR_CONFIG, 0,
            "http.listen '%.200s' is no address; write an IPv6 address as \"[::1]:PORT\"", listen);
    memcpy(host, listen + bracketed, host_size - 2U * bracketed);
    host[host_size - 2U * bracketed] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return true;
}

/* A socket that listens on this address, -1 with errno. */
static int
listen_on(const struct addrinfo *info)
{
    int one = 1;
    int zero = 0;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
        (info->ai_family != AF_INET6 ||
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)) == 0) &&
        bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, HTTP_BACKLOG) == 0)
        return fd;
    int number = errno;
    (void)close(fd);
    errno = number;
    return -1;
}

/* A listening socket. An empty host is all addresses, IPv6 and IPv4 where the kernel has both; of a
 * name that has both, IPv4 is taken, which every client tries. */
static bool
open_socket(int *out, const char *listen_text, struct err *err)
{
    char host[256];
    char port[8];
    if (!split_listen(listen_text, host, port, err))
        return false;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &found);
    if (failed != 0)
        return err_set(err, ERR_CONFIG, 0, "http.listen '%.200s' cannot be resolved: %s",
                       listen_text, gai_strerror(failed));

    int number = 0;
    *out = -1;
    int first = host[0] == '\0' ? AF_INET6 : AF_INET;
    for (int pass = 0; pass < 2; pass++)
        for (const struct addrinfo *info = found; info != NULL && *out < 0; info = info->ai_next) {
            if ((info->ai_family == first) != (pass == 0))
                continue;
            *out = listen_on(info);
            number = *out < 0 ? errno : 0;
        }
    freeaddrinfo(found);
    if (*out >= 0)
        return true;
    (void)err_errno(err, ERR_STOP, number, "listen on '%.200s'", listen_text);
    if (number != EADDRINUSE)
        return false;
    struct err inner = *err;
    return err_set(err, ERR_STOP, number, "%.400s; another tailrace or program has it", inner.text);
}

bool
http_check_listen(const char *listen, struct err *err)
{
    char host[256];
    char port[8];
    return strcmp(listen, "off") == 0 || split_listen(listen, host, port, err);
}

static unsigned
socket_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {0};
    socklen_t size = sizeof(address);
    if (getsockname(fd, &address.any, &size) != 0)
        return 0;
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

bool
http_new(struct http **out, const char *listen, struct metrics *metrics, struct health *health,
         const struct http_page *pages, size_t page_count, struct err *err)
{
    ASSERT(metrics != NULL);
    ASSERT(health != NULL);

    int fd;
    if (!open_socket(&fd, listen, err))
        return false;
    struct http *http = calloc(1, sizeof(*http));
    if (http == NULL) {
        (void)close(fd);
        return err_set(err, ERR_STOP, 0, "cannot start the HTTP endpoint: out of memory");
    }
    *http = (struct http){
        .magic = HTTP_MAGIC,
        .metrics = metrics,
        .health = health,
        .pages = pages,
        .page_count = page_count,
        .port = socket_port(fd),
    };
    /* Signals are the program's: its thread must be the only one that gets them. */
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    http->daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, on_request, http,
                                    MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
                                    (unsigned)HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
                                    (unsigned)HTTP_TIMEOUT_S, MHD_OPTION_END);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (http->daemon == NULL) {
        (void)close(fd);
        free(http);
        return err_set(err, ERR_STOP, 0, "cannot start the HTTP endpoint on '%.200s'", listen);
    }
    *out = http;
    return true;
}

void
http_free(struct http *http)
{
    if (http == NULL)
        return;
    MHD_stop_daemon(http->daemon); /* closes the socket */
    http->magic = 0;
    free(http);
}

unsigned
http_port(const struct http *http)
{
    return http->port;
}

void
http_ask(struct ask *ask, const char *question, struct http_response *response)
{
    struct err err;
    if (ask_loop(ask, question, &response->body, &err))
        return;
    response->status = MHD_HTTP_SERVICE_UNAVAILABLE;
    response->content_type = "text/plain; charset=utf-8";
    buffer_clear(&response->body);
    buffer_format(&response->body, "%s\n", err.text);
}

void
http_escape_html(struct buffer *out, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            buffer_text(out, "&amp;");
            break;
        case '<':
            buffer_text(out, "&lt;");
            break;
        case '>':
            buffer_text(out, "&gt;");
            break;
        case '"':
            buffer_text(out, "&quot;");
            break;
        case '\'':
            buffer_text(out, "&#39;");
            break;
        default:
            buffer_append(out, text, 1);
        }
    }
}
