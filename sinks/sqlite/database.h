/* SPDX-License-Identifier: Apache-2.0 */
/* database.h: the file behind the sqlite output: how it is opened, its tables, and what its errors
 * mean.
 *
 *     events    number, id, index_name, timestamp, indexed_at, value
 *     messages  an FTS5 index of the documents' `message`; its rowid is events.number
 *
 * `number` is the event's time in ms, shifted left, plus a counter inside that millisecond: both
 * tables lie in time order, so "newest first" and "since" need no sorting however many events
 * match a word. (index_name, id) is unique, as an _id is in one index of Elasticsearch.
 *     state     closed: 1 while no sink has the file open
 *
 * What is new stands in the file's write-ahead log (FILE-wal) until it is folded back; both belong
 * together. SQLite takes a file whose log is gone for whole. So `closed` is 0 in the file itself as
 * long as it may have a log: 0 and no log means that somebody took it away. */
#ifndef SINKS_SQLITE_DATABASE_H
#define SINKS_SQLITE_DATABASE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

/* PRAGMA user_version. A file with a lower one is brought up to it when it is opened for writing;
 * one with a higher one is refused. */
#define DATABASE_VERSION 2

/* The write-ahead log is cut to this after a reader held it up; beyond it somebody should know. */
#define DATABASE_LOG_SIZE_MAX (64 * 1024 * 1024)

#define DATABASE_NOTE_SIZE 640

/* Bits of `number` below the time: 32,768 events of one millisecond; more spill into the next.
 * The times up to year 9999 need 48 bits, which leaves 15. */
#define DATABASE_NUMBER_SHIFT 15

/* What a person should know of an opening that went well. */
struct database_note {
    bool warn;
    char text[DATABASE_NOTE_SIZE]; /* "" for nothing */
};

/* Looks whose file it is and changes nothing. ERR_STOP: it is no file of ours, or of a newer
 * version. ERR_RETRY: anything else. True when there is no file. */
bool database_look(const char *path, struct err *err) MUST_CHECK;

/* The same, and whether it can be written. */
bool database_check(const char *path, struct err *err) MUST_CHECK;

/* Opens for writing; makes file and tables when they are not there. Write-ahead log,
 * synchronous=FULL. ERR_STOP: it is no file of ours, or of a newer version. ERR_RETRY: locked,
 * disk, permission, damage. */
bool database_open_write(sqlite3 **out, const char *path, struct database_note *note,
                         struct err *err) MUST_CHECK;

/* The end of a connection for writing. `fine`: all went well, the log is folded back and goes,
 * unless another process has the file open too; else file and log stay as they are. NULL is
 * fine. */
void database_close(sqlite3 *db, bool fine);

/* Bytes of the write-ahead log, 0 for none. */
int64_t database_log_size(const char *path);

/* Opens for reading, also while a sink writes and also where this user may not write. ERR_STOP. */
bool database_open_read(sqlite3 **out, const char *path, struct err *err) MUST_CHECK;

/* "cannot <verb> '<path>': <cause>" with what to do when a person must. Takes SQLite's own words
 * about what just failed in `db`; `code` counts when it has none. Always false; ERR_RETRY, or
 * ERR_STOP for what is no database. */
bool database_fail(sqlite3 *db, int code, const char *verb, const char *path, struct err *err);

#endif
