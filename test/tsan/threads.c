/* SPDX-License-Identifier: Apache-2.0 */
/* threads.c: preloaded into a program built with TSan. The sanitizer of gcc 12 does not know
 * threads that C11's thrd_create() starts, as librdkafka does, and dies in the first one's first
 * malloc(); here they are POSIX threads, which it knows. glibc's types are the same underneath. */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

struct start {
    thrd_start_t run;
    void *context;
};

static int
result_of(int error)
{
    return error == 0 ? thrd_success : error == ETIMEDOUT ? thrd_timedout : thrd_error;
}

static void *
run_thread(void *context)
{
    struct start start = *(struct start *)context;
    free(context);
    return (void *)(intptr_t)start.run(start.context);
}

int
thrd_create(thrd_t *thread, thrd_start_t run, void *context)
{
    struct start *start = malloc(sizeof(*start));
    if (start == NULL)
        return thrd_nomem;
    *start = (struct start){run, context};
    return result_of(pthread_create(thread, NULL, run_thread, start));
}

int
thrd_join(thrd_t thread, int *result)
{
    void *returned = NULL;
    int error = pthread_join(thread, &returned);
    if (result != NULL)
        *result = (int)(intptr_t)returned;
    return result_of(error);
}

int
thrd_detach(thrd_t thread)
{
    return result_of(pthread_detach(thread));
}

int
mtx_init(mtx_t *mutex, int type)
{
    (void)type;
    return result_of(pthread_mutex_init((pthread_mutex_t *)mutex, NULL));
}

int
mtx_lock(mtx_t *mutex)
{
    return result_of(pthread_mutex_lock((pthread_mutex_t *)mutex));
}

int
mtx_trylock(mtx_t *mutex)
{
    int error = pthread_mutex_trylock((pthread_mutex_t *)mutex);
    return error == EBUSY ? thrd_busy : result_of(error);
}

int
mtx_unlock(mtx_t *mutex)
{
    return result_of(pthread_mutex_unlock((pthread_mutex_t *)mutex));
}

void
mtx_destroy(mtx_t *mutex)
{
    (void)pthread_mutex_destroy((pthread_mutex_t *)mutex);
}

int
cnd_init(cnd_t *condition)
{
    return result_of(pthread_cond_init((pthread_cond_t *)condition, NULL));
}

int
cnd_signal(cnd_t *condition)
{
    return result_of(pthread_cond_signal((pthread_cond_t *)condition));
}

int
cnd_broadcast(cnd_t *condition)
{
    return result_of(pthread_cond_broadcast((pthread_cond_t *)condition));
}

int
cnd_wait(cnd_t *condition, mtx_t *mutex)
{
    return result_of(pthread_cond_wait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex));
}

int
cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until)
{
    return result_of(
        pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, until));
}

void
cnd_destroy(cnd_t *condition)
{
    (void)pthread_cond_destroy((pthread_cond_t *)condition);
}
