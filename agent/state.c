/* SPDX-License-Identifier: Apache-2.0 */
/* state.c: see state.h. The helper thread owns the file while `busy`; everything else is the
 * owner's. What was put is kept until it is on the disk: a job that fails is put back, or
 * replaced by everything anew. */
#include "agent/state.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "agent/journal.h"
#include "agent/receipt.h"
#include "agent/state_file.h"
#include "agent/state_load.h"
#include "core/buffer.h"
#include "core/clock.h"

#define COMPACT_SIZE_MIN (4 * 1024 * 1024) /* below it compaction is not worth a file */
#define COMPACT_RATIO 4
#define COMPACT_AGAIN_MS 60000 /* after one that failed: appending goes on meanwhile */
#define PENDING_SIZE_MAX ((size_t)1024 * 1024 * 1024) /* a snapshot of some million files */
#define KEPT_SIZE_MAX ((size_t)256 * 1024) /* that waits for the disk; more of it is a snapshot */
#define STOP_ROUNDS 5 /* one under way, what is pending, the mark; a full disk wants a snapshot */

struct state {
    struct catalog *catalog;
    struct seen_input *inputs;
    bool was_clean;    /* how the last owner stopped */
    uint64_t was_boot; /* and in which boot it wrote last */
    bool damaged;      /* records were lost: no input can be said to be new */
    uint64_t machine, file_system, boot;

    struct buffer pending; /* put, not handed over */
    uint64_t sequence;     /* of the last put */
    uint64_t durable;
    uint64_t known_size; /* of the file when the helper was last done */
    uint64_t live_size;  /* a snapshot is at most so large */
    bool rewrite;        /* only a snapshot says it all */
    bool snapshot_next;  /* there is no room to append */
    bool marked;         /* the last record on the disk is that of an orderly stop */
    uint64_t compact_after_ms;
    int64_t last_wall_ms;
    int64_t told_wall_ms; /* the journal may end with it, or with an earlier time */
    int32_t told_day;     /* of the last job */

    /* The job: the helper's while `busy`. */
    struct buffer taken;    /* what was pending when it was handed over */
    struct buffer snapshot; /* everything that lives, instead of it */
    bool job_is_snapshot, job_rewrites, job_marks;
    uint64_t job_sequence, job_live_size;
    int64_t job_wall_ms;
    enum state_written result;
    struct err result_err;
    struct state_file file;

    /* Shared with the helper, under the lock. */
    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool busy, stopping;
    bool finished; /* a job is done and not reaped */
    int event_fd;
};

/* --- the helper --- */

static void
do_job(struct state *state)
{
    const struct buffer *job = state->job_is_snapshot ? &state->snapshot : &state->taken;
    state->result = (state->job_is_snapshot ? state_file_replace : state_file_append)(
        &state->file, job->bytes, job->size, state->job_live_size, &state->result_err);
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
        do_job(state);
        (void)pthread_mutex_lock(&state->lock);
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

/* Of a name that the system has: of the machine, of its boot. 0: it has none. False with errno:
 * it could not be read, which says nothing. */
static bool
name_hash(const char *path, uint64_t *hash)
{
    char text[64];
    size_t size = 0;
    ssize_t got = 1;
    *hash = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR;
    while (size < sizeof(text) && got != 0) {
        got = read(fd, text + size, sizeof(text) - size);
        if (got < 0 && errno != EINTR)
            break;
        size += got > 0 ? (size_t)got : 0;
    }
    int number = errno;
    (void)close(fd);
    errno = number;
    if (got >= 0 && size > 0)
        *hash = generation_hash(text, size);
    return got >= 0;
}

/* Which host is this? Where it cannot be found out now, it is the one that the state tells of. */
static bool
know_host(struct state *state, const struct state_found *found, struct err *err)
{
    static const char machine_path[] = "/etc/machine-id";
    struct statfs about;
    if (!name_hash(machine_path, &state->machine)) {
        if (found->format == 0)
            return err_errno(err, ERR_RETRY, errno, "read '%s'", machine_path);
        state->machine = found->machine;
    }
    if (!name_hash("/proc/sys/kernel/random/boot_id", &state->boot))
        state->boot = 0;
    state->file_system = found->file_system;
    if (fstatfs(state->file.folder_fd, &about) == 0)
        state->file_system = generation_hash(&about.f_fsid, sizeof(about.f_fsid));
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
        receipt_let_go(at); /* the other host's */
        at->durable_at = state->sequence;
        at->days = (struct day_marks){.sent = at->committed};
        at->origin = "foreign";
    }
}

/* Was the state written on another host? Its machine-id tells. The file system's id does not: XFS
 * makes it of the device's number, which may be another after a boot. It counts only where there
 * is no machine-id, as in many containers. */
static bool
is_foreign(const struct state *state, const struct state_found *found)
{
    if (found->format == 0)
        return true; /* it does not tell any more */
    if (found->machine != 0 && state->machine != 0)
        return found->machine != state->machine;
    return found->machine != state->machine || found->file_system != state->file_system;
}

/* What was written to files and not synced may be gone, though it was read. */
static void
note_lost_power(struct state *state, const struct state_found *found, struct state_report *report)
{
    report->lost_power = !report->foreign && !report->clean && found->boot != 0 &&
                         state->boot != 0 && found->boot != state->boot;
    for (struct generation *at = state->catalog->first; at != NULL && report->lost_power;
         at = at->next)
        at->lost_power = true;
}

/* The journal says that all of the last owner's doings is in it: nothing is done before it says so
 * no more. */
static void
wait_for_first_write(struct state *state)
{
    state->sequence++;
    for (struct generation *at = state->catalog->first; at != NULL; at = at->next)
        at->durable_at = state->sequence;
}

static bool
load_journal(struct state *state, struct state_report *report, struct err *err)
{
    char *bytes;
    size_t size;
    struct state_found found = {0};
    bool loaded = state_file_load(&state->file, &bytes, &size, err) &&
                  state_load(bytes, size, state->catalog, &found, report, err);
    free(bytes);
    state->inputs = found.inputs;
    if (!loaded || !know_host(state, &found, err))
        return err_wrap(err, "cannot use the state '%s/journal'", state->file.folder);
    bool there = state->file.fd >= 0; /* only written whole and renamed: an empty one is damaged */
    report->cut |= there && size == 0;
    report->foreign = size > 0 && is_foreign(state, &found);
    if (report->foreign)
        mint_anew(state);
    if (report->clean)
        wait_for_first_write(state);
    note_lost_power(state, &found, report);
    state->damaged = report->holes > 0 || report->cut;
    state->rewrite = !there || state->damaged || report->foreign;
    state->snapshot_next = found.format < STATE_FORMAT;
    state->file.size = state->known_size = found.whole;
    state->live_size = found.whole; /* until the first snapshot tells */
    state->last_wall_ms = state->told_wall_ms = report->last_wall_ms;
    state->told_day = day_of(report->last_wall_ms);
    state->was_clean = report->clean;
    state->was_boot = found.boot;
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
    state->catalog = catalog;
    (void)pthread_mutex_init(&state->lock, NULL);
    (void)pthread_cond_init(&state->wake, NULL);
    buffer_init(&state->pending, PENDING_SIZE_MAX);
    buffer_init(&state->taken, PENDING_SIZE_MAX);
    buffer_init(&state->snapshot, PENDING_SIZE_MAX);
    state->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!state_file_open(&state->file, folder, err) || !load_journal(state, report, err))
        goto failed;
    if (state->event_fd < 0) {
        (void)err_errno(err, ERR_STOP, errno, "make an eventfd for the state");
        goto failed;
    }
    int number = pthread_create(&state->thread, NULL, helper_run, state);
    state->thread_runs = number == 0;
    if (number != 0) {
        (void)err_errno(err, ERR_STOP, number, "start the thread that writes the state");
        goto failed;
    }
    *out = state;
    return true;

failed:
    state_free(state);
    return false;
}

bool
state_read(const char *folder, struct catalog *catalog, struct state_report *report,
           struct err *err)
{
    *report = (struct state_report){0};
    char path[STATE_PATH_TEXT_MAX];
    int length = snprintf(path, sizeof(path), "%s/journal", folder);
    if (length < 0 || (size_t)length >= sizeof(path))
        return err_set(err, ERR_CONFIG, 0, "the path of the state folder is too long");
    char *bytes;
    size_t size;
    if (!state_file_read(path, &bytes, &size, err))
        return err_wrap(err, "cannot use the state '%s'", path);
    if (bytes == NULL)
        return err_set(err, ERR_STOP, ENOENT,
                       "there is no state in '%s': no agent has run with this state_dir yet",
                       folder);
    struct state_found found;
    bool loaded = state_load(bytes, size, catalog, &found, report, err) ||
                  err_wrap(err, "cannot use the state '%s'", path);
    state_found_done(&found);
    free(bytes);
    return loaded;
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
    state_file_close(&state->file);
    if (state->event_fd >= 0)
        (void)close(state->event_fd);
    struct state_found inputs = {.inputs = state->inputs};
    state_found_done(&inputs);
    buffer_done(&state->pending);
    buffer_done(&state->taken);
    buffer_done(&state->snapshot);
    (void)pthread_cond_destroy(&state->wake);
    (void)pthread_mutex_destroy(&state->lock);
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
append_record(struct state *state, struct buffer *out, enum state_record type,
              struct buffer *payload)
{
    if (payload->failed || payload->size > JOURNAL_RECORD_MAX)
        out->failed = true; /* without the record it is not whole: never written like that */
    else
        journal_append(out, (uint16_t)type, payload->bytes, (uint32_t)payload->size);
    if (out->failed)
        state->rewrite = true;
    if (type == RECORD_GENERATION || type == RECORD_INPUT || type == RECORD_PARTS)
        state->live_size += payload->size + JOURNAL_HEADER_SIZE;
    buffer_done(payload);
    if (out == &state->pending)
        state->sequence++;
}

/* Always as large as with all marks: at midnight the snapshot of all files, which a full disk has
 * kept room for, does not grow. */
static void
put_days(struct buffer *out, const struct day_marks *days)
{
    journal_put_number(out, days->sent, 8);
    journal_put_number(out, days->count, 1);
    for (uint32_t i = 0; i < DAYS_MAX; i++) {
        bool there = i < days->count;
        journal_put_number(out, there ? days->from[i] : 0, 8);
        journal_put_number(out, there ? (uint64_t)days->day[i] : 0, 4);
    }
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

/* In the record of the position itself: a kill in the middle of a write must not part them. A
 * snapshot has what is owed once, however often it was put; a `whole` record counts by itself. */
static void
put_owed(struct state *state, struct buffer *payload, const struct generation *generation,
         bool whole)
{
    size_t before = payload->size;
    receipt_put(payload, generation);
    struct receipt *newest = generation->receipt;
    for (struct receipt *at = generation->receipt_sent; newest == NULL && at != NULL;
         at = at->later)
        newest = at->later == NULL ? at : NULL;
    if (newest == NULL || newest->counted)
        return;
    newest->counted = true;
    if (!whole)
        state->live_size += payload->size - before;
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
    put_days(&payload, &generation->days);
    put_owed(state, &payload, generation, true);
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
    put_owed(state, &payload, generation, false);
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
state_put_days(struct state *state, const struct generation *generation)
{
    struct buffer payload;
    buffer_init(&payload, JOURNAL_RECORD_MAX);
    put_id(&payload, generation);
    put_days(&payload, &generation->days);
    append_record(state, &state->pending, RECORD_DAYS, &payload);
}

void
state_put_receipt(struct state *state, const struct generation *generation)
{
    struct buffer payload;
    buffer_init(&payload, JOURNAL_RECORD_MAX);
    put_id(&payload, generation);
    put_owed(state, &payload, generation, false);
    append_record(state, &state->pending, RECORD_OWED, &payload);
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

void
state_put_input(struct state *state, const char *input)
{
    if (seen_input_find(state->inputs, input))
        return;
    if (!seen_input_add(&state->inputs, input))
        return; /* asked again at the next discovery */
    append_input(state, &state->pending, input);
    state->snapshot_next = true; /* its header counts the inputs: none can be cut off unseen */
}

bool
state_input_seen(const struct state *state, const char *input)
{
    return state->damaged || seen_input_find(state->inputs, input);
}

void
state_set_wall(struct state *state, int64_t wall_ms)
{
    state->last_wall_ms = wall_ms;
    state->sequence++; /* so that the next sync writes it: every job ends with the time */
}

int32_t
state_day(const struct state *state, int64_t now_ms)
{
    if (state->last_wall_ms < state->told_wall_ms)
        return -1;
    return day_of(now_ms > state->told_wall_ms ? now_ms : state->told_wall_ms);
}

static void
append_time(struct state *state, struct buffer *out, bool clean)
{
    struct buffer payload;
    buffer_init(&payload, JOURNAL_RECORD_MAX);
    journal_put_number(&payload, (uint64_t)state->last_wall_ms, 8);
    journal_put_number(&payload, clean ? 1 : 0, 1);
    journal_put_number(&payload, state->boot, 8);
    uint64_t sequence = state->sequence;
    append_record(state, out, RECORD_TIME, &payload);
    state->sequence = sequence; /* nobody waits for it */
}

static void
append_header(struct state *state, struct buffer *out)
{
    uint32_t inputs = 0;
    for (const struct seen_input *at = state->inputs; at != NULL; at = at->next)
        inputs++;
    struct buffer payload;
    buffer_init(&payload, JOURNAL_RECORD_MAX);
    journal_put_number(&payload, STATE_FORMAT, 4);
    journal_put_number(&payload, state->machine, 8);
    journal_put_number(&payload, state->file_system, 8);
    journal_put_number(&payload, inputs, 4);
    append_record(state, out, RECORD_HEADER, &payload);
}

/* Everything that lives, as a new journal. The header stands there twice: without one nobody
 * knows whose state it is. */
static void
append_snapshot(struct state *state, struct buffer *out)
{
    append_header(state, out);
    for (const struct seen_input *input = state->inputs; input != NULL; input = input->next)
        append_input(state, out, input->name);
    for (const struct generation *at = state->catalog->first; at != NULL; at = at->next)
        append_generation(state, out, at);
    append_header(state, out);
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
    return state->file.size > COMPACT_SIZE_MIN &&
           state->file.size > COMPACT_RATIO * state->live_size &&
           clock_monotonic_ms() >= state->compact_after_ms;
}

/* What was pending is `taken`, to be put back should the job fail. */
static void
take_pending(struct state *state)
{
    struct buffer empty = state->taken;
    state->taken = state->pending;
    state->pending = empty;
    buffer_clear(&state->pending);
}

/* The time of the job. The first one of a day, and that of an orderly stop, say of each file up to
 * where it was sent, unless the journal has its position there: days_loaded() relies on it. */
static void
tell_time(struct state *state, bool clean)
{
    int64_t now_ms = clock_wall_ms();
    if (now_ms > state->last_wall_ms)
        state->last_wall_ms = now_ms;
    state->job_wall_ms = state->last_wall_ms;
    if (state->told_wall_ms < state->job_wall_ms)
        state->told_wall_ms = state->job_wall_ms;
    int32_t day = day_of(state->job_wall_ms);
    if (day == state->told_day && !clean)
        return;
    state->told_day = day;
    for (const struct generation *at = state->catalog->first; at != NULL; at = at->next)
        if (at->days.sent > at->committed || at->changed)
            state_put_days(state, at);
}

/* Fills the job; the helper is idle. */
static void
hand_over(struct state *state, bool clean)
{
    tell_time(state, clean);
    state->job_rewrites = state->rewrite;
    state->job_is_snapshot = state->rewrite || state->snapshot_next || worth_compacting(state);
    state->job_marks = clean;
    state->rewrite = state->snapshot_next = false;
    if (state->job_is_snapshot) {
        state->live_size = 0;
        append_snapshot(state, &state->snapshot);
        append_time(state, &state->snapshot, clean);
    } else {
        append_time(state, &state->pending, clean);
    }
    take_pending(state);
    state->job_live_size = state->live_size;
    state->job_sequence = state->sequence;
}

/* True when there is something for the helper. */
static bool
job_is_whole(struct state *state)
{
    struct buffer *job = state->job_is_snapshot ? &state->snapshot : &state->taken;
    if (!job->failed && job->size > 0)
        return true;
    state->rewrite = true;
    buffer_clear(&state->snapshot);
    buffer_clear(&state->taken);
    return false;
}

static void
sync_now(struct state *state, bool clean)
{
    (void)pthread_mutex_lock(&state->lock);
    if (!state->busy && !state->finished) {
        hand_over(state, clean);
        state->busy = job_is_whole(state);
        (void)pthread_cond_broadcast(&state->wake);
    }
    (void)pthread_mutex_unlock(&state->lock);
}

void
state_sync(struct state *state)
{
    if (state_waits(state) || state->pending.size > 0)
        sync_now(state, false);
}

/* What was taken goes back in front of what is pending, when it is not much; else all of it is
 * said by a snapshot, in less memory. */
static void
put_back(struct state *state)
{
    buffer_append(&state->taken, state->pending.bytes, state->pending.size);
    state->rewrite |= state->job_rewrites || state->result == STATE_BROKEN || state->taken.failed ||
                      state->taken.size > KEPT_SIZE_MAX;
    struct buffer all = state->taken;
    state->taken = state->pending;
    state->pending = all;
    if (state->rewrite)
        buffer_clear(&state->pending);
    if (state->job_is_snapshot)
        state->compact_after_ms = clock_monotonic_ms() + COMPACT_AGAIN_MS;
    else
        state->snapshot_next = true;
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
    bool written = state->result == STATE_WRITTEN;
    if (written) {
        state->durable = state->job_sequence;
        state->told_wall_ms = state->job_wall_ms;
        state->marked = state->job_marks;
        state->known_size = state->file.size;
    } else {
        put_back(state);
        *err = state->result_err;
    }
    buffer_clear(&state->taken);
    buffer_done(&state->snapshot); /* rare, and large where there are many files */
    buffer_init(&state->snapshot, PENDING_SIZE_MAX);
    /* No room to append is no failure yet: a snapshot has room of its own. */
    return written || (state->result == STATE_LATER && !state->job_is_snapshot);
}

static bool
write_all(struct state *state, bool clean, struct err *err)
{
    struct err why = {0};
    for (int round = 0; round < STOP_ROUNDS; round++) {
        (void)pthread_mutex_lock(&state->lock);
        while (state->busy)
            (void)pthread_cond_wait(&state->wake, &state->lock);
        (void)pthread_mutex_unlock(&state->lock);
        if (state_reap(state, &why) && state->marked == clean && !state_waits(state))
            return true;
        if (round < STOP_ROUNDS - 1)
            sync_now(state, clean);
    }
    return err_set(err, ERR_RETRY, why.code, "the last positions could not be written: %s",
                   why.text[0] == '\0' ? state->file.folder : why.text);
}

bool
state_stop(struct state *state, struct err *err)
{
    return write_all(state, true, err);
}

bool
state_save(struct state *state, struct err *err)
{
    if (!state->was_clean) /* a power cut is for the next agent to see */
        state->boot = state->was_boot;
    return write_all(state, state->was_clean, err);
}
