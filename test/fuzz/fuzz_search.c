/* SPDX-License-Identifier: Apache-2.0 */
/* Words of a person and values of a topic meet SQLite here. The input is words, one a line, up to
 * an empty line; behind it stands a document. Whatever they are:
 * - the query made of the words is one that FTS5 accepts;
 * - the document is read as a bulk's is;
 * - `tailrace-sink search` with these words, in a file that holds this document among others, ends
 *   with results or with a sentence. */
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "sinks/options.h"
#include "sinks/sqlite/database.h"
#include "sinks/sqlite/fields.h"
#include "sinks/sqlite/search.h"

#define WORDS_MAX 16
#define NAME_SIZE 80

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/tailrace-fuzz-search-XXXXXX";

static void
name_of(char out[NAME_SIZE], const char *end)
{
    ASSERT(snprintf(out, NAME_SIZE, "%s/events.db%s", folder, end) < NAME_SIZE);
}

static void
remove_file(void)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        char name[NAME_SIZE];
        name_of(name, ends[i]);
        (void)remove(name);
    }
    (void)remove(folder);
}

static sqlite3_stmt *
prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    ASSERT(sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK);
    return statement;
}

static void
step(sqlite3_stmt *statement, const char *text, size_t size, int code)
{
    ASSERT(sqlite3_bind_text64(statement, 1, text, size, SQLITE_STATIC, SQLITE_UTF8) == SQLITE_OK);
    ASSERT(sqlite3_step(statement) == code);
    ASSERT(sqlite3_reset(statement) == SQLITE_OK);
}

static sqlite3 *
open_once(void)
{
    static sqlite3 *db;
    if (db != NULL)
        return db;
    struct err err;
    struct database_note note;
    char name[NAME_SIZE];
    ASSERT(mkdtemp(folder) != NULL);
    ASSERT(atexit(remove_file) == 0);
    name_of(name, "");
    ASSERT(database_open_write(&db, name, &note, &err));
    ASSERT(sqlite3_exec(db,
                        "PRAGMA synchronous = OFF;"
                        "INSERT INTO events VALUES (1, 'a', 'logs', '', '', ''),"
                        " (2, 'b', 'logs', '', '', '{\"message\":\"GET /index.html\"}');"
                        "INSERT INTO messages(rowid, message) VALUES"
                        " (1, 'GET /index.html AND \"a\" OR b'), (2, 'GET /index.html');",
                        NULL, NULL, NULL) == SQLITE_OK);
    ASSERT(freopen("/dev/null", "w", stdout) != NULL);
    return db;
}

static void
try_words(char *const *words, size_t count)
{
    static sqlite3_stmt *statement;
    if (statement == NULL)
        statement = prepare(open_once(), "SELECT count(*) FROM messages WHERE messages MATCH ?1");
    struct buffer query;
    buffer_init(&query, 1024 * 1024);
    search_query(&query, words, count);
    ASSERT(!query.failed);
    if (query.size > 0)
        step(statement, query.bytes, query.size, SQLITE_ROW);
    buffer_done(&query);
}

static void
try_document(const char *text, size_t size)
{
    struct fields fields;
    fields_init(&fields);
    const char *reason;
    bool object = fields_read(&fields, text, size, &reason);
    ASSERT(object || reason != NULL);
    int64_t time_ms = 0;
    if (fields_time(&fields, text, size, &time_ms) || fields_time_parse(text, size, &time_ms))
        ASSERT(time_ms >= 0);
    fields_done(&fields);
}

/* What it says of nothing found would fill the fuzzer's own output. */
static void
try_search(char **words, size_t count, const char *document, size_t size)
{
    static sqlite3_stmt *statement;
    static FILE *nowhere;
    if (statement == NULL) {
        statement = prepare(open_once(), "UPDATE events SET value = ?1 WHERE number = 1");
        nowhere = fopen("/dev/null", "w");
        ASSERT(nowhere != NULL);
    }
    step(statement, document, size, SQLITE_DONE);
    char name[NAME_SIZE];
    name_of(name, "");
    struct sink_options options = {.sqlite_given = true, .sqlite = {.path = name}};
    struct err err = {0};
    FILE *kept = stderr;
    stderr = nowhere;
    bool found = sqlite_search(&options, (int)count, words, &err);
    stderr = kept;
    ASSERT(found || ((err.action == ERR_CONFIG || err.action == ERR_STOP) && err.text[0] != '\0'));
    ASSERT(!ferror(stdout));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    ASSERT(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    const char *gap = memmem(text, size, "\n\n", 2);
    size_t from = gap == NULL ? 0 : (size_t)(gap - text) + 2;
    try_document(text, size);
    try_document(text + from, size - from);
    char *document = malloc(size - from + 1);
    ASSERT(document != NULL);
    memcpy(document, text + from, size - from);
    if (gap != NULL)
        text[from - 2] = '\0';

    char *words[WORDS_MAX];
    size_t count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(text, "\n", &rest); word != NULL && count < WORDS_MAX;
         word = strtok_r(NULL, "\n", &rest))
        words[count++] = word;
    try_words(words, count);
    try_search(words, count, document, size - from);
    free(document);
    free(text);
    return 0;
}
