/* SPDX-License-Identifier: Apache-2.0 */
/* receipt.h: one record of the control topic, in which an agent says what it delivered
 * (agent/receipts.h shows its form). Pure. */
#ifndef SINKS_RECEIPTS_RECEIPT_H
#define SINKS_RECEIPTS_RECEIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"
#include "core/event_id.h"

struct receipt {
    struct generation_id generation;
    const char *host, *path, *topic; /* the tree's: valid until receipt_done() */
    uint64_t from, to;               /* bytes of the life */
    uint64_t events, lines, parts, empty, zeros;
    int64_t since_ms; /* when the first of its events was sent */
    bool placed;      /* where its events are is known */
    int32_t partition;
    int64_t first, last; /* Kafka's offsets */
    void *tree;          /* owned */
};

/* False for a value that is no receipt, or of a version that is not known: then there is nothing to
 * be done. A receipt of no events is one, too. */
bool receipt_read(struct receipt *out, const void *value, size_t size) MUST_CHECK;
void receipt_done(struct receipt *receipt);

#endif
