/* SPDX-License-Identifier: Apache-2.0 */
/* ledger.c: see ledger.h. The text is "r1:" and then, for each range, "<gap>.<count>," in
 * hexadecimal, where the gap counts from the end of the range before it. */
#include "sinks/replay/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"

#define VERSION "r1:"
#define VERSION_SIZE 3
/* Two numbers of at most 16 digits with '.' and ',', and the terminator. */
#define ENTRY_SIZE_MAX 35

void
ledger_init(struct ledger *ledger)
{
    *ledger = (struct ledger){0};
}

void
ledger_done(struct ledger *ledger)
{
    free(ledger->ranges);
    *ledger = (struct ledger){0};
}

/* The first range that ends at or behind the offset; `count` for none. */
static size_t
find(const struct ledger *ledger, int64_t offset)
{
    size_t low = 0;
    size_t high = ledger->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ledger->ranges[middle].end < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool
make_room(struct ledger *ledger)
{
    if (ledger->count < ledger->capacity)
        return true;
    size_t capacity = ledger->capacity == 0 ? 16 : ledger->capacity * 2;
    struct ledger_range *ranges = reallocarray(ledger->ranges, capacity, sizeof(*ranges));
    if (ranges == NULL)
        return false;
    ledger->ranges = ranges;
    ledger->capacity = capacity;
    return true;
}

bool
ledger_add(struct ledger *ledger, int64_t first, int64_t end)
{
    if (first >= end)
        return true;
    size_t at = find(ledger, first);
    size_t next = at; /* behind those that touch the new one */
    while (next < ledger->count && ledger->ranges[next].first <= end)
        next++;
    if (next == at && !make_room(ledger))
        return false;
    struct ledger_range merged = {first, end};
    if (next > at) {
        if (ledger->ranges[at].first < first)
            merged.first = ledger->ranges[at].first;
        if (ledger->ranges[next - 1].end > end)
            merged.end = ledger->ranges[next - 1].end;
    }
    memmove(&ledger->ranges[at + 1], &ledger->ranges[next],
            (ledger->count - next) * sizeof(ledger->ranges[0]));
    ledger->ranges[at] = merged;
    ledger->count += 1 + at - next;
    return true;
}

bool
ledger_has(const struct ledger *ledger, int64_t offset)
{
    size_t at = find(ledger, offset + 1);
    return at < ledger->count && ledger->ranges[at].first <= offset;
}

/* Lower-case hexadecimal digits and the byte behind them. False when there is no such number. */
static bool
read_number(const char **at, const char *end, char behind, int64_t *out)
{
    uint64_t value = 0;
    const char *text = *at;
    for (; text < end && *text != behind; text++) {
        bool digit = *text >= '0' && *text <= '9';
        if ((!digit && (*text < 'a' || *text > 'f')) || value > (uint64_t)INT64_MAX >> 4)
            return false;
        value = value * 16 + (uint64_t)(digit ? *text - '0' : *text - 'a' + 10);
    }
    if (text == *at || text == end)
        return false;
    *at = text + 1;
    *out = (int64_t)value;
    return true;
}

bool
ledger_read(struct ledger *ledger, int64_t committed, const char *text, size_t size)
{
    if (committed < 0)
        return true;
    if (!ledger_add(ledger, 0, committed))
        return false;
    if (text == NULL || size < VERSION_SIZE || memcmp(text, VERSION, VERSION_SIZE) != 0)
        return true;
    const char *end = text + size;
    const char *at = text + VERSION_SIZE;
    int64_t from = committed;
    int64_t gap;
    int64_t count;
    while (at < end && read_number(&at, end, '.', &gap) && read_number(&at, end, ',', &count)) {
        if (gap > INT64_MAX - from || count > INT64_MAX - from - gap)
            break;
        if (!ledger_add(ledger, from + gap, from + gap + count))
            return false;
        from += gap + count;
    }
    return true;
}

int64_t
ledger_write(const struct ledger *ledger, char out[LEDGER_TEXT_SIZE], uint64_t *left)
{
    size_t at = ledger->count > 0 && ledger->ranges[0].first == 0 ? 1 : 0;
    int64_t committed = at == 1 ? ledger->ranges[0].end : 0;
    int64_t from = committed;
    size_t size = VERSION_SIZE;
    memcpy(out, VERSION, VERSION_SIZE + 1);
    *left = 0;
    for (; at < ledger->count; at++) {
        const struct ledger_range *range = &ledger->ranges[at];
        if (size + ENTRY_SIZE_MAX > LEDGER_TEXT_SIZE) {
            *left += (uint64_t)(range->end - range->first);
            continue;
        }
        int written = snprintf(out + size, ENTRY_SIZE_MAX, "%llx.%llx,",
                               (unsigned long long)(range->first - from),
                               (unsigned long long)(range->end - range->first));
        ASSERT(written > 0 && written < ENTRY_SIZE_MAX);
        size += (size_t)written;
        from = range->end;
    }
    return committed;
}
