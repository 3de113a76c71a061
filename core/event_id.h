/* SPDX-License-Identifier: Apache-2.0 */
/* event_id.h: the record key, which is the document's _id, and what makes a repeat harmless.
 *     t1.<generation, 24 hex>.<offset, 16 hex>.<hash, 16 hex>
 * generation = 32 bits of birth seconds and 64 random bits; offset = first byte of the event in its
 * generation; hash = XXH3-64 of the event's raw bytes. Equal id means equal bytes. Thread safe. */
#ifndef CORE_EVENT_ID_H
#define CORE_EVENT_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"
#include "core/bounds.h"

#define GENERATION_TEXT_SIZE 24

struct generation_id {
    uint32_t birth_seconds;
    uint64_t random;
};

/* From getrandom(2): never blocks after boot, cannot repeat after fork or a VM copy made before
 * it. */
struct generation_id generation_id_new(void);
bool generation_id_equal(struct generation_id a, struct generation_id b);
void generation_id_format(struct generation_id id, char out[GENERATION_TEXT_SIZE]);
/* False when `text` does not begin with its lower-case hex digits. */
bool generation_id_parse(const char *text, struct generation_id *id);

/* Writes EVENT_ID_SIZE bytes and no terminator. */
void event_id_format(char out[EVENT_ID_SIZE], const char generation[GENERATION_TEXT_SIZE],
                     uint64_t offset, uint64_t hash);

/* True for a key whose writer promised that equal id means equal bytes: "t<digits>." and then 1 to
 * 500 bytes of [0-9a-zA-Z._-]; "t1." must have the exact form above or "t1.j.<16 hex>". Such a key
 * needs no JSON escaping and fits Elasticsearch's limit of 512 bytes for an _id. */
bool event_id_is_ours(const void *key, size_t size);

/* Writes "k1.<hash of cluster id and topic>.<partition>.<offset>.<timestamp>.<hash of value>" and a
 * terminator; the id of a record that somebody else wrote. Returns its size. */
#define FOREIGN_ID_MAX 128
size_t event_id_foreign(char out[FOREIGN_ID_MAX], const char *cluster_id, const char *topic,
                        int32_t partition, int64_t offset, int64_t timestamp_ms, const void *value,
                        size_t value_size);

/* True when `id` is one that event_id_foreign() makes for a record with this value, wherever that
 * record stood; then also its timestamp. So a record that is produced again may keep its id: what
 * the hash does not fit is not believed. */
bool event_id_foreign_fits(const void *id, size_t size, const void *value, size_t value_size,
                           int64_t *timestamp_ms) MUST_CHECK;

#endif
