/* SPDX-License-Identifier: Apache-2.0 */
/* test_state.c: agent/state.c and agent/journal.c: what was durable comes back, damage costs
 * only what it touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/journal.h"
#include "agent/state.h"
#include "core/buffer.h"
#include "core/clock.h"

#define JOURNAL_MAX (1024 * 1024)

struct world {
    char folder[64];
    struct catalog catalog;
    struct state *state;
    struct state_report report;
};

static void
world_open(struct world *world)
{
    struct err err;
    world->catalog = (struct catalog){0};
    if (!state_open(&world->state, world->folder, &world->catalog, &world->report, &err))
        fail_msg("%s", err.text);
}

static void
world_close(struct world *world)
{
    state_free(world->state);
    world->state = NULL;
    catalog_done(&world->catalog);
}

static int
setup(void **context)
{
    struct world *world = calloc(1, sizeof(*world));
    (void)snprintf(world->folder, sizeof(world->folder), "/tmp/test_state.XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    world_open(world);
    *context = world;
    return 0;
}

static int
teardown(void **context)
{
    struct world *world = *context;
    world_close(world);
    static const char *const names[] = {"/journal", "/lock", "/journal.spare", ""};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s%s", world->folder, names[i]);
        (void)remove(path);
    }
    free(world);
    return 0;
}

static const struct generation *
first_of(const struct world *world)
{
    const struct generation *first = world->catalog.first;
    if (first == NULL) {
        fail_msg("no life is known");
        abort(); /* for the analyzer, which does not know that the line above ends the test */
    }
    return first;
}

/* Until everything put is on disk. */
static void
make_durable(struct world *world)
{
    struct err err;
    while (state_waits(world->state)) {
        state_sync(world->state);
        struct pollfd fd = {.fd = state_fd(world->state), .events = POLLIN};
        assert_int_equal(poll(&fd, 1, 10000), 1);
        if (!state_reap(world->state, &err))
            fail_msg("%s", err.text);
    }
}

static struct generation *
add(struct world *world, const char *path, uint64_t committed)
{
    struct generation *generation = generation_new(&world->catalog, "input", path);
    generation->part_size = 900000;
    generation->device = 7;
    generation->inode = committed + 1;
    generation->head_size = 12;
    generation->size = committed + 100;
    generation_commit(generation, committed, committed * 3);
    state_put_generation(world->state, generation);
    return generation;
}

static const struct generation *
find(const struct catalog *catalog, const char *path)
{
    const struct generation *at = catalog->first;
    while (at != NULL && strcmp(at->path, path) != 0)
        at = at->next;
    return at;
}

static void
what_was_durable_comes_back(void **context)
{
    struct world *world = *context;
    struct generation *a = add(world, "/var/log/a", 100);
    struct generation_id id = a->id;
    (void)add(world, "/var/log/b", 200);
    struct generation *c = add(world, "/var/log/c", 300);
    state_put_input(world->state, "seen");
    make_durable(world);
    generation_commit(a, 150, 42);
    state_put_progress(world->state, a);
    assert_true(generation_add_cut(a, 180));
    state_put_cut(world->state, a, 180);
    a->parts = (struct parts){.from = 150, .to = 170, .size = PARTS_SIZE_MIN};
    state_put_parts(world->state, a);
    state_forget(world->state, c);
    make_durable(world);
    world_close(world);

    world_open(world);
    assert_int_equal(world->report.generations, 2);
    assert_int_equal(world->report.holes, 0);
    assert_false(world->report.clean);
    assert_false(world->report.foreign);
    const struct generation *read = find(&world->catalog, "/var/log/a");
    assert_non_null(read);
    assert_int_equal(read->committed, 150);
    assert_int_equal(read->checkpoints[0].hash, 42);
    assert_int_equal(read->checkpoints[1].offset, 100);
    assert_int_equal(read->id.random, id.random);
    assert_int_equal(read->inode, 101);
    assert_int_equal(read->cut_count, 1);
    assert_int_equal(read->cuts[0], 180);
    assert_int_equal(read->parts.from, 150);
    assert_int_equal(read->parts.to, 170);
    assert_int_equal(read->parts.size, PARTS_SIZE_MIN);
    assert_true(state_input_seen(world->state, "seen"));
    assert_false(state_input_seen(world->state, "other"));
    assert_null(find(&world->catalog, "/var/log/c"));
}

static void
stop_in_order_is_remembered(void **context)
{
    struct world *world = *context;
    struct err err;
    (void)add(world, "/a", 1);
    assert_true(state_stop(world->state, &err));
    world_close(world);
    world_open(world);
    assert_true(world->report.clean);
    assert_true(world->report.last_wall_ms > 0);
    assert_int_equal(world->report.generations, 1);
}

static void
birth_is_durable_only_after_the_sync(void **context)
{
    struct world *world = *context;
    make_durable(world);
    (void)add(world, "/a", 1);
    uint64_t sequence = state_sequence(world->state);
    assert_true(state_durable(world->state) < sequence);
    make_durable(world);
    assert_true(state_durable(world->state) >= sequence);
}

static void
second_owner_hears_who_has_it(void **context)
{
    struct world *world = *context;
    struct catalog catalog = {0};
    struct state_report report;
    struct state *state;
    struct err err;
    assert_false(state_open(&state, world->folder, &catalog, &report, &err));
    assert_int_equal(err.action, ERR_RETRY);
    char pid[32];
    (void)snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
    assert_non_null(strstr(err.text, pid));
}

/* The journal's bytes, read back from the folder. */
static size_t
journal_bytes(const struct world *world, unsigned char *out, size_t out_max)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/journal", world->folder);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t size = read(fd, out, out_max);
    assert_true(size > 0);
    (void)close(fd);
    return (size_t)size;
}

/* A file of which something was sent on that day, behind what is acknowledged. */
static struct generation *
add_sent(struct world *world, const char *path, int32_t day)
{
    struct generation *generation = add(world, path, 100);
    assert_true(days_add(&generation->days, 100, 100, day));
    days_sent(&generation->days, 150);
    state_put_days(world->state, generation);
    return generation;
}

static void
day_marks_come_back_and_doubt_only_what_a_kill_of_their_day_leaves_open(void **context)
{
    struct world *world = *context;
    int32_t today = day_of(clock_wall_ms());
    (void)add_sent(world, "/today", today);
    (void)add_sent(world, "/yesterday", today - 1);
    (void)add(world, "/never", 100);
    make_durable(world);
    assert_int_equal(state_day(world->state, clock_wall_ms()), today);
    world_close(world);

    world_open(world);
    const struct day_marks *days = &find(&world->catalog, "/today")->days;
    assert_int_equal(days->count, 1);
    assert_int_equal(days->from[0], 100);
    assert_int_equal(days->day[0], today);
    assert_true(days->sent == SENT_UNKNOWN);
    assert_int_equal(find(&world->catalog, "/yesterday")->days.sent, 150);
    assert_int_equal(find(&world->catalog, "/never")->days.count, 0);
    assert_int_equal(find(&world->catalog, "/never")->days.sent, 100);
}

static void
stop_in_order_tells_up_to_where_each_file_was_sent(void **context)
{
    struct world *world = *context;
    struct err err;
    struct generation *a = add_sent(world, "/a", day_of(clock_wall_ms()));
    make_durable(world);
    days_sent(&a->days, 170);
    assert_true(state_stop(world->state, &err));
    world_close(world);
    world_open(world);
    assert_int_equal(first_of(world)->days.sent, 170);
    /* Nothing is sent before the disk says that this is the past. */
    assert_true(first_of(world)->durable_at > state_durable(world->state));
    make_durable(world);
    assert_false(first_of(world)->durable_at > state_durable(world->state));
    world_close(world);
    world_open(world);
    assert_true(first_of(world)->days.sent == SENT_UNKNOWN);
}

static void
first_write_of_a_day_tells_up_to_where_each_file_was_sent(void **context)
{
    struct world *world = *context;
    int64_t ahead_ms = clock_wall_ms() + DAY_MS;
    struct generation *a = add_sent(world, "/a", day_of(clock_wall_ms()));
    struct generation *b = add_sent(world, "/b", day_of(clock_wall_ms()));
    make_durable(world);
    days_sent(&a->days, 170);
    days_sent(&b->days, 170);
    generation_commit(b, 170, 1); /* which the journal does not know yet */
    state_set_wall(world->state, ahead_ms);
    make_durable(world);
    assert_int_equal(state_day(world->state, clock_wall_ms()), day_of(ahead_ms));
    world_close(world);
    world_open(world);
    assert_int_equal(find(&world->catalog, "/a")->days.sent, 170);
    assert_int_equal(find(&world->catalog, "/b")->days.sent, 170);
}

static void
day_is_not_known_while_the_disk_tells_of_a_later_one(void **context)
{
    struct world *world = *context;
    int64_t now_ms = clock_wall_ms();
    (void)add(world, "/a", 100);
    state_set_wall(world->state, now_ms + 9 * DAY_MS);
    make_durable(world);
    assert_int_equal(state_day(world->state, now_ms), day_of(now_ms) + 9);
    state_set_wall(world->state, now_ms);
    assert_int_equal(state_day(world->state, now_ms), -1);
    make_durable(world);
    assert_int_equal(state_day(world->state, now_ms), day_of(now_ms));
}

static void
file_of_a_version_without_days_is_read(void **context)
{
    struct world *world = *context;
    (void)add_sent(world, "/a", 20000);
    make_durable(world);
    world_close(world);
    static unsigned char bytes[JOURNAL_MAX];
    size_t size = journal_bytes(world, bytes, sizeof(bytes));
    struct journal_reader reader;
    struct journal_record record;
    struct buffer older;
    buffer_init(&older, JOURNAL_MAX);
    journal_reader_init(&reader, bytes, size);
    /* 2: a file, 3: its progress, 9: its days, which also stand behind the file; behind file and
     * progress stands the number of ranges that are owed to the receipts. */
    while (journal_next(&reader, &record)) {
        uint32_t newer_size = record.type == 2 ? 8 + 1 + DAYS_MAX * 12 + 1 : record.type == 3;
        if (record.type != 9)
            journal_append(&older, record.type, record.payload, record.size - newer_size);
    }
    struct catalog catalog = {0};
    struct state_report report;
    struct err err;
    assert_true(state_parse(older.bytes, older.size, &catalog, &report, &err));
    assert_int_equal(report.holes, 0);
    const struct generation *read = find(&catalog, "/a");
    assert_non_null(read);
    assert_int_equal(read->committed, 100);
    assert_int_equal(read->days.count, 0);
    assert_int_equal(read->days.sent, 100);
    catalog_done(&catalog);
    buffer_done(&older);
    world_open(world);
}

static size_t
parse(const unsigned char *bytes, size_t size, struct state_report *report)
{
    struct catalog catalog = {0};
    struct err err;
    if (!state_parse(bytes, size, &catalog, report, &err))
        assert_true(err.action == ERR_STOP || err.action == ERR_CONFIG);
    size_t count = catalog.count;
    for (const struct generation *at = catalog.first; at != NULL; at = at->next)
        assert_true(at->committed == 100 || at->committed == 200 || at->committed == 300);
    catalog_done(&catalog);
    return count;
}

static void
one_garbled_byte_costs_one_record_and_is_reported(void **context)
{
    struct world *world = *context;
    (void)add(world, "/a", 100);
    (void)add(world, "/b", 200);
    (void)add(world, "/c", 300);
    make_durable(world);
    static unsigned char bytes[JOURNAL_MAX];
    size_t size = journal_bytes(world, bytes, sizeof(bytes));
    struct state_report report;
    assert_int_equal(parse(bytes, size, &report), 3);
    while (bytes[size - 1] == 0)
        size--;
    for (size_t i = 0; i < size + 40; i++) { /* some of the zeros behind, too */
        for (int bit = 0; bit < 8; bit += 3) {
            bytes[i] ^= (unsigned char)(1 << bit);
            size_t count = parse(bytes, sizeof(bytes), &report);
            assert_true(count >= 2);
            assert_true(report.holes > 0);
            bytes[i] ^= (unsigned char)(1 << bit);
        }
    }
}

static void
journal_cut_anywhere_gives_what_is_whole(void **context)
{
    struct world *world = *context;
    (void)add(world, "/a", 100);
    (void)add(world, "/b", 200);
    (void)add(world, "/c", 300);
    make_durable(world);
    static unsigned char bytes[JOURNAL_MAX];
    size_t size = journal_bytes(world, bytes, sizeof(bytes));
    struct state_report report;
    size_t before = 0;
    assert_int_equal(size % 4096, 0);
    while (bytes[size - 1] == 0)
        size--;
    for (size_t cut = 0; cut <= size; cut++) {
        size_t count = parse(bytes, cut, &report);
        assert_true(count >= before);
        assert_true(count <= before + 1);
        before = count;
    }
    assert_int_equal(before, 3);
}

static void
damaged_journal_is_written_anew(void **context)
{
    struct world *world = *context;
    (void)add(world, "/a", 100);
    (void)add(world, "/b", 200);
    make_durable(world);
    world_close(world);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/journal", world->folder);
    int fd = open(path, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "garbage", 7), 7);
    (void)close(fd);
    world_open(world);
    assert_int_equal(world->report.holes, 1);
    assert_int_equal(world->report.damaged_bytes, 7);
    assert_int_equal(world->report.generations, 2);
    make_durable(world);
    world_close(world);
    world_open(world);
    assert_int_equal(world->report.holes, 0);
    assert_int_equal(world->report.generations, 2);
}

/* Whole records that mean nonsense must not get past the reader either. */
static void
nonsense_in_a_whole_record_is_refused(void **context)
{
    (void)context;
    struct buffer journal;
    buffer_init(&journal, 65536);
    for (unsigned type = 0; type < 12; type++)
        for (unsigned size = 0; size < 200; size += 7) {
            unsigned char payload[200];
            memset(payload, 0xFF, sizeof(payload));
            journal_append(&journal, (uint16_t)(type == 1 ? 2 : type), payload, size);
        }
    struct state_report report;
    assert_int_equal(parse((const unsigned char *)journal.bytes, journal.size, &report), 0);
    buffer_done(&journal);
}

static void
long_life_is_compacted(void **context)
{
    struct world *world = *context;
    struct generation *a = add(world, "/a", 100);
    make_durable(world);
    size_t largest = 0;
    for (uint64_t i = 1; i <= 100; i++) {
        for (uint64_t k = 0; k < 1000; k++) {
            generation_commit(a, 100 + i * 1000 + k, 1);
            state_put_progress(world->state, a);
        }
        make_durable(world);
        if (state_size(world->state) > largest)
            largest = state_size(world->state);
    }
    assert_true(largest > 4000000);
    assert_true(state_size(world->state) < 5000000);
    world_close(world);
    world_open(world);
    assert_int_equal(world->report.generations, 1);
    assert_int_equal(first_of(world)->committed, 100 + 100 * 1000 + 999);
}

static void
journal_path(const struct world *world, char out[128])
{
    (void)snprintf(out, 128, "%s/journal", world->folder);
}

static void
write_journal(const struct world *world, const void *bytes, size_t size)
{
    char path[128];
    journal_path(world, path);
    int fd = open(path, O_WRONLY | O_TRUNC | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    (void)close(fd);
}

/* Where each record ends. */
static size_t
borders(const unsigned char *bytes, size_t size, size_t *out, size_t out_max)
{
    struct journal_reader reader;
    struct journal_record record;
    size_t count = 0;
    journal_reader_init(&reader, bytes, size);
    while (count < out_max && journal_next(&reader, &record))
        out[count++] = reader.at;
    return count;
}

static void
input_once_seen_stays_seen_wherever_the_journal_is_cut(void **context)
{
    struct world *world = *context;
    (void)add(world, "/a", 100);
    state_put_input(world->state, "first");
    make_durable(world);
    state_put_input(world->state, "second");
    make_durable(world);
    (void)add(world, "/b", 200);
    make_durable(world);
    world_close(world);
    static unsigned char bytes[JOURNAL_MAX];
    size_t ends[64];
    size_t size = journal_bytes(world, bytes, sizeof(bytes));
    size_t count = borders(bytes, size, ends, 64);
    assert_true(count > 5);
    for (size_t i = 0; i < count; i++) {
        write_journal(world, bytes, ends[i]);
        world_open(world);
        assert_true(world->report.cut);
        assert_true(state_input_seen(world->state, "first"));
        assert_true(state_input_seen(world->state, "second"));
        world_close(world);
    }
    write_journal(world, bytes, size);
    world_open(world);
    assert_false(world->report.cut);
    assert_false(state_input_seen(world->state, "third"));
}

static void
lost_header_changes_no_id(void **context)
{
    struct world *world = *context;
    struct generation_id id = add(world, "/a", 100)->id;
    state_put_input(world->state, "input");
    make_durable(world);
    world_close(world);
    static unsigned char bytes[JOURNAL_MAX];
    size_t size = journal_bytes(world, bytes, sizeof(bytes));
    bytes[20] ^= 1;
    write_journal(world, bytes, size);
    world_open(world);
    assert_false(world->report.foreign);
    assert_int_equal(world->report.holes, 1);
    assert_int_equal(first_of(world)->id.random, id.random);
}

/* The journal as another version wrote it: with its own header, and no zeros behind. */
static size_t
rewrite_format(const unsigned char *bytes, size_t size, uint32_t format, struct buffer *out)
{
    struct journal_reader reader;
    struct journal_record record;
    buffer_init(out, JOURNAL_MAX);
    journal_reader_init(&reader, bytes, size);
    while (journal_next(&reader, &record)) {
        unsigned char payload[JOURNAL_RECORD_MAX];
        memcpy(payload, record.payload, record.size);
        bool header = record.type == 1;
        if (header)
            payload[0] = (unsigned char)format;
        journal_append(out, record.type, payload, header && format == 1 ? 20 : record.size);
    }
    return out->size;
}

static void
older_format_is_read_and_replaced(void **context)
{
    struct world *world = *context;
    struct generation_id id = add(world, "/a", 100)->id;
    state_put_input(world->state, "seen");
    make_durable(world);
    world_close(world);
    static unsigned char bytes[JOURNAL_MAX];
    size_t size = journal_bytes(world, bytes, sizeof(bytes));
    struct buffer old;
    size = rewrite_format(bytes, size, 1, &old);
    write_journal(world, old.bytes, size);
    buffer_done(&old);
    world_open(world);
    assert_int_equal(world->report.holes, 0);
    assert_false(world->report.cut);
    assert_int_equal(first_of(world)->id.random, id.random);
    assert_true(state_input_seen(world->state, "seen"));
    assert_false(state_input_seen(world->state, "other"));
    (void)add(world, "/b", 200);
    make_durable(world);
    assert_int_equal(journal_bytes(world, bytes, sizeof(bytes)) % 4096, 0);
    struct state_report report;
    assert_int_equal(parse(bytes, sizeof(bytes), &report), 2);
}

static void
newer_format_is_refused_with_a_word(void **context)
{
    struct world *world = *context;
    (void)add(world, "/a", 100);
    make_durable(world);
    world_close(world);
    static unsigned char bytes[JOURNAL_MAX];
    size_t size = journal_bytes(world, bytes, sizeof(bytes));
    struct buffer newer;
    size = rewrite_format(bytes, size, 99, &newer);
    write_journal(world, newer.bytes, size);
    struct err err;
    struct catalog catalog = {0};
    assert_false(state_open(&world->state, world->folder, &catalog, &world->report, &err));
    assert_int_equal(err.action, ERR_CONFIG);
    assert_non_null(strstr(err.text, "format 99"));
    assert_non_null(strstr(err.text, "newer version"));
    assert_int_equal(journal_bytes(world, bytes, sizeof(bytes)), size);
    assert_memory_equal(bytes, newer.bytes, size);
    buffer_done(&newer);
    catalog_done(&catalog);
    world->state = NULL;
}

static void
removed_journal_is_written_anew(void **context)
{
    struct world *world = *context;
    struct err err;
    struct generation *a = add(world, "/a", 100);
    make_durable(world);
    char path[128];
    journal_path(world, path);
    assert_int_equal(unlink(path), 0);
    generation_commit(a, 200, 1);
    state_put_progress(world->state, a);
    state_sync(world->state);
    struct pollfd fd = {.fd = state_fd(world->state), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 10000), 1);
    assert_false(state_reap(world->state, &err));
    assert_non_null(strstr(err.text, "removed"));
    make_durable(world);
    world_close(world);
    world_open(world);
    assert_int_equal(world->report.generations, 1);
    assert_int_equal(first_of(world)->committed, 200);
}

static void
removed_folder_is_made_again_and_locked(void **context)
{
    struct world *world = *context;
    struct err err;
    struct generation *a = add(world, "/a", 100);
    make_durable(world);
    char aside[80];
    (void)snprintf(aside, sizeof(aside), "%s.aside", world->folder);
    assert_int_equal(rename(world->folder, aside), 0);
    generation_commit(a, 200, 1);
    state_put_progress(world->state, a);
    state_sync(world->state);
    struct pollfd fd = {.fd = state_fd(world->state), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 10000), 1);
    assert_false(state_reap(world->state, &err));
    make_durable(world);
    struct catalog catalog = {0};
    struct state_report report;
    struct state *second;
    assert_false(state_open(&second, world->folder, &catalog, &report, &err));
    assert_int_equal(err.action, ERR_RETRY);
    world_close(world);
    world_open(world);
    assert_int_equal(first_of(world)->committed, 200);
    char command[128];
    static const char *const names[] = {"journal", "lock", "journal.spare", ""};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(command, sizeof(command), "%s/%s", aside, names[i]);
        (void)remove(command);
    }
}

static void
another_state_in_the_place_of_ours_is_not_overwritten(void **context)
{
    struct world *world = *context;
    struct err err;
    struct generation *a = add(world, "/a", 100);
    make_durable(world);
    char aside[80];
    char path[128];
    (void)snprintf(aside, sizeof(aside), "%s.aside", world->folder);
    assert_int_equal(rename(world->folder, aside), 0);
    assert_int_equal(mkdir(world->folder, 0700), 0);
    write_journal(world, "theirs", 6);
    generation_commit(a, 200, 1);
    state_put_progress(world->state, a);
    for (int i = 0; i < 3; i++) {
        state_sync(world->state);
        struct pollfd fd = {.fd = state_fd(world->state), .events = POLLIN};
        assert_int_equal(poll(&fd, 1, 10000), 1);
        assert_false(state_reap(world->state, &err));
    }
    assert_non_null(strstr(err.text, "another state"));
    struct stat about;
    journal_path(world, path);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_size, 6);
    (void)remove(path);
    (void)snprintf(path, sizeof(path), "%s/lock", world->folder);
    (void)remove(path);
    assert_int_equal(rmdir(world->folder), 0);
    assert_int_equal(rename(aside, world->folder), 0);
}

/* Takes what the disk has left; its name is forgotten at once, its room comes back with it. */
static int
fill_disk(const char *folder)
{
    char path[128];
    static char bytes[65536];
    (void)snprintf(path, sizeof(path), "%s/filler", folder);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    memset(bytes, 1, sizeof(bytes));
    for (size_t size = sizeof(bytes); size > 0; size /= 2)
        while (write(fd, bytes, size) > 0)
            continue;
    assert_int_equal(errno, ENOSPC);
    return fd;
}

/* A folder of its own on a small disk: TAILRACE_FULL_FOLDER, or a tmpfs where that is allowed. */
static bool
enter_small_disk(struct world *world)
{
    const char *given = getenv("TAILRACE_FULL_FOLDER");
    if (given == NULL)
        return mount("tmpfs", world->folder, "tmpfs", 0, "size=12m") == 0;
    (void)snprintf(world->folder, sizeof(world->folder), "%s", given);
    return true;
}

static void
full_disk_stops_neither_progress_nor_compaction(void **context)
{
    struct world *world = *context;
    world_close(world);
    if (!enter_small_disk(world)) {
        world_open(world);
        skip();
    }
    world_open(world);
    struct generation *files[50];
    for (unsigned i = 0; i < 50; i++) {
        char path[32];
        (void)snprintf(path, sizeof(path), "/var/log/%u", i);
        files[i] = add(world, path, 100);
    }
    make_durable(world);
    /* Nearly so large that compaction is worth it, when the disk is full. */
    uint64_t at = 100;
    while (state_size(world->state) < 4000000) {
        for (unsigned i = 0; i < 500; i++) {
            at++;
            generation_commit(files[i % 50], at, at);
            state_put_progress(world->state, files[i % 50]);
        }
        make_durable(world);
    }
    int filler = fill_disk(world->folder);
    size_t before = state_size(world->state);
    size_t written = 0;
    for (unsigned round = 0; round < 2400; round++) {
        for (unsigned i = 0; i < 50; i++) {
            at++;
            generation_commit(files[i], at, at);
            state_put_progress(world->state, files[i]);
        }
        if (round == 1200)
            (void)add(world, "/var/log/born", 7);
        for (unsigned i = 0; i < 50 && round % 200 == 0; i++) { /* midnight */
            days_found(&files[i]->days, files[i]->committed);
            days_sent(&files[i]->days, files[i]->committed);
            assert_true(days_add(&files[i]->days, files[i]->committed, files[i]->days.sent,
                                 20000 + (int32_t)round));
            state_put_days(world->state, files[i]);
        }
        make_durable(world);
        if (state_size(world->state) != before)
            written += 50;
        before = state_size(world->state);
        if (round % 600 == 599) {
            world_close(world);
            world_open(world);
            assert_int_equal(world->report.holes, 0);
            assert_false(world->report.cut);
            assert_int_equal(world->catalog.count, round < 1200 ? 50 : 51);
            for (struct generation *each = world->catalog.first; each != NULL; each = each->next) {
                unsigned number = (unsigned)strtoul(each->path + 9, NULL, 10);
                if (strcmp(each->path, "/var/log/born") == 0)
                    continue;
                files[number] = each;
                assert_int_equal(each->committed, at - 49 + number);
                assert_int_equal(each->days.day[each->days.count - 1],
                                 20000 + (int32_t)round / 200 * 200);
            }
        }
    }
    assert_int_equal(written, 2400 * 50);
    world_close(world);
    (void)close(filler);
    if (getenv("TAILRACE_FULL_FOLDER") == NULL)
        assert_int_equal(umount2(world->folder, MNT_DETACH), 0);
    world_open(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_durable_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(stop_in_order_is_remembered, setup, teardown),
        cmocka_unit_test_setup_teardown(birth_is_durable_only_after_the_sync, setup, teardown),
        cmocka_unit_test_setup_teardown(
            day_marks_come_back_and_doubt_only_what_a_kill_of_their_day_leaves_open, setup,
            teardown),
        cmocka_unit_test_setup_teardown(stop_in_order_tells_up_to_where_each_file_was_sent, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(first_write_of_a_day_tells_up_to_where_each_file_was_sent,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(day_is_not_known_while_the_disk_tells_of_a_later_one, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(file_of_a_version_without_days_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(second_owner_hears_who_has_it, setup, teardown),
        cmocka_unit_test_setup_teardown(one_garbled_byte_costs_one_record_and_is_reported, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(journal_cut_anywhere_gives_what_is_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_journal_is_written_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_in_a_whole_record_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(long_life_is_compacted, setup, teardown),
        cmocka_unit_test_setup_teardown(input_once_seen_stays_seen_wherever_the_journal_is_cut,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(lost_header_changes_no_id, setup, teardown),
        cmocka_unit_test_setup_teardown(older_format_is_read_and_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(newer_format_is_refused_with_a_word, setup, teardown),
        cmocka_unit_test_setup_teardown(removed_journal_is_written_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(removed_folder_is_made_again_and_locked, setup, teardown),
        cmocka_unit_test_setup_teardown(another_state_in_the_place_of_ours_is_not_overwritten,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(full_disk_stops_neither_progress_nor_compaction, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
