/* SPDX-License-Identifier: Apache-2.0 */
/* filter.h: which devices, mounts and interfaces a regular expression leaves out. Verdicts are
 * remembered, since the same names come at each scrape. One thread at a time. */
#ifndef EXPORTERS_HOST_FILTER_H
#define EXPORTERS_HOST_FILTER_H

#include <stdbool.h>

#include "core/err.h"
#include "exporters/host/scan.h"

struct filter;

/* `expression` is POSIX extended; "" leaves nothing out. ERR_CONFIG, naming `option`. */
bool filter_new(struct filter **out, const char *option, const char *expression,
                struct err *err) MUST_CHECK;
void filter_free(struct filter *filter); /* NULL is fine */
bool filter_excludes(struct filter *filter, struct scan name);

#endif
