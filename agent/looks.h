/* SPDX-License-Identifier: Apache-2.0 */
/* looks.h: when files are looked at.
 *     hints    inotify says that a file was written: at once
 *     walks    over the folders (inputs/discovery.h): soon after one of them changed, and now and
 *              then without being told
 *     sweeps   over the files that are known (inputs/sweep.h): often over those of which inotify
 *              says nothing, rarely over the others
 * What costs more the more files there are is paced by what it costs (pace.h). One thread: the
 * loop's. */
#ifndef AGENT_LOOKS_H
#define AGENT_LOOKS_H

#include <systemd/sd-event.h>

#include "agent/agent.h"

struct looks;

/* The first walk comes with the loop's first turn. Without inotify the rest goes on. */
bool looks_new(struct looks **out, struct agent *agent, sd_event *event,
               struct err *err) MUST_CHECK;
void looks_free(struct looks *looks); /* NULL is fine */

void looks_soon(struct looks *looks);             /* files may have come or gone: a walk, soon */
void looks_tick(struct looks *looks);             /* about once a second */
bool looks_have_begun(const struct looks *looks); /* each input was walked over at least once */
void looks_stop(struct looks *looks);             /* nobody asks for a walk any more */

#endif
