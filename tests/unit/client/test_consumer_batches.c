// SPDX-License-Identifier: MPL-2.0
// Whole batches, as they are stored.
#include "consumer_fixture.h"

static bool s_next(struct fixture *self, struct weft_batch_view *view)
{
    bool crossed = false;
    return weft_consumer_part_next_batch(self->part, view, &crossed);
}

static void test_consumer_batches__are_handed_out_as_they_came(void **state)
{
    struct fixture self;
    struct weft_batch_view view;
    struct weft_batch batch;
    s_open(&self, 1, NULL);
    s_assign(&self, 0, WEFT_FROM_OFFSET, 12);
    s_batch(&self, 10, 5, WEFT_CODEC_LZ4);
    s_batch(&self, 15, 5, WEFT_CODEC_NONE);
    s_answer(&self, peer_take(&self.peer, WEFT_API_FETCH), 20);
    assert_true(weft_consumer_part_begin_poll(self.part));
    assert_true(s_next(&self, &view));
    assert_int_equal(view.position, 12); // what is below was not asked for
    assert_int_equal(view.base_offset, 10);
    assert_int_equal(view.next_offset, 15);
    assert_string_equal(view.topic, "orders");
    assert_ok(weft_batch_verify(view.bytes, &batch));
    assert_int_equal(weft_batch_codec(&batch), WEFT_CODEC_LZ4);
    assert_true(s_next(&self, &view));
    assert_int_equal(view.position, 15);
    assert_int_equal(view.next_offset, 20);
    assert_false(s_next(&self, &view));
    struct weft_partition_position position;
    assert_true(weft_consumer_part_position(self.part, 0, &position));
    assert_int_equal(position.position, 20);
    s_close(&self);
}

static void test_consumer_batches__of_one_half_read_the_rest_is_given(void **state)
{
    struct fixture self;
    struct weft_batch_view view;
    struct weft_record_view record;
    bool crossed;
    s_open(&self, 1, NULL);
    s_assign(&self, 0, WEFT_FROM_OFFSET, 0);
    s_batch(&self, 0, 5, WEFT_CODEC_NONE);
    s_answer(&self, peer_take(&self.peer, WEFT_API_FETCH), 5);
    assert_true(weft_consumer_part_begin_poll(self.part));
    assert_true(weft_consumer_part_next(self.part, &record, &crossed));
    assert_true(weft_consumer_part_next(self.part, &record, &crossed));
    assert_true(s_next(&self, &view));
    assert_int_equal(view.position, 2);
    assert_int_equal(view.base_offset, 0);
    assert_false(weft_consumer_part_next(self.part, &record, &crossed));
    s_close(&self);
}

static void test_consumer_batches__a_damaged_one_is_not_handed_out(void **state)
{
    struct fixture self;
    struct weft_batch_view view;
    struct weft_consumer_event event;
    s_open(&self, 1, NULL);
    s_assign(&self, 0, WEFT_FROM_OFFSET, 0);
    s_batch(&self, 0, 5, WEFT_CODEC_NONE);
    self.batches.data[self.batches.size - 1] ^= 1;
    s_answer(&self, peer_take(&self.peer, WEFT_API_FETCH), 5);
    assert_true(weft_consumer_part_begin_poll(self.part));
    assert_false(s_next(&self, &view));
    while (weft_consumer_part_event(self.part, &event) && event.type != WEFT_EVENT_BAD_BATCH) {}
    assert_int_equal(event.type, WEFT_EVENT_BAD_BATCH);
    assert_int_equal(event.offset, 5);
    s_close(&self);
}

static void test_consumer_batches__a_paused_partition_gives_none(void **state)
{
    struct fixture self;
    struct weft_batch_view view;
    s_open(&self, 1, NULL);
    s_assign(&self, 0, WEFT_FROM_OFFSET, 0);
    s_batch(&self, 0, 5, WEFT_CODEC_NONE);
    s_batch(&self, 5, 5, WEFT_CODEC_NONE);
    s_answer(&self, peer_take(&self.peer, WEFT_API_FETCH), 10);
    assert_true(weft_consumer_part_begin_poll(self.part));
    assert_true(s_next(&self, &view));
    assert_ok(weft_consumer_part_pause(self.part, "orders", 0, true));
    assert_false(s_next(&self, &view));
    assert_ok(weft_consumer_part_pause(self.part, "orders", 0, false));
    assert_true(weft_consumer_part_begin_poll(self.part));
    assert_true(s_next(&self, &view));
    assert_int_equal(view.position, 5);
    s_close(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consumer_batches__are_handed_out_as_they_came),
        cmocka_unit_test(test_consumer_batches__of_one_half_read_the_rest_is_given),
        cmocka_unit_test(test_consumer_batches__a_damaged_one_is_not_handed_out),
        cmocka_unit_test(test_consumer_batches__a_paused_partition_gives_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
