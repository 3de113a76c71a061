/* SPDX-License-Identifier: Apache-2.0 */
/* main.c: tailrace-agent's table of contents. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/options.h"
#include "agent/pipeline.h"
#include "agent/producer.h"
#include "agent/verbs.h"
#include "core/cli.h"
#include "core/log.h"

#define PROGRAM "tailrace-agent"
#define ABOUT "Tails log files and ships each line as a JSON event to Kafka."
#define CONFIG_DEFAULT "/etc/tailrace/agent.yaml"

static const struct cli_verb verbs[] = {
    {"run", "", "Tails until it is told to stop."},
    {"once", "", "Reads every file to its end, waits for all acknowledgements and stops."},
    {"check", "[--connect]",
     "Checks the configuration; with --connect the brokers and topics, too."},
    {"explain", "PATH", "Says whether a file is read, by which input and how far, or why not."},
    {"state", "show|forget|set",
     "show [--json]: the files that the state knows; forget PATH|GENERATION: as if never seen; "
     "set PATH OFFSET: go on there, at the start of a line. Changes want the agent stopped."},
    {"reference", "", "Prints every option with its default."},
};
static const size_t verb_count = sizeof(verbs) / sizeof(verbs[0]);

static int
fail(const struct err *err)
{
    log_error("%s", err->text);
    log_flush();
    return err->action == ERR_CONFIG ? CLI_EXIT_USAGE : CLI_EXIT_RUNTIME;
}

static int
run(struct options *loaded, const char *config_path, bool once)
{
    struct pipeline *pipeline;
    struct err err = {0};
    if (!pipeline_new(&pipeline, loaded, config_path, once, &err))
        return fail(&err);
    int code = pipeline_run(pipeline, &err) ? CLI_EXIT_OK : fail(&err);
    pipeline_free(pipeline);
    log_flush();
    return code;
}

static int
usage(const char *text)
{
    fprintf(stderr, "%s: %s\n", PROGRAM, text);
    return CLI_EXIT_USAGE;
}

/* The verbs that need a configuration. Takes `loaded`. */
static int
dispatch(const struct cli *cli, struct options *loaded)
{
    const struct agent_options *options = options_root(loaded);
    bool is_run = strcmp(cli->verb, "run") == 0;
    if (is_run || strcmp(cli->verb, "once") == 0) {
        log_setup(PROGRAM, (enum log_level)options->log.level,
                  (enum log_format)options->log.format);
        return run(loaded, cli->config_path, !is_run);
    }
    int code = CLI_EXIT_USAGE;
    const char *argument = cli->argument_count == 1 ? cli->arguments[0] : NULL;
    if (strcmp(cli->verb, "check") == 0) {
        bool connect = argument != NULL && strcmp(argument, "--connect") == 0;
        code = connect || cli->argument_count == 0 ? verb_check(options, connect)
                                                   : usage("check takes --connect or nothing");
    } else if (strcmp(cli->verb, "explain") == 0) {
        code = argument != NULL ? verb_explain(options, argument) : usage("explain takes one PATH");
    } else if (strcmp(cli->verb, "state") == 0) {
        code = verb_state(options, cli->argument_count, cli->arguments);
    }
    options_free(loaded);
    return code;
}

int
main(int argc, char **argv)
{
    struct err err = {0};
    struct cli cli;
    log_setup(PROGRAM, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    if (!cli_parse(&cli, argc, argv, verbs, verb_count, CONFIG_DEFAULT, &err))
        return usage(err.text);
    if (cli_answer(&cli, PROGRAM, ABOUT, verbs, verb_count, CONFIG_DEFAULT))
        return CLI_EXIT_OK;
    if (strcmp(cli.verb, "reference") == 0)
        return verb_reference();

    struct options *loaded;
    if (!options_load(&loaded, &agent_options_schema, cli.config_path, &err))
        return usage(err.text);
    if (!agent_options_check(loaded, &err) || !producer_check(options_root(loaded), &err)) {
        options_free(loaded);
        return usage(err.text);
    }
    return dispatch(&cli, loaded);
}
