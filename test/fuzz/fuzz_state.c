/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_state.c: the state's journal with any bytes in it. Odd inputs are wrapped into a whole
 * record first, so that the meaning of fields is tried as well as the framing. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

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
    }
    catalog_done(&catalog);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
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
