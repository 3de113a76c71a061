/* SPDX-License-Identifier: Apache-2.0 */
/* spool.c: see spool.h. The queue is shared under the lock; a job at its turn is the helper's. */
#include "agent/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/generation.h"
#include "core/assert.h"
#include "core/disk.h"

#define COPY_SIZE (128 * 1024)
#define COPY_STEP_SIZE ((uint64_t)4 * 1024 * 1024) /* then the next job has its turn */
#define NAME_SIZE (GENERATION_TEXT_SIZE + sizeof(".part"))

enum kind { KIND_WHOLE, KIND_PART, KIND_NEW };
static const char *const endings[] = {"", ".part", ".new"};

struct spool_job {
    struct generation_id id;
    int source, target; /* its own; -1: not open */
    uint64_t at, room;
    uint64_t resumed_at; /* > 0: before it stands what an earlier job copied */
    bool head_done, whole;
    struct unpack *unpack; /* NULL: it copies */
    struct unpack_life life;
    bool unpacks;

    bool abandoned; /* nobody waits for it: the helper frees it */
    bool done;
    struct spool_result result;
    struct spool_job *next;
};

struct spool {
    char *folder;
    int folder_fd;
    char *buffer; /* the helper's */
    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping;
    struct spool_job *first, *last; /* waiting for a turn */
};

static void
make_name(char out[NAME_SIZE], struct generation_id id, enum kind kind)
{
    generation_id_format(id, out);
    memcpy(out + GENERATION_TEXT_SIZE, endings[kind], strlen(endings[kind]) + 1);
}

/* --- the helper --- */

static void
job_free(struct spool_job *job)
{
    if (job->source >= 0)
        (void)close(job->source);
    if (job->target >= 0)
        (void)close(job->target);
    unpack_free(job->unpack);
    free(job);
}

static enum unpack_result
fail(const struct spool *spool, struct spool_job *job, const char *verb)
{
    char name[NAME_SIZE];
    int number = errno;
    make_name(name, job->id, job->unpacks ? KIND_NEW : KIND_PART);
    (void)err_errno(&job->result.err, ERR_RETRY, number, "%s '%s/%s'", verb, spool->folder, name);
    return UNPACK_FAILED;
}

/* From here on it is believed: the bytes first, then the name. */
static enum unpack_result
publish(struct spool *spool, struct spool_job *job, uint64_t end)
{
    char name[NAME_SIZE];
    char whole[NAME_SIZE];
    make_name(name, job->id, job->unpacks ? KIND_NEW : KIND_PART);
    make_name(whole, job->id, KIND_WHOLE);
    if (ftruncate(job->target, (off_t)end) != 0 || fdatasync(job->target) != 0)
        return fail(spool, job, "write");
    if (job->whole && renameat(spool->folder_fd, name, spool->folder_fd, whole) != 0)
        return fail(spool, job, "rename");
    make_name(name, job->id, KIND_PART);
    if (job->unpacks)
        (void)unlinkat(spool->folder_fd, name, 0); /* all of it is in the other */
    if (fsync(spool->folder_fd) != 0)
        return fail(spool, job, "write");
    job->result.end = end;
    job->result.whole = job->whole;
    return UNPACK_DONE;
}

static enum unpack_result
copy_step(struct spool *spool, struct spool_job *job)
{
    size_t head = HEAD_SIZE_MAX;
    uint64_t step = COPY_STEP_SIZE;
    while (step > 0) {
        size_t want = job->head_done ? COPY_SIZE : head;
        uint64_t offset = job->head_done ? job->at : 0;
        ssize_t got = pread(job->source, spool->buffer, want, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(spool, job, "read what is to be copied to");
        if (!disk_write_at(job->target, spool->buffer, (size_t)got, offset))
            return fail(spool, job, "write");
        if (!job->head_done) {
            job->head_done = true;
            continue;
        }
        if (got == 0)
            return publish(spool, job, job->at);
        job->at += (uint64_t)got;
        if ((uint64_t)got > job->room)
            return UNPACK_FULL;
        job->room -= (uint64_t)got;
        step -= (uint64_t)got < step ? (uint64_t)got : step;
    }
    return UNPACK_MORE;
}

static enum unpack_result
unpack_job_step(struct spool *spool, struct spool_job *job)
{
    struct err *err = &job->result.err;
    if (job->unpack == NULL &&
        !unpack_new(&job->unpack, &job->life, job->source, job->target, job->room, err))
        return UNPACK_FAILED;
    enum unpack_result result = unpack_step(job->unpack, err);
    if (result != UNPACK_DONE)
        return result;
    return publish(spool, job, unpack_end(job->unpack));
}

/* A copy that would fill the disk is not begun: others write there, too. */
static bool
fits_disk(const struct spool *spool, const struct spool_job *job)
{
    struct statvfs disk;
    struct stat about;
    if (fstatvfs(spool->folder_fd, &disk) != 0 || fstat(job->source, &about) != 0)
        return true; /* the writing will tell */
    uint64_t size = (uint64_t)about.st_size;
    errno = ENOSPC;
    return size <= job->at || size - job->at < (uint64_t)disk.f_bavail * disk.f_frsize;
}

static enum unpack_result
job_step(struct spool *spool, struct spool_job *job)
{
    char name[NAME_SIZE];
    make_name(name, job->id, job->unpacks ? KIND_NEW : KIND_PART);
    if (job->target < 0) {
        job->target = openat(spool->folder_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (job->target < 0)
            return fail(spool, job, "create");
        if (!job->unpacks && !fits_disk(spool, job))
            return fail(spool, job, "write");
    }
    enum unpack_result result = job->unpacks ? unpack_job_step(spool, job) : copy_step(spool, job);
    if (result == UNPACK_MORE || result == UNPACK_DONE)
        return result;
    if (job->resumed_at == 0)
        (void)unlinkat(spool->folder_fd, name, 0);
    else if (job->target >= 0 && ftruncate(job->target, (off_t)job->resumed_at) == 0)
        job->result.end = job->resumed_at;
    return result;
}

static struct spool_job *
next_job(struct spool *spool)
{
    while (spool->first == NULL && !spool->stopping)
        (void)pthread_cond_wait(&spool->wake, &spool->lock);
    if (spool->stopping)
        return NULL;
    struct spool_job *job = spool->first;
    spool->first = job->next;
    if (spool->first == NULL)
        spool->last = NULL;
    return job;
}

static void
push_job(struct spool *spool, struct spool_job *job)
{
    job->next = NULL;
    if (spool->last != NULL)
        spool->last->next = job;
    else
        spool->first = job;
    spool->last = job;
}

static void *
helper_run(void *context)
{
    struct spool *spool = context;
    (void)pthread_mutex_lock(&spool->lock);
    struct spool_job *job;
    while ((job = next_job(spool)) != NULL) {
        if (job->abandoned) {
            job_free(job);
            continue;
        }
        (void)pthread_mutex_unlock(&spool->lock);
        enum unpack_result result = job_step(spool, job);
        (void)pthread_mutex_lock(&spool->lock);
        if (result == UNPACK_MORE || job->abandoned) {
            push_job(spool, job);
            continue;
        }
        job->result.what = result;
        job->done = true;
    }
    (void)pthread_mutex_unlock(&spool->lock);
    return NULL;
}

/* --- the owner --- */

/* What was being unpacked is begun anew. */
static bool
remove_new(struct spool *spool, struct err *err)
{
    DIR *entries = opendir(spool->folder);
    if (entries == NULL)
        return err_errno(err, ERR_RETRY, errno, "look into '%s'", spool->folder);
    struct dirent *entry;
    while ((entry = readdir(entries)) != NULL) {
        const char *dot = strchr(entry->d_name, '.');
        if (dot != NULL && strcmp(dot, endings[KIND_NEW]) == 0)
            (void)unlinkat(spool->folder_fd, entry->d_name, 0);
    }
    (void)closedir(entries);
    return true;
}

static bool
start_helper(struct spool *spool, struct err *err)
{
    int number = pthread_create(&spool->thread, NULL, helper_run, spool);
    spool->thread_runs = number == 0;
    return number == 0 || err_errno(err, ERR_RETRY, number, "start the thread of the spool");
}

bool
spool_new(struct spool **out, const char *state_dir, struct err *err)
{
    struct spool *spool = calloc(1, sizeof(*spool));
    if (spool == NULL)
        return err_errno(err, ERR_RETRY, ENOMEM, "open the spool");
    spool->folder_fd = -1;
    (void)pthread_mutex_init(&spool->lock, NULL);
    (void)pthread_cond_init(&spool->wake, NULL);
    size_t size = strlen(state_dir) + sizeof("/spool");
    spool->folder = malloc(size);
    spool->buffer = malloc(COPY_SIZE);
    if (spool->folder == NULL || spool->buffer == NULL ||
        snprintf(spool->folder, size, "%s/spool", state_dir) < 0) {
        spool_free(spool);
        return err_errno(err, ERR_RETRY, ENOMEM, "open the spool");
    }
    if (mkdir(spool->folder, 0700) == 0 || errno == EEXIST)
        spool->folder_fd = open(spool->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (spool->folder_fd < 0)
        (void)err_errno(err, ERR_RETRY, errno, "open '%s'", spool->folder);
    if (spool->folder_fd < 0 || !remove_new(spool, err) || !start_helper(spool, err)) {
        spool_free(spool);
        return false;
    }
    *out = spool;
    return true;
}

void
spool_free(struct spool *spool)
{
    if (spool == NULL)
        return;
    if (spool->thread_runs) {
        (void)pthread_mutex_lock(&spool->lock);
        spool->stopping = true;
        (void)pthread_cond_broadcast(&spool->wake);
        (void)pthread_mutex_unlock(&spool->lock);
        (void)pthread_join(spool->thread, NULL);
    }
    while (spool->first != NULL) { /* those that were abandoned; the rest its owner has freed */
        struct spool_job *next = spool->first->next;
        job_free(spool->first);
        spool->first = next;
    }
    if (spool->folder_fd >= 0)
        (void)close(spool->folder_fd);
    (void)pthread_cond_destroy(&spool->wake);
    (void)pthread_mutex_destroy(&spool->lock);
    free(spool->buffer);
    free(spool->folder);
    free(spool);
}

/* False: no name of ours. */
static bool
read_name(const char *name, struct generation_id *id, enum kind *kind)
{
    size_t size = strspn(name, "0123456789abcdef");
    if (size != GENERATION_TEXT_SIZE || !generation_id_parse(name, id))
        return false;
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
        if (strcmp(name + size, endings[i]) == 0) {
            *kind = (enum kind)i;
            return true;
        }
    return false;
}

bool
spool_list(struct spool *spool, void (*found)(void *context, struct generation_id id, bool whole),
           void *context, struct err *err)
{
    DIR *entries = opendir(spool->folder);
    if (entries == NULL)
        return err_errno(err, ERR_RETRY, errno, "look into '%s'", spool->folder);
    struct dirent *entry;
    while ((entry = readdir(entries)) != NULL) {
        struct generation_id id;
        enum kind kind;
        if (read_name(entry->d_name, &id, &kind) && kind != KIND_NEW)
            found(context, id, kind == KIND_WHOLE);
    }
    (void)closedir(entries);
    return true;
}

static struct spool_job *
start_job(struct spool *spool, const struct spool_job *about, int fd, struct err *err)
{
    struct spool_job *job = malloc(sizeof(*job));
    int source = job == NULL ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (source < 0) {
        (void)err_errno(err, ERR_RETRY, job == NULL ? ENOMEM : errno, "begin a copy in '%s'",
                        spool->folder);
        free(job);
        return NULL;
    }
    *job = *about;
    job->source = source;
    job->target = -1;
    (void)pthread_mutex_lock(&spool->lock);
    push_job(spool, job);
    (void)pthread_cond_broadcast(&spool->wake);
    (void)pthread_mutex_unlock(&spool->lock);
    return job;
}

struct spool_job *
spool_start_copy(struct spool *spool, const struct spool_copy *copy, struct err *err)
{
    ASSERT(copy->resume == 0 || copy->resume >= copy->from);

    struct spool_job job = {
        .id = copy->id,
        .at = copy->resume > 0 ? copy->resume : copy->from,
        .resumed_at = copy->resume,
        .room = copy->room,
        .whole = copy->whole,
    };
    return start_job(spool, &job, copy->fd, err);
}

struct spool_job *
spool_start_unpack(struct spool *spool, struct generation_id id, int fd,
                   const struct unpack_life *life, uint64_t room, struct err *err)
{
    struct spool_job job = {.id = id, .life = *life, .room = room, .unpacks = true, .whole = true};
    return start_job(spool, &job, fd, err);
}

bool
spool_job_done(struct spool *spool, const struct spool_job *job, struct spool_result *result)
{
    (void)pthread_mutex_lock(&spool->lock);
    bool done = job->done;
    if (done)
        *result = job->result;
    (void)pthread_mutex_unlock(&spool->lock);
    return done;
}

void
spool_job_free(struct spool *spool, struct spool_job *job)
{
    (void)pthread_mutex_lock(&spool->lock);
    job->abandoned = true;
    bool done = job->done;
    (void)pthread_mutex_unlock(&spool->lock);
    if (done)
        job_free(job);
}

bool
spool_holds(const char *state_dir, struct generation_id id)
{
    bool held = false;
    for (enum kind kind = KIND_WHOLE; kind <= KIND_PART; kind++) {
        char path[PATH_MAX];
        char name[NAME_SIZE];
        make_name(name, id, kind);
        int size = snprintf(path, sizeof(path), "%s/spool/%s", state_dir, name);
        held |= size > 0 && (size_t)size < sizeof(path) && access(path, F_OK) == 0;
    }
    return held;
}

int
spool_open(const struct spool *spool, struct generation_id id)
{
    char name[NAME_SIZE];
    make_name(name, id, KIND_WHOLE);
    return openat(spool->folder_fd, name, O_RDONLY | O_CLOEXEC);
}

/* Behind the last newline of [start, end), else `start`. */
static bool
last_line_end(int fd, uint64_t start, uint64_t end, uint64_t *found)
{
    char bytes[4096];
    *found = start;
    while (end > start) {
        size_t want = end - start < sizeof(bytes) ? (size_t)(end - start) : sizeof(bytes);
        if (pread(fd, bytes, want, (off_t)(end - want)) != (ssize_t)want)
            return false;
        const char *newline = memrchr(bytes, '\n', want);
        if (newline != NULL) {
            *found = end - want + (uint64_t)(newline - bytes) + 1;
            return true;
        }
        end -= want;
    }
    return true;
}

bool
spool_settle_part(struct spool *spool, struct generation_id id, uint64_t committed, uint64_t least,
                  struct err *err)
{
    char part[NAME_SIZE];
    char whole[NAME_SIZE];
    make_name(part, id, KIND_PART);
    make_name(whole, id, KIND_WHOLE);
    struct stat about;
    int fd = openat(spool->folder_fd, part, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) != 0)
        goto failed;
    uint64_t size = (uint64_t)about.st_size;
    uint64_t end = size;
    if (committed < size) {
        /* Copies have no holes; after a power cut, what did not reach the disk is one. */
        off_t hole = lseek(fd, (off_t)committed, SEEK_HOLE);
        if (hole >= 0 && (uint64_t)hole < size)
            size = (uint64_t)hole;
        if (!last_line_end(fd, committed, size, &end))
            goto failed;
        if (least > end && least <= size)
            end = least;
    }
    if (ftruncate(fd, (off_t)end) != 0 ||
        renameat(spool->folder_fd, part, spool->folder_fd, whole) != 0)
        goto failed;
    (void)close(fd);
    return true;

failed:
    (void)err_errno(err, ERR_RETRY, errno, "use '%s/%s'", spool->folder, part);
    if (fd >= 0)
        (void)close(fd);
    return false;
}

bool
spool_rename(struct spool *spool, struct generation_id from, struct generation_id to)
{
    bool renamed = false;
    for (enum kind kind = KIND_WHOLE; kind <= KIND_PART; kind++) {
        char old[NAME_SIZE];
        char new[NAME_SIZE];
        make_name(old, from, kind);
        make_name(new, to, kind);
        renamed |= renameat(spool->folder_fd, old, spool->folder_fd, new) == 0;
    }
    return renamed;
}

void
spool_remove(struct spool *spool, struct generation_id id)
{
    for (enum kind kind = KIND_WHOLE; kind <= KIND_NEW; kind++) {
        char name[NAME_SIZE];
        make_name(name, id, kind);
        (void)unlinkat(spool->folder_fd, name, 0);
    }
}

uint64_t
spool_bytes(const struct spool *spool, struct generation_id id)
{
    uint64_t bytes = 0;
    for (enum kind kind = KIND_WHOLE; kind <= KIND_NEW; kind++) {
        char name[NAME_SIZE];
        struct stat about;
        make_name(name, id, kind);
        if (fstatat(spool->folder_fd, name, &about, 0) == 0)
            bytes += (uint64_t)about.st_blocks * 512;
    }
    return bytes;
}
