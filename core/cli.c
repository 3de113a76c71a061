/* SPDX-License-Identifier: Apache-2.0 */
/* cli.c: see cli.h. */
#include "core/cli.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <string.h>

#include "core/assert.h"
#include "core/options.h"

#define VERBS_MAX 24

static const char *
find_verb(const struct cli_verb *verbs, size_t count, const char *word)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(verbs[i].name, word) == 0)
            return verbs[i].name;
    if (strcmp(word, "help") == 0)
        return "help";
    return strcmp(word, "version") == 0 ? "version" : NULL;
}

/* The verb behind a flag, NULL for a flag that is none. */
static const char *
flag_verb(const char *flag)
{
    static const char *const flags[][2] = {
        {"-t", "check"},     {"-V", "version"}, {"--version", "version"},
        {"-h", "help"},      {"--help", "help"}, {"--reference", "reference"},
    };
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (strcmp(flags[i][0], flag) == 0)
            return flags[i][1];
    return NULL;
}

static bool
unknown_verb(const struct cli_verb *verbs, size_t count, const char *word, struct err *err)
{
    const char *names[VERBS_MAX];
    size_t name_count = 0;
    for (size_t i = 0; i < count && name_count < VERBS_MAX; i++)
        names[name_count++] = verbs[i].name;
    const char *near = option_nearest(word, names, name_count);
    if (near != NULL)
        return err_set(err, ERR_CONFIG, 0, "unknown command '%.100s'; did you mean '%s'?", word, near);
    return err_set(err, ERR_CONFIG, 0, "unknown command '%.100s'; -h lists them", word);
}

bool
cli_parse(struct cli *out, int argc, char **argv, const struct cli_verb *verbs, size_t verb_count,
          const char *config_default, struct err *err)
{
    ASSERT(argc > 0);
    ASSERT(verb_count > 0);

    *out = (struct cli){.config_path = config_default, .arguments = argv + argc};
    int at = 1;
    for (; at < argc; at++) {
        const char *word = argv[at];
        if (strcmp(word, "-c") == 0) {
            if (at + 1 == argc)
                return err_set(err, ERR_CONFIG, 0, "-c needs a file");
            out->config_path = argv[++at];
            continue;
        }
        if (out->verb != NULL)
            break; /* the verb's own arguments */
        const char *verb = *word == '-' ? flag_verb(word) : find_verb(verbs, verb_count, word);
        if (verb == NULL && *word == '-')
            return err_set(err, ERR_CONFIG, 0, "unknown option '%.100s'; -h lists them", word);
        if (verb == NULL)
            return unknown_verb(verbs, verb_count, word, err);
        out->verb = verb;
    }
    if (out->verb == NULL)
        out->verb = verbs[0].name;
    out->arguments = argv + at;
    out->argument_count = argc - at;
    /* "-c FILE" and "-h" are understood behind the verb's arguments, too. */
    if (out->argument_count >= 2 && strcmp(argv[argc - 2], "-c") == 0) {
        out->config_path = argv[argc - 1];
        out->argument_count -= 2;
    }
    if (out->argument_count > 0 && (strcmp(argv[at], "-h") == 0 || strcmp(argv[at], "--help") == 0))
        out->verb = "help";
    return true;
}

void
cli_print_help(const char *program, const char *about, const struct cli_verb *verbs,
               size_t verb_count, const char *config_default)
{
    printf("%s: %s\n\nusage: %s [-c FILE] [COMMAND] [ARGUMENTS]\n\n", program, about, program);
    for (size_t i = 0; i < verb_count; i++) {
        char left[64];
        (void)snprintf(left, sizeof(left), "%s %s", verbs[i].name, verbs[i].arguments);
        printf("  %-28s %s%s\n", left, verbs[i].help, i == 0 ? " The default." : "");
    }
    printf("  %-28s %s\n", "version", "Print the versions of program and libraries.");
    printf("  %-28s %s\n", "help", "Print this.");
    printf("\n  -c FILE   configuration, default %s\n", config_default);
    printf("  -t, -V, -h, --reference   the same as check, version, help, reference\n");
    printf("\nexit status: 0 done, 1 failed at run time, 2 wrong usage or configuration\n");
}

void
cli_print_version(const char *program)
{
    printf("%s %s, librdkafka %s\n", program, TAILRACE_VERSION, rd_kafka_version_str());
}
