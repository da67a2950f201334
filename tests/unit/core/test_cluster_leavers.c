// SPDX-License-Identifier: MPL-2.0
// Who left the sets of a partition, and is needed until those that stayed were heard: who dies together is missed one
// after the other.
#include "cluster_fixture.h"

// Topic 1, partition 0 on brokers 1, 2, 3, whose incarnations and directories are their ids; one in sync is enough.
static const struct weft_cluster_partition *s_three(struct fixture *self)
{
    for (int32_t i = 1; i <= 3; i++) assert_int_equal(s_register(self, i, (uint8_t) i, true), WEFT_OK);
    int32_t replicas[3] = {1, 2, 3};
    assert_int_equal(s_create(self, "t", 1, 1, replicas, 3), WEFT_OK);
    assert_int_equal(s_alter(self, 1, "1"), WEFT_OK);
    return s_partition(self, 1, 0);
}

// Bits of the replicas: broker i is bit i - 1.
static void s_assert_sets(const struct weft_cluster_partition *partition, int32_t leader, unsigned isr, unsigned unsure,
                          unsigned leavers)
{
    unsigned in = 0;
    for (uint8_t i = 0; i < partition->isr_count; i++) in |= 1u << (partition->isr[i] - 1);
    assert_int_equal(partition->leader, leader);
    assert_int_equal(in, isr);
    assert_int_equal(partition->unsure, unsure);
    assert_int_equal(partition->leavers, leavers);
}

static weft_err_t s_come_with(struct fixture *self, int32_t id, uint8_t incarnation, uint8_t directory, bool data_lost)
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

static void test_cluster_leavers__who_was_missed_first_is_a_candidate_too(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    for (int32_t i = 3; i >= 1; i--) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    s_assert_sets(partition, -1, 1, 0, 6);
    assert_int_equal(s_register(self, 1, 11, false), WEFT_OK); // it may have lost what 3 still has
    s_assert_sets(partition, -1, 1, 1, 6);
    assert_int_equal(s_register(self, 3, 3, true), WEFT_OK);
    s_assert_sets(partition, -1, 1, 1, 6); // nor does 3 lead by itself: 1 may have committed without it
    assert_int_equal(s_elect(self, 1, 3, 3, false), WEFT_OK);
    s_assert_sets(partition, 3, 4, 0, 0);
}

static void test_cluster_leavers__an_unclean_start_makes_one_too(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    for (int32_t i = 1; i <= 2; i++) assert_int_equal(s_register(self, i, (uint8_t) (10 + i), false), WEFT_OK);
    s_assert_sets(partition, 3, 4, 0, 3);
    assert_int_equal(s_register(self, 3, 13, false), WEFT_OK);
    s_assert_sets(partition, -1, 4, 4, 3);
    assert_int_equal(s_elect(self, 1, 2, 12, false), WEFT_OK);
    s_assert_sets(partition, 2, 2, 0, 0);
}

static void test_cluster_leavers__a_member_that_stayed_and_is_sure_leads_at_once(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    for (int32_t i = 3; i >= 1; i--) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    assert_int_equal(s_register(self, 1, 11, true), WEFT_OK);
    s_assert_sets(partition, 1, 1, 0, 6); // it is not heard by that: who knows how late the news is
    assert_int_equal(s_heard(self, 1, 11, 0), WEFT_OK);
    s_assert_sets(partition, 1, 1, 0, 0);
}

static void test_cluster_leavers__are_needed_until_all_that_stayed_were_heard(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    uint64_t before = weft_cluster_index(self->cluster);
    assert_int_equal(s_fence(self, 3, 3), WEFT_OK);
    uint64_t left = weft_cluster_index(self->cluster);
    s_assert_sets(partition, 1, 3, 0, 4);
    assert_int_equal(weft_cluster_broker(self->cluster, 1)->wanted_index, left);
    assert_int_equal(weft_cluster_broker(self->cluster, 3)->wanted_index, 0);
    assert_int_equal(s_heard(self, 1, 1, before), WEFT_OK); // it did not know yet that 3 had left
    assert_int_equal(s_heard(self, 2, 2, left), WEFT_OK);
    s_assert_sets(partition, 1, 3, 0, 4);
    int32_t epoch = partition->partition_epoch;
    assert_int_equal(s_heard(self, 1, 1, left), WEFT_OK);
    s_assert_sets(partition, 1, 3, 0, 0);
    assert_int_equal(partition->partition_epoch, epoch); // what leaders asked for meanwhile is not stale by that
    assert_int_equal(self->partitions, 0);
    assert_int_equal(s_fence(self, 2, 2), WEFT_OK);
    s_assert_sets(partition, 1, 1, 0, 2); // another one, another index
}

static void test_cluster_leavers__who_is_not_alive_in_this_start_is_not_heard(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    for (int32_t i = 3; i >= 1; i--) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    assert_int_equal(s_heard(self, 1, 1, 0), WEFT_ERR_FENCED);
    assert_int_equal(s_register(self, 1, 11, false), WEFT_OK);
    assert_int_equal(s_heard(self, 1, 1, 0), WEFT_ERR_FENCED);
    assert_int_equal(s_heard(self, 7, 7, 0), WEFT_ERR_UNKNOWN_BROKER);
    assert_int_equal(s_heard(self, 1, 11, weft_cluster_index(self->cluster) + 9), WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(s_heard(self, 1, 11, 0), WEFT_OK); // alive, and nobody knows with what
    s_assert_sets(partition, -1, 1, 1, 6);
}

static void test_cluster_leavers__who_is_damaged_or_has_another_disk_is_none(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    for (int32_t i = 1; i <= 3; i++) assert_int_equal(s_come_with(self, i, (uint8_t) i, (uint8_t) i, false), WEFT_OK);
    int32_t isr[2] = {1, 2};
    uint8_t incarnations[2] = {1, 2};
    assert_int_equal(s_ask(self, 1, isr, incarnations, 2, 1, 3), WEFT_OK);
    s_assert_sets(partition, 1, 3, 0, 0);
    assert_int_equal(s_fence(self, 2, 2), WEFT_OK);
    s_assert_sets(partition, 1, 1, 0, 2);
    assert_int_equal(s_come_with(self, 2, 12, 22, false), WEFT_OK);
    s_assert_sets(partition, 1, 1, 0, 0);
}

static void test_cluster_leavers__are_what_is_left_when_a_person_gives_up_the_others(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    for (int32_t i = 1; i <= 3; i++) assert_int_equal(s_come_with(self, i, (uint8_t) i, (uint8_t) i, false), WEFT_OK);
    for (int32_t i = 3; i >= 1; i--) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    assert_int_equal(s_come_with(self, 1, 11, 21, false), WEFT_ERR_DATA_MISSING); // 2 and 3 lack what it did alone
    assert_int_equal(s_come_with(self, 1, 11, 21, true), WEFT_OK);
    s_assert_sets(partition, -1, 6, 6, 0); // the better one of these
}

static void test_cluster_leavers__go_with_the_replica(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_three(self);
    assert_int_equal(s_fence(self, 3, 3), WEFT_OK);
    int32_t two[2] = {2, 1};
    assert_int_equal(s_reassign(self, 1, two, 2), WEFT_OK);
    assert_int_equal(partition->replica_count, 2);
    assert_int_equal(partition->leavers, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cluster_leavers__who_was_missed_first_is_a_candidate_too),
        TEST(test_cluster_leavers__an_unclean_start_makes_one_too),
        TEST(test_cluster_leavers__a_member_that_stayed_and_is_sure_leads_at_once),
        TEST(test_cluster_leavers__are_needed_until_all_that_stayed_were_heard),
        TEST(test_cluster_leavers__who_is_not_alive_in_this_start_is_not_heard),
        TEST(test_cluster_leavers__who_is_damaged_or_has_another_disk_is_none),
        TEST(test_cluster_leavers__are_what_is_left_when_a_person_gives_up_the_others),
        TEST(test_cluster_leavers__go_with_the_replica),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
