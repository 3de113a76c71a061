/* SPDX-License-Identifier: Apache-2.0 */
/* document.c: see document.h. */
#include "sinks/document.h"

#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/clock.h"
#include "sinks/nest.h"
#include "sinks/record.h"

#define CHUNK_DOCUMENTS 256
#define CACHE_LINE 64
/* What librdkafka keeps for a message beside its bytes (measured at 2.0.2: an op of 240 bytes). */
#define MESSAGE_OVERHEAD 256
/* A converted value: the largest record a broker takes by far, six times escaped. */
#define CONVERTED_MAX (1024U * 1024 * 1024)

struct chunk {
    struct document documents[CHUNK_DOCUMENTS]; /* in front: the chunk is aligned for their sake */
    struct chunk *next;
};
/* aligned_alloc() wants whole lines. */
#define CHUNK_SIZE ((sizeof(struct chunk) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE)

void
document_list_append(struct document_list *list, struct document *document)
{
    document->next = NULL;
    if (list->tail == NULL)
        list->head = document;
    else
        list->tail->next = document;
    list->tail = document;
    list->count++;
    list->bytes += document->id_size + document->value_size;
}

struct document *
document_list_pop(struct document_list *list)
{
    struct document *document = list->head;
    if (document == NULL)
        return NULL;
    list->head = document->next;
    if (list->head == NULL)
        list->tail = NULL;
    list->count--;
    list->bytes -= document->id_size + document->value_size;
    document->next = NULL;
    return document;
}

void
document_list_join_front(struct document_list *list, struct document_list *other)
{
    if (other->head == NULL)
        return;
    other->tail->next = list->head;
    if (list->tail == NULL)
        list->tail = other->tail;
    list->head = other->head;
    list->count += other->count;
    list->bytes += other->bytes;
    *other = (struct document_list){0};
}

void
document_pool_init(struct document_pool *pool)
{
    *pool = (struct document_pool){0};
    buffer_init(&pool->scratch, CONVERTED_MAX);
}

void
document_pool_done(struct document_pool *pool)
{
    while (pool->chunks != NULL) {
        struct chunk *next = pool->chunks->next;
        free(pool->chunks);
        pool->chunks = next;
    }
    buffer_done(&pool->scratch);
    pool->free = NULL;
}

static bool
grow(struct document_pool *pool)
{
    struct chunk *chunk = aligned_alloc(CACHE_LINE, CHUNK_SIZE);
    if (chunk == NULL)
        return false;
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    for (size_t i = 0; i < CHUNK_DOCUMENTS; i++) {
        chunk->documents[i].next = pool->free;
        pool->free = &chunk->documents[i];
    }
    return true;
}

/* Gives the object in `scratch` the shape that the index template expects. */
static void
nest_scratch(struct document_pool *pool)
{
    struct buffer nested;
    buffer_init(&nested, CONVERTED_MAX);
    if (!nest_object(&nested, pool->scratch.bytes, pool->scratch.size)) {
        buffer_done(&nested);
        return;
    }
    buffer_done(&pool->scratch);
    pool->scratch = nested;
}

/* Makes the document's value of a record that cannot be taken as it is, and its id when the key
 * is none of ours. */
static bool
convert(struct document_pool *pool, struct document *document, const char *foreign_id)
{
    buffer_clear(&pool->scratch);
    bool object =
        record_convert(&pool->scratch, document->raw, document->raw_size, document->timestamp_ms);
    if (object && pool->nests && !pool->scratch.failed)
        nest_scratch(pool);
    if (pool->scratch.failed)
        return false;
    size_t size = pool->scratch.size;
    size_t id_size = document->id == NULL ? document->id_size : 0;
    document->own = malloc(size + id_size);
    if (document->own == NULL)
        return false;
    memcpy(document->own, pool->scratch.bytes, size);
    document->value = document->own;
    document->value_size = size;
    if (id_size > 0)
        document->id = memcpy(document->own + size, foreign_id, id_size);
    document->held += size + id_size;
    /* A rare giant must not stay in the scratch for ever. */
    if (pool->scratch.capacity > 4 * 1024 * 1024) {
        buffer_done(&pool->scratch);
        buffer_init(&pool->scratch, CONVERTED_MAX);
    }
    return true;
}

/* A record that was produced again, from its dead letter, says which id it had: in the header
 * that `dead-letters replay` writes, or in its key when somebody copied the letter. Its time too
 * is that of then, so that it becomes the same document in the same day's index. */
static bool
keep_id(struct document *document, char out[FOREIGN_ID_MAX])
{
    const void *id = document->key;
    size_t size = document->key_size;
    const void *value = document->raw;
    int64_t timestamp_ms;
    bool fits = event_id_foreign_fits(id, size, value, document->raw_size, &timestamp_ms);
    rd_kafka_headers_t *headers; /* the message's own */
    if (!fits && rd_kafka_message_headers(document->message, &headers) == 0 &&
        rd_kafka_header_get_last(headers, DOCUMENT_ID_HEADER, &id, &size) == 0)
        fits = event_id_foreign_fits(id, size, value, document->raw_size, &timestamp_ms);
    if (!fits)
        return false;
    memcpy(out, id, size);
    document->id_size = size;
    document->timestamp_ms = timestamp_ms;
    return true;
}

struct document *
document_new(struct document_pool *pool, struct consumer *consumer, const struct taken *taken)
{
    if (pool->free == NULL && !grow(pool))
        return NULL;
    rd_kafka_message_t *message = taken->message;
    rd_kafka_timestamp_type_t type;
    struct document *document = pool->free;
    struct document *rest = document->next;
    *document = (struct document){
        .message = message,
        .key = message->key,
        .key_size = message->key == NULL ? 0 : message->key_len,
        .raw = message->payload,
        .raw_size = message->payload == NULL ? 0 : message->len,
        .partition = taken->partition,
        .generation = taken->partition->generation,
        .sequence = taken->sequence,
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, &type),
    };
    document->held = sizeof(*document) + MESSAGE_OVERHEAD + document->key_size + document->raw_size;
    char foreign_id[FOREIGN_ID_MAX];
    bool ours = event_id_is_ours(document->key, document->key_size);
    if (ours) {
        document->id = document->key;
        document->id_size = document->key_size;
    } else if (!keep_id(document, foreign_id)) {
        document->id_size =
            event_id_foreign(foreign_id, consumer_cluster_id(consumer),
                             rd_kafka_topic_name(message->rkt), message->partition, message->offset,
                             document->timestamp_ms, document->raw, document->raw_size);
    }
    document->value = document->raw;
    document->value_size = document->raw_size;
    bool ready = ours && record_is_ready(document->raw, document->raw_size);
    if (!ready && !convert(pool, document, foreign_id)) {
        document->next = rest;
        return NULL;
    }
    pool->free = rest;
    return document;
}

void
document_free(struct document_pool *pool, struct document *document)
{
    if (document->message != NULL)
        rd_kafka_message_destroy(document->message);
    free(document->own);
    free(document->reason);
    document->next = pool->free;
    pool->free = document;
}

void
document_settle(struct document *document)
{
    if (document->message == NULL)
        return;
    bool converted = document->own != NULL;
    bool foreign = document->id != document->key;
    size_t size = document->key_size + document->raw_size + (converted ? document->value_size : 0) +
                  (foreign ? document->id_size : 0);
    char *block = malloc(size > 0 ? size : 1);
    if (block == NULL)
        return;
    char *raw = block + document->key_size;
    char *value = converted ? raw + document->raw_size : raw;
    if (document->key_size > 0)
        memcpy(block, document->key, document->key_size);
    if (document->raw_size > 0)
        memcpy(raw, document->raw, document->raw_size);
    if (converted)
        memcpy(value, document->value, document->value_size);
    if (foreign)
        document->id = memcpy(value + document->value_size, document->id, document->id_size);
    else
        document->id = block;
    document->key = document->key == NULL ? NULL : block;
    document->raw = document->raw == NULL ? NULL : raw;
    document->value = value;
    free(document->own);
    document->own = block;
    rd_kafka_message_destroy(document->message);
    document->message = NULL;
}

bool
document_is_late(const struct document *document)
{
    return document->generation != document->partition->generation;
}
