/* SPDX-License-Identifier: Apache-2.0 */
#include "test/unit/unit.h"

#include "sinks/elasticsearch/nodes.h"

static const char *const urls[] = {"http://a:9200/", "http://b:9200", "http://c:9200//"};

static void
make(struct nodes *nodes, size_t count)
{
    struct err err;
    assert_true(nodes_init(nodes, urls, count, &err));
}

/* How often each is chosen when nothing comes back. */
static void
pick(struct nodes *nodes, size_t times, size_t counts[3])
{
    memset(counts, 0, 3 * sizeof(*counts));
    for (size_t i = 0; i < times; i++) {
        size_t node = nodes_pick(nodes);
        nodes->items[node].flying++;
        counts[node]++;
    }
}

static void
addresses_lose_their_last_slash(void **state)
{
    (void)state;
    struct nodes nodes;
    make(&nodes, 3);
    assert_string_equal(nodes.items[0].url, "http://a:9200");
    assert_string_equal(nodes.items[2].url, "http://c:9200");
    nodes_done(&nodes);
}

static void
requests_are_spread_and_a_silent_node_gets_its_share_only(void **state)
{
    (void)state;
    struct nodes nodes;
    size_t counts[3];
    make(&nodes, 3);
    pick(&nodes, 9, counts);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(counts[i], 3);
    nodes.items[0].flying = 0;
    nodes.items[2].flying = 0;
    pick(&nodes, 6, counts);
    assert_int_equal(counts[1], 0);
    nodes_done(&nodes);
}

static void
requests_one_after_the_other_take_turns(void **state)
{
    (void)state;
    struct nodes nodes;
    make(&nodes, 3);
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(nodes_pick(&nodes), i % 3);
    nodes_done(&nodes);
}

static void
node_that_failed_is_left_alone_longer_each_time(void **state)
{
    (void)state;
    struct nodes nodes;
    make(&nodes, 2);
    uint64_t now_ms = 1000;
    static const uint64_t waits_ms[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000};
    for (size_t i = 0; i < sizeof(waits_ms) / sizeof(waits_ms[0]); i++) {
        nodes_failed(&nodes, 0, "gone", now_ms, now_ms);
        assert_int_equal(nodes.items[0].down_until_ms - now_ms, waits_ms[i]);
        for (size_t k = 0; k < 4; k++)
            assert_int_equal(nodes_pick(&nodes), 1);
        now_ms = nodes.items[0].down_until_ms;
        nodes_probed(&nodes, 0); /* it answers probes, and fails bulks */
    }
    assert_int_equal(nodes.items[0].faults, 7);
    nodes_answered(&nodes, 0, 5);
    assert_int_equal(nodes.items[0].state, NODE_UP);
    assert_string_equal(nodes.items[0].reason, "");
    nodes_failed(&nodes, 0, "gone", now_ms, now_ms);
    assert_int_equal(nodes.items[0].down_until_ms - now_ms, 1000);
    nodes_done(&nodes);
}

static void
one_death_is_one_failure_however_many_bulks_it_took(void **state)
{
    (void)state;
    struct nodes nodes;
    make(&nodes, 2);
    for (uint64_t i = 0; i < 4; i++)
        nodes_failed(&nodes, 0, "reset", 1000 + i, 2000 + i);
    assert_int_equal(nodes.items[0].failures, 1);
    assert_int_equal(nodes.items[0].down_until_ms, 3000);
    assert_int_equal(nodes.items[0].faults, 4);
    nodes_done(&nodes);
}

static void
node_that_proves_itself_gets_one_at_a_time(void **state)
{
    (void)state;
    struct nodes nodes;
    size_t counts[3];
    make(&nodes, 3);
    nodes_failed(&nodes, 1, "gone", 0, 0);
    nodes_probed(&nodes, 1);
    assert_int_equal(nodes.items[1].state, NODE_PROVING);
    pick(&nodes, 9, counts);
    assert_int_equal(counts[1], 1);
    nodes_answered(&nodes, 1, 10);
    nodes.items[1].flying = 0;
    pick(&nodes, 3, counts);
    assert_int_equal(counts[1], 3);
    nodes_done(&nodes);
}

static void
slow_node_gets_one_at_a_time_until_it_is_fast_again(void **state)
{
    (void)state;
    struct nodes nodes;
    size_t counts[3];
    make(&nodes, 3);
    for (size_t i = 0; i < 3; i++)
        nodes_answered(&nodes, i, i == 2 ? 3000 : 20);
    assert_true(nodes_is_slow(&nodes, 2));
    assert_false(nodes_is_slow(&nodes, 0));
    pick(&nodes, 9, counts);
    assert_int_equal(counts[2], 1);
    for (size_t i = 0; i < 30; i++)
        nodes_answered(&nodes, 2, 20);
    assert_false(nodes_is_slow(&nodes, 2));
    nodes_done(&nodes);
}

static void
some_milliseconds_are_not_slow(void **state)
{
    (void)state;
    struct nodes nodes;
    make(&nodes, 2);
    nodes_answered(&nodes, 0, 1);
    nodes_answered(&nodes, 1, 50);
    assert_false(nodes_is_slow(&nodes, 1));
    nodes_done(&nodes);
}

static void
when_all_are_down_the_first_to_come_back_is_asked(void **state)
{
    (void)state;
    struct nodes nodes;
    make(&nodes, 3);
    nodes_failed(&nodes, 0, "gone", 0, 300);
    nodes_failed(&nodes, 1, "gone", 0, 100);
    nodes_failed(&nodes, 2, "gone", 0, 200);
    assert_int_equal(nodes_usable(&nodes), 0);
    assert_int_equal(nodes_pick(&nodes), 1);
    nodes_failed(&nodes, 1, "gone", 1200, 1200);
    assert_int_equal(nodes_pick(&nodes), 2);
    nodes_done(&nodes);
}

static void
a_change_is_news_once(void **state)
{
    (void)state;
    struct nodes nodes;
    make(&nodes, 2);
    nodes_answered(&nodes, 0, 1);
    assert_false(nodes.items[0].news);
    nodes_failed(&nodes, 0, "gone", 0, 0);
    assert_true(nodes.items[0].news);
    nodes.items[0].news = false;
    nodes_probed(&nodes, 0);
    nodes_failed(&nodes, 0, "gone", 1, 1);
    assert_false(nodes.items[0].news);
    nodes_answered(&nodes, 0, -1);
    assert_true(nodes.items[0].news);
    nodes_done(&nodes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_lose_their_last_slash),
        cmocka_unit_test(requests_are_spread_and_a_silent_node_gets_its_share_only),
        cmocka_unit_test(requests_one_after_the_other_take_turns),
        cmocka_unit_test(node_that_failed_is_left_alone_longer_each_time),
        cmocka_unit_test(one_death_is_one_failure_however_many_bulks_it_took),
        cmocka_unit_test(node_that_proves_itself_gets_one_at_a_time),
        cmocka_unit_test(slow_node_gets_one_at_a_time_until_it_is_fast_again),
        cmocka_unit_test(some_milliseconds_are_not_slow),
        cmocka_unit_test(when_all_are_down_the_first_to_come_back_is_asked),
        cmocka_unit_test(a_change_is_news_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
