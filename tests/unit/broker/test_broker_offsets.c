// SPDX-License-Identifier: MPL-2.0
// Committed offsets at one broker: commits, fences, repeats, deletion, expiry, what is refused (REPLICATION.md rules 18
// to 20).
#include "rig.h"

#include "../../../lib/core/offsets.h"

#define MINUTES 60000

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

static void s_topics(struct rig *rig)
{
    rig_topic(rig, "orders", 10, 4);
    rig_topic(rig, "__offsets", 11, 2);
    rig_advance(rig, 20);
}

// ---- what clients send

static struct weft_commit_entry s_entry(uint32_t partition, int64_t offset, uint64_t token)
{
    return (struct weft_commit_entry){
        .topic = weft_slice_text("orders"), .partition = partition, .offset = offset, .epoch = 3, .token = token};
}

static void s_queue(struct rig *rig)
{
    weft_fake_world_queue(rig->world, 0, 1, false, weft_buf_slice(&rig->buf), WEFT_SLICE_NIL, false);
}

static uint64_t s_queue_commit(struct rig *rig, const char *group, uint64_t n, struct weft_commit_entry *entries,
                               size_t count)
{
    struct weft_commit_request request;
    weft_commit_request_init(&request);
    request.id = rig->next_id++;
    request.group = weft_slice_text(group);
    request.n = n;
    request.entries = entries;
    request.entries_count = count;
    weft_buf_clear(&rig->buf);
    weft_commit_request_encode(&request, &rig->buf);
    s_queue(rig);
    return request.id;
}

static struct weft_commit_reply s_take_commit(struct rig *rig)
{
    struct weft_commit_reply reply;
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
    assert_non_null(sent);
    assert_ok(weft_commit_reply_decode(&rig->codec, weft_buf_slice(&sent->header), &reply, &rig->error));
    return reply;
}

static struct weft_commit_reply s_commit_all(struct rig *rig, const char *group, uint64_t n,
                                             struct weft_commit_entry *entries, size_t count)
{
    uint64_t id = s_queue_commit(rig, group, n, entries, count);
    weft_fake_world_settle(rig->world);
    struct weft_commit_reply reply = s_take_commit(rig);
    assert_int_equal(reply.header.id, id);
    assert_int_equal(weft_fake_world_reply_count(rig->world), 0);
    return reply;
}

static weft_err_t s_commit(struct rig *rig, const char *group, uint64_t n, uint32_t partition, int64_t offset,
                           uint64_t token)
{
    struct weft_commit_entry entry = s_entry(partition, offset, token);
    struct weft_commit_reply reply = s_commit_all(rig, group, n, &entry, 1);
    assert_int_equal(reply.refused_count, 0);
    return reply.header.error;
}

static void s_queue_committed(struct rig *rig, const char *group, struct weft_committed_entry *entries, size_t count)
{
    struct weft_committed_request request;
    weft_committed_request_init(&request);
    request.id = rig->next_id++;
    request.group = weft_slice_text(group);
    request.entries = entries;
    request.entries_count = count;
    weft_buf_clear(&rig->buf);
    weft_committed_request_encode(&request, &rig->buf);
    s_queue(rig);
}

static struct weft_committed_reply s_take_committed(struct rig *rig)
{
    struct weft_committed_reply reply;
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
    assert_non_null(sent);
    assert_ok(weft_committed_reply_decode(&rig->codec, weft_buf_slice(&sent->header), &reply, &rig->error));
    return reply;
}

static struct weft_committed_reply s_committed_all(struct rig *rig, const char *group)
{
    s_queue_committed(rig, group, NULL, 0);
    weft_fake_world_settle(rig->world);
    return s_take_committed(rig);
}

static struct weft_committed_offset s_committed(struct rig *rig, const char *group, uint32_t partition, uint64_t token)
{
    struct weft_committed_entry entry = {.topic = weft_slice_text("orders"), .partition = partition, .token = token};
    s_queue_committed(rig, group, &entry, 1);
    weft_fake_world_settle(rig->world);
    struct weft_committed_reply reply = s_take_committed(rig);
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_int_equal(reply.offsets_count, 1);
    return reply.offsets[0];
}

static struct weft_offsets_delete_reply s_delete(struct rig *rig, const char *group, uint64_t token,
                                                 struct weft_committed_entry *entries, size_t count)
{
    struct weft_offsets_delete_request request;
    weft_offsets_delete_request_init(&request);
    request.id = rig->next_id++;
    request.group = weft_slice_text(group);
    request.token = token;
    request.entries = entries;
    request.entries_count = count;
    weft_buf_clear(&rig->buf);
    weft_offsets_delete_request_encode(&request, &rig->buf);
    s_queue(rig);
    weft_fake_world_settle(rig->world);
    struct weft_offsets_delete_reply reply;
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
    assert_non_null(sent);
    assert_ok(weft_offsets_delete_reply_decode(&rig->codec, weft_buf_slice(&sent->header), &reply, &rig->error));
    return reply;
}

static struct weft_offsets_list_reply s_list(struct rig *rig, uint32_t partition)
{
    struct weft_offsets_list_request request = {.id = rig->next_id++, .partition = partition};
    weft_buf_clear(&rig->buf);
    weft_offsets_list_request_encode(&request, &rig->buf);
    s_queue(rig);
    weft_fake_world_settle(rig->world);
    struct weft_offsets_list_reply reply;
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
    assert_non_null(sent);
    assert_ok(weft_offsets_list_reply_decode(&rig->codec, weft_buf_slice(&sent->header), &reply, &rig->error));
    return reply;
}

// Records in both partitions of __offsets.
static int64_t s_records(struct rig *rig)
{
    return (int64_t) rig_counter(rig, WEFT_COUNT_PRODUCE_RECORDS);
}

static weft_part_id_t s_sync_part(const struct rig *rig)
{
    return rig->node->parts[rig->node->part_count - 1];
}

// ---- tests

static void test_offsets__before_there_is_a_topic_the_client_is_told_to_begin(void **state)
{
    struct rig *rig = *state;
    rig_topic(rig, "orders", 10, 4);
    struct weft_commit_entry entry = s_entry(0, 5, 0);
    struct weft_commit_reply reply = s_commit_all(rig, "g", 1, &entry, 1);
    assert_int_equal(reply.header.error, WEFT_ERR_UNKNOWN_TOPIC);
    assert_non_null(strstr((const char *) reply.header.message.data, "offsets_begin"));
}

static void test_offsets__a_commit_is_there_once_it_is_answered(void **state)
{
    struct rig *rig = *state;
    s_topics(rig);
    assert_int_equal(s_committed(rig, "g", 1, 0).offset, -1);
    struct weft_commit_entry entry = s_entry(1, 5, 0);
    entry.metadata = weft_slice_text("mine");
    assert_int_equal(s_commit_all(rig, "g", 1, &entry, 1).header.error, WEFT_OK);
    struct weft_committed_offset found = s_committed(rig, "g", 1, 0);
    assert_int_equal(found.offset, 5);
    assert_int_equal(found.epoch, 3);
    assert_int_equal(found.error, 0);
    assert_slice(found.metadata, "mine");
    assert_slice(found.topic, "orders");
    assert_in_range(found.committed_ms, WEFT_FAKE_WALL_MS, WEFT_FAKE_WALL_MS + MINUTES);
    assert_int_equal(s_committed(rig, "h", 1, 0).offset, -1);
    assert_int_equal(s_committed(rig, "g", 2, 0).offset, -1);
}

static void test_offsets__nothing_is_answered_before_it_is_durable(void **state)
{
    struct rig *rig = *state;
    s_topics(rig);
    assert_int_equal(s_commit(rig, "g", 1, 1, 5, 0), WEFT_OK);
    weft_fake_world_hold(rig->world, s_sync_part(rig), true);
    struct weft_commit_entry entry = s_entry(1, 6, 0);
    (void) s_queue_commit(rig, "g", 2, &entry, 1);
    weft_fake_world_settle(rig->world);
    assert_int_equal(weft_fake_world_reply_count(rig->world), 0);
    assert_int_equal(s_committed(rig, "g", 1, 0).offset, 5);
    // A fence: judged by at once, answered when it is durable, with what is durable by then.
    struct weft_committed_entry look = {.topic = weft_slice_text("orders"), .partition = 1, .token = 7};
    s_queue_committed(rig, "g", &look, 1);
    weft_fake_world_settle(rig->world);
    assert_int_equal(weft_fake_world_reply_count(rig->world), 0);
    assert_int_equal(s_commit(rig, "g", 3, 1, 7, 0), WEFT_ERR_FENCED);
    weft_fake_world_hold(rig->world, s_sync_part(rig), false);
    weft_fake_world_settle(rig->world);
    assert_int_equal(s_take_commit(rig).header.error, WEFT_OK);
    struct weft_committed_reply reply = s_take_committed(rig);
    assert_int_equal(reply.offsets[0].offset, 6);
    assert_int_equal(reply.offsets[0].token, 7);
    assert_int_equal(s_committed(rig, "g", 1, 0).offset, 6);
}

static void test_offsets__what_comes_in_one_turn_is_one_batch(void **state)
{
    struct rig *rig = *state;
    s_topics(rig);
    uint64_t before = rig_counter(rig, WEFT_COUNT_PRODUCE_BATCHES);
    struct weft_commit_entry entries[3] = {s_entry(0, 1, 0), s_entry(1, 2, 0), s_entry(2, 3, 0)};
    uint64_t ids[20];
    for (int i = 0; i < 20; i++) ids[i] = s_queue_commit(rig, "g", 1, entries, 3);
    weft_fake_world_settle(rig->world);
    for (int i = 0; i < 20; i++) {
        struct weft_commit_reply reply = s_take_commit(rig);
        assert_int_equal(reply.header.error, WEFT_OK);
        assert_int_equal(reply.header.id, ids[i]);
    }
    assert_int_equal(rig_counter(rig, WEFT_COUNT_PRODUCE_BATCHES) - before, 1);
}

static void test_offsets__some_are_refused_and_the_others_written(void **state)
{
    struct rig *rig = *state;
    s_topics(rig);
    assert_int_equal(s_commit(rig, "g", 1, 0, 5, 9), WEFT_OK);
    char *large = weft_calloc(1, 5000);
    memset(large, 'x', 5000);
    struct weft_commit_entry entries[7] = {s_entry(0, 6, 8), s_entry(1, 7, 8), s_entry(99, 1, 8), s_entry(2, -1, 8),
                                           s_entry(3, 1, 8), s_entry(3, 1, 8), s_entry(3, 1, 8)};
    entries[4].topic = weft_slice_text("nothing");
    entries[5].metadata = weft_slice(large, 5000);
    entries[6].topic_id = rig_id(77);
    struct weft_commit_reply reply = s_commit_all(rig, "g", 2, entries, 7);
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
    assert_int_equal(s_committed(rig, "g", 1, 0).offset, 7);
    assert_int_equal(s_committed(rig, "g", 0, 0).offset, 5);
    // All of them: the first one's error stands in the header, and nothing was written.
    int64_t records = s_records(rig);
    reply = s_commit_all(rig, "g", 3, entries + 2, 2);
    assert_int_equal(reply.header.error, WEFT_ERR_UNKNOWN_TOPIC);
    assert_int_equal(reply.refused_count, 0);
    assert_int_equal(s_records(rig), records);
    free(large);
}

static void test_offsets__a_lower_token_or_number_is_fenced(void **state)
{
    struct rig *rig = *state;
    s_topics(rig);
    assert_int_equal(s_commit(rig, "g", 4, 0, 5, 9), WEFT_OK);
    assert_int_equal(s_commit(rig, "g", 9, 0, 6, 8), WEFT_ERR_FENCED);
    assert_int_equal(s_commit(rig, "g", 3, 0, 6, 9), WEFT_ERR_FENCED);
    assert_int_equal(s_commit(rig, "g", 9, 0, 6, 0), WEFT_ERR_FENCED); // a consumer outside the group
    assert_int_equal(s_commit(rig, "g", 5, 0, 7, 9), WEFT_OK);
    assert_int_equal(s_commit(rig, "g", 1, 0, 8, 12), WEFT_OK);
    assert_int_equal(s_committed(rig, "g", 0, 0).offset, 8);
}

static void test_offsets__a_repeat_is_answered_as_done_and_not_written_again(void **state)
{
    struct rig *rig = *state;
    s_topics(rig);
    assert_int_equal(s_commit(rig, "g", 4, 0, 5, 9), WEFT_OK);
    int64_t records = s_records(rig);
    assert_int_equal(s_commit(rig, "g", 4, 0, 5, 9), WEFT_OK);
    assert_int_equal(s_records(rig), records);
    // While the first is not durable its repeat waits with it.
    weft_fake_world_hold(rig->world, s_sync_part(rig), true);
    struct weft_commit_entry entry = s_entry(0, 6, 9);
    (void) s_queue_commit(rig, "g", 5, &entry, 1);
    weft_fake_world_settle(rig->world);
    (void) s_queue_commit(rig, "g", 5, &entry, 1);
    weft_fake_world_settle(rig->world);
    assert_int_equal(weft_fake_world_reply_count(rig->world), 0);
    assert_int_equal(s_records(rig), records + 1);
    weft_fake_world_hold(rig->world, s_sync_part(rig), false);
    weft_fake_world_settle(rig->world);
    assert_int_equal(s_take_commit(rig).header.error, WEFT_OK);
    assert_int_equal(s_take_commit(rig).header.error, WEFT_OK);
}

static void test_offsets__asking_with_a_token_fences_lower_ones(void **state)
{
    struct rig *rig = *state;
    s_topics(rig);
    assert_int_equal(s_commit(rig, "g", 4, 0, 5, 9), WEFT_OK);
    int64_t records = s_records(rig);
    struct weft_committed_offset found = s_committed(rig, "g", 0, 12);
    assert_int_equal(found.offset, 5);
    assert_int_equal(found.token, 12);
    assert_int_equal(s_records(rig), records + 1);
    found = s_committed(rig, "g", 0, 12); // the same: nothing to write
    assert_int_equal(found.offset, 5);
    assert_int_equal(s_records(rig), records + 1);
    assert_int_equal(s_commit(rig, "g", 5, 0, 6, 9), WEFT_ERR_FENCED);
    found = s_committed(rig, "g", 0, 11);
    assert_int_equal(found.error, WEFT_ERR_FENCED);
    assert_int_equal(found.token, 12);
    assert_int_equal(s_commit(rig, "g", 0, 0, 6, 12), WEFT_OK);
    // Where nothing was committed yet the fence stands alone.
    found = s_committed(rig, "g", 3, 13);
    assert_int_equal(found.offset, -1);
    assert_int_equal(found.committed_ms, -1);
    assert_int_equal(found.token, 13);
    assert_int_equal(s_commit(rig, "g", 1, 3, 6, 12), WEFT_ERR_FENCED);
    assert_int_equal(s_committed_all(rig, "g").offsets_count, 1); // a fence is no offset
}

static void test_offsets__both_survive_a_restart(void **state)
{
    struct rig *rig = *state;
    s_topics(rig);
    for (uint64_t i = 1; i <= 50; i++)
        for (uint32_t p = 0; p < 4; p++) assert_int_equal(s_commit(rig, "g", i, p, (int64_t) i * 10 + p, 9), WEFT_OK);
    (void) s_committed(rig, "g", 2, 20);
    (void) s_committed(rig, "h", 2, 30);
    rig_kill(rig);
    rig_up(rig, NULL);
    rig_advance(rig, 50);
    for (uint32_t p = 0; p < 4; p++) assert_int_equal(s_committed(rig, "g", p, 0).offset, 500 + p);
    assert_int_equal(s_commit(rig, "g", 90, 2, 1, 19), WEFT_ERR_FENCED);
    assert_int_equal(s_commit(rig, "h", 90, 2, 1, 29), WEFT_ERR_FENCED);
    assert_int_equal(s_commit(rig, "g", 51, 1, 1, 9), WEFT_OK);
}

static void test_offsets__groups_are_listed_with_what_they_have(void **state)
{
    struct rig *rig = *state;
    s_topics(rig);
    char group[16];
    for (int i = 0; i < 30; i++) {
        snprintf(group, sizeof group, "g-%02d", 29 - i);
        for (uint32_t p = 0; p < (uint32_t) (i % 4) + 1; p++)
            assert_int_equal(s_commit(rig, group, 1, p, 7, 0), WEFT_OK);
    }
    (void) s_committed(rig, "only-fenced", 0, 5);
    size_t count = 0;
    for (uint32_t p = 0; p < 2; p++) {
        struct weft_offsets_list_reply reply = s_list(rig, p);
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
    assert_int_equal(s_list(rig, 2).header.error, WEFT_ERR_UNKNOWN_TOPIC);
    struct weft_committed_reply all = s_committed_all(rig, "g-00");
    assert_int_equal(all.offsets_count, 2);
}

static void test_offsets__deleting_some_leaves_their_fences(void **state)
{
    struct rig *rig = *state;
    s_topics(rig);
    for (uint32_t p = 0; p < 4; p++) assert_int_equal(s_commit(rig, "g", 1, p, 7, 5), WEFT_OK);
    struct weft_committed_entry entries[2] = {{.topic = weft_slice_text("orders"), .partition = 1},
                                              {.topic_id = rig_id(10), .partition = 2}};
    assert_int_equal(s_delete(rig, "g", 4, entries, 2).header.error, WEFT_ERR_FENCED);
    assert_int_equal(s_delete(rig, "g", 0, entries, 2).header.error, WEFT_ERR_INVALID_REQUEST);
    struct weft_offsets_delete_reply reply = s_delete(rig, "g", 9, entries, 2);
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_int_equal(reply.deleted, 2);
    assert_int_equal(s_committed(rig, "g", 1, 0).offset, -1);
    assert_int_equal(s_committed(rig, "g", 0, 0).offset, 7);
    assert_int_equal(s_commit(rig, "g", 2, 1, 8, 5), WEFT_ERR_FENCED);
    assert_int_equal(s_commit(rig, "g", 2, 0, 8, 5), WEFT_OK);
    assert_int_equal(s_commit(rig, "g", 2, 1, 8, 9), WEFT_OK);
}

static void test_offsets__deleting_a_group_fences_its_past(void **state)
{
    struct rig *rig = *state;
    s_topics(rig);
    for (uint32_t p = 0; p < 3; p++) assert_int_equal(s_commit(rig, "g", 1, p, 7, 5), WEFT_OK);
    assert_int_equal(s_commit(rig, "g", 1, 3, 7, 20), WEFT_OK); // of a newer life
    struct weft_offsets_delete_reply reply = s_delete(rig, "g", 9, NULL, 0);
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_int_equal(reply.deleted, 3);
    struct weft_committed_reply all = s_committed_all(rig, "g");
    assert_int_equal(all.offsets_count, 1);
    assert_int_equal(all.offsets[0].partition, 3);
    assert_int_equal(s_commit(rig, "g", 2, 1, 8, 8), WEFT_ERR_FENCED);
    assert_int_equal(s_commit(rig, "g", 2, 1, 8, 0), WEFT_ERR_FENCED);
    assert_int_equal(s_delete(rig, "g", 8, NULL, 0).header.error, WEFT_ERR_FENCED);
    reply = s_delete(rig, "g", 9, NULL, 0); // a retry
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_int_equal(reply.deleted, 0);
    assert_int_equal(s_commit(rig, "g", 0, 1, 8, 9), WEFT_OK);
    assert_int_equal(s_delete(rig, "never", 9, NULL, 0).deleted, 0);
}

static void test_offsets__a_large_group_is_deleted_in_portions(void **state)
{
    struct rig *rig = *state;
    s_topics(rig);
    rig_topic(rig, "wide", 12, 64);
    struct weft_commit_entry entries[64];
    for (uint32_t p = 0; p < 64; p++)
        entries[p] = (struct weft_commit_entry){
            .topic = weft_slice_text("wide"), .partition = p, .offset = 3, .epoch = -1, .token = 2};
    assert_int_equal(s_commit_all(rig, "g", 1, entries, 64).header.error, WEFT_OK);
    assert_int_equal(s_delete(rig, "g", 9, NULL, 0).deleted, 64);
    assert_int_equal(s_committed_all(rig, "g").offsets_count, 0);
}

static void test_offsets__nobody_else_writes_there(void **state)
{
    struct rig *rig = *state;
    s_topics(rig);
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
    s_queue(rig);
    weft_fake_world_settle(rig->world);
    assert_int_equal(s_take_commit(rig).header.error, WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(s_commit(rig, "g", 1, 0, 5, 0), WEFT_OK);
    uint32_t records = 0;
    const struct rig_fetch fetch = {.topic = "__offsets", .partition = weft_offsets_partition(weft_slice_text("g"), 2)};
    rig_send_fetch(rig, &fetch); // but all may read
    assert_int_equal(rig_take_fetched(rig, &records).header.error, WEFT_OK);
    assert_int_equal(records, 1);
}

static void test_offsets__bad_names_are_refused(void **state)
{
    struct rig *rig = *state;
    s_topics(rig);
    struct weft_commit_entry entry = s_entry(0, 5, 0);
    assert_int_equal(s_commit_all(rig, "", 1, &entry, 1).header.error, WEFT_ERR_INVALID_GROUP);
    assert_int_equal(s_commit_all(rig, "a\nb", 1, &entry, 1).header.error, WEFT_ERR_INVALID_GROUP);
    char *name = weft_calloc(1, 10241);
    memset(name, 'x', 10240);
    assert_int_equal(s_commit_all(rig, name, 1, &entry, 1).header.error, WEFT_ERR_INVALID_REQUEST);
    free(name);
    assert_int_equal(s_commit_all(rig, "g", 1, NULL, 0).header.error, WEFT_OK); // nothing to do
}

static void test_offsets__a_full_disk_takes_all_of_it_back(void **state)
{
    struct rig *rig = *state;
    rig_kill(rig);
    weft_fault_disk_t *disk = weft_fault_disk_new(weft_disk_posix());
    rig->disk = weft_fault_disk_of(disk);
    rig_up(rig, NULL);
    s_topics(rig);
    assert_int_equal(s_commit(rig, "g", 1, 0, 5, 3), WEFT_OK);
    const struct weft_fault fault = {
        .kinds = WEFT_FAULT_PWRITEV, .nth = 1, .err = WEFT_ERR_DISK_FULL, .path_suffix = ".log"};
    weft_fault_disk_arm(disk, &fault);
    assert_int_equal(s_commit(rig, "g", 2, 0, 6, 8), WEFT_ERR_DISK_FULL);
    weft_fault_disk_disarm(disk);
    assert_int_equal(s_committed(rig, "g", 0, 0).offset, 5);
    assert_int_equal(s_commit(rig, "g", 2, 0, 7, 4), WEFT_OK); // token 8 was never in force
    assert_int_equal(s_committed(rig, "g", 0, 0).offset, 7);
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
    s_topics(rig);
    weft_fake_world_hold(rig->world, s_sync_part(rig), true);
    struct weft_commit_entry entry = s_entry(0, 5, 0);
    for (int i = 0; i < 7; i++) (void) s_queue_commit(rig, "g", 1, &entry, 1);
    weft_fake_world_settle(rig->world);
    for (int i = 0; i < 2; i++) {
        struct weft_commit_reply reply = s_take_commit(rig);
        assert_int_equal(reply.header.error, WEFT_ERR_OVERLOADED);
        assert_true(reply.header.retry_ms > 0);
    }
    weft_fake_world_hold(rig->world, s_sync_part(rig), false);
    weft_fake_world_settle(rig->world);
    for (int i = 0; i < 5; i++) assert_int_equal(s_take_commit(rig).header.error, WEFT_OK);
    assert_int_equal(s_commit(rig, "g", 1, 0, 6, 0), WEFT_OK);
}

static void test_offsets__who_waits_too_long_is_told(void **state)
{
    struct rig *rig = *state;
    s_topics(rig);
    weft_fake_world_hold(rig->world, s_sync_part(rig), true);
    struct weft_commit_entry entry = s_entry(0, 5, 3);
    (void) s_queue_commit(rig, "g", 1, &entry, 1);
    rig_advance(rig, 31000);
    assert_int_equal(s_take_commit(rig).header.error, WEFT_ERR_TIMED_OUT);
    (void) s_queue_commit(rig, "g", 1, &entry, 1); // its repeat has nothing to wait with: it is written again
    weft_fake_world_settle(rig->world);
    assert_int_equal(weft_fake_world_reply_count(rig->world), 0);
    weft_fake_world_hold(rig->world, s_sync_part(rig), false);
    weft_fake_world_settle(rig->world);
    assert_int_equal(s_take_commit(rig).header.error, WEFT_OK);
}

static void test_offsets__a_stop_keeps_what_was_promised(void **state)
{
    struct rig *rig = *state;
    s_topics(rig);
    struct weft_commit_entry entry = s_entry(0, 5, 3);
    (void) s_queue_commit(rig, "g", 1, &entry, 1);
    rig_stop(rig);
    rig_up(rig, NULL);
    rig_advance(rig, 50);
    assert_int_equal(s_committed(rig, "g", 0, 0).offset, 5);
}

// ---- expiry

static void s_set_retention(struct rig *rig, const char *text)
{
    struct weft_config_entry config = {.key = weft_slice_text("offsets.retention.ms"), .value = weft_slice_text(text)};
    struct weft_cluster_altered_command command;
    weft_cluster_altered_command_init(&command);
    command.config = &config;
    command.config_count = 1;
    weft_buf_clear(&rig->buf);
    weft_cluster_altered_command_encode(&command, &rig->buf);
    rig_commit(rig);
    rig_push(rig, rig->index - 1, false);
}

static weft_err_t s_refuse_checks;

// Moves the clock; answers group_check: known are those whose name begins with 'k'. Returns how many were asked about.
static size_t s_live(struct rig *rig, int64_t ms)
{
    size_t asked = 0;
    for (int64_t at = 0; at < ms; at += 10) {
        weft_fake_world_advance(rig->world, 10000);
        const struct weft_fake_sent *sent;
        while ((sent = weft_fake_world_take_sent(rig->world)) != NULL) {
            weft_buf_t header;
            weft_buf_init(&header);
            weft_buf_append(&header, sent->header.data, sent->header.size);
            struct weft_request_header request = {.api = WEFT_API_UNKNOWN};
            assert_ok(weft_request_header_decode(weft_buf_slice(&header), &request, &rig->error));
            if (request.api == WEFT_API_BROKER_HEARTBEAT) rig_on_heartbeat(rig, weft_buf_slice(&header));
            if (request.api == WEFT_API_GROUP_CHECK) {
                struct weft_group_check_request check;
                assert_ok(weft_group_check_request_decode(&rig->codec, weft_buf_slice(&header), &check, &rig->error));
                bool known[64];
                assert_true(check.groups_count <= 64);
                for (size_t i = 0; i < check.groups_count; i++) known[i] = check.groups[i].data[0] == 'k';
                asked += check.groups_count;
                struct weft_group_check_reply reply;
                weft_group_check_reply_init(&reply);
                reply.header.id = check.id;
                reply.header.error = s_refuse_checks;
                reply.known = known;
                reply.known_count = check.groups_count;
                weft_buf_t bytes;
                weft_buf_init(&bytes);
                weft_group_check_reply_encode(&reply, &bytes);
                weft_fake_world_from(rig->world, RIG_COORDINATOR, weft_buf_slice(&bytes), WEFT_SLICE_NIL);
                weft_buf_fini(&bytes);
            }
            weft_buf_fini(&header);
        }
    }
    return asked;
}

static void test_offsets__of_groups_that_nobody_knows_they_expire(void **state)
{
    struct rig *rig = *state;
    s_set_retention(rig, "5000");
    s_topics(rig);
    for (uint32_t p = 0; p < 4; p++) {
        assert_int_equal(s_commit(rig, "known", 1, p, 7, 5), WEFT_OK);
        assert_int_equal(s_commit(rig, "unknown", 1, p, 7, 5), WEFT_OK);
    }
    assert_int_equal(s_delete(rig, "unfenced", 3, NULL, 0).header.error, WEFT_OK);
    assert_int_equal(s_live(rig, 4000), 0);
    assert_int_equal(s_commit(rig, "unknown", 2, 3, 8, 5), WEFT_OK); // this one is young
    assert_true(s_live(rig, 3000) > 0);
    assert_int_equal(s_committed_all(rig, "known").offsets_count, 4);
    struct weft_committed_reply reply = s_committed_all(rig, "unknown");
    assert_int_equal(reply.offsets_count, 1);
    assert_int_equal(reply.offsets[0].offset, 8);
    assert_int_equal(s_commit(rig, "unfenced", 1, 0, 8, 1), WEFT_OK); // the fence of the whole group went too
    (void) s_live(rig, 10000);
    assert_int_equal(s_committed_all(rig, "unknown").offsets_count, 0);
    assert_int_equal(s_committed_all(rig, "known").offsets_count, 4);
}

static void test_offsets__nothing_expires_without_an_answer(void **state)
{
    struct rig *rig = *state;
    s_set_retention(rig, "5000");
    s_topics(rig);
    assert_int_equal(s_commit(rig, "unknown", 1, 0, 7, 5), WEFT_OK);
    s_refuse_checks = WEFT_ERR_COORDINATOR_LOADING;
    (void) s_live(rig, 20000);
    assert_int_equal(s_committed_all(rig, "unknown").offsets_count, 1);
    s_refuse_checks = WEFT_OK;
    (void) s_live(rig, 20000);
    assert_int_equal(s_committed_all(rig, "unknown").offsets_count, 0);
}

static void test_offsets__of_deleted_topics_they_go(void **state)
{
    struct rig *rig = *state;
    s_set_retention(rig, "30000");
    s_topics(rig);
    rig_topic(rig, "wide", 12, 4);
    struct weft_commit_entry entry = {.topic = weft_slice_text("wide"), .partition = 1, .offset = 3, .epoch = -1};
    assert_int_equal(s_commit_all(rig, "g", 1, &entry, 1).header.error, WEFT_OK);
    assert_int_equal(s_commit(rig, "g", 1, 0, 7, 0), WEFT_OK);
    rig_delete(rig, rig_id(12));
    (void) s_live(rig, 9000);
    struct weft_committed_reply reply = s_committed_all(rig, "g");
    assert_int_equal(reply.offsets_count, 1);
    assert_slice(reply.offsets[0].topic, "orders");
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
        OFFSETS_TEST(deleting_some_leaves_their_fences),
        OFFSETS_TEST(deleting_a_group_fences_its_past),
        OFFSETS_TEST(a_large_group_is_deleted_in_portions),
        OFFSETS_TEST(nobody_else_writes_there),
        OFFSETS_TEST(bad_names_are_refused),
        OFFSETS_TEST(a_full_disk_takes_all_of_it_back),
        OFFSETS_TEST(too_many_that_wait_are_sent_away),
        OFFSETS_TEST(who_waits_too_long_is_told),
        OFFSETS_TEST(a_stop_keeps_what_was_promised),
        OFFSETS_TEST(of_groups_that_nobody_knows_they_expire),
        OFFSETS_TEST(nothing_expires_without_an_answer),
        OFFSETS_TEST(of_deleted_topics_they_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
