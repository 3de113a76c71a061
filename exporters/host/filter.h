/* SPDX-License-Identifier: Apache-2.0 */
/* filter.h: does a regular expression match a device, a mount, an interface, a topic, a group?
 * Verdicts are remembered, since the same names come each time. One thread at a time. */
#ifndef EXPORTERS_HOST_FILTER_H
#define EXPORTERS_HOST_FILTER_H

#include <stdbool.h>

#include "core/err.h"
#include "exporters/host/scan.h"

struct filter;

/* `expression` is POSIX extended; "" matches nothing. ERR_CONFIG, naming `option`. */
bool filter_new(struct filter **out, const char *option, const char *expression,
                struct err *err) MUST_CHECK;
void filter_free(struct filter *filter); /* NULL is fine */
bool filter_matches(struct filter *filter, struct scan name);

#endif
