/* SPDX-License-Identifier: Apache-2.0 */
/* netdev.c: traffic of network interfaces from /proc/net/dev, and what no handler took from
 * /sys/class/net/<interface>/statistics. */
#include "exporters/host/netdev.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exporters/host/collectors.h"
#include "exporters/host/filter.h"
#include "exporters/host/kept.h"
#include "exporters/page.h"

#define INTERFACES_MAX 100000

static const char *const field_names[NETDEV_FIELDS] = {
    "receive_bytes",  "receive_packets",  "receive_errs",       "receive_drop",
    "receive_fifo",   "receive_frame",    "receive_compressed", "receive_multicast",
    "transmit_bytes", "transmit_packets", "transmit_errs",      "transmit_drop",
    "transmit_fifo",  "transmit_colls",   "transmit_carrier",   "transmit_compressed",
};

static bool
add(struct netdev_table *table, const struct netdev_row *row)
{
    if (table->count == table->capacity) {
        size_t capacity = table->capacity * 2 + 16;
        struct netdev_row *rows = realloc(table->rows, capacity * sizeof(*rows));
        if (rows == NULL)
            return false;
        table->rows = rows;
        table->capacity = capacity;
    }
    table->rows[table->count++] = *row;
    return true;
}

bool
netdev_read(struct scan text, struct filter *filter, struct netdev_table *table, struct err *err)
{
    struct scan line;
    size_t lines = 0;
    table->count = 0;
    while (scan_line(&text, &line)) {
        struct netdev_row row = {.name = {"", 0}};
        /* An alias is "eth0:1", so the last colon ends the name. */
        const char *colon = memrchr(line.at, ':', line.size);
        lines++;
        if (colon == NULL)
            continue; /* the two lines of the head */
        row.name = (struct scan){line.at, (size_t)(colon - line.at)};
        scan_skip(&line, row.name.size + 1);
        scan_trim(&row.name);
        size_t field = 0;
        while (field < NETDEV_FIELDS && scan_number(&line, &row.values[field]))
            field++;
        if (field < NETDEV_FIELDS || row.name.size == 0 || table->count == INTERFACES_MAX)
            continue;
        if (filter != NULL && filter_matches(filter, row.name))
            continue;
        if (!add(table, &row))
            return err_set(err, ERR_RETRY, 0, "cannot note the interfaces: out of memory");
    }
    return lines > 0 || err_set(err, ERR_RETRY, 0, "/proc/net/dev is empty");
}

void
netdev_put(const struct netdev_table *table, struct page *page)
{
    for (size_t field = 0; field < NETDEV_FIELDS; field++) {
        char name[64];
        char help[96];
        if (snprintf(name, sizeof(name), "node_network_%s_total", field_names[field]) < 0 ||
            snprintf(help, sizeof(help), "Network device statistic %s.", field_names[field]) < 0)
            continue;
        page_family(page, name, PAGE_COUNTER, help);
        for (size_t i = 0; i < table->count; i++) {
            page_begin(page);
            page_label_size(page, "device", table->rows[i].name.at, table->rows[i].name.size);
            page_uint(page, table->rows[i].values[field]);
        }
    }
}

/* ---- the collector ---- */

/* rx_nohandler of one interface. */
struct nohandler {
    char *name;
    struct kept file;
    bool used; /* in this round */
};

struct netdev {
    struct kept dev;
    char *sys;
    struct filter *filter;
    struct netdev_table table;
    struct nohandler *files;
    size_t file_count;
};

static struct nohandler *
find_file(struct netdev *netdev, struct scan name)
{
    for (size_t i = 0; i < netdev->file_count; i++)
        if (scan_equals(name, netdev->files[i].name))
            return &netdev->files[i];
    struct nohandler *files =
        realloc(netdev->files, (netdev->file_count + 1) * sizeof(*netdev->files));
    if (files == NULL)
        return NULL;
    netdev->files = files;
    struct nohandler *file = &files[netdev->file_count];
    char path[512];
    struct err err;
    *file = (struct nohandler){.name = strndup(name.at, name.size)};
    int size = snprintf(path, sizeof(path), "class/net/%.*s/statistics/rx_nohandler",
                        (int)name.size, name.at);
    if (file->name == NULL || size < 0 || (size_t)size >= sizeof(path) ||
        !kept_init(&file->file, netdev->sys, path, &err)) {
        free(file->name);
        return NULL;
    }
    netdev->file_count++;
    return file;
}

/* Interfaces of containers come and go; their files go with them. */
static void
drop_unused(struct netdev *netdev)
{
    size_t kept = 0;
    for (size_t i = 0; i < netdev->file_count; i++) {
        struct nohandler *file = &netdev->files[i];
        if (!file->used) {
            kept_done(&file->file);
            free(file->name);
            continue;
        }
        file->used = false;
        netdev->files[kept++] = *file;
    }
    netdev->file_count = kept;
}

static void
put_nohandler(struct netdev *netdev, struct page *page)
{
    static const char name[] = "node_network_receive_nohandler_total";
    bool any = false;
    page_family(page, name, PAGE_COUNTER, "Network device statistic receive_nohandler.");
    for (size_t i = 0; i < netdev->table.count; i++) {
        struct scan device = netdev->table.rows[i].name;
        struct nohandler *file = find_file(netdev, device);
        struct scan text;
        struct err err;
        uint64_t value;
        if (file == NULL || !kept_read(&file->file, &text, &err) || !scan_number(&text, &value))
            continue;
        file->used = true;
        page_begin(page);
        page_label_size(page, "device", device.at, device.size);
        page_uint(page, value);
        any = true;
    }
    drop_unused(netdev);
    if (!any)
        page_absent(page, name, "/sys/class/net has no statistics/rx_nohandler (kernel 4.6)");
}

static bool
netdev_collect(void *self, struct page *page, struct err *err)
{
    struct netdev *netdev = self;
    struct scan text;
    if (!kept_read(&netdev->dev, &text, err) ||
        !netdev_read(text, netdev->filter, &netdev->table, err))
        return false;
    netdev_put(&netdev->table, page);
    put_nohandler(netdev, page);
    return true;
}

static void
netdev_close(void *self)
{
    struct netdev *netdev = self;
    if (netdev == NULL)
        return;
    drop_unused(netdev);
    kept_done(&netdev->dev);
    filter_free(netdev->filter);
    free(netdev->files);
    free(netdev->table.rows);
    free(netdev->sys);
    free(netdev);
}

static bool
netdev_open(void **out, const struct host_options *options, struct err *err)
{
    struct netdev *netdev = calloc(1, sizeof(*netdev));
    if (netdev != NULL)
        netdev->sys = strdup(options->sys);
    if (netdev == NULL || netdev->sys == NULL) {
        free(netdev);
        return err_set(err, ERR_STOP, 0, "cannot watch the interfaces: out of memory");
    }
    if (kept_init(&netdev->dev, options->proc, "net/dev", err) &&
        filter_new(&netdev->filter, "host.network_exclude", options->network_exclude, err)) {
        *out = netdev;
        return true;
    }
    netdev_close(netdev);
    return false;
}

const struct host_class host_netdev = {"netdev", netdev_open, netdev_collect, netdev_close};
