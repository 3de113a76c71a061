/* SPDX-License-Identifier: Apache-2.0 */
/* match.h: which life of content does a file that was found carry? Content decides; where a file
 * lies and which inode it has only say where to look first. The rules are those of
 * docs/guarantees.md. */
#ifndef AGENT_INPUTS_MATCH_H
#define AGENT_INPUTS_MATCH_H

#include <sys/stat.h>

#include "agent/agent.h"

/* A file that is not known yet. */
struct find {
    char *path;
    struct input *input;
    struct stat about;
    int64_t birth_ns;
    bool listed; /* its path is one of the input's; else a sibling that was rotated away */
    bool taken;
    bool unknown; /* could not be looked into: nothing is concluded this time */
    struct {
        uint64_t device, inode;
    } key;
    struct find *next;
    UT_hash_handle by_inode;
};

struct finds {
    struct find *first, **end;
    struct find *by_inode;
    struct find *at; /* where the matching goes on */
    bool matched;    /* with all lives that are known; new ones are begun */
};

void finds_init(struct finds *finds);
void finds_done(struct finds *finds);
/* False when there is one of this inode, or memory is short. */
bool finds_add(struct finds *finds, const char *path, struct input *input,
               const struct stat *about);

/* A file was rotated away from this path; it was last written at `since_ns`. Should the path
 * have been rotated more than once before anybody looked, whole files lie between: match_finds()
 * looks for them. */
void match_note_moved(struct agent *agent, const char *path, struct input *input, int64_t since_ns);
void match_done(struct agent *agent); /* forgets these, and finds that are not decided */

/* Decides them: files of known lives are attached, the rest begins new ones. Some at a time: there
 * may be 100,000, and the first need not wait for the last. True when all are decided. */
bool match_finds(struct agent *agent, struct finds *finds);

#endif
