/* SPDX-License-Identifier: Apache-2.0 */
/* retention.c: see retention.h. */
#include "sinks/sqlite/retention.h"

#include <stdio.h>
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "sinks/output.h"
#include "sinks/sqlite/database.h"
#include "sinks/sqlite/fields.h"

enum statement { STATEMENT_NEWEST, STATEMENT_OLD, STATEMENT_WORDS, STATEMENT_ROW, STATEMENT_COUNT };

/* FTS5 without content forgets a row when it is told the words once more. */
static const char *const statement_sql[STATEMENT_COUNT] = {
    [STATEMENT_NEWEST] = "SELECT max(number) FROM events",
    [STATEMENT_OLD] = ("SELECT number, index_name, value FROM events"
                       " WHERE number >= ?1 AND number < ?2 ORDER BY number LIMIT ?3"),
    [STATEMENT_WORDS] = "INSERT INTO messages (messages, rowid, message) VALUES ('delete', ?1, ?2)",
    [STATEMENT_ROW] = "DELETE FROM events WHERE number = ?1",
};

static bool
run(sqlite3_stmt *statement)
{
    bool fine = sqlite3_step(statement) == SQLITE_DONE;
    (void)sqlite3_reset(statement);
    return fine;
}

static bool
delete_row(sqlite3_stmt *const statements[], struct fields *fields, int64_t number,
           const char *value, size_t size)
{
    const char *reason;
    struct buffer *message = &fields->texts[FIELD_MESSAGE];
    bool object = fields_read(fields, value, size, &reason);
    if (!object && reason == NULL)
        return false; /* out of memory: its words must not stay */
    if (object && message->size > 0) {
        sqlite3_stmt *words = statements[STATEMENT_WORDS];
        if (sqlite3_bind_int64(words, 1, number) != SQLITE_OK ||
            sqlite3_bind_text64(words, 2, message->bytes, message->size, SQLITE_STATIC,
                                SQLITE_UTF8) != SQLITE_OK ||
            !run(words))
            return false;
    }
    (void)sqlite3_bind_int64(statements[STATEMENT_ROW], 1, number);
    return run(statements[STATEMENT_ROW]);
}

/* Deleting the row that a SELECT stands on is allowed; it goes on behind it. */
static bool
delete_old(sqlite3_stmt *const statements[], struct fields *fields, const char *index,
           int64_t before, struct output_retention *out)
{
    sqlite3_stmt *old = statements[STATEMENT_OLD];
    (void)sqlite3_bind_int64(old, 1, out->cursor);
    (void)sqlite3_bind_int64(old, 2, before);
    (void)sqlite3_bind_int64(old, 3, RETENTION_STEP_ROWS);
    size_t seen = 0;
    int code;
    while ((code = sqlite3_step(old)) == SQLITE_ROW) {
        int64_t number = sqlite3_column_int64(old, 0);
        const char *name = (const char *)sqlite3_column_text(old, 1);
        const char *value = (const char *)sqlite3_column_text(old, 2);
        seen++;
        out->cursor = number + 1;
        if (name == NULL || value == NULL || strcmp(name, index) != 0)
            continue;
        if (!delete_row(statements, fields, number, value, (size_t)sqlite3_column_bytes(old, 2)))
            return false;
        out->deleted++;
    }
    out->more = seen == RETENTION_STEP_ROWS;
    return code == SQLITE_DONE;
}

/* The number below which rows may go; false: the file cannot be read. */
static bool
find_before(sqlite3_stmt *newest, int64_t wall_ms, int64_t keep_ms, int64_t *out)
{
    if (sqlite3_step(newest) != SQLITE_ROW)
        return false;
    int64_t newest_ms = sqlite3_column_int64(newest, 0) >> DATABASE_NUMBER_SHIFT;
    (void)sqlite3_reset(newest);
    int64_t before_ms = (newest_ms < wall_ms ? newest_ms : wall_ms) - keep_ms;
    *out = before_ms <= 0 ? 0 : before_ms << DATABASE_NUMBER_SHIFT;
    return true;
}

bool
retention_delete_rows(sqlite3 *db, const char *path, struct fields *fields, const char *index,
                      int64_t wall_ms, int64_t keep_ms, struct output_retention *out,
                      struct err *err)
{
    ASSERT(keep_ms > 0);

    sqlite3_stmt *statements[STATEMENT_COUNT] = {0};
    int64_t cursor = out->cursor;
    int64_t before = 0;
    bool fine = true;
    for (size_t i = 0; fine && i < STATEMENT_COUNT; i++)
        fine = sqlite3_prepare_v2(db, statement_sql[i], -1, &statements[i], NULL) == SQLITE_OK;
    fine = fine && sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
    fine = fine && find_before(statements[STATEMENT_NEWEST], wall_ms, keep_ms, &before) &&
           delete_old(statements, fields, index, before, out);
    if (!fine)
        (void)database_fail(db, SQLITE_ERROR, "delete old events in", path, err);
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        (void)sqlite3_finalize(statements[i]);
    if (fine && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        fine = database_fail(db, SQLITE_ERROR, "delete old events in", path, err);
    if (!fine) {
        if (sqlite3_get_autocommit(db) == 0)
            (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
        *out = (struct output_retention){.cursor = cursor};
        return false;
    }
    int size = snprintf(out->text, sizeof(out->text), "%llu events of %s",
                        (unsigned long long)out->deleted, index);
    ASSERT(size > 0);
    return true;
}
