/* SPDX-License-Identifier: Apache-2.0 */
/* mounts.h: a file that is not there: is it gone, or what it lies on? */
#ifndef AGENT_INPUTS_MOUNTS_H
#define AGENT_INPUTS_MOUNTS_H

#include <stdbool.h>
#include <stdint.h>

/* Nothing has the path, which led to a file of `device`. True when the nearest folder that is
 * there is of another file system, or cannot be looked at: nothing is to be concluded. */
bool mount_is_gone(const char *path, uint64_t device);

#endif
