/* SPDX-License-Identifier: Apache-2.0 */
/* consumer.c: see consumer.h. The queue of the consumer carries records, rebalances, answers to
 * commits, errors and librdkafka's log; consumer_take() is where all of them come out. */
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
#include "core/buffer.h"
#include "core/clock.h"
#include "core/kafka.h"

#define LIBRDKAFKA_2_3_0 0x020300ff
#define CONSUMER_MAGIC 0x636f6e73756d6572ULL
#define PARTITIONS_MAX 100000 /* per topic: Kafka's own advice is far below */
#define GAPS_BELIEVED_AFTER                                                                        \
    8 /* then the log is known to have holes, and seeking would cost each time */
#define REVOKE_WAIT_MAX_MS                                                                         \
    10000 /* a rebalance waits for us: less than half of any session timeout */
/* Each holds the loop, and a stop that comes meanwhile has to be over within 15 s. */
#define COMMITTED_TIMEOUT_MS 4000
#define SEEK_TIMEOUT_MS 4000
#define COMMIT_TIMEOUT_MS 4000
#define METADATA_TIMEOUT_MS 4000
#define PROBE_TIMEOUT_MS 500 /* holds the loop */
#define LET_GO_SECONDS 1
#define PROBLEM_MAX 320
#define WAKES_MAX 4 /* at once; each may hold the loop for a millisecond */

#define MISSING_LOOK_MS 5000 /* between looks for a topic that did not exist */

struct route_partitions {
    struct partition **items; /* by partition id; NULL: never assigned */
    size_t count;
    int64_t *ends; /* marked ends, by partition id */
    size_t end_count;
    bool missing; /* the broker says that the topic does not exist */
};

struct consumer {
    uint64_t magic;
    const struct sink_options *options;
    struct consumer_hooks hooks;
    rd_kafka_t *client;
    rd_kafka_queue_t *queue;
    int event_fd;
    struct route_partitions *routes;
    bool *route_paused;
    struct partition **all;
    size_t all_count;
    size_t all_capacity;
    const rd_kafka_topic_t *last_topic; /* of the last record, whose route was last_route */
    size_t last_route;
    rd_kafka_topic_partition_list_t *commit_list;
    uint64_t poll_interval_ms;
    uint64_t session_timeout_ms;
    uint64_t rebalances;
    bool subscribed;
    bool joined;
    bool closing;
    bool stuck; /* the group was not left in time: the client cannot be destroyed in time either */
    char *cluster_id;
    char problem[PROBLEM_MAX];
    bool problem_is_broker;    /* a broker that answers ends it */
    char missing[PROBLEM_MAX]; /* sentence on the first topic that does not exist, "" for none */
    uint64_t missing_looked_ms;
};

static const struct kafka_property fixed_properties[] = {
    {"group.id", NULL, "use kafka.group_id"},
    {"auto.offset.reset", "earliest", "starting at the end would skip what waits"},
    {"enable.auto.offset.store", "false", "an offset is stored when its record is finished"},
    {"enable.auto.commit", "true", "an offset is committed when its record is finished"},
    {"auto.commit.interval.ms", "1000", "what is not committed is read again after a crash"},
    {"allow.auto.create.topics", "false", "a wrong name must not become a topic"},
    {"partition.assignment.strategy", "cooperative-sticky", "a rebalance must not stop the rest"},
    {"topic.metadata.refresh.interval.ms", "10000", "a topic made later is found within seconds"},
    {"enable.partition.eof", NULL, "the program decides on it"},
    {"queued.max.messages.kbytes", NULL, "use kafka.prefetch"},
    {"fetch.max.bytes", NULL, "use kafka.prefetch"},
    {"fetch.message.max.bytes", NULL, "use kafka.prefetch"},
    {"isolation.level", "read_committed", "aborted transactions never happened"},
};
#define FIXED_COUNT (sizeof(fixed_properties) / sizeof(fixed_properties[0]))

static struct consumer *
from_opaque(void *opaque)
{
    struct consumer *consumer = opaque;
    ASSERT(consumer != NULL);
    ASSERT(consumer->magic == CONSUMER_MAGIC);
    return consumer;
}

static bool
set_number(rd_kafka_conf_t *conf, const char *name, uint64_t value, struct err *err)
{
    char text[32];
    char reason[256];
    int size = snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    ASSERT(size > 0 && (size_t)size < sizeof(text));
    if (rd_kafka_conf_set(conf, name, text, reason, sizeof(reason)) == RD_KAFKA_CONF_OK)
        return true;
    return err_set(err, ERR_CONFIG, 0, "librdkafka refuses %s: %s", name, reason);
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
set_sizes(rd_kafka_conf_t *conf, const struct sink_options *options, bool want_ends,
          struct err *err)
{
    uint64_t message_max = get_number(conf, "message.max.bytes", 1000000);
    uint64_t response = options->kafka.prefetch / 4;
    if (response < message_max)
        response = message_max;
    char reason[256];
    if (rd_kafka_conf_set(conf, "group.id", options->kafka.group_id, reason, sizeof(reason)) !=
        RD_KAFKA_CONF_OK)
        return err_set(err, ERR_CONFIG, 0, "librdkafka refuses kafka.group_id: %s", reason);
    return set_number(conf, "queued.max.messages.kbytes", options->kafka.prefetch / 1024, err) &&
           set_number(conf, "fetch.max.bytes", response, err) &&
           set_number(conf, "fetch.message.max.bytes", options->kafka.prefetch / 32, err) &&
           (!want_ends ||
            rd_kafka_conf_set(conf, "enable.partition.eof", "true", NULL, 0) == RD_KAFKA_CONF_OK);
}

static size_t
find_route(const struct consumer *consumer, const char *topic)
{
    size_t route = 0;
    while (route < consumer->options->route_count &&
           strcmp(consumer->options->routes[route].topic, topic) != 0)
        route++;
    return route;
}

/* The partition's object, made at its first appearance. NULL for a topic of no route or no
 * memory. */
static struct partition *
partition_at(struct consumer *consumer, const char *topic, int32_t id)
{
    size_t route = find_route(consumer, topic);
    if (route == consumer->options->route_count || id < 0 || id >= PARTITIONS_MAX)
        return NULL;
    struct route_partitions *own = &consumer->routes[route];
    if ((size_t)id >= own->count) {
        size_t count = (size_t)id + 1;
        struct partition **items = reallocarray(own->items, count, sizeof(struct partition *));
        if (items == NULL)
            return NULL;
        for (size_t i = own->count; i < count; i++)
            items[i] = NULL;
        own->items = items;
        own->count = count;
    }
    if (own->items[id] != NULL)
        return own->items[id];

    if (consumer->all_count == consumer->all_capacity) {
        size_t capacity = consumer->all_capacity == 0 ? 16 : consumer->all_capacity * 2;
        struct partition **all = reallocarray(consumer->all, capacity, sizeof(struct partition *));
        if (all == NULL)
            return NULL;
        consumer->all = all;
        consumer->all_capacity = capacity;
    }
    struct partition *partition = calloc(1, sizeof(*partition));
    if (partition == NULL)
        return NULL;
    *partition = (struct partition){
        .route = route, .id = id, .expected = -1, .handed = -1, .committed = -1, .end = -1};
    offsets_init(&partition->offsets);
    own->items[id] = partition;
    consumer->all[consumer->all_count++] = partition;
    return partition;
}

static void
set_problem(struct consumer *consumer, bool is_broker, const char *text)
{
    int size = snprintf(consumer->problem, sizeof(consumer->problem), "%s", text);
    ASSERT(size >= 0);
    consumer->problem_is_broker = is_broker;
}

static void
clear_broker_problem(struct consumer *consumer)
{
    if (consumer->problem[0] == '\0' || !consumer->problem_is_broker)
        return;
    consumer->problem[0] = '\0';
    consumer->hooks.note(consumer->hooks.context, 6, "the brokers answer again");
}

static void
describe_missing(struct consumer *consumer)
{
    size_t route = 0;
    while (route < consumer->options->route_count && !consumer->routes[route].missing)
        route++;
    consumer->missing[0] = '\0';
    if (route == consumer->options->route_count)
        return;
    int size = snprintf(consumer->missing, sizeof(consumer->missing),
                        "topic '%s' does not exist; %slooked for again every few seconds",
                        consumer->options->routes[route].topic,
                        consumer->options->route_count > 1 ? "other topics go on; " : "");
    ASSERT(size > 0);
}

static void
set_missing(struct consumer *consumer, size_t route, bool missing)
{
    if (consumer->routes[route].missing == missing)
        return;
    consumer->routes[route].missing = missing;
    describe_missing(consumer);
    consumer->missing_looked_ms = clock_monotonic_ms();
    char text[PROBLEM_MAX];
    int size = snprintf(text, sizeof(text), "topic '%s' %s", consumer->options->routes[route].topic,
                        missing ? "does not exist; create the topic, or correct its name"
                                : "is there now");
    ASSERT(size > 0);
    consumer->hooks.note(consumer->hooks.context, missing ? 4 : 6, text);
}

static const char *
topic_of(const struct consumer *consumer, const struct partition *partition)
{
    return consumer->options->routes[partition->route].topic;
}

/* A failed commit needs nothing: what is stored and not committed is sent again. */
static void
note_commit(struct consumer *consumer, rd_kafka_resp_err_t code,
            const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; list != NULL && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *it = &list->elems[i];
        struct partition *partition = partition_at(consumer, it->topic, it->partition);
        if (partition != NULL && partition->assigned && code == RD_KAFKA_RESP_ERR_NO_ERROR &&
            it->err == RD_KAFKA_RESP_ERR_NO_ERROR && it->offset >= 0)
            partition->committed = it->offset;
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR__NO_OFFSET) {
        char text[PROBLEM_MAX];
        int size = snprintf(text, sizeof(text), "offsets are not committed yet: %s",
                            rd_kafka_err2str(code));
        ASSERT(size > 0);
        consumer->hooks.note(consumer->hooks.context, 7, text);
    }
}

static void
on_offset_commit(rd_kafka_t *client, rd_kafka_resp_err_t code,
                 rd_kafka_topic_partition_list_t *list, void *opaque)
{
    (void)client;
    note_commit(from_opaque(opaque), code, list);
}

/* An empty list in place of the last one, whose entries own their topics' names. */
static void
renew_list(struct consumer *consumer)
{
    rd_kafka_topic_partition_list_destroy(consumer->commit_list);
    consumer->commit_list = rd_kafka_topic_partition_list_new(16);
}

/* What is finished belongs to the log as it is now, not to one that was deleted. */
static bool
is_storable(const struct partition *partition)
{
    return partition->assigned && partition->offsets.stored >= 0 &&
           partition->offsets.first > partition->commit_from;
}

static void
list_offset(struct consumer *consumer, const struct partition *partition)
{
    rd_kafka_topic_partition_list_add(consumer->commit_list, topic_of(consumer, partition),
                                      partition->id)
        ->offset = partition->offsets.stored;
}

/* librdkafka commits on its own timer, because it alone knows when the group rebalances: a
 * commit sent then carries the old generation, and 2.0.2 takes the refusal for a lost
 * assignment. */
void
consumer_store(struct consumer *consumer)
{
    renew_list(consumer);
    for (size_t i = 0; i < consumer->all_count; i++) {
        struct partition *partition = consumer->all[i];
        if (!is_storable(partition) || partition->offsets.stored == partition->handed)
            continue;
        list_offset(consumer, partition);
        partition->handed = partition->offsets.stored;
    }
    if (consumer->commit_list->cnt > 0)
        (void)rd_kafka_offsets_store(consumer->client, consumer->commit_list);
}

/* Sends what is finished and not known to be committed, and waits for the answer. */
static bool
commit_and_wait(struct consumer *consumer, bool only_revoking, uint64_t timeout_ms, struct err *err)
{
    renew_list(consumer);
    for (size_t i = 0; i < consumer->all_count; i++) {
        const struct partition *partition = consumer->all[i];
        if (is_storable(partition) && (partition->revoking || !only_revoking) &&
            partition->offsets.stored != partition->committed)
            list_offset(consumer, partition);
    }
    if (consumer->commit_list->cnt == 0)
        return true;
    rd_kafka_queue_t *answers = rd_kafka_queue_new(consumer->client);
    rd_kafka_resp_err_t code =
        rd_kafka_commit_queue(consumer->client, consumer->commit_list, answers, NULL, NULL);
    rd_kafka_event_t *event = NULL;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        event = rd_kafka_queue_poll(answers, (int)timeout_ms);
        code = event == NULL ? RD_KAFKA_RESP_ERR__TIMED_OUT : rd_kafka_event_error(event);
    }
    note_commit(consumer, code, event == NULL ? NULL : rd_kafka_event_topic_partition_list(event));
    if (event != NULL)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(answers);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err_set(err, ERR_RETRY, code, "cannot commit offsets: %s", rd_kafka_err2str(code));
    return true;
}

bool
consumer_commit_wait(struct consumer *consumer, uint64_t timeout_ms, struct err *err)
{
    return commit_and_wait(consumer, false, timeout_ms, err);
}

static void
begin_assignment(struct consumer *consumer, rd_kafka_topic_partition_list_t *list)
{
    /* Explicit offsets, so that the first record too can be checked against what was expected. */
    if (list->cnt > 0 && rd_kafka_committed(consumer->client, list, COMMITTED_TIMEOUT_MS) !=
                             RD_KAFKA_RESP_ERR_NO_ERROR)
        for (int i = 0; i < list->cnt; i++)
            list->elems[i].offset = RD_KAFKA_OFFSET_STORED;

    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *it = &list->elems[i];
        struct partition *partition = partition_at(consumer, it->topic, it->partition);
        if (partition == NULL)
            continue;
        if (it->err != RD_KAFKA_RESP_ERR_NO_ERROR || it->offset < 0)
            it->offset = RD_KAFKA_OFFSET_STORED;
        int64_t known = it->offset >= 0 ? it->offset : -1;
        set_missing(consumer, partition->route, false);
        partition->assigned = true;
        partition->revoking = false;
        partition->paused = false;
        partition->generation++;
        offsets_clear(&partition->offsets);
        partition->expected = known;
        partition->handed = known;
        partition->committed = known;
        partition->doubted = false;
        partition->commit_from = 0;
        partition->sought = false;
        partition->gaps = 0;
        partition->end = -1;
    }
}

static void
end_assignment(struct consumer *consumer, const rd_kafka_topic_partition_list_t *list, bool lost)
{
    uint64_t timeout_ms = consumer->session_timeout_ms / 3;
    if (timeout_ms > REVOKE_WAIT_MAX_MS)
        timeout_ms = REVOKE_WAIT_MAX_MS;
    for (int i = 0; i < list->cnt; i++) {
        struct partition *partition =
            partition_at(consumer, list->elems[i].topic, list->elems[i].partition);
        if (partition != NULL)
            partition->revoking = true;
    }
    /* At the end the owner has waited and committed already: its time is up. */
    if (!lost && list->cnt > 0 && !consumer->closing) {
        consumer->hooks.drain(consumer->hooks.context, timeout_ms);
        struct err err;
        if (!commit_and_wait(consumer, true, COMMIT_TIMEOUT_MS, &err))
            consumer->hooks.note(consumer->hooks.context, 4, err.text);
    }
    for (int i = 0; i < list->cnt; i++) {
        struct partition *partition =
            partition_at(consumer, list->elems[i].topic, list->elems[i].partition);
        if (partition == NULL || !partition->assigned)
            continue;
        uint64_t open = partition->offsets.open;
        partition->assigned = false;
        partition->revoking = false;
        partition->generation++;
        offsets_clear(&partition->offsets);
        consumer->hooks.revoked(consumer->hooks.context, partition, open);
    }
}

static void
pause_list(struct consumer *consumer, const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; i < list->cnt; i++) {
        size_t route = find_route(consumer, list->elems[i].topic);
        if (route < consumer->options->route_count && consumer->route_paused[route]) {
            consumer->route_paused[route] = false; /* so that the pause reaches the new ones */
            consumer_pause(consumer, route, true);
        }
    }
}

/* librdkafka keeps a pause beyond the assignment: a partition that came back would stand still,
 * while everybody takes it for running. */
static void
resume_list(struct consumer *consumer, const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *paused = rd_kafka_topic_partition_list_new(list->cnt);
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *it = &list->elems[i];
        struct partition *partition = partition_at(consumer, it->topic, it->partition);
        if (partition == NULL || !partition->paused)
            continue;
        partition->paused = false;
        rd_kafka_topic_partition_list_add(paused, it->topic, it->partition);
    }
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (paused->cnt > 0)
        code = rd_kafka_resume_partitions(consumer->client, paused);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        consumer->hooks.note(consumer->hooks.context, 4, rd_kafka_err2str(code));
    rd_kafka_topic_partition_list_destroy(paused);
}

static void
apply_rebalance(struct consumer *consumer, bool assign, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_t *client = consumer->client;
    const char *protocol = rd_kafka_rebalance_protocol(client);
    bool cooperative = protocol != NULL && strcmp(protocol, "COOPERATIVE") == 0;
    rd_kafka_error_t *error = NULL;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (!cooperative)
        code = rd_kafka_assign(client, assign ? list : NULL);
    else if (assign)
        error = rd_kafka_incremental_assign(client, list);
    else
        error = rd_kafka_incremental_unassign(client, list);
    if (error != NULL || code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        char text[PROBLEM_MAX];
        int size = snprintf(text, sizeof(text), "cannot take over an assignment: %s",
                            error != NULL ? rd_kafka_error_string(error) : rd_kafka_err2str(code));
        ASSERT(size > 0);
        set_problem(consumer, false, text);
        consumer->hooks.note(consumer->hooks.context, 3, text);
    }
    if (error != NULL)
        rd_kafka_error_destroy(error);
}

static void
on_rebalance(rd_kafka_t *client, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list,
             void *opaque)
{
    struct consumer *consumer = from_opaque(opaque);
    consumer->last_topic = NULL;
    consumer->rebalances += consumer->closing ? 0 : 1;
    bool assign = code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    bool lost = !assign && rd_kafka_assignment_lost(client);
    char text[128];
    int size = snprintf(text, sizeof(text), "%d partitions %s", list->cnt,
                        assign ? "assigned"
                        : lost ? "lost: the group went on without this sink"
                               : "revoked");
    ASSERT(size > 0);
    consumer->hooks.note(consumer->hooks.context, lost ? 4 : 6, text);
    if (assign) {
        begin_assignment(consumer, list);
        consumer->joined = true;
        consumer->problem[0] = '\0';
    } else {
        end_assignment(consumer, list, lost);
        resume_list(consumer, list);
    }
    apply_rebalance(consumer, assign, list);
    if (assign)
        pause_list(consumer, list);
}

static bool
is_topic_gone(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
           code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
           code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
}

static bool
is_named(const char *reason, const char *topic)
{
    size_t size = strlen(topic);
    return strncmp(reason, topic, size) == 0 && strchr(" :", reason[size]) != NULL;
}

/* librdkafka names the topic in its text only: "<topic> [<partition>]: <reason>". */
static void
doubt_topic(struct consumer *consumer, const char *reason)
{
    for (size_t i = 0; i < consumer->options->route_count; i++)
        if (is_named(reason, consumer->options->routes[i].topic))
            set_missing(consumer, i, true);
    for (size_t i = 0; i < consumer->all_count; i++) {
        struct partition *partition = consumer->all[i];
        if (partition->assigned && partition->expected > 0 &&
            is_named(reason, topic_of(consumer, partition)))
            partition->doubted = true;
    }
}

static void
on_error(rd_kafka_t *client, int code, const char *reason, void *opaque)
{
    (void)client;
    struct consumer *consumer = from_opaque(opaque);
    if (is_topic_gone((rd_kafka_resp_err_t)code)) {
        doubt_topic(consumer, reason);
        return;
    }
    const char *advice = kafka_advice((rd_kafka_resp_err_t)code);
    char text[PROBLEM_MAX];
    int size = snprintf(text, sizeof(text), "%s%s%s", reason, advice == NULL ? "" : "; ",
                        advice == NULL ? "" : advice);
    ASSERT(size >= 0);
    /* One warning for each time that they are away, however many connections fail. */
    bool known = consumer->problem[0] != '\0' && consumer->problem_is_broker;
    set_problem(consumer, true, text);
    consumer->hooks.note(consumer->hooks.context, known ? 7 : 4, text);
}

static void
on_log(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
    struct consumer *consumer = from_opaque(rd_kafka_opaque(client));
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
start_client(struct consumer *consumer, bool want_ends, struct err *err)
{
    rd_kafka_conf_t *conf;
    if (!kafka_conf_new(&conf, (const struct kafka_common_options *)&consumer->options->kafka,
                        "tailrace-sink", fixed_properties, FIXED_COUNT, err))
        return false;
    if (!set_sizes(conf, consumer->options, want_ends, err)) {
        rd_kafka_conf_destroy(conf);
        return false;
    }
    rd_kafka_conf_set_opaque(conf, consumer);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_offset_commit_cb(conf, on_offset_commit);
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
             const struct consumer_hooks *hooks, bool want_ends, struct err *err)
{
    ASSERT(hooks->drain != NULL);
    ASSERT(hooks->revoked != NULL);

    struct consumer *consumer = calloc(1, sizeof(*consumer));
    if (consumer == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot start the consumer: out of memory");
    consumer->magic = CONSUMER_MAGIC;
    consumer->options = options;
    consumer->hooks = *hooks;
    consumer->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    consumer->routes = calloc(options->route_count, sizeof(*consumer->routes));
    consumer->route_paused = calloc(options->route_count, sizeof(*consumer->route_paused));
    consumer->commit_list = rd_kafka_topic_partition_list_new(16);
    bool fine =
        consumer->event_fd >= 0 && consumer->routes != NULL && consumer->route_paused != NULL;
    if (!fine)
        err_put_set(err, ERR_STOP, ENOMEM,
                    "cannot start the consumer: out of memory or descriptors");
    if (!fine || !start_client(consumer, want_ends, err)) {
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
     * then waits for it until its session ends; unsubscribing first tells it. */
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

/* The partition of a record; topics of neighbours are mostly the same. */
static struct partition *
partition_of(struct consumer *consumer, const rd_kafka_message_t *message)
{
    if (message->rkt != consumer->last_topic) {
        size_t route = find_route(consumer, rd_kafka_topic_name(message->rkt));
        if (route == consumer->options->route_count)
            return NULL;
        consumer->last_topic = message->rkt;
        consumer->last_route = route;
    }
    const struct route_partitions *own = &consumer->routes[consumer->last_route];
    if (message->partition < 0 || (size_t)message->partition >= own->count)
        return NULL;
    return own->items[message->partition];
}

/* True when the partition will go on at `offset`; then what was seen behind it is thrown away. */
static bool
seek_to(struct consumer *consumer, struct partition *partition, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic_of(consumer, partition), partition->id)->offset =
        offset;
    rd_kafka_error_t *error = rd_kafka_seek_partitions(consumer->client, list, SEEK_TIMEOUT_MS);
    bool fine = error == NULL && list->elems[0].err == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (error != NULL)
        rd_kafka_error_destroy(error);
    rd_kafka_topic_partition_list_destroy(list);
    return fine;
}

/* A record behind a jump: false when it is not believed yet and must be dropped. */
static bool
believe_jump(struct consumer *consumer, struct partition *partition, int64_t offset)
{
    int64_t low = -1;
    int64_t high = -1;
    int64_t expected = partition->expected;
    rd_kafka_get_watermark_offsets(consumer->client, topic_of(consumer, partition), partition->id,
                                   &low, &high);
    bool retained = low > expected && low <= offset;
    if (!retained && !partition->sought && partition->gaps < GAPS_BELIEVED_AFTER) {
        /* When the seek fails, the next record jumps as well and asks again. */
        partition->sought = seek_to(consumer, partition, partition->expected);
        return false;
    }
    if (!retained && partition->sought) {
        /* It repeated. The cached watermark may be old: ask before calling it a harmless gap. */
        rd_kafka_query_watermark_offsets(consumer->client, topic_of(consumer, partition),
                                         partition->id, &low, &high, COMMITTED_TIMEOUT_MS);
        retained = low > expected;
    }
    int64_t lost = retained ? (low < offset ? low : offset) - expected : 0;
    if (lost > 0)
        consumer->hooks.lost(consumer->hooks.context, partition, (uint64_t)lost);
    if (offset - expected > lost) {
        partition->gaps++;
        consumer->hooks.gap(consumer->hooks.context, partition,
                            (uint64_t)(offset - expected - lost));
    }
    return true;
}

/* Deleting a topic deletes what its groups have committed. */
static bool
is_same_log(struct consumer *consumer, const struct partition *partition)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic_of(consumer, partition), partition->id);
    bool same = rd_kafka_committed(consumer->client, list, COMMITTED_TIMEOUT_MS) ==
                    RD_KAFKA_RESP_ERR_NO_ERROR &&
                list->elems[0].err == RD_KAFKA_RESP_ERR_NO_ERROR && list->elems[0].offset >= 0;
    rd_kafka_topic_partition_list_destroy(list);
    return same;
}

/* The first record after the topic was said to be gone. When it was made anew, its offsets begin
 * anew as well; reading all of a topic that is still the old one costs time and no record. */
static bool
believe_log(struct consumer *consumer, struct partition *partition)
{
    if (is_same_log(consumer, partition)) {
        partition->doubted = false;
        return true;
    }
    if (!seek_to(consumer, partition, RD_KAFKA_OFFSET_BEGINNING))
        return false;
    partition->doubted = false;
    partition->expected = -1;
    partition->handed = -1;
    partition->committed = -1;
    partition->commit_from = partition->offsets.next;
    consumer->hooks.note(consumer->hooks.context, 4,
                         "a topic was deleted and made anew: it is read from its start");
    return false;
}

/* An error that came instead of a record. */
static void
take_error(struct consumer *consumer, const rd_kafka_message_t *message)
{
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        struct partition *partition = partition_of(consumer, message);
        if (partition != NULL)
            partition->end = message->offset;
        return;
    }
    char text[PROBLEM_MAX];
    const char *topic = message->rkt == NULL ? NULL : rd_kafka_topic_name(message->rkt);
    size_t route = topic == NULL ? consumer->options->route_count : find_route(consumer, topic);
    if (route < consumer->options->route_count && is_topic_gone(message->err)) {
        doubt_topic(consumer, topic);
        return;
    }
    const char *advice = kafka_advice(message->err);
    int size = snprintf(text, sizeof(text), "%s%s%s%s%s", topic == NULL ? "" : topic,
                        topic == NULL ? "" : ": ", rd_kafka_message_errstr(message),
                        advice == NULL ? "" : "; ", advice == NULL ? "" : advice);
    ASSERT(size >= 0);
    set_problem(consumer, false, text);
    consumer->hooks.note(consumer->hooks.context, 4, text);
}

/* A record of a partition that is ours: checks its place in the log. */
static bool
take_record(struct consumer *consumer, rd_kafka_message_t *message, struct taken *out)
{
    struct partition *partition = partition_of(consumer, message);
    if (partition == NULL || !partition->assigned || partition->revoking)
        return false;
    if (partition->doubted && !believe_log(consumer, partition))
        return false;
    if (partition->expected >= 0 && message->offset > partition->expected &&
        !believe_jump(consumer, partition, message->offset))
        return false;
    if (!offsets_take(&partition->offsets, message->offset, &out->sequence)) {
        set_problem(consumer, false, "memory is short: records wait in Kafka");
        partition->sought = seek_to(consumer, partition, partition->expected);
        return false;
    }
    partition->sought = false;
    partition->expected = message->offset + 1;
    out->message = message;
    out->partition = partition;
    clear_broker_problem(consumer);
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
        const char *topic = topic_of(consumer, partition);
        rd_kafka_get_watermark_offsets(consumer->client, topic, partition->id, &low, &high);
        if (high <= partition->expected)
            continue;
        partition->woken = partition->expected;
        rd_kafka_query_watermark_offsets(consumer->client, topic, partition->id, &low, &high, 1);
        woken++;
    }
}

void
consumer_finish(struct partition *partition, uint32_t generation, uint64_t sequence)
{
    if (partition->generation == generation)
        offsets_finish(&partition->offsets, sequence);
}

void
consumer_pause(struct consumer *consumer, size_t route, bool paused)
{
    ASSERT(route < consumer->options->route_count);

    if (consumer->route_paused[route] == paused)
        return;
    consumer->route_paused[route] = paused;
    struct route_partitions *own = &consumer->routes[route];
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < own->count; i++) {
        struct partition *partition = own->items[i];
        if (partition == NULL || !partition->assigned || partition->paused == paused)
            continue;
        partition->paused = paused;
        rd_kafka_topic_partition_list_add(list, topic_of(consumer, partition), partition->id);
    }
    if (list->cnt > 0) {
        rd_kafka_resp_err_t code = paused ? rd_kafka_pause_partitions(consumer->client, list)
                                          : rd_kafka_resume_partitions(consumer->client, list);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            consumer->hooks.note(consumer->hooks.context, 4, rd_kafka_err2str(code));
    }
    rd_kafka_topic_partition_list_destroy(list);
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

const char *
consumer_problem(const struct consumer *consumer)
{
    if (consumer->problem[0] != '\0')
        return consumer->problem;
    if (consumer->missing[0] != '\0')
        return consumer->missing;
    return consumer->joined ? "" : "waiting for the group to assign partitions";
}

/* Metadata of one route's topic, to be destroyed by the caller. */
static bool
ask_topic(struct consumer *consumer, size_t route, int timeout_ms,
          const struct rd_kafka_metadata **metadata, struct err *err)
{
    const char *name = consumer->options->routes[route].topic;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(consumer->client, name, NULL);
    if (topic == NULL)
        return err_set(err, ERR_CONFIG, 0, "the topic name '%s' is not valid", name);
    rd_kafka_resp_err_t code = rd_kafka_metadata(consumer->client, 0, topic, metadata, timeout_ms);
    rd_kafka_topic_destroy(topic);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && (*metadata)->topic_cnt == 1 &&
        (*metadata)->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return true;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        if ((*metadata)->topic_cnt == 1)
            code = (*metadata)->topics[0].err;
        rd_kafka_metadata_destroy(*metadata);
    }
    const char *advice = kafka_advice(code);
    return err_set(err, ERR_RETRY, code, "cannot read topic '%s': %s%s%s", name,
                   rd_kafka_err2str(code), advice == NULL ? "" : "; ",
                   advice == NULL ? "" : advice);
}

/* The first missing topic that is there now; the group hears of it within its metadata's age. */
static void
look_for_missing(struct consumer *consumer)
{
    uint64_t now_ms = clock_monotonic_ms();
    if (now_ms - consumer->missing_looked_ms < MISSING_LOOK_MS)
        return;
    consumer->missing_looked_ms = now_ms;
    for (size_t i = 0; i < consumer->options->route_count; i++) {
        const struct rd_kafka_metadata *metadata;
        struct err err;
        if (!consumer->routes[i].missing)
            continue;
        if (!ask_topic(consumer, i, PROBE_TIMEOUT_MS, &metadata, &err)) {
            if (!is_topic_gone((rd_kafka_resp_err_t)err.code))
                return; /* the brokers do not answer: later */
            continue;
        }
        rd_kafka_metadata_destroy(metadata);
        set_missing(consumer, i, false);
    }
}

void
consumer_idle(struct consumer *consumer)
{
    if (consumer->problem[0] == '\0' && consumer->missing[0] != '\0')
        look_for_missing(consumer);
    if (consumer->problem[0] == '\0' || !consumer->problem_is_broker)
        return;
    const struct rd_kafka_metadata *metadata;
    if (rd_kafka_metadata(consumer->client, 0, NULL, &metadata, PROBE_TIMEOUT_MS) !=
        RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    rd_kafka_metadata_destroy(metadata);
    clear_broker_problem(consumer);
}

struct partition *const *
consumer_partitions(const struct consumer *consumer, size_t *count)
{
    *count = consumer->all_count;
    return consumer->all;
}

int64_t
consumer_high_watermark(const struct consumer *consumer, const struct partition *partition)
{
    int64_t low;
    int64_t high;
    if (rd_kafka_get_watermark_offsets(consumer->client, topic_of(consumer, partition),
                                       partition->id, &low, &high) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return -1;
    return high < 0 ? -1 : high;
}

static bool
mark_route_ends(struct consumer *consumer, size_t route, const struct rd_kafka_metadata *metadata,
                struct err *err)
{
    struct route_partitions *own = &consumer->routes[route];
    int count = metadata->topics[0].partition_cnt;
    own->ends = calloc(count > 0 ? (size_t)count : 1, sizeof(*own->ends));
    if (own->ends == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot keep watermarks: out of memory");
    own->end_count = (size_t)count;
    const char *topic = consumer->options->routes[route].topic;
    for (int32_t i = 0; i < count; i++) {
        int64_t low;
        int64_t high;
        rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
            consumer->client, topic, i, &low, &high, METADATA_TIMEOUT_MS);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            return err_set(err, ERR_RETRY, code, "cannot read the end of '%s' [%d]: %s", topic, i,
                           rd_kafka_err2str(code));
        own->ends[i] = high == low ? 0 : high;
    }
    return true;
}

bool
consumer_mark_ends(struct consumer *consumer, struct err *err)
{
    for (size_t i = 0; i < consumer->options->route_count; i++) {
        const struct rd_kafka_metadata *metadata;
        if (!ask_topic(consumer, i, METADATA_TIMEOUT_MS, &metadata, err))
            return false;
        bool fine = mark_route_ends(consumer, i, metadata, err);
        rd_kafka_metadata_destroy(metadata);
        if (!fine)
            return false;
    }
    return true;
}

/* Finished up to its marked end here. */
static bool
is_finished(const struct partition *partition, int64_t end)
{
    if (partition->offsets.open > 0)
        return false;
    if (partition->offsets.stored >= end || partition->committed >= end)
        return true;
    return partition->end >= end; /* the log ends in records that are not for us (transactions) */
}

/* Finished by another member of the group: its commit says so. */
static bool
is_committed(struct consumer *consumer, size_t route, int32_t id, int64_t end)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, consumer->options->routes[route].topic, id);
    bool fine = rd_kafka_committed(consumer->client, list, COMMITTED_TIMEOUT_MS) ==
                    RD_KAFKA_RESP_ERR_NO_ERROR &&
                list->elems[0].offset >= end;
    rd_kafka_topic_partition_list_destroy(list);
    return fine;
}

bool
consumer_reached_ends(struct consumer *consumer)
{
    if (!consumer->joined)
        return false;
    for (size_t route = 0; route < consumer->options->route_count; route++) {
        const struct route_partitions *own = &consumer->routes[route];
        for (size_t id = 0; id < own->end_count; id++) {
            if (own->ends[id] == 0)
                continue;
            struct partition *partition = id < own->count ? own->items[id] : NULL;
            bool ours = partition != NULL && partition->assigned;
            if (ours ? !is_finished(partition, own->ends[id])
                     : !is_committed(consumer, route, (int32_t)id, own->ends[id]))
                return false;
        }
    }
    return true;
}

size_t
consumer_check(struct consumer *consumer, struct buffer *report)
{
    char servers[1024];
    size_t size = sizeof(servers);
    if (rd_kafka_conf_get(rd_kafka_conf(consumer->client), "bootstrap.servers", servers, &size) !=
        RD_KAFKA_CONF_OK)
        servers[0] = '\0';
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code =
        rd_kafka_metadata(consumer->client, 0, NULL, &metadata, METADATA_TIMEOUT_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char *advice = kafka_advice(
            code == RD_KAFKA_RESP_ERR__TIMED_OUT ? RD_KAFKA_RESP_ERR__TRANSPORT : code);
        buffer_format(report, "kafka: cannot reach the brokers at %s: %s%s%s\n", servers,
                      rd_kafka_err2str(code), advice == NULL ? "" : "; ",
                      advice == NULL ? "" : advice);
        return 1;
    }
    buffer_format(report, "kafka: %d brokers:", metadata->broker_cnt);
    for (int i = 0; i < metadata->broker_cnt; i++)
        buffer_format(report, " %s:%d", metadata->brokers[i].host, metadata->brokers[i].port);
    buffer_text(report, "\n");
    rd_kafka_metadata_destroy(metadata);
    size_t problems = 0;
    for (size_t i = 0; i < consumer->options->route_count; i++) {
        const struct sink_route_options *route = &consumer->options->routes[i];
        char letters[256]; /* a topic's name has at most 249 letters */
        int written =
            snprintf(letters, sizeof(letters), "%s%s",
                     route->dead_letter_topic[0] != '\0' ? route->dead_letter_topic : route->topic,
                     route->dead_letter_topic[0] != '\0' ? "" : ".dlq");
        ASSERT(written > 0 && (size_t)written < sizeof(letters));
        problems += kafka_check_topic(consumer->client, route->topic, report) ? 0 : 1;
        problems += kafka_check_topic(consumer->client, letters, report) ? 0 : 1;
    }
    return problems;
}
