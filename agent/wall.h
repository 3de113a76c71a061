/* SPDX-License-Identifier: Apache-2.0 */
/* wall.h: may the wall clock be believed? Ids and events carry its time. It is wrong for certain
 * before the build, and at a start before the time that the state saw last: a host without a
 * battery wakes up in the past. A step while the agent runs is different: somebody, or NTP, has
 * set the clock, and what was before may have been the wrong one. It is followed, in either
 * direction. Pure. */
#ifndef AGENT_WALL_H
#define AGENT_WALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WALL_TOLERANCE_MS (2 * 60 * 1000) /* that a clock may be behind the state's time */
#define WALL_STEP_MS 10000                /* more than that in one look is no slewing */

struct wall {
    int64_t least_ms;  /* no time is before it */
    int64_t offset_ms; /* wall clock less time since boot, at the last look */
    bool looked;
    bool wrong;
};

void wall_init(struct wall *wall, int64_t state_ms); /* what the state saw last, 0: nothing */

/* `boot_ms` counts on while the host sleeps, so that waking up is no step. Returns how far the
 * clock was set since the last look, 0: it was not. `wrong` is set, and `text` to the reason. */
int64_t wall_look(struct wall *wall, int64_t now_ms, int64_t boot_ms, char *text, size_t text_max);

/* A person's word that the state's time was the wrong one. False: that was not the question. */
bool wall_accept(struct wall *wall, int64_t now_ms);

#endif
