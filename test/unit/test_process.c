/* SPDX-License-Identifier: Apache-2.0 */
/* A target's rounds in a process of their own, with a collector that can do everything wrong. This
 * program is the process, too: see main(). */
#include "exporters/process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "exporters/options.h"
#include "exporters/pack.h"
#include "exporters/page.h"
#include "exporters/page_wire.h"
#include "exporters/remote.h"
#include "test/unit/unit.h"

#define PATIENCE_MS 30000

/* What a target does, by its index. */
enum deed {
    ANSWER,
    REFUSE,
    SAY,
    ABORT_SECOND,
    ABORT_FIRST,
    HANG_SECOND,
    LEAVE_SECOND,
    LIE_SECOND,
    FAIL_TO_OPEN,
};

struct fake {
    const struct exporter_options *options;
    enum deed deed;
    unsigned rounds;
    unsigned descriptors;
};

static bool
open_fake(void **out, const struct exporter_options *options, size_t index,
          struct remote_about *about, struct err *err)
{
    static struct fake fake;
    (void)about;
    fake = (struct fake){.options = options, .deed = (enum deed)index};
    for (int fd = 0; fd < 1024; fd++)
        fake.descriptors += fcntl(fd, F_GETFD) >= 0;
    *out = &fake;
    return index != FAIL_TO_OPEN || err_set(err, ERR_CONFIG, 0, "it will not be opened");
}

static void
close_fake(void *self)
{
    (void)self;
}

static bool
collect_fake(void *self, const struct remote_call *call, struct page *page, struct err *err)
{
    static char damage[4096];
    struct fake *fake = self;
    bool second = ++fake->rounds == 2;
    if (fake->deed == ABORT_FIRST || (fake->deed == ABORT_SECOND && second)) {
        (void)dprintf(STDERR_FILENO, "=====\n*** assertion \"x > 0\" failed ***\nmore\n");
        abort();
    }
    if (fake->deed == SAY)
        (void)dprintf(STDERR_FILENO, "round %u\n", fake->rounds);
    while (fake->deed == HANG_SECOND && second)
        (void)pause();
    if (fake->deed == LEAVE_SECOND && second)
        _exit(7);
    if (fake->deed == LIE_SECOND && second) {
        (void)send(STDIN_FILENO, damage, sizeof(damage), 0);
        (void)pause();
    }
    page_family(page, "fake_rounds", PAGE_GAUGE, "Rounds of this process.");
    page_sample(page, fake->rounds, "topics", fake->options->kafka.topics, NULL);
    page_gauge(page, "fake_descriptors", "Open ones.", fake->descriptors);
    page_gauge(page, "fake_has_time", "", call->deadline_ms > clock_monotonic_ms());
    page_gauge(page, "fake_pid", "", getpid());
    return fake->deed != REFUSE || err_set(err, ERR_RETRY, 0, "the target says no");
}

static const struct remote_class fake_class = {
    .name = "fake",
    .open = open_fake,
    .collect = collect_fake,
    .close = close_fake,
    .process = "a known fault of fakes",
};

/* A process and what its last round gave. */
struct test {
    struct options *loaded;
    struct process *process;
    struct page page;
    struct err err;
    bool fine;
};

static void
begin(struct test *test, enum deed deed)
{
    static const char text[] = "kafka: {topics: 'a$$'}\n";
    struct err err = {0};
    *test = (struct test){.fine = false};
    page_init(&test->page, 100);
    assert_true(options_parse(&test->loaded, &exporter_options_schema, "test", text,
                              sizeof(text) - 1, &err));
    assert_true(process_new(&test->process, &fake_class, deed, "here", 100, test->loaded, &err));
}

static void
end(struct test *test)
{
    process_free(test->process);
    options_free(test->loaded);
    page_done(&test->page);
}

static bool
run_within(struct test *test, uint64_t timeout_ms)
{
    static const atomic_bool stop = false;
    struct remote_call call = {.stop = &stop, .deadline_ms = clock_monotonic_ms() + timeout_ms};
    test->err = (struct err){0};
    return process_round(test->process, &call, &test->page, &test->fine, &test->err);
}

static void
assert_page(struct test *test, unsigned rounds)
{
    const struct page *pages[] = {&test->page};
    struct buffer text;
    char wanted[300];
    (void)snprintf(wanted, sizeof(wanted),
                   "# HELP fake_rounds Rounds of this process.\n# TYPE fake_rounds gauge\n"
                   "fake_rounds{topics=\"a$\"} %u\n",
                   rounds);
    buffer_init(&text, 1 << 20);
    page_render(pages, 1, METRIC_PAGE_TEXT, NULL, &text);
    if (strncmp(buffer_string(&text), wanted, strlen(wanted)) != 0)
        fail_msg("%s is not %s", buffer_string(&text), wanted);
    assert_non_null(strstr(buffer_string(&text), "\nfake_has_time 1\n"));
    buffer_done(&text);
}

static void
assert_round(struct test *test, unsigned rounds)
{
    if (!run_within(test, PATIENCE_MS))
        fail_msg("%s", test->err.text);
    assert_page(test, rounds);
}

static pid_t
pid_of(struct test *test)
{
    test->page.samples.bytes[test->page.samples.size - 1] = '\0';
    return (pid_t)strtol(strrchr(test->page.samples.bytes, ' '), NULL, 10);
}

static void
assert_says(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("'%s' does not say '%s'", text, part);
}

static struct process_state
look(struct test *test)
{
    struct process_state state;
    process_look(test->process, &state);
    return state;
}

static void
page_and_error_come_from_one_process_round_by_round(void **state)
{
    (void)state;
    struct test test;
    begin(&test, ANSWER);
    for (unsigned i = 1; i <= 3; i++) {
        assert_round(&test, i);
        assert_true(test.fine);
    }
    assert_int_equal(look(&test).ends, 0);
    assert_int_equal(look(&test).news_count, 0);
    assert_true(look(&test).cpu_ns > 0);
    assert_true(look(&test).resident_bytes > 0);
    end(&test);

    begin(&test, REFUSE);
    assert_round(&test, 1);
    assert_false(test.fine);
    assert_string_equal(test.err.text, "the target says no");
    end(&test);
}

static void
nothing_but_its_own_descriptors_is_open_in_it(void **state)
{
    (void)state;
    struct test test;
    struct buffer text;
    int inherited = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */
    assert_true(inherited >= 0);
    begin(&test, ANSWER);
    assert_round(&test, 1);
    buffer_init(&text, 1 << 20);
    const struct page *pages[] = {&test.page};
    page_render(pages, 1, METRIC_PAGE_TEXT, NULL, &text);
    assert_non_null(strstr(buffer_string(&text), "\nfake_descriptors 3\n"));
    buffer_done(&text);
    end(&test);
    (void)close(inherited);
}

static void
what_it_says_is_news(void **state)
{
    (void)state;
    struct test test;
    begin(&test, SAY);
    assert_round(&test, 1);
    assert_string_equal(look(&test).news, "round 1");
    assert_round(&test, 2);
    assert_string_equal(look(&test).news, "round 2");
    assert_int_equal(look(&test).news_count, 2);
    assert_int_equal(look(&test).ends, 0);
    end(&test);
}

/* The second round fails, and the third one is the first of another process. */
static void
assert_second_costs_one_round(enum deed deed, uint64_t timeout_ms, const char *text)
{
    struct test test;
    begin(&test, deed);
    assert_round(&test, 1);
    uint64_t cpu_ns = look(&test).cpu_ns;
    assert_false(run_within(&test, timeout_ms));
    assert_false(test.fine);
    assert_says(test.err.text, text);
    assert_says(test.err.text, "; it is started again");
    assert_int_equal(look(&test).ends, 1);
    assert_string_equal(look(&test).news, test.err.text);
    assert_true(look(&test).cpu_ns >= cpu_ns);
    assert_round(&test, 1);
    assert_true(test.fine);
    assert_int_equal(look(&test).ends, 1);
    end(&test);
}

static void
process_that_aborts_costs_one_round_and_says_why(void **state)
{
    (void)state;
    assert_second_costs_one_round(
        ABORT_SECOND, PATIENCE_MS,
        "was ended by SIGABRT (*** assertion \"x > 0\" failed ***), a known fault of fakes;");
}

static void
process_that_hangs_costs_one_round(void **state)
{
    (void)state;
    assert_second_costs_one_round(HANG_SECOND, 1, "did not answer within 2.");
}

static void
process_that_ends_by_itself_costs_one_round(void **state)
{
    (void)state;
    assert_second_costs_one_round(LEAVE_SECOND, PATIENCE_MS, "ended with status 7;");
}

static void
answer_that_is_none_is_not_believed(void **state)
{
    (void)state;
    assert_second_costs_one_round(LIE_SECOND, PATIENCE_MS, "gave an answer that is none;");
}

static void
process_that_dies_between_two_rounds_costs_none(void **state)
{
    (void)state;
    struct test test;
    siginfo_t info;
    begin(&test, ANSWER);
    assert_round(&test, 1);
    assert_int_equal(kill(pid_of(&test), SIGKILL), 0);
    assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0); /* it is dead by now */
    assert_round(&test, 1);
    assert_true(test.fine);
    assert_int_equal(look(&test).ends, 1);
    assert_says(look(&test).news, "was ended by SIGKILL; it is started again");
    end(&test);
}

static void
process_that_never_lives_through_a_round_is_left_alone_for_a_while(void **state)
{
    (void)state;
    struct test test;
    begin(&test, ABORT_FIRST);
    assert_false(run_within(&test, PATIENCE_MS));
    assert_false(run_within(&test, PATIENCE_MS));
    assert_int_equal(look(&test).ends, 2);
    assert_false(run_within(&test, PATIENCE_MS));
    assert_int_equal(look(&test).ends, 2); /* it was not started */
    assert_says(test.err.text, "SIGABRT");
    assert_says(test.err.text, "it is started again, in 1 s");
    end(&test);

    begin(&test, FAIL_TO_OPEN);
    assert_false(run_within(&test, PATIENCE_MS));
    assert_says(test.err.text, "ended with status 1 (it will not be opened);");
    end(&test);
}

static void
stop_of_the_program_does_not_wait_for_it(void **state)
{
    (void)state;
    struct test test;
    begin(&test, HANG_SECOND);
    assert_round(&test, 1);
    const atomic_bool stop = true;
    struct remote_call call = {.stop = &stop, .deadline_ms = UINT64_MAX / 2};
    assert_false(process_round(test.process, &call, &test.page, &test.fine, &test.err));
    assert_string_equal(test.err.text, "the program stops");
    assert_int_equal(look(&test).ends, 0);
    end(&test);
}

/* ---- the page on its way ---- */

static void
carry(const struct page *from, struct page *to, struct page_wire *wire)
{
    struct page_wire_part out[PAGE_WIRE_PARTS];
    struct page_wire_part in[PAGE_WIRE_PARTS];
    page_wire_of(from, wire, out);
    assert_true(page_wire_room(to, wire, in));
    for (size_t i = 0; i < PAGE_WIRE_PARTS; i++) {
        assert_int_equal(in[i].size, out[i].size);
        if (out[i].size > 0)
            memcpy(in[i].bytes, out[i].bytes, out[i].size);
    }
}

/* A label that fills a quarter of a piece. */
static const char *
long_text(void)
{
    static char text[PAGE_PIECE_SIZE / 4];
    memset(text, 'x', sizeof(text) - 1);
    return text;
}

static void
page_that_points_outside_of_itself_is_refused(void **state)
{
    (void)state;
    struct page from;
    struct page to;
    struct page_wire wire;
    struct page_wire_part parts[PAGE_WIRE_PARTS];
    page_init(&from, 10);
    page_init(&to, 10);
    pack_page(&from);
    page_gauge(&from, "one", "", 1);
    page_family(&from, "two", PAGE_GAUGE, "");
    for (size_t i = 0; i < 10; i++)
        page_sample(&from, 1, "long", long_text(), NULL);
    page_end(&from);
    assert_true(from.piece_count > 1);
    carry(&from, &to, &wire);
    assert_true(page_wire_accept(&to));
    for (int damage = 0; damage < 10; damage++) {
        carry(&from, &to, &wire);
        struct page_family *family = &to.families[1];
        struct page_piece *piece = &to.pieces[to.piece_count - 1];
        if (damage == 0)
            family->name = to.words.size;
        else if (damage == 1)
            family->help = SIZE_MAX;
        else if (damage == 2)
            family->start = family->end + 1;
        else if (damage == 3)
            family->end = to.samples.size + 1;
        else if (damage == 4)
            family->type = (enum page_type)77;
        else if (damage == 5)
            family->last_piece = to.piece_count + 1;
        else if (damage == 6)
            family->first_piece = family->last_piece + 1;
        else if (damage == 7)
            piece->end++;
        else if (damage == 8)
            piece->start = piece->end + 1;
        else
            to.words.bytes[to.words.size - 1] = 'x';
        assert_false(page_wire_accept(&to));
        assert_int_equal(to.family_count, 0);
    }
    for (size_t i = 0; i < PAGE_WIRE_PARTS; i++) {
        struct page_wire bad = wire;
        bad.sizes[i] = UINT64_MAX / 2;
        assert_false(page_wire_room(&to, &bad, parts));
        assert_int_equal(to.family_count, 0);
    }
    page_done(&from);
    page_done(&to);
}

int
main(int argc, char **argv)
{
    static const struct remote_class *const classes[] = {&fake_class};
    if (argc > 1 && strcmp(argv[1], PROCESS_VERB) == 0)
        return process_main(classes, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_and_error_come_from_one_process_round_by_round),
        cmocka_unit_test(nothing_but_its_own_descriptors_is_open_in_it),
        cmocka_unit_test(what_it_says_is_news),
        cmocka_unit_test(process_that_aborts_costs_one_round_and_says_why),
        cmocka_unit_test(process_that_hangs_costs_one_round),
        cmocka_unit_test(process_that_ends_by_itself_costs_one_round),
        cmocka_unit_test(answer_that_is_none_is_not_believed),
        cmocka_unit_test(process_that_dies_between_two_rounds_costs_none),
        cmocka_unit_test(process_that_never_lives_through_a_round_is_left_alone_for_a_while),
        cmocka_unit_test(stop_of_the_program_does_not_wait_for_it),
        cmocka_unit_test(page_that_points_outside_of_itself_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
