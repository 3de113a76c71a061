/* SPDX-License-Identifier: Apache-2.0 */
/* crew.c: see crew.h. One thread at a time is the worker; a run is a list that it takes jobs from.
 * When the caller gives a job up it raises `epoch`: the thread that finds another epoch than its
 * own, when its job returns, ends. */
#include "exporters/crew.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "core/assert.h"
#include "core/clock.h"

#define STACK_SIZE (256U * 1024) /* of a worker: no collector has large buffers on its stack */
#define END_WAIT_MS 200          /* for hung jobs, when the program stops */

struct crew {
    pthread_mutex_t lock;
    pthread_cond_t work;     /* for the worker: there is a list, or the end */
    pthread_cond_t finished; /* for the caller: the list is done, or a thread ended */
    struct crew_job *const *jobs;
    size_t job_count;
    size_t next;              /* of the list, the one that is taken next */
    struct crew_job *current; /* NULL: the worker waits */
    uint64_t epoch;           /* of the worker that counts */
    bool worker;              /* there is one */
    unsigned threads;         /* of all epochs */
    bool end;
};

bool
crew_new(struct crew **out, struct err *err)
{
    struct crew *crew = calloc(1, sizeof(*crew));
    if (crew == NULL)
        return err_set(err, ERR_STOP, 0, "cannot start helper threads: out of memory");
    (void)pthread_mutex_init(&crew->lock, NULL);
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&crew->work, &attributes);
    (void)pthread_cond_init(&crew->finished, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    *out = crew;
    return true;
}

/* The lock is held. Waits until the caller is woken or this time is over. */
static void
wait_until(struct crew *crew, uint64_t until_ms)
{
    struct timespec until = {
        .tv_sec = (time_t)(until_ms / 1000),
        .tv_nsec = (long)(until_ms % 1000) * 1000000,
    };
    (void)pthread_cond_timedwait(&crew->finished, &crew->lock, &until);
}

bool
crew_free(struct crew *crew)
{
    if (crew == NULL)
        return true;
    (void)pthread_mutex_lock(&crew->lock);
    crew->end = true;
    (void)pthread_cond_broadcast(&crew->work);
    uint64_t until_ms = clock_monotonic_ms() + END_WAIT_MS;
    while (crew->threads > 0 && clock_monotonic_ms() < until_ms)
        wait_until(crew, until_ms);
    bool all = crew->threads == 0;
    (void)pthread_mutex_unlock(&crew->lock);
    if (!all)
        return false;
    (void)pthread_cond_destroy(&crew->work);
    (void)pthread_cond_destroy(&crew->finished);
    (void)pthread_mutex_destroy(&crew->lock);
    free(crew);
    return true;
}

/* The lock is held, and is given up while the job runs. */
static void
run_job(struct crew *crew, struct crew_job *job)
{
    job->busy = true;
    job->began_ms = clock_monotonic_ms();
    crew->current = job;
    (void)pthread_mutex_unlock(&crew->lock);

    uint64_t wall_ns = clock_monotonic_ns();
    uint64_t cpu_ns = clock_thread_ns();
    job->run(job->context);
    cpu_ns = clock_thread_ns() - cpu_ns;
    wall_ns = clock_monotonic_ns() - wall_ns;

    (void)pthread_mutex_lock(&crew->lock);
    job->busy = false;
    job->cpu_ns += cpu_ns;
    job->wall_ns = wall_ns;
}

static void *
worker_main(void *argument)
{
    struct crew *crew = argument;
    (void)pthread_mutex_lock(&crew->lock);
    uint64_t epoch = crew->epoch;
    while (crew->epoch == epoch && !crew->end) {
        if (crew->next == crew->job_count) {
            (void)pthread_cond_broadcast(&crew->finished);
            (void)pthread_cond_wait(&crew->work, &crew->lock);
            continue;
        }
        struct crew_job *job = crew->jobs[crew->next++];
        if (job->busy)
            continue;
        run_job(crew, job);
        if (crew->epoch != epoch)
            break; /* given up; its `done` says so already */
        job->done = true;
        crew->current = NULL;
    }
    if (crew->epoch == epoch)
        crew->worker = false;
    crew->threads--;
    (void)pthread_cond_broadcast(&crew->finished);
    (void)pthread_mutex_unlock(&crew->lock);
    return NULL;
}

/* The lock is held. Without a thread the run ends with nothing done. */
static void
start_worker(struct crew *crew)
{
    if (crew->worker || crew->threads > CREW_HUNG_MAX)
        return;
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, STACK_SIZE);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    crew->worker = pthread_create(&thread, &attributes, worker_main, crew) == 0;
    crew->threads += crew->worker;
    (void)pthread_attr_destroy(&attributes);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* The lock is held. Leaves the job that runs to its thread. */
static void
give_up(struct crew *crew)
{
    ASSERT(crew->current != NULL);
    crew->current->wall_ns = (clock_monotonic_ms() - crew->current->began_ms) * 1000000;
    crew->current = NULL;
    crew->epoch++;
    crew->worker = false;
}

void
crew_run(struct crew *crew, struct crew_job *const *jobs, size_t count, uint64_t job_ms,
         uint64_t deadline_ms)
{
    (void)pthread_mutex_lock(&crew->lock);
    for (size_t i = 0; i < count; i++)
        jobs[i]->done = false;
    crew->jobs = jobs;
    crew->job_count = count;
    crew->next = 0;
    start_worker(crew);
    (void)pthread_cond_broadcast(&crew->work);
    while (crew->worker && (crew->next < crew->job_count || crew->current != NULL)) {
        uint64_t now_ms = clock_monotonic_ms();
        uint64_t until_ms =
            crew->current != NULL ? crew->current->began_ms + job_ms : now_ms + job_ms;
        if (until_ms > deadline_ms)
            until_ms = deadline_ms;
        if (now_ms < until_ms) {
            wait_until(crew, until_ms);
            continue;
        }
        if (now_ms >= deadline_ms)
            crew->next = crew->job_count;
        if (crew->current != NULL) {
            give_up(crew);
            if (crew->next < crew->job_count)
                start_worker(crew);
        }
    }
    crew->jobs = NULL;
    crew->job_count = crew->next = 0;
    (void)pthread_mutex_unlock(&crew->lock);
}

bool
crew_job_busy(struct crew *crew, const struct crew_job *job)
{
    (void)pthread_mutex_lock(&crew->lock);
    bool busy = job->busy;
    (void)pthread_mutex_unlock(&crew->lock);
    return busy;
}

struct crew_job
crew_job_look(struct crew *crew, const struct crew_job *job)
{
    (void)pthread_mutex_lock(&crew->lock);
    struct crew_job copy = *job;
    (void)pthread_mutex_unlock(&crew->lock);
    return copy;
}
