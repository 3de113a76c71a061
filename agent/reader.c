/* SPDX-License-Identifier: Apache-2.0 */
/* reader.c: see reader.h. The bytes' way: file -> read buffer -> slab (escaped, in place) ->
 * librdkafka. */
#include "agent/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/cutter.h"
#include "agent/delivery.h"
#include "agent/inputs/copies.h"
#include "agent/inputs/file.h"
#include "agent/receipts.h"
#include "agent/state.h"
#include "agent/topics.h"
#include "core/assert.h"
#include "core/clock.h"
#include "core/encode.h"
#include "core/event_id.h"

#define EVENT_END_MAX 64          /* `","log.flags":["invalid_utf8","part"]}` */
#define PAUSE_BEFORE_HEAD_MS 2000 /* a file could have regrown in it: its head is compared, too */
#define ESCAPED_MIN ENCODE_GROWTH_MAX

static const char event_start[] = "{\"@timestamp\":\"";

/* What the events of one batch have in common. */
struct envelope {
    char time[CLOCK_TEXT_SIZE];
    const char *before_offset; /* `","host.name":…,"log.file.path":"…","log.offset":` */
    size_t before_offset_size;
    const char *after_offset;
    size_t after_offset_size;
    char generation[GENERATION_TEXT_SIZE];
};

int
reader_open(const char *path)
{
    return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

void
reader_seek(struct file *file, uint64_t offset, uint64_t hash)
{
    file->read = offset;
    file->read_hash = hash;
    file->scanned = offset;
}

/* A value that YAML did not quote and that is a number or a literal of JSON stays one. */
static bool
is_json_literal(const char *text)
{
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0 || strcmp(text, "null") == 0)
        return true;
    const char *at = text + (*text == '-');
    size_t digits = strspn(at, "0123456789");
    if (digits == 0 || digits > 15 || (digits > 1 && *at == '0'))
        return false;
    at += digits;
    if (*at == '.') {
        digits = strspn(at + 1, "0123456789");
        if (digits == 0)
            return false;
        at += digits + 1;
    }
    return *at == '\0';
}

bool
reader_render_input(struct input *input, struct err *err)
{
    char host[256] = "";
    (void)gethostname(host, sizeof(host) - 1);
    buffer_clear(&input->before_path);
    buffer_text(&input->before_path, "\",\"host.name\":");
    encode_json_string(&input->before_path, host, strlen(host));
    buffer_text(&input->before_path, ",\"log.file.path\":");
    buffer_clear(&input->after_offset);
    buffer_text(&input->after_offset, ",");
    for (size_t i = 0; i < input->options->fields.count; i++) {
        const struct option_pair *pair = &input->options->fields.items[i];
        encode_json_string(&input->after_offset, pair->key, strlen(pair->key));
        buffer_text(&input->after_offset, ":");
        if (!pair->quoted && is_json_literal(pair->value))
            buffer_text(&input->after_offset, pair->value);
        else
            encode_json_string(&input->after_offset, pair->value, strlen(pair->value));
        buffer_text(&input->after_offset, ",");
    }
    buffer_text(&input->after_offset, "\"message\":\"");
    if (input->before_path.failed || input->after_offset.failed)
        return err_set(err, ERR_CONFIG, 0,
                       "the fields of input '%s' are too long, or memory is short", input->name);
    return true;
}

static bool
envelope_init(struct envelope *envelope, struct agent *agent, const struct file *file,
              int64_t time_ms)
{
    const struct input *input = file->input;
    clock_format_utc(time_ms, envelope->time);
    struct buffer *scratch = &agent->scratch;
    buffer_clear(scratch);
    buffer_append(scratch, input->before_path.bytes, input->before_path.size);
    encode_json_string(scratch, file->path, strlen(file->path));
    buffer_text(scratch, ",\"log.offset\":");
    if (scratch->failed)
        return false;
    envelope->before_offset = scratch->bytes;
    envelope->before_offset_size = scratch->size;
    envelope->after_offset = input->after_offset.bytes;
    envelope->after_offset_size = input->after_offset.size;
    generation_id_format(file->generation->id, envelope->generation);
    return true;
}

static char *
put(char *out, const char *bytes, size_t size)
{
    memcpy(out, bytes, size);
    return out + size;
}

static char *
put_number(char *out, uint64_t value)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    while (count > 0)
        *out++ = digits[--count];
    return out;
}

static char *
put_end(char *out, const struct cut_event *event)
{
    if (!event->part && !event->repaired)
        return put(out, "\"}", 2);
    out = put(out, "\",\"log.flags\":[", 15);
    if (event->repaired)
        out = put(out, "\"invalid_utf8\"", 14);
    if (event->repaired && event->part)
        *out++ = ',';
    if (event->part)
        out = put(out, "\"part\"", 6);
    return put(out, "]}", 2);
}

/* The bytes of one turn, and how far they are done. */
struct chunk {
    const char *bytes; /* borrowed: the read buffer */
    size_t size;
    size_t at;
    uint64_t offset; /* of bytes[0] in the generation; up to 64 bytes before it are readable */
};

/* Encodes the next event behind the slab's fill. On CUT_EVENT `message` is filled. */
static enum cut_result
encode_next(struct file *file, const struct chunk *chunk, const struct envelope *envelope,
            struct slab *slab, rd_kafka_message_t *message, struct cut_event *event)
{
    const struct generation *generation = file->generation;
    size_t fixed = EVENT_ID_SIZE + sizeof(event_start) + CLOCK_TEXT_SIZE +
                   envelope->before_offset_size + 20 + envelope->after_offset_size + EVENT_END_MAX;
    size_t room = slab->size - slab->fill;
    if (room < fixed + ESCAPED_MIN)
        return CUT_ROOM;

    uint64_t offset = chunk->offset + chunk->at;
    const char *bytes = chunk->bytes + chunk->at;
    size_t size = chunk->size - chunk->at;
    bool ends = false;
    for (uint32_t i = 0; i < generation->cut_count; i++)
        if (generation->cuts[i] > offset && generation->cuts[i] - offset <= size) {
            size = (size_t)(generation->cuts[i] - offset);
            ends = true;
            break;
        }
    char *key = slab->bytes + slab->fill;
    char *value = key + EVENT_ID_SIZE;
    char *out = put(value, event_start, sizeof(event_start) - 1);
    out = put(out, envelope->time, CLOCK_TEXT_SIZE);
    out = put(out, envelope->before_offset, envelope->before_offset_size);
    out = put_number(out, offset);
    out = put(out, envelope->after_offset, envelope->after_offset_size);

    size_t part_max = generation->part_size;
    const struct parts *parts = &generation->parts;
    if (parts->size > 0 && offset >= parts->from && offset < parts->to) {
        part_max = parts->size;
        if (parts->to - offset <= size) {
            size = (size_t)(parts->to - offset);
            ends = true;
        }
    }
    bool mid_line = offset > 0 && bytes[-1] != '\n';
    enum cut_result result =
        cutter_next(bytes, size, mid_line, ends, part_max, out, room - fixed, event);
    if (result != CUT_EVENT)
        return result;
    out = put_end(out + event->escaped, event);
    event_id_format(key, envelope->generation, offset, generation_hash(bytes, event->size));
    message->key = key;
    message->key_len = EVENT_ID_SIZE;
    message->payload = value;
    message->len = (size_t)(out - value);
    slab->fill += (size_t)(out - key);
    ASSERT(slab->fill <= slab->size);
    return CUT_EVENT;
}

static uint64_t
tail_hash(const struct chunk *chunk, size_t at)
{
    uint64_t offset = chunk->offset + at;
    size_t size = offset < TAIL_SIZE_MAX ? (size_t)offset : TAIL_SIZE_MAX;
    return generation_hash(chunk->bytes + at - size, size);
}

/* Is it at an event that goes in parts? Then one is under way at a time. */
static bool
is_in_parts(const struct file *file)
{
    const struct parts *parts = &file->generation->parts;
    return parts->size > 0 && file->read < parts->to; /* what is before it is empty lines */
}

/* When the events of a batch are read, and the first byte of the next day. */
struct moment {
    int64_t time_ms;
    uint64_t until;
};

/* Fills one batch from the chunk and sends it. The result says why it ended. */
static enum cut_result
fill_batch(struct agent *agent, struct file *file, struct chunk *chunk, struct batch *batch,
           int32_t partition, const struct moment *moment)
{
    struct envelope envelope;
    batch->start = chunk->offset + chunk->at;
    batch->start_hash = file->read_hash;
    enum cut_result result = CUT_ROOM;
    if (!envelope_init(&envelope, agent, file, moment->time_ms))
        result = CUT_MORE; /* memory is short: nothing is taken */
    uint32_t records_max = is_in_parts(file) ? 1 : MESSAGES_MAX;
    size_t limit_size = file->input->topic->limit.size;
    size_t fill_start = batch->slab->fill;
    while (result == CUT_ROOM && batch->records < records_max &&
           chunk->offset + chunk->at < moment->until &&
           agent->records_waiting + batch->records < RECORDS_MAX) {
        rd_kafka_message_t *message = &agent->messages[batch->records];
        *message = (rd_kafka_message_t){.partition = partition, ._private = batch};
        struct cut_event event;
        size_t fill = batch->slab->fill;
        uint64_t offset = chunk->offset + chunk->at;
        bool mid_line = offset > 0 && chunk->bytes[(ptrdiff_t)chunk->at - 1] != '\n';
        result = encode_next(file, chunk, &envelope, batch->slab, message, &event);
        if (result == CUT_EVENT) {
            if (limit_size > 0 && batch->records > 0 &&
                batch->slab->fill - fill_start > limit_size) {
                batch->slab->fill = fill; /* it goes with the next request */
                result = CUT_ROOM;
                break;
            }
            batch->records++;
            batch->lines += event.taken > event.size;
            batch->parts += event.part;
        } else if (result == CUT_EMPTY) {
            if (!mid_line) {
                metrics_add(agent->metrics, file->input->empty_lines, 1);
                agent->skipped_total++;
                batch->empty++;
            } else {
                batch->lines++; /* the end of one that came in parts, or was cut before it */
            }
        } else {
            break;
        }
        chunk->at += event.taken;
        result = CUT_ROOM;
    }
    batch->end = chunk->offset + chunk->at;
    batch->end_hash = tail_hash(chunk, chunk->at);
    file->read = batch->end;
    file->read_hash = batch->end_hash;
    return result;
}

/* What one batch of send_chunk() came to. */
enum step { STEP_NEXT, STEP_WIDE, STEP_DONE, STEP_BLOCKED, STEP_WAITING };

/* STEP_NEXT: the batch that begins at `offset` may be sent. */
static enum step
take_moment(struct agent *agent, const struct file *file, uint64_t offset, struct moment *moment)
{
    struct generation *generation = file->generation;
    int64_t now_ms = clock_wall_ms();
    int32_t today = state_day(agent->state, now_ms);
    if (today >= 0 && !days_want(&generation->days, offset, today)) {
        moment->time_ms = days_time(&generation->days, offset, today, now_ms, &moment->until);
        return STEP_NEXT;
    }
    if (today >= 0) {
        if (!days_add(&generation->days, generation->committed, offset, today))
            return STEP_BLOCKED; /* what is under way since days must be answered first */
        state_put_days(agent->state, generation);
    }
    generation->durable_at = state_sequence(agent->state);
    state_sync(agent->state);
    return STEP_WAITING;
}

static enum step
send_step(struct agent *agent, struct file *file, struct chunk *chunk, int32_t partition,
          struct slab *slab)
{
    struct moment moment;
    enum step may = take_moment(agent, file, chunk->offset + chunk->at, &moment);
    if (may != STEP_NEXT)
        return may;
    struct batch *batch = batch_take(agent, file, slab);
    if (batch == NULL)
        return STEP_BLOCKED;
    size_t fill = slab->fill;
    bool was_in_parts = is_in_parts(file);
    enum cut_result result = fill_batch(agent, file, chunk, batch, partition, &moment);
    days_sent(&file->generation->days, batch->end);
    uint32_t records = batch->records;
    bool advanced = batch->end > batch->start;
    if (advanced)
        batch_send(agent, batch);
    else
        batch_put(agent, batch);
    /* Records that were refused at once may have sent the file back already. */
    if (file->failed || file->read != chunk->offset + chunk->at)
        return STEP_BLOCKED;
    if (result == CUT_MORE)
        return STEP_DONE;
    if (records > 0 && (file->input->topic->limit.size > 0 || was_in_parts))
        return STEP_BLOCKED; /* until it is answered */
    if (records == MESSAGES_MAX || agent->records_waiting >= RECORDS_MAX ||
        chunk->offset + chunk->at >= moment.until)
        return STEP_NEXT; /* room is left, only the tables are full, or the day is over */
    bool was_empty = fill == 0 && !advanced;
    ASSERT(!(was_empty && slab->wide)); /* a wide slab has room for any event */
    slab_close(agent->pool, slab);
    return was_empty ? STEP_WIDE : STEP_NEXT;
}

/* Cuts the whole chunk into batches, as far as there is memory. */
static enum read_outcome
send_chunk(struct agent *agent, struct file *file, struct chunk *chunk, int32_t partition,
           struct lane *lane)
{
    enum step step = STEP_NEXT;
    while (step == STEP_NEXT || step == STEP_WIDE) {
        bool wide = step == STEP_WIDE;
        if (!topic_limit_allows(file->input->topic, lane) ||
            (file->first != NULL && is_in_parts(file)))
            return READ_BLOCKED;
        if (!slab_share_allows_records(agent->pool, &lane->share, agent->records_waiting,
                                       RECORDS_MAX))
            return READ_BLOCKED;
        struct slab *slab = slab_take(agent->pool, &lane->share, wide);
        if (slab == NULL) {
            if (agent->starved_ms[wide] == 0 && slab_pool_is_empty(agent->pool, wide))
                agent->starved_ms[wide] = clock_monotonic_ms();
            return READ_BLOCKED;
        }
        agent->starved_ms[wide] = 0;
        slab_hold(slab); /* keeps it while answers may come at once */
        step = send_step(agent, file, chunk, partition, slab);
        if (wide)
            slab_close(agent->pool, slab); /* rare and large: not for what comes next */
        slab_unhold(agent->pool, slab);
    }
    return step == STEP_DONE ? READ_IDLE : step == STEP_WAITING ? READ_WAITING : READ_BLOCKED;
}

/* Looks for the end of a line in bytes that are new since the last look. True when it is worth
 * to read from the beginning of the line. */
static bool
probe(struct agent *agent, struct file *file, struct err *err, enum read_outcome *outcome)
{
    *outcome = READ_IDLE;
    const struct generation *generation = file->generation;
    uint64_t part_size = is_in_parts(file) ? generation->parts.size : generation->part_size;
    if (file->scanned <= file->read || file->flush_end)
        return true;
    /* A cut decides like a newline does. */
    for (uint32_t i = 0; i < generation->cut_count; i++)
        if (generation->cuts[i] > file->read && generation->cuts[i] <= file->size)
            return true;
    if (is_in_parts(file) && generation->parts.to <= file->size)
        return true;
    ssize_t got = pread(file->fd, agent->read_buffer, READ_SIZE, (off_t)file->scanned);
    if (got < 0) {
        (void)err_errno(err, ERR_RETRY, errno, "read '%.300s'", file->path);
        *outcome = READ_FAILED;
        return false;
    }
    if (got == 0)
        return file->size < file->scanned; /* it became shorter: the read below finds out */
    if (memchr(agent->read_buffer, '\n', (size_t)got) != NULL)
        return true;
    file->scanned += (uint64_t)got;
    if (file->scanned - file->read >= part_size + 4)
        return true;
    *outcome = got == READ_SIZE ? READ_MORE : READ_IDLE;
    return false;
}

/* Reads the chunk that begins at `read`, with the bytes before it, which must be the ones of
 * before. */
static enum read_outcome
read_chunk(struct agent *agent, struct file *file, struct chunk *chunk, size_t *wanted,
           struct err *err)
{
    const struct generation *generation = file->generation;
    size_t overlap = file->read < TAIL_SIZE_MAX ? (size_t)file->read : TAIL_SIZE_MAX;
    size_t known = overlap;
    if (file->read == overlap && generation->head_size > known)
        known = generation->head_size; /* few bytes before it prove little */
    size_t want = READ_SIZE;
    if (file->scanned > file->read)
        want += (size_t)(file->scanned - file->read);
    if (want > agent->read_size)
        want = agent->read_size;
    char *start = agent->read_buffer + TAIL_SIZE_MAX - overlap;
    ssize_t got = pread(file->fd, start, overlap + want, (off_t)(file->read - overlap));
    if (got >= 0 && (size_t)got < known) /* cut short, or is the file? */
        got = content_read(file->fd, start, known, file->read - overlap);
    if (got < 0) {
        (void)err_errno(err, ERR_RETRY, errno, "read '%.300s'", file->path);
        return READ_FAILED;
    }
    if ((size_t)got < known || generation_hash(start, overlap) != file->read_hash)
        return READ_CHANGED;
    if (known > overlap && generation_hash(start, known) != generation->head_hash)
        return READ_CHANGED;
    *wanted = want;
    *chunk = (struct chunk){
        .bytes = start + overlap, .size = (size_t)got - overlap, .offset = file->read};
    uint64_t end = file->read + chunk->size;
    if (end > file->size)
        file->size = end;
    return READ_MORE;
}

bool
reader_is_same(const struct file *file)
{
    char tail[TAIL_SIZE_MAX];
    struct generation head = *file->generation;
    head.checkpoint_count = 0;
    int fd = file->fd < 0 ? reader_open(file->path) : file->fd;
    if (fd < 0)
        return true;
    size_t size = file->read < TAIL_SIZE_MAX ? (size_t)file->read : TAIL_SIZE_MAX;
    ssize_t got = content_read(fd, tail, size, file->read - size);
    bool same =
        got < 0 || (got == (ssize_t)size && generation_hash(tail, size) == file->read_hash &&
                    generation_belongs(&head, fd, UINT64_MAX) != BELONGS_NO);
    if (file->fd < 0)
        (void)close(fd);
    return same;
}

void
reader_put_start(struct agent *agent, struct file *file)
{
    struct generation *generation = file->generation;
    generation_know_start(&agent->catalog, generation, file->fd);
    state_put_generation(agent->state, generation);
    generation->durable_at = state_sequence(agent->state);
}

static enum read_outcome
check_before(struct agent *agent, struct file *file, struct err *err)
{
    if (file->fd < 0 && !file_open(agent, file)) {
        if (errno == EMFILE && agent->records_waiting > 0)
            return READ_BLOCKED;
        if (errno == EBADMSG)
            return READ_CHANGED;
        if (errno == ESTALE)
            (void)err_set(err, ERR_RETRY, 0, "'%.300s' is another file now", file->path);
        else
            (void)err_errno(err, ERR_RETRY, errno, "open '%.300s'", file->path);
        return READ_FAILED;
    }
    uint64_t now_ms = clock_monotonic_ms();
    bool paused = now_ms - file->last_read_ms > PAUSE_BEFORE_HEAD_MS;
    file->last_read_ms = now_ms;
    if (!paused && file->generation->head_size > 0)
        return READ_MORE;
    struct generation *generation = file->generation;
    bool was_empty = generation->head_size == 0;
    if (was_empty && copies_hold_first_bytes(agent, file))
        return READ_WAITING;
    if (generation_grow_head(generation, file->fd, file->size, err)) {
        if (!was_empty || generation->head_size == 0)
            return READ_MORE;
        reader_put_start(agent, file);
        state_sync(agent->state);
        return READ_WAITING;
    }
    return err->action == ERR_REJECT ? READ_CHANGED : READ_FAILED;
}

/* A writer that does not append goes on at its old offset after a truncation: the file begins with
 * zeros, often many and not on the disk. No line begins with one, so they are passed over, decided
 * by the bytes alone. READ_MORE with `*passed`: what is behind them can be read. */
static enum read_outcome
pass_zeros(struct agent *agent, struct file *file, bool *passed, struct err *err)
{
    char first;
    *passed = true;
    ssize_t had = file->read > 0 ? 0 : content_read(file->fd, &first, 1, 0);
    if (had == 0 || (had > 0 && first != '\0'))
        return READ_MORE;
    if (had < 0) {
        (void)err_errno(err, ERR_RETRY, errno, "read '%.300s'", file->path);
        return READ_FAILED;
    }
    *passed = false;
    off_t data = lseek(file->fd, (off_t)file->scanned, SEEK_DATA);
    if (data > 0 && (uint64_t)data > file->scanned)
        file->scanned = (uint64_t)data;
    ssize_t got = pread(file->fd, agent->read_buffer, READ_SIZE, (off_t)file->scanned);
    if (got < 0) {
        (void)err_errno(err, ERR_RETRY, errno, "read '%.300s'", file->path);
        return READ_FAILED;
    }
    ssize_t zeros = 0;
    while (zeros < got && agent->read_buffer[zeros] == '\0')
        zeros++;
    file->scanned += (uint64_t)zeros;
    if (zeros == got)
        return got == READ_SIZE ? READ_MORE : READ_IDLE;
    static const char zero[TAIL_SIZE_MAX];
    size_t tail = file->scanned < TAIL_SIZE_MAX ? (size_t)file->scanned : TAIL_SIZE_MAX;
    generation_commit(file->generation, file->scanned, generation_hash(zero, tail));
    receipts_passed(agent, file, file->scanned);
    metrics_add(
        agent->metrics,
        metrics_series(agent->metrics, METRIC_SKIPPED_BYTES, file->input->name, "zeros", NULL),
        file->scanned);
    reader_seek(file, file->generation->committed, file->generation->checkpoints[0].hash);
    *passed = true;
    return READ_MORE;
}

/* The end of the file is the end of its last line: durable first, then cut. */
static enum read_outcome
decide_cut(struct agent *agent, struct file *file, const struct chunk *chunk)
{
    struct generation *generation = file->generation;
    file->flush_end = false;
    uint64_t end = chunk->offset + chunk->size;
    if (end <= file->read || !generation_add_cut(generation, end))
        return READ_IDLE;
    state_put_cut(agent->state, generation, end);
    generation->durable_at = state_sequence(agent->state);
    return READ_WAITING;
}

enum read_outcome
reader_turn(struct agent *agent, struct file *file, int32_t partition, struct lane *lane,
            struct err *err)
{
    ASSERT(file->state == FILE_ACTIVE);
    ASSERT(!file->failed);

    if (file->generation->durable_at > state_durable(agent->state))
        return READ_WAITING;
    enum read_outcome outcome = check_before(agent, file, err);
    bool passed = true;
    if (outcome == READ_MORE)
        outcome = pass_zeros(agent, file, &passed, err);
    if (outcome != READ_MORE || !passed)
        return outcome;
    if (!probe(agent, file, err, &outcome))
        return outcome;

    struct chunk chunk;
    size_t wanted = 0;
    outcome = read_chunk(agent, file, &chunk, &wanted, err);
    if (outcome != READ_MORE)
        return outcome;
    if (file->input->options->rate_limit > 0)
        file->input->tokens -= (int64_t)chunk.size;
    uint64_t before = file->read;
    outcome = send_chunk(agent, file, &chunk, partition, lane);
    if (file->input->options->rate_limit > 0) /* what was not taken is not charged */
        file->input->tokens += (int64_t)(chunk.size - chunk.at);
    if (outcome != READ_IDLE)
        return outcome;
    if (file->read > before && file->behind_since_ms == 0)
        file->behind_since_ms = clock_monotonic_ms();
    file->scanned = chunk.offset + chunk.size;
    if (chunk.size == wanted)
        return READ_MORE; /* as much as was asked for: there may be more */
    if (file->flush_end && chunk.at < chunk.size)
        return decide_cut(agent, file, &chunk);
    return READ_IDLE;
}
