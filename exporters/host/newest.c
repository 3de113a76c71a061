/* SPDX-License-Identifier: Apache-2.0 */
/* newest.c: how fresh folders are, such as those of backups: the age of each one's newest file.
 * A folder that is empty or cannot be read has no age, and says so by its own series. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "exporters/host/collectors.h"
#include "exporters/host/folders.h"
#include "exporters/page.h"

#define FOLDERS_MAX 1000
#define FILES_MAX 100000 /* of one folder: a backup folder has some */

struct folder {
    char *shown; /* owned */
    bool readable;
    uint64_t files;
    double newest;  /* seconds since 1970, of the newest file */
    uint64_t bytes; /* of the newest file */
};

struct newest {
    const struct host_options *options;
    struct folder folders[FOLDERS_MAX];
    size_t count;
    struct err last;
};

/* Plain files and their times; what vanishes in between is passed over. */
static void
look(struct newest *newest, struct folder *folder, const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        (void)err_errno(&newest->last, ERR_RETRY, errno, "read the folder '%s'", path);
        return;
    }
    folder->readable = true;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL && folder->files < FILES_MAX;) {
        struct stat about;
        if (fstatat(dirfd(dir), entry->d_name, &about, 0) != 0 || !S_ISREG(about.st_mode))
            continue;
        double time = (double)about.st_mtim.tv_sec + (double)about.st_mtim.tv_nsec / 1e9;
        if (folder->files == 0 || time > folder->newest) {
            folder->newest = time;
            folder->bytes = (uint64_t)about.st_size;
        }
        folder->files++;
    }
    (void)closedir(dir);
}

static void
visit(void *context, const char *path, const char *shown)
{
    struct newest *newest = context;
    if (newest->count == FOLDERS_MAX)
        return;
    struct folder *folder = &newest->folders[newest->count];
    *folder = (struct folder){.shown = strdup(shown)};
    if (folder->shown == NULL)
        return;
    newest->count++;
    look(newest, folder, path);
}

static void
forget(struct newest *newest)
{
    for (size_t i = 0; i < newest->count; i++)
        free(newest->folders[i].shown);
    newest->count = 0;
}

static void
put(const struct newest *newest, struct page *page, double now)
{
    static const char *const heads[][2] = {
        {"tailrace_newest_file_age_seconds", "Age of the newest file of the folder."},
        {"tailrace_newest_file_timestamp_seconds", "When the folder's newest file was written."},
        {"tailrace_newest_file_size_bytes", "Size of the folder's newest file."},
        {"tailrace_folder_files", "Files of the folder."},
        {"tailrace_folder_readable", "Whether the folder could be read."},
    };
    for (size_t family = 0; family < sizeof(heads) / sizeof(heads[0]); family++) {
        page_family(page, heads[family][0], PAGE_GAUGE, heads[family][1]);
        for (size_t i = 0; i < newest->count; i++) {
            const struct folder *folder = &newest->folders[i];
            double values[] = {now - folder->newest, folder->newest, (double)folder->bytes,
                               (double)folder->files, folder->readable};
            if ((family < 3 && folder->files == 0) || (family == 3 && !folder->readable))
                continue;
            page_sample(page, values[family], "folder", folder->shown, NULL);
        }
    }
}

static bool
newest_collect(void *self, struct page *page, struct err *err)
{
    struct newest *newest = self;
    struct timespec now;
    forget(newest);
    newest->last.action = ERR_NONE;
    folders_each(newest->options->root, &newest->options->newest_files, visit, newest);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    put(newest, page, (double)now.tv_sec + (double)now.tv_nsec / 1e9);
    if (newest->count == 0)
        page_absent(page, "tailrace_newest_file_*", "host.newest_files names no folder");
    if (newest->last.action == ERR_NONE)
        return true;
    *err = newest->last;
    return false;
}

static void
newest_close(void *self)
{
    struct newest *newest = self;
    if (newest == NULL)
        return;
    forget(newest);
    free(newest);
}

static bool
newest_open(void **out, const struct host_options *options, struct err *err)
{
    struct newest *newest = calloc(1, sizeof(*newest));
    if (newest == NULL)
        return err_set(err, ERR_STOP, 0, "cannot watch folders: out of memory");
    newest->options = options;
    *out = newest;
    return true;
}

const struct host_class host_newest = {"newest", newest_open, newest_collect, newest_close};
