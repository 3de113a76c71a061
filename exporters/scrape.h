/* SPDX-License-Identifier: Apache-2.0 */
/* scrape.h: the metrics page of both lanes. The host's collectors are read, the remote ones' pages
 * taken as they are, and the frame says of each how it went. `collect[]` and `exclude[]` in the
 * query choose collectors by name. On the endpoint's thread. */
#ifndef EXPORTERS_SCRAPE_H
#define EXPORTERS_SCRAPE_H

#include "core/err.h"
#include "core/http.h"

struct host_lane;
struct left_out;
struct remote_lane;
struct scrape;

/* All are borrowed; `host` may be NULL. */
struct scrape_parts {
    struct metrics *metrics;
    struct host_lane *host;
    struct remote_lane *remotes;
    struct left_out *left_out;
};

bool scrape_new(struct scrape **out, const struct scrape_parts *parts, struct err *err) MUST_CHECK;
void scrape_free(struct scrape *scrape); /* NULL is fine */

/* An http_handler with a scrape as its context. */
void scrape_serve(void *context, const struct http_request *request,
                  struct http_response *response);

#endif
