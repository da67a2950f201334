// SPDX-License-Identifier: MPL-2.0
// Who may lead, by the interleavings of REPLICATION.md: eligible members, the frozen last set, what a start means.
#include "cluster_fixture.h"

// Topic 1, partition 0 on brokers 1, 2, 3, whose incarnations are their ids; min_insync is 2.
static const struct weft_cluster_partition *s_three(struct fixture *self)
{
    for (int32_t i = 1; i <= 3; i++) assert_int_equal(s_register(self, i, (uint8_t) i, true), WEFT_OK);
    int32_t replicas[3] = {1, 2, 3};
    assert_int_equal(s_create(self, "t", 1, 1, replicas, 3), WEFT_OK);
    return s_partition(self, 1, 0);
}

// Bits of the replicas: broker i is bit i - 1.
static void s_assert_sets(const struct weft_cluster_partition *partition, int32_t leader, unsigned isr,
                          unsigned eligible, unsigned unsure)
{
    unsigned in = 0;
    for (uint8_t i = 0; i < partition->isr_count; i++) in |= 1u << (partition->isr[i] - 1);
    assert_int_equal(partition->leader, leader);
    assert_int_equal(in, isr);
    assert_int_equal(partition->eligible, eligible);
    assert_int_equal(partition->unsure, unsure);
}

// Brokers 3, 2, 1 are lost in this order: 1 and 2 are the last that have everything.
static const struct weft_cluster_partition *s_frozen(struct fixture *self)
{
    const struct weft_cluster_partition *partition = s_three(self);
    for (int32_t i = 3; i >= 1; i--) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    s_assert_sets(partition, -1, 1, 2, 0);
    return partition;
}

// ---- eligible members (KIP-966)

static void test_cluster_elect__who_leaves_a_set_below_min_insync_stays_eligible(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    assert_int_equal(s_fence(self, 3, 3), WEFT_OK);
    s_assert_sets(partition, 1, 3, 0, 0); // two are left: records are committed without 3
    assert_int_equal(s_fence(self, 2, 2), WEFT_OK);
    s_assert_sets(partition, 1, 1, 2, 0); // none is committed without 2
    assert_int_equal(s_register(self, 3, 3, true), WEFT_OK);
    int32_t isr[2] = {1, 3};
    uint8_t incarnations[2] = {1, 3};
    assert_int_equal(s_ask(self, 1, isr, incarnations, 2, 1, -1), WEFT_OK);
    s_assert_sets(partition, 1, 5, 0, 0); // C7: 1 and 3 commit again
}

static void test_cluster_elect__an_eligible_member_leads_when_the_in_sync_ones_are_lost(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    for (int32_t i = 3; i >= 2; i--) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    assert_int_equal(s_register(self, 2, 2, false), WEFT_OK); // it was only fenced, whatever it says of its stop
    assert_int_equal(s_register(self, 3, 13, true), WEFT_OK);
    s_assert_sets(partition, 1, 1, 2, 0);
    assert_int_equal(s_fence(self, 1, 1), WEFT_OK);
    s_assert_sets(partition, 2, 2, 1, 0); // 3 is alive too, but lacks what 1 and 2 committed; 1 has everything still
    assert_int_equal(partition->leader_epoch, 1);
    assert_int_equal(s_register(self, 1, 11, false), WEFT_OK);
    s_assert_sets(partition, 2, 2, 0, 0); // no more: it may have lost it
}

static void test_cluster_elect__lowering_min_insync_ends_eligibility(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    for (int32_t i = 3; i >= 2; i--) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    s_assert_sets(partition, 1, 1, 2, 0);
    assert_int_equal(s_alter(self, 1, "2"), WEFT_OK); // as before
    assert_int_equal(self->partitions, 0);
    int32_t epoch = partition->partition_epoch;
    assert_int_equal(s_alter(self, 1, "1"), WEFT_OK);
    s_assert_sets(partition, 1, 1, 0, 0); // from now on 1 commits alone
    assert_int_equal(partition->partition_epoch, epoch + 1);
    assert_int_equal(self->partitions, 1);
    assert_int_equal(s_fence(self, 1, 1), WEFT_OK);
    assert_int_equal(s_register(self, 2, 2, true), WEFT_OK);
    s_assert_sets(partition, -1, 1, 0, 0);
}

// ---- the frozen last set (rule 4)

static void test_cluster_elect__a_member_that_was_only_fenced_leads_at_once(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_frozen(self);
    assert_int_equal(s_register(self, 3, 3, true), WEFT_OK);
    s_assert_sets(partition, -1, 1, 2, 0); // not one of them
    assert_int_equal(s_register(self, 2, 2, false), WEFT_OK);
    s_assert_sets(partition, 2, 2, 1, 0);
}

static void test_cluster_elect__a_clean_start_of_a_member_leads_at_once(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_frozen(self);
    int32_t epoch = partition->leader_epoch;
    assert_int_equal(s_register(self, 2, 12, true), WEFT_OK);
    s_assert_sets(partition, 2, 2, 1, 0);
    assert_int_equal(partition->leader_epoch, epoch + 1);
}

static void test_cluster_elect__unclean_starts_wait_for_all_and_for_a_report(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_frozen(self);
    assert_int_equal(s_register(self, 2, 12, false), WEFT_OK);
    s_assert_sets(partition, -1, 1, 2, 2);
    assert_int_equal(s_register(self, 2, 22, true), WEFT_OK); // a clean stop later brings nothing back
    s_assert_sets(partition, -1, 1, 2, 2);
    assert_int_equal(s_elect(self, 1, 3, 3, false), WEFT_ERR_NO_ELIGIBLE_LEADER);
    assert_int_equal(s_register(self, 1, 11, false), WEFT_OK);
    s_assert_sets(partition, -1, 1, 2, 3);                                  // both are there, neither is sure
    assert_int_equal(s_elect(self, 1, 2, 12, false), WEFT_ERR_STALE_EPOCH); // what an earlier start reported
    assert_int_equal(s_elect(self, 1, 2, 22, false), WEFT_OK);
    s_assert_sets(partition, 2, 2, 0, 0); // the others catch up
    assert_int_equal(s_elect(self, 1, 1, 11, false), WEFT_ERR_ELECTION_NOT_NEEDED);
}

static void test_cluster_elect__nothing_shrinks_the_frozen_set(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_frozen(self);
    int32_t isr[2] = {2, 3};
    assert_int_equal(s_register(self, 2, 12, false), WEFT_OK);
    assert_int_equal(s_change(self, 1, partition->partition_epoch, 2, isr, 1), WEFT_ERR_NO_ELIGIBLE_LEADER);
    assert_int_equal(s_change(self, 1, partition->partition_epoch, -1, isr, 2), WEFT_ERR_NO_ELIGIBLE_LEADER);
    assert_int_equal(s_alter(self, 1, "1"), WEFT_OK);
    s_assert_sets(partition, -1, 1, 2, 2);
    assert_int_equal(s_fence(self, 2, 12), WEFT_OK);
    s_assert_sets(partition, -1, 1, 2, 2);
    int32_t others[2] = {3, 2}; // would give up broker 1
    assert_int_equal(s_reassign(self, 1, others, 2), WEFT_OK);
    assert_int_equal(s_reassign(self, 1, NULL, 0), WEFT_OK);
    s_assert_sets(partition, -1, 1, 2, 2);
}

static void test_cluster_elect__the_only_one_that_can_have_anything_leads_at_once(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    assert_int_equal(s_alter(self, 1, "1"), WEFT_OK);
    for (int32_t i = 3; i >= 2; i--) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    assert_int_equal(s_heard(self, 1, 1, 0), WEFT_OK); // so the others have nothing that it lacks
    assert_int_equal(s_fence(self, 1, 1), WEFT_OK);
    s_assert_sets(partition, -1, 1, 0, 0);
    assert_int_equal(s_register(self, 1, 11, false), WEFT_OK);
    s_assert_sets(partition, 1, 1, 0, 0);
    assert_int_equal(partition->leader_epoch, 2);
}

static void test_cluster_elect__a_person_may_lose_records_and_nobody_else(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_frozen(self);
    assert_int_equal(s_elect(self, 1, 3, 3, true), WEFT_ERR_NO_ELIGIBLE_LEADER); // not alive
    assert_int_equal(s_register(self, 3, 3, true), WEFT_OK);
    assert_int_equal(s_elect(self, 1, 3, 9, true), WEFT_ERR_STALE_EPOCH);
    assert_int_equal(s_elect(self, 1, 4, 4, true), WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(s_elect(self, 1, 3, 3, true), WEFT_OK);
    s_assert_sets(partition, 3, 4, 0, 0); // what 1 and 2 have is not the partition's any more
    assert_int_equal(s_register(self, 1, 1, true), WEFT_OK);
    s_assert_sets(partition, 3, 4, 0, 0);
    assert_int_equal(s_elect(self, 1, 1, 1, false), WEFT_ERR_ELECTION_NOT_NEEDED);
    assert_int_equal(s_elect(self, 1, 1, 1, true), WEFT_OK); // also from a leader
    s_assert_sets(partition, 1, 1, 0, 0);
}

// ---- starts (rule 2)

static void test_cluster_elect__an_unclean_start_within_the_session_frees_the_partition_or_freezes_it(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    assert_int_equal(s_register(self, 1, 11, false), WEFT_OK); // the leader
    s_assert_sets(partition, 2, 6, 0, 0);
    assert_int_equal(s_register(self, 3, 13, false), WEFT_OK); // a follower
    s_assert_sets(partition, 2, 2, 0, 0); // below min_insync, but it is not eligible: it may lack its tail
    assert_int_equal(partition->leader_epoch, 1);
}

static void test_cluster_elect__the_last_in_sync_one_starts_uncleanly_beside_an_eligible_one(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    for (int32_t i = 3; i >= 2; i--) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    int32_t epoch = partition->leader_epoch;
    assert_int_equal(s_register(self, 1, 11, false), WEFT_OK);
    s_assert_sets(partition, -1, 1, 2, 1); // 2 has everything for sure: it is waited for
    assert_int_equal(partition->leader_epoch, epoch + 1);
    assert_int_equal(s_register(self, 2, 2, true), WEFT_OK);
    s_assert_sets(partition, 2, 2, 0, 0);
}

static void test_cluster_elect__a_clean_start_stays_in_sync_and_another_takes_over(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    assert_int_equal(s_register(self, 2, 12, true), WEFT_OK);
    s_assert_sets(partition, 1, 7, 0, 0);
    assert_int_equal(partition->leader_epoch, 0);
    assert_int_equal(s_register(self, 1, 11, true), WEFT_OK); // it has logs to open first
    s_assert_sets(partition, 2, 7, 0, 0);
    assert_int_equal(partition->leader_epoch, 1);
}

static void test_cluster_elect__a_partition_nobody_ever_led_is_empty_everywhere(void **state)
{
    struct fixture *self = *state;
    for (int32_t i = 1; i <= 2; i++) assert_int_equal(s_register(self, i, (uint8_t) i, true), WEFT_OK);
    for (int32_t i = 1; i <= 2; i++) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    int32_t replicas[2] = {1, 2};
    assert_int_equal(s_create(self, "t", 1, 1, replicas, 2), WEFT_OK);
    assert_int_equal(s_partition(self, 1, 0)->leader, -1);
    assert_int_equal(s_register(self, 2, 12, false), WEFT_OK);
    assert_int_equal(s_partition(self, 1, 0)->leader, 2);
}

// ---- in-sync changes (rule 1)

static void test_cluster_elect__a_join_of_an_earlier_start_is_refused_whole(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    assert_int_equal(s_fence(self, 3, 3), WEFT_OK);
    assert_int_equal(s_register(self, 3, 13, false), WEFT_OK);
    int32_t isr[3] = {1, 2, 3};
    uint8_t old[3] = {1, 2, 3}, now[3] = {1, 2, 13};
    assert_int_equal(s_ask(self, 1, isr, old, 3, 1, -1), WEFT_ERR_STALE_EPOCH); // it lost its tail since it caught up
    assert_int_equal(s_ask(self, 1, isr, now, 3, 1, -1), WEFT_OK);
    s_assert_sets(partition, 1, 7, 0, 0);
    assert_int_equal(s_fence(self, 3, 13), WEFT_OK);
    assert_int_equal(s_ask(self, 1, isr, now, 3, 1, -1), WEFT_ERR_INVALID_REQUEST); // dead
    s_assert_sets(partition, 1, 3, 0, 0);
}

static void test_cluster_elect__a_join_of_an_earlier_leader_epoch_is_refused(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    int32_t isr[2] = {1, 2};
    struct weft_partition_changed_command it;
    weft_partition_changed_command_init(&it);
    it.topic_id = s_id(1);
    it.leader = 1;
    it.isr = isr;
    it.isr_count = 2;
    assert_int_equal(s_move_leader(self, 1, 2), WEFT_OK);
    it.partition_epoch = partition->partition_epoch;
    it.leader_epoch = 0;
    weft_partition_changed_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_ERR_STALE_EPOCH);
    it.leader_epoch = 1;
    weft_partition_changed_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_OK);
    s_assert_sets(partition, 1, 3, 0, 0);
    assert_int_equal(partition->leader_epoch, 2);
}

static void test_cluster_elect__nobody_joins_while_the_leader_changes(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    int32_t one[1] = {1}, all[3] = {1, 2, 3}, third[1] = {3};
    uint8_t incarnations[3] = {1, 2, 3}, of_third[1] = {3};
    assert_int_equal(s_fence(self, 3, 3), WEFT_OK);
    assert_int_equal(s_register(self, 3, 3, true), WEFT_OK);
    s_assert_sets(partition, 1, 3, 0, 0);
    assert_int_equal(s_ask(self, 1, all, incarnations, 3, 2, -1), WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(s_ask(self, 1, third, of_third, 1, 3, -1), WEFT_ERR_INVALID_REQUEST); // an unclean election
    assert_int_equal(s_ask(self, 1, one, incarnations, 1, 2, -1), WEFT_ERR_INVALID_REQUEST);
    s_assert_sets(partition, 1, 3, 0, 0);
}

static void test_cluster_elect__a_damaged_member_is_not_eligible(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    assert_int_equal(s_fence(self, 3, 3), WEFT_OK);
    int32_t both[2] = {1, 2}, second[1] = {2};
    uint8_t incarnations[2] = {1, 2}, of_second[1] = {2};
    assert_int_equal(s_ask(self, 1, both, incarnations, 2, 1, 2), WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(s_ask(self, 1, second, of_second, 1, 2, 1), WEFT_OK); // the leader is damaged
    s_assert_sets(partition, 2, 2, 0, 0);
    assert_int_equal(s_fence(self, 2, 2), WEFT_OK);
    s_assert_sets(partition, -1, 2, 0, 0);
}

static void test_cluster_elect__an_eligible_one_takes_over_from_a_damaged_leader(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    for (int32_t i = 3; i >= 2; i--) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    assert_int_equal(s_register(self, 2, 2, true), WEFT_OK);
    s_assert_sets(partition, 1, 1, 2, 0);
    int32_t second[1] = {2};
    uint8_t of_second[1] = {2};
    assert_int_equal(s_ask(self, 1, second, of_second, 1, 2, 1), WEFT_OK);
    s_assert_sets(partition, 2, 2, 0, 0);
}

// ---- drains and sick brokers

static void test_cluster_elect__a_sick_broker_leads_nothing_and_leaves_the_sets_of_others(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    assert_int_equal(s_change_broker(self, 1, 1, false, false, true), WEFT_OK);
    s_assert_sets(partition, 2, 6, 0, 0);
    assert_int_equal(s_fence(self, 3, 3), WEFT_OK);
    s_assert_sets(partition, 2, 2, 4, 0);
    assert_int_equal(s_change_broker(self, 2, 2, false, false, true), WEFT_OK);
    s_assert_sets(partition, 2, 2, 4, 0); // alone: it goes on
    int32_t isr[2] = {2, 1};
    uint8_t incarnations[2] = {2, 1};
    assert_int_equal(s_ask(self, 1, isr, incarnations, 2, 2, -1), WEFT_OK);
    s_assert_sets(partition, 2, 3, 0, 0);                     // two sick ones are better than one
    assert_int_equal(s_register(self, 1, 11, true), WEFT_OK); // a new start is well
    assert_false(weft_cluster_broker(self->cluster, 1)->sick);
    s_assert_sets(partition, 1, 1, 2, 0);
}

static void test_cluster_elect__a_draining_broker_stays_in_sync_and_is_given_no_leadership(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    assert_int_equal(s_change_broker(self, 2, 0, true, false, false), WEFT_OK);
    s_assert_sets(partition, 1, 7, 0, 0);
    assert_int_equal(s_move_leader(self, 1, 2), WEFT_ERR_NO_ELIGIBLE_LEADER);
    assert_int_equal(s_fence(self, 1, 1), WEFT_OK);
    s_assert_sets(partition, 3, 6, 0, 0); // not the next one
    assert_int_equal(s_fence(self, 3, 3), WEFT_OK);
    s_assert_sets(partition, 2, 2, 4, 0); // if nobody else can
}

static void test_cluster_elect__a_drain_for_one_start_ends_with_it_a_persons_does_not(void **state)
{
    struct fixture *self = *state;
    (void) s_three(self);
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, 1);
    assert_int_equal(s_change_broker(self, 1, 9, true, false, false), WEFT_ERR_FENCED);
    assert_int_equal(s_change_broker(self, 1, 1, true, false, false), WEFT_OK);
    assert_true(broker->draining && broker->stopping);
    assert_int_equal(s_change_broker(self, 1, 1, true, false, false), WEFT_OK); // said again
    assert_int_equal(self->brokers, 0);
    assert_int_equal(s_register(self, 1, 11, true), WEFT_OK);
    assert_false(broker->draining || broker->stopping);
    assert_int_equal(s_change_broker(self, 1, 0, true, false, false), WEFT_OK);
    assert_int_equal(s_change_broker(self, 1, 11, true, false, true), WEFT_OK); // the coordinator adds: sick
    assert_int_equal(s_register(self, 1, 21, true), WEFT_OK);
    assert_true(broker->draining && !broker->stopping && !broker->sick);
    assert_int_equal(s_change_broker(self, 1, 0, false, false, false), WEFT_OK);
    assert_false(broker->draining);
}

static void test_cluster_elect__leaderships_move_to_in_sync_members_only(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    assert_int_equal(s_move_leader(self, 1, 1), WEFT_ERR_ELECTION_NOT_NEEDED);
    assert_int_equal(s_move_leader(self, 1, 3), WEFT_OK);
    s_assert_sets(partition, 3, 7, 0, 0);
    assert_int_equal(partition->leader_epoch, 1);
    assert_int_equal(partition->partition_epoch, 1);
    assert_int_equal(self->partitions, 1);
    assert_int_equal(s_fence(self, 1, 1), WEFT_OK);
    assert_int_equal(s_move_leader(self, 1, 1), WEFT_ERR_NO_ELIGIBLE_LEADER);
    assert_int_equal(s_move_leader(self, 1, 7), WEFT_ERR_NO_ELIGIBLE_LEADER);
    assert_int_equal(weft_cluster_broker(self->cluster, 3)->led_count, 1);
}

static void test_cluster_elect__of_many_moves_the_stale_ones_are_left_out(void **state)
{
    struct fixture *self = *state;
    (void) s_three(self);
    int32_t replicas[2] = {1, 2};
    assert_int_equal(s_create(self, "u", 2, 2, replicas, 2), WEFT_OK);
    struct weft_leader_move moves[4] = {{.topic_id = s_id(2), .partition = 0, .partition_epoch = 7, .leader = 2},
                                        {.topic_id = s_id(2), .partition = 1, .partition_epoch = 0, .leader = 2},
                                        {.topic_id = s_id(2), .partition = 2, .partition_epoch = 0, .leader = 2},
                                        {.topic_id = s_id(9), .partition = 0, .partition_epoch = 0, .leader = 2}};
    struct weft_leaders_moved_command it;
    weft_leaders_moved_command_init(&it);
    it.moves = moves;
    it.moves_count = 4;
    weft_leaders_moved_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_OK);
    assert_int_equal(self->partitions, 1);
    assert_int_equal(s_partition(self, 2, 0)->leader, 1);
    assert_int_equal(s_partition(self, 2, 1)->leader, 2);
    it.moves_count = 1;
    weft_leaders_moved_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_ERR_STALE_EPOCH); // none fits
}

// ---- another data directory

static weft_err_t s_register_with(struct fixture *self, int32_t id, uint8_t incarnation, uint8_t directory,
                                  bool data_lost)
{
    struct weft_broker_registered_command it;
    weft_broker_registered_command_init(&it);
    weft_slice_t endpoint = weft_slice_text("inproc://a");
    it.broker_id = id;
    it.incarnation = s_id(incarnation);
    it.endpoints = &endpoint;
    it.endpoints_count = 1;
    it.directory_id = s_id(directory);
    it.data_lost = data_lost;
    weft_broker_registered_command_encode(&it, &self->command);
    return s_apply(self);
}

static void test_cluster_elect__an_empty_disk_leads_nothing_that_others_have(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    for (int32_t i = 1; i <= 3; i++) assert_int_equal(s_register_with(self, i, (uint8_t) i, (uint8_t) i, false), 0);
    for (int32_t i = 3; i >= 1; i--) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    s_assert_sets(partition, -1, 1, 2, 0);
    assert_int_equal(s_register_with(self, 1, 11, 21, false), WEFT_OK); // 1 alone was in sync, 2 is eligible
    s_assert_sets(partition, -1, 2, 0, 0);
    assert_int_equal(s_register_with(self, 2, 2, 2, false), WEFT_OK);
    s_assert_sets(partition, 2, 2, 0, 0);
}

static void test_cluster_elect__an_empty_disk_of_the_only_holder_is_refused(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    for (int32_t i = 1; i <= 3; i++) assert_int_equal(s_register_with(self, i, (uint8_t) i, (uint8_t) i, false), 0);
    assert_int_equal(s_alter(self, 1, "1"), WEFT_OK); // so that nobody stays eligible
    for (int32_t i = 3; i >= 2; i--) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    assert_int_equal(s_heard(self, 1, 1, 0), WEFT_OK);
    assert_int_equal(s_fence(self, 1, 1), WEFT_OK);
    s_assert_sets(partition, -1, 1, 0, 0);
    assert_int_equal(s_register_with(self, 1, 11, 21, false), WEFT_ERR_DATA_MISSING);
    assert_non_null(strstr(self->error.text, "t/0"));
    assert_false(weft_cluster_broker(self->cluster, 1)->alive);
    assert_int_equal(s_register_with(self, 1, 12, 1, false), WEFT_OK); // the old disk again
    s_assert_sets(partition, 1, 1, 0, 0);
    assert_int_equal(s_fence(self, 1, 12), WEFT_OK);
    assert_int_equal(s_register_with(self, 1, 13, 22, true), WEFT_OK); // a person's word
    s_assert_sets(partition, 1, 1, 0, 0);
    assert_int_equal(partition->leader_epoch, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cluster_elect__who_leaves_a_set_below_min_insync_stays_eligible),
        TEST(test_cluster_elect__an_eligible_member_leads_when_the_in_sync_ones_are_lost),
        TEST(test_cluster_elect__lowering_min_insync_ends_eligibility),
        TEST(test_cluster_elect__a_member_that_was_only_fenced_leads_at_once),
        TEST(test_cluster_elect__a_clean_start_of_a_member_leads_at_once),
        TEST(test_cluster_elect__unclean_starts_wait_for_all_and_for_a_report),
        TEST(test_cluster_elect__nothing_shrinks_the_frozen_set),
        TEST(test_cluster_elect__the_only_one_that_can_have_anything_leads_at_once),
        TEST(test_cluster_elect__a_person_may_lose_records_and_nobody_else),
        TEST(test_cluster_elect__an_unclean_start_within_the_session_frees_the_partition_or_freezes_it),
        TEST(test_cluster_elect__the_last_in_sync_one_starts_uncleanly_beside_an_eligible_one),
        TEST(test_cluster_elect__a_clean_start_stays_in_sync_and_another_takes_over),
        TEST(test_cluster_elect__a_partition_nobody_ever_led_is_empty_everywhere),
        TEST(test_cluster_elect__a_join_of_an_earlier_start_is_refused_whole),
        TEST(test_cluster_elect__a_join_of_an_earlier_leader_epoch_is_refused),
        TEST(test_cluster_elect__nobody_joins_while_the_leader_changes),
        TEST(test_cluster_elect__a_damaged_member_is_not_eligible),
        TEST(test_cluster_elect__an_eligible_one_takes_over_from_a_damaged_leader),
        TEST(test_cluster_elect__a_sick_broker_leads_nothing_and_leaves_the_sets_of_others),
        TEST(test_cluster_elect__a_draining_broker_stays_in_sync_and_is_given_no_leadership),
        TEST(test_cluster_elect__a_drain_for_one_start_ends_with_it_a_persons_does_not),
        TEST(test_cluster_elect__leaderships_move_to_in_sync_members_only),
        TEST(test_cluster_elect__of_many_moves_the_stale_ones_are_left_out),
        TEST(test_cluster_elect__an_empty_disk_leads_nothing_that_others_have),
        TEST(test_cluster_elect__an_empty_disk_of_the_only_holder_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
