/* SPDX-License-Identifier: Apache-2.0 */
/* pipeline.c: see pipeline.h and README.md. One thread, one wait. A turn of the loop is the path
 * of a record: wait, take (flow.c), dead letters (letters.c), send (bulks.c), commit; what came
 * back is sorted inside the wait (sorting.c). */
#include "sinks/pipeline.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
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
#include "sinks/bulks.h"
#include "sinks/counters.h"
#include "sinks/flow.h"
#include "sinks/letters.h"
#include "sinks/receipts/ticks.h"
#include "sinks/status.h"

#define TURN_WAIT_MAX_MS 250 /* also the worst delay of a wake-up that librdkafka did not send */
#define STORE_INTERVAL_MS 200
#define HOUSEKEEP_INTERVAL_MS 1000
#define SILENCE_MS 15000 /* a bulk without an answer for this long is worth a word */
#define RETENTION_STEP_MS 1000
#define RETENTION_INTERVAL_MS 3600000

void
pipeline_say(enum log_level level, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX + 128];
    va_list arguments;
    va_start(arguments, fmt);
    int size = vsnprintf(text, sizeof(text), fmt, arguments);
    va_end(arguments);
    if (size > 0)
        log_text(level, fmt, text);
}

/* ---- the end of a document ---- */

void
pipeline_forget(struct pipeline *pipeline, struct route *route, struct document *document)
{
    ASSERT(route->held >= document->held);
    route->held -= document->held;
    document_free(&pipeline->pool, document);
}

void
pipeline_finish(struct pipeline *pipeline, struct route *route, struct document *document,
                enum route_outcome outcome, uint64_t now_ms)
{
    if (!document_is_late(document)) {
        consumer_finish(document->partition, document->generation, document->sequence);
        route->finished[outcome]++;
        route->progress_ms = now_ms;
    }
    pipeline_forget(pipeline, route, document);
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
    ticks_lost(pipeline->ticks, partition->route, partition->id, partition->expected,
               partition->expected + (int64_t)records);
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
rewound(void *context, const struct partition *partition, int64_t offset)
{
    struct pipeline *pipeline = context;
    struct route *route = &pipeline->routes[partition->route];
    char from[32] = "its start";
    if (offset >= 0) {
        int size = snprintf(from, sizeof(from), "offset %lld", (long long)offset);
        ASSERT(size > 0);
    }
    route->rewinds++;
    ticks_rewound(pipeline->ticks, partition->route, partition->id);
    log_warn("%s [%d] goes on at %s, where offset %lld was to come: the topic was deleted and made "
             "anew, or its brokers lost records; it is read again from there, and what is in the "
             "index already is found to be there",
             route->topic, partition->id, from, (long long)partition->expected);
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

static void
tell_note(struct pipeline *pipeline)
{
    bool warn = false;
    const char *text;
    while (pipeline->class->note != NULL &&
           (text = pipeline->class->note(pipeline->output, &warn)) != NULL)
        /* Two forms: the log counts repetitions by form, and good news must not hide bad ones. */
        pipeline_say(warn ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, warn ? "%s" : "%.1000s", text);
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
tell_receipts(struct pipeline *pipeline)
{
    char text[320];
    ticks_publish(pipeline->ticks, text, sizeof(text));
    if (text[0] != '\0')
        log_warn("%s", text);
}

static void
housekeep(struct pipeline *pipeline, uint64_t now_ms)
{
    if (now_ms - pipeline->stored_ms >= STORE_INTERVAL_MS) {
        pipeline->stored_ms = now_ms;
        counters_publish(pipeline); /* who sees it committed finds it counted */
        consumer_store(pipeline->consumer);
    }
    if (now_ms - pipeline->housekept_ms < HOUSEKEEP_INTERVAL_MS)
        return;
    pipeline->housekept_ms = now_ms;
    consumer_idle(pipeline->consumer);
    counters_measure_lag(pipeline);
    bulks_grow(pipeline, now_ms);
    tell_health(pipeline);
    tell_note(pipeline);
    tell_receipts(pipeline);
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
    if (pipeline->maybe_more && (!flow_is_full(pipeline, now_ms) || pipeline->all_paused))
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
    if (flow_is_full(pipeline, now_ms))
        consumer_clear_fd(
            pipeline->consumer); /* it would wake us without need; maybe_more is set */
    if ((pipeline->maybe_more || tick) && !flow_take(pipeline, now_ms, err))
        return false;
    if (!consumer_works(pipeline->consumer, err))
        return false;
    for (size_t i = 0; i < pipeline->route_count; i++) {
        route_wake(&pipeline->routes[i], now_ms);
        letters_send(pipeline, &pipeline->routes[i], now_ms);
    }
    bulks_send(pipeline, false, now_ms);
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
    ticks_stop(pipeline->ticks);
    drain(pipeline, STOP_DRAIN_MS);
    struct err err;
    if (!consumer_commit_wait(pipeline->consumer, STOP_COMMIT_MS, &err))
        log_warn("%s: what was not committed is read again and found to be there", err.text);
    consumer_close(pipeline->consumer, STOP_LEAVE_MS);
    tell_note(pipeline);
    counters_publish(pipeline);
}

bool
pipeline_run(struct pipeline *pipeline, struct err *err)
{
    if (pipeline->settings.once && !consumer_mark_ends(pipeline->consumer, err))
        return false;
    if (!consumer_subscribe(pipeline->consumer, err))
        return false;
    if (!pipeline->settings.once &&
        !ticks_new(&pipeline->ticks, pipeline->settings.options, pipeline->settings.metrics, err))
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
        .rewound = rewound,
        .note = note,
    };
    if (!consumer_new(&pipeline->consumer, options, &hooks, pipeline->settings.once, err))
        return false;
    return dead_letters_new(&pipeline->letters, options, consumer_fd(pipeline->consumer),
                            letters_done, pipeline, err);
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
    pipeline->server_doubted = true;
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

void
pipeline_free(struct pipeline *pipeline)
{
    if (pipeline == NULL)
        return;
    pipeline->stopping = true;
    ticks_free(pipeline->ticks);
    dead_letters_free(pipeline->letters);
    pipeline->class->close(pipeline->output);
    bulks_free(pipeline);
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
