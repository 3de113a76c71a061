/* SPDX-License-Identifier: Apache-2.0 */
#include "core/log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "test/unit/unit.h"

static char printed[65536];
static int saved_stderr = -1;
static int capture_fd = -1;

static void
capture_begin(void)
{
    capture_fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_true(capture_fd >= 0);
    saved_stderr = dup(STDERR_FILENO);
    assert_true(dup2(capture_fd, STDERR_FILENO) >= 0);
}

static const char *
capture_end(void)
{
    assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
    (void)close(saved_stderr);
    ssize_t size = pread(capture_fd, printed, sizeof(printed) - 1, 0);
    assert_true(size >= 0);
    printed[size] = '\0';
    (void)close(capture_fd);
    return printed;
}

static size_t
count(const char *text, const char *part)
{
    size_t found = 0;
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part))
        found++;
    return found;
}

static void
a_repeated_message_is_gathered_and_counted(void **state)
{
    (void)state;
    log_setup("test", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    capture_begin();
    for (int i = 0; i < 1000; i++)
        log_warn("cannot reach %s", "kafka");
    log_flush();
    const char *text = capture_end();
    assert_int_equal(count(text, "cannot reach kafka"), 2);
    assert_int_equal(count(text, "(999 such messages since the last)"), 1);
}

static void
different_messages_of_one_place_are_all_printed_while_few(void **state)
{
    (void)state;
    log_setup("test", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    capture_begin();
    for (int i = 0; i < 4; i++)
        log_error("file %d", i);
    const char *text = capture_end();
    assert_int_equal(count(text, "ERROR file "), 4);
}

static void
a_level_below_the_chosen_one_is_silent(void **state)
{
    (void)state;
    log_setup("test", LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
    capture_begin();
    log_info("nothing");
    log_debug("nothing");
    assert_string_equal(capture_end(), "");
}

static void
a_file_name_cannot_forge_a_line(void **state)
{
    (void)state;
    log_setup("test", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    capture_begin();
    log_info("read '%s'", "a\n2026 ERROR forged");
    const char *text = capture_end();
    assert_int_equal(count(text, "\n"), 1);
    assert_non_null(strstr(text, "a\\x0a2026"));
}

static void
json_lines_are_whole_objects(void **state)
{
    (void)state;
    log_setup("test", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    capture_begin();
    log_info("he said \"no\"%c", '\n');
    const char *text = capture_end();
    assert_non_null(strstr(text, "\"log.level\":\"info\",\"service.name\":\"test\","
                                 "\"message\":\"he said \\\"no\\\"\\n\"}\n"));
    log_setup("test", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_repeated_message_is_gathered_and_counted),
        cmocka_unit_test(different_messages_of_one_place_are_all_printed_while_few),
        cmocka_unit_test(a_level_below_the_chosen_one_is_silent),
        cmocka_unit_test(a_file_name_cannot_forge_a_line),
        cmocka_unit_test(json_lines_are_whole_objects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
