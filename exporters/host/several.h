/* SPDX-License-Identifier: Apache-2.0 */
/* several.h: collectors that are several files, each with its parser. A file that is not there is
 * passed over; when none is there the collector is not either. */
#ifndef EXPORTERS_HOST_SEVERAL_H
#define EXPORTERS_HOST_SEVERAL_H

#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"
#include "exporters/host/source.h"

/* One of the files; `absent` says to `check` what is missing without it: a family and why. */
struct several_file {
    const char *name;
    source_parse *parse;
    const char *family, *absent;
};

/* `files` is borrowed for life. */
bool several_open(void **out, const char *root, const struct several_file *files, size_t count,
                  struct err *err) MUST_CHECK;
bool several_collect(void *self, struct page *page, struct err *err) MUST_CHECK;
void several_close(void *self);

#endif
