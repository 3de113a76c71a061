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

/* --- random histories --- */

#define HISTORIES 3000
#define STEPS 150
#define PARTITIONS 3 /* of the events' topic, and of the control topic */
#define LIVES 3

struct record {
    struct receipt receipt;
    int64_t needs[PARTITIONS]; /* what the group has to have committed of the events' topic */
};

struct model {
    uint64_t random;
    int64_t ends[PARTITIONS];
    struct group group;
    struct record lives[LIVES]; /* the newest receipt of each */
    struct record control[PARTITIONS][STEPS];
    int64_t written[PARTITIONS], next[PARTITIONS], kept[PARTITIONS];
    struct waiting waiting;
};

static uint64_t
chance(struct model *model, uint64_t below)
{
    model->random = model->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (model->random >> 33) % below;
}

/* Some more events are delivered; the agent tells of them, or of all that was not acknowledged. */
static void
deliver(struct model *model)
{
    size_t i = chance(model, LIVES);
    struct record *life = &model->lives[i];
    size_t partition = chance(model, 4) > 0 ? i % PARTITIONS : chance(model, PARTITIONS);
    struct receipt *receipt = &life->receipt;
    if (receipt->to == 0 || chance(model, 2) == 0) {
        uint64_t from = receipt->to;
        *life = (struct record){.receipt = receipt_of(i, from, from)};
        receipt->partition = (int32_t)partition;
        receipt->first = model->ends[partition];
    }
    uint64_t events = 1 + chance(model, 5);
    receipt->to += events;
    receipt->events += events;
    receipt->placed =
        receipt->placed && receipt->partition == (int32_t)partition && chance(model, 20) > 0;
    model->ends[partition] += (int64_t)events;
    life->needs[partition] = model->ends[partition];
    receipt->last = model->ends[partition] - 1;
    /* Their partition may be another one later, when there are more of them. */
    size_t control = chance(model, 10) > 0 ? i % 2 : 2;
    for (uint64_t copies = 1 + chance(model, 4) / 3; copies > 0; copies--)
        if (model->written[control] < STEPS)
            model->control[control][model->written[control]++] = *life;
}

static void
read_one(struct model *model)
{
    size_t partition = chance(model, PARTITIONS);
    if (model->next[partition] == model->written[partition])
        return;
    struct waiting_place place = {.control_partition = (int32_t)partition,
                                  .control_offset = model->next[partition]};
    const struct record *record = &model->control[partition][model->next[partition]++];
    assert_true(waiting_add(&model->waiting, &record->receipt, &place));
}

static struct waiting_sums
sweep(struct model *model)
{
    struct marks *marks = marks_new(PARTITIONS);
    memcpy(marks->ends, model->ends, sizeof(model->ends));
    waiting_mark(&model->waiting, 0, marks);
    marks_let_go(marks);
    struct waiting_sums sums = tick(&model->waiting, &model->group, 60000);
    for (int32_t i = 0; i < PARTITIONS; i++)
        model->kept[i] = waiting_done_to(&model->waiting, i, model->next[i]);
    return sums;
}

static bool
is_done(const struct model *model, const struct record *record)
{
    bool done = true;
    for (size_t i = 0; i < PARTITIONS; i++)
        done = done && model->group.committed[0][i] >= record->needs[i];
    return done;
}

/* Events that the group has not committed, of receipts that were read; of each beginning only the
 * longest that there is: so many have to be told at least. */
static uint64_t
open_events(const struct model *model)
{
    uint64_t sum = 0;
    for (size_t p = 0; p < PARTITIONS; p++)
        for (int64_t at = 0; at < model->next[p]; at++) {
            const struct record *it = &model->control[p][at];
            bool longest = !is_done(model, it);
            for (size_t q = 0; q < PARTITIONS && longest; q++)
                for (int64_t k = 0; k < model->written[q] && longest; k++) {
                    const struct receipt *other = &model->control[q][k].receipt;
                    bool same = other->generation.random == it->receipt.generation.random &&
                                other->from == it->receipt.from;
                    bool first = q < p || (q == p && k < at);
                    longest = !same || other->to < it->receipt.to ||
                              (other->to == it->receipt.to && !first);
                }
            sum += longest ? it->receipt.events : 0;
        }
    return sum;
}

static void
step(struct model *model)
{
    size_t partition;
    switch (chance(model, 8)) {
    case 0:
    case 1:
        deliver(model);
        break;
    case 2:
        partition = chance(model, PARTITIONS);
        model->group.committed[0][partition] += (int64_t)chance(
            model, (uint64_t)(model->ends[partition] - model->group.committed[0][partition] + 1));
        break;
    case 3:
        assert_true(sweep(model).unaccounted[0] >= open_events(model));
        break;
    case 4:
        if (chance(model, 4) > 0)
            break;
        waiting_done(&model->waiting); /* killed */
        model->waiting = (struct waiting){0};
        memcpy(model->next, model->kept, sizeof(model->next));
        break;
    default:
        read_one(model);
        break;
    }
}

static void
whatever_happens_the_sum_is_never_too_small_and_ends_at_nothing(void **context)
{
    (void)context;
    static struct model model;
    for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
        model = (struct model){.random = seed};
        for (int i = 0; i < STEPS; i++)
            step(&model);
        for (size_t i = 0; i < PARTITIONS; i++)
            while (model.next[i] < model.written[i])
                read_one(&model);
        assert_true(sweep(&model).unaccounted[0] >= open_events(&model));
        for (size_t i = 0; i < PARTITIONS; i++)
            model.group.committed[0][i] = model.ends[i];
        assert_int_equal(sweep(&model).unaccounted[0], 0);
        assert_int_equal(waiting_count(&model.waiting), 0);
        waiting_done(&model.waiting);
    }
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
        cmocka_unit_test(whatever_happens_the_sum_is_never_too_small_and_ends_at_nothing),
        cmocka_unit_test(what_was_lost_of_a_topic_says_nothing_of_one_made_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
