/* SPDX-License-Identifier: Apache-2.0 */
/* cutter.c: see cutter.h. */
#include "agent/cutter.h"

#include <string.h>

#include "core/assert.h"
#include "core/encode.h"

#define CHARACTER_SIZE_MAX 4 /* UTF-8: fewer bytes may be a character's beginning */

enum cut_result
cutter_next(const char *bytes, size_t size, bool mid_line, bool ends, size_t part_max, char *out,
            size_t out_max, struct cut_event *event)
{
    ASSERT(part_max >= ENCODE_GROWTH_MAX);
    ASSERT(event != NULL);

    const char *newline = size == 0 ? NULL : memchr(bytes, '\n', size);
    size_t line = newline == NULL ? size : (size_t)(newline - bytes);
    bool complete = newline != NULL || ends;
    if (!complete && size < part_max / ENCODE_GROWTH_MAX)
        return CUT_MORE; /* cannot have grown to a part */
    *event = (struct cut_event){.size = line, .taken = newline == NULL ? line : line + 1};
    if (line == 0)
        return newline == NULL ? CUT_MORE : CUT_EMPTY;

    size_t limit = part_max < out_max ? part_max : out_max;
    struct encode_result done = encode_json(out, limit, bytes, line);
    event->escaped = done.written;
    event->repaired = done.repaired;
    event->part = mid_line;
    if (done.taken == line)
        return complete ? CUT_EVENT : CUT_MORE;
    if (limit < part_max)
        return CUT_ROOM;
    if (!complete && line - done.taken < CHARACTER_SIZE_MAX)
        return CUT_MORE; /* the character that did not fit may not be whole */
    event->size = done.taken;
    event->taken = done.taken;
    event->part = true;
    return CUT_EVENT;
}
