/* SPDX-License-Identifier: Apache-2.0 */
/* meminfo.c: every line of /proc/meminfo. */
#include <inttypes.h>
#include <stdio.h>

#include "exporters/host/collectors.h"
#include "exporters/host/source.h"
#include "exporters/page.h"

#define NAME_SIZE 128

/* "Active(anon)" to "Active_anon"; what may not stand in a name is an underscore. */
static bool
field_name(struct scan key, const char *unit, char out[NAME_SIZE])
{
    size_t size = 0;
    for (size_t i = 0; i < key.size && size < NAME_SIZE - 32; i++) {
        char c = key.at[i];
        bool fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (c == ')')
            continue;
        out[size++] = fits ? c : '_';
    }
    int added = snprintf(out + size, NAME_SIZE - size, "%s", unit);
    return size > 0 && added >= 0;
}

bool
meminfo_parse(struct scan text, struct page *page, struct err *err)
{
    struct scan line;
    size_t found = 0;
    while (scan_line(&text, &line)) {
        struct scan key;
        struct scan unit;
        uint64_t value;
        char field[NAME_SIZE];
        char name[NAME_SIZE + 16];
        char help[NAME_SIZE + 64];
        if (!scan_until(&line, ':', &key) || !scan_number(&line, &value))
            continue;
        bool bytes = scan_word(&line, &unit) && scan_equals(unit, "kB");
        if (!field_name(key, bytes ? "_bytes" : "", field) || (bytes && value > UINT64_MAX / 1024))
            continue;
        if (snprintf(name, sizeof(name), "node_memory_%s", field) < 0 ||
            snprintf(help, sizeof(help), "Memory information field %s.", field) < 0)
            continue;
        page_family(page, name, PAGE_GAUGE, help);
        page_begin(page);
        page_uint(page, bytes ? value * 1024 : value);
        found++;
    }
    return found > 0 || err_set(err, ERR_RETRY, 0, "/proc/meminfo has no line with a number");
}

static bool
meminfo_open(void **out, const struct host_options *options, struct err *err)
{
    return source_open(out, options->proc, "meminfo", meminfo_parse, err);
}

const struct host_class host_meminfo = {"meminfo", meminfo_open, source_collect, source_close};
