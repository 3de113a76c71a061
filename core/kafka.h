/* SPDX-License-Identifier: Apache-2.0 */
/* kafka.h: one place for what our programs have in common as Kafka clients: the settings, their refusal,
 * the traps of the library's version. Foreign errors become `struct err` here. */
#ifndef CORE_KAFKA_H
#define CORE_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"
#include "core/options.h"

struct buffer;

#include "core/common_options.def"

/* The first members of a program's kafka section, in this order: struct { KAFKA_COMMON_OPTIONS(…) … }. */
struct kafka_common_options {
    KAFKA_COMMON_OPTIONS(OPTION_MEMBER)
};

/* A property that the program sets itself. `why` is for the message when a configuration names it:
 * "it carries the promise that …" or "use kafka.compression". `value` NULL: refused, but not set here. */
struct kafka_property {
    const char *name;
    const char *value;
    const char *why;
};

/* Settings in force after the environment had its say, and where they came from, for the log. */
struct kafka_settings {
    const char *bootstrap_servers; /* borrowed from options or environment */
    const char *security_protocol;
    bool servers_from_environment;
    bool protocol_from_environment;
};
bool kafka_settings_init(struct kafka_settings *out, const struct kafka_common_options *options,
                         struct err *err) MUST_CHECK;

/* Each entry must be host:port, once; the text names the bad entry ("'b-2:9094:9094' has two ports").
 * ERR_CONFIG. */
bool kafka_check_servers(const char *servers, struct err *err) MUST_CHECK;

/* A configuration for rd_kafka_new(): settings, then `fixed`, then the user's properties, each refused
 * when `fixed` names it (or an alias of it). Logs go to the client's main queue: drain it with
 * kafka_forward_logs' callback set by rd_kafka_conf_set_log_cb. The caller owns `out`. */
bool kafka_conf_new(rd_kafka_conf_t **out, const struct kafka_common_options *options,
                    const char *client_id, const struct kafka_property *fixed, size_t fixed_count,
                    struct err *err) MUST_CHECK;

/* Appends a line per known trap of the librdkafka that is linked, for `check` and the start-up log. */
void kafka_version_traps(struct buffer *out);

/* "broker 127.0.0.1:9092: Connection refused" and the like out of librdkafka's own wording is kept as it
 * is; this only adds our advice for errors people meet: wrong port, TLS on a plaintext port, unknown
 * topic. NULL when there is none. */
const char *kafka_advice(rd_kafka_resp_err_t code);

#endif
