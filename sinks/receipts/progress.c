/* SPDX-License-Identifier: Apache-2.0 */
/* progress.c: see progress.h. */
#include "sinks/receipts/progress.h"

#include <stdlib.h>
#include <string.h>

#define PARTITIONS_MAX 100000 /* of a topic: Kafka's own advice is far below */
#define NOT_WANTED INT64_MIN

bool
progress_init(struct progress *progress, const struct sink_options *options, rd_kafka_t *client)
{
    *progress = (struct progress){.options = options, .client = client};
    progress->answers = rd_kafka_queue_new(client);
    progress->routes = calloc(options->route_count, sizeof(*progress->routes));
    return progress->routes != NULL;
}

void
progress_done(struct progress *progress)
{
    for (size_t i = 0; progress->routes != NULL && i < progress->options->route_count; i++)
        free(progress->routes[i].committed);
    free(progress->routes);
    if (progress->answers != NULL)
        rd_kafka_queue_destroy(progress->answers);
    *progress = (struct progress){0};
}

void
progress_begin(struct progress *progress, rd_kafka_topic_partition_list_t **list)
{
    *list = rd_kafka_topic_partition_list_new(64);
    for (size_t i = 0; i < progress->options->route_count; i++)
        for (size_t k = 0; k < progress->routes[i].count; k++)
            progress->routes[i].committed[k] = NOT_WANTED;
}

void
progress_want(struct progress *progress, rd_kafka_topic_partition_list_t *list, size_t route,
              int32_t partition)
{
    struct route_progress *own = &progress->routes[route];
    if (partition < 0 || partition >= PARTITIONS_MAX)
        return;
    if ((size_t)partition >= own->count) {
        size_t count = (size_t)partition + 1;
        int64_t *grown = reallocarray(own->committed, count, sizeof(*grown));
        if (grown == NULL)
            return;
        for (size_t i = own->count; i < count; i++)
            grown[i] = NOT_WANTED;
        own->committed = grown;
        own->count = count;
    }
    if (own->committed[partition] != NOT_WANTED)
        return;
    own->committed[partition] = -1;
    rd_kafka_topic_partition_list_add(list, progress->options->routes[route].topic, partition);
}

static void
take(struct progress *progress, const rd_kafka_topic_partition_list_t *found)
{
    for (int i = 0; i < found->cnt; i++) {
        const rd_kafka_topic_partition_t *it = &found->elems[i];
        for (size_t route = 0; route < progress->options->route_count; route++) {
            struct route_progress *own = &progress->routes[route];
            if (strcmp(progress->options->routes[route].topic, it->topic) == 0 &&
                it->partition >= 0 && (size_t)it->partition < own->count &&
                it->err == RD_KAFKA_RESP_ERR_NO_ERROR)
                own->committed[it->partition] = it->offset;
        }
    }
}

bool
progress_ask(struct progress *progress, rd_kafka_topic_partition_list_t *list, int timeout_ms)
{
    if (list->cnt == 0) {
        rd_kafka_topic_partition_list_destroy(list);
        return true;
    }
    rd_kafka_ListConsumerGroupOffsets_t *question =
        rd_kafka_ListConsumerGroupOffsets_new(progress->options->kafka.group_id, list);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(progress->client, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    char text[128];
    (void)rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, text, sizeof(text));
    rd_kafka_ListConsumerGroupOffsets(progress->client, &question, 1, options, progress->answers);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ListConsumerGroupOffsets_destroy(question);
    rd_kafka_topic_partition_list_destroy(list);

    /* It always comes, with an error when the time is up: none is left for the next question. */
    rd_kafka_event_t *event = rd_kafka_queue_poll(progress->answers, -1);
    size_t count = 0;
    const rd_kafka_group_result_t **groups = NULL;
    if (event != NULL && rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR)
        groups = rd_kafka_ListConsumerGroupOffsets_result_groups(
            rd_kafka_event_ListConsumerGroupOffsets_result(event), &count);
    bool fine = count == 1 && rd_kafka_group_result_error(groups[0]) == NULL;
    if (fine)
        take(progress, rd_kafka_group_result_partitions(groups[0]));
    if (event != NULL)
        rd_kafka_event_destroy(event);
    return fine;
}

int64_t
progress_committed(const void *context, size_t route, int32_t partition)
{
    const struct progress *progress = context;
    const struct route_progress *own = &progress->routes[route];
    bool known =
        partition >= 0 && (size_t)partition < own->count && own->committed[partition] != NOT_WANTED;
    return known ? own->committed[partition] : -1;
}
