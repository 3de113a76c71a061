/* SPDX-License-Identifier: Apache-2.0 */
/* program.c: see program.h. */
#include "sinks/program.h"

#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "core/clock.h"

#define PROGRAM "tailrace-sink"
#define STUCK_AFTER_MS 60000 /* above the longest wait for a commit, a rebalance and a template */

static const struct metric_family families[] = {SINK_METRICS(METRIC_FAMILY)};

bool
program_load(struct options **out, const char *path, struct err *err)
{
    if (!options_load(out, &sink_options_schema, path, err))
        return false;
    if (sink_options_check(*out, err))
        return true;
    options_free(*out);
    *out = NULL;
    return false;
}

void
program_note_reload(struct program *program, bool fine)
{
    metrics_set(program->metrics, program->reload_fine, fine ? 1 : 0);
    if (fine)
        metrics_set(program->metrics, program->reload_time, (double)clock_wall_ms() / 1000);
}

static bool
open_signals(struct program *program, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    (void)signal(SIGPIPE, SIG_IGN);
    /* Before any thread is born: librdkafka's and the endpoint's inherit it. */
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return err_set(err, ERR_STOP, 0, "cannot block signals");
    program->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return program->signal_fd >= 0 || err_set(err, ERR_STOP, 0, "cannot open a signal descriptor");
}

bool
program_open(struct program *program, bool once, void (*reload)(void *), struct err *err)
{
    if (!open_signals(program, err) ||
        !metrics_new(&program->metrics, families, SINK_METRIC_COUNT, err))
        return false;
    metrics_about(program->metrics, PROGRAM, rd_kafka_version_str());
    program->reload_fine = metrics_series(program->metrics, SINK_RELOAD_FINE, NULL);
    program->reload_time = metrics_series(program->metrics, SINK_RELOAD_TIME, NULL);
    program_note_reload(program, true);
    if (!health_new(&program->health, STUCK_AFTER_MS, err) || !ask_new(&program->ask, err))
        return false;
    struct pipeline_settings settings = {
        .options = program->options,
        .metrics = program->metrics,
        .health = program->health,
        .ask = program->ask,
        .once = once,
        .signal_fd = program->signal_fd,
        .reload = reload,
        .reload_context = program,
    };
    return pipeline_new(&program->pipeline, &settings, err);
}

static void
on_status(void *context, const struct http_request *request, struct http_response *response)
{
    (void)request;
    const struct program *program = context;
    response->content_type = "application/json";
    http_ask(program->ask, "status", response);
}

static void
on_page(void *context, const struct http_request *request, struct http_response *response)
{
    (void)request;
    const struct program *program = context;
    response->content_type = "text/html; charset=utf-8";
    http_ask(program->ask, "page", response);
}

bool
program_serve(struct program *program, struct err *err)
{
    const char *listen = program->options->http.listen;
    if (strcmp(listen, "off") == 0)
        return true;
    program->pages[0] = (struct http_page){"/status", on_status, program};
    program->pages[1] = (struct http_page){"/", on_page, program};
    return http_new(&program->http, listen, program->metrics, program->health, program->pages,
                    sizeof(program->pages) / sizeof(program->pages[0]), err);
}

void
program_close(struct program *program)
{
    http_free(program->http);
    pipeline_free(program->pipeline);
    ask_free(program->ask);
    health_free(program->health);
    metrics_free(program->metrics);
    options_free(program->latest);
    if (program->signal_fd >= 0)
        close(program->signal_fd);
}
