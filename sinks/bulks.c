/* SPDX-License-Identifier: Apache-2.0 */
/* bulks.c: see bulks.h. */
#include "sinks/bulks.h"

#include <stdlib.h>

#include "core/assert.h"
#include "core/clock.h"
#include "core/log.h"
#include "sinks/flow.h"
#include "sinks/pipeline.h"
#include "sinks/sorting.h"

#define PREPARED_MS 3000                       /* no store restarts, empty, faster than this */
#define WORKING_SIZE_HOLDS_MS (10 * 60 * 1000) /* then bulks grow by a quarter, to try */

static struct bulk *
bulk_get(struct pipeline *pipeline, size_t count)
{
    struct bulk *bulk = pipeline->bulks;
    while (bulk != NULL && bulk->flying)
        bulk = bulk->next;
    if (bulk == NULL) {
        bulk = calloc(1, sizeof(*bulk));
        if (bulk == NULL)
            return NULL;
        bulk->pipeline = pipeline;
        bulk->next = pipeline->bulks;
        pipeline->bulks = bulk;
    }
    if (bulk->capacity >= count)
        return bulk;
    size_t capacity = count > BULK_ITEMS_MAX / 2 ? BULK_ITEMS_MAX : count * 2;
    struct output_item *items = reallocarray(bulk->out.items, capacity, sizeof(*items));
    if (items != NULL)
        bulk->out.items = items;
    struct document **documents =
        reallocarray(bulk->documents, capacity, sizeof(struct document *));
    if (documents != NULL)
        bulk->documents = documents;
    if (items == NULL || documents == NULL)
        return NULL;
    bulk->capacity = capacity;
    return bulk;
}

/* The index of a document; the name lives as long as the bulk is under way. */
static const char *
index_of(struct bulk *bulk, const struct route *route, const struct document *document)
{
    if (!route->daily)
        return route->index;
    size_t i = 0;
    while (i < bulk->day_count && bulk->days[i] != document->day)
        i++;
    if (i == bulk->day_count) {
        ASSERT(i < ROUTE_DAYS_MAX);
        bulk->days[i] = document->day;
        rotate_name(bulk->day_names[i], route->index, document->day);
        bulk->day_count++;
    }
    return bulk->day_names[i];
}

static void
send_bulk(struct pipeline *pipeline, struct route *route, struct document_list *list,
          uint64_t now_ms)
{
    struct bulk *bulk = bulk_get(pipeline, list->count);
    if (bulk == NULL) {
        route_put_back(route, list);
        fault_note(&pipeline->server_fault, "memory is short", now_ms);
        return;
    }
    ASSERT(bulk->documents != NULL);
    size_t count = 0;
    bulk->day_count = 0;
    bulk->out.value_bytes = list->bytes;
    struct document *document;
    while ((document = document_list_pop(list)) != NULL) {
        document->attempts++;
        bulk->documents[count] = document;
        bulk->out.items[count++] = (struct output_item){
            .index = index_of(bulk, route, document),
            .id = document->id,
            .id_size = document->id_size,
            .value = document->value,
            .value_size = document->value_size,
            .found = document->found,
        };
    }
    bulk->out.item_count = count;
    bulk->out.data = bulk;
    bulk->out.private_data = NULL;
    bulk->route = route;
    bulk->sent_ms = now_ms;
    bulk->flying = true;
    route->bulks_flying++;
    pipeline->bulks_flying++;
    pipeline->flying_bytes += bulk->out.value_bytes;
    pipeline->class->send(pipeline->output, &bulk->out, sorting_bulk_done, pipeline);
}

void
bulks_forget_prepared(struct pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline->route_count; i++)
        pipeline->routes[i].prepared = false;
}

/* Says what starts and what ends, once. */
void
bulks_note_server_fault(struct pipeline *pipeline, const char *reason, uint64_t now_ms)
{
    if (reason == NULL)
        reason = "no reason was given";
    if (fault_note(&pipeline->server_fault, reason, now_ms))
        pipeline_say(
            LOG_LEVEL_WARN,
            "the index is away, all routes wait: %s; it is tried again in %.1f s, then less "
            "often, at least every %d s",
            reason, (double)(pipeline->server_fault.until_ms - now_ms) / 1000,
            FAULT_WAIT_MAX_MS / 1000);
    bulks_forget_prepared(pipeline); /* whoever comes back may be empty */
}

void
bulks_note_route_fault(struct route *route, const char *reason, uint64_t now_ms)
{
    if (reason == NULL)
        reason = "no reason was given";
    if (fault_note(&route->fault, reason, now_ms))
        pipeline_say(LOG_LEVEL_WARN, "route %s -> %s waits, others go on: %s", route->topic,
                     route->index, reason);
}

/* The template or schema has to be there before the first document. */
static bool
prepare(struct pipeline *pipeline, struct route *route, uint64_t now_ms)
{
    /* After a silence nobody knows whether it is still the same store. */
    if (pipeline->bulks_flying == 0 && now_ms - pipeline->heard_ms > PREPARED_MS)
        bulks_forget_prepared(pipeline);
    if (route->prepared)
        return true;
    struct err err;
    if (!pipeline->class->prepare(pipeline->output,
                                  &pipeline->settings.options->routes[route - pipeline->routes],
                                  &err)) {
        if (err.action == ERR_REJECT)
            bulks_note_route_fault(route, err.text, now_ms);
        else
            bulks_note_server_fault(pipeline, err.text, now_ms);
        return false;
    }
    route->prepared = true;
    pipeline->heard_ms = clock_monotonic_ms();
    return true;
}

static bool
server_allows(const struct pipeline *pipeline, uint64_t now_ms)
{
    if (fault_waits(&pipeline->server_fault, now_ms))
        return false;
    if (pipeline->server_fault.active && pipeline->bulks_flying > 0)
        return false;
    return true;
}

void
bulks_send(struct pipeline *pipeline, bool flush, uint64_t now_ms)
{
    struct route_limits limits = {
        .bytes = pipeline->bulk_options.size,
        .interval_ms = pipeline->bulk_options.interval,
        .flush = flush || pipeline->server_fault.active,
    };
    if (pipeline->working_size > 0 && pipeline->working_size < limits.bytes)
        limits.bytes = pipeline->working_size;
    if (pipeline->server_fault.active && limits.bytes > PROBE_BYTES_MAX)
        limits.bytes = PROBE_BYTES_MAX;
    /* Full memory will not fill a bulk further, until an answer makes room. */
    limits.flush |= flow_is_full(pipeline, now_ms) && pipeline->bulks_flying == 0;

    size_t idle = 0;
    while (idle < pipeline->route_count && pipeline->class->ready(pipeline->output)) {
        struct route *route = &pipeline->routes[pipeline->next_route];
        pipeline->next_route = (pipeline->next_route + 1) % pipeline->route_count;
        if (!route_wants_bulk(route, &limits, now_ms)) {
            idle++;
            continue;
        }
        if (!server_allows(pipeline, now_ms))
            return;
        if (!prepare(pipeline, route, now_ms))
            continue; /* a fault is noted: what it stops wants no bulk */
        struct document_list list;
        route_fill_bulk(route, &limits, &list, now_ms);
        send_bulk(pipeline, route, &list, now_ms);
        idle = 0;
    }
}

void
bulks_shrink(struct pipeline *pipeline, size_t size, uint64_t now_ms)
{
    size_t smaller = pipeline->proven_size > 0 && pipeline->proven_size < size
                         ? pipeline->proven_size
                         : size / 2;
    if (pipeline->working_size == 0 || smaller < pipeline->working_size) {
        pipeline->working_size = smaller;
        pipeline_say(LOG_LEVEL_WARN,
                     "a bulk of %zu bytes is too large for the index; bulks have %zu from now on",
                     size, smaller);
    }
    pipeline->proven_size = 0;
    pipeline->working_ms = now_ms;
}

void
bulks_grow(struct pipeline *pipeline, uint64_t now_ms)
{
    if (pipeline->working_size == 0 || now_ms - pipeline->working_ms < WORKING_SIZE_HOLDS_MS)
        return;
    pipeline->proven_size = pipeline->working_size;
    pipeline->working_size += pipeline->working_size / 4;
    pipeline->working_ms = now_ms;
    if (pipeline->working_size >= pipeline->bulk_options.size)
        pipeline->working_size = 0;
}

void
bulks_free(struct pipeline *pipeline)
{
    while (pipeline->bulks != NULL) {
        struct bulk *bulk = pipeline->bulks;
        pipeline->bulks = bulk->next;
        for (size_t i = 0; bulk->flying && i < bulk->out.item_count; i++)
            pipeline_forget(pipeline, bulk->route, bulk->documents[i]);
        free(bulk->out.items);
        free(bulk->documents);
        free(bulk);
    }
}
