// SPDX-License-Identifier: MPL-2.0
#include "tests/support/test.h"

#include "nodes/bridge/epochs.h"

static void test_bridge_epochs__the_last_two_are_known(void **state)
{
    (void) state;
    struct weft_bridge_epochs self;
    weft_bridge_epochs_init(&self);
    assert_int_equal(weft_bridge_epochs_of(&self, 0), -1);
    assert_true(weft_bridge_epochs_begin(&self, 0, 1));
    assert_false(weft_bridge_epochs_begin(&self, 40, 1)); // the same goes on
    assert_true(weft_bridge_epochs_begin(&self, 50, 3));
    assert_int_equal(weft_bridge_epochs_of(&self, 49), 1); // a place at 50 stands behind a record of 1
    assert_int_equal(weft_bridge_epochs_of(&self, 50), 3);
    assert_false(weft_bridge_epochs_begin(&self, 10, 1)); // read again
    assert_true(weft_bridge_epochs_begin(&self, 90, 4));
    assert_int_equal(weft_bridge_epochs_of(&self, 49), -1);
    assert_int_equal(weft_bridge_epochs_of(&self, 89), 3);
    assert_int_equal(weft_bridge_epochs_of(&self, 1000), 4);
    assert_int_equal(weft_bridge_epochs_of(&self, -1), -1);
}

static void test_bridge_epochs__what_was_lost_is_cut_off(void **state)
{
    (void) state;
    struct weft_bridge_epochs self;
    weft_bridge_epochs_init(&self);
    assert_true(weft_bridge_epochs_begin(&self, 0, 1));
    assert_true(weft_bridge_epochs_begin(&self, 50, 3));
    weft_bridge_epochs_cut(&self, 60);
    assert_int_equal(weft_bridge_epochs_of(&self, 59), 3);
    weft_bridge_epochs_cut(&self, 50);
    assert_int_equal(weft_bridge_epochs_of(&self, 60), 1);
    assert_true(weft_bridge_epochs_begin(&self, 50, 5)); // the new history
    assert_int_equal(weft_bridge_epochs_of(&self, 49), 1);
    assert_int_equal(weft_bridge_epochs_of(&self, 50), 5);
    assert_true(weft_bridge_epochs_begin(&self, 20, 2)); // all of it is read again, and is another one
    assert_int_equal(weft_bridge_epochs_of(&self, 19), 1);
    assert_int_equal(weft_bridge_epochs_of(&self, 60), 2);
    weft_bridge_epochs_cut(&self, 0);
    assert_int_equal(weft_bridge_epochs_of(&self, 60), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bridge_epochs__the_last_two_are_known),
        cmocka_unit_test(test_bridge_epochs__what_was_lost_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
