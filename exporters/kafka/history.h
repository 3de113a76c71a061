/* SPDX-License-Identifier: Apache-2.0 */
/* history.h: at what time a log's end was where, as few points that reach far back: so that an
 * offset can be told as a time. Times are wall time in ms. Pure. */
#ifndef EXPORTERS_KAFKA_HISTORY_H
#define EXPORTERS_KAFKA_HISTORY_H

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
/* A point of the past that somebody looked up, before the first; points are put in from the newest
 * to the oldest. One that does not fit is passed over. */
void history_add_before(struct history *history, int64_t offset, int64_t at_ms);

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
