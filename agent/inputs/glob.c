/* SPDX-License-Identifier: Apache-2.0 */
/* glob.c: see glob.h. The walk keeps a list of folders still to be looked into instead of
 * recursing. */
#include "agent/inputs/glob.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/assert.h"

struct segment {
    const char *text;
    size_t size;
};

/* Cuts the next segment off; false at the end. Runs of slashes are one. */
static bool
segment_next(const char **at, struct segment *out)
{
    while (**at == '/')
        (*at)++;
    if (**at == '\0')
        return false;
    out->text = *at;
    out->size = strcspn(*at, "/");
    *at += out->size;
    return true;
}

static bool
is_deep(const struct segment *segment)
{
    return segment->size == 2 && memcmp(segment->text, "**", 2) == 0;
}

static bool
is_literal(const struct segment *segment)
{
    for (size_t i = 0; i < segment->size; i++)
        if (strchr("*?[\\", segment->text[i]) != NULL)
            return false;
    return true;
}

/* The set at pattern[0] == '[': its size with both brackets, 0 when it is not closed. */
static size_t
set_match(const char *pattern, size_t size, unsigned char byte, bool *matched)
{
    size_t i = 1;
    bool negated = i < size && (pattern[i] == '!' || pattern[i] == '^');
    if (negated)
        i++;
    bool found = false;
    for (size_t first = i; i < size; i++) {
        if (pattern[i] == ']' && i > first) {
            *matched = found != negated;
            return i + 1;
        }
        unsigned char low = (unsigned char)pattern[i];
        unsigned char high = low;
        if (i + 2 < size && pattern[i + 1] == '-' && pattern[i + 2] != ']') {
            high = (unsigned char)pattern[i + 2];
            i += 2;
        }
        found |= byte >= low && byte <= high;
    }
    return 0;
}

/* Matches one byte by the element at pattern[0] (not `*`): the element's size, 0 when it
 * differs. */
static size_t
element_match(const char *pattern, size_t size, unsigned char byte)
{
    bool matched = false;
    if (pattern[0] == '?')
        return 1;
    if (pattern[0] == '[') {
        size_t taken = set_match(pattern, size, byte, &matched);
        if (taken > 0)
            return matched ? taken : 0;
    }
    if (pattern[0] == '\\' && size > 1)
        return (unsigned char)pattern[1] == byte ? 2 : 0;
    return (unsigned char)pattern[0] == byte ? 1 : 0;
}

static bool
segment_match(const struct segment *pattern, const struct segment *name)
{
    if (name->size > 0 && name->text[0] == '.' && pattern->size > 0 && pattern->text[0] != '.' &&
        pattern->text[0] != '\\')
        return false;
    size_t p = 0;
    size_t n = 0;
    size_t star = SIZE_MAX; /* behind the last `*` met */
    size_t star_name = 0;   /* where its text ends for now */
    while (n < name->size) {
        if (p < pattern->size && pattern->text[p] == '*') {
            star = ++p;
            star_name = n;
            continue;
        }
        size_t taken = p == pattern->size ? 0
                                          : element_match(pattern->text + p, pattern->size - p,
                                                          (unsigned char)name->text[n]);
        if (taken > 0) {
            p += taken;
            n++;
            continue;
        }
        if (star == SIZE_MAX)
            return false;
        p = star;
        n = ++star_name;
    }
    while (p < pattern->size && pattern->text[p] == '*')
        p++;
    return p == pattern->size;
}

bool
glob_match(const char *pattern, const char *path)
{
    ASSERT(pattern != NULL);
    ASSERT(path != NULL);

    const char *deep = NULL; /* behind the last `**` met */
    const char *deep_path = NULL;
    struct segment want;
    struct segment have;
    for (;;) {
        const char *next = path;
        bool more = segment_next(&next, &have);
        const char *rest = pattern;
        bool wanted = segment_next(&rest, &want);
        if (wanted && is_deep(&want)) {
            deep = rest;
            deep_path = path;
            pattern = rest;
            struct segment after;
            const char *look = rest;
            if (!segment_next(&look, &after))
                return more; /* a last ** takes all that is below */
            continue;
        }
        if (!wanted && !more)
            return true;
        if (wanted && more && segment_match(&want, &have)) {
            pattern = rest;
            path = next;
            continue;
        }
        if (deep == NULL || !segment_next(&deep_path, &have) || have.text[0] == '.')
            return false;
        pattern = deep;
        path = deep_path;
    }
}

bool
glob_excludes(const char *pattern, const char *path)
{
    if (strchr(pattern, '/') != NULL)
        return glob_match(pattern, path);
    const char *name = strrchr(path, '/');
    return glob_match(pattern, name == NULL ? path : name + 1);
}

/* One folder to look into, and the part of the pattern that holds below it. */
struct stop {
    char *path; /* owned; "" is the root */
    const char *pattern;
    struct stop *next;
};

static bool
stop_push(struct stop **stops, const char *folder, const char *name, size_t name_size,
          const char *pattern, struct err *err)
{
    size_t folder_size = strlen(folder);
    struct stop *stop = malloc(sizeof(*stop));
    char *path = malloc(folder_size + name_size + 2);
    if (stop == NULL || path == NULL) {
        free(stop);
        free(path);
        return err_set(err, ERR_RETRY, ENOMEM, "cannot look for files: out of memory");
    }
    memcpy(path, folder, folder_size);
    if (name_size > 0) {
        path[folder_size++] = '/';
        memcpy(path + folder_size, name, name_size);
    }
    path[folder_size + name_size] = '\0';
    *stop = (struct stop){.path = path, .pattern = pattern, .next = *stops};
    *stops = stop;
    return true;
}

/* What an entry is, where `d_type` does not say: a link counts as what it leads to, unless by
 * `**`. */
static bool
entry_is_folder(int folder_fd, const struct dirent *entry, bool follow)
{
    if (entry->d_type == DT_DIR)
        return true;
    if (entry->d_type != DT_UNKNOWN && (entry->d_type != DT_LNK || !follow))
        return false;
    struct stat about;
    return fstatat(folder_fd, entry->d_name, &about, follow ? 0 : AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISDIR(about.st_mode);
}

/* One entry of a folder against the segment that holds there. `rest` is the pattern behind it. */
static bool
visit_entry(struct stop **stops, const struct stop *stop, const struct segment *segment,
            const char *rest, int folder_fd, const struct dirent *entry,
            const struct glob_walk *walk, struct err *err)
{
    struct segment name = {entry->d_name, strlen(entry->d_name)};
    bool deep = is_deep(segment);
    bool last = rest[strspn(rest, "/")] == '\0';
    if (deep && name.text[0] == '.')
        return true;
    if (!deep && !segment_match(segment, &name))
        return true;
    bool folder = entry_is_folder(folder_fd, entry, !deep);
    if (folder && (deep || !last))
        return stop_push(stops, stop->path, name.text, name.size, deep ? stop->pattern : rest, err);
    if (folder || !last)
        return true;

    char path[PATH_MAX];
    size_t size = strlen(stop->path);
    if (size + name.size + 2 > sizeof(path))
        return true;
    memcpy(path, stop->path, size);
    path[size] = '/';
    memcpy(path + size + 1, name.text, name.size + 1);
    struct glob_found found = {path, entry->d_ino, entry->d_type == DT_REG};
    walk->file(walk->context, &found);
    return true;
}

static bool
visit_folder(struct stop **stops, const struct stop *stop, const struct segment *segment,
             const char *rest, const struct glob_walk *walk, struct err *err)
{
    const char *path = stop->path[0] == '\0' ? "/" : stop->path;
    if (walk->enter != NULL && !walk->enter(walk->context, path))
        return true;
    DIR *folder = opendir(path);
    if (folder == NULL) {
        if (errno != ENOENT && errno != ENOTDIR)
            walk->failed(walk->context, path, errno);
        return true;
    }
    walk->folder(walk->context, path);
    bool done = true;
    struct dirent *entry;
    while (done && (entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        done = visit_entry(stops, stop, segment, rest, dirfd(folder), entry, walk, err);
    }
    (void)closedir(folder);
    return done;
}

static bool
visit_stop(struct stop **stops, const struct stop *stop, const struct glob_walk *walk,
           struct err *err)
{
    struct segment segment;
    const char *rest = stop->pattern;
    if (!segment_next(&rest, &segment))
        return true;
    bool last = rest[strspn(rest, "/")] == '\0';
    if (is_literal(&segment) && !last)
        return stop_push(stops, stop->path, segment.text, segment.size, rest, err);
    /* `**` is also no folder at all: what follows it holds here, too. */
    if (is_deep(&segment) && !last && !stop_push(stops, stop->path, "", 0, rest, err))
        return false;
    return visit_folder(stops, stop, &segment, rest, walk, err);
}

bool
glob_expand(const char *pattern, const struct glob_walk *walk, struct err *err)
{
    ASSERT(pattern[0] == '/');

    struct stop *stops = NULL;
    if (!stop_push(&stops, "", "", 0, pattern, err))
        return false;
    bool done = true;
    while (stops != NULL) {
        struct stop *stop = stops;
        stops = stop->next;
        if (done)
            done = visit_stop(&stops, stop, walk, err);
        free(stop->path);
        free(stop);
    }
    return done;
}
