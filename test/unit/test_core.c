/* SPDX-License-Identifier: Apache-2.0 */
/* The small parts of core: err, buffer, clock, event_id. */
#include <stdio.h>
#include <xxhash.h>

#include "core/buffer.h"
#include "core/clock.h"
#include "core/err.h"
#include "core/event_id.h"
#include "test/unit/unit.h"

static void
a_wrapped_error_reads_from_outside_to_inside(void **state)
{
    (void)state;
    struct err err;
    assert_false(err_errno(&err, ERR_RETRY, 2, "read '%s'", "/a"));
    assert_string_equal(err.text, "cannot read '/a': No such file or directory");
    assert_false(err_wrap(&err, "input '%s'", "nginx"));
    assert_string_equal(err.text, "input 'nginx': cannot read '/a': No such file or directory");
    assert_int_equal(err.action, ERR_RETRY);
    assert_int_equal(err.code, 2);
}

static void
an_endless_error_is_cut_and_terminated(void **state)
{
    (void)state;
    struct err err;
    char text[2000];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    assert_false(err_set(&err, ERR_STOP, 1, "%s", text));
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    assert_false(err_wrap(&err, "%s", text));
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
}

static void
a_buffer_stops_at_its_limit_and_says_so(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 10);
    buffer_text(&buffer, "12345");
    buffer_format(&buffer, "%d", 67890);
    assert_false(buffer.failed);
    assert_string_equal(buffer_string(&buffer), "1234567890");
    buffer_text(&buffer, "1");
    assert_true(buffer.failed);
    assert_int_equal(buffer.size, 10);
    buffer_clear(&buffer);
    assert_false(buffer.failed);
    assert_string_equal(buffer_string(&buffer), "");
    buffer_done(&buffer);
}

static void
times_are_written_in_utc_with_milliseconds(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {951782400123, "2000-02-29T00:00:00.123Z"},
        {1793491200000, "2026-11-01T00:00:00.000Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {INT64_MIN, "0000-01-01T00:00:00.000Z"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[CLOCK_TEXT_SIZE + 1] = {0};
        clock_format_utc(cases[i].ms, out);
        assert_string_equal(out, cases[i].text);
    }
}

static void
an_event_id_has_its_fixed_form_and_is_recognised(void **state)
{
    (void)state;
    struct generation_id id = {.birth_seconds = 0x6540a1b2, .random = 0x0123456789abcdef};
    char generation[GENERATION_TEXT_SIZE];
    generation_id_format(id, generation);
    char key[EVENT_ID_SIZE + 1] = {0};
    event_id_format(key, generation, 255, XXH3_64bits("", 0));
    assert_string_equal(key, "t1.6540a1b20123456789abcdef.00000000000000ff.2d06800538d394c2");
    assert_true(event_id_is_ours(key, EVENT_ID_SIZE));
}

static void
generations_do_not_repeat(void **state)
{
    (void)state;
    struct generation_id one = generation_id_new();
    struct generation_id two = generation_id_new();
    assert_true(one.random != two.random);
    assert_true(one.birth_seconds > 1700000000);
}

static void
foreign_keys_are_not_taken_for_ours(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        bool ours;
    } cases[] = {
        {"t1.j.0123456789abcdef", true},
        {"t2.anything-that_is.safe", true},
        {"t17.x", true},
        {"", false},
        {"t", false},
        {"t1", false},
        {"t1.", false},
        {"t2.", false},
        {"t1.j.0123456789abcdeF", false},
        {"t1.j.0123456789abcde", false},
        {"t1.6540a1b20123456789abcdef.00000000000000ff.2d06800538d394c", false},
        {"t1.6540a1b20123456789abcdef-00000000000000ff.2d06800538d394c2", false},
        {"t1.6540a1b20123456789abcdeg.00000000000000ff.2d06800538d394c2", false},
        {"t2.a\"b", false},
        {"t2.a b", false},
        {"tx.abc", false},
        {"user-42", false},
        {"t123456789.x", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (event_id_is_ours(cases[i].key, strlen(cases[i].key)) != cases[i].ours)
            fail_msg("'%s'", cases[i].key);
    assert_false(event_id_is_ours(NULL, 0));

    char longest[520];
    memset(longest, 'a', sizeof(longest));
    memcpy(longest, "t2.", 3);
    assert_true(event_id_is_ours(longest, 503));
    assert_false(event_id_is_ours(longest, 504));
}

static void
a_foreign_id_names_its_place_and_content(void **state)
{
    (void)state;
    char one[FOREIGN_ID_MAX];
    char two[FOREIGN_ID_MAX];
    size_t size = event_id_foreign(one, "cluster", "topic", 3, 42, 1700000000000, "v", 1);
    assert_int_equal(size, strlen(one));
    assert_memory_equal(one, "k1.", 3);
    assert_non_null(strstr(one, ".3.42.1700000000000."));
    (void)event_id_foreign(two, "cluster", "topic", 3, 42, 1700000000000, "w", 1);
    assert_string_not_equal(one, two);
    (void)event_id_foreign(two, "other", "topic", 3, 42, 1700000000000, "v", 1);
    assert_string_not_equal(one, two);
    (void)event_id_foreign(two, "cluster", "topic", 3, 42, 1700000000000, NULL, 0);
    assert_string_not_equal(one, two);
    assert_true(event_id_foreign(one, "", "t", INT32_MIN, INT64_MIN, INT64_MIN, NULL, 0) <
                FOREIGN_ID_MAX);
}

static void
a_foreign_id_is_kept_only_with_its_own_value(void **state)
{
    (void)state;
    char id[FOREIGN_ID_MAX];
    int64_t time = 0;
    size_t size = event_id_foreign(id, "cluster", "topic", 3, 42, 1700000000000, "v", 1);
    assert_true(event_id_foreign_fits(id, size, "v", 1, &time));
    assert_int_equal(time, 1700000000000);
    assert_false(event_id_foreign_fits(id, size, "w", 1, &time));
    assert_false(event_id_foreign_fits(id, size, NULL, 0, &time));
    for (size_t less = 0; less < size; less++)
        assert_false(event_id_foreign_fits(id, less, "v", 1, &time));
    assert_false(event_id_foreign_fits(id, size + 1, "v", 1, &time)); /* its terminator */
    assert_false(event_id_foreign_fits(NULL, 0, "v", 1, &time));
    id[0] = 't';
    assert_false(event_id_foreign_fits(id, size, "v", 1, &time));

    size = event_id_foreign(id, "", "topic", 0, 0, -1, NULL, 0);
    assert_true(event_id_foreign_fits(id, size, NULL, 0, &time));
    assert_int_equal(time, -1);
    static const char *const others[] = {
        "k1.0123456789abcdef.03.42.1.0000000000000000",
        "k1.0123456789abcdef.3.42.1.",
        "k1.0123456789abcdeg.3.42.1.0000000000000000",
        "k1.0123456789abcdef.3.-0.1.0000000000000000",
        "k1.0123456789abcdef.3.42.0000000000000000",
        "k1.0123456789abcdef.3..1.0000000000000000",
        "k1.0123456789abcdef.3.42.1.00000000000000000",
        "k1.0123456789abcdef-3.42.1.0000000000000000",
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(event_id_foreign_fits(others[i], strlen(others[i]), NULL, 0, &time));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrapped_error_reads_from_outside_to_inside),
        cmocka_unit_test(an_endless_error_is_cut_and_terminated),
        cmocka_unit_test(a_buffer_stops_at_its_limit_and_says_so),
        cmocka_unit_test(times_are_written_in_utc_with_milliseconds),
        cmocka_unit_test(an_event_id_has_its_fixed_form_and_is_recognised),
        cmocka_unit_test(generations_do_not_repeat),
        cmocka_unit_test(foreign_keys_are_not_taken_for_ours),
        cmocka_unit_test(a_foreign_id_names_its_place_and_content),
        cmocka_unit_test(a_foreign_id_is_kept_only_with_its_own_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
