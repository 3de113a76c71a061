/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes of a topic become one line that is one JSON object. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "sinks/nest.h"
#include "sinks/record.h"
#include "sinks/rotate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_line(const struct buffer *line)
{
    static const yajl_callbacks none = {0};
    ASSERT(!line->failed);
    ASSERT(memchr(line->bytes, '\n', line->size) == NULL);
    yajl_handle parser = yajl_alloc(&none, NULL, NULL);
    ASSERT(parser != NULL);
    ASSERT(yajl_parse(parser, (const unsigned char *)line->bytes, line->size) == yajl_status_ok);
    ASSERT(yajl_complete_parse(parser) == yajl_status_ok);
    yajl_free(parser);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer out;
    buffer_init(&out, 64 * 1024 * 1024);
    ASSERT(!record_is_ready((const char *)data, size) || memchr(data, '\n', size) == NULL);
    bool object = record_convert(&out, (const char *)data, size, 1795241520123);
    check_line(&out);
    if (object) {
        struct buffer nested;
        buffer_init(&nested, 64 * 1024 * 1024);
        if (nest_object(&nested, out.bytes, out.size)) {
            check_line(&nested);
            (void)rotate_day(nested.bytes, nested.size, 1795241520123);
        }
        buffer_done(&nested);
    }
    (void)rotate_day(out.bytes, out.size, 1795241520123);
    buffer_done(&out);

    int64_t wall_ms;
    (void)!record_parse_time((const char *)data, size, &wall_ms);
    return 0;
}
