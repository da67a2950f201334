// SPDX-License-Identifier: MPL-2.0
#include "lib/base/map.h"

#include "lib/base/rand.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

static int s_values[1000];

static void test_map__finds_what_was_put_and_nothing_else(void **state)
{
    weft_map_t *map = weft_map_new();
    assert_null(weft_map_get(map, weft_slice_text("a")));
    assert_null(weft_map_remove(map, weft_slice_text("a")));
    assert_null(weft_map_put(map, weft_slice_text("a"), &s_values[0]));
    assert_null(weft_map_put(map, weft_slice_text("a key that is longer than is kept inline"), &s_values[1]));
    assert_null(weft_map_put(map, weft_slice_text(""), &s_values[2]));
    assert_ptr_equal(weft_map_get(map, weft_slice_text("a")), &s_values[0]);
    assert_ptr_equal(weft_map_get(map, weft_slice_text("a key that is longer than is kept inline")), &s_values[1]);
    assert_ptr_equal(weft_map_get(map, weft_slice_text("")), &s_values[2]);
    assert_null(weft_map_get(map, weft_slice_text("b")));
    assert_ptr_equal(weft_map_put(map, weft_slice_text("a"), &s_values[3]), &s_values[0]);
    assert_int_equal(weft_map_count(map), 3);
    weft_map_destroy(&map);
    assert_null(map);
    weft_map_destroy(&map);
}

static void test_map__copies_its_keys(void **state)
{
    weft_map_t *map = weft_map_new();
    char key[64];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "%s%d", i % 2 ? "topic-" : "a topic with a rather long name ", i);
        weft_map_put(map, weft_slice_text(key), &s_values[i]);
    }
    memset(key, 0, sizeof key);
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "%s%d", i % 2 ? "topic-" : "a topic with a rather long name ", i);
        assert_ptr_equal(weft_map_get(map, weft_slice_text(key)), &s_values[i]);
    }
    weft_map_destroy(&map);
}

static void test_map__iterates_in_insertion_order_over_removals(void **state)
{
    weft_map_t *map = weft_map_new();
    for (uint64_t i = 0; i < 100; i++) weft_map_put_u64(map, i * 7919, &s_values[i]);
    for (uint64_t i = 0; i < 100; i += 3) weft_map_remove_u64(map, i * 7919);
    weft_map_put_u64(map, 0, &s_values[500]); // again: now last
    size_t cursor = 0;
    void *value;
    for (uint64_t i = 0; i < 100; i++) {
        if (i % 3 == 0) continue;
        weft_slice_t key;
        assert_true(weft_map_next(map, &cursor, &key, &value));
        assert_ptr_equal(value, &s_values[i]);
        uint64_t number = i * 7919;
        assert_true(weft_slice_equal(key, weft_slice(&number, sizeof number)));
    }
    assert_true(weft_map_next(map, &cursor, NULL, &value));
    assert_ptr_equal(value, &s_values[500]);
    assert_false(weft_map_next(map, &cursor, NULL, NULL));
    weft_map_destroy(&map);
}

static void test_map__entries_may_be_removed_while_iterating(void **state)
{
    weft_map_t *map = weft_map_new();
    for (uint64_t i = 0; i < 500; i++) weft_map_put_u64(map, i, &s_values[i]);
    size_t cursor = 0, seen = 0;
    weft_slice_t key;
    void *value;
    while (weft_map_next(map, &cursor, &key, &value)) {
        assert_ptr_equal(value, &s_values[seen]);
        if (seen % 2) assert_ptr_equal(weft_map_remove(map, key), value); // with the map's own key
        seen++;
    }
    assert_int_equal(seen, 500);
    assert_int_equal(weft_map_count(map), 250);
    for (uint64_t i = 0; i < 500; i++) assert_ptr_equal(weft_map_get_u64(map, i), i % 2 ? NULL : &s_values[i]);
    weft_map_destroy(&map);
}

static void test_map__a_queue_of_keys_does_not_grow(void **state)
{
    weft_map_t *map = weft_map_new();
    for (uint64_t i = 0; i < 100000; i++) {
        weft_map_put_u64(map, i, &s_values[i % 1000]);
        if (i >= 10) assert_ptr_equal(weft_map_remove_u64(map, i - 10), &s_values[(i - 10) % 1000]);
    }
    assert_int_equal(weft_map_count(map), 10);
    size_t cursor = 0;
    while (weft_map_next(map, &cursor, NULL, NULL)) {}
    assert_true(cursor <= 64); // places walked: bounded by what lives, not by what ever was there
    weft_map_destroy(&map);
}

// Against the plainest model: an array of all possible keys.
static void test_map__agrees_with_an_array_over_random_operations(void **state)
{
    enum { KEYS = 300 };
    void *model[KEYS] = {NULL};
    size_t count = 0;
    weft_rand_t rand;
    weft_rand_init(&rand, 11);
    weft_map_t *map = weft_map_new();
    for (int step = 0; step < 200000; step++) {
        uint64_t key = weft_rand_below(&rand, KEYS);
        if (weft_rand_chance(&rand, 500000)) {
            void *value = &s_values[weft_rand_below(&rand, 1000)];
            assert_ptr_equal(weft_map_put_u64(map, key, value), model[key]);
            count += model[key] == NULL;
            model[key] = value;
        } else {
            assert_ptr_equal(weft_map_remove_u64(map, key), model[key]);
            count -= model[key] != NULL;
            model[key] = NULL;
        }
        assert_int_equal(weft_map_count(map), count);
        uint64_t look = weft_rand_below(&rand, KEYS);
        assert_ptr_equal(weft_map_get_u64(map, look), model[look]);
    }
    weft_map_destroy(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map__finds_what_was_put_and_nothing_else),
        cmocka_unit_test(test_map__copies_its_keys),
        cmocka_unit_test(test_map__iterates_in_insertion_order_over_removals),
        cmocka_unit_test(test_map__entries_may_be_removed_while_iterating),
        cmocka_unit_test(test_map__a_queue_of_keys_does_not_grow),
        cmocka_unit_test(test_map__agrees_with_an_array_over_random_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
