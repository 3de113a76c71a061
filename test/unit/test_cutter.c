/* SPDX-License-Identifier: Apache-2.0 */
/* test_cutter.c: agent/cutter.c: events are decided by the bytes alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cutter.h"

struct piece {
    size_t offset, size;
    bool part, repaired;
};
struct pieces {
    struct piece items[256];
    size_t count;
};

/* Cuts `size` bytes that become visible `step` at a time, as the reader does. */
static void
cut_all(struct pieces *pieces, const char *bytes, size_t size, size_t step, size_t part_max)
{
    char out[4096];
    *pieces = (struct pieces){0};
    size_t at = 0;
    for (size_t seen = 0; seen < size;) {
        seen = seen + step < size ? seen + step : size;
        struct cut_event event;
        enum cut_result result;
        do {
            bool mid_line = at > 0 && bytes[at - 1] != '\n';
            result = cutter_next(bytes + at, seen - at, mid_line, false, part_max, out, sizeof(out),
                                 &event);
            assert_int_not_equal(result, CUT_ROOM);
            if (result == CUT_MORE)
                break;
            if (result == CUT_EVENT) {
                assert_true(event.escaped <= part_max);
                assert_true(pieces->count < 256);
                pieces->items[pieces->count++] =
                    (struct piece){at, event.size, event.part, event.repaired};
            }
            at += event.taken;
        } while (at < seen);
    }
}

static void
line_is_one_event_without_its_newline(void **unused)
{
    (void)unused;
    struct pieces pieces;
    cut_all(&pieces, "one\n\ntwo\r\nthree", 15, 15, 100);
    assert_int_equal(pieces.count, 2);
    assert_int_equal(pieces.items[0].size, 3);
    assert_int_equal(pieces.items[1].offset, 5);
    assert_int_equal(pieces.items[1].size, 4);
    assert_false(pieces.items[1].part);
}

static void
long_line_comes_in_parts_by_escaped_length(void **unused)
{
    (void)unused;
    struct pieces pieces;
    cut_all(&pieces, "0123456789abcdefghijXYZ\nnext\n", 29, 29, 10);
    assert_int_equal(pieces.count, 4);
    assert_int_equal(pieces.items[0].size, 10);
    assert_true(pieces.items[0].part);
    assert_int_equal(pieces.items[2].size, 3);
    assert_true(pieces.items[2].part);
    assert_false(pieces.items[3].part);
    cut_all(&pieces, "\"\"\"\"\"\"\n", 7, 7, 10); /* each quote is two bytes */
    assert_int_equal(pieces.count, 2);
    assert_int_equal(pieces.items[0].size, 5);
}

static void
newline_right_behind_a_part_is_no_event(void **unused)
{
    (void)unused;
    struct pieces pieces;
    cut_all(&pieces, "0123456789abcdefghij\nx\n", 23, 23, 10);
    assert_int_equal(pieces.count, 3);
    assert_int_equal(pieces.items[1].size, 10);
    assert_int_equal(pieces.items[2].offset, 21);
    assert_false(pieces.items[2].part);
}

static void
cut_does_not_depend_on_how_bytes_arrive(void **unused)
{
    (void)unused;
    char bytes[2000];
    srand(1);
    for (int round = 0; round < 200; round++) {
        size_t size = 200 + (size_t)rand() % 1000;
        for (size_t i = 0; i < size; i++) {
            static const char alphabet[] = "aaaabc\"\\\x01\n\xC3\xA9\xE2\x82\xAC\xF0\x9F\xFF";
            bytes[i] = alphabet[(size_t)rand() % (sizeof(alphabet) - 1)];
            if (rand() % 8 != 0 && bytes[i] == '\n')
                bytes[i] = 'n';
        }
        bytes[size - 1] = '\n';
        struct pieces whole;
        struct pieces bit;
        cut_all(&whole, bytes, size, size, 32);
        for (size_t step = 1; step < 40; step += 3) {
            cut_all(&bit, bytes, size, step, 32);
            assert_int_equal(bit.count, whole.count);
            assert_memory_equal(bit.items, whole.items, whole.count * sizeof(whole.items[0]));
        }
    }
}

static void
little_room_is_told_apart_from_a_part(void **unused)
{
    (void)unused;
    char out[64];
    struct cut_event event;
    assert_int_equal(cutter_next("0123456789\n", 11, false, false, 32, out, 8, &event), CUT_ROOM);
    assert_int_equal(cutter_next("0123456789\n", 11, false, false, 32, out, 10, &event), CUT_EVENT);
}

static void
decided_end_is_an_end(void **unused)
{
    (void)unused;
    char out[64];
    struct cut_event event;
    assert_int_equal(cutter_next("abc", 3, false, false, 32, out, 64, &event), CUT_MORE);
    assert_int_equal(cutter_next("abc", 3, false, true, 32, out, 64, &event), CUT_EVENT);
    assert_int_equal(event.size, 3);
    assert_int_equal(event.taken, 3);
    assert_false(event.part);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_is_one_event_without_its_newline),
        cmocka_unit_test(long_line_comes_in_parts_by_escaped_length),
        cmocka_unit_test(newline_right_behind_a_part_is_no_event),
        cmocka_unit_test(cut_does_not_depend_on_how_bytes_arrive),
        cmocka_unit_test(little_room_is_told_apart_from_a_part),
        cmocka_unit_test(decided_end_is_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
