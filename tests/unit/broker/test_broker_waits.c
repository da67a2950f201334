// SPDX-License-Identifier: MPL-2.0
#include "../../../lib/base/rand.h"
#include "../../../nodes/broker/update.h"
#include "../../../nodes/broker/waits.h"
#include "../../support/test.h"

#define S_COUNT 2000

static void test_waits__token_of_an_answered_request_finds_nobody(void **state)
{
    (void) state;
    weft_waits_t waits;
    weft_waits_init(&waits);
    struct weft_wait *first = weft_waits_take(&waits, WEFT_WAIT_PRODUCE);
    uint64_t token = weft_wait_token(first);
    assert_true(token != 0);
    assert_ptr_equal(weft_waits_find(&waits, token), first);
    weft_waits_give(&waits, first);
    assert_null(weft_waits_find(&waits, token));
    struct weft_wait *second = weft_waits_take(&waits, WEFT_WAIT_FETCH); // the same slot
    assert_ptr_equal(first, second);
    assert_null(weft_waits_find(&waits, token));
    assert_null(weft_waits_find(&waits, 0));
    assert_null(weft_waits_find(&waits, UINT64_MAX));
    weft_waits_give(&waits, second);
    assert_int_equal(weft_waits_bytes(&waits), 0);
    weft_waits_fini(&waits);
}

static void test_waits__due_ones_come_in_order_whatever_left_meanwhile(void **state)
{
    (void) state;
    weft_waits_t waits;
    weft_rand_t rand;
    struct weft_wait *taken[S_COUNT];
    weft_waits_init(&waits);
    weft_rand_init(&rand, 3);
    assert_int_equal(weft_waits_next_us(&waits), WEFT_TIME_NEVER);
    size_t left = 0;
    for (size_t i = 0; i < S_COUNT; i++) {
        taken[i] = weft_waits_take(&waits, WEFT_WAIT_FETCH);
        weft_waits_deadline(&waits, taken[i], (int64_t) weft_rand_below(&rand, 500));
        if (weft_rand_chance(&rand, 300000))
            weft_waits_deadline(&waits, taken[i], (int64_t) weft_rand_below(&rand, 500));
    }
    for (size_t i = 0; i < S_COUNT; i++) {
        if (weft_rand_chance(&rand, 500000))
            weft_waits_give(&waits, taken[i]);
        else
            left++;
    }
    int64_t last = 0;
    for (int64_t now = 0; now < 500; now++) {
        struct weft_wait *wait;
        while ((wait = weft_waits_due(&waits, now)) != NULL) {
            assert_true(wait->deadline_us >= last && wait->deadline_us <= now);
            last = wait->deadline_us;
            weft_waits_give(&waits, wait);
            left--;
        }
        assert_true(weft_waits_next_us(&waits) > now);
    }
    assert_int_equal(left, 0);
    weft_waits_fini(&waits);
}

static void test_waits__list_keeps_its_order_when_any_leaves(void **state)
{
    (void) state;
    weft_waits_t waits;
    struct weft_wait_list list = {0};
    struct weft_wait *taken[5];
    weft_waits_init(&waits);
    for (int i = 0; i < 5; i++) weft_wait_list_push(&list, taken[i] = weft_waits_take(&waits, WEFT_WAIT_FETCH));
    weft_wait_list_remove(&list, taken[2]);
    weft_wait_list_remove(&list, taken[0]);
    weft_wait_list_remove(&list, taken[4]);
    assert_int_equal(list.count, 2);
    assert_ptr_equal(list.head, taken[1]);
    assert_ptr_equal(list.tail, taken[3]);
    assert_ptr_equal(list.head->next, list.tail);
    for (int i = 0; i < 5; i++) weft_waits_give(&waits, taken[i]);
    weft_waits_fini(&waits);
}

// ---- updates

static weft_err_t s_check(uint64_t from, uint64_t to, const void *bytes, size_t size)
{
    weft_update_t *update = weft_update_new(1, from, to, false, weft_slice(bytes, size));
    weft_err_t code = weft_update_check(update, NULL);
    weft_update_unref(update);
    return code;
}

static void test_update__any_width_of_integer_and_bytes_is_read(void **state)
{
    (void) state;
    static const uint8_t good[] = {0x92, 0x05, 0xc4, 1,    'x',  0x92, 0xcc, 6, 0xa1, 'x',  0x92, 0xcd, 0,  7, 0xc5,
                                   0,    1,    'x',  0x92, 0xce, 0,    0,    0, 8,    0xc6, 0,    0,    0,  1, 'x',
                                   0x92, 0xcf, 0,    0,    0,    0,    0,    0, 0,    9,    0xd9, 1,    'x'};
    assert_ok(s_check(4, 9, good, sizeof good));
    assert_ok(s_check(4, 12, good, sizeof good));
    assert_ok(s_check(4, 9, good, 0));
    assert_err(s_check(5, 9, good, sizeof good), WEFT_ERR_BAD_FRAME); // begins below
    assert_err(s_check(4, 8, good, sizeof good), WEFT_ERR_BAD_FRAME); // ends above
    for (size_t cut = 1; cut < sizeof good; cut++) {
        bool whole = cut == 5 || cut == 10 || cut == 18 || cut == 30;
        assert_err(s_check(4, 9, good, cut), whole ? WEFT_OK : WEFT_ERR_BAD_FRAME);
    }
}

static void test_update__rubbish_is_refused(void **state)
{
    (void) state;
    weft_rand_t rand;
    weft_rand_init(&rand, 11);
    for (int i = 0; i < 20000; i++) {
        uint8_t bytes[24];
        size_t size = 1 + (size_t) weft_rand_below(&rand, sizeof bytes);
        for (size_t k = 0; k < size; k++) bytes[k] = (uint8_t) weft_rand_next(&rand);
        if (i % 2 == 0) bytes[0] = 0x92;
        (void) !s_check(0, UINT64_MAX, bytes, size); // no byte beyond the end is read (sanitizers)
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits__token_of_an_answered_request_finds_nobody),
        cmocka_unit_test(test_waits__due_ones_come_in_order_whatever_left_meanwhile),
        cmocka_unit_test(test_waits__list_keeps_its_order_when_any_leaves),
        cmocka_unit_test(test_update__any_width_of_integer_and_bytes_is_read),
        cmocka_unit_test(test_update__rubbish_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
