/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes of a topic become one line that is one JSON object. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "sinks/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const yajl_callbacks none = {0};
    struct buffer out;
    buffer_init(&out, 64 * 1024 * 1024);
    (void)record_convert(&out, (const char *)data, size, 1795241520123);
    ASSERT(!out.failed);
    ASSERT(memchr(out.bytes, '\n', out.size) == NULL);
    yajl_handle parser = yajl_alloc(&none, NULL, NULL);
    ASSERT(parser != NULL);
    ASSERT(yajl_parse(parser, (const unsigned char *)out.bytes, out.size) == yajl_status_ok);
    ASSERT(yajl_complete_parse(parser) == yajl_status_ok);
    yajl_free(parser);
    buffer_done(&out);

    int64_t wall_ms;
    (void)!record_parse_time((const char *)data, size, &wall_ms);
    return 0;
}
