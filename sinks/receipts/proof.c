/* SPDX-License-Identifier: Apache-2.0 */
/* proof.c: see proof.h. */
#include "sinks/receipts/proof.h"

#include <stdlib.h>
#include <string.h>

#include "core/assert.h"

#define OFFSET_MAX ((UINT64_C(1) << 61) - 1)
#define EVENTS_FIRST 64

void
proof_done(struct proof *proof)
{
    struct life *life = proof->table;
    HASH_CLEAR(hh, proof->table);
    while (life != NULL) {
        struct life *next = life->hh.next;
        free(life->host);
        free(life->path);
        free(life->ranges);
        free(life->events);
        free(life);
        life = next;
    }
    for (size_t i = 0; i < proof->topic_count; i++)
        free(proof->topics[i]);
    free(proof->topics);
    *proof = (struct proof){0};
}

/* --- receipts --- */

static void
make_key(struct generation_id id, unsigned char key[LIFE_KEY_SIZE])
{
    memcpy(key, &id.birth_seconds, sizeof(id.birth_seconds));
    memcpy(key + sizeof(id.birth_seconds), &id.random, sizeof(id.random));
}

struct life *
proof_find(const struct proof *proof, struct generation_id id)
{
    unsigned char key[LIFE_KEY_SIZE];
    struct life *life = NULL;
    make_key(id, key);
    HASH_FIND(hh, proof->table, key, sizeof(key), life);
    return life;
}

static bool
find_topic(struct proof *proof, const char *name, size_t *out)
{
    for (*out = 0; *out < proof->topic_count; (*out)++)
        if (strcmp(proof->topics[*out], name) == 0)
            return true;
    char **grown = reallocarray(proof->topics, proof->topic_count + 1, sizeof(char *));
    if (grown == NULL)
        return false;
    proof->topics = grown;
    grown[proof->topic_count] = strdup(name);
    return grown[proof->topic_count] != NULL && ++proof->topic_count > 0;
}

static struct life *
find_or_add(struct proof *proof, const struct receipt *receipt)
{
    struct life *life = proof_find(proof, receipt->generation);
    if (life != NULL || (life = calloc(1, sizeof(*life))) == NULL)
        return life;
    life->id = receipt->generation;
    make_key(life->id, life->key);
    HASH_ADD(hh, proof->table, key, sizeof(life->key), life);
    if (HASH_ADDED(hh, life))
        return life;
    free(life);
    return NULL;
}

static bool
replace_text(char **text, const char *by)
{
    if (*text != NULL && strcmp(*text, by) == 0)
        return true;
    char *copy = strdup(by);
    if (copy == NULL)
        return false;
    free(*text);
    *text = copy;
    return true;
}

bool
proof_add_receipt(struct proof *proof, const struct receipt *receipt)
{
    struct life *life = find_or_add(proof, receipt);
    if (life == NULL || !replace_text(&life->host, receipt->host) ||
        !replace_text(&life->path, receipt->path))
        return false;
    if (life->range_count == life->range_capacity) {
        size_t capacity = life->range_capacity == 0 ? 4 : life->range_capacity * 2;
        struct range *grown = reallocarray(life->ranges, capacity, sizeof(*grown));
        if (grown == NULL)
            return false;
        life->ranges = grown;
        life->range_capacity = capacity;
    }
    struct range range = {
        .from = receipt->from,
        .to = receipt->to,
        .events = receipt->events,
        .lines = receipt->lines,
        .parts = receipt->parts,
        .empty = receipt->empty,
        .zeros = receipt->zeros,
        .placed = receipt->placed,
        .partition = receipt->partition,
        .first = receipt->first,
        .last = receipt->last,
        .since_ms = receipt->since_ms,
    };
    if (!find_topic(proof, receipt->topic, &range.topic))
        return false;
    life->ranges[life->range_count++] = range;
    return true;
}

/* The longer of two with one beginning stands first. */
static int
by_beginning(const void *a, const void *b)
{
    const struct range *left = a;
    const struct range *right = b;
    if (left->from != right->from)
        return left->from < right->from ? -1 : 1;
    return left->to == right->to ? 0 : left->to > right->to ? -1 : 1;
}

void
proof_sort_receipts(struct proof *proof)
{
    for (struct life *life = proof->table; life != NULL; life = life->hh.next) {
        qsort(life->ranges, life->range_count, sizeof(life->ranges[0]), by_beginning);
        size_t kept = 0;
        for (size_t i = 0; i < life->range_count; i++)
            if (kept == 0 || life->ranges[kept - 1].from != life->ranges[i].from)
                life->ranges[kept++] = life->ranges[i];
        life->range_count = kept;
    }
}

/* --- events --- */

bool
life_add_event(struct proof *proof, struct life *life, uint64_t offset, uint64_t hash)
{
    ASSERT(life->range_count > 0);

    if (offset < life->ranges[0].from || offset > OFFSET_MAX)
        return true;
    if (life->event_count == life->event_capacity) {
        size_t capacity = life->event_capacity == 0 ? EVENTS_FIRST : life->event_capacity * 2;
        struct event *grown = reallocarray(life->events, capacity, sizeof(*grown));
        if (grown == NULL)
            return false;
        life->events = grown;
        life->event_capacity = capacity;
    }
    life->events[life->event_count++] = (struct event){.offset = offset & OFFSET_MAX, .hash = hash};
    proof->event_count++;
    return true;
}

static int
by_offset(const void *a, const void *b)
{
    const struct event *left = a;
    const struct event *right = b;
    if (left->offset != right->offset)
        return left->offset < right->offset ? -1 : 1;
    return left->hash == right->hash ? 0 : left->hash < right->hash ? -1 : 1;
}

void
life_sort_events(struct proof *proof, struct life *life)
{
    if (life->event_count == 0)
        return;
    qsort(life->events, life->event_count, sizeof(life->events[0]), by_offset);
    size_t kept = 0;
    for (size_t i = 0; i < life->event_count; i++)
        if (kept == 0 || by_offset(&life->events[kept - 1], &life->events[i]) != 0)
            life->events[kept++] = life->events[i];
    proof->event_count -= life->event_count - kept;
    life->event_count = kept;
}

struct event *
life_find_event(struct life *life, uint64_t offset, uint64_t hash)
{
    struct event wanted = {.offset = offset & OFFSET_MAX, .hash = hash};
    if (offset > OFFSET_MAX || life->event_count == 0)
        return NULL;
    return bsearch(&wanted, life->events, life->event_count, sizeof(wanted), by_offset);
}

/* The last that begins at the byte or before it. Receipts overlap only where a position was set
 * back; then the later one is as good. */
struct range *
life_range_at(struct life *life, uint64_t offset)
{
    size_t low = 0;
    size_t high = life->range_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (life->ranges[middle].from <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    while (low > 0 && life->ranges[low - 1].to <= offset && low > 1 &&
           life->ranges[low - 2].to > offset)
        low--;
    return low > 0 && life->ranges[low - 1].to > offset ? &life->ranges[low - 1] : NULL;
}

/* --- judging --- */

/* Index of the first event at `offset` or behind it. */
static size_t
first_event(const struct life *life, uint64_t offset)
{
    size_t low = 0;
    size_t high = life->event_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (life->events[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void
judge_range(const struct life *life, const struct range *range, struct verdict *verdict)
{
    uint64_t held = first_event(life, range->to) - first_event(life, range->from);
    verdict->lines += range->lines;
    verdict->parts += range->parts;
    verdict->empty += range->empty;
    verdict->zeros += range->zeros;
    verdict->promised += range->events;
    verdict->held += held;
    if (held >= range->events)
        return;
    if (range->gone)
        verdict->deleted += range->events - held;
    else
        verdict->lost += range->events - held;
}

static void
count_event(const struct event *event, struct verdict *verdict)
{
    switch ((enum event_state)event->state) {
    case EVENT_TWICE:
        verdict->twice++;
        verdict->indexed++;
        break;
    case EVENT_INDEXED:
        verdict->indexed++;
        break;
    case EVENT_LETTER:
        verdict->letters++;
        break;
    case EVENT_WAITING:
        verdict->waiting++;
        break;
    case EVENT_UNKNOWN:
    case EVENT_MISSING:
        verdict->missing++;
        break;
    }
}

struct verdict
life_judge(struct life *life)
{
    ASSERT(life->range_count > 0);

    struct verdict verdict = {.from = life->ranges[0].from};
    for (size_t i = 0; i < life->range_count; i++) {
        const struct range *range = &life->ranges[i];
        judge_range(life, range, &verdict);
        if (verdict.to != 0 && range->from > verdict.to)
            verdict.holes += range->from - verdict.to;
        if (range->from < verdict.to)
            verdict.again += (range->to < verdict.to ? range->to : verdict.to) - range->from;
        if (range->to > verdict.to)
            verdict.to = range->to;
    }
    for (size_t i = 0; i < life->event_count; i++) {
        const struct event *event = &life->events[i];
        count_event(event, &verdict);
        if (event->offset >= verdict.to)
            verdict.newer++;
        else if (life_range_at(life, event->offset) == NULL)
            verdict.unreceipted++;
    }
    return verdict;
}

bool
verdict_is_fine(const struct verdict *verdict)
{
    return verdict->lost == 0 && verdict->deleted == 0 && verdict->missing == 0 &&
           verdict->twice == 0 && verdict->holes == 0;
}

bool
life_next_run(const struct life *life, enum event_state state, size_t *at, uint64_t *from,
              uint64_t *to, uint64_t *events)
{
    while (*at < life->event_count && life->events[*at].state != (uint64_t)state)
        (*at)++;
    if (*at == life->event_count)
        return false;
    size_t first = *at;
    while (*at < life->event_count && life->events[*at].state == (uint64_t)state)
        (*at)++;
    *from = life->events[first].offset;
    *events = *at - first;
    uint64_t end = life->ranges[life->range_count - 1].to;
    *to = *at < life->event_count ? life->events[*at].offset : end > *from ? end : *from + 1;
    return true;
}

bool
life_next_hole(const struct life *life, size_t *at, uint64_t *from, uint64_t *to)
{
    uint64_t covered = life->ranges[0].to;
    for (size_t i = 1; i < life->range_count; i++) {
        const struct range *range = &life->ranges[i];
        if (range->from > covered && i > *at) {
            *at = i;
            *from = covered;
            *to = range->from;
            return true;
        }
        if (range->to > covered)
            covered = range->to;
    }
    return false;
}
