// SPDX-License-Identifier: MPL-2.0
// A consumer of a group: how it lets go, loses, closes, and what it does without a membership.
#include "group_fixture.h"

// ---- what is taken

static void test_consumer_rebalance__lets_go_once_its_commit_is_answered(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0, 1}, 2, 40);
    int32_t fed = s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 4), 4);
    self.commits_in_callback = true;
    s_give(&self, (const int32_t[]){1 - fed}, 1, 0);
    assert_int_equal(self.orders.revision, 1);
    assert_int_equal(self.told_count, 1);    // ASSIGNED only
    assert_int_equal(s_read(&self, 100), 0); // no more of what goes
    (void) s_poll(&self);
    assert_int_equal(self.told_count, 1);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].partition, fed);
    assert_int_equal(self.commit.entries[0].offset, 44);
    s_answer_commit(&self, call, -1, WEFT_OK);
    assert_int_equal(self.orders.revision, 1); // a step of the program's is needed
    (void) s_poll(&self);
    assert_int_equal(self.told_count, 2);
    assert_int_equal(self.told[1].type, WEFT_EVENT_REVOKED);
    assert_int_equal(self.told[1].partitions[0], fed);
    assert_int_equal(self.told[1].positions[0], 44);
    (void) s_poll(&self);
    assert_int_equal(self.orders.revision, 2);
    assert_int_equal(s_event(&self, WEFT_EVENT_REVOKED).partition, fed);
    s_close(&self);
}

static void test_consumer_rebalance__what_is_asked_back_is_not_handed_out_any_more(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"exclusive=true", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 2), 2);
    weft_desk_assignment_t *nothing = weft_desk_assignment_new(5, 2, 0);
    weft_desk_assign(self.desk, &nothing);
    assert_true(weft_consumer_part_has_news(self.part));
    s_turn(&self);
    assert_false(weft_consumer_part_has_news(self.part));
    assert_int_equal(s_read(&self, 1), 0); // though the program goes on with its poll
    assert_int_equal(self.told_count, 1);
    (void) s_poll(&self);
    (void) s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].offset, 42);
    s_close(&self);
}

static void test_consumer_rebalance__what_the_callback_commits_is_answered_first(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=0", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 4), 4);
    self.commits_in_callback = true;
    s_give(&self, NULL, 0, 0);
    assert_int_equal(self.told_count, 2);
    (void) s_poll(&self);
    assert_int_equal(self.orders.revision, 1);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].offset, 44);
    s_answer_commit(&self, call, -1, WEFT_OK);
    (void) s_poll(&self);
    assert_int_equal(self.orders.revision, 2);
    struct weft_partition_position position;
    assert_false(weft_consumer_part_position(self.part, 0, &position));
    s_close(&self);
}

static void test_consumer_rebalance__others_are_read_on_while_one_is_let_go(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0, 1}, 2, 40);
    int32_t first = s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 1), 1);
    s_give(&self, (const int32_t[]){1 - first}, 1, 0);
    assert_int_equal(s_feed(&self, 5), 1 - first);
    assert_true(s_poll(&self));
    assert_int_equal(s_read(&self, 100), 5);
    s_close(&self);
}

// Its place is gone, and where it goes on is learnt while another's commit is under way: that would be told as read.
static void test_consumer_rebalance__what_is_let_go_stays_where_it_is_committed(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"reset=earliest", NULL});
    s_own(&self, (const int32_t[]){0, 1}, 2, 40);
    int32_t first = s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 4), 4);
    const struct peer_call *fetch = s_take(&self, WEFT_API_FETCH);
    if ((int32_t) fetch->fetch.partition == first) fetch = s_take(&self, WEFT_API_FETCH);
    peer_refuse(&self.peer, fetch, WEFT_ERR_OFFSET_OUT_OF_RANGE, NULL, 0);
    s_turn(&self);
    const struct peer_call *where = s_take(&self, WEFT_API_LIST_OFFSETS);
    s_give(&self, NULL, 0, 0);
    peer_offset(&self.peer, where, 60);
    s_answer_commit(&self, s_take_commit(&self), -1, WEFT_OK);
    (void) s_poll(&self);
    assert_int_equal(self.told[1].type, WEFT_EVENT_REVOKED);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(self.told[1].positions[i], self.told[1].partitions[i] == first ? 44 : 40);
    s_close(&self);
}

static void test_consumer_rebalance__a_commit_that_hangs_does_not_hold_a_partition_for_ever(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"release.ms=4s", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 4), 4);
    s_give(&self, NULL, 0, 0);
    s_advance_ms(&self, 2100);
    (void) s_poll(&self);
    (void) s_poll(&self);
    assert_int_equal(self.orders.revision, 2);
    assert_int_equal(s_event(&self, WEFT_EVENT_COMMIT_FAILED).offset, 44);
    s_close(&self);
}

static void test_consumer_rebalance__the_same_partition_given_anew_is_let_go_first(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0}, 1, 40);
    s_give(&self, (const int32_t[]){0}, 1, 1);
    assert_int_equal(self.told[1].type, WEFT_EVENT_REVOKED);
    assert_int_equal(self.told[2].type, WEFT_EVENT_ASSIGNED);
    assert_int_equal(self.told[2].tokens[0], 110);
    (void) s_take_committed(&self);
    assert_int_equal(self.committed.entries[0].token, 110);
    s_close(&self);
}

static void test_consumer_rebalance__what_is_lost_is_neither_handed_out_nor_committed(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0, 1}, 2, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 4), 4);
    weft_desk_lost(self.desk, "the group took this member for dead");
    s_turn(&self);
    assert_int_equal(s_read(&self, 100), 0);
    assert_int_equal(self.told_count, 1); // between polls nothing is called
    (void) s_poll(&self);
    assert_int_equal(self.told[1].type, WEFT_EVENT_LOST);
    assert_int_equal(self.told[1].count, 2);
    assert_string_equal(self.told[1].text, "the group took this member for dead");
    s_advance_ms(&self, 6000);
    (void) s_poll(&self);
    assert_int_equal(s_count(&self, WEFT_API_COMMIT), 0);
    struct weft_consumer_event event = s_event(&self, WEFT_EVENT_LOST);
    assert_int_equal(event.offset, 40); // committed last
    assert_int_equal(s_event(&self, WEFT_EVENT_LOST).partition, 1);
    struct weft_partition_position position;
    assert_false(weft_consumer_part_position(self.part, 0, &position));
    s_give(&self, (const int32_t[]){0}, 1, 2);
    assert_int_equal(self.told[2].type, WEFT_EVENT_ASSIGNED);
    s_answer_committed(&self, s_take_committed(&self), 42, -1, WEFT_OK);
    s_no_event(&self, WEFT_EVENT_LOST);
    s_close(&self);
}

// Rule 22.
static void test_consumer_rebalance__exclusive_hands_out_nothing_once_the_lease_is_over(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"exclusive=true", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 2), 2);
    int64_t end_us = weft_desk_lease_us(self.desk);
    weft_fake_world_advance(self.peer.world,
                            end_us - weft_fake_world_now_us(self.peer.world)); // no turn: it was stopped
    assert_int_equal(s_read(&self, 1), 0);
    weft_desk_lease(self.desk, end_us + 10000000); // heard again, nothing was lost
    assert_int_equal(s_read(&self, 1), 1);
    weft_desk_lost(self.desk, "");
    weft_desk_lease(self.desk, end_us + 10000000); // another membership's
    assert_int_equal(s_read(&self, 1), 0);
    s_close(&self);
}

static void test_consumer_rebalance__without_exclusive_it_goes_on(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    s_advance_ms(&self, 20000);
    weft_desk_say_unheard(self.desk, true);
    s_turn(&self);
    assert_int_equal(s_read(&self, 2), 2);
    assert_int_equal(s_event(&self, WEFT_EVENT_UNHEARD).error, WEFT_ERR_COORDINATOR_UNAVAILABLE);
    s_close(&self);
}

// ---- close

static void test_consumer_rebalance__close_commits_what_is_done_with_and_leaves(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 4), 4);
    weft_consumer_part_close(self.part);
    weft_err_t err;
    assert_false(weft_consumer_part_close_step(self.part, &err));
    s_turn(&self);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].offset, 43); // the program may still be at 43
    s_answer_commit(&self, call, -1, WEFT_OK);
    assert_int_equal(self.orders.leave, WEFT_DESK_STAY);
    assert_false(weft_consumer_part_close_step(self.part, &err));
    assert_int_equal(self.told[1].type, WEFT_EVENT_REVOKED);
    s_turn(&self);
    assert_int_equal(self.orders.leave, WEFT_DESK_LEAVE);
    weft_desk_say_left(self.desk);
    s_turn(&self);
    assert_true(weft_consumer_part_close_step(self.part, &err));
    assert_ok(err);
    s_close(&self);
}

static void test_consumer_rebalance__close_takes_no_commit_back(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 4), 4);
    uint64_t ticket;
    assert_ok(weft_consumer_part_commit(self.part, &ticket)); // what it was handed last is done with
    s_turn(&self);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].offset, 44);
    s_answer_commit(&self, call, -1, WEFT_OK);
    weft_consumer_part_close(self.part);
    weft_err_t err;
    assert_false(weft_consumer_part_close_step(self.part, &err));
    s_turn(&self);
    assert_int_equal(s_count(&self, WEFT_API_COMMIT), 0);
    assert_int_equal(self.orders.leave, WEFT_DESK_LEAVE);
    s_close(&self);
}

static void test_consumer_rebalance__close_commits_all_that_was_read_to_the_end(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"instance=i", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 100), 10); // asked for more, and there was none
    weft_consumer_part_close(self.part);
    weft_err_t err;
    assert_false(weft_consumer_part_close_step(self.part, &err));
    s_turn(&self);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].offset, 50);
    s_answer_commit(&self, call, -1, WEFT_OK);
    assert_false(weft_consumer_part_close_step(self.part, &err));
    s_turn(&self);
    assert_int_equal(self.orders.leave, WEFT_DESK_PAUSE); // a static member
    s_close(&self);
}

static void test_consumer_rebalance__close_goes_on_when_all_is_lost_meanwhile(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 100), 10);
    weft_consumer_part_close(self.part);
    weft_err_t err;
    assert_false(weft_consumer_part_close_step(self.part, &err));
    s_turn(&self);
    weft_desk_lost(self.desk, "dead");
    s_turn(&self);
    assert_false(weft_consumer_part_close_step(self.part, &err));
    s_turn(&self);
    assert_int_equal(self.told[1].type, WEFT_EVENT_LOST);
    assert_int_equal(self.orders.leave, WEFT_DESK_LEAVE);
    s_close(&self);
}

// ---- without membership

static void test_consumer_rebalance__what_is_assigned_resumes_and_commits_without_membership(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    struct weft_assignment assignment = {.topic = "orders", .partition = 0};
    assert_ok(weft_consumer_part_assign(self.part, &assignment, 1));
    s_advance_ms(&self, 300);
    assert_int_equal(self.orders.subscription, 0);
    const struct peer_call *call = s_take_committed(&self);
    assert_int_equal(self.committed.entries[0].token, 0);
    s_answer_committed(&self, call, 40, -1, WEFT_OK);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 4), 4);
    uint64_t ticket;
    assert_ok(weft_consumer_part_commit(self.part, &ticket));
    s_turn(&self);
    call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].token, 0);
    assert_int_equal(self.commit.entries[0].offset, 44);
    s_answer_commit(&self, call, 0, WEFT_ERR_FENCED); // members hold it now
    weft_err_t err;
    assert_false(weft_consumer_part_committed(self.part, ticket, &err));
    peer_refuse(&self.peer, s_take(&self, WEFT_API_GROUP_TOKEN), WEFT_ERR_GROUP_NOT_EMPTY, NULL, 0);
    s_turn(&self);
    assert_true(weft_consumer_part_committed(self.part, ticket, &err));
    assert_int_equal(err, WEFT_ERR_FENCED);
    assert_int_equal(s_event(&self, WEFT_EVENT_COMMIT_FAILED).error, WEFT_ERR_FENCED);
    assert_int_equal(s_read(&self, 1), 1); // reading goes on
    weft_consumer_part_close(self.part);
    assert_false(weft_consumer_part_close_step(self.part, &err));
    s_turn(&self);
    s_answer_commit(&self, s_take_commit(&self), -1, WEFT_OK);
    assert_true(weft_consumer_part_close_step(self.part, &err));
    assert_int_equal(self.told_count, 0); // nothing was given, nothing is revoked
    s_close(&self);
}

// Where members were before, a token of the coordinator outranks them; one that another took outranks that.
static void test_consumer_rebalance__without_membership_takes_over_what_members_left(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    struct weft_assignment assignments[] = {{.topic = "orders", .partition = 0}, {.topic = "orders", .partition = 1}};
    assert_ok(weft_consumer_part_assign(self.part, assignments, 2));
    s_advance_ms(&self, 300);
    s_answer_committed(&self, s_take_committed(&self), 40, -1, WEFT_OK);
    struct weft_group_offset list[] = {{.topic = "orders", .partition = 0, .offset = 50, .leader_epoch = -1},
                                       {.topic = "orders", .partition = 1, .offset = 60, .leader_epoch = -1}};
    uint64_t ticket;
    weft_err_t err;
    assert_ok(weft_consumer_part_commit_offsets(self.part, list, 2, &ticket));
    s_turn(&self);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries_count, 2);
    s_answer_commit(&self, call, 1, WEFT_ERR_FENCED);
    assert_int_equal(s_count(&self, WEFT_API_COMMIT), 0); // nothing is sent meanwhile
    s_answer_token(&self, 77);
    call = s_take_commit(&self);
    assert_int_equal(self.commit.entries_count, 1);
    assert_int_equal(self.commit.entries[0].partition, 1);
    assert_int_equal(self.commit.entries[0].offset, 60);
    assert_int_equal(self.commit.entries[0].token, 77);
    s_answer_commit(&self, call, -1, WEFT_OK);
    assert_true(weft_consumer_part_committed(self.part, ticket, &err));
    assert_ok(err);
    for (size_t i = 0; i < 2; i++) list[i].offset += 5; // from then on
    assert_ok(weft_consumer_part_commit_offsets(self.part, list, 2, &ticket));
    s_turn(&self);
    for (uint64_t token = 77; token < 80; token++) { // somebody else takes one each time
        call = s_take_commit(&self);
        assert_int_equal(self.commit.entries[0].token, token);
        s_answer_commit(&self, call, 0, WEFT_ERR_FENCED);
        s_answer_token(&self, token + 1);
    }
    s_answer_commit(&self, s_take_commit(&self), 0, WEFT_ERR_FENCED);
    assert_true(weft_consumer_part_committed(self.part, ticket, &err));
    assert_int_equal(err, WEFT_ERR_FENCED);
    assert_int_equal(s_count(&self, WEFT_API_GROUP_TOKEN), 0);
    assert_int_equal(weft_consumer_part_token(self.part, "orders", 0), 0); // nobody gave it the partition
    s_close(&self);
}

static void test_consumer_rebalance__looks_up_what_is_committed(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    struct weft_committed list[] = {{.topic = "orders", .partition = 2}, {.topic = "orders", .partition = 3}};
    assert_ok(weft_consumer_part_look(self.part, list, 2, 1000000));
    s_advance_ms(&self, 200);
    weft_err_t err;
    assert_false(weft_consumer_part_looked(self.part, list, &err));
    const struct peer_call *call = s_take_committed(&self);
    assert_int_equal(self.committed.entries[0].token, 0); // raises nothing
    s_answer_committed(&self, call, 66, -1, WEFT_OK);
    assert_true(weft_consumer_part_looked(self.part, list, &err));
    assert_ok(err);
    assert_int_equal(list[1].offset, 66);
    assert_int_equal(list[1].partition, 3);
    assert_string_equal(list[1].metadata, "m");
    assert_int_equal(list[1].committed_ms, 77);
    s_close(&self);
}

static void test_consumer_rebalance__a_member_can_not_assign(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_subscribe(&self, WEFT_FROM_RESET);
    struct weft_assignment assignment = {.topic = "orders", .partition = 0};
    assert_int_equal(weft_consumer_part_assign(self.part, &assignment, 1), WEFT_ERR_INVALID_ARGUMENT);
    weft_desk_refuse(self.desk, WEFT_ERR_GROUP_FULL, "it is full");
    s_turn(&self);
    assert_int_equal(weft_consumer_part_fatal(self.part)->code, WEFT_ERR_GROUP_FULL);
    s_subscribe(&self, WEFT_FROM_RESET);
    assert_ok(weft_consumer_part_fatal(self.part)->code);
    s_close(&self);
}

static void test_consumer_rebalance__is_at_its_end_once_the_group_is_settled(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0}, 1, 40);
    assert_false(weft_consumer_part_at_end(self.part));
    weft_desk_settle(self.desk, true);
    s_turn(&self);
    assert_false(weft_consumer_part_at_end(self.part)); // it has an end yet to be heard of
    (void) s_feed(&self, 2);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 100), 2);
    assert_true(weft_consumer_part_at_end(self.part));
    s_close(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consumer_rebalance__lets_go_once_its_commit_is_answered),
        cmocka_unit_test(test_consumer_rebalance__what_is_asked_back_is_not_handed_out_any_more),
        cmocka_unit_test(test_consumer_rebalance__what_the_callback_commits_is_answered_first),
        cmocka_unit_test(test_consumer_rebalance__others_are_read_on_while_one_is_let_go),
        cmocka_unit_test(test_consumer_rebalance__what_is_let_go_stays_where_it_is_committed),
        cmocka_unit_test(test_consumer_rebalance__a_commit_that_hangs_does_not_hold_a_partition_for_ever),
        cmocka_unit_test(test_consumer_rebalance__the_same_partition_given_anew_is_let_go_first),
        cmocka_unit_test(test_consumer_rebalance__what_is_lost_is_neither_handed_out_nor_committed),
        cmocka_unit_test(test_consumer_rebalance__exclusive_hands_out_nothing_once_the_lease_is_over),
        cmocka_unit_test(test_consumer_rebalance__without_exclusive_it_goes_on),
        cmocka_unit_test(test_consumer_rebalance__close_commits_what_is_done_with_and_leaves),
        cmocka_unit_test(test_consumer_rebalance__close_takes_no_commit_back),
        cmocka_unit_test(test_consumer_rebalance__close_commits_all_that_was_read_to_the_end),
        cmocka_unit_test(test_consumer_rebalance__close_goes_on_when_all_is_lost_meanwhile),
        cmocka_unit_test(test_consumer_rebalance__what_is_assigned_resumes_and_commits_without_membership),
        cmocka_unit_test(test_consumer_rebalance__without_membership_takes_over_what_members_left),
        cmocka_unit_test(test_consumer_rebalance__looks_up_what_is_committed),
        cmocka_unit_test(test_consumer_rebalance__a_member_can_not_assign),
        cmocka_unit_test(test_consumer_rebalance__is_at_its_end_once_the_group_is_settled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
