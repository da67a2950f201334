// SPDX-License-Identifier: MPL-2.0
// Who is cut from whom, by names and the order in which it was said.
#include "lib/testing/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_rules__the_last_word_counts(void **state)
{
    (void) state;
    struct weft_rules rules = {.items = NULL};
    assert_int_equal(weft_rules_get(&rules, "a", "b", WEFT_RULE_CUT), 0);
    weft_rules_add(&rules, "a", "*", WEFT_RULE_CUT, 1);
    weft_rules_add(&rules, "a", "c", WEFT_RULE_CUT, 0);
    weft_rules_add(&rules, "a", "c", WEFT_RULE_DELAY_US, 70);
    assert_int_equal(weft_rules_get(&rules, "a", "b", WEFT_RULE_CUT), 1);
    assert_int_equal(weft_rules_get(&rules, "b", "a", WEFT_RULE_CUT), 0); // one way
    assert_int_equal(weft_rules_get(&rules, "a", "c", WEFT_RULE_CUT), 0);
    assert_int_equal(weft_rules_get(&rules, "a", "c", WEFT_RULE_DELAY_US), 70);
    assert_int_equal(weft_rules_get(&rules, "a", "b", WEFT_RULE_DELAY_US), 0);
    weft_rules_add(&rules, "*", "*", WEFT_RULE_CUT, 1);
    assert_int_equal(weft_rules_get(&rules, "a", "c", WEFT_RULE_CUT), 1);
    weft_rules_fini(&rules);
}

static void test_rules__what_a_new_one_covers_is_forgotten(void **state)
{
    (void) state;
    struct weft_rules rules = {.items = NULL};
    for (int i = 0; i < 1000; i++) {
        weft_rules_add(&rules, "a", "b", WEFT_RULE_CUT, i % 2);
        weft_rules_add(&rules, "b", "a", WEFT_RULE_CUT, i % 2);
    }
    assert_int_equal(rules.count, 2);
    weft_rules_add(&rules, "a", "*", WEFT_RULE_CUT, 1); // not what "b" says
    assert_int_equal(rules.count, 2);
    weft_rules_add(&rules, "*", "*", WEFT_RULE_CUT, 0);
    assert_int_equal(rules.count, 1);
    weft_rules_fini(&rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules__the_last_word_counts),
        cmocka_unit_test(test_rules__what_a_new_one_covers_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
