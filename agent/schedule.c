/* SPDX-License-Identifier: Apache-2.0 */
/* schedule.c: see schedule.h. */
#include "agent/schedule.h"

#include <stdlib.h>

#include "agent/inputs/account.h"
#include "agent/inputs/files.h"
#include "agent/inputs/remotes.h"
#include "agent/reader.h"
#include "agent/topics.h"
#include "core/assert.h"
#include "core/clock.h"

static void
queue_push(struct file_queue *queue, struct file *file)
{
    file->queue_next = NULL;
    if (queue->last != NULL)
        queue->last->queue_next = file;
    else
        queue->first = file;
    queue->last = file;
}

static struct file *
queue_pop(struct file_queue *queue)
{
    struct file *file = queue->first;
    if (file == NULL)
        return NULL;
    queue->first = file->queue_next;
    if (queue->first == NULL)
        queue->last = NULL;
    file->queue_next = NULL;
    return file;
}

static bool
queue_drop(struct file_queue *queue, const struct file *file)
{
    struct file *before = NULL;
    for (struct file *at = queue->first; at != NULL; before = at, at = at->queue_next) {
        if (at != file)
            continue;
        if (before == NULL)
            queue->first = at->queue_next;
        else
            before->queue_next = at->queue_next;
        if (queue->last == at)
            queue->last = before;
        at->queue_next = NULL;
        return true;
    }
    return false;
}

static bool
input_fits_topic(struct input *input)
{
    if (input->queue_count >= input->topic->lane_count)
        return true;
    struct file_queue *queues =
        realloc(input->queues, input->topic->lane_count * sizeof(queues[0]));
    if (queues == NULL)
        return false;
    for (uint32_t i = input->queue_count; i < input->topic->lane_count; i++)
        queues[i] = (struct file_queue){0};
    input->queues = queues;
    input->queue_count = input->topic->lane_count;
    return true;
}

static bool
spreads(const struct agent *agent)
{
    return agent->options->kafka.partitioning == PARTITIONING_SPREAD;
}

/* Into the queue of the lane that its next batch goes to. */
static void
place(struct agent *agent, struct file *file)
{
    struct input *input = file->input;
    struct topic *topic = input->topic;
    if (topic->partition_count == 0 || !input_fits_topic(input)) {
        queue_push(&input->unplaced, file);
        return;
    }
    /* What is under way keeps its partition, so that order holds when their number changes. */
    if (spreads(agent) || file->first == NULL || file->partition >= topic->partition_count)
        file->partition = topic_partition(topic, file, spreads(agent));
    queue_push(&input->queues[topic->partition_lanes[file->partition]], file);
}

void
schedule_file(struct agent *agent, struct file *file)
{
    if (file->queued || file->failed || file->state != FILE_ACTIVE || file->refused_until_ms != 0)
        return;
    file->queued = true;
    account_touch(agent, file);
    place(agent, file);
    agent->wake(agent);
}

void
schedule_remove(struct agent *agent, struct file *file)
{
    (void)agent;
    if (!file->queued)
        return;
    struct input *input = file->input;
    bool found = queue_drop(&input->unplaced, file);
    for (uint32_t i = 0; i < input->queue_count && !found; i++)
        found = queue_drop(&input->queues[i], file);
    ASSERT(found);
    file->queued = false;
}

void
schedule_topic(struct agent *agent, struct topic *topic)
{
    for (struct input *input = agent->inputs; input != NULL; input = input->next) {
        if (input->topic != topic)
            continue;
        struct file_queue all = input->unplaced;
        input->unplaced = (struct file_queue){0};
        for (uint32_t i = 0; i < input->queue_count; i++) {
            struct file *file;
            while ((file = queue_pop(&input->queues[i])) != NULL)
                queue_push(&all, file);
        }
        struct file *file;
        while ((file = queue_pop(&all)) != NULL)
            place(agent, file);
    }
}

void
schedule_tick(struct agent *agent)
{
    for (struct input *input = agent->inputs; input != NULL; input = input->next) {
        if (input->unplaced.first == NULL || input->topic->partition_count == 0)
            continue;
        schedule_topic(agent, input->topic);
        agent->wake(agent);
    }
}

/* Gives an input the tokens of the time since the last look; false while it has none. */
static bool
has_tokens(struct input *input)
{
    int64_t rate = (int64_t)input->options->rate_limit;
    if (rate == 0)
        return true;
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t passed_ms = now_ms - input->tokens_ms;
    if (passed_ms > 1000)
        passed_ms = 1000; /* no more than a second's worth is saved up */
    int64_t more = rate * (int64_t)passed_ms / 1000;
    if (more > 0) {
        input->tokens += more;
        input->tokens_ms = now_ms;
    }
    if (input->tokens > rate)
        input->tokens = rate;
    return input->tokens > 0;
}

uint64_t
schedule_tokens_ms(struct agent *agent)
{
    uint64_t least = UINT64_MAX;
    for (struct input *input = agent->inputs; input != NULL; input = input->next) {
        if (has_tokens(input))
            continue;
        uint64_t rate = input->options->rate_limit;
        uint64_t wait_ms = (uint64_t)(1 - input->tokens) * 1000 / rate + 1;
        if (wait_ms < least)
            least = wait_ms;
    }
    return least;
}

static void
after_turn(struct agent *agent, struct file *file, struct lane *lane, enum read_outcome outcome,
           const struct err *err)
{
    switch (outcome) {
    case READ_MORE:
        schedule_file(agent, file);
        break;
    case READ_BLOCKED:
        lane->blocked_epoch = agent->epoch;
        schedule_file(agent, file);
        break;
    case READ_CHANGED:
        files_changed(agent, file);
        break;
    case READ_FAILED:
        files_failed(agent, file, err);
        break;
    case READ_IDLE:
        files_idle(agent, file);
        break;
    case READ_WAITING: /* taken up again when the state is on disk */
        break;
    }
}

/* One turn of one file of the input; false when it has nothing that can be done now. */
static bool
input_turn(struct agent *agent, struct input *input)
{
    struct topic *topic = input->topic;
    if (!topic_is_open(agent, topic) || !has_tokens(input))
        return false;
    for (uint32_t i = 0; i < input->queue_count && i < topic->lane_count; i++) {
        uint32_t index = (input->cursor + i) % topic->lane_count;
        if (index >= input->queue_count)
            continue;
        struct lane *lane = topic->lanes[index];
        if (lane->leader < 0 || lane->blocked_epoch == agent->epoch)
            continue;
        struct file *file = queue_pop(&input->queues[index]);
        if (file == NULL)
            continue;
        input->cursor = (index + 1) % topic->lane_count;
        file->queued = false;
        if (file->failed || file->state != FILE_ACTIVE || file->refused_until_ms != 0)
            return true;
        if (!remote_answers(file->remote))
            return true; /* the tick takes it up again */
        struct err err = {0};
        enum read_outcome outcome = reader_turn(agent, file, file->partition, lane, &err);
        after_turn(agent, file, lane, outcome, &err);
        return true;
    }
    return false;
}

bool
schedule_run(struct agent *agent, unsigned turns)
{
    if (!agent->sending || agent->clock_is_wrong)
        return false;
    while (turns > 0) {
        bool any = false;
        for (struct input *input = agent->inputs; input != NULL && turns > 0; input = input->next)
            if (input_turn(agent, input)) {
                any = true;
                turns--;
            }
        if (!any)
            return false;
    }
    return true;
}
