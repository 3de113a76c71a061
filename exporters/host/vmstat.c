/* SPDX-License-Identifier: Apache-2.0 */
/* vmstat.c: paging, swapping and OOM kills of /proc/vmstat. */
#include <stdio.h>
#include <string.h>

#include "exporters/host/collectors.h"
#include "exporters/host/source.h"
#include "exporters/page.h"

#define NAME_SIZE 96

/* node_exporter's ^(oom_kill|pgpg|pswp|pg.*fault).* */
static bool
is_wanted(struct scan key)
{
    if (scan_begins(key, "oom_kill") || scan_begins(key, "pgpg") || scan_begins(key, "pswp"))
        return true;
    return scan_begins(key, "pg") && memmem(key.at + 2, key.size - 2, "fault", 5) != NULL;
}

bool
vmstat_parse(struct scan text, struct page *page, struct err *err)
{
    struct scan line;
    size_t lines = 0;
    while (scan_line(&text, &line)) {
        struct scan key;
        uint64_t value;
        char name[NAME_SIZE];
        char help[NAME_SIZE + 64];
        if (!scan_word(&line, &key) || key.size > NAME_SIZE / 2 || !scan_number(&line, &value))
            continue;
        lines++;
        if (!is_wanted(key) ||
            snprintf(name, sizeof(name), "node_vmstat_%.*s", (int)key.size, key.at) < 0 ||
            snprintf(help, sizeof(help), "/proc/vmstat information field %.*s.", (int)key.size,
                     key.at) < 0)
            continue;
        page_family(page, name, PAGE_UNTYPED, help);
        page_begin(page);
        page_uint(page, value);
    }
    return lines > 0 || err_set(err, ERR_RETRY, 0, "/proc/vmstat has no line with a number");
}

static bool
vmstat_open(void **out, const struct host_options *options, struct err *err)
{
    return source_open(out, options->proc, "vmstat", vmstat_parse, err);
}

const struct host_class host_vmstat = {"vmstat", vmstat_open, source_collect, source_close};
