/* SPDX-License-Identifier: Apache-2.0 */
/* ends.c: see ends.h. rd_kafka_offsets_for_times() passes the special times on to the brokers
 * (seen in 2.0.2): -1 is the end, -2 the begin of a log. It searches its list for each answer, so
 * that its cost grows with the square of the list, and a timeout of one leader loses the answers of
 * all: hence pieces of one leader and some hundred partitions each. */
#include "exporters/kafka/ends.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "exporters/options.h"

#define PIECE_MAX 500 /* measured: 250 and 1000 take longer */
#define WORKERS 4     /* requests under way at once */
#define LATEST (-1)
#define EARLIEST (-2)
#define OWN_TIMES (-3) /* of a piece: each partition has its own */
#define NEARER_TURNS 3 /* of looking up, in one round: each about halves the doubt */
/* What is looked up of the past when a partition is met first, newest first. */
static const int64_t past_ms[] = {60000, 600000, 3600000, 24 * 3600000};
#define PAST_COUNT (sizeof(past_ms) / sizeof(past_ms[0]))
_Static_assert(PAST_COUNT + 2 < HISTORY_POINTS, "the past leaves room for the present");

struct wanted {
    struct kafka_topic *topic;
    int32_t partition;
    int32_t leader;
    int64_t time; /* with OWN_TIMES */
};

/* One request. */
struct piece {
    int64_t time; /* LATEST, EARLIEST, OWN_TIMES, or ms since 1970 */
    const struct wanted *wanted;
    size_t count;
    int64_t *offsets; /* the answers; NULL: there were none */
    rd_kafka_resp_err_t error;
};

struct pieces {
    struct kafka_round *round;
    struct piece *items;
    size_t count;
    atomic_size_t next;
};

static int
compare_wanted(const void *a, const void *b)
{
    const struct wanted *left = a;
    const struct wanted *right = b;
    if (left->leader != right->leader)
        return left->leader < right->leader ? -1 : 1;
    if (left->topic->number != right->topic->number)
        return left->topic->number < right->topic->number ? -1 : 1;
    return (left->partition > right->partition) - (left->partition < right->partition);
}

/* The partitions that have a leader, sorted by it first of all. `fresh`: only those that nothing is
 * known of. */
static struct wanted *
list_wanted(const struct kafka_model *model, bool fresh, size_t *count)
{
    size_t all = 0;
    for (const struct kafka_topic *topic = model->topics; topic != NULL; topic = topic->hh.next)
        all += topic->count;
    struct wanted *wanted = calloc(all + 1, sizeof(*wanted));
    *count = 0;
    for (struct kafka_topic *topic = model->topics; topic != NULL && wanted != NULL;
         topic = topic->hh.next)
        for (size_t i = 0; i < topic->count; i++) {
            const struct kafka_partition *partition = &topic->partitions[i];
            if (partition->exists && partition->leader >= 0 && topic->round == model->round &&
                (!fresh || partition->history.count == 0))
                wanted[(*count)++] = (struct wanted){topic, (int32_t)i, partition->leader, 0};
        }
    if (wanted != NULL)
        qsort(wanted, *count, sizeof(*wanted), compare_wanted);
    return wanted;
}

/* --- the requests --- */

static int64_t
time_of(const struct piece *piece, size_t index)
{
    return piece->time == OWN_TIMES ? piece->wanted[index].time : piece->time;
}

static void
ask(struct kafka_round *round, struct piece *piece)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)piece->count);
    for (size_t i = 0; i < piece->count; i++)
        rd_kafka_topic_partition_list_add(list, piece->wanted[i].topic->name,
                                          piece->wanted[i].partition)
            ->offset = time_of(piece, i);
    piece->error = rd_kafka_offsets_for_times(round->rk, list, round_left_ms(round));
    if (piece->error == RD_KAFKA_RESP_ERR_NO_ERROR)
        piece->offsets = calloc(piece->count, sizeof(*piece->offsets));
    for (size_t i = 0; i < piece->count && piece->offsets != NULL; i++)
        piece->offsets[i] = list->elems[i].err == RD_KAFKA_RESP_ERR_NO_ERROR
                                ? list->elems[i].offset
                                : RD_KAFKA_OFFSET_INVALID;
    rd_kafka_topic_partition_list_destroy(list);
}

static void *
work(void *context)
{
    struct pieces *pieces = context;
    for (;;) {
        size_t index = atomic_fetch_add(&pieces->next, 1);
        if (index >= pieces->count)
            return NULL;
        struct piece *piece = &pieces->items[index];
        if (round_left_ms(pieces->round) == 0)
            piece->error = RD_KAFKA_RESP_ERR__TIMED_OUT;
        else
            ask(pieces->round, piece);
    }
}

/* All of them; the calling thread works, too. */
static void
ask_all(struct pieces *pieces)
{
    pthread_t threads[WORKERS - 1];
    size_t started = 0;
    while (started < WORKERS - 1 && started + 1 < pieces->count &&
           pthread_create(&threads[started], NULL, work, pieces) == 0)
        started++;
    (void)work(pieces);
    for (size_t i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL);
}

/* Cuts what is wanted into pieces for each of these times. */
static bool
add_pieces(struct pieces *pieces, const struct wanted *wanted, size_t count, const int64_t *times,
           size_t time_count)
{
    pieces->items = calloc(count * time_count + 1, sizeof(*pieces->items));
    for (size_t k = 0; k < time_count && pieces->items != NULL; k++)
        for (size_t at = 0, end; at < count; at = end) {
            end = at + 1;
            while (end < count && end - at < PIECE_MAX && wanted[end].leader == wanted[at].leader)
                end++;
            pieces->items[pieces->count++] =
                (struct piece){.time = times[k], .wanted = wanted + at, .count = end - at};
        }
    return pieces->items != NULL;
}

static void
pieces_done(struct pieces *pieces)
{
    for (size_t i = 0; i < pieces->count; i++)
        free(pieces->items[i].offsets);
    free(pieces->items);
}

/* --- the answers --- */

static void
take_piece(const struct piece *piece)
{
    for (size_t i = 0; i < piece->count && piece->offsets != NULL; i++) {
        struct kafka_partition *partition =
            &piece->wanted[i].topic->partitions[piece->wanted[i].partition];
        int64_t offset = piece->offsets[i];
        if (piece->time == LATEST)
            partition->latest = offset < 0 ? UNKNOWN_OFFSET : offset;
        else if (piece->time == EARLIEST)
            partition->earliest = offset < 0 ? UNKNOWN_OFFSET : offset;
        else if (offset >= 0)
            partition->objective = offset;
        else if (offset == RD_KAFKA_OFFSET_END)
            partition->objective = INT64_MAX; /* nothing is so young */
    }
}

/* So many records were there at those times. */
static void
take_past(const struct piece *piece)
{
    for (size_t i = 0; i < piece->count && piece->offsets != NULL; i++) {
        struct kafka_partition *partition =
            &piece->wanted[i].topic->partitions[piece->wanted[i].partition];
        int64_t offset =
            piece->offsets[i] == RD_KAFKA_OFFSET_END ? partition->latest : piece->offsets[i];
        if (offset >= 0 && partition->latest >= 0)
            history_insert(&partition->history, offset, time_of(piece, i));
    }
}

static bool
first_error(const struct pieces *pieces, struct err *err)
{
    for (size_t i = 0; i < pieces->count; i++)
        if (pieces->items[i].error != RD_KAFKA_RESP_ERR_NO_ERROR)
            return err_set(err, ERR_RETRY, (int)pieces->items[i].error,
                           "cannot ask broker %d for the ends of %zu partitions: %s",
                           (int)pieces->items[i].wanted->leader, pieces->items[i].count,
                           rd_kafka_err2str(pieces->items[i].error));
    return true;
}

static void
look_up(struct kafka_round *round, const struct wanted *wanted, size_t count, const int64_t *times,
        size_t time_count)
{
    struct pieces pieces = {.round = round};
    if (add_pieces(&pieces, wanted, count, times, time_count)) {
        ask_all(&pieces);
        for (size_t i = 0; i < pieces.count; i++)
            take_past(&pieces.items[i]);
    }
    pieces_done(&pieces);
}

/* Once for each partition: what can be asked of the past, so that a lag is told as time at once. */
static void
read_past(struct kafka_round *round, const struct wanted *wanted, size_t count)
{
    int64_t times[PAST_COUNT];
    for (size_t i = 0; i < PAST_COUNT; i++)
        times[i] = round->model->now_ms - past_ms[i];
    look_up(round, wanted, count, times, PAST_COUNT);
}

/* Where a group waits at a record whose age is not well known: a time between those that are. */
static struct wanted *
list_doubtful(const struct kafka_model *model, size_t *count)
{
    size_t all = 0;
    for (const struct kafka_group *group = model->groups; group != NULL; group = group->hh.next)
        all += group->count;
    struct wanted *wanted = calloc(all + 1, sizeof(*wanted));
    *count = 0;
    for (const struct kafka_group *group = model->groups; group != NULL && wanted != NULL;
         group = group->hh.next)
        for (size_t i = 0; i < group->count && group->committed; i++) {
            const struct kafka_place *place = &group->places[i];
            const struct kafka_partition *partition =
                model_partition(place->topic, place->partition);
            struct wanted next = {.topic = place->topic, .partition = place->partition};
            if (partition == NULL || partition->leader < 0 || place->topic->round != model->round ||
                place->committed < 0 ||
                !history_wants(&partition->history, place->committed, model->now_ms, &next.time))
                continue;
            next.leader = partition->leader;
            wanted[(*count)++] = next;
        }
    if (wanted == NULL)
        return NULL;
    qsort(wanted, *count, sizeof(*wanted), compare_wanted);
    size_t kept = 0; /* one time of each partition: the list's answers go by partition */
    for (size_t i = 0; i < *count; i++)
        if (kept == 0 || compare_wanted(&wanted[i], &wanted[kept - 1]) != 0)
            wanted[kept++] = wanted[i];
    *count = kept;
    return wanted;
}

/* The few points of the past are hours apart: the age of a record between them is looked up nearer,
 * in this round as far as some of its time goes, and in the next ones. */
static void
read_nearer(struct kafka_round *round)
{
    static const int64_t own_times[] = {OWN_TIMES};
    int enough_ms = round_left_ms(round) / 2;
    size_t count = 1;
    for (int turn = 0; turn < NEARER_TURNS && count > 0 && round_left_ms(round) > enough_ms;
         turn++) {
        struct wanted *wanted = list_doubtful(round->model, &count);
        if (wanted == NULL)
            return;
        look_up(round, wanted, count, own_times, 1);
        free(wanted);
    }
}

static void
note_histories(struct kafka_model *model, int64_t at_ms)
{
    for (struct kafka_topic *topic = model->topics; topic != NULL; topic = topic->hh.next)
        for (size_t i = 0; i < topic->count; i++)
            if (topic->partitions[i].exists && topic->partitions[i].latest >= 0)
                history_add(&topic->partitions[i].history, topic->partitions[i].latest, at_ms);
}

bool
ends_read(struct kafka_round *round, struct err *err)
{
    size_t count;
    size_t fresh_count;
    struct wanted *wanted = list_wanted(round->model, false, &count);
    struct wanted *fresh = list_wanted(round->model, true, &fresh_count);
    int64_t times[] = {LATEST, EARLIEST, clock_wall_ms() - (int64_t)round->options->lag_objective};
    struct pieces pieces = {.round = round};
    bool fine =
        wanted != NULL && fresh != NULL &&
        add_pieces(&pieces, wanted, count, times, round->options->lag_objective > 0 ? 3 : 2);
    if (!fine)
        (void)err_set(err, ERR_RETRY, 0, "cannot ask for the ends of logs: out of memory");
    if (fine) {
        ask_all(&pieces);
        for (size_t i = 0; i < pieces.count; i++)
            take_piece(&pieces.items[i]);
        fine = first_error(&pieces, err);
        note_histories(round->model, clock_wall_ms());
        read_past(round, fresh, fresh_count);
        read_nearer(round);
    }
    pieces_done(&pieces);
    free(wanted);
    free(fresh);
    return fine;
}
