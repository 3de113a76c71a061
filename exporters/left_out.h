/* SPDX-License-Identifier: Apache-2.0 */
/* left_out.h: series that a family's budget had no room for, added up by family. Thread safe. */
#ifndef EXPORTERS_LEFT_OUT_H
#define EXPORTERS_LEFT_OUT_H

#include "core/err.h"

struct left_out;
struct page;

bool left_out_new(struct left_out **out, struct err *err) MUST_CHECK;
void left_out_free(struct left_out *left_out); /* NULL is fine */
/* After a collector wrote its page. */
void left_out_note(struct left_out *left_out, const struct page *page);
/* Writes tailrace_exporter_series_left_out_total{family}. */
void left_out_put(struct left_out *left_out, struct page *page);

#endif
