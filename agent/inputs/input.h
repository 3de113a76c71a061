/* SPDX-License-Identifier: Apache-2.0 */
/* input.h: the life of an input: from its options, with its topic and metrics, over new options,
 * to its removal; and which paths it wants. */
#ifndef AGENT_INPUTS_INPUT_H
#define AGENT_INPUTS_INPUT_H

#include "agent/agent.h"

/* An input from its options, with its topic and metrics; not in the agent's list yet. */
bool input_new(struct input **out, struct agent *agent, const struct agent_files_options *options,
               struct err *err) MUST_CHECK;
/* The input has new options: prefixes, topic and what matches follow. */
bool input_apply(struct agent *agent, struct input *input,
                 const struct agent_files_options *options, struct err *err) MUST_CHECK;
struct input *input_named(const struct agent *agent, const char *name); /* NULL: there is none */
/* Stops reading; what is under way is finished. False while something is: call again. */
bool input_remove(struct agent *agent, struct input *input);
void input_free(struct input *input); /* at the end, when its files are freed */

/* What its files add up to goes to its metrics. About once a second. */
void input_publish(struct agent *agent, struct input *input, uint64_t now_ms);

bool input_matches(const struct agent_files_options *options, const char *path);
/* Why `path` is not read, whatever matches it: a literal, or NULL. */
const char *input_refuses(const struct agent_files_options *options, const char *state_dir,
                          const char *path);
bool path_is_kafka_data(const char *path); /* of a broker on this host */

#endif
