/* SPDX-License-Identifier: Apache-2.0 */
/* pack.h: gzip in parts. A large page is packed once, when it is made; an answer is the packed
 * parts as they are and what is new since, in one gzip stream with one checksum. */
#ifndef EXPORTERS_PACK_H
#define EXPORTERS_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"

struct pack {
    struct buffer bytes; /* deflate blocks that end at a byte; none of them the last */
    uint32_t crc;        /* of the text */
    uint64_t size;       /* of the text; 0: nothing is packed */
};

void pack_init(struct pack *pack);
void pack_done(struct pack *pack);
void pack_clear(struct pack *pack); /* keeps the memory */

/* Packs a text. When memory is short the pack is empty, and the text must be used. */
void pack_text(struct pack *pack, const char *text, size_t size);

/* Appends one gzip stream: the parts, then `rest`. False: no memory; `out` is as it was. */
bool pack_join(const struct pack *const *parts, size_t count, const char *rest, size_t rest_size,
               struct buffer *out) MUST_CHECK;

#endif
