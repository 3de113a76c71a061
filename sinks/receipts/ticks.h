/* SPDX-License-Identifier: Apache-2.0 */
/* ticks.h: ticks the agents' receipts off while the sink runs: a receipt is accounted for when the
 * sinks' group has committed all records that it speaks of. What stays is told as
 * tailrace_sink_unaccounted_events: events that an agent has delivered and no sink has finished. A
 * lag says that records wait; this says whose, and also what no lag shows: a topic that was made
 * anew, a log that lost its end, records that retention took, a partition nobody consumes.
 *
 * Every sink watches the whole group, so the figure is the same in each of them: take the maximum.
 * It is a thread with a client of its own, a member of no group; the data loop is not touched. How
 * far the control topic is done is kept as the offsets of the group <group_id>-receipts: what was
 * not accounted for before a kill -9 is read again. Ticking off twice is harmless: equal
 * generation and first byte are one receipt, the longer.
 *
 * Memory: waiting.h. When its table is full the control topic is read no further until receipts
 * are ticked off: the figure is then too small, and a word says so.
 *
 * What is believed here is the group's offset; whether the index really has every event is what
 * `audit` asks. */
#ifndef SINKS_RECEIPTS_TICKS_H
#define SINKS_RECEIPTS_TICKS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "sinks/options.h"

struct metrics;
struct ticks;

/* NULL in `out`, and true, when receipts.topic is empty. */
bool ticks_new(struct ticks **out, const struct sink_options *options, struct metrics *metrics,
               struct err *err) MUST_CHECK;
void ticks_stop(struct ticks *ticks); /* ends the thread, does not wait; NULL is fine */
void ticks_free(struct ticks *ticks); /* NULL is fine; waits a second at the most */

/* Records [first, end) of a route's partition were deleted before they were consumed. */
void ticks_lost(struct ticks *ticks, size_t route, int32_t partition, int64_t first, int64_t end);
/* The partition goes on at an offset it had before: its topic was made anew, or lost its end. */
void ticks_rewound(struct ticks *ticks, size_t route, int32_t partition);

/* Once a second: publishes; what a person should hear is appended to `text`. */
void ticks_publish(struct ticks *ticks, char *text, size_t text_size);

#endif
