/* SPDX-License-Identifier: Apache-2.0 */
/* held.c: see held.h. What becomes of a deleted file:
 *     seen          its position goes to the state; the service manager is given the descriptor
 *     copied        without a service manager: after a second, when bytes are still unread
 *     swapped       the copy is whole and no writer is left: it is read instead, and the disk has
 *                   the file's room back
 *     finished      everything is acknowledged, or the file was given up; when the state has that
 *                   on disk, copy and stored descriptor are removed
 * The list is sorted by birth, so that the first is the oldest. */
#include "agent/inputs/held.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent/inputs/between.h"
#include "agent/inputs/compressed.h"
#include "agent/inputs/file.h"
#include "agent/inputs/files.h"
#include "agent/inputs/held_copy.h"
#include "agent/inputs/input.h"
#include "agent/spool.h"
#include "agent/state.h"
#include "core/assert.h"
#include "core/clock.h"

/* The entry, or a new one; NULL when memory is short. */
static struct held *
held_of(struct held_files *files, struct generation_id id, bool make)
{
    struct held **link = &files->first;
    while (*link != NULL && !generation_id_equal((*link)->id, id))
        link = &(*link)->next;
    if (*link != NULL || !make)
        return *link;
    struct held *held = calloc(1, sizeof(*held));
    if (held == NULL)
        return NULL;
    held->id = id;
    held->stored_fd = -1;
    held->since_ms = clock_monotonic_ms();
    link = &files->first;
    while (*link != NULL && (*link)->id.birth_seconds <= id.birth_seconds)
        link = &(*link)->next;
    held->next = *link;
    *link = held;
    return held;
}

/* --- the service manager's store --- */

static void
take_stored(struct held_files *files)
{
    char **names = NULL;
    int count = sd_listen_fds_with_names(0, &names);
    for (int i = 0; i < count; i++) {
        struct generation_id id;
        int fd = SD_LISTEN_FDS_START + i;
        if (strlen(names[i]) == GENERATION_TEXT_SIZE && generation_id_parse(names[i], &id)) {
            struct held *held = held_of(files, id, true);
            if (held != NULL && held->stored_fd < 0) {
                held->stored = true;
                held->stored_fd = fd;
                fd = -1;
            }
            if (fd >= 0)
                (void)close(fd);
        }
        free(names[i]);
    }
    free(names);
}

/* True when the message went out. The service manager does not answer. */
static bool
store(struct held_files *files, struct held *held, int fd)
{
    unsigned long count = 0;
    for (const struct held *at = files->first; at != NULL; at = at->next)
        count += at->stored ? 1 : 0;
    if (count >= files->store_max)
        return false;
    char name[GENERATION_TEXT_SIZE];
    char text[64 + GENERATION_TEXT_SIZE];
    generation_id_format(held->id, name);
    int size = snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%.*s", GENERATION_TEXT_SIZE, name);
    return size > 0 && sd_pid_notify_with_fds(0, 0, text, &fd, 1) > 0;
}

void
held_unstore(struct held *held)
{
    char name[GENERATION_TEXT_SIZE];
    generation_id_format(held->id, name);
    if (held->stored)
        (void)sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%.*s", GENERATION_TEXT_SIZE, name);
    held->stored = false;
}

/* --- start and end --- */

static void
found_in_spool(void *context, struct generation_id id, bool whole)
{
    struct held_files *files = context;
    struct held *held = held_of(files, id, true);
    if (held == NULL)
        return;
    held->whole |= whole;
    held->part |= !whole;
}

bool
held_open_spool(struct agent *agent)
{
    struct held_files *files = agent->held_files;
    struct err err;
    if (files->spool != NULL)
        return true;
    if (!spool_new(&files->spool, agent->options->top.state_dir, &err)) {
        agent_say(agent, LOG_LEVEL_WARN, "%s; deleted files are held open, and do not survive us",
                  err.text);
        return false;
    }
    if (!spool_list(files->spool, found_in_spool, files, &err)) {
        agent_say(agent, LOG_LEVEL_WARN, "%s", err.text);
        spool_free(files->spool);
        files->spool = NULL;
        return false;
    }
    return true;
}

bool
held_new(struct agent *agent, struct err *err)
{
    struct held_files *files = calloc(1, sizeof(*files));
    if (files == NULL || (files->compressed = compressed_new()) == NULL) {
        free(files);
        return err_errno(err, ERR_STOP, ENOMEM, "hold deleted files");
    }
    agent->held_files = files;
    files->bytes = metrics_series(agent->metrics, METRIC_HELD_DELETED, NULL);
    files->spool_bytes = metrics_series(agent->metrics, METRIC_SPOOL_BYTES, NULL);
    static const char *const reasons[] = {"disk", "room", "error"};
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        (void)metrics_series(agent->metrics, METRIC_SPOOL_ERRORS, reasons[i], NULL);
    /* systemd says since version 254 how many it takes; a unit for an older one says it itself. */
    const char *max = getenv("FDSTORE");
    files->store_max = max == NULL ? 0 : strtoul(max, NULL, 10);
    take_stored(files);
    (void)held_open_spool(agent);
    return true;
}

void
held_drop_job(struct held_files *files, struct held *held)
{
    if (held->job != NULL)
        spool_job_free(files->spool, held->job);
    held->job = NULL;
}

void
held_free(struct agent *agent)
{
    struct held_files *files = agent->held_files;
    if (files == NULL)
        return;
    compressed_free(files->compressed, files->spool);
    while (files->first != NULL) {
        struct held *next = files->first->next;
        held_drop_job(files, files->first);
        if (files->first->stored_fd >= 0)
            (void)close(files->first->stored_fd);
        if (files->first->file != NULL)
            files->first->file->held = NULL;
        free(files->first);
        files->first = next;
    }
    spool_free(files->spool);
    free(files);
    agent->held_files = NULL;
}

/* --- reading on --- */

/* The life goes on in what was kept of it. Takes `fd`. False: it is of no use. */
static bool
attach(struct agent *agent, struct held *held, struct generation *generation, struct input *input,
       int fd)
{
    struct stat about;
    char name[PATH_MAX]; /* until it has its own again, which another file may have */
    char text[GENERATION_TEXT_SIZE];
    generation_id_format(held->id, text);
    int length = snprintf(name, sizeof(name), "%s/spool/%.*s", agent->options->top.state_dir,
                          GENERATION_TEXT_SIZE, text);
    char *path = strdup(generation->path);
    bool usable = length > 0 && (size_t)length < sizeof(name) && path != NULL &&
                  fstat(fd, &about) == 0 && (uint64_t)about.st_size >= generation->committed;
    struct file *file = usable ? file_new(agent, input, name, &about, FILE_ACTIVE) : NULL;
    if (file == NULL) {
        free(path);
        (void)close(fd);
        return false;
    }
    uint64_t seen = generation->size;
    generation_seen(generation, &about, generation_birth_ns(fd));
    file_attach(agent, file, generation, fd);
    file_unlist(agent, file);
    free(file->path);
    file->path = path;
    file->held = held;
    file->deleted = true;
    held->file = file;
    held->from = generation->committed;
    if (seen > file->size)
        files_count_lost(agent, file, seen - file->size, "deleted");
    state_put_generation(agent->state, generation);
    held->from_sequence = state_sequence(agent->state);
    agent_say(agent, LOG_LEVEL_INFO, "'%s' was deleted; it is read on from %s at byte %llu of %llu",
              path, held->whole ? "the spool" : "the descriptor that was kept",
              (unsigned long long)generation->committed, (unsigned long long)file->size);
    return true;
}

static bool
attach_whole(struct agent *agent, struct held *held, struct generation *generation,
             struct input *input)
{
    int fd = spool_open(agent->held_files->spool, held->id);
    return fd >= 0 && attach(agent, held, generation, input, fd);
}

void
held_finish(struct agent *agent, struct held *held)
{
    ASSERT(held->file == NULL);

    held_drop_job(agent->held_files, held);
    held->finished = true;
    held->finished_sequence = state_sequence(agent->state);
}

/* A state that came from another host or disk has new ids: the content tells. */
static struct generation *
generation_by_content(const struct agent *agent, struct held *held)
{
    struct held_files *files = agent->held_files;
    struct stat about;
    int fd = held->whole ? spool_open(files->spool, held->id) : -1;
    if (fd < 0)
        return NULL;
    struct generation *at = fstat(fd, &about) == 0 ? agent->catalog.first : NULL;
    while (at != NULL &&
           (at->file != NULL || at->committed < CONTENT_SIZE_MIN ||
            held_of(files, at->id, false) != NULL || (uint64_t)about.st_size < at->committed ||
            generation_belongs(at, fd, (uint64_t)about.st_size) != BELONGS_YES))
        at = at->next;
    (void)close(fd);
    if (at == NULL || !spool_rename(files->spool, held->id, at->id))
        return NULL;
    held->id = at->id;
    return at;
}

void
held_attach(struct agent *agent)
{
    for (struct held *held = agent->held_files->first; held != NULL; held = held->next) {
        if (held->file != NULL || held->finished || held->job != NULL)
            continue;
        struct generation *generation = catalog_find(&agent->catalog, held->id);
        if (generation == NULL)
            generation = generation_by_content(agent, held);
        if (generation == NULL || generation->file != NULL) {
            held_finish(agent, held); /* nothing of it is wanted any more */
            continue;
        }
        struct input *input = input_named(agent, generation->input);
        if (input == NULL || input->removed)
            continue;
        /* Nobody saw what had its path since: files may lie between. */
        between_note(agent, generation->path, input, generation->seen_seconds * 1000000000);
        int fd = held->stored_fd;
        held->stored_fd = -1;
        if (!held->whole && fd >= 0)
            (void)attach(agent, held, generation, input, fd);
        if (!held->whole)
            continue;
        if (fd >= 0)
            (void)close(fd);
        held_unstore(held);
        (void)attach_whole(agent, held, generation, input);
    }
}

/* --- from the deletion on --- */

void
held_look(struct agent *agent, struct file *file)
{
    struct held_files *files = agent->held_files;
    struct stat about;
    if (file->fd < 0 || file->listed || file->held != NULL || file->state != FILE_ACTIVE ||
        fstat(file->fd, &about) != 0 || about.st_nlink > 0)
        return;
    file->deleted = true;
    struct held *held = held_of(files, file->generation->id, true);
    if (held == NULL)
        return; /* seen again by the sweep */
    held_drop_job(files, held);
    *held = (struct held){.id = held->id,
                          .file = file,
                          .since_ms = clock_monotonic_ms(),
                          .stored_fd = -1,
                          .stored = held->stored,
                          .next = held->next};
    file->held = held;
    held->from = file->generation->committed;
    state_put_progress(agent->state, file->generation);
    held->from_sequence = state_sequence(agent->state);
    if ((uint64_t)about.st_size > held->from && !held->stored)
        held->stored = store(files, held, file->fd);
}

void
held_leave(struct agent *agent, struct file *file)
{
    struct held *held = file->held;
    if (held == NULL)
        return;
    file->held = NULL;
    held->file = NULL;
    held->bytes = 0;
    held_drop_job(agent->held_files, held);
}

/* --- about once a second --- */

static void
measure(struct agent *agent, struct held *held)
{
    struct file *file = held->file;
    struct stat about;
    struct spool *spool = agent->held_files->spool;
    held->spool_bytes = spool != NULL && (held->part || held->whole || held->job != NULL)
                            ? spool_bytes(spool, held->id)
                            : 0;
    held->bytes = 0;
    if (file == NULL || file->fd < 0 || fstat(file->fd, &about) != 0)
        return;
    int64_t quiet_ms = clock_wall_ms() - stat_modified_ns(&about) / 1000000;
    held->writer = !held->whole && files_may_be_written(file->fd, quiet_ms, true);
    if (about.st_nlink == 0)
        held->bytes = (uint64_t)about.st_blocks * 512;
}

/* The state has it on disk that nobody wants it any more. */
static void
remove_held(struct held_files *files, struct held *held)
{
    struct held **link = &files->first;
    while (*link != held)
        link = &(*link)->next;
    *link = held->next;
    held_unstore(held);
    if (held->stored_fd >= 0)
        (void)close(held->stored_fd);
    if (files->spool != NULL)
        spool_remove(files->spool, held->id);
    free(held);
}

static void
tick_one(struct agent *agent, struct held *held)
{
    if (held->job != NULL)
        held_copy_take(agent, held);
    measure(agent, held);
    if (held->file != NULL) {
        if (held_is_unread(held) && !held->stored && !held->whole)
            held->stored = store(agent->held_files, held, held->file->fd);
        held_copy_consider(agent, held);
        return;
    }
    if (agent->round == 0)
        return; /* it may be found by its content */
    /* Forgotten: finished. Else its input may want it again, or the search among siblings. */
    if (catalog_find(&agent->catalog, held->id) == NULL ||
        (!held->whole && !held->part && held->stored_fd < 0))
        held_finish(agent, held);
}

void
held_tick(struct agent *agent)
{
    struct held_files *files = agent->held_files;
    uint64_t bytes = 0;
    uint64_t spool_bytes_sum = 0;
    compressed_tick(agent, files->compressed, files->spool);
    for (struct held *held = files->first, *next; held != NULL; held = next) {
        next = held->next;
        if (!held->finished)
            tick_one(agent, held);
        else if (state_durable(agent->state) >= held->finished_sequence)
            remove_held(files, held);
    }
    held_copy_keep_bound(agent);
    for (const struct held *held = files->first; held != NULL; held = held->next) {
        bytes += held->bytes;
        spool_bytes_sum += held->spool_bytes;
    }
    metrics_set(agent->metrics, files->bytes, (double)bytes);
    metrics_set(agent->metrics, files->spool_bytes, (double)spool_bytes_sum);
}

/* --- a life without a file --- */

/* What was copied before a kill: read up to its last whole line, the rest is lost. */
static bool
attach_part(struct agent *agent, struct held *held, struct generation *generation,
            struct input *input)
{
    struct err err;
    uint64_t least = generation->committed;
    for (uint32_t i = 0; i < generation->cut_count; i++)
        least = generation->cuts[i];
    if (!spool_settle_part(agent->held_files->spool, held->id, generation->committed, least,
                           &err)) {
        agent_say(agent, LOG_LEVEL_WARN, "%s", err.text);
        return false;
    }
    held->part = false;
    held->whole = true;
    return attach_whole(agent, held, generation, input);
}

bool
held_finds(struct agent *agent, struct generation *generation, struct input *input)
{
    struct held_files *files = agent->held_files;
    uint64_t used;
    if (!held_open_spool(agent))
        return true; /* could not look */
    struct compressed_place place = {.spool = files->spool, .room = held_copy_room(agent, &used)};
    place.alone = used == 0;
    enum compressed_found found =
        compressed_look(agent, files->compressed, generation, input, &place);
    if (found == COMPRESSED_SEARCHING)
        return true;
    struct held *held = held_of(files, generation->id, found == COMPRESSED_FOUND);
    if (held == NULL || held->finished)
        return found == COMPRESSED_FOUND; /* no memory: at the next start */
    if (found == COMPRESSED_FOUND) {
        held->part = false;
        held->whole = true;
    }
    if (held->whole)
        return attach_whole(agent, held, generation, input);
    return held->part && attach_part(agent, held, generation, input);
}

/* --- for others --- */

/* It may have been deleted since the last look at its folder. */
static void
look_once_more(struct agent *agent, struct file *file)
{
    struct stat about;
    if (!file->listed || file->fd < 0 || file->state != FILE_ACTIVE ||
        fstat(file->fd, &about) != 0 || about.st_nlink > 0)
        return;
    file_seen(agent, file, &about);
    if (!file->listed)
        return; /* it was truncated before: its life has ended */
    file_unlist(agent, file);
    held_look(agent, file);
}

void
held_save_all(struct agent *agent)
{
    struct held_files *files = agent->held_files;
    for (struct file *file = agent->files; file != NULL; file = file->next)
        look_once_more(agent, file); /* idle ones, too: their last lines may be unseen yet */
    files->saving = true; /* a stop, unlike a restart, empties the service manager's store */
}

bool
held_is_at_the_end(const struct agent *agent)
{
    return agent->held_files->saving;
}

bool
held_is_saving(const struct agent *agent)
{
    const struct held_files *files = agent->held_files;
    if (!files->saving)
        return false;
    for (const struct held *held = files->first; held != NULL; held = held->next)
        if (held->job != NULL || (held_is_unread(held) && !held->whole &&
                                  held->trouble == TROUBLE_NONE && held->file->size > held->copied))
            return true;
    return false;
}

bool
held_is_whole(const struct file *file)
{
    return file->held != NULL && file->held->whole;
}

bool
held_is_searching(const struct agent *agent)
{
    return compressed_is_running(agent->held_files->compressed);
}

void
held_json(const struct agent *agent, struct buffer *out)
{
    compressed_json(agent, agent->held_files->compressed, out);
}

const char *
held_reason(const struct file *file)
{
    const struct held *held = file->held;
    if (held == NULL)
        return NULL;
    if (held->whole)
        return "its file is gone; what is unread is in the spool";
    if (held->trouble != TROUBLE_NONE)
        return held->trouble == TROUBLE_ROOM
                   ? "deleted, held open only: held_deleted_max leaves no room for a copy"
                   : "deleted, held open only: it cannot be copied into the spool";
    if (held->stored)
        return "deleted; the service manager keeps it open for the next start";
    if (held->job != NULL)
        return "deleted; what is unread is being copied into the spool";
    if (!held_is_unread(held))
        return "deleted; all of it is acknowledged";
    if (held->part && held->copied >= file->size)
        return "deleted; what is unread is in the spool, too, and more is added as it is written";
    return "deleted, held open";
}
