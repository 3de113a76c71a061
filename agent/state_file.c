/* SPDX-License-Identifier: Apache-2.0 */
/* state_file.c: see state_file.h. */
#include "agent/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/state_load.h"
#include "core/assert.h"
#include "core/disk.h"

#define JOURNAL "journal"
#define SPARE "journal.spare"
#define ROOM_SIZE (256 * 1024) /* zeros behind the records: half an hour of one busy file */

/* --- the folder and its lock --- */

static bool
make_folder(const char *folder, struct err *err)
{
    char path[STATE_PATH_TEXT_MAX];
    size_t size = strlen(folder);
    if (size >= sizeof(path))
        return err_set(err, ERR_CONFIG, 0, "the path of the state folder is too long");
    memcpy(path, folder, size + 1);
    for (size_t i = 1; i <= size; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        path[i] = '\0';
        if (mkdir(path, i == size ? 0700 : 0755) != 0 && errno != EEXIST)
            return err_errno(err, ERR_STOP, errno, "create the state folder '%s'", path);
        path[i] = i == size ? '\0' : '/';
    }
    return true;
}

/* The process number has a fixed width and is only for people: it must not need room. */
static bool
take_lock(const char *folder, int folder_fd, int *out, struct err *err)
{
    int fd = openat(folder_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, ERR_STOP, errno, "open '%s/lock'", folder);
    char text[32] = "";
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int number = errno;
        ssize_t size = pread(fd, text, sizeof(text) - 1, 0);
        text[size < 0 ? 0 : size] = '\0';
        text[strcspn(text, " \n")] = '\0';
        (void)close(fd);
        if (number != EWOULDBLOCK)
            return err_errno(err, ERR_STOP, number, "lock '%s/lock'", folder);
        return err_set(err, ERR_RETRY, EWOULDBLOCK, "the state folder '%s' is in use by process %s",
                       folder, text[0] == '\0' ? "?" : text);
    }
    int size = snprintf(text, sizeof(text), "%-19ld\n", (long)getpid());
    ssize_t done = size < 0 ? 0 : pwrite(fd, text, (size_t)size, 0);
    (void)done;
    *out = fd;
    return true;
}

bool
state_file_open(struct state_file *file, const char *folder, struct err *err)
{
    *file = (struct state_file){.folder_fd = -1, .lock_fd = -1, .fd = -1};
    file->folder = strdup(folder);
    if (file->folder == NULL)
        return err_errno(err, ERR_STOP, ENOMEM, "open the state");
    if (!make_folder(folder, err))
        return false;
    file->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file->folder_fd < 0)
        return err_errno(err, ERR_STOP, errno, "open the state folder '%s'", folder);
    return take_lock(folder, file->folder_fd, &file->lock_fd, err);
}

static void
close_all(struct state_file *file)
{
    int fds[] = {file->fd, file->lock_fd, file->folder_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    file->fd = file->lock_fd = file->folder_fd = -1;
}

void
state_file_close(struct state_file *file)
{
    close_all(file);
    free(file->folder);
    file->folder = NULL;
}

/* --- reading --- */

/* By read() and not by mmap(): a bad sector must be an error here, not a SIGBUS. */
static bool
read_all(int fd, char **bytes, size_t *size, struct err *err)
{
    struct stat about;
    if (fstat(fd, &about) != 0)
        return err_errno(err, ERR_STOP, errno, "look at it");
    *bytes = malloc((size_t)about.st_size + 1);
    if (*bytes == NULL)
        return err_errno(err, ERR_STOP, ENOMEM, "read it");
    *size = 0;
    while (*size < (size_t)about.st_size) {
        ssize_t got = pread(fd, *bytes + *size, (size_t)about.st_size - *size, (off_t)*size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int number = errno;
            free(*bytes);
            *bytes = NULL;
            return err_errno(err, ERR_STOP, number, "read it");
        }
        if (got == 0)
            break; /* it became shorter meanwhile */
        *size += (size_t)got;
    }
    return true;
}

bool
state_file_read(const char *path, char **bytes, size_t *size, struct err *err)
{
    *bytes = NULL;
    *size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || err_errno(err, ERR_STOP, errno, "open it");
    bool fine = read_all(fd, bytes, size, err);
    (void)close(fd);
    return fine;
}

bool
state_file_load(struct state_file *file, char **bytes, size_t *size, struct err *err)
{
    ASSERT(file->fd < 0);

    *bytes = NULL;
    *size = 0;
    file->fd = openat(file->folder_fd, JOURNAL, O_RDWR | O_CLOEXEC);
    if (file->fd < 0)
        return errno == ENOENT || err_errno(err, ERR_STOP, errno, "open it");
    if (!read_all(file->fd, bytes, size, err))
        return false;
    file->size = file->capacity = *size;
    return true;
}

/* --- writing --- */

static bool
write_zeros(int fd, uint64_t from, uint64_t to)
{
    static const char zeros[65536];
    while (from < to) {
        size_t part = to - from < sizeof(zeros) ? (size_t)(to - from) : sizeof(zeros);
        if (!disk_write_at(fd, zeros, part, from))
            return false;
        from += part;
    }
    return true;
}

static uint64_t
whole_steps(uint64_t size)
{
    return (size + STATE_STEP_SIZE - 1) / STATE_STEP_SIZE * STATE_STEP_SIZE;
}

/* Zeros that are on the disk, up to `size`; how far they really go. A file grows by whole steps
 * only. */
static uint64_t
grow(int fd, uint64_t size, uint64_t wanted)
{
    wanted = whole_steps(wanted);
    if (size >= wanted)
        return size;
    if (posix_fallocate(fd, (off_t)size, (off_t)(wanted - size)) == 0)
        return wanted;
    struct stat about;
    if (fstat(fd, &about) != 0 || (uint64_t)about.st_size <= size)
        return size;
    uint64_t got = (uint64_t)about.st_size / STATE_STEP_SIZE * STATE_STEP_SIZE;
    return ftruncate(fd, (off_t)(got < size ? size : got)) == 0 && got > size ? got : size;
}

/* Best effort: a replacement finds out itself what is there. */
static void
keep_spare(struct state_file *file, uint64_t spare_size)
{
    if (file->spare_capacity >= spare_size)
        return;
    int fd = openat(file->folder_fd, SPARE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    struct stat about;
    if (fstat(fd, &about) == 0)
        file->spare_capacity = grow(fd, (uint64_t)about.st_size, spare_size + ROOM_SIZE);
    (void)close(fd);
}

static bool
same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Does the path still lead to our folder? An error that is not an absence proves nothing. */
static bool
folder_is_ours(const struct state_file *file)
{
    struct stat path;
    struct stat ours;
    if (fstat(file->folder_fd, &ours) != 0 || stat(file->folder, &path) != 0)
        return errno != ENOENT && errno != ENOTDIR;
    return same_file(&path, &ours);
}

static bool
journal_is_ours(const struct state_file *file)
{
    struct stat path;
    struct stat ours;
    if (file->fd < 0 || fstat(file->fd, &ours) != 0 ||
        fstatat(file->folder_fd, JOURNAL, &path, 0) != 0)
        return false;
    return same_file(&path, &ours);
}

enum state_written
state_file_append(struct state_file *file, const void *bytes, size_t size, uint64_t spare_size,
                  struct err *err)
{
    if (!folder_is_ours(file) || !journal_is_ours(file)) {
        (void)err_set(err, ERR_RETRY, ENOENT, "'%s/" JOURNAL "' was removed or replaced",
                      file->folder);
        return STATE_BROKEN;
    }
    uint64_t end = file->size + size;
    if (end + ROOM_SIZE / 2 > file->capacity)
        file->capacity = grow(file->fd, file->capacity, end + ROOM_SIZE);
    if (end > file->capacity) {
        (void)err_errno(err, ERR_RETRY, ENOSPC, "write '%s/" JOURNAL "'", file->folder);
        return STATE_LATER;
    }
    if (!disk_write_at(file->fd, bytes, size, file->size)) {
        (void)err_errno(err, ERR_RETRY, errno, "write '%s/" JOURNAL "'", file->folder);
        /* A file system that copies on write needs room even here. Nothing may follow a part. */
        if (write_zeros(file->fd, file->size, end))
            return STATE_LATER;
        file->suspect = true;
        return STATE_BROKEN;
    }
    if (fdatasync(file->fd) != 0) {
        file->suspect = true;
        (void)err_errno(err, ERR_RETRY, errno, "sync '%s/" JOURNAL "'", file->folder);
        return STATE_BROKEN;
    }
    file->size = end;
    keep_spare(file, spare_size);
    return STATE_WRITTEN;
}

/* The folder was removed, moved or mounted over: the path is what counts at the next start. */
static bool
take_folder_again(struct state_file *file, struct err *err)
{
    struct state_file again;
    struct stat about;
    if (!state_file_open(&again, file->folder, err)) {
        state_file_close(&again);
        err->action = ERR_RETRY;
        return false;
    }
    if (fstatat(again.folder_fd, JOURNAL, &about, 0) == 0) {
        state_file_close(&again);
        return err_set(err, ERR_RETRY, EEXIST,
                       "another state stands in '%s' now: restart to use it, or remove it",
                       file->folder);
    }
    close_all(file);
    free(file->folder);
    *file = again;
    return true;
}

/* The lock may have been removed, and another process may hold the new one. */
static bool
check_lock(struct state_file *file, struct err *err)
{
    struct stat about;
    if (fstat(file->lock_fd, &about) == 0 && about.st_nlink > 0)
        return true;
    int fd;
    if (!take_lock(file->folder, file->folder_fd, &fd, err)) {
        err->action = ERR_RETRY;
        return false;
    }
    (void)close(file->lock_fd);
    file->lock_fd = fd;
    return true;
}

/* The content of the spare: the bytes, then zeros to its end, which is on the disk. */
static bool
fill_spare(struct state_file *file, int fd, const void *bytes, size_t size, uint64_t spare_size,
           uint64_t *capacity)
{
    struct stat about;
    if (fstat(fd, &about) != 0)
        return false;
    uint64_t old = (uint64_t)about.st_size;
    uint64_t wanted = whole_steps((spare_size > size ? spare_size : size) + ROOM_SIZE);
    uint64_t kept = old > 2 * wanted ? wanted : old / STATE_STEP_SIZE * STATE_STEP_SIZE;
    if (kept != old && ftruncate(fd, (off_t)kept) != 0)
        return false;
    old = kept;
    file->spare_capacity = *capacity = grow(fd, old, wanted);
    if (*capacity < size) {
        errno = ENOSPC;
        return false;
    }
    return disk_write_at(fd, bytes, size, 0) && write_zeros(fd, size, old) && fsync(fd) == 0;
}

/* The spare becomes the journal; the journal becomes the spare, where the file system can
 * exchange names (not on NFS). */
static bool
exchange(const struct state_file *file)
{
    return (file->fd >= 0 &&
            renameat2(file->folder_fd, SPARE, file->folder_fd, JOURNAL, RENAME_EXCHANGE) == 0) ||
           renameat(file->folder_fd, SPARE, file->folder_fd, JOURNAL) == 0;
}

enum state_written
state_file_replace(struct state_file *file, const void *bytes, size_t size, uint64_t spare_size,
                   struct err *err)
{
    if ((!folder_is_ours(file) && !take_folder_again(file, err)) || !check_lock(file, err))
        return STATE_LATER;
    int fd = openat(file->folder_fd, SPARE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        (void)err_errno(err, ERR_RETRY, errno, "create '%s/" SPARE "'", file->folder);
        return STATE_LATER;
    }
    uint64_t capacity;
    bool filled = fill_spare(file, fd, bytes, size, spare_size, &capacity);
    if (!filled || !exchange(file)) {
        int number = errno;
        (void)err_errno(err, ERR_RETRY, number, "write '%s/" SPARE "'", file->folder);
        (void)close(fd);
        /* Room is kept; pages that could not be written are not. */
        if (number != ENOSPC && number != EDQUOT)
            (void)unlinkat(file->folder_fd, SPARE, 0);
        return STATE_LATER;
    }
    bool durable = fsync(file->folder_fd) == 0;
    if (!durable)
        (void)err_errno(err, ERR_RETRY, errno, "sync the folder '%s'", file->folder);
    if (file->fd >= 0)
        (void)close(file->fd);
    file->fd = fd;
    file->size = size;
    file->capacity = capacity;
    file->spare_capacity = 0;
    if (file->suspect)
        (void)unlinkat(file->folder_fd, SPARE, 0);
    file->suspect = false;
    keep_spare(file, spare_size);
    return durable ? STATE_WRITTEN : STATE_BROKEN;
}
