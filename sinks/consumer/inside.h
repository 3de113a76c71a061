/* SPDX-License-Identifier: Apache-2.0 */
/* inside.h: what the files of the consumer share; nobody else includes it. */
#ifndef SINKS_CONSUMER_INSIDE_H
#define SINKS_CONSUMER_INSIDE_H

#include "sinks/consumer.h"

#define PROBLEM_MAX 320
/* Each holds the loop, and a stop that comes meanwhile has to be over within 15 s. */
#define COMMITTED_TIMEOUT_MS 4000
#define METADATA_TIMEOUT_MS 4000
#define COMMIT_TIMEOUT_MS 4000
#define PROBE_TIMEOUT_MS 500 /* of what is asked while all goes well */

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
    const char *name; /* in the group, "" for none */
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
    bool forgetful; /* an assigned partition was not kept, memory was short: nobody takes it */
    bool stuck; /* the group was not left in time: the client cannot be destroyed in time either */
    char *cluster_id;
    char problem[PROBLEM_MAX];
    bool problem_is_broker;    /* a broker that answers ends it */
    char missing[PROBLEM_MAX]; /* sentence on the first topic that does not exist, "" for none */
    uint64_t missing_looked_ms;
    uint64_t ends_asked_ms;
};

struct consumer *consumer_from_opaque(void *opaque);

/* partitions.c */

/* Index of the topic's route; the number of routes when it has none. */
size_t consumer_find_route(const struct consumer *consumer, const char *topic);
/* The partition's object, made at its first appearance. NULL for a topic of no route or no
 * memory. */
struct partition *consumer_partition_at(struct consumer *consumer, const char *topic, int32_t id);
/* The partition of a record; topics of neighbours are mostly the same. NULL: not one of ours. */
struct partition *consumer_partition_of(struct consumer *consumer,
                                        const rd_kafka_message_t *message);
const char *consumer_topic(const struct consumer *consumer, const struct partition *partition);

/* topics.c */

/* `is_broker`: a broker that answers ends it. */
void consumer_set_problem(struct consumer *consumer, bool is_broker, const char *text);
void consumer_broker_answered(struct consumer *consumer);
void consumer_set_missing(struct consumer *consumer, size_t route, bool missing);
bool consumer_is_topic_gone(rd_kafka_resp_err_t code);
/* The topic that `reason` begins with was said to be gone: is it still the same log? */
void consumer_doubt_topic(struct consumer *consumer, const char *reason);
/* Metadata of one route's topic, to be destroyed by the caller. */
bool consumer_ask_topic(struct consumer *consumer, size_t route, int timeout_ms,
                        const struct rd_kafka_metadata **metadata, struct err *err) MUST_CHECK;

/* commit.c */

void consumer_on_commit(rd_kafka_t *client, rd_kafka_resp_err_t code,
                        rd_kafka_topic_partition_list_t *list, void *opaque);
/* Sends what is finished and not known to be committed, and waits for the answer. */
bool consumer_commit(struct consumer *consumer, bool only_revoking, uint64_t timeout_ms,
                     struct err *err) MUST_CHECK;

/* assignment.c */

void consumer_on_rebalance(rd_kafka_t *client, rd_kafka_resp_err_t code,
                           rd_kafka_topic_partition_list_t *list, void *opaque);

/* lag.c */

void consumer_look_at_ends(struct consumer *consumer);

/* jump.c */

/* Goes on at `expected`, now or when it can; what was seen behind it is thrown away. */
void consumer_go_back(struct consumer *consumer, struct partition *partition);
/* The log was read to its end, which is not a record's: what lies before it is not for us. */
void consumer_meet_end(struct consumer *consumer, struct partition *partition, int64_t offset);
/* The log goes on at an offset before the expected one, or at its start (-1). */
void consumer_rewind(struct consumer *consumer, struct partition *partition, int64_t offset);
/* A record behind a jump: false when it is not believed yet and must be dropped. */
bool consumer_believe_jump(struct consumer *consumer, struct partition *partition,
                           int64_t offset) MUST_CHECK;
/* The first record after the topic was said to be gone: false when the log is read anew. */
bool consumer_believe_log(struct consumer *consumer, struct partition *partition) MUST_CHECK;

#endif
