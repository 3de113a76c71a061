/* SPDX-License-Identifier: Apache-2.0 */
/* letter.h: one dead letter as it is read back from its topic. Pure but for librdkafka's reading of
 * headers. */
#ifndef SINKS_REPLAY_LETTER_H
#define SINKS_REPLAY_LETTER_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"
#include "sinks/replay/request.h"

struct buffer;

struct letter {
    const char *id; /* this and the other texts are the message's */
    size_t id_size;
    const char *key; /* of the record when it was not the id; NULL for none */
    size_t key_size;
    const char *value; /* NULL for none */
    size_t value_size;
    const char *topic; /* where the record stood */
    int64_t partition;
    int64_t offset;
    const char *index;
    const char *reason;
    int64_t status;
    int64_t attempts;
    int64_t cut_from; /* size of the value of which only the beginning is kept; -1: it is whole */
    int64_t time_ms;  /* when the letter was written */
};

/* False when the message is no dead letter of a sink: a header that must be there is missing or no
 * number. */
bool letter_read(struct letter *out, const rd_kafka_message_t *message) MUST_CHECK;

/* True when the letter is of those asked for. `open` is not looked at: the letter does not know. */
bool letter_matches(const struct letter *letter, const struct replay_request *request,
                    int64_t now_ms);

/* Appends the reason without what differs from event to event: what stands in single quotes becomes
 * '…', a number by itself N. */
void letter_class(struct buffer *out, const char *reason);

#endif
