/* SPDX-License-Identifier: Apache-2.0 */
/* options.c: see options.h. */
#include "agent/options.h"

#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/encode.h"
#include "core/http.h"
#include "core/kafka.h"
#include "exporters/host/lane.h"

#define TOPIC_NAME_MAX 249 /* Kafka's own limit */
#define TOPIC_RULE "is no topic name: 1 to 249 letters, digits, '.', '_' and '-'"
#define INPUT_NAME_MAX 128 /* it is a metric label and a record of the state */

#define OPTION_STRUCT struct agent_top_options
static const struct option top_table[] = {AGENT_TOP_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct agent_kafka_options
static const struct option kafka_table[] = {KAFKA_COMMON_OPTIONS(OPTION_ENTRY)
                                                AGENT_KAFKA_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct agent_receipts_options
static const struct option receipts_table[] = {AGENT_RECEIPTS_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct agent_files_options
static const struct option files_table[] = {AGENT_FILES_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct host_options
static const struct option host_table[] = {HOST_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct agent_http_options
static const struct option http_table[] = {HTTP_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct agent_log_options
static const struct option log_table[] = {LOG_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT

#define TABLE(table) (table), sizeof(table) / sizeof((table)[0])

static const struct option_section sections[] = {
    {"", OPTION_SHAPE_TOP, TABLE(top_table), offsetof(struct agent_options, top), 0, 0, SIZE_MAX,
     "The agent itself."},
    {"kafka", OPTION_SHAPE_MAPPING, TABLE(kafka_table), offsetof(struct agent_options, kafka), 0, 0,
     SIZE_MAX, "Where the events go."},
    {"receipts", OPTION_SHAPE_MAPPING, TABLE(receipts_table),
     offsetof(struct agent_options, receipts), 0, 0, SIZE_MAX,
     "Receipts: proof of what was delivered, for tailrace-sink audit."},
    {"files", OPTION_SHAPE_SEQUENCE, TABLE(files_table), offsetof(struct agent_options, files),
     offsetof(struct agent_options, files_count), sizeof(struct agent_files_options),
     offsetof(struct agent_files_options, place), "Inputs: files to tail."},
    {"host", OPTION_SHAPE_MAPPING, TABLE(host_table), offsetof(struct agent_options, host), 0, 0,
     SIZE_MAX, "This host's metrics on the agent's own page."},
    {"http", OPTION_SHAPE_MAPPING, TABLE(http_table), offsetof(struct agent_options, http), 0, 0,
     SIZE_MAX, "The endpoint for metrics, health and status."},
    {"log", OPTION_SHAPE_MAPPING, TABLE(log_table), offsetof(struct agent_options, log), 0, 0,
     SIZE_MAX, "The agent's own log."},
};

const struct options_schema agent_options_schema = {"tailrace-agent", sections,
                                                    sizeof(sections) / sizeof(sections[0]),
                                                    sizeof(struct agent_options)};

static const char *const compression_names[] = {"none", "gzip", "snappy", "lz4", "zstd"};

const struct kafka_common_options *
agent_kafka_common(const struct agent_options *options)
{
    /* Both structs begin with the same expansion of one list. */
    return (const struct kafka_common_options *)(const void *)&options->kafka;
}

const char *
agent_compression_name(const struct agent_options *options)
{
    ASSERT(options->kafka.compression >= 0);
    ASSERT((size_t)options->kafka.compression <
           sizeof(compression_names) / sizeof(compression_names[0]));
    return compression_names[options->kafka.compression];
}

static bool
topic_is_valid(const char *topic)
{
    size_t size = strlen(topic);
    if (size == 0 || size > TOPIC_NAME_MAX || strcmp(topic, ".") == 0 || strcmp(topic, "..") == 0)
        return false;
    for (size_t i = 0; i < size; i++)
        if (!isalnum((unsigned char)topic[i]) && strchr("._-", topic[i]) == NULL)
            return false;
    return true;
}

static bool
check_topic(const struct agent_files_options *input, struct err *err)
{
    if (input->topic[0] == '\0' || topic_is_valid(input->topic))
        return true;
    return err_set(err, ERR_CONFIG, 0, "%s:%u: '%.260s' " TOPIC_RULE, input->place.file,
                   input->place.line, input->topic);
}

/* Names that we write ourselves, or that a parser or the log table owns. */
static bool
field_is_ours(const char *key)
{
    return strcmp(key, "@timestamp") == 0 || strcmp(key, "message") == 0 ||
           strcmp(key, "host.name") == 0 || strcmp(key, "host") == 0 || strcmp(key, "log") == 0 ||
           strncmp(key, "log.", 4) == 0;
}

static bool
check_fields(const struct agent_files_options *input, struct err *err)
{
    size_t size = 0;
    for (size_t i = 0; i < input->fields.count; i++) {
        const struct option_pair *pair = &input->fields.items[i];
        if (pair->key[0] == '\0')
            return err_set(err, ERR_CONFIG, 0, "%s:%u: input '%s' has a field without a name",
                           input->place.file, input->place.line, input->name);
        if (field_is_ours(pair->key))
            return err_set(
                err, ERR_CONFIG, 0,
                "%s:%u: input '%s' sets the field '%.100s', which the agent writes itself",
                input->place.file, input->place.line, input->name, pair->key);
        for (size_t k = 0; k < i; k++)
            if (strcmp(input->fields.items[k].key, pair->key) == 0)
                return err_set(err, ERR_CONFIG, 0,
                               "%s:%u: input '%s' sets the field '%.100s' twice", input->place.file,
                               input->place.line, input->name, pair->key);
        size += (strlen(pair->key) + strlen(pair->value)) * ENCODE_GROWTH_MAX + 6;
    }
    if (size > FIELDS_SIZE_MAX)
        return err_set(err, ERR_CONFIG, 0,
                       "%s:%u: the fields of input '%s' are too long: they are in every event",
                       input->place.file, input->place.line, input->name);
    return true;
}

static bool
check_paths(const struct agent_files_options *input, struct err *err)
{
    if (input->paths.count == 0)
        return err_set(err, ERR_CONFIG, 0, "%s:%u: input '%s' has no paths", input->place.file,
                       input->place.line, input->name);
    for (size_t i = 0; i < input->paths.count; i++) {
        const char *path = input->paths.items[i];
        if (path[0] != '/')
            return err_set(
                err, ERR_CONFIG, 0,
                "%s:%u: the path '%.200s' of input '%s' is not absolute; begin it with /",
                input->place.file, input->place.line, path, input->name);
        size_t size = strlen(path);
        if (path[size - 1] == '/' || size >= 4096)
            return err_set(
                err, ERR_CONFIG, 0,
                "%s:%u: the path '%.200s' of input '%s' names a folder; add /* or /**/*.log",
                input->place.file, input->place.line, path, input->name);
    }
    for (size_t i = 0; i < input->exclude.count; i++)
        if (input->exclude.items[i][0] == '\0')
            return err_set(err, ERR_CONFIG, 0, "%s:%u: input '%s' has an empty exclude",
                           input->place.file, input->place.line, input->name);
    return true;
}

/* The texts begin with an option's name, which finds its line. */
static bool
check_sections(const struct agent_options *options, struct err *err)
{
    struct kafka_settings settings;
    if (options->top.state_dir[0] != '/')
        return err_set(err, ERR_CONFIG, 0, "state_dir '%.200s' is not absolute; begin it with /",
                       options->top.state_dir);
    if (!topic_is_valid(options->kafka.topic))
        return err_set(err, ERR_CONFIG, 0, "kafka.topic '%.260s' " TOPIC_RULE,
                       options->kafka.topic);
    const char *receipts = options->receipts.topic;
    if (receipts[0] != '\0' && !topic_is_valid(receipts))
        return err_set(err, ERR_CONFIG, 0, "receipts.topic '%.260s' " TOPIC_RULE, receipts);
    if (options->files_count == 0)
        return err_set(err, ERR_CONFIG, 0,
                       "files has no entry: there are no inputs; add one, such as "
                       "- {name: system, paths: [/var/log/*.log]}");
    return kafka_settings_init(&settings, agent_kafka_common(options), err) &&
           http_check_listen(options->http.listen, err) && host_lane_check(&options->host, err);
}

bool
agent_options_check(const struct options *loaded, struct err *err)
{
    const struct agent_options *options = options_root(loaded);
    if (!check_sections(options, err))
        return options_locate(loaded, err);
    for (size_t i = 0; i < options->files_count; i++) {
        const struct agent_files_options *input = &options->files[i];
        if (input->name[0] == '\0' || strlen(input->name) > INPUT_NAME_MAX)
            return err_set(err, ERR_CONFIG, 0, "%s:%u: the name of an input has 1 to %d bytes",
                           input->place.file, input->place.line, INPUT_NAME_MAX);
        for (size_t k = 0; k < i; k++)
            if (strcmp(options->files[k].name, input->name) == 0)
                return err_set(err, ERR_CONFIG, 0,
                               "%s:%u: the input name '%s' is taken by %s:%u already",
                               input->place.file, input->place.line, input->name,
                               options->files[k].place.file, options->files[k].place.line);
        if (!check_paths(input, err) || !check_fields(input, err) || !check_topic(input, err))
            return false;
        if (input->part_size + 65536 + 262144 > options->top.memory / 4)
            return err_set(
                err, ERR_CONFIG, 0,
                "%s:%u: part_size of input '%s' is above a quarter of memory; raise memory",
                input->place.file, input->place.line, input->name);
    }
    return true;
}

bool
agent_files_equal(const struct agent_files_options *a, const struct agent_files_options *b)
{
    return option_texts_equal(&a->paths, &b->paths) &&
           option_texts_equal(&a->exclude, &b->exclude) && strcmp(a->topic, b->topic) == 0 &&
           a->parser == b->parser && option_maps_equal(&a->fields, &b->fields) &&
           a->start_at == b->start_at && a->ignore_older == b->ignore_older &&
           a->rate_limit == b->rate_limit && a->part_size == b->part_size;
}
