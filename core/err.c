/* SPDX-License-Identifier: Apache-2.0 */
/* err.c: composes error texts; see err.h. */
#include "core/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/assert.h"

void
err_put_set(struct err *err, enum err_action action, int code, const char *fmt, ...)
{
    ASSERT(err != NULL);
    ASSERT(action != ERR_NONE);

    err->action = action;
    err->code = code;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
}

void
err_put_wrap(struct err *err, const char *fmt, ...)
{
    ASSERT(err != NULL);
    ASSERT(err->action != ERR_NONE);

    char inner[ERR_TEXT_MAX];
    memcpy(inner, err->text, sizeof(inner));
    va_list args;
    va_start(args, fmt);
    int used = vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof(err->text))
        (void)snprintf(err->text + used, sizeof(err->text) - (size_t)used, ": %.*s",
                       ERR_TEXT_MAX - used, inner);
}

void
err_put_errno(struct err *err, enum err_action action, int number, const char *fmt, ...)
{
    ASSERT(err != NULL);
    ASSERT(action != ERR_NONE);

    char what[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    char reason[128];
    err_put_set(err, action, number, "cannot %.*s: %s", ERR_TEXT_MAX - 160, what,
                strerror_r(number, reason, sizeof(reason)));
}
