/* SPDX-License-Identifier: Apache-2.0 */
/* test_receipts.c: agent/receipt.c and receipts.c: receipts of a life follow each other without a
 * gap, whatever is acknowledged, refused or killed; without Kafka: answers are made up, and what
 * would be sent is looked at where it waits. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "test/unit/agent_calls.h"
#include "test/unit/unit.h"

#include "agent/delivery.h"
#include "agent/receipts.h"
#include "agent/state.h"
#include "agent/topics.h"
#include "core/assert.h"
#include "core/clock.h"

struct world {
    struct agent agent;
    char folder[64];
    struct agent_options options;
    struct input input;
    struct file file;
};

static void
open_world(struct world *world)
{
    struct agent *agent = &world->agent;
    struct state_report report;
    struct err err;
    *agent = (struct agent){.options = &world->options,
                            .say = hush,
                            .wake = ignore,
                            .rediscover = ignore,
                            .inputs = &world->input};
    assert_true(metrics_new(&agent->metrics, agent_metric_families, METRIC_COUNT, &err));
    assert_true(state_open(&agent->state, world->folder, &agent->catalog, &report, &err));
    assert_true(slab_pool_new(&agent->pool, 10 * 1000 * 1000, 1000000, &err));
    assert_true(delivery_init(agent, &err));
    world->input = (struct input){.name = world->folder};
    world->input.topic = topic_get(agent, "events", &err);
    buffer_init(&world->input.before_path, 1024);
    buffer_text(&world->input.before_path, "\",\"host.name\":\"h\",\"log.file.path\":");
    assert_true(receipts_new(agent, &err));
    if (agent->catalog.first == NULL) {
        struct generation *made = generation_new(&agent->catalog, world->folder, "/a.log");
        made->part_size = 900000;
        state_put_generation(agent->state, made);
    }
    world->file = (struct file){
        .input = &world->input, .generation = agent->catalog.first, .path = world->folder};
}

/* As kill -9 would: what is not on disk is gone. */
static void
close_world(struct world *world)
{
    struct agent *agent = &world->agent;
    receipts_free(agent);
    delivery_done(agent);
    slab_pool_free(agent->pool);
    state_free(agent->state);
    catalog_done(&agent->catalog);
    metrics_free(agent->metrics);
    buffer_done(&world->input.before_path);
}

static int
setup(void **context)
{
    struct world *world = calloc(1, sizeof(*world));
    (void)snprintf(world->folder, sizeof(world->folder), "/tmp/test_receipts.XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    static char topic[] = "control";
    world->options.receipts.topic = topic;
    world->options.receipts.interval = 60000;
    open_world(world);
    *context = world;
    return 0;
}

static int
teardown(void **context)
{
    struct world *world = *context;
    close_world(world);
    static const char *const names[] = {"/journal", "/lock", "/journal.spare", ""};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s%s", world->folder, names[i]);
        (void)remove(path);
    }
    free(world);
    return 0;
}

static struct generation *
life(const struct world *world)
{
    ASSERT(world->file.generation != NULL);
    return world->file.generation;
}

/* A batch is acknowledged, and committed. */
static void
commit(struct world *world, uint64_t start, uint64_t end, uint32_t records, int32_t partition,
       int64_t first)
{
    struct batch batch = {.topic = world->input.topic,
                          .start = start,
                          .end = end,
                          .records = records,
                          .lines = records,
                          .empty = 1,
                          .place = {.first = -1, .last = -1}};
    for (uint32_t i = 0; i < records; i++)
        receipt_place_add(&batch.place, partition, first < 0 ? first : first + i);
    generation_commit(world->file.generation, end, 0);
    receipts_committed(&world->agent, &world->file, &batch);
}

/* Puts progress and receipts on disk, and starts again. */
static void
start_again(struct world *world)
{
    struct err err;
    state_put_progress(world->agent.state, world->file.generation);
    assert_true(state_stop(world->agent.state, &err));
    close_world(world);
    open_world(world);
}

static void
find_control(struct world *world)
{
    struct agent *agent = &world->agent;
    struct err err;
    int32_t leader = 1;
    struct topic *control = topic_get(agent, world->options.receipts.topic, &err);
    topic_found(agent, control, &(struct producer_topic){.partition_count = 1, .leaders = &leader});
    agent->sending = true;
}

/* All that is open is closed; nothing is sent, since the state has it not on disk. */
static void
close_now(struct world *world)
{
    struct agent *agent = &world->agent;
    find_control(world);
    state_put_progress(agent->state, world->file.generation);
    life(world)->changed = false;
    receipts_flush(agent);
    receipts_tick(agent);
}

static void
batches_become_one_range_with_its_place(void **context)
{
    struct world *world = *context;
    commit(world, 0, 100, 3, 1, 10);
    commit(world, 100, 150, 2, 1, 13);
    const struct receipt *receipt = life(world)->receipt;
    assert_non_null(receipt);
    assert_int_equal(receipt->from, 0);
    assert_int_equal(receipt->to, 150);
    assert_int_equal(receipt->events, 5);
    assert_int_equal(receipt->lines, 5);
    assert_int_equal(receipt->empty, 2);
    assert_int_equal(receipt->partition, 1);
    assert_int_equal(receipt->first, 10);
    assert_int_equal(receipt->last, 14);
    assert_false(receipt->scattered);
    assert_string_equal(receipt->topic, "events");
    commit(world, 150, 160, 1, 2, 5);
    assert_true(receipt->scattered);
}

static void
a_record_without_its_offset_leaves_the_place_unknown(void **context)
{
    struct world *world = *context;
    commit(world, 0, 100, 3, 1, 10);
    commit(world, 100, 150, 2, 1, -1001);
    assert_true(life(world)->receipt->scattered);
    assert_int_equal(life(world)->receipt->events, 5);
}

static void
what_is_owed_survives_a_kill(void **context)
{
    struct world *world = *context;
    commit(world, 0, 100, 3, 1, 10);
    commit(world, 100, 150, 2, 1, 13);
    start_again(world);
    commit(world, 150, 200, 1, 1, 20);
    const struct receipt *receipt = life(world)->receipt;
    assert_int_equal(receipt->from, 0);
    assert_int_equal(receipt->to, 200);
    assert_int_equal(receipt->events, 6);
    assert_int_equal(receipt->first, 10);
    assert_int_equal(receipt->last, 20);
    assert_string_equal(receipt->topic, "events");
}

static void
what_is_sent_and_not_acknowledged_is_owed_with_what_is_open(void **context)
{
    struct world *world = *context;
    commit(world, 0, 100, 3, 1, 10);
    close_now(world);
    const struct receipt *sent = life(world)->receipt_sent;
    assert_non_null(sent);
    assert_null(life(world)->receipt);
    assert_memory_equal(sent->message, "r1.", 3);
    char text[1024] = "";
    assert_true(sent->value_size < sizeof(text));
    memcpy(text, sent->message + sent->key_size, sent->value_size);
    assert_non_null(strstr(text, "\"host.name\":\"h\",\"log.file.path\":\"/a.log\",\"receipt\":{"));
    assert_non_null(strstr(text,
                           "\"topic\":\"events\",\"from\":0,\"to\":100,\"events\":3,\"lines\":3,"
                           "\"parts\":0,\"empty\":1,\"zeros\":0,"));
    assert_non_null(strstr(text, ",\"partition\":1,\"first\":10,\"last\":12}}"));
    commit(world, 100, 200, 4, 1, 13);
    start_again(world);
    const struct receipt *receipt = life(world)->receipt;
    assert_int_equal(receipt->from, 0);
    assert_int_equal(receipt->to, 200);
    assert_int_equal(receipt->events, 7);
    assert_null(life(world)->receipt_sent);
}

static void
a_life_has_one_receipt_under_way_and_the_next_waits(void **context)
{
    struct world *world = *context;
    commit(world, 0, 100, 3, 1, 10);
    close_now(world);
    commit(world, 100, 200, 4, 1, 13);
    close_now(world);
    assert_int_equal(life(world)->receipt_sent->to, 100);
    assert_int_equal(life(world)->receipt->from, 100);
}

static void
ignore_traffic(void *context, uint64_t wire_bytes, uint64_t message_bytes)
{
    (void)context;
    (void)wire_bytes;
    (void)message_bytes;
}

/* The state never owes a receipt for more than it has as progress: those bytes are sent again after
 * a kill, and would be told twice. */
static void
an_answer_tells_the_state_nothing_ahead_of_its_progress(void **context)
{
    struct world *world = *context;
    struct agent *agent = &world->agent;
    struct err err;
    static char nowhere[] = "127.0.0.1:9";
    static char none[] = "";
    struct agent_options *options = &world->options;
    options->kafka.bootstrap_servers = nowhere;
    options->kafka.client_id = none;
    struct producer_limits limits = {.memory = 100000, .records = 10, .message_max = 100000};
    struct producer_events events = {.traffic = ignore_traffic};
    assert_true(producer_new(&agent->producer, options, &limits, &events, &err));
    for (size_t i = 0; i < agent->topic_count; i++)
        assert_true(producer_add_topic(agent->producer, agent->topics[i]->name, &err));
    commit(world, 0, 100, 3, 1, 10);
    close_now(world);
    assert_true(state_save(agent->state, &err));
    receipts_tick(agent);
    struct receipt *sent = life(world)->receipt_sent;
    assert_true(sent->flying);

    commit(world, 100, 200, 4, 1, 13);
    assert_true(receipts_answered(agent, &(rd_kafka_message_t){._private = sent}));
    assert_true(state_save(agent->state, &err));
    producer_free(agent->producer);
    close_world(world);
    open_world(world);
    assert_int_equal(life(world)->committed, 100);
    commit(world, 100, 200, 4, 1, 13);
    assert_null(life(world)->receipt_sent);
    assert_int_equal(life(world)->receipt->from, 0);
    assert_int_equal(life(world)->receipt->events, 7);
}

static void
a_jump_of_the_position_ends_the_range(void **context)
{
    struct world *world = *context;
    commit(world, 0, 100, 3, 1, 10);
    life(world)->committed = 150; /* `state set`, or a receipt that did not survive */
    commit(world, 150, 200, 4, 1, 13);
    assert_int_equal(life(world)->receipt_sent->to, 100);
    assert_int_equal(life(world)->receipt->from, 150);
    assert_int_equal(life(world)->receipt->events, 4);
}

static void
zeros_at_the_beginning_are_part_of_the_range(void **context)
{
    struct world *world = *context;
    receipts_passed(&world->agent, &world->file, 4096);
    commit(world, 4096, 4100, 1, 1, 10);
    assert_int_equal(life(world)->receipt->from, 0);
    assert_int_equal(life(world)->receipt->to, 4100);
    assert_int_equal(life(world)->receipt->zeros, 4096);
}

static void
without_a_topic_nothing_is_kept(void **context)
{
    struct world *world = *context;
    static char none[] = "";
    commit(world, 0, 100, 3, 1, 10);
    world->options.receipts.topic = none;
    start_again(world);
    assert_null(world->agent.receipts);
    assert_null(life(world)->receipt);
    commit(world, 100, 200, 4, 1, 13);
    assert_null(life(world)->receipt);
}

/* The library stamps a record when it is sent, whatever is done to the clock until the answer. */
static void
since_is_the_wall_time_of_the_earliest_sending(void **context)
{
    struct world *world = *context;
    for (uint64_t i = 0; i < 3; i++) {
        struct batch batch = {.topic = world->input.topic,
                              .start = i * 10,
                              .end = i * 10 + 10,
                              .sent_ms = clock_monotonic_ms() - 5000,
                              .sent_wall_ms = i == 1 ? 1000 : 2000,
                              .place = {.first = -1, .last = -1}};
        generation_commit(life(world), batch.end, 0);
        receipts_committed(&world->agent, &world->file, &batch);
        assert_int_equal(life(world)->receipt->since_ms, i == 0 ? 2000 : 1000);
    }
}

/* A life whose input gets another topic owes two ranges until the first one is acknowledged. */
static void
ranges_of_two_topics_survive_a_kill(void **context)
{
    struct world *world = *context;
    struct err err;
    commit(world, 0, 100, 3, 1, 10);
    world->input.topic = topic_get(&world->agent, "others", &err);
    commit(world, 100, 200, 4, 1, 13);
    assert_int_equal(life(world)->receipt_sent->to, 100);
    assert_true(life(world)->receipt_sent->durable_at >= state_sequence(world->agent.state));
    start_again(world);
    const struct receipt *first = life(world)->receipt_sent;
    const struct receipt *second = life(world)->receipt;
    assert_non_null(first);
    assert_int_equal(first->from, 0);
    assert_int_equal(first->to, 100);
    assert_string_equal(first->topic, "events");
    assert_int_equal(second->from, 100);
    assert_int_equal(second->to, 200);
    assert_string_equal(second->topic, "others");
}

/* A reload gave the input another topic while a batch was under way. */
static void
a_range_belongs_to_the_topic_that_its_events_were_sent_to(void **context)
{
    struct world *world = *context;
    struct err err;
    struct batch batch = {
        .topic = world->input.topic, .end = 10, .place = {.first = -1, .last = -1}};
    world->input.topic = topic_get(&world->agent, "others", &err);
    generation_commit(life(world), batch.end, 0);
    receipts_committed(&world->agent, &world->file, &batch);
    assert_string_equal(life(world)->receipt->topic, "events");
}

static void
when_many_are_open_the_oldest_go_before_their_time(void **context)
{
    struct world *world = *context;
    struct agent *agent = &world->agent;
    find_control(world);
    struct file file = {.input = &world->input, .path = world->folder};
    struct generation *oldest = NULL;
    for (size_t i = 0; i < RECEIPTS_MANY + 1; i++) {
        file.generation = generation_new(&agent->catalog, world->folder, "/a.log");
        oldest = i == RECEIPTS_FLYING_MAX - 1 ? file.generation : oldest;
        struct batch batch = {
            .topic = world->input.topic, .end = 10, .place = {.first = -1, .last = -1}};
        receipts_committed(agent, &file, &batch);
    }
    receipts_tick(agent);
    assert_null(oldest->receipt);
    assert_non_null(oldest->receipt_sent);
    assert_non_null(oldest->previous->receipt); /* the next, in the catalog's order */
}

/* A file that moves all day puts its receipt with each progress; a snapshot has it once. */
static void
the_journal_stays_small_with_receipts_in_it(void **context)
{
    struct world *world = *context;
    struct state *state = world->agent.state;
    struct err err;
    size_t largest = 0;
    uint64_t at = 0;
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < 1000; i++, at += 100) {
            commit(world, at, at + 100, 1, 1, (int64_t)at);
            state_put_progress(state, world->file.generation);
        }
        assert_true(state_save(state, &err));
        largest = state_size(state) > largest ? state_size(state) : largest;
    }
    assert_true(largest > 4 * 1024 * 1024);
    assert_true(largest < 6 * 1024 * 1024);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(batches_become_one_range_with_its_place),
        CASE(a_record_without_its_offset_leaves_the_place_unknown),
        CASE(what_is_owed_survives_a_kill),
        CASE(what_is_sent_and_not_acknowledged_is_owed_with_what_is_open),
        CASE(a_life_has_one_receipt_under_way_and_the_next_waits),
        CASE(an_answer_tells_the_state_nothing_ahead_of_its_progress),
        CASE(a_jump_of_the_position_ends_the_range),
        CASE(zeros_at_the_beginning_are_part_of_the_range),
        CASE(since_is_the_wall_time_of_the_earliest_sending),
        CASE(ranges_of_two_topics_survive_a_kill),
        CASE(a_range_belongs_to_the_topic_that_its_events_were_sent_to),
        CASE(when_many_are_open_the_oldest_go_before_their_time),
        CASE(without_a_topic_nothing_is_kept),
        CASE(the_journal_stays_small_with_receipts_in_it),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}
