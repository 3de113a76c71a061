/* SPDX-License-Identifier: Apache-2.0 */
/* nest.c: see nest.h. The parser tells where each member of the outermost object ends; its bytes
 * are copied as they are, to what stays or to what moves. */
#include "sinks/nest.h"

#include <string.h>
#include <yajl/yajl_parse.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "sinks/index_fields.def"
#include "sinks/record.h"

#define TIMESTAMP "@timestamp"
/* One member may be nearly all of a record; conversion itself is bounded by its caller. */
#define PART_MAX ((size_t)256 * 1024 * 1024)

#define FIELD_NAME(name, mapping) name,
static const char *const known[] = {INDEX_FIELDS(FIELD_NAME)};

struct nesting {
    yajl_handle parser;
    const char *object;
    size_t depth;
    size_t from;                             /* where the member begins that comes next */
    size_t path_sizes[RECORD_DEPTH_MAX + 2]; /* by depth: of the names down to here, with dots */
    bool is_known;                           /* the name of the member */
    bool is_timestamp;                       /* that it is "@timestamp" */
    bool unindexable;                        /* something in what moves */
    bool timestamp_late;                     /* it is not the first member */
    struct buffer timestamp;
    struct buffer stays;
    struct buffer moves;
};

static void
append_member(struct buffer *out, const char *text, size_t size)
{
    if (out->size > 0)
        buffer_text(out, ",");
    buffer_append(out, text, size);
}

/* A value of the outermost object has ended. */
static void
end_member(struct nesting *nesting, bool scalar)
{
    size_t end = yajl_get_bytes_consumed(nesting->parser);
    const char *text = nesting->object + nesting->from;
    ASSERT(end > nesting->from);
    size_t size = end - nesting->from;
    size_t blank = 0;
    while (blank < size && strchr(" \t\r\n\v\f,{", text[blank]) != NULL)
        blank++;
    nesting->from = end;
    struct buffer *out = !scalar || !nesting->is_known ? &nesting->moves
                         : nesting->is_timestamp       ? &nesting->timestamp
                                                       : &nesting->stays;
    append_member(out, text + blank, size - blank);
    if (out == &nesting->timestamp && nesting->stays.size + nesting->moves.size > 0)
        nesting->timestamp_late = true;
}

static int
on_scalar(struct nesting *nesting, size_t size)
{
    bool moves = nesting->depth > 1 || !nesting->is_known;
    if (moves && size > NEST_TEXT_MAX)
        nesting->unindexable = true;
    if (nesting->depth == 1)
        end_member(nesting, true);
    return 1;
}

static int
on_null(void *context)
{
    return on_scalar(context, 0);
}

static int
on_boolean(void *context, int value)
{
    (void)value;
    return on_scalar(context, 0);
}

static int
on_number(void *context, const char *text, size_t size)
{
    (void)text;
    return on_scalar(context, size);
}

static int
on_string(void *context, const unsigned char *text, size_t size)
{
    (void)text;
    return on_scalar(context, size);
}

static int
on_key(void *context, const unsigned char *text, size_t size)
{
    struct nesting *nesting = context;
    size_t path_size = nesting->path_sizes[nesting->depth - 1] + size + 1;
    nesting->path_sizes[nesting->depth] = path_size;
    if (path_size > NEST_PATH_MAX || memchr(text, '\0', size) != NULL)
        nesting->unindexable = true;
    if (nesting->depth != 1)
        return 1;
    nesting->is_known = false;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]) && !nesting->is_known; i++)
        nesting->is_known = strlen(known[i]) == size && memcmp(known[i], text, size) == 0;
    nesting->is_timestamp = size == strlen(TIMESTAMP) && memcmp(text, TIMESTAMP, size) == 0;
    return 1;
}

static int
on_start(void *context)
{
    struct nesting *nesting = context;
    nesting->depth++;
    ASSERT(nesting->depth <= RECORD_DEPTH_MAX + 1);
    nesting->path_sizes[nesting->depth] = nesting->path_sizes[nesting->depth - 1];
    return 1;
}

static int
on_end(void *context)
{
    struct nesting *nesting = context;
    ASSERT(nesting->depth > 0);
    nesting->depth--;
    if (nesting->depth == 1)
        end_member(nesting, false);
    return 1;
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start,
    .yajl_map_key = on_key,
    .yajl_end_map = on_end,
    .yajl_start_array = on_start,
    .yajl_end_array = on_end,
};

static void
append_part(struct buffer *out, const struct buffer *part)
{
    if (part->failed)
        out->failed = true;
    if (part->size == 0)
        return;
    if (out->bytes[out->size - 1] != '{')
        buffer_text(out, ",");
    buffer_append(out, part->bytes, part->size);
}

static void
put_together(struct buffer *out, const struct nesting *nesting)
{
    buffer_text(out, "{");
    if (out->failed)
        return;
    append_part(out, &nesting->timestamp);
    append_part(out, &nesting->stays);
    if (out->failed)
        return;
    if (nesting->moves.size == 0 && !nesting->moves.failed) {
        buffer_text(out, "}");
        return;
    }
    if (out->bytes[out->size - 1] != '{')
        buffer_text(out, ",");
    buffer_text(out,
                nesting->unindexable ? "\"" NEST_FIELD_UNINDEXED "\":{" : "\"" NEST_FIELD "\":{");
    append_part(out, &nesting->moves);
    buffer_text(out, "}}");
}

bool
nest_object(struct buffer *out, const char *object, size_t size)
{
    struct nesting nesting = {.object = object};
    buffer_init(&nesting.timestamp, PART_MAX);
    buffer_init(&nesting.stays, PART_MAX);
    buffer_init(&nesting.moves, PART_MAX);
    nesting.parser = yajl_alloc(&callbacks, NULL, &nesting);
    bool moved = false;
    if (nesting.parser == NULL) {
        out->failed = true;
    } else if (yajl_parse(nesting.parser, (const unsigned char *)object, size) == yajl_status_ok) {
        moved = nesting.moves.size > 0 || nesting.moves.failed || nesting.timestamp_late;
        if (moved)
            put_together(out, &nesting);
    }
    if (nesting.parser != NULL)
        yajl_free(nesting.parser);
    buffer_done(&nesting.timestamp);
    buffer_done(&nesting.stays);
    buffer_done(&nesting.moves);
    return moved;
}
