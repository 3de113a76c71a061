/* SPDX-License-Identifier: Apache-2.0 */
/* match.c: see match.h. In this order, best tie first, so that no file takes a life that has a
 * better claimant:
 *     1. a find with the inode that a life was last seen with
 *     2. for lives still without a file: that inode among the siblings of its path
 *     3. a find with the path, then one with nothing but the content
 *     4. for lives still without a file: content among siblings whose names begin alike
 *     5. files between: of a path that was rotated more than once before anybody looked
 *     6. what is left of the finds begins new lives; what is left of the lives counts as lost */
#include "agent/inputs/match.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/inputs/file.h"
#include "agent/inputs/files.h"
#include "agent/inputs/held.h"
#include "agent/reader.h"
#include "agent/state.h"
#include "core/assert.h"
#include "core/clock.h"

#define FINDS_AT_ONCE 5000               /* some 0.2 s: then the loop may send what was found */
#define ROTATION_BYTES ".-_0123456789TZ" /* what rotation puts behind a name */

void
finds_init(struct finds *finds)
{
    *finds = (struct finds){0};
    finds->end = &finds->first;
}

void
finds_done(struct finds *finds)
{
    HASH_CLEAR(by_inode, finds->by_inode);
    while (finds->first != NULL) {
        struct find *next = finds->first->next;
        free(finds->first->path);
        free(finds->first);
        finds->first = next;
    }
}

bool
finds_add(struct finds *finds, const char *path, struct input *input, const struct stat *about)
{
    const uint64_t key[2] = {(uint64_t)about->st_dev, (uint64_t)about->st_ino};
    struct find *find;
    HASH_FIND(by_inode, finds->by_inode, key, sizeof(key), find);
    if (find != NULL)
        return false;
    find = calloc(1, sizeof(*find));
    if (find == NULL || (find->path = strdup(path)) == NULL) {
        free(find);
        return false; /* found again at the next discovery */
    }
    find->input = input;
    find->about = *about;
    find->listed = true;
    find->key.device = key[0];
    find->key.inode = key[1];
    HASH_ADD(by_inode, finds->by_inode, key, sizeof(find->key), find);
    if (!HASH_ADDED(by_inode, find)) {
        free(find->path);
        free(find);
        return false;
    }
    *finds->end = find;
    finds->end = &find->next;
    return true;
}

struct moved {
    char *path;
    struct input *input;
    int64_t since_ns;
    struct moved *next;
};

static void
moved_free(struct moved *moved)
{
    free(moved->path);
    free(moved);
}

void
match_note_moved(struct agent *agent, const char *path, struct input *input, int64_t since_ns)
{
    for (struct moved *at = agent->moved; at != NULL; at = at->next) {
        if (at->input != input || strcmp(at->path, path) != 0)
            continue;
        if (since_ns < at->since_ns)
            at->since_ns = since_ns; /* the earlier one covers both */
        return;
    }
    struct moved *moved = malloc(sizeof(*moved));
    if (moved == NULL || (moved->path = strdup(path)) == NULL) {
        free(moved);
        return;
    }
    moved->input = input;
    moved->since_ns = since_ns;
    moved->next = agent->moved;
    agent->moved = moved;
}

void
match_done(struct agent *agent)
{
    if (agent->finds != NULL) {
        finds_done(agent->finds);
        free(agent->finds);
        agent->finds = NULL;
    }
    while (agent->moved != NULL) {
        struct moved *next = agent->moved->next;
        moved_free(agent->moved);
        agent->moved = next;
    }
}

/* Lives that no file is read for. */
struct orphans {
    struct generation **items; /* sorted by device and inode */
    size_t count;
};

static int
by_inode(const void *a, const void *b)
{
    const struct generation *left = *(struct generation *const *)a;
    const struct generation *right = *(struct generation *const *)b;
    if (left->device != right->device)
        return left->device < right->device ? -1 : 1;
    if (left->inode != right->inode)
        return left->inode < right->inode ? -1 : 1;
    return 0;
}

static bool
orphans_init(struct orphans *orphans, const struct agent *agent)
{
    *orphans = (struct orphans){0};
    for (struct generation *at = agent->catalog.first; at != NULL; at = at->next)
        orphans->count += at->file == NULL ? 1 : 0;
    if (orphans->count == 0)
        return true;
    orphans->items = malloc(orphans->count * sizeof(struct generation *));
    if (orphans->items == NULL)
        return false;
    size_t i = 0;
    for (struct generation *at = agent->catalog.first; at != NULL; at = at->next)
        if (at->file == NULL)
            orphans->items[i++] = at;
    qsort(orphans->items, orphans->count, sizeof(struct generation *), by_inode);
    return true;
}

static size_t
orphans_first(const struct orphans *orphans, const struct stat *about)
{
    struct generation wanted = {.device = (uint64_t)about->st_dev,
                                .inode = (uint64_t)about->st_ino};
    const struct generation *key = &wanted;
    size_t low = 0;
    size_t high = orphans->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_inode(&orphans->items[middle], &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int
find_open(struct find *find)
{
    int fd = reader_open(find->path);
    if (fd < 0) {
        find->unknown = errno != ENOENT;
        find->taken = errno == ENOENT;
        return -1;
    }
    if (fstat(fd, &find->about) != 0 || !S_ISREG(find->about.st_mode) ||
        (uint64_t)find->about.st_ino != find->key.inode ||
        (uint64_t)find->about.st_dev != find->key.device) {
        (void)close(fd); /* another file meanwhile: the next discovery meets it */
        find->taken = true;
        return -1;
    }
    find->birth_ns = generation_birth_ns(fd);
    return fd;
}

/* A file that its path leads to is opened again at its turn; others only have the descriptor. */
static void
settle_descriptor(struct agent *agent, const struct find *find, struct file *file)
{
    if (!find->listed)
        file_unlist(agent, file);
    else if (agent->open_count > agent->open_max)
        file_close(agent, file);
}

/* The file goes on with a life that is known. Takes `fd`. */
static void
adopt(struct agent *agent, struct find *find, struct generation *generation, int fd)
{
    find->taken = true;
    uint64_t size = (uint64_t)find->about.st_size;
    struct file *file = file_new(agent, find->input, find->path, &find->about, FILE_ACTIVE);
    if (file == NULL) {
        (void)close(fd);
        return;
    }
    if (size < generation->committed) {
        /* A copy that was made before the original was read on: all of it is known. */
        (void)close(fd);
        file->state = FILE_IGNORED;
        file->reason = "a copy of what was read already";
        generation->searched = true;
        return;
    }
    if (strcmp(generation->path, find->path) != 0 && !generation->searched &&
        input_matches(find->input->options, generation->path))
        match_note_moved(agent, generation->path, find->input, stat_modified_ns(&find->about));
    uint64_t seen = generation->size;
    bool moved = generation->device != find->key.device || generation->inode != find->key.inode ||
                 strcmp(generation->path, find->path) != 0;
    generation_seen(generation, &find->about, find->birth_ns);
    if (seen > size)
        files_count_lost(agent, file, seen - size, "shorter");
    if (find->listed) /* else it keeps the name by which files between are looked for */
        moved |= !generation_set_path(generation, find->path);
    if (strcmp(generation->input, find->input->name) != 0) {
        char *name = strdup(find->input->name);
        if (name != NULL) {
            free(generation->input);
            generation->input = name;
            moved = true;
        }
    }
    file_attach(agent, file, generation, fd);
    settle_descriptor(agent, find, file);
    if (moved)
        state_put_generation(agent->state, generation);
}

/* Compares one life with the best so far. */
struct claim {
    struct generation *best;
    enum tie tie;
    bool ambiguous;
    bool unknown;
};

static void
consider(struct claim *claim, struct generation *generation, const struct find *find, int fd,
         enum tie weakest, enum tie strongest)
{
    uint64_t size = (uint64_t)find->about.st_size;
    enum tie tie = generation_tie(generation, &find->about, find->birth_ns, find->path);
    if (tie < weakest || tie > strongest || generation->file != NULL)
        return;
    /* The same inode with less in it than was read: it was truncated, this is another life. */
    if (tie >= TIE_INODE && size < generation->committed)
        return;
    if (claim->best != NULL &&
        (tie < claim->tie || (tie == claim->tie && generation->committed < claim->best->committed)))
        return;
    enum belongs belongs = generation_belongs(generation, fd, size);
    claim->unknown |= belongs == BELONGS_UNKNOWN;
    if (belongs != BELONGS_YES)
        return;
    claim->ambiguous =
        claim->best != NULL && tie == claim->tie && generation->committed == claim->best->committed;
    claim->best = generation;
    claim->tie = tie;
}

/* The life that the found file carries, among those without a file: the rule table's one place. */
static struct generation *
generation_find_owner(const struct orphans *orphans, struct find *find, int fd, enum tie weakest,
                      enum tie strongest, bool *ambiguous)
{
    struct claim claim = {0};
    size_t i = weakest >= TIE_INODE ? orphans_first(orphans, &find->about) : 0;
    for (; i < orphans->count; i++) {
        struct generation *generation = orphans->items[i];
        if (weakest >= TIE_INODE &&
            (generation->inode != find->key.inode || generation->device != find->key.device))
            break;
        consider(&claim, generation, find, fd, weakest, strongest);
    }
    if (claim.unknown)
        find->unknown = true;
    *ambiguous = claim.ambiguous;
    return claim.ambiguous || claim.unknown ? NULL : claim.best;
}

/* From `finds->at` on, at most so many. */
static void
match_by_tie(struct agent *agent, struct finds *finds, enum tie weakest, enum tie strongest,
             size_t at_most)
{
    struct orphans orphans;
    if (!orphans_init(&orphans, agent) || orphans.count == 0) {
        finds->at = NULL;
        return;
    }
    for (; finds->at != NULL && at_most > 0; finds->at = finds->at->next, at_most--) {
        struct find *find = finds->at;
        if (find->taken || find->unknown || file_by_path(agent, find->path) != NULL)
            continue; /* a search among siblings may have taken it meanwhile */
        int fd = find_open(find);
        if (fd < 0)
            continue;
        bool ambiguous;
        struct generation *owner =
            generation_find_owner(&orphans, find, fd, weakest, strongest, &ambiguous);
        if (ambiguous)
            metrics_add(agent->metrics,
                        metrics_series(agent->metrics, METRIC_GENERATIONS, find->input->name,
                                       "ambiguous", NULL),
                        1);
        if (owner != NULL)
            adopt(agent, find, owner, fd);
        else
            (void)close(fd);
    }
    free(orphans.items);
}

/* Its file is where it was, and the input does not want it any more: nothing to look for. A name
 * that rotation made of a wanted one was never wanted itself. */
static bool
is_left_out(const struct generation *generation, const struct input *input)
{
    struct stat about;
    char name[PATH_MAX];
    size_t size = strlen(generation->path);
    if (input_matches(input->options, generation->path) || size >= sizeof(name) ||
        stat(generation->path, &about) != 0 || (uint64_t)about.st_ino != generation->inode ||
        (uint64_t)about.st_dev != generation->device)
        return false;
    memcpy(name, generation->path, size + 1);
    while (size > 0 && strchr(ROTATION_BYTES, name[size - 1]) != NULL)
        name[--size] = '\0';
    return !input_matches(input->options, name);
}

/* One entry beside the path that the life was last seen at. True when it carries the life. */
static bool
try_sibling(struct agent *agent, struct generation *generation, struct input *input,
            const char *path, bool by_content)
{
    struct stat about;
    if (stat(path, &about) != 0 || !S_ISREG(about.st_mode) ||
        file_by_inode(agent, (uint64_t)about.st_dev, (uint64_t)about.st_ino) != NULL ||
        file_by_path(agent, path) != NULL)
        return false;
    struct find find = {.input = input, .about = about};
    find.key.device = (uint64_t)about.st_dev;
    find.key.inode = (uint64_t)about.st_ino;
    find.path = strdup(path);
    if (find.path == NULL)
        return false;
    bool found = false;
    int fd = find_open(&find);
    if (fd >= 0) {
        struct claim claim = {0};
        consider(&claim, generation, &find, fd, by_content ? TIE_CONTENT : TIE_INODE, TIE_BIRTH);
        found = claim.best != NULL;
        if (found)
            adopt(agent, &find, generation, fd);
        else
            (void)close(fd);
    }
    free(find.path);
    return found;
}

/* Looks for the life among the entries of its folder. False when the folder could not be looked
 * into: then nothing is concluded. */
static bool
search_siblings(struct agent *agent, struct generation *generation, struct input *input,
                bool by_content)
{
    char folder[4096];
    char path[4096 + 256];
    const char *slash = strrchr(generation->path, '/');
    size_t size = slash == NULL ? 0 : (size_t)(slash - generation->path);
    if (slash == NULL || size >= sizeof(folder))
        return true;
    memcpy(folder, generation->path, size);
    folder[size] = '\0';
    const char *name = slash + 1;
    size_t stem = strcspn(name, ".");
    DIR *entries = opendir(size == 0 ? "/" : folder);
    if (entries == NULL)
        return errno == ENOENT || errno == ENOTDIR;
    struct dirent *entry;
    while ((entry = readdir(entries)) != NULL) {
        if (by_content ? stem == 0 || strncmp(entry->d_name, name, stem) != 0
                       : (uint64_t)entry->d_ino != generation->inode)
            continue;
        int length = snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (length > 0 && (size_t)length < sizeof(path) &&
            try_sibling(agent, generation, input, path, by_content))
            break;
    }
    (void)closedir(entries);
    return true;
}

/* Nobody carries it any more. */
static void
give_up(struct agent *agent, struct generation *generation, struct input *input)
{
    generation->searched = true;
    match_note_moved(agent, generation->path, input, generation->seen_seconds * 1000000000);
    if (generation->size <= generation->committed)
        return;
    uint64_t bytes = generation->size - generation->committed;
    struct file stand_in = {.input = input, .path = generation->path};
    files_count_lost(agent, &stand_in, bytes,
                     generation->gone == NULL ? "vanished" : generation->gone);
    generation->size = generation->committed; /* counted once, also after a restart */
    state_put_generation(agent->state, generation);
}

static void
match_siblings(struct agent *agent, bool by_content)
{
    struct generation *next;
    for (struct generation *at = agent->catalog.first; at != NULL; at = next) {
        next = at->next;
        struct input *input =
            at->file == NULL && !at->searched ? input_named(agent, at->input) : NULL;
        if (input == NULL || input->removed)
            continue;
        if (is_left_out(at, input)) {
            at->searched = true;
            continue;
        }
        bool looked = (by_content && at->committed < CONTENT_SIZE_MIN) ||
                      search_siblings(agent, at, input, by_content);
        if (by_content && looked && at->file == NULL && !held_finds(agent, at, input))
            give_up(agent, at, input);
    }
}

static bool
is_binary(int fd)
{
    char bytes[1024];
    ssize_t got = pread(fd, bytes, sizeof(bytes), 0);
    return got > 0 && memchr(bytes, '\0', (size_t)got) != NULL;
}

static void
refuse(struct agent *agent, struct file *file, const char *label, const char *reason)
{
    file->state = FILE_REFUSED;
    file->reason = reason;
    metrics_add(
        agent->metrics,
        metrics_series(agent->metrics, METRIC_REFUSED_FILES, file->input->name, label, NULL), 1);
    agent_say(agent, LOG_LEVEL_WARN, "'%s' of input '%s' is not read: %s", file->path,
              file->input->name, reason);
}

/* Where a new life begins to be read. False when that could not be found out. */
static bool
set_start(const struct agent *agent, const struct find *find, struct generation *generation, int fd)
{
    (void)agent;
    if (find->input->options->start_at != START_AT_END || !find->input->first_start)
        return true;
    char tail[TAIL_SIZE_MAX];
    uint64_t size = (uint64_t)find->about.st_size;
    size_t wanted = size < sizeof(tail) ? (size_t)size : sizeof(tail);
    if (pread(fd, tail, wanted, (off_t)(size - wanted)) != (ssize_t)wanted)
        return false;
    generation_commit(generation, size, generation_hash(tail, wanted));
    return true;
}

/* Takes `fd`. */
static void
begin_life(struct agent *agent, struct find *find, int fd)
{
    struct input *input = find->input;
    struct file *file = file_new(agent, input, find->path, &find->about, FILE_FAILED);
    if (file == NULL) {
        (void)close(fd);
        return;
    }
    uint64_t age_ms = (uint64_t)input->options->ignore_older;
    int64_t written_ms = stat_modified_ns(&find->about) / 1000000;
    if (age_ms > 0 && clock_wall_ms() - written_ms > (int64_t)age_ms) {
        file->state = FILE_IGNORED;
        file->reason = "not written for longer than ignore_older";
    } else if (is_binary(fd)) {
        refuse(agent, file, "binary", "it looks binary: a zero byte in its first 1024");
    }
    struct generation *generation = file->state == FILE_FAILED
                                        ? generation_new(&agent->catalog, input->name, find->path)
                                        : NULL;
    if (generation == NULL) {
        (void)close(fd);
        return;
    }
    struct err err = {0};
    uint64_t part_size = input->options->part_size;
    if (part_size > agent->part_max) /* raised by a reload: the slabs are those of the start */
        part_size = agent->part_max;
    generation->part_size = (uint32_t)part_size;
    generation_seen(generation, &find->about, find->birth_ns);
    if (!set_start(agent, find, generation, fd) ||
        !generation_grow_head(generation, fd, generation->size, &err)) {
        generation_remove(&agent->catalog, generation); /* it changes right now: next time */
        (void)close(fd);
        return;
    }
    state_put_generation(agent->state, generation);
    generation->durable_at = state_sequence(agent->state);
    metrics_add(agent->metrics,
                metrics_series(agent->metrics, METRIC_GENERATIONS, input->name, "new", NULL), 1);
    file_attach(agent, file, generation, fd);
    settle_descriptor(agent, find, file);
}

/* A name as rotation makes them: the old one and then digits, dots and dashes. */
static bool
is_rotated_name(const char *name, const char *rotated)
{
    size_t size = strlen(name);
    if (strncmp(name, rotated, size) != 0 || rotated[size] == '\0')
        return false;
    return strspn(rotated + size, ROTATION_BYTES) == strlen(rotated + size);
}

/* Is it read already, or was it? The number alone does not say: inodes of deleted files are given
 * away at once. */
static bool
file_is_known(const struct agent *agent, const char *path, const struct stat *about)
{
    if (file_by_inode(agent, (uint64_t)about->st_dev, (uint64_t)about->st_ino) != NULL)
        return true;
    bool known = false;
    for (const struct generation *at = agent->catalog.first; at != NULL && !known; at = at->next) {
        if (at->inode != (uint64_t)about->st_ino || at->device != (uint64_t)about->st_dev)
            continue;
        int fd = reader_open(path);
        if (fd < 0)
            return errno != ENOENT; /* could not look: a later rotation may */
        int64_t birth_ns = generation_birth_ns(fd);
        known = (birth_ns == 0 || at->birth_ns == 0 || birth_ns == at->birth_ns) &&
                generation_belongs(at, fd, (uint64_t)about->st_size) != BELONGS_NO;
        (void)close(fd);
    }
    return known;
}

/* Adds the files that had the path after `moved` and before the one that has it now. */
static void
find_between(struct agent *agent, struct finds *finds, const struct moved *moved)
{
    char folder[4096];
    char path[4096 + 256];
    const char *slash = strrchr(moved->path, '/');
    size_t size = slash == NULL ? sizeof(folder) : (size_t)(slash - moved->path);
    if (size >= sizeof(folder))
        return;
    memcpy(folder, moved->path, size);
    folder[size] = '\0';
    DIR *entries = opendir(size == 0 ? "/" : folder);
    if (entries == NULL)
        return;
    struct dirent *entry;
    while ((entry = readdir(entries)) != NULL) {
        struct stat about;
        if (!is_rotated_name(slash + 1, entry->d_name))
            continue;
        int length = snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (length < 0 || (size_t)length >= sizeof(path) || lstat(path, &about) != 0 ||
            !S_ISREG(about.st_mode) || about.st_size == 0 ||
            stat_modified_ns(&about) < moved->since_ns ||
            input_matches(moved->input->options, path) || file_is_known(agent, path, &about) ||
            !finds_add(finds, path, moved->input, &about))
            continue;
        for (struct find *find = finds->first; find != NULL; find = find->next)
            if (find->next == NULL)
                find->listed = false;
    }
    (void)closedir(entries);
}

static void
match_between(struct agent *agent, struct finds *finds)
{
    for (const struct moved *moved = agent->moved; moved != NULL; moved = moved->next)
        if (!moved->input->removed)
            find_between(agent, finds, moved);
}

/* A rotation while we looked gives the names to other files: a note stays until a look finds
 * nothing that is not known. */
static void
settle_notes(struct agent *agent)
{
    struct moved **link = &agent->moved;
    while (*link != NULL) {
        struct moved *moved = *link;
        struct finds left;
        finds_init(&left);
        if (!moved->input->removed)
            find_between(agent, &left, moved);
        bool again = left.first != NULL;
        finds_done(&left);
        if (again) {
            agent->rediscover(agent);
            link = &moved->next;
            continue;
        }
        *link = moved->next;
        moved_free(moved);
    }
}

/* How far the life in this inode was delivered, as far as one can tell without looking into it. */
static uint64_t
known_committed(const struct agent *agent, const struct stat *about)
{
    for (const struct generation *at = agent->catalog.first; at != NULL; at = at->next)
        if (at->inode == (uint64_t)about->st_ino && at->device == (uint64_t)about->st_dev)
            return at->committed <= (uint64_t)about->st_size ? at->committed : 0;
    return 0;
}

static void
begin_lives(struct agent *agent, struct finds *finds, size_t at_most)
{
    for (; finds->at != NULL && at_most > 0; finds->at = finds->at->next, at_most--) {
        struct find *find = finds->at;
        if (find->taken || file_by_path(agent, find->path) != NULL)
            continue;
        int fd = find->unknown ? -1 : find_open(find);
        if (fd >= 0) {
            begin_life(agent, find, fd);
            continue;
        }
        if (find->taken)
            continue;
        int number = errno;
        struct file *file = file_new(agent, find->input, find->path, &find->about, FILE_FAILED);
        if (file == NULL)
            continue;
        file->error_number = number;
        file->read = known_committed(agent, &find->about);
        file->behind_since_ms = file_lag(file) > 0 ? clock_monotonic_ms() : 0;
        agent_say(agent, LOG_LEVEL_WARN, "cannot read '%s': %s; it is tried again", file->path,
                  strerror(number));
    }
}

bool
match_finds(struct agent *agent, struct finds *finds)
{
    if (!finds->matched) {
        if (finds->at == NULL)
            finds->at = finds->first;
        match_by_tie(agent, finds, TIE_INODE, TIE_BIRTH, FINDS_AT_ONCE);
        if (finds->at != NULL)
            return false;
        match_siblings(agent, false);
        finds->at = finds->first;
        match_by_tie(agent, finds, TIE_PATH, TIE_PATH, SIZE_MAX);
        finds->at = finds->first;
        match_by_tie(agent, finds, TIE_CONTENT, TIE_CONTENT, SIZE_MAX);
        match_siblings(agent, true);
        match_between(agent, finds);
        finds->at = finds->first;
        finds->matched = true;
    }
    begin_lives(agent, finds, FINDS_AT_ONCE);
    if (finds->at != NULL)
        return false;
    settle_notes(agent);
    return true;
}
