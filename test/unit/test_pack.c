/* SPDX-License-Identifier: Apache-2.0 */
/* Large families are packed while they are written; what comes out is the text they would be. */
#include "exporters/pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "test/unit/unit.h"

#define SERIES 20000
#define TEXT_MAX (16U << 20)

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
put_family(struct page *page, const char *name, unsigned series)
{
    page_family(page, name, PAGE_COUNTER, "Help.");
    for (unsigned i = 0; i < series; i++) {
        char number[20];
        (void)snprintf(number, sizeof(number), "%u", i * 2654435761U);
        page_sample(page, i, "n", number, NULL);
    }
}

/* Two pages that share a family, of which one is large. */
static void
fill(struct page *left, struct page *right, bool pack)
{
    page_init(left, SERIES * 2);
    page_init(right, SERIES * 2);
    if (pack) {
        pack_page(left);
        pack_page(right);
    }
    put_family(left, "small_total", 3);
    put_family(left, "large_total", SERIES);
    put_family(left, "other_total", SERIES / 2);
    put_family(left, "none_total", 0);
    page_end(left);
    put_family(right, "large_total", 2);
    put_family(right, "right_total", 5);
    page_end(right);
}

static void
assert_same(const char *text, size_t size, const char *wanted, size_t wanted_size)
{
    assert_int_equal(size, wanted_size);
    assert_memory_equal(text, wanted, size);
}

/* The families of `text`, large ones first, as page_render() puts them. */
static void
render_unpacked(enum metric_page form, struct buffer *out)
{
    struct page pages[4];
    const struct page *order[] = {&pages[0], &pages[1], &pages[2], &pages[3]};
    for (size_t i = 0; i < 4; i++)
        page_init(&pages[i], SERIES * 2);
    put_family(&pages[0], "large_total", SERIES);
    page_end(&pages[0]);
    put_family(&pages[1], "large_total", 2);
    page_end(&pages[1]);
    put_family(&pages[2], "other_total", SERIES / 2);
    put_family(&pages[2], "small_total", 3);
    page_end(&pages[2]);
    put_family(&pages[3], "right_total", 5);
    page_end(&pages[3]);
    page_render(order, 4, form, NULL, out);
    for (size_t i = 0; i < 4; i++)
        page_done(&pages[i]);
}

/* As the endpoint reads it, with as little room as it may have. False: it could not go on. */
static bool
read_plain(const struct page *const *pages, enum metric_page form, struct buffer *out)
{
    struct buffer rest;
    struct pack_plain *plain;
    buffer_init(&rest, TEXT_MAX);
    assert_true(pack_plain_new(&plain));
    page_render(pages, 2, form, pack_plain_taker(plain), &rest);
    struct http_stream *stream = pack_plain_end(plain, rest.bytes, rest.size);
    assert_non_null(stream);
    buffer_done(&rest);
    size_t got = 1;
    while (out->size < stream->size && got > 0) {
        size_t left = stream->size - out->size;
        size_t max = left < stream->block_size ? left : stream->block_size;
        char *room = buffer_reserve(out, max);
        assert_non_null(room);
        got = stream->read(stream, room, max);
        assert_true(got <= max);
        out->size += got;
    }
    stream->free(stream);
    return got > 0;
}

static void
packed_page_is_the_same_text_in_every_form(void **state)
{
    (void)state;
    static const enum metric_page forms[] = {METRIC_PAGE_TEXT, METRIC_PAGE_OPENMETRICS};
    struct page left;
    struct page right;
    const struct page *pages[] = {&left, &right};
    char *text = calloc(1, TEXT_MAX);
    assert_non_null(text);
    fill(&left, &right, true);
    assert_true(left.piece_count > 4);
    assert_true(left.packed.size < left.pieces[0].text_size * left.piece_count / 2);
    assert_true(left.samples.size < PAGE_PIECE_SIZE); /* the text is nowhere */
    assert_int_equal(left.families[1].series, SERIES);
    assert_int_equal(right.piece_count, 0);
    for (size_t i = 0; i < 2; i++) {
        struct buffer wanted;
        struct buffer out;
        struct buffer rest;
        struct pack_gzip gzip;
        buffer_init(&wanted, TEXT_MAX);
        buffer_init(&out, TEXT_MAX);
        buffer_init(&rest, TEXT_MAX);
        render_unpacked(forms[i], &wanted);
        assert_true(read_plain(pages, forms[i], &out));
        assert_same(out.bytes, out.size, wanted.bytes, wanted.size);
        buffer_clear(&out);
        pack_gzip_begin(&gzip, &out);
        page_render(pages, 2, forms[i], &gzip.taker, &rest);
        pack_gzip_end(&gzip, rest.bytes, rest.size);
        assert_false(out.failed);
        assert_true(out.size < wanted.size / 2);
        assert_same(text, unpack(&out, text, TEXT_MAX), wanted.bytes, wanted.size);
        buffer_done(&wanted);
        buffer_done(&out);
        buffer_done(&rest);
    }
    page_done(&left);
    page_done(&right);
    free(text);
}

static void
page_that_is_written_again_is_a_new_one(void **state)
{
    (void)state;
    struct page left;
    struct page right;
    fill(&left, &right, true);
    size_t pieces = left.piece_count;
    page_clear(&left);
    assert_int_equal(left.piece_count, 0);
    put_family(&left, "small_total", 3);
    page_end(&left);
    assert_int_equal(left.piece_count, 0);
    page_clear(&left);
    put_family(&left, "small_total", 3);
    put_family(&left, "large_total", SERIES);
    put_family(&left, "other_total", SERIES / 2);
    page_end(&left);
    assert_int_equal(left.piece_count, pieces);
    page_done(&left);
    page_done(&right);
}

static void
damaged_piece_is_no_answer(void **state)
{
    (void)state;
    struct page left;
    struct page right;
    struct buffer out;
    const struct page *pages[] = {&left, &right};
    fill(&left, &right, true);
    memset(left.packed.bytes + left.pieces[1].start, 0xff, 20);
    buffer_init(&out, TEXT_MAX);
    assert_false(read_plain(pages, METRIC_PAGE_TEXT, &out));
    buffer_done(&out);
    page_done(&left);
    page_done(&right);
}

/* One stream, with nothing in it but what is packed at the scrape, or nothing at all. */
static void
answer_without_large_families_is_one_stream(void **state)
{
    (void)state;
    static const char *const rests[] = {"alone\n", ""};
    char text[100];
    for (size_t i = 0; i < 2; i++) {
        struct buffer out;
        struct pack_gzip gzip;
        buffer_init(&out, TEXT_MAX);
        pack_gzip_begin(&gzip, &out);
        pack_gzip_end(&gzip, rests[i], strlen(rests[i]));
        assert_same(text, unpack(&out, text, sizeof(text)), rests[i], strlen(rests[i]));
        buffer_done(&out);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_page_is_the_same_text_in_every_form),
        cmocka_unit_test(page_that_is_written_again_is_a_new_one),
        cmocka_unit_test(damaged_piece_is_no_answer),
        cmocka_unit_test(answer_without_large_families_is_one_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
