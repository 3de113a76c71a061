/* SPDX-License-Identifier: Apache-2.0 */
/* health.c: see health.h. */
#include "core/health.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/clock.h"

#define CONDITIONS_MAX 64 /* some of the program, one per route or topic that has trouble */

struct condition {
    const char *name; /* NULL: free */
    enum health_scope scope;
    char reason[ERR_TEXT_MAX]; /* "" is fine */
};

struct health {
    uint64_t stuck_after_ms;
    _Atomic uint64_t beat_ms;
    pthread_mutex_t lock; /* guards what follows */
    struct condition conditions[CONDITIONS_MAX];
};

bool
health_new(struct health **out, uint64_t stuck_after_ms, struct err *err)
{
    ASSERT(out != NULL);
    ASSERT(stuck_after_ms > 0);

    struct health *health = calloc(1, sizeof(*health));
    if (health == NULL)
        return err_set(err, ERR_STOP, 0, "cannot allocate the health conditions: out of memory");
    health->stuck_after_ms = stuck_after_ms;
    (void)pthread_mutex_init(&health->lock, NULL);
    health_beat(health);
    *out = health;
    return true;
}

void
health_free(struct health *health)
{
    if (health == NULL)
        return;
    (void)pthread_mutex_destroy(&health->lock);
    free(health);
}

void
health_beat(struct health *health)
{
    atomic_store_explicit(&health->beat_ms, clock_monotonic_ms(), memory_order_relaxed);
}

/* The lock is held. The condition of this name, or a free place for it. */
static struct condition *
find_condition(struct health *health, const char *name)
{
    struct condition *free_place = NULL;
    for (size_t i = 0; i < CONDITIONS_MAX; i++) {
        struct condition *condition = &health->conditions[i];
        if (condition->name == NULL)
            free_place = free_place != NULL ? free_place : condition;
        else if (strcmp(condition->name, name) == 0)
            return condition;
    }
    return free_place;
}

void
health_set(struct health *health, enum health_scope scope, const char *name, const char *reason)
{
    ASSERT(name != NULL);

    (void)pthread_mutex_lock(&health->lock);
    struct condition *condition = find_condition(health, name);
    if (condition != NULL) {
        condition->name = name;
        condition->scope = scope;
        (void)snprintf(condition->reason, sizeof(condition->reason), "%s",
                       reason == NULL ? "" : reason);
        for (char *at = condition->reason; (at = strchr(at, '\n')) != NULL;)
            *at = ' '; /* one condition, one line */
    }
    (void)pthread_mutex_unlock(&health->lock);
}

bool
health_alive(struct health *health, struct buffer *out)
{
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t beat_ms = atomic_load_explicit(&health->beat_ms, memory_order_relaxed);
    uint64_t silent_ms = now_ms > beat_ms ? now_ms - beat_ms : 0;
    bool alive = silent_ms <= health->stuck_after_ms;
    if (alive)
        buffer_text(out, "ok\n");
    else
        buffer_format(out, "loop: the data loop has not moved for %" PRIu64 " s\n",
                      silent_ms / 1000);
    return alive;
}

bool
health_ready(struct health *health, bool local_only, struct buffer *out)
{
    bool ready = true;
    (void)pthread_mutex_lock(&health->lock);
    for (size_t i = 0; i < CONDITIONS_MAX; i++) {
        const struct condition *condition = &health->conditions[i];
        if (condition->name == NULL || condition->reason[0] == '\0')
            continue;
        if (local_only && condition->scope == HEALTH_REMOTE)
            continue;
        buffer_format(out, "%s: %s\n", condition->name, condition->reason);
        ready = false;
    }
    (void)pthread_mutex_unlock(&health->lock);
    if (ready)
        buffer_text(out, "ok\n");
    return ready;
}
