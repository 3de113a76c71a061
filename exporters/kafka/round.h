/* SPDX-License-Identifier: Apache-2.0 */
/* round.h: what the stages of a round share. Each stage is one file, fills a part of the model, and
 * gives up at the round's deadline with what it has. */
#ifndef EXPORTERS_KAFKA_ROUND_H
#define EXPORTERS_KAFKA_ROUND_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "exporters/kafka/model.h"
#include "exporters/remote.h"

struct exporter_kafka_options;

struct kafka_round {
    rd_kafka_t *rk;
    const struct exporter_kafka_options *options;
    struct kafka_model *model;
    const struct remote_call *call;
    bool (*group_wanted)(const void *context, const char *group);
    bool (*topic_wanted)(const void *context, const char *topic);
    const void *context;
    uint64_t now_ms;    /* monotonic: its begin */
    uint64_t passed_ms; /* since the round before; 0: it is the first */
    size_t clamped;     /* offsets beyond the end of their log */
};

/* Milliseconds that one request may take: half of what is left of the round, so that the stages
 * behind it have their turn. At least 1; 0 when the round is over. */
int round_left_ms(const struct kafka_round *round);

#endif
