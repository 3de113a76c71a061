/* SPDX-License-Identifier: Apache-2.0 */
/* account.h: what the files of an input add up to, without walking over all of them.
 * A file is busy while there is something to do for it or something of it may change without a
 * look at it: bytes under way, progress not written, an error, no path. Busy files stand in a
 * list of the agent; the rest, with 100,000 files nearly all, cost nothing a second. Each file
 * remembers what it has added to its input's sums. */
#ifndef AGENT_INPUTS_ACCOUNT_H
#define AGENT_INPUTS_ACCOUNT_H

#include "agent/agent.h"

/* Something of the file has changed; once more is fine. */
void account_touch(struct agent *agent, struct file *file);
/* It is about to be freed. */
void account_leave(struct agent *agent, struct file *file);

/* A file of the input was renamed away from the path, or truncated. */
void account_rotated(struct agent *agent, const char *path, struct input *input, bool truncated);

/* Sums and busy files as of now. About once a second. */
void account_tick(struct agent *agent);

/* Bytes of a last line whose newline is not written yet: nobody can ship them. */
uint64_t file_unfinished(const struct file *file);

#endif
