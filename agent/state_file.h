/* SPDX-License-Identifier: Apache-2.0 */
/* state_file.h: the state's folder on the disk.
 *     lock            held for life; names the process
 *     journal         records, then zeros: room that is on the disk already
 *     journal.spare   as large as the next compaction needs; it and `journal` change names then
 * Both files keep their blocks, so that a full disk stops neither appending (into the zeros) nor
 * compacting (into the spare). A file whose sync failed is never written again: what the kernel
 * kept of it is not known. One thread at a time. */
#ifndef AGENT_STATE_FILE_H
#define AGENT_STATE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

struct state_file {
    char *folder;
    int folder_fd, lock_fd;
    int fd;            /* of the journal, -1: there is none */
    uint64_t size;     /* of its records */
    uint64_t capacity; /* zeros included */
    uint64_t spare_capacity;
    bool suspect; /* the journal's sync failed */
};

enum state_written {
    STATE_WRITTEN,
    STATE_LATER,  /* not written, nothing is damaged: try again, or replace */
    STATE_BROKEN, /* what is on the disk is not known: only a replacement helps */
};

/* Makes the folder when it is missing, and locks it. ERR_RETRY: another process has it. */
bool state_file_open(struct state_file *file, const char *folder, struct err *err) MUST_CHECK;
void state_file_close(struct state_file *file);

/* All bytes of `path`, to be freed; of no file 0 bytes and NULL. */
bool state_file_read(const char *path, char **bytes, size_t *size, struct err *err) MUST_CHECK;
/* The same of the journal, which is opened; `size` and `capacity` are set to its size. */
bool state_file_load(struct state_file *file, char **bytes, size_t *size,
                     struct err *err) MUST_CHECK;

/* Appends and syncs. The spare is kept large enough for a replacement of `spare_size` bytes. */
enum state_written state_file_append(struct state_file *file, const void *bytes, size_t size,
                                     uint64_t spare_size, struct err *err) MUST_CHECK;
/* Everything anew, by way of the spare. Makes the folder again when it was removed. */
enum state_written state_file_replace(struct state_file *file, const void *bytes, size_t size,
                                      uint64_t spare_size, struct err *err) MUST_CHECK;

#endif
