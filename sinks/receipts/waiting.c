/* SPDX-License-Identifier: Apache-2.0 */
/* waiting.c: see waiting.h. */
#include "sinks/receipts/waiting.h"

#include <stdlib.h>

#include "core/assert.h"

struct marks *
marks_new(int32_t count)
{
    ASSERT(count > 0);

    struct marks *marks = calloc(1, sizeof(*marks) + (size_t)count * sizeof(marks->ends[0]));
    if (marks == NULL)
        return NULL;
    marks->references = 1;
    marks->count = count;
    return marks;
}

void
marks_let_go(struct marks *marks)
{
    if (marks != NULL && --marks->references == 0)
        free(marks);
}

static void
forget(struct waiting *waiting, struct waiting_receipt *receipt)
{
    HASH_DEL(waiting->table, receipt);
    marks_let_go(receipt->marks);
    free(receipt);
}

void
waiting_done(struct waiting *waiting)
{
    for (struct waiting_receipt *at = waiting->table, *next; at != NULL; at = next) {
        next = at->hh.next;
        forget(waiting, at);
    }
}

size_t
waiting_count(const struct waiting *waiting)
{
    return HASH_COUNT(waiting->table);
}

static uint64_t
key_of(const struct receipt *receipt)
{
    uint64_t parts[] = {receipt->generation.birth_seconds, receipt->generation.random,
                        receipt->from};
    return XXH3_64bits(parts, sizeof(parts));
}

bool
waiting_add(struct waiting *waiting, const struct receipt *receipt,
            const struct waiting_place *place)
{
    uint64_t key = key_of(receipt);
    struct waiting_receipt *it = NULL;
    HASH_FIND(hh, waiting->table, &key, sizeof(key), it);
    if (it != NULL && it->to >= receipt->to)
        return true;
    if (it == NULL) {
        it = calloc(1, sizeof(*it));
        if (it == NULL)
            return false;
        it->key = key;
        HASH_ADD(hh, waiting->table, key, sizeof(it->key), it);
        if (!HASH_ADDED(hh, it)) {
            free(it);
            return false;
        }
    }
    /* Read again from its place after a crash, it says what the shorter one said, and more. */
    it->control_partition = place->control_partition;
    it->control_offset = place->control_offset;
    marks_let_go(it->marks);
    it->marks = NULL;
    it->placed = receipt->placed;
    it->to = receipt->to;
    it->events = receipt->events;
    it->route = place->route;
    it->partition = receipt->partition;
    it->first = receipt->first;
    it->last = receipt->last;
    it->time_ms = place->time_ms;
    it->met_ms = place->met_ms;
    return true;
}

bool
waiting_wants_marks(const struct waiting *waiting, size_t route)
{
    const struct waiting_receipt *at = waiting->table;
    while (at != NULL && (at->placed || at->marks != NULL || at->route != route))
        at = at->hh.next;
    return at != NULL;
}

void
waiting_mark(struct waiting *waiting, size_t route, struct marks *marks)
{
    for (struct waiting_receipt *at = waiting->table; at != NULL; at = at->hh.next) {
        if (at->placed || at->marks != NULL || at->route != route)
            continue;
        at->marks = marks;
        marks->references++;
    }
}

void
waiting_note_lost(struct waiting *waiting, const struct lost_records *lost)
{
    waiting->lost[waiting->lost_count++ % WAITING_LOST_MAX] = *lost;
}

void
waiting_note_rewound(struct waiting *waiting, size_t route, int32_t partition)
{
    for (size_t i = 0; i < WAITING_LOST_MAX; i++)
        if (waiting->lost[i].route == route && waiting->lost[i].partition == partition)
            waiting->lost[i].end = waiting->lost[i].first;
}

static bool
is_lost(const struct waiting *waiting, const struct waiting_receipt *receipt)
{
    size_t count = waiting->lost_count < WAITING_LOST_MAX ? waiting->lost_count : WAITING_LOST_MAX;
    for (size_t i = 0; i < count && receipt->placed; i++) {
        const struct lost_records *lost = &waiting->lost[i];
        if (lost->route == receipt->route && lost->partition == receipt->partition &&
            lost->first < lost->end && lost->first <= receipt->last && lost->end > receipt->first)
            return true;
    }
    return receipt->lost;
}

static bool
is_accounted(const struct waiting_receipt *receipt, waiting_committed *committed,
             const void *context)
{
    if (receipt->lost || (!receipt->placed && receipt->marks == NULL))
        return false;
    if (receipt->placed)
        return committed(context, receipt->route, receipt->partition) > receipt->last;
    for (int32_t i = 0; i < receipt->marks->count; i++)
        if (receipt->marks->ends[i] > 0 &&
            committed(context, receipt->route, i) < receipt->marks->ends[i])
            return false;
    return true;
}

void
waiting_tick(struct waiting *waiting, waiting_committed *committed, const void *context,
             const struct waiting_now *now, int64_t grace_ms, struct waiting_sums *sums)
{
    for (struct waiting_receipt *at = waiting->table, *next; at != NULL; at = next) {
        next = at->hh.next;
        at->lost = is_lost(waiting, at);
        if (is_accounted(at, committed, context)) {
            sums->accounted++;
            forget(waiting, at);
        } else if (now->monotonic_ms - at->met_ms > WAITING_KEPT_MS) {
            sums->given_up++;
            sums->given_up_events += at->events;
            forget(waiting, at);
        } else if (now->wall_ms - at->time_ms > grace_ms) {
            sums->unaccounted[at->route] += at->events;
        }
    }
}

int64_t
waiting_done_to(const struct waiting *waiting, int32_t control_partition, int64_t next)
{
    for (const struct waiting_receipt *at = waiting->table; at != NULL; at = at->hh.next)
        if (at->control_partition == control_partition && at->control_offset < next)
            next = at->control_offset;
    return next;
}
