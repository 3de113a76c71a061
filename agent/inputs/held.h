/* SPDX-License-Identifier: Apache-2.0 */
/* held.h: deleted files whose bytes Kafka has not acknowledged. Nothing but our descriptor leads
 * to them: they are put where kill -9 does not reach, into the service manager's store of
 * descriptors or, copied, into the spool, and are taken from there at the next start. What is
 * kept so is bounded by `held_deleted_max`. */
#ifndef AGENT_INPUTS_HELD_H
#define AGENT_INPUTS_HELD_H

#include "agent/agent.h"

/* After the state is open, before the first look at files. */
bool held_new(struct agent *agent, struct err *err) MUST_CHECK;
void held_free(struct agent *agent); /* before the files are freed */

/* What was held before goes on to be read; before files are matched with lives. */
void held_attach(struct agent *agent);

/* No path leads to the file any more: is it deleted? */
void held_look(struct agent *agent, struct file *file);
/* The file is about to be freed. */
void held_leave(struct agent *agent, struct file *file);

/* No file carries the life: is there anything else that does, or may? True: nothing is to be
 * concluded now. */
bool held_finds(struct agent *agent, struct generation *generation, struct input *input);

void held_tick(struct agent *agent); /* about once a second */

/* At the stop: what is held only by a descriptor is copied. held_is_saving() until it is. */
void held_save_all(struct agent *agent);
bool held_is_at_the_end(const struct agent *agent); /* held_save_all() was called */
bool held_is_saving(const struct agent *agent);
/* It is read from a whole copy: nobody can add to it, however short ago it was made. */
bool held_is_whole(const struct file *file);
/* For `once`: some life may be found yet. */
bool held_is_searching(const struct agent *agent);

/* Lives without a file that may be found yet: a JSON array. */
void held_json(const struct agent *agent, struct buffer *out);
/* How a deleted file is held, for people; NULL when it is not. */
const char *held_reason(const struct file *file);

#endif
