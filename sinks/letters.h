/* SPDX-License-Identifier: Apache-2.0 */
/* letters.h: condemned documents on their way to the dead-letter topic. When it does not take them
 * their route waits and says so: none is dropped. */
#ifndef SINKS_LETTERS_H
#define SINKS_LETTERS_H

#include <stdint.h>

struct err;
struct pipeline;
struct route;

/* Once a turn. */
void letters_send(struct pipeline *pipeline, struct route *route, uint64_t now_ms);
/* The dead_letter_done of all letters; `context` is the pipeline. */
void letters_done(void *context, void *record, const struct err *err);

#endif
