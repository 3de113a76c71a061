/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup.c: memory and processor time of the configured systemd units, from their control groups,
 * v2 or v1. Names with a slash are paths of groups. */
#include "exporters/host/cgroup.h"

#include <dirent.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "exporters/host/collectors.h"
#include "exporters/host/kept.h"
#include "exporters/page.h"

#define UNITS_MAX 1000
#define SLICES_MAX 256
#define V1_NO_LIMIT (UINT64_C(1) << 62) /* v1 writes nearly 2^63 for none */

/* What is known of a unit; the flags say which of it. */
struct unit {
    char *name, *path; /* owned; the path is relative to a hierarchy */
    bool has_memory, has_limit, has_kills, has_cpu, has_throttled, has_tasks;
    uint64_t memory, limit, kills, tasks;
    uint64_t user_us, system_us, throttled_us;
};

struct cgroup {
    const struct host_options *options;
    char *base; /* <sys>/fs/cgroup */
    struct unit *units;
    size_t count;
    char *slices[SLICES_MAX]; /* while units are looked for */
    size_t slice_count;
};

bool
cgroup_field(struct scan text, const char *key, uint64_t *out)
{
    struct scan line;
    while (scan_line(&text, &line)) {
        struct scan word;
        if (scan_word(&line, &word) && scan_equals(word, key))
            return scan_number(&line, out);
    }
    return false;
}

bool
cgroup_limit(struct scan text, uint64_t *out)
{
    return scan_number(&text, out) && *out < V1_NO_LIMIT;
}

/* Reads <base>/<hierarchy>/<path>/<file>; `kept` is the caller's to end. */
static bool
read_file(const struct cgroup *cgroup, const char *hierarchy, const struct unit *unit,
          const char *file, struct kept *kept, struct scan *out)
{
    char path[PATH_MAX];
    struct err err;
    int size = snprintf(path, sizeof(path), "%s%s%s/%s", hierarchy, hierarchy[0] != '\0' ? "/" : "",
                        unit->path, file);
    *kept = (struct kept){.fd = -1};
    return size > 0 && (size_t)size < sizeof(path) && kept_init(kept, cgroup->base, path, &err) &&
           kept_read(kept, out, &err);
}

static bool
read_number(const struct cgroup *cgroup, const char *hierarchy, const struct unit *unit,
            const char *file, uint64_t *out)
{
    struct kept kept;
    struct scan text;
    bool fine = read_file(cgroup, hierarchy, unit, file, &kept, &text) && cgroup_limit(text, out);
    kept_done(&kept);
    return fine;
}

static bool
read_field(const struct cgroup *cgroup, const char *hierarchy, const struct unit *unit,
           const char *file, const char *key, uint64_t *out)
{
    struct kept kept;
    struct scan text;
    bool fine =
        read_file(cgroup, hierarchy, unit, file, &kept, &text) && cgroup_field(text, key, out);
    kept_done(&kept);
    return fine;
}

static void
read_v2(const struct cgroup *cgroup, struct unit *unit)
{
    unit->has_memory = read_number(cgroup, "", unit, "memory.current", &unit->memory);
    unit->has_limit = read_number(cgroup, "", unit, "memory.max", &unit->limit);
    unit->has_kills = read_field(cgroup, "", unit, "memory.events", "oom_kill", &unit->kills);
    unit->has_tasks = read_number(cgroup, "", unit, "pids.current", &unit->tasks);
    unit->has_cpu = read_field(cgroup, "", unit, "cpu.stat", "user_usec", &unit->user_us) &&
                    read_field(cgroup, "", unit, "cpu.stat", "system_usec", &unit->system_us);
    unit->has_throttled =
        read_field(cgroup, "", unit, "cpu.stat", "throttled_usec", &unit->throttled_us);
}

static void
read_v1(const struct cgroup *cgroup, struct unit *unit)
{
    uint64_t ticks[2];
    uint64_t throttled_ns;
    unit->has_memory = read_number(cgroup, "memory", unit, "memory.usage_in_bytes", &unit->memory);
    unit->has_limit = read_number(cgroup, "memory", unit, "memory.limit_in_bytes", &unit->limit);
    unit->has_kills =
        read_field(cgroup, "memory", unit, "memory.oom_control", "oom_kill", &unit->kills);
    unit->has_tasks = read_number(cgroup, "pids", unit, "pids.current", &unit->tasks);
    unit->has_cpu = read_field(cgroup, "cpuacct", unit, "cpuacct.stat", "user", &ticks[0]) &&
                    read_field(cgroup, "cpuacct", unit, "cpuacct.stat", "system", &ticks[1]);
    if (unit->has_cpu) { /* USER_HZ is 100 */
        unit->user_us = ticks[0] * 10000;
        unit->system_us = ticks[1] * 10000;
    }
    unit->has_throttled =
        read_field(cgroup, "cpu", unit, "cpu.stat", "throttled_time", &throttled_ns);
    if (unit->has_throttled)
        unit->throttled_us = throttled_ns / 1000;
}

/* ---- finding units ---- */

static void
add_unit(struct cgroup *cgroup, const char *name, const char *path)
{
    for (size_t i = 0; i < cgroup->count; i++)
        if (strcmp(cgroup->units[i].path, path) == 0)
            return;
    if (cgroup->count == UNITS_MAX)
        return;
    struct unit unit = {.name = strdup(name), .path = strdup(path)};
    if (unit.name == NULL || unit.path == NULL) {
        free(unit.name);
        free(unit.path);
        return;
    }
    cgroup->units[cgroup->count++] = unit;
}

/* Whether a unit of this name is configured. */
static bool
is_configured(const struct cgroup *cgroup, const char *name)
{
    const struct option_texts *units = &cgroup->options->units;
    for (size_t i = 0; i < units->count; i++)
        if (strchr(units->items[i], '/') == NULL && fnmatch(units->items[i], name, 0) == 0)
            return true;
    return false;
}

static bool
ends_with(const char *name, const char *end)
{
    size_t size = strlen(name);
    size_t end_size = strlen(end);
    return size > end_size && strcmp(name + size - end_size, end) == 0;
}

/* Notes the units of a slice, and the slices in it for later. */
static void
look_in(struct cgroup *cgroup, const char *hierarchy, const char *slice)
{
    char path[PATH_MAX];
    int size = snprintf(path, sizeof(path), "%s/%s/%s", cgroup->base, hierarchy, slice);
    DIR *folder = size > 0 && (size_t)size < sizeof(path) ? opendir(path) : NULL;
    if (folder == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.' || (entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN))
            continue;
        size = snprintf(path, sizeof(path), "%s/%s", slice, entry->d_name);
        if (size < 0 || (size_t)size >= sizeof(path))
            continue;
        if (is_configured(cgroup, entry->d_name))
            add_unit(cgroup, entry->d_name, path);
        else if (ends_with(entry->d_name, ".slice") && cgroup->slice_count < SLICES_MAX)
            cgroup->slices[cgroup->slice_count++] = strdup(path);
    }
    (void)closedir(folder);
}

static void
forget(struct cgroup *cgroup)
{
    for (size_t i = 0; cgroup->units != NULL && i < cgroup->count; i++) {
        free(cgroup->units[i].name);
        free(cgroup->units[i].path);
    }
    cgroup->count = 0;
}

static int
by_name(const void *a, const void *b)
{
    const struct unit *left = a;
    const struct unit *right = b;
    return strcmp(left->name, right->name);
}

/* Units come and go, so they are looked for each time: a folder or two. */
static void
find_units(struct cgroup *cgroup, const char *hierarchy)
{
    const struct option_texts *units = &cgroup->options->units;
    forget(cgroup);
    for (size_t i = 0; i < units->count; i++)
        if (strchr(units->items[i], '/') != NULL)
            add_unit(cgroup, units->items[i], units->items[i]);
    cgroup->slices[0] = strdup("system.slice");
    cgroup->slice_count = 1;
    for (size_t i = 0; i < cgroup->slice_count; i++) {
        if (cgroup->slices[i] != NULL)
            look_in(cgroup, hierarchy, cgroup->slices[i]);
        free(cgroup->slices[i]);
    }
    cgroup->slice_count = 0;
    if (cgroup->count > 0)
        qsort(cgroup->units, cgroup->count, sizeof(*cgroup->units), by_name);
}

/* ---- the page ---- */

static void
put_plain(const struct cgroup *cgroup, struct page *page)
{
    static const struct {
        const char *name, *help;
        enum page_type type;
    } heads[] = {
        {"tailrace_unit_memory_bytes", "Memory of the unit's control group, page cache included.",
         PAGE_GAUGE},
        {"tailrace_unit_memory_limit_bytes", "Most memory the unit may have; none: no limit.",
         PAGE_GAUGE},
        {"tailrace_unit_oom_kills_total", "Processes of the unit that were killed for memory.",
         PAGE_COUNTER},
        {"tailrace_unit_tasks", "Threads and processes of the unit.", PAGE_GAUGE},
        {"tailrace_unit_cpu_throttled_seconds_total",
         "Time the unit had to wait because its CPU quota was used up.", PAGE_COUNTER},
    };
    for (size_t family = 0; family < sizeof(heads) / sizeof(heads[0]); family++) {
        page_family(page, heads[family].name, heads[family].type, heads[family].help);
        for (size_t i = 0; i < cgroup->count; i++) {
            const struct unit *unit = &cgroup->units[i];
            const bool has[] = {unit->has_memory, unit->has_limit, unit->has_kills, unit->has_tasks,
                                unit->has_throttled};
            const uint64_t values[] = {unit->memory, unit->limit, unit->kills, unit->tasks,
                                       unit->throttled_us};
            if (!has[family])
                continue;
            page_begin(page);
            page_label(page, "unit", unit->name);
            page_fixed(page, values[family], family == 4 ? 6 : 0);
        }
    }
}

static void
put_cpu(const struct cgroup *cgroup, struct page *page)
{
    page_family(page, "tailrace_unit_cpu_seconds_total", PAGE_COUNTER,
                "Processor time of the unit's control group.");
    for (size_t i = 0; i < cgroup->count; i++) {
        const struct unit *unit = &cgroup->units[i];
        for (int mode = 0; mode < 2 && unit->has_cpu; mode++) {
            page_begin(page);
            page_label(page, "unit", unit->name);
            page_label(page, "mode", mode == 0 ? "user" : "system");
            page_fixed(page, mode == 0 ? unit->user_us : unit->system_us, 6);
        }
    }
}

static bool
cgroup_collect(void *self, struct page *page, struct err *err)
{
    struct cgroup *cgroup = self;
    char path[PATH_MAX];
    struct stat about;
    if (cgroup->options->units.count == 0 || cgroup->options->units.items[0][0] == '\0') {
        page_absent(page, "tailrace_unit_*", "host.units names no unit");
        return true;
    }
    int size = snprintf(path, sizeof(path), "%s/cgroup.controllers", cgroup->base);
    bool v2 = size > 0 && (size_t)size < sizeof(path) && stat(path, &about) == 0;
    if (!v2 && stat(cgroup->base, &about) != 0)
        return err_set(err, ERR_REJECT, 0, "there are no control groups at '%s'", cgroup->base);
    find_units(cgroup, v2 ? "" : "memory");
    for (size_t i = 0; i < cgroup->count; i++) {
        if (v2)
            read_v2(cgroup, &cgroup->units[i]);
        else
            read_v1(cgroup, &cgroup->units[i]);
    }
    put_plain(cgroup, page);
    put_cpu(cgroup, page);
    if (cgroup->count == 0)
        page_absent(page, "tailrace_unit_*",
                    "no control group below '%s' belongs to a unit of "
                    "host.units; does it run?",
                    cgroup->base);
    return true;
}

static void
cgroup_close(void *self)
{
    struct cgroup *cgroup = self;
    if (cgroup == NULL)
        return;
    forget(cgroup);
    free(cgroup->units);
    free(cgroup->base);
    free(cgroup);
}

static bool
cgroup_open(void **out, const struct host_options *options, struct err *err)
{
    struct cgroup *cgroup = calloc(1, sizeof(*cgroup));
    if (cgroup != NULL) {
        cgroup->options = options;
        cgroup->units = calloc(UNITS_MAX, sizeof(*cgroup->units));
        if (asprintf(&cgroup->base, "%s/fs/cgroup", options->sys) < 0)
            cgroup->base = NULL;
    }
    if (cgroup == NULL || cgroup->units == NULL || cgroup->base == NULL) {
        cgroup_close(cgroup);
        return err_set(err, ERR_STOP, 0, "cannot watch control groups: out of memory");
    }
    *out = cgroup;
    return true;
}

const struct host_class host_cgroup = {"cgroup", cgroup_open, cgroup_collect, cgroup_close};
