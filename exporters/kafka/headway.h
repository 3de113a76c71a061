/* SPDX-License-Identifier: Apache-2.0 */
/* headway.h: does a group get on with a partition? From what it committed and what its lag was,
 * round by round. The verdicts, their numbers and most of their rules are Burrow's. Pure. */
#ifndef EXPORTERS_KAFKA_HEADWAY_H
#define EXPORTERS_KAFKA_HEADWAY_H

#include <stdbool.h>
#include <stdint.h>

/* In order of their weight but for OK: a group's is the heaviest of its partitions'. */
enum verdict {
    VERDICT_NONE = 0, /* nothing is known yet */
    VERDICT_OK = 1,
    VERDICT_WARN = 2,   /* it commits, but its lag has not shrunk for the whole window */
    VERDICT_STOP = 4,   /* it has a lag, no members, and has not committed for the whole window */
    VERDICT_STALL = 5,  /* it has members and a lag, and has not committed for the whole window */
    VERDICT_REWIND = 6, /* it went back, and is not where it was yet */
};

struct headway {
    int64_t committed, highest; /* UNKNOWN_OFFSET before the first round */
    int64_t lag;
    uint64_t moved_ms; /* when `committed` last changed */
    uint64_t eased_ms; /* when the lag was last 0 or smaller than in the round before */
    double per_second; /* consumed, over the last round; -1: not known */
};

void headway_init(struct headway *headway, uint64_t now_ms);
/* A round's figures. `lag` below 0: not known. */
void headway_note(struct headway *headway, int64_t committed, int64_t lag, uint64_t now_ms,
                  uint64_t passed_ms);
enum verdict headway_verdict(const struct headway *headway, bool has_members, uint64_t now_ms,
                             uint64_t window_ms);

#endif
