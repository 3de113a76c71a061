/* SPDX-License-Identifier: Apache-2.0 */
/* kafka.h: one place for what our programs have in common as Kafka clients: the settings, their
 * refusal, the traps of the library's version. Foreign errors become `struct err` here. No thread
 * of its own. */
#ifndef CORE_KAFKA_H
#define CORE_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"
#include "core/options.h"

struct buffer;

#include "core/common_options.def"

/* The first members of a program's kafka section, in this order: struct { KAFKA_COMMON_OPTIONS(…) …
 * }. */
struct kafka_common_options {
    KAFKA_COMMON_OPTIONS(OPTION_MEMBER)
};

/* A property that the program sets itself; a configuration that names it (or an alias) is refused
 * with `why`: "it carries the promise that nothing is lost", "use kafka.compression". `value` NULL:
 * refused, but not set. */
struct kafka_property {
    const char *name;
    const char *value;
    const char *why;
};

/* Settings in force after the environment had its say, and where they came from, for the log. */
struct kafka_settings {
    const char *bootstrap_servers; /* borrowed from options or environment */
    const char *security_protocol; /* in librdkafka's spelling: "plaintext", "ssl", … */
    bool servers_from_environment;
    bool protocol_from_environment;
};

/* Checks and merges. ERR_CONFIG, with the variable's name when the environment is to blame. */
bool kafka_settings_init(struct kafka_settings *out, const struct kafka_common_options *options,
                         struct err *err) MUST_CHECK;

/* Each entry must be [protocol://]host:port, once; the text names the bad entry ("'b-2:9094:9094'
 * has two ports"). ERR_CONFIG. */
bool kafka_check_servers(const char *servers, struct err *err) MUST_CHECK;

/* A configuration for rd_kafka_new(): settings, then `fixed`, then the user's properties. Log lines
 * of the library go to the client's main queue (log.queue): give rd_kafka_set_log_queue(rk, NULL)
 * and a log_cb. `client_id` is used when the options name none. The caller owns `out`. */
bool kafka_conf_new(rd_kafka_conf_t **out, const struct kafka_common_options *options,
                    const char *client_id, const struct kafka_property *fixed, size_t fixed_count,
                    struct err *err) MUST_CHECK;

enum kafka_role { KAFKA_PRODUCER = 1, KAFKA_CONSUMER = 2 };

/* The known traps of a librdkafka version (rd_kafka_version()), for `check` and the start-up log,
 * one sentence a call: `*at` is 0 at first. NULL: no more. */
const char *kafka_version_trap(int version, enum kafka_role role, size_t *at);

/* Our advice for errors people meet, NULL when there is none: "is the topic spelt right? …". */
const char *kafka_advice(rd_kafka_resp_err_t code);

/* For `check`: appends partitions, replicas, min.insync.replicas and what is unwise about them, or
 * about unclean leader election.
 * False when the topic cannot be used. Waits for the brokers, some seconds at most. */
bool kafka_check_topic(rd_kafka_t *rk, const char *topic, struct buffer *report) MUST_CHECK;

#endif
