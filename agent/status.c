/* SPDX-License-Identifier: Apache-2.0 */
/* status.c: see status.h. */
#include "agent/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/explain.h"
#include "agent/inputs/account.h"
#include "agent/inputs/file.h"
#include "agent/inputs/files.h"
#include "agent/inputs/held.h"
#include "agent/inputs/match.h"
#include "agent/inputs/remotes.h"
#include "agent/state.h"
#include "agent/survey.h"
#include "agent/topics.h"
#include "core/clock.h"
#include "core/encode.h"
#include "core/http.h"
#include "core/kafka.h"

#define PAGE_FILES_MAX 50
#define EXPLAIN_SIZE_MAX ((size_t)1024 * 1024)

static const char *const state_names[] = {"reading", "ignored",   "refused",
                                          "failed",  "suspended", "ended"};

static const char *
file_reason(const struct agent *agent, const struct file *file)
{
    if (file->reason != NULL)
        return file->reason;
    if (file->error_number != 0)
        return strerror(file->error_number);
    if (file->state != FILE_ACTIVE || file_lag(file) == 0)
        return "";
    const struct topic *topic = file->input->topic;
    if (agent->clock_is_wrong)
        return "the clock is wrong";
    if (topic->reason[0] != '\0')
        return topic->reason;
    if (agent->kafka_is_away)
        return "Kafka cannot be reached";
    if (file->generation != NULL && file->generation->durable_at > state_durable(agent->state))
        return "waits until the state on the disk knows it";
    if (!topic_is_open(agent, topic))
        return "the topic is not known yet";
    if (file->first != NULL)
        return "waits for Kafka's acknowledgement";
    if (file->read < file->size && file->scanned >= file->size)
        return "the last line is not complete";
    return "waits for its turn";
}

static void
json_text(struct buffer *out, const char *name, const char *value)
{
    buffer_format(out, "\"%s\":", name);
    encode_json_string(out, value, strlen(value));
}

/* How fast it is delivered, since when it is behind, how long it is silent and what is usual. */
static void
habit_json(const struct file *file, uint64_t now_ms, struct buffer *out)
{
    const struct habit *habit = &file->habit;
    double behind_ms = file->behind_since_ms == 0 ? 0 : (double)(now_ms - file->behind_since_ms);
    buffer_format(out, ",\"unfinished\":%llu,\"behind_seconds\":%.1f,\"bytes_per_second\":%.0f",
                  (unsigned long long)file_unfinished(file), behind_ms / 1000,
                  habit_rate(habit, now_ms));
    if (habit->grown_ms != 0)
        buffer_format(out, ",\"silent_seconds\":%.1f", (double)(now_ms - habit->grown_ms) / 1000);
    if (habit_usual_gap_ms(habit) > 0)
        buffer_format(out, ",\"usual_gap_seconds\":%.1f", (double)habit_usual_gap_ms(habit) / 1000);
}

static void
file_json(const struct agent *agent, const struct file *file, struct buffer *out)
{
    const struct generation *generation = file->generation;
    buffer_text(out, "{");
    json_text(out, "path", file->path);
    buffer_text(out, ",");
    json_text(out, "input", file->input->name);
    buffer_format(out, ",\"state\":\"%s\",\"inode\":%llu,\"size\":%llu",
                  state_names[file_shown_state(file)], (unsigned long long)file->inode,
                  (unsigned long long)file->size);
    if (generation != NULL) {
        char text[GENERATION_TEXT_SIZE];
        generation_id_format(generation->id, text);
        buffer_format(out, ",\"generation\":\"%.*s\",\"committed\":%llu,\"read\":%llu,\"lag\":%llu",
                      GENERATION_TEXT_SIZE, text, (unsigned long long)generation->committed,
                      (unsigned long long)file->read, (unsigned long long)file_lag(file));
    }
    habit_json(file, clock_monotonic_ms(), out);
    buffer_format(out, ",\"listed\":%s,\"deleted\":%s,", file->listed ? "true" : "false",
                  file->deleted ? "true" : "false");
    json_text(out, "reason", file_reason(agent, file));
    if (generation != NULL) {
        buffer_text(out, ",");
        json_text(out, "life", match_story(generation->origin));
    }
    if (held_reason(file) != NULL) {
        buffer_text(out, ",");
        json_text(out, "held", held_reason(file));
    }
    buffer_text(out, "}");
}

static void
inputs_json(const struct agent *agent, struct buffer *out)
{
    buffer_text(out, "\"inputs\":[");
    for (const struct input *input = agent->inputs; input != NULL; input = input->next) {
        buffer_text(out, "{");
        json_text(out, "name", input->name);
        buffer_text(out, ",");
        json_text(out, "topic", input->topic->name);
        buffer_format(out,
                      ",\"files\":%zu,\"events\":%.0f,\"bytes\":%.0f,\"lag_bytes\":%.0f,"
                      "\"unfinished_bytes\":%llu,\"lag_seconds\":%.1f",
                      input->file_count, metrics_value(agent->metrics, input->events),
                      metrics_value(agent->metrics, input->bytes),
                      metrics_value(agent->metrics, input->lag_bytes),
                      (unsigned long long)input->sums.unfinished_bytes,
                      metrics_value(agent->metrics, input->lag_seconds));
        if (isfinite(input->sums.loss_seconds))
            buffer_format(out, ",\"seconds_to_rotation_loss\":%.0f", input->sums.loss_seconds);
        buffer_text(out, ",\"states\":{");
        for (size_t i = 0; i < FILE_ENDED; i++)
            buffer_format(out, "%s\"%s\":%llu", i == 0 ? "" : ",", state_names[i],
                          (unsigned long long)input->sums.states[i]);
        buffer_format(out, "}}%s", input->next == NULL ? "" : ",");
    }
    buffer_text(out, "]");
}

static void
topics_json(const struct agent *agent, struct buffer *out)
{
    buffer_text(out, "\"topics\":[");
    for (size_t i = 0; i < agent->topic_count; i++) {
        const struct topic *topic = agent->topics[i];
        buffer_text(out, i == 0 ? "{" : ",{");
        json_text(out, "name", topic->name);
        buffer_format(out, ",\"partitions\":%d,\"open\":%s,", topic->partition_count,
                      topic_is_open(agent, topic) ? "true" : "false");
        json_text(out, "reason", topic->reason);
        buffer_text(out, "}");
    }
    buffer_text(out, "]");
}

/* Nobody reads the path: why? */
static void
explain_json(const struct agent *agent, const char *path, struct buffer *out)
{
    struct buffer text;
    struct explain explain;
    buffer_init(&text, EXPLAIN_SIZE_MAX);
    if (path_answers(agent, path)) {
        (void)explain_init(&explain, agent->options->top.state_dir, path, &text);
        for (const struct input *input = agent->inputs; input != NULL; input = input->next)
            (void)explain_input(&explain, input->options, input->topic->name, &text);
    } else {
        buffer_text(&text, "it lies on a network mount that does not answer\n");
    }
    if (text.size > 0 && text.bytes[text.size - 1] == '\n')
        text.size--;
    buffer_text(out, ",\"explain\":");
    encode_json_string(out, text.size == 0 ? "" : text.bytes, text.size);
    buffer_done(&text);
}

/* The paths of a ranking, with the number that ranks them. */
static void
ranking_json(const struct ranking *ranking, const char *name, const struct survey *survey,
             bool silent, struct buffer *out)
{
    buffer_format(out, ",\"%s\":[", name);
    for (size_t i = 0; i < ranking->count; i++) {
        const struct file *file = ranking->files[i];
        buffer_text(out, i == 0 ? "{" : ",{");
        json_text(out, "path", file->path);
        if (silent)
            buffer_format(out, ",\"silent_seconds\":%.0f,\"usual_gap_seconds\":%.1f}",
                          (double)(survey->now_ms - file->habit.grown_ms) / 1000,
                          (double)habit_usual_gap_ms(&file->habit) / 1000);
        else
            buffer_format(out, ",\"bytes_per_second\":%.0f}", ranking->values[i]);
    }
    buffer_text(out, "]");
}

static void
hung_json(const struct agent *agent, struct buffer *out)
{
    buffer_text(out, "\"hung_mounts\":[");
    bool first = true;
    for (const struct remote *at = remotes_first(agent->remotes); at != NULL; at = at->next) {
        if (!at->hung)
            continue;
        buffer_text(out, first ? "" : ",");
        encode_json_string(out, at->path, strlen(at->path));
        first = false;
    }
    buffer_text(out, "],");
}

void
status_json(struct agent *agent, const char *path, const char *kafka_reason, const char *waits,
            struct buffer *out)
{
    struct survey *survey = survey_new(agent, path, STATUS_FILES_MAX);
    if (survey == NULL)
        return;
    buffer_text(out, "{");
    json_text(out, "kafka", kafka_reason);
    buffer_text(out, ",");
    json_text(out, "not_ready", waits);
    buffer_format(out, ",\"lost_bytes\":%llu,", (unsigned long long)agent->lost_total);
    hung_json(agent, out);
    buffer_format(out, "\"memory\":{\"size\":%zu,\"used\":%zu,\"records\":%zu},",
                  slab_pool_size(agent->pool), slab_pool_used(agent->pool), agent->records_waiting);
    inputs_json(agent, out);
    buffer_text(out, ",");
    topics_json(agent, out);
    buffer_format(out,
                  ",\"file_count\":%zu,\"busy_count\":%zu,\"blind_count\":%zu,"
                  "\"silent_count\":%zu",
                  survey->file_count, agent->busy_count, agent->blind_count, survey->silent_count);
    ranking_json(&survey->talkers, "talkers", survey, false, out);
    ranking_json(&survey->silent, "silent", survey, true, out);
    buffer_text(out, ",\"files\":[");
    for (size_t i = 0; i < survey->files.count; i++) {
        if (i > 0)
            buffer_text(out, ",");
        file_json(agent, survey->files.files[i], out);
    }
    buffer_text(out, "],\"gone\":");
    held_json(agent, out);
    if (path != NULL && survey->files.count == 0)
        explain_json(agent, path, out);
    buffer_text(out, "}\n");
    free(survey);
}

static void
explain_file(const struct agent *agent, const struct file *file, struct buffer *out)
{
    const struct generation *generation = file->generation;
    const char *reason = file_reason(agent, file);
    buffer_format(out, "  input '%s': %s%s, %llu bytes", file->input->name,
                  state_names[file_shown_state(file)],
                  file->deleted   ? ", deleted"
                  : !file->listed ? ", rotated away from its path"
                                  : "",
                  (unsigned long long)file->size);
    if (generation != NULL) {
        char id[GENERATION_TEXT_SIZE];
        generation_id_format(generation->id, id);
        buffer_format(out, ", %llu delivered, %llu wait\n  generation %.*s: %s",
                      (unsigned long long)generation->committed, (unsigned long long)file_lag(file),
                      GENERATION_TEXT_SIZE, id, match_story(generation->origin));
    }
    buffer_text(out, "\n");
    if (reason[0] != '\0')
        buffer_format(out, "  why: %s\n", reason);
    if (held_reason(file) != NULL)
        buffer_format(out, "  held: %s\n", held_reason(file));
}

void
status_explain(const struct agent *agent, const char *path, struct buffer *out)
{
    bool known = false;
    buffer_format(out, "the running agent (process %d, state in '%s'):\n", (int)getpid(),
                  agent->options->top.state_dir);
    for (const struct file *file = agent->files; file != NULL; file = file->next) {
        if (file->state == FILE_ENDED || strcmp(file->path, path) != 0)
            continue;
        explain_file(agent, file, out);
        known = true;
    }
    if (!known)
        buffer_text(out, "  reads no file of this path\n");
}

/* --- the page --- */

static const char page_head[] =
    "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5>"
    "<meta name=viewport content='width=device-width,initial-scale=1'>"
    "<title>tailrace-agent</title><style>"
    ":root{color-scheme:light dark;--line:color-mix(in srgb,currentColor 18%,transparent);"
    "--soft:color-mix(in srgb,currentColor 60%,transparent);--bar:#3b82c4;--bad:#c0552b}"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}"
    "p.sub{margin:.2rem 0 1.5rem;color:var(--soft)}"
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.8rem}"
    ".card{border:1px solid var(--line);border-radius:.6rem;padding:.8rem 1rem}"
    ".card b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}"
    ".card span{color:var(--soft)}"
    ".wide{overflow-x:auto}td.k{white-space:nowrap}"
    "table{border-collapse:collapse;width:100%}"
    "th{text-align:left;font-weight:500;color:var(--soft)}"
    "td,th{padding:.35rem .7rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    "td.p{min-width:14rem;overflow-wrap:anywhere;font-family:ui-monospace,monospace;font-size:."
    "87em}"
    ".bad{color:var(--bad)}.note{border-left:3px solid var(--bad);padding:.4rem .8rem;margin:1rem "
    "0}"
    "</style><h1>tailrace-agent</h1>";

static void
page_bytes(struct buffer *out, double bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    size_t unit = 0;
    while (bytes >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        bytes /= 1000;
        unit++;
    }
    buffer_format(out, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

static void
page_cards(const struct agent *agent, struct buffer *out)
{
    double lag = 0;
    double events = 0;
    double bytes = 0;
    for (const struct input *input = agent->inputs; input != NULL; input = input->next) {
        lag += metrics_value(agent->metrics, input->lag_bytes);
        events += metrics_value(agent->metrics, input->events);
        bytes += metrics_value(agent->metrics, input->bytes);
    }
    buffer_format(out,
                  "<div class=cards><div class=card><b>%.0f</b><span>events delivered since "
                  "start</span></div>",
                  events);
    buffer_text(out, "<div class=card><b>");
    page_bytes(out, bytes);
    buffer_text(out, "</b><span>of files delivered since start</span></div><div class=card><b>");
    page_bytes(out, lag);
    buffer_text(out, "</b><span>waiting in files</span></div>");
    buffer_format(out, "<div class=card><b>%zu</b><span>files</span></div><div class=card><b>",
                  agent->file_count);
    page_bytes(out, (double)slab_pool_used(agent->pool));
    buffer_text(out, "</b><span>under way, of ");
    page_bytes(out, (double)slab_pool_size(agent->pool));
    buffer_text(out, "</span></div></div>");
}

static void
page_inputs(const struct agent *agent, struct buffer *out)
{
    buffer_text(out, "<h2>Inputs</h2><div class=wide><table><tr><th>Input<th>Topic<th "
                     "class=n>Files<th class=n>Events"
                     "<th class=n>Waiting<th>Remarks");
    for (const struct input *input = agent->inputs; input != NULL; input = input->next) {
        buffer_text(out, "<tr><td class=k>");
        http_escape_html(out, input->name);
        buffer_text(out, "<td class=k>");
        http_escape_html(out, input->topic->name);
        buffer_format(out, "<td class=n>%zu<td class=n>%.0f<td class=n>", input->file_count,
                      metrics_value(agent->metrics, input->events));
        page_bytes(out, metrics_value(agent->metrics, input->lag_bytes));
        const char *reason = input->topic->reason[0] != '\0'       ? input->topic->reason
                             : agent->kafka_is_away                ? "Kafka cannot be reached"
                             : !topic_is_open(agent, input->topic) ? "the topic is not known yet"
                                                                   : "";
        buffer_text(out, reason[0] == '\0' ? "<td>" : "<td class=bad>");
        http_escape_html(out, reason);
    }
    buffer_text(out, "</table></div>");
}

static void
page_file(const struct agent *agent, const struct file *file, struct buffer *out)
{
    buffer_text(out, "<tr><td class=p>");
    http_escape_html(out, file->path);
    buffer_format(out, "<td class=k>%s<td class=n>",
                  file->deleted   ? "deleted, held"
                  : !file->listed ? "rotated"
                                  : state_names[file_shown_state(file)]);
    page_bytes(out, (double)file->size);
    buffer_text(out, "<td class=n>");
    page_bytes(out, file->generation == NULL ? 0 : (double)file->generation->committed);
    buffer_text(out, "<td class=n>");
    page_bytes(out, (double)file_lag(file));
    const char *reason = file_reason(agent, file);
    bool fine = file_shown_state(file) == FILE_ACTIVE && file->refused_wait_ms == 0;
    buffer_text(out, fine || reason[0] == '\0' ? "<td>" : "<td class=bad>");
    http_escape_html(out, reason);
}

static void
page_files(const struct agent *agent, const struct survey *survey, struct buffer *out)
{
    buffer_text(out, "<h2>Files</h2><div class=wide><table><tr><th>Path<th>State<th "
                     "class=n>Size<th class=n>Delivered"
                     "<th class=n>Waiting<th>Remarks");
    for (size_t i = 0; i < survey->files.count; i++)
        page_file(agent, survey->files.files[i], out);
    buffer_text(out, "</table></div>");
    if (survey->file_count > survey->files.count)
        buffer_format(out,
                      "<p class=sub>%zu more, in less trouble and less behind. One of them: "
                      "/status?path=<i>path</i>.</p>",
                      survey->file_count - survey->files.count);
}

static void
page_seconds(struct buffer *out, double seconds)
{
    if (seconds < 120)
        buffer_format(out, "%.1f s", seconds);
    else if (seconds < 7200)
        buffer_format(out, "%.0f min", seconds / 60);
    else
        buffer_format(out, "%.1f h", seconds / 3600);
}

static void
page_talkers(const struct survey *survey, struct buffer *out)
{
    if (survey->talkers.count == 0)
        return;
    buffer_text(out, "<h2>Busiest files</h2><div class=wide><table><tr><th>Path<th class=n>"
                     "Delivered a second");
    for (size_t i = 0; i < survey->talkers.count; i++) {
        buffer_text(out, "<tr><td class=p>");
        http_escape_html(out, survey->talkers.files[i]->path);
        buffer_text(out, "<td class=n>");
        page_bytes(out, survey->talkers.values[i]);
    }
    buffer_text(out, "</table></div>");
}

static void
page_silent(const struct survey *survey, struct buffer *out)
{
    if (survey->silent.count == 0)
        return;
    buffer_text(out, "<h2>Silent files</h2><div class=wide><table><tr><th>Path<th class=n>"
                     "Silent for<th class=n>Usual gap");
    for (size_t i = 0; i < survey->silent.count; i++) {
        const struct habit *habit = &survey->silent.files[i]->habit;
        buffer_text(out, "<tr><td class=p>");
        http_escape_html(out, survey->silent.files[i]->path);
        buffer_text(out, "<td class=n>");
        page_seconds(out, (double)(survey->now_ms - habit->grown_ms) / 1000);
        buffer_text(out, "<td class=n>");
        page_seconds(out, (double)habit_usual_gap_ms(habit) / 1000);
    }
    buffer_text(out, "</table></div>");
    if (survey->silent_count > survey->silent.count)
        buffer_format(out, "<p class=sub>%zu more.</p>",
                      survey->silent_count - survey->silent.count);
}

/* Where it runs, and whether it has its Kafka. */
static void
page_place(const struct agent *agent, const char *kafka_reason, struct buffer *out)
{
    struct kafka_settings settings;
    struct err err;
    char host[256] = "";
    (void)gethostname(host, sizeof(host) - 1);
    buffer_text(out, "<p class=sub>Host ");
    http_escape_html(out, host);
    buffer_text(out, " &middot; state in ");
    http_escape_html(out, agent->options->top.state_dir);
    buffer_text(out, kafka_reason[0] == '\0' ? "<br>Kafka " : "</p><p class=note>Kafka ");
    if (kafka_settings_init(&settings, agent_kafka_common(agent->options), &err))
        http_escape_html(out, settings.bootstrap_servers);
    buffer_text(out, ": ");
    bool known = false;
    for (size_t i = 0; i < agent->topic_count; i++)
        known |= agent->topics[i]->partition_count > 0 || agent->topics[i]->reason[0] != '\0';
    http_escape_html(out, kafka_reason[0] != '\0' ? kafka_reason
                          : known                 ? "connected"
                                                  : "connecting");
    buffer_text(out, kafka_reason[0] == '\0' ? "</p>"
                                             : ". Nothing is lost: the files are the buffer.</p>");
}

/* What a person should know first: why it is not ready, what hangs, what is lost. */
static void
page_notes(const struct agent *agent, const char *waits, struct buffer *out)
{
    char line[ERR_TEXT_MAX];
    for (const char *at = waits; *at != '\0';) {
        size_t size = strcspn(at, "\n");
        bool kafka = strncmp(at, "kafka: ", 7) == 0; /* said by page_place() */
        if (!kafka && snprintf(line, sizeof(line), "%.*s", (int)size, at) > 0) {
            buffer_text(out, "<p class=note>");
            http_escape_html(out, line);
            buffer_text(out, "</p>");
        }
        at += at[size] == '\0' ? size : size + 1;
    }
    for (const struct remote *at = remotes_first(agent->remotes); at != NULL; at = at->next) {
        if (!at->hung)
            continue;
        buffer_text(out, "<p class=note>The mount ");
        http_escape_html(out, at->path);
        buffer_text(out, " does not answer: its files wait, the others go on.</p>");
    }
    if (agent->lost_total == 0)
        return;
    buffer_text(out, "<p class=note>");
    page_bytes(out, (double)agent->lost_total);
    buffer_text(out, " were lost since the start, before they could be read: the log has an ERROR "
                     "for each file, tailrace_agent_lost_bytes_total the reasons.</p>");
}

void
status_page(struct agent *agent, const char *kafka_reason, const char *waits, struct buffer *out)
{
    char now[CLOCK_TEXT_SIZE];
    clock_format_utc(clock_wall_ms(), now);
    buffer_text(out, page_head);
    buffer_format(out,
                  "<p class=sub>version %s, %.19s UTC &middot; <a href=/metrics>metrics</a> "
                  "&middot; <a href=/status>status</a> &middot; <a href=/readyz>ready?</a></p>",
                  TAILRACE_VERSION, now);
    page_place(agent, kafka_reason, out);
    page_notes(agent, waits, out);
    page_cards(agent, out);
    page_inputs(agent, out);
    struct survey *survey = survey_new(agent, NULL, PAGE_FILES_MAX);
    if (survey != NULL) {
        page_talkers(survey, out);
        page_silent(survey, out);
        page_files(agent, survey, out);
        free(survey);
    }
    buffer_text(out, "</html>\n");
}
