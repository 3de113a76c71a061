/* SPDX-License-Identifier: Apache-2.0 */
/* siblings.c: see siblings.h. */
#include "agent/inputs/siblings.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/inputs/between.h"
#include "agent/inputs/copies.h"
#include "agent/inputs/file.h"
#include "agent/inputs/files.h"
#include "agent/inputs/held.h"
#include "agent/inputs/input.h"
#include "agent/inputs/lives.h"
#include "agent/state.h"

/* Its file is where it was, and the input does not want it any more: nothing to look for. A name
 * that rotation made of a wanted one was never wanted itself. */
static bool
is_left_out(const struct agent *agent, const struct generation *generation,
            const struct input *input)
{
    struct stat about;
    char name[PATH_MAX];
    size_t size = strlen(generation->path);
    if (input_matches(input->options, generation->path) || size >= sizeof(name) ||
        !path_answers(agent, generation->path) || stat(generation->path, &about) != 0 ||
        (uint64_t)about.st_ino != generation->inode || (uint64_t)about.st_dev != generation->device)
        return false;
    memcpy(name, generation->path, size + 1);
    for (size_t i = size; i-- > 1;) {
        name[i] = '\0';
        if (!name_is_rotated(name, generation->path))
            break;
        if (input_matches(input->options, name))
            return false;
    }
    return true;
}

static size_t
folder_size(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? 0 : (size_t)(slash - path);
}

static int
by_folder(const void *a, const void *b)
{
    const struct wanted *left = a;
    const struct wanted *right = b;
    size_t left_size = folder_size(left->generation->path);
    size_t right_size = folder_size(right->generation->path);
    int order = memcmp(left->generation->path, right->generation->path,
                       left_size < right_size ? left_size : right_size);
    if (order != 0 || left_size == right_size)
        return order;
    return left_size < right_size ? -1 : 1;
}

static bool
collect_wanted(struct siblings *siblings, const struct agent *agent)
{
    size_t room = 0;
    for (const struct generation *at = agent->catalog.first; at != NULL; at = at->next)
        room += !at->searched && life_is_free(at) ? 1 : 0;
    if (room == 0)
        return true;
    siblings->wanted = malloc(room * sizeof(*siblings->wanted));
    if (siblings->wanted == NULL)
        return false;
    for (struct generation *at = agent->catalog.first; at != NULL; at = at->next) {
        struct input *input =
            !at->searched && life_is_free(at) ? input_named(agent, at->input) : NULL;
        if (input == NULL || input->removed)
            continue;
        if (is_left_out(agent, at, input))
            at->searched = true;
        else
            siblings->wanted[siblings->count++] = (struct wanted){.generation = at, .input = input};
    }
    if (siblings->count > 0)
        qsort(siblings->wanted, siblings->count, sizeof(*siblings->wanted), by_folder);
    return true;
}

/* What an entry must have to be worth a look: an inode or a beginning of a name. */
struct mark {
    char key[256];
    size_t size;
    UT_hash_handle hh;
};

/* False: no memory, so that an entry may be passed over. */
static bool
add_mark(struct mark **marks, const void *key, size_t size)
{
    struct mark *mark;
    if (size == 0 || size > sizeof(mark->key))
        return true;
    HASH_FIND(hh, *marks, key, size, mark);
    if (mark != NULL)
        return true;
    mark = malloc(sizeof(*mark));
    if (mark == NULL)
        return false;
    memcpy(mark->key, key, size);
    mark->size = size;
    HASH_ADD(hh, *marks, key, size, mark);
    bool added = HASH_ADDED(hh, mark);
    if (!added)
        free(mark);
    return added;
}

static void
free_marks(struct mark *marks)
{
    struct mark *mark = marks;
    HASH_CLEAR(hh, marks);
    while (mark != NULL) {
        struct mark *next = mark->hh.next; /* of the table that is no more: its order stays */
        free(mark);
        mark = next;
    }
}

struct marks {
    struct mark *inodes, *stems;
};

static bool
is_marked(const struct marks *marks, const struct dirent *entry)
{
    struct mark *mark;
    const uint64_t inode = entry->d_ino;
    HASH_FIND(hh, marks->inodes, &inode, sizeof(inode), mark);
    size_t length = strlen(entry->d_name);
    for (size_t size = 1; size <= length && mark == NULL && marks->stems != NULL; size++)
        HASH_FIND(hh, marks->stems, entry->d_name, size, mark);
    return mark != NULL;
}

/* False: it could not be looked at. */
static bool
add_entry(struct siblings *siblings, const struct agent *agent, const char *path)
{
    struct stat about;
    if (lstat(path, &about) != 0)
        return errno == ENOENT;
    if (!S_ISREG(about.st_mode) || file_by_path(agent, path) != NULL ||
        file_by_inode(agent, (uint64_t)about.st_dev, (uint64_t)about.st_ino) != NULL)
        return true;
    siblings->finds.lacking = false;
    struct find *find = finds_add(&siblings->finds, path, NULL, &about);
    if (find != NULL)
        find->listed = false;
    return !siblings->finds.lacking;
}

/* False: not all of them could be looked at. `entries` NULL: the folder is not there. */
static bool
look_at_entries(struct siblings *siblings, const struct agent *agent, const char *folder,
                const struct marks *marks, DIR *entries)
{
    char path[PATH_MAX + 256];
    bool all = true;
    struct dirent *entry;
    errno = 0;
    while (entries != NULL && (entry = readdir(entries)) != NULL) {
        int length = snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (is_marked(marks, entry) && length > 0 && (size_t)length < sizeof(path))
            all &= add_entry(siblings, agent, path);
        errno = 0;
    }
    return all && (entries == NULL || errno == 0);
}

/* Walks the folder of wanted[first .. end). */
static void
look_into(struct siblings *siblings, const struct agent *agent, size_t first, size_t end)
{
    char folder[PATH_MAX];
    struct marks marks = {0};
    const char *any = siblings->wanted[first].generation->path;
    size_t size = folder_size(any);
    if (size >= sizeof(folder))
        return;
    memcpy(folder, any, size);
    folder[size] = '\0';
    if (!path_answers(agent, folder))
        return;
    DIR *entries = opendir(size == 0 ? "/" : folder);
    bool missing = entries == NULL && (errno == ENOENT || errno == ENOTDIR);
    for (size_t i = first; i < end; i++) {
        const struct generation *generation = siblings->wanted[i].generation;
        const char *name = generation->path + size + 1;
        /* A folder that is missing at the start may not be mounted yet. */
        siblings->wanted[i].looked = entries != NULL || (missing && generation->gone != NULL);
        bool marked = add_mark(&marks.stems, name, strcspn(name, "."));
        if (generation->inode != 0)
            marked &= add_mark(&marks.inodes, &generation->inode, sizeof(generation->inode));
        if (!marked)
            siblings->wanted[i].looked = false;
    }
    bool all = look_at_entries(siblings, agent, folder, &marks, entries);
    for (size_t i = first; i < end; i++)
        siblings->wanted[i].looked &= all;
    if (entries != NULL)
        (void)closedir(entries);
    free_marks(marks.inodes);
    free_marks(marks.stems);
}

bool
siblings_init(struct siblings *siblings, struct agent *agent)
{
    *siblings = (struct siblings){0};
    finds_init(&siblings->finds);
    if (!collect_wanted(siblings, agent))
        return false;
    for (size_t first = 0, end; first < siblings->count; first = end) {
        end = first + 1;
        while (end < siblings->count &&
               by_folder(&siblings->wanted[first], &siblings->wanted[end]) == 0)
            end++;
        look_into(siblings, agent, first, end);
    }
    return true;
}

void
siblings_done(struct siblings *siblings)
{
    finds_done(&siblings->finds);
    free(siblings->wanted);
    *siblings = (struct siblings){0};
}

void
siblings_give_up(struct agent *agent, struct generation *generation, struct input *input)
{
    generation->searched = true;
    between_note(agent, generation->path, input, generation->seen_seconds * 1000000000);
    uint64_t had = copies_reach(agent, generation); /* by a file of its own */
    if (had < generation->committed)
        had = generation->committed;
    if (generation->size <= generation->committed)
        return;
    struct file stand_in = {.input = input, .path = generation->path};
    if (generation->size > had)
        files_count_lost(agent, &stand_in, generation->size - had,
                         generation->gone == NULL ? "vanished" : generation->gone);
    generation->size = generation->committed; /* counted once, also after a restart */
    state_put_generation(agent->state, generation);
}

/* A file that may be the one could not be read. */
static bool
has_unknown(const struct siblings *siblings, const struct generation *generation)
{
    if (!siblings->any_unknown)
        return false;
    for (const struct find *find = siblings->finds.first; find != NULL; find = find->next)
        if (find->unknown && name_is_related(generation->path, find->path))
            return true;
    return false;
}

void
siblings_settle(struct agent *agent, struct siblings *siblings)
{
    for (const struct find *find = siblings->finds.first; find != NULL; find = find->next)
        siblings->any_unknown |= find->unknown;
    for (size_t i = 0; i < siblings->count; i++) {
        struct wanted *wanted = &siblings->wanted[i];
        struct generation *generation = wanted->generation;
        if (generation->file != NULL || generation->searched || !wanted->looked ||
            generation->doubtful || has_unknown(siblings, generation) ||
            wanted->input->round != agent->round)
            continue; /* could not look at all that may be it: nothing is concluded */
        if (!held_finds(agent, generation, wanted->input))
            siblings_give_up(agent, generation, wanted->input);
    }
}
