/* SPDX-License-Identifier: Apache-2.0 */
/* audit.h: `tailrace-sink audit`: is everything in the index that the agents have delivered? The
 * receipts of a time say which bytes of which files those are, and how many events. The ids of the
 * events come from Kafka, which is read again, and each is looked for in the store by its id alone.
 *
 * Why not by file and offset, which would spare the reading: the store has no search by the part of
 * an id; one path carries several lives with the same offsets; an event that was sent again after a
 * rename has another path than its first copy; and with a mapping of one's own the fields may be
 * anything. An id means one event and no other. So what Kafka has deleted can no longer be audited,
 * and is told as such: --since must lie within the retention of the topics.
 *
 * Nothing is written anywhere, but the index is asked to refresh. */
#ifndef SINKS_RECEIPTS_AUDIT_H
#define SINKS_RECEIPTS_AUDIT_H

#include <stdbool.h>

#include "core/err.h"
#include "sinks/options.h"

#define AUDIT_ARGUMENTS "[--since TIME] [--path GLOB] [--json]"
#define AUDIT_HELP "Prove by the agents' receipts that everything delivered is in the index."
extern const char audit_help[];

/* Events of one audit: 1 GiB of memory. */
#define AUDIT_EVENTS_MAX ((size_t)64 * 1024 * 1024)

/* `argv` holds what stands behind the verb. Prints to stdout. `*fine` false: something is missing,
 * or cannot be told. */
bool audit_run(const struct sink_options *options, int argc, char **argv, bool *fine,
               struct err *err) MUST_CHECK;

#endif
