/* SPDX-License-Identifier: Apache-2.0 */
/* flow.c: see flow.h. */
#include "sinks/flow.h"

#include <errno.h>

#include "core/clock.h"
#include "core/log.h"
#include "sinks/pipeline.h"

#define TURN_RECORDS_MAX 4096 /* taken before answers get their turn again */
#define STALL_MS 2000         /* a route that holds records and finishes none for this long */

static bool
take_one(struct pipeline *pipeline, const struct taken *taken, uint64_t now_ms)
{
    struct route *route = &pipeline->routes[taken->partition->route];
    struct document *document = document_new(&pipeline->pool, pipeline->consumer, taken);
    route->consumed++;
    if (document == NULL) {
        pipeline_say(LOG_LEVEL_ERROR, "memory is short: cannot hold a record of %s", route->topic);
        return false;
    }
    if (route->daily)
        document->day = rotate_day(document->value, document->value_size, document->timestamp_ms);
    route_add(route, document, now_ms);
    if (!offsets_has_room(&taken->partition->offsets) && route->full == NULL) {
        route->full = taken->partition;
        consumer_pause(pipeline->consumer, taken->partition->route, true);
    }
    return true;
}

/* A route may hold this much while it stands still; the rest belongs to the others. */
static size_t
standing_share(const struct pipeline *pipeline)
{
    size_t memory = pipeline->bulk_options.memory;
    return pipeline->route_count <= 1 ? memory : memory / (2 * pipeline->route_count);
}

static bool
is_standing(const struct route *route, uint64_t now_ms)
{
    return route->fault.active || route->letters_fault.active ||
           (route->held > 0 && now_ms - route->progress_ms > STALL_MS);
}

/* Short back-pressure is not taking. Pausing throws the prefetch away, so it is kept for two
 * cases: a route that stands still while others could go on, and a stop so long that the group
 * would expel us. */
static void
control_flow(struct pipeline *pipeline, bool full, uint64_t now_ms)
{
    uint64_t patience_ms = consumer_poll_interval_ms(pipeline->consumer) / 4;
    if (!full)
        pipeline->all_paused = false;
    else if (now_ms - pipeline->polled_ms > patience_ms)
        pipeline->all_paused = true;

    size_t share = standing_share(pipeline);
    for (size_t i = 0; i < pipeline->route_count; i++) {
        struct route *route = &pipeline->routes[i];
        if (route->full != NULL &&
            route->full->offsets.next - route->full->offsets.first < OFFSETS_ENTRIES_MAX / 2)
            route->full = NULL;
        bool hogs = pipeline->route_count > 1 && route->held > share && is_standing(route, now_ms);
        consumer_pause(pipeline->consumer, i, pipeline->all_paused || hogs || route->full != NULL);
    }
}

/* True when no more may be taken now: memory is used up, or one route took three quarters of it
 * and is not yet known to stand still. */
bool
flow_is_full(const struct pipeline *pipeline, uint64_t now_ms)
{
    size_t memory = pipeline->bulk_options.memory;
    size_t limit = pipeline->all_paused ? memory / 4 * 3 : memory;
    if (pipeline_held_bytes(pipeline) >= limit)
        return true;
    for (size_t i = 0; pipeline->route_count > 1 && i < pipeline->route_count; i++)
        if (pipeline->routes[i].held > memory / 4 * 3 && !is_standing(&pipeline->routes[i], now_ms))
            return true;
    return false;
}

bool
flow_take(struct pipeline *pipeline, uint64_t now_ms, struct err *err)
{
    bool full = flow_is_full(pipeline, now_ms);
    control_flow(pipeline, full, now_ms);
    pipeline->was_full |= full;
    if (full && !pipeline->all_paused)
        return true;
    consumer_clear_fd(pipeline->consumer);
    pipeline->maybe_more = true;
    pipeline->polled_ms = now_ms;
    struct taken taken;
    for (size_t i = 0; i < TURN_RECORDS_MAX; i++) {
        if (i % 64 == 0 && flow_is_full(pipeline, now_ms) && !pipeline->all_paused) {
            pipeline->was_full = true;
            return true;
        }
        if (!consumer_take(pipeline->consumer, &taken)) {
            pipeline->maybe_more = false;
            if (pipeline->was_full)
                consumer_wake(pipeline->consumer);
            pipeline->was_full = false;
            return true;
        }
        if (!take_one(pipeline, &taken, now_ms)) {
            rd_kafka_message_destroy(taken.message);
            return err_set(err, ERR_STOP, ENOMEM, "cannot hold a record: out of memory");
        }
    }
    return true;
}
