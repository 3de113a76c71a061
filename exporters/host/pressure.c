/* SPDX-License-Identifier: Apache-2.0 */
/* pressure.c: time lost for want of processors, memory and disks, from /proc/pressure. */
#include "exporters/host/collectors.h"
#include "exporters/host/several.h"
#include "exporters/page.h"

/* The total, in microseconds, of the line that begins with this word. */
static bool
read_total(struct scan text, const char *kind, uint64_t *out)
{
    struct scan line;
    while (scan_line(&text, &line)) {
        struct scan word;
        if (!scan_word(&line, &word) || !scan_equals(word, kind))
            continue;
        while (scan_word(&line, &word))
            if (scan_begins(word, "total=")) {
                scan_skip(&word, 6);
                return scan_is_number(word, 10, out);
            }
    }
    return false;
}

static bool
put(struct scan text, const char *kind, struct page *page, const char *name, const char *help,
    struct err *err)
{
    uint64_t microseconds;
    if (!read_total(text, kind, &microseconds))
        return err_set(err, ERR_RETRY, 0, "/proc/pressure has no total of '%s'", kind);
    page_family(page, name, PAGE_COUNTER, help);
    page_begin(page);
    page_fixed(page, microseconds, 6);
    return true;
}

bool
pressure_parse_cpu(struct scan text, struct page *page, struct err *err)
{
    return put(text, "some", page, "node_pressure_cpu_waiting_seconds_total",
               "Total time in seconds that processes have waited for CPU time", err);
}

bool
pressure_parse_io(struct scan text, struct page *page, struct err *err)
{
    return put(text, "some", page, "node_pressure_io_waiting_seconds_total",
               "Total time in seconds that processes have waited due to IO congestion", err) &&
           put(text, "full", page, "node_pressure_io_stalled_seconds_total",
               "Total time in seconds no process could make progress due to IO congestion", err);
}

bool
pressure_parse_memory(struct scan text, struct page *page, struct err *err)
{
    return put(text, "some", page, "node_pressure_memory_waiting_seconds_total",
               "Total time in seconds that processes have waited for memory", err) &&
           put(text, "full", page, "node_pressure_memory_stalled_seconds_total",
               "Total time in seconds no process could make progress due to memory congestion",
               err);
}

bool
pressure_parse_irq(struct scan text, struct page *page, struct err *err)
{
    return put(text, "full", page, "node_pressure_irq_stalled_seconds_total",
               "Total time in seconds no process could make progress due to IRQ congestion", err);
}

static bool
pressure_open(void **out, const struct host_options *options, struct err *err)
{
    static const struct several_file files[] = {
        {"pressure/cpu", pressure_parse_cpu, "node_pressure_cpu_*",
         "the kernel does not measure pressure (4.20, and psi=1 where it is switched off)"},
        {"pressure/io", pressure_parse_io, "node_pressure_io_*",
         "the kernel does not measure pressure"},
        {"pressure/memory", pressure_parse_memory, "node_pressure_memory_*",
         "the kernel does not measure pressure"},
        {"pressure/irq", pressure_parse_irq, "node_pressure_irq_stalled_seconds_total",
         "the kernel does not account time of interrupts (6.1)"},
    };
    return several_open(out, options->proc, files, 4, err);
}

const struct host_class host_pressure = {"pressure", pressure_open, several_collect, several_close};
