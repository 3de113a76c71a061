/* SPDX-License-Identifier: Apache-2.0 */
/* brokers.h: how brokers answer this client: round trips, throttling and errors, as librdkafka's
 * statistics tell them (STATISTICS.md, object `brokers`). */
#ifndef EXPORTERS_KAFKA_BROKERS_H
#define EXPORTERS_KAFKA_BROKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct page;

struct broker_stats {
    int32_t id;
    double rtt_p50_s, rtt_p99_s; /* of the last statistics interval; -1: no request was made */
    double throttle_s;           /* average */
    uint64_t errors, timeouts;   /* requests that failed since the start */
    char state[24];              /* "UP", "CONNECT", … */
};

struct brokers {
    struct broker_stats *items; /* owned */
    size_t count;
};

/* Takes one statistics document; what is no such document changes nothing, and is false. */
bool brokers_read(struct brokers *brokers, const char *json, size_t size);
void brokers_done(struct brokers *brokers);
void brokers_put(const struct brokers *brokers, struct page *page);

#endif
