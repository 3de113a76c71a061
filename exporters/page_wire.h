/* SPDX-License-Identifier: Apache-2.0 */
/* page_wire.h: a page as plain bytes, to carry it to another process of the same program. What
 * comes from there is looked at before it is used: a process that damaged its own memory must not
 * harm this one. */
#ifndef EXPORTERS_PAGE_WIRE_H
#define EXPORTERS_PAGE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"

struct page;

#define PAGE_WIRE_PARTS 5
struct page_wire {
    uint64_t sizes[PAGE_WIRE_PARTS]; /* of families, pieces, words, samples, packed */
    bool failed;                     /* memory was short: the page is not whole */
};
struct page_wire_part {
    void *bytes;
    size_t size;
};

/* What is to be sent: sizes first, then the parts in their order. */
void page_wire_of(const struct page *page, struct page_wire *out,
                  struct page_wire_part parts[PAGE_WIRE_PARTS]);
/* Room for what is announced, to be filled. False: it is more than a page may have, or memory is
 * short. */
bool page_wire_room(struct page *page, const struct page_wire *wire,
                    struct page_wire_part parts[PAGE_WIRE_PARTS]) MUST_CHECK;
/* Whether what came is a page; else it is cleared. */
bool page_wire_accept(struct page *page) MUST_CHECK;

#endif
