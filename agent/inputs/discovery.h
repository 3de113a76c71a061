/* SPDX-License-Identifier: Apache-2.0 */
/* discovery.h: which files there are. A walk over the folders of all inputs says what is there,
 * what has come and what is gone; match.h decides which life each new find carries. inotify says
 * early that a walk is worth while, and the walk says for certain. */
#ifndef AGENT_INPUTS_DISCOVERY_H
#define AGENT_INPUTS_DISCOVERY_H

#include "agent/agent.h"

/* Looks for files of all inputs and decides what each is. False when not all are decided yet
 * (agent->finds): call discovery_continue() until it is true. */
bool discovery_begin(struct agent *agent);
bool discovery_continue(struct agent *agent);

#endif
