// SPDX-License-Identifier: MPL-2.0
// One replica, event by event. Whole interleavings of several replicas stand in tests/trace.
#include "../../../lib/core/replica.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SELF 1

static weft_id_t s_id(uint8_t n)
{
    return (weft_id_t){.bytes = {n}};
}

static weft_replica_t *s_new(size_t waiters_max)
{
    return weft_replica_new(&(struct weft_replica_config){.self = SELF,
                                                          .sessions_max = 100,
                                                          .session_expiry_ms = 1000000,
                                                          .waiters_max = waiters_max,
                                                          .replica_lag_ms = 1000,
                                                          .incarnation = s_id(1)});
}

// Brokers 1 to `members`, the first `insync` of them in sync.
static struct weft_replica_assignment s_assignment(int32_t leader, int32_t epoch, int32_t partition_epoch,
                                                   size_t members, size_t insync, uint32_t min_insync)
{
    struct weft_replica_assignment assignment = {.leader_epoch = epoch,
                                                 .partition_epoch = partition_epoch,
                                                 .leader = leader,
                                                 .min_insync = min_insync,
                                                 .member_count = members};
    for (size_t i = 0; i < members; i++) {
        assignment.members[i].broker = (int32_t) i + 1;
        assignment.members[i].incarnation = s_id((uint8_t) (i + 1));
        assignment.members[i].in_sync = i < insync;
    }
    return assignment;
}

static weft_err_t s_assign(weft_replica_t *replica, struct weft_replica_assignment assignment)
{
    weft_err_t err = weft_replica_assign(replica, &assignment, 0);
    weft_replica_check(replica);
    return err;
}

static weft_replica_t *s_leader(size_t members, size_t insync, uint32_t min_insync)
{
    weft_replica_t *replica = s_new(100);
    weft_replica_opened(replica, 0, 0, 0, -1);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 5, 1, members, insync, min_insync)), WEFT_OK);
    return replica;
}

static struct weft_batch s_batch(int64_t producer, int32_t sequence, uint32_t count)
{
    return (struct weft_batch){.format = 1,
                               .last_offset_delta = count - 1,
                               .count = count,
                               .producer_id = producer,
                               .producer_epoch = 0,
                               .base_sequence = producer < 0 ? -1 : sequence};
}

static enum weft_replica_verdict s_produce_batch(weft_replica_t *replica, uint64_t token, enum weft_acks acks,
                                                 bool durable, struct weft_batch batch)
{
    struct weft_replica_produce produce = {.token = token, .acks = acks, .durable = durable, .batch = &batch};
    int64_t base_offset = -1;
    int32_t epoch = -1;
    enum weft_replica_verdict verdict = weft_replica_produce(replica, &produce, &base_offset, &epoch);
    if (verdict == WEFT_REPLICA_APPEND) {
        assert_int_equal(base_offset, weft_replica_log_end(replica));
        assert_int_equal(epoch, weft_replica_leader_epoch(replica));
        batch.base_offset = base_offset;
        batch.leader_epoch = epoch;
        weft_replica_appended(replica, &produce, &batch);
    }
    weft_replica_check(replica);
    return verdict;
}

static enum weft_replica_verdict s_produce(weft_replica_t *replica, uint64_t token, enum weft_acks acks, bool durable)
{
    return s_produce_batch(replica, token, acks, durable, s_batch(-1, 0, 10));
}

static void s_expect_none(weft_replica_t *replica)
{
    struct weft_replica_effect effect;
    assert_false(weft_replica_effect(replica, &effect));
}

static void s_expect_mark(weft_replica_t *replica, enum weft_replica_effect_type type, int64_t offset)
{
    struct weft_replica_effect effect;
    assert_true(weft_replica_effect(replica, &effect));
    assert_int_equal(effect.type, type);
    assert_int_equal(effect.offset, offset);
}

static void s_expect_reply(weft_replica_t *replica, uint64_t token, weft_err_t code, int64_t offset,
                           enum weft_level level)
{
    struct weft_replica_effect effect;
    assert_true(weft_replica_effect(replica, &effect));
    assert_int_equal(effect.type, WEFT_REPLICA_REPLY);
    assert_int_equal(effect.token, token);
    assert_int_equal(effect.code, code);
    assert_int_equal(effect.offset, offset);
    assert_int_equal(effect.level, level);
}

static void s_synced(weft_replica_t *replica, int64_t end)
{
    weft_replica_synced(replica, end);
    weft_replica_check(replica);
}

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

static void test_replica__trimming_moves_the_start_and_what_waits_below_it(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(1, 1, 1);
    s_produce(replica, 1, WEFT_ACKS_ALL, true);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 10);
    s_produce(replica, 2, WEFT_ACKS_ALL, true);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 20);
    weft_replica_trimmed(replica, 12);
    weft_replica_check(replica);
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 12);
    s_expect_reply(replica, 1, WEFT_OK, 0, WEFT_LEVEL_DURABLE);
    s_expect_none(replica);
    assert_int_equal(weft_replica_log_start(replica), 12);
    weft_replica_destroy(&replica);
}

static bool s_proposed(const struct weft_replica_effect *effect, size_t index)
{
    return effect->proposal.members[index].in_sync;
}

static void test_replica__a_laggard_is_asked_out_but_counts_until_confirmed(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(2, 2, 1);
    s_produce(replica, 1, WEFT_ACKS_ALL, false);
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, 10, 10, 100), WEFT_OK);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 10);
    s_expect_reply(replica, 1, WEFT_OK, 0, WEFT_LEVEL_COMMITTED);
    weft_replica_tick(replica, 5000); // idle is not behind
    s_expect_none(replica);
    s_produce(replica, 2, WEFT_ACKS_ALL, false);
    weft_replica_tick(replica, 6000);
    s_expect_none(replica);
    weft_replica_tick(replica, 6001);
    struct weft_replica_effect effect;
    assert_true(weft_replica_effect(replica, &effect));
    assert_int_equal(effect.type, WEFT_REPLICA_ASK_ISR);
    assert_true(s_proposed(&effect, 0));
    assert_false(s_proposed(&effect, 1));
    assert_int_equal(effect.proposal.partition_epoch, 1);
    assert_int_equal(weft_replica_committed(replica), 10);
    weft_replica_tick(replica, 6500);
    s_expect_none(replica);
    weft_replica_tick(replica, 7001); // no answer: again
    assert_true(weft_replica_effect(replica, &effect));
    assert_int_equal(effect.type, WEFT_REPLICA_ASK_ISR);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 5, 2, 2, 1, 1)), WEFT_OK);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 20);
    s_expect_reply(replica, 2, WEFT_OK, 10, WEFT_LEVEL_COMMITTED);
    weft_replica_destroy(&replica);
}

static void test_replica__a_hung_disk_lags_though_its_log_end_follows(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(2, 2, 1);
    struct weft_replica_effect effect;
    int64_t now = 0;
    for (int i = 0; i < 20; i++, now += 100) { // rule 3: log end keeps up, synced end stands still
        s_produce(replica, 0, WEFT_ACKS_NONE, false);
        assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, weft_replica_log_end(replica), 0, now), WEFT_OK);
        while (weft_replica_effect(replica, &effect)) assert_int_equal(effect.type, WEFT_REPLICA_COMMITTED);
    }
    weft_replica_tick(replica, now);
    assert_true(weft_replica_effect(replica, &effect));
    assert_int_equal(effect.type, WEFT_REPLICA_ASK_ISR);
    assert_false(s_proposed(&effect, 1));
    weft_replica_destroy(&replica);
}

static void test_replica__a_busy_member_a_little_behind_does_not_lag(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(2, 2, 1);
    struct weft_replica_effect effect;
    for (int64_t now = 0; now < 5000; now += 100) { // always one batch behind
        s_produce(replica, 0, WEFT_ACKS_NONE, false);
        int64_t end = weft_replica_log_end(replica) - 10;
        assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, end, end, now), WEFT_OK);
        weft_replica_tick(replica, now);
        while (weft_replica_effect(replica, &effect)) assert_int_not_equal(effect.type, WEFT_REPLICA_ASK_ISR);
    }
    weft_replica_destroy(&replica);
}

static void test_replica__joins_by_synced_end_and_counts_from_the_asking_on(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(2, 1, 1);
    s_produce(replica, 0, WEFT_ACKS_NONE, false);
    s_synced(replica, 10);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 10);
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 10);
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, 10, 9, 0), WEFT_OK); // rule 3: not yet on its disk
    s_expect_none(replica);
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, 10, 10, 0), WEFT_OK);
    struct weft_replica_effect effect;
    assert_true(weft_replica_effect(replica, &effect));
    assert_int_equal(effect.type, WEFT_REPLICA_ASK_ISR);
    assert_true(s_proposed(&effect, 1));
    s_produce(replica, 1, WEFT_ACKS_ALL, false); // rule 1: waits for 2 already
    s_expect_none(replica);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 5, 2, 2, 1, 1)),
                     WEFT_OK); // refused: another change came first
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 20);
    s_expect_reply(replica, 1, WEFT_OK, 10, WEFT_LEVEL_COMMITTED);
    weft_replica_destroy(&replica);
}

// What an earlier leader called durable may be all that this one inherited, whatever marks it knows itself. A member that
// joins without having synced that would be the last one standing when both lose power.
static void test_replica__joins_with_all_that_was_inherited_on_its_disk(void **state)
{
    (void) state;
    weft_replica_t *replica = s_new(100);
    weft_replica_opened(replica, 0, 20, 20, 4);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 5, 1, 3, 1, 2)), WEFT_OK); // below min_insync: no marks
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, 20, 8, 0), WEFT_OK);
    s_expect_none(replica);
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, 20, 20, 0), WEFT_OK);
    struct weft_replica_effect effect;
    assert_true(weft_replica_effect(replica, &effect));
    assert_int_equal(effect.type, WEFT_REPLICA_ASK_ISR);
    assert_true(s_proposed(&effect, 1));
    weft_replica_destroy(&replica);
}

static void test_replica__a_follower_takes_marks_only_of_what_it_has(void **state)
{
    (void) state;
    weft_replica_t *replica = s_new(10);
    weft_replica_opened(replica, 0, 0, 0, -1);
    assert_int_equal(s_assign(replica, s_assignment(2, 5, 1, 2, 2, 1)), WEFT_OK);
    assert_true(weft_replica_aligned(replica));
    weft_replica_leader_marks(replica, 10, 10);
    s_expect_none(replica);
    struct weft_batch batch = s_batch(9, 0, 10);
    batch.leader_epoch = 5;
    weft_replica_followed(replica, &batch);
    weft_replica_check(replica);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 10);
    s_synced(replica, 10);
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 10);
    assert_int_equal(weft_sessions_count(weft_replica_sessions(replica)), 1);
    weft_replica_destroy(&replica);
}

static void test_replica__truncates_where_the_leader_s_epoch_ends(void **state)
{
    (void) state;
    weft_replica_t *replica = s_new(10);
    weft_replica_opened(replica, 0, 100, 90, 4);
    assert_int_equal(s_assign(replica, s_assignment(2, 6, 1, 2, 2, 1)), WEFT_OK);
    assert_false(weft_replica_aligned(replica));
    weft_replica_leader_marks(replica, 95, 95);
    s_expect_none(replica);                       // our log means nothing yet
    weft_replica_diverged(replica, 3, 60, 3, 70); // the leader has no epoch 4; 3 ends at 60 there, at 70 here
    s_expect_mark(replica, WEFT_REPLICA_TRUNCATE, 60);
    weft_replica_truncated(replica, 60, 3);
    weft_replica_check(replica);
    assert_true(weft_replica_aligned(replica));
    assert_int_equal(weft_replica_synced_end(replica), 60);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 60);
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 60);
    weft_replica_destroy(&replica);
}

static void test_replica__asks_again_for_an_epoch_that_it_lacks(void **state)
{
    (void) state;
    weft_replica_t *replica = s_new(10);
    weft_replica_opened(replica, 0, 100, 100, 4);
    assert_int_equal(s_assign(replica, s_assignment(2, 6, 1, 2, 2, 1)), WEFT_OK);
    weft_replica_diverged(replica, 3, 60, 2, 50); // KIP-279: here 2 is followed by 4
    s_expect_mark(replica, WEFT_REPLICA_TRUNCATE, 50);
    weft_replica_truncated(replica, 50, 2);
    assert_false(weft_replica_aligned(replica));
    weft_replica_diverged(replica, 2, 55, 2, 50);
    s_expect_none(replica);
    assert_true(weft_replica_aligned(replica));
    weft_replica_destroy(&replica);
}

static void test_replica__tells_how_far_its_members_are(void **state)
{
    (void) state;
    struct weft_replica_peer peers[WEFT_REPLICA_MEMBERS_MAX];
    weft_replica_t *replica = s_leader(3, 2, 1);
    s_produce(replica, 1, WEFT_ACKS_LEADER, false);
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, 10, 5, 300), WEFT_OK);
    weft_replica_tick(replica, 400);
    assert_int_equal(weft_replica_peers(replica, peers), 3);
    assert_int_equal(peers[0].broker, SELF);
    assert_int_equal(peers[0].log_end, 10);
    assert_int_equal(peers[0].behind_ms, 0);
    assert_true(peers[1].in_sync && peers[1].log_end == 10 && peers[1].synced_end == 5);
    assert_true(!peers[2].in_sync && peers[2].log_end == -1 && peers[2].synced_end == -1);
    assert_int_equal(peers[2].behind_ms, 400);
    assert_true(weft_replica_counts(replica, 2));
    assert_false(weft_replica_counts(replica, 3));
    assert_false(weft_replica_counts(replica, 9));
    assert_true(weft_replica_in_sync(replica));
    weft_replica_destroy(&replica);
}

static void test_replica__knows_a_follower_by_its_start_and_epoch(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(2, 2, 1);
    assert_int_equal(weft_replica_knows(replica, 2, s_id(2), 5), WEFT_OK);
    assert_int_equal(weft_replica_knows(replica, 2, s_id(2), 4), WEFT_ERR_STALE_EPOCH);
    assert_int_equal(weft_replica_knows(replica, 2, s_id(2), 6), WEFT_ERR_UNKNOWN_EPOCH);
    assert_int_equal(weft_replica_knows(replica, 2, s_id(3), 5), WEFT_ERR_FENCED);
    assert_int_equal(weft_replica_knows(replica, 3, s_id(3), 5), WEFT_ERR_UNKNOWN_BROKER);
    weft_replica_destroy(&replica);
}

static void test_replica__a_new_incarnation_takes_its_role_with_the_next_assignment(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(2, 2, 1);
    weft_replica_set_incarnation(replica, s_id(9));
    assert_int_equal(weft_replica_role(replica), WEFT_ROLE_LEADER);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 5, 2, 2, 2, 1)), WEFT_OK); // it names the start before
    assert_int_equal(weft_replica_role(replica), WEFT_ROLE_NONE);
    struct weft_replica_assignment now = s_assignment(SELF, 6, 3, 2, 2, 1);
    now.members[0].incarnation = s_id(9);
    assert_int_equal(s_assign(replica, now), WEFT_OK);
    assert_int_equal(weft_replica_role(replica), WEFT_ROLE_LEADER);
    weft_replica_destroy(&replica);
}

static void test_replica__begins_anew_and_aligns_again_when_told(void **state)
{
    (void) state;
    weft_replica_t *replica = s_new(10);
    weft_replica_opened(replica, 0, 100, 90, 4);
    assert_int_equal(s_assign(replica, s_assignment(2, 6, 1, 2, 1, 1)), WEFT_OK);
    assert_false(weft_replica_aligned(replica));
    weft_replica_reset(replica, 500);
    weft_replica_check(replica);
    assert_true(weft_replica_aligned(replica));
    assert_int_equal(weft_replica_log_start(replica), 500);
    assert_int_equal(weft_replica_committed(replica), 500);
    assert_int_equal(weft_replica_last_epoch(replica), -1);
    weft_replica_unalign(replica); // nothing in it that could differ
    assert_true(weft_replica_aligned(replica));
    struct weft_batch batch = {
        .format = 1, .base_offset = 500, .leader_epoch = 6, .count = 10, .last_offset_delta = 9, .producer_id = -1};
    weft_replica_followed(replica, &batch);
    weft_replica_unalign(replica);
    assert_false(weft_replica_aligned(replica));
    weft_replica_diverged(replica, 6, 505, 6, 510);
    s_expect_mark(replica, WEFT_REPLICA_TRUNCATE, 505);
    weft_replica_destroy(&replica);
}

// A replica that was taken away and given back is empty, of the same start, perhaps in the same leader epoch; and a leader
// that was told of both in one may not know.
static void test_replica__a_follower_named_anew_counts_for_what_it_has_now(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(3, 3, 2);
    s_produce(replica, 0, WEFT_ACKS_NONE, false);
    s_synced(replica, 10);
    assert_int_equal(weft_replica_report(replica, 2, s_id(2), 5, 10, 10, 0), WEFT_OK);
    assert_int_equal(weft_replica_report(replica, 3, s_id(3), 5, 10, 10, 0), WEFT_OK);
    s_expect_mark(replica, WEFT_REPLICA_COMMITTED, 10);
    s_expect_mark(replica, WEFT_REPLICA_DURABLE, 10);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 5, 4, 3, 2, 2)), WEFT_OK);
    weft_replica_named(replica, 3, 0, 0, 0);
    assert_int_equal(weft_replica_report(replica, 3, s_id(3), 5, 0, 0, 100), WEFT_OK);
    assert_int_equal(weft_replica_report(replica, 3, s_id(3), 5, 5, 5, 100), WEFT_OK);
    s_expect_none(replica); // it lacks what is committed
    assert_int_equal(weft_replica_committed(replica), 10);
    assert_int_equal(weft_replica_report(replica, 3, s_id(3), 5, 10, 10, 100), WEFT_OK);
    struct weft_replica_effect effect;
    assert_true(weft_replica_effect(replica, &effect));
    assert_int_equal(effect.type, WEFT_REPLICA_ASK_ISR);
    assert_true(s_proposed(&effect, 2));
    weft_replica_named(replica, 3, 10, 10, 0); // nothing new
    s_expect_none(replica);
    weft_replica_destroy(&replica);
}

// The leader keeps nothing of our epochs any more: below its start all was deleted, above it all differs.
static void test_replica__keeps_what_lies_below_a_leader_s_start(void **state)
{
    (void) state;
    weft_replica_t *replica = s_new(10);
    weft_replica_opened(replica, 0, 100, 100, 1);
    assert_int_equal(s_assign(replica, s_assignment(2, 6, 1, 2, 2, 1)), WEFT_OK);
    weft_replica_diverged(replica, -1, 100, -1, 0);
    s_expect_none(replica);
    assert_true(weft_replica_aligned(replica));
    assert_int_equal(s_assign(replica, s_assignment(2, 7, 2, 2, 2, 1)), WEFT_OK);
    weft_replica_diverged(replica, -1, 60, -1, 0);
    s_expect_mark(replica, WEFT_REPLICA_TRUNCATE, 60);
    weft_replica_truncated(replica, 60, 1);
    weft_replica_check(replica);
    assert_true(weft_replica_aligned(replica));
    weft_replica_destroy(&replica);
}

static void test_replica__tells_when_somebody_waits_for_the_disks(void **state)
{
    (void) state;
    weft_replica_t *replica = s_leader(2, 2, 1);
    assert_false(weft_replica_durable_wanted(replica));
    s_produce(replica, 1, WEFT_ACKS_ALL, false);
    assert_false(weft_replica_durable_wanted(replica));
    s_produce(replica, 2, WEFT_ACKS_ALL, true);
    assert_true(weft_replica_durable_wanted(replica));
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
        cmocka_unit_test(test_replica__waiters_are_bounded),
        cmocka_unit_test(test_replica__marks_are_the_minimum_over_the_in_sync_set),
        cmocka_unit_test(test_replica__bad_reports_are_refused_and_change_nothing),
        cmocka_unit_test(test_replica__below_min_insync_nothing_is_taken_nor_committed),
        cmocka_unit_test(test_replica__losing_leadership_fails_waiters_as_maybe_applied),
        cmocka_unit_test(test_replica__old_assignments_are_refused),
        cmocka_unit_test(test_replica__no_leadership_in_an_epoch_of_before_the_start),
        cmocka_unit_test(test_replica__is_settled_once_all_inherited_is_committed),
        cmocka_unit_test(test_replica__a_lost_disk_ends_all_promises),
        cmocka_unit_test(test_replica__trimming_moves_the_start_and_what_waits_below_it),
        cmocka_unit_test(test_replica__a_laggard_is_asked_out_but_counts_until_confirmed),
        cmocka_unit_test(test_replica__a_hung_disk_lags_though_its_log_end_follows),
        cmocka_unit_test(test_replica__a_busy_member_a_little_behind_does_not_lag),
        cmocka_unit_test(test_replica__joins_by_synced_end_and_counts_from_the_asking_on),
        cmocka_unit_test(test_replica__joins_with_all_that_was_inherited_on_its_disk),
        cmocka_unit_test(test_replica__a_follower_takes_marks_only_of_what_it_has),
        cmocka_unit_test(test_replica__truncates_where_the_leader_s_epoch_ends),
        cmocka_unit_test(test_replica__asks_again_for_an_epoch_that_it_lacks),
        cmocka_unit_test(test_replica__tells_how_far_its_members_are),
        cmocka_unit_test(test_replica__knows_a_follower_by_its_start_and_epoch),
        cmocka_unit_test(test_replica__a_new_incarnation_takes_its_role_with_the_next_assignment),
        cmocka_unit_test(test_replica__begins_anew_and_aligns_again_when_told),
        cmocka_unit_test(test_replica__a_follower_named_anew_counts_for_what_it_has_now),
        cmocka_unit_test(test_replica__keeps_what_lies_below_a_leader_s_start),
        cmocka_unit_test(test_replica__tells_when_somebody_waits_for_the_disks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
