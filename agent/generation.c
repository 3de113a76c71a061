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

#include "core/assert.h"

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
    free(generation->input);
    free(generation->path);
    free(generation);
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

/* Reads exactly `size` bytes; false with errno, 0 when the file is shorter. */
static bool
read_exactly(int fd, char *out, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(fd, out + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            errno = got == 0 ? 0 : errno;
            return false;
        }
        done += (size_t)got;
    }
    return true;
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

enum tie
generation_tie(const struct generation *generation, const struct stat *about, int64_t birth_ns,
               const char *path)
{
    if (generation->device == (uint64_t)about->st_dev &&
        generation->inode == (uint64_t)about->st_ino) {
        if (birth_ns != 0 && birth_ns == generation->birth_ns)
            return TIE_BIRTH;
        /* Without content a reused inode proves nothing: an empty head matches every file. */
        if (generation->head_size > 0 && (birth_ns == 0 || generation->birth_ns == 0))
            return TIE_INODE;
    }
    if (generation->committed < CONTENT_SIZE_MIN)
        return TIE_NONE;
    return path != NULL && strcmp(generation->path, path) == 0 ? TIE_PATH : TIE_CONTENT;
}

_Static_assert(CONTENT_SIZE_MIN >= TAIL_SIZE_MAX,
               "a content match has a whole checkpoint behind it");
