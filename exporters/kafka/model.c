/* SPDX-License-Identifier: Apache-2.0 */
/* model.c: see model.h. */
#include "exporters/kafka/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"

static void
topic_free(struct kafka_topic *topic)
{
    free(topic->partitions);
    free(topic->name);
    free(topic);
}

static void
group_free(struct kafka_group *group)
{
    free(group->places);
    free(group->sums);
    free(group->assigned);
    free(group->name);
    free(group);
}

void
model_free(struct kafka_model *model)
{
    struct kafka_topic *topic = model->topics;
    struct kafka_group *group = model->groups;
    HASH_CLEAR(hh, model->topics);
    HASH_CLEAR(hh, model->groups);
    for (struct kafka_topic *next; topic != NULL; topic = next) {
        next = topic->hh.next;
        topic_free(topic);
    }
    for (struct kafka_group *next; group != NULL; group = next) {
        next = group->hh.next;
        group_free(group);
    }
    free(model->brokers);
    free(model->cluster_id);
    *model = (struct kafka_model){0};
}

struct kafka_topic *
model_topic(const struct kafka_model *model, const char *name)
{
    struct kafka_topic *topic;
    HASH_FIND_STR(model->topics, name, topic);
    return topic;
}

struct kafka_partition *
model_partition(const struct kafka_topic *topic, int32_t partition)
{
    if (partition < 0 || (size_t)partition >= topic->count || !topic->partitions[partition].exists)
        return NULL;
    return &topic->partitions[partition];
}

static struct kafka_topic *
topic_of(struct kafka_model *model, const char *name)
{
    struct kafka_topic *topic = model_topic(model, name);
    if (topic != NULL)
        return topic;
    topic = calloc(1, sizeof(*topic));
    char *copy = topic == NULL ? NULL : strdup(name);
    if (copy == NULL) {
        free(topic);
        return NULL;
    }
    topic->name = copy;
    topic->number = model->topics_ever++;
    topic->min_in_sync = -1;
    topic->produced_per_second = -1;
    HASH_ADD_KEYPTR(hh, model->topics, topic->name, strlen(topic->name), topic);
    return topic;
}

struct kafka_group *
model_group(struct kafka_model *model, const char *name)
{
    struct kafka_group *group;
    HASH_FIND_STR(model->groups, name, group);
    if (group != NULL)
        return group;
    group = calloc(1, sizeof(*group));
    char *copy = group == NULL ? NULL : strdup(name);
    if (copy == NULL) {
        free(group);
        return NULL;
    }
    group->name = copy;
    group->coordinator = -1;
    HASH_ADD_KEYPTR(hh, model->groups, group->name, strlen(group->name), group);
    return group;
}

static bool
has_broker(const struct kafka_model *model, int32_t id)
{
    for (size_t i = 0; i < model->broker_count; i++)
        if (model->brokers[i].id == id)
            return true;
    return false;
}

static bool
take_brokers(struct kafka_model *model, const struct rd_kafka_metadata *found)
{
    size_t count = (size_t)found->broker_cnt;
    struct kafka_broker *brokers = calloc(count + 1, sizeof(*brokers));
    if (brokers == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        brokers[i].id = found->brokers[i].id;
        (void)snprintf(brokers[i].address, sizeof(brokers[i].address), "%.255s:%d",
                       found->brokers[i].host, found->brokers[i].port);
    }
    free(model->brokers);
    model->brokers = brokers;
    model->broker_count = count;
    return true;
}

/* Room for partitions up to the greatest id; new ones do not exist yet. */
static bool
grow_partitions(struct kafka_topic *topic, const struct rd_kafka_metadata_topic *found)
{
    size_t count = topic->count;
    for (int i = 0; i < found->partition_cnt; i++)
        if (found->partitions[i].id >= 0 && (size_t)found->partitions[i].id >= count)
            count = (size_t)found->partitions[i].id + 1;
    if (count == topic->count)
        return true;
    struct kafka_partition *partitions =
        reallocarray(topic->partitions, count, sizeof(*partitions));
    if (partitions == NULL)
        return false;
    memset(partitions + topic->count, 0, (count - topic->count) * sizeof(*partitions));
    topic->partitions = partitions;
    topic->count = count;
    return true;
}

static bool
take_topic(struct kafka_model *model, const struct rd_kafka_metadata_topic *found)
{
    struct kafka_topic *topic = topic_of(model, found->topic);
    if (topic == NULL || !grow_partitions(topic, found))
        return false;
    topic->round = model->round;
    for (size_t i = 0; i < topic->count; i++)
        topic->partitions[i].exists = false;
    for (int i = 0; i < found->partition_cnt; i++) {
        const struct rd_kafka_metadata_partition *from = &found->partitions[i];
        if (from->id < 0)
            continue;
        struct kafka_partition *partition = &topic->partitions[from->id];
        partition->exists = true;
        /* A broker that is gone may be named for a moment. */
        partition->leader = has_broker(model, from->leader) ? from->leader : -1;
        partition->preferred = from->replica_cnt > 0 ? from->replicas[0] : -1;
        partition->replicas = from->replica_cnt;
        partition->in_sync = from->isr_cnt;
        partition->latest = partition->earliest = partition->objective = UNKNOWN_OFFSET;
    }
    return true;
}

bool
model_take_metadata(struct kafka_model *model, const struct rd_kafka_metadata *found,
                    bool (*wanted)(const void *context, const char *topic), const void *context,
                    struct err *err)
{
    bool fine = take_brokers(model, found);
    for (int i = 0; i < found->topic_cnt && fine; i++) {
        const struct rd_kafka_metadata_topic *topic = &found->topics[i];
        bool deleted = topic->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        if (topic->topic != NULL && !deleted && wanted(context, topic->topic))
            fine = take_topic(model, topic);
    }
    return fine || err_set(err, ERR_RETRY, 0, "cannot keep the cluster's topics: out of memory");
}

/* Places and assignments in topics that are gone. */
static void
drop_topics(struct kafka_model *model, struct kafka_group *group)
{
    size_t kept = 0;
    for (size_t i = 0; i < group->count; i++)
        if (group->places[i].topic->round == model->round)
            group->places[kept++] = group->places[i];
    group->count = kept;
    group->sum_count = 0; /* until they are reckoned again */
    kept = 0;
    for (size_t i = 0; i < group->assigned_count; i++)
        if (group->assigned[i].topic->round == model->round)
            group->assigned[kept++] = group->assigned[i];
    group->assigned_count = kept;
}

/* Those of the list that began with `group` go into the table again, or are freed. */
static void
keep_groups(struct kafka_model *model, struct kafka_group *group)
{
    for (struct kafka_group *next; group != NULL; group = next) {
        next = group->hh.next;
        drop_topics(model, group);
        if (group->round == model->round || !model->groups_whole)
            HASH_ADD_KEYPTR(hh, model->groups, group->name, strlen(group->name), group);
        else
            group_free(group);
    }
}

static void
keep_topics(struct kafka_model *model, struct kafka_topic *topic)
{
    for (struct kafka_topic *next; topic != NULL; topic = next) {
        next = topic->hh.next;
        if (topic->round == model->round)
            HASH_ADD_KEYPTR(hh, model->topics, topic->name, strlen(topic->name), topic);
        else
            topic_free(topic);
    }
}

void
model_forget(struct kafka_model *model)
{
    struct kafka_topic *topics = model->topics;
    struct kafka_group *groups = model->groups;
    HASH_CLEAR(hh, model->groups);
    keep_groups(model, groups); /* they look at topics, whose table is whole yet */
    HASH_CLEAR(hh, model->topics);
    keep_topics(model, topics);
}
