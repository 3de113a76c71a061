/* SPDX-License-Identifier: Apache-2.0 */
/* finds.h: files that were found and are to be decided on: which life does each carry? */
#ifndef AGENT_INPUTS_FINDS_H
#define AGENT_INPUTS_FINDS_H

#include <sys/stat.h>

#include "agent/agent.h"

struct find {
    char *path;
    struct input *input; /* NULL: of a sibling, whose life will tell */
    struct stat about;
    int64_t birth_ns;
    bool listed; /* its path is one of the input's; else it was rotated away */
    bool taken;
    bool unknown; /* could not be looked into: nothing is concluded this time */
    bool waits;   /* for the last answers to a life that it carries */
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
    bool undecided;  /* memory was short: the next discovery finds them again */
    bool lacking;    /* memory was short for some of them */
};

void finds_init(struct finds *finds);
void finds_done(struct finds *finds);
/* NULL when there is one of this inode, or memory is short (then `lacking`). */
struct find *finds_add(struct finds *finds, const char *path, struct input *input,
                       const struct stat *about);

/* -1: it is another file meanwhile or gone (then it is `taken`), or cannot be read (`unknown`;
 * errno tells). */
int find_open(struct find *find);

#endif
