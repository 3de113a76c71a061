/* SPDX-License-Identifier: Apache-2.0 */
/* lives.c: see lives.h. */
#include "agent/inputs/lives.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
compare(uint64_t left, uint64_t right)
{
    return left == right ? 0 : left < right ? -1 : 1;
}

static int
by_inode(const void *a, const void *b)
{
    const struct generation *left = *(struct generation *const *)a;
    const struct generation *right = *(struct generation *const *)b;
    int order = compare(left->device, right->device);
    return order != 0 ? order : compare(left->inode, right->inode);
}

static int
by_head(const void *a, const void *b)
{
    const struct generation *left = *(struct generation *const *)a;
    const struct generation *right = *(struct generation *const *)b;
    int order = compare(left->head_size, right->head_size);
    return order != 0 ? order : compare(left->head_hash, right->head_hash);
}

bool
life_is_free(const struct generation *generation)
{
    return generation->file == NULL ||
           (generation->file->state == FILE_ENDED && generation->gone != NULL);
}

bool
lives_init(struct lives *lives, const struct agent *agent)
{
    *lives = (struct lives){0};
    size_t count = 0;
    for (const struct generation *at = agent->catalog.first; at != NULL; at = at->next)
        count += life_is_free(at) ? 1 : 0;
    if (count == 0)
        return true;
    lives->by_inode = malloc(count * sizeof(struct generation *));
    lives->by_head = malloc(count * sizeof(struct generation *));
    if (lives->by_inode == NULL || lives->by_head == NULL) {
        lives_done(lives);
        return false;
    }
    for (struct generation *at = agent->catalog.first; at != NULL; at = at->next)
        if (life_is_free(at))
            lives->by_inode[lives->count++] = at;
    memcpy(lives->by_head, lives->by_inode, count * sizeof(struct generation *));
    qsort(lives->by_inode, count, sizeof(struct generation *), by_inode);
    qsort(lives->by_head, count, sizeof(struct generation *), by_head);
    return true;
}

void
lives_done(struct lives *lives)
{
    free(lives->by_inode);
    free(lives->by_head);
    *lives = (struct lives){0};
}

typedef int life_order(const void *a, const void *b);

/* The first that does not stand before the wanted one. */
static size_t
lower_bound(struct generation *const *items, size_t count, const struct generation *wanted,
            life_order *order)
{
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (order(&items[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void
visit_equal(struct generation *const *items, size_t count, const struct generation *wanted,
            life_order *order, life_visit *visit, void *context)
{
    size_t at = lower_bound(items, count, wanted, order);
    for (; at < count && order(&items[at], &wanted) == 0; at++)
        visit(context, items[at]);
}

void
lives_at_inode(const struct lives *lives, const struct stat *about, life_visit *visit,
               void *context)
{
    struct generation wanted = {.device = (uint64_t)about->st_dev,
                                .inode = (uint64_t)about->st_ino};
    visit_equal(lives->by_inode, lives->count, &wanted, by_inode, visit, context);
}

bool
lives_with_head(const struct lives *lives, int fd, life_visit *visit, void *context)
{
    char bytes[HEAD_SIZE_MAX];
    if (lives->count == 0)
        return true;
    ssize_t got = content_read(fd, bytes, sizeof(bytes), 0);
    if (got < 0)
        return false;
    /* Each size of head that there is, at most 1024, is looked up once. */
    size_t at = 0;
    while (at < lives->count && lives->by_head[at]->head_size <= (uint32_t)got) {
        uint32_t size = lives->by_head[at]->head_size;
        struct generation wanted = {.head_size = size, .head_hash = generation_hash(bytes, size)};
        if (size > 0)
            visit_equal(lives->by_head, lives->count, &wanted, by_head, visit, context);
        wanted = (struct generation){.head_size = size, .head_hash = UINT64_MAX};
        at = lower_bound(lives->by_head, lives->count, &wanted, by_head);
        while (at < lives->count && lives->by_head[at]->head_size == size)
            at++;
    }
    return true;
}
