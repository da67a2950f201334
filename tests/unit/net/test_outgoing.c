// SPDX-License-Identifier: MPL-2.0
#include "parts.h"

#include "lib/net/outbox.h"
#include "lib/net/outgoing.h"

static void s_data(weft_frame_t *frame, size_t size)
{
    weft_frame_init_heap(frame, size);
    memset(frame->data, 5, size);
}

static void test_account__counts_both_frames_until_the_last_is_released(void **state)
{
    weft_account_t *account = weft_account_new();
    assert_true(weft_account_idle(account));
    weft_outgoing_t lone, pair;
    weft_outgoing_init(&lone, account, weft_slice_text("0123456789"), NULL);
    assert_true(weft_account_bytes(account) >= 10);
    assert_false(weft_account_idle(account));
    weft_frame_t data;
    s_data(&data, 1000);
    weft_outgoing_init(&pair, account, weft_slice_text("0123456789"), &data);
    assert_int_equal(data.size, 0);
    assert_true(weft_account_bytes(account) >= 1020);
    weft_outgoing_discard(&lone);
    assert_true(weft_account_bytes(account) >= 1010 && weft_account_bytes(account) < 1020);
    weft_outgoing_discard(&pair);
    assert_int_equal(weft_account_bytes(account), 0);
    assert_true(weft_account_idle(account));
    weft_account_release(&account);
    assert_null(account);
}

static void test_account__outlives_its_owner_while_messages_do(void **state)
{
    weft_account_t *account = weft_account_new();
    weft_outgoing_t late, empty;
    weft_outgoing_init(&late, account, weft_slice_text("x"), NULL);
    weft_outgoing_init(&empty, account, WEFT_SLICE_NIL, NULL); // even a message of no bytes is counted
    weft_account_release(&account);
    weft_outgoing_discard(&empty);
    weft_outgoing_discard(&late); // frees the account: a leak or a double free shows under the sanitizer
}

static void test_outbox__keeps_order_over_many_chunks_and_reuses_them(void **state)
{
    weft_account_t *account = weft_account_new();
    weft_outbox_t outbox = {0};
    assert_true(weft_outbox_empty(&outbox));
    for (uint32_t round = 1; round <= 3; round++) {
        for (uint32_t i = 0; i < 1000 * round; i++) {
            struct weft_outbox_send *send = weft_outbox_add(&outbox);
            send->link = i;
            weft_outgoing_init(&send->message, account, weft_slice_text("m"), NULL);
        }
        assert_false(weft_outbox_empty(&outbox));
        for (uint32_t i = 0; i < 1000 * round; i++) {
            struct weft_outbox_send *send = weft_outbox_next(&outbox);
            assert_int_equal(send->link, i);
            weft_outgoing_discard(&send->message);
        }
        assert_null(weft_outbox_next(&outbox));
        assert_true(weft_outbox_empty(&outbox));
    }
    for (int i = 0; i < 100; i++)
        weft_outgoing_init(&weft_outbox_add(&outbox)->message, account, weft_slice_text("m"), NULL);
    weft_outbox_fini(&outbox); // discards what is left
    assert_true(weft_account_idle(account));
    weft_account_release(&account);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_account__counts_both_frames_until_the_last_is_released),
        cmocka_unit_test(test_account__outlives_its_owner_while_messages_do),
        cmocka_unit_test(test_outbox__keeps_order_over_many_chunks_and_reuses_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
