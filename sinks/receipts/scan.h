/* SPDX-License-Identifier: Apache-2.0 */
/* scan.h: reads stretches of topics from where to where one wants, for people who wait: no group is
 * joined, nothing is committed. One thread; every call may wait for the brokers. */
#ifndef SINKS_RECEIPTS_SCAN_H
#define SINKS_RECEIPTS_SCAN_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "sinks/options.h"

/* One partition: what of it is to be read. */
struct stretch {
    const char *topic; /* borrowed */
    int32_t partition;
    int64_t low;  /* the oldest record that is still there */
    int64_t next; /* what comes next; the owner may set it before the reading begins */
    int64_t end;  /* where it ended when it was looked at */
};
struct stretches {
    struct stretch *items; /* owned */
    size_t count;
};
void stretches_done(struct stretches *stretches);

/* A consumer's client of the sinks' group, of which it is no member. */
bool scan_client_new(rd_kafka_t **out, const struct sink_options *options,
                     struct err *err) MUST_CHECK;
void scan_client_free(rd_kafka_t *client); /* NULL is fine */

/* Adds all partitions of the topic, to be read from the first record that was written at `since_ms`
 * or later. ERR_REJECT: the topic does not exist. */
bool scan_add_topic(rd_kafka_t *client, const char *topic, int64_t since_ms, struct stretches *out,
                    struct err *err) MUST_CHECK;

/* Calls `take` for every record, in the order of each partition; false from it ends the reading,
 * `err` is its own. */
typedef bool scan_take(void *context, const rd_kafka_message_t *message, struct err *err);
bool scan_read(rd_kafka_t *client, struct stretches *stretches, scan_take *take, void *context,
               struct err *err) MUST_CHECK;

/* What the sinks' group has committed of each stretch, -1: nothing. */
bool scan_committed(rd_kafka_t *client, const struct stretches *stretches, int64_t *out,
                    struct err *err) MUST_CHECK;

#endif
