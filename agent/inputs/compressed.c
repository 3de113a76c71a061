/* SPDX-License-Identifier: Apache-2.0 */
/* compressed.c: see compressed.h. A search looks at one .gz after the other, the one written last
 * first; it remembers those that were none, by inode, size and time of change. */
#include "agent/inputs/compressed.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/inputs/file.h"
#include "agent/inputs/files.h"
#include "agent/reader.h"
#include "core/assert.h"
#include "core/clock.h"
#include "core/encode.h"

#define JOBS_MAX 16                    /* unpacked at once: each takes some 100 KiB */
#define GROWS_MS (60 * (uint64_t)1000) /* one that ends too early is still being written so long */
#define ASK_MS ((uint64_t)1000)
#define AGAIN_MS (5 * (uint64_t)1000)
/* Names of a compressed life came up after it was last seen; less some doubt about clocks. */
#define CHANGED_BEFORE_SECONDS (24 * 3600)

struct look {
    uint64_t inode, size;
    int64_t changed_ns;
    enum unpack_result result;
    uint64_t at_ms;
};

struct search {
    struct generation_id id;
    struct look *looks;
    size_t look_count;
    struct spool_job *job; /* for the last of `looks` */
    char *path;            /* of the file it unpacks; after it, of the one that cannot be */
    struct look refused;   /* how that one was */
    bool concluded;        /* in vain; kept because a refused file may change */
    bool told;
    bool alone; /* nothing else takes of the room: what does not fit now never will */
    uint64_t checked_ms;
    struct search *next;
};

struct compressed {
    struct search *first;
    size_t job_count;
};

struct compressed *
compressed_new(void)
{
    return calloc(1, sizeof(struct compressed));
}

static void
search_free(struct compressed *compressed, struct spool *spool, struct search *search)
{
    struct search **link = &compressed->first;
    while (*link != search)
        link = &(*link)->next;
    *link = search->next;
    if (search->job != NULL) {
        spool_job_free(spool, search->job);
        compressed->job_count--;
    }
    free(search->looks);
    free(search->path);
    free(search);
}

void
compressed_free(struct compressed *compressed, struct spool *spool)
{
    while (compressed != NULL && compressed->first != NULL)
        search_free(compressed, spool, compressed->first);
    free(compressed);
}

bool
compressed_is_running(const struct compressed *compressed)
{
    return compressed->job_count > 0;
}

static struct search *
search_of(struct compressed *compressed, struct generation_id id)
{
    struct search *search = compressed->first;
    while (search != NULL && !generation_id_equal(search->id, id))
        search = search->next;
    if (search != NULL || (search = calloc(1, sizeof(*search))) == NULL)
        return search;
    search->id = id;
    search->next = compressed->first;
    compressed->first = search;
    return search;
}

static struct look
look_from(const struct stat *about)
{
    return (struct look){
        .inode = (uint64_t)about->st_ino,
        .size = (uint64_t)about->st_size,
        .changed_ns = (int64_t)about->st_ctim.tv_sec * 1000000000 + about->st_ctim.tv_nsec,
    };
}

static bool
same_look(const struct look *a, const struct look *b)
{
    return a->inode == b->inode && a->size == b->size && a->changed_ns == b->changed_ns;
}

static struct look *
look_at(const struct search *search, const struct look *wanted)
{
    for (size_t i = 0; i < search->look_count; i++)
        if (same_look(&search->looks[i], wanted))
            return &search->looks[i];
    return NULL;
}

static struct look *
add_look(struct search *search, const struct look *look)
{
    struct look *looks = realloc(search->looks, (search->look_count + 1) * sizeof(*looks));
    if (looks == NULL)
        return NULL;
    search->looks = looks;
    looks[search->look_count] = *look;
    looks[search->look_count].at_ms = clock_monotonic_ms();
    return &looks[search->look_count++];
}

static void
count(struct agent *agent, const struct input *input, const char *result)
{
    metrics_add(agent->metrics,
                metrics_series(agent->metrics, METRIC_COMPRESSED_FILES, input->name, result, NULL),
                1);
}

/* --- candidates --- */

struct candidate {
    char path[PATH_MAX];
    struct look look;
    int64_t modified_ns;
    bool found;
};

static bool
has_ending(const char *name, const char *ending)
{
    size_t size = strlen(name);
    size_t ending_size = strlen(ending);
    return size > ending_size && strcmp(name + size - ending_size, ending) == 0;
}

static struct unpack_life
life_of(const struct generation *generation)
{
    return (struct unpack_life){
        .head_hash = generation->head_hash,
        .head_size = generation->head_size,
        .committed = generation->committed,
        .tail_hash = generation->checkpoints[0].hash,
        .size = generation->size,
    };
}

/* Most are told by their first bytes: no need to ask the helper. */
static bool
is_other(const struct generation *generation, const char *path)
{
    const struct unpack_life life = life_of(generation);
    int fd = reader_open(path);
    bool other = fd >= 0 && unpack_is_other(&life, fd);
    if (fd >= 0)
        (void)close(fd);
    return other;
}

/* A file as rotation might have made it of the life's, that was not looked into yet. */
static void
consider(struct search *search, const struct generation *generation, struct candidate *best,
         const char *path)
{
    struct stat about;
    bool dated = generation->seen_seconds <= clock_wall_ms() / 1000; /* else the clock was set */
    if (stat(path, &about) != 0 || !S_ISREG(about.st_mode) ||
        (dated && about.st_ctim.tv_sec + CHANGED_BEFORE_SECONDS < generation->seen_seconds))
        return;
    struct look look = look_from(&about);
    const struct look *known = look_at(search, &look);
    bool again =
        known != NULL &&
        (known->result == UNPACK_FAILED || (known->result == UNPACK_FULL && !search->alone)) &&
        clock_monotonic_ms() - known->at_ms > AGAIN_MS;
    if ((known != NULL && !again) || (best->found && stat_modified_ns(&about) <= best->modified_ns))
        return;
    if (known == NULL && is_other(generation, path)) {
        look.result = UNPACK_OTHER;
        (void)add_look(search, &look);
        return;
    }
    size_t size = strlen(path);
    ASSERT(size < sizeof(best->path));
    memcpy(best->path, path, size + 1);
    best->look = look;
    best->modified_ns = stat_modified_ns(&about);
    best->found = true;
}

/* The best of the siblings that were not looked into. False when the folder cannot be looked
 * into. `other` gets the name of one that is compressed in a way we do not read. */
static bool
find_candidate(struct search *search, const struct generation *generation, struct candidate *best,
               char other[NAME_MAX + 1])
{
    char path[PATH_MAX];
    const char *slash = strrchr(generation->path, '/');
    size_t size = slash == NULL ? sizeof(path) : (size_t)(slash - generation->path) + 1;
    best->found = false;
    other[0] = '\0';
    size_t stem = slash == NULL ? 0 : strcspn(slash + 1, ".");
    if (stem == 0 || size + NAME_MAX >= sizeof(path))
        return true;
    memcpy(path, generation->path, size);
    path[size] = '\0';
    DIR *entries = opendir(path);
    if (entries == NULL)
        return errno == ENOENT || errno == ENOTDIR;
    struct dirent *entry;
    while ((entry = readdir(entries)) != NULL) {
        const char *name = entry->d_name;
        if (strncmp(name, slash + 1, stem) != 0)
            continue;
        memcpy(path + size, name, strlen(name) + 1);
        if (has_ending(name, ".gz"))
            consider(search, generation, best, path);
        else if (has_ending(name, ".zst") || has_ending(name, ".xz") || has_ending(name, ".bz2") ||
                 has_ending(name, ".lz4"))
            memcpy(other, name, strlen(name) + 1);
    }
    (void)closedir(entries);
    return true;
}

/* --- results --- */

/* Takes what the job came to. True when the life is in the spool. */
static bool
take_result(struct agent *agent, struct compressed *compressed, struct spool *spool,
            struct search *search, const struct input *input)
{
    struct spool_result result;
    struct look *look = &search->looks[search->look_count - 1];
    if (!spool_job_done(spool, search->job, &result))
        return false;
    spool_job_free(spool, search->job);
    search->job = NULL;
    compressed->job_count--;
    look->result = result.what;
    look->at_ms = clock_monotonic_ms();
    if (result.what == UNPACK_DONE) {
        count(agent, input, "found");
        agent_say(agent, LOG_LEVEL_INFO, "what was left of a life is read from '%s'", search->path);
        return true;
    }
    if (result.what == UNPACK_OTHER || result.what == UNPACK_CUT)
        return false;
    count(agent, input,
          result.what == UNPACK_FULL      ? "too_large"
          : result.what == UNPACK_DAMAGED ? "damaged"
                                          : "failed");
    if (!search->told || result.what == UNPACK_DAMAGED)
        agent_say(agent, result.what == UNPACK_DAMAGED ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN,
                  "'%s' cannot be unpacked: %s; it is tried again %s", search->path,
                  result.what == UNPACK_FULL ? "held_deleted_max leaves no room for it"
                                             : result.err.text,
                  result.what == UNPACK_DAMAGED ? "when it changes" : "later");
    search->told = true;
    if (result.what == UNPACK_DAMAGED)
        search->refused = *look;
    return false;
}

/* What is to be looked into, as the last of the list, also once more. NULL: no memory. */
static struct look *
last_look(struct search *search, const struct look *wanted)
{
    struct look *known = look_at(search, wanted);
    if (known == NULL)
        return add_look(search, wanted);
    ASSERT(search->looks != NULL);
    struct look *last = &search->looks[search->look_count - 1];
    *known = *last;
    *last = *wanted;
    last->at_ms = clock_monotonic_ms();
    return last;
}

/* False: it may be opened at a later look. */
static bool
start_job(struct compressed *compressed, struct search *search, const struct generation *generation,
          const struct candidate *candidate, const struct compressed_place *place)
{
    const struct unpack_life life = life_of(generation);
    struct err err;
    int fd = reader_open(candidate->path);
    char *path = strdup(candidate->path);
    struct look *look = last_look(search, &candidate->look);
    if (fd >= 0 && path != NULL && look != NULL)
        search->job =
            spool_start_unpack(place->spool, generation->id, fd, &life, place->room, &err);
    if (fd >= 0)
        (void)close(fd);
    if (search->job == NULL) {
        free(path);
        if (look != NULL) {
            look->result = UNPACK_FAILED;
            look->at_ms = clock_monotonic_ms();
        }
        return false;
    }
    free(search->path);
    search->path = path;
    compressed->job_count++;
    return true;
}

/* Nothing is left to look into: may that change by itself? */
static bool
may_change(const struct search *search)
{
    uint64_t now_ms = clock_monotonic_ms();
    for (size_t i = 0; i < search->look_count; i++) {
        const struct look *look = &search->looks[i];
        if (look->result == UNPACK_FAILED || (look->result == UNPACK_FULL && !search->alone) ||
            (look->result == UNPACK_CUT && now_ms - look->at_ms < GROWS_MS))
            return true;
    }
    return false;
}

/* No sibling has it. */
static void
conclude(struct agent *agent, struct compressed *compressed, struct search *search,
         struct generation *generation, const struct input *input, const char *other)
{
    const struct look *refused = NULL;
    for (size_t i = 0; i < search->look_count; i++)
        if (search->looks[i].result != UNPACK_OTHER)
            refused = &search->looks[i];
    search->concluded = true;
    if (refused == NULL) {
        if (other[0] != '\0')
            agent_say(agent, LOG_LEVEL_WARN,
                      "'%s' is gone; should its rest be in '%s': only .gz is read",
                      generation->path, other);
        search_free(compressed, NULL, search);
        return;
    }
    if (refused->result == UNPACK_CUT) {
        count(agent, input, "damaged");
        agent_say(agent, LOG_LEVEL_ERROR,
                  "'%s' cannot be unpacked: it ends too early; it is tried again when it changes",
                  search->path);
    }
    search->refused = *refused;
    generation->gone = refused->result == UNPACK_FULL ? "held_deleted_max" : "compressed";
}

enum compressed_found
compressed_look(struct agent *agent, struct compressed *compressed, struct generation *generation,
                struct input *input, const struct compressed_place *place)
{
    const struct unpack_life life = life_of(generation);
    /* Nothing of it was delivered, and it was given up: its beginning alone proves nothing. */
    bool given_up = generation->committed == 0 && generation->size == 0;
    struct search *search =
        unpack_can_tell(&life) && !given_up ? search_of(compressed, generation->id) : NULL;
    if (search == NULL)
        return COMPRESSED_NOTHING;
    if (search->job != NULL) {
        if (take_result(agent, compressed, place->spool, search, input)) {
            search_free(compressed, place->spool, search);
            return COMPRESSED_FOUND;
        }
        if (search->job != NULL)
            return COMPRESSED_SEARCHING;
    }
    if (compressed->job_count >= JOBS_MAX)
        return COMPRESSED_SEARCHING; /* its turn comes: no walk of the folder until then */
    struct candidate best;
    char other[NAME_MAX + 1];
    search->alone = place->alone;
    if (!path_answers(agent, generation->path) || !find_candidate(search, generation, &best, other))
        return COMPRESSED_SEARCHING; /* could not look */
    if (best.found) {
        (void)start_job(compressed, search, generation, &best, place);
        return COMPRESSED_SEARCHING;
    }
    if (may_change(search))
        return COMPRESSED_SEARCHING;
    conclude(agent, compressed, search, generation, input, other);
    return COMPRESSED_NOTHING;
}

/* --- about once a second --- */

void
compressed_json(const struct agent *agent, const struct compressed *compressed, struct buffer *out)
{
    const char *comma = "";
    buffer_text(out, "[");
    for (const struct search *search = compressed->first; search != NULL; search = search->next) {
        const struct generation *generation = catalog_find(&agent->catalog, search->id);
        if (generation == NULL)
            continue;
        buffer_format(out, "%s{\"path\":", comma);
        encode_json_string(out, generation->path, strlen(generation->path));
        buffer_format(out,
                      ",\"committed\":%llu,\"reason\":", (unsigned long long)generation->committed);
        const char *reason = search->concluded
                                 ? "its file is gone; it is in a .gz that cannot be unpacked"
                                 : "its file is gone; it is looked for in the .gz files beside it";
        encode_json_string(out, reason, strlen(reason));
        buffer_text(out, ",\"compressed\":");
        const char *path = search->path == NULL ? "" : search->path;
        encode_json_string(out, path, strlen(path));
        buffer_text(out, "}");
        comma = ",";
    }
    buffer_text(out, "]");
}

/* A file that could not be unpacked: is it another one now? */
static void
look_again(struct agent *agent, struct search *search, struct generation *generation)
{
    struct stat about;
    uint64_t now_ms = clock_monotonic_ms();
    if (now_ms - search->checked_ms < AGAIN_MS || search->path == NULL)
        return;
    search->checked_ms = now_ms;
    if (!path_answers(agent, search->path) || stat(search->path, &about) != 0)
        return;
    struct look look = look_from(&about);
    if (same_look(&look, &search->refused))
        return;
    search->concluded = false;
    generation->searched = false;
    agent->rediscover(agent);
}

/* It waits for a turn, or for what a file comes to. */
static void
ask_again(struct agent *agent, struct search *search)
{
    uint64_t now_ms = clock_monotonic_ms();
    if (now_ms - search->checked_ms < ASK_MS)
        return;
    search->checked_ms = now_ms;
    agent->rediscover(agent);
}

void
compressed_tick(struct agent *agent, struct compressed *compressed, struct spool *spool)
{
    for (struct search *search = compressed->first, *next; search != NULL; search = next) {
        next = search->next;
        struct spool_result result;
        if (search->job != NULL) {
            if (spool_job_done(spool, search->job, &result))
                agent->rediscover(agent); /* it is asked for there */
            continue;
        }
        struct generation *generation = catalog_find(&agent->catalog, search->id);
        if (generation == NULL || generation->file != NULL)
            search_free(compressed, spool, search);
        else if (search->concluded)
            look_again(agent, search, generation);
        else
            ask_again(agent, search);
    }
}
