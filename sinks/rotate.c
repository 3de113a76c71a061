/* SPDX-License-Identifier: Apache-2.0 */
/* rotate.c: see rotate.h. */
#include "sinks/rotate.h"

#include <stdio.h>
#include <string.h>

#include "core/assert.h"
#include "core/clock.h"
#include "sinks/record.h"

#define PREFIX "{\"@timestamp\":\""
#define TIME_SIZE_MAX 64

int32_t
rotate_day(const char *value, size_t size, int64_t record_ms)
{
    int32_t record_day = record_ms < 0 ? 0 : (int32_t)(record_ms / ROTATE_DAY_MS);
    const size_t prefix = sizeof(PREFIX) - 1;
    if (size < prefix || memcmp(value, PREFIX, prefix) != 0)
        return record_day;
    size_t room = size - prefix < TIME_SIZE_MAX ? size - prefix : TIME_SIZE_MAX;
    const char *text = value + prefix;
    const char *quote = memchr(text, '"', room);
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
