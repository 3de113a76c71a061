/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c: see clock.h. */
#include "core/clock.h"

#include <string.h>
#include <time.h>

uint64_t
clock_monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

uint64_t
clock_monotonic_ms(void)
{
    return clock_monotonic_ns() / 1000000U;
}

uint64_t
clock_thread_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

int64_t
clock_boot_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t
clock_wall_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Two decimal digits of a value below 100. */
static void
put_two(char *out, int value)
{
    out[0] = (char)('0' + value / 10);
    out[1] = (char)('0' + value % 10);
}

void
clock_format_utc(int64_t wall_ms, char out[CLOCK_TEXT_SIZE])
{
    const int64_t first_ms = -62167219200000; /* 0000-01-01 */
    const int64_t last_ms = 253402300799999;  /* 9999-12-31 */
    if (wall_ms < first_ms)
        wall_ms = first_ms;
    if (wall_ms > last_ms)
        wall_ms = last_ms;

    int64_t ms = wall_ms % 1000;
    time_t seconds = wall_ms / 1000;
    if (ms < 0) {
        ms += 1000;
        seconds -= 1;
    }
    struct tm parts;
    (void)gmtime_r(&seconds, &parts);
    int year = parts.tm_year + 1900;
    memcpy(out, "0000-00-00T00:00:00.000Z", CLOCK_TEXT_SIZE);
    put_two(out, year / 100);
    put_two(out + 2, year % 100);
    put_two(out + 5, parts.tm_mon + 1);
    put_two(out + 8, parts.tm_mday);
    put_two(out + 11, parts.tm_hour);
    put_two(out + 14, parts.tm_min);
    put_two(out + 17, parts.tm_sec);
    out[20] = (char)('0' + ms / 100);
    put_two(out + 21, (int)(ms % 100));
}

int64_t
clock_build_ms(void)
{
    /* Raised by hand with each release: a build must be reproducible, so __DATE__ is no help. */
    return 1793491200000; /* 2026-11-01T00:00:00Z */
}
