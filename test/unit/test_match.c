/* SPDX-License-Identifier: Apache-2.0 */
/* test_match.c: which life a file carries, case by case: real files in a temporary folder, real
 * state, no Kafka. What Kafka would acknowledge is said by ack(). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/delivery.h"
#include "agent/inputs/discovery.h"
#include "agent/inputs/file.h"
#include "agent/inputs/files.h"
#include "agent/inputs/held.h"
#include "agent/inputs/input.h"
#include "agent/options.h"
#include "agent/reader.h"
#include "agent/state.h"
#include "core/buffer.h"

#define LINE_SIZE 100

struct world {
    struct agent *agent;
    char folder[64];
    const char *paths; /* of the input, in its folder */
    const char *more;  /* options of the input */
    bool soon;         /* somebody asked for another look */
};

static struct world world;

static const char *
path_of(const char *name)
{
    static char paths[4][160];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    (void)snprintf(path, sizeof(paths[0]), "%s/logs/%s", world.folder, name);
    return path;
}

/* Lines of LINE_SIZE bytes whose beginnings and ends say which they are. */
static void
append(const char *name, const char *tag, unsigned from, unsigned count)
{
    FILE *file = fopen(path_of(name), "a");
    assert_non_null(file);
    for (unsigned i = from; i < from + count; i++)
        assert_int_equal(fprintf(file, "%-8s %06u %067u %8s %06u\n", tag, i, 0U, tag, i),
                         LINE_SIZE);
    assert_int_equal(fclose(file), 0);
}

/* The first bytes of one file, into another. */
static void
copy(const char *from, const char *to, size_t size)
{
    char *bytes = malloc(size);
    int fd = open(path_of(from), O_RDONLY);
    assert_int_equal(read(fd, bytes, size), (ssize_t)size);
    (void)close(fd);
    fd = open(path_of(to), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    (void)close(fd);
    free(bytes);
}

static void
cut_to(const char *name, off_t size)
{
    assert_int_equal(truncate(path_of(name), size), 0);
}

static void
say(struct agent *agent, enum log_level level, const char *site, const char *text)
{
    (void)agent;
    (void)site;
    if (level == LOG_LEVEL_ERROR)
        print_message("    %s\n", text);
}

static void
wake(struct agent *agent)
{
    (void)agent;
}

static void
rediscover(struct agent *agent)
{
    (void)agent;
    world.soon = true;
}

static void
start(void)
{
    char config[128];
    struct err err = {0};
    struct state_report report;
    struct agent *agent = calloc(1, sizeof(*agent));
    world.agent = agent;
    (void)snprintf(config, sizeof(config), "%s/agent.yaml", world.folder);
    FILE *file = fopen(config, "w");
    assert_non_null(file);
    (void)fprintf(file,
                  "state_dir: %s/state\nkafka: {topic: t}\n"
                  "files:\n  - {name: i, paths: [\"%s/logs/%s\"]%s}\n",
                  world.folder, world.folder, world.paths, world.more);
    (void)fclose(file);
    agent->say = say;
    agent->wake = wake;
    agent->rediscover = rediscover;
    agent->open_max = 100;
    agent->part_max = 1000000;
    if (!options_load(&agent->loaded, &agent_options_schema, config, &err))
        fail_msg("%s", err.text);
    agent->options = options_root(agent->loaded);
    assert_true(metrics_new(&agent->metrics, agent_metric_families, METRIC_COUNT, &err));
    assert_true(
        state_open(&agent->state, agent->options->top.state_dir, &agent->catalog, &report, &err));
    assert_true(slab_pool_new(&agent->pool, (size_t)8 << 20, (size_t)1 << 20, &err));
    agent->read_size = (size_t)1 << 20;
    agent->read_buffer = malloc(TAIL_SIZE_MAX + agent->read_size);
    buffer_init(&agent->scratch, ENVELOPE_SIZE_MAX);
    assert_true(delivery_init(agent, &err));
    assert_true(held_new(agent, &err));
    assert_true(input_new(&agent->inputs, agent, &agent->options->files[0], &err));
}

static void
sync_state(void)
{
    struct state *state = world.agent->state;
    struct err err;
    while (state_waits(state)) {
        state_sync(state);
        struct pollfd wait = {.fd = state_fd(state), .events = POLLIN};
        assert_int_equal(poll(&wait, 1, 10000), 1);
        assert_true(state_reap(state, &err));
    }
}

static void
look(void)
{
    unsigned rounds = 0;
    do {
        world.soon = false;
        while (!discovery_begin(world.agent) && !discovery_continue(world.agent))
            continue;
        files_tick(world.agent);
    } while (world.soon && ++rounds < 4);
}

/* kill -9, or an orderly stop; what was known is on disk. */
static void
stop(bool orderly)
{
    struct agent *agent = world.agent;
    struct err err;
    files_tick(agent);
    sync_state();
    if (orderly)
        assert_true(state_stop(agent->state, &err));
    files_done(agent);
    delivery_done(agent);
    state_free(agent->state);
    catalog_done(&agent->catalog);
    metrics_free(agent->metrics);
    buffer_done(&agent->scratch);
    slab_pool_free(agent->pool);
    free(agent->read_buffer);
    options_free(agent->loaded);
    free(agent);
    world.agent = NULL;
}

static void
restart(void)
{
    stop(false);
    start();
}

static int
setup(void **unused)
{
    (void)unused;
    world = (struct world){.paths = "*.log*", .more = ""};
    (void)snprintf(world.folder, sizeof(world.folder), "/tmp/test_match.XXXXXX");
    assert_non_null(mkdtemp(world.folder));
    assert_int_equal(mkdir(path_of(""), 0755), 0);
    start();
    return 0;
}

static int
teardown(void **unused)
{
    (void)unused;
    stop(true);
    pid_t child = fork();
    if (child == 0) {
        (void)execlp("rm", "rm", "-rf", world.folder, (char *)NULL);
        _exit(1);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    return 0;
}

static struct file *
file_of(const char *name)
{
    struct file *file = file_by_path(world.agent, path_of(name));
    if (file == NULL)
        fail_msg("%s is not known", name);
    return file;
}

/* It is read to `size`, and acknowledged when `acknowledged`. */
static void
read_to(struct file *file, uint64_t size, bool acknowledged)
{
    char tail[TAIL_SIZE_MAX];
    assert_int_equal(file->state, FILE_ACTIVE);
    if (file->fd < 0)
        assert_true(file_open(world.agent, file));
    size_t wanted = size < sizeof(tail) ? (size_t)size : sizeof(tail);
    assert_int_equal(pread(file->fd, tail, wanted, (off_t)(size - wanted)), (ssize_t)wanted);
    uint64_t hash = generation_hash(tail, wanted);
    if (acknowledged)
        generation_commit(file->generation, size, hash);
    reader_seek(file, size, hash);
}

static void
ack(const char *name)
{
    struct file *file = file_of(name);
    struct stat about;
    assert_int_equal(stat(path_of(name), &about), 0);
    file_seen(world.agent, file, &about);
    read_to(file, (uint64_t)about.st_size, true);
    files_tick(world.agent);
}

/* What inotify or the sweep tells. */
static void
notice(const char *name)
{
    struct stat about;
    assert_int_equal(stat(path_of(name), &about), 0);
    file_seen(world.agent, file_of(name), &about);
}

/* The life that is read under a path, or beside it without one. */
static struct generation *
life_of(const char *name)
{
    struct file *file = file_of(name);
    if (file->generation == NULL)
        fail_msg("%s has no life: %s", name, file->reason == NULL ? "" : file->reason);
    return file->generation;
}

static void
assert_life(struct generation_id id, uint64_t committed, const char *name)
{
    const struct generation *generation = life_of(name);
    assert_int_equal(generation->id.random, id.random);
    assert_int_equal(generation->committed, committed);
}

static void
assert_other_life(struct generation_id id, const char *name)
{
    const struct generation *generation = life_of(name);
    assert_int_not_equal(generation->id.random, id.random);
    assert_int_equal(generation->committed, 0);
}

static void
assert_count(const char *reason, double wanted)
{
    struct metrics *metrics = world.agent->metrics;
    double found =
        metrics_value(metrics, metrics_series(metrics, METRIC_GENERATIONS, "i", reason, NULL));
    if (found != wanted)
        fail_msg("%s is %.0f, not %.0f", reason, found, wanted);
}

static void
assert_suspended(const char *name)
{
    assert_int_equal(file_of(name)->state, FILE_SUSPENDED);
    assert_non_null(file_of(name)->reason);
}

static void
pass_grace(const char *name)
{
    file_of(name)->held_since_ms -= 100000;
    file_of(name)->grown_ms -= 100000;
}

/* a.log with 50 lines, acknowledged; its id. */
static struct generation_id
known(const char *name, unsigned lines)
{
    append(name, "a", 0, lines);
    look();
    ack(name);
    return life_of(name)->id;
}

/* --- rename --- */

static void
renamed_file_goes_on_in_and_out_of_the_globs_also_after_a_restart(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 50);
    assert_int_equal(rename(path_of("a.log"), path_of("a.log.1")), 0);
    append("a.log", "b", 0, 3);
    look();
    assert_life(id, 5000, "a.log.1");
    assert_other_life(id, "a.log");
    ack("a.log");
    struct generation_id second = life_of("a.log")->id;
    stop(false);
    assert_int_equal(rename(path_of("a.log.1"), path_of("a.log.2")), 0);
    assert_int_equal(rename(path_of("a.log"), path_of("a.log.1")), 0);
    start();
    look();
    assert_life(id, 5000, "a.log.2");
    assert_life(second, 300, "a.log.1");
    assert_count("renamed", 2);
    assert_count("new", 0);
    assert_int_equal(world.agent->lost_total, 0);
}

static void
file_renamed_out_of_the_globs_while_stopped_is_found(void **unused)
{
    (void)unused;
    world.paths = "*.log";
    restart();
    struct generation_id id = known("a.log", 50);
    stop(false);
    append("a.log", "a", 50, 7);
    assert_int_equal(rename(path_of("a.log"), path_of("a.log.1")), 0);
    append("a.log", "b", 0, 3);
    start();
    look();
    assert_other_life(id, "a.log");
    const struct file *rotated = world.agent->files;
    while (rotated->listed)
        rotated = rotated->next;
    assert_int_equal(rotated->generation->id.random, id.random);
    assert_int_equal(rotated->size, 5700);
    assert_int_equal(world.agent->lost_total, 0);
}

/* --- copytruncate --- */

static void
copy_after_the_truncation_carries_the_life_on(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 50);
    append("a.log", "a", 50, 10); /* not read yet */
    copy("a.log", "a.log.1", 6000);
    cut_to("a.log", 0);
    append("a.log", "b", 0, 1);
    files_changed(world.agent, file_of("a.log"));
    look();
    assert_life(id, 5000, "a.log.1");
    assert_other_life(id, "a.log");
    assert_count("truncated", 1);
    assert_count("copied", 1);
    assert_int_equal(world.agent->lost_total, 0);
    restart();
    assert_int_equal(rename(path_of("a.log.1"), path_of("a.log.2")), 0);
    look();
    assert_life(id, 5000, "a.log.2");
}

static void
copy_before_the_truncation_is_held_back_and_then_carries_the_life_on(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 50);
    append("a.log", "a", 50, 10);
    copy("a.log", "a.log.1", 2000); /* it grows */
    look();
    assert_suspended("a.log.1");
    copy("a.log", "a.log.1", 6000);
    look();
    assert_suspended("a.log.1");
    assert_count("new", 1);
    cut_to("a.log", 0);
    notice("a.log");
    look();
    assert_life(id, 5000, "a.log.1");
    assert_other_life(id, "a.log");
    assert_int_equal(world.agent->lost_total, 0);
}

static void
copy_of_a_file_that_was_born_short_is_held_back(void **unused)
{
    (void)unused;
    FILE *file = fopen(path_of("a.log"), "a");
    assert_non_null(file);
    assert_true(fputs("half a line of thirty bytes, n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    look();
    append("a.log", "a", 0, 50);
    ack("a.log");
    copy("a.log", "a.log.1", 3000);
    look();
    assert_suspended("a.log.1");
}

static void
copy_that_is_held_back_is_found_again_after_a_kill(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 50);
    append("a.log", "a", 50, 10);
    copy("a.log", "a.log.1", 6000);
    look();
    assert_suspended("a.log.1");
    stop(false);
    cut_to("a.log", 0);
    append("a.log", "b", 0, 80);
    start();
    look();
    assert_life(id, 5000, "a.log.1");
    assert_other_life(id, "a.log");
    assert_int_equal(world.agent->lost_total, 0);
}

static void
copy_in_the_making_is_still_held_back_after_a_kill(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 50);
    copy("a.log", "a.log.1", 3000);
    look();
    restart();
    look();
    assert_life(id, 5000, "a.log");
    assert_suspended("a.log.1");
}

static void
copy_shorter_than_what_was_read_goes_back_to_its_last_checkpoint(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 30);
    append("a.log", "a", 30, 20);
    ack("a.log");
    copy("a.log", "a.log.1", 4000);
    cut_to("a.log", 0);
    notice("a.log");
    look();
    assert_life(id, 3000, "a.log.1"); /* its last 10 lines have the ids they had */
    assert_other_life(id, "a.log");
    assert_int_equal(world.agent->lost_total, 0);
}

static void
banner_alone_makes_no_copy_of_a_shorter_file(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 50);
    copy("a.log", "banner", 2000);
    cut_to("a.log", 0);
    copy("banner", "a.log", 2000); /* a new life of the same path, with its banner */
    append("a.log", "b", 0, 10);
    notice("a.log");
    look();
    assert_other_life(id, "a.log");
    assert_int_equal(world.agent->lost_total, 0);
}

static void
rotations_without_an_acknowledgement_are_all_found(void **unused)
{
    (void)unused;
    struct generation_id ids[3];
    for (unsigned life = 0; life < 3; life++) {
        char tag[16];
        (void)snprintf(tag, sizeof(tag), "life%u", life);
        append("a.log", tag, 0, 20 + life);
        if (life > 0)
            notice("a.log");
        look();
        ids[life] = life_of("a.log")->id;
        if (life == 1)
            assert_int_equal(rename(path_of("a.log.1"), path_of("a.log.2")), 0);
        if (life == 2)
            break;
        copy("a.log", "a.log.1", (20 + life) * LINE_SIZE);
        cut_to("a.log", 0);
        notice("a.log");
        look();
    }
    assert_life(ids[0], 0, "a.log.2");
    assert_life(ids[1], 0, "a.log.1");
    assert_life(ids[2], 0, "a.log");
    assert_int_equal(world.agent->lost_total, 0);
    restart();
    look();
    assert_life(ids[0], 0, "a.log.2");
    assert_life(ids[1], 0, "a.log.1");
    assert_life(ids[2], 0, "a.log");
}

/* One record of the file that Kafka has not answered. */
static struct batch *
send_one(struct file *file, uint64_t end)
{
    struct batch *batch = batch_take(world.agent, file, NULL);
    assert_non_null(batch);
    batch->start = file->read;
    batch->start_hash = file->read_hash;
    batch->records = 1;
    read_to(file, end, false);
    batch->end = end;
    batch->end_hash = file->read_hash;
    file->first = file->last = batch;
    file->unanswered = 1;
    return batch;
}

static void
copy_goes_on_at_once_with_what_is_under_way(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 20);
    append("a.log", "a", 20, 30);
    notice("a.log");
    struct file *file = file_of("a.log");
    (void)send_one(file, 3000);
    copy("a.log", "a.log.1", 5000);
    cut_to("a.log", 0);
    notice("a.log");
    look();
    assert_ptr_equal(file_of("a.log.1"), file);
    assert_life(id, 2000, "a.log.1");
    assert_int_equal(file->read, 3000);
    assert_int_equal(file->size, 5000);
    assert_other_life(id, "a.log");
    assert_int_equal(world.agent->lost_total, 0);
}

static void
shorter_copy_waits_for_the_answers(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 20);
    append("a.log", "a", 20, 30);
    notice("a.log");
    struct file *file = file_of("a.log");
    struct batch *batch = send_one(file, 5000);
    copy("a.log", "a.log.1", 4000);
    cut_to("a.log", 0);
    notice("a.log");
    look();
    assert_suspended("a.log.1");
    pass_grace("a.log.1");
    look();
    assert_suspended("a.log.1");     /* time alone decides nothing here */
    file->first = file->last = NULL; /* it failed */
    file->unanswered = 0;
    batch_put(world.agent, batch);
    look();
    assert_life(id, 2000, "a.log.1");
    assert_int_equal(world.agent->lost_total, 1000);
}

static void
copy_out_of_the_globs_is_found_and_not_shipped_again_by_the_next_rotation(void **unused)
{
    (void)unused;
    world.paths = "*.log";
    restart();
    struct generation_id id = known("a.log", 50);
    append("a.log", "a", 50, 5);
    copy("a.log", "a.log.1", 5500);
    cut_to("a.log", 0);
    notice("a.log");
    look();
    assert_count("copied", 1);
    assert_int_equal(world.agent->lost_total, 0);
    struct generation *generation = catalog_find(&world.agent->catalog, id);
    assert_non_null(generation);
    read_to(generation->file, 5500, true);
    append("a.log", "b", 0, 30);
    look();
    ack("a.log");
    assert_int_equal(rename(path_of("a.log.1"), path_of("a.log.2")), 0);
    copy("a.log", "a.log.1", 3000);
    cut_to("a.log", 0);
    notice("a.log");
    look();
    assert_count("copied", 2);
    assert_count("new", 3); /* a.log's */
    assert_int_equal(world.agent->catalog.count, 3);
}

static void
bytes_that_no_copy_has_are_lost(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 50);
    append("a.log", "a", 50, 10);
    notice("a.log");
    cut_to("a.log", 0);
    append("a.log", "b", 0, 1);
    notice("a.log");
    look();
    assert_other_life(id, "a.log");
    assert_int_equal(world.agent->lost_total, 1000);
    restart();
    look();
    assert_int_equal(world.agent->lost_total, 0); /* counted once */
}

static void
end_that_is_cut_off_unread_is_lost(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 50);
    append("a.log", "a", 50, 10);
    notice("a.log");
    cut_to("a.log", 5300);
    notice("a.log");
    look();
    assert_life(id, 5000, "a.log");
    assert_int_equal(world.agent->lost_total, 700);
}

static void
truncated_and_grown_past_what_was_read_is_noticed(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 50);
    append("a.log", "a", 50, 20);
    notice("a.log");
    copy("a.log", "a.log.1", 7000);
    cut_to("a.log", 0);
    append("a.log", "b", 0, 60); /* longer than what was read, shorter than what was seen */
    notice("a.log");
    look();
    assert_life(id, 5000, "a.log.1");
    assert_other_life(id, "a.log");
    assert_int_equal(world.agent->lost_total, 0);
}

static void
file_rewritten_to_its_very_size_is_noticed(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 50);
    cut_to("a.log", 0);
    append("a.log", "b", 0, 50);
    struct timespec times[2] = {{.tv_sec = 2000000000}, {.tv_sec = 2000000000}};
    assert_int_equal(utimensat(AT_FDCWD, path_of("a.log"), times, 0), 0);
    notice("a.log");
    look();
    assert_other_life(id, "a.log");
    assert_int_equal(world.agent->lost_total, 0);
}

/* --- equal beginnings --- */

static void
files_with_the_same_banner_are_files_of_their_own(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 30);
    for (unsigned i = 0; i < 20; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "b%u.log", i);
        copy("a.log", name, 3000);
    }
    look();
    for (unsigned i = 0; i < 20; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "b%u.log", i);
        assert_suspended(name);
        if (i == 0)
            append(name, "b", 0, 1); /* it has a line of its own */
        else
            pass_grace(name);
    }
    look();
    for (unsigned i = 0; i < 20; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "b%u.log", i);
        assert_other_life(id, name);
    }
    assert_life(id, 3000, "a.log");
    assert_count("own_after_grace", 19);
    assert_count("new", 2);
}

static void
of_equal_new_files_one_begins_and_a_truncation_moves_it(void **unused)
{
    (void)unused;
    append("a.log", "a", 0, 30);
    copy("a.log", "a.log.1", 3000);
    look();
    struct generation_id id = life_of("a.log")->id;
    assert_suspended("a.log.1");
    cut_to("a.log", 0);
    notice("a.log");
    look();
    assert_life(id, 0, "a.log.1");
    assert_int_equal(world.agent->lost_total, 0);
}

static void
successor_of_a_renamed_file_is_not_held_back_for_its_banner(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 30);
    assert_int_equal(rename(path_of("a.log"), path_of("a.log.1")), 0);
    copy("a.log.1", "a.log", 2000);
    look();
    assert_life(id, 3000, "a.log.1");
    assert_other_life(id, "a.log");
}

static void
copy_under_the_name_of_an_older_one_is_held_back(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log.1", 30);
    append("a.log", "b", 0, 40);
    look();
    ack("a.log");
    struct generation_id second = life_of("a.log")->id;
    for (unsigned round = 0; round < 2; round++) {
        if (round == 1)
            stop(false); /* or the agent does not see the rename */
        assert_int_equal(rename(path_of(round == 0 ? "a.log.1" : "a.log.2"),
                                path_of(round == 0 ? "a.log.2" : "a.log.3")),
                         0);
        copy("a.log", "a.log.1", 2000);
        if (round == 1)
            start();
        look();
        assert_suspended("a.log.1");
        assert_life(id, 3000, round == 0 ? "a.log.2" : "a.log.3");
        assert_life(second, 4000, "a.log");
    }
}

static void
copy_of_its_own_makes_no_loss_of_its_original(void **unused)
{
    (void)unused;
    (void)known("a.log", 30);
    append("a.log", "a", 30, 10);
    notice("a.log");
    copy("a.log", "a.log.1", 4000);
    look();
    pass_grace("a.log.1");
    look();
    assert_count("own_after_grace", 1);
    cut_to("a.log", 0); /* the rotator slept */
    notice("a.log");
    look();
    assert_int_equal(world.agent->lost_total, 0);
}

static void
file_seen_empty_is_held_back_when_its_first_bytes_are_a_copys(void **unused)
{
    (void)unused;
    struct err err = {0};
    struct generation_id id = known("a.log", 30);
    append("a.log.1", "", 0, 0);
    look();
    struct file *file = file_of("a.log.1");
    assert_int_equal(file->state, FILE_ACTIVE);
    copy("a.log", "a.log.1", 3000);
    notice("a.log.1");
    sync_state();
    assert_int_equal(reader_turn(world.agent, file, 0, NULL, &err), READ_WAITING);
    assert_suspended("a.log.1");
    cut_to("a.log", 0);
    notice("a.log");
    look();
    assert_life(id, 3000, "a.log.1");
}

static void
suspended_file_that_is_deleted_is_read(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 30);
    copy("a.log", "b.log", 2000);
    look();
    assert_suspended("b.log");
    assert_int_equal(unlink(path_of("b.log")), 0);
    look();
    unsigned unlisted = 0;
    for (const struct file *at = world.agent->files; at != NULL; at = at->next)
        if (!at->listed && at->state == FILE_ACTIVE && at->size == 2000)
            unlisted++;
    assert_int_equal(unlisted, 1);
    assert_life(id, 3000, "a.log");
}

/* --- other files in the place --- */

static void
file_replaced_by_a_longer_copy_goes_on(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 30);
    copy("a.log", "editor", 3000);
    append("editor", "a", 30, 2);
    assert_int_equal(rename(path_of("editor"), path_of("a.log")), 0);
    look();
    assert_life(id, 3000, "a.log");
    assert_int_equal(file_of("a.log")->size, 3200);
    stop(false);
    copy("a.log", "editor", 3200);
    assert_int_equal(rename(path_of("editor"), path_of("a.log")), 0);
    start();
    look();
    assert_life(id, 3000, "a.log");
    assert_count("replaced", 1);
}

/* Of the file that no path of the input leads to. */
static const struct generation *
unlisted_life(void)
{
    for (const struct file *at = world.agent->files; at != NULL; at = at->next)
        if (!at->listed && at->state == FILE_ACTIVE)
            return at->generation;
    fail_msg("all files are listed");
    return NULL;
}

static void
copy_that_replaced_a_file_and_was_renamed_at_once_carries_the_life_on(void **unused)
{
    (void)unused;
    static const char *const globs[] = {"*.log*", "*.log"};
    for (unsigned i = 0; i < 2; i++) {
        world.paths = globs[i];
        restart();
        const char *name = i == 0 ? "a.log" : "b.log";
        const char *rotated = i == 0 ? "a.log.1" : "b.log.1";
        append(name, i == 0 ? "a" : "b", 0, 50);
        look();
        ack(name);
        struct generation_id id = life_of(name)->id;
        copy(name, "fresh", 5000);
        append("fresh", "more", 50, 1);
        assert_int_equal(rename(path_of("fresh"), path_of(name)), 0);
        assert_int_equal(rename(path_of(name), path_of(rotated)), 0);
        look();
        if (i == 0)
            assert_life(id, 5000, rotated);
        const struct generation *life = i == 0 ? life_of(rotated) : unlisted_life();
        assert_int_equal(life->id.random, id.random);
        assert_int_equal(life->size, 5100);
    }
    assert_int_equal(world.agent->lost_total, 0);
}

static void
life_begun_by_a_truncation_is_read_wherever_its_file_was_moved(void **unused)
{
    (void)unused;
    struct stat about;
    struct generation_id id = known("a.log", 50);
    cut_to("a.log", 0);
    append("a.log", "b", 0, 3);
    assert_int_equal(rename(path_of("a.log"), path_of("elsewhere")), 0);
    assert_int_equal(stat(path_of("elsewhere"), &about), 0);
    file_seen(world.agent, file_of("a.log"), &about);
    look();
    const struct generation *life = unlisted_life();
    assert_int_not_equal(life->id.random, id.random);
    assert_int_equal(life->size, 300);
    assert_int_equal(life->file->read, 0);
}

static void
inode_that_is_given_away_says_nothing(void **unused)
{
    (void)unused;
    const unsigned lines[] = {80, 50, 20};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "%zu.log", i);
        struct generation_id id = known(name, 50);
        stop(false);
        struct stat about;
        assert_int_equal(stat(path_of(name), &about), 0);
        int fd = open(path_of(name), O_WRONLY | O_TRUNC); /* the same inode, for certain */
        (void)close(fd);
        append(name, name, 0, lines[i]);
        start();
        look();
        assert_other_life(id, name);
        assert_count("inode_reused", 1);
    }
}

static void
two_paths_of_one_inode_are_one_file(void **unused)
{
    (void)unused;
    append("a.log", "a", 0, 30);
    assert_int_equal(link(path_of("a.log"), path_of("b.log")), 0);
    assert_int_equal(symlink(path_of("a.log"), path_of("c.log")), 0);
    look();
    look();
    assert_int_equal(world.agent->file_count, 1);
}

static void
link_that_is_turned_is_a_rotation(void **unused)
{
    (void)unused;
    world.paths = "current";
    restart();
    append("one", "a", 0, 30);
    append("two", "b", 0, 5);
    assert_int_equal(symlink("one", path_of("current")), 0);
    look();
    ack("current");
    struct generation_id id = life_of("current")->id;
    assert_int_equal(unlink(path_of("current")), 0);
    assert_int_equal(symlink("two", path_of("current")), 0);
    look();
    assert_other_life(id, "current");
    assert_int_equal(world.agent->lost_total, 0);
}

/* --- power, hosts, time --- */

static void
lose_power(void)
{
    for (struct generation *at = world.agent->catalog.first; at != NULL; at = at->next)
        at->lost_power = true; /* as state.c sets it by the boot */
}

static void
file_that_lost_its_end_with_the_power_goes_back(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 30);
    append("a.log", "a", 30, 20);
    ack("a.log");
    stop(false);
    cut_to("a.log", 4100);
    append("a.log", "c", 0, 20);
    start();
    lose_power();
    look();
    assert_life(id, 3000, "a.log");
    assert_count("power_cut", 1);
    assert_int_equal(world.agent->lost_total, 0);
}

static void
file_shorter_after_a_power_cut_goes_back(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 30);
    append("a.log", "a", 30, 20);
    ack("a.log");
    stop(false);
    cut_to("a.log", 3700);
    start();
    lose_power();
    look();
    assert_life(id, 3000, "a.log");
    assert_count("power_cut", 1);
    restart();
    look();
    assert_life(id, 3000, "a.log"); /* durable */
}

static void
file_begun_anew_is_a_new_life_also_after_a_power_cut(void **unused)
{
    (void)unused;
    struct generation_id id = known("a.log", 50);
    stop(false);
    cut_to("a.log", 0);
    append("a.log", "b", 0, 20);
    start();
    lose_power();
    look();
    assert_other_life(id, "a.log");
    assert_count("power_cut", 0);
}

static void
old_file_with_start_at_end_is_read_from_its_end_when_it_grows(void **unused)
{
    (void)unused;
    stop(true);
    assert_int_equal(remove(path_of("../state/journal")), 0);
    append("a.log", "a", 0, 30);
    struct timespec times[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
    assert_int_equal(utimensat(AT_FDCWD, path_of("a.log"), times, 0), 0);
    world.more = ", start_at: end, ignore_older: 1h";
    start();
    look();
    append("a.log", "a", 30, 2);
    look();
    assert_int_equal(life_of("a.log")->committed, 3000);
}

static void
vanished_mount_is_no_deletion(void **unused)
{
    (void)unused;
    char source[] = "/dev/shm/test_match.XXXXXX"; /* another file system */
    assert_non_null(mkdtemp(source));
    assert_int_equal(mkdir(path_of("m"), 0755), 0);
    if (mount(source, path_of("m"), NULL, MS_BIND, NULL) != 0) {
        (void)rmdir(source);
        skip(); /* only root may */
    }
    world.paths = "m/*.log";
    restart();
    struct generation_id id = known("m/a.log", 30);
    append("m/a.log", "a", 30, 5);
    notice("m/a.log");
    file_close(world.agent, file_of("m/a.log"));
    assert_int_equal(umount(path_of("m")), 0);
    look();
    assert_life(id, 3000, "m/a.log");
    assert_int_equal(file_shown_state(file_of("m/a.log")), FILE_FAILED);
    assert_non_null(file_of("m/a.log")->reason);
    assert_int_equal(mount(source, path_of("m"), NULL, MS_BIND, NULL), 0);
    look();
    assert_life(id, 3000, "m/a.log");
    assert_int_equal(file_shown_state(file_of("m/a.log")), FILE_ACTIVE);
    assert_null(file_of("m/a.log")->reason);
    assert_int_equal(unlink(path_of("m/a.log")), 0); /* the mount is there: it is gone */
    look();
    assert_null(file_by_path(world.agent, path_of("m/a.log")));
    assert_int_equal(world.agent->lost_total, 500);
    assert_int_equal(umount(path_of("m")), 0);
    (void)rmdir(source);
}

static void
missing_folder_at_the_start_says_nothing(void **unused)
{
    (void)unused;
    world.paths = "m/*.log";
    restart();
    assert_int_equal(mkdir(path_of("m"), 0755), 0);
    struct generation_id id = known("m/a.log", 30);
    append("m/a.log", "a", 30, 5);
    notice("m/a.log");
    stop(false);
    assert_int_equal(rename(path_of("m"), path_of("n")), 0);
    start();
    look();
    assert_int_equal(world.agent->lost_total, 0);
    assert_int_equal(rename(path_of("n"), path_of("m")), 0);
    look();
    assert_life(id, 3000, "m/a.log");
}

/* --- zeros --- */

static void
forget_aged(unsigned days)
{
    for (struct generation *at = world.agent->catalog.first; at != NULL; at = at->next)
        at->seen_seconds = time(NULL) - (int64_t)days * 24 * 3600;
    world.agent->forget_at_ms = 1;
    files_tick(world.agent);
}

static void
life_whose_folder_stays_missing_is_forgotten_after_weeks(void **unused)
{
    (void)unused;
    char away[80];
    (void)known("a.log", 50);
    stop(false);
    (void)snprintf(away, sizeof(away), "%s/away", world.folder);
    assert_int_equal(rename(path_of(""), away), 0);
    start();
    look();
    forget_aged(30);
    assert_int_equal(world.agent->catalog.count, 1);
    forget_aged(36);
    assert_int_equal(world.agent->catalog.count, 0);
    assert_int_equal(world.agent->lost_total, 0);
}

static void
no_life_is_forgotten_for_its_age_soon_after_the_clock_was_set(void **unused)
{
    (void)unused;
    (void)known("a.log", 50);
    stop(false);
    assert_int_equal(unlink(path_of("a.log")), 0);
    start();
    look();
    forget_aged(6);
    assert_int_equal(world.agent->catalog.count, 1);
    world.agent->catalog.first->seen_seconds -= (int64_t)30 * 24 * 3600;
    files_clock_was_set(world.agent);
    files_tick(world.agent);
    assert_int_equal(world.agent->catalog.count, 1);
    forget_aged(8);
    assert_int_equal(world.agent->catalog.count, 0);
}

static void
zeros_of_a_writer_that_does_not_append_are_passed_over(void **unused)
{
    (void)unused;
    struct err err = {0};
    int fd = open(path_of("a.log"), O_WRONLY | O_CREAT, 0644);
    assert_int_equal(pwrite(fd, "line", 4, 10000000), 4);
    (void)close(fd);
    look();
    struct file *file = file_of("a.log");
    assert_int_equal(file->state, FILE_ACTIVE);
    sync_state();
    struct lane lane = {0};
    unsigned turns = 0;
    while (reader_turn(world.agent, file, 0, &lane, &err) == READ_MORE && turns < 200)
        turns++;
    assert_int_equal(file->generation->committed, 10000000);
    assert_int_equal(file->read, 10000000);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(
        renamed_file_goes_on_in_and_out_of_the_globs_also_after_a_restart, setup, teardown),
    cmocka_unit_test_setup_teardown(file_renamed_out_of_the_globs_while_stopped_is_found, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(copy_after_the_truncation_carries_the_life_on, setup, teardown),
    cmocka_unit_test_setup_teardown(
        copy_before_the_truncation_is_held_back_and_then_carries_the_life_on, setup, teardown),
    cmocka_unit_test_setup_teardown(copy_of_a_file_that_was_born_short_is_held_back, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(copy_that_is_held_back_is_found_again_after_a_kill, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(copy_in_the_making_is_still_held_back_after_a_kill, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(
        copy_shorter_than_what_was_read_goes_back_to_its_last_checkpoint, setup, teardown),
    cmocka_unit_test_setup_teardown(banner_alone_makes_no_copy_of_a_shorter_file, setup, teardown),
    cmocka_unit_test_setup_teardown(rotations_without_an_acknowledgement_are_all_found, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(copy_goes_on_at_once_with_what_is_under_way, setup, teardown),
    cmocka_unit_test_setup_teardown(shorter_copy_waits_for_the_answers, setup, teardown),
    cmocka_unit_test_setup_teardown(
        copy_out_of_the_globs_is_found_and_not_shipped_again_by_the_next_rotation, setup, teardown),
    cmocka_unit_test_setup_teardown(bytes_that_no_copy_has_are_lost, setup, teardown),
    cmocka_unit_test_setup_teardown(end_that_is_cut_off_unread_is_lost, setup, teardown),
    cmocka_unit_test_setup_teardown(truncated_and_grown_past_what_was_read_is_noticed, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(file_rewritten_to_its_very_size_is_noticed, setup, teardown),
    cmocka_unit_test_setup_teardown(files_with_the_same_banner_are_files_of_their_own, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(of_equal_new_files_one_begins_and_a_truncation_moves_it, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(successor_of_a_renamed_file_is_not_held_back_for_its_banner,
                                    setup, teardown),
    cmocka_unit_test_setup_teardown(copy_under_the_name_of_an_older_one_is_held_back, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(copy_of_its_own_makes_no_loss_of_its_original, setup, teardown),
    cmocka_unit_test_setup_teardown(file_seen_empty_is_held_back_when_its_first_bytes_are_a_copys,
                                    setup, teardown),
    cmocka_unit_test_setup_teardown(suspended_file_that_is_deleted_is_read, setup, teardown),
    cmocka_unit_test_setup_teardown(file_replaced_by_a_longer_copy_goes_on, setup, teardown),
    cmocka_unit_test_setup_teardown(
        copy_that_replaced_a_file_and_was_renamed_at_once_carries_the_life_on, setup, teardown),
    cmocka_unit_test_setup_teardown(life_begun_by_a_truncation_is_read_wherever_its_file_was_moved,
                                    setup, teardown),
    cmocka_unit_test_setup_teardown(inode_that_is_given_away_says_nothing, setup, teardown),
    cmocka_unit_test_setup_teardown(two_paths_of_one_inode_are_one_file, setup, teardown),
    cmocka_unit_test_setup_teardown(link_that_is_turned_is_a_rotation, setup, teardown),
    cmocka_unit_test_setup_teardown(file_that_lost_its_end_with_the_power_goes_back, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(file_shorter_after_a_power_cut_goes_back, setup, teardown),
    cmocka_unit_test_setup_teardown(file_begun_anew_is_a_new_life_also_after_a_power_cut, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(old_file_with_start_at_end_is_read_from_its_end_when_it_grows,
                                    setup, teardown),
    cmocka_unit_test_setup_teardown(vanished_mount_is_no_deletion, setup, teardown),
    cmocka_unit_test_setup_teardown(missing_folder_at_the_start_says_nothing, setup, teardown),
    cmocka_unit_test_setup_teardown(life_whose_folder_stays_missing_is_forgotten_after_weeks, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(no_life_is_forgotten_for_its_age_soon_after_the_clock_was_set,
                                    setup, teardown),
    cmocka_unit_test_setup_teardown(zeros_of_a_writer_that_does_not_append_are_passed_over, setup,
                                    teardown),
};

int
main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
