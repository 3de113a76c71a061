/* SPDX-License-Identifier: Apache-2.0 */
/* options_reference.c: the option tables as Markdown for people, and what two loads differ in. */
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/option_value.h"
#include "core/options.h"
#include "core/options_loaded.h"

/* ---- reference ---- */

/* Text for a cell of a table: a bar would end it, and "<topic>" would vanish as HTML. */
static void
put_cell(struct buffer *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|' || *text == '<')
            buffer_text(out, "\\");
        buffer_append(out, *text == '\n' ? " " : text, 1);
    }
}

static void
put_kind(struct buffer *out, const struct option *option)
{
    switch (option->kind) {
    case OPTION_TEXT:
        buffer_text(out, "text");
        break;
    case OPTION_FLAG:
        buffer_text(out, "true or false");
        break;
    case OPTION_NUMBER:
        buffer_text(out, "number");
        break;
    case OPTION_SIZE:
        buffer_text(out, "size");
        break;
    case OPTION_DURATION:
        buffer_text(out, "duration");
        break;
    case OPTION_CHOICE:
        option_words_list(option->min, out);
        break;
    case OPTION_TEXTS:
        buffer_text(out, "list of texts");
        break;
    case OPTION_MAP:
        buffer_text(out, "mapping");
        break;
    }
}

static void
put_initial(struct buffer *out, const struct option *option)
{
    if (option->initial == NULL) {
        buffer_text(out, "must be given");
    } else if (option->initial[0] == '\0') {
        buffer_text(out, "empty");
    } else {
        buffer_text(out, "`");
        put_cell(out, option->initial);
        buffer_text(out, "`");
    }
}

static void
put_range(struct buffer *out, const struct option *option)
{
    if (option->kind == OPTION_CHOICE)
        return;
    bool least = option->min[0] != '\0';
    bool most = option->max[0] != '\0';
    if (least && most)
        buffer_format(out, "%s to %s", option->min, option->max);
    else if (least || most)
        buffer_format(out, "at %s %s", least ? "least" : "most", least ? option->min : option->max);
}

static void
put_section(struct buffer *out, const struct option_section *section)
{
    switch (section->shape) {
    case OPTION_SHAPE_TOP:
        buffer_text(out, "\n### Top level\n");
        break;
    case OPTION_SHAPE_MAPPING:
        buffer_format(out, "\n### `%s`\n", section->key);
        break;
    case OPTION_SHAPE_OPTIONAL:
        buffer_format(out, "\n### `%s` (may be left out)\n", section->key);
        break;
    case OPTION_SHAPE_SEQUENCE:
        buffer_format(out, "\n### `%s` (a list; each element has these)\n", section->key);
        break;
    }
    if (section->help != NULL && section->help[0] != '\0')
        buffer_format(out, "\n%s\n", section->help);
    if (section->option_count == 0)
        return;
    buffer_text(out, "\n| Key | Kind | Default | Range | Reload | Meaning |\n"
                     "|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < section->option_count; i++) {
        const struct option *option = &section->options[i];
        buffer_format(out, "| `%s` | ", option->key);
        put_kind(out, option);
        buffer_text(out, " | ");
        put_initial(out, option);
        buffer_text(out, " | ");
        put_range(out, option);
        buffer_format(out, " | %s | ", option->reloadable ? "yes" : "restart");
        put_cell(out, option->help);
        buffer_text(out, " |\n");
    }
}

void
options_reference(const struct options_schema *schema, struct buffer *out)
{
    ASSERT(schema != NULL);
    ASSERT(out != NULL);

    buffer_format(out, "## %s\n", schema->program);
    buffer_text(
        out,
        "\nSizes are whole numbers, of bytes or with kB, MB, GB, TB, KiB, MiB, GiB or TiB; "
        "durations with "
        "ms, s, m, h or d.\n`${NAME}` and `${NAME:-default}` in a value stand for a variable of "
        "the environment, `$$` for a dollar sign.\nThe top-level key `include` takes paths or "
        "globs of further files, relative to the file that names them.\n`yes` under Reload: a "
        "reload (SIGHUP) puts it into force; `restart`: only a new start does.\n");
    for (size_t i = 0; i < schema->section_count; i++)
        put_section(out, &schema->sections[i]);
}

/* ---- differences ---- */

bool
option_texts_equal(const struct option_texts *a, const struct option_texts *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->items[i], b->items[i]) != 0)
            return false;
    return true;
}

bool
option_maps_equal(const struct option_map *a, const struct option_map *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->items[i].key, b->items[i].key) != 0 ||
            strcmp(a->items[i].value, b->items[i].value) != 0 ||
            a->items[i].quoted != b->items[i].quoted)
            return false;
    return true;
}

static bool
values_equal(const struct option *option, const char *before, const char *after)
{
    const void *a = option_member_of(option, before);
    const void *b = option_member_of(option, after);
    switch (option->kind) {
    case OPTION_TEXT:
        return strcmp(*(const char *const *)a, *(const char *const *)b) == 0;
    case OPTION_FLAG:
        return *(const bool *)a == *(const bool *)b;
    case OPTION_NUMBER:
        return *(const int64_t *)a == *(const int64_t *)b;
    case OPTION_SIZE:
    case OPTION_DURATION:
        return *(const uint64_t *)a == *(const uint64_t *)b;
    case OPTION_CHOICE:
        return *(const int *)a == *(const int *)b;
    case OPTION_TEXTS:
        return option_texts_equal(a, b);
    case OPTION_MAP:
        return option_maps_equal(a, b);
    }
    ASSERT(false);
    return false;
}

/* Appends the names of a struct's options that differ, each behind "<section><element>.". */
static bool
compare_structs(const struct option_section *section, const char *element, const char *before,
                const char *after, struct buffer *names)
{
    bool any = false;
    for (size_t i = 0; i < section->option_count; i++) {
        const struct option *option = &section->options[i];
        if (option->reloadable || values_equal(option, before, after))
            continue;
        any = true;
        buffer_format(names, "%s%s%s%s%s", names->size > 0 ? ", " : "", section->key, element,
                      section->key[0] != '\0' ? "." : "", option->key);
    }
    return any;
}

static bool
all_reloadable(const struct option_section *section)
{
    for (size_t i = 0; i < section->option_count; i++)
        if (!section->options[i].reloadable)
            return false;
    return true;
}

struct elements {
    const char *bytes;
    size_t count;
};

static struct elements
elements_of(const struct option_section *section, const struct options *options)
{
    return (struct elements){
        *(const char *const *)(const void *)(options->root + section->offset),
        *(const size_t *)(const void *)(options->root + section->count_offset),
    };
}

static const char *
element_name(const struct option_section *section, const char *element)
{
    for (size_t i = 0; i < section->option_count; i++)
        if (strcmp(section->options[i].key, "name") == 0 && section->options[i].kind == OPTION_TEXT)
            return *(const char *const *)option_member_of(&section->options[i], element);
    return NULL;
}

/* The element that is the same one as `wanted`, which is number `index` among its own. */
static const char *
find_partner(const struct option_section *section, const char *wanted, size_t index,
             struct elements among)
{
    const char *name = element_name(section, wanted);
    if (name == NULL)
        return index < among.count ? among.bytes + index * section->element_size : NULL;
    for (size_t i = 0; i < among.count; i++) {
        const char *element = among.bytes + i * section->element_size;
        if (strcmp(element_name(section, element), name) == 0)
            return element;
    }
    return NULL;
}

static bool
compare_sequences(const struct option_section *section, struct elements before,
                  struct elements after, struct buffer *names)
{
    if (all_reloadable(section))
        return false;
    bool any = false;
    for (size_t i = 0; i < before.count + after.count; i++) {
        bool old = i < before.count;
        size_t index = old ? i : i - before.count;
        const char *mine = (old ? before : after).bytes + index * section->element_size;
        const char *partner = find_partner(section, mine, index, old ? after : before);
        const char *name = element_name(section, mine);
        struct buffer element;
        buffer_init(&element, CONFIG_FILE_MAX);
        if (name != NULL)
            buffer_format(&element, "[%s]", name);
        else
            buffer_format(&element, "[%zu]", index + 1);
        if (partner == NULL) {
            any = true;
            buffer_format(names, "%s%s%s", names->size > 0 ? ", " : "", section->key,
                          buffer_string(&element));
        } else if (old) {
            any |= compare_structs(section, buffer_string(&element), mine, partner, names);
        }
        buffer_done(&element);
    }
    return any;
}

bool
options_need_restart(const struct options *before, const struct options *after,
                     struct buffer *names)
{
    ASSERT(before->schema == after->schema);

    bool any = false;
    for (size_t i = 0; i < before->schema->section_count; i++) {
        const struct option_section *section = &before->schema->sections[i];
        if (section->shape == OPTION_SHAPE_SEQUENCE) {
            any |= compare_sequences(section, elements_of(section, before),
                                     elements_of(section, after), names);
            continue;
        }
        if (section->shape == OPTION_SHAPE_OPTIONAL && !all_reloadable(section)) {
            bool was = *(const bool *)(before->root + section->count_offset);
            bool is = *(const bool *)(after->root + section->count_offset);
            if (was != is) {
                any = true;
                buffer_format(names, "%s%s", names->size > 0 ? ", " : "", section->key);
                continue;
            }
        }
        any |= compare_structs(section, "", before->root + section->offset,
                               after->root + section->offset, names);
    }
    return any;
}
