/* SPDX-License-Identifier: Apache-2.0 */
/* offsets.h: which records of one partition are finished, in bounded memory. Records are taken
 * in the log's order and finish in any order. The ring holds one entry for each record from the
 * first unfinished one to the last taken one:
 *     first ....... next            sequence numbers, one per record taken
 *       |done|open|done|            offset of the record and whether it is finished
 * Offsets may have gaps (transactions, compaction), sequence numbers have none. */
#ifndef SINKS_OFFSETS_H
#define SINKS_OFFSETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"

/* Entries of one partition: 12 MiB. A record that stays unfinished stops its partition here. */
#define OFFSETS_ENTRIES_MAX (1024U * 1024U)

struct offsets {
    uint64_t *entries; /* owned: offset << 1 | finished */
    uint32_t *seconds; /* owned, beside the entries: the records' timestamps */
    uint64_t capacity; /* power of two, or 0 before the first record */
    uint64_t first;    /* sequence number of the first unfinished record */
    uint64_t next;     /* sequence number of the next record to be taken */
    int64_t stored;    /* offset to resume from, -1 while nothing is finished */
    uint64_t open;     /* taken and not finished */
};

void offsets_init(struct offsets *offsets);
void offsets_done(struct offsets *offsets);
void offsets_clear(struct offsets *offsets); /* forgets all records, keeps the memory */

/* True while one more record may be taken. */
bool offsets_has_room(const struct offsets *offsets);

/* Notes a record as taken. False when memory is short: the record must not be used. */
bool offsets_take(struct offsets *offsets, int64_t offset, int64_t timestamp_ms,
                  uint64_t *sequence) MUST_CHECK;
/* Notes that there is no record for us between the last taken one and `next`. */
void offsets_skip(struct offsets *offsets, int64_t next);

/* Notes a record as finished and moves `stored` behind the contiguous finished ones. */
void offsets_finish(struct offsets *offsets, uint64_t sequence);

/* Offset and time of the first unfinished record. False when there is none. */
bool offsets_oldest(const struct offsets *offsets, int64_t *offset,
                    int64_t *timestamp_s) MUST_CHECK;

#endif
