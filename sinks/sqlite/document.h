/* SPDX-License-Identifier: Apache-2.0 */
/* document.h: the few fields of a stored document that a table and a reader's screen need.
 * A document must be one JSON object in valid UTF-8 (yajl decides; any depth, no recursion). A field is
 * found under its dotted name and as nested objects alike: {"host.name": …} and {"host": {"name": …}}.
 * One thread at a time; nothing here locks or logs. */
#ifndef SINKS_SQLITE_DOCUMENT_H
#define SINKS_SQLITE_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"

enum document_field {
    DOCUMENT_TIMESTAMP, /* "@timestamp" */
    DOCUMENT_HOST,      /* "host.name" */
    DOCUMENT_FILE,      /* "log.file.path" */
    DOCUMENT_MESSAGE,   /* "message" */
    DOCUMENT_FIELD_COUNT
};

/* Kept from document to document, so that its buffers are allocated once. */
struct document {
    struct buffer
        fields[DOCUMENT_FIELD_COUNT]; /* decoded text; empty when absent or not a scalar */
};

void document_init(struct document *document);
void document_done(struct document *document);

/* False when `value` is no JSON object, which `reason` then says in a literal, or when memory is short:
 * `reason` is NULL. The first occurrence of a repeated key counts. */
bool document_read(struct document *document, const char *value, size_t size,
                   const char **reason) MUST_CHECK;

/* Milliseconds since 1970 of an ISO 8601 time ("2026-11-21T06:12:00.123Z", offsets, no fraction, a space
 * for the T) or of a decimal count of milliseconds. False for anything else. Clamped to 1970..9999. */
bool document_time_parse(const char *text, size_t size, int64_t *out_ms) MUST_CHECK;

/* The time of a document. Its usual beginning, {"@timestamp":"…Z", is read without a parse. False when it
 * has no time that can be read. Uses `document` when it must parse. */
bool document_time(struct document *document, const char *value, size_t size,
                   int64_t *out_ms) MUST_CHECK;

#endif
