/* SPDX-License-Identifier: Apache-2.0 */
/* ask.h: lets the HTTP thread put a question to the data loop without a lock on the loop's data.
 * The asker waits at most ASK_TIMEOUT_MS, so a stuck loop makes a page say so instead of hang. */
#ifndef CORE_ASK_H
#define CORE_ASK_H

#include <stdbool.h>

#include "core/err.h"

struct ask;
struct buffer;

/* Runs on the data loop's thread; appends the answer. */
typedef void ask_answer(void *context, const char *question, struct buffer *out);

bool ask_new(struct ask **out, struct err *err) MUST_CHECK;
void ask_free(struct ask *ask); /* after the HTTP endpoint has stopped; NULL is fine */

/* The loop has ended: nobody waits for it any more, so that the endpoint stops at once. */
void ask_close(struct ask *ask); /* NULL is fine */

int ask_fd(const struct ask *ask); /* readable when a question waits: for the loop's poll */
/* The loop; returns at once when nobody asks. */
void ask_serve(struct ask *ask, ask_answer *answer, void *context);

/* Any other thread. False with ERR_RETRY when the loop did not answer in time. */
bool ask_loop(struct ask *ask, const char *question, struct buffer *out,
              struct err *err) MUST_CHECK;

#endif
