/* SPDX-License-Identifier: Apache-2.0 */
/* commit.c: the offsets of what is finished, handed to librdkafka or sent at once. */
#include <stdio.h>

#include "core/assert.h"
#include "sinks/consumer/inside.h"

/* A failed commit needs nothing: what is stored and not committed is sent again. */
static void
note_commit(struct consumer *consumer, rd_kafka_resp_err_t code,
            const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; list != NULL && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *it = &list->elems[i];
        struct partition *partition = consumer_partition_at(consumer, it->topic, it->partition);
        if (partition != NULL && partition->assigned && code == RD_KAFKA_RESP_ERR_NO_ERROR &&
            it->err == RD_KAFKA_RESP_ERR_NO_ERROR && it->offset >= 0)
            partition->committed = it->offset;
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR__NO_OFFSET) {
        char text[PROBLEM_MAX];
        int size = snprintf(text, sizeof(text), "offsets are not committed yet: %s",
                            rd_kafka_err2str(code));
        ASSERT(size > 0);
        consumer->hooks.note(consumer->hooks.context, 7, text);
    }
}

void
consumer_on_commit(rd_kafka_t *client, rd_kafka_resp_err_t code,
                   rd_kafka_topic_partition_list_t *list, void *opaque)
{
    (void)client;
    note_commit(consumer_from_opaque(opaque), code, list);
}

/* An empty list in place of the last one, whose entries own their topics' names. */
static void
renew_list(struct consumer *consumer)
{
    rd_kafka_topic_partition_list_destroy(consumer->commit_list);
    consumer->commit_list = rd_kafka_topic_partition_list_new(16);
}

/* What is finished belongs to the log as it is now, not to one that was deleted. */
static bool
is_storable(const struct partition *partition)
{
    return partition->assigned && !partition->doubted && partition->offsets.stored >= 0 &&
           partition->offsets.first > partition->commit_from;
}

static void
list_offset(struct consumer *consumer, const struct partition *partition)
{
    rd_kafka_topic_partition_list_add(consumer->commit_list, consumer_topic(consumer, partition),
                                      partition->id)
        ->offset = partition->offsets.stored;
}

/* librdkafka's timer leaves out what is lower than what it committed before (2.0.2, 2.16). */
static void
commit_lower(struct consumer *consumer)
{
    bool due = false;
    for (size_t i = 0; i < consumer->all_count; i++)
        due |= consumer->all[i]->commit_lower && is_storable(consumer->all[i]);
    struct err err;
    if (!due || consumer->problem[0] != '\0')
        return;
    if (!consumer_commit(consumer, false, COMMIT_TIMEOUT_MS, &err)) {
        consumer->hooks.note(consumer->hooks.context, 4, err.text);
        return;
    }
    for (size_t i = 0; i < consumer->all_count; i++)
        if (is_storable(consumer->all[i]))
            consumer->all[i]->commit_lower = false;
}

/* librdkafka commits on its own timer, because it alone knows when the group rebalances: a
 * commit sent then carries the old generation, and 2.0.2 takes the refusal for a lost
 * assignment. */
void
consumer_store(struct consumer *consumer)
{
    commit_lower(consumer);
    renew_list(consumer);
    for (size_t i = 0; i < consumer->all_count; i++) {
        struct partition *partition = consumer->all[i];
        if (!is_storable(partition) || partition->offsets.stored == partition->handed)
            continue;
        list_offset(consumer, partition);
        partition->handed = partition->offsets.stored;
    }
    if (consumer->commit_list->cnt > 0)
        (void)rd_kafka_offsets_store(consumer->client, consumer->commit_list);
}

bool
consumer_commit(struct consumer *consumer, bool only_revoking, uint64_t timeout_ms, struct err *err)
{
    renew_list(consumer);
    for (size_t i = 0; i < consumer->all_count; i++) {
        struct partition *partition = consumer->all[i];
        if (!is_storable(partition) || (!partition->revoking && only_revoking) ||
            partition->offsets.stored == partition->committed)
            continue;
        list_offset(consumer, partition);
        partition->handed = partition->offsets.stored;
    }
    if (consumer->commit_list->cnt == 0)
        return true;
    /* librdkafka commits what it was handed once more when a partition leaves, also when that is
     * less than what was committed by hand meanwhile (2.0.2). */
    (void)rd_kafka_offsets_store(consumer->client, consumer->commit_list);
    rd_kafka_queue_t *answers = rd_kafka_queue_new(consumer->client);
    rd_kafka_resp_err_t code =
        rd_kafka_commit_queue(consumer->client, consumer->commit_list, answers, NULL, NULL);
    rd_kafka_event_t *event = NULL;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        event = rd_kafka_queue_poll(answers, (int)timeout_ms);
        code = event == NULL ? RD_KAFKA_RESP_ERR__TIMED_OUT : rd_kafka_event_error(event);
    }
    note_commit(consumer, code, event == NULL ? NULL : rd_kafka_event_topic_partition_list(event));
    if (event != NULL)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(answers);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err_set(err, ERR_RETRY, code, "cannot commit offsets: %s", rd_kafka_err2str(code));
    return true;
}

bool
consumer_commit_wait(struct consumer *consumer, uint64_t timeout_ms, struct err *err)
{
    return consumer_commit(consumer, false, timeout_ms, err);
}
