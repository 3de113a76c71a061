/* SPDX-License-Identifier: Apache-2.0 */
/* pipeline.h: the agent at work, from the files to Kafka. */
#ifndef AGENT_PIPELINE_H
#define AGENT_PIPELINE_H

#include <stdbool.h>

#include "core/err.h"

struct options;

struct pipeline;

/* Takes `loaded`. `once`: reads every file to its end, then stops. Waits for the state's lock. */
bool pipeline_new(struct pipeline **out, struct options *loaded, const char *config_path, bool once,
                  struct err *err) MUST_CHECK;
/* Until SIGTERM, SIGINT or, with `once`, the end of all files. False when `once` could not
 * finish. */
bool pipeline_run(struct pipeline *pipeline, struct err *err) MUST_CHECK;
void pipeline_free(struct pipeline *pipeline); /* NULL is fine */

#endif
