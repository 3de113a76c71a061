/* SPDX-License-Identifier: Apache-2.0 */
/* ticks.c: see ticks.h. The thread owns everything but `shared`, which the lock guards. */
#include "sinks/receipts/ticks.h"

#include <errno.h>
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/assert.h"
#include "core/clock.h"
#include "core/kafka.h"
#include "core/metrics.h"
#include "sinks/metrics.h"
#include "sinks/receipts/progress.h"
#include "sinks/receipts/receipt.h"
#include "sinks/receipts/waiting.h"

#define GROUP_SUFFIX "-receipts"
#define POLL_MS 250
#define SWEEP_INTERVAL_MS 5000
#define LOOK_INTERVAL_MS 30000 /* for the topic, and partitions that were added */
#define QUESTION_TIMEOUT_MS 4000
#define FREE_SECONDS 1
#define PARTITIONS_MAX 100000
#define PROBLEM_SIZE 320
#define REWOUND INT64_C(-1) /* in the place of the first offset that was lost */

struct control {
    int64_t next; /* offset of the next receipt; -1: not known */
    int64_t kept; /* committed last */
};

struct ticks {
    const struct sink_options *options;
    rd_kafka_t *client;
    struct progress progress;
    struct waiting waiting;
    struct control *controls; /* by partition of the control topic */
    int32_t control_count;
    uint64_t looked_ms, swept_ms;

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended_wake;
    struct {
        bool stopping, ended;
        uint64_t *unaccounted; /* by route: events */
        uint64_t waiting, accounted, given_up, ignored;
        uint64_t given_up_events;
        struct lost_records lost[WAITING_LOST_MAX]; /* not handed over yet */
        size_t lost_count;
        char problem[PROBLEM_SIZE];
    } shared;

    /* The owner's. */
    struct metrics *metrics;
    metric *unaccounted_series;
    metric waiting_series, accounted_series, given_up_series, ignored_series;
    uint64_t told_given_up;
    char told[PROBLEM_SIZE];
};

static const struct kafka_property fixed_properties[] = {
    {"group.id", NULL, "use kafka.group_id"},
    {"auto.offset.reset", "earliest", "what retention deletes meanwhile is passed over"},
    {"enable.auto.commit", "false", "a receipt is done when it is accounted for"},
    {"enable.auto.offset.store", "false", "a receipt is done when it is accounted for"},
    {"allow.auto.create.topics", "false", "a wrong name must not become a topic"},
    {"queued.max.messages.kbytes", "1024", "receipts are small"},
    {"fetch.message.max.bytes", "262144", "receipts are small"},
};
#define FIXED_COUNT (sizeof(fixed_properties) / sizeof(fixed_properties[0]))

static void
set_problem(struct ticks *ticks, const char *text)
{
    (void)pthread_mutex_lock(&ticks->lock);
    int size = snprintf(ticks->shared.problem, sizeof(ticks->shared.problem), "%s", text);
    ASSERT(size >= 0);
    (void)pthread_mutex_unlock(&ticks->lock);
}

static bool
is_stopping(struct ticks *ticks)
{
    (void)pthread_mutex_lock(&ticks->lock);
    bool stopping = ticks->shared.stopping;
    (void)pthread_mutex_unlock(&ticks->lock);
    return stopping;
}

/* --- taking --- */

static size_t
route_of(const struct ticks *ticks, const char *topic)
{
    size_t route = 0;
    while (route < ticks->options->route_count &&
           strcmp(ticks->options->routes[route].topic, topic) != 0)
        route++;
    return route;
}

/* Number of partitions of a topic, 0 when it cannot be told. */
static int32_t
count_partitions(struct ticks *ticks, const char *topic, rd_kafka_resp_err_t *code)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(ticks->client, topic, NULL);
    *code = handle == NULL
                ? RD_KAFKA_RESP_ERR__INVALID_ARG
                : rd_kafka_metadata(ticks->client, 0, handle, &metadata, QUESTION_TIMEOUT_MS);
    int32_t count = 0;
    if (*code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        *code = metadata->topics[0].err;
        count = metadata->topics[0].partition_cnt;
        rd_kafka_metadata_destroy(metadata);
    }
    if (handle != NULL)
        rd_kafka_topic_destroy(handle);
    return *code == RD_KAFKA_RESP_ERR_NO_ERROR && count <= PARTITIONS_MAX ? count : 0;
}

/* Where the route's topic ends now, with one reference. NULL: not known. */
static struct marks *
mark_ends(struct ticks *ticks, size_t route)
{
    const char *topic = ticks->options->routes[route].topic;
    rd_kafka_resp_err_t code;
    int32_t count = count_partitions(ticks, topic, &code);
    struct marks *marks = count == 0 ? NULL : marks_new(count);
    if (marks == NULL)
        return NULL;
    for (int32_t i = 0; i < count; i++) {
        int64_t low;
        if (rd_kafka_query_watermark_offsets(ticks->client, topic, i, &low, &marks->ends[i],
                                             QUESTION_TIMEOUT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR) {
            marks_let_go(marks);
            return NULL;
        }
        if (marks->ends[i] == low)
            marks->ends[i] = 0; /* nothing is there to be committed */
    }
    return marks;
}

static bool
add(struct ticks *ticks, const rd_kafka_message_t *message, const struct receipt *receipt,
    size_t route)
{
    rd_kafka_timestamp_type_t type;
    int64_t time_ms = rd_kafka_message_timestamp(message, &type);
    int64_t now_ms = clock_wall_ms();
    struct waiting_place place = {
        .route = route,
        .control_partition = message->partition,
        .control_offset = message->offset,
        .time_ms = time_ms > 0 && time_ms < now_ms ? time_ms : now_ms,
        .met_ms = clock_monotonic_ms(),
    };
    return waiting_add(&ticks->waiting, receipt, &place);
}

/* False: it cannot be kept now, and is to be read again. */
static bool
take(struct ticks *ticks, const rd_kafka_message_t *message)
{
    struct receipt receipt;
    size_t route = ticks->options->route_count;
    bool fine = true;
    if (receipt_read(&receipt, message->payload, message->len)) {
        route = route_of(ticks, receipt.topic);
        if (route < ticks->options->route_count && receipt.events > 0)
            fine = add(ticks, message, &receipt, route);
        receipt_done(&receipt);
    }
    if (route == ticks->options->route_count) {
        (void)pthread_mutex_lock(&ticks->lock);
        ticks->shared.ignored++;
        (void)pthread_mutex_unlock(&ticks->lock);
    }
    return fine;
}

/* --- reading --- */

/* Assigns all partitions from where each goes on. */
static void
assign(struct ticks *ticks)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(ticks->control_count);
    for (int32_t i = 0; i < ticks->control_count; i++)
        rd_kafka_topic_partition_list_add(list, ticks->options->receipts.topic, i)->offset =
            ticks->controls[i].next >= 0 ? ticks->controls[i].next : RD_KAFKA_OFFSET_BEGINNING;
    (void)rd_kafka_assign(ticks->client, list);
    rd_kafka_topic_partition_list_destroy(list);
}

/* What earlier sinks were done with. */
static bool
read_kept(struct ticks *ticks, int32_t from, int32_t count)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);
    for (int32_t i = from; i < count; i++)
        rd_kafka_topic_partition_list_add(list, ticks->options->receipts.topic, i);
    bool fine =
        rd_kafka_committed(ticks->client, list, QUESTION_TIMEOUT_MS) == RD_KAFKA_RESP_ERR_NO_ERROR;
    for (int i = 0; fine && i < list->cnt; i++) {
        int64_t offset = list->elems[i].offset >= 0 ? list->elems[i].offset : -1;
        ticks->controls[from + i] = (struct control){.next = offset, .kept = offset};
    }
    rd_kafka_topic_partition_list_destroy(list);
    return fine;
}

static void
look(struct ticks *ticks, uint64_t now_ms)
{
    if (ticks->looked_ms != 0 && now_ms - ticks->looked_ms < LOOK_INTERVAL_MS)
        return;
    ticks->looked_ms = now_ms;
    rd_kafka_resp_err_t code;
    int32_t count = count_partitions(ticks, ticks->options->receipts.topic, &code);
    if (count == 0) {
        char text[PROBLEM_SIZE];
        const char *advice = kafka_advice(code);
        int size = snprintf(text, sizeof(text),
                            "receipts cannot be read, topic '%s': %s%s%s; tried again each %d s",
                            ticks->options->receipts.topic, rd_kafka_err2str(code),
                            advice == NULL ? "" : "; ", advice == NULL ? "" : advice,
                            LOOK_INTERVAL_MS / 1000);
        ASSERT(size > 0);
        set_problem(ticks, text);
        return;
    }
    if (count <= ticks->control_count) {
        set_problem(ticks, "");
        return;
    }
    struct control *grown = reallocarray(ticks->controls, (size_t)count, sizeof(*grown));
    if (grown == NULL)
        return;
    ticks->controls = grown;
    if (!read_kept(ticks, ticks->control_count, count))
        return;
    ticks->control_count = count;
    assign(ticks);
    set_problem(ticks, "");
}

/* Takes what is there, for POLL_MS at the most. */
static void
read_some(struct ticks *ticks)
{
    uint64_t until_ms = clock_monotonic_ms() + POLL_MS;
    for (uint64_t now_ms = clock_monotonic_ms(); now_ms < until_ms; now_ms = clock_monotonic_ms()) {
        if (ticks->control_count == 0 || waiting_count(&ticks->waiting) >= WAITING_MAX) {
            struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
            (void)nanosleep(&pause, NULL);
            return;
        }
        rd_kafka_message_t *message =
            rd_kafka_consumer_poll(ticks->client, (int)(until_ms - now_ms));
        if (message == NULL)
            return;
        bool record =
            message->err == RD_KAFKA_RESP_ERR_NO_ERROR && message->partition < ticks->control_count;
        bool kept = !record || take(ticks, message);
        if (record && kept)
            ticks->controls[message->partition].next = message->offset + 1;
        rd_kafka_message_destroy(message);
        if (!kept) {
            assign(ticks); /* from the one that could not be kept */
            return;
        }
    }
}

/* --- ticking off --- */

/* Of a topic that cannot be asked the receipts stay as they are, and the others go on. */
static void
mark_receipts(struct ticks *ticks)
{
    for (size_t i = 0; i < ticks->options->route_count; i++) {
        struct marks *marks = waiting_wants_marks(&ticks->waiting, i) ? mark_ends(ticks, i) : NULL;
        if (marks == NULL)
            continue;
        waiting_mark(&ticks->waiting, i, marks);
        marks_let_go(marks);
    }
}

static bool
learn_progress(struct ticks *ticks)
{
    rd_kafka_topic_partition_list_t *list;
    progress_begin(&ticks->progress, &list);
    for (const struct waiting_receipt *at = ticks->waiting.table; at != NULL; at = at->hh.next) {
        if (at->placed)
            progress_want(&ticks->progress, list, at->route, at->partition);
        for (int32_t i = 0; at->marks != NULL && i < at->marks->count; i++)
            progress_want(&ticks->progress, list, at->route, i);
    }
    return progress_ask(&ticks->progress, list, QUESTION_TIMEOUT_MS);
}

static void
tick_off(struct ticks *ticks)
{
    (void)pthread_mutex_lock(&ticks->lock);
    for (size_t i = 0; i < ticks->shared.lost_count; i++) {
        const struct lost_records *lost = &ticks->shared.lost[i];
        if (lost->first == REWOUND)
            waiting_note_rewound(&ticks->waiting, lost->route, lost->partition);
        else
            waiting_note_lost(&ticks->waiting, lost);
    }
    ticks->shared.lost_count = 0;
    memset(ticks->shared.unaccounted, 0,
           ticks->options->route_count * sizeof(ticks->shared.unaccounted[0]));
    struct waiting_sums sums = {.unaccounted = ticks->shared.unaccounted};
    struct waiting_now now = {clock_wall_ms(), clock_monotonic_ms()};
    waiting_tick(&ticks->waiting, progress_committed, &ticks->progress, &now,
                 (int64_t)ticks->options->receipts.grace, &sums);
    ticks->shared.accounted += sums.accounted;
    ticks->shared.given_up += sums.given_up;
    ticks->shared.given_up_events += sums.given_up_events;
    ticks->shared.waiting = waiting_count(&ticks->waiting);
    (void)pthread_mutex_unlock(&ticks->lock);
}

/* Remembers up to where every receipt is accounted for. Another sink may say less in between: then
 * some are read again, and ticked off at once. */
static void
keep(struct ticks *ticks)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(ticks->control_count);
    for (int32_t i = 0; i < ticks->control_count; i++) {
        int64_t offset = waiting_done_to(&ticks->waiting, i, ticks->controls[i].next);
        if (offset < 0 || offset == ticks->controls[i].kept)
            continue;
        rd_kafka_topic_partition_list_add(list, ticks->options->receipts.topic, i)->offset = offset;
        ticks->controls[i].kept = offset;
    }
    if (list->cnt > 0)
        (void)rd_kafka_commit(ticks->client, list, 1); /* lost: the next one says it */
    rd_kafka_topic_partition_list_destroy(list);
}

static void
sweep(struct ticks *ticks, uint64_t now_ms)
{
    if (now_ms - ticks->swept_ms < SWEEP_INTERVAL_MS)
        return;
    ticks->swept_ms = now_ms;
    mark_receipts(ticks);
    if (!learn_progress(ticks)) {
        set_problem(ticks, "what the sinks' group has committed cannot be asked for: receipts are "
                           "not ticked off until it can");
        return;
    }
    tick_off(ticks);
    keep(ticks);
    set_problem(ticks, waiting_count(&ticks->waiting) < WAITING_MAX
                           ? ""
                           : "more receipts wait than are kept: tailrace_sink_unaccounted_events "
                             "tells of the oldest only");
}

static void
free_client(struct ticks *ticks)
{
    progress_done(&ticks->progress);
    if (ticks->client != NULL)
        rd_kafka_destroy(ticks->client);
}

static void *
run(void *context)
{
    struct ticks *ticks = context;
    while (!is_stopping(ticks)) {
        uint64_t now_ms = clock_monotonic_ms();
        look(ticks, now_ms);
        read_some(ticks);
        if (ticks->control_count > 0)
            sweep(ticks, now_ms);
    }
    (void)rd_kafka_consumer_close(ticks->client);
    free_client(ticks);
    (void)pthread_mutex_lock(&ticks->lock);
    ticks->shared.ended = true;
    (void)pthread_cond_signal(&ticks->ended_wake);
    (void)pthread_mutex_unlock(&ticks->lock);
    return NULL;
}

/* --- birth and death --- */

static bool
start_client(struct ticks *ticks, struct err *err)
{
    rd_kafka_conf_t *conf;
    char group[512];
    char reason[256];
    int size = snprintf(group, sizeof(group), "%s" GROUP_SUFFIX, ticks->options->kafka.group_id);
    if (size < 0 || (size_t)size >= sizeof(group))
        return err_set(err, ERR_CONFIG, 0, "kafka.group_id is too long");
    if (!kafka_conf_new(&conf, (const struct kafka_common_options *)&ticks->options->kafka,
                        "tailrace-sink-receipts", fixed_properties, FIXED_COUNT, err))
        return false;
    rd_kafka_conf_set_log_cb(conf, NULL); /* the data path's client says what is wrong with Kafka */
    if (rd_kafka_conf_set(conf, "group.id", group, reason, sizeof(reason)) == RD_KAFKA_CONF_OK)
        ticks->client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof(reason));
    if (ticks->client == NULL) {
        rd_kafka_conf_destroy(conf);
        return err_set(err, ERR_STOP, 0, "cannot start the client that reads receipts: %s", reason);
    }
    rd_kafka_set_log_queue(ticks->client, NULL);
    rd_kafka_poll_set_consumer(ticks->client);
    return progress_init(&ticks->progress, ticks->options, err);
}

static bool
allocate(struct ticks *ticks, struct metrics *metrics)
{
    size_t count = ticks->options->route_count;
    ticks->shared.unaccounted = calloc(count, sizeof(uint64_t));
    ticks->unaccounted_series = calloc(count, sizeof(metric));
    if (ticks->shared.unaccounted == NULL || ticks->unaccounted_series == NULL)
        return false;
    ticks->metrics = metrics;
    for (size_t i = 0; i < count; i++)
        ticks->unaccounted_series[i] =
            metrics_series(metrics, SINK_UNACCOUNTED, ticks->options->routes[i].topic, NULL);
    ticks->waiting_series = metrics_series(metrics, SINK_RECEIPTS_WAITING, NULL);
    ticks->accounted_series = metrics_series(metrics, SINK_RECEIPTS, "accounted", NULL);
    ticks->given_up_series = metrics_series(metrics, SINK_RECEIPTS, "given_up", NULL);
    ticks->ignored_series = metrics_series(metrics, SINK_RECEIPTS, "ignored", NULL);
    return true;
}

/* Without the thread, which ends what is Kafka's. */
static void
free_parts(struct ticks *ticks)
{
    waiting_done(&ticks->waiting);
    free(ticks->controls);
    free(ticks->shared.unaccounted);
    free(ticks->unaccounted_series);
    (void)pthread_cond_destroy(&ticks->ended_wake);
    (void)pthread_mutex_destroy(&ticks->lock);
    free(ticks);
}

bool
ticks_new(struct ticks **out, const struct sink_options *options, struct metrics *metrics,
          struct err *err)
{
    *out = NULL;
    if (options->receipts.topic[0] == '\0')
        return true;
    struct ticks *ticks = calloc(1, sizeof(*ticks));
    if (ticks == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot watch receipts: out of memory");
    ticks->options = options;
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&ticks->ended_wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    (void)pthread_mutex_init(&ticks->lock, NULL);
    bool fine = allocate(ticks, metrics) ||
                err_set(err, ERR_STOP, ENOMEM, "cannot watch receipts: out of memory");
    fine = fine && start_client(ticks, err);
    if (fine && pthread_create(&ticks->thread, NULL, run, ticks) != 0)
        fine = err_set(err, ERR_STOP, 0, "cannot start the thread that watches receipts");
    if (!fine) {
        free_client(ticks);
        free_parts(ticks);
        return false;
    }
    *out = ticks;
    return true;
}

/* Left to the end of the process; known to leak checkers. */
static struct ticks *abandoned;

void
ticks_stop(struct ticks *ticks)
{
    if (ticks == NULL)
        return;
    (void)pthread_mutex_lock(&ticks->lock);
    ticks->shared.stopping = true;
    (void)pthread_mutex_unlock(&ticks->lock);
}

void
ticks_free(struct ticks *ticks)
{
    if (ticks == NULL)
        return;
    ticks_stop(ticks);
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += FREE_SECONDS;
    /* It may be in a question to a broker that does not answer. */
    (void)pthread_mutex_lock(&ticks->lock);
    while (!ticks->shared.ended &&
           pthread_cond_timedwait(&ticks->ended_wake, &ticks->lock, &until) == 0)
        continue;
    bool ended = ticks->shared.ended;
    (void)pthread_mutex_unlock(&ticks->lock);
    if (ended) {
        (void)pthread_join(ticks->thread, NULL);
        free_parts(ticks);
        return;
    }
    (void)pthread_detach(ticks->thread);
    abandoned = ticks;
}

void
ticks_lost(struct ticks *ticks, size_t route, int32_t partition, int64_t first, int64_t end)
{
    if (ticks == NULL)
        return;
    (void)pthread_mutex_lock(&ticks->lock);
    if (ticks->shared.lost_count < WAITING_LOST_MAX)
        ticks->shared.lost[ticks->shared.lost_count++] =
            (struct lost_records){route, partition, first, end};
    (void)pthread_mutex_unlock(&ticks->lock);
}

void
ticks_rewound(struct ticks *ticks, size_t route, int32_t partition)
{
    ticks_lost(ticks, route, partition, REWOUND, REWOUND);
}

static void
set_counter(struct ticks *ticks, metric series, uint64_t total)
{
    metrics_add(ticks->metrics, series, total - (uint64_t)metrics_value(ticks->metrics, series));
}

void
ticks_publish(struct ticks *ticks, char *text, size_t text_size)
{
    text[0] = '\0';
    if (ticks == NULL)
        return;
    (void)pthread_mutex_lock(&ticks->lock);
    for (size_t i = 0; i < ticks->options->route_count; i++)
        metrics_set(ticks->metrics, ticks->unaccounted_series[i],
                    (double)ticks->shared.unaccounted[i]);
    metrics_set(ticks->metrics, ticks->waiting_series, (double)ticks->shared.waiting);
    set_counter(ticks, ticks->accounted_series, ticks->shared.accounted);
    set_counter(ticks, ticks->given_up_series, ticks->shared.given_up);
    set_counter(ticks, ticks->ignored_series, ticks->shared.ignored);
    int size = 0;
    if (ticks->shared.given_up != ticks->told_given_up)
        size = snprintf(text, text_size,
                        "%" PRIu64 " receipts are given up after a day, of %" PRIu64
                        " events in all that no sink has finished: `tailrace-sink audit --since "
                        "2d` says which",
                        ticks->shared.given_up, ticks->shared.given_up_events);
    else if (strcmp(ticks->shared.problem, ticks->told) != 0)
        size = snprintf(text, text_size, "%s",
                        ticks->shared.problem[0] == '\0' ? "receipts are read again"
                                                         : ticks->shared.problem);
    ASSERT(size >= 0);
    ticks->told_given_up = ticks->shared.given_up;
    memcpy(ticks->told, ticks->shared.problem, sizeof(ticks->told));
    (void)pthread_mutex_unlock(&ticks->lock);
}
