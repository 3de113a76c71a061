/* SPDX-License-Identifier: Apache-2.0 */
/* pace.h: how often work is done whose cost grows with the number of files. It is done in rounds
 * of one or more slices, with a pause behind each, so that it takes at most one part of `share`
 * of a core, and a round begins no oftener than every `round_ms`. */
#ifndef AGENT_PACE_H
#define AGENT_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    uint64_t cost_us, waited_ms; /* of this round so far */
    uint64_t last_cost_us;       /* of the last whole round */
};

/* What work costs: its processor time, and an eighth of the time that it only waited. A busy host
 * must not make it rare, nor a slow disk hold the loop all the time. */
struct pace_span {
    uint64_t wall_ns, cpu_ns;
};
struct pace_span pace_begin(void);
uint64_t pace_cost_us(struct pace_span begun);

/* A slice has taken `cost_us`, and the round is over or not: milliseconds until the next. */
uint64_t pace_next_ms(struct pace *pace, uint64_t cost_us, bool round_is_over, uint64_t share,
                      uint64_t round_ms);

#endif
