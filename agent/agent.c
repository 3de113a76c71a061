/* SPDX-License-Identifier: Apache-2.0 */
/* agent.c: see agent.h. */
#include "agent/agent.h"

#include <stdarg.h>
#include <stdio.h>

void
agent_say(struct agent *agent, enum log_level level, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX + 128];
    va_list arguments;
    va_start(arguments, fmt);
    int size = vsnprintf(text, sizeof(text), fmt, arguments);
    va_end(arguments);
    if (size > 0)
        agent->say(agent, level, fmt, text);
}
