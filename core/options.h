/* SPDX-License-Identifier: Apache-2.0 */
/* options.h: one table per program is the only source of struct, defaults, checks and reference.
 * A section is a mapping (one struct) or a sequence of mappings (an array of structs). The table is
 * an X-macro list in the program's options.def:
 *
 *     #define HTTP_OPTIONS(OPTION) \\
 *         OPTION(TEXT, listen, ":10464", "", "", RESTART, "Address and port of the HTTP endpoint.")
 *
 * fields: kind, key and member name, default (NULL: must be given), min, max, RELOAD or RESTART,
 * help. For CHOICE `min` lists the words ("raw|json") and the member is the word's index. min and
 * max are written like values ("1KiB", "5s"); "" is no limit. SIZE is in bytes, DURATION in
 * milliseconds.
 *
 * Values may hold ${NAME} and ${NAME:-default} from the environment ($$ is a dollar sign). The
 * top-level key `include` takes paths or globs, relative to the file that holds them; a file comes
 * after the one that includes it, matches of a glob in the order of their names. Sequences of
 * several files are joined; a scalar or MAP set twice is an error that names both places, and so is
 * a file included twice. A section without anything in it is all defaults. Every error carries file
 * and line, and an unknown key the nearest known one. Values of variables whose name says
 * PASS(WORD), SECRET, TOKEN, KEY or CREDENTIAL are in no error of this module. */
#ifndef CORE_OPTIONS_H
#define CORE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

struct buffer;

enum option_kind {
    OPTION_TEXT,     /* const char *, never NULL */
    OPTION_FLAG,     /* bool: true or false */
    OPTION_NUMBER,   /* int64_t */
    OPTION_SIZE,     /* uint64_t, bytes: 64KiB, 1MB, 5GiB, 100 */
    OPTION_DURATION, /* uint64_t, milliseconds: 500ms, 5s, 10m, 2h, 7d; 0 needs no unit */
    OPTION_CHOICE,   /* int: index of the word in `min` */
    OPTION_TEXTS,    /* struct option_texts: a sequence; a lone scalar is a sequence of one */
    OPTION_MAP,      /* struct option_map: any keys, scalar values, in the file's order */
};

/* Where something stands. `file` NULL: nowhere, it is a default. */
struct option_place {
    const char *file;
    unsigned line;
};

struct option_texts {
    const char *const *items;
    size_t count;
};
struct option_pair {
    const char *key, *value;
    bool quoted; /* was a quoted string in YAML: "5" is text, 5 a number */
    struct option_place place;
};
struct option_map {
    const struct option_pair *items;
    size_t count;
};

#define OPTION_TYPE_TEXT const char *
#define OPTION_TYPE_FLAG bool
#define OPTION_TYPE_NUMBER int64_t
#define OPTION_TYPE_SIZE uint64_t
#define OPTION_TYPE_DURATION uint64_t
#define OPTION_TYPE_CHOICE int
#define OPTION_TYPE_TEXTS struct option_texts
#define OPTION_TYPE_MAP struct option_map

struct option {
    const char *key;
    enum option_kind kind;
    size_t offset;
    const char *initial; /* NULL: required */
    const char *min, *max;
    bool reloadable;
    const char *help;
};

/* Makes struct members of a list: struct http_options { HTTP_OPTIONS(OPTION_MEMBER) }; */
#define OPTION_MEMBER(kind, member, initial, min, max, reload, help) OPTION_TYPE_##kind member;

/* Makes table entries of a list; OPTION_STRUCT names the struct while it is expanded. */
#define OPTION_ENTRY(kind, member, initial, min, max, reload, help)                                \
    {                                                                                              \
        #member,                                                                                   \
        OPTION_##kind,                                                                             \
        offsetof(OPTION_STRUCT, member),                                                           \
        initial,                                                                                   \
        min,                                                                                       \
        max,                                                                                       \
        OPTION_IS_##reload,                                                                        \
        help},
#define OPTION_IS_RELOAD true
#define OPTION_IS_RESTART false

enum option_shape {
    OPTION_SHAPE_TOP,      /* the keys of the file's top level */
    OPTION_SHAPE_MAPPING,  /* always there, all defaults when the file does not name it */
    OPTION_SHAPE_OPTIONAL, /* a mapping; a bool at count_offset says if the file named it */
    OPTION_SHAPE_SEQUENCE, /* pointer at `offset`, size_t at count_offset, element_size each */
};

struct option_section {
    const char *key; /* "" for the top level */
    enum option_shape shape;
    const struct option *options;
    size_t option_count;
    size_t offset;       /* in the program's root struct */
    size_t count_offset; /* SEQUENCE: size_t; OPTIONAL: bool */
    size_t element_size; /* SEQUENCE only */
    size_t place_offset; /* of a struct option_place in the element, filled here; SIZE_MAX: none */
    const char *help;
};

struct options_schema {
    const char *program; /* "tailrace-agent" */
    const struct option_section *sections;
    size_t section_count;
    size_t size; /* of the program's root struct */
};

/* The loaded root struct and all memory behind it: one owner, one free. Immutable after loading, so
 * any thread may read it. */
struct options;

/* Reads, checks and fills. False with ERR_CONFIG and "agent.yaml:12: …" in the text. */
bool options_load(struct options **out, const struct options_schema *schema, const char *path,
                  struct err *err) MUST_CHECK;
/* The same from memory; `name` stands for the file in messages; includes are relative to `.`. */
bool options_parse(struct options **out, const struct options_schema *schema, const char *name,
                   const char *text, size_t size, struct err *err) MUST_CHECK;
void options_free(struct options *options); /* NULL is fine */
const void *options_root(const struct options *options);

/* Where a file set this option, else where its section begins, else line 1 of the first file: for
 * checks that a table cannot make. "" is the section of the top level. Borrowed from `options`. */
struct option_place options_place(const struct options *options, const char *section,
                                  const char *key);

/* Puts "file:line: " in front of a text that begins with the name of an option ("bulk.size is …")
 * or of a section; for checks that the table cannot do. Other texts stay as they are. Returns
 * false. */
bool options_locate(const struct options *options, struct err *err);

/* The same values in the same order; where they were written does not count. */
bool option_texts_equal(const struct option_texts *a, const struct option_texts *b);
bool option_maps_equal(const struct option_map *a, const struct option_map *b);

/* Writes into the empty `names` each option that differs and cannot be reloaded: "a.b, a.c"; true
 * if any does. Elements of sequences are paired by their `name` or else by their place. */
bool options_need_restart(const struct options *before, const struct options *after,
                          struct buffer *names);

/* All values as one file that options_parse() reads back to the same ones: nothing is left to
 * defaults, variables or includes. Secrets are in it. */
void options_write(const struct options *options, struct buffer *out);

/* Markdown for conf/REFERENCE.md, and the text of `reference`. */
void options_reference(const struct options_schema *schema, struct buffer *out);

/* Also used for command-line values. False with ERR_CONFIG that says what a good value looks like.
 * */
bool option_parse_size(const char *text, uint64_t *out, struct err *err) MUST_CHECK;
bool option_parse_duration(const char *text, uint64_t *out_ms, struct err *err) MUST_CHECK;

/* The word nearest to `word`, or NULL when none is near enough to suggest. */
const char *option_nearest(const char *word, const char *const *words, size_t count);

#endif
