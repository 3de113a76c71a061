/* SPDX-License-Identifier: Apache-2.0 */
/* counters.h: the pipeline's numbers as metrics. The routes' own counters are the truth; a page
 * shows them as of one moment, so that consumed = finished + in flight holds on every page. */
#ifndef SINKS_COUNTERS_H
#define SINKS_COUNTERS_H

#include <stdint.h>

struct bulk;
struct err;
struct pipeline;

void counters_open(struct pipeline *pipeline);
/* Once a turn. */
void counters_publish(struct pipeline *pipeline);
/* A bulk came back, its documents not sorted yet. */
void counters_note_bulk(struct pipeline *pipeline, const struct bulk *bulk, const struct err *err,
                        uint64_t now_ms);
/* Now and then: what waits in Kafka. */
void counters_measure_lag(struct pipeline *pipeline);

#endif
