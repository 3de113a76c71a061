/* SPDX-License-Identifier: Apache-2.0 */
/* receipt.h: what Kafka has acknowledged of one range of one life of a file.
 * A life's receipts follow each other without a gap, each from the byte where the one before ended,
 * and are made of committed batches alone; so a byte that no receipt covers was not delivered, or
 * its receipt is missing, and both can be seen. What is not acknowledged of them yet is owed: it is
 * in the state's record of every progress, so that a kill between the two loses none:
 *
 *     ── acknowledged ──┬── sent ──┬── open ──► committed
 *                       └──────────┴─ these two, as one range, in the state
 *
 * After a crash that range is sent as one receipt. When `sent` had arrived all the same, there are
 * two with the same beginning, and the longer one holds: a receipt is only sent when the state has
 * its end on disk, so the later one is never the shorter. Two that were sent are never put
 * together: both may have arrived. There is more than one where a range had to end before its time:
 * the input got another topic, or the position was moved. */
#ifndef AGENT_RECEIPT_H
#define AGENT_RECEIPT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/event_id.h"

/* Ranges that one life may owe, the open one among them: as many as its input's topic was changed,
 * or its position moved, while the control topic took nothing. */
#define RECEIPTS_OWED_MAX 8

struct generation;
struct journal_fields;

struct receipt {
    uint64_t from, to; /* bytes of the life */
    uint64_t events;
    uint64_t lines; /* newlines, but for empty lines; a long line's parts are several events, and a
                     * file's last line may be an event before its newline is there */
    uint64_t parts; /* events that are no whole line */
    uint64_t empty; /* lines that were skipped because they are empty */
    uint64_t zeros; /* bytes that were skipped because no line begins with them */
    int32_t partition;
    int64_t first, last; /* Kafka's offsets of the events; -1: there are none */
    bool scattered;      /* in more than one partition, or Kafka did not tell where */
    int64_t since_ms;    /* the earliest wall time at which one of them was sent */
    const char *topic;   /* its own, behind it */

    /* On its way; agent/receipts.c. */
    struct generation *generation;   /* whose it is; NULL: that is gone */
    struct receipt *later;           /* of those of one life that are sent: the next */
    struct receipt *next, *previous; /* of the open ones or of the sent ones, oldest first */
    uint64_t opened_ms, retry_at_ms;
    uint64_t durable_at; /* number of the state that must be on disk before it is sent */
    char *message;       /* owned: key and value; NULL until it is sent for the first time */
    uint32_t key_size, value_size;
    bool flying;
    bool listed;  /* among those to be sent, which own it then; else its life does */
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

/* It is not open any more, and the last of those to be sent. */
void receipt_end(struct generation *generation);
/* It is not among those to be sent any more. */
void receipt_unlink(struct receipt *receipt);
size_t receipt_sent_count(const struct generation *generation);

/* The ranges that the state has to remember for the life, oldest first: those sent, the last of
 * them and the open one as one when it goes on where that ends. Their `topic` is borrowed. */
size_t receipt_owed(const struct generation *generation, struct receipt out[RECEIPTS_OWED_MAX]);

/* The same as fields of the state's records. receipt_take() puts them in the place of what the life
 * has, the last one as its open one; it is false when they mean nonsense. */
void receipt_put(struct buffer *payload, const struct generation *generation);
bool receipt_take(struct generation *generation, struct journal_fields *fields);

/* For whoever frees the life: nobody waits for its receipts any more. */
void receipt_let_go(struct generation *generation);

#endif
