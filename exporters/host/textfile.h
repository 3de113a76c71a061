/* SPDX-License-Identifier: Apache-2.0 */
/* textfile.h: the pure part of the textfile collector: a page in Prometheus' text format. */
#ifndef EXPORTERS_HOST_TEXTFILE_H
#define EXPORTERS_HOST_TEXTFILE_H

#include <stdbool.h>

#include "core/err.h"
#include "exporters/host/scan.h"

struct page;

/* Writes all families of `text`, whose file is `name`; with `page` NULL it only checks. A text with
 * one bad line is refused whole (ERR_RETRY names the line), and so is one with timestamps. */
bool textfile_parse(struct scan text, const char *name, struct page *page,
                    struct err *err) MUST_CHECK;

#endif
