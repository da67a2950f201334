// SPDX-License-Identifier: MPL-2.0
// Consumer groups at the coordinator: joins, heartbeats, what is parked, static members, refusals.
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

// ---- joins and rebalancing

static void test_coordinator_groups__the_first_member_gets_everything(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "orders");
    assert_ok(s_join_group(self, a));
    assert_true(a->epoch > 0);
    assert_int_equal(a->heartbeat_ms, 1000);
    s_live(self, SECOND_US / 5);
    assert_true(s_all_owned(self, "g", 6, NULL));
    for (size_t i = 0; i < a->owned_count; i++) assert_true(a->owned[i].token > 0);
}

static void test_coordinator_groups__a_newcomer_gets_its_share_once_it_is_released(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "orders");
    assert_ok(s_join_group(self, a));
    s_live(self, SECOND_US / 5);
    struct member *b = s_member(self, "g", "orders");
    a->slow = true; // told to release, and does not
    assert_ok(s_join_group(self, b));
    s_live(self, SECOND_US);
    assert_int_equal(a->owned_count, 3);
    assert_int_equal(b->owned_count, 0);
    a->slow = false;
    a->revision = a->seen;
    s_live(self, 2 * SECOND_US); // the heartbeat that says so comes when the parked one was answered
    assert_true(s_all_owned(self, "g", 6, NULL));
    assert_int_equal(b->owned_count, 3);
}

static void test_coordinator_groups__a_change_settles_without_waiting_for_intervals(void **state)
{
    struct play *self = *state;
    for (size_t i = 0; i < 5; i++) {
        assert_ok(s_join_group(self, s_member(self, "g", "orders")));
        s_live(self, SECOND_US / 5); // of 1 s of a heartbeat interval
        size_t holders;
        assert_true(s_all_owned(self, "g", 6, &holders));
        assert_int_equal(holders, i + 1);
    }
    assert_ok(s_leave_group(self, &self->members[0], "leave", NULL));
    s_live(self, SECOND_US / 5);
    assert_true(s_all_owned(self, "g", 6, NULL));
}

static void test_coordinator_groups__a_heartbeat_without_change_costs_no_command(void **state)
{
    struct play *self = *state;
    for (size_t i = 0; i < 3; i++) assert_ok(s_join_group(self, s_member(self, "g", "orders")));
    s_live(self, SECOND_US);
    uint64_t before = s_counter(self, "commands_proposed_count"), beats = s_counter(self, "group_heartbeats_count");
    s_live(self, 30 * SECOND_US);
    assert_int_equal(s_counter(self, "commands_proposed_count"), before);
    assert_true(s_counter(self, "group_heartbeats_count") - beats >= 80);
    assert_int_equal(s_counter(self, "group_members_count"), 3);
}

static void test_coordinator_groups__more_members_than_partitions_wait_and_take_over(void **state)
{
    struct play *self = *state;
    for (size_t i = 0; i < 8; i++) assert_ok(s_join_group(self, s_member(self, "g", "orders")));
    s_live(self, SECOND_US);
    size_t holders;
    assert_true(s_all_owned(self, "g", 6, &holders));
    assert_int_equal(holders, 6);
    for (size_t i = 0; i < 8; i++)
        if (self->members[i].owned_count) {
            assert_ok(s_leave_group(self, &self->members[i], "leave", NULL));
            break;
        }
    s_live(self, SECOND_US / 5);
    assert_true(s_all_owned(self, "g", 6, &holders));
    assert_int_equal(holders, 6);
}

static void test_coordinator_groups__new_topics_and_partitions_are_picked_up(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "ord*");
    assert_ok(s_join_group(self, a));
    s_live(self, SECOND_US / 5);
    assert_int_equal(a->owned_count, 6);
    s_create_topic_request(self->at, "orders2", 3, NULL, NULL);
    assert_ok(s_play_ask(self));
    s_create_topic_request(self->at, "other", 3, NULL, NULL);
    assert_ok(s_play_ask(self));
    s_live(self, SECOND_US / 5);
    assert_int_equal(a->owned_count, 9);
    struct weft_topic_add_partitions_request request;
    weft_topic_add_partitions_request_init(&request);
    request.id = ++self->at->id;
    request.topic = weft_slice_text("orders");
    request.to = 10;
    weft_topic_add_partitions_request_encode(&request, &self->at->header);
    assert_ok(s_play_ask(self));
    s_live(self, SECOND_US / 5);
    assert_int_equal(a->owned_count, 13);
    struct weft_topic_delete_request gone;
    weft_topic_delete_request_init(&gone);
    gone.id = ++self->at->id;
    gone.topic = weft_slice_text("orders2");
    weft_topic_delete_request_encode(&gone, &self->at->header);
    assert_ok(s_play_ask(self));
    s_live(self, SECOND_US / 5);
    assert_int_equal(a->owned_count, 10);
}

static void test_coordinator_groups__a_topic_to_come_is_unknown_and_awaited(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "later");
    assert_ok(s_join_group(self, a));
    assert_int_equal(a->unknown_count, 1);
    s_live(self, SECOND_US);
    assert_int_equal(a->owned_count, 0);
    s_create_topic_request(self->at, "later", 2, NULL, NULL);
    assert_ok(s_play_ask(self));
    s_live(self, SECOND_US / 5);
    assert_int_equal(a->owned_count, 2);
    assert_int_equal(a->unknown_count, 0);
}

static void test_coordinator_groups__another_subscription_keeps_the_membership(void **state)
{
    struct play *self = *state;
    s_create_topic_request(self->at, "other", 2, NULL, NULL);
    assert_ok(s_play_ask(self));
    struct member *a = s_member(self, "g", "orders");
    assert_ok(s_join_group(self, a));
    s_live(self, SECOND_US / 5);
    uint64_t epoch = a->epoch;
    struct weft_group_heartbeat_request request;
    weft_slice_t topics[2] = {weft_slice_text("other"), weft_slice_text("orders")};
    for (int repeat = 0; repeat < 2; repeat++) { // the second tells what is known: no command
        uint64_t before = s_counter(self, "commands_proposed_count");
        s_request_fill(self, a, &request);
        request.topics = topics;
        request.topics_count = 2;
        request.wait_ms = 0;
        s_request_send(self, a, &request);
        (void) s_pump(self);
        assert_ok(a->err);
        assert_int_equal(a->epoch, epoch);
        if (repeat) assert_int_equal(s_counter(self, "commands_proposed_count"), before);
        s_live(self, SECOND_US / 5);
        assert_int_equal(a->owned_count, 8);
        if (!repeat) continue;
        s_live(self, 2 * SECOND_US); // ends what is parked
    }
}

// ---- what is repeated, and what is parked

static void test_coordinator_groups__an_assignment_is_repeated_until_it_was_seen(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "orders");
    assert_ok(s_join_group(self, a));
    s_live(self, SECOND_US / 5);
    for (int i = 0; i < 3; i++) { // as if all answers were lost
        a->seen = a->revision = 0;
        a->owned_count = 0;
        s_beat_member(self, a);
        (void) s_pump(self);
        assert_int_equal(a->waits, 0);
        assert_int_equal(a->owned_count, 6);
    }
}

static void test_coordinator_groups__a_newer_request_ends_the_parked_one(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "orders");
    assert_ok(s_join_group(self, a));
    s_live(self, SECOND_US / 5);
    assert_true(a->waits != 0);
    size_t answers = a->answers;
    uint64_t older = a->waits;
    s_beat_member(self, a);
    assert_true(a->waits != older);
    weft_fake_world_settle(self->at->world);
    const struct weft_fake_sent *sent = s_next_answer(self->at);
    assert_non_null(sent);
    struct weft_reply_header header;
    assert_ok(weft_reply_header_decode(&self->at->codec, weft_buf_slice(&sent->header), &header, NULL));
    assert_int_equal(header.id, older);
    assert_ok(header.error);
    assert_false(s_pump(self));
    assert_int_equal(a->answers, answers);
    weft_fake_world_advance(self->at->world, SECOND_US + PLAY_STEP_US);
    assert_true(s_pump(self)); // after its wait
    assert_int_equal(a->waits, 0);
}

static void test_coordinator_groups__a_repeated_join_is_one_command(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "orders");
    uint64_t before = s_counter(self, "commands_proposed_count");
    weft_fake_world_hold(self->at->world, SYNC_PART, true);
    for (int i = 0; i < 5; i++) {
        s_beat_member(self, a);
        (void) s_pump(self);
        assert_true(a->waits != 0);
    }
    weft_fake_world_hold(self->at->world, SYNC_PART, false);
    assert_true(s_pump(self));
    assert_ok(a->err);
    assert_true(s_counter(self, "commands_proposed_count") - before <= 3); // with __offsets, and a target
    assert_int_equal(s_counter(self, "group_members_count"), 1);
}

static void test_coordinator_groups__a_release_is_proposed_once(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "orders"), *b = s_member(self, "g", "orders");
    assert_ok(s_join_group(self, a));
    s_live(self, SECOND_US / 5);
    a->slow = true;
    assert_ok(s_join_group(self, b));
    s_live(self, SECOND_US / 5);
    weft_fake_world_hold(self->at->world, SYNC_PART, true);
    uint64_t before = s_counter(self, "commands_proposed_count");
    a->revision = a->seen;
    for (int i = 0; i < 5; i++) {
        s_beat_member(self, a);
        (void) s_pump(self);
    }
    assert_int_equal(s_counter(self, "commands_proposed_count"), before + 1);
    weft_fake_world_hold(self->at->world, SYNC_PART, false);
    s_live(self, SECOND_US / 5);
    assert_int_equal(b->owned_count, 3);
}

// ---- refusals

static weft_err_t s_refusal(struct play *self, struct member *member, struct weft_group_heartbeat_request *request)
{
    s_request_send(self, member, request);
    (void) s_pump(self);
    return member->waits ? WEFT_ERR_TIMED_OUT : member->err;
}

static void test_coordinator_groups__bad_requests_get_sentences_and_change_nothing(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "orders");
    uint64_t before = s_counter(self, "commands_proposed_count");
    char *huge = weft_calloc(10241, 1);
    memset(huge, 'g', 10240);
    static const struct {
        const char *group, *topic, *assignor, *says;
        uint32_t session_ms, release_ms;
        weft_err_t err;
    } cases[] = {
        {"", "orders", NULL, "name", 10000, 1000, WEFT_ERR_INVALID_GROUP},
        {"a\nb", "orders", NULL, "control", 10000, 1000, WEFT_ERR_INVALID_GROUP},
        {"g", NULL, NULL, "topics", 10000, 1000, WEFT_ERR_INVALID_REQUEST},
        {"g", "no good", NULL, "letters", 10000, 1000, WEFT_ERR_INVALID_TOPIC},
        {"g", "ord[", NULL, "[", 10000, 1000, WEFT_ERR_INVALID_PATTERN},
        {"g", "orders", "best", "uniform or range", 10000, 1000, WEFT_ERR_UNSUPPORTED_ASSIGNOR},
        {"g", "orders", NULL, "session_ms 10", 10, 1000, WEFT_ERR_INVALID_REQUEST},
        {"g", "orders", NULL, "group.session", 100000000, 1000, WEFT_ERR_INVALID_REQUEST},
        {"g", "orders", NULL, "release_ms", 10000, 0, WEFT_ERR_INVALID_REQUEST},
    };
    struct weft_group_heartbeat_request request;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        a->group = cases[i].group;
        a->assignor = cases[i].assignor;
        a->session_ms = cases[i].session_ms;
        a->release_ms = cases[i].release_ms;
        s_request_fill(self, a, &request);
        weft_slice_t topic = weft_slice_text(cases[i].topic);
        request.topics = &topic;
        request.topics_count = cases[i].topic ? 1 : 0;
        assert_err(s_refusal(self, a, &request), cases[i].err);
        assert_non_null(strstr(a->sentence, cases[i].says));
    }
    a->group = huge;
    assert_err(s_join_group(self, a), WEFT_ERR_INVALID_REQUEST);
    assert_non_null(strstr(a->sentence, "255"));
    a->group = "g";
    a->session_ms = a->release_ms = 10000;
    a->id = (weft_id_t){{0}};
    a->assignor = NULL;
    assert_err(s_join_group(self, a), WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(s_counter(self, "commands_proposed_count"), before);
    assert_int_equal(s_counter(self, "groups_count"), 0);
    free(huge);
}

static void test_coordinator_groups__who_is_no_member_is_told_to_join(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "orders");
    a->epoch = 17;
    s_beat_member(self, a);
    (void) s_pump(self);
    assert_err(a->err, WEFT_ERR_UNKNOWN_MEMBER);
    assert_ok(s_join_group(self, a));
    uint64_t epoch = a->epoch;
    s_live(self, SECOND_US / 5);
    struct weft_group_heartbeat_request request;
    s_request_fill(self, a, &request);
    request.epoch = epoch - 1;
    assert_err(s_refusal(self, a, &request), WEFT_ERR_FENCED_MEMBER);
    assert_non_null(strstr(a->sentence, "epoch"));
    s_request_fill(self, a, &request);
    request.seen = request.seen + 5;
    assert_err(s_refusal(self, a, &request), WEFT_ERR_INVALID_REQUEST);
    s_request_fill(self, a, &request);
    request.revision = request.seen + 1;
    assert_err(s_refusal(self, a, &request), WEFT_ERR_INVALID_REQUEST);
    assert_ok(s_join_group(self, a)); // again, under the id that is known
    assert_true(a->epoch > epoch);
    a->err = WEFT_OK;
    s_live(self, SECOND_US / 5);
    assert_int_equal(a->owned_count, 6);
}

static void test_coordinator_groups__a_full_group_takes_nobody(void **state)
{
    struct play *self = *state;
    struct weft_cluster_alter_request alter;
    weft_cluster_alter_request_init(&alter);
    struct weft_config_entry entry = {.key = weft_slice_text("group.members"), .value = weft_slice_text("2")};
    alter.id = ++self->at->id;
    alter.config = &entry;
    alter.config_count = 1;
    weft_cluster_alter_request_encode(&alter, &self->at->header);
    assert_ok(s_play_ask(self));
    struct member *a = s_member(self, "g", "orders");
    assert_ok(s_join_group(self, a));
    assert_ok(s_join_group(self, s_member(self, "g", "orders")));
    struct member *c = s_member(self, "g", "orders");
    assert_err(s_join_group(self, c), WEFT_ERR_GROUP_FULL);
    assert_non_null(strstr(c->sentence, "group.members"));
    assert_ok(s_join_group(self, s_member(self, "h", "orders")));
    assert_ok(s_join_group(self, a)); // who is in it may come again
}

// ---- static members

static void test_coordinator_groups__a_paused_instance_keeps_its_place(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "orders"), *b = s_member(self, "g", "orders");
    a->instance = "one";
    assert_ok(s_join_group(self, a));
    assert_ok(s_join_group(self, b));
    s_live(self, SECOND_US / 2);
    assert_int_equal(a->owned_count, 3);
    uint32_t before[3];
    for (int i = 0; i < 3; i++) before[i] = a->owned[i].partition;
    assert_ok(s_leave_group(self, a, "pause", NULL));
    s_live(self, 5 * SECOND_US);
    assert_int_equal(b->owned_count, 3); // others are not given its place
    struct member *again = s_member(self, "g", "orders");
    again->instance = "one";
    assert_ok(s_join_group(self, again));
    s_live(self, SECOND_US / 5);
    assert_int_equal(again->owned_count, 3);
    for (int i = 0; i < 3; i++) assert_int_equal(again->owned[i].partition, before[i]);
    assert_int_equal(b->owned_count, 3);
    a->silent = false;
    a->epoch = 1; // the process before, if it lives
    s_beat_member(self, a);
    (void) s_pump(self);
    assert_err(a->err, WEFT_ERR_FENCED_MEMBER);
    assert_non_null(strstr(a->sentence, "place"));
}

static void test_coordinator_groups__a_live_instance_is_in_use_until_it_is_silent(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "orders"), *b = s_member(self, "g", "orders");
    a->instance = "one";
    a->session_ms = 3000;
    assert_ok(s_join_group(self, a));
    assert_ok(s_join_group(self, b));
    s_live(self, SECOND_US / 2);
    uint64_t revision = b->seen;
    struct member *again = s_member(self, "g", "orders");
    again->instance = "one";
    assert_err(s_join_group(self, again), WEFT_ERR_INSTANCE_IN_USE);
    assert_non_null(strstr(again->sentence, "app@host"));
    assert_true(again->retry_ms >= 50 && again->retry_ms <= 1000);
    again->err = WEFT_OK;
    a->silent = true; // killed
    int64_t died_us = weft_fake_world_now_us(self->at->world);
    while (s_join_group(self, again) == WEFT_ERR_INSTANCE_IN_USE) {
        int64_t retry_us = (int64_t) again->retry_ms * 1000;
        s_live(self, retry_us);
        assert_true(weft_fake_world_now_us(self->at->world) - died_us < 5 * SECOND_US);
    }
    assert_ok(again->err);
    s_live(self, SECOND_US / 5);
    assert_true(weft_fake_world_now_us(self->at->world) - died_us >= 2 * SECOND_US);
    assert_int_equal(again->owned_count, 3);
    assert_int_equal(b->seen, revision); // nothing was rebalanced
}

static void test_coordinator_groups__only_an_instance_can_pause(void **state)
{
    struct play *self = *state;
    struct member *a = s_member(self, "g", "orders");
    assert_ok(s_join_group(self, a));
    assert_err(s_leave_group(self, a, "pause", NULL), WEFT_ERR_INVALID_REQUEST);
    assert_err(s_leave_group(self, a, "vanish", NULL), WEFT_ERR_INVALID_REQUEST);
    a->silent = false;
    a->err = WEFT_OK;
    assert_ok(s_leave_group(self, a, "leave", NULL));
    assert_ok(s_leave_group(self, a, "leave", NULL)); // a repeat: so it is already
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GROUP_TEST(test_coordinator_groups__the_first_member_gets_everything),
        GROUP_TEST(test_coordinator_groups__a_newcomer_gets_its_share_once_it_is_released),
        GROUP_TEST(test_coordinator_groups__a_change_settles_without_waiting_for_intervals),
        GROUP_TEST(test_coordinator_groups__a_heartbeat_without_change_costs_no_command),
        GROUP_TEST(test_coordinator_groups__more_members_than_partitions_wait_and_take_over),
        GROUP_TEST(test_coordinator_groups__new_topics_and_partitions_are_picked_up),
        GROUP_TEST(test_coordinator_groups__a_topic_to_come_is_unknown_and_awaited),
        GROUP_TEST(test_coordinator_groups__another_subscription_keeps_the_membership),
        GROUP_TEST(test_coordinator_groups__an_assignment_is_repeated_until_it_was_seen),
        GROUP_TEST(test_coordinator_groups__a_newer_request_ends_the_parked_one),
        GROUP_TEST(test_coordinator_groups__a_repeated_join_is_one_command),
        GROUP_TEST(test_coordinator_groups__a_release_is_proposed_once),
        GROUP_TEST(test_coordinator_groups__bad_requests_get_sentences_and_change_nothing),
        GROUP_TEST(test_coordinator_groups__who_is_no_member_is_told_to_join),
        GROUP_TEST(test_coordinator_groups__a_full_group_takes_nobody),
        GROUP_TEST(test_coordinator_groups__a_paused_instance_keeps_its_place),
        GROUP_TEST(test_coordinator_groups__a_live_instance_is_in_use_until_it_is_silent),
        GROUP_TEST(test_coordinator_groups__only_an_instance_can_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
