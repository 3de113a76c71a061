/* SPDX-License-Identifier: Apache-2.0 */
/* running.h: what the agent that runs with this configuration says of a path, asked over its own
 * endpoint. The state on the disk knows positions; why a file waits only the agent knows. */
#ifndef AGENT_RUNNING_H
#define AGENT_RUNNING_H

#include <stdbool.h>

#include "core/buffer.h"

/* Appends the answer's text. False: nobody answers at `listen` within two seconds, or it is "off",
 * or another program has the port. */
bool running_explain(const char *listen, const char *path, struct buffer *out);

#endif
