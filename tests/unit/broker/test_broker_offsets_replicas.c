// SPDX-License-Identifier: MPL-2.0
// Committed offsets over several brokers: what a new leader knows, when it answers, what becomes of those who wait
// (REPLICATION.md rules 5, 19, 20).
#include "crew.h"

#include "../../../lib/base/rand.h"

#define OFFSETS_ID 11
#define GROUP "g"

static int s_three(void **state)
{
    struct crew *crew = weft_alloc(sizeof *crew);
    crew_begin(crew, 3, NULL);
    crew_topic(crew, CREW_TOPIC, 10, 4, 3, NULL, NULL);
    crew_topic(crew, "__offsets", OFFSETS_ID, 1, 3, NULL, NULL);
    crew_advance(crew, 300);
    *state = crew;
    return 0;
}

static int s_teardown(void **state)
{
    struct crew *crew = *state;
    crew_end(crew);
    free(crew);
    return 0;
}

static void s_ask(struct crew *crew, int32_t to)
{
    struct crew_broker *broker = crew_broker(crew, to);
    broker->reply_count = 0;
    weft_fake_world_queue(broker->world, 0, CREW_CLIENT, false, weft_buf_slice(&crew->buf), WEFT_SLICE_NIL, false);
}

static void s_send_commit(struct crew *crew, int32_t to, uint32_t partition, int64_t offset, uint64_t token, uint64_t n)
{
    struct weft_commit_entry entry = {
        .topic = weft_slice_text(CREW_TOPIC), .partition = partition, .offset = offset, .epoch = -1, .token = token};
    struct weft_commit_request request;
    weft_commit_request_init(&request);
    request.id = crew->next_id++;
    request.group = weft_slice_text(GROUP);
    request.n = n;
    request.entries = &entry;
    request.entries_count = 1;
    weft_buf_clear(&crew->buf);
    weft_commit_request_encode(&request, &crew->buf);
    s_ask(crew, to);
}

static struct weft_commit_reply s_commit_reply(struct crew *crew, int32_t from)
{
    struct weft_commit_reply reply;
    struct crew_broker *broker = crew_broker(crew, from);
    assert_int_equal(broker->reply_count, 1);
    assert_ok(weft_commit_reply_decode(&crew->codec, weft_buf_slice(&broker->reply), &reply, &crew->error));
    return reply;
}

static void s_wait(struct crew *crew, int32_t broker)
{
    for (int i = 0; i < 100 && crew_broker(crew, broker)->reply_count == 0; i++) crew_advance(crew, 5);
}

static weft_err_t s_commit(struct crew *crew, int32_t to, uint32_t partition, int64_t offset, uint64_t token,
                           uint64_t n)
{
    s_send_commit(crew, to, partition, offset, token, n);
    s_wait(crew, to);
    return s_commit_reply(crew, to).header.error;
}

static void s_send_committed(struct crew *crew, int32_t to, uint32_t partition, uint64_t token)
{
    struct weft_committed_entry entry = {.topic = weft_slice_text(CREW_TOPIC), .partition = partition, .token = token};
    struct weft_committed_request request;
    weft_committed_request_init(&request);
    request.id = crew->next_id++;
    request.group = weft_slice_text(GROUP);
    request.entries = &entry;
    request.entries_count = 1;
    weft_buf_clear(&crew->buf);
    weft_committed_request_encode(&request, &crew->buf);
    s_ask(crew, to);
}

// The offset, or the error as a negative number below -1.
static int64_t s_committed(struct crew *crew, int32_t to, uint32_t partition, uint64_t token)
{
    s_send_committed(crew, to, partition, token);
    s_wait(crew, to);
    struct weft_committed_reply reply;
    struct crew_broker *broker = crew_broker(crew, to);
    assert_int_equal(broker->reply_count, 1);
    assert_ok(weft_committed_reply_decode(&crew->codec, weft_buf_slice(&broker->reply), &reply, &crew->error));
    if (reply.header.error != WEFT_OK) return -1 - (int64_t) reply.header.error;
    return reply.offsets[0].error != 0 ? -1 - reply.offsets[0].error : reply.offsets[0].offset;
}

// Likewise, once the broker answers.
static int64_t s_committed_soon(struct crew *crew, int32_t to, uint32_t partition, uint64_t token)
{
    int64_t offset = -1 - (int64_t) WEFT_ERR_COORDINATOR_LOADING;
    for (int i = 0; i < 200 && offset == -1 - (int64_t) WEFT_ERR_COORDINATOR_LOADING; i++) {
        offset = s_committed(crew, to, partition, token);
        crew_advance(crew, 10);
    }
    return offset;
}

static weft_part_id_t s_sync_part(struct crew *crew, int32_t broker)
{
    const struct weft_node *node = crew_broker(crew, broker)->node;
    return node->parts[node->part_count - 1];
}

static void s_hold_sync(struct crew *crew, int32_t broker, bool hold)
{
    weft_fake_world_hold(crew_broker(crew, broker)->world, s_sync_part(crew, broker), hold);
}

// ---- tests

static void test_offsets__others_name_the_leader(void **state)
{
    struct crew *crew = *state;
    s_send_commit(crew, 2, 0, 5, 0, 0);
    s_wait(crew, 2);
    struct weft_commit_reply reply = s_commit_reply(crew, 2);
    assert_int_equal(reply.header.error, WEFT_ERR_NOT_LEADER);
    assert_int_equal(reply.header.leader, 1);
    assert_slice(reply.header.endpoint, ((const struct weft_broker *) crew_broker(crew, 1)->node)->shards[0].endpoint);
}

static void test_offsets__a_commit_waits_for_the_disks_of_all_in_sync(void **state)
{
    struct crew *crew = *state;
    s_hold_sync(crew, 3, true);
    s_send_commit(crew, 1, 0, 5, 3, 1);
    crew_advance(crew, 100);
    assert_int_equal(crew_broker(crew, 1)->reply_count, 0);
    assert_int_equal(s_committed(crew, 1, 0, 0), -1);
    crew_broker(crew, 1)->reply_count = 0;
    s_hold_sync(crew, 3, false);
    s_wait(crew, 1);
    assert_int_equal(s_commit_reply(crew, 1).header.error, WEFT_OK);
    assert_int_equal(s_committed(crew, 1, 0, 0), 5);
    crew_assert_same(crew, 1, 2, OFFSETS_ID, 0);
    crew_assert_same(crew, 1, 3, OFFSETS_ID, 0);
}

static void test_offsets__a_new_leader_knows_offsets_and_fences(void **state)
{
    struct crew *crew = *state;
    assert_int_equal(s_commit(crew, 1, 0, 5, 5, 1), WEFT_OK);
    assert_int_equal(s_commit(crew, 1, 1, 6, 5, 2), WEFT_OK);
    assert_int_equal(s_committed(crew, 1, 0, 7), 5); // M2 fences M1, which has token 5
    assert_int_equal(s_committed(crew, 1, 3, 8), -1);
    crew_kill(crew, 1);
    crew_fence(crew, 1);
    int32_t leader = crew_partition(crew, OFFSETS_ID, 0)->leader;
    assert_in_range(leader, 2, 3);
    assert_int_equal(s_committed_soon(crew, leader, 0, 0), 5);
    assert_int_equal(s_committed(crew, leader, 1, 0), 6);
    assert_int_equal(s_commit(crew, leader, 0, 9, 5, 2), WEFT_ERR_FENCED);
    assert_int_equal(s_commit(crew, leader, 3, 9, 5, 2), WEFT_ERR_FENCED);
    assert_int_equal(s_commit(crew, leader, 0, 9, 7, 1), WEFT_OK);
    assert_int_equal(s_committed(crew, leader, 0, 0), 9);
}

static void test_offsets__a_new_leader_is_silent_until_what_it_inherited_is_durable(void **state)
{
    struct crew *crew = *state;
    assert_int_equal(s_commit(crew, 1, 0, 5, 5, 1), WEFT_OK);
    s_hold_sync(crew, 2, true);
    s_hold_sync(crew, 3, true);
    s_send_commit(crew, 1, 0, 6, 5, 2);
    crew_advance(crew, 100);
    assert_int_equal(crew_broker(crew, 1)->reply_count, 0);
    crew_move_leader(crew, OFFSETS_ID, 0, 2);
    // Who waited at the leader before is told where to ask again: it may have been written.
    struct weft_commit_reply reply = s_commit_reply(crew, 1);
    assert_int_equal(reply.header.error, WEFT_ERR_LEADER_CHANGED);
    assert_int_equal(reply.header.leader, 2);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(s_committed(crew, 2, 0, 0), -1 - (int64_t) WEFT_ERR_COORDINATOR_LOADING);
        assert_int_equal(s_commit(crew, 2, 0, 7, 5, 3), WEFT_ERR_COORDINATOR_LOADING);
    }
    s_hold_sync(crew, 2, false);
    crew_advance(crew, 50);
    assert_int_equal(s_committed(crew, 2, 0, 0), -1 - (int64_t) WEFT_ERR_COORDINATOR_LOADING);
    s_hold_sync(crew, 3, false);
    assert_int_equal(s_committed_soon(crew, 2, 0, 0), 6);     // it was, and is never unsaid
    assert_int_equal(s_commit(crew, 2, 0, 6, 5, 2), WEFT_OK); // so its repeat is done
}

static void test_offsets__leadership_that_goes_and_comes_back_forgets_nothing(void **state)
{
    struct crew *crew = *state;
    assert_int_equal(s_commit(crew, 1, 0, 50, 5, 1), WEFT_OK);
    crew_move_leader(crew, OFFSETS_ID, 0, 2);
    assert_int_equal(s_committed_soon(crew, 2, 0, 7), 50);
    assert_int_equal(s_commit(crew, 2, 0, 60, 7, 1), WEFT_OK);
    crew_move_leader(crew, OFFSETS_ID, 0, 1);
    assert_int_equal(s_committed_soon(crew, 1, 0, 0), 60);
    assert_int_equal(s_commit(crew, 1, 0, 55, 5, 2), WEFT_ERR_FENCED); // queued all the while
    assert_int_equal(s_commit(crew, 1, 0, 61, 7, 0), WEFT_ERR_FENCED);
    assert_int_equal(s_committed(crew, 1, 0, 0), 60);
}

static void test_offsets__what_came_in_the_turn_of_the_loss_was_not_written(void **state)
{
    struct crew *crew = *state;
    assert_int_equal(s_commit(crew, 1, 0, 5, 5, 1), WEFT_OK);
    s_send_commit(crew, 1, 0, 6, 5, 2);
    crew_move_leader(crew, OFFSETS_ID, 0, 2);
    weft_err_t code = s_commit_reply(crew, 1).header.error;
    assert_true(code == WEFT_ERR_NOT_LEADER || code == WEFT_ERR_LEADER_CHANGED || code == WEFT_OK);
    int64_t offset = s_committed_soon(crew, 2, 0, 0);
    if (code == WEFT_OK) assert_int_equal(offset, 6);
    if (code == WEFT_ERR_NOT_LEADER) assert_int_equal(offset, 5);
}

static void test_offsets__too_few_in_sync_refuse_commits_and_fences(void **state)
{
    struct crew *crew = *state;
    assert_int_equal(s_commit(crew, 1, 0, 5, 5, 1), WEFT_OK);
    crew_kill(crew, 2);
    crew_fence(crew, 2);
    crew_kill(crew, 3);
    crew_fence(crew, 3);
    crew_advance(crew, 100);
    assert_int_equal(crew_partition(crew, OFFSETS_ID, 0)->isr_count, 1);
    weft_err_t code = s_commit(crew, 1, 0, 6, 9, 1);
    assert_true(code == WEFT_ERR_NOT_ENOUGH_REPLICAS || code == WEFT_ERR_COORDINATOR_LOADING);
    crew_up(crew, 2);
    crew_up(crew, 3);
    int64_t offset = -2;
    for (int i = 0; i < 100 && offset != 5; i++) {
        crew_advance(crew, 50);
        offset = s_committed(crew, 1, 0, 0);
    }
    assert_int_equal(offset, 5);
    for (int i = 0; i < 100 && code != WEFT_OK; i++) {
        crew_advance(crew, 50);
        code = s_commit(crew, 1, 0, 7, 6, 1); // token 9 was refused, so it is not in force
    }
    assert_int_equal(code, WEFT_OK);
}

static void test_offsets__never_go_back_however_leadership_moves(void **state)
{
    struct crew *crew = *state;
    weft_rand_t rand;
    weft_rand_init(&rand, 99);
    int64_t acked[4] = {-1, -1, -1, -1}, sent[4] = {0};
    for (uint64_t n = 1; n < 150; n++) {
        int32_t leader = crew_partition(crew, OFFSETS_ID, 0)->leader;
        uint32_t partition = (uint32_t) (weft_rand_next(&rand) % 4);
        int64_t offset = sent[partition] + 1 + (int64_t) (weft_rand_next(&rand) % 10);
        s_send_commit(crew, leader, partition, offset, 5, n);
        sent[partition] = offset;
        if (weft_rand_next(&rand) % 3 == 0) crew_advance(crew, (int64_t) (weft_rand_next(&rand) % 3) * 5);
        int32_t next = 1 + (int32_t) (weft_rand_next(&rand) % 3);
        if (weft_rand_next(&rand) % 3 == 0 && next != leader) crew_move_leader(crew, OFFSETS_ID, 0, next);
        s_wait(crew, leader);
        if (s_commit_reply(crew, leader).header.error == WEFT_OK) acked[partition] = offset;
        leader = crew_partition(crew, OFFSETS_ID, 0)->leader;
        int64_t found = s_committed_soon(crew, leader, partition, 0);
        assert_true(found >= acked[partition] && found <= sent[partition]);
        acked[partition] = found; // told is told
    }
}

#define OFFSETS_TEST(name) cmocka_unit_test_setup_teardown(test_offsets__##name, s_three, s_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OFFSETS_TEST(others_name_the_leader),
        OFFSETS_TEST(a_commit_waits_for_the_disks_of_all_in_sync),
        OFFSETS_TEST(a_new_leader_knows_offsets_and_fences),
        OFFSETS_TEST(a_new_leader_is_silent_until_what_it_inherited_is_durable),
        OFFSETS_TEST(leadership_that_goes_and_comes_back_forgets_nothing),
        OFFSETS_TEST(what_came_in_the_turn_of_the_loss_was_not_written),
        OFFSETS_TEST(too_few_in_sync_refuse_commits_and_fences),
        OFFSETS_TEST(never_go_back_however_leadership_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
