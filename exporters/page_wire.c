/* SPDX-License-Identifier: Apache-2.0 */
/* page_wire.c: see page_wire.h. */
#include "exporters/page_wire.h"

#include <stdlib.h>

#include "exporters/page.h"

#define FAMILIES_MAX 100000 /* far above any collector's */

void
page_wire_of(const struct page *page, struct page_wire *out,
             struct page_wire_part parts[PAGE_WIRE_PARTS])
{
    parts[0] =
        (struct page_wire_part){page->families, page->family_count * sizeof(*page->families)};
    parts[1] = (struct page_wire_part){page->words.bytes, page->words.size};
    parts[2] = (struct page_wire_part){page->samples.bytes, page->samples.size};
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

bool
page_wire_room(struct page *page, const struct page_wire *wire,
               struct page_wire_part parts[PAGE_WIRE_PARTS])
{
    size_t count = (size_t)(wire->sizes[0] / sizeof(*page->families));
    page_clear(page);
    if (count > FAMILIES_MAX || wire->sizes[0] % sizeof(*page->families) != 0)
        return false;
    if (count > page->family_capacity) {
        struct page_family *families = realloc(page->families, count * sizeof(*families));
        if (families == NULL)
            return false;
        page->families = families;
        page->family_capacity = count;
    }
    page->family_count = count;
    parts[0] = (struct page_wire_part){page->families, count * sizeof(*page->families)};
    bool fine = room_in_buffer(&page->words, wire->sizes[1], &parts[1]) &&
                room_in_buffer(&page->samples, wire->sizes[2], &parts[2]);
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
    for (size_t i = 0; i < page->family_count && fine; i++) {
        const struct page_family *family = &page->families[i];
        fine = family->type <= PAGE_SUMMARY && family->name < words->size &&
               family->help < words->size && family->start <= family->end &&
               family->end <= page->samples.size;
    }
    if (!fine)
        page_clear(page);
    return fine;
}
