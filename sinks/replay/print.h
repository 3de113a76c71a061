/* SPDX-License-Identifier: Apache-2.0 */
/* print.h: dead letters for people and for programs. Nothing here talks to Kafka. */
#ifndef SINKS_REPLAY_PRINT_H
#define SINKS_REPLAY_PRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"
#include "sinks/replay/letter.h"

struct buffer;

/* Where a letter itself stands. */
struct print_place {
    const char *topic;
    int32_t partition;
    int64_t offset;
    bool sent; /* it was sent back before */
};

void print_letter(struct buffer *out, const struct letter *letter, const struct print_place *place);
void print_letter_json(struct buffer *out, const struct letter *letter,
                       const struct print_place *place);

/* Letters by topic and reason. */
#define TALLY_GROUPS_MAX 1000 /* a page of different reasons; the rest is counted together */
struct tally_group {
    char *topic; /* owned */
    char *reason;
    uint64_t letters;
    uint64_t sent;
    int64_t oldest_ms;
    int64_t newest_ms;
};
struct tally {
    struct tally_group groups[TALLY_GROUPS_MAX];
    size_t count;
};
bool tally_add(struct tally *tally, const struct letter *letter, bool sent) MUST_CHECK;
void tally_print(struct tally *tally, bool json, struct buffer *out); /* the largest first */
void tally_done(struct tally *tally);

#endif
