/* SPDX-License-Identifier: Apache-2.0 */
/* status.h: what the agent is doing, for machines and for people. Runs on the loop's thread. */
#ifndef AGENT_STATUS_H
#define AGENT_STATUS_H

#include "agent/agent.h"
#include "agent/survey.h"

/* JSON; `path` NULL: all, with at most STATUS_FILES_MAX files, the failed and those that lag most
 * first. `waits`: why the agent is not ready, a reason a line; "" when it is. */
#define STATUS_FILES_MAX SURVEY_FILES_MAX
void status_json(struct agent *agent, const char *path, const char *kafka_reason, const char *waits,
                 struct buffer *out);
/* What is done with the files of this path, in sentences. */
void status_explain(const struct agent *agent, const char *path, struct buffer *out);
/* A page for people. */
void status_page(struct agent *agent, const char *kafka_reason, const char *waits,
                 struct buffer *out);

#endif
