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

static int64_t s_log_end(struct rig *rig)
{
    struct weft_partition_status_request request;
    struct weft_partition_status_reply reply;
    weft_partition_status_request_init(&request);
    request.topic = weft_slice_text("orders");
    weft_buf_clear(&rig->buf);
    weft_partition_status_request_encode(&request, &rig->buf);
    weft_fake_world_request(rig->world, 0, 1, false, weft_buf_slice(&rig->buf), WEFT_SLICE_NIL, false);
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
    assert_ok(weft_partition_status_reply_decode(&rig->codec, weft_buf_slice(&sent->header), &reply, &rig->error));
    assert_int_equal(reply.header.error, WEFT_OK);
    return reply.log_end;
}

static void s_ignore(void *context, const char *name, bool is_directory)
{
    (void) context, (void) name, (void) is_directory;
}

static bool s_exists(const struct rig *rig, const char *directory)
{
    return rig->disk->ops->list(rig->disk, directory, s_ignore, NULL) == WEFT_OK;
}

// ---- starts and stops

static void test_life__clean_stop_and_start_keep_all_and_are_clean(void **state)
{
    struct rig *rig = *state;
    assert_false(rig->clean);
    weft_buf_t batch;
    weft_buf_init(&batch);
    rig_batch(&batch, 3, 55, 0);
    rig_send_produce(rig, &s_leader, weft_buf_slice(&batch)); // not synced yet
    assert_int_equal(rig_take_produced(rig).offset, 0);
    rig_stop(rig);
    rig_up(rig, NULL);
    assert_true(rig->clean);
    assert_int_equal(s_log_end(rig), 3);
    rig_send_produce(rig, &s_all, weft_buf_slice(&batch)); // the session is still known
    struct weft_produce_reply reply = rig_take_produced(rig);
    assert_true(reply.duplicate);
    assert_int_equal(reply.offset, 0);
    weft_buf_fini(&batch);
}

static void test_life__kill_keeps_what_was_written_and_is_not_clean(void **state)
{
    struct rig *rig = *state;
    weft_buf_t batch;
    weft_buf_init(&batch);
    for (int i = 0; i < 3; i++) {
        rig_batch(&batch, 2, 55, 2 * i);
        rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
        assert_int_equal(rig_take_produced(rig).offset, 2 * i);
    }
    rig_kill(rig);
    rig_up(rig, NULL);
    assert_false(rig->clean);
    assert_int_equal(s_log_end(rig), 6);
    rig_send_produce(rig, &s_all, weft_buf_slice(&batch)); // sessions come from replay
    assert_true(rig_take_produced(rig).duplicate);
    weft_buf_fini(&batch);
}

static void test_life__stop_answers_what_waits_and_refuses_what_comes(void **state)
{
    struct rig *rig = *state;
    uint32_t records;
    weft_part_id_t sync = rig->node->parts[rig->node->part_count - 1];
    weft_fake_world_hold(rig->world, sync, true);
    weft_buf_t batch;
    weft_buf_init(&batch);
    rig_batch(&batch, 1, -1, 0);
    rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 1, .max_wait_ms = 60000});
    assert_false(weft_fake_world_stop(rig->world, rig->node->parts[1], 0));
    assert_int_equal(rig_take_fetched(rig, &records).header.error, WEFT_ERR_STOPPING);
    rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
    assert_int_equal(rig_take_produced(rig).header.error, WEFT_ERR_STOPPING);
    weft_fake_world_hold(rig->world, sync, false);
    assert_slice(rig_take_produced(rig).level, "durable"); // promised before, kept
    rig_stop(rig);
    rig_up(rig, NULL);
    assert_true(rig->clean);
    weft_buf_fini(&batch);
}

static void test_life__directory_in_use_or_of_another_is_refused(void **state)
{
    struct rig *rig = *state;
    weft_fake_world_t *world = rig->world;
    struct weft_node *node = rig->node;
    rig->node = NULL;
    assert_err(rig_create(rig, NULL), WEFT_ERR_LOCKED);
    assert_non_null(strstr(rig->error.text, "data"));
    rig->world = world;
    rig->node = node;
    rig_stop(rig);
    assert_err(rig_create(rig, (const char *const[]){"id=2", NULL}), WEFT_ERR_WRONG_DIRECTORY);
    rig_up(rig, NULL);
    assert_true(rig->clean); // the refused starts left it so
}

static void test_life__bad_options_are_refused_with_a_sentence(void **state)
{
    struct rig *rig = *state;
    assert_err(rig_create(rig, (const char *const[]){"listen=tcp://127.0.0.1:65535", "shards=2", NULL}),
               WEFT_ERR_INVALID_OPTION);
    assert_err(rig_create(rig, (const char *const[]){"coordinators= , ", NULL}), WEFT_ERR_INVALID_OPTION);
    assert_err(rig_create(rig, (const char *const[]){"rack=a\xff", NULL}), WEFT_ERR_INVALID_OPTION);
    assert_true(strlen(rig->error.text) > 20);
}

static void test_life__shards_follow_ports_and_suffixes(void **state)
{
    struct rig *rig = *state;
    rig_up(rig, (const char *const[]){"listen=tcp://127.0.0.1:9700", "shards=3", NULL});
    const struct weft_cluster_broker *broker = weft_cluster_broker(rig->cluster, 1);
    assert_int_equal(broker->shard_count, 3);
    assert_string_equal(broker->endpoints[2], "tcp://127.0.0.1:9702");
    rig_stop(rig);
    rig_up(rig, (const char *const[]){"listen=ipc:///tmp/w", "shards=2", "advertise=tcp://b1.example:7000", NULL});
    broker = weft_cluster_broker(rig->cluster, 1);
    assert_string_equal(broker->endpoints[1], "tcp://b1.example:7001");
    assert_string_equal(rig->node->endpoint, "ipc:///tmp/w");
}

static void test_life__each_shard_holds_its_partitions_and_names_the_others(void **state)
{
    struct rig *rig = *state;
    rig_up(rig, (const char *const[]){"listen=tcp://127.0.0.1:9700", "shards=2", NULL});
    weft_id_t topic = rig_topic(rig, "orders", 10, 16);
    size_t here = 0;
    for (uint32_t i = 0; i < 16; i++) {
        const struct rig_produce how = {.topic = "orders", .partition = i};
        struct weft_produce_reply reply = rig_produce_records(rig, &how, 1); // to shard 0
        if (weft_cluster_shard_of(topic, i, 2) == 0) {
            assert_int_equal(reply.header.error, WEFT_OK);
            here++;
        } else {
            assert_int_equal(reply.header.error, WEFT_ERR_NOT_LEADER);
            assert_int_equal(reply.header.leader, 1);
            assert_slice(reply.header.endpoint, "tcp://127.0.0.1:9701");
        }
    }
    assert_true(here > 0 && here < 16);
    assert_int_equal(rig_counter(rig, WEFT_COUNT_PARTITIONS_LED), here);
}

// ---- topics come and go

static void test_life__deleted_topic_is_gone_with_its_data(void **state)
{
    struct rig *rig = *state;
    uint32_t records;
    char path[WEFT_TEST_PATH_BYTES], id[WEFT_ID_TEXT_BYTES];
    rig_produce_records(rig, &s_all, 1);
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 1, .max_wait_ms = 60000});
    weft_id_text(rig_id(10), id);
    snprintf(path, sizeof path, "%s/data/topics/%s", rig->directory, id);
    rig_delete(rig, rig_id(10));
    assert_int_equal(rig_take_fetched(rig, &records).header.error, WEFT_ERR_UNKNOWN_TOPIC);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).header.error, WEFT_ERR_UNKNOWN_TOPIC);
    assert_false(s_exists(rig, path));
    // The name lives on with another topic: a client that knew the first is told.
    rig_topic(rig, "orders", 11, 1);
    const struct rig_produce old = {.topic = "orders", .topic_id = rig_id(10)};
    assert_int_equal(rig_produce_records(rig, &old, 1).header.error, WEFT_ERR_TOPIC_REPLACED);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).offset, 0);
}

static void test_life__delete_while_a_sync_is_under_way_fails_its_waiters(void **state)
{
    struct rig *rig = *state;
    weft_part_id_t sync = rig->node->parts[rig->node->part_count - 1];
    weft_fake_world_hold(rig->world, sync, true);
    weft_buf_t batch;
    weft_buf_init(&batch);
    rig_batch(&batch, 1, -1, 0);
    rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
    rig_delete(rig, rig_id(10));
    struct weft_produce_reply reply = rig_take_produced(rig);
    assert_int_equal(weft_err_outcome(reply.header.error), WEFT_OUTCOME_MAYBE_APPLIED);
    weft_fake_world_hold(rig->world, sync, false);
    assert_null(weft_fake_world_take_reply(rig->world));
    assert_int_equal(rig_counter(rig, WEFT_COUNT_PARTITIONS_OPEN), 0);
    weft_buf_fini(&batch);
}

// Epochs come from a coordinator: also the last one there is must leave nobody behind who waits for a partition that is
// gone.
static void test_life__delete_in_the_last_epoch_fails_its_waiters(void **state)
{
    struct rig *rig = *state;
    struct weft_partition_changed_command command;
    weft_part_id_t sync = rig->node->parts[rig->node->part_count - 1];
    struct weft_cluster_partition *partition = weft_cluster_topic(rig->cluster, rig_id(10))->partitions;
    int32_t self = 1;
    weft_partition_changed_command_init(&command);
    command.topic_id = rig_id(10);
    command.partition_epoch = partition->partition_epoch;
    command.leader = self;
    command.isr = &self;
    command.isr_count = 1;
    weft_buf_clear(&rig->buf);
    weft_partition_changed_command_encode(&command, &rig->buf);
    rig_commit(rig);
    partition->leader_epoch = INT32_MAX;
    rig_push(rig, 0, true);
    weft_fake_world_hold(rig->world, sync, true);
    weft_buf_t batch;
    weft_buf_init(&batch);
    rig_batch(&batch, 1, -1, 0);
    rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
    assert_null(weft_fake_world_take_reply(rig->world));
    rig_delete(rig, rig_id(10));
    assert_int_equal(weft_err_outcome(rig_take_produced(rig).header.error), WEFT_OUTCOME_MAYBE_APPLIED);
    weft_fake_world_hold(rig->world, sync, false);
    rig_advance(rig, 60000); // its time would be up
    assert_null(weft_fake_world_take_reply(rig->world));
    weft_buf_fini(&batch);
}

static void test_life__topic_deleted_while_down_is_removed_at_the_start(void **state)
{
    struct rig *rig = *state;
    char path[WEFT_TEST_PATH_BYTES], id[WEFT_ID_TEXT_BYTES];
    rig_produce_records(rig, &s_all, 1);
    rig_stop(rig);
    struct weft_topic_deleted_command command = {.topic_id = rig_id(10)};
    weft_buf_clear(&rig->buf);
    weft_topic_deleted_command_encode(&command, &rig->buf);
    rig_commit(rig);
    weft_id_text(rig_id(10), id);
    snprintf(path, sizeof path, "%s/data/topics/%s/0", rig->directory, id);
    assert_true(s_exists(rig, path));
    rig_up(rig, NULL);
    assert_false(s_exists(rig, path));
}

static void test_life__data_that_nobody_knows_is_left_alone_and_counted(void **state)
{
    struct rig *rig = *state;
    char path[WEFT_TEST_PATH_BYTES], id[WEFT_ID_TEXT_BYTES];
    rig_stop(rig);
    weft_id_text(rig_id(66), id);
    snprintf(path, sizeof path, "%s/data/topics/%s/0", rig->directory, id);
    assert_ok(rig->disk->ops->mkdir(rig->disk, path));
    rig_up(rig, NULL);
    assert_int_equal(rig_counter(rig, WEFT_COUNT_ORPHANS), 1);
    assert_ok(rig->disk->ops->rmdir(rig->disk, path));
}

static void test_life__partitions_added_and_configuration_take_effect_live(void **state)
{
    struct rig *rig = *state;
    int32_t replica[1] = {1};
    struct weft_placement placement = {.replicas = replica, .replicas_count = 1};
    struct weft_partitions_added_command command = {
        .topic_id = rig_id(10), .from = 1, .placement = &placement, .placement_count = 1};
    weft_buf_clear(&rig->buf);
    weft_partitions_added_command_encode(&command, &rig->buf);
    rig_commit(rig);
    rig_push(rig, rig->index - 1, false);
    const struct rig_produce second = {.topic = "orders", .partition = 1};
    assert_int_equal(rig_produce_records(rig, &second, 1).offset, 0);
    rig_alter(rig, rig_id(10), "max.batch.bytes", "1024");
    assert_int_equal(rig_produce_records(rig, &s_all, 100).header.error, WEFT_ERR_BATCH_TOO_LARGE);
    rig_alter(rig, rig_id(10), "min.insync", "2"); // at most all that there are
    assert_int_equal(rig_produce_records(rig, &s_all, 1).header.error, WEFT_OK);
}

static void test_life__retention_removes_segments_and_moves_the_start(void **state)
{
    struct rig *rig = *state;
    rig_stop(rig);
    rig_up(rig, (const char *const[]){"retention.check.ms=100ms", NULL});
    rig_alter(rig, rig_id(10), "segment.bytes", "65536");
    weft_buf_t batch;
    weft_buf_init(&batch);
    const struct weft_test_batch how = {.count = 1, .value_bytes = 30000, .timestamp_ms = WEFT_FAKE_WALL_MS - 1000};
    for (int i = 0; i < 9; i++) {
        weft_test_batch_make(&batch, &how);
        rig_send_produce(rig, &s_all, weft_buf_slice(&batch));
        assert_int_equal(rig_take_produced(rig).offset, i);
    }
    rig_alter(rig, rig_id(10), "retention.bytes", "70000");
    rig_advance(rig, 3000);
    assert_true(rig_counter(rig, WEFT_COUNT_SEGMENTS_REMOVED) > 0);
    uint32_t records;
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 0});
    struct weft_fetch_reply reply = rig_take_fetched(rig, &records);
    assert_int_equal(reply.header.error, WEFT_ERR_OFFSET_OUT_OF_RANGE);
    assert_true(reply.log_start > 0);
    weft_buf_fini(&batch);
}

// ---- bad disks

static void test_life__full_disk_is_told_and_passes_by_itself(void **state)
{
    struct rig *rig = *state;
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    weft_fault_disk_t *faults = weft_fault_disk_new(weft_disk_posix());
    rig_stop(rig);
    rig->disk = weft_fault_disk_of(faults);
    rig_up(rig, NULL);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).offset, 0);
    weft_fault_disk_arm(
        faults,
        &(struct weft_fault){.kinds = WEFT_FAULT_PWRITEV, .nth = 1, .err = WEFT_ERR_DISK_FULL, .path_suffix = ".log"});
    assert_int_equal(rig_produce_records(rig, &s_all, 1).header.error, WEFT_ERR_DISK_FULL);
    assert_int_equal(rig_health(rig, sentence), WEFT_HEALTH_DEGRADED);
    assert_non_null(strstr(sentence, "full"));
    weft_fault_disk_disarm(faults);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).offset, 1);
    assert_int_equal(rig_health(rig, sentence), WEFT_HEALTH_SERVING);
    rig_kill(rig);
    rig->disk = weft_disk_posix();
    weft_fault_disk_destroy(&faults);
}

static void test_life__log_that_could_not_be_made_is_tried_again(void **state)
{
    struct rig *rig = *state;
    weft_fault_disk_t *faults = weft_fault_disk_new(weft_disk_posix());
    rig_stop(rig);
    rig->disk = weft_fault_disk_of(faults);
    rig_up(rig, NULL);
    weft_fault_disk_arm(faults, &(struct weft_fault){.kinds = WEFT_FAULT_MKDIR, .nth = 1, .err = WEFT_ERR_DISK_FULL});
    rig_topic(rig, "other", 12, 1);
    const struct rig_produce other = {.topic = "other"};
    assert_int_equal(rig_produce_records(rig, &other, 1).header.error, WEFT_ERR_DISK_FULL);
    weft_fault_disk_disarm(faults);
    rig_advance(rig, 12000);
    assert_int_equal(rig_produce_records(rig, &other, 1).offset, 0);
    assert_int_equal(rig_counter(rig, WEFT_COUNT_PARTITIONS_REFUSED), 0);
    rig_kill(rig);
    rig->disk = weft_disk_posix();
    weft_fault_disk_destroy(&faults);
}

static void test_life__failed_sync_gives_the_directory_up_and_acknowledges_nothing(void **state)
{
    struct rig *rig = *state;
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    weft_fault_disk_t *faults = weft_fault_disk_new(weft_disk_posix());
    rig_stop(rig);
    rig->disk = weft_fault_disk_of(faults);
    rig_up(rig, NULL);
    rig_topic(rig, "other", 12, 1);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).offset, 0);
    weft_fault_disk_arm(
        faults,
        &(struct weft_fault){
            .kinds = WEFT_FAULT_SYNC, .nth = 1, .times = 1, .err = WEFT_ERR_DISK_FAILED, .path_suffix = ".log"});
    assert_int_equal(rig_produce_records(rig, &s_all, 1).header.error, WEFT_ERR_DISK_FAILED);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).header.error, WEFT_ERR_DISK_FAILED); // for ever (rule 11)
    assert_int_equal(rig_health(rig, sentence), WEFT_HEALTH_DEGRADED);
    assert_non_null(strstr(sentence, "orders/0"));
    const struct rig_produce other = {.topic = "other"};
    assert_int_equal(rig_produce_records(rig, &other, 1).header.error, WEFT_ERR_DISK_FAILED);
    rig_stop(rig);
    rig->disk = weft_disk_posix();
    weft_fault_disk_destroy(&faults);
    rig_up(rig, NULL);
    assert_false(rig->clean);
}

static void test_life__damaged_partition_is_named_and_the_others_serve(void **state)
{
    struct rig *rig = *state;
    char path[WEFT_TEST_PATH_BYTES], id[WEFT_ID_TEXT_BYTES], sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    rig_topic(rig, "other", 12, 1);
    for (int i = 0; i < 3; i++) rig_produce_records(rig, &s_all, 2);
    rig_advance(rig, 1000); // the checkpoint knows of it
    rig_kill(rig);
    weft_id_text(rig_id(10), id);
    snprintf(path, sizeof path, "%s/data/topics/%s/0/%020d.log", rig->directory, id, 0);
    weft_file_t *file;
    assert_ok(rig->disk->ops->open(rig->disk, path, WEFT_OPEN_WRITE, &file));
    const weft_slice_t junk = weft_slice_text("xxxxxxxx");
    assert_ok(rig->disk->ops->pwritev(file, &junk, 1, 100));
    rig->disk->ops->close(&file);
    rig_up(rig, NULL);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).header.error, WEFT_ERR_DAMAGED);
    assert_int_equal(rig_health(rig, sentence), WEFT_HEALTH_DEGRADED);
    assert_non_null(strstr(sentence, "orders/0"));
    const struct rig_produce other = {.topic = "other"};
    assert_int_equal(rig_produce_records(rig, &other, 1).offset, 0);
}

static void test_life__directory_that_is_gone_is_named_and_not_begun_anew(void **state)
{
    struct rig *rig = *state;
    char path[WEFT_TEST_PATH_BYTES], id[WEFT_ID_TEXT_BYTES], sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    for (int i = 0; i < 3; i++) rig_produce_records(rig, &s_all, 2);
    rig_stop(rig);
    weft_id_text(rig_id(10), id);
    snprintf(path, sizeof path, "%s/data/topics/%s", rig->directory, id);
    assert_ok(weft_disk_remove_tree(rig->disk, path));
    rig_up(rig, NULL);
    assert_int_equal(rig_produce_records(rig, &s_all, 1).header.error, WEFT_ERR_DAMAGED);
    assert_int_equal(rig_health(rig, sentence), WEFT_HEALTH_DEGRADED);
    assert_non_null(strstr(sentence, "orders/0"));
    // Its topic deleted, it is forgotten for good.
    rig_delete(rig, rig_id(10));
    rig_stop(rig);
    rig_up(rig, NULL);
    assert_int_equal(rig_counter(rig, WEFT_COUNT_ORPHANS), 0);
    assert_int_equal(rig_health(rig, sentence), WEFT_HEALTH_SERVING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, s_setup, s_teardown)
#define TEST_DOWN(name) cmocka_unit_test_setup_teardown(name, s_setup_down, s_teardown)
        TEST(test_life__clean_stop_and_start_keep_all_and_are_clean),
        TEST(test_life__kill_keeps_what_was_written_and_is_not_clean),
        TEST(test_life__stop_answers_what_waits_and_refuses_what_comes),
        TEST(test_life__directory_in_use_or_of_another_is_refused),
        TEST_DOWN(test_life__bad_options_are_refused_with_a_sentence),
        TEST_DOWN(test_life__shards_follow_ports_and_suffixes),
        TEST_DOWN(test_life__each_shard_holds_its_partitions_and_names_the_others),
        TEST(test_life__deleted_topic_is_gone_with_its_data),
        TEST(test_life__delete_while_a_sync_is_under_way_fails_its_waiters),
        TEST(test_life__delete_in_the_last_epoch_fails_its_waiters),
        TEST(test_life__topic_deleted_while_down_is_removed_at_the_start),
        TEST(test_life__data_that_nobody_knows_is_left_alone_and_counted),
        TEST(test_life__partitions_added_and_configuration_take_effect_live),
        TEST(test_life__retention_removes_segments_and_moves_the_start),
        TEST(test_life__full_disk_is_told_and_passes_by_itself),
        TEST(test_life__log_that_could_not_be_made_is_tried_again),
        TEST(test_life__failed_sync_gives_the_directory_up_and_acknowledges_nothing),
        TEST(test_life__damaged_partition_is_named_and_the_others_serve),
        TEST(test_life__directory_that_is_gone_is_named_and_not_begun_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
