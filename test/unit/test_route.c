/* SPDX-License-Identifier: Apache-2.0 */
#include "test/unit/unit.h"

#include <stdlib.h>

#include "sinks/route.h"

static const struct sink_route_options options = {
    .topic = "logs", .index = "logs-index", .dead_letter_topic = ""};
static const struct route_limits limits = {.bytes = 1000, .interval_ms = 1000};

/* A document as document_new() makes it, without a Kafka message. */
static struct document *
make(struct document_pool *pool, struct partition *partition, int64_t offset, size_t value_size)
{
    static char bytes[4096];
    struct document *document = pool->free;
    if (document == NULL) {
        struct document *block = calloc(1, sizeof(*block));
        assert_non_null(block);
        document = block;
    } else {
        pool->free = document->next;
    }
    *document = (struct document){
        .value = bytes,
        .value_size = value_size,
        .id = bytes,
        .held = value_size,
        .partition = partition,
        .generation = partition->generation,
        .offset = offset,
    };
    return document;
}

struct fixture {
    struct document_pool pool;
    struct partition partition;
    struct route route;
};

static int
set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct err err;
    if (fixture == NULL)
        return -1;
    document_pool_init(&fixture->pool);
    *state = fixture;
    return route_init(&fixture->route, &options, &err) ? 0 : -1;
}

static int
tear_down(void **state)
{
    struct fixture *fixture = *state;
    route_done(&fixture->route, &fixture->pool);
    while (fixture->pool.free != NULL) {
        struct document *next = fixture->pool.free->next;
        free(fixture->pool.free);
        fixture->pool.free = next;
    }
    document_pool_done(&fixture->pool);
    free(fixture);
    return 0;
}

static void
add(struct fixture *fixture, int64_t first, int count, size_t value_size, uint64_t now_ms)
{
    for (int i = 0; i < count; i++)
        route_add(&fixture->route, make(&fixture->pool, &fixture->partition, first + i, value_size),
                  now_ms);
}

static void
put_back_all(struct fixture *fixture, struct document_list *list)
{
    route_put_back(&fixture->route, list);
    assert_int_equal(list->count, 0);
}

static void
dead_letters_go_beside_the_topic_by_default(void **state)
{
    struct fixture *fixture = *state;
    assert_string_equal(fixture->route.dead_letter_topic, "logs.dlq");
}

static void
bulk_is_made_when_it_is_full_or_its_oldest_document_waited(void **state)
{
    struct fixture *fixture = *state;
    assert_false(route_wants_bulk(&fixture->route, &limits, 5000));
    add(fixture, 0, 9, 100, 5000);
    assert_false(route_wants_bulk(&fixture->route, &limits, 5999));
    assert_true(route_wants_bulk(&fixture->route, &limits, 6000));
    add(fixture, 9, 1, 100, 5000);
    assert_true(route_wants_bulk(&fixture->route, &limits, 5000));
}

static void
bulk_stays_below_its_size_but_for_one_giant(void **state)
{
    struct fixture *fixture = *state;
    add(fixture, 0, 3, 400, 0);
    add(fixture, 3, 1, 3000, 0);
    struct document_list bulk;
    route_fill_bulk(&fixture->route, &limits, &bulk, 0);
    assert_int_equal(bulk.count, 2);
    assert_int_equal(bulk.head->offset, 0);
    put_back_all(fixture, &bulk);
    assert_int_equal(fixture->route.fresh.head->offset, 0);
    for (size_t expected = 2; expected > 0; expected--) {
        route_fill_bulk(&fixture->route, &limits, &bulk, 0);
        assert_int_equal(bulk.count, expected);
        while (bulk.count > 0)
            document_free(&fixture->pool, document_list_pop(&bulk));
    }
    route_fill_bulk(&fixture->route, &limits, &bulk, 0);
    assert_int_equal(bulk.count, 1);
    assert_int_equal(bulk.bytes, 3000);
    put_back_all(fixture, &bulk);
}

static void
fault_waits_longer_each_time_up_to_its_limit(void **state)
{
    (void)state;
    struct fault fault = {0};
    uint64_t now_ms = 1000;
    uint64_t longest_ms = 0;
    assert_true(fault_note(&fault, "blocked", now_ms));
    for (int i = 0; i < 20; i++) {
        assert_true(fault_waits(&fault, now_ms));
        uint64_t wait_ms = fault.until_ms - now_ms;
        longest_ms = wait_ms > longest_ms ? wait_ms : longest_ms;
        assert_true(wait_ms <= FAULT_WAIT_MAX_MS);
        assert_false(
            fault_note(&fault, "blocked", now_ms)); /* bulks that fail together: one wait */
        assert_int_equal(fault.until_ms - now_ms, wait_ms);
        now_ms = fault.until_ms;
        assert_false(fault_waits(&fault, now_ms));
        assert_false(fault_note(&fault, "blocked", now_ms));
    }
    assert_true(longest_ms >= FAULT_WAIT_MAX_MS / 2);
    assert_true(fault_clear(&fault));
    assert_false(fault_clear(&fault));
    assert_false(fault_waits(&fault, now_ms));
}

static void
paused_route_sends_one_small_probe_at_a_time(void **state)
{
    struct fixture *fixture = *state;
    static const struct route_limits wide = {.bytes = 10 * PROBE_BYTES_MAX, .interval_ms = 1000};
    add(fixture, 0, 200, 4000, 0);
    fault_note(&fixture->route.fault, "blocked", 1000);
    assert_false(route_wants_bulk(&fixture->route, &wide, 1000));
    uint64_t later_ms = fixture->route.fault.until_ms;
    assert_true(route_wants_bulk(&fixture->route, &wide, later_ms));
    struct document_list bulk;
    route_fill_bulk(&fixture->route, &wide, &bulk, later_ms);
    assert_true(bulk.bytes <= PROBE_BYTES_MAX);
    fixture->route.bulks_flying = 1;
    assert_false(route_wants_bulk(&fixture->route, &wide, later_ms));
    put_back_all(fixture, &bulk);
    fixture->route.bulks_flying = 0;
}

static void
retried_documents_come_back_when_they_are_due(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 10; i++)
        route_retry(&fixture->route, make(&fixture->pool, &fixture->partition, i, 10),
                    100 * (uint64_t)(10 - i));
    fixture->route.held = 100;
    assert_int_equal(fixture->route.retry_due_ms, 100);
    route_wake(&fixture->route, 99);
    assert_int_equal(fixture->route.fresh.count, 0);
    route_wake(&fixture->route, 350);
    assert_int_equal(fixture->route.fresh.count, 3);
    assert_int_equal(fixture->route.retry.count, 7);
    assert_int_equal(fixture->route.retry_due_ms, 400);
    assert_true(route_wants_bulk(&fixture->route, &limits, 1000));
}

static void
retried_documents_go_with_the_next_bulk_while_one_is_under_way(void **state)
{
    struct fixture *fixture = *state;
    struct route *route = &fixture->route;
    struct document_list bulk;
    route->held = 10;
    route_retry(route, make(&fixture->pool, &fixture->partition, 0, 10), 100);
    route_wake(route, 5000);
    assert_true(route_wants_bulk(route, &limits, 5000)); /* nothing to wait for */
    route_fill_bulk(route, &limits, &bulk, 5000);
    route_retry(route, document_list_pop(&bulk), 100);

    route->bulks_flying = 1;
    route_wake(route, 5000);
    assert_int_equal(route->fresh.count, 1);
    assert_false(route_wants_bulk(route, &limits, 5999));
    assert_true(route_wants_bulk(route, &limits, 6000)); /* as long as a new one waits */
    add(fixture, 1, 10, 100, 5500);
    assert_true(route_wants_bulk(route, &limits, 5999)); /* a full one */
    assert_int_equal(route->fresh.head->offset, 0);
    route->bulks_flying = 0;
}

static void
one_bad_document_is_found_by_halving(void **state)
{
    struct fixture *fixture = *state;
    enum { COUNT = 10000, BAD = 7321 };
    add(fixture, 0, COUNT, 0, 0);
    struct document_list bulk;
    int requests = 0;
    int passed = 0;
    bool found = false;
    route_fill_bulk(&fixture->route, &limits, &bulk, 0);
    assert_int_equal(bulk.count, COUNT);
    for (;;) {
        bool refused = false;
        for (const struct document *it = bulk.head; it != NULL; it = it->next)
            refused |= it->offset == BAD;
        requests++;
        if (refused && bulk.count > 1) {
            route_suspect(&fixture->route, &bulk);
        } else {
            found |= refused;
            passed += refused ? 0 : (int)bulk.count;
            while (bulk.count > 0)
                document_free(&fixture->pool, document_list_pop(&bulk));
        }
        if (!route_wants_bulk(&fixture->route, &limits, 0))
            break;
        route_fill_bulk(&fixture->route, &limits, &bulk, 0);
    }
    assert_true(found);
    assert_int_equal(passed, COUNT - 1);
    assert_true(requests <= 2 * 14 + 1);
}

static void
documents_of_a_revoked_partition_are_dropped_wherever_they_wait(void **state)
{
    struct fixture *fixture = *state;
    struct partition other = {.id = 1};
    add(fixture, 0, 4, 10, 0);
    struct document_list pair;
    static const struct route_limits two = {.bytes = 20};
    route_fill_bulk(&fixture->route, &two, &pair, 0);
    assert_int_equal(pair.count, 2);
    route_suspect(&fixture->route, &pair);
    route_retry(&fixture->route, document_list_pop(&fixture->route.fresh), 500);
    document_list_append(&fixture->route.letters, document_list_pop(&fixture->route.fresh));
    route_add(&fixture->route, make(&fixture->pool, &other, 5, 10), 0);
    assert_int_equal(fixture->route.held, 50);

    fixture->partition.generation++;
    route_drop_late(&fixture->route, &fixture->pool);
    assert_int_equal(fixture->route.held, 10);
    assert_int_equal(fixture->route.suspect_count, 0);
    assert_int_equal(fixture->route.retry.count, 0);
    assert_int_equal(fixture->route.letters.count, 0);
    assert_int_equal(fixture->route.fresh.count, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(dead_letters_go_beside_the_topic_by_default, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(bulk_is_made_when_it_is_full_or_its_oldest_document_waited,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(bulk_stays_below_its_size_but_for_one_giant, set_up,
                                        tear_down),
        cmocka_unit_test(fault_waits_longer_each_time_up_to_its_limit),
        cmocka_unit_test_setup_teardown(paused_route_sends_one_small_probe_at_a_time, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(retried_documents_come_back_when_they_are_due, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            retried_documents_go_with_the_next_bulk_while_one_is_under_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_bad_document_is_found_by_halving, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            documents_of_a_revoked_partition_are_dropped_wherever_they_wait, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
