/* SPDX-License-Identifier: Apache-2.0 */
/* test_habits.c: agent/habits.c and agent/pace.c: what is usual, and how often is too often. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>

#include "agent/habits.h"
#include "agent/pace.h"

#define SECOND ((uint64_t)1000)

static void
a_file_that_writes_each_second_is_silent_after_a_minute(void **state)
{
    (void)state;
    struct habit habit = {0};
    uint64_t now_ms = 1000 * SECOND;
    for (int i = 0; i < 30; i++, now_ms += SECOND)
        habit_grew(&habit, now_ms);
    now_ms -= SECOND;
    assert_in_range(habit_usual_gap_ms(&habit), 1000, 1100);
    assert_false(habit_is_silent(&habit, now_ms + 59 * SECOND));
    assert_true(habit_is_silent(&habit, now_ms + 61 * SECOND));
}

static void
silence_is_measured_by_the_usual_gap(void **state)
{
    (void)state;
    struct habit habit = {0};
    uint64_t now_ms = 1000 * SECOND;
    for (int i = 0; i < 30; i++, now_ms += 3600 * SECOND)
        habit_grew(&habit, now_ms);
    now_ms -= 3600 * SECOND;
    assert_false(habit_is_silent(&habit, now_ms + 3 * 3600 * SECOND));
    assert_true(habit_is_silent(&habit, now_ms + 5 * 3600 * SECOND));
}

static void
a_file_of_few_growths_has_no_usual_gap(void **state)
{
    (void)state;
    struct habit habit = {0};
    assert_false(habit_is_silent(&habit, 10000 * SECOND));
    for (uint64_t i = 1; i < 5; i++)
        habit_grew(&habit, i * SECOND);
    assert_int_equal(habit_usual_gap_ms(&habit), 0);
    assert_false(habit_is_silent(&habit, 10000 * SECOND));
}

static void
a_rate_follows_a_steady_stream_and_is_forgotten(void **state)
{
    (void)state;
    struct habit habit = {0};
    uint64_t now_ms = 1000 * SECOND;
    for (int i = 0; i < 2000; i++, now_ms += 100)
        habit_delivered(&habit, 1000, now_ms);
    assert_true(fabs(habit_rate(&habit, now_ms) - 10000) < 500);
    assert_true(fabs(habit_rate(&habit, now_ms + 40 * SECOND) - 2500) < 200);
    assert_true(habit_rate(&habit, now_ms + 3600 * SECOND) == 0);
}

static void
danger_is_known_from_the_second_rotation_on(void **state)
{
    (void)state;
    struct rotations rotations = {0};
    const char *path = "/var/log/a.log";
    struct rotation *rotation = rotations_note(&rotations, path, false, 100 * SECOND);
    assert_true(rotation_danger_ms(rotation, 0) == UINT64_MAX);
    assert_true(rotation_danger_ms(rotations_find(&rotations, "/other"), 0) == UINT64_MAX);
    assert_ptr_equal(rotations_note(&rotations, path, false, 200 * SECOND), rotation);
    assert_ptr_equal(rotations_note(&rotations, path, false, 201 * SECOND), rotation);
    assert_int_equal(rotation->interval_ms, 100 * SECOND);
    /* Renamed twice before it goes; renamed once already; truncated the next time. */
    assert_int_equal(rotation_danger_ms(rotation, 0), 400 * SECOND);
    assert_int_equal(rotation_danger_ms(rotation, 200 * SECOND), 300 * SECOND);
    (void)rotations_note(&rotations, path, true, 300 * SECOND);
    assert_int_equal(rotation_danger_ms(rotation, 0), 400 * SECOND);
    rotations_done(&rotations);
}

static void
loss_is_expected_when_the_rate_does_not_suffice(void **state)
{
    (void)state;
    uint64_t now_ms = 1000 * SECOND;
    assert_true(isinf(rotation_loss_seconds(now_ms + 100 * SECOND, now_ms, 1000, 10)));
    assert_true(rotation_loss_seconds(now_ms + 100 * SECOND, now_ms, 1001, 10) == 100);
    assert_true(rotation_loss_seconds(now_ms + 100 * SECOND, now_ms, 1, 0) == 100);
    assert_true(rotation_loss_seconds(now_ms - 1, now_ms, 1, 0) == 0);
}

static void
paths_whose_rotations_are_remembered_are_bounded(void **state)
{
    (void)state;
    struct rotations rotations = {0};
    char path[32];
    for (int i = 0; i < ROTATIONS_MAX + 10; i++) {
        (void)snprintf(path, sizeof(path), "/f%d", i);
        bool kept = rotations_note(&rotations, path, false, SECOND) != NULL;
        assert_int_equal(kept, i < ROTATIONS_MAX);
    }
    assert_int_equal(rotations.count, ROTATIONS_MAX);
    rotations_done(&rotations);
}

static void
a_pace_keeps_its_share_and_its_rounds_apart(void **state)
{
    (void)state;
    struct pace pace = {0};
    assert_int_equal(pace_next_ms(&pace, 300, false, 1000, 5000), 300);
    assert_int_equal(pace_next_ms(&pace, 700, false, 1000, 5000), 700);
    assert_int_equal(pace_next_ms(&pace, 1000, true, 1000, 5000), 4000);
    assert_int_equal(pace.last_cost_us, 2000);
    /* A costly round takes as long as its share says. */
    for (int i = 0; i < 400; i++)
        assert_int_equal(pace_next_ms(&pace, 250, false, 1000, 5000), 250);
    assert_int_equal(pace_next_ms(&pace, 250, true, 1000, 5000), 250);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_writes_each_second_is_silent_after_a_minute),
        cmocka_unit_test(silence_is_measured_by_the_usual_gap),
        cmocka_unit_test(a_file_of_few_growths_has_no_usual_gap),
        cmocka_unit_test(a_rate_follows_a_steady_stream_and_is_forgotten),
        cmocka_unit_test(danger_is_known_from_the_second_rotation_on),
        cmocka_unit_test(loss_is_expected_when_the_rate_does_not_suffice),
        cmocka_unit_test(paths_whose_rotations_are_remembered_are_bounded),
        cmocka_unit_test(a_pace_keeps_its_share_and_its_rounds_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
