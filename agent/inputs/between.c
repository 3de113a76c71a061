/* SPDX-License-Identifier: Apache-2.0 */
/* between.c: see between.h. */
#include "agent/inputs/between.h"

#include <dirent.h>
#include <errno.h>
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
    struct moved *next;
};

static void
moved_free(struct moved *moved)
{
    free(moved->path);
    free(moved);
}

void
between_note(struct agent *agent, const char *path, struct input *input, int64_t since_ns)
{
    account_rotated(agent, path, input, false);
    for (struct moved *at = agent->moved; at != NULL; at = at->next) {
        if (at->input != input || strcmp(at->path, path) != 0)
            continue;
        if (since_ns < at->since_ns)
            at->since_ns = since_ns; /* the earlier one covers both */
        return;
    }
    struct moved *moved = malloc(sizeof(*moved));
    if (moved == NULL || (moved->path = strdup(path)) == NULL) {
        free(moved);
        return;
    }
    moved->input = input;
    moved->since_ns = since_ns;
    moved->next = agent->moved;
    agent->moved = moved;
}

void
between_done(struct agent *agent)
{
    while (agent->moved != NULL) {
        struct moved *next = agent->moved->next;
        moved_free(agent->moved);
        agent->moved = next;
    }
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

/* Adds the files that had the path after `moved` and before the one that has it now. False: not
 * all could be looked at. */
static bool
find_between(struct agent *agent, struct finds *finds, const struct moved *moved)
{
    char folder[4096];
    char path[4096 + 256];
    const char *slash = strrchr(moved->path, '/');
    size_t size = slash == NULL ? sizeof(folder) : (size_t)(slash - moved->path);
    if (size >= sizeof(folder))
        return true;
    memcpy(folder, moved->path, size);
    folder[size] = '\0';
    if (!path_answers(agent, folder))
        return false;
    DIR *entries = opendir(size == 0 ? "/" : folder);
    if (entries == NULL)
        return errno == ENOENT || errno == ENOTDIR;
    bool all = true;
    struct dirent *entry;
    for (errno = 0; (entry = readdir(entries)) != NULL; errno = 0) {
        struct stat about;
        int length = snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (length < 0 || (size_t)length >= sizeof(path) || !name_is_rotated(moved->path, path))
            continue;
        if (lstat(path, &about) != 0) {
            all &= errno == ENOENT;
            continue;
        }
        if (!is_between(agent, moved, path, &about))
            continue;
        finds->lacking = false;
        struct find *find = finds_add(finds, path, moved->input, &about);
        if (find != NULL)
            find->listed = false;
        all &= !finds->lacking;
    }
    all &= errno == 0;
    (void)closedir(entries);
    return all;
}

void
between_find(struct agent *agent, struct finds *finds)
{
    for (const struct moved *moved = agent->moved; moved != NULL; moved = moved->next)
        if (!moved->input->removed)
            (void)find_between(agent, finds, moved); /* between_settle() asks again */
}

void
between_settle(struct agent *agent)
{
    struct moved **link = &agent->moved;
    while (*link != NULL) {
        struct moved *moved = *link;
        struct finds left;
        finds_init(&left);
        bool all = moved->input->removed || find_between(agent, &left, moved);
        bool more = left.first != NULL;
        finds_done(&left);
        if (more)
            agent->rediscover(agent);
        if (more || !all) {
            link = &moved->next;
            continue;
        }
        *link = moved->next;
        moved_free(moved);
    }
}
