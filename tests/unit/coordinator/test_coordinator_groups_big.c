// SPDX-License-Identifier: MPL-2.0
// Consumer groups at the coordinator: a thousand members and ten thousand partitions, many groups; what they cost.
#include "group_play.h"

#include <time.h>

enum { MANY = 1000, PARTITIONS = 10000 };

static int s_group_setup(void **state)
{
    void *fixture;
    assert_int_equal(s_setup(&fixture), 0);
    struct play *self = s_play_new(fixture);
    assert_ok(weft_options_set(self->at->options, "snapshot.commands", "8192", NULL));
    s_group_start(self->at);
    *state = self;
    return 0;
}

static int s_group_teardown(void **state)
{
    struct play *self = *state;
    void *fixture = self->at;
    s_play_free(self);
    return s_teardown(&fixture);
}

#define GROUP_TEST(test_of__promise) cmocka_unit_test_setup_teardown(test_of__promise, s_group_setup, s_group_teardown)

static double s_cpu_ms(void)
{
    return (double) clock() * 1000 / CLOCKS_PER_SEC;
}

// Passes time until all is owned by `holders` members; how long it took, at most `us`.
static int64_t s_settles(struct play *self, uint32_t partitions, size_t holders, int64_t us)
{
    int64_t since_us = weft_fake_world_now_us(self->at->world);
    size_t found;
    while (!s_all_owned(self, "g", partitions, &found) || found != holders) {
        assert_true(weft_fake_world_now_us(self->at->world) - since_us < us);
        s_live(self, PLAY_STEP_US);
    }
    return weft_fake_world_now_us(self->at->world) - since_us;
}

static void test_coordinator_groups_big__a_thousand_members_settle_within_two_intervals(void **state)
{
    struct play *self = *state;
    assert_ok(s_create_topic(self->at, "orders", PARTITIONS));
    double cpu = s_cpu_ms();
    for (size_t i = 0; i < MANY; i++) s_beat_member(self, s_member(self, "g", "orders")); // a storm
    (void) s_pump(self);
    int64_t storm_us = s_settles(self, PARTITIONS, MANY, 2 * SECOND_US);
    double storm = s_cpu_ms() - cpu;
    cpu = s_cpu_ms();
    assert_ok(s_leave_group(self, &self->members[500], "leave", NULL));
    int64_t leave_us = s_settles(self, PARTITIONS, MANY - 1, 2 * SECOND_US);
    double leave = s_cpu_ms() - cpu;
    cpu = s_cpu_ms();
    self->members[500].silent = false;
    s_beat_member(self, &self->members[500]);
    (void) s_pump(self);
    int64_t join_us = s_settles(self, PARTITIONS, MANY, 2 * SECOND_US);
    double join = s_cpu_ms() - cpu;
    print_message("storm %lld ms (cpu %.0f), leave %lld ms (cpu %.0f), join %lld ms (cpu %.0f)\n",
                  (long long) storm_us / 1000, storm, (long long) leave_us / 1000, leave, (long long) join_us / 1000,
                  join);
    for (size_t i = 0; i < MANY; i++) assert_int_equal(self->members[i].owned_count, PARTITIONS / MANY);
}

static void test_coordinator_groups_big__heartbeats_of_a_thousand_cost_no_command(void **state)
{
    struct play *self = *state;
    assert_ok(s_create_topic(self->at, "orders", PARTITIONS));
    for (size_t i = 0; i < MANY; i++) s_beat_member(self, s_member(self, "g", "orders"));
    (void) s_pump(self);
    (void) s_settles(self, PARTITIONS, MANY, 2 * SECOND_US);
    s_live(self, SECOND_US);
    uint64_t commands = s_counter(self, "commands_proposed_count"), beats = s_counter(self, "group_heartbeats_count");
    double cpu = s_cpu_ms();
    s_live(self, 10 * SECOND_US);
    cpu = s_cpu_ms() - cpu;
    beats = s_counter(self, "group_heartbeats_count") - beats;
    print_message("%llu heartbeats, %.1f us each with those who play them\n", (unsigned long long) beats,
                  cpu * 1000 / (double) beats);
    assert_true(beats >= 9 * MANY);
    assert_int_equal(s_counter(self, "commands_proposed_count"), commands);
}

static void test_coordinator_groups_big__half_of_them_die_at_once(void **state)
{
    struct play *self = *state;
    assert_ok(s_create_topic(self->at, "orders", PARTITIONS));
    for (size_t i = 0; i < MANY; i++) s_beat_member(self, s_member(self, "g", "orders"));
    (void) s_pump(self);
    (void) s_settles(self, PARTITIONS, MANY, 2 * SECOND_US);
    s_live(self, 2 * SECOND_US);
    uint64_t plans = s_counter(self, "group_plans_count");
    for (size_t i = 0; i < MANY; i += 2) {
        self->members[i].silent = true;
        self->members[i].epoch = 0;
        self->members[i].owned_count = 0;
    }
    int64_t took_us = s_settles(self, PARTITIONS, MANY / 2, 13 * SECOND_US); // session of 10 s and two intervals
    plans = s_counter(self, "group_plans_count") - plans;
    print_message("taken over after %lld ms with %llu plans\n", (long long) took_us / 1000, (unsigned long long) plans);
    assert_true(plans <= 60);
    assert_int_equal(s_counter(self, "group_timeouts_count"), MANY / 2);
}

static void test_coordinator_groups_big__a_topic_touches_only_groups_that_read_it(void **state)
{
    struct play *self = *state;
    char names[MANY][8];
    assert_ok(s_create_topic(self->at, "orders", 2));
    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "g%zu", i);
        s_beat_member(self, s_member(self, names[i], i % 2 ? "orders" : "pay*"));
    }
    (void) s_pump(self);
    s_live(self, 2 * SECOND_US);
    for (size_t i = 0; i < MANY; i++) assert_int_equal(self->members[i].owned_count, i % 2 ? 2 : 0);
    uint64_t plans = s_counter(self, "group_plans_count");
    s_create_topic_request(self->at, "payments", 3, NULL, NULL);
    assert_ok(s_play_ask(self));
    s_live(self, SECOND_US);
    for (size_t i = 0; i < MANY; i++) assert_int_equal(self->members[i].owned_count, i % 2 ? 2 : 3);
    assert_int_equal(s_counter(self, "group_plans_count") - plans, MANY / 2);
    assert_int_equal(s_counter(self, "groups_count"), MANY);
}

// Long globs over many topics: their plans are more than a turn may take, and all are made.
static void test_coordinator_groups_big__costly_plans_go_over_several_turns(void **state)
{
    enum { TOPICS = 1000, GROUPS = 60 };
    struct play *self = *state;
    char names[GROUPS][8], glob[201], topic[16];
    memset(glob, '*', sizeof glob);
    memcpy(glob, "t-", 2);
    glob[sizeof glob - 1] = 0;
    for (size_t i = 0; i < TOPICS; i++) {
        snprintf(topic, sizeof topic, "t-%zu", i);
        assert_ok(s_create_topic(self->at, topic, 1));
    }
    for (size_t i = 0; i < GROUPS; i++) {
        snprintf(names[i], sizeof names[i], "g%zu", i);
        s_beat_member(self, s_member(self, names[i], glob));
    }
    (void) s_pump(self);
    s_live(self, 2 * SECOND_US);
    for (size_t i = 0; i < GROUPS; i++) assert_int_equal(self->members[i].owned_count, TOPICS);
    uint64_t plans = s_counter(self, "group_plans_count");
    assert_int_equal(plans, GROUPS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GROUP_TEST(test_coordinator_groups_big__a_thousand_members_settle_within_two_intervals),
        GROUP_TEST(test_coordinator_groups_big__heartbeats_of_a_thousand_cost_no_command),
        GROUP_TEST(test_coordinator_groups_big__half_of_them_die_at_once),
        GROUP_TEST(test_coordinator_groups_big__a_topic_touches_only_groups_that_read_it),
        GROUP_TEST(test_coordinator_groups_big__costly_plans_go_over_several_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
