/* SPDX-License-Identifier: Apache-2.0 */
/* kept.c: see kept.h. */
#include "exporters/host/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/assert.h"

#define READ_SIZE 4096 /* a seq_file gives at most a page at once, if there is no longer line */

bool
kept_init(struct kept *kept, const char *root, const char *name, struct err *err)
{
    size_t root_size = strlen(root);
    size_t name_size = strlen(name);
    *kept = (struct kept){.fd = -1};
    buffer_init(&kept->text, KEPT_SIZE_MAX);
    kept->path = malloc(root_size + name_size + 2);
    if (kept->path == NULL)
        return err_set(err, ERR_STOP, 0, "cannot remember '%s': out of memory", name);
    memcpy(kept->path, root, root_size);
    kept->path[root_size] = '/';
    memcpy(kept->path + root_size + 1, name, name_size + 1);
    return true;
}

void
kept_done(struct kept *kept)
{
    if (kept->path != NULL && kept->fd >= 0)
        (void)close(kept->fd);
    free(kept->path);
    buffer_done(&kept->text);
    *kept = (struct kept){.fd = -1};
}

/* 0, or errno. */
static int
read_all(struct kept *kept)
{
    buffer_clear(&kept->text);
    for (;;) {
        size_t room = kept->text.capacity - kept->text.size;
        room = room > READ_SIZE ? room - 1 : READ_SIZE;
        char *out = buffer_reserve(&kept->text, room);
        if (out == NULL)
            return EFBIG;
        ssize_t size = pread(kept->fd, out, room, (off_t)kept->text.size);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return errno;
        if (size == 0)
            return 0;
        kept->text.size += (size_t)size;
    }
}

bool
kept_read(struct kept *kept, struct scan *out, struct err *err)
{
    ASSERT(kept->path != NULL);
    int number = kept->fd >= 0 ? read_all(kept) : ENODEV;
    /* What stood behind the descriptor may be gone, and something else have its name. */
    if (number == ENODEV || number == ESTALE || number == ENOENT || number == ESRCH) {
        if (kept->fd >= 0)
            (void)close(kept->fd);
        kept->fd = open(kept->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        number = kept->fd >= 0 ? read_all(kept) : errno;
    }
    if (number != 0)
        return err_errno(err, number == ENOENT ? ERR_REJECT : ERR_RETRY, number, "read '%s'",
                         kept->path);
    *out = (struct scan){kept->text.bytes, kept->text.size};
    return true;
}
