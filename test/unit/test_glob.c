/* SPDX-License-Identifier: Apache-2.0 */
/* test_glob.c: agent/inputs/glob.c: the matcher, and the walk that must agree with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/inputs/glob.h"

struct match_case {
    const char *pattern, *path;
    bool matches;
};

static void
pattern_matches_what_it_says(void **unused)
{
    (void)unused;
    static const struct match_case cases[] = {
        {"/var/log/a.log", "/var/log/a.log", true},
        {"/var/log/*.log", "/var/log/a.log", true},
        {"/var/log/*.log", "/var/log/sub/a.log", false},
        {"/var/log/*.log", "/var/log/.hidden.log", false},
        {"/var/log/.*.log", "/var/log/.hidden.log", true},
        {"/var/*/a.log", "/var/log/a.log", true},
        {"/var/**/a.log", "/var/a.log", true},
        {"/var/**/a.log", "/var/x/y/z/a.log", true},
        {"/var/**/a.log", "/var/x/.git/a.log", false},
        {"/var/**/x/*.log", "/var/x/y/x/b.log", true},
        {"/**/b/**/d", "/a/b/c/b/d", true},
        {"/var/**", "/var/a/b", true},
        {"/var/**", "/var", false},
        {"/a?c", "/abc", true},
        {"/a?c", "/a/c", false},
        {"/[a-c]x", "/bx", true},
        {"/[a-c]x", "/dx", false},
        {"/[!a-c]x", "/dx", true},
        {"/[]a]x", "/]x", true},
        {"/[ax", "/[ax", true},
        {"/a\\*", "/a*", true},
        {"/a\\*", "/ab", false},
        {"/a*b*c*d", "/aXbYbZcWd", true},
        {"/a*b*c*d", "/aXbYbZcW", false},
        {"/app-*/*/std*", "/app-1/0/stderr", true},
        {"/app-*/*/std*", "/app-1/stderr", false},
        {"*.gz", "a.gz", true},
        {"/", "/a", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (glob_match(cases[i].pattern, cases[i].path) != cases[i].matches)
            fail_msg("%s on %s", cases[i].pattern, cases[i].path);
}

static void
exclude_without_slash_looks_at_the_name(void **unused)
{
    (void)unused;
    assert_true(glob_excludes("*.gz", "/var/log/a.gz"));
    assert_false(glob_excludes("log", "/var/log/a.gz"));
    assert_true(glob_excludes("/var/**/*.gz", "/var/log/a.gz"));
    assert_false(glob_excludes("/var/*.gz", "/var/log/a.gz"));
}

/* A bad matcher takes exponential time for this; it must end. */
static void
many_stars_take_no_exponential_time(void **unused)
{
    (void)unused;
    char name[2048] = "/";
    memset(name + 1, 'a', sizeof(name) - 2);
    assert_false(glob_match("/a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", name));
    char deep[4096] = "";
    for (size_t i = 0; i < 1000; i++)
        memcpy(deep + 2 * i, "/a", 3);
    assert_false(glob_match("/**/a/**/a/**/a/**/a/**/a/**/b", deep));
}

struct found {
    char paths[16][128];
    size_t count, folders;
};

static void
on_folder(void *context, const char *path)
{
    (void)path;
    ((struct found *)context)->folders++;
}

static void
on_file(void *context, const struct glob_found *entry)
{
    struct found *found = context;
    assert_true(found->count < 16);
    (void)snprintf(found->paths[found->count++], 128, "%s", entry->path);
}

static void
on_failed(void *context, const char *path, int number)
{
    (void)context;
    fail_msg("%s: %d", path, number);
}

static void
touch(const char *folder, const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    for (char *slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        (void)mkdir(path, 0755);
        *slash = '/';
    }
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    assert_true(fd >= 0);
    (void)close(fd);
}

static size_t
expand(const char *folder, const char *pattern, struct found *found)
{
    char whole[256];
    struct err err;
    *found = (struct found){0};
    struct glob_walk walk = {NULL, on_folder, on_file, on_failed, found};
    (void)snprintf(whole, sizeof(whole), "%s/%s", folder, pattern);
    assert_true(glob_expand(whole, &walk, &err));
    for (size_t i = 0; i < found->count; i++)
        assert_true(glob_match(whole, found->paths[i]));
    return found->count;
}

static void
walk_finds_what_the_matcher_matches(void **unused)
{
    (void)unused;
    char folder[] = "/tmp/test_glob.XXXXXX";
    assert_non_null(mkdtemp(folder));
    touch(folder, "a.log");
    touch(folder, "b.txt");
    touch(folder, "sub/c.log");
    touch(folder, "sub/deep/d.log");
    touch(folder, ".hidden/e.log");
    struct found found;
    assert_int_equal(expand(folder, "*.log", &found), 1);
    assert_int_equal(expand(folder, "**/*.log", &found), 3);
    assert_true(found.folders >= 3);
    assert_int_equal(expand(folder, "*/*.log", &found), 1);
    assert_int_equal(expand(folder, "sub/deep/d.log", &found), 1);
    assert_int_equal(expand(folder, "nothing/**/x", &found), 0);
    assert_int_equal(expand(folder, "**", &found), 4);
    char command[64];
    (void)snprintf(command, sizeof(command), "%s", folder);
    const char *paths[] = {
        "a.log", "b.txt",   "sub/c.log", "sub/deep/d.log", ".hidden/e.log", "sub/deep",
        "sub",   ".hidden", ""};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        char path[256];
        (void)snprintf(path, sizeof(path), "%s/%s", command, paths[i]);
        (void)remove(path);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pattern_matches_what_it_says),
        cmocka_unit_test(exclude_without_slash_looks_at_the_name),
        cmocka_unit_test(many_stars_take_no_exponential_time),
        cmocka_unit_test(walk_finds_what_the_matcher_matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
