/* SPDX-License-Identifier: Apache-2.0 */
/* host.h: what a host collector is. One file per collector; the table of them is in classes.c.
 * collect() runs on the host lane's helper thread at each scrape and writes node_exporter's
 * families; it may keep files open and memory between rounds. Nothing here logs. */
#ifndef EXPORTERS_HOST_HOST_H
#define EXPORTERS_HOST_HOST_H

#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"
#include "core/options.h"
#ifndef HOST_ENABLED_DEFAULT
#define HOST_ENABLED_DEFAULT "false"
#endif
#include "exporters/host/options.def"

struct page;

struct host_options {
    HOST_OPTIONS(OPTION_MEMBER)
};

struct host_class {
    const char *name; /* "cpu": in collect[], in the options and as label */
    bool (*open)(void **out, const struct host_options *options, struct err *err) MUST_CHECK;
    /* False: this source cannot be read, `err` says why; what was written before stands. With
     * ERR_REJECT this host has no such source, which is no fault. */
    bool (*collect)(void *self, struct page *page, struct err *err) MUST_CHECK;
    void (*close)(void *self); /* NULL is fine */
};

extern const struct host_class *const host_classes[];
extern const size_t host_class_count;

#endif
