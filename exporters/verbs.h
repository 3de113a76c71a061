/* SPDX-License-Identifier: Apache-2.0 */
/* verbs.h: what the exporter's commands print. Nothing here logs. */
#ifndef EXPORTERS_VERBS_H
#define EXPORTERS_VERBS_H

#include <stdbool.h>

#include "core/err.h"

struct exporter_options;

/* `check [--connect]`; with --connect every collector is run once, and what will be on the page, or
 * why not, is printed. `*fine` is false when a collector or a target cannot be read. */
bool verbs_check(const struct exporter_options *options, bool connect, bool *fine,
                 struct err *err) MUST_CHECK;
void verbs_print_reference(void);

#endif
