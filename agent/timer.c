/* SPDX-License-Identifier: Apache-2.0 */
/* timer.c: see timer.h. */
#include "agent/timer.h"

#include <time.h>

#include "core/clock.h"

#define ACCURACY_US 1000

bool
timer_add(sd_event *event, sd_event_source **timer, sd_event_time_handler_t handler, void *context,
          bool rings)
{
    if (sd_event_add_time_relative(event, timer, CLOCK_MONOTONIC, 0, ACCURACY_US, handler,
                                   context) < 0)
        return false;
    return rings || sd_event_source_set_enabled(*timer, SD_EVENT_OFF) >= 0;
}

void
timer_arm(sd_event_source *timer, uint64_t after_ms)
{
    if (timer == NULL)
        return;
    /* Not sd_event_now(): that is when this turn of the loop began, maybe long ago. */
    (void)sd_event_source_set_time(timer, clock_monotonic_ns() / 1000 + after_ms * 1000);
    (void)sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}
