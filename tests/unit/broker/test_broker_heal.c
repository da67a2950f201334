// SPDX-License-Identifier: MPL-2.0
// Replicas that are lost, damaged, moved away or left without a leader.
#include "crew.h"

#include <unistd.h>

static int s_setup(void **state)
{
    struct crew *crew = weft_alloc(sizeof *crew);
    crew_begin(crew, 3, NULL);
    *state = crew;
    crew_topic(crew, CREW_TOPIC, 10, 1, 3, NULL, NULL);
    return 0;
}

static int s_teardown(void **state)
{
    struct crew *crew = *state;
    crew_end(crew);
    free(crew);
    return 0;
}

static const struct crew_produce s_plain = {.count = 10};

static void s_path(struct crew *crew, int32_t id, const char *rest, char path[WEFT_TEST_PATH_BYTES])
{
    char topic[WEFT_ID_TEXT_BYTES];
    weft_id_text(crew_id(10), topic);
    snprintf(path, WEFT_TEST_PATH_BYTES, "%s/data/topics/%s/0%s", crew_broker(crew, id)->directory, topic, rest);
}

static bool s_exists(struct crew *crew, int32_t id, const char *rest)
{
    char path[WEFT_TEST_PATH_BYTES];
    s_path(crew, id, rest, path);
    return access(path, F_OK) == 0;
}

// Flips a bit of the batch at the beginning of a replica's first segment.
static void s_rot(struct crew *crew, int32_t id)
{
    char path[WEFT_TEST_PATH_BYTES];
    uint8_t byte;
    size_t got;
    s_path(crew, id, "/00000000000000000000.log", path);
    const struct weft_disk *disk = weft_disk_posix();
    weft_file_t *file;
    assert_ok(disk->ops->open(disk, path, WEFT_OPEN_WRITE, &file));
    assert_ok(disk->ops->pread(file, &byte, 1, 100, &got));
    byte ^= 4;
    const weft_slice_t slice = weft_slice(&byte, 1);
    assert_ok(disk->ops->pwritev(file, &slice, 1, 100));
    disk->ops->close(&file);
}

// As the coordinator decides on a report of damage: it leaves the in-sync set, and another leads.
static void s_take_out(struct crew *crew, int32_t id)
{
    const struct weft_cluster_partition *partition = crew_partition(crew, 10, 0);
    int32_t isr[WEFT_REPLICAS_MAX];
    struct weft_partition_changed_command command;
    weft_partition_changed_command_init(&command);
    for (uint8_t i = 0; i < partition->isr_count; i++)
        if (partition->isr[i] != id) isr[command.isr_count++] = partition->isr[i];
    command.topic_id = crew_id(10);
    command.partition_epoch = partition->partition_epoch;
    command.leader = partition->leader == id ? -1 : partition->leader;
    command.isr = isr;
    command.damaged = &id;
    command.damaged_count = 1;
    weft_buf_clear(&crew->buf);
    weft_partition_changed_command_encode(&command, &crew->buf);
    assert_ok(crew_commit(crew));
    crew_settle(crew);
}

static void test_heal__a_replica_damaged_at_its_start_is_told_of_then_built_anew(void **state)
{
    struct crew *crew = *state;
    for (int i = 0; i < 3; i++) assert_int_equal(crew_produce(crew, 1, &s_plain).header.error, WEFT_OK);
    crew_advance(crew, 500); // the checkpoint
    crew_kill(crew, 3);
    s_rot(crew, 3);
    crew_up(crew, 3);
    // Whoever still takes it for the leader is sent on: nothing is lost, so nobody need stop for the damage.
    assert_int_equal(crew_produce(crew, 3, &s_plain).header.error, WEFT_ERR_NOT_LEADER);
    crew_advance(crew, 1500);
    // It is not in sync any more, and not eligible: set aside, and copied.
    crew_advance(crew, 3000);
    assert_int_equal(crew_counter(crew, 3, WEFT_COUNT_SET_ASIDE), 1);
    assert_true(s_exists(crew, 3, ".damaged"));
    assert_int_equal(crew_partition(crew, 10, 0)->isr_count, 3);
    assert_int_equal(crew_counter(crew, 3, WEFT_COUNT_PARTITIONS_REFUSED), 0);
    crew_assert_same(crew, 1, 3, 10, 0);
    // And stays so over another start.
    crew_kill(crew, 3);
    crew_up(crew, 3);
    crew_advance(crew, 3000);
    assert_int_equal(crew_counter(crew, 3, WEFT_COUNT_SET_ASIDE), 0);
    crew_assert_same(crew, 1, 3, 10, 0);
}

static void test_heal__a_leader_whose_file_rots_is_found_out_by_its_followers(void **state)
{
    struct crew *crew = *state;
    assert_int_equal(crew_produce(crew, 1, &s_plain).header.error, WEFT_OK);
    crew_kill(crew, 3);
    crew_fence(crew, 3);
    s_rot(crew, 1);
    // One that has to copy everything meets the bad batch: it lost its directory.
    char path[WEFT_TEST_PATH_BYTES];
    snprintf(path, sizeof path, "%s/data", crew_broker(crew, 3)->directory);
    assert_ok(weft_disk_remove_tree(weft_disk_posix(), path));
    crew_up(crew, 3);
    crew_advance(crew, 3000);
    assert_true(crew_counter(crew, 3, WEFT_COUNT_FOLLOWED_REFUSED) > 0);
    assert_int_equal(crew_counter(crew, 1, WEFT_COUNT_BATCHES_DAMAGED), 1);
    assert_true(crew_broker(crew, 1)->damaged_reports > 0);
    assert_int_equal(crew_partition(crew, 10, 0)->leader, 1); // until the coordinator decides
    s_take_out(crew, 1);
    assert_int_equal(crew_partition(crew, 10, 0)->leader, 2);
    crew_advance(crew, 4000);
    assert_int_equal(crew_partition(crew, 10, 0)->isr_count, 3);
    assert_int_equal(crew_counter(crew, 1, WEFT_COUNT_SET_ASIDE), 1);
    assert_int_equal(crew_counter(crew, 1, WEFT_COUNT_BATCHES_DAMAGED), 0);
    crew_assert_same(crew, 1, 2, 10, 0);
    crew_assert_same(crew, 2, 3, 10, 0);
    assert_int_equal(crew_produce(crew, 2, &s_plain).offset, 10);
}

static void test_heal__who_is_in_sync_is_not_emptied_however_damaged(void **state)
{
    struct crew *crew = *state;
    assert_int_equal(crew_produce(crew, 1, &s_plain).header.error, WEFT_OK);
    s_rot(crew, 1);
    struct weft_partition_status_request request;
    weft_partition_status_request_init(&request);
    request.id = 5;
    request.topic = weft_slice_text(CREW_TOPIC);
    request.suspect_offset = 3;
    weft_buf_clear(&crew->buf);
    weft_partition_status_request_encode(&request, &crew->buf);
    weft_fake_world_request(crew_broker(crew, 1)->world, 0, CREW_CLIENT, false, weft_buf_slice(&crew->buf),
                            WEFT_SLICE_NIL, false);
    crew_advance(crew, 3500);
    assert_in_range(crew_broker(crew, 1)->damaged_reports, 2, 5); // once a second
    assert_int_equal(crew_counter(crew, 1, WEFT_COUNT_SET_ASIDE), 0);
    crew_move_leader(crew, 10, 0, 2); // it follows, and is in sync yet: others may still elect it
    crew_advance(crew, 2000);
    assert_int_equal(crew_counter(crew, 1, WEFT_COUNT_SET_ASIDE), 0);
    assert_true(s_exists(crew, 1, ""));
    s_take_out(crew, 1);
    crew_advance(crew, 4000);
    assert_int_equal(crew_counter(crew, 1, WEFT_COUNT_SET_ASIDE), 1);
    assert_int_equal(crew_partition(crew, 10, 0)->isr_count, 3);
}

static void test_heal__without_a_leader_each_tells_what_it_has_once_that_is_synced(void **state)
{
    struct crew *crew = *state;
    assert_int_equal(crew_produce(crew, 1, &s_plain).header.error, WEFT_OK);
    // All go at once, and come back one after the other; nobody knows that their stop was harmless.
    for (int32_t id = 1; id <= 3; id++) crew_kill(crew, id);
    for (int32_t id = 1; id <= 3; id++) crew_fence(crew, id);
    for (int32_t id = 3; id >= 2; id--) crew_up(crew, id);
    crew_advance(crew, 1200);
    assert_int_equal(crew_partition(crew, 10, 0)->leader, -1);
    for (int32_t id = 2; id <= 3; id++) {
        assert_true(crew_broker(crew, id)->reports >= 1 && crew_broker(crew, id)->damaged_reports == 0);
        assert_int_equal(crew_broker(crew, id)->last_report.log_end, 10);
        assert_int_equal(crew_broker(crew, id)->last_report.last_epoch, 0);
    }
    struct weft_leader_elected_command command;
    weft_leader_elected_command_init(&command);
    command.topic_id = crew_id(10);
    command.partition_epoch = crew_partition(crew, 10, 0)->partition_epoch;
    command.leader = 3;
    command.incarnation = crew_broker(crew, 3)->incarnation;
    command.unclean = true; // a person's word: broker 1 was not heard
    weft_buf_clear(&crew->buf);
    weft_leader_elected_command_encode(&command, &crew->buf);
    assert_ok(crew_commit(crew));
    crew_up(crew, 1);
    crew_advance(crew, 3000);
    assert_int_equal(crew_partition(crew, 10, 0)->isr_count, 3);
    assert_int_equal(crew_produce(crew, 3, &s_plain).offset, 10);
    uint32_t reports = crew_broker(crew, 2)->reports;
    crew_advance(crew, 2500);
    assert_int_equal(crew_broker(crew, 2)->reports, reports); // there is a leader
}

static void s_reassign(struct crew *crew, int32_t *to, size_t count)
{
    struct weft_replica_move move = {.topic_id = crew_id(10),
                                     .partition = 0,
                                     .partition_epoch = crew_partition(crew, 10, 0)->partition_epoch,
                                     .replicas = to,
                                     .replicas_count = count};
    struct weft_reassigned_command command;
    weft_reassigned_command_init(&command);
    command.moves = &move;
    command.moves_count = 1;
    weft_buf_clear(&crew->buf);
    weft_reassigned_command_encode(&command, &crew->buf);
    assert_ok(crew_commit(crew));
    crew_settle(crew);
}

static void test_heal__a_replica_moved_away_is_removed_and_comes_back_empty(void **state)
{
    struct crew *crew = *state;
    for (int i = 0; i < 3; i++) assert_int_equal(crew_produce(crew, 1, &s_plain).header.error, WEFT_OK);
    int32_t two[] = {1, 2}, three[] = {1, 2, 3};
    weft_fake_world_hold(crew_broker(crew, 3)->world, ((struct weft_broker *) crew_broker(crew, 3)->node)->sync_id,
                         true);
    (void) crew_send(crew, 1, &s_plain);
    crew_advance(crew, 20); // broker 3 has a sync under way
    s_reassign(crew, two, 2);
    crew_advance(crew, 100);
    assert_int_equal(crew_partition(crew, 10, 0)->replica_count, 2);
    assert_true(s_exists(crew, 3, "")); // until its sync is back
    // It comes back meanwhile: the directory is not opened twice.
    s_reassign(crew, three, 3);
    crew_advance(crew, 100);
    weft_fake_world_hold(crew_broker(crew, 3)->world, ((struct weft_broker *) crew_broker(crew, 3)->node)->sync_id,
                         false);
    crew_advance(crew, 3000);
    assert_int_equal(crew_partition(crew, 10, 0)->isr_count, 3);
    crew_assert_same(crew, 1, 3, 10, 0);
    // Moved away while it is down: an orphan at its next start.
    crew_kill(crew, 3);
    crew_fence(crew, 3);
    s_reassign(crew, two, 2);
    assert_int_equal(crew_partition(crew, 10, 0)->replica_count, 2);
    assert_true(s_exists(crew, 3, ""));
    crew_up(crew, 3);
    crew_advance(crew, 500);
    assert_false(s_exists(crew, 3, ""));
    assert_int_equal(crew_counter(crew, 3, WEFT_COUNT_ORPHANS), 0);
}

// The leader hears of both in one. What it was told by the replica that was removed says nothing of the new one.
static void test_heal__one_that_came_back_empty_does_not_count_for_what_it_had(void **state)
{
    struct crew *crew = *state;
    for (int i = 0; i < 3; i++) assert_int_equal(crew_produce(crew, 1, &s_plain).header.error, WEFT_OK);
    crew_advance(crew, 1000);
    int32_t two[] = {1, 2}, three[] = {1, 2, 3};
    crew_broker(crew, 1)->deaf = true;
    s_reassign(crew, two, 2);
    crew_advance(crew, 50);
    assert_false(s_exists(crew, 3, ""));
    assert_int_equal(crew_broker(crew, 3)->reports, 0); // its end is nothing that it would tell
    crew->cut[1][3] = true;                             // it stays empty
    s_reassign(crew, three, 3);
    crew_broker(crew, 1)->pushed = 0; // as a snapshot
    crew_broker(crew, 1)->deaf = false;
    crew_advance(crew, 4000); // it names itself again
    assert_int_equal(crew_partition(crew, 10, 0)->isr_count, 2);
    crew->cut[1][3] = false;
    crew_advance(crew, 5000);
    assert_int_equal(crew_partition(crew, 10, 0)->isr_count, 3);
    crew_assert_same(crew, 1, 3, 10, 0);
}

static void test_heal__those_that_catch_up_are_throttled_and_the_live_ones_are_not(void **state)
{
    struct crew *crew = *state;
    const struct crew_produce big = {.count = 100, .value_bytes = 1000};
    crew_kill(crew, 3);
    crew_fence(crew, 3);
    for (int i = 0; i < 20; i++) assert_int_equal(crew_produce(crew, 1, &big).header.error, WEFT_OK); // 2 MB
    struct weft_config_entry entry = {.key = weft_slice_text("reassign.bytes"), .value = weft_slice_text("512KiB")};
    struct weft_cluster_altered_command command;
    weft_cluster_altered_command_init(&command);
    command.config = &entry;
    command.config_count = 1;
    weft_buf_clear(&crew->buf);
    weft_cluster_altered_command_encode(&command, &crew->buf);
    assert_ok(crew_commit(crew));
    char path[WEFT_TEST_PATH_BYTES];
    snprintf(path, sizeof path, "%s/data", crew_broker(crew, 3)->directory);
    assert_ok(weft_disk_remove_tree(weft_disk_posix(), path));
    crew_up(crew, 3);
    crew_advance(crew, 1000);
    uint64_t bytes = crew_counter(crew, 3, WEFT_COUNT_FOLLOWED_BYTES);
    assert_in_range(bytes, 1, 900000);
    assert_int_equal(crew_produce(crew, 1, &big).header.error, WEFT_OK);
    crew_advance(crew, 1000);
    assert_in_range(crew_counter(crew, 3, WEFT_COUNT_FOLLOWED_BYTES) - bytes, 300000, 900000);
    crew_advance(crew, 5000);
    assert_int_equal(crew_partition(crew, 10, 0)->isr_count, 3);
    crew_assert_same(crew, 1, 3, 10, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_heal__a_replica_damaged_at_its_start_is_told_of_then_built_anew, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_heal__a_leader_whose_file_rots_is_found_out_by_its_followers, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_heal__who_is_in_sync_is_not_emptied_however_damaged, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_heal__without_a_leader_each_tells_what_it_has_once_that_is_synced, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_heal__a_replica_moved_away_is_removed_and_comes_back_empty, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_heal__one_that_came_back_empty_does_not_count_for_what_it_had, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_heal__those_that_catch_up_are_throttled_and_the_live_ones_are_not, s_setup,
                                        s_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
