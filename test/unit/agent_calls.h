/* SPDX-License-Identifier: Apache-2.0 */
/* agent_calls.h: what a struct agent asks of its pipeline, for tests of its parts: nothing is said,
 * nobody is woken. */
#ifndef TEST_UNIT_AGENT_CALLS_H
#define TEST_UNIT_AGENT_CALLS_H

#include "agent/agent.h"

static inline void
hush(struct agent *agent, enum log_level level, const char *site, const char *text)
{
    (void)agent;
    (void)level;
    (void)site;
    (void)text;
}

static inline void
ignore(struct agent *agent)
{
    (void)agent;
}

#endif
