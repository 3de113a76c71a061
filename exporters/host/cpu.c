/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.c: processor time from /proc/stat, and throttling from /sys/devices/system/cpu.
 * The kernel's idle and iowait times run backwards a little now and then, and a counter that falls
 * looks like a reset to Prometheus: what was shown stays until the kernel is past it. A processor
 * that was taken away and came back begins anew. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "exporters/host/collectors.h"
#include "exporters/host/cpu.h"
#include "exporters/host/kept.h"
#include "exporters/page.h"

#define CPUS_MAX 65536      /* numbers of processors that are believed */
#define JUMP_BACK_TICKS 300 /* idle time lost by this much: the processor is another one */
#define LINE_MAX_SIZE 64

static const char *const mode_names[CPU_MODES] = {
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "user", "nice",
};

/* Takes what is not lower than what was shown. */
static void
merge(struct cpu_times *shown, const struct cpu_times *now)
{
    uint64_t idle = shown->ticks[CPU_IDLE];
    if (!shown->present ||
        (idle > now->ticks[CPU_IDLE] && idle - now->ticks[CPU_IDLE] >= JUMP_BACK_TICKS)) {
        *shown = *now;
        return;
    }
    shown->present = true;
    for (size_t i = 0; i < CPU_MODES; i++)
        if (now->ticks[i] > shown->ticks[i])
            shown->ticks[i] = now->ticks[i];
}

static bool
grow(struct cpu_table *table, size_t count)
{
    if (count <= table->count)
        return true;
    struct cpu_times *cpus = realloc(table->cpus, count * sizeof(*cpus));
    if (cpus == NULL)
        return false;
    memset(cpus + table->count, 0, (count - table->count) * sizeof(*cpus));
    table->cpus = cpus;
    table->count = count;
    return true;
}

bool
cpu_read(struct scan text, struct cpu_table *table, struct err *err)
{
    struct scan line;
    size_t found = 0;
    for (size_t i = 0; i < table->count; i++)
        table->cpus[i].seen = false;
    while (scan_line(&text, &line)) {
        struct scan word;
        uint64_t id;
        if (!scan_word(&line, &word) || !scan_begins(word, "cpu"))
            break; /* the processors come first */
        scan_skip(&word, 3);
        if (!scan_is_number(word, 10, &id) || id >= CPUS_MAX)
            continue; /* the sum of all */
        struct cpu_times now = {.present = true, .seen = true};
        size_t mode = 0; /* an old kernel has fewer, a new one may have more */
        while (mode < CPU_MODES && scan_number(&line, &now.ticks[mode]))
            mode++;
        if (mode <= CPU_IDLE)
            return err_set(err, ERR_RETRY, 0, "/proc/stat has a processor without times");
        if (!grow(table, (size_t)id + 1))
            return err_set(err, ERR_RETRY, 0, "cannot note %zu processors: out of memory",
                           (size_t)id + 1);
        merge(&table->cpus[id], &now);
        table->cpus[id].seen = true;
        found++;
    }
    for (size_t i = 0; i < table->count; i++)
        table->cpus[i].present = table->cpus[i].present && table->cpus[i].seen;
    return found > 0 || err_set(err, ERR_RETRY, 0, "/proc/stat names no processor");
}

static void
put_modes(struct page *page, const struct cpu_table *table, size_t first, size_t end)
{
    char id[24];
    for (size_t i = 0; i < table->count; i++) {
        if (!table->cpus[i].present)
            continue;
        int size = snprintf(id, sizeof(id), "%zu", i);
        ASSERT(size > 0);
        for (size_t mode = first; mode < end; mode++) {
            page_begin(page);
            page_label_size(page, "cpu", id, (size_t)size);
            page_label(page, "mode", mode_names[mode]);
            page_fixed(page, table->cpus[i].ticks[mode], 2); /* USER_HZ is 100 everywhere */
        }
    }
}

void
cpu_put(const struct cpu_table *table, struct page *page)
{
    page_family(page, "node_cpu_seconds_total", PAGE_COUNTER,
                "Seconds the CPUs spent in each mode.");
    put_modes(page, table, 0, CPU_GUEST);
    page_family(page, "node_cpu_guest_seconds_total", PAGE_COUNTER,
                "Seconds the CPUs spent in guests (VMs) for each mode.");
    put_modes(page, table, CPU_GUEST, CPU_MODES);
}

/* ---- throttling ---- */

/* A counter of one core, or of one package (`core` is then SIZE_MAX). */
struct throttle {
    size_t package, core;
    struct kept file;
};

struct cpu {
    char *sys;
    struct kept stat;
    struct cpu_table table;
    size_t looked_count; /* processors when the counters were looked for */
    struct throttle *throttles;
    size_t throttle_count;
};

/* The number in <sys>/devices/system/cpu/cpu<id>/<name>. */
static bool
read_number(const char *sys, size_t id, const char *name, size_t *out)
{
    char path[LINE_MAX_SIZE + 32];
    struct kept file;
    struct err err;
    struct scan text;
    uint64_t number = 0;
    int size = snprintf(path, sizeof(path), "devices/system/cpu/cpu%zu/%s", id, name);
    if (size < 0 || (size_t)size >= sizeof(path) || !kept_init(&file, sys, path, &err))
        return false;
    bool fine = kept_read(&file, &text, &err) && scan_number(&text, &number);
    kept_done(&file);
    *out = (size_t)number;
    return fine;
}

/* Adds the counter of cpu `id`, if no other processor has shown it and it is there. */
static void
add_throttle(struct cpu *cpu, size_t id, size_t package, size_t core)
{
    char path[LINE_MAX_SIZE + 64];
    struct err err;
    struct scan text;
    for (size_t i = 0; i < cpu->throttle_count; i++)
        if (cpu->throttles[i].package == package && cpu->throttles[i].core == core)
            return;
    struct throttle *throttles =
        realloc(cpu->throttles, (cpu->throttle_count + 1) * sizeof(*throttles));
    if (throttles == NULL)
        return;
    cpu->throttles = throttles;
    struct throttle *throttle = &throttles[cpu->throttle_count];
    *throttle = (struct throttle){.package = package, .core = core};
    int size = snprintf(path, sizeof(path), "devices/system/cpu/cpu%zu/thermal_throttle/%s", id,
                        core == SIZE_MAX ? "package_throttle_count" : "core_throttle_count");
    if (size < 0 || (size_t)size >= sizeof(path) ||
        !kept_init(&throttle->file, cpu->sys, path, &err))
        return;
    if (kept_read(&throttle->file, &text, &err))
        cpu->throttle_count++;
    else
        kept_done(&throttle->file);
}

/* Which processors share a core does not change while none comes or goes. */
static void
look_for_throttles(struct cpu *cpu)
{
    for (size_t i = 0; i < cpu->throttle_count; i++)
        kept_done(&cpu->throttles[i].file);
    cpu->throttle_count = 0;
    cpu->looked_count = cpu->table.count;
    for (size_t id = 0; id < cpu->table.count; id++) {
        size_t package;
        size_t core;
        if (!read_number(cpu->sys, id, "topology/physical_package_id", &package) ||
            !read_number(cpu->sys, id, "topology/core_id", &core))
            continue;
        add_throttle(cpu, id, package, core);
        add_throttle(cpu, id, package, SIZE_MAX);
    }
}

static void
put_throttles(struct cpu *cpu, struct page *page, bool packages)
{
    const char *name =
        packages ? "node_cpu_package_throttles_total" : "node_cpu_core_throttles_total";
    bool any = false;
    page_family(page, name, PAGE_COUNTER,
                packages ? "Number of times this CPU package has been throttled."
                         : "Number of times this CPU core has been throttled.");
    for (size_t i = 0; i < cpu->throttle_count; i++) {
        struct throttle *throttle = &cpu->throttles[i];
        char text[24];
        struct scan scan;
        struct err err;
        uint64_t count;
        if ((throttle->core == SIZE_MAX) != packages || !kept_read(&throttle->file, &scan, &err) ||
            !scan_number(&scan, &count))
            continue;
        page_begin(page);
        (void)snprintf(text, sizeof(text), "%zu", throttle->package);
        page_label(page, "package", text);
        if (!packages) {
            (void)snprintf(text, sizeof(text), "%zu", throttle->core);
            page_label(page, "core", text);
        }
        page_uint(page, count);
        any = true;
    }
    if (!any)
        page_absent(page, name, "the processors have no thermal_throttle in /sys (as in a VM)");
}

static bool
cpu_collect(void *self, struct page *page, struct err *err)
{
    struct cpu *cpu = self;
    struct scan text;
    if (!kept_read(&cpu->stat, &text, err) || !cpu_read(text, &cpu->table, err))
        return false;
    cpu_put(&cpu->table, page);
    if (cpu->looked_count != cpu->table.count)
        look_for_throttles(cpu);
    put_throttles(cpu, page, false);
    put_throttles(cpu, page, true);
    return true;
}

static void
cpu_close(void *self)
{
    struct cpu *cpu = self;
    if (cpu == NULL)
        return;
    kept_done(&cpu->stat);
    for (size_t i = 0; i < cpu->throttle_count; i++)
        kept_done(&cpu->throttles[i].file);
    free(cpu->throttles);
    free(cpu->table.cpus);
    free(cpu->sys);
    free(cpu);
}

static bool
cpu_open(void **out, const struct host_options *options, struct err *err)
{
    struct cpu *cpu = calloc(1, sizeof(*cpu));
    if (cpu != NULL)
        cpu->sys = strdup(options->sys);
    if (cpu == NULL || cpu->sys == NULL) {
        free(cpu);
        return err_set(err, ERR_STOP, 0, "cannot watch the processors: out of memory");
    }
    if (!kept_init(&cpu->stat, options->proc, "stat", err)) {
        cpu_close(cpu);
        return false;
    }
    *out = cpu;
    return true;
}

const struct host_class host_cpu = {"cpu", cpu_open, cpu_collect, cpu_close};
