/* SPDX-License-Identifier: Apache-2.0 */
/* pipeline.c: see pipeline.h and README.md. One thread, one wait; from top to bottom the path of
 * a record: wait, take, send, sort, dead letters, commit. */
#include "sinks/pipeline.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "core/ask.h"
#include "core/assert.h"
#include "core/clock.h"
#include "core/health.h"
#include "core/log.h"
#include "sinks/counters.h"
#include "sinks/status.h"

#define TURN_RECORDS_MAX 4096 /* taken before answers get their turn again */
#define TURN_WAIT_MAX_MS 250  /* also the worst delay of a wake-up that librdkafka did not send */
#define STORE_INTERVAL_MS 200
#define HOUSEKEEP_INTERVAL_MS 1000
#define PREPARED_MS 3000 /* no store restarts, empty, faster than this */
#define SILENCE_MS 15000 /* a bulk without an answer for this long is worth a word */
#define WORKING_SIZE_HOLDS_MS (10 * 60 * 1000) /* then bulks grow by a quarter, to try */
#define LONE_REFUSAL_MS 5000 /* between two refusals that count though no others came */
#define RETENTION_STEP_MS 1000
#define RETENTION_INTERVAL_MS 3600000
#define STALL_MS 2000 /* a route that holds records and finishes none for this long */

#define BULK_OF(out) ((struct bulk *)(out)->data)

/* ---- the end of a document ---- */

static void
forget(struct pipeline *pipeline, struct route *route, struct document *document)
{
    ASSERT(route->held >= document->held);
    route->held -= document->held;
    document_free(&pipeline->pool, document);
}

static void
finish(struct pipeline *pipeline, struct route *route, struct document *document,
       enum route_outcome outcome)
{
    if (!document_is_late(document)) {
        consumer_finish(document->partition, document->generation, document->sequence);
        route->finished[outcome]++;
        route->progress_ms = clock_monotonic_ms();
    }
    forget(pipeline, route, document);
}

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
    log_warn("%s [%d] offset %lld is refused by %s: %s; it goes to %s", route->topic,
             document->partition->id, (long long)document->offset, route->index,
             route->last_refusal, route->dead_letter_topic);
    document_list_append(&route->letters, document);
}

/* ---- taking ---- */

static bool
take_one(struct pipeline *pipeline, const struct taken *taken, uint64_t now_ms)
{
    struct route *route = &pipeline->routes[taken->partition->route];
    struct document *document = document_new(&pipeline->pool, pipeline->consumer, taken);
    route->consumed++;
    if (document == NULL) {
        log_error("memory is short: cannot hold a record of %s", route->topic);
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
static bool
is_full(const struct pipeline *pipeline, uint64_t now_ms)
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

static bool
take_records(struct pipeline *pipeline, uint64_t now_ms, struct err *err)
{
    bool full = is_full(pipeline, now_ms);
    control_flow(pipeline, full, now_ms);
    pipeline->was_full |= full;
    if (full && !pipeline->all_paused)
        return true;
    consumer_clear_fd(pipeline->consumer);
    pipeline->maybe_more = true;
    pipeline->polled_ms = now_ms;
    struct taken taken;
    for (size_t i = 0; i < TURN_RECORDS_MAX; i++) {
        if (i % 64 == 0 && is_full(pipeline, now_ms) && !pipeline->all_paused) {
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

/* ---- sending ---- */

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

static void bulk_done(void *context, struct output_bulk *out, const struct err *err);

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
    pipeline->class->send(pipeline->output, &bulk->out, bulk_done, pipeline);
}

static void
forget_prepared(struct pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline->route_count; i++)
        pipeline->routes[i].prepared = false;
}

/* Says what starts and what ends, once. */
static void
note_server_fault(struct pipeline *pipeline, const char *reason, uint64_t now_ms)
{
    if (reason == NULL)
        reason = "no reason was given";
    if (fault_note(&pipeline->server_fault, reason, now_ms))
        log_warn("the index is away, all routes wait: %s; it is tried again in %.1f s, then less "
                 "often, at least every %d s",
                 reason, (double)(pipeline->server_fault.until_ms - now_ms) / 1000,
                 FAULT_WAIT_MAX_MS / 1000);
    forget_prepared(pipeline); /* whoever comes back may be empty */
}

static void
note_route_fault(struct route *route, const char *reason, uint64_t now_ms)
{
    if (reason == NULL)
        reason = "no reason was given";
    if (fault_note(&route->fault, reason, now_ms))
        log_warn("route %s -> %s waits, others go on: %s", route->topic, route->index, reason);
}

/* The template or schema has to be there before the first document. */
static bool
prepare(struct pipeline *pipeline, struct route *route, uint64_t now_ms)
{
    /* After a silence nobody knows whether it is still the same store. */
    if (pipeline->bulks_flying == 0 && now_ms - pipeline->heard_ms > PREPARED_MS)
        forget_prepared(pipeline);
    if (route->prepared)
        return true;
    struct err err;
    if (!pipeline->class->prepare(pipeline->output,
                                  &pipeline->settings.options->routes[route - pipeline->routes],
                                  &err)) {
        if (err.action == ERR_REJECT)
            note_route_fault(route, err.text, now_ms);
        else
            note_server_fault(pipeline, err.text, now_ms);
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

static void
send_bulks(struct pipeline *pipeline, bool flush, uint64_t now_ms)
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
    /* Full memory will not fill a bulk further. */
    limits.flush |= is_full(pipeline, now_ms);

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

/* ---- sorting what came back ---- */

struct sorting {
    struct pipeline *pipeline;
    struct route *route;
    struct document_list back;  /* to be sent again as soon as the fault is over */
    struct document_list split; /* to be cut in two */
    bool whole;                 /* the request was refused as a whole */
    bool any_passed;            /* some of its documents are done */
    bool noted;                 /* a fault is noted once, not for each item */
    uint64_t retry_wait_ms;     /* one for all: what was refused together comes back together */
    size_t count;
    uint64_t now_ms;
};

static void
retry_later(struct sorting *sorting, struct document *document)
{
    if (sorting->retry_wait_ms == 0)
        sorting->retry_wait_ms = backoff_ms(document->attempts > 0 ? document->attempts - 1 : 0,
                                            RETRY_WAIT_MIN_MS, RETRY_WAIT_MAX_MS);
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
    document_settle(document);
    sorting->route->retried++;
    document_list_append(&sorting->back, document);
}

static void
sort_item(struct sorting *sorting, struct document *document, const struct output_item *item)
{
    struct pipeline *pipeline = sorting->pipeline;
    struct route *route = sorting->route;
    switch (item->outcome) {
    case OUTPUT_INDEXED:
        finish(pipeline, route, document, ROUTE_INDEXED);
        return;
    case OUTPUT_DUPLICATE:
        finish(pipeline, route, document, ROUTE_DUPLICATE);
        return;
    case OUTPUT_FOUND:
        document->found = true;
        send_back(sorting, document);
        return;
    case OUTPUT_FAILURE_STORE:
        finish(pipeline, route, document, ROUTE_FAILURE_STORE);
        return;
    case OUTPUT_DOCUMENT:
        condemn(route, document, item->status, item->reason);
        return;
    case OUTPUT_RETRY:
        retry_later(sorting, document);
        return;
    case OUTPUT_INDEX_FAULT:
        if (!sorting->noted)
            note_route_fault(route, item->reason, sorting->now_ms);
        sorting->noted = true;
        send_back(sorting, document);
        return;
    case OUTPUT_SERVER_FAULT:
        if (!sorting->noted)
            note_server_fault(pipeline, item->reason, sorting->now_ms);
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

/* A 413: half of it, or what passed before the size last grew. */
static void
shrink_bulks(struct pipeline *pipeline, size_t size, uint64_t now_ms)
{
    size_t smaller = pipeline->proven_size > 0 && pipeline->proven_size < size
                         ? pipeline->proven_size
                         : size / 2;
    if (pipeline->working_size == 0 || smaller < pipeline->working_size) {
        pipeline->working_size = smaller;
        log_warn("a bulk of %zu bytes is too large for the index; bulks have %zu from now on", size,
                 smaller);
    }
    pipeline->proven_size = 0;
    pipeline->working_ms = now_ms;
}

/* One huge document, or a server's limit of that day, must not make bulks small for good. */
static void
grow_bulks(struct pipeline *pipeline, uint64_t now_ms)
{
    if (pipeline->working_size == 0 || now_ms - pipeline->working_ms < WORKING_SIZE_HOLDS_MS)
        return;
    pipeline->proven_size = pipeline->working_size;
    pipeline->working_size += pipeline->working_size / 4;
    pipeline->working_ms = now_ms;
    if (pipeline->working_size >= pipeline->bulk_options.size)
        pipeline->working_size = 0;
}

/* What the whole answer says about server and route, before its items are sorted. */
static void
judge(struct pipeline *pipeline, struct route *route, const struct output_bulk *out,
      const struct err *err, uint64_t now_ms)
{
    size_t passed = 0;
    bool server_fault = false;
    bool unknown = false;
    for (size_t i = 0; i < out->item_count; i++) {
        enum output_outcome outcome = out->items[i].outcome;
        passed += outcome == OUTPUT_INDEXED || outcome == OUTPUT_DUPLICATE ||
                  outcome == OUTPUT_FOUND || outcome == OUTPUT_FAILURE_STORE;
        server_fault |= outcome == OUTPUT_SERVER_FAULT;
        unknown |= outcome == OUTPUT_UNKNOWN;
    }
    if (!server_fault && fault_clear(&pipeline->server_fault))
        log_info("the index answers again");
    if (passed > 0) {
        route->successes += passed;
        route->unknown_streak = 0;
        if (fault_clear(&route->fault))
            log_info("route %s -> %s goes on", route->topic, route->index);
    } else if (unknown && ++route->unknown_streak > UNKNOWN_STREAK_MAX) {
        note_route_fault(route, err != NULL ? err->text : "every document is refused", now_ms);
    }
    if (err != NULL && out->items[0].outcome == OUTPUT_TOO_LARGE && out->item_count > 1)
        shrink_bulks(pipeline, out->value_bytes, now_ms);
}

static void
bulk_done(void *context, struct output_bulk *out, const struct err *err)
{
    struct pipeline *pipeline = context;
    struct bulk *bulk = BULK_OF(out);
    ASSERT(bulk->pipeline == pipeline);
    struct route *route = bulk->route;
    struct sorting sorting = {
        .pipeline = pipeline,
        .route = route,
        .whole = err != NULL,
        .count = out->item_count,
        .now_ms = clock_monotonic_ms(),
    };
    pipeline->heard_ms = sorting.now_ms;
    route->bulks_flying--;
    pipeline->bulks_flying--;
    pipeline->flying_bytes -= out->value_bytes;
    counters_note_bulk(pipeline, bulk, err, sorting.now_ms);
    uint64_t successes = route->successes;
    judge(pipeline, route, out, err, sorting.now_ms);
    sorting.any_passed = route->successes > successes;
    for (size_t i = 0; i < out->item_count; i++) {
        if (document_is_late(bulk->documents[i]))
            forget(pipeline, route, bulk->documents[i]);
        else
            sort_item(&sorting, bulk->documents[i], &out->items[i]);
    }
    route_put_back(route, &sorting.back);
    if (sorting.split.count > 1)
        route_suspect(route, &sorting.split);
    else
        route_put_back(route, &sorting.split);
    pipeline->class->release(pipeline->output, out);
    bulk->flying = false;
}

/* ---- dead letters ---- */

static void
note_letters_fault(struct route *route, const char *reason, uint64_t now_ms)
{
    char text[sizeof(route->letters_fault.reason)];
    size_t count = route->letters.count + route->letters_flying;
    int size = snprintf(text, sizeof(text), "%.240s. %zu document%s wait%s, none is lost", reason,
                        count, count == 1 ? "" : "s", count == 1 ? "s" : "");
    ASSERT(size > 0);
    route->letters_known = false;
    if (fault_note(&route->letters_fault, text, now_ms))
        log_warn("route %s -> %s waits: %s", route->topic, route->index, text);
}

/* The producer itself would hold a letter for a missing topic until its time is up. */
static bool
letters_may_go(struct pipeline *pipeline, struct route *route, uint64_t now_ms)
{
    struct err err;
    if (!route->letters_known &&
        !dead_letters_look(pipeline->letters, route->dead_letter_topic, &err)) {
        note_letters_fault(route, err.text, now_ms);
        return false;
    }
    route->letters_known = true;
    return true;
}

static void
letter_done(void *context, void *record, const struct err *err)
{
    struct pipeline *pipeline = context;
    struct document *document = record;
    struct route *route = &pipeline->routes[document->partition->route];
    route->letters_flying--;
    if (err == NULL) {
        if (fault_clear(&route->letters_fault))
            log_info("dead-letter topic %s takes letters again", route->dead_letter_topic);
        finish(pipeline, route, document, ROUTE_DEAD_LETTERED);
        return;
    }
    if (document_is_late(document) || pipeline->stopping) {
        forget(pipeline, route, document);
        return;
    }
    document_list_append(&route->letters, document);
    if (err->action == ERR_REJECT && !document->cut)
        document->cut = true;
    else
        note_letters_fault(route, err->text, clock_monotonic_ms());
}

static void
send_letters(struct pipeline *pipeline, struct route *route, uint64_t now_ms)
{
    if (route->letters.count == 0 && route->letters_flying == 0)
        fault_clear(&route->letters_fault);
    while (route->letters.count > 0 && !fault_waits(&route->letters_fault, now_ms) &&
           letters_may_go(pipeline, route, now_ms)) {
        struct document *document = route->letters.head;
        struct dead_letter letter = {
            .dead_letter_topic = route->dead_letter_topic,
            .id = document->id,
            .id_size = document->id_size,
            .key = document->key,
            .key_size = document->key_size,
            .value = document->raw,
            .value_size = document->raw_size,
            .topic = route->topic,
            .partition = document->partition->id,
            .offset = document->offset,
            .index = route->index,
            .reason = document->reason == NULL ? "" : document->reason,
            .status = document->status,
            .attempts = document->attempts,
            .cut = document->cut,
        };
        struct err err;
        if (dead_letters_send(pipeline->letters, &letter, document, &err)) {
            document_list_pop(&route->letters);
            route->letters_flying++;
        } else if (err.action == ERR_REJECT && !document->cut) {
            document->cut = true;
        } else {
            note_letters_fault(route, err.text, now_ms);
        }
    }
}

/* ---- what the consumer tells ---- */

static bool
anything_flies(const struct pipeline *pipeline)
{
    size_t letters = 0;
    for (size_t i = 0; i < pipeline->route_count; i++)
        letters += pipeline->routes[i].letters_flying;
    return pipeline->bulks_flying > 0 || letters > 0;
}

/* Waits for answers, sends nothing new. */
static void
drain(void *context, uint64_t timeout_ms)
{
    struct pipeline *pipeline = context;
    uint64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
    uint64_t now_ms;
    while (anything_flies(pipeline) && (now_ms = clock_monotonic_ms()) < deadline_ms) {
        struct pollfd fd = {.fd = consumer_fd(pipeline->consumer), .events = POLLIN};
        uint64_t left_ms = deadline_ms - now_ms;
        pipeline->class->wait(pipeline->output, &fd, 1, left_ms < 100 ? (int)left_ms : 100);
        consumer_clear_fd(pipeline->consumer); /* reports of dead letters ring there too */
        dead_letters_poll(pipeline->letters);
        health_beat(pipeline->settings.health);
    }
    pipeline->maybe_more = true;
}

static void
revoked(void *context, struct partition *partition, uint64_t open)
{
    struct pipeline *pipeline = context;
    struct route *route = &pipeline->routes[partition->route];
    route->finished[ROUTE_REVOKED] += open;
    route_drop_late(route, &pipeline->pool);
    if (route->full == partition)
        route->full = NULL;
    if (route->held == 0)
        fault_clear(&route->fault);
}

static void
lost(void *context, const struct partition *partition, uint64_t records)
{
    struct pipeline *pipeline = context;
    struct route *route = &pipeline->routes[partition->route];
    route->lost += records;
    log_error("%llu records of %s [%d] are lost: Kafka's retention deleted them before they were "
              "consumed; give the topic more retention or the sink more time",
              (unsigned long long)records, route->topic, partition->id);
}

static void
gap(void *context, const struct partition *partition, uint64_t offsets)
{
    struct pipeline *pipeline = context;
    struct route *route = &pipeline->routes[partition->route];
    route->gaps++;
    log_debug("%s [%d] holds no record at %llu offsets: transactions or compaction", route->topic,
              partition->id, (unsigned long long)offsets);
}

static void
note(void *context, int level, const char *text)
{
    (void)context;
    if (level <= 3)
        log_error("Kafka: %s", text);
    else if (level == 4)
        log_warn("Kafka: %s", text);
    else if (level <= 6)
        log_info("Kafka: %s", text);
    else
        log_debug("Kafka: %s", text);
}

/* ---- the loop ---- */

static uint64_t
longest_flight_ms(const struct pipeline *pipeline)
{
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t longest_ms = 0;
    for (const struct bulk *bulk = pipeline->bulks; bulk != NULL; bulk = bulk->next)
        if (bulk->flying && now_ms - bulk->sent_ms > longest_ms)
            longest_ms = now_ms - bulk->sent_ms;
    return longest_ms;
}

static void
tell_health(struct pipeline *pipeline)
{
    struct health *health = pipeline->settings.health;
    health_set(health, HEALTH_REMOTE, "kafka", consumer_problem(pipeline->consumer));
    const struct fault *server = &pipeline->server_fault;
    uint64_t silent_ms = longest_flight_ms(pipeline);
    char silence[64] = "";
    if (silent_ms >= SILENCE_MS) {
        int written = snprintf(silence, sizeof(silence), "no answer to a bulk for %llu s",
                               (unsigned long long)silent_ms / 1000);
        ASSERT(written > 0);
    }
    health_set(health, HEALTH_REMOTE, pipeline->class->name,
               server->active ? server->reason : silence);
    char text[512] = "";
    for (size_t i = 0; i < pipeline->route_count && text[0] == '\0'; i++) {
        const struct route *route = &pipeline->routes[i];
        const struct fault *fault = route->fault.active           ? &route->fault
                                    : route->letters_fault.active ? &route->letters_fault
                                                                  : NULL;
        if (fault == NULL)
            continue;
        int size = snprintf(text, sizeof(text), "%s -> %s waits: %.300s", route->topic,
                            route->index, fault->reason);
        ASSERT(size > 0);
    }
    health_set(health, HEALTH_REMOTE, "routes", text);
}

/* One step, when it is due: true. A fault is told with each try, once an hour. */
static bool
retain(struct pipeline *pipeline, size_t i, uint64_t now_ms)
{
    struct route *route = &pipeline->routes[i];
    const struct sink_route_options *options = &pipeline->settings.options->routes[i];
    if (options->retention == 0 || now_ms < route->retention_due_ms)
        return false;
    struct err err;
    struct output_retention *step = &route->retention;
    *step = (struct output_retention){.cursor = step->more ? step->cursor : 0};
    if (!pipeline->class->retain(pipeline->output, options, clock_wall_ms(), step, &err)) {
        log_warn("retention of %s: %s", route->index, err.text);
        step->more = false;
    } else if (step->deleted > 0) {
        log_info("retention of %llu days deleted %s",
                 (unsigned long long)options->retention / 86400000, step->text);
    }
    route->retired += step->deleted;
    route->retention_due_ms = now_ms + (step->more ? RETENTION_STEP_MS : RETENTION_INTERVAL_MS);
    return true;
}

static void
housekeep(struct pipeline *pipeline, uint64_t now_ms)
{
    if (now_ms - pipeline->stored_ms >= STORE_INTERVAL_MS) {
        pipeline->stored_ms = now_ms;
        consumer_store(pipeline->consumer);
    }
    if (now_ms - pipeline->housekept_ms < HOUSEKEEP_INTERVAL_MS)
        return;
    pipeline->housekept_ms = now_ms;
    consumer_idle(pipeline->consumer);
    counters_measure_lag(pipeline);
    grow_bulks(pipeline, now_ms);
    tell_health(pipeline);
    bool retained = pipeline->server_fault.active;
    for (size_t i = 0; i < pipeline->route_count && !retained; i++)
        retained = retain(pipeline, i, now_ms); /* one at a time: it holds the loop */
    (void)sd_notify(0, "WATCHDOG=1");
}

static void
serve_signals(struct pipeline *pipeline)
{
    struct signalfd_siginfo info;
    while (read(pipeline->settings.signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGHUP)
            pipeline->settings.reload(pipeline->settings.reload_context);
        else
            pipeline->stopping = true;
    }
}

static uint64_t
later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t
sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When the route has something to do by itself. */
static uint64_t
route_due_ms(const struct pipeline *pipeline, const struct route *route)
{
    uint64_t due_ms = UINT64_MAX;
    uint64_t fault_ms = 0;
    if (pipeline->server_fault.active)
        fault_ms = pipeline->server_fault.until_ms;
    if (route->fault.active)
        fault_ms = later(fault_ms, route->fault.until_ms);
    bool careful = pipeline->server_fault.active || route->fault.active;
    bool may_send = pipeline->class->ready(pipeline->output) && !route->letters_fault.active &&
                    !(careful && pipeline->bulks_flying > 0);
    if (route->retry.count > 0)
        due_ms = later(route->retry_due_ms, fault_ms);
    if (may_send && route->suspect_count > 0 && route->bulks_flying == 0)
        due_ms = sooner(due_ms, fault_ms);
    if (may_send && route->suspect_count == 0 && route->fresh.count > 0)
        due_ms = sooner(due_ms,
                        later(route->fresh_since_ms + pipeline->bulk_options.interval, fault_ms));
    if (route->letters.count > 0)
        due_ms = sooner(due_ms, route->letters_fault.active ? route->letters_fault.until_ms : 0);
    return due_ms;
}

/* How long to sleep: until something is due, at most TURN_WAIT_MAX_MS. */
static int
sleep_ms(const struct pipeline *pipeline, uint64_t now_ms)
{
    if (pipeline->maybe_more && (!is_full(pipeline, now_ms) || pipeline->all_paused))
        return 0;
    uint64_t due_ms = now_ms + TURN_WAIT_MAX_MS;
    for (size_t i = 0; i < pipeline->route_count; i++)
        due_ms = sooner(due_ms, route_due_ms(pipeline, &pipeline->routes[i]));
    return due_ms > now_ms ? (int)(due_ms - now_ms) : 1;
}

static bool
turn(struct pipeline *pipeline, struct err *err)
{
    struct pollfd fds[] = {
        {.fd = consumer_fd(pipeline->consumer), .events = POLLIN},
        {.fd = pipeline->settings.signal_fd, .events = POLLIN},
        {.fd = ask_fd(pipeline->settings.ask), .events = POLLIN},
    };
    pipeline->class->wait(pipeline->output, fds, sizeof(fds) / sizeof(fds[0]),
                          sleep_ms(pipeline, clock_monotonic_ms()));
    uint64_t now_ms = clock_monotonic_ms();
    health_beat(pipeline->settings.health);
    if (fds[0].revents != 0)
        pipeline->maybe_more = true;
    if (fds[1].revents != 0)
        serve_signals(pipeline);

    bool tick = now_ms - pipeline->polled_ms >= TURN_WAIT_MAX_MS;
    if (is_full(pipeline, now_ms))
        consumer_clear_fd(
            pipeline->consumer); /* it would wake us without need; maybe_more is set */
    if ((pipeline->maybe_more || tick) && !take_records(pipeline, now_ms, err))
        return false;
    for (size_t i = 0; i < pipeline->route_count; i++) {
        route_wake(&pipeline->routes[i], now_ms);
        send_letters(pipeline, &pipeline->routes[i], now_ms);
    }
    send_bulks(pipeline, false, now_ms);
    dead_letters_poll(pipeline->letters);
    housekeep(pipeline, now_ms);
    counters_publish(pipeline);
    ask_serve(pipeline->settings.ask, status_answer, pipeline);
    return true;
}

static bool
all_finished(struct pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline->route_count; i++)
        if (route_in_flight(&pipeline->routes[i]) > 0)
            return false;
    return true;
}

/* What is under way is finished, what only waits is left to the next start. */
static void
stop(struct pipeline *pipeline)
{
    (void)sd_notify(0, "STOPPING=1");
    log_info("stopping: waiting for what is under way");
    drain(pipeline, STOP_DRAIN_MS);
    struct err err;
    if (!consumer_commit_wait(pipeline->consumer, STOP_COMMIT_MS, &err))
        log_warn("%s: what was not committed is read again and found to be there", err.text);
    consumer_close(pipeline->consumer, STOP_LEAVE_MS);
    counters_publish(pipeline);
}

bool
pipeline_run(struct pipeline *pipeline, struct err *err)
{
    if (pipeline->settings.once && !consumer_mark_ends(pipeline->consumer, err))
        return false;
    if (!consumer_subscribe(pipeline->consumer, err))
        return false;
    (void)sd_notify(0, "READY=1");
    uint64_t looked_ms = clock_monotonic_ms();
    pipeline->polled_ms = looked_ms;
    bool fine = true;
    while (fine && !pipeline->stopping) {
        fine = turn(pipeline, err);
        if (!fine || !pipeline->settings.once || clock_monotonic_ms() - looked_ms < 500 ||
            !all_finished(pipeline))
            continue;
        looked_ms = clock_monotonic_ms();
        if (consumer_reached_ends(pipeline->consumer))
            break;
    }
    stop(pipeline);
    return fine;
}

/* ---- birth and death ---- */

static bool
open_parts(struct pipeline *pipeline, struct err *err)
{
    const struct sink_options *options = pipeline->settings.options;
    pipeline->routes = calloc(options->route_count, sizeof(*pipeline->routes));
    pipeline->series = calloc(options->route_count, sizeof(*pipeline->series));
    if (pipeline->routes == NULL || pipeline->series == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot set up the routes: out of memory");
    for (; pipeline->route_count < options->route_count; pipeline->route_count++)
        if (!route_init(&pipeline->routes[pipeline->route_count],
                        &options->routes[pipeline->route_count], err))
            return false;
    if (!pipeline->class->open(&pipeline->output, options, pipeline->settings.metrics, err))
        return false;
    struct consumer_hooks hooks = {
        .context = pipeline,
        .drain = drain,
        .revoked = revoked,
        .lost = lost,
        .gap = gap,
        .note = note,
    };
    if (!consumer_new(&pipeline->consumer, options, &hooks, pipeline->settings.once, err))
        return false;
    return dead_letters_new(&pipeline->letters, options, consumer_fd(pipeline->consumer),
                            letter_done, pipeline, err);
}

bool
pipeline_new(struct pipeline **out, const struct pipeline_settings *settings, struct err *err)
{
    ASSERT(settings->options->route_count > 0);

    struct pipeline *pipeline = calloc(1, sizeof(*pipeline));
    if (pipeline == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot start: out of memory");
    pipeline->settings = *settings;
    pipeline->bulk_options = settings->options->bulk;
    pipeline->class = settings->options->sqlite_given ? &output_sqlite : &output_elasticsearch;
    pipeline->started_ms = clock_monotonic_ms();
    document_pool_init(&pipeline->pool);
    /* Who owns the template owns the shape of documents too; SQLite has no fields to protect. */
    pipeline->pool.nests = !settings->options->sqlite_given &&
                           settings->options->elasticsearch.template &&
                           settings->options->elasticsearch.template_file[0] == '\0';
    if (!open_parts(pipeline, err)) {
        pipeline_free(pipeline);
        return false;
    }
    counters_open(pipeline);
    *out = pipeline;
    return true;
}

/* With the documents of those that never came back. */
static void
free_bulks(struct pipeline *pipeline)
{
    while (pipeline->bulks != NULL) {
        struct bulk *bulk = pipeline->bulks;
        pipeline->bulks = bulk->next;
        for (size_t i = 0; bulk->flying && i < bulk->out.item_count; i++)
            forget(pipeline, bulk->route, bulk->documents[i]);
        free(bulk->out.items);
        free(bulk->documents);
        free(bulk);
    }
}

void
pipeline_free(struct pipeline *pipeline)
{
    if (pipeline == NULL)
        return;
    pipeline->stopping = true;
    dead_letters_free(pipeline->letters);
    pipeline->class->close(pipeline->output);
    free_bulks(pipeline);
    for (size_t i = 0; i < pipeline->route_count; i++)
        route_done(&pipeline->routes[i], &pipeline->pool);
    consumer_free(pipeline->consumer);
    document_pool_done(&pipeline->pool);
    free(pipeline->routes);
    free(pipeline->series);
    free(pipeline);
}

void
pipeline_reload(struct pipeline *pipeline, const struct sink_options *options)
{
    uint64_t memory = pipeline->bulk_options.memory;
    pipeline->bulk_options = options->bulk;
    pipeline->bulk_options.memory = memory; /* needs a restart */
    pipeline->working_size = 0;
    if (pipeline->class->reload != NULL)
        pipeline->class->reload(pipeline->output, options);
}

size_t
pipeline_check(struct pipeline *pipeline, struct buffer *report)
{
    return consumer_check(pipeline->consumer, report) +
           pipeline->class->check(pipeline->output, report);
}
