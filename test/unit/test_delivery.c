/* SPDX-License-Identifier: Apache-2.0 */
/* test_delivery.c: agent/delivery.c: what each of Kafka's answers does to a file, its topic and the
 * slabs; without Kafka: answers are made up. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "test/unit/agent_calls.h"
#include "test/unit/unit.h"

#include "agent/delivery.h"
#include "agent/state.h"
#include "agent/topics.h"
#include "core/clock.h"

#define WIDE_SIZE 1000000
#define MEMORY (WIDE_SIZE * WIDE_SLABS + 16 * SLAB_SIZE)

struct world {
    struct agent agent;
    char folder[64];
    struct agent_options options;
    struct input input;
    struct file file;
    struct lane *lane;
};

/* One topic of one partition, one file of 10,000 bytes. */
static int
setup(void **context)
{
    struct world *world = calloc(1, sizeof(*world));
    struct agent *agent = &world->agent;
    struct state_report report;
    struct err err;
    (void)snprintf(world->folder, sizeof(world->folder), "/tmp/test_delivery.XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    agent->options = &world->options;
    agent->say = hush;
    agent->wake = ignore;
    agent->rediscover = ignore;
    agent->sending = true;
    assert_true(metrics_new(&agent->metrics, agent_metric_families, METRIC_COUNT, &err));
    assert_true(state_open(&agent->state, world->folder, &agent->catalog, &report, &err));
    assert_true(slab_pool_new(&agent->pool, MEMORY, WIDE_SIZE, &err));
    assert_true(delivery_init(agent, &err));
    struct topic *topic = topic_get(agent, "t", &err);
    assert_non_null(topic);
    int32_t leader = 1;
    topic_found(agent, topic, &(struct producer_topic){.partition_count = 1, .leaders = &leader});
    world->lane = topic->lanes[0];
    world->input = (struct input){.name = world->folder, .topic = topic};
    world->input.events = metrics_series(agent->metrics, METRIC_EVENTS, "a", NULL);
    world->input.bytes = metrics_series(agent->metrics, METRIC_BYTES, "a", NULL);
    struct generation *generation = generation_new(&agent->catalog, "a", "/a.log");
    generation->part_size = 900000;
    generation_commit(generation, 0, 0);
    world->file = (struct file){.input = &world->input,
                                .generation = generation,
                                .path = world->folder,
                                .fd = -1,
                                .size = 10000};
    agent->files = &world->file;
    *context = world;
    return 0;
}

static int
teardown(void **context)
{
    struct world *world = *context;
    struct agent *agent = &world->agent;
    free(world->input.queues);
    state_free(agent->state);
    delivery_done(agent);
    slab_pool_free(agent->pool);
    catalog_done(&agent->catalog);
    metrics_free(agent->metrics);
    static const char *const names[] = {"/journal", "/lock", "/journal.spare", ""};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s%s", world->folder, names[i]);
        (void)remove(path);
    }
    free(world);
    return 0;
}

/* A batch of `records` that was sent, as batch_send() leaves it; each has `size` bytes. */
static struct batch *
sent(struct world *world, uint64_t start, uint64_t end, uint32_t records, size_t size, bool alone)
{
    struct agent *agent = &world->agent;
    struct file *file = &world->file;
    struct slab *slab = slab_take(agent->pool, &world->lane->share, false);
    struct batch *batch = batch_take(agent, file, slab);
    batch->start = start;
    batch->end = end;
    batch->records = records;
    batch->size = size * records;
    batch->limit_size = file->input->topic->limit.size;
    batch->alone = alone;
    batch->topic = file->input->topic;
    batch->sent_ms = clock_monotonic_ms();
    slab_sent(slab, records);
    slab_close(agent->pool, slab);
    if (file->last != NULL)
        file->last->next = batch;
    else
        file->first = batch;
    file->last = batch;
    file->unanswered += records;
    agent->records_waiting += records;
    file->read = end;
    file->queued = false;
    return batch;
}

static void
answer(struct world *world, struct batch *batch, uint64_t offset, rd_kafka_resp_err_t error)
{
    char key[EVENT_ID_SIZE + 1];
    char generation[GENERATION_TEXT_SIZE];
    generation_id_format(world->file.generation->id, generation);
    event_id_format(key, generation, offset, 0);
    rd_kafka_message_t message = {.err = error,
                                  .key = key,
                                  .key_len = EVENT_ID_SIZE,
                                  .len = batch->size / batch->records,
                                  ._private = batch};
    delivery_answered(&world->agent, &message);
    world->file.queued = false;
}

static void
committed_follows_the_lowest_unfinished_byte(void **context)
{
    struct world *world = *context;
    struct batch *first = sent(world, 0, 100, 2, 50, false);
    struct batch *second = sent(world, 100, 200, 1, 50, false);
    answer(world, second, 100, RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(world->file.generation->committed, 0);
    answer(world, first, 0, RD_KAFKA_RESP_ERR_NO_ERROR);
    answer(world, first, 50, RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(world->file.generation->committed, 200);
    assert_null(world->file.first);
    assert_int_equal(slab_pool_used(world->agent.pool), 0);
}

static void
one_failed_record_sends_the_file_back_when_all_are_answered(void **context)
{
    struct world *world = *context;
    struct batch *first = sent(world, 0, 100, 1, 50, false);
    struct batch *second = sent(world, 100, 200, 1, 50, false);
    answer(world, first, 0, RD_KAFKA_RESP_ERR__PURGE_QUEUE);
    assert_true(world->file.failed);
    assert_int_equal(world->file.read, 200); /* something is still under way */
    answer(world, second, 100, RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(world->file.read, 0);
    assert_false(world->file.failed);
    assert_int_equal(world->file.generation->committed, 0);
    assert_true(topic_is_open(&world->agent, world->input.topic)); /* our own doing */
}

static void
errors_pause_the_topic_with_their_reason(void **context)
{
    struct world *world = *context;
    static const struct {
        rd_kafka_resp_err_t error;
        enum pause pause;
    } rows[] = {
        {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, PAUSE_TOPIC},
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, PAUSE_PERMISSION},
        {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, PAUSE_PERMISSION},
        {RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, PAUSE_CLOCK},
        {RD_KAFKA_RESP_ERR_UNKNOWN, PAUSE_TOPIC},
        {(rd_kafka_resp_err_t)30000, PAUSE_TOPIC}, /* one that nobody knows yet */
    };
    struct topic *topic = world->input.topic;
    uint64_t before_ms = 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct batch *batch = sent(world, 0, 100, 1, 50, false);
        answer(world, batch, 0, rows[i].error);
        assert_false(topic_is_open(&world->agent, topic));
        assert_int_equal(topic->pause, rows[i].pause);
        assert_true(topic->reason[0] != '\0');
        assert_true(topic->pause_ms > before_ms); /* longer each time */
        before_ms = topic->pause_ms;
        topic->paused_until_ms = 1; /* long ago */
        topics_tick(&world->agent);
        assert_true(topic_is_open(&world->agent, topic));
        assert_int_equal(topic->pause, PAUSE_NONE);
    }
    answer(world, sent(world, 0, 100, 1, 50, false), 0, RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(topic->pause_ms, 0);
}

/* A reload gave the input another topic while some was under way. */
static void
an_answer_concerns_the_topic_that_was_sent_to(void **context)
{
    struct world *world = *context;
    struct err err;
    struct topic *old = world->input.topic;
    struct batch *batch = sent(world, 0, 100, 1, 50, false);
    world->input.topic = topic_get(&world->agent, "new", &err);
    int32_t leader = 1;
    topic_found(&world->agent, world->input.topic,
                &(struct producer_topic){.partition_count = 1, .leaders = &leader});
    answer(world, batch, 0, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    assert_false(topic_is_open(&world->agent, old));
    assert_true(topic_is_open(&world->agent, world->input.topic));
}

static void
refused_requests_become_smaller_and_grow_back(void **context)
{
    struct world *world = *context;
    struct request_limit *limit = &world->input.topic->limit;
    struct batch *old = sent(world, 0, 4000, 2, 2000, false);
    struct batch *late = sent(world, 4000, 8000, 2, 2000, false);
    answer(world, old, 0, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    answer(world, old, 2000, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    assert_int_equal(limit->size, 2000); /* half of what was refused */
    answer(world, late, 4000, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    answer(world, late, 6000, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    assert_int_equal(limit->size, 2000); /* it was sent before the limit */
    assert_int_equal(world->file.generation->parts.size, 0);
    assert_true(topic_limit_allows(world->input.topic, world->lane));

    for (unsigned i = 0; limit->size > 0; i++) {
        assert_true(i < 20);
        limit->grow_at_ms = 1;
        topics_tick(&world->agent);
    }
    struct batch *full = sent(world, 0, 4000, 2, 2000, false);
    answer(world, full, 0, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    answer(world, full, 2000, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    assert_true(limit->wait_ms > 1000); /* growing failed: not so soon again */
}

static void
an_event_refused_alone_goes_in_parts_that_are_on_disk_first(void **context)
{
    struct world *world = *context;
    struct generation *generation = world->file.generation;
    world->input.topic->limit.size = 1;
    uint64_t gathered = state_sequence(world->agent.state);
    answer(world, sent(world, 0, 6001, 1, 6400, true), 0, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    assert_int_equal(generation->parts.from, 0);
    assert_int_equal(generation->parts.to, 6001);
    assert_int_equal(generation->parts.size, 3200);
    assert_in_range(generation->durable_at, gathered, state_sequence(world->agent.state));
    assert_int_equal(world->file.read, 0);

    /* The first part is taken, the second one is not: what is taken keeps its id. */
    answer(world, sent(world, 0, 3200, 1, 3600, true), 0, RD_KAFKA_RESP_ERR_NO_ERROR);
    answer(world, sent(world, 3200, 6001, 1, 3100, true), 3200,
           RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    assert_int_equal(generation->committed, 3200);
    assert_int_equal(generation->parts.from, 3200);
    assert_int_equal(generation->parts.to, 6001);
    assert_int_equal(generation->parts.size, 1600);
    answer(world, sent(world, 3200, 6001, 2, 1500, false), 3200, RD_KAFKA_RESP_ERR_NO_ERROR);
    answer(world, world->file.first, 4800, RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(generation->parts.size, 0); /* the line is done */
}

static void
the_smallest_part_refused_waits_with_a_reason(void **context)
{
    struct world *world = *context;
    struct file *file = &world->file;
    world->input.topic->limit.size = 1;
    file->generation->parts = (struct parts){.from = 0, .to = 600, .size = PARTS_SIZE_MIN};
    answer(world, sent(world, 0, 256, 1, 600, true), 0, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    assert_non_null(file->reason);
    assert_true(file->refused_until_ms > 0);
    assert_int_equal(file->generation->parts.size, PARTS_SIZE_MIN);
    assert_int_equal(file->read, 0);
    answer(world, sent(world, 0, 256, 1, 600, true), 0, RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_null(file->reason);
    assert_int_equal(file->refused_wait_ms, 0);
}

static void
lanes_without_answers_are_named_and_give_back(void **context)
{
    struct world *world = *context;
    struct agent *agent = &world->agent;
    struct topic *topic = world->input.topic;
    struct batch *batch = sent(world, 0, 100, 1, 50, false);
    world->lane->quiet_since_ms = clock_monotonic_ms();
    topics_tick(agent);
    assert_int_equal(topic->pause, PAUSE_NONE);
    assert_false(topics_reclaim(agent));

    world->lane->quiet_since_ms -= 3600 * 1000;
    topic->lacking = 1;
    topics_tick(agent);
    assert_int_equal(topic->pause, PAUSE_SILENCE);
    assert_non_null(strstr(topic->reason, "min.insync.replicas"));
    assert_true(topic_is_open(agent, topic)); /* it may be over at any moment */
    assert_false(topics_reclaim(agent));      /* nobody else waits */
    agent->starved_ms[true] = 1;
    assert_true(topics_reclaim(agent));
    assert_true(world->lane->share.stale);
    answer(world, batch, 0, RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_false(world->lane->share.stale);
    topics_tick(agent);
    assert_int_equal(topic->pause, PAUSE_NONE);
}

static void
a_quota_is_no_stop(void **context)
{
    struct world *world = *context;
    struct agent *agent = &world->agent;
    agent->throttle_ms = 1234;
    agent->throttled_until_ms = clock_monotonic_ms() + 60000;
    topics_tick(agent);
    assert_int_equal(world->input.topic->pause, PAUSE_THROTTLED);
    assert_non_null(strstr(world->input.topic->reason, "1234 ms"));
    assert_true(topic_is_open(agent, world->input.topic));
    agent->throttled_until_ms = 1;
    topics_tick(agent);
    assert_int_equal(world->input.topic->pause, PAUSE_NONE);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(committed_follows_the_lowest_unfinished_byte),
        CASE(one_failed_record_sends_the_file_back_when_all_are_answered),
        CASE(errors_pause_the_topic_with_their_reason),
        CASE(an_answer_concerns_the_topic_that_was_sent_to),
        CASE(refused_requests_become_smaller_and_grow_back),
        CASE(an_event_refused_alone_goes_in_parts_that_are_on_disk_first),
        CASE(the_smallest_part_refused_waits_with_a_reason),
        CASE(lanes_without_answers_are_named_and_give_back),
        CASE(a_quota_is_no_stop),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}
