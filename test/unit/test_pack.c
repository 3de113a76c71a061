/* SPDX-License-Identifier: Apache-2.0 */
/* Gzip in parts: what comes out is one stream with the whole text. */
#include "exporters/pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "test/unit/unit.h"

#define TEXT_MAX (4U << 20)

/* Unpacks one gzip stream, which must end where the bytes do. */
static size_t
unpack(const struct buffer *packed, char *out, size_t room)
{
    z_stream stream = {
        .next_in = (Bytef *)packed->bytes,
        .avail_in = (uInt)packed->size,
        .next_out = (Bytef *)out,
        .avail_out = (uInt)room,
    };
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END); /* checksum and size agree */
    assert_int_equal(stream.avail_in, 0);
    size_t size = stream.total_out;
    assert_int_equal(inflateEnd(&stream), Z_OK);
    return size;
}

static void
parts_and_rest_are_one_stream(void **state)
{
    (void)state;
    struct buffer whole;
    struct buffer out;
    struct pack packs[2];
    const struct pack *parts[] = {&packs[0], &packs[1]};
    buffer_init(&whole, TEXT_MAX);
    buffer_init(&out, TEXT_MAX);
    for (int i = 0; i < 2; i++) {
        size_t start = whole.size;
        for (unsigned k = 0; k < 40000; k++)
            buffer_format(&whole, "family_%d{n=\"%u\"} %u\n", i, k, k * 2654435761U);
        pack_init(&packs[i]);
        pack_text(&packs[i], whole.bytes + start, whole.size - start);
        assert_int_equal(packs[i].size, whole.size - start);
    }
    buffer_text(&whole, "the rest\n");
    char *text = calloc(1, TEXT_MAX);
    assert_non_null(text);
    assert_true(pack_join(parts, 2, "the rest\n", 9, &out));
    assert_true(out.size < whole.size / 2);
    assert_int_equal(unpack(&out, text, TEXT_MAX), whole.size);
    assert_memory_equal(text, whole.bytes, whole.size);

    buffer_clear(&out);
    assert_true(pack_join(parts, 0, "alone\n", 6, &out));
    assert_int_equal(unpack(&out, text, TEXT_MAX), 6);
    buffer_clear(&out);
    assert_true(pack_join(parts, 1, "", 0, &out));
    assert_int_equal(unpack(&out, text, TEXT_MAX), packs[0].size);

    pack_text(&packs[0], "", 0);
    assert_int_equal(packs[0].size, 0);
    pack_done(&packs[0]);
    pack_done(&packs[1]);
    buffer_done(&whole);
    buffer_done(&out);
    free(text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(parts_and_rest_are_one_stream)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
