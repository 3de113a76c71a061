/* SPDX-License-Identifier: Apache-2.0 */
/* spool.h: unread bytes of files that are gone, kept below the state folder:
 *     spool/<generation>        whole: nothing will be added to it
 *     spool/<generation>.part   a copy under way, or of a file that is still written to
 *     spool/<generation>.new    being unpacked; worth nothing before it is whole
 * Each is a sparse file with the bytes at their own offsets, from some bytes before `committed`
 * on, and the head (see unpack.h): it is read, and recognised, like the file it stands for.
 * Copying and unpacking is done by one helper thread, by turns between its jobs; the owner's
 * thread starts jobs and looks whether they are done. */
#ifndef AGENT_SPOOL_H
#define AGENT_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/unpack.h"
#include "core/err.h"
#include "core/event_id.h"

struct spool;
struct spool_job;

struct spool_result {
    enum unpack_result what; /* of a copy: DONE, FULL or FAILED */
    uint64_t end;            /* bytes before it are on the disk */
    bool whole;
    struct err err; /* FAILED, DAMAGED */
};

/* The folder is made when it is missing. */
bool spool_new(struct spool **out, const char *state_dir, struct err *err) MUST_CHECK;
void spool_free(struct spool *spool); /* ends the helper; NULL is fine */

/* Calls back for every file that is there. */
bool spool_list(struct spool *spool,
                void (*found)(void *context, struct generation_id id, bool whole), void *context,
                struct err *err) MUST_CHECK;

/* Copies what the open file has from `from` on; `fd` stays the caller's. `resume` > 0: what is
 * before it was copied by an earlier job. `whole`: nobody writes to it any more. At most `room`
 * bytes. When it fails, what it has written is given back. NULL with `err`. */
struct spool_copy {
    struct generation_id id;
    int fd;
    uint64_t from, resume, room;
    bool whole;
};
struct spool_job *spool_start_copy(struct spool *spool, const struct spool_copy *copy,
                                   struct err *err);
/* Unpacks the life's rest from a gzip file; `fd` stays the caller's. NULL with `err`. */
struct spool_job *spool_start_unpack(struct spool *spool, struct generation_id id, int fd,
                                     const struct unpack_life *life, uint64_t room,
                                     struct err *err);
/* False while it runs. */
bool spool_job_done(struct spool *spool, const struct spool_job *job, struct spool_result *result);
/* Also one that still runs: it ends soon. */
void spool_job_free(struct spool *spool, struct spool_job *job);

/* For who has no spool open: is any of the life's bytes below the state folder? */
bool spool_holds(const char *state_dir, struct generation_id id);
/* For reading; -1 with errno. */
int spool_open(const struct spool *spool, struct generation_id id);
/* A copy that nobody will continue: it is cut behind its last whole line, or at `least` when that
 * is greater, and made whole. */
bool spool_settle_part(struct spool *spool, struct generation_id id, uint64_t committed,
                       uint64_t least, struct err *err) MUST_CHECK;
/* The file is of another id now. False when it could not be renamed. */
bool spool_rename(struct spool *spool, struct generation_id from, struct generation_id to);
void spool_remove(struct spool *spool, struct generation_id id);
uint64_t spool_bytes(const struct spool *spool, struct generation_id id); /* on the disk */

#endif
