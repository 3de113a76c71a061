/* SPDX-License-Identifier: Apache-2.0 */
/* test_agent_options.c: agent/options.c: each mistake is refused with one sentence, its file and
 * line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "agent/options.h"

struct bad_case {
    const char *text, *place, *says;
};

static bool
load(const char *text, struct err *err)
{
    struct options *loaded;
    if (!options_parse(&loaded, &agent_options_schema, "agent.yaml", text, strlen(text), err))
        return false;
    bool fine = agent_options_check(loaded, err);
    options_free(loaded);
    return fine;
}

static void
mistakes_are_refused_with_their_place(void **unused)
{
    (void)unused;
    static const struct bad_case cases[] = {
        {"kafka: {topic: t}\n", "agent.yaml:1", "there are no inputs"},
        {"files:\n  - paths: [/a]\n", "agent.yaml:2", "name"},
        {"files:\n  - name: a\n", "agent.yaml:2", "paths"},
        {"files:\n  - {name: a, paths: []}\n", "agent.yaml:2", "no paths"},
        {"files:\n  - {name: a, paths: [a.log]}\n", "agent.yaml:2", "not absolute"},
        {"files:\n  - {name: a, paths: [/var/log/]}\n", "agent.yaml:2", "names a folder"},
        {"files:\n  - {name: a, paths: [/a]}\n  - {name: a, paths: [/b]}\n", "agent.yaml:3",
         "agent.yaml:2"},
        {"files:\n  - {name: \"\", paths: [/a]}\n", "agent.yaml:2", "name"},
        {"files:\n  - {name: a, paths: [/a], topic: \"a b\"}\n", "agent.yaml:2", "topic name"},
        {"files:\n  - {name: a, paths: [/a], topic: ..}\n", "agent.yaml:2", "topic name"},
        {"files:\n  - {name: a, paths: [/a], fields: {message: x}}\n", "agent.yaml:2", "message"},
        {"files:\n  - {name: a, paths: [/a], fields: {\"@timestamp\": x}}\n", "agent.yaml:2",
         "@timestamp"},
        {"files:\n  - {name: a, paths: [/a], fields: {log.level: x}}\n", "agent.yaml:2",
         "log.level"},
        {"files:\n  - {name: a, paths: [/a], fields: {host.name: x}}\n", "agent.yaml:2",
         "host.name"},
        {"files:\n  - {name: a, paths: [/a], parser: nginx}\n", "agent.yaml:2", "raw"},
        {"files:\n  - {name: a, paths: [/a], start_at: middle}\n", "agent.yaml:2", "beginning"},
        {"files:\n  - {name: a, paths: [/a], exclude: [\"\"]}\n", "agent.yaml:2", "exclude"},
        {"files:\n  - {name: a, paths: [/a], ignore_older: 5}\n", "agent.yaml:2", "ignore_older"},
        {"files:\n  - {name: a, paths: [/a], part_size: 3MB}\n", "agent.yaml:2", "memory"},
        {"files:\n  - {name: a, paths: [/a], part_size: 10}\n", "agent.yaml:2", "part_size"},
        {"files:\n  - {name: a, pathes: [/a]}\n", "agent.yaml:2", "paths"},
        {"state_dir: here\nfiles: [{name: a, paths: [/a]}]\n", "agent.yaml:1", "not absolute"},
        {"memory: 1MiB\nfiles: [{name: a, paths: [/a]}]\n", "agent.yaml:1", "memory"},
        {"kafka: {compression: brotli}\nfiles: [{name: a, paths: [/a]}]\n", "agent.yaml:1",
         "snappy"},
        {"kafka: {topic: \"\"}\nfiles: [{name: a, paths: [/a]}]\n", "agent.yaml:1", "topic"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err = {0};
        if (load(cases[i].text, &err))
            fail_msg("accepted: %s", cases[i].text);
        assert_int_equal(err.action, ERR_CONFIG);
        if (strstr(err.text, cases[i].place) == NULL || strstr(err.text, cases[i].says) == NULL)
            fail_msg("%s\n says: %s", cases[i].text, err.text);
        assert_null(strchr(err.text, '\n'));
    }
}

static void
small_configuration_is_enough(void **unused)
{
    (void)unused;
    struct err err;
    if (!load("files:\n  - {name: a, paths: /var/log/*.log}\n", &err))
        fail_msg("%s", err.text);
}

static void
inputs_are_compared_in_all_that_matters(void **unused)
{
    (void)unused;
    static const char *const texts[] = {
        "{name: a, paths: [/a]}",
        "{name: a, paths: [/b]}",
        "{name: a, paths: [/a], exclude: [x]}",
        "{name: a, paths: [/a], topic: x}",
        "{name: a, paths: [/a], fields: {x: 1}}",
        "{name: a, paths: [/a], fields: {x: \"1\"}}",
        "{name: a, paths: [/a], start_at: end}",
        "{name: a, paths: [/a], ignore_older: 1h}",
        "{name: a, paths: [/a], rate_limit: 1KiB}",
        "{name: a, paths: [/a], part_size: 1KiB}",
    };
    enum { count = sizeof(texts) / sizeof(texts[0]) };
    struct options *loaded[count];
    for (size_t i = 0; i < count; i++) {
        char text[256];
        struct err err;
        (void)snprintf(text, sizeof(text), "files: [%s]\n", texts[i]);
        if (!options_parse(&loaded[i], &agent_options_schema, "a", text, strlen(text), &err))
            fail_msg("%s", err.text);
    }
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < count; k++) {
            const struct agent_options *a = options_root(loaded[i]);
            const struct agent_options *b = options_root(loaded[k]);
            assert_int_equal(agent_files_equal(&a->files[0], &b->files[0]), i == k);
        }
    for (size_t i = 0; i < count; i++)
        options_free(loaded[i]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_are_refused_with_their_place),
        cmocka_unit_test(small_configuration_is_enough),
        cmocka_unit_test(inputs_are_compared_in_all_that_matters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
