/* SPDX-License-Identifier: Apache-2.0 */
/* days.h: on which day was a byte's event read? Of a line without a time of its own that is the
 * event's time, and its day may be in an index's name: read again after a crash the event must come
 * on the same day, or it is there twice. So a file remembers, on disk before the first event of a
 * day is sent, from which offset on that day holds:
 *
 *     0 ...... from[0] ............ from[1] ....... sent .......
 *       day[0]         day[0]               day[1]      not sent yet: a new mark, if it is another
 *                                                       day by now
 *
 * What was sent is known to the byte while the process lives, and afterwards when it stopped in
 * order, or wrote its state on a later day than the last mark's. Else `sent` is not known, and what
 * the file holds when it is found again counts as sent: its events come on the last mark's day.
 * Pure, no allocation. */
#ifndef AGENT_DAYS_H
#define AGENT_DAYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"

#define DAY_MS INT64_C(86400000)
#define DAY_LAST 2932896 /* 9999-12-31 */
#define DAYS_MAX 3       /* days of which something may be under way, or be read again */
#define SENT_UNKNOWN UINT64_MAX

struct day_marks {
    uint64_t sent;           /* no event that begins there or behind it was sent */
    uint64_t from[DAYS_MAX]; /* ascending, at most `sent` */
    int32_t day[DAYS_MAX];   /* since 1970-01-01 UTC; usually, but not always, ascending */
    uint32_t count;          /* 0: none yet */
};

/* Days outside of 1970..9999 are clamped. */
int32_t day_of(int64_t wall_ms);

/* Must a mark be on disk before the event at `offset` is sent on this day? */
bool days_want(const struct day_marks *marks, uint64_t offset, int32_t today);

/* Adds that mark. Marks that hold only below `committed` make room for it; false: there is none
 * before something of the oldest days is acknowledged. */
bool days_add(struct day_marks *marks, uint64_t committed, uint64_t offset,
              int32_t today) MUST_CHECK;

/* The time of the events from `offset` on, up to `*until`: now, or the moment of their day that is
 * nearest to it. For an offset at which no mark is wanted. Below the first mark its day holds. */
int64_t days_time(const struct day_marks *marks, uint64_t offset, int32_t today, int64_t now_ms,
                  uint64_t *until);

/* Everything up to `end` was handed to Kafka. */
void days_sent(struct day_marks *marks, uint64_t end);

/* The first look at the content in this process's life: more than `size` bytes of it cannot have
 * been sent before. */
void days_found(struct day_marks *marks, uint64_t size);

/* As they were read from the disk, written last at `wall_ms`. */
void days_loaded(struct day_marks *marks, uint64_t committed, bool clean, int64_t wall_ms);
bool days_are_sane(const struct day_marks *marks);

#endif
