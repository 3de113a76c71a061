/* SPDX-License-Identifier: Apache-2.0 */
/* lives.h: the lives that no file carries now, as far as it is known, found by inode and by the
 * first bytes of a file. A file whose content was truncated away, and whose last events Kafka has
 * not answered, does not carry its life any more. Valid until a generation is removed. */
#ifndef AGENT_INPUTS_LIVES_H
#define AGENT_INPUTS_LIVES_H

#include <sys/stat.h>

#include "agent/agent.h"

struct lives {
    struct generation **by_inode; /* sorted */
    struct generation **by_head;  /* sorted by size, then hash of the head */
    size_t count;
};

bool lives_init(struct lives *lives, const struct agent *agent); /* false: no memory */
void lives_done(struct lives *lives);
bool life_is_free(const struct generation *generation);

/* Calls back for each with the file's inode; for each whose head the open file begins with.
 * lives_with_head() is false when the file cannot be read. */
typedef void life_visit(void *context, struct generation *generation);
void lives_at_inode(const struct lives *lives, const struct stat *about, life_visit *visit,
                    void *context);
bool lives_with_head(const struct lives *lives, int fd, life_visit *visit, void *context);

#endif
