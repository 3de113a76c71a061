/* SPDX-License-Identifier: Apache-2.0 */
/* account.c: see account.h. */
#include "agent/inputs/account.h"

#include <math.h>

#include "agent/inputs/file.h"
#include "agent/state.h"
#include "core/assert.h"
#include "core/clock.h"

void
account_touch(struct agent *agent, struct file *file)
{
    if (file->busy)
        return;
    file->busy = true;
    file->busy_previous = NULL;
    file->busy_next = agent->busy;
    if (agent->busy != NULL)
        agent->busy->busy_previous = file;
    agent->busy = file;
    agent->busy_count++;
}

static void
leave_list(struct agent *agent, struct file *file)
{
    ASSERT(agent->busy_count > 0);

    if (file->busy_previous != NULL)
        file->busy_previous->busy_next = file->busy_next;
    else
        agent->busy = file->busy_next;
    if (file->busy_next != NULL)
        file->busy_next->busy_previous = file->busy_previous;
    file->busy = false;
    agent->busy_count--;
}

/* Takes what the file added out of the sums. */
static void
discount(struct file *file)
{
    struct input_sums *sums = &file->input->sums;
    if (!file->counted.is_counted)
        return;
    ASSERT(sums->states[file->counted.state] > 0);
    ASSERT(sums->lag_bytes >= file->counted.lag_bytes);

    sums->states[file->counted.state]--;
    sums->lag_bytes -= file->counted.lag_bytes;
    sums->unfinished_bytes -= file->counted.unfinished_bytes;
    file->counted.is_counted = false;
}

static void
count(struct file *file)
{
    discount(file);
    struct input_sums *sums = &file->input->sums;
    file->counted.is_counted = true;
    file->counted.state = file_shown_state(file);
    file->counted.lag_bytes = file_lag(file);
    file->counted.unfinished_bytes = file_unfinished(file);
    sums->states[file->counted.state]++;
    sums->lag_bytes += file->counted.lag_bytes;
    sums->unfinished_bytes += file->counted.unfinished_bytes;
}

void
account_leave(struct agent *agent, struct file *file)
{
    discount(file);
    if (file->busy)
        leave_list(agent, file);
}

uint64_t
file_unfinished(const struct file *file)
{
    if (file->state != FILE_ACTIVE || file->error_number != 0 || file->queued || file->failed ||
        file->scanned < file->size || file->size <= file->read)
        return 0;
    return file->size - file->read;
}

static bool
is_busy(const struct agent *agent, const struct file *file)
{
    const struct generation *generation = file->generation;
    if (file->state == FILE_ENDED || file->state == FILE_SUSPENDED || file->first != NULL ||
        file->queued || file->failed || file->refused_wait_ms != 0 || file->error_number != 0)
        return true;
    if (file->state != FILE_ACTIVE)
        return false;
    /* For `once` unfinished lines are waited for until they are shipped, too. */
    uint64_t unfinished = agent->once ? 0 : file_unfinished(file);
    return !file->listed || generation->changed ||
           generation->durable_at > state_durable(agent->state) || file_lag(file) > unfinished;
}

/* When will rotation take what waits in the file? */
static void
expect_loss(const struct agent *agent, const struct file *file, uint64_t now_ms)
{
    const struct rotation *rotation =
        file->moved_ms != 0 ? file->rotation : rotations_find(&agent->rotations, file->path);
    uint64_t danger_ms = rotation_danger_ms(rotation, file->moved_ms);
    if (danger_ms == UINT64_MAX)
        return;
    double *seconds = &file->input->sums.loss_seconds;
    double expected =
        rotation_loss_seconds(danger_ms, now_ms, file_lag(file), habit_rate(&file->habit, now_ms));
    if (isnan(*seconds) || expected < *seconds)
        *seconds = expected;
}

void
account_rotated(struct agent *agent, const char *path, struct input *input, bool truncated)
{
    uint64_t now_ms = clock_monotonic_ms();
    const struct rotation *rotation = rotations_note(&agent->rotations, path, truncated, now_ms);
    if (rotation != NULL && rotation->interval_ms != 0)
        input->rotates = true;
    struct file *file = file_by_path(agent, path);
    if (file == NULL || truncated || file->moved_ms != 0)
        return;
    file->rotation = rotation;
    file->moved_ms = now_ms;
}

void
account_tick(struct agent *agent)
{
    uint64_t now_ms = clock_monotonic_ms();
    for (struct input *input = agent->inputs; input != NULL; input = input->next) {
        input->sums.oldest_ms = 0;
        input->sums.loss_seconds = input->rotates ? INFINITY : NAN;
    }
    for (struct file *file = agent->busy, *next; file != NULL; file = next) {
        next = file->busy_next;
        uint64_t lag_bytes = file_lag(file);
        if (lag_bytes == 0 || lag_bytes == file_unfinished(file))
            file->behind_since_ms = 0; /* nothing waits that could be shipped */
        struct input_sums *sums = &file->input->sums;
        if (file->behind_since_ms != 0 &&
            (sums->oldest_ms == 0 || file->behind_since_ms < sums->oldest_ms))
            sums->oldest_ms = file->behind_since_ms;
        if (file->behind_since_ms != 0 && agent->rotations.count > 0)
            expect_loss(agent, file, now_ms);
        count(file);
        if (!is_busy(agent, file))
            leave_list(agent, file);
    }
}
