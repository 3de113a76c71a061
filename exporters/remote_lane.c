/* SPDX-License-Identifier: Apache-2.0 */
/* remote_lane.c: see remote_lane.h. A target has two pages: its thread, or the process that the
 * thread asks, writes `work` without a lock; when the round is over it is swapped with `shown`
 * under the lock. */
#include "exporters/remote_lane.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/assert.h"
#include "core/bounds.h"
#include "core/clock.h"
#include "core/health.h"
#include "exporters/left_out.h"
#include "exporters/options.h"
#include "exporters/pack.h"
#include "exporters/page.h"

#define STALE_ROUNDS 3    /* intervals that a page is served without a newer one */
#define END_WAIT_S 5      /* for a round under way, when the program stops */
#define TARGETS_MAX 1000U /* threads */

struct target {
    struct remote_lane *owner;
    const struct remote_class *class;
    size_t class_index;
    size_t index; /* among the class' */
    struct remote_about about;
    void *self;
    struct process *process; /* the thread's; NULL: rounds run on the thread */
    struct page work;        /* the thread's */
    struct err failure;      /* the thread's */
    pthread_t thread;
    bool started;
    bool locked; /* by remote_lane_lock(), whose thread alone looks at it */

    pthread_mutex_t lock; /* guards what follows */
    struct page shown;
    bool has_page; /* of some round */
    char error[ERR_TEXT_MAX];
    bool success;
    uint64_t refreshes, failures;
    uint64_t finished_ms; /* the round of the page */
    uint64_t duration_ns, cpu_ns;
    struct process_state process_state;
};

struct remote_lane {
    struct target *targets;
    size_t count;
    struct left_out *left_out;
    struct health *health;
    atomic_bool stop;
    pthread_mutex_t lock; /* for the condition alone */
    pthread_cond_t wake;  /* the end */
};

static bool
open_targets(struct remote_lane *remotes, const struct exporter_options *options, size_t series_max,
             struct err *err)
{
    size_t at = 0;
    for (size_t class = 0; class < remote_class_count; class ++) {
        size_t count = remote_classes[class]->count(options);
        for (size_t i = 0; i < count; i++, at++) {
            struct target *target = &remotes->targets[at];
            target->owner = remotes;
            target->class = remote_classes[class];
            target->class_index = class;
            target->index = i;
            (void)pthread_mutex_init(&target->lock, NULL);
            page_init(&target->work, series_max);
            page_init(&target->shown, series_max);
            pack_page(&target->work);
            pack_page(&target->shown);
            if (!target->class->open(&target->self, options, i, &target->about, err))
                return false;
            ASSERT(target->about.interval_ms > 0);
        }
    }
    return true;
}

bool
remote_lane_new(struct remote_lane **out, const struct exporter_options *options, size_t series_max,
                struct left_out *left_out, struct health *health, struct err *err)
{
    struct remote_lane *remotes = calloc(1, sizeof(*remotes));
    if (remotes == NULL)
        return err_set(err, ERR_STOP, 0, "cannot start the remote collectors: out of memory");
    *out = remotes;
    remotes->left_out = left_out;
    remotes->health = health;
    (void)pthread_mutex_init(&remotes->lock, NULL);
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&remotes->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    size_t count = 0;
    for (size_t class = 0; class < remote_class_count; class ++)
        count += remote_classes[class]->count(options);
    if (count > TARGETS_MAX)
        return err_set(err, ERR_CONFIG, 0, "there are %zu targets, at most %u", count, TARGETS_MAX);
    remotes->targets = calloc(count + 1, sizeof(*remotes->targets));
    if (remotes->targets == NULL)
        return err_set(err, ERR_STOP, 0, "cannot start the remote collectors: out of memory");
    remotes->count = count;
    return open_targets(remotes, options, series_max, err);
}

/* False: no page came; the one of before is served on. */
static bool
collect(struct target *target, const struct remote_call *call, bool *fine)
{
    target->failure.text[0] = '\0';
    *fine = false;
    if (target->process != NULL)
        return process_round(target->process, call, &target->work, fine, &target->failure);
    page_clear(&target->work);
    *fine = target->class->collect(target->self, call, &target->work, &target->failure);
    page_end(&target->work);
    return true;
}

/* The lock is held. */
static void
show_work(struct target *target)
{
    struct page page = target->shown;
    target->shown = target->work;
    target->work = page;
    target->work.absences = target->shown.absences;
    target->has_page = true;
    target->finished_ms = clock_monotonic_ms();
}

/* One round, and its page shown. */
static void
refresh(struct target *target)
{
    struct remote_lane *remotes = target->owner;
    uint64_t began_ns = clock_monotonic_ns();
    uint64_t cpu_ns = clock_thread_ns();
    struct remote_call call = {
        .stop = &remotes->stop,
        .deadline_ms = clock_monotonic_ms() + target->about.timeout_ms,
    };
    bool fine;
    bool came = collect(target, &call, &fine);
    if (fine && target->work.failed)
        fine = err_set(&target->failure, ERR_RETRY, 0, "the page has more than memory allows");
    left_out_note(remotes->left_out, &target->work);
    struct process_state process_state = {0};
    if (target->process != NULL)
        process_look(target->process, &process_state);
    cpu_ns = clock_thread_ns() - cpu_ns;

    (void)pthread_mutex_lock(&target->lock);
    if (came)
        show_work(target);
    target->success = fine;
    target->refreshes++;
    target->failures += !fine;
    target->process_state = process_state;
    target->duration_ns = clock_monotonic_ns() - began_ns;
    target->cpu_ns += cpu_ns;
    memcpy(target->error, fine ? "" : target->failure.text, fine ? 1 : sizeof(target->error));
    (void)pthread_mutex_unlock(&target->lock);
    if (target->class->readiness && remotes->health != NULL && !atomic_load(&remotes->stop))
        health_set(remotes->health, HEALTH_REMOTE, target->class->name,
                   fine ? NULL : target->failure.text);
}

static void *
target_main(void *argument)
{
    struct target *target = argument;
    struct remote_lane *remotes = target->owner;
    while (!atomic_load(&remotes->stop)) {
        uint64_t next_ms = clock_monotonic_ms() + target->about.interval_ms;
        refresh(target);
        struct timespec next = {
            .tv_sec = (time_t)(next_ms / 1000),
            .tv_nsec = (long)(next_ms % 1000) * 1000000,
        };
        (void)pthread_mutex_lock(&remotes->lock);
        while (!atomic_load(&remotes->stop) &&
               pthread_cond_timedwait(&remotes->wake, &remotes->lock, &next) != ETIMEDOUT)
            continue;
        (void)pthread_mutex_unlock(&remotes->lock);
    }
    return NULL;
}

bool
remote_lane_start(struct remote_lane *remotes, const struct options *loaded, struct err *err)
{
    for (size_t i = 0; i < remotes->count; i++) {
        struct target *target = &remotes->targets[i];
        if (target->class->process != NULL &&
            !process_new(&target->process, target->class, target->index, target->about.target,
                         target->work.series_max, loaded, err))
            return false;
    }
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
    for (size_t i = 0; i < remotes->count; i++) {
        struct target *target = &remotes->targets[i];
        target->started = pthread_create(&target->thread, NULL, target_main, target) == 0;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    for (size_t i = 0; i < remotes->count; i++)
        if (!remotes->targets[i].started)
            return err_set(err, ERR_STOP, 0, "cannot start a thread for %s of collector %s",
                           remotes->targets[i].about.target, remotes->targets[i].class->name);
    return true;
}

/* False: a thread is still in its round. */
static bool
join_all(struct remote_lane *remotes)
{
    bool all = true;
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += END_WAIT_S;
    for (size_t i = 0; i < remotes->count; i++)
        if (remotes->targets[i].started)
            all = pthread_timedjoin_np(remotes->targets[i].thread, NULL, &until) == 0 && all;
    return all;
}

bool
remote_lane_free(struct remote_lane *remotes)
{
    if (remotes == NULL)
        return true;
    (void)pthread_mutex_lock(&remotes->lock);
    atomic_store(&remotes->stop, true);
    (void)pthread_cond_broadcast(&remotes->wake);
    (void)pthread_mutex_unlock(&remotes->lock);
    if (!join_all(remotes))
        return false;
    for (size_t i = 0; i < remotes->count; i++) {
        struct target *target = &remotes->targets[i];
        if (target->class == NULL)
            continue;
        process_free(target->process);
        target->class->close(target->self);
        page_done(&target->work);
        page_done(&target->shown);
        (void)pthread_mutex_destroy(&target->lock);
    }
    free(remotes->targets);
    (void)pthread_cond_destroy(&remotes->wake);
    (void)pthread_mutex_destroy(&remotes->lock);
    free(remotes);
    return true;
}

size_t
remote_lane_count(const struct remote_lane *remotes)
{
    return remotes->count;
}

size_t
remote_lane_class(const struct remote_lane *remotes, size_t index)
{
    ASSERT(index < remotes->count);
    return remotes->targets[index].class_index;
}

/* The lock is held. */
static bool
is_stale(const struct target *target, uint64_t now_ms)
{
    return target->has_page &&
           now_ms - target->finished_ms >
               STALE_ROUNDS * target->about.interval_ms + target->about.timeout_ms;
}

void
remote_lane_state(struct remote_lane *remotes, size_t index, struct remote_state *out)
{
    ASSERT(index < remotes->count);
    struct target *target = &remotes->targets[index];
    (void)pthread_mutex_lock(&target->lock);
    uint64_t now_ms = clock_monotonic_ms();
    bool stale = is_stale(target, now_ms);
    *out = (struct remote_state){
        .collector = target->class->name,
        .target = target->about.target,
        .refreshed = target->refreshes > 0,
        .success = target->success && !stale,
        .has_page = target->has_page,
        .shown = target->has_page && !stale,
        .age_seconds = (double)(now_ms - target->finished_ms) / 1000,
        .duration_seconds = (double)target->duration_ns / 1e9,
        .cpu_seconds = (double)(target->cpu_ns + target->process_state.cpu_ns) / 1e9,
        .refreshes = target->refreshes,
        .failures = target->failures,
        .has_process = target->process != NULL,
        .process = target->process_state,
    };
    for (size_t i = 0; i < target->shown.family_count; i++)
        out->series += target->shown.families[i].series;
    if (target->refreshes == 0)
        (void)snprintf(out->error, sizeof(out->error), "the first round is not over yet");
    else if (stale)
        (void)snprintf(out->error, sizeof(out->error),
                       "%.*s; its last page was of %.0f s ago, and is left out", ERR_TEXT_MAX - 80,
                       target->success ? "has not come back" : target->error, out->age_seconds);
    else
        memcpy(out->error, target->error, sizeof(out->error));
    (void)pthread_mutex_unlock(&target->lock);
}

size_t
remote_lane_lock(struct remote_lane *remotes, const bool *wanted, const struct page **pages,
                 size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < remotes->count; i++) {
        struct target *target = &remotes->targets[i];
        if (count == max || (wanted != NULL && !wanted[target->class_index]))
            continue;
        (void)pthread_mutex_lock(&target->lock);
        target->locked = true;
        if (!target->has_page || is_stale(target, clock_monotonic_ms()))
            continue;
        pages[count++] = &target->shown;
    }
    return count;
}

void
remote_lane_unlock(struct remote_lane *remotes)
{
    for (size_t i = 0; i < remotes->count; i++) {
        struct target *target = &remotes->targets[i];
        if (!target->locked)
            continue;
        target->locked = false;
        (void)pthread_mutex_unlock(&target->lock);
    }
}

const struct page *
remote_lane_round(struct remote_lane *remotes, size_t index, struct buffer *absences)
{
    ASSERT(index < remotes->count);

    struct target *target = &remotes->targets[index];
    target->work.absences = absences;
    refresh(target);
    return target->has_page ? &target->shown : NULL;
}
