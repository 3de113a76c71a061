/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever the bytes of a configuration: it is loaded, or refused in one line that names the file;
 * what is loaded can be compared with itself. */
#include "core/options.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "sinks/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_sentence(const struct err *err)
{
    ASSERT(err->action == ERR_CONFIG);
    ASSERT(strncmp(err->text, "fuzz.yaml:", strlen("fuzz.yaml:")) == 0 ||
           strstr(err->text, "included") != NULL || strstr(err->text, "/") != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char empty[] = "";
    struct options *options = NULL;
    struct err err = {0};
    ASSERT(setenv("FUZZ_TOKEN", "s3cret", 1) == 0);
    /* Files of the machine have no place in here: an include of them would change with it. */
    if (memmem(data, size, "incl", 4) != NULL || memmem(data, size, "\\", 1) != NULL)
        return 0;
    if (!options_parse(&options, &sink_options_schema, "fuzz.yaml",
                       size > 0 ? (const char *)data : empty, size, &err)) {
        ASSERT(options == NULL);
        check_sentence(&err);
        ASSERT(strstr(err.text, "s3cret") == NULL || memmem(data, size, "s3cret", 6) != NULL);
        return 0;
    }
    const struct sink_options *root = options_root(options);
    if (!sink_options_check(options, &err))
        check_sentence(&err);
    for (size_t i = 0; i < root->route_count; i++)
        ASSERT(strlen(root->routes[i].topic) <= size * 8 + 4096);
    struct buffer names;
    buffer_init(&names, 65536);
    ASSERT(!options_need_restart(options, options, &names));
    ASSERT(names.size == 0);
    buffer_done(&names);
    options_free(options);
    return 0;
}
