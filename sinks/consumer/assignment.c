/* SPDX-License-Identifier: Apache-2.0 */
/* assignment.c: what happens in a rebalance: partitions come with their committed offsets, and go
 * when what was under way is finished and committed. */
#include <stdio.h>
#include <string.h>

#include "core/assert.h"
#include "core/clock.h"
#include "sinks/consumer/inside.h"

#define REVOKE_WAIT_MAX_MS                                                                         \
    10000 /* a rebalance waits for us: less than half of any session timeout */

static void
begin_assignment(struct consumer *consumer, rd_kafka_topic_partition_list_t *list)
{
    /* Explicit offsets, so that the first record too can be checked against what was expected. */
    if (list->cnt > 0 && rd_kafka_committed(consumer->client, list, COMMITTED_TIMEOUT_MS) !=
                             RD_KAFKA_RESP_ERR_NO_ERROR)
        for (int i = 0; i < list->cnt; i++)
            list->elems[i].offset = RD_KAFKA_OFFSET_STORED;

    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *it = &list->elems[i];
        struct partition *partition = consumer_partition_at(consumer, it->topic, it->partition);
        if (partition == NULL) {
            consumer->forgetful |=
                consumer_find_route(consumer, it->topic) < consumer->options->route_count;
            continue;
        }
        if (it->err != RD_KAFKA_RESP_ERR_NO_ERROR || it->offset < 0)
            it->offset = RD_KAFKA_OFFSET_STORED;
        int64_t known = it->offset >= 0 ? it->offset : -1;
        consumer_set_missing(consumer, partition->route, false);
        partition->assigned = true;
        partition->revoking = false;
        partition->paused = false;
        partition->generation++;
        offsets_clear(&partition->offsets);
        partition->expected = known;
        partition->handed = known;
        partition->committed = known;
        partition->doubted = false;
        partition->commit_from = 0;
        partition->commit_lower = false;
        partition->sought = false;
        partition->gaps = 0;
        partition->astray = false;
        partition->end = -1;
        partition->asked_end = -1;
        partition->at_end_ms = clock_monotonic_ms();
    }
}

static void
end_assignment(struct consumer *consumer, const rd_kafka_topic_partition_list_t *list, bool lost)
{
    uint64_t timeout_ms = consumer->session_timeout_ms / 3;
    if (timeout_ms > REVOKE_WAIT_MAX_MS)
        timeout_ms = REVOKE_WAIT_MAX_MS;
    for (int i = 0; i < list->cnt; i++) {
        struct partition *partition =
            consumer_partition_at(consumer, list->elems[i].topic, list->elems[i].partition);
        if (partition != NULL)
            partition->revoking = true;
    }
    /* At the end the owner has waited and committed already: its time is up. */
    if (!lost && list->cnt > 0 && !consumer->closing) {
        consumer->hooks.drain(consumer->hooks.context, timeout_ms);
        struct err err;
        if (!consumer_commit(consumer, true, COMMIT_TIMEOUT_MS, &err))
            consumer->hooks.note(consumer->hooks.context, 4, err.text);
    }
    for (int i = 0; i < list->cnt; i++) {
        struct partition *partition =
            consumer_partition_at(consumer, list->elems[i].topic, list->elems[i].partition);
        if (partition == NULL || !partition->assigned)
            continue;
        uint64_t open = partition->offsets.open;
        partition->assigned = false;
        partition->revoking = false;
        partition->generation++;
        offsets_clear(&partition->offsets);
        consumer->hooks.revoked(consumer->hooks.context, partition, open);
    }
}

static void
pause_list(struct consumer *consumer, const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; i < list->cnt; i++) {
        size_t route = consumer_find_route(consumer, list->elems[i].topic);
        if (route < consumer->options->route_count && consumer->route_paused[route]) {
            consumer->route_paused[route] = false; /* so that the pause reaches the new ones */
            consumer_pause(consumer, route, true);
        }
    }
}

/* librdkafka keeps a pause beyond the assignment: a partition that came back would stand still,
 * while everybody takes it for running. */
static void
resume_list(struct consumer *consumer, const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *paused = rd_kafka_topic_partition_list_new(list->cnt);
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *it = &list->elems[i];
        struct partition *partition = consumer_partition_at(consumer, it->topic, it->partition);
        if (partition == NULL || !partition->paused)
            continue;
        partition->paused = false;
        rd_kafka_topic_partition_list_add(paused, it->topic, it->partition);
    }
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (paused->cnt > 0)
        code = rd_kafka_resume_partitions(consumer->client, paused);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        consumer->hooks.note(consumer->hooks.context, 4, rd_kafka_err2str(code));
    rd_kafka_topic_partition_list_destroy(paused);
}

static void
apply_rebalance(struct consumer *consumer, bool assign, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_t *client = consumer->client;
    const char *protocol = rd_kafka_rebalance_protocol(client);
    bool cooperative = protocol != NULL && strcmp(protocol, "COOPERATIVE") == 0;
    rd_kafka_error_t *error = NULL;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (!cooperative)
        code = rd_kafka_assign(client, assign ? list : NULL);
    else if (assign)
        error = rd_kafka_incremental_assign(client, list);
    else
        error = rd_kafka_incremental_unassign(client, list);
    if (error != NULL || code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        char text[PROBLEM_MAX];
        int size = snprintf(text, sizeof(text), "cannot take over an assignment: %s",
                            error != NULL ? rd_kafka_error_string(error) : rd_kafka_err2str(code));
        ASSERT(size > 0);
        consumer_set_problem(consumer, false, text);
        consumer->hooks.note(consumer->hooks.context, 3, text);
    }
    if (error != NULL)
        rd_kafka_error_destroy(error);
}

void
consumer_on_rebalance(rd_kafka_t *client, rd_kafka_resp_err_t code,
                      rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct consumer *consumer = consumer_from_opaque(opaque);
    consumer->last_topic = NULL;
    consumer->rebalances += consumer->closing ? 0 : 1;
    bool assign = code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    bool lost = !assign && rd_kafka_assignment_lost(client);
    char text[128];
    int size = snprintf(text, sizeof(text), "%d partitions %s", list->cnt,
                        assign ? "assigned"
                        : lost ? "lost: the group went on without this sink"
                               : "revoked");
    ASSERT(size > 0);
    consumer->hooks.note(consumer->hooks.context, lost ? 4 : 6, text);
    if (assign) {
        begin_assignment(consumer, list);
        consumer->joined = true;
        consumer->problem[0] = '\0';
    } else {
        end_assignment(consumer, list, lost);
        resume_list(consumer, list);
    }
    apply_rebalance(consumer, assign, list);
    if (assign)
        pause_list(consumer, list);
}
