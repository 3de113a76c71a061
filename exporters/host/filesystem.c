/* SPDX-License-Identifier: Apache-2.0 */
/* filesystem.c: room in mounted file systems. statfs() of a dead server or FUSE process hangs for
 * ever, so it runs on a crew: a mount that does not answer in time is shown with device_error 1,
 * and is not asked again until the call that hangs comes back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "core/clock.h"
#include "exporters/crew.h"
#include "exporters/host/collectors.h"
#include "exporters/host/filter.h"
#include "exporters/host/kept.h"
#include "exporters/host/mountinfo.h"
#include "exporters/page.h"

#define MOUNTS_MAX 4096   /* a host of many containers has hundreds */
#define ROUND_SHARE_MAX 4 /* mounts that may hang at once in one round, times mount_timeout */

/* A mount. Its own allocation: a call that hangs may come back to it long after. */
struct mount {
    char *device, *point, *type; /* labels */
    char *path;                  /* what statfs gets: root and point */
    bool readonly;
    bool present; /* in this round's list */
    struct crew_job job;
    struct statfs numbers; /* the job's */
    int number;            /* the job's: 0, or errno */
};

struct filesystem {
    struct kept mountinfo, fallback;
    const char *root; /* borrowed from the options; "" for "/" */
    uint64_t timeout_ms;
    struct filter *points, *types;
    struct crew *crew;
    struct mount **mounts;
    struct crew_job **jobs;
    size_t count;
    struct mount_line line; /* 8 KiB: not on the helper's stack */
};

static void
ask_mount(void *context)
{
    struct mount *mount = context;
    mount->number = statfs(mount->path, &mount->numbers) == 0 ? 0 : errno;
}

static void
mount_free(struct mount *mount)
{
    if (mount == NULL)
        return;
    free(mount->device);
    free(mount->point);
    free(mount->type);
    free(mount->path);
    free(mount);
}

/* The mount point as seen from the host. /proc/1/mountinfo of the host has its own names
 * already. */
static void
strip_root(const struct filesystem *filesystem, char *point)
{
    size_t size = strlen(filesystem->root);
    if (size == 0 || strncmp(point, filesystem->root, size) != 0 ||
        (point[size] != '/' && point[size] != '\0'))
        return;
    memmove(point, point + size, strlen(point + size) + 1);
    if (point[0] == '\0')
        memcpy(point, "/", 2);
}

static struct mount *
mount_new(const struct filesystem *filesystem, const struct mount_line *line)
{
    struct mount *mount = calloc(1, sizeof(*mount));
    if (mount == NULL)
        return NULL;
    mount->device = strdup(line->device);
    mount->point = strdup(line->point);
    mount->type = strdup(line->type);
    mount->job = (struct crew_job){.run = ask_mount, .context = mount};
    if (asprintf(&mount->path, "%s%s", filesystem->root, line->point) < 0)
        mount->path = NULL;
    if (mount->device != NULL && mount->point != NULL && mount->type != NULL && mount->path != NULL)
        return mount;
    mount_free(mount);
    return NULL;
}

/* Finds or adds the mount of a line. */
static bool
note_mount(struct filesystem *filesystem, const struct mount_line *line, struct err *err)
{
    for (size_t i = 0; i < filesystem->count; i++) {
        struct mount *mount = filesystem->mounts[i];
        if (strcmp(mount->point, line->point) != 0 || strcmp(mount->device, line->device) != 0 ||
            strcmp(mount->type, line->type) != 0)
            continue;
        mount->present = true;
        mount->readonly = line->readonly;
        return true;
    }
    if (filesystem->count == MOUNTS_MAX)
        return true;
    struct mount *mount = mount_new(filesystem, line);
    if (mount == NULL)
        return err_set(err, ERR_RETRY, 0, "cannot note the mounts: out of memory");
    mount->present = true;
    mount->readonly = line->readonly;
    filesystem->mounts[filesystem->count++] = mount;
    return true;
}

/* Brings the list to what is mounted now. One that is gone but hangs stays until it comes back. */
static bool
read_mounts(struct filesystem *filesystem, struct scan text, struct err *err)
{
    for (size_t i = 0; i < filesystem->count; i++)
        filesystem->mounts[i]->present = false;
    while (mountinfo_next(&text, &filesystem->line)) {
        struct mount_line *line = &filesystem->line;
        strip_root(filesystem, line->point);
        if (filter_matches(filesystem->points, scan_of(line->point)) ||
            filter_matches(filesystem->types, scan_of(line->type)))
            continue;
        if (!note_mount(filesystem, line, err))
            return false;
    }
    size_t kept = 0;
    for (size_t i = 0; i < filesystem->count; i++) {
        struct mount *mount = filesystem->mounts[i];
        if (mount->present || crew_job_busy(filesystem->crew, &mount->job))
            filesystem->mounts[kept++] = mount;
        else
            mount_free(mount);
    }
    filesystem->count = kept;
    return true;
}

static void
begin_sample(struct page *page, const struct mount *mount)
{
    page_begin(page);
    page_label(page, "device", mount->device);
    page_label(page, "fstype", mount->type);
    page_label(page, "mountpoint", mount->point);
}

static uint64_t
value_of(const struct mount *mount, size_t field)
{
    const struct statfs *numbers = &mount->numbers;
    uint64_t block = (uint64_t)numbers->f_bsize;
    switch (field) {
    case 0:
        return numbers->f_blocks * block;
    case 1:
        return numbers->f_bfree * block;
    case 2:
        return numbers->f_bavail * block;
    case 3:
        return numbers->f_files;
    default:
        return numbers->f_ffree;
    }
}

static void
put_numbers(const struct filesystem *filesystem, struct page *page)
{
    static const char *const fields[][2] = {
        {"node_filesystem_size_bytes", "Filesystem size in bytes."},
        {"node_filesystem_free_bytes", "Filesystem free space in bytes."},
        {"node_filesystem_avail_bytes", "Filesystem space available to non-root users in bytes."},
        {"node_filesystem_files", "Filesystem total file nodes."},
        {"node_filesystem_files_free", "Filesystem total free file nodes."},
    };
    for (size_t field = 0; field < sizeof(fields) / sizeof(fields[0]); field++) {
        page_family(page, fields[field][0], PAGE_GAUGE, fields[field][1]);
        for (size_t i = 0; i < filesystem->count; i++) {
            const struct mount *mount = filesystem->mounts[i];
            if (!mount->present || !mount->job.done || mount->number != 0)
                continue;
            begin_sample(page, mount);
            page_uint(page, value_of(mount, field));
        }
    }
}

/* A label that is empty is none to Prometheus, so that only errors carry their reason. */
static void
put_states(const struct filesystem *filesystem, struct page *page)
{
    page_family(page, "node_filesystem_readonly", PAGE_GAUGE, "Filesystem read-only status.");
    for (size_t i = 0; i < filesystem->count; i++) {
        if (!filesystem->mounts[i]->present)
            continue;
        begin_sample(page, filesystem->mounts[i]);
        page_uint(page, filesystem->mounts[i]->readonly);
    }
    page_family(page, "node_filesystem_device_error", PAGE_GAUGE,
                "Whether an error occurred while getting statistics for the given device.");
    for (size_t i = 0; i < filesystem->count; i++) {
        const struct mount *mount = filesystem->mounts[i];
        if (!mount->present)
            continue;
        begin_sample(page, mount);
        if (!mount->job.done)
            page_label(page, "device_error", "mountpoint timeout");
        else if (mount->number != 0)
            page_label(page, "device_error", strerrordesc_np(mount->number));
        page_uint(page, !mount->job.done || mount->number != 0);
    }
}

static bool
filesystem_collect(void *self, struct page *page, struct err *err)
{
    struct filesystem *filesystem = self;
    struct scan text;
    /* With hidepid, process 1 cannot be looked at; what we see ourselves is mostly the same. */
    if (!kept_read(&filesystem->mountinfo, &text, err) &&
        !kept_read(&filesystem->fallback, &text, err))
        return false;
    if (!read_mounts(filesystem, text, err))
        return false;
    for (size_t i = 0; i < filesystem->count; i++)
        filesystem->jobs[i] = &filesystem->mounts[i]->job;
    crew_run(filesystem->crew, filesystem->jobs, filesystem->count, filesystem->timeout_ms,
             clock_monotonic_ms() + ROUND_SHARE_MAX * filesystem->timeout_ms);
    put_numbers(filesystem, page);
    put_states(filesystem, page);
    size_t hung = 0;
    for (size_t i = 0; i < filesystem->count; i++)
        hung += !filesystem->mounts[i]->job.done;
    page_gauge(page, "tailrace_exporter_mounts_hung",
               "Mounts whose file system did not answer in time; their sizes are left out.",
               (double)hung);
    return true;
}

static void
release(struct filesystem *filesystem)
{
    for (size_t i = 0; i < filesystem->count; i++)
        mount_free(filesystem->mounts[i]);
    kept_done(&filesystem->mountinfo);
    kept_done(&filesystem->fallback);
    filter_free(filesystem->points);
    filter_free(filesystem->types);
    free(filesystem->mounts);
    free(filesystem->jobs);
    free(filesystem);
}

static void
filesystem_close(void *self)
{
    struct filesystem *filesystem = self;
    if (filesystem != NULL && crew_free(filesystem->crew))
        release(filesystem); /* else a call that hangs may yet write to its mount */
}

static bool
filesystem_open(void **out, const struct host_options *options, struct err *err)
{
    struct filesystem *filesystem = calloc(1, sizeof(*filesystem));
    if (filesystem == NULL)
        return err_set(err, ERR_STOP, 0, "cannot watch the mounts: out of memory");
    filesystem->root = strcmp(options->root, "/") == 0 ? "" : options->root;
    filesystem->timeout_ms = options->mount_timeout;
    filesystem->mounts = calloc(MOUNTS_MAX, sizeof(struct mount *));
    filesystem->jobs = calloc(MOUNTS_MAX, sizeof(struct crew_job *));
    bool fine = filesystem->mounts != NULL && filesystem->jobs != NULL;
    if (!fine)
        (void)err_set(err, ERR_STOP, 0, "cannot watch the mounts: out of memory");
    if (fine && kept_init(&filesystem->mountinfo, options->proc, "1/mountinfo", err) &&
        kept_init(&filesystem->fallback, options->proc, "self/mountinfo", err) &&
        filter_new(&filesystem->points, "host.mount_exclude", options->mount_exclude, err) &&
        filter_new(&filesystem->types, "host.filesystem_exclude", options->filesystem_exclude,
                   err) &&
        crew_new(&filesystem->crew, err)) {
        *out = filesystem;
        return true;
    }
    release(filesystem); /* without a crew: it is the last that can fail */
    return false;
}

const struct host_class host_filesystem = {"filesystem", filesystem_open, filesystem_collect,
                                           filesystem_close};
