/* SPDX-License-Identifier: Apache-2.0 */
/* explain.h: why a file is read or not, in sentences for people. */
#ifndef AGENT_EXPLAIN_H
#define AGENT_EXPLAIN_H

#include <stdbool.h>
#include <sys/stat.h>

#include "agent/options.h"
#include "core/buffer.h"

/* What there is to say of a path for every input. */
struct explain {
    const char *path;
    const char *state_dir;
    struct stat about;
    int open_error; /* errno of the attempt to open it; 0: it can be read */
};

/* False with one line why: it is not there, or no regular file; what it would be is asked of the
 * inputs nevertheless. */
bool explain_init(struct explain *explain, const char *state_dir, const char *path,
                  struct buffer *out);
/* Appends one line; true when the input reads the file, or would if it could. */
bool explain_input(const struct explain *explain, const struct agent_files_options *input,
                   const char *topic, struct buffer *out);

/* "Permission denied for user nobody (65534)" */
void explain_errno(int number, struct buffer *out);

#endif
