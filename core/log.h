/* SPDX-License-Identifier: Apache-2.0 */
/* log.h: the program's own voice on stderr. Only main.c and pipeline.c log; libraries return
 * errors. ERROR = data lost or a person must act; WARN = survived; INFO = start, stop, reload,
 * rebalance; nothing per record above DEBUG. Thread safe; one line a call, control bytes escaped.
 * A repeated message (same format, same call site) is printed at most every 10 s, with its count.
 * */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdbool.h>

#include "core/attributes.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format {
    LOG_FORMAT_TEXT, /* "2026-11-21T06:12:00.123Z WARN  text", or "<4>text" under journald */
    LOG_FORMAT_JSON, /* {"@timestamp":…,"log.level":…,"message":…}, one line */
};

/* Before the first call: INFO, text. `program` is a literal. JOURNAL_STREAM in the environment that
 * names stderr's device and inode chooses the journald form of text. */
void log_setup(const char *program, enum log_level level, enum log_format format);

/* Says now what repeats are still held back. Call at the stop, and when somebody waits for an
 * answer. */
void log_flush(void);

void log_at(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A text that others composed; `site`'s address stands for where it comes from. */
void log_text(enum log_level level, const char *site, const char *text);
#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
