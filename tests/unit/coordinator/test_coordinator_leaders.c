// SPDX-License-Identifier: MPL-2.0
// Leaderships that move: a leader that dies, stops, is drained, is sick; back to the preferred; a coordinator that is new.
#include "cluster.h"

static uint32_t s_count_led(struct fixture *self, int32_t broker)
{
    return s_broker(self, broker)->led_count;
}

static uint32_t s_count_leaderless(struct fixture *self)
{
    struct weft_cluster_health_counts counts;
    s_drain(self);
    weft_cluster_count_health(self->copy, &counts);
    return counts.leaderless;
}

// ---- death

static void test_coordinator_leaders__a_dead_leader_is_replaced_within_its_session_and_a_breath(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 1, 3, NULL);
    int32_t leader = s_partition(self, "orders", 0)->leader;
    if (leader == 1) { // whose copy is looked at
        struct weft_elect_leader_request request;
        weft_elect_leader_request_init(&request);
        request.id = ++self->id;
        request.topic = weft_slice_text("orders");
        request.broker_id = leader = 2;
        weft_elect_leader_request_encode(&request, &self->header);
        assert_ok(s_ask(self, ADMIN));
    }
    int32_t others[2] = {1, 5 - leader};
    (void) s_beat(self, &(struct beat){.broker = leader, .start = 1});
    int64_t dead_us = weft_fake_world_now_us(self->world);
    for (int i = 0; s_partition(self, "orders", 0)->leader == leader; i++) {
        if (i % 15 == 0)
            for (int o = 0; o < 2; o++) (void) s_beat(self, &(struct beat){.broker = others[o], .start = 1});
        weft_fake_world_advance(self->world, SECOND_US / 100);
        assert_true(i < 200);
    }
    int64_t took_us = weft_fake_world_now_us(self->world) - dead_us;
    assert_true(took_us >= SECOND_US);
    assert_true(took_us <= SECOND_US + SECOND_US / 50);
    assert_true(s_partition(self, "orders", 0)->leader >= 0);
}

// M11: a new coordinator, and 200 brokers that find it one after the other.
static void test_coordinator_leaders__a_new_coordinator_moves_nothing_while_brokers_find_it(void **state)
{
    enum { COUNT = 200 };
    struct fixture *self = *state;
    self->copy = weft_cluster_new();
    s_start(self);
    for (int32_t i = 1; i <= COUNT; i++) assert_ok(s_register(self, i, 1));
    s_topic_on(self, "orders", COUNT, 3, NULL);
    struct weft_cluster_health_counts counts;
    weft_cluster_count_health(self->copy, &counts);
    assert_int_equal(counts.under_replicated, 0);
    int32_t epochs = 0;
    s_down(self);
    weft_crash_disk_kill(self->disk);
    s_start(self);
    for (int32_t i = 1; i <= COUNT; i++) { // spread over most of a session
        s_heartbeat_request(self, i, 1, weft_cluster_index(self->copy), false);
        s_send(self, (uint8_t) i);
        weft_fake_world_advance(self->world, SECOND_US * 9 / 10 / COUNT);
        s_drain(self);
    }
    const struct weft_cluster_topic *topic = s_topic(self, "orders");
    for (uint32_t i = 0; i < topic->partition_count; i++) epochs += topic->partitions[i].leader_epoch;
    assert_int_equal(epochs, 0);
    weft_cluster_count_health(self->copy, &counts);
    assert_int_equal(counts.under_replicated, 0);
}

// ---- a clean stop

static void test_coordinator_leaders__a_broker_that_stops_gives_its_leaderships_away_first(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 3000, 3, NULL);
    int32_t one = 2;
    assert_int_equal(s_count_led(self, one), 1000);
    struct beat beat = {.broker = one, .start = 1, .want_stop = true};
    assert_false(s_beat(self, &beat)); // the batches are on their way, and applied by the time of the next
    assert_true(s_broker(self, one)->alive);
    assert_true(s_broker(self, one)->draining);
    assert_int_equal(s_count_led(self, one), 0);
    assert_int_equal(s_count_leaderless(self), 0);
    assert_true(s_beat(self, &beat));
    assert_false(s_broker(self, one)->alive);
    assert_true(s_beat(self, &beat)); // the answer was lost
    assert_int_equal(s_count_leaderless(self), 0);
    uint32_t a = s_count_led(self, 1), b = s_count_led(self, 3);
    assert_int_equal(a + b, 3000);
    assert_in_range(a, 1400, 1600); // spread over both
    assert_ok(s_join(self, one, 2, true));
    assert_false(s_broker(self, one)->draining); // that was for the stop alone
    weft_cluster_check(self->copy);
}

static void test_coordinator_leaders__a_stop_waits_for_who_catches_up_but_not_for_ever(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 1, 3, NULL);
    int32_t leader = s_partition(self, "orders", 0)->leader;
    struct wish alone = {.topic = "orders", .members = {leader}}; // the others are behind
    assert_ok(s_wish(self, leader, 1, &alone));
    int32_t others[2] = {leader % 3 + 1, (leader + 1) % 3 + 1};
    struct beat beat = {.broker = leader, .start = 1, .want_stop = true};
    for (int i = 0; i < 20; i++) {
        assert_false(s_beat(self, &beat));
        s_pass(self, STEP_US, others, 2);
    }
    struct wish two = {.topic = "orders", .members = {leader, others[0]}}; // one has caught up
    assert_ok(s_wish(self, leader, 1, &two));
    assert_false(s_beat(self, &beat)); // moves
    assert_int_equal(s_partition(self, "orders", 0)->leader, others[0]);
    // Without it one would be in sync of the two that min_insync asks, and the third is still behind.
    assert_false(s_beat(self, &beat));
    bool stopped = false;
    int steps = 0;
    for (; !stopped && steps < 200; steps++) {
        s_pass(self, STEP_US, others, 2);
        stopped = s_beat(self, &beat);
    }
    assert_true(stopped);
    assert_in_range(steps, 50, 110); // ten seconds from its first wish
}

static void test_coordinator_leaders__all_stop_at_once_and_none_waits_for_another(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 30, 3, NULL);
    bool stopped[4] = {false};
    int rounds = 0;
    for (; rounds < 40 && !(stopped[1] && stopped[2] && stopped[3]); rounds++) {
        for (int32_t i = 1; i <= 3; i++)
            if (!stopped[i]) stopped[i] = s_beat(self, &(struct beat){.broker = i, .start = 1, .want_stop = true});
        weft_fake_world_advance(self->world, STEP_US);
    }
    assert_true(rounds < 10);
}

// ---- drain

static weft_err_t s_drain_broker(struct fixture *self, int32_t broker, bool undo, uint8_t operation,
                                 struct weft_broker_drain_reply *reply)
{
    struct weft_broker_drain_request request;
    weft_broker_drain_request_init(&request);
    request.id = ++self->id;
    request.broker_id = broker;
    request.undo = undo;
    if (operation) request.operation = s_incarnation(operation);
    weft_broker_drain_request_encode(&request, &self->header);
    weft_err_t err = s_ask(self, ADMIN);
    if (!err) DECODE(broker_drain, reply);
    return err;
}

static void test_coordinator_leaders__a_drained_broker_leads_nothing_until_that_is_undone(void **state)
{
    struct fixture *self = *state;
    struct weft_broker_drain_reply reply;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 2400, 3, NULL);
    s_topic_on(self, "alone", 3, 1, NULL);
    assert_ok(s_drain_broker(self, 2, false, 7, &reply));
    assert_int_equal(reply.leads, 1); // its partition of 'alone'
    assert_int_equal(reply.stuck, 1);
    assert_true(s_status_says(self, "broker 2 is drained but leads 1 partition still: 1 with no other replica"));
    assert_int_equal(s_count_leaderless(self), 0);
    uint64_t index = weft_cluster_index(self->copy);
    assert_ok(s_drain_broker(self, 2, false, 7, &reply)); // a repeat
    assert_int_equal(reply.leads, 1);
    s_drain(self);
    assert_int_equal(weft_cluster_index(self->copy), index);
    PASS(self, 8 * SECOND_US, 1, 2, 3);
    assert_int_equal(s_count_led(self, 2), 1); // nothing went back by itself
    assert_ok(s_drain_broker(self, 2, true, 8, &reply));
    assert_false(s_broker(self, 2)->draining);
    PASS(self, 16 * SECOND_US, 1, 2, 3);
    assert_int_equal(s_count_led(self, 2), 801);
    assert_err(s_drain_broker(self, 99, false, 0, &reply), WEFT_ERR_UNKNOWN_BROKER);
}

static void test_coordinator_leaders__a_drain_survives_starts(void **state)
{
    struct fixture *self = *state;
    struct weft_broker_drain_reply reply;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 3, 3, NULL);
    assert_ok(s_drain_broker(self, 2, false, 0, &reply));
    for (int i = 0; i < 3 && s_broker(self, 2)->alive; i++)
        (void) s_beat(self, &(struct beat){.broker = 2, .start = 1, .want_stop = true});
    assert_ok(s_join(self, 2, 2, true));
    assert_true(s_broker(self, 2)->draining);
    assert_int_equal(s_count_led(self, 2), 0);
}

// ---- back to the preferred

static void s_alter(struct fixture *self, const char *key, const char *value)
{
    struct weft_cluster_alter_request request;
    weft_cluster_alter_request_init(&request);
    struct weft_config_entry entry = {.key = weft_slice_text(key), .value = weft_slice_text(value)};
    request.id = ++self->id;
    request.config = &entry;
    request.config_count = 1;
    weft_cluster_alter_request_encode(&request, &self->header);
    assert_ok(s_ask(self, ADMIN));
}

// Broker 2 stops, starts again and is in sync with 30 partitions.
static void s_restart_2(struct fixture *self)
{
    s_cluster(self, 3);
    s_topic_on(self, "orders", 30, 3, NULL);
    for (int i = 0; i < 3 && s_broker(self, 2)->alive; i++)
        (void) s_beat(self, &(struct beat){.broker = 2, .start = 1, .want_stop = true});
    assert_ok(s_join(self, 2, 2, true));
    for (uint32_t i = 0; i < 30; i++) {
        int32_t leader = s_partition(self, "orders", i)->leader;
        struct wish all = {.topic = "orders", .partition = i, .members = {leader, 4 - leader, 2}, .start_of_last = 2};
        assert_ok(s_wish(self, leader, 1, &all));
    }
}

static void s_pass_2(struct fixture *self, int64_t us)
{
    for (; us > 0; us -= STEP_US) {
        (void) s_beat(self, &(struct beat){.broker = 2, .start = 2});
        PASS(self, STEP_US, 1, 3);
    }
}

static void test_coordinator_leaders__leaderships_go_back_once_it_is_quiet(void **state)
{
    struct fixture *self = *state;
    s_restart_2(self);
    s_pass_2(self, 3 * SECOND_US);
    assert_int_equal(s_count_led(self, 2), 0);
    s_pass_2(self, 4 * SECOND_US);
    assert_int_equal(s_count_led(self, 2), 10);
}

static void test_coordinator_leaders__unless_nobody_wants_it(void **state)
{
    struct fixture *self = *state;
    s_restart_2(self);
    s_alter(self, "balance.leaders", "false");
    s_pass_2(self, 9 * SECOND_US);
    assert_int_equal(s_count_led(self, 2), 0);
    s_alter(self, "balance.leaders", "");
    s_pass_2(self, 2 * SECOND_US);
    assert_int_equal(s_count_led(self, 2), 10);
}

// ---- sick

static void test_coordinator_leaders__a_stuck_broker_loses_what_it_leads_and_is_well_again_later(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 30, 3, NULL);
    struct beat stuck = {.broker = 2, .start = 1, .turn_ms = 4900}, fine = {.broker = 2, .start = 1};
    (void) s_beat(self, &stuck);
    assert_int_equal(s_count_led(self, 2), 10);
    stuck.turn_ms = 5100;
    (void) s_beat(self, &stuck);
    assert_int_equal(s_count_led(self, 2), 0);
    assert_true(s_broker(self, 2)->sick);
    assert_int_equal(s_count_leaderless(self), 0);
    assert_false(s_in_sync(s_partition(self, "orders", 0), 2));
    for (int i = 0; i < 95; i++) {
        (void) s_beat(self, &fine);
        PASS(self, STEP_US, 1, 3);
    }
    assert_true(s_broker(self, 2)->sick);
    for (int i = 0; i < 10; i++) {
        (void) s_beat(self, &fine);
        PASS(self, STEP_US, 1, 3);
    }
    assert_false(s_broker(self, 2)->sick);
}

static void test_coordinator_leaders__when_all_are_slow_nobody_is_sick_but_by_its_disk(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 30, 3, NULL);
    size_t sick = 0;
    for (int32_t i = 1; i <= 3; i++) (void) s_beat(self, &(struct beat){.broker = i, .start = 1, .turn_ms = 9000});
    for (int32_t i = 1; i <= 3; i++) sick += s_broker(self, i)->sick;
    assert_int_equal(sick, 1);
    for (int32_t i = 1; i <= 3; i++) (void) s_beat(self, &(struct beat){.broker = i, .start = 1, .disk_failed = true});
    for (int32_t i = 1; i <= 3; i++) assert_true(s_broker(self, i)->sick);
    assert_int_equal(s_count_leaderless(self), 0);
    assert_true(s_status_says(self, "the disk of broker 3 failed"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_coordinator_leaders__a_dead_leader_is_replaced_within_its_session_and_a_breath),
        TEST(test_coordinator_leaders__a_new_coordinator_moves_nothing_while_brokers_find_it),
        TEST(test_coordinator_leaders__a_broker_that_stops_gives_its_leaderships_away_first),
        TEST(test_coordinator_leaders__a_stop_waits_for_who_catches_up_but_not_for_ever),
        TEST(test_coordinator_leaders__all_stop_at_once_and_none_waits_for_another),
        TEST(test_coordinator_leaders__a_drained_broker_leads_nothing_until_that_is_undone),
        TEST(test_coordinator_leaders__a_drain_survives_starts),
        TEST(test_coordinator_leaders__leaderships_go_back_once_it_is_quiet),
        TEST(test_coordinator_leaders__unless_nobody_wants_it),
        TEST(test_coordinator_leaders__a_stuck_broker_loses_what_it_leads_and_is_well_again_later),
        TEST(test_coordinator_leaders__when_all_are_slow_nobody_is_sick_but_by_its_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
