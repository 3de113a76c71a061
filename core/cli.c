/* SPDX-License-Identifier: Apache-2.0 */
/* cli.c: see cli.h. */
#include "core/cli.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <string.h>

#include "core/assert.h"
#include "core/options.h"

#define CLI_COLUMN 28     /* of the text behind a verb */
#define WORDS_MAX 32      /* verbs of a program, or flags of a verb */
#define ARGUMENTS_MAX 256 /* of a verb, in the table */

/* The table's verb of this name; NULL for none. */
static const struct cli_verb *
find_verb(const struct cli_verb *verbs, size_t count, const char *word)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(verbs[i].name, word) == 0)
            return &verbs[i];
    return NULL;
}

/* The verb that a word of the command line stands for; NULL for none. */
static const char *
verb_name(const struct cli_verb *verbs, size_t count, const char *word)
{
    static const char *const flags[][2] = {
        {"-t", "check"},        {"-V", "version"},  {"--version", "version"},
        {"-h", "help"},         {"--help", "help"}, {"--reference", "reference"},
        {"version", "version"}, {"help", "help"},
    };
    const struct cli_verb *found = find_verb(verbs, count, word);
    if (found != NULL)
        return found->name;
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (strcmp(flags[i][0], word) == 0) {
            found = find_verb(verbs, count, flags[i][1]);
            bool built_in = strcmp(flags[i][1], "help") == 0 || strcmp(flags[i][1], "version") == 0;
            return found != NULL ? found->name : built_in ? flags[i][1] : NULL;
        }
    return NULL;
}

static bool
fail_unknown(const char *what, const char *word, const char *const *known, size_t count,
             struct err *err)
{
    const char *near = option_nearest(word, known, count);
    if (near != NULL)
        return err_set(err, ERR_CONFIG, 0, "unknown %s '%.100s'; did you mean '%s'?", what, word,
                       near);
    return err_set(err, ERR_CONFIG, 0, "unknown %s '%.100s'; -h lists what there is", what, word);
}

static bool
fail_unknown_verb(const struct cli_verb *verbs, size_t count, const char *word, struct err *err)
{
    const char *names[WORDS_MAX];
    size_t name_count = 0;
    for (size_t i = 0; i < count && name_count < WORDS_MAX; i++)
        names[name_count++] = verbs[i].name;
    return fail_unknown(word[0] == '-' ? "option" : "command", word, names, name_count, err);
}

/* Splits "[--connect] [--all]" into its flags. False when there is anything else in it. */
static bool
only_flags(char *arguments, const char *flags[WORDS_MAX], size_t *count)
{
    char *save = NULL;
    *count = 0;
    for (char *word = strtok_r(arguments, " ", &save); word != NULL;
         word = strtok_r(NULL, " ", &save)) {
        size_t size = strlen(word);
        if (*count == WORDS_MAX || size < 4 || strncmp(word, "[-", 2) != 0 || word[size - 1] != ']')
            return false;
        word[size - 1] = '\0';
        flags[(*count)++] = word + 1;
    }
    return true;
}

/* What the table's text says for certain; the verb itself looks at the rest. */
static bool
check_arguments(const struct cli *cli, const struct cli_verb *verb, struct err *err)
{
    char copy[ARGUMENTS_MAX];
    const char *flags[WORDS_MAX];
    size_t flag_count = 0;
    size_t size = strlen(verb->arguments);
    ASSERT(size < sizeof(copy));
    memcpy(copy, verb->arguments, size + 1);
    if (size > 0 && verb->arguments[0] != '[' && cli->argument_count == 0)
        return err_set(err, ERR_CONFIG, 0, "'%s' needs its argument: %s %s", verb->name, verb->name,
                       verb->arguments);
    if (!only_flags(copy, flags, &flag_count))
        return true;

    for (int i = 0; i < cli->argument_count; i++) {
        const char *word = cli->arguments[i];
        size_t known = 0;
        while (known < flag_count && strcmp(flags[known], word) != 0)
            known++;
        if (known < flag_count)
            continue;
        if (word[0] == '-')
            return fail_unknown("option", word, flags, flag_count, err);
        return err_set(err, ERR_CONFIG, 0, "'%s' takes no argument '%.100s'", verb->name, word);
    }
    return true;
}

/* Sorts the words: ours into `out`, the verb's to the front of argv. False: -c without file, or an
 * unknown word before the verb. `*help`: it was asked for somewhere. */
static bool
sort_words(struct cli *out, int argc, char **argv, const struct cli_verb *verbs, size_t verb_count,
           bool *help, struct err *err)
{
    bool ours = true; /* until "--" */
    for (int at = 1; at < argc; at++) {
        char *word = argv[at];
        if (ours && strcmp(word, "-c") == 0) {
            if (at + 1 == argc)
                return err_set(err, ERR_CONFIG, 0, "-c needs a file");
            out->config_path = argv[++at];
            continue;
        }
        if (ours && (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0)) {
            *help = true;
            continue;
        }
        if (out->verb == NULL) {
            out->verb = verb_name(verbs, verb_count, word);
            if (out->verb == NULL)
                return fail_unknown_verb(verbs, verb_count, word, err);
            continue;
        }
        ours = ours && strcmp(word, "--") != 0;
        out->arguments[out->argument_count++] = word;
    }
    return true;
}

bool
cli_parse(struct cli *out, int argc, char **argv, const struct cli_verb *verbs, size_t verb_count,
          const char *config_default, struct err *err)
{
    ASSERT(argc > 0);
    ASSERT(verb_count > 0);

    *out = (struct cli){.config_path = config_default, .arguments = argv + 1};
    bool help = false;
    if (!sort_words(out, argc, argv, verbs, verb_count, &help, err))
        return false;
    if (help) {
        /* "check -h" is "help check". */
        const struct cli_verb *about =
            out->verb != NULL ? find_verb(verbs, verb_count, out->verb) : NULL;
        out->help_of = about;
        out->verb = "help";
        out->argument_count = 0;
        return true;
    }
    if (out->verb == NULL)
        out->verb = verbs[0].name;
    if (strcmp(out->verb, "help") == 0 && out->argument_count > 0) {
        out->help_of = find_verb(verbs, verb_count, out->arguments[0]);
        return out->help_of != NULL || fail_unknown_verb(verbs, verb_count, out->arguments[0], err);
    }
    static const struct cli_verb built_in = {"version", "", ""};
    const struct cli_verb *verb = find_verb(verbs, verb_count, out->verb);
    return check_arguments(out, verb != NULL ? verb : &built_in, err);
}

bool
cli_take_value(const char *name, int argc, char **argv, int *at, const char **value,
               struct err *err)
{
    size_t size = strlen(name);
    ASSERT(argv[*at] != NULL);

    *value = NULL;
    if (strncmp(argv[*at], name, size) != 0)
        return true;
    if (argv[*at][size] == '=') {
        *value = argv[*at] + size + 1;
        return true;
    }
    if (argv[*at][size] != '\0')
        return true;
    if (*at + 1 >= argc)
        return err_set(err, ERR_CONFIG, 0, "%s wants a value", name);
    *value = argv[++*at];
    return true;
}

static void
print_help(const char *program, const char *about, const struct cli_verb *verbs, size_t verb_count,
           const char *config_default)
{
    printf("%s: %s\n\nusage: %s [COMMAND] [-c FILE] [ARGUMENTS]\n\n", program, about, program);
    for (size_t i = 0; i < verb_count; i++) {
        char left[ARGUMENTS_MAX];
        int size = snprintf(left, sizeof(left), "%s %s", verbs[i].name, verbs[i].arguments);
        if (size > CLI_COLUMN)
            printf("  %s\n  %-*s", left, CLI_COLUMN, "");
        else
            printf("  %-*s", CLI_COLUMN, left);
        printf(" %s%s\n", verbs[i].help, i == 0 ? " The default." : "");
    }
    if (find_verb(verbs, verb_count, "version") == NULL)
        printf("  %-*s %s\n", CLI_COLUMN, "version", "Print the versions of program and library.");
    printf("  %-*s %s\n", CLI_COLUMN, "help [COMMAND]", "Print this, or what a command takes.");
    printf("\n  -c FILE   configuration, default %s\n", config_default);
    printf("  -t, -V, -h, --reference   the same as check, version, help, reference\n");
    printf("\nexit status: 0 done, 1 failed at run time, 2 wrong usage or configuration\n");
}

static void
print_verb_help(const char *program, const struct cli_verb *verb, const char *config_default)
{
    printf("usage: %s %s [-c FILE]%s%s\n\n%s\n", program, verb->name,
           verb->arguments[0] != '\0' ? " " : "", verb->arguments, verb->help);
    printf("\n  -c FILE   configuration, default %s\n", config_default);
}

static void
print_version(const char *program)
{
    printf("%s %s, librdkafka %s\n", program, TAILRACE_VERSION, rd_kafka_version_str());
}

bool
cli_answer(const struct cli *cli, const char *program, const char *about,
           const struct cli_verb *verbs, size_t verb_count, const char *config_default)
{
    if (strcmp(cli->verb, "version") == 0) {
        print_version(program);
        return true;
    }
    if (strcmp(cli->verb, "help") != 0)
        return false;
    if (cli->help_of != NULL)
        print_verb_help(program, cli->help_of, config_default);
    else
        print_help(program, about, verbs, verb_count, config_default);
    return true;
}
