/* SPDX-License-Identifier: Apache-2.0 */
/* reader.h: one turn of one file: read, check that it is still the same content, cut, encode,
 * send. */
#ifndef AGENT_READER_H
#define AGENT_READER_H

#include "agent/agent.h"

enum read_outcome {
    READ_MORE,    /* there is more: it wants another turn */
    READ_IDLE,    /* at the end, or what is there is no whole line yet */
    READ_BLOCKED, /* no memory for its lane: after the next answers */
    READ_WAITING, /* its birth, a cut or the day is not on disk yet */
    READ_CHANGED, /* this is not the content any more: its generation has ended */
    READ_FAILED,  /* cannot be read now; `err` says why */
};

/* `partition` and `lane` are where a batch of it goes now. */
enum read_outcome reader_turn(struct agent *agent, struct file *file, int32_t partition,
                              struct lane *lane, struct err *err) MUST_CHECK;

/* What every event of an input has: rendered once. False with ERR_CONFIG when it is too long. */
bool reader_render_input(struct input *input, struct err *err) MUST_CHECK;

/* A file opened for reading that cannot block or change anything. -1 with errno. */
int reader_open(const char *path);

/* Does the file still hold what was read of it last, and its beginning? True when nobody can
 * look. */
bool reader_is_same(const struct file *file);

/* The first bytes came to a life that began empty. Only by them is it found in a copy: they are on
 * disk before its first event. */
void reader_put_start(struct agent *agent, struct file *file);

/* Sets where reading goes on: the hash of the bytes before must be known. */
void reader_seek(struct file *file, uint64_t offset, uint64_t hash);

#endif
