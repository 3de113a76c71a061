/* SPDX-License-Identifier: Apache-2.0 */
/* fields.c: see fields.h. */
#include "sinks/sqlite/fields.h"

#include <string.h>
#include <yajl/yajl_parse.h>

#include "core/assert.h"
#include "core/clock.h"

/* Bytes of one decoded field: no record of Kafka is larger than this. */
#define FIELD_SIZE_MAX ((size_t)64 * 1024 * 1024)

/* Objects inside each other in "log.file.path", and bytes of the longest name, with some room. */
#define PATH_DEPTH_MAX 3
#define PATH_SIZE_MAX 64

/* Year 9999, the last that clock_format_utc() writes. */
#define TIME_MS_MAX INT64_C(253402300799999)

static const char *const field_names[FIELD_COUNT] = {
    [FIELD_TIMESTAMP] = "@timestamp",
    [FIELD_HOST] = "host.name",
    [FIELD_FILE] = "log.file.path",
    [FIELD_MESSAGE] = "message",
};

/* Where the parser is. `path` holds the keys of the open objects, joined by dots: the key of
 * level n starts at path_starts[n]. Inside arrays and below PATH_DEPTH_MAX no field is looked
 * for. */
struct reading {
    struct fields *fields;
    size_t depth;       /* open objects and arrays */
    size_t array_depth; /* depth at which the outermost open array lies; 0: none */
    bool object;        /* the outermost value is an object */
    bool seen[FIELD_COUNT];
    size_t path_starts[PATH_DEPTH_MAX + 1];
    size_t path_size; /* above PATH_SIZE_MAX: too long to be one of ours */
    char path[PATH_SIZE_MAX];
};

static bool
scalar_wanted(const struct reading *reading)
{
    return reading->depth >= 1 && reading->depth <= PATH_DEPTH_MAX && reading->array_depth == 0 &&
           reading->path_size <= PATH_SIZE_MAX;
}

static int
take_scalar(struct reading *reading, const void *text, size_t size)
{
    if (!scalar_wanted(reading))
        return 1;
    for (size_t field = 0; field < FIELD_COUNT; field++) {
        const char *name = field_names[field];
        if (reading->seen[field] || strlen(name) != reading->path_size ||
            memcmp(name, reading->path, reading->path_size) != 0)
            continue;
        reading->seen[field] = true;
        buffer_append(&reading->fields->texts[field], text, size);
        return reading->fields->texts[field].failed ? 0 : 1;
    }
    return 1;
}

static int
on_string(void *context, const unsigned char *text, size_t size)
{
    return take_scalar(context, text, size);
}

static int
on_number(void *context, const char *text, size_t size)
{
    return take_scalar(context, text, size);
}

static int
on_boolean(void *context, int value)
{
    return take_scalar(context, value ? "true" : "false", value ? 4 : 5);
}

static int
on_null(void *context)
{
    return take_scalar(context, "", 0);
}

static int
on_key(void *context, const unsigned char *key, size_t size)
{
    struct reading *reading = context;
    if (reading->depth > PATH_DEPTH_MAX)
        return 1;

    size_t start = reading->path_starts[reading->depth];
    bool fits = start <= PATH_SIZE_MAX && size <= PATH_SIZE_MAX - start;
    if (fits)
        memcpy(reading->path + start, key, size);
    reading->path_size = fits ? start + size : PATH_SIZE_MAX + 1;
    return 1;
}

static int
on_object_start(void *context)
{
    struct reading *reading = context;
    if (reading->depth == 0)
        reading->object = true;
    reading->depth++;
    if (reading->depth > PATH_DEPTH_MAX)
        return 1;

    size_t start = 0;
    if (reading->depth > 1) {
        start = reading->path_size + 1;
        if (reading->path_size < PATH_SIZE_MAX)
            reading->path[reading->path_size] = '.';
    }
    reading->path_starts[reading->depth] = start;
    return 1;
}

static int
on_array_start(void *context)
{
    struct reading *reading = context;
    reading->depth++;
    if (reading->array_depth == 0)
        reading->array_depth = reading->depth;
    return 1;
}

static int
on_end(void *context)
{
    struct reading *reading = context;
    ASSERT(reading->depth > 0);
    if (reading->array_depth == reading->depth)
        reading->array_depth = 0;
    reading->depth--;
    return 1;
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_object_start,
    .yajl_map_key = on_key,
    .yajl_end_map = on_end,
    .yajl_start_array = on_array_start,
    .yajl_end_array = on_end,
};

void
fields_init(struct fields *fields)
{
    for (size_t field = 0; field < FIELD_COUNT; field++)
        buffer_init(&fields->texts[field], FIELD_SIZE_MAX);
}

void
fields_done(struct fields *fields)
{
    for (size_t field = 0; field < FIELD_COUNT; field++)
        buffer_done(&fields->texts[field]);
}

bool
fields_read(struct fields *fields, const char *value, size_t size, const char **reason)
{
    for (size_t field = 0; field < FIELD_COUNT; field++)
        buffer_clear(&fields->texts[field]);

    struct reading reading = {.fields = fields};
    yajl_handle handle = yajl_alloc(&callbacks, NULL, &reading);
    *reason = NULL;
    if (handle == NULL)
        return false;
    yajl_status status = yajl_parse(handle, (const unsigned char *)value, size);
    if (status == yajl_status_ok)
        status = yajl_complete_parse(handle);
    yajl_free(handle);

    if (status == yajl_status_client_canceled)
        return false;
    *reason = status == yajl_status_ok ? "not a JSON object" : "not valid JSON";
    return status == yajl_status_ok && reading.object;
}

/* A cursor over the text of a time. */
struct time_text {
    const char *at, *end;
};

/* Exactly `digits` decimal digits. */
static bool
take_digits(struct time_text *text, int digits, int *out)
{
    if (text->end - text->at < digits)
        return false;
    int number = 0;
    for (int i = 0; i < digits; i++, text->at++) {
        if (*text->at < '0' || *text->at > '9')
            return false;
        number = number * 10 + (*text->at - '0');
    }
    *out = number;
    return true;
}

static bool
take_one_of(struct time_text *text, const char *characters)
{
    if (text->at == text->end || *text->at == '\0' || strchr(characters, *text->at) == NULL)
        return false;
    text->at++;
    return true;
}

/* Days from 1970-01-01 in the Gregorian calendar; a year begins in March, so that the leap day
 * is last. */
static int64_t
days_from_civil(int year, int month, int day)
{
    int64_t y = year - (month <= 2 ? 1 : 0) + 400; /* never negative */
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 + day_of_year - 719468 - 146097;
}

static bool
take_date(struct time_text *text, int64_t *out_ms)
{
    int year = 0;
    int month = 0;
    int day = 0;
    if (!take_digits(text, 4, &year) || !take_one_of(text, "-") || !take_digits(text, 2, &month) ||
        !take_one_of(text, "-") || !take_digits(text, 2, &day))
        return false;
    *out_ms = days_from_civil(year, month, day) * INT64_C(86400000);
    return month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

/* HH:MM[:SS[.fraction]] */
static bool
take_clock(struct time_text *text, int64_t *out_ms)
{
    int hour = 0;
    int minute = 0;
    int second = 0;
    if (!take_digits(text, 2, &hour) || !take_one_of(text, ":") || !take_digits(text, 2, &minute))
        return false;
    if (take_one_of(text, ":") && !take_digits(text, 2, &second))
        return false;
    int fraction_ms = 0;
    if (take_one_of(text, ".,")) {
        int digit = 0;
        for (int unit = 100; take_digits(text, 1, &digit); unit /= 10)
            fraction_ms += digit * unit;
    }
    *out_ms = ((int64_t)hour * 3600 + (int64_t)minute * 60 + second) * 1000 + fraction_ms;
    return hour <= 24 && minute <= 59 && second <= 60;
}

/* "Z", "+02", "+02:00", "+0200", or nothing, which is UTC. */
static bool
take_zone(struct time_text *text, int64_t *out_ms)
{
    *out_ms = 0;
    if (text->at == text->end || take_one_of(text, "Zz"))
        return true;
    bool west = *text->at == '-';
    int hour = 0;
    int minute = 0;
    if (!take_one_of(text, "+-") || !take_digits(text, 2, &hour))
        return false;
    (void)take_one_of(text, ":");
    if (text->at != text->end && !take_digits(text, 2, &minute))
        return false;
    *out_ms = ((int64_t)hour * 3600 + (int64_t)minute * 60) * (west ? -1000 : 1000);
    return true;
}

static bool
count_parse(const char *text, size_t size, int64_t *out_ms)
{
    int64_t count = 0;
    if (size == 0 || size > 15)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        count = count * 10 + (text[i] - '0');
    }
    *out_ms = count;
    return true;
}

static int64_t
time_clamp(int64_t ms)
{
    return ms < 0 ? 0 : ms > TIME_MS_MAX ? TIME_MS_MAX : ms;
}

bool
fields_time_parse(const char *text, size_t size, int64_t *out_ms)
{
    int64_t ms = 0;
    if (count_parse(text, size, &ms)) {
        *out_ms = time_clamp(ms);
        return true;
    }

    struct time_text cursor = {.at = text, .end = text + size};
    int64_t clock_ms = 0;
    int64_t zone_ms = 0;
    if (!take_date(&cursor, &ms))
        return false;
    if (cursor.at != cursor.end &&
        (!take_one_of(&cursor, "Tt ") || !take_clock(&cursor, &clock_ms) ||
         !take_zone(&cursor, &zone_ms)))
        return false;
    *out_ms = time_clamp(ms + clock_ms - zone_ms);
    return cursor.at == cursor.end;
}

bool
fields_time(struct fields *fields, const char *value, size_t size, int64_t *out_ms)
{
    static const char beginning[] = "{\"@timestamp\":\"";
    size_t beginning_size = sizeof(beginning) - 1;
    if (size > beginning_size + CLOCK_TEXT_SIZE && memcmp(value, beginning, beginning_size) == 0 &&
        value[beginning_size + CLOCK_TEXT_SIZE] == '"' &&
        fields_time_parse(value + beginning_size, CLOCK_TEXT_SIZE, out_ms))
        return true;

    const char *reason;
    if (!fields_read(fields, value, size, &reason))
        return false;
    const struct buffer *text = &fields->texts[FIELD_TIMESTAMP];
    return text->size > 0 && fields_time_parse(text->bytes, text->size, out_ms);
}
