/* SPDX-License-Identifier: Apache-2.0 */
/* server.c: see server.h. */
#include "sinks/elasticsearch/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/clock.h"

#define SECRET_MAX 4096 /* bytes of a password or key file's first line */
#define CONNECT_TIMEOUT_MS 5000L

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

/* The options' check has seen the address. */
static bool
add_node(struct server *server, const char *url, struct err *err)
{
    size_t size = strlen(url);
    while (url[size - 1] == '/')
        size--;
    char *copy = strndup(url, size);
    if (copy == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot keep an address: out of memory");
    server->nodes[server->node_count++].url = copy;
    return true;
}

bool
server_init(struct server *server, const struct sink_elasticsearch_options *options,
            struct err *err)
{
    *server = (struct server){.ca_file = options->ca_file};
    if (options->urls.count == 0)
        return err_set(err, ERR_CONFIG, 0, "elasticsearch.urls is empty");
    server->nodes = calloc(options->urls.count, sizeof(*server->nodes));
    if (server->nodes == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot keep addresses: out of memory");
    for (size_t i = 0; i < options->urls.count; i++)
        if (!add_node(server, options->urls.items[i], err))
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
    for (size_t i = 0; i < server->node_count; i++)
        free(server->nodes[i].url);
    free(server->nodes);
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
        code = curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
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

size_t
server_pick(struct server *server, uint64_t now_ms)
{
    ASSERT(server->node_count > 0);

    size_t best = server->next % server->node_count;
    for (size_t i = 0; i < server->node_count; i++) {
        size_t candidate = (server->next + i) % server->node_count;
        if (server->nodes[candidate].down_until_ms <= now_ms) {
            best = candidate;
            break;
        }
        if (server->nodes[candidate].down_until_ms < server->nodes[best].down_until_ms)
            best = candidate;
    }
    server->next = (best + 1) % server->node_count;
    return best;
}

void
server_note(struct server *server, size_t node, bool fine, uint64_t now_ms)
{
    ASSERT(node < server->node_count);

    struct server_node *it = &server->nodes[node];
    if (fine) {
        it->failures = 0;
        it->down_until_ms = 0;
        return;
    }
    unsigned doublings = it->failures < 5 ? it->failures : 5;
    uint64_t pause_ms = (uint64_t)SERVER_DOWN_MIN_MS << doublings;
    it->failures++;
    it->down_until_ms = now_ms + (pause_ms < SERVER_DOWN_MAX_MS ? pause_ms : SERVER_DOWN_MAX_MS);
}

void
server_error(struct err *err, const char *url, CURLcode code, const char *detail)
{
    err_put_set(err, ERR_RETRY, 0, "cannot reach %s: %s", url,
                detail[0] != '\0' ? detail : curl_easy_strerror(code));
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
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)SERVER_ASK_TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, server->headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_ask_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, detail);
    if (body != NULL)
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
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
    /* It holds the loop: nodes that hang share one wait. The next time another one is asked. */
    uint64_t deadline_ms = clock_monotonic_ms() + SERVER_ASK_TIMEOUT_MS;
    for (size_t tries = 0; tries < server->node_count && !answered; tries++) {
        if (tries > 0 && clock_monotonic_ms() >= deadline_ms)
            break;
        size_t node = server_pick(server, clock_monotonic_ms());
        char detail[CURL_ERROR_SIZE] = "";
        char *url;
        if (asprintf(&url, "%s%s", server->nodes[node].url, path) < 0) {
            err_put_set(err, ERR_RETRY, 0, "cannot prepare a request: out of memory");
            break;
        }
        CURLcode code = ask_node(server, easy, method, url, body, answer, detail);
        answered = code == CURLE_OK;
        server_note(server, node, answered, clock_monotonic_ms());
        if (!answered)
            server_error(err, server->nodes[node].url, code, detail);
        free(url);
    }
    if (answered) {
        long response = 0;
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &response);
        *status = (int)response;
    }
    curl_easy_cleanup(easy);
    return answered;
}

bool
server_ask(struct server *server, const char *path, const char *body, struct buffer *answer,
           int *status, struct err *err)
{
    return server_request(server, body == NULL ? "GET" : "PUT", path, body, answer, status, err);
}
