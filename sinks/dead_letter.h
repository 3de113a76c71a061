/* SPDX-License-Identifier: Apache-2.0 */
/* dead_letter.h: documents that the index will never accept, kept in a Kafka topic with the
 * reason. At least once: a repeat has the same key. That is why the producer is not idempotent:
 * librdkafka below 2.3 can end an idempotent producer at an ordinary disconnect. One thread;
 * nothing here logs. */
#ifndef SINKS_DEAD_LETTER_H
#define SINKS_DEAD_LETTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "sinks/options.h"

/* What is kept of a value that the dead-letter topic refuses as too large; the whole is at its
 * old place. */
#define DEAD_LETTER_CUT_SIZE (64 * 1024)

struct dead_letter {
    const char *dead_letter_topic;
    const char *id; /* key of the dead letter */
    size_t id_size;
    const char
        *key; /* of the record, NULL when it had none; kept as a header when it is not the id */
    size_t key_size;
    const char *value; /* as it was in the topic, NULL for none */
    size_t value_size;
    const char *topic;
    int32_t partition;
    int64_t offset;
    const char *index;
    const char *reason;
    int status;
    unsigned attempts;
    bool cut; /* send DEAD_LETTER_CUT_SIZE bytes of the value, and say so */
};

/* `err` is NULL when the letter is safe. ERR_REJECT: too large for the topic. */
typedef void dead_letter_done(void *context, void *record, const struct err *err);

struct dead_letters;
bool dead_letters_new(struct dead_letters **out, const struct sink_options *options, int event_fd,
                      dead_letter_done *done, void *context, struct err *err) MUST_CHECK;
/* Gives up what is under way: it comes back with an error. NULL is fine. */
void dead_letters_free(struct dead_letters *letters);

/* True when the topic is there. False: err says what is wrong, as a sentence that more may follow.
 * Waits for the broker, two seconds at most. */
bool dead_letters_look(struct dead_letters *letters, const char *topic, struct err *err) MUST_CHECK;

/* Copies what it needs. False with ERR_RETRY when the topic or the queue cannot take it now.
 * `record` comes back through `done`, inside dead_letters_poll(). */
bool dead_letters_send(struct dead_letters *letters, const struct dead_letter *letter, void *record,
                       struct err *err) MUST_CHECK;
void dead_letters_poll(struct dead_letters *letters);

#endif
