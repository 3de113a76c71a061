/* SPDX-License-Identifier: Apache-2.0 */
/* schedule.h: whose turn it is. Files with something to read wait in queues, one per input and
 * lane; turns go round the inputs, within an input round its lanes, within a lane round its
 * files. A lane without room is passed over until an answer comes, an input above its rate until
 * it has tokens again. */
#ifndef AGENT_SCHEDULE_H
#define AGENT_SCHEDULE_H

#include "agent/agent.h"

/* There may be something to read; once more is fine. */
void schedule_file(struct agent *agent, struct file *file);
void schedule_remove(struct agent *agent, struct file *file);

/* Partitions or leaders have changed: files are put into their queues again. */
void schedule_topic(struct agent *agent, struct topic *topic);
/* Tries again to place what memory was too short for. */
void schedule_tick(struct agent *agent);

/* Takes up to `turns` turns. True when there is more that could be done at once. */
bool schedule_run(struct agent *agent, unsigned turns);

/* Milliseconds until an input has tokens again, UINT64_MAX when none waits for them. */
uint64_t schedule_tokens_ms(struct agent *agent);

#endif
