/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_glob.c: any pattern on any path; a zero byte or newline parts them. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/inputs/glob.h"
#include "core/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size > 4096)
        return 0;
    char *text = malloc(size + 2);
    if (text == NULL)
        return 0;
    memcpy(text, bytes, size);
    text[size] = '\0';
    text[size + 1] = '\0';
    char *path = text + strcspn(text, "\n");
    if (*path == '\n')
        *path++ = '\0';
    (void)glob_match(text, path);
    (void)glob_excludes(text, path);
    /* A path without pattern bytes matches itself. */
    if (path[strcspn(path, "*?[\\")] == '\0')
        ASSERT(glob_match(path, path));
    free(text);
    return 0;
}
