/* SPDX-License-Identifier: Apache-2.0 */
/* server.c: see server.h. */
#include "sinks/elasticsearch/server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/assert.h"
#include "core/clock.h"

#define SECRET_MAX 4096 /* bytes of a password or key file's first line */
#define CONNECT_TIMEOUT_MS 5000L
#define UNACKNOWLEDGED_MAX_MS 30000
#define KEEPALIVE_IDLE_S 15L
#define KEEPALIVE_INTERVAL_S 5L
#define IDLE_CONNECTION_MAX_S 50L /* balancers close idle connections after 60 s and more */

/* The first line of a file, without its end; the text is never put into a message. */
static bool
read_secret(const char *path, char **out, struct err *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return err_errno(err, ERR_CONFIG, errno, "read '%s'", path);
    char line[SECRET_MAX];
    bool got = fgets(line, sizeof(line), file) != NULL;
    (void)fclose(file);
    if (got)
        line[strcspn(line, "\r\n")] = '\0';
    if (!got || line[0] == '\0')
        return err_set(err, ERR_CONFIG, 0, "cannot use '%s': its first line is empty", path);
    *out = strdup(line);
    explicit_bzero(line, sizeof(line));
    return *out != NULL || err_set(err, ERR_STOP, ENOMEM, "cannot keep a secret: out of memory");
}

static bool
load_credentials(struct server *server, const struct sink_elasticsearch_options *options,
                 struct err *err)
{
    char *secret = NULL;
    if (options->api_key_file[0] != '\0') {
        if (!read_secret(options->api_key_file, &secret, err))
            return err_wrap(err, "elasticsearch.api_key_file");
        int size = asprintf(&server->authorization, "Authorization: ApiKey %s", secret);
        free(secret);
        return size > 0 || err_set(err, ERR_STOP, ENOMEM, "cannot keep a key: out of memory");
    }
    if (options->username[0] == '\0')
        return true;
    if (options->password_file[0] == '\0')
        return err_set(err, ERR_CONFIG, 0,
                       "elasticsearch.username needs elasticsearch.password_file beside it");
    if (!read_secret(options->password_file, &secret, err))
        return err_wrap(err, "elasticsearch.password_file");
    int size = asprintf(&server->user_password, "%s:%s", options->username, secret);
    free(secret);
    return size > 0 || err_set(err, ERR_STOP, ENOMEM, "cannot keep a password: out of memory");
}

bool
server_init(struct server *server, const struct sink_elasticsearch_options *options,
            struct err *err)
{
    *server = (struct server){.ca_file = options->ca_file};
    if (options->urls.count == 0)
        return err_set(err, ERR_CONFIG, 0, "elasticsearch.urls is empty");
    if (!nodes_init(&server->nodes, options->urls.items, options->urls.count, err))
        return false;
    if (!load_credentials(server, options, err))
        return false;
    server->headers = server_headers(server, "application/json", false);
    if (server->headers == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot keep headers: out of memory");
    return true;
}

void
server_done(struct server *server)
{
    nodes_done(&server->nodes);
    if (server->user_password != NULL)
        explicit_bzero(server->user_password, strlen(server->user_password));
    if (server->authorization != NULL)
        explicit_bzero(server->authorization, strlen(server->authorization));
    free(server->user_password);
    free(server->authorization);
    curl_slist_free_all(server->headers);
    *server = (struct server){0};
}

struct curl_slist *
server_headers(const struct server *server, const char *content_type, bool gzip)
{
    char type[128];
    int size = snprintf(type, sizeof(type), "Content-Type: %s", content_type);
    ASSERT(size > 0 && (size_t)size < sizeof(type));

    const char *lines[] = {type, "Accept: application/json",
                           "Expect:", gzip ? "Content-Encoding: gzip" : NULL,
                           server->authorization};
    struct curl_slist *list = NULL;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (lines[i] == NULL)
            continue;
        struct curl_slist *longer = curl_slist_append(list, lines[i]);
        if (longer == NULL) {
            curl_slist_free_all(list);
            return NULL;
        }
        list = longer;
    }
    return list;
}

/* A connection that a firewall or a balancer forgot takes what is sent and answers nothing, not
 * even a reset: the kernel gives it up after these times instead of the request's own, long one. */
static int
on_socket(void *context, curl_socket_t fd, curlsocktype purpose)
{
    (void)context;
    (void)purpose;
    int limit_ms = UNACKNOWLEDGED_MAX_MS;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit_ms, sizeof(limit_ms));
    return CURL_SOCKOPT_OK;
}

static CURLcode
keep_alive(CURL *easy)
{
    CURLcode code = curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, IDLE_CONNECTION_MAX_S);
    /* One name may stand for many nodes: each new connection begins with another one. */
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_DNS_SHUFFLE_ADDRESSES, 1L);
    return code;
}

bool
server_set_up(const struct server *server, CURL *easy)
{
    CURLcode code = curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    if (code == CURLE_OK)
        code = keep_alive(easy);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_USERAGENT, "tailrace-sink/" TAILRACE_VERSION);
    if (code == CURLE_OK && server->ca_file[0] != '\0')
        code = curl_easy_setopt(easy, CURLOPT_CAINFO, server->ca_file);
    if (code == CURLE_OK && server->user_password != NULL) {
        code = curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        if (code == CURLE_OK)
            code = curl_easy_setopt(easy, CURLOPT_USERPWD, server->user_password);
    }
    return code == CURLE_OK;
}

bool
server_is_away(long status)
{
    return status == 502 || status == 503 || status == 504;
}

void
server_failed(struct server *server, size_t node, CURLcode code, long status, const char *detail,
              uint64_t asked_ms, struct err *err)
{
    if (code == CURLE_OK)
        err_put_set(err, ERR_RETRY, (int)status, "%s answers HTTP %ld",
                    server->nodes.items[node].url, status);
    else
        err_put_set(err, ERR_RETRY, 0, "cannot reach %s: %s", server->nodes.items[node].url,
                    detail[0] != '\0' ? detail : curl_easy_strerror(code));
    nodes_failed(&server->nodes, node, err->text, asked_ms, clock_monotonic_ms());
}

static size_t
on_ask_bytes(char *bytes, size_t one, size_t size, void *context)
{
    struct buffer *answer = context;
    buffer_append(answer, bytes, size);
    return answer->failed ? 0 : one * size;
}

static CURLcode
ask_node(const struct server *server, CURL *easy, const char *method, const char *url,
         const char *body, struct buffer *answer, char *detail)
{
    buffer_clear(answer);
    /* Those that are copied need memory; refused, they would leave those of the last request. */
    CURLcode code = curl_easy_setopt(easy, CURLOPT_URL, url);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    if (code != CURLE_OK)
        return code;
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)SERVER_ASK_TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, server->headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_ask_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, detail);
    if (body != NULL)
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    return curl_easy_perform(easy);
}

bool
server_request(struct server *server, const char *method, const char *path, const char *body,
               struct buffer *answer, int *status, struct err *err)
{
    CURL *easy = curl_easy_init();
    if (easy == NULL || !server_set_up(server, easy)) {
        curl_easy_cleanup(easy);
        return err_set(err, ERR_RETRY, 0, "cannot prepare a request: out of memory");
    }
    bool answered = false;
    long response = 0;
    /* It holds the loop: nodes that hang share one wait. The next time another one is asked. */
    uint64_t deadline_ms = clock_monotonic_ms() + SERVER_ASK_TIMEOUT_MS;
    for (size_t tries = 0; tries < server->nodes.count; tries++) {
        uint64_t asked_ms = clock_monotonic_ms();
        if (tries > 0 && asked_ms >= deadline_ms)
            break;
        size_t node = nodes_pick(&server->nodes);
        char detail[CURL_ERROR_SIZE] = "";
        char *url;
        if (asprintf(&url, "%s%s", server->nodes.items[node].url, path) < 0) {
            err_put_set(err, ERR_RETRY, 0, "cannot prepare a request: out of memory");
            break;
        }
        CURLcode code = ask_node(server, easy, method, url, body, answer, detail);
        free(url);
        answered = code == CURLE_OK;
        response = 0;
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &response);
        if (answered && !server_is_away(response)) {
            nodes_answered(&server->nodes, node, -1);
            break;
        }
        server_failed(server, node, code, response, detail, asked_ms, err);
    }
    if (answered)
        *status = (int)response;
    curl_easy_cleanup(easy);
    return answered;
}

bool
server_ask(struct server *server, const char *path, const char *body, struct buffer *answer,
           int *status, struct err *err)
{
    return server_request(server, body == NULL ? "GET" : "PUT", path, body, answer, status, err);
}
