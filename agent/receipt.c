/* SPDX-License-Identifier: Apache-2.0 */
/* receipt.c: see receipt.h. */
#include "agent/receipt.h"

#include <stdlib.h>
#include <string.h>

#include "agent/generation.h"
#include "agent/journal.h"
#include "core/assert.h"

#define NO_PARTITION UINT32_MAX
#define TOPIC_TEXT_MAX 256 /* Kafka's own limit is 249 */

struct receipt *
receipt_new(const char *topic)
{
    size_t size = strlen(topic) + 1;
    struct receipt *receipt = calloc(1, sizeof(*receipt) + size);
    if (receipt == NULL)
        return NULL;
    receipt->topic = memcpy(receipt + 1, topic, size);
    receipt->first = receipt->last = -1;
    return receipt;
}

void
receipt_place_add(struct receipt_place *place, int32_t partition, int64_t offset)
{
    /* A repeat that the broker knew as such may come back without its offset. */
    if (offset < 0 || (place->first >= 0 && place->partition != partition)) {
        place->scattered = true;
        return;
    }
    place->partition = partition;
    if (place->first < 0 || offset < place->first)
        place->first = offset;
    if (offset > place->last)
        place->last = offset;
}

void
receipt_add_place(struct receipt *receipt, const struct receipt_place *place)
{
    receipt->scattered |= place->scattered;
    if (place->first < 0)
        return;
    if (receipt->first >= 0 && receipt->partition != place->partition) {
        receipt->scattered = true;
        return;
    }
    receipt->partition = place->partition;
    if (receipt->first < 0 || place->first < receipt->first)
        receipt->first = place->first;
    if (place->last > receipt->last)
        receipt->last = place->last;
}

void
receipt_join(struct receipt *receipt, const struct receipt *next)
{
    ASSERT(receipt->to == next->from);

    receipt->to = next->to;
    receipt->events += next->events;
    receipt->lines += next->lines;
    receipt->parts += next->parts;
    receipt->empty += next->empty;
    receipt->zeros += next->zeros;
    if (receipt->since_ms > next->since_ms)
        receipt->since_ms = next->since_ms;
    struct receipt_place place = {next->partition, next->first, next->last, next->scattered};
    receipt_add_place(receipt, &place);
}

void
receipt_end(struct generation *generation)
{
    struct receipt *receipt = generation->receipt;
    struct receipt **last = &generation->receipt_sent;
    while (*last != NULL)
        last = &(*last)->later;
    *last = receipt;
    receipt->later = NULL;
    generation->receipt = NULL;
}

void
receipt_unlink(struct receipt *receipt)
{
    struct receipt **at = &receipt->generation->receipt_sent;
    while (*at != receipt)
        at = &(*at)->later;
    *at = receipt->later;
}

size_t
receipt_sent_count(const struct generation *generation)
{
    size_t count = 0;
    for (const struct receipt *at = generation->receipt_sent; at != NULL; at = at->later)
        count++;
    return count;
}

size_t
receipt_owed(const struct generation *generation, struct receipt out[RECEIPTS_OWED_MAX])
{
    ASSERT(receipt_sent_count(generation) < RECEIPTS_OWED_MAX);

    size_t count = 0;
    for (const struct receipt *at = generation->receipt_sent; at != NULL; at = at->later)
        out[count++] = *at;
    const struct receipt *open = generation->receipt;
    if (open == NULL)
        return count;
    if (count > 0 && out[count - 1].to == open->from &&
        strcmp(out[count - 1].topic, open->topic) == 0)
        receipt_join(&out[count - 1], open);
    else
        out[count++] = *open;
    return count;
}

static void
put_range(struct buffer *payload, const struct receipt *receipt)
{
    journal_put_number(payload, receipt->from, 8);
    journal_put_number(payload, receipt->to, 8);
    journal_put_number(payload, receipt->events, 8);
    journal_put_number(payload, receipt->lines, 8);
    journal_put_number(payload, receipt->parts, 8);
    journal_put_number(payload, receipt->empty, 8);
    journal_put_number(payload, receipt->zeros, 8);
    journal_put_number(payload, receipt->scattered ? NO_PARTITION : (uint32_t)receipt->partition,
                       4);
    journal_put_number(payload, (uint64_t)receipt->first, 8);
    journal_put_number(payload, (uint64_t)receipt->last, 8);
    journal_put_number(payload, (uint64_t)receipt->since_ms, 8);
    journal_put_text(payload, receipt->topic);
}

void
receipt_put(struct buffer *payload, const struct generation *generation)
{
    struct receipt owed[RECEIPTS_OWED_MAX];
    size_t count = receipt_owed(generation, owed);
    journal_put_number(payload, count, 1);
    for (size_t i = 0; i < count; i++)
        put_range(payload, &owed[i]);
}

/* NULL: nonsense; or memory is short, which is as if it were damaged: the audit shows that it is
 * missing. */
static struct receipt *
take_range(struct journal_fields *fields)
{
    struct receipt read = {0};
    read.from = journal_take_number(fields, 8);
    read.to = journal_take_number(fields, 8);
    read.events = journal_take_number(fields, 8);
    read.lines = journal_take_number(fields, 8);
    read.parts = journal_take_number(fields, 8);
    read.empty = journal_take_number(fields, 8);
    read.zeros = journal_take_number(fields, 8);
    uint32_t partition = (uint32_t)journal_take_number(fields, 4);
    read.scattered = partition == NO_PARTITION;
    read.partition = read.scattered ? 0 : (int32_t)partition;
    read.first = (int64_t)journal_take_number(fields, 8);
    read.last = (int64_t)journal_take_number(fields, 8);
    read.since_ms = (int64_t)journal_take_number(fields, 8);
    char topic[TOPIC_TEXT_MAX];
    journal_take_text(fields, topic, sizeof(topic));
    if (fields->failed || read.from >= read.to || read.to > INT64_MAX || read.partition < 0 ||
        read.first > read.last)
        return NULL;
    struct receipt *receipt = receipt_new(topic);
    if (receipt == NULL)
        return NULL;
    read.topic = receipt->topic;
    *receipt = read;
    return receipt;
}

bool
receipt_take(struct generation *generation, struct journal_fields *fields)
{
    receipt_let_go(generation);
    size_t count = (size_t)journal_take_number(fields, 1);
    if (fields->failed || count > RECEIPTS_OWED_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (generation->receipt != NULL)
            receipt_end(generation);
        generation->receipt = take_range(fields);
        if (generation->receipt == NULL)
            return false;
        generation->receipt->generation = generation;
    }
    return true;
}

void
receipt_let_go(struct generation *generation)
{
    free(generation->receipt);
    generation->receipt = NULL;
    for (struct receipt *at = generation->receipt_sent, *later; at != NULL; at = later) {
        later = at->later;
        at->generation = NULL;
        if (!at->listed)
            free(at);
    }
    generation->receipt_sent = NULL;
}
