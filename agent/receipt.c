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
    struct receipt_place place = {next->partition, next->first, next->last, next->scattered};
    receipt_add_place(receipt, &place);
}

bool
receipt_owed(const struct generation *generation, struct receipt *out)
{
    const struct receipt *sent = generation->receipt_sent;
    const struct receipt *open = generation->receipt;
    if (sent == NULL && open == NULL)
        return false;
    *out = sent != NULL ? *sent : *open;
    if (sent != NULL && open != NULL && sent->to == open->from &&
        strcmp(sent->topic, open->topic) == 0)
        receipt_join(out, open);
    return true;
}

void
receipt_put(struct buffer *payload, const struct generation *generation)
{
    struct receipt receipt = {0};
    (void)receipt_owed(generation, &receipt);
    journal_put_number(payload, receipt.from, 8);
    journal_put_number(payload, receipt.to, 8);
    if (receipt.to == receipt.from)
        return;
    journal_put_number(payload, receipt.events, 8);
    journal_put_number(payload, receipt.lines, 8);
    journal_put_number(payload, receipt.parts, 8);
    journal_put_number(payload, receipt.empty, 8);
    journal_put_number(payload, receipt.zeros, 8);
    journal_put_number(payload, receipt.scattered ? NO_PARTITION : (uint32_t)receipt.partition, 4);
    journal_put_number(payload, (uint64_t)receipt.first, 8);
    journal_put_number(payload, (uint64_t)receipt.last, 8);
    journal_put_number(payload, (uint64_t)receipt.since_ms, 8);
    journal_put_text(payload, receipt.topic);
}

bool
receipt_take(struct generation *generation, struct journal_fields *fields)
{
    struct receipt read = {0};
    read.from = journal_take_number(fields, 8);
    read.to = journal_take_number(fields, 8);
    if (fields->failed || read.to < read.from || read.to > INT64_MAX)
        return false;
    receipt_let_go(generation);
    if (read.to == read.from)
        return true;
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
    if (fields->failed || read.partition < 0 || read.first > read.last)
        return false;
    struct receipt *receipt = receipt_new(topic);
    if (receipt == NULL)
        return false; /* as if it were damaged: the audit shows that it is missing */
    read.topic = receipt->topic;
    *receipt = read;
    receipt->generation = generation;
    generation->receipt = receipt;
    return true;
}

void
receipt_let_go(struct generation *generation)
{
    free(generation->receipt);
    generation->receipt = NULL;
    if (generation->receipt_sent != NULL)
        generation->receipt_sent->generation = NULL;
    generation->receipt_sent = NULL;
}
