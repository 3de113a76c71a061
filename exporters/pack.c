/* SPDX-License-Identifier: Apache-2.0 */
/* pack.c: see pack.h. A piece is raw deflate that ends with a full flush: an empty stored block,
 * after which nothing refers to what was before. So pieces can stand one behind the other, and the
 * rest, by libdeflate, which is faster but knows no flush, brings the last block. Behind each piece
 * in the page stands a last block that is empty: with it the piece can be unpacked by itself. */
#include "exporters/pack.h"

#include <libdeflate.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "core/assert.h"
#include "core/bounds.h"

#define LEVEL 1 /* pages shrink to a tenth at once; more effort gains little */
#define HEAD_SIZE 10
#define TAIL_SIZE 8
#define STORED_MAX 65535U                /* bytes of a stored block */
#define BLOCK_SIZE (4 * PAGE_PIECE_SIZE) /* what is unpacked and sent at once */

/* ---- while a page is written ---- */

struct packer {
    struct page_packer base;
    z_stream stream;
    bool open; /* the stream: 260 KiB, for pages that become large */
};

static bool
pack_piece(struct page_packer *base, const char *text, size_t size, struct buffer *out,
           struct page_piece *piece)
{
    static const char last_block[PAGE_PIECE_END] = {3, 0};
    struct packer *packer = (struct packer *)(void *)base;
    z_stream *stream = &packer->stream;
    packer->open =
        packer->open || deflateInit2(stream, LEVEL, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) == Z_OK;
    if (!packer->open)
        return false;
    size_t room = deflateBound(stream, (uLong)size) + 16; /* and the flush */
    char *bytes = out->failed ? NULL : buffer_reserve(out, room + PAGE_PIECE_END);
    if (bytes == NULL) {
        out->failed = false; /* what is in it is whole */
        return false;
    }
    union {
        const char *text;
        Bytef *bytes; /* zlib's interface has no const; it does not write there */
    } input = {.text = text};
    stream->next_in = input.bytes;
    stream->avail_in = (uInt)size;
    stream->next_out = (Bytef *)bytes;
    stream->avail_out = (uInt)room;
    bool fine =
        deflate(stream, Z_FULL_FLUSH) == Z_OK && stream->avail_in == 0 && stream->avail_out > 0;
    size_t written = room - stream->avail_out;
    (void)deflateReset(stream);
    if (!fine)
        return false;
    memcpy(bytes + written, last_block, PAGE_PIECE_END);
    *piece = (struct page_piece){
        .start = out->size,
        .end = out->size + written,
        .text_size = (uint32_t)size,
        .crc = libdeflate_crc32(0, text, size),
    };
    out->size += written + PAGE_PIECE_END;
    return true;
}

static void
free_packer(struct page_packer *base)
{
    struct packer *packer = (struct packer *)(void *)base;
    if (packer->open)
        (void)deflateEnd(&packer->stream);
    free(packer);
}

void
pack_page(struct page *page)
{
    struct packer *packer = calloc(1, sizeof(*packer));
    ASSERT(page->packer == NULL);
    if (packer == NULL)
        return;
    packer->base = (struct page_packer){pack_piece, free_packer};
    page->packer = &packer->base;
}

/* ---- an answer as gzip ---- */

static void
put_number(char out[4], uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (char)(unsigned char)(value >> (8 * i));
}

static void
add_checksum(struct pack_gzip *gzip, uint32_t crc, uint64_t size)
{
    gzip->crc = (uint32_t)crc32_combine(gzip->crc, crc, (z_off_t)size);
    gzip->size += size;
}

/* Heads of families and little else: as they are, in stored blocks. */
static void
put_stored(struct page_taker *taker, const char *text, size_t size)
{
    struct pack_gzip *gzip = (struct pack_gzip *)(void *)taker;
    for (size_t at = 0; at < size;) {
        size_t part = size - at < STORED_MAX ? size - at : STORED_MAX;
        char head[5] = {0};
        put_number(head + 1, (uint32_t)part | (~(uint32_t)part << 16));
        buffer_append(gzip->out, head, sizeof(head));
        buffer_append(gzip->out, text + at, part);
        at += part;
    }
    add_checksum(gzip, libdeflate_crc32(0, text, size), size);
}

static void
put_piece(struct page_taker *taker, const struct page *page, const struct page_piece *piece)
{
    struct pack_gzip *gzip = (struct pack_gzip *)(void *)taker;
    buffer_append(gzip->out, page->packed.bytes + piece->start, piece->end - piece->start);
    add_checksum(gzip, piece->crc, piece->text_size);
}

void
pack_gzip_begin(struct pack_gzip *gzip, struct buffer *out)
{
    static const char head[HEAD_SIZE] = {0x1f, (char)0x8b, 8, 0, 0, 0, 0, 0, 0, (char)0xff};
    *gzip = (struct pack_gzip){.taker = {put_stored, put_piece}, .out = out};
    buffer_append(out, head, sizeof(head));
}

void
pack_gzip_end(struct pack_gzip *gzip, const char *rest, size_t size)
{
    struct buffer *out = gzip->out;
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(LEVEL);
    if (compressor == NULL) {
        out->failed = true;
        return;
    }
    size_t room = libdeflate_deflate_compress_bound(compressor, size);
    char *end = buffer_reserve(out, room + TAIL_SIZE);
    if (end != NULL) {
        size_t written = libdeflate_deflate_compress(compressor, rest, size, end, room);
        ASSERT(written > 0);
        add_checksum(gzip, libdeflate_crc32(0, rest, size), size);
        put_number(end + written, gzip->crc);
        put_number(end + written + 4, (uint32_t)gzip->size);
        out->size += written + TAIL_SIZE;
    }
    libdeflate_free_compressor(compressor);
}

/* ---- an answer as text ---- */

/* A piece, or text as it is. */
struct segment {
    size_t start, end; /* in `bytes`; of a piece with its last block */
    size_t text_size;
    bool packed;
};

struct pack_plain {
    struct http_stream stream;
    struct page_taker taker;
    struct buffer bytes;
    struct segment *segments;
    size_t count, capacity;
    size_t at;   /* the segment that comes next */
    size_t sent; /* of it, if it is text */
    struct libdeflate_decompressor *decompressor;
};

static struct pack_plain *
plain_of_taker(struct page_taker *taker)
{
    char *start = (char *)taker - offsetof(struct pack_plain, taker);
    return (struct pack_plain *)(void *)start;
}

static void
add_segment(struct pack_plain *plain, const char *bytes, size_t size, size_t text_size, bool packed)
{
    if (plain->count == plain->capacity) {
        size_t capacity = plain->capacity * 2 + 64;
        struct segment *segments = reallocarray(plain->segments, capacity, sizeof(*segments));
        if (segments == NULL) {
            plain->bytes.failed = true;
            return;
        }
        plain->segments = segments;
        plain->capacity = capacity;
    }
    size_t start = plain->bytes.size;
    buffer_append(&plain->bytes, bytes, size);
    plain->segments[plain->count++] = (struct segment){start, start + size, text_size, packed};
    plain->stream.size += text_size;
    if (packed && text_size > plain->stream.block_size)
        plain->stream.block_size = text_size;
}

static void
add_text(struct page_taker *taker, const char *text, size_t size)
{
    if (size > 0)
        add_segment(plain_of_taker(taker), text, size, size, false);
}

static void
add_piece(struct page_taker *taker, const struct page *page, const struct page_piece *piece)
{
    add_segment(plain_of_taker(taker), page->packed.bytes + piece->start,
                piece->end - piece->start + PAGE_PIECE_END, piece->text_size, true);
}

/* One segment, or the part of it that has room; 0: it has none, or the piece is damaged. */
static size_t
read_segment(struct pack_plain *plain, char *out, size_t max)
{
    const struct segment *segment = &plain->segments[plain->at];
    const char *bytes = plain->bytes.bytes + segment->start;
    size_t left = segment->text_size - plain->sent;
    if (segment->packed) {
        if (max < left ||
            libdeflate_deflate_decompress(plain->decompressor, bytes, segment->end - segment->start,
                                          out, left, NULL) != LIBDEFLATE_SUCCESS)
            return 0;
    } else {
        left = left < max ? left : max;
        memcpy(out, bytes + plain->sent, left);
    }
    plain->sent += left;
    if (plain->sent == segment->text_size) {
        plain->at++;
        plain->sent = 0;
    }
    return left;
}

static size_t
read_plain(struct http_stream *stream, char *out, size_t max)
{
    struct pack_plain *plain = (struct pack_plain *)(void *)stream;
    size_t size = 0;
    while (plain->at < plain->count && size < max) {
        size_t got = read_segment(plain, out + size, max - size);
        if (got == 0)
            break;
        size += got;
    }
    return size;
}

static void
free_plain(struct http_stream *stream)
{
    struct pack_plain *plain = (struct pack_plain *)(void *)stream;
    if (plain->decompressor != NULL)
        libdeflate_free_decompressor(plain->decompressor);
    buffer_done(&plain->bytes);
    free(plain->segments);
    free(plain);
}

bool
pack_plain_new(struct pack_plain **out)
{
    struct pack_plain *plain = calloc(1, sizeof(*plain));
    *out = plain;
    if (plain == NULL)
        return false;
    plain->stream = (struct http_stream){
        .block_size = BLOCK_SIZE,
        .read = read_plain,
        .free = free_plain,
    };
    plain->taker = (struct page_taker){add_text, add_piece};
    buffer_init(&plain->bytes, HTTP_BODY_MAX);
    plain->decompressor = libdeflate_alloc_decompressor();
    if (plain->decompressor != NULL)
        return true;
    free_plain(&plain->stream);
    return false;
}

struct page_taker *
pack_plain_taker(struct pack_plain *plain)
{
    return &plain->taker;
}

struct http_stream *
pack_plain_end(struct pack_plain *plain, const char *rest, size_t size)
{
    add_text(&plain->taker, rest, size);
    if (!plain->bytes.failed)
        return &plain->stream;
    free_plain(&plain->stream);
    return NULL;
}
