/* SPDX-License-Identifier: Apache-2.0 */
/* log.c: see log.h. One lock, held while a line is composed and written with one write(2). Repeats
 * are kept in a small table by the format's address: a call site's literal is its identity. */
#include "core/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/clock.h"
#include "core/encode.h"

#define LOG_TEXT_MAX 2048 /* one message: an error text with some context */
#define LOG_REPEATS 64    /* call sites whose repeats are gathered at the same time */
#define LOG_REPEAT_EVERY_MS 10000
#define LOG_BURST 5 /* a call site may say so many different things before it is gathered */

struct repeat {
    const char *fmt; /* NULL: free */
    uint64_t printed_ms;
    uint64_t held; /* messages since then */
    unsigned burst;
    enum log_level level;
    char text[LOG_TEXT_MAX]; /* the last one */
};

static struct {
    pthread_mutex_t lock;
    const char *program;
    enum log_level level;
    enum log_format format;
    bool journald;
    struct repeat repeats[LOG_REPEATS];
} state = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .program = "tailrace",
    .level = LOG_LEVEL_INFO,
};

/* systemd puts "device:inode" of the journal's socket there; it holds for stderr only when they
 * match. */
static bool
stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat info;
    if (stream == NULL || fstat(STDERR_FILENO, &info) != 0)
        return false;
    char mine[64];
    int size =
        snprintf(mine, sizeof(mine), "%ju:%ju", (uintmax_t)info.st_dev, (uintmax_t)info.st_ino);
    return size > 0 && strcmp(mine, stream) == 0;
}

void
log_setup(const char *program, enum log_level level, enum log_format format)
{
    ASSERT(program != NULL);

    (void)pthread_mutex_lock(&state.lock);
    state.program = program;
    state.level = level;
    state.format = format;
    state.journald = stderr_is_journal();
    (void)pthread_mutex_unlock(&state.lock);
}

static void
write_all(const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t done = write(STDERR_FILENO, bytes, size);
        if (done <= 0)
            return; /* nobody reads our voice: there is no better place to say so */
        bytes += done;
        size -= (size_t)done;
    }
}

/* Control bytes would let a file name forge a second line. */
static void
append_harmless(struct buffer *line, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < 0x20 || byte == 0x7f)
            buffer_format(line, "\\x%02x", byte);
        else
            buffer_append(line, text, 1);
    }
}

/* The lock is held. */
static void
print_line(enum log_level level, const char *text)
{
    static const char *const names[] = {"ERROR", "WARN", "INFO", "DEBUG"};
    static const char *const ecs[] = {"error", "warn", "info", "debug"};
    static const int priorities[] = {3, 4, 6, 7};
    char stamp[CLOCK_TEXT_SIZE];
    clock_format_utc(clock_wall_ms(), stamp);

    struct buffer line;
    buffer_init(&line, 16 * LOG_TEXT_MAX);
    if (state.format == LOG_FORMAT_JSON) {
        buffer_format(&line,
                      "{\"@timestamp\":\"%.*s\",\"log.level\":\"%s\",\"service.name\":\"%s\",",
                      CLOCK_TEXT_SIZE, stamp, ecs[level], state.program);
        buffer_text(&line, "\"message\":");
        encode_json_string(&line, text, strlen(text));
        buffer_text(&line, "}\n");
    } else {
        if (state.journald)
            buffer_format(&line, "<%d>", priorities[level]);
        else
            buffer_format(&line, "%.*s %-5s ", CLOCK_TEXT_SIZE, stamp, names[level]);
        append_harmless(&line, text);
        buffer_text(&line, "\n");
    }
    if (!line.failed)
        write_all(line.bytes, line.size);
    buffer_done(&line);
}

/* The lock is held. Prints what a call site held back. */
static void
print_held(struct repeat *repeat)
{
    char text[LOG_TEXT_MAX + 64];
    if (repeat->held == 0)
        return;
    if (repeat->held == 1)
        (void)snprintf(text, sizeof(text), "%s", repeat->text);
    else
        (void)snprintf(text, sizeof(text), "%s (%" PRIu64 " such messages since the last)",
                       repeat->text, repeat->held);
    print_line(repeat->level, text);
    repeat->held = 0;
}

/* The lock is held. Other call sites' repeats that are due come out on the way. */
static struct repeat *
find_repeat(const char *fmt, uint64_t now_ms)
{
    struct repeat *mine = NULL;
    struct repeat *oldest = &state.repeats[0];
    for (size_t i = 0; i < LOG_REPEATS; i++) {
        struct repeat *repeat = &state.repeats[i];
        bool due = repeat->fmt != NULL && now_ms - repeat->printed_ms >= LOG_REPEAT_EVERY_MS;
        if (repeat->fmt == fmt)
            mine = repeat;
        else if (due) {
            print_held(repeat);
            repeat->fmt = NULL;
            repeat->printed_ms = 0;
        }
        if (repeat->printed_ms < oldest->printed_ms)
            oldest = repeat;
    }
    if (mine != NULL)
        return mine;
    print_held(oldest);
    *oldest = (struct repeat){.fmt = fmt};
    return oldest;
}

void
log_text(enum log_level level, const char *site, const char *text)
{
    ASSERT(site != NULL);
    ASSERT(level <= LOG_LEVEL_DEBUG);

    (void)pthread_mutex_lock(&state.lock);
    if (level <= state.level) {
        uint64_t now_ms = clock_monotonic_ms();
        struct repeat *repeat = find_repeat(site, now_ms);
        bool quiet = now_ms - repeat->printed_ms >= LOG_REPEAT_EVERY_MS;
        if (quiet)
            repeat->burst = 0;
        /* A few different files may fail one after another. */
        bool same = repeat->burst > 0 && strcmp(repeat->text, text) == 0;
        repeat->level = level;
        if (repeat->printed_ms == 0 || quiet || (!same && repeat->burst < LOG_BURST)) {
            print_held(repeat);
            print_line(level, text);
            repeat->printed_ms = now_ms;
            repeat->burst++;
        } else {
            repeat->held++;
        }
        (void)snprintf(repeat->text, sizeof(repeat->text), "%s", text);
    }
    (void)pthread_mutex_unlock(&state.lock);
}

void
log_at(enum log_level level, const char *fmt, ...)
{
    ASSERT(fmt != NULL);

    char text[LOG_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    log_text(level, fmt, text);
}

void
log_flush(void)
{
    (void)pthread_mutex_lock(&state.lock);
    for (size_t i = 0; i < LOG_REPEATS; i++)
        print_held(&state.repeats[i]);
    (void)pthread_mutex_unlock(&state.lock);
}
