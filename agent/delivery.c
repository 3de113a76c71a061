/* SPDX-License-Identifier: Apache-2.0 */
/* delivery.c: see delivery.h. */
#include "agent/delivery.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/inputs/files.h"
#include "agent/reader.h"
#include "agent/schedule.h"
#include "agent/state.h"
#include "core/assert.h"
#include "core/clock.h"
#include "core/kafka.h"

#define PAUSE_FIRST_MS 500
#define PAUSE_LAST_MS 30000
#define LIMIT_FIRST (2 * SLAB_SIZE) /* twice the first limit of a topic that refuses a request */
#define LIMIT_LAST 1000000          /* batch.size of the library: no request is larger */
#define LIMIT_WAIT_FIRST_MS 1000
#define SILENCE_MS 5000  /* without an acknowledgement: worth a word */
#define STARVED_MS 10000 /* without a free slab: those without answers give theirs back */
#define LIMIT_WAIT_LAST_MS 60000
#define REFUSED_FIRST_MS 1000
#define REFUSED_LAST_MS 60000

static const char *const pause_labels[PAUSE_REASONS] = {"kafka", "topic",   "permission", "leader",
                                                        "clock", "silence", "throttled",  "size"};

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
    for (size_t i = 0; i < agent->topic_count; i++) {
        struct topic *topic = agent->topics[i];
        for (uint32_t k = 0; k < topic->lane_count; k++)
            free(topic->lanes[k]);
        free(topic->lanes);
        free(topic->partition_lanes);
        free(topic->leaders);
        free(topic->name);
        free(topic);
    }
    free(agent->topics);
    agent->topics = NULL;
    agent->topic_count = 0;
}

struct batch *
batch_take(struct agent *agent, struct file *file, struct slab *slab)
{
    struct batch *batch = agent->free_batches;
    if (batch == NULL)
        return NULL;
    agent->free_batches = batch->next;
    *batch = (struct batch){.file = file, .slab = slab};
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
        uint64_t bytes = batch->end - batch->start;
        metrics_add(agent->metrics, input->events, batch->records);
        metrics_add(agent->metrics, input->bytes, bytes);
        agent->events_total += batch->records;
        agent->bytes_total += bytes;
        habit_delivered(&file->habit, bytes, clock_monotonic_ms());
        if (batch->records > 0) {
            metrics_observe(agent->metrics, agent->ack_latency,
                            (double)(clock_monotonic_ms() - batch->sent_ms) / 1000.0);
            input->topic->pause_ms = 0;
        }
        struct request_limit *limit = &input->topic->limit;
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

/* A request was refused that may have held more than one record: the next ones are smaller. */
static void
limit_shrink(struct agent *agent, struct topic *topic, const struct batch *batch,
             rd_kafka_resp_err_t error)
{
    struct request_limit *limit = &topic->limit;
    if (batch->limit_size != limit->size)
        return; /* of a time before this limit */
    if (limit->size == 0 && limit->wait_ms == 0)
        agent_say(
            agent, LOG_LEVEL_WARN,
            "topic '%s' refuses requests (%s): it gets smaller ones, which is slow; raise its "
            "max.message.bytes",
            topic->name, rd_kafka_err2str(error));
    size_t size = limit->size == 0 ? LIMIT_FIRST : limit->size;
    if (batch->size < size)
        size = batch->size;
    limit->size = size / 2 == 0 ? 1 : size / 2;
    limit->wait_ms = limit->wait_ms == 0 ? LIMIT_WAIT_FIRST_MS
                     : limit->grown      ? limit->wait_ms * 2
                                         : limit->wait_ms;
    if (limit->wait_ms > LIMIT_WAIT_LAST_MS)
        limit->wait_ms = LIMIT_WAIT_LAST_MS;
    limit->grow_at_ms = clock_monotonic_ms() + limit->wait_ms;
    limit->grown = false;
    limit->proven = false;
}

static void
limit_grow(struct agent *agent, struct topic *topic, uint64_t now_ms)
{
    struct request_limit *limit = &topic->limit;
    if (limit->size == 0 || now_ms < limit->grow_at_ms)
        return;
    if (limit->grown && limit->proven)
        limit->wait_ms = LIMIT_WAIT_FIRST_MS;
    limit->grown = true;
    limit->proven = false;
    limit->grow_at_ms = now_ms + limit->wait_ms;
    limit->size *= 2;
    if (limit->size > LIMIT_LAST) {
        limit->size = 0;
        agent_say(agent, LOG_LEVEL_INFO, "topic '%s' gets requests of full size again",
                  topic->name);
    }
}

bool
topic_limit_allows(const struct topic *topic, const struct lane *lane)
{
    return topic->limit.size == 0 || lane->share.records == 0;
}

static void
record_failed(struct agent *agent, struct batch *batch, const rd_kafka_message_t *message)
{
    struct file *file = batch->file;
    struct topic *topic = file->input->topic;
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
            limit_shrink(agent, topic, batch, message->err);
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
    batch->next = NULL;
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
    const struct topic *topic = file->input->topic;
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

/* --- topics --- */

struct topic *
topic_get(struct agent *agent, const char *name, struct err *err)
{
    for (size_t i = 0; i < agent->topic_count; i++)
        if (strcmp(agent->topics[i]->name, name) == 0)
            return agent->topics[i];
    struct topic **topics =
        realloc(agent->topics, (agent->topic_count + 1) * sizeof(struct topic *));
    if (topics != NULL)
        agent->topics = topics;
    struct topic *topic = calloc(1, sizeof(*topic));
    if (topics == NULL || topic == NULL || (topic->name = strdup(name)) == NULL) {
        free(topic);
        (void)err_errno(err, ERR_STOP, ENOMEM, "add the topic '%s'", name);
        return NULL;
    }
    topic->index = agent->topic_count;
    topic->pause = PAUSE_NONE;
    for (size_t i = 0; i < PAUSE_REASONS; i++)
        topic->paused[i] =
            metrics_series(agent->metrics, METRIC_PAUSED, name, pause_labels[i], NULL);
    if (agent->producer != NULL && !producer_add_topic(agent->producer, name, err)) {
        free(topic->name);
        free(topic);
        return NULL;
    }
    agent->topics[agent->topic_count++] = topic;
    return topic;
}

static void
set_reason(struct topic *topic, enum pause pause, const char *text)
{
    topic->pause = pause;
    int size = snprintf(topic->reason, sizeof(topic->reason), "%s", text);
    if (size < 0)
        topic->reason[0] = '\0';
}

static enum pause
pause_of(rd_kafka_resp_err_t error)
{
    switch (error) {
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return PAUSE_PERMISSION;
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
        return PAUSE_CLOCK;
    default:
        return PAUSE_TOPIC;
    }
}

void
topic_pause(struct agent *agent, struct topic *topic, rd_kafka_resp_err_t error)
{
    uint64_t now_ms = clock_monotonic_ms();
    if (topic->paused_until_ms > now_ms)
        return;
    topic->pause_ms = topic->pause_ms == 0 ? PAUSE_FIRST_MS : topic->pause_ms * 2;
    if (topic->pause_ms > PAUSE_LAST_MS)
        topic->pause_ms = PAUSE_LAST_MS;
    topic->paused_until_ms = now_ms + topic->pause_ms;
    if (topic->pause != pause_of(error)) {
        const char *advice = kafka_advice(error);
        agent_say(agent, LOG_LEVEL_WARN, "topic '%s' takes no events: %s%s%s", topic->name,
                  rd_kafka_err2str(error), advice == NULL ? "" : "; ",
                  advice == NULL ? "" : advice);
    }
    char text[sizeof(topic->reason)];
    int size = snprintf(text, sizeof(text), "%s%s%s", rd_kafka_err2str(error),
                        kafka_advice(error) == NULL ? "" : "; ",
                        kafka_advice(error) == NULL ? "" : kafka_advice(error));
    set_reason(topic, pause_of(error), size < 0 ? "" : text);
    if (agent->producer != NULL) /* else it is being replaced, and the new one looks by itself */
        producer_look(agent->producer);
}

bool
topic_is_open(const struct agent *agent, const struct topic *topic)
{
    return agent->sending && topic->partition_count > 0 && topic->paused_until_ms == 0;
}

void
topics_publish(struct agent *agent)
{
    for (size_t i = 0; i < agent->topic_count; i++)
        agent->topics[i]->too_large = false;
    for (const struct file *file = agent->busy; file != NULL; file = file->busy_next)
        if (file->refused_wait_ms != 0 && file->state == FILE_ACTIVE)
            file->input->topic->too_large = true;
    for (size_t i = 0; i < agent->topic_count; i++) {
        const struct topic *topic = agent->topics[i];
        for (size_t k = 0; k < PAUSE_REASONS; k++) {
            bool paused = k == PAUSE_KAFKA  ? agent->kafka_is_away
                          : k == PAUSE_SIZE ? topic->too_large
                                            : k == topic->pause;
            metrics_set(agent->metrics, topic->paused[k], paused ? 1 : 0);
        }
    }
}

/* How long the lane of the topic that waits longest has got no answer. */
static uint64_t
silence_ms(const struct topic *topic, uint64_t now_ms)
{
    uint64_t longest_ms = 0;
    for (uint32_t i = 0; i < topic->lane_count; i++) {
        const struct lane *lane = topic->lanes[i];
        if (lane->share.records > 0 && now_ms - lane->quiet_since_ms > longest_ms)
            longest_ms = now_ms - lane->quiet_since_ms;
    }
    return longest_ms;
}

/* Why a topic that nobody refuses is slow all the same. */
static void
explain_slow(struct agent *agent, struct topic *topic, uint64_t now_ms)
{
    char text[sizeof(topic->reason)] = "";
    enum pause pause = PAUSE_NONE;
    uint64_t silent_ms = silence_ms(topic, now_ms);
    int size = 0;
    if (topic->leaderless > 0) {
        pause = PAUSE_LEADER;
        size = snprintf(text, sizeof(text), "%d of %d partitions have no leader", topic->leaderless,
                        topic->partition_count);
    } else if (silent_ms >= SILENCE_MS && !agent->kafka_is_away) {
        pause = PAUSE_SILENCE;
        size = snprintf(text, sizeof(text), "no acknowledgement for %llu s",
                        (unsigned long long)(silent_ms / 1000));
        if (topic->lacking > 0)
            size = snprintf(text, sizeof(text),
                            "no acknowledgement for %llu s, and %d of %d partitions have replicas "
                            "out of sync: fewer than min.insync.replicas?",
                            (unsigned long long)(silent_ms / 1000), topic->lacking,
                            topic->partition_count);
    } else if (now_ms < agent->throttled_until_ms) {
        pause = PAUSE_THROTTLED;
        size = snprintf(text, sizeof(text),
                        "throttled: a quota of the brokers delays their answers by %d ms",
                        agent->throttle_ms);
    }
    if (pause != PAUSE_NONE && pause != PAUSE_THROTTLED && pause != topic->pause)
        agent_say(agent, LOG_LEVEL_WARN, "topic '%s': %s", topic->name, text);
    set_reason(topic, pause, size < 0 ? "" : text);
}

void
topics_tick(struct agent *agent)
{
    uint64_t now_ms = clock_monotonic_ms();
    for (size_t i = 0; i < agent->topic_count; i++) {
        struct topic *topic = agent->topics[i];
        limit_grow(agent, topic, now_ms);
        if (topic->paused_until_ms == 0 && topic->error == RD_KAFKA_RESP_ERR_NO_ERROR)
            explain_slow(agent, topic, now_ms);
        if (topic->paused_until_ms == 0 || topic->paused_until_ms > now_ms)
            continue;
        topic->paused_until_ms = 0;
        if (topic->error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            set_reason(topic, PAUSE_NONE, "");
            agent->epoch++; /* lanes whose records were refused at once wait for no answer */
            agent->wake(agent);
        } else {
            topic_pause(agent, topic, topic->error);
        }
    }
}

static struct lane *
lane_at(struct topic *topic, uint32_t index)
{
    while (topic->lane_count <= index) {
        struct lane **lanes =
            realloc(topic->lanes, (topic->lane_count + 1) * sizeof(struct lane *));
        if (lanes == NULL)
            return NULL;
        topic->lanes = lanes;
        lanes[topic->lane_count] = calloc(1, sizeof(struct lane));
        if (lanes[topic->lane_count] == NULL)
            return NULL;
        lanes[topic->lane_count]->blocked_epoch = UINT64_MAX;
        topic->lane_count++;
    }
    return topic->lanes[index];
}

/* A lane per partition while there are few; a lane per leader when slabs would not go round. */
static bool
assign_lanes(const struct agent *agent, struct topic *topic)
{
    uint32_t lanes_max = slab_pool_count(agent->pool) / 2;
    if (agent->topic_count > 1)
        lanes_max /= (uint32_t)agent->topic_count;
    bool by_leader = (uint32_t)topic->partition_count > (lanes_max < 4 ? 4 : lanes_max);
    for (int32_t i = 0; i < topic->partition_count; i++) {
        uint32_t index = (uint32_t)i;
        if (by_leader) { /* the first partition of the same leader names the lane */
            index = 0;
            for (int32_t k = 0; k < i && topic->leaders[k] != topic->leaders[i]; k++)
                index =
                    topic->partition_lanes[k] + 1 > index ? topic->partition_lanes[k] + 1 : index;
            for (int32_t k = 0; k < i; k++)
                if (topic->leaders[k] == topic->leaders[i]) {
                    index = topic->partition_lanes[k];
                    break;
                }
        }
        struct lane *lane = lane_at(topic, index);
        if (lane == NULL)
            return false;
        lane->leader = topic->leaders[i];
        topic->partition_lanes[i] = index;
    }
    return true;
}

static bool
keep_leaders(struct agent *agent, struct topic *topic, const struct producer_topic *found)
{
    size_t count = (size_t)found->partition_count;
    int32_t *leaders = realloc(topic->leaders, count * sizeof(leaders[0]));
    if (leaders == NULL)
        return false;
    topic->leaders = leaders;
    uint32_t *lanes = realloc(topic->partition_lanes, count * sizeof(lanes[0]));
    if (lanes == NULL)
        return false;
    topic->partition_lanes = lanes;
    memcpy(leaders, found->leaders, count * sizeof(leaders[0]));
    topic->partition_count = found->partition_count;
    return assign_lanes(agent, topic);
}

void
topic_found(struct agent *agent, struct topic *topic, const struct producer_topic *found)
{
    bool was_missing = topic->error != RD_KAFKA_RESP_ERR_NO_ERROR;
    topic->error = found->error;
    if (found->error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        topic_pause(agent, topic, found->error);
        return;
    }
    if (found->partition_count == 0)
        return;
    bool first = topic->partition_count == 0 || topic->partition_count != found->partition_count;
    bool moved = first || memcmp(topic->leaders, found->leaders,
                                 (size_t)found->partition_count * sizeof(found->leaders[0])) != 0;
    if (topic->paused_until_ms != 0 && was_missing) {
        /* It is there again: no need to wait for the end of the backoff. */
        topic->paused_until_ms = 0;
        agent->epoch++;
        agent_say(agent, LOG_LEVEL_INFO, "topic '%s' is there again", topic->name);
    }
    topic->lacking = found->lacking;
    topic->leaderless = 0;
    for (int32_t i = 0; i < found->partition_count; i++)
        topic->leaderless += found->leaders[i] < 0 ? 1 : 0;
    if (moved && !keep_leaders(agent, topic, found))
        topic->partition_count = 0; /* memory is short: asked again with the next look */
    if (moved)
        schedule_topic(agent, topic);
    if (topic->paused_until_ms == 0) /* else it says why by itself */
        explain_slow(agent, topic, clock_monotonic_ms());
    agent->wake(agent);
}

bool
topics_reclaim(struct agent *agent)
{
    uint64_t now_ms = clock_monotonic_ms();
    bool starved = false;
    for (size_t i = 0; i < 2; i++)
        starved |= agent->starved_ms[i] != 0 && now_ms - agent->starved_ms[i] >= STARVED_MS;
    if (!starved)
        return false;
    memset(agent->starved_ms, 0, sizeof(agent->starved_ms));
    bool any = false;
    for (size_t i = 0; i < agent->topic_count; i++)
        for (uint32_t k = 0; k < agent->topics[i]->lane_count; k++) {
            struct lane *lane = agent->topics[i]->lanes[k];
            bool silent = lane->share.records > 0 && now_ms - lane->quiet_since_ms >= STARVED_MS;
            lane->share.stale |= silent;
            any |= silent;
        }
    return any;
}

int32_t
topic_partition(struct topic *topic, const struct file *file, bool spread)
{
    ASSERT(topic->partition_count > 0);

    uint32_t count = (uint32_t)topic->partition_count;
    if (!spread)
        return (int32_t)(generation_hash(&file->generation->id.random, sizeof(uint64_t)) % count);
    /* The next partition that has a leader. */
    for (uint32_t i = 0; i < count; i++) {
        topic->turn = (topic->turn + 1) % count;
        if (topic->leaders[topic->turn] >= 0)
            break;
    }
    return (int32_t)topic->turn;
}
