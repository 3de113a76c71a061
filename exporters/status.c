/* SPDX-License-Identifier: Apache-2.0 */
/* status.c: see status.h. */
#include "exporters/status.h"

#include <inttypes.h>
#include <string.h>

#include "core/clock.h"
#include "core/encode.h"
#include "exporters/host/lane.h"
#include "exporters/remote_lane.h"

static const char page_head[] =
    "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5>"
    "<meta name=viewport content='width=device-width,initial-scale=1'>"
    "<title>tailrace-exporter</title><style>"
    ":root{color-scheme:light dark;--line:color-mix(in srgb,currentColor 18%,transparent);"
    "--soft:color-mix(in srgb,currentColor 60%,transparent);--bad:#c0552b}"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}"
    "p.sub{margin:.2rem 0 1.5rem;color:var(--soft)}.scroll{overflow-x:auto}"
    "table{border-collapse:collapse;width:100%}"
    "th{text-align:left;font-weight:500;color:var(--soft)}"
    "td,th{padding:.35rem .7rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    "td.name{white-space:nowrap}.bad{color:var(--bad)}"
    "</style><h1>tailrace-exporter</h1>";

static void
page_remotes(struct buffer *out, struct remote_lane *remotes)
{
    buffer_text(out, "<h2>Targets</h2>");
    if (remote_lane_count(remotes) == 0) {
        buffer_text(out, "<p class=sub>None is configured.</p>");
        return;
    }
    buffer_text(out, "<div class=scroll><table><tr><th>Collector<th>Target<th class=n>Age"
                     "<th class=n>Round took<th class=n>Series<th class=n>Rounds<th class=n>Failed"
                     "<th>State");
    for (size_t i = 0; i < remote_lane_count(remotes); i++) {
        struct remote_state state;
        remote_lane_state(remotes, i, &state);
        buffer_format(out, "<tr><td class=name>%s<td class=name>", state.collector);
        http_escape_html(out, state.target);
        if (state.has_page)
            buffer_format(out, "<td class=n>%.1f s", state.age_seconds);
        else
            buffer_text(out, "<td class=n>");
        buffer_format(
            out, "<td class=n>%.0f ms<td class=n>%zu<td class=n>%" PRIu64 "<td class=n>%" PRIu64,
            state.duration_seconds * 1000, state.series, state.refreshes, state.failures);
        buffer_text(out, state.success ? "<td>answers" : "<td class=bad>");
        http_escape_html(out, state.success ? "" : state.error);
    }
    buffer_text(out, "</table></div>");
}

static void
page_host(struct buffer *out, const struct host_lane *host)
{
    buffer_text(out, "<h2>This host, at the last scrape</h2>");
    if (host == NULL) {
        buffer_text(out, "<p class=sub>Off: host.enabled is false.</p>");
        return;
    }
    buffer_text(out, "<div class=scroll><table><tr><th>Collector<th class=n>Took"
                     "<th class=n>Processor time so far<th>State");
    for (size_t i = 0; i < host_class_count; i++) {
        struct host_state state;
        host_lane_state(host, i, &state);
        buffer_format(out, "<tr><td class=name>%s", state.name);
        if (!state.enabled) {
            buffer_text(out, "<td class=n><td class=n><td>switched off in the configuration");
            continue;
        }
        buffer_format(out, "<td class=n>%.2f ms<td class=n>%.1f ms", state.seconds * 1000,
                      state.cpu_seconds * 1000);
        buffer_text(out, state.success         ? "<td>read"
                         : state.absent        ? "<td>not here: "
                         : state.error[0] == 0 ? "<td>not asked for"
                                               : "<td class=bad>");
        http_escape_html(out, state.error);
    }
    buffer_text(out, "</table></div>");
}

void
status_page(void *context, const struct http_request *request, struct http_response *response)
{
    const struct status *status = context;
    struct buffer *out = &response->body;
    (void)request;
    response->content_type = "text/html; charset=utf-8";
    char now[CLOCK_TEXT_SIZE];
    clock_format_utc(clock_wall_ms(), now);
    buffer_text(out, page_head);
    buffer_format(out,
                  "<p class=sub>version " TAILRACE_VERSION ", %.19s UTC, up %" PRIu64
                  " s &middot; <a href=/metrics>metrics</a> &middot; "
                  "<a href=/status>status</a> &middot; <a href=/readyz>ready?</a></p>",
                  now, (clock_monotonic_ms() - status->started_ms) / 1000);
    page_remotes(out, status->remotes);
    page_host(out, status->host);
    buffer_text(out, "</html>\n");
}

static void
put_string(struct buffer *out, const char *name, const char *text)
{
    buffer_format(out, "\"%s\":", name);
    encode_json_string(out, text, strlen(text));
}

static void
put_remote(struct buffer *out, const struct remote_state *state)
{
    buffer_text(out, "{");
    put_string(out, "collector", state->collector);
    buffer_text(out, ",");
    put_string(out, "target", state->target);
    buffer_format(out,
                  ",\"success\":%s,\"shown\":%s,\"age_seconds\":%.3f,\"duration_seconds\":%.6f,"
                  "\"cpu_seconds\":%.6f,\"series\":%zu,\"refreshes\":%" PRIu64
                  ",\"failures\":%" PRIu64 ",",
                  state->success ? "true" : "false", state->shown ? "true" : "false",
                  state->has_page ? state->age_seconds : 0, state->duration_seconds,
                  state->cpu_seconds, state->series, state->refreshes, state->failures);
    if (state->has_process)
        buffer_format(out, "\"process_ends\":%" PRIu64 ",\"process_resident_bytes\":%" PRIu64 ",",
                      state->process.ends, state->process.resident_bytes);
    put_string(out, "error", state->error);
    buffer_text(out, "}");
}

/* No scrape yet, or none that wanted it: neither a success nor a failure. */
static bool
was_asked_for(const struct host_state *state)
{
    return state->success || state->absent || state->error[0] != '\0';
}

static void
put_host(struct buffer *out, const struct host_state *state)
{
    buffer_text(out, "{");
    put_string(out, "collector", state->name);
    buffer_format(out,
                  ",\"enabled\":%s,\"asked_for\":%s,\"success\":%s,\"hung\":%s,"
                  "\"duration_seconds\":%.6f,\"cpu_seconds\":%.6f,",
                  state->enabled ? "true" : "false", was_asked_for(state) ? "true" : "false",
                  state->success ? "true" : "false", state->hung ? "true" : "false", state->seconds,
                  state->cpu_seconds);
    put_string(out, "error", state->error);
    buffer_text(out, "}");
}

void
status_json(void *context, const struct http_request *request, struct http_response *response)
{
    const struct status *status = context;
    struct buffer *out = &response->body;
    (void)request;
    response->content_type = "application/json";
    buffer_format(out,
                  "{\"program\":\"tailrace-exporter\",\"version\":\"" TAILRACE_VERSION
                  "\",\"uptime_seconds\":%" PRIu64 ",\"targets\":[",
                  (clock_monotonic_ms() - status->started_ms) / 1000);
    for (size_t i = 0; i < remote_lane_count(status->remotes); i++) {
        struct remote_state state;
        remote_lane_state(status->remotes, i, &state);
        buffer_text(out, i == 0 ? "" : ",");
        put_remote(out, &state);
    }
    buffer_text(out, "],\"host\":[");
    for (size_t i = 0; status->host != NULL && i < host_class_count; i++) {
        struct host_state state;
        host_lane_state(status->host, i, &state);
        buffer_text(out, i == 0 ? "" : ",");
        put_host(out, &state);
    }
    buffer_text(out, "]}\n");
}
