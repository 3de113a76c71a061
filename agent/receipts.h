/* SPDX-License-Identifier: Apache-2.0 */
/* receipts.h: tells a control topic what was delivered, so that somebody else can prove that it
 * arrived: once in receipts.interval for each life of a file that moved, a small record with the
 * range of bytes, the events, lines and skips in it, and where in Kafka they are.
 *
 *     key    r1.<generation>.<first byte, 16 hex>      equal key: the longer range holds
 *     value  {"@timestamp":…,"host.name":…,"log.file.path":…,"receipt":{"version":1,"generation":…,
 *             "input":…,"topic":…,"from":…,"to":…,"events":…,"lines":…,"parts":…,"empty":…,
 *             "zeros":…,"since":<ms>,"partition":…,"first":…,"last":…}}
 *
 * `since` is the wall time at which the first of its events was sent; partition, first and last
 * (offsets) are absent when Kafka did not tell, or when the events are in several partitions.
 *
 * A receipt is never in the way of events: while the control topic takes nothing, ranges grow, and
 * what is open is kept in the state. The cost for a batch is some additions; a receipt is allocated
 * when a file moves for the first time after its last one. One thread, the loop's. */
#ifndef AGENT_RECEIPTS_H
#define AGENT_RECEIPTS_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "agent/receipt.h"
#include "core/err.h"

struct agent;
struct batch;
struct file;

/* Ranges that wait for their time or their acknowledgement: some 300 bytes each, so 10 MB at the
 * worst. When there are many, the oldest go before their time, a second's worth with each tick.
 * Beyond the bound new ones are left out, counted, and seen by the audit as bytes without a
 * receipt: while the control topic takes nothing, or when more files than that are written all
 * the time. */
#define RECEIPTS_MAX 32768
#define RECEIPTS_MANY (RECEIPTS_MAX / 4 * 3)
/* Under way at once; the library has room for so many beside the events. */
#define RECEIPTS_FLYING_MAX 1024

struct receipts;

/* Nothing when receipts.topic is empty: then agent->receipts stays NULL, and all the calls below do
 * nothing. */
bool receipts_new(struct agent *agent, struct err *err) MUST_CHECK;
void receipts_free(struct agent *agent);

/* The batch was committed for its file. */
void receipts_committed(struct agent *agent, const struct file *file, const struct batch *batch);
/* Zeros at the beginning of the file were passed over, up to `to`. */
void receipts_passed(struct agent *agent, const struct file *file, uint64_t to);
/* The life is about to be removed: what is open of it goes now. */
void receipts_end(struct agent *agent, struct generation *generation);

/* About once a second, when progress was put into the state: sends what is due. */
void receipts_tick(struct agent *agent);
/* All that is open goes now: the agent stops. */
void receipts_flush(struct agent *agent);
bool receipts_wait(const struct agent *agent); /* some are on their way, and can arrive */
/* True when the answer was for a receipt. */
bool receipts_answered(struct agent *agent, const rd_kafka_message_t *message);

#endif
