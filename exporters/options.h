/* SPDX-License-Identifier: Apache-2.0 */
/* options.h: the exporter's configuration, loaded once. */
#ifndef EXPORTERS_OPTIONS_H
#define EXPORTERS_OPTIONS_H

#include "core/kafka.h"
#include "core/options.h"
#include "exporters/host/host.h"
#include "exporters/options.def"

struct exporter_kafka_options {
    EXPORTER_KAFKA_OPTIONS(OPTION_MEMBER)
};
struct exporter_probe_options {
    struct option_place place;
    EXPORTER_PROBE_OPTIONS(OPTION_MEMBER)
};
struct exporter_page_options {
    EXPORTER_PAGE_OPTIONS(OPTION_MEMBER)
};
struct exporter_http_options {
    HTTP_OPTIONS(OPTION_MEMBER)
};
struct exporter_log_options {
    LOG_OPTIONS(OPTION_MEMBER)
};

struct exporter_options {
    struct host_options host;
    bool has_kafka;
    struct exporter_kafka_options kafka;
    struct exporter_probe_options *probes;
    size_t probe_count;
    struct exporter_page_options page;
    struct exporter_http_options http;
    struct exporter_log_options log;
};

extern const struct options_schema exporter_options_schema;

/* What the table cannot say. */
bool exporter_options_check(const struct options *loaded, struct err *err) MUST_CHECK;

#endif
