/* SPDX-License-Identifier: Apache-2.0 */
/* consumer.c: see consumer.h. The client: made, asked for records, closed. Its queue carries
 * records, rebalances, answers to commits, errors and librdkafka's log; consumer_take() is where
 * all of them come out. */
#include "sinks/consumer.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "core/assert.h"
#include "core/clock.h"
#include "core/kafka.h"
#include "sinks/consumer/inside.h"

#define LIBRDKAFKA_2_3_0 0x020300ff
#define CONSUMER_MAGIC 0x636f6e73756d6572ULL
#define LET_GO_SECONDS 1
#define WAKES_MAX 4 /* at once; each may hold the loop for a millisecond */

static const struct kafka_property fixed_properties[] = {
    {"group.id", NULL, "use kafka.group_id"},
    {"auto.offset.reset", "earliest", "starting at the end would skip what waits"},
    {"enable.auto.offset.store", "false", "an offset is stored when its record is finished"},
    {"enable.auto.commit", "true", "an offset is committed when its record is finished"},
    {"auto.commit.interval.ms", "1000", "what is not committed is read again after a crash"},
    {"allow.auto.create.topics", "false", "a wrong name must not become a topic"},
    {"group.instance.id", NULL, "use kafka.instance_id"},
    {"partition.assignment.strategy", NULL, "use kafka.assignment"},
    {"topic.metadata.refresh.interval.ms", "10000", "a topic made later is found within seconds"},
    {"enable.partition.eof", "true", "behind the last record there may be more that is not for us"},
    {"queued.max.messages.kbytes", NULL, "use kafka.prefetch"},
    {"fetch.max.bytes", NULL, "use kafka.prefetch"},
    {"fetch.message.max.bytes", NULL, "use kafka.prefetch"},
    {"isolation.level", "read_committed", "aborted transactions never happened"},
};
#define FIXED_COUNT (sizeof(fixed_properties) / sizeof(fixed_properties[0]))

struct consumer *
consumer_from_opaque(void *opaque)
{
    struct consumer *consumer = opaque;
    ASSERT(consumer != NULL);
    ASSERT(consumer->magic == CONSUMER_MAGIC);
    return consumer;
}

static bool
set_text(rd_kafka_conf_t *conf, const char *name, const char *text, struct err *err)
{
    char reason[256];
    if (rd_kafka_conf_set(conf, name, text, reason, sizeof(reason)) == RD_KAFKA_CONF_OK)
        return true;
    return err_set(err, ERR_CONFIG, 0, "librdkafka refuses %s: %s", name, reason);
}

static bool
set_number(rd_kafka_conf_t *conf, const char *name, uint64_t value, struct err *err)
{
    char text[32];
    int size = snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    ASSERT(size > 0 && (size_t)size < sizeof(text));
    return set_text(conf, name, text, err);
}

static uint64_t
get_number(const rd_kafka_conf_t *conf, const char *name, uint64_t otherwise)
{
    char text[32];
    size_t size = sizeof(text);
    if (rd_kafka_conf_get(conf, name, text, &size) != RD_KAFKA_CONF_OK)
        return otherwise;
    return strtoull(text, NULL, 10);
}

/* A response may hold a quarter of the prefetch: librdkafka stops asking only when the whole is
 * reached. One partition's share of it is small, because it is counted before decompression. */
static bool
set_options(const struct consumer *consumer, rd_kafka_conf_t *conf, struct err *err)
{
    const struct sink_options *options = consumer->options;
    uint64_t message_max = get_number(conf, "message.max.bytes", 1000000);
    uint64_t response = options->kafka.prefetch / 4;
    if (response < message_max)
        response = message_max;
    bool eager = options->kafka.assignment == ASSIGNMENT_EAGER;
    return set_text(conf, "group.id", options->kafka.group_id, err) &&
           (consumer->name[0] == '\0' ||
            set_text(conf, "group.instance.id", consumer->name, err)) &&
           set_text(conf, "partition.assignment.strategy",
                    eager ? "range,roundrobin" : "cooperative-sticky", err) &&
           set_number(conf, "queued.max.messages.kbytes", options->kafka.prefetch / 1024, err) &&
           set_number(conf, "fetch.max.bytes", response, err) &&
           set_number(conf, "fetch.message.max.bytes", options->kafka.prefetch / 32, err);
}

static void
on_error(rd_kafka_t *client, int code, const char *reason, void *opaque)
{
    (void)client;
    struct consumer *consumer = consumer_from_opaque(opaque);
    if (consumer_is_topic_gone((rd_kafka_resp_err_t)code)) {
        consumer_doubt_topic(consumer, reason);
        return;
    }
    if (code == RD_KAFKA_RESP_ERR__FATAL)
        return; /* consumer_works() tells it */
    const char *advice = kafka_advice((rd_kafka_resp_err_t)code);
    char text[PROBLEM_MAX];
    int size = snprintf(text, sizeof(text), "%s%s%s", reason, advice == NULL ? "" : "; ",
                        advice == NULL ? "" : advice);
    ASSERT(size >= 0);
    /* One warning for each time that they are away, however many connections fail. */
    bool known = consumer->problem[0] != '\0' && consumer->problem_is_broker;
    consumer_set_problem(consumer, true, text);
    consumer->hooks.note(consumer->hooks.context, known ? 7 : 4, text);
}

static void
on_log(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
    struct consumer *consumer = consumer_from_opaque(rd_kafka_opaque(client));
    static const char thread[] = "[thrd:";
    if (strncmp(text, thread, strlen(thread)) == 0) {
        const char *end = strstr(text, "]: ");
        text = end == NULL ? text : end + strlen("]: ");
    }
    /* Brokers that are away are on_error()'s; older brokers lack the flag, and create no topic for
     * a consumer that does not ask for its metadata by name. */
    bool repeated = strcmp(facility, "FAIL") == 0 || strcmp(facility, "ERROR") == 0 ||
                    strstr(text, "allow.auto.create.topics=false not supported") != NULL;
    consumer->hooks.note(consumer->hooks.context, repeated ? 7 : level, text);
}

bool
consumer_subscribe(struct consumer *consumer, struct err *err)
{
    rd_kafka_topic_partition_list_t *topics =
        rd_kafka_topic_partition_list_new((int)consumer->options->route_count);
    for (size_t i = 0; i < consumer->options->route_count; i++)
        rd_kafka_topic_partition_list_add(topics, consumer->options->routes[i].topic,
                                          RD_KAFKA_PARTITION_UA);
    consumer->subscribed = true;
    rd_kafka_resp_err_t code = rd_kafka_subscribe(consumer->client, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err_set(err, ERR_CONFIG, code, "cannot subscribe: %s", rd_kafka_err2str(code));
    return true;
}

static bool
start_client(struct consumer *consumer, struct err *err)
{
    rd_kafka_conf_t *conf;
    if (!kafka_conf_new(&conf, (const struct kafka_common_options *)&consumer->options->kafka,
                        "tailrace-sink", fixed_properties, FIXED_COUNT, err))
        return false;
    if (!set_options(consumer, conf, err)) {
        rd_kafka_conf_destroy(conf);
        return false;
    }
    rd_kafka_conf_set_opaque(conf, consumer);
    rd_kafka_conf_set_rebalance_cb(conf, consumer_on_rebalance);
    rd_kafka_conf_set_offset_commit_cb(conf, consumer_on_commit);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_log_cb(conf, on_log);
    consumer->poll_interval_ms = get_number(conf, "max.poll.interval.ms", 300000);
    consumer->session_timeout_ms = get_number(conf, "session.timeout.ms", 45000);
    char reason[256];
    consumer->client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof(reason));
    if (consumer->client == NULL) {
        rd_kafka_conf_destroy(conf);
        return err_set(err, ERR_CONFIG, 0, "cannot start the Kafka consumer: %s", reason);
    }
    rd_kafka_set_log_queue(consumer->client, NULL);
    rd_kafka_poll_set_consumer(consumer->client);
    consumer->queue = rd_kafka_queue_get_consumer(consumer->client);
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(consumer->queue, consumer->event_fd, &one, sizeof(one));
    return true;
}

bool
consumer_new(struct consumer **out, const struct sink_options *options,
             const struct consumer_hooks *hooks, bool visits, struct err *err)
{
    ASSERT(hooks->drain != NULL);
    ASSERT(hooks->revoked != NULL);

    struct consumer *consumer = calloc(1, sizeof(*consumer));
    if (consumer == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot start the consumer: out of memory");
    consumer->magic = CONSUMER_MAGIC;
    consumer->options = options;
    consumer->hooks = *hooks;
    consumer->name = visits ? "" : options->kafka.instance_id;
    consumer->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    consumer->routes = calloc(options->route_count, sizeof(*consumer->routes));
    consumer->route_paused = calloc(options->route_count, sizeof(*consumer->route_paused));
    consumer->commit_list = rd_kafka_topic_partition_list_new(16);
    bool fine =
        consumer->event_fd >= 0 && consumer->routes != NULL && consumer->route_paused != NULL;
    if (!fine)
        err_put_set(err, ERR_STOP, ENOMEM,
                    "cannot start the consumer: out of memory or descriptors");
    if (!fine || !start_client(consumer, err)) {
        consumer_free(consumer);
        return false;
    }
    *out = consumer;
    return true;
}

void
consumer_close(struct consumer *consumer, uint64_t timeout_ms)
{
    uint64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
    consumer->closing = true;
    /* librdkafka 2.0.2 closes a member without partitions and does not tell the group, which
     * then waits for it until its session ends; unsubscribing first tells it. A member with a name
     * of its own is waited for on purpose. */
    if (consumer->name[0] == '\0')
        rd_kafka_unsubscribe(consumer->client);
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(consumer->client, consumer->queue);
    if (error != NULL) {
        rd_kafka_error_destroy(error);
        return;
    }
    while (rd_kafka_consumer_closed(consumer->client) == 0 && clock_monotonic_ms() < deadline_ms) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer->client, 100);
        if (message != NULL)
            rd_kafka_message_destroy(message);
    }
    consumer->stuck = rd_kafka_consumer_closed(consumer->client) == 0;
    if (consumer->stuck)
        consumer->hooks.note(
            consumer->hooks.context, 4,
            consumer->joined ? "stopping without leaving the group: Kafka is away; the group waits "
                               "up to its session timeout"
                             : "stopping while the group still joins; it waits up to its session "
                               "timeout");
}

/* Left to the end of the process; known to leak checkers. */
static struct consumer *abandoned;

static void *
destroy_client(void *client)
{
    rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    return NULL;
}

/* True when the client is gone. librdkafka 2.0.2 waits for ever for a broker's thread when a topic
 * was deleted and made anew under it. Nothing is left to do by now: its threads may end with the
 * process. */
static bool
let_go(struct consumer *consumer)
{
    pthread_t thread;
    struct timespec until;
    if (consumer->client == NULL)
        return true;
    if (pthread_create(&thread, NULL, destroy_client, consumer->client) != 0)
        return false;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LET_GO_SECONDS;
    if (pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) == 0)
        return true;
    (void)pthread_detach(thread);
    return false;
}

void
consumer_free(struct consumer *consumer)
{
    if (consumer == NULL)
        return;
    if (consumer->queue != NULL) {
        rd_kafka_queue_io_event_enable(consumer->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(consumer->queue);
    }
    /* librdkafka below 2.3 aborts in the destruction of a cooperative member that never had an
     * assignment (its issue 4312). It has left the group; the end of the process frees the rest. */
    bool unsafe =
        consumer->subscribed && !consumer->joined && rd_kafka_version() < LIBRDKAFKA_2_3_0;
    if (unsafe || consumer->stuck || !let_go(consumer)) {
        /* Callbacks of the client that lives on may still look at it. */
        abandoned = consumer;
        return;
    }
    for (size_t i = 0; i < consumer->all_count; i++) {
        offsets_done(&consumer->all[i]->offsets);
        free(consumer->all[i]);
    }
    for (size_t i = 0; consumer->routes != NULL && i < consumer->options->route_count; i++) {
        free(consumer->routes[i].items);
        free(consumer->routes[i].ends);
    }
    free(consumer->all);
    free(consumer->routes);
    free(consumer->route_paused);
    rd_kafka_topic_partition_list_destroy(consumer->commit_list);
    free(consumer->cluster_id);
    if (consumer->event_fd >= 0)
        close(consumer->event_fd);
    free(consumer);
}

int
consumer_fd(const struct consumer *consumer)
{
    return consumer->event_fd;
}

void
consumer_clear_fd(struct consumer *consumer)
{
    uint64_t count;
    ssize_t got = read(consumer->event_fd, &count, sizeof(count));
    (void)got; /* EAGAIN: it was clear */
}

/* An error that came instead of a record. */
static void
take_error(struct consumer *consumer, const rd_kafka_message_t *message)
{
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        struct partition *partition = consumer_partition_of(consumer, message);
        if (partition != NULL && partition->assigned && !partition->revoking)
            consumer_meet_end(consumer, partition, message->offset);
        return;
    }
    char text[PROBLEM_MAX];
    const char *topic = message->rkt == NULL ? NULL : rd_kafka_topic_name(message->rkt);
    size_t route =
        topic == NULL ? consumer->options->route_count : consumer_find_route(consumer, topic);
    if (route < consumer->options->route_count && consumer_is_topic_gone(message->err)) {
        consumer_doubt_topic(consumer, topic);
        return;
    }
    const char *advice = kafka_advice(message->err);
    int size = snprintf(text, sizeof(text), "%s%s%s%s%s", topic == NULL ? "" : topic,
                        topic == NULL ? "" : ": ", rd_kafka_message_errstr(message),
                        advice == NULL ? "" : "; ", advice == NULL ? "" : advice);
    ASSERT(size >= 0);
    consumer_set_problem(consumer, false, text);
    consumer->hooks.note(consumer->hooks.context, 4, text);
}

/* A record of a partition that is ours: checks its place in the log. */
static bool
take_record(struct consumer *consumer, rd_kafka_message_t *message, struct taken *out)
{
    struct partition *partition = consumer_partition_of(consumer, message);
    if (partition == NULL || !partition->assigned || partition->revoking)
        return false;
    if (partition->astray || (partition->doubted && !consumer_believe_log(consumer, partition)))
        return false;
    if (message->offset < partition->expected)
        consumer_rewind(consumer, partition, message->offset);
    if (partition->expected >= 0 && message->offset > partition->expected &&
        !consumer_believe_jump(consumer, partition, message->offset))
        return false;
    rd_kafka_timestamp_type_t type;
    if (!offsets_take(&partition->offsets, message->offset,
                      rd_kafka_message_timestamp(message, &type), &out->sequence)) {
        consumer_set_problem(consumer, false, "memory is short: records wait in Kafka");
        partition->expected = message->offset;
        consumer_go_back(consumer, partition);
        return false;
    }
    partition->sought = false;
    partition->expected = message->offset + 1;
    out->message = message;
    out->partition = partition;
    consumer_broker_answered(consumer);
    return true;
}

bool
consumer_take(struct consumer *consumer, struct taken *out)
{
    rd_kafka_message_t *message;
    while ((message = rd_kafka_consumer_poll(consumer->client, 0)) != NULL) {
        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            take_error(consumer, message);
        else if (take_record(consumer, message, out))
            return true;
        rd_kafka_message_destroy(message);
    }
    return false;
}

/* A broker thread of librdkafka that found its queue full sleeps for up to a second (measured at
 * 2.0.2; fetch.queue.backoff.ms is 2.4's), however soon we empty it. A request to the same broker
 * wakes it; its answer is not waited for. */
void
consumer_wake(struct consumer *consumer)
{
    for (size_t i = 0, woken = 0; i < consumer->all_count && woken < WAKES_MAX; i++) {
        struct partition *partition = consumer->all[i];
        int64_t low;
        int64_t high;
        if (!partition->assigned || partition->paused || partition->expected < 0 ||
            partition->woken == partition->expected)
            continue;
        const char *topic = consumer_topic(consumer, partition);
        rd_kafka_get_watermark_offsets(consumer->client, topic, partition->id, &low, &high);
        if (high <= partition->expected)
            continue;
        partition->woken = partition->expected;
        rd_kafka_query_watermark_offsets(consumer->client, topic, partition->id, &low, &high, 1);
        woken++;
    }
}

bool
consumer_works(const struct consumer *consumer, struct err *err)
{
    if (consumer->forgetful)
        return err_set(err, ERR_STOP, ENOMEM, "cannot keep an assigned partition: out of memory");
    char reason[256];
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(consumer->client, reason, sizeof(reason));
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return true;
    if (code == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID)
        return err_set(err, ERR_STOP, code,
                       "another sink of group '%s' has taken over the name '%s': give each one its "
                       "own kafka.instance_id",
                       consumer->options->kafka.group_id, consumer->name);
    return err_set(err, ERR_STOP, code, "the Kafka consumer cannot go on: %s", reason);
}

uint64_t
consumer_poll_interval_ms(const struct consumer *consumer)
{
    return consumer->poll_interval_ms;
}

const char *
consumer_cluster_id(struct consumer *consumer)
{
    /* Asked once: an id that came and went would give one record two ids. */
    if (consumer->cluster_id == NULL) {
        char *id = rd_kafka_clusterid(consumer->client, METADATA_TIMEOUT_MS);
        consumer->cluster_id = strdup(id == NULL ? "" : id);
        if (id != NULL)
            rd_kafka_mem_free(consumer->client, id);
    }
    return consumer->cluster_id == NULL ? "" : consumer->cluster_id;
}

uint64_t
consumer_rebalances(const struct consumer *consumer)
{
    return consumer->rebalances;
}
