/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.h: counters, gauges and histograms, and their page.
 * The data thread owns a registry: it adds series and changes values, all without locks, and calls
 * metrics_publish() once a turn; any thread may render, and sees the values of one publish, so that
 * sums which hold at the publish hold on the page. Rendering never waits for the data thread.
 * Families come from the program's metrics.def; names follow Prometheus and OpenMetrics rules. */
#ifndef CORE_METRICS_H
#define CORE_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

struct buffer;
struct metrics;

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM, METRIC_INFO };
enum metric_page { METRIC_PAGE_TEXT /* 0.0.4 */, METRIC_PAGE_OPENMETRICS /* 1.0.0 */ };

#define METRIC_LABELS 3   /* label names a family may have */
#define METRIC_BUCKETS 16 /* upper bounds a histogram may have, +Inf not counted */

/* metrics.def:  METRIC(symbol, TYPE, "tailrace_agent_events_total", "input", "Events that …")
 * label names are separated by commas, "" for none. `symbol` becomes an index into the table.
 *     enum { #define METRIC(symbol, …) symbol, … };
 *     const struct metric_family families[] = { … }; */
struct metric_family {
    const char *name; /* with its unit and, for a counter, _total */
    enum metric_type type;
    const char *labels; /* "topic,error" */
    const char *help;
};
#define METRIC_SYMBOL(symbol, type, name, labels, help) symbol,
#define METRIC_FAMILY(symbol, type, name, labels, help) {name, METRIC_##type, labels, help},

/* One series: an index, valid until the registry is freed or the series removed. */
typedef uint32_t metric;
#define METRIC_NONE UINT32_MAX

bool metrics_new(struct metrics **out, const struct metric_family *families, size_t family_count,
                 struct err *err) MUST_CHECK;
void metrics_free(struct metrics *metrics); /* NULL is fine */

/* Upper bounds of a histogram family, ascending; before its first series. Default: seconds from 1
 * ms to 60 s. */
void metrics_buckets(struct metrics *metrics, size_t family, const double *bounds, size_t count);

/* Finds or adds the series of a family with these label values, in the family's order; NULL ends
 * the list and is needed also when there are none. Starts at 0. When memory is short or a family
 * has 10,000 series already, returns METRIC_NONE, on which every call below does nothing. */
metric metrics_series(struct metrics *metrics, size_t family, ...) __attribute__((sentinel));
void metrics_remove(struct metrics *metrics, metric series);

void metrics_add(struct metrics *metrics, metric series, uint64_t delta);
void metrics_set(struct metrics *metrics, metric series, double value);
void metrics_observe(struct metrics *metrics, metric series, double value);
double metrics_value(const struct metrics *metrics, metric series); /* owner thread */

/* Makes the current values what a page shows. Cheap enough for every turn of a loop. */
void metrics_publish(struct metrics *metrics);

/* Any thread. Adds tailrace_build_info{program,version,librdkafka}, process_* (Prometheus client
 * names) at the time of the call. */
void metrics_render(struct metrics *metrics, enum metric_page page, struct buffer *out);

/* For those: once, before the first render. Literals. */
void metrics_about(struct metrics *metrics, const char *program, const char *library_version);

#endif
