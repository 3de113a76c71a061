/* SPDX-License-Identifier: Apache-2.0 */
/* journal.c: see journal.h. */
#include "agent/journal.h"

#include <string.h>
#include <xxhash.h>

#include "core/assert.h"
#include "core/buffer.h"

static const unsigned char magic[4] = {0xF5, 'T', 'r', '\n'};

#define CHECKED_FROM 4 /* type, reserved, size */
#define CHECKED_SIZE 8
#define CHECKSUM_AT 12

static void
put_little(unsigned char *out, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        out[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t
take_little(const unsigned char *bytes, unsigned count)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static uint64_t
checksum(const unsigned char *header, const void *payload, size_t size)
{
    return XXH3_64bits_withSeed(payload, size, XXH3_64bits(header + CHECKED_FROM, CHECKED_SIZE));
}

void
journal_append(struct buffer *out, uint16_t type, const void *payload, uint32_t size)
{
    ASSERT(size <= JOURNAL_RECORD_MAX);

    unsigned char header[JOURNAL_HEADER_SIZE] = {0};
    memcpy(header, magic, sizeof(magic));
    put_little(header + 4, type, 2);
    put_little(header + 8, size, 4);
    put_little(header + CHECKSUM_AT, checksum(header, payload, size), 8);
    buffer_append(out, header, sizeof(header));
    buffer_append(out, payload, size);
}

void
journal_reader_init(struct journal_reader *reader, const void *bytes, size_t size)
{
    *reader = (struct journal_reader){.bytes = bytes, .size = size};
}

/* A whole record at `at`. */
static bool
record_at(const struct journal_reader *reader, size_t at, struct journal_record *out)
{
    size_t left = reader->size - at;
    const unsigned char *header = reader->bytes + at;
    if (left < JOURNAL_HEADER_SIZE || memcmp(header, magic, sizeof(magic)) != 0)
        return false;
    uint64_t size = take_little(header + 8, 4);
    if (size > JOURNAL_RECORD_MAX || size > left - JOURNAL_HEADER_SIZE)
        return false;
    const unsigned char *payload = header + JOURNAL_HEADER_SIZE;
    if (take_little(header + CHECKSUM_AT, 8) != checksum(header, payload, (size_t)size))
        return false;
    *out = (struct journal_record){(uint16_t)take_little(header + 4, 2), payload, (uint32_t)size};
    return true;
}

bool
journal_next(struct journal_reader *reader, struct journal_record *out)
{
    ASSERT(reader->at <= reader->size);

    size_t start = reader->at;
    while (reader->at < reader->size) {
        if (record_at(reader, reader->at, out)) {
            if (reader->at > start) {
                reader->damaged += reader->at - start;
                reader->holes++;
            }
            reader->at += JOURNAL_HEADER_SIZE + out->size;
            reader->whole = reader->at;
            return true;
        }
        const unsigned char *next = NULL;
        if (reader->at + 1 < reader->size)
            next = memchr(reader->bytes + reader->at + 1, magic[0], reader->size - reader->at - 1);
        reader->at = next == NULL ? reader->size : (size_t)(next - reader->bytes);
    }
    /* Zeros at the end are preallocated room, not damage. */
    size_t end = reader->size;
    while (end > start && reader->bytes[end - 1] == 0)
        end--;
    while (start < end && reader->bytes[start] == 0)
        start++;
    if (end > start) {
        reader->damaged += end - start;
        reader->holes++;
    }
    return false;
}

uint64_t
journal_take_number(struct journal_fields *fields, unsigned bytes)
{
    ASSERT(bytes <= 8);

    if (fields->left < bytes) {
        fields->failed = true;
        fields->left = 0;
        return 0;
    }
    uint64_t value = take_little(fields->at, bytes);
    fields->at += bytes;
    fields->left -= bytes;
    return value;
}

void
journal_take_text(struct journal_fields *fields, char *out, size_t out_max)
{
    ASSERT(out_max > 0);

    size_t size = (size_t)journal_take_number(fields, 2);
    if (fields->failed || size > fields->left || size >= out_max ||
        (size > 0 && memchr(fields->at, '\0', size) != NULL)) {
        fields->failed = true;
        out[0] = '\0';
        return;
    }
    memcpy(out, fields->at, size);
    out[size] = '\0';
    fields->at += size;
    fields->left -= size;
}

void
journal_put_number(struct buffer *out, uint64_t value, unsigned bytes)
{
    unsigned char raw[8];
    ASSERT(bytes <= sizeof(raw));
    put_little(raw, value, bytes);
    buffer_append(out, raw, bytes);
}

void
journal_put_text(struct buffer *out, const char *text)
{
    size_t size = strlen(text);
    ASSERT(size < 65536);
    journal_put_number(out, size, 2);
    buffer_append(out, text, size);
}
