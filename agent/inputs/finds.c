/* SPDX-License-Identifier: Apache-2.0 */
/* finds.c: see finds.h. */
#include "agent/inputs/finds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/reader.h"

void
finds_init(struct finds *finds)
{
    *finds = (struct finds){0};
    finds->end = &finds->first;
}

void
finds_done(struct finds *finds)
{
    HASH_CLEAR(by_inode, finds->by_inode);
    while (finds->first != NULL) {
        struct find *next = finds->first->next;
        free(finds->first->path);
        free(finds->first);
        finds->first = next;
    }
    finds->end = &finds->first;
}

struct find *
finds_add(struct finds *finds, const char *path, struct input *input, const struct stat *about)
{
    const uint64_t key[2] = {(uint64_t)about->st_dev, (uint64_t)about->st_ino};
    struct find *find;
    HASH_FIND(by_inode, finds->by_inode, key, sizeof(key), find);
    if (find != NULL)
        return NULL;
    find = calloc(1, sizeof(*find));
    if (find == NULL || (find->path = strdup(path)) == NULL) {
        free(find);
        finds->lacking = true;
        return NULL;
    }
    find->input = input;
    find->about = *about;
    find->listed = true;
    find->key.device = key[0];
    find->key.inode = key[1];
    HASH_ADD(by_inode, finds->by_inode, key, sizeof(find->key), find);
    if (!HASH_ADDED(by_inode, find)) {
        free(find->path);
        free(find);
        finds->lacking = true;
        return NULL; /* found again at the next discovery */
    }
    *finds->end = find;
    finds->end = &find->next;
    return find;
}

int
find_open(struct find *find)
{
    int fd = reader_open(find->path);
    if (fd < 0) {
        find->unknown = errno != ENOENT;
        find->taken = errno == ENOENT;
        return -1;
    }
    if (fstat(fd, &find->about) != 0 || !S_ISREG(find->about.st_mode) ||
        (uint64_t)find->about.st_ino != find->key.inode ||
        (uint64_t)find->about.st_dev != find->key.device) {
        (void)close(fd); /* another file meanwhile: the next discovery meets it */
        find->taken = true;
        return -1;
    }
    find->birth_ns = generation_birth_ns(fd);
    return fd;
}
