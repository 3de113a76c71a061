/* SPDX-License-Identifier: Apache-2.0 */
/* answer.h: reads the answer to a bulk while it arrives, and believes it only when it is whole:
 * as many items as were sent, in order. Nothing of the answer is kept but statuses and the
 * reasons of refusals. */
#ifndef SINKS_ELASTICSEARCH_ANSWER_H
#define SINKS_ELASTICSEARCH_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buffer.h"
#include "core/err.h"
#include "sinks/output.h"

/* "type: reason" of one refused document; what is longer is cut. */
#define ANSWER_REASON_MAX 512
/* Reasons of one bulk; when they are more, the later ones are left out. */
#define ANSWER_REASONS_MAX (1024 * 1024)
/* Start of an answer that is no JSON (a proxy's page), kept for the message. */
#define ANSWER_HEAD_MAX 160
/* What an item's part of an answer takes at most, far above what is asked for (filter_path): an
 * endless answer ends here. And what may come between two values of it: all that is kept of it. */
#define ANSWER_ITEM_SIZE_MAX (64 * 1024)
#define ANSWER_VALUE_SIZE_MAX (1024 * 1024)
/* Objects within objects of an answer; caused_by chains are short. */
#define ANSWER_DEPTH_MAX 100

struct answer;

bool answer_new(struct answer **out, struct err *err) MUST_CHECK;
void answer_free(struct answer *answer); /* NULL is fine */

/* Gets ready for the answer to a bulk of `items`. False when memory is short. */
bool answer_begin(struct answer *answer, struct output_item *items, size_t item_count) MUST_CHECK;
/* False when this answer is longer than any can be: nothing more is wanted of it. */
bool answer_feed(struct answer *answer, const char *bytes, size_t size) MUST_CHECK;

/* Writes outcome, status and reason of each item; reasons are valid until the next
 * answer_begin(). When the answer to status 200 cannot be believed, or the status is another
 * one, all items get the same outcome, and false is returned with the reason. */
bool answer_end(struct answer *answer, int http_status, struct err *err) MUST_CHECK;

/* The same outcome for all items, with the error's text as their reason: a request without an
 * answer. */
void answer_fail(struct answer *answer, enum output_outcome outcome, const struct err *err);

#endif
