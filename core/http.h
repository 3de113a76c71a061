/* SPDX-License-Identifier: Apache-2.0 */
/* http.h: the embedded endpoint (libmicrohttpd), on one thread of its own. GET and HEAD only;
 * gzip when the client accepts it and it helps. /metrics, /healthz and /readyz are built in; the
 * program adds its own pages, which come first. Handlers run on the endpoint's thread. */
#ifndef CORE_HTTP_H
#define CORE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/err.h"
#include "core/metrics.h"

struct ask;
struct health;
struct http;
struct http_request;

/* A body that is made while it is sent, so that it is nowhere as a whole. Embedded in what knows
 * how; on the endpoint's thread. */
struct http_stream {
    uint64_t size;     /* of all of it */
    size_t block_size; /* the room that read() needs, unless less is left */
    /* The bytes that come next, at most `max`; how many. 0: it cannot go on, the connection is
     * closed. */
    size_t (*read)(struct http_stream *stream, char *out, size_t max);
    void (*free)(struct http_stream *stream);
};

struct http_response {
    int status;                 /* 200 to begin with */
    const char *content_type;   /* a literal; "text/plain; charset=utf-8" to begin with */
    struct buffer body;         /* limit HTTP_BODY_MAX */
    bool packed;                /* the body is gzip already; only if http_takes_gzip() */
    struct http_stream *stream; /* NULL, or taken and sent instead of the body */
};

/* The value of a query parameter, decoded, "" when it has none, NULL when absent; valid in the
 * handler. */
const char *http_query(const struct http_request *request, const char *name);

/* All values of a parameter that may be given more than once ("collect[]"), at most `max`; how many
 * there are. */
size_t http_query_all(const struct http_request *request, const char *name, const char **values,
                      size_t max);
/* A header of the request, "" when absent. */
const char *http_header(const struct http_request *request, const char *name);
bool http_takes_gzip(const struct http_request *request);
/* Which form of a metrics page the client wants, and the type to say for it. */
enum metric_page http_metrics_form(const struct http_request *request, const char **content_type);

typedef void http_handler(void *context, const struct http_request *request,
                          struct http_response *response);

struct http_page {
    const char *path; /* "/status" */
    http_handler *handler;
    void *context;
};

/* `listen` is "host:port", ":port", "[::1]:port"; port 0 takes a free one (http_port tells which).
 * False with ERR_CONFIG for a bad address, ERR_STOP when the port is taken, naming it. `pages` is
 * borrowed for life. */
bool http_new(struct http **out, const char *listen, struct metrics *metrics, struct health *health,
              const struct http_page *pages, size_t page_count, struct err *err) MUST_CHECK;
/* Whether `listen` is well formed, or "off"; nothing is opened or resolved. ERR_CONFIG. */
bool http_check_listen(const char *listen, struct err *err) MUST_CHECK;
void http_free(struct http *http); /* waits for running handlers; NULL is fine */
unsigned http_port(const struct http *http);

/* Fills the answer with what the data loop says; 503 and the reason when it does not answer. */
void http_ask(struct ask *ask, const char *question, struct http_response *response);

/* Appends text with & < > " ' made harmless. */
void http_escape_html(struct buffer *out, const char *text);

#endif
