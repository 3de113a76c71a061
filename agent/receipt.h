/* SPDX-License-Identifier: Apache-2.0 */
/* receipt.h: what Kafka has acknowledged of one range of one life of a file.
 * A life's receipts follow each other without a gap, each from the byte where the one before ended,
 * and are made of committed batches alone; so a byte that no receipt covers was not delivered, or
 * its receipt is missing, and both can be seen. What is not acknowledged of them yet is written
 * into the state with every progress, so that a kill between the two loses none:
 *
 *     ── acknowledged ──┬── sent ──┬── open ──► committed
 *                       └──────────┴─ these two, as one range, in the state
 *
 * After a crash that range is sent as one receipt. When `sent` had arrived all the same, there are
 * two with the same beginning, and the longer one holds: a receipt is only sent when the state has
 * its end on disk, so the later one is never the shorter. */
#ifndef AGENT_RECEIPT_H
#define AGENT_RECEIPT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/event_id.h"

struct generation;
struct journal_fields;

struct receipt {
    uint64_t from, to; /* bytes of the life */
    uint64_t events;
    uint64_t lines; /* ends of lines in them; a long line's parts are several events */
    uint64_t parts; /* events that are no whole line */
    uint64_t empty; /* lines that were skipped because they are empty */
    uint64_t zeros; /* bytes that were skipped because no line begins with them */
    int32_t partition;
    int64_t first, last; /* Kafka's offsets of the events; -1: there are none */
    bool scattered;      /* in more than one partition, or Kafka did not tell where */
    int64_t since_ms;    /* wall time when the first of them was sent */
    const char *topic;   /* its own, behind it */

    /* On its way; agent/receipts.c. */
    struct generation *generation;   /* whose it is; NULL: it has gone on, or is gone */
    struct receipt *next, *previous; /* of the open ones or of the sent ones, oldest first */
    uint64_t opened_ms, retry_at_ms;
    uint64_t durable_at; /* number of the state that must be on disk before it is sent */
    char *message;       /* owned: key and value; NULL while it is open */
    uint32_t key_size, value_size;
    bool flying;
    bool counted; /* in the size of the state's snapshot */
};

/* With room for the topic's name; freed by free(). NULL when memory is short. */
struct receipt *receipt_new(const char *topic);

/* What Kafka said of one record: where it is. */
struct receipt_place {
    int32_t partition;
    int64_t first, last; /* -1: none so far */
    bool scattered;
};
void receipt_place_add(struct receipt_place *place, int32_t partition, int64_t offset);

/* Takes in where a batch is, and the range that follows. */
void receipt_add_place(struct receipt *receipt, const struct receipt_place *place);
void receipt_join(struct receipt *receipt, const struct receipt *next);

/* The range that the state has to remember for the life: sent and open as one. Its `topic` is
 * borrowed from them. False: none. */
bool receipt_owed(const struct generation *generation, struct receipt *out);

/* The fields of the state's record, behind the id. receipt_take() is false when they mean
 * nonsense. */
void receipt_put(struct buffer *payload, const struct generation *generation);
bool receipt_take(struct generation *generation, struct journal_fields *fields);

/* For whoever frees the life: nobody waits for its receipts any more. */
void receipt_let_go(struct generation *generation);

#endif
