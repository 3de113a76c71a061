/* SPDX-License-Identifier: Apache-2.0 */
/* mountinfo.h: the pure part of the filesystem collector: lines of /proc/1/mountinfo. */
#ifndef EXPORTERS_HOST_MOUNTINFO_H
#define EXPORTERS_HOST_MOUNTINFO_H

#include <stdbool.h>

#include "exporters/host/scan.h"

#define MOUNT_PATH_SIZE 4096 /* PATH_MAX */

/* A mount, its names with the kernel's \040 made a blank again. */
struct mount_line {
    char device[MOUNT_PATH_SIZE];
    char point[MOUNT_PATH_SIZE];
    char type[64];
    bool readonly;
};

/* Takes the next mount. False: there is none left. Lines that are none are passed over. */
bool mountinfo_next(struct scan *text, struct mount_line *out);

#endif
