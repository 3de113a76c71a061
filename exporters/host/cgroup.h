/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup.h: the pure parts of the cgroup collector. */
#ifndef EXPORTERS_HOST_CGROUP_H
#define EXPORTERS_HOST_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "exporters/host/scan.h"

/* The number behind a key, as in cpu.stat, memory.events and cpuacct.stat: "usage_usec 12". */
bool cgroup_field(struct scan text, const char *key, uint64_t *out);
/* "12", or "max" and what v1 writes for it, which are no limit: false. */
bool cgroup_limit(struct scan text, uint64_t *out);

#endif
