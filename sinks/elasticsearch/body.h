/* SPDX-License-Identifier: Apache-2.0 */
/* body.h: the NDJSON body of a bulk, plain or gzip. Compressor and plain text are reused for all
 * bulks. */
#ifndef SINKS_ELASTICSEARCH_BODY_H
#define SINKS_ELASTICSEARCH_BODY_H

#include <stdbool.h>

#include "core/buffer.h"
#include "core/err.h"
#include "sinks/output.h"

/* Above any bulk.size; a single document may be larger than a bulk, but no server takes this. */
#define BODY_SIZE_MAX (512U * 1024 * 1024)

struct libdeflate_compressor;
struct body_builder {
    struct libdeflate_compressor *compressor; /* owned */
    struct buffer plain;
};

bool body_builder_init(struct body_builder *builder, struct err *err) MUST_CHECK;
void body_builder_done(struct body_builder *builder);

/* Writes the body of all items for an address that names the first item's index. False with
 * ERR_REJECT when it is larger than BODY_SIZE_MAX or memory is short. */
bool body_build(struct body_builder *builder, const struct output_bulk *bulk, bool gzip,
                struct buffer *out, struct err *err) MUST_CHECK;

#endif
