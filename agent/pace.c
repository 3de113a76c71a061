/* SPDX-License-Identifier: Apache-2.0 */
/* pace.c: see pace.h. */
#include "agent/pace.h"

#include "core/clock.h"

struct pace_span
pace_begin(void)
{
    return (struct pace_span){.wall_ns = clock_monotonic_ns(), .cpu_ns = clock_thread_ns()};
}

uint64_t
pace_cost_us(struct pace_span begun)
{
    uint64_t wall_ns = clock_monotonic_ns() - begun.wall_ns;
    uint64_t cpu_ns = clock_thread_ns() - begun.cpu_ns;
    uint64_t waited_ns = wall_ns > cpu_ns ? wall_ns - cpu_ns : 0;
    return (cpu_ns + waited_ns / 8) / 1000;
}

uint64_t
pace_next_ms(struct pace *pace, uint64_t cost_us, bool round_is_over, uint64_t share,
             uint64_t round_ms)
{
    uint64_t pause_ms = (cost_us * share + 999) / 1000;
    pace->cost_us += cost_us;
    if (!round_is_over) {
        pace->waited_ms += pause_ms;
        return pause_ms;
    }
    if (pause_ms + pace->waited_ms < round_ms)
        pause_ms = round_ms - pace->waited_ms;
    pace->last_cost_us = pace->cost_us;
    pace->cost_us = 0;
    pace->waited_ms = 0;
    return pause_ms;
}
