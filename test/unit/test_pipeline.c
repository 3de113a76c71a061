/* SPDX-License-Identifier: Apache-2.0 */
/* test_pipeline.c: the whole agent, `once`, against librdkafka's mock cluster that answers with
 * errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/options.h"
#include "agent/pipeline.h"
#include "core/event_id.h"

#define PRODUCE 0 /* the number of the request in Kafka's protocol */
#define TOPIC "test-topic"

struct world {
    rd_kafka_t *handle;
    rd_kafka_mock_cluster_t *cluster;
    char folder[64];
    char config[128];
};

static int
setup(void **context)
{
    struct world *world = calloc(1, sizeof(*world));
    char text[256];
    world->handle = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof(text));
    assert_non_null(world->handle);
    world->cluster = rd_kafka_mock_cluster_new(world->handle, 1);
    assert_non_null(world->cluster);
    assert_int_equal(rd_kafka_mock_topic_create(world->cluster, TOPIC, 2, 1), 0);
    (void)snprintf(world->folder, sizeof(world->folder), "/tmp/test_pipeline.XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    (void)snprintf(text, sizeof(text), "%s/logs", world->folder);
    assert_int_equal(mkdir(text, 0755), 0);
    (void)snprintf(world->config, sizeof(world->config), "%s/agent.yaml", world->folder);
    FILE *file = fopen(world->config, "w");
    assert_non_null(file);
    (void)fprintf(file,
                  "state_dir: %s/state\nkafka: {bootstrap_servers: \"%s\", topic: " TOPIC "}\n"
                  "files:\n  - {name: t, paths: [\"%s/logs/*.log\"]}\nlog: {level: error}\n",
                  world->folder, rd_kafka_mock_cluster_bootstraps(world->cluster), world->folder);
    (void)fclose(file);
    *context = world;
    return 0;
}

static int
teardown(void **context)
{
    struct world *world = *context;
    static const char *const names[] = {
        "logs/a.log", "logs/b.log",        "logs/a.log.1", "logs/a.log.2", "logs", "state/journal",
        "state/lock", "state/journal.new", "state",        "agent.yaml",   ""};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s/%s", world->folder, names[i]);
        (void)remove(path);
    }
    rd_kafka_mock_cluster_destroy(world->cluster);
    rd_kafka_destroy(world->handle);
    free(world);
    return 0;
}

static void
log_path(const struct world *world, const char *name, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "%s/logs/%s", world->folder, name);
}

static void
append(const struct world *world, const char *name, const char *text, size_t size)
{
    char path[128];
    log_path(world, name, path, sizeof(path));
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void
append_lines(const struct world *world, const char *name, unsigned from, unsigned count)
{
    for (unsigned i = from; i < from + count; i++) {
        char line[64];
        int size = snprintf(line, sizeof(line), "line %06u\n", i);
        append(world, name, line, (size_t)size);
    }
}

static void
run_once(const struct world *world)
{
    struct options *loaded;
    struct pipeline *pipeline = NULL;
    struct err err;
    if (!options_load(&loaded, &agent_options_schema, world->config, &err) ||
        !pipeline_new(&pipeline, loaded, world->config, true, &err) ||
        !pipeline_run(pipeline, &err))
        fail_msg("%s", err.text);
    pipeline_free(pipeline);
}

/* What the cluster holds, with repeats of an id taken out. */
struct held {
    struct {
        char key[EVENT_ID_SIZE];
        char *value;
    } items[3000];
    size_t count, records;
};

static void
hold(struct held *held, const rd_kafka_message_t *message)
{
    assert_int_equal(message->key_len, EVENT_ID_SIZE);
    held->records++;
    for (size_t i = 0; i < held->count; i++) {
        if (memcmp(held->items[i].key, message->key, EVENT_ID_SIZE) == 0)
            return;
    }
    assert_true(held->count < 3000);
    memcpy(held->items[held->count].key, message->key, EVENT_ID_SIZE);
    held->items[held->count].value = strndup(message->payload, message->len);
    held->count++;
}

static struct held *
consume(const struct world *world)
{
    struct held *held = calloc(1, sizeof(*held));
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    (void)rd_kafka_conf_set(conf, "bootstrap.servers",
                            rd_kafka_mock_cluster_bootstraps(world->cluster), text, sizeof(text));
    (void)rd_kafka_conf_set(conf, "group.id", "test", text, sizeof(text));
    (void)rd_kafka_conf_set(conf, "enable.partition.eof", "true", text, sizeof(text));
    rd_kafka_t *consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    assert_non_null(consumer);
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(2);
    for (int32_t i = 0; i < 2; i++)
        rd_kafka_topic_partition_list_add(all, TOPIC, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    assert_int_equal(rd_kafka_assign(consumer, all), 0);
    rd_kafka_topic_partition_list_destroy(all);
    for (int ends = 0; ends < 2;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 10000);
        assert_non_null(message);
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            ends++;
        else if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            hold(held, message);
        rd_kafka_message_destroy(message);
    }
    (void)rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    return held;
}

static void
held_free(struct held *held)
{
    for (size_t i = 0; i < held->count; i++)
        free(held->items[i].value);
    free(held);
}

static size_t
holding(const struct held *held, const char *text)
{
    size_t count = 0;
    for (size_t i = 0; i < held->count; i++)
        count += strstr(held->items[i].value, text) != NULL ? 1 : 0;
    return count;
}

static void
assert_lines(const struct held *held, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "\"message\":\"line %06u\"", i);
        if (holding(held, text) != 1)
            fail_msg("%s: %zu times", text, holding(held, text));
    }
}

static void
every_line_arrives_once_and_not_again(void **context)
{
    const struct world *world = *context;
    append_lines(world, "a.log", 0, 300);
    append(world, "a.log", "\nopen end", 9);
    run_once(world);
    run_once(world);
    append(world, "a.log", " closed\n", 8);
    run_once(world);
    struct held *held = consume(world);
    assert_lines(held, 300);
    assert_int_equal(held->records, 302);
    assert_int_equal(holding(held, "\"message\":\"open end\""), 1);
    assert_int_equal(holding(held, "\"message\":\" closed\",\"log.flags\":[\"part\"]"), 1);
    held_free(held);
}

static void
rotation_while_stopped_loses_nothing(void **context)
{
    const struct world *world = *context;
    char from[128];
    char to[128];
    append_lines(world, "a.log", 0, 100);
    run_once(world);
    append_lines(world, "a.log", 100, 100); /* rotated away unread */
    log_path(world, "a.log", from, sizeof(from));
    log_path(world, "a.log.2", to, sizeof(to));
    assert_int_equal(rename(from, to), 0);
    append_lines(world, "a.log", 200, 100); /* begun and rotated while nobody looked */
    log_path(world, "a.log.1", to, sizeof(to));
    assert_int_equal(rename(from, to), 0);
    append_lines(world, "a.log", 300, 100);
    run_once(world);
    struct held *held = consume(world);
    assert_lines(held, 400);
    assert_int_equal(held->records, 400);
    held_free(held);
}

static void
passing_errors_change_nothing(void **context)
{
    const struct world *world = *context;
    append_lines(world, "a.log", 0, 500);
    rd_kafka_mock_push_request_errors(
        world->cluster, PRODUCE, 4, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND);
    run_once(world);
    struct held *held = consume(world);
    assert_lines(held, 500);
    held_free(held);
}

static void
refused_topic_pauses_and_goes_on(void **context)
{
    const struct world *world = *context;
    append_lines(world, "a.log", 0, 500);
    rd_kafka_mock_push_request_errors(world->cluster, PRODUCE, 2,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    run_once(world);
    struct held *held = consume(world);
    assert_lines(held, 500);
    held_free(held);
}

static void
fatal_error_replaces_the_client_and_loses_nothing(void **context)
{
    const struct world *world = *context;
    append_lines(world, "a.log", 0, 500);
    append_lines(world, "b.log", 500, 500);
    rd_kafka_mock_push_request_errors(world->cluster, PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    rd_kafka_mock_push_request_errors(world->cluster, PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH);
    run_once(world);
    struct held *held = consume(world);
    assert_lines(held, 1000);
    held_free(held);
}

static void
refused_large_line_comes_in_smaller_parts(void **context)
{
    const struct world *world = *context;
    static char line[400001];
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    /* The first refusal is of the request, the second of the line in a request of its own. */
    append(world, "a.log", line, sizeof(line));
    append_lines(world, "a.log", 0, 20);
    rd_kafka_mock_push_request_errors(world->cluster, PRODUCE, 2,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    run_once(world);
    struct held *held = consume(world);
    assert_lines(held, 20);
    size_t parts = holding(held, "\"log.flags\":[\"part\"]");
    assert_true(parts >= 2);
    size_t bytes = 0;
    for (size_t i = 0; i < held->count; i++)
        if (strstr(held->items[i].value, "\"part\"") != NULL)
            bytes += strspn(strstr(held->items[i].value, "\"message\":\"") + 11, "x");
    assert_int_equal(bytes, sizeof(line) - 1);
    held_free(held);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_line_arrives_once_and_not_again, setup, teardown),
        cmocka_unit_test_setup_teardown(rotation_while_stopped_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(passing_errors_change_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(refused_topic_pauses_and_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(fatal_error_replaces_the_client_and_loses_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(refused_large_line_comes_in_smaller_parts, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
