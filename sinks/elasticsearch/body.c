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

bool
body_builder_init(struct body_builder *builder, struct err *err)
{
    builder->compressor = libdeflate_alloc_compressor(GZIP_LEVEL);
    if (builder->compressor == NULL)
        return err_set(err, ERR_STOP, 0, "cannot allocate a compressor: out of memory");
    buffer_init(&builder->plain, BODY_SIZE_MAX);
    return true;
}

void
body_builder_done(struct body_builder *builder)
{
    if (builder->compressor != NULL)
        libdeflate_free_compressor(builder->compressor);
    builder->compressor = NULL;
    buffer_done(&builder->plain);
}

static char *
put(char *out, const char *bytes, size_t size)
{
    memcpy(out, bytes, size);
    return out + size;
}

/* The lines of one item. Ids and index names are free of what JSON would escape. */
static void
append_item(struct buffer *out, const struct output_item *item, const char *default_index)
{
    bool names_index = item->index != default_index && strcmp(item->index, default_index) != 0;
    size_t index_size = names_index ? strlen(item->index) : 0;
    size_t size = sizeof(ACTION_HEAD) + sizeof(ACTION_INDEX) + sizeof(ACTION_TAIL) + item->id_size +
                  index_size + item->value_size + 1;
    char *start = buffer_reserve(out, size);
    if (start == NULL)
        return;
    char *end = put(start, ACTION_HEAD, sizeof(ACTION_HEAD) - 1);
    end = put(end, item->id, item->id_size);
    if (names_index) {
        end = put(end, ACTION_INDEX, sizeof(ACTION_INDEX) - 1);
        end = put(end, item->index, index_size);
    }
    end = put(end, ACTION_TAIL, sizeof(ACTION_TAIL) - 1);
    end = put(end, item->value, item->value_size);
    *end++ = '\n';
    out->size += (size_t)(end - start);
}

bool
body_build(struct body_builder *builder, const struct output_bulk *bulk, bool gzip,
           struct buffer *out, struct err *err)
{
    ASSERT(bulk->item_count > 0);

    struct buffer *plain = gzip ? &builder->plain : out;
    buffer_clear(out);
    buffer_clear(plain);
    for (size_t i = 0; i < bulk->item_count; i++)
        append_item(plain, &bulk->items[i], bulk->items[0].index);
    if (plain->failed)
        return err_set(err, ERR_REJECT, 0, "cannot build a bulk of %zu bytes: no memory for it",
                       bulk->value_bytes);
    if (!gzip)
        return true;

    size_t room_size = libdeflate_gzip_compress_bound(builder->compressor, plain->size);
    char *room = buffer_reserve(out, room_size);
    if (room == NULL)
        return err_set(err, ERR_REJECT, 0, "cannot compress a bulk of %zu bytes: no memory for it",
                       plain->size);
    out->size +=
        libdeflate_gzip_compress(builder->compressor, plain->bytes, plain->size, room, room_size);
    return true;
}
