/* SPDX-License-Identifier: Apache-2.0 */
/* sender.h: dead letters on their way back to the topics they came from. Each goes with the key
 * and to the partition it had; where the key is not the id, the id goes along as a header, so that
 * the sink makes the same document of it. The record's time is now: retention would delete an old
 * one at once. One thread. */
#ifndef SINKS_REPLAY_SENDER_H
#define SINKS_REPLAY_SENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "sinks/options.h"
#include "sinks/replay/letter.h"
#include "sinks/replay/shelf.h"

struct sender;

/* A letter is safe in its topic (`err` NULL), or is not. */
typedef void sender_done(void *context, struct shelf_partition *place, int64_t offset,
                         const struct err *err);

bool sender_new(struct sender **out, const struct sink_options *options, sender_done *done,
                void *context, struct err *err) MUST_CHECK;
void sender_free(struct sender *sender); /* gives up what is under way; NULL is fine */

/* Makes sure that the letter can go: its topic is one of the routes' and is there, and of a value
 * that was cut the whole is still where it was. ERR_REJECT: not this one, for the reason in err;
 * ERR_STOP: Kafka is away. */
bool sender_prepare(struct sender *sender, const struct letter *letter, struct err *err) MUST_CHECK;
/* Sends what was prepared last. Waits while too much is under way. False: it is not sent. */
bool sender_send(struct sender *sender, const struct letter *letter, struct shelf_partition *place,
                 int64_t offset, struct err *err) MUST_CHECK;
/* Calls `done` for what was answered; waits until all is, when asked to. */
void sender_serve(struct sender *sender, bool all);

#endif
