// SPDX-License-Identifier: MPL-2.0
#include "rig.h"

static const struct rig_produce s_all = {.topic = "orders"};

static int s_setup(void **state)
{
    static struct rig rig;
    rig_begin(&rig);
    rig_up(&rig, NULL);
    rig_topic(&rig, "orders", 10, 1);
    *state = &rig;
    return 0;
}

static int s_setup_down(void **state)
{
    static struct rig rig;
    rig_begin(&rig);
    *state = &rig;
    return 0;
}

static int s_teardown(void **state)
{
    rig_end(*state);
    return 0;
}

// ---- registration and heartbeats

static void test_control__registers_then_heartbeats_at_the_told_interval(void **state)
{
    struct rig *rig = *state;
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    assert_int_equal(rig->registrations, 1);
    assert_int_equal(rig_health(rig, sentence), WEFT_HEALTH_SERVING);
    uint32_t before = rig->heartbeats;
    rig_advance(rig, 1000);
    assert_in_range(rig->heartbeats - before, 9, 11);
    assert_int_equal(rig->told_index, rig->index);
}

static void test_control__serves_on_without_a_coordinator(void **state)
{
    struct rig *rig = *state;
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    rig->silent = true;
    weft_fake_world_link(rig->world, RIG_COORDINATOR, false);
    rig_advance(rig, 5000);
    assert_int_equal(rig_health(rig, sentence), WEFT_HEALTH_DEGRADED);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).header.error, WEFT_OK); // I10
    rig->silent = false;
    weft_fake_world_link(rig->world, RIG_COORDINATOR, true);
    rig_advance(rig, 300);
    assert_int_equal(rig_health(rig, sentence), WEFT_HEALTH_SERVING);
    assert_int_equal(rig->registrations, 1); // nobody fenced it
}

static void test_control__a_start_without_coordinator_leads_nothing(void **state)
{
    struct rig *rig = *state;
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    rig_stop(rig);
    rig->silent = true;
    rig_up(rig, NULL);
    assert_int_equal(rig_health(rig, sentence), WEFT_HEALTH_STARTING);
    weft_err_t code = rig_produce_records(rig, &s_all, 1).header.error;
    assert_int_equal(code, WEFT_ERR_COORDINATOR_UNAVAILABLE);
    assert_int_equal(weft_err_class(code), WEFT_CLASS_RETRY);
}

static void test_control__fenced_broker_registers_under_another_incarnation(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(rig_produce_records(rig, &s_all, 1).offset, 0);
    weft_id_t first = rig->incarnation;
    struct weft_broker_fenced_command command = {.broker_id = 1, .incarnation = first};
    weft_buf_clear(&rig->buf);
    weft_broker_fenced_command_encode(&command, &rig->buf);
    rig_commit(rig);
    rig_push(rig, rig->index - 1, false);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).header.error, WEFT_ERR_NOT_LEADER);
    rig->refuse = WEFT_ERR_FENCED;
    weft_fake_world_advance(rig->world, 150000);
    const struct weft_fake_sent *sent = weft_fake_world_take_sent(rig->world);
    assert_non_null(sent);
    rig_on_heartbeat(rig, weft_buf_slice(&(weft_buf_t){.data = sent->header.data, .size = sent->header.size}));
    rig->refuse = WEFT_OK;
    rig_advance(rig, 300);
    assert_int_equal(rig->registrations, 2);
    assert_false(weft_id_equal(first, rig->incarnation));
    assert_true(rig->clean); // it lost nothing
    assert_int_equal(rig_produce_records(rig, &s_all, 1).offset, 1);
}

static void test_control__follows_the_name_of_the_active_coordinator(void **state)
{
    struct rig *rig = *state;
    static const char *const options[] = {"coordinators=tcp://passive:1,tcp://coordinator:1", NULL};
    assert_ok(rig_create(rig, options));
    const weft_world_t *world = weft_fake_world_of(rig->world);
    world->ops->start(world->self);
    weft_fake_world_link(rig->world, "tcp://passive:1", true);
    weft_fake_world_link(rig->world, RIG_COORDINATOR, true);
    const struct weft_fake_sent *sent = weft_fake_world_take_sent(rig->world);
    assert_string_equal(sent->endpoint, "tcp://passive:1");
    struct weft_request_header request;
    assert_ok(weft_request_header_decode(weft_buf_slice(&sent->header), &request, &rig->error));
    struct weft_broker_register_reply reply;
    weft_broker_register_reply_init(&reply);
    reply.header.id = request.id;
    reply.header.error = WEFT_ERR_NOT_COORDINATOR;
    reply.header.endpoint = weft_slice_text(RIG_COORDINATOR);
    weft_buf_clear(&rig->buf);
    weft_broker_register_reply_encode(&reply, &rig->buf);
    weft_fake_world_from(rig->world, "tcp://passive:1", weft_buf_slice(&rig->buf), WEFT_SLICE_NIL);
    rig_advance(rig, 200);
    assert_int_equal(rig->registrations, 1);
    assert_true(rig->heartbeats > 0);
}

static void test_control__a_silent_coordinator_is_left_for_the_next(void **state)
{
    struct rig *rig = *state;
    static const char *const options[] = {"coordinators=tcp://deaf:1, tcp://coordinator:1", NULL};
    assert_ok(rig_create(rig, options));
    const weft_world_t *world = weft_fake_world_of(rig->world);
    world->ops->start(world->self);
    weft_fake_world_link(rig->world, "tcp://deaf:1", true);
    weft_fake_world_link(rig->world, RIG_COORDINATOR, true);
    while (weft_fake_world_take_sent(rig->world) != NULL) {} // lost
    rig_advance(rig, 3000);
    assert_int_equal(rig->registrations, 1);
}

static void test_control__another_cluster_is_refused_for_good(void **state)
{
    struct rig *rig = *state;
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    rig_stop(rig);
    rig->refuse = WEFT_ERR_WRONG_CLUSTER;
    rig_up(rig, NULL);
    rig_advance(rig, 500);
    assert_int_equal(rig_health(rig, sentence), WEFT_HEALTH_FAILED);
    assert_true(strlen(sentence) > 20);
}

// The next heartbeat, unanswered.
static struct weft_broker_heartbeat_request s_next_heartbeat(struct rig *rig)
{
    struct weft_broker_heartbeat_request request;
    rig_coordinate(rig);
    weft_fake_world_advance(rig->world, 110000);
    const struct weft_fake_sent *sent = weft_fake_world_take_sent(rig->world);
    assert_non_null(sent);
    assert_ok(weft_broker_heartbeat_request_decode(&rig->codec, weft_buf_slice(&sent->header), &request, &rig->error));
    return request;
}

static void test_control__a_failed_sync_is_told_until_the_next_start(void **state)
{
    struct rig *rig = *state;
    weft_fault_disk_t *faults = weft_fault_disk_new(weft_disk_posix());
    rig_stop(rig);
    rig->disk = weft_fault_disk_of(faults);
    rig_up(rig, NULL);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).header.error, WEFT_OK);
    assert_false(s_next_heartbeat(rig).disk_failed);
    const struct weft_fault fault = {
        .kinds = WEFT_FAULT_SYNC, .nth = 1, .times = 1, .err = WEFT_ERR_DISK_FAILED, .path_suffix = ".log"};
    weft_fault_disk_arm(faults, &fault);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).header.error, WEFT_ERR_DISK_FAILED);
    assert_true(s_next_heartbeat(rig).disk_failed);
    rig_kill(rig);
    rig->disk = weft_disk_posix();
    weft_fault_disk_destroy(&faults);
    rig_up(rig, NULL);
    assert_false(s_next_heartbeat(rig).disk_failed);
}

// ---- updates

static void test_control__orders_of_an_older_epoch_are_refused(void **state)
{
    struct rig *rig = *state;
    struct weft_took_office_command office = {.coordinator_id = 1, .endpoint = weft_slice_text(RIG_COORDINATOR)};
    weft_buf_clear(&rig->buf);
    weft_took_office_command_encode(&office, &rig->buf);
    rig_commit(rig);
    rig_push(rig, rig->index - 1, false);
    uint64_t epoch = rig->epoch;
    struct weft_topic_deleted_command command = {.topic_id = rig_id(10)};
    weft_buf_clear(&rig->buf);
    weft_topic_deleted_command_encode(&command, &rig->buf);
    rig_commit(rig);
    rig->epoch = 1;
    rig_push(rig, rig->index - 1, false);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).header.error, WEFT_OK);
    rig->epoch = epoch;
    rig_push(rig, rig->index - 1, false);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).header.error, WEFT_ERR_UNKNOWN_TOPIC);
}

static void test_control__a_gap_is_told_and_filled(void **state)
{
    struct rig *rig = *state;
    struct weft_topic_deleted_command command = {.topic_id = rig_id(10)};
    weft_buf_clear(&rig->buf);
    weft_topic_deleted_command_encode(&command, &rig->buf);
    rig_commit(rig); // this one is lost on the way
    rig_topic(rig, "second", 11, 1);
    const struct rig_produce second = {.topic = "second"};
    assert_int_equal(rig_produce_records(rig, &second, 1).header.error, WEFT_ERR_UNKNOWN_TOPIC);
    rig_advance(rig, 20); // asked for at once, not at the next beat
    assert_int_equal(rig_produce_records(rig, &second, 1).header.error, WEFT_OK);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).header.error, WEFT_ERR_UNKNOWN_TOPIC);
}

static void test_control__malformed_updates_change_nothing(void **state)
{
    struct rig *rig = *state;
    static const char *const bad[] = {"\x92\x01", "\x93\x7f\xc4\x01x\x00", "\x92\x7f\xc6\xff\xff\xff\xffx", "\xc0",
                                      "\x92\xff\xc4\x01x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct weft_cluster_update_request request;
        weft_cluster_update_request_init(&request);
        request.epoch = rig->epoch;
        request.from_index = rig->index;
        request.to_index = rig->index + 200;
        request.snapshot = i == 3;
        weft_buf_clear(&rig->buf);
        weft_cluster_update_request_encode(&request, &rig->buf);
        weft_fake_world_from(rig->world, RIG_COORDINATOR, weft_buf_slice(&rig->buf), weft_slice_text(bad[i]));
    }
    assert_int_equal(weft_counter_get(rig->node->counters[0], WEFT_COUNT_UPDATES_REFUSED), 5);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).header.error, WEFT_OK);
    rig_topic(rig, "second", 11, 1);
    const struct rig_produce second = {.topic = "second"};
    assert_int_equal(rig_produce_records(rig, &second, 1).header.error, WEFT_OK);
}

// ---- what every node answers

static void s_ask(struct rig *rig, weft_slice_t header, struct weft_reply_header *reply)
{
    weft_fake_world_request(rig->world, 0, 1, false, header, WEFT_SLICE_NIL, false);
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
    assert_non_null(sent);
    assert_ok(weft_reply_header_decode(&rig->codec, weft_buf_slice(&sent->header), reply, &rig->error));
}

static void test_shard__bad_frames_are_answered_and_counted(void **state)
{
    struct rig *rig = *state;
    struct weft_reply_header reply;
    static const struct {
        const char *bytes;
        size_t size;
        weft_err_t expected;
    } bad[] = {
        {"", 0, WEFT_ERR_BAD_FRAME},
        {"\xc1", 1, WEFT_ERR_BAD_FRAME},
        {"\xdd\x0f\xff\xff\xff", 5, WEFT_ERR_BAD_FRAME},
        {"\x80", 1, WEFT_ERR_INVALID_REQUEST},
        {"\x81\xa3"
         "api\xa5"
         "fetch",
         11, WEFT_ERR_INVALID_REQUEST},
        {"\x81\xa3"
         "api\xa3"
         "fly",
         9, WEFT_ERR_UNKNOWN_API},
        {"\x82\xa3"
         "api\xa5hello\xa4must\x91\xa5magic",
         23, WEFT_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        s_ask(rig, weft_slice(bad[i].bytes, bad[i].size), &reply);
        assert_err(reply.error, bad[i].expected);
        assert_true(reply.message.size > 0);
    }
    assert_int_equal(rig_counter(rig, WEFT_COUNT_BAD_FRAMES), 5);
    assert_int_equal(rig_counter(rig, WEFT_COUNT_UNKNOWN_APIS), 2);
}

static void test_shard__cluster_orders_from_a_peer_are_refused(void **state)
{
    struct rig *rig = *state;
    struct weft_reply_header reply;
    struct weft_cluster_update_request request;
    weft_cluster_update_request_init(&request);
    request.epoch = 1000000;
    request.to_index = 1000000;
    request.snapshot = true;
    weft_buf_clear(&rig->buf);
    weft_cluster_update_request_encode(&request, &rig->buf);
    s_ask(rig, weft_buf_slice(&rig->buf), &reply);
    assert_int_equal(reply.error, WEFT_ERR_UNKNOWN_API);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).header.error, WEFT_OK);
}

static void test_shard__admin_requests_are_sent_to_the_coordinator(void **state)
{
    struct rig *rig = *state;
    struct weft_reply_header reply;
    struct weft_topic_create_request request;
    weft_topic_create_request_init(&request);
    request.topic = weft_slice_text("more");
    weft_buf_clear(&rig->buf);
    weft_topic_create_request_encode(&request, &rig->buf);
    s_ask(rig, weft_buf_slice(&rig->buf), &reply);
    assert_int_equal(reply.error, WEFT_ERR_NOT_COORDINATOR);
    assert_slice(reply.endpoint, RIG_COORDINATOR);
}

static const struct weft_fake_sent *s_ask_raw(struct rig *rig)
{
    weft_fake_world_request(rig->world, 0, 1, true, weft_buf_slice(&rig->buf), WEFT_SLICE_NIL, false);
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
    assert_non_null(sent);
    assert_true(sent->delimited);
    return sent;
}

static void test_shard__hello_metadata_describe_and_status(void **state)
{
    struct rig *rig = *state;
    struct weft_hello_request hello;
    struct weft_hello_reply hello_reply;
    weft_hello_request_init(&hello);
    weft_buf_clear(&rig->buf);
    weft_hello_request_encode(&hello, &rig->buf);
    assert_ok(weft_hello_reply_decode(&rig->codec, weft_buf_slice(&s_ask_raw(rig)->header), &hello_reply, &rig->error));
    assert_slice(hello_reply.node, "broker");
    assert_int_equal(hello_reply.shard, 0);
    assert_true(weft_id_equal(hello_reply.cluster_id, rig_id(1)));

    struct weft_metadata_request metadata;
    struct weft_metadata_reply metadata_reply;
    weft_metadata_request_init(&metadata);
    weft_buf_clear(&rig->buf);
    weft_metadata_request_encode(&metadata, &rig->buf);
    assert_ok(
        weft_metadata_reply_decode(&rig->codec, weft_buf_slice(&s_ask_raw(rig)->header), &metadata_reply, &rig->error));
    assert_int_equal(metadata_reply.topics_count, 1);
    assert_slice(metadata_reply.topics[0].partitions[0].endpoint, rig->node->endpoint);
    assert_int_equal(metadata_reply.version, rig->index);

    rig_alter(rig, rig_id(10), "retention.ms", "1h");
    struct weft_topic_describe_request describe;
    struct weft_topic_describe_reply describe_reply;
    weft_topic_describe_request_init(&describe);
    describe.topic = weft_slice_text("orders");
    weft_buf_clear(&rig->buf);
    weft_topic_describe_request_encode(&describe, &rig->buf);
    assert_ok(weft_topic_describe_reply_decode(&rig->codec, weft_buf_slice(&s_ask_raw(rig)->header), &describe_reply,
                                               &rig->error));
    assert_int_equal(describe_reply.config_count, weft_options_topic_count);
    assert_slice(describe_reply.config[0].value, "1h");
    assert_false(describe_reply.config[0].is_default);

    struct weft_node_status_request status;
    struct weft_node_status_reply status_reply;
    weft_node_status_request_init(&status);
    weft_buf_clear(&rig->buf);
    weft_node_status_request_encode(&status, &rig->buf);
    assert_ok(weft_node_status_reply_decode(&rig->codec, weft_buf_slice(&s_ask_raw(rig)->header), &status_reply,
                                            &rig->error));
    assert_slice(status_reply.node, "broker-1");
    assert_slice(status_reply.health, "serving");
    assert_int_equal(status_reply.counters_count, WEFT_SHARD_COUNTERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, s_setup, s_teardown)
#define TEST_DOWN(name) cmocka_unit_test_setup_teardown(name, s_setup_down, s_teardown)
        TEST(test_control__registers_then_heartbeats_at_the_told_interval),
        TEST(test_control__serves_on_without_a_coordinator),
        TEST(test_control__a_start_without_coordinator_leads_nothing),
        TEST(test_control__fenced_broker_registers_under_another_incarnation),
        TEST_DOWN(test_control__follows_the_name_of_the_active_coordinator),
        TEST_DOWN(test_control__a_silent_coordinator_is_left_for_the_next),
        TEST(test_control__another_cluster_is_refused_for_good),
        TEST(test_control__a_failed_sync_is_told_until_the_next_start),
        TEST(test_control__orders_of_an_older_epoch_are_refused),
        TEST(test_control__a_gap_is_told_and_filled),
        TEST(test_control__malformed_updates_change_nothing),
        TEST(test_shard__bad_frames_are_answered_and_counted),
        TEST(test_shard__cluster_orders_from_a_peer_are_refused),
        TEST(test_shard__admin_requests_are_sent_to_the_coordinator),
        TEST(test_shard__hello_metadata_describe_and_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
