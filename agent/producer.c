/* SPDX-License-Identifier: Apache-2.0 */
/* producer.c: see producer.h. */
#include "agent/producer.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/kafka.h"

#define TOPICS_MAX 256        /* one per input at most, and few in practice */
#define LOOK_TIMEOUT_MS 2000  /* bounds the wait at the stop, too */
#define LOOK_EVERY_S 10       /* leaders move seldom, and the library follows by itself */
#define LOOK_EVERY_S_UNWELL 1 /* while a topic or the cluster is not there */
#define STATISTICS_EVERY_MS "10000"
#define SASL_ERROR "SASL authentication error: "
#define MESSAGE_SLACK 1024 /* the library counts its own framing */
/* librdkafka (2.0.2) rounds its waits down to whole milliseconds and spins for the rest of the last
 * one, each time a timer is due: its threads are rather woken up to a millisecond late. */
#define LIBRARY_SLACK_NS 1000000UL

struct producer {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    int event_fd;
    struct producer_events events;
    rd_kafka_topic_t *topics[TOPICS_MAX];
    size_t topic_count;
    size_t waiting;
    bool fatal;
    uint64_t wire_bytes, message_bytes;
    char refused[256]; /* why nobody logs us in; "" when somebody does */

    /* The helper that looks at the cluster; results under the lock. */
    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping, wanted, fresh;
    const struct rd_kafka_metadata *found; /* NULL with `found_error` */
    rd_kafka_resp_err_t found_error;
    int done_fd;
};

static bool
looks_well(const struct rd_kafka_metadata *found)
{
    if (found == NULL)
        return false;
    for (int i = 0; i < found->topic_cnt; i++) {
        const struct rd_kafka_metadata_topic *topic = &found->topics[i];
        if (topic->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            return false;
        for (int k = 0; k < topic->partition_cnt; k++)
            if (topic->partitions[k].leader < 0 ||
                topic->partitions[k].isr_cnt < topic->partitions[k].replica_cnt)
                return false;
    }
    return true;
}

/* Sleeps until it is time for the next look; false at the end. Holds the lock. */
static bool
look_wait(struct producer *producer, bool well)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    struct timespec soon = until;
    until.tv_sec += well ? LOOK_EVERY_S : LOOK_EVERY_S_UNWELL;
    while (!producer->stopping && !producer->wanted)
        if (pthread_cond_timedwait(&producer->wake, &producer->lock, &until) == ETIMEDOUT)
            break;
    /* However often it is asked for: not more than five looks a second. */
    soon.tv_nsec += 200000000;
    if (soon.tv_nsec >= 1000000000) {
        soon.tv_sec++;
        soon.tv_nsec -= 1000000000;
    }
    while (!producer->stopping)
        if (pthread_cond_timedwait(&producer->wake, &producer->lock, &soon) == ETIMEDOUT)
            break;
    producer->wanted = false;
    return !producer->stopping;
}

static void *
look_run(void *context)
{
    struct producer *producer = context;
    (void)pthread_mutex_lock(&producer->lock);
    while (!producer->stopping) {
        (void)pthread_mutex_unlock(&producer->lock);
        const struct rd_kafka_metadata *found = NULL;
        rd_kafka_resp_err_t error =
            rd_kafka_metadata(producer->rk, 0, NULL, &found, LOOK_TIMEOUT_MS);
        bool well = error == RD_KAFKA_RESP_ERR_NO_ERROR && looks_well(found);
        (void)pthread_mutex_lock(&producer->lock);
        if (producer->found != NULL)
            rd_kafka_metadata_destroy(producer->found);
        producer->found = error == RD_KAFKA_RESP_ERR_NO_ERROR ? found : NULL;
        producer->found_error = error;
        producer->fresh = true;
        uint64_t one = 1;
        ssize_t written = write(producer->event_fd, &one, sizeof(one));
        (void)written;
        if (!look_wait(producer, well))
            break;
    }
    (void)pthread_mutex_unlock(&producer->lock);
    return NULL;
}

static bool
has_property(const struct agent_options *options, const char *name)
{
    for (size_t i = 0; i < options->kafka.properties.count; i++)
        if (strcmp(options->kafka.properties.items[i].key, name) == 0)
            return true;
    return false;
}

static bool
configure(rd_kafka_conf_t **out, const struct agent_options *options,
          const struct producer_limits *limits, struct err *err)
{
    char records[32];
    char kbytes[32];
    char message_max[32];
    /* Twice what the slabs can hold: the library's queue must never be what says no. */
    int sizes[] = {
        snprintf(records, sizeof(records), "%zu", limits->records * 2),
        snprintf(kbytes, sizeof(kbytes), "%zu", limits->memory / 512),
        snprintf(message_max, sizeof(message_max), "%zu", limits->message_max + MESSAGE_SLACK),
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        ASSERT(sizes[i] > 0 && sizes[i] < 32);

    const char *promise = "it carries the promise that nothing is lost";
    const char *bounded = "it follows from the option memory";
    struct kafka_property fixed[16] = {
        {"acks", "all", promise},
        {"enable.idempotence", "true", promise},
        {"message.timeout.ms", "0", promise},
        {"enable.gapless.guarantee", NULL, promise},
        {"transactional.id", NULL, promise},
        {"compression.type", agent_compression_name(options), "use kafka.compression"},
        {"queue.buffering.max.messages", records, bounded},
        {"queue.buffering.max.kbytes", kbytes, bounded},
        {"message.max.bytes", message_max, "it follows from the option part_size"},
        {"statistics.interval.ms", STATISTICS_EVERY_MS, "the agent reads them itself"},
    };
    size_t count = 10;
    if (!has_property(options, "linger.ms") && !has_property(options, "queue.buffering.max.ms"))
        fixed[count++] = (struct kafka_property){"linger.ms", "20", ""};
    if (!has_property(options, "reconnect.backoff.max.ms"))
        fixed[count++] = (struct kafka_property){"reconnect.backoff.max.ms", "2000", ""};
    if (!has_property(options, "topic.metadata.propagation.max.ms"))
        fixed[count++] = (struct kafka_property){"topic.metadata.propagation.max.ms", "5000", ""};
    return kafka_conf_new(out, agent_kafka_common(options), "tailrace-agent", fixed, count, err);
}

bool
producer_check(const struct agent_options *options, struct err *err)
{
    const struct producer_limits limits = {
        .memory = options->top.memory, .records = 1, .message_max = 1000000};
    rd_kafka_conf_t *conf;
    if (!configure(&conf, options, &limits, err))
        return false;
    rd_kafka_conf_destroy(conf);
    return true;
}

/* Called while events are taken from the queue, on the owner's thread (librdkafka 2.0.2: no event
 * of this kind). Each answer that tells a delay, and the first that tells none. */
static void
serve_throttle(rd_kafka_t *rk, const char *broker, int32_t broker_id, int delay_ms, void *opaque)
{
    (void)rk;
    (void)broker;
    (void)broker_id;
    struct producer *producer = opaque;
    producer->events.throttled(producer->events.context, delay_ms);
}

bool
producer_new(struct producer **out, const struct agent_options *options,
             const struct producer_limits *limits, const struct producer_events *events,
             struct err *err)
{
    struct producer *producer = calloc(1, sizeof(*producer));
    if (producer == NULL)
        return err_errno(err, ERR_STOP, ENOMEM, "make the Kafka producer");
    producer->events = *events;
    producer->done_fd = -1;
    (void)pthread_mutex_init(&producer->lock, NULL);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&producer->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);

    rd_kafka_conf_t *conf;
    producer->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (producer->event_fd < 0) {
        (void)err_errno(err, ERR_STOP, errno, "make the Kafka producer");
        goto failed;
    }
    if (!configure(&conf, options, limits, err))
        goto failed;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS |
                                       RD_KAFKA_EVENT_LOG);
    rd_kafka_conf_set_opaque(conf, producer);
    rd_kafka_conf_set_throttle_cb(conf, serve_throttle);
    char text[256];
    (void)prctl(PR_SET_TIMERSLACK, LIBRARY_SLACK_NS); /* its threads inherit it */
    producer->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    (void)prctl(PR_SET_TIMERSLACK, 0UL); /* this thread's own again */
    if (producer->rk == NULL) {
        rd_kafka_conf_destroy(conf);
        (void)err_set(err, ERR_CONFIG, 0, "cannot make the Kafka producer: %s", text);
        goto failed;
    }
    (void)rd_kafka_set_log_queue(producer->rk, NULL);
    producer->queue = rd_kafka_queue_get_main(producer->rk);
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(producer->queue, producer->event_fd, &one, sizeof(one));
    producer->thread_runs = pthread_create(&producer->thread, NULL, look_run, producer) == 0;
    if (!producer->thread_runs) {
        (void)err_errno(err, ERR_STOP, EAGAIN, "start the thread that looks at the cluster");
        goto failed;
    }
    *out = producer;
    return true;

failed:
    producer_free(producer);
    return false;
}

void
producer_free(struct producer *producer)
{
    if (producer == NULL)
        return;
    if (producer->thread_runs) {
        (void)pthread_mutex_lock(&producer->lock);
        producer->stopping = true;
        (void)pthread_cond_broadcast(&producer->wake);
        (void)pthread_mutex_unlock(&producer->lock);
        (void)pthread_join(producer->thread, NULL);
    }
    if (producer->found != NULL)
        rd_kafka_metadata_destroy(producer->found);
    for (size_t i = 0; i < producer->topic_count; i++)
        rd_kafka_topic_destroy(producer->topics[i]);
    if (producer->queue != NULL)
        rd_kafka_queue_destroy(producer->queue);
    if (producer->rk != NULL)
        rd_kafka_destroy(producer->rk);
    if (producer->event_fd >= 0)
        (void)close(producer->event_fd);
    (void)pthread_cond_destroy(&producer->wake);
    (void)pthread_mutex_destroy(&producer->lock);
    free(producer);
}

static void *
free_run(void *context)
{
    struct producer *producer = context;
    int done_fd = producer->done_fd;
    producer_free(producer);
    uint64_t one = 1;
    ssize_t written = write(done_fd, &one, sizeof(one));
    (void)written;
    return NULL;
}

void
producer_free_later(struct producer *producer, int done_fd)
{
    producer->done_fd = done_fd;
    pthread_t thread;
    if (pthread_create(&thread, NULL, free_run, producer) == 0)
        (void)pthread_detach(thread);
    else
        (void)free_run(producer);
}

bool
producer_add_topic(struct producer *producer, const char *name, struct err *err)
{
    if (producer->topic_count == TOPICS_MAX)
        return err_set(err, ERR_CONFIG, 0, "more than %d topics", TOPICS_MAX);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(producer->rk, name, NULL);
    if (topic == NULL)
        return err_set(err, ERR_STOP, (int)rd_kafka_last_error(), "cannot use the topic '%s': %s",
                       name, rd_kafka_err2str(rd_kafka_last_error()));
    producer->topics[producer->topic_count++] = topic;
    producer_look(producer);
    return true;
}

void
producer_look(struct producer *producer)
{
    (void)pthread_mutex_lock(&producer->lock);
    producer->wanted = true;
    (void)pthread_cond_broadcast(&producer->wake);
    (void)pthread_mutex_unlock(&producer->lock);
}

int
producer_fd(const struct producer *producer)
{
    return producer->event_fd;
}

static void
tell_topic(struct producer *producer, const struct rd_kafka_metadata_topic *topic)
{
    size_t index = 0;
    while (index < producer->topic_count &&
           strcmp(rd_kafka_topic_name(producer->topics[index]), topic->topic) != 0)
        index++;
    if (index == producer->topic_count)
        return;
    struct producer_topic found = {.error = topic->err};
    for (int i = 0; i < topic->partition_cnt; i++)
        found.lacking += topic->partitions[i].isr_cnt < topic->partitions[i].replica_cnt ? 1 : 0;
    if (topic->err == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE && topic->partition_cnt > 0)
        found.error = RD_KAFKA_RESP_ERR_NO_ERROR; /* some partition's, not the topic's */
    if (found.error == RD_KAFKA_RESP_ERR_NO_ERROR && topic->partition_cnt > 0) {
        found.leaders = malloc((size_t)topic->partition_cnt * sizeof(found.leaders[0]));
        if (found.leaders == NULL)
            return;
        found.partition_count = topic->partition_cnt;
        for (int i = 0; i < topic->partition_cnt; i++)
            found.leaders[i] = -1;
        for (int i = 0; i < topic->partition_cnt; i++)
            if (topic->partitions[i].id >= 0 && topic->partitions[i].id < topic->partition_cnt)
                found.leaders[topic->partitions[i].id] = topic->partitions[i].leader;
    }
    producer->events.topic(producer->events.context, index, &found);
    free(found.leaders);
}

/* That nobody lets us in is the reason, as long as nobody did. */
static void
tell_away(struct producer *producer, rd_kafka_resp_err_t error, const char *reason)
{
    char text[256];
    const char *advice = kafka_advice(error);
    if (advice != NULL && snprintf(text, sizeof(text), "%s; %s", reason, advice) > 0)
        reason = text;
    producer->events.reached(producer->events.context,
                             producer->refused[0] != '\0' ? producer->refused : reason);
}

static void
tell_look(struct producer *producer)
{
    (void)pthread_mutex_lock(&producer->lock);
    bool fresh = producer->fresh;
    const struct rd_kafka_metadata *found = producer->found;
    rd_kafka_resp_err_t error = producer->found_error;
    producer->fresh = false;
    producer->found = NULL;
    (void)pthread_mutex_unlock(&producer->lock);
    if (!fresh)
        return;
    if (found == NULL) {
        tell_away(producer, error, rd_kafka_err2str(error));
        return;
    }
    producer->refused[0] = '\0';
    producer->events.reached(producer->events.context, NULL);
    for (int i = 0; i < found->topic_cnt; i++)
        tell_topic(producer, &found->topics[i]);
    rd_kafka_metadata_destroy(found);
}

/* A top-level number of the statistics: its names are used once in the document. */
static uint64_t
statistic(const char *json, const char *name)
{
    const char *at = strstr(json, name);
    return at == NULL ? 0 : strtoull(at + strlen(name), NULL, 10);
}

static void
serve_statistics(struct producer *producer, rd_kafka_event_t *event)
{
    const char *json = rd_kafka_event_stats(event);
    if (json == NULL)
        return;
    uint64_t wire = statistic(json, "\"tx_bytes\":");
    uint64_t messages = statistic(json, "\"txmsg_bytes\":");
    if (wire >= producer->wire_bytes && messages >= producer->message_bytes)
        producer->events.traffic(producer->events.context, wire - producer->wire_bytes,
                                 messages - producer->message_bytes);
    producer->wire_bytes = wire;
    producer->message_bytes = messages;
}

static void
serve_error(struct producer *producer, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t error = rd_kafka_event_error(event);
    const char *text = rd_kafka_event_error_string(event);
    if (error == RD_KAFKA_RESP_ERR__FATAL || rd_kafka_event_error_is_fatal(event)) {
        char why[512];
        error = rd_kafka_fatal_error(producer->rk, why, sizeof(why));
        if (!producer->fatal)
            producer->events.fatal(producer->events.context, error, why);
        producer->fatal = true;
        return;
    }
    if (error == RD_KAFKA_RESP_ERR__AUTHENTICATION) {
        /* "sasl_ssl://host:9094/bootstrap: SASL authentication error: Authentication failed: …" */
        const char *why = strstr(text, SASL_ERROR);
        why = why == NULL ? text : why + strlen(SASL_ERROR);
        const char *end = strstr(why, " (after "); /* a time that differs each time */
        size_t length = end == NULL ? strlen(why) : (size_t)(end - why);
        int size =
            snprintf(producer->refused, sizeof(producer->refused), "the login is refused: %.*s; %s",
                     (int)length, why, kafka_advice(error));
        if (size > 0)
            producer->events.reached(producer->events.context, producer->refused);
        return;
    }
    if (error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        tell_away(producer, error, text);
        producer_look(producer);
        return;
    }
    producer->events.said(producer->events.context, LOG_LEVEL_WARN, text);
}

static void
serve_log(struct producer *producer, rd_kafka_event_t *event)
{
    const char *facility;
    const char *text;
    int level;
    if (rd_kafka_event_log(event, &facility, &text, &level) != 0)
        return;
    /* A lost connection that is an error comes as an error event with the same words, too. */
    bool twice = strstr(text, SASL_ERROR) != NULL || (level <= 3 && strcmp(facility, "FAIL") == 0);
    if (!twice)
        producer->events.said(producer->events.context,
                              level <= 4 ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG, text);
}

static void
serve_event(struct producer *producer, rd_kafka_event_t *event)
{
    const rd_kafka_message_t *message;
    switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_DR:
        while ((message = rd_kafka_event_message_next(event)) != NULL) {
            ASSERT(producer->waiting > 0);
            producer->waiting--;
            producer->events.answered(producer->events.context, message);
        }
        break;
    case RD_KAFKA_EVENT_ERROR:
        serve_error(producer, event);
        break;
    case RD_KAFKA_EVENT_STATS:
        serve_statistics(producer, event);
        break;
    case RD_KAFKA_EVENT_LOG:
        serve_log(producer, event);
        break;
    default:
        break;
    }
}

void
producer_serve(struct producer *producer)
{
    uint64_t count;
    ssize_t got = read(producer->event_fd, &count, sizeof(count));
    (void)got;
    /* The library writes to the descriptor only when its queue was empty: take all of it. */
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(producer->queue, 0)) != NULL) {
        serve_event(producer, event);
        rd_kafka_event_destroy(event);
    }
    tell_look(producer);
}

void
producer_send(struct producer *producer, size_t topic_index, rd_kafka_message_t *messages,
              size_t count)
{
    ASSERT(topic_index < producer->topic_count);
    ASSERT(count > 0);

    /* What it refuses at once for an unknown topic or partition, librdkafka 2.0.2 forgets to free:
     * some 170 bytes a record, once when a topic is deleted under load. Bytes are ours anyway. */
    int taken = rd_kafka_produce_batch(producer->topics[topic_index], RD_KAFKA_PARTITION_UA,
                                       RD_KAFKA_MSG_F_PARTITION, messages, (int)count);
    ASSERT(taken >= 0);
    producer->waiting += (size_t)taken;
}

void
producer_purge(struct producer *producer, bool all)
{
    (void)rd_kafka_purge(producer->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING |
                                           (all ? RD_KAFKA_PURGE_F_INFLIGHT : 0));
}

size_t
producer_waiting(const struct producer *producer)
{
    return producer->waiting;
}
