/* SPDX-License-Identifier: Apache-2.0 */
/* source.h: the collectors that are one file and a parser, which most are. */
#ifndef EXPORTERS_HOST_SOURCE_H
#define EXPORTERS_HOST_SOURCE_H

#include <stdbool.h>

#include "core/err.h"
#include "exporters/host/scan.h"

struct page;

typedef bool source_parse(struct scan text, struct page *page, struct err *err);

bool source_open(void **out, const char *root, const char *name, source_parse *parse,
                 struct err *err) MUST_CHECK;
bool source_collect(void *self, struct page *page, struct err *err) MUST_CHECK;
void source_close(void *self);

#endif
