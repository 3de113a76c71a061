/* SPDX-License-Identifier: Apache-2.0 */
/* families.c: see families.h. One table for each kind of series. The families of kafka_exporter
 * keep its names and labels; what it does not have is named after its way where the value is
 * Kafka's, and tailrace_… where it is our reckoning. */
#include "exporters/kafka/families.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "exporters/options.h"
#include "exporters/page.h"

/* What a value function returns for "not known": no series. */
#define NO_VALUE INT64_MIN

#define ID_SIZE 16
static const char *
id_text(char out[ID_SIZE], int64_t id)
{
    (void)snprintf(out, ID_SIZE, "%lld", (long long)id);
    return out;
}

static void
put_cluster(const struct kafka_model *model, struct page *page)
{
    char id[ID_SIZE];
    page_gauge(page, "kafka_brokers", "Number of brokers in the Kafka cluster.",
               (double)model->broker_count);
    page_family(page, "kafka_broker_info", PAGE_GAUGE, "Information about the Kafka broker.");
    for (size_t i = 0; i < model->broker_count; i++)
        page_sample(page, 1, "id", id_text(id, model->brokers[i].id), "address",
                    model->brokers[i].address, NULL);
    page_family(page, "kafka_cluster_info", PAGE_GAUGE,
                "The cluster's id and the broker that is its controller.");
    page_sample(page, 1, "cluster_id", model->cluster_id == NULL ? "" : model->cluster_id,
                "controller_id", id_text(id, model->controller), NULL);
}

/* --- of a partition --- */

struct partition_family {
    const char *name, *help;
    int64_t (*value)(const struct kafka_topic *topic, const struct kafka_partition *partition);
};

static int64_t
latest(const struct kafka_topic *topic, const struct kafka_partition *partition)
{
    (void)topic;
    return partition->latest < 0 ? NO_VALUE : partition->latest;
}

static int64_t
earliest(const struct kafka_topic *topic, const struct kafka_partition *partition)
{
    (void)topic;
    return partition->earliest < 0 ? NO_VALUE : partition->earliest;
}

static int64_t
leader(const struct kafka_topic *topic, const struct kafka_partition *partition)
{
    (void)topic;
    return partition->leader < 0 ? NO_VALUE : partition->leader;
}

static int64_t
replicas(const struct kafka_topic *topic, const struct kafka_partition *partition)
{
    (void)topic;
    return partition->replicas;
}

static int64_t
in_sync(const struct kafka_topic *topic, const struct kafka_partition *partition)
{
    (void)topic;
    return partition->in_sync;
}

static int64_t
is_preferred(const struct kafka_topic *topic, const struct kafka_partition *partition)
{
    (void)topic;
    return partition->leader >= 0 && partition->leader == partition->preferred;
}

static int64_t
is_under_replicated(const struct kafka_topic *topic, const struct kafka_partition *partition)
{
    (void)topic;
    return partition->in_sync < partition->replicas;
}

static int64_t
is_offline(const struct kafka_topic *topic, const struct kafka_partition *partition)
{
    (void)topic;
    return partition->leader < 0;
}

/* Without a leader nobody can take a record, whoever was in sync last. */
static int64_t
usable_replicas(const struct kafka_partition *partition)
{
    return partition->leader < 0 ? 0 : partition->in_sync;
}

static int64_t
is_under_min_isr(const struct kafka_topic *topic, const struct kafka_partition *partition)
{
    return topic->settings_known ? usable_replicas(partition) < topic->min_in_sync : NO_VALUE;
}

static int64_t
is_at_min_isr(const struct kafka_topic *topic, const struct kafka_partition *partition)
{
    return topic->settings_known ? usable_replicas(partition) == topic->min_in_sync : NO_VALUE;
}

static const struct partition_family partition_families[] = {
    {"kafka_topic_partition_current_offset", "Current offset of a broker at topic/partition.",
     latest},
    {"kafka_topic_partition_oldest_offset", "Oldest offset of a broker at topic/partition.",
     earliest},
    {"kafka_topic_partition_leader", "Leader broker id of this topic/partition.", leader},
    {"kafka_topic_partition_replicas", "Number of replicas for this topic/partition.", replicas},
    {"kafka_topic_partition_in_sync_replica",
     "Number of in-sync replicas for this topic/partition.", in_sync},
    {"kafka_topic_partition_leader_is_preferred",
     "1 if topic/partition is using the preferred broker.", is_preferred},
    {"kafka_topic_partition_under_replicated_partition",
     "1 if topic/partition is under replicated.", is_under_replicated},
    {"kafka_topic_partition_offline",
     "1 if the partition has no leader: nobody can read or write it.", is_offline},
    {"kafka_topic_partition_under_min_isr",
     "1 if fewer replicas are in sync than min.insync.replicas asks for: producers with acks=all "
     "are refused.",
     is_under_min_isr},
    {"kafka_topic_partition_at_min_isr",
     "1 if producers with acks=all are refused as soon as one more replica is lost.",
     is_at_min_isr},
};

static void
put_partition_family(const struct kafka_model *model, const struct partition_family *family,
                     struct page *page)
{
    page_family(page, family->name, PAGE_GAUGE, family->help);
    for (const struct kafka_topic *topic = model->topics; topic != NULL; topic = topic->hh.next)
        for (size_t i = 0; i < topic->count; i++) {
            char id[ID_SIZE];
            const struct kafka_partition *partition = &topic->partitions[i];
            int64_t value = partition->exists ? family->value(topic, partition) : NO_VALUE;
            if (value == NO_VALUE)
                continue;
            page_begin(page);
            page_label(page, "topic", topic->name);
            page_label(page, "partition", id_text(id, (int64_t)i));
            page_int(page, value);
        }
}

/* --- of a topic --- */

struct topic_family {
    const char *name, *help;
    double (*value)(const struct kafka_topic *topic); /* below -1: not known */
};

static double
partition_count(const struct kafka_topic *topic)
{
    double count = 0;
    for (size_t i = 0; i < topic->count; i++)
        count += topic->partitions[i].exists;
    return count;
}

static double
produced_per_second(const struct kafka_topic *topic)
{
    return topic->produced_per_second < 0 ? -2 : topic->produced_per_second;
}

static double
min_in_sync(const struct kafka_topic *topic)
{
    return topic->settings_known ? (double)topic->min_in_sync : -2;
}

static double
retention_seconds(const struct kafka_topic *topic)
{
    if (!topic->settings_known)
        return -2;
    return topic->retention_ms < 0 ? -1 : (double)topic->retention_ms / 1000;
}

static double
retention_bytes(const struct kafka_topic *topic)
{
    return topic->settings_known ? (double)topic->retention_bytes : -2;
}

static double
message_bytes_max(const struct kafka_topic *topic)
{
    return topic->settings_known ? (double)topic->message_bytes_max : -2;
}

static const struct topic_family topic_families[] = {
    {"kafka_topic_partitions", "Number of partitions for this topic.", partition_count},
    {"tailrace_kafka_topic_produced_records_per_second",
     "Records appended to the topic, over about the last minute.", produced_per_second},
    {"kafka_topic_min_insync_replicas", "The topic's min.insync.replicas.", min_in_sync},
    {"kafka_topic_retention_seconds", "The topic's retention.ms; -1: for ever.", retention_seconds},
    {"kafka_topic_retention_bytes",
     "The topic's retention.bytes, for each partition; -1: no limit.", retention_bytes},
    {"kafka_topic_max_message_bytes", "The topic's max.message.bytes, for a batch.",
     message_bytes_max},
};

static void
put_topic_family(const struct kafka_model *model, const struct topic_family *family,
                 struct page *page)
{
    page_family(page, family->name, PAGE_GAUGE, family->help);
    for (const struct kafka_topic *topic = model->topics; topic != NULL; topic = topic->hh.next) {
        double value = family->value(topic);
        if (value >= -1)
            page_sample(page, value, "topic", topic->name, NULL);
    }
}

static void
put_topic_info(const struct kafka_model *model, struct page *page)
{
    page_family(page, "kafka_topic_info", PAGE_GAUGE, "Settings of the topic that are words.");
    for (const struct kafka_topic *topic = model->topics; topic != NULL; topic = topic->hh.next)
        if (topic->settings_known)
            page_sample(page, 1, "topic", topic->name, "cleanup_policy", topic->cleanup,
                        "unclean_leader_election", topic->unclean_election ? "true" : "false",
                        NULL);
}

/* --- of a group at a partition --- */

struct place_family {
    const char *name, *help;
    int64_t (*value)(const struct kafka_place *place);
};

static int64_t
place_committed(const struct kafka_place *place)
{
    return place->committed;
}

static int64_t
place_lag(const struct kafka_place *place)
{
    return place->lag < 0 ? NO_VALUE : place->lag;
}

static int64_t
place_expired(const struct kafka_place *place)
{
    const struct kafka_partition *partition = model_partition(place->topic, place->partition);
    if (partition == NULL || partition->earliest < 0)
        return NO_VALUE;
    int64_t expired = partition->earliest - place->committed;
    return expired > 0 ? expired : 0;
}

static const struct place_family place_families[] = {
    {"kafka_consumergroup_current_offset", "Current offset of a consumer group at topic/partition.",
     place_committed},
    {"kafka_consumergroup_lag", "Current approximate lag of a consumer group at topic/partition.",
     place_lag},
    {"kafka_consumergroup_lag_expired",
     "Records that retention deleted before the group committed them.", place_expired},
};

static void
begin_place(struct page *page, const struct kafka_group *group, const struct kafka_place *place)
{
    char id[ID_SIZE];
    page_begin(page);
    page_label(page, "consumergroup", group->name);
    page_label(page, "topic", place->topic->name);
    page_label(page, "partition", id_text(id, place->partition));
}

static void
put_place_family(const struct kafka_model *model, const struct place_family *family,
                 struct page *page)
{
    page_family(page, family->name, PAGE_GAUGE, family->help);
    for (const struct kafka_group *group = model->groups; group != NULL; group = group->hh.next)
        for (size_t i = 0; i < group->count && group->committed; i++) {
            int64_t value = family->value(&group->places[i]);
            if (value == NO_VALUE)
                continue;
            begin_place(page, group, &group->places[i]);
            page_int(page, value);
        }
}

static void
put_lag_seconds(const struct kafka_model *model, struct page *page)
{
    page_family(page, "kafka_consumergroup_lag_seconds", PAGE_GAUGE,
                "Age of the oldest record that the group has not committed, from the times at "
                "which the log's end was where: interpolated, or extrapolated beyond the first "
                "known.");
    for (const struct kafka_group *group = model->groups; group != NULL; group = group->hh.next)
        for (size_t i = 0; i < group->count && group->committed; i++) {
            const struct kafka_place *place = &group->places[i];
            if (place->lag < 0)
                continue;
            int64_t at_ms = model->now_ms;
            enum history_method method = HISTORY_INTERPOLATED;
            if (place->lag > 0)
                method = history_when(&place->topic->partitions[place->partition].history,
                                      place->committed, &at_ms);
            if (method == HISTORY_NONE)
                continue;
            begin_place(page, group, place);
            page_label(page, "method",
                       method == HISTORY_INTERPOLATED ? "interpolated" : "extrapolated");
            page_double(page, at_ms < model->now_ms ? (double)(model->now_ms - at_ms) / 1000 : 0);
        }
}

/* --- of a group at a topic --- */

struct sum_family {
    const char *name, *help;
    double (*value)(const struct kafka_sum *sum); /* below 0: not known */
};

static double
sum_committed(const struct kafka_sum *sum)
{
    return (double)sum->committed;
}

static double
sum_lag(const struct kafka_sum *sum)
{
    return (double)sum->lag;
}

static double
sum_per_second(const struct kafka_sum *sum)
{
    return sum->per_second;
}

static double
sum_over_objective(const struct kafka_sum *sum)
{
    return (double)sum->over_objective;
}

static const struct sum_family sum_families[] = {
    {"kafka_consumergroup_current_offset_sum",
     "Current offset of a consumer group at topic for all partitions.", sum_committed},
    {"kafka_consumergroup_lag_sum",
     "Current approximate lag of a consumer group at topic for all partitions.", sum_lag},
    {"tailrace_kafka_consumergroup_consumed_records_per_second",
     "Records of the topic that the group committed, over the last round.", sum_per_second},
    {"kafka_consumergroup_lag_over_objective",
     "Records older than kafka.lag_objective that the group has not committed, by the records' "
     "own times.",
     sum_over_objective},
};

static void
put_sum_family(const struct kafka_model *model, const struct sum_family *family, struct page *page)
{
    page_family(page, family->name, PAGE_GAUGE, family->help);
    for (const struct kafka_group *group = model->groups; group != NULL; group = group->hh.next)
        for (size_t i = 0; i < group->sum_count && group->committed; i++) {
            double value = family->value(&group->sums[i]);
            if (value >= 0)
                page_sample(page, value, "consumergroup", group->name, "topic",
                            group->sums[i].topic->name, NULL);
        }
}

/* --- of a group --- */

struct group_family {
    const char *name, *help;
    int64_t (*value)(const struct kafka_group *group);
};

static int64_t
group_members(const struct kafka_group *group)
{
    return group->described ? group->members : NO_VALUE;
}

static int64_t
group_coordinator(const struct kafka_group *group)
{
    return group->described || group->hidden ? group->coordinator : NO_VALUE;
}

static int64_t
group_described(const struct kafka_group *group)
{
    return group->described || group->hidden ? group->described : NO_VALUE;
}

static int64_t
group_verdict(const struct kafka_group *group)
{
    return group->committed && group->verdict != VERDICT_NONE ? (int64_t)group->verdict : NO_VALUE;
}

static const struct group_family group_families[] = {
    {"kafka_consumergroup_members", "Amount of members in a consumer group.", group_members},
    {"kafka_consumergroup_coordinator", "Id of the broker that coordinates the group.",
     group_coordinator},
    {"tailrace_kafka_consumergroup_described",
     "0: the brokers list the group, but this client library cannot see its state and members "
     "(those of the new rebalance protocol); its offsets and lag are right.",
     group_described},
    {"kafka_consumergroup_status",
     "How the group gets on, in Burrow's numbers: 1 ok, 2 warn (its lag does not shrink), 4 stop "
     "(lag, no members, no commits), 5 stall (lag, members, no commits), 6 rewind (it went back).",
     group_verdict},
};

static void
put_group_family(const struct kafka_model *model, const struct group_family *family,
                 struct page *page)
{
    page_family(page, family->name, PAGE_GAUGE, family->help);
    for (const struct kafka_group *group = model->groups; group != NULL; group = group->hh.next) {
        int64_t value = family->value(group);
        if (value == NO_VALUE)
            continue;
        page_begin(page);
        page_label(page, "consumergroup", group->name);
        page_int(page, value);
    }
}

static void
put_states(const struct kafka_model *model, struct page *page)
{
    static const char *const states[] = {"Stable", "PreparingRebalance", "CompletingRebalance",
                                         "Empty", "Dead"};
    page_family(page, "kafka_consumergroup_state", PAGE_GAUGE, "1 for the state the group is in.");
    for (const struct kafka_group *group = model->groups; group != NULL; group = group->hh.next)
        for (size_t i = 0; i < sizeof(states) / sizeof(states[0]) && group->described; i++)
            page_sample(page, strcmp(states[i], group->state) == 0, "consumergroup", group->name,
                        "state", states[i], NULL);
}

static void
put_unassigned(const struct kafka_model *model, struct page *page)
{
    page_family(page, "kafka_consumergroup_unassigned_partitions", PAGE_GAUGE,
                "Partitions of a topic the group consumes that no member has.");
    for (const struct kafka_group *group = model->groups; group != NULL; group = group->hh.next) {
        bool settled = group->described && strcmp(group->state, "Stable") == 0;
        for (size_t i = 0; i < group->assigned_count && settled; i++) {
            const struct kafka_topic *topic = group->assigned[i].topic;
            double left = partition_count(topic) - (double)group->assigned[i].partitions;
            page_sample(page, left < 0 ? 0 : left, "consumergroup", group->name, "topic",
                        topic->name, NULL);
        }
    }
}

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static void
say_absences(const struct kafka_round *round, struct page *page)
{
    if (round->model->groups == NULL)
        page_absent(page, "kafka_consumergroup_*",
                    "there is no consumer group, or none that kafka.groups names");
    else if (round->options->lag_objective == 0)
        page_absent(page, "kafka_consumergroup_lag_over_objective", "kafka.lag_objective is 0");
    if (round->options->granularity != 0)
        page_absent(page, "kafka_topic_partition_*", "kafka.granularity is topic");
}

void
families_put(const struct kafka_round *round, struct page *page)
{
    const struct kafka_model *model = round->model;
    bool by_partition = round->options->granularity == 0;
    put_cluster(model, page);
    for (size_t i = 0; i < COUNT(topic_families); i++)
        put_topic_family(model, &topic_families[i], page);
    put_topic_info(model, page);
    for (size_t i = 0; i < COUNT(partition_families) && by_partition; i++)
        put_partition_family(model, &partition_families[i], page);
    for (size_t i = 0; i < COUNT(group_families); i++)
        put_group_family(model, &group_families[i], page);
    put_states(model, page);
    put_unassigned(model, page);
    for (size_t i = 0; i < COUNT(sum_families); i++)
        put_sum_family(model, &sum_families[i], page);
    for (size_t i = 0; i < COUNT(place_families) && by_partition; i++)
        put_place_family(model, &place_families[i], page);
    if (by_partition)
        put_lag_seconds(model, page);
    say_absences(round, page);
}
