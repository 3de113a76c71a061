/* SPDX-License-Identifier: Apache-2.0 */
/* status.c: see status.h. */
#include "sinks/status.h"

#include <inttypes.h>
#include <string.h>

#include "core/buffer.h"
#include "core/clock.h"
#include "core/encode.h"
#include "core/http.h"
#include "sinks/pipeline.h"

static const char page_head[] =
    "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" "
    "content=\"5\">"
    "<title>tailrace-sink</title><style>"
    ":root{color-scheme:light dark}"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .4rem}"
    "p{margin:.3rem 0}.scroll{overflow-x:auto}"
    "table{border-collapse:collapse;width:100%}th,td{padding:.35rem .7rem;text-align:left;"
    "border-bottom:1px solid color-mix(in srgb,currentColor 18%,transparent);vertical-align:top}"
    "th{font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}"
    ".fine{color:#18794e}.bad{color:#c62a2f}.dim{opacity:.7}"
    "@media(prefers-color-scheme:dark){.fine{color:#4cc38a}.bad{color:#ff8589}}"
    "</style></head><body>";

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
                  ",\"offset_gaps\":%" PRIu64 ",\"held_bytes\":%zu,\"waiting\":%zu,"
                  "\"retrying\":%zu,\"dead_letters_waiting\":%zu,\"bulks_under_way\":%zu,",
                  route_in_flight(route), route->retried, route->lost, route->gaps, route->held,
                  route->fresh.count, route->retry.count,
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
    buffer_text(out, "{");
    put_string(out, "topic", pipeline->routes[it->route].topic);
    buffer_format(out,
                  ",\"partition\":%" PRId32
                  ",\"assigned\":%s,\"paused\":%s,\"next_offset\":%" PRId64
                  ",\"finished_offset\":%" PRId64 ",\"committed_offset\":%" PRId64
                  ",\"end_offset\":%" PRId64 ",\"in_flight\":%" PRIu64 "}",
                  it->id, it->assigned ? "true" : "false", it->paused ? "true" : "false",
                  it->expected, it->offsets.stored, it->committed,
                  consumer_high_watermark(pipeline->consumer, it), it->offsets.open);
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
    buffer_text(out, ",\"routes\":[");
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
    buffer_format(out, "<td class=n>%" PRIu64 "</td>", value);
}

static void
page_route(struct buffer *out, const struct pipeline *pipeline, const struct route *route)
{
    const struct fault *fault = route_fault(pipeline, route);
    buffer_text(out, "<tr><td>");
    http_escape_html(out, route->topic);
    buffer_text(out, "</td><td>");
    http_escape_html(out, route->index);
    buffer_text(out, "</td>");
    page_number(out, route->consumed);
    for (size_t i = 0; i < ROUTE_OUTCOME_COUNT; i++)
        if (i != ROUTE_SKIPPED)
            page_number(out, route->finished[i]);
    page_number(out, route_in_flight(route));
    if (fault == NULL) {
        buffer_text(out, "<td class=fine>flowing</td></tr>");
        return;
    }
    buffer_format(out, "<td class=bad>waits since %" PRIu64 " s: ",
                  (clock_monotonic_ms() - fault->since_ms) / 1000);
    http_escape_html(out, fault->reason);
    buffer_text(out, "</td></tr>");
}

static void
page_routes(struct buffer *out, const struct pipeline *pipeline)
{
    buffer_text(out, "<h2>Routes</h2><div class=scroll><table><tr><th>topic<th>index<th class=n>"
                     "consumed<th class=n>indexed<th class=n>duplicates<th class=n>dead letters"
                     "<th class=n>left to others<th class=n>in flight<th>state</tr>");
    for (size_t i = 0; i < pipeline->route_count; i++)
        page_route(out, pipeline, &pipeline->routes[i]);
    buffer_text(out, "</table></div>");
    for (size_t i = 0; i < pipeline->route_count; i++) {
        const struct route *route = &pipeline->routes[i];
        if (route->last_refusal[0] == '\0')
            continue;
        buffer_text(out, "<p class=dim>Last document refused on its way to ");
        http_escape_html(out, route->index);
        buffer_text(out, ": ");
        http_escape_html(out, route->last_refusal);
        buffer_text(out, "</p>");
    }
}

static void
page_partitions(struct buffer *out, const struct pipeline *pipeline)
{
    size_t count;
    struct partition *const *partitions = consumer_partitions(pipeline->consumer, &count);
    buffer_text(out,
                "<h2>Partitions</h2><div class=scroll><table><tr><th>topic<th class=n>partition"
                "<th>state<th class=n>committed<th class=n>log ends at<th class=n>in flight"
                "</tr>");
    for (size_t i = 0; i < count; i++) {
        const struct partition *it = partitions[i];
        int64_t end = consumer_high_watermark(pipeline->consumer, it);
        buffer_text(out, "<tr><td>");
        http_escape_html(out, pipeline->routes[it->route].topic);
        buffer_format(out, "</td><td class=n>%" PRId32 "</td><td>%s</td>", it->id,
                      !it->assigned ? "with another sink"
                      : it->paused  ? "paused"
                                    : "assigned");
        page_number(out, it->committed < 0 ? 0 : (uint64_t)it->committed);
        if (end < 0)
            buffer_text(out, "<td class=n>unknown</td>");
        else
            page_number(out, (uint64_t)end);
        page_number(out, it->offsets.open);
        buffer_text(out, "</tr>");
    }
    buffer_text(out, "</table></div>");
}

static void
put_page(struct buffer *out, const struct pipeline *pipeline)
{
    const char *problem = consumer_problem(pipeline->consumer);
    buffer_text(out, page_head);
    buffer_text(out, "<h1>tailrace-sink</h1><p class=dim>version " TAILRACE_VERSION);
    buffer_format(out, ", up %" PRIu64 " s, holds %zu KiB of at most %" PRIu64 " KiB</p><p>Kafka: ",
                  (clock_monotonic_ms() - pipeline->started_ms) / 1000,
                  pipeline_held_bytes(pipeline) / 1024, pipeline->bulk_options.memory / 1024);
    buffer_format(out, "<span class=%s>", problem[0] == '\0' ? "fine" : "bad");
    http_escape_html(out, problem[0] == '\0' ? "in the group" : problem);
    buffer_text(out, "</span></p><p>Documents go to: ");
    struct buffer text;
    buffer_init(&text, 4096);
    pipeline->class->describe(pipeline->output, &text);
    http_escape_html(out, buffer_string(&text));
    buffer_done(&text);
    buffer_text(out, "</p>");
    page_routes(out, pipeline);
    page_partitions(out, pipeline);
    buffer_text(out, "<p class=dim><a href=\"/status\">status as JSON</a> · "
                     "<a href=\"/metrics\">metrics</a> · <a href=\"/readyz\">readiness</a></p>"
                     "</body></html>\n");
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
