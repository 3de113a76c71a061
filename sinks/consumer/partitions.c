/* SPDX-License-Identifier: Apache-2.0 */
/* partitions.c: the objects of the partitions, found by topic and number; which of them are
 * paused. */
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "sinks/consumer/inside.h"

#define PARTITIONS_MAX 100000 /* per topic: Kafka's own advice is far below */

size_t
consumer_find_route(const struct consumer *consumer, const char *topic)
{
    size_t route = 0;
    while (route < consumer->options->route_count &&
           strcmp(consumer->options->routes[route].topic, topic) != 0)
        route++;
    return route;
}

struct partition *
consumer_partition_at(struct consumer *consumer, const char *topic, int32_t id)
{
    size_t route = consumer_find_route(consumer, topic);
    if (route == consumer->options->route_count || id < 0 || id >= PARTITIONS_MAX)
        return NULL;
    struct route_partitions *own = &consumer->routes[route];
    if ((size_t)id >= own->count) {
        size_t count = (size_t)id + 1;
        struct partition **items = reallocarray(own->items, count, sizeof(struct partition *));
        if (items == NULL)
            return NULL;
        for (size_t i = own->count; i < count; i++)
            items[i] = NULL;
        own->items = items;
        own->count = count;
    }
    if (own->items[id] != NULL)
        return own->items[id];

    if (consumer->all_count == consumer->all_capacity) {
        size_t capacity = consumer->all_capacity == 0 ? 16 : consumer->all_capacity * 2;
        struct partition **all = reallocarray(consumer->all, capacity, sizeof(struct partition *));
        if (all == NULL)
            return NULL;
        consumer->all = all;
        consumer->all_capacity = capacity;
    }
    struct partition *partition = calloc(1, sizeof(*partition));
    if (partition == NULL)
        return NULL;
    *partition = (struct partition){.route = route,
                                    .id = id,
                                    .expected = -1,
                                    .handed = -1,
                                    .committed = -1,
                                    .end = -1,
                                    .asked_end = -1};
    offsets_init(&partition->offsets);
    own->items[id] = partition;
    consumer->all[consumer->all_count++] = partition;
    return partition;
}

const char *
consumer_topic(const struct consumer *consumer, const struct partition *partition)
{
    return consumer->options->routes[partition->route].topic;
}

struct partition *
consumer_partition_of(struct consumer *consumer, const rd_kafka_message_t *message)
{
    if (message->rkt != consumer->last_topic) {
        size_t route = consumer_find_route(consumer, rd_kafka_topic_name(message->rkt));
        if (route == consumer->options->route_count)
            return NULL;
        consumer->last_topic = message->rkt;
        consumer->last_route = route;
    }
    const struct route_partitions *own = &consumer->routes[consumer->last_route];
    if (message->partition < 0 || (size_t)message->partition >= own->count)
        return NULL;
    return own->items[message->partition];
}

void
consumer_finish(struct partition *partition, uint32_t generation, uint64_t sequence)
{
    if (partition->generation == generation)
        offsets_finish(&partition->offsets, sequence);
}

void
consumer_pause(struct consumer *consumer, size_t route, bool paused)
{
    ASSERT(route < consumer->options->route_count);

    if (consumer->route_paused[route] == paused)
        return;
    consumer->route_paused[route] = paused;
    struct route_partitions *own = &consumer->routes[route];
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < own->count; i++) {
        struct partition *partition = own->items[i];
        if (partition == NULL || !partition->assigned || partition->paused == paused)
            continue;
        partition->paused = paused;
        rd_kafka_topic_partition_list_add(list, consumer_topic(consumer, partition), partition->id);
    }
    if (list->cnt > 0) {
        rd_kafka_resp_err_t code = paused ? rd_kafka_pause_partitions(consumer->client, list)
                                          : rd_kafka_resume_partitions(consumer->client, list);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            consumer->hooks.note(consumer->hooks.context, 4, rd_kafka_err2str(code));
    }
    rd_kafka_topic_partition_list_destroy(list);
}

struct partition *const *
consumer_partitions(const struct consumer *consumer, size_t *count)
{
    *count = consumer->all_count;
    return consumer->all;
}
