// SPDX-License-Identifier: MPL-2.0
// Consumer groups at the coordinator: silence, late releases, and what survives the coordinator itself.
#include "group_play.h"

static int s_group_setup(void **state)
{
    void *fixture;
    assert_int_equal(s_setup(&fixture), 0);
    struct play *self = s_play_new(fixture);
    s_group_start(self->at);
    assert_ok(s_create_topic(self->at, "orders", 6));
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

// Members of group g that read orders, settled.
static void s_members(struct play *self, size_t count)
{
    for (size_t i = 0; i < count; i++) assert_ok(s_join_group(self, s_member(self, "g", "orders")));
    s_live(self, SECOND_US);
    assert_true(s_all_owned(self, "g", 6, NULL));
}

// Why the one who went last did so.
static const char *s_last_left(struct play *self)
{
    static char why[300];
    struct weft_group_describe_request request;
    weft_group_describe_request_init(&request);
    request.id = ++self->at->id;
    request.group = weft_slice_text("g");
    weft_group_describe_request_encode(&request, &self->at->header);
    assert_ok(s_play_ask(self));
    struct weft_group_describe_reply reply;
    assert_ok(weft_group_describe_reply_decode(&self->at->codec, weft_buf_slice(&self->at->reply), &reply, NULL));
    if (reply.left_count == 0) return "nobody";
    snprintf(why, sizeof why, "%.*s", (int) reply.left[0].why.size, (const char *) reply.left[0].why.data);
    return why;
}

// ---- silence

static void test_coordinator_groups_time__a_silent_member_is_timed_out_and_others_take_over(void **state)
{
    struct play *self = *state;
    s_members(self, 2);
    self->members[0].silent = true;
    s_live(self, 9 * SECOND_US);
    assert_int_equal(self->members[1].owned_count, 3); // its session is 10 s
    s_live(self, 2 * SECOND_US);
    assert_int_equal(self->members[1].owned_count, 6);
    assert_string_equal(s_last_left(self), "timed out");
    assert_int_equal(s_counter(self, "group_timeouts_count"), 1);
    s_beat_member(self, &self->members[0]); // it was only asleep
    (void) s_pump(self);
    assert_err(self->members[0].err, WEFT_ERR_UNKNOWN_MEMBER);
    assert_non_null(strstr(self->members[0].sentence, "timed out"));
}

static void test_coordinator_groups_time__those_silent_together_go_in_one_command(void **state)
{
    struct play *self = *state;
    s_members(self, 6);
    uint64_t before = s_counter(self, "commands_proposed_count");
    for (size_t i = 1; i < 6; i++) self->members[i].silent = true;
    s_live(self, 12 * SECOND_US);
    assert_int_equal(self->members[0].owned_count, 6);
    assert_int_equal(s_counter(self, "group_timeouts_count"), 5);
    assert_true(s_counter(self, "commands_proposed_count") - before <= 4); // who parked in one turn is timed out in one
}

static void test_coordinator_groups_time__a_paused_instance_that_stays_away_loses_its_place(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "orders");
    a->instance = "one";
    assert_ok(s_join_group(self, a));
    assert_ok(s_join_group(self, s_member(self, "g", "orders")));
    s_live(self, SECOND_US);
    assert_ok(s_leave_group(self, a, "pause", NULL));
    s_live(self, 9 * SECOND_US);
    assert_int_equal(self->members[1].owned_count, 3);
    s_live(self, 2 * SECOND_US);
    assert_int_equal(self->members[1].owned_count, 6);
    assert_non_null(strstr(s_last_left(self), "paused"));
}

static void test_coordinator_groups_time__why_somebody_left_is_told(void **state)
{
    struct play *self = *state;
    s_members(self, 2);
    assert_ok(s_leave_group(self, &self->members[0], "leave", "stopped polling for 300 s"));
    assert_string_equal(s_last_left(self), "stopped polling for 300 s");
    assert_ok(s_leave_group(self, &self->members[1], "leave", NULL));
    assert_string_equal(s_last_left(self), "left");
}

// ---- a static member that was killed, and is started again

// Member 0, an instance, is killed, and its successor knocks 300 ms before its session ends.
static struct member *s_knock_late(struct play *self)
{
    struct member *a = s_member(self, "g", "orders"), *b = s_member(self, "g", "orders");
    a->instance = "one";
    assert_ok(s_join_group(self, a));
    assert_ok(s_join_group(self, b));
    s_live(self, SECOND_US);
    s_beat_member(self, a);
    (void) s_pump(self);
    a->silent = true;
    s_live(self, 10 * SECOND_US - 3 * SECOND_US / 10);
    struct member *again = s_member(self, "g", "orders");
    again->instance = "one";
    assert_err(s_join_group(self, again), WEFT_ERR_INSTANCE_IN_USE);
    assert_true(again->retry_ms <= 400);
    again->silent = true;
    return again;
}

static void test_coordinator_groups_time__who_knocked_finds_the_place_after_a_long_back_off(void **state)
{
    struct play *self = *state;
    struct member *again = s_knock_late(self), *b = &self->members[1];
    uint64_t revision = b->seen;
    s_live(self, 5 * SECOND_US / 2); // as long as a client waits at most
    assert_int_equal(b->seen, revision);
    again->silent = false;
    again->err = WEFT_OK;
    assert_ok(s_join_group(self, again));
    s_live(self, SECOND_US / 5);
    assert_int_equal(again->owned_count, 3);
    assert_int_equal(b->seen, revision); // nothing was rebalanced
    assert_string_equal(s_last_left(self), "replaced");
}

static void test_coordinator_groups_time__who_knocked_and_stays_away_is_not_waited_for_long(void **state)
{
    struct play *self = *state;
    (void) s_knock_late(self);
    s_live(self, 29 * SECOND_US / 10);
    assert_int_equal(self->members[1].owned_count, 3);
    s_live(self, SECOND_US / 2);
    assert_int_equal(self->members[1].owned_count, 6);
    assert_string_equal(s_last_left(self), "timed out");
}

// ---- releases

static void test_coordinator_groups_time__who_does_not_release_in_time_goes(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "orders"), *b = s_member(self, "g", "orders");
    a->release_ms = 3000;
    assert_ok(s_join_group(self, a));
    s_live(self, SECOND_US);
    a->slow = true; // it lives and heartbeats
    assert_ok(s_join_group(self, b));
    s_live(self, 2 * SECOND_US);
    assert_int_equal(b->owned_count, 0);
    s_live(self, 2 * SECOND_US);
    assert_err(a->err, WEFT_ERR_UNKNOWN_MEMBER);
    assert_non_null(strstr(a->sentence, "did not release in time"));
    assert_int_equal(b->owned_count, 6);
    assert_string_equal(s_last_left(self), "did not release in time");
}

static void test_coordinator_groups_time__an_exclusive_one_is_waited_for_until_its_lease_ends(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "orders"), *b = s_member(self, "g", "orders");
    a->release_ms = 3000;
    a->exclusive = true;
    assert_ok(s_join_group(self, a));
    s_live(self, SECOND_US);
    a->slow = true;
    assert_ok(s_join_group(self, b));
    s_live(self, 5 * SECOND_US);
    int64_t lease_us = a->answered_us; // what it was answered last began before that
    assert_int_equal(b->owned_count, 0);
    size_t answers = a->answers;
    while (b->owned_count == 0) {
        s_live(self, SECOND_US / 10);
        if (!a->err) assert_int_equal(a->answers, answers); // neither yes nor no
        assert_true(weft_fake_world_now_us(self->at->world) < lease_us + 12 * SECOND_US);
    }
    assert_true(weft_fake_world_now_us(self->at->world) >= lease_us + 10 * SECOND_US - SECOND_US - SECOND_US / 2);
    assert_err(a->err, WEFT_ERR_UNKNOWN_MEMBER);
    assert_int_equal(b->owned_count, 6);
}

// Its lease begins when it sends, and a turn may have begun, and read the clock, up to half a second before.
static void test_coordinator_groups_time__an_exclusive_one_has_what_a_turn_may_take_beside(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "orders"), *b = s_member(self, "g", "orders");
    a->exclusive = true;
    assert_ok(s_join_group(self, a));
    assert_ok(s_join_group(self, b));
    s_live(self, SECOND_US);
    s_beat_member(self, a);
    (void) s_pump(self);
    a->silent = true;
    s_live(self, 10 * SECOND_US + SECOND_US * 4 / 10);
    assert_int_equal(b->owned_count, 3);
    s_live(self, SECOND_US / 2);
    assert_int_equal(b->owned_count, 6);
}

// ---- the coordinator

static void s_restart(struct play *self)
{
    s_down(self->at);
    weft_crash_disk_kill(self->at->disk);
    s_start(self->at);
    for (size_t i = 0; i < self->count; i++) self->members[i].waits = 0;
}

static void test_coordinator_groups_time__a_change_of_coordinator_rebalances_nothing(void **state)
{
    struct play *self = *state;
    s_members(self, 3);
    uint64_t seen[3];
    for (size_t i = 0; i < 3; i++) seen[i] = self->members[i].seen;
    s_restart(self);
    s_live(self, 3 * SECOND_US);
    for (size_t i = 0; i < 3; i++) {
        assert_ok(self->members[i].err);
        assert_int_equal(self->members[i].seen, seen[i]);
    }
    assert_true(s_all_owned(self, "g", 6, NULL));
}

static void test_coordinator_groups_time__a_new_coordinator_waits_one_whole_session(void **state)
{
    struct play *self = *state;
    s_members(self, 2);
    self->members[0].silent = true;
    s_live(self, 8 * SECOND_US);
    s_restart(self);
    s_live(self, 9 * SECOND_US);
    assert_int_equal(self->members[1].owned_count, 3);
    s_live(self, 2 * SECOND_US);
    assert_int_equal(self->members[1].owned_count, 6);
}

static void test_coordinator_groups_time__snapshots_carry_groups_over_starts(void **state)
{
    struct play *self = *state;
    s_members(self, 4);
    for (int i = 0; i < 20; i++) { // a snapshot every 32 commands
        struct member *guest = &self->members[3];
        assert_ok(s_leave_group(self, guest, "leave", NULL));
        s_live(self, SECOND_US / 5);
        guest->silent = false;
        assert_ok(s_join_group(self, guest));
        s_live(self, SECOND_US / 5);
    }
    assert_true(s_all_owned(self, "g", 6, NULL));
    assert_true(weft_crash_disk_peek(self->at->disk, "c/snapshot").size > 0);
    s_restart(self);
    s_live(self, 3 * SECOND_US);
    for (size_t i = 0; i < 4; i++) assert_ok(self->members[i].err);
    assert_true(s_all_owned(self, "g", 6, NULL));
}

static void test_coordinator_groups_time__what_is_parked_is_answered_at_a_stop(void **state)
{
    struct play *self = *state;
    s_members(self, 2);
    s_live(self, SECOND_US / 10);
    assert_true(self->members[0].waits && self->members[1].waits);
    assert_true(weft_fake_world_stop(self->at->world, COORDINATOR_PART, SECOND_US));
    (void) s_pump(self);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(self->members[i].waits, 0);
        assert_err(self->members[i].err, WEFT_ERR_STOPPING);
    }
}

static void test_coordinator_groups_time__who_lost_office_says_so_at_once(void **state)
{
    struct play *self = *state;
    s_members(self, 2);
    s_live(self, SECOND_US / 10);
    assert_true(self->members[0].waits && self->members[1].waits);
    const struct weft_crash_disk_faults faults = {.sync_eio = 1000000};
    weft_crash_disk_faults_set(self->at->disk, &faults);
    s_create_topic_request(self->at, "more", 1, NULL, NULL);
    s_send(self->at, ADMIN);
    weft_fake_world_advance(self->at->world, SECOND_US / 10);
    (void) s_pump(self);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(self->members[i].waits, 0);
        assert_err(self->members[i].err, WEFT_ERR_COORDINATOR_UNAVAILABLE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GROUP_TEST(test_coordinator_groups_time__a_silent_member_is_timed_out_and_others_take_over),
        GROUP_TEST(test_coordinator_groups_time__those_silent_together_go_in_one_command),
        GROUP_TEST(test_coordinator_groups_time__a_paused_instance_that_stays_away_loses_its_place),
        GROUP_TEST(test_coordinator_groups_time__why_somebody_left_is_told),
        GROUP_TEST(test_coordinator_groups_time__who_knocked_finds_the_place_after_a_long_back_off),
        GROUP_TEST(test_coordinator_groups_time__who_knocked_and_stays_away_is_not_waited_for_long),
        GROUP_TEST(test_coordinator_groups_time__who_does_not_release_in_time_goes),
        GROUP_TEST(test_coordinator_groups_time__an_exclusive_one_is_waited_for_until_its_lease_ends),
        GROUP_TEST(test_coordinator_groups_time__an_exclusive_one_has_what_a_turn_may_take_beside),
        GROUP_TEST(test_coordinator_groups_time__a_change_of_coordinator_rebalances_nothing),
        GROUP_TEST(test_coordinator_groups_time__a_new_coordinator_waits_one_whole_session),
        GROUP_TEST(test_coordinator_groups_time__snapshots_carry_groups_over_starts),
        GROUP_TEST(test_coordinator_groups_time__what_is_parked_is_answered_at_a_stop),
        GROUP_TEST(test_coordinator_groups_time__who_lost_office_says_so_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
