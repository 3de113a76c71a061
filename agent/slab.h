/* SPDX-License-Identifier: Apache-2.0 */
/* slab.h: the memory that events live in until Kafka has answered for them.
 * A fixed pool of fixed blocks, one allocation at the start:
 *     small slabs   SLAB_SIZE each
 *     wide slabs    a few, each large enough for the largest part of a line
 * An open slab belongs to one lane (one partition), is filled from the front, and goes back to
 * the pool when all its records are answered. A lane that gets no answers keeps at most its
 * share, so it cannot stop the others. One thread at a time. */
#ifndef AGENT_SLAB_H
#define AGENT_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

#define SLAB_SIZE (256 * 1024) /* the unit of sharing: small enough for many partitions */
#define WIDE_SLABS 2           /* long lines are rare; two keep them flowing */

/* What one lane holds. Zero to begin with. */
struct slab_share {
    struct slab *open;
    unsigned held; /* small slabs */
    unsigned wide_held;
    uint32_t records; /* not answered yet */
    bool stale;       /* it held slabs without getting answers: only of plenty until it gets some */
};

struct slab {
    char *bytes;
    size_t size;
    size_t fill;
    uint32_t in_flight; /* records not answered yet */
    bool wide;
    struct slab_share *share; /* NULL: in the pool */
    struct slab *next;        /* in the pool */
};

struct slab_pool;

/* `memory` in all; a wide slab has `wide_size` bytes. */
bool slab_pool_new(struct slab_pool **out, size_t memory, size_t wide_size,
                   struct err *err) MUST_CHECK;
void slab_pool_free(struct slab_pool *pool); /* NULL is fine */

/* The lane's open slab, or a new one; NULL when the lane has its share or the pool is empty:
 * wait for an answer. */
struct slab *slab_take(struct slab_pool *pool, struct slab_share *share, bool wide);
bool slab_pool_is_empty(const struct slab_pool *pool, bool wide);

/* Keeps it while its filler still looks at it, whatever is answered meanwhile. */
void slab_hold(struct slab *slab);
void slab_unhold(struct slab_pool *pool, struct slab *slab);

/* No more room in it: it goes back when its last record is answered. */
void slab_close(struct slab_pool *pool, struct slab *slab);

/* `count` records were handed to Kafka from it, or answered. */
void slab_sent(struct slab *slab, uint32_t count);
void slab_answered(struct slab_pool *pool, struct slab *slab, uint32_t count);

/* May the lane have more records under way, when there can be `records_max` in all and `waiting`
 * are? */
bool slab_share_allows_records(const struct slab_pool *pool, const struct slab_share *share,
                               size_t waiting, size_t records_max);

size_t slab_pool_size(const struct slab_pool *pool);    /* bytes of all slabs */
size_t slab_pool_used(const struct slab_pool *pool);    /* bytes of slabs that lanes hold */
unsigned slab_pool_count(const struct slab_pool *pool); /* small slabs */

#endif
