/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.h: the pure part of the cpu collector: /proc/stat to times of processors. */
#ifndef EXPORTERS_HOST_CPU_H
#define EXPORTERS_HOST_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "exporters/host/scan.h"

struct page;

enum { CPU_IDLE = 3, CPU_GUEST = 8, CPU_MODES = 10 }; /* places in a line of /proc/stat */

struct cpu_times {
    bool present; /* online at the last read */
    bool seen;    /* in the read under way */
    uint64_t ticks[CPU_MODES];
};

/* Zeroed to begin with; `cpus` by number, to be freed by the owner. */
struct cpu_table {
    struct cpu_times *cpus;
    size_t count;
};

bool cpu_read(struct scan text, struct cpu_table *table, struct err *err) MUST_CHECK;
void cpu_put(const struct cpu_table *table, struct page *page);

#endif
