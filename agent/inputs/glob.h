/* SPDX-License-Identifier: Apache-2.0 */
/* glob.h: names of files by pattern, path segment by path segment.
 * `*` any bytes, `?` one byte, `[a-z]` `[!a-z]` one of a set, `\` takes the next byte as it is;
 * none of them crosses a slash, and none matches a dot that begins a name. `**` as a whole
 * segment is any number of folders, also none. An unclosed `[` is an ordinary byte. No
 * recursion; time is linear in the text times the pattern. */
#ifndef AGENT_INPUTS_GLOB_H
#define AGENT_INPUTS_GLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

bool glob_match(const char *pattern, const char *path);

/* A pattern without a slash matches the last segment of `path`, else the whole. */
bool glob_excludes(const char *pattern, const char *path);

struct glob_found {
    const char *path;
    uint64_t inode; /* as the folder lists it: of a mount point, what is below it */
    bool is_file;   /* for certain a regular file, no link to one */
};

/* Calls back for what the pattern finds. `folder` hears of each folder that was looked into (a
 * place to watch; maybe more than once), `file` of each entry that matches and is no folder. An
 * error (not: not there) goes to `failed`, and the walk goes on. Symbolic links to folders are
 * followed, but not by `**`. */
struct glob_walk {
    bool (*enter)(void *context, const char *path); /* may a folder be looked into? NULL: yes */
    void (*folder)(void *context, const char *path);
    void (*file)(void *context, const struct glob_found *found);
    void (*failed)(void *context, const char *path, int number);
    void *context;
};
/* False only when memory is short. */
bool glob_expand(const char *pattern, const struct glob_walk *walk, struct err *err) MUST_CHECK;

#endif
