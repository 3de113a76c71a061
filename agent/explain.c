/* SPDX-License-Identifier: Apache-2.0 */
/* explain.c: see explain.h. */
#include "agent/explain.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "agent/inputs/glob.h"
#include "agent/inputs/input.h"
#include "agent/reader.h"
#include "core/clock.h"

#define PASSWD_TEXT_MAX 4096 /* an entry of the user database */

void
explain_errno(int number, struct buffer *out)
{
    buffer_text(out, strerror(number));
    if (number != EACCES && number != EPERM)
        return;
    struct passwd entry;
    struct passwd *found = NULL;
    char text[PASSWD_TEXT_MAX];
    if (getpwuid_r(geteuid(), &entry, text, sizeof(text), &found) != 0)
        found = NULL;
    buffer_format(out, " for user %s (%u)", found == NULL ? "without a name" : found->pw_name,
                  (unsigned)geteuid());
}

/* Which of its folders is the first that is missing or cannot be looked into? */
static void
explain_way(const char *path, int number, struct buffer *out)
{
    char folder[PATH_MAX];
    struct stat about;
    size_t size = strlen(path);
    if (size >= sizeof(folder))
        return;
    memcpy(folder, path, size + 1);
    for (size_t at = 1; at < size; at++) {
        if (folder[at] != '/')
            continue;
        folder[at] = '\0';
        bool missing = stat(folder, &about) != 0;
        if (missing || !S_ISDIR(about.st_mode)) {
            buffer_format(out, "; the folder '%s': ", folder);
            if (missing)
                explain_errno(errno, out);
            else
                buffer_text(out, "it is none");
            return;
        }
        if (number == EACCES && access(folder, X_OK) != 0) {
            buffer_format(out, "; the folder '%s' may not be entered: give the user x on it",
                          folder);
            return;
        }
        folder[at] = '/';
    }
}

bool
explain_init(struct explain *explain, const char *state_dir, const char *path, struct buffer *out)
{
    *explain = (struct explain){.path = path, .state_dir = state_dir};
    struct stat link;
    if (stat(path, &explain->about) != 0) {
        int number = errno;
        explain->about = (struct stat){0};
        buffer_format(out, "%s: ", path);
        explain_errno(number, out);
        if (number == ENOENT && lstat(path, &link) == 0)
            buffer_text(out, "; it is a link that leads nowhere");
        else
            explain_way(path, number, out);
        buffer_text(out, "\n");
        return false;
    }
    if (S_ISDIR(explain->about.st_mode)) {
        buffer_format(out,
                      "%s: it is a folder, and no regular file: name its files, as in '%s/*.log'\n",
                      path, path);
        return false;
    }
    if (!S_ISREG(explain->about.st_mode)) {
        buffer_format(out, "%s: it is a %s, and no regular file: it is not read\n", path,
                      S_ISFIFO(explain->about.st_mode)   ? "pipe"
                      : S_ISSOCK(explain->about.st_mode) ? "socket"
                                                         : "device");
        return false;
    }
    int fd = reader_open(path);
    if (fd < 0)
        explain->open_error = errno;
    else
        (void)close(fd);
    return true;
}

/* The first pattern that takes the path; NULL: none. */
static const char *
matching_pattern(const struct agent_files_options *input, const char *path)
{
    for (size_t i = 0; i < input->paths.count; i++)
        if (glob_match(input->paths.items[i], path))
            return input->paths.items[i];
    return NULL;
}

static const char *
excluding_pattern(const struct agent_files_options *input, const char *path)
{
    for (size_t i = 0; i < input->exclude.count; i++)
        if (glob_excludes(input->exclude.items[i], path))
            return input->exclude.items[i];
    return NULL;
}

bool
explain_input(const struct explain *explain, const struct agent_files_options *input,
              const char *topic, struct buffer *out)
{
    const char *refusal = input_refuses(input, explain->state_dir, explain->path);
    const char *pattern = matching_pattern(input, explain->path);
    const char *excluding = excluding_pattern(input, explain->path);
    bool missing = explain->about.st_mode == 0;
    int64_t age_ms = clock_wall_ms() - (int64_t)explain->about.st_mtim.tv_sec * 1000;
    buffer_format(out, "input '%s'", input->name);
    if (pattern == NULL) {
        buffer_text(out, ": no path matches\n");
        return false;
    }
    buffer_format(out, ": '%s' matches", pattern);
    if (refusal != NULL) {
        buffer_format(out, ", but %s", refusal);
        if (excluding != NULL)
            buffer_format(out, " by '%s'", excluding);
        buffer_text(out, "\n");
        return false;
    }
    if (missing || !S_ISREG(explain->about.st_mode)) {
        buffer_text(out, ": a regular file there would be read\n");
        return false;
    }
    if (input->ignore_older > 0 && age_ms > (int64_t)input->ignore_older) {
        buffer_format(out,
                      ", but it was not written for %lld s, longer than ignore_older: it is read "
                      "when it is written again, or if it is known\n",
                      (long long)age_ms / 1000);
        return false;
    }
    if (explain->open_error == 0) {
        buffer_format(out, ": reads it into topic '%s'\n", topic);
        return true;
    }
    buffer_text(out, " and would read it, but cannot: ");
    explain_errno(explain->open_error, out);
    if (explain->open_error == EACCES)
        buffer_text(out, "; add the user to the file's group (often adm)");
    buffer_text(out, "\n");
    return true;
}
