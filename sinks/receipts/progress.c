/* SPDX-License-Identifier: Apache-2.0 */
/* progress.c: see progress.h. */
#include "sinks/receipts/progress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sinks/receipts/scan.h"

#define PARTITIONS_MAX 100000 /* of a topic: Kafka's own advice is far below */
#define NOT_WANTED INT64_MIN
#define EVENTS_AT_ONCE 1000

bool
progress_init(struct progress *progress, const struct sink_options *options, struct err *err)
{
    *progress = (struct progress){.options = options};
    progress->routes = calloc(options->route_count, sizeof(*progress->routes));
    if (progress->routes == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot watch receipts: out of memory");
    return scan_client_new(&progress->client, options, err);
}

void
progress_done(struct progress *progress)
{
    for (size_t i = 0; progress->routes != NULL && i < progress->options->route_count; i++)
        free(progress->routes[i].committed);
    free(progress->routes);
    scan_client_free(progress->client);
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
    /* What it has to say besides is said by the data path's client. */
    for (unsigned i = 0; i < EVENTS_AT_ONCE; i++) {
        rd_kafka_message_t *event = rd_kafka_consumer_poll(progress->client, 0);
        if (event == NULL)
            break;
        rd_kafka_message_destroy(event);
    }
    bool fine =
        rd_kafka_committed(progress->client, list, timeout_ms) == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (fine)
        take(progress, list);
    rd_kafka_topic_partition_list_destroy(list);
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
