/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs that hang, and the others, which must not. */
#include "exporters/crew.h"

#include <semaphore.h>
#include <stdatomic.h>

#include "core/clock.h"
#include "test/unit/unit.h"

#define PATIENCE_MS 60000

/* A job that waits until it is let go. */
struct stuck {
    struct crew_job job;
    sem_t go, entered;
    atomic_uint runs;
};

static void
wait_inside(void *context)
{
    struct stuck *stuck = context;
    stuck->runs++;
    (void)sem_post(&stuck->entered);
    while (sem_wait(&stuck->go) != 0)
        continue;
}

static void
count_run(void *context)
{
    unsigned *runs = context;
    ++*runs;
}

static void
wait_idle(struct crew *crew, const struct crew_job *job)
{
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (crew_job_busy(crew, job))
        assert_true(clock_monotonic_ms() < until_ms);
}

static void
job_that_hangs_does_not_stop_the_others(void **state)
{
    (void)state;
    struct crew *crew;
    struct err err;
    unsigned before = 0;
    unsigned after = 0;
    struct stuck stuck = {.job = {.run = wait_inside, .context = &stuck}};
    struct crew_job first = {.run = count_run, .context = &before};
    struct crew_job last = {.run = count_run, .context = &after};
    struct crew_job *jobs[] = {&first, &stuck.job, &last};
    assert_int_equal(sem_init(&stuck.go, 0, 0), 0);
    assert_int_equal(sem_init(&stuck.entered, 0, 0), 0);
    assert_true(crew_new(&crew, &err));
    for (unsigned round = 1; round <= 3; round++) {
        crew_run(crew, jobs, 3, 100, clock_monotonic_ms() + PATIENCE_MS);
        assert_true(first.done);
        assert_false(stuck.job.done);
        assert_true(last.done);
        assert_int_equal(before, round);
        assert_int_equal(after, round);
        assert_true(crew_job_busy(crew, &stuck.job));
    }
    assert_int_equal(stuck.runs, 1); /* no second thread waits for it */

    assert_int_equal(sem_post(&stuck.go), 0);
    wait_idle(crew, &stuck.job);
    assert_false(crew_job_look(crew, &stuck.job).done); /* too late for the run it was in */
    assert_int_equal(sem_post(&stuck.go), 0);
    crew_run(crew, jobs, 3, PATIENCE_MS, clock_monotonic_ms() + PATIENCE_MS);
    assert_true(stuck.job.done);
    assert_int_equal(stuck.runs, 2);
    assert_true(crew_free(crew));
}

static void
run_ends_at_its_deadline(void **state)
{
    (void)state;
    struct crew *crew;
    struct err err;
    unsigned after = 0;
    struct stuck stuck = {.job = {.run = wait_inside, .context = &stuck}};
    struct crew_job last = {.run = count_run, .context = &after};
    struct crew_job *jobs[] = {&stuck.job, &last};
    assert_int_equal(sem_init(&stuck.go, 0, 0), 0);
    assert_int_equal(sem_init(&stuck.entered, 0, 0), 0);
    assert_true(crew_new(&crew, &err));
    crew_run(crew, jobs, 2, PATIENCE_MS, clock_monotonic_ms() + 100);
    assert_false(stuck.job.done);
    assert_false(last.done); /* its turn never came */
    assert_int_equal(after, 0);
    struct crew_job seen = crew_job_look(crew, &stuck.job);
    assert_true(seen.busy);
    assert_false(crew_free(crew)); /* it is left to the thread that hangs */
    assert_int_equal(sem_post(&stuck.go), 0);
    wait_idle(crew, &stuck.job);
    assert_true(crew_free(crew));
}

static void
job_that_is_alone_and_hangs_is_passed_over(void **state)
{
    (void)state;
    struct crew *crew;
    struct err err;
    struct stuck stuck = {.job = {.run = wait_inside, .context = &stuck}};
    struct crew_job *jobs[] = {&stuck.job};
    assert_int_equal(sem_init(&stuck.go, 0, 0), 0);
    assert_int_equal(sem_init(&stuck.entered, 0, 0), 0);
    assert_true(crew_new(&crew, &err));
    crew_run(crew, jobs, 1, 100, clock_monotonic_ms() + PATIENCE_MS);
    crew_run(crew, jobs, 1, PATIENCE_MS, clock_monotonic_ms() + PATIENCE_MS); /* at once */
    assert_int_equal(stuck.runs, 1);
    crew_run(crew, jobs, 0, 100, clock_monotonic_ms() + PATIENCE_MS);
    assert_int_equal(sem_post(&stuck.go), 0);
    wait_idle(crew, &stuck.job);
    assert_true(crew_free(crew));
    assert_true(crew_free(NULL));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(job_that_hangs_does_not_stop_the_others),
        cmocka_unit_test(run_ends_at_its_deadline),
        cmocka_unit_test(job_that_is_alone_and_hangs_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
