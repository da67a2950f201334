// SPDX-License-Identifier: MPL-2.0
#include "lib/base/glob.h"
#include "lib/base/rand.h"
#include "tests/support/test.h"

#include <string.h>

static void test_glob__matches_whole_names(void **state)
{
    assert_true(weft_glob_match("*", ""));
    assert_true(weft_glob_match("orders", "orders"));
    assert_false(weft_glob_match("orders", "orders-eu"));
    assert_true(weft_glob_match("orders*", "orders-eu"));
    assert_true(weft_glob_match("*-eu", "orders-eu"));
    assert_true(weft_glob_match("a*b*c", "aXbYbZc"));
    assert_false(weft_glob_match("a*b*c", "aXbYbZ"));
    assert_true(weft_glob_match("log.?", "log.a"));
    assert_false(weft_glob_match("log.?", "log."));
    assert_true(weft_glob_match("[a-c]x[!0-9]", "bxq"));
    assert_false(weft_glob_match("[a-c]x[!0-9]", "bx7"));
    assert_true(weft_glob_match("[]]", "]"));
    assert_true(weft_glob_match("a[b", "a[b"));
    assert_false(weft_glob_match("", "a"));
}

static void test_glob__takes_bounded_time(void **state)
{
    char pattern[250], name[250];
    memset(pattern, 0, sizeof pattern);
    for (size_t i = 0; i < 240; i += 2) memcpy(pattern + i, "*a", 2);
    memset(name, 'a', sizeof name);
    name[248] = 'b';
    name[249] = 0;
    assert_false(weft_glob_match(pattern, name)); // an engine that tries all ways would not come back
}

// Prepared patterns are another engine with the same answers.
static void test_glob__prepared_patterns_match_the_same(void **state)
{
    static const char pieces[] = "ab*?[]!-a*b";
    weft_rand_t rand;
    weft_rand_init(&rand, 7);
    size_t matches = 0;
    for (int round = 0; round < 5000; round++) {
        char patterns[WEFT_GLOBS_MAX][128] = {{0}}, name[256] = {0};
        struct weft_globs globs;
        weft_globs_init(&globs);
        size_t count = 1 + weft_rand_below(&rand, WEFT_GLOBS_MAX);
        size_t most = count <= 8 ? 128 : WEFT_GLOBS_BYTES_MAX / WEFT_GLOBS_MAX;
        if (round % 4) most = 6;
        for (size_t i = 0; i < count; i++) {
            size_t size = weft_rand_below(&rand, (uint32_t) most);
            for (size_t k = 0; k < size; k++) patterns[i][k] = pieces[weft_rand_below(&rand, sizeof pieces - 1)];
            weft_globs_add(&globs, patterns[i]);
        }
        for (int i = 0; i < 10; i++) {
            size_t length = weft_rand_below(&rand, (uint32_t) (2 * most));
            for (size_t k = 0; k < length && k < sizeof name - 1; k++) name[k] = "aab-]"[weft_rand_below(&rand, 5)];
            name[length < sizeof name - 1 ? length : sizeof name - 1] = 0;
            uint32_t expected = 0, among = i % 2 ? UINT32_MAX : (uint32_t) weft_rand_below(&rand, UINT32_MAX);
            for (size_t k = 0; k < count; k++) expected |= (uint32_t) weft_glob_match(patterns[k], name) << k;
            assert_int_equal(weft_globs_match(&globs, name, among), expected & among);
            matches += expected != 0;
        }
    }
    assert_in_range(matches, 1000, 49000);
}

static void test_glob__prepared_patterns_may_be_long(void **state)
{
    char pattern[256] = {0};
    struct weft_globs globs;
    for (size_t size = 0; size < sizeof pattern - 1; size++) {
        weft_globs_init(&globs);
        for (int i = 0; i < 3; i++) weft_globs_add(&globs, pattern); // none takes from its neighbour
        assert_int_equal(weft_globs_match(&globs, pattern, UINT32_MAX), 7);
        pattern[size] = 'b';
        assert_int_equal(weft_globs_match(&globs, pattern, UINT32_MAX), 0);
        pattern[size] = 'a';
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_glob__matches_whole_names),
        cmocka_unit_test(test_glob__takes_bounded_time),
        cmocka_unit_test(test_glob__prepared_patterns_match_the_same),
        cmocka_unit_test(test_glob__prepared_patterns_may_be_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
