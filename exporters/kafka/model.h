/* SPDX-License-Identifier: Apache-2.0 */
/* model.h: what is known of a cluster, kept from round to round: topics with their partitions,
 * groups with their places in them. The stages of a round (kafka.c) fill it in their order; what
 * a round could not learn is marked unknown, never 0. Pointers to topics stay as long as the topic
 * is there; whoever keeps one drops it in model_forget(). One thread at a time, but for the offsets
 * of different partitions (ends.c). */
#ifndef EXPORTERS_KAFKA_MODEL_H
#define EXPORTERS_KAFKA_MODEL_H

#include "core/hash.h"
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "exporters/kafka/headway.h"
#include "exporters/kafka/history.h"

#define UNKNOWN_OFFSET (-1)

struct kafka_partition {
    bool exists;
    int32_t leader; /* -1: it has none, the partition is offline */
    int32_t preferred;
    int replicas, in_sync;
    int64_t latest, earliest; /* of this round, or UNKNOWN_OFFSET */
    int64_t objective; /* the first record that is younger than the objective, or UNKNOWN_OFFSET */
    struct history history; /* of `latest` */
};

struct kafka_topic {
    char *name;      /* owned */
    uint64_t number; /* never given twice: topics are sorted by it */
    uint64_t round;  /* in which it was seen last */
    struct kafka_partition *partitions;
    size_t count;
    int64_t min_in_sync, retention_ms, retention_bytes, message_bytes_max;
    bool settings_known, unclean_election;
    char cleanup[32];           /* cleanup.policy */
    double produced_per_second; /* -1: not known yet */
    UT_hash_handle hh;
};

/* A committed offset. */
struct kafka_place {
    struct kafka_topic *topic;
    int32_t partition;
    int64_t committed;
    int64_t lag; /* below 0: not known in this round */
    struct headway headway;
};

/* All places of a group in one topic. */
struct kafka_sum {
    const struct kafka_topic *topic;
    int64_t committed;
    int64_t lag;            /* below 0: not known of all of them */
    int64_t over_objective; /* the same */
    double per_second;      /* the same */
};

struct kafka_group {
    char *name; /* owned */
    uint64_t round;
    bool described; /* state and members are of this round */
    bool committed; /* so are the places */
    bool hidden;    /* it is there, but the library cannot describe groups of its kind */
    char state[32];
    int32_t coordinator;
    int members;
    struct kafka_place *places; /* sorted by topic and partition */
    size_t count;
    struct kafka_sum *sums; /* of the places, in their order */
    size_t sum_count;
    enum verdict verdict;
    struct kafka_assigned *assigned; /* sorted by topic */
    size_t assigned_count;
    UT_hash_handle hh;
};

/* How many partitions of a topic the members of a group have. */
struct kafka_assigned {
    struct kafka_topic *topic;
    size_t partitions;
};

struct kafka_broker {
    int32_t id;
    char address[300];
};

struct kafka_model {
    uint64_t round;
    uint64_t topics_ever;
    int64_t now_ms; /* wall time of the round */
    char *cluster_id;
    int32_t controller;
    struct kafka_broker *brokers;
    size_t broker_count;
    struct kafka_topic *topics; /* uthash, by name */
    struct kafka_group *groups; /* uthash, by name */
    bool groups_whole;          /* every broker told its groups in this round */
};

void model_free(struct kafka_model *model);

/* Takes over what the brokers said; topics that are not `wanted` are passed over. */
bool model_take_metadata(struct kafka_model *model, const struct rd_kafka_metadata *found,
                         bool (*wanted)(const void *context, const char *topic),
                         const void *context, struct err *err) MUST_CHECK;
/* Topics and, when all brokers told theirs, groups that are gone. After the groups were listed. */
void model_forget(struct kafka_model *model);

struct kafka_topic *model_topic(const struct kafka_model *model, const char *name); /* or NULL */
/* NULL: there is none, or it was not asked for. */
struct kafka_partition *model_partition(const struct kafka_topic *topic, int32_t partition);
/* The group of that name, made when there is none; NULL when memory is short. */
struct kafka_group *model_group(struct kafka_model *model, const char *name);

#endif
