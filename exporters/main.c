/* SPDX-License-Identifier: Apache-2.0 */
/* main.c: tailrace-exporter's table of contents. */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "core/cli.h"
#include "core/log.h"
#include "exporters/options.h"
#include "exporters/pipeline.h"
#include "exporters/process.h"
#include "exporters/remote.h"
#include "exporters/verbs.h"

#define PROGRAM "tailrace-exporter"
#define ABOUT "Shows the health of this host and of remote services to Prometheus."
#define CONFIG_DEFAULT "/etc/tailrace/exporter.yaml"

static const struct cli_verb verbs[] = {
    {"run", "", "Serves until it is told to stop."},
    {"check", "[--connect]",
     "Checks the configuration; with --connect reads every source once and prints which families "
     "there will be, and why each other one will not."},
    {"reference", "", "Prints every option with its default."},
};
static const size_t verb_count = sizeof(verbs) / sizeof(verbs[0]);

static int
usage(const char *text)
{
    fprintf(stderr, "%s: %s\n", PROGRAM, text);
    return CLI_EXIT_USAGE;
}

static int
fail(const struct err *err)
{
    log_error("%s", err->text);
    log_flush();
    return err->action == ERR_CONFIG ? CLI_EXIT_USAGE : CLI_EXIT_RUNTIME;
}

/* Takes `loaded`. */
static int
run(struct options *loaded, const char *config_path)
{
    struct pipeline *pipeline;
    struct err err = {0};
    bool fine = pipeline_new(&pipeline, loaded, config_path, &err) && pipeline_run(pipeline, &err);
    pipeline_free(pipeline);
    if (!fine)
        return fail(&err);
    log_info("stopped");
    log_flush();
    return CLI_EXIT_OK;
}

/* Takes `loaded`. */
static int
check(struct options *loaded, bool connect)
{
    struct err err = {0};
    bool fine = false;
    bool opened = verbs_check(options_root(loaded), connect, &fine, &err);
    int code = fine ? CLI_EXIT_OK : CLI_EXIT_RUNTIME;
    if (!opened) {
        (void)options_locate(loaded, &err);
        fprintf(stderr, "%s: %s\n", PROGRAM, err.text);
        code = err.action == ERR_CONFIG ? CLI_EXIT_USAGE : CLI_EXIT_RUNTIME;
    }
    options_free(loaded);
    return code;
}

/* The verbs that need a configuration. */
static int
with_options(const struct cli *cli)
{
    struct err err = {0};
    struct options *loaded;
    if (!options_load(&loaded, &exporter_options_schema, cli->config_path, &err))
        return usage(err.text);
    if (!exporter_options_check(loaded, &err)) {
        options_free(loaded);
        return usage(err.text);
    }
    const struct exporter_options *options = options_root(loaded);
    log_setup(PROGRAM, (enum log_level)options->log.level, (enum log_format)options->log.format);
    if (strcmp(cli->verb, "check") == 0)
        return check(loaded, cli->argument_count == 1);
    return run(loaded, cli->config_path);
}

int
main(int argc, char **argv)
{
    struct err err = {0};
    struct cli cli;
    if (argc > 1 && strcmp(argv[1], PROCESS_VERB) == 0)
        return process_main(remote_classes, remote_class_count);
    log_setup(PROGRAM, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    if (!cli_parse(&cli, argc, argv, verbs, verb_count, CONFIG_DEFAULT, &err))
        return usage(err.text);
    if (cli_answer(&cli, PROGRAM, ABOUT, verbs, verb_count, CONFIG_DEFAULT))
        return CLI_EXIT_OK;
    if (strcmp(cli.verb, "reference") == 0) {
        verbs_print_reference();
        return CLI_EXIT_OK;
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return CLI_EXIT_RUNTIME;
    /* No curl_global_cleanup(): a probe's thread may be left in a call that hangs. */
    return with_options(&cli);
}
