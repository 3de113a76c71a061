/* SPDX-License-Identifier: Apache-2.0 */
/* arena.h: many small allocations with one owner and one end.
 * Memory is zeroed and aligned for any type. One thread at a time. */
#ifndef CORE_ARENA_H
#define CORE_ARENA_H

#include <stddef.h>

#include "core/attributes.h"

struct arena_chunk;
struct arena {
    struct arena_chunk *chunks; /* the newest first */
    size_t size;                /* bytes taken from all of them */
    size_t size_max;
};

void arena_init(struct arena *arena, size_t size_max);
void arena_done(struct arena *arena);
/* NULL when memory is short or the limit is reached. */
void *arena_take(struct arena *arena, size_t size) MUST_CHECK;
/* `size` bytes of text and a terminator; NULL as above. */
char *arena_text(struct arena *arena, const char *text, size_t size) MUST_CHECK;

#endif
