/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the data loop. */
#include "core/ask.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "core/assert.h"
#include "core/bounds.h"
#include "core/buffer.h"
#include "core/clock.h"
#include "test/unit/unit.h"

#define ASKERS 4
#define QUESTIONS 300

static struct ask *
make(void)
{
    struct ask *ask = NULL;
    struct err err;
    assert_true(ask_new(&ask, &err));
    return ask;
}

static bool
wait_readable(const struct ask *ask, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = ask_fd(ask), .events = POLLIN};
    return poll(&poll_fd, 1, timeout_ms) == 1;
}

static void
answer_back(void *context, const char *question, struct buffer *out)
{
    (*(unsigned *)context)++;
    buffer_format(out, "you asked %s", question);
}

struct asker {
    struct ask *ask;
    atomic_uint *running;
    unsigned number;
};

static void *
ask_often(void *context)
{
    const struct asker *asker = context;
    for (unsigned i = 0; i < QUESTIONS; i++) {
        char question[32];
        char wanted[48];
        struct err err;
        struct buffer out;
        ASSERT(snprintf(question, sizeof(question), "%u/%u", asker->number, i) > 0);
        ASSERT(snprintf(wanted, sizeof(wanted), "> you asked %s", question) > 0);
        buffer_init(&out, 1024);
        buffer_text(&out, "> ");
        ASSERT(ask_loop(asker->ask, question, &out, &err));
        ASSERT(strcmp(buffer_string(&out), wanted) == 0);
        buffer_done(&out);
    }
    atomic_fetch_sub(asker->running, 1);
    return NULL;
}

static void
every_asker_gets_the_answer_to_its_own_question(void **state)
{
    (void)state;
    struct ask *ask = make();
    atomic_uint running = ASKERS;
    struct asker askers[ASKERS];
    pthread_t threads[ASKERS];
    for (unsigned i = 0; i < ASKERS; i++) {
        askers[i] = (struct asker){ask, &running, i};
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &askers[i]), 0);
    }
    unsigned answered = 0;
    while (atomic_load(&running) > 0)
        if (wait_readable(ask, 10))
            ask_serve(ask, answer_back, &answered);
    for (size_t i = 0; i < ASKERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(answered, ASKERS * QUESTIONS);
    ask_free(ask);
}

static void
a_loop_with_no_question_goes_on_at_once(void **state)
{
    (void)state;
    struct ask *ask = make();
    unsigned answered = 0;
    assert_false(wait_readable(ask, 0));
    ask_serve(ask, answer_back, &answered);
    assert_int_equal(answered, 0);
    ask_free(ask);
    ask_free(NULL);
}

static void
a_stuck_loop_costs_the_asker_a_bounded_wait(void **state)
{
    (void)state;
    struct ask *ask = make();
    struct buffer out;
    struct err err;
    buffer_init(&out, 1024);
    uint64_t start_ms = clock_monotonic_ms();
    assert_false(ask_loop(ask, "anybody?", &out, &err));
    assert_true(clock_monotonic_ms() - start_ms >= ASK_TIMEOUT_MS);
    assert_int_equal(err.action, ERR_RETRY);
    assert_non_null(strstr(err.text, "stuck"));
    assert_int_equal(out.size, 0);

    unsigned answered = 0; /* the loop wakes up, and nobody waits any more */
    assert_true(wait_readable(ask, 0));
    ask_serve(ask, answer_back, &answered);
    assert_int_equal(answered, 0);
    assert_false(wait_readable(ask, 0));
    buffer_done(&out);
    ask_free(ask);
}

struct slow {
    atomic_bool asked_again;
    struct ask *ask;
};

/* Answers the first question only when its asker has given up. */
static void
answer_slowly(void *context, const char *question, struct buffer *out)
{
    struct slow *slow = context;
    while (strcmp(question, "slow") == 0 && !atomic_load(&slow->asked_again))
        (void)poll(NULL, 0, 1);
    buffer_format(out, "answer to %s", question);
}

static void *
serve_two(void *context)
{
    struct slow *slow = context;
    for (int i = 0; i < 2; i++) {
        ASSERT(wait_readable(slow->ask, 60000));
        ask_serve(slow->ask, answer_slowly, slow);
    }
    return NULL;
}

static void
a_late_answer_is_not_given_to_the_next_question(void **state)
{
    (void)state;
    struct slow slow = {.ask = make()};
    struct buffer out;
    struct err err;
    pthread_t loop;
    buffer_init(&out, 1024);
    assert_int_equal(pthread_create(&loop, NULL, serve_two, &slow), 0);
    assert_false(ask_loop(slow.ask, "slow", &out, &err));
    atomic_store(&slow.asked_again, true);
    assert_true(ask_loop(slow.ask, "quick", &out, &err));
    assert_string_equal(buffer_string(&out), "answer to quick");
    assert_int_equal(pthread_join(loop, NULL), 0);
    buffer_done(&out);
    ask_free(slow.ask);
}

static void *
serve_one(void *context)
{
    struct slow *slow = context;
    ASSERT(wait_readable(slow->ask, 60000));
    ask_serve(slow->ask, answer_slowly, slow);
    return NULL;
}

static void
an_answer_that_does_not_fit_is_an_error_not_a_part(void **state)
{
    (void)state;
    struct slow slow = {.ask = make(), .asked_again = true};
    struct buffer out;
    struct err err;
    pthread_t loop;
    buffer_init(&out, 5);
    assert_int_equal(pthread_create(&loop, NULL, serve_one, &slow), 0);
    assert_false(ask_loop(slow.ask, "long", &out, &err));
    assert_int_equal(err.action, ERR_REJECT);
    assert_int_equal(pthread_join(loop, NULL), 0);
    buffer_done(&out);
    ask_free(slow.ask);
}

static void
nobody_waits_for_a_loop_that_has_ended(void **unused)
{
    (void)unused;
    struct ask *ask = make();
    struct buffer out;
    struct err err;
    buffer_init(&out, 64);
    ask_close(ask);
    assert_false(ask_loop(ask, "anything", &out, &err));
    assert_int_equal(err.action, ERR_RETRY);
    assert_string_equal(err.text, "the program is stopping");
    buffer_done(&out);
    ask_free(ask);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_asker_gets_the_answer_to_its_own_question),
        cmocka_unit_test(a_loop_with_no_question_goes_on_at_once),
        cmocka_unit_test(a_stuck_loop_costs_the_asker_a_bounded_wait),
        cmocka_unit_test(a_late_answer_is_not_given_to_the_next_question),
        cmocka_unit_test(nobody_waits_for_a_loop_that_has_ended),
        cmocka_unit_test(an_answer_that_does_not_fit_is_an_error_not_a_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
