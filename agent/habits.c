/* SPDX-License-Identifier: Apache-2.0 */
/* habits.c: see habits.h. */
#include "agent/habits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GAPS_KNOWN 10         /* fewer say nothing */
#define SILENT_FACTOR 4       /* times the usual gap */
#define SILENT_LEAST_MS 60000 /* no shorter silence is worth a word */
#define HALF_LIFE_MS 20000    /* of a rate */
#define ONE_ROTATION_MS 2000  /* one that is told twice */

void
habit_grew(struct habit *habit, uint64_t now_ms)
{
    if (habit->grown_ms != 0) {
        float gap_ms = (float)(now_ms - habit->grown_ms);
        float error_ms = gap_ms > habit->gap_ms ? gap_ms - habit->gap_ms : habit->gap_ms - gap_ms;
        if (habit->gaps == 0) {
            habit->gap_ms = gap_ms;
        } else { /* the weights of RFC 6298, which asks the same of round trips */
            habit->deviation_ms += (error_ms - habit->deviation_ms) / 4;
            habit->gap_ms += (gap_ms - habit->gap_ms) / 8;
        }
        if (habit->gaps < UINT32_MAX)
            habit->gaps++;
    }
    habit->grown_ms = now_ms;
}

uint64_t
habit_usual_gap_ms(const struct habit *habit)
{
    return habit->gaps < GAPS_KNOWN ? 0 : (uint64_t)(habit->gap_ms + 4 * habit->deviation_ms) + 1;
}

bool
habit_is_silent(const struct habit *habit, uint64_t now_ms)
{
    uint64_t usual_ms = habit_usual_gap_ms(habit);
    uint64_t silent_ms = now_ms - habit->grown_ms;
    return usual_ms > 0 && silent_ms > SILENT_LEAST_MS && silent_ms > SILENT_FACTOR * usual_ms;
}

double
habit_rate(const struct habit *habit, uint64_t now_ms)
{
    double rate = (double)habit->rate;
    uint64_t passed_ms = now_ms - habit->rated_ms;
    for (; passed_ms >= HALF_LIFE_MS && rate > 0.001; passed_ms -= HALF_LIFE_MS)
        rate /= 2;
    if (rate <= 0.001)
        return 0;
    double part = (double)passed_ms / HALF_LIFE_MS;
    return rate * (1 - 0.6931 * part + 0.1931 * part * part); /* as good as 2^-part here */
}

void
habit_delivered(struct habit *habit, uint64_t bytes, uint64_t now_ms)
{
    /* A steady stream of r bytes/s adds r * ln 2 / half-life a second, and loses as much. */
    const double share = 0.6931 * 1000 / HALF_LIFE_MS;
    habit->rate = (float)(habit_rate(habit, now_ms) + (double)bytes * share);
    habit->rated_ms = now_ms;
}

const struct rotation *
rotations_find(const struct rotations *rotations, const char *path)
{
    struct rotation *rotation;
    HASH_FIND_STR(rotations->by_path, path, rotation);
    return rotation;
}

static struct rotation *
rotation_add(struct rotations *rotations, const char *path)
{
    if (rotations->count == ROTATIONS_MAX)
        return NULL;
    struct rotation *rotation = calloc(1, sizeof(*rotation));
    if (rotation == NULL || (rotation->path = strdup(path)) == NULL) {
        free(rotation);
        return NULL;
    }
    HASH_ADD_KEYPTR(hh, rotations->by_path, rotation->path, strlen(path), rotation);
    rotations->count++;
    return rotation;
}

struct rotation *
rotations_note(struct rotations *rotations, const char *path, bool truncated, uint64_t now_ms)
{
    struct rotation *rotation;
    HASH_FIND_STR(rotations->by_path, path, rotation);
    if (rotation == NULL && (rotation = rotation_add(rotations, path)) == NULL)
        return NULL;
    if (rotation->last_ms != 0 && now_ms - rotation->last_ms < ONE_ROTATION_MS)
        return rotation;
    if (rotation->last_ms != 0) {
        uint64_t interval_ms = now_ms - rotation->last_ms;
        rotation->interval_ms = rotation->interval_ms == 0
                                    ? interval_ms
                                    : (3 * rotation->interval_ms + interval_ms) / 4;
    }
    rotation->last_ms = now_ms;
    rotation->truncates = truncated;
    return rotation;
}

void
rotations_done(struct rotations *rotations)
{
    struct rotation *rotation = rotations->by_path; /* leads to all, in order of birth */
    HASH_CLEAR(hh, rotations->by_path);
    while (rotation != NULL) {
        struct rotation *next = rotation->hh.next;
        free(rotation->path);
        free(rotation);
        rotation = next;
    }
    rotations->count = 0;
}

uint64_t
rotation_danger_ms(const struct rotation *rotation, uint64_t moved_ms)
{
    if (rotation == NULL || rotation->interval_ms == 0)
        return UINT64_MAX;
    if (moved_ms != 0)
        return moved_ms + rotation->interval_ms;
    return rotation->last_ms + (rotation->truncates ? 1 : 2) * rotation->interval_ms;
}

double
rotation_loss_seconds(uint64_t danger_ms, uint64_t now_ms, uint64_t lag, double rate)
{
    double left = danger_ms > now_ms ? (double)(danger_ms - now_ms) / 1000 : 0;
    return rate > 0 && (double)lag / rate <= left ? INFINITY : left;
}
