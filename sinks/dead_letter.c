/* SPDX-License-Identifier: Apache-2.0 */
/* dead_letter.c: see dead_letter.h. The producer is made at the first letter: most sinks never
 * need it. */
#include "sinks/dead_letter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/clock.h"
#include "core/kafka.h"

#define LETTERS_MAGIC 0x64656164406c7472ULL

#define LOOK_TIMEOUT_MS 2000 /* holds the loop */

struct dead_letters {
    uint64_t magic;
    const struct sink_options *options;
    int event_fd; /* borrowed: the loop wakes up when a report is there */
    dead_letter_done *done;
    void *context;
    rd_kafka_t *client; /* NULL before the first letter */
    rd_kafka_queue_t *queue;
};

/* The consumer's own properties may be in kafka.properties too: librdkafka only notes that a
 * producer does not use them. */
static const struct kafka_property fixed_properties[] = {
    {"acks", "all", "a dead letter must be safe before its record is finished"},
    {"message.timeout.ms", "30000", "the route says what is wrong and tries again"},
    {"message.max.bytes", "104857600", "the topic decides what is too large"},
    {"batch.size", "65536", "a batch is refused as a whole: it must not exceed a cut letter"},
    {"linger.ms", "5", "dead letters are few"},
    {"compression.type", "snappy", "values are text"},
    {"enable.idempotence", "false", "a repeat has the same key"},
    {"transactional.id", NULL, "a repeat has the same key"},
};
#define FIXED_COUNT (sizeof(fixed_properties) / sizeof(fixed_properties[0]))

/* A client that knew a topic before it was deleted says that its partition is unknown. */
static bool
topic_is_missing(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
           code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
}

/* "cannot <do> dead-letter topic '<topic>': <cause>; <advice>". */
static void
set_fault(struct err *err, enum err_action action, const char *what, const char *topic,
          rd_kafka_resp_err_t code)
{
    if (topic_is_missing(code)) {
        err_put_set(err, action, code, "dead-letter topic '%s' does not exist; create it", topic);
        return;
    }
    const char *advice = kafka_advice(code);
    err_put_set(err, action, code, "cannot %s dead-letter topic '%s': %s%s%s", what, topic,
                rd_kafka_err2str(code), advice == NULL ? "" : "; ", advice == NULL ? "" : advice);
}

static void
on_report(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    struct dead_letters *letters = opaque;
    ASSERT(letters->magic == LETTERS_MAGIC);
    (void)client;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        letters->done(letters->context, message->_private, NULL);
        return;
    }
    bool too_large = message->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
                     message->err == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE;
    struct err err;
    set_fault(&err, too_large ? ERR_REJECT : ERR_RETRY, "write to",
              rd_kafka_topic_name(message->rkt), message->err);
    letters->done(letters->context, message->_private, &err);
}

bool
dead_letters_new(struct dead_letters **out, const struct sink_options *options, int event_fd,
                 dead_letter_done *done, void *context, struct err *err)
{
    struct dead_letters *letters = calloc(1, sizeof(*letters));
    if (letters == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot keep dead letters: out of memory");
    letters->magic = LETTERS_MAGIC;
    letters->options = options;
    letters->event_fd = event_fd;
    letters->done = done;
    letters->context = context;
    *out = letters;
    return true;
}

void
dead_letters_free(struct dead_letters *letters)
{
    if (letters == NULL)
        return;
    if (letters->client != NULL) {
        rd_kafka_queue_io_event_enable(letters->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(letters->queue);
        rd_kafka_purge(letters->client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        for (int i = 0; i < 20 && rd_kafka_outq_len(letters->client) > 0; i++)
            rd_kafka_poll(letters->client, 50);
        rd_kafka_destroy(letters->client);
    }
    free(letters);
}

static bool
start_client(struct dead_letters *letters, struct err *err)
{
    rd_kafka_conf_t *conf;
    if (!kafka_conf_new(&conf, (const struct kafka_common_options *)&letters->options->kafka,
                        "tailrace-sink-dlq", fixed_properties, FIXED_COUNT, err))
        return false;
    rd_kafka_conf_set_opaque(conf, letters);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    rd_kafka_conf_set_log_cb(conf, NULL); /* what matters comes with the reports */
    char reason[256];
    letters->client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof(reason));
    if (letters->client == NULL) {
        rd_kafka_conf_destroy(conf);
        return err_set(err, ERR_RETRY, 0, "cannot start the dead-letter producer: %s", reason);
    }
    rd_kafka_set_log_queue(letters->client, NULL); /* else they would pile up unread */
    letters->queue = rd_kafka_queue_get_main(letters->client);
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(letters->queue, letters->event_fd, &one, sizeof(one));
    return true;
}

bool
dead_letters_look(struct dead_letters *letters, const char *topic, struct err *err)
{
    if (letters->client == NULL && !start_client(letters, err))
        return false;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(letters->client, topic, NULL);
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code =
        handle == NULL ? rd_kafka_last_error()
                       : rd_kafka_metadata(letters->client, 0, handle, &metadata, LOOK_TIMEOUT_MS);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && metadata != NULL && metadata->topic_cnt == 1)
        code = metadata->topics[0].err;
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    if (handle != NULL)
        rd_kafka_topic_destroy(handle);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return true;
    set_fault(err, ERR_RETRY, "look at", topic, code);
    return false;
}

static void
add_number(rd_kafka_headers_t *headers, const char *name, long long value)
{
    char text[32];
    int size = snprintf(text, sizeof(text), "%lld", value);
    ASSERT(size > 0 && (size_t)size < sizeof(text));
    rd_kafka_header_add(headers, name, -1, text, size);
}

static rd_kafka_headers_t *
make_headers(const struct dead_letter *letter)
{
    char now[CLOCK_TEXT_SIZE];
    clock_format_utc(clock_wall_ms(), now);
    rd_kafka_headers_t *headers = rd_kafka_headers_new(12);
    rd_kafka_header_add(headers, "tailrace.reason", -1, letter->reason, -1);
    add_number(headers, "tailrace.status", letter->status);
    rd_kafka_header_add(headers, "tailrace.topic", -1, letter->topic, -1);
    add_number(headers, "tailrace.partition", letter->partition);
    add_number(headers, "tailrace.offset", letter->offset);
    rd_kafka_header_add(headers, "tailrace.index", -1, letter->index, -1);
    add_number(headers, "tailrace.attempts", letter->attempts);
    rd_kafka_header_add(headers, "tailrace.time", -1, now, sizeof(now));
    bool key_is_id = letter->key_size == letter->id_size && letter->key != NULL &&
                     memcmp(letter->key, letter->id, letter->id_size) == 0;
    if (letter->key != NULL && !key_is_id)
        rd_kafka_header_add(headers, "tailrace.key", -1, letter->key, (ssize_t)letter->key_size);
    if (letter->cut)
        add_number(headers, "tailrace.cut_from", (long long)letter->value_size);
    return headers;
}

/* The library's signature has no const; with RD_KAFKA_MSG_F_COPY it only reads. */
static void *
readable(const char *bytes)
{
    void *out;
    memcpy(&out, &bytes, sizeof(out));
    return out;
}

bool
dead_letters_send(struct dead_letters *letters, const struct dead_letter *letter, void *record,
                  struct err *err)
{
    ASSERT(letter->reason != NULL);
    ASSERT(letter->id_size > 0);

    if (letters->client == NULL && !start_client(letters, err))
        return false;
    size_t size = letter->value_size;
    if (letter->cut && size > DEAD_LETTER_CUT_SIZE)
        size = DEAD_LETTER_CUT_SIZE;
    rd_kafka_headers_t *headers = make_headers(letter);
    rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = letter->dead_letter_topic},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {readable(letter->id), letter->id_size}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {readable(letter->value), size}},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = record},
    };
    rd_kafka_error_t *error =
        rd_kafka_produceva(letters->client, parts, sizeof(parts) / sizeof(parts[0]));
    if (error == NULL)
        return true;
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    rd_kafka_headers_destroy(headers);
    set_fault(err, code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ? ERR_REJECT : ERR_RETRY,
              "write to", letter->dead_letter_topic, code);
    return false;
}

void
dead_letters_poll(struct dead_letters *letters)
{
    if (letters->client != NULL)
        rd_kafka_poll(letters->client, 0);
}
