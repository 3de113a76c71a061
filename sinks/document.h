/* SPDX-License-Identifier: Apache-2.0 */
/* document.h: one record on its way from Kafka to the index, and lists of them. While all goes
 * well the bytes stay where librdkafka put them. A document that must wait is settled: its bytes
 * are copied and the message is given back, because a message keeps its whole fetch response
 * alive. Documents come from a pool and go back to it; one thread. */
#ifndef SINKS_DOCUMENT_H
#define SINKS_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"
#include "core/buffer.h"
#include "core/event_id.h"
#include "sinks/consumer.h"

/* Header of a record that was produced again: the id it had, when its key is not the id. */
#define DOCUMENT_ID_HEADER "tailrace.id"

/* In the order of use: a bulk is made of the first cache line, its answer needs the second too. */
struct document {
    struct document *next;
    const char *id;
    size_t id_size;
    const char *value; /* the document: one line */
    size_t value_size;
    unsigned attempts;           /* times sent */
    int32_t day;                 /* that its index is of, when its route rotates */
    bool found;                  /* it was in the index, before all there was synced */
    bool others_passed;          /* when it was refused, or since */
    bool cut;                    /* its dead letter carries the start of the value only */
    rd_kafka_message_t *message; /* owned; NULL once settled */

    char *own;    /* owned: converted value or settled bytes, NULL for none */
    char *reason; /* owned: why it is a dead letter, NULL */
    struct partition *partition;
    uint64_t sequence;
    uint32_t generation;
    int status;
    int64_t offset;
    int64_t timestamp_ms;
    size_t held; /* bytes that count against the memory limit */

    const char *key; /* of the record; NULL for none */
    size_t key_size;
    const char *raw; /* the record's value; NULL for none */
    size_t raw_size;
    uint64_t due_ms;     /* in a retry list: not before */
    uint64_t refused_at; /* the route's successes at the last refusal */
    uint64_t refused_ms; /* its time */
    unsigned refusals;   /* times refused for no known reason that count */
};

struct document_list {
    struct document *head;
    struct document *tail;
    size_t count;
    size_t bytes; /* of ids and values */
};

void document_list_append(struct document_list *list, struct document *document);
struct document *document_list_pop(struct document_list *list); /* NULL when empty */
/* Moves all of `other` to the front of the list; `other` is empty afterwards. */
void document_list_join_front(struct document_list *list, struct document_list *other);

struct document_pool {
    struct document *free;
    struct chunk *chunks;
    struct buffer scratch; /* conversion */
    bool nests;            /* foreign objects are given the shape of the index template */
};

void document_pool_init(struct document_pool *pool);
void document_pool_done(struct document_pool *pool);

/* Takes over the message. NULL when memory is short: then the message is still the caller's. */
struct document *document_new(struct document_pool *pool, struct consumer *consumer,
                              const struct taken *taken) MUST_CHECK;
void document_free(struct document_pool *pool, struct document *document);

/* Copies the bytes and gives the message back. When memory is short it stays as it is. */
void document_settle(struct document *document);

/* True when the partition has been taken away since: nobody counts the document any more. */
bool document_is_late(const struct document *document);

#endif
