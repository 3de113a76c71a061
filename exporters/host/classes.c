/* SPDX-License-Identifier: Apache-2.0 */
/* classes.c: the table of host collectors, in the order of the page. */
#include "exporters/host/collectors.h"
#include "exporters/host/host.h"

const struct host_class *const host_classes[] = {
    &host_cpu,     &host_diskstats, &host_filesystem, &host_loadavg,
    &host_meminfo, &host_netdev,    &host_stat,
};
const size_t host_class_count = sizeof(host_classes) / sizeof(host_classes[0]);
