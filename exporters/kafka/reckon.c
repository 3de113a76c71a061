/* SPDX-License-Identifier: Apache-2.0 */
/* reckon.c: see reckon.h. */
#include "exporters/kafka/reckon.h"

#include <stdlib.h>

#include "exporters/options.h"

#define RATE_WINDOW_MS 60000

static void
reckon_place(struct kafka_round *round, struct kafka_place *place)
{
    const struct kafka_partition *partition = model_partition(place->topic, place->partition);
    place->lag = -1;
    if (partition == NULL || partition->latest < 0)
        return;
    place->lag = partition->latest - place->committed;
    if (place->lag < 0) {
        round->clamped++;
        place->lag = 0;
    }
    if (partition->latest < place->headway.highest)
        headway_init(&place->headway, round->now_ms); /* it is another log */
    headway_note(&place->headway, place->committed, place->lag, round->now_ms, round->passed_ms);
}

/* Records of the place that are older than the objective; below 0: not known. */
static int64_t
over_objective(const struct kafka_place *place)
{
    const struct kafka_partition *partition = model_partition(place->topic, place->partition);
    if (place->lag < 0 || partition->objective == UNKNOWN_OFFSET)
        return -1;
    int64_t old =
        partition->objective > partition->latest ? partition->latest : partition->objective;
    return old > place->committed ? old - place->committed : 0;
}

static void
add_place(struct kafka_sum *sum, const struct kafka_place *place)
{
    int64_t over = over_objective(place);
    sum->committed += place->committed;
    sum->lag = sum->lag < 0 || place->lag < 0 ? -1 : sum->lag + place->lag;
    sum->over_objective = sum->over_objective < 0 || over < 0 ? -1 : sum->over_objective + over;
    sum->per_second = sum->per_second < 0 || place->headway.per_second < 0
                          ? -1
                          : sum->per_second + place->headway.per_second;
}

static void
reckon_sums(struct kafka_group *group)
{
    struct kafka_sum *sums = reallocarray(group->sums, group->count + 1, sizeof(*sums));
    group->sum_count = 0;
    if (sums == NULL)
        return;
    group->sums = sums;
    for (size_t i = 0; i < group->count; i++) {
        const struct kafka_place *place = &group->places[i];
        if (i == 0 || place->topic != group->places[i - 1].topic)
            sums[group->sum_count++] = (struct kafka_sum){.topic = place->topic};
        add_place(&sums[group->sum_count - 1], place);
    }
}

static void
reckon_group(struct kafka_round *round, struct kafka_group *group)
{
    group->verdict = VERDICT_NONE;
    /* Of a group that cannot be described members are assumed. */
    bool has_members = group->hidden || group->members > 0;
    for (size_t i = 0; i < group->count; i++) {
        reckon_place(round, &group->places[i]);
        enum verdict verdict = headway_verdict(&group->places[i].headway, has_members,
                                               round->now_ms, round->options->verdict_window);
        if (verdict > group->verdict)
            group->verdict = verdict;
    }
    reckon_sums(group);
}

static double
produced_per_second(const struct kafka_topic *topic, int64_t now_ms)
{
    double sum = 0;
    for (size_t i = 0; i < topic->count; i++) {
        const struct kafka_partition *partition = &topic->partitions[i];
        if (!partition->exists)
            continue;
        double rate = history_rate(&partition->history, now_ms, RATE_WINDOW_MS);
        if (partition->latest < 0 || rate < 0)
            return -1;
        sum += rate;
    }
    return sum;
}

void
reckon_all(struct kafka_round *round)
{
    struct kafka_model *model = round->model;
    for (struct kafka_group *group = model->groups; group != NULL; group = group->hh.next)
        if (group->committed)
            reckon_group(round, group);
    for (struct kafka_topic *topic = model->topics; topic != NULL; topic = topic->hh.next)
        topic->produced_per_second = produced_per_second(topic, model->now_ms);
}
