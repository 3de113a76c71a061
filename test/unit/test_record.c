/* SPDX-License-Identifier: Apache-2.0 */
#include "test/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/buffer.h"
#include "sinks/record.h"

#define NOW_MS 1795241520123 /* 2026-11-21T06:12:00.123Z */
#define STAMP "{\"@timestamp\":\"2026-11-21T06:12:00.123Z\""

static void
assert_converts(const char *value, const char *expected)
{
    size_t size = value == NULL ? 0 : strlen(value);
    struct buffer out;
    buffer_init(&out, 64 * 1024 * 1024);
    (void)record_convert(&out, value, size, NOW_MS);
    assert_string_equal(buffer_string(&out), expected);
    assert_null(memchr(out.bytes, '\n', out.size));
    buffer_done(&out);
}

static bool
ready(const char *value)
{
    return record_is_ready(value, strlen(value));
}

static void
own_event_is_taken_as_it_is(void **state)
{
    (void)state;
    assert_true(ready(STAMP ",\"message\":\"a\"}"));
    assert_true(ready(STAMP "}"));
}

static void
value_that_could_break_its_line_is_never_taken_as_it_is(void **state)
{
    (void)state;
    assert_false(ready(STAMP "}\n{\"delete\":{\"_id\":\"x\"}}"));
    assert_false(ready(STAMP "}\n"));
    assert_false(ready("{\"message\":\"a\"}"));
    assert_false(ready(""));
    assert_false(record_is_ready(NULL, 0));
}

static void
object_gets_the_records_timestamp_when_it_has_none(void **state)
{
    (void)state;
    assert_converts("{\"a\":1}", STAMP ",\"a\":1}");
    assert_converts("{}", STAMP "}");
    assert_converts("  { } ", STAMP " } ");
}

static void
object_keeps_its_own_timestamp(void **state)
{
    (void)state;
    assert_converts("{\"a\":1,\"@timestamp\":5}", "{\"a\":1,\"@timestamp\":5}");
    assert_converts("{\"\\u0040timestamp\":5}", "{\"\\u0040timestamp\":5}");
    assert_converts("{\"a\":{\"@timestamp\":5}}", STAMP ",\"a\":{\"@timestamp\":5}}");
}

static void
own_time_field_wins_over_the_records_timestamp(void **state)
{
    (void)state;
    assert_converts("{\"ts\":1700000000}",
                    "{\"@timestamp\":\"2023-11-14T22:13:20.000Z\",\"ts\":1700000000}");
    assert_converts("{\"time\":\"2024-02-29 23:59:59,5+01:00\",\"ts\":7}",
                    "{\"@timestamp\":\"2024-02-29T22:59:59.500Z\","
                    "\"time\":\"2024-02-29 23:59:59,5+01:00\",\"ts\":7}");
    assert_converts("{\"time\":1,\"timestamp\":\"noon\"}",
                    STAMP ",\"time\":1,\"timestamp\":\"noon\"}");
    assert_converts("{\"time\":1700000001,\"timestamp\":1700000000}",
                    "{\"@timestamp\":\"2023-11-14T22:13:20.000Z\","
                    "\"time\":1700000001,\"timestamp\":1700000000}");
    assert_converts("{\"x\":{\"ts\":1700000000}}", STAMP ",\"x\":{\"ts\":1700000000}}");
}

static void
newlines_between_tokens_become_spaces(void **state)
{
    (void)state;
    assert_converts("{\r\n\"a\":\n1\n}\n", STAMP ",  \"a\": 1 } ");
}

static void
anything_else_becomes_a_message(void **state)
{
    (void)state;
    assert_converts("not json\n",
                    STAMP ",\"message\":\"not json\\n\",\"log.flags\":[\"unparsed\"]}");
    assert_converts("", STAMP ",\"message\":\"\",\"log.flags\":[\"unparsed\"]}");
    assert_converts(NULL, STAMP ",\"message\":\"\",\"log.flags\":[\"unparsed\"]}");
    assert_converts("[1]", STAMP ",\"message\":\"[1]\",\"log.flags\":[\"unparsed\"]}");
    assert_converts("7", STAMP ",\"message\":\"7\",\"log.flags\":[\"unparsed\"]}");
    assert_converts("null", STAMP ",\"message\":\"null\",\"log.flags\":[\"unparsed\"]}");
    assert_converts("{\"a\":1}{",
                    STAMP ",\"message\":\"{\\\"a\\\":1}{\",\"log.flags\":[\"unparsed\"]}");
    assert_converts("{\"a\":1",
                    STAMP ",\"message\":\"{\\\"a\\\":1\",\"log.flags\":[\"unparsed\"]}");
}

static void
bytes_that_are_no_utf8_are_repaired_and_flagged(void **state)
{
    (void)state;
    assert_converts("a\xff", STAMP ",\"message\":\"a\xEF\xBF\xBD\",\"log.flags\":"
                                   "[\"invalid_utf8\",\"unparsed\"]}");
    /* An overlong NUL, which the parser alone would let pass. */
    assert_converts("{\"a\":\"\xc0\x80\"}",
                    STAMP ",\"message\":\"{\\\"a\\\":\\\"\xEF\xBF\xBD\xEF\xBF\xBD\\\"}\","
                          "\"log.flags\":[\"invalid_utf8\",\"unparsed\"]}");
}

static void
deep_nesting_is_text_and_costs_no_stack(void **state)
{
    (void)state;
    enum { DEPTH = 100000 };
    char *value = malloc(DEPTH * 6 + 1);
    assert_non_null(value);
    size_t size = 0;
    for (size_t i = 0; i < DEPTH; i++) {
        memcpy(value + size, "{\"a\":[", 6);
        size += 6;
    }
    struct buffer out;
    buffer_init(&out, 64 * 1024 * 1024);
    (void)record_convert(&out, value, size, NOW_MS);
    assert_false(out.failed);
    assert_non_null(strstr(buffer_string(&out), "\"log.flags\":[\"unparsed\"]}"));
    buffer_done(&out);
    free(value);
}

static void
depth_limit_is_exact(void **state)
{
    (void)state;
    for (int extra = 0; extra <= 1; extra++) {
        char value[RECORD_DEPTH_MAX * 2 + 64] = "{\"a\":";
        size_t size = strlen(value);
        memset(value + size, '[', (size_t)(RECORD_DEPTH_MAX - 1 + extra));
        size += (size_t)(RECORD_DEPTH_MAX - 1 + extra);
        memset(value + size, ']', (size_t)(RECORD_DEPTH_MAX - 1 + extra));
        size += (size_t)(RECORD_DEPTH_MAX - 1 + extra);
        value[size++] = '}';
        struct buffer out;
        buffer_init(&out, 65536);
        (void)record_convert(&out, value, size, NOW_MS);
        assert_int_equal(strstr(buffer_string(&out), "unparsed") != NULL, extra);
        buffer_done(&out);
    }
}

static void
times_are_read_in_the_forms_people_write(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t wall_ms;
    } good[] = {
        {"2026-11-21T06:12:00.123Z", NOW_MS},
        {"2026-11-21T06:12:00.123456789Z", NOW_MS},
        {"2026-11-21 07:12:00,123+0100", NOW_MS},
        {"2026-11-21T06:12:00.123", NOW_MS},
        {"2026-11-20T23:12:00.123-07", NOW_MS},
        {"1970-01-01T00:00:00Z", 0},
        {"1969-12-31T23:59:59Z", -1000},
        {"2000-02-29T00:00:00Z", 951782400000},
        {"1795241520", 1795241520000},
        {"1795241520.123", NOW_MS},
        {"1795241520123", NOW_MS},
        {"1795241520123456", NOW_MS},
        {"1795241520123456789", NOW_MS},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        int64_t wall_ms = 0;
        assert_true(record_parse_time(good[i].text, strlen(good[i].text), &wall_ms));
        assert_int_equal(wall_ms, good[i].wall_ms);
    }
    static const char *const bad[] = {
        "",     "2026-13-01T00:00:00Z", "2026-11-21",           "2026-11-21T25:00:00Z", "12",
        "noon", "2026-11-21T06:12:00.", "2026-11-21T06:12:00Q", "99999999999999999999", "-1",
        "1e9",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t wall_ms = 0;
        assert_false(record_parse_time(bad[i], strlen(bad[i]), &wall_ms));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_event_is_taken_as_it_is),
        cmocka_unit_test(value_that_could_break_its_line_is_never_taken_as_it_is),
        cmocka_unit_test(object_gets_the_records_timestamp_when_it_has_none),
        cmocka_unit_test(object_keeps_its_own_timestamp),
        cmocka_unit_test(own_time_field_wins_over_the_records_timestamp),
        cmocka_unit_test(newlines_between_tokens_become_spaces),
        cmocka_unit_test(anything_else_becomes_a_message),
        cmocka_unit_test(bytes_that_are_no_utf8_are_repaired_and_flagged),
        cmocka_unit_test(deep_nesting_is_text_and_costs_no_stack),
        cmocka_unit_test(depth_limit_is_exact),
        cmocka_unit_test(times_are_read_in_the_forms_people_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
