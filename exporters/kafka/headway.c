/* SPDX-License-Identifier: Apache-2.0 */
/* headway.c: see headway.h. */
#include "exporters/kafka/headway.h"

void
headway_init(struct headway *headway, uint64_t now_ms)
{
    *headway = (struct headway){
        .committed = -1,
        .highest = -1,
        .lag = -1,
        .moved_ms = now_ms,
        .eased_ms = now_ms,
        .per_second = -1,
    };
}

void
headway_note(struct headway *headway, int64_t committed, int64_t lag, uint64_t now_ms,
             uint64_t passed_ms)
{
    headway->per_second = -1;
    if (headway->committed >= 0 && committed >= headway->committed && passed_ms > 0)
        headway->per_second = (double)(committed - headway->committed) * 1000.0 / (double)passed_ms;
    if (committed != headway->committed)
        headway->moved_ms = now_ms;
    headway->committed = committed;
    if (committed > headway->highest)
        headway->highest = committed;
    if (lag < 0)
        return;
    if (lag == 0 || lag < headway->lag)
        headway->eased_ms = now_ms;
    headway->lag = lag;
}

enum verdict
headway_verdict(const struct headway *headway, bool has_members, uint64_t now_ms,
                uint64_t window_ms)
{
    if (headway->committed < 0 || headway->lag < 0)
        return VERDICT_NONE;
    if (headway->lag == 0)
        return VERDICT_OK;
    if (headway->committed < headway->highest)
        return VERDICT_REWIND;
    if (now_ms - headway->moved_ms >= window_ms)
        return has_members ? VERDICT_STALL : VERDICT_STOP;
    return now_ms - headway->eased_ms >= window_ms ? VERDICT_WARN : VERDICT_OK;
}
