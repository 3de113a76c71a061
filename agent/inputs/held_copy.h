/* SPDX-License-Identifier: Apache-2.0 */
/* held_copy.h: deleted files are copied into the spool, and what is kept of them stays within
 * `held_deleted_max`: what is over it is not copied, then the oldest are given up. For held.c,
 * whose list it works on. */
#ifndef AGENT_INPUTS_HELD_COPY_H
#define AGENT_INPUTS_HELD_COPY_H

#include "agent/agent.h"
#include "core/event_id.h"

struct compressed;
struct spool;
struct spool_job;

enum trouble { TROUBLE_NONE, TROUBLE_ROOM, TROUBLE_DISK, TROUBLE_ERROR };

struct held {
    struct generation_id id;
    struct file *file; /* NULL: nobody reads it now */
    uint64_t since_ms;
    int stored_fd; /* given back by the service manager, for a file to be; -1 */
    bool stored;   /* the service manager has the descriptor */
    bool part;     /* in the spool: some of it, up to `copied` */
    bool whole;    /* in the spool: all of it */
    uint64_t from; /* what the state has as `committed`, once `from_sequence` is durable */
    uint64_t from_sequence;
    uint64_t copied;
    struct spool_job *job;
    enum trouble trouble;
    uint64_t again_ms;
    bool writer;          /* somebody has it open for writing: letting go frees nothing */
    uint64_t bytes;       /* on the disk, kept by our descriptor */
    uint64_t spool_bytes; /* on the disk, in the spool */
    bool finished;
    uint64_t finished_sequence;
    struct held *next;
};

struct held_files {
    struct held *first;
    struct spool *spool; /* NULL: it could not be opened; tried again when it is needed */
    struct compressed *compressed;
    unsigned long store_max; /* descriptors that the service manager takes; 0: there is none */
    bool saving;
    metric bytes, spool_bytes;
};

bool held_is_unread(const struct held *held); /* some of it is not acknowledged */

/* Copies it when that is due. */
void held_copy_consider(struct agent *agent, struct held *held);
/* What its job has come to. Once its copy is whole, that is read instead of it. */
void held_copy_take(struct agent *agent, struct held *held);

/* What `held_deleted_max` leaves, and what is used of it. */
uint64_t held_copy_room(const struct agent *agent, uint64_t *used);
void held_copy_keep_bound(struct agent *agent);

/* Of held.c. */
bool held_open_spool(struct agent *agent); /* false: there is none now */
void held_drop_job(struct held_files *files, struct held *held);
void held_unstore(struct held *held); /* the service manager need not keep it any more */
/* Nobody wants it: it is removed when the state has that on disk. */
void held_finish(struct agent *agent, struct held *held);

#endif
