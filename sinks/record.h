/* SPDX-License-Identifier: Apache-2.0 */
/* record.h: from a Kafka record to one document that fits on one line, whoever wrote the record.
 * Pure but for the clock's reading of a record without timestamp; no Kafka calls. */
#ifndef SINKS_RECORD_H
#define SINKS_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"

struct buffer;

/* Brackets within brackets: twice what search servers map by default and far above any log event. A
 * deeper value is kept as text. */
#define RECORD_DEPTH_MAX 200

/* True when the value of a record with a key of ours may stand in a bulk as it is:
 * `{"@timestamp":"` in front, no newline. It is not parsed; if its JSON is broken all the same, the
 * server says so for that one document. */
bool record_is_ready(const char *value, size_t value_size);

/* Appends the document for any other value: a JSON object is made one line and given an
 * "@timestamp" if it has none (its own `timestamp`, `ts` or `time`, else `timestamp_ms`);
 * anything else, also nothing, becomes {"@timestamp":…,"message":…,"log.flags":["unparsed"]}.
 * True when it was an object. `out` latches when memory is short. */
bool record_convert(struct buffer *out, const char *value, size_t value_size, int64_t timestamp_ms);

/* "2026-11-21T06:12:00.123Z", also with a space, an offset, a comma, no zone (UTC); and seconds,
 * milli-, micro- or nanoseconds since 1970 as digits. */
bool record_parse_time(const char *text, size_t size, int64_t *wall_ms) MUST_CHECK;

#endif
