/* SPDX-License-Identifier: Apache-2.0 */
/* generation.h: one life of one file's content, and how it is known again.
 * Content is the identity, the inode only a hint where to look first. What is kept, and the
 * rules: head (length and hash of the first bytes, growing), checkpoints (offset and hash of the
 * bytes before it). The catalog holds all generations of a state folder. One thread at a time. */
#ifndef AGENT_GENERATION_H
#define AGENT_GENERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "agent/days.h"
#include "core/err.h"
#include "core/event_id.h"
#include "core/hash.h"

#define HEAD_SIZE_MAX 1024  /* bytes that tell one file from another: banners are shorter */
#define TAIL_SIZE_MAX 64    /* bytes before a position that are checked with each read */
#define CONTENT_SIZE_MIN 64 /* committed bytes below which content alone proves nothing */
#define CHECKPOINTS_MAX 8   /* the newest, and older ones at growing distance */
#define CUTS_MAX 4          /* ends of unterminated lines, decided and not yet committed */
#define PARTS_SIZE_MIN 256  /* a refused event is cut no smaller */

struct checkpoint {
    uint64_t offset;
    uint64_t hash; /* of the up to TAIL_SIZE_MAX bytes before it */
};

/* An event that Kafka refused for its size, from its first byte to the end of what was sent as one
 * record, goes in parts of `size` escaped bytes. Like a cut it is on disk before the first of them
 * is sent, so that the same bytes are cut into the same parts whenever they are read again. Only
 * what was refused while nothing behind it was under way is cut: what Kafka has keeps its id. */
struct parts {
    uint64_t from, to;
    uint32_t size; /* 0: there is no such event */
};

/* Lives are found by their first bytes: so many of them, and where a file has fewer, so few. */
#define STARTS 2
#define START_SIZE_LONG 64
#define START_SIZE_SHORT 16

struct file;
struct receipt;

struct generation {
    struct generation_id id;
    uint64_t head_hash;
    uint32_t head_size;
    uint32_t part_size; /* fixed at birth: the cut of long lines depends on it */
    uint64_t committed; /* every byte before it is acknowledged by Kafka */
    struct checkpoint checkpoints[CHECKPOINTS_MAX]; /* [0] is `committed`'s; offsets descend */
    uint32_t checkpoint_count;
    uint32_t cut_count;
    uint64_t cuts[CUTS_MAX]; /* ascending, all above `committed` */
    struct parts parts;      /* of the event at `committed`, or just behind it */
    struct day_marks days;
    struct receipt *receipt;      /* owned; of what was committed since the last one; or NULL */
    struct receipt *receipt_sent; /* those before it, not acknowledged yet; oldest first */

    /* Hints: where it was last seen. */
    uint64_t device, inode;
    int64_t birth_ns; /* of the inode; 0 where the file system does not tell */
    uint64_t size;
    int64_t seen_seconds;
    char *path;  /* owned */
    char *input; /* owned */

    /* Not durable. */
    uint64_t durable_at;  /* sequence number of the state at which its birth is on disk */
    struct file *file;    /* who reads it now, NULL: nobody */
    bool changed;         /* progress that the state has not been given yet */
    bool searched;        /* its file is gone, and was looked for in vain */
    bool released;        /* its file was rotated away and finished, though it may grow again */
    uint64_t path_before; /* hash of the path it had until it was renamed; 0: it was not */
    bool doubtful;        /* what may carry it could not be looked at in this look: not given up */
    bool lost_power;      /* the host did, after it was written: its file's end may be another */
    const char *origin; /* how it came to its file, a reason of METRIC_GENERATIONS; NULL: as ever */
    const char *gone;   /* how it came to have no file: "vanished", "truncated", …; a literal */
    uint64_t starts[STARTS]; /* hashes of the first bytes, where the content is so long */
    bool start_known[STARTS];
    UT_hash_handle by_start[STARTS];
    struct generation *next, *previous;
};

struct catalog {
    struct generation *first;
    struct generation *starts[STARTS]; /* uthash tables: equal keys stand in one */
    size_t count;
};

/* A new life with an id of its own, in the catalog; NULL when memory is short. */
struct generation *generation_new(struct catalog *catalog, const char *input, const char *path);
/* The same with a given id, for the reader of the state. */
struct generation *generation_add(struct catalog *catalog, struct generation_id id,
                                  const char *input, const char *path);
void generation_remove(struct catalog *catalog, struct generation *generation); /* frees it */
/* NULL: it is not known. */
struct generation *catalog_find(const struct catalog *catalog, struct generation_id id);
void catalog_done(struct catalog *catalog);
bool generation_set_path(struct generation *generation, const char *path); /* false: no memory */

/* Where it was seen: from an open file's or a path's attributes. */
void generation_seen(struct generation *generation, const struct stat *about, int64_t birth_ns);

/* Birth time of an open file in ns, 0 when unknown. */
int64_t generation_birth_ns(int fd);

uint64_t generation_hash(const void *bytes, size_t size);

/* What the open file has there: `size` bytes, fewer at its end; -1: errno tells. */
ssize_t content_read(int fd, void *out, size_t size, uint64_t offset);

/* Moves `committed`, remembers the checkpoint and drops cuts that lie behind. */
void generation_commit(struct generation *generation, uint64_t offset, uint64_t tail_hash);
bool generation_add_cut(struct generation *generation, uint64_t offset); /* false: no room */

/* Learns more of the head when the file has grown. False with ERR_REJECT when the head that is
 * known is not there any more, ERR_RETRY when it cannot be read. */
bool generation_grow_head(struct generation *generation, int fd, uint64_t size,
                          struct err *err) MUST_CHECK;

enum belongs {
    BELONGS_NO,
    BELONGS_YES,
    BELONGS_UNKNOWN, /* could not look; nothing may be concluded */
};
/* Does the open file of `size` bytes carry this life's content? Its head, and the greatest
 * checkpoint that fits into it, are compared. */
enum belongs generation_belongs(const struct generation *generation, int fd, uint64_t size);

/* Some of what was committed is not in the file of `size` bytes, or not as it was: the life goes on
 * from its last checkpoint that is, 0 at worst. False when it cannot be read. */
bool generation_rewind(struct generation *generation, int fd, uint64_t size);
/* The greatest checkpoint that is in the file as it was; 0: none. */
enum belongs generation_last_match(const struct generation *generation, int fd, uint64_t size,
                                   uint64_t *offset);

/* Looks at its first bytes: it is found by them from now on. */
void generation_know_start(struct catalog *catalog, struct generation *generation, int fd);
/* The first life that is known to begin with these bytes, then the next; NULL: none. */
struct generation *catalog_starting(const struct catalog *catalog, const char *bytes, size_t size);
struct generation *catalog_starting_like(const struct catalog *catalog,
                                         const struct generation *generation);
struct generation *catalog_next_starting(const struct generation *generation, size_t size);

/* How strongly a file is tied to the life whose content it seems to carry: greater is better. */
enum tie {
    TIE_NONE,
    TIE_WEAK,    /* nothing was acknowledged yet: its beginning, and a name made by rotation */
    TIE_EMPTY,   /* the inode, of a life of which no byte was ever seen */
    TIE_SHORT,   /* a part of what was acknowledged, and nothing more */
    TIE_CONTENT, /* nothing but the content */
    TIE_PATH,
    TIE_INODE,
    TIE_BIRTH, /* inode and its time of birth */
};
enum tie generation_tie(const struct generation *generation, const struct stat *about,
                        int64_t birth_ns, const char *path);

/* A name as rotation makes them: the old one and then digits, dots, dashes. */
bool name_is_rotated(const char *path, const char *rotated);
/* Bytes at the end of a path's name that rotation may have put there. */
size_t name_rotation_size(const char *path);
/* In one folder, and the other's name begins like the path's does up to its first dot. */
bool name_is_related(const char *path, const char *other);

#endif
