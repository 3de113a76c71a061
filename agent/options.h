/* SPDX-License-Identifier: Apache-2.0 */
/* options.h: the agent's configuration, loaded once per start or reload. */
#ifndef AGENT_OPTIONS_H
#define AGENT_OPTIONS_H

#include "agent/options.def"
#include "core/kafka.h"
#include "core/options.h"
#include "exporters/host/host.h"

enum { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_SNAPPY, COMPRESSION_LZ4, COMPRESSION_ZSTD };
enum { PARTITIONING_FILE, PARTITIONING_SPREAD };
enum { START_AT_BEGINNING, START_AT_END };

/* Bytes that the configured fields of one input may have as JSON: they are in every event. */
#define FIELDS_SIZE_MAX 16384

struct agent_top_options {
    AGENT_TOP_OPTIONS(OPTION_MEMBER)
};
struct agent_kafka_options {
    KAFKA_COMMON_OPTIONS(OPTION_MEMBER)
    AGENT_KAFKA_OPTIONS(OPTION_MEMBER)
};
struct agent_receipts_options {
    AGENT_RECEIPTS_OPTIONS(OPTION_MEMBER)
};
struct agent_files_options {
    struct option_place place;
    AGENT_FILES_OPTIONS(OPTION_MEMBER)
};
struct agent_http_options {
    HTTP_OPTIONS(OPTION_MEMBER)
};
struct agent_log_options {
    LOG_OPTIONS(OPTION_MEMBER)
};

struct agent_options {
    struct agent_top_options top;
    struct agent_kafka_options kafka;
    struct agent_receipts_options receipts;
    struct agent_files_options *files;
    size_t files_count;
    struct host_options host;
    struct agent_http_options http;
    struct agent_log_options log;
};

extern const struct options_schema agent_options_schema;

/* What the table cannot say: at least one input, no name twice, absolute paths, valid topics,
 * fields that do not overwrite ours. ERR_CONFIG with file and line. */
bool agent_options_check(const struct options *loaded, struct err *err) MUST_CHECK;

/* The first members of the kafka section, as core/kafka.h wants them. */
const struct kafka_common_options *agent_kafka_common(const struct agent_options *options);

/* librdkafka's word for the compression. */
const char *agent_compression_name(const struct agent_options *options);

/* True when both would read the same files in the same way. */
bool agent_files_equal(const struct agent_files_options *a, const struct agent_files_options *b);

#endif
