/* SPDX-License-Identifier: Apache-2.0 */
/* test_unpack.c: agent/unpack.c: the rest of a life comes out of a gzip stream, of another one
 * nothing. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include "agent/generation.h"
#include "agent/unpack.h"

#define CONTENT_SIZE (300 * 1024)

struct world {
    char content[CONTENT_SIZE];
    int in, out;
    struct unpack_life life;
    uint64_t room, end;
    struct err err;
};

static int
temporary(void)
{
    char path[] = "/tmp/test_unpack.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)unlink(path);
    return fd;
}

/* A life of which `committed` bytes are acknowledged. */
static void
world_init(struct world *world, uint64_t committed)
{
    memset(world, 0, sizeof(*world));
    unsigned seed = 7;
    for (size_t i = 0; i < CONTENT_SIZE; i++) {
        seed = seed * 1103515245 + 12345;
        world->content[i] = i % 50 == 49 ? '\n' : (char)('a' + (seed >> 16) % 26);
    }
    world->in = temporary();
    world->out = temporary();
    world->room = UINT64_MAX;
    size_t tail = committed < TAIL_SIZE_MAX ? (size_t)committed : TAIL_SIZE_MAX;
    world->life = (struct unpack_life){
        .head_size = HEAD_SIZE_MAX,
        .head_hash = generation_hash(world->content, HEAD_SIZE_MAX),
        .committed = committed,
        .tail_hash = generation_hash(world->content + committed - tail, tail),
        .size = CONTENT_SIZE,
    };
}

static void
world_done(struct world *world)
{
    (void)close(world->in);
    (void)close(world->out);
}

/* Appends one gzip member. */
static void
put_member(struct world *world, const char *bytes, size_t size)
{
    static unsigned char packed[CONTENT_SIZE + 4096];
    z_stream stream = {0};
    unsigned char *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    stream.next_in = copy;
    stream.avail_in = (unsigned)size;
    stream.next_out = packed;
    stream.avail_out = sizeof(packed);
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, 0), Z_OK);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    size_t packed_size = sizeof(packed) - stream.avail_out;
    (void)deflateEnd(&stream);
    free(copy);
    assert_int_equal(write(world->in, packed, packed_size), (ssize_t)packed_size);
}

static enum unpack_result
run(struct world *world)
{
    struct unpack *unpack;
    enum unpack_result result = UNPACK_MORE;
    assert_int_equal(lseek(world->in, 0, SEEK_SET), 0);
    assert_true(unpack_new(&unpack, &world->life, world->in, world->out, world->room, &world->err));
    while (result == UNPACK_MORE)
        result = unpack_step(unpack, &world->err);
    world->end = unpack_end(unpack);
    unpack_free(unpack);
    return result;
}

/* The output has the head, and everything from 64 bytes before `committed` on. */
static void
assert_rest_is_there(struct world *world)
{
    static char found[CONTENT_SIZE];
    assert_int_equal(world->end, CONTENT_SIZE);
    assert_int_equal(pread(world->out, found, sizeof(found), 0), CONTENT_SIZE);
    assert_memory_equal(found, world->content, HEAD_SIZE_MAX);
    size_t from =
        world->life.committed < TAIL_SIZE_MAX ? 0 : (size_t)world->life.committed - TAIL_SIZE_MAX;
    assert_memory_equal(found + from, world->content + from, CONTENT_SIZE - from);
}

static void
the_rest_is_written_at_its_own_offsets(void **state)
{
    (void)state;
    const uint64_t positions[] = {0, 1, 63, 64, 65, 1000, 1024, 1100, 200000, CONTENT_SIZE};
    for (size_t i = 0; i < sizeof(positions) / sizeof(positions[0]); i++) {
        struct world world;
        world_init(&world, positions[i]);
        put_member(&world, world.content, CONTENT_SIZE);
        assert_int_equal(run(&world), UNPACK_DONE);
        assert_rest_is_there(&world);
        world_done(&world);
    }
}

static void
members_one_after_the_other_are_one_content(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 100000);
    put_member(&world, world.content, 500);
    put_member(&world, world.content + 500, 0);
    put_member(&world, world.content + 500, 99500);
    put_member(&world, world.content + 100000, CONTENT_SIZE - 100000);
    const char padding[512] = "";
    assert_int_equal(write(world.in, padding, sizeof(padding)), (ssize_t)sizeof(padding));
    assert_int_equal(run(&world), UNPACK_DONE);
    assert_rest_is_there(&world);
    world_done(&world);
}

static void
another_content_is_refused_by_head_or_position(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 100000);
    world.life.head_hash++;
    put_member(&world, world.content, CONTENT_SIZE);
    assert_true(unpack_is_other(&world.life, world.in));
    assert_int_equal(run(&world), UNPACK_OTHER);
    world.life.head_hash--;
    assert_false(unpack_is_other(&world.life, world.in));
    world.life.tail_hash++;
    assert_int_equal(run(&world), UNPACK_OTHER);
    world_done(&world);
}

static void
a_content_shorter_than_the_position_has_nothing_left(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 100000);
    put_member(&world, world.content, 90000);
    assert_int_equal(run(&world), UNPACK_OTHER);
    world_done(&world);
}

static void
with_little_acknowledged_all_known_bytes_must_be_there(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 0);
    put_member(&world, world.content, CONTENT_SIZE - 1);
    assert_int_equal(run(&world), UNPACK_OTHER);
    world.life.head_size = CONTENT_SIZE_MIN - 1;
    assert_false(unpack_can_tell(&world.life));
    world_done(&world);
}

static void
an_early_end_is_told_from_damage(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 100000);
    put_member(&world, world.content, CONTENT_SIZE);
    off_t size = lseek(world.in, 0, SEEK_END);
    char byte;
    assert_int_equal(pread(world.in, &byte, 1, size / 2), 1);
    byte = (char)(byte ^ 0x55);
    assert_int_equal(pwrite(world.in, &byte, 1, size / 2), 1);
    assert_int_equal(run(&world), UNPACK_DAMAGED);
    assert_true(world.err.text[0] != '\0');
    byte = (char)(byte ^ 0x55);
    assert_int_equal(pwrite(world.in, &byte, 1, size / 2), 1);
    const off_t ends[] = {0, 5, size / 3, size - 1};
    for (size_t i = 4; i-- > 0;) {
        assert_int_equal(ftruncate(world.in, ends[i]), 0);
        assert_int_equal(run(&world), UNPACK_CUT);
    }
    world_done(&world);
}

static void
no_more_is_written_than_there_is_room_for(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 100000);
    world.room = CONTENT_SIZE - 100000;
    put_member(&world, world.content, CONTENT_SIZE);
    assert_int_equal(run(&world), UNPACK_DONE);
    world.room--;
    assert_int_equal(run(&world), UNPACK_FULL);
    world_done(&world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rest_is_written_at_its_own_offsets),
        cmocka_unit_test(members_one_after_the_other_are_one_content),
        cmocka_unit_test(another_content_is_refused_by_head_or_position),
        cmocka_unit_test(a_content_shorter_than_the_position_has_nothing_left),
        cmocka_unit_test(with_little_acknowledged_all_known_bytes_must_be_there),
        cmocka_unit_test(an_early_end_is_told_from_damage),
        cmocka_unit_test(no_more_is_written_than_there_is_room_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
