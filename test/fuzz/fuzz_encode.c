/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever the bytes: valid UTF-8 comes out, everything is taken given room, and a cut goes on
 * where it ended with the same result as no cut. */
#include "core/encode.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "core/assert.h"
#include "core/buffer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t room = (size_t)data[0] + ENCODE_GROWTH_MAX;
    const char *text = (const char *)data + 1;
    size--;

    size_t whole_max = size * ENCODE_GROWTH_MAX;
    char *whole = malloc(whole_max + 2);
    char *parts = malloc(whole_max + room);
    ASSERT(whole != NULL);
    ASSERT(parts != NULL);
    struct encode_result all = encode_json(whole + 1, whole_max, text, size);
    ASSERT(all.taken == size);

    size_t taken = 0;
    size_t written = 0;
    bool repaired = false;
    while (taken < size) {
        struct encode_result part = encode_json(parts + written, room, text + taken, size - taken);
        ASSERT(part.taken > 0);
        taken += part.taken;
        written += part.written;
        repaired |= part.repaired;
    }
    ASSERT(written == all.written);
    ASSERT(memcmp(whole + 1, parts, written) == 0);
    ASSERT(repaired == all.repaired);

    whole[0] = '"';
    whole[all.written + 1] = '"';
    struct buffer string;
    buffer_init(&string, whole_max + 2 + 65536 * ENCODE_GROWTH_MAX);
    encode_json_string(&string, text, size);
    ASSERT(!string.failed);
    ASSERT(string.size == all.written + 2);
    ASSERT(memcmp(string.bytes, whole, string.size) == 0);
    buffer_done(&string);
    yajl_handle parser = yajl_alloc(NULL, NULL, NULL); /* checks UTF-8 by default */
    yajl_config(parser, yajl_allow_partial_values, 0);
    ASSERT(yajl_parse(parser, (const unsigned char *)whole, all.written + 2) == yajl_status_ok);
    ASSERT(yajl_complete_parse(parser) == yajl_status_ok);
    yajl_free(parser);
    free(whole);
    free(parts);
    return 0;
}
