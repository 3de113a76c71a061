/* SPDX-License-Identifier: Apache-2.0 */
/* history.c: see history.h. */
#include "exporters/kafka/history.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/assert.h"

#define FINE_POINTS (HISTORY_POINTS / 2) /* of which none is dropped */
#define NEAR_MS 60000.0 /* an age that is known so well is known well enough, … */
#define NEAR_PART 0.1   /* … or to this part of it */
#define FURTHER 4       /* times the oldest age, when a record is older still */

/* How wrong the age of a record would be without that point, as a part of that age. */
static double
loss_without(const struct history *history, uint32_t index)
{
    const struct history_point *point = &history->points[index];
    const struct history_point *left = point - 1;
    const struct history_point *right = point + 1;
    double told_ms = (double)left->at_ms;
    if (right->offset > left->offset)
        told_ms += (double)(point->offset - left->offset) * (double)(right->at_ms - left->at_ms) /
                   (double)(right->offset - left->offset);
    return fabs(told_ms - (double)point->at_ms) /
           (double)(history->points[history->count - 1].at_ms - point->at_ms);
}

/* Room for one more: of the older half that point goes which is missed least, but never the first.
 * Points of a steady stream go, and those where it began or paused stay. */
static void
thin(struct history *history)
{
    uint32_t gone = 1;
    double least = loss_without(history, gone);
    for (uint32_t i = gone + 1; i < history->count - FINE_POINTS; i++) {
        double loss = loss_without(history, i);
        if (loss < least) {
            least = loss;
            gone = i;
        }
    }
    memmove(history->points + gone, history->points + gone + 1,
            (history->count - gone - 1) * sizeof(history->points[0]));
    history->count--;
}

void
history_add(struct history *history, int64_t offset, int64_t at_ms)
{
    struct history_point *last = history->count > 0 ? &history->points[history->count - 1] : NULL;
    if (last != NULL && (offset < last->offset || at_ms < last->at_ms)) {
        history->count = 0;
        last = NULL;
    }
    /* Of a time in which nothing came its begin and its end are enough. */
    bool flat = history->count >= 2 && last->offset == offset && last[-1].offset == offset;
    if (flat || (last != NULL && last->at_ms == at_ms)) {
        *last = (struct history_point){offset, at_ms};
        return;
    }
    if (history->count == HISTORY_POINTS)
        thin(history);
    ASSERT(history->count < HISTORY_POINTS);
    history->points[history->count++] = (struct history_point){offset, at_ms};
}

void
history_insert(struct history *history, int64_t offset, int64_t at_ms)
{
    uint32_t at = 0;
    while (at < history->count && history->points[at].at_ms < at_ms)
        at++;
    struct history_point *next = &history->points[at];
    if (history->count == HISTORY_POINTS || at == history->count || next->at_ms == at_ms ||
        (at == 0 && offset > next->offset))
        return;
    if (offset > next->offset)
        offset = next->offset;
    if (at > 0 && offset < next[-1].offset)
        offset = next[-1].offset;
    memmove(next + 1, next, (history->count - at) * sizeof(*next));
    *next = (struct history_point){offset, at_ms};
    history->count++;
}

/* The last point at or before that offset, which the first one must be, and the last one not. */
static const struct history_point *
point_before(const struct history *history, int64_t offset)
{
    const struct history_point *left = &history->points[0];
    while (left[1].offset <= offset)
        left++;
    return left;
}

bool
history_wants(const struct history *history, int64_t offset, int64_t now_ms, int64_t *time_ms)
{
    if (history->count < 2 || history->count == HISTORY_POINTS ||
        offset >= history->points[history->count - 1].offset)
        return false;
    const struct history_point *first = &history->points[0];
    if (offset < first->offset) {
        *time_ms = now_ms - FURTHER * (now_ms - first->at_ms);
        return *time_ms > 0;
    }
    const struct history_point *left = point_before(history, offset);
    double oldest_ms = (double)(now_ms - left->at_ms);
    double newest_ms = (double)(now_ms - left[1].at_ms);
    if (oldest_ms - newest_ms <= NEAR_MS || oldest_ms - newest_ms <= oldest_ms * NEAR_PART)
        return false;
    /* The same factor to both ages: halves would take longer to a young one. */
    *time_ms = now_ms - (int64_t)sqrt(oldest_ms * fmax(newest_ms, NEAR_MS / 2));
    return true;
}

enum history_method
history_when(const struct history *history, int64_t offset, int64_t *at_ms)
{
    if (history->count < 2)
        return HISTORY_NONE;
    const struct history_point *first = &history->points[0];
    const struct history_point *last = &history->points[history->count - 1];
    if (offset >= last->offset)
        return HISTORY_NONE;
    enum history_method method = HISTORY_INTERPOLATED;
    const struct history_point *left = first;
    const struct history_point *right = last;
    if (offset < first->offset) {
        method = HISTORY_EXTRAPOLATED;
    } else {
        left = point_before(history, offset);
        right = left + 1;
    }
    if (right->offset == left->offset)
        return HISTORY_NONE; /* nothing came in all that time */
    double each_ms = (double)(right->at_ms - left->at_ms) / (double)(right->offset - left->offset);
    *at_ms = left->at_ms + (int64_t)((double)(offset - left->offset) * each_ms);
    return method;
}

double
history_rate(const struct history *history, int64_t now_ms, int64_t window_ms)
{
    if (history->count < 2)
        return -1;
    const struct history_point *last = &history->points[history->count - 1];
    const struct history_point *from = last - 1;
    while (from > history->points && from->at_ms > now_ms - window_ms)
        from--;
    int64_t begin_ms = from->at_ms;
    double begin = (double)from->offset;
    /* The point before may be hours away, where nothing changed in between. */
    if (begin_ms < now_ms - window_ms && now_ms - window_ms < last->at_ms) {
        begin_ms = now_ms - window_ms;
        begin += (double)(from[1].offset - from->offset) * (double)(begin_ms - from->at_ms) /
                 (double)(from[1].at_ms - from->at_ms);
    }
    if (last->at_ms <= begin_ms)
        return -1;
    return ((double)last->offset - begin) * 1000.0 / (double)(last->at_ms - begin_ms);
}
