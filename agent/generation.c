/* SPDX-License-Identifier: Apache-2.0 */
/* generation.c: see generation.h. */
#include "agent/generation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "agent/receipt.h"
#include "core/assert.h"

#define ROTATION_BYTES ".-_0123456789TZ" /* what rotation puts behind a name */
#define CHECKPOINT_UNIT ((uint64_t)1024 * 1024)

struct generation *
generation_add(struct catalog *catalog, struct generation_id id, const char *input,
               const char *path)
{
    struct generation *generation = calloc(1, sizeof(*generation));
    if (generation == NULL)
        return NULL;
    generation->id = id;
    generation->input = strdup(input);
    generation->path = strdup(path);
    if (generation->input == NULL || generation->path == NULL) {
        free(generation->input);
        free(generation->path);
        free(generation);
        return NULL;
    }
    generation->head_hash = generation_hash("", 0);
    generation->checkpoint_count = 1;
    generation->checkpoints[0] = (struct checkpoint){0, generation_hash("", 0)};
    generation->seen_seconds = time(NULL);
    generation->next = catalog->first;
    if (catalog->first != NULL)
        catalog->first->previous = generation;
    catalog->first = generation;
    catalog->count++;
    return generation;
}

struct generation *
generation_new(struct catalog *catalog, const char *input, const char *path)
{
    return generation_add(catalog, generation_id_new(), input, path);
}

void
generation_remove(struct catalog *catalog, struct generation *generation)
{
    ASSERT(generation->file == NULL);
    ASSERT(catalog->count > 0);

    if (generation->previous != NULL)
        generation->previous->next = generation->next;
    else
        catalog->first = generation->next;
    if (generation->next != NULL)
        generation->next->previous = generation->previous;
    catalog->count--;
    for (size_t i = 0; i < STARTS; i++)
        if (generation->start_known[i] && catalog->starts[i] != NULL)
            HASH_DELETE(by_start[i], catalog->starts[i], generation);
    receipt_let_go(generation);
    free(generation->input);
    free(generation->path);
    free(generation);
}

struct generation *
catalog_find(const struct catalog *catalog, struct generation_id id)
{
    struct generation *at = catalog->first;
    while (at != NULL && !generation_id_equal(at->id, id))
        at = at->next;
    return at;
}

void
catalog_done(struct catalog *catalog)
{
    for (struct generation *at = catalog->first, *next; at != NULL; at = next) {
        next = at->next;
        at->file = NULL;
        at->previous = NULL; /* all before it are gone */
        generation_remove(catalog, at);
    }
}

bool
generation_set_path(struct generation *generation, const char *path)
{
    if (strcmp(generation->path, path) == 0)
        return true;
    char *copy = strdup(path);
    if (copy == NULL)
        return false;
    generation->path_before = generation_hash(generation->path, strlen(generation->path));
    free(generation->path);
    generation->path = copy;
    generation->changed = true;
    return true;
}

void
generation_seen(struct generation *generation, const struct stat *about, int64_t birth_ns)
{
    generation->device = (uint64_t)about->st_dev;
    generation->inode = (uint64_t)about->st_ino;
    generation->birth_ns = birth_ns;
    generation->size = (uint64_t)about->st_size;
    generation->seen_seconds = time(NULL);
}

int64_t
generation_birth_ns(int fd)
{
    struct statx about;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &about) != 0 ||
        (about.stx_mask & STATX_BTIME) == 0)
        return 0;
    return (int64_t)about.stx_btime.tv_sec * 1000000000 + about.stx_btime.tv_nsec;
}

uint64_t
generation_hash(const void *bytes, size_t size)
{
    return XXH3_64bits(bytes, size);
}

/* Distances from the newest checkpoint in classes: below 1 MiB, 1 to 2, 2 to 4, … */
static unsigned
distance_class(const struct generation *generation, uint32_t index)
{
    uint64_t units = (generation->checkpoints[0].offset - generation->checkpoints[index].offset) /
                     CHECKPOINT_UNIT;
    unsigned class = 0;
    while (units > 0) {
        units /= 2;
        class ++;
    }
    return class;
}

/* Drops one of the older checkpoints: the newer of two that are about as far away, else the
 * oldest. */
static void
thin_checkpoints(struct generation *generation)
{
    uint32_t last = generation->checkpoint_count - 1;
    uint32_t drop = 1;
    while (drop < last && distance_class(generation, drop) != distance_class(generation, drop + 1))
        drop++;
    memmove(generation->checkpoints + drop, generation->checkpoints + drop + 1,
            (last - drop) * sizeof(generation->checkpoints[0]));
    generation->checkpoint_count = last;
}

void
generation_commit(struct generation *generation, uint64_t offset, uint64_t tail_hash)
{
    ASSERT(offset >= generation->committed);

    if (offset > generation->checkpoints[0].offset || generation->checkpoint_count == 0) {
        if (generation->checkpoint_count == CHECKPOINTS_MAX)
            thin_checkpoints(generation);
        memmove(generation->checkpoints + 1, generation->checkpoints,
                generation->checkpoint_count * sizeof(generation->checkpoints[0]));
        generation->checkpoint_count++;
    }
    generation->checkpoints[0] = (struct checkpoint){offset, tail_hash};
    generation->committed = offset;
    generation->changed = true;

    uint32_t behind = 0;
    while (behind < generation->cut_count && generation->cuts[behind] <= offset)
        behind++;
    generation->cut_count -= behind;
    memmove(generation->cuts, generation->cuts + behind,
            generation->cut_count * sizeof(generation->cuts[0]));
    if (generation->parts.size > 0 && generation->parts.to <= offset)
        generation->parts = (struct parts){0};
}

bool
generation_add_cut(struct generation *generation, uint64_t offset)
{
    ASSERT(offset > generation->committed);

    if (generation->cut_count > 0 && generation->cuts[generation->cut_count - 1] >= offset)
        return true;
    if (generation->cut_count == CUTS_MAX)
        return false;
    generation->cuts[generation->cut_count++] = offset;
    return true;
}

ssize_t
content_read(int fd, void *out, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(fd, (char *)out + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

/* False with errno, 0 when the file is shorter. */
static bool
read_exactly(int fd, char *out, size_t size, uint64_t offset)
{
    ssize_t got = content_read(fd, out, size, offset);
    if (got >= 0)
        errno = 0;
    return got == (ssize_t)size;
}

bool
generation_grow_head(struct generation *generation, int fd, uint64_t size, struct err *err)
{
    ASSERT(generation->head_size <= HEAD_SIZE_MAX);

    uint32_t want = size < HEAD_SIZE_MAX ? (uint32_t)size : HEAD_SIZE_MAX;
    if (want < generation->head_size)
        return err_set(err, ERR_REJECT, 0, "'%.300s' is shorter than its head", generation->path);
    char head[HEAD_SIZE_MAX];
    if (!read_exactly(fd, head, want, 0)) {
        if (errno == 0)
            return err_set(err, ERR_REJECT, 0, "'%.300s' became shorter", generation->path);
        return err_errno(err, ERR_RETRY, errno, "read '%.300s'", generation->path);
    }
    if (generation_hash(head, generation->head_size) != generation->head_hash)
        return err_set(err, ERR_REJECT, 0, "'%.300s' begins with other bytes than before",
                       generation->path);
    if (want == generation->head_size)
        return true;
    generation->head_size = want;
    generation->head_hash = generation_hash(head, want);
    generation->changed = true;
    return true;
}

enum belongs
generation_belongs(const struct generation *generation, int fd, uint64_t size)
{
    if (size < generation->head_size)
        return BELONGS_NO;
    char bytes[HEAD_SIZE_MAX];
    if (!read_exactly(fd, bytes, generation->head_size, 0))
        return errno == 0 ? BELONGS_NO : BELONGS_UNKNOWN;
    if (generation_hash(bytes, generation->head_size) != generation->head_hash)
        return BELONGS_NO;
    for (uint32_t i = 0; i < generation->checkpoint_count; i++) {
        const struct checkpoint *point = &generation->checkpoints[i];
        if (point->offset > size)
            continue;
        size_t tail = point->offset < TAIL_SIZE_MAX ? (size_t)point->offset : TAIL_SIZE_MAX;
        if (!read_exactly(fd, bytes, tail, point->offset - tail))
            return errno == 0 ? BELONGS_NO : BELONGS_UNKNOWN;
        return generation_hash(bytes, tail) == point->hash ? BELONGS_YES : BELONGS_NO;
    }
    return BELONGS_YES;
}

enum belongs
generation_last_match(const struct generation *generation, int fd, uint64_t size, uint64_t *offset)
{
    char bytes[TAIL_SIZE_MAX];
    *offset = 0;
    for (uint32_t i = 0; i < generation->checkpoint_count; i++) {
        const struct checkpoint *point = &generation->checkpoints[i];
        if (point->offset > size)
            continue;
        size_t tail = point->offset < TAIL_SIZE_MAX ? (size_t)point->offset : TAIL_SIZE_MAX;
        if (!read_exactly(fd, bytes, tail, point->offset - tail)) {
            if (errno != 0)
                return BELONGS_UNKNOWN;
            continue;
        }
        if (generation_hash(bytes, tail) != point->hash)
            continue;
        *offset = point->offset;
        return point->offset > 0 ? BELONGS_YES : BELONGS_NO;
    }
    return BELONGS_NO;
}

bool
generation_rewind(struct generation *generation, int fd, uint64_t size)
{
    uint64_t offset;
    if (generation_last_match(generation, fd, size, &offset) == BELONGS_UNKNOWN)
        return false;
    if (size < generation->head_size) { /* learned again */
        generation->head_size = 0;
        generation->head_hash = generation_hash("", 0);
    }
    if (offset == generation->committed)
        return true;
    uint32_t drop = 0;
    while (drop < generation->checkpoint_count && generation->checkpoints[drop].offset > offset)
        drop++;
    generation->checkpoint_count -= drop;
    memmove(generation->checkpoints, generation->checkpoints + drop,
            generation->checkpoint_count * sizeof(generation->checkpoints[0]));
    if (generation->checkpoint_count == 0 || generation->checkpoints[0].offset != offset) {
        ASSERT(offset == 0);
        generation->checkpoint_count = 1;
        generation->checkpoints[0] = (struct checkpoint){0, generation_hash("", 0)};
    }
    generation->committed = offset;
    generation->cut_count = 0; /* decided for bytes that may be others now: never split a line */
    generation->changed = true;
    return true;
}

static const size_t start_sizes[STARTS] = {START_SIZE_LONG, START_SIZE_SHORT};

void
generation_know_start(struct catalog *catalog, struct generation *generation, int fd)
{
    char bytes[START_SIZE_LONG];
    if (generation->start_known[0])
        return;
    ssize_t got = content_read(fd, bytes, sizeof(bytes), 0);
    size_t size = got > 0 ? (size_t)got : 0;
    for (size_t i = 0; i < STARTS; i++) {
        if (generation->start_known[i] || size < start_sizes[i])
            continue;
        generation->starts[i] = generation_hash(bytes, start_sizes[i]);
        HASH_ADD(by_start[i], catalog->starts[i], starts[i], sizeof(generation->starts[i]),
                 generation);
        generation->start_known[i] = HASH_ADDED(by_start[i], generation);
    }
}

static size_t
start_index(size_t size)
{
    return size >= START_SIZE_LONG ? 0 : 1;
}

struct generation *
catalog_starting(const struct catalog *catalog, const char *bytes, size_t size)
{
    if (size < START_SIZE_SHORT)
        return NULL;
    size_t i = start_index(size);
    uint64_t key = generation_hash(bytes, start_sizes[i]);
    struct generation *generation;
    HASH_FIND(by_start[i], catalog->starts[i], &key, sizeof(key), generation);
    return generation;
}

struct generation *
catalog_starting_like(const struct catalog *catalog, const struct generation *generation)
{
    struct generation *first = NULL;
    if (generation->start_known[0])
        HASH_FIND(by_start[0], catalog->starts[0], &generation->starts[0],
                  sizeof(generation->starts[0]), first);
    return first;
}

struct generation *
catalog_next_starting(const struct generation *generation, size_t size)
{
    size_t i = start_index(size);
    const struct UT_hash_handle *at = &generation->by_start[i];
    while ((at = at->hh_next) != NULL) {
        struct generation *other =
            (void *)((char *)(uintptr_t)at - offsetof(struct generation, by_start[0]) -
                     i * sizeof(*at));
        if (other->starts[i] == generation->starts[i])
            return other;
    }
    return NULL;
}

/* Where the name begins in a path. */
static size_t
folder_size(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? 0 : (size_t)(slash - path) + 1;
}

static bool
share_folder(const char *path, const char *other)
{
    size_t size = folder_size(path);
    return size == folder_size(other) && strncmp(path, other, size) == 0;
}

bool
name_is_rotated(const char *path, const char *rotated)
{
    size_t size = strlen(path);
    if (!share_folder(path, rotated) || strncmp(path, rotated, size) != 0 || rotated[size] == '\0')
        return false;
    return strspn(rotated + size, ROTATION_BYTES) == strlen(rotated + size);
}

size_t
name_rotation_size(const char *path)
{
    size_t size = strlen(path);
    size_t least = folder_size(path);
    size_t at = size;
    while (at > least && strchr(ROTATION_BYTES, path[at - 1]) != NULL)
        at--;
    return size - at;
}

bool
name_is_related(const char *path, const char *other)
{
    size_t folder = folder_size(path);
    size_t stem = strcspn(path + folder, ".");
    return stem > 0 && share_folder(path, other) &&
           strncmp(path + folder, other + folder, stem) == 0;
}

/* By inode; TIE_NONE when it says nothing. */
static enum tie
inode_tie(const struct generation *generation, const struct stat *about, int64_t birth_ns)
{
    if (generation->device != (uint64_t)about->st_dev ||
        generation->inode != (uint64_t)about->st_ino)
        return TIE_NONE;
    bool same_birth = birth_ns != 0 && birth_ns == generation->birth_ns;
    if (generation->head_size == 0) /* without content a reused inode proves nothing */
        return same_birth ? TIE_EMPTY : TIE_NONE;
    if (!same_birth && birth_ns != 0 && generation->birth_ns != 0)
        return TIE_NONE;
    if ((uint64_t)about->st_size < generation->committed && !generation->lost_power)
        return TIE_SHORT; /* it was truncated */
    return same_birth ? TIE_BIRTH : TIE_INODE;
}

enum tie
generation_tie(const struct generation *generation, const struct stat *about, int64_t birth_ns,
               const char *path)
{
    enum tie tie = inode_tie(generation, about, birth_ns);
    if (tie != TIE_NONE)
        return tie;
    if (generation->committed < CONTENT_SIZE_MIN)
        return generation->committed == 0 && generation->head_size > 0 && path != NULL &&
                       name_is_rotated(generation->path, path)
                   ? TIE_WEAK
                   : TIE_NONE;
    if ((uint64_t)about->st_size < generation->committed)
        return TIE_SHORT;
    return path != NULL && strcmp(generation->path, path) == 0 ? TIE_PATH : TIE_CONTENT;
}

_Static_assert(CONTENT_SIZE_MIN >= TAIL_SIZE_MAX,
               "a content match has a whole checkpoint behind it");
