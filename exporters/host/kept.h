/* SPDX-License-Identifier: Apache-2.0 */
/* kept.h: a file of /proc or /sys that stays open and is read again from its start each time: a
 * pread costs a third of open, read and close. A file that went away is opened anew. One thread at
 * a time. */
#ifndef EXPORTERS_HOST_KEPT_H
#define EXPORTERS_HOST_KEPT_H

#include <stdbool.h>

#include "core/buffer.h"
#include "core/err.h"
#include "exporters/host/scan.h"

#define KEPT_SIZE_MAX (16U * 1024 * 1024) /* /proc/stat of 4,096 processors has 1 MiB */

struct kept {
    char *path; /* owned */
    int fd;     /* -1: not open */
    struct buffer text;
};

/* `root` and `name` are joined: "/proc", "net/dev". The file need not be there yet. */
bool kept_init(struct kept *kept, const char *root, const char *name, struct err *err) MUST_CHECK;
void kept_done(struct kept *kept); /* also of a zeroed one */

/* The whole file; valid until the next read. ERR_REJECT: there is none; else ERR_RETRY. */
bool kept_read(struct kept *kept, struct scan *out, struct err *err) MUST_CHECK;

#endif
