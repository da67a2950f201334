// SPDX-License-Identifier: MPL-2.0
#include "rig.h"

static const struct rig_produce s_all = {.topic = "orders"};
static const struct rig_produce s_leader = {.topic = "orders", .acks = "leader"};

static int s_setup(void **state)
{
    static struct rig rig;
    rig_begin(&rig);
    rig_up(&rig, NULL);
    rig_topic(&rig, "orders", 10, 1);
    *state = &rig;
    return 0;
}

static int s_teardown(void **state)
{
    rig_end(*state);
    return 0;
}

static void test_fetch__returns_whole_batches_from_the_one_that_holds_the_offset(void **state)
{
    struct rig *rig = *state;
    uint32_t records;
    for (int i = 0; i < 3; i++) rig_produce_records(rig, &s_all, 4);
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 5});
    struct weft_fetch_reply reply = rig_take_fetched(rig, &records);
    assert_int_equal(records, 8);
    assert_int_equal(reply.high_watermark, 12);
    assert_int_equal(reply.log_start, 0);
}

static void test_fetch__at_the_end_waits_and_is_woken_by_the_append(void **state)
{
    struct rig *rig = *state;
    uint32_t records;
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 0, .max_wait_ms = 500, .peer = 3});
    assert_int_equal(rig_counter(rig, WEFT_COUNT_FETCH_PARKED), 1);
    assert_null(weft_fake_world_take_reply(rig->world));
    weft_buf_t batch;
    weft_buf_init(&batch);
    rig_batch(&batch, 2, -1, 0);
    rig_send_produce(rig, &s_leader, weft_buf_slice(&batch));
    assert_int_equal(rig_take_produced(rig).header.error, WEFT_OK); // the producer first
    rig_take_fetched(rig, &records);
    assert_int_equal(records, 2);
    assert_int_equal(rig_counter(rig, WEFT_COUNT_FETCH_PARKED), 0);
    weft_buf_fini(&batch);
}

static void test_fetch__wakes_once_for_all_that_arrived_together(void **state)
{
    struct rig *rig = *state;
    uint32_t records;
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 0, .max_wait_ms = 500});
    weft_buf_t batch, header;
    weft_buf_init(&batch);
    weft_buf_init(&header);
    struct weft_produce_request request;
    weft_produce_request_init(&request);
    request.topic = weft_slice_text("orders");
    request.acks = weft_slice_text("none");
    weft_produce_request_encode(&request, &header);
    for (int i = 0; i < 5; i++) {
        rig_batch(&batch, 2, -1, 0);
        weft_fake_world_queue(rig->world, 0, 1, false, weft_buf_slice(&header), weft_buf_slice(&batch), false);
    }
    weft_fake_world_settle(rig->world);
    rig_take_fetched(rig, &records);
    assert_int_equal(records, 10);
    weft_buf_fini(&batch);
    weft_buf_fini(&header);
}

static void test_fetch__time_out_answers_with_what_is_there(void **state)
{
    struct rig *rig = *state;
    uint32_t records;
    rig_produce_records(rig, &s_all, 1);
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 0, .max_wait_ms = 200, .min_bytes = 100000});
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 1, .max_wait_ms = 200});
    assert_null(weft_fake_world_take_reply(rig->world));
    rig_advance(rig, 220);
    rig_take_fetched(rig, &records);
    assert_int_equal(records, 1);
    rig_take_fetched(rig, &records);
    assert_int_equal(records, 0);
}

static void test_fetch__min_bytes_holds_it_back_until_there_are_so_many(void **state)
{
    struct rig *rig = *state;
    uint32_t records;
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 0, .max_wait_ms = 5000, .min_bytes = 20000});
    weft_buf_t batch;
    weft_buf_init(&batch);
    const struct weft_test_batch how = {.count = 1, .value_bytes = 9000};
    const struct rig_produce none = {.topic = "orders", .acks = "none"};
    for (int i = 0; i < 2; i++) {
        weft_test_batch_make(&batch, &how);
        rig_send_produce(rig, &none, weft_buf_slice(&batch));
        assert_null(weft_fake_world_take_reply(rig->world));
    }
    weft_test_batch_make(&batch, &how);
    rig_send_produce(rig, &none, weft_buf_slice(&batch));
    rig_take_fetched(rig, &records);
    assert_int_equal(records, 3);
    weft_buf_fini(&batch);
}

static void test_fetch__watch_tells_of_data_without_it(void **state)
{
    struct rig *rig = *state;
    uint32_t records;
    rig_send_fetch(rig, &(struct rig_fetch){
                            .topic = "orders", .offset = 0, .max_wait_ms = 300000, .watch = true, .min_bytes = 100000});
    rig_advance(rig, 2000);
    assert_null(weft_fake_world_take_reply(rig->world));
    weft_buf_t batch;
    weft_buf_init(&batch);
    rig_batch(&batch, 2, -1, 0);
    rig_send_produce(rig, &s_leader, weft_buf_slice(&batch));
    rig_take_produced(rig);
    struct weft_fetch_reply reply = rig_take_fetched(rig, &records);
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_int_equal(records, 0);
    assert_int_equal(reply.high_watermark, 2);
    weft_buf_fini(&batch);
}

static void test_fetch__durable_reader_sees_nothing_unsynced(void **state)
{
    struct rig *rig = *state;
    uint32_t records;
    weft_part_id_t sync = rig->node->parts[rig->node->part_count - 1];
    weft_fake_world_hold(rig->world, sync, true);
    rig_produce_records(rig, &s_leader, 3);
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 0});
    rig_take_fetched(rig, &records);
    assert_int_equal(records, 3);
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 0, .durable = true, .max_wait_ms = 60000});
    rig_advance(rig, 1000);
    assert_null(weft_fake_world_take_reply(rig->world));
    weft_fake_world_hold(rig->world, sync, false);
    rig_take_fetched(rig, &records);
    assert_int_equal(records, 3);
}

static void test_fetch__out_of_range_tells_the_range(void **state)
{
    struct rig *rig = *state;
    uint32_t records;
    rig_produce_records(rig, &s_all, 3);
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 9, .max_wait_ms = 1000});
    struct weft_fetch_reply reply = rig_take_fetched(rig, &records);
    assert_int_equal(reply.header.error, WEFT_ERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(reply.high_watermark, 3);
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = -5});
    assert_int_equal(rig_take_fetched(rig, &records).header.error, WEFT_ERR_OFFSET_OUT_OF_RANGE);
}

static void test_fetch__diverged_reader_is_told_where_the_common_part_ends(void **state)
{
    struct rig *rig = *state;
    uint32_t records;
    rig_produce_records(rig, &s_all, 3); // epoch e
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 0});
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
    struct weft_batch batch;
    assert_ok(weft_batch_verify(weft_buf_slice(&sent->data), &batch));
    int32_t first = batch.leader_epoch;
    rig_stop(rig); // a start begins a new epoch (rule 2)
    rig_up(rig, NULL);
    rig_produce_records(rig, &s_all, 2);
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 3, .has_epoch = true, .epoch = first});
    assert_int_equal(rig_take_fetched(rig, &records).header.error, WEFT_OK);
    assert_int_equal(records, 2);
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 4, .has_epoch = true, .epoch = first});
    struct weft_fetch_reply reply = rig_take_fetched(rig, &records);
    assert_int_equal(reply.header.error, WEFT_ERR_DIVERGED);
    assert_int_equal(reply.end_offset, 3);
    // Nor does it matter that the log is shorter than what was read.
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 400, .has_epoch = true, .epoch = first});
    reply = rig_take_fetched(rig, &records);
    assert_int_equal(reply.header.error, WEFT_ERR_DIVERGED);
    assert_int_equal(reply.end_offset, 3);
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 4, .has_epoch = true, .epoch = first + 50});
    assert_int_equal(rig_take_fetched(rig, &records).header.error, WEFT_ERR_UNKNOWN_EPOCH);
}

static void test_fetch__nothing_is_read_for_a_peer_that_takes_nothing_off(void **state)
{
    struct rig *rig = *state;
    uint32_t records;
    rig_produce_records(rig, &s_all, 3);
    weft_fake_world_outstanding(rig->world, 64 << 20);
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 0});
    struct weft_fetch_reply reply = rig_take_fetched(rig, &records);
    assert_int_equal(reply.header.error, WEFT_ERR_OVERLOADED);
    assert_true(reply.header.retry_ms > 0);
    weft_fake_world_outstanding(rig->world, 0);
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 0});
    rig_take_fetched(rig, &records);
    assert_int_equal(records, 3);
}

static void test_fetch__more_than_the_budget_is_sent_to_a_peer_that_owes_nothing(void **state)
{
    struct rig *rig = *state;
    uint32_t records;
    weft_buf_t batch;
    rig_stop(rig);
    rig_up(rig, (const char *const[]){"peer.bytes=1MiB", "shard.bytes=1MiB", NULL});
    weft_buf_init(&batch);
    const struct weft_test_batch how = {.count = 1, .value_bytes = 600000, .timestamp_ms = WEFT_FAKE_WALL_MS};
    for (int i = 0; i < 3; i++) {
        weft_test_batch_make(&batch, &how);
        rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
        assert_int_equal(rig_take_produced(rig).header.error, WEFT_OK);
    }
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 0, .max_bytes = 4 << 20});
    assert_int_equal(rig_take_fetched(rig, &records).header.error, WEFT_OK);
    assert_int_equal(records, 3);
    weft_buf_fini(&batch);
}

static void test_fetch__parked_ones_are_bounded(void **state)
{
    struct rig *rig = *state;
    uint32_t records;
    rig_stop(rig);
    rig_up(rig, (const char *const[]){"waiters=10", NULL});
    for (int i = 0; i < 10; i++)
        rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 0, .max_wait_ms = 1000});
    assert_null(weft_fake_world_take_reply(rig->world));
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 0, .max_wait_ms = 1000});
    assert_int_equal(rig_take_fetched(rig, &records).header.error, WEFT_ERR_OVERLOADED);
    rig_advance(rig, 1100);
    for (int i = 0; i < 10; i++) assert_int_equal(rig_take_fetched(rig, &records).header.error, WEFT_OK);
}

static void s_ask_offset(struct rig *rig, const char *at, int64_t time_ms, struct weft_list_offsets_reply *reply)
{
    struct weft_list_offsets_request request;
    weft_list_offsets_request_init(&request);
    request.topic = weft_slice_text("orders");
    request.at = weft_slice_text(at);
    request.time_ms = time_ms;
    weft_buf_clear(&rig->buf);
    weft_list_offsets_request_encode(&request, &rig->buf);
    weft_fake_world_request(rig->world, 0, 1, false, weft_buf_slice(&rig->buf), WEFT_SLICE_NIL, false);
    assert_ok(weft_list_offsets_reply_decode(
        &rig->codec, weft_buf_slice(&weft_fake_world_take_reply(rig->world)->header), reply, &rig->error));
}

static void test_list_offsets__by_name_and_by_time(void **state)
{
    struct rig *rig = *state;
    struct weft_list_offsets_reply reply;
    weft_buf_t batch;
    weft_buf_init(&batch);
    for (int i = 0; i < 3; i++) {
        const struct weft_test_batch how = {.count = 2, .timestamp_ms = 1000 * (i + 1)};
        weft_test_batch_make(&batch, &how);
        rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
        assert_int_equal(rig_take_produced(rig).offset, 2 * i);
    }
    s_ask_offset(rig, "earliest", -1, &reply);
    assert_int_equal(reply.offset, 0);
    s_ask_offset(rig, "latest", -1, &reply);
    assert_int_equal(reply.offset, 6);
    s_ask_offset(rig, "time", 2001, &reply);
    assert_int_equal(reply.offset, 3);
    assert_int_equal(reply.timestamp_ms, 2001);
    s_ask_offset(rig, "time", 99999, &reply);
    assert_int_equal(reply.offset, 6);
    assert_int_equal(reply.timestamp_ms, -1);
    s_ask_offset(rig, "someday", -1, &reply);
    assert_int_equal(reply.header.error, WEFT_ERR_INVALID_REQUEST);
    weft_buf_fini(&batch);
}

static struct weft_delete_records_reply s_delete_records(struct rig *rig, int64_t before)
{
    struct weft_delete_records_request request;
    struct weft_delete_records_reply reply;
    weft_delete_records_request_init(&request);
    request.topic = weft_slice_text("orders");
    request.before_offset = before;
    weft_buf_clear(&rig->buf);
    weft_delete_records_request_encode(&request, &rig->buf);
    weft_fake_world_request(rig->world, 0, 1, false, weft_buf_slice(&rig->buf), WEFT_SLICE_NIL, false);
    assert_ok(weft_delete_records_reply_decode(
        &rig->codec, weft_buf_slice(&weft_fake_world_take_reply(rig->world)->header), &reply, &rig->error));
    return reply;
}

static void test_delete_records__moves_the_start_and_never_passes_the_watermark(void **state)
{
    struct rig *rig = *state;
    uint32_t records;
    for (int i = 0; i < 4; i++) rig_produce_records(rig, &s_all, 5);
    assert_int_equal(s_delete_records(rig, 21).header.error, WEFT_ERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(s_delete_records(rig, 7).log_start, 7);
    assert_int_equal(s_delete_records(rig, 3).log_start, 7);
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 6});
    assert_int_equal(rig_take_fetched(rig, &records).header.error, WEFT_ERR_OFFSET_OUT_OF_RANGE);
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 7});
    assert_int_equal(rig_take_fetched(rig, &records).log_start, 7);
    assert_int_equal(s_delete_records(rig, -1).log_start, 20);
    rig_kill(rig);
    rig_up(rig, NULL);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).offset, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, s_setup, s_teardown)
        TEST(test_fetch__returns_whole_batches_from_the_one_that_holds_the_offset),
        TEST(test_fetch__at_the_end_waits_and_is_woken_by_the_append),
        TEST(test_fetch__wakes_once_for_all_that_arrived_together),
        TEST(test_fetch__time_out_answers_with_what_is_there),
        TEST(test_fetch__min_bytes_holds_it_back_until_there_are_so_many),
        TEST(test_fetch__watch_tells_of_data_without_it),
        TEST(test_fetch__durable_reader_sees_nothing_unsynced),
        TEST(test_fetch__out_of_range_tells_the_range),
        TEST(test_fetch__diverged_reader_is_told_where_the_common_part_ends),
        TEST(test_fetch__nothing_is_read_for_a_peer_that_takes_nothing_off),
        TEST(test_fetch__more_than_the_budget_is_sent_to_a_peer_that_owes_nothing),
        TEST(test_fetch__parked_ones_are_bounded),
        TEST(test_list_offsets__by_name_and_by_time),
        TEST(test_delete_records__moves_the_start_and_never_passes_the_watermark),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
