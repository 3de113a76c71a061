/* SPDX-License-Identifier: Apache-2.0 */
/* request.h: what was asked of `tailrace-sink dead-letters`. Pure. */
#ifndef SINKS_REPLAY_REQUEST_H
#define SINKS_REPLAY_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

/* For the table of verbs, and the whole help. */
#define DEAD_LETTERS_ARGUMENTS                                                                     \
    "list|count|replay [--topic TOPIC] [--since TIME] [--reason TEXT] [--id ID] [--open] "         \
    "[--again] [--dry-run] [--json]"
#define DEAD_LETTERS_HELP "Show the documents that the index refused, or send them to it again."
extern const char dead_letters_help[];

enum replay_action { REPLAY_LIST, REPLAY_COUNT, REPLAY_SEND };

struct replay_request {
    enum replay_action action;
    const char *topic;  /* of a route; NULL for all. This and the others are the caller's words. */
    const char *reason; /* part of it, in any case; NULL for all */
    const char *id;     /* NULL for all */
    uint64_t since_ms;  /* letters of the last so many ms; 0 for all */
    bool open;          /* only letters that were not sent back yet */
    bool again;         /* replay: also those that were */
    bool dry_run;
    bool json;
};

/* `argv` holds what stands behind the verb. ERR_CONFIG with a sentence on what is wrong. */
bool replay_request_parse(struct replay_request *out, int argc, char **argv,
                          struct err *err) MUST_CHECK;

#endif
