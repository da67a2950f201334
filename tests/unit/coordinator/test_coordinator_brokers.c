// SPDX-License-Identifier: MPL-2.0
// Brokers at the coordinator: pushes, sessions, incarnations, status.
#include "fixture.h"

// ---- a broker's copy of the state, fed by pushes

// Applies every push that was sent to `peer`; returns how many there were. Answers are dropped.
static size_t s_follow(struct fixture *self, uint8_t peer, weft_cluster_t *copy)
{
    size_t pushes = 0;
    const struct weft_fake_sent *sent;
    while ((sent = weft_fake_world_take_reply(self->world))) {
        uint8_t to = sent->peer;
        if (!s_apply_push(self, sent, copy)) continue;
        assert_int_equal(to, peer);
        pushes++;
    }
    return pushes;
}

// ---- brokers

static void test_coordinator_brokers__a_broker_follows_by_pushes(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    weft_cluster_t *copy = weft_cluster_new();
    s_register_request(self, 1, 1);
    s_send(self, 1);
    assert_int_equal(s_follow(self, 1, copy), 1); // a snapshot
    uint64_t index = weft_cluster_index(copy);
    assert_int_equal(index, 5);
    s_create_topic_request(self, "orders", 2, NULL, NULL);
    s_send(self, ADMIN);
    assert_int_equal(s_follow(self, 1, copy), 1); // at once, without a heartbeat
    assert_int_equal(weft_cluster_index(copy), index + 1);
    assert_non_null(weft_cluster_topic_by_name(copy, weft_slice_text("orders")));
    assert_ok(s_heartbeat(self, 1, 1, index + 1));
    s_create_topic_request(self, "lost", 2, NULL, NULL);
    s_send(self, ADMIN);
    while (weft_fake_world_take_reply(self->world)) {} // the push is lost on its way
    assert_ok(s_heartbeat(self, 1, 1, index + 1));     // too early to tell
    assert_int_equal(s_follow(self, 1, copy), 0);
    weft_fake_world_advance(self->world, SECOND_US / 5);
    s_heartbeat_request(self, 1, 1, index + 1, false);
    s_send(self, 1);
    assert_int_equal(s_follow(self, 1, copy), 1);
    assert_int_equal(weft_cluster_index(copy), index + 2);
    weft_cluster_check(copy);
    weft_cluster_destroy(&copy);
}

static void test_coordinator_brokers__a_silent_broker_is_fenced_and_may_come_back(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    assert_ok(s_create_topic(self, "orders", 1));
    for (int i = 0; i < 20; i++) { // a session and more, with heartbeats
        weft_fake_world_advance(self->world, SECOND_US / 5);
        assert_ok(s_heartbeat(self, 1, 1, 4));
    }
    weft_fake_world_advance(self->world, SECOND_US + SECOND_US / 2);
    struct weft_metadata_reply reply = s_metadata(self);
    assert_false(reply.brokers[0].alive);
    assert_int_equal(reply.topics[0].partitions[0].leader, -1);
    assert_true(weft_slice_is_text(s_status(self).health, "degraded"));
    assert_err(s_heartbeat(self, 1, 1, 4), WEFT_ERR_FENCED);
    assert_ok(s_register(self, 1, 1));
    assert_ok(s_heartbeat(self, 1, 1, 0));
    reply = s_metadata(self);
    assert_int_equal(reply.topics[0].partitions[0].leader, 1);
    assert_int_equal(reply.topics[0].partitions[0].epoch, 2);
    assert_err(s_heartbeat(self, 2, 1, 0), WEFT_ERR_FENCED);
}

static void test_coordinator_brokers__its_own_pause_fences_nobody(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    weft_fake_world_advance(self->world, SECOND_US / 5);
    weft_fake_world_hold(self->world, COORDINATOR_PART, true); // SIGSTOP
    weft_fake_world_advance(self->world, 5 * SECOND_US);
    weft_fake_world_hold(self->world, COORDINATOR_PART, false);
    weft_fake_world_settle(self->world);
    weft_fake_world_advance(self->world, SECOND_US / 2);
    assert_ok(s_heartbeat(self, 1, 1, 3));
    weft_fake_world_advance(self->world, 2 * SECOND_US); // silence now counts again
    assert_err(s_heartbeat(self, 1, 1, 3), WEFT_ERR_FENCED);
}

static void test_coordinator_brokers__after_taking_office_it_waits_one_session(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    s_down(self);
    weft_crash_disk_kill(self->disk);
    s_start(self);
    weft_fake_world_advance(self->world, SECOND_US - SECOND_US / 5);
    assert_true(s_metadata(self).brokers[0].alive);
    assert_ok(s_heartbeat(self, 1, 1, 3)); // the incarnation it knows from its log
    weft_fake_world_advance(self->world, SECOND_US / 2);
    assert_true(s_metadata(self).brokers[0].alive);
    weft_fake_world_advance(self->world, SECOND_US);
    assert_false(s_metadata(self).brokers[0].alive);
}

static struct weft_status_broker s_broker_status(struct fixture *self)
{
    struct weft_cluster_status_request request;
    struct weft_cluster_status_reply reply;
    weft_cluster_status_request_init(&request);
    request.id = ++self->id;
    weft_cluster_status_request_encode(&request, &self->header);
    assert_ok(s_ask(self, CLIENT));
    DECODE(cluster_status, &reply);
    assert_int_equal(reply.brokers_count, 1);
    return reply.brokers[0];
}

static void test_coordinator_brokers__tells_when_one_that_is_gone_was_last_heard(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    weft_fake_world_advance(self->world, SECOND_US / 5);
    assert_ok(s_heartbeat(self, 1, 1, 3));
    weft_fake_world_advance(self->world, 3 * SECOND_US);
    struct weft_status_broker broker = s_broker_status(self);
    assert_true(!broker.alive && broker.heard);
    assert_int_equal(broker.heartbeat_age_ms, 3000);
    s_down(self);
    weft_crash_disk_kill(self->disk);
    s_start(self); // one in office anew knows only how long it has been that
    weft_fake_world_advance(self->world, 4 * SECOND_US);
    broker = s_broker_status(self);
    assert_true(!broker.alive && !broker.heard);
    assert_in_range(broker.heartbeat_age_ms, 3500, 4000);
    assert_ok(s_register(self, 1, 2));
    weft_fake_world_advance(self->world, SECOND_US / 2);
    broker = s_broker_status(self);
    assert_true(broker.alive && broker.heard);
    assert_int_equal(broker.heartbeat_age_ms, 500);
}

static void test_coordinator_brokers__a_killed_broker_is_back_before_its_session_ends(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    assert_ok(s_create_topic(self, "orders", 1));
    s_register_request(self, 1, 2); // its next start
    s_send(self, 1);
    assert_err(s_answer_error(self), WEFT_ERR_TIMED_OUT); // might be two with one id
    weft_fake_world_advance(self->world, SECOND_US * 6 / 10);
    assert_err(s_answer_error(self), WEFT_OK);
    struct weft_metadata_reply reply = s_metadata(self);
    assert_true(reply.brokers[0].alive);
    assert_int_equal(reply.topics[0].partitions[0].epoch, 1); // REPLICATION.md rule 2
    assert_err(s_heartbeat(self, 1, 1, 0), WEFT_ERR_FENCED);  // what is left of the one before
    assert_ok(s_heartbeat(self, 1, 2, 0));
}

static void test_coordinator_brokers__a_whole_cluster_that_starts_again_waits_for_nobody(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    assert_ok(s_create_topic(self, "orders", 1));
    s_down(self);
    weft_crash_disk_kill(self->disk);
    s_start(self);
    assert_ok(s_register(self, 1, 2)); // at the same endpoint, and the one before was not heard since
    assert_int_equal(s_metadata(self).topics[0].partitions[0].epoch, 1);
    s_register_request(self, 1, 3);
    s_send(self, 1);
    assert_err(s_answer_error(self), WEFT_ERR_TIMED_OUT); // from now on it waits as ever
}

static void test_coordinator_brokers__a_second_broker_of_the_same_id_is_refused(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    s_register_request(self, 1, 2);
    uint64_t id = self->id;
    s_send(self, 5);
    for (int i = 0; i < 3; i++) {
        weft_fake_world_advance(self->world, SECOND_US / 10);
        s_heartbeat_request(self, 1, 1, 3, false);
        s_send(self, 1);
    }
    weft_fake_world_advance(self->world, SECOND_US / 5);
    bool refused = false;
    const struct weft_fake_sent *sent;
    while ((sent = s_next_answer(self))) {
        struct weft_reply_header header;
        assert_ok(weft_reply_header_decode(&self->codec, weft_buf_slice(&sent->header), &header, NULL));
        if (header.id != id) continue;
        assert_int_equal(sent->peer, 5);
        assert_err(header.error, WEFT_ERR_BROKER_ID_IN_USE);
        refused = true;
    }
    assert_true(refused);
    assert_ok(s_heartbeat(self, 1, 1, 3)); // the first is untouched
}

static void test_coordinator_brokers__a_broker_that_wants_to_stop_is_let_go(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    assert_ok(s_create_topic(self, "orders", 1));
    s_heartbeat_request(self, 1, 1, 4, true);
    assert_ok(s_ask(self, 1));
    struct weft_broker_heartbeat_reply reply;
    DECODE(broker_heartbeat, &reply);
    assert_true(reply.stop_now);
    assert_int_equal(s_metadata(self).topics[0].partitions[0].leader, -1);
    s_heartbeat_request(self, 1, 1, 4, true); // the answer was lost
    assert_ok(s_ask(self, 1));
    DECODE(broker_heartbeat, &reply);
    assert_true(reply.stop_now);
    assert_ok(s_register(self, 1, 2)); // and back without waiting
}

static void test_coordinator_brokers__a_broker_of_another_cluster_is_refused(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    struct weft_broker_register_request request;
    weft_broker_register_request_init(&request);
    weft_slice_t endpoint = weft_slice_text("tcp://127.0.0.1:7000");
    request.id = ++self->id;
    request.broker_id = 1;
    request.incarnation = s_incarnation(1);
    request.cluster_id = s_incarnation(77);
    request.endpoints = &endpoint;
    request.endpoints_count = 1;
    weft_broker_register_request_encode(&request, &self->header);
    assert_err(s_ask(self, 1), WEFT_ERR_WRONG_CLUSTER);
    assert_int_equal(s_metadata(self).brokers_count, 0);
}

static void test_coordinator_brokers__status_says_what_is_wrong(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    for (int i = 0; i < 12; i++) {
        char name[8];
        snprintf(name, sizeof name, "t%d", i);
        assert_ok(s_create_topic(self, name, 1));
    }
    struct weft_cluster_status_request request;
    struct weft_cluster_status_reply reply;
    weft_cluster_status_request_init(&request);
    request.id = ++self->id;
    weft_cluster_status_request_encode(&request, &self->header);
    assert_ok(s_ask(self, CLIENT));
    DECODE(cluster_status, &reply);
    assert_int_equal(reply.problems_count, 0);
    assert_int_equal(reply.brokers[0].leads, 12);
    weft_fake_world_advance(self->world, 2 * SECOND_US);
    request.id = ++self->id;
    weft_cluster_status_request_encode(&request, &self->header);
    assert_ok(s_ask(self, CLIENT));
    DECODE(cluster_status, &reply);
    assert_int_equal(reply.leaderless, 12);
    assert_int_equal(reply.problems_count, 11); // broker down, none alive, eight named, four more
    assert_slice(reply.problems[0], "broker 1 is down and holds 12 partitions; start it again, or see to its "
                                    "network");
    assert_slice(reply.problems[10], "4 more partitions have no leader");
}

static void test_coordinator_brokers__status_sorts_brokers_and_sums_up_what_has_no_leader(void **state)
{
    struct fixture *self = *state;
    static const int32_t ids[] = {31, 2, 500, 7, 64};
    s_start(self);
    for (size_t i = 0; i < 5; i++) assert_ok(s_register(self, ids[i], 1));
    assert_ok(s_create_topic(self, "orders", 50)); // ten on each
    struct weft_cluster_status_request request;
    struct weft_cluster_status_reply reply;
    weft_cluster_status_request_init(&request);
    weft_fake_world_advance(self->world, 2 * SECOND_US);
    request.id = ++self->id;
    weft_cluster_status_request_encode(&request, &self->header);
    assert_ok(s_ask(self, CLIENT));
    DECODE(cluster_status, &reply);
    assert_int_equal(reply.brokers_count, 5);
    for (size_t i = 1; i < 5; i++) assert_true(reply.brokers[i - 1].id < reply.brokers[i].id);
    assert_int_equal(reply.leaderless, 50);
    assert_int_equal(reply.problems_count, 11); // five brokers down, none alive, a sentence for each that is waited for
    for (size_t i = 6; i < 11; i++) {
        char *text = weft_slice_dup(reply.problems[i]);
        assert_non_null(strstr(text, "10 partitions of 'orders' have no leader: they wait for broker "));
        free(text);
    }
}

static void test_coordinator_brokers__a_broker_that_knows_more_is_a_problem(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    assert_ok(s_heartbeat(self, 1, 1, 500));
    struct weft_cluster_status_request request;
    struct weft_cluster_status_reply reply;
    weft_cluster_status_request_init(&request);
    request.id = ++self->id;
    weft_cluster_status_request_encode(&request, &self->header);
    assert_ok(s_ask(self, CLIENT));
    DECODE(cluster_status, &reply);
    assert_int_equal(reply.problems_count, 1);
    assert_slice(reply.problems[0], "broker 1 knows of 500 changes, this coordinator of 5: its data directory is an "
                                    "old copy; put back the newest one");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_coordinator_brokers__a_broker_follows_by_pushes),
        TEST(test_coordinator_brokers__a_silent_broker_is_fenced_and_may_come_back),
        TEST(test_coordinator_brokers__its_own_pause_fences_nobody),
        TEST(test_coordinator_brokers__after_taking_office_it_waits_one_session),
        TEST(test_coordinator_brokers__tells_when_one_that_is_gone_was_last_heard),
        TEST(test_coordinator_brokers__a_killed_broker_is_back_before_its_session_ends),
        TEST(test_coordinator_brokers__a_whole_cluster_that_starts_again_waits_for_nobody),
        TEST(test_coordinator_brokers__a_second_broker_of_the_same_id_is_refused),
        TEST(test_coordinator_brokers__a_broker_that_wants_to_stop_is_let_go),
        TEST(test_coordinator_brokers__a_broker_of_another_cluster_is_refused),
        TEST(test_coordinator_brokers__status_says_what_is_wrong),
        TEST(test_coordinator_brokers__status_sorts_brokers_and_sums_up_what_has_no_leader),
        TEST(test_coordinator_brokers__a_broker_that_knows_more_is_a_problem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
