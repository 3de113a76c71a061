/* SPDX-License-Identifier: Apache-2.0 */
/* replay.h: `tailrace-sink dead-letters`: what the index refused, listed, counted, or sent to its
 * topics again. Works beside running sinks: it joins no group of theirs. */
#ifndef SINKS_REPLAY_REPLAY_H
#define SINKS_REPLAY_REPLAY_H

#include <stdbool.h>

#include "core/err.h"
#include "sinks/options.h"
#include "sinks/replay/request.h"

/* `argv` holds what stands behind the verb. Prints to stdout, what goes wrong with single letters
 * to stderr. `*complete` false: a topic is missing or a letter was not sent. */
bool replay_dead_letters(const struct sink_options *options, int argc, char **argv, bool *complete,
                         struct err *err) MUST_CHECK;

#endif
