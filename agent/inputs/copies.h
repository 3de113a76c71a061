/* SPDX-License-Identifier: Apache-2.0 */
/* copies.h: copies that are seen before their original is truncated (copytruncate).
 * A file whose content is nothing but the beginning of what another file holds is held back,
 * before its first byte is read: FILE_SUSPENDED. It is decided on when
 *     the original was truncated: it is the copy, and the life goes on in it (match.c);
 *     it has other bytes than the original: a file of its own;
 *     it was not written for COPY_GRACE_MS, or grew too slowly for a copy: of its own as well,
 *     as files are that begin with the same banner. */
#ifndef AGENT_INPUTS_COPIES_H
#define AGENT_INPUTS_COPIES_H

#include "agent/inputs/finds.h"

enum copy {
    COPY_NO,
    COPY_HELD,
    COPY_OWN,     /* it was held back, for long enough */
    COPY_UNKNOWN, /* it, or what may be its original, cannot be read now */
};

/* May a life begin in the open file? `held`: what was made of it when it was held back, else
 * NULL. */
enum copy copies_judge(struct agent *agent, const struct find *find, int fd, struct file *held);

/* An editor or a backup put a copy, as long or longer, in the file's place: the life goes on in it,
 * with all that is under way. Not while somebody may still write to the old one. UNKNOWN: it
 * could not be looked at, and is in the next look. */
enum belongs copies_go_on(struct agent *agent, struct file *file, const char *path);
/* The same for a copy that was renamed, too, before anybody looked: its file is deleted. */
enum belongs copies_go_on_elsewhere(struct agent *agent, const struct find *find);

/* Holds back what was found: as a new file, or `held` still. Takes `fd`. */
void copies_hold(struct agent *agent, struct find *find, int fd, struct file *held);

/* The first bytes came to a file whose life began when it was empty. True: it is held back, and
 * that life is no more. */
bool copies_hold_first_bytes(struct agent *agent, struct file *file);
/* The same for all files that look empty, because a life was truncated away just now. */
void copies_look_at_empty(struct agent *agent);

/* A file that is held back may be decided on by time alone. */
bool copies_are_due(const struct file *file, uint64_t now_ms);

/* How much of the life's content another file, of its own, has as well. */
uint64_t copies_reach(struct agent *agent, const struct generation *generation);

#endif
