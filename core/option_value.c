/* SPDX-License-Identifier: Apache-2.0 */
/* option_value.c: see option_value.h, and options.h for the public part. */
#include "core/option_value.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/options.h"

#define NEAREST_SIZE_MAX 64   /* no key or verb of ours is as long */
#define VARIABLE_SIZE_MAX 128 /* of an environment variable's name */
#define CHOICE_TEXT_MAX 256   /* all words of one choice */

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"", 1},
    {"B", 1},
    {"kB", 1000},
    {"KB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", 1000000000000},
    {"KiB", (uint64_t)1 << 10},
    {"MiB", (uint64_t)1 << 20},
    {"GiB", (uint64_t)1 << 30},
    {"TiB", (uint64_t)1 << 40},
};

static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};

/* Digits, perhaps a blank, a unit of the table; nothing else and no overflow. */
static bool
read_with_unit(const char *text, const struct unit *units, size_t count, uint64_t *out)
{
    uint64_t number = 0;
    const char *at = text;
    for (; isdigit((unsigned char)*at); at++)
        if (__builtin_mul_overflow(number, (uint64_t)10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
            return false;
    if (at == text)
        return false;
    if (*at == ' ')
        at++;
    for (size_t i = 0; i < count; i++)
        if (strcmp(at, units[i].name) == 0)
            return !__builtin_mul_overflow(number, units[i].factor, out);
    return false;
}

static bool
read_size(const char *text, uint64_t *out)
{
    return read_with_unit(text, size_units, sizeof(size_units) / sizeof(size_units[0]), out);
}

static bool
read_duration(const char *text, uint64_t *out)
{
    if (strcmp(text, "0") == 0) {
        *out = 0;
        return true;
    }
    return read_with_unit(text, duration_units, sizeof(duration_units) / sizeof(duration_units[0]),
                          out);
}

static bool
read_number(const char *text, int64_t *out)
{
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    *out = number;
    return errno == 0 && end != text && *end == '\0' && !isspace((unsigned char)text[0]);
}

static const char size_advice[] = "is no size: write a whole number and a unit, as 64KiB or 5MB";
static const char duration_advice[] =
    "is no duration: write a whole number and one of ms, s, m, h, d, as 500ms or 5s";

bool
option_parse_size(const char *text, uint64_t *out, struct err *err)
{
    char shown[OPTION_SHOWN_SIZE];
    if (read_size(text, out))
        return true;
    option_value_show(text, shown);
    return err_set(err, ERR_CONFIG, 0, "'%s' %s", shown, size_advice);
}

bool
option_parse_duration(const char *text, uint64_t *out_ms, struct err *err)
{
    char shown[OPTION_SHOWN_SIZE];
    if (read_duration(text, out_ms))
        return true;
    option_value_show(text, shown);
    return err_set(err, ERR_CONFIG, 0, "'%s' %s", shown, duration_advice);
}

/* Where the word of this size is in "a|b|c", or -1. */
static int
word_index(const char *words, const char *word, size_t size)
{
    int index = 0;
    for (const char *at = words;; index++) {
        size_t length = strcspn(at, "|");
        if (length == size && memcmp(at, word, size) == 0)
            return index;
        if (at[length] == '\0')
            return -1;
        at += length + 1;
    }
}

void
option_words_list(const char *words, struct buffer *out)
{
    for (const char *at = words;;) {
        size_t length = strcspn(at, "|");
        buffer_append(out, at, length);
        if (at[length] == '\0')
            return;
        at += length + 1;
        buffer_text(out, strchr(at, '|') != NULL ? ", " : " or ");
    }
}

static bool
fail_choice(const struct option *option, const char *text, const char *shown, struct err *err)
{
    char copy[CHOICE_TEXT_MAX];
    const char *words[CHOICE_TEXT_MAX / 2];
    size_t count = 0;
    ASSERT(strlen(option->min) < sizeof(copy));

    memcpy(copy, option->min, strlen(option->min) + 1);
    char *save = NULL;
    for (char *word = strtok_r(copy, "|", &save); word != NULL; word = strtok_r(NULL, "|", &save))
        words[count++] = word;
    const char *near = strcmp(text, shown) == 0 ? option_nearest(text, words, count) : NULL;

    struct buffer list;
    buffer_init(&list, CHOICE_TEXT_MAX * 2);
    option_words_list(option->min, &list);
    (void)err_set(err, ERR_CONFIG, 0, "is '%s', which is none of %s%s%s%s", shown,
                  buffer_string(&list), near != NULL ? "; did you mean '" : "",
                  near != NULL ? near : "", near != NULL ? "'?" : "");
    buffer_done(&list);
    return false;
}

static bool
fail_range(const struct option *option, const char *shown, struct err *err)
{
    if (option->min[0] == '\0')
        return err_set(err, ERR_CONFIG, 0, "is '%s', above its most, %s", shown, option->max);
    if (option->max[0] == '\0')
        return err_set(err, ERR_CONFIG, 0, "is '%s', below its least, %s", shown, option->min);
    return err_set(err, ERR_CONFIG, 0, "is '%s', not within %s and %s", shown, option->min,
                   option->max);
}

static bool
read_amount(const struct option *option, const char *text, const char *shown, uint64_t *out,
            struct err *err)
{
    bool (*read)(const char *, uint64_t *) =
        option->kind == OPTION_SIZE ? read_size : read_duration;
    const char *advice = option->kind == OPTION_SIZE ? size_advice : duration_advice;
    uint64_t value = 0;
    uint64_t least = 0;
    uint64_t most = UINT64_MAX;
    if (!read(text, &value))
        return err_set(err, ERR_CONFIG, 0, "is '%s', which %s", shown, advice);
    bool sound = (option->min[0] == '\0' || read(option->min, &least)) &&
                 (option->max[0] == '\0' || read(option->max, &most));
    ASSERT(sound);
    if (value < least || value > most)
        return fail_range(option, shown, err);
    *out = value;
    return true;
}

static bool
read_whole(const struct option *option, const char *text, const char *shown, int64_t *out,
           struct err *err)
{
    int64_t value = 0;
    int64_t least = INT64_MIN;
    int64_t most = INT64_MAX;
    if (!read_number(text, &value))
        return err_set(err, ERR_CONFIG, 0, "is '%s', which is no whole number", shown);
    bool sound = (option->min[0] == '\0' || read_number(option->min, &least)) &&
                 (option->max[0] == '\0' || read_number(option->max, &most));
    ASSERT(sound);
    if (value < least || value > most)
        return fail_range(option, shown, err);
    *out = value;
    return true;
}

bool
option_value_read(const struct option *option, const char *text, const char *shown, void *member,
                  struct err *err)
{
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)member = strcmp(text, "true") == 0;
        if (!*(bool *)member && strcmp(text, "false") != 0)
            return err_set(err, ERR_CONFIG, 0, "is '%s', which is neither true nor false", shown);
        return true;
    case OPTION_NUMBER:
        return read_whole(option, text, shown, member, err);
    case OPTION_SIZE:
    case OPTION_DURATION:
        return read_amount(option, text, shown, member, err);
    case OPTION_CHOICE:
        *(int *)member = word_index(option->min, text, strlen(text));
        return *(int *)member >= 0 || fail_choice(option, text, shown, err);
    case OPTION_TEXT:
    case OPTION_TEXTS:
    case OPTION_MAP:
        break;
    }
    ASSERT(false);
    return false;
}

void
option_value_show(const char *text, char out[OPTION_SHOWN_SIZE])
{
    const size_t room = OPTION_SHOWN_SIZE - 4; /* for the ellipsis and the end */
    size_t size = strlen(text);
    size_t cut = size < room ? size : room;
    if (cut < size)
        while (cut > 0 && ((unsigned char)text[cut] & 0xC0) == 0x80)
            cut--;
    for (size_t i = 0; i < cut; i++)
        out[i] = iscntrl((unsigned char)text[i]) ? '?' : text[i];
    memcpy(out + cut, cut < size ? "..." : "", cut < size ? 4 : 1);
}

/* Names that people give to what nobody should read. */
static bool
name_is_secret(const char *name)
{
    static const char *const words[] = {"PASS", "SECRET", "TOKEN", "KEY", "CREDENTIAL"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcasestr(name, words[i]) != NULL)
            return true;
    return false;
}

/* Replaces the "${…}" at `text`; `*size` is how long that was. */
static bool
expand_variable(const char *text, size_t *size, struct buffer *out, bool *secret, struct err *err)
{
    const char *name = text + 2;
    size_t length = 0;
    while (isalnum((unsigned char)name[length]) || name[length] == '_')
        length++;
    const char *after = name + length;
    const char *end = strchr(after, '}');
    if (end == NULL)
        return err_set(err, ERR_CONFIG, 0,
                       "has a '${' without its '}'; write $$ for a dollar sign");
    bool has_default = after[0] == ':' && after[1] == '-';
    if (length == 0 || length > VARIABLE_SIZE_MAX || isdigit((unsigned char)name[0]) ||
        (after != end && !has_default))
        return err_set(err, ERR_CONFIG, 0,
                       "has a '${' that is neither ${NAME} nor ${NAME:-default}; write $$ for a "
                       "dollar sign");
    const char *initial = has_default ? after + 2 : NULL;
    if (initial != NULL && memmem(initial, (size_t)(end - initial), "${", 2) != NULL)
        return err_set(err, ERR_CONFIG, 0, "has a '${' within the default of another");

    char variable[VARIABLE_SIZE_MAX + 1] = {0};
    memcpy(variable, name, length);
    const char *value = getenv(variable);
    if (value == NULL && initial == NULL)
        return err_set(err, ERR_CONFIG, 0,
                       "needs the environment variable '%s', which is not set; ${%s:-default} "
                       "would do without",
                       variable, variable);
    if (value != NULL && (value[0] != '\0' || initial == NULL)) {
        buffer_text(out, value);
        *secret |= name_is_secret(variable);
    } else {
        buffer_append(out, initial, (size_t)(end - initial));
    }
    *size = (size_t)(end + 1 - text);
    return true;
}

bool
option_value_expand(const char *text, struct buffer *out, bool *secret, struct err *err)
{
    while (*text != '\0') {
        size_t plain = strcspn(text, "$");
        size_t size = plain > 0 ? plain : 1;
        if (plain > 0 || (text[1] != '{' && text[1] != '$')) {
            buffer_append(out, text, size);
        } else if (text[1] == '$') {
            buffer_text(out, "$");
            size = 2;
        } else if (!expand_variable(text, &size, out, secret, err)) {
            return false;
        }
        text += size;
    }
    return true;
}

static size_t
least_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits from one word to the other: a letter more, less, another, or two swapped. */
static size_t
word_distance(const char *a, size_t a_size, const char *b, size_t b_size)
{
    size_t rows[3][NEAREST_SIZE_MAX + 1];
    size_t *before = rows[0];
    size_t *above = rows[1];
    size_t *row = rows[2];
    for (size_t k = 0; k <= b_size; k++)
        before[k] = above[k] = k;
    for (size_t i = 1; i <= a_size; i++) {
        row[0] = i;
        for (size_t k = 1; k <= b_size; k++) {
            int letter = tolower((unsigned char)a[i - 1]);
            int other = tolower((unsigned char)b[k - 1]);
            row[k] = least_of(above[k - 1] + (letter != other), least_of(above[k], row[k - 1]) + 1);
            if (i > 1 && k > 1 && letter == tolower((unsigned char)b[k - 2]) &&
                other == tolower((unsigned char)a[i - 2]))
                row[k] = least_of(row[k], before[k - 2] + 1);
        }
        size_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[b_size];
}

const char *
option_nearest(const char *word, const char *const *words, size_t count)
{
    const char *nearest = NULL;
    size_t size = strlen(word);
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < count && size <= NEAREST_SIZE_MAX; i++) {
        size_t other = strlen(words[i]);
        if (other > NEAREST_SIZE_MAX)
            continue;
        size_t longer = size > other ? size : other;
        size_t most = longer > 4 ? (longer + 1) / 3 : 1; /* one slip in three letters */
        size_t distance = word_distance(word, size, words[i], other);
        if (distance <= most && distance < longer && distance < least) {
            least = distance;
            nearest = words[i];
        }
    }
    return nearest;
}
