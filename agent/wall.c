/* SPDX-License-Identifier: Apache-2.0 */
/* wall.c: see wall.h. */
#include "agent/wall.h"

#include <stdio.h>

#include "core/clock.h"

void
wall_init(struct wall *wall, int64_t state_ms)
{
    *wall = (struct wall){.least_ms = state_ms - WALL_TOLERANCE_MS};
}

int64_t
wall_look(struct wall *wall, int64_t now_ms, int64_t boot_ms, char *text, size_t text_max)
{
    int64_t step_ms = wall->looked ? now_ms - boot_ms - wall->offset_ms : 0;
    if (step_ms <= WALL_STEP_MS && step_ms >= -WALL_STEP_MS)
        step_ms = 0;
    wall->offset_ms = now_ms - boot_ms;
    bool before_build = now_ms < clock_build_ms();
    if (step_ms < 0 && !wall->wrong && !before_build && now_ms - WALL_TOLERANCE_MS < wall->least_ms)
        wall->least_ms = now_ms - WALL_TOLERANCE_MS;
    wall->looked = true;
    wall->wrong = before_build || now_ms < wall->least_ms;
    text[0] = '\0';
    if (!wall->wrong)
        return step_ms;
    char now[CLOCK_TEXT_SIZE];
    char least[CLOCK_TEXT_SIZE];
    clock_format_utc(now_ms, now);
    clock_format_utc(before_build ? clock_build_ms() : wall->least_ms + WALL_TOLERANCE_MS, least);
    int size = snprintf(
        text, text_max,
        "the wall clock says %.19s UTC, but %s %.19s UTC: nothing is read until it is right%s", now,
        before_build ? "this program was built at" : "the state was written at", least,
        before_build ? "" : "; if it is right now, a reload (SIGHUP) accepts it");
    if (size < 0)
        text[0] = '\0';
    return step_ms;
}

bool
wall_accept(struct wall *wall, int64_t now_ms)
{
    if (!wall->wrong || now_ms >= wall->least_ms || now_ms < clock_build_ms())
        return false;
    wall->least_ms = now_ms - WALL_TOLERANCE_MS;
    return true;
}
