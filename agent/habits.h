/* SPDX-License-Identifier: Apache-2.0 */
/* habits.h: what a file does usually, learned while it is tailed, in a few bytes a file.
 *
 * Gaps: the mean of the times between two growths, and their mean deviation. A file is silent
 * when it has not grown for four times what is usual (mean and four deviations), and a minute.
 *
 * Rate: delivered bytes a second, of which half is forgotten every 20 s.
 *
 * Rotation: the mean time between two rotations of a path, known from the second one on. What is
 * unread is in danger
 *     where the path is truncated (copytruncate):  at the next rotation
 *     where it is renamed:                         at the one after the next
 *     in a file that was renamed away:             at the next rotation after that
 * since every rotation keeps at least one old file. Bytes are going to be lost when their file
 * needs longer than that at its present rate; then the seconds left are told, else +Inf. What
 * the agent holds open survives even its deletion: this says when it comes to depend on that. */
#ifndef AGENT_HABITS_H
#define AGENT_HABITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/hash.h"

#define ROTATIONS_MAX 10000 /* paths whose rotations are remembered; others are unknown */

struct habit {
    uint64_t grown_ms; /* last growth that was seen; 0: none */
    float gap_ms, deviation_ms;
    uint32_t gaps;
    float rate; /* at rated_ms */
    uint64_t rated_ms;
};

void habit_grew(struct habit *habit, uint64_t now_ms);
/* What is usual between two growths, with some allowance; 0: not known yet. */
uint64_t habit_usual_gap_ms(const struct habit *habit);
bool habit_is_silent(const struct habit *habit, uint64_t now_ms);

void habit_delivered(struct habit *habit, uint64_t bytes, uint64_t now_ms);
double habit_rate(const struct habit *habit, uint64_t now_ms); /* bytes/s */

struct rotation {
    char *path;
    uint64_t last_ms;
    uint64_t interval_ms; /* 0: not known */
    bool truncates;       /* the last one did */
    UT_hash_handle hh;
};
struct rotations {
    struct rotation *by_path;
    size_t count;
};

/* The path was rotated. It is told once or twice for one rotation. NULL when there are too many
 * paths, or no memory. The result lives until rotations_done(). */
struct rotation *rotations_note(struct rotations *rotations, const char *path, bool truncated,
                                uint64_t now_ms);
const struct rotation *rotations_find(const struct rotations *rotations, const char *path);
void rotations_done(struct rotations *rotations);

/* When bytes of the path's file are in danger; `moved_ms` is when it was renamed away, 0: it was
 * not. UINT64_MAX: not known. */
uint64_t rotation_danger_ms(const struct rotation *rotation, uint64_t moved_ms);

/* Seconds until `lag` bytes begin to be lost; +Inf: they are delivered before. */
double rotation_loss_seconds(uint64_t danger_ms, uint64_t now_ms, uint64_t lag, double rate);

#endif
