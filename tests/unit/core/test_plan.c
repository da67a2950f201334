// SPDX-License-Identifier: MPL-2.0
// Plans: leaderships and replicas that should move. Each plan is applied to the state, which has to take all of it.
#include "cluster_fixture.h"

#include <time.h>

enum { BROKERS_MAX = 40 };

static void s_register_in(struct fixture *self, int32_t id, const char *rack)
{
    struct weft_broker_registered_command it;
    weft_broker_registered_command_init(&it);
    weft_slice_t endpoint = weft_slice_text("inproc://a");
    it.broker_id = id;
    it.incarnation = s_id((uint8_t) (id + 1));
    it.endpoints = &endpoint;
    it.endpoints_count = 1;
    it.rack = weft_slice_text(rack);
    weft_broker_registered_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_OK);
}

// Brokers 0 to count - 1, in as many racks; 0 racks: none is named.
static void s_brokers(struct fixture *self, int32_t count, int32_t racks)
{
    for (int32_t i = 0; i < count; i++) {
        char rack[16] = "";
        if (racks) snprintf(rack, sizeof rack, "rack-%d", i % racks);
        s_register_in(self, i, rack);
    }
}

static void s_topic(struct fixture *self, uint8_t id, uint32_t partitions, uint32_t replicas, weft_rand_t *rand)
{
    int32_t(*placed)[WEFT_REPLICAS_MAX] = weft_calloc(partitions, sizeof *placed);
    struct weft_placement *placement = weft_calloc(partitions, sizeof *placement);
    assert_ok(weft_placement(self->cluster, partitions, replicas, rand, placed, NULL));
    for (uint32_t i = 0; i < partitions; i++)
        placement[i] = (struct weft_placement){.replicas = placed[i], .replicas_count = replicas};
    char name[16];
    snprintf(name, sizeof name, "t%u", id);
    struct weft_topic_created_command it;
    weft_topic_created_command_init(&it);
    it.topic_id = s_id(id);
    it.topic = weft_slice_text(name);
    it.placement = placement;
    it.placement_count = partitions;
    weft_topic_created_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_OK);
    free(placement);
    free(placed);
}

static size_t s_lead(struct fixture *self, int32_t from, bool preferred, size_t *stuck)
{
    static struct weft_plan_leader plan[20000];
    size_t count = weft_plan_leaders(self->cluster, from, preferred, plan, 20000, stuck);
    struct weft_leader_move *moves = weft_calloc(count + 1, sizeof *moves);
    for (size_t i = 0; i < count; i++)
        moves[i] = (struct weft_leader_move){.topic_id = plan[i].topic,
                                             .partition = plan[i].partition,
                                             .partition_epoch = plan[i].partition_epoch,
                                             .leader = plan[i].leader};
    struct weft_leaders_moved_command it;
    weft_leaders_moved_command_init(&it);
    it.moves = moves;
    it.moves_count = count;
    weft_leaders_moved_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_OK);
    assert_int_equal(self->partitions, count); // all of them fit
    free(moves);
    return count;
}

// Starts the moves of a plan and brings all that is copied in sync. Returns how many replicas were copied.
static size_t s_carry_out(struct fixture *self, struct weft_plan_replicas *plan, size_t count)
{
    struct weft_replica_move *moves = weft_calloc(count + 1, sizeof *moves);
    size_t copied = 0;
    for (size_t i = 0; i < count; i++) {
        const struct weft_cluster_partition *before =
            &weft_cluster_topic(self->cluster, plan[i].topic)->partitions[plan[i].partition];
        for (uint8_t r = 0; r < plan[i].replica_count; r++) {
            bool held = false;
            for (uint8_t q = 0; q < before->replica_count; q++) held |= before->replicas[q] == plan[i].replicas[r];
            copied += !held;
        }
        moves[i] = (struct weft_replica_move){.topic_id = plan[i].topic,
                                              .partition = plan[i].partition,
                                              .partition_epoch = plan[i].partition_epoch,
                                              .replicas = plan[i].replicas,
                                              .replicas_count = plan[i].replica_count};
    }
    struct weft_reassigned_command it;
    weft_reassigned_command_init(&it);
    it.moves = moves;
    it.moves_count = count;
    weft_reassigned_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_OK);
    assert_int_equal(self->partitions, count);
    for (size_t i = 0; i < count; i++) {
        const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, plan[i].topic);
        const struct weft_cluster_partition *partition = &topic->partitions[plan[i].partition];
        if (!partition->moving) continue;
        struct weft_partition_changed_command change;
        weft_partition_changed_command_init(&change);
        int32_t isr[WEFT_REPLICAS_MAX];
        for (uint8_t r = 0; r < partition->replica_count; r++)
            if (weft_cluster_broker(self->cluster, partition->replicas[r])->alive)
                isr[change.isr_count++] = partition->replicas[r];
        change.topic_id = topic->id;
        change.partition = plan[i].partition;
        change.partition_epoch = partition->partition_epoch;
        change.leader = partition->leader;
        change.isr = isr;
        weft_partition_changed_command_encode(&change, &self->command);
        assert_int_equal(s_apply(self), WEFT_OK);
        assert_null(partition->moving);
    }
    weft_cluster_check(self->cluster);
    free(moves);
    return copied;
}

// The largest difference between brokers that are alive and not leaving.
static uint32_t s_spread(struct fixture *self, bool led)
{
    uint32_t least = UINT32_MAX, most = 0;
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(self->cluster, &cursor));) {
        if (!broker->alive || broker->leaving || broker->draining) continue;
        uint32_t count = led ? broker->led_count : broker->stored_count;
        if (count < least) least = count;
        if (count > most) most = count;
    }
    return most - least;
}

// Partitions of which two replicas share a rack.
static size_t s_shared_racks(struct fixture *self)
{
    size_t shared = 0;
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; (topic = weft_cluster_next_topic(self->cluster, &cursor));) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            const struct weft_cluster_partition *it = &topic->partitions[i];
            bool twice = false;
            for (uint8_t r = 0; r < it->replica_count; r++) {
                const char *rack = weft_cluster_broker(self->cluster, it->replicas[r])->rack;
                for (uint8_t q = 0; q < r && rack[0]; q++)
                    twice |= strcmp(rack, weft_cluster_broker(self->cluster, it->replicas[q])->rack) == 0;
            }
            shared += twice;
        }
    }
    return shared;
}

static double s_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec * 1e3 + (double) now.tv_nsec / 1e6;
}

// ---- leaderships

static void test_plan__a_drain_spreads_over_all_others(void **state)
{
    struct fixture *self = *state;
    weft_rand_t rand;
    weft_rand_init(&rand, 1);
    s_brokers(self, 5, 0);
    s_topic(self, 1, 100, 3, &rand);
    assert_int_equal(weft_cluster_broker(self->cluster, 2)->led_count, 20);
    assert_int_equal(s_change_broker(self, 2, 0, true, false, false), WEFT_OK);
    size_t stuck;
    assert_int_equal(s_lead(self, 2, false, &stuck), 20);
    assert_int_equal(stuck, 0);
    assert_int_equal(weft_cluster_broker(self->cluster, 2)->led_count, 0);
    assert_true(s_spread(self, true) <= 2); // 25 each, about
    assert_int_equal(s_change_broker(self, 2, 0, false, false, false), WEFT_OK);
    assert_int_equal(s_lead(self, -1, true, NULL), 20); // back to the preferred ones
    assert_int_equal(weft_cluster_broker(self->cluster, 2)->led_count, 20);
    assert_int_equal(s_lead(self, -1, true, NULL) + s_lead(self, -1, false, NULL), 0);
}

static void test_plan__what_nobody_else_can_lead_is_stuck(void **state)
{
    struct fixture *self = *state;
    s_brokers(self, 3, 0);
    int32_t both[2] = {0, 1}, alone[1] = {0};
    assert_int_equal(s_create(self, "a", 1, 4, both, 2), WEFT_OK);
    assert_int_equal(s_create(self, "b", 2, 3, alone, 1), WEFT_OK);
    assert_int_equal(s_change_broker(self, 0, 0, true, false, false), WEFT_OK);
    struct weft_plan_leader plan[2];
    size_t stuck;
    assert_int_equal(weft_plan_leaders(self->cluster, -1, false, plan, 2, &stuck), 2); // as many as there is room for
    assert_int_equal(stuck, 3);
    assert_int_equal(plan[0].leader, 1);
    assert_int_equal(s_change_broker(self, 1, 0, true, false, false), WEFT_OK);
    assert_int_equal(weft_plan_leaders(self->cluster, 0, false, plan, 2, &stuck), 0);
    assert_int_equal(stuck, 7);
}

static void test_plan__a_death_spreads_leaderships_over_all_others(void **state)
{
    struct fixture *self = *state;
    weft_rand_t rand;
    weft_rand_init(&rand, 2);
    s_brokers(self, 4, 0);
    s_topic(self, 1, 120, 3, &rand);
    assert_int_equal(s_spread(self, true), 0);
    assert_int_equal(s_fence(self, 1, 2), WEFT_OK);
    assert_true(s_spread(self, true) <= 4); // 40 each, about
}

// ---- replicas

static void test_plan__a_decommission_moves_that_broker_alone(void **state)
{
    struct fixture *self = *state;
    weft_rand_t rand;
    weft_rand_init(&rand, 3);
    s_brokers(self, 6, 3);
    s_topic(self, 1, 60, 3, &rand);
    s_topic(self, 2, 7, 1, &rand);
    assert_int_equal(s_shared_racks(self), 0);
    uint32_t held = weft_cluster_broker(self->cluster, 4)->stored_count;
    assert_int_equal(s_change_broker(self, 4, 0, true, true, false), WEFT_OK);
    struct weft_plan_replicas *plan;
    size_t count;
    assert_ok(weft_plan_replicas(self->cluster, 4, &rand, &plan, &count, NULL));
    assert_int_equal(count, held);
    for (size_t i = 0; i < count; i++) { // the others stay where they are
        const struct weft_cluster_partition *it =
            &weft_cluster_topic(self->cluster, plan[i].topic)->partitions[plan[i].partition];
        assert_int_equal(plan[i].replica_count, it->replica_count);
        for (uint8_t r = 0; r < it->replica_count; r++)
            assert_true(it->replicas[r] == 4 || it->replicas[r] == plan[i].replicas[r]);
    }
    assert_int_equal(s_carry_out(self, plan, count), held);
    free(plan);
    assert_int_equal(weft_cluster_broker(self->cluster, 4)->stored_count, 0);
    assert_int_equal(s_shared_racks(self), 0);
    assert_int_equal(s_remove(self, 4), WEFT_OK);
}

static void test_plan__a_decommission_to_nowhere_is_refused(void **state)
{
    struct fixture *self = *state;
    weft_rand_t rand;
    weft_rand_init(&rand, 4);
    s_brokers(self, 3, 0);
    s_topic(self, 1, 4, 3, &rand);
    struct weft_plan_replicas *plan = NULL;
    size_t count = 7;
    assert_err(weft_plan_replicas(self->cluster, 1, &rand, &plan, &count, &self->error), WEFT_ERR_INVALID_REPLICATION);
    assert_non_null(strstr(self->error.text, "start another broker"));
    assert_err(weft_plan_replicas(self->cluster, 9, &rand, &plan, &count, &self->error), WEFT_ERR_UNKNOWN_BROKER);
    assert_null(plan);
    s_register_in(self, 3, "");
    assert_int_equal(s_change_broker(self, 3, 0, true, false, false), WEFT_OK); // drains, but better than nothing
    assert_ok(weft_plan_replicas(self->cluster, 1, &rand, &plan, &count, NULL));
    assert_int_equal(count, 4);
    free(plan);
}

static void test_plan__a_new_broker_gets_its_share_and_nothing_else_moves(void **state)
{
    struct fixture *self = *state;
    weft_rand_t rand;
    weft_rand_init(&rand, 5);
    s_brokers(self, 3, 0);
    s_topic(self, 1, 64, 3, &rand);
    s_topic(self, 2, 10, 2, &rand);
    s_topic(self, 3, 5, 1, &rand);
    s_register_in(self, 3, "");
    struct weft_plan_replicas *plan;
    size_t count;
    assert_ok(weft_plan_replicas(self->cluster, -1, &rand, &plan, &count, NULL));
    uint32_t total = 64 * 3 + 10 * 2 + 5;
    assert_int_equal(s_carry_out(self, plan, count), total / 4);
    free(plan);
    assert_true(s_spread(self, false) <= 1);
    (void) s_lead(self, -1, true, NULL);
    assert_true(s_spread(self, true) <= 1);
    assert_ok(weft_plan_replicas(self->cluster, -1, &rand, &plan, &count, NULL));
    assert_int_equal(count, 0); // nothing is left to do
    free(plan);
}

static void test_plan__two_in_one_rack_are_taken_apart(void **state)
{
    struct fixture *self = *state;
    weft_rand_t rand;
    weft_rand_init(&rand, 6);
    s_brokers(self, 4, 2); // 0 and 2 in one rack, 1 and 3 in the other
    int32_t near[2] = {0, 2};
    assert_int_equal(s_create(self, "a", 1, 20, near, 2), WEFT_OK);
    assert_int_equal(s_shared_racks(self), 20);
    struct weft_plan_replicas *plan;
    size_t count;
    assert_ok(weft_plan_replicas(self->cluster, -1, &rand, &plan, &count, NULL));
    (void) s_carry_out(self, plan, count);
    free(plan);
    assert_int_equal(s_shared_racks(self), 0);
    assert_true(s_spread(self, false) <= 1);
}

static void test_plan__what_moves_already_is_left_alone_and_counted_where_it_goes(void **state)
{
    struct fixture *self = *state;
    weft_rand_t rand;
    weft_rand_init(&rand, 7);
    s_brokers(self, 2, 0);
    int32_t first[1] = {0}, second[1] = {1};
    assert_int_equal(s_create(self, "a", 1, 1, first, 1), WEFT_OK);
    assert_int_equal(s_create(self, "b", 2, 1, first, 1), WEFT_OK);
    assert_int_equal(s_reassign(self, 1, second, 1), WEFT_OK);
    struct weft_plan_replicas *plan;
    size_t count;
    assert_ok(weft_plan_replicas(self->cluster, -1, &rand, &plan, &count, NULL));
    assert_int_equal(count, 0); // one each, once it is done
    free(plan);
    assert_ok(weft_plan_replicas(self->cluster, 0, &rand, &plan, &count, NULL));
    assert_int_equal(count, 1);
    assert_true(weft_id_equal(plan[0].topic, s_id(2)));
    free(plan);
}

// ---- chance and size

static void test_plan__random_clusters_become_even(void **state)
{
    (void) state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct fixture *self;
        s_setup((void **) &self);
        weft_rand_t rand;
        weft_rand_init(&rand, seed);
        int32_t brokers = 2 + (int32_t) weft_rand_below(&rand, 8), racks = (int32_t) weft_rand_below(&rand, 4);
        s_brokers(self, brokers, racks);
        uint8_t topics = (uint8_t) (1 + weft_rand_below(&rand, 8));
        for (uint8_t t = 1; t <= topics; t++) {
            if (weft_rand_chance(&rand, 500000)) {
                s_topic(self, t, 1 + (uint32_t) weft_rand_below(&rand, 30),
                        1 + (uint32_t) weft_rand_below(&rand, (uint64_t) brokers), &rand);
                continue;
            }
            int32_t replicas[WEFT_REPLICAS_MAX]; // as a person would not place it
            size_t count = 1 + weft_rand_below(&rand, (uint64_t) brokers);
            for (size_t i = 0; i < count; i++) replicas[i] = (int32_t) i;
            char name[16];
            snprintf(name, sizeof name, "t%u", t);
            assert_int_equal(s_create(self, name, t, 1 + (uint32_t) weft_rand_below(&rand, 30), replicas, count),
                             WEFT_OK);
        }
        int32_t added = (int32_t) weft_rand_below(&rand, 3);
        for (int32_t i = 0; i < added; i++) s_register_in(self, brokers + i, "");
        size_t shared = s_shared_racks(self), count;
        struct weft_plan_replicas *plan;
        assert_ok(weft_plan_replicas(self->cluster, -1, &rand, &plan, &count, NULL));
        (void) s_carry_out(self, plan, count);
        free(plan);
        assert_true(racks < 2 || s_shared_racks(self) <= shared);
        if (racks == 0) assert_true(s_spread(self, false) <= 1); // with racks the places are not all equal
        assert_ok(weft_plan_replicas(self->cluster, -1, &rand, &plan, &count, NULL));
        size_t copied = s_carry_out(self, plan, count);
        free(plan);
        if (racks == 0) assert_int_equal(copied, 0);
        s_teardown((void **) &self);
    }
}

static void test_plan__ten_thousand_partitions_are_planned_in_no_time(void **state)
{
    struct fixture *self = *state;
    weft_rand_t rand;
    weft_rand_init(&rand, 8);
    s_brokers(self, 3, 0);
    s_topic(self, 1, 10000, 3, &rand);
    double began = s_ms();
    assert_int_equal(s_fence(self, 0, 1), WEFT_OK); // a broker's death
    double fenced = s_ms();
    assert_true(self->partitions == 10000 && s_spread(self, true) <= 2);
    s_register_in(self, 0, "");
    s_register_in(self, 3, "");
    struct weft_plan_replicas *plan;
    size_t count;
    double start = s_ms();
    assert_ok(weft_plan_replicas(self->cluster, -1, &rand, &plan, &count, NULL));
    double planned = s_ms();
    assert_true(count >= 7500);
    free(plan);
    struct weft_plan_leader *leaders = weft_calloc(10000, sizeof *leaders);
    double asked = s_ms();
    (void) weft_plan_leaders(self->cluster, 1, false, leaders, 10000, NULL);
    print_message("10,000 partitions: a death %.2f ms, balance planned in %.2f ms, drain in %.2f ms\n", fenced - began,
                  planned - start, s_ms() - asked);
    free(leaders);
    assert_true(fenced - began < 500); // debug builds under sanitizers on a busy machine
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_plan__a_drain_spreads_over_all_others),
        TEST(test_plan__what_nobody_else_can_lead_is_stuck),
        TEST(test_plan__a_death_spreads_leaderships_over_all_others),
        TEST(test_plan__a_decommission_moves_that_broker_alone),
        TEST(test_plan__a_decommission_to_nowhere_is_refused),
        TEST(test_plan__a_new_broker_gets_its_share_and_nothing_else_moves),
        TEST(test_plan__two_in_one_rack_are_taken_apart),
        TEST(test_plan__what_moves_already_is_left_alone_and_counted_where_it_goes),
        TEST(test_plan__random_clusters_become_even),
        TEST(test_plan__ten_thousand_partitions_are_planned_in_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
