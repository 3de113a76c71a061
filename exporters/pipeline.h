/* SPDX-License-Identifier: Apache-2.0 */
/* pipeline.h: tailrace-exporter's parts in their order, and its loop: signals, heartbeat,
 * reload. */
#ifndef EXPORTERS_PIPELINE_H
#define EXPORTERS_PIPELINE_H

#include <stdbool.h>

#include "core/err.h"

struct options;
struct pipeline;

/* Takes `loaded`, also when it fails. `config_path` is for reloads. */
bool pipeline_new(struct pipeline **out, struct options *loaded, const char *config_path,
                  struct err *err) MUST_CHECK;
/* Serves until SIGTERM or SIGINT. */
bool pipeline_run(struct pipeline *pipeline, struct err *err) MUST_CHECK;
void pipeline_free(struct pipeline *pipeline); /* NULL is fine */

#endif
