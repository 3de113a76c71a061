/* SPDX-License-Identifier: Apache-2.0 */
/* file.h: the life of one struct file, for files.c and match.c. */
#ifndef AGENT_INPUTS_FILE_H
#define AGENT_INPUTS_FILE_H

#include <sys/stat.h>

#include "agent/agent.h"

/* In the agent's list and tables, without a generation. NULL when memory is short. */
struct file *file_new(struct agent *agent, struct input *input, const char *path,
                      const struct stat *about, enum file_state state);
/* The same for one that its path does not lead to: FILE_FAILED, found by its inode alone. */
struct file *file_new_unlisted(struct agent *agent, struct input *input, const char *path,
                               const struct stat *about);
/* Out of everything. It has no batches. Its generation stays, with nobody reading it. */
void file_free(struct agent *agent, struct file *file);

/* The generation goes on, or begins, in this file; takes `fd`. */
void file_attach(struct agent *agent, struct file *file, struct generation *generation, int fd);
/* The same life goes on in another inode, open as `fd`, which nobody reads yet. */
void file_replace(struct agent *agent, struct file *file, const struct stat *about, int fd);
/* Bytes that Kafka has not acknowledged; also of a file that cannot be read. */
uint64_t file_lag(const struct file *file);
/* As people see it: one that is read, but cannot be now, has failed. */
enum file_state file_shown_state(const struct file *file);
/* Its content is found in another file, open as `fd`, which it takes; it was ENDED. `path`: where,
 * NULL: under a name that is not listed. */
void file_revive(struct agent *agent, struct file *file, const struct stat *about, int fd,
                 const char *path);
/* Of a file that is held back: it keeps the descriptor. */
void file_keep(struct agent *agent, struct file *file, int fd);
/* A file that its path leads to is opened again at its turn; others only have the descriptor. */
void file_settle_descriptor(struct agent *agent, struct file *file, bool listed);
void file_close(struct agent *agent, struct file *file);
/* Opens it by its path again; others are closed for it when too many are open. False with errno:
 * EMFILE when all of those are needed, ESTALE when another file has the path, EBADMSG when
 * another file has even the inode. */
bool file_open(struct agent *agent, struct file *file);

struct file *file_by_path(const struct agent *agent, const char *path);
struct file *file_by_inode(const struct agent *agent, uint64_t device, uint64_t inode);
/* Its path does not lead to it any more. */
void file_unlist(struct agent *agent, struct file *file);
bool file_rename(struct agent *agent, struct file *file, const char *path);

/* New attributes: more to read, or cut off. */
void file_seen(struct agent *agent, struct file *file, const struct stat *about);

int64_t stat_modified_ns(const struct stat *about);

#endif
