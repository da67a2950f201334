// SPDX-License-Identifier: MPL-2.0
// Group commit when many segments were rolled between two of them, and what retention and delete-records leave behind.
#include "rig.h"

#include "../../../lib/log/checkpoint.h"

#include <sys/resource.h>

#define S_VALUE_BYTES 30000 // two to a segment of 64 KiB

static int s_setup(void **state)
{
    static struct rig rig;
    rig_begin(&rig);
    rig_up(&rig, (const char *const[]){"retention.check.ms=100ms", NULL});
    rig_topic_with(&rig, "orders", 10, 1, "segment.bytes", "65536");
    *state = &rig;
    return 0;
}

static int s_teardown(void **state)
{
    rig_end(*state);
    return 0;
}

// One record, as large as said; the reply is not taken.
static void s_send(struct rig *rig, bool durable, int32_t sequence)
{
    weft_buf_t batch;
    weft_buf_init(&batch);
    const struct weft_test_batch how = {.count = 1,
                                        .value_bytes = S_VALUE_BYTES,
                                        .timestamp_ms = WEFT_FAKE_WALL_MS,
                                        .has_producer = true,
                                        .producer_id = 7,
                                        .base_sequence = sequence};
    weft_test_batch_make(&batch, &how);
    const struct rig_produce produce = {.topic = "orders", .not_durable = !durable};
    rig_send_produce(rig, &produce, weft_buf_slice(&batch));
    weft_buf_fini(&batch);
}

// Enough rolls that one sync job does not hold all files; nobody waits for their sync.
static void s_roll_often(struct rig *rig)
{
    for (int32_t i = 0; i < 14; i++) {
        s_send(rig, false, i);
        assert_int_equal(rig_take_produced(rig).header.error, WEFT_OK);
    }
}

// ---- group commit

static void test_upkeep__durable_ack_comes_at_once_however_many_segments_were_rolled(void **state)
{
    struct rig *rig = *state;
    s_roll_often(rig);
    s_send(rig, true, 14);
    weft_fake_world_settle(rig->world); // no time passes
    struct weft_produce_reply reply = rig_take_produced(rig);
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_int_equal(reply.offset, 14);
    assert_true(weft_slice_is_text(reply.level, "durable"));
}

static void test_upkeep__clean_stop_syncs_every_rolled_segment(void **state)
{
    struct rig *rig = *state;
    weft_checkpoint_t *checkpoint;
    s_roll_often(rig);
    rig_stop(rig);
    assert_ok(weft_checkpoint_open(rig->disk, weft_test_path(rig->directory, "data"), &checkpoint, &rig->error));
    assert_int_equal(weft_checkpoint_get(checkpoint, rig_id(10), 0), 14);
    weft_checkpoint_destroy(&checkpoint);
}

// ---- sessions of records that are gone

static void s_delete_all(struct rig *rig)
{
    struct weft_delete_records_request request;
    struct weft_delete_records_reply reply;
    weft_delete_records_request_init(&request);
    request.topic = weft_slice_text("orders");
    request.before_offset = -1;
    weft_buf_clear(&rig->buf);
    weft_delete_records_request_encode(&request, &rig->buf);
    weft_fake_world_request(rig->world, 0, 1, false, weft_buf_slice(&rig->buf), WEFT_SLICE_NIL, false);
    assert_ok(weft_delete_records_reply_decode(
        &rig->codec, weft_buf_slice(&weft_fake_world_take_reply(rig->world)->header), &reply, &rig->error));
    assert_int_equal(reply.header.error, WEFT_OK);
}

// After a kill: the producer of records 0 to `count` - 1 goes on as if nothing had been.
static void s_check_session(struct rig *rig, int32_t count)
{
    s_send(rig, true, count - 1);
    struct weft_produce_reply reply = rig_take_produced(rig);
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_true(reply.duplicate);
    assert_int_equal(reply.offset, count - 1);
    s_send(rig, true, count);
    reply = rig_take_produced(rig);
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_int_equal(reply.offset, count);
}

static void test_upkeep__producer_is_known_when_its_records_were_deleted(void **state)
{
    struct rig *rig = *state;
    for (int32_t i = 0; i < 5; i++) {
        s_send(rig, true, i);
        assert_int_equal(rig_take_produced(rig).offset, i);
    }
    s_delete_all(rig);
    rig_kill(rig);
    rig_up(rig, NULL);
    s_check_session(rig, 5);
}

static void test_upkeep__producer_is_known_when_its_records_were_too_old(void **state)
{
    struct rig *rig = *state;
    s_send(rig, true, 0);
    assert_int_equal(rig_take_produced(rig).offset, 0);
    rig_alter(rig, rig_id(10), "retention.ms", "1000");
    rig_advance(rig, 5000);
    assert_true(rig_counter(rig, WEFT_COUNT_SEGMENTS_REMOVED) > 0);
    rig_kill(rig);
    rig_up(rig, NULL);
    s_check_session(rig, 1);
}

// ---- descriptors

static void test_upkeep__more_partitions_than_descriptors_are_served(void **state)
{
    struct rig *rig = *state;
    struct rlimit before, few;
    rig_stop(rig);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 48;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    rig_up(rig, NULL);
    rig_topic(rig, "many", 11, 64);
    for (int64_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 64; i++) {
            const struct rig_produce produce = {.topic = "many", .partition = i};
            assert_int_equal(rig_produce_records(rig, &produce, 1).offset, round);
        }
        rig_advance(rig, 5000);
    }
    assert_int_equal(rig_counter(rig, WEFT_COUNT_DISK_FAILURES), 0);
    rig_stop(rig);
    rig_up(rig, NULL);
    assert_true(rig->clean);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, s_setup, s_teardown)
        TEST(test_upkeep__durable_ack_comes_at_once_however_many_segments_were_rolled),
        TEST(test_upkeep__clean_stop_syncs_every_rolled_segment),
        TEST(test_upkeep__producer_is_known_when_its_records_were_deleted),
        TEST(test_upkeep__producer_is_known_when_its_records_were_too_old),
        TEST(test_upkeep__more_partitions_than_descriptors_are_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
