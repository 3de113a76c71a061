/* SPDX-License-Identifier: Apache-2.0 */
/* status.c: see status.h. */
#include "sinks/status.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "core/clock.h"
#include "core/encode.h"
#include "core/http.h"
#include "sinks/pipeline.h"

static const char page_head[] =
    "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5>"
    "<meta name=viewport content='width=device-width,initial-scale=1'>"
    "<title>tailrace-sink</title><style>"
    ":root{color-scheme:light dark;--line:color-mix(in srgb,currentColor 18%,transparent);"
    "--soft:color-mix(in srgb,currentColor 60%,transparent);--bad:#c0552b}"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}"
    "p.sub{margin:.2rem 0 1.5rem;color:var(--soft)}.scroll{overflow-x:auto}"
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.8rem}"
    ".card{border:1px solid var(--line);border-radius:.6rem;padding:.8rem 1rem}"
    ".card b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}"
    ".card span{color:var(--soft)}"
    "table{border-collapse:collapse;width:100%}"
    "th{text-align:left;font-weight:500;color:var(--soft)}"
    "td,th{padding:.35rem .7rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    "td.name{white-space:nowrap}summary{cursor:pointer;font-weight:600;margin:2rem 0 .5rem}"
    ".bad{color:var(--bad)}.note{border-left:3px solid var(--bad);padding:.4rem .8rem;margin:1rem "
    "0}"
    "</style><h1>tailrace-sink</h1>";

/* The fault that stops a route now, NULL for none. */
static const struct fault *
route_fault(const struct pipeline *pipeline, const struct route *route)
{
    if (pipeline->server_fault.active)
        return &pipeline->server_fault;
    if (route->fault.active)
        return &route->fault;
    return route->letters_fault.active ? &route->letters_fault : NULL;
}

static void
put_string(struct buffer *out, const char *name, const char *text)
{
    buffer_format(out, "\"%s\":", name);
    encode_json_string(out, text, strlen(text));
}

static void
put_route(struct buffer *out, const struct pipeline *pipeline, const struct route *route)
{
    const struct fault *fault = route_fault(pipeline, route);
    buffer_text(out, "{");
    put_string(out, "topic", route->topic);
    buffer_text(out, ",");
    put_string(out, "index", route->index);
    buffer_text(out, ",");
    put_string(out, "dead_letter_topic", route->dead_letter_topic);
    buffer_format(out, ",\"consumed\":%" PRIu64, route->consumed);
    for (size_t i = 0; i < ROUTE_OUTCOME_COUNT; i++)
        buffer_format(out, ",\"%s\":%" PRIu64, route_outcome_names[i], route->finished[i]);
    buffer_format(out,
                  ",\"in_flight\":%" PRIu64 ",\"retried\":%" PRIu64 ",\"lost\":%" PRIu64
                  ",\"offset_gaps\":%" PRIu64 ",\"rewinds\":%" PRIu64
                  ",\"held_bytes\":%zu,\"waiting\":%zu,"
                  "\"retrying\":%zu,\"dead_letters_waiting\":%zu,\"bulks_under_way\":%zu,",
                  route_in_flight(route), route->retried, route->lost, route->gaps, route->rewinds,
                  route->held, route->fresh.count, route->retry.count,
                  route->letters.count + route->letters_flying, route->bulks_flying);
    put_string(out, "paused", fault == NULL ? "" : fault->reason);
    buffer_format(out, ",\"paused_seconds\":%" PRIu64 ",",
                  fault == NULL ? 0 : (clock_monotonic_ms() - fault->since_ms) / 1000);
    put_string(out, "last_refusal", route->last_refusal);
    buffer_text(out, "}");
}

static void
put_partition(struct buffer *out, const struct pipeline *pipeline, const struct partition *it)
{
    struct consumer_lag lag = consumer_lag(pipeline->consumer, it);
    buffer_text(out, "{");
    put_string(out, "topic", pipeline->routes[it->route].topic);
    buffer_format(
        out,
        ",\"partition\":%" PRId32 ",\"assigned\":%s,\"paused\":%s,\"next_offset\":%" PRId64
        ",\"finished_offset\":%" PRId64 ",\"committed_offset\":%" PRId64 ",\"end_offset\":%" PRId64
        ",\"in_flight\":%" PRIu64 ",\"lag_records\":%" PRIu64 ",\"lag_seconds\":%" PRIu64 "}",
        it->id, it->assigned ? "true" : "false", it->paused ? "true" : "false", it->expected,
        it->offsets.stored, it->committed, consumer_high_watermark(pipeline->consumer, it),
        it->offsets.open, lag.records, lag.seconds);
}

static void
put_status(struct buffer *out, const struct pipeline *pipeline)
{
    buffer_text(out, "{\"program\":\"tailrace-sink\",\"version\":\"" TAILRACE_VERSION "\",");
    buffer_format(out,
                  "\"uptime_seconds\":%" PRIu64 ",\"held_bytes\":%zu,\"memory_bytes\":%" PRIu64
                  ",\"rebalances\":%" PRIu64 ",",
                  (clock_monotonic_ms() - pipeline->started_ms) / 1000,
                  pipeline_held_bytes(pipeline), pipeline->bulk_options.memory,
                  consumer_rebalances(pipeline->consumer));
    put_string(out, "kafka", consumer_problem(pipeline->consumer));
    struct buffer text;
    buffer_init(&text, 4096);
    pipeline->class->describe(pipeline->output, &text);
    buffer_text(out, ",");
    put_string(out, "output", buffer_string(&text));
    buffer_done(&text);
    buffer_text(out, ",\"nodes\":[");
    if (pipeline->class->list != NULL)
        pipeline->class->list(pipeline->output, out);
    buffer_text(out, "],\"routes\":[");
    for (size_t i = 0; i < pipeline->route_count; i++) {
        buffer_text(out, i == 0 ? "" : ",");
        put_route(out, pipeline, &pipeline->routes[i]);
    }
    buffer_text(out, "],\"partitions\":[");
    size_t count;
    struct partition *const *partitions = consumer_partitions(pipeline->consumer, &count);
    for (size_t i = 0; i < count; i++) {
        buffer_text(out, i == 0 ? "" : ",");
        put_partition(out, pipeline, partitions[i]);
    }
    buffer_text(out, "]}\n");
}

static void
page_number(struct buffer *out, uint64_t value)
{
    buffer_format(out, "<td class=n>%" PRIu64, value);
}

static void
page_bytes(struct buffer *out, uint64_t bytes)
{
    if (bytes < 1024 * 1024)
        buffer_format(out, "%.0f KiB", (double)bytes / 1024);
    else
        buffer_format(out, "%.1f MiB", (double)bytes / (1024 * 1024));
}

static void
page_name(struct buffer *out, const char *name)
{
    buffer_text(out, "<td class=name>");
    http_escape_html(out, name);
}

static void
page_cards(struct buffer *out, const struct pipeline *pipeline)
{
    uint64_t finished[ROUTE_OUTCOME_COUNT] = {0};
    uint64_t lag = 0;
    size_t count;
    struct partition *const *partitions = consumer_partitions(pipeline->consumer, &count);
    for (size_t i = 0; i < count; i++)
        lag += consumer_lag(pipeline->consumer, partitions[i]).records;
    for (size_t i = 0; i < pipeline->route_count; i++)
        for (size_t outcome = 0; outcome < ROUTE_OUTCOME_COUNT; outcome++)
            finished[outcome] += pipeline->routes[i].finished[outcome];
    buffer_format(out,
                  "<div class=cards><div class=card><b>%" PRIu64
                  "</b><span>documents indexed</span></div><div class=card><b>%" PRIu64
                  "</b><span>were there already</span></div><div class=card><b>%" PRIu64
                  "</b><span>dead letters</span></div><div class=card><b>%" PRIu64
                  "</b><span>records wait in Kafka</span></div><div class=card><b>",
                  finished[ROUTE_INDEXED], finished[ROUTE_DUPLICATE], finished[ROUTE_DEAD_LETTERED],
                  lag);
    page_bytes(out, pipeline_held_bytes(pipeline));
    buffer_text(out, "</b><span>under way, of ");
    page_bytes(out, pipeline->bulk_options.memory);
    buffer_text(out, "</span></div></div>");
}

static void
page_route(struct buffer *out, const struct pipeline *pipeline, const struct route *route)
{
    const struct fault *fault = route_fault(pipeline, route);
    buffer_text(out, "<tr>");
    page_name(out, route->topic);
    page_name(out, route->index);
    page_number(out, route->consumed);
    for (size_t i = 0; i < ROUTE_OUTCOME_COUNT; i++)
        if (i != ROUTE_SKIPPED)
            page_number(out, route->finished[i]);
    page_number(out, route_in_flight(route));
    if (fault == NULL) {
        buffer_text(out, "<td>flowing");
        return;
    }
    buffer_format(out, "<td class=bad>waiting for %" PRIu64 " s: ",
                  (clock_monotonic_ms() - fault->since_ms) / 1000);
    http_escape_html(out, fault->reason);
}

static void
page_routes(struct buffer *out, const struct pipeline *pipeline)
{
    buffer_text(out, "<h2>Routes</h2><div class=scroll><table><tr><th>Topic<th>Index<th class=n>"
                     "Consumed<th class=n>Indexed<th class=n>Duplicates<th class=n>Dead letters"
                     "<th class=n>Left to others<th class=n>In flight<th>State");
    for (size_t i = 0; i < pipeline->route_count; i++)
        page_route(out, pipeline, &pipeline->routes[i]);
    buffer_text(out, "</table></div>");
    for (size_t i = 0; i < pipeline->route_count; i++) {
        const struct route *route = &pipeline->routes[i];
        if (route->last_refusal[0] == '\0')
            continue;
        buffer_text(out, "<p class=sub>Last document refused on its way to ");
        http_escape_html(out, route->index);
        buffer_text(out, ": ");
        http_escape_html(out, route->last_refusal);
        buffer_text(out, "</p>");
    }
}

struct ranked {
    const struct partition *partition;
    struct consumer_lag lag;
};

static int
by_lag(const void *a, const void *b)
{
    const struct ranked *left = a;
    const struct ranked *right = b;
    uint64_t a_records = left->lag.records;
    uint64_t b_records = right->lag.records;
    return a_records == b_records ? 0 : a_records > b_records ? -1 : 1;
}

static void
page_partition(struct buffer *out, const struct pipeline *pipeline, const struct ranked *ranked)
{
    const struct partition *it = ranked->partition;
    int64_t end = consumer_high_watermark(pipeline->consumer, it);
    buffer_text(out, "<tr>");
    page_name(out, pipeline->routes[it->route].topic);
    buffer_format(out, "<td class=n>%" PRId32 "<td class=name>%s", it->id,
                  !it->assigned ? "with another sink"
                  : it->paused  ? "paused"
                                : "assigned");
    page_number(out, it->committed < 0 ? 0 : (uint64_t)it->committed);
    if (end < 0)
        buffer_text(out, "<td class=n>unknown");
    else
        page_number(out, (uint64_t)end);
    page_number(out, ranked->lag.records);
    page_number(out, ranked->lag.seconds);
    page_number(out, it->offsets.open);
}

/* Those that lag most first. */
static void
page_partitions(struct buffer *out, const struct pipeline *pipeline)
{
    size_t count;
    struct partition *const *partitions = consumer_partitions(pipeline->consumer, &count);
    struct ranked *ranked = calloc(count + 1, sizeof(*ranked));
    if (ranked == NULL)
        return;
    for (size_t i = 0; i < count; i++)
        ranked[i] = (struct ranked){partitions[i], consumer_lag(pipeline->consumer, partitions[i])};
    qsort(ranked, count, sizeof(*ranked), by_lag);
    buffer_format(out,
                  "<details><summary>%zu partitions</summary><div class=scroll><table><tr><th>Topic"
                  "<th class=n>Partition<th>State<th class=n>Committed<th class=n>Log ends at"
                  "<th class=n>Waiting<th class=n>For seconds<th class=n>In flight",
                  count);
    for (size_t i = 0; i < count; i++)
        page_partition(out, pipeline, &ranked[i]);
    buffer_text(out, "</table></div></details>");
    free(ranked);
}

static void
put_page(struct buffer *out, const struct pipeline *pipeline)
{
    const char *problem = consumer_problem(pipeline->consumer);
    char now[CLOCK_TEXT_SIZE];
    clock_format_utc(clock_wall_ms(), now);
    buffer_text(out, page_head);
    buffer_format(out,
                  "<p class=sub>version " TAILRACE_VERSION ", %.19s UTC, up %" PRIu64
                  " s &middot; <a href=/metrics>metrics</a> &middot; "
                  "<a href=/status>status</a> &middot; <a href=/readyz>ready?</a></p>",
                  now, (clock_monotonic_ms() - pipeline->started_ms) / 1000);
    if (problem[0] != '\0') {
        buffer_text(out, "<p class=note>Kafka: ");
        http_escape_html(out, problem);
        buffer_text(out, "</p>");
    }
    page_cards(out, pipeline);
    buffer_text(out, "<p class=sub>Documents go to: ");
    struct buffer text;
    buffer_init(&text, 4096);
    pipeline->class->describe(pipeline->output, &text);
    http_escape_html(out, buffer_string(&text));
    buffer_done(&text);
    buffer_text(out, "</p>");
    page_routes(out, pipeline);
    page_partitions(out, pipeline);
    buffer_text(out, "</html>\n");
}

void
status_answer(void *context, const char *question, struct buffer *out)
{
    const struct pipeline *pipeline = context;
    if (strcmp(question, "page") == 0)
        put_page(out, pipeline);
    else
        put_status(out, pipeline);
}
