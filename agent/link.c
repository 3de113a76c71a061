/* SPDX-License-Identifier: Apache-2.0 */
/* link.c: see link.h. */
#include "agent/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/delivery.h"
#include "agent/receipts.h"
#include "agent/timer.h"
#include "agent/topics.h"
#include "core/assert.h"
#include "core/clock.h"
#include "core/health.h"
#include "core/kafka.h"

#define RESTART_FIRST_MS 500 /* from a fatal error to a new client, when the last one did nothing */
#define RESTART_LAST_MS 30000
#define THROTTLED_MS 5000 /* it is called throttled so long after the last delay */

struct link {
    struct agent *agent;
    sd_event *event;
    struct health *health;
    sd_event_source *producer_source, *freed_source, *restart;
    int freed_fd;     /* an eventfd: the old producer is gone */
    char reason[384]; /* why there is no Kafka */
    bool restarting;  /* the producer had a fatal error: drained, then replaced */
    bool freeing;     /* the old one is not gone yet */
    bool stopping;
    uint64_t restart_wait_ms;
    uint64_t events_at_start; /* of this producer */
    uint64_t throttled_ms;    /* less than a second, not counted yet */
    metric restarts, throttle, wire, messages;
};

static void
producer_answered(void *context, const rd_kafka_message_t *message)
{
    struct link *link = context;
    if (!receipts_answered(link->agent, message))
        delivery_answered(link->agent, message);
}

static void
producer_said(void *context, enum log_level level, const char *text)
{
    struct link *link = context;
    agent_say(link->agent, level, "kafka: %s", text);
}

static void
restart_producer(struct link *link, const char *why)
{
    struct agent *agent = link->agent;
    if (link->restarting)
        return;
    agent_say(agent, LOG_LEVEL_WARN,
              "the Kafka client is replaced, what was under way is read again: %s", why);
    metrics_add(agent->metrics, link->restarts, 1);
    link->restarting = true;
    agent->sending = false;
    producer_purge(agent->producer, true);
}

static void
producer_fatal(void *context, rd_kafka_resp_err_t error, const char *text)
{
    struct link *link = context;
    struct agent *agent = link->agent;
    restart_producer(link, text);
    if (agent->events_total > link->events_at_start) {
        link->restart_wait_ms = 0; /* it did its work for a while: at once */
        return;
    }
    link->restart_wait_ms =
        link->restart_wait_ms == 0 ? RESTART_FIRST_MS : link->restart_wait_ms * 2;
    if (link->restart_wait_ms > RESTART_LAST_MS)
        link->restart_wait_ms = RESTART_LAST_MS;
    for (size_t i = 0; i < agent->topic_count; i++) /* why nothing is taken meanwhile */
        topic_pause(agent, agent->topics[i], error);
}

static void
producer_reached(void *context, const char *reason)
{
    struct link *link = context;
    char text[sizeof(link->reason)] = "";
    if (reason != NULL) {
        struct kafka_settings settings;
        struct err err;
        const char *servers = "";
        if (kafka_settings_init(&settings, agent_kafka_common(link->agent->options), &err))
            servers = settings.bootstrap_servers;
        int size = snprintf(text, sizeof(text), "cannot reach %.100s: %.250s", servers, reason);
        if (size < 0)
            text[0] = '\0';
    }
    bool login = reason != NULL && strstr(text, "login is refused") != NULL;
    if (reason != NULL && (link->reason[0] == '\0' || (login && strcmp(link->reason, text) != 0)))
        agent_say(link->agent, LOG_LEVEL_WARN, "kafka: the files wait: %s", text);
    if (reason == NULL && link->reason[0] != '\0')
        agent_say(link->agent, LOG_LEVEL_INFO, "kafka: reached again");
    memcpy(link->reason, text, sizeof(text));
    health_set(link->health, HEALTH_REMOTE, "kafka", text);
    link->agent->kafka_is_away = reason != NULL;
}

static void
producer_topic(void *context, size_t topic_index, const struct producer_topic *found)
{
    struct link *link = context;
    ASSERT(topic_index < link->agent->topic_count);
    topic_found(link->agent, link->agent->topics[topic_index], found);
}

static void
producer_throttled(void *context, int delay_ms)
{
    struct link *link = context;
    struct agent *agent = link->agent;
    if (delay_ms <= 0)
        return;
    agent->throttle_ms = delay_ms;
    agent->throttled_until_ms = clock_monotonic_ms() + (uint64_t)delay_ms + THROTTLED_MS;
    link->throttled_ms += (uint64_t)delay_ms;
    metrics_add(agent->metrics, link->throttle, link->throttled_ms / 1000);
    link->throttled_ms %= 1000;
}

static void
producer_traffic(void *context, uint64_t wire_bytes, uint64_t message_bytes)
{
    struct link *link = context;
    metrics_add(link->agent->metrics, link->wire, wire_bytes);
    metrics_add(link->agent->metrics, link->messages, message_bytes);
}

/* All answers of the old producer are here: nothing points into the slabs any more but its own
 * buffers, which go with it. */
static void
retire_producer(struct link *link)
{
    struct agent *agent = link->agent;
    if (!link->restarting || agent->producer == NULL || producer_waiting(agent->producer) > 0)
        return;
    link->producer_source = sd_event_source_disable_unref(link->producer_source);
    producer_free_later(agent->producer, link->freed_fd);
    agent->producer = NULL;
    link->freeing = true;
}

static int
on_producer(sd_event_source *source, int fd, uint32_t revents, void *context)
{
    (void)source;
    (void)fd;
    (void)revents;
    struct link *link = context;
    struct agent *agent = link->agent;
    uint64_t epoch = agent->epoch;
    producer_serve(agent->producer);
    retire_producer(link);
    if (agent->epoch != epoch)
        agent->wake(agent);
    return 0;
}

bool
link_open(struct link *link, struct err *err)
{
    struct agent *agent = link->agent;
    struct producer_limits limits = {
        .memory = slab_pool_size(agent->pool),
        .records = RECORDS_MAX + RECEIPTS_FLYING_MAX,
        .message_max = agent->part_max + ENVELOPE_SIZE_MAX + EVENT_ID_SIZE,
    };
    if (limits.message_max < 1000000)
        limits.message_max = 1000000; /* the library's own default */
    struct producer_events events = {
        .answered = producer_answered,
        .said = producer_said,
        .fatal = producer_fatal,
        .reached = producer_reached,
        .topic = producer_topic,
        .throttled = producer_throttled,
        .traffic = producer_traffic,
        .context = link,
    };
    if (!producer_new(&agent->producer, agent->options, &limits, &events, err))
        return false;
    for (size_t i = 0; i < agent->topic_count; i++)
        if (!producer_add_topic(agent->producer, agent->topics[i]->name, err))
            return false;
    if (sd_event_add_io(link->event, &link->producer_source, producer_fd(agent->producer), EPOLLIN,
                        on_producer, link) < 0)
        return err_set(err, ERR_STOP, 0, "cannot watch the Kafka client's descriptor");
    link->restarting = false;
    link->events_at_start = agent->events_total;
    agent->sending = true;
    agent->epoch++; /* nobody is blocked at a new one */
    return true;
}

static int
on_producer_freed(sd_event_source *source, int fd, uint32_t revents, void *context)
{
    (void)source;
    (void)revents;
    struct link *link = context;
    uint64_t count;
    ssize_t got = read(fd, &count, sizeof(count));
    (void)got;
    link->freeing = false;
    if (link->stopping)
        return 0; /* the tick finds that there is nothing to wait for */
    timer_arm(link->restart, link->restart_wait_ms);
    return 0;
}

static int
on_restart(sd_event_source *source, uint64_t time_us, void *context)
{
    (void)source;
    (void)time_us;
    struct link *link = context;
    struct err err;
    if (link->stopping)
        return 0;
    if (!link_open(link, &err)) {
        agent_say(link->agent, LOG_LEVEL_ERROR, "%s", err.text);
        return sd_event_exit(link->event, 1);
    }
    link->agent->wake(link->agent);
    return 0;
}

void
link_tick(struct link *link)
{
    struct agent *agent = link->agent;
    topics_tick(agent);
    if (agent->sending && topics_reclaim(agent)) {
        agent_say(
            agent, LOG_LEVEL_WARN,
            "partitions that do not answer hold the memory that others wait for: what is under "
            "way is taken back, and read again");
        producer_purge(agent->producer, true);
    }
    char text[384] = "";
    size_t others = 0; /* than the one that is named */
    for (size_t i = 0; i < agent->topic_count; i++) {
        const struct topic *topic = agent->topics[i];
        if (topic->reason[0] == '\0' || topic->pause == PAUSE_THROTTLED || topic->aside)
            continue; /* slow is not stopped */
        if (text[0] != '\0') {
            others++;
            continue;
        }
        int size = snprintf(text, sizeof(text), "'%.100s': %s", topic->name, topic->reason);
        if (size < 0)
            text[0] = '\0';
    }
    size_t used = strlen(text);
    if (others > 0 &&
        snprintf(text + used, sizeof(text) - used, "; and %zu more, see /status", others) < 0)
        text[used] = '\0';
    health_set(link->health, HEALTH_REMOTE, "topics", text);
}

const char *
link_reason(const struct link *link)
{
    return link->reason;
}

bool
link_is_drained(const struct link *link)
{
    const struct producer *producer = link->agent->producer;
    return producer == NULL ? !link->freeing : producer_waiting(producer) == 0;
}

void
link_stop(struct link *link)
{
    link->stopping = true;
}

bool
link_new(struct link **out, struct agent *agent, sd_event *event, struct health *health,
         struct err *err)
{
    struct link *link = calloc(1, sizeof(*link));
    if (link == NULL)
        return err_errno(err, ERR_STOP, ENOMEM, "make the link to Kafka");
    *out = link;
    link->agent = agent;
    link->event = event;
    link->health = health;
    link->restarts = metrics_series(agent->metrics, METRIC_PRODUCER_RESTARTS, NULL);
    link->throttle = metrics_series(agent->metrics, METRIC_THROTTLE, NULL);
    link->wire = metrics_series(agent->metrics, METRIC_WIRE_BYTES, NULL);
    link->messages = metrics_series(agent->metrics, METRIC_MESSAGE_BYTES, NULL);
    link->freed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (link->freed_fd < 0)
        return err_errno(err, ERR_STOP, errno, "make an eventfd");
    if (sd_event_add_io(event, &link->freed_source, link->freed_fd, EPOLLIN, on_producer_freed,
                        link) < 0 ||
        !timer_add(event, &link->restart, on_restart, link, false))
        return err_set(err, ERR_STOP, 0, "cannot watch for the end of a Kafka client");
    return true;
}

void
link_free(struct link *link)
{
    if (link == NULL)
        return;
    (void)sd_event_source_disable_unref(link->producer_source);
    (void)sd_event_source_disable_unref(link->freed_source);
    (void)sd_event_source_disable_unref(link->restart);
    if (link->agent->producer != NULL)
        producer_purge(link->agent->producer, true);
    producer_free(link->agent->producer);
    link->agent->producer = NULL;
    if (link->freed_fd >= 0)
        (void)close(link->freed_fd);
    free(link);
}
