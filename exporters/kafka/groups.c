/* SPDX-License-Identifier: Apache-2.0 */
/* groups.c: see groups.h. */
#include "exporters/kafka/groups.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/kafka.h"
#include "exporters/kafka/assignment.h"

#define UNDER_WAY_MAX 64 /* requests for committed offsets at once: two round trips each */

/* --- which groups there are --- */

struct members {
    struct kafka_model *model;
    struct kafka_group *group;
    bool failed; /* memory is short */
};

static void
note_assigned(void *context, const char *name, size_t partitions)
{
    struct members *members = context;
    struct kafka_group *group = members->group;
    struct kafka_topic *topic = model_topic(members->model, name);
    if (topic == NULL)
        return; /* not one that was asked for */
    for (size_t i = 0; i < group->assigned_count; i++)
        if (group->assigned[i].topic == topic) {
            group->assigned[i].partitions += partitions;
            return;
        }
    struct kafka_assigned *assigned =
        reallocarray(group->assigned, group->assigned_count + 1, sizeof(*group->assigned));
    if (assigned == NULL) {
        members->failed = true;
        return;
    }
    group->assigned = assigned;
    assigned[group->assigned_count++] = (struct kafka_assigned){topic, partitions};
}

static void
take_members(struct kafka_model *model, struct kafka_group *group,
             const struct rd_kafka_group_info *found)
{
    struct members members = {.model = model, .group = group};
    group->members = found->member_cnt;
    group->assigned_count = 0;
    if (strcmp(found->protocol_type, "consumer") != 0)
        return; /* Connect and others have forms of their own */
    for (int i = 0; i < found->member_cnt; i++) {
        const struct rd_kafka_group_member_info *member = &found->members[i];
        if (member->member_assignment_size > 0)
            (void)assignment_read(member->member_assignment, (size_t)member->member_assignment_size,
                                  note_assigned, &members);
    }
    if (members.failed)
        group->assigned_count = 0;
}

/* A group that is listed and then described as dead is one of the new protocol, which the old
 * DescribeGroups does not show (seen: librdkafka 2.0.2 with Kafka 4.1). */
static bool
take_group(struct kafka_round *round, const struct rd_kafka_group_info *found)
{
    struct kafka_group *group = model_group(round->model, found->group);
    if (group == NULL)
        return false;
    group->round = round->model->round;
    group->coordinator = found->broker.id;
    group->committed = false;
    group->hidden = found->err == RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND ||
                    (found->state != NULL && strcmp(found->state, "Dead") == 0);
    group->described = found->err == RD_KAFKA_RESP_ERR_NO_ERROR && !group->hidden;
    if (!group->described)
        return true;
    (void)snprintf(group->state, sizeof(group->state), "%s",
                   found->state == NULL ? "" : found->state);
    take_members(round->model, group, found);
    return true;
}

bool
groups_list(struct kafka_round *round, struct err *err)
{
    const struct rd_kafka_group_list *found = NULL;
    struct kafka_model *model = round->model;
    for (struct kafka_group *group = model->groups; group != NULL; group = group->hh.next)
        group->described = group->committed = false;
    rd_kafka_resp_err_t code = rd_kafka_list_groups(round->rk, NULL, &found, round_left_ms(round));
    model->groups_whole = code == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (found == NULL)
        return err_set(err, ERR_RETRY, (int)code, "cannot list the consumer groups: %s",
                       rd_kafka_err2str(code));
    bool fine = true;
    for (int i = 0; i < found->group_cnt; i++)
        if (round->group_wanted(round->context, found->groups[i].group))
            fine = take_group(round, &found->groups[i]) && fine;
    rd_kafka_group_list_destroy(found);
    if (!fine)
        return err_set(err, ERR_RETRY, 0, "cannot keep the consumer groups: out of memory");
    return model->groups_whole ||
           err_set(err, ERR_RETRY, (int)code,
                   "not every broker told its consumer groups; those it coordinates are unknown");
}

/* --- what they have committed --- */

static int
compare_places(const void *a, const void *b)
{
    const struct kafka_place *left = a;
    const struct kafka_place *right = b;
    if (left->topic != right->topic)
        return left->topic->number < right->topic->number ? -1 : 1;
    return (left->partition > right->partition) - (left->partition < right->partition);
}

/* What was known of the places of before goes on in the new ones; both are sorted. */
static void
carry_on(struct kafka_place *places, size_t count, const struct kafka_group *before)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        while (at < before->count && compare_places(&before->places[at], &places[i]) < 0)
            at++;
        if (at < before->count && compare_places(&before->places[at], &places[i]) == 0)
            places[i].headway = before->places[at].headway;
    }
}

static bool
take_committed(struct kafka_round *round, struct kafka_group *group,
               const rd_kafka_topic_partition_list_t *found)
{
    struct kafka_place *places = calloc((size_t)found->cnt + 1, sizeof(*places));
    if (places == NULL)
        return false;
    size_t count = 0;
    struct kafka_topic *topic = NULL;
    for (int i = 0; i < found->cnt; i++) {
        const rd_kafka_topic_partition_t *from = &found->elems[i];
        if (from->offset < 0 || from->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            continue; /* nothing is committed there */
        if (topic == NULL || strcmp(topic->name, from->topic) != 0)
            topic = model_topic(round->model, from->topic);
        if (topic == NULL || topic->round != round->model->round)
            continue; /* deleted, or not asked for */
        places[count] = (struct kafka_place){
            .topic = topic, .partition = from->partition, .committed = from->offset};
        headway_init(&places[count++].headway, round->now_ms);
    }
    qsort(places, count, sizeof(*places), compare_places);
    carry_on(places, count, group);
    free(group->places);
    group->places = places;
    group->count = count;
    group->committed = true;
    return true;
}

/* One answer. False: it is of no use, `err` says why. */
static bool
take_answer(struct kafka_round *round, rd_kafka_event_t *event, struct err *err)
{
    struct kafka_group *group = rd_kafka_event_opaque(event);
    const rd_kafka_ListConsumerGroupOffsets_result_t *result =
        rd_kafka_event_ListConsumerGroupOffsets_result(event);
    size_t count = 0;
    const rd_kafka_group_result_t **groups =
        result == NULL ? NULL : rd_kafka_ListConsumerGroupOffsets_result_groups(result, &count);
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR || count == 0)
        return err_set(err, ERR_RETRY, (int)rd_kafka_event_error(event),
                       "cannot read what the group '%.200s' has committed: %s",
                       group == NULL ? "?" : group->name, rd_kafka_event_error_string(event));
    const rd_kafka_error_t *refused = rd_kafka_group_result_error(groups[0]);
    if (refused != NULL)
        return err_set(err, ERR_RETRY, (int)rd_kafka_error_code(refused),
                       "cannot read what the group '%.200s' has committed: %s", group->name,
                       rd_kafka_error_string(refused));
    const rd_kafka_topic_partition_list_t *found = rd_kafka_group_result_partitions(groups[0]);
    return found == NULL || take_committed(round, group, found) ||
           err_set(err, ERR_RETRY, 0, "cannot keep committed offsets: out of memory");
}

static bool
ask(struct kafka_round *round, rd_kafka_queue_t *answers, struct kafka_group *group)
{
    char text[200];
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(round->rk, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    if (options == NULL)
        return false;
    rd_kafka_AdminOptions_set_opaque(options, group);
    bool set = rd_kafka_AdminOptions_set_request_timeout(options, round_left_ms(round), text,
                                                         sizeof(text)) == 0;
    if (set) {
        rd_kafka_ListConsumerGroupOffsets_t *request =
            rd_kafka_ListConsumerGroupOffsets_new(group->name, NULL); /* NULL: all of them */
        rd_kafka_ListConsumerGroupOffsets(round->rk, &request, 1, options, answers);
        rd_kafka_ListConsumerGroupOffsets_destroy(request);
    }
    rd_kafka_AdminOptions_destroy(options);
    return set;
}

static bool
is_asked_for(const struct kafka_round *round, const struct kafka_group *group)
{
    return group->round == round->model->round;
}

bool
groups_read_committed(struct kafka_round *round, struct err *err)
{
    rd_kafka_queue_t *answers = rd_kafka_queue_new(round->rk);
    size_t under_way = 0;
    bool fine = true;
    struct kafka_group *next = round->model->groups;
    while (next != NULL || under_way > 0) {
        bool over = round_left_ms(round) == 0;
        while (next != NULL && (over || under_way < UNDER_WAY_MAX)) {
            if (!over && is_asked_for(round, next))
                under_way += ask(round, answers, next) ? 1 : 0;
            next = next->hh.next;
        }
        if (under_way == 0)
            break;
        /* Each ends by its own time: nothing that holds a pointer of ours is left behind. */
        rd_kafka_event_t *event = rd_kafka_queue_poll(answers, -1);
        if (event == NULL)
            continue;
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_LISTCONSUMERGROUPOFFSETS_RESULT) {
            fine = take_answer(round, event, err) && fine;
            under_way--;
        }
        rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(answers);
    return fine;
}
