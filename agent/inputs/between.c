/* SPDX-License-Identifier: Apache-2.0 */
/* between.c: see between.h. */
#include "agent/inputs/between.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/inputs/account.h"
#include "agent/inputs/file.h"
#include "agent/inputs/files.h"
#include "agent/inputs/input.h"
#include "agent/reader.h"

struct moved {
    char *path;
    struct input *input;
    int64_t since_ns;
    bool all;  /* the last walk could look at all that is beside it */
    bool more; /* and found some */
    UT_hash_handle hh;
};

static void
moved_remove(struct agent *agent, struct moved *moved)
{
    HASH_DEL(agent->moved, moved);
    free(moved->path);
    free(moved);
}

void
between_note(struct agent *agent, const char *path, struct input *input, int64_t since_ns)
{
    account_rotated(agent, path, input, false);
    struct moved *moved;
    HASH_FIND(hh, agent->moved, path, strlen(path), moved);
    if (moved != NULL) {
        moved->input = input;
        if (since_ns < moved->since_ns)
            moved->since_ns = since_ns; /* the earlier one covers both */
        return;
    }
    moved = calloc(1, sizeof(*moved));
    if (moved == NULL)
        return;
    moved->path = strdup(path);
    moved->input = input;
    moved->since_ns = since_ns;
    if (moved->path != NULL)
        HASH_ADD_KEYPTR(hh, agent->moved, moved->path, strlen(path), moved);
    if (moved->path == NULL || !HASH_ADDED(hh, moved)) {
        free(moved->path);
        free(moved);
    }
}

void
between_done(struct agent *agent)
{
    struct moved *moved, *next;
    HASH_ITER(hh, agent->moved, moved, next)
    moved_remove(agent, moved);
}

/* Is it read already, or was it? The number alone does not say: inodes of deleted files are given
 * away at once. */
static bool
file_is_known(const struct agent *agent, const char *path, const struct stat *about)
{
    if (file_by_inode(agent, (uint64_t)about->st_dev, (uint64_t)about->st_ino) != NULL)
        return true;
    bool known = false;
    for (const struct generation *at = agent->catalog.first; at != NULL && !known; at = at->next) {
        if (at->inode != (uint64_t)about->st_ino || at->device != (uint64_t)about->st_dev)
            continue;
        int fd = reader_open(path);
        if (fd < 0)
            return errno != ENOENT; /* could not look: a later rotation may */
        int64_t birth_ns = generation_birth_ns(fd);
        known = (birth_ns == 0 || at->birth_ns == 0 || birth_ns == at->birth_ns) &&
                generation_belongs(at, fd, (uint64_t)about->st_size) != BELONGS_NO;
        (void)close(fd);
    }
    return known;
}

/* Was it made by rotation of that path, after it was moved? */
static bool
is_between(const struct agent *agent, const struct moved *moved, const char *path,
           const struct stat *about)
{
    return S_ISREG(about->st_mode) && about->st_size > 0 &&
           stat_modified_ns(about) >= moved->since_ns &&
           !input_matches(moved->input->options, path) && !file_is_known(agent, path, about);
}

/* The path that this one was made of by rotation, if that is noted. */
static struct moved *
origin_of(const struct agent *agent, const char *path)
{
    size_t size = strlen(path);
    struct moved *moved = NULL;
    for (size_t tail = name_rotation_size(path); tail > 0 && moved == NULL; tail--)
        HASH_FIND(hh, agent->moved, path, size - tail, moved);
    return moved;
}

/* Adds the entry when it had a noted path after it was moved, and before the file that has it
 * now. False: it could not be looked at. */
static bool
consider(struct agent *agent, struct finds *finds, const char *path)
{
    struct stat about;
    struct moved *moved = origin_of(agent, path);
    if (moved == NULL || moved->input->removed)
        return true;
    if (lstat(path, &about) != 0)
        return errno == ENOENT;
    if (!is_between(agent, moved, path, &about))
        return true;
    moved->more = true;
    finds->lacking = false;
    struct find *find = finds_add(finds, path, moved->input, &about);
    if (find != NULL)
        find->listed = false;
    return !finds->lacking;
}

/* All entries of the folder that the path is in. False: not all could be looked at. */
static bool
walk_folder(struct agent *agent, struct finds *finds, const char *path, size_t folder_size)
{
    char folder[PATH_MAX];
    char entry_path[PATH_MAX + NAME_MAX + 1];
    if (folder_size >= sizeof(folder))
        return true;
    memcpy(folder, path, folder_size);
    folder[folder_size] = '\0';
    if (!path_answers(agent, folder))
        return false;
    DIR *entries = opendir(folder_size == 0 ? "/" : folder);
    if (entries == NULL)
        return errno == ENOENT || errno == ENOTDIR;
    bool all = true;
    struct dirent *entry;
    for (errno = 0; (entry = readdir(entries)) != NULL; errno = 0) {
        int size = snprintf(entry_path, sizeof(entry_path), "%s/%s", folder, entry->d_name);
        if (size > 0 && (size_t)size < sizeof(entry_path))
            all &= consider(agent, finds, entry_path);
    }
    all &= errno == 0;
    (void)closedir(entries);
    return all;
}

static size_t
folder_size_of(const struct moved *moved)
{
    const char *slash = strrchr(moved->path, '/');
    return slash == NULL ? 0 : (size_t)(slash - moved->path);
}

static bool
same_folder(const struct moved *a, const struct moved *b)
{
    size_t size = folder_size_of(a);
    return folder_size_of(b) == size && memcmp(a->path, b->path, size) == 0;
}

static int
by_folder(const struct moved *a, const struct moved *b)
{
    size_t a_size = folder_size_of(a);
    size_t b_size = folder_size_of(b);
    if (a_size != b_size)
        return a_size < b_size ? -1 : 1;
    return memcmp(a->path, b->path, a_size);
}

/* Each folder once, for all that was moved in it. */
static void
walk(struct agent *agent, struct finds *finds)
{
    HASH_SORT(agent->moved, by_folder);
    for (struct moved *moved = agent->moved; moved != NULL; moved = moved->hh.next)
        moved->more = false;
    struct moved *moved = agent->moved;
    while (moved != NULL) {
        const struct moved *first = moved;
        bool all = walk_folder(agent, finds, first->path, folder_size_of(first));
        for (; moved != NULL && same_folder(first, moved); moved = moved->hh.next)
            moved->all = all;
    }
}

void
between_find(struct agent *agent, struct finds *finds)
{
    walk(agent, finds); /* between_settle() asks again */
}

void
between_settle(struct agent *agent)
{
    struct finds left;
    finds_init(&left);
    walk(agent, &left);
    finds_done(&left);
    struct moved *moved, *next;
    HASH_ITER(hh, agent->moved, moved, next)
    {
        if (moved->more)
            agent->rediscover(agent);
        if (moved->input->removed || (!moved->more && moved->all))
            moved_remove(agent, moved);
    }
}
