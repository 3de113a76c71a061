/* SPDX-License-Identifier: Apache-2.0 */
/* options_write.c: a loaded configuration as a file again, for a process of ours that must have the
 * same values whatever became of the files and of the environment. */
#include <inttypes.h>
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/options.h"
#include "core/options_loaded.h"

/* In double quotes, as YAML and our variables read it back. */
static void
put_quoted(struct buffer *out, const char *text)
{
    buffer_text(out, "\"");
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7F)
            buffer_format(out, "\\x%02x", c);
        else if (c == '"' || c == '\\')
            buffer_format(out, "\\%c", c);
        else
            buffer_append(out, c == '$' ? "$$" : text, c == '$' ? 2 : 1);
    }
    buffer_text(out, "\"");
}

/* A scalar of a map, which knows whether it was quoted: 5 is a number and "5" a text. What needs
 * quotes because of a variable's value gets them. */
static void
put_pair(struct buffer *out, const struct option_pair *pair)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    buffer_text(out, "      ");
    put_quoted(out, pair->key);
    buffer_text(out, ": ");
    if (!pair->quoted && pair->value[0] != '\0' && pair->value[strspn(pair->value, plain)] == '\0')
        buffer_text(out, pair->value);
    else
        put_quoted(out, pair->value);
    buffer_text(out, "\n");
}

static void
put_texts(struct buffer *out, const struct option_texts *texts)
{
    buffer_text(out, "[");
    for (size_t i = 0; i < texts->count; i++) {
        buffer_text(out, i == 0 ? "" : ", ");
        put_quoted(out, texts->items[i]);
    }
    buffer_text(out, "]\n");
}

static void
put_map(struct buffer *out, const struct option_map *map)
{
    buffer_text(out, map->count == 0 ? "{}\n" : "\n");
    for (size_t i = 0; i < map->count; i++)
        put_pair(out, &map->items[i]);
}

/* The word of that index in "a|b|c". */
static void
put_word(struct buffer *out, const char *words, int index)
{
    for (; index > 0; index--)
        words += strcspn(words, "|") + 1;
    buffer_append(out, words, strcspn(words, "|"));
    buffer_text(out, "\n");
}

static void
put_value(struct buffer *out, const struct option *option, const char *base)
{
    const void *member = option_member_of(option, base);
    switch (option->kind) {
    case OPTION_TEXT:
        put_quoted(out, *(const char *const *)member);
        buffer_text(out, "\n");
        return;
    case OPTION_FLAG:
        buffer_text(out, *(const bool *)member ? "true\n" : "false\n");
        return;
    case OPTION_NUMBER:
        buffer_format(out, "%" PRId64 "\n", *(const int64_t *)member);
        return;
    case OPTION_SIZE:
        buffer_format(out, "%" PRIu64 "\n", *(const uint64_t *)member);
        return;
    case OPTION_DURATION:
        buffer_format(out, "%" PRIu64 "ms\n", *(const uint64_t *)member);
        return;
    case OPTION_CHOICE:
        put_word(out, option->min, *(const int *)member);
        return;
    case OPTION_TEXTS:
        put_texts(out, member);
        return;
    case OPTION_MAP:
        put_map(out, member);
        return;
    }
    ASSERT(false);
}

static void
put_struct(struct buffer *out, const struct option_section *section, const char *base,
           const char *first, const char *indent)
{
    for (size_t i = 0; i < section->option_count; i++) {
        buffer_format(out, "%s%s: ", i == 0 ? first : indent, section->options[i].key);
        put_value(out, &section->options[i], base);
    }
}

void
options_write(const struct options *options, struct buffer *out)
{
    for (size_t i = 0; i < options->schema->section_count; i++) {
        const struct option_section *section = &options->schema->sections[i];
        const char *base = options->root + section->offset;
        if (section->shape == OPTION_SHAPE_TOP) {
            put_struct(out, section, base, "", "");
            continue;
        }
        const void *count = options->root + section->count_offset;
        bool sequence = section->shape == OPTION_SHAPE_SEQUENCE;
        if ((section->shape == OPTION_SHAPE_OPTIONAL && !*(const bool *)count) ||
            (sequence && *(const size_t *)count == 0))
            continue;
        buffer_format(out, "%s:\n", section->key);
        if (!sequence) {
            put_struct(out, section, base, "  ", "  ");
            continue;
        }
        const char *elements = *(const char *const *)(const void *)base;
        for (size_t k = 0; k < *(const size_t *)count; k++)
            put_struct(out, section, elements + k * section->element_size, "  - ", "    ");
    }
}
