/* SPDX-License-Identifier: Apache-2.0 */
/* kafka.c: see kafka.h. */
#include "core/kafka.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/assert.h"
#include "core/buffer.h"

#define HOST_TEXT_MAX 253 /* a DNS name */

/* Two names of one property in librdkafka's CONFIGURATION.md ("Alias for …"). */
static const char *const aliases[][2] = {
    {"request.required.acks", "acks"},
    {"delivery.timeout.ms", "message.timeout.ms"},
    {"metadata.broker.list", "bootstrap.servers"},
    {"compression.codec", "compression.type"},
    {"message.send.max.retries", "retries"},
    {"max.in.flight", "max.in.flight.requests.per.connection"},
    {"queue.buffering.max.ms", "linger.ms"},
    {"fetch.max.message.bytes", "max.partition.fetch.bytes"},
    {"sasl.mechanism", "sasl.mechanisms"},
};

/* Set by kafka_conf_new() itself for every program. */
static const struct kafka_property common_refused[] = {
    {"bootstrap.servers", NULL, "use kafka.bootstrap_servers"},
    {"security.protocol", NULL, "use kafka.security_protocol"},
    {"client.id", NULL, "use kafka.client_id"},
    {"log.queue", NULL, "the log is wired by the program"},
    {"test.mock.num.brokers", NULL, "it would replace the real cluster by a simulated one"},
};

static const char *const protocols[] = {"plaintext", "ssl", "sasl_plaintext", "sasl_ssl"};

static const char *
canonical_name(const char *name)
{
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
        if (strcmp(aliases[i][0], name) == 0)
            return aliases[i][1];
    return name;
}

/* One entry of the list, of `size` bytes. */
static bool
check_server(const char *entry, size_t size, struct err *err)
{
    int shown = (int)(size < 300 ? size : 300);
    const char *scheme = memmem(entry, size, "://", 3);
    const char *host = scheme == NULL ? entry : scheme + 3;
    size_t left = size - (size_t)(host - entry);
    const char *port = memrchr(host, ':', left);
    if (left == 0)
        return err_set(err, ERR_CONFIG, 0, "'%.*s' in the bootstrap servers has no host", shown,
                       entry);
    if (port == NULL || port < host)
        return err_set(err, ERR_CONFIG, 0,
                       "'%.*s' in the bootstrap servers has no port; write %.*s:9092", shown, entry,
                       shown, entry);

    size_t host_size = (size_t)(port - host);
    bool bracketed = host_size > 2 && host[0] == '[' && host[host_size - 1] == ']';
    if (!bracketed && memchr(host, ':', host_size) != NULL)
        return err_set(err, ERR_CONFIG, 0, "'%.*s' in the bootstrap servers has two ports", shown,
                       entry);
    if (host_size == 0 || host_size > HOST_TEXT_MAX)
        return err_set(err, ERR_CONFIG, 0, "'%.*s' in the bootstrap servers has no host", shown,
                       entry);

    unsigned long number = 0;
    size_t digits = left - host_size - 1;
    for (size_t i = 0; i < digits && i < 6; i++) {
        char c = port[1 + i];
        if (c < '0' || c > '9')
            number = 100000;
        else
            number = number * 10 + (unsigned long)(c - '0');
    }
    if (digits == 0 || digits > 5 || number == 0 || number > 65535)
        return err_set(
            err, ERR_CONFIG, 0,
            "'%.*s' in the bootstrap servers has a bad port; it is a number from 1 to 65535", shown,
            entry);
    for (size_t i = 0; i < host_size; i++)
        if ((unsigned char)host[i] <= ' ' || host[i] == '/' || host[i] == '@')
            return err_set(err, ERR_CONFIG, 0,
                           "'%.*s' in the bootstrap servers is no host and port", shown, entry);
    return true;
}

bool
kafka_check_servers(const char *servers, struct err *err)
{
    ASSERT(servers != NULL);

    const char *entry = servers;
    for (;;) {
        while (*entry == ' ')
            entry++;
        size_t size = strcspn(entry, ",");
        const char *next = entry + size;
        while (size > 0 && entry[size - 1] == ' ')
            size--;
        if (size == 0)
            return err_set(err, ERR_CONFIG, 0,
                           "the bootstrap servers '%.300s' have an empty entry; write host:port,"
                           "host:port",
                           servers);
        if (!check_server(entry, size, err))
            return false;
        if (*next == '\0')
            return true;
        entry = next + 1;
    }
}

bool
kafka_settings_init(struct kafka_settings *out, const struct kafka_common_options *options,
                    struct err *err)
{
    ASSERT(options->security_protocol >= 0);
    ASSERT((size_t)options->security_protocol < sizeof(protocols) / sizeof(protocols[0]));

    *out = (struct kafka_settings){
        .bootstrap_servers = options->bootstrap_servers,
        .security_protocol = protocols[options->security_protocol],
    };
    const char *servers = getenv("KAFKA_BOOTSTRAP_SERVERS");
    if (servers != NULL && *servers != '\0') {
        out->bootstrap_servers = servers;
        out->servers_from_environment = true;
    }
    if (!kafka_check_servers(out->bootstrap_servers, err))
        return out->servers_from_environment
                   ? err_wrap(err, "KAFKA_BOOTSTRAP_SERVERS in the environment")
                   : err_wrap(err, "kafka.bootstrap_servers");

    const char *protocol = getenv("KAFKA_SECURITY_PROTOCOL");
    if (protocol == NULL || *protocol == '\0')
        return true;
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
        if (strcasecmp(protocols[i], protocol) == 0) {
            out->security_protocol = protocols[i];
            out->protocol_from_environment = true;
            return true;
        }
    return err_set(
        err, ERR_CONFIG, 0,
        "KAFKA_SECURITY_PROTOCOL in the environment is '%.100s'; it can be PLAINTEXT, SSL, "
        "SASL_PLAINTEXT or SASL_SSL",
        protocol);
}

static const struct kafka_property *
find_refused(const char *name, const struct kafka_property *properties, size_t count)
{
    const char *canonical = canonical_name(name);
    for (size_t i = 0; i < count; i++)
        if (strcmp(canonical_name(properties[i].name), canonical) == 0)
            return &properties[i];
    return NULL;
}

static bool
conf_set(rd_kafka_conf_t *conf, const char *name, const char *value, struct err *err)
{
    char text[ERR_TEXT_MAX / 2];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) == RD_KAFKA_CONF_OK)
        return true;
    return err_set(err, ERR_CONFIG, 0, "librdkafka %s refuses it: %s", rd_kafka_version_str(),
                   text);
}

static bool
add_user_property(rd_kafka_conf_t *conf, const struct option_pair *property,
                  const struct kafka_property *fixed, size_t fixed_count, struct err *err)
{
    const struct kafka_property *refused = find_refused(property->key, fixed, fixed_count);
    if (refused == NULL)
        refused = find_refused(property->key, common_refused,
                               sizeof(common_refused) / sizeof(common_refused[0]));
    if (refused != NULL)
        return err_set(err, ERR_CONFIG, 0, "'%.100s' cannot be set here: %s", property->key,
                       refused->why);
    return conf_set(conf, property->key, property->value, err) ||
           err_wrap(err, "'%.100s'", property->key);
}

static bool
add_user_properties(rd_kafka_conf_t *conf, const struct option_map *properties,
                    const struct kafka_property *fixed, size_t fixed_count, struct err *err)
{
    for (size_t i = 0; i < properties->count; i++) {
        const struct option_pair *property = &properties->items[i];
        if (add_user_property(conf, property, fixed, fixed_count, err))
            continue;
        (void)err_wrap(err, "kafka.properties");
        return property->place.file == NULL
                   ? false
                   : err_wrap(err, "%.200s:%u", property->place.file, property->place.line);
    }
    return true;
}

bool
kafka_conf_new(rd_kafka_conf_t **out, const struct kafka_common_options *options,
               const char *client_id, const struct kafka_property *fixed, size_t fixed_count,
               struct err *err)
{
    ASSERT(out != NULL);
    ASSERT(client_id != NULL);

    struct kafka_settings settings;
    if (!kafka_settings_init(&settings, options, err))
        return false;

    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    bool done =
        conf_set(conf, "bootstrap.servers", settings.bootstrap_servers, err) &&
        conf_set(conf, "security.protocol", settings.security_protocol, err) &&
        conf_set(conf, "client.id", *options->client_id ? options->client_id : client_id, err) &&
        conf_set(conf, "log.queue", "true", err);
    for (size_t i = 0; done && i < fixed_count; i++)
        if (fixed[i].value != NULL)
            done = conf_set(conf, fixed[i].name, fixed[i].value, err);
    done = done && add_user_properties(conf, &options->properties, fixed, fixed_count, err);
    if (!done) {
        rd_kafka_conf_destroy(conf);
        return false;
    }
    *out = conf;
    return true;
}

const char *
kafka_version_trap(int version, enum kafka_role role, size_t *at)
{
    /* Versions are 0xMMmmrrpp. Sources: librdkafka's CHANGELOG.md, its issue 4312, and our own
     * trials. */
    static const struct {
        int fixed_in;
        unsigned roles;
        const char *text;
    } traps[] = {
        {0x020100ff, KAFKA_CONSUMER,
         "batches of records can be lost in a cooperative rebalance (records are taken one by one "
         "instead)"},
        {0x020300ff, KAFKA_CONSUMER,
         "a commit by hand during a rebalance loses the assignment (the library's own timer "
         "commits instead)"},
        {0x020300ff, KAFKA_PRODUCER,
         "an ordinary disconnect can end the idempotent producer with a fatal error (it is made "
         "anew)"},
        {0x020601ff, KAFKA_PRODUCER | KAFKA_CONSUMER,
         "SCRAM logins are refused by Kafka 4 brokers (use another mechanism, or a newer "
         "librdkafka)"},
        {0x020c00ff, KAFKA_PRODUCER,
         "compression is dropped silently when a broker or proxy does not offer Produce version 0 "
         "(compare wire bytes with message bytes)"},
    };
    while (*at < sizeof(traps) / sizeof(traps[0])) {
        size_t i = (*at)++;
        if (version < traps[i].fixed_in && (traps[i].roles & role) != 0)
            return traps[i].text;
    }
    return NULL;
}

const char *
kafka_advice(rd_kafka_resp_err_t code)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
        return "is the broker up, and is the port its plaintext one (9092) or its TLS one (9094)?";
    case RD_KAFKA_RESP_ERR__RESOLVE:
        return "is the host name in kafka.bootstrap_servers right?";
    case RD_KAFKA_RESP_ERR__SSL:
        return "does kafka.security_protocol fit the port, and is ssl.ca.location in "
               "kafka.properties right?";
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
        return "are the credentials in kafka.properties right?";
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        return "create the topic, or correct its name";
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return "grant this client the permission on the broker";
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
        return "are the clocks of this host and of the brokers right? (message.timestamp.*.max.ms)";
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
        return "fewer replicas are in sync than min.insync.replicas asks for: bring brokers back";
    default:
        return NULL;
    }
}

#define CHECK_TIMEOUT_MS 5000
#define REPLICAS_WANTED 3

/* The value of a topic's or broker's setting, "" when it cannot be had. */
static void
read_setting(rd_kafka_t *rk, const char *topic, const char *name, char *out, size_t out_size)
{
    out[0] = '\0';
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DescribeConfigs(rk, &resource, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, CHECK_TIMEOUT_MS);
    const rd_kafka_DescribeConfigs_result_t *result =
        event == NULL ? NULL : rd_kafka_event_DescribeConfigs_result(event);
    size_t count = 0;
    const rd_kafka_ConfigResource_t **found =
        result == NULL ? NULL : rd_kafka_DescribeConfigs_result_resources(result, &count);
    size_t entry_count = 0;
    const rd_kafka_ConfigEntry_t **entries =
        count == 0 ? NULL : rd_kafka_ConfigResource_configs(found[0], &entry_count);
    for (size_t i = 0; i < entry_count; i++) {
        const char *value = rd_kafka_ConfigEntry_value(entries[i]);
        if (value == NULL || strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) != 0)
            continue;
        if (snprintf(out, out_size, "%s", value) < 0)
            out[0] = '\0';
    }
    if (event != NULL)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy(resource);
}

bool
kafka_check_topic(rd_kafka_t *rk, const char *name, struct buffer *report)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
    const struct rd_kafka_metadata *found = NULL;
    rd_kafka_resp_err_t error = topic == NULL
                                    ? rd_kafka_last_error()
                                    : rd_kafka_metadata(rk, 0, topic, &found, CHECK_TIMEOUT_MS);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR && found != NULL && found->topic_cnt > 0)
        error = found->topics[0].err;
    bool fine = error == RD_KAFKA_RESP_ERR_NO_ERROR && found != NULL && found->topic_cnt > 0;
    if (!fine) {
        const char *advice = kafka_advice(error);
        buffer_format(report, "topic '%s': %s%s%s\n", name, rd_kafka_err2str(error),
                      advice == NULL ? "" : "; ", advice == NULL ? "" : advice);
    } else {
        const struct rd_kafka_metadata_topic *about = &found->topics[0];
        int replicas = about->partition_cnt > 0 ? about->partitions[0].replica_cnt : 0;
        char in_sync[32];
        read_setting(rk, name, "min.insync.replicas", in_sync, sizeof(in_sync));
        buffer_format(report, "topic '%s': %d partitions, %d replicas, min.insync.replicas %s\n",
                      name, about->partition_cnt, replicas,
                      in_sync[0] == '\0' ? "unknown" : in_sync);
        if (replicas < REPLICAS_WANTED)
            buffer_format(report,
                          "  warning: with fewer than %d replicas a lost broker can lose events\n",
                          REPLICAS_WANTED);
        else if (in_sync[0] == '1' && in_sync[1] == '\0')
            buffer_format(
                report,
                "  warning: with min.insync.replicas 1 an event may be acknowledged by a broker "
                "that is lost next\n");
        char unclean[32];
        read_setting(rk, name, "unclean.leader.election.enable", unclean, sizeof(unclean));
        if (strcmp(unclean, "true") == 0)
            buffer_text(report,
                        "  warning: with unclean.leader.election.enable a replica that lacks "
                        "acknowledged events may become the leader: they are lost\n");
    }
    if (found != NULL)
        rd_kafka_metadata_destroy(found);
    if (topic != NULL)
        rd_kafka_topic_destroy(topic);
    return fine;
}
