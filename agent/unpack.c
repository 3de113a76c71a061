/* SPDX-License-Identifier: Apache-2.0 */
/* unpack.c: see unpack.h. */
#include "agent/unpack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "agent/generation.h"
#include "core/assert.h"
#include "core/disk.h"

#define IN_SIZE (32 * 1024)
#define OUT_SIZE (128 * 1024)
#define GZIP_ONLY (16 + MAX_WBITS) /* zlib: no raw or zlib streams, checksums are verified */
#define GZIP_MAGIC 0x1f

struct unpack {
    struct unpack_life life;
    int in, out;
    uint64_t room, written;
    z_stream stream;
    bool between;    /* a member has ended: another may follow */
    uint64_t offset; /* bytes of the content so far */
    bool head_fits;
    bool tail_fits; /* `committed` is passed, and the bytes before are the ones of before */
    size_t head_size, tail_size;
    char head[HEAD_SIZE_MAX];
    char tail[TAIL_SIZE_MAX]; /* the last bytes before `offset`, up to `committed` */
    unsigned char input[IN_SIZE];
    char output[OUT_SIZE];
};

bool
unpack_can_tell(const struct unpack_life *life)
{
    return life->committed >= CONTENT_SIZE_MIN || life->head_size >= CONTENT_SIZE_MIN;
}

bool
unpack_is_other(const struct unpack_life *life, int fd)
{
    unsigned char input[4 * HEAD_SIZE_MAX]; /* random bytes do not shrink; names stand before */
    unsigned char head[HEAD_SIZE_MAX];
    ssize_t got = pread(fd, input, sizeof(input), 0);
    z_stream stream = {.next_in = input,
                       .avail_in = got < 0 ? 0 : (unsigned)got,
                       .next_out = head,
                       .avail_out = life->head_size};
    if (got <= 0 || life->head_size == 0 || inflateInit2(&stream, GZIP_ONLY) != Z_OK)
        return false;
    int status = inflate(&stream, Z_SYNC_FLUSH);
    (void)inflateEnd(&stream);
    return status >= Z_OK && stream.avail_out == 0 &&
           generation_hash(head, life->head_size) != life->head_hash;
}

bool
unpack_new(struct unpack **out_unpack, const struct unpack_life *life, int in, int out,
           uint64_t room, struct err *err)
{
    ASSERT(life->head_size <= HEAD_SIZE_MAX);

    struct unpack *unpack = calloc(1, sizeof(*unpack));
    if (unpack == NULL || inflateInit2(&unpack->stream, GZIP_ONLY) != Z_OK) {
        free(unpack);
        return err_errno(err, ERR_RETRY, ENOMEM, "unpack a file");
    }
    unpack->life = *life;
    unpack->in = in;
    unpack->out = out;
    unpack->room = room;
    *out_unpack = unpack;
    return true;
}

void
unpack_free(struct unpack *unpack)
{
    if (unpack == NULL)
        return;
    (void)inflateEnd(&unpack->stream);
    free(unpack);
}

uint64_t
unpack_end(const struct unpack *unpack)
{
    return unpack->offset;
}

static enum unpack_result
write_at(struct unpack *unpack, const char *bytes, size_t size, uint64_t offset, struct err *err)
{
    if (!disk_write_at(unpack->out, bytes, size, offset)) {
        (void)err_errno(err, ERR_RETRY, errno, "write what is unpacked");
        return UNPACK_FAILED;
    }
    return UNPACK_MORE;
}

static enum unpack_result
take_head(struct unpack *unpack, const char *bytes, size_t size)
{
    size_t left = sizeof(unpack->head) - unpack->head_size;
    size_t more = size < left ? size : left;
    memcpy(unpack->head + unpack->head_size, bytes, more);
    unpack->head_size += more;
    if (unpack->head_fits || unpack->head_size < unpack->life.head_size)
        return UNPACK_MORE;
    unpack->head_fits =
        generation_hash(unpack->head, unpack->life.head_size) == unpack->life.head_hash;
    return unpack->head_fits ? UNPACK_MORE : UNPACK_OTHER;
}

/* Keeps the last bytes of what is acknowledged already. */
static void
take_tail(struct unpack *unpack, const char *bytes, size_t size)
{
    if (size >= sizeof(unpack->tail)) {
        memcpy(unpack->tail, bytes + size - sizeof(unpack->tail), sizeof(unpack->tail));
        unpack->tail_size = sizeof(unpack->tail);
        return;
    }
    size_t keep = sizeof(unpack->tail) - size;
    if (keep > unpack->tail_size)
        keep = unpack->tail_size;
    memmove(unpack->tail, unpack->tail + unpack->tail_size - keep, keep);
    memcpy(unpack->tail + keep, bytes, size);
    unpack->tail_size = keep + size;
}

/* `offset` has reached `committed`. */
static enum unpack_result
pass_committed(struct unpack *unpack, struct err *err)
{
    if (generation_hash(unpack->tail, unpack->tail_size) != unpack->life.tail_hash)
        return UNPACK_OTHER;
    unpack->tail_fits = true;
    return write_at(unpack, unpack->tail, unpack->tail_size,
                    unpack->life.committed - unpack->tail_size, err);
}

static enum unpack_result
take(struct unpack *unpack, const char *bytes, size_t size, struct err *err)
{
    enum unpack_result result = take_head(unpack, bytes, size);
    if (result == UNPACK_MORE && unpack->offset < unpack->life.committed) {
        uint64_t left = unpack->life.committed - unpack->offset;
        size_t known = size < left ? size : (size_t)left;
        take_tail(unpack, bytes, known);
        unpack->offset += known;
        bytes += known;
        size -= known;
    }
    if (result == UNPACK_MORE && !unpack->tail_fits && unpack->offset == unpack->life.committed)
        result = pass_committed(unpack, err);
    if (result != UNPACK_MORE || size == 0)
        return result;
    if (size > unpack->room - unpack->written)
        return UNPACK_FULL;
    result = write_at(unpack, bytes, size, unpack->offset, err);
    unpack->written += size;
    unpack->offset += size;
    return result;
}

/* The stream has ended in order. */
static enum unpack_result
finish(struct unpack *unpack, struct err *err)
{
    const struct unpack_life *life = &unpack->life;
    if (!unpack->head_fits || !unpack->tail_fits)
        return UNPACK_OTHER; /* shorter than what is acknowledged: nothing is left in it */
    if (life->committed < CONTENT_SIZE_MIN && unpack->offset < life->size)
        return UNPACK_OTHER; /* next to nothing was compared: at least it must hold all */
    enum unpack_result result = write_at(unpack, unpack->head, unpack->head_size, 0, err);
    return result == UNPACK_MORE ? UNPACK_DONE : result;
}

/* Fills the input. UNPACK_DONE: the file has no more. */
static enum unpack_result
fill(struct unpack *unpack, struct err *err)
{
    ssize_t got;
    do {
        got = read(unpack->in, unpack->input, sizeof(unpack->input));
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        (void)err_errno(err, ERR_RETRY, errno, "read the compressed file");
        return UNPACK_FAILED;
    }
    unpack->stream.next_in = unpack->input;
    unpack->stream.avail_in = (unsigned)got;
    return got == 0 ? UNPACK_DONE : UNPACK_MORE;
}

/* Inflates what the output has room for. */
static enum unpack_result
inflate_some(struct unpack *unpack, struct err *err)
{
    z_stream *stream = &unpack->stream;
    if (unpack->between) {
        /* gzip(1) passes over what follows the last member, too: padding, mostly. */
        if (stream->next_in[0] != GZIP_MAGIC)
            return finish(unpack, err);
        (void)inflateReset(stream);
        unpack->between = false;
    }
    stream->next_out = (unsigned char *)unpack->output;
    stream->avail_out = sizeof(unpack->output);
    int status = inflate(stream, Z_NO_FLUSH);
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) {
        (void)err_set(err, ERR_REJECT, 0, "%s",
                      stream->msg == NULL ? "it is no gzip stream" : stream->msg);
        return UNPACK_DAMAGED;
    }
    unpack->between = status == Z_STREAM_END;
    return take(unpack, unpack->output, sizeof(unpack->output) - stream->avail_out, err);
}

enum unpack_result
unpack_step(struct unpack *unpack, struct err *err)
{
    enum unpack_result result = UNPACK_MORE;
    for (size_t taken = 0; result == UNPACK_MORE && taken < UNPACK_STEP_SIZE;) {
        /* Also output that did not fit is counted: a few bytes can unfold to gigabytes. */
        taken += IN_SIZE;
        if (unpack->stream.avail_in == 0) {
            result = fill(unpack, err);
            if (result == UNPACK_DONE)
                return unpack->between ? finish(unpack, err) : UNPACK_CUT;
        }
        if (result == UNPACK_MORE)
            result = inflate_some(unpack, err);
    }
    return result;
}
