/* SPDX-License-Identifier: Apache-2.0 */
/* settings.c: see settings.h. */
#include "exporters/kafka/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOPICS_AT_ONCE 200

/* Kafka's defaults for a broker are what it answers for topics that have none of their own. */
static const char *const names[] = {
    "min.insync.replicas", "retention.ms",   "retention.bytes",
    "max.message.bytes",   "cleanup.policy", "unclean.leader.election.enable",
};

static void
take_entry(struct kafka_topic *topic, const char *name, const char *value)
{
    int64_t number = strtoll(value, NULL, 10);
    if (strcmp(name, "min.insync.replicas") == 0)
        topic->min_in_sync = number;
    else if (strcmp(name, "retention.ms") == 0)
        topic->retention_ms = number;
    else if (strcmp(name, "retention.bytes") == 0)
        topic->retention_bytes = number;
    else if (strcmp(name, "max.message.bytes") == 0)
        topic->message_bytes_max = number;
    else if (strcmp(name, "cleanup.policy") == 0)
        (void)snprintf(topic->cleanup, sizeof(topic->cleanup), "%s", value);
    else if (strcmp(name, "unclean.leader.election.enable") == 0)
        topic->unclean_election = strcmp(value, "true") == 0;
}

static bool
take_resource(struct kafka_round *round, const rd_kafka_ConfigResource_t *resource, struct err *err)
{
    const char *name = rd_kafka_ConfigResource_name(resource);
    struct kafka_topic *topic = model_topic(round->model, name);
    if (topic == NULL)
        return true;
    if (rd_kafka_ConfigResource_error(resource) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err_set(err, ERR_RETRY, (int)rd_kafka_ConfigResource_error(resource),
                       "cannot read the settings of topic '%.249s': %s", name,
                       rd_kafka_ConfigResource_error_string(resource));
    size_t count;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &count);
    for (size_t i = 0; i < count; i++)
        if (rd_kafka_ConfigEntry_value(entries[i]) != NULL)
            take_entry(topic, rd_kafka_ConfigEntry_name(entries[i]),
                       rd_kafka_ConfigEntry_value(entries[i]));
    topic->settings_known = true;
    return true;
}

static bool
take_answer(struct kafka_round *round, rd_kafka_event_t *event, struct err *err)
{
    const rd_kafka_DescribeConfigs_result_t *result =
        event == NULL ? NULL : rd_kafka_event_DescribeConfigs_result(event);
    if (event == NULL || result == NULL ||
        rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err_set(err, ERR_RETRY, 0, "cannot read the settings of topics: %s",
                       event == NULL ? "no answer in time" : rd_kafka_event_error_string(event));
    size_t count;
    const rd_kafka_ConfigResource_t **resources =
        rd_kafka_DescribeConfigs_result_resources(result, &count);
    bool fine = true;
    for (size_t i = 0; i < count; i++)
        fine = take_resource(round, resources[i], err) && fine;
    return fine;
}

/* One request for these topics. */
static bool
ask(struct kafka_round *round, rd_kafka_ConfigResource_t **resources, size_t count, struct err *err)
{
    char text[200];
    rd_kafka_queue_t *answers = rd_kafka_queue_new(round->rk);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(round->rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    bool fine = rd_kafka_AdminOptions_set_request_timeout(options, round_left_ms(round), text,
                                                          sizeof(text)) == 0;
    rd_kafka_event_t *event = NULL;
    if (fine) {
        rd_kafka_DescribeConfigs(round->rk, resources, count, options, answers);
        event = rd_kafka_queue_poll(answers, -1); /* it ends by its own time */
    }
    fine = take_answer(round, event, err);
    if (event != NULL)
        rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(answers);
    return fine;
}

static rd_kafka_ConfigResource_t *
resource_of(const struct kafka_topic *topic)
{
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic->name);
    /* Names that are set are the ones asked for; the values mean nothing here. */
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        (void)rd_kafka_ConfigResource_set_config(resource, names[i], "");
    return resource;
}

bool
settings_read(struct kafka_round *round, bool all, struct err *err)
{
    rd_kafka_ConfigResource_t *resources[TOPICS_AT_ONCE];
    size_t count = 0;
    bool fine = true;
    for (struct kafka_topic *topic = round->model->topics, *next; topic != NULL; topic = next) {
        next = topic->hh.next;
        if (topic->round == round->model->round && (all || !topic->settings_known))
            resources[count++] = resource_of(topic);
        if (count == 0 || (count < TOPICS_AT_ONCE && next != NULL))
            continue;
        if (round_left_ms(round) > 0)
            fine = ask(round, resources, count, err) && fine;
        rd_kafka_ConfigResource_destroy_array(resources, count);
        count = 0;
    }
    return fine;
}
