// SPDX-License-Identifier: MPL-2.0
// Who leads after brokers came and went; and that state is a function of the commands, snapshots included.
#include "cluster_fixture.h"

#include <time.h>

// ---- who leads

static void test_cluster_lead__a_sole_replica_stays_in_sync_and_leads_again(void **state)
{
    struct fixture *self = *state;
    assert_int_equal(s_register(self, 1, 1, true), WEFT_OK);
    int32_t replicas[1] = {1};
    assert_int_equal(s_create(self, "t", 1, 1, replicas, 1), WEFT_OK);
    assert_int_equal(s_fence(self, 1, 1), WEFT_OK);
    assert_int_equal(s_partition(self, 1, 0)->leader, -1);
    assert_int_equal(s_partition(self, 1, 0)->leader_epoch, 1);
    s_assert_isr(s_partition(self, 1, 0), 1, 1, 0, 0); // last standing
    assert_int_equal(s_fence(self, 1, 1), WEFT_OK);    // a repeat changes nothing
    assert_int_equal(self->partitions, 0);
    assert_int_equal(s_register(self, 1, 2, false), WEFT_OK);
    assert_int_equal(s_partition(self, 1, 0)->leader, 1);
    assert_int_equal(s_partition(self, 1, 0)->leader_epoch, 2);
    assert_int_equal(self->partitions, 1);
}

static void test_cluster_lead__a_new_incarnation_is_a_new_leader_epoch(void **state) // C5
{
    struct fixture *self = *state;
    for (int clean = 0; clean < 2; clean++) {
        uint8_t topic = (uint8_t) (clean + 1);
        assert_int_equal(s_register(self, 1, 10, true), WEFT_OK);
        int32_t replicas[1] = {1};
        assert_int_equal(s_create(self, clean ? "a" : "b", topic, 1, replicas, 1), WEFT_OK);
        assert_int_equal(s_register(self, 1, 10, true), WEFT_OK); // the same incarnation, said twice
        assert_int_equal(s_partition(self, topic, 0)->leader_epoch, 0);
        assert_int_equal(s_register(self, 1, 11, clean), WEFT_OK); // registered before it was timed out
        assert_int_equal(s_partition(self, topic, 0)->leader, 1);
        assert_int_equal(s_partition(self, topic, 0)->leader_epoch, 1);
        assert_int_equal(s_partition(self, topic, 0)->partition_epoch, 1);
    }
}

static void test_cluster_lead__leadership_moves_to_a_live_in_sync_replica(void **state)
{
    struct fixture *self = *state;
    for (int32_t i = 1; i <= 3; i++) assert_int_equal(s_register(self, i, (uint8_t) i, true), WEFT_OK);
    int32_t replicas[3] = {1, 2, 3};
    assert_int_equal(s_create(self, "t", 1, 1, replicas, 3), WEFT_OK);
    const struct weft_cluster_partition *partition = s_partition(self, 1, 0);
    assert_int_equal(s_fence(self, 2, 2), WEFT_OK); // a follower
    assert_int_equal(partition->leader, 1);
    assert_int_equal(partition->leader_epoch, 0);
    assert_int_equal(partition->partition_epoch, 1);
    s_assert_isr(partition, 2, 1, 3, 0);
    assert_int_equal(s_fence(self, 1, 1), WEFT_OK); // the leader
    assert_int_equal(partition->leader, 3);
    assert_int_equal(partition->leader_epoch, 1);
    s_assert_isr(partition, 1, 3, 0, 0);
    assert_int_equal(partition->eligible, 1);                 // it left when the set fell below min_insync, which is 2
    assert_int_equal(s_register(self, 1, 4, false), WEFT_OK); // unclean: what it had is in doubt
    assert_int_equal(partition->leader, 3);
    assert_int_equal(partition->eligible, 0);
    assert_int_equal(partition->leavers, 3);
    assert_int_equal(s_heard(self, 3, 3, 0), WEFT_OK); // it had all when the others were gone
    assert_int_equal(partition->leavers, 0);
    assert_int_equal(s_fence(self, 3, 3), WEFT_OK);
    assert_int_equal(partition->leader, -1); // alive, but not in sync: may not lead
    assert_int_equal(s_register(self, 2, 5, true), WEFT_OK);
    assert_int_equal(partition->leader, -1);
    assert_int_equal(s_register(self, 3, 6, false), WEFT_OK); // the only one that can have anything
    assert_int_equal(partition->leader, 3);
    weft_cluster_check(self->cluster);
}

static void test_cluster_lead__an_unclean_start_leaves_the_in_sync_set_first(void **state)
{
    struct fixture *self = *state;
    for (int32_t i = 1; i <= 2; i++) assert_int_equal(s_register(self, i, (uint8_t) i, true), WEFT_OK);
    int32_t replicas[2] = {1, 2}, other[2] = {2, 1};
    assert_int_equal(s_create(self, "led", 1, 1, replicas, 2), WEFT_OK);
    assert_int_equal(s_create(self, "followed", 2, 1, other, 2), WEFT_OK);
    assert_int_equal(s_register(self, 1, 3, false), WEFT_OK); // came back within its session
    assert_int_equal(s_partition(self, 1, 0)->leader, 2);
    assert_int_equal(s_partition(self, 1, 0)->leader_epoch, 1);
    s_assert_isr(s_partition(self, 1, 0), 1, 2, 0, 0);
    assert_int_equal(s_partition(self, 2, 0)->leader, 2);
    assert_int_equal(s_partition(self, 2, 0)->leader_epoch, 0);
    s_assert_isr(s_partition(self, 2, 0), 1, 2, 0, 0);
    assert_int_equal(s_register(self, 2, 4, true), WEFT_OK); // clean, and the only one: leads on, in a new epoch
    assert_int_equal(s_partition(self, 1, 0)->leader, 2);
    assert_int_equal(s_partition(self, 1, 0)->leader_epoch, 2);
}

static void test_cluster_lead__a_fence_is_for_one_incarnation(void **state)
{
    struct fixture *self = *state;
    assert_int_equal(s_fence(self, 1, 1), WEFT_ERR_UNKNOWN_BROKER);
    assert_int_equal(s_register(self, 1, 1, true), WEFT_OK);
    assert_int_equal(s_register(self, 1, 2, true), WEFT_OK);
    assert_int_equal(s_fence(self, 1, 1), WEFT_ERR_FENCED); // late: meant for the one before
    assert_true(weft_cluster_broker(self->cluster, 1)->alive);
}

static void test_cluster_lead__a_topic_placed_on_dead_brokers_waits_for_them(void **state)
{
    struct fixture *self = *state;
    for (int32_t i = 1; i <= 2; i++) assert_int_equal(s_register(self, i, (uint8_t) i, true), WEFT_OK);
    for (int32_t i = 1; i <= 2; i++) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    int32_t replicas[2] = {1, 2};
    assert_int_equal(s_create(self, "t", 1, 1, replicas, 2), WEFT_OK);
    assert_int_equal(s_partition(self, 1, 0)->leader, -1);
    s_assert_isr(s_partition(self, 1, 0), 2, 1, 2, 0);
    assert_int_equal(s_register(self, 2, 3, false), WEFT_OK);
    assert_int_equal(s_partition(self, 1, 0)->leader, 2);
    s_assert_isr(s_partition(self, 1, 0), 1, 2, 0, 0);
}

static void test_cluster_lead__an_explicit_change_names_the_epoch_it_was_decided_on(void **state)
{
    struct fixture *self = *state;
    for (int32_t i = 1; i <= 3; i++) assert_int_equal(s_register(self, i, (uint8_t) i, true), WEFT_OK);
    int32_t replicas[3] = {1, 2, 3};
    assert_int_equal(s_create(self, "t", 1, 1, replicas, 3), WEFT_OK);
    int32_t isr[3] = {1, 2, 9};
    assert_int_equal(s_change(self, 1, 1, 1, isr, 2), WEFT_ERR_STALE_EPOCH);
    assert_int_equal(s_change(self, 1, 0, 1, isr, 3), WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(s_change(self, 1, 0, 3, isr, 2), WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(s_change(self, 1, 0, 1, isr, 0), WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(s_change(self, 1, 0, 1, isr, 2), WEFT_OK); // shrink
    assert_int_equal(s_partition(self, 1, 0)->leader_epoch, 0);
    assert_int_equal(s_change(self, 1, 1, 2, isr, 2), WEFT_OK); // move
    assert_int_equal(s_partition(self, 1, 0)->leader, 2);
    assert_int_equal(s_partition(self, 1, 0)->leader_epoch, 1);
    assert_int_equal(s_fence(self, 3, 3), WEFT_OK);
    int32_t dead[2] = {2, 3};
    assert_int_equal(s_change(self, 1, 2, 2, dead, 2), WEFT_ERR_INVALID_REQUEST); // rule 1: nobody dead joins
}

// ---- state is a function of the commands

// One random command; most are legal.
static void s_random_command(struct fixture *self, weft_rand_t *rand)
{
    int32_t broker = (int32_t) weft_rand_below(rand, 5);
    uint8_t incarnation = (uint8_t) (1 + weft_rand_below(rand, 3));
    uint8_t topic = (uint8_t) (1 + weft_rand_below(rand, 40));
    char name[16];
    snprintf(name, sizeof name, "t%u", topic % 10);
    int32_t replicas[3];
    for (int i = 0; i < 3; i++) replicas[i] = (broker + i) % 5;
    size_t count = 1 + weft_rand_below(rand, 3);
    switch (weft_rand_below(rand, 6)) {
    case 0:
    case 1: (void) s_register(self, broker, incarnation, weft_rand_chance(rand, 500000)); break;
    case 2: (void) s_fence(self, broker, incarnation); break;
    case 3: (void) s_create(self, name, topic, 1 + (uint32_t) weft_rand_below(rand, 4), replicas, count); break;
    case 4:
        if (weft_rand_chance(rand, 300000)) (void) s_delete(self, topic);
        break;
    default: (void) s_change(self, topic, (int32_t) weft_rand_below(rand, 4), replicas[0], replicas, count); break;
    }
}

static void test_cluster_lead__random_histories_keep_the_invariants_and_epochs_grow(void **state)
{
    struct fixture *self = *state;
    weft_rand_t rand;
    weft_rand_init(&rand, 20260101);
    struct {
        int32_t leader, leader_epoch, partition_epoch;
        weft_id_t incarnation;
    } before[41][4];
    for (int step = 0; step < 4000; step++) {
        memset(before, 0, sizeof before);
        for (uint8_t t = 1; t <= 40; t++) {
            const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, s_id(t));
            for (uint32_t p = 0; topic && p < topic->partition_count && p < 4; p++) {
                const struct weft_cluster_partition *it = &topic->partitions[p];
                before[t][p].leader = it->leader;
                before[t][p].leader_epoch = it->leader_epoch;
                before[t][p].partition_epoch = it->partition_epoch;
                if (it->leader >= 0)
                    before[t][p].incarnation = weft_cluster_broker(self->cluster, it->leader)->incarnation;
            }
        }
        s_random_command(self, &rand);
        weft_cluster_check(self->cluster);
        for (uint8_t t = 1; t <= 40; t++) {
            const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, s_id(t));
            for (uint32_t p = 0;
                 topic && topic->created_index < weft_cluster_index(self->cluster) && p < topic->partition_count; p++) {
                const struct weft_cluster_partition *it = &topic->partitions[p];
                assert_true(it->leader_epoch >= before[t][p].leader_epoch); // C4
                assert_true(it->partition_epoch >= before[t][p].partition_epoch);
                bool same = it->leader == before[t][p].leader;
                if (same && it->leader >= 0)
                    same = weft_id_equal(before[t][p].incarnation,
                                         weft_cluster_broker(self->cluster, it->leader)->incarnation);
                if (!same) assert_true(it->leader_epoch > before[t][p].leader_epoch); // C5, I6
            }
        }
    }
}

static void test_cluster_lead__a_snapshot_and_the_rest_give_the_same_digest(void **state)
{
    struct fixture *self = *state;
    weft_rand_t rand;
    weft_rand_init(&rand, 7);
    for (int i = 0; i < 300; i++) s_random_command(self, &rand);
    struct fixture other = {.cluster = weft_cluster_new()};
    weft_buf_t snapshot;
    weft_buf_init(&snapshot);
    weft_buf_init(&other.command);
    weft_cluster_encode(self->cluster, &snapshot);
    assert_int_equal(weft_cluster_decode(other.cluster, weft_buf_slice(&snapshot)), WEFT_OK);
    weft_rand_t twin = rand;
    for (int i = 0; i < 300; i++) {
        s_random_command(self, &rand);
        s_random_command(&other, &twin);
        assert_int_equal(weft_cluster_digest(self->cluster), weft_cluster_digest(other.cluster)); // O7
    }
    weft_cluster_check(other.cluster);
    weft_cluster_destroy(&other.cluster);
    weft_buf_fini(&other.command);
    weft_buf_fini(&snapshot);
}

static void test_cluster_lead__a_bad_snapshot_changes_nothing(void **state)
{
    struct fixture *self = *state;
    weft_rand_t rand;
    weft_rand_init(&rand, 8);
    for (int i = 0; i < 60; i++) s_random_command(self, &rand);
    weft_buf_t snapshot;
    weft_buf_init(&snapshot);
    weft_cluster_encode(self->cluster, &snapshot);
    uint32_t digest = weft_cluster_digest(self->cluster);
    weft_cluster_t *other = weft_cluster_new();
    for (size_t cut = 0; cut < snapshot.size; cut += 7)
        assert_int_equal(weft_cluster_decode(self->cluster, weft_slice(snapshot.data, cut)), WEFT_ERR_BAD_FRAME);
    for (int i = 0; i < 3000; i++) { // flipped bytes: refused, or a state that holds the invariants
        size_t at = weft_rand_below(&rand, snapshot.size);
        uint8_t old = snapshot.data[at];
        snapshot.data[at] = (uint8_t) weft_rand_next(&rand);
        if (weft_cluster_decode(other, weft_buf_slice(&snapshot)) == WEFT_OK) weft_cluster_check(other);
        snapshot.data[at] = old;
    }
    assert_int_equal(weft_cluster_digest(self->cluster), digest);
    weft_cluster_destroy(&other);
    weft_buf_fini(&snapshot);
}

// ---- size

static double s_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec * 1e3 + (double) now.tv_nsec / 1e6;
}

static void test_cluster_lead__ten_thousand_partitions_are_no_work(void **state)
{
    struct fixture *self = *state;
    assert_int_equal(s_register(self, 1, 1, true), WEFT_OK);
    int32_t replicas[1] = {1};
    double began = s_ms();
    assert_int_equal(s_create(self, "t", 1, 10000, replicas, 1), WEFT_OK);
    double created = s_ms();
    assert_int_equal(s_register(self, 1, 2, false), WEFT_OK);
    double registered = s_ms();
    assert_int_equal(self->partitions, 10000);
    uint32_t digest = weft_cluster_digest(self->cluster);
    double encoded = s_ms();
    assert_int_not_equal(digest, 0);
    print_message("10,000 partitions: create %.2f ms, register %.2f ms, snapshot %.2f ms\n", created - began,
                  registered - created, encoded - registered);
    assert_true(created - began < 1000 &&
                registered - created < 500); // debug builds under sanitizers on a busy machine
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cluster_lead__a_sole_replica_stays_in_sync_and_leads_again),
        TEST(test_cluster_lead__a_new_incarnation_is_a_new_leader_epoch),
        TEST(test_cluster_lead__leadership_moves_to_a_live_in_sync_replica),
        TEST(test_cluster_lead__an_unclean_start_leaves_the_in_sync_set_first),
        TEST(test_cluster_lead__a_fence_is_for_one_incarnation),
        TEST(test_cluster_lead__a_topic_placed_on_dead_brokers_waits_for_them),
        TEST(test_cluster_lead__an_explicit_change_names_the_epoch_it_was_decided_on),
        TEST(test_cluster_lead__random_histories_keep_the_invariants_and_epochs_grow),
        TEST(test_cluster_lead__a_snapshot_and_the_rest_give_the_same_digest),
        TEST(test_cluster_lead__a_bad_snapshot_changes_nothing),
        TEST(test_cluster_lead__ten_thousand_partitions_are_no_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
