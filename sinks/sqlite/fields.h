/* SPDX-License-Identifier: Apache-2.0 */
/* fields.h: the few fields of a stored document that a table and a reader's screen need. A
 * document must be one JSON object in valid UTF-8 (yajl decides; any depth, no recursion). A
 * field is found under its dotted name and as nested objects alike: {"host.name": …} and
 * {"host": {"name": …}}. One thread at a time; nothing here locks or logs. */
#ifndef SINKS_SQLITE_FIELDS_H
#define SINKS_SQLITE_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"

enum field {
    FIELD_TIMESTAMP, /* "@timestamp" */
    FIELD_HOST,      /* "host.name" */
    FIELD_FILE,      /* "log.file.path" */
    FIELD_MESSAGE,   /* "message" */
    FIELD_COUNT
};

/* Kept from document to document, so that its buffers are allocated once. */
struct fields {
    struct buffer texts[FIELD_COUNT]; /* decoded text; empty when absent or not a scalar */
};

void fields_init(struct fields *fields);
void fields_done(struct fields *fields);

/* False when `value` is no JSON object, which `reason` then says in a literal, or when memory is
 * short: `reason` is NULL. The first occurrence of a repeated key counts. */
bool fields_read(struct fields *fields, const char *value, size_t size,
                 const char **reason) MUST_CHECK;

/* Milliseconds since 1970 of an ISO 8601 time ("2026-11-21T06:12:00.123Z", offsets, no fraction,
 * a space for the T) or of a decimal count of milliseconds. False for anything else. Clamped to
 * 1970..9999. */
bool fields_time_parse(const char *text, size_t size, int64_t *out_ms) MUST_CHECK;

/* The time of a document. Its usual beginning, {"@timestamp":"…Z", is read without a parse.
 * False when it has no time that can be read. Uses `fields` when it must parse. */
bool fields_time(struct fields *fields, const char *value, size_t size, int64_t *out_ms) MUST_CHECK;

#endif
