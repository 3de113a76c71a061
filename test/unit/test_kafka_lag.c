/* SPDX-License-Identifier: Apache-2.0 */
#include "test/unit/unit.h"

#include "exporters/kafka/headway.h"
#include "exporters/kafka/history.h"

#define MINUTE 60000

/* When the record was written, or -1. */
static int64_t
when(const struct history *history, int64_t offset, enum history_method wanted)
{
    int64_t at_ms = -1;
    assert_int_equal(history_when(history, offset, &at_ms), wanted);
    return at_ms;
}

static void
an_offset_between_two_points_is_told_as_the_time_between_them(void **state)
{
    (void)state;
    struct history history = {0};
    history_add(&history, 100, 1000);
    history_add(&history, 200, 2000);
    assert_int_equal(when(&history, 100, HISTORY_INTERPOLATED), 1000);
    assert_int_equal(when(&history, 150, HISTORY_INTERPOLATED), 1500);
    assert_int_equal(when(&history, 200, HISTORY_NONE), -1); /* the end has no record yet */
}

static void
what_waited_through_a_silence_is_as_old_as_the_first_record_after_it(void **state)
{
    (void)state;
    struct history history = {0};
    history_add(&history, 100, 1000);
    history_add(&history, 200, 2000);
    for (int64_t at = 3000; at <= 60000; at += 1000)
        history_add(&history, 200, at);
    assert_int_equal(history.count, 3); /* begin and end of the silence, one before */
    history_add(&history, 300, 61000);
    assert_int_equal(when(&history, 200, HISTORY_INTERPOLATED), 60000);
    assert_int_equal(when(&history, 250, HISTORY_INTERPOLATED), 60500);
}

static void
an_offset_before_the_first_point_goes_with_the_known_pace(void **state)
{
    (void)state;
    struct history history = {0};
    history_add(&history, 1000, 10000);
    history_add(&history, 2000, 20000);
    assert_int_equal(when(&history, 500, HISTORY_EXTRAPOLATED), 5000);
}

static void
nothing_is_told_of_a_log_that_is_known_too_little(void **state)
{
    (void)state;
    struct history history = {0};
    int64_t at_ms;
    assert_int_equal(history_when(&history, 5, &at_ms), HISTORY_NONE);
    history_add(&history, 10, 1000);
    assert_int_equal(history_when(&history, 5, &at_ms), HISTORY_NONE);
    history_add(&history, 10, 2000);
    assert_int_equal(history_when(&history, 5, &at_ms), HISTORY_NONE);
}

static void
an_end_that_went_back_begins_another_history(void **state)
{
    (void)state;
    struct history history = {0};
    history_add(&history, 100, 1000);
    history_add(&history, 200, 2000);
    history_add(&history, 50, 3000);
    assert_int_equal(history.count, 1);
    history_add(&history, 60, 4000);
    assert_int_equal(when(&history, 55, HISTORY_INTERPOLATED), 3500);
}

static void
a_full_history_keeps_its_first_point_and_the_newest_half(void **state)
{
    (void)state;
    struct history history = {0};
    for (int64_t i = 0; i < 1000; i++) {
        history_add(&history, i * 10, i * 1000);
        assert_in_range(history.count, 1, HISTORY_POINTS);
    }
    assert_int_equal(history.points[0].offset, 0);
    assert_int_equal(history.points[history.count - 1].offset, 9990);
    for (uint32_t i = 1; i < history.count; i++)
        assert_true(history.points[i].offset > history.points[i - 1].offset);
    for (int64_t offset = 7; offset < 9990; offset += 7) {
        int64_t at = when(&history, offset, HISTORY_INTERPOLATED);
        assert_in_range(at, offset * 100 - 1, offset * 100 + 1);
    }
}

/* A topic is met that was silent for a day, and records begin to come: however often the history is
 * full, the first of them are not taken for records of that day. */
static void
a_stream_after_a_silence_keeps_its_begin(void **state)
{
    (void)state;
    static const int64_t past_minutes[] = {1, 10, 60, 24 * 60};
    const int64_t met_ms = 48 * 60 * MINUTE;
    struct history history = {0};
    history_add(&history, 0, met_ms);
    for (size_t i = 0; i < sizeof(past_minutes) / sizeof(past_minutes[0]); i++)
        history_insert(&history, 0, met_ms - past_minutes[i] * MINUTE);
    for (int64_t round = 1; round <= 1000; round++) {
        int64_t pace = round % 50 < 10 ? 500 : 1000; /* not steady */
        int64_t end = history.points[history.count - 1].offset;
        history_add(&history, end + pace, met_ms + round * MINUTE / 4);
        int64_t at_ms = when(&history, 250, HISTORY_INTERPOLATED);
        int64_t wrong_ms = round * MINUTE / 4 / 20; /* a twentieth of its age */
        assert_in_range(at_ms, met_ms - wrong_ms, met_ms + MINUTE / 4 + wrong_ms);
    }
}

static void
points_of_the_past_come_before_the_first(void **state)
{
    (void)state;
    struct history history = {0};
    history_add(&history, 1000, 100 * MINUTE);
    history_insert(&history, 900, 99 * MINUTE);
    history_insert(&history, 400, 90 * MINUTE);
    history_insert(&history, 500, 40 * MINUTE);  /* more records than later: not believed */
    history_insert(&history, 300, 200 * MINUTE); /* later than what is known */
    assert_int_equal(history.count, 3);
    assert_int_equal(when(&history, 950, HISTORY_INTERPOLATED), 99 * MINUTE + MINUTE / 2);
    assert_int_equal(when(&history, 400, HISTORY_INTERPOLATED), 90 * MINUTE);
}

static void
the_rate_is_of_the_window(void **state)
{
    (void)state;
    struct history history = {0};
    assert_true(history_rate(&history, 0, MINUTE) < 0);
    history_add(&history, 0, 0);
    history_add(&history, 6000, 10 * MINUTE);
    history_add(&history, 12000, 11 * MINUTE);
    assert_float_equal(history_rate(&history, 11 * MINUTE, MINUTE), 100, 0.01);
    history_add(&history, 12000, 12 * MINUTE);
    assert_float_equal(history_rate(&history, 12 * MINUTE, MINUTE), 0, 0.01);
}

/* At a short interval the window holds more rounds than the newer half of the points. */
static void
the_rate_is_of_the_window_when_its_points_are_gone(void **state)
{
    (void)state;
    struct history history = {0};
    int64_t second = 0;
    for (; second <= 3600; second++)
        history_add(&history, second * 1000, second * 1000);
    assert_float_equal(history_rate(&history, 3600000, MINUTE), 1000, 0.01);
    for (; second <= 3650; second++)
        history_add(&history, 3600000 + (second - 3600) * 500, second * 1000);
    assert_float_equal(history_rate(&history, 3650000, MINUTE), 35000.0 / 60, 0.01);
}

#define WINDOW 300000

static struct headway
headway_of(const int64_t (*rounds)[2], size_t count)
{
    struct headway headway;
    headway_init(&headway, 0);
    for (size_t i = 0; i < count; i++)
        headway_note(&headway, rounds[i][0], rounds[i][1], i * MINUTE, i == 0 ? 0 : MINUTE);
    return headway;
}
#define VERDICT(members, ...)                                                                      \
    verdict_after((const int64_t[][2]){__VA_ARGS__},                                               \
                  sizeof((const int64_t[][2]){__VA_ARGS__}) / sizeof(int64_t[2]), members)

static enum verdict
verdict_after(const int64_t (*rounds)[2], size_t count, bool has_members)
{
    struct headway headway = headway_of(rounds, count);
    return headway_verdict(&headway, has_members, (count - 1) * MINUTE, WINDOW);
}

static void
a_group_is_judged_by_its_commits_and_its_lag(void **state)
{
    (void)state;
    assert_int_equal(VERDICT(true, {10, -1}), VERDICT_NONE);
    assert_int_equal(VERDICT(true, {10, 0}), VERDICT_OK);
    /* No commits, but nothing to do either. */
    assert_int_equal(VERDICT(true, {10, 0}, {10, 0}, {10, 0}, {10, 0}, {10, 0}, {10, 0}, {10, 0}),
                     VERDICT_OK);
    assert_int_equal(VERDICT(true, {10, 5}, {10, 6}, {10, 7}, {10, 8}, {10, 9}, {10, 9}, {10, 9}),
                     VERDICT_STALL);
    assert_int_equal(VERDICT(false, {10, 5}, {10, 6}, {10, 7}, {10, 8}, {10, 9}, {10, 9}, {10, 9}),
                     VERDICT_STOP);
    assert_int_equal(VERDICT(true, {10, 5}, {11, 6}, {12, 7}, {13, 8}, {14, 9}, {15, 9}, {16, 9}),
                     VERDICT_WARN);
    assert_int_equal(VERDICT(true, {10, 5}, {11, 6}, {12, 7}, {13, 8}, {14, 9}, {15, 8}, {16, 9}),
                     VERDICT_OK);
    assert_int_equal(VERDICT(true, {10, 5}, {4, 11}), VERDICT_REWIND);
    assert_int_equal(VERDICT(true, {10, 5}, {4, 11}, {12, 3}), VERDICT_OK);
}

static void
what_a_group_consumed_is_told_per_second(void **state)
{
    (void)state;
    struct headway headway = headway_of((const int64_t[][2]){{100, 5}, {700, 5}}, 2);
    assert_float_equal(headway.per_second, 10, 0.001);
    headway = headway_of((const int64_t[][2]){{100, 5}}, 1);
    assert_true(headway.per_second < 0);
    headway = headway_of((const int64_t[][2]){{100, 5}, {50, 55}}, 2);
    assert_true(headway.per_second < 0); /* it went back: no rate below 0 */
}

#define BEGIN_MS (INT64_C(20000) * 24 * 60 * MINUTE) /* October 2024 */

/* How many records a log had then: some old ones, a burst, silence, and a steady stream. */
static int64_t
end_then(int64_t wall_ms)
{
    int64_t at_ms = wall_ms < BEGIN_MS ? 0 : wall_ms - BEGIN_MS;
    int64_t end = at_ms < 5000 * MINUTE ? at_ms / MINUTE : 5000;
    if (at_ms >= 9000 * MINUTE)
        end += 3000;
    if (at_ms > 9900 * MINUTE)
        end += (at_ms - 9900 * MINUTE) / 100;
    return end;
}

static int64_t
written_at(int64_t offset, int64_t now_ms)
{
    int64_t low = BEGIN_MS;
    for (int64_t high = now_ms; high - low > 1;) {
        int64_t middle = low + (high - low) / 2;
        if (end_then(middle) > offset)
            high = middle;
        else
            low = middle;
    }
    return low;
}

static void
what_is_looked_up_makes_any_age_known_to_a_minute_or_a_tenth(void **state)
{
    (void)state;
    const int64_t now_ms = BEGIN_MS + 10000 * MINUTE;
    static const int64_t past_minutes[] = {1, 10, 60, 24 * 60};
    for (int64_t offset = 1; offset < end_then(now_ms); offset += 97) {
        struct history history = {0};
        history_add(&history, end_then(now_ms), now_ms);
        for (size_t i = 0; i < sizeof(past_minutes) / sizeof(past_minutes[0]); i++)
            history_insert(&history, end_then(now_ms - past_minutes[i] * MINUTE),
                           now_ms - past_minutes[i] * MINUTE);
        int64_t time_ms;
        int turns = 0;
        for (; history_wants(&history, offset, now_ms, &time_ms); turns++)
            history_insert(&history, end_then(time_ms), time_ms);
        assert_in_range(turns, 0, 9);
        int64_t age_ms = now_ms - written_at(offset, now_ms);
        int64_t told_ms = now_ms - when(&history, offset, HISTORY_INTERPOLATED);
        int64_t error_ms = told_ms > age_ms ? told_ms - age_ms : age_ms - told_ms;
        assert_true(error_ms <= MINUTE + 5000 || error_ms <= age_ms / 8);
    }
}

/* Producers' clocks differ: a time may be told to have more records before it than a later one. */
static void
what_does_not_fit_between_its_neighbours_is_moved_to_them(void **state)
{
    (void)state;
    struct history history = {0};
    history_add(&history, 100, 10 * MINUTE);
    history_add(&history, 200, 30 * MINUTE);
    history_insert(&history, 300, 20 * MINUTE);
    assert_int_equal(history.count, 3);
    assert_int_equal(history.points[1].offset, 200);
    history_insert(&history, 50, 15 * MINUTE);
    assert_int_equal(history.points[1].offset, 100);
    history_insert(&history, 150, 40 * MINUTE); /* that is history_add()'s */
    assert_int_equal(history.count, 4);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_offset_between_two_points_is_told_as_the_time_between_them),
        cmocka_unit_test(what_waited_through_a_silence_is_as_old_as_the_first_record_after_it),
        cmocka_unit_test(an_offset_before_the_first_point_goes_with_the_known_pace),
        cmocka_unit_test(nothing_is_told_of_a_log_that_is_known_too_little),
        cmocka_unit_test(an_end_that_went_back_begins_another_history),
        cmocka_unit_test(a_stream_after_a_silence_keeps_its_begin),
        cmocka_unit_test(a_full_history_keeps_its_first_point_and_the_newest_half),
        cmocka_unit_test(what_is_looked_up_makes_any_age_known_to_a_minute_or_a_tenth),
        cmocka_unit_test(what_does_not_fit_between_its_neighbours_is_moved_to_them),
        cmocka_unit_test(points_of_the_past_come_before_the_first),
        cmocka_unit_test(the_rate_is_of_the_window),
        cmocka_unit_test(the_rate_is_of_the_window_when_its_points_are_gone),
        cmocka_unit_test(a_group_is_judged_by_its_commits_and_its_lag),
        cmocka_unit_test(what_a_group_consumed_is_told_per_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
