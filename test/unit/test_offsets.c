/* SPDX-License-Identifier: Apache-2.0 */
#include "test/unit/unit.h"

#include <stdlib.h>

#include "sinks/offsets.h"

static uint64_t
take(struct offsets *offsets, int64_t offset)
{
    uint64_t sequence = UINT64_MAX;
    assert_true(offsets_take(offsets, offset, offset * 1000, &sequence));
    return sequence;
}

static void
nothing_is_stored_before_the_first_record_is_finished(void **state)
{
    (void)state;
    struct offsets offsets;
    offsets_init(&offsets);
    uint64_t first = take(&offsets, 10);
    uint64_t second = take(&offsets, 11);
    assert_int_equal(offsets.stored, -1);
    offsets_finish(&offsets, second);
    assert_int_equal(offsets.stored, -1);
    offsets_finish(&offsets, first);
    assert_int_equal(offsets.stored, 12);
    assert_int_equal(offsets.open, 0);
    offsets_done(&offsets);
}

static void
stored_offset_stops_at_the_first_unfinished_record(void **state)
{
    (void)state;
    struct offsets offsets;
    offsets_init(&offsets);
    uint64_t sequences[5];
    for (int i = 0; i < 5; i++)
        sequences[i] = take(&offsets, 100 + i);
    offsets_finish(&offsets, sequences[0]);
    offsets_finish(&offsets, sequences[1]);
    offsets_finish(&offsets, sequences[3]);
    assert_int_equal(offsets.stored, 102);
    offsets_finish(&offsets, sequences[2]);
    assert_int_equal(offsets.stored, 104);
    offsets_done(&offsets);
}

static void
gaps_between_offsets_do_not_hold_the_stored_offset_back(void **state)
{
    (void)state;
    struct offsets offsets;
    offsets_init(&offsets);
    uint64_t first = take(&offsets, 5);
    uint64_t second = take(&offsets, 5000000000);
    offsets_finish(&offsets, first);
    assert_int_equal(offsets.stored, 6);
    offsets_finish(&offsets, second);
    assert_int_equal(offsets.stored, 5000000001);
    offsets_done(&offsets);
}

static void
ring_keeps_its_entries_while_it_grows_and_wraps(void **state)
{
    (void)state;
    enum { COUNT = 200000 };
    struct offsets offsets;
    offsets_init(&offsets);
    unsigned seed = 7;
    uint64_t *open = calloc(COUNT, sizeof(*open));
    bool *finished = calloc(COUNT, sizeof(*finished));
    assert_non_null(open);
    assert_non_null(finished);
    size_t open_count = 0;
    size_t first_open = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        open[open_count++] = take(&offsets, i * 3);
        while (open_count > 0 && rand_r(&seed) % 100 < (i < COUNT / 2 ? 40 : 60)) {
            size_t pick = (size_t)rand_r(&seed) % open_count;
            uint64_t sequence = open[pick];
            open[pick] = open[--open_count];
            offsets_finish(&offsets, sequence);
            finished[sequence] = true;
            while (first_open < COUNT && finished[first_open])
                first_open++;
            if (first_open > 0)
                assert_int_equal(offsets.stored, ((int64_t)first_open - 1) * 3 + 1);
        }
    }
    while (open_count > 0)
        offsets_finish(&offsets, open[--open_count]);
    assert_int_equal(offsets.stored, (COUNT - 1) * 3 + 1);
    free(open);
    free(finished);
    offsets_done(&offsets);
}

static void
one_stuck_record_fills_the_ring_at_its_bound(void **state)
{
    (void)state;
    struct offsets offsets;
    offsets_init(&offsets);
    uint64_t stuck = take(&offsets, 0);
    int64_t offset = 1;
    while (offsets_has_room(&offsets))
        offsets_finish(&offsets, take(&offsets, offset++));
    assert_int_equal(offset, OFFSETS_ENTRIES_MAX);
    assert_int_equal(offsets.stored, -1);
    offsets_finish(&offsets, stuck);
    assert_int_equal(offsets.stored, offset);
    assert_true(offsets_has_room(&offsets));
    offsets_done(&offsets);
}

static void
cleared_tracker_starts_anew(void **state)
{
    (void)state;
    struct offsets offsets;
    offsets_init(&offsets);
    offsets_finish(&offsets, take(&offsets, 50));
    (void)take(&offsets, 51);
    offsets_clear(&offsets);
    assert_int_equal(offsets.stored, -1);
    assert_int_equal(offsets.open, 0);
    offsets_finish(&offsets, take(&offsets, 7));
    assert_int_equal(offsets.stored, 8);
    offsets_done(&offsets);
}

static void
what_is_skipped_is_stored_when_all_before_it_is_finished(void **state)
{
    (void)state;
    struct offsets offsets;
    offsets_init(&offsets);
    offsets_skip(&offsets, 0);
    assert_int_equal(offsets.stored, -1);
    uint64_t first = take(&offsets, 10);
    offsets_skip(&offsets, 40);
    assert_int_equal(offsets.stored, -1);
    assert_int_equal(offsets.open, 1);
    offsets_finish(&offsets, first);
    assert_int_equal(offsets.stored, 40);
    offsets_skip(&offsets, 41);
    assert_int_equal(offsets.stored, 41);
    assert_int_equal(offsets.open, 0);
    offsets_done(&offsets);
}

static void
oldest_is_the_first_unfinished_record_also_after_growth(void **state)
{
    (void)state;
    struct offsets offsets;
    int64_t offset = -1;
    int64_t timestamp_s = -1;
    offsets_init(&offsets);
    assert_false(offsets_oldest(&offsets, &offset, &timestamp_s));
    uint64_t first = take(&offsets, 7);
    for (int64_t i = 8; i < 5000; i++)
        offsets_finish(&offsets, take(&offsets, i));
    uint64_t last = take(&offsets, 5000);
    assert_true(offsets_oldest(&offsets, &offset, &timestamp_s));
    assert_int_equal(offset, 7);
    assert_int_equal(timestamp_s, 7);
    offsets_finish(&offsets, first);
    assert_true(offsets_oldest(&offsets, &offset, &timestamp_s));
    assert_int_equal(offset, 5000);
    assert_int_equal(timestamp_s, 5000);
    offsets_finish(&offsets, last);
    assert_false(offsets_oldest(&offsets, &offset, &timestamp_s));
    offsets_done(&offsets);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_stored_before_the_first_record_is_finished),
        cmocka_unit_test(stored_offset_stops_at_the_first_unfinished_record),
        cmocka_unit_test(gaps_between_offsets_do_not_hold_the_stored_offset_back),
        cmocka_unit_test(ring_keeps_its_entries_while_it_grows_and_wraps),
        cmocka_unit_test(one_stuck_record_fills_the_ring_at_its_bound),
        cmocka_unit_test(cleared_tracker_starts_anew),
        cmocka_unit_test(what_is_skipped_is_stored_when_all_before_it_is_finished),
        cmocka_unit_test(oldest_is_the_first_unfinished_record_also_after_growth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
