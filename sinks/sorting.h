/* SPDX-License-Identifier: Apache-2.0 */
/* sorting.h: what came back: each document of a bulk is finished, sent again, doubted, or a dead
 * letter; the whole answer says whether store and route are well. */
#ifndef SINKS_SORTING_H
#define SINKS_SORTING_H

struct err;
struct output_bulk;

/* The output_done of all bulks; `context` is the pipeline. */
void sorting_bulk_done(void *context, struct output_bulk *out, const struct err *err);

#endif
