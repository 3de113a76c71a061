/* SPDX-License-Identifier: Apache-2.0 */
/* rotate.h: one index a day. An event's day is that of its own "@timestamp", so that a repeat goes
 * to the same index, where its id is known. Pure. */
#ifndef SINKS_ROTATE_H
#define SINKS_ROTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"

#define ROTATE_DAY_MS INT64_C(86400000)
/* "<index>-YYYY.MM.DD": the longest name of an index and its terminator. */
#define ROTATE_NAME_SIZE 256

/* The day, counted from 1970-01-01 UTC, of a document that begins {"@timestamp":"…". A time that
 * cannot be read, lies before 1970 or more than a day after the record's own time, would open an
 * index that nobody looks for and retention never reaches: such a document belongs to the day of
 * its record. `record_ms` < 0: the record has no time, only the document's counts. */
int32_t rotate_day(const char *value, size_t size, int64_t record_ms);

/* Writes the name of a day's index. */
void rotate_name(char out[ROTATE_NAME_SIZE], const char *index, int32_t day);

/* The reverse; false when the name is not exactly one that rotate_name() makes of this index. */
bool rotate_read_name(const char *name, const char *index, int32_t *day) MUST_CHECK;

#endif
