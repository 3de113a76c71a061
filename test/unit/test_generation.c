/* SPDX-License-Identifier: Apache-2.0 */
/* test_generation.c: agent/generation.c: a file is known again by its content, and only by it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/generation.h"

struct world {
    struct catalog catalog;
    struct generation *generation;
    int fd;
    char text[8192];
};

static int
temporary(const char *text, size_t size)
{
    char path[] = "/tmp/test_generation.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)unlink(path);
    assert_int_equal(write(fd, text, size), (ssize_t)size);
    return fd;
}

static void
commit(struct world *world, uint64_t offset)
{
    size_t tail = offset < TAIL_SIZE_MAX ? (size_t)offset : TAIL_SIZE_MAX;
    generation_commit(world->generation, offset,
                      generation_hash(world->text + offset - tail, tail));
}

/* 8192 bytes of lines, read and committed up to `committed`. */
static void
world_init(struct world *world, uint64_t committed)
{
    *world = (struct world){0};
    for (size_t i = 0; i < sizeof(world->text); i++)
        world->text[i] = i % 32 == 31 ? '\n' : (char)('a' + (i / 32) % 26);
    world->fd = temporary(world->text, sizeof(world->text));
    world->generation = generation_new(&world->catalog, "input", "/var/log/a.log");
    assert_non_null(world->generation);
    struct err err;
    assert_true(generation_grow_head(world->generation, world->fd, sizeof(world->text), &err));
    commit(world, committed);
}

static void
world_done(struct world *world)
{
    (void)close(world->fd);
    catalog_done(&world->catalog);
}

static enum belongs
belongs(const struct world *world, const char *text, size_t size)
{
    int fd = temporary(text, size);
    enum belongs result = generation_belongs(world->generation, fd, size);
    (void)close(fd);
    return result;
}

static void
same_content_belongs_also_when_grown(void **unused)
{
    (void)unused;
    struct world world;
    world_init(&world, 4096);
    assert_int_equal(belongs(&world, world.text, 8192), BELONGS_YES);
    assert_int_equal(belongs(&world, world.text, 4096), BELONGS_YES);
    world_done(&world);
}

static void
shorter_copy_belongs_by_an_older_checkpoint(void **unused)
{
    (void)unused;
    struct world world;
    world_init(&world, 2048);
    commit(&world, 6144);
    assert_int_equal(belongs(&world, world.text, 3000), BELONGS_YES);
    world.text[2047] ^= 1;
    assert_int_equal(belongs(&world, world.text, 3000), BELONGS_NO);
    world_done(&world);
}

static void
changed_head_or_checkpoint_does_not_belong(void **unused)
{
    (void)unused;
    struct world world;
    world_init(&world, 4096);
    world.text[4000] ^= 1; /* inside of neither */
    assert_int_equal(belongs(&world, world.text, 8192), BELONGS_YES);
    world.text[4095] ^= 1;
    assert_int_equal(belongs(&world, world.text, 8192), BELONGS_NO);
    world.text[4095] ^= 1;
    world.text[10] ^= 1;
    assert_int_equal(belongs(&world, world.text, 8192), BELONGS_NO);
    assert_int_equal(belongs(&world, world.text, 500), BELONGS_NO); /* shorter than its head */
    world_done(&world);
}

static void
unreadable_file_allows_no_conclusion(void **unused)
{
    (void)unused;
    struct world world;
    world_init(&world, 4096);
    assert_int_equal(generation_belongs(world.generation, -1, 8192), BELONGS_UNKNOWN);
    world_done(&world);
}

static void
head_grows_and_notices_other_bytes(void **unused)
{
    (void)unused;
    struct catalog catalog = {0};
    struct err err;
    struct generation *generation = generation_new(&catalog, "i", "/p");
    int fd = temporary("hello\n", 6);
    assert_true(generation_grow_head(generation, fd, 6, &err));
    assert_int_equal(generation->head_size, 6);
    assert_int_equal(pwrite(fd, "world\n", 6, 6), 6);
    assert_true(generation_grow_head(generation, fd, 12, &err));
    assert_int_equal(generation->head_size, 12);
    assert_int_equal(pwrite(fd, "J", 1, 0), 1);
    assert_false(generation_grow_head(generation, fd, 12, &err));
    assert_int_equal(err.action, ERR_REJECT);
    assert_int_equal(ftruncate(fd, 3), 0);
    assert_false(generation_grow_head(generation, fd, 12, &err));
    assert_int_equal(err.action, ERR_REJECT);
    (void)close(fd);
    catalog_done(&catalog);
}

static void
little_committed_content_is_never_enough(void **unused)
{
    (void)unused;
    struct world world;
    struct stat about = {.st_dev = 1, .st_ino = 2, .st_size = 8192};
    world_init(&world, CONTENT_SIZE_MIN - 1);
    world.generation->device = 1;
    world.generation->inode = 3;
    assert_int_equal(generation_tie(world.generation, &about, 5, "/var/log/a.log"), TIE_NONE);
    commit(&world, CONTENT_SIZE_MIN);
    assert_int_equal(generation_tie(world.generation, &about, 5, "/var/log/a.log"), TIE_PATH);
    assert_int_equal(generation_tie(world.generation, &about, 5, "/var/log/b.log"), TIE_CONTENT);
    world_done(&world);
}

static void
inode_ties_more_with_its_birth_and_not_at_all_with_another(void **unused)
{
    (void)unused;
    struct world world;
    struct stat about = {.st_dev = 1, .st_ino = 2};
    world_init(&world, 0);
    world.generation->device = 1;
    world.generation->inode = 2;
    world.generation->birth_ns = 5;
    assert_int_equal(generation_tie(world.generation, &about, 5, "/x"), TIE_BIRTH);
    assert_int_equal(generation_tie(world.generation, &about, 6, "/x"), TIE_NONE);
    assert_int_equal(generation_tie(world.generation, &about, 0, "/x"), TIE_INODE);
    world_done(&world);
}

static void
file_shorter_than_what_was_committed_is_tied_least(void **unused)
{
    (void)unused;
    struct world world;
    struct stat about = {.st_dev = 1, .st_ino = 2, .st_size = 4095};
    world_init(&world, 4096);
    world.generation->device = 1;
    world.generation->inode = 2;
    world.generation->birth_ns = 5;
    assert_int_equal(generation_tie(world.generation, &about, 5, "/var/log/a.log"), TIE_SHORT);
    assert_int_equal(generation_tie(world.generation, &about, 6, "/var/log/a.log"), TIE_SHORT);
    world.generation->lost_power = true; /* its end was lost with the page cache */
    assert_int_equal(generation_tie(world.generation, &about, 5, "/var/log/a.log"), TIE_BIRTH);
    world_done(&world);
}

static void
life_without_acknowledgement_is_known_by_its_head_and_a_rotated_name(void **unused)
{
    (void)unused;
    struct world world;
    struct stat about = {.st_dev = 1, .st_ino = 2, .st_size = 8192};
    world_init(&world, 0);
    assert_int_equal(generation_tie(world.generation, &about, 5, "/var/log/a.log.1"), TIE_WEAK);
    assert_int_equal(generation_tie(world.generation, &about, 5, "/var/log/a.log"), TIE_NONE);
    assert_int_equal(generation_tie(world.generation, &about, 5, "/var/old/a.log.1"), TIE_NONE);
    assert_int_equal(generation_tie(world.generation, &about, 5, "/var/log/a.log.gz"), TIE_NONE);
    world_done(&world);
}

static void
life_goes_back_to_its_last_checkpoint_that_is_in_the_file(void **unused)
{
    (void)unused;
    struct world world;
    world_init(&world, 2048);
    commit(&world, 4096);
    commit(&world, 6144);
    assert_true(generation_add_cut(world.generation, 7000));
    assert_true(generation_rewind(world.generation, world.fd, 8192)); /* all is there */
    assert_int_equal(world.generation->committed, 6144);
    assert_int_equal(world.generation->cut_count, 1);
    assert_int_equal(pwrite(world.fd, "?", 1, 6143), 1);
    assert_true(generation_rewind(world.generation, world.fd, 8192));
    assert_int_equal(world.generation->committed, 4096);
    assert_int_equal(world.generation->cut_count, 0);
    assert_true(generation_rewind(world.generation, world.fd, 3000));
    assert_int_equal(world.generation->committed, 2048);
    assert_int_equal(world.generation->head_size, HEAD_SIZE_MAX);
    assert_true(generation_rewind(world.generation, world.fd, 100));
    assert_int_equal(world.generation->committed, 0);
    assert_int_equal(world.generation->checkpoint_count, 1);
    assert_int_equal(world.generation->head_size, 0);
    world_done(&world);
}

static void
lives_are_found_by_their_first_bytes(void **unused)
{
    (void)unused;
    struct world world;
    world_init(&world, 0);
    struct generation *other = generation_new(&world.catalog, "input", "/other");
    struct generation *third = generation_new(&world.catalog, "input", "/third");
    int fd = temporary("something else, which is long enough to be known by its first bytes", 67);
    generation_know_start(&world.catalog, world.generation, world.fd);
    generation_know_start(&world.catalog, other, world.fd);
    generation_know_start(&world.catalog, third, fd);
    const struct generation *first = catalog_starting(&world.catalog, world.text, 100);
    const struct generation *second = catalog_next_starting(first, 100);
    assert_true((first == world.generation && second == other) ||
                (first == other && second == world.generation));
    assert_null(catalog_next_starting(second, 100));
    assert_non_null(catalog_starting(&world.catalog, world.text, START_SIZE_SHORT));
    assert_null(catalog_starting(&world.catalog, world.text, START_SIZE_SHORT - 1));
    assert_null(catalog_starting(&world.catalog, world.text + 1, 100));
    generation_remove(&world.catalog, other);
    assert_ptr_equal(catalog_starting(&world.catalog, world.text, 100), world.generation);
    assert_null(catalog_next_starting(world.generation, 100));
    (void)close(fd);
    world_done(&world);
}

static void
checkpoints_thin_out_and_keep_the_newest(void **unused)
{
    (void)unused;
    struct world world;
    world_init(&world, 1);
    const uint64_t last = 64 * 1024 * 1024;
    for (uint64_t offset = 2; offset <= last; offset += 999)
        generation_commit(world.generation, offset, offset * 3);
    const struct generation *generation = world.generation;
    assert_int_equal(generation->checkpoint_count, CHECKPOINTS_MAX);
    assert_int_equal(generation->checkpoints[0].offset, generation->committed);
    for (uint32_t i = 1; i < generation->checkpoint_count; i++) {
        assert_true(generation->checkpoints[i].offset < generation->checkpoints[i - 1].offset);
        if (generation->checkpoints[i].offset > 1)
            assert_int_equal(generation->checkpoints[i].hash,
                             generation->checkpoints[i].offset * 3);
    }
    /* Some are old: a copy that is much shorter can be known by them. */
    uint64_t back = generation->committed - generation->checkpoints[CHECKPOINTS_MAX - 1].offset;
    assert_true(back > last / 8);
    world_done(&world);
}

static void
cuts_are_kept_until_they_are_committed(void **unused)
{
    (void)unused;
    struct world world;
    world_init(&world, 10);
    for (uint64_t i = 1; i <= CUTS_MAX; i++)
        assert_true(generation_add_cut(world.generation, 10 * i + 10));
    assert_true(generation_add_cut(world.generation, 20)); /* is there */
    assert_false(generation_add_cut(world.generation, 500));
    commit(&world, 30);
    assert_int_equal(world.generation->cut_count, CUTS_MAX - 2);
    assert_int_equal(world.generation->cuts[0], 40);
    world_done(&world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_content_belongs_also_when_grown),
        cmocka_unit_test(shorter_copy_belongs_by_an_older_checkpoint),
        cmocka_unit_test(changed_head_or_checkpoint_does_not_belong),
        cmocka_unit_test(unreadable_file_allows_no_conclusion),
        cmocka_unit_test(head_grows_and_notices_other_bytes),
        cmocka_unit_test(little_committed_content_is_never_enough),
        cmocka_unit_test(inode_ties_more_with_its_birth_and_not_at_all_with_another),
        cmocka_unit_test(file_shorter_than_what_was_committed_is_tied_least),
        cmocka_unit_test(life_without_acknowledgement_is_known_by_its_head_and_a_rotated_name),
        cmocka_unit_test(life_goes_back_to_its_last_checkpoint_that_is_in_the_file),
        cmocka_unit_test(lives_are_found_by_their_first_bytes),
        cmocka_unit_test(checkpoints_thin_out_and_keep_the_newest),
        cmocka_unit_test(cuts_are_kept_until_they_are_committed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
