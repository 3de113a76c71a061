/* SPDX-License-Identifier: Apache-2.0 */
/* verbs.h: what the command line can ask beside running. Each prints and returns the exit code. */
#ifndef AGENT_VERBS_H
#define AGENT_VERBS_H

#include <stdbool.h>

#include "agent/options.h"

int verb_check(const struct agent_options *options, bool connect);
int verb_explain(const struct agent_options *options, const char *path);
int verb_state(const struct agent_options *options, int count, char **words);
int verb_reference(void);

#endif
