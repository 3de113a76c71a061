/* SPDX-License-Identifier: Apache-2.0 */
/* status.h: what the loop says about itself: /status as JSON, / as a page for people. */
#ifndef SINKS_STATUS_H
#define SINKS_STATUS_H

struct buffer;

/* An ask_answer: `context` is the pipeline, `question` "status" or "page". Runs on the data
 * loop. */
void status_answer(void *context, const char *question, struct buffer *out);

#endif
