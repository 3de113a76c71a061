/* SPDX-License-Identifier: Apache-2.0 */
#include "test/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <yajl/yajl_tree.h>

#include "core/buffer.h"
#include "sinks/nest.h"

#define STAMP "\"@timestamp\":\"2026-11-21T06:12:00.123Z\""

static void
assert_nests(const char *object, const char *expected)
{
    struct buffer out;
    buffer_init(&out, 1024 * 1024);
    assert_true(nest_object(&out, object, strlen(object)));
    assert_string_equal(buffer_string(&out), expected);
    buffer_done(&out);
}

static void
assert_stays(const char *object)
{
    struct buffer out;
    buffer_init(&out, 1024 * 1024);
    assert_false(nest_object(&out, object, strlen(object)));
    assert_int_equal(out.size, 0);
    buffer_done(&out);
}

static void
object_of_known_names_stays_as_it_is(void **state)
{
    (void)state;
    assert_stays("{" STAMP "}");
    assert_stays("{" STAMP ",\"message\":\"a\",\"status_code\":200,\"host.name\":null}");
    assert_stays("{}");
}

static void
unknown_names_move_below_json(void **state)
{
    (void)state;
    assert_nests("{" STAMP ",\"a\":1}", "{" STAMP ",\"json\":{\"a\":1}}");
    assert_nests("{" STAMP
                 ",\"a\" : 1.5e3 , \"message\":\"m\",\"b\":{\"message\":[1,{}]},\"c\":null }",
                 "{" STAMP ",\"message\":\"m\",\"json\":{\"a\" : 1.5e3,\"b\":{\"message\":[1,{}]},"
                 "\"c\":null}}");
    assert_nests("{\"a\":[]}", "{\"json\":{\"a\":[]}}");
    assert_nests("{\"json\":1,\"\":true}", "{\"json\":{\"json\":1,\"\":true}}");
    assert_nests("{\"host\":\"web-1\"}", "{\"json\":{\"host\":\"web-1\"}}");
}

/* yajl takes more for a blank than JSON does. */
static void
odd_blanks_between_members_do_not_break_them(void **state)
{
    (void)state;
    assert_nests("{" STAMP "\v\f,\t\"a\":1\v}", "{" STAMP ",\"json\":{\"a\":1}}");
    assert_nests("{" STAMP ",\"message\":\"m\"\v\v,\"a\":1}",
                 "{" STAMP ",\"message\":\"m\",\"json\":{\"a\":1}}");
}

static void
timestamp_comes_first_wherever_it_stood(void **state)
{
    (void)state;
    assert_nests("{\"a\":1,\"message\":\"m\"," STAMP "}",
                 "{" STAMP ",\"message\":\"m\",\"json\":{\"a\":1}}");
    assert_nests("{\"message\":\"m\", " STAMP "}", "{" STAMP ",\"message\":\"m\"}");
}

static void
known_name_with_an_object_or_an_array_moves(void **state)
{
    (void)state;
    assert_nests("{" STAMP ",\"message\":{\"a\":1},\"level\":[\"x\"]}",
                 "{" STAMP ",\"json\":{\"message\":{\"a\":1},\"level\":[\"x\"]}}");
}

static void
escapes_and_brackets_in_texts_are_no_structure(void **state)
{
    (void)state;
    assert_nests("{\"a\":\"}\\\",{\",\"\\u006dessage\":\"m\",\"b\":\"\\\\\"}",
                 "{\"\\u006dessage\":\"m\",\"json\":{\"a\":\"}\\\",{\",\"b\":\"\\\\\"}}");
}

/* What no index would take as a term is kept where nothing is searched. */
static void
long_texts_long_names_and_nul_names_are_kept_unindexed(void **state)
{
    (void)state;
    assert_nests("{" STAMP ",\"a\\u0000\":1}", "{" STAMP ",\"json_unindexed\":{\"a\\u0000\":1}}");
    char *object = malloc(2 * NEST_TEXT_MAX);
    assert_non_null(object);
    for (int extra = 0; extra <= 1; extra++) {
        struct buffer out;
        buffer_init(&out, 1024 * 1024);
        int size = snprintf(object, 2 * NEST_TEXT_MAX, "{\"a\":{\"b\":\"%0*d\"}}",
                            NEST_TEXT_MAX + extra, 0);
        assert_true(nest_object(&out, object, (size_t)size));
        assert_int_equal(strstr(buffer_string(&out), "json_unindexed") != NULL, extra);
        buffer_clear(&out);
        size = snprintf(object, 2 * NEST_TEXT_MAX, "{\"%0*d\":{\"%0*d\":1}}", NEST_PATH_MAX / 2, 0,
                        NEST_PATH_MAX / 2 - 2 + extra, 0);
        assert_true(nest_object(&out, object, (size_t)size));
        assert_int_equal(strstr(buffer_string(&out), "json_unindexed") != NULL, extra);
        buffer_done(&out);
    }
    free(object);
    /* A long text under a known name is no reason. */
    char known[NEST_TEXT_MAX + 64];
    int size =
        snprintf(known, sizeof(known), "{\"message\":\"%0*d\",\"a\":1}", NEST_TEXT_MAX + 1, 0);
    struct buffer out;
    buffer_init(&out, 1024 * 1024);
    assert_true(nest_object(&out, known, (size_t)size));
    assert_null(strstr(buffer_string(&out), "json_unindexed"));
    buffer_done(&out);
}

static void
short_memory_is_latched(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 16);
    const char *object = "{" STAMP ",\"a\":1}";
    assert_true(nest_object(&out, object, strlen(object)));
    assert_true(out.failed);
    buffer_done(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(object_of_known_names_stays_as_it_is),
        cmocka_unit_test(unknown_names_move_below_json),
        cmocka_unit_test(odd_blanks_between_members_do_not_break_them),
        cmocka_unit_test(timestamp_comes_first_wherever_it_stood),
        cmocka_unit_test(known_name_with_an_object_or_an_array_moves),
        cmocka_unit_test(escapes_and_brackets_in_texts_are_no_structure),
        cmocka_unit_test(long_texts_long_names_and_nul_names_are_kept_unindexed),
        cmocka_unit_test(short_memory_is_latched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
