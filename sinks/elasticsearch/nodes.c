/* SPDX-License-Identifier: Apache-2.0 */
/* nodes.c: see nodes.h. */
#include "sinks/elasticsearch/nodes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"

#define SMOOTHING 0.2

bool
nodes_init(struct nodes *nodes, const char *const *urls, size_t count, struct err *err)
{
    *nodes = (struct nodes){0};
    nodes->items = calloc(count, sizeof(*nodes->items));
    if (nodes->items == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot keep addresses: out of memory");
    for (; nodes->count < count; nodes->count++) {
        const char *url = urls[nodes->count];
        size_t size = strlen(url);
        while (size > 0 && url[size - 1] == '/')
            size--;
        nodes->items[nodes->count].url = strndup(url, size);
        if (nodes->items[nodes->count].url == NULL)
            return err_set(err, ERR_STOP, ENOMEM, "cannot keep an address: out of memory");
    }
    return true;
}

void
nodes_done(struct nodes *nodes)
{
    for (size_t i = 0; i < nodes->count; i++)
        free(nodes->items[i].url);
    free(nodes->items);
    *nodes = (struct nodes){0};
}

bool
nodes_is_slow(const struct nodes *nodes, size_t node)
{
    ASSERT(node < nodes->count);

    double best_ms = nodes->items[node].answer_ms;
    for (size_t i = 0; i < nodes->count; i++) {
        const struct node *it = &nodes->items[i];
        if (it->state == NODE_UP && it->answer_ms > 0 && it->answer_ms < best_ms)
            best_ms = it->answer_ms;
    }
    return nodes->items[node].answer_ms > NODE_SLOW_FACTOR * best_ms + NODE_SLOW_MIN_MS;
}

/* The lower, the better. */
static size_t
load(const struct nodes *nodes, size_t node)
{
    const struct node *it = &nodes->items[node];
    bool one_at_a_time = it->state == NODE_PROVING || nodes_is_slow(nodes, node);
    return one_at_a_time && it->flying > 0 ? SIZE_MAX - 1 : it->flying;
}

size_t
nodes_pick(struct nodes *nodes)
{
    ASSERT(nodes->count > 0);

    size_t best = nodes->count;
    size_t best_load = SIZE_MAX;
    size_t soonest = nodes->next % nodes->count;
    for (size_t i = 0; i < nodes->count; i++) {
        size_t candidate = (nodes->next + i) % nodes->count;
        const struct node *it = &nodes->items[candidate];
        if (it->down_until_ms < nodes->items[soonest].down_until_ms)
            soonest = candidate;
        if (it->state != NODE_DOWN && load(nodes, candidate) < best_load) {
            best = candidate;
            best_load = load(nodes, candidate);
        }
    }
    if (best == nodes->count)
        best = soonest;
    nodes->next = (best + 1) % nodes->count;
    return best;
}

static void
set_state(struct node *node, enum node_state state)
{
    node->news |= (node->state == NODE_UP) != (state == NODE_UP);
    node->state = state;
}

void
nodes_answered(struct nodes *nodes, size_t node, double took_ms)
{
    ASSERT(node < nodes->count);

    struct node *it = &nodes->items[node];
    set_state(it, NODE_UP);
    it->failures = 0;
    it->down_until_ms = 0;
    it->reason[0] = '\0';
    if (took_ms < 0)
        return;
    it->answers++;
    it->answer_ms =
        it->answer_ms > 0 ? it->answer_ms + SMOOTHING * (took_ms - it->answer_ms) : took_ms;
}

void
nodes_failed(struct nodes *nodes, size_t node, const char *reason, uint64_t asked_ms,
             uint64_t now_ms)
{
    ASSERT(node < nodes->count);

    struct node *it = &nodes->items[node];
    it->faults++;
    if (it->state == NODE_DOWN && asked_ms < it->down_since_ms)
        return;
    unsigned doublings = it->failures < 5 ? it->failures : 5;
    uint64_t wait_ms = (uint64_t)NODE_DOWN_MIN_MS << doublings;
    it->failures++;
    it->down_since_ms = now_ms;
    it->down_until_ms = now_ms + (wait_ms < NODE_DOWN_MAX_MS ? wait_ms : NODE_DOWN_MAX_MS);
    set_state(it, NODE_DOWN);
    int size = snprintf(it->reason, sizeof(it->reason), "%s", reason);
    ASSERT(size >= 0);
}

void
nodes_probed(struct nodes *nodes, size_t node)
{
    ASSERT(node < nodes->count);

    if (nodes->items[node].state == NODE_DOWN)
        nodes->items[node].state = NODE_PROVING;
}

size_t
nodes_usable(const struct nodes *nodes)
{
    size_t usable = 0;
    for (size_t i = 0; i < nodes->count; i++)
        usable += nodes->items[i].state != NODE_DOWN;
    return usable;
}
