// SPDX-License-Identifier: MPL-2.0
#include "parts.h"

#include "lib/net/awake.h"

#include <time.h>
#include <unistd.h>

#define MOST_US 20000

static int64_t s_clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static struct pollfd s_pipe(int ends[2])
{
    assert_int_equal(pipe(ends), 0);
    return (struct pollfd){.fd = ends[0], .events = POLLIN};
}

static void s_close(const int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

static void test_awake__sees_what_is_there(void **state)
{
    int ends[2];
    struct pollfd item = s_pipe(ends);
    assert_int_equal(write(ends[1], "", 1), 1);
    struct weft_awake awake = {.most_us = MOST_US};
    for (int i = 0; i < 1000; i++) assert_int_equal(weft_awake_look(&awake, &item, 1), 1); // success costs no credit
    s_close(ends);
}

static void test_awake__sleeps_at_once_unless_asked_to(void **state)
{
    int ends[2];
    struct pollfd item = s_pipe(ends);
    assert_int_equal(write(ends[1], "", 1), 1);
    struct weft_awake awake = {0};
    assert_int_equal(weft_awake_look(&awake, &item, 1), 0);
    s_close(ends);
}

// Nobody writes: what is spent in vain is the first credit, of two looks, and then a 20th of the time.
static void test_awake__is_not_in_vain_for_long(void **state)
{
    int ends[2];
    struct pollfd item = s_pipe(ends);
    struct weft_awake awake = {.most_us = MOST_US};
    int64_t begun_us = s_clock_us(), vain_us = 0;
    for (int i = 0; i < 1000; i++) {
        int64_t before_us = s_clock_us();
        assert_int_equal(weft_awake_look(&awake, &item, 1), 0);
        bool ended_by_others = awake.rest_until_us >= before_us;
        if (!ended_by_others && s_clock_us() - before_us >= MOST_US) vain_us += MOST_US;
    }
    assert_true(vain_us <= 2 * MOST_US + (s_clock_us() - begun_us) / 20);
    s_close(ends);
}

// Others had the processor a moment ago: no look, whatever the credit.
static void test_awake__rests_while_others_use_the_processor(void **state)
{
    int ends[2];
    struct pollfd item = s_pipe(ends);
    assert_int_equal(write(ends[1], "", 1), 1);
    struct weft_awake awake = {.most_us = MOST_US, .rest_until_us = s_clock_us() + 3600 * (int64_t) 1000000};
    assert_int_equal(weft_awake_look(&awake, &item, 1), 0);
    awake.rest_until_us = 0;
    assert_int_equal(weft_awake_look(&awake, &item, 1), 1);
    s_close(ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_awake__sees_what_is_there),
        cmocka_unit_test(test_awake__sleeps_at_once_unless_asked_to),
        cmocka_unit_test(test_awake__is_not_in_vain_for_long),
        cmocka_unit_test(test_awake__rests_while_others_use_the_processor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
