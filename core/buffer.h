/* SPDX-License-Identifier: Apache-2.0 */
/* buffer.h: bytes that grow up to a limit set at birth.
 * The struct is the caller's (init/done); `bytes` moves when it grows. After the limit or a failed
 * allocation `failed` is latched and further appends do nothing: check once, at the end.
 * One thread at a time. */
#ifndef CORE_BUFFER_H
#define CORE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

#include "core/attributes.h"

struct buffer {
    char *bytes; /* owned; not terminated */
    size_t size;
    size_t capacity;
    size_t size_max;
    bool failed;
};

void buffer_init(struct buffer *buffer, size_t size_max);
void buffer_done(struct buffer *buffer);  /* NULL is fine */
void buffer_clear(struct buffer *buffer); /* keeps the memory, forgets content and failure */
void buffer_append(struct buffer *buffer, const void *bytes, size_t size);
void buffer_text(struct buffer *buffer, const char *text);
void buffer_format(struct buffer *buffer, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Text that anybody wrote, for a terminal: control characters are shown as \xNN. */
void buffer_visible(struct buffer *buffer, const char *text, size_t size);
/* Room for `size` more bytes at the end, NULL when there is none; `size` of the buffer is
 * unchanged: the caller adds what it wrote. */
char *buffer_reserve(struct buffer *buffer, size_t size) MUST_CHECK;

/* A '\0' behind the content, not counted in `size`. "" when the buffer failed while empty. */
const char *buffer_string(struct buffer *buffer);

#endif
