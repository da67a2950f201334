// SPDX-License-Identifier: MPL-2.0
// One replica, event by event: its members, the in-sync set, and itself as a follower.
#include "replica_fixture.h"

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
