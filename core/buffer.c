/* SPDX-License-Identifier: Apache-2.0 */
/* buffer.c: see buffer.h. */
#include "core/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"

void
buffer_init(struct buffer *buffer, size_t size_max)
{
    ASSERT(buffer != NULL);
    *buffer = (struct buffer){.size_max = size_max};
}

void
buffer_done(struct buffer *buffer)
{
    if (buffer == NULL)
        return;
    free(buffer->bytes);
    *buffer = (struct buffer){0};
}

void
buffer_clear(struct buffer *buffer)
{
    buffer->size = 0;
    buffer->failed = false;
}

char *
buffer_reserve(struct buffer *buffer, size_t size)
{
    ASSERT(buffer->size <= buffer->capacity);

    if (buffer->failed || size > buffer->size_max - buffer->size) {
        buffer->failed = true;
        return NULL;
    }
    size_t needed = buffer->size + size + 1; /* one for the terminator */
    if (needed > buffer->capacity) {
        size_t grown = buffer->capacity * 2;
        size_t capacity = needed > grown ? needed : grown;
        char *bytes = realloc(buffer->bytes, capacity < 256 ? 256 : capacity);
        if (bytes == NULL) {
            buffer->failed = true;
            return NULL;
        }
        buffer->bytes = bytes;
        buffer->capacity = capacity < 256 ? 256 : capacity;
    }
    return buffer->bytes + buffer->size;
}

void
buffer_append(struct buffer *buffer, const void *bytes, size_t size)
{
    char *room = buffer_reserve(buffer, size);
    if (room == NULL)
        return;
    if (size > 0)
        memcpy(room, bytes, size);
    buffer->size += size;
}

void
buffer_text(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

void
buffer_format(struct buffer *buffer, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    ASSERT(size >= 0);

    char *room = buffer_reserve(buffer, (size_t)size);
    if (room != NULL) {
        (void)vsnprintf(room, (size_t)size + 1, fmt, again);
        buffer->size += (size_t)size;
    }
    va_end(again);
}

const char *
buffer_string(struct buffer *buffer)
{
    if (buffer->bytes == NULL)
        return "";
    buffer->bytes[buffer->size] = '\0';
    return buffer->bytes;
}

/* C0 but tabs, DEL, and C1, which is 0xC2 0x80..0x9F in UTF-8: a log may hold a terminal's
 * commands. */
void
buffer_visible(struct buffer *buffer, const char *text, size_t size)
{
    size_t start = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        unsigned char next = i + 1 < size ? (unsigned char)text[i + 1] : 0;
        bool c1 = c == 0xC2 && next >= 0x80 && next < 0xA0;
        if ((c >= 0x20 || c == '\t') && c != 0x7F && !c1)
            continue;
        buffer_append(buffer, text + start, i - start);
        if (c1)
            i++;
        buffer_format(buffer, "\\x%02X", c1 ? next : c);
        start = i + 1;
    }
    if (size > start)
        buffer_append(buffer, text + start, size - start);
}
