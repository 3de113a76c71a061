/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h: the two clocks and the one time format.
 * Monotonic time measures; wall time only stamps. Thread safe. */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* "2026-11-21T06:12:00.123Z" without the terminator. */
#define CLOCK_TEXT_SIZE 24

uint64_t clock_monotonic_ms(void);
uint64_t clock_monotonic_ns(void);
uint64_t clock_thread_ns(void); /* processor time of the calling thread */
int64_t clock_wall_ms(void);    /* since 1970-01-01 UTC */
int64_t clock_boot_ms(void);    /* since boot; goes on while the host sleeps */

/* Writes CLOCK_TEXT_SIZE bytes and no terminator. Years outside 0000..9999 are clamped. */
void clock_format_utc(int64_t wall_ms, char out[CLOCK_TEXT_SIZE]);

/* Wall time of this build in ms: an earlier wall clock is wrong for certain. */
int64_t clock_build_ms(void);

#endif
