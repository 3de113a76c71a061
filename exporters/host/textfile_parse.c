/* SPDX-License-Identifier: Apache-2.0 */
/* textfile_parse.c: see textfile.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exporters/host/textfile.h"
#include "exporters/page.h"

#define NAME_SIZE 256
#define HELP_SIZE 1024
#define NUMBER_SIZE 64

static const char *const type_names[] = {"counter", "gauge", "untyped", "histogram", "summary"};

/* What the lines so far have said. */
struct parser {
    const char *file;
    struct page *page; /* NULL: check only */
    size_t line;
    char name[NAME_SIZE]; /* of the family that is open */
    char help[HELP_SIZE];
    enum page_type type;
    bool open; /* page_family() was called for it */
};

static bool
is_name_letter(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' ||
           (!first && c >= '0' && c <= '9');
}

static size_t
name_size(struct scan text)
{
    size_t size = 0;
    while (size < text.size && is_name_letter(text.at[size], size == 0))
        size++;
    return size;
}

static bool
fail(const struct parser *parser, struct err *err, const char *what)
{
    return err_set(err, ERR_RETRY, 0, "%s:%zu: %s", parser->file, parser->line, what);
}

/* Whether a sample of this name belongs to the open family: a histogram's has suffixes. */
static bool
belongs(const struct parser *parser, struct scan name)
{
    size_t size = strlen(parser->name);
    if (size == 0 || !scan_begins(name, parser->name))
        return false;
    struct scan suffix = name;
    scan_skip(&suffix, size);
    if (suffix.size == 0)
        return true;
    bool summed = parser->type == PAGE_HISTOGRAM || parser->type == PAGE_SUMMARY;
    return (summed && (scan_equals(suffix, "_sum") || scan_equals(suffix, "_count"))) ||
           (parser->type == PAGE_HISTOGRAM && scan_equals(suffix, "_bucket"));
}

static void
begin_family(struct parser *parser, struct scan name)
{
    (void)scan_copy(name, parser->name, NAME_SIZE);
    if (snprintf(parser->help, HELP_SIZE, "Metric read from %s", parser->file) < 0)
        parser->help[0] = '\0';
    parser->type = PAGE_UNTYPED;
    parser->open = false;
}

/* "\\" and "\n" of a HELP line to what they stand for. */
static void
take_help(struct parser *parser, struct scan text)
{
    size_t size = 0;
    for (size_t i = 0; i < text.size && size + 1 < HELP_SIZE; i++) {
        char c = text.at[i];
        if (c == '\\' && i + 1 < text.size) {
            i++;
            c = text.at[i] == 'n' ? '\n' : text.at[i];
        }
        parser->help[size++] = c;
    }
    parser->help[size] = '\0';
}

/* "# HELP name text", "# TYPE name gauge", or any other comment. */
static bool
take_comment(struct parser *parser, struct scan line, struct err *err)
{
    struct scan word;
    struct scan name;
    scan_skip(&line, 1);
    if (!scan_word(&line, &word))
        return true;
    bool help = scan_equals(word, "HELP");
    if ((!help && !scan_equals(word, "TYPE")) || !scan_word(&line, &name))
        return true;
    if (name_size(name) != name.size || name.size >= NAME_SIZE)
        return fail(parser, err, "this is no name of a family");
    if (!scan_equals(name, parser->name))
        begin_family(parser, name);
    if (help) {
        scan_skip(&line, 1);
        take_help(parser, line);
        return true;
    }
    if (!scan_word(&line, &word))
        return fail(parser, err, "a TYPE line without a type");
    for (size_t i = 0; i < sizeof(type_names) / sizeof(type_names[0]); i++)
        if (scan_equals(word, type_names[i])) {
            parser->type = (enum page_type)i;
            parser->open = false; /* a TYPE in the middle begins the family anew */
            return true;
        }
    return fail(parser, err, "an unknown type of metric");
}

/* Takes {name="value",…} from the front of `line`. */
static bool
skip_labels(struct scan *line)
{
    scan_skip(line, 1);
    for (;;) {
        scan_trim(line);
        if (line->size > 0 && line->at[0] == '}') {
            scan_skip(line, 1);
            return true;
        }
        size_t size = name_size(*line);
        scan_skip(line, size);
        scan_trim(line);
        if (size == 0 || line->size == 0 || line->at[0] != '=')
            return false;
        scan_skip(line, 1);
        scan_trim(line);
        if (line->size == 0 || line->at[0] != '"')
            return false;
        scan_skip(line, 1);
        while (line->size > 0 && line->at[0] != '"')
            scan_skip(line, line->at[0] == '\\' ? 2 : 1);
        if (line->size == 0)
            return false;
        scan_skip(line, 1);
        scan_trim(line);
        if (line->size > 0 && line->at[0] == ',')
            scan_skip(line, 1);
        else if (line->size == 0 || line->at[0] != '}')
            return false;
    }
}

static bool
is_value(struct scan word)
{
    char text[NUMBER_SIZE];
    if (word.size == 0 || word.size >= sizeof(text))
        return false;
    char *end;
    (void)strtod(scan_copy(word, text, sizeof(text)), &end);
    return *end == '\0' && strpbrk(text, "xXpP()") == NULL;
}

static bool
is_utf8(struct scan text)
{
    for (size_t i = 0; i < text.size;) {
        size_t size = page_utf8_size(text.at + i, text.size - i);
        if (size == 0)
            return false;
        i += size;
    }
    return true;
}

static bool
take_sample(struct parser *parser, struct scan line, struct err *err)
{
    struct scan whole = line;
    struct scan name = {line.at, name_size(line)};
    struct scan word;
    if (name.size == 0 || name.size >= NAME_SIZE)
        return fail(parser, err, "this is no sample");
    scan_skip(&line, name.size);
    scan_trim(&line);
    if (line.size > 0 && line.at[0] == '{' && !skip_labels(&line))
        return fail(parser, err, "the labels are broken");
    if (!scan_word(&line, &word) || !is_value(word))
        return fail(parser, err, "this is no number");
    if (scan_word(&line, &word))
        return fail(parser, err, "timestamps are not supported");
    if (!is_utf8(whole))
        return fail(parser, err, "this is no UTF-8");
    if (!belongs(parser, name))
        begin_family(parser, name);
    if (parser->page == NULL)
        return true;
    if (!parser->open)
        page_family(parser->page, parser->name, parser->type, parser->help);
    parser->open = true;
    page_line(parser->page, whole.at, whole.size);
    return true;
}

bool
textfile_parse(struct scan text, const char *name, struct page *page, struct err *err)
{
    struct parser parser = {.file = name, .page = page, .type = PAGE_UNTYPED};
    struct scan line;
    while (scan_line(&text, &line)) {
        parser.line++;
        scan_trim(&line);
        if (line.size == 0)
            continue;
        if (line.at[0] == '#' ? !take_comment(&parser, line, err)
                              : !take_sample(&parser, line, err))
            return false;
    }
    return true;
}
