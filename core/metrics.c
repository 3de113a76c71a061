/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c: see metrics.h. Values live twice: `live` is the data thread's alone, `shown` is what pages
 * show. A series owns consecutive slots of both: one, or for a histogram a count per bucket, the count
 * above the last, and the sum. The lock guards `shown` and the table of series; the data thread takes it
 * to publish and to add, a page while it copies. */
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

#include "core/assert.h"
#include "core/buffer.h"

#define SERIES_PER_FAMILY_MAX 10000 /* a label that runs wild must not take the memory */
#define SERIES_END UINT32_MAX

static const double default_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                        0.5,   1,      2.5,   5,    10,    30,   60};

struct series {
    uint32_t family;
    uint32_t slot;
    uint32_t next; /* of the family, in order of birth; SERIES_END */
    bool used;
    char *labels; /* owned, rendered: input="nginx",reason="x"; "" for none */
};

struct family_state {
    double bounds[METRIC_BUCKETS];
    uint32_t bound_count;
    uint32_t first, last; /* of its series */
    uint32_t count;
};

struct metrics {
    const struct metric_family *families;
    struct family_state *states;
    size_t family_count;
    uint64_t *live;
    uint64_t *shown;
    size_t slot_count, slot_capacity;
    struct series *series;
    uint32_t series_count, series_capacity;
    const char *program, *library_version;
    double start_seconds;
    pthread_mutex_t lock;
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
        state->first = state->last = SERIES_END;
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
    ASSERT(metrics->states[family].count == 0);

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

/* Renders name="value" pairs into `out`; a text that is too long is cut at a character. */
static void
render_labels(const char *names, va_list values, char out[METRIC_LABELS_MAX])
{
    size_t size = 0;
    const char *name = names;
    for (const char *value; (value = va_arg(values, const char *)) != NULL;) {
        size_t name_size = strcspn(name, ",");
        ASSERT(name_size > 0); /* more values than names */
        int written = snprintf(out + size, METRIC_LABELS_MAX - size, "%s%.*s=\"", size > 0 ? "," : "",
                               (int)name_size, name);
        ASSERT(written > 0 && size + (size_t)written < METRIC_LABELS_MAX - 4);
        size += (size_t)written;
        size_t room = (METRIC_LABELS_MAX - 4) / METRIC_LABELS + size;
        for (; *value != '\0' && size < room && size < METRIC_LABELS_MAX - 4; value++) {
            if (*value == '\\' || *value == '"' || *value == '\n')
                out[size++] = '\\';
            out[size++] = *value == '\n' ? 'n' : *value;
        }
        while (*value != '\0' && size > 0 && ((unsigned char)*value & 0xC0) == 0x80)
            value--, size--; /* the cut stands inside a character */
        out[size++] = '"';
        name += name_size + (name[name_size] == ',');
    }
    ASSERT(*name == '\0'); /* fewer values than names */
    out[size] = '\0';
}

/* Room for `count` more slots, zeroed; the lock is held. */
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
    uint64_t *shown = realloc(metrics->shown, capacity * sizeof(*shown));
    if (shown == NULL)
        return false;
    metrics->shown = shown;
    metrics->slot_capacity = capacity;
    return true;
}

/* An unused entry of `series` with its slots; the lock is held. SERIES_END: no memory. */
static uint32_t
take_entry(struct metrics *metrics, size_t family)
{
    uint32_t count = slots_of(metrics, family);
    for (uint32_t i = 0; i < metrics->series_count; i++) {
        struct series *old = &metrics->series[i];
        if (!old->used && slots_of(metrics, old->family) == count)
            return i;
    }
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

static uint32_t
add_series(struct metrics *metrics, size_t family, char *labels)
{
    struct family_state *state = &metrics->states[family];
    uint32_t index = state->count < SERIES_PER_FAMILY_MAX ? take_entry(metrics, family) : SERIES_END;
    if (index == SERIES_END) {
        free(labels);
        return METRIC_NONE;
    }
    struct series *series = &metrics->series[index];
    uint32_t slots = slots_of(metrics, family);
    memset(metrics->live + series->slot, 0, slots * sizeof(uint64_t));
    memset(metrics->shown + series->slot, 0, slots * sizeof(uint64_t));
    *series = (struct series){
        .family = (uint32_t)family,
        .slot = series->slot,
        .next = SERIES_END,
        .used = true,
        .labels = labels,
    };
    if (state->last == SERIES_END)
        state->first = index;
    else
        metrics->series[state->last].next = index;
    state->last = index;
    state->count++;
    return index;
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

    for (uint32_t i = metrics->states[family].first; i != SERIES_END; i = metrics->series[i].next)
        if (strcmp(metrics->series[i].labels, labels) == 0)
            return i;
    char *copy = strdup(labels);
    if (copy == NULL)
        return METRIC_NONE;
    (void)pthread_mutex_lock(&metrics->lock);
    metric added = add_series(metrics, family, copy);
    (void)pthread_mutex_unlock(&metrics->lock);
    return added;
}

void
metrics_remove(struct metrics *metrics, metric series)
{
    if (series == METRIC_NONE)
        return;
    ASSERT(series < metrics->series_count && metrics->series[series].used);

    (void)pthread_mutex_lock(&metrics->lock);
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
    (void)pthread_mutex_unlock(&metrics->lock);
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
    *slot = type == METRIC_COUNTER ? (uint64_t)value : to_bits(value);
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
    const struct series *entry = &metrics->series[series];
    uint64_t raw = metrics->live[entry->slot];
    return metrics->families[entry->family].type == METRIC_COUNTER ? (double)raw : to_double(raw);
}

void
metrics_publish(struct metrics *metrics)
{
    (void)pthread_mutex_lock(&metrics->lock);
    if (metrics->slot_count > 0)
        memcpy(metrics->shown, metrics->live, metrics->slot_count * sizeof(*metrics->shown));
    (void)pthread_mutex_unlock(&metrics->lock);
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

static void
put_head(struct buffer *out, const char *name, const char *type, const char *help,
         enum metric_page page)
{
    size_t size = strlen(name);
    /* OpenMetrics names the family of a counter without its _total. */
    if (page == METRIC_PAGE_OPENMETRICS && strcmp(type, "counter") == 0 && size > 6 &&
        strcmp(name + size - 6, "_total") == 0)
        size -= 6;
    buffer_format(out, "# HELP %.*s ", (int)size, name);
    for (; *help != '\0'; help++) {
        if (*help == '\\')
            buffer_text(out, "\\\\");
        else if (*help == '"' && page == METRIC_PAGE_OPENMETRICS)
            buffer_text(out, "\\\"");
        else
            buffer_append(out, help, 1);
    }
    buffer_format(out, "\n# TYPE %.*s %s\n", (int)size, name, type);
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
            put_double(out, state->bounds[i]);
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

/* The lock is held. A family without series is left out. */
static void
put_family(struct metrics *metrics, size_t family, enum metric_page page, struct buffer *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram", "gauge"};
    const struct metric_family *about = &metrics->families[family];
    const struct family_state *state = &metrics->states[family];
    if (state->first == SERIES_END)
        return;
    put_head(out, about->name, types[about->type], about->help, page);
    for (uint32_t i = state->first; i != SERIES_END; i = metrics->series[i].next) {
        const struct series *series = &metrics->series[i];
        const uint64_t *slots = metrics->shown + series->slot;
        if (about->type == METRIC_HISTOGRAM) {
            put_histogram(out, about->name, state, series->labels, slots);
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
    put_head(out, "tailrace_build_info", "gauge", "Versions of program and library; always 1.", page);
    buffer_format(out, "tailrace_build_info{program=\"%s\",version=\"%s\",librdkafka=\"%s\"} 1\n",
                  metrics->program, TAILRACE_VERSION, metrics->library_version);

    (void)pthread_mutex_lock(&metrics->lock);
    for (size_t i = 0; i < metrics->family_count; i++)
        put_family(metrics, i, page, out);
    (void)pthread_mutex_unlock(&metrics->lock);

    put_process(metrics, page, out);
    if (page == METRIC_PAGE_OPENMETRICS)
        buffer_text(out, "# EOF\n");
}
