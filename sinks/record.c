/* SPDX-License-Identifier: Apache-2.0 */
/* record.c: see record.h. */
#include "sinks/record.h"

#include <string.h>
#include <yajl/yajl_parse.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/clock.h"
#include "core/encode.h"
#include "core/event_id.h"

#define READY_PREFIX "{\"@timestamp\":\""
#define READY_PREFIX_SIZE (sizeof(READY_PREFIX) - 1)

/* Our own fields that may carry an event's time, best first. */
static const char *const time_fields[] = {"timestamp", "ts", "time"};
#define TIME_FIELD_COUNT (sizeof(time_fields) / sizeof(time_fields[0]))
#define TIME_FIELD_NONE TIME_FIELD_COUNT

/* What one pass over a value finds out. */
struct survey {
    size_t depth;
    bool is_object;
    bool is_empty;      /* "{}": nothing follows an inserted field */
    bool has_timestamp; /* "@timestamp" at the top level */
    size_t field;       /* time field whose value comes next, or TIME_FIELD_NONE */
    size_t field_found; /* best one with a value that is a time */
    int64_t field_ms;
    bool memory_short; /* nothing was found out */
};

bool
record_is_ready(const char *value, size_t value_size)
{
    return value != NULL && value_size > READY_PREFIX_SIZE &&
           memcmp(value, READY_PREFIX, READY_PREFIX_SIZE) == 0 &&
           memchr(value, '\n', value_size) == NULL;
}

/* Reads `count` digits; false when there are fewer. */
static bool
take_digits(const char **text, const char *end, int count, int *out)
{
    if (end - *text < count)
        return false;
    int value = 0;
    for (int i = 0; i < count; i++) {
        char c = (*text)[i];
        if (c < '0' || c > '9')
            return false;
        value = value * 10 + (c - '0');
    }
    *text += count;
    *out = value;
    return true;
}

static bool
take_byte(const char **text, const char *end, const char *set)
{
    if (*text == end || **text == '\0' || strchr(set, **text) == NULL)
        return false;
    (*text)++;
    return true;
}

/* Days since 1970-01-01 of a Gregorian date (Hinnant's days_from_civil). */
static int64_t
days_from_civil(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

/* "Z", "+02:00", "-0530", "+02" or nothing. */
static bool
take_zone(const char **text, const char *end, int *minutes)
{
    *minutes = 0;
    if (*text == end || take_byte(text, end, "Zz"))
        return true;
    bool negative = **text == '-';
    int hour;
    int minute = 0;
    if (!take_byte(text, end, "+-") || !take_digits(text, end, 2, &hour))
        return false;
    bool colon = take_byte(text, end, ":");
    if ((colon || *text < end) && !take_digits(text, end, 2, &minute))
        return false;
    if (hour > 23 || minute > 59)
        return false;
    *minutes = (hour * 60 + minute) * (negative ? -1 : 1);
    return true;
}

static bool
parse_iso(const char *text, const char *end, int64_t *wall_ms)
{
    int year, month, day, hour, minute, second;
    if (!take_digits(&text, end, 4, &year) || !take_byte(&text, end, "-") ||
        !take_digits(&text, end, 2, &month) || !take_byte(&text, end, "-") ||
        !take_digits(&text, end, 2, &day) || !take_byte(&text, end, "Tt ") ||
        !take_digits(&text, end, 2, &hour) || !take_byte(&text, end, ":") ||
        !take_digits(&text, end, 2, &minute) || !take_byte(&text, end, ":") ||
        !take_digits(&text, end, 2, &second))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60)
        return false;

    int milliseconds = 0;
    if (take_byte(&text, end, ".,")) {
        int scale = 100;
        if (text == end)
            return false;
        for (; text < end && *text >= '0' && *text <= '9'; text++, scale /= 10)
            milliseconds += (*text - '0') * scale;
    }
    int zone_minutes;
    if (!take_zone(&text, end, &zone_minutes) || text != end)
        return false;

    int64_t seconds =
        days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *wall_ms = (seconds - zone_minutes * 60) * 1000 + milliseconds;
    return true;
}

/* Digits since 1970; the unit follows from the size: a number of seconds stays below 1e11 until
 * the year 5138, one of milliseconds is above it since 1973. */
static bool
parse_epoch(const char *text, const char *end, int64_t *wall_ms)
{
    int64_t whole = 0;
    size_t digits = 0;
    while (text < end && *text >= '0' && *text <= '9') {
        if (++digits > 19 || whole > INT64_MAX / 10 - 1)
            return false;
        whole = whole * 10 + (*text++ - '0');
    }
    if (digits < 9)
        return false; /* before 1973: a counter or a duration, not the time of an event */
    int64_t thousandths = 0;
    if (take_byte(&text, end, ".")) {
        int64_t scale = 100;
        for (; text < end && *text >= '0' && *text <= '9'; text++, scale /= 10)
            thousandths += (*text - '0') * scale;
    }
    if (text != end)
        return false;

    if (whole < 100000000000)
        *wall_ms = whole * 1000 + thousandths;
    else if (whole < 100000000000000)
        *wall_ms = whole;
    else if (whole < 100000000000000000)
        *wall_ms = whole / 1000;
    else
        *wall_ms = whole / 1000000;
    return true;
}

bool
record_parse_time(const char *text, size_t size, int64_t *wall_ms)
{
    ASSERT(wall_ms != NULL);

    if (size > 64)
        return false;
    return parse_iso(text, text + size, wall_ms) || parse_epoch(text, text + size, wall_ms);
}

/* A value at the top level came: does it belong to a time field? */
static void
note_time(struct survey *survey, const char *text, size_t size)
{
    size_t field = survey->field;
    survey->field = TIME_FIELD_NONE;
    if (survey->depth != 1 || field >= survey->field_found)
        return;
    int64_t wall_ms;
    if (record_parse_time(text, size, &wall_ms)) {
        survey->field_found = field;
        survey->field_ms = wall_ms;
    }
}

/* yajl's callbacks: a false result ends the parse, which makes the value text. */

static int
on_scalar(struct survey *survey)
{
    survey->field = TIME_FIELD_NONE;
    return survey->depth > 0;
}

static int
on_null(void *context)
{
    return on_scalar(context);
}

static int
on_boolean(void *context, int value)
{
    (void)value;
    return on_scalar(context);
}

static int
on_number(void *context, const char *text, size_t size)
{
    note_time(context, text, size);
    return on_scalar(context);
}

static int
on_string(void *context, const unsigned char *text, size_t size)
{
    note_time(context, (const char *)text, size);
    return on_scalar(context);
}

static int
on_open(struct survey *survey, bool is_map)
{
    if (survey->depth == 0)
        survey->is_object = is_map;
    survey->field = TIME_FIELD_NONE;
    return survey->is_object && ++survey->depth <= RECORD_DEPTH_MAX;
}

static int
on_start_map(void *context)
{
    return on_open(context, true);
}

static int
on_start_array(void *context)
{
    return on_open(context, false);
}

static int
on_end(void *context)
{
    struct survey *survey = context;
    survey->depth--;
    return 1;
}

static int
on_map_key(void *context, const unsigned char *text, size_t size)
{
    struct survey *survey = context;
    survey->field = TIME_FIELD_NONE;
    if (survey->depth != 1)
        return 1;
    survey->is_empty = false;
    if (size == 10 && memcmp(text, "@timestamp", 10) == 0)
        survey->has_timestamp = true;
    for (size_t i = 0; i < TIME_FIELD_COUNT; i++)
        if (strlen(time_fields[i]) == size && memcmp(text, time_fields[i], size) == 0)
            survey->field = i;
    return 1;
}

static const yajl_callbacks survey_callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_map_key,
    .yajl_end_map = on_end,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end,
};

/* yajl lets overlong forms and surrogates pass, our encoder does not. */
static bool
is_utf8(const char *text, size_t size)
{
    char scratch[4096];
    size_t done = 0;
    while (done < size) {
        struct encode_result part = encode_json(scratch, sizeof(scratch), text + done, size - done);
        if (part.repaired)
            return false;
        done += part.taken;
    }
    return true;
}

/* True when the value is one JSON object within the depth limit. */
static bool
survey_value(struct survey *survey, const char *value, size_t size)
{
    *survey =
        (struct survey){.is_empty = true, .field = TIME_FIELD_NONE, .field_found = TIME_FIELD_NONE};
    yajl_handle parser = yajl_alloc(&survey_callbacks, NULL, survey);
    if (parser == NULL) {
        survey->memory_short = true;
        return false;
    }
    bool parsed = yajl_parse(parser, (const unsigned char *)value, size) == yajl_status_ok &&
                  yajl_complete_parse(parser) == yajl_status_ok;
    yajl_free(parser);
    return parsed && survey->is_object && survey->depth == 0;
}

/* Valid JSON holds newlines between its tokens only, where a space means the same. */
static void
append_one_line(struct buffer *out, const char *text, size_t size)
{
    char *room = buffer_reserve(out, size);
    if (room == NULL)
        return;
    for (size_t i = 0; i < size; i++)
        room[i] = text[i] == '\n' || text[i] == '\r' ? ' ' : text[i];
    out->size += size;
}

static void
append_timestamp(struct buffer *out, int64_t wall_ms)
{
    char text[CLOCK_TEXT_SIZE];
    clock_format_utc(wall_ms, text);
    buffer_text(out, READY_PREFIX);
    buffer_append(out, text, sizeof(text));
    buffer_text(out, "\"");
}

static void
append_unparsed(struct buffer *out, const char *value, size_t size, int64_t wall_ms, bool utf8)
{
    append_timestamp(out, wall_ms);
    buffer_text(out, ",\"message\":");
    encode_json_string(out, value, size);
    buffer_text(out, utf8 ? ",\"log.flags\":[\"unparsed\"]}"
                          : ",\"log.flags\":[\"invalid_utf8\",\"unparsed\"]}");
}

bool
record_convert(struct buffer *out, const char *value, size_t value_size, int64_t timestamp_ms)
{
    ASSERT(value != NULL || value_size == 0);

    if (timestamp_ms < 0)
        timestamp_ms = clock_wall_ms();
    if (value_size == 0)
        value = "";
    struct survey survey = {0};
    bool utf8 = is_utf8(value, value_size);
    bool object = utf8 && survey_value(&survey, value, value_size);
    out->failed |= survey.memory_short;
    if (!object) {
        append_unparsed(out, value, value_size, timestamp_ms, utf8);
        return false;
    }
    if (survey.has_timestamp) {
        append_one_line(out, value, value_size);
        return true;
    }
    const char *brace = memchr(value, '{', value_size);
    ASSERT(brace != NULL);
    size_t rest = value_size - (size_t)(brace + 1 - value);
    append_timestamp(out, survey.field_found < TIME_FIELD_NONE ? survey.field_ms : timestamp_ms);
    if (!survey.is_empty)
        buffer_text(out, ",");
    append_one_line(out, brace + 1, rest);
    return true;
}
