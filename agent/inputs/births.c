/* SPDX-License-Identifier: Apache-2.0 */
/* births.c: see births.h. */
#include "agent/inputs/births.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/inputs/account.h"
#include "agent/inputs/copies.h"
#include "agent/inputs/file.h"
#include "agent/inputs/held.h"
#include "agent/reader.h"
#include "agent/state.h"
#include "core/assert.h"
#include "core/clock.h"

/* A zero byte among its first. Those it begins with do not count: a writer that does not append
 * leaves them after a truncation. */
static bool
is_binary(int fd)
{
    char bytes[1024];
    off_t start = 0;
    ssize_t got = pread(fd, bytes, sizeof(bytes), start);
    if (got > 0 && bytes[0] == '\0') {
        off_t data = lseek(fd, 0, SEEK_DATA); /* all before it are zeros */
        if (data > 0)
            got = pread(fd, bytes, sizeof(bytes), data);
    }
    ssize_t zeros = 0;
    while (zeros < got && bytes[zeros] == '\0')
        zeros++;
    return got > zeros && memchr(bytes + zeros, '\0', (size_t)(got - zeros)) != NULL;
}

/* As rotation leaves it: gzip, zstd or xz. */
static bool
is_compressed(int fd)
{
    unsigned char bytes[6];
    ssize_t got = pread(fd, bytes, sizeof(bytes), 0);
    return got == (ssize_t)sizeof(bytes) &&
           (memcmp(bytes, "\x1f\x8b\x08", 3) == 0 || memcmp(bytes, "\x28\xb5\x2f\xfd", 4) == 0 ||
            memcmp(bytes,
                   "\xfd"
                   "7zXZ",
                   5) == 0);
}

void
births_refuse(struct agent *agent, struct file *file, const char *label, const char *reason)
{
    file->state = FILE_REFUSED;
    file->reason = reason;
    account_touch(agent, file);
    metrics_add(
        agent->metrics,
        metrics_series(agent->metrics, METRIC_REFUSED_FILES, file->input->name, label, NULL), 1);
    agent_say(agent, LOG_LEVEL_WARN, "'%s' of input '%s' is not read: %s", file->path,
              file->input->name, reason);
}

static bool
starts_at_end(const struct input *input)
{
    return input->options->start_at == START_AT_END && input->first_start;
}

/* Where a new life begins to be read. False when that could not be found out. */
static bool
set_start(const struct input *input, const struct stat *about, struct generation *generation,
          int fd)
{
    if (!starts_at_end(input))
        return true;
    char tail[TAIL_SIZE_MAX];
    uint64_t size = (uint64_t)about->st_size;
    size_t wanted = size < sizeof(tail) ? (size_t)size : sizeof(tail);
    if (pread(fd, tail, wanted, (off_t)(size - wanted)) != (ssize_t)wanted)
        return false;
    generation_commit(generation, size, generation_hash(tail, wanted));
    return true;
}

static void
visit_first(void *context, struct generation *generation)
{
    struct generation **first = context;
    if (*first == NULL)
        *first = generation;
}

/* The life without a file that this inode is known by; NULL: none is. */
static struct generation *
last_in_inode(const struct lives *lives, const struct stat *about)
{
    struct generation *first = NULL;
    lives_at_inode(lives, about, visit_first, &first);
    return first;
}

/* Its first events are most often of the day of its birth: they wait for one write, not for two. */
static void
mark_day(struct agent *agent, struct generation *generation)
{
    int32_t today = state_day(agent->state, clock_wall_ms());
    days_sent(&generation->days, generation->committed);
    bool fits = today < 0 ||
                days_add(&generation->days, generation->committed, generation->committed, today);
    ASSERT(fits);
}

/* Takes `fd`. False: it changes right now, nothing was begun. */
static bool
begin(struct agent *agent, struct file *file, const struct stat *about, int fd, const char *origin)
{
    struct input *input = file->input;
    struct generation *generation = generation_new(&agent->catalog, input->name, file->path);
    if (generation == NULL) {
        (void)close(fd);
        return false;
    }
    struct err err = {0};
    uint64_t part_size = input->options->part_size;
    if (part_size > agent->part_max) /* raised by a reload: the slabs are those of the start */
        part_size = agent->part_max;
    generation->part_size = (uint32_t)part_size;
    generation_seen(generation, about, generation_birth_ns(fd));
    if (!set_start(input, about, generation, fd) ||
        !generation_grow_head(generation, fd, generation->size, &err)) {
        generation_remove(&agent->catalog, generation);
        (void)close(fd);
        return false;
    }
    generation_know_start(&agent->catalog, generation, fd);
    mark_day(agent, generation);
    state_put_generation(agent->state, generation);
    generation->durable_at = state_sequence(agent->state);
    metrics_add(agent->metrics,
                metrics_series(agent->metrics, METRIC_GENERATIONS, input->name, origin, NULL), 1);
    file->reason = NULL;
    file->size = generation->size;
    file_attach(agent, file, generation, fd);
    generation->origin = origin;
    return true;
}

static void
note_unreadable(struct agent *agent, const struct lives *lives, struct find *find, int number)
{
    const struct generation *last = last_in_inode(lives, &find->about);
    struct file *file = file_new(agent, find->input, find->path, &find->about, FILE_FAILED);
    if (file == NULL)
        return;
    file->error_number = number;
    if (last != NULL && last->committed <= (uint64_t)find->about.st_size)
        file->read = last->committed; /* as far as one can tell without looking into it */
    file->behind_since_ms = file_lag(file) > 0 ? clock_monotonic_ms() : 0;
    agent_say(agent, LOG_LEVEL_WARN, "cannot read '%s': %s; it is tried again", file->path,
              strerror(number));
}

/* With `start_at: end` nothing old would be shipped: it waits at its end for what is new. */
static bool
is_too_old(const struct input *input, const struct stat *about)
{
    int64_t age_ms = (int64_t)input->options->ignore_older;
    return age_ms > 0 && !starts_at_end(input) &&
           clock_wall_ms() - stat_modified_ns(about) / 1000000 > age_ms;
}

static void
begin_in(struct agent *agent, const struct lives *lives, struct find *find, int fd,
         struct file *held)
{
    bool old = is_too_old(find->input, &find->about);
    enum copy copy = old ? COPY_NO : copies_judge(agent, find, fd, held);
    if (copy == COPY_UNKNOWN) {
        (void)close(fd); /* the next look may tell */
        agent->rediscover(agent);
        return;
    }
    if (copy == COPY_HELD) {
        copies_hold(agent, find, fd, held);
        return;
    }
    struct file *file = held;
    if (held != NULL)
        file_close(agent, held);
    else
        file = file_new(agent, find->input, find->path, &find->about, FILE_FAILED);
    if (file == NULL) {
        (void)close(fd);
        return;
    }
    if (old) {
        file->state = FILE_IGNORED;
        file->reason = "not written for longer than ignore_older";
    } else if (is_compressed(fd)) {
        births_refuse(agent, file, "compressed",
                      "it is compressed; only the rest of a file that is known is read from a .gz");
    } else if (is_binary(fd)) {
        births_refuse(agent, file, "binary",
                      "it looks binary: a zero byte in its first 1024, behind those it begins "
                      "with");
    }
    if (old || file->state == FILE_REFUSED) {
        (void)close(fd);
        return;
    }
    const char *origin = copy == COPY_OWN                             ? "own_after_grace"
                         : last_in_inode(lives, &find->about) != NULL ? "inode_reused"
                                                                      : "new";
    if (!begin(agent, file, &find->about, fd, origin)) {
        file->state = FILE_FAILED; /* the next look tries again */
        agent->rediscover(agent);
        return;
    }
    file_settle_descriptor(agent, file, find->listed);
}

void
births_begin(struct agent *agent, const struct lives *lives, struct find *find)
{
    struct file *held = file_by_path(agent, find->path);
    if (held != NULL && held->state != FILE_SUSPENDED)
        return; /* a search among siblings has taken it meanwhile */
    int fd = find->unknown ? -1 : find_open(find);
    int number = errno;
    if (fd >= 0)
        begin_in(agent, lives, find, fd, held);
    else if (!find->taken && held == NULL)
        note_unreadable(agent, lives, find, number);
}

bool
births_begin_held(struct agent *agent, struct file *file)
{
    struct stat about;
    int fd = file->fd < 0 ? -1 : fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0 || fstat(fd, &about) != 0) {
        if (fd >= 0)
            (void)close(fd);
        return false;
    }
    file_close(agent, file);
    return begin(agent, file, &about, fd, "new");
}

bool
births_begin_next(struct agent *agent, const struct file *ended, int fd)
{
    struct stat about;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0 || fstat(own, &about) != 0) {
        if (own >= 0)
            (void)close(own);
        return false;
    }
    struct file *file = file_new_unlisted(agent, ended->input, ended->path, &about);
    if (file == NULL) {
        (void)close(own);
        return false;
    }
    if (!begin(agent, file, &about, own, "new")) {
        file_free(agent, file);
        return false;
    }
    held_look(agent, file);
    return true;
}
