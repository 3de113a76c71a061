/* SPDX-License-Identifier: Apache-2.0 */
/* diskstats.c: work of disks from /proc/diskstats, and what udev knows of them. */
#include "exporters/host/diskstats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "exporters/host/collectors.h"
#include "exporters/host/filter.h"
#include "exporters/host/kept.h"
#include "exporters/page.h"

#define DISKS_MAX 100000
#define SECTOR_SIZE 512 /* of the kernel's books, whatever the disk's is */

enum unit { PLAIN, SECTORS, MILLISECONDS };
static const struct {
    const char *name, *help;
    enum page_type type;
    enum unit unit;
} fields[DISK_FIELDS] = {
    {"reads_completed_total", "The total number of reads completed successfully.", PAGE_COUNTER,
     PLAIN},
    {"reads_merged_total", "The total number of reads merged.", PAGE_COUNTER, PLAIN},
    {"read_bytes_total", "The total number of bytes read successfully.", PAGE_COUNTER, SECTORS},
    {"read_time_seconds_total", "The total number of seconds spent by all reads.", PAGE_COUNTER,
     MILLISECONDS},
    {"writes_completed_total", "The total number of writes completed successfully.", PAGE_COUNTER,
     PLAIN},
    {"writes_merged_total", "The number of writes merged.", PAGE_COUNTER, PLAIN},
    {"written_bytes_total", "The total number of bytes written successfully.", PAGE_COUNTER,
     SECTORS},
    {"write_time_seconds_total", "This is the total number of seconds spent by all writes.",
     PAGE_COUNTER, MILLISECONDS},
    {"io_now", "The number of I/Os currently in progress.", PAGE_GAUGE, PLAIN},
    {"io_time_seconds_total", "Total seconds spent doing I/Os.", PAGE_COUNTER, MILLISECONDS},
    {"io_time_weighted_seconds_total", "The weighted # of seconds spent doing I/Os.", PAGE_COUNTER,
     MILLISECONDS},
    {"discards_completed_total", "The total number of discards completed successfully.",
     PAGE_COUNTER, PLAIN},
    {"discards_merged_total", "The total number of discards merged.", PAGE_COUNTER, PLAIN},
    {"discarded_sectors_total", "The total number of sectors discarded successfully.", PAGE_COUNTER,
     PLAIN},
    {"discard_time_seconds_total", "This is the total number of seconds spent by all discards.",
     PAGE_COUNTER, MILLISECONDS},
    {"flush_requests_total", "The total number of flush requests completed successfully",
     PAGE_COUNTER, PLAIN},
    {"flush_requests_time_seconds_total",
     "This is the total number of seconds spent by all flush requests.", PAGE_COUNTER,
     MILLISECONDS},
};

static bool
add(struct disk_table *table, const struct disk_row *row)
{
    if (table->count == table->capacity) {
        size_t capacity = table->capacity * 2 + 16;
        struct disk_row *rows = realloc(table->rows, capacity * sizeof(*rows));
        if (rows == NULL)
            return false;
        table->rows = rows;
        table->capacity = capacity;
    }
    table->rows[table->count++] = *row;
    return true;
}

bool
diskstats_read(struct scan text, struct filter *filter, struct disk_table *table, struct err *err)
{
    struct scan line;
    table->count = 0;
    while (scan_line(&text, &line)) {
        struct disk_row row = {.count = 0};
        if (!scan_number(&line, &row.major) || !scan_number(&line, &row.minor) ||
            !scan_word(&line, &row.name) || table->count == DISKS_MAX)
            continue;
        while (row.count < DISK_FIELDS && scan_number(&line, &row.values[row.count]))
            row.count++;
        /* A partition of a kernel before 2.6.25 has four numbers, which mean something else. */
        if (row.count < 11 || (filter != NULL && filter_matches(filter, row.name)))
            continue;
        if (!add(table, &row))
            return err_set(err, ERR_RETRY, 0, "cannot note the disks: out of memory");
    }
    return true;
}

static void
put_value(struct page *page, uint64_t value, enum unit unit)
{
    if (unit == MILLISECONDS)
        page_fixed(page, value, 3);
    else if (unit == SECTORS && value > UINT64_MAX / SECTOR_SIZE)
        page_double(page, (double)value * SECTOR_SIZE);
    else
        page_uint(page, unit == SECTORS ? value * SECTOR_SIZE : value);
}

void
diskstats_put(const struct disk_table *table, struct page *page)
{
    for (size_t field = 0; field < DISK_FIELDS; field++) {
        char name[64];
        bool any = false;
        if (snprintf(name, sizeof(name), "node_disk_%s", fields[field].name) < 0)
            continue;
        page_family(page, name, fields[field].type, fields[field].help);
        for (size_t i = 0; i < table->count; i++) {
            const struct disk_row *row = &table->rows[i];
            if (field >= row->count)
                continue;
            page_begin(page);
            page_label_size(page, "device", row->name.at, row->name.size);
            put_value(page, row->values[field], fields[field].unit);
            any = true;
        }
        if (!any)
            page_absent(page, name,
                        table->count == 0 ? "/proc/diskstats names no disk that is not left out"
                                          : "this kernel does not count it");
    }
}

void
udev_read(struct scan text, struct udev *out)
{
    static const char *const names[UDEV_KEYS] = {
        "ID_PATH",
        "ID_WWN",
        "ID_MODEL",
        "ID_SERIAL_SHORT",
        "ID_REVISION",
        "ID_FS_TYPE",
        "ID_FS_USAGE",
        "ID_FS_UUID",
        "ID_FS_VERSION",
        "DM_NAME",
        "DM_UUID",
        "DM_VG_NAME",
        "DM_LV_NAME",
        "DM_LV_LAYER",
        "ID_ATA",
        "ID_ATA_WRITE_CACHE",
        "ID_ATA_WRITE_CACHE_ENABLED",
        "ID_ATA_ROTATION_RATE_RPM",
    };
    struct scan line;
    *out = (struct udev){{{0}}};
    while (scan_line(&text, &line)) {
        struct scan key;
        if (!scan_begins(line, "E:"))
            continue;
        scan_skip(&line, 2);
        if (!scan_until(&line, '=', &key))
            continue;
        for (size_t i = 0; i < UDEV_KEYS; i++)
            if (scan_equals(key, names[i]))
                (void)scan_copy(line, out->values[i], UDEV_SIZE);
    }
}

/* ---- the collector ---- */

struct diskstats {
    struct kept file;
    char *root;
    struct filter *filter;
    struct disk_table table;
};

static void
put_disk_info(struct page *page, const struct disk_row *row, const struct udev *udev)
{
    char number[24];
    page_begin(page);
    page_label_size(page, "device", row->name.at, row->name.size);
    (void)snprintf(number, sizeof(number), "%u", (unsigned)row->major);
    page_label(page, "major", number);
    (void)snprintf(number, sizeof(number), "%u", (unsigned)row->minor);
    page_label(page, "minor", number);
    page_label(page, "path", udev->values[UDEV_PATH]);
    page_label(page, "wwn", udev->values[UDEV_WWN]);
    page_label(page, "model", udev->values[UDEV_MODEL]);
    page_label(page, "serial", udev->values[UDEV_SERIAL_SHORT]);
    page_label(page, "revision", udev->values[UDEV_REVISION]);
    page_uint(page, 1);
}

static void
put_udev_info(struct page *page, const struct disk_row *row, const struct udev *udev)
{
    if (udev->values[UDEV_FS_TYPE][0] != '\0') {
        page_family(page, "node_disk_filesystem_info", PAGE_GAUGE, "Info about disk filesystem.");
        page_begin(page);
        page_label_size(page, "device", row->name.at, row->name.size);
        page_label(page, "type", udev->values[UDEV_FS_TYPE]);
        page_label(page, "usage", udev->values[UDEV_FS_USAGE]);
        page_label(page, "uuid", udev->values[UDEV_FS_UUID]);
        page_label(page, "version", udev->values[UDEV_FS_VERSION]);
        page_uint(page, 1);
    }
    if (udev->values[UDEV_DM_NAME][0] != '\0') {
        page_family(page, "node_disk_device_mapper_info", PAGE_GAUGE,
                    "Info about disk device mapper.");
        page_begin(page);
        page_label_size(page, "device", row->name.at, row->name.size);
        page_label(page, "name", udev->values[UDEV_DM_NAME]);
        page_label(page, "uuid", udev->values[UDEV_DM_UUID]);
        page_label(page, "vg_name", udev->values[UDEV_DM_VG_NAME]);
        page_label(page, "lv_name", udev->values[UDEV_DM_LV_NAME]);
        page_label(page, "lv_layer", udev->values[UDEV_DM_LV_LAYER]);
        page_uint(page, 1);
    }
}

static void
put_ata(struct page *page, const struct disk_row *row, const struct udev *udev)
{
    static const struct {
        enum udev_key key;
        const char *name, *help;
    } rows[] = {
        {UDEV_ATA_WRITE_CACHE, "node_disk_ata_write_cache", "ATA disk has a write cache."},
        {UDEV_ATA_WRITE_CACHE_ENABLED, "node_disk_ata_write_cache_enabled",
         "ATA disk has its write cache enabled."},
        {UDEV_ATA_ROTATION_RATE, "node_disk_ata_rotation_rate_rpm",
         "ATA disk rotation rate in RPMs (0 for SSDs)."},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t value;
        if (udev->values[UDEV_ATA][0] == '\0' ||
            !scan_is_number(scan_of(udev->values[rows[i].key]), 10, &value))
            continue;
        page_family(page, rows[i].name, PAGE_GAUGE, rows[i].help);
        page_begin(page);
        page_label_size(page, "device", row->name.at, row->name.size);
        page_uint(page, value);
    }
}

/* udev rewrites its files by renaming new ones over them, so these are opened each time. */
static void
put_infos(struct diskstats *diskstats, struct page *page)
{
    for (size_t i = 0; i < diskstats->table.count; i++) {
        const struct disk_row *row = &diskstats->table.rows[i];
        struct udev udev = {{{0}}};
        struct kept file;
        struct scan text;
        struct err err;
        char path[96];
        int size = snprintf(path, sizeof(path), "run/udev/data/b%u:%u", (unsigned)row->major,
                            (unsigned)row->minor);
        ASSERT(size > 0);
        if (kept_init(&file, diskstats->root, path, &err)) {
            if (kept_read(&file, &text, &err))
                udev_read(text, &udev);
            kept_done(&file);
        }
        page_family(page, "node_disk_info", PAGE_GAUGE, "Info of /sys/block/<block_device>.");
        put_disk_info(page, row, &udev);
        put_udev_info(page, row, &udev);
        put_ata(page, row, &udev);
    }
}

static bool
diskstats_collect(void *self, struct page *page, struct err *err)
{
    struct diskstats *diskstats = self;
    struct scan text;
    if (!kept_read(&diskstats->file, &text, err) ||
        !diskstats_read(text, diskstats->filter, &diskstats->table, err))
        return false;
    diskstats_put(&diskstats->table, page);
    put_infos(diskstats, page);
    return true;
}

static void
diskstats_close(void *self)
{
    struct diskstats *diskstats = self;
    if (diskstats == NULL)
        return;
    kept_done(&diskstats->file);
    filter_free(diskstats->filter);
    free(diskstats->table.rows);
    free(diskstats->root);
    free(diskstats);
}

static bool
diskstats_open(void **out, const struct host_options *options, struct err *err)
{
    struct diskstats *diskstats = calloc(1, sizeof(*diskstats));
    if (diskstats != NULL)
        diskstats->root = strdup(options->root);
    if (diskstats == NULL || diskstats->root == NULL) {
        free(diskstats);
        return err_set(err, ERR_STOP, 0, "cannot watch the disks: out of memory");
    }
    if (kept_init(&diskstats->file, options->proc, "diskstats", err) &&
        filter_new(&diskstats->filter, "host.disk_exclude", options->disk_exclude, err)) {
        *out = diskstats;
        return true;
    }
    diskstats_close(diskstats);
    return false;
}

const struct host_class host_diskstats = {"diskstats", diskstats_open, diskstats_collect,
                                          diskstats_close};
