/* SPDX-License-Identifier: Apache-2.0 */
/* headway.c: see headway.h. */
#include "exporters/kafka/headway.h"

void
headway_init(struct headway *progress, uint64_t now_ms)
{
    *progress = (struct headway){
        .committed = -1,
        .highest = -1,
        .lag = -1,
        .began_ms = now_ms,
        .moved_ms = now_ms,
        .eased_ms = now_ms,
        .per_second = -1,
    };
}

void
headway_note(struct headway *progress, int64_t committed, int64_t lag, uint64_t now_ms,
             uint64_t passed_ms)
{
    progress->per_second = -1;
    if (progress->committed >= 0 && committed >= progress->committed && passed_ms > 0)
        progress->per_second =
            (double)(committed - progress->committed) * 1000.0 / (double)passed_ms;
    if (committed != progress->committed)
        progress->moved_ms = now_ms;
    progress->committed = committed;
    if (committed > progress->highest)
        progress->highest = committed;
    if (lag < 0)
        return;
    if (lag == 0 || lag < progress->lag)
        progress->eased_ms = now_ms;
    progress->lag = lag;
}

enum verdict
headway_verdict(const struct headway *progress, bool has_members, uint64_t now_ms,
                uint64_t window_ms)
{
    if (progress->committed < 0 || progress->lag < 0)
        return VERDICT_NONE;
    if (progress->lag == 0)
        return VERDICT_OK;
    if (progress->committed < progress->highest)
        return VERDICT_REWIND;
    if (now_ms - progress->moved_ms >= window_ms)
        return has_members ? VERDICT_STALL : VERDICT_STOP;
    return now_ms - progress->eased_ms >= window_ms ? VERDICT_WARN : VERDICT_OK;
}

const char *
verdict_name(enum verdict verdict)
{
    switch (verdict) {
    case VERDICT_OK:
        return "ok";
    case VERDICT_WARN:
        return "warn";
    case VERDICT_STOP:
        return "stop";
    case VERDICT_STALL:
        return "stall";
    case VERDICT_REWIND:
        return "rewind";
    case VERDICT_NONE:
        break;
    }
    return "unknown";
}
