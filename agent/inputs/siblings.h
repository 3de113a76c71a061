/* SPDX-License-Identifier: Apache-2.0 */
/* siblings.h: lives that no file carries are looked for beside the path they had, also under names
 * that the input does not match. Each folder is walked once, for all of them. */
#ifndef AGENT_INPUTS_SIBLINGS_H
#define AGENT_INPUTS_SIBLINGS_H

#include "agent/inputs/finds.h"

struct wanted {
    struct generation *generation;
    struct input *input;
    bool looked; /* its folder was looked through */
};

struct siblings {
    struct finds finds;
    struct wanted *wanted; /* sorted by folder */
    size_t count;
    bool any_unknown;
};

/* Finds what may carry them. False when memory is short. */
bool siblings_init(struct siblings *siblings, struct agent *agent);
void siblings_done(struct siblings *siblings);

/* What no file carries is given up, what was unread of it is counted as lost; unless something
 * could not be looked at. */
void siblings_settle(struct agent *agent, struct siblings *siblings);

/* Nobody carries it any more. */
void siblings_give_up(struct agent *agent, struct generation *generation, struct input *input);

#endif
