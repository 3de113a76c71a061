/* SPDX-License-Identifier: Apache-2.0 */
/* test_wall.c: agent/wall.c: which wall clock is believed, at a start and while running. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>
#include <string.h>

#include "agent/wall.h"
#include "core/clock.h"

#define HOUR_MS ((int64_t)3600 * 1000)

static char text[256];

static int64_t
base_ms(void)
{
    return clock_build_ms() + 1000 * HOUR_MS;
}

static void
a_start_before_the_states_time_waits_and_recovers_by_itself(void **context)
{
    (void)context;
    struct wall wall;
    int64_t now = base_ms();
    wall_init(&wall, now);
    assert_int_equal(wall_look(&wall, now - HOUR_MS, 0, text, sizeof(text)), 0);
    assert_true(wall.wrong);
    assert_non_null(strstr(text, "the state was written at"));
    assert_int_equal(wall_look(&wall, now - HOUR_MS + 1000, 1000, text, sizeof(text)), 0);
    assert_true(wall.wrong);
    assert_int_equal(wall_look(&wall, now + 2000, 2000, text, sizeof(text)), HOUR_MS);
    assert_false(wall.wrong);
    assert_string_equal(text, "");
}

static void
a_little_behind_the_states_time_is_fine(void **context)
{
    (void)context;
    struct wall wall;
    wall_init(&wall, base_ms());
    assert_int_equal(wall_look(&wall, base_ms() - 60000, 0, text, sizeof(text)), 0);
    assert_false(wall.wrong);
}

static void
a_step_while_running_is_followed_in_both_directions(void **context)
{
    (void)context;
    struct wall wall;
    int64_t now = base_ms();
    wall_init(&wall, now);
    assert_int_equal(wall_look(&wall, now, 0, text, sizeof(text)), 0);
    assert_int_equal(wall_look(&wall, now + 9000 * HOUR_MS, 0, text, sizeof(text)), 9000 * HOUR_MS);
    assert_false(wall.wrong);
    assert_int_equal(wall_look(&wall, now - HOUR_MS, 0, text, sizeof(text)), -9001 * HOUR_MS);
    assert_false(wall.wrong);
    assert_int_equal(wall_look(&wall, now - HOUR_MS + 1000, 1000, text, sizeof(text)), 0);
    assert_false(wall.wrong);
}

static void
before_the_build_it_is_wrong_also_while_running(void **context)
{
    (void)context;
    struct wall wall;
    int64_t now = base_ms();
    wall_init(&wall, 0);
    (void)wall_look(&wall, now, 0, text, sizeof(text));
    assert_true(wall_look(&wall, 1000, 1000, text, sizeof(text)) < 0);
    assert_true(wall.wrong);
    assert_non_null(strstr(text, "built"));
    assert_false(wall_accept(&wall, 1000));
    assert_true(wall_look(&wall, now + 2000, 2000, text, sizeof(text)) > 0);
    assert_false(wall.wrong);
}

static void
a_person_may_accept_the_time_of_a_start(void **context)
{
    (void)context;
    struct wall wall;
    int64_t now = base_ms();
    wall_init(&wall, now + HOUR_MS);
    (void)wall_look(&wall, now, 0, text, sizeof(text));
    assert_true(wall.wrong);
    assert_true(wall_accept(&wall, now));
    (void)wall_look(&wall, now, 0, text, sizeof(text));
    assert_false(wall.wrong);
    assert_false(wall_accept(&wall, now));
}

static void
slewing_and_sleep_are_no_steps(void **context)
{
    (void)context;
    struct wall wall;
    int64_t now = base_ms();
    wall_init(&wall, now);
    (void)wall_look(&wall, now, 0, text, sizeof(text));
    for (int64_t i = 1; i < 1000; i++)
        assert_int_equal(wall_look(&wall, now + i * 1100, i * 1000, text, sizeof(text)), 0);
    int64_t slept = 100 * HOUR_MS;
    assert_int_equal(wall_look(&wall, now + 1098900 + slept, 999000 + slept, text, sizeof(text)),
                     0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_before_the_states_time_waits_and_recovers_by_itself),
        cmocka_unit_test(a_little_behind_the_states_time_is_fine),
        cmocka_unit_test(a_step_while_running_is_followed_in_both_directions),
        cmocka_unit_test(before_the_build_it_is_wrong_also_while_running),
        cmocka_unit_test(a_person_may_accept_the_time_of_a_start),
        cmocka_unit_test(slewing_and_sleep_are_no_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
