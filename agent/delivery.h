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
void delivery_done(struct agent *agent); /* frees the topics, too */

struct batch *batch_take(struct agent *agent, struct file *file, struct slab *slab); /* or NULL */
void batch_put(struct agent *agent, struct batch *batch); /* back, unsent */
/* Appends it to its file's list and hands its records (agent->messages) to Kafka. */
void batch_send(struct agent *agent, struct batch *batch);

/* Kafka's answer for one record. */
void delivery_answered(struct agent *agent, const rd_kafka_message_t *message);

#endif
