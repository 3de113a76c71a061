/* SPDX-License-Identifier: Apache-2.0 */
/* ends.c: the ends of all partitions at one moment, and whether everything before them is
 * finished, here or by another member. */
#include <errno.h>
#include <stdlib.h>

#include "sinks/consumer/inside.h"

static bool
mark_route_ends(struct consumer *consumer, size_t route, const struct rd_kafka_metadata *metadata,
                struct err *err)
{
    struct route_partitions *own = &consumer->routes[route];
    int count = metadata->topics[0].partition_cnt;
    own->ends = calloc(count > 0 ? (size_t)count : 1, sizeof(*own->ends));
    if (own->ends == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot keep watermarks: out of memory");
    own->end_count = (size_t)count;
    const char *topic = consumer->options->routes[route].topic;
    for (int32_t i = 0; i < count; i++) {
        int64_t low;
        int64_t high;
        rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
            consumer->client, topic, i, &low, &high, METADATA_TIMEOUT_MS);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            return err_set(err, ERR_RETRY, code, "cannot read the end of '%s' [%d]: %s", topic, i,
                           rd_kafka_err2str(code));
        own->ends[i] = high == low ? 0 : high;
    }
    return true;
}

bool
consumer_mark_ends(struct consumer *consumer, struct err *err)
{
    for (size_t i = 0; i < consumer->options->route_count; i++) {
        const struct rd_kafka_metadata *metadata;
        if (!consumer_ask_topic(consumer, i, METADATA_TIMEOUT_MS, &metadata, err))
            return false;
        bool fine = mark_route_ends(consumer, i, metadata, err);
        rd_kafka_metadata_destroy(metadata);
        if (!fine)
            return false;
    }
    return true;
}

/* Finished up to its marked end here. */
static bool
is_finished(const struct partition *partition, int64_t end)
{
    if (partition->offsets.open > 0)
        return false;
    if (partition->offsets.stored >= end || partition->committed >= end)
        return true;
    return partition->end >= end; /* the log ends in records that are not for us (transactions) */
}

/* Finished by another member of the group: its commit says so. */
static bool
is_committed(struct consumer *consumer, size_t route, int32_t id, int64_t end)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, consumer->options->routes[route].topic, id);
    bool fine = rd_kafka_committed(consumer->client, list, COMMITTED_TIMEOUT_MS) ==
                    RD_KAFKA_RESP_ERR_NO_ERROR &&
                list->elems[0].offset >= end;
    rd_kafka_topic_partition_list_destroy(list);
    return fine;
}

bool
consumer_reached_ends(struct consumer *consumer)
{
    if (!consumer->joined)
        return false;
    for (size_t route = 0; route < consumer->options->route_count; route++) {
        const struct route_partitions *own = &consumer->routes[route];
        for (size_t id = 0; id < own->end_count; id++) {
            if (own->ends[id] == 0)
                continue;
            struct partition *partition = id < own->count ? own->items[id] : NULL;
            bool ours = partition != NULL && partition->assigned;
            if (ours ? !is_finished(partition, own->ends[id])
                     : !is_committed(consumer, route, (int32_t)id, own->ends[id]))
                return false;
        }
    }
    return true;
}
