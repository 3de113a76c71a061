/* SPDX-License-Identifier: Apache-2.0 */
/* remotes.c: see remotes.h. A probe is shared by the loop and its thread; who is last frees it. */
#include "agent/inputs/remotes.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "core/clock.h"

#define PROBE_EVERY_MS 1000
#define FRESH_MS 2      /* an answer that is older says nothing any more */
#define PROMPT_TRIES 25 /* a mount that works answers within 5 ms; the loop waits no longer */
#define PROMPT_WAIT_NS 200000
#define START_WAIT_MS 300 /* for the answers of mounts that work */
#define PROBE_STACK_SIZE 65536
#define TABLE "/proc/self/mountinfo"

struct probe {
    atomic_int owners;
    atomic_bool done;
    char path[];
};

struct remotes {
    struct remote *first;
    FILE *table; /* tells by POLLPRI that it has changed */
};

static void
probe_leave(struct probe *probe)
{
    if (atomic_fetch_sub(&probe->owners, 1) == 1)
        free(probe);
}

static void *
probe_run(void *context)
{
    struct probe *probe = context;
    struct statfs about;
    (void)statfs(probe->path, &about); /* an error is an answer, too */
    atomic_store(&probe->done, true);
    probe_leave(probe);
    return NULL;
}

static void
ask(struct remote *remote)
{
    size_t size = strlen(remote->path) + 1;
    struct probe *probe = malloc(sizeof(*probe) + size);
    pthread_attr_t attributes;
    pthread_t thread;
    if (probe == NULL || pthread_attr_init(&attributes) != 0) {
        free(probe);
        return;
    }
    atomic_init(&probe->owners, 2);
    atomic_init(&probe->done, false);
    memcpy(probe->path, remote->path, size);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, PROBE_STACK_SIZE);
    remote->asked_ms = clock_monotonic_ms();
    if (pthread_create(&thread, &attributes, probe_run, probe) == 0)
        remote->probe = probe;
    else
        free(probe);
    (void)pthread_attr_destroy(&attributes);
}

/* Takes note of an answer; when it came is not known. */
static void
collect(struct remote *remote)
{
    if (remote->probe == NULL || !atomic_load(&remote->probe->done))
        return;
    probe_leave(remote->probe);
    remote->probe = NULL;
}

/* Fresh answers only: whoever is told yes touches the mount at once. */
bool
remote_answers(struct remote *remote)
{
    if (remote == NULL)
        return true;
    collect(remote);
    if (remote->probe != NULL)
        return false;
    if (remote->answered_ms != 0 && clock_monotonic_ms() - remote->answered_ms < FRESH_MS)
        return true;
    ask(remote);
    for (unsigned i = 0; i < PROMPT_TRIES && remote->probe != NULL; i++) {
        struct timespec pause = {.tv_nsec = PROMPT_WAIT_NS};
        (void)nanosleep(&pause, NULL);
        collect(remote);
    }
    if (remote->probe != NULL || remote->asked_ms == 0)
        return false;
    remote->answered_ms = clock_monotonic_ms();
    return true;
}

static bool
is_remote(const char *type)
{
    static const char *const types[] = {"nfs", "nfs4", "cifs",   "smb3", "smbfs",    "9p",
                                        "afs", "ceph", "lustre", "fuse", "virtiofs", "vboxsf"};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (strcmp(type, types[i]) == 0)
            return true;
    return strncmp(type, "fuse.", 5) == 0;
}

/* The table writes blanks, tabs, newlines and backslashes as \ooo. */
static void
unescape(char *text)
{
    char *out = text;
    for (const char *at = text; *at != '\0';) {
        if (at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] != '\0' && at[3] != '\0') {
            *out++ = (char)((at[1] - '0') * 64 + (at[2] - '0') * 8 + (at[3] - '0'));
            at += 4;
        } else {
            *out++ = *at++;
        }
    }
    *out = '\0';
}

static void
note_remote(struct remotes *remotes, const char *path, const char *type, uint64_t device)
{
    for (struct remote *at = remotes->first; at != NULL; at = at->next)
        if (at->device == device && strcmp(at->path, path) == 0) {
            at->seen = true;
            return;
        }
    struct remote *remote = calloc(1, sizeof(*remote));
    if (remote == NULL || (remote->path = strdup(path)) == NULL ||
        (remote->type = strdup(type)) == NULL) {
        if (remote != NULL)
            free(remote->path);
        free(remote);
        return; /* at the next change of the table */
    }
    remote->device = device;
    remote->seen = true;
    remote->next = remotes->first;
    remotes->first = remote;
}

/* 36 35 98:0 /root /mnt/point rw,noatime shared:1 - type source options */
static void
note_line(struct remotes *remotes, char *line)
{
    unsigned major_number;
    unsigned minor_number;
    int at = 0;
    if (sscanf(line, "%*d %*d %u:%u %*s %n", &major_number, &minor_number, &at) != 2 || at == 0)
        return;
    char *path = line + at;
    char *end = strchr(path, ' ');
    char *type = strstr(path, " - ");
    if (end == NULL || type == NULL)
        return;
    *end = '\0';
    type += 3;
    type[strcspn(type, " \n")] = '\0';
    unescape(path);
    if (is_remote(type))
        note_remote(remotes, path, type, makedev(major_number, minor_number));
}

static void
read_table(struct remotes *remotes)
{
    char *line = NULL;
    size_t size = 0;
    for (struct remote *at = remotes->first; at != NULL; at = at->next)
        at->seen = false;
    rewind(remotes->table);
    while (getline(&line, &size, remotes->table) > 0)
        note_line(remotes, line);
    free(line);
}

bool
remote_wait(struct remote *remote, uint64_t at_most_ms)
{
    uint64_t start_ms = clock_monotonic_ms();
    while (!remote_answers(remote)) {
        if (remote->probe == NULL)
            ask(remote);
        if (clock_monotonic_ms() - start_ms >= at_most_ms)
            return false;
        struct timespec pause = {.tv_nsec = 1000000};
        (void)nanosleep(&pause, NULL);
    }
    return true;
}

struct remotes *
remotes_new(void)
{
    struct remotes *remotes = calloc(1, sizeof(*remotes));
    if (remotes == NULL || (remotes->table = fopen(TABLE, "re")) == NULL) {
        free(remotes);
        return NULL;
    }
    read_table(remotes);
    for (struct remote *at = remotes->first; at != NULL; at = at->next)
        ask(at);
    uint64_t start_ms = clock_monotonic_ms();
    for (struct remote *at = remotes->first; at != NULL; at = at->next) {
        uint64_t passed_ms = clock_monotonic_ms() - start_ms;
        (void)remote_wait(at, passed_ms < START_WAIT_MS ? START_WAIT_MS - passed_ms : 0);
    }
    return remotes;
}

void
remotes_free(struct remotes *remotes)
{
    if (remotes == NULL)
        return;
    while (remotes->first != NULL) {
        struct remote *next = remotes->first->next;
        if (remotes->first->probe != NULL)
            probe_leave(remotes->first->probe);
        free(remotes->first->path);
        free(remotes->first->type);
        free(remotes->first);
        remotes->first = next;
    }
    (void)fclose(remotes->table);
    free(remotes);
}

void
remotes_tick(struct remotes *remotes, void (*changed)(void *context, const struct remote *remote),
             void *context)
{
    if (remotes == NULL)
        return;
    struct pollfd table = {.fd = fileno(remotes->table), .events = POLLPRI};
    if (poll(&table, 1, 0) > 0)
        read_table(remotes);
    uint64_t now_ms = clock_monotonic_ms();
    for (struct remote *remote = remotes->first; remote != NULL; remote = remote->next) {
        collect(remote);
        bool hung = remote->probe != NULL && now_ms - remote->asked_ms >= REMOTE_DEADLINE_MS;
        bool was_hung = remote->hung;
        remote->hung = hung || (was_hung && remote->probe != NULL);
        if (remote->hung != was_hung)
            changed(context, remote);
        if (remote->probe == NULL && remote->seen && now_ms - remote->asked_ms >= PROBE_EVERY_MS)
            ask(remote);
    }
}

struct remote *
remotes_of_device(const struct remotes *remotes, uint64_t device)
{
    struct remote *remote = remotes == NULL ? NULL : remotes->first;
    while (remote != NULL && (!remote->seen || remote->device != device))
        remote = remote->next;
    return remote;
}

struct remote *
remotes_of_path(const struct remotes *remotes, const char *path)
{
    struct remote *best = NULL;
    size_t best_size = 0;
    for (struct remote *at = remotes == NULL ? NULL : remotes->first; at != NULL; at = at->next) {
        size_t size = strlen(at->path);
        if (at->seen && size > best_size && strncmp(path, at->path, size) == 0 &&
            (path[size] == '/' || path[size] == '\0')) {
            best = at;
            best_size = size;
        }
    }
    return best;
}

struct remote *
remotes_first(const struct remotes *remotes)
{
    return remotes == NULL ? NULL : remotes->first;
}
