/* SPDX-License-Identifier: Apache-2.0 */
/* options.h: the sink's configuration, loaded once. */
#ifndef SINKS_OPTIONS_H
#define SINKS_OPTIONS_H

#include "core/kafka.h"
#include "core/options.h"
#include "sinks/options.def"

struct sink_kafka_options {
    KAFKA_COMMON_OPTIONS(OPTION_MEMBER)
    SINK_KAFKA_OPTIONS(OPTION_MEMBER)
};
struct sink_route_options {
    struct option_place place;
    SINK_ROUTE_OPTIONS(OPTION_MEMBER)
};
enum sink_assignment { ASSIGNMENT_COOPERATIVE, ASSIGNMENT_EAGER };
enum route_rotate { ROTATE_NONE, ROTATE_DAILY };
struct sink_receipts_options {
    SINK_RECEIPTS_OPTIONS(OPTION_MEMBER)
};
struct sink_bulk_options {
    SINK_BULK_OPTIONS(OPTION_MEMBER)
};
struct sink_elasticsearch_options {
    SINK_ELASTICSEARCH_OPTIONS(OPTION_MEMBER)
};
struct sink_sqlite_options {
    SINK_SQLITE_OPTIONS(OPTION_MEMBER)
};
struct sink_http_options {
    HTTP_OPTIONS(OPTION_MEMBER)
};
struct sink_log_options {
    LOG_OPTIONS(OPTION_MEMBER)
};

struct sink_options {
    struct sink_kafka_options kafka;
    struct sink_route_options *routes;
    size_t route_count;
    struct sink_receipts_options receipts;
    struct sink_bulk_options bulk;
    struct sink_elasticsearch_options elasticsearch;
    bool elasticsearch_given;
    struct sink_sqlite_options sqlite;
    bool sqlite_given;
    struct sink_http_options http;
    struct sink_log_options log;
};

extern const struct options_schema sink_options_schema;

/* What the table cannot say: one output, at least one route, no topic twice, names that are
 * valid. */
bool sink_options_check(const struct options *loaded, struct err *err) MUST_CHECK;

#endif
