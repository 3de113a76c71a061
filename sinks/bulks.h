/* SPDX-License-Identifier: Apache-2.0 */
/* bulks.h: which documents go into the next requests, how large these are, and when nothing is
 * sent because the store or an index is known to refuse. */
#ifndef SINKS_BULKS_H
#define SINKS_BULKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pipeline;
struct route;

/* Sends every bulk that is due and allowed; `flush`: does not wait for full ones. */
void bulks_send(struct pipeline *pipeline, bool flush, uint64_t now_ms);

/* The store is away, or a route's index refuses. NULL: no reason was given. */
void bulks_note_server_fault(struct pipeline *pipeline, const char *reason, uint64_t now_ms);
void bulks_note_route_fault(struct route *route, const char *reason, uint64_t now_ms);

/* Template or schema are looked at again before the next bulk. */
void bulks_forget_prepared(struct pipeline *pipeline);

/* A 413 for a bulk of this size: half of it, or what passed before the size last grew. */
void bulks_shrink(struct pipeline *pipeline, size_t size, uint64_t now_ms);
/* Once a second: one huge document, or a server's limit of that day, must not make bulks small
 * for good. */
void bulks_grow(struct pipeline *pipeline, uint64_t now_ms);

/* With the documents of those that never came back. */
void bulks_free(struct pipeline *pipeline);

#endif
