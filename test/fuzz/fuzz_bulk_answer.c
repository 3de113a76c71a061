/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a server answers, every item gets an outcome, and no item is done that was not said
 * to be. */
#include <stddef.h>
#include <stdint.h>

#include "core/assert.h"
#include "sinks/elasticsearch/answer.h"

#define ITEMS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct answer *answer; /* reused, as the output does */
    static const int statuses[] = {200, 200, 200, 400, 413, 429, 503};
    struct output_item items[ITEMS] = {0};
    struct err err;
    if (size < 2)
        return 0;
    if (answer == NULL && !answer_new(&answer, &err))
        return 0;
    int status = statuses[data[0] % (sizeof(statuses) / sizeof(statuses[0]))];
    size_t step = (size_t)data[1] + 1;
    if (!answer_begin(answer, items, ITEMS))
        return 0;
    for (size_t i = 2; i < size; i += step)
        answer_feed(answer, (const char *)data + i, size - i < step ? size - i : step);
    bool believed = answer_end(answer, status, &err);
    ASSERT(!believed || status == 200);
    for (size_t i = 0; i < ITEMS; i++) {
        ASSERT(items[i].outcome != OUTPUT_PENDING);
        ASSERT(believed || items[i].outcome > OUTPUT_DUPLICATE);
    }
    return 0;
}
