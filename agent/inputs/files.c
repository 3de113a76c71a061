/* SPDX-License-Identifier: Apache-2.0 */
/* files.c: see files.h. */
#include "agent/inputs/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/delivery.h"
#include "agent/inputs/account.h"
#include "agent/inputs/births.h"
#include "agent/inputs/copies.h"
#include "agent/inputs/file.h"
#include "agent/inputs/held.h"
#include "agent/inputs/input.h"
#include "agent/inputs/match.h"
#include "agent/inputs/remotes.h"
#include "agent/inputs/siblings.h"
#include "agent/inputs/sweep.h"
#include "agent/reader.h"
#include "agent/receipts.h"
#include "agent/schedule.h"
#include "agent/state.h"
#include "core/clock.h"

#define RELEASE_QUIET_MS 5000 /* a rotated file is let go this long after its last byte */
/* Where nobody can tell whether a writer is left. What is deleted takes room on the disk. */
#define BLIND_QUIET_MS (24 * 3600 * (int64_t)1000)
#define BLIND_QUIET_DELETED_MS (15 * 60 * (int64_t)1000)
#define FORGET_EVERY_MS ((uint64_t)600 * 1000)
#define FORGET_FIRST_MS                                                                            \
    ((uint64_t)3600 * 1000)                  /* a clock that is wrong after boot is set by then */
#define FORGET_AFTER_SECONDS (7 * 24 * 3600) /* lives that nobody has seen */
/* Lives whose folder is not there: it may be a disk that somebody brings back. */
#define FORGET_MISSING_SECONDS (35 * 24 * 3600)

/* --- network mounts --- */

static const char mount_hangs[] = "its network mount does not answer";

bool
path_answers(const struct agent *agent, const char *path)
{
    return remote_answers(remotes_of_path(agent->remotes, path));
}

void
files_remote_changed(struct agent *agent, const struct remote *remote)
{
    for (struct file *file = agent->files; file != NULL; file = file->next) {
        if (file->remote != remote || file->state != FILE_ACTIVE)
            continue;
        if (remote->hung && file->reason == NULL) {
            file->reason = mount_hangs;
            file->error_number = ETIMEDOUT;
        } else if (!remote->hung && file->reason == mount_hangs) {
            file->reason = NULL;
            file->error_number = 0;
            file->modified_ns = 0; /* the next look takes it up */
        }
        account_touch(agent, file);
    }
    if (!remote->hung)
        agent->rediscover(agent);
}

/* --- hints --- */

bool
files_hint(struct agent *agent, const char *path)
{
    struct file *file = file_by_path(agent, path);
    if (file != NULL && (file->state == FILE_IGNORED || file->state == FILE_SUSPENDED))
        agent->rediscover(agent); /* written again: it may be wanted now */
    if (file == NULL || file->state != FILE_ACTIVE)
        return file != NULL && file->state == FILE_REFUSED;
    sweep_hinted(agent, file);
    return true;
}

/* --- the end of a file --- */

/* The metric's label, for people. */
static const char *
why_lost(const char *label)
{
    static const char *const words[][2] = {
        {"deleted", "the file was deleted"},
        {"truncated", "the file was truncated"},
        {"shorter", "the file lost its end"},
        {"vanished", "the file is gone, and no other was found to have its content"},
        {"held_deleted_max", "deleted files took more room than held_deleted_max allows"},
        {"compressed", "they are in a compressed file that cannot be unpacked; when it is "
                       "replaced by a whole one they are read after all"},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(words[i][0], label) == 0)
            return words[i][1];
    return label;
}

void
files_count_lost(struct agent *agent, const struct file *file, uint64_t bytes, const char *reason)
{
    if (bytes == 0)
        return;
    agent->lost_total += bytes;
    metrics_add(agent->metrics,
                metrics_series(agent->metrics, METRIC_LOST_BYTES, file->input->name, reason, NULL),
                bytes);
    agent_say(agent, LOG_LEVEL_ERROR, "%llu bytes of '%s' were not shipped and are gone: %s",
              (unsigned long long)bytes, file->path, why_lost(reason));
}

void
files_settled(struct agent *agent, struct file *file)
{
    if (file->state != FILE_ENDED)
        return;
    state_put_progress(agent->state, file->generation);
    file->generation->changed = false;
    file_free(agent, file);
    agent->rediscover(agent); /* another input may read it */
}

/* Does its path, as far as it is known, lead to the open file? */
static bool
path_leads_to(const struct file *file, const struct stat *open)
{
    struct stat about;
    if (!file->listed)
        return false;
    if (stat(file->path, &about) != 0)
        return errno != ENOENT && errno != ENOTDIR;
    return about.st_ino == open->st_ino && about.st_dev == open->st_dev;
}

void
files_changed(struct agent *agent, struct file *file)
{
    struct generation *generation = file->generation;
    struct stat about;
    if (file->fd >= 0 && fstat(file->fd, &about) != 0)
        return; /* could not look: nothing is concluded */
    /* What was known to be there: all of it when it became shorter, else what was seen of it
     * before other bytes stood in its place. */
    uint64_t known = file->read > file->scanned ? file->read : file->scanned;
    bool shorter = file->fd >= 0 && (uint64_t)about.st_size < file->size;
    if (!shorter && known < file->size)
        file->size = known;
    agent_say(agent, LOG_LEVEL_INFO,
              "'%s' was truncated or rewritten; %llu of its %llu bytes were delivered%s",
              file->path, (unsigned long long)generation->committed, (unsigned long long)file->size,
              generation->committed < file->size ? ", the others are looked for in a copy beside it"
                                                 : "");
    metrics_add(
        agent->metrics,
        metrics_series(agent->metrics, METRIC_GENERATIONS, file->input->name, "truncated", NULL),
        1);
    account_rotated(agent, file->path, file->input, true);
    schedule_remove(agent, file);
    /* This inode carries another life now. Should a sibling have the old content, it is found
     * there; else what was known of it is counted by whoever looks for it. */
    agent->truncated = true;
    generation->size = file->size;
    generation->gone = "truncated";
    generation->inode = 0;
    generation->birth_ns = 0;
    file->state = FILE_ENDED;
    bool leads = file->fd < 0 || path_leads_to(file, &about);
    file_unlist(agent, file);
    if (!leads)
        (void)births_begin_next(agent, file, file->fd);
    file_close(agent, file);
    state_put_generation(agent->state, generation);
    agent->rediscover(agent);
}

void
files_failed(struct agent *agent, struct file *file, const struct err *err)
{
    if (file->error_number == 0)
        agent_say(agent, LOG_LEVEL_WARN, "%s; it is tried again", err->text);
    int number = err->code == 0 ? ESTALE : err->code;
    if (number != file->error_number)
        agent->rediscover(agent); /* another file may have the path */
    file->error_number = number;
    file->modified_ns = 0; /* the next look takes it up */
    account_touch(agent, file);
}

void
files_idle(struct agent *agent, struct file *file)
{
    file->error_number = 0;
    if (file->first == NULL && file->generation->committed >= file->size)
        file->behind_since_ms = 0;
    if (agent->open_count > agent->open_max && file->listed && file->first == NULL)
        file_close(agent, file);
}

/* May anybody still write to the open file? A lease for reading is refused while somebody has it
 * open for writing. Leases are for the file's owner, or CAP_LEASE: without them only time tells. */
bool
files_may_be_written(int fd, int64_t quiet_ms, bool deleted)
{
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
        (void)fcntl(fd, F_SETLEASE, F_UNLCK);
        return false;
    }
    return errno == EAGAIN || quiet_ms < (deleted ? BLIND_QUIET_DELETED_MS : BLIND_QUIET_MS);
}

static void
forget(struct agent *agent, struct generation *generation)
{
    state_forget(agent->state, generation);
    receipts_end(agent, generation);
    generation_remove(&agent->catalog, generation);
}

/* A file that no path leads to: closed when it is finished and nobody writes to it. True when it
 * is freed, with its life if it was deleted. */
static bool
consider_release(struct agent *agent, struct file *file)
{
    struct stat about;
    /* A stop forgets nothing: what had its path since is looked for by the next start. */
    if (held_is_at_the_end(agent) || fstat(file->fd, &about) != 0)
        return false;
    file_seen(agent, file, &about);
    int64_t quiet_ms = clock_wall_ms() - file->modified_ns / 1000000;
    int64_t watched_ms = (int64_t)(clock_monotonic_ms() - file->grown_ms);
    int64_t blind_ms = quiet_ms < watched_ms ? quiet_ms : watched_ms; /* the clock may be set */
    if (file->state != FILE_ACTIVE || file->queued || file->first != NULL ||
        (!held_is_whole(file) &&
         (quiet_ms < RELEASE_QUIET_MS || files_may_be_written(file->fd, blind_ms, file->deleted))))
        return false;
    struct generation *generation = file->generation;
    if (generation->committed < (uint64_t)about.st_size) {
        file->flush_end = true; /* its last line will not be completed */
        schedule_file(agent, file);
        return false;
    }
    char link[64];
    char path[PATH_MAX];
    int length = snprintf(link, sizeof(link), "/proc/self/fd/%d", file->fd);
    ssize_t size = length > 0 ? readlink(link, path, sizeof(path) - 1) : -1;
    bool deleted = about.st_nlink == 0 || file->held != NULL;
    if (size > 0 && !deleted) {
        path[size] = '\0';
        (void)generation_set_path(generation, path);
    }
    generation->searched = true;
    generation->released = true;
    generation->seen_seconds = clock_wall_ms() / 1000; /* it may have been idle for long */
    file_free(agent, file);
    if (deleted)
        forget(agent, generation);
    else
        state_put_generation(agent->state, generation);
    return true;
}

/* The folder that it was in is not there: nobody can look for it. */
static bool
folder_is_missing(const struct agent *agent, const struct generation *generation)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(generation->path, '/');
    size_t size = slash == NULL ? sizeof(folder) : (size_t)(slash - generation->path);
    struct stat about;
    if (size >= sizeof(folder) || !path_answers(agent, generation->path))
        return false;
    memcpy(folder, generation->path, size);
    folder[size] = '\0';
    return size > 0 && stat(folder, &about) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

/* Age alone proves nothing: a file that nobody wrote to for a month may be found in a moment. */
static void
forget_old(struct agent *agent)
{
    int64_t now = clock_wall_ms() / 1000;
    for (struct generation *at = agent->catalog.first, *next; at != NULL; at = next) {
        next = at->next;
        int64_t age = now - at->seen_seconds;
        if (at->file != NULL || age <= FORGET_AFTER_SECONDS)
            continue;
        struct input *input = input_named(agent, at->input);
        bool missing = input != NULL && !at->searched && age > FORGET_MISSING_SECONDS &&
                       folder_is_missing(agent, at);
        if (missing)
            siblings_give_up(agent, at, input); /* what was not read of it is said, and counted */
        if (at->searched || input == NULL)
            forget(agent, at);
    }
}

void
files_clock_was_set(struct agent *agent)
{
    agent->forget_at_ms = clock_monotonic_ms() + (uint64_t)FORGET_AFTER_SECONDS * 1000;
}

/* --- about once a second --- */

static void
write_progress(struct agent *agent, struct file *file)
{
    struct generation *generation = file->generation;
    struct err err = {0};
    bool was_empty = generation->head_size == 0;
    if (was_empty && copies_hold_first_bytes(agent, file))
        return;
    if (generation->head_size < HEAD_SIZE_MAX && file->fd >= 0 && file->state == FILE_ACTIVE &&
        file->size > generation->head_size &&
        !generation_grow_head(generation, file->fd, file->size, &err) && err.action == ERR_REJECT) {
        files_changed(agent, file);
        return;
    }
    if (was_empty && generation->head_size > 0)
        reader_put_start(agent, file);
    else if (!generation->start_known[0] && generation->head_size >= START_SIZE_LONG &&
             file->fd >= 0) /* it was shorter at its birth, or could not be read */
        generation_know_start(&agent->catalog, generation, file->fd);
    if (!generation->changed)
        return;
    generation->changed = false;
    generation->seen_seconds = clock_wall_ms() / 1000;
    state_put_progress(agent->state, generation);
}

/* What is to be done with one busy file. It may be freed by it. */
static void
tick_file(struct agent *agent, struct file *file, uint64_t now_ms)
{
    if (file->refused_until_ms != 0 && now_ms >= file->refused_until_ms) {
        file->refused_until_ms = 0;
        schedule_file(agent, file);
    }
    if (file->state == FILE_ENDED && file->first == NULL) {
        files_settled(agent, file);
        return;
    }
    if (!remote_answers(file->remote))
        return;
    if (file->remote != NULL && file->error_number == 0 && file->size > file->read)
        schedule_file(agent, file); /* its turn may have come while it did not answer */
    if (file->state == FILE_SUSPENDED && copies_are_due(file, now_ms))
        agent->rediscover(agent);
    if (file->state != FILE_ACTIVE)
        return;
    if (!file->listed && file->fd >= 0) {
        if (!consider_release(agent, file) && file->state == FILE_ACTIVE)
            write_progress(agent, file);
        return;
    }
    if (file->error_number != 0)
        sweep_look(agent, file); /* it may be readable again */
    if (file->state == FILE_ACTIVE)
        write_progress(agent, file);
    /* To close a file of a FUSE that hangs does not come back either, not even by the exit. */
    if (file->remote != NULL && file->state == FILE_ACTIVE && file->listed && !file->queued &&
        file->first == NULL && file_lag(file) == file_unfinished(file))
        file_close(agent, file);
}

void
files_tick(struct agent *agent)
{
    uint64_t now_ms = clock_monotonic_ms();
    for (struct file *file = agent->busy, *next; file != NULL; file = next) {
        next = file->busy_next;
        tick_file(agent, file, now_ms);
    }
    account_tick(agent);
    for (struct input *input = agent->inputs, *next; input != NULL; input = next) {
        next = input->next;
        if (!input->removed || !input_remove(agent, input))
            input_publish(agent, input, now_ms);
    }
    held_tick(agent);
    if (agent->forget_at_ms == 0)
        agent->forget_at_ms = now_ms + FORGET_FIRST_MS;
    if (!agent->clock_is_wrong && now_ms >= agent->forget_at_ms) {
        forget_old(agent);
        agent->forget_at_ms = now_ms + FORGET_EVERY_MS;
    }
}

void
files_state_is_durable(struct agent *agent)
{
    uint64_t durable = state_durable(agent->state);
    for (struct file *file = agent->busy; file != NULL; file = file->busy_next)
        if (file->state == FILE_ACTIVE && !file->queued && file->size > file->read &&
            file->generation->durable_at <= durable)
            schedule_file(agent, file);
}

static bool
hangs(const struct file *file)
{
    return file->remote != NULL && file->remote->hung;
}

/* Files that are not busy are shipped: account.h. Those of a mount that hangs are left out. */
bool
files_all_done(struct agent *agent)
{
    bool done = !held_is_searching(agent);
    bool busy = false;
    for (const struct file *file = agent->busy; file != NULL; file = file->busy_next) {
        bool open = file->state == FILE_ENDED ||
                    (file->state == FILE_ACTIVE &&
                     ((file->queued && !hangs(file)) || file->first != NULL ||
                      file->generation->durable_at > state_durable(agent->state)));
        busy |= open;
        done &= !open;
        done &= hangs(file) ||
                (file->state != FILE_SUSPENDED &&
                 (file->state != FILE_ACTIVE || file->generation->committed >= file->size));
    }
    for (struct file *file = agent->busy; file != NULL && !busy; file = file->busy_next)
        if (file->state == FILE_ACTIVE && file->generation->committed < file->size &&
            !hangs(file)) {
            file->flush_end = true;
            schedule_file(agent, file);
        }
    return done;
}

void
files_done(struct agent *agent)
{
    rotations_done(&agent->rotations);
    match_done(agent);
    held_free(agent);
    for (struct file *file = agent->files; file != NULL; file = file->next) {
        while (file->first != NULL) {
            struct batch *batch = file->first;
            file->first = batch->next;
            batch_put(agent, batch);
        }
        file->last = NULL;
        file->unanswered = 0;
    }
    while (agent->files != NULL)
        file_free(agent, agent->files);
    while (agent->inputs != NULL) {
        struct input *next = agent->inputs->next;
        input_free(agent->inputs);
        agent->inputs = next;
    }
}
