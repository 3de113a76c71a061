/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_ledger.c: any metadata of a committed offset; what is understood comes back as it was, and
 * any reason of a letter. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "sinks/replay/ledger.h"
#include "sinks/replay/letter.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void
read_reason(const char *text, size_t size)
{
    struct buffer out;
    buffer_init(&out, 4 * size + 16);
    letter_class(&out, text);
    ASSERT(!out.failed);
    buffer_done(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size > LEDGER_TEXT_SIZE)
        return 0;
    char *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    memcpy(text, bytes, size);
    text[size] = '\0';
    read_reason(text, size);

    struct ledger first;
    struct ledger second;
    ledger_init(&first);
    ledger_init(&second);
    ASSERT(ledger_read(&first, (int64_t)size % 7, text, size));
    char written[LEDGER_TEXT_SIZE];
    uint64_t left;
    int64_t committed = ledger_write(&first, written, &left);
    ASSERT(strlen(written) < sizeof(written));
    ASSERT(ledger_read(&second, committed, written, strlen(written)));
    ASSERT(left > 0 || second.count == first.count);
    for (size_t i = 0; i < second.count; i++) {
        ASSERT(second.ranges[i].first == first.ranges[i].first);
        ASSERT(second.ranges[i].end == first.ranges[i].end);
        ASSERT(second.ranges[i].first < second.ranges[i].end);
        ASSERT(i == 0 || second.ranges[i - 1].end < second.ranges[i].first);
    }
    ledger_done(&first);
    ledger_done(&second);
    free(text);
    return 0;
}
