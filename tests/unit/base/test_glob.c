// SPDX-License-Identifier: MPL-2.0
#include "lib/base/glob.h"
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_glob__matches_whole_names),
        cmocka_unit_test(test_glob__takes_bounded_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
