/* SPDX-License-Identifier: Apache-2.0 */
/* files.c: see files.h. */
#include "agent/inputs/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/delivery.h"
#include "agent/inputs/account.h"
#include "agent/inputs/between.h"
#include "agent/inputs/births.h"
#include "agent/inputs/copies.h"
#include "agent/inputs/file.h"
#include "agent/inputs/glob.h"
#include "agent/inputs/held.h"
#include "agent/inputs/match.h"
#include "agent/inputs/mounts.h"
#include "agent/inputs/remotes.h"
#include "agent/inputs/sweep.h"
#include "agent/inputs/watch.h"
#include "agent/pace.h"
#include "agent/reader.h"
#include "agent/schedule.h"
#include "agent/state.h"
#include "agent/topics.h"
#include "core/assert.h"
#include "core/clock.h"

#define KAFKA_DATA "/var/lib/kafka-logs" /* to tail Kafka's own log into Kafka never ends */
#define RELEASE_QUIET_MS 5000 /* a rotated file is let go this long after its last byte */
/* Where nobody can tell whether a writer is left. What is deleted takes room on the disk. */
#define BLIND_QUIET_MS (24 * 3600 * (int64_t)1000)
#define BLIND_QUIET_DELETED_MS (15 * 60 * (int64_t)1000)
#define FORGET_EVERY_MS ((uint64_t)600 * 1000)
#define FORGET_AFTER_SECONDS (7 * 24 * 3600) /* lives that nobody has seen */

#define SHOWN_STATES 5 /* of enum file_state; ended files are nobody's */
static const char *const state_names[SHOWN_STATES] = {"reading", "ignored", "refused", "failed",
                                                      "suspended"};

/* --- inputs --- */

static bool
is_below(const char *path, const char *folder)
{
    size_t size = strlen(folder);
    while (size > 1 && folder[size - 1] == '/')
        size--;
    return strncmp(path, folder, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

bool
input_matches(const struct agent_files_options *options, const char *path)
{
    for (size_t i = 0; i < options->exclude.count; i++)
        if (glob_excludes(options->exclude.items[i], path))
            return false;
    for (size_t i = 0; i < options->paths.count; i++)
        if (glob_match(options->paths.items[i], path))
            return true;
    return false;
}

const char *
input_refuses(const struct agent_files_options *options, const char *state_dir, const char *path)
{
    for (size_t i = 0; i < options->exclude.count; i++)
        if (glob_excludes(options->exclude.items[i], path))
            return "it is excluded";
    if (is_below(path, state_dir))
        return "it is the agent's own state";
    if (is_below(path, KAFKA_DATA))
        return "it is Kafka's own data";
    return NULL;
}

static void
input_free(struct input *input)
{
    buffer_done(&input->before_path);
    buffer_done(&input->after_offset);
    free(input->queues);
    free(input->name);
    free(input);
}

static const char *
topic_name_of(const struct agent *agent, const struct agent_files_options *options)
{
    return options->topic[0] == '\0' ? agent->options->kafka.topic : options->topic;
}

/* Counters that are there before they count: a rate over the first loss must see it. */
static void
add_zeros(struct metrics *metrics, const char *input)
{
    static const char *const losses[] = {"deleted",  "truncated",        "shorter",
                                         "vanished", "held_deleted_max", "compressed"};
    static const char *const refusals[] = {"binary", "compressed", "own_data"};
    static const char *const lives[] = {"new",       "truncated", "renamed",      "copied",
                                        "replaced",  "ambiguous", "inode_reused", "own_after_grace",
                                        "power_cut", "foreign"};
    for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++)
        (void)metrics_series(metrics, METRIC_LOST_BYTES, input, losses[i], NULL);
    (void)metrics_series(metrics, METRIC_SKIPPED_BYTES, input, "zeros", NULL);
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        (void)metrics_series(metrics, METRIC_REFUSED_FILES, input, refusals[i], NULL);
    for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++)
        (void)metrics_series(metrics, METRIC_GENERATIONS, input, lives[i], NULL);
}

bool
input_new(struct input **out, struct agent *agent, const struct agent_files_options *options,
          struct err *err)
{
    struct input *input = calloc(1, sizeof(*input));
    if (input == NULL || (input->name = strdup(options->name)) == NULL) {
        free(input);
        return err_errno(err, ERR_STOP, ENOMEM, "add the input '%s'", options->name);
    }
    input->options = options;
    buffer_init(&input->before_path, ENVELOPE_SIZE_MAX);
    buffer_init(&input->after_offset, ENVELOPE_SIZE_MAX);
    input->topic = topic_get(agent, topic_name_of(agent, options), err);
    if (input->topic == NULL || !reader_render_input(input, err)) {
        input_free(input);
        return false;
    }
    input->first_start = !state_input_seen(agent->state, input->name);
    input->tokens_ms = clock_monotonic_ms();
    struct metrics *metrics = agent->metrics;
    input->events = metrics_series(metrics, METRIC_EVENTS, input->name, NULL);
    input->bytes = metrics_series(metrics, METRIC_BYTES, input->name, NULL);
    input->lag_bytes = metrics_series(metrics, METRIC_LAG_BYTES, input->name, NULL);
    input->loss_seconds = METRIC_NONE;
    input->unfinished_bytes = metrics_series(metrics, METRIC_UNFINISHED_BYTES, input->name, NULL);
    input->lag_seconds = metrics_series(metrics, METRIC_LAG_SECONDS, input->name, NULL);
    for (size_t i = 0; i < SHOWN_STATES; i++)
        input->states[i] = metrics_series(metrics, METRIC_FILES, input->name, state_names[i], NULL);
    input->empty_lines = metrics_series(metrics, METRIC_SKIPPED_LINES, input->name, "empty", NULL);
    add_zeros(metrics, input->name);
    *out = input;
    return true;
}

struct input *
input_named(const struct agent *agent, const char *name)
{
    struct input *input = agent->inputs;
    while (input != NULL && strcmp(input->name, name) != 0)
        input = input->next;
    return input;
}

/* It is not read any more; what is under way is finished first. */
static void
drop_file(struct agent *agent, struct file *file)
{
    schedule_remove(agent, file);
    file_unlist(agent, file);
    file_close(agent, file);
    if (file->first == NULL) {
        file_free(agent, file);
        return;
    }
    file->state = FILE_ENDED;
}

bool
input_apply(struct agent *agent, struct input *input, const struct agent_files_options *options,
            struct err *err)
{
    input->options = options; /* first: those it had are freed, also when the rest fails */
    input->removed = false;   /* it may have been taken out by the reload before this one */
    struct topic *topic = topic_get(agent, topic_name_of(agent, options), err);
    if (topic == NULL || !reader_render_input(input, err))
        return false;
    for (struct file *file = agent->files, *next; file != NULL; file = next) {
        next = file->next;
        if (file->input == input && file->state != FILE_ENDED && file->listed &&
            (!input_matches(options, file->path) || file->state != FILE_ACTIVE))
            drop_file(agent, file);
    }
    if (topic == input->topic)
        return true;
    for (struct file *file = agent->files; file != NULL; file = file->next)
        if (file->input == input && file->queued)
            schedule_remove(agent, file);
    free(input->queues);
    input->queues = NULL;
    input->queue_count = 0;
    input->cursor = 0;
    input->topic = topic;
    for (struct file *file = agent->files; file != NULL; file = file->next)
        if (file->input == input)
            schedule_file(agent, file);
    return true;
}

bool
input_remove(struct agent *agent, struct input *input)
{
    for (struct file *file = agent->files, *next; file != NULL; file = next) {
        next = file->next;
        if (file->input == input && file->state != FILE_ENDED)
            drop_file(agent, file);
    }
    if (input->file_count > 0) {
        static const struct agent_files_options nothing = {.name = ""};
        input->options = &nothing; /* those it had may be freed */
        input->removed = true;
        return false;
    }
    match_done(agent); /* they point to inputs */
    struct input **link = &agent->inputs;
    while (*link != input)
        link = &(*link)->next;
    *link = input->next;
    metrics_remove(agent->metrics, input->lag_bytes);
    metrics_remove(agent->metrics, input->lag_seconds);
    metrics_remove(agent->metrics, input->unfinished_bytes);
    metrics_remove(agent->metrics, input->loss_seconds);
    for (size_t i = 0; i < SHOWN_STATES; i++)
        metrics_remove(agent->metrics, input->states[i]);
    input_free(input);
    return true;
}

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

/* --- discovery --- */

struct discovery {
    bool skipped; /* some folder of the input could not be looked into */
    struct agent *agent;
    struct watch *watch;
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
    if (discovery->watch == NULL || remotes_of_path(discovery->agent->remotes, path) != NULL ||
        watch_folder(discovery->watch, path, &err))
        return;
    struct agent *agent = discovery->agent;
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

/* An editor or a backup put a copy, as long or longer, in the file's place: the life goes on in it,
 * with all that is under way. Not while somebody may still write to the old one. */
static bool
goes_on_in_copy(struct agent *agent, struct file *file, const char *path)
{
    struct stat old;
    struct stat about;
    const struct generation *generation = file->generation;
    if (file->state != FILE_ACTIVE || file->fd < 0 || generation->committed < CONTENT_SIZE_MIN ||
        fstat(file->fd, &old) != 0 || old.st_nlink > 0 || files_may_be_written(file->fd, 0, true))
        return false;
    int fd = reader_open(path);
    if (fd < 0)
        return false;
    char tail[TAIL_SIZE_MAX];
    size_t size = file->read < sizeof(tail) ? (size_t)file->read : sizeof(tail);
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode) || about.st_size < old.st_size ||
        file_by_inode(agent, (uint64_t)about.st_dev, (uint64_t)about.st_ino) != NULL ||
        generation_belongs(generation, fd, (uint64_t)about.st_size) != BELONGS_YES ||
        pread(fd, tail, size, (off_t)(file->read - size)) != (ssize_t)size ||
        generation_hash(tail, size) != file->read_hash) {
        (void)close(fd);
        return false;
    }
    file_replace(agent, file, &about, fd);
    file->round = agent->round;
    return true;
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
    if (refusal != NULL && !is_below(path, KAFKA_DATA))
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
        if (goes_on_in_copy(agent, file, path))
            return;
        between_note(agent, path, file->input, file->modified_ns);
        path_was_taken(agent, file);
    }
    if (agent->own_log_inode == (uint64_t)about.st_ino && agent->own_log_inode != 0 &&
        agent->own_log_device == (uint64_t)about.st_dev)
        refusal = "it is the agent's own log";
    if (refusal != NULL) {
        file = file_new(agent, discovery->input, path, &about, FILE_REFUSED);
        if (file == NULL)
            return;
        file->reason = refusal;
        metrics_add(agent->metrics,
                    metrics_series(agent->metrics, METRIC_REFUSED_FILES, file->input->name,
                                   "own_data", NULL),
                    1);
        agent_say(agent, LOG_LEVEL_WARN, "'%s' of input '%s' is not read: %s", path,
                  file->input->name, refusal);
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
files_discover_more(struct agent *agent)
{
    ASSERT(agent->finds != NULL);

    if (!match_finds(agent, agent->finds))
        return false;
    finds_done(agent->finds);
    free(agent->finds);
    agent->finds = NULL;
    for (struct input *input = agent->inputs; input != NULL; input = input->next) {
        if (input->round != agent->round)
            continue;
        state_put_input(agent->state, input->name);
        input->first_start = false;
    }
    return true;
}

bool
files_discover(struct agent *agent, struct watch *watch)
{
    ASSERT(agent->finds == NULL);

    agent->finds = malloc(sizeof(*agent->finds));
    if (agent->finds == NULL)
        return true; /* the next one may have memory */
    struct pace_span span = pace_begin();
    agent->folders_failed = agent->folders_unwatched = 0;
    look_at_released(agent);
    struct discovery discovery = {.agent = agent, .watch = watch};
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
    return files_discover_more(agent);
}

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
              (unsigned long long)bytes, file->path, reason);
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
    agent_say(agent, LOG_LEVEL_INFO, "'%s' was truncated or rewritten at %llu of %llu bytes",
              file->path, (unsigned long long)file->read, (unsigned long long)file->size);
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
    file_unlist(agent, file);
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

static void
forget(struct agent *agent, struct generation *generation)
{
    state_forget(agent->state, generation);
    generation_remove(&agent->catalog, generation);
}

/* A file that no path leads to: closed when it is finished and nobody writes to it. True when it
 * is freed, with its life if it was deleted. */
static bool
consider_release(struct agent *agent, struct file *file)
{
    struct stat about;
    if (fstat(file->fd, &about) != 0)
        return false;
    file_seen(agent, file, &about);
    int64_t quiet_ms = clock_wall_ms() - file->modified_ns / 1000000;
    if (file->state != FILE_ACTIVE || file->queued || file->first != NULL ||
        (!held_is_whole(file) &&
         (quiet_ms < RELEASE_QUIET_MS || files_may_be_written(file->fd, quiet_ms, file->deleted))))
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

/* Age alone proves nothing: a file that nobody wrote to for a month may be found in a moment. */
static void
forget_old(struct agent *agent)
{
    int64_t now = clock_wall_ms() / 1000;
    for (struct generation *at = agent->catalog.first, *next; at != NULL; at = next) {
        next = at->next;
        if (at->file == NULL && now - at->seen_seconds > FORGET_AFTER_SECONDS &&
            (at->searched || input_named(agent, at->input) == NULL))
            forget(agent, at);
    }
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
    if (!generation->changed)
        return;
    generation->changed = false;
    generation->seen_seconds = clock_wall_ms() / 1000;
    state_put_progress(agent->state, generation);
}

static void
publish_input(struct agent *agent, struct input *input, uint64_t now_ms)
{
    const struct input_sums *sums = &input->sums;
    uint64_t behind_ms = sums->oldest_ms == 0 ? 0 : now_ms - sums->oldest_ms;
    metrics_set(agent->metrics, input->lag_bytes, (double)sums->lag_bytes);
    metrics_set(agent->metrics, input->unfinished_bytes, (double)sums->unfinished_bytes);
    if (!isnan(sums->loss_seconds)) {
        if (input->loss_seconds == METRIC_NONE)
            input->loss_seconds =
                metrics_series(agent->metrics, METRIC_ROTATION_LOSS, input->name, NULL);
        metrics_set(agent->metrics, input->loss_seconds, sums->loss_seconds);
    }
    metrics_set(agent->metrics, input->lag_seconds, (double)behind_ms / 1000.0);
    for (size_t i = 0; i < SHOWN_STATES; i++)
        metrics_set(agent->metrics, input->states[i], (double)sums->states[i]);
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
            publish_input(agent, input, now_ms);
    }
    held_tick(agent);
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

/* Files that are not busy are shipped: account.h. */
bool
files_all_done(struct agent *agent)
{
    bool done = !held_is_searching(agent);
    bool busy = false;
    for (const struct file *file = agent->busy; file != NULL; file = file->busy_next) {
        bool open = file->state == FILE_ENDED ||
                    (file->state == FILE_ACTIVE &&
                     (file->queued || file->first != NULL ||
                      file->generation->durable_at > state_durable(agent->state)));
        busy |= open;
        done &= file->state != FILE_SUSPENDED;
        done &= !open && (file->state != FILE_ACTIVE || file->generation->committed >= file->size);
    }
    for (struct file *file = agent->busy; file != NULL && !busy; file = file->busy_next)
        if (file->state == FILE_ACTIVE && file->generation->committed < file->size) {
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
