/* SPDX-License-Identifier: Apache-2.0 */
/* sender.c: see sender.h. */
#include "sinks/replay/sender.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/clock.h"
#include "core/event_id.h"
#include "core/kafka.h"
#include "sinks/document.h"

#define SENDER_MAGIC 0x73656e6465726c74ULL
#define QUESTION_TIMEOUT_MS 10000
#define FETCH_TIMEOUT_MS 15000 /* for one whole value from its old place */
#define UNDER_WAY_MAX 1000     /* letters: enough to fill requests, few to repeat after a kill */
#define UNDER_WAY_BYTES_MAX (32U * 1024 * 1024)

/* One letter under way. */
struct parcel {
    struct parcel *next; /* of those that are free */
    struct shelf_partition *place;
    int64_t offset;
    size_t size;
};

struct sender {
    uint64_t magic;
    const struct sink_options *options;
    sender_done *done;
    void *context;
    rd_kafka_t *client;
    rd_kafka_t *fetcher;       /* NULL until a value was cut */
    rd_kafka_message_t *whole; /* of the letter prepared last, when its value was cut */
    int *partition_counts;     /* of the routes' topics; 0: not asked yet */
    struct parcel parcels[UNDER_WAY_MAX];
    struct parcel *free;
    size_t under_way_bytes;
};

static void
give_back(struct sender *sender, struct parcel *parcel)
{
    sender->under_way_bytes -= parcel->size;
    parcel->next = sender->free;
    sender->free = parcel;
}

static const struct kafka_property fixed_properties[] = {
    {"acks", "all", "a letter is remembered as sent when its record is safe"},
    {"message.timeout.ms", "30000", "a person waits for the answer"},
    {"message.max.bytes", "104857600", "the topic decides what is too large"},
    {"batch.size", "65536", "a batch is refused as a whole: a large letter goes alone"},
    {"linger.ms", "5", "a person waits for the answer"},
    {"compression.type", "snappy", "values are text"},
    {"enable.idempotence", "false", "a repeat has the same id"},
    {"transactional.id", NULL, "a repeat has the same id"},
};
#define FIXED_COUNT (sizeof(fixed_properties) / sizeof(fixed_properties[0]))

static void
on_report(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    struct sender *sender = opaque;
    ASSERT(sender->magic == SENDER_MAGIC);
    (void)client;
    struct parcel *parcel = message->_private;
    struct err err;
    bool fine = message->err == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (!fine) {
        const char *advice = kafka_advice(message->err);
        err_put_set(&err, ERR_RETRY, message->err, "topic '%s' did not take it: %s%s%s",
                    rd_kafka_topic_name(message->rkt), rd_kafka_err2str(message->err),
                    advice == NULL ? "" : "; ", advice == NULL ? "" : advice);
    }
    sender->done(sender->context, parcel->place, parcel->offset, fine ? NULL : &err);
    give_back(sender, parcel);
}

static bool
start_client(struct sender *sender, struct err *err)
{
    rd_kafka_conf_t *conf;
    if (!kafka_conf_new(&conf, (const struct kafka_common_options *)&sender->options->kafka,
                        "tailrace-sink-replay", fixed_properties, FIXED_COUNT, err))
        return false;
    rd_kafka_conf_set_opaque(conf, sender);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    rd_kafka_conf_set_log_cb(conf, NULL); /* what matters comes with the reports */
    char reason[256];
    sender->client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof(reason));
    if (sender->client == NULL) {
        rd_kafka_conf_destroy(conf);
        return err_set(err, ERR_STOP, 0, "cannot start a Kafka producer: %s", reason);
    }
    rd_kafka_set_log_queue(sender->client, NULL); /* else they would pile up unread */
    return true;
}

bool
sender_new(struct sender **out, const struct sink_options *options, sender_done *done,
           void *context, struct err *err)
{
    struct sender *sender = calloc(1, sizeof(*sender));
    if (sender == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot send letters: out of memory");
    *sender = (struct sender){
        .magic = SENDER_MAGIC, .options = options, .done = done, .context = context};
    for (size_t i = 0; i < UNDER_WAY_MAX; i++)
        give_back(sender, &sender->parcels[i]);
    sender->partition_counts = calloc(options->route_count, sizeof(int));
    if (sender->partition_counts == NULL) {
        sender_free(sender);
        return err_set(err, ERR_STOP, ENOMEM, "cannot send letters: out of memory");
    }
    if (!start_client(sender, err)) {
        sender_free(sender);
        return false;
    }
    *out = sender;
    return true;
}

void
sender_free(struct sender *sender)
{
    if (sender == NULL)
        return;
    if (sender->whole != NULL)
        rd_kafka_message_destroy(sender->whole);
    if (sender->fetcher != NULL) {
        (void)rd_kafka_consumer_close(sender->fetcher);
        rd_kafka_destroy(sender->fetcher);
    }
    if (sender->client != NULL) {
        rd_kafka_purge(sender->client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        for (int i = 0; i < 20 && rd_kafka_outq_len(sender->client) > 0; i++)
            rd_kafka_poll(sender->client, 50);
        rd_kafka_destroy(sender->client);
    }
    free(sender->partition_counts);
    free(sender);
}

/* The number of partitions of the topic a letter goes back to. */
static bool
look_at_topic(struct sender *sender, const char *name, int *count, struct err *err)
{
    size_t route = 0;
    while (route < sender->options->route_count &&
           strcmp(sender->options->routes[route].topic, name) != 0)
        route++;
    if (route == sender->options->route_count)
        return err_set(err, ERR_REJECT, 0,
                       "it came from topic '%.200s', which no route of this configuration reads",
                       name);
    *count = sender->partition_counts[route];
    if (*count > 0)
        return true;

    rd_kafka_topic_t *topic = rd_kafka_topic_new(sender->client, name, NULL);
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code =
        topic == NULL ? rd_kafka_last_error()
                      : rd_kafka_metadata(sender->client, 0, topic, &metadata, QUESTION_TIMEOUT_MS);
    bool answered = code == RD_KAFKA_RESP_ERR_NO_ERROR && metadata != NULL;
    if (answered)
        code = metadata->topics[0].err;
    if (answered && code == RD_KAFKA_RESP_ERR_NO_ERROR)
        sender->partition_counts[route] = *count = metadata->topics[0].partition_cnt;
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    if (topic != NULL)
        rd_kafka_topic_destroy(topic);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return true;
    const char *advice = kafka_advice(code);
    return err_set(err, answered ? ERR_REJECT : ERR_STOP, code, "cannot look at topic '%s': %s%s%s",
                   name, rd_kafka_err2str(code), advice == NULL ? "" : "; ",
                   advice == NULL ? "" : advice);
}

/* The record that stands there now, NULL for none. */
static rd_kafka_message_t *
fetch(struct sender *sender, const struct letter *letter)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, letter->topic, (int32_t)letter->partition)->offset =
        letter->offset;
    rd_kafka_resp_err_t code = rd_kafka_assign(sender->fetcher, list);
    rd_kafka_topic_partition_list_destroy(list);
    uint64_t deadline_ms = clock_monotonic_ms() + FETCH_TIMEOUT_MS;
    rd_kafka_message_t *found = NULL;
    while (code == RD_KAFKA_RESP_ERR_NO_ERROR && found == NULL &&
           clock_monotonic_ms() < deadline_ms) {
        found = rd_kafka_consumer_poll(sender->fetcher, 500);
        if (found != NULL && found->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            bool over = found->err == RD_KAFKA_RESP_ERR__PARTITION_EOF ||
                        found->err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
            rd_kafka_message_destroy(found);
            found = NULL;
            if (over)
                break;
        }
    }
    (void)rd_kafka_assign(sender->fetcher, NULL);
    return found;
}

/* True when it is the record that the letter was written for, and not that of a topic which was
 * made anew. */
static bool
is_origin(const rd_kafka_message_t *message, const struct letter *letter)
{
    int64_t timestamp_ms;
    return message->offset == letter->offset && message->payload != NULL &&
           message->len == (size_t)letter->cut_from && message->len >= letter->value_size &&
           letter->value != NULL &&
           memcmp(message->payload, letter->value, letter->value_size) == 0 &&
           (event_id_is_ours(letter->id, letter->id_size)
                ? message->key_len == letter->id_size && message->key != NULL &&
                      memcmp(message->key, letter->id, letter->id_size) == 0
                : event_id_foreign_fits(letter->id, letter->id_size, message->payload, message->len,
                                        &timestamp_ms));
}

static bool
fetch_whole(struct sender *sender, const struct letter *letter, struct err *err)
{
    if (sender->fetcher == NULL &&
        !shelf_client_new(&sender->fetcher, sender->options, sender->options->kafka.group_id, err))
        return false;
    rd_kafka_message_t *found = fetch(sender, letter);
    if (found != NULL && is_origin(found, letter)) {
        sender->whole = found;
        return true;
    }
    if (found != NULL)
        rd_kafka_message_destroy(found);
    return err_set(err, ERR_REJECT, 0,
                   "only %zu of its %lld bytes are kept here, and the whole is no longer at "
                   "%.200s [%lld] offset %lld",
                   letter->value_size, (long long)letter->cut_from, letter->topic,
                   (long long)letter->partition, (long long)letter->offset);
}

bool
sender_prepare(struct sender *sender, const struct letter *letter, struct err *err)
{
    if (sender->whole != NULL)
        rd_kafka_message_destroy(sender->whole);
    sender->whole = NULL;
    int count;
    if (!look_at_topic(sender, letter->topic, &count, err))
        return false;
    return letter->cut_from < 0 || fetch_whole(sender, letter, err);
}

/* The library's signature has no const; with RD_KAFKA_MSG_F_COPY it only reads. */
static void *
readable(const void *bytes)
{
    void *out;
    memcpy(&out, &bytes, sizeof(out));
    return out;
}

static rd_kafka_resp_err_t
produce(struct sender *sender, const struct letter *letter, struct parcel *parcel)
{
    bool ours = event_id_is_ours(letter->id, letter->id_size);
    const char *key = ours ? letter->id : letter->key;
    size_t key_size = ours ? letter->id_size : letter->key_size;
    int count;
    struct err err;
    bool known = look_at_topic(sender, letter->topic, &count, &err);
    ASSERT(known);
    rd_kafka_headers_t *headers = rd_kafka_headers_new(1);
    if (!ours)
        rd_kafka_header_add(headers, DOCUMENT_ID_HEADER, -1, letter->id, (ssize_t)letter->id_size);
    const void *value = sender->whole != NULL ? sender->whole->payload : letter->value;
    rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = letter->topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION,
         .u.i32 = letter->partition < count ? (int32_t)letter->partition : RD_KAFKA_PARTITION_UA},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {readable(key), key_size}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {readable(value), parcel->size}},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = parcel},
    };
    rd_kafka_error_t *error =
        rd_kafka_produceva(sender->client, parts, sizeof(parts) / sizeof(parts[0]));
    if (error == NULL)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    rd_kafka_headers_destroy(headers);
    return code;
}

bool
sender_send(struct sender *sender, const struct letter *letter, struct shelf_partition *place,
            int64_t offset, struct err *err)
{
    size_t size = sender->whole != NULL ? sender->whole->len : letter->value_size;
    while (sender->free == NULL || sender->under_way_bytes > UNDER_WAY_BYTES_MAX)
        rd_kafka_poll(sender->client, 100); /* each ends by message.timeout.ms */
    struct parcel *parcel = sender->free;
    sender->free = parcel->next;
    *parcel = (struct parcel){.place = place, .offset = offset, .size = size};
    sender->under_way_bytes += size;
    rd_kafka_resp_err_t code;
    while ((code = produce(sender, letter, parcel)) == RD_KAFKA_RESP_ERR__QUEUE_FULL &&
           rd_kafka_outq_len(sender->client) > 0)
        rd_kafka_poll(sender->client, 100); /* kafka.properties made it smaller */
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return true;
    give_back(sender, parcel);
    return err_set(err, ERR_RETRY, code, "topic '%s' did not take it: %s", letter->topic,
                   rd_kafka_err2str(code));
}

void
sender_serve(struct sender *sender, bool all)
{
    do
        rd_kafka_poll(sender->client, all ? 100 : 0);
    while (all && rd_kafka_outq_len(sender->client) > 0);
}
