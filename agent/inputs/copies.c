/* SPDX-License-Identifier: Apache-2.0 */
/* copies.c: see copies.h. */
#include "agent/inputs/copies.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/inputs/account.h"
#include "agent/inputs/file.h"
#include "agent/inputs/files.h"
#include "agent/inputs/held.h"
#include "agent/reader.h"
#include "agent/receipts.h"
#include "agent/schedule.h"
#include "agent/state.h"
#include "core/clock.h"

/* A rotator truncates right after the copy; cp itself pauses for less, also on a busy disk. */
#define COPY_GRACE_MS 5000
/* A copy grows at least so fast: else two programs that write the same lines, slowly and for
 * ever, would be held back for ever. Slower disks are no place for copies of large files. */
#define COPY_BYTES_PER_MS 1000
/* Files with the same first 64 bytes that are read for a comparison: more of them share a banner,
 * and it says nothing. */
#define COMPARED_MAX 64

/* What is compared with others. */
struct candidate {
    int fd;
    uint64_t size;
    char head[HEAD_SIZE_MAX];
    size_t head_size;
    const char *path;
};

/* What cannot be read is as long as 0 bytes, with errno. */
static bool
candidate_read(struct candidate *candidate, int fd, uint64_t size, const char *path)
{
    candidate->fd = fd;
    candidate->size = size;
    candidate->path = path;
    errno = 0;
    ssize_t got = content_read(fd, candidate->head, sizeof(candidate->head), 0);
    candidate->head_size = got < 0 ? 0 : (size_t)got;
    return candidate->head_size >= START_SIZE_SHORT && size >= candidate->head_size;
}

static int
open_original(const struct file *file, bool *opened)
{
    struct stat about;
    *opened = file->fd < 0;
    int fd = *opened ? reader_open(file->path) : file->fd;
    if (*opened && fd >= 0 &&
        (fstat(fd, &about) != 0 || (uint64_t)about.st_ino != file->inode ||
         (uint64_t)about.st_dev != file->device)) {
        (void)close(fd);
        errno = ESTALE;
        return -1;
    }
    return fd;
}

/* Are the candidate's bytes the first ones of the open original? Its head and its end are
 * compared. */
static enum belongs
is_beginning(const struct candidate *candidate, int original)
{
    char head[HEAD_SIZE_MAX];
    char ends[2][TAIL_SIZE_MAX];
    size_t size = candidate->size < TAIL_SIZE_MAX ? (size_t)candidate->size : TAIL_SIZE_MAX;
    uint64_t at = candidate->size - size;
    ssize_t head_got = content_read(original, head, candidate->head_size, 0);
    ssize_t got[2] = {content_read(original, ends[0], size, at),
                      content_read(candidate->fd, ends[1], size, at)};
    if (head_got < 0 || got[0] < 0 || got[1] < 0)
        return BELONGS_UNKNOWN;
    bool same = head_got == (ssize_t)candidate->head_size &&
                memcmp(head, candidate->head, candidate->head_size) == 0 &&
                got[0] == (ssize_t)size && got[1] == (ssize_t)size &&
                memcmp(ends[0], ends[1], size) == 0;
    return same ? BELONGS_YES : BELONGS_NO;
}

/* Is the candidate a copy, whole or not, of what the life's file holds, or held a moment ago? */
static enum belongs
is_copy_of(const struct candidate *candidate, const struct generation *generation)
{
    const struct file *file = generation->file;
    enum belongs belongs = generation_belongs(generation, candidate->fd, candidate->size);
    if (file == NULL)
        return generation->gone != NULL ? belongs : BELONGS_NO;
    if (file->state != FILE_ACTIVE || belongs == BELONGS_UNKNOWN)
        return belongs;
    struct stat about;
    bool opened;
    int fd = open_original(file, &opened);
    enum belongs copy = BELONGS_NO;
    if (fd < 0 ? errno != ENOENT && errno != ESTALE : fstat(fd, &about) != 0)
        copy = BELONGS_UNKNOWN;
    else if (fd >= 0 && (uint64_t)about.st_size >= candidate->size)
        copy = is_beginning(candidate, fd);
    /* It may have been truncated, and written again, just now. */
    if (fd >= 0 && copy == BELONGS_NO && belongs == BELONGS_YES) {
        enum belongs still = generation_belongs(generation, fd, (uint64_t)about.st_size);
        copy = still == BELONGS_UNKNOWN ? still : still == BELONGS_NO ? BELONGS_YES : BELONGS_NO;
    }
    if (opened && fd >= 0)
        (void)close(fd);
    return copy;
}

/* Does somebody hold the content that the candidate has, or (unless only `held` ones are meant) has
 * held it until a moment ago? Not the one that had its path before it: what takes the place of a
 * renamed file is no copy of that. */
static enum belongs
has_original(const struct agent *agent, const struct candidate *candidate,
             const struct generation *own, bool held)
{
    unsigned compared = 0;
    uint32_t hashed_size = 0;
    uint64_t hash = 0;
    struct generation *at =
        catalog_starting(&agent->catalog, candidate->head, candidate->head_size);
    uint64_t path = generation_hash(candidate->path, strlen(candidate->path));
    for (; at != NULL; at = catalog_next_starting(at, candidate->head_size)) {
        if (at == own || (held && at->file == NULL) || at->path_before == path ||
            strcmp(at->path, candidate->path) == 0)
            continue;
        if (at->head_size != hashed_size && at->head_size <= candidate->head_size) {
            hashed_size = at->head_size;
            hash = generation_hash(candidate->head, hashed_size);
        }
        if (at->head_size == hashed_size && at->head_hash != hash && hashed_size > 0)
            continue;
        if (++compared > COMPARED_MAX)
            return BELONGS_NO;
        enum belongs copy = is_copy_of(candidate, at);
        if (copy != BELONGS_NO)
            return copy;
    }
    return BELONGS_NO;
}

bool
copies_are_due(const struct file *file, uint64_t now_ms)
{
    return now_ms - file->grown_ms >= COPY_GRACE_MS ||
           now_ms - file->held_since_ms >= COPY_GRACE_MS + file->size / COPY_BYTES_PER_MS;
}

/* Was it written since the last look? */
static void
note_growth(struct file *file, const struct stat *about)
{
    if (file->size == (uint64_t)about->st_size && file->modified_ns == stat_modified_ns(about))
        return;
    file->size = (uint64_t)about->st_size;
    file->modified_ns = stat_modified_ns(about);
    file->grown_ms = clock_monotonic_ms();
}

enum copy
copies_judge(struct agent *agent, const struct find *find, int fd, struct file *held)
{
    struct candidate candidate;
    if (find->input->first_start && find->input->options->start_at == START_AT_END)
        return COPY_NO; /* nothing of it is shipped anyway */
    if (!candidate_read(&candidate, fd, (uint64_t)find->about.st_size, find->path))
        return errno == 0 ? COPY_NO : COPY_UNKNOWN;
    if (held != NULL)
        note_growth(held, &find->about);
    if (held != NULL && !find->waits && copies_are_due(held, clock_monotonic_ms()))
        return COPY_OWN;
    if (find->waits)
        return COPY_HELD;
    enum belongs copy = has_original(agent, &candidate, NULL, false);
    return copy == BELONGS_YES ? COPY_HELD : copy == BELONGS_NO ? COPY_NO : COPY_UNKNOWN;
}

static void
suspend(struct agent *agent, struct file *file)
{
    file->state = FILE_SUSPENDED;
    file->held_since_ms = file->grown_ms = clock_monotonic_ms();
    account_touch(agent, file);
}

void
copies_hold(struct agent *agent, struct find *find, int fd, struct file *held)
{
    bool again = held != NULL;
    if (!again)
        held = file_new(agent, find->input, find->path, &find->about, FILE_SUSPENDED);
    if (held == NULL) {
        (void)close(fd);
        return;
    }
    if (!again)
        suspend(agent, held);
    held->reason = find->waits ? "it carries on a file that was truncated, whose last events Kafka "
                                 "has not acknowledged yet"
                               : "it is equal to the beginning of another file: maybe a copy that "
                                 "is being made (copytruncate); decided on within seconds";
    /* With the descriptor it is not lost when it is deleted. */
    if (held->fd >= 0 || agent->open_count >= agent->open_max)
        (void)close(fd);
    else
        file_keep(agent, held, fd);
}

bool
copies_hold_first_bytes(struct agent *agent, struct file *file)
{
    struct candidate candidate;
    struct stat about;
    struct generation *generation = file->generation;
    if (generation->head_size > 0 || generation->committed > 0 || file->first != NULL ||
        !file->listed || file->fd < 0 || fstat(file->fd, &about) != 0 ||
        !candidate_read(&candidate, file->fd, (uint64_t)about.st_size, file->path) ||
        has_original(agent, &candidate, generation, false) != BELONGS_YES)
        return false;
    schedule_remove(agent, file);
    file->generation = NULL;
    generation->file = NULL;
    state_forget(agent->state, generation);
    receipts_end(agent, generation);
    generation_remove(&agent->catalog, generation);
    file->size = (uint64_t)about.st_size;
    file->read = file->scanned = 0;
    file->behind_since_ms = 0;
    suspend(agent, file);
    file->reason = "it is equal to the beginning of another file: maybe a copy that is being made "
                   "(copytruncate); decided on within seconds";
    agent->rediscover(agent);
    return true;
}

void
copies_look_at_empty(struct agent *agent)
{
    for (struct file *file = agent->files, *next; file != NULL; file = next) {
        next = file->next;
        if (file->state != FILE_ACTIVE || file->generation->head_size > 0 || !file->listed)
            continue;
        if (file->fd < 0 && !file_open(agent, file))
            continue;
        (void)copies_hold_first_bytes(agent, file);
    }
}

uint64_t
copies_reach(struct agent *agent, const struct generation *generation)
{
    unsigned compared = 0;
    struct generation *at = catalog_starting_like(&agent->catalog, generation);
    for (; at != NULL; at = catalog_next_starting(at, START_SIZE_LONG)) {
        struct stat about;
        bool opened;
        if (at == generation || at->file == NULL || at->file->state != FILE_ACTIVE)
            continue;
        if (++compared > COMPARED_MAX)
            break;
        int fd = open_original(at->file, &opened);
        bool has = fd >= 0 && fstat(fd, &about) == 0 &&
                   generation_belongs(generation, fd, (uint64_t)about.st_size) == BELONGS_YES;
        if (opened && fd >= 0)
            (void)close(fd);
        if (has)
            return (uint64_t)about.st_size;
    }
    return 0;
}

/* Nobody can read it: that is an answer. */
static bool
is_forbidden(int number)
{
    return number == EACCES || number == EPERM;
}

enum belongs
copies_go_on(struct agent *agent, struct file *file, const char *path)
{
    struct stat old;
    struct stat about;
    const struct generation *generation = file->generation;
    if (file->state != FILE_ACTIVE || file->fd < 0 || generation->committed < CONTENT_SIZE_MIN ||
        fstat(file->fd, &old) != 0 || old.st_nlink > 0 || files_may_be_written(file->fd, 0, true))
        return BELONGS_NO;
    int fd = reader_open(path);
    bool open = fd >= 0 && fstat(fd, &about) == 0;
    enum belongs same =
        open || errno == ENOENT || is_forbidden(errno) ? BELONGS_NO : BELONGS_UNKNOWN;
    if (open && S_ISREG(about.st_mode) && about.st_size >= old.st_size &&
        file_by_inode(agent, (uint64_t)about.st_dev, (uint64_t)about.st_ino) == NULL)
        same = generation_belongs(generation, fd, (uint64_t)about.st_size);
    char tail[TAIL_SIZE_MAX];
    size_t size = file->read < sizeof(tail) ? (size_t)file->read : sizeof(tail);
    ssize_t got = same == BELONGS_YES ? content_read(fd, tail, size, file->read - size) : 0;
    if (got < 0)
        same = BELONGS_UNKNOWN;
    else if (same == BELONGS_YES &&
             (got != (ssize_t)size || generation_hash(tail, size) != file->read_hash))
        same = BELONGS_NO;
    if (same != BELONGS_NO)
        file->round = agent->round;
    if (same == BELONGS_YES) {
        held_leave(agent, file); /* what was kept of it is not wanted any more */
        file_replace(agent, file, &about, fd);
    } else if (fd >= 0) {
        (void)close(fd);
    }
    return same;
}

enum belongs
copies_go_on_elsewhere(struct agent *agent, const struct find *find)
{
    struct candidate candidate;
    unsigned compared = 0;
    int fd = reader_open(find->path);
    if (fd < 0)
        return BELONGS_NO; /* a birth finds that out as well */
    bool whole = candidate_read(&candidate, fd, (uint64_t)find->about.st_size, find->path);
    struct generation *at =
        whole ? catalog_starting(&agent->catalog, candidate.head, candidate.head_size) : NULL;
    enum belongs same = BELONGS_NO;
    for (; at != NULL && same == BELONGS_NO; at = catalog_next_starting(at, candidate.head_size)) {
        struct file *file = at->file;
        if (file == NULL || file->listed || !file->deleted)
            continue;
        if (++compared > COMPARED_MAX)
            break;
        if (candidate.size > file->read && has_original(agent, &candidate, at, true) != BELONGS_NO)
            continue; /* its own beginning is all that they share, as with equal banners */
        same = copies_go_on(agent, file, find->path);
        if (same == BELONGS_YES && find->listed)
            (void)file_rename(agent, file, find->path); /* failed: at the next discovery */
    }
    (void)close(fd);
    return same;
}
