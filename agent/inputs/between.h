/* SPDX-License-Identifier: Apache-2.0 */
/* between.h: files that had a path for a while and were rotated away before anybody looked. Where
 * a file was rotated away from its path, names that rotation makes of it are looked at: whole
 * files may lie between it and the one that has the path now. */
#ifndef AGENT_INPUTS_BETWEEN_H
#define AGENT_INPUTS_BETWEEN_H

#include "agent/inputs/finds.h"

/* A file was rotated away from this path; it was last written at `since_ns`. */
void between_note(struct agent *agent, const char *path, struct input *input, int64_t since_ns);
void between_done(struct agent *agent);

/* Adds those files. */
void between_find(struct agent *agent, struct finds *finds);
/* Rotation while we looked gives the names to other files: a note stays until a look finds nothing
 * that is not known. */
void between_settle(struct agent *agent);

#endif
