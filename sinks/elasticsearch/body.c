/* SPDX-License-Identifier: Apache-2.0 */
/* body.c: see body.h. */
#include "sinks/elasticsearch/body.h"

#include <libdeflate.h>
#include <string.h>

#include "core/assert.h"

/* Log text shrinks to a tenth at the fastest level; the next levels cost twice the time for a
 * fifth. */
#define GZIP_LEVEL 1

#define ACTION_HEAD "{\"create\":{\"_id\":\""
#define ACTION_INDEX "\",\"_index\":\""
#define ACTION_TAIL "\"}}\n"
#define SIZE_OF(literal) (sizeof(literal) - 1)

/* NULL when the request's address names it already. */
static const char *
index_named(const struct output_bulk *bulk, const struct output_item *item)
{
    const char *known = bulk->items[0].index;
    return item->index == known || strcmp(item->index, known) == 0 ? NULL : item->index;
}

static size_t
item_size(const struct output_item *item, const char *index)
{
    size_t index_size = index == NULL ? 0 : SIZE_OF(ACTION_INDEX) + strlen(index);
    return SIZE_OF(ACTION_HEAD) + item->id_size + index_size + SIZE_OF(ACTION_TAIL) +
           item->value_size + 1;
}

size_t
body_size(const struct output_bulk *bulk)
{
    size_t size = 0;
    for (size_t i = 0; i < bulk->item_count; i++)
        size += item_size(&bulk->items[i], index_named(bulk, &bulk->items[i]));
    return size;
}

void
body_rewind(struct body_cursor *cursor, const struct output_bulk *bulk)
{
    *cursor = (struct body_cursor){.bulk = bulk};
}

static char *
put(char *out, const char *bytes, size_t size)
{
    memcpy(out, bytes, size);
    return out + size;
}

/* The lines of one item. Ids and index names are free of what JSON would escape. */
static char *
put_item(char *out, const struct output_item *item, const char *index)
{
    out = put(out, ACTION_HEAD, SIZE_OF(ACTION_HEAD));
    out = put(out, item->id, item->id_size);
    if (index != NULL) {
        out = put(out, ACTION_INDEX, SIZE_OF(ACTION_INDEX));
        out = put(out, index, strlen(index));
    }
    out = put(out, ACTION_TAIL, SIZE_OF(ACTION_TAIL));
    out = put(out, item->value, item->value_size);
    *out++ = '\n';
    return out;
}

/* What fits of an item's lines, from an offset in them. */
static char *
put_part(char *out, size_t room, const struct output_item *item, const char *index, size_t offset)
{
    const struct {
        const char *bytes;
        size_t size;
    } parts[] = {
        {ACTION_HEAD, SIZE_OF(ACTION_HEAD)},
        {item->id, item->id_size},
        {ACTION_INDEX, index == NULL ? 0 : SIZE_OF(ACTION_INDEX)},
        {index, index == NULL ? 0 : strlen(index)},
        {ACTION_TAIL, SIZE_OF(ACTION_TAIL)},
        {item->value, item->value_size},
        {"\n", 1},
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && room > 0; i++) {
        size_t skipped = offset < parts[i].size ? offset : parts[i].size;
        size_t rest = parts[i].size - skipped;
        size_t taken = rest < room ? rest : room;
        if (taken > 0)
            out = put(out, parts[i].bytes + skipped, taken);
        offset -= skipped;
        room -= taken;
    }
    return out;
}

size_t
body_read(struct body_cursor *cursor, char *out, size_t room)
{
    const struct output_bulk *bulk = cursor->bulk;
    char *end = out;
    while (cursor->item < bulk->item_count) {
        const struct output_item *item = &bulk->items[cursor->item];
        const char *index = index_named(bulk, item);
        size_t rest = item_size(item, index) - cursor->offset;
        size_t left = room - (size_t)(end - out);
        if (cursor->offset == 0 && rest <= left) {
            end = put_item(end, item, index);
            cursor->item++;
            continue;
        }
        if (end > out)
            break; /* it begins the next piece */
        end = put_part(end, left, item, index, cursor->offset);
        cursor->offset += (size_t)(end - out);
        if (rest > left)
            break;
        cursor->offset = 0;
        cursor->item++;
    }
    return (size_t)(end - out);
}

bool
body_zipper_init(struct body_zipper *zipper, struct err *err)
{
    zipper->compressor = libdeflate_alloc_compressor(GZIP_LEVEL);
    if (zipper->compressor == NULL)
        return err_set(err, ERR_STOP, 0, "cannot allocate a compressor: out of memory");
    buffer_init(&zipper->plain, BODY_SIZE_MAX);
    return true;
}

void
body_zipper_done(struct body_zipper *zipper)
{
    if (zipper->compressor != NULL)
        libdeflate_free_compressor(zipper->compressor);
    zipper->compressor = NULL;
    buffer_done(&zipper->plain);
}

bool
body_zip(struct body_zipper *zipper, const struct output_bulk *bulk, struct buffer *out,
         struct err *err)
{
    ASSERT(bulk->item_count > 0);

    struct body_cursor cursor;
    size_t plain_size = body_size(bulk);
    buffer_clear(out);
    buffer_clear(&zipper->plain);
    char *plain = buffer_reserve(&zipper->plain, plain_size);
    if (plain == NULL)
        return err_set(err, ERR_REJECT, 0, "cannot build a bulk of %zu bytes: no memory for it",
                       plain_size);
    body_rewind(&cursor, bulk);
    size_t read_size = body_read(&cursor, plain, plain_size);
    ASSERT(read_size == plain_size);

    size_t room_size = libdeflate_gzip_compress_bound(zipper->compressor, plain_size);
    char *room = buffer_reserve(out, room_size);
    if (room == NULL)
        return err_set(err, ERR_REJECT, 0, "cannot compress a bulk of %zu bytes: no memory for it",
                       plain_size);
    out->size += libdeflate_gzip_compress(zipper->compressor, plain, plain_size, room, room_size);
    return true;
}
