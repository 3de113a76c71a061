/* SPDX-License-Identifier: Apache-2.0 */
/* database.c: see database.h. */
#include "sinks/sqlite/database.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/assert.h"
#include "core/buffer.h"

/* "Trce": tells our files from other programs' SQLite databases. */
#define APPLICATION_ID 0x54726365
#define TEXT_OF(x) TEXT_OF_VALUE(x)
#define TEXT_OF_VALUE(x) #x

/* Another process's transaction (a second sink, a person's shell) is waited for this long; then
 * the bulk comes back as a fault, so that the loop is seen to move. */
#define BUSY_WAIT_MS 2000

_Static_assert(DATABASE_LOG_SIZE_MAX == 67108864, "see connection_sql");
/* Settings of each connection. The log is folded back every 4,000 pages instead of 1,000: a bulk
 * of 5 MiB would otherwise end in two more fsyncs each time. 16 MiB of cache hold the upper
 * levels of all trees. */
static const char connection_sql[] = "PRAGMA synchronous = FULL;"
                                     "PRAGMA wal_autocheckpoint = 4000;"
                                     "PRAGMA journal_size_limit = 67108864;"
                                     "PRAGMA cache_size = -16384;";

/* From each version to the next; from 0, which is an empty file, to all of them.
 * No `id TEXT PRIMARY KEY`: FTS5 needs an integer key that VACUUM does not change.
 * columnsize=0: the lengths of messages serve ranking alone, and the order is by time.
 * hashsize: one bulk of 5 MiB becomes one segment, not five. */
static const char *const upgrade_sql[DATABASE_VERSION] = {
    "CREATE TABLE events ("
    "  number INTEGER PRIMARY KEY,"
    "  id TEXT NOT NULL,"
    "  index_name TEXT NOT NULL,"
    "  timestamp TEXT NOT NULL,"
    "  indexed_at TEXT NOT NULL,"
    "  value TEXT NOT NULL,"
    "  UNIQUE (id, index_name));"
    "CREATE VIRTUAL TABLE messages USING fts5(message, content='', columnsize=0);"
    "INSERT INTO messages(messages, rank) VALUES('hashsize', 8388608);"
    "PRAGMA application_id = " TEXT_OF(APPLICATION_ID) ";",
    "CREATE TABLE state (closed INTEGER NOT NULL);"
    "INSERT INTO state VALUES (1);",
};
static const char version_sql[] = "PRAGMA user_version = " TEXT_OF(DATABASE_VERSION) ";";

static bool
fault(struct err *err, int code, const char *text, const char *verb, const char *path)
{
    ASSERT(code != SQLITE_OK);

    switch (code & 0xff) {
    case SQLITE_CORRUPT:
        return err_set(
            err, ERR_RETRY, code,
            "cannot %s '%s': the file is damaged (%s); stop the sink and move the file and "
            "its -wal and -shm away: a new one is made. `sqlite3 FILE .recover` saves what "
            "can be read",
            verb, path, text);
    case SQLITE_NOTADB:
        return err_set(
            err, ERR_STOP, code,
            "cannot %s '%s': it is not an SQLite database; name another file in sqlite.path "
            "or move this one away",
            verb, path);
    case SQLITE_FULL:
        return err_set(err, ERR_RETRY, code, "cannot %s '%s': the disk is full", verb, path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, ERR_RETRY, code, "cannot %s '%s': another process keeps it locked",
                       verb, path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return err_set(err, ERR_RETRY, code,
                       "cannot %s '%s': no permission to write the file or its folder, or the file "
                       "system is read-only",
                       verb, path);
    default:
        return err_set(err, ERR_RETRY, code, "cannot %s '%s': %s", verb, path, text);
    }
}

bool
database_fail(sqlite3 *db, int code, const char *verb, const char *path, struct err *err)
{
    int extended = sqlite3_extended_errcode(db);
    if (extended == SQLITE_OK || extended == SQLITE_ROW || extended == SQLITE_DONE)
        extended = code;
    int number = sqlite3_system_errno(db);
    /* SQLite 3.40 calls it "No such file or directory", of the -shm that it cannot make. */
    if ((extended & 0xff) == SQLITE_CANTOPEN && access(path, F_OK) == 0 && access(path, W_OK) != 0)
        extended = SQLITE_READONLY;
    bool system = (extended & 0xff) == SQLITE_CANTOPEN || (extended & 0xff) == SQLITE_IOERR;
    return fault(err, extended, system && number != 0 ? strerror(number) : sqlite3_errmsg(db), verb,
                 path);
}

static bool
read_number(sqlite3 *db, const char *sql, int64_t *out)
{
    sqlite3_stmt *statement = NULL;
    bool ok = sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
              sqlite3_step(statement) == SQLITE_ROW;
    if (ok)
        *out = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return ok;
}

/* Whose file is it? Version 0: it has no tables yet. */
static bool
check_version(sqlite3 *db, const char *path, int64_t *version, struct err *err)
{
    int64_t application = 0;
    int64_t tables = 0;
    if (!read_number(db, "PRAGMA application_id", &application) ||
        !read_number(db, "PRAGMA user_version", version) ||
        !read_number(db, "SELECT count(*) FROM sqlite_schema", &tables))
        return database_fail(db, SQLITE_ERROR, "open", path, err);

    if (*version == 0 && tables == 0 && (application == 0 || application == APPLICATION_ID))
        return true;
    if (application != APPLICATION_ID)
        return err_set(err, ERR_STOP, SQLITE_NOTADB,
                       "cannot use '%s': it is a database of another program; name another file in "
                       "sqlite.path",
                       path);
    if (*version > DATABASE_VERSION)
        return err_set(
            err, ERR_STOP, SQLITE_MISMATCH,
            "cannot use '%s': a newer tailrace wrote it (schema %lld, this one knows %d)", path,
            (long long)*version, DATABASE_VERSION);
    return true;
}

static bool
set_wal(sqlite3 *db, const char *path, struct err *err)
{
    sqlite3_stmt *statement = NULL;
    bool ok =
        sqlite3_prepare_v2(db, "PRAGMA journal_mode = WAL", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW;
    bool wal = ok && strcmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
    if (!ok)
        (void)database_fail(db, SQLITE_ERROR, "open", path, err);
    else if (!wal)
        (void)err_set(err, ERR_STOP, SQLITE_ERROR,
                      "cannot use '%s': its file system allows no write-ahead log (is it a network "
                      "file system?)",
                      path);
    sqlite3_finalize(statement);
    return wal;
}

static bool
run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

/* Two sinks may start at once: who gets the lock second finds the tables there. `*version` becomes
 * what was found, `*closed` what the file said. */
static bool
make_tables(sqlite3 *db, const char *path, int64_t *version, int64_t *closed, struct err *err)
{
    if (!run(db, "BEGIN IMMEDIATE"))
        return database_fail(db, SQLITE_ERROR, "open", path, err);
    bool ok = check_version(db, path, version, err);
    for (int64_t i = *version; ok && i < DATABASE_VERSION; i++)
        ok =
            run(db, upgrade_sql[i]) || database_fail(db, SQLITE_ERROR, "make tables in", path, err);
    if (ok && (!run(db, version_sql) || !read_number(db, "SELECT closed FROM state", closed) ||
               !run(db, "UPDATE state SET closed = 0") || !run(db, "COMMIT")))
        ok = database_fail(db, SQLITE_ERROR, "make tables in", path, err);
    if (!ok)
        (void)run(db, "ROLLBACK");
    return ok;
}

/* SQLite may be built to see URIs and ":memory:" in names: "./" makes any name a plain file's. */
static bool
plain_name(char *out, size_t size, const char *path, struct err *err)
{
    int used = snprintf(out, size, "%s%s", path[0] == '/' ? "" : "./", path);
    if (used < 0 || (size_t)used >= size)
        return err_errno(err, ERR_STOP, ENAMETOOLONG, "open '%.200s'", path);
    return true;
}

/* Opens and looks whose file it is. */
static bool
open_file(sqlite3 **out, const char *name, int flags, const char *path, int64_t *version,
          struct err *err)
{
    sqlite3 *db = NULL;
    bool ok = sqlite3_open_v2(name, &db, flags | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK;
    if (db == NULL)
        return err_set(err, ERR_RETRY, SQLITE_NOMEM, "cannot open '%s': out of memory", path);
    (void)sqlite3_extended_result_codes(db, 1);
    (void)sqlite3_busy_timeout(db, BUSY_WAIT_MS);
    ok = ok ? check_version(db, path, version, err)
            : database_fail(db, SQLITE_ERROR, "open", path, err);
    if (ok)
        *out = db;
    else
        (void)sqlite3_close(db);
    return ok;
}

static int64_t
log_size(const char *name)
{
    char log[PATH_MAX + 8];
    struct stat info;
    int used = snprintf(log, sizeof(log), "%s-wal", name);
    return used > 0 && stat(log, &info) == 0 ? info.st_size : 0;
}

int64_t
database_log_size(const char *path)
{
    char name[PATH_MAX];
    struct err err;
    return plain_name(name, sizeof(name), path, &err) ? log_size(name) : 0;
}

/* What is there stays as it is. */
static bool
look(const char *path, bool write, struct err *err)
{
    char name[PATH_MAX];
    int64_t version;
    sqlite3 *db = NULL;
    int flags = write ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
    if (!plain_name(name, sizeof(name), path, err))
        return false;
    if (access(name, F_OK) != 0)
        return true;
    bool ok = open_file(&db, name, flags, path, &version, err);
    if (ok)
        (void)sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (ok && write && (!run(db, "BEGIN IMMEDIATE") || !run(db, "ROLLBACK")))
        ok = database_fail(db, SQLITE_ERROR, "write to", path, err);
    (void)sqlite3_close(db);
    return ok;
}

bool
database_look(const char *path, struct err *err)
{
    return look(path, false, err);
}

bool
database_check(const char *path, struct err *err)
{
    return look(path, true, err);
}

static void
take_note(struct database_note *note, const char *path, bool existed, bool log_lost,
          int64_t version)
{
    *note = (struct database_note){.warn = log_lost || (existed && version == 0)};
    int used = 0;
    if (log_lost)
        used = snprintf(
            note->text, sizeof(note->text),
            "'%.140s' was not closed in order and its write-ahead log '%.140s-wal' is gone: unless "
            "another program, such as sqlite3, has folded it back, the events of the last minutes "
            "before are missing. Set the group's offsets back to an earlier time to read them "
            "again: what is there is not doubled",
            path, path);
    else if (version == 0)
        used = snprintf(note->text, sizeof(note->text), "'%.200s' %s: its tables were made", path,
                        existed ? "was there and empty" : "is new");
    else if (version < DATABASE_VERSION)
        used =
            snprintf(note->text, sizeof(note->text), "'%.200s' was brought from schema %lld to %d",
                     path, (long long)version, DATABASE_VERSION);
    ASSERT(used >= 0);
}

/* Without SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE each end of a connection would fold the log back, also
 * after a fault that left `closed` at 0. */
bool
database_open_write(sqlite3 **out, const char *path, struct database_note *note, struct err *err)
{
    ASSERT(path[0] != '\0');

    char name[PATH_MAX];
    sqlite3 *db = NULL;
    int64_t version = 0;
    int64_t closed = 1;
    if (!plain_name(name, sizeof(name), path, err))
        return false;
    bool existed = access(name, F_OK) == 0;
    bool logged = log_size(name) > 0;
    if (!open_file(&db, name, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, path, &version, err))
        return false;

    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    bool ok = set_wal(db, path, err) &&
              (run(db, connection_sql) || database_fail(db, SQLITE_ERROR, "open", path, err)) &&
              make_tables(db, path, &version, &closed, err);
    if (!ok) {
        (void)sqlite3_close(db);
        return false;
    }
    /* Puts `closed` into the file itself; while a reader is in the way, a later one will. */
    (void)sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    take_note(note, path, existed, closed == 0 && !logged, version);
    *out = db;
    return true;
}

void
database_close(sqlite3 *db, bool fine)
{
    if (db == NULL)
        return;
    if (fine && run(db, "UPDATE state SET closed = 1"))
        (void)sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    (void)sqlite3_close(db);
}

/* A URI that says the file does not change: the one way to read a database with a write-ahead
 * log where nothing may be written, not even its -shm. Right only while nobody writes, that is
 * without a -wal. */
static bool
open_immutable(sqlite3 **out, const char *name, const char *path, int64_t *version, struct err *err)
{
    struct buffer uri;
    buffer_init(&uri, (size_t)4 * PATH_MAX);
    buffer_text(&uri, "file:");
    for (const char *at = name; *at != '\0'; at++) {
        if (*at == '?' || *at == '#' || *at == '%')
            buffer_format(&uri, "%%%02X", (unsigned)*at);
        else
            buffer_append(&uri, at, 1);
    }
    buffer_text(&uri, "?immutable=1");
    bool ok = uri.failed ? err_set(err, ERR_STOP, 0, "cannot open '%s': out of memory", path)
                         : open_file(out, buffer_string(&uri),
                                     SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, path, version, err);
    buffer_done(&uri);
    return ok;
}

bool
database_open_read(sqlite3 **out, const char *path, struct err *err)
{
    ASSERT(path[0] != '\0');

    char name[PATH_MAX];
    if (!plain_name(name, sizeof(name), path, err))
        return false;
    if (access(name, R_OK) != 0) {
        if (errno != ENOENT)
            return err_errno(err, ERR_STOP, errno, "read '%s'", path);
        return err_set(err, ERR_STOP, ENOENT,
                       "'%s' does not exist: the sink makes it at its first start with this "
                       "configuration",
                       path);
    }

    sqlite3 *db = NULL;
    int64_t version = 0;
    bool ok = open_file(&db, name, SQLITE_OPEN_READONLY, path, &version, err);
    int code = ok ? SQLITE_OK : err->code & 0xff;
    if ((code == SQLITE_CANTOPEN || code == SQLITE_READONLY) && log_size(name) == 0)
        ok = open_immutable(&db, name, path, &version, err);
    if (!ok) {
        err->action = ERR_STOP;
        return false;
    }
    if (version == 0) {
        (void)sqlite3_close(db);
        return err_set(err, ERR_STOP, ENOENT, "'%s' is still empty: no sink has filled it yet",
                       path);
    }
    *out = db;
    return true;
}
