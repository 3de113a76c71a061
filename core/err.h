/* SPDX-License-Identifier: Apache-2.0 */
/* err.h: what went wrong, and what the caller can do about it.
 * A fallible function returns bool and takes a `struct err *` last. The struct is the caller's,
 * holds no pointers, and is only written on failure. Threads: none shared. */
#ifndef CORE_ERR_H
#define CORE_ERR_H

#include <stdbool.h>

#include "core/attributes.h"
#include "core/bounds.h"

enum err_action {
    ERR_NONE = 0,
    ERR_RETRY,  /* the same call may succeed later: back off, try again */
    ERR_REJECT, /* this input will never be accepted: count it, park it */
    ERR_STOP,   /* the process cannot do its job: report and exit 1 */
    ERR_CONFIG, /* the operator's input is wrong: report and exit 2 */
};

struct err {
    enum err_action action;
    int code;                /* errno, HTTP status or rd_kafka_resp_err_t, as `text` says */
    char text[ERR_TEXT_MAX]; /* "cannot read '/var/log/a.log': Permission denied" */
};

/* Each is false, so that a failing function ends in `return err_set(...)`, and known to be false,
 * so that compilers and analyzers need not guess what follows. A text too long is cut. */
#define err_set(...) (err_put_set(__VA_ARGS__), false)

/* Puts "<fmt>: " in front of the text that is there. */
#define err_wrap(...) (err_put_wrap(__VA_ARGS__), false)

/* "cannot <fmt>: <strerror(number)>". The usual end of a failed system call. */
#define err_errno(...) (err_put_errno(__VA_ARGS__), false)

/* What stands behind them: (err, action, code, fmt, ...), (err, fmt, ...), (err, action, errno,
 * fmt, ...). */
void err_put_set(struct err *err, enum err_action action, int code, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
void err_put_wrap(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
void err_put_errno(struct err *err, enum err_action action, int number, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

#endif
