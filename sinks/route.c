/* SPDX-License-Identifier: Apache-2.0 */
/* route.c: see route.h. */
#include "sinks/route.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"

const char *const route_outcome_names[ROUTE_OUTCOME_COUNT] = {
    "indexed", "duplicate", "failure_store", "dead_lettered", "skipped", "revoked"};

uint64_t
backoff_ms(unsigned failures, uint64_t min_ms, uint64_t max_ms)
{
    uint64_t whole = min_ms << (failures < 20 ? failures : 20);
    if (whole > max_ms)
        whole = max_ms;
    return whole / 2 + (uint64_t)random() % (whole / 2 + 1);
}

bool
fault_note(struct fault *fault, const char *reason, uint64_t now_ms)
{
    int size = snprintf(fault->reason, sizeof(fault->reason), "%s", reason);
    ASSERT(size >= 0);
    bool started = !fault->active;
    if (started)
        fault->since_ms = now_ms;
    if (started || now_ms >= fault->until_ms) {
        fault->until_ms =
            now_ms + backoff_ms(fault->failures, FAULT_WAIT_MIN_MS, FAULT_WAIT_MAX_MS);
        fault->failures++;
    }
    fault->active = true;
    return started;
}

bool
fault_clear(struct fault *fault)
{
    bool was_active = fault->active;
    fault->active = false;
    fault->failures = 0;
    fault->until_ms = 0;
    return was_active;
}

bool
fault_waits(const struct fault *fault, uint64_t now_ms)
{
    return fault->active && now_ms < fault->until_ms;
}

bool
route_init(struct route *route, const struct sink_route_options *options, struct err *err)
{
    *route = (struct route){
        .topic = options->topic,
        .index = options->index,
        .daily = options->rotate == ROTATE_DAILY,
    };
    int size = options->dead_letter_topic[0] != '\0'
                   ? asprintf(&route->dead_letter_topic, "%s", options->dead_letter_topic)
                   : asprintf(&route->dead_letter_topic, "%s.dlq", options->topic);
    if (size < 0) {
        route->dead_letter_topic = NULL;
        return err_set(err, ERR_STOP, ENOMEM, "cannot set up a route: out of memory");
    }
    return true;
}

static void
free_list(struct document_list *list, struct document_pool *pool)
{
    struct document *document;
    while ((document = document_list_pop(list)) != NULL)
        document_free(pool, document);
}

void
route_done(struct route *route, struct document_pool *pool)
{
    free_list(&route->fresh, pool);
    free_list(&route->retry, pool);
    free_list(&route->letters, pool);
    for (size_t i = 0; i < route->suspect_count; i++)
        free_list(&route->suspects[i], pool);
    route->suspect_count = 0;
    free(route->dead_letter_topic);
    route->dead_letter_topic = NULL;
}

uint64_t
route_in_flight(const struct route *route)
{
    uint64_t finished = 0;
    for (size_t i = 0; i < ROUTE_OUTCOME_COUNT; i++)
        finished += route->finished[i];
    ASSERT(finished <= route->consumed);
    return route->consumed - finished;
}

void
route_add(struct route *route, struct document *document, uint64_t now_ms)
{
    if (route->fresh.count == 0)
        route->fresh_since_ms = now_ms;
    if (route->held == 0)
        route->progress_ms = now_ms;
    route->held += document->held;
    document_list_append(&route->fresh, document);
}

void
route_put_back(struct route *route, struct document_list *list)
{
    if (list->count == 0)
        return;
    document_list_join_front(&route->fresh, list);
    route->fresh_since_ms = 0;
}

void
route_retry(struct route *route, struct document *document, uint64_t due_ms)
{
    document->due_ms = due_ms;
    if (route->retry.count == 0 || due_ms < route->retry_due_ms)
        route->retry_due_ms = due_ms;
    document_list_append(&route->retry, document);
}

void
route_wake(struct route *route, uint64_t now_ms)
{
    if (route->retry.count == 0 || now_ms < route->retry_due_ms)
        return;
    struct document_list waiting = route->retry;
    struct document_list due = {0};
    struct document *document;
    route->retry = (struct document_list){0};
    while ((document = document_list_pop(&waiting)) != NULL) {
        if (document->due_ms <= now_ms)
            document_list_append(&due, document);
        else
            route_retry(route, document, document->due_ms);
    }
    if (due.count == 0)
        return;
    /* A few that were refused make no bulk of their own while others are under way: they go with
     * the next full one, or when they waited as long as new ones do. */
    if (route->bulks_flying == 0)
        route->fresh_since_ms = 0;
    else if (route->fresh.count == 0)
        route->fresh_since_ms = now_ms;
    document_list_join_front(&route->fresh, &due);
}

void
route_suspect(struct route *route, struct document_list *list)
{
    ASSERT(list->count > 1);

    if (route->suspect_count + 2 > ROUTE_SUSPECTS_MAX) {
        route_put_back(route, list);
        return;
    }
    struct document_list *second = &route->suspects[route->suspect_count++];
    struct document_list *first = &route->suspects[route->suspect_count++];
    *first = (struct document_list){0};
    *second = (struct document_list){0};
    for (size_t half = list->count / 2; half > 0; half--)
        document_list_append(first, document_list_pop(list));
    document_list_join_front(second, list);
}

static void
drop_late_of(struct document_list *list, struct document_pool *pool, size_t *held)
{
    struct document_list all = *list;
    struct document *document;
    *list = (struct document_list){0};
    while ((document = document_list_pop(&all)) != NULL) {
        if (!document_is_late(document)) {
            document_list_append(list, document);
            continue;
        }
        *held += document->held;
        document_free(pool, document);
    }
}

void
route_drop_late(struct route *route, struct document_pool *pool)
{
    size_t freed = 0;
    drop_late_of(&route->fresh, pool, &freed);
    drop_late_of(&route->retry, pool, &freed);
    drop_late_of(&route->letters, pool, &freed);
    size_t kept = 0;
    for (size_t i = 0; i < route->suspect_count; i++) {
        drop_late_of(&route->suspects[i], pool, &freed);
        if (route->suspects[i].count > 0)
            route->suspects[kept++] = route->suspects[i];
    }
    route->suspect_count = kept;
    ASSERT(freed <= route->held);
    route->held -= freed;
}

bool
route_wants_bulk(const struct route *route, const struct route_limits *limits, uint64_t now_ms)
{
    /* One at a time while something is refused or wrong: each answer decides on the next. */
    bool careful = route->suspect_count > 0 || route->fault.active;
    if (fault_waits(&route->fault, now_ms) || route->letters_fault.active)
        return false;
    if (careful && route->bulks_flying > 0)
        return false;
    if (route->suspect_count > 0)
        return true;
    if (route->fresh.count == 0)
        return false;
    return limits->flush || route->fault.active || route->fresh.bytes >= limits->bytes ||
           route->fresh.count >= BULK_ITEMS_MAX ||
           now_ms - route->fresh_since_ms >= limits->interval_ms;
}

/* True when a bulk with these days may hold one more document of `day`. */
static bool
day_fits(int32_t days[ROUTE_DAYS_MAX], size_t *count, int32_t day)
{
    for (size_t i = 0; i < *count; i++)
        if (days[i] == day)
            return true;
    if (*count == ROUTE_DAYS_MAX)
        return false;
    days[(*count)++] = day;
    return true;
}

void
route_fill_bulk(struct route *route, const struct route_limits *limits, struct document_list *out,
                uint64_t now_ms)
{
    *out = (struct document_list){0};
    if (route->suspect_count > 0) {
        *out = route->suspects[--route->suspect_count];
        return;
    }
    size_t bytes_max = limits->bytes;
    if (route->fault.active && bytes_max > PROBE_BYTES_MAX)
        bytes_max = PROBE_BYTES_MAX;
    struct document_list other_days = {0};
    int32_t days[ROUTE_DAYS_MAX];
    size_t day_count = 0;
    while (route->fresh.count > 0 && out->count < BULK_ITEMS_MAX) {
        struct document *next = route->fresh.head;
        if (out->count > 0 && out->bytes + next->id_size + next->value_size > bytes_max)
            break;
        (void)document_list_pop(&route->fresh);
        bool fits = !route->daily || day_fits(days, &day_count, next->day);
        document_list_append(fits ? out : &other_days, next);
    }
    route->fresh_since_ms = now_ms;
    route_put_back(route, &other_days); /* due at once */
}
