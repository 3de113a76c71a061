/* SPDX-License-Identifier: Apache-2.0 */
/* test_days.c: agent/days.c: what is sent again comes on the day on which it was sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "agent/days.h"

#define TODAY 20000

/* At that hour of the day. */
static int64_t
hour_of(int32_t day, int hour)
{
    return day * DAY_MS + hour * INT64_C(3600000);
}

static void
one_mark_holds_until_the_day_is_over(void **context)
{
    (void)context;
    struct day_marks marks = {.sent = 50};
    uint64_t until;
    assert_true(days_want(&marks, 50, TODAY));
    assert_true(days_add(&marks, 50, 50, TODAY));
    assert_false(days_want(&marks, 50, TODAY));
    assert_int_equal(days_time(&marks, 50, TODAY, hour_of(TODAY, 7), &until), hour_of(TODAY, 7));
    assert_true(until == UINT64_MAX);
    days_sent(&marks, 90);
    assert_false(days_want(&marks, 90, TODAY));
    assert_true(days_want(&marks, 90, TODAY + 1));
    assert_true(days_add(&marks, 50, 90, TODAY + 1));
    assert_int_equal(marks.count, 2);
}

static void
what_was_sent_is_sent_again_on_its_day_and_no_further(void **context)
{
    (void)context;
    struct day_marks marks = {0};
    uint64_t until;
    assert_true(days_add(&marks, 0, 0, TODAY));
    days_sent(&marks, 100);
    assert_false(days_want(&marks, 60, TODAY + 1));
    int64_t last_ms = hour_of(TODAY + 1, 0) - 1;
    assert_int_equal(days_time(&marks, 60, TODAY + 1, hour_of(TODAY + 1, 3), &until), last_ms);
    assert_int_equal(until, 100);
    assert_true(days_add(&marks, 0, 100, TODAY + 1));
    days_sent(&marks, 200);
    assert_int_equal(days_time(&marks, 60, TODAY + 1, hour_of(TODAY + 1, 3), &until), last_ms);
    assert_int_equal(until, 100);
    assert_int_equal(days_time(&marks, 100, TODAY + 1, hour_of(TODAY + 1, 3), &until),
                     hour_of(TODAY + 1, 3));
    assert_true(until == UINT64_MAX);
}

static void
clock_that_was_set_back_begins_an_earlier_day_behind_what_was_sent(void **context)
{
    (void)context;
    struct day_marks marks = {0};
    uint64_t until;
    assert_true(days_add(&marks, 0, 0, TODAY + 30));
    days_sent(&marks, 100);
    assert_true(days_want(&marks, 100, TODAY));
    assert_int_equal(days_time(&marks, 40, TODAY, hour_of(TODAY, 9), &until),
                     hour_of(TODAY + 30, 0));
    assert_int_equal(until, 100);
    assert_true(days_add(&marks, 0, 100, TODAY));
    assert_int_equal(days_time(&marks, 100, TODAY, hour_of(TODAY, 9), &until), hour_of(TODAY, 9));
}

static void
mark_that_nothing_was_sent_behind_is_replaced(void **context)
{
    (void)context;
    struct day_marks marks = {0};
    assert_true(days_add(&marks, 0, 0, TODAY));
    for (int32_t day = 1; day < 10; day++)
        assert_true(days_add(&marks, 0, 0, TODAY + day));
    assert_int_equal(marks.count, 1);
    assert_int_equal(marks.day[0], TODAY + 9);
}

static void
old_marks_make_room_only_when_all_below_the_next_is_acknowledged(void **context)
{
    (void)context;
    struct day_marks marks = {0};
    for (int32_t day = 0; day < DAYS_MAX; day++) {
        assert_true(days_add(&marks, 0, (uint64_t)day * 100, TODAY + day));
        days_sent(&marks, (uint64_t)day * 100 + 100);
    }
    struct day_marks before = marks;
    assert_false(days_add(&marks, 99, DAYS_MAX * 100, TODAY + DAYS_MAX));
    assert_memory_equal(&marks, &before, sizeof(marks));
    assert_true(days_add(&marks, 100, DAYS_MAX * 100, TODAY + DAYS_MAX));
    assert_int_equal(marks.count, DAYS_MAX);
    assert_int_equal(marks.from[0], 100);
    assert_int_equal(marks.day[DAYS_MAX - 1], TODAY + DAYS_MAX);
}

static void
what_a_crash_may_have_sent_keeps_its_day_and_what_came_later_has_its_own(void **context)
{
    (void)context;
    struct day_marks marks = {0};
    uint64_t until;
    assert_true(days_add(&marks, 0, 0, TODAY));
    days_sent(&marks, 100);
    days_loaded(&marks, 40, false, hour_of(TODAY, 23));
    assert_true(marks.sent == SENT_UNKNOWN);
    days_found(&marks, 250); /* it has grown meanwhile: nobody knows how much of it was sent */
    assert_int_equal(days_time(&marks, 40, TODAY + 1, hour_of(TODAY + 1, 1), &until),
                     hour_of(TODAY + 1, 0) - 1);
    assert_int_equal(until, 250);
    assert_true(days_want(&marks, 250, TODAY + 1));
    days_found(&marks, 400); /* another look is not the first */
    assert_int_equal(marks.sent, 250);
}

static void
day_that_was_over_before_the_crash_or_a_stop_in_order_leave_no_doubt(void **context)
{
    (void)context;
    struct day_marks marks = {0};
    assert_true(days_add(&marks, 0, 0, TODAY));
    days_sent(&marks, 100);
    struct day_marks later = marks;
    struct day_marks acknowledged = marks;
    days_loaded(&marks, 40, true, hour_of(TODAY, 23));
    assert_int_equal(marks.sent, 100);
    days_loaded(&later, 40, false, hour_of(TODAY + 1, 0));
    assert_int_equal(later.sent, 100);
    days_loaded(&acknowledged, 300, false, hour_of(TODAY + 1, 0));
    assert_int_equal(acknowledged.sent, 300);
    assert_true(days_want(&acknowledged, 300, TODAY + 1));
    days_found(&acknowledged, 900);
    assert_int_equal(acknowledged.sent, 300);
}

static void
doubt_that_was_written_down_stays_doubt(void **context)
{
    (void)context;
    struct day_marks marks = {.sent = SENT_UNKNOWN, .count = 1, .day = {TODAY}};
    days_loaded(&marks, 40, true, hour_of(TODAY + 5, 0));
    assert_true(marks.sent == SENT_UNKNOWN);
    struct day_marks none = {0};
    days_loaded(&none, 40, false, hour_of(TODAY, 0));
    assert_int_equal(none.sent, 40);
}

static void
odd_days_are_clamped_or_refused(void **context)
{
    (void)context;
    assert_int_equal(day_of(-1), 0);
    assert_int_equal(day_of(DAY_MS - 1), 0);
    assert_int_equal(day_of(DAY_MS), 1);
    assert_int_equal(day_of(INT64_MAX), DAY_LAST);
    struct day_marks fine = {.count = 2, .from = {3, 4}, .day = {9, 8}};
    assert_true(days_are_sane(&fine));
    struct day_marks equal = {.count = 2, .from = {3, 3}};
    assert_false(days_are_sane(&equal));
    struct day_marks many = {.count = DAYS_MAX + 1};
    assert_false(days_are_sane(&many));
    struct day_marks late = {.count = 1, .day = {DAY_LAST + 1}};
    assert_false(days_are_sane(&late));
}

/* One life of the agent after the other, killed or stopped, over many midnights and clocks that
 * are set: no byte is ever sent on two days. */
struct life {
    struct day_marks memory, disk;
    int64_t disk_ms; /* of the last write */
    bool disk_clean;
    int64_t clock_ms;
    uint64_t size, read, committed;
    int32_t sent_on[4096]; /* of each byte; -1: not yet */
};

static void
write_state(struct life *life, bool clean)
{
    life->disk = life->memory;
    life->disk_ms = life->clock_ms;
    life->disk_clean = clean;
}

static void
send_some(struct life *life)
{
    int32_t today = day_of(life->clock_ms);
    uint64_t until;
    if (life->read == life->size)
        return;
    if (days_want(&life->memory, life->read, today)) {
        if (days_add(&life->memory, life->committed, life->read, today))
            write_state(life, false);
        return;
    }
    int32_t day = day_of(days_time(&life->memory, life->read, today, life->clock_ms, &until));
    uint64_t end = life->read + 1 + (uint64_t)rand() % 40;
    end = end > life->size ? life->size : end > until ? until : end;
    assert_true(end > life->read);
    for (; life->read < end; life->read++) {
        if (life->sent_on[life->read] >= 0)
            assert_int_equal(life->sent_on[life->read], day);
        life->sent_on[life->read] = day;
    }
    days_sent(&life->memory, end);
}

static void
live_on(struct life *life, bool clean)
{
    if (clean)
        write_state(life, true);
    life->memory = life->disk;
    days_loaded(&life->memory, life->committed, life->disk_clean, life->disk_ms);
    write_state(life, false); /* the first write, before anything is sent */
    life->read = life->committed;
    life->size += (uint64_t)rand() % 60;
    days_found(&life->memory, life->size > 4096 ? 4096 : life->size);
}

static void
no_byte_is_sent_on_two_days_whatever_happens(void **context)
{
    (void)context;
    for (unsigned seed = 0; seed < 2000; seed++) {
        struct life life = {.clock_ms = hour_of(TODAY, 12)};
        memset(life.sent_on, -1, sizeof(life.sent_on));
        srand(seed);
        while (life.size < sizeof(life.sent_on) / sizeof(life.sent_on[0]) - 100) {
            int what = rand() % 100;
            if (what < 30) {
                life.size += (uint64_t)rand() % 50;
            } else if (what < 70) {
                send_some(&life);
            } else if (what < 80) {
                life.committed += (uint64_t)rand() % (life.read - life.committed + 1);
            } else if (what < 86) {
                life.read = life.committed; /* some batch failed */
            } else if (what < 91) {
                life.clock_ms += rand() % DAY_MS;
                if (rand() % 2 == 0)
                    write_state(&life, false); /* else only with the next mark */
            } else if (what < 93) {
                life.clock_ms += (rand() % 7 - 4) * DAY_MS; /* it was set */
                write_state(&life, false);
            } else {
                live_on(&life, what >= 97);
            }
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_mark_holds_until_the_day_is_over),
        cmocka_unit_test(what_was_sent_is_sent_again_on_its_day_and_no_further),
        cmocka_unit_test(clock_that_was_set_back_begins_an_earlier_day_behind_what_was_sent),
        cmocka_unit_test(mark_that_nothing_was_sent_behind_is_replaced),
        cmocka_unit_test(old_marks_make_room_only_when_all_below_the_next_is_acknowledged),
        cmocka_unit_test(what_a_crash_may_have_sent_keeps_its_day_and_what_came_later_has_its_own),
        cmocka_unit_test(day_that_was_over_before_the_crash_or_a_stop_in_order_leave_no_doubt),
        cmocka_unit_test(doubt_that_was_written_down_stays_doubt),
        cmocka_unit_test(odd_days_are_clamped_or_refused),
        cmocka_unit_test(no_byte_is_sent_on_two_days_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
