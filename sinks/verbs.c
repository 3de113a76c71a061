/* SPDX-License-Identifier: Apache-2.0 */
/* verbs.c: see verbs.h. */
#include "sinks/verbs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/buffer.h"
#include "core/kafka.h"
#include "sinks/program.h"
#include "sinks/receipts/audit.h"
#include "sinks/replay/request.h"
#include "sinks/sqlite/search.h"

#define REPORT_MAX (1024U * 1024)

void
verbs_print_summary(const struct pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline->route_count; i++) {
        const struct route *route = &pipeline->routes[i];
        printf("%s -> %s: consumed %" PRIu64, route->topic, route->index, route->consumed);
        for (size_t outcome = 0; outcome < ROUTE_OUTCOME_COUNT; outcome++)
            printf(", %s %" PRIu64, route_outcome_names[outcome], route->finished[outcome]);
        printf(", in flight %" PRIu64 "\n", route_in_flight(route));
    }
}

bool
verbs_check(struct program *program, void (*reload)(void *), size_t *problems, struct err *err)
{
    const struct cli *cli = &program->cli;
    bool connect = cli->argument_count == 1 && strcmp(cli->arguments[0], "--connect") == 0;
    struct buffer report;
    buffer_init(&report, REPORT_MAX);
    bool fine = program_open(program, false, reload, err);
    *problems = fine && connect ? pipeline_check(program->pipeline, &report) : 0;
    fputs(buffer_string(&report), stdout);
    size_t at = 0;
    const char *trap;
    while ((trap = kafka_version_trap(rd_kafka_version(), KAFKA_CONSUMER, &at)) != NULL)
        printf("librdkafka %s: %s\n", rd_kafka_version_str(), trap);
    buffer_done(&report);
    program_close(program);
    if (fine && *problems == 0)
        printf("configuration OK\n");
    else if (fine)
        printf("NOT OK: %zu problem%s\n", *problems, *problems == 1 ? "" : "s");
    return fine;
}

void
verbs_print_more_help(const struct cli_verb *verb)
{
    if (strcmp(verb->name, "search") == 0)
        printf("\n%s", sqlite_search_help);
    if (strcmp(verb->name, "audit") == 0)
        printf("\n%s", audit_help);
    if (strcmp(verb->name, "dead-letters") == 0)
        printf("\n%s", dead_letters_help);
}

int
verbs_print_reference(void)
{
    struct buffer text;
    buffer_init(&text, REPORT_MAX);
    options_reference(&sink_options_schema, &text);
    fputs(buffer_string(&text), stdout);
    buffer_done(&text);
    return CLI_EXIT_OK;
}
