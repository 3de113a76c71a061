/* SPDX-License-Identifier: Apache-2.0 */
/* history.h: at what time a log's end was where, as few points that reach far back: so that an
 * offset can be told as a time. Times are wall time in ms. Pure. */
#ifndef EXPORTERS_KAFKA_HISTORY_H
#define EXPORTERS_KAFKA_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

/* At the default interval the newer half reaches back 4 minutes, the older half as far as there was
 * a history: of it the points stay that matter. 512 bytes a partition. */
#define HISTORY_POINTS 32

struct history_point {
    int64_t offset; /* of the next record */
    int64_t at_ms;
};
struct history {
    struct history_point points[HISTORY_POINTS]; /* both ascending */
    uint32_t count;
};

/* The end as it is now. An end that went back is another log: what was known is forgotten. */
void history_add(struct history *history, int64_t offset, int64_t at_ms);
/* A point of the past that somebody looked up. What fits not between its neighbours, since the
 * producers' clocks differ, is moved to the next of them; before the first it is passed over. */
void history_insert(struct history *history, int64_t offset, int64_t at_ms);
/* Which time should be looked up next, so that the age of the record of that offset is known to a
 * minute or a tenth? False: it is, or there is no room for more. */
bool history_wants(const struct history *history, int64_t offset, int64_t now_ms, int64_t *time_ms);

enum history_method {
    HISTORY_NONE,         /* too little is known */
    HISTORY_INTERPOLATED, /* between two points */
    HISTORY_EXTRAPOLATED, /* older than the first one: with the pace of those that are known */
};
/* When the record of that offset was written, which must be before the end. */
enum history_method history_when(const struct history *history, int64_t offset, int64_t *at_ms);

/* Records a second over about the last `window_ms`; -1 when that is not known. */
double history_rate(const struct history *history, int64_t now_ms, int64_t window_ms);

#endif
