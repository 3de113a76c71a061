/* SPDX-License-Identifier: Apache-2.0 */
/* discovery.c: see discovery.h. */
#include "agent/inputs/discovery.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/inputs/account.h"
#include "agent/inputs/between.h"
#include "agent/inputs/births.h"
#include "agent/inputs/copies.h"
#include "agent/inputs/file.h"
#include "agent/inputs/files.h"
#include "agent/inputs/glob.h"
#include "agent/inputs/held.h"
#include "agent/inputs/input.h"
#include "agent/inputs/match.h"
#include "agent/inputs/mounts.h"
#include "agent/inputs/remotes.h"
#include "agent/inputs/watch.h"
#include "agent/pace.h"
#include "agent/reader.h"
#include "agent/schedule.h"
#include "agent/state.h"
#include "core/assert.h"
#include "core/clock.h"

struct discovery {
    bool skipped; /* some folder of the input could not be looked into */
    struct agent *agent;
    struct input *input;
};

/* What hangs has been told about; it is looked into when it answers. */
static bool
may_enter(void *context, const char *path)
{
    struct discovery *discovery = context;
    if (path_answers(discovery->agent, path))
        return true;
    discovery->agent->folders_failed++;
    discovery->skipped = true;
    return false;
}

static void
discovered_folder(void *context, const char *path)
{
    struct discovery *discovery = context;
    struct err err = {0};
    struct agent *agent = discovery->agent;
    if (agent->watch == NULL || remotes_of_path(agent->remotes, path) != NULL ||
        watch_folder(agent->watch, path, &err))
        return;
    agent->folders_unwatched++;
    metric failed = metrics_series(agent->metrics, METRIC_WATCH_ERRORS,
                                   err.code == ENOSPC ? "limit" : "error", NULL);
    if (metrics_value(agent->metrics, failed) == 0)
        agent_say(agent, LOG_LEVEL_WARN,
                  "%s; new lines there are seen by the sweep, up to some seconds later", err.text);
    metrics_add(agent->metrics, failed, 1);
}

static void
discovery_failed(void *context, const char *path, int number)
{
    struct discovery *discovery = context;
    discovery->agent->folders_failed++;
    agent_say(discovery->agent, LOG_LEVEL_WARN, "cannot look into '%s' for input '%s': %s", path,
              discovery->input->name, strerror(number));
}

/* It could not be opened before. True when it still cannot be: what waits in it grows. */
static bool
fails_again(struct file *file, const struct stat *about)
{
    int fd = file->error_number == 0 ? -1 : reader_open(file->path);
    if (fd >= 0 || file->error_number == 0) {
        if (fd >= 0)
            (void)close(fd);
        return false;
    }
    file->error_number = errno;
    file->size = (uint64_t)about->st_size;
    return true;
}

/* It is held back: match.c decides once more. */
static void
find_again(struct agent *agent, struct file *file, const struct stat *about)
{
    file->round = agent->round;
    struct find *find = finds_add(agent->finds, file->path, file->input, about);
    if (find != NULL)
        find->listed = input_matches(file->input->options, file->path);
}

static const char mount_missing[] =
    "its folder is on another file system now: is something not mounted?";

static void
reached_again(struct agent *agent, struct file *file)
{
    file->unreachable = false;
    file->error_number = 0;
    if (file->reason == mount_missing)
        file->reason = NULL;
    account_touch(agent, file);
}

/* The path is known with this inode. True when nothing more is to be decided. */
static bool
seen_again(struct agent *agent, struct file *file, const struct stat *about)
{
    if (file->unreachable)
        reached_again(agent, file);
    if (file->state == FILE_SUSPENDED) {
        find_again(agent, file, about);
        return true;
    }
    bool again = (file->state == FILE_FAILED && !fails_again(file, about)) ||
                 (file->state == FILE_IGNORED && stat_modified_ns(about) != file->modified_ns) ||
                 (file->state == FILE_REFUSED && (uint64_t)about->st_size < file->size);
    if (again) {
        file_free(agent, file);
        return false;
    }
    file->round = agent->round;
    file_seen(agent, file, about);
    return true;
}

/* The inode is known under another path. True when it stays so, or was renamed to this one. */
static bool
known_elsewhere(struct agent *agent, struct file *other, const char *path)
{
    struct stat about;
    if (!remote_answers(other->remote))
        return true;
    bool still_there = other->listed && stat(other->path, &about) == 0 &&
                       (uint64_t)about.st_ino == other->inode &&
                       (uint64_t)about.st_dev == other->device;
    if (still_there)
        return true; /* two paths, one inode: read once */
    if (other->first != NULL && other->state != FILE_ACTIVE)
        return true; /* its input let it go: whoever wants it goes on behind its last answers */
    if (other->state == FILE_SUSPENDED && file_by_path(agent, path) == NULL &&
        fstat(other->fd, &about) == 0 && file_rename(agent, other, path)) {
        find_again(agent, other, &about);
        return true;
    }
    if (other->state != FILE_ACTIVE) {
        file_free(agent, other);
        return false;
    }
    other->round = agent->round;
    between_note(agent, other->path, other->input, other->modified_ns);
    (void)file_rename(agent, other, path); /* failed: again at the next discovery */
    return true;
}

/* A link to a file that an input reads by its own path: the real path is the better name. */
static bool
is_link_to_listed(const struct agent *agent, const char *path)
{
    struct stat about;
    char real[PATH_MAX];
    if (lstat(path, &about) != 0 || !S_ISLNK(about.st_mode) || realpath(path, real) == NULL)
        return false;
    for (const struct input *input = agent->inputs; input != NULL; input = input->next)
        if (input_matches(input->options, real))
            return true;
    return false;
}

/* Another file has its path. Without a descriptor, nothing leads to it any more: its life is
 * looked for like one from before the start. */
static void
path_was_taken(struct agent *agent, struct file *file)
{
    if (file->state == FILE_SUSPENDED && file->fd >= 0) {
        file_unlist(agent, file); /* the walk may meet it under another name */
        return;
    }
    if (file->first != NULL || (file->state == FILE_ACTIVE && file->fd >= 0)) {
        file_unlist(agent, file);
        held_look(agent, file);
        return;
    }
    if (file->generation != NULL)
        file->generation->gone = "deleted";
    file_free(agent, file);
}

/* The file that is read under this path, by what its folder says: what is in it is the sweep's
 * business. */
static bool
is_still(const struct file *file, const struct glob_found *found)
{
    return found->is_file && file->state == FILE_ACTIVE && file->error_number == 0 &&
           file->inode == found->inode;
}

static void
discovered_file(void *context, const struct glob_found *found)
{
    struct discovery *discovery = context;
    struct agent *agent = discovery->agent;
    const char *path = found->path;
    struct file *file = file_by_path(agent, path);
    if (file != NULL && (is_still(file, found) || !remote_answers(file->remote))) {
        file->round = agent->round;
        return;
    }
    struct stat about;
    const char *refusal =
        input_refuses(discovery->input->options, agent->options->top.state_dir, path);
    if (refusal != NULL && !path_is_kafka_data(path))
        return;
    if (stat(path, &about) != 0 || !S_ISREG(about.st_mode) ||
        (!found->is_file && is_link_to_listed(agent, path)))
        return;
    bool same = file != NULL && file->device == (uint64_t)about.st_dev &&
                file->inode == (uint64_t)about.st_ino;
    if (same && seen_again(agent, file, &about))
        return;
    file = file_by_path(agent, path);
    if (file != NULL) { /* the path has another inode now */
        if (copies_go_on(agent, file, path) != BELONGS_NO)
            return;
        between_note(agent, path, file->input, file->modified_ns);
        path_was_taken(agent, file);
    }
    if (agent->own_log_inode == (uint64_t)about.st_ino && agent->own_log_inode != 0 &&
        agent->own_log_device == (uint64_t)about.st_dev)
        refusal = "it is the agent's own log";
    if (refusal != NULL) {
        file = file_new(agent, discovery->input, path, &about, FILE_REFUSED);
        if (file != NULL)
            births_refuse(agent, file, "own_data", refusal);
        return;
    }
    struct file *other = file_by_inode(agent, (uint64_t)about.st_dev, (uint64_t)about.st_ino);
    if (other != NULL && known_elsewhere(agent, other, path))
        return;
    (void)finds_add(agent->finds, path, discovery->input, &about);
}

/* It was held back, and no path leads to it any more: what it holds is read. */
static void
begin_unlisted(struct agent *agent, struct file *file)
{
    if (!births_begin_held(agent, file)) {
        file_free(agent, file); /* without a descriptor, or memory */
        return;
    }
    file_unlist(agent, file);
    held_look(agent, file);
}

/* It could not be looked at, or what it lies on is not there: nothing is concluded. */
static void
note_unreachable(struct agent *agent, struct file *file, int number)
{
    if (!file->unreachable && file->state == FILE_ACTIVE) {
        bool mount = number == ENOENT || number == ENOTDIR;
        file->unreachable = true;
        file->error_number = mount ? ENODEV : number;
        if (mount && file->reason == NULL)
            file->reason = mount_missing;
        agent_say(agent, LOG_LEVEL_WARN, "cannot look at '%s': %s; it is kept and tried again",
                  file->path, mount ? mount_missing : strerror(number));
    }
    account_touch(agent, file);
}

/* What this discovery has not met: is it gone, renamed, or could it not be looked at? */
static void
check_unseen(struct agent *agent, struct file *file)
{
    struct stat about;
    if (!remote_answers(file->remote) || !path_answers(agent, file->path))
        return;
    bool there = stat(file->path, &about) == 0;
    int number = there ? 0 : errno;
    bool gone = number == ENOENT || number == ENOTDIR;
    if (!there && (!gone || (file->fd < 0 && mount_is_gone(file->path, file->device)))) {
        note_unreachable(agent, file, number);
        return;
    }
    if (there && (uint64_t)about.st_ino == file->inode && (uint64_t)about.st_dev == file->device) {
        if (file->state == FILE_SUSPENDED)
            find_again(agent, file, &about);
        else
            file_seen(agent, file, &about);
        return;
    }
    between_note(agent, file->path, file->input, file->modified_ns);
    file_unlist(agent, file);
    if (file->state == FILE_SUSPENDED) {
        begin_unlisted(agent, file);
        return;
    }
    if (file->state != FILE_ACTIVE) {
        if (file->first == NULL)
            file_free(agent, file);
        return;
    }
    if (file->fd < 0 && file->first == NULL) {
        file->generation->gone = "deleted";
        file_free(agent, file); /* looked for among its siblings right below */
        return;
    }
    held_look(agent, file);
    schedule_file(agent, file);
}

/* Rotated files that grew after they were let go: their writer was silent for a while, or could
 * not be seen (only a file's owner and root may ask for a lease). They are taken up again. */
static void
look_at_released(struct agent *agent)
{
    for (struct generation *at = agent->catalog.first; at != NULL; at = at->next) {
        struct stat about;
        if (at->released && at->file == NULL && path_answers(agent, at->path) &&
            stat(at->path, &about) == 0 && (uint64_t)about.st_ino == at->inode &&
            (uint64_t)about.st_dev == at->device && (uint64_t)about.st_size > at->committed)
            at->searched = false;
    }
}

bool
discovery_continue(struct agent *agent)
{
    ASSERT(agent->finds != NULL);

    if (!match_finds(agent, agent->finds))
        return false;
    bool decided = !agent->finds->undecided && !agent->finds->lacking;
    finds_done(agent->finds);
    free(agent->finds);
    agent->finds = NULL;
    if (!decided)
        return true; /* `start_at` still holds for what is found then */
    for (struct input *input = agent->inputs; input != NULL; input = input->next) {
        if (input->round != agent->round)
            continue;
        state_put_input(agent->state, input->name);
        input->first_start = false;
    }
    return true;
}

bool
discovery_begin(struct agent *agent)
{
    ASSERT(agent->finds == NULL);

    agent->finds = malloc(sizeof(*agent->finds));
    if (agent->finds == NULL)
        return true; /* the next one may have memory */
    struct pace_span span = pace_begin();
    agent->folders_failed = agent->folders_unwatched = 0;
    look_at_released(agent);
    struct discovery discovery = {.agent = agent};
    finds_init(agent->finds);
    agent->round++;
    bool whole = true;
    for (struct input *input = agent->inputs; input != NULL; input = input->next) {
        discovery.input = input;
        discovery.skipped = false;
        struct glob_walk walk = {may_enter, discovered_folder, discovered_file, discovery_failed,
                                 &discovery};
        for (size_t i = 0; i < input->options->paths.count; i++) {
            struct err err = {0};
            if (!glob_expand(input->options->paths.items[i], &walk, &err)) {
                agent_say(agent, LOG_LEVEL_WARN, "%s", err.text);
                whole = false;
            }
        }
        input->skipped = discovery.skipped;
    }
    for (struct file *file = agent->files, *next; file != NULL && whole; file = next) {
        next = file->next;
        account_touch(agent, file); /* all are counted anew now and then */
        if (file->listed && file->round != agent->round)
            check_unseen(agent, file);
        else if (!file->listed && file->state == FILE_SUSPENDED)
            begin_unlisted(agent, file);
    }
    held_attach(agent);
    agent->walk_us = pace_cost_us(span);
    for (struct input *input = agent->inputs; input != NULL && whole; input = input->next)
        if (!input->skipped)
            input->round = agent->round;
    return discovery_continue(agent);
}
