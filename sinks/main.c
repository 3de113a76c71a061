/* SPDX-License-Identifier: Apache-2.0 */
/* main.c of tailrace-sink: the command line, the parts in their order, the exit code. */
#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "core/buffer.h"
#include "core/cli.h"
#include "core/clock.h"
#include "core/kafka.h"
#include "core/log.h"
#include "sinks/program.h"
#include "sinks/receipts/audit.h"
#include "sinks/replay/replay.h"
#include "sinks/sqlite/search.h"
#include "sinks/verbs.h"

#define PROGRAM "tailrace-sink"
#define ABOUT "Consumes events from Kafka and indexes them, each exactly once."
#define CONFIG_DEFAULT "/etc/tailrace/sink.yaml"
#define REPORT_MAX (1024U * 1024)

static const struct cli_verb verbs[] = {
    {"run", "", "Consume and index until SIGTERM."},
    {"once", "", "Consume up to what the topics hold now, then print a summary and exit."},
    {"check", "[--connect]", "Check the configuration, with --connect also Kafka and the index."},
    {"dead-letters", DEAD_LETTERS_ARGUMENTS, DEAD_LETTERS_HELP},
    {"audit", AUDIT_ARGUMENTS, AUDIT_HELP},
    {"search", SQLITE_SEARCH_ARGUMENTS, SQLITE_SEARCH_HELP},
    {"reference", "", "Print every option with its meaning and default."},
};
#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

static int
fail(struct program *program, struct err *err)
{
    if (program->loaded != NULL)
        (void)options_locate(program->loaded, err);
    if (program->logging)
        log_error("%s", err->text);
    else
        fprintf(stderr, PROGRAM ": %s\n", err->text);
    log_flush();
    return err->action == ERR_CONFIG ? CLI_EXIT_USAGE : CLI_EXIT_RUNTIME;
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
    bool fine = program_load(&loaded, program->cli.config_path, &err);
    program_note_reload(program, fine);
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
    log_flush(); /* who reloads twice waits for the second answer, too */
    (void)sd_notify(0, "READY=1");
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
    size_t at = 0;
    const char *trap;
    while ((trap = kafka_version_trap(rd_kafka_version(), KAFKA_CONSUMER, &at)) != NULL)
        log_info("librdkafka %s: %s", rd_kafka_version_str(), trap);
}

static int
run(struct program *program, bool once)
{
    struct err err;
    log_start(program);
    bool fine = program_open(program, once, reload, &err) && program_serve(program, &err);
    if (fine)
        fine = pipeline_run(program->pipeline, &err);
    if (fine && once)
        verbs_print_summary(program->pipeline);
    int code = fine ? CLI_EXIT_OK : fail(program, &err);
    program_close(program);
    if (fine)
        log_info("stopped");
    log_flush();
    return code;
}

/* Verbs that need the configuration. */
static int
with_options(struct program *program)
{
    struct err err;
    if (!program_load(&program->loaded, program->cli.config_path, &err))
        return fail(program, &err);
    program->options = options_root(program->loaded);
    log_setup(PROGRAM, (enum log_level)program->options->log.level,
              (enum log_format)program->options->log.format);
    program->logging =
        strcmp(program->cli.verb, "run") == 0 || strcmp(program->cli.verb, "once") == 0;
    const struct cli *cli = &program->cli;
    int code = CLI_EXIT_OK;
    if (strcmp(cli->verb, "check") == 0) {
        size_t problems;
        if (!verbs_check(program, reload, &problems, &err))
            code = fail(program, &err);
        else if (problems > 0)
            code = CLI_EXIT_RUNTIME;
    } else if (strcmp(cli->verb, "search") == 0) {
        if (!sqlite_search(program->options, cli->argument_count, cli->arguments, &err))
            code = fail(program, &err);
    } else if (strcmp(cli->verb, "audit") == 0) {
        bool complete;
        if (!audit_run(program->options, cli->argument_count, cli->arguments, &complete, &err))
            code = fail(program, &err);
        else if (!complete)
            code = CLI_EXIT_RUNTIME;
    } else if (strcmp(cli->verb, "dead-letters") == 0) {
        bool complete;
        if (!replay_dead_letters(program->options, cli->argument_count, cli->arguments, &complete,
                                 &err))
            code = fail(program, &err);
        else if (!complete)
            code = CLI_EXIT_RUNTIME;
    } else {
        code = run(program, strcmp(cli->verb, "once") == 0);
    }
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
        return fail(&program, &err);
    if (cli_answer(&program.cli, PROGRAM, ABOUT, verbs, VERB_COUNT, CONFIG_DEFAULT)) {
        if (program.cli.help_of != NULL)
            verbs_print_more_help(program.cli.help_of);
        return CLI_EXIT_OK;
    }
    if (strcmp(program.cli.verb, "reference") == 0)
        return verbs_print_reference();
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return CLI_EXIT_RUNTIME;
    int code = with_options(&program);
    curl_global_cleanup();
    return code;
}
