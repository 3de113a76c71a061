/* SPDX-License-Identifier: Apache-2.0 */
/* progress.h: what a consumer group has committed, asked for by a client that never joins it. One
 * thread; asking waits for the brokers. rd_kafka_ListConsumerGroupOffsets() would need no client of
 * the group, but can abort the process when a coordinator is lost (librdkafka 2.0.2, and later
 * ones: "Assertion `eonce->refcnt > 0' failed"). */
#ifndef SINKS_RECEIPTS_PROGRESS_H
#define SINKS_RECEIPTS_PROGRESS_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"
#include "core/err.h"
#include "sinks/options.h"

struct progress {
    const struct sink_options *options; /* its routes name the topics */
    rd_kafka_t *client;
    struct route_progress {
        int64_t *committed; /* by partition; -1: not known */
        size_t count;
    } * routes;
};
bool progress_init(struct progress *progress, const struct sink_options *options,
                   struct err *err) MUST_CHECK;
void progress_done(struct progress *progress);

/* For each question: what is wanted, once or more often, then asked for together. */
void progress_begin(struct progress *progress, rd_kafka_topic_partition_list_t **list);
void progress_want(struct progress *progress, rd_kafka_topic_partition_list_t *list, size_t route,
                   int32_t partition);
bool progress_ask(struct progress *progress, rd_kafka_topic_partition_list_t *list,
                  int timeout_ms) MUST_CHECK; /* frees the list */

/* As waiting_tick() wants it. */
int64_t progress_committed(const void *progress, size_t route, int32_t partition);

#endif
