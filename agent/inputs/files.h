/* SPDX-License-Identifier: Apache-2.0 */
/* files.h: what becomes of the files that are known: hints that one was written, mounts that hang,
 * bytes that changed or are gone, and when one is let go. */
#ifndef AGENT_INPUTS_FILES_H
#define AGENT_INPUTS_FILES_H

#include "agent/agent.h"

/* A hint that this path was written. False when it is not one of ours. */
bool files_hint(struct agent *agent, const char *path);

/* Gives up what is finished; writes progress to the state. About once a second. */
void files_tick(struct agent *agent);

/* Everything that was waiting for the state may go on. */
void files_state_is_durable(struct agent *agent);

/* May anybody still write to the open file? Where nobody can tell, time does. */
bool files_may_be_written(int fd, int64_t quiet_ms, bool deleted);

/* For `once`: true when every file is read to its end and acknowledged. Asks unterminated last
 * lines to be shipped when nothing else is left. */
bool files_all_done(struct agent *agent);

/* A network mount has become hung, or answers again. */
struct remote;
void files_remote_changed(struct agent *agent, const struct remote *remote);
/* May the path be touched, or does it lie on a mount that hangs? */
bool path_answers(const struct agent *agent, const char *path);

/* Called by the data path. */
void files_idle(struct agent *agent, struct file *file);
void files_changed(struct agent *agent, struct file *file);
void files_failed(struct agent *agent, struct file *file, const struct err *err);
void files_settled(struct agent *agent, struct file *file); /* no batch of it is under way */
void files_count_lost(struct agent *agent, const struct file *file, uint64_t bytes,
                      const char *reason);

/* The wall clock was set: ages by it may be wrong, no life is forgotten for its age for a while. */
void files_clock_was_set(struct agent *agent);

void files_done(struct agent *agent); /* closes and frees all */

#endif
