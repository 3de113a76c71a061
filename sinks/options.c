/* SPDX-License-Identifier: Apache-2.0 */
/* options.c: see options.h. */
#include "sinks/options.h"

#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/assert.h"
#include "core/http.h"
#include "core/option_value.h"

#define TOPIC_NAME_MAX 249 /* Kafka's own limit */
#define PORT_MAX 65535U
#define INDEX_NAME_MAX 255 /* Elasticsearch's own limit, in bytes */
#define DAY_SUFFIX_SIZE 11 /* "-2026.11.21" */
#define DAY_MS UINT64_C(86400000)

#define OPTION_STRUCT struct sink_kafka_options
static const struct option kafka_table[] = {KAFKA_COMMON_OPTIONS(OPTION_ENTRY)
                                                SINK_KAFKA_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct sink_route_options
static const struct option route_table[] = {SINK_ROUTE_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct sink_receipts_options
static const struct option receipts_table[] = {SINK_RECEIPTS_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct sink_bulk_options
static const struct option bulk_table[] = {SINK_BULK_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct sink_elasticsearch_options
static const struct option elasticsearch_table[] = {SINK_ELASTICSEARCH_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct sink_sqlite_options
static const struct option sqlite_table[] = {SINK_SQLITE_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct sink_http_options
static const struct option http_table[] = {HTTP_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct sink_log_options
static const struct option log_table[] = {LOG_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT

#define TABLE(table) (table), sizeof(table) / sizeof((table)[0])

static const struct option_section sections[] = {
    {"kafka", OPTION_SHAPE_MAPPING, TABLE(kafka_table), offsetof(struct sink_options, kafka), 0, 0,
     SIZE_MAX, "Where the events come from."},
    {"routes", OPTION_SHAPE_SEQUENCE, TABLE(route_table), offsetof(struct sink_options, routes),
     offsetof(struct sink_options, route_count), sizeof(struct sink_route_options),
     offsetof(struct sink_route_options, place), "Which topic goes into which index."},
    {"receipts", OPTION_SHAPE_MAPPING, TABLE(receipts_table),
     offsetof(struct sink_options, receipts), 0, 0, SIZE_MAX,
     "Receipts: the agents' proof of what they delivered."},
    {"bulk", OPTION_SHAPE_MAPPING, TABLE(bulk_table), offsetof(struct sink_options, bulk), 0, 0,
     SIZE_MAX, "How much is sent at once."},
    {"elasticsearch", OPTION_SHAPE_OPTIONAL, TABLE(elasticsearch_table),
     offsetof(struct sink_options, elasticsearch),
     offsetof(struct sink_options, elasticsearch_given), 0, SIZE_MAX,
     "Output: an Elasticsearch or OpenSearch cluster. It is the output when none is named."},
    {"sqlite", OPTION_SHAPE_OPTIONAL, TABLE(sqlite_table), offsetof(struct sink_options, sqlite),
     offsetof(struct sink_options, sqlite_given), 0, SIZE_MAX,
     "Output: one SQLite file, instead of a cluster."},
    {"http", OPTION_SHAPE_MAPPING, TABLE(http_table), offsetof(struct sink_options, http), 0, 0,
     SIZE_MAX, "The endpoint for metrics, health and status."},
    {"log", OPTION_SHAPE_MAPPING, TABLE(log_table), offsetof(struct sink_options, log), 0, 0,
     SIZE_MAX, "The sink's own log."},
};

const struct options_schema sink_options_schema = {
    "tailrace-sink", sections, sizeof(sections) / sizeof(sections[0]), sizeof(struct sink_options)};

/* NULL when the name is valid, else the end of a sentence. */
static const char *
topic_fault(const char *topic)
{
    size_t size = strlen(topic);
    if (size == 0)
        return "it is empty";
    if (size > TOPIC_NAME_MAX)
        return "it has more than 249 letters";
    if (strcmp(topic, ".") == 0 || strcmp(topic, "..") == 0)
        return "Kafka keeps '.' and '..' for itself";
    for (size_t i = 0; i < size; i++)
        if (!isalnum((unsigned char)topic[i]) && strchr("._-", topic[i]) == NULL)
            return "only letters, digits, '.', '_' and '-' may be in it";
    return NULL;
}

static const char *
index_fault(const char *index)
{
    size_t size = strlen(index);
    if (size == 0)
        return "it is empty";
    if (size > INDEX_NAME_MAX)
        return "it has more than 255 bytes";
    if (strcmp(index, ".") == 0 || strcmp(index, "..") == 0)
        return "it is '.' or '..'";
    if (strchr("-_+", index[0]) != NULL)
        return "it begins with '-', '_' or '+'";
    for (size_t i = 0; i < size; i++) {
        if (isupper((unsigned char)index[i]))
            return "it must be lower case";
        if (strchr("\\/*?\"<>| ,#:", index[i]) != NULL || iscntrl((unsigned char)index[i]))
            return "none of \\ / * ? \" < > | , # : and blank may be in it";
    }
    return NULL;
}

static bool
fail_route(const struct sink_route_options *route, const char *what, const char *name,
           const char *fault, struct err *err)
{
    char shown[OPTION_SHOWN_SIZE];
    option_value_show(name, shown);
    return err_set(err, ERR_CONFIG, 0, "%s:%u: '%s' is no %s: %s", route->place.file,
                   route->place.line, shown, what, fault);
}

/* Rotation and retention of one route, and of two that share an index. */
static bool
check_days(const struct sink_options *options, size_t index, struct err *err)
{
    const struct sink_route_options *route = &options->routes[index];
    const struct option_place *place = &route->place;
    if (route->rotate == ROTATE_DAILY && options->sqlite_given)
        return err_set(err, ERR_CONFIG, 0,
                       "%s:%u: rotate is for search servers; with sqlite, retention alone deletes "
                       "what is old",
                       place->file, place->line);
    if (route->rotate == ROTATE_DAILY && strlen(route->index) > INDEX_NAME_MAX - DAY_SUFFIX_SIZE)
        return err_set(err, ERR_CONFIG, 0, "%s:%u: the index name is too long to add a day to it",
                       place->file, place->line);
    if (route->retention % DAY_MS != 0)
        return err_set(err, ERR_CONFIG, 0, "%s:%u: retention must be whole days, such as 30d",
                       place->file, place->line);
    if (route->retention > 0 && route->rotate == ROTATE_NONE && !options->sqlite_given)
        return err_set(err, ERR_CONFIG, 0,
                       "%s:%u: retention deletes whole indices: it needs rotate: daily beside it",
                       place->file, place->line);
    for (size_t i = 0; i < index; i++)
        if (strcmp(options->routes[i].index, route->index) == 0 &&
            (options->routes[i].rotate != route->rotate ||
             options->routes[i].retention != route->retention))
            return err_set(err, ERR_CONFIG, 0,
                           "%s:%u: the index '%s' has another rotate or retention at %s:%u",
                           place->file, place->line, route->index, options->routes[i].place.file,
                           options->routes[i].place.line);
    return true;
}

static bool
check_route(const struct sink_options *options, size_t index, struct err *err)
{
    const struct sink_route_options *route = &options->routes[index];
    const char *fault = topic_fault(route->topic);
    if (fault != NULL)
        return fail_route(route, "topic name", route->topic, fault, err);
    fault = index_fault(route->index);
    if (fault != NULL)
        return fail_route(route, "index name", route->index, fault, err);
    const char *letters = route->dead_letter_topic;
    fault = letters[0] != '\0' ? topic_fault(letters) : NULL;
    if (fault != NULL)
        return fail_route(route, "topic name", letters, fault, err);
    if (letters[0] == '\0' && strlen(route->topic) + strlen(".dlq") > TOPIC_NAME_MAX)
        return fail_route(route, "topic with room for '.dlq'", route->topic,
                          "name its dead_letter_topic", err);

    if (!check_days(options, index, err))
        return false;
    for (size_t i = 0; i < index; i++)
        if (strcmp(options->routes[i].topic, route->topic) == 0)
            return err_set(err, ERR_CONFIG, 0, "%s:%u: the topic '%s' has a route at %s:%u already",
                           route->place.file, route->place.line, route->topic,
                           options->routes[i].place.file, options->routes[i].place.line);
    return true;
}

/* What we write into a topic that we read would come round for ever. */
static bool
check_dead_letters(const struct sink_options *options, const struct sink_route_options *route,
                   struct err *err)
{
    char topic[TOPIC_NAME_MAX + 1] = {0};
    size_t size = strlen(route->topic);
    const char *letters = route->dead_letter_topic;
    if (letters[0] == '\0') {
        ASSERT(size + strlen(".dlq") <= TOPIC_NAME_MAX);
        memcpy(topic, route->topic, size);
        memcpy(topic + size, ".dlq", strlen(".dlq"));
        letters = topic;
    }
    for (size_t i = 0; i < options->route_count; i++)
        if (strcmp(options->routes[i].topic, letters) == 0)
            return err_set(
                err, ERR_CONFIG, 0,
                "%s:%u: the dead-letter topic '%s' is consumed by the route at %s:%u; its "
                "letters would come round for ever",
                route->place.file, route->place.line, letters, options->routes[i].place.file,
                options->routes[i].place.line);
    return true;
}

/* After the host: a port or nothing. NULL when it is fine, else the end of a sentence. */
static const char *
port_fault(const char *text, size_t size)
{
    if (size == 0)
        return NULL;
    if (text[0] != ':')
        return "only a port may follow the host";
    unsigned port = 0;
    for (size_t i = 1; i < size; i++) {
        if (text[i] == ':')
            return "it has two ports";
        if (!isdigit((unsigned char)text[i]))
            return "its port is not a number";
        port = port > PORT_MAX ? port : port * 10 + (unsigned)(text[i] - '0');
    }
    return port == 0 || port > PORT_MAX ? "its port must be from 1 to 65535" : NULL;
}

static const char *
url_fault(const char *url)
{
    const char *authority = strncmp(url, "http://", strlen("http://")) == 0     ? url + 7
                            : strncmp(url, "https://", strlen("https://")) == 0 ? url + 8
                                                                                : NULL;
    if (authority == NULL)
        return "it must begin with http:// or https://";
    size_t size = strcspn(authority, "/?#");
    const char *path = authority + size;
    size_t host = 0;
    if (authority[0] == '[') {
        host = strspn(authority + 1, "0123456789abcdefABCDEF:.") + 1;
        if (host == 1 || authority[host] != ']')
            return "its address in brackets is not complete";
        host++;
    } else {
        while (host < size &&
               (isalnum((unsigned char)authority[host]) || strchr("._-", authority[host]) != NULL))
            host++;
    }
    if (host == 0)
        return "it names no host";
    const char *fault = port_fault(authority + host, size - host);
    if (fault != NULL)
        return fault;
    for (size_t i = 0; path[i] != '\0'; i++)
        if (!isalnum((unsigned char)path[i]) && strchr("/._~%+-", path[i]) == NULL)
            return "only a path prefix may follow host and port, no query";
    return NULL;
}

static bool
check_urls(const struct option_texts *urls, struct err *err)
{
    if (urls->count == 0)
        return err_set(err, ERR_CONFIG, 0, "elasticsearch.urls is empty");
    for (size_t i = 0; i < urls->count; i++) {
        char shown[OPTION_SHOWN_SIZE];
        if (strchr(urls->items[i], '@') != NULL)
            return err_set(err, ERR_CONFIG, 0,
                           "elasticsearch.urls must hold no user or password: use username and "
                           "password_file");
        const char *fault = url_fault(urls->items[i]);
        option_value_show(urls->items[i], shown);
        if (fault != NULL)
            return err_set(err, ERR_CONFIG, 0, "elasticsearch.urls: '%s': %s", shown, fault);
    }
    return true;
}

/* What is wrong with the whole; the texts begin with an option's name, which finds its line. */
static bool
check_sections(const struct sink_options *options, struct err *err)
{
    if (options->elasticsearch_given && options->sqlite_given)
        return err_set(err, ERR_CONFIG, 0,
                       "sqlite and elasticsearch are both given; a sink has one output");
    if (!options->elasticsearch_given && !options->sqlite_given)
        return err_set(err, ERR_CONFIG, 0,
                       "elasticsearch or sqlite must be given: a sink needs an output, such as "
                       "elasticsearch: {urls: [\"http://localhost:9200\"]}");
    if (options->sqlite_given && options->sqlite.path[0] == '\0')
        return err_set(err, ERR_CONFIG, 0, "sqlite.path is empty");
    if (options->sqlite_given && options->sqlite.path[0] != '/')
        return err_set(err, ERR_CONFIG, 0, "sqlite.path must be absolute: begin it with '/'");
    if (options->elasticsearch_given && !check_urls(&options->elasticsearch.urls, err))
        return false;
    if (options->route_count == 0)
        return err_set(err, ERR_CONFIG, 0,
                       "routes has no entry: name a topic and an index, such as "
                       "- {topic: logs-topic, index: logs}");
    const char *receipts = options->receipts.topic;
    const char *fault = receipts[0] == '\0' ? NULL : topic_fault(receipts);
    if (fault != NULL)
        return err_set(err, ERR_CONFIG, 0, "receipts.topic '%.260s': %s", receipts, fault);
    if (options->bulk.size > options->bulk.memory / 4)
        return err_set(err, ERR_CONFIG, 0,
                       "bulk.size is above a quarter of bulk.memory; raise bulk.memory");
    return http_check_listen(options->http.listen, err);
}

bool
sink_options_check(const struct options *loaded, struct err *err)
{
    const struct sink_options *options = options_root(loaded);
    struct kafka_settings settings;
    if (!check_sections(options, err) ||
        !kafka_settings_init(&settings, (const struct kafka_common_options *)&options->kafka, err))
        return options_locate(loaded, err);
    for (size_t i = 0; i < options->route_count; i++)
        if (!check_route(options, i, err) || !check_dead_letters(options, &options->routes[i], err))
            return false;
    return true;
}
