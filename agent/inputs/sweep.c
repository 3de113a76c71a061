/* SPDX-License-Identifier: Apache-2.0 */
/* sweep.c: see sweep.h. */
#include "agent/inputs/sweep.h"

#include <sys/stat.h>

#include "agent/inputs/file.h"
#include "agent/inputs/remotes.h"
#include "agent/inputs/watch.h"
#include "core/clock.h"

#define LOOKS_AT_ONCE 256      /* some 0.3 ms: the loop has other things to do */
#define UNHINTED_AFTER_MS 2000 /* a hint would have come by now, also to a busy loop */

static void
become_blind(struct agent *agent, struct file *file)
{
    if (file->blind)
        return;
    file->blind = true;
    file->blind_previous = NULL;
    file->blind_next = agent->blind;
    if (agent->blind != NULL)
        agent->blind->blind_previous = file;
    agent->blind = file;
    agent->blind_count++;
}

static void
become_seeing(struct agent *agent, struct file *file)
{
    if (!file->blind)
        return;
    if (agent->blind_cursor == file)
        agent->blind_cursor = file->blind_next;
    if (file->blind_previous != NULL)
        file->blind_previous->blind_next = file->blind_next;
    else
        agent->blind = file->blind_next;
    if (file->blind_next != NULL)
        file->blind_next->blind_previous = file->blind_previous;
    file->blind = false;
    agent->blind_count--;
}

void
sweep_enter(struct agent *agent, struct file *file, const struct stat *about)
{
    struct stat link;
    file->remote = remotes_of_device(agent->remotes, (uint64_t)about->st_dev);
    /* A hint names the folder and name that were written through: links have others. */
    if (agent->watch == NULL || file->remote != NULL || about->st_nlink > 1 ||
        !watch_covers(agent->watch, file->path) ||
        (lstat(file->path, &link) == 0 && S_ISLNK(link.st_mode)))
        become_blind(agent, file);
}

void
sweep_leave(struct agent *agent, struct file *file)
{
    become_seeing(agent, file);
    if (agent->sweep_cursor == file)
        agent->sweep_cursor = file->next;
}

void
sweep_hinted(struct agent *agent, struct file *file)
{
    if (file->remote == NULL)
        become_seeing(agent, file);
    sweep_look(agent, file);
}

void
sweep_look(struct agent *agent, struct file *file)
{
    struct stat about;
    if (!remote_answers(file->remote))
        return;
    if (file->fd >= 0 ? fstat(file->fd, &about) == 0
                      : stat(file->path, &about) == 0 && (uint64_t)about.st_ino == file->inode &&
                            (uint64_t)about.st_dev == file->device)
        file_seen(agent, file, &about);
}

bool
sweep_some(struct agent *agent)
{
    struct file *file = agent->sweep_cursor == NULL ? agent->files : agent->sweep_cursor;
    int64_t unhinted_ms = clock_wall_ms() - UNHINTED_AFTER_MS;
    for (unsigned looks = 0; file != NULL && looks < LOOKS_AT_ONCE; looks++) {
        agent->sweep_cursor = file->next; /* moved on should that be freed by the look */
        if (file->state == FILE_ACTIVE && !file->blind) {
            int64_t modified_ns = file->modified_ns;
            sweep_look(agent, file);
            if (file->modified_ns != modified_ns && modified_ns != 0 &&
                file->modified_ns / 1000000 < unhinted_ms && file->state == FILE_ACTIVE)
                become_blind(agent, file);
        }
        file = agent->sweep_cursor;
    }
    agent->sweep_cursor = file;
    return file == NULL;
}

bool
sweep_blind(struct agent *agent)
{
    struct file *file = agent->blind_cursor == NULL ? agent->blind : agent->blind_cursor;
    for (unsigned looks = 0; file != NULL && looks < LOOKS_AT_ONCE; looks++) {
        agent->blind_cursor = file->blind_next;
        if (file->state == FILE_ACTIVE)
            sweep_look(agent, file);
        file = agent->blind_cursor;
    }
    agent->blind_cursor = file;
    return file == NULL;
}
