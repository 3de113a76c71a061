/* SPDX-License-Identifier: Apache-2.0 */
/* timer.h: timers on the loop, by the monotonic clock, that ring once each time they are armed. */
#ifndef AGENT_TIMER_H
#define AGENT_TIMER_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* `rings`: with the loop's first turn; else when it is armed. */
bool timer_add(sd_event *event, sd_event_source **timer, sd_event_time_handler_t handler,
               void *context, bool rings);
void timer_arm(sd_event_source *timer, uint64_t after_ms); /* NULL is fine: it is gone */

#endif
