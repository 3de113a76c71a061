/* SPDX-License-Identifier: Apache-2.0 */
/* verbs.h: what the sink's commands print. Nothing here logs. */
#ifndef SINKS_VERBS_H
#define SINKS_VERBS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"

struct cli_verb;
struct pipeline;
struct program;

/* `check [--connect]`: opens all parts, and with --connect reaches Kafka and the store. */
bool verbs_check(struct program *program, void (*reload)(void *), size_t *problems,
                 struct err *err) MUST_CHECK;

void verbs_print_summary(const struct pipeline *pipeline); /* what `once` did */
/* `help VERB`, of those that have more to say than cli_answer() does. */
void verbs_print_more_help(const struct cli_verb *verb);
int verbs_print_reference(void); /* the exit code */

#endif
