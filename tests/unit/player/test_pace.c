// SPDX-License-Identifier: MPL-2.0
#include "nodes/player/pace.h"

#include "tests/support/test.h"

static void test_pace__speeds_are_decimal_numbers(void **state)
{
    double speed = -1;
    assert_ok(weft_pace_parse("max", &speed));
    assert_true(speed == 0);
    assert_ok(weft_pace_parse("0", &speed));
    assert_ok(weft_pace_parse("2.5", &speed));
    assert_true(speed == 2.5);
    assert_ok(weft_pace_parse(".5", &speed));
    assert_ok(weft_pace_parse("1000000", &speed));
    static const char *const wrong[] = {"",        ".",         "-1",   "1e3",
                                        "nan",     "inf",       "0x10", "1.2.3",
                                        "1000001", "0.0000001", "1 ",   "99999999999999999999999999999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_err(weft_pace_parse(wrong[i], &speed), WEFT_ERR_INVALID_ARGUMENT);
    assert_true(speed == 1000000);
}

static void test_pace__is_counted_from_one_start(void **state)
{
    struct weft_pace pace = {.speed = 2, .pause_max_ms = -1};
    int64_t now_us = 1000;
    assert_int_equal(weft_pace_due_us(&pace, 50000, now_us), 1000);
    assert_int_equal(weft_pace_left(&pace, 1000, now_us), 0);
    for (int i = 1; i <= 100000; i++) { // each leaves a little late: it never adds up
        int64_t due_us = weft_pace_due_us(&pace, 50000 + i * 7, now_us);
        assert_int_equal(due_us, 1000 + i * 3500);
        now_us = due_us + 900;
        assert_int_equal(weft_pace_left(&pace, due_us, now_us), 0);
    }
}

static void test_pace__slips_instead_of_rushing(void **state)
{
    struct weft_pace pace = {.speed = 1, .pause_max_ms = -1};
    int64_t due_us = weft_pace_due_us(&pace, 0, 0);
    assert_int_equal(weft_pace_left(&pace, due_us, 50000), 0); // its leaving is the start
    due_us = weft_pace_due_us(&pace, 10, 50000);
    assert_int_equal(due_us, 60000);
    assert_int_equal(weft_pace_left(&pace, due_us, 760000), 700000);
    assert_int_equal(weft_pace_due_us(&pace, 20, 760000), 770000);
}

static void test_pace__times_that_lie_overflow_nothing(void **state)
{
    struct weft_pace pace = {.speed = 1e-6, .pause_max_ms = -1};
    static const int64_t times[] = {0, INT64_MAX, INT64_MIN, -1, INT64_MAX, 5, INT64_MIN, INT64_MAX};
    for (int i = 0; i < 8; i++) {
        int64_t due_us = weft_pace_due_us(&pace, times[i], 1000);
        assert_true(due_us >= 1000);
        assert_int_equal(weft_pace_left(&pace, due_us, 1000), 0);
    }
    pace = (struct weft_pace){.speed = 1, .pause_max_ms = 50};
    assert_int_equal(weft_pace_due_us(&pace, INT64_MIN, 0), 0);
    assert_int_equal(weft_pace_left(&pace, 0, 0), 0);
    assert_int_equal(weft_pace_due_us(&pace, INT64_MAX, 0), 50000);
    assert_int_equal(weft_pace_due_us(&pace, 0, 0), 50000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pace__speeds_are_decimal_numbers),
        cmocka_unit_test(test_pace__is_counted_from_one_start),
        cmocka_unit_test(test_pace__slips_instead_of_rushing),
        cmocka_unit_test(test_pace__times_that_lie_overflow_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
