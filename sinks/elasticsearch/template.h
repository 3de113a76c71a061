/* SPDX-License-Identifier: Apache-2.0 */
/* template.h: the index template that makes a route's index what queries expect. One template
 * for each index, named tailrace-<index>; its _meta says that it is ours and of which version. */
#ifndef SINKS_ELASTICSEARCH_TEMPLATE_H
#define SINKS_ELASTICSEARCH_TEMPLATE_H

#include <stdbool.h>

#include "core/err.h"

struct buffer;
struct server;

/* Raised whenever the mappings below change; an older template of ours is replaced. */
#define TEMPLATE_VERSION 1

/* Reads only. `verdict` ends the sentence "index template tailrace-a: ". Errors as of
 * template_put(). */
bool template_compare(struct server *server, const char *index, const char **verdict,
                      struct err *err) MUST_CHECK;

/* Makes sure that the template is there. Ours of this version or a later one is left alone.
 * ERR_RETRY: not reachable or refused for now; ERR_REJECT: somebody else's template has the
 * name. */
bool template_put(struct server *server, const char *index, struct err *err) MUST_CHECK;

/* The template's JSON, for tests and for people who own their templates. */
void template_body(struct buffer *out, const char *index);

#endif
