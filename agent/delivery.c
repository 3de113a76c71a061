/* SPDX-License-Identifier: Apache-2.0 */
/* delivery.c: see delivery.h. */
#include "agent/delivery.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/inputs/files.h"
#include "agent/reader.h"
#include "agent/receipts.h"
#include "agent/schedule.h"
#include "agent/state.h"
#include "agent/topics.h"
#include "core/assert.h"
#include "core/clock.h"
#include "core/kafka.h"

#define REFUSED_FIRST_MS 1000
#define REFUSED_LAST_MS 60000

enum answer {
    ANSWER_DONE,
    ANSWER_AGAIN,     /* our own doing: read and send it again */
    ANSWER_TOO_LARGE, /* this event, in smaller parts */
    ANSWER_TOPIC,     /* the topic takes nothing now: not at once again, whatever it is */
};

static enum answer
classify(rd_kafka_resp_err_t error)
{
    switch (error) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return ANSWER_DONE;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
        return ANSWER_TOO_LARGE;
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
        return ANSWER_AGAIN;
    default:
        return ANSWER_TOPIC;
    }
}

bool
delivery_init(struct agent *agent, struct err *err)
{
    agent->batches = calloc(BATCHES_MAX, sizeof(*agent->batches));
    if (agent->batches == NULL)
        return err_errno(err, ERR_STOP, ENOMEM, "allocate the batches");
    for (size_t i = BATCHES_MAX; i-- > 0;) {
        agent->batches[i].next = agent->free_batches;
        agent->free_batches = &agent->batches[i];
    }
    agent->ack_latency = metrics_series(agent->metrics, METRIC_ACK_LATENCY, NULL);
    return true;
}

void
delivery_done(struct agent *agent)
{
    free(agent->batches);
    agent->batches = NULL;
    agent->free_batches = NULL;
    topics_done(agent);
}

struct batch *
batch_take(struct agent *agent, struct file *file, struct slab *slab)
{
    struct batch *batch = agent->free_batches;
    if (batch == NULL)
        return NULL;
    agent->free_batches = batch->next;
    *batch = (struct batch){.file = file, .slab = slab, .place = {.first = -1, .last = -1}};
    return batch;
}

void
batch_put(struct agent *agent, struct batch *batch)
{
    *batch = (struct batch){.next = agent->free_batches};
    agent->free_batches = batch;
}

/* Moves `committed` over the finished batches at the front of the list. */
static void
commit_front(struct agent *agent, struct file *file)
{
    struct input *input = file->input;
    while (file->first != NULL && file->first->reported == file->first->records &&
           file->first->failed == 0) {
        struct batch *batch = file->first;
        file->first = batch->next;
        if (file->first == NULL)
            file->last = NULL;
        generation_commit(file->generation, batch->end, batch->end_hash);
        receipts_committed(agent, file, batch);
        uint64_t bytes = batch->end - batch->start;
        metrics_add(agent->metrics, input->events, batch->records);
        metrics_add(agent->metrics, input->bytes, bytes);
        agent->events_total += batch->records;
        agent->bytes_total += bytes;
        habit_delivered(&file->habit, bytes, clock_monotonic_ms());
        if (batch->records > 0) {
            metrics_observe(agent->metrics, agent->ack_latency,
                            (double)(clock_monotonic_ms() - batch->sent_ms) / 1000.0);
            batch->topic->pause_ms = 0;
        }
        struct request_limit *limit = &batch->topic->limit;
        if (limit->size > 0 && batch->limit_size == limit->size && batch->size > limit->size / 2)
            limit->proven = true;
        if (file->refused_wait_ms != 0 && file->generation->committed > file->refused_at) {
            file->refused_wait_ms = 0;
            file->reason = NULL;
        }
        batch_put(agent, batch);
    }
    if (file->first == NULL && file->generation->committed >= file->size)
        file->behind_since_ms = 0;
}

/* The first of its batches is an event that was refused alone: cut it, before it is sent again. */
static void
decide_parts(struct agent *agent, struct file *file)
{
    struct generation *generation = file->generation;
    const struct batch *batch = file->first;
    uint32_t size = file->refused_size;
    file->refused_size = 0;
    if (file->refused_at < batch->start || file->refused_at >= batch->end)
        return; /* something before it failed, too: it will be refused again */
    uint64_t to = generation->parts.size > 0 && file->refused_at < generation->parts.to
                      ? generation->parts.to
                      : batch->end;
    generation->parts = (struct parts){.from = file->refused_at, .to = to, .size = size};
    state_put_progress(agent->state, generation); /* the parts so far are behind it */
    state_put_parts(agent->state, generation);
    generation->durable_at = state_sequence(agent->state);
    state_sync(agent->state);
}

/* All batches of the file are answered and one failed: from there it is read again. */
static void
rewind_file(struct agent *agent, struct file *file)
{
    ASSERT(file->first != NULL);
    ASSERT(file->unanswered == 0);

    if (file->refused_size > 0)
        decide_parts(agent, file);
    reader_seek(file, file->first->start, file->first->start_hash);
    uint64_t resent = 0;
    while (file->first != NULL) {
        struct batch *batch = file->first;
        file->first = batch->next;
        batch_put(agent, batch);
        resent++;
    }
    file->last = NULL;
    file->failed = false;
    metrics_add(
        agent->metrics,
        metrics_series(agent->metrics, METRIC_RESENT_BATCHES, file->input->topic->name, NULL),
        resent);
}

static void
settle(struct agent *agent, struct file *file)
{
    commit_front(agent, file);
    if (file->failed && file->unanswered == 0) {
        if (file->state == FILE_ENDED) {
            while (file->first != NULL) {
                struct batch *batch = file->first;
                file->first = batch->next;
                batch_put(agent, batch);
            }
            file->last = NULL;
            file->failed = false;
        } else {
            rewind_file(agent, file);
            schedule_file(agent, file);
        }
    }
    if (file->first == NULL)
        files_settled(agent, file);
}

/* It cannot be made smaller: only somebody else can help. */
static void
wait_refused(struct agent *agent, struct file *file, const rd_kafka_message_t *message)
{
    bool too_large = message->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    file->refused_wait_ms =
        file->refused_wait_ms == 0 ? REFUSED_FIRST_MS : file->refused_wait_ms * 2;
    if (file->refused_wait_ms > REFUSED_LAST_MS)
        file->refused_wait_ms = REFUSED_LAST_MS;
    file->refused_until_ms = clock_monotonic_ms() + file->refused_wait_ms;
    file->reason = too_large ? "Kafka refuses an event even in parts of 256 bytes: raise "
                               "max.message.bytes of the topic"
                             : "Kafka calls an event invalid, even in parts of 256 bytes: the "
                               "broker's log says why";
    agent_say(agent, LOG_LEVEL_WARN,
              "'%s' waits: topic '%s' refuses its event at byte %llu even in parts of %d bytes "
              "(%s); %s",
              file->path, file->input->topic->name, (unsigned long long)file->refused_at,
              PARTS_SIZE_MIN, rd_kafka_err2str(message->err),
              too_large ? "raise max.message.bytes of the topic" : "the broker's log says why");
}

/* An event was refused in a request of its own: next time it goes in parts. */
static void
event_refused(struct agent *agent, struct file *file, const rd_kafka_message_t *message)
{
    const char *key = message->key;
    char text[17] = "";
    memcpy(text, key + 3 + GENERATION_TEXT_SIZE + 1, 16);
    file->refused_at = strtoull(text, NULL, 16);
    const struct parts *parts = &file->generation->parts;
    bool is_part =
        parts->size > 0 && file->refused_at >= parts->from && file->refused_at < parts->to;
    if (is_part && parts->size <= PARTS_SIZE_MIN) {
        wait_refused(agent, file, message);
        return;
    }
    size_t half = (is_part ? parts->size : message->len) / 2;
    file->refused_size = half < PARTS_SIZE_MIN ? PARTS_SIZE_MIN : (uint32_t)half;
}

static void
record_failed(struct agent *agent, struct batch *batch, const rd_kafka_message_t *message)
{
    struct file *file = batch->file;
    struct topic *topic = batch->topic;
    metrics_add(agent->metrics,
                metrics_series(agent->metrics, METRIC_DELIVERY_ERRORS, topic->name,
                               rd_kafka_err2name(message->err), NULL),
                1);
    batch->failed++;
    file->failed = true;
    switch (classify(message->err)) {
    case ANSWER_TOO_LARGE:
        if (batch->alone)
            event_refused(agent, file, message);
        else
            topic_limit_shrink(agent, topic, batch, message->err);
        break;
    case ANSWER_TOPIC:
        topic_pause(agent, topic, message->err);
        break;
    default:
        break;
    }
}

void
delivery_answered(struct agent *agent, const rd_kafka_message_t *message)
{
    struct batch *batch = message->_private;
    ASSERT(batch >= agent->batches && batch < agent->batches + BATCHES_MAX);
    ASSERT(batch->reported < batch->records);

    struct file *file = batch->file;
    struct slab *slab = batch->slab;
    batch->reported++;
    file->unanswered--;
    agent->records_waiting--;
    agent->epoch++;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        record_failed(agent, batch, message);
    else
        receipt_place_add(&batch->place, message->partition, message->offset);
    if (batch->reported == batch->records) {
        struct lane *lane = (struct lane *)(void *)slab->share;
        lane->quiet_since_ms = clock_monotonic_ms();
        slab->share->stale &= batch->failed > 0;
        settle(agent, file);
    }
    slab_answered(agent->pool, slab, 1);
}

void
batch_send(struct agent *agent, struct batch *batch)
{
    struct file *file = batch->file;
    batch->sent_ms = clock_monotonic_ms();
    batch->sent_wall_ms = clock_wall_ms(); /* as the library stamps its records */
    batch->next = NULL;
    batch->topic = file->input->topic;
    if (file->last != NULL)
        file->last->next = batch;
    else
        file->first = batch;
    file->last = batch;
    if (batch->records == 0) {
        settle(agent, file);
        return;
    }
    uint32_t records = batch->records;
    const struct topic *topic = batch->topic;
    batch->limit_size = topic->limit.size;
    batch->alone = topic->limit.size > 0 && records == 1 && batch->slab->share->records == 0;
    if (batch->slab->share->records == 0) {
        struct lane *lane = (struct lane *)(void *)batch->slab->share;
        lane->quiet_since_ms = batch->sent_ms;
    }
    batch->size = 0;
    for (uint32_t i = 0; i < records; i++)
        batch->size += agent->messages[i].len;
    file->unanswered += records;
    agent->records_waiting += records;
    slab_sent(batch->slab, records);
    producer_send(agent->producer, topic->index, agent->messages, records);
    /* A record that was not taken has its answer now. The array is only reused after this loop. */
    for (uint32_t i = 0; i < records; i++)
        if (agent->messages[i].err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            if (agent->messages[i].err == RD_KAFKA_RESP_ERR__QUEUE_FULL)
                agent_say(agent, LOG_LEVEL_WARN, "librdkafka's queue is full: %s", topic->name);
            delivery_answered(agent, &agent->messages[i]);
        }
}
