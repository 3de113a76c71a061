/* SPDX-License-Identifier: Apache-2.0 */
/* remotes.h: mounts whose server may be gone: NFS, CIFS, FUSE and their like. A system call on one
 * that hangs does not come back, so none is made before the mount has answered: right before it
 * is touched, and about once a second, a thread asks it with statfs(), which no cache answers.
 * The loop waits some milliseconds for it; while an answer is out it touches nothing of the
 * mount. Out for longer than REMOTE_DEADLINE_MS, the mount is hung, until it answers. The thread
 * of a hung one is not waited for, neither then nor at the stop. Files of such mounts are open
 * only while they are read. What remains: a mount that dies in the milliseconds between its
 * answer and the loop's call, or while a file of it is read; a link on a local file system to a
 * mount that hangs, before the file is known; a compressed sibling while it is unpacked; and a FUSE
 * daemon that took the question and never answers: the kernel lets no process end before.
 *
 * inotify tells nothing of what other hosts write there: all files of such mounts are swept. */
#ifndef AGENT_INPUTS_REMOTES_H
#define AGENT_INPUTS_REMOTES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define REMOTE_DEADLINE_MS 2000

struct remotes;

struct remote {
    char *path;
    char *type;
    uint64_t device;
    bool hung;
    bool seen; /* in the table of the last look */
    uint64_t asked_ms, answered_ms;
    struct probe *probe; /* NULL: none is out */
    struct remote *next;
};

/* Asks all and waits a moment for their answers. NULL when memory is short. */
struct remotes *remotes_new(void);
void remotes_free(struct remotes *remotes); /* NULL is fine */

/* About once a second. Calls back for each mount that has become hung, or answers again. */
void remotes_tick(struct remotes *remotes,
                  void (*changed)(void *context, const struct remote *remote), void *context);

/* The mount of a device, or of a path; NULL: it is local. `remotes` may be NULL. A mount that goes
 * away is kept as long as `remotes`. */
struct remote *remotes_of_device(const struct remotes *remotes, uint64_t device);
struct remote *remotes_of_path(const struct remotes *remotes, const char *path);
/* May it be touched now? NULL is local. */
bool remote_answers(struct remote *remote);

/* For those without a loop: waits until it answers, but no longer. */
bool remote_wait(struct remote *remote, uint64_t at_most_ms);

struct remote *remotes_first(const struct remotes *remotes);

#endif
