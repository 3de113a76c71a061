/* SPDX-License-Identifier: Apache-2.0 */
/* page_wire.c: see page_wire.h. */
#include "exporters/page_wire.h"

#include <stdlib.h>

#include "exporters/page.h"

#define FAMILIES_MAX 100000 /* far above any collector's */
#define PIECES_MAX 100000   /* 6 GiB of text */

void
page_wire_of(const struct page *page, struct page_wire *out,
             struct page_wire_part parts[PAGE_WIRE_PARTS])
{
    parts[0] =
        (struct page_wire_part){page->families, page->family_count * sizeof(*page->families)};
    parts[1] = (struct page_wire_part){page->pieces, page->piece_count * sizeof(*page->pieces)};
    parts[2] = (struct page_wire_part){page->words.bytes, page->words.size};
    parts[3] = (struct page_wire_part){page->samples.bytes, page->samples.size};
    parts[4] = (struct page_wire_part){page->packed.bytes, page->packed.size};
    *out = (struct page_wire){.failed = page->failed};
    for (size_t i = 0; i < PAGE_WIRE_PARTS; i++)
        out->sizes[i] = parts[i].size;
}

static bool
room_in_buffer(struct buffer *buffer, uint64_t size, struct page_wire_part *part)
{
    char *bytes = size > buffer->size_max ? NULL : buffer_reserve(buffer, (size_t)size);
    if (bytes == NULL && size > 0)
        return false;
    buffer->size = (size_t)size;
    *part = (struct page_wire_part){bytes, (size_t)size};
    return true;
}

/* Of an array with room for `*capacity`. */
static bool
room_in_array(void **array, size_t *count, size_t *capacity, size_t item_size, size_t count_max,
              uint64_t size, struct page_wire_part *part)
{
    size_t wanted = (size_t)(size / item_size);
    if (size / item_size > count_max || size % item_size != 0)
        return false;
    if (wanted > *capacity) {
        void *grown = reallocarray(*array, wanted, item_size);
        if (grown == NULL)
            return false;
        *array = grown;
        *capacity = wanted;
    }
    *count = wanted;
    *part = (struct page_wire_part){*array, (size_t)size};
    return true;
}

bool
page_wire_room(struct page *page, const struct page_wire *wire,
               struct page_wire_part parts[PAGE_WIRE_PARTS])
{
    void *families = page->families;
    void *pieces = page->pieces;
    page_clear(page);
    bool fine = room_in_array(&families, &page->family_count, &page->family_capacity,
                              sizeof(*page->families), FAMILIES_MAX, wire->sizes[0], &parts[0]) &&
                room_in_array(&pieces, &page->piece_count, &page->piece_capacity,
                              sizeof(*page->pieces), PIECES_MAX, wire->sizes[1], &parts[1]) &&
                room_in_buffer(&page->words, wire->sizes[2], &parts[2]) &&
                room_in_buffer(&page->samples, wire->sizes[3], &parts[3]) &&
                room_in_buffer(&page->packed, wire->sizes[4], &parts[4]);
    page->families = families;
    page->pieces = pieces;
    page->failed = wire->failed;
    if (!fine)
        page_clear(page);
    return fine;
}

bool
page_wire_accept(struct page *page)
{
    const struct buffer *words = &page->words;
    bool fine = words->size == 0 || words->bytes[words->size - 1] == '\0';
    for (size_t i = 0; i < page->piece_count && fine; i++) {
        const struct page_piece *piece = &page->pieces[i];
        fine = page->packed.size >= PAGE_PIECE_END && piece->start <= piece->end &&
               piece->end <= page->packed.size - PAGE_PIECE_END && piece->text_size > 0;
    }
    for (size_t i = 0; i < page->family_count && fine; i++) {
        const struct page_family *family = &page->families[i];
        fine = family->type <= PAGE_SUMMARY && family->name < words->size &&
               family->help < words->size && family->start <= family->end &&
               family->end <= page->samples.size && family->first_piece <= family->last_piece &&
               family->last_piece <= page->piece_count;
    }
    if (!fine)
        page_clear(page);
    return fine;
}
