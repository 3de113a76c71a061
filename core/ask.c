/* SPDX-License-Identifier: Apache-2.0 */
/* ask.c: see ask.h. One question at a time; its states:
 *     IDLE -> WAITING (asker) -> SERVING (loop) -> DONE (loop) -> IDLE (asker)
 * An asker that gives up leaves WAITING as IDLE, or SERVING as ABANDONED, which the loop makes
 * IDLE. */
#include "core/ask.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "core/assert.h"
#include "core/bounds.h"
#include "core/buffer.h"

_Static_assert(ASK_TIMEOUT_MS % 1000 == 0, "the deadline counts whole seconds");

#define QUESTION_MAX 8192 /* a path of PATH_MAX and a verb */

enum ask_state { ASK_IDLE, ASK_WAITING, ASK_SERVING, ASK_DONE, ASK_ABANDONED };

struct ask {
    int event_fd;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum ask_state state;
    bool closed;
    char question[QUESTION_MAX];
    struct buffer answer; /* the loop's while SERVING or ABANDONED, else under the lock */
};

bool
ask_new(struct ask **out, struct err *err)
{
    ASSERT(out != NULL);

    struct ask *ask = calloc(1, sizeof(*ask));
    if (ask == NULL)
        return err_set(err, ERR_STOP, 0, "cannot allocate the question box: out of memory");
    ask->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (ask->event_fd < 0) {
        free(ask);
        return err_errno(err, ERR_STOP, errno, "make an eventfd");
    }
    buffer_init(&ask->answer, HTTP_BODY_MAX);
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&ask->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    (void)pthread_mutex_init(&ask->lock, NULL);
    *out = ask;
    return true;
}

void
ask_free(struct ask *ask)
{
    if (ask == NULL)
        return;
    (void)close(ask->event_fd);
    buffer_done(&ask->answer);
    (void)pthread_cond_destroy(&ask->changed);
    (void)pthread_mutex_destroy(&ask->lock);
    free(ask);
}

void
ask_close(struct ask *ask)
{
    if (ask == NULL)
        return;
    (void)pthread_mutex_lock(&ask->lock);
    ask->closed = true;
    (void)pthread_cond_broadcast(&ask->changed);
    (void)pthread_mutex_unlock(&ask->lock);
}

int
ask_fd(const struct ask *ask)
{
    return ask->event_fd;
}

void
ask_serve(struct ask *ask, ask_answer *answer, void *context)
{
    uint64_t count;
    if (read(ask->event_fd, &count, sizeof(count)) < 0)
        return; /* nobody asked */

    (void)pthread_mutex_lock(&ask->lock);
    bool waiting = ask->state == ASK_WAITING;
    if (waiting)
        ask->state = ASK_SERVING;
    (void)pthread_mutex_unlock(&ask->lock);
    if (!waiting)
        return;

    buffer_clear(&ask->answer);
    answer(context, ask->question, &ask->answer);

    (void)pthread_mutex_lock(&ask->lock);
    ask->state = ask->state == ASK_ABANDONED ? ASK_IDLE : ASK_DONE;
    (void)pthread_cond_broadcast(&ask->changed);
    (void)pthread_mutex_unlock(&ask->lock);
}

/* The lock is held. False when the state is not `wanted` before the deadline, or the end. */
static bool
wait_for(struct ask *ask, enum ask_state wanted, const struct timespec *deadline)
{
    while (ask->state != wanted && !ask->closed)
        if (pthread_cond_timedwait(&ask->changed, &ask->lock, deadline) == ETIMEDOUT)
            break;
    return ask->state == wanted;
}

bool
ask_loop(struct ask *ask, const char *question, struct buffer *out, struct err *err)
{
    ASSERT(question != NULL);

    if (strlen(question) >= QUESTION_MAX)
        return err_set(err, ERR_REJECT, 0, "cannot ask the data loop: the question is too long");
    struct timespec deadline;
    (void)clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += ASK_TIMEOUT_MS / 1000;
    bool whole = true;

    (void)pthread_mutex_lock(&ask->lock);
    bool done = wait_for(ask, ASK_IDLE, &deadline);
    if (done) {
        memcpy(ask->question, question, strlen(question) + 1);
        ask->state = ASK_WAITING;
        uint64_t one = 1;
        ssize_t written = write(ask->event_fd, &one, sizeof(one));
        ASSERT(written == (ssize_t)sizeof(one));
        done = wait_for(ask, ASK_DONE, &deadline);
        if (done) {
            whole = !ask->answer.failed;
            buffer_append(out, ask->answer.bytes, ask->answer.size);
            buffer_done(&ask->answer); /* a large answer is rare, its memory is not kept */
            buffer_init(&ask->answer, HTTP_BODY_MAX);
        }
        if (done || ask->state == ASK_WAITING)
            ask->state = ASK_IDLE;
        else
            ask->state = ASK_ABANDONED;
        (void)pthread_cond_broadcast(&ask->changed);
    }
    bool closed = ask->closed;
    (void)pthread_mutex_unlock(&ask->lock);
    if (!done && closed)
        return err_set(err, ERR_RETRY, 0, "the program is stopping");
    if (!whole || out->failed)
        return err_set(err, ERR_REJECT, 0, "the answer is too large, or memory is short");
    return done || err_set(err, ERR_RETRY, 0,
                           "the data loop has not answered for %d ms; it is stuck", ASK_TIMEOUT_MS);
}
