/* SPDX-License-Identifier: Apache-2.0 */
/* softnet.c: packets that each processor took from its queue, from /proc/net/softnet_stat. */
#include <stdio.h>

#include "exporters/host/collectors.h"
#include "exporters/host/source.h"
#include "exporters/page.h"

#define COLUMNS                                                                                    \
    13 /* the last two since kernel 5.10: length of the backlog, number of the processor */

/* Which column is which; how many a line must have for it. */
static const struct {
    const char *name, *help;
    enum page_type type;
    size_t column;
} fields[] = {
    {"node_softnet_processed_total", "Number of processed packets", PAGE_COUNTER, 0},
    {"node_softnet_dropped_total", "Number of dropped packets", PAGE_COUNTER, 1},
    {"node_softnet_times_squeezed_total", "Number of times processing packets ran out of quota",
     PAGE_COUNTER, 2},
    {"node_softnet_cpu_collision_total",
     "Number of collision occur while obtaining device lock while transmitting", PAGE_COUNTER, 8},
    {"node_softnet_received_rps_total", "Number of times cpu woken up received_rps", PAGE_COUNTER,
     9},
    {"node_softnet_flow_limit_count_total", "Number of times flow limit has been reached",
     PAGE_COUNTER, 10},
    {"node_softnet_backlog_len", "Softnet backlog status", PAGE_GAUGE, 11},
};

/* How many numbers the line has. */
static size_t
read_line(struct scan line, uint64_t values[COLUMNS])
{
    struct scan word;
    size_t count = 0;
    while (count < COLUMNS && scan_word(&line, &word) && scan_is_number(word, 16, &values[count]))
        count++;
    return count;
}

bool
softnet_parse(struct scan text, struct page *page, struct err *err)
{
    size_t lines = 0;
    for (size_t field = 0; field < sizeof(fields) / sizeof(fields[0]); field++) {
        struct scan rest = text;
        struct scan line;
        uint64_t values[COLUMNS];
        bool any = false;
        page_family(page, fields[field].name, fields[field].type, fields[field].help);
        for (uint64_t index = 0; scan_line(&rest, &line); index++) {
            char cpu[24];
            size_t count = read_line(line, values);
            lines += count > 2;
            if (count <= fields[field].column)
                continue;
            page_begin(page);
            (void)snprintf(cpu, sizeof(cpu), "%llu",
                           (unsigned long long)(count == COLUMNS ? values[12] : index));
            page_label(page, "cpu", cpu);
            page_uint(page, values[fields[field].column]);
            any = true;
        }
        if (!any)
            page_absent(page, fields[field].name, "this kernel does not count it");
    }
    return lines > 0 || err_set(err, ERR_RETRY, 0, "/proc/net/softnet_stat has no processor");
}

static bool
softnet_open(void **out, const struct host_options *options, struct err *err)
{
    return source_open(out, options->proc, "net/softnet_stat", softnet_parse, err);
}

const struct host_class host_softnet = {"softnet", softnet_open, source_collect, source_close};
