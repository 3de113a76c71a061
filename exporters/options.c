/* SPDX-License-Identifier: Apache-2.0 */
/* options.c: see options.h. */
/* The exporter is there to show a host; in the agent it must be asked for. */
#define HOST_ENABLED_DEFAULT "true"
#include "exporters/options.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/http.h"
#include "exporters/host/lane.h"
#include "exporters/kafka/kafka.h"
#include "exporters/probe/probe.h"

#define OPTION_STRUCT struct host_options
static const struct option host_table[] = {HOST_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct exporter_kafka_options
static const struct option kafka_table[] = {EXPORTER_KAFKA_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct exporter_probe_options
static const struct option probe_table[] = {EXPORTER_PROBE_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct exporter_page_options
static const struct option page_table[] = {EXPORTER_PAGE_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct exporter_http_options
static const struct option http_table[] = {HTTP_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct exporter_log_options
static const struct option log_table[] = {LOG_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT

#define TABLE(table) (table), sizeof(table) / sizeof((table)[0])

static const struct option_section sections[] = {
    {"host", OPTION_SHAPE_MAPPING, TABLE(host_table), offsetof(struct exporter_options, host), 0, 0,
     SIZE_MAX, "This host, read at each scrape."},
    {"kafka", OPTION_SHAPE_OPTIONAL, TABLE(kafka_table), offsetof(struct exporter_options, kafka),
     offsetof(struct exporter_options, has_kafka), 0, SIZE_MAX,
     "A Kafka cluster: topics, consumer groups and their lag. Named at all, it is read."},
    {"probes", OPTION_SHAPE_SEQUENCE, TABLE(probe_table), offsetof(struct exporter_options, probes),
     offsetof(struct exporter_options, probe_count), sizeof(struct exporter_probe_options),
     offsetof(struct exporter_probe_options, place),
     "Whether something answers; each names one of tcp, http and tls."},
    {"page", OPTION_SHAPE_MAPPING, TABLE(page_table), offsetof(struct exporter_options, page), 0, 0,
     SIZE_MAX, "The page of metrics."},
    {"http", OPTION_SHAPE_MAPPING, TABLE(http_table), offsetof(struct exporter_options, http), 0, 0,
     SIZE_MAX, "The endpoint for metrics, health and status."},
    {"log", OPTION_SHAPE_MAPPING, TABLE(log_table), offsetof(struct exporter_options, log), 0, 0,
     SIZE_MAX, "The exporter's own log."},
};

const struct options_schema exporter_options_schema = {"tailrace-exporter", sections,
                                                       sizeof(sections) / sizeof(sections[0]),
                                                       sizeof(struct exporter_options)};

bool
exporter_options_check(const struct options *loaded, struct err *err)
{
    const struct exporter_options *options = options_root(loaded);
    if (!host_lane_check(&options->host, err) || !http_check_listen(options->http.listen, err) ||
        !kafka_check(options, err))
        return options_locate(loaded, err);
    return kafka_check_properties(options, err) && probe_check(options, err);
}
