/* SPDX-License-Identifier: Apache-2.0 */
/* days.c: see days.h. */
#include "agent/days.h"

#include <string.h>

#include "core/assert.h"

int32_t
day_of(int64_t wall_ms)
{
    if (wall_ms < 0)
        return 0;
    int64_t day = wall_ms / DAY_MS;
    return day > DAY_LAST ? DAY_LAST : (int32_t)day;
}

bool
days_want(const struct day_marks *marks, uint64_t offset, int32_t today)
{
    return marks->count == 0 || (offset >= marks->sent && marks->day[marks->count - 1] != today);
}

static void
drop_first(struct day_marks *marks)
{
    marks->count--;
    memmove(marks->from, marks->from + 1, marks->count * sizeof(marks->from[0]));
    memmove(marks->day, marks->day + 1, marks->count * sizeof(marks->day[0]));
}

bool
days_add(struct day_marks *marks, uint64_t committed, uint64_t offset, int32_t today)
{
    ASSERT(days_want(marks, offset, today));
    ASSERT(marks->count == 0 || offset >= marks->from[marks->count - 1]);

    bool again = marks->count > 0 && marks->from[marks->count - 1] == offset;
    if (!again && marks->count == DAYS_MAX && marks->from[1] <= committed)
        drop_first(marks);
    if (!again && marks->count == DAYS_MAX)
        return false;
    if (!again) /* else nothing was sent on the day that it named */
        marks->count++;
    marks->from[marks->count - 1] = offset;
    marks->day[marks->count - 1] = today;
    days_sent(marks, offset);
    return true;
}

int64_t
days_time(const struct day_marks *marks, uint64_t offset, int32_t today, int64_t now_ms,
          uint64_t *until)
{
    ASSERT(marks->count > 0);

    uint32_t i = 0;
    while (i + 1 < marks->count && marks->from[i + 1] <= offset)
        i++;
    if (i + 1 < marks->count)
        *until = marks->from[i + 1];
    else
        *until = marks->day[i] == today ? UINT64_MAX : marks->sent;
    int64_t first_ms = marks->day[i] * DAY_MS;
    int64_t last_ms = first_ms + DAY_MS - 1;
    return now_ms < first_ms ? first_ms : now_ms > last_ms ? last_ms : now_ms;
}

void
days_sent(struct day_marks *marks, uint64_t end)
{
    if (marks->sent < end)
        marks->sent = end;
}

void
days_found(struct day_marks *marks, uint64_t size)
{
    if (marks->sent != SENT_UNKNOWN)
        return;
    marks->sent = size;
    if (marks->count > 0)
        days_sent(marks, marks->from[marks->count - 1]);
}

/* After the midnight that ended a mark's day nothing is sent on it any more; and the first write of
 * the new day says up to where something was. */
void
days_loaded(struct day_marks *marks, uint64_t committed, bool clean, int64_t wall_ms)
{
    bool over = clean || marks->count == 0 || marks->day[marks->count - 1] < day_of(wall_ms);
    if (!over) {
        marks->sent = SENT_UNKNOWN;
        return;
    }
    days_sent(marks, committed);
    if (marks->count > 0)
        days_sent(marks, marks->from[marks->count - 1]);
}

bool
days_are_sane(const struct day_marks *marks)
{
    if (marks->count > DAYS_MAX)
        return false;
    for (uint32_t i = 0; i < marks->count; i++)
        if (marks->from[i] > INT64_MAX || marks->day[i] < 0 || marks->day[i] > DAY_LAST ||
            (i > 0 && marks->from[i] <= marks->from[i - 1]))
            return false;
    return true;
}
