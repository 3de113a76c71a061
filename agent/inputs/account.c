/* SPDX-License-Identifier: Apache-2.0 */
/* account.c: see account.h. */
#include "agent/inputs/account.h"

#include "agent/inputs/file.h"
#include "agent/state.h"
#include "core/assert.h"

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

void
account_tick(struct agent *agent)
{
    for (struct input *input = agent->inputs; input != NULL; input = input->next)
        input->sums.oldest_ms = 0;
    for (struct file *file = agent->busy, *next; file != NULL; file = next) {
        next = file->busy_next;
        uint64_t lag_bytes = file_lag(file);
        if (lag_bytes == 0 || lag_bytes == file_unfinished(file))
            file->behind_since_ms = 0; /* nothing waits that could be shipped */
        struct input_sums *sums = &file->input->sums;
        if (file->behind_since_ms != 0 &&
            (sums->oldest_ms == 0 || file->behind_since_ms < sums->oldest_ms))
            sums->oldest_ms = file->behind_since_ms;
        count(file);
        if (!is_busy(agent, file))
            leave_list(agent, file);
    }
}
