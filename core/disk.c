/* SPDX-License-Identifier: Apache-2.0 */
/* disk.c: see disk.h. */
#include "core/disk.h"

#include <errno.h>
#include <sys/types.h>
#include <unistd.h>

bool
disk_write_at(int fd, const void *bytes, size_t size, uint64_t offset)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t done = pwrite(fd, at, size, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            errno = done == 0 ? ENOSPC : errno;
            return false;
        }
        at += done;
        offset += (uint64_t)done;
        size -= (size_t)done;
    }
    return true;
}
