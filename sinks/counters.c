/* SPDX-License-Identifier: Apache-2.0 */
/* counters.c: see counters.h. */
#include "sinks/counters.h"

#include "core/clock.h"
#include "sinks/pipeline.h"

static void
open_route_series(struct pipeline *pipeline, size_t i)
{
    struct metrics *metrics = pipeline->settings.metrics;
    const char *topic = pipeline->routes[i].topic;
    struct route_series *series = &pipeline->series[i];
    series->consumed = metrics_series(metrics, SINK_CONSUMED, topic, NULL);
    series->in_flight = metrics_series(metrics, SINK_IN_FLIGHT, topic, NULL);
    series->lag = metrics_series(metrics, SINK_LAG, topic, NULL);
    series->lag_seconds = metrics_series(metrics, SINK_LAG_SECONDS, topic, NULL);
    series->lost = metrics_series(metrics, SINK_LOST, topic, NULL);
    series->rewinds = metrics_series(metrics, SINK_REWINDS, topic, NULL);
    series->gaps = metrics_series(metrics, SINK_GAPS, topic, NULL);
    series->retried = metrics_series(metrics, SINK_RETRIED, topic, NULL);
    series->retired = metrics_series(metrics, SINK_RETIRED, topic, NULL);
    series->event_age = metrics_series(metrics, SINK_EVENT_AGE, topic, NULL);
    for (size_t outcome = 0; outcome < ROUTE_OUTCOME_COUNT; outcome++)
        series->finished[outcome] =
            metrics_series(metrics, SINK_FINISHED, topic, route_outcome_names[outcome], NULL);
    series->paused_index = metrics_series(metrics, SINK_PAUSED, topic, "index", NULL);
    series->paused_server = metrics_series(metrics, SINK_PAUSED, topic, "server", NULL);
    series->paused_letters = metrics_series(metrics, SINK_PAUSED, topic, "dead_letters", NULL);
}

void
counters_open(struct pipeline *pipeline)
{
    static const double sizes[] = {1024,
                                   16 * 1024,
                                   64 * 1024,
                                   256 * 1024,
                                   1024 * 1024,
                                   2 * 1024 * 1024,
                                   5 * 1024 * 1024,
                                   16 * 1024 * 1024,
                                   64 * 1024 * 1024};
    static const double ages[] = {0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400};
    struct metrics *metrics = pipeline->settings.metrics;
    metrics_buckets(metrics, SINK_BULK_BYTES, sizes, sizeof(sizes) / sizeof(sizes[0]));
    metrics_buckets(metrics, SINK_EVENT_AGE, ages, sizeof(ages) / sizeof(ages[0]));
    pipeline->bulk_seconds = metrics_series(metrics, SINK_BULK_SECONDS, NULL);
    pipeline->bulk_bytes = metrics_series(metrics, SINK_BULK_BYTES, NULL);
    pipeline->held_bytes = metrics_series(metrics, SINK_HELD_BYTES, NULL);
    pipeline->rebalances = metrics_series(metrics, SINK_REBALANCES, NULL);
    pipeline->bulks_ok = metrics_series(metrics, SINK_BULKS, "ok", NULL);
    pipeline->bulks_partial = metrics_series(metrics, SINK_BULKS, "partial", NULL);
    pipeline->bulks_failed = metrics_series(metrics, SINK_BULKS, "failed", NULL);
    for (size_t i = 0; i < pipeline->route_count; i++)
        open_route_series(pipeline, i);
    counters_publish(pipeline);
}

static void
set_counter(struct metrics *metrics, metric series, uint64_t total)
{
    metrics_add(metrics, series, total - (uint64_t)metrics_value(metrics, series));
}

size_t
pipeline_held_bytes(const struct pipeline *pipeline)
{
    size_t held = pipeline->flying_bytes; /* bodies: as many bytes again when not compressed */
    for (size_t i = 0; i < pipeline->route_count; i++)
        held += pipeline->routes[i].held;
    return held;
}

void
counters_publish(struct pipeline *pipeline)
{
    struct metrics *metrics = pipeline->settings.metrics;
    for (size_t i = 0; i < pipeline->route_count; i++) {
        const struct route *route = &pipeline->routes[i];
        const struct route_series *series = &pipeline->series[i];
        set_counter(metrics, series->consumed, route->consumed);
        for (size_t outcome = 0; outcome < ROUTE_OUTCOME_COUNT; outcome++)
            set_counter(metrics, series->finished[outcome], route->finished[outcome]);
        metrics_set(metrics, series->in_flight, (double)route_in_flight(route));
        set_counter(metrics, series->lost, route->lost);
        set_counter(metrics, series->gaps, route->gaps);
        set_counter(metrics, series->rewinds, route->rewinds);
        set_counter(metrics, series->retried, route->retried);
        set_counter(metrics, series->retired, route->retired);
        metrics_set(metrics, series->paused_index, route->fault.active ? 1 : 0);
        metrics_set(metrics, series->paused_server, pipeline->server_fault.active ? 1 : 0);
        metrics_set(metrics, series->paused_letters, route->letters_fault.active ? 1 : 0);
    }
    metrics_set(metrics, pipeline->held_bytes, (double)pipeline_held_bytes(pipeline));
    if (pipeline->consumer != NULL)
        set_counter(metrics, pipeline->rebalances, consumer_rebalances(pipeline->consumer));
    metrics_publish(metrics);
}

void
counters_note_bulk(struct pipeline *pipeline, const struct bulk *bulk, const struct err *err,
                   size_t passed, uint64_t now_ms)
{
    struct metrics *metrics = pipeline->settings.metrics;
    metrics_observe(metrics, pipeline->bulk_seconds, (double)(now_ms - bulk->sent_ms) / 1000);
    metrics_observe(metrics, pipeline->bulk_bytes, (double)bulk->out.value_bytes);
    metrics_add(metrics,
                err != NULL                      ? pipeline->bulks_failed
                : passed == bulk->out.item_count ? pipeline->bulks_ok
                                                 : pipeline->bulks_partial,
                1);
}

void
counters_note_age(struct pipeline *pipeline, const struct route *route, int64_t timestamp_ms)
{
    int64_t age_ms = clock_wall_ms() - timestamp_ms;
    metrics_observe(pipeline->settings.metrics,
                    pipeline->series[route - pipeline->routes].event_age,
                    age_ms > 0 ? (double)age_ms / 1000 : 0);
}

void
counters_measure_lag(struct pipeline *pipeline)
{
    size_t count;
    struct partition *const *partitions = consumer_partitions(pipeline->consumer, &count);
    for (size_t route = 0; route < pipeline->route_count; route++) {
        struct consumer_lag lag = {0};
        for (size_t i = 0; i < count; i++) {
            if (partitions[i]->route != route)
                continue;
            struct consumer_lag own = consumer_lag(pipeline->consumer, partitions[i]);
            lag.records += own.records;
            if (own.seconds > lag.seconds)
                lag.seconds = own.seconds;
        }
        metrics_set(pipeline->settings.metrics, pipeline->series[route].lag, (double)lag.records);
        metrics_set(pipeline->settings.metrics, pipeline->series[route].lag_seconds,
                    (double)lag.seconds);
    }
}
