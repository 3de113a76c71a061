/* SPDX-License-Identifier: Apache-2.0 */
/* assert.c: the last words of a process that met a bug. */
#include "core/assert.h"

#include <stdio.h>
#include <stdlib.h>

void
assert_failed(const char *expression, const char *file, int line, const char *function)
{
    fprintf(stderr, "<2>assertion failed: %s, in %s at %s:%d: this is a bug in tailrace\n",
            expression, function, file, line);
    abort();
}
