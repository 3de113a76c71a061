/* SPDX-License-Identifier: Apache-2.0 */
/* files.h: which files there are, which life each of them is in, and when one is let go.
 * inotify on folders tells early, a sweep over all files tells for certain. */
#ifndef AGENT_INPUTS_FILES_H
#define AGENT_INPUTS_FILES_H

#include "agent/agent.h"

struct watch;

/* An input from its options, with its topic and metrics; not in the agent's list yet. */
bool input_new(struct input **out, struct agent *agent, const struct agent_files_options *options,
               struct err *err) MUST_CHECK;
/* The input has new options: prefixes, topic and what matches follow. */
bool input_apply(struct agent *agent, struct input *input,
                 const struct agent_files_options *options, struct err *err) MUST_CHECK;
struct input *input_named(const struct agent *agent, const char *name); /* NULL: there is none */
/* Stops reading; what is under way is finished. False while something is: call again. */
bool input_remove(struct agent *agent, struct input *input);

/* Looks for files of all inputs and decides what each is. `watch` may be NULL. False when not all
 * are decided yet (agent->finds): call files_discover_more() until it is true. */
bool files_discover(struct agent *agent, struct watch *watch);
bool files_discover_more(struct agent *agent);

/* A hint that this path was written. False when it is not one of ours. */
bool files_hint(struct agent *agent, const char *path);

/* Gives up what is finished; writes progress to the state. About once a second. */
void files_tick(struct agent *agent);

/* Everything that was waiting for the state may go on. */
void files_state_is_durable(struct agent *agent);

/* May anybody still write to the open file? Where nobody can tell, time does. */
bool files_may_be_written(int fd, int64_t quiet_ms, bool deleted);

/* Why `path` is read by the input or is not: NULL when it matches, else a literal. */
const char *input_refuses(const struct agent_files_options *options, const char *state_dir,
                          const char *path);
bool input_matches(const struct agent_files_options *options, const char *path);

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

void files_done(struct agent *agent); /* closes and frees all */

#endif
