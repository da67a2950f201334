// SPDX-License-Identifier: MPL-2.0
// Committed offsets at one broker: commits, fences, repeats, what is refused (REPLICATION.md rules 18 to 20).
#include "offsets_rig.h"

#define MINUTE_MS 60000

static int s_setup(void **state)
{
    static struct rig rig;
    rig_begin(&rig);
    rig_up(&rig, NULL);
    *state = &rig;
    return 0;
}

static int s_teardown(void **state)
{
    rig_end(*state);
    return 0;
}

static void test_offsets__before_there_is_a_topic_the_client_is_told_to_begin(void **state)
{
    struct rig *rig = *state;
    rig_topic(rig, "orders", 10, 4);
    struct weft_commit_entry entry = offsets_entry(0, 5, 0);
    struct weft_commit_reply reply = offsets_commit_all(rig, "g", 1, &entry, 1);
    assert_int_equal(reply.header.error, WEFT_ERR_UNKNOWN_TOPIC);
    assert_non_null(strstr((const char *) reply.header.message.data, "offsets_begin"));
}

static void test_offsets__a_commit_is_there_once_it_is_answered(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    assert_int_equal(offsets_committed(rig, "g", 1, 0).offset, -1);
    struct weft_commit_entry entry = offsets_entry(1, 5, 0);
    entry.metadata = weft_slice_text("mine");
    assert_int_equal(offsets_commit_all(rig, "g", 1, &entry, 1).header.error, WEFT_OK);
    struct weft_committed_offset found = offsets_committed(rig, "g", 1, 0);
    assert_int_equal(found.offset, 5);
    assert_int_equal(found.epoch, 3);
    assert_int_equal(found.error, 0);
    assert_slice(found.metadata, "mine");
    assert_slice(found.topic, "orders");
    assert_in_range(found.committed_ms, WEFT_FAKE_WALL_MS, WEFT_FAKE_WALL_MS + MINUTE_MS);
    assert_int_equal(offsets_committed(rig, "h", 1, 0).offset, -1);
    assert_int_equal(offsets_committed(rig, "g", 2, 0).offset, -1);
}

static void test_offsets__nothing_is_answered_before_it_is_durable(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    assert_int_equal(offsets_commit(rig, "g", 1, 1, 5, 0), WEFT_OK);
    weft_fake_world_hold(rig->world, offsets_sync_part(rig), true);
    struct weft_commit_entry entry = offsets_entry(1, 6, 0);
    (void) offsets_queue_commit(rig, "g", 2, &entry, 1);
    weft_fake_world_settle(rig->world);
    assert_int_equal(weft_fake_world_reply_count(rig->world), 0);
    assert_int_equal(offsets_committed(rig, "g", 1, 0).offset, 5);
    // A fence: judged by at once, answered when it is durable, with what is durable by then.
    struct weft_committed_entry look = {.topic = weft_slice_text("orders"), .partition = 1, .token = 7};
    offsets_queue_committed(rig, "g", &look, 1);
    weft_fake_world_settle(rig->world);
    assert_int_equal(weft_fake_world_reply_count(rig->world), 0);
    assert_int_equal(offsets_commit(rig, "g", 3, 1, 7, 0), WEFT_ERR_FENCED);
    weft_fake_world_hold(rig->world, offsets_sync_part(rig), false);
    weft_fake_world_settle(rig->world);
    assert_int_equal(offsets_take_commit(rig).header.error, WEFT_OK);
    struct weft_committed_reply reply = offsets_take_committed(rig);
    assert_int_equal(reply.offsets[0].offset, 6);
    assert_int_equal(reply.offsets[0].token, 7);
    assert_int_equal(offsets_committed(rig, "g", 1, 0).offset, 6);
}

static void test_offsets__what_comes_in_one_turn_is_one_batch(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    uint64_t before = rig_counter(rig, WEFT_COUNT_PRODUCE_BATCHES);
    struct weft_commit_entry entries[3] = {offsets_entry(0, 1, 0), offsets_entry(1, 2, 0), offsets_entry(2, 3, 0)};
    uint64_t ids[20];
    for (int i = 0; i < 20; i++) ids[i] = offsets_queue_commit(rig, "g", 1, entries, 3);
    weft_fake_world_settle(rig->world);
    for (int i = 0; i < 20; i++) {
        struct weft_commit_reply reply = offsets_take_commit(rig);
        assert_int_equal(reply.header.error, WEFT_OK);
        assert_int_equal(reply.header.id, ids[i]);
    }
    assert_int_equal(rig_counter(rig, WEFT_COUNT_PRODUCE_BATCHES) - before, 1);
}

static void test_offsets__some_are_refused_and_the_others_written(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    assert_int_equal(offsets_commit(rig, "g", 1, 0, 5, 9), WEFT_OK);
    char *large = weft_calloc(1, 5000);
    memset(large, 'x', 5000);
    struct weft_commit_entry entries[7] = {offsets_entry(0, 6, 8),  offsets_entry(1, 7, 8), offsets_entry(99, 1, 8),
                                           offsets_entry(2, -1, 8), offsets_entry(3, 1, 8), offsets_entry(3, 1, 8),
                                           offsets_entry(3, 1, 8)};
    entries[4].topic = weft_slice_text("nothing");
    entries[5].metadata = weft_slice(large, 5000);
    entries[6].topic_id = rig_id(77);
    struct weft_commit_reply reply = offsets_commit_all(rig, "g", 2, entries, 7);
    assert_int_equal(reply.header.error, WEFT_OK);
    static const struct {
        uint32_t index;
        weft_err_t error;
    } expected[] = {{0, WEFT_ERR_FENCED},        {2, WEFT_ERR_UNKNOWN_TOPIC},      {3, WEFT_ERR_INVALID_REQUEST},
                    {4, WEFT_ERR_UNKNOWN_TOPIC}, {5, WEFT_ERR_METADATA_TOO_LARGE}, {6, WEFT_ERR_TOPIC_REPLACED}};
    assert_int_equal(reply.refused_count, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(reply.refused[i].index, expected[i].index);
        assert_int_equal(reply.refused[i].error, expected[i].error);
        assert_true(reply.refused[i].message.size > 10);
    }
    assert_int_equal(offsets_committed(rig, "g", 1, 0).offset, 7);
    assert_int_equal(offsets_committed(rig, "g", 0, 0).offset, 5);
    // All of them: each has an error of its own. Of a single one the header has it.
    int64_t records = offsets_records(rig);
    reply = offsets_commit_all(rig, "g", 3, entries + 2, 2);
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_int_equal(reply.refused_count, 2);
    assert_int_equal(reply.refused[1].error, WEFT_ERR_INVALID_REQUEST);
    reply = offsets_commit_all(rig, "g", 3, entries + 2, 1);
    assert_int_equal(reply.header.error, WEFT_ERR_UNKNOWN_TOPIC);
    assert_int_equal(reply.refused_count, 0);
    assert_int_equal(offsets_records(rig), records);
    free(large);
}

static void test_offsets__a_lower_token_or_number_is_fenced(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    assert_int_equal(offsets_commit(rig, "g", 4, 0, 5, 9), WEFT_OK);
    assert_int_equal(offsets_commit(rig, "g", 9, 0, 6, 8), WEFT_ERR_FENCED);
    assert_int_equal(offsets_commit(rig, "g", 3, 0, 6, 9), WEFT_ERR_FENCED);
    assert_int_equal(offsets_commit(rig, "g", 9, 0, 6, 0), WEFT_ERR_FENCED); // a consumer outside the group
    assert_int_equal(offsets_commit(rig, "g", 5, 0, 7, 9), WEFT_OK);
    assert_int_equal(offsets_commit(rig, "g", 1, 0, 8, 12), WEFT_OK);
    assert_int_equal(offsets_committed(rig, "g", 0, 0).offset, 8);
}

static void test_offsets__a_repeat_is_answered_as_done_and_not_written_again(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    assert_int_equal(offsets_commit(rig, "g", 4, 0, 5, 9), WEFT_OK);
    int64_t records = offsets_records(rig);
    assert_int_equal(offsets_commit(rig, "g", 4, 0, 5, 9), WEFT_OK);
    assert_int_equal(offsets_records(rig), records);
    // While the first is not durable its repeat waits with it.
    weft_fake_world_hold(rig->world, offsets_sync_part(rig), true);
    struct weft_commit_entry entry = offsets_entry(0, 6, 9);
    (void) offsets_queue_commit(rig, "g", 5, &entry, 1);
    weft_fake_world_settle(rig->world);
    (void) offsets_queue_commit(rig, "g", 5, &entry, 1);
    weft_fake_world_settle(rig->world);
    assert_int_equal(weft_fake_world_reply_count(rig->world), 0);
    assert_int_equal(offsets_records(rig), records + 1);
    weft_fake_world_hold(rig->world, offsets_sync_part(rig), false);
    weft_fake_world_settle(rig->world);
    assert_int_equal(offsets_take_commit(rig).header.error, WEFT_OK);
    assert_int_equal(offsets_take_commit(rig).header.error, WEFT_OK);
}

static void test_offsets__asking_with_a_token_fences_lower_ones(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    assert_int_equal(offsets_commit(rig, "g", 4, 0, 5, 9), WEFT_OK);
    int64_t records = offsets_records(rig);
    struct weft_committed_offset found = offsets_committed(rig, "g", 0, 12);
    assert_int_equal(found.offset, 5);
    assert_int_equal(found.token, 12);
    assert_int_equal(offsets_records(rig), records + 1);
    found = offsets_committed(rig, "g", 0, 12); // the same: nothing to write
    assert_int_equal(found.offset, 5);
    assert_int_equal(offsets_records(rig), records + 1);
    assert_int_equal(offsets_commit(rig, "g", 5, 0, 6, 9), WEFT_ERR_FENCED);
    found = offsets_committed(rig, "g", 0, 11);
    assert_int_equal(found.error, WEFT_ERR_FENCED);
    assert_int_equal(found.token, 12);
    assert_int_equal(offsets_commit(rig, "g", 0, 0, 6, 12), WEFT_OK);
    // Where nothing was committed yet the fence stands alone.
    found = offsets_committed(rig, "g", 3, 13);
    assert_int_equal(found.offset, -1);
    assert_int_equal(found.committed_ms, -1);
    assert_int_equal(found.token, 13);
    assert_int_equal(offsets_commit(rig, "g", 1, 3, 6, 12), WEFT_ERR_FENCED);
    assert_int_equal(offsets_committed_all(rig, "g").offsets_count, 1); // a fence is no offset
}

static void test_offsets__both_survive_a_restart(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    for (uint64_t i = 1; i <= 50; i++)
        for (uint32_t p = 0; p < 4; p++)
            assert_int_equal(offsets_commit(rig, "g", i, p, (int64_t) i * 10 + p, 9), WEFT_OK);
    (void) offsets_committed(rig, "g", 2, 20);
    (void) offsets_committed(rig, "h", 2, 30);
    rig_kill(rig);
    rig_up(rig, NULL);
    rig_advance(rig, 50);
    for (uint32_t p = 0; p < 4; p++) assert_int_equal(offsets_committed(rig, "g", p, 0).offset, 500 + p);
    assert_int_equal(offsets_commit(rig, "g", 90, 2, 1, 19), WEFT_ERR_FENCED);
    assert_int_equal(offsets_commit(rig, "h", 90, 2, 1, 29), WEFT_ERR_FENCED);
    assert_int_equal(offsets_commit(rig, "g", 51, 1, 1, 9), WEFT_OK);
}

static void test_offsets__groups_are_listed_with_what_they_have(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    char group[16];
    for (int i = 0; i < 30; i++) {
        snprintf(group, sizeof group, "g-%02d", 29 - i);
        for (uint32_t p = 0; p < (uint32_t) (i % 4) + 1; p++)
            assert_int_equal(offsets_commit(rig, group, 1, p, 7, 0), WEFT_OK);
    }
    (void) offsets_committed(rig, "only-fenced", 0, 5);
    size_t count = 0;
    for (uint32_t p = 0; p < 2; p++) {
        struct weft_offsets_list_reply reply = offsets_list(rig, p);
        assert_int_equal(reply.header.error, WEFT_OK);
        count += reply.groups_count;
        for (size_t i = 0; i < reply.groups_count; i++) {
            assert_int_equal(weft_offsets_partition(reply.groups[i].group, 2), p);
            if (i > 0) assert_true(weft_slice_compare(reply.groups[i - 1].group, reply.groups[i].group) < 0);
            int number = atoi((const char *) reply.groups[i].group.data + 2);
            assert_int_equal(reply.groups[i].partitions, (29 - number) % 4 + 1);
            assert_true(reply.groups[i].committed_ms >= WEFT_FAKE_WALL_MS);
        }
    }
    assert_int_equal(count, 30);
    assert_int_equal(offsets_list(rig, 2).header.error, WEFT_ERR_UNKNOWN_TOPIC);
    struct weft_committed_reply all = offsets_committed_all(rig, "g-00");
    assert_int_equal(all.offsets_count, 2);
}

static void test_offsets__nobody_else_writes_there(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    const struct rig_produce how = {.topic = "__offsets"};
    struct weft_produce_reply reply = rig_produce_records(rig, &how, 3);
    assert_int_equal(reply.header.error, WEFT_ERR_INVALID_REQUEST);
    assert_non_null(strstr((const char *) reply.header.message.data, "commit"));
    struct weft_delete_records_request request;
    weft_delete_records_request_init(&request);
    request.id = rig->next_id++;
    request.topic = weft_slice_text("__offsets");
    request.before_offset = 0;
    weft_buf_clear(&rig->buf);
    weft_delete_records_request_encode(&request, &rig->buf);
    offsets_queue(rig);
    weft_fake_world_settle(rig->world);
    assert_int_equal(offsets_take_commit(rig).header.error, WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(offsets_commit(rig, "g", 1, 0, 5, 0), WEFT_OK);
    uint32_t records = 0;
    const struct rig_fetch fetch = {.topic = "__offsets", .partition = weft_offsets_partition(weft_slice_text("g"), 2)};
    rig_send_fetch(rig, &fetch); // but all may read
    assert_int_equal(rig_take_fetched(rig, &records).header.error, WEFT_OK);
    assert_int_equal(records, 1);
}

static void test_offsets__bad_names_are_refused(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    struct weft_commit_entry entry = offsets_entry(0, 5, 0);
    assert_int_equal(offsets_commit_all(rig, "", 1, &entry, 1).header.error, WEFT_ERR_INVALID_GROUP);
    assert_int_equal(offsets_commit_all(rig, "a\nb", 1, &entry, 1).header.error, WEFT_ERR_INVALID_GROUP);
    char *name = weft_calloc(1, 10241);
    memset(name, 'x', 10240);
    assert_int_equal(offsets_commit_all(rig, name, 1, &entry, 1).header.error, WEFT_ERR_INVALID_REQUEST);
    free(name);
    assert_int_equal(offsets_commit_all(rig, "g", 1, NULL, 0).header.error, WEFT_OK); // nothing to do
}

static void test_offsets__a_full_disk_takes_all_of_it_back(void **state)
{
    struct rig *rig = *state;
    rig_kill(rig);
    weft_fault_disk_t *disk = weft_fault_disk_new(weft_disk_posix());
    rig->disk = weft_fault_disk_of(disk);
    rig_up(rig, NULL);
    offsets_topics(rig);
    assert_int_equal(offsets_commit(rig, "g", 1, 0, 5, 3), WEFT_OK);
    const struct weft_fault fault = {
        .kinds = WEFT_FAULT_PWRITEV, .nth = 1, .err = WEFT_ERR_DISK_FULL, .path_suffix = ".log"};
    weft_fault_disk_arm(disk, &fault);
    assert_int_equal(offsets_commit(rig, "g", 2, 0, 6, 8), WEFT_ERR_DISK_FULL);
    weft_fault_disk_disarm(disk);
    assert_int_equal(offsets_committed(rig, "g", 0, 0).offset, 5);
    assert_int_equal(offsets_commit(rig, "g", 2, 0, 7, 4), WEFT_OK); // token 8 was never in force
    assert_int_equal(offsets_committed(rig, "g", 0, 0).offset, 7);
    rig_kill(rig);
    rig->disk = weft_disk_posix();
    weft_fault_disk_destroy(&disk);
}

static void test_offsets__too_many_that_wait_are_sent_away(void **state)
{
    struct rig *rig = *state;
    rig_kill(rig);
    static const char *const pairs[] = {"waiters=5", NULL};
    rig_up(rig, pairs);
    offsets_topics(rig);
    weft_fake_world_hold(rig->world, offsets_sync_part(rig), true);
    struct weft_commit_entry entry = offsets_entry(0, 5, 0);
    for (int i = 0; i < 7; i++) (void) offsets_queue_commit(rig, "g", 1, &entry, 1);
    weft_fake_world_settle(rig->world);
    for (int i = 0; i < 2; i++) {
        struct weft_commit_reply reply = offsets_take_commit(rig);
        assert_int_equal(reply.header.error, WEFT_ERR_OVERLOADED);
        assert_true(reply.header.retry_ms > 0);
    }
    weft_fake_world_hold(rig->world, offsets_sync_part(rig), false);
    weft_fake_world_settle(rig->world);
    for (int i = 0; i < 5; i++) assert_int_equal(offsets_take_commit(rig).header.error, WEFT_OK);
    assert_int_equal(offsets_commit(rig, "g", 1, 0, 6, 0), WEFT_OK);
}

static void test_offsets__memory_for_them_is_bounded(void **state)
{
    struct rig *rig = *state;
    rig_kill(rig);
    static const char *const pairs[] = {"offsets.bytes=64KiB", NULL};
    rig_up(rig, pairs);
    offsets_topics(rig);
    static char text[WEFT_OFFSET_METADATA_BYTES_MAX];
    memset(text, 'm', sizeof text);
    struct weft_commit_entry entry = offsets_entry(0, 5, 0);
    entry.metadata = weft_slice(text, sizeof text);
    char group[16];
    weft_err_t code = WEFT_OK;
    int count = 0;
    for (; count < 100 && code == WEFT_OK; count++) { // of both partitions of __offsets together
        snprintf(group, sizeof group, "g%d", count);
        code = offsets_commit_all(rig, group, 1, &entry, 1).header.error;
    }
    assert_int_equal(code, WEFT_ERR_OVERLOADED);
    assert_in_range(count, 13, 16);
    int large = count;
    for (code = WEFT_OK; count < 200 && code == WEFT_OK; count++) { // there is room for small ones
        snprintf(group, sizeof group, "g%d", count);
        code = offsets_commit(rig, group, 1, 0, 5, 0);
    }
    assert_int_equal(code, WEFT_ERR_OVERLOADED);
    assert_in_range(count, large + 2, large + 20);
    assert_int_equal(offsets_committed(rig, group, 0, 9).error, WEFT_ERR_OVERLOADED); // nor is a new fence kept
    assert_int_equal(offsets_delete(rig, group, 9, NULL, 0).header.error, WEFT_ERR_OVERLOADED);
    entry.offset = 7;
    assert_int_equal(offsets_commit_all(rig, "g0", 1, &entry, 1).header.error, WEFT_OK); // it does not grow
    assert_int_equal(offsets_committed(rig, "g0", 0, 0).offset, 7);
    assert_int_equal(offsets_delete(rig, "g1", 9, NULL, 0).deleted, 1);
    assert_int_equal(offsets_commit(rig, group, 1, 0, 6, 0), WEFT_OK);
}

static void test_offsets__who_waits_too_long_is_told(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    weft_fake_world_hold(rig->world, offsets_sync_part(rig), true);
    struct weft_commit_entry entry = offsets_entry(0, 5, 3);
    (void) offsets_queue_commit(rig, "g", 1, &entry, 1);
    rig_advance(rig, 31000);
    assert_int_equal(offsets_take_commit(rig).header.error, WEFT_ERR_TIMED_OUT);
    (void) offsets_queue_commit(rig, "g", 1, &entry, 1); // its repeat has nothing to wait with: it is written again
    weft_fake_world_settle(rig->world);
    assert_int_equal(weft_fake_world_reply_count(rig->world), 0);
    weft_fake_world_hold(rig->world, offsets_sync_part(rig), false);
    weft_fake_world_settle(rig->world);
    assert_int_equal(offsets_take_commit(rig).header.error, WEFT_OK);
}

static void test_offsets__a_stop_keeps_what_was_promised(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    struct weft_commit_entry entry = offsets_entry(0, 5, 3);
    (void) offsets_queue_commit(rig, "g", 1, &entry, 1);
    rig_stop(rig);
    rig_up(rig, NULL);
    rig_advance(rig, 50);
    assert_int_equal(offsets_committed(rig, "g", 0, 0).offset, 5);
}

#define OFFSETS_TEST(name) cmocka_unit_test_setup_teardown(test_offsets__##name, s_setup, s_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OFFSETS_TEST(before_there_is_a_topic_the_client_is_told_to_begin),
        OFFSETS_TEST(a_commit_is_there_once_it_is_answered),
        OFFSETS_TEST(nothing_is_answered_before_it_is_durable),
        OFFSETS_TEST(what_comes_in_one_turn_is_one_batch),
        OFFSETS_TEST(some_are_refused_and_the_others_written),
        OFFSETS_TEST(a_lower_token_or_number_is_fenced),
        OFFSETS_TEST(a_repeat_is_answered_as_done_and_not_written_again),
        OFFSETS_TEST(asking_with_a_token_fences_lower_ones),
        OFFSETS_TEST(both_survive_a_restart),
        OFFSETS_TEST(groups_are_listed_with_what_they_have),
        OFFSETS_TEST(nobody_else_writes_there),
        OFFSETS_TEST(bad_names_are_refused),
        OFFSETS_TEST(a_full_disk_takes_all_of_it_back),
        OFFSETS_TEST(too_many_that_wait_are_sent_away),
        OFFSETS_TEST(memory_for_them_is_bounded),
        OFFSETS_TEST(who_waits_too_long_is_told),
        OFFSETS_TEST(a_stop_keeps_what_was_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
