/* SPDX-License-Identifier: Apache-2.0 */
/* topics.c: what the brokers say about themselves and the topics: away, missing, deleted, and what
 * is told about it. */
#include <stdio.h>
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/clock.h"
#include "core/kafka.h"
#include "sinks/consumer/inside.h"

#define MISSING_LOOK_MS 5000 /* between looks for a topic that did not exist */

void
consumer_set_problem(struct consumer *consumer, bool is_broker, const char *text)
{
    int size = snprintf(consumer->problem, sizeof(consumer->problem), "%s", text);
    ASSERT(size >= 0);
    consumer->problem_is_broker = is_broker;
}

void
consumer_broker_answered(struct consumer *consumer)
{
    if (consumer->problem[0] == '\0' || !consumer->problem_is_broker)
        return;
    consumer->problem[0] = '\0';
    consumer->hooks.note(consumer->hooks.context, 6, "the brokers answer again");
}

static void
describe_missing(struct consumer *consumer)
{
    size_t route = 0;
    while (route < consumer->options->route_count && !consumer->routes[route].missing)
        route++;
    consumer->missing[0] = '\0';
    if (route == consumer->options->route_count)
        return;
    int size = snprintf(consumer->missing, sizeof(consumer->missing),
                        "topic '%s' does not exist; %slooked for again every few seconds",
                        consumer->options->routes[route].topic,
                        consumer->options->route_count > 1 ? "other topics go on; " : "");
    ASSERT(size > 0);
}

void
consumer_set_missing(struct consumer *consumer, size_t route, bool missing)
{
    if (consumer->routes[route].missing == missing)
        return;
    consumer->routes[route].missing = missing;
    describe_missing(consumer);
    consumer->missing_looked_ms = clock_monotonic_ms();
    char text[PROBLEM_MAX];
    int size = snprintf(text, sizeof(text), "topic '%s' %s", consumer->options->routes[route].topic,
                        missing ? "does not exist; create the topic, or correct its name"
                                : "is there now");
    ASSERT(size > 0);
    consumer->hooks.note(consumer->hooks.context, missing ? 4 : 6, text);
}

bool
consumer_is_topic_gone(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
           code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
           code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
}

static bool
is_named(const char *reason, const char *topic)
{
    size_t size = strlen(topic);
    return strncmp(reason, topic, size) == 0 && strchr(" :", reason[size]) != NULL;
}

/* librdkafka names the topic in its text only: "<topic> [<partition>]: <reason>". */
void
consumer_doubt_topic(struct consumer *consumer, const char *reason)
{
    for (size_t i = 0; i < consumer->options->route_count; i++)
        if (is_named(reason, consumer->options->routes[i].topic))
            consumer_set_missing(consumer, i, true);
    for (size_t i = 0; i < consumer->all_count; i++) {
        struct partition *partition = consumer->all[i];
        if (partition->assigned && partition->expected > 0 &&
            is_named(reason, consumer_topic(consumer, partition)))
            partition->doubted = true;
    }
}

const char *
consumer_problem(const struct consumer *consumer)
{
    if (consumer->problem[0] != '\0')
        return consumer->problem;
    if (consumer->missing[0] != '\0')
        return consumer->missing;
    return consumer->joined ? "" : "waiting for the group to assign partitions";
}

bool
consumer_ask_topic(struct consumer *consumer, size_t route, int timeout_ms,
                   const struct rd_kafka_metadata **metadata, struct err *err)
{
    const char *name = consumer->options->routes[route].topic;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(consumer->client, name, NULL);
    if (topic == NULL)
        return err_set(err, ERR_CONFIG, 0, "the topic name '%s' is not valid", name);
    rd_kafka_resp_err_t code = rd_kafka_metadata(consumer->client, 0, topic, metadata, timeout_ms);
    rd_kafka_topic_destroy(topic);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && (*metadata)->topic_cnt == 1 &&
        (*metadata)->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return true;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        if ((*metadata)->topic_cnt == 1)
            code = (*metadata)->topics[0].err;
        rd_kafka_metadata_destroy(*metadata);
    }
    const char *advice = kafka_advice(code);
    return err_set(err, ERR_RETRY, code, "cannot read topic '%s': %s%s%s", name,
                   rd_kafka_err2str(code), advice == NULL ? "" : "; ",
                   advice == NULL ? "" : advice);
}

/* The first missing topic that is there now; the group hears of it within its metadata's age. */
static void
look_for_missing(struct consumer *consumer)
{
    uint64_t now_ms = clock_monotonic_ms();
    if (now_ms - consumer->missing_looked_ms < MISSING_LOOK_MS)
        return;
    consumer->missing_looked_ms = now_ms;
    for (size_t i = 0; i < consumer->options->route_count; i++) {
        const struct rd_kafka_metadata *metadata;
        struct err err;
        if (!consumer->routes[i].missing)
            continue;
        if (!consumer_ask_topic(consumer, i, PROBE_TIMEOUT_MS, &metadata, &err)) {
            if (!consumer_is_topic_gone((rd_kafka_resp_err_t)err.code))
                return; /* the brokers do not answer: later */
            continue;
        }
        rd_kafka_metadata_destroy(metadata);
        consumer_set_missing(consumer, i, false);
    }
}

void
consumer_idle(struct consumer *consumer)
{
    if (consumer->problem[0] == '\0' && consumer->missing[0] != '\0')
        look_for_missing(consumer);
    for (size_t i = 0; i < consumer->all_count; i++)
        if (consumer->all[i]->assigned && consumer->all[i]->astray)
            consumer_go_back(consumer, consumer->all[i]);
    consumer_look_at_ends(consumer);
    if (consumer->problem[0] == '\0' || !consumer->problem_is_broker)
        return;
    const struct rd_kafka_metadata *metadata;
    if (rd_kafka_metadata(consumer->client, 0, NULL, &metadata, PROBE_TIMEOUT_MS) !=
        RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    rd_kafka_metadata_destroy(metadata);
    consumer_broker_answered(consumer);
}

size_t
consumer_check(struct consumer *consumer, struct buffer *report)
{
    char servers[1024];
    size_t size = sizeof(servers);
    if (rd_kafka_conf_get(rd_kafka_conf(consumer->client), "bootstrap.servers", servers, &size) !=
        RD_KAFKA_CONF_OK)
        servers[0] = '\0';
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code =
        rd_kafka_metadata(consumer->client, 0, NULL, &metadata, METADATA_TIMEOUT_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char *advice = kafka_advice(
            code == RD_KAFKA_RESP_ERR__TIMED_OUT ? RD_KAFKA_RESP_ERR__TRANSPORT : code);
        buffer_format(report, "kafka: cannot reach the brokers at %s: %s%s%s\n", servers,
                      rd_kafka_err2str(code), advice == NULL ? "" : "; ",
                      advice == NULL ? "" : advice);
        return 1;
    }
    buffer_format(report, "kafka: %d brokers:", metadata->broker_cnt);
    for (int i = 0; i < metadata->broker_cnt; i++)
        buffer_format(report, " %s:%d", metadata->brokers[i].host, metadata->brokers[i].port);
    buffer_text(report, "\n");
    rd_kafka_metadata_destroy(metadata);
    size_t problems = 0;
    for (size_t i = 0; i < consumer->options->route_count; i++) {
        const struct sink_route_options *route = &consumer->options->routes[i];
        char letters[256]; /* a topic's name has at most 249 letters */
        int written =
            snprintf(letters, sizeof(letters), "%s%s",
                     route->dead_letter_topic[0] != '\0' ? route->dead_letter_topic : route->topic,
                     route->dead_letter_topic[0] != '\0' ? "" : ".dlq");
        ASSERT(written > 0 && (size_t)written < sizeof(letters));
        problems += kafka_check_topic(consumer->client, route->topic, report) ? 0 : 1;
        problems += kafka_check_topic(consumer->client, letters, report) ? 0 : 1;
    }
    const char *receipts = consumer->options->receipts.topic;
    if (receipts[0] != '\0')
        problems += kafka_check_topic(consumer->client, receipts, report) ? 0 : 1;
    return problems;
}
