/* SPDX-License-Identifier: Apache-2.0 */
#include "core/encode.h"

#include "core/buffer.h"
#include "test/unit/unit.h"

/* Encodes with room for all and compares. */
static void
expect(const char *text, size_t size, const char *encoded, bool repaired)
{
    char out[4096];
    struct encode_result done = encode_json(out, sizeof(out), text, size);
    assert_int_equal(done.taken, size);
    assert_int_equal(done.written, strlen(encoded));
    assert_memory_equal(out, encoded, done.written);
    assert_int_equal(done.repaired, repaired);
}
#define EXPECT(text, encoded, repaired) expect(text, sizeof(text) - 1, encoded, repaired)

static void
plain_text_is_copied_as_it_is(void **state)
{
    (void)state;
    EXPECT("", "", false);
    EXPECT("a", "a", false);
    EXPECT("GET /index.html HTTP/1.1 200 and more than sixteen bytes",
           "GET /index.html HTTP/1.1 200 and more than sixteen bytes", false);
    EXPECT("\x7f", "\x7f", false);
}

static void
quotes_backslashes_and_control_bytes_are_escaped(void **state)
{
    (void)state;
    EXPECT("a\"b\\c", "a\\\"b\\\\c", false);
    EXPECT("\b\t\n\f\r", "\\b\\t\\n\\f\\r", false);
    EXPECT("\0\x01\x0b\x1f", "\\u0000\\u0001\\u000b\\u001f", false);
    EXPECT("fifteen bytes!!\"after a block border", "fifteen bytes!!\\\"after a block border",
           false);
}

static void
well_formed_utf8_is_kept(void **state)
{
    (void)state;
    EXPECT("\xC2\x80 \xDF\xBF \xE0\xA0\x80 \xED\x9F\xBF \xEF\xBF\xBF",
           "\xC2\x80 \xDF\xBF \xE0\xA0\x80 \xED\x9F\xBF \xEF\xBF\xBF", false);
    EXPECT("\xF0\x90\x80\x80 \xF4\x8F\xBF\xBF", "\xF0\x90\x80\x80 \xF4\x8F\xBF\xBF", false);
}

/* The examples of Unicode 15, tables 3-8 to 3-11. */
static void
each_maximal_ill_formed_part_becomes_one_replacement(void **state)
{
    (void)state;
#define R "\xEF\xBF\xBD"
    EXPECT("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", R R R R R R R R "\x41", true);
    EXPECT("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", R R R R R R R R "\x41", true);
    EXPECT("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", R R R R R "\x41" R R "\x42", true);
    EXPECT("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", R R R R "\x41", true);
    EXPECT("\xE2\x82", R, true);
}

static void
the_cut_ends_at_a_character_and_depends_on_room_alone(void **state)
{
    (void)state;
    char out[64];
    struct encode_result done = encode_json(out, 6, "abcd\xE2\x82\xAC", 7);
    assert_int_equal(done.taken, 4);
    done = encode_json(out, 7, "abcd\xE2\x82\xAC", 7);
    assert_int_equal(done.taken, 7);
    done = encode_json(out, 5, "abcd\"", 5);
    assert_int_equal(done.taken, 4);
    done = encode_json(out, 3, "abcdefghijklmnopqrstuvwxyz", 26);
    assert_int_equal(done.taken, 3);
    assert_int_equal(done.written, 3);
}

/* Nothing beyond `out_max` may be touched, wherever the block copy ends: ASan watches. */
static void
no_byte_is_written_beyond_the_room(void **state)
{
    (void)state;
    char text[100];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 9 == 8 ? '"' : 'x';
    for (size_t room = 0; room < 120; room++) {
        char *out = test_malloc(room + 1);
        out[room] = '#';
        struct encode_result done = encode_json(out, room, text, sizeof(text));
        assert_true(done.written <= room);
        assert_int_equal(out[room], '#');
        test_free(out);
    }
}

static void
a_long_string_is_encoded_whole(void **state)
{
    (void)state;
    static char text[200001];
    for (size_t i = 0; i + 2 < sizeof(text); i += 2)
        memcpy(text + i, "\xC3\xA4", 2);
    text[sizeof(text) - 1] = '"';
    struct buffer out;
    buffer_init(&out, 1 << 22);
    encode_json_string(&out, text, sizeof(text));
    assert_false(out.failed);
    assert_int_equal(out.size, sizeof(text) + 1 + 2);
    assert_memory_equal(out.bytes + 1, text, sizeof(text) - 1);
    assert_memory_equal(out.bytes + out.size - 3, "\\\"\"", 3);
    buffer_done(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_is_copied_as_it_is),
        cmocka_unit_test(quotes_backslashes_and_control_bytes_are_escaped),
        cmocka_unit_test(well_formed_utf8_is_kept),
        cmocka_unit_test(each_maximal_ill_formed_part_becomes_one_replacement),
        cmocka_unit_test(the_cut_ends_at_a_character_and_depends_on_room_alone),
        cmocka_unit_test(no_byte_is_written_beyond_the_room),
        cmocka_unit_test(a_long_string_is_encoded_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
