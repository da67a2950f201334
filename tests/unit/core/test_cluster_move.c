// SPDX-License-Identifier: MPL-2.0
// Moves of replicas: data first, leadership second; done in the apply that brings the last of the target in sync (C9).
#include "cluster_fixture.h"

static const struct weft_cluster_partition *s_six(struct fixture *self, size_t replicas)
{
    for (int32_t i = 1; i <= 6; i++) assert_int_equal(s_register(self, i, (uint8_t) i, true), WEFT_OK);
    int32_t ids[3] = {1, 2, 3};
    assert_int_equal(s_create(self, "t", 1, 1, ids, replicas), WEFT_OK);
    return s_partition(self, 1, 0);
}

static void s_assert_replicas(const struct weft_cluster_partition *partition, size_t count, const int32_t *expected)
{
    assert_int_equal(partition->replica_count, count);
    for (size_t i = 0; i < count; i++) assert_int_equal(partition->replicas[i], expected[i]);
}

// The leader asks for a set; every broker's incarnation is its id.
static weft_err_t s_in_sync(struct fixture *self, int32_t *isr, size_t count)
{
    uint8_t incarnations[WEFT_REPLICAS_MAX];
    for (size_t i = 0; i < count; i++) incarnations[i] = (uint8_t) isr[i];
    return s_ask(self, 1, isr, incarnations, count, s_partition(self, 1, 0)->leader, -1);
}

static uint32_t s_stored(struct fixture *self, int32_t broker)
{
    return weft_cluster_broker(self->cluster, broker)->stored_count;
}

static void test_cluster_move__ends_when_the_last_of_the_target_is_in_sync(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_six(self, 3);
    int32_t target[3] = {4, 5, 2};
    assert_int_equal(s_reassign(self, 1, target, 3), WEFT_OK);
    s_assert_replicas(partition, 5, (int32_t[]){4, 5, 2, 1, 3});
    s_assert_isr(partition, 3, 1, 2, 3);
    assert_non_null(partition->moving);
    assert_int_equal(partition->leader, 1);
    assert_int_equal(partition->leader_epoch, 0); // data first
    assert_int_equal(weft_cluster_min_insync(weft_cluster_topic(self->cluster, s_id(1)), partition), 2);
    assert_int_equal(s_stored(self, 4), 1);
    int32_t isr[5] = {1, 2, 3, 4, 5};
    assert_int_equal(s_in_sync(self, isr, 4), WEFT_OK);
    assert_non_null(partition->moving);
    assert_int_equal(s_in_sync(self, isr, 5), WEFT_OK);
    assert_null(partition->moving);
    assert_int_equal(self->partitions, 1);
    s_assert_replicas(partition, 3, target);
    s_assert_isr(partition, 3, 2, 4, 5);
    assert_int_equal(partition->leader, 4); // leadership second
    assert_int_equal(partition->leader_epoch, 1);
    assert_int_equal(s_stored(self, 1) + s_stored(self, 3), 0);
    assert_int_equal(s_stored(self, 5), 1);
}

static void test_cluster_move__keeps_a_leader_that_stays(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_six(self, 3);
    int32_t target[3] = {4, 1, 2}, isr[4] = {1, 2, 3, 4};
    assert_int_equal(s_reassign(self, 1, target, 3), WEFT_OK);
    assert_int_equal(s_in_sync(self, isr, 4), WEFT_OK);
    s_assert_replicas(partition, 3, target);
    assert_int_equal(partition->leader, 1);
    assert_int_equal(partition->leader_epoch, 1); // what 3 reports of the replica that it is to delete counts no more
}

static void test_cluster_move__fewer_replicas_are_done_at_once(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_six(self, 3);
    int32_t target[2] = {3, 2};
    assert_int_equal(s_reassign(self, 1, target, 2), WEFT_OK);
    assert_null(partition->moving);
    s_assert_replicas(partition, 2, target);
    s_assert_isr(partition, 2, 2, 3, 0);
    assert_int_equal(partition->leader, 3);
    assert_int_equal(partition->leader_epoch, 1);
    assert_int_equal(partition->partition_epoch, 1);
}

static void test_cluster_move__more_replicas_do_not_stop_writes_meanwhile(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_six(self, 1);
    const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, s_id(1));
    int32_t target[3] = {1, 2, 3};
    assert_int_equal(s_reassign(self, 1, target, 3), WEFT_OK);
    assert_int_equal(weft_cluster_min_insync(topic, partition), 1); // what was promised before
    assert_int_equal(s_in_sync(self, target, 3), WEFT_OK);
    assert_null(partition->moving);
    assert_int_equal(weft_cluster_min_insync(topic, partition), 2);
}

static void test_cluster_move__another_order_moves_nothing(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_six(self, 3);
    int32_t target[3] = {2, 3, 1};
    assert_int_equal(s_fence(self, 2, 2), WEFT_OK); // also when one is out of sync
    assert_int_equal(s_reassign(self, 1, target, 3), WEFT_OK);
    assert_null(partition->moving);
    s_assert_replicas(partition, 3, target);
    assert_int_equal(partition->leader, 1);
    assert_int_equal(s_reassign(self, 1, target, 3), WEFT_ERR_INVALID_REQUEST); // has these
}

static void test_cluster_move__is_given_up(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_six(self, 3);
    int32_t target[3] = {4, 5, 6}, origin[3] = {1, 2, 3}, isr[4] = {1, 2, 3, 4};
    assert_int_equal(s_reassign(self, 1, NULL, 0), WEFT_ERR_NO_REASSIGNMENT);
    assert_int_equal(s_reassign(self, 1, target, 3), WEFT_OK);
    assert_int_equal(s_in_sync(self, isr, 4), WEFT_OK);
    assert_int_equal(s_move_leader(self, 1, 4), WEFT_OK);
    int32_t epoch = partition->leader_epoch;
    assert_int_equal(s_reassign(self, 1, NULL, 0), WEFT_OK);
    assert_null(partition->moving);
    s_assert_replicas(partition, 3, origin);
    s_assert_isr(partition, 3, 1, 2, 3);
    assert_int_equal(partition->leader, 1);
    assert_int_equal(partition->leader_epoch, epoch + 1);
    assert_int_equal(s_stored(self, 4) + s_stored(self, 5) + s_stored(self, 6), 0);
}

static void test_cluster_move__is_redirected(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_six(self, 3);
    int32_t first[3] = {4, 5, 1}, second[3] = {6, 5, 1}, isr[4] = {1, 2, 3, 4}, end[4] = {1, 3, 5, 6};
    assert_int_equal(s_reassign(self, 1, first, 3), WEFT_OK);
    assert_int_equal(s_in_sync(self, isr, 4), WEFT_OK);
    assert_int_equal(s_reassign(self, 1, second, 3), WEFT_OK);
    s_assert_replicas(partition, 5, (int32_t[]){6, 5, 1, 2, 3}); // 4 is of neither
    s_assert_isr(partition, 3, 1, 2, 3);
    assert_int_equal(s_in_sync(self, end, 4), WEFT_OK);
    s_assert_replicas(partition, 3, second);
    assert_null(partition->moving);
}

static void test_cluster_move__does_not_give_up_the_only_one_that_has_the_data(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_six(self, 3);
    int32_t target[3] = {4, 5, 6}, other[3] = {5, 6, 1}, isr[4] = {1, 2, 3, 4};
    assert_int_equal(s_reassign(self, 1, target, 3), WEFT_OK);
    assert_int_equal(s_in_sync(self, isr, 4), WEFT_OK);
    for (int32_t i = 1; i <= 3; i++) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    assert_int_equal(partition->leader, 4);
    assert_int_equal(s_reassign(self, 1, NULL, 0), WEFT_ERR_NO_ELIGIBLE_LEADER);
    assert_int_equal(s_reassign(self, 1, other, 3), WEFT_ERR_NO_ELIGIBLE_LEADER);
    assert_int_equal(partition->leader, 4);
    assert_int_equal(s_fence(self, 4, 4), WEFT_OK);
    assert_int_equal(partition->leader, -1);
    assert_int_equal(s_reassign(self, 1, NULL, 0), WEFT_ERR_NO_ELIGIBLE_LEADER);
    s_assert_replicas(partition, 6, (int32_t[]){4, 5, 6, 1, 2, 3});
}

static void test_cluster_move__eligible_members_keep_their_place(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_six(self, 3);
    for (int32_t i = 3; i >= 2; i--) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    assert_int_equal(partition->eligible, 2);
    int32_t target[3] = {4, 5, 2};
    assert_int_equal(s_reassign(self, 1, target, 3), WEFT_OK);
    assert_int_equal(partition->eligible, 4); // broker 2 is the third by now
    assert_int_equal(s_fence(self, 1, 1), WEFT_OK);
    assert_int_equal(s_register(self, 2, 12, false), WEFT_OK);
    assert_int_equal(partition->unsure, 4);
    assert_int_equal(s_register(self, 1, 1, true), WEFT_OK);
    assert_int_equal(partition->leader, 1);
}

static void test_cluster_move__to_nowhere_is_refused(void **state)
{
    struct fixture *self = *state;
    const struct weft_cluster_partition *partition = s_six(self, 3);
    int32_t unknown[2] = {1, 9}, twice[2] = {4, 4};
    assert_int_equal(s_reassign(self, 1, unknown, 2), WEFT_ERR_INVALID_REPLICATION);
    assert_int_equal(s_reassign(self, 1, twice, 2), WEFT_ERR_INVALID_REPLICATION);
    for (int32_t i = 7; i <= 22; i++) assert_int_equal(s_register(self, i, (uint8_t) i, true), WEFT_OK);
    int32_t many[14];
    for (int32_t i = 0; i < 14; i++) many[i] = 7 + i;
    assert_int_equal(s_reassign(self, 1, many, 14), WEFT_ERR_INVALID_REPLICATION); // 17 together
    assert_int_equal(partition->partition_epoch, 0);
    assert_int_equal(s_reassign(self, 1, many, 13), WEFT_OK);
    assert_int_equal(partition->replica_count, 16);
}

static void test_cluster_move__goes_on_after_a_snapshot(void **state)
{
    struct fixture *self = *state;
    (void) s_six(self, 3);
    int32_t target[3] = {4, 5, 6};
    assert_int_equal(s_reassign(self, 1, target, 3), WEFT_OK);
    weft_buf_t snapshot;
    weft_buf_init(&snapshot);
    weft_cluster_encode(self->cluster, &snapshot);
    uint32_t digest = weft_cluster_digest(self->cluster);
    assert_int_equal(weft_cluster_decode(self->cluster, weft_buf_slice(&snapshot)), WEFT_OK);
    assert_int_equal(weft_cluster_digest(self->cluster), digest);
    weft_buf_fini(&snapshot);
    int32_t isr[6] = {1, 2, 3, 4, 5, 6};
    assert_int_equal(s_in_sync(self, isr, 6), WEFT_OK);
    s_assert_replicas(s_partition(self, 1, 0), 3, target);
}

static void test_cluster_move__a_deleted_topic_takes_its_moves_along(void **state)
{
    struct fixture *self = *state;
    (void) s_six(self, 3);
    int32_t target[3] = {4, 5, 6};
    assert_int_equal(s_reassign(self, 1, target, 3), WEFT_OK);
    assert_int_equal(s_delete(self, 1), WEFT_OK);
    for (int32_t i = 1; i <= 6; i++) assert_int_equal(s_stored(self, i), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cluster_move__ends_when_the_last_of_the_target_is_in_sync),
        TEST(test_cluster_move__keeps_a_leader_that_stays),
        TEST(test_cluster_move__fewer_replicas_are_done_at_once),
        TEST(test_cluster_move__more_replicas_do_not_stop_writes_meanwhile),
        TEST(test_cluster_move__another_order_moves_nothing),
        TEST(test_cluster_move__is_given_up),
        TEST(test_cluster_move__is_redirected),
        TEST(test_cluster_move__does_not_give_up_the_only_one_that_has_the_data),
        TEST(test_cluster_move__eligible_members_keep_their_place),
        TEST(test_cluster_move__to_nowhere_is_refused),
        TEST(test_cluster_move__goes_on_after_a_snapshot),
        TEST(test_cluster_move__a_deleted_topic_takes_its_moves_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
