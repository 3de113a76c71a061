/* SPDX-License-Identifier: Apache-2.0 */
/* receipts.c: see receipts.h. A receipt's way: open (the list in order of age), closed when its
 * time has come (rendered, in the list of those to be sent), on disk, flying, acknowledged. */
#include "agent/receipts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/state.h"
#include "agent/topics.h"
#include "core/assert.h"
#include "core/clock.h"
#include "core/encode.h"

#define RETRY_MS 5000
#define MESSAGE_SIZE_MAX (4096 * 6 + 64 * 1024) /* a path and a host, escaped, and some numbers */

struct list {
    struct receipt *first, *last;
};

struct receipts {
    struct topic *topic;
    uint64_t interval_ms;
    struct list open, sent;
    size_t count; /* of both lists */
    size_t flying;
    struct buffer text;
    bool flushing;
    metric acknowledged, refused, left_out, waiting;
};

static void
list_append(struct list *list, struct receipt *receipt)
{
    receipt->next = NULL;
    receipt->previous = list->last;
    if (list->last != NULL)
        list->last->next = receipt;
    else
        list->first = receipt;
    list->last = receipt;
}

static void
list_remove(struct list *list, struct receipt *receipt)
{
    if (receipt->previous != NULL)
        receipt->previous->next = receipt->next;
    else
        list->first = receipt->next;
    if (receipt->next != NULL)
        receipt->next->previous = receipt->previous;
    else
        list->last = receipt->previous;
}

static void
add_sent(struct receipts *receipts, struct receipt *receipt, uint64_t durable_at)
{
    list_append(&receipts->sent, receipt);
    receipt->listed = true;
    receipt->durable_at = durable_at;
}

/* What the state still owes of the last run is due at once. */
static void
adopt(struct agent *agent)
{
    struct receipts *receipts = agent->receipts;
    for (struct generation *at = agent->catalog.first; at != NULL; at = at->next) {
        for (struct receipt *sent = at->receipt_sent; sent != NULL; sent = sent->later)
            add_sent(receipts, sent, state_sequence(agent->state));
        receipts->count += receipt_sent_count(at);
        if (at->receipt == NULL)
            continue;
        list_append(&receipts->open, at->receipt);
        receipts->count++;
    }
}

bool
receipts_new(struct agent *agent, struct err *err)
{
    const struct agent_receipts_options *options = &agent->options->receipts;
    if (options->topic[0] == '\0') {
        for (struct generation *at = agent->catalog.first; at != NULL; at = at->next)
            receipt_let_go(at); /* of a run that sent some */
        return true;
    }
    struct receipts *receipts = calloc(1, sizeof(*receipts));
    if (receipts == NULL)
        return err_errno(err, ERR_STOP, ENOMEM, "set up the receipts");
    agent->receipts = receipts;
    buffer_init(&receipts->text, MESSAGE_SIZE_MAX);
    receipts->interval_ms = options->interval;
    receipts->topic = topic_get(agent, options->topic, err);
    if (receipts->topic == NULL)
        return false;
    receipts->topic->aside = true;
    struct metrics *metrics = agent->metrics;
    receipts->acknowledged = metrics_series(metrics, METRIC_RECEIPTS, "acknowledged", NULL);
    receipts->refused = metrics_series(metrics, METRIC_RECEIPTS, "refused", NULL);
    receipts->left_out = metrics_series(metrics, METRIC_RECEIPTS, "left_out", NULL);
    receipts->waiting = metrics_series(metrics, METRIC_RECEIPTS_WAITING, NULL);
    adopt(agent);
    return true;
}

static void
free_list(struct list *list)
{
    for (struct receipt *at = list->first, *next; at != NULL; at = next) {
        next = at->next;
        free(at->message);
        free(at);
    }
    *list = (struct list){0};
}

void
receipts_free(struct agent *agent)
{
    struct receipts *receipts = agent->receipts;
    if (receipts == NULL)
        return;
    for (struct receipt *at = receipts->sent.first; at != NULL; at = at->next)
        if (at->generation != NULL)
            at->generation->receipt_sent = NULL;
    free_list(&receipts->sent); /* the open ones are their lives' */
    buffer_done(&receipts->text);
    free(receipts);
    agent->receipts = NULL;
}

/* --- closing --- */

static void
put_number(struct buffer *out, const char *name, uint64_t value)
{
    buffer_format(out, ",\"%s\":%" PRIu64, name, value);
}

/* Which input's? After a restart the file may not be known again yet. */
static const struct input *
input_of(const struct agent *agent, const struct generation *generation)
{
    const struct input *input = agent->inputs;
    while (input != NULL && strcmp(input->name, generation->input) != 0)
        input = input->next;
    return input != NULL ? input : agent->inputs;
}

/* Key and value, unless it has them; false when memory is short or there is no input any more. */
static bool
render(struct agent *agent, struct receipt *receipt)
{
    if (receipt->message != NULL)
        return true;
    struct buffer *out = &agent->receipts->text;
    const struct generation *generation = receipt->generation;
    const struct input *input = input_of(agent, generation);
    if (input == NULL)
        return false;
    char id[GENERATION_TEXT_SIZE];
    char time[CLOCK_TEXT_SIZE];
    generation_id_format(generation->id, id);
    clock_format_utc(clock_wall_ms(), time);
    buffer_clear(out);
    buffer_format(out, "r1.%.*s.%016" PRIx64, GENERATION_TEXT_SIZE, id, receipt->from);
    size_t key_size = out->size;
    buffer_format(out, "{\"@timestamp\":\"%.*s", CLOCK_TEXT_SIZE, time);
    buffer_append(out, input->before_path.bytes, input->before_path.size);
    encode_json_string(out, generation->path, strlen(generation->path));
    buffer_format(out, ",\"receipt\":{\"version\":1,\"generation\":\"%.*s\",\"input\":",
                  GENERATION_TEXT_SIZE, id);
    encode_json_string(out, generation->input, strlen(generation->input));
    buffer_text(out, ",\"topic\":");
    encode_json_string(out, receipt->topic, strlen(receipt->topic));
    put_number(out, "from", receipt->from);
    put_number(out, "to", receipt->to);
    put_number(out, "events", receipt->events);
    put_number(out, "lines", receipt->lines);
    put_number(out, "parts", receipt->parts);
    put_number(out, "empty", receipt->empty);
    put_number(out, "zeros", receipt->zeros);
    put_number(out, "since", (uint64_t)receipt->since_ms);
    if (receipt->first >= 0 && !receipt->scattered) {
        put_number(out, "partition", (uint64_t)receipt->partition);
        put_number(out, "first", (uint64_t)receipt->first);
        put_number(out, "last", (uint64_t)receipt->last);
    }
    buffer_text(out, "}}");
    if (out->failed || (receipt->message = malloc(out->size)) == NULL)
        return false;
    memcpy(receipt->message, out->bytes, out->size);
    receipt->key_size = (uint32_t)key_size;
    receipt->value_size = (uint32_t)(out->size - key_size);
    return true;
}

/* The open range of a life goes as it is, when the state has on disk what it has now been told.
 * False: it stays open. */
static bool
close_range(struct agent *agent, struct generation *generation)
{
    struct receipts *receipts = agent->receipts;
    struct receipt *receipt = generation->receipt;
    if (!render(agent, receipt))
        return false;
    list_remove(&receipts->open, receipt);
    receipt_end(generation);
    add_sent(receipts, receipt, state_sequence(agent->state));
    return true;
}

/* --- what is delivered --- */

/* The receipt that goes on at `from`; a new one when there is none. NULL: there are too many,
 * of all or of this life's. */
static struct receipt *
open_at(struct agent *agent, struct generation *generation, const char *topic, uint64_t from,
        int64_t since_ms)
{
    struct receipts *receipts = agent->receipts;
    struct receipt *receipt = generation->receipt;
    if (receipt != NULL && receipt->to == from && strcmp(receipt->topic, topic) == 0)
        return receipt;
    if (receipt != NULL && (receipt_sent_count(generation) >= RECEIPTS_OWED_MAX - 1 ||
                            !close_range(agent, generation)))
        return NULL;
    if (receipts->count >= RECEIPTS_MAX || (receipt = receipt_new(topic)) == NULL)
        return NULL;
    receipt->from = receipt->to = from;
    receipt->since_ms = since_ms;
    receipt->opened_ms = clock_monotonic_ms();
    receipt->generation = generation;
    generation->receipt = receipt;
    list_append(&receipts->open, receipt);
    receipts->count++;
    return receipt;
}

/* A range ended before the state had been told of all of it. It is now, and of what follows. */
static void
tell_end(struct agent *agent, const struct generation *generation, struct receipt *ended)
{
    state_put_progress(agent->state, generation);
    ended->durable_at = state_sequence(agent->state);
}

void
receipts_committed(struct agent *agent, const struct file *file, const struct batch *batch)
{
    if (agent->receipts == NULL || batch->end == batch->start)
        return;
    struct generation *generation = file->generation;
    struct receipt *before = generation->receipt;
    struct receipt *receipt =
        open_at(agent, generation, batch->topic->name, batch->start, batch->sent_wall_ms);
    if (receipt != NULL) {
        receipt->to = batch->end;
        receipt->events += batch->records;
        receipt->lines += batch->lines;
        receipt->parts += batch->parts;
        receipt->empty += batch->empty;
        if (receipt->since_ms > batch->sent_wall_ms) /* the clock was set back */
            receipt->since_ms = batch->sent_wall_ms;
        receipt_add_place(receipt, &batch->place);
    } else {
        metrics_add(agent->metrics, agent->receipts->left_out, 1);
    }
    if (before != NULL && before != generation->receipt)
        tell_end(agent, generation, before);
}

void
receipts_passed(struct agent *agent, const struct file *file, uint64_t to)
{
    if (agent->receipts == NULL || to == 0)
        return;
    struct generation *generation = file->generation;
    struct receipt *before = generation->receipt;
    struct receipt *receipt =
        open_at(agent, generation, file->input->topic->name, 0, clock_wall_ms());
    if (receipt != NULL) {
        receipt->to = to;
        receipt->zeros += to;
    } else {
        metrics_add(agent->metrics, agent->receipts->left_out, 1);
    }
    if (before != NULL && before != generation->receipt)
        tell_end(agent, generation, before);
}

static void
leave_out(struct agent *agent)
{
    agent->receipts->count--;
    metrics_add(agent->metrics, agent->receipts->left_out, 1);
}

void
receipts_end(struct agent *agent, struct generation *generation)
{
    struct receipts *receipts = agent->receipts;
    if (receipts == NULL)
        return;
    if (generation->receipt != NULL && !close_range(agent, generation)) {
        list_remove(&receipts->open, generation->receipt);
        leave_out(agent);
    }
    for (struct receipt *at = generation->receipt_sent; at != NULL; at = at->later) {
        if (render(agent, at))
            continue;
        list_remove(&receipts->sent, at);
        at->listed = false;
        leave_out(agent);
    }
    receipt_let_go(generation);
}

/* --- sending --- */

static bool
is_due(const struct receipts *receipts, const struct receipt *receipt, uint64_t now_ms)
{
    return receipts->flushing || receipt->opened_ms == 0 ||
           now_ms - receipt->opened_ms >= receipts->interval_ms;
}

static void
close_due(struct agent *agent, uint64_t now_ms)
{
    struct receipts *receipts = agent->receipts;
    size_t early = receipts->count > RECEIPTS_MANY ? RECEIPTS_FLYING_MAX : 0;
    for (struct receipt *at = receipts->open.first, *next; at != NULL; at = next) {
        next = at->next;
        if (!is_due(receipts, at, now_ms) && early-- == 0)
            break; /* the others are younger */
        struct generation *generation = at->generation;
        if (generation->changed && generation->file == NULL) { /* nobody else tells the state */
            state_put_progress(agent->state, generation);
            generation->changed = false;
        }
        /* One at a time for each life; and only what the state was told. */
        if (generation->receipt_sent == NULL && !generation->changed)
            (void)close_range(agent, generation);
    }
}

static void
send_receipt(struct agent *agent, struct receipt *receipt)
{
    const struct topic *topic = agent->receipts->topic;
    /* A life's receipts stand in one partition as long as their number does not change. */
    uint64_t hash = generation_hash(receipt->message, 3 + GENERATION_TEXT_SIZE);
    rd_kafka_message_t message = {
        .partition = (int32_t)(hash % (uint32_t)topic->partition_count),
        .key = receipt->message,
        .key_len = receipt->key_size,
        .payload = receipt->message + receipt->key_size,
        .len = receipt->value_size,
        ._private = receipt,
    };
    receipt->flying = true;
    agent->receipts->flying++;
    producer_send(agent->producer, topic->index, &message, 1);
    if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR)
        (void)receipts_answered(agent, &message);
}

void
receipts_tick(struct agent *agent)
{
    struct receipts *receipts = agent->receipts;
    if (receipts == NULL)
        return;
    uint64_t now_ms = clock_monotonic_ms();
    metrics_set(agent->metrics, receipts->waiting, (double)receipts->count);
    if (!topic_is_open(agent, receipts->topic))
        return;
    close_due(agent, now_ms);
    for (struct receipt *at = receipts->sent.first, *next; at != NULL; at = next) {
        next = at->next;
        if (receipts->flying >= RECEIPTS_FLYING_MAX)
            break;
        if (!at->flying && at->retry_at_ms <= now_ms &&
            at->durable_at <= state_durable(agent->state) && render(agent, at))
            send_receipt(agent, at);
    }
}

void
receipts_flush(struct agent *agent)
{
    if (agent->receipts != NULL)
        agent->receipts->flushing = true;
}

bool
receipts_wait(const struct agent *agent)
{
    const struct receipts *receipts = agent->receipts;
    if (receipts == NULL || receipts->count == 0)
        return false;
    const struct topic *topic = receipts->topic;
    bool not_looked_yet = topic->partition_count == 0 && topic->error == RD_KAFKA_RESP_ERR_NO_ERROR;
    return topic_is_open(agent, topic) || (not_looked_yet && !agent->kafka_is_away);
}

/* Given back by a client that ends, or that has no room. */
static bool
is_our_doing(rd_kafka_resp_err_t error)
{
    return error == RD_KAFKA_RESP_ERR__PURGE_QUEUE || error == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT ||
           error == RD_KAFKA_RESP_ERR__FATAL || error == RD_KAFKA_RESP_ERR__QUEUE_FULL;
}

bool
receipts_answered(struct agent *agent, const rd_kafka_message_t *message)
{
    const char *opaque = message->_private;
    if (agent->receipts == NULL ||
        (opaque >= (char *)agent->batches && opaque < (char *)(agent->batches + BATCHES_MAX)))
        return false;
    struct receipts *receipts = agent->receipts;
    struct receipt *receipt = message->_private;
    ASSERT(receipt->flying);
    ASSERT(receipts->flying > 0);

    receipt->flying = false;
    receipts->flying--;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        metrics_add(agent->metrics, receipts->refused, 1);
        receipt->retry_at_ms = clock_monotonic_ms() + RETRY_MS;
        if (!is_our_doing(message->err))
            topic_pause(agent, receipts->topic, message->err);
        return true;
    }
    receipts->topic->pause_ms = 0;
    metrics_add(agent->metrics, receipts->acknowledged, 1);
    struct generation *generation = receipt->generation;
    list_remove(&receipts->sent, receipt);
    receipts->count--;
    if (generation != NULL) {
        receipt_unlink(receipt);
        /* Progress that the state has not, it must not have in a receipt either: after a kill it
         * would be told twice. The two are put together soon. */
        if (!generation->changed)
            state_put_receipt(agent->state, generation);
    }
    free(receipt->message);
    free(receipt);
    return true;
}
