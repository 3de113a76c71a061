/* SPDX-License-Identifier: Apache-2.0 */
/* template.h: the index template that makes a route's index what queries expect. One template
 * for each index, named tailrace-<index>; its _meta says that it is ours, of which version, and
 * what it was made for. The servers' differences are not asked for by version: the best form is
 * put first, and one that the server refuses is followed by a plainer one. */
#ifndef SINKS_ELASTICSEARCH_TEMPLATE_H
#define SINKS_ELASTICSEARCH_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"

struct buffer;
struct server;
struct sink_route_options;

/* Raised whenever template.c or index_fields.def change what is put; an older template of ours is
 * replaced, a newer one is left alone. Indices that exist keep the mapping they were made with. */
#define TEMPLATE_VERSION 2

/* The forms of the built-in template, best first; the last one is taken by every server.
 *   0  Elasticsearch 8.14 and later: `flattened`, and fields beyond the limit are not mapped
 *   1  Elasticsearch before: `flattened`
 *   2  OpenSearch 2.7 and later: `flat_object`
 *   3  all: what lies below `json` is kept, not searched */
#define TEMPLATE_FORMS 4

/* A person's settings and mappings: an object without aliases. NULL for path "". ERR_CONFIG. */
bool template_load(char **out, const char *path, struct err *err) MUST_CHECK;

/* Reads only. `verdict` ends the sentence "index template tailrace-a: ". Errors as of
 * template_put(). */
bool template_compare(struct server *server, const struct sink_route_options *route,
                      const char *custom, const char **verdict, struct err *err) MUST_CHECK;

/* Makes sure that the template is there; `custom` NULL: the built-in one. Ours of this version or a
 * later one is left alone. ERR_RETRY: not reachable or refused for now; ERR_REJECT: somebody
 * else's template has the name, or the server takes no form of it for this index. */
bool template_put(struct server *server, const struct sink_route_options *route, const char *custom,
                  struct err *err) MUST_CHECK;

/* The template's JSON, for tests and for people who own their templates. */
void template_body(struct buffer *out, const struct sink_route_options *route, const char *custom,
                   size_t form);

#endif
