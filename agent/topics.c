/* SPDX-License-Identifier: Apache-2.0 */
/* topics.c: see topics.h. */
#include "agent/topics.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/schedule.h"
#include "core/assert.h"
#include "core/clock.h"
#include "core/kafka.h"

#define PAUSE_FIRST_MS 500
#define PAUSE_LAST_MS 30000
#define LIMIT_FIRST (2 * SLAB_SIZE) /* twice the first limit of a topic that refuses a request */
#define LIMIT_LAST 1000000          /* batch.size of the library: no request is larger */
#define LIMIT_WAIT_FIRST_MS 1000
#define LIMIT_WAIT_LAST_MS 60000
#define SILENCE_MS 5000  /* without an acknowledgement: worth a word */
#define STARVED_MS 10000 /* without a free slab: those without answers give theirs back */

static const char *const pause_labels[PAUSE_REASONS] = {"kafka", "topic",   "permission", "leader",
                                                        "clock", "silence", "throttled",  "size"};

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

void
topics_done(struct agent *agent)
{
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

void
topic_limit_shrink(struct agent *agent, struct topic *topic, const struct batch *batch,
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
    uint32_t shares = 0;
    for (size_t i = 0; i < agent->topic_count; i++)
        shares += agent->topics[i]->aside ? 0 : 1;
    if (shares > 1)
        lanes_max /= shares;
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
