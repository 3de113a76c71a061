/* SPDX-License-Identifier: Apache-2.0 */
/* match.c: see match.h. In this order, best tie first, so that no file takes a life that has a
 * better claimant:
 *     1. a find with the inode that a life was last seen with
 *     2. for lives still without a file: that inode among the siblings of its path
 *     3. a find with the path, then one with nothing but the content; with less of it than was
 *        read; with the inode, of a life that was empty; a name of rotation, of a life of which
 *        nothing was acknowledged
 *     4. for lives still without a file: the same among siblings whose names begin alike
 *     5. what is left of these lives counts as lost
 *     6. files between: of a path that was rotated more than once before anybody looked
 *     7. what is left of the finds begins new lives, or is held back: births.c, copies.c */
#include "agent/inputs/match.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/inputs/between.h"
#include "agent/inputs/births.h"
#include "agent/inputs/copies.h"
#include "agent/inputs/file.h"
#include "agent/inputs/files.h"
#include "agent/inputs/input.h"
#include "agent/inputs/lives.h"
#include "agent/inputs/siblings.h"
#include "agent/state.h"
#include "core/assert.h"

#define FINDS_AT_ONCE 5000 /* some 0.2 s: then the loop may send what was found */

void
match_done(struct agent *agent)
{
    if (agent->finds != NULL) {
        finds_done(agent->finds);
        free(agent->finds);
        agent->finds = NULL;
    }
    between_done(agent);
}

static void
count_origin(struct agent *agent, const struct input *input, const char *origin)
{
    metrics_add(agent->metrics,
                metrics_series(agent->metrics, METRIC_GENERATIONS, input->name, origin, NULL), 1);
}

const char *
match_story(const char *origin)
{
    static const char *const stories[][2] = {
        {"new", "its content was not known"},
        {"inode_reused", "its content was not known; its inode had another file before"},
        {"own_after_grace", "it began like another file, which was not truncated: a file of its "
                            "own"},
        {"renamed", "it is known from another path"},
        {"replaced", "it goes on in another file that has its path"},
        {"copied", "it goes on in a copy (copytruncate)"},
        {"power_cut", "the host lost power: it goes on from where its content is what it was"},
        {"foreign", "the state is of another host: it goes on under a new id"},
    };
    for (size_t i = 0; origin != NULL && i < sizeof(stories) / sizeof(stories[0]); i++)
        if (strcmp(stories[i][0], origin) == 0)
            return stories[i][1];
    return "it is known";
}

/* Compares one life with the best so far. */
struct claim {
    struct find *find;
    int fd;
    enum tie weakest, strongest;
    struct generation *best;
    enum tie tie;
    bool ambiguous, unknown;
};

/* A part of what was acknowledged is only then known to be that when more than the beginning was
 * compared, or its name says so: programs write the same banner into many files. */
static bool
is_part(const struct generation *generation, const struct claim *claim)
{
    uint64_t offset = 0;
    const struct find *find = claim->find;
    enum belongs match =
        generation_last_match(generation, claim->fd, (uint64_t)find->about.st_size, &offset);
    if (match == BELONGS_UNKNOWN)
        return false;
    return offset > generation->head_size || (strcmp(generation->path, find->path) != 0 &&
                                              name_is_related(generation->path, find->path));
}

static enum belongs
belongs(const struct generation *generation, const struct claim *claim, enum tie tie)
{
    uint64_t size = (uint64_t)claim->find->about.st_size;
    enum belongs found = generation_belongs(generation, claim->fd, size);
    if (found == BELONGS_YES && tie == TIE_SHORT && !is_part(generation, claim))
        return BELONGS_NO;
    if (found != BELONGS_NO || !generation->lost_power || tie < TIE_INODE)
        return found;
    /* The host lost power: the end of the content, or its last pages, may be gone. */
    uint64_t offset;
    if (size >= generation->head_size) {
        struct generation head = *generation;
        head.checkpoint_count = 0;
        return generation_belongs(&head, claim->fd, size);
    }
    return generation_last_match(generation, claim->fd, size, &offset);
}

/* Siblings are not the input's own files: a name, or the inode, must tie them. */
static bool
is_of_family(const struct find *find, const struct generation *generation, enum tie tie)
{
    if (find->input != NULL)
        return true;
    const char *slash = strrchr(generation->path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - generation->path) + 1;
    if (strncmp(generation->path, find->path, folder) != 0 ||
        strchr(find->path + folder, '/') != NULL || generation->searched)
        return false;
    return tie >= TIE_INODE || tie == TIE_EMPTY || name_is_related(generation->path, find->path);
}

static void
consider(void *context, struct generation *generation)
{
    struct claim *claim = context;
    const struct find *find = claim->find;
    enum tie tie = generation_tie(generation, &find->about, find->birth_ns, find->path);
    if (tie < claim->weakest || tie > claim->strongest || !life_is_free(generation) ||
        !is_of_family(find, generation, tie))
        return;
    if (claim->best != NULL &&
        (tie < claim->tie || (tie == claim->tie && generation->committed < claim->best->committed)))
        return;
    enum belongs found = belongs(generation, claim, tie);
    claim->unknown |= found == BELONGS_UNKNOWN;
    generation->doubtful |= found == BELONGS_UNKNOWN;
    if (found != BELONGS_YES)
        return;
    /* Of lives of which nothing was acknowledged any is read from its start: no harm is done. */
    claim->ambiguous = claim->best != NULL && tie == claim->tie && generation->committed > 0 &&
                       generation->committed == claim->best->committed;
    claim->best = generation;
    claim->tie = tie;
}

/* Its answers are awaited, and the copy holds all that was read: it goes on at once, with all that
 * is under way. */
static bool
revive(struct agent *agent, struct find *find, struct generation *generation, int fd)
{
    struct file *file = generation->file;
    char tail[TAIL_SIZE_MAX];
    size_t size = file->read < sizeof(tail) ? (size_t)file->read : sizeof(tail);
    if ((uint64_t)find->about.st_size < file->read || file->read < CONTENT_SIZE_MIN ||
        content_read(fd, tail, size, file->read - size) != (ssize_t)size ||
        generation_hash(tail, size) != file->read_hash)
        return false;
    struct file *held = file_by_path(agent, find->path);
    if (held != NULL)
        file_free(agent, held);
    find->taken = true;
    count_origin(agent, file->input, "copied");
    file_revive(agent, file, &find->about, fd, find->listed ? find->path : NULL);
    generation->origin = "copied";
    return true;
}

static const char *
origin_of(const struct find *find, const struct generation *generation, bool rewound)
{
    bool same_path = strcmp(generation->path, find->path) == 0;
    bool same_inode =
        generation->device == find->key.device && generation->inode == find->key.inode;
    if (generation->origin != NULL && strcmp(generation->origin, "foreign") == 0)
        return generation->origin;
    if (generation->lost_power && rewound)
        return "power_cut";
    if (same_inode)
        return same_path ? NULL : "renamed";
    return same_path ? "replaced" : "copied";
}

/* Where the life is found now, durable. Bytes that are not in the file are lost. */
static void
take_over(struct agent *agent, const struct find *find, struct generation *generation,
          struct input *input)
{
    if (strcmp(generation->path, find->path) != 0 && !generation->searched &&
        input_matches(input->options, generation->path))
        between_note(agent, generation->path, input, stat_modified_ns(&find->about));
    bool moved = generation->device != find->key.device || generation->inode != find->key.inode ||
                 strcmp(generation->path, find->path) != 0 || generation->changed;
    generation_seen(generation, &find->about, find->birth_ns);
    if (find->listed) /* else it keeps the name by which files between are looked for */
        moved |= !generation_set_path(generation, find->path);
    if (strcmp(generation->input, input->name) != 0) {
        char *name = strdup(input->name);
        if (name != NULL) {
            free(generation->input);
            generation->input = name;
            moved = true;
        }
    }
    if (moved)
        state_put_generation(agent->state, generation);
}

/* The file goes on with a life that is known. Takes `fd`. */
static void
adopt(struct agent *agent, struct find *find, struct generation *generation, int fd)
{
    find->taken = true;
    struct input *input = find->input == NULL ? input_named(agent, generation->input) : find->input;
    struct file *file = file_by_path(agent, find->path); /* it was held back */
    if (file != NULL)
        file_close(agent, file);
    else if (input != NULL)
        file = file_new(agent, input, find->path, &find->about, FILE_ACTIVE);
    uint64_t had = generation->committed;
    uint64_t size = (uint64_t)find->about.st_size;
    if (file == NULL || !generation_rewind(generation, fd, size)) {
        generation->doubtful = true; /* in the next look */
        (void)close(fd);
        if (file != NULL && file->state == FILE_ACTIVE)
            file_free(agent, file);
        return;
    }
    const char *origin = origin_of(find, generation, generation->committed < had);
    if (generation->size > size && generation->size > had)
        files_count_lost(agent, file, generation->size - (size > had ? size : had), "shorter");
    take_over(agent, find, generation, input);
    generation_know_start(&agent->catalog, generation, fd);
    if (origin != NULL)
        count_origin(agent, input, origin);
    file->reason = NULL;
    file->size = size;
    file_attach(agent, file, generation, fd);
    generation->origin = origin;
    generation->lost_power = false;
    file_settle_descriptor(agent, file, find->listed);
}

static void
match_find(struct agent *agent, const struct lives *lives, struct find *find, enum tie weakest,
           enum tie strongest)
{
    const struct file *there = file_by_path(agent, find->path);
    if (find->taken || find->unknown || (there != NULL && there->state != FILE_SUSPENDED))
        return; /* a search among siblings may have taken it meanwhile */
    int fd = find_open(find);
    if (fd < 0)
        return;
    struct claim claim = {.find = find, .fd = fd, .weakest = weakest, .strongest = strongest};
    if (weakest >= TIE_INODE || weakest == TIE_EMPTY)
        lives_at_inode(lives, &find->about, consider, &claim);
    else if (!lives_with_head(lives, fd, consider, &claim))
        claim.unknown = true;
    if (claim.unknown)
        find->unknown = true;
    if (claim.ambiguous && find->input != NULL)
        count_origin(agent, find->input, "ambiguous");
    struct generation *owner = claim.ambiguous || claim.unknown ? NULL : claim.best;
    if (owner != NULL && owner->file != NULL) {
        if (revive(agent, find, owner, fd))
            return;
        find->waits = true;
        owner = NULL;
    }
    if (owner != NULL)
        adopt(agent, find, owner, fd);
    else
        (void)close(fd);
}

/* From `finds->at` on, at most so many. True when all had their turn. */
static bool
match_by_tie(struct agent *agent, const struct lives *lives, struct finds *finds, enum tie weakest,
             enum tie strongest, size_t at_most)
{
    for (; finds->at != NULL && at_most > 0; finds->at = finds->at->next, at_most--)
        if (lives->count > 0)
            match_find(agent, lives, finds->at, weakest, strongest);
    return finds->at == NULL;
}

static void
match_all(struct agent *agent, const struct lives *lives, struct finds *finds, enum tie weakest,
          enum tie strongest)
{
    finds->at = finds->first;
    (void)match_by_tie(agent, lives, finds, weakest, strongest, SIZE_MAX);
}

/* Everything but the inode of a find. False: no memory, so that nothing may be concluded. */
static bool
match_rest(struct agent *agent, const struct lives *lives, struct finds *finds)
{
    struct siblings siblings;
    if (!siblings_init(&siblings, agent))
        return false;
    match_all(agent, lives, &siblings.finds, TIE_INODE, TIE_BIRTH);
    for (enum tie tie = TIE_PATH; tie >= TIE_WEAK; tie--)
        match_all(agent, lives, finds, tie, tie);
    for (enum tie tie = TIE_CONTENT; tie >= TIE_WEAK; tie--)
        match_all(agent, lives, &siblings.finds, tie, tie);
    siblings_settle(agent, &siblings);
    siblings_done(&siblings);
    between_find(agent, finds);
    return true;
}

/* Original before copy: the longer, then the shorter path. */
static int
by_originality(const void *a, const void *b)
{
    const struct find *left = *(struct find *const *)a;
    const struct find *right = *(struct find *const *)b;
    if (left->about.st_size != right->about.st_size)
        return left->about.st_size > right->about.st_size ? -1 : 1;
    return strcmp(left->path, right->path);
}

/* Of equal ones that are found in one look, the first begins a life, the others are held back. */
static void
sort_finds(struct finds *finds)
{
    size_t count = 0;
    for (const struct find *find = finds->first; find != NULL; find = find->next)
        count++;
    struct find **items = count < 2 ? NULL : malloc(count * sizeof(struct find *));
    if (items == NULL)
        return; /* in the order they were found */
    count = 0;
    for (struct find *find = finds->first; find != NULL; find = find->next)
        items[count++] = find;
    qsort(items, count, sizeof(struct find *), by_originality);
    finds->end = &finds->first;
    for (size_t i = 0; i < count; i++) {
        *finds->end = items[i];
        finds->end = &items[i]->next;
    }
    *finds->end = NULL;
    free(items);
}

/* What could not be looked at in one look may be looked at in the next. */
static void
forget_doubts(const struct agent *agent)
{
    for (struct generation *at = agent->catalog.first; at != NULL; at = at->next)
        at->doubtful = false;
}

/* Nothing is concluded: what was found is found again. */
static bool
put_off(struct agent *agent, struct finds *finds)
{
    finds->undecided = true;
    agent->rediscover(agent);
    return true;
}

bool
match_finds(struct agent *agent, struct finds *finds)
{
    struct lives lives;
    if (agent->truncated) {
        agent->truncated = false;
        copies_look_at_empty(agent);
    }
    if (!lives_init(&lives, agent))
        return put_off(agent, finds);
    bool all = true;
    if (!finds->matched) {
        if (finds->at == NULL) {
            finds->at = finds->first;
            forget_doubts(agent);
        }
        all = match_by_tie(agent, &lives, finds, TIE_INODE, TIE_BIRTH, FINDS_AT_ONCE);
        if (all) {
            if (!match_rest(agent, &lives, finds)) {
                lives_done(&lives);
                return put_off(agent, finds);
            }
            sort_finds(finds);
            finds->at = finds->first;
            finds->matched = true;
        }
    }
    for (size_t left = FINDS_AT_ONCE; all && finds->at != NULL && left > 0; left--) {
        if (!finds->at->taken && copies_go_on_elsewhere(agent, finds->at) == BELONGS_NO)
            births_begin(agent, &lives, finds->at);
        finds->at = finds->at->next;
    }
    lives_done(&lives);
    if (!all || finds->at != NULL)
        return false;
    between_settle(agent);
    return true;
}
