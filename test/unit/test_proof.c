/* SPDX-License-Identifier: Apache-2.0 */
/* test_proof.c: sinks/receipts/receipt.c and proof.c: receipts read, and what they say beside what
 * was found. */
#include <stdio.h>
#include <stdlib.h>

#include "test/unit/unit.h"

#include "core/buffer.h"
#include "sinks/receipts/print.h"
#include "sinks/receipts/proof.h"

#define LIFE "6b01c9211fbb25b127756edb"

static void
write_receipt(char *out, size_t size, uint64_t from, uint64_t to, uint64_t events,
              const char *place)
{
    int written = snprintf(
        out, size,
        "{\"@timestamp\":\"2026-11-21T16:38:57.459Z\",\"host.name\":\"h\",\"log.file.path\":\"/a\","
        "\"receipt\":{\"version\":1,\"generation\":\"" LIFE
        "\",\"input\":\"i\",\"topic\":\"t\",\"from\":%llu,\"to\":%llu,\"events\":%llu,\"lines\":"
        "%llu,\"parts\":0,\"empty\":1,\"zeros\":0,\"since\":1795279137242%s}}",
        (unsigned long long)from, (unsigned long long)to, (unsigned long long)events,
        (unsigned long long)events, place);
    assert_true(written > 0 && (size_t)written < size);
}

static void
add(struct proof *proof, uint64_t from, uint64_t to, uint64_t events)
{
    char text[512];
    struct receipt receipt;
    write_receipt(text, sizeof(text), from, to, events, ",\"partition\":3,\"first\":5,\"last\":9");
    assert_true(receipt_read(&receipt, text, strlen(text)));
    assert_true(receipt.placed);
    assert_true(proof_add_receipt(proof, &receipt));
    receipt_done(&receipt);
}

static struct life *
the_life(struct proof *proof)
{
    struct generation_id id;
    assert_true(generation_id_parse(LIFE, &id));
    struct life *life = proof_find(proof, id);
    assert_non_null(life);
    return life;
}

/* Events of 10 bytes from `from` on. */
static void
hold(struct proof *proof, struct life *life, uint64_t from, uint64_t to)
{
    for (uint64_t at = from; at < to; at += 10)
        assert_true(life_add_event(proof, life, at, at * 7));
}

static void
set_all(struct life *life, enum event_state state)
{
    for (size_t i = 0; i < life->event_count; i++)
        life->events[i].state = state;
}

static void
a_receipt_without_a_place_is_one_and_nonsense_is_none(void **context)
{
    (void)context;
    struct receipt receipt;
    char text[512];
    write_receipt(text, sizeof(text), 0, 100, 10, "");
    assert_true(receipt_read(&receipt, text, strlen(text)));
    assert_false(receipt.placed);
    assert_string_equal(receipt.topic, "t");
    receipt_done(&receipt);
    static const struct {
        uint64_t from, to, events;
        const char *place;
    } wrong[] = {
        {100, 100, 0, ""},
        {100, 50, 1, ""},
        {0, 100, 101, ""},
        {0, 100, 10, ",\"partition\":0,\"first\":9,\"last\":5"},
        {0, 100, 10, ",\"version\":1,\"partition\":99999999999,\"first\":1,\"last\":5"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        write_receipt(text, sizeof(text), wrong[i].from, wrong[i].to, wrong[i].events,
                      wrong[i].place);
        assert_false(receipt_read(&receipt, text, strlen(text)));
    }
    assert_false(receipt_read(&receipt, "{}", 2));
    assert_false(receipt_read(&receipt, NULL, 0));
    static char deep[60000];
    memset(deep, '[', sizeof(deep));
    assert_false(receipt_read(&receipt, deep, sizeof(deep)));
}

static void
the_longer_of_two_with_one_beginning_holds(void **context)
{
    (void)context;
    struct proof proof = {0};
    add(&proof, 0, 100, 10);
    add(&proof, 100, 150, 5);
    add(&proof, 100, 300, 20); /* after a crash */
    add(&proof, 0, 100, 10);   /* twice */
    proof_sort_receipts(&proof);
    struct life *life = the_life(&proof);
    assert_int_equal(life->range_count, 2);
    hold(&proof, life, 0, 300);
    hold(&proof, life, 200, 300); /* repeats */
    life_sort_events(&proof, life);
    assert_int_equal(proof.event_count, 30);
    set_all(life, EVENT_INDEXED);
    struct verdict verdict = life_judge(life);
    assert_int_equal(verdict.promised, 30);
    assert_int_equal(verdict.indexed, 30);
    assert_int_equal(verdict.lines, 30);
    assert_true(verdict_is_fine(&verdict));
    proof_done(&proof);
}

static void
what_is_not_indexed_is_told_by_its_bytes(void **context)
{
    (void)context;
    struct proof proof = {0};
    add(&proof, 0, 100, 10);
    proof_sort_receipts(&proof);
    struct life *life = the_life(&proof);
    hold(&proof, life, 0, 100);
    life_sort_events(&proof, life);
    set_all(life, EVENT_INDEXED);
    life->events[2].state = life->events[3].state = EVENT_MISSING;
    life->events[9].state = EVENT_MISSING;
    life->events[5].state = EVENT_LETTER;
    life->events[6].state = EVENT_WAITING;
    struct verdict verdict = life_judge(life);
    assert_int_equal(verdict.missing, 3);
    assert_int_equal(verdict.letters, 1);
    assert_int_equal(verdict.waiting, 1);
    assert_false(verdict_is_fine(&verdict));
    size_t at = 0;
    uint64_t from;
    uint64_t to;
    uint64_t events;
    assert_true(life_next_run(life, EVENT_MISSING, &at, &from, &to, &events));
    assert_true(from == 20 && to == 40 && events == 2);
    assert_true(life_next_run(life, EVENT_MISSING, &at, &from, &to, &events));
    assert_true(from == 90 && to == 100 && events == 1);
    assert_false(life_next_run(life, EVENT_MISSING, &at, &from, &to, &events));
    struct buffer text;
    buffer_init(&text, 4096);
    print_life(&text, life, &verdict);
    assert_non_null(strstr(buffer_string(&text), "10 events: 5 indexed, 1 dead letters, 1 not "
                                                 "finished by the sink yet, 3 NOT INDEXED\n"));
    assert_non_null(strstr(buffer_string(&text), "NOT INDEXED: bytes 20..40, 2 events"));
    buffer_done(&text);
    proof_done(&proof);
}

static void
fewer_ids_than_the_receipt_counts_are_lost_in_kafka(void **context)
{
    (void)context;
    struct proof proof = {0};
    add(&proof, 0, 100, 10);
    add(&proof, 100, 200, 10);
    proof_sort_receipts(&proof);
    struct life *life = the_life(&proof);
    hold(&proof, life, 0, 80);
    hold(&proof, life, 100, 200);
    life_sort_events(&proof, life);
    set_all(life, EVENT_INDEXED);
    struct verdict verdict = life_judge(life);
    assert_int_equal(verdict.lost, 2);
    assert_false(verdict_is_fine(&verdict));
    life->ranges[0].gone = true; /* retention had them */
    verdict = life_judge(life);
    assert_int_equal(verdict.lost, 0);
    assert_int_equal(verdict.deleted, 2);
    assert_false(verdict_is_fine(&verdict));
    proof_done(&proof);
}

static void
a_missing_receipt_is_a_hole_whose_events_are_looked_for(void **context)
{
    (void)context;
    struct proof proof = {0};
    add(&proof, 100, 200, 10);
    add(&proof, 300, 400, 10);
    proof_sort_receipts(&proof);
    struct life *life = the_life(&proof);
    hold(&proof, life, 0, 450); /* before the first: not in the audited time */
    life_sort_events(&proof, life);
    assert_int_equal(life->event_count, 35);
    set_all(life, EVENT_INDEXED);
    struct verdict verdict = life_judge(life);
    assert_int_equal(verdict.holes, 100);
    assert_int_equal(verdict.unreceipted, 10);
    assert_int_equal(verdict.newer, 5);
    assert_int_equal(verdict.indexed, 35);
    assert_false(verdict_is_fine(&verdict));
    size_t at = 0;
    uint64_t from;
    uint64_t to;
    assert_true(life_next_hole(life, &at, &from, &to));
    assert_true(from == 200 && to == 300);
    assert_false(life_next_hole(life, &at, &from, &to));
    assert_null(life_range_at(life, 250));
    assert_ptr_equal(life_range_at(life, 300), &life->ranges[1]);
    proof_done(&proof);
}

/* `state set` moved the position back: the events are the same, and nobody can part the counts. */
static void
bytes_that_two_receipts_cover_are_told(void **context)
{
    (void)context;
    struct proof proof = {0};
    add(&proof, 0, 100, 10);
    add(&proof, 40, 60, 2);
    add(&proof, 60, 140, 8);
    proof_sort_receipts(&proof);
    struct life *life = the_life(&proof);
    hold(&proof, life, 0, 140);
    life_sort_events(&proof, life);
    set_all(life, EVENT_INDEXED);
    struct verdict verdict = life_judge(life);
    assert_int_equal(verdict.again, 60);
    assert_int_equal(verdict.promised, 20);
    assert_int_equal(verdict.indexed, 14);
    assert_int_equal(verdict.holes, 0);
    assert_true(verdict_is_fine(&verdict));
    struct buffer text;
    buffer_init(&text, 4096);
    print_life(&text, life, &verdict);
    assert_non_null(strstr(buffer_string(&text),
                           "20 events: 14 indexed, 60 bytes delivered again, counted twice\n"));
    buffer_done(&text);
    proof_done(&proof);
}

static void
other_bytes_at_one_place_are_another_event(void **context)
{
    (void)context;
    struct proof proof = {0};
    add(&proof, 0, 100, 10);
    proof_sort_receipts(&proof);
    struct life *life = the_life(&proof);
    hold(&proof, life, 0, 100);
    assert_true(life_add_event(&proof, life, 50, 1)); /* the host had lost power */
    life_sort_events(&proof, life);
    assert_int_equal(life->event_count, 11);
    assert_non_null(life_find_event(life, 50, 1));
    assert_non_null(life_find_event(life, 50, 350));
    assert_null(life_find_event(life, 50, 2));
    set_all(life, EVENT_INDEXED);
    life_find_event(life, 50, 1)->state = EVENT_MISSING;
    struct verdict verdict = life_judge(life);
    assert_int_equal(verdict.missing, 1);
    proof_done(&proof);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_receipt_without_a_place_is_one_and_nonsense_is_none),
        cmocka_unit_test(the_longer_of_two_with_one_beginning_holds),
        cmocka_unit_test(what_is_not_indexed_is_told_by_its_bytes),
        cmocka_unit_test(fewer_ids_than_the_receipt_counts_are_lost_in_kafka),
        cmocka_unit_test(a_missing_receipt_is_a_hole_whose_events_are_looked_for),
        cmocka_unit_test(bytes_that_two_receipts_cover_are_told),
        cmocka_unit_test(other_bytes_at_one_place_are_another_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
