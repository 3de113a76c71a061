/* SPDX-License-Identifier: Apache-2.0 */
/* scan.c: see scan.h. */
#include "exporters/host/scan.h"

#include <stdlib.h>
#include <string.h>

#include "core/assert.h"

#define NUMBER_SIZE 64 /* longer than any number that fits */

struct scan
scan_of(const char *text)
{
    return (struct scan){text, strlen(text)};
}

void
scan_skip(struct scan *text, size_t size)
{
    size = size < text->size ? size : text->size;
    text->at += size;
    text->size -= size;
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

void
scan_trim(struct scan *text)
{
    while (text->size > 0 && is_blank(text->at[0]))
        scan_skip(text, 1);
    while (text->size > 0 && is_blank(text->at[text->size - 1]))
        text->size--;
}

bool
scan_line(struct scan *text, struct scan *line)
{
    if (text->size == 0)
        return false;
    const char *end = memchr(text->at, '\n', text->size);
    *line = (struct scan){text->at, end == NULL ? text->size : (size_t)(end - text->at)};
    scan_skip(text, line->size + 1);
    return true;
}

bool
scan_word(struct scan *text, struct scan *word)
{
    while (text->size > 0 && is_blank(text->at[0]))
        scan_skip(text, 1);
    *word = (struct scan){text->at, 0};
    while (word->size < text->size && !is_blank(text->at[word->size]))
        word->size++;
    scan_skip(text, word->size);
    return word->size > 0;
}

bool
scan_until(struct scan *text, char end, struct scan *piece)
{
    const char *found = text->size == 0 ? NULL : memchr(text->at, end, text->size);
    if (found == NULL)
        return false;
    *piece = (struct scan){text->at, (size_t)(found - text->at)};
    scan_skip(text, piece->size + 1);
    return true;
}

static int
digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 16;
}

bool
scan_is_number(struct scan piece, int base, uint64_t *out)
{
    ASSERT(base == 8 || base == 10 || base == 16);
    if (base == 16 && scan_begins(piece, "0x"))
        scan_skip(&piece, 2);
    uint64_t value = 0;
    for (size_t i = 0; i < piece.size; i++) {
        int digit = digit_of(piece.at[i]);
        if (digit >= base || value > (UINT64_MAX - (uint64_t)digit) / (uint64_t)base)
            return false;
        value = value * (uint64_t)base + (uint64_t)digit;
    }
    *out = value;
    return piece.size > 0;
}

bool
scan_number(struct scan *text, uint64_t *out)
{
    struct scan word;
    return scan_word(text, &word) && scan_is_number(word, 10, out);
}

bool
scan_signed(struct scan *text, int64_t *out)
{
    struct scan word;
    if (!scan_word(text, &word))
        return false;
    bool negative = word.at[0] == '-';
    scan_skip(&word, negative);
    uint64_t value;
    if (!scan_is_number(word, 10, &value) || value > INT64_MAX)
        return false;
    *out = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

bool
scan_is_double(struct scan piece, double *out)
{
    char text[NUMBER_SIZE];
    if (piece.size == 0 || piece.size >= sizeof(text))
        return false;
    memcpy(text, piece.at, piece.size);
    text[piece.size] = '\0';
    if (strspn(text, "0123456789.-") != piece.size)
        return false;
    char *end;
    *out = strtod(text, &end);
    return *end == '\0';
}

bool
scan_equals(struct scan piece, const char *text)
{
    return piece.size == strlen(text) && memcmp(piece.at, text, piece.size) == 0;
}

bool
scan_begins(struct scan piece, const char *text)
{
    size_t size = strlen(text);
    return piece.size >= size && memcmp(piece.at, text, size) == 0;
}

const char *
scan_copy(struct scan piece, char *out, size_t room)
{
    ASSERT(room > 0);
    size_t size = piece.size < room ? piece.size : room - 1;
    memcpy(out, piece.at, size);
    out[size] = '\0';
    return out;
}
