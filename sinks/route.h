/* SPDX-License-Identifier: Apache-2.0 */
/* route.h: one topic to one index: what waits, what failed, what is counted. A fault of the
 * index stops its own route and no other.
 *
 *     fresh ──► bulk ──► finished
 *       ▲        │├────► retry (queue full; back to fresh when due)
 *       │        │├────► suspects (refused for an unknown cause: halved down to one)
 *       └─fault──┘└────► letters ──► dead-letter topic ──► finished */
#ifndef SINKS_ROUTE_H
#define SINKS_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/metrics.h"
#include "sinks/document.h"
#include "sinks/output.h"

/* Halving the largest bulk gives two pieces for each of its 14 powers of two. */
#define ROUTE_SUSPECTS_MAX 64
/* Documents of one bulk: 5 MiB of lines of 320 bytes. */
#define BULK_ITEMS_MAX 16384
/* A probe after a fault: enough to be worth a request, small enough to be refused at little
 * cost. */
#define PROBE_BYTES_MAX (256U * 1024)
/* Refusals of unknown cause, with successes of others in between, that make a dead letter. */
#define REFUSALS_MAX 3
/* Bulks in a row refused for an unknown cause without one success: then it is the route's fault. */
#define UNKNOWN_STREAK_MAX 20
/* Daily indices that one bulk writes to. A backfill over a year goes day by day: each bulk costs
 * the server a few shards and makes a few indices, not hundreds. */
#define ROUTE_DAYS_MAX 8
#define FAULT_WAIT_MIN_MS 500
#define FAULT_WAIT_MAX_MS 30000
#define RETRY_WAIT_MIN_MS 250
#define RETRY_WAIT_MAX_MS 10000

enum route_outcome {
    ROUTE_INDEXED,
    ROUTE_DUPLICATE,
    ROUTE_FAILURE_STORE,
    ROUTE_DEAD_LETTERED,
    ROUTE_SKIPPED,
    ROUTE_REVOKED,
    ROUTE_OUTCOME_COUNT,
};
extern const char *const route_outcome_names[ROUTE_OUTCOME_COUNT];

/* Something that does not work now and is tried again, for ever. */
struct fault {
    bool active;
    unsigned failures;
    uint64_t since_ms;
    uint64_t until_ms;
    char reason[320];
};
/* Starts or prolongs it, unless it waits already. True when it has just started. */
bool fault_note(struct fault *fault, const char *reason, uint64_t now_ms);
/* True when it was active. */
bool fault_clear(struct fault *fault);
/* True while nothing may be tried. */
bool fault_waits(const struct fault *fault, uint64_t now_ms);
/* Between half of the doubled wait and the whole: many sinks do not come back in one moment. */
uint64_t backoff_ms(unsigned failures, uint64_t min_ms, uint64_t max_ms);

struct route {
    const char *topic;
    const char *index;
    bool prepared;           /* the store has its template or schema */
    bool daily;              /* `index` is the alias of one index a day */
    char *dead_letter_topic; /* owned */
    struct document_list fresh;
    uint64_t fresh_since_ms; /* when the oldest of them came */
    struct document_list retry;
    uint64_t retry_due_ms; /* of the earliest */
    struct document_list suspects[ROUTE_SUSPECTS_MAX];
    size_t suspect_count;
    struct document_list letters;
    size_t letters_flying;
    size_t bulks_flying;
    size_t held;                /* bytes of all its documents, wherever they are */
    uint64_t progress_ms;       /* when one was last finished, or the first came */
    struct fault fault;         /* the index */
    struct fault letters_fault; /* the dead-letter topic */
    bool letters_known;         /* that topic was there when last looked at */
    unsigned unknown_streak;
    uint64_t successes;
    uint64_t consumed;
    uint64_t finished[ROUTE_OUTCOME_COUNT];
    uint64_t lost;
    uint64_t gaps;
    uint64_t rewinds;
    uint64_t retried;
    struct output_retention retention; /* its last step */
    uint64_t retention_due_ms;
    uint64_t retired;       /* what it deleted */
    struct partition *full; /* its offsets ring is full: the route waits for it */
    char last_refusal[320]; /* of the last dead letter, for the status page */
};

bool route_init(struct route *route, const struct sink_route_options *options,
                struct err *err) MUST_CHECK;
void route_done(struct route *route, struct document_pool *pool);

uint64_t route_in_flight(const struct route *route);
void route_add(struct route *route, struct document *document, uint64_t now_ms);
/* Puts documents that came back in front of the others; they are sent at once when allowed. */
void route_put_back(struct route *route, struct document_list *list);
void route_retry(struct route *route, struct document *document, uint64_t due_ms);
/* Moves what is due from retry to fresh. */
void route_wake(struct route *route, uint64_t now_ms);
/* Cuts a refused bulk in two. */
void route_suspect(struct route *route, struct document_list *list);
/* Removes and frees all waiting documents that are late. */
void route_drop_late(struct route *route, struct document_pool *pool);

struct route_limits {
    size_t bytes;
    uint64_t interval_ms;
    bool flush; /* do not wait for more */
};
/* True when a bulk should be made now. */
bool route_wants_bulk(const struct route *route, const struct route_limits *limits,
                      uint64_t now_ms);
/* Moves the documents of the next bulk to `out`. */
void route_fill_bulk(struct route *route, const struct route_limits *limits,
                     struct document_list *out, uint64_t now_ms);

#endif
