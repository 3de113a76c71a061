/* SPDX-License-Identifier: Apache-2.0 */
/* cli.h: the command line that all programs share: PROGRAM [VERB] [-c FILE] [VERB's arguments].
 * Verbs come from a table; `-t` is `check`, `-V` `version`, `-h` help of the program or of the
 * verb, `--reference` is `reference`. The first verb of the table is the default. */
#ifndef CORE_CLI_H
#define CORE_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"

#define CLI_EXIT_OK 0
#define CLI_EXIT_RUNTIME 1
#define CLI_EXIT_USAGE 2

struct cli_verb {
    const char *name;
    const char *arguments; /* "[--connect]", "PATH"; "" for none; [ ] may be left out */
    const char *help;      /* one sentence */
};

struct cli {
    const char *verb;        /* borrowed from the table */
    const char *config_path; /* from -c, else `config_default` */
    int argument_count;      /* what is left for the verb */
    char **arguments;
    const struct cli_verb *help_of; /* with verb "help": the verb it is about; NULL: the program */
};

/* False with ERR_CONFIG for a bad command line (exit 2; the text names the nearest verb). Help and
 * version are verbs "help" and "version", which cli_answer() prints. -c and -h are
 * understood everywhere before a "--". Of a verb's arguments only this is checked here: one that
 * begins with a word that is not in [ ] must be there, and a verb of none but [-flags] takes no
 * others. Moves words within argv. */
bool cli_parse(struct cli *out, int argc, char **argv, const struct cli_verb *verbs,
               size_t verb_count, const char *config_default, struct err *err) MUST_CHECK;
/* For a verb's own options with a value, "--limit 5" and "--limit=5": `*value` becomes NULL when
 * argv[*at] is another one; `*at` moves to the last word that was taken. ERR_CONFIG: no value. */
bool cli_take_value(const char *name, int argc, char **argv, int *at, const char **value,
                    struct err *err) MUST_CHECK;
/* The verbs that every program has: true when it was "help" or "version" (with librdkafka's), which
 * is printed now. */
bool cli_answer(const struct cli *cli, const char *program, const char *about,
                const struct cli_verb *verbs, size_t verb_count, const char *config_default);

#endif
