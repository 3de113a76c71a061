/* SPDX-License-Identifier: Apache-2.0 */
/* crew.h: runs jobs one after the other on a helper thread, and goes on without one that hangs.
 * A job that takes longer than it may is given up: its thread is left to it and a new one runs the
 * rest. Until the job returns it is hung, and no run starts it again, so that a dead mount or bus
 * costs one thread and not one at each scrape; at most CREW_HUNG_MAX threads are left so. What a
 * hung job uses must stay where it is: ask crew_job_busy() before it is freed.
 * One thread at a time calls crew_run(). */
#ifndef EXPORTERS_CREW_H
#define EXPORTERS_CREW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

#define CREW_HUNG_MAX 64 /* threads, of some KiB each, that wait for a kernel that never answers */

struct crew;

/* Embedded in what the job is about. run and context are the caller's, the rest is the crew's. */
struct crew_job {
    void (*run)(void *context);
    void *context;
    bool busy;         /* a thread is in run(), or left there */
    bool done;         /* it returned in time in the last crew_run() */
    uint64_t wall_ns;  /* of its last run; of a hung one how long it was waited for */
    uint64_t cpu_ns;   /* of all its runs */
    uint64_t began_ms; /* its last run */
};

bool crew_new(struct crew **out, struct err *err) MUST_CHECK;
/* Waits a moment for hung jobs. False: some hang still; then crew and jobs are left to them. */
bool crew_free(struct crew *crew); /* NULL is fine */

/* Runs those jobs that are not hung; each may take `job_ms`, all together until `deadline_ms` of
 * the monotonic clock. When it returns, `done` says of each whether it ran to its end. */
void crew_run(struct crew *crew, struct crew_job *const *jobs, size_t count, uint64_t job_ms,
              uint64_t deadline_ms);

/* Whether a thread is still in it. */
bool crew_job_busy(struct crew *crew, const struct crew_job *job);
/* A copy as of one moment: the times of a job that hangs change when it comes back. */
struct crew_job crew_job_look(struct crew *crew, const struct crew_job *job);

#endif
