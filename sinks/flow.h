/* SPDX-License-Identifier: Apache-2.0 */
/* flow.h: how much is taken from Kafka: as long as memory lasts, and no route more than its share
 * while it stands still. */
#ifndef SINKS_FLOW_H
#define SINKS_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

struct pipeline;

/* True when no more may be taken now: memory is used up, or one route took three quarters of it
 * and is not yet known to stand still. */
bool flow_is_full(const struct pipeline *pipeline, uint64_t now_ms);

/* Takes what is there, a turn's worth at most. False with ERR_STOP when memory is short. */
bool flow_take(struct pipeline *pipeline, uint64_t now_ms, struct err *err) MUST_CHECK;

#endif
