/* SPDX-License-Identifier: Apache-2.0 */
/* serve.h: the metrics page of a program that shows its host beside its own metrics. On the
 * endpoint's thread. */
#ifndef EXPORTERS_HOST_SERVE_H
#define EXPORTERS_HOST_SERVE_H

#include <stdint.h>

#include "core/err.h"
#include "core/http.h"
#include "exporters/host/host.h"

struct host_serve;

/* `metrics` is borrowed; `options` too, for life. */
bool host_serve_new(struct host_serve **out, const struct host_options *options,
                    struct metrics *metrics, struct err *err) MUST_CHECK;
void host_serve_free(struct host_serve *serve); /* NULL is fine */

/* An http_handler with a host_serve as context. */
void host_serve_metrics(void *context, const struct http_request *request,
                        struct http_response *response);

/* When the scrape's answer must be under way, by the monotonic clock: Prometheus says how long it
 * waits; some of it is for the way back. */
uint64_t host_serve_deadline_ms(const struct http_request *request);

#endif
