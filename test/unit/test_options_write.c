/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration written out says what the one it came from says. */
#include <stdlib.h>

#include "agent/options.h"
#include "core/bounds.h"
#include "core/buffer.h"
#include "exporters/options.h"
#include "sinks/options.h"
#include "test/unit/unit.h"

static const char exporter_text[] =
    "kafka:\n"
    "  bootstrap_servers: ${TAILRACE_NO_SUCH_VARIABLE:-one:9092,two:9092}\n"
    "  interval: 1m\n"
    "  topics: '^a\\.b|\"c\"$$'\n"
    "  granularity: topic\n"
    "  properties: {linger.ms: 5, client.id: \"5\", x: \"a: b # c\\n\\tlast\\x7f\", '': z}\n"
    "host:\n"
    "  enabled: false\n"
    "probes:\n"
    "  - {name: a, tcp: 'h:1'}\n"
    "  - {name: \"\\u00fc\", http: 'http://x/?a=$${b}', timeout: 150ms}\n";

static struct options *
parse(const struct options_schema *schema, const char *text, size_t size)
{
    struct options *options = NULL;
    struct err err = {0};
    if (!options_parse(&options, schema, "test.yaml", text, size, &err))
        fail_msg("%s\n%.*s", err.text, (int)size, text);
    return options;
}

static struct options *
written_and_read(const struct options_schema *schema, const struct options *first)
{
    struct buffer text;
    buffer_init(&text, CONFIG_FILE_MAX);
    options_write(first, &text);
    assert_false(text.failed);
    struct options *second = parse(schema, text.bytes, text.size);
    buffer_done(&text);
    return second;
}

static void
every_value_comes_back_as_it_was(void **state)
{
    (void)state;
    struct options *first =
        parse(&exporter_options_schema, exporter_text, sizeof(exporter_text) - 1);
    struct options *second = written_and_read(&exporter_options_schema, first);
    const struct exporter_options *before = options_root(first);
    const struct exporter_options *after = options_root(second);
    assert_true(after->has_kafka);
    assert_string_equal(after->kafka.bootstrap_servers, "one:9092,two:9092");
    assert_int_equal(after->kafka.interval, 60000);
    assert_string_equal(after->kafka.topics, "^a\\.b|\"c\"$");
    assert_int_equal(after->kafka.granularity, 1);
    assert_int_equal(after->kafka.properties.count, 4);
    assert_true(option_maps_equal(&before->kafka.properties, &after->kafka.properties));
    assert_string_equal(after->kafka.properties.items[2].value, "a: b # c\n\tlast\x7f");
    assert_false(after->host.enabled);
    assert_int_equal(after->probe_count, 2);
    assert_string_equal(after->probes[1].name, "\xc3\xbc");
    assert_string_equal(after->probes[1].http, "http://x/?a=${b}");
    assert_int_equal(after->probes[1].timeout, 150);
    options_free(first);
    options_free(second);
}

static void
what_was_not_there_is_not_there_again(void **state)
{
    (void)state;
    struct options *first = parse(&exporter_options_schema, "", 0);
    struct options *second = written_and_read(&exporter_options_schema, first);
    const struct exporter_options *after = options_root(second);
    assert_false(after->has_kafka);
    assert_int_equal(after->probe_count, 0);
    options_free(first);
    options_free(second);
}

static void
the_configurations_we_ship_come_back(void **state)
{
    (void)state;
    static const struct {
        const struct options_schema *schema;
        const char *path;
    } files[] = {
        {&agent_options_schema, SOURCE_DIR "/conf/dev/agent.yaml"},
        {&sink_options_schema, SOURCE_DIR "/conf/dev/sink.yaml"},
        {&exporter_options_schema, SOURCE_DIR "/conf/dev/exporter.yaml"},
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct options *first = NULL;
        struct err err = {0};
        struct buffer names;
        buffer_init(&names, CONFIG_FILE_MAX);
        if (!options_load(&first, files[i].schema, files[i].path, &err))
            fail_msg("%s", err.text);
        struct options *second = written_and_read(files[i].schema, first);
        if (options_need_restart(first, second, &names))
            fail_msg("%s: %s", files[i].path, buffer_string(&names));
        options_free(first);
        options_free(second);
        buffer_done(&names);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_comes_back_as_it_was),
        cmocka_unit_test(what_was_not_there_is_not_there_again),
        cmocka_unit_test(the_configurations_we_ship_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
