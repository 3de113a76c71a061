/* SPDX-License-Identifier: Apache-2.0 */
/* held.c: see held.h. */
#include "agent/inputs/held.h"

#include <sys/stat.h>

bool
held_new(struct agent *agent, struct err *err)
{
    (void)agent;
    (void)err;
    return true;
}

void
held_free(struct agent *agent)
{
    (void)agent;
}

void
held_attach(struct agent *agent)
{
    (void)agent;
}

void
held_look(struct agent *agent, struct file *file)
{
    (void)agent;
    struct stat about;
    if (file->fd >= 0 && fstat(file->fd, &about) == 0)
        file->deleted = about.st_nlink == 0;
}

void
held_leave(struct agent *agent, struct file *file)
{
    (void)agent;
    (void)file;
}

bool
held_finds(struct agent *agent, struct generation *generation, struct input *input)
{
    (void)agent;
    (void)generation;
    (void)input;
    return false;
}

void
held_tick(struct agent *agent)
{
    uint64_t bytes = 0;
    for (const struct file *file = agent->files; file != NULL; file = file->next)
        if (file->state == FILE_ACTIVE && !file->listed && file->fd >= 0 && file->deleted)
            bytes += file->size;
    metrics_set(agent->metrics, metrics_series(agent->metrics, METRIC_HELD_DELETED, NULL),
                (double)bytes);
}

void
held_save_all(struct agent *agent)
{
    (void)agent;
}

bool
held_is_saving(const struct agent *agent)
{
    (void)agent;
    return false;
}

bool
held_is_searching(const struct agent *agent)
{
    (void)agent;
    return false;
}

const char *
held_reason(const struct file *file)
{
    (void)file;
    return NULL;
}
