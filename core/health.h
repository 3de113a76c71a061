/* SPDX-License-Identifier: Apache-2.0 */
/* health.h: is the data loop alive, and is the program doing its job? Thread safe.
 * Liveness is the loop's heartbeat and nothing else: a broker that is away must not restart a pod.
 * Readiness is a set of named conditions, each fine or with a reason; a condition is local (state
 * directory, configuration) or remote (broker, index). */
#ifndef CORE_HEALTH_H
#define CORE_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

struct buffer;
struct health;

enum health_scope { HEALTH_LOCAL, HEALTH_REMOTE };

bool health_new(struct health **out, uint64_t stuck_after_ms, struct err *err) MUST_CHECK;
void health_free(struct health *health); /* NULL is fine */

void health_beat(struct health *health); /* the data loop, each turn; an atomic store */

/* `name` is a literal ("kafka"); `reason` NULL or "" is fine, else a sentence for a person. */
void health_set(struct health *health, enum health_scope scope, const char *name,
                const char *reason);

/* Append "ok" or the reasons, one a line, as "kafka: cannot reach …"; the result is the verdict. */
bool health_alive(struct health *health, struct buffer *out);
bool health_ready(struct health *health, bool local_only, struct buffer *out);

#endif
