/* SPDX-License-Identifier: Apache-2.0 */
/* pack.h: large pages are packed in pieces while they are written, so that 16 MB of text take less
 * than one. An answer is these pieces as they are, with what is new since behind them, in one gzip
 * stream with one checksum; or it is the text again, for who does not take gzip. */
#ifndef EXPORTERS_PACK_H
#define EXPORTERS_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/http.h"
#include "exporters/page.h"

/* From now on, what is large in this page is packed. When memory is short it is not. */
void pack_page(struct page *page);

/* A gzip stream that is being put together at the end of `out`. */
struct pack_gzip {
    struct page_taker taker; /* for page_render() */
    struct buffer *out;
    uint32_t crc;
    uint64_t size;
};
void pack_gzip_begin(struct pack_gzip *gzip, struct buffer *out);
/* Packs `rest` and ends the stream. What went wrong is latched in `out`. */
void pack_gzip_end(struct pack_gzip *gzip, const char *rest, size_t size);

/* The same as text again, unpacked piece by piece while it is sent. It has copies of what it needs
 * of the pages. */
struct pack_plain;
bool pack_plain_new(struct pack_plain **out) MUST_CHECK; /* false: memory is short */
struct page_taker *pack_plain_taker(struct pack_plain *plain);
/* Adds `rest` and gives the stream, which is the owner now. NULL: memory was short, all is freed.
 */
struct http_stream *pack_plain_end(struct pack_plain *plain, const char *rest, size_t size);

#endif
