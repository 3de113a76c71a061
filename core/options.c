/* SPDX-License-Identifier: Apache-2.0 */
/* options.c: from YAML files to a program's struct; see options.h.
 * The files wait in one list: the first is the one asked for, `include` appends to its end. Each is
 * parsed into a document, which the tables walk: three levels, so there is nothing to recurse into
 * and an alias costs no more than what is copied from it, which the arena bounds. */
#include "core/options.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/option_value.h"
#include "core/options_loaded.h"

#define ARENA_SIZE_MAX ((size_t)32 << 20) /* eight times the largest file */
#define ELEMENTS_MAX 10000                /* of a list; looked through in pairs here and there */
#define PAIRS_MAX 1000                    /* of a MAP; looked through in pairs */
#define KNOWN_MAX 128                     /* keys of one mapping, for suggestions */
#define PATH_SIZE_MAX 4096                /* PATH_MAX */
#define NAME_SIZE_MAX 128                 /* "section.option" in a message */
#define READ_SIZE 65536

/* A file that is read, or waits for it. */
struct source {
    const char *path;
    struct option_place from; /* the include that named it */
    dev_t device;
    ino_t inode;
};

struct loader {
    struct options *options;
    struct source sources[CONFIG_INCLUDES_MAX + 1];
    size_t source_count;
    size_t size_total;  /* of all files read so far */
    size_t *capacities; /* per section: elements that its array has room for */
    const char *file;   /* the one being walked */
    yaml_document_t *document;
    struct err *err;
};

/* An option that is being set, for messages. */
struct target {
    const struct option *option;
    const char *section; /* "" for the top level */
    unsigned line;
};

static bool
fail_memory(struct loader *loader)
{
    if (loader->options->arena.size + CONFIG_FILE_MAX > ARENA_SIZE_MAX)
        return err_set(loader->err, ERR_CONFIG, 0, "%s:1: the configuration is too large",
                       loader->file);
    return err_set(loader->err, ERR_STOP, ENOMEM, "cannot load '%s': out of memory", loader->file);
}

/* Puts "<file>:<line>: " in front of the error that is there. */
static bool
fail_at(struct loader *loader, unsigned line)
{
    return err_wrap(loader->err, "%s:%u", loader->file, line);
}

/* The same with "'key' in 'section' ", for errors that end such a sentence. */
static bool
fail_target(struct loader *loader, const struct target *target)
{
    char inner[ERR_TEXT_MAX];
    memcpy(inner, loader->err->text, sizeof(inner));
    bool top = target->section[0] == '\0';
    return err_set(loader->err, ERR_CONFIG, 0, "%s:%u: '%s'%s%s%s %s", loader->file, target->line,
                   target->option->key, top ? "" : " in '", target->section, top ? "" : "'", inner);
}

static unsigned
line_of(const yaml_node_t *node)
{
    return (unsigned)node->start_mark.line + 1;
}

static yaml_node_t *
node_at(const struct loader *loader, int index)
{
    yaml_node_t *node = yaml_document_get_node(loader->document, index);
    ASSERT(node != NULL);
    return node;
}

static bool
node_is_null(const yaml_node_t *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp((const char *)node->data.scalar.value, words[i]) == 0)
            return true;
    return false;
}

/* The text of a key; a key is used as it stands. */
static bool
key_text(struct loader *loader, const yaml_node_t *node, const char **out)
{
    if (node->type != YAML_SCALAR_NODE) {
        (void)err_set(loader->err, ERR_CONFIG, 0, "a key must be a word, not a list or mapping");
        return fail_at(loader, line_of(node));
    }
    *out = (const char *)node->data.scalar.value;
    if (strlen(*out) != node->data.scalar.length) {
        (void)err_set(loader->err, ERR_CONFIG, 0, "a key holds a zero byte");
        return fail_at(loader, line_of(node));
    }
    return true;
}

/* ---- values ---- */

/* Expands a scalar into the arena; `shown` is what messages may print of it. */
static bool
scalar_text(struct loader *loader, const struct target *target, const yaml_node_t *node,
            const char **out, char shown[OPTION_SHOWN_SIZE])
{
    if (node->type != YAML_SCALAR_NODE) {
        (void)err_set(loader->err, ERR_CONFIG, 0, "must be one value, not a %s",
                      node->type == YAML_SEQUENCE_NODE ? "list" : "mapping");
        return fail_target(loader, target);
    }
    const char *raw = (const char *)node->data.scalar.value;
    if (strlen(raw) != node->data.scalar.length) {
        (void)err_set(loader->err, ERR_CONFIG, 0, "holds a zero byte");
        return fail_target(loader, target);
    }

    struct buffer text;
    buffer_init(&text, CONFIG_FILE_MAX);
    bool secret = false;
    bool good = option_value_expand(raw, &text, &secret, loader->err);
    char *copy = NULL;
    if (good && !text.failed)
        copy = arena_text(&loader->options->arena, buffer_string(&text), text.size);
    buffer_done(&text);
    if (!good)
        return fail_target(loader, target);
    if (copy == NULL)
        return fail_memory(loader);
    option_value_show(secret ? raw : copy, shown);
    *out = copy;
    return true;
}

/* Appends a scalar, or each of a list, to what another file may have set before. */
static bool
set_texts(struct loader *loader, const struct target *target, const yaml_node_t *node,
          struct option_texts *texts)
{
    char shown[OPTION_SHOWN_SIZE];
    bool lone = node->type != YAML_SEQUENCE_NODE;
    const yaml_node_item_t *items = lone ? NULL : node->data.sequence.items.start;
    size_t count = lone ? 1 : (size_t)(node->data.sequence.items.top - items);
    if (count + texts->count > ELEMENTS_MAX) {
        (void)err_set(loader->err, ERR_CONFIG, 0, "has more than %d values", ELEMENTS_MAX);
        return fail_target(loader, target);
    }
    const char **joined =
        arena_take(&loader->options->arena, (texts->count + count) * sizeof(*joined));
    if (joined == NULL)
        return fail_memory(loader);
    if (texts->count > 0)
        memcpy(joined, texts->items, texts->count * sizeof(*joined));
    for (size_t i = 0; i < count; i++) {
        const yaml_node_t *item = lone ? node : node_at(loader, items[i]);
        struct target here = *target;
        here.line = lone ? target->line : line_of(item);
        if (!lone && node_is_null(item)) {
            (void)err_set(loader->err, ERR_CONFIG, 0, "has an element without value");
            return fail_target(loader, &here);
        }
        if (!scalar_text(loader, &here, item, &joined[texts->count + i], shown))
            return false;
    }
    *texts = (struct option_texts){joined, texts->count + count};
    return true;
}

/* Line `index` of a MAP whose nodes begin at `first`; those before it are in `pairs` already. */
static bool
set_pair(struct loader *loader, const struct target *target, const yaml_node_pair_t *first,
         size_t index, struct option_pair *pairs)
{
    char shown[OPTION_SHOWN_SIZE];
    const yaml_node_t *key = node_at(loader, first[index].key);
    const yaml_node_t *value = node_at(loader, first[index].value);
    const char *text = NULL;
    if (!key_text(loader, key, &text))
        return false;
    struct target here = *target;
    here.line = line_of(key);
    option_value_show(text, shown);
    for (size_t i = 0; i < index; i++)
        if (strcmp(pairs[i].key, text) == 0) {
            (void)err_set(loader->err, ERR_CONFIG, 0, "has '%s' a second time; line %u has it too",
                          shown, pairs[i].place.line);
            return fail_target(loader, &here);
        }
    if (node_is_null(value) || value->type != YAML_SCALAR_NODE) {
        (void)err_set(loader->err, ERR_CONFIG, 0, "must give '%s' one value, not %s", shown,
                      node_is_null(value) ? "none" : "a list or mapping");
        return fail_target(loader, &here);
    }
    struct option_pair *pair = &pairs[index];
    pair->key = arena_text(&loader->options->arena, text, strlen(text));
    if (pair->key == NULL)
        return fail_memory(loader);
    pair->place = (struct option_place){loader->file, here.line};
    pair->quoted = value->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return scalar_text(loader, &here, value, &pair->value, shown);
}

static bool
set_map(struct loader *loader, const struct target *target, const yaml_node_t *node,
        struct option_map *map)
{
    if (node->type != YAML_MAPPING_NODE) {
        (void)err_set(loader->err, ERR_CONFIG, 0, "must be a mapping, as {name: value}");
        return fail_target(loader, target);
    }
    const yaml_node_pair_t *first = node->data.mapping.pairs.start;
    size_t count = (size_t)(node->data.mapping.pairs.top - first);
    if (count > PAIRS_MAX) {
        (void)err_set(loader->err, ERR_CONFIG, 0, "has more than %d keys", PAIRS_MAX);
        return fail_target(loader, target);
    }
    struct option_pair *pairs = arena_take(&loader->options->arena, count * sizeof(*pairs));
    if (pairs == NULL)
        return fail_memory(loader);
    for (size_t i = 0; i < count; i++)
        if (!set_pair(loader, target, first, i, pairs))
            return false;
    *map = (struct option_map){pairs, count};
    return true;
}

static bool
set_scalar(struct loader *loader, const struct target *target, const yaml_node_t *node,
           void *member)
{
    char shown[OPTION_SHOWN_SIZE];
    const char *text = NULL;
    if (!scalar_text(loader, target, node, &text, shown))
        return false;
    if (target->option->kind == OPTION_TEXT) {
        *(const char **)member = text;
        return true;
    }
    return option_value_read(target->option, text, shown, member, loader->err) ||
           fail_target(loader, target);
}

/* Sets one option. `place` is where it was set before, line 0 for nowhere, and is written. */
static bool
set_option(struct loader *loader, const struct target *target, const yaml_node_t *node,
           void *member, struct option_place *place)
{
    enum option_kind kind = target->option->kind;
    bool first = place->line == 0;
    bool joins = kind == OPTION_TEXTS && place->file != loader->file;
    if (!first && !joins) {
        (void)err_set(loader->err, ERR_CONFIG, 0,
                      "is set a second time; it is set at %s:%u already", place->file, place->line);
        return fail_target(loader, target);
    }
    bool many = kind == OPTION_TEXTS || kind == OPTION_MAP;
    if (node_is_null(node) && !many) {
        (void)err_set(loader->err, ERR_CONFIG, 0,
                      "has no value; leave the key out for its default, or write \"\"");
        return fail_target(loader, target);
    }
    if (node_is_null(node))
        return true; /* as for a section: nothing but defaults */
    *place = (struct option_place){loader->file, target->line};

    if (kind == OPTION_TEXTS) {
        struct option_texts *texts = member;
        if (first)
            texts->count = 0; /* away with the default */
        return set_texts(loader, target, node, texts);
    }
    if (kind == OPTION_MAP)
        return set_map(loader, target, node, member);
    return set_scalar(loader, target, node, member);
}

/* ---- keys and sections ---- */

static const struct option *
find_option(const struct option_section *section, const char *key)
{
    for (size_t i = 0; i < section->option_count; i++)
        if (strcmp(section->options[i].key, key) == 0)
            return &section->options[i];
    return NULL;
}

/* A section other than `here` that has this key: people forget to indent. */
static const char *
home_of_key(const struct options_schema *schema, const struct option_section *here, const char *key)
{
    for (size_t i = 0; i < schema->section_count; i++)
        if (&schema->sections[i] != here && find_option(&schema->sections[i], key) != NULL)
            return schema->sections[i].key;
    return NULL;
}

static bool
fail_unknown(struct loader *loader, const struct option_section *section, const char *key,
             unsigned line)
{
    const struct options_schema *schema = loader->options->schema;
    const char *known[KNOWN_MAX];
    size_t count = 0;
    bool top = section->shape == OPTION_SHAPE_TOP;
    if (top)
        known[count++] = "include";
    for (size_t i = 0; i < section->option_count && count < KNOWN_MAX; i++)
        known[count++] = section->options[i].key;
    for (size_t i = 0; top && i < schema->section_count && count < KNOWN_MAX; i++)
        if (schema->sections[i].shape != OPTION_SHAPE_TOP)
            known[count++] = schema->sections[i].key;

    char shown[OPTION_SHOWN_SIZE];
    option_value_show(key, shown);
    const char *near = option_nearest(key, known, count);
    const char *home = home_of_key(schema, section, key);
    struct err inner;
    (void)err_set(&inner, ERR_CONFIG, 0, "unknown key '%s'%s%s%s", shown,
                  top ? " at the top level" : " in '", section->key, top ? "" : "'");
    if (near != NULL)
        (void)err_set(loader->err, ERR_CONFIG, 0, "%.300s; did you mean '%s'?", inner.text, near);
    else if (home == NULL)
        *loader->err = inner;
    else if (home[0] != '\0')
        (void)err_set(loader->err, ERR_CONFIG, 0, "%.300s; it belongs below '%s'", inner.text,
                      home);
    else
        (void)err_set(loader->err, ERR_CONFIG, 0, "%.300s; it belongs at the top level",
                      inner.text);
    return fail_at(loader, line);
}

/* Fills a struct from a mapping. `places` has one entry per option of the section. */
static bool
fill_struct(struct loader *loader, const struct option_section *section, const yaml_node_t *node,
            char *base, struct option_place *places)
{
    ASSERT(node->type == YAML_MAPPING_NODE);

    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = node_at(loader, pair->key);
        const char *text = NULL;
        if (!key_text(loader, key, &text))
            return false;
        const struct option *option = find_option(section, text);
        if (option == NULL)
            return fail_unknown(loader, section, text, line_of(key));
        struct target target = {option, section->key, line_of(key)};
        if (!set_option(loader, &target, node_at(loader, pair->value), option_member(option, base),
                        &places[option - section->options]))
            return false;
    }
    return true;
}

static bool
fill_defaults(struct loader *loader, const struct option_section *section, char *base)
{
    for (size_t i = 0; i < section->option_count; i++) {
        const struct option *option = &section->options[i];
        void *member = option_member(option, base);
        bool empty = option->initial == NULL || option->initial[0] == '\0';
        if (option->kind == OPTION_TEXT) {
            *(const char **)member = empty ? "" : option->initial;
        } else if (option->kind == OPTION_TEXTS && !empty) {
            const char **item = arena_take(&loader->options->arena, sizeof(*item));
            if (item == NULL)
                return fail_memory(loader);
            *item = option->initial;
            *(struct option_texts *)member = (struct option_texts){item, 1};
        } else if (option->initial != NULL && option->kind != OPTION_TEXTS &&
                   option->kind != OPTION_MAP) {
            struct err err;
            bool sound = option_value_read(option, option->initial, option->initial, member, &err);
            ASSERT(sound);
        }
    }
    return true;
}

static bool
check_required(struct loader *loader, const struct option_section *section,
               const struct option_place *places, const char *file, unsigned line)
{
    for (size_t i = 0; i < section->option_count; i++) {
        const char *key = section->options[i].key;
        if (section->options[i].initial != NULL || places[i].line != 0)
            continue;
        if (section->shape == OPTION_SHAPE_TOP)
            return err_set(loader->err, ERR_CONFIG, 0, "%s:%u: '%s' must be given", file, line,
                           key);
        return err_set(
            loader->err, ERR_CONFIG, 0, "%s:%u: %s'%s' lacks '%s', which must be given", file, line,
            section->shape == OPTION_SHAPE_SEQUENCE ? "this element of " : "", section->key, key);
    }
    return true;
}

/* Room for one more element; the array moves when it grows, which nobody minds before the end. */
static bool
grow_elements(struct loader *loader, size_t index, char **array, size_t count)
{
    const struct option_section *section = &loader->options->schema->sections[index];
    if (count < loader->capacities[index])
        return true;
    size_t capacity = count == 0 ? 8 : count * 2;
    char *grown = arena_take(&loader->options->arena, capacity * section->element_size);
    if (grown == NULL)
        return fail_memory(loader);
    if (count > 0)
        memcpy(grown, *array, count * section->element_size);
    *array = grown;
    loader->capacities[index] = capacity;
    return true;
}

static bool
fill_element(struct loader *loader, size_t index, const yaml_node_t *node)
{
    struct options *options = loader->options;
    const struct option_section *section = &options->schema->sections[index];
    if (node->type != YAML_MAPPING_NODE) {
        (void)err_set(loader->err, ERR_CONFIG, 0, "each element of '%s' must be a mapping",
                      section->key);
        return fail_at(loader, line_of(node));
    }
    char **array = (char **)(void *)(options->root + section->offset);
    size_t *count = (size_t *)(void *)(options->root + section->count_offset);
    if (*count >= ELEMENTS_MAX) {
        (void)err_set(loader->err, ERR_CONFIG, 0, "'%s' has more than %d elements", section->key,
                      ELEMENTS_MAX);
        return fail_at(loader, line_of(node));
    }
    if (!grow_elements(loader, index, array, *count))
        return false;

    char *element = *array + *count * section->element_size;
    struct option_place *places = options->settings[index].places;
    memset(places, 0, section->option_count * sizeof(*places)); /* they are of one element */
    if (section->place_offset != SIZE_MAX)
        *(struct option_place *)(void *)(element + section->place_offset) =
            (struct option_place){loader->file, line_of(node)};
    if (!fill_defaults(loader, section, element) ||
        !fill_struct(loader, section, node, element, places) ||
        !check_required(loader, section, places, loader->file, line_of(node)))
        return false;
    *count += 1;
    return true;
}

static bool
fill_section(struct loader *loader, size_t index, const yaml_node_t *node, unsigned line)
{
    struct options *options = loader->options;
    const struct option_section *section = &options->schema->sections[index];
    struct option_place *place = &options->sections[index];
    if (place->line != 0 && place->file == loader->file) {
        (void)err_set(loader->err, ERR_CONFIG, 0,
                      "'%s' is there a second time; it begins in line %u", section->key,
                      place->line);
        return fail_at(loader, line);
    }
    *place = (struct option_place){loader->file, line};
    if (section->shape == OPTION_SHAPE_OPTIONAL)
        *(bool *)(options->root + section->count_offset) = true;
    if (node_is_null(node))
        return true;

    if (section->shape != OPTION_SHAPE_SEQUENCE) {
        if (node->type == YAML_MAPPING_NODE)
            return fill_struct(loader, section, node, options->root + section->offset,
                               options->settings[index].places);
        (void)err_set(loader->err, ERR_CONFIG, 0, "'%s' must be a mapping, one 'key: value' a line",
                      section->key);
        return fail_at(loader, line);
    }
    if (node->type != YAML_SEQUENCE_NODE) {
        (void)err_set(loader->err, ERR_CONFIG, 0,
                      "'%s' must be a list; begin each element with '- '", section->key);
        return fail_at(loader, line);
    }
    for (const yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++)
        if (!fill_element(loader, index, node_at(loader, *item)))
            return false;
    return true;
}

/* ---- includes ---- */

static bool
add_source(struct loader *loader, const char *path, unsigned line)
{
    if (loader->source_count > CONFIG_INCLUDES_MAX) {
        (void)err_set(loader->err, ERR_CONFIG, 0, "more than %d files are included",
                      CONFIG_INCLUDES_MAX);
        return fail_at(loader, line);
    }
    char *copy = arena_text(&loader->options->arena, path, strlen(path));
    if (copy == NULL)
        return fail_memory(loader);
    loader->sources[loader->source_count++] =
        (struct source){.path = copy, .from = {loader->file, line}};
    return true;
}

/* `pattern` as seen from the folder of the file that names it; that folder's own name is no glob.
 * */
static bool
join_pattern(const char *file, const char *pattern, bool escape, struct buffer *out)
{
    buffer_init(out, PATH_SIZE_MAX);
    const char *slash = strrchr(file, '/');
    if (pattern[0] != '/' && slash != NULL)
        for (const char *at = file; at <= slash; at++) {
            if (escape && strchr("*?[]\\", *at) != NULL)
                buffer_text(out, "\\");
            buffer_append(out, at, 1);
        }
    buffer_text(out, pattern);
    (void)buffer_string(out);
    return !out->failed && pattern[0] != '\0';
}

static bool
include_one(struct loader *loader, const char *pattern, unsigned line)
{
    bool magic = strpbrk(pattern, "*?[") != NULL;
    struct buffer path;
    bool good = join_pattern(loader->file, pattern, magic, &path);
    if (!good) {
        (void)err_set(loader->err, ERR_CONFIG, 0, "'include' names no file");
        (void)fail_at(loader, line);
    } else if (!magic) {
        good = add_source(loader, path.bytes, line);
    } else {
        glob_t found = {0};
        int result = glob(path.bytes, 0, NULL, &found); /* sorted; no match is no error */
        if (result != 0 && result != GLOB_NOMATCH) {
            (void)err_set(loader->err, ERR_CONFIG, errno, "cannot look for '%.300s'", path.bytes);
            good = fail_at(loader, line);
        }
        for (size_t i = 0; good && i < found.gl_pathc; i++)
            good = add_source(loader, found.gl_pathv[i], line);
        globfree(&found);
    }
    buffer_done(&path);
    return good;
}

static bool
add_includes(struct loader *loader, const yaml_node_t *node, unsigned line)
{
    static const struct option include = {.key = "include", .kind = OPTION_TEXTS};
    struct option_texts paths = {0};
    struct target target = {&include, "", line};
    if (node_is_null(node))
        return true;
    if (!set_texts(loader, &target, node, &paths))
        return false;
    for (size_t i = 0; i < paths.count; i++)
        if (!include_one(loader, paths.items[i], line))
            return false;
    return true;
}

/* ---- files ---- */

/* Index of the section with this key ("": the top level's), or the section count. */
static size_t
find_section(const struct options_schema *schema, const char *key)
{
    size_t index = 0;
    while (index < schema->section_count && strcmp(schema->sections[index].key, key) != 0)
        index++;
    return index;
}

/* One key of a file's top level: a section, an option or `include`. */
static bool
walk_key(struct loader *loader, const yaml_node_t *key, const yaml_node_t *value,
         unsigned *include_line)
{
    static const struct option_section no_top = {.key = "", .shape = OPTION_SHAPE_TOP};
    struct options *options = loader->options;
    const struct options_schema *schema = options->schema;
    const char *text = NULL;
    if (!key_text(loader, key, &text))
        return false;
    size_t index = text[0] != '\0' ? find_section(schema, text) : schema->section_count;
    if (index < schema->section_count)
        return fill_section(loader, index, value, line_of(key));

    if (strcmp(text, "include") == 0) {
        if (*include_line != 0) {
            (void)err_set(loader->err, ERR_CONFIG, 0,
                          "'include' is there a second time; line %u has it too", *include_line);
            return fail_at(loader, line_of(key));
        }
        *include_line = line_of(key);
        return add_includes(loader, value, line_of(key));
    }
    size_t top = find_section(schema, "");
    const struct option_section *section =
        top < schema->section_count ? &schema->sections[top] : &no_top;
    const struct option *option = find_option(section, text);
    if (option == NULL)
        return fail_unknown(loader, section, text, line_of(key));
    struct target target = {option, "", line_of(key)};
    return set_option(loader, &target, value,
                      option_member(option, options->root + section->offset),
                      &options->settings[top].places[option - section->options]);
}

static bool
walk_document(struct loader *loader)
{
    const yaml_node_t *root = yaml_document_get_root_node(loader->document);
    if (root == NULL || node_is_null(root))
        return true;
    if (root->type != YAML_MAPPING_NODE) {
        (void)err_set(loader->err, ERR_CONFIG, 0,
                      "the file must be a mapping, with 'key: value' at its top level");
        return fail_at(loader, line_of(root));
    }
    unsigned include_line = 0;
    for (const yaml_node_pair_t *pair = root->data.mapping.pairs.start;
         pair < root->data.mapping.pairs.top; pair++)
        if (!walk_key(loader, node_at(loader, pair->key), node_at(loader, pair->value),
                      &include_line))
            return false;
    return true;
}

/* What libyaml did not like, with the line that it means. */
static bool
fail_yaml(struct loader *loader, const yaml_parser_t *parser, const char *text, size_t size)
{
    const char *problem = parser->problem != NULL ? parser->problem : "no YAML";
    const char *context = parser->context != NULL ? parser->context : "";
    size_t line = parser->problem_mark.line + 1;
    size_t at = parser->problem_mark.index;
    if (parser->error == YAML_MEMORY_ERROR)
        return fail_memory(loader);
    if (parser->error == YAML_READER_ERROR) {
        size_t end = parser->problem_offset < size ? parser->problem_offset : size;
        line = 1;
        for (size_t i = 0; i < end; i++)
            line += text[i] == '\n';
        (void)err_set(loader->err, ERR_CONFIG, 0, "the file is not text in UTF-8: %s", problem);
        return fail_at(loader, (unsigned)line);
    }

    /* Marks count characters, not bytes, so a tab is recognised behind ASCII only. */
    bool tab = parser->error == YAML_SCANNER_ERROR && at < size && text[at] == '\t';
    if (tab)
        (void)err_set(loader->err, ERR_CONFIG, 0, "a tab where only blanks may indent");
    else if (context[0] != '\0' && parser->context_mark.line + 1 != line)
        (void)err_set(loader->err, ERR_CONFIG, 0, "not YAML: %s, %s that begins in line %zu",
                      problem, context, parser->context_mark.line + 1);
    else
        (void)err_set(loader->err, ERR_CONFIG, 0, "not YAML: %s%s%s", problem,
                      context[0] != '\0' ? ", " : "", context);
    return fail_at(loader, (unsigned)line);
}

static bool
refuse_second_document(struct loader *loader, yaml_parser_t *parser, const char *text, size_t size)
{
    yaml_document_t second;
    if (!yaml_parser_load(parser, &second))
        return fail_yaml(loader, parser, text, size);
    bool there = yaml_document_get_root_node(&second) != NULL;
    if (there) {
        (void)err_set(loader->err, ERR_CONFIG, 0,
                      "a second YAML document begins here; one file is one document");
        (void)fail_at(loader, (unsigned)second.start_mark.line + 1);
    }
    yaml_document_delete(&second);
    return !there;
}

static bool
walk_text(struct loader *loader, const char *text, size_t size)
{
    yaml_parser_t parser;
    yaml_document_t document;
    if (!yaml_parser_initialize(&parser))
        return fail_memory(loader);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    bool good = yaml_parser_load(&parser, &document) != 0;
    if (!good) {
        (void)fail_yaml(loader, &parser, text, size);
    } else {
        bool whole = yaml_document_get_root_node(&document) == NULL ||
                     refuse_second_document(loader, &parser, text, size);
        loader->document = &document;
        good = whole && walk_document(loader);
        loader->document = NULL;
        yaml_document_delete(&document);
    }
    yaml_parser_delete(&parser);
    return good;
}

/* Reads a file whole; "cannot read 'x': …" without a place. */
static bool
read_source(struct loader *loader, struct source *source, struct buffer *out)
{
    struct err *err = loader->err;
    int fd = open(source->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        int number = errno;
        if (fd >= 0)
            (void)close(fd);
        return err_errno(err, ERR_CONFIG, number, "read '%.300s'", source->path);
    }
    source->device = info.st_dev;
    source->inode = info.st_ino;

    ssize_t got = 0;
    char *into = NULL;
    do {
        into = buffer_reserve(out, READ_SIZE);
        got = into != NULL ? read(fd, into, READ_SIZE) : 0;
        if (got > 0)
            out->size += (size_t)got;
    } while (got > 0 || (got < 0 && errno == EINTR));
    int number = errno;
    (void)close(fd);
    if (got < 0)
        return err_errno(err, ERR_CONFIG, number, "read '%.300s'", source->path);
    loader->size_total += out->size;
    if (into == NULL || loader->size_total > CONFIG_FILE_MAX)
        return err_set(err, ERR_CONFIG, 0,
                       "cannot read '%.300s': the files are larger than %d MiB, or memory is short",
                       source->path, CONFIG_FILE_MAX >> 20);
    return true;
}

static bool
walk_source(struct loader *loader, size_t index)
{
    struct source *source = &loader->sources[index];
    struct buffer text;
    buffer_init(&text, CONFIG_FILE_MAX + READ_SIZE);
    loader->file = source->path;
    bool good = read_source(loader, source, &text);
    for (size_t i = 0; good && i < index; i++)
        if (loader->sources[i].inode == source->inode &&
            loader->sources[i].device == source->device)
            good = err_set(loader->err, ERR_CONFIG, 0, "'%.200s' is included a second time",
                           source->path);
    if (!good && source->from.line != 0)
        (void)err_wrap(loader->err, "%s:%u", source->from.file, source->from.line);
    good = good && walk_text(loader, buffer_string(&text), text.size);
    buffer_done(&text);
    return good;
}

/* ---- the whole ---- */

static bool
begin(struct loader *loader, const char *name)
{
    struct options *options = loader->options;
    const struct options_schema *schema = options->schema;
    struct arena *arena = &options->arena;
    options->root = arena_take(arena, schema->size);
    options->sections = arena_take(arena, schema->section_count * sizeof(*options->sections));
    options->settings = arena_take(arena, schema->section_count * sizeof(*options->settings));
    loader->capacities = arena_take(arena, schema->section_count * sizeof(*loader->capacities));
    options->name = arena_text(arena, name, strlen(name));
    if (options->root == NULL || options->sections == NULL || options->settings == NULL ||
        loader->capacities == NULL || options->name == NULL)
        return fail_memory(loader);
    loader->sources[loader->source_count++] = (struct source){.path = options->name};
    loader->file = options->name;

    for (size_t i = 0; i < schema->section_count; i++) {
        const struct option_section *section = &schema->sections[i];
        options->settings[i].places =
            arena_take(arena, section->option_count * sizeof(struct option_place));
        if (options->settings[i].places == NULL)
            return fail_memory(loader);
        if (section->shape != OPTION_SHAPE_SEQUENCE &&
            !fill_defaults(loader, section, options->root + section->offset))
            return false;
    }
    return true;
}

static bool
finish(struct loader *loader)
{
    struct options *options = loader->options;
    for (size_t i = 0; i < options->schema->section_count; i++) {
        const struct option_section *section = &options->schema->sections[i];
        const struct option_place *place = &options->sections[i];
        bool named = place->line != 0;
        if (section->shape == OPTION_SHAPE_SEQUENCE ||
            (section->shape == OPTION_SHAPE_OPTIONAL && !named))
            continue;
        if (!check_required(loader, section, options->settings[i].places,
                            named ? place->file : options->name, named ? place->line : 1))
            return false;
    }
    return true;
}

/* `text` NULL: read the file `name`. */
static bool
load(struct options **out, const struct options_schema *schema, const char *name, const char *text,
     size_t size, struct err *err)
{
    ASSERT(schema != NULL);
    ASSERT(name != NULL);

    struct options *options = calloc(1, sizeof(*options));
    struct loader *loader = calloc(1, sizeof(*loader));
    if (options == NULL || loader == NULL) {
        free(options);
        free(loader);
        return err_set(err, ERR_STOP, ENOMEM, "cannot load '%s': out of memory", name);
    }
    options->schema = schema;
    arena_init(&options->arena, ARENA_SIZE_MAX);
    *loader = (struct loader){.options = options, .file = name, .err = err};

    bool good = begin(loader, name);
    if (good && size > CONFIG_FILE_MAX)
        good = err_set(err, ERR_CONFIG, 0, "%s:1: the configuration is larger than %d MiB", name,
                       CONFIG_FILE_MAX >> 20);
    if (text != NULL)
        good = good && walk_text(loader, text, size);
    for (size_t next = text != NULL ? 1 : 0; good && next < loader->source_count; next++)
        good = walk_source(loader, next);
    good = good && finish(loader);
    free(loader);
    if (!good) {
        options_free(options);
        return false;
    }
    *out = options;
    return true;
}

bool
options_load(struct options **out, const struct options_schema *schema, const char *path,
             struct err *err)
{
    return load(out, schema, path, NULL, 0, err);
}

bool
options_parse(struct options **out, const struct options_schema *schema, const char *name,
              const char *text, size_t size, struct err *err)
{
    ASSERT(text != NULL);
    return load(out, schema, name, text, size, err);
}

void
options_free(struct options *options)
{
    if (options == NULL)
        return;
    arena_done(&options->arena);
    free(options);
}

const void *
options_root(const struct options *options)
{
    return options->root;
}

/* Where the file set the option; line 0 when none did. */
static struct option_place
setting_place(const struct options *options, size_t section, const char *key)
{
    const struct options_schema *schema = options->schema;
    if (section >= schema->section_count ||
        schema->sections[section].shape == OPTION_SHAPE_SEQUENCE)
        return (struct option_place){0};
    const struct option *option = find_option(&schema->sections[section], key);
    if (option == NULL)
        return (struct option_place){0};
    return options->settings[section].places[option - schema->sections[section].options];
}

struct option_place
options_place(const struct options *options, const char *section, const char *key)
{
    size_t index = find_section(options->schema, section);
    struct option_place place = setting_place(options, index, key);
    if (place.line == 0 && index < options->schema->section_count)
        place = options->sections[index];
    return place.line != 0 ? place : (struct option_place){options->name, 1};
}

bool
options_locate(const struct options *options, struct err *err)
{
    const struct options_schema *schema = options->schema;
    char name[NAME_SIZE_MAX];
    size_t size = strspn(err->text, "abcdefghijklmnopqrstuvwxyz_.");
    if (err->action != ERR_CONFIG || size == 0 || size >= sizeof(name))
        return false;
    memcpy(name, err->text, size);
    name[size] = '\0';
    char *dot = strchr(name, '.');
    if (dot != NULL)
        *dot = '\0';
    size_t section = find_section(schema, name);
    size_t top = find_section(schema, "");
    struct option_place place;
    if (section < schema->section_count)
        place = options_place(options, name, dot == NULL ? "" : dot + 1);
    else if (dot == NULL && top < schema->section_count &&
             find_option(&schema->sections[top], name) != NULL)
        place = options_place(options, "", name);
    else
        return false;
    return err_wrap(err, "%s:%u", place.file, place.line);
}
