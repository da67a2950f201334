// SPDX-License-Identifier: MPL-2.0
// One replica, event by event: roles, producers, marks. Whole interleavings of several replicas stand in tests/trace.
#include "replica_fixture.h"

static void test_replica__alone_commits_at_append_and_is_durable_at_sync(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(1, 1, 1);
    assert_true(weft_replica_settled(replica));
    s_produce(replica, 7, WEFT_ACKS_ALL, true);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 10);
    s_expect_none(replica);
    assert_true(weft_replica_wants_sync(replica));
    s_synced(replica, 10);
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 10);
    s_expect_reply(replica, 7, WEFT_OK, 0, WEFT_LEVEL_DURABLE);
    s_expect_none(replica);
    assert_false(weft_replica_wants_sync(replica));
    weft_replica_destroy(&replica);
}

static void test_replica__each_ack_level_is_answered_at_its_mark(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(1, 1, 1);
    s_produce(replica, 1, WEFT_ACKS_NONE, false);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 10);
    s_expect_none(replica);
    s_produce(replica, 2, WEFT_ACKS_LEADER, false);
    s_expect_reply(replica, 2, WEFT_OK, 10, WEFT_LEVEL_LEADER);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 20);
    s_produce(replica, 3, WEFT_ACKS_ALL, false);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 30);
    s_expect_reply(replica, 3, WEFT_OK, 20, WEFT_LEVEL_COMMITTED);
    s_produce(replica, 4, WEFT_ACKS_ALL, true);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 40);
    s_expect_none(replica);
    s_synced(replica, 35); // a sync may end in the middle of a batch's wait
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 35);
    s_expect_none(replica);
    s_synced(replica, 40);
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 40);
    s_expect_reply(replica, 4, WEFT_OK, 30, WEFT_LEVEL_DURABLE);
    weft_replica_destroy(&replica);
}

static void test_replica__who_does_not_lead_refuses(void **state)
{
    (void) state;
    weft_replica_t *replica = s_new(10);
    assert_int_equal(s_produce(replica, 1, WEFT_ACKS_ALL, true), WEFT_REPLICA_HANDLED);
    s_expect_reply(replica, 1, WEFT_ERR_NOT_LEADER, -1, WEFT_LEVEL_NONE);
    assert_int_equal(s_assign(replica, s_assignment(2, 5, 1, 2, 2, 1)), WEFT_OK);
    weft_replica_opened(replica, 0, 0, 0, -1);
    assert_int_equal(weft_replica_role(replica), WEFT_ROLE_FOLLOWER);
    assert_int_equal(weft_replica_leader(replica), 2);
    s_produce(replica, 2, WEFT_ACKS_LEADER, false);
    s_expect_reply(replica, 2, WEFT_ERR_NOT_LEADER, -1, WEFT_LEVEL_NONE);
    s_produce(replica, 3, WEFT_ACKS_NONE, false);
    s_expect_none(replica);
    weft_replica_destroy(&replica);
}

static void test_replica__assignment_may_come_before_the_log(void **state)
{
    (void) state;
    weft_replica_t *replica = s_new(10);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 5, 1, 1, 1, 1)), WEFT_OK);
    assert_int_equal(weft_replica_role(replica), WEFT_ROLE_NONE);
    weft_replica_opened(replica, 3, 50, 40, 4);
    assert_int_equal(weft_replica_role(replica), WEFT_ROLE_LEADER);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 50);
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 40);
    assert_true(weft_replica_wants_sync(replica));
    weft_replica_destroy(&replica);
}

static void test_replica__a_failed_append_changes_nothing(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(1, 1, 1);
    struct weft_batch batch = s_batch(9, 0, 10);
    struct weft_replica_produce produce = {.token = 1, .acks = WEFT_ACKS_ALL, .durable = true, .batch = &batch};
    int64_t base;
    int32_t epoch;
    assert_int_equal(weft_replica_produce(replica, &produce, &base, &epoch), WEFT_REPLICA_APPEND);
    weft_replica_append_failed(replica, &produce, WEFT_ERR_DISK_FULL);
    s_expect_reply(replica, 1, WEFT_ERR_DISK_FULL, -1, WEFT_LEVEL_NONE);
    assert_int_equal(weft_replica_log_end(replica), 0);
    assert_int_equal(weft_sessions_count(weft_replica_sessions(replica)), 0);
    s_produce_batch(replica, 2, WEFT_ACKS_ALL, true, s_batch(9, 10, 10)); // the next one in flight must not overtake
    s_expect_reply(replica, 2, WEFT_ERR_UNKNOWN_PRODUCER, -1, WEFT_LEVEL_NONE);
    assert_int_equal(s_produce_batch(replica, 3, WEFT_ACKS_ALL, true, s_batch(9, 0, 10)), WEFT_REPLICA_APPEND);
    weft_replica_destroy(&replica);
}

static void test_replica__session_verdicts_become_errors(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(1, 1, 1);
    s_produce_batch(replica, 1, WEFT_ACKS_LEADER, false, s_batch(9, 0, 10));
    s_expect_reply(replica, 1, WEFT_OK, 0, WEFT_LEVEL_LEADER);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 10);
    s_produce_batch(replica, 2, WEFT_ACKS_LEADER, false, s_batch(9, 11, 10));
    s_expect_reply(replica, 2, WEFT_ERR_OUT_OF_ORDER_SEQUENCE, -1, WEFT_LEVEL_NONE);
    struct weft_batch newer = s_batch(9, 0, 10);
    newer.producer_epoch = 1;
    s_produce_batch(replica, 3, WEFT_ACKS_LEADER, false, newer);
    s_expect_reply(replica, 3, WEFT_OK, 10, WEFT_LEVEL_LEADER);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 20);
    s_produce_batch(replica, 4, WEFT_ACKS_LEADER, false, s_batch(9, 10, 10));
    s_expect_reply(replica, 4, WEFT_ERR_PRODUCER_FENCED, -1, WEFT_LEVEL_NONE);
    weft_replica_destroy(&replica);
}

static void test_replica__a_duplicate_waits_for_the_mark_of_its_level(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(1, 1, 1);
    s_produce_batch(replica, 1, WEFT_ACKS_ALL, true, s_batch(9, 0, 10));
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 10);
    s_produce_batch(replica, 2, WEFT_ACKS_ALL, true, s_batch(9, 10, 10));
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 20);
    assert_int_equal(s_produce_batch(replica, 3, WEFT_ACKS_ALL, true, s_batch(9, 0, 10)), WEFT_REPLICA_HANDLED);
    s_expect_none(replica);
    s_produce_batch(replica, 4, WEFT_ACKS_ALL, false, s_batch(9, 0, 10)); // committed is enough for this one
    s_expect_reply(replica, 4, WEFT_OK, 0, WEFT_LEVEL_COMMITTED);
    assert_int_equal(weft_replica_waiter_count(replica), 3);
    s_synced(replica, 10);
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 10);
    s_expect_reply(replica, 1, WEFT_OK, 0, WEFT_LEVEL_DURABLE);
    s_expect_reply(replica, 3, WEFT_OK, 0, WEFT_LEVEL_DURABLE);
    s_expect_none(replica);
    s_synced(replica, 20);
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 20);
    s_expect_reply(replica, 2, WEFT_OK, 10, WEFT_LEVEL_DURABLE);
    weft_replica_destroy(&replica);
}

static void test_replica__an_old_duplicate_waits_for_the_mark_below_the_window(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(1, 1, 1);
    for (int i = 0; i < WEFT_SESSION_WINDOW + 2; i++) { // two more than are remembered
        s_produce_batch(replica, 1, WEFT_ACKS_NONE, true, s_batch(9, i * 10, 10));
        s_expect_mark(replica, WEFT_REPLICA_COMMITTED, (i + 1) * 10);
    }
    assert_int_equal(s_produce_batch(replica, 2, WEFT_ACKS_ALL, true, s_batch(9, 0, 10)), WEFT_REPLICA_HANDLED);
    s_expect_none(replica);
    s_produce_batch(replica, 3, WEFT_ACKS_ALL, false, s_batch(9, 0, 10)); // committed is enough for this one
    s_expect_reply(replica, 3, WEFT_ERR_DUPLICATE_SEQUENCE, -1, WEFT_LEVEL_NONE);
    s_produce_batch(replica, 4, WEFT_ACKS_LEADER, true, s_batch(9, 0, 10)); // and for this one that it was written
    s_expect_reply(replica, 4, WEFT_ERR_DUPLICATE_SEQUENCE, -1, WEFT_LEVEL_NONE);
    s_synced(replica, 10); // it is durable, but where it ended is forgotten
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 10);
    s_expect_none(replica);
    s_synced(replica, 20);
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 20);
    s_expect_reply(replica, 2, WEFT_ERR_DUPLICATE_SEQUENCE, -1, WEFT_LEVEL_NONE);
    s_produce_batch(replica, 5, WEFT_ACKS_ALL, true, s_batch(9, 10, 10)); // from now on at once
    s_expect_reply(replica, 5, WEFT_ERR_DUPLICATE_SEQUENCE, -1, WEFT_LEVEL_NONE);
    weft_replica_destroy(&replica);
}

static void test_replica__an_old_duplicate_fails_with_the_leadership(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(2, 2, 1);
    for (int i = 0; i <= WEFT_SESSION_WINDOW; i++)
        s_produce_batch(replica, 1, WEFT_ACKS_NONE, true, s_batch(9, i * 10, 10));
    s_produce_batch(replica, 2, WEFT_ACKS_ALL, true, s_batch(9, 0, 10));
    s_produce_batch(replica, 3, WEFT_ACKS_ALL, false, s_batch(9, 0, 10));
    s_expect_none(replica);
    assert_int_equal(s_assign(replica, s_assignment(2, 6, 2, 2, 2, 1)), WEFT_OK);
    s_expect_reply(replica, 3, WEFT_ERR_LEADER_CHANGED, -1, WEFT_LEVEL_NONE); // no word of what may be lost
    s_expect_reply(replica, 2, WEFT_ERR_LEADER_CHANGED, -1, WEFT_LEVEL_NONE);
    weft_replica_destroy(&replica);
}

static void test_replica__waiters_are_bounded(void **state)
{
    (void) state;
    weft_replica_t *replica = s_new(2);
    weft_replica_opened(replica, 0, 0, 0, -1);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 5, 1, 1, 1, 1)), WEFT_OK);
    s_produce(replica, 1, WEFT_ACKS_ALL, true);
    s_produce(replica, 2, WEFT_ACKS_ALL, true);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 10);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 20);
    assert_int_equal(s_produce(replica, 3, WEFT_ACKS_ALL, true), WEFT_REPLICA_HANDLED);
    s_expect_reply(replica, 3, WEFT_ERR_OVERLOADED, -1, WEFT_LEVEL_NONE);
    assert_true(weft_replica_cancel(replica, 1));
    assert_false(weft_replica_cancel(replica, 1));
    assert_int_equal(s_produce(replica, 4, WEFT_ACKS_ALL, true), WEFT_REPLICA_APPEND);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 30);
    s_synced(replica, 30);
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 30);
    s_expect_reply(replica, 2, WEFT_OK, 10, WEFT_LEVEL_DURABLE);
    s_expect_reply(replica, 4, WEFT_OK, 20, WEFT_LEVEL_DURABLE);
    weft_replica_destroy(&replica);
}

static void test_replica__marks_are_the_minimum_over_the_in_sync_set(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(3, 3, 2);
    s_produce(replica, 1, WEFT_ACKS_ALL, true);
    s_synced(replica, 10);
    s_expect_none(replica);
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, 10, 0, 1), WEFT_OK);
    s_expect_none(replica);
    assert_int_equal(weft_replica_report(replica, 3, s_id(3), 5, 10, 10, 1), WEFT_OK);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 10);
    s_expect_none(replica);
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, 5, 5, 1), WEFT_OK); // overtaken: no step back
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 5);
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, 10, 10, 1), WEFT_OK);
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 10);
    s_expect_reply(replica, 1, WEFT_OK, 0, WEFT_LEVEL_DURABLE);
    weft_replica_check(replica);
    weft_replica_destroy(&replica);
}

static void test_replica__bad_reports_are_refused_and_change_nothing(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(2, 2, 1);
    s_produce(replica, 1, WEFT_ACKS_ALL, false);
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 4, 10, 10, 1), WEFT_ERR_STALE_EPOCH);
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 6, 10, 10, 1), WEFT_ERR_UNKNOWN_EPOCH);
    assert_int_equal(weft_replica_report(replica, 2, s_id(9), 5, 10, 10, 1), WEFT_ERR_FENCED);
    assert_int_equal(weft_replica_report(replica, 8, s_id(2), 5, 10, 10, 1), WEFT_ERR_UNKNOWN_BROKER);
    assert_int_equal(weft_replica_report(replica, SELF, s_id(1), 5, 10, 10, 1), WEFT_ERR_UNKNOWN_BROKER);
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, 11, 10, 1), WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, 5, 10, 1), WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, 5, -1, 1), WEFT_ERR_INVALID_REQUEST);
    s_expect_none(replica);
    assert_int_equal(weft_replica_committed(replica), 0);
    assert_int_equal(s_assign(replica, s_assignment(2, 6, 2, 2, 2, 1)), WEFT_OK);
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 6, 0, 0, 1), WEFT_ERR_NOT_LEADER);
    weft_replica_destroy(&replica);
}

static void test_replica__below_min_insync_nothing_is_taken_nor_committed(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(2, 1, 2);
    s_produce(replica, 1, WEFT_ACKS_ALL, true);
    s_expect_reply(replica, 1, WEFT_ERR_NOT_ENOUGH_REPLICAS, -1, WEFT_LEVEL_NONE);
    assert_int_equal(weft_replica_log_end(replica), 0);
    s_produce(replica, 2, WEFT_ACKS_LEADER, false);
    s_expect_reply(replica, 2, WEFT_OK, 0, WEFT_LEVEL_LEADER);
    s_expect_none(replica); // KIP-966: the mark does not pass
    s_synced(replica, 10);
    s_expect_none(replica);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 5, 2, 2, 1, 1)), WEFT_OK); // a person lowers the bar
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 10);
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 10);
    weft_replica_destroy(&replica);
}

static void test_replica__losing_leadership_fails_waiters_as_maybe_applied(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(2, 2, 1);
    s_produce(replica, 1, WEFT_ACKS_ALL, true);
    s_produce(replica, 2, WEFT_ACKS_ALL, false);
    assert_int_equal(s_assign(replica, s_assignment(2, 6, 2, 2, 2, 1)), WEFT_OK);
    s_expect_reply(replica, 2, WEFT_ERR_LEADER_CHANGED, 10, WEFT_LEVEL_NONE);
    s_expect_reply(replica, 1, WEFT_ERR_LEADER_CHANGED, 0, WEFT_LEVEL_NONE);
    assert_int_equal(weft_err_outcome(WEFT_ERR_LEADER_CHANGED), WEFT_OUTCOME_MAYBE_APPLIED);
    assert_int_equal(weft_replica_waiter_count(replica), 0);
    weft_replica_destroy(&replica);
}

static void test_replica__old_assignments_are_refused(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(2, 2, 1);
    assert_int_equal(s_assign(replica, s_assignment(2, 4, 2, 2, 2, 1)), WEFT_ERR_STALE_EPOCH);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 5, 0, 2, 2, 1)), WEFT_ERR_STALE_EPOCH);
    assert_int_equal(s_assign(replica, s_assignment(2, 5, 2, 2, 2, 1)), WEFT_ERR_STALE_EPOCH); // two leaders
    struct weft_replica_assignment many = s_assignment(SELF, 6, 2, 2, 2, 1);
    many.member_count = WEFT_REPLICA_MEMBERS_MAX + 1;
    assert_int_equal(s_assign(replica, many), WEFT_ERR_INVALID_ARGUMENT);
    assert_int_equal(weft_replica_role(replica), WEFT_ROLE_LEADER);
    assert_int_equal(weft_replica_leader_epoch(replica), 5);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 5, 1, 2, 2, 1)), WEFT_OK); // the same again
    weft_replica_destroy(&replica);
}

static void test_replica__no_leadership_in_an_epoch_of_before_the_start(void **state)
{
    (void) state;
    weft_replica_t *replica = s_new(10);
    weft_replica_opened(replica, 0, 100, 100, 5);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 5, 1, 1, 1, 1)), WEFT_ERR_STALE_EPOCH);
    assert_int_equal(weft_replica_role(replica), WEFT_ROLE_NONE);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 6, 2, 1, 1, 1)), WEFT_OK);
    assert_int_equal(weft_replica_role(replica), WEFT_ROLE_LEADER);
    weft_replica_destroy(&replica);

    replica = s_new(10);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 5, 1, 1, 1, 1)), WEFT_OK);
    weft_replica_opened(replica, 0, 100, 100, 5);
    assert_int_equal(weft_replica_role(replica), WEFT_ROLE_NONE);
    weft_replica_destroy(&replica);

    replica = s_new(10); // the coordinator still means our previous start
    weft_replica_opened(replica, 0, 0, 0, -1);
    struct weft_replica_assignment old = s_assignment(SELF, 5, 1, 1, 1, 1);
    old.members[0].incarnation = s_id(99);
    assert_int_equal(s_assign(replica, old), WEFT_OK);
    assert_int_equal(weft_replica_role(replica), WEFT_ROLE_NONE);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 6, 2, 1, 1, 1)), WEFT_OK);
    assert_int_equal(weft_replica_role(replica), WEFT_ROLE_LEADER);
    weft_replica_destroy(&replica);
}

static void test_replica__is_settled_once_all_inherited_is_committed(void **state)
{
    (void) state;
    weft_replica_t *replica = s_new(10);
    weft_replica_opened(replica, 0, 100, 100, 4);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 5, 1, 2, 2, 1)), WEFT_OK);
    assert_false(weft_replica_settled(replica));
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, 99, 99, 0), WEFT_OK);
    assert_false(weft_replica_settled(replica));
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, 100, 99, 0), WEFT_OK);
    assert_true(weft_replica_settled(replica));
    weft_replica_destroy(&replica);
}

static void test_replica__a_lost_disk_ends_all_promises(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(1, 1, 1);
    s_produce(replica, 1, WEFT_ACKS_ALL, true);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 10);
    weft_replica_disk_failed(replica);
    s_expect_reply(replica, 1, WEFT_ERR_DISK_FAILED, 0, WEFT_LEVEL_NONE);
    s_synced(replica, 10);
    s_expect_none(replica);
    s_produce(replica, 2, WEFT_ACKS_LEADER, true);
    s_expect_reply(replica, 2, WEFT_ERR_DISK_FAILED, -1, WEFT_LEVEL_NONE);
    assert_false(weft_replica_wants_sync(replica));
    weft_replica_destroy(&replica);
}

static void test_replica__trimming_moves_the_start_and_no_mark(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(1, 1, 1);
    s_produce(replica, 1, WEFT_ACKS_ALL, true);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 10);
    s_produce(replica, 2, WEFT_ACKS_ALL, true);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 20);
    s_synced(replica, 10);
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 10);
    s_expect_reply(replica, 1, WEFT_OK, 0, WEFT_LEVEL_DURABLE);
    weft_replica_trimmed(replica, 10);
    weft_replica_check(replica);
    s_expect_none(replica);
    assert_int_equal(weft_replica_log_start(replica), 10);
    assert_int_equal(weft_replica_durable(replica), 10);
    weft_replica_destroy(&replica);
}

static void test_replica__what_a_follower_s_leader_deleted_is_durable(void **state)
{
    (void) state;
    weft_replica_t *replica = s_new(100);
    weft_replica_opened(replica, 0, 20, 0, 5);
    assert_int_equal(s_assign(replica, s_assignment(2, 6, 1, 2, 2, 1)), WEFT_OK);
    weft_replica_diverged(replica, 5, 20, 5, 20);
    weft_replica_leader_marks(replica, 20, 15);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 20);
    s_expect_none(replica); // nothing of it is synced here
    weft_replica_trimmed(replica, 12);
    weft_replica_check(replica);
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 12); // the leader's mark was there before it deleted
    assert_int_equal(weft_replica_synced_end(replica), 12);
    weft_replica_destroy(&replica);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replica__alone_commits_at_append_and_is_durable_at_sync),
        cmocka_unit_test(test_replica__each_ack_level_is_answered_at_its_mark),
        cmocka_unit_test(test_replica__who_does_not_lead_refuses),
        cmocka_unit_test(test_replica__assignment_may_come_before_the_log),
        cmocka_unit_test(test_replica__a_failed_append_changes_nothing),
        cmocka_unit_test(test_replica__session_verdicts_become_errors),
        cmocka_unit_test(test_replica__a_duplicate_waits_for_the_mark_of_its_level),
        cmocka_unit_test(test_replica__an_old_duplicate_waits_for_the_mark_below_the_window),
        cmocka_unit_test(test_replica__an_old_duplicate_fails_with_the_leadership),
        cmocka_unit_test(test_replica__waiters_are_bounded),
        cmocka_unit_test(test_replica__marks_are_the_minimum_over_the_in_sync_set),
        cmocka_unit_test(test_replica__bad_reports_are_refused_and_change_nothing),
        cmocka_unit_test(test_replica__below_min_insync_nothing_is_taken_nor_committed),
        cmocka_unit_test(test_replica__losing_leadership_fails_waiters_as_maybe_applied),
        cmocka_unit_test(test_replica__old_assignments_are_refused),
        cmocka_unit_test(test_replica__no_leadership_in_an_epoch_of_before_the_start),
        cmocka_unit_test(test_replica__is_settled_once_all_inherited_is_committed),
        cmocka_unit_test(test_replica__a_lost_disk_ends_all_promises),
        cmocka_unit_test(test_replica__trimming_moves_the_start_and_no_mark),
        cmocka_unit_test(test_replica__what_a_follower_s_leader_deleted_is_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
