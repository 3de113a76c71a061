/* SPDX-License-Identifier: Apache-2.0 */
/* file.c: see file.h. */
#include "agent/inputs/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/inputs/account.h"
#include "agent/inputs/files.h"
#include "agent/inputs/held.h"
#include "agent/inputs/sweep.h"
#include "agent/reader.h"
#include "agent/schedule.h"
#include "agent/state.h"
#include "core/assert.h"
#include "core/clock.h"

#define CLOSE_TRIES 1000 /* open files looked at for one that can be closed */

int64_t
stat_modified_ns(const struct stat *about)
{
    return (int64_t)about->st_mtim.tv_sec * 1000000000 + about->st_mtim.tv_nsec;
}

struct file *
file_by_path(const struct agent *agent, const char *path)
{
    struct file *file;
    HASH_FIND(by_path, agent->by_path, path, strlen(path), file);
    return file;
}

struct file *
file_by_inode(const struct agent *agent, uint64_t device, uint64_t inode)
{
    struct file *file;
    const uint64_t key[2] = {device, inode};
    HASH_FIND(by_inode, agent->by_inode, key, sizeof(key), file);
    return file;
}

/* False: no memory, and it is in none of them. */
static bool
enter_tables(struct agent *agent, struct file *file)
{
    if (file->listed) {
        HASH_ADD_KEYPTR(by_path, agent->by_path, file->path, strlen(file->path), file);
        if (!HASH_ADDED(by_path, file))
            return false;
        file->in_path_table = true;
    }
    if (file_by_inode(agent, file->device, file->inode) != NULL)
        return true;
    HASH_ADD(by_inode, agent->by_inode, inode_key, sizeof(file->inode_key), file);
    file->in_inode_table = HASH_ADDED(by_inode, file);
    if (!file->in_inode_table && file->in_path_table)
        HASH_DELETE(by_path, agent->by_path, file);
    return file->in_inode_table;
}

static struct file *
file_make(struct agent *agent, struct input *input, const char *path, const struct stat *about,
          enum file_state state, bool listed)
{
    struct file *file = calloc(1, sizeof(*file));
    if (file == NULL || (file->path = strdup(path)) == NULL) {
        free(file);
        return NULL;
    }
    file->input = input;
    file->state = state;
    file->fd = -1;
    file->listed = listed;
    file->round = agent->round;
    file->device = file->inode_key.device = (uint64_t)about->st_dev;
    file->inode = file->inode_key.inode = (uint64_t)about->st_ino;
    file->size = (uint64_t)about->st_size;
    file->modified_ns = stat_modified_ns(about);
    file->grown_ms = clock_monotonic_ms();
    if (!enter_tables(agent, file)) {
        free(file->path);
        free(file);
        return NULL;
    }
    file->next = agent->files;
    if (agent->files != NULL)
        agent->files->previous = file;
    agent->files = file;
    agent->file_count++;
    input->file_count++;
    sweep_enter(agent, file, about);
    account_touch(agent, file);
    return file;
}

struct file *
file_new(struct agent *agent, struct input *input, const char *path, const struct stat *about,
         enum file_state state)
{
    ASSERT(file_by_path(agent, path) == NULL);

    return file_make(agent, input, path, about, state, true);
}

struct file *
file_new_unlisted(struct agent *agent, struct input *input, const char *path,
                  const struct stat *about)
{
    return file_make(agent, input, path, about, FILE_FAILED, false);
}

static void
leave_inode_table(struct agent *agent, struct file *file)
{
    if (file->in_inode_table)
        HASH_DELETE(by_inode, agent->by_inode, file);
    file->in_inode_table = false;
}

void
file_unlist(struct agent *agent, struct file *file)
{
    if (file->in_path_table)
        HASH_DELETE(by_path, agent->by_path, file);
    file->in_path_table = false;
    file->listed = false;
    if (file->fd < 0 || file->state == FILE_ENDED)
        leave_inode_table(agent, file); /* without a descriptor the number may be given away */
    account_touch(agent, file);
}

uint64_t
file_lag(const struct file *file)
{
    if (file->state != FILE_ACTIVE && file->state != FILE_FAILED)
        return 0;
    uint64_t done = file->generation == NULL ? file->read : file->generation->committed;
    return file->size > done ? file->size - done : 0;
}

enum file_state
file_shown_state(const struct file *file)
{
    return file->state == FILE_ACTIVE && file->error_number != 0 ? FILE_FAILED : file->state;
}

static void
note_opened(struct agent *agent, struct file *file)
{
    agent->open_count++;
    file->open_next = NULL;
    file->open_previous = agent->open_last;
    if (agent->open_last != NULL)
        agent->open_last->open_next = file;
    else
        agent->open_first = file;
    agent->open_last = file;
}

static void
note_closed(struct agent *agent, struct file *file)
{
    agent->open_count--;
    if (file->open_previous != NULL)
        file->open_previous->open_next = file->open_next;
    else
        agent->open_first = file->open_next;
    if (file->open_next != NULL)
        file->open_next->open_previous = file->open_previous;
    else
        agent->open_last = file->open_previous;
}

void
file_close(struct agent *agent, struct file *file)
{
    if (file->fd < 0)
        return;
    (void)close(file->fd);
    file->fd = -1;
    note_closed(agent, file);
}

void
file_free(struct agent *agent, struct file *file)
{
    ASSERT(file->first == NULL);
    ASSERT(file->unanswered == 0);

    held_leave(agent, file);
    schedule_remove(agent, file);
    file_close(agent, file);
    file_unlist(agent, file);
    leave_inode_table(agent, file);
    sweep_leave(agent, file);
    account_leave(agent, file);
    if (file->generation != NULL)
        file->generation->file = NULL;
    if (file->previous != NULL)
        file->previous->next = file->next;
    else
        agent->files = file->next;
    if (file->next != NULL)
        file->next->previous = file->previous;
    agent->file_count--;
    file->input->file_count--;
    free(file->path);
    free(file);
}

bool
file_rename(struct agent *agent, struct file *file, const char *path)
{
    ASSERT(file_by_path(agent, path) == NULL);

    char *copy = strdup(path);
    if (copy == NULL)
        return false;
    if (file->in_path_table)
        HASH_DELETE(by_path, agent->by_path, file);
    free(file->path);
    file->path = copy;
    HASH_ADD_KEYPTR(by_path, agent->by_path, file->path, strlen(file->path), file);
    file->in_path_table = HASH_ADDED(by_path, file); /* else found by its inode, and tried again */
    file->listed = true;
    account_touch(agent, file);
    if (file->generation != NULL && generation_set_path(file->generation, path))
        state_put_generation(agent->state, file->generation);
    return true;
}

void
file_attach(struct agent *agent, struct file *file, struct generation *generation, int fd)
{
    ASSERT(generation->file == NULL);
    ASSERT(file->generation == NULL);
    ASSERT(file->fd < 0);

    file->state = FILE_ACTIVE;
    file->generation = generation;
    file->fd = fd;
    note_opened(agent, file);
    account_touch(agent, file);
    generation->file = file;
    generation->searched = false;
    generation->released = false;
    generation->gone = NULL;
    if (generation->part_size > agent->part_max)
        generation->part_size = (uint32_t)agent->part_max;
    days_found(&generation->days, file->size);
    reader_seek(file, generation->committed, generation->checkpoints[0].hash);
    if (file->size > generation->committed) {
        file->behind_since_ms = clock_monotonic_ms();
        schedule_file(agent, file);
    }
}

void
file_replace(struct agent *agent, struct file *file, const struct stat *about, int fd)
{
    ASSERT(file->state == FILE_ACTIVE);
    ASSERT(file->fd >= 0);

    (void)close(file->fd);
    file->fd = fd;
    leave_inode_table(agent, file);
    file->device = file->inode_key.device = (uint64_t)about->st_dev;
    file->inode = file->inode_key.inode = (uint64_t)about->st_ino;
    HASH_ADD(by_inode, agent->by_inode, inode_key, sizeof(file->inode_key), file);
    file->in_inode_table = HASH_ADDED(by_inode, file);
    generation_seen(file->generation, about, generation_birth_ns(fd));
    state_put_generation(agent->state, file->generation);
    file->modified_ns = 0;
    file_seen(agent, file, about);
}

void
file_revive(struct agent *agent, struct file *file, const struct stat *about, int fd,
            const char *path)
{
    ASSERT(file->state == FILE_ENDED);
    ASSERT(file->fd < 0);

    leave_inode_table(agent, file);
    file->state = FILE_ACTIVE;
    file->fd = fd;
    note_opened(agent, file);
    file->device = file->inode_key.device = (uint64_t)about->st_dev;
    file->inode = file->inode_key.inode = (uint64_t)about->st_ino;
    HASH_ADD(by_inode, agent->by_inode, inode_key, sizeof(file->inode_key), file);
    file->in_inode_table = HASH_ADDED(by_inode, file);
    file->generation->gone = NULL;
    file->generation->searched = false;
    generation_seen(file->generation, about, generation_birth_ns(fd));
    if (path == NULL || !file_rename(agent, file, path))
        state_put_generation(agent->state, file->generation);
    file->size = (uint64_t)about->st_size;
    file->modified_ns = stat_modified_ns(about);
    account_touch(agent, file);
    schedule_file(agent, file);
}

void
file_keep(struct agent *agent, struct file *file, int fd)
{
    ASSERT(file->fd < 0);

    file->fd = fd;
    note_opened(agent, file);
}

void
file_settle_descriptor(struct agent *agent, struct file *file, bool listed)
{
    if (!listed)
        file_unlist(agent, file);
    else if (agent->open_count > agent->open_max)
        file_close(agent, file);
}

/* Makes room for one more descriptor. What is under way keeps its own: should it be renamed,
 * nothing else leads to it. */
static void
close_others(struct agent *agent)
{
    for (unsigned tries = 0; agent->open_count >= agent->open_max && tries < CLOSE_TRIES; tries++) {
        struct file *file = agent->open_first;
        if (file == NULL)
            return;
        if (file->state == FILE_ACTIVE && file->listed && file->first == NULL) {
            file_close(agent, file);
            continue;
        }
        note_closed(agent, file); /* behind the others: it is not tried again soon */
        note_opened(agent, file);
    }
}

bool
file_open(struct agent *agent, struct file *file)
{
    ASSERT(file->fd < 0);

    close_others(agent);
    if (agent->open_count >= agent->open_max && agent->records_waiting > 0) {
        errno = EMFILE; /* an answer lets go of one */
        return false;
    }
    file->fd = reader_open(file->path);
    if (file->fd < 0)
        return false;
    note_opened(agent, file);
    struct stat about;
    bool same = fstat(file->fd, &about) == 0 && (uint64_t)about.st_dev == file->device &&
                (uint64_t)about.st_ino == file->inode;
    int64_t birth_ns = same ? generation_birth_ns(file->fd) : 0;
    int64_t known_ns = file->generation == NULL ? 0 : file->generation->birth_ns;
    if (same && (birth_ns == 0 || known_ns == 0 || birth_ns == known_ns))
        return true;
    file_close(agent, file);
    errno = same ? EBADMSG : ESTALE; /* another file has the path now */
    return false;
}

void
file_seen(struct agent *agent, struct file *file, const struct stat *about)
{
    uint64_t size = (uint64_t)about->st_size;
    int64_t modified_ns = stat_modified_ns(about);
    file->deleted = about->st_nlink == 0 || file->held != NULL;
    if (file->deleted && file->held == NULL)
        held_look(agent, file);
    if (size == file->size && modified_ns == file->modified_ns)
        return;
    file->modified_ns = modified_ns;
    file->grown_ms = clock_monotonic_ms();
    if (size > file->size)
        habit_grew(&file->habit, clock_monotonic_ms());
    account_touch(agent, file);
    if (file->state != FILE_ACTIVE)
        return;
    if (size < file->read || size < file->generation->head_size) {
        files_changed(agent, file);
        return;
    }
    /* Shorter, or written without having grown: the same content still? What grew is compared when
     * it is read. */
    if ((size < file->size || (size == file->read && size > 0)) && !reader_is_same(file)) {
        files_changed(agent, file);
        return;
    }
    if (size < file->size) {
        files_count_lost(agent, file, file->size - size, "shorter"); /* its end was cut off */
        file->scanned = file->read;
    }
    file->size = size;
    file->generation->size = size;
    if (size > file->generation->committed && file->behind_since_ms == 0)
        file->behind_since_ms = clock_monotonic_ms();
    schedule_file(agent, file);
}
