/* SPDX-License-Identifier: Apache-2.0 */
/* held_copy.c: see held_copy.h. */
#include "agent/inputs/held_copy.h"

#include <errno.h>
#include <unistd.h>

#include "agent/inputs/file.h"
#include "agent/inputs/files.h"
#include "agent/inputs/held.h"
#include "agent/inputs/input.h"
#include "agent/schedule.h"
#include "agent/spool.h"
#include "agent/state.h"
#include "core/clock.h"

#define GRACE_MS 1000 /* most deleted files are finished by then */
#define AGAIN_MS (10 * (uint64_t)1000)

bool
held_is_unread(const struct held *held)
{
    return held->file != NULL && held->file->state == FILE_ACTIVE &&
           held->file->generation->committed < held->file->size;
}

/* What counts against held_deleted_max: letting go of a file that is still written to would free
 * nothing; a copy that will replace its file does not count beside it. */
static uint64_t
bounded_bytes(const struct held *held)
{
    return held->writer || held->spool_bytes > held->bytes ? held->spool_bytes : held->bytes;
}

uint64_t
held_copy_room(const struct agent *agent, uint64_t *used)
{
    uint64_t max = agent->options->top.held_deleted_max;
    *used = 0;
    for (const struct held *held = agent->held_files->first; held != NULL; held = held->next)
        *used += bounded_bytes(held);
    if (max == 0)
        return UINT64_MAX;
    return *used < max ? max - *used : 0;
}

static void
set_trouble(struct agent *agent, struct held *held, enum trouble trouble, const char *why)
{
    static const char *const labels[] = {"", "room", "disk", "error"};
    metrics_add(agent->metrics,
                metrics_series(agent->metrics, METRIC_SPOOL_ERRORS, labels[trouble], NULL), 1);
    if (held->trouble != trouble)
        agent_say(agent, LOG_LEVEL_WARN,
                  "'%s' is deleted and not finished, and is only held open, which a kill of the "
                  "agent ends: %s; tried again",
                  held->file->path, why);
    held->trouble = trouble;
    held->again_ms = clock_monotonic_ms() + AGAIN_MS;
}

static bool
is_copying(const struct agent *agent)
{
    const struct held *held = agent->held_files->first;
    while (held != NULL && held->job == NULL)
        held = held->next;
    return held != NULL;
}

/* False: there is none for it now. A file is there twice while it is copied, so that beyond the
 * bound only one is at a time. */
static bool
room_for(struct agent *agent, const struct held *held, uint64_t size, uint64_t *room)
{
    uint64_t used;
    *room = held_copy_room(agent, &used);
    if (size <= *room)
        return true;
    if (is_copying(agent))
        return false;
    if (!held->writer)
        *room += bounded_bytes(held);
    return size <= *room;
}

/* The whole copy is read from now on: the disk has the file's own blocks back. */
static void
swap(struct agent *agent, struct held *held)
{
    struct file *file = held->file;
    struct stat about;
    int fd = spool_open(agent->held_files->spool, held->id);
    if (fd < 0 || file->fd < 0 || file->state != FILE_ACTIVE || fstat(fd, &about) != 0) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    file_replace(agent, file, &about, fd);
    held_unstore(held);
}

void
held_copy_take(struct agent *agent, struct held *held)
{
    struct held_files *files = agent->held_files;
    struct spool_result result;
    if (!spool_job_done(files->spool, held->job, &result))
        return;
    held_drop_job(files, held);
    held->copied = result.end;
    held->part = result.end > 0;
    if (result.what == UNPACK_FULL) {
        set_trouble(agent, held, TROUBLE_ROOM, "held_deleted_max leaves no room for a copy");
    } else if (result.what == UNPACK_FAILED) {
        int number = result.err.code;
        set_trouble(agent, held,
                    number == ENOSPC || number == EDQUOT ? TROUBLE_DISK : TROUBLE_ERROR,
                    result.err.text);
    } else if (result.whole) {
        held->trouble = TROUBLE_NONE;
        held->part = false;
        held->whole = true;
        swap(agent, held);
    } else {
        held->trouble = TROUBLE_NONE;
    }
}

static void
copy(struct agent *agent, struct held *held)
{
    struct held_files *files = agent->held_files;
    const struct file *file = held->file;
    uint64_t from = held->from < TAIL_SIZE_MAX ? 0 : held->from - TAIL_SIZE_MAX;
    struct spool_copy copy = {
        .id = held->id,
        .fd = file->fd,
        .from = from,
        .resume = held->part && held->copied > from ? held->copied : 0,
        .whole = !held->writer,
    };
    struct err err;
    uint64_t at = copy.resume > 0 ? copy.resume : from;
    if (!room_for(agent, held, file->size > at ? file->size - at : 0, &copy.room)) {
        if (is_copying(agent))
            return; /* it will be gone from the disk once more */
        set_trouble(agent, held, TROUBLE_ROOM, "held_deleted_max leaves no room for a copy");
        return;
    }
    if (!held_open_spool(agent)) {
        set_trouble(agent, held, TROUBLE_ERROR, "there is no spool");
        return;
    }
    state_put_progress(agent->state, file->generation); /* its size: what is missing is told */
    held->job = spool_start_copy(files->spool, &copy, &err);
    if (held->job == NULL)
        set_trouble(agent, held, TROUBLE_ERROR, err.text);
}

static bool
needs_copy(const struct agent *agent, const struct held *held)
{
    if (held->whole || held->job != NULL || !held_is_unread(held) || held->file->fd < 0)
        return false;
    if (held->stored && !agent->held_files->saving)
        return false;
    /* Once nobody writes to it any more, also what is copied already is made whole. */
    return held->file->size > held->copied || !held->writer;
}

void
held_copy_consider(struct agent *agent, struct held *held)
{
    uint64_t now_ms = clock_monotonic_ms();
    if (!needs_copy(agent, held) || now_ms < held->again_ms ||
        state_durable(agent->state) < held->from_sequence ||
        (!agent->held_files->saving && now_ms - held->since_ms < GRACE_MS))
        return;
    copy(agent, held);
}

/* --- the bound --- */

/* Given up, to stay within held_deleted_max. What is under way to Kafka may still arrive. */
static void
give_up(struct agent *agent, struct held *held)
{
    struct file *file = held->file;
    struct generation *generation = file->generation;
    uint64_t unread = file->size > file->read ? file->size - file->read : 0;
    generation->size = file->size = file->read;
    generation->gone = "held_deleted_max"; /* for what is under way, should it fail */
    agent_say(agent, LOG_LEVEL_ERROR,
              "'%s' is given up: deleted files that are not acknowledged take more than "
              "held_deleted_max",
              file->path);
    files_count_lost(agent, file, unread, "held_deleted_max");
    held_leave(agent, file);
    schedule_remove(agent, file);
    file_close(agent, file);
    file->state = FILE_ENDED;
    file_unlist(agent, file);
    state_put_generation(agent->state, generation);
    held_finish(agent, held);
}

/* Kept for an input that is not there any more: it may come back, but not at others' cost. */
static bool
give_up_unwanted(struct agent *agent, struct held *held)
{
    const struct generation *generation = catalog_find(&agent->catalog, held->id);
    if (agent->round == 0 || generation == NULL || input_named(agent, generation->input) != NULL)
        return false;
    agent_say(agent, LOG_LEVEL_ERROR,
              "what the spool has of '%s' is given up: deleted files take more than "
              "held_deleted_max, and its input '%s' is gone",
              generation->path, generation->input);
    held_finish(agent, held);
    return true;
}

void
held_copy_keep_bound(struct agent *agent)
{
    uint64_t max = agent->options->top.held_deleted_max;
    uint64_t used;
    (void)held_copy_room(agent, &used);
    for (struct held *held = agent->held_files->first; held != NULL && max > 0 && used > max;
         held = held->next) {
        uint64_t bytes = bounded_bytes(held);
        if (held->finished || bytes == 0)
            continue;
        if (held->file == NULL) {
            used -= give_up_unwanted(agent, held) ? bytes : 0;
            continue;
        }
        if ((held->writer && !held->whole) || held->file->state != FILE_ACTIVE)
            continue;
        give_up(agent, held);
        used -= bytes;
    }
}
