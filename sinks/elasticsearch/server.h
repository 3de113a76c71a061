/* SPDX-License-Identifier: Apache-2.0 */
/* server.h: the nodes of one cluster, how to talk to them (credentials, authorities, time
 * limits), and small requests that wait for their answer. Bulks in flight are output.c's. */
#ifndef SINKS_ELASTICSEARCH_SERVER_H
#define SINKS_ELASTICSEARCH_SERVER_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/err.h"
#include "sinks/options.h"

/* A waiting request holds the data loop, so it is given little time. */
#define SERVER_ASK_TIMEOUT_MS 5000
/* A node that failed is left alone for this long, doubling with each failure. */
#define SERVER_DOWN_MIN_MS 1000
#define SERVER_DOWN_MAX_MS 30000

struct server_node {
    char *url; /* owned; without a '/' at the end */
    unsigned failures;
    uint64_t down_until_ms;
};

struct server {
    struct server_node *nodes;
    size_t node_count;
    size_t next;         /* node to try first */
    char *user_password; /* owned: "user:password", NULL for none */
    char *authorization; /* owned: "Authorization: ApiKey …", NULL for none */
    const char *ca_file; /* borrowed from the options */
    struct curl_slist *headers;
};

bool server_init(struct server *server, const struct sink_elasticsearch_options *options,
                 struct err *err) MUST_CHECK;
void server_done(struct server *server);

/* What every request has in common. False when memory is short. */
bool server_set_up(const struct server *server, CURL *easy) MUST_CHECK;
/* The headers for a request of this type, owned by the caller; NULL when memory is short. */
struct curl_slist *server_headers(const struct server *server, const char *content_type, bool gzip);

/* The node to ask now: the next one that is not down, else the one that comes back first. */
size_t server_pick(struct server *server, uint64_t now_ms);
void server_note(struct server *server, size_t node, bool fine, uint64_t now_ms);

/* One request, waiting for the answer; tries each node once. `body` NULL: none. False with
 * ERR_RETRY when no node answered; any HTTP status is an answer. */
bool server_request(struct server *server, const char *method, const char *path, const char *body,
                    struct buffer *answer, int *status, struct err *err) MUST_CHECK;
/* The same: GET without a body, PUT with one. */
bool server_ask(struct server *server, const char *path, const char *body, struct buffer *answer,
                int *status, struct err *err) MUST_CHECK;

/* "cannot reach http://…: Connection refused" with curl's own words. */
void server_error(struct err *err, const char *url, CURLcode code, const char *detail);

#endif
