/* SPDX-License-Identifier: Apache-2.0 */
/* lag.c: how far the group is behind, in records and in seconds. */
#include "core/clock.h"
#include "sinks/consumer/inside.h"

/* A log that is fetched tells its end by the way; this is for those that must wait. */
#define ENDS_INTERVAL_MS 5000

/* Unlike the fetches, this counts up to the last transaction that is decided. */
static void
ask_ends(struct consumer *consumer)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < consumer->all_count; i++) {
        const struct partition *it = consumer->all[i];
        if (it->assigned && !it->doubted && !consumer->routes[it->route].missing)
            rd_kafka_topic_partition_list_add(list, consumer_topic(consumer, it), it->id)->offset =
                RD_KAFKA_OFFSET_END;
    }
    if (list->cnt > 0)
        (void)rd_kafka_offsets_for_times(consumer->client, list, PROBE_TIMEOUT_MS);
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *it = &list->elems[i];
        struct partition *partition = consumer_partition_at(consumer, it->topic, it->partition);
        if (partition != NULL && it->err == RD_KAFKA_RESP_ERR_NO_ERROR && it->offset >= 0)
            partition->asked_end = it->offset;
    }
    rd_kafka_topic_partition_list_destroy(list);
}

void
consumer_look_at_ends(struct consumer *consumer)
{
    uint64_t now_ms = clock_monotonic_ms();
    if (now_ms - consumer->ends_asked_ms >= ENDS_INTERVAL_MS && consumer->joined &&
        consumer->problem[0] == '\0') {
        ask_ends(consumer);
        consumer->ends_asked_ms = clock_monotonic_ms();
    }
    for (size_t i = 0; i < consumer->all_count; i++)
        if (consumer_lag(consumer, consumer->all[i]).records == 0)
            consumer->all[i]->at_end_ms = now_ms;
}

int64_t
consumer_high_watermark(const struct consumer *consumer, const struct partition *partition)
{
    int64_t low;
    int64_t high;
    if (rd_kafka_get_watermark_offsets(consumer->client, consumer_topic(consumer, partition),
                                       partition->id, &low, &high) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        high < partition->asked_end)
        high = partition->asked_end;
    return high < 0 ? -1 : high;
}

struct consumer_lag
consumer_lag(const struct consumer *consumer, const struct partition *partition)
{
    struct consumer_lag lag = {0};
    int64_t done = partition->expected;
    int64_t oldest_s = 0;
    bool open = offsets_oldest(&partition->offsets, &done, &oldest_s);
    int64_t end = consumer_high_watermark(consumer, partition);
    if (!partition->assigned || done < 0)
        return lag;
    lag.records = end > done ? (uint64_t)(end - done) : partition->offsets.open;
    if (open) {
        int64_t age_s = clock_wall_ms() / 1000 - oldest_s;
        lag.seconds = age_s > 0 ? (uint64_t)age_s : 0;
    } else if (lag.records > 0) {
        lag.seconds = (clock_monotonic_ms() - partition->at_end_ms) / 1000;
    }
    return lag;
}
