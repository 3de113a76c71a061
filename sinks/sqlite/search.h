/* SPDX-License-Identifier: Apache-2.0 */
/* search.h: `tailrace-sink search`: finds events in the file of the sqlite output, also while it
 * is being written, and prints them to stdout. */
#ifndef SINKS_SQLITE_SEARCH_H
#define SINKS_SQLITE_SEARCH_H

#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"

struct buffer;
struct sink_options;

/* For the table of verbs, and the whole help. */
#define SQLITE_SEARCH_ARGUMENTS "[--limit N] [--since TIME] [--count] [--json] [--raw] [WORD...]"
#define SQLITE_SEARCH_HELP "Find events in the SQLite file: each WORD must be in the message."
extern const char sqlite_search_help[];

/* `argv` holds what stands behind the verb. ERR_CONFIG: bad arguments or query, or the
 * configuration has no sqlite section (exit 2); ERR_STOP: the file cannot be read, stdout cannot
 * be written (exit 1). No match is no error. */
bool sqlite_search(const struct sink_options *options, int argc, char **argv,
                   struct err *err) MUST_CHECK;

/* Words of a person to an FTS5 query that cannot be a syntax error: each word is a quoted
 * phrase, all must match (without AND, as it would make a word of punctuation alone match
 * nothing); a '*' at a word's end matches any ending. Words without a letter or digit are left
 * out, for FTS5 knows none; an empty result means that no word is left. */
void search_query(struct buffer *out, char *const *words, size_t count);

#endif
