/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.h: the numbers of the sink's metric families, for metrics_series(). */
#ifndef SINKS_METRICS_H
#define SINKS_METRICS_H

#include "core/metrics.h"

#include "sinks/metrics.def"

enum { SINK_METRICS(METRIC_SYMBOL) SINK_METRIC_COUNT };

#endif
