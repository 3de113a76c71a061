/* SPDX-License-Identifier: Apache-2.0 */
/* test_dead_letters.c: the verb's words, letters and filters, and the memory of what was sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "sinks/replay/ledger.h"
#include "sinks/replay/letter.h"
#include "sinks/replay/print.h"
#include "sinks/replay/request.h"

#define WORDS_MAX 8

static bool
parse(struct replay_request *request, struct err *err, const char *const *words)
{
    char copies[WORDS_MAX][64];
    char *argv[WORDS_MAX];
    int argc = 0;
    for (; words[argc] != NULL; argc++) {
        (void)snprintf(copies[argc], sizeof(copies[argc]), "%s", words[argc]);
        argv[argc] = copies[argc];
    }
    bool fine = replay_request_parse(request, argc, argv, err);
    /* The texts end with this function. */
    if (fine && request->topic != NULL)
        assert_string_equal(request->topic, "logs");
    if (fine && request->reason != NULL)
        assert_string_equal(request->reason, "mapper parsing");
    return fine;
}

static void
a_replay_with_all_its_words_is_understood(void **state)
{
    (void)state;
    struct replay_request request;
    struct err err;
    assert_true(parse(&request, &err,
                      (const char *const[]){"replay", "--topic", "logs", "--since=2h", "--reason",
                                            "mapper parsing", "--dry-run", NULL}));
    assert_int_equal(request.action, REPLAY_SEND);
    assert_int_equal(request.since_ms, 7200000);
    assert_non_null(request.topic);
    assert_non_null(request.reason);
    assert_true(request.dry_run);
    assert_true(request.open);
    assert_false(request.json);
    assert_true(parse(&request, &err, (const char *const[]){"replay", "--again", NULL}));
    assert_false(request.open);
    assert_true(parse(&request, &err, (const char *const[]){"list", "--open", "--json", NULL}));
    assert_true(request.open && request.json);
    assert_true(parse(&request, &err, (const char *const[]){"count", NULL}));
    assert_false(request.open);
}

static void
words_that_make_no_sense_are_refused_with_a_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *words[4];
        const char *text;
    } cases[] = {
        {{NULL}, "wants list, count or replay"},
        {{"repaly"}, "did you mean 'replay'?"},
        {{"--topic", "x"}, "wants list, count or replay first"},
        {{"list", "--topic"}, "--topic wants a value"},
        {{"list", "--topic="}, "--topic is empty"},
        {{"list", "--since", "0"}, "--since wants more than 0"},
        {{"list", "--since", "soon"}, "--since: "},
        {{"list", "--jsno"}, "did you mean '--json'?"},
        {{"list", "everything"}, "takes no 'everything'"},
        {{"count", "--dry-run"}, "--dry-run goes with replay alone"},
        {{"replay", "--open", "--again"}, "exclude each other"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct replay_request request;
        struct err err;
        assert_false(parse(&request, &err, cases[i].words));
        assert_int_equal(err.action, ERR_CONFIG);
        if (strstr(err.text, cases[i].text) == NULL)
            fail_msg("'%s' does not say '%s'", err.text, cases[i].text);
    }
}

static void
a_letter_is_chosen_by_topic_reason_id_and_time(void **state)
{
    (void)state;
    struct letter letter = {
        .id = "t1.a",
        .id_size = 4,
        .topic = "logs",
        .reason = "Mapper_Parsing_Exception: field [amount]",
        .time_ms = 1000000,
    };
    assert_true(letter_matches(&letter, &(struct replay_request){0}, 0));
    assert_true(letter_matches(&letter, &(struct replay_request){.topic = "logs"}, 0));
    assert_false(letter_matches(&letter, &(struct replay_request){.topic = "log"}, 0));
    assert_true(letter_matches(&letter, &(struct replay_request){.reason = "parsing_exc"}, 0));
    assert_false(letter_matches(&letter, &(struct replay_request){.reason = "timeout"}, 0));
    assert_true(letter_matches(&letter, &(struct replay_request){.id = "t1.a"}, 0));
    assert_false(letter_matches(&letter, &(struct replay_request){.id = "t1."}, 0));
    struct replay_request since = {.since_ms = 5000};
    assert_true(letter_matches(&letter, &since, 1005000));
    assert_false(letter_matches(&letter, &since, 1005001));
    since.since_ms = UINT64_MAX;
    assert_true(letter_matches(&letter, &since, 1005001));
}

static void
assert_class(const char *reason, const char *wanted)
{
    struct buffer out;
    buffer_init(&out, 1024);
    letter_class(&out, reason);
    assert_string_equal(buffer_string(&out), wanted);
    buffer_done(&out);
}

static void
reasons_of_one_kind_are_counted_together(void **state)
{
    (void)state;
    assert_class("failed to parse field [amount2] in document with id 't1.07'. Preview: 'many'",
                 "failed to parse field [amount2] in document with id '…'. Preview: '…'");
    assert_class("at most 32766 in length; got 40000.", "at most N in length; got N.");
    assert_class("field [http2] of 10.0.0.1, v1", "field [http2] of 10.0.0.1, v1");
    assert_class("it's open: 'to the end", "it's open: 'to the end");
    assert_class("", "");
    assert_class("413", "N");
}

static void
the_ledger_knows_what_was_added_and_nothing_else(void **state)
{
    (void)state;
    enum { SPACE = 400 };
    unsigned random = 7;
    for (int round = 0; round < 200; round++) {
        struct ledger ledger;
        ledger_init(&ledger);
        bool wanted[SPACE] = {false};
        for (int i = 0; i < 60; i++) {
            random = random * 1103515245 + 12345;
            int64_t first = (random >> 8) % (SPACE - 20);
            int64_t end = first + (random >> 20) % 9;
            assert_true(ledger_add(&ledger, first, end));
            for (int64_t at = first; at < end; at++)
                wanted[at] = true;
        }
        char text[LEDGER_TEXT_SIZE];
        uint64_t left;
        int64_t committed = ledger_write(&ledger, text, &left);
        assert_int_equal(left, 0);
        struct ledger again;
        ledger_init(&again);
        assert_true(ledger_read(&again, committed, text, strlen(text)));
        assert_int_equal(again.count, ledger.count);
        for (int64_t at = 0; at < SPACE; at++) {
            assert_int_equal(ledger_has(&ledger, at), wanted[at]);
            assert_int_equal(ledger_has(&again, at), wanted[at]);
        }
        for (size_t i = 1; i < ledger.count; i++)
            assert_true(ledger.ranges[i - 1].end < ledger.ranges[i].first);
        ledger_done(&again);
        ledger_done(&ledger);
    }
}

static void
what_does_not_fit_into_the_ledgers_text_is_counted(void **state)
{
    (void)state;
    struct ledger ledger;
    ledger_init(&ledger);
    for (int64_t at = 10; at < 10010; at += 2)
        assert_true(ledger_add(&ledger, at, at + 1));
    char text[LEDGER_TEXT_SIZE];
    uint64_t left;
    assert_int_equal(ledger_write(&ledger, text, &left), 0);
    assert_true(strlen(text) < LEDGER_TEXT_SIZE);
    struct ledger again;
    ledger_init(&again);
    assert_true(ledger_read(&again, 0, text, strlen(text)));
    assert_int_equal(again.count + left, 5000);
    assert_true(again.count > 900);
    ledger_done(&again);
    ledger_done(&ledger);
}

static void
the_largest_ranges_are_read_back_as_they_were_written(void **state)
{
    (void)state;
    static const struct ledger_range ranges[] = {{1, INT64_MAX}, {INT64_MAX - 1, INT64_MAX}};
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        struct ledger ledger;
        struct ledger again;
        ledger_init(&ledger);
        ledger_init(&again);
        assert_true(ledger_add(&ledger, ranges[i].first, ranges[i].end));
        char text[LEDGER_TEXT_SIZE];
        uint64_t left;
        assert_int_equal(ledger_write(&ledger, text, &left), 0);
        assert_true(ledger_read(&again, 0, text, strlen(text)));
        assert_int_equal(again.count, 1);
        assert_int_equal(again.ranges[0].first, ranges[i].first);
        assert_int_equal(again.ranges[0].end, ranges[i].end);
        ledger_done(&again);
        ledger_done(&ledger);
    }
}

static void
a_damaged_ledger_text_forgets_but_invents_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "r2:1.1,",
                                        "r1:",
                                        "r1:1",
                                        "r1:1.",
                                        "r1:.1,",
                                        "r1:1,1.",
                                        "r1:-1.1,",
                                        "r1:1.G,",
                                        "1.1,",
                                        "r1:fffffffffffffffff.1,",
                                        "r1:7fffffffffffffff.7fffffffffffffff,"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct ledger ledger;
        ledger_init(&ledger);
        assert_true(ledger_read(&ledger, 5, texts[i], strlen(texts[i])));
        assert_int_equal(ledger.count, 1);
        assert_true(ledger_has(&ledger, 4));
        assert_false(ledger_has(&ledger, 5));
        ledger_done(&ledger);
    }
    struct ledger ledger;
    ledger_init(&ledger);
    assert_true(ledger_read(&ledger, -1, "r1:1.1,", 7)); /* nothing was ever committed */
    assert_int_equal(ledger.count, 0);
    ledger_done(&ledger);
}

static void
a_letter_of_anybodys_bytes_stays_on_its_lines(void **state)
{
    (void)state;
    struct letter letter = {
        .id = "t1.\033[2J",
        .id_size = 7,
        .topic = "logs",
        .index = "docs",
        .reason = "line\nfeed",
        .value = "{\"a\":\"\033]0;x\007\n\xff\"}",
        .value_size = 16,
        .cut_from = -1,
    };
    struct print_place place = {.topic = "logs.dlq", .offset = 7};
    struct buffer out;
    buffer_init(&out, 4096);
    print_letter(&out, &letter, &place);
    print_letter_json(&out, &letter, &place);
    assert_null(strchr(buffer_string(&out), '\033'));
    size_t lines = 0;
    for (size_t i = 0; i < out.size; i++)
        lines += out.bytes[i] == '\n' ? 1 : 0;
    assert_int_equal(lines, 7);
    assert_non_null(strstr(buffer_string(&out), "\"reason\":\"line\\nfeed\""));
    buffer_done(&out);
}

static void
groups_beyond_the_bound_are_counted_together(void **state)
{
    (void)state;
    struct tally *tally = calloc(1, sizeof(*tally));
    assert_non_null(tally);
    for (unsigned i = 0; i < TALLY_GROUPS_MAX + 500; i++) {
        char reason[32];
        (void)snprintf(reason, sizeof(reason), "x%u", i);
        struct letter letter = {.topic = "logs", .reason = reason, .time_ms = i};
        assert_true(tally_add(tally, &letter, i % 2 == 0));
    }
    assert_int_equal(tally->count, TALLY_GROUPS_MAX);
    struct buffer out;
    buffer_init(&out, 1024 * 1024);
    tally_print(tally, true, &out);
    static const char first[] = "{\"letters\":501,\"sent_back\":250,\"topic\":\"(others)\"";
    assert_memory_equal(buffer_string(&out), first, sizeof(first) - 1);
    buffer_done(&out);
    tally_done(tally);
    free(tally);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replay_with_all_its_words_is_understood),
        cmocka_unit_test(words_that_make_no_sense_are_refused_with_a_sentence),
        cmocka_unit_test(a_letter_is_chosen_by_topic_reason_id_and_time),
        cmocka_unit_test(reasons_of_one_kind_are_counted_together),
        cmocka_unit_test(the_ledger_knows_what_was_added_and_nothing_else),
        cmocka_unit_test(the_largest_ranges_are_read_back_as_they_were_written),
        cmocka_unit_test(what_does_not_fit_into_the_ledgers_text_is_counted),
        cmocka_unit_test(a_damaged_ledger_text_forgets_but_invents_nothing),
        cmocka_unit_test(a_letter_of_anybodys_bytes_stays_on_its_lines),
        cmocka_unit_test(groups_beyond_the_bound_are_counted_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
