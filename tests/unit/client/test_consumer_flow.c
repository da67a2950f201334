// SPDX-License-Identifier: MPL-2.0
// How a consumer is steered and held back: pause, seek, its byte budget; and wrong arguments.
#include "consumer_fixture.h"

static void test_consumer__pause_holds_what_was_fetched(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_assign(&self, 0, WEFT_FROM_OFFSET, 0);
    s_batch(&self, 0, 3, WEFT_CODEC_ZSTD);
    s_answer(&self, peer_take(&self.peer, WEFT_API_FETCH), 3);
    assert_ok(weft_consumer_part_pause(self.part, "orders", WEFT_PARTITION_ALL, true));
    assert_int_equal(s_read(&self, 0), 0);
    assert_ok(weft_consumer_part_pause(self.part, NULL, WEFT_PARTITION_ALL, false));
    struct weft_record_view record;
    assert_true(weft_consumer_part_begin_poll(self.part));
    assert_true(weft_consumer_part_next(self.part, &record, NULL));
    assert_ok(weft_consumer_part_pause(self.part, "orders", 0, true)); // within a batch
    assert_false(weft_consumer_part_next(self.part, &record, NULL));
    assert_ok(weft_consumer_part_pause(self.part, "orders", 0, false));
    assert_int_equal(s_read(&self, 1), 2);
    assert_err(weft_consumer_part_pause(self.part, "others", 0, true), WEFT_ERR_NOT_FOUND);
    s_close(&self);
}

static void test_consumer__seek_forgets_what_was_fetched(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_assign(&self, 0, WEFT_FROM_OFFSET, 0);
    s_batch(&self, 0, 3, WEFT_CODEC_NONE);
    s_answer(&self, peer_take(&self.peer, WEFT_API_FETCH), 100);
    s_turn(&self);
    const struct peer_call old = *peer_take(&self.peer, WEFT_API_FETCH);
    assert_ok(weft_consumer_part_seek(self.part, "orders", 0, (struct weft_position){WEFT_FROM_OFFSET, 50}));
    assert_int_equal(s_read(&self, 0), 0);
    s_turn(&self);
    s_batch(&self, 3, 3, WEFT_CODEC_NONE);
    peer_fetched(&self.peer, &old, weft_buf_slice(&self.batches), 100, 0); // an answer to the call before the seek
    weft_buf_clear(&self.batches);
    assert_int_equal(s_read(&self, 0), 0);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_FETCH);
    assert_int_equal(call->fetch.offset, 50);
    s_batch(&self, 50, 3, WEFT_CODEC_NONE);
    s_answer(&self, call, 100);
    assert_int_equal(s_read(&self, 50), 3);
    assert_err(weft_consumer_part_seek(self.part, "orders", 7, (struct weft_position){WEFT_FROM_EARLIEST, 0}),
               WEFT_ERR_NOT_FOUND);
    s_close(&self);
}

static void test_consumer__stays_within_its_byte_budget_and_watches(void **state)
{
    struct fixture self;
    s_open(&self, 8, (const char *const[]){"buffer.bytes=4MiB", "fetch.bytes=1MiB", NULL});
    s_assign(&self, WEFT_PARTITION_ALL, WEFT_FROM_OFFSET, 0);
    assert_int_equal(self.peer.call_count, 4); // 4 MiB asked for
    uint32_t watches = 0;
    for (int i = 0; i < 8; i++) { // nothing there: each that answers gives way to the next
        const struct peer_call *call = peer_take(&self.peer, WEFT_API_FETCH);
        if (call->fetch.max_bytes == 0) {
            watches++;
            continue;
        }
        s_answer(&self, call, 0);
        s_turn(&self);
    }
    for (size_t i = 0; i < self.peer.call_count; i++) watches += self.peer.calls[i].fetch.max_bytes == 0;
    assert_true(watches > 0);
    s_close(&self);
}

// A batch with values of `value_bytes`, for the byte budget.
static void s_large_batch(struct fixture *self, int64_t base_offset, uint32_t count, size_t value_bytes,
                          enum weft_codec codec)
{
    weft_buf_t batch;
    weft_buf_init(&batch);
    weft_test_batch_make(&batch, &(struct weft_test_batch){.base_offset = base_offset,
                                                           .leader_epoch = 3,
                                                           .count = count,
                                                           .value_bytes = value_bytes,
                                                           .timestamp_ms = 1000,
                                                           .codec = codec});
    weft_buf_append(&self->batches, batch.data, batch.size);
    weft_buf_fini(&batch);
}

static void test_consumer__paused_partitions_do_not_starve_the_others(void **state)
{
    struct fixture self;
    s_open(&self, 5, (const char *const[]){"buffer.bytes=4MiB", "fetch.bytes=1MiB", NULL});
    s_assign(&self, WEFT_PARTITION_ALL, WEFT_FROM_OFFSET, 0);
    assert_int_equal(self.peer.call_count, 4); // the budget is asked for
    bool paused[5] = {false};
    for (int i = 0; i < 4; i++) {
        const struct peer_call *call = peer_take(&self.peer, WEFT_API_FETCH);
        s_large_batch(&self, 0, 1, (1 << 20) - 200, WEFT_CODEC_NONE);
        paused[call->partition] = true;
        assert_ok(weft_consumer_part_pause(self.part, "orders", (int32_t) call->partition, true));
        s_answer(&self, call, 1);
    }
    s_advance_ms(&self, 100); // all that is held belongs to paused partitions
    assert_int_equal(s_read(&self, 0), 0);
    s_advance_ms(&self, 100);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_FETCH);
    assert_false(paused[call->partition]);
    assert_int_equal(self.peer.call_count, 0);
    s_large_batch(&self, 0, 1, 1000, WEFT_CODEC_NONE);
    s_answer(&self, call, 1);
    assert_int_equal(s_read(&self, 0), 1);
    s_close(&self);
}

static void test_consumer__a_poll_inflates_no_more_than_the_budget(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"buffer.bytes=1MiB", "fetch.bytes=64KiB", NULL});
    s_assign(&self, 0, WEFT_FROM_OFFSET, 0);
    for (int64_t i = 0; i < 8; i++) s_large_batch(&self, i * 2, 2, 200000, WEFT_CODEC_ZSTD); // 3.2 MB in some hundred
    s_answer(&self, peer_take(&self.peer, WEFT_API_FETCH), 16);
    int64_t count = 0, polls = 0;
    for (; count < 16; polls++) {
        int64_t got = s_read(&self, count);
        assert_true(got > 0 && got <= 6); // 1.2 MB at most: one batch beyond a full budget is never opened
        count += got;
    }
    assert_true(polls >= 4);
    s_close(&self);
}

static void test_consumer__wrong_arguments_are_refused_whole(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    struct weft_assignment wrong[] = {{.topic = "orders", .partition = 0}, {.topic = "no good", .partition = 0}};
    assert_err(weft_consumer_part_assign(self.part, wrong, 2), WEFT_ERR_INVALID_TOPIC);
    wrong[1] = (struct weft_assignment){.topic = "orders", .partition = -7};
    assert_err(weft_consumer_part_assign(self.part, wrong, 2), WEFT_ERR_INVALID_ARGUMENT);
    wrong[1] = (struct weft_assignment){.topic = "orders", .partition = 0, .at = {WEFT_FROM_OFFSET, -1}};
    assert_err(weft_consumer_part_assign(self.part, wrong, 2), WEFT_ERR_INVALID_ARGUMENT);
    struct weft_partition_position position;
    assert_false(weft_consumer_part_position(self.part, 0, &position));
    s_close(&self);
}

static void test_consumer__an_answer_that_reaches_nothing_is_no_endless_loop(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_assign(&self, 0, WEFT_FROM_OFFSET, 10);
    s_batch(&self, 0, 5, WEFT_CODEC_NONE);
    s_answer(&self, peer_take(&self.peer, WEFT_API_FETCH), 20);
    assert_int_equal(s_event(&self, WEFT_EVENT_BAD_BATCH).from_offset, 10);
    s_advance_ms(&self, 1000);
    assert_int_equal(peer_take(&self.peer, WEFT_API_PARTITION_STATUS)->suspect_offset, 10); // said once
    assert_int_equal(self.peer.call_count, 0);
    s_close(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consumer__pause_holds_what_was_fetched),
        cmocka_unit_test(test_consumer__seek_forgets_what_was_fetched),
        cmocka_unit_test(test_consumer__stays_within_its_byte_budget_and_watches),
        cmocka_unit_test(test_consumer__paused_partitions_do_not_starve_the_others),
        cmocka_unit_test(test_consumer__a_poll_inflates_no_more_than_the_budget),
        cmocka_unit_test(test_consumer__wrong_arguments_are_refused_whole),
        cmocka_unit_test(test_consumer__an_answer_that_reaches_nothing_is_no_endless_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
