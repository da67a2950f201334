// SPDX-License-Identifier: MPL-2.0
// The producer against a cluster that the test plays: what is sent, where to, what is reported.
#include "producer_fixture.h"

static void test_producer__batches_by_linger_and_reports_offsets(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"linger.ms=20", NULL});
    for (int i = 0; i < 5; i++) s_send(&self, 0, NULL, i);
    s_advance_ms(&self, 10);
    assert_int_equal(self.peer.call_count, 0);
    s_advance_ms(&self, 20);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE);
    assert_int_equal(call->batch.count, 5);
    assert_int_equal(call->batch.base_sequence, 0);
    assert_true(call->batch.producer_id > 0);
    peer_produced(&self.peer, call, 100, false);
    assert_int_equal(self.delivered, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(self.offsets[i], 100 + i);
        assert_int_equal(self.seen[i], i);
    }
    assert_int_equal(weft_producer_part_waiting_count(self.part), 0);
    assert_int_equal(weft_producer_part_waiting_bytes(self.part), 0);
    s_close(&self);
}

static void test_producer__a_full_batch_leaves_at_once(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"linger.ms=60s", "batch.bytes=1024", NULL});
    while (!weft_producer_part_wants_turn(self.part)) s_send(&self, 0, NULL, 1);
    s_turn(&self);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE);
    assert_true(call->data.size <= 1024);
    assert_true(call->data.size > 900);
    s_close(&self);
}

static void test_producer__linger_0_sends_when_the_window_allows(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"linger.ms=0", "in.flight=2", NULL});
    for (int i = 0; i < 5; i++) {
        s_send(&self, 0, NULL, i);
        s_turn(&self);
    }
    assert_int_equal(self.peer.call_count, 2); // the rest waits together
    peer_produced(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), 0, false);
    (void) peer_take(&self.peer, WEFT_API_PRODUCE);
    weft_fake_world_advance(self.peer.world, 1);
    assert_int_equal(peer_take(&self.peer, WEFT_API_PRODUCE)->batch.count, 3);
    s_close(&self);
}

static void test_producer__a_flush_that_only_waits_asks_for_no_turn(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_send(&self, 0, NULL, 1);
    weft_producer_part_flush(self.part);
    assert_true(weft_producer_part_wants_turn(self.part));
    s_turn(&self);
    weft_producer_part_flush(self.part); // the batch is under way: nothing to do until it is answered
    assert_false(weft_producer_part_wants_turn(self.part));
    peer_produced(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), 0, false);
    assert_int_equal(self.delivered, 1);
    s_close(&self);
}

static void test_producer__keys_go_where_kafka_puts_them(void **state)
{
    struct fixture self;
    s_open(&self, 7, NULL);
    s_send(&self, WEFT_PARTITION_AUTO, "foobar", 1);
    s_flush(&self);
    assert_int_equal(peer_take(&self.peer, WEFT_API_PRODUCE)->partition, weft_partition_of_key(weft_text("foobar"), 7));
    s_close(&self);
}

static void test_producer__without_key_it_sticks_until_the_batch_is_closed(void **state)
{
    struct fixture self;
    s_open(&self, 8, NULL);
    for (int i = 0; i < 50; i++) s_send(&self, WEFT_PARTITION_AUTO, NULL, i);
    s_flush(&self);
    assert_int_equal(self.peer.call_count, 1);
    bool changed = false;
    uint32_t first = self.peer.calls[0].partition;
    for (int i = 0; i < 20 && !changed; i++) {
        s_send(&self, WEFT_PARTITION_AUTO, NULL, i);
        s_flush(&self);
        changed = self.peer.calls[self.peer.call_count - 1].partition != first;
    }
    assert_true(changed);
    s_close(&self);
}

static int32_t s_last_partition(void *context, const char *topic, int32_t count, weft_slice_t key, weft_slice_t value)
{
    return *(bool *) context ? count : count - 1;
}

static void test_producer__own_partitioner_decides_within_bounds(void **state)
{
    struct fixture self;
    bool wrong = false;
    s_open(&self, 3, NULL);
    weft_producer_part_set_partitioner(self.part, s_last_partition, &wrong);
    s_send(&self, WEFT_PARTITION_AUTO, "k", 1);
    s_flush(&self);
    assert_int_equal(peer_take(&self.peer, WEFT_API_PRODUCE)->partition, 2);
    wrong = true;
    assert_err(weft_producer_part_send(self.part, self.topic, -1, WEFT_SLICE_NIL, weft_text("v"), 1, NULL, NULL),
               WEFT_ERR_INVALID_ARGUMENT);
    s_close(&self);
}

static void test_producer__the_buffer_is_bounded(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"buffer.bytes=65536", "linger.ms=60s", NULL});
    char value[1000] = {0};
    weft_err_t err = WEFT_OK;
    int taken = 0;
    while (!err && taken < 1000) {
        err = weft_producer_part_send(self.part, self.topic, 0, WEFT_SLICE_NIL, weft_bytes(value, sizeof value), 1,
                                      NULL, NULL);
        if (!err) taken++;
    }
    assert_err(err, WEFT_ERR_LOCAL_QUEUE_FULL);
    assert_in_range(taken, 60, 65);
    s_flush(&self);
    while (self.peer.call_count) peer_produced(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), 0, false);
    assert_ok(weft_producer_part_send(self.part, self.topic, 0, WEFT_SLICE_NIL, weft_bytes(value, 10), 1, NULL, NULL));
    s_close(&self);
}

static void test_producer__too_large_a_record_is_refused_before_sending(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    size_t size = 9u << 20;
    uint8_t *value = calloc(1, size);
    assert_err(
        weft_producer_part_send(self.part, self.topic, 0, WEFT_SLICE_NIL, weft_bytes(value, size), 1, NULL, NULL),
        WEFT_ERR_RECORD_TOO_LARGE);
    assert_non_null(strstr(weft_producer_part_error_text(self.part), "takes at most"));
    free(value);
    s_close(&self);
}

static void test_producer__records_wait_for_their_topic(void **state)
{
    struct fixture self;
    s_open(&self, 0, NULL);
    s_send(&self, WEFT_PARTITION_AUTO, "k", 1);
    s_send(&self, 5, "k", 2);   // there is none
    self.peer.topic = "orders"; // it is created just then
    self.peer.partitions = 2;
    self.peer.leaders[0] = self.peer.leaders[1] = NODE_A;
    s_advance_ms(&self, 500);
    s_flush(&self);
    assert_int_equal(self.failed, 1);
    assert_int_equal(self.error, WEFT_ERR_INVALID_ARGUMENT);
    assert_int_equal(peer_take(&self.peer, WEFT_API_PRODUCE)->batch.count, 1);
    s_close(&self);
}

static void test_producer__a_topic_that_does_not_exist_fails_its_records(void **state)
{
    struct fixture self;
    s_open(&self, 0, NULL);
    self.peer.topic = NULL;
    weft_topic_t *topic;
    assert_ok(weft_producer_part_topic(self.part, "missing", &topic));
    assert_ok(weft_producer_part_send(self.part, topic, 0, WEFT_SLICE_NIL, weft_text("v"), 1, NULL, NULL));
    s_advance_ms(&self, 4000);
    assert_int_equal(self.failed, 1);
    assert_int_equal(self.error, WEFT_ERR_UNKNOWN_TOPIC);
    assert_err(weft_producer_part_send(self.part, topic, 0, WEFT_SLICE_NIL, weft_text("v"), 1, NULL, NULL),
               WEFT_ERR_UNKNOWN_TOPIC);
    assert_err(weft_producer_part_topic(self.part, "no such name", &topic), WEFT_ERR_INVALID_TOPIC);
    s_close(&self);
}

static void test_producer__acks_none_is_done_when_sent(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"acks=none", NULL});
    s_send_batch(&self, 1);
    assert_int_equal(self.delivered, 1);
    assert_int_equal(self.offsets[0], -1);
    assert_int_equal(peer_take(&self.peer, WEFT_API_PRODUCE)->batch.producer_id, -1);
    s_close(&self);
}

static void test_producer__a_report_may_send(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    self.send_again = true;
    s_send_batch(&self, 1);
    peer_produced(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), 0, false);
    s_flush(&self);
    peer_produced(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), 1, false);
    assert_int_equal(self.delivered, 2);
    assert_int_equal(self.seen[1], 99);
    s_close(&self);
}

static void test_producer__futures_tell_each_record(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    weft_delivery_t *futures[3];
    for (int i = 0; i < 3; i++) {
        futures[i] = weft_delivery_new(NULL);
        assert_ok(
            weft_producer_part_send(self.part, self.topic, 0, WEFT_SLICE_NIL, weft_text("v"), 1, NULL, futures[i]));
    }
    weft_delivery_drop(futures[1]); // the program lost interest
    s_flush(&self);
    peer_produced(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), 40, false);
    assert_true(futures[0]->done);
    assert_int_equal(futures[0]->offset, 40);
    assert_int_equal(futures[2]->offset, 42);
    weft_delivery_drop(futures[0]);
    weft_delivery_drop(futures[2]);
    s_close(&self);
}

static void test_producer__compressed_batches_are_whole(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"compression=zstd", NULL});
    for (int i = 0; i < 200; i++) s_send(&self, 0, "same-key", 7);
    s_flush(&self);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE);
    assert_int_equal(call->batch.attributes & WEFT_BATCH_ATTR_CODEC_MASK, WEFT_CODEC_ZSTD);
    struct weft_batch_limits limits = {
        .batch_bytes_max = 1 << 20, .record_bytes_max = 1 << 20, .raw_bytes_max = 1 << 20};
    struct weft_batch batch;
    struct weft_error error;
    uint32_t crc;
    assert_ok(weft_batch_accept(weft_buf_slice(&call->data), &limits, &batch, &crc, &error));
    assert_int_equal(batch.count, 200);
    peer_produced(&self.peer, call, 0, false);
    assert_int_equal(weft_producer_part_waiting_bytes(self.part), 0);
    s_close(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_producer__batches_by_linger_and_reports_offsets),
        cmocka_unit_test(test_producer__a_full_batch_leaves_at_once),
        cmocka_unit_test(test_producer__linger_0_sends_when_the_window_allows),
        cmocka_unit_test(test_producer__a_flush_that_only_waits_asks_for_no_turn),
        cmocka_unit_test(test_producer__keys_go_where_kafka_puts_them),
        cmocka_unit_test(test_producer__without_key_it_sticks_until_the_batch_is_closed),
        cmocka_unit_test(test_producer__own_partitioner_decides_within_bounds),
        cmocka_unit_test(test_producer__the_buffer_is_bounded),
        cmocka_unit_test(test_producer__too_large_a_record_is_refused_before_sending),
        cmocka_unit_test(test_producer__records_wait_for_their_topic),
        cmocka_unit_test(test_producer__a_topic_that_does_not_exist_fails_its_records),
        cmocka_unit_test(test_producer__acks_none_is_done_when_sent),
        cmocka_unit_test(test_producer__a_report_may_send),
        cmocka_unit_test(test_producer__futures_tell_each_record),
        cmocka_unit_test(test_producer__compressed_batches_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
