/* SPDX-License-Identifier: Apache-2.0 */
/* process_talk.c: see process_talk.h. */
#include "exporters/process_talk.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "core/clock.h"

#define TURN_MS 200 /* how soon the end of the program is seen, while a round is under way */

static enum talk
wait_for(int socket, short events, const struct talk_wait *wait)
{
    struct pollfd poller = {.fd = socket, .events = events};
    uint64_t now_ms = clock_monotonic_ms();
    if (wait->stop != NULL && atomic_load(wait->stop))
        return TALK_STOPPED;
    if (now_ms >= wait->until_ms)
        return TALK_LATE;
    uint64_t left_ms = wait->until_ms - now_ms;
    bool endless = wait->until_ms == UINT64_MAX && wait->stop == NULL;
    (void)poll(&poller, 1, endless ? -1 : left_ms < TURN_MS ? (int)left_ms : TURN_MS);
    return TALK_DONE;
}

enum talk
talk_send(int socket, const void *bytes, size_t size, const struct talk_wait *wait)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t sent = send(socket, at, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0) {
            at += sent;
            size -= (size_t)sent;
        } else if (errno == EAGAIN) {
            enum talk outcome = wait_for(socket, POLLOUT, wait);
            if (outcome != TALK_DONE)
                return outcome;
        } else if (errno != EINTR) {
            return TALK_ENDED;
        }
    }
    return TALK_DONE;
}

enum talk
talk_receive(int socket, void *bytes, size_t size, const struct talk_wait *wait)
{
    char *at = bytes;
    while (size > 0) {
        ssize_t got = recv(socket, at, size, MSG_DONTWAIT);
        if (got > 0) {
            at += got;
            size -= (size_t)got;
        } else if (got < 0 && errno == EAGAIN) {
            enum talk outcome = wait_for(socket, POLLIN, wait);
            if (outcome != TALK_DONE)
                return outcome;
        } else if (got == 0 || errno != EINTR) {
            return TALK_ENDED;
        }
    }
    return TALK_DONE;
}
