/* SPDX-License-Identifier: Apache-2.0 */
/* jump.c: a record whose offset is not the one expected: is it still the same log, and were
 * records lost? */
#include "sinks/consumer/inside.h"

#define GAPS_BELIEVED_AFTER                                                                        \
    8 /* then the log is known to have holes, and seeking would cost each time */
#define SEEK_TIMEOUT_MS 4000 /* holds the loop, and a stop has to be over within 15 s */

/* True when the partition will go on at `offset`; then what was seen behind it is thrown away. */
static bool
seek_to(struct consumer *consumer, struct partition *partition, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, consumer_topic(consumer, partition), partition->id)
        ->offset = offset;
    rd_kafka_error_t *error = rd_kafka_seek_partitions(consumer->client, list, SEEK_TIMEOUT_MS);
    bool fine = error == NULL && list->elems[0].err == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (error != NULL)
        rd_kafka_error_destroy(error);
    rd_kafka_topic_partition_list_destroy(list);
    return fine;
}

void
consumer_go_back(struct consumer *consumer, struct partition *partition)
{
    partition->astray = !seek_to(consumer, partition, partition->expected);
}

/* The log's first offset, -1 when it cannot be heard now. */
static int64_t
ask_start(struct consumer *consumer, const struct partition *partition)
{
    int64_t low;
    int64_t high;
    rd_kafka_resp_err_t code =
        rd_kafka_query_watermark_offsets(consumer->client, consumer_topic(consumer, partition),
                                         partition->id, &low, &high, COMMITTED_TIMEOUT_MS);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? low : -1;
}

/* librdkafka heard the log's start when a fetch was out of range (2.0.2, 2.16), so that retention
 * that overtook us is known before its first record comes. */
bool
consumer_believe_jump(struct consumer *consumer, struct partition *partition, int64_t offset)
{
    int64_t low = -1;
    int64_t high = -1;
    int64_t expected = partition->expected;
    rd_kafka_get_watermark_offsets(consumer->client, consumer_topic(consumer, partition),
                                   partition->id, &low, &high);
    bool retained = low > expected && low <= offset;
    if (!retained && !partition->sought && partition->gaps < GAPS_BELIEVED_AFTER) {
        partition->sought = true;
        consumer_go_back(consumer, partition);
        return false;
    }
    if (!retained && partition->sought) {
        /* It repeated. The known start may be old: ask before calling it a harmless gap. */
        low = ask_start(consumer, partition);
        if (low < 0) {
            consumer_go_back(consumer, partition);
            return false;
        }
        retained = low > expected;
    }
    int64_t lost = retained ? (low < offset ? low : offset) - expected : 0;
    if (lost > 0)
        consumer->hooks.lost(consumer->hooks.context, partition, (uint64_t)lost);
    if (offset - expected > lost) {
        partition->gaps++;
        consumer->hooks.gap(consumer->hooks.context, partition,
                            (uint64_t)(offset - expected - lost));
    }
    return true;
}

void
consumer_meet_end(struct consumer *consumer, struct partition *partition, int64_t offset)
{
    if (partition->astray || (partition->doubted && offset >= partition->expected))
        return; /* the next record decides */
    if (offset < partition->expected)
        consumer_rewind(consumer, partition, offset);
    partition->end = offset;
    if (offset == partition->expected)
        return;
    if (partition->expected >= 0 && !consumer_believe_jump(consumer, partition, offset))
        return;
    offsets_skip(&partition->offsets, offset);
    partition->sought = false;
    partition->expected = offset;
}

/* Nothing is committed any more that belongs to the log as it was. */
void
consumer_rewind(struct consumer *consumer, struct partition *partition, int64_t offset)
{
    consumer->hooks.rewound(consumer->hooks.context, partition, offset);
    partition->doubted = false;
    partition->sought = false;
    partition->expected = offset;
    partition->handed = -1;
    partition->committed = -1;
    partition->end = -1;
    partition->asked_end = -1;
    partition->commit_from = partition->offsets.next;
    partition->commit_lower = true;
}

/* Deleting a topic deletes what its groups have committed. */
static bool
is_same_log(struct consumer *consumer, const struct partition *partition)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, consumer_topic(consumer, partition), partition->id);
    bool same = rd_kafka_committed(consumer->client, list, COMMITTED_TIMEOUT_MS) ==
                    RD_KAFKA_RESP_ERR_NO_ERROR &&
                list->elems[0].err == RD_KAFKA_RESP_ERR_NO_ERROR && list->elems[0].offset >= 0;
    rd_kafka_topic_partition_list_destroy(list);
    return same;
}

/* The first record after the topic was said to be gone. When it was made anew, its offsets begin
 * anew as well; reading all of a topic that is still the old one costs time and no record. */
bool
consumer_believe_log(struct consumer *consumer, struct partition *partition)
{
    if (is_same_log(consumer, partition)) {
        partition->doubted = false;
        return true;
    }
    if (!seek_to(consumer, partition, RD_KAFKA_OFFSET_BEGINNING))
        return false;
    consumer_rewind(consumer, partition, -1);
    return false;
}
