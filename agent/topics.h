/* SPDX-License-Identifier: Apache-2.0 */
/* topics.h: what is known of each topic: its partitions and their lanes, why it takes no events or
 * takes them slowly, how large its requests may be. A topic that refuses pauses by itself, with a
 * reason, and is tried again after a while, longer each time, until something is delivered. */
#ifndef AGENT_TOPICS_H
#define AGENT_TOPICS_H

#include "agent/agent.h"

/* Found or added by name. NULL with the reason. */
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
void topics_done(struct agent *agent);

/* A request was refused that may have held more than one record: the next ones are smaller. */
void topic_limit_shrink(struct agent *agent, struct topic *topic, const struct batch *batch,
                        rd_kafka_resp_err_t error);
/* May a batch go to the lane now, when the topic takes small requests only? */
bool topic_limit_allows(const struct topic *topic, const struct lane *lane);

/* The partition for the file's next batch. The topic must be known. */
int32_t topic_partition(struct topic *topic, const struct file *file, bool spread);

#endif
