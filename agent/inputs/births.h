/* SPDX-License-Identifier: Apache-2.0 */
/* births.h: a new life begins in a file that carries none that is known; or the file is refused,
 * ignored, held back or cannot be read. */
#ifndef AGENT_INPUTS_BIRTHS_H
#define AGENT_INPUTS_BIRTHS_H

#include "agent/inputs/finds.h"
#include "agent/inputs/lives.h"

/* `lives` are those without a file. */
void births_begin(struct agent *agent, const struct lives *lives, struct find *find);

/* A file that was held back has no path any more: its life begins in its descriptor. */
bool births_begin_held(struct agent *agent, struct file *file);

/* A file that its path does not lead to any more was truncated: its next life begins in its
 * descriptor, which nothing else may lead to. False: there is none, or it is tried no more. */
bool births_begin_next(struct agent *agent, const struct file *ended, int fd);

/* A file that is not read, and why: counted and said. */
void births_refuse(struct agent *agent, struct file *file, const char *label, const char *reason);

#endif
