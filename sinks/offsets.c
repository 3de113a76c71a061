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
    free(offsets->seconds);
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
    uint32_t *seconds = malloc(capacity * sizeof(*seconds));
    if (entries == NULL || seconds == NULL) {
        free(entries);
        free(seconds);
        return false;
    }
    for (uint64_t i = offsets->first; i < offsets->next; i++) {
        entries[i & (capacity - 1)] = offsets->entries[i & (offsets->capacity - 1)];
        seconds[i & (capacity - 1)] = offsets->seconds[i & (offsets->capacity - 1)];
    }
    free(offsets->entries);
    free(offsets->seconds);
    offsets->entries = entries;
    offsets->seconds = seconds;
    offsets->capacity = capacity;
    return true;
}

/* A time before 1970 or after 2106 says nothing. */
static uint32_t
to_seconds(int64_t timestamp_ms)
{
    if (timestamp_ms < 0)
        return 0;
    return timestamp_ms / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(timestamp_ms / 1000);
}

bool
offsets_take(struct offsets *offsets, int64_t offset, int64_t timestamp_ms, uint64_t *sequence)
{
    ASSERT(offset >= 0);

    if (offsets->next - offsets->first == offsets->capacity && !grow(offsets))
        return false;
    *sequence = offsets->next++;
    offsets->entries[*sequence & (offsets->capacity - 1)] = (uint64_t)offset << 1;
    offsets->seconds[*sequence & (offsets->capacity - 1)] = to_seconds(timestamp_ms);
    offsets->open++;
    return true;
}

void
offsets_skip(struct offsets *offsets, int64_t next)
{
    uint64_t sequence;
    if (next > 0 && offsets_take(offsets, next - 1, 0, &sequence))
        offsets_finish(offsets, sequence);
}

bool
offsets_oldest(const struct offsets *offsets, int64_t *offset, int64_t *timestamp_s)
{
    if (offsets->open == 0)
        return false;
    ASSERT(offsets->first < offsets->next);
    uint64_t place = offsets->first & (offsets->capacity - 1);
    *offset = (int64_t)(offsets->entries[place] >> 1);
    *timestamp_s = offsets->seconds[place];
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
