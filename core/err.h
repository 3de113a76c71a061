/* SPDX-License-Identifier: Apache-2.0 */
/* err.h: what went wrong, and what the caller can do about it.
 * A fallible function returns bool and takes a `struct err *` last. The struct is the caller's, holds no
 * pointers, and is only written on failure. Threads: none shared. */
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

/* Both return false, so that a failing function ends in `return err_set(...)`. A text too long is cut. */
bool err_set(struct err *err, enum err_action action, int code, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* Puts "<fmt>: " in front of the text that is there. */
bool err_wrap(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* "cannot <fmt>: <strerror(number)>". The usual end of a failed system call. */
bool err_errno(struct err *err, enum err_action action, int number, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

#endif
