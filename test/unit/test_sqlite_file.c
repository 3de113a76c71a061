/* SPDX-License-Identifier: Apache-2.0 */
/* The file of the sqlite output from life to life: versions, ends in and out of order, and what is
 * said of a log that is gone. */
#include "test/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "sinks/sqlite/database.h"

#define PATH_SIZE 128

/* As the first release made it. */
static const char schema_1[] =
    "PRAGMA journal_mode = WAL;"
    "CREATE TABLE events (number INTEGER PRIMARY KEY, id TEXT NOT NULL, index_name TEXT NOT NULL,"
    "  timestamp TEXT NOT NULL, indexed_at TEXT NOT NULL, value TEXT NOT NULL,"
    "  UNIQUE (id, index_name));"
    "CREATE VIRTUAL TABLE messages USING fts5(message, content='', columnsize=0);"
    "INSERT INTO events VALUES (1, 'a', 'logs', '', '', '{}'), (2, 'b', 'logs', '', '', '{}');"
    "PRAGMA application_id = 0x54726365;"
    "PRAGMA user_version = 1;";

struct store {
    char folder[64];
    char path[PATH_SIZE];
    char copy[PATH_SIZE];
    sqlite3 *db;
    struct database_note note;
};

static void
remove_file(const char *path)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        char name[PATH_SIZE + 8];
        assert_true(snprintf(name, sizeof(name), "%s%s", path, ends[i]) > 0);
        (void)unlink(name);
    }
}

static int
setup(void **state)
{
    struct store *store = calloc(1, sizeof(*store));
    assert_non_null(store);
    memcpy(store->folder, "/tmp/tailrace-file-XXXXXX", sizeof("/tmp/tailrace-file-XXXXXX"));
    assert_non_null(mkdtemp(store->folder));
    assert_true(snprintf(store->path, PATH_SIZE, "%s/events.db", store->folder) > 0);
    assert_true(snprintf(store->copy, PATH_SIZE, "%s/copy.db", store->folder) > 0);
    *state = store;
    return 0;
}

static int
teardown(void **state)
{
    struct store *store = *state;
    database_close(store->db, true);
    remove_file(store->path);
    remove_file(store->copy);
    assert_int_equal(rmdir(store->folder), 0);
    free(store);
    return 0;
}

static void
execute(sqlite3 *db, const char *sql)
{
    char *text = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &text) != SQLITE_OK)
        fail_msg("%s: %s", sql, text);
}

static int64_t
number_of(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

static void
open_file(struct store *store, const char *path)
{
    struct err err;
    assert_null(store->db);
    if (!database_open_write(&store->db, path, &store->note, &err))
        fail_msg("%s", err.text);
}

static void
close_file(struct store *store, bool fine)
{
    database_close(store->db, fine);
    store->db = NULL;
}

static void
insert(struct store *store, int from, int to)
{
    for (int i = from; i < to; i++) {
        char sql[128];
        assert_true(snprintf(sql, sizeof(sql),
                             "INSERT INTO events VALUES (%d, 'id%d', 'logs', '', '', '{}')", i,
                             i) > 0);
        execute(store->db, sql);
    }
}

static int64_t
events(struct store *store)
{
    return number_of(store->db, "SELECT count(*) FROM events");
}

/* The file as a power cut, a backup or an rm leave it: without SQLite's knowledge. */
static void
copy(struct store *store, const char *end)
{
    char from[PATH_SIZE + 8];
    char to[PATH_SIZE + 8];
    char bytes[4096];
    ssize_t size;
    assert_true(snprintf(from, sizeof(from), "%s%s", store->path, end) > 0);
    assert_true(snprintf(to, sizeof(to), "%s%s", store->copy, end) > 0);
    int in = open(from, O_RDONLY);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(in >= 0 && out >= 0);
    while ((size = read(in, bytes, sizeof(bytes))) > 0)
        assert_int_equal(write(out, bytes, (size_t)size), size);
    assert_int_equal(size, 0);
    (void)close(in);
    (void)close(out);
}

static void
older_file_is_searched_as_it_is_and_brought_up_to_date_when_it_is_written(void **state)
{
    struct store *store = *state;
    sqlite3 *db = NULL;
    struct err err;
    assert_int_equal(sqlite3_open(store->path, &db), SQLITE_OK);
    execute(db, schema_1);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_true(database_open_read(&db, store->path, &err));
    assert_int_equal(number_of(db, "SELECT count(*) FROM events"), 2);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_true(database_check(store->path, &err)); /* writes nothing */

    open_file(store, store->path);
    assert_string_equal(strrchr(store->note.text, '\'') + 1, " was brought from schema 1 to 2");
    assert_false(store->note.warn);
    assert_int_equal(events(store), 2);
    insert(store, 10, 15);
    close_file(store, true);

    open_file(store, store->path);
    assert_string_equal(store->note.text, "");
    assert_int_equal(events(store), 7);
    assert_int_equal(number_of(store->db, "PRAGMA user_version"), DATABASE_VERSION);
}

static void
upgrade_that_is_cut_short_leaves_the_old_version(void **state)
{
    struct store *store = *state;
    sqlite3 *db = NULL;
    struct err err;
    assert_int_equal(sqlite3_open(store->path, &db), SQLITE_OK);
    execute(db, schema_1);
    execute(db, "CREATE TABLE state (other)"); /* in the way */
    assert_false(database_open_write(&store->db, store->path, &store->note, &err));
    assert_int_equal(number_of(db, "PRAGMA user_version"), 1);
    assert_int_equal(number_of(db, "SELECT count(*) FROM events"), 2);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void
file_that_was_emptied_is_not_made_anew_without_a_word(void **state)
{
    struct store *store = *state;
    open_file(store, store->path);
    assert_non_null(strstr(store->note.text, "is new"));
    assert_false(store->note.warn);
    insert(store, 0, 5);
    close_file(store, true);
    assert_int_equal(truncate(store->path, 0), 0);
    open_file(store, store->path);
    assert_non_null(strstr(store->note.text, "was there and empty: its tables were made"));
    assert_true(store->note.warn);
    assert_int_equal(events(store), 0);
}

static void
log_that_is_gone_is_told_and_the_file_is_whole_without_it(void **state)
{
    struct store *store = *state;
    open_file(store, store->path);
    insert(store, 0, 100);
    execute(store->db, "PRAGMA wal_checkpoint");
    insert(store, 100, 150);
    copy(store, "");
    copy(store, "-wal");
    close_file(store, true);

    open_file(store, store->copy); /* killed, and both are there */
    assert_string_equal(store->note.text, "");
    assert_int_equal(events(store), 150);
    close_file(store, true);

    open_file(store, store->path);
    assert_string_equal(store->note.text, "");
    insert(store, 150, 200);
    copy(store, ""); /* without its log */
    close_file(store, true);
    open_file(store, store->copy);
    assert_true(store->note.warn);
    assert_non_null(strstr(store->note.text, "was not closed in order and its write-ahead log"));
    assert_non_null(strstr(store->note.text, "Set the group's offsets back"));
    assert_int_equal(events(store), 150);
    assert_int_equal(number_of(store->db, "SELECT count(*) FROM pragma_integrity_check"
                                          " WHERE integrity_check = 'ok'"),
                     1);
    insert(store, 200, 210);
    close_file(store, true);

    open_file(store, store->copy); /* told once */
    assert_string_equal(store->note.text, "");
    assert_int_equal(events(store), 160);
}

static void
end_after_a_fault_leaves_the_log_where_it_is(void **state)
{
    struct store *store = *state;
    open_file(store, store->path);
    insert(store, 0, 10);
    close_file(store, false);
    assert_true(database_log_size(store->path) > 0);
    open_file(store, store->path);
    assert_string_equal(store->note.text, "");
    assert_int_equal(events(store), 10);
    close_file(store, true);
    assert_int_equal(database_log_size(store->path), 0);
}

static void
garbled_log_takes_nothing_with_it_that_was_folded_back(void **state)
{
    struct store *store = *state;
    open_file(store, store->path);
    insert(store, 0, 10);
    execute(store->db, "PRAGMA wal_checkpoint(RESTART)");
    insert(store, 10, 20);
    copy(store, "");
    copy(store, "-wal");
    char name[PATH_SIZE + 8];
    assert_true(snprintf(name, sizeof(name), "%s-wal", store->copy) > 0);
    int file = open(name, O_WRONLY);
    assert_int_equal(pwrite(file, "garbled", 7, 32 + 24 + 100), 7); /* in the first frame */
    (void)close(file);
    close_file(store, true);
    open_file(store, store->copy);
    assert_int_equal(events(store), 10);
    insert(store, 20, 25);
    assert_int_equal(events(store), 15);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(older_file_is_searched_as_it_is_and_brought_up_to_date_when_it_is_written),
        TEST(upgrade_that_is_cut_short_leaves_the_old_version),
        TEST(file_that_was_emptied_is_not_made_anew_without_a_word),
        TEST(log_that_is_gone_is_told_and_the_file_is_whole_without_it),
        TEST(end_after_a_fault_leaves_the_log_where_it_is),
        TEST(garbled_log_takes_nothing_with_it_that_was_folded_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
