/* SPDX-License-Identifier: Apache-2.0 */
/* pack.c: see pack.h. A part is raw deflate that ends with a full flush: an empty stored block,
 * after which nothing refers to what was before. So parts can stand one behind the other, and the
 * rest, by libdeflate, which is faster but knows no flush, brings the last block. */
#include "exporters/pack.h"

#include <libdeflate.h>
#include <string.h>
#include <zlib.h>

#include "core/assert.h"
#include "core/bounds.h"

#define LEVEL 1 /* pages shrink to a tenth at once; more effort gains little */
#define HEAD_SIZE 10
#define TAIL_SIZE 8

void
pack_init(struct pack *pack)
{
    *pack = (struct pack){.size = 0};
    buffer_init(&pack->bytes, HTTP_BODY_MAX);
}

void
pack_done(struct pack *pack)
{
    buffer_done(&pack->bytes);
    pack->size = 0;
}

void
pack_clear(struct pack *pack)
{
    buffer_clear(&pack->bytes);
    pack->size = 0;
}

void
pack_text(struct pack *pack, const char *text, size_t size)
{
    z_stream stream = {0};
    pack_clear(pack);
    if (size == 0 || size > UINT32_MAX ||
        deflateInit2(&stream, LEVEL, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return;
    size_t room = deflateBound(&stream, (uLong)size) + 16; /* and the flush */
    char *out = buffer_reserve(&pack->bytes, room);
    if (out != NULL) {
        union {
            const char *text;
            Bytef *bytes; /* zlib's interface has no const; it does not write there */
        } input = {.text = text};
        stream.next_in = input.bytes;
        stream.avail_in = (uInt)size;
        stream.next_out = (Bytef *)out;
        stream.avail_out = (uInt)room;
        if (deflate(&stream, Z_FULL_FLUSH) == Z_OK && stream.avail_in == 0 &&
            stream.avail_out > 0) {
            pack->bytes.size = stream.total_out;
            pack->size = size;
            pack->crc = libdeflate_crc32(0, text, size);
        }
    }
    (void)deflateEnd(&stream);
}

static void
put_number(char out[4], uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (char)(unsigned char)(value >> (8 * i));
}

bool
pack_join(const struct pack *const *parts, size_t count, const char *rest, size_t rest_size,
          struct buffer *out)
{
    static const char head[HEAD_SIZE] = {0x1f, (char)0x8b, 8, 0, 0, 0, 0, 0, 0, (char)0xff};
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(LEVEL);
    if (compressor == NULL)
        return false;
    size_t before = out->size;
    uint32_t crc = 0;
    uint64_t size = 0;
    buffer_append(out, head, sizeof(head));
    for (size_t i = 0; i < count; i++) {
        ASSERT(parts[i]->size > 0);
        buffer_append(out, parts[i]->bytes.bytes, parts[i]->bytes.size);
        crc = (uint32_t)crc32_combine(crc, parts[i]->crc, (z_off_t)parts[i]->size);
        size += parts[i]->size;
    }
    size_t room = libdeflate_deflate_compress_bound(compressor, rest_size);
    char *end = buffer_reserve(out, room + TAIL_SIZE);
    if (end != NULL) {
        size_t written = libdeflate_deflate_compress(compressor, rest, rest_size, end, room);
        ASSERT(written > 0);
        crc =
            (uint32_t)crc32_combine(crc, libdeflate_crc32(0, rest, rest_size), (z_off_t)rest_size);
        put_number(end + written, crc);
        put_number(end + written + 4, (uint32_t)(size + rest_size));
        out->size += written + TAIL_SIZE;
    }
    libdeflate_free_compressor(compressor);
    if (!out->failed)
        return true;
    out->size = before;
    out->failed = false;
    return false;
}
