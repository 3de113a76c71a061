/* SPDX-License-Identifier: Apache-2.0 */
/* explain.c: see explain.h. */
#include "agent/explain.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "agent/inputs/files.h"
#include "agent/inputs/glob.h"
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

bool
explain_init(struct explain *explain, const char *state_dir, const char *path, struct buffer *out)
{
    *explain = (struct explain){.path = path, .state_dir = state_dir};
    if (stat(path, &explain->about) != 0) {
        buffer_format(out, "%s: ", path);
        explain_errno(errno, out);
        buffer_text(out, "\n");
        return false;
    }
    if (!S_ISREG(explain->about.st_mode)) {
        buffer_text(out, "it is no regular file and is not read\n");
        return false;
    }
    int fd = reader_open(path);
    if (fd < 0)
        explain->open_error = errno;
    else
        (void)close(fd);
    return true;
}

bool
explain_input(const struct explain *explain, const struct agent_files_options *input,
              const char *topic, struct buffer *out)
{
    const char *refusal = input_refuses(input, explain->state_dir, explain->path);
    bool matched = false;
    for (size_t i = 0; i < input->paths.count; i++)
        matched |= glob_match(input->paths.items[i], explain->path);
    int64_t age_ms = clock_wall_ms() - (int64_t)explain->about.st_mtim.tv_sec * 1000;
    buffer_format(out, "input '%s'", input->name);
    if (!matched) {
        buffer_text(out, ": no path matches\n");
        return false;
    }
    if (refusal != NULL) {
        buffer_format(out, ": matches, but %s\n", refusal);
        return false;
    }
    if (input->ignore_older > 0 && age_ms > (int64_t)input->ignore_older) {
        buffer_text(out, ": matches, but it was not written for longer than ignore_older (read on "
                         "if it is known)\n");
        return false;
    }
    if (explain->open_error == 0) {
        buffer_format(out, ": reads it into topic '%s'\n", topic);
        return true;
    }
    buffer_text(out, " would read it, but cannot: ");
    explain_errno(explain->open_error, out);
    if (explain->open_error == EACCES)
        buffer_text(out, "; add the user to the file's group (often adm)");
    buffer_text(out, "\n");
    return true;
}
