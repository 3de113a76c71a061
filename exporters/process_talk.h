/* SPDX-License-Identifier: Apache-2.0 */
/* process_talk.h: what the program and a collector's process (process.h) say to each other over
 * their socket. Both are the same build, so structs go as they are. */
#ifndef EXPORTERS_PROCESS_TALK_H
#define EXPORTERS_PROCESS_TALK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"
#include "core/bounds.h"
#include "exporters/page_wire.h"

#define TALK_MAGIC 0x7a11c0deU

/* First of all, and then the text of the configuration. */
struct talk_greeting {
    uint32_t magic;
    char collector[64];
    uint64_t index; /* of the target */
    uint64_t series_max;
    uint64_t config_size;
};
/* A round. */
struct talk_order {
    uint32_t magic;
    uint64_t timeout_ms;
};
/* What became of it, and then the parts of its page. */
struct talk_answer {
    uint32_t magic;
    bool fine;
    char error[ERR_TEXT_MAX];
    struct page_wire page;
};

enum talk {
    TALK_DONE,
    TALK_ENDED,   /* nobody is at the other end */
    TALK_LATE,    /* not within its time */
    TALK_STOPPED, /* the program ends */
    TALK_DAMAGED, /* what came is none of the above structs */
};
struct talk_wait {
    uint64_t until_ms;       /* of the monotonic clock; UINT64_MAX: for ever */
    const atomic_bool *stop; /* may be NULL */
};

enum talk talk_send(int socket, const void *bytes, size_t size,
                    const struct talk_wait *wait) MUST_CHECK;
enum talk talk_receive(int socket, void *bytes, size_t size,
                       const struct talk_wait *wait) MUST_CHECK;

#endif
