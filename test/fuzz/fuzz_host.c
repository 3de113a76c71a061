/* SPDX-License-Identifier: Apache-2.0 */
/* Every parser of the host collectors: the first byte chooses which. What they write must be a page
 * of whole lines. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "exporters/host/cgroup.h"
#include "exporters/host/collectors.h"
#include "exporters/host/cpu.h"
#include "exporters/host/diskstats.h"
#include "exporters/host/mountinfo.h"
#include "exporters/host/netdev.h"
#include "exporters/host/scan.h"
#include "exporters/host/textfile.h"
#include "exporters/page.h"

typedef bool parser(struct scan text, struct page *page, struct err *err);

static bool
parse_cpu(struct scan text, struct page *page, struct err *err)
{
    struct cpu_table table = {0};
    bool fine = cpu_read(text, &table, err);
    if (fine)
        fine = cpu_read(text, &table, err); /* onto what was there */
    cpu_put(&table, page);
    free(table.cpus);
    return fine;
}

static bool
parse_diskstats(struct scan text, struct page *page, struct err *err)
{
    struct disk_table table = {0};
    bool fine = diskstats_read(text, NULL, &table, err);
    diskstats_put(&table, page);
    free(table.rows);
    return fine;
}

static bool
parse_udev(struct scan text, struct page *page, struct err *err)
{
    struct udev udev;
    (void)page;
    (void)err;
    udev_read(text, &udev);
    for (size_t i = 0; i < UDEV_KEYS; i++)
        ASSERT(strlen(udev.values[i]) < UDEV_SIZE);
    return true;
}

static bool
parse_netdev(struct scan text, struct page *page, struct err *err)
{
    struct netdev_table table = {0};
    bool fine = netdev_read(text, NULL, &table, err);
    netdev_put(&table, page);
    free(table.rows);
    return fine;
}

static bool
parse_mountinfo(struct scan text, struct page *page, struct err *err)
{
    static struct mount_line line;
    (void)err;
    page_family(page, "m", PAGE_GAUGE, "");
    while (mountinfo_next(&text, &line)) {
        page_begin(page);
        page_label(page, "point", line.point);
        page_label(page, "device", line.device);
        page_label(page, "type", line.type);
        page_uint(page, line.readonly);
    }
    return true;
}

static bool
parse_cgroup(struct scan text, struct page *page, struct err *err)
{
    uint64_t value;
    (void)page;
    (void)err;
    (void)cgroup_limit(text, &value);
    return cgroup_field(text, "usage_usec", &value);
}

static bool
parse_textfile(struct scan text, struct page *page, struct err *err)
{
    bool fine = textfile_parse(text, "f", NULL, err);
    ASSERT(textfile_parse(text, "f", page, err) == fine);
    return fine;
}

static parser *const parsers[] = {
    parse_cpu,
    stat_parse,
    meminfo_parse,
    loadavg_parse,
    vmstat_parse,
    parse_diskstats,
    parse_udev,
    parse_netdev,
    netstat_parse,
    netstat_parse6,
    sockstat_parse,
    softnet_parse,
    udp_queues_parse,
    udp_queues_parse6,
    conntrack_parse_count,
    conntrack_parse_limit,
    conntrack_parse_stat,
    filefd_parse,
    pressure_parse_cpu,
    pressure_parse_io,
    pressure_parse_memory,
    pressure_parse_irq,
    os_parse,
    parse_mountinfo,
    parse_cgroup,
    parse_textfile,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct page page;
    struct err err;
    struct buffer out;
    const struct page *pages[] = {&page};
    size_t which = data[0] % (sizeof(parsers) / sizeof(parsers[0]));
    /* An own copy: a byte read behind it is found. */
    char *text = malloc(size - 1);
    ASSERT(text != NULL);
    memcpy(text, data + 1, size - 1);
    page_init(&page, 1000);
    buffer_init(&out, 1U << 24);
    (void)parsers[which]((struct scan){text, size - 1}, &page, &err);
    page_end(&page);
    ASSERT(page.samples.size == 0 || page.samples.bytes[page.samples.size - 1] == '\n');
    page_render(pages, 1, METRIC_PAGE_OPENMETRICS, NULL, &out);
    ASSERT(out.size == 0 || out.bytes[out.size - 1] == '\n');
    page_done(&page);
    buffer_done(&out);
    free(text);
    return 0;
}
