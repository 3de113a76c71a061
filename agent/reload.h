/* SPDX-License-Identifier: Apache-2.0 */
/* reload.h: the inputs as the configuration names them, at the start and when it is read again.
 * What is under way is finished under the old rules; what cannot be reloaded stays as it was at
 * the start, however often it is reloaded: that is why `agent->options` stays. Inputs without a
 * topic of their own keep theirs, too. */
#ifndef AGENT_RELOAD_H
#define AGENT_RELOAD_H

#include "agent/agent.h"

/* Appends an input. */
bool reload_add_input(struct agent *agent, const struct agent_files_options *options,
                      struct err *err) MUST_CHECK;

/* Reads the configuration again. `*in_force` is what the inputs follow since the last reload
 * (NULL: none was), and is replaced. False: the new one is bad, nothing has changed. */
bool reload_run(struct agent *agent, const char *config_path, struct options **in_force);

#endif
