/* SPDX-License-Identifier: Apache-2.0 */
/* Liveness and readiness. */
#include "core/health.h"

#include <pthread.h>
#include <stdatomic.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/clock.h"
#include "test/unit/unit.h"

static struct health *
make(uint64_t stuck_after_ms)
{
    struct health *health = NULL;
    struct err err;
    assert_true(health_new(&health, stuck_after_ms, &err));
    return health;
}

static bool
ready_says(struct health *health, bool local_only, const char *text)
{
    struct buffer out;
    buffer_init(&out, 65536);
    bool ready = health_ready(health, local_only, &out);
    assert_string_equal(buffer_string(&out), text);
    buffer_done(&out);
    return ready;
}

static void
conditions_are_reported_until_they_are_fine(void **state)
{
    (void)state;
    struct health *health = make(60000);
    assert_true(ready_says(health, false, "ok\n"));
    health_set(health, HEALTH_REMOTE, "kafka", "cannot reach b-1:9092");
    health_set(health, HEALTH_LOCAL, "state", "no room\nleft");
    assert_false(ready_says(health, false, "kafka: cannot reach b-1:9092\nstate: no room left\n"));
    health_set(health, HEALTH_REMOTE, "kafka", "cannot reach b-2:9092");
    health_set(health, HEALTH_LOCAL, "state", "");
    assert_false(ready_says(health, false, "kafka: cannot reach b-2:9092\n"));
    health_set(health, HEALTH_REMOTE, "kafka", NULL);
    assert_true(ready_says(health, false, "ok\n"));
    health_free(health);
}

static void
remote_conditions_do_not_count_locally(void **state)
{
    (void)state;
    struct health *health = make(60000);
    health_set(health, HEALTH_REMOTE, "kafka", "away");
    assert_true(ready_says(health, true, "ok\n"));
    health_set(health, HEALTH_LOCAL, "state", "full");
    assert_false(ready_says(health, true, "state: full\n"));
    health_free(health);
}

static void
a_loop_without_a_turn_is_not_alive_until_the_next(void **state)
{
    (void)state;
    struct health *health = make(1);
    struct buffer out;
    buffer_init(&out, 1024);
    health_set(health, HEALTH_REMOTE, "kafka", "away"); /* says nothing about being alive */
    for (uint64_t start = clock_monotonic_ms(); clock_monotonic_ms() < start + 3;)
        continue;
    assert_false(health_alive(health, &out));
    assert_non_null(strstr(buffer_string(&out), "has not moved for"));
    buffer_done(&out);
    health_free(health);

    health = make(60000);
    buffer_init(&out, 1024);
    health_beat(health);
    assert_true(health_alive(health, &out));
    assert_string_equal(buffer_string(&out), "ok\n");
    buffer_done(&out);
    health_free(health);
    health_free(NULL);
}

struct race {
    struct health *health;
    atomic_bool stop;
    atomic_uint reads;
};

static void *
read_health(void *context)
{
    struct race *race = context;
    struct buffer out;
    buffer_init(&out, 65536);
    while (!atomic_load(&race->stop)) {
        buffer_clear(&out);
        bool ready = health_ready(race->health, false, &out);
        const char *text = buffer_string(&out);
        assert_string_equal(text, ready                         ? "ok\n"
                                  : strstr(text, "one") != NULL ? "kafka: one one one\n"
                                                                : "kafka: two two two\n");
        buffer_clear(&out);
        assert_true(health_alive(race->health, &out));
        atomic_fetch_add(&race->reads, 1);
    }
    buffer_done(&out);
    return NULL;
}

static void
readers_see_whole_sentences(void **state)
{
    (void)state;
    static const char *const reasons[] = {"one one one", "two two two", NULL};
    struct race race = {.health = make(60000)};
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_health, &race), 0);
    for (unsigned i = 0; atomic_load(&race.reads) < 2000; i++) {
        health_beat(race.health);
        health_set(race.health, HEALTH_REMOTE, "kafka", reasons[i % 3]);
    }
    atomic_store(&race.stop, true);
    assert_int_equal(pthread_join(reader, NULL), 0);
    health_free(race.health);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditions_are_reported_until_they_are_fine),
        cmocka_unit_test(remote_conditions_do_not_count_locally),
        cmocka_unit_test(a_loop_without_a_turn_is_not_alive_until_the_next),
        cmocka_unit_test(readers_see_whole_sentences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
