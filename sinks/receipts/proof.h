/* SPDX-License-Identifier: Apache-2.0 */
/* proof.h: what the receipts say of each life of a file, beside what was found of it.
 *
 *     receipts   0 ──────── 500 ────── 900   1200 ──── 1500     the agents' word: bytes and events
 *     events     x x x  x x x   x x  x          x  x  x   x     ids that Kafka holds
 *     state      i i i  i l i   i i  ?          i  i  i   i     indexed, dead letter, not there
 *
 * Sound, whatever was killed, because each of the three is counted by itself: an event that Kafka
 * lost makes fewer ids than the receipts count; one that the sink lost is an id that the index does
 * not have; a receipt that is missing is a hole between its neighbours, and the events in the hole
 * are looked for all the same. Repeats (equal id) count once. Two receipts with the same beginning
 * are one, the longer (agent/receipt.h says why). Pure; memory is the caller's concern: 16 bytes an
 * event. */
#ifndef SINKS_RECEIPTS_PROOF_H
#define SINKS_RECEIPTS_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"
#include "core/hash.h"
#include "sinks/receipts/receipt.h"

enum event_state {
    EVENT_UNKNOWN,
    EVENT_INDEXED,
    EVENT_TWICE,   /* indexed more than once, in several indices behind one name */
    EVENT_LETTER,  /* in the dead-letter topic, and not in the index */
    EVENT_WAITING, /* not in the index; the sink has not finished it yet */
    EVENT_MISSING, /* not in the index, and the sink says that it is done with it */
};

struct event {
    uint64_t offset : 61; /* of its first byte in its life */
    uint64_t state : 3;
    uint64_t hash;
};

#define LIFE_KEY_SIZE 12

/* One receipt. */
struct range {
    uint64_t from, to, events, lines, parts, empty, zeros;
    bool placed;
    bool done; /* the group has committed all of it */
    bool gone; /* retention deleted some of it */
    int32_t partition;
    int64_t first, last, since_ms;
    size_t topic; /* index into the topics of `proof` */
};

struct life {
    struct generation_id id;
    unsigned char key[LIFE_KEY_SIZE]; /* the same without padding */
    char *host, *path;                /* owned; of the last receipt */
    struct range *ranges;
    size_t range_count, range_capacity;
    struct event *events;
    size_t event_count, event_capacity;
    UT_hash_handle hh;
};

struct proof {
    struct life *table; /* by id */
    char **topics;      /* owned */
    size_t topic_count;
    size_t event_count;
};

void proof_done(struct proof *proof);

/* False when memory is short. */
bool proof_add_receipt(struct proof *proof, const struct receipt *receipt) MUST_CHECK;
/* All receipts are there: in order, one for each beginning. */
void proof_sort_receipts(struct proof *proof);
/* NULL: no receipt speaks of it. */
struct life *proof_find(const struct proof *proof, struct generation_id id);

/* An id that Kafka holds; those before the first receipt are passed over. */
bool life_add_event(struct proof *proof, struct life *life, uint64_t offset,
                    uint64_t hash) MUST_CHECK;
/* All events are there: in order, each once. */
void life_sort_events(struct proof *proof, struct life *life);
/* NULL: Kafka does not hold it. */
struct event *life_find_event(struct life *life, uint64_t offset, uint64_t hash);
/* The receipt that covers the byte, NULL: none does. */
struct range *life_range_at(struct life *life, uint64_t offset);

/* What is to be told of a life. */
struct verdict {
    uint64_t from, to; /* of its receipts */
    uint64_t lines, parts, empty, zeros;
    uint64_t promised;    /* events that receipts count */
    uint64_t held;        /* of those, ids that Kafka holds now */
    uint64_t lost;        /* promised, and not held, though nothing was deleted by retention */
    uint64_t deleted;     /* promised, and not held: retention deleted them. Nothing can be said */
    uint64_t unreceipted; /* events in bytes that no receipt covers, among the following */
    uint64_t newer;       /* events behind the last receipt, among the following */
    uint64_t indexed, twice, letters, waiting, missing;
    uint64_t holes; /* bytes between receipts that none covers */
    uint64_t again; /* bytes that two of them cover: the position was set back in between */
};
struct verdict life_judge(struct life *life);
/* Is there nothing that a person has to look at? Events that wait are no trouble yet. */
bool verdict_is_fine(const struct verdict *verdict);

/* The next run of bytes from `*at` on, which is 0 to begin with, whose events are in the state; or
 * that no receipt covers (life_next_hole). False: none. */
bool life_next_run(const struct life *life, enum event_state state, size_t *at, uint64_t *from,
                   uint64_t *to, uint64_t *events);
bool life_next_hole(const struct life *life, size_t *at, uint64_t *from, uint64_t *to);

#endif
