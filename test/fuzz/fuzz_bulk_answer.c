/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a server answers, every item gets an outcome, and no item is done that was not said
 * to be. The same bytes one by one, so that none passes beside the parser, give the same. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/assert.h"
#include "sinks/elasticsearch/answer.h"

#define ITEMS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reading {
    struct answer *answer;
    struct output_item items[ITEMS];
    bool believed;
};

static bool
read_all(struct reading *reading, const uint8_t *data, size_t size, size_t step, int status)
{
    struct err err;
    memset(reading->items, 0, sizeof(reading->items));
    if (reading->answer == NULL && !answer_new(&reading->answer, &err))
        return false;
    if (!answer_begin(reading->answer, reading->items, ITEMS))
        return false;
    for (size_t i = 0; i < size; i += step)
        (void)answer_feed(reading->answer, (const char *)data + i,
                          size - i < step ? size - i : step);
    reading->believed = answer_end(reading->answer, status, &err);
    return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct reading whole; /* reused, as the output does */
    static struct reading by_byte;
    static const int statuses[] = {200, 200, 200, 400, 413, 429, 503};
    if (size < 2)
        return 0;
    int status = statuses[data[0] % (sizeof(statuses) / sizeof(statuses[0]))];
    size_t step = (size_t)data[1] + 1;
    if (!read_all(&whole, data + 2, size - 2, step, status) ||
        !read_all(&by_byte, data + 2, size - 2, 1, status))
        return 0;
    ASSERT(!whole.believed || status == 200);
    ASSERT(whole.believed == by_byte.believed);
    for (size_t i = 0; i < ITEMS; i++) {
        const struct output_item *item = &whole.items[i];
        ASSERT(item->outcome != OUTPUT_PENDING);
        ASSERT(whole.believed || item->outcome > OUTPUT_DUPLICATE);
        ASSERT(item->outcome == by_byte.items[i].outcome);
        ASSERT(item->status == by_byte.items[i].status);
        ASSERT((item->reason == NULL) == (by_byte.items[i].reason == NULL));
        if (item->reason != NULL && whole.believed)
            ASSERT(strcmp(item->reason, by_byte.items[i].reason) == 0);
    }
    return 0;
}
