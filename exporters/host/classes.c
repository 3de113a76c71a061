/* SPDX-License-Identifier: Apache-2.0 */
/* classes.c: the table of host collectors, in the order of the page. */
#include "exporters/host/collectors.h"
#include "exporters/host/host.h"

const struct host_class *const host_classes[] = {
    &host_loadavg,
};
const size_t host_class_count = sizeof(host_classes) / sizeof(host_classes[0]);
