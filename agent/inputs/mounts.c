/* SPDX-License-Identifier: Apache-2.0 */
/* mounts.c: see mounts.h. */
#include "agent/inputs/mounts.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* The folder above; false at the root. */
static bool
cut_last(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash == NULL || slash[1] == '\0')
        return false;
    slash[slash == path ? 1 : 0] = '\0';
    return true;
}

bool
mount_is_gone(const char *path, uint64_t device)
{
    char folder[PATH_MAX];
    struct stat about;
    struct statfs system;
    size_t size = strlen(path);
    if (size >= sizeof(folder))
        return false;
    memcpy(folder, path, size + 1);
    bool there = false;
    while (!there && cut_last(folder)) {
        there = stat(folder, &about) == 0;
        if (!there && errno != ENOENT && errno != ENOTDIR)
            return true;
    }
    /* On overlayfs a file and its folder may have different devices. */
    return there && (uint64_t)about.st_dev != device &&
           !(statfs(folder, &system) == 0 && system.f_type == OVERLAYFS_SUPER_MAGIC);
}
