/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines. */
#include "core/cli.h"

#include "test/unit/unit.h"

static const struct cli_verb verbs[] = {
    {"run", "", "Run."},
    {"check", "[--connect]", "Check."},
    {"explain", "PATH", "Explain."},
    {"state", "show|forget|set [PATH]", "State."},
    {"search", "[--limit N] [WORD...]", "Search."},
    {"reference", "", "Reference."},
};
#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))
#define WORDS_MAX 8

/* Words up to a NULL, parsed. argv must be writable, so it is copied. */
static bool
parse(struct cli *cli, const char *const *words, char *argv[WORDS_MAX + 2], struct err *err)
{
    static char texts[WORDS_MAX + 1][32];
    int argc = 1;
    static char program[] = "t";
    argv[0] = program;
    for (; words[argc - 1] != NULL; argc++) {
        assert_true(argc <= WORDS_MAX && strlen(words[argc - 1]) < sizeof(texts[0]));
        memcpy(texts[argc], words[argc - 1], strlen(words[argc - 1]) + 1);
        argv[argc] = texts[argc];
    }
    argv[argc] = NULL;
    return cli_parse(cli, argc, argv, verbs, VERB_COUNT, "/etc/t.yaml", err);
}

static void
good_command_lines_are_understood(void **state)
{
    (void)state;
    static const struct {
        const char *words[WORDS_MAX];
        const char *verb, *config;
        const char *arguments; /* joined by blanks */
    } cases[] = {
        {{NULL}, "run", "/etc/t.yaml", ""},
        {{"-c", "x", NULL}, "run", "x", ""},
        {{"check", "-c", "x", NULL}, "check", "x", ""},
        {{"-c", "x", "check", "--connect", NULL}, "check", "x", "--connect"},
        {{"check", "--connect", "-c", "x", NULL}, "check", "x", "--connect"},
        {{"-t", NULL}, "check", "/etc/t.yaml", ""},
        {{"-t", "-c", "x", "--connect", NULL}, "check", "x", "--connect"},
        {{"-V", NULL}, "version", "/etc/t.yaml", ""},
        {{"--version", NULL}, "version", "/etc/t.yaml", ""},
        {{"--reference", NULL}, "reference", "/etc/t.yaml", ""},
        {{"-h", NULL}, "help", "/etc/t.yaml", ""},
        {{"check", "--connect", "-h", NULL}, "help", "/etc/t.yaml", ""},
        {{"help", NULL}, "help", "/etc/t.yaml", ""},
        {{"help", "check", NULL}, "help", "/etc/t.yaml", "check"},
        {{"explain", "-c", "x", "/a", NULL}, "explain", "x", "/a"},
        {{"explain", "/a", "-c", "x", NULL}, "explain", "x", "/a"},
        {{"search", "--limit", "5", "a", NULL}, "search", "/etc/t.yaml", "--limit 5 a"},
        {{"search", "--", "-c", "-h", NULL}, "search", "/etc/t.yaml", "-- -c -h"},
        {{"state", "shwo", NULL}, "state", "/etc/t.yaml", "shwo"}, /* the verb's own business */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cli cli;
        struct err err;
        char *argv[WORDS_MAX + 2];
        char joined[128] = "";
        if (!parse(&cli, cases[i].words, argv, &err))
            fail_msg("case %zu: %s", i, err.text);
        size_t size = 0;
        for (int k = 0; k < cli.argument_count; k++) {
            size_t length = strlen(cli.arguments[k]);
            if (k > 0)
                joined[size++] = ' ';
            memcpy(joined + size, cli.arguments[k], length + 1);
            size += length;
        }
        assert_string_equal(cli.verb, cases[i].verb);
        assert_string_equal(cli.config_path, cases[i].config);
        assert_string_equal(joined, cases[i].arguments);
    }
}

static void
bad_command_lines_say_what_was_meant(void **state)
{
    (void)state;
    static const struct {
        const char *words[WORDS_MAX];
        const char *text;
    } cases[] = {
        {{"chekc", NULL}, "unknown command 'chekc'; did you mean 'check'?"},
        {{"xyzzy", NULL}, "unknown command 'xyzzy'; -h lists what there is"},
        {{"--frobnicate", NULL}, "unknown option '--frobnicate'; -h lists what there is"},
        {{"-c", NULL}, "-c needs a file"},
        {{"check", "-c", NULL}, "-c needs a file"},
        {{"run", "surplus", NULL}, "'run' takes no argument 'surplus'"},
        {{"run", "--surplus", NULL}, "unknown option '--surplus'; -h lists what there is"},
        {{"version", "1", NULL}, "'version' takes no argument '1'"},
        {{"check", "--conect", NULL}, "unknown option '--conect'; did you mean '--connect'?"},
        {{"explain", NULL}, "'explain' needs its argument: explain PATH"},
        {{"state", NULL}, "'state' needs its argument: state show|forget|set [PATH]"},
        {{"help", "chekc", NULL}, "unknown command 'chekc'; did you mean 'check'?"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cli cli;
        struct err err;
        char *argv[WORDS_MAX + 2];
        assert_false(parse(&cli, cases[i].words, argv, &err));
        assert_int_equal(err.action, ERR_CONFIG);
        assert_string_equal(err.text, cases[i].text);
    }
}

static void
help_knows_which_command_it_is_about(void **state)
{
    (void)state;
    static const char *const about_check[][4] = {
        {"help", "check", NULL}, {"check", "-h", NULL}, {"-t", "--help", NULL}};
    struct cli cli;
    struct err err;
    char *argv[WORDS_MAX + 2];
    for (size_t i = 0; i < 3; i++) {
        assert_true(parse(&cli, about_check[i], argv, &err));
        assert_string_equal(cli.verb, "help");
        assert_ptr_equal(cli.help_of, &verbs[1]);
    }
    static const char *const plain[] = {"-h", NULL};
    assert_true(parse(&cli, plain, argv, &err));
    assert_null(cli.help_of);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_command_lines_are_understood),
        cmocka_unit_test(bad_command_lines_say_what_was_meant),
        cmocka_unit_test(help_knows_which_command_it_is_about),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
