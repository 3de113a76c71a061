/* SPDX-License-Identifier: Apache-2.0 */
/* search.c: see search.h. */
#include "sinks/sqlite/search.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/cli.h"
#include "core/clock.h"
#include "core/options.h"
#include "sinks/options.h"
#include "sinks/sqlite/database.h"
#include "sinks/sqlite/fields.h"

/* Events shown without --limit: a screen. */
#define LIMIT_DEFAULT 20

/* Bytes of all words together, quoted: above any command line. */
#define QUERY_SIZE_MAX ((size_t)8 * 1024 * 1024)

const char sqlite_search_help[] =
    "Prints the events whose message has every WORD, newest first. No WORD: the newest events.\n"
    "A WORD in quotes with spaces is a phrase; WORD* finds every ending. Case does not matter.\n"
    "  --limit N     at most N events (default 20)\n"
    "  --since TIME  only events of the last TIME: 30s, 10m, 1h, 7d\n"
    "  --count       print how many events match, instead of them\n"
    "  --json        print the documents as they are stored\n"
    "  --raw         the words are an FTS5 query: AND, OR, NOT, NEAR, ^, parentheses\n";

struct request {
    bool json, count, raw;
    int64_t limit;
    uint64_t since_ms; /* 0: all */
    char **words;      /* borrowed from the command line; sorted out of the options in place */
    size_t word_count;
};

static bool
parse_limit(const char *text, int64_t *out, struct err *err)
{
    char *end = NULL;
    errno = 0;
    long long limit = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || limit < 1)
        return err_set(err, ERR_CONFIG, 0, "--limit wants a number from 1, not '%s'", text);
    *out = limit;
    return true;
}

static bool
parse_option(struct request *request, int argc, char **argv, int *at, struct err *err)
{
    static const char *const names[] = {"--limit", "--since", "--count", "--json", "--raw"};
    const char *option = argv[*at];
    const char *value = NULL;
    if (!cli_take_value("--limit", argc, argv, at, &value, err))
        return false;
    if (value != NULL)
        return parse_limit(value, &request->limit, err);
    if (!cli_take_value("--since", argc, argv, at, &value, err))
        return false;
    if (value != NULL)
        return option_parse_duration(value, &request->since_ms, err) || err_wrap(err, "--since");

    if (strcmp(option, "--count") == 0)
        request->count = true;
    else if (strcmp(option, "--json") == 0)
        request->json = true;
    else if (strcmp(option, "--raw") == 0)
        request->raw = true;
    else {
        const char *nearest = option_nearest(option, names, sizeof(names) / sizeof(names[0]));
        return err_set(
            err, ERR_CONFIG, 0,
            "search knows no option '%s'%s%s%s; a word that begins with a dash goes behind --",
            option, nearest == NULL ? "" : ", did you mean '", nearest == NULL ? "" : nearest,
            nearest == NULL ? "" : "'?");
    }
    return true;
}

static bool
request_parse(struct request *out, int argc, char **argv, struct err *err)
{
    *out = (struct request){.limit = LIMIT_DEFAULT, .words = argv};
    bool options = true;
    for (int i = 0; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0)
            options = false;
        else if (!options || strncmp(argv[i], "--", 2) != 0)
            out->words[out->word_count++] = argv[i];
        else if (!parse_option(out, argc, argv, &i, err))
            return false;
    }
    return true;
}

/* FTS5's tokenizer sees letters, digits and everything beyond ASCII that may be a letter. */
static bool
has_token(const char *word)
{
    for (; *word != '\0'; word++) {
        unsigned char c = (unsigned char)*word;
        if (c >= 0x80 || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))
            return true;
    }
    return false;
}

void
search_query(struct buffer *out, char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *word = words[i];
        if (!has_token(word))
            continue;
        size_t size = strlen(word);
        bool prefix = word[size - 1] == '*';
        buffer_text(out, out->size == 0 ? "\"" : " \"");
        for (size_t at = 0; at < size - (prefix ? 1 : 0); at++) {
            buffer_append(out, word + at, 1);
            if (word[at] == '"')
                buffer_append(out, "\"", 1);
        }
        buffer_text(out, prefix ? "\" *" : "\"");
    }
}

static void
raw_query(struct buffer *out, char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buffer_text(out, " ");
        buffer_text(out, words[i]);
    }
}

static void
append_line(struct buffer *out, struct fields *fields, const char *value, size_t size)
{
    const char *reason;
    if (!fields_read(fields, value, size, &reason)) {
        buffer_format(out, "(%s)", reason == NULL ? "out of memory" : reason);
        return;
    }
    for (size_t field = 0; field < FIELD_COUNT; field++) {
        const struct buffer *text = &fields->texts[field];
        if (field > 0)
            buffer_text(out, field == FIELD_MESSAGE ? "  " : " ");
        if (text->size == 0)
            buffer_text(out, "-");
        else
            buffer_visible(out, text->bytes, text->size);
    }
}

static bool
print_rows(sqlite3_stmt *statement, const struct request *request, int64_t *rows, struct err *err)
{
    struct fields fields;
    fields_init(&fields);
    struct buffer line;
    buffer_init(&line, (size_t)1024 * 1024 * 1024);
    bool ok = true;
    while (ok && sqlite3_step(statement) == SQLITE_ROW) {
        buffer_clear(&line);
        const char *value = (const char *)sqlite3_column_text(statement, 0);
        size_t size = (size_t)sqlite3_column_bytes(statement, 0);
        if (value == NULL)
            value = "";
        if (request->count || request->json)
            buffer_append(&line, value, size);
        else
            append_line(&line, &fields, value, size);
        buffer_text(&line, "\n");
        if (fwrite(line.bytes, 1, line.size, stdout) != line.size)
            ok = err_errno(err, ERR_STOP, errno, "write the results");
        (*rows)++;
    }
    if (ok && fflush(stdout) != 0)
        ok = err_errno(err, ERR_STOP, errno, "write the results");
    buffer_done(&line);
    fields_done(&fields);
    return ok;
}

/* The words are matched by their own index, whose rows lie in time order too. */
static const char *
choose_sql(bool words, bool count)
{
    if (count)
        return words ? "SELECT count(*) FROM messages WHERE messages MATCH ?1 AND rowid >= ?2"
                     : "SELECT count(*) FROM events WHERE number >= ?2";
    return words ? "SELECT (SELECT value FROM events WHERE number = messages.rowid) FROM messages"
                   " WHERE messages MATCH ?1 AND rowid >= ?2 ORDER BY rowid DESC LIMIT ?3"
                 : "SELECT value FROM events WHERE number >= ?2 ORDER BY number DESC LIMIT ?3";
}

static bool
search(sqlite3 *db, const char *path, const struct request *request, struct buffer *query,
       struct err *err)
{
    int64_t since_ms = clock_wall_ms() - (int64_t)request->since_ms;
    int64_t number = request->since_ms == 0 || since_ms < 0 ? 0 : since_ms << DATABASE_NUMBER_SHIFT;
    sqlite3_stmt *statement = NULL;
    int code =
        sqlite3_prepare_v2(db, choose_sql(query->size > 0, request->count), -1, &statement, NULL);
    if (code != SQLITE_OK)
        return database_fail(db, code, "search", path, err);

    if (query->size > 0)
        code = sqlite3_bind_text64(statement, 1, query->bytes, query->size, SQLITE_STATIC,
                                   SQLITE_UTF8);
    if (code != SQLITE_OK) {
        sqlite3_finalize(statement);
        return database_fail(db, code, "search", path, err);
    }
    (void)sqlite3_bind_int64(statement, 2, number);
    if (!request->count)
        (void)sqlite3_bind_int64(statement, 3, request->limit);
    int64_t rows = 0;
    bool ok = print_rows(statement, request, &rows, err);
    code = sqlite3_reset(statement);
    if (ok && (code & 0xff) == SQLITE_ERROR && request->raw)
        ok = err_set(
            err, ERR_CONFIG, code,
            "cannot understand the query '%.200s': %s; without --raw every word is taken as it "
            "is",
            buffer_string(query), sqlite3_errmsg(db));
    else if (ok && code != SQLITE_OK)
        ok = database_fail(db, code, "search", path, err);
    if (ok && rows == 0)
        (void)fprintf(stderr, "no event matches\n");
    sqlite3_finalize(statement);
    return ok;
}

bool
sqlite_search(const struct sink_options *options, int argc, char **argv, struct err *err)
{
    ASSERT(argc == 0 || argv != NULL);

    struct request request;
    if (!request_parse(&request, argc, argv, err))
        return false;
    if (!options->sqlite_given)
        return err_set(err, ERR_CONFIG, 0,
                       "search reads the file of the sqlite output, and this configuration has no "
                       "sqlite section: search in the index that it names");

    struct buffer query;
    buffer_init(&query, QUERY_SIZE_MAX);
    if (request.raw)
        raw_query(&query, request.words, request.word_count);
    else
        search_query(&query, request.words, request.word_count);
    sqlite3 *db = NULL;
    bool ok = !query.failed || err_set(err, ERR_CONFIG, 0, "the query is too long");
    if (ok && query.size == 0 && request.word_count > 0)
        ok = err_set(err, ERR_CONFIG, 0,
                     "only letters and digits can be searched for, and the query has none");
    ok = ok && database_open_read(&db, options->sqlite.path, err) &&
         search(db, options->sqlite.path, &request, &query, err);
    if (!ok && err->action == ERR_RETRY)
        err->action = ERR_STOP;
    (void)sqlite3_close(db);
    buffer_done(&query);
    return ok;
}
