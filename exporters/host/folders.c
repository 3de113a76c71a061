/* SPDX-License-Identifier: Apache-2.0 */
/* folders.c: see folders.h. */
#include "exporters/host/folders.h"

#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

void
folders_each(const char *root, const struct option_texts *patterns, folders_visit *visit,
             void *context)
{
    size_t root_size = strcmp(root, "/") == 0 ? 0 : strlen(root);
    for (size_t i = 0; i < patterns->count; i++) {
        const char *pattern = patterns->items[i];
        char path[PATH_MAX];
        glob_t found = {0};
        int size = snprintf(path, sizeof(path), "%.*s%s", (int)root_size, root, pattern);
        if (pattern[0] == '\0' || size < 0 || (size_t)size >= sizeof(path))
            continue;
        if (strpbrk(pattern, "*?[") == NULL) {
            visit(context, path, path + root_size);
            continue;
        }
        if (glob(path, GLOB_ONLYDIR, NULL, &found) == 0)
            for (size_t k = 0; k < found.gl_pathc; k++)
                visit(context, found.gl_pathv[k], found.gl_pathv[k] + root_size);
        globfree(&found);
    }
}
