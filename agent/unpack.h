/* SPDX-License-Identifier: Apache-2.0 */
/* unpack.h: takes the rest of one life's content out of a gzip stream.
 * What comes out is compared on the way: the head first, then the bytes before `committed`; most
 * files that are not the life's are known after their first kilobyte. Written is a sparse file
 * with the bytes at their own offsets, so that it is read like the original:
 *     0 .. HEAD_SIZE_MAX        the head
 *     …  a hole                 what is acknowledged
 *     committed - 64 .. end     what is left to ship, and the bytes before
 * Memory is bounded whatever the stream holds; so is what is written. One thread at a time. */
#ifndef AGENT_UNPACK_H
#define AGENT_UNPACK_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

struct unpack;

/* The life that is looked for, as the state knows it. */
struct unpack_life {
    uint64_t head_hash;
    uint32_t head_size;
    uint64_t committed, tail_hash; /* of the up to 64 bytes before it */
    uint64_t size;                 /* it is known to have had so many bytes */
};

enum unpack_result {
    UNPACK_MORE,    /* call again */
    UNPACK_DONE,    /* it is this life, and all of it is written */
    UNPACK_OTHER,   /* it holds something else */
    UNPACK_CUT,     /* it ends too early: still being written, or damaged */
    UNPACK_DAMAGED, /* `err` says how */
    UNPACK_FULL,    /* there is more to write than there is room for */
    UNPACK_FAILED,  /* cannot be read or written now; `err` says why */
};

/* Can the life be told by its content alone? */
bool unpack_can_tell(const struct unpack_life *life);

/* A quick look at the first bytes of the open file: does another head unfold from them? */
bool unpack_is_other(const struct unpack_life *life, int fd);

/* Reads `in` from its position and writes `out`, both the caller's, with at most `room` bytes
 * behind `committed`. */
bool unpack_new(struct unpack **out_unpack, const struct unpack_life *life, int in, int out,
                uint64_t room, struct err *err) MUST_CHECK;
void unpack_free(struct unpack *unpack); /* NULL is fine */

/* Goes on by about UNPACK_STEP_SIZE bytes of the compressed stream. */
#define UNPACK_STEP_SIZE ((size_t)1024 * 1024)
enum unpack_result unpack_step(struct unpack *unpack, struct err *err) MUST_CHECK;
uint64_t unpack_end(const struct unpack *unpack); /* bytes of the content, when it is done */

#endif
