/* SPDX-License-Identifier: Apache-2.0 */
/* scan.c: see scan.h. */
#include "sinks/receipts/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/clock.h"
#include "core/kafka.h"

#define QUESTION_TIMEOUT_MS 10000
#define SILENCE_MAX_MS 30000 /* without a record before the end: then the brokers are away */

static const struct kafka_property fixed_properties[] = {
    {"group.id", NULL, "use kafka.group_id"},
    {"auto.offset.reset", "earliest", "what retention deletes meanwhile is passed over"},
    {"enable.auto.commit", "false", "an audit changes nothing"},
    {"enable.auto.offset.store", "false", "an audit changes nothing"},
    {"enable.partition.eof", "true", "the end has to be seen"},
    {"allow.auto.create.topics", "false", "a wrong name must not become a topic"},
    {"isolation.level", "read_committed", "aborted transactions never happened"},
};
#define FIXED_COUNT (sizeof(fixed_properties) / sizeof(fixed_properties[0]))

void
stretches_done(struct stretches *stretches)
{
    free(stretches->items);
    *stretches = (struct stretches){0};
}

bool
scan_client_new(rd_kafka_t **out, const struct sink_options *options, struct err *err)
{
    rd_kafka_conf_t *conf;
    if (!kafka_conf_new(&conf, (const struct kafka_common_options *)&options->kafka,
                        "tailrace-sink-audit", fixed_properties, FIXED_COUNT, err))
        return false;
    rd_kafka_conf_set_log_cb(conf, NULL); /* what matters comes with the answers */
    char reason[256];
    if (rd_kafka_conf_set(conf, "group.id", options->kafka.group_id, reason, sizeof(reason)) !=
        RD_KAFKA_CONF_OK) {
        rd_kafka_conf_destroy(conf);
        return err_set(err, ERR_CONFIG, 0, "librdkafka refuses the group '%s': %s",
                       options->kafka.group_id, reason);
    }
    *out = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof(reason));
    if (*out == NULL) {
        rd_kafka_conf_destroy(conf);
        return err_set(err, ERR_STOP, 0, "cannot start a Kafka consumer: %s", reason);
    }
    rd_kafka_set_log_queue(*out, NULL); /* else they would pile up unread */
    rd_kafka_poll_set_consumer(*out);
    return true;
}

void
scan_client_free(rd_kafka_t *client)
{
    if (client == NULL)
        return;
    (void)rd_kafka_consumer_close(client);
    rd_kafka_destroy(client);
}

static bool
fail(const char *what, const char *topic, rd_kafka_resp_err_t code, struct err *err)
{
    const char *advice = kafka_advice(code);
    bool unknown =
        code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
    return err_set(err, unknown ? ERR_REJECT : ERR_STOP, code, "cannot %s '%s': %s%s%s", what,
                   topic, rd_kafka_err2str(code), advice == NULL ? "" : "; ",
                   advice == NULL ? "" : advice);
}

/* The first record of that time. A broker that knows none of it may know nothing of times at all,
 * like the embedded one: then it has none of the year 1970 either, and all are read. */
static bool
seek_time(rd_kafka_t *client, struct stretch *stretch, int64_t since_ms, struct err *err)
{
    int64_t times[] = {since_ms, 1};
    stretch->next = stretch->low;
    if (since_ms <= 0 || stretch->low == stretch->end)
        return true;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_t *it =
            rd_kafka_topic_partition_list_add(list, stretch->topic, stretch->partition);
        it->offset = times[i];
        rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(client, list, QUESTION_TIMEOUT_MS);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            code = it->err;
        int64_t found = it->offset;
        rd_kafka_topic_partition_list_destroy(list);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            return fail("find a time in", stretch->topic, code, err);
        if (i == 0 && found >= 0) {
            stretch->next = found;
            return true;
        }
        if (i == 1 && found >= 0)
            stretch->next = stretch->end;
    }
    return true;
}

static bool
add_partition(rd_kafka_t *client, const char *topic, int32_t id, int64_t since_ms,
              struct stretches *out, struct err *err)
{
    struct stretch *grown = reallocarray(out->items, out->count + 1, sizeof(*grown));
    if (grown == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot read '%s': out of memory", topic);
    out->items = grown;
    struct stretch *stretch = &grown[out->count++];
    *stretch = (struct stretch){.topic = topic, .partition = id};
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(client, topic, id, &stretch->low,
                                                                &stretch->end, QUESTION_TIMEOUT_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return fail("read the ends of", topic, code, err);
    return seek_time(client, stretch, since_ms, err);
}

bool
scan_add_topic(rd_kafka_t *client, const char *topic, int64_t since_ms, struct stretches *out,
               struct err *err)
{
    rd_kafka_topic_t *handle = rd_kafka_topic_new(client, topic, NULL);
    const struct rd_kafka_metadata *metadata = NULL;
    if (handle == NULL)
        return err_set(err, ERR_REJECT, 0, "'%.260s' is no topic name", topic);
    rd_kafka_resp_err_t code = rd_kafka_metadata(client, 0, handle, &metadata, QUESTION_TIMEOUT_MS);
    rd_kafka_topic_destroy(handle);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && metadata != NULL)
        code = metadata->topics[0].err;
    bool fine = code == RD_KAFKA_RESP_ERR_NO_ERROR && metadata != NULL;
    if (!fine)
        (void)fail("read topic", topic, code, err);
    for (int i = 0; fine && i < metadata->topics[0].partition_cnt; i++)
        fine =
            add_partition(client, topic, metadata->topics[0].partitions[i].id, since_ms, out, err);
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    return fine;
}

static struct stretch *
find(const struct stretches *stretches, const rd_kafka_message_t *message)
{
    const char *topic = message->rkt == NULL ? "" : rd_kafka_topic_name(message->rkt);
    for (size_t i = 0; i < stretches->count; i++)
        if (stretches->items[i].partition == message->partition &&
            strcmp(stretches->items[i].topic, topic) == 0)
            return &stretches->items[i];
    return NULL;
}

static bool
assign(rd_kafka_t *client, const struct stretches *stretches, size_t *unfinished, struct err *err)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)stretches->count);
    for (size_t i = 0; i < stretches->count; i++) {
        const struct stretch *stretch = &stretches->items[i];
        if (stretch->next >= stretch->end)
            continue;
        rd_kafka_topic_partition_list_add(list, stretch->topic, stretch->partition)->offset =
            stretch->next;
        (*unfinished)++;
    }
    rd_kafka_resp_err_t code = rd_kafka_assign(client, list);
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ||
           err_set(err, ERR_STOP, code, "cannot read topics: %s", rd_kafka_err2str(code));
}

/* What came may be a record, the end of a partition, or an error. */
static bool
serve(struct stretches *stretches, const rd_kafka_message_t *message, size_t *unfinished,
      scan_take *take, void *context, struct err *err)
{
    struct stretch *stretch = find(stretches, message);
    if (message->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
        message->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        return fail("read topic", stretch == NULL ? "" : stretch->topic, message->err, err);
    if (stretch == NULL || stretch->next >= stretch->end)
        return true;
    bool record = message->err == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (record && message->offset < stretch->end && !take(context, message, err))
        return false;
    if (record)
        stretch->next = message->offset + 1;
    else if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        stretch->next = stretch->end;
    if (stretch->next >= stretch->end)
        (*unfinished)--;
    return true;
}

bool
scan_read(rd_kafka_t *client, struct stretches *stretches, scan_take *take, void *context,
          struct err *err)
{
    size_t unfinished = 0;
    bool fine = assign(client, stretches, &unfinished, err);
    uint64_t heard_ms = clock_monotonic_ms();
    while (fine && unfinished > 0) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(client, 500);
        if (message != NULL) {
            if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
                heard_ms = clock_monotonic_ms();
            fine = serve(stretches, message, &unfinished, take, context, err);
            rd_kafka_message_destroy(message);
        } else if (clock_monotonic_ms() - heard_ms > SILENCE_MAX_MS) {
            fine =
                err_set(err, ERR_STOP, RD_KAFKA_RESP_ERR__TIMED_OUT,
                        "cannot read topics: Kafka gave nothing for %d s", SILENCE_MAX_MS / 1000);
        }
    }
    (void)rd_kafka_assign(client, NULL);
    return fine;
}

bool
scan_committed(rd_kafka_t *client, const struct stretches *stretches, int64_t *out, struct err *err)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)stretches->count);
    for (size_t i = 0; i < stretches->count; i++)
        rd_kafka_topic_partition_list_add(list, stretches->items[i].topic,
                                          stretches->items[i].partition);
    rd_kafka_resp_err_t code = rd_kafka_committed(client, list, QUESTION_TIMEOUT_MS);
    for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++)
        out[i] = list->elems[i].err == RD_KAFKA_RESP_ERR_NO_ERROR ? list->elems[i].offset : -1;
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ||
           err_set(err, ERR_STOP, code, "cannot read what the sinks' group has committed: %s",
                   rd_kafka_err2str(code));
}
