/* SPDX-License-Identifier: Apache-2.0 */
/* retention.h: deletes the daily indices of a route that are older than its retention. Only what
 * carries our _meta in its mapping and has exactly a name that the route makes; never when this
 * clock and the server's differ, for a clock that has jumped ahead would delete everything. */
#ifndef SINKS_ELASTICSEARCH_RETENTION_H
#define SINKS_ELASTICSEARCH_RETENTION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

struct output_retention;
struct server;
struct sink_route_options;

/* At most one index, the oldest. */
bool retention_delete_index(struct server *server, const struct sink_route_options *route,
                            int64_t wall_ms, struct output_retention *out,
                            struct err *err) MUST_CHECK;

#endif
