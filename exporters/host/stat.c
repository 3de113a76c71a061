/* SPDX-License-Identifier: Apache-2.0 */
/* stat.c: interrupts, context switches, forks, processes and boot time of /proc/stat. */
#include "exporters/host/collectors.h"
#include "exporters/host/source.h"
#include "exporters/page.h"

bool
stat_parse(struct scan text, struct page *page, struct err *err)
{
    static const struct {
        const char *key, *name, *help;
        enum page_type type;
    } rows[] = {
        {"intr", "node_intr_total", "Total number of interrupts serviced.", PAGE_COUNTER},
        {"ctxt", "node_context_switches_total", "Total number of context switches.", PAGE_COUNTER},
        {"btime", "node_boot_time_seconds", "Node boot time, in unixtime.", PAGE_GAUGE},
        {"processes", "node_forks_total", "Total number of forks.", PAGE_COUNTER},
        {"procs_running", "node_procs_running", "Number of processes in runnable state.",
         PAGE_GAUGE},
        {"procs_blocked", "node_procs_blocked",
         "Number of processes blocked waiting for I/O to complete.", PAGE_GAUGE},
    };
    struct scan line;
    size_t found = 0;
    while (scan_line(&text, &line)) {
        struct scan key;
        uint64_t value;
        if (!scan_word(&line, &key))
            continue;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            if (!scan_equals(key, rows[i].key) || !scan_number(&line, &value))
                continue;
            page_family(page, rows[i].name, rows[i].type, rows[i].help);
            page_begin(page);
            page_uint(page, value);
            found++;
        }
    }
    return found > 0 || err_set(err, ERR_RETRY, 0, "/proc/stat has none of the known lines");
}

static bool
stat_open(void **out, const struct host_options *options, struct err *err)
{
    return source_open(out, options->proc, "stat", stat_parse, err);
}

const struct host_class host_stat = {"stat", stat_open, source_collect, source_close};
