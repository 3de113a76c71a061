/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c: see metrics.h. Values live twice: `live` is the data thread's alone, `shown` is what
 * pages show. A series owns consecutive slots of both: one, or for a histogram a count per bucket,
 * the count above the last, and the sum. Which series there are is written down for pages in a
 * layout, which never changes: when series came or went, the next publish makes a new one. The lock
 * guards `shown` and `layout`; both sides hold it for no longer than a copy of the values takes. */
#include "core/metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/assert.h"
#include "core/buffer.h"

#define SERIES_PER_FAMILY_MAX 10000 /* a label that runs wild must not take the memory */
#define SERIES_END UINT32_MAX
#define LABEL_ROOM 32 /* bytes that every label value has at least */

static const double default_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                        0.5,   1,      2.5,   5,    10,    30,   60};

struct series {
    uint32_t family;
    uint32_t slot;
    uint32_t next; /* of the family, in order of birth, or of its unused ones; SERIES_END */
    bool used;
    uint64_t hash; /* of the labels */
    char *labels;  /* owned, rendered: input="nginx",reason="x"; "" for none */
};

struct family_state {
    double bounds[METRIC_BUCKETS];
    uint32_t bound_count;
    uint32_t first, last; /* of its series */
    uint32_t unused;      /* series that were removed, for the next one */
    uint32_t count;
};

/* What a page has to know of the series that it shows, in its order. */
struct layout_series {
    uint32_t family;
    uint32_t slot;
    const char *labels; /* behind the array, in the same allocation */
};
struct layout {
    unsigned users; /* `struct metrics` and the pages being made; under the lock */
    size_t count;
    struct layout_series series[];
};

struct metrics {
    const struct metric_family *families;
    struct family_state *states;
    size_t family_count;
    uint64_t *live;
    size_t slot_count, slot_capacity;
    struct series *series;
    uint32_t series_count, series_capacity;
    bool changed; /* series came or went since the last publish */
    const char *program, *library_version;
    double start_seconds;

    pthread_mutex_t lock;
    uint64_t *shown;
    size_t shown_count, shown_capacity; /* the capacity is the data thread's */
    struct layout *layout;              /* NULL before the first publish */
};

static double
to_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint64_t
to_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

bool
metrics_new(struct metrics **out, const struct metric_family *families, size_t family_count,
            struct err *err)
{
    ASSERT(out != NULL);
    ASSERT(families != NULL);

    struct metrics *metrics = calloc(1, sizeof(*metrics));
    if (metrics != NULL)
        metrics->states = calloc(family_count, sizeof(*metrics->states));
    if (metrics == NULL || metrics->states == NULL) {
        free(metrics);
        return err_set(err, ERR_STOP, 0, "cannot allocate the metrics: out of memory");
    }
    metrics->families = families;
    metrics->family_count = family_count;
    for (size_t i = 0; i < family_count; i++) {
        struct family_state *state = &metrics->states[i];
        state->first = state->last = state->unused = SERIES_END;
        state->bound_count = sizeof(default_bounds) / sizeof(default_bounds[0]);
        memcpy(state->bounds, default_bounds, sizeof(default_bounds));
    }
    (void)pthread_mutex_init(&metrics->lock, NULL);
    metrics->program = "tailrace";
    metrics->library_version = "";
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    metrics->start_seconds = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    *out = metrics;
    return true;
}

void
metrics_free(struct metrics *metrics)
{
    if (metrics == NULL)
        return;
    for (uint32_t i = 0; i < metrics->series_count; i++)
        free(metrics->series[i].labels);
    free(metrics->series);
    free(metrics->live);
    free(metrics->shown);
    free(metrics->layout);
    free(metrics->states);
    (void)pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

void
metrics_about(struct metrics *metrics, const char *program, const char *library_version)
{
    metrics->program = program;
    metrics->library_version = library_version;
}

void
metrics_buckets(struct metrics *metrics, size_t family, const double *bounds, size_t count)
{
    ASSERT(family < metrics->family_count);
    ASSERT(count <= METRIC_BUCKETS);
    ASSERT(metrics->states[family].first == SERIES_END);
    ASSERT(metrics->states[family].unused == SERIES_END);
    for (size_t i = 1; i < count; i++)
        ASSERT(bounds[i - 1] < bounds[i]);

    memcpy(metrics->states[family].bounds, bounds, count * sizeof(*bounds));
    metrics->states[family].bound_count = (uint32_t)count;
}

static uint32_t
slots_of(const struct metrics *metrics, size_t family)
{
    return metrics->families[family].type == METRIC_HISTOGRAM
               ? metrics->states[family].bound_count + 2
               : 1;
}

/* Size of the UTF-8 character at `text`; 0 for bytes that are none, or a control character. */
static size_t
character_size(const char *text)
{
    unsigned char first = (unsigned char)text[0];
    if (first < 0x80)
        return (first >= 0x20 && first != 0x7F) || first == '\n' ? 1 : 0;
    size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4)
        return 0;
    for (size_t i = 1; i < size; i++)
        if (((unsigned char)text[i] & 0xC0) != 0x80)
            return 0;
    unsigned char second = (unsigned char)text[1];
    bool bad = (first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
               (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F);
    return bad ? 0 : size;
}

/* Writes a label's value, escaped and at most `room` bytes: a page with one byte that is no UTF-8
 * is refused whole, so such bytes become '?'. A value too long is cut at a character. */
static size_t
put_label_value(char *out, size_t room, const char *value)
{
    size_t size = 0;
    while (*value != '\0') {
        size_t taken = character_size(value);
        bool escaped = *value == '\\' || *value == '"' || *value == '\n';
        size_t needed = escaped ? 2 : taken > 0 ? taken : 1;
        if (size + needed > room)
            break;
        if (escaped) {
            out[size] = '\\';
            out[size + 1] = *value == '\n' ? 'n' : *value;
        } else if (taken == 0) {
            out[size] = '?';
        } else {
            memcpy(out + size, value, taken);
        }
        size += needed;
        value += taken > 0 ? taken : 1;
    }
    return size;
}

/* Renders name="value" pairs into `out`; the names behind a value keep room for some of theirs. */
static void
render_labels(const char *names, va_list values, char out[METRIC_LABELS_MAX])
{
    size_t size = 0;
    const char *name = names;
    for (const char *value; (value = va_arg(values, const char *)) != NULL;) {
        size_t name_size = strcspn(name, ",");
        ASSERT(name_size > 0); /* else more values than names */
        if (size > 0)
            out[size++] = ',';
        memcpy(out + size, name, name_size);
        memcpy(out + size + name_size, "=\"", 2);
        size += name_size + 2;
        name += name_size;
        name += *name == ',';

        size_t kept = 2; /* the closing quote and the end */
        for (const char *at = name; *at != '\0'; at += at[0] == ',') {
            size_t length = strcspn(at, ",");
            kept += length + strlen(",=\"\"") + LABEL_ROOM;
            at += length;
        }
        ASSERT(size + kept + LABEL_ROOM <= METRIC_LABELS_MAX); /* names of sane length */
        size += put_label_value(out + size, METRIC_LABELS_MAX - kept - size, value);
        out[size++] = '"';
    }
    ASSERT(*name == '\0'); /* else fewer values than names */
    out[size] = '\0';
}

/* Room for `count` more slots. */
static bool
grow_slots(struct metrics *metrics, uint32_t count)
{
    size_t needed = metrics->slot_count + count;
    if (needed <= metrics->slot_capacity)
        return true;
    size_t capacity = needed * 2 + 64;
    uint64_t *live = realloc(metrics->live, capacity * sizeof(*live));
    if (live == NULL)
        return false;
    metrics->live = live;
    metrics->slot_capacity = capacity;
    return true;
}

/* An entry of `series` with its slots, one of the family's unused ones if there is any. SERIES_END:
 * no memory. */
static uint32_t
take_entry(struct metrics *metrics, size_t family)
{
    struct family_state *state = &metrics->states[family];
    uint32_t index = state->unused;
    if (index != SERIES_END) {
        state->unused = metrics->series[index].next;
        return index;
    }
    uint32_t count = slots_of(metrics, family);
    if (!grow_slots(metrics, count))
        return SERIES_END;
    if (metrics->series_count == metrics->series_capacity) {
        uint32_t capacity = metrics->series_capacity * 2 + 32;
        struct series *series = realloc(metrics->series, capacity * sizeof(*series));
        if (series == NULL)
            return SERIES_END;
        metrics->series = series;
        metrics->series_capacity = capacity;
    }
    metrics->series[metrics->series_count] = (struct series){.slot = (uint32_t)metrics->slot_count};
    metrics->slot_count += count;
    return metrics->series_count++;
}

metric
metrics_series(struct metrics *metrics, size_t family, ...)
{
    ASSERT(family < metrics->family_count);

    char labels[METRIC_LABELS_MAX];
    va_list values;
    va_start(values, family);
    render_labels(metrics->families[family].labels, values, labels);
    va_end(values);

    struct family_state *state = &metrics->states[family];
    uint64_t hash = XXH3_64bits(labels, strlen(labels));
    for (uint32_t i = state->first; i != SERIES_END; i = metrics->series[i].next)
        if (metrics->series[i].hash == hash && strcmp(metrics->series[i].labels, labels) == 0)
            return i;
    char *copy = state->count < SERIES_PER_FAMILY_MAX ? strdup(labels) : NULL;
    uint32_t index = copy != NULL ? take_entry(metrics, family) : SERIES_END;
    if (index == SERIES_END) {
        free(copy);
        return METRIC_NONE;
    }
    struct series *series = &metrics->series[index];
    memset(metrics->live + series->slot, 0, slots_of(metrics, family) * sizeof(uint64_t));
    *series = (struct series){
        .family = (uint32_t)family,
        .slot = series->slot,
        .next = SERIES_END,
        .used = true,
        .hash = hash,
        .labels = copy,
    };
    if (state->last == SERIES_END)
        state->first = index;
    else
        metrics->series[state->last].next = index;
    state->last = index;
    state->count++;
    metrics->changed = true;
    return index;
}

void
metrics_remove(struct metrics *metrics, metric series)
{
    if (series == METRIC_NONE)
        return;
    ASSERT(series < metrics->series_count);
    ASSERT(metrics->series[series].used);

    struct series *gone = &metrics->series[series];
    struct family_state *state = &metrics->states[gone->family];
    uint32_t before = SERIES_END;
    for (uint32_t i = state->first; i != series; i = metrics->series[i].next)
        before = i;
    if (before == SERIES_END)
        state->first = gone->next;
    else
        metrics->series[before].next = gone->next;
    if (state->last == series)
        state->last = before;
    state->count--;
    free(gone->labels);
    gone->labels = NULL;
    gone->used = false;
    gone->next = state->unused;
    state->unused = series;
    metrics->changed = true;
}

/* The slots of a series, for the data thread. */
static uint64_t *
live_slots(struct metrics *metrics, metric series, enum metric_type *type)
{
    ASSERT(series < metrics->series_count);
    ASSERT(metrics->series[series].used);
    *type = metrics->families[metrics->series[series].family].type;
    return metrics->live + metrics->series[series].slot;
}

void
metrics_add(struct metrics *metrics, metric series, uint64_t delta)
{
    if (series == METRIC_NONE)
        return;
    enum metric_type type;
    uint64_t *slot = live_slots(metrics, series, &type);
    ASSERT(type != METRIC_HISTOGRAM);
    if (type == METRIC_COUNTER)
        *slot += delta;
    else
        *slot = to_bits(to_double(*slot) + (double)delta);
}

void
metrics_set(struct metrics *metrics, metric series, double value)
{
    if (series == METRIC_NONE)
        return;
    enum metric_type type;
    uint64_t *slot = live_slots(metrics, series, &type);
    ASSERT(type != METRIC_HISTOGRAM);
    if (type != METRIC_COUNTER)
        *slot = to_bits(value);
    else if (value >= 0 && value < 18446744073709551616.0) /* 2^64; NaN is neither */
        *slot = (uint64_t)value;
}

void
metrics_observe(struct metrics *metrics, metric series, double value)
{
    if (series == METRIC_NONE)
        return;
    enum metric_type type;
    uint64_t *slots = live_slots(metrics, series, &type);
    ASSERT(type == METRIC_HISTOGRAM);
    const struct family_state *state = &metrics->states[metrics->series[series].family];
    uint32_t bucket = 0;
    while (bucket < state->bound_count && value > state->bounds[bucket])
        bucket++;
    slots[bucket]++;
    slots[state->bound_count + 1] = to_bits(to_double(slots[state->bound_count + 1]) + value);
}

double
metrics_value(const struct metrics *metrics, metric series)
{
    if (series == METRIC_NONE)
        return 0;
    ASSERT(series < metrics->series_count);
    ASSERT(metrics->series[series].used);
    const struct series *entry = &metrics->series[series];
    const uint64_t *slots = metrics->live + entry->slot;
    switch (metrics->families[entry->family].type) {
    case METRIC_COUNTER:
        return (double)slots[0];
    case METRIC_GAUGE:
    case METRIC_INFO:
        return to_double(slots[0]);
    case METRIC_HISTOGRAM:
        break;
    }
    uint64_t total = 0;
    for (uint32_t i = 0; i <= metrics->states[entry->family].bound_count; i++)
        total += slots[i];
    return (double)total;
}

/* Writes down the series of now. NULL: no memory. */
static struct layout *
layout_new(const struct metrics *metrics)
{
    size_t count = 0;
    size_t text_size = 0;
    for (uint32_t i = 0; i < metrics->series_count; i++)
        if (metrics->series[i].used) {
            count++;
            text_size += strlen(metrics->series[i].labels) + 1;
        }
    size_t head_size = sizeof(struct layout) + count * sizeof(struct layout_series);
    struct layout *layout = malloc(head_size + text_size);
    if (layout == NULL)
        return NULL;
    layout->users = 1;
    layout->count = 0;
    char *text = (char *)layout + head_size;
    for (size_t family = 0; family < metrics->family_count; family++)
        for (uint32_t i = metrics->states[family].first; i != SERIES_END;
             i = metrics->series[i].next) {
            const struct series *series = &metrics->series[i];
            size_t size = strlen(series->labels) + 1;
            memcpy(text, series->labels, size);
            layout->series[layout->count++] =
                (struct layout_series){(uint32_t)family, series->slot, text};
            text += size;
        }
    ASSERT(layout->count == count);
    return layout;
}

/* The lock is held. True when it was the last user: then free it, without the lock. */
static bool
layout_leave(struct layout *layout)
{
    return layout != NULL && --layout->users == 0;
}

void
metrics_publish(struct metrics *metrics)
{
    struct layout *layout = NULL;
    uint64_t *shown = NULL;
    if (metrics->slot_count > metrics->shown_capacity) {
        shown = calloc(metrics->slot_capacity, sizeof(*shown));
        if (shown == NULL)
            return; /* pages show older values until there is memory */
    }
    if (metrics->changed) {
        layout = layout_new(metrics);
        if (layout == NULL) {
            free(shown);
            return;
        }
    }

    (void)pthread_mutex_lock(&metrics->lock);
    if (shown != NULL) {
        uint64_t *old = metrics->shown;
        metrics->shown = shown;
        metrics->shown_capacity = metrics->slot_capacity;
        shown = old;
    }
    struct layout *gone = NULL;
    if (layout != NULL) {
        gone = layout_leave(metrics->layout) ? metrics->layout : NULL;
        metrics->layout = layout;
        metrics->changed = false;
    }
    if (metrics->slot_count > 0)
        memcpy(metrics->shown, metrics->live, metrics->slot_count * sizeof(*metrics->shown));
    metrics->shown_count = metrics->slot_count;
    (void)pthread_mutex_unlock(&metrics->lock);
    free(gone);
    free(shown);
}

/* A copy of the shown values and the layout that belongs to them. False: no memory, or nothing is
 * published. */
static bool
take_page(struct metrics *metrics, struct layout **layout, uint64_t **values)
{
    size_t room = 0;
    *values = NULL;
    for (;;) {
        (void)pthread_mutex_lock(&metrics->lock);
        size_t count = metrics->shown_count;
        *layout = metrics->layout;
        bool fits = count <= room;
        if (fits && *layout != NULL)
            (*layout)->users++;
        if (fits && count > 0)
            memcpy(*values, metrics->shown, count * sizeof(**values));
        (void)pthread_mutex_unlock(&metrics->lock);
        if (fits)
            break;
        free(*values);
        *values = malloc(count * sizeof(**values));
        if (*values == NULL)
            return false;
        room = count;
    }
    return *layout != NULL;
}

/* The shortest decimal that reads back as the same number. */
static void
put_double(struct buffer *out, double value)
{
    char text[40] = "NaN";
    if (isinf(value))
        (void)snprintf(text, sizeof(text), "%cInf", value > 0 ? '+' : '-');
    for (int digits = 15; digits <= 17 && isfinite(value); digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    buffer_text(out, text);
}

/* The same for a bucket's border: "1.0", so that both forms of the page make the same series. */
static void
put_bound(struct buffer *out, double value)
{
    size_t start = out->size;
    put_double(out, value);
    if (!out->failed && strpbrk(buffer_string(out) + start, ".eIN") == NULL)
        buffer_text(out, ".0");
}

/* The unit that the name of a family ends in, for OpenMetrics; NULL for none. */
static const char *
unit_of(const char *name, size_t size)
{
    static const char *const units[] = {"seconds", "bytes"};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        size_t length = strlen(units[i]);
        if (size > length && name[size - length - 1] == '_' &&
            memcmp(name + size - length, units[i], length) == 0)
            return units[i];
    }
    return NULL;
}

static void
put_head(struct buffer *out, const char *name, const char *type, const char *help,
         enum metric_page page)
{
    bool open = page == METRIC_PAGE_OPENMETRICS;
    size_t size = strlen(name);
    /* OpenMetrics names the family of a counter without its _total. */
    if (open && strcmp(type, "counter") == 0 && size > 6 && strcmp(name + size - 6, "_total") == 0)
        size -= 6;
    buffer_format(out, "# HELP %.*s ", (int)size, name);
    for (; *help != '\0'; help++) {
        if (*help == '\\')
            buffer_text(out, "\\\\");
        else if (*help == '\n')
            buffer_text(out, "\\n");
        else if (*help == '"' && open)
            buffer_text(out, "\\\"");
        else
            buffer_append(out, help, 1);
    }
    buffer_format(out, "\n# TYPE %.*s %s\n", (int)size, name, type);
    const char *unit = open ? unit_of(name, size) : NULL;
    if (unit != NULL)
        buffer_format(out, "# UNIT %.*s %s\n", (int)size, name, unit);
}

/* name{labels} and a blank. */
static void
put_sample(struct buffer *out, const char *name, const char *suffix, const char *labels)
{
    if (labels[0] == '\0')
        buffer_format(out, "%s%s ", name, suffix);
    else
        buffer_format(out, "%s%s{%s} ", name, suffix, labels);
}

static void
put_histogram(struct buffer *out, const char *name, const struct family_state *state,
              const char *labels, const uint64_t *slots)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i <= state->bound_count; i++) {
        total += slots[i];
        buffer_format(out, "%s_bucket{%s%sle=\"", name, labels, labels[0] == '\0' ? "" : ",");
        if (i < state->bound_count)
            put_bound(out, state->bounds[i]);
        else
            buffer_text(out, "+Inf");
        buffer_format(out, "\"} %" PRIu64 "\n", total);
    }
    put_sample(out, name, "_sum", labels);
    put_double(out, to_double(slots[state->bound_count + 1]));
    buffer_text(out, "\n");
    put_sample(out, name, "_count", labels);
    buffer_format(out, "%" PRIu64 "\n", total);
}

/* The families, each with its series; one without any is left out. */
static void
put_families(const struct metrics *metrics, const struct layout *layout, const uint64_t *values,
             enum metric_page page, struct buffer *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram", "gauge"};
    for (size_t i = 0; i < layout->count; i++) {
        const struct layout_series *series = &layout->series[i];
        const struct metric_family *about = &metrics->families[series->family];
        ASSERT(values != NULL);
        const uint64_t *slots = values + series->slot;
        if (i == 0 || series->family != layout->series[i - 1].family)
            put_head(out, about->name, types[about->type], about->help, page);
        if (about->type == METRIC_HISTOGRAM) {
            put_histogram(out, about->name, &metrics->states[series->family], series->labels,
                          slots);
            continue;
        }
        put_sample(out, about->name, "", series->labels);
        if (about->type == METRIC_COUNTER)
            buffer_format(out, "%" PRIu64, *slots);
        else
            put_double(out, to_double(*slots));
        buffer_text(out, "\n");
    }
}

static void
put_process_value(struct buffer *out, const char *name, const char *type, const char *help,
                  double value, enum metric_page page)
{
    put_head(out, name, type, help, page);
    put_sample(out, name, "", "");
    put_double(out, value);
    buffer_text(out, "\n");
}

static size_t
count_open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return 0;
    size_t count = 0;
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count > 3 ? count - 3 : 0; /* ".", ".." and the folder itself */
}

/* The names of Prometheus' own client libraries. */
static void
put_process(const struct metrics *metrics, enum metric_page page, struct buffer *out)
{
    struct rusage usage = {0};
    (void)getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    long long pages = 0;
    long long resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        char line[128];
        if (fgets(line, sizeof(line), file) != NULL) {
            char *end;
            pages = strtoll(line, &end, 10);
            resident = strtoll(end, NULL, 10);
        }
        (void)fclose(file);
    }
    double page_size = (double)sysconf(_SC_PAGESIZE);
    struct rlimit files = {0};
    (void)getrlimit(RLIMIT_NOFILE, &files);

    put_process_value(out, "process_cpu_seconds_total", "counter",
                      "User and system CPU time spent, in seconds.", cpu, page);
    put_process_value(out, "process_resident_memory_bytes", "gauge", "Resident memory, in bytes.",
                      (double)resident * page_size, page);
    put_process_value(out, "process_virtual_memory_bytes", "gauge", "Virtual memory, in bytes.",
                      (double)pages * page_size, page);
    put_process_value(out, "process_open_fds", "gauge", "Open file descriptors.",
                      (double)count_open_fds(), page);
    put_process_value(out, "process_max_fds", "gauge", "Most file descriptors that may be open.",
                      (double)files.rlim_cur, page);
    put_process_value(out, "process_start_time_seconds", "gauge",
                      "Start of the process, in seconds since 1970.", metrics->start_seconds, page);
}

void
metrics_render(struct metrics *metrics, enum metric_page page, struct buffer *out)
{
    put_head(out, "tailrace_build_info", "gauge", "Versions of program and library; always 1.",
             page);
    buffer_format(out, "tailrace_build_info{program=\"%s\",version=\"%s\",librdkafka=\"%s\"} 1\n",
                  metrics->program, TAILRACE_VERSION, metrics->library_version);

    struct layout *layout = NULL;
    uint64_t *values = NULL;
    if (take_page(metrics, &layout, &values)) {
        put_families(metrics, layout, values, page, out);
        (void)pthread_mutex_lock(&metrics->lock);
        bool last = layout_leave(layout);
        (void)pthread_mutex_unlock(&metrics->lock);
        if (last)
            free(layout);
    }
    free(values);

    put_process(metrics, page, out);
    if (page == METRIC_PAGE_OPENMETRICS)
        buffer_text(out, "# EOF\n");
}
