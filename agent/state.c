/* SPDX-License-Identifier: Apache-2.0 */
/* state.c: see state.h. The helper thread owns the file while `busy`; everything else is the
 * owner's. */
#include "agent/state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "agent/journal.h"
#include "core/assert.h"
#include "core/buffer.h"
#include "core/clock.h"

#define STATE_VERSION 1
#define RESERVE_SIZE (256 * 1024) /* preallocated: progress goes on when the disk is full */
#define COMPACT_SIZE_MIN (4 * 1024 * 1024) /* below it compaction is not worth a file */
#define COMPACT_RATIO 4
#define PENDING_SIZE_MAX ((size_t)1024 * 1024 * 1024) /* a snapshot of some million files */
#define KEPT_SIZE_MAX ((size_t)256 * 1024) /* behind a job that the full disk does not take */
#define INPUT_TEXT_MAX 160
#define PATH_TEXT_MAX 4096

enum record_type {
    RECORD_HEADER = 1, /* version, machine, file system */
    RECORD_GENERATION,
    RECORD_PROGRESS,
    RECORD_CUT,
    RECORD_FORGET,
    RECORD_INPUT,
    RECORD_TIME, /* wall clock, and whether the owner stopped in order */
    RECORD_PARTS,
};

struct seen_input {
    char *name;
    struct seen_input *next;
};

enum job_result { JOB_DONE, JOB_AGAIN, JOB_REWRITE };

struct state {
    char *folder;
    int folder_fd;
    int lock_fd;
    struct catalog *catalog;
    struct seen_input *inputs;
    bool damaged; /* records were lost: no input can be said to be new */
    uint64_t machine, file_system;

    struct buffer pending; /* put, not handed over */
    uint64_t sequence;     /* of the last put */
    uint64_t durable;
    uint64_t known_size; /* of the file when the helper was last done */
    bool rewrite;        /* the file is not to be trusted: write a new one */
    int64_t last_wall_ms;

    /* Shared with the helper, under the lock; the job's parts are the helper's while `busy`. */
    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool busy, stopping;
    bool finished; /* a job is done and not reaped */
    struct buffer job;
    bool job_compacts;
    bool job_kept; /* bytes that could not be appended, to be tried again */
    uint64_t job_sequence;
    enum job_result result;
    struct err result_err;
    int fd;
    uint64_t size;
    int event_fd;
};

/* --- reading --- */

/* Generations by id, while a journal is read. */
struct id_table {
    struct generation **slots;
    size_t mask;
    size_t count;
};

static struct generation **
id_slot(const struct id_table *table, struct generation_id id)
{
    size_t at = (size_t)id.random & table->mask;
    while (table->slots[at] != NULL && (table->slots[at]->id.random != id.random ||
                                        table->slots[at]->id.birth_seconds != id.birth_seconds))
        at = (at + 1) & table->mask;
    return &table->slots[at];
}

static bool
id_table_grow(struct id_table *table)
{
    if (table->slots != NULL && table->count * 2 <= table->mask)
        return true;
    struct id_table bigger = {.mask = table->slots == NULL ? 255 : table->mask * 2 + 1};
    bigger.slots = calloc(bigger.mask + 1, sizeof(struct generation *));
    if (bigger.slots == NULL)
        return false;
    for (size_t i = 0; table->slots != NULL && i <= table->mask; i++)
        if (table->slots[i] != NULL)
            *id_slot(&bigger, table->slots[i]->id) = table->slots[i];
    bigger.count = table->count;
    free(table->slots);
    *table = bigger;
    return true;
}

struct loader {
    struct catalog *catalog;
    struct id_table table;
    struct seen_input **inputs; /* NULL: not wanted */
    uint64_t machine, file_system;
    struct state_report *report;
};

static struct generation_id
take_id(struct journal_fields *fields)
{
    struct generation_id id;
    id.birth_seconds = (uint32_t)journal_take_number(fields, 4);
    id.random = journal_take_number(fields, 8);
    return id;
}

static void
take_position(struct journal_fields *fields, struct generation *generation)
{
    generation->committed = journal_take_number(fields, 8);
    generation->head_size = (uint32_t)journal_take_number(fields, 2);
    generation->head_hash = journal_take_number(fields, 8);
    generation->size = journal_take_number(fields, 8);
    generation->seen_seconds = (int64_t)journal_take_number(fields, 8);
}

/* What a later use relies on: a record that is whole but means nonsense is refused, too. */
static bool
generation_is_sane(const struct generation *generation)
{
    if (generation->head_size > HEAD_SIZE_MAX || generation->checkpoint_count == 0 ||
        generation->checkpoints[0].offset != generation->committed ||
        generation->committed > INT64_MAX)
        return false;
    for (uint32_t i = 1; i < generation->checkpoint_count; i++)
        if (generation->checkpoints[i].offset >= generation->checkpoints[i - 1].offset)
            return false;
    for (uint32_t i = 0; i < generation->cut_count; i++)
        if (generation->cuts[i] <= (i == 0 ? generation->committed : generation->cuts[i - 1]))
            return false;
    return true;
}

static bool
load_generation(struct loader *loader, struct journal_fields *fields, struct err *err)
{
    struct generation read = {.id = take_id(fields)};
    take_position(fields, &read);
    read.part_size = (uint32_t)journal_take_number(fields, 4);
    read.device = journal_take_number(fields, 8);
    read.inode = journal_take_number(fields, 8);
    read.birth_ns = (int64_t)journal_take_number(fields, 8);
    uint64_t points = journal_take_number(fields, 1);
    for (uint64_t i = 0; i < points && i < CHECKPOINTS_MAX; i++) {
        read.checkpoints[i].offset = journal_take_number(fields, 8);
        read.checkpoints[i].hash = journal_take_number(fields, 8);
    }
    read.checkpoint_count = (uint32_t)points;
    uint64_t cuts = journal_take_number(fields, 1);
    for (uint64_t i = 0; i < cuts && i < CUTS_MAX; i++)
        read.cuts[i] = journal_take_number(fields, 8);
    read.cut_count = (uint32_t)cuts;
    char input[INPUT_TEXT_MAX];
    char path[PATH_TEXT_MAX];
    journal_take_text(fields, input, sizeof(input));
    journal_take_text(fields, path, sizeof(path));
    if (fields->failed || points > CHECKPOINTS_MAX || cuts > CUTS_MAX || read.part_size == 0 ||
        !generation_is_sane(&read))
        return false;

    if (!id_table_grow(&loader->table))
        return err_errno(err, ERR_STOP, ENOMEM, "load the state");
    struct generation **slot = id_slot(&loader->table, read.id);
    struct generation *generation = *slot;
    if (generation == NULL) {
        generation = generation_add(loader->catalog, read.id, input, path);
        if (generation == NULL)
            return err_errno(err, ERR_STOP, ENOMEM, "load the state");
        *slot = generation;
        loader->table.count++;
    } else if (!generation_set_path(generation, path)) {
        return err_errno(err, ERR_STOP, ENOMEM, "load the state");
    }
    read.path = generation->path;
    read.input = generation->input;
    read.next = generation->next;
    read.previous = generation->previous;
    *generation = read;
    return true;
}

static bool
load_parts(struct generation *generation, struct journal_fields *fields)
{
    struct parts parts;
    parts.from = journal_take_number(fields, 8);
    parts.to = journal_take_number(fields, 8);
    parts.size = (uint32_t)journal_take_number(fields, 4);
    if (fields->failed || parts.from >= parts.to || parts.to <= generation->committed ||
        parts.size < PARTS_SIZE_MIN)
        return false;
    generation->parts = parts;
    return true;
}

/* PROGRESS, CUT, PARTS or FORGET of a generation; false when it is not known or means nonsense. */
static bool
load_change(struct loader *loader, uint16_t type, struct journal_fields *fields)
{
    struct generation_id id = take_id(fields);
    if (loader->table.slots == NULL)
        return false;
    struct generation *generation = *id_slot(&loader->table, id);
    if (generation == NULL)
        return false;
    if (type == RECORD_FORGET) {
        /* Its slot stays taken, so that later records of the same id find something: it is
         * marked and removed at the end. */
        generation->gone = "forgotten";
        return true;
    }
    if (type == RECORD_CUT) {
        uint64_t offset = journal_take_number(fields, 8);
        return !fields->failed && offset > generation->committed &&
               generation_add_cut(generation, offset);
    }
    if (type == RECORD_PARTS)
        return load_parts(generation, fields);
    struct generation read = {0};
    take_position(fields, &read);
    uint64_t tail_hash = journal_take_number(fields, 8);
    if (fields->failed || read.committed < generation->committed || read.committed > INT64_MAX ||
        read.head_size > HEAD_SIZE_MAX)
        return false;
    generation->head_size = read.head_size;
    generation->head_hash = read.head_hash;
    generation->size = read.size;
    generation->seen_seconds = read.seen_seconds;
    generation_commit(generation, read.committed, tail_hash);
    generation->changed = false;
    return true;
}

static bool
input_add(struct seen_input **inputs, const char *name)
{
    for (const struct seen_input *input = *inputs; input != NULL; input = input->next)
        if (strcmp(input->name, name) == 0)
            return true;
    struct seen_input *input = malloc(sizeof(*input));
    if (input == NULL)
        return false;
    input->name = strdup(name);
    if (input->name == NULL) {
        free(input);
        return false;
    }
    input->next = *inputs;
    *inputs = input;
    return true;
}

static bool
load_record(struct loader *loader, const struct journal_record *record, struct err *err)
{
    struct journal_fields fields = {.at = record->payload, .left = record->size};
    char name[INPUT_TEXT_MAX];
    switch (record->type) {
    case RECORD_HEADER:
        if (journal_take_number(&fields, 4) != STATE_VERSION)
            return err_set(err, ERR_STOP, 0, "the state was written by a newer version");
        loader->machine = journal_take_number(&fields, 8);
        loader->file_system = journal_take_number(&fields, 8);
        return !fields.failed;
    case RECORD_GENERATION:
        return load_generation(loader, &fields, err);
    case RECORD_PROGRESS:
    case RECORD_CUT:
    case RECORD_PARTS:
    case RECORD_FORGET:
        return load_change(loader, record->type, &fields);
    case RECORD_INPUT:
        journal_take_text(&fields, name, sizeof(name));
        if (fields.failed)
            return false;
        return loader->inputs == NULL || input_add(loader->inputs, name) ||
               err_errno(err, ERR_STOP, ENOMEM, "load the state");
    case RECORD_TIME:
        loader->report->last_wall_ms = (int64_t)journal_take_number(&fields, 8);
        loader->report->clean = journal_take_number(&fields, 1) == 1;
        return !fields.failed;
    default:
        return true; /* of a later version: not ours to judge */
    }
}

/* Reads all records; `whole` gets the end of the last whole one. */
static bool
load_bytes(struct loader *loader, const void *bytes, size_t size, size_t *whole, struct err *err)
{
    struct journal_reader reader;
    journal_reader_init(&reader, bytes, size);
    struct journal_record record;
    bool stopped = false;
    while (!stopped && journal_next(&reader, &record)) {
        struct err why = {0};
        if (load_record(loader, &record, &why))
            continue;
        if (why.action == ERR_STOP) {
            *err = why;
            stopped = true;
        }
        loader->report->holes++;
        loader->report->damaged_bytes += record.size + JOURNAL_HEADER_SIZE;
    }
    free(loader->table.slots);
    loader->table = (struct id_table){0};
    for (struct generation *at = loader->catalog->first; at != NULL;) {
        struct generation *next = at->next;
        if (at->gone != NULL)
            generation_remove(loader->catalog, at);
        at = next;
    }
    loader->report->generations = loader->catalog->count;
    loader->report->holes += reader.holes;
    loader->report->damaged_bytes += reader.damaged;
    *whole = reader.whole;
    return !stopped;
}

bool
state_parse(const void *bytes, size_t size, struct catalog *catalog, struct state_report *report,
            struct err *err)
{
    *report = (struct state_report){0};
    struct loader loader = {.catalog = catalog, .report = report};
    size_t whole;
    return load_bytes(&loader, bytes, size, &whole, err);
}

static bool
load_file(struct loader *loader, int fd, size_t *size, size_t *whole, struct err *err)
{
    struct stat about;
    if (fstat(fd, &about) != 0)
        return err_errno(err, ERR_STOP, errno, "look at the state's journal");
    *size = (size_t)about.st_size;
    *whole = 0;
    if (about.st_size == 0)
        return true;
    void *bytes = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return err_errno(err, ERR_STOP, errno, "read the state's journal");
    bool loaded = load_bytes(loader, bytes, *size, whole, err);
    (void)munmap(bytes, *size);
    return loaded;
}

bool
state_read(const char *folder, struct catalog *catalog, struct state_report *report,
           struct err *err)
{
    *report = (struct state_report){0};
    char path[PATH_TEXT_MAX];
    int length = snprintf(path, sizeof(path), "%s/journal", folder);
    if (length < 0 || (size_t)length >= sizeof(path))
        return err_set(err, ERR_CONFIG, 0, "the path of the state folder is too long");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, ERR_STOP, errno, "open the state '%s'", path);
    struct loader loader = {.catalog = catalog, .report = report};
    size_t size;
    size_t whole;
    bool loaded = load_file(&loader, fd, &size, &whole, err);
    (void)close(fd);
    return loaded;
}

/* --- the helper --- */

static bool
write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t done = write(fd, bytes, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        bytes += done;
        size -= (size_t)done;
    }
    return true;
}

/* Best effort: where it fails, a full disk stops progress, too. */
static void
keep_reserve(const struct state *state)
{
    (void)fallocate(state->fd, FALLOC_FL_KEEP_SIZE, (off_t)state->size, RESERVE_SIZE);
}

static enum job_result
job_append(struct state *state)
{
    if (!write_all(state->fd, state->job.bytes, state->job.size)) {
        int number = errno;
        (void)err_errno(&state->result_err, ERR_RETRY, number, "write the state in '%s'",
                        state->folder);
        if (ftruncate(state->fd, (off_t)state->size) != 0)
            return JOB_REWRITE;
        keep_reserve(state); /* the cut took it, too: before somebody else has it */
        return number == ENOSPC || number == EDQUOT ? JOB_AGAIN : JOB_REWRITE;
    }
    if (fdatasync(state->fd) != 0) {
        /* What the kernel kept of it is not known any more: only a new file is. */
        (void)err_errno(&state->result_err, ERR_RETRY, errno, "sync the state in '%s'",
                        state->folder);
        return JOB_REWRITE;
    }
    state->size += state->job.size;
    keep_reserve(state);
    return JOB_DONE;
}

static enum job_result
job_compact(struct state *state)
{
    int fd = openat(state->folder_fd, "journal.new",
                    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_APPEND, 0600);
    if (fd < 0) {
        (void)err_errno(&state->result_err, ERR_RETRY, errno, "create '%s/journal.new'",
                        state->folder);
        return JOB_REWRITE;
    }
    if (!write_all(fd, state->job.bytes, state->job.size) || fsync(fd) != 0 ||
        renameat(state->folder_fd, "journal.new", state->folder_fd, "journal") != 0 ||
        fsync(state->folder_fd) != 0) {
        (void)err_errno(&state->result_err, ERR_RETRY, errno, "write the state in '%s'",
                        state->folder);
        (void)close(fd);
        (void)unlinkat(state->folder_fd, "journal.new", 0); /* it takes room where there is none */
        return JOB_REWRITE;
    }
    if (state->fd >= 0)
        (void)close(state->fd);
    state->fd = fd;
    state->size = state->job.size;
    keep_reserve(state);
    return JOB_DONE;
}

static void *
helper_run(void *context)
{
    struct state *state = context;
    (void)pthread_mutex_lock(&state->lock);
    for (;;) {
        while (!state->busy && !state->stopping)
            (void)pthread_cond_wait(&state->wake, &state->lock);
        if (!state->busy)
            break;
        (void)pthread_mutex_unlock(&state->lock);
        enum job_result result = state->job_compacts ? job_compact(state) : job_append(state);
        (void)pthread_mutex_lock(&state->lock);
        state->result = result;
        state->busy = false;
        state->finished = true;
        (void)pthread_cond_broadcast(&state->wake);
        uint64_t one = 1;
        ssize_t written = write(state->event_fd, &one, sizeof(one));
        (void)written; /* only fails when it is readable already */
    }
    (void)pthread_mutex_unlock(&state->lock);
    return NULL;
}

/* --- opening --- */

static uint64_t
machine_hash(void)
{
    char text[64] = "";
    int fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof(text));
    if (fd >= 0)
        (void)close(fd);
    return size <= 0 ? 0 : generation_hash(text, (size_t)size);
}

static uint64_t
file_system_hash(int fd)
{
    struct statfs about;
    if (fstatfs(fd, &about) != 0)
        return 0;
    return generation_hash(&about.f_fsid, sizeof(about.f_fsid));
}

static bool
make_folder(const char *folder, struct err *err)
{
    char path[PATH_TEXT_MAX];
    size_t size = strlen(folder);
    if (size >= sizeof(path))
        return err_set(err, ERR_CONFIG, 0, "the path of the state folder is too long");
    memcpy(path, folder, size + 1);
    for (size_t i = 1; i <= size; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        path[i] = '\0';
        if (mkdir(path, i == size ? 0700 : 0755) != 0 && errno != EEXIST)
            return err_errno(err, ERR_STOP, errno, "create the state folder '%s'", path);
        path[i] = i == size ? '\0' : '/';
    }
    return true;
}

static bool
take_lock(struct state *state, struct err *err)
{
    state->lock_fd = openat(state->folder_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (state->lock_fd < 0)
        return err_errno(err, ERR_STOP, errno, "open '%s/lock'", state->folder);
    char text[32] = "";
    if (flock(state->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return err_errno(err, ERR_STOP, errno, "lock '%s/lock'", state->folder);
        ssize_t size = pread(state->lock_fd, text, sizeof(text) - 1, 0);
        text[size < 0 ? 0 : size] = '\0';
        text[strcspn(text, "\n")] = '\0';
        return err_set(err, ERR_RETRY, EWOULDBLOCK, "the state folder '%s' is in use by process %s",
                       state->folder, text[0] == '\0' ? "?" : text);
    }
    int size = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (size < 0 || ftruncate(state->lock_fd, 0) != 0 ||
        pwrite(state->lock_fd, text, (size_t)size, 0) != size)
        return err_errno(err, ERR_STOP, errno, "write '%s/lock'", state->folder);
    return true;
}

/* The same position in the same content, under ids that no other host has. Like every new id they
 * are on disk before the first event. */
static void
mint_anew(struct state *state)
{
    state->sequence++;
    for (struct generation *at = state->catalog->first; at != NULL; at = at->next) {
        at->id = generation_id_new();
        at->durable_at = state->sequence;
    }
}

static bool
load_journal(struct state *state, struct state_report *report, struct err *err)
{
    (void)unlinkat(state->folder_fd, "journal.new", 0);
    /* Only written whole and renamed: an empty one is a damaged one. */
    state->fd = openat(state->folder_fd, "journal", O_RDWR | O_APPEND | O_CLOEXEC);
    if (state->fd < 0 && errno != ENOENT)
        return err_errno(err, ERR_STOP, errno, "open '%s/journal'", state->folder);
    struct loader loader = {.catalog = state->catalog, .inputs = &state->inputs, .report = report};
    size_t size = 0;
    size_t whole = 0;
    if (state->fd >= 0 && !load_file(&loader, state->fd, &size, &whole, err))
        return err_wrap(err, "'%s/journal'", state->folder);
    state->machine = machine_hash();
    state->file_system = file_system_hash(state->folder_fd);
    report->foreign =
        size > 0 && (loader.machine != state->machine || loader.file_system != state->file_system);
    if (report->foreign)
        mint_anew(state);
    state->damaged = report->holes > 0 || (state->fd >= 0 && size == 0);
    state->size = state->known_size = size;
    state->last_wall_ms = report->last_wall_ms;
    state->rewrite = size == 0 || size != whole || report->holes > 0 || report->foreign;
    return true;
}

bool
state_open(struct state **out, const char *folder, struct catalog *catalog,
           struct state_report *report, struct err *err)
{
    *report = (struct state_report){0};
    struct state *state = calloc(1, sizeof(*state));
    if (state == NULL)
        return err_errno(err, ERR_STOP, ENOMEM, "open the state");
    state->fd = state->lock_fd = state->folder_fd = state->event_fd = -1;
    state->catalog = catalog;
    (void)pthread_mutex_init(&state->lock, NULL);
    (void)pthread_cond_init(&state->wake, NULL);
    buffer_init(&state->pending, PENDING_SIZE_MAX);
    buffer_init(&state->job, PENDING_SIZE_MAX);
    state->folder = strdup(folder);
    if (state->folder == NULL) {
        (void)err_errno(err, ERR_STOP, ENOMEM, "open the state");
        goto failed;
    }
    if (!make_folder(folder, err))
        goto failed;
    state->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    state->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (state->folder_fd < 0 || state->event_fd < 0) {
        (void)err_errno(err, ERR_STOP, errno, "open the state folder '%s'", folder);
        goto failed;
    }
    if (!take_lock(state, err) || !load_journal(state, report, err))
        goto failed;
    state->thread_runs = pthread_create(&state->thread, NULL, helper_run, state) == 0;
    if (!state->thread_runs) {
        (void)err_errno(err, ERR_STOP, EAGAIN, "start the thread that writes the state");
        goto failed;
    }
    *out = state;
    return true;

failed:
    state_free(state);
    return false;
}

void
state_free(struct state *state)
{
    if (state == NULL)
        return;
    if (state->thread_runs) {
        (void)pthread_mutex_lock(&state->lock);
        state->stopping = true;
        (void)pthread_cond_broadcast(&state->wake);
        (void)pthread_mutex_unlock(&state->lock);
        (void)pthread_join(state->thread, NULL);
    }
    int fds[] = {state->fd, state->lock_fd, state->folder_fd, state->event_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    while (state->inputs != NULL) {
        struct seen_input *next = state->inputs->next;
        free(state->inputs->name);
        free(state->inputs);
        state->inputs = next;
    }
    buffer_done(&state->pending);
    buffer_done(&state->job);
    (void)pthread_cond_destroy(&state->wake);
    (void)pthread_mutex_destroy(&state->lock);
    free(state->folder);
    free(state);
}

/* --- writing --- */

static void
put_id(struct buffer *out, const struct generation *generation)
{
    journal_put_number(out, generation->id.birth_seconds, 4);
    journal_put_number(out, generation->id.random, 8);
}

static void
put_position(struct buffer *out, const struct generation *generation)
{
    journal_put_number(out, generation->committed, 8);
    journal_put_number(out, generation->head_size, 2);
    journal_put_number(out, generation->head_hash, 8);
    journal_put_number(out, generation->size, 8);
    journal_put_number(out, (uint64_t)generation->seen_seconds, 8);
}

/* Wraps what `payload` holds into a record of `out`; a failed allocation asks for a new file
 * later. */
static void
append_record(struct state *state, struct buffer *out, enum record_type type,
              struct buffer *payload)
{
    if (payload->failed || payload->size > JOURNAL_RECORD_MAX)
        state->rewrite = true;
    else
        journal_append(out, (uint16_t)type, payload->bytes, (uint32_t)payload->size);
    if (out->failed)
        state->rewrite = true;
    buffer_done(payload);
    if (out == &state->pending)
        state->sequence++;
}

static void
append_parts(struct state *state, struct buffer *out, const struct generation *generation)
{
    struct buffer payload;
    buffer_init(&payload, JOURNAL_RECORD_MAX);
    put_id(&payload, generation);
    journal_put_number(&payload, generation->parts.from, 8);
    journal_put_number(&payload, generation->parts.to, 8);
    journal_put_number(&payload, generation->parts.size, 4);
    append_record(state, out, RECORD_PARTS, &payload);
}

static void
append_generation(struct state *state, struct buffer *out, const struct generation *generation)
{
    struct buffer payload;
    buffer_init(&payload, JOURNAL_RECORD_MAX + 1);
    put_id(&payload, generation);
    put_position(&payload, generation);
    journal_put_number(&payload, generation->part_size, 4);
    journal_put_number(&payload, generation->device, 8);
    journal_put_number(&payload, generation->inode, 8);
    journal_put_number(&payload, (uint64_t)generation->birth_ns, 8);
    journal_put_number(&payload, generation->checkpoint_count, 1);
    for (uint32_t i = 0; i < generation->checkpoint_count; i++) {
        journal_put_number(&payload, generation->checkpoints[i].offset, 8);
        journal_put_number(&payload, generation->checkpoints[i].hash, 8);
    }
    journal_put_number(&payload, generation->cut_count, 1);
    for (uint32_t i = 0; i < generation->cut_count; i++)
        journal_put_number(&payload, generation->cuts[i], 8);
    journal_put_text(&payload, generation->input);
    journal_put_text(&payload, generation->path);
    append_record(state, out, RECORD_GENERATION, &payload);
    if (generation->parts.size > 0)
        append_parts(state, out, generation);
}

void
state_put_generation(struct state *state, const struct generation *generation)
{
    append_generation(state, &state->pending, generation);
}

void
state_put_progress(struct state *state, const struct generation *generation)
{
    struct buffer payload;
    buffer_init(&payload, JOURNAL_RECORD_MAX);
    put_id(&payload, generation);
    put_position(&payload, generation);
    journal_put_number(&payload, generation->checkpoints[0].hash, 8);
    append_record(state, &state->pending, RECORD_PROGRESS, &payload);
}

void
state_put_cut(struct state *state, const struct generation *generation, uint64_t offset)
{
    struct buffer payload;
    buffer_init(&payload, JOURNAL_RECORD_MAX);
    put_id(&payload, generation);
    journal_put_number(&payload, offset, 8);
    append_record(state, &state->pending, RECORD_CUT, &payload);
}

void
state_put_parts(struct state *state, const struct generation *generation)
{
    append_parts(state, &state->pending, generation);
}

void
state_forget(struct state *state, const struct generation *generation)
{
    struct buffer payload;
    buffer_init(&payload, JOURNAL_RECORD_MAX);
    put_id(&payload, generation);
    append_record(state, &state->pending, RECORD_FORGET, &payload);
}

static void
append_input(struct state *state, struct buffer *out, const char *input)
{
    struct buffer payload;
    buffer_init(&payload, JOURNAL_RECORD_MAX);
    journal_put_text(&payload, input);
    append_record(state, out, RECORD_INPUT, &payload);
}

static bool
input_is_listed(const struct state *state, const char *input)
{
    for (const struct seen_input *at = state->inputs; at != NULL; at = at->next)
        if (strcmp(at->name, input) == 0)
            return true;
    return false;
}

void
state_put_input(struct state *state, const char *input)
{
    if (input_is_listed(state, input))
        return;
    if (!input_add(&state->inputs, input))
        return; /* asked again at the next discovery */
    append_input(state, &state->pending, input);
}

bool
state_input_seen(const struct state *state, const char *input)
{
    return state->damaged || input_is_listed(state, input);
}

void
state_set_wall(struct state *state, int64_t wall_ms)
{
    state->last_wall_ms = wall_ms;
    state->rewrite = true; /* the latest of all records of it counts */
    state->sequence++;
}

static void
append_time(struct state *state, struct buffer *out, bool clean)
{
    struct buffer payload;
    buffer_init(&payload, JOURNAL_RECORD_MAX);
    int64_t now_ms = clock_wall_ms();
    if (now_ms > state->last_wall_ms)
        state->last_wall_ms = now_ms;
    journal_put_number(&payload, (uint64_t)state->last_wall_ms, 8);
    journal_put_number(&payload, clean ? 1 : 0, 1);
    uint64_t sequence = state->sequence;
    append_record(state, out, RECORD_TIME, &payload);
    state->sequence = sequence; /* nobody waits for it */
}

/* Everything that lives, as a new journal. */
static void
append_snapshot(struct state *state, struct buffer *out)
{
    struct buffer payload;
    buffer_init(&payload, JOURNAL_RECORD_MAX);
    journal_put_number(&payload, STATE_VERSION, 4);
    journal_put_number(&payload, state->machine, 8);
    journal_put_number(&payload, state->file_system, 8);
    append_record(state, out, RECORD_HEADER, &payload);
    for (const struct seen_input *input = state->inputs; input != NULL; input = input->next)
        append_input(state, out, input->name);
    for (const struct generation *at = state->catalog->first; at != NULL; at = at->next)
        append_generation(state, out, at);
}

uint64_t
state_sequence(const struct state *state)
{
    return state->sequence;
}

uint64_t
state_durable(const struct state *state)
{
    return state->durable;
}

bool
state_waits(const struct state *state)
{
    return state->rewrite || state->durable < state->sequence;
}

int
state_fd(const struct state *state)
{
    return state->event_fd;
}

size_t
state_size(const struct state *state)
{
    return (size_t)state->known_size; /* `size` is the helper's */
}

static bool
worth_compacting(const struct state *state)
{
    const size_t record_size = 320; /* about what a generation takes */
    return state->size > COMPACT_SIZE_MIN &&
           state->size > COMPACT_RATIO * record_size * (state->catalog->count + 1);
}

/* Fills the job; the helper is idle. */
static void
hand_over(struct state *state, bool clean)
{
    if (state->job_kept) { /* what did not fit on the disk, again and first */
        state->job_kept = false;
        if (state->pending.size < KEPT_SIZE_MAX)
            return;
        state->rewrite = true; /* all of it in less memory */
    }
    buffer_clear(&state->job);
    state->job_compacts = state->rewrite || worth_compacting(state);
    if (state->job_compacts) {
        state->rewrite = false;
        append_snapshot(state, &state->job);
        append_time(state, &state->job, clean);
        buffer_clear(&state->pending);
    } else {
        append_time(state, &state->pending, clean);
        struct buffer empty = state->job;
        state->job = state->pending;
        state->pending = empty;
    }
    if (state->job.failed) {
        buffer_clear(&state->job);
        state->rewrite = true;
    }
    state->job_sequence = state->sequence;
}

static void
sync_now(struct state *state, bool clean)
{
    (void)pthread_mutex_lock(&state->lock);
    if (!state->busy && !state->finished) {
        hand_over(state, clean);
        state->busy = state->job.size > 0;
        (void)pthread_cond_broadcast(&state->wake);
    }
    (void)pthread_mutex_unlock(&state->lock);
}

void
state_sync(struct state *state)
{
    if (state_waits(state) || state->pending.size > 0 || state->job_kept)
        sync_now(state, false);
}

bool
state_reap(struct state *state, struct err *err)
{
    uint64_t count;
    ssize_t got = read(state->event_fd, &count, sizeof(count));
    (void)got; /* nothing there: nothing finished */
    (void)pthread_mutex_lock(&state->lock);
    bool finished = state->finished;
    state->finished = false;
    (void)pthread_mutex_unlock(&state->lock);
    if (!finished)
        return true;
    state->known_size = state->size;
    if (state->result == JOB_DONE) {
        state->durable = state->job_sequence;
        buffer_clear(&state->job);
        return true;
    }
    state->job_kept = state->result == JOB_AGAIN;
    state->rewrite |= state->result == JOB_REWRITE;
    *err = state->result_err;
    return false;
}

bool
state_stop(struct state *state, struct err *err)
{
    /* At most three rounds: one under way, what is pending, the mark. */
    for (int round = 0; round < 3; round++) {
        (void)pthread_mutex_lock(&state->lock);
        while (state->busy)
            (void)pthread_cond_wait(&state->wake, &state->lock);
        (void)pthread_mutex_unlock(&state->lock);
        if (!state_reap(state, err) && round == 2)
            return false;
        if (round < 2)
            sync_now(state, true);
    }
    return !state_waits(state) ||
           err_set(err, ERR_RETRY, 0, "the last positions could not be written to '%s'",
                   state->folder);
}
