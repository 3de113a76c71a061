/* SPDX-License-Identifier: Apache-2.0 */
/* arena.c: see arena.h. */
#include "core/arena.h"

#include <stdlib.h>
#include <string.h>

#include "core/assert.h"

#define CHUNK_SIZE 4096 /* a small configuration fits into one or two */
#define ALIGNMENT _Alignof(max_align_t)

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, size;
    max_align_t bytes[]; /* counted in bytes all the same */
};

void
arena_init(struct arena *arena, size_t size_max)
{
    ASSERT(arena != NULL);
    *arena = (struct arena){.size_max = size_max};
}

void
arena_done(struct arena *arena)
{
    while (arena->chunks != NULL) {
        struct arena_chunk *next = arena->chunks->next;
        free(arena->chunks);
        arena->chunks = next;
    }
    arena->size = 0;
}

void *
arena_take(struct arena *arena, size_t size)
{
    ASSERT(arena->size <= arena->size_max);

    if (size > arena->size_max - arena->size)
        return NULL;
    size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (size > arena->size_max - arena->size)
        return NULL;

    struct arena_chunk *chunk = arena->chunks;
    if (chunk == NULL || size > chunk->size - chunk->used) {
        size_t room = size > CHUNK_SIZE ? size : CHUNK_SIZE;
        chunk = calloc(1, sizeof(*chunk) + room);
        if (chunk == NULL)
            return NULL;
        chunk->size = room;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
    }
    void *taken = (char *)chunk->bytes + chunk->used;
    chunk->used += size;
    arena->size += size;
    return taken;
}

char *
arena_text(struct arena *arena, const char *text, size_t size)
{
    char *copy = arena_take(arena, size + 1);
    if (copy != NULL && size > 0)
        memcpy(copy, text, size);
    return copy;
}
