/* SPDX-License-Identifier: Apache-2.0 */
/* test_waiting.c: sinks/receipts/waiting.c: receipts are ticked off when the group has committed
 * what they speak of. */
#include <stdlib.h>

#include "test/unit/unit.h"

#include "sinks/receipts/waiting.h"

#define GRACE_MS 1000
#define ROUTES 2

struct group {
    int64_t committed[ROUTES][4];
};

static int64_t
committed(const void *context, size_t route, int32_t partition)
{
    const struct group *group = context;
    return partition < 4 ? group->committed[route][partition] : -1;
}

static struct receipt
receipt_of(uint64_t life, uint64_t from, uint64_t to)
{
    return (struct receipt){.generation = {.random = life},
                            .from = from,
                            .to = to,
                            .events = to - from,
                            .placed = true,
                            .partition = 1,
                            .first = (int64_t)from,
                            .last = (int64_t)to - 1};
}

static void
add(struct waiting *waiting, const struct receipt *receipt, int64_t control_offset)
{
    struct waiting_place place = {
        .control_offset = control_offset, .time_ms = 100000, .met_ms = 50000};
    assert_true(waiting_add(waiting, receipt, &place));
}

static struct waiting_sums
tick(struct waiting *waiting, const struct group *group, int64_t now_ms)
{
    static uint64_t unaccounted[ROUTES];
    memset(unaccounted, 0, sizeof(unaccounted));
    struct waiting_sums sums = {.unaccounted = unaccounted};
    struct waiting_now now = {.wall_ms = now_ms, .monotonic_ms = (uint64_t)now_ms - 50000};
    waiting_tick(waiting, committed, group, &now, GRACE_MS, &sums);
    return sums;
}

static void
events_count_after_the_grace_until_the_group_is_past_them(void **context)
{
    (void)context;
    struct waiting waiting = {0};
    struct group group = {{{-1, 9, -1, -1}}};
    struct receipt receipt = receipt_of(1, 0, 10);
    add(&waiting, &receipt, 5);
    assert_int_equal(tick(&waiting, &group, 100500).unaccounted[0], 0);
    assert_int_equal(tick(&waiting, &group, 102000).unaccounted[0], 10);
    group.committed[0][1] = 10;
    struct waiting_sums sums = tick(&waiting, &group, 103000);
    assert_int_equal(sums.unaccounted[0], 0);
    assert_int_equal(sums.accounted, 1);
    assert_int_equal(waiting_count(&waiting), 0);
    waiting_done(&waiting);
}

static void
the_same_receipt_again_counts_once_and_the_longer_holds(void **context)
{
    (void)context;
    struct waiting waiting = {0};
    struct group group = {{{-1, -1, -1, -1}}};
    struct receipt receipt = receipt_of(1, 0, 10);
    struct receipt longer = receipt_of(1, 0, 30);
    add(&waiting, &receipt, 5);
    add(&waiting, &receipt, 6);
    assert_int_equal(tick(&waiting, &group, 102000).unaccounted[0], 10);
    add(&waiting, &longer, 7);
    add(&waiting, &receipt, 8);
    assert_int_equal(tick(&waiting, &group, 102000).unaccounted[0], 30);
    assert_int_equal(waiting_done_to(&waiting, 0, 9), 7); /* read again after a crash */
    group.committed[0][1] = 10;
    assert_int_equal(tick(&waiting, &group, 102000).unaccounted[0], 30);
    group.committed[0][1] = 30;
    assert_int_equal(tick(&waiting, &group, 102000).unaccounted[0], 0);
    assert_int_equal(waiting_done_to(&waiting, 0, 9), 9);
    waiting_done(&waiting);
}

static void
what_kafka_deleted_first_is_never_ticked_off(void **context)
{
    (void)context;
    struct waiting waiting = {0};
    struct group group = {{{-1, 1000, -1, -1}}};
    struct receipt hit = receipt_of(1, 90, 110);
    struct receipt beside = receipt_of(2, 200, 210);
    add(&waiting, &hit, 1);
    add(&waiting, &beside, 2);
    waiting_note_lost(&waiting, &(struct lost_records){.partition = 1, .first = 100, .end = 200});
    struct waiting_sums sums = tick(&waiting, &group, 102000);
    assert_int_equal(sums.accounted, 1);
    assert_int_equal(sums.unaccounted[0], 20);
    sums = tick(&waiting, &group, 100001 + (int64_t)WAITING_KEPT_MS);
    assert_int_equal(sums.given_up, 1);
    assert_int_equal(sums.given_up_events, 20);
    assert_int_equal(waiting_count(&waiting), 0);
    waiting_done(&waiting);
}

static void
without_a_place_all_partitions_have_to_be_past_their_ends(void **context)
{
    (void)context;
    struct waiting waiting = {0};
    struct group group = {{{7, 3, -1, -1}}};
    struct marks *marks = marks_new(3);
    marks->ends[0] = 7;
    marks->ends[1] = 4; /* [2] is empty */
    struct receipt receipt = receipt_of(1, 0, 10);
    receipt.placed = false;
    add(&waiting, &receipt, 1);
    assert_true(waiting_wants_marks(&waiting, 0));
    assert_false(waiting_wants_marks(&waiting, 1));
    waiting_mark(&waiting, 0, marks);
    marks_let_go(marks);
    assert_false(waiting_wants_marks(&waiting, 0));
    assert_int_equal(tick(&waiting, &group, 102000).unaccounted[0], 10);
    group.committed[0][1] = 4;
    assert_int_equal(tick(&waiting, &group, 102000).accounted, 1);
    waiting_done(&waiting);
}

/* The control topic got another partition, and the life's receipts go there. */
static void
a_longer_one_in_another_partition_is_kept_there(void **context)
{
    (void)context;
    struct waiting waiting = {0};
    struct receipt receipt = receipt_of(1, 0, 10);
    struct receipt longer = receipt_of(1, 0, 30);
    struct waiting_place place = {.control_partition = 1, .control_offset = 3};
    add(&waiting, &receipt, 5);
    assert_true(waiting_add(&waiting, &longer, &place));
    assert_int_equal(waiting_done_to(&waiting, 1, 4), 3);
    assert_int_equal(waiting_done_to(&waiting, 0, 6), 6);
    waiting_done(&waiting);
}

/* Its events may be younger than any end that was looked at before it was met. */
static void
without_a_place_and_an_end_that_is_younger_nothing_is_ticked_off(void **context)
{
    (void)context;
    struct waiting waiting = {0};
    struct group group = {{{7, -1, -1, -1}}};
    struct receipt early = receipt_of(1, 0, 10);
    struct receipt late = receipt_of(2, 0, 5);
    early.placed = late.placed = false;
    struct marks *marks = marks_new(1);
    marks->ends[0] = 7;
    add(&waiting, &early, 1);
    waiting_mark(&waiting, 0, marks);
    marks_let_go(marks);
    add(&waiting, &late, 2);
    struct waiting_sums sums = tick(&waiting, &group, 102000);
    assert_int_equal(sums.accounted, 1);
    assert_int_equal(sums.unaccounted[0], 5);
    waiting_done(&waiting);
}

/* The sinks were stopped for longer than a receipt is watched: their first look gives up none. */
static void
an_old_receipt_is_not_given_up_before_it_was_watched(void **context)
{
    (void)context;
    struct waiting waiting = {0};
    struct group group = {{{-1, 0, -1, -1}}};
    struct receipt receipt = receipt_of(1, 0, 10);
    struct waiting_place place = {.time_ms = 1, .met_ms = 900000000};
    assert_true(waiting_add(&waiting, &receipt, &place));
    struct waiting_sums sums = tick(&waiting, &group, 900060000);
    assert_int_equal(sums.given_up, 0);
    assert_int_equal(sums.unaccounted[0], 10);
    waiting_done(&waiting);
}

static void
what_was_lost_of_a_topic_says_nothing_of_one_made_anew(void **context)
{
    (void)context;
    struct waiting waiting = {0};
    struct group group = {{{-1, 300, -1, -1}}};
    waiting_note_lost(&waiting, &(struct lost_records){.partition = 1, .first = 100, .end = 200});
    waiting_note_lost(&waiting, &(struct lost_records){.partition = 2, .first = 100, .end = 200});
    waiting_note_rewound(&waiting, 0, 1);
    struct receipt receipt = receipt_of(1, 90, 110);
    struct receipt other = receipt_of(2, 90, 110);
    other.partition = 2;
    add(&waiting, &receipt, 1);
    add(&waiting, &other, 2);
    group.committed[0][2] = 300;
    assert_int_equal(tick(&waiting, &group, 102000).accounted, 1);
    assert_int_equal(tick(&waiting, &group, 102000).unaccounted[0], 20);
    waiting_done(&waiting);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_count_after_the_grace_until_the_group_is_past_them),
        cmocka_unit_test(the_same_receipt_again_counts_once_and_the_longer_holds),
        cmocka_unit_test(what_kafka_deleted_first_is_never_ticked_off),
        cmocka_unit_test(without_a_place_all_partitions_have_to_be_past_their_ends),
        cmocka_unit_test(a_longer_one_in_another_partition_is_kept_there),
        cmocka_unit_test(without_a_place_and_an_end_that_is_younger_nothing_is_ticked_off),
        cmocka_unit_test(an_old_receipt_is_not_given_up_before_it_was_watched),
        cmocka_unit_test(what_was_lost_of_a_topic_says_nothing_of_one_made_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
