/* SPDX-License-Identifier: Apache-2.0 */
/* producer.h: one Kafka producer, made for payloads that stay where they are.
 * Events of the library arrive through a descriptor on the owner's loop; topics' partitions and
 * leaders are asked for by a helper thread, since that call blocks. A producer that had a fatal
 * error is drained, freed in the background and replaced by its owner. One owner thread. */
#ifndef AGENT_PRODUCER_H
#define AGENT_PRODUCER_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/options.h"
#include "core/err.h"
#include "core/log.h"

struct producer;

struct producer_limits {
    size_t memory;      /* bytes of payload that can be under way */
    size_t records;     /* records that can be under way */
    size_t message_max; /* bytes of the largest record */
};

/* What the last look at the cluster said about a topic. */
struct producer_topic {
    rd_kafka_resp_err_t error; /* NO_ERROR: the rest is valid */
    int32_t partition_count;   /* 0: not known yet */
    int32_t *leaders;          /* owned; broker id per partition, -1: none */
    int32_t lacking;           /* partitions with replicas that are not in sync */
};

struct producer_events {
    /* One record is done for, well or badly; called once per record that was taken. */
    void (*answered)(void *context, const rd_kafka_message_t *message);
    /* What the library has to say; `level` is ours. */
    void (*said)(void *context, enum log_level level, const char *text);
    /* No further record will be taken; drain, then replace. */
    void (*fatal)(void *context, rd_kafka_resp_err_t error, const char *text);
    /* The cluster could be reached (`reason` NULL) or not. */
    void (*reached)(void *context, const char *reason);
    void (*topic)(void *context, size_t topic_index, const struct producer_topic *found);
    void (*throttled)(void *context, int delay_ms); /* by a quota of the brokers */
    void (*traffic)(void *context, uint64_t wire_bytes, uint64_t message_bytes);
    void *context;
};

/* Would the library take these options? ERR_CONFIG, naming the property. */
bool producer_check(const struct agent_options *options, struct err *err) MUST_CHECK;

bool producer_new(struct producer **out, const struct agent_options *options,
                  const struct producer_limits *limits, const struct producer_events *events,
                  struct err *err) MUST_CHECK;
/* Waits for the library's threads; what was not sent is given up without a report. */
void producer_free(struct producer *producer); /* NULL is fine */
/* The same on a thread of its own; `done_fd` (an eventfd) is written when it is over. */
void producer_free_later(struct producer *producer, int done_fd);

/* Topics are numbered from 0 in the order they are added. */
bool producer_add_topic(struct producer *producer, const char *name, struct err *err) MUST_CHECK;
void producer_look(struct producer *producer); /* ask for the topics now rather than later */

int producer_fd(const struct producer *producer);
void producer_serve(struct producer *producer); /* calls the events back */

/* Hands records over. Those not taken have `err` set. The bytes stay the caller's until the
 * answer. */
void producer_send(struct producer *producer, size_t topic_index, rd_kafka_message_t *messages,
                   size_t count);
/* Gives back what is not sent yet, and with `all` also what is on its way, as failed answers. A
 * request that is sent in part ends its connection (librdkafka 2.0.2), so that nothing looks at the
 * bytes any more. */
void producer_purge(struct producer *producer, bool all);
size_t producer_waiting(const struct producer *producer); /* records not answered */

#endif
