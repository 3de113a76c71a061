/* SPDX-License-Identifier: Apache-2.0 */
/* offsets.c: see offsets.h. */
#include "sinks/offsets.h"

#include <stdlib.h>

#include "core/assert.h"

#define ENTRIES_INITIAL 1024U

void
offsets_init(struct offsets *offsets)
{
    *offsets = (struct offsets){.stored = -1};
}

void
offsets_done(struct offsets *offsets)
{
    free(offsets->entries);
    offsets_init(offsets);
}

void
offsets_clear(struct offsets *offsets)
{
    offsets->first = 0;
    offsets->next = 0;
    offsets->open = 0;
    offsets->stored = -1;
}

bool
offsets_has_room(const struct offsets *offsets)
{
    return offsets->next - offsets->first < OFFSETS_ENTRIES_MAX;
}

/* Doubles the ring; every entry keeps its sequence number, so each moves to its place in the new
 * one. */
static bool
grow(struct offsets *offsets)
{
    uint64_t capacity = offsets->capacity == 0 ? ENTRIES_INITIAL : offsets->capacity * 2;
    uint64_t *entries = malloc(capacity * sizeof(*entries));
    if (entries == NULL)
        return false;
    for (uint64_t i = offsets->first; i < offsets->next; i++)
        entries[i & (capacity - 1)] = offsets->entries[i & (offsets->capacity - 1)];
    free(offsets->entries);
    offsets->entries = entries;
    offsets->capacity = capacity;
    return true;
}

bool
offsets_take(struct offsets *offsets, int64_t offset, uint64_t *sequence)
{
    ASSERT(offset >= 0);

    if (offsets->next - offsets->first == offsets->capacity && !grow(offsets))
        return false;
    *sequence = offsets->next++;
    offsets->entries[*sequence & (offsets->capacity - 1)] = (uint64_t)offset << 1;
    offsets->open++;
    return true;
}

void
offsets_finish(struct offsets *offsets, uint64_t sequence)
{
    ASSERT(sequence >= offsets->first);
    ASSERT(sequence < offsets->next);
    uint64_t *entry = &offsets->entries[sequence & (offsets->capacity - 1)];
    ASSERT((*entry & 1) == 0);

    *entry |= 1;
    offsets->open--;
    while (offsets->first < offsets->next) {
        uint64_t head = offsets->entries[offsets->first & (offsets->capacity - 1)];
        if ((head & 1) == 0)
            break;
        offsets->stored = (int64_t)(head >> 1) + 1;
        offsets->first++;
    }
}
