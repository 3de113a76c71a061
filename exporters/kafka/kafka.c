/* SPDX-License-Identifier: Apache-2.0 */
/* kafka.c: see kafka.h. A round, stage by stage: who is there, which groups, what they committed,
 * and only then where the logs end, so that no lag is below 0. */
#include "exporters/kafka/kafka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/kafka.h"
#include "exporters/host/filter.h"
#include "exporters/kafka/brokers.h"
#include "exporters/kafka/ends.h"
#include "exporters/kafka/families.h"
#include "exporters/kafka/groups.h"
#include "exporters/kafka/model.h"
#include "exporters/kafka/reckon.h"
#include "exporters/kafka/round.h"
#include "exporters/kafka/settings.h"
#include "exporters/options.h"
#include "exporters/page.h"

#define SETTINGS_EVERY_MS 300000

struct choice {
    bool all; /* `take` was not given */
    struct filter *take, *leave;
};

enum stage { STAGE_METADATA, STAGE_GROUPS, STAGE_COMMITTED, STAGE_ENDS, STAGE_SETTINGS, STAGES };
static const char *const stage_names[STAGES] = {"metadata", "groups", "committed_offsets",
                                                "end_offsets", "settings"};

struct kafka {
    const struct exporter_kafka_options *options;
    rd_kafka_t *rk;
    struct choice topics, groups;
    struct kafka_model model;
    struct brokers brokers;
    uint64_t last_ms;        /* monotonic: the begin of the round before */
    uint64_t settings_at_ms; /* when they are asked for again */
    uint64_t clamped;
    double stage_seconds[STAGES];
    uint64_t stage_errors[STAGES];
};

/* Why a connection could not be made: librdkafka tells it only here. */
static _Thread_local char last_error[200];

/* --- what is wanted --- */

static bool
filter_open(struct filter **out, const char *name, const char *expression, struct err *err)
{
    char option[300];
    (void)snprintf(option, sizeof(option), "kafka.%s: '%.200s'", name, expression);
    return filter_new(out, option, expression, err);
}

static void
choice_done(struct choice *choice)
{
    filter_free(choice->take);
    filter_free(choice->leave);
    *choice = (struct choice){0};
}

static bool
is_chosen(const struct choice *choice, const char *name)
{
    return (choice->all || filter_matches(choice->take, scan_of(name))) &&
           !filter_matches(choice->leave, scan_of(name));
}

static bool
topic_wanted(const void *context, const char *name)
{
    const struct kafka *kafka = context;
    return is_chosen(&kafka->topics, name);
}

static bool
group_wanted(const void *context, const char *name)
{
    const struct kafka *kafka = context;
    return is_chosen(&kafka->groups, name);
}

static bool
choices_open(struct kafka *kafka, const struct exporter_kafka_options *options, struct err *err)
{
    struct choice *topics = &kafka->topics;
    struct choice *groups = &kafka->groups;
    topics->all = options->topics[0] == '\0';
    groups->all = options->groups[0] == '\0';
    return filter_open(&topics->take, "topics", options->topics, err) &&
           filter_open(&topics->leave, "topics_exclude", options->topics_exclude, err) &&
           filter_open(&groups->take, "groups", options->groups, err) &&
           filter_open(&groups->leave, "groups_exclude", options->groups_exclude, err);
}

/* --- the client --- */

static const struct kafka_property fixed[] = {
    {"isolation.level", "read_uncommitted", "lag counts up to the end of the log"},
    {"allow.auto.create.topics", "false", "the exporter changes nothing"},
    {"enable.auto.commit", "false", "the exporter changes nothing"},
    {"statistics.interval.ms", NULL, "the exporter sets it to kafka.interval"},
    {"group.id", NULL, "the exporter is in no group"},
};

static void
on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    (void)rk;
    (void)opaque;
    (void)snprintf(last_error, sizeof(last_error), "%s: %s",
                   rd_kafka_err2str((rd_kafka_resp_err_t)code), reason);
}

static void
on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk; /* what matters comes as an error, too */
    (void)level;
    (void)facility;
    (void)text;
}

static int
on_stats(rd_kafka_t *rk, char *json, size_t size, void *opaque)
{
    (void)rk;
    struct kafka *kafka = opaque;
    (void)brokers_read(&kafka->brokers, json, size);
    return 0;
}

static bool
new_conf(rd_kafka_conf_t **out, const struct exporter_kafka_options *options, struct err *err)
{
    return kafka_conf_new(out, (const struct kafka_common_options *)options, "tailrace-exporter",
                          fixed, sizeof(fixed) / sizeof(fixed[0]), err);
}

static bool
client_open(struct kafka *kafka, struct err *err)
{
    char text[200];
    rd_kafka_conf_t *conf;
    if (!new_conf(&conf, kafka->options, err))
        return false;
    char interval[32];
    (void)snprintf(interval, sizeof(interval), "%llu",
                   (unsigned long long)kafka->options->interval);
    (void)rd_kafka_conf_set(conf, "statistics.interval.ms", interval, text, sizeof(text));
    rd_kafka_conf_set_opaque(conf, kafka);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_stats_cb(conf, on_stats);
    kafka->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (kafka->rk == NULL) {
        rd_kafka_conf_destroy(conf);
        return err_set(err, ERR_CONFIG, 0, "cannot make a Kafka client: %s", text);
    }
    (void)rd_kafka_set_log_queue(kafka->rk, NULL);
    return true;
}

/* --- a round --- */

int
round_left_ms(const struct kafka_round *round)
{
    uint64_t now_ms = clock_monotonic_ms();
    if (now_ms >= round->call->deadline_ms || atomic_load(round->call->stop))
        return 0;
    uint64_t half_ms = (round->call->deadline_ms - now_ms) / 2;
    return half_ms == 0 ? 1 : (int)half_ms;
}

static bool
read_metadata(struct kafka *kafka, struct kafka_round *round, struct err *err)
{
    const struct rd_kafka_metadata *found = NULL;
    (void)rd_kafka_poll(kafka->rk, 0); /* errors and statistics of the time between */
    rd_kafka_resp_err_t code = rd_kafka_metadata(kafka->rk, 1, NULL, &found, round_left_ms(round));
    (void)rd_kafka_poll(kafka->rk, 0);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char *advice = kafka_advice(code);
        return err_set(err, ERR_RETRY, (int)code, "cannot read the cluster's metadata: %s%s%s%s%s",
                       rd_kafka_err2str(code), *last_error == '\0' ? "" : ", ", last_error,
                       advice == NULL ? "" : "; ", advice == NULL ? "" : advice);
    }
    last_error[0] = '\0';
    bool fine = model_take_metadata(&kafka->model, found, topic_wanted, kafka, err);
    rd_kafka_metadata_destroy(found);
    kafka->model.controller = rd_kafka_controllerid(kafka->rk, 0);
    if (kafka->model.cluster_id == NULL) {
        char *id = rd_kafka_clusterid(kafka->rk, 0);
        kafka->model.cluster_id = id == NULL ? NULL : strdup(id);
        rd_kafka_mem_free(kafka->rk, id);
    }
    return fine;
}

static bool
read_settings(struct kafka *kafka, struct kafka_round *round, struct err *err)
{
    bool all = round->now_ms >= kafka->settings_at_ms;
    if (!settings_read(round, all, err))
        return false;
    if (all)
        kafka->settings_at_ms = round->now_ms + SETTINGS_EVERY_MS;
    return true;
}

/* One stage; the first error of a round is the one that is told. */
static bool
run_stage(struct kafka *kafka, struct kafka_round *round, enum stage stage, struct err *err)
{
    struct err why = {0};
    bool fine = false;
    uint64_t began_ns = clock_monotonic_ns();
    if (round_left_ms(round) == 0)
        (void)err_set(&why, ERR_RETRY, 0, "the round took longer than kafka.timeout");
    else if (stage == STAGE_METADATA)
        fine = read_metadata(kafka, round, &why);
    else if (stage == STAGE_GROUPS)
        fine = groups_list(round, &why);
    else if (stage == STAGE_COMMITTED)
        fine = groups_read_committed(round, &why);
    else if (stage == STAGE_ENDS)
        fine = ends_read(round, &why);
    else if (stage == STAGE_SETTINGS)
        fine = read_settings(kafka, round, &why);
    kafka->stage_seconds[stage] = (double)(clock_monotonic_ns() - began_ns) / 1e9;
    kafka->stage_errors[stage] += fine ? 0 : 1;
    if (!fine && err->text[0] == '\0')
        *err = why;
    return fine;
}

static void
put_self(const struct kafka *kafka, bool up, struct page *page)
{
    page_gauge(page, "kafka_up", "Whether the cluster's metadata could be read.", up);
    page_family(page, "tailrace_kafka_stage_duration_seconds", PAGE_GAUGE,
                "How long each stage of the last round took.");
    for (size_t i = 0; i < STAGES; i++)
        page_sample(page, kafka->stage_seconds[i], "stage", stage_names[i], NULL);
    page_family(page, "tailrace_kafka_stage_errors_total", PAGE_COUNTER,
                "Stages that could not be finished: what they did not learn has no series.");
    for (size_t i = 0; i < STAGES; i++)
        page_sample(page, (double)kafka->stage_errors[i], "stage", stage_names[i], NULL);
    page_counter(page, "tailrace_kafka_clamped_offsets_total",
                 "Committed offsets that were beyond the end of their log; shown as a lag of 0.",
                 kafka->clamped);
}

static bool
collect_kafka(void *self, const struct remote_call *call, struct page *page, struct err *err)
{
    struct kafka *kafka = self;
    if (kafka->rk == NULL && !client_open(kafka, err))
        return false;
    uint64_t now_ms = clock_monotonic_ms();
    struct kafka_round round = {
        .rk = kafka->rk,
        .options = kafka->options,
        .model = &kafka->model,
        .call = call,
        .group_wanted = group_wanted,
        .topic_wanted = topic_wanted,
        .context = kafka,
        .now_ms = now_ms,
        .passed_ms = kafka->last_ms == 0 ? 0 : now_ms - kafka->last_ms,
    };
    kafka->model.round++;
    kafka->model.now_ms = clock_wall_ms();
    bool up = run_stage(kafka, &round, STAGE_METADATA, err);
    bool fine = up;
    if (up) {
        kafka->last_ms = now_ms;
        fine = run_stage(kafka, &round, STAGE_GROUPS, err);
        model_forget(&kafka->model);
        fine = run_stage(kafka, &round, STAGE_COMMITTED, err) && fine;
        fine = run_stage(kafka, &round, STAGE_ENDS, err) && fine;
        fine = run_stage(kafka, &round, STAGE_SETTINGS, err) && fine;
        reckon_all(&round);
        kafka->clamped += round.clamped;
        families_put(&round, page);
        brokers_put(&kafka->brokers, page);
    }
    put_self(kafka, up, page);
    return fine;
}

/* --- the class --- */

static size_t
count_clusters(const struct exporter_options *options)
{
    return options->has_kafka ? 1 : 0;
}

static void
close_kafka(void *self)
{
    struct kafka *kafka = self;
    if (kafka == NULL)
        return;
    if (kafka->rk != NULL)
        rd_kafka_destroy_flags(kafka->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    choice_done(&kafka->topics);
    choice_done(&kafka->groups);
    model_free(&kafka->model);
    brokers_done(&kafka->brokers);
    free(kafka);
}

static bool
open_kafka(void **out, const struct exporter_options *options, size_t index,
           struct remote_about *about, struct err *err)
{
    (void)index;
    struct kafka_settings settings;
    struct kafka *kafka = calloc(1, sizeof(*kafka));
    if (kafka == NULL)
        return err_set(err, ERR_STOP, 0, "cannot start the Kafka collector: out of memory");
    *out = kafka;
    kafka->options = &options->kafka;
    about->interval_ms = options->kafka.interval;
    about->timeout_ms = options->kafka.timeout;
    if (!kafka_settings_init(&settings, (const struct kafka_common_options *)kafka->options, err) ||
        !choices_open(kafka, kafka->options, err))
        return false;
    (void)snprintf(about->target, sizeof(about->target), "%s", settings.bootstrap_servers);
    return true;
}

bool
kafka_check(const struct exporter_options *options, struct err *err)
{
    if (!options->has_kafka)
        return true;
    void *opened = NULL;
    struct remote_about about;
    bool fine = open_kafka(&opened, options, 0, &about, err);
    close_kafka(opened);
    return fine;
}

bool
kafka_check_properties(const struct exporter_options *options, struct err *err)
{
    rd_kafka_conf_t *conf = NULL;
    if (!options->has_kafka)
        return true;
    if (!new_conf(&conf, &options->kafka, err))
        return false;
    rd_kafka_conf_destroy(conf);
    return true;
}

const struct remote_class kafka_remote = {
    .name = "kafka",
    .count = count_clusters,
    .open = open_kafka,
    .collect = collect_kafka,
    .close = close_kafka,
    .readiness = true,
    .process = "a known fault of librdkafka, in the moment in which a coordinator is lost",
};
