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

#include "agent/inputs/compressed.h"
#include "agent/inputs/file.h"
#include "agent/inputs/files.h"
#include "agent/inputs/input.h"
#include "agent/schedule.h"
#include "agent/spool.h"
#include "agent/state.h"
#include "core/assert.h"
#include "core/clock.h"

#define GRACE_MS 1000 /* most deleted files are finished by then */
#define AGAIN_MS (10 * (uint64_t)1000)

enum trouble { TROUBLE_NONE, TROUBLE_ROOM, TROUBLE_DISK, TROUBLE_ERROR };

struct held {
    struct generation_id id;
    struct file *file; /* NULL: nobody reads it now */
    uint64_t since_ms;
    int stored_fd; /* given back by the service manager, for a file to be; -1 */
    bool stored;   /* the service manager has the descriptor */
    bool part;     /* in the spool: some of it, up to `copied` */
    bool whole;    /* in the spool: all of it */
    uint64_t from; /* what the state has as `committed`, once `from_sequence` is durable */
    uint64_t from_sequence;
    uint64_t copied;
    struct spool_job *job;
    enum trouble trouble;
    uint64_t again_ms;
    bool writer;          /* somebody has it open for writing: letting go frees nothing */
    uint64_t bytes;       /* on the disk, kept by our descriptor */
    uint64_t spool_bytes; /* on the disk, in the spool */
    bool finished;
    uint64_t finished_sequence;
    struct held *next;
};

struct held_files {
    struct held *first;
    struct spool *spool; /* NULL: it could not be opened; tried again when it is needed */
    struct compressed *compressed;
    unsigned long store_max; /* descriptors that the service manager takes; 0: there is none */
    bool saving;
    metric bytes, spool_bytes;
};

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

static void
unstore(struct held *held)
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

/* False: there is none now. */
static bool
open_spool(struct agent *agent)
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
    (void)open_spool(agent);
    return true;
}

static void
drop_job(struct held_files *files, struct held *held)
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
        drop_job(files, files->first);
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

static void
finish(struct agent *agent, struct held *held)
{
    ASSERT(held->file == NULL);

    drop_job(agent->held_files, held);
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
            finish(agent, held); /* nothing of it is wanted any more */
            continue;
        }
        struct input *input = input_named(agent, generation->input);
        if (input == NULL || input->removed)
            continue;
        int fd = held->stored_fd;
        held->stored_fd = -1;
        if (!held->whole && fd >= 0)
            (void)attach(agent, held, generation, input, fd);
        if (!held->whole)
            continue;
        if (fd >= 0)
            (void)close(fd);
        unstore(held);
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
    drop_job(files, held);
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
    drop_job(agent->held_files, held);
}

static bool
is_unread(const struct held *held)
{
    return held->file != NULL && held->file->state == FILE_ACTIVE &&
           held->file->generation->committed < held->file->size;
}

/* --- copying --- */

/* What counts against held_deleted_max: letting go of a file that is still written to would free
 * nothing; a copy that will replace its file does not count beside it. */
static uint64_t
bounded_bytes(const struct held *held)
{
    return held->writer || held->spool_bytes > held->bytes ? held->spool_bytes : held->bytes;
}

static uint64_t
room_left(const struct agent *agent, uint64_t *used)
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
    *room = room_left(agent, &used);
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
    unstore(held);
}

static void
take_result(struct agent *agent, struct held *held)
{
    struct held_files *files = agent->held_files;
    struct spool_result result;
    if (!spool_job_done(files->spool, held->job, &result))
        return;
    drop_job(files, held);
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
    if (!open_spool(agent)) {
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
    if (held->whole || held->job != NULL || !is_unread(held) || held->file->fd < 0)
        return false;
    if (held->stored && !agent->held_files->saving)
        return false;
    /* Once nobody writes to it any more, also what is copied already is made whole. */
    return held->file->size > held->copied || !held->writer;
}

static void
consider_copy(struct agent *agent, struct held *held)
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
    finish(agent, held);
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
    finish(agent, held);
    return true;
}

static void
keep_bound(struct agent *agent)
{
    uint64_t max = agent->options->top.held_deleted_max;
    uint64_t used;
    (void)room_left(agent, &used);
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
    unstore(held);
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
        take_result(agent, held);
    measure(agent, held);
    if (held->file != NULL) {
        if (is_unread(held) && !held->stored && !held->whole)
            held->stored = store(agent->held_files, held, held->file->fd);
        consider_copy(agent, held);
        return;
    }
    if (agent->round == 0)
        return; /* it may be found by its content */
    /* Forgotten: finished. Else its input may want it again, or the search among siblings. */
    if (catalog_find(&agent->catalog, held->id) == NULL ||
        (!held->whole && !held->part && held->stored_fd < 0))
        finish(agent, held);
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
    keep_bound(agent);
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
    if (!open_spool(agent))
        return false;
    struct compressed_place place = {.spool = files->spool, .room = room_left(agent, &used)};
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

void
held_save_all(struct agent *agent)
{
    struct held_files *files = agent->held_files;
    files->saving = true; /* a stop, unlike a restart, empties the service manager's store */
}

bool
held_is_saving(const struct agent *agent)
{
    const struct held_files *files = agent->held_files;
    if (!files->saving)
        return false;
    for (const struct held *held = files->first; held != NULL; held = held->next)
        if (held->job != NULL || (is_unread(held) && !held->whole &&
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
    if (!is_unread(held))
        return "deleted; all of it is acknowledged";
    if (held->part && held->copied >= file->size)
        return "deleted; what is unread is in the spool, too, and more is added as it is written";
    return "deleted, held open";
}
