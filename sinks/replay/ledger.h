/* SPDX-License-Identifier: Apache-2.0 */
/* ledger.h: which letters of one partition were sent back already: a set of offsets as ranges. It
 * is kept where consumers keep their position: the committed offset stands for all below it, its
 * metadata for what is done beyond. Pure. */
#ifndef SINKS_REPLAY_LEDGER_H
#define SINKS_REPLAY_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"

/* Brokers take 4096 bytes of metadata (offset.metadata.max.bytes) unless told otherwise. */
#define LEDGER_TEXT_SIZE 4096

struct ledger_range {
    int64_t first;
    int64_t end; /* exclusive */
};
struct ledger {
    struct ledger_range *ranges; /* owned; in order, with room between them */
    size_t count;
    size_t capacity;
};

void ledger_init(struct ledger *ledger);
void ledger_done(struct ledger *ledger);

/* Adds first <= offset < end. False when memory is short: nothing is added. */
bool ledger_add(struct ledger *ledger, int64_t first, int64_t end) MUST_CHECK;
bool ledger_has(const struct ledger *ledger, int64_t offset);

/* Adds what ledger_write() wrote. Text of another kind adds nothing but the committed offset. */
bool ledger_read(struct ledger *ledger, int64_t committed, const char *text,
                 size_t size) MUST_CHECK;
/* Writes the text with its terminator; returns the offset to commit. `*left` becomes the number of
 * offsets that did not fit: they will not be remembered. */
int64_t ledger_write(const struct ledger *ledger, char out[LEDGER_TEXT_SIZE], uint64_t *left);

#endif
