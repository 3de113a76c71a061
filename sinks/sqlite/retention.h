/* SPDX-License-Identifier: Apache-2.0 */
/* retention.h: deletes the rows of one index that are older than a time, a bounded part at a
 * time. The file does not shrink: its free pages are used again. */
#ifndef SINKS_SQLITE_RETENTION_H
#define SINKS_SQLITE_RETENTION_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

struct fields;
struct output_retention;

/* Looks at no more rows than this in one step, which holds the loop for some 100 ms. */
#define RETENTION_STEP_ROWS 4096

/* One transaction. `out->cursor` is where the next step goes on, 0 to begin with. Rows younger than
 * the newest one less `keep_ms` stay, whatever the clock says: one that has jumped ahead must not
 * delete everything. False: nothing is deleted. `path`
 * is for the words of an error. */
bool retention_delete_rows(sqlite3 *db, const char *path, struct fields *fields, const char *index,
                           int64_t wall_ms, int64_t keep_ms, struct output_retention *out,
                           struct err *err) MUST_CHECK;

#endif
