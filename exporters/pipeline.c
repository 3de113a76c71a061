/* SPDX-License-Identifier: Apache-2.0 */
/* pipeline.c: see pipeline.h.
 *     targets ─► remote_lane.c: a thread each, a page each ─┐
 *     /proc, /sys ─► host/lane.c: read at the scrape ───┴─► scrape.c: one page ─► Prometheus
 * The loop here only waits for signals. */
#include "exporters/pipeline.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/clock.h"
#include "core/health.h"
#include "core/http.h"
#include "core/log.h"
#include "core/metrics.h"
#include "exporters/host/lane.h"
#include "exporters/left_out.h"
#include "exporters/metrics.def"
#include "exporters/options.h"
#include "exporters/remote_lane.h"
#include "exporters/scrape.h"
#include "exporters/status.h"

#define PROGRAM "tailrace-exporter"
#define TURN_MS 1000
#define STUCK_AFTER_MS 60000
#define LINE_MAX_SIZE 1024     /* an error and the names in front of it */
#define NAMES_MAX (64U * 1024) /* of options that want a restart, for the log */

enum { EXPORTER_METRICS(METRIC_SYMBOL) EXPORTER_METRIC_COUNT };
static const struct metric_family families[] = {EXPORTER_METRICS(METRIC_FAMILY)};

struct pipeline {
    struct options *loaded;
    const struct exporter_options *options;
    struct options *latest; /* of the last reload, NULL before */
    const char *config_path;
    int signal_fd;
    struct metrics *metrics;
    metric reload_fine, reload_time;
    struct health *health;
    struct left_out *left_out;
    struct host_lane *host;
    struct remote_lane *remotes;
    struct scrape *scrape;
    struct status status;
    struct http *http;
    struct http_page pages[3];
};

/* What the log has about a target. */
struct logged {
    bool failing;
    uint64_t news_count;
};

static bool
open_signals(struct pipeline *pipeline, struct err *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)signal(SIGPIPE, SIG_IGN);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return err_set(err, ERR_STOP, 0, "cannot block signals");
    pipeline->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return pipeline->signal_fd >= 0 || err_set(err, ERR_STOP, 0, "cannot open a signal descriptor");
}

static void
note_reload(struct pipeline *pipeline, bool fine)
{
    metrics_set(pipeline->metrics, pipeline->reload_fine, fine ? 1 : 0);
    if (fine)
        metrics_set(pipeline->metrics, pipeline->reload_time, (double)clock_wall_ms() / 1000);
    metrics_publish(pipeline->metrics);
}

static bool
open_metrics(struct pipeline *pipeline, struct err *err)
{
    if (!metrics_new(&pipeline->metrics, families, EXPORTER_METRIC_COUNT, err))
        return false;
    metrics_about(pipeline->metrics, PROGRAM, rd_kafka_version_str());
    pipeline->reload_fine = metrics_series(pipeline->metrics, EXPORTER_RELOAD_FINE, NULL);
    pipeline->reload_time = metrics_series(pipeline->metrics, EXPORTER_RELOAD_TIME, NULL);
    note_reload(pipeline, true);
    return health_new(&pipeline->health, STUCK_AFTER_MS, err);
}

static bool
open_lanes(struct pipeline *pipeline, struct err *err)
{
    const struct exporter_options *options = pipeline->options;
    size_t series_max = (size_t)options->page.series_per_family;
    if (!left_out_new(&pipeline->left_out, err))
        return false;
    if (options->host.enabled &&
        !host_lane_new(&pipeline->host, &options->host, series_max, pipeline->left_out, err))
        return false;
    return remote_lane_new(&pipeline->remotes, options, series_max, pipeline->left_out,
                           pipeline->health, err) &&
           remote_lane_start(pipeline->remotes, pipeline->loaded, err);
}

static bool
open_pages(struct pipeline *pipeline, struct err *err)
{
    struct scrape_parts parts = {
        .metrics = pipeline->metrics,
        .host = pipeline->host,
        .remotes = pipeline->remotes,
        .left_out = pipeline->left_out,
    };
    if (!scrape_new(&pipeline->scrape, &parts, err))
        return false;
    pipeline->status = (struct status){
        .host = pipeline->host,
        .remotes = pipeline->remotes,
        .started_ms = clock_monotonic_ms(),
    };
    pipeline->pages[0] = (struct http_page){"/metrics", scrape_serve, pipeline->scrape};
    pipeline->pages[1] = (struct http_page){"/status", status_json, &pipeline->status};
    pipeline->pages[2] = (struct http_page){"/", status_page, &pipeline->status};
    const char *listen = pipeline->options->http.listen;
    if (strcmp(listen, "off") == 0)
        return err_set(err, ERR_CONFIG, 0,
                       "http.listen is off: an exporter without a page has nothing to do");
    return http_new(&pipeline->http, listen, pipeline->metrics, pipeline->health, pipeline->pages,
                    sizeof(pipeline->pages) / sizeof(pipeline->pages[0]), err);
}

bool
pipeline_new(struct pipeline **out, struct options *loaded, const char *config_path,
             struct err *err)
{
    struct pipeline *pipeline = calloc(1, sizeof(*pipeline));
    *out = pipeline;
    if (pipeline == NULL) {
        options_free(loaded);
        return err_set(err, ERR_STOP, 0, "cannot start: out of memory");
    }
    pipeline->signal_fd = -1;
    pipeline->loaded = loaded;
    pipeline->options = options_root(loaded);
    pipeline->config_path = config_path;
    if (open_signals(pipeline, err) && open_metrics(pipeline, err) && open_lanes(pipeline, err) &&
        open_pages(pipeline, err))
        return true;
    (void)options_locate(loaded, err);
    return false;
}

void
pipeline_free(struct pipeline *pipeline)
{
    if (pipeline == NULL)
        return;
    http_free(pipeline->http);
    scrape_free(pipeline->scrape);
    bool idle = remote_lane_free(pipeline->remotes);
    idle = host_lane_free(pipeline->host) && idle;
    if (!idle)
        return; /* a thread that hangs uses the rest; the process ends anyway */
    left_out_free(pipeline->left_out);
    health_free(pipeline->health);
    metrics_free(pipeline->metrics);
    options_free(pipeline->latest);
    options_free(pipeline->loaded);
    if (pipeline->signal_fd >= 0)
        (void)close(pipeline->signal_fd);
    free(pipeline);
}

/* SIGHUP. A bad file changes nothing. */
static void
reload(struct pipeline *pipeline)
{
    struct options *loaded = NULL;
    struct err err;
    char state[64];
    int size = snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                        clock_monotonic_ns() / 1000);
    if (size > 0)
        (void)sd_notify(0, state);
    bool fine = options_load(&loaded, &exporter_options_schema, pipeline->config_path, &err);
    if (fine && !exporter_options_check(loaded, &err)) {
        options_free(loaded);
        fine = false;
    }
    note_reload(pipeline, fine);
    if (fine) {
        const struct exporter_options *options = options_root(loaded);
        struct buffer names;
        buffer_init(&names, NAMES_MAX);
        if (options_need_restart(pipeline->loaded, loaded, &names))
            log_warn("these changes need a restart: %s", buffer_string(&names));
        buffer_done(&names);
        log_setup(PROGRAM, (enum log_level)options->log.level,
                  (enum log_format)options->log.format);
        options_free(pipeline->latest);
        pipeline->latest = loaded;
        log_info("configuration reloaded");
    } else {
        log_error("%s; the configuration stays as it was", err.text);
    }
    log_flush(); /* who reloads twice waits for the second answer, too */
    (void)sd_notify(0, "READY=1");
}

/* The target's name is the site: what repeats is held back for each by itself. */
static void
log_target(const struct remote_state *state, enum log_level level, const char *what,
           const char *end)
{
    char text[LINE_MAX_SIZE];
    if (snprintf(text, sizeof(text), "%s %s: %s%s", state->collector, state->target, what, end) > 0)
        log_text(level, state->target, text);
}

/* Says once what changed about a target: its process has news, it answers, or it cannot be read. */
static void
log_targets(struct pipeline *pipeline, struct logged *logged)
{
    for (size_t i = 0; i < remote_lane_count(pipeline->remotes); i++) {
        struct remote_state state;
        remote_lane_state(pipeline->remotes, i, &state);
        bool news = logged[i].news_count != state.process.news_count;
        bool changed = state.refreshed && logged[i].failing == state.success;
        logged[i].news_count = state.process.news_count;
        if (news)
            log_target(&state, LOG_LEVEL_WARN, state.process.news, "");
        if (!changed)
            continue;
        logged[i].failing = !state.success;
        if (state.success)
            log_target(&state, LOG_LEVEL_INFO, "answers again", "");
        else if (!news)
            log_target(&state, LOG_LEVEL_WARN, state.error, "; tried again and again");
    }
}

/* False when it is time to stop. */
static bool
take_signals(struct pipeline *pipeline)
{
    struct signalfd_siginfo info;
    while (read(pipeline->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo != SIGHUP)
            return false;
        reload(pipeline);
    }
    return true;
}

bool
pipeline_run(struct pipeline *pipeline, struct err *err)
{
    struct logged *logged = calloc(remote_lane_count(pipeline->remotes) + 1, sizeof(*logged));
    if (logged == NULL)
        return err_set(err, ERR_STOP, 0, "cannot start: out of memory");
    log_info("%s %s serves :%u/metrics: host collectors %s, %zu targets", PROGRAM, TAILRACE_VERSION,
             http_port(pipeline->http), pipeline->host != NULL ? "on" : "off",
             remote_lane_count(pipeline->remotes));
    (void)sd_notify(0, "READY=1");
    struct pollfd poller = {.fd = pipeline->signal_fd, .events = POLLIN};
    bool going = true;
    while (going) {
        (void)poll(&poller, 1, TURN_MS);
        health_beat(pipeline->health);
        (void)sd_notify(0, "WATCHDOG=1");
        going = take_signals(pipeline);
        log_targets(pipeline, logged);
    }
    free(logged);
    (void)sd_notify(0, "STOPPING=1");
    log_info("stopping");
    return true;
}
