/* SPDX-License-Identifier: Apache-2.0 */
/* folders.h: configured folders below the host's root, each a path or a glob. */
#ifndef EXPORTERS_HOST_FOLDERS_H
#define EXPORTERS_HOST_FOLDERS_H

#include <stddef.h>

#include "core/options.h"

/* `path` is for system calls, `shown` for people: without the root. A path that is not there is
 * visited too, so that the visitor can say so; a glob without a match is not. */
typedef void folders_visit(void *context, const char *path, const char *shown);

void folders_each(const char *root, const struct option_texts *patterns, folders_visit *visit,
                  void *context);

#endif
