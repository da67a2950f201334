// SPDX-License-Identifier: MPL-2.0
// How committed offsets go: deleted by a person, with their group, with their topic, or by age.
#include "offsets_rig.h"

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

static void test_offsets__deleting_some_leaves_their_fences(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    for (uint32_t p = 0; p < 4; p++) assert_int_equal(offsets_commit(rig, "g", 1, p, 7, 5), WEFT_OK);
    struct weft_committed_entry entries[2] = {{.topic = weft_slice_text("orders"), .partition = 1},
                                              {.topic_id = rig_id(10), .partition = 2}};
    assert_int_equal(offsets_delete(rig, "g", 4, entries, 2).header.error, WEFT_ERR_FENCED);
    assert_int_equal(offsets_delete(rig, "g", 0, entries, 2).header.error, WEFT_ERR_INVALID_REQUEST);
    struct weft_offsets_delete_reply reply = offsets_delete(rig, "g", 9, entries, 2);
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_int_equal(reply.deleted, 2);
    assert_int_equal(offsets_committed(rig, "g", 1, 0).offset, -1);
    assert_int_equal(offsets_committed(rig, "g", 0, 0).offset, 7);
    assert_int_equal(offsets_commit(rig, "g", 2, 1, 8, 5), WEFT_ERR_FENCED);
    assert_int_equal(offsets_commit(rig, "g", 2, 0, 8, 5), WEFT_OK);
    assert_int_equal(offsets_commit(rig, "g", 2, 1, 8, 9), WEFT_OK);
}

static void test_offsets__deleting_a_group_fences_its_past(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    for (uint32_t p = 0; p < 3; p++) assert_int_equal(offsets_commit(rig, "g", 1, p, 7, 5), WEFT_OK);
    assert_int_equal(offsets_commit(rig, "g", 1, 3, 7, 20), WEFT_OK); // of a newer life
    struct weft_offsets_delete_reply reply = offsets_delete(rig, "g", 9, NULL, 0);
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_int_equal(reply.deleted, 3);
    struct weft_committed_reply all = offsets_committed_all(rig, "g");
    assert_int_equal(all.offsets_count, 1);
    assert_int_equal(all.offsets[0].partition, 3);
    assert_int_equal(offsets_commit(rig, "g", 2, 1, 8, 8), WEFT_ERR_FENCED);
    assert_int_equal(offsets_commit(rig, "g", 2, 3, 8, 0), WEFT_ERR_FENCED); // what a member holds
    assert_int_equal(offsets_delete(rig, "g", 8, NULL, 0).header.error, WEFT_ERR_FENCED);
    reply = offsets_delete(rig, "g", 9, NULL, 0); // a retry
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_int_equal(reply.deleted, 0);
    assert_int_equal(offsets_commit(rig, "g", 0, 1, 8, 9), WEFT_OK);
    assert_int_equal(offsets_delete(rig, "never", 9, NULL, 0).deleted, 0);
}

static void test_offsets__without_membership_a_deleted_group_begins_anew(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    assert_int_equal(offsets_commit(rig, "g", 1, 0, 7, 5), WEFT_OK); // a member's
    assert_int_equal(offsets_commit(rig, "g", 1, 1, 7, 0), WEFT_OK);
    assert_int_equal(offsets_commit(rig, "g", 1, 0, 8, 0), WEFT_ERR_FENCED);
    assert_int_equal(offsets_delete(rig, "g", 9, NULL, 0).deleted, 2);
    assert_int_equal(offsets_commit(rig, "g", 2, 0, 1, 0), WEFT_OK);
    assert_int_equal(offsets_commit(rig, "g", 1, 1, 2, 0), WEFT_OK);
    assert_int_equal(offsets_committed(rig, "g", 0, 0).offset, 1);
    assert_int_equal(offsets_committed(rig, "g", 1, 0).offset, 2);
    assert_int_equal(offsets_commit(rig, "g", 9, 0, 8, 5), WEFT_ERR_FENCED); // the member of the past
}

static void test_offsets__a_large_group_is_deleted_in_portions(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    rig_topic(rig, "wide", 12, 64);
    struct weft_commit_entry entries[64];
    for (uint32_t p = 0; p < 64; p++)
        entries[p] = (struct weft_commit_entry){
            .topic = weft_slice_text("wide"), .partition = p, .offset = 3, .epoch = -1, .token = 2};
    assert_int_equal(offsets_commit_all(rig, "g", 1, entries, 64).header.error, WEFT_OK);
    assert_int_equal(offsets_delete(rig, "g", 9, NULL, 0).deleted, 64);
    assert_int_equal(offsets_committed_all(rig, "g").offsets_count, 0);
}

// ---- what is left of them in the log

// As the coordinator makes it, with smaller segments.
static void s_make_compact(struct rig *rig)
{
    struct weft_config_entry config[] = {
        {.key = weft_slice_text("cleanup.policy"), .value = weft_slice_text("compact")},
        {.key = weft_slice_text("segment.bytes"), .value = weft_slice_text("65536")}};
    struct weft_topic_altered_command command = {.topic_id = rig_id(11), .config = config, .config_count = 2};
    weft_buf_clear(&rig->buf);
    weft_topic_altered_command_encode(&command, &rig->buf);
    rig_commit(rig);
    rig_push(rig, rig->index - 1, false);
}

static void test_offsets__a_compacted_log_says_the_same(void **state)
{
    struct rig *rig = *state;
    static const char *const pairs[] = {"retention.check.ms=100ms", NULL};
    rig_kill(rig);
    rig_up(rig, pairs);
    rig_topic(rig, "orders", 10, 4);
    rig_topic(rig, "__offsets", 11, 1);
    s_make_compact(rig);
    rig_advance(rig, 20);
    char group[16];
    for (uint64_t i = 1; i <= 2000; i++) {
        snprintf(group, sizeof group, "g-%d", (int) (i % 7));
        assert_int_equal(offsets_commit(rig, group, i, (uint32_t) (i % 4), (int64_t) i, 5), WEFT_OK);
    }
    assert_int_equal(offsets_delete(rig, "g-3", 9, NULL, 0).deleted, 4);
    rig_advance(rig, 2000);
    assert_true(rig_counter(rig, WEFT_COUNT_COMPACTIONS) > 0);
    assert_true(rig_counter(rig, WEFT_COUNT_COMPACTED_RECORDS) > 500);
    rig_kill(rig);
    rig_up(rig, pairs);
    rig_advance(rig, 50);
    for (uint64_t i = 2000 - 27; i <= 2000; i++) {
        snprintf(group, sizeof group, "g-%d", (int) (i % 7));
        int64_t expected = i % 7 == 3 ? -1 : (int64_t) i;
        assert_int_equal(offsets_committed(rig, group, (uint32_t) (i % 4), 0).offset, expected);
    }
    assert_int_equal(offsets_commit(rig, "g-3", 3000, 0, 1, 8), WEFT_ERR_FENCED);
}

static void s_damage(const struct rig *rig, uint32_t partition, size_t at)
{
    char path[WEFT_TEST_PATH_BYTES], text[WEFT_ID_TEXT_BYTES];
    weft_id_text(rig_id(11), text);
    snprintf(path, sizeof path, "%s/data/topics/%s/%u/%020d.log", rig->directory, text, (unsigned) partition, 0);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long) at, SEEK_SET), 0);
    assert_int_equal(fputc(0xc1, file), 0xc1);
    assert_int_equal(fclose(file), 0);
}

static void test_offsets__the_last_replica_goes_on_without_what_is_damaged(void **state)
{
    struct rig *rig = *state;
    offsets_topics(rig);
    for (uint64_t i = 1; i <= 60; i++) // the last few KiB are read by recovery, which refuses the partition
        assert_int_equal(offsets_commit(rig, "g", i, i == 2 ? 1 : 0, (int64_t) i, 3), WEFT_OK);
    rig_stop(rig);
    s_damage(rig, weft_offsets_partition(weft_slice_text("g"), 2), 2 * WEFT_BATCH_HEADER_BYTES + 120); // the second
    rig_up(rig, NULL);
    rig_advance(rig, 50);
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    assert_int_equal(rig_health(rig, sentence), WEFT_HEALTH_DEGRADED); // the trace says what it means
    assert_int_equal(offsets_committed(rig, "g", 0, 0).offset, 60);
    assert_int_equal(offsets_committed(rig, "g", 1, 0).offset, -1);
    assert_int_equal(offsets_commit(rig, "g", 61, 1, 8, 3), WEFT_OK);
}

// ---- by themselves

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
    offsets_topics(rig);
    for (uint32_t p = 0; p < 4; p++) {
        assert_int_equal(offsets_commit(rig, "known", 1, p, 7, 5), WEFT_OK);
        assert_int_equal(offsets_commit(rig, "unknown", 1, p, 7, 5), WEFT_OK);
    }
    assert_int_equal(offsets_delete(rig, "unfenced", 3, NULL, 0).header.error, WEFT_OK);
    assert_int_equal(s_live(rig, 4000), 0);
    assert_int_equal(offsets_commit(rig, "unknown", 2, 3, 8, 5), WEFT_OK); // this one is young
    assert_true(s_live(rig, 3000) > 0);
    assert_int_equal(offsets_committed_all(rig, "known").offsets_count, 4);
    struct weft_committed_reply reply = offsets_committed_all(rig, "unknown");
    assert_int_equal(reply.offsets_count, 1);
    assert_int_equal(reply.offsets[0].offset, 8);
    assert_int_equal(offsets_commit(rig, "unfenced", 1, 0, 8, 1), WEFT_OK); // the fence of the whole group went too
    (void) s_live(rig, 10000);
    assert_int_equal(offsets_committed_all(rig, "unknown").offsets_count, 0);
    assert_int_equal(offsets_committed_all(rig, "known").offsets_count, 4);
}

static void test_offsets__nothing_expires_without_an_answer(void **state)
{
    struct rig *rig = *state;
    s_set_retention(rig, "5000");
    offsets_topics(rig);
    assert_int_equal(offsets_commit(rig, "unknown", 1, 0, 7, 5), WEFT_OK);
    s_refuse_checks = WEFT_ERR_COORDINATOR_LOADING;
    (void) s_live(rig, 20000);
    assert_int_equal(offsets_committed_all(rig, "unknown").offsets_count, 1);
    s_refuse_checks = WEFT_OK;
    (void) s_live(rig, 20000);
    assert_int_equal(offsets_committed_all(rig, "unknown").offsets_count, 0);
}

static void test_offsets__of_deleted_topics_they_go(void **state)
{
    struct rig *rig = *state;
    s_set_retention(rig, "30000");
    offsets_topics(rig);
    rig_topic(rig, "wide", 12, 4);
    struct weft_commit_entry entry = {.topic = weft_slice_text("wide"), .partition = 1, .offset = 3, .epoch = -1};
    assert_int_equal(offsets_commit_all(rig, "g", 1, &entry, 1).header.error, WEFT_OK);
    assert_int_equal(offsets_commit(rig, "g", 1, 0, 7, 0), WEFT_OK);
    rig_delete(rig, rig_id(12));
    (void) s_live(rig, 9000);
    struct weft_committed_reply reply = offsets_committed_all(rig, "g");
    assert_int_equal(reply.offsets_count, 1);
    assert_slice(reply.offsets[0].topic, "orders");
}

#define OFFSETS_TEST(name) cmocka_unit_test_setup_teardown(test_offsets__##name, s_setup, s_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OFFSETS_TEST(a_compacted_log_says_the_same),
        OFFSETS_TEST(the_last_replica_goes_on_without_what_is_damaged),
        OFFSETS_TEST(deleting_some_leaves_their_fences),
        OFFSETS_TEST(deleting_a_group_fences_its_past),
        OFFSETS_TEST(without_membership_a_deleted_group_begins_anew),
        OFFSETS_TEST(a_large_group_is_deleted_in_portions),
        OFFSETS_TEST(of_groups_that_nobody_knows_they_expire),
        OFFSETS_TEST(nothing_expires_without_an_answer),
        OFFSETS_TEST(of_deleted_topics_they_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
