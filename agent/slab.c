/* SPDX-License-Identifier: Apache-2.0 */
/* slab.c: see slab.h. */
#include "agent/slab.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "core/assert.h"

/* One part of so many is for what lanes may always hold, divided among those that hold anything;
 * up to a half is borrowed first come, first served. So what is left is enough for whoever comes
 * late, however many of the others get no answers. */
#define SHARE_PARTS 4

struct slab_pool {
    char *region;
    size_t region_size;
    size_t wide_size;
    struct slab *slabs;
    unsigned small_count;
    struct slab *small_free;
    struct slab *wide_free;
    unsigned small_free_count;
    unsigned wide_free_count;
    unsigned active; /* shares that hold something */
};

static void
pool_put(struct slab_pool *pool, struct slab *slab)
{
    slab->share = NULL;
    slab->fill = 0;
    struct slab **list = slab->wide ? &pool->wide_free : &pool->small_free;
    slab->next = *list;
    *list = slab;
    if (slab->wide)
        pool->wide_free_count++;
    else
        pool->small_free_count++;
}

bool
slab_pool_new(struct slab_pool **out, size_t memory, size_t wide_size, struct err *err)
{
    size_t wide_bytes = wide_size * WIDE_SLABS;
    if (memory < wide_bytes + SHARE_PARTS * (size_t)SLAB_SIZE)
        return err_set(err, ERR_CONFIG, 0,
                       "memory of %zu bytes is too little for lines of %zu bytes", memory,
                       wide_size);
    struct slab_pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL)
        return err_errno(err, ERR_STOP, ENOMEM, "allocate the slabs");
    pool->small_count = (unsigned)((memory - wide_bytes) / SLAB_SIZE);
    pool->wide_size = wide_size;
    pool->region_size = (size_t)pool->small_count * SLAB_SIZE + wide_bytes;
    pool->slabs = calloc(pool->small_count + WIDE_SLABS, sizeof(*pool->slabs));
    /* Pages are taken as they are first written: an idle agent stays small. */
    void *region = mmap(NULL, pool->region_size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    pool->region = region == MAP_FAILED ? NULL : region;
    if (pool->slabs == NULL || pool->region == NULL) {
        slab_pool_free(pool);
        return err_errno(err, ERR_STOP, ENOMEM, "allocate %zu bytes for slabs", memory);
    }
    char *at = pool->region;
    for (unsigned i = pool->small_count + WIDE_SLABS; i-- > 0;) {
        struct slab *slab = &pool->slabs[i];
        slab->wide = i >= pool->small_count;
        slab->size = slab->wide ? wide_size : SLAB_SIZE;
        slab->bytes = at;
        at += slab->size;
        pool_put(pool, slab);
    }
    *out = pool;
    return true;
}

void
slab_pool_free(struct slab_pool *pool)
{
    if (pool == NULL)
        return;
    if (pool->region != NULL)
        (void)munmap(pool->region, pool->region_size);
    free(pool->slabs);
    free(pool);
}

static bool
share_allows(const struct slab_pool *pool, const struct slab_share *share, bool wide)
{
    if (wide)
        return share->wide_held == 0 && (!share->stale || pool->wide_free_count > 1);
    if (share->stale && pool->small_free_count <= pool->small_count / (share->held == 0 ? 4 : 2))
        return false;
    unsigned active = pool->active + (share->held + share->wide_held == 0 ? 1 : 0);
    unsigned fair = pool->small_count / SHARE_PARTS / active;
    return share->held < (fair == 0 ? 1 : fair) || pool->small_free_count > pool->small_count / 2;
}

bool
slab_share_allows_records(const struct slab_pool *pool, const struct slab_share *share,
                          size_t waiting, size_t records_max)
{
    size_t active = pool->active + (share->held + share->wide_held == 0 ? 1 : 0);
    return waiting < records_max &&
           (share->records < records_max / SHARE_PARTS / active || waiting < records_max / 2);
}

bool
slab_pool_is_empty(const struct slab_pool *pool, bool wide)
{
    return (wide ? pool->wide_free_count : pool->small_free_count) == 0;
}

struct slab *
slab_take(struct slab_pool *pool, struct slab_share *share, bool wide)
{
    struct slab *open = share->open;
    if (open != NULL && (!wide || open->wide))
        return open;
    struct slab **list = wide ? &pool->wide_free : &pool->small_free;
    if (*list == NULL || !share_allows(pool, share, wide))
        return NULL;
    if (open != NULL)
        slab_close(pool, open);

    struct slab *slab = *list;
    *list = slab->next;
    slab->share = share;
    slab->in_flight = 0;
    if (share->held + share->wide_held == 0)
        pool->active++;
    if (wide) {
        pool->wide_free_count--;
        share->wide_held++;
    } else {
        pool->small_free_count--;
        share->held++;
    }
    share->open = slab;
    return slab;
}

static void
slab_release(struct slab_pool *pool, struct slab *slab)
{
    struct slab_share *share = slab->share;
    ASSERT(share != NULL);
    if (share->open == slab)
        share->open = NULL;
    unsigned *held = slab->wide ? &share->wide_held : &share->held;
    ASSERT(*held > 0);
    (*held)--;
    if (share->held + share->wide_held == 0)
        pool->active--;
    pool_put(pool, slab);
}

void
slab_close(struct slab_pool *pool, struct slab *slab)
{
    ASSERT(slab->share != NULL);
    if (slab->share->open == slab)
        slab->share->open = NULL;
    if (slab->in_flight == 0)
        slab_release(pool, slab);
}

void
slab_sent(struct slab *slab, uint32_t count)
{
    ASSERT(slab->share != NULL);
    slab->in_flight += count;
    slab->share->records += count;
}

void
slab_hold(struct slab *slab)
{
    ASSERT(slab->share != NULL);
    slab->in_flight++;
}

void
slab_unhold(struct slab_pool *pool, struct slab *slab)
{
    ASSERT(slab->in_flight > 0);
    slab->in_flight--;
    if (slab->in_flight == 0)
        slab_release(pool, slab);
}

void
slab_answered(struct slab_pool *pool, struct slab *slab, uint32_t count)
{
    ASSERT(slab->in_flight >= count);
    slab->in_flight -= count;
    slab->share->records -= count;
    if (slab->in_flight == 0)
        slab_release(pool, slab);
}

size_t
slab_pool_size(const struct slab_pool *pool)
{
    return pool->region_size;
}

size_t
slab_pool_used(const struct slab_pool *pool)
{
    return (size_t)(pool->small_count - pool->small_free_count) * SLAB_SIZE +
           (size_t)(WIDE_SLABS - pool->wide_free_count) * pool->wide_size;
}

unsigned
slab_pool_count(const struct slab_pool *pool)
{
    return pool->small_count;
}
