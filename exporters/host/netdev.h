/* SPDX-License-Identifier: Apache-2.0 */
/* netdev.h: the pure part of the netdev collector: /proc/net/dev to rows. */
#ifndef EXPORTERS_HOST_NETDEV_H
#define EXPORTERS_HOST_NETDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "exporters/host/scan.h"

struct filter;
struct page;

#define NETDEV_FIELDS 16 /* columns of /proc/net/dev */

struct netdev_row {
    struct scan name; /* in the text */
    uint64_t values[NETDEV_FIELDS];
};

/* Zeroed to begin with; the owner frees `rows`. */
struct netdev_table {
    struct netdev_row *rows;
    size_t count, capacity;
};

/* `filter` may be NULL. */
bool netdev_read(struct scan text, struct filter *filter, struct netdev_table *table,
                 struct err *err) MUST_CHECK;
void netdev_put(const struct netdev_table *table, struct page *page);

#endif
