/* SPDX-License-Identifier: Apache-2.0 */
/* nest.h: gives other writers' JSON a shape that no index refuses. In an index each name is one
 * field of one type for all documents; names that nobody chose together end in conflicts of type
 * (`host` is text here, an object there) and in thousands of fields. So a scalar of a name that
 * the index knows (index_fields.def) stays, and all else moves below `json`, which the index
 * holds as one field: searchable as json.a.b, without a field for each name. No setting of the
 * servers does this alone: `dynamic: false` leaves the rest unsearchable, and templates for
 * dynamic objects neither take scalars nor names with dots. Pure. */
#ifndef SINKS_NEST_H
#define SINKS_NEST_H

#include <stdbool.h>
#include <stddef.h>

struct buffer;

#define NEST_FIELD "json"
/* The rest goes here when a string in it or the names down to a value are too long for a term, or
 * a name holds a NUL: it is kept, not searched. Tried: OpenSearch 2.19 refuses a flat_object whose
 * path and value have more than 32,766 bytes together, Elasticsearch 7 to 9 a flattened name with
 * a NUL. */
#define NEST_FIELD_UNINDEXED "json_unindexed"
#define NEST_TEXT_MAX (24 * 1024)
#define NEST_PATH_MAX (6 * 1024)

/* `object` is one JSON object in one line. Appends it in its new shape, "@timestamp" first, and is
 * true; false, with nothing appended, when it may stay as it is. `out` latches when memory is
 * short. */
bool nest_object(struct buffer *out, const char *object, size_t size);

#endif
