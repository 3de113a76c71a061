/* SPDX-License-Identifier: Apache-2.0 */
/* watch.c: see watch.h. A folder's path is kept by its watch number. */
#include "agent/inputs/watch.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "core/assert.h"
#include "core/hash.h"

#define EVENTS_SIZE 65536 /* read at once */
#define WATCHED                                                                                    \
    (IN_MODIFY | IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE | IN_DELETE_SELF |            \
     IN_MOVE_SELF | IN_ATTRIB | IN_ONLYDIR)

struct folder {
    int number;
    char *path;
    UT_hash_handle by_number, by_path;
};

struct watch {
    int fd;
    struct folder *by_number, *by_path;
    char events[EVENTS_SIZE] __attribute__((aligned(__alignof__(struct inotify_event))));
};

bool
watch_new(struct watch **out, struct err *err)
{
    struct watch *watch = calloc(1, sizeof(*watch));
    if (watch == NULL)
        return err_errno(err, ERR_RETRY, ENOMEM, "watch folders");
    watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch->fd < 0) {
        int number = errno;
        free(watch);
        return err_errno(err, ERR_RETRY, number, "watch folders");
    }
    *out = watch;
    return true;
}

static void
folder_remove(struct watch *watch, struct folder *folder)
{
    HASH_DELETE(by_number, watch->by_number, folder);
    HASH_DELETE(by_path, watch->by_path, folder);
    free(folder->path);
    free(folder);
}

void
watch_free(struct watch *watch)
{
    if (watch == NULL)
        return;
    while (watch->by_number != NULL)
        folder_remove(watch, watch->by_number);
    (void)close(watch->fd);
    free(watch);
}

int
watch_fd(const struct watch *watch)
{
    return watch->fd;
}

/* False: no memory, and it is in none of them. */
static bool
enter_tables(struct watch *watch, struct folder *folder)
{
    HASH_ADD(by_number, watch->by_number, number, sizeof(folder->number), folder);
    if (!HASH_ADDED(by_number, folder))
        return false;
    HASH_ADD_KEYPTR(by_path, watch->by_path, folder->path, strlen(folder->path), folder);
    if (HASH_ADDED(by_path, folder))
        return true;
    HASH_DELETE(by_number, watch->by_number, folder);
    return false;
}

bool
watch_folder(struct watch *watch, const char *path, struct err *err)
{
    struct folder *folder;
    HASH_FIND(by_path, watch->by_path, path, strlen(path), folder);
    if (folder != NULL)
        return true;
    int number = inotify_add_watch(watch->fd, path, WATCHED);
    if (number < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return true; /* gone meanwhile */
        return err_errno(err, ERR_RETRY, errno, "watch '%.300s'", path);
    }
    HASH_FIND(by_number, watch->by_number, &number, sizeof(number), folder);
    if (folder != NULL)
        return true; /* the same folder by another path */
    folder = calloc(1, sizeof(*folder));
    if (folder == NULL || (folder->path = strdup(path)) == NULL) {
        free(folder);
        (void)inotify_rm_watch(watch->fd, number);
        return err_errno(err, ERR_RETRY, ENOMEM, "watch '%.300s'", path);
    }
    folder->number = number;
    if (!enter_tables(watch, folder)) {
        free(folder->path);
        free(folder);
        (void)inotify_rm_watch(watch->fd, number);
        return err_errno(err, ERR_RETRY, ENOMEM, "watch '%.300s'", path);
    }
    return true;
}

bool
watch_covers(const struct watch *watch, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return false;
    struct folder *folder;
    size_t size = slash == path ? 1 : (size_t)(slash - path);
    HASH_FIND(by_path, watch->by_path, path, size, folder);
    return folder != NULL;
}

static void
serve_one(struct watch *watch, const struct inotify_event *event, const struct watch_events *events)
{
    if ((event->mask & IN_Q_OVERFLOW) != 0) {
        events->overflow(events->context);
        return;
    }
    struct folder *folder;
    HASH_FIND(by_number, watch->by_number, &event->wd, sizeof(event->wd), folder);
    if (folder == NULL)
        return;
    if ((event->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF)) != 0) {
        if ((event->mask & IN_IGNORED) == 0)
            (void)inotify_rm_watch(watch->fd, event->wd);
        folder_remove(watch, folder);
        events->changed(events->context);
        return;
    }
    if ((event->mask & IN_MODIFY) == 0) {
        events->changed(events->context);
        return;
    }
    char path[PATH_MAX];
    int size =
        snprintf(path, sizeof(path), "%s/%s", strcmp(folder->path, "/") == 0 ? "" : folder->path,
                 event->len > 0 ? event->name : "");
    if (size > 0 && (size_t)size < sizeof(path))
        events->written(events->context, path);
}

bool
watch_serve(struct watch *watch, const struct watch_events *events)
{
    for (bool any = false;; any = true) {
        ssize_t got = read(watch->fd, watch->events, sizeof(watch->events));
        if (got <= 0)
            return any;
        for (ssize_t at = 0; at < got;) {
            const struct inotify_event *event = (const void *)(watch->events + at);
            serve_one(watch, event, events);
            at += (ssize_t)sizeof(*event) + event->len;
        }
    }
}
