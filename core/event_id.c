/* SPDX-License-Identifier: Apache-2.0 */
/* event_id.c: see event_id.h. */
#include "core/event_id.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <xxhash.h>

#include "core/assert.h"

#define KEY_TAIL_MAX 500 /* Elasticsearch refuses an _id above 512 bytes */
#define OFFSET_TEXT_SIZE 16
#define HASH_TEXT_SIZE 16
#define HEX_STEP 16

_Static_assert(EVENT_ID_SIZE ==
                   3 + GENERATION_TEXT_SIZE + 1 + OFFSET_TEXT_SIZE + 1 + HASH_TEXT_SIZE,
               "the key is t1.<generation>.<offset>.<hash>");
_Static_assert(OFFSET_TEXT_SIZE == HEX_STEP && HASH_TEXT_SIZE == HEX_STEP &&
                   GENERATION_TEXT_SIZE >= HEX_STEP,
               "digits are checked by sixteen");

/* `digits` lower-case hex digits of the value, most significant first. */
static void
put_hex(char *out, uint64_t value, int digits)
{
    static const char hex[] = "0123456789abcdef";
    for (int i = digits - 1; i >= 0; i--) {
        out[i] = hex[value & 15];
        value >>= 4;
    }
}

struct generation_id
generation_id_new(void)
{
    struct generation_id id = {.birth_seconds = (uint32_t)time(NULL)};
    size_t filled = 0;
    while (filled < sizeof(id.random)) {
        ssize_t got = getrandom((char *)&id.random + filled, sizeof(id.random) - filled, 0);
        ASSERT(got > 0 || errno == EINTR);
        if (got > 0)
            filled += (size_t)got;
    }
    return id;
}

bool
generation_id_equal(struct generation_id a, struct generation_id b)
{
    return a.random == b.random && a.birth_seconds == b.birth_seconds;
}

void
generation_id_format(struct generation_id id, char out[GENERATION_TEXT_SIZE])
{
    put_hex(out, id.birth_seconds, 8);
    put_hex(out + 8, id.random, 16);
}

bool
generation_id_parse(const char *text, struct generation_id *id)
{
    char digits[GENERATION_TEXT_SIZE + 1] = "";
    if (strspn(text, "0123456789abcdef") < GENERATION_TEXT_SIZE)
        return false;
    memcpy(digits, text, GENERATION_TEXT_SIZE);
    id->random = strtoull(digits + 8, NULL, 16);
    digits[8] = '\0';
    id->birth_seconds = (uint32_t)strtoul(digits, NULL, 16);
    return true;
}

void
event_id_format(char out[EVENT_ID_SIZE], const char generation[GENERATION_TEXT_SIZE],
                uint64_t offset, uint64_t hash)
{
    memcpy(out, "t1.", 3);
    memcpy(out + 3, generation, GENERATION_TEXT_SIZE);
    out[3 + GENERATION_TEXT_SIZE] = '.';
    put_hex(out + 4 + GENERATION_TEXT_SIZE, offset, OFFSET_TEXT_SIZE);
    out[4 + GENERATION_TEXT_SIZE + OFFSET_TEXT_SIZE] = '.';
    put_hex(out + 5 + GENERATION_TEXT_SIZE + OFFSET_TEXT_SIZE, hash, HASH_TEXT_SIZE);
}

/* Sixteen digits at once and no branch for each, which compilers turn into a few vector
 * instructions: a sink asks this of every record. */
static bool
are_hex(const char text[HEX_STEP])
{
    unsigned char others = 0;
    for (size_t i = 0; i < HEX_STEP; i++)
        others |= ((unsigned char)(text[i] - '0') > 9) & ((unsigned char)(text[i] - 'a') > 5);
    return others == 0;
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_id_byte(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '_' || c == '-';
}

/* The grammar of version 1: a file's event or a journal's. */
static bool
is_version_one(const char *key, size_t size)
{
    if (size == 3 + 2 + HASH_TEXT_SIZE && memcmp(key + 3, "j.", 2) == 0)
        return are_hex(key + 5);
    if (size != EVENT_ID_SIZE)
        return false;
    const char *offset = key + 3 + GENERATION_TEXT_SIZE;
    const char *hash = offset + 1 + OFFSET_TEXT_SIZE;
    return are_hex(key + 3) && are_hex(key + 3 + GENERATION_TEXT_SIZE - HEX_STEP) &&
           *offset == '.' && are_hex(offset + 1) && *hash == '.' && are_hex(hash + 1);
}

bool
event_id_is_ours(const void *key, size_t size)
{
    const char *text = key;
    if (text == NULL || size < 4 || text[0] != 't' || !is_digit(text[1]))
        return false;
    size_t dot = 1;
    while (dot < size && dot < 8 && is_digit(text[dot]))
        dot++;
    if (dot == size || text[dot] != '.')
        return false;
    if (dot == 2 && text[1] == '1')
        return is_version_one(text, size);

    size_t tail = size - dot - 1;
    if (tail == 0 || tail > KEY_TAIL_MAX)
        return false;
    for (size_t i = dot + 1; i < size; i++)
        if (!is_id_byte(text[i]))
            return false;
    return true;
}

size_t
event_id_foreign(char out[FOREIGN_ID_MAX], const char *cluster_id, const char *topic,
                 int32_t partition, int64_t offset, int64_t timestamp_ms, const void *value,
                 size_t value_size)
{
    ASSERT(cluster_id != NULL);
    ASSERT(topic != NULL);

    XXH64_hash_t cluster = XXH3_64bits(cluster_id, strlen(cluster_id));
    XXH64_hash_t origin = XXH3_64bits_withSeed(topic, strlen(topic), cluster);
    XXH64_hash_t content = value == NULL ? 0 : XXH3_64bits(value, value_size);
    int size = snprintf(out, FOREIGN_ID_MAX, "k1.%016llx.%d.%lld.%lld.%016llx",
                        (unsigned long long)origin, partition, (long long)offset,
                        (long long)timestamp_ms, (unsigned long long)content);
    ASSERT(size > 0 && size < FOREIGN_ID_MAX);
    return (size_t)size;
}

/* A decimal number as printf writes it, and the dot behind it. False when there is none. */
static bool
read_part(const char **at, int64_t *out)
{
    const char *text = *at;
    bool minus = *text == '-';
    const char *digits = text + (minus ? 1 : 0);
    size_t count = 0;
    while (is_digit(digits[count]))
        count++;
    bool padded = digits[0] == '0' && (count > 1 || minus);
    if (count == 0 || count > 18 || padded || digits[count] != '.')
        return false;
    *out = strtoll(text, NULL, 10);
    *at = digits + count + 1;
    return true;
}

bool
event_id_foreign_fits(const void *id, size_t size, const void *value, size_t value_size,
                      int64_t *timestamp_ms)
{
    char text[FOREIGN_ID_MAX];
    if (id == NULL || size < 3 + HASH_TEXT_SIZE + 1 || size >= sizeof(text))
        return false;
    memcpy(text, id, size);
    text[size] = '\0';
    const char *at = text + 3 + HASH_TEXT_SIZE;
    if (memcmp(text, "k1.", 3) != 0 || !are_hex(text + 3) || *at++ != '.')
        return false;
    int64_t partition;
    int64_t offset;
    if (!read_part(&at, &partition) || !read_part(&at, &offset) || !read_part(&at, timestamp_ms))
        return false;
    char hash[HASH_TEXT_SIZE];
    put_hex(hash, value == NULL ? 0 : XXH3_64bits(value, value_size), HASH_TEXT_SIZE);
    return at + HASH_TEXT_SIZE == text + size && memcmp(at, hash, HASH_TEXT_SIZE) == 0;
}
