// SPDX-License-Identifier: MPL-2.0
// A consumer of a group: where it begins to read, and what it commits.
#include "group_fixture.h"

// ---- what is given

static void test_consumer_group__resumes_at_the_committed_offset_behind_its_fence(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_subscribe(&self, WEFT_FROM_RESET);
    assert_int_equal(self.orders.subscription, 1);
    assert_string_equal(self.orders.patterns[0], "orders");
    s_give(&self, (const int32_t[]){1, 2}, 2, 0);
    assert_int_equal(self.told[0].type, WEFT_EVENT_ASSIGNED);
    assert_int_equal(self.told[0].count, 2);
    assert_int_equal(self.told[0].tokens[1], 102);
    assert_int_equal(self.told[0].positions[0], -1);
    assert_int_equal(self.orders.epoch, 5);
    assert_int_equal(self.orders.revision, 1); // carried out
    const struct peer_call *call = s_take_committed(&self);
    assert_int_equal(self.committed.entries_count, 2);
    assert_int_equal(self.committed.entries[0].token, 101);
    assert_true(weft_id_equal(self.committed.entries[0].topic_id, self.peer.topic_id));
    assert_int_equal(s_count(&self, WEFT_API_FETCH), 0); // nothing before the fence
    s_answer_committed(&self, call, 40, -1, WEFT_OK);
    assert_int_equal(s_event(&self, WEFT_EVENT_ASSIGNED).offset, 40);
    const struct peer_call *fetch = s_take(&self, WEFT_API_FETCH);
    assert_int_equal(fetch->fetch.offset, 40);
    assert_int_equal(fetch->fetch.epoch, 3); // rule 18
    assert_int_equal(weft_consumer_part_token(self.part, "orders", 1), 101);
    assert_int_equal(weft_consumer_part_token(self.part, "orders", 3), 0);
    s_close(&self);
}

static void test_consumer_group__begins_by_reset_where_nothing_is_committed(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"reset=earliest", NULL});
    s_own(&self, (const int32_t[]){0}, 1, -1);
    const struct peer_call *call = s_take(&self, WEFT_API_LIST_OFFSETS);
    assert_string_equal(call->at, "earliest");
    peer_offset(&self.peer, call, 7);
    s_turn(&self);
    struct weft_consumer_event event = s_event(&self, WEFT_EVENT_ASSIGNED);
    assert_int_equal(event.offset, 7);
    (void) s_poll(&self); // the place is committed soon, or a crash would make another be chosen
    call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].offset, 7);
    s_answer_commit(&self, call, -1, WEFT_OK);
    s_close(&self);

    s_open(&self, (const char *const[]){"reset=error", NULL});
    s_own(&self, (const int32_t[]){0}, 1, -1);
    assert_int_equal(s_event(&self, WEFT_EVENT_STOPPED).error, WEFT_ERR_OFFSET_OUT_OF_RANGE);
    s_close(&self);

    s_open(&self, (const char *const[]){"reset=error", NULL}); // `at` goes first
    s_subscribe(&self, WEFT_FROM_LATEST);
    s_give(&self, (const int32_t[]){0}, 1, 0);
    s_answer_committed(&self, s_take_committed(&self), -1, -1, WEFT_OK);
    assert_string_equal(s_take(&self, WEFT_API_LIST_OFFSETS)->at, "latest");
    s_close(&self);
}

static void test_consumer_group__a_committed_offset_that_is_gone_is_said(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"reset=earliest", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    peer_refuse(&self.peer, s_take(&self, WEFT_API_FETCH), WEFT_ERR_OFFSET_OUT_OF_RANGE, NULL, 0);
    s_turn(&self);
    peer_offset(&self.peer, s_take(&self, WEFT_API_LIST_OFFSETS), 60);
    struct weft_consumer_event event = s_event(&self, WEFT_EVENT_RESET);
    assert_int_equal(event.from_offset, 40);
    assert_int_equal(event.offset, 60);
    s_close(&self);

    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0}, 1, 40);
    peer_diverged(&self.peer, s_take(&self, WEFT_API_FETCH), 30);
    event = s_event(&self, WEFT_EVENT_DIVERGED);
    assert_int_equal(event.from_offset, 40);
    assert_int_equal(event.offset, 30);
    s_close(&self);
}

static void test_consumer_group__makes_the_offsets_topic_if_nobody_did(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    self.peer.offsets_partitions = 0;
    s_subscribe(&self, WEFT_FROM_RESET);
    s_give(&self, (const int32_t[]){0}, 1, 0);
    const struct peer_call *call = s_take(&self, WEFT_API_OFFSETS_BEGIN);
    self.peer.offsets_partitions = 4;
    struct weft_offsets_begin_reply reply;
    weft_offsets_begin_reply_init(&reply);
    reply.header.id = call->id;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_offsets_begin_reply_encode(&reply, &header);
    peer_answer(&self.peer, call, &header);
    s_advance_ms(&self, 500);
    s_answer_committed(&self, s_take_committed(&self), 40, -1, WEFT_OK);
    assert_int_equal(s_take(&self, WEFT_API_FETCH)->fetch.offset, 40);
    s_close(&self);
}

static void test_consumer_group__a_fence_is_retried_until_it_is_answered(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_subscribe(&self, WEFT_FROM_RESET);
    s_give(&self, (const int32_t[]){0}, 1, 0);
    static const weft_err_t errors[] = {WEFT_ERR_COORDINATOR_LOADING, WEFT_ERR_NOT_LEADER, WEFT_ERR_OVERLOADED};
    for (size_t i = 0; i < 3; i++) {
        peer_refuse(&self.peer, s_take_committed(&self), errors[i], NULL, 0);
        s_advance_ms(&self, 500);
    }
    s_answer_committed(&self, s_take_committed(&self), 40, -1, WEFT_OK);
    assert_int_equal(s_take(&self, WEFT_API_FETCH)->fetch.offset, 40);
    s_close(&self);
}

static void test_consumer_group__a_seek_in_the_callback_waits_for_the_fence(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_subscribe(&self, WEFT_FROM_RESET);
    s_give(&self, (const int32_t[]){0}, 1, 0);
    assert_ok(weft_consumer_part_seek(self.part, "orders", 0, (struct weft_position){WEFT_FROM_OFFSET, 5}));
    s_turn(&self);
    assert_int_equal(s_count(&self, WEFT_API_FETCH), 0);
    s_answer_committed(&self, s_take_committed(&self), 40, -1, WEFT_OK);
    assert_int_equal(s_take(&self, WEFT_API_FETCH)->fetch.offset, 5);
    s_close(&self);
}

// ---- commits

static void test_consumer_group__commits_what_earlier_polls_returned_at_the_interval(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=1s", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    s_advance_ms(&self, 2000);
    assert_true(s_poll(&self));
    assert_int_equal(s_read(&self, 4), 4);
    s_advance_ms(&self, 2000);
    assert_int_equal(s_count(&self, WEFT_API_COMMIT), 0); // the program is at work
    (void) s_poll(&self);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries_count, 1);
    assert_int_equal(self.commit.entries[0].offset, 44);
    assert_int_equal(self.commit.entries[0].epoch, 3);
    assert_int_equal(self.commit.entries[0].token, 100);
    uint64_t n = self.commit.n;
    s_answer_commit(&self, call, -1, WEFT_OK);
    s_advance_ms(&self, 2000);
    (void) s_poll(&self);
    assert_int_equal(s_count(&self, WEFT_API_COMMIT), 0); // nothing new
    assert_int_equal(s_read(&self, 1), 1);
    s_advance_ms(&self, 2000);
    (void) s_poll(&self);
    (void) s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].offset, 45);
    assert_true(self.commit.n > n);
    s_close(&self);
}

static void test_consumer_group__a_poll_returns_so_many_and_the_next_what_is_left(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=1s", NULL}); // 500 a poll
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 1700);
    (void) s_feed(&self, 300); // the limit falls on the end of what was received
    int64_t next = 40;
    for (int poll = 0; poll < 4; poll++) {
        s_advance_ms(&self, 1100); // slow work
        assert_true(s_poll(&self));
        if (poll) {
            const struct peer_call *call = s_take_commit(&self);
            assert_int_equal(self.commit.entries[0].offset, next);
            s_answer_commit(&self, call, -1, WEFT_OK);
        }
        struct weft_record_view record;
        size_t count = 0;
        for (; weft_consumer_part_next(self.part, &record, NULL); count++) assert_int_equal(record.offset, next++);
        assert_int_equal(count, 500);
        assert_false(weft_consumer_part_next(self.part, &record, NULL));
    }
    assert_int_equal(next, 2040);
    assert_false(s_poll(&self)); // all of it was used up
    s_close(&self);
}

static void test_consumer_group__a_limit_may_be_one(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"max.poll.records=1", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 3);
    for (int poll = 0; poll < 3; poll++) {
        assert_true(s_poll(&self));
        assert_int_equal(s_read(&self, 10), 1);
    }
    assert_false(s_poll(&self));
    s_close(&self);
}

static void test_consumer_group__of_many_commits_the_newest_wins(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=0", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    uint64_t first, ticket, last = 0;
    assert_int_equal(s_read(&self, 1), 1);
    assert_ok(weft_consumer_part_commit(self.part, &first));
    s_turn(&self);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].offset, 41); // the last one too
    for (int i = 0; i < 5; i++) {
        assert_int_equal(s_read(&self, 1), 1);
        assert_ok(weft_consumer_part_commit(self.part, &ticket));
        s_turn(&self);
        last = ticket;
    }
    assert_int_equal(s_count(&self, WEFT_API_COMMIT), 0); // one at a time
    weft_err_t err;
    assert_false(weft_consumer_part_committed(self.part, first, &err));
    s_answer_commit(&self, call, -1, WEFT_OK);
    call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].offset, 46);
    assert_false(weft_consumer_part_committed(self.part, last, &err));
    s_answer_commit(&self, call, -1, WEFT_OK);
    assert_true(weft_consumer_part_committed(self.part, last, &err));
    assert_ok(err);
    s_close(&self);
}

static void test_consumer_group__a_commit_that_is_not_answered_is_sent_again_with_the_newest(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=0", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 1), 1);
    uint64_t ticket;
    assert_ok(weft_consumer_part_commit(self.part, &ticket));
    s_turn(&self);
    peer_refuse(&self.peer, s_take_commit(&self), WEFT_ERR_LEADER_CHANGED, NULL, 0);
    uint64_t n = self.commit.n;
    assert_int_equal(s_read(&self, 2), 2);
    assert_ok(weft_consumer_part_commit(self.part, &ticket));
    s_advance_ms(&self, 500);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries_count, 1);
    assert_int_equal(self.commit.entries[0].offset, 43);
    assert_true(self.commit.n > n);
    s_answer_commit(&self, call, -1, WEFT_OK);
    weft_err_t err;
    assert_true(weft_consumer_part_committed(self.part, ticket, &err));
    assert_ok(err);
    s_close(&self);
}

static void test_consumer_group__a_commit_that_nobody_answers_is_given_up_and_told(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=0", "request.timeout.ms=2s", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 1), 1);
    uint64_t ticket;
    assert_ok(weft_consumer_part_commit(self.part, &ticket));
    s_advance_ms(&self, 2500);
    weft_err_t err;
    assert_true(weft_consumer_part_committed(self.part, ticket, &err));
    assert_int_equal(err, WEFT_ERR_LOCAL_TIMED_OUT);
    struct weft_consumer_event event = s_event(&self, WEFT_EVENT_COMMIT_FAILED);
    assert_int_equal(event.offset, 41);
    assert_int_equal(event.from_offset, 40); // what is known to be committed
    s_close(&self);
}

static void test_consumer_group__commits_offsets_of_the_programs_choice(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=0", NULL});
    s_own(&self, (const int32_t[]){0, 1}, 2, 40);
    struct weft_group_offset list[] = {
        {.topic = "orders", .partition = 0, .offset = 12, .leader_epoch = 2},
        {.topic = "orders", .partition = 1, .offset = 90, .leader_epoch = -1, .metadata = "x"}};
    uint64_t ticket;
    assert_ok(weft_consumer_part_commit_offsets(self.part, list, 2, &ticket));
    s_turn(&self);
    (void) s_take_commit(&self);
    assert_int_equal(self.commit.entries_count, 2);
    assert_int_equal(self.commit.entries[0].offset, 12);
    assert_int_equal(self.commit.entries[0].epoch, 2);
    assert_true(weft_slice_is_text(self.commit.entries[1].metadata, "x"));
    list[1].partition = 3;
    assert_int_equal(weft_consumer_part_commit_offsets(self.part, list, 2, &ticket), WEFT_ERR_NOT_FOUND);
    list[1].partition = 1;
    list[1].offset = -5;
    assert_int_equal(weft_consumer_part_commit_offsets(self.part, list, 2, &ticket), WEFT_ERR_INVALID_ARGUMENT);
    static char long_text[5000];
    memset(long_text, 'x', sizeof long_text - 1);
    list[1].offset = 5;
    list[1].metadata = long_text;
    assert_int_equal(weft_consumer_part_commit_offsets(self.part, list, 2, &ticket), WEFT_ERR_METADATA_TOO_LARGE);
    s_close(&self);
}

// Rule 18: whoever resumes there asks with it whether the log still holds what was read.
static void test_consumer_group__a_commit_of_what_was_read_carries_its_epoch_without_being_told(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=0", NULL});
    s_own(&self, (const int32_t[]){0}, 1, -1);
    peer_offset(&self.peer, s_take(&self, WEFT_API_LIST_OFFSETS), 0);
    s_turn(&self);
    struct weft_group_offset at = {.topic = "orders", .partition = 0, .offset = 0, .leader_epoch = -1};
    const struct {
        int64_t offset;
        int32_t epoch;
    } wanted[] = {{0, -1}, {10, 3}, {4, 3}, {11, -1}}; // nothing read yet; the position; below; beyond
    for (size_t i = 0; i < 4; i++) {
        uint64_t ticket;
        if (i == 1) {
            (void) s_feed(&self, 10);
            (void) s_poll(&self);
            assert_int_equal(s_read(&self, 10), 10);
        }
        at.offset = wanted[i].offset;
        assert_ok(weft_consumer_part_commit_offsets(self.part, &at, 1, &ticket));
        s_turn(&self);
        const struct peer_call *call = s_take_commit(&self);
        assert_int_equal(self.commit.entries[0].offset, wanted[i].offset);
        assert_int_equal(self.commit.entries[0].epoch, wanted[i].epoch);
        s_answer_commit(&self, call, -1, WEFT_OK);
    }
    s_close(&self);
}

static void test_consumer_group__a_divergence_keeps_the_epoch_that_is_committed(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=0", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 5), 5);
    const int64_t ends[] = {48, 46,
                            42}; // of what waits some is lost; the same, asked from the position; of what was read
    const int64_t positions[] = {45, 45, 42};
    const int32_t asked[] = {3, -1, -1};
    for (size_t i = 0; i < 3; i++) {
        uint64_t ticket;
        peer_diverged(&self.peer, s_take(&self, WEFT_API_FETCH), ends[i]);
        s_turn(&self);
        const struct peer_call *fetch = s_take(&self, WEFT_API_FETCH);
        assert_int_equal(fetch->fetch.offset, positions[i]);
        assert_int_equal(fetch->fetch.epoch, asked[i]);
        peer_refuse(&self.peer, fetch, WEFT_ERR_OVERLOADED, NULL, 0);
        s_advance_ms(&self, 300);
        if (i == 1) continue; // nothing new to commit
        assert_ok(weft_consumer_part_commit(self.part, &ticket));
        s_turn(&self);
        const struct peer_call *call = s_take_commit(&self);
        assert_int_equal(self.commit.entries[0].offset, positions[i]);
        assert_int_equal(self.commit.entries[0].epoch, 3);
        s_answer_commit(&self, call, -1, WEFT_OK);
    }
    s_close(&self);
}

static void test_consumer_group__a_fenced_commit_loses_that_partition_only(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=0", NULL});
    s_own(&self, (const int32_t[]){0, 1}, 2, 40);
    int32_t fed = s_feed(&self, 10);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 12), 12);
    uint64_t ticket;
    assert_ok(weft_consumer_part_commit(self.part, &ticket));
    s_turn(&self);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries_count, 2);
    int index = self.commit.entries[0].partition == (uint32_t) fed ? 1 : 0; // the one with unread records
    int32_t other = 1 - fed;
    s_answer_commit(&self, call, index, WEFT_ERR_FENCED);
    weft_err_t err;
    assert_true(weft_consumer_part_committed(self.part, ticket, &err));
    assert_int_equal(err, WEFT_ERR_FENCED);
    assert_int_equal(s_read(&self, 100), 0); // nothing of it is handed out any more
    (void) s_poll(&self);
    assert_int_equal(self.told[self.told_count - 1].type, WEFT_EVENT_LOST);
    assert_int_equal(self.told[self.told_count - 1].count, 1);
    assert_int_equal(self.told[self.told_count - 1].partitions[0], other);
    struct weft_consumer_event event = s_event(&self, WEFT_EVENT_LOST);
    assert_int_equal(event.partition, other);
    assert_int_equal(weft_consumer_part_token(self.part, "orders", other), 0);
    size_t told = self.told_count;
    s_give(&self, (const int32_t[]){fed}, 1, 0); // the group catches up: nothing is said twice
    assert_int_equal(self.told_count, told);
    s_close(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consumer_group__resumes_at_the_committed_offset_behind_its_fence),
        cmocka_unit_test(test_consumer_group__begins_by_reset_where_nothing_is_committed),
        cmocka_unit_test(test_consumer_group__a_committed_offset_that_is_gone_is_said),
        cmocka_unit_test(test_consumer_group__makes_the_offsets_topic_if_nobody_did),
        cmocka_unit_test(test_consumer_group__a_fence_is_retried_until_it_is_answered),
        cmocka_unit_test(test_consumer_group__a_seek_in_the_callback_waits_for_the_fence),
        cmocka_unit_test(test_consumer_group__commits_what_earlier_polls_returned_at_the_interval),
        cmocka_unit_test(test_consumer_group__a_poll_returns_so_many_and_the_next_what_is_left),
        cmocka_unit_test(test_consumer_group__a_limit_may_be_one),
        cmocka_unit_test(test_consumer_group__of_many_commits_the_newest_wins),
        cmocka_unit_test(test_consumer_group__a_commit_that_is_not_answered_is_sent_again_with_the_newest),
        cmocka_unit_test(test_consumer_group__a_commit_that_nobody_answers_is_given_up_and_told),
        cmocka_unit_test(test_consumer_group__commits_offsets_of_the_programs_choice),
        cmocka_unit_test(test_consumer_group__a_commit_of_what_was_read_carries_its_epoch_without_being_told),
        cmocka_unit_test(test_consumer_group__a_divergence_keeps_the_epoch_that_is_committed),
        cmocka_unit_test(test_consumer_group__a_fenced_commit_loses_that_partition_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
