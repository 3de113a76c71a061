/* SPDX-License-Identifier: Apache-2.0 */
/* consumer.h: the member of the consumer group: partitions, their records in order, their
 * offsets. Records are taken one by one, because consume_batch of librdkafka below 2.1 loses
 * records in every cooperative rebalance, and a jump of offsets is not believed at once. Offsets
 * are committed here and nowhere else: what the tracker of a partition says is finished. One
 * thread; nothing here logs. */
#ifndef SINKS_CONSUMER_H
#define SINKS_CONSUMER_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "sinks/offsets.h"
#include "sinks/options.h"

struct buffer;
struct consumer;

/* One partition, from its first assignment to the end of the process. */
struct partition {
    size_t route; /* index into the options' routes */
    int32_t id;
    bool assigned;
    bool revoking; /* being taken away: finish, take nothing new */
    bool paused;
    uint32_t generation; /* a record that carries another one is late: nobody counts it any more */
    struct offsets offsets;
    int64_t expected;     /* offset of the next record, -1 when not known */
    bool astray;          /* the seek back to `expected` failed: tried again each second */
    int64_t woken;        /* `expected` when its fetcher was last woken */
    bool doubted;         /* the broker said that the topic is gone: is this still the same log? */
    uint64_t commit_from; /* nothing is committed before the record of this sequence is finished */
    bool commit_lower;    /* the next offset to be committed is before the last one */
    bool sought;          /* the jump seen next was answered by seeking back already */
    unsigned gaps;        /* jumps that repeated, in this assignment */
    int64_t handed;       /* offset last handed to librdkafka for its next commit, -1 for none */
    int64_t committed;    /* offset that the broker acknowledged, -1 for none */
    int64_t end;          /* offset where the log ended when its end was last met, -1 */
    int64_t asked_end;    /* the same when the broker was last asked, -1 */
    uint64_t at_end_ms;   /* when it was last known to be at the end, or was assigned */
};

/* What the consumer tells its owner; all are called inside consumer_take(), _close() or _idle(). */
struct consumer_hooks {
    void *context;
    /* Partitions with `revoking` set are about to go: finish what is under way, within the time. */
    void (*drain)(void *context, uint64_t timeout_ms);
    /* The partition is gone with this many records not finished; its generation has changed. */
    void (*revoked)(void *context, struct partition *partition, uint64_t open);
    /* Records that the broker deleted before we saw them, or offsets that hold no record. */
    void (*lost)(void *context, const struct partition *partition, uint64_t records);
    void (*gap)(void *context, const struct partition *partition, uint64_t offsets);
    /* The log goes on at an offset before the one that was to come (-1: at its start). */
    void (*rewound)(void *context, const struct partition *partition, int64_t offset);
    void (*note)(void *context, int level,
                 const char *text); /* syslog level; librdkafka's own words */
};

struct taken {
    rd_kafka_message_t *message; /* the caller's to destroy */
    struct partition *partition;
    uint64_t sequence;
};

/* `visits`: comes for a while beside the sinks that run; takes no name of theirs. */
bool consumer_new(struct consumer **out, const struct sink_options *options,
                  const struct consumer_hooks *hooks, bool visits, struct err *err) MUST_CHECK;
bool consumer_subscribe(struct consumer *consumer,
                        struct err *err) MUST_CHECK; /* joins the group */
/* Leaves the group (with the hooks of a revoke), waiting at most this long. */
void consumer_close(struct consumer *consumer, uint64_t timeout_ms);
void consumer_free(struct consumer *consumer); /* all messages must be destroyed; NULL is fine */

int consumer_fd(const struct consumer *consumer); /* readable when there may be something to take */
void consumer_clear_fd(struct consumer *consumer);

/* The next record. False when there is none now. */
bool consumer_take(struct consumer *consumer, struct taken *out) MUST_CHECK;

/* False with ERR_STOP when nothing will come any more. */
bool consumer_works(const struct consumer *consumer, struct err *err) MUST_CHECK;

/* Nothing was there to take, and before that nothing was taken for a while: asks for more at
 * once. */
void consumer_wake(struct consumer *consumer);

/* Notes the record as finished, unless its partition has gone on to another generation. */
void consumer_finish(struct partition *partition, uint32_t generation, uint64_t sequence);

/* Hands over the offsets that moved; librdkafka commits them each second outside of rebalances. */
void consumer_store(struct consumer *consumer);
/* Commits now and waits for the answer. */
bool consumer_commit_wait(struct consumer *consumer, uint64_t timeout_ms,
                          struct err *err) MUST_CHECK;

/* Stops or goes on fetching a route's partitions. Pausing throws prefetched records away. */
void consumer_pause(struct consumer *consumer, size_t route, bool paused);

/* Milliseconds within which consumer_take() must be called. */
uint64_t consumer_poll_interval_ms(const struct consumer *consumer);
const char *consumer_cluster_id(struct consumer *consumer); /* "" when the broker has none */
uint64_t consumer_rebalances(const struct consumer *consumer);

/* "" when the group works, else a sentence on what is wrong. */
const char *consumer_problem(const struct consumer *consumer);
/* Once a second: finds out whether a broker that was away is back, where logs end whose records
 * are not fetched now, and goes on with what failed. */
void consumer_idle(struct consumer *consumer);

/* All partitions ever assigned, for pages; valid until the next consumer_take(). */
struct partition *const *consumer_partitions(const struct consumer *consumer, size_t *count);
/* The log's end as last heard, -1 when not known. */
int64_t consumer_high_watermark(const struct consumer *consumer, const struct partition *partition);
/* What is not finished of a partition, 0 and 0 for one that is not ours. The seconds are the age
 * of the first record that was taken and is not finished, by its Kafka timestamp; while there is
 * none, the time that records have waited in Kafka. */
struct consumer_lag {
    uint64_t records;
    uint64_t seconds;
};
struct consumer_lag consumer_lag(const struct consumer *consumer,
                                 const struct partition *partition);

/* Asks the brokers for the ends of all partitions of all routes (blocking), and later tells
 * whether every one of them is finished up to there, here or by another member of the group. */
bool consumer_mark_ends(struct consumer *consumer, struct err *err) MUST_CHECK;
bool consumer_reached_ends(struct consumer *consumer);

/* check --connect: appends what the brokers say about the topics of the routes and of their dead
 * letters. The number of problems. */
size_t consumer_check(struct consumer *consumer, struct buffer *report) MUST_CHECK;

#endif
