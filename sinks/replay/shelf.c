/* SPDX-License-Identifier: Apache-2.0 */
/* shelf.c: see shelf.h. Nobody joins the group: a member would have to wait for a rebalance, and
 * Kafka takes commits for a group without members. */
#include "sinks/replay/shelf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/clock.h"
#include "core/kafka.h"

#define GROUP_SUFFIX "-dead-letters"
#define LOOK_TIMEOUT_MS 5000 /* the first question of all: are the brokers there? */
#define QUESTION_TIMEOUT_MS 10000
#define SILENCE_MAX_MS 30000 /* without a record before the end: then the brokers are away */
#define READ_LEDGER "read what was sent back, which is kept as the offsets of group"
#define TOPIC_SIZE 250 /* Kafka's own limit is 249 */

struct shelf {
    const struct sink_options *options;
    rd_kafka_t *client;
    char *group;
    struct shelf_partition *partitions;
    size_t count;
    size_t unfinished; /* of them */
};

static const struct kafka_property fixed_properties[] = {
    {"group.id", NULL, "use kafka.group_id"},
    {"auto.offset.reset", "earliest", "what retention deletes meanwhile is passed over"},
    {"enable.auto.commit", "false", "a letter is remembered when it was sent"},
    {"enable.auto.offset.store", "false", "a letter is remembered when it was sent"},
    {"enable.partition.eof", "true", "the end has to be seen"},
    {"allow.auto.create.topics", "false", "a wrong name must not become a topic"},
};
#define FIXED_COUNT (sizeof(fixed_properties) / sizeof(fixed_properties[0]))

bool
shelf_client_new(rd_kafka_t **out, const struct sink_options *options, const char *group,
                 struct err *err)
{
    rd_kafka_conf_t *conf;
    if (!kafka_conf_new(&conf, (const struct kafka_common_options *)&options->kafka,
                        "tailrace-sink-dead-letters", fixed_properties, FIXED_COUNT, err))
        return false;
    rd_kafka_conf_set_log_cb(conf, NULL); /* what matters comes with the answers */
    char reason[256];
    if (rd_kafka_conf_set(conf, "group.id", group, reason, sizeof(reason)) != RD_KAFKA_CONF_OK) {
        rd_kafka_conf_destroy(conf);
        return err_set(err, ERR_CONFIG, 0, "librdkafka refuses the group '%s': %s", group, reason);
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

static bool
fail(const char *what, const char *object, rd_kafka_resp_err_t code, struct err *err)
{
    const char *advice = kafka_advice(code);
    return err_set(err, ERR_STOP, code, "cannot %s '%s': %s%s%s", what, object,
                   rd_kafka_err2str(code), advice == NULL ? "" : "; ",
                   advice == NULL ? "" : advice);
}

static void
dead_letter_topic(const struct sink_route_options *route, char out[TOPIC_SIZE])
{
    bool named = route->dead_letter_topic[0] != '\0';
    int size = snprintf(out, TOPIC_SIZE, "%s%s", named ? route->dead_letter_topic : route->topic,
                        named ? "" : ".dlq");
    ASSERT(size > 0 && size < TOPIC_SIZE);
}

static bool
add_partition(struct shelf *shelf, const char *topic, int32_t id, struct err *err)
{
    struct shelf_partition *grown =
        reallocarray(shelf->partitions, shelf->count + 1, sizeof(*grown));
    if (grown != NULL)
        shelf->partitions = grown;
    char *name = strdup(topic);
    if (grown == NULL || name == NULL) {
        free(name);
        return err_set(err, ERR_STOP, ENOMEM, "cannot read '%s': out of memory", topic);
    }
    struct shelf_partition *partition = &shelf->partitions[shelf->count++];
    *partition = (struct shelf_partition){.topic = name, .id = id};
    ledger_init(&partition->sent);
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        shelf->client, topic, id, &partition->first, &partition->end, QUESTION_TIMEOUT_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return fail("read the ends of dead-letter topic", topic, code, err);
    partition->next = partition->first;
    if (partition->next < partition->end)
        shelf->unfinished++;
    /* What is not there any more needs no remembering one by one. */
    if (!ledger_add(&partition->sent, 0, partition->first))
        return err_set(err, ERR_STOP, ENOMEM, "cannot read '%s': out of memory", topic);
    return true;
}

static bool
add_topic(struct shelf *shelf, const char *topic, struct buffer *missing, struct err *err)
{
    for (size_t i = 0; i < shelf->count; i++)
        if (strcmp(shelf->partitions[i].topic, topic) == 0)
            return true; /* of two routes */
    rd_kafka_topic_t *handle = rd_kafka_topic_new(shelf->client, topic, NULL);
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code =
        handle == NULL ? rd_kafka_last_error()
                       : rd_kafka_metadata(shelf->client, 0, handle, &metadata, LOOK_TIMEOUT_MS);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && metadata != NULL)
        code = metadata->topics[0].err;
    /* The first question that is not answered is about the brokers, not about the topic. */
    if (code == RD_KAFKA_RESP_ERR__TIMED_OUT || code == RD_KAFKA_RESP_ERR__TRANSPORT)
        code = RD_KAFKA_RESP_ERR__TRANSPORT;
    bool fine = code == RD_KAFKA_RESP_ERR_NO_ERROR && metadata != NULL;
    for (int i = 0; fine && i < metadata->topics[0].partition_cnt; i++)
        fine = add_partition(shelf, topic, metadata->topics[0].partitions[i].id, err);
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
        buffer_format(missing, "%s'%s'", missing->size == 0 ? "" : ", ", topic);
        fine = true;
    } else if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fine = fail("reach Kafka for dead-letter topic", topic, code, err);
    }
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    if (handle != NULL)
        rd_kafka_topic_destroy(handle);
    return fine;
}

static bool
add_topics(struct shelf *shelf, const char *only, struct buffer *missing, struct err *err)
{
    bool found = false;
    for (size_t i = 0; i < shelf->options->route_count; i++) {
        const struct sink_route_options *route = &shelf->options->routes[i];
        if (only != NULL && strcmp(route->topic, only) != 0)
            continue;
        found = true;
        char topic[TOPIC_SIZE];
        dead_letter_topic(route, topic);
        if (!add_topic(shelf, topic, missing, err))
            return false;
    }
    return found || err_set(err, ERR_CONFIG, 0,
                            "--topic wants the topic of a route; no route has '%.200s'", only);
}

static rd_kafka_topic_partition_list_t *
list_partitions(const struct shelf *shelf, bool changed_only)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)shelf->count);
    for (size_t i = 0; i < shelf->count; i++) {
        const struct shelf_partition *partition = &shelf->partitions[i];
        if (!changed_only || partition->changed)
            rd_kafka_topic_partition_list_add(list, partition->topic, partition->id);
    }
    return list;
}

static struct shelf_partition *
find(struct shelf *shelf, const char *topic, int32_t id)
{
    for (size_t i = 0; i < shelf->count; i++)
        if (shelf->partitions[i].id == id && strcmp(shelf->partitions[i].topic, topic) == 0)
            return &shelf->partitions[i];
    return NULL;
}

/* Adds what is kept at the brokers to the ledgers of these partitions. */
static bool
read_ledgers(struct shelf *shelf, rd_kafka_topic_partition_list_t *list, struct err *err)
{
    rd_kafka_resp_err_t code = rd_kafka_committed(shelf->client, list, QUESTION_TIMEOUT_MS);
    for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *it = &list->elems[i];
        struct shelf_partition *partition = find(shelf, it->topic, it->partition);
        ASSERT(partition != NULL);
        code = it->err;
        /* Beyond the end: of a topic that was deleted and made anew. */
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR || it->offset > partition->end)
            continue;
        if (!ledger_read(&partition->sent, it->offset, it->metadata, it->metadata_size))
            return err_set(err, ERR_STOP, ENOMEM, "cannot read what was sent back: out of memory");
    }
    return code == RD_KAFKA_RESP_ERR_NO_ERROR || fail(READ_LEDGER, shelf->group, code, err);
}

/* What keeps us from the group's coordinator comes as an event, and the question itself only ends
 * with its time (librdkafka 2.0.2). Nothing is assigned yet, so no record is lost here. */
static rd_kafka_resp_err_t
group_fault(struct shelf *shelf)
{
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__TIMED_OUT;
    rd_kafka_message_t *event;
    while ((event = rd_kafka_consumer_poll(shelf->client, 0)) != NULL) {
        if (event->err == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
            code = event->err;
        rd_kafka_message_destroy(event);
    }
    return code;
}

static bool
assign(struct shelf *shelf, struct err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)shelf->count);
    for (size_t i = 0; i < shelf->count; i++) {
        const struct shelf_partition *partition = &shelf->partitions[i];
        if (partition->next < partition->end)
            rd_kafka_topic_partition_list_add(list, partition->topic, partition->id)->offset =
                partition->next;
    }
    rd_kafka_resp_err_t code = rd_kafka_assign(shelf->client, list);
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ||
           fail("read dead letters as", shelf->group, code, err);
}

static bool
open_parts(struct shelf *shelf, const char *topic, bool needs_ledger, struct buffer *missing,
           struct err *err)
{
    size_t size = strlen(shelf->options->kafka.group_id) + sizeof(GROUP_SUFFIX);
    shelf->group = malloc(size);
    if (shelf->group == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot start: out of memory");
    int written = snprintf(shelf->group, size, "%s" GROUP_SUFFIX, shelf->options->kafka.group_id);
    ASSERT(written > 0 && (size_t)written < size);
    if (!shelf_client_new(&shelf->client, shelf->options, shelf->group, err) ||
        !add_topics(shelf, topic, missing, err))
        return false;
    if (shelf->count == 0)
        return true;
    rd_kafka_topic_partition_list_t *list = list_partitions(shelf, false);
    bool fine = read_ledgers(shelf, list, err);
    if (!fine && err->code == RD_KAFKA_RESP_ERR__TIMED_OUT)
        fine = fail(READ_LEDGER, shelf->group, group_fault(shelf), err);
    fine = fine || !needs_ledger;
    rd_kafka_topic_partition_list_destroy(list);
    return fine && assign(shelf, err);
}

bool
shelf_open(struct shelf **out, const struct sink_options *options, const char *topic,
           bool needs_ledger, struct buffer *missing, struct err *err)
{
    struct shelf *shelf = calloc(1, sizeof(*shelf));
    if (shelf == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot start: out of memory");
    shelf->options = options;
    if (!open_parts(shelf, topic, needs_ledger, missing, err)) {
        shelf_close(shelf);
        return false;
    }
    *out = shelf;
    return true;
}

void
shelf_close(struct shelf *shelf)
{
    if (shelf == NULL)
        return;
    if (shelf->client != NULL) {
        (void)rd_kafka_consumer_close(shelf->client);
        rd_kafka_destroy(shelf->client);
    }
    for (size_t i = 0; i < shelf->count; i++) {
        free(shelf->partitions[i].topic);
        ledger_done(&shelf->partitions[i].sent);
    }
    free(shelf->partitions);
    free(shelf->group);
    free(shelf);
}

/* The record at `offset` is handed out (at the end: none). What lies between holds no record and is
 * done; while memory is short it only is not remembered as such. */
static void
advance(struct shelf *shelf, struct shelf_partition *partition, int64_t offset)
{
    bool before = partition->next < partition->end;
    if (offset > partition->next)
        partition->changed |= ledger_add(&partition->sent, partition->next, offset);
    partition->next = offset < partition->end ? offset + 1 : partition->end;
    if (before && partition->next == partition->end)
        shelf->unfinished--;
}

/* Takes the message; true when it is the next record. */
static bool
take(struct shelf *shelf, rd_kafka_message_t *message, struct shelf_partition **place,
     rd_kafka_resp_err_t *code)
{
    *code = message->err;
    *place = message->rkt == NULL
                 ? NULL
                 : find(shelf, rd_kafka_topic_name(message->rkt), message->partition);
    if (*place == NULL)
        return false;
    bool record = *code == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (record && message->offset >= (*place)->next && message->offset < (*place)->end) {
        advance(shelf, *place, message->offset);
        return true;
    }
    if (*code == RD_KAFKA_RESP_ERR__PARTITION_EOF || (record && message->offset >= (*place)->end))
        advance(shelf, *place, (*place)->end);
    return false;
}

bool
shelf_next(struct shelf *shelf, rd_kafka_message_t **message, struct shelf_partition **place,
           struct err *err)
{
    uint64_t deadline_ms = clock_monotonic_ms() + SILENCE_MAX_MS;
    *message = NULL;
    while (shelf->unfinished > 0) {
        rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
        *message = rd_kafka_consumer_poll(shelf->client, 500);
        if (*message != NULL && take(shelf, *message, place, &code))
            return true;
        if (*message != NULL)
            rd_kafka_message_destroy(*message);
        *message = NULL;
        if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
            code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
            return fail("read dead-letter topic", *place == NULL ? "" : (*place)->topic, code, err);
        if (clock_monotonic_ms() > deadline_ms)
            return err_set(err, ERR_STOP, RD_KAFKA_RESP_ERR__TIMED_OUT,
                           "cannot read dead letters: Kafka gave none for %d s",
                           SILENCE_MAX_MS / 1000);
    }
    return true;
}

static bool
commit(struct shelf *shelf, rd_kafka_topic_partition_list_t *list, uint64_t *left, struct err *err)
{
    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *it = &list->elems[i];
        const struct shelf_partition *partition = find(shelf, it->topic, it->partition);
        ASSERT(partition != NULL);
        char text[LEDGER_TEXT_SIZE];
        uint64_t forgotten;
        it->offset = ledger_write(&partition->sent, text, &forgotten);
        *left += forgotten;
        free(it->metadata); /* librdkafka's own, from malloc */
        it->metadata_size = strlen(text);
        it->metadata = strdup(text);
        if (it->metadata == NULL)
            it->metadata_size = 0;
    }
    rd_kafka_resp_err_t code = rd_kafka_commit(shelf->client, list, 0);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ||
           fail("remember what was sent back, as offsets of group", shelf->group, code, err);
}

bool
shelf_keep(struct shelf *shelf, uint64_t *left, struct err *err)
{
    *left = 0;
    rd_kafka_topic_partition_list_t *list = list_partitions(shelf, true);
    bool fine =
        list->cnt == 0 || (read_ledgers(shelf, list, err) && commit(shelf, list, left, err));
    rd_kafka_topic_partition_list_destroy(list);
    for (size_t i = 0; fine && i < shelf->count; i++)
        shelf->partitions[i].changed = false;
    return fine;
}

const char *
shelf_group(const struct shelf *shelf)
{
    return shelf->group;
}
