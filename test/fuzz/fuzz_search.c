/* SPDX-License-Identifier: Apache-2.0 */
/* Words of a person and values of a topic meet SQLite here. The input is words, one a line;
 * whatever they are, the query made of them is one that FTS5 accepts. The whole input is also
 * read as a document. */
#include <sqlite3.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "sinks/sqlite/fields.h"
#include "sinks/sqlite/search.h"

#define WORDS_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static sqlite3_stmt *
open_once(void)
{
    static sqlite3_stmt *statement;
    if (statement != NULL)
        return statement;
    sqlite3 *db = NULL;
    ASSERT(sqlite3_open(":memory:", &db) == SQLITE_OK);
    ASSERT(sqlite3_exec(
               db,
               "CREATE VIRTUAL TABLE messages USING fts5(message, content='', columnsize=0);"
               "INSERT INTO messages(rowid, message) VALUES (1, 'GET /index.html AND \"a\" OR b');",
               NULL, NULL, NULL) == SQLITE_OK);
    ASSERT(sqlite3_prepare_v2(db, "SELECT count(*) FROM messages WHERE messages MATCH ?1", -1,
                              &statement, NULL) == SQLITE_OK);
    return statement;
}

static void
try_words(char *text)
{
    char *words[WORDS_MAX];
    size_t count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(text, "\n", &rest); word != NULL && count < WORDS_MAX;
         word = strtok_r(NULL, "\n", &rest))
        words[count++] = word;

    struct buffer query;
    buffer_init(&query, 1024 * 1024);
    search_query(&query, words, count);
    ASSERT(!query.failed);
    if (query.size > 0) {
        sqlite3_stmt *statement = open_once();
        ASSERT(sqlite3_bind_text64(statement, 1, query.bytes, query.size, SQLITE_STATIC,
                                   SQLITE_UTF8) == SQLITE_OK);
        ASSERT(sqlite3_step(statement) == SQLITE_ROW);
        ASSERT(sqlite3_reset(statement) == SQLITE_OK);
    }
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

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    ASSERT(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    try_document(text, size);
    try_words(text);
    free(text);
    return 0;
}
