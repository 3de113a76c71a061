/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files: the loader with a schema of its own, and the sink's checks. */
#include "core/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buffer.h"
#include "sinks/options.h"
#include "test/unit/unit.h"

#define TOP_OPTIONS(OPTION)                                                                        \
    OPTION(TEXT, state_dir, "/var/lib/t", "", "", RESTART, "Folder.")                              \
    OPTION(SIZE, memory, "12MiB", "6MiB", "4GiB", RELOAD, "Bytes | of <events>.")
#define KAFKA_OPTIONS(OPTION)                                                                      \
    OPTION(TEXT, bootstrap_servers, "localhost:9092", "", "", RESTART, "Servers.")                 \
    OPTION(SIZE, batch_bytes_max, "1MB", "", "", RELOAD, "Batch.")                                 \
    OPTION(CHOICE, compression, "snappy", "none|gzip|snappy|lz4|zstd", "", RESTART, "How.")        \
    OPTION(MAP, properties, "", "", "", RESTART, "More.")
#define INPUT_OPTIONS(OPTION)                                                                      \
    OPTION(TEXT, name, NULL, "", "", RELOAD, "Name.")                                              \
    OPTION(TEXTS, paths, NULL, "", "", RELOAD, "Paths.")                                           \
    OPTION(TEXTS, exclude, "*.gz", "", "", RELOAD, "Not these.")                                   \
    OPTION(TEXT, mode, "a", "", "", RESTART, "Mode.")                                              \
    OPTION(DURATION, ignore_older, "0", "", "7d", RELOAD, "Age.")
#define LIMIT_OPTIONS(OPTION)                                                                      \
    OPTION(NUMBER, depth, "-3", "-5", "5", RELOAD, "Depth.")                                       \
    OPTION(FLAG, strict, "true", "", "", RELOAD, "Strict.")
#define STORE_OPTIONS(OPTION) OPTION(TEXT, path, NULL, "", "", RESTART, "File.")

struct top {
    TOP_OPTIONS(OPTION_MEMBER)
};
struct kafka {
    KAFKA_OPTIONS(OPTION_MEMBER)
};
struct input {
    struct option_place place;
    INPUT_OPTIONS(OPTION_MEMBER)
};
struct limit {
    LIMIT_OPTIONS(OPTION_MEMBER)
};
struct store {
    STORE_OPTIONS(OPTION_MEMBER)
};
struct root {
    struct top top;
    struct kafka kafka;
    struct input *files;
    size_t file_count;
    struct limit limits;
    struct store store;
    bool store_given;
};

#define OPTION_STRUCT struct top
static const struct option top_table[] = {TOP_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct kafka
static const struct option kafka_table[] = {KAFKA_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct input
static const struct option input_table[] = {INPUT_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct limit
static const struct option limit_table[] = {LIMIT_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT
#define OPTION_STRUCT struct store
static const struct option store_table[] = {STORE_OPTIONS(OPTION_ENTRY)};
#undef OPTION_STRUCT

#define TABLE(table) (table), sizeof(table) / sizeof((table)[0])
static const struct option_section sections[] = {
    {"", OPTION_SHAPE_TOP, TABLE(top_table), offsetof(struct root, top), 0, 0, SIZE_MAX, "Itself."},
    {"kafka", OPTION_SHAPE_MAPPING, TABLE(kafka_table), offsetof(struct root, kafka), 0, 0,
     SIZE_MAX, "Where to."},
    {"files", OPTION_SHAPE_SEQUENCE, TABLE(input_table), offsetof(struct root, files),
     offsetof(struct root, file_count), sizeof(struct input), offsetof(struct input, place),
     "Where from."},
    {"limits", OPTION_SHAPE_MAPPING, TABLE(limit_table), offsetof(struct root, limits), 0, 0,
     SIZE_MAX, "Limits."},
    {"store", OPTION_SHAPE_OPTIONAL, TABLE(store_table), offsetof(struct root, store),
     offsetof(struct root, store_given), 0, SIZE_MAX, "A file."},
};
static const struct options_schema schema = {"t", sections, sizeof(sections) / sizeof(sections[0]),
                                             sizeof(struct root)};

static const struct root *
load_good(struct options **out, const char *text)
{
    struct err err;
    if (!options_parse(out, &schema, "t.yaml", text, strlen(text), &err))
        fail_msg("%s", err.text);
    return options_root(*out);
}

static void
an_empty_file_is_all_defaults(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "# nothing\n", "---\n",
                                        "kafka:\nfiles: ~\nlimits: {}\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct options *options = NULL;
        const struct root *root = load_good(&options, texts[i]);
        assert_string_equal(root->top.state_dir, "/var/lib/t");
        assert_int_equal(root->top.memory, 12 << 20);
        assert_int_equal(root->kafka.batch_bytes_max, 1000000);
        assert_int_equal(root->kafka.compression, 2);
        assert_int_equal(root->kafka.properties.count, 0);
        assert_int_equal(root->file_count, 0);
        assert_int_equal(root->limits.depth, -3);
        assert_true(root->limits.strict);
        assert_false(root->store_given);
        assert_string_equal(root->store.path, "");
        options_free(options);
    }
    options_free(NULL);
}

static void
every_kind_of_value_is_read(void **state)
{
    (void)state;
    struct options *options = NULL;
    const struct root *root = load_good(&options, "state_dir: /x\n"
                                                  "memory: 6 MiB\n"
                                                  "kafka:\n"
                                                  "  compression: zstd\n"
                                                  "  properties: {b: 5, a: '5', c.d: x y}\n"
                                                  "files:\n"
                                                  "  - name: one\n"
                                                  "    paths: /a\n"
                                                  "    ignore_older: 7d\n"
                                                  "  - {name: two, paths: [/b, /c], exclude: []}\n"
                                                  "limits: {depth: 5, strict: false}\n"
                                                  "store: {path: p}\n");
    assert_string_equal(root->top.state_dir, "/x");
    assert_int_equal(root->top.memory, 6 << 20);
    assert_int_equal(root->kafka.compression, 4);
    const struct option_map *map = &root->kafka.properties;
    assert_int_equal(map->count, 3);
    assert_string_equal(map->items[0].key, "b");
    assert_string_equal(map->items[0].value, "5");
    assert_false(map->items[0].quoted);
    assert_true(map->items[1].quoted);
    assert_int_equal(map->items[2].place.line, 5);
    assert_int_equal(root->file_count, 2);
    assert_string_equal(root->files[0].paths.items[0], "/a");
    assert_string_equal(root->files[0].exclude.items[0], "*.gz");
    assert_int_equal(root->files[0].ignore_older, 604800000);
    assert_string_equal(root->files[0].place.file, "t.yaml");
    assert_int_equal(root->files[0].place.line, 7);
    assert_int_equal(root->files[1].place.line, 10);
    assert_int_equal(root->files[1].paths.count, 2);
    assert_int_equal(root->files[1].exclude.count, 0);
    assert_int_equal(root->limits.depth, 5);
    assert_false(root->limits.strict);
    assert_true(root->store_given);
    options_free(options);
}

static void
places_are_known_for_later_checks(void **state)
{
    (void)state;
    struct options *options = NULL;
    (void)load_good(&options, "memory: 6MiB\nkafka:\n  compression: gzip\n");
    assert_int_equal(options_place(options, "kafka", "compression").line, 3);
    assert_int_equal(options_place(options, "kafka", "bootstrap_servers").line, 2);
    assert_int_equal(options_place(options, "", "memory").line, 1);
    assert_string_equal(options_place(options, "limits", "depth").file, "t.yaml");
    struct err err;
    (void)err_set(&err, ERR_CONFIG, 0, "bad");
    assert_false(options_locate(options, &err));
    assert_string_equal(err.text, "bad"); /* names no option */
    (void)err_set(&err, ERR_CONFIG, 0, "kafka.compression is bad");
    assert_false(options_locate(options, &err));
    assert_string_equal(err.text, "t.yaml:3: kafka.compression is bad");
    (void)err_set(&err, ERR_CONFIG, 0, "memory: bad");
    assert_false(options_locate(options, &err));
    assert_string_equal(err.text, "t.yaml:1: memory: bad");
    (void)err_set(&err, ERR_STOP, 0, "memory is short");
    assert_false(options_locate(options, &err));
    assert_string_equal(err.text, "memory is short");
    options_free(options);
}

struct bad {
    const char *text;
    const char *sentence; /* the whole of it, behind "t.yaml:" */
};

static const struct bad bad_values[] = {
    {"kafka:\n  batch_byte_max: 1\n",
     "2: unknown key 'batch_byte_max' in 'kafka'; did you mean 'batch_bytes_max'?"},
    {"\n\nkafak: {}\n", "3: unknown key 'kafak' at the top level; did you mean 'kafka'?"},
    {"inclued: x\n", "1: unknown key 'inclued' at the top level; did you mean 'include'?"},
    {"compression: gzip\n",
     "1: unknown key 'compression' at the top level; it belongs below 'kafka'"},
    {"kafka: {memory: 6MiB}\n", "1: unknown key 'memory' in 'kafka'; it belongs at the top level"},
    {"kafka:\n  qqqq: 1\n", "2: unknown key 'qqqq' in 'kafka'"},
    {"kafka:\n  ? [a]\n  : b\n", "2: a key must be a word, not a list or mapping"},
    {"memory: 1KiB\n", "1: 'memory' is '1KiB', not within 6MiB and 4GiB"},
    {"memory: lots\n",
     "1: 'memory' is 'lots', which is no size: write a whole number and a unit, as "
     "64KiB or 5MB"},
    {"memory: -6MiB\n",
     "1: 'memory' is '-6MiB', which is no size: write a whole number and a unit, "
     "as 64KiB or 5MB"},
    {"memory: 99999999999999999999\n", "1: 'memory' is '99999999999999999999', which is no size: "
                                       "write a whole number and a unit, as 64KiB or 5MB"},
    {"memory:\n", "1: 'memory' has no value; leave the key out for its default, or write \"\""},
    {"memory: 6MiB\nmemory: 7MiB\n",
     "2: 'memory' is set a second time; it is set at t.yaml:1 already"},
    {"kafka: {}\nkafka: {}\n", "2: 'kafka' is there a second time; it begins in line 1"},
    {"kafka:\n  compression: snapy\n", "2: 'compression' in 'kafka' is 'snapy', which is none of "
                                       "none, gzip, snappy, lz4 or zstd; did "
                                       "you mean 'snappy'?"},
    {"kafka:\n  compression: [a]\n", "2: 'compression' in 'kafka' must be one value, not a list"},
    {"kafka:\n  properties: [a]\n",
     "2: 'properties' in 'kafka' must be a mapping, as {name: value}"},
    {"kafka:\n  properties:\n    a: 1\n    a: 2\n",
     "4: 'properties' in 'kafka' has 'a' a second time; line 3 has it too"},
    {"kafka:\n  properties:\n    a: {b: c}\n",
     "3: 'properties' in 'kafka' must give 'a' one value, not a list or mapping"},
    {"kafka: 5\n", "1: 'kafka' must be a mapping, one 'key: value' a line"},
    {"files: {name: x}\n", "1: 'files' must be a list; begin each element with '- '"},
    {"files:\n  - x\n", "2: each element of 'files' must be a mapping"},
    {"files:\n  - paths: /a\n", "2: this element of 'files' lacks 'name', which must be given"},
    {"files:\n  - name: x\n    paths:\n",
     "2: this element of 'files' lacks 'paths', which must be given"},
    {"files:\n  - name: x\n    paths: [/a, ~]\n",
     "3: 'paths' in 'files' has an element without value"},
    {"files:\n  - name: x\n    paths: /a\n    ignore_older: 5\n",
     "4: 'ignore_older' in 'files' is '5', which is no duration: write a whole number and one of "
     "ms, "
     "s, m, h, d, as 500ms or 5s"},
    {"files:\n  - name: x\n    paths: /a\n    ignore_older: 8d\n",
     "4: 'ignore_older' in 'files' is '8d', above its most, 7d"},
    {"limits:\n  depth: 6\n", "2: 'depth' in 'limits' is '6', not within -5 and 5"},
    {"limits:\n  depth: 1.5\n", "2: 'depth' in 'limits' is '1.5', which is no whole number"},
    {"limits:\n  strict: yes\n",
     "2: 'strict' in 'limits' is 'yes', which is neither true nor false"},
    {"limits:\n  strict: \"a\\nb\"\n",
     "2: 'strict' in 'limits' is 'a?b', which is neither true nor false"},
    {"\nstore:\n", "2: 'store' lacks 'path', which must be given"},
    {"state_dir: \"a\\0b\"\n", "1: 'state_dir' holds a zero byte"},
    {"- a\n", "1: the file must be a mapping, with 'key: value' at its top level"},
    {"memory: 6MiB\n---\nmemory: 6MiB\n",
     "2: a second YAML document begins here; one file is one document"},
    {"kafka:\n\tx: y\n", "2: a tab where only blanks may indent"},
    {"\n\nstate_dir: \"abc\n",
     "4: not YAML: found unexpected end of stream, while scanning a quoted "
     "scalar that begins in line 3"},
    {"a: b\nstate_dir: x\xFFy\n", "2: the file is not text in UTF-8: invalid leading UTF-8 octet"},
    {"state_dir: *x\n", "1: not YAML: found undefined alias"},
    {"state_dir: ${T_NOT_SET}\n",
     "1: 'state_dir' needs the environment variable 'T_NOT_SET', which is not set; "
     "${T_NOT_SET:-default} would do without"},
    {"state_dir: ${T_NOT_SET\n",
     "1: 'state_dir' has a '${' without its '}'; write $$ for a dollar sign"},
    {"state_dir: ${1X}\n", "1: 'state_dir' has a '${' that is neither ${NAME} nor "
                           "${NAME:-default}; write $$ for a dollar sign"},
    {"state_dir: ${T_NOT_SET:-${A}}\n", "1: 'state_dir' has a '${' within the default of another"},
    {"memory: ${T_PASSWORD}\n", "1: 'memory' is '${T_PASSWORD}', which is no size: write a whole "
                                "number and a unit, as 64KiB or 5MB"},
    {"kafka: {compression: \"x${T_PASSWORD}\"}\n",
     "1: 'compression' in 'kafka' is 'x${T_PASSWORD}', which is none of none, gzip, snappy, lz4 or "
     "zstd"},
    {"include: \"\"\n", "1: 'include' names no file"},
    {"include: {a: b}\n", "1: 'include' must be one value, not a mapping"},
    {"include: /none/t.yaml\n", "1: cannot read '/none/t.yaml': No such file or directory"},
};

static void
each_mistake_has_its_sentence_and_line(void **state)
{
    (void)state;
    assert_int_equal(setenv("T_PASSWORD", "hunter2", 1), 0);
    for (size_t i = 0; i < sizeof(bad_values) / sizeof(bad_values[0]); i++) {
        const struct bad *bad = &bad_values[i];
        struct options *options = NULL;
        struct err err;
        if (options_parse(&options, &schema, "t.yaml", bad->text, strlen(bad->text), &err))
            fail_msg("accepted: %s", bad->text);
        assert_int_equal(err.action, ERR_CONFIG);
        if (strncmp(err.text, "t.yaml:", 7) != 0 || strcmp(err.text + 7, bad->sentence) != 0)
            fail_msg("for\n%s\ncame\n%s\nnot\n%s", bad->text, err.text, bad->sentence);
    }
}

static void
a_required_option_of_the_top_level_is_demanded(void **state)
{
    (void)state;
    struct needy {
        const char *name;
    };
    static const struct option table[] = {{"name", OPTION_TEXT, 0, NULL, "", "", true, ""}};
    static const struct option_section one[] = {
        {"", OPTION_SHAPE_TOP, table, 1, 0, 0, 0, SIZE_MAX, ""}};
    static const struct options_schema needs = {"t", one, 1, sizeof(struct needy)};
    struct options *options = NULL;
    struct err err;
    assert_false(options_parse(&options, &needs, "t.yaml", "", 0, &err));
    assert_string_equal(err.text, "t.yaml:1: 'name' must be given");
}

static void
the_environment_is_expanded_in_every_kind_of_value(void **state)
{
    (void)state;
    assert_int_equal(setenv("T_ONE", "1", 1), 0);
    assert_int_equal(setenv("T_EMPTY", "", 1), 0);
    struct options *options = NULL;
    const struct root *root = load_good(
        &options, "state_dir: 'a${T_ONE}b${T_NOT_SET:-c:-d}$$e$f${T_EMPTY}|${T_EMPTY:-g}$'\n"
                  "memory: ${T_ONE}GiB\n"
                  "kafka: {properties: {x: \"$${T_ONE}\", y: '${T_ONE}'}}\n"
                  "files: [{name: \"${T_ONE}\", paths: [\"/${T_ONE}\"]}]\n"
                  "limits: {depth: \"${T_ONE}\"}\n");
    assert_string_equal(root->top.state_dir, "a1bc:-d$e$f|g$");
    assert_int_equal(root->top.memory, 1 << 30);
    assert_string_equal(root->kafka.properties.items[0].value, "${T_ONE}");
    assert_string_equal(root->kafka.properties.items[1].value, "1");
    assert_string_equal(root->files[0].name, "1");
    assert_string_equal(root->files[0].paths.items[0], "/1");
    assert_int_equal(root->limits.depth, 1);
    options_free(options);
}

static void
aliases_are_followed_and_cannot_explode(void **state)
{
    (void)state;
    struct options *options = NULL;
    const struct root *root = load_good(&options, "files:\n  - &a {name: x, paths: &p [/a, /b]}\n"
                                                  "  - {name: y, paths: *p}\n  - *a\n");
    assert_int_equal(root->file_count, 3);
    assert_string_equal(root->files[1].paths.items[1], "/b");
    assert_string_equal(root->files[2].name, "x");
    options_free(options);

    struct buffer text;
    struct err err;
    buffer_init(&text, 1 << 20);
    buffer_text(&text, "files:\n  - &a\n    name: x\n    paths: [");
    for (int i = 0; i < 9000; i++)
        buffer_text(&text, "/a,");
    buffer_text(&text, "]\n");
    for (int i = 0; i < 9000; i++)
        buffer_text(&text, "  - *a\n");
    assert_false(options_parse(&options, &schema, "t.yaml", text.bytes, text.size, &err));
    assert_string_equal(err.text, "t.yaml:1: the configuration is too large");
    buffer_clear(&text);
    buffer_text(&text, "kafka: &k {properties: {a: *k}}\n");
    assert_false(options_parse(&options, &schema, "t.yaml", text.bytes, text.size, &err));
    buffer_done(&text);
}

/* ---- files ---- */

static char folder[64];

static void
write_file(const char *name, const char *text)
{
    char path[128];
    assert_true(snprintf(path, sizeof(path), "%s/%s", folder, name) > 0);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int
make_folder(void **state)
{
    (void)state;
    static const char pattern[] = "/tmp/tailrace-[options]-XXXXXX";
    char path[128];
    memcpy(folder, pattern, sizeof(pattern));
    if (mkdtemp(folder) == NULL)
        return -1;
    assert_true(snprintf(path, sizeof(path), "%s/d", folder) > 0);
    return mkdir(path, 0700);
}

static int
remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"t.yaml",    "d/1.yaml", "d/2.yaml", "d/10.yaml",
                                        "more.yaml", "d",        ""};
    char path[128];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (snprintf(path, sizeof(path), "%s/%s", folder, names[i]) > 0)
            (void)remove(path);
    return 0;
}

static bool
load_folder(struct options **out, struct err *err)
{
    char path[128];
    assert_true(snprintf(path, sizeof(path), "%s/t.yaml", folder) > 0);
    return options_load(out, &schema, path, err);
}

static void
included_files_are_joined_in_order(void **state)
{
    (void)state;
    write_file("t.yaml", "include: [d/*.yaml, none/*.yaml]\nfiles: [{name: main, paths: /m}]\n"
                         "kafka: {compression: gzip}\n");
    write_file("d/2.yaml", "files:\n  - {name: two, paths: /2}\nkafka: {batch_bytes_max: 2}\n");
    write_file("d/10.yaml", "files:\n  - {name: ten, paths: /10}\ninclude: ../more.yaml\n");
    write_file("more.yaml", "\nfiles:\n  - {name: more, paths: /m}\n");
    struct options *options = NULL;
    struct err err;
    if (!load_folder(&options, &err))
        fail_msg("%s", err.text);
    const struct root *root = options_root(options);
    assert_int_equal(root->file_count, 4);
    static const char *const names[] = {"main", "ten", "two", "more"};
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(root->files[i].name, names[i]);
    assert_non_null(strstr(root->files[3].place.file, "more.yaml"));
    assert_int_equal(root->files[3].place.line, 3);
    assert_int_equal(root->kafka.compression, 1);
    assert_int_equal(root->kafka.batch_bytes_max, 2);
    options_free(options);
}

static void
mistakes_across_files_name_both_places(void **state)
{
    (void)state;
    static const struct {
        const char *main, *more;
        const char *words[3];
    } cases[] = {
        {"state_dir: a\ninclude: more.yaml\n",
         "\nstate_dir: b\n",
         {"/more.yaml:2: 'state_dir' is set a second time", "/t.yaml:1 already", ""}},
        {"include: more.yaml\n",
         "kafka: {properties: {a: b}, gruop: x}\n",
         {"/more.yaml:1: unknown key 'gruop'", "", ""}},
        {"\ninclude: more.yaml\n",
         "include: t.yaml\n",
         {"/more.yaml:1: '", "/t.yaml' is included a second time", ""}},
        {"\ninclude: [more.yaml, ./more.yaml]\n",
         "",
         {"/t.yaml:2: '", "/more.yaml' is included a second time", ""}},
        {"\n\ninclude: d\n", "", {"/t.yaml:3: cannot read '", "/d': Is a directory", ""}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct options *options = NULL;
        struct err err;
        write_file("t.yaml", cases[i].main);
        write_file("more.yaml", cases[i].more);
        assert_false(load_folder(&options, &err));
        for (size_t k = 0; k < 3; k++)
            if (strstr(err.text, cases[i].words[k]) == NULL)
                fail_msg("'%s' is not in: %s", cases[i].words[k], err.text);
    }
}

static void
a_file_that_cannot_be_read_is_named(void **state)
{
    (void)state;
    struct options *options = NULL;
    struct err err;
    assert_false(options_load(&options, &schema, "/none/t.yaml", &err));
    assert_int_equal(err.action, ERR_CONFIG);
    assert_string_equal(err.text, "cannot read '/none/t.yaml': No such file or directory");
}

static void
a_file_above_the_limit_is_refused(void **state)
{
    (void)state;
    char *text = malloc(CONFIG_FILE_MAX + 2);
    assert_non_null(text);
    memset(text, '\n', CONFIG_FILE_MAX + 1);
    text[CONFIG_FILE_MAX + 1] = '\0';
    struct options *options = NULL;
    struct err err;
    assert_false(options_parse(&options, &schema, "t.yaml", text, CONFIG_FILE_MAX + 1, &err));
    assert_int_equal(err.action, ERR_CONFIG);
    write_file("t.yaml", text);
    assert_false(load_folder(&options, &err));
    assert_non_null(strstr(err.text, "larger than 4 MiB"));
    free(text);
}

/* ---- what else the tables are for ---- */

static void
changes_that_need_a_restart_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *before, *after, *names;
    } cases[] = {
        {"", "", ""},
        {"memory: 6MiB\n", "memory: 7MiB\n", ""},
        {"state_dir: a\n", "state_dir: b\n", "state_dir"},
        {"kafka: {compression: gzip, properties: {a: b}}\n",
         "kafka: {compression: lz4, properties: {a: c}}\n", "kafka.compression, kafka.properties"},
        {"kafka: {properties: {a: 5}}\n", "kafka: {properties: {a: '5'}}\n", "kafka.properties"},
        {"store: {path: a}\n", "", "store"},
        {"files: [{name: a, paths: /a}, {name: b, paths: /b}]\n",
         "files: [{name: b, paths: /c}, {name: a, paths: /a}]\n", ""},
        {"files: [{name: a, paths: /a}, {name: b, paths: /b}]\n",
         "files: [{name: b, paths: /b, mode: x}, {name: c, paths: /a}]\n",
         "files[a], files[b].mode, files[c]"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct options *before = NULL;
        struct options *after = NULL;
        struct buffer names;
        buffer_init(&names, 4096);
        (void)load_good(&before, cases[i].before);
        (void)load_good(&after, cases[i].after);
        assert_int_equal(options_need_restart(before, after, &names), cases[i].names[0] != '\0');
        assert_string_equal(buffer_string(&names), cases[i].names);
        buffer_done(&names);
        options_free(before);
        options_free(after);
    }
}

static void
the_reference_shows_every_option(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 1 << 20);
    options_reference(&schema, &out);
    const char *text = buffer_string(&out);
    static const char *const lines[] = {
        "## t\n",
        "\n### Top level\n\nItself.\n\n| Key | Kind | Default | Range | Reload | Meaning |\n",
        "| `memory` | size | `12MiB` | 6MiB to 4GiB | yes | Bytes \\| of \\<events>. |\n",
        "| `compression` | none, gzip, snappy, lz4 or zstd | `snappy` |  | restart | How. |\n",
        "\n### `files` (a list; each element has these)\n",
        "| `name` | text | must be given |  | yes | Name. |\n",
        "| `ignore_older` | duration | `0` | at most 7d | yes | Age. |\n",
        "\n### `store` (may be left out)\n",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        if (strstr(text, lines[i]) == NULL)
            fail_msg("not in the reference: %s", lines[i]);
    buffer_done(&out);
}

static void
the_nearest_word_is_near_or_none(void **state)
{
    (void)state;
    static const char *const words[] = {"kafka", "files", "http", "log", "bootstrap_servers"};
    static const char *const cases[][2] = {
        {"kakfa", "kafka"}, {"file", "files"},
        {"htpp", "http"},   {"HTTP", "http"},
        {"lgo", "log"},     {"loog", "log"},
        {"", NULL},         {"x", NULL},
        {"foo", NULL},      {"smtp", NULL},
        {"path", NULL},     {"bootstrap_server", "bootstrap_servers"},
        {"servers", NULL},  {"bootstrap.servers", "bootstrap_servers"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *near = option_nearest(cases[i][0], words, 5);
        if (near == NULL ? cases[i][1] != NULL
                         : cases[i][1] == NULL || strcmp(near, cases[i][1]) != 0)
            fail_msg("'%s': %s", cases[i][0], near == NULL ? "none" : near);
    }
    char longest[1000];
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    assert_null(option_nearest(longest, words, 5));
}

static void
sizes_and_durations_carry_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        uint64_t value;
    } sizes[] = {
        {"0", true, 0},
        {"100", true, 100},
        {"1kB", true, 1000},
        {"64KiB", true, 65536},
        {"5 MB", true, 5000000},
        {"2TiB", true, (uint64_t)2 << 40},
        {"7B", true, 7},
        {"", false, 0},
        {"MB", false, 0},
        {"1.5MB", false, 0},
        {"1mb", false, 0},
        {"1  MB", false, 0},
        {" 1", false, 0},
        {"1 ", true, 1},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"18446744073709551615kB", false, 0},
        {"+1", false, 0},
    };
    struct err err;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t value = 0;
        if (option_parse_size(sizes[i].text, &value, &err) != sizes[i].good ||
            (sizes[i].good && value != sizes[i].value))
            fail_msg("'%s'", sizes[i].text);
    }
    uint64_t ms = 0;
    assert_true(option_parse_duration("500ms", &ms, &err) && ms == 500);
    assert_true(option_parse_duration("2h", &ms, &err) && ms == 7200000);
    assert_true(option_parse_duration("0", &ms, &err) && ms == 0);
    assert_true(option_parse_duration("10m", &ms, &err) && ms == 600000);
    assert_false(option_parse_duration("5", &ms, &err));
    assert_string_equal(err.text,
                        "'5' is no duration: write a whole number and one of ms, s, m, h, d, "
                        "as 500ms or 5s");
    assert_false(option_parse_duration("5 weeks", &ms, &err));
}

static void
the_sink_refuses_what_its_table_cannot(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {"", "1: elasticsearch or sqlite must be given: a sink needs an output, such as "
             "elasticsearch: {urls: [\"http://localhost:9200\"]}"},
        {"elasticsearch: {}\n", "1: routes has no entry: name a topic and an index, such as "
                                "- {topic: logs-topic, index: logs}"},
        {"elasticsearch: {}\n\nroutes: []\n",
         "3: routes has no entry: name a topic and an index, such as "
         "- {topic: logs-topic, index: logs}"},
        {"routes: [{topic: a, index: a}]\nelasticsearch:\nsqlite: {path: x}\n",
         "3: sqlite and elasticsearch are both given; a sink has one output"},
        {"routes:\n  - {topic: a, index: a}\n  - {topic: a, index: b}\nelasticsearch:\n",
         "3: the topic 'a' has a route at t.yaml:2 already"},
        {"routes: [{topic: a b, index: a}]\nelasticsearch:\n",
         "1: 'a b' is no topic name: only letters, digits, '.', '_' and '-' may be in it"},
        {"routes: [{topic: .., index: a}]\nelasticsearch:\n",
         "1: '..' is no topic name: Kafka keeps '.' and '..' for itself"},
        {"routes: [{topic: a, index: A}]\nelasticsearch:\n",
         "1: 'A' is no index name: it must be lower case"},
        {"routes: [{topic: a, index: -a}]\nelasticsearch:\n",
         "1: '-a' is no index name: it begins with '-', '_' or '+'"},
        {"routes: [{topic: a, index: 'a:b'}]\nelasticsearch:\n",
         "1: 'a:b' is no index name: none of \\ / * ? \" < > | , # : and blank may be in it"},
        {"routes: [{topic: a, index: \"\"}]\nelasticsearch:\n",
         "1: '' is no index name: it is empty"},
        {"routes: [{topic: a, index: .}]\nelasticsearch:\n",
         "1: '.' is no index name: it is '.' or '..'"},
        {"routes:\n  - {topic: a, index: a}\n  - {topic: a.dlq, index: b}\nelasticsearch:\n",
         "2: the dead-letter topic 'a.dlq' is consumed by the route at t.yaml:3; its letters would "
         "come round for ever"},
        {"routes: [{topic: a, index: a, dead_letter_topic: a}]\nelasticsearch:\n",
         "1: the dead-letter topic 'a' is consumed by the route at t.yaml:1; its letters would "
         "come "
         "round for ever"},
        {"routes: [{topic: a, index: a, dead_letter_topic: '?'}]\nelasticsearch:\n",
         "1: '?' is no topic name: only letters, digits, '.', '_' and '-' may be in it"},
        {"routes: [{topic: a, index: a}]\nbulk: {size: 3MiB, memory: 8MiB}\nelasticsearch:\n",
         "2: bulk.size is above a quarter of bulk.memory; raise bulk.memory"},
    };
    struct options *options = NULL;
    struct err err;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *text = cases[i].text;
        if (!options_parse(&options, &sink_options_schema, "t.yaml", text, strlen(text), &err))
            fail_msg("%s", err.text);
        assert_false(sink_options_check(options, &err));
        assert_int_equal(err.action, ERR_CONFIG);
        if (strncmp(err.text, "t.yaml:", 7) != 0 || strcmp(err.text + 7, cases[i].sentence) != 0)
            fail_msg("for\n%s\ncame\n%s", text, err.text);
        options_free(options);
    }
    static const char good[] = "routes: [{topic: A_b-c.9, index: .a-b_c+1}]\nelasticsearch:\n";
    assert_true(options_parse(&options, &sink_options_schema, "t.yaml", good, strlen(good), &err));
    assert_true(sink_options_check(options, &err));
    options_free(options);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_is_all_defaults),
        cmocka_unit_test(every_kind_of_value_is_read),
        cmocka_unit_test(places_are_known_for_later_checks),
        cmocka_unit_test(each_mistake_has_its_sentence_and_line),
        cmocka_unit_test(a_required_option_of_the_top_level_is_demanded),
        cmocka_unit_test(the_environment_is_expanded_in_every_kind_of_value),
        cmocka_unit_test(aliases_are_followed_and_cannot_explode),
        cmocka_unit_test_setup_teardown(included_files_are_joined_in_order, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(mistakes_across_files_name_both_places, make_folder,
                                        remove_folder),
        cmocka_unit_test(a_file_that_cannot_be_read_is_named),
        cmocka_unit_test_setup_teardown(a_file_above_the_limit_is_refused, make_folder,
                                        remove_folder),
        cmocka_unit_test(changes_that_need_a_restart_are_named),
        cmocka_unit_test(the_reference_shows_every_option),
        cmocka_unit_test(the_nearest_word_is_near_or_none),
        cmocka_unit_test(sizes_and_durations_carry_units),
        cmocka_unit_test(the_sink_refuses_what_its_table_cannot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
