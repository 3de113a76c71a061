/* SPDX-License-Identifier: Apache-2.0 */
/* journal.h: the form of the state file: checksummed records, one behind the other.
 *     magic 4 | type 2 | reserved 2 | size 4 | checksum 8 | payload of `size`
 * little endian; checksum = XXH3-64 of type, reserved, size and payload. A reader that meets
 * damage looks for the next record that is whole, and counts what it passed. Pure, no allocation
 * but the buffer's. */
#ifndef AGENT_JOURNAL_H
#define AGENT_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buffer;

#define JOURNAL_RECORD_MAX 16384 /* a path, an input's name, the checkpoints */
#define JOURNAL_HEADER_SIZE 20

struct journal_record {
    uint16_t type;
    const unsigned char *payload; /* borrowed from the bytes read */
    uint32_t size;
};

struct journal_reader {
    const unsigned char *bytes;
    size_t size;
    size_t at;
    size_t damaged; /* bytes passed over, in `holes` places */
    size_t holes;
    size_t whole; /* end of the last whole record */
};

void journal_append(struct buffer *out, uint16_t type, const void *payload, uint32_t size);
void journal_reader_init(struct journal_reader *reader, const void *bytes, size_t size);
bool journal_next(struct journal_reader *reader, struct journal_record *out);

/* Fields of a payload. A `take` beyond the end gives zeros and latches `failed`. */
struct journal_fields {
    const unsigned char *at;
    size_t left;
    bool failed;
};
uint64_t journal_take_number(struct journal_fields *fields, unsigned bytes);
/* A text of at most `out_max` - 1 bytes; terminated. */
void journal_take_text(struct journal_fields *fields, char *out, size_t out_max);
void journal_put_number(struct buffer *out, uint64_t value, unsigned bytes);
void journal_put_text(struct buffer *out, const char *text);

#endif
