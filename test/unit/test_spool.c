/* SPDX-License-Identifier: Apache-2.0 */
/* test_spool.c: agent/spool.c: what is copied is there with its own offsets, and is only called
 * whole when it is. */
#include "unit.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/generation.h"
#include "agent/spool.h"

#define CONTENT_SIZE ((size_t)9 * 1024 * 1024) /* some turns of the helper */

struct world {
    char folder[64];
    struct spool *spool;
    int fd;
    char *content;
    struct generation_id id;
    struct err err;
};

static void
write_all(int fd, const char *bytes, size_t size, off_t offset)
{
    assert_int_equal(pwrite(fd, bytes, size, offset), (ssize_t)size);
}

static void
world_init(struct world *world)
{
    memset(world, 0, sizeof(*world));
    memcpy(world->folder, "/tmp/test_spool.XXXXXX", sizeof("/tmp/test_spool.XXXXXX"));
    assert_non_null(mkdtemp(world->folder));
    assert_true(spool_new(&world->spool, world->folder, &world->err));
    world->content = malloc(CONTENT_SIZE);
    assert_non_null(world->content);
    for (size_t i = 0; i < CONTENT_SIZE; i++)
        world->content[i] = i % 100 == 99 ? '\n' : (char)('a' + (i / 100) % 26);
    char path[128];
    assert_true(snprintf(path, sizeof(path), "%s/source", world->folder) > 0);
    world->fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(world->fd >= 0);
    write_all(world->fd, world->content, CONTENT_SIZE, 0);
    (void)unlink(path);
    world->id = generation_id_new();
}

static void
world_done(struct world *world)
{
    char path[128];
    spool_remove(world->spool, world->id);
    spool_free(world->spool);
    assert_true(snprintf(path, sizeof(path), "%s/spool", world->folder) > 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(world->folder), 0);
    free(world->content);
    (void)close(world->fd);
}

static struct spool_result
wait_job(struct world *world, struct spool_job *job)
{
    struct spool_result result;
    assert_non_null(job);
    while (!spool_job_done(world->spool, job, &result))
        (void)poll(NULL, 0, 2);
    spool_job_free(world->spool, job);
    return result;
}

static struct spool_result
copy(struct world *world, uint64_t from, uint64_t resume, bool whole, uint64_t room)
{
    const struct spool_copy wanted = {.id = world->id,
                                      .fd = world->fd,
                                      .from = from,
                                      .resume = resume,
                                      .room = room,
                                      .whole = whole};
    return wait_job(world, spool_start_copy(world->spool, &wanted, &world->err));
}

static int
open_file(const struct world *world, const char *ending)
{
    char id[GENERATION_TEXT_SIZE];
    char path[128];
    generation_id_format(world->id, id);
    assert_true(snprintf(path, sizeof(path), "%s/spool/%.*s%s", world->folder, GENERATION_TEXT_SIZE,
                         id, ending) > 0);
    return open(path, O_RDWR);
}

static void
assert_holds(const struct world *world, int fd, size_t from, size_t end)
{
    char *found = malloc(CONTENT_SIZE);
    struct stat about;
    assert_non_null(found);
    assert_int_equal(fstat(fd, &about), 0);
    assert_int_equal(about.st_size, end);
    assert_int_equal(pread(fd, found, HEAD_SIZE_MAX, 0), HEAD_SIZE_MAX);
    assert_memory_equal(found, world->content, HEAD_SIZE_MAX);
    assert_int_equal(pread(fd, found, end - from, (off_t)from), (ssize_t)(end - from));
    assert_memory_equal(found, world->content + from, end - from);
    free(found);
}

static void
a_copy_has_head_and_rest_with_a_hole_between(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    const size_t from = 5 * 1024 * 1024 + 7;
    struct spool_result result = copy(&world, from, 0, true, UINT64_MAX);
    assert_int_equal(result.what, UNPACK_DONE);
    assert_true(result.whole);
    assert_int_equal(result.end, CONTENT_SIZE);
    int fd = spool_open(world.spool, world.id);
    assert_true(fd >= 0);
    assert_holds(&world, fd, from, CONTENT_SIZE);
    assert_in_range(spool_bytes(world.spool, world.id), 1, CONTENT_SIZE - from + 65536);
    assert_int_equal(open_file(&world, ".part"), -1);
    (void)close(fd);
    world_done(&world);
}

static void
a_file_that_is_written_to_is_a_part_that_goes_on(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    assert_int_equal(ftruncate(world.fd, 200000), 0);
    struct spool_result result = copy(&world, 100000, 0, false, UINT64_MAX);
    assert_int_equal(result.end, 200000);
    assert_false(result.whole);
    assert_int_equal(spool_open(world.spool, world.id), -1);
    write_all(world.fd, world.content + 200000, 100000, 200000);
    result = copy(&world, 100000, result.end, true, UINT64_MAX);
    assert_true(result.whole);
    int fd = spool_open(world.spool, world.id);
    assert_holds(&world, fd, 100000, 300000);
    (void)close(fd);
    world_done(&world);
}

static void
without_room_what_was_written_is_given_back(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    struct spool_result result = copy(&world, 0, 0, true, CONTENT_SIZE - 1);
    assert_int_equal(result.what, UNPACK_FULL);
    assert_int_equal(spool_bytes(world.spool, world.id), 0);
    assert_int_equal(ftruncate(world.fd, 200000), 0);
    assert_int_equal(copy(&world, 0, 0, false, UINT64_MAX).end, 200000);
    write_all(world.fd, world.content + 200000, 100000, 200000);
    result = copy(&world, 0, 200000, false, 50000);
    assert_int_equal(result.what, UNPACK_FULL);
    assert_int_equal(result.end, 200000);
    int fd = open_file(&world, ".part");
    assert_holds(&world, fd, 0, 200000);
    (void)close(fd);
    world_done(&world);
}

static void
a_part_nobody_continues_ends_behind_its_last_whole_line(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    assert_int_equal(ftruncate(world.fd, 200050), 0);
    (void)copy(&world, 100000, 0, false, UINT64_MAX);
    assert_true(spool_settle_part(world.spool, world.id, 100064, 100064, &world.err));
    int fd = spool_open(world.spool, world.id);
    assert_holds(&world, fd, 100000, 200000);
    (void)close(fd);
    world_done(&world);
}

static void
an_end_that_was_decided_is_kept(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    assert_int_equal(ftruncate(world.fd, 200050), 0);
    (void)copy(&world, 100000, 0, false, UINT64_MAX);
    assert_true(spool_settle_part(world.spool, world.id, 100064, 200050, &world.err));
    int fd = spool_open(world.spool, world.id);
    assert_holds(&world, fd, 100000, 200050);
    (void)close(fd);
    world_done(&world);
}

static void
a_part_is_not_believed_behind_a_hole(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    assert_int_equal(ftruncate(world.fd, 200000), 0);
    (void)copy(&world, 100000, 0, false, UINT64_MAX);
    int fd = open_file(&world, ".part");
    assert_int_equal(ftruncate(fd, 131072), 0); /* as a power cut leaves it */
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    (void)close(fd);
    assert_true(spool_settle_part(world.spool, world.id, 100064, 100064, &world.err));
    fd = spool_open(world.spool, world.id);
    struct stat about;
    assert_int_equal(fstat(fd, &about), 0);
    assert_int_equal(about.st_size, 131000);
    (void)close(fd);
    world_done(&world);
}

struct listed {
    struct generation_id id;
    bool whole;
    size_t count;
};

static void
note(void *context, struct generation_id id, bool whole)
{
    struct listed *listed = context;
    listed->id = id;
    listed->whole = whole;
    listed->count++;
}

static void
the_next_start_finds_it_and_not_what_was_being_unpacked(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    struct listed listed = {0};
    (void)copy(&world, 0, 0, true, UINT64_MAX);
    char path[128];
    assert_true(
        snprintf(path, sizeof(path), "%s/spool/0123456789abcdef01234567.new", world.folder) > 0);
    (void)close(open(path, O_RDWR | O_CREAT, 0600));
    spool_free(world.spool);
    assert_true(spool_new(&world.spool, world.folder, &world.err));
    assert_true(spool_list(world.spool, note, &listed, &world.err));
    assert_int_equal(listed.count, 1);
    assert_true(listed.whole);
    assert_true(listed.id.random == world.id.random &&
                listed.id.birth_seconds == world.id.birth_seconds);
    world_done(&world);
}

static void
a_job_may_be_let_go_while_it_runs(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    const struct spool_copy wanted = {
        .id = world.id, .fd = world.fd, .room = UINT64_MAX, .whole = true};
    for (int i = 0; i < 20; i++) {
        struct spool_job *job = spool_start_copy(world.spool, &wanted, &world.err);
        assert_non_null(job);
        if (i % 2 == 0)
            (void)poll(NULL, 0, 1);
        spool_job_free(world.spool, job);
    }
    spool_free(world.spool);
    assert_true(spool_new(&world.spool, world.folder, &world.err));
    world_done(&world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_has_head_and_rest_with_a_hole_between),
        cmocka_unit_test(a_file_that_is_written_to_is_a_part_that_goes_on),
        cmocka_unit_test(without_room_what_was_written_is_given_back),
        cmocka_unit_test(a_part_nobody_continues_ends_behind_its_last_whole_line),
        cmocka_unit_test(an_end_that_was_decided_is_kept),
        cmocka_unit_test(a_part_is_not_believed_behind_a_hole),
        cmocka_unit_test(the_next_start_finds_it_and_not_what_was_being_unpacked),
        cmocka_unit_test(a_job_may_be_let_go_while_it_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
