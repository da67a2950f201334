// SPDX-License-Identifier: MPL-2.0
// Leaders for partitions that lost all that could lead: by reports, by a person; and damaged replicas.
#include "cluster.h"

// A topic of one partition on brokers 1 to 3, all of which are lost and come back uncleanly as second starts: nobody is
// sure. Its leader, then both others, in *ids.
static void s_all_lost_of(struct fixture *self, const char *min_insync, int32_t ids[3])
{
    s_cluster(self, 3);
    s_topic_on(self, "orders", 1, 3, min_insync);
    const struct weft_cluster_partition *partition = s_partition(self, "orders", 0);
    memcpy(ids, partition->replicas, 3 * sizeof *ids);
    weft_fake_world_advance(self->world, 2 * SECOND_US);
    s_drain(self);
    for (int i = 0; i < 3; i++) assert_ok(s_join(self, ids[i], 2, false));
    assert_int_equal(s_partition(self, "orders", 0)->leader, -1);
}

static void s_all_lost(struct fixture *self, int32_t ids[3])
{
    s_all_lost_of(self, "3", ids); // below three in sync nothing is committed: whoever leaves stays eligible
}

static void test_coordinator_elections__the_highest_leads_once_all_have_spoken(void **state)
{
    struct fixture *self = *state;
    int32_t ids[3];
    s_all_lost(self, ids);
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = ids[0], .start = 2, .last_epoch = 0, .log_end = 90}));
    assert_int_equal(s_partition(self, "orders", 0)->leader, -1);
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = ids[1], .start = 2, .last_epoch = 0, .log_end = 100}));
    assert_int_equal(s_partition(self, "orders", 0)->leader, -1); // the third might have more
    assert_true(s_status_says(self, "it waits for broker"));
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = ids[2], .start = 2, .last_epoch = 0, .log_end = 95}));
    const struct weft_cluster_partition *partition = s_partition(self, "orders", 0);
    assert_int_equal(partition->leader, ids[1]);
    assert_int_equal(partition->isr_count, 1);
    weft_cluster_check(self->copy);
}

static void test_coordinator_elections__an_epoch_beats_an_offset_and_order_decides_among_equals(void **state)
{
    struct fixture *self = *state;
    int32_t ids[3];
    s_all_lost(self, ids);
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = ids[2], .start = 2, .last_epoch = 0, .log_end = 50}));
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = ids[1], .start = 2, .last_epoch = 0, .log_end = 50}));
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = ids[0], .start = 2, .last_epoch = -1, .log_end = 70}));
    assert_int_equal(s_partition(self, "orders", 0)->leader, ids[1]);
}

// Who left may have missed what was deleted since; who stayed last has not.
static void test_coordinator_elections__who_stayed_goes_before_who_left_with_the_same_records(void **state)
{
    struct fixture *self = *state;
    int32_t ids[3];
    s_all_lost_of(self, "1", ids);
    const struct weft_cluster_partition *partition = s_partition(self, "orders", 0);
    int32_t stayed = partition->isr[0];
    assert_int_equal(partition->isr_count, 1);
    assert_int_equal(partition->eligible, 0);
    assert_int_not_equal(partition->leavers, 0);
    assert_int_not_equal(stayed, ids[0]); // so preferred order says another
    for (int i = 0; i < 3; i++)
        assert_ok(
            s_say(self, "orders", 0, &(struct said){.broker = ids[i], .start = 2, .last_epoch = 0, .log_end = 50}));
    assert_int_equal(s_partition(self, "orders", 0)->leader, stayed);
}

static void test_coordinator_elections__a_leaver_with_more_records_leads(void **state)
{
    struct fixture *self = *state;
    int32_t ids[3];
    s_all_lost_of(self, "1", ids);
    int32_t stayed = s_partition(self, "orders", 0)->isr[0];
    for (int i = 0; i < 3; i++)
        assert_ok(s_say(
            self, "orders", 0,
            &(struct said){.broker = ids[i], .start = 2, .last_epoch = 0, .log_end = ids[i] == stayed ? 50 : 51}));
    assert_int_equal(s_partition(self, "orders", 0)->leader, ids[0]);
}

static void test_coordinator_elections__a_report_counts_for_one_start_and_one_epoch(void **state)
{
    struct fixture *self = *state;
    int32_t ids[3];
    s_all_lost(self, ids);
    for (int i = 0; i < 2; i++)
        assert_ok(
            s_say(self, "orders", 0, &(struct said){.broker = ids[i], .start = 2, .last_epoch = 0, .log_end = 90}));
    weft_fake_world_advance(self->world, SECOND_US / 2);
    s_join_request(self, ids[0], 3, false); // starts again: what it said before is void
    s_send(self, (uint8_t) ids[0]);
    for (int i = 0; i < 6; i++) {
        (void) s_beat(self, &(struct beat){.broker = ids[1], .start = 2});
        (void) s_beat(self, &(struct beat){.broker = ids[2], .start = 2});
        weft_fake_world_advance(self->world, STEP_US);
    }
    s_drain(self);
    assert_true(weft_id_equal(s_broker(self, ids[0])->incarnation, s_start_of(ids[0], 3)));
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = ids[2], .start = 2, .last_epoch = 0, .log_end = 80}));
    assert_int_equal(s_partition(self, "orders", 0)->leader, -1);
    assert_err(s_say(self, "orders", 0, &(struct said){.broker = ids[0], .start = 2, .last_epoch = 0, .log_end = 99}),
               WEFT_ERR_FENCED);
    assert_ok(
        s_say(self, "orders", 0,
              &(struct said){.broker = ids[0], .start = 3, .last_epoch = 0, .log_end = 99, .leader_epoch_more = -1}));
    assert_int_equal(s_partition(self, "orders", 0)->leader, -1);
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = ids[0], .start = 3, .last_epoch = 0, .log_end = 60}));
    assert_int_equal(s_partition(self, "orders", 0)->leader, ids[1]);
}

static void test_coordinator_elections__impossible_claims_are_refused_with_a_sentence(void **state)
{
    struct fixture *self = *state;
    int32_t ids[3];
    s_all_lost(self, ids);
    const struct said lies[] = {
        {.broker = ids[0], .start = 2, .last_epoch = 1000000, .log_end = 5},
        {.broker = ids[0], .start = 2, .last_epoch = -2, .log_end = 5},
        {.broker = ids[0], .start = 2, .last_epoch = 0, .log_end = -5},
        {.broker = ids[0], .start = 2, .last_epoch = 0, .log_end = 5, .leader_epoch_more = 7},
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        assert_err(s_say(self, "orders", 0, &lies[i]), WEFT_ERR_INVALID_REQUEST);
        assert_non_null(strstr(self->error.text, "'orders'"));
    }
    for (int i = 1; i < 3; i++)
        assert_ok(
            s_say(self, "orders", 0, &(struct said){.broker = ids[i], .start = 2, .last_epoch = 0, .log_end = 90}));
    assert_int_equal(s_partition(self, "orders", 0)->leader, -1); // a liar has not reported
}

static void test_coordinator_elections__a_damaged_member_is_no_candidate(void **state)
{
    struct fixture *self = *state;
    int32_t ids[3];
    s_all_lost(self, ids);
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = ids[0], .start = 2, .damaged = true, .log_end = 500}));
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = ids[1], .start = 2, .damaged = true, .log_end = 500}));
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = ids[2], .start = 2, .last_epoch = 0, .log_end = 10}));
    assert_int_equal(s_partition(self, "orders", 0)->leader, ids[2]);
}

static void test_coordinator_elections__a_leaver_is_no_substitute_for_a_damaged_member(void **state)
{
    struct fixture *self = *state;
    int32_t ids[3];
    s_all_lost_of(self, "1", ids);
    int32_t stayed = s_partition(self, "orders", 0)->isr[0];
    for (int i = 0; i < 3; i++)
        assert_ok(s_say(
            self, "orders", 0,
            &(struct said){.broker = ids[i], .start = 2, .last_epoch = 0, .log_end = 50, .damaged = ids[i] == stayed}));
    assert_int_equal(s_partition(self, "orders", 0)->leader, -1); // it may have more than they
    assert_true(s_status_says(self, "every replica that had all is damaged"));
    // Its disk works again.
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = stayed, .start = 2, .last_epoch = 0, .log_end = 60}));
    assert_int_equal(s_partition(self, "orders", 0)->leader, stayed);
}

static void test_coordinator_elections__when_all_are_damaged_a_person_decides(void **state)
{
    struct fixture *self = *state;
    int32_t ids[3];
    s_all_lost(self, ids);
    for (int i = 0; i < 3; i++)
        assert_ok(s_say(self, "orders", 0, &(struct said){.broker = ids[i], .start = 2, .damaged = true}));
    assert_int_equal(s_partition(self, "orders", 0)->leader, -1);
    assert_true(s_status_says(self, "every replica that had all is damaged"));
}

static weft_err_t s_elect(struct fixture *self, int32_t broker, bool unclean, struct weft_elect_leader_reply *reply)
{
    struct weft_elect_leader_request request;
    weft_elect_leader_request_init(&request);
    request.id = ++self->id;
    request.topic = weft_slice_text("orders");
    request.partition = 0;
    request.broker_id = broker;
    request.unclean = unclean;
    weft_elect_leader_request_encode(&request, &self->header);
    weft_err_t err = s_ask(self, ADMIN);
    if (!err) DECODE(elect_leader, reply);
    return err;
}

static void test_coordinator_elections__a_damaged_follower_leaves_and_a_damaged_leader_too(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 1, 3, NULL);
    int32_t leader = s_partition(self, "orders", 0)->leader, follower = leader % 3 + 1;
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = follower, .start = 1, .damaged = true}));
    assert_false(s_in_sync(s_partition(self, "orders", 0), follower));
    assert_int_equal(s_partition(self, "orders", 0)->leader, leader);
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = leader, .start = 1, .damaged = true}));
    const struct weft_cluster_partition *partition = s_partition(self, "orders", 0);
    assert_int_not_equal(partition->leader, leader);
    assert_int_not_equal(partition->leader, follower);
    assert_int_equal(partition->leader_epoch, 1);
    assert_int_equal(partition->isr_count, 1);
    int32_t last = partition->leader; // the only one: kept, and named
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = last, .start = 1, .damaged = true}));
    assert_int_equal(s_partition(self, "orders", 0)->leader, last);
    assert_true(s_status_says(self, "is damaged on broker"));
    struct weft_elect_leader_reply reply;
    assert_err(s_elect(self, follower, false, &reply), WEFT_ERR_NO_ELIGIBLE_LEADER);
    assert_ok(s_elect(self, leader, true, &reply)); // damaged itself, but a person names it
    assert_int_equal(s_partition(self, "orders", 0)->leader, leader);
    weft_cluster_check(self->copy);
}

static void test_coordinator_elections__a_damaged_one_is_not_eligible_either(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 1, 3, "3");
    int32_t leader = s_partition(self, "orders", 0)->leader, follower = leader % 3 + 1;
    struct wish without = {.topic = "orders", .members = {leader, (leader + 1) % 3 + 1}};
    assert_ok(s_wish(self, leader, 1, &without));
    assert_int_not_equal(s_partition(self, "orders", 0)->eligible, 0);
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = follower, .start = 1, .damaged = true}));
    assert_int_equal(s_partition(self, "orders", 0)->eligible, 0);
    assert_int_equal(s_partition(self, "orders", 0)->isr_count, 2);
}

// ---- who left lately

static void test_coordinator_elections__who_died_together_is_waited_for_together(void **state)
{
    struct fixture *self = *state;
    struct weft_elect_leader_reply reply;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 1, 3, "1");
    int32_t ids[3];
    memcpy(ids, s_partition(self, "orders", 0)->replicas, sizeof ids);
    weft_fake_world_advance(self->world, 2 * SECOND_US);
    s_drain(self);
    for (int i = 0; i < 3; i++) assert_ok(s_join(self, ids[i], 2, false));
    const struct weft_cluster_partition *partition = s_partition(self, "orders", 0);
    assert_int_equal(partition->leader, -1);
    assert_int_equal(partition->isr_count, 1); // who was missed last
    int32_t last = partition->isr[0], other = last % 3 + 1, third = 6 - last - other;
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = last, .start = 2, .last_epoch = 0, .log_end = 42}));
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = other, .start = 2, .last_epoch = 0, .log_end = 40}));
    assert_int_equal(s_partition(self, "orders", 0)->leader, -1);
    assert_err(s_elect(self, -1, false, &reply), WEFT_ERR_NO_ELIGIBLE_LEADER);
    assert_non_null(strstr(self->error.text, "nothing durable is lost"));
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = third, .start = 2, .last_epoch = 0, .log_end = 50}));
    assert_int_equal(s_partition(self, "orders", 0)->leader, third);
}

static void test_coordinator_elections__those_that_are_heard_need_nobody_who_left(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 1, 3, "1");
    LOSE_ALL_BUT(self, 1, 2);
    const struct weft_cluster_partition *partition = s_partition(self, "orders", 0);
    assert_int_equal(partition->isr_count, 2);
    assert_int_equal(partition->leavers, 0);
    uint64_t heard = s_broker(self, 2)->heard_index;
    assert_true(heard > 0 && heard >= s_broker(self, 2)->wanted_index);
    PASS(self, SECOND_US, 1, 2);
    assert_int_equal(s_broker(self, 2)->heard_index, heard); // told once, when somebody waits for it
}

// ---- a person

static void test_coordinator_elections__a_person_moves_a_leader_within_the_in_sync_set(void **state)
{
    struct fixture *self = *state;
    struct weft_elect_leader_reply reply;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 1, 2, NULL);
    const struct weft_cluster_partition *partition = s_partition(self, "orders", 0);
    int32_t leader = partition->replicas[0], other = partition->replicas[1], none = 6 - leader - other;
    assert_ok(s_elect(self, other, false, &reply));
    assert_int_equal(reply.broker_id, other);
    assert_int_equal(reply.epoch, 1);
    assert_err(s_elect(self, other, false, &reply), WEFT_ERR_ELECTION_NOT_NEEDED);
    assert_err(s_elect(self, -1, false, &reply), WEFT_ERR_ELECTION_NOT_NEEDED);
    assert_err(s_elect(self, none, true, &reply), WEFT_ERR_NO_ELIGIBLE_LEADER);
    assert_err(s_elect(self, 77, false, &reply), WEFT_ERR_UNKNOWN_BROKER);
}

static void test_coordinator_elections__unclean_says_what_may_be_lost(void **state)
{
    struct fixture *self = *state;
    struct weft_elect_leader_reply reply;
    int32_t ids[3];
    s_all_lost(self, ids);
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = ids[1], .start = 2, .last_epoch = 0, .log_end = 42}));
    assert_ok(s_say(self, "orders", 0, &(struct said){.broker = ids[2], .start = 2, .last_epoch = 0, .log_end = 40}));
    assert_err(s_elect(self, -1, false, &reply), WEFT_ERR_NO_ELIGIBLE_LEADER);
    assert_non_null(strstr(self->error.text, "it waits for broker "));
    assert_non_null(strstr(self->error.text, "up to offset 42"));
    assert_ok(s_elect(self, -1, true, &reply));
    assert_int_equal(reply.broker_id, ids[1]);
    assert_true(reply.loss.size > 0);
    assert_int_equal(s_partition(self, "orders", 0)->leader, ids[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_coordinator_elections__the_highest_leads_once_all_have_spoken),
        TEST(test_coordinator_elections__an_epoch_beats_an_offset_and_order_decides_among_equals),
        TEST(test_coordinator_elections__who_stayed_goes_before_who_left_with_the_same_records),
        TEST(test_coordinator_elections__a_leaver_with_more_records_leads),
        TEST(test_coordinator_elections__a_report_counts_for_one_start_and_one_epoch),
        TEST(test_coordinator_elections__impossible_claims_are_refused_with_a_sentence),
        TEST(test_coordinator_elections__a_damaged_member_is_no_candidate),
        TEST(test_coordinator_elections__a_leaver_is_no_substitute_for_a_damaged_member),
        TEST(test_coordinator_elections__when_all_are_damaged_a_person_decides),
        TEST(test_coordinator_elections__a_damaged_follower_leaves_and_a_damaged_leader_too),
        TEST(test_coordinator_elections__a_damaged_one_is_not_eligible_either),
        TEST(test_coordinator_elections__who_died_together_is_waited_for_together),
        TEST(test_coordinator_elections__those_that_are_heard_need_nobody_who_left),
        TEST(test_coordinator_elections__a_person_moves_a_leader_within_the_in_sync_set),
        TEST(test_coordinator_elections__unclean_says_what_may_be_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
