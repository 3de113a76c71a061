/* SPDX-License-Identifier: Apache-2.0 */
/* check.h: `check --connect` for an index: is it there, what is it, and what would its settings and
 * templates do to the routes? Writes nothing. */
#ifndef SINKS_ELASTICSEARCH_CHECK_H
#define SINKS_ELASTICSEARCH_CHECK_H

#include <stddef.h>

struct buffer;
struct server;
struct sink_options;

/* Appends what was found, `custom` being a person's template or NULL. The number of problems. */
size_t check_index(struct server *server, const struct sink_options *options, const char *custom,
                   struct buffer *report);

#endif
