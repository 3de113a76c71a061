/* SPDX-License-Identifier: Apache-2.0 */
/* sweep.h: looking at files again and again: what inotify did not tell is found here.
 * Most files are written where inotify sees it; the sweep looks at them rarely. A file is blind
 * when no hint is to be expected for it, or a change of it came without one: written through
 * another name, a mapping, another host. The blind are looked at often. One that is hinted at is
 * blind no more. */
#ifndef AGENT_INPUTS_SWEEP_H
#define AGENT_INPUTS_SWEEP_H

#include <sys/stat.h>

#include "agent/agent.h"

void sweep_enter(struct agent *agent, struct file *file, const struct stat *about);
void sweep_leave(struct agent *agent, struct file *file); /* before it is freed */
void sweep_hinted(struct agent *agent, struct file *file);

/* One look; the file may end by it. */
void sweep_look(struct agent *agent, struct file *file);

/* Look at some more files, and at some more of those that are blind. True when all had their
 * turn. */
bool sweep_some(struct agent *agent);
bool sweep_blind(struct agent *agent);

#endif
