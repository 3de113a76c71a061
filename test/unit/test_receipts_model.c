/* SPDX-License-Identifier: Apache-2.0 */
/* test_receipts_model.c: random histories of the agent's receipts and state: batches committed, the
 * state written or not, receipts acknowledged, refused or lost on their way, files renamed and let
 * go, inputs given another topic, the control topic away, kills and restarts. After each of them
 * the receipts that arrived, put together as the audit does it, must speak of every delivered byte
 * once, with the counts of somebody who counted it line by line.
 *     RECEIPTS_MODEL_HISTORIES=1000000 RECEIPTS_MODEL_SEED=7 test_receipts_model
 * runs more of them than the default; a failure names the seed of its history alone. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "test/unit/agent_calls.h"
#include "test/unit/unit.h"

#include "agent/delivery.h"
#include "agent/producer.h"
#include "agent/receipts.h"
#include "agent/state.h"
#include "agent/topics.h"
#include "core/assert.h"

#define HISTORIES 1000
#define STEPS_MAX 80
#define LIVES_MAX 4
#define UNITS_MAX 600 /* of a life: a line, a part of one, an empty line */
#define UNIT_SIZE 10
#define ZERO_UNITS 3
#define TOPICS 2
#define PARTITIONS 2
#define LOG_MAX 8000
#define ARRIVED_MAX 2000
#define FLYING_MAX 256

/* What Kafka got of one life's receipts. */
struct arrived {
    uint64_t from, to, events, lines, parts, empty, zeros, topic;
    int64_t partition, first, last; /* -1: not told */
};

struct model_life {
    struct generation *generation; /* NULL: let go */
    struct file file;
    struct generation_id id;
    bool zeros;
    uint64_t delivered; /* units that were committed, by whichever run */
    bool may_miss[UNITS_MAX];
    struct arrived arrived[ARRIVED_MAX];
    size_t arrived_count;
};

struct record {
    size_t life;
    uint64_t unit;
};

struct world {
    struct agent agent;
    char folder[64];
    struct agent_options options;
    struct input inputs[TOPICS];
    bool off; /* this run sends no receipts */
    uint64_t seed, random;
    bool trace;
    struct model_life lives[LIVES_MAX];
    size_t life_count;
    struct record log[TOPICS][PARTITIONS][LOG_MAX];
    size_t ends[TOPICS][PARTITIONS];
    struct receipt *flying[FLYING_MAX];
    size_t flying_count;
    struct receipt *full[FLYING_MAX]; /* the library had no room for them: to be tried again */
    size_t full_count;
    bool draining; /* everything arrives now */
    unsigned inputs_seen;
};

static struct world *the_world; /* for producer_send() */

/* Not the pipeline's own, which would bring the whole agent along, and its producer. */
static const struct metric_family families[METRIC_COUNT] = {
#define METRIC METRIC_FAMILY
#include "agent/metrics.def"
#undef METRIC
};

/* --- chance --- */

static uint64_t
chance(struct world *world, uint64_t below)
{
    world->random += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = world->random;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (z ^ (z >> 31)) % below;
}

static bool
one_in(struct world *world, uint64_t many)
{
    return chance(world, many) == 0;
}

#define TRACE(world, ...)                                                                          \
    do {                                                                                           \
        if ((world)->trace)                                                                        \
            fprintf(stderr, __VA_ARGS__);                                                          \
    } while (0)

/* --- the truth --- */

enum kind { KIND_LINE, KIND_PART, KIND_EMPTY, KIND_ZEROS };

static enum kind
kind_of(const struct world *world, size_t life, uint64_t unit)
{
    if (world->lives[life].zeros && unit < ZERO_UNITS)
        return KIND_ZEROS;
    uint64_t seed[] = {world->seed, life, unit};
    uint64_t what = generation_hash(seed, sizeof(seed)) % 10;
    return what == 0 ? KIND_EMPTY : what == 1 ? KIND_PART : KIND_LINE;
}

static struct arrived
truth(const struct world *world, size_t life, uint64_t from, uint64_t to)
{
    struct arrived sum = {.from = from, .to = to};
    for (uint64_t unit = from / UNIT_SIZE; unit < to / UNIT_SIZE; unit++) {
        enum kind kind = kind_of(world, life, unit);
        sum.events += kind == KIND_LINE || kind == KIND_PART;
        sum.lines += kind == KIND_LINE;
        sum.parts += kind == KIND_PART;
        sum.empty += kind == KIND_EMPTY;
        sum.zeros += kind == KIND_ZEROS ? UNIT_SIZE : 0;
    }
    return sum;
}

/* --- Kafka --- */

static uint64_t
number_in(const char *text, const char *name, bool *there)
{
    char wanted[32];
    (void)snprintf(wanted, sizeof(wanted), ",\"%s\":", name);
    const char *at = strstr(text, wanted);
    *there = at != NULL;
    return at == NULL ? 0 : strtoull(at + strlen(wanted), NULL, 10);
}

/* The control topic keeps it. */
static void
arrive(struct world *world, const struct receipt *receipt)
{
    char text[1024] = "";
    assert_true(receipt->key_size + receipt->value_size < sizeof(text));
    memcpy(text, receipt->message, receipt->key_size + receipt->value_size);
    struct generation_id id;
    assert_true(generation_id_parse(text + 3, &id));
    size_t life = 0;
    while (life < world->life_count && !generation_id_equal(world->lives[life].id, id))
        life++;
    assert_true(life < world->life_count);
    struct model_life *own = &world->lives[life];
    assert_true(own->arrived_count < ARRIVED_MAX);
    bool there;
    struct arrived *out = &own->arrived[own->arrived_count++];
    out->from = number_in(text, "from", &there);
    out->to = number_in(text, "to", &there);
    out->events = number_in(text, "events", &there);
    out->lines = number_in(text, "lines", &there);
    out->parts = number_in(text, "parts", &there);
    out->empty = number_in(text, "empty", &there);
    out->zeros = number_in(text, "zeros", &there);
    out->topic = strstr(text, "\"topic\":\"events1\"") != NULL ? 1 : 0;
    out->partition = (int64_t)number_in(text, "partition", &there);
    out->first = (int64_t)number_in(text, "first", &there);
    out->last = (int64_t)number_in(text, "last", &there);
    if (!there)
        out->partition = out->first = out->last = -1;
    TRACE(world, "    arrived: life %zu %" PRIu64 "..%" PRIu64 "\n", life, out->from, out->to);
}

/* Instead of the agent's own: what is sent flies until the history answers it. */
void
producer_send(struct producer *producer, size_t topic_index, rd_kafka_message_t *messages,
              size_t count)
{
    (void)producer;
    (void)topic_index;
    struct world *world = the_world;
    assert_int_equal(count, 1);
    messages[0].err = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (!world->draining && world->full_count < FLYING_MAX && one_in(world, 20)) {
        messages[0].err = RD_KAFKA_RESP_ERR__QUEUE_FULL;
        world->full[world->full_count++] = messages[0]._private;
        return;
    }
    assert_true(world->flying_count < FLYING_MAX);
    world->flying[world->flying_count++] = messages[0]._private;
    if (one_in(world, 2)) /* its answer comes later, or never */
        arrive(world, messages[0]._private);
}

bool
producer_add_topic(struct producer *producer, const char *name, struct err *err)
{
    (void)producer;
    (void)name;
    (void)err;
    return true;
}

void
producer_look(struct producer *producer)
{
    (void)producer;
}

/* --- a run of the agent --- */

static void
set_control(struct world *world, bool there)
{
    int32_t leaders[] = {1, 1};
    struct err err;
    struct agent *agent = &world->agent;
    if (agent->receipts == NULL)
        return;
    struct topic *topic = topic_get(agent, world->options.receipts.topic, &err);
    topic_found(agent, topic,
                &(struct producer_topic){.partition_count = PARTITIONS, .leaders = leaders});
    topic->paused_until_ms = there ? 0 : UINT64_MAX;
}

static void
open_run(struct world *world)
{
    static char control[] = "control";
    static char none[] = "";
    static const char *const names[TOPICS] = {"events0", "events1"};
    struct agent *agent = &world->agent;
    struct state_report report;
    struct err err;
    world->options.receipts.topic = world->off ? none : control;
    world->options.receipts.interval = 3600000;
    *agent = (struct agent){.options = &world->options,
                            .say = hush,
                            .wake = ignore,
                            .rediscover = ignore,
                            .inputs = &world->inputs[0],
                            .sending = true};
    assert_true(metrics_new(&agent->metrics, families, METRIC_COUNT, &err));
    assert_true(slab_pool_new(&agent->pool, 10 * 1000 * 1000, 1000000, &err));
    assert_true(state_open(&agent->state, world->folder, &agent->catalog, &report, &err));
    assert_int_equal(report.holes, 0);
    for (size_t i = 0; i < TOPICS; i++) {
        world->inputs[i] = (struct input){.name = world->folder};
        world->inputs[i].topic = topic_get(agent, names[i], &err);
        buffer_init(&world->inputs[i].before_path, 1024);
        buffer_text(&world->inputs[i].before_path, "\",\"host.name\":\"h\",\"log.file.path\":");
    }
    assert_true(receipts_new(agent, &err));
    set_control(world, true);
    for (size_t i = 0; i < world->life_count; i++) {
        struct model_life *life = &world->lives[i];
        life->generation = catalog_find(&agent->catalog, life->id);
        life->file = (struct file){.input = &world->inputs[chance(world, 8) == 0 ? 1 : 0],
                                   .generation = life->generation,
                                   .path = world->folder};
        if (life->generation == NULL)
            continue;
        life->generation->file = &life->file;
        const struct receipt *owed = life->generation->receipt;
        TRACE(world, "  life %zu at %" PRIu64 ", owed %" PRIu64 "..%" PRIu64 "\n", i,
              life->generation->committed, owed == NULL ? 0 : owed->from,
              owed == NULL ? 0 : owed->to);
    }
}

/* As kill -9 would. */
static void
close_run(struct world *world)
{
    struct agent *agent = &world->agent;
    for (size_t i = 0; i < world->flying_count; i++)
        if (one_in(world, 2))
            arrive(world, world->flying[i]);
    world->flying_count = world->full_count = 0;
    receipts_free(agent);
    topics_done(agent);
    slab_pool_free(agent->pool);
    state_free(agent->state);
    catalog_done(&agent->catalog);
    metrics_free(agent->metrics);
    for (size_t i = 0; i < TOPICS; i++)
        buffer_done(&world->inputs[i].before_path);
}

/* Of a life that is gone nothing is known any more, so what did not arrive never will. */
static void
note_gone(struct world *world)
{
    for (size_t i = 0; i < world->life_count; i++)
        for (size_t unit = 0; world->lives[i].generation == NULL && unit < UNITS_MAX; unit++)
            world->lives[i].may_miss[unit] = true;
}

/* --- steps --- */

static void
write_progress(struct world *world, size_t i)
{
    struct generation *generation = world->lives[i].generation;
    if (generation == NULL || !generation->changed)
        return;
    generation->changed = false;
    state_put_progress(world->agent.state, generation);
}

static void
step_new_life(struct world *world)
{
    if (world->life_count == LIVES_MAX)
        return;
    struct err err;
    struct model_life *life = &world->lives[world->life_count];
    *life = (struct model_life){.zeros = one_in(world, 4)};
    life->generation = generation_new(&world->agent.catalog, world->folder, "/a.log");
    life->generation->part_size = 900000;
    life->id = life->generation->id;
    life->file = (struct file){
        .input = &world->inputs[0], .generation = life->generation, .path = world->folder};
    life->generation->file = &life->file;
    state_put_generation(world->agent.state, life->generation);
    assert_true(state_save(world->agent.state, &err)); /* always before its first event */
    world->life_count++;
}

static size_t
topic_number(const struct world *world, const struct file *file)
{
    return (size_t)(file->input - world->inputs);
}

static void
deliver(struct world *world, size_t i, struct batch *batch, uint64_t first_unit, uint64_t units)
{
    struct model_life *life = &world->lives[i];
    size_t topic = topic_number(world, &life->file);
    if (one_in(world, 20)) /* sent before a reload */
        topic = 1 - topic;
    batch->topic = world->inputs[topic].topic;
    size_t partition = one_in(world, 12) ? 1 : i % PARTITIONS;
    for (uint64_t unit = first_unit; unit < first_unit + units; unit++) {
        enum kind kind = kind_of(world, i, unit);
        batch->lines += kind == KIND_LINE;
        batch->parts += kind == KIND_PART;
        batch->empty += kind == KIND_EMPTY;
        if (kind == KIND_EMPTY)
            continue;
        batch->records++;
        for (size_t copies = one_in(world, 30) ? 2 : 1; copies > 0; copies--) {
            size_t *end = &world->ends[topic][partition];
            assert_true(*end < LOG_MAX);
            world->log[topic][partition][(*end)++] = (struct record){i, unit};
        }
        receipt_place_add(&batch->place, (int32_t)partition,
                          one_in(world, 60) ? -1001 : (int64_t)world->ends[topic][partition] - 1);
    }
}

/* Ranges that the agent could not keep, and counted. */
static double
left_out(const struct world *world)
{
    struct metrics *metrics = world->agent.metrics;
    return metrics_value(metrics, metrics_series(metrics, METRIC_RECEIPTS, "left_out", NULL));
}

static void
step_commit(struct world *world, size_t i)
{
    struct model_life *life = &world->lives[i];
    struct agent *agent = &world->agent;
    if (life->generation == NULL)
        return;
    uint64_t at = life->generation->committed / UNIT_SIZE;
    if (at == 0 && life->zeros) {
        generation_commit(life->generation, ZERO_UNITS * UNIT_SIZE, 0);
        receipts_passed(agent, &life->file, ZERO_UNITS * UNIT_SIZE);
        for (at = 0; at < ZERO_UNITS; at++)
            life->may_miss[at] |= world->off;
    }
    for (uint64_t batches = 1 + chance(world, 2); batches > 0; batches--) {
        uint64_t units = 1 + chance(world, 6);
        if (at + units >= UNITS_MAX)
            return;
        struct batch batch = {.start = at * UNIT_SIZE,
                              .end = (at + units) * UNIT_SIZE,
                              .place = {.first = -1, .last = -1}};
        deliver(world, i, &batch, at, units);
        double before = left_out(world);
        generation_commit(life->generation, batch.end, 0);
        receipts_committed(agent, &life->file, &batch);
        bool missed = world->off || left_out(world) > before;
        for (uint64_t unit = at; unit < at + units && missed; unit++)
            life->may_miss[unit] = true;
        at += units;
        life->delivered = at > life->delivered ? at : life->delivered;
    }
    TRACE(world, "  life %zu committed to %" PRIu64 ", topic %zu\n", i, life->generation->committed,
          topic_number(world, &life->file));
}

/* The seconds until the next try pass at once. */
static void
let_retry(struct world *world)
{
    while (world->full_count > 0)
        world->full[--world->full_count]->retry_at_ms = 0;
}

static void
step_tick(struct world *world)
{
    let_retry(world);
    for (size_t i = 0; i < world->life_count; i++) {
        if (!one_in(world, 8))
            write_progress(world, i);
        struct generation *generation = world->lives[i].generation;
        if (generation != NULL && generation->receipt != NULL && one_in(world, 2))
            generation->receipt->opened_ms = 0; /* its time has come */
    }
    receipts_tick(&world->agent);
}

static void
step_sync(struct world *world)
{
    struct err err;
    if (one_in(world, 6)) { /* an input that is new asks for a snapshot */
        char name[32];
        (void)snprintf(name, sizeof(name), "input%u", world->inputs_seen++);
        state_put_input(world->agent.state, name);
    }
    if (one_in(world, 3))
        assert_true(state_save(world->agent.state, &err));
    else
        state_sync(world->agent.state);
    /* Waited for, whether or not it is heard: a history goes the same way each time. */
    if (state_waits(world->agent.state)) {
        struct pollfd helper = {.fd = state_fd(world->agent.state), .events = POLLIN};
        assert_true(poll(&helper, 1, 10000) == 1);
    }
    if (!one_in(world, 4))
        assert_true(state_reap(world->agent.state, &err));
}

static void
answer(struct world *world, size_t index, rd_kafka_resp_err_t error)
{
    struct receipt *receipt = world->flying[index];
    world->flying[index] = world->flying[--world->flying_count];
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
        arrive(world, receipt);
    assert_true(
        receipts_answered(&world->agent, &(rd_kafka_message_t){._private = receipt, .err = error}));
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        receipt->retry_at_ms = 0;
    set_control(world, true);
}

static void
step_answer(struct world *world)
{
    if (world->flying_count == 0)
        return;
    answer(world, chance(world, world->flying_count),
           one_in(world, 4) ? RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
                            : RD_KAFKA_RESP_ERR_NO_ERROR);
}

/* Only what is shipped to its end is. */
static void
step_let_go(struct world *world, size_t i)
{
    struct model_life *life = &world->lives[i];
    if (life->generation == NULL || life->generation->committed < life->delivered * UNIT_SIZE)
        return;
    life->generation->file = NULL;
    state_forget(world->agent.state, life->generation);
    receipts_end(&world->agent, life->generation);
    generation_remove(&world->agent.catalog, life->generation);
    life->generation = NULL;
    life->file.generation = NULL;
    TRACE(world, "  life %zu let go\n", i);
}

/* The last receipts of a stop that finds the control topic, or does not. */
static void
stop_in_order(struct world *world)
{
    struct err err;
    receipts_flush(&world->agent);
    for (size_t round = 0; round < 4; round++) {
        for (size_t i = 0; i < world->life_count; i++)
            write_progress(world, i);
        receipts_tick(&world->agent);
        assert_true(state_save(world->agent.state, &err));
        receipts_tick(&world->agent);
        while (world->flying_count > 0 && !one_in(world, 8))
            answer(world, 0, RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    for (size_t i = 0; i < world->life_count; i++)
        write_progress(world, i);
    assert_true(state_stop(world->agent.state, &err));
}

static void
switch_receipts(struct world *world)
{
    world->off = !world->off;
    for (size_t i = 0; i < world->life_count && world->off; i++)
        for (uint64_t unit = 0; unit < world->lives[i].delivered; unit++)
            world->lives[i].may_miss[unit] = true;
}

/* `state set` behind what was delivered. */
static void
step_jump(struct world *world, size_t i)
{
    struct model_life *life = &world->lives[i];
    struct err err;
    if (life->generation == NULL)
        return;
    uint64_t at = life->generation->committed / UNIT_SIZE;
    uint64_t to = at + 1 + chance(world, 5);
    if (to >= UNITS_MAX || (at == 0 && life->zeros))
        return;
    for (uint64_t unit = at; unit < to; unit++)
        life->may_miss[unit] = true;
    generation_commit(life->generation, to * UNIT_SIZE, 0);
    life->delivered = to > life->delivered ? to : life->delivered;
    state_put_generation(world->agent.state, life->generation);
    assert_true(state_save(world->agent.state, &err));
}

static void
step_restart(struct world *world)
{
    bool kill = !one_in(world, 4);
    TRACE(world, "  %s\n", kill ? "kill" : "stop");
    if (!kill)
        stop_in_order(world);
    close_run(world);
    note_gone(world);
    if (one_in(world, 8))
        switch_receipts(world);
    open_run(world);
    note_gone(world);
    TRACE(world, "  start%s\n", world->off ? " without receipts" : "");
    if (!kill && one_in(world, 4) && world->life_count > 0)
        step_jump(world, chance(world, world->life_count));
}

static void
step(struct world *world)
{
    size_t i = world->life_count == 0 ? 0 : chance(world, world->life_count);
    struct model_life *life = &world->lives[i];
    switch (chance(world, 24)) {
    case 0:
        step_new_life(world);
        break;
    case 1: /* renamed, or its first bytes are known */
        if (life->generation != NULL && one_in(world, 2))
            (void)generation_set_path(life->generation, one_in(world, 2) ? "/a.log" : "/b.log");
        else if (life->generation != NULL)
            state_put_generation(world->agent.state, life->generation);
        break;
    case 2:
        if (one_in(world, 2)) /* reload */
            life->file.input = &world->inputs[chance(world, TOPICS)];
        break;
    case 3:
        if (one_in(world, 8))
            step_let_go(world, i);
        else if (life->generation != NULL)
            life->generation->file = one_in(world, 2) ? NULL : &life->file;
        break;
    case 4:
        set_control(world, one_in(world, 2));
        break;
    case 5:
        if (one_in(world, 2))
            step_restart(world);
        break;
    case 6:
    case 7:
    case 8:
    case 9:
        step_sync(world);
        break;
    case 10:
    case 11:
    case 12:
    case 13:
        step_answer(world);
        break;
    case 14:
    case 15:
    case 16:
    case 17:
        step_tick(world);
        break;
    default:
        if (world->life_count > 0)
            step_commit(world, i);
        break;
    }
}

/* --- judging --- */

static int
by_beginning(const void *a, const void *b)
{
    const struct arrived *left = a;
    const struct arrived *right = b;
    if (left->from != right->from)
        return left->from < right->from ? -1 : 1;
    return left->to == right->to ? 0 : left->to > right->to ? -1 : 1;
}

#define HOLDS(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "seed %" PRIu64 ": ", world->seed);                                    \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fprintf(stderr, "\n");                                                                 \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

static bool
judge_counts(const struct world *world, size_t i, const struct arrived *it)
{
    struct arrived right = truth(world, i, it->from, it->to);
    HOLDS(it->from < it->to && it->events == right.events && it->lines == right.lines &&
              it->parts == right.parts && it->empty == right.empty && it->zeros == right.zeros,
          "life %zu, bytes %" PRIu64 "..%" PRIu64 ": %" PRIu64 " lines instead of %" PRIu64, i,
          it->from, it->to, it->lines, right.lines);
    for (uint64_t unit = it->from / UNIT_SIZE; unit < it->to / UNIT_SIZE; unit++) {
        enum kind kind = kind_of(world, i, unit);
        if (it->partition < 0 || kind == KIND_EMPTY || kind == KIND_ZEROS)
            continue;
        bool found = false;
        for (int64_t at = it->first; at <= it->last; at++) {
            const struct record *record = &world->log[it->topic][it->partition][at];
            found |= record->life == i && record->unit == unit;
        }
        HOLDS(found, "life %zu: the event at %" PRIu64 " is not where the receipt says", i,
              unit * UNIT_SIZE);
    }
    return true;
}

static bool
judge_life(struct world *world, size_t i)
{
    struct model_life *life = &world->lives[i];
    qsort(life->arrived, life->arrived_count, sizeof(life->arrived[0]), by_beginning);
    uint64_t covered = 0;
    for (size_t at = 0; at < life->arrived_count; at++) {
        const struct arrived *it = &life->arrived[at];
        if (at > 0 && it[-1].from == it->from)
            continue;
        HOLDS(it->from >= covered, "life %zu: told twice: %" PRIu64 "..%" PRIu64, i, it->from,
              covered);
        for (uint64_t unit = covered / UNIT_SIZE; unit < it->from / UNIT_SIZE; unit++)
            HOLDS(life->may_miss[unit], "life %zu: no receipt for %" PRIu64 "..%" PRIu64, i,
                  covered, it->from);
        if (!judge_counts(world, i, it))
            return false;
        covered = it->to;
    }
    for (uint64_t unit = covered / UNIT_SIZE; unit < life->delivered; unit++)
        HOLDS(life->may_miss[unit], "life %zu: no receipt behind %" PRIu64, i, covered);
    return true;
}

/* Everything is read again that has to be, and every receipt arrives. */
static void
drain(struct world *world)
{
    struct err err;
    set_control(world, true);
    let_retry(world);
    world->draining = true;
    for (size_t i = 0; i < world->life_count; i++)
        while (world->lives[i].generation != NULL &&
               world->lives[i].generation->committed / UNIT_SIZE < world->lives[i].delivered)
            step_commit(world, i);
    receipts_flush(&world->agent);
    for (size_t round = 0; round < 12; round++) {
        for (size_t i = 0; i < world->life_count; i++)
            write_progress(world, i);
        receipts_tick(&world->agent);
        assert_true(state_save(world->agent.state, &err));
        receipts_tick(&world->agent);
        while (world->flying_count > 0)
            answer(world, 0, RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    if (!world->off)
        assert_false(receipts_wait(&world->agent));
}

static void
remove_folder(const struct world *world)
{
    static const char *const names[] = {"/journal", "/lock", "/journal.spare", ""};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s%s", world->folder, names[i]);
        (void)remove(path);
    }
}

static bool
history(struct world *world, uint64_t seed, bool trace)
{
    *world = (struct world){.seed = seed, .random = seed, .trace = trace};
    (void)snprintf(world->folder, sizeof(world->folder), "%s/receipts_model.XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(world->folder));
    the_world = world;
    open_run(world);
    step_new_life(world);
    for (uint64_t steps = 5 + chance(world, STEPS_MAX); steps > 0; steps--)
        step(world);
    if (world->off) {
        close_run(world);
        note_gone(world);
        world->off = false;
        open_run(world);
        note_gone(world);
    }
    drain(world);
    bool fine = true;
    for (size_t i = 0; fine && i < world->life_count; i++)
        fine = judge_life(world, i);
    close_run(world);
    remove_folder(world);
    return fine;
}

static uint64_t
number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void
whatever_happens_each_delivered_byte_is_told_once(void **context)
{
    (void)context;
    struct world *world = calloc(1, sizeof(*world));
    uint64_t histories = number_of("RECEIPTS_MODEL_HISTORIES", HISTORIES);
    uint64_t seed = number_of("RECEIPTS_MODEL_SEED", 1);
    uint64_t failed = 0;
    for (uint64_t i = 0; i < histories; i++)
        failed += !history(world, seed + i, getenv("RECEIPTS_MODEL_TRACE") != NULL);
    free(world);
    if (failed > 0)
        fail_msg("%" PRIu64 " of %" PRIu64 " histories", failed, histories);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_happens_each_delivered_byte_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
