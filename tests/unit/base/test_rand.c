// SPDX-License-Identifier: MPL-2.0
#include "lib/base/rand.h"

#include "tests/support/test.h"

// The first numbers of xoshiro256** from the state {1, 2, 3, 4}, worked out by hand from the paper's definition.
static void test_rand__follows_the_published_generator(void **state)
{
    weft_rand_t rand = {{1, 2, 3, 4}};
    assert_true(weft_rand_next(&rand) == 11520);
    assert_true(weft_rand_next(&rand) == 0);
    assert_true(weft_rand_next(&rand) == 1509978240);
    assert_true(weft_rand_next(&rand) == 1215971899390074240);
}

static void test_rand__one_seed_gives_one_sequence(void **state)
{
    weft_rand_t a, b, other;
    weft_rand_init(&a, 42);
    weft_rand_init(&b, 42);
    weft_rand_init(&other, 43);
    int equal = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t next = weft_rand_next(&a);
        assert_true(next == weft_rand_next(&b));
        equal += next == weft_rand_next(&other);
    }
    assert_int_equal(equal, 0);
}

static void test_rand__below_stays_below_and_reaches_all(void **state)
{
    weft_rand_t rand;
    weft_rand_init(&rand, 7);
    int counts[7] = {0};
    for (int i = 0; i < 70000; i++) {
        uint64_t drawn = weft_rand_below(&rand, 7);
        assert_true(drawn < 7);
        counts[drawn]++;
    }
    for (int i = 0; i < 7; i++) assert_in_range(counts[i], 9500, 10500);
    for (int i = 0; i < 100; i++) assert_int_equal(weft_rand_below(&rand, 1), 0);
    for (int i = 0; i < 100; i++) assert_true(weft_rand_below(&rand, UINT64_MAX) < UINT64_MAX);
}

static void test_rand__chance_is_per_million(void **state)
{
    weft_rand_t rand;
    weft_rand_init(&rand, 7);
    int hits = 0;
    for (int i = 0; i < 100000; i++) hits += weft_rand_chance(&rand, 250000);
    assert_in_range(hits, 24000, 26000);
    for (int i = 0; i < 1000; i++) {
        assert_false(weft_rand_chance(&rand, 0));
        assert_true(weft_rand_chance(&rand, 1000000));
    }
}

static void test_rand__ids_are_not_zero_and_differ(void **state)
{
    weft_rand_t rand;
    weft_rand_seed_os(&rand);
    weft_id_t a = weft_rand_id(&rand), b = weft_rand_id(&rand);
    assert_false(weft_id_is_zero(a));
    assert_false(weft_id_equal(a, b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rand__follows_the_published_generator),
        cmocka_unit_test(test_rand__one_seed_gives_one_sequence),
        cmocka_unit_test(test_rand__below_stays_below_and_reaches_all),
        cmocka_unit_test(test_rand__chance_is_per_million),
        cmocka_unit_test(test_rand__ids_are_not_zero_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
