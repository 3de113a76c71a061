/* SPDX-License-Identifier: Apache-2.0 */
/* sorting.c: see sorting.h. */
#include "sinks/sorting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/clock.h"
#include "core/log.h"
#include "sinks/bulks.h"
#include "sinks/counters.h"
#include "sinks/pipeline.h"

#define LONE_REFUSAL_MS 5000 /* between two refusals that count though no others came */

/* Smaller bulks than these do not help a store that is short of memory. */
#define SHORT_OF_MEMORY_BYTES_MIN (128 * 1024)

/* A bulk of this size that is refused as a whole is most of the fetch responses that it came in:
 * its documents wait where they are. */
#define UNSETTLED_BYTES_MIN (256 * 1024)

#define BULK_OF(out) ((struct bulk *)(out)->data)

struct sorting {
    struct pipeline *pipeline;
    struct route *route;
    struct document_list back;  /* to be sent again as soon as the fault is over */
    struct document_list split; /* to be cut in two */
    bool whole;                 /* the request was refused as a whole */
    bool any_passed;            /* some of its documents are done */
    bool noted;                 /* a fault is noted once, not for each item */
    bool settles;               /* what has to wait must not keep a fetch response alive */
    bool lone;                  /* the server's first fault since an answer: no reason to stop */
    uint64_t retry_wait_ms;     /* one for all: what was refused together comes back together */
    size_t count;
    size_t stored;     /* of them */
    int64_t oldest_ms; /* timestamp of the oldest of those, INT64_MAX: none has one */
    uint64_t now_ms;
};

/* The document waits for its turn as a dead letter; from here on it needs its own bytes. */
static void
condemn(struct route *route, struct document *document, int status, const char *reason)
{
    document_settle(document);
    free(document->reason);
    document->reason = strdup(reason == NULL ? "no reason was given" : reason);
    document->status = status;
    int size = snprintf(route->last_refusal, sizeof(route->last_refusal), "%s",
                        document->reason == NULL ? "" : document->reason);
    ASSERT(size >= 0);
    pipeline_say(LOG_LEVEL_WARN, "%s [%d] offset %lld is refused by %s: %s; it goes to %s",
                 route->topic, document->partition->id, (long long)document->offset, route->index,
                 route->last_refusal, route->dead_letter_topic);
    document_list_append(&route->letters, document);
}

static void
retry_later(struct sorting *sorting, struct document *document)
{
    if (sorting->retry_wait_ms == 0)
        sorting->retry_wait_ms = backoff_ms(document->attempts > 0 ? document->attempts - 1 : 0,
                                            RETRY_WAIT_MIN_MS, RETRY_WAIT_MAX_MS);
    if (sorting->settles)
        document_settle(document);
    sorting->route->retried++;
    route_retry(sorting->route, document, sorting->now_ms + sorting->retry_wait_ms);
}

/* A refusal that the table does not know. It counts when others passed since the last one; on a
 * topic where no others come, time has to do: others did pass when this one was first refused. */
static void
doubt(struct sorting *sorting, struct document *document, const struct output_item *item)
{
    struct route *route = sorting->route;
    if (sorting->whole && sorting->count > 1) {
        document_list_append(&sorting->split, document);
        return;
    }
    bool first = document->refusals == 0;
    bool others = first ? sorting->any_passed : route->successes > document->refused_at;
    document->others_passed |= others;
    if (first || others ||
        (document->others_passed && sorting->now_ms - document->refused_ms > LONE_REFUSAL_MS)) {
        document->refusals++;
        document->refused_ms = sorting->now_ms;
    }
    document->refused_at = route->successes;
    if (document->refusals >= REFUSALS_MAX)
        condemn(route, document, item->status, item->reason);
    else
        retry_later(sorting, document);
}

static void
send_back(struct sorting *sorting, struct document *document)
{
    if (sorting->settles)
        document_settle(document);
    sorting->route->retried++;
    document_list_append(&sorting->back, document);
}

static void
note_stored(struct sorting *sorting, const struct document *document)
{
    sorting->stored++;
    if (document->timestamp_ms >= 0 && document->timestamp_ms < sorting->oldest_ms)
        sorting->oldest_ms = document->timestamp_ms;
}

static void
sort_item(struct sorting *sorting, struct document *document, const struct output_item *item)
{
    struct pipeline *pipeline = sorting->pipeline;
    struct route *route = sorting->route;
    switch (item->outcome) {
    case OUTPUT_INDEXED:
        pipeline_finish(pipeline, route, document, ROUTE_INDEXED, sorting->now_ms);
        return;
    case OUTPUT_DUPLICATE:
        pipeline_finish(pipeline, route, document, ROUTE_DUPLICATE, sorting->now_ms);
        return;
    case OUTPUT_FOUND:
        document->found = true;
        send_back(sorting, document);
        return;
    case OUTPUT_FAILURE_STORE:
        pipeline_finish(pipeline, route, document, ROUTE_FAILURE_STORE, sorting->now_ms);
        return;
    case OUTPUT_DOCUMENT:
        condemn(route, document, item->status, item->reason);
        return;
    case OUTPUT_RETRY:
    case OUTPUT_RETRY_SMALLER:
        retry_later(sorting, document);
        return;
    case OUTPUT_INDEX_FAULT:
        if (!sorting->noted)
            bulks_note_route_fault(route, item->reason, sorting->now_ms);
        sorting->noted = true;
        send_back(sorting, document);
        return;
    case OUTPUT_SERVER_FAULT:
        if (sorting->lone) {
            retry_later(sorting, document);
            return;
        }
        if (!sorting->noted)
            bulks_note_server_fault(pipeline, item->reason, sorting->now_ms);
        sorting->noted = true;
        send_back(sorting, document);
        return;
    case OUTPUT_TOO_LARGE:
        if (sorting->count == 1 || !sorting->whole)
            condemn(route, document, item->status, "larger than the index takes");
        else
            send_back(sorting, document);
        return;
    case OUTPUT_UNKNOWN:
        doubt(sorting, document, item);
        return;
    case OUTPUT_PENDING:
        break;
    }
    ASSERT(item->outcome != OUTPUT_PENDING);
}

/* True when others may go on although the server did not take this bulk: every load balancer has
 * a moment. When the next one fails too, the server is away. */
static bool
is_lone_fault(struct pipeline *pipeline, const char *reason)
{
    if (pipeline->server_doubted || pipeline->server_fault.active)
        return false;
    pipeline->server_doubted = true;
    bulks_forget_prepared(pipeline); /* it may have been a restart of an empty store */
    pipeline_say(LOG_LEVEL_WARN, "a bulk failed and is sent again, others go on: %s", reason);
    return true;
}

/* What the whole answer says about server and route, before its items are sorted. When something
 * is the server's fault, the reason. */
static const char *
judge(struct pipeline *pipeline, struct route *route, const struct output_bulk *out,
      const struct err *err, uint64_t now_ms)
{
    size_t passed = 0;
    const char *server_fault = NULL;
    bool unknown = false;
    for (size_t i = 0; i < out->item_count; i++) {
        enum output_outcome outcome = out->items[i].outcome;
        passed += outcome == OUTPUT_INDEXED || outcome == OUTPUT_DUPLICATE ||
                  outcome == OUTPUT_FOUND || outcome == OUTPUT_FAILURE_STORE;
        if (outcome == OUTPUT_SERVER_FAULT && server_fault == NULL)
            server_fault =
                out->items[i].reason == NULL ? "no reason was given" : out->items[i].reason;
        unknown |= outcome == OUTPUT_UNKNOWN;
    }
    if (server_fault == NULL) {
        pipeline->server_doubted = false;
        if (fault_clear(&pipeline->server_fault))
            pipeline_say(LOG_LEVEL_INFO, "the index answers again");
    }
    if (passed > 0) {
        route->successes += passed;
        route->unknown_streak = 0;
        if (fault_clear(&route->fault))
            pipeline_say(LOG_LEVEL_INFO, "route %s -> %s goes on", route->topic, route->index);
    } else if (unknown && ++route->unknown_streak > UNKNOWN_STREAK_MAX) {
        bulks_note_route_fault(route, err != NULL ? err->text : "every document is refused",
                               now_ms);
    }
    bool too_large = out->items[0].outcome == OUTPUT_TOO_LARGE ||
                     (out->items[0].outcome == OUTPUT_RETRY_SMALLER &&
                      out->value_bytes > SHORT_OF_MEMORY_BYTES_MIN);
    if (err != NULL && too_large && out->item_count > 1)
        bulks_shrink(pipeline, out->value_bytes, now_ms);
    return server_fault;
}

void
sorting_bulk_done(void *context, struct output_bulk *out, const struct err *err)
{
    struct pipeline *pipeline = context;
    struct bulk *bulk = BULK_OF(out);
    ASSERT(bulk->pipeline == pipeline);
    struct route *route = bulk->route;
    struct sorting sorting = {
        .pipeline = pipeline,
        .route = route,
        .whole = err != NULL,
        .settles = err == NULL || out->value_bytes < UNSETTLED_BYTES_MIN,
        .count = out->item_count,
        .oldest_ms = INT64_MAX,
        .now_ms = clock_monotonic_ms(),
    };
    pipeline->heard_ms = sorting.now_ms;
    route->bulks_flying--;
    pipeline->bulks_flying--;
    pipeline->flying_bytes -= out->value_bytes;
    uint64_t successes = route->successes;
    const char *server_fault = judge(pipeline, route, out, err, sorting.now_ms);
    sorting.lone = server_fault != NULL && is_lone_fault(pipeline, server_fault);
    sorting.any_passed = route->successes > successes;
    for (size_t i = 0; i < out->item_count; i++) {
        struct document *document = bulk->documents[i];
        enum output_outcome outcome = out->items[i].outcome;
        if (outcome == OUTPUT_INDEXED || outcome == OUTPUT_DUPLICATE)
            note_stored(&sorting, document);
        if (document_is_late(document))
            pipeline_forget(pipeline, route, document);
        else
            sort_item(&sorting, document, &out->items[i]);
    }
    counters_note_bulk(pipeline, bulk, err, sorting.stored, sorting.now_ms);
    if (sorting.oldest_ms != INT64_MAX)
        counters_note_age(pipeline, route, sorting.oldest_ms);
    route_put_back(route, &sorting.back);
    if (sorting.split.count > 1)
        route_suspect(route, &sorting.split);
    else
        route_put_back(route, &sorting.split);
    pipeline->class->release(pipeline->output, out);
    bulk->flying = false;
}
