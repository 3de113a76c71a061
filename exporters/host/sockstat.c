/* SPDX-License-Identifier: Apache-2.0 */
/* sockstat.c: sockets by protocol and state, from /proc/net/sockstat and sockstat6. */
#include <stdio.h>
#include <unistd.h>

#include "exporters/host/collectors.h"
#include "exporters/host/several.h"
#include "exporters/page.h"

#define NAME_SIZE 96

static void
put(struct page *page, struct scan protocol, const char *state, uint64_t value)
{
    char name[NAME_SIZE];
    char help[NAME_SIZE];
    if (snprintf(name, sizeof(name), "node_sockstat_%.*s_%s", (int)protocol.size, protocol.at,
                 state) < 0 ||
        snprintf(help, sizeof(help), "Number of %.*s sockets in state %s.", (int)protocol.size,
                 protocol.at, state) < 0)
        return;
    page_family(page, name, PAGE_GAUGE, help);
    page_begin(page);
    page_uint(page, value);
}

bool
sockstat_parse(struct scan text, struct page *page, struct err *err)
{
    static const char *const states[] = {"inuse", "orphan", "tw", "alloc", "mem", "memory"};
    struct scan line;
    size_t found = 0;
    while (scan_line(&text, &line)) {
        struct scan protocol;
        struct scan state;
        uint64_t value;
        if (!scan_until(&line, ':', &protocol) || protocol.size > NAME_SIZE / 4)
            continue;
        while (scan_word(&line, &state) && scan_number(&line, &value)) {
            found++;
            if (scan_equals(protocol, "sockets") && scan_equals(state, "used"))
                page_gauge(page, "node_sockstat_sockets_used", "Number of IPv4 sockets in use.",
                           (double)value);
            for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
                if (scan_equals(state, states[i]))
                    put(page, protocol, states[i], value);
            if (scan_equals(state, "mem")) /* in pages */
                put(page, protocol, "mem_bytes", value * (uint64_t)sysconf(_SC_PAGESIZE));
        }
    }
    return found > 0 || err_set(err, ERR_RETRY, 0, "/proc/net/sockstat has no numbers");
}

static bool
sockstat_open(void **out, const struct host_options *options, struct err *err)
{
    static const struct several_file files[] = {
        {"net/sockstat", sockstat_parse, "node_sockstat_TCP_*", "no sockets of IPv4"},
        {"net/sockstat6", sockstat_parse, "node_sockstat_TCP6_*", "IPv6 is switched off"},
    };
    return several_open(out, options->proc, files, 2, err);
}

const struct host_class host_sockstat = {"sockstat", sockstat_open, several_collect, several_close};
