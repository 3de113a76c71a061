/* SPDX-License-Identifier: Apache-2.0 */
/* shelf.h: the dead-letter topics of a configuration, read from their first record to where they
 * end now, and what of them was sent back already. That is remembered as the offsets of a consumer
 * group of its own, <group_id>-dead-letters, which nobody joins: its lag is what waits. One thread;
 * all calls may wait for the brokers. */
#ifndef SINKS_REPLAY_SHELF_H
#define SINKS_REPLAY_SHELF_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "sinks/options.h"
#include "sinks/replay/ledger.h"

struct shelf;

/* One partition of a dead-letter topic. */
struct shelf_partition {
    char *topic; /* owned */
    int32_t id;
    int64_t first; /* the oldest record that is still there */
    int64_t end;   /* where it ended when it was opened */
    int64_t next;  /* what was read so far */
    struct ledger sent;
    bool changed; /* since the ledger was last kept */
};

/* Looks for the dead-letter topics of all routes, or of the one from `topic`, and reads what was
 * sent back. The names of topics that are not there are appended to `missing`. ERR_CONFIG: no such
 * route. `needs_ledger` false: goes on without what it cannot read. */
bool shelf_open(struct shelf **out, const struct sink_options *options, const char *topic,
                bool needs_ledger, struct buffer *missing, struct err *err) MUST_CHECK;
void shelf_close(struct shelf *shelf); /* NULL is fine */

/* The next record and where it stands; the message is the caller's. `*message` NULL: that was
 * all. */
bool shelf_next(struct shelf *shelf, rd_kafka_message_t **message, struct shelf_partition **place,
                struct err *err) MUST_CHECK;

/* Keeps what changed, together with what others have kept meanwhile. `*left`: letters that it has
 * no room for; they are forgotten. */
bool shelf_keep(struct shelf *shelf, uint64_t *left, struct err *err) MUST_CHECK;

const char *shelf_group(const struct shelf *shelf);

/* A consumer's client for the verb, also for other topics; `group` as group.id. */
bool shelf_client_new(rd_kafka_t **out, const struct sink_options *options, const char *group,
                      struct err *err) MUST_CHECK;

#endif
