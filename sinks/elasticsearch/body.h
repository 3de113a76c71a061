/* SPDX-License-Identifier: Apache-2.0 */
/* body.h: the NDJSON body of a bulk. Plain, it is never in memory as a whole: a cursor copies it
 * piece by piece from the records to where it is sent from. For gzip it is put together and
 * compressed at once; compressor and plain text are reused for all bulks. */
#ifndef SINKS_ELASTICSEARCH_BODY_H
#define SINKS_ELASTICSEARCH_BODY_H

#include <stdbool.h>

#include "core/buffer.h"
#include "core/err.h"
#include "sinks/output.h"

/* Above any bulk.size; a single document may be larger than a bulk, but no server takes this. */
#define BODY_SIZE_MAX (512U * 1024 * 1024)

/* Where in the body the next byte comes from. The bulk's items are borrowed. */
struct body_cursor {
    const struct output_bulk *bulk;
    size_t item;
    size_t offset; /* bytes of this item's lines that were read already */
};

/* For an address that names the first item's index; other items name their own. */
size_t body_size(const struct output_bulk *bulk);
void body_rewind(struct body_cursor *cursor, const struct output_bulk *bulk);
/* Copies the next bytes, at most `room`. How many; 0 at the end. */
size_t body_read(struct body_cursor *cursor, char *out, size_t room);

struct libdeflate_compressor;
struct body_zipper {
    struct libdeflate_compressor *compressor; /* owned */
    struct buffer plain;
};

bool body_zipper_init(struct body_zipper *zipper, struct err *err) MUST_CHECK;
void body_zipper_done(struct body_zipper *zipper);

/* Writes the compressed body. False with ERR_REJECT when the plain one is larger than
 * BODY_SIZE_MAX or memory is short. */
bool body_zip(struct body_zipper *zipper, const struct output_bulk *bulk, struct buffer *out,
              struct err *err) MUST_CHECK;

#endif
