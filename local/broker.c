/* SPDX-License-Identifier: Apache-2.0 */
/* broker.c: tailrace-local-broker, the embedded default of ./local/up: librdkafka's mock cluster
 * of one broker on 127.0.0.1, at a port of its own choice. It holds records in memory, 5 MB or
 * 100,000 of them a partition, and drops the oldest silently beyond that: give it many partitions,
 * and readers that keep up. When it ends, what it holds is gone.
 *
 * Beside serving it tells how far a consumer group is, so that ./local/up knows when everything
 * has arrived. With --servers there is no mock cluster: it makes the topics on a real one and
 * tells the same. Main thread only; the mock cluster runs in a thread of librdkafka. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

/* Topics of one local set-up, and their partitions: far above any use. */
#define TOPICS_MAX 16
#define PARTITIONS_MAX 1000
#define ERRORS_MAX 1000 /* of one line of --control */

/* How often the progress file is written, and how long one question to the cluster may take. */
#define PROGRESS_INTERVAL_MS 500
#define QUESTION_TIMEOUT_MS 5000

struct topic {
    char name[250]; /* Kafka's own limit is 249 */
    int partitions;
};

struct arguments {
    struct topic topics[TOPICS_MAX];
    size_t topic_count;
    const char *address_file;
    const char *servers; /* NULL: be the broker */
    const char *group;
    const char *progress_file;
    bool control;
};

struct broker {
    rd_kafka_t *handle; /* keeps the mock cluster's books; no client of it */
    rd_kafka_mock_cluster_t *cluster;
    rd_kafka_t *observer; /* asks for offsets; a member of no group */
    const char *servers;  /* borrowed */
};

static void
print_help(void)
{
    (void)printf(
        "Usage: tailrace-local-broker --topic NAME:PARTITIONS... [options]\n"
        "An embedded Kafka broker for trying things out. Prints its address and stays until "
        "SIGTERM.\n"
        "It holds 5 MB or 100,000 records a partition, in memory only.\n\n"
        "  --topic NAME:PARTITIONS  make this topic (may be repeated)\n"
        "  --address-file PATH      write the address to this file too\n"
        "  --servers HOST:PORT      be no broker: make the topics on this real one\n"
        "  --group NAME --progress-file PATH\n"
        "                           twice a second, write there how far this consumer group is:\n"
        "                           a line 'topic partition low end committed' for each "
        "partition\n"
        "  --control                for tests: a line 'API COUNT CODE' of standard input makes "
        "the\n"
        "                           next COUNT answers to that API (a number) the error CODE\n");
}

static bool
parse_topic(const char *text, struct topic *out)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text || (size_t)(colon - text) >= sizeof(out->name))
        return false;
    char *end = NULL;
    errno = 0;
    long partitions = strtol(colon + 1, &end, 10);
    if (errno != 0 || end == colon + 1 || *end != '\0' || partitions < 1 ||
        partitions > PARTITIONS_MAX)
        return false;
    memcpy(out->name, text, (size_t)(colon - text));
    out->name[colon - text] = '\0';
    out->partitions = (int)partitions;
    return true;
}

static bool
parse_arguments(struct arguments *out, int argc, char **argv)
{
    *out = (struct arguments){0};
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i];
        if (strcmp(name, "--control") == 0) {
            out->control = true;
            i--;
            continue;
        }
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool known = true;
        if (value != NULL && strcmp(name, "--topic") == 0)
            known = out->topic_count < TOPICS_MAX &&
                    parse_topic(value, &out->topics[out->topic_count++]);
        else if (value != NULL && strcmp(name, "--address-file") == 0)
            out->address_file = value;
        else if (value != NULL && strcmp(name, "--servers") == 0)
            out->servers = value;
        else if (value != NULL && strcmp(name, "--group") == 0)
            out->group = value;
        else if (value != NULL && strcmp(name, "--progress-file") == 0)
            out->progress_file = value;
        else
            known = false;
        if (!known) {
            (void)fprintf(stderr, "tailrace-local-broker: bad argument '%s %s', see --help\n", name,
                          value == NULL ? "" : value);
            return false;
        }
    }
    if (out->topic_count == 0 || (out->group == NULL) != (out->progress_file == NULL)) {
        (void)fprintf(stderr, "tailrace-local-broker: %s, see --help\n",
                      out->topic_count == 0 ? "no --topic given"
                                            : "--group and --progress-file belong together");
        return false;
    }
    return true;
}

static bool
complain(const char *what, const char *cause)
{
    (void)fprintf(stderr, "tailrace-local-broker: cannot %s: %s\n", what, cause);
    return false;
}

/* A reader sees the old content or the new one, never a part. */
static bool
write_file(const char *path, const char *text, size_t size)
{
    char temporary[4096];
    int used = snprintf(temporary, sizeof(temporary), "%s.new", path);
    if (used < 0 || (size_t)used >= sizeof(temporary))
        return complain("write a file", "its name is too long");
    int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0)
        return complain(temporary, strerror(errno));
    bool ok = write(file, text, size) == (ssize_t)size;
    ok = close(file) == 0 && ok;
    if (!ok || rename(temporary, path) != 0)
        return complain(path, strerror(errno));
    return true;
}

/* librdkafka's notices about a client without brokers and the like are not for the screen. */
static void
drop_log(const rd_kafka_t *handle, int level, const char *facility, const char *text)
{
    (void)handle;
    if (level <= 3)
        (void)fprintf(stderr, "tailrace-local-broker: %s: %s\n", facility, text);
}

static rd_kafka_t *
client_new(rd_kafka_type_t type, const char *servers, const char *group)
{
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, drop_log);
    bool ok = servers == NULL || rd_kafka_conf_set(conf, "bootstrap.servers", servers, text,
                                                   sizeof(text)) == RD_KAFKA_CONF_OK;
    ok = ok && (group == NULL ||
                rd_kafka_conf_set(conf, "group.id", group, text, sizeof(text)) == RD_KAFKA_CONF_OK);
    rd_kafka_t *client = ok ? rd_kafka_new(type, conf, text, sizeof(text)) : NULL;
    if (client == NULL) {
        (void)complain("make a Kafka client", text);
        rd_kafka_conf_destroy(conf);
    }
    return client;
}

static bool
serve_mock(struct broker *broker, const struct arguments *arguments)
{
    broker->handle = client_new(RD_KAFKA_PRODUCER, NULL, NULL);
    if (broker->handle == NULL)
        return false;
    broker->cluster = rd_kafka_mock_cluster_new(broker->handle, 1);
    if (broker->cluster == NULL)
        return complain("start the broker", "librdkafka's mock cluster gives no reason");
    for (size_t i = 0; i < arguments->topic_count; i++) {
        rd_kafka_resp_err_t code = rd_kafka_mock_topic_create(
            broker->cluster, arguments->topics[i].name, arguments->topics[i].partitions, 1);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            return complain(arguments->topics[i].name, rd_kafka_err2str(code));
    }
    broker->servers = rd_kafka_mock_cluster_bootstraps(broker->cluster);
    return true;
}

/* One topic on a real cluster; fine when it is there already. */
static bool
create_topic(rd_kafka_t *client, rd_kafka_queue_t *queue, const struct topic *topic)
{
    char text[512] = "";
    rd_kafka_NewTopic_t *wanted =
        rd_kafka_NewTopic_new(topic->name, topic->partitions, -1, text, sizeof(text));
    if (wanted == NULL)
        return complain(topic->name, text);
    rd_kafka_CreateTopics(client, &wanted, 1, NULL, queue);
    rd_kafka_NewTopic_destroy(wanted);

    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 60000);
    if (event == NULL)
        return complain(topic->name, "no answer from the cluster");
    bool ok = true;
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        ok = complain(topic->name, rd_kafka_event_error_string(event));
    } else {
        size_t count = 0;
        const rd_kafka_topic_result_t **results =
            rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
        rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[0]);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
            ok = complain(topic->name, rd_kafka_topic_result_error_string(results[0]));
    }
    rd_kafka_event_destroy(event);
    return ok;
}

static bool
create_topics(struct broker *broker, const struct arguments *arguments)
{
    broker->servers = arguments->servers;
    broker->handle = client_new(RD_KAFKA_PRODUCER, arguments->servers, NULL);
    if (broker->handle == NULL)
        return false;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(broker->handle);
    bool ok = true;
    for (size_t i = 0; i < arguments->topic_count && ok; i++)
        ok = create_topic(broker->handle, queue, &arguments->topics[i]);
    rd_kafka_queue_destroy(queue);
    return ok;
}

/* One that was there already may have any number. 0 when the cluster does not answer. */
static int
count_partitions(rd_kafka_t *observer, const char *name)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(observer, name, NULL);
    const struct rd_kafka_metadata *answer = NULL;
    int count = 0;
    if (topic != NULL && rd_kafka_metadata(observer, 0, topic, &answer, QUESTION_TIMEOUT_MS) ==
                             RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (answer->topic_cnt == 1)
            count = answer->topics[0].partition_cnt;
        rd_kafka_metadata_destroy(answer);
    }
    if (topic != NULL)
        rd_kafka_topic_destroy(topic);
    return count < PARTITIONS_MAX ? count : PARTITIONS_MAX;
}

/* Appends the lines of one topic; returns the new size, 0 when the cluster does not answer. */
static size_t
topic_progress(rd_kafka_t *observer, const struct topic *topic, char *text, size_t used,
               size_t size)
{
    int partitions = count_partitions(observer, topic->name);
    if (partitions == 0)
        return 0;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    for (int partition = 0; partition < partitions; partition++)
        (void)rd_kafka_topic_partition_list_add(list, topic->name, partition);
    bool ok = rd_kafka_committed(observer, list, QUESTION_TIMEOUT_MS) == RD_KAFKA_RESP_ERR_NO_ERROR;
    for (int i = 0; i < list->cnt && ok; i++) {
        int64_t low = 0;
        int64_t end = 0;
        int64_t committed = list->elems[i].offset < 0 ? -1 : list->elems[i].offset;
        ok = rd_kafka_query_watermark_offsets(observer, topic->name, i, &low, &end,
                                              QUESTION_TIMEOUT_MS) == RD_KAFKA_RESP_ERR_NO_ERROR;
        int line = snprintf(text + used, size - used, "%s %d %" PRId64 " %" PRId64 " %" PRId64 "\n",
                            topic->name, i, low, end, committed);
        used += line > 0 && (size_t)line < size - used ? (size_t)line : 0;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return ok ? used : 0;
}

/* Committed offsets are read before the ends: "all committed" is then true of a moment that was. */
static void
write_progress(struct broker *broker, const struct arguments *arguments)
{
    static char text[TOPICS_MAX * PARTITIONS_MAX * 64];
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    int head = snprintf(text, sizeof(text), "%lld.%09ld\n", (long long)now.tv_sec, now.tv_nsec);
    size_t used = head > 0 ? (size_t)head : 0;
    for (size_t i = 0; i < arguments->topic_count && used > 0; i++)
        used = topic_progress(broker->observer, &arguments->topics[i], text, used, sizeof(text));
    if (used > 0)
        (void)write_file(arguments->progress_file, text, used);
}

/* One line of standard input; false at its end. */
static bool
obey(struct broker *broker)
{
    char line[128];
    int api;
    int count;
    int code;
    if (fgets(line, sizeof(line), stdin) == NULL)
        return false;
    if (sscanf(line, "%d %d %d", &api, &count, &code) != 3 || count < 0 || count > ERRORS_MAX) {
        (void)complain("obey", line);
        return true;
    }
    rd_kafka_resp_err_t errors[ERRORS_MAX];
    for (int i = 0; i < count; i++)
        errors[i] = (rd_kafka_resp_err_t)code;
    rd_kafka_mock_push_request_errors_array(broker->cluster, (int16_t)api, (size_t)count, errors);
    (void)puts("done");
    (void)fflush(stdout);
    return true;
}

/* Until SIGTERM or SIGINT. */
static void
stay(struct broker *broker, const struct arguments *arguments, int signals)
{
    int interval_ms = arguments->progress_file == NULL ? -1 : PROGRESS_INTERVAL_MS;
    struct pollfd fds[2] = {
        {.fd = signals, .events = POLLIN},
        {.fd = arguments->control && broker->cluster != NULL ? STDIN_FILENO : -1, .events = POLLIN},
    };
    while (fds[0].revents == 0) {
        int count = poll(fds, 2, interval_ms);
        if (count > 0 && fds[1].revents != 0 && !obey(broker))
            fds[1].fd = -1;
        if (count == 0)
            write_progress(broker, arguments);
    }
}

static bool
announce(const struct broker *broker, const struct arguments *arguments)
{
    char line[1024];
    int used = snprintf(line, sizeof(line), "%s\n", broker->servers);
    if (used < 0 || (size_t)used >= sizeof(line))
        return complain("tell the address", "it is too long");
    (void)fputs(line, stdout);
    (void)fflush(stdout);
    return arguments->address_file == NULL ||
           write_file(arguments->address_file, line, (size_t)used);
}

static void
broker_done(struct broker *broker)
{
    if (broker->observer != NULL)
        rd_kafka_destroy(broker->observer);
    if (broker->cluster != NULL)
        rd_kafka_mock_cluster_destroy(broker->cluster);
    if (broker->handle != NULL)
        rd_kafka_destroy(broker->handle);
}

int
main(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_help();
        return 0;
    }
    static struct arguments arguments;
    if (!parse_arguments(&arguments, argc, argv))
        return 2;

    /* Before any thread of librdkafka starts, so that all of them leave these to the descriptor. */
    sigset_t stop;
    (void)sigemptyset(&stop);
    (void)sigaddset(&stop, SIGTERM);
    (void)sigaddset(&stop, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &stop, NULL);
    int signals = signalfd(-1, &stop, SFD_CLOEXEC);
    if (signals < 0)
        return complain("wait for signals", strerror(errno)) ? 0 : 1;

    struct broker broker = {0};
    bool ok = arguments.servers == NULL ? serve_mock(&broker, &arguments)
                                        : create_topics(&broker, &arguments);
    if (ok && arguments.group != NULL) {
        broker.observer = client_new(RD_KAFKA_CONSUMER, broker.servers, arguments.group);
        ok = broker.observer != NULL;
    }
    ok = ok && announce(&broker, &arguments);
    if (ok)
        stay(&broker, &arguments, signals);
    broker_done(&broker);
    (void)close(signals);
    return ok ? 0 : 1;
}
