// SPDX-License-Identifier: MPL-2.0
// The consumer against a cluster that the test plays: what it asks for, what it hands out, what it says.
#include "consumer_fixture.h"

static void test_consumer__reads_from_the_earliest_in_order(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_assign(&self, WEFT_PARTITION_ALL, WEFT_FROM_EARLIEST, 0);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_LIST_OFFSETS);
    assert_string_equal(call->at, "earliest");
    peer_offset(&self.peer, call, 10);
    s_turn(&self);
    call = peer_take(&self.peer, WEFT_API_FETCH);
    assert_int_equal(call->fetch.offset, 10);
    assert_int_equal(call->fetch.max_wait_ms, 0); // the first tells the end at once
    s_batch(&self, 10, 5, WEFT_CODEC_NONE);
    s_batch(&self, 15, 5, WEFT_CODEC_LZ4);
    s_batch(&self, 20, 5, WEFT_CODEC_ZSTD);
    s_answer(&self, call, 30);
    s_turn(&self);
    call = peer_take(&self.peer, WEFT_API_FETCH); // the next is under way before anything was read
    assert_int_equal(call->fetch.offset, 25);
    assert_int_equal(call->fetch.epoch, 3);
    assert_int_equal(call->fetch.max_wait_ms, 500);
    assert_int_equal(s_read(&self, 10), 15);
    assert_false(weft_consumer_part_at_end(self.part));
    s_batch(&self, 25, 5, WEFT_CODEC_NONE);
    s_answer(&self, call, 31);
    assert_int_equal(s_read(&self, 25), 5);
    assert_true(weft_consumer_part_at_end(self.part)); // 30 was the end at the start
    struct weft_partition_position position;
    assert_true(weft_consumer_part_position(self.part, 0, &position));
    assert_int_equal(position.position, 30);
    assert_int_equal(position.lag, 1);
    assert_false(weft_consumer_part_position(self.part, 1, &position));
    s_close(&self);
}

static void test_consumer__a_batch_may_begin_below_the_offset(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_assign(&self, 0, WEFT_FROM_OFFSET, 13);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_FETCH);
    assert_int_equal(call->fetch.offset, 13);
    s_batch(&self, 10, 5, WEFT_CODEC_LZ4);
    s_answer(&self, call, 15);
    assert_int_equal(s_read(&self, 13), 2);
    s_close(&self);
}

static void test_consumer__what_is_left_unread_comes_again(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_assign(&self, 0, WEFT_FROM_OFFSET, 0);
    s_batch(&self, 0, 4, WEFT_CODEC_LZ4);
    s_batch(&self, 4, 4, WEFT_CODEC_LZ4);
    s_answer(&self, peer_take(&self.peer, WEFT_API_FETCH), 8);
    struct weft_record_view record;
    for (int64_t i = 0; i < 8; i++) { // one a poll
        assert_true(weft_consumer_part_begin_poll(self.part));
        assert_true(weft_consumer_part_next(self.part, &record, NULL));
        assert_int_equal(record.offset, i);
    }
    (void) weft_consumer_part_begin_poll(self.part);
    assert_false(weft_consumer_part_next(self.part, &record, NULL));
    s_close(&self);
}

static void test_consumer__a_truncated_tail_is_asked_for_again(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_assign(&self, 0, WEFT_FROM_OFFSET, 0);
    s_batch(&self, 0, 4, WEFT_CODEC_NONE);
    s_batch(&self, 4, 4, WEFT_CODEC_NONE);
    self.batches.size -= 7;
    s_answer(&self, peer_take(&self.peer, WEFT_API_FETCH), 8);
    s_turn(&self);
    assert_int_equal(s_read(&self, 0), 4);
    assert_int_equal(peer_take(&self.peer, WEFT_API_FETCH)->fetch.offset, 4);
    s_close(&self);
}

static void test_consumer__a_damaged_batch_stops_its_partition_only(void **state)
{
    struct fixture self;
    s_open(&self, 2, NULL);
    s_assign(&self, WEFT_PARTITION_ALL, WEFT_FROM_OFFSET, 0);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_FETCH);
    int32_t damaged = (int32_t) call->partition;
    s_batch(&self, 0, 4, WEFT_CODEC_NONE);
    self.batches.data[self.batches.size - 3] ^= 1;
    s_answer(&self, call, 4);
    s_batch(&self, 0, 4, WEFT_CODEC_NONE);
    s_answer(&self, peer_take(&self.peer, WEFT_API_FETCH), 4);
    assert_int_equal(s_read(&self, 0), 4);
    struct weft_consumer_event event = s_event(&self, WEFT_EVENT_BAD_BATCH);
    assert_int_equal(event.partition, damaged);
    assert_int_equal(event.error, WEFT_ERR_BAD_CRC);
    assert_int_equal(event.from_offset, 0);
    assert_int_equal(event.offset, 4); // where to go on
    assert_non_null(strstr(event.text, "offsets 0 to 3 "));
    peer_pump(&self.peer); // the leader is told, beside the fetches that go on
    const struct peer_call *report = &self.peer.calls[self.peer.call_count - 1];
    assert_int_equal(report->api, WEFT_API_PARTITION_STATUS);
    assert_int_equal(report->partition, damaged);
    assert_int_equal(report->suspect_offset, 0);
    peer_forget(&self.peer);
    assert_ok(
        weft_consumer_part_seek(self.part, "orders", damaged, (struct weft_position){WEFT_FROM_OFFSET, 4})); // past it
    s_turn(&self);
    assert_int_equal(peer_take(&self.peer, WEFT_API_FETCH)->fetch.offset, 4);
    s_close(&self);
}

static void test_consumer__an_offset_that_is_gone_follows_reset_and_says_so(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"reset=earliest", NULL});
    s_assign(&self, 0, WEFT_FROM_OFFSET, 5);
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_FETCH), WEFT_ERR_OFFSET_OUT_OF_RANGE, NULL, 0);
    s_turn(&self);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_LIST_OFFSETS);
    assert_string_equal(call->at, "earliest");
    peer_offset(&self.peer, call, 100);
    s_turn(&self);
    struct weft_consumer_event event = s_event(&self, WEFT_EVENT_RESET);
    assert_int_equal(event.from_offset, 5);
    assert_int_equal(event.offset, 100);
    assert_int_equal(event.error, WEFT_ERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(peer_take(&self.peer, WEFT_API_FETCH)->fetch.offset, 100);
    s_close(&self);
}

static void test_consumer__reset_error_stops(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"reset=error", NULL});
    s_assign(&self, 0, WEFT_FROM_OFFSET, 5);
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_FETCH), WEFT_ERR_OFFSET_OUT_OF_RANGE, NULL, 0);
    s_advance_ms(&self, 1000);
    assert_int_equal(s_event(&self, WEFT_EVENT_STOPPED).error, WEFT_ERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(self.peer.call_count, 0);
    assert_true(weft_consumer_part_at_end(self.part)); // nothing more will come: a waiting program must not hang
    s_close(&self);
}

// KIP-320: what was read is no longer in the log.
static void test_consumer__divergence_goes_back_and_says_what_was_lost(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_assign(&self, 0, WEFT_FROM_OFFSET, 0);
    s_batch(&self, 0, 10, WEFT_CODEC_NONE);
    s_answer(&self, peer_take(&self.peer, WEFT_API_FETCH), 10);
    assert_int_equal(s_read(&self, 0), 10);
    s_turn(&self);
    peer_diverged(&self.peer, peer_take(&self.peer, WEFT_API_FETCH), 6);
    struct weft_consumer_event event = s_event(&self, WEFT_EVENT_DIVERGED);
    assert_int_equal(event.from_offset, 10);
    assert_int_equal(event.offset, 6);
    s_turn(&self);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_FETCH);
    assert_int_equal(call->fetch.offset, 6);
    assert_int_equal(call->fetch.epoch, -1);
    s_close(&self);
}

static void test_consumer__a_seek_behind_a_record_that_is_lost_says_so(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_assign(&self, 0, WEFT_FROM_OFFSET, 0);
    (void) peer_take(&self.peer, WEFT_API_FETCH);
    assert_int_equal(weft_consumer_part_seek_behind(self.part, "others", 0, 10, 4), WEFT_ERR_NOT_FOUND);
    assert_int_equal(weft_consumer_part_seek_behind(self.part, "orders", 0, -1, 4), WEFT_ERR_INVALID_ARGUMENT);
    assert_ok(weft_consumer_part_seek_behind(self.part, "orders", 0, 10, 4));
    s_turn(&self);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_FETCH);
    assert_int_equal(call->fetch.offset, 10);
    assert_int_equal(call->fetch.epoch, 4);
    peer_diverged(&self.peer, call, 6);
    s_turn(&self);
    struct weft_consumer_event event = s_event(&self, WEFT_EVENT_DIVERGED);
    assert_int_equal(event.from_offset, 10);
    assert_int_equal(event.offset, 6);
    assert_int_equal(peer_take(&self.peer, WEFT_API_FETCH)->fetch.offset, 6);
    assert_ok(weft_consumer_part_seek(self.part, "orders", 0, (struct weft_position){WEFT_FROM_OFFSET, 8}));
    s_turn(&self);
    assert_int_equal(peer_take(&self.peer, WEFT_API_FETCH)->fetch.epoch, -1);
    s_close(&self);
}

static void test_consumer__divergence_of_what_was_not_read_yet_is_no_loss(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_assign(&self, 0, WEFT_FROM_OFFSET, 0);
    s_batch(&self, 0, 10, WEFT_CODEC_NONE);
    s_answer(&self, peer_take(&self.peer, WEFT_API_FETCH), 10);
    s_turn(&self);
    peer_diverged(&self.peer, peer_take(&self.peer, WEFT_API_FETCH), 6);
    s_no_event(&self, WEFT_EVENT_DIVERGED);
    s_turn(&self);
    assert_int_equal(peer_take(&self.peer, WEFT_API_FETCH)->fetch.offset, 0);
    assert_int_equal(s_read(&self, 0), 0);
    s_close(&self);
}

static void test_consumer__a_gap_is_passed_but_said(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_assign(&self, 0, WEFT_FROM_OFFSET, 0);
    s_batch(&self, 5, 2, WEFT_CODEC_NONE);
    s_answer(&self, peer_take(&self.peer, WEFT_API_FETCH), 7);
    assert_int_equal(s_read(&self, 5), 2);
    struct weft_consumer_event event = s_event(&self, WEFT_EVENT_RESET);
    assert_int_equal(event.from_offset, 0);
    assert_int_equal(event.offset, 5);
    s_close(&self);
}

static void test_consumer__follows_the_leader(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    weft_fake_world_link(self.peer.world, NODE_B, true);
    s_assign(&self, 0, WEFT_FROM_OFFSET, 0);
    self.peer.leaders[0] = NODE_B;
    self.peer.epoch = 2;
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_FETCH), WEFT_ERR_NOT_LEADER, NODE_B, 0);
    s_turn(&self);
    assert_string_equal(peer_take(&self.peer, WEFT_API_FETCH)->endpoint, NODE_B);
    self.peer.leaders[0] = NODE_A;
    self.peer.epoch = 3;
    weft_fake_world_link(self.peer.world, NODE_B, false); // dies
    s_advance_ms(&self, 300);
    assert_string_equal(peer_take(&self.peer, WEFT_API_FETCH)->endpoint, NODE_A);
    s_close(&self);
}

static void test_consumer__a_lost_answer_is_asked_for_again(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"request.timeout.ms=1s", NULL});
    s_assign(&self, 0, WEFT_FROM_OFFSET, 0);
    (void) peer_take(&self.peer, WEFT_API_FETCH);
    s_advance_ms(&self, 1500);
    s_batch(&self, 0, 3, WEFT_CODEC_NONE);
    s_answer(&self, peer_take(&self.peer, WEFT_API_FETCH), 3);
    assert_int_equal(s_read(&self, 0), 3);
    s_close(&self);
}

static void test_consumer__globs_take_topics_that_appear(void **state)
{
    struct fixture self;
    s_open(&self, 0, (const char *const[]){"metadata.ms=1s", NULL});
    assert_ok(weft_consumer_part_subscribe(self.part, (const char *const[]){"ord*"}, 1,
                                           (struct weft_position){WEFT_FROM_LATEST, 0}));
    s_advance_ms(&self, 500);
    assert_int_equal(self.peer.call_count, 0);
    assert_true(weft_consumer_part_at_end(self.part)); // nothing matches
    self.peer.topic = "orders";
    self.peer.partitions = 1;
    self.peer.leaders[0] = NODE_A;
    s_advance_ms(&self, 2000);
    // Although `latest` was asked for: what was written before we saw the topic counts as new.
    assert_string_equal(peer_take(&self.peer, WEFT_API_LIST_OFFSETS)->at, "earliest");
    self.peer.partitions = 2; // it grows
    self.peer.leaders[1] = NODE_A;
    s_advance_ms(&self, 2000);
    assert_int_equal(peer_take(&self.peer, WEFT_API_LIST_OFFSETS)->partition, 1);
    s_close(&self);
}

static void test_consumer__a_missing_topic_is_told_and_awaited(void **state)
{
    struct fixture self;
    s_open(&self, 0, (const char *const[]){"metadata.ms=1s", NULL});
    struct weft_assignment assignment = {.topic = "missing", .partition = WEFT_PARTITION_ALL};
    assert_ok(weft_consumer_part_assign(self.part, &assignment, 1));
    s_advance_ms(&self, 3000);
    assert_string_equal(s_event(&self, WEFT_EVENT_UNKNOWN_TOPIC).topic, "missing");
    s_advance_ms(&self, 3000);
    s_no_event(&self, WEFT_EVENT_UNKNOWN_TOPIC); // once
    assert_true(weft_consumer_part_at_end(self.part));
    s_close(&self);
}

static void test_consumer__a_deleted_topic_is_revoked(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"metadata.ms=1s", NULL});
    s_assign(&self, WEFT_PARTITION_ALL, WEFT_FROM_OFFSET, 0);
    (void) peer_take(&self.peer, WEFT_API_FETCH);
    assert_ok(weft_consumer_part_subscribe(self.part, (const char *const[]){"*"}, 1,
                                           (struct weft_position){WEFT_FROM_OFFSET, 0}));
    s_advance_ms(&self, 500);
    self.peer.topic = "others";
    self.peer.topic_id.bytes[0] = 9;
    self.peer.version++;
    s_advance_ms(&self, 5000);
    assert_string_equal(s_event(&self, WEFT_EVENT_REVOKED).topic, "orders");
    struct weft_partition_position position;
    assert_true(weft_consumer_part_position(self.part, 0, &position));
    assert_string_equal(position.topic, "others");
    assert_false(weft_consumer_part_position(self.part, 1, &position));
    s_close(&self);
}

static void test_consumer__a_replaced_topic_with_less_comes_to_its_end(void **state)
{
    struct fixture self;
    s_open(&self, 2, (const char *const[]){"metadata.ms=1s", NULL});
    s_assign(&self, WEFT_PARTITION_ALL, WEFT_FROM_OFFSET, 0);
    for (int i = 0; i < 2; i++) {
        const struct peer_call *call = peer_take(&self.peer, WEFT_API_FETCH);
        s_batch(&self, 0, 5, WEFT_CODEC_NONE);
        s_answer(&self, call, 100);
    }
    s_turn(&self);
    for (int i = 0; i < 2; i++) (void) peer_take(&self.peer, WEFT_API_FETCH); // never answered
    self.peer.topic_id.bytes[0] = 9;
    self.peer.partitions = 1;
    self.peer.version++;
    s_advance_ms(&self, 3000);
    const struct weft_consumer_event event = s_event(&self, WEFT_EVENT_REVOKED);
    assert_int_equal(event.partition, 1);
    peer_offset(&self.peer, peer_take(&self.peer, WEFT_API_LIST_OFFSETS), 0);
    s_turn(&self);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_FETCH);
    s_batch(&self, 0, 2, WEFT_CODEC_NONE);
    s_answer(&self, call, 2);
    assert_int_equal(s_read(&self, 0), 2);
    struct weft_partition_position position;
    assert_true(weft_consumer_part_position(self.part, 0, &position));
    assert_int_equal(position.lag, 0);
    assert_false(weft_consumer_part_position(self.part, 1, &position));
    assert_true(weft_consumer_part_at_end(self.part)); // of the new topic: 100 was the old one's
    s_close(&self);
}

static void test_consumer__a_shorter_log_comes_to_its_end(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_assign(&self, 0, WEFT_FROM_OFFSET, 0);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_FETCH);
    s_batch(&self, 0, 10, WEFT_CODEC_NONE);
    s_answer(&self, call, 20);
    assert_int_equal(s_read(&self, 0), 10);
    s_turn(&self);
    peer_diverged(&self.peer, peer_take(&self.peer, WEFT_API_FETCH), 5);
    s_turn(&self);
    call = peer_take(&self.peer, WEFT_API_FETCH);
    s_batch(&self, 5, 3, WEFT_CODEC_NONE);
    s_answer(&self, call, 8);
    assert_int_equal(s_read(&self, 5), 3);
    assert_true(weft_consumer_part_at_end(self.part)); // 20 is gone
    s_close(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consumer__reads_from_the_earliest_in_order),
        cmocka_unit_test(test_consumer__a_batch_may_begin_below_the_offset),
        cmocka_unit_test(test_consumer__what_is_left_unread_comes_again),
        cmocka_unit_test(test_consumer__a_truncated_tail_is_asked_for_again),
        cmocka_unit_test(test_consumer__a_damaged_batch_stops_its_partition_only),
        cmocka_unit_test(test_consumer__an_offset_that_is_gone_follows_reset_and_says_so),
        cmocka_unit_test(test_consumer__reset_error_stops),
        cmocka_unit_test(test_consumer__divergence_goes_back_and_says_what_was_lost),
        cmocka_unit_test(test_consumer__a_seek_behind_a_record_that_is_lost_says_so),
        cmocka_unit_test(test_consumer__divergence_of_what_was_not_read_yet_is_no_loss),
        cmocka_unit_test(test_consumer__a_gap_is_passed_but_said),
        cmocka_unit_test(test_consumer__follows_the_leader),
        cmocka_unit_test(test_consumer__a_lost_answer_is_asked_for_again),
        cmocka_unit_test(test_consumer__globs_take_topics_that_appear),
        cmocka_unit_test(test_consumer__a_missing_topic_is_told_and_awaited),
        cmocka_unit_test(test_consumer__a_deleted_topic_is_revoked),
        cmocka_unit_test(test_consumer__a_replaced_topic_with_less_comes_to_its_end),
        cmocka_unit_test(test_consumer__a_shorter_log_comes_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
