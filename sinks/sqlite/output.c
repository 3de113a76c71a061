/* SPDX-License-Identifier: Apache-2.0 */
/* output.c: the sink's output into one SQLite file; see sinks/output.h for the contract. A bulk is
 * one transaction: all of it is on disk when its outcomes are handed out, or none.
 *
 *     send: keep the bulk
 *     wait: order by time -> BEGIN -> insert each, new ones into the index of words too
 *           -> COMMIT (fsync) -> outcomes
 *
 * After any fault the connection is closed and the next bulk opens it anew, so that a person may
 * move or repair the file under a running sink. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/clock.h"
#include "sinks/options.h"
#include "sinks/output.h"
#include "sinks/sqlite/database.h"
#include "sinks/sqlite/fields.h"
#include "sinks/sqlite/retention.h"

enum statement { STATEMENT_LAST, STATEMENT_EVENT, STATEMENT_MESSAGE, STATEMENT_COUNT };

static const char *const statement_sql[STATEMENT_COUNT] = {
    [STATEMENT_LAST] = "SELECT max(number) FROM events WHERE number >= ?1 AND number < ?2",
    [STATEMENT_EVENT] =
        ("INSERT INTO events (number, id, index_name, timestamp, indexed_at, value)"
         " VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id, index_name) DO NOTHING"),
    [STATEMENT_MESSAGE] = "INSERT INTO messages (rowid, message) VALUES (?1, ?2)",
};

/* The place of an item in its transaction: by time, then as it came. */
struct place {
    int64_t time_ms;
    size_t item_index;
};

struct output {
    char *path; /* owned: the options may be reloaded */

    sqlite3 *db; /* NULL: to be opened */
    sqlite3_stmt *statements[STATEMENT_COUNT];
    dev_t device; /* of the open file: is it still the one under `path`? */
    ino_t inode;

    struct output_bulk *bulk; /* sent, not yet back; NULL: ready */
    output_bulk_done *done;
    void *context;

    struct fields fields;
    struct place *places; /* grown to the largest bulk */
    size_t place_capacity;
    int64_t number_next;   /* free, and above every number given in this transaction */
    int64_t number_window; /* the millisecond whose numbers in the file are known; -1: none */
    struct err fault;      /* of the last bulk or opening; ERR_NONE: fine */

    struct database_note note; /* for the log; told when its text is "" */
    char told[DATABASE_NOTE_SIZE];
    bool opened;           /* at least once */
    int64_t log_size;      /* of the write-ahead log, after the last bulk */
    int64_t log_size_next; /* that is worth the next word */
};

/* `fine`: the end of a connection that works, to the file that stands at `path`. */
static void
connection_close(struct output *output, bool fine)
{
    for (size_t i = 0; i < STATEMENT_COUNT; i++) {
        sqlite3_finalize(output->statements[i]);
        output->statements[i] = NULL;
    }
    database_close(output->db, fine); /* rolls back */
    output->db = NULL;
}

static bool
output_open(struct output **out, const struct sink_options *options, struct metrics *metrics,
            struct err *err)
{
    (void)metrics;
    const char *path = options->sqlite.path;
    if (path[0] == '\0')
        return err_set(err, ERR_CONFIG, 0, "sqlite.path is empty: it must name a file");

    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t size = slash == NULL ? 0 : (size_t)(slash - path);
    int used = slash == NULL ? snprintf(folder, sizeof(folder), ".")
                             : snprintf(folder, sizeof(folder), "%.*s/", (int)size, path);
    struct stat info;
    if (used < 0 || (size_t)used >= sizeof(folder))
        return err_errno(err, ERR_CONFIG, ENAMETOOLONG, "use sqlite.path");
    if (stat(folder, &info) != 0)
        return err_errno(err, ERR_CONFIG, errno, "use sqlite.path '%s': folder '%s'", path, folder);
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return err_set(err, ERR_CONFIG, 0, "cannot use sqlite.path '%s': it is no regular file",
                       path);

    if (!database_look(path, err) && err->action == ERR_STOP) {
        err->action = ERR_CONFIG;
        return false;
    }
    struct output *output = calloc(1, sizeof(*output));
    if (output == NULL || (output->path = strdup(path)) == NULL) {
        free(output);
        return err_errno(err, ERR_STOP, ENOMEM, "open the sqlite output");
    }
    fields_init(&output->fields);
    *out = output;
    return true;
}

static bool
fail(struct output *output, int code, const char *verb, struct err *err)
{
    return database_fail(output->db, code, verb, output->path, err);
}

/* A file that is made while the sink runs was taken away. */
static void
keep_note(struct output *output, const struct database_note *note)
{
    if (note->text[0] == '\0')
        return;
    output->note = *note;
    output->note.warn |= output->opened;
}

static bool
connection_open(struct output *output, struct err *err)
{
    struct database_note note;
    if (!database_open_write(&output->db, output->path, &note, err))
        return false;
    keep_note(output, &note);
    output->opened = true;

    for (size_t i = 0; i < STATEMENT_COUNT; i++) {
        int code = sqlite3_prepare_v3(output->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                      &output->statements[i], NULL);
        if (code != SQLITE_OK) {
            (void)fail(output, code, "use the tables of", err);
            connection_close(output, false);
            return false;
        }
    }
    struct stat info;
    if (stat(output->path, &info) != 0) {
        (void)err_errno(err, ERR_RETRY, errno, "open '%s'", output->path);
        connection_close(output, false);
        return false;
    }
    output->device = info.st_dev;
    output->inode = info.st_ino;
    return true;
}

/* A removed or replaced file would take writes that nobody finds. */
static bool
connection_current(struct output *output)
{
    struct stat info;
    return output->db != NULL && stat(output->path, &info) == 0 && info.st_dev == output->device &&
           info.st_ino == output->inode;
}

static bool
connection_ensure(struct output *output, struct err *err)
{
    if (connection_current(output))
        return true;
    connection_close(output, false); /* in order, it would take away the log of another file */
    return connection_open(output, err);
}

static void
output_close(struct output *output)
{
    if (output == NULL)
        return;
    connection_close(output, connection_current(output));
    fields_done(&output->fields);
    free(output->places);
    free(output->path);
    free(output);
}

static bool
output_prepare(struct output *output, const struct sink_route_options *route, struct err *err)
{
    (void)route;
    if (!connection_ensure(output, err)) {
        output->fault = *err;
        return false;
    }
    output->fault = (struct err){0};
    return true;
}

static bool
output_retain(struct output *output, const struct sink_route_options *route, int64_t wall_ms,
              struct output_retention *step, struct err *err)
{
    if (wall_ms < clock_build_ms())
        return err_set(err, ERR_RETRY, 0,
                       "this clock stands before the program was built; nothing is deleted");
    if (!connection_ensure(output, err))
        return false;
    return retention_delete_rows(output->db, output->path, &output->fields, route->index, wall_ms,
                                 (int64_t)route->retention, step, err);
}

static bool
output_ready(const struct output *output)
{
    return output->bulk == NULL;
}

static void
output_send(struct output *output, struct output_bulk *bulk, output_bulk_done *done, void *context)
{
    ASSERT(output->bulk == NULL);

    output->bulk = bulk;
    output->done = done;
    output->context = context;
}

static void
output_release(struct output *output, struct output_bulk *bulk)
{
    (void)output;
    free(bulk->private_data);
    bulk->private_data = NULL;
}

static int
place_compare(const void *left, const void *right)
{
    const struct place *a = left;
    const struct place *b = right;
    if (a->time_ms != b->time_ms)
        return a->time_ms < b->time_ms ? -1 : 1;
    return a->item_index < b->item_index ? -1 : 1;
}

/* FTS5 writes a new segment whenever rowids step back: in order of time a bulk becomes one. */
static bool
places_sort(struct output *output, const struct output_bulk *bulk, struct err *err)
{
    if (bulk->item_count > output->place_capacity) {
        struct place *places = realloc(output->places, bulk->item_count * sizeof(*places));
        if (places == NULL)
            return err_errno(err, ERR_RETRY, ENOMEM, "order a bulk");
        output->places = places;
        output->place_capacity = bulk->item_count;
    }
    int64_t now_ms = clock_wall_ms();
    for (size_t i = 0; i < bulk->item_count; i++) {
        const struct output_item *item = &bulk->items[i];
        struct place *place = &output->places[i];
        *place = (struct place){.item_index = i};
        if (!fields_time(&output->fields, item->value, item->value_size, &place->time_ms))
            place->time_ms = now_ms;
    }
    qsort(output->places, bulk->item_count, sizeof(*output->places), place_compare);
    return true;
}

/* Runs a bound statement that gives no rows, and makes it ready for the next values. */
static bool
run(struct output *output, enum statement which, struct err *err)
{
    sqlite3_stmt *statement = output->statements[which];
    int code = sqlite3_step(statement);
    bool ok = code == SQLITE_DONE || fail(output, code, "write to", err);
    (void)sqlite3_reset(statement);
    return ok;
}

/* The next free number at or after `time_ms`. */
static bool
number_find(struct output *output, int64_t time_ms, int64_t *out, struct err *err)
{
    int64_t number = time_ms << DATABASE_NUMBER_SHIFT;
    if (number < output->number_next)
        number = output->number_next;

    sqlite3_stmt *statement = output->statements[STATEMENT_LAST];
    while (number >> DATABASE_NUMBER_SHIFT != output->number_window) {
        int64_t window = number >> DATABASE_NUMBER_SHIFT;
        (void)sqlite3_bind_int64(statement, 1, window << DATABASE_NUMBER_SHIFT);
        (void)sqlite3_bind_int64(statement, 2, (window + 1) << DATABASE_NUMBER_SHIFT);
        int code = sqlite3_step(statement);
        if (code != SQLITE_ROW) {
            (void)fail(output, code, "read", err);
            (void)sqlite3_reset(statement);
            return false;
        }
        bool used = sqlite3_column_type(statement, 0) != SQLITE_NULL;
        int64_t last = sqlite3_column_int64(statement, 0);
        (void)sqlite3_reset(statement);
        output->number_window = window;
        if (used && last >= number)
            number = last + 1; /* a full millisecond spills into the next */
    }
    output->number_next = number;
    *out = number;
    return true;
}

static bool
item_insert(struct output *output, struct output_item *item, int64_t time_ms,
            const char now[CLOCK_TEXT_SIZE], struct err *err)
{
    const char *reason;
    if (!fields_read(&output->fields, item->value, item->value_size, &reason)) {
        if (reason == NULL)
            return err_errno(err, ERR_RETRY, ENOMEM, "read a document");
        item->outcome = OUTPUT_DOCUMENT;
        item->reason = reason;
        return true;
    }
    int64_t number = 0;
    if (!number_find(output, time_ms, &number, err))
        return false;

    char time[CLOCK_TEXT_SIZE];
    clock_format_utc(time_ms, time);
    sqlite3_stmt *event = output->statements[STATEMENT_EVENT];
    int refused =
        sqlite3_bind_int64(event, 1, number) |
        sqlite3_bind_text(event, 2, item->id, (int)item->id_size, SQLITE_STATIC) |
        sqlite3_bind_text(event, 3, item->index, -1, SQLITE_STATIC) |
        sqlite3_bind_text(event, 4, time, CLOCK_TEXT_SIZE, SQLITE_STATIC) |
        sqlite3_bind_text(event, 5, now, CLOCK_TEXT_SIZE, SQLITE_STATIC) |
        sqlite3_bind_text64(event, 6, item->value, item->value_size, SQLITE_STATIC, SQLITE_UTF8);
    if (refused != SQLITE_OK)
        return fail(output, SQLITE_ERROR, "write to", err);
    if (!run(output, STATEMENT_EVENT, err))
        return false;
    if (sqlite3_changes(output->db) == 0) {
        item->outcome = OUTPUT_DUPLICATE;
        return true;
    }
    item->outcome = OUTPUT_INDEXED;
    output->number_next = number + 1;

    struct buffer *message = &output->fields.texts[FIELD_MESSAGE];
    if (message->size == 0)
        return true;
    sqlite3_stmt *words = output->statements[STATEMENT_MESSAGE];
    if ((sqlite3_bind_int64(words, 1, number) |
         sqlite3_bind_text64(words, 2, message->bytes, message->size, SQLITE_STATIC,
                             SQLITE_UTF8)) != SQLITE_OK)
        return fail(output, SQLITE_ERROR, "write to", err);
    return run(output, STATEMENT_MESSAGE, err);
}

static bool
execute(struct output *output, const char *sql, struct err *err)
{
    int code = sqlite3_exec(output->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK || fail(output, code, "write to", err);
}

static bool
bulk_write(struct output *output, struct output_bulk *bulk, struct err *err)
{
    if (!connection_ensure(output, err) || !places_sort(output, bulk, err) ||
        !execute(output, "BEGIN IMMEDIATE", err))
        return false;

    char now[CLOCK_TEXT_SIZE];
    clock_format_utc(clock_wall_ms(), now);
    output->number_next = 0;
    output->number_window = -1;
    for (size_t i = 0; i < bulk->item_count; i++) {
        const struct place *place = &output->places[i];
        if (!item_insert(output, &bulk->items[place->item_index], place->time_ms, now, err))
            return false;
    }
    return execute(output, "COMMIT", err);
}

/* Nothing of the bulk is in the file; every item says why. */
static void
bulk_fail(struct output *output, struct output_bulk *bulk)
{
    free(bulk->private_data);
    bulk->private_data = strdup(output->fault.text);
    const char *reason = bulk->private_data != NULL ? bulk->private_data : "out of memory";
    for (size_t i = 0; i < bulk->item_count; i++) {
        bulk->items[i].outcome = OUTPUT_SERVER_FAULT;
        bulk->items[i].status = output->fault.code;
        bulk->items[i].reason = reason;
    }
}

/* A reader that holds an old state keeps the log from being folded back: it grows with all that is
 * written, and so does the time of each look into it. */
static void
watch_log(struct output *output)
{
    output->log_size = database_log_size(output->path);
    if (output->log_size <= DATABASE_LOG_SIZE_MAX) {
        output->log_size_next = DATABASE_LOG_SIZE_MAX + 1;
        return;
    }
    if (output->log_size < output->log_size_next)
        return;
    output->log_size_next = output->log_size * 2;
    output->note.warn = true;
    int used =
        snprintf(output->note.text, sizeof(output->note.text),
                 "the write-ahead log '%.200s-wal' holds %lld MiB and grows: another process "
                 "reads the file in one long transaction, or for ever; end it (`fuser` "
                 "names it), and the log is folded back",
                 output->path, (long long)output->log_size / 1048576);
    ASSERT(used > 0);
}

static const char *
output_note(struct output *output, bool *warn)
{
    if (output->note.text[0] == '\0')
        return NULL;
    *warn = output->note.warn;
    memcpy(output->told, output->note.text, sizeof(output->told));
    output->note.text[0] = '\0';
    return output->told;
}

static void
output_wait(struct output *output, struct pollfd *fds, nfds_t count, int timeout_ms)
{
    struct output_bulk *bulk = output->bulk;
    if (bulk == NULL) {
        (void)poll(fds, count, timeout_ms);
        return;
    }

    for (size_t i = 0; i < bulk->item_count; i++) {
        bulk->items[i].outcome = OUTPUT_PENDING;
        bulk->items[i].status = 0;
        bulk->items[i].reason = NULL;
    }
    struct err err = {0};
    bool ok = bulk_write(output, bulk, &err);
    output->fault = err;
    if (!ok) {
        connection_close(output, false);
        bulk_fail(output, bulk);
    }
    watch_log(output);
    (void)poll(fds, count, 0);
    output->bulk = NULL; /* `done` may send the next */
    output->done(output->context, bulk, ok ? NULL : &output->fault);
}

static void
output_describe(const struct output *output, struct buffer *out)
{
    buffer_format(out, "SQLite file %s, ", output->path);
    if (output->fault.action != ERR_NONE)
        buffer_format(out, "failing: %s", output->fault.text);
    else
        buffer_text(out, output->db != NULL ? "open" : "not open yet");
    if (output->log_size > DATABASE_LOG_SIZE_MAX)
        buffer_format(out, "; a reader holds up its write-ahead log, which has %lld MiB",
                      (long long)output->log_size / 1048576);
}

static bool
check_file(struct output *output, struct buffer *report, struct err *err)
{
    char folder[PATH_MAX];
    int used = snprintf(folder, sizeof(folder), "%s", output->path);
    if (used < 0 || (size_t)used >= sizeof(folder))
        return err_errno(err, ERR_STOP, ENAMETOOLONG, "check '%s'", output->path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL)
        (void)snprintf(folder, sizeof(folder), ".");
    else
        slash[slash == folder ? 1 : 0] = '\0';
    if (access(folder, W_OK | X_OK) != 0)
        return err_errno(err, ERR_STOP, errno, "write to folder '%s' of sqlite.path", folder);

    struct statvfs space;
    if (statvfs(folder, &space) == 0)
        buffer_format(report, "sqlite: %llu MiB are free in %s\n",
                      (unsigned long long)space.f_bavail * space.f_frsize / 1048576, folder);
    if (access(output->path, F_OK) != 0) {
        buffer_format(report, "sqlite: %s will be made at the first start\n", output->path);
        return true;
    }
    if (!database_check(output->path, err))
        return false;
    buffer_format(report, "sqlite: %s can be written\n", output->path);
    return true;
}

static size_t
output_check(struct output *output, struct buffer *report)
{
    struct err err;
    if (check_file(output, report, &err))
        return 0;
    buffer_format(report, "sqlite: %s\n", err.text);
    return 1;
}

const struct output_class output_sqlite = {
    .name = "sqlite",
    .open = output_open,
    .close = output_close,
    .prepare = output_prepare,
    .retain = output_retain,
    .ready = output_ready,
    .send = output_send,
    .release = output_release,
    .wait = output_wait,
    .describe = output_describe,
    .note = output_note,
    .check = output_check,
};
