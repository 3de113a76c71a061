/* SPDX-License-Identifier: Apache-2.0 */
#include "test/unit/unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/clock.h"
#include "sinks/output.h"
#include "sinks/sqlite/database.h"
#include "sinks/sqlite/fields.h"
#include "sinks/sqlite/retention.h"

#define DAY_MS INT64_C(86400000)
#define NOW_MS INT64_C(1795241520123) /* 2026-11-21T06:12:00.123Z */

struct store {
    char folder[64];
    char path[96];
    sqlite3 *db;
    struct fields fields;
};

static void
execute(struct store *store, const char *sql)
{
    char *text = NULL;
    if (sqlite3_exec(store->db, sql, NULL, NULL, &text) != SQLITE_OK)
        fail_msg("%s: %s", sql, text);
}

static void
open_store(struct store *store)
{
    struct err err;
    *store = (struct store){.folder = "/tmp/tailrace-retention-XXXXXX"};
    assert_non_null(mkdtemp(store->folder));
    assert_true(snprintf(store->path, sizeof(store->path), "%s/events.db", store->folder) > 0);
    struct database_note note;
    assert_true(database_open_write(&store->db, store->path, &note, &err));
    fields_init(&store->fields);
}

static void
close_store(struct store *store)
{
    fields_done(&store->fields);
    assert_int_equal(sqlite3_close(store->db), SQLITE_OK);
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        assert_true(snprintf(path, sizeof(path), "%s%s", store->path, ends[i]) > 0);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(store->folder), 0);
}

/* One event a number, with a word of its own and one that all of its index have. */
static void
insert(struct store *store, const char *index, int64_t wall_ms, int64_t place)
{
    int64_t number = (wall_ms << DATABASE_NUMBER_SHIFT) + place;
    char sql[1024];
    char text[CLOCK_TEXT_SIZE + 1] = "";
    clock_format_utc(wall_ms, text);
    int size = snprintf(
        sql, sizeof(sql),
        "INSERT INTO events VALUES (%" PRId64 ", 'id%" PRId64 "', '%s', '%s', '%s',"
        " '{\"@timestamp\":\"%s\",\"message\":\"word%s n%" PRId64 "\"}');"
        "INSERT INTO messages (rowid, message) VALUES (%" PRId64 ", 'word%s n%" PRId64 "')",
        number, number, index, text, text, text, index, number, number, index, number);
    assert_true(size > 0 && (size_t)size < sizeof(sql));
    execute(store, sql);
}

static int64_t
count(struct store *store, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t found = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return found;
}

static uint64_t
retain(struct store *store, const char *index, int64_t wall_ms, int days, size_t *steps)
{
    struct output_retention step = {0};
    uint64_t deleted = 0;
    *steps = 0;
    do {
        struct err err;
        step = (struct output_retention){.cursor = step.cursor};
        if (!retention_delete_rows(store->db, store->path, &store->fields, index, wall_ms,
                                   days * DAY_MS, &step, &err))
            fail_msg("%s", err.text);
        deleted += step.deleted;
        (*steps)++;
    } while (step.more);
    return deleted;
}

static void
old_rows_of_the_index_go_with_their_words_and_others_stay(void **state)
{
    (void)state;
    struct store store;
    open_store(&store);
    for (int day = 0; day < 10; day++) {
        insert(&store, "a", NOW_MS - day * DAY_MS, 0);
        insert(&store, "b", NOW_MS - day * DAY_MS, 1);
    }
    size_t steps;
    assert_int_equal(retain(&store, "a", NOW_MS, 3, &steps), 6);
    assert_int_equal(count(&store, "SELECT count(*) FROM events WHERE index_name = 'a'"), 4);
    assert_int_equal(count(&store, "SELECT count(*) FROM events WHERE index_name = 'b'"), 10);
    assert_int_equal(count(&store, "SELECT count(*) FROM messages WHERE messages MATCH 'worda'"),
                     4);
    assert_int_equal(count(&store, "SELECT count(*) FROM messages WHERE messages MATCH 'wordb'"),
                     10);
    execute(&store, "INSERT INTO messages(messages) VALUES('integrity-check')");
    assert_int_equal(retain(&store, "a", NOW_MS, 3, &steps), 0);
    close_store(&store);
}

static void
many_rows_go_in_steps(void **state)
{
    (void)state;
    struct store store;
    open_store(&store);
    execute(&store, "BEGIN");
    for (int i = 0; i < 2 * RETENTION_STEP_ROWS + 5; i++)
        insert(&store, i % 2 == 0 ? "a" : "b", NOW_MS - 9 * DAY_MS + i, 0);
    insert(&store, "a", NOW_MS, 0);
    execute(&store, "COMMIT");
    size_t steps;
    assert_int_equal(retain(&store, "a", NOW_MS, 1, &steps), RETENTION_STEP_ROWS + 3);
    assert_int_equal(steps, 3);
    close_store(&store);
}

static void
clock_that_jumped_ahead_deletes_nothing_young(void **state)
{
    (void)state;
    struct store store;
    open_store(&store);
    for (int day = 0; day < 5; day++)
        insert(&store, "a", NOW_MS - day * DAY_MS, 0);
    size_t steps;
    assert_int_equal(retain(&store, "a", NOW_MS + 3650 * DAY_MS, 4, &steps), 0);
    assert_int_equal(retain(&store, "a", NOW_MS + 3650 * DAY_MS, 3, &steps), 1);
    close_store(&store);
}

static void
empty_file_has_nothing_to_delete(void **state)
{
    (void)state;
    struct store store;
    size_t steps;
    open_store(&store);
    assert_int_equal(retain(&store, "a", NOW_MS, 1, &steps), 0);
    close_store(&store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_rows_of_the_index_go_with_their_words_and_others_stay),
        cmocka_unit_test(many_rows_go_in_steps),
        cmocka_unit_test(clock_that_jumped_ahead_deletes_nothing_young),
        cmocka_unit_test(empty_file_has_nothing_to_delete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
