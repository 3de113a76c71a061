/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_state.c: the state's journal with any bytes in it. Odd inputs are wrapped into a whole
 * record first, so that the meaning of fields is tried as well as the framing. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/journal.h"
#include "agent/state.h"
#include "core/assert.h"
#include "core/buffer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void
parse(const void *bytes, size_t size)
{
    struct catalog catalog = {0};
    struct state_report report;
    struct err err;
    if (!state_parse(bytes, size, &catalog, &report, &err))
        ASSERT(err.action == ERR_STOP || err.action == ERR_CONFIG);
    for (const struct generation *at = catalog.first; at != NULL; at = at->next) {
        ASSERT(at->checkpoint_count >= 1 && at->checkpoint_count <= CHECKPOINTS_MAX);
        ASSERT(at->cut_count <= CUTS_MAX);
        ASSERT(at->head_size <= HEAD_SIZE_MAX);
        ASSERT(at->checkpoints[0].offset == at->committed);
        ASSERT(days_are_sane(&at->days));
        ASSERT(at->days.count == 0 || at->days.sent >= at->days.from[at->days.count - 1]);
    }
    catalog_done(&catalog);
}

/* What is put is taken again. */
static void
round_trip(const uint8_t *bytes, size_t size)
{
    char text[64] = "";
    char again[sizeof(text)];
    memcpy(text, bytes, size < sizeof(text) ? size : sizeof(text) - 1);
    uint64_t number;
    memcpy(&number, text, sizeof(number));
    struct buffer payload;
    buffer_init(&payload, 1024);
    journal_put_text(&payload, text);
    journal_put_number(&payload, number, 8);
    struct journal_fields fields = {(const unsigned char *)payload.bytes, payload.size, false};
    journal_take_text(&fields, again, sizeof(again));
    ASSERT(strcmp(text, again) == 0);
    ASSERT(journal_take_number(&fields, 8) == number);
    ASSERT(!fields.failed && fields.left == 0);
    buffer_done(&payload);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    round_trip(bytes, size);
    if (size == 0 || bytes[0] % 2 == 0) {
        parse(bytes, size);
        return 0;
    }
    struct buffer journal;
    buffer_init(&journal, (size_t)1024 * 1024);
    for (size_t at = 1; at + 2 < size;) { /* type, size, payload; the id is shared by all */
        size_t part = bytes[at + 1];
        part = part > size - at - 2 ? size - at - 2 : part;
        journal_append(&journal, bytes[at] % 10, bytes + at + 2, (uint32_t)part);
        at += part + 2;
    }
    parse(journal.bytes, journal.size);
    buffer_done(&journal);
    return 0;
}
