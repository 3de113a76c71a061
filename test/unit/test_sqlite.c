/* SPDX-License-Identifier: Apache-2.0 */
/* The sqlite output and its search: through the seam that the pipeline uses, on real files. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/buffer.h"
#include "core/clock.h"
#include "sinks/options.h"
#include "sinks/output.h"
#include "sinks/sqlite/database.h"
#include "sinks/sqlite/fields.h"
#include "sinks/sqlite/search.h"

#define ITEMS_MAX 512

struct fixture {
    char folder[64];
    char path[128];
    char text[128]; /* of stdout of a search */
    struct sink_options options;
    struct output *output;
    struct output_item items[ITEMS_MAX];
    char ids[ITEMS_MAX][64];
    char values[ITEMS_MAX][320];
    struct output_bulk bulk;
    int back;       /* bulks that came back */
    struct err err; /* of the last one */
};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/tailrace-sqlite-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->path, sizeof(f->path), "%s/a 'b'%%c?.db", f->folder);
    (void)snprintf(f->text, sizeof(f->text), "%s/stdout", f->folder);
    f->options.sqlite.path = f->path;
    f->options.sqlite_given = true;
    *state = f;
    return 0;
}

static void
remove_database(struct fixture *f)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        char name[160];
        (void)snprintf(name, sizeof(name), "%s%s", f->path, ends[i]);
        (void)unlink(name);
    }
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    output_sqlite.close(f->output);
    remove_database(f);
    (void)unlink(f->text);
    assert_int_equal(rmdir(f->folder), 0);
    free(f);
    return 0;
}

static void
open_output(struct fixture *f)
{
    struct err err = {0};
    output_sqlite.close(f->output);
    f->output = NULL;
    if (!output_sqlite.open(&f->output, &f->options, NULL, &err) ||
        !output_sqlite.prepare(f->output, NULL, &err))
        fail_msg("%s", err.text);
}

static void
on_done(void *context, struct output_bulk *bulk, const struct err *err)
{
    struct fixture *f = context;
    f->back++;
    f->err = err == NULL ? (struct err){0} : *err;
    assert_ptr_equal(bulk, &f->bulk);
    assert_true(output_sqlite.ready(f->output));
}

static void
add(struct fixture *f, const char *id, const char *value)
{
    size_t i = f->bulk.item_count++;
    assert_true(i < ITEMS_MAX);
    (void)snprintf(f->ids[i], sizeof(f->ids[i]), "%s", id);
    f->items[i] = (struct output_item){
        .index = "logs",
        .id = f->ids[i],
        .id_size = strlen(id),
        .value = value,
        .value_size = strlen(value),
    };
}

static void
add_message(struct fixture *f, const char *id, const char *time, const char *message)
{
    char *value = f->values[f->bulk.item_count];
    int used = snprintf(value, sizeof(f->values[0]),
                        "{\"@timestamp\":\"%s\",\"host.name\":\"node-1\",\"log.file.path\":"
                        "\"/var/log/a.log\",\"message\":\"%s\"}",
                        time, message);
    assert_true(used > 0 && (size_t)used < sizeof(f->values[0]));
    add(f, id, value);
}

/* Sends what was added; outcomes stay in f->items until the next add. */
static void
send_all(struct fixture *f)
{
    f->bulk.items = f->items;
    int back = f->back;
    output_sqlite.send(f->output, &f->bulk, on_done, f);
    assert_int_equal(f->back, back);
    assert_false(output_sqlite.ready(f->output));
    output_sqlite.wait(f->output, NULL, 0, 1000);
    assert_int_equal(f->back, back + 1);
    if (f->err.action != ERR_NONE)
        print_message("fault: %s\n", f->err.text);
    f->bulk.item_count = 0;
}

static int64_t
number_of(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return number;
}

static void
execute(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* Runs a search; its stdout, cut to the buffer, is in `out`. */
static bool
search(struct fixture *f, const char *line, char *out, size_t out_size, struct err *err)
{
    char words[256];
    (void)snprintf(words, sizeof(words), "%s", line);
    char *argv[16];
    int argc = 0;
    for (char *at = words; *at != '\0';) { /* arguments are separated by '|' */
        argv[argc++] = at;
        at += strcspn(at, "|");
        if (*at != '\0')
            *at++ = '\0';
    }

    (void)fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    int file = open(f->text, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(kept >= 0 && file >= 0);
    assert_true(dup2(file, STDOUT_FILENO) >= 0);
    bool ok = sqlite_search(&f->options, argc, argv, err);
    (void)fflush(stdout);
    assert_true(dup2(kept, STDOUT_FILENO) >= 0);
    ssize_t used = pread(file, out, out_size - 1, 0);
    assert_true(used >= 0);
    out[used] = '\0';
    (void)close(kept);
    (void)close(file);
    return ok;
}

#define assert_found(f, line, expected)                                                            \
    do {                                                                                           \
        char found[4096];                                                                          \
        struct err found_err = {0};                                                                \
        if (!search(f, line, found, sizeof(found), &found_err))                                    \
            fail_msg("%s", found_err.text);                                                        \
        assert_string_equal(found, expected);                                                      \
    } while (0)

static void
new_documents_are_indexed_and_repeats_are_duplicates(void **state)
{
    struct fixture *f = *state;
    open_output(f);
    add_message(f, "t1.a", "2026-11-21T06:12:00.123Z", "one");
    add_message(f, "t1.b", "2026-11-21T06:12:00.123Z", "two");
    add_message(f, "t1.a", "2026-11-21T06:12:00.123Z", "one");
    send_all(f);
    assert_int_equal(f->items[0].outcome, OUTPUT_INDEXED);
    assert_int_equal(f->items[1].outcome, OUTPUT_INDEXED);
    assert_int_equal(f->items[2].outcome, OUTPUT_DUPLICATE);
    output_sqlite.release(f->output, &f->bulk);

    open_output(f);
    add_message(f, "t1.b", "2026-11-21T06:12:00.123Z", "two");
    add_message(f, "t1.c", "2026-11-21T06:12:00.123Z", "three");
    send_all(f);
    assert_int_equal(f->items[0].outcome, OUTPUT_DUPLICATE);
    assert_int_equal(f->items[1].outcome, OUTPUT_INDEXED);
    assert_int_equal(number_of(f->path, "SELECT count(*) FROM events"), 3);
    assert_int_equal(number_of(f->path, "SELECT count(*) FROM messages WHERE messages MATCH 'two'"),
                     1);
}

static void
same_id_in_another_index_is_another_document(void **state)
{
    struct fixture *f = *state;
    open_output(f);
    add_message(f, "t1.a", "2026-11-21T06:12:00.123Z", "one");
    add_message(f, "t1.a", "2026-11-21T06:12:00.123Z", "one");
    f->items[1].index = "spark";
    send_all(f);
    assert_int_equal(f->items[0].outcome, OUTPUT_INDEXED);
    assert_int_equal(f->items[1].outcome, OUTPUT_INDEXED);
}

static void
what_is_no_json_object_is_refused_and_its_neighbours_are_kept(void **state)
{
    static const char *const bad[] = {"",
                                      "null",
                                      "[]",
                                      "\"a\"",
                                      "12",
                                      "{",
                                      "{]}",
                                      "{\"a\":1}}",
                                      "{\"a\":1} {}",
                                      "{a:1}",
                                      "{'a':1}",
                                      "{\"a\":\"\xff\"}",
                                      "{\"a\":\"\x01\"}",
                                      "/**/{}",
                                      "{\"a\":1,}"};
    struct fixture *f = *state;
    open_output(f);
    add_message(f, "good-1", "2026-11-21T06:12:00.123Z", "one");
    size_t count = sizeof(bad) / sizeof(bad[0]);
    for (size_t i = 0; i < count; i++)
        add(f, "bad", bad[i]);
    add_message(f, "good-2", "2026-11-21T06:12:00.123Z", "two");
    send_all(f);
    for (size_t i = 1; i <= count; i++) {
        assert_int_equal(f->items[i].outcome, OUTPUT_DOCUMENT);
        assert_non_null(f->items[i].reason);
    }
    assert_int_equal(f->items[0].outcome, OUTPUT_INDEXED);
    assert_int_equal(f->items[count + 1].outcome, OUTPUT_INDEXED);
    assert_int_equal(number_of(f->path, "SELECT count(*) FROM events"), 2);
}

static void
value_is_kept_byte_for_byte(void **state)
{
    static const char value[] =
        "{ \"@timestamp\" : 5 , \"message\":\"a\\u0000b \\ud83d\\ude00\",\"x\":"
        "[1e400,{\"message\":\"inner\"}]}";
    struct fixture *f = *state;
    open_output(f);
    add(f, "t1.a", value);
    send_all(f);
    assert_int_equal(f->items[0].outcome, OUTPUT_INDEXED);
    char out[512];
    struct err err = {0};
    assert_true(search(f, "--json", out, sizeof(out), &err));
    out[strlen(out) - 1] = '\0';
    assert_string_equal(out, value);
    assert_found(f, "--count|b", "1\n"); /* behind the NUL */
    assert_found(f, "--count|inner", "0\n");
}

static void
deep_nesting_is_stored_without_recursion(void **state)
{
    struct fixture *f = *state;
    open_output(f);
    enum { DEPTH = 100000 };
    static const char head[] = "{\"message\":\"deep\",\"a\":";
    size_t head_size = sizeof(head) - 1;
    char *value = malloc(head_size + 2 * DEPTH + 2);
    assert_non_null(value);
    memcpy(value, head, head_size);
    memset(value + head_size, '[', DEPTH);
    memset(value + head_size + DEPTH, ']', DEPTH);
    memcpy(value + head_size + 2 * DEPTH, "}", 2);
    add(f, "t1.a", value);
    send_all(f);
    assert_int_equal(f->items[0].outcome, OUTPUT_INDEXED);
    assert_found(f, "--count|deep", "1\n");
    free(value);
}

static void
newest_is_found_first_whatever_the_order_of_arrival(void **state)
{
    struct fixture *f = *state;
    open_output(f);
    add_message(f, "3", "2026-11-21T06:12:03.000Z", "event three");
    add_message(f, "1", "2026-11-21T06:12:01.000Z", "event one");
    send_all(f);
    add_message(f, "2", "2026-11-21T06:12:02.000Z", "event two");
    add_message(f, "0", "1999-01-01T00:00:00.000Z", "event zero");
    send_all(f);
    assert_found(f, "event",
                 "2026-11-21T06:12:03.000Z node-1 /var/log/a.log  event three\n"
                 "2026-11-21T06:12:02.000Z node-1 /var/log/a.log  event two\n"
                 "2026-11-21T06:12:01.000Z node-1 /var/log/a.log  event one\n"
                 "1999-01-01T00:00:00.000Z node-1 /var/log/a.log  event zero\n");
    assert_found(f, "--limit|1|EVENT",
                 "2026-11-21T06:12:03.000Z node-1 /var/log/a.log  event three\n");
    assert_found(f, "--limit=1", "2026-11-21T06:12:03.000Z node-1 /var/log/a.log  event three\n");
    assert_found(f, "--count", "4\n");
}

static void
one_millisecond_takes_any_number_of_events(void **state)
{
    struct fixture *f = *state;
    open_output(f);
    /* The last number of the millisecond is taken: the next events spill over, in order. */
    add_message(f, "first", "2026-11-21T06:12:00.000Z", "x");
    send_all(f);
    execute(f->path, "UPDATE events SET number = number + 32767");
    add_message(f, "second", "2026-11-21T06:12:00.000Z", "x");
    add_message(f, "third", "2026-11-21T06:12:00.000Z", "x");
    add_message(f, "next", "2026-11-21T06:12:00.001Z", "x");
    send_all(f);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(f->items[i].outcome, OUTPUT_INDEXED);
    assert_int_equal(number_of(f->path, "SELECT count(*) FROM events WHERE number >> 15 = "
                                        "(SELECT min(number) >> 15 FROM events) + 1"),
                     3);
}

static void
since_counts_back_from_now(void **state)
{
    struct fixture *f = *state;
    open_output(f);
    char now[CLOCK_TEXT_SIZE + 1] = "";
    clock_format_utc(clock_wall_ms(), now);
    add_message(f, "now", now, "fresh");
    add_message(f, "old", "2020-01-01T00:00:00.000Z", "stale");
    add(f, "none", "{\"message\":\"fresh too\"}"); /* no time: that of its arrival */
    send_all(f);
    assert_found(f, "--count|--since|1h", "2\n");
    assert_found(f, "--count|--since=1h|stale", "0\n");
    assert_found(f, "--count|stale", "1\n");
}

static void
words_are_phrases_and_all_must_match(void **state)
{
    struct fixture *f = *state;
    open_output(f);
    add_message(f, "1", "2026-11-21T06:12:01.000Z", "GET /index.html 10.0.0.1 says hello");
    add_message(f, "2", "2026-11-21T06:12:02.000Z", "GET /html.index 1.0.0.10 AND \\\"x\\\" OR");
    send_all(f);
    assert_found(f, "--count|get", "2\n");
    assert_found(f, "--count|/index.html", "1\n");
    assert_found(f, "--count|10.0.0.1", "1\n");
    assert_found(f, "--count|GET|hello", "1\n");
    assert_found(f, "--count|hello get", "0\n");
    assert_found(f, "--count|AND", "1\n");
    assert_found(f, "--count|\"x\"", "1\n");
    assert_found(f, "--count|hel*", "1\n");
    assert_found(f, "--count|hel", "0\n");
    assert_found(f, "--count|get|***", "2\n");
    assert_found(f, "--count|get|\xe2\x80\x94", "2\n"); /* a dash beyond ASCII */
    assert_found(f, "--count|--raw|hello OR x", "2\n");
    assert_found(f, "--count|--raw|get NOT hello", "1\n");
}

static void
control_characters_are_made_visible(void **state)
{
    struct fixture *f = *state;
    open_output(f);
    add_message(f, "1", "2026-11-21T06:12:01.000Z",
                "red \\u001b[31m\\u009b2J \\u007f \\t\xc3\xa9 end");
    send_all(f);
    assert_found(f, "red",
                 "2026-11-21T06:12:01.000Z node-1 /var/log/a.log  "
                 "red \\x1B[31m\\x9B2J \\x7F \t\xc3\xa9 end\n");
}

static void
bad_searches_say_what_is_wrong(void **state)
{
    static const struct {
        const char *line, *text;
    } cases[] = {
        {"--raw|a AND", "syntax error"},
        {"--raw|x : y", "no such column"},
        {"--limit|0", "--limit wants a number from 1, not '0'"},
        {"--limit|5x", "--limit wants a number"},
        {"--limit", "--limit wants a value"},
        {"--since|soon", "--since: "},
        {"--jason", "did you mean '--json'?"},
        {"***", "only letters and digits"},
    };
    struct fixture *f = *state;
    open_output(f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[64];
        struct err err = {0};
        assert_false(search(f, cases[i].line, out, sizeof(out), &err));
        assert_int_equal(err.action, ERR_CONFIG);
        if (strstr(err.text, cases[i].text) == NULL)
            fail_msg("%s: %s", cases[i].line, err.text);
    }
}

static void
search_without_a_file_says_who_makes_it(void **state)
{
    struct fixture *f = *state;
    char out[64];
    struct err err = {0};
    assert_false(search(f, "x", out, sizeof(out), &err));
    assert_int_equal(err.action, ERR_STOP);
    assert_non_null(strstr(err.text, "does not exist: the sink makes it"));
    assert_int_equal(access(f->path, F_OK), -1);

    f->options.sqlite_given = false;
    assert_false(search(f, "x", out, sizeof(out), &err));
    assert_int_equal(err.action, ERR_CONFIG);
}

static void
reader_sees_whole_bulks_while_the_writer_works(void **state)
{
    struct fixture *f = *state;
    open_output(f);
    add_message(f, "1", "2026-11-21T06:12:01.000Z", "one");
    send_all(f);
    assert_found(f, "--count", "1\n");
    sqlite3 *reader = NULL;
    struct err err = {0};
    assert_true(database_open_read(&reader, f->path, &err));
    assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM events", NULL, NULL, NULL),
                     0);
    add_message(f, "2", "2026-11-21T06:12:01.000Z", "two");
    send_all(f);
    assert_int_equal(f->items[0].outcome, OUTPUT_INDEXED); /* a reader does not stop a writer */
    sqlite3_close(reader);
    assert_found(f, "--count", "2\n");
}

/* At the start, and when it comes to stand there while the sink runs. */
static void
assert_refused(struct fixture *f, const char *words)
{
    struct err err = {0};
    struct output *output = NULL;
    assert_false(output_sqlite.open(&output, &f->options, NULL, &err));
    assert_int_equal(err.action, ERR_CONFIG);
    assert_non_null(strstr(err.text, words));
    if (f->output == NULL)
        return;
    assert_false(output_sqlite.prepare(f->output, NULL, &err));
    assert_int_equal(err.action, ERR_STOP);
    assert_non_null(strstr(err.text, words));
    char out[64];
    assert_false(search(f, "x", out, sizeof(out), &err));
    assert_non_null(strstr(err.text, words));
}

static void
file_of_another_program_or_version_is_refused(void **state)
{
    struct fixture *f = *state;
    execute(f->path, "CREATE TABLE theirs (x)");
    assert_refused(f, "it is a database of another program");
    remove_database(f);
    open_output(f);
    remove_database(f);
    execute(f->path, "CREATE TABLE theirs (x)");
    assert_refused(f, "it is a database of another program");

    remove_database(f);
    open_output(f);
    execute(f->path, "PRAGMA user_version = 1000");
    output_sqlite.close(f->output);
    f->output = NULL;
    assert_refused(f, "a newer tailrace wrote it (schema 1000, this one knows 2)");

    remove_database(f);
    int file = open(f->path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(file, "this is a text file, and long enough to be read at all", 54), 54);
    close(file);
    assert_refused(f, "not an SQLite database");
}

static void
damaged_file_is_a_fault_that_says_what_to_do(void **state)
{
    struct fixture *f = *state;
    open_output(f);
    for (size_t i = 0; i < 200; i++) {
        char id[32];
        (void)snprintf(id, sizeof(id), "id-%zu", i);
        add_message(f, id, "2026-11-21T06:12:01.000Z", "words to fill pages with");
    }
    send_all(f);
    output_sqlite.close(f->output);
    f->output = NULL;

    struct stat info;
    assert_int_equal(stat(f->path, &info), 0);
    char junk[4096];
    memset(junk, 0x5a, sizeof(junk));
    int file = open(f->path, O_WRONLY);
    for (off_t at = 4096; at < info.st_size; at += 4096)
        assert_int_equal(pwrite(file, junk, sizeof(junk), at), sizeof(junk));
    close(file);

    struct err err = {0};
    assert_true(output_sqlite.open(&f->output, &f->options, NULL, &err));
    (void)!output_sqlite.prepare(f->output, NULL, &err);
    add_message(f, "new", "2026-11-21T06:12:01.000Z", "x");
    send_all(f);
    assert_int_equal(f->items[0].outcome, OUTPUT_SERVER_FAULT);
    assert_non_null(strstr(f->items[0].reason, "is damaged"));
    assert_non_null(strstr(f->items[0].reason, "move the file"));
    assert_string_equal(f->err.text, f->items[0].reason);
    output_sqlite.release(f->output, &f->bulk);

    remove_database(f); /* what the sentence asks for: the running sink goes on in a new file */
    add_message(f, "new", "2026-11-21T06:12:01.000Z", "x");
    send_all(f);
    assert_int_equal(f->items[0].outcome, OUTPUT_INDEXED);
}

static void
locked_file_is_a_fault_and_then_goes_on(void **state)
{
    struct fixture *f = *state;
    open_output(f);
    sqlite3 *other = NULL;
    assert_int_equal(sqlite3_open(f->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    add_message(f, "1", "2026-11-21T06:12:01.000Z", "x");
    send_all(f);
    assert_int_equal(f->items[0].outcome, OUTPUT_SERVER_FAULT);
    assert_non_null(strstr(f->items[0].reason, "keeps it locked"));
    output_sqlite.release(f->output, &f->bulk);
    sqlite3_close(other);
    add_message(f, "1", "2026-11-21T06:12:01.000Z", "x");
    send_all(f);
    assert_int_equal(f->items[0].outcome, OUTPUT_INDEXED);
}

static void
no_room_is_a_fault_and_leaves_nothing_of_the_bulk(void **state)
{
    struct fixture *f = *state;
    open_output(f);
    add_message(f, "1", "2026-11-21T06:12:01.000Z", "x");
    send_all(f);
    (void)signal(SIGXFSZ, SIG_IGN);
    struct rlimit all;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
    struct rlimit little = {.rlim_cur = 65536, .rlim_max = all.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    for (size_t i = 0; i < 400; i++) {
        char id[32];
        (void)snprintf(id, sizeof(id), "id-%zu", i);
        add_message(f, id, "2026-11-21T06:12:01.000Z", "words to fill pages with");
    }
    send_all(f);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
    for (size_t i = 0; i < 400; i++)
        assert_int_equal(f->items[i].outcome, OUTPUT_SERVER_FAULT);
    assert_int_not_equal(f->err.action, ERR_NONE);
    output_sqlite.release(f->output, &f->bulk);
    assert_int_equal(number_of(f->path, "SELECT count(*) FROM events"), 1);

    add_message(f, "2", "2026-11-21T06:12:01.000Z", "x");
    send_all(f);
    assert_int_equal(f->items[0].outcome, OUTPUT_INDEXED);
}

/* True when the output has this to say, and nothing else. */
static bool
says(struct fixture *f, bool warn, const char *words)
{
    bool warned = !warn;
    const char *text = output_sqlite.note(f->output, &warned);
    bool found = text != NULL && strstr(text, words) != NULL && warned == warn;
    if (!found)
        print_message("it says: %s\n", text == NULL ? "nothing" : text);
    return found && output_sqlite.note(f->output, &warned) == NULL;
}

static void
removed_file_is_made_anew_under_a_running_sink_and_that_is_said(void **state)
{
    struct fixture *f = *state;
    open_output(f);
    assert_true(says(f, false, "is new: its tables were made"));
    add_message(f, "1", "2026-11-21T06:12:01.000Z", "x");
    send_all(f);
    remove_database(f);
    add_message(f, "2", "2026-11-21T06:12:01.000Z", "x");
    send_all(f);
    assert_int_equal(f->items[0].outcome, OUTPUT_INDEXED);
    assert_int_equal(number_of(f->path, "SELECT count(*) FROM events"), 1);
    assert_true(says(f, true, "is new: its tables were made"));
}

static void
reader_of_an_old_state_stops_nobody_and_the_log_it_holds_up_is_told_and_folded_back(void **state)
{
    struct fixture *f = *state;
    open_output(f);
    assert_true(says(f, false, "is new"));
    add_message(f, "first", "2026-11-21T06:12:01.000Z", "one");
    send_all(f);
    sqlite3 *reader = NULL;
    struct err err = {0};
    assert_true(database_open_read(&reader, f->path, &err));
    assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM events", NULL, NULL, NULL),
                     SQLITE_OK);

    enum { LARGE = 4 * 1024 * 1024, BULKS = 20 };
    char *value = malloc(LARGE);
    assert_non_null(value);
    memset(value, 'x', LARGE);
    memcpy(value, "{\"a\":\"", 6);
    memcpy(value + LARGE - 3, "\"}", 3);
    int64_t largest = 0;
    int told = 0;
    for (int i = 0; i < BULKS; i++) {
        char id[32];
        (void)snprintf(id, sizeof(id), "large-%d", i);
        add(f, id, value);
        send_all(f);
        assert_int_equal(f->items[0].outcome, OUTPUT_INDEXED);
        if (database_log_size(f->path) > largest)
            largest = database_log_size(f->path);
        bool warn = false;
        const char *text = output_sqlite.note(f->output, &warn);
        if (text == NULL)
            continue;
        assert_true(warn);
        assert_non_null(strstr(text, "MiB and grows: another process reads the file"));
        told++;
    }
    free(value);
    assert_true(largest > DATABASE_LOG_SIZE_MAX);
    assert_int_equal(told, 1);
    struct buffer text;
    buffer_init(&text, 4096);
    output_sqlite.describe(f->output, &text);
    assert_non_null(strstr(buffer_string(&text), "a reader holds up its write-ahead log"));
    sqlite3_close(reader);

    for (int i = 0; i < 3; i++) { /* folded back, begun anew, and seen to be short */
        char id[32];
        (void)snprintf(id, sizeof(id), "small-%d", i);
        add_message(f, id, "2026-11-21T06:12:01.000Z", "two");
        send_all(f);
    }
    assert_true(database_log_size(f->path) <= DATABASE_LOG_SIZE_MAX);
    buffer_clear(&text);
    output_sqlite.describe(f->output, &text);
    assert_null(strstr(buffer_string(&text), "holds up"));
    buffer_done(&text);
    assert_int_equal(number_of(f->path, "SELECT count(*) FROM events"), 1 + BULKS + 3);
}

static void
two_outputs_write_one_file_and_each_id_is_there_once(void **state)
{
    struct fixture *f = *state;
    open_output(f);
    struct output *first = f->output;
    f->output = NULL;
    open_output(f);
    struct output *both[] = {first, f->output};
    for (int i = 0; i < 20; i++) {
        f->output = both[i % 2];
        for (int j = 0; j < 10; j++) { /* each bulk repeats half of the one before */
            char id[32];
            (void)snprintf(id, sizeof(id), "id-%d", i * 5 + j);
            add_message(f, id, "2026-11-21T06:12:01.000Z", "x");
        }
        send_all(f);
        for (int j = 0; j < 10; j++)
            assert_int_equal(f->items[j].outcome,
                             i > 0 && j < 5 ? OUTPUT_DUPLICATE : OUTPUT_INDEXED);
    }
    output_sqlite.close(first);
    f->output = both[1];
    assert_int_equal(number_of(f->path, "SELECT count(*) FROM events"), 105);
}

static void
bad_paths_are_configuration_errors(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    static const char *const paths[] = {"", "/nonexistent/folder/a.db", "/tmp", "/dev/null",
                                        "/etc/passwd/a.db"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        f->options.sqlite.path = paths[i];
        err = (struct err){0};
        assert_false(output_sqlite.open(&f->output, &f->options, NULL, &err));
        assert_int_equal(err.action, ERR_CONFIG);
        assert_non_null(strstr(err.text, "sqlite.path"));
    }
}

static void
check_reports_without_making_the_file(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct buffer report;
    buffer_init(&report, 4096);
    assert_true(output_sqlite.open(&f->output, &f->options, NULL, &err));
    assert_int_equal(output_sqlite.check(f->output, &report), 0);
    assert_non_null(strstr(buffer_string(&report), "will be made at the first start"));
    assert_int_equal(access(f->path, F_OK), -1);
    assert_true(output_sqlite.prepare(f->output, NULL, &err));
    buffer_clear(&report);
    assert_int_equal(output_sqlite.check(f->output, &report), 0);
    assert_non_null(strstr(buffer_string(&report), "can be written"));
    buffer_done(&report);
}

/* Writes bulks until it is killed; tells each bulk's number when it is acknowledged. */
static void
write_until_killed(struct fixture *f, int tell, unsigned first)
{
    open_output(f);
    for (unsigned bulk = first;; bulk++) {
        for (unsigned i = 0; i < 100; i++) {
            char id[32];
            (void)snprintf(id, sizeof(id), "%u.%u", bulk, i);
            add_message(f, id, "2026-11-21T06:12:01.000Z", "killed writer");
        }
        send_all(f);
        if (f->err.action != ERR_NONE || write(tell, &bulk, sizeof(bulk)) != sizeof(bulk))
            _exit(1);
    }
}

static void
killed_writer_leaves_every_acknowledged_bulk_whole(void **state)
{
    struct fixture *f = *state;
    unsigned next = 0;
    for (unsigned round = 0; round < 12; round++) {
        int pipes[2];
        assert_int_equal(pipe(pipes), 0);
        pid_t child = fork();
        if (child == 0)
            write_until_killed(f, pipes[1], next);
        (void)close(pipes[1]);
        unsigned bulk = 0;
        unsigned acknowledged = next;
        for (unsigned seen = 0; seen < 3 + round;
             seen++) { /* killed after that many, inside the next */
            assert_int_equal(read(pipes[0], &bulk, sizeof(bulk)), sizeof(bulk));
            acknowledged = bulk + 1;
        }
        (void)usleep(round * 700); /* another place in the transaction each time */
        (void)kill(child, SIGKILL);
        (void)waitpid(child, NULL, 0);
        while (read(pipes[0], &bulk, sizeof(bulk)) == sizeof(bulk))
            acknowledged = bulk + 1;
        (void)close(pipes[0]);

        int64_t events = number_of(f->path, "SELECT count(*) FROM events");
        int64_t words =
            number_of(f->path, "SELECT count(*) FROM messages WHERE messages MATCH 'killed'");
        assert_int_equal(events % 100, 0);
        assert_true(events == acknowledged * 100 || events == (acknowledged + 1) * 100);
        assert_int_equal(words, events);
        next = acknowledged; /* the last may be there: then it is a duplicate */
    }
    assert_int_equal(number_of(f->path, "SELECT count(*) FROM pragma_integrity_check "
                                        "WHERE integrity_check = 'ok'"),
                     1);
    execute(f->path, "INSERT INTO messages(messages) VALUES('integrity-check')");
}

static void
times_are_read_in_every_form_of_iso_8601(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"1970-01-01T00:00:00.000Z", 0},
        {"2026-11-21T06:12:00.123Z", 1795241520123},
        {"2026-11-21T06:12:00.123456789Z", 1795241520123},
        {"2026-11-21 06:12:00", 1795241520000},
        {"2026-11-21T08:12:00+02:00", 1795241520000},
        {"2026-11-21T08:12+0200", 1795241520000},
        {"2026-11-21T01:12:00,5-05", 1795241520500},
        {"2000-02-29", 951782400000},
        {"1795241520123", 1795241520123},
        {"9999-12-31T23:59:59.999Z", 253402300799999},
        {"9999-12-31T23:59:59.999-01:00", 253402300799999},
        {"0001-01-01T00:00:00Z", 0},
        {"999999999999999", 253402300799999},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        int64_t ms = -1;
        if (!fields_time_parse(good[i].text, strlen(good[i].text), &ms) || ms != good[i].ms)
            fail_msg("%s gave %lld", good[i].text, (long long)ms);
    }
    static const char *const bad[] = {"",
                                      "now",
                                      "2026-13-01",
                                      "2026-11-21T",
                                      "2026-11-21T6:12",
                                      "2026-11-21T06:12:00Zx",
                                      "2026-11-21T06:12:00+",
                                      "-5",
                                      "12.5",
                                      "2026-11-21T06:61:00Z"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t ms = 0;
        if (fields_time_parse(bad[i], strlen(bad[i]), &ms))
            fail_msg("'%s' was read as a time", bad[i]);
    }
}

static void
fields_are_found_dotted_and_nested(void **state)
{
    (void)state;
    static const char value[] =
        "{\"a\":{\"message\":\"no\"},\"b\":[{\"message\":\"no\"}],\"log\":{\"x\":{},\"file\":{"
        "\"path\":"
        "\"/a\"},\"file.path\":\"/b\"},\"host.name\":\"h\",\"host\":{\"name\":\"second\"},"
        "\"message\":7,\"deep\":{\"a\":{\"b\":{\"c\":1}}},\"@timestamp\":null}";
    struct fields fields;
    fields_init(&fields);
    const char *reason;
    assert_true(fields_read(&fields, value, sizeof(value) - 1, &reason));
    assert_string_equal(buffer_string(&fields.texts[FIELD_FILE]), "/a");
    assert_string_equal(buffer_string(&fields.texts[FIELD_HOST]), "h");
    assert_string_equal(buffer_string(&fields.texts[FIELD_MESSAGE]), "7");
    assert_int_equal(fields.texts[FIELD_TIMESTAMP].size, 0);
    fields_done(&fields);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(new_documents_are_indexed_and_repeats_are_duplicates),
        TEST(same_id_in_another_index_is_another_document),
        TEST(what_is_no_json_object_is_refused_and_its_neighbours_are_kept),
        TEST(value_is_kept_byte_for_byte),
        TEST(deep_nesting_is_stored_without_recursion),
        TEST(newest_is_found_first_whatever_the_order_of_arrival),
        TEST(one_millisecond_takes_any_number_of_events),
        TEST(since_counts_back_from_now),
        TEST(words_are_phrases_and_all_must_match),
        TEST(control_characters_are_made_visible),
        TEST(bad_searches_say_what_is_wrong),
        TEST(search_without_a_file_says_who_makes_it),
        TEST(reader_sees_whole_bulks_while_the_writer_works),
        TEST(file_of_another_program_or_version_is_refused),
        TEST(damaged_file_is_a_fault_that_says_what_to_do),
        TEST(locked_file_is_a_fault_and_then_goes_on),
        TEST(no_room_is_a_fault_and_leaves_nothing_of_the_bulk),
        TEST(removed_file_is_made_anew_under_a_running_sink_and_that_is_said),
        TEST(reader_of_an_old_state_stops_nobody_and_the_log_it_holds_up_is_told_and_folded_back),
        TEST(two_outputs_write_one_file_and_each_id_is_there_once),
        TEST(bad_paths_are_configuration_errors),
        TEST(check_reports_without_making_the_file),
        TEST(killed_writer_leaves_every_acknowledged_bulk_whole),
        TEST(times_are_read_in_every_form_of_iso_8601),
        TEST(fields_are_found_dotted_and_nested),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
