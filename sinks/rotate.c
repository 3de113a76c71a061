/* SPDX-License-Identifier: Apache-2.0 */
/* rotate.c: see rotate.h. */
#include "sinks/rotate.h"

#include <stdio.h>
#include <string.h>

#include "core/assert.h"
#include "core/clock.h"
#include "sinks/record.h"

#define TIME_SIZE_MAX 64
/* The beginning of a document, part by part; others put blanks between them. */
static const char *const beginning[] = {"{", "\"@timestamp\"", ":", "\""};
#define BEGINNING_COUNT (sizeof(beginning) / sizeof(beginning[0]))

/* Where the time begins; NULL when the document begins with something else. */
static const char *
find_time(const char *value, const char *end)
{
    for (size_t i = 0; i < BEGINNING_COUNT; i++) {
        size_t size = strlen(beginning[i]);
        while (value < end && (*value == ' ' || *value == '\t'))
            value++;
        if ((size_t)(end - value) < size || memcmp(value, beginning[i], size) != 0)
            return NULL;
        value += size;
    }
    return value;
}

int32_t
rotate_day(const char *value, size_t size, int64_t record_ms)
{
    int32_t record_day = record_ms < 0 ? 0 : (int32_t)(record_ms / ROTATE_DAY_MS);
    const char *text = find_time(value, value + size);
    if (text == NULL)
        return record_day;
    size_t room = (size_t)(value + size - text);
    const char *quote = memchr(text, '"', room < TIME_SIZE_MAX ? room : TIME_SIZE_MAX);
    int64_t wall_ms;
    if (quote == NULL || !record_parse_time(text, (size_t)(quote - text), &wall_ms) || wall_ms < 0)
        return record_day;
    int64_t day = wall_ms / ROTATE_DAY_MS;
    return record_ms >= 0 && day > record_day + 1 ? record_day : (int32_t)day;
}

void
rotate_name(char out[ROTATE_NAME_SIZE], const char *index, int32_t day)
{
    char text[CLOCK_TEXT_SIZE];
    clock_format_utc(day * ROTATE_DAY_MS, text);
    int size =
        snprintf(out, ROTATE_NAME_SIZE, "%s-%.4s.%.2s.%.2s", index, text, text + 5, text + 8);
    ASSERT(size > 0);
    ASSERT(size < ROTATE_NAME_SIZE);
}

bool
rotate_read_name(const char *name, const char *index, int32_t *day)
{
    size_t index_size = strlen(index);
    if (strncmp(name, index, index_size) != 0 || name[index_size] != '-' ||
        strlen(name + index_size) != strlen("-2026.11.21"))
        return false;
    /* As a time of our own form, which the parser checks; a name made of it must be the same. */
    char text[] = "0000-00-00T00:00:00.000Z";
    const char *date = name + index_size + 1;
    memcpy(text, date, 4);
    memcpy(text + 5, date + 5, 2);
    memcpy(text + 8, date + 8, 2);
    int64_t wall_ms;
    if (!record_parse_time(text, sizeof(text) - 1, &wall_ms) || wall_ms < 0)
        return false;
    char again[ROTATE_NAME_SIZE];
    *day = (int32_t)(wall_ms / ROTATE_DAY_MS);
    rotate_name(again, index, *day);
    return strcmp(again, name) == 0;
}
