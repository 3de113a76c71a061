/* SPDX-License-Identifier: Apache-2.0 */
/* encode.c: see encode.h. Sixteen bytes at a time while all of them may be copied as they are; one
 * character at a time for what must be escaped or checked. */
#include "core/encode.h"

#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "core/assert.h"
#include "core/buffer.h"

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* Output of each byte below 0x80: 1 = as it is, 2 = backslash and a letter, 6 = \u00XX. */
static const unsigned char escape_size[128] = {
    6, 6, 6, 6, 6, 6, 6, 6, 2, 2, 2, 6, 2, 2, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6,
    1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
};

/* Bytes of plain text (no control, quote, backslash, nothing above 0x7f) at the start of `text`,
 * copied to `out`; `size` bounds both. */
static size_t
copy_plain(char *out, const unsigned char *text, size_t size)
{
    size_t done = 0;
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i backslash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(0x20);
    while (size - done >= 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)(const void *)(text + done));
        /* Signed: bytes from 0x80 on are negative and so below a space, like control bytes. */
        __m128i special = _mm_cmplt_epi8(block, space);
        special = _mm_or_si128(special, _mm_cmpeq_epi8(block, quote));
        special = _mm_or_si128(special, _mm_cmpeq_epi8(block, backslash));
        unsigned mask = (unsigned)_mm_movemask_epi8(special);
        _mm_storeu_si128((__m128i *)(void *)(out + done), block);
        if (mask != 0)
            return done + (size_t)__builtin_ctz(mask);
        done += 16;
    }
#endif
    while (done < size && text[done] < 0x80 && escape_size[text[done]] == 1) {
        out[done] = (char)text[done];
        done++;
    }
    return done;
}

static void
put_escape(char *out, unsigned char byte)
{
    static const char letters[] = "btn?fr"; /* 0x08 to 0x0d */
    static const char hex[] = "0123456789abcdef";
    out[0] = '\\';
    if (escape_size[byte] == 2) {
        out[1] = byte >= 0x20 ? (char)byte : letters[byte - 8];
        return;
    }
    memcpy(out + 1, "u00", 3);
    out[4] = hex[byte >> 4];
    out[5] = hex[byte & 15];
}

/* The UTF-8 sequence at `text`, whose first byte is above 0x7f: its size when well-formed
 * (`valid`), else the size of its maximal ill-formed part, which one replacement stands for
 * (Unicode 15, 3.9, D93b). */
static size_t
utf8_measure(const unsigned char *text, size_t size, bool *valid)
{
    unsigned char first = text[0];
    unsigned low = 0x80;
    unsigned high = 0xBF;
    size_t needed;
    *valid = false;
    if (first >= 0xC2 && first <= 0xDF) {
        needed = 2;
    } else if (first >= 0xE0 && first <= 0xEF) {
        needed = 3;
        low = first == 0xE0 ? 0xA0 : 0x80;
        high = first == 0xED ? 0x9F : 0xBF;
    } else if (first >= 0xF0 && first <= 0xF4) {
        needed = 4;
        low = first == 0xF0 ? 0x90 : 0x80;
        high = first == 0xF4 ? 0x8F : 0xBF;
    } else {
        return 1;
    }

    size_t i = 1;
    while (i < needed && i < size && text[i] >= low && text[i] <= high) {
        low = 0x80;
        high = 0xBF;
        i++;
    }
    *valid = i == needed;
    return i;
}

struct encode_result
encode_json(char *out, size_t out_max, const char *text, size_t size)
{
    ASSERT(out != NULL || out_max == 0);
    ASSERT(text != NULL || size == 0);

    const unsigned char *bytes = (const unsigned char *)text;
    struct encode_result done = {0};
    while (done.taken < size) {
        size_t left = size - done.taken;
        size_t room = out_max - done.written;
        size_t plain =
            copy_plain(out + done.written, bytes + done.taken, left < room ? left : room);
        done.taken += plain;
        done.written += plain;
        if (done.taken == size)
            break;

        const unsigned char *next = bytes + done.taken;
        room = out_max - done.written;
        if (*next < 0x80) {
            if (escape_size[*next] > room || escape_size[*next] == 1)
                break; /* a plain byte stands here only when there is no room at all */
            put_escape(out + done.written, *next);
            done.written += escape_size[*next];
            done.taken++;
            continue;
        }
        bool valid;
        size_t taken = utf8_measure(next, size - done.taken, &valid);
        size_t written = valid ? taken : sizeof(REPLACEMENT) - 1;
        if (written > room)
            break;
        memcpy(out + done.written, valid ? (const char *)next : REPLACEMENT, written);
        done.taken += taken;
        done.written += written;
        done.repaired |= !valid;
    }
    return done;
}

void
encode_json_string(struct buffer *out, const char *text, size_t size)
{
    buffer_append(out, "\"", 1);
    while (size > 0 && !out->failed) {
        size_t chunk = size < 65536 ? size : 65536;
        char *room = buffer_reserve(out, chunk * ENCODE_GROWTH_MAX);
        if (room == NULL)
            return;
        /* All of `text` is offered, so that a chunk's end never splits a character. */
        struct encode_result done = encode_json(room, chunk * ENCODE_GROWTH_MAX, text, size);
        out->size += done.written;
        text += done.taken;
        size -= done.taken;
    }
    buffer_append(out, "\"", 1);
}
