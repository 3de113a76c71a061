/* SPDX-License-Identifier: Apache-2.0 */
/* database.h: the file behind the sqlite output: how it is opened, its tables, and what its errors
 * mean.
 *
 *     events    number, id, index_name, timestamp, indexed_at, value
 *     messages  an FTS5 index of the documents' `message`; its rowid is events.number
 *
 * `number` is the event's time in ms, shifted left, plus a counter inside that millisecond: both
 * tables lie in time order, so "newest first" and "since" need no sorting however many events
 * match a word. (index_name, id) is unique, as an _id is in one index of Elasticsearch. */
#ifndef SINKS_SQLITE_DATABASE_H
#define SINKS_SQLITE_DATABASE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

/* PRAGMA user_version. A file with a higher one is refused. */
#define DATABASE_VERSION 1

/* Bits of `number` below the time: 32,768 events of one millisecond; more spill into the next.
 * The times up to year 9999 need 48 bits, which leaves 15. */
#define DATABASE_NUMBER_SHIFT 15

/* Opens for writing; makes file and tables when they are not there. Write-ahead log,
 * synchronous=FULL. ERR_STOP: it is no file of ours, or of a newer version. ERR_RETRY: locked,
 * disk, permission, damage. */
bool database_open_write(sqlite3 **out, const char *path, struct err *err) MUST_CHECK;

/* Opens for reading, also while a sink writes and also where this user may not write. ERR_STOP. */
bool database_open_read(sqlite3 **out, const char *path, struct err *err) MUST_CHECK;

/* "cannot <verb> '<path>': <cause>" with what to do when a person must. `code` is an extended
 * result code, `text` SQLite's own words. Always false, ERR_RETRY. */
bool database_fault(struct err *err, int code, const char *text, const char *verb,
                    const char *path);

#endif
