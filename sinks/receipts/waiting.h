/* SPDX-License-Identifier: Apache-2.0 */
/* waiting.h: receipts whose events are not all finished yet. Equal generation and first byte are
 * one receipt, and the longer holds, so one that comes twice counts once. Pure; one thread. */
#ifndef SINKS_RECEIPTS_WAITING_H
#define SINKS_RECEIPTS_WAITING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"
#include "core/hash.h"
#include "sinks/receipts/receipt.h"

/* Some 150 bytes each: 5 MB. Beyond it no more receipts are read before some are ticked off. */
#define WAITING_MAX 32768
/* A receipt that is watched for this time and not accounted for never will be. How old it is says
 * nothing: it may have waited for a sink that was stopped, and the agent's clock may be behind. */
#define WAITING_KEPT_MS UINT64_C(86400000)
#define WAITING_LOST_MAX 64 /* ranges of lost records that are remembered */

/* Where all partitions of a topic ended after a receipt was met that does not say where its events
 * are: they lie before these ends for certain. Shared by all receipts met before. */
struct marks {
    size_t references;
    int32_t count;
    int64_t ends[];
};
struct marks *marks_new(int32_t count); /* with one reference; NULL: no memory */
void marks_let_go(struct marks *marks); /* NULL is fine */

struct waiting_receipt {
    uint64_t key;
    uint64_t to, events;
    size_t route;
    int32_t control_partition; /* where in the control topic it stands */
    int64_t control_offset;
    bool placed;
    int32_t partition; /* where its events are, if it is placed */
    int64_t first, last;
    struct marks *marks; /* else, when they are known */
    int64_t time_ms;     /* when it was written, or met if that claims to be later */
    uint64_t met_ms;     /* by a clock that nobody sets */
    bool lost;           /* some of its events were deleted before they were consumed */
    UT_hash_handle hh;
};

struct lost_records {
    size_t route;
    int32_t partition;
    int64_t first, end;
};

struct waiting {
    struct waiting_receipt *table;
    struct lost_records lost[WAITING_LOST_MAX];
    size_t lost_count; /* ever; the newest are kept */
};
void waiting_done(struct waiting *waiting);
size_t waiting_count(const struct waiting *waiting);

/* Where it was met. */
struct waiting_place {
    size_t route;
    int32_t control_partition;
    int64_t control_offset;
    int64_t time_ms;
    uint64_t met_ms;
};
/* False: no memory. */
bool waiting_add(struct waiting *waiting, const struct receipt *receipt,
                 const struct waiting_place *place) MUST_CHECK;

/* Does a receipt of the route need marks? They are given to all that do, and borrowed. */
bool waiting_wants_marks(const struct waiting *waiting, size_t route);
void waiting_mark(struct waiting *waiting, size_t route, struct marks *marks);

void waiting_note_lost(struct waiting *waiting, const struct lost_records *lost);
/* The partition's offsets begin anew: what was lost of the old ones says nothing of the new. */
void waiting_note_rewound(struct waiting *waiting, size_t route, int32_t partition);

struct waiting_sums {
    uint64_t *unaccounted; /* by route: events of receipts older than the grace */
    uint64_t accounted;    /* receipts ticked off now */
    uint64_t given_up, given_up_events;
};
struct waiting_now {
    int64_t wall_ms;
    uint64_t monotonic_ms;
};
/* Ticks off what the group has committed; `committed` is -1 where nothing is known. */
typedef int64_t waiting_committed(const void *context, size_t route, int32_t partition);
void waiting_tick(struct waiting *waiting, waiting_committed *committed, const void *context,
                  const struct waiting_now *now, int64_t grace_ms, struct waiting_sums *sums);

/* All receipts of that partition of the control topic below the result are accounted for; `next` is
 * the one that is read next. */
int64_t waiting_done_to(const struct waiting *waiting, int32_t control_partition, int64_t next);

#endif
