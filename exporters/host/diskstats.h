/* SPDX-License-Identifier: Apache-2.0 */
/* diskstats.h: the pure parts of the diskstats collector: /proc/diskstats to rows, and what udev
 * noted about a device. */
#ifndef EXPORTERS_HOST_DISKSTATS_H
#define EXPORTERS_HOST_DISKSTATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "exporters/host/scan.h"

struct filter;
struct page;

#define DISK_FIELDS 17 /* columns behind the name, as of kernel 5.5 */
#define UDEV_SIZE 256  /* of a value that is shown */

struct disk_row {
    struct scan name; /* in the text */
    uint64_t major, minor;
    size_t count; /* of values: 11 up to kernel 4.17, 15 up to 5.4 */
    uint64_t values[DISK_FIELDS];
};

/* Zeroed to begin with; the owner frees `rows`. */
struct disk_table {
    struct disk_row *rows;
    size_t count, capacity;
};

/* `filter` may be NULL. */
bool diskstats_read(struct scan text, struct filter *filter, struct disk_table *table,
                    struct err *err) MUST_CHECK;
void diskstats_put(const struct disk_table *table, struct page *page);

/* What /run/udev/data/b<major>:<minor> says. */
enum udev_key {
    UDEV_PATH,
    UDEV_WWN,
    UDEV_MODEL,
    UDEV_SERIAL_SHORT,
    UDEV_REVISION,
    UDEV_FS_TYPE,
    UDEV_FS_USAGE,
    UDEV_FS_UUID,
    UDEV_FS_VERSION,
    UDEV_DM_NAME,
    UDEV_DM_UUID,
    UDEV_DM_VG_NAME,
    UDEV_DM_LV_NAME,
    UDEV_DM_LV_LAYER,
    UDEV_ATA,
    UDEV_ATA_WRITE_CACHE,
    UDEV_ATA_WRITE_CACHE_ENABLED,
    UDEV_ATA_ROTATION_RATE,
    UDEV_KEYS
};
struct udev {
    char values[UDEV_KEYS][UDEV_SIZE]; /* "" when it says nothing */
};
void udev_read(struct scan text, struct udev *out);

#endif
