/* SPDX-License-Identifier: Apache-2.0 */
/* server.h: how to talk to the nodes of one cluster (credentials, authorities, time limits), and
 * small requests that wait for their answer. Bulks in flight are output.c's. */
#ifndef SINKS_ELASTICSEARCH_SERVER_H
#define SINKS_ELASTICSEARCH_SERVER_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/err.h"
#include "sinks/elasticsearch/nodes.h"
#include "sinks/options.h"

/* A waiting request holds the data loop, so it is given little time. */
#define SERVER_ASK_TIMEOUT_MS 5000

struct server {
    struct nodes nodes;
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

/* An answer that says nothing about the request: the node, or the proxy before it, cannot. */
bool server_is_away(long status);

/* One request, waiting for the answer; tries each node once. `body` NULL: none. False with
 * ERR_RETRY when no node answered; any HTTP status is an answer, but while there are other nodes,
 * those are asked first when one is away. */
bool server_request(struct server *server, const char *method, const char *path, const char *body,
                    struct buffer *answer, int *status, struct err *err) MUST_CHECK;
/* The same: GET without a body, PUT with one. */
bool server_ask(struct server *server, const char *path, const char *body, struct buffer *answer,
                int *status, struct err *err) MUST_CHECK;

/* Notes that a node failed what it was asked at `asked_ms`, and writes why: "cannot reach http://…:
 * Connection refused" with curl's own words, or the HTTP status it answered. */
void server_failed(struct server *server, size_t node, CURLcode code, long status,
                   const char *detail, uint64_t asked_ms, struct err *err);

#endif
