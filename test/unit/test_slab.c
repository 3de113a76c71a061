/* SPDX-License-Identifier: Apache-2.0 */
/* test_slab.c: agent/slab.c: what a lane may hold, and that everything comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>
#include <string.h>

#include "agent/slab.h"

static struct slab_pool *
pool_of(unsigned small)
{
    struct slab_pool *pool;
    struct err err;
    assert_true(slab_pool_new(&pool, (size_t)small * SLAB_SIZE + (size_t)WIDE_SLABS * 1000000,
                              1000000, &err));
    assert_int_equal(slab_pool_count(pool), small);
    return pool;
}

/* Takes slabs and keeps a record in each, as a lane without answers does. */
static unsigned
fill(struct slab_pool *pool, struct slab_share *share, struct slab **taken)
{
    unsigned count = 0;
    struct slab *slab;
    while ((slab = slab_take(pool, share, false)) != NULL) {
        memset(slab->bytes, 'x', slab->size);
        slab->fill = slab->size;
        slab_sent(slab, 1);
        slab_close(pool, slab);
        taken[count++] = slab;
    }
    return count;
}

static void
a_stale_lane_takes_only_of_plenty(void **unused)
{
    (void)unused;
    struct slab_pool *pool = pool_of(16);
    struct slab *taken[16];
    struct slab_share stale[2] = {{.stale = true}, {.stale = true}};
    struct slab_share other = {0};
    assert_int_equal(fill(pool, &stale[0], taken), 8);
    assert_int_equal(fill(pool, &stale[1], taken + 8), 1); /* a first one, to get answers for */
    assert_non_null(slab_take(pool, &stale[0], true));
    assert_null(slab_take(pool, &stale[1], true)); /* the last one is for others */
    assert_non_null(slab_take(pool, &other, true));
    assert_true(slab_pool_is_empty(pool, true));
    assert_false(slab_pool_is_empty(pool, false));
    slab_close(pool, stale[0].open);
    slab_close(pool, other.open);
    for (unsigned i = 0; i < 9; i++)
        slab_answered(pool, taken[i], 1);
    assert_int_equal(slab_pool_used(pool), 0);
    slab_pool_free(pool);
}

static void
lane_without_answers_leaves_room_for_others(void **unused)
{
    (void)unused;
    struct slab_pool *pool = pool_of(16);
    struct slab *taken[4][16];
    struct slab_share shares[4] = {0};
    unsigned first = fill(pool, &shares[0], taken[0]);
    assert_int_equal(first, 8); /* alone, half of all */
    unsigned second = fill(pool, &shares[1], taken[1]);
    assert_int_equal(second, 2);
    unsigned third = fill(pool, &shares[2], taken[2]);
    assert_int_equal(third, 1);
    assert_non_null(slab_take(pool, &shares[3], false));
    assert_false(slab_share_allows_records(pool, &shares[0], 60, 100));
    assert_true(slab_share_allows_records(pool, &shares[0], 40, 100));
    assert_true(slab_share_allows_records(pool, &shares[2], 60, 100));
    assert_false(slab_share_allows_records(pool, &shares[2], 100, 100));
    slab_close(pool, shares[3].open);
    for (unsigned i = 0; i < first; i++)
        slab_answered(pool, taken[0][i], 1);
    for (unsigned i = 0; i < second; i++)
        slab_answered(pool, taken[1][i], 1);
    for (unsigned i = 0; i < third; i++)
        slab_answered(pool, taken[2][i], 1);
    assert_int_equal(slab_pool_used(pool), 0);
    slab_pool_free(pool);
}

static void
open_slab_is_shared_until_its_last_answer(void **unused)
{
    (void)unused;
    struct slab_pool *pool = pool_of(8);
    struct slab_share share = {0};
    struct slab *slab = slab_take(pool, &share, false);
    slab->fill = 100;
    slab_sent(slab, 2);
    assert_ptr_equal(slab_take(pool, &share, false), slab);
    slab->fill = 200;
    slab_sent(slab, 1);
    slab_answered(pool, slab, 2);
    assert_ptr_equal(share.open, slab);
    slab_answered(pool, slab, 1);
    assert_null(share.open);
    assert_int_equal(share.held, 0);
    slab_pool_free(pool);
}

static void
wide_slab_is_for_one_lane_at_a_time_when_scarce(void **unused)
{
    (void)unused;
    struct slab_pool *pool = pool_of(8);
    struct slab_share one = {0};
    struct slab_share two = {0};
    struct slab *wide = slab_take(pool, &one, true);
    assert_non_null(wide);
    assert_true(wide->size >= 1000000);
    slab_sent(wide, 1);
    slab_close(pool, wide);
    assert_null(slab_take(pool, &one, true)); /* the other one is for others */
    struct slab *other = slab_take(pool, &two, true);
    assert_non_null(other);
    slab_close(pool, other);
    slab_answered(pool, wide, 1);
    assert_int_equal(slab_pool_used(pool), 0);
    slab_pool_free(pool);
}

static void
too_little_memory_is_refused(void **unused)
{
    (void)unused;
    struct slab_pool *pool;
    struct err err;
    assert_false(slab_pool_new(&pool, 1000000, 1000000, &err));
    assert_int_equal(err.action, ERR_CONFIG);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stale_lane_takes_only_of_plenty),
        cmocka_unit_test(lane_without_answers_leaves_room_for_others),
        cmocka_unit_test(open_slab_is_shared_until_its_last_answer),
        cmocka_unit_test(wide_slab_is_for_one_lane_at_a_time_when_scarce),
        cmocka_unit_test(too_little_memory_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
