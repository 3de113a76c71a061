/* SPDX-License-Identifier: Apache-2.0 */
/* counters.h: the pipeline's numbers as metrics. The routes' own counters are the truth; a page
 * shows them as of one moment, so that consumed = finished + in flight holds on every page. */
#ifndef SINKS_COUNTERS_H
#define SINKS_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

struct bulk;
struct err;
struct pipeline;
struct route;

void counters_open(struct pipeline *pipeline);
/* Once a turn. */
void counters_publish(struct pipeline *pipeline);
/* A bulk came back; so many of its documents are stored. */
void counters_note_bulk(struct pipeline *pipeline, const struct bulk *bulk, const struct err *err,
                        size_t passed, uint64_t now_ms);
/* Its oldest event has this time. */
void counters_note_age(struct pipeline *pipeline, const struct route *route, int64_t timestamp_ms);
/* Now and then: what waits in Kafka. */
void counters_measure_lag(struct pipeline *pipeline);

#endif
