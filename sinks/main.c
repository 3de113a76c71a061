/* SPDX-License-Identifier: Apache-2.0 */
/* main.c of tailrace-sink: the command line, the parts in their order, the exit code. */
#include <curl/curl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "core/ask.h"
#include "core/buffer.h"
#include "core/cli.h"
#include "core/clock.h"
#include "core/health.h"
#include "core/http.h"
#include "core/kafka.h"
#include "core/log.h"
#include "core/metrics.h"
#include "sinks/pipeline.h"
#include "sinks/sqlite/search.h"

#define PROGRAM "tailrace-sink"
#define ABOUT "Consumes events from Kafka and indexes them, each exactly once."
#define CONFIG_DEFAULT "/etc/tailrace/sink.yaml"
#define STUCK_AFTER_MS 60000 /* above the longest wait for a commit, a rebalance and a template */
#define REPORT_MAX (1024U * 1024)

static const struct cli_verb verbs[] = {
    {"run", "", "Consume and index until SIGTERM."},
    {"once", "", "Consume up to what the topics hold now, then print a summary and exit."},
    {"check", "[--connect]", "Check the configuration, with --connect also Kafka and the index."},
    {"search", SQLITE_SEARCH_ARGUMENTS, SQLITE_SEARCH_HELP},
    {"reference", "", "Print every option with its meaning and default."},
    {"version", "", "Print the version."},
};
#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

static const struct metric_family families[] = {SINK_METRICS(METRIC_FAMILY)};

/* Everything that lives as long as the process. */
struct program {
    struct cli cli;
    struct options *loaded;
    const struct sink_options *options;
    struct options *latest; /* of the last reload, NULL before */
    struct metrics *metrics;
    metric reload_fine, reload_time;
    struct health *health;
    struct ask *ask;
    struct http *http;
    struct pipeline *pipeline;
    int signal_fd;
};

static int
fail(const struct err *err)
{
    log_error("%s", err->text);
    log_flush();
    return err->action == ERR_CONFIG ? CLI_EXIT_USAGE : CLI_EXIT_RUNTIME;
}

static bool
load(struct options **out, const char *path, struct err *err)
{
    if (!options_load(out, &sink_options_schema, path, err))
        return false;
    if (sink_options_check(options_root(*out), path, err))
        return true;
    options_free(*out);
    *out = NULL;
    return false;
}

static void
note_reload(struct program *program, bool fine)
{
    metrics_set(program->metrics, program->reload_fine, fine ? 1 : 0);
    if (fine)
        metrics_set(program->metrics, program->reload_time, (double)clock_wall_ms() / 1000);
}

/* SIGHUP. A bad file changes nothing. */
static void
reload(void *context)
{
    struct program *program = context;
    struct options *loaded;
    struct err err;
    char state[64];
    int size = snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                        clock_monotonic_ns() / 1000);
    if (size > 0)
        (void)sd_notify(0, state);
    bool fine = load(&loaded, program->cli.config_path, &err);
    note_reload(program, fine);
    if (fine) {
        const struct sink_options *options = options_root(loaded);
        struct buffer names;
        buffer_init(&names, REPORT_MAX);
        if (options_need_restart(program->loaded, loaded, &names))
            log_warn("these changes need a restart: %s", buffer_string(&names));
        buffer_done(&names);
        log_setup(PROGRAM, (enum log_level)options->log.level,
                  (enum log_format)options->log.format);
        pipeline_reload(program->pipeline, options);
        options_free(program->latest);
        program->latest = loaded;
        log_info("configuration reloaded");
    } else {
        log_error("%s; the configuration stays as it was", err.text);
    }
    (void)sd_notify(0, "READY=1");
}

static void
answer_page(struct program *program, const char *question, struct http_response *response)
{
    struct err err;
    if (ask_loop(program->ask, question, &response->body, &err))
        return;
    response->status = 503;
    response->content_type = "text/plain; charset=utf-8";
    buffer_clear(&response->body);
    buffer_format(&response->body, "%s\n", err.text);
}

static void
on_status(void *context, const struct http_request *request, struct http_response *response)
{
    (void)request;
    response->content_type = "application/json";
    answer_page(context, "status", response);
}

static void
on_page(void *context, const struct http_request *request, struct http_response *response)
{
    (void)request;
    response->content_type = "text/html; charset=utf-8";
    answer_page(context, "page", response);
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

static bool
open_parts(struct program *program, bool once, struct err *err)
{
    if (!open_signals(program, err) ||
        !metrics_new(&program->metrics, families, SINK_METRIC_COUNT, err))
        return false;
    metrics_about(program->metrics, PROGRAM, rd_kafka_version_str());
    program->reload_fine = metrics_series(program->metrics, SINK_RELOAD_FINE, NULL);
    program->reload_time = metrics_series(program->metrics, SINK_RELOAD_TIME, NULL);
    note_reload(program, true);
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
close_parts(struct program *program)
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

static void
log_start(const struct program *program)
{
    struct kafka_settings settings;
    struct err err;
    if (!kafka_settings_init(&settings,
                             (const struct kafka_common_options *)&program->options->kafka, &err))
        return;
    log_info("%s %s with librdkafka %s, Kafka at %s%s, group %s", PROGRAM, TAILRACE_VERSION,
             rd_kafka_version_str(), settings.bootstrap_servers,
             settings.servers_from_environment ? " (from KAFKA_BOOTSTRAP_SERVERS)" : "",
             program->options->kafka.group_id);
    struct buffer traps;
    buffer_init(&traps, REPORT_MAX);
    kafka_version_traps(rd_kafka_version(), &traps);
    char *save = NULL;
    char *text = traps.size > 0 ? traps.bytes : NULL;
    buffer_string(&traps);
    for (char *line = text == NULL ? NULL : strtok_r(traps.bytes, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save))
        log_info("%s", line);
    buffer_done(&traps);
}

/* What `once` did, for the terminal. */
static void
print_summary(const struct pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline->route_count; i++) {
        const struct route *route = &pipeline->routes[i];
        printf("%s -> %s: consumed %" PRIu64, route->topic, route->index, route->consumed);
        for (size_t outcome = 0; outcome < ROUTE_OUTCOME_COUNT; outcome++)
            printf(", %s %" PRIu64, route_outcome_names[outcome], route->finished[outcome]);
        printf(", in flight %" PRIu64 "\n", route_in_flight(route));
    }
}

static int
run(struct program *program, bool once)
{
    const struct http_page pages[] = {{"/status", on_status, program}, {"/", on_page, program}};
    struct err err;
    log_start(program);
    bool fine = open_parts(program, once, &err);
    if (fine && strcmp(program->options->http.listen, "off") != 0)
        fine = http_new(&program->http, program->options->http.listen, program->metrics,
                        program->health, pages, sizeof(pages) / sizeof(pages[0]), &err);
    if (fine)
        fine = pipeline_run(program->pipeline, &err);
    if (fine && once)
        print_summary(program->pipeline);
    int code = fine ? CLI_EXIT_OK : fail(&err);
    close_parts(program);
    if (fine)
        log_info("stopped");
    log_flush();
    return code;
}

static int
check(struct program *program)
{
    bool connect =
        program->cli.argument_count == 1 && strcmp(program->cli.arguments[0], "--connect") == 0;
    struct err err;
    if (program->cli.argument_count > 0 && !connect) {
        err_put_set(&err, ERR_CONFIG, 0, "check takes --connect only, not '%s'",
                    program->cli.arguments[0]);
        return fail(&err);
    }
    struct buffer report;
    buffer_init(&report, REPORT_MAX);
    bool fine = open_parts(program, false, &err);
    if (fine && connect)
        fine = pipeline_check(program->pipeline, &report, &err);
    kafka_version_traps(rd_kafka_version(), &report);
    fputs(buffer_string(&report), stdout);
    buffer_done(&report);
    int code = fine ? CLI_EXIT_OK : fail(&err);
    close_parts(program);
    if (fine)
        printf("%s: configuration OK\n", program->cli.config_path);
    return code;
}

static int
print_reference(void)
{
    struct buffer text;
    buffer_init(&text, REPORT_MAX);
    options_reference(&sink_options_schema, &text);
    fputs(buffer_string(&text), stdout);
    buffer_done(&text);
    return CLI_EXIT_OK;
}

/* Verbs that need the configuration. */
static int
with_options(struct program *program)
{
    struct err err;
    if (!load(&program->loaded, program->cli.config_path, &err))
        return fail(&err);
    program->options = options_root(program->loaded);
    log_setup(PROGRAM, (enum log_level)program->options->log.level,
              (enum log_format)program->options->log.format);
    int code;
    if (strcmp(program->cli.verb, "check") == 0)
        code = check(program);
    else if (strcmp(program->cli.verb, "search") == 0)
        code = sqlite_search(program->options, program->cli.argument_count, program->cli.arguments,
                             &err)
                   ? CLI_EXIT_OK
                   : fail(&err);
    else
        code = run(program, strcmp(program->cli.verb, "once") == 0);
    options_free(program->loaded);
    return code;
}

int
main(int argc, char **argv)
{
    struct program program = {.signal_fd = -1};
    struct err err;
    log_setup(PROGRAM, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    if (!cli_parse(&program.cli, argc, argv, verbs, VERB_COUNT, CONFIG_DEFAULT, &err))
        return fail(&err);
    if (strcmp(program.cli.verb, "help") == 0) {
        cli_print_help(PROGRAM, ABOUT, verbs, VERB_COUNT, CONFIG_DEFAULT);
        return CLI_EXIT_OK;
    }
    if (strcmp(program.cli.verb, "version") == 0) {
        cli_print_version(PROGRAM);
        return CLI_EXIT_OK;
    }
    if (strcmp(program.cli.verb, "reference") == 0)
        return print_reference();
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return CLI_EXIT_RUNTIME;
    int code = with_options(&program);
    curl_global_cleanup();
    return code;
}
