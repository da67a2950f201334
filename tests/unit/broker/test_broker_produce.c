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

static void test_produce__durable_ack_names_offset_and_level(void **state)
{
    struct rig *rig = *state;
    struct weft_produce_reply reply = rig_produce_records(rig, &s_all, 3);
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_int_equal(reply.offset, 0);
    assert_slice(reply.level, "durable");
    reply = rig_produce_records(rig, &s_all, 2);
    assert_int_equal(reply.offset, 3);
    assert_int_equal(rig_counter(rig, WEFT_COUNT_PRODUCE_RECORDS), 5);
    assert_int_equal(rig_counter(rig, WEFT_COUNT_PRODUCE_WAITING), 0);
}

static void test_produce__durable_ack_waits_for_the_sync_and_leader_ack_does_not(void **state)
{
    struct rig *rig = *state;
    weft_part_id_t sync = rig->node->parts[rig->node->part_count - 1];
    weft_fake_world_hold(rig->world, sync, true);
    weft_buf_t batch;
    weft_buf_init(&batch);
    rig_batch(&batch, 1, -1, 0);
    rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
    assert_null(weft_fake_world_take_reply(rig->world));
    assert_int_equal(rig_counter(rig, WEFT_COUNT_PRODUCE_WAITING), 1);
    struct weft_produce_reply reply = rig_produce_records(rig, &s_leader, 1);
    assert_slice(reply.level, "leader");
    const struct rig_produce committed = {.topic = "orders", .not_durable = true};
    reply = rig_produce_records(rig, &committed, 1);
    assert_slice(reply.level, "committed");
    weft_fake_world_hold(rig->world, sync, false);
    reply = rig_take_produced(rig);
    assert_slice(reply.level, "durable");
    assert_int_equal(reply.offset, 0);
    weft_buf_fini(&batch);
}

static void test_produce__what_nobody_waits_for_is_synced_all_the_same(void **state)
{
    struct rig *rig = *state;
    rig_produce_records(rig, &s_leader, 1);
    uint64_t before = rig_counter(rig, WEFT_COUNT_SYNC_ROUNDS);
    rig_advance(rig, 1000);
    assert_int_equal(rig_counter(rig, WEFT_COUNT_SYNC_ROUNDS), before);
    rig_advance(rig, 5000); // sync.ms and a little
    assert_int_equal(rig_counter(rig, WEFT_COUNT_SYNC_ROUNDS), before + 1);
}

static void test_produce__durable_reader_does_not_wait_for_sync_ms(void **state)
{
    struct rig *rig = *state;
    uint32_t records;
    for (int64_t i = 0; i < 3; i++) {
        rig_produce_records(rig, &s_leader, 1); // the first before anybody read, the others while somebody does
        rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = i, .durable = true, .max_wait_ms = 500});
        rig_advance(rig, 10);
        struct weft_fetch_reply reply = rig_take_fetched(rig, &records);
        assert_int_equal(reply.durable, i + 1);
        assert_int_equal(records, 1);
    }
}

static void test_produce__one_group_commit_serves_all_that_waited(void **state)
{
    struct rig *rig = *state;
    weft_part_id_t sync = rig->node->parts[rig->node->part_count - 1];
    uint64_t before = rig_counter(rig, WEFT_COUNT_SYNC_ROUNDS);
    weft_fake_world_hold(rig->world, sync, true);
    weft_buf_t batch;
    weft_buf_init(&batch);
    rig_batch(&batch, 1, -1, 0);
    for (int i = 0; i < 10; i++) rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
    weft_fake_world_hold(rig->world, sync, false);
    for (int i = 0; i < 10; i++) assert_int_equal(rig_take_produced(rig).offset, i);
    assert_true(rig_counter(rig, WEFT_COUNT_SYNC_ROUNDS) - before <= 2);
    weft_buf_fini(&batch);
}

// Nine batches in one sync that takes 5 ms.
static void s_large_sync(struct rig *rig, weft_slice_t batch)
{
    weft_part_id_t sync = rig->node->parts[rig->node->part_count - 1];
    weft_fake_world_hold(rig->world, sync, true);
    for (int i = 0; i < 9; i++) rig_send_produce(rig, i < 8 ? &s_leader : &s_all, batch);
    for (int i = 0; i < 8; i++) assert_slice(rig_take_produced(rig).level, "leader");
    weft_fake_world_advance(rig->world, 5000);
    assert_null(weft_fake_world_take_reply(rig->world));
    weft_fake_world_hold(rig->world, sync, false);
    assert_slice(rig_take_produced(rig).level, "durable");
}

static void test_produce__behind_a_large_sync_the_next_waits_for_half_of_it_or_a_millisecond(void **state)
{
    struct rig *rig = *state;
    weft_buf_t batch;
    weft_buf_init(&batch);
    rig_batch(&batch, 2000, -1, 0);
    s_large_sync(rig, weft_buf_slice(&batch));
    uint64_t before = rig_counter(rig, WEFT_COUNT_SYNC_ROUNDS);
    rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
    rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
    assert_null(weft_fake_world_take_reply(rig->world));
    rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
    for (int i = 0; i < 3; i++) assert_slice(rig_take_produced(rig).level, "durable");
    assert_int_equal(rig_counter(rig, WEFT_COUNT_SYNC_ROUNDS), before + 1);

    s_large_sync(rig, weft_buf_slice(&batch));
    rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
    assert_null(weft_fake_world_take_reply(rig->world));
    weft_fake_world_advance(rig->world, 900);
    assert_null(weft_fake_world_take_reply(rig->world));
    weft_fake_world_advance(rig->world, 200);
    assert_slice(rig_take_produced(rig).level, "durable");
    weft_buf_fini(&batch);
}

static void test_produce__shared_frame_is_not_patched(void **state)
{
    struct rig *rig = *state;
    struct rig_produce shared = s_all;
    shared.shared = true;
    assert_int_equal(rig_produce_records(rig, &s_all, 1).offset, 0);
    assert_int_equal(rig_produce_records(rig, &shared, 4).offset, 1);
    assert_int_equal(rig_counter(rig, WEFT_COUNT_PRODUCE_COPIED), 1);
    uint32_t records;
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 1});
    rig_take_fetched(rig, &records);
    assert_int_equal(records, 4);
}

static void test_produce__bare_records_become_a_batch(void **state)
{
    struct rig *rig = *state;
    static const uint8_t records[] = {0x94, 0x00, 0xc4, 1,    'k',  0xc4, 2,   'v', '1',
                                      0xc0, 0x94, 0x00, 0xc0, 0xa2, 'v',  '2', 0xc0};
    rig_send_produce(rig, &s_all, weft_slice(records, sizeof records));
    assert_int_equal(rig_take_produced(rig).header.error, WEFT_OK);
    uint32_t count;
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 0});
    rig_take_fetched(rig, &count);
    assert_int_equal(count, 2);
}

static void test_produce__acks_none_is_silent_but_a_req_is_answered(void **state)
{
    struct rig *rig = *state;
    struct rig_produce none = {.topic = "orders", .acks = "none"};
    weft_buf_t batch;
    weft_buf_init(&batch);
    rig_batch(&batch, 1, -1, 0);
    rig_send_produce(rig, &none, weft_buf_slice(&batch));
    none.topic = "nowhere";
    rig_send_produce(rig, &none, weft_buf_slice(&batch));
    assert_null(weft_fake_world_take_reply(rig->world));
    none.topic = "orders";
    none.delimited = true;
    rig_send_produce(rig, &none, weft_buf_slice(&batch));
    struct weft_produce_reply reply = rig_take_produced(rig);
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_int_equal(reply.offset, 1);
    weft_buf_fini(&batch);
}

static void test_produce__duplicate_is_answered_with_the_first_offset(void **state)
{
    struct rig *rig = *state;
    weft_buf_t batch;
    weft_buf_init(&batch);
    rig_batch(&batch, 5, 77, 0);
    rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
    assert_int_equal(rig_take_produced(rig).offset, 0);
    rig_produce_records(rig, &s_all, 1);
    rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
    struct weft_produce_reply reply = rig_take_produced(rig);
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_int_equal(reply.offset, 0);
    assert_true(reply.duplicate);
    rig_batch(&batch, 5, 77, 50);
    rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
    assert_int_equal(rig_take_produced(rig).header.error, WEFT_ERR_OUT_OF_ORDER_SEQUENCE);
    weft_buf_fini(&batch);
}

static void test_produce__duplicate_waits_as_long_as_the_original(void **state)
{
    struct rig *rig = *state;
    weft_part_id_t sync = rig->node->parts[rig->node->part_count - 1];
    weft_fake_world_hold(rig->world, sync, true);
    weft_buf_t batch;
    weft_buf_init(&batch);
    rig_batch(&batch, 1, 77, 0);
    rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
    rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
    assert_null(weft_fake_world_take_reply(rig->world));
    weft_fake_world_hold(rig->world, sync, false);
    assert_int_equal(rig_take_produced(rig).offset, 0);
    assert_int_equal(rig_take_produced(rig).offset, 0);
    weft_buf_fini(&batch);
}

static void test_produce__timeout_is_answered_once_and_later_marks_find_nobody(void **state)
{
    struct rig *rig = *state;
    weft_part_id_t sync = rig->node->parts[rig->node->part_count - 1];
    weft_fake_world_hold(rig->world, sync, true);
    weft_buf_t batch;
    weft_buf_init(&batch);
    rig_batch(&batch, 1, -1, 0);
    struct rig_produce quick = s_all;
    quick.timeout_ms = 100;
    rig_send_produce(rig, &quick, weft_buf_slice(&batch));
    weft_fake_world_advance(rig->world, 99000);
    assert_null(weft_fake_world_take_reply(rig->world));
    weft_fake_world_advance(rig->world, 2000);
    assert_int_equal(rig_take_produced(rig).header.error, WEFT_ERR_TIMED_OUT);
    weft_fake_world_hold(rig->world, sync, false);
    assert_null(weft_fake_world_take_reply(rig->world));
    assert_int_equal(rig_counter(rig, WEFT_COUNT_PRODUCE_WAITING), 0);
    weft_buf_fini(&batch);
}

static void s_refused(struct rig *rig, const struct rig_produce *how, weft_slice_t data, weft_err_t expected)
{
    rig_send_produce(rig, how, data);
    struct weft_produce_reply reply = rig_take_produced(rig);
    assert_err(reply.header.error, expected);
    assert_true(reply.header.message.size > 10);
}

static void test_produce__bad_batches_are_refused_and_change_nothing(void **state)
{
    struct rig *rig = *state;
    weft_buf_t batch;
    weft_buf_init(&batch);
    rig_batch(&batch, 3, -1, 0);
    batch.data[100] ^= 1;
    s_refused(rig, &s_all, weft_buf_slice(&batch), WEFT_ERR_BAD_CRC);
    batch.data[100] ^= 1;
    s_refused(rig, &s_all, weft_slice(batch.data, batch.size - 1), WEFT_ERR_BAD_BATCH);
    s_refused(rig, &s_all, weft_slice(batch.data, 40), WEFT_ERR_BAD_BATCH);
    s_refused(rig, &s_all, WEFT_SLICE_NIL, WEFT_ERR_BAD_BATCH);
    s_refused(rig, &s_all, weft_slice_text("\x01\x02\x03"), WEFT_ERR_BAD_BATCH);
    struct rig_produce how = {.topic = "orders", .acks = "most"};
    s_refused(rig, &how, weft_buf_slice(&batch), WEFT_ERR_INVALID_REQUEST);
    how = (struct rig_produce){.topic = "order"};
    s_refused(rig, &how, weft_buf_slice(&batch), WEFT_ERR_UNKNOWN_TOPIC);
    how = (struct rig_produce){.topic = "orders", .partition = 7};
    s_refused(rig, &how, weft_buf_slice(&batch), WEFT_ERR_UNKNOWN_TOPIC);
    how = (struct rig_produce){.topic = "orders", .topic_id = rig_id(99)};
    s_refused(rig, &how, weft_buf_slice(&batch), WEFT_ERR_TOPIC_REPLACED);
    rig_alter(rig, rig_id(10), "max.record.bytes", "64");
    const struct weft_test_batch large = {.count = 1, .value_bytes = 100};
    weft_test_batch_make(&batch, &large);
    s_refused(rig, &s_all, weft_buf_slice(&batch), WEFT_ERR_RECORD_TOO_LARGE);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).offset, 0);
    weft_buf_fini(&batch);
}

static void test_produce__topic_by_id_alone(void **state)
{
    struct rig *rig = *state;
    const struct rig_produce how = {.topic_id = rig_id(10)};
    assert_int_equal(rig_produce_records(rig, &how, 1).header.error, WEFT_OK);
}

static void test_produce__append_time_stamps_with_the_broker_clock(void **state)
{
    struct rig *rig = *state;
    rig_alter(rig, rig_id(10), "timestamp.type", "append");
    struct rig_produce how = s_all;
    for (int shared = 0; shared < 2; shared++) {
        how.shared = shared == 1;
        rig_produce_records(rig, &how, 1);
    }
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 0});
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
    struct weft_batch batch;
    assert_ok(weft_batch_verify(weft_buf_slice(&sent->data), &batch));
    assert_true(batch.attributes & WEFT_BATCH_ATTR_LOG_APPEND_TIME);
    assert_true(batch.max_timestamp_ms >= WEFT_FAKE_WALL_MS);
}

static void test_produce__overload_is_refused_with_a_time_to_come_back(void **state)
{
    struct rig *rig = *state;
    rig_stop(rig);
    rig_up(rig, (const char *const[]){"shard.bytes=1MiB", NULL});
    weft_fake_world_hold(rig->world, rig->node->parts[rig->node->part_count - 1], true);
    weft_buf_t batch;
    weft_buf_init(&batch);
    rig_batch(&batch, 1, -1, 0);
    int sent = 0;
    while (weft_fake_world_reply_count(rig->world) == 0 && sent < 100000) {
        rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
        sent++;
    }
    assert_true(sent > 1000 && sent < 50000);
    struct weft_produce_reply reply = rig_take_produced(rig);
    assert_int_equal(reply.header.error, WEFT_ERR_OVERLOADED);
    assert_true(reply.header.retry_ms > 0);
    weft_buf_fini(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, s_setup, s_teardown)
        TEST(test_produce__durable_ack_names_offset_and_level),
        TEST(test_produce__durable_ack_waits_for_the_sync_and_leader_ack_does_not),
        TEST(test_produce__what_nobody_waits_for_is_synced_all_the_same),
        TEST(test_produce__durable_reader_does_not_wait_for_sync_ms),
        TEST(test_produce__one_group_commit_serves_all_that_waited),
        TEST(test_produce__behind_a_large_sync_the_next_waits_for_half_of_it_or_a_millisecond),
        TEST(test_produce__shared_frame_is_not_patched),
        TEST(test_produce__bare_records_become_a_batch),
        TEST(test_produce__acks_none_is_silent_but_a_req_is_answered),
        TEST(test_produce__duplicate_is_answered_with_the_first_offset),
        TEST(test_produce__duplicate_waits_as_long_as_the_original),
        TEST(test_produce__timeout_is_answered_once_and_later_marks_find_nobody),
        TEST(test_produce__bad_batches_are_refused_and_change_nothing),
        TEST(test_produce__topic_by_id_alone),
        TEST(test_produce__append_time_stamps_with_the_broker_clock),
        TEST(test_produce__overload_is_refused_with_a_time_to_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
