/* SPDX-License-Identifier: Apache-2.0 */
/* delivery.h: batches on their way, what Kafka answers, and how far a file is committed. A
 * file's batches stand in its list in the order of their bytes; `committed` follows the finished
 * ones from the front. When one of them failed, the file waits until all are answered, and is
 * then read again from the first that is not finished: order is kept, and equal ids make repeats
 * harmless. */
#ifndef AGENT_DELIVERY_H
#define AGENT_DELIVERY_H

#include "agent/agent.h"

bool delivery_init(struct agent *agent, struct err *err) MUST_CHECK;
void delivery_done(struct agent *agent);

struct batch *batch_take(struct agent *agent, struct file *file, struct slab *slab); /* or NULL */
void batch_put(struct agent *agent, struct batch *batch); /* back, unsent */
/* Appends it to its file's list and hands its records (agent->messages) to Kafka. */
void batch_send(struct agent *agent, struct batch *batch);

/* Kafka's answer for one record. */
void delivery_answered(struct agent *agent, const rd_kafka_message_t *message);

/* Topics: found or added by name. */
struct topic *topic_get(struct agent *agent, const char *name, struct err *err);
void topic_found(struct agent *agent, struct topic *topic, const struct producer_topic *found);
bool topic_is_open(const struct agent *agent, const struct topic *topic);
/* Takes no events for a while; each time longer, until something is delivered. */
void topic_pause(struct agent *agent, struct topic *topic, rd_kafka_resp_err_t error);
/* Ends pauses whose time has come. */
void topics_tick(struct agent *agent);
/* Lanes without answers hold all slabs of some kind, and others have waited for one too long. Then
 * they are marked, and all that is under way should be taken back: the library gives back nothing
 * of a single partition. (A new client is no way out: while most brokers are away it gets no
 * producer id, and then nothing is sent to those that are there.) */
bool topics_reclaim(struct agent *agent);
void topics_publish(struct agent *agent); /* as metrics */

/* May a batch go to the lane now, when the topic takes small requests only? */
bool topic_limit_allows(const struct topic *topic, const struct lane *lane);

/* The partition for the file's next batch. The topic must be known. */
int32_t topic_partition(struct topic *topic, const struct file *file, bool spread);

#endif
