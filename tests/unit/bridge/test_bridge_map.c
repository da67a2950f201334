// SPDX-License-Identifier: MPL-2.0
// The map of offsets: exact where it can be, early where it must be, never late.
#include "tests/support/test.h"

#include "lib/base/rand.h"
#include "nodes/bridge/map.h"

static void s_add(weft_bridge_map_t *map, int64_t source, int64_t target, int64_t count)
{
    struct weft_bridge_span span = {source, source + count, target, target + count, true};
    weft_bridge_map_add(map, &span);
    weft_bridge_map_check(map);
}

static void s_expect(const weft_bridge_map_t *map, int64_t source, int64_t target, bool exact)
{
    struct weft_bridge_mapped mapped;
    assert_true(weft_bridge_map_target(map, source, &mapped));
    assert_int_equal(mapped.offset, target);
    assert_int_equal(mapped.exact, exact);
}

static void test_bridge_map__what_follows_is_one_span(void **state)
{
    weft_bridge_map_t map;
    struct weft_bridge_mapped mapped;
    weft_bridge_map_init(&map);
    assert_false(weft_bridge_map_target(&map, 0, &mapped));
    for (int64_t i = 0; i < 10000; i += 10) s_add(&map, i, i + 3, 10);
    assert_int_equal(map.count, 1);
    s_expect(&map, 5000, 5003, true);
    s_expect(&map, 10000, 10003, true);
    s_expect(&map, 10001, 10003, false); // not copied yet
    assert_true(weft_bridge_map_source(&map, 5003, &mapped));
    assert_int_equal(mapped.offset, 5000);
    weft_bridge_map_fini(&map);
}

static void test_bridge_map__strangers_and_gaps_begin_another(void **state)
{
    weft_bridge_map_t map;
    weft_bridge_map_init(&map);
    s_add(&map, 0, 0, 10);
    s_add(&map, 10, 15, 10); // five of a stranger
    s_add(&map, 30, 25, 10); // ten gone in the source
    assert_int_equal(map.count, 3);
    s_expect(&map, 9, 9, true);
    s_expect(&map, 10, 15, true);
    s_expect(&map, 19, 24, true);
    s_expect(&map, 25, 25, false); // gone: what comes next
    s_expect(&map, 30, 25, true);
    weft_bridge_map_fini(&map);
}

static void test_bridge_map__what_diverged_is_replaced(void **state)
{
    weft_bridge_map_t map;
    weft_bridge_map_init(&map);
    s_add(&map, 0, 0, 100);
    s_add(&map, 90, 100, 20); // the source lost 90 to 99 and has other records there
    s_expect(&map, 89, 89, true);
    s_expect(&map, 90, 100, true);
    s_expect(&map, 109, 119, true);
    weft_bridge_map_fini(&map);
}

static void test_bridge_map__stays_bounded_and_is_never_late(void **state)
{
    weft_bridge_map_t map;
    weft_rand_t rand;
    int64_t *truth = weft_calloc(400000, sizeof *truth);
    int64_t source = 0, target = 0;
    weft_bridge_map_init(&map);
    weft_rand_init(&rand, 5);
    for (int i = 0; i < 20000; i++) {
        int64_t count = 1 + (int64_t) weft_rand_below(&rand, 10);
        if (weft_rand_chance(&rand, 300000)) target += 1 + (int64_t) weft_rand_below(&rand, 5);
        if (i % 7 == 0) map.fresh = 0; // a checkpoint
        for (int64_t k = 0; k < count; k++) truth[source + k] = target + k;
        s_add(&map, source, target, count);
        source += count;
        target += count;
    }
    assert_true(map.count <= WEFT_BRIDGE_MAP_SPANS_MAX);
    uint64_t exact = 0;
    for (int64_t i = 0; i < source; i++) {
        struct weft_bridge_mapped mapped;
        assert_true(weft_bridge_map_target(&map, i, &mapped));
        assert_true(mapped.offset <= truth[i]);
        if (!mapped.exact) continue;
        assert_int_equal(mapped.offset, truth[i]);
        exact++;
    }
    assert_true(exact > 0);
    weft_bridge_map_fini(&map);
    free(truth);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bridge_map__what_follows_is_one_span),
        cmocka_unit_test(test_bridge_map__strangers_and_gaps_begin_another),
        cmocka_unit_test(test_bridge_map__what_diverged_is_replaced),
        cmocka_unit_test(test_bridge_map__stays_bounded_and_is_never_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
