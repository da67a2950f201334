// SPDX-License-Identifier: MPL-2.0
// Replicas that move, brokers that leave for good, settings of the cluster, operations that are repeated.
#include "cluster.h"

// ---- reassign

/** One move: replicas end with 0; none: cancel. */
struct move {
    const char *topic;
    uint32_t partition;
    int32_t to[6];
};

static weft_err_t s_reassign(struct fixture *self, const struct move *moves, size_t count, bool dry_run,
                             int64_t bytes_per_second, struct weft_reassign_reply *reply)
{
    struct weft_partition_move wire[8] = {0};
    int32_t to[8][6];
    for (size_t i = 0; i < count; i++) {
        memcpy(to[i], moves[i].to, sizeof to[i]);
        wire[i] = (struct weft_partition_move){
            .topic = weft_slice_text(moves[i].topic), .partition = moves[i].partition, .to = to[i], .leader = -1};
        while (wire[i].to_count < 6 && to[i][wire[i].to_count]) wire[i].to_count++;
    }
    struct weft_reassign_request request;
    weft_reassign_request_init(&request);
    request.id = ++self->id;
    request.moves = wire;
    request.moves_count = count;
    request.dry_run = dry_run;
    request.bytes_per_second = bytes_per_second;
    weft_reassign_request_encode(&request, &self->header);
    weft_err_t err = s_ask(self, ADMIN);
    if (!err) DECODE(reassign, reply);
    return err;
}

static struct weft_reassign_list_reply s_list(struct fixture *self)
{
    struct weft_reassign_list_request request;
    struct weft_reassign_list_reply reply;
    weft_reassign_list_request_init(&request);
    request.id = ++self->id;
    weft_reassign_list_request_encode(&request, &self->header);
    assert_ok(s_ask(self, CLIENT));
    DECODE(reassign_list, &reply);
    return reply;
}

// All replicas of a partition come into sync, as its leader sees it.
static void s_catch_up(struct fixture *self, const char *name, uint32_t number)
{
    const struct weft_cluster_partition *partition = s_partition(self, name, number);
    struct wish all = {.topic = name, .partition = number};
    assert_true(partition->replica_count <= 4);
    memcpy(all.members, partition->replicas, partition->replica_count * sizeof(int32_t));
    assert_ok(s_wish(self, partition->leader, 1, &all));
}

static void test_coordinator_moves__a_partition_moves_data_first_leadership_second(void **state)
{
    struct fixture *self = *state;
    struct weft_reassign_reply reply;
    s_cluster(self, 4);
    s_topic_on(self, "orders", 1, 2, NULL);
    int32_t a = s_partition(self, "orders", 0)->replicas[0], b = s_partition(self, "orders", 0)->replicas[1];
    int32_t c = 1;
    while (c == a || c == b) c++;
    int32_t d = 10 - a - b - c;
    struct move move = {.topic = "orders", .to = {c, d}};
    assert_ok(s_reassign(self, &move, 1, true, -1, &reply)); // would do
    assert_null(s_partition(self, "orders", 0)->moving);
    assert_ok(s_reassign(self, &move, 1, false, 5000, &reply));
    assert_int_equal(reply.moves[0].error, 0);
    assert_int_equal(reply.moves[0].from_count, 2);
    assert_int_equal(reply.moves[0].from[0], a);
    assert_int_equal(s_partition(self, "orders", 0)->leader, a);
    assert_int_equal(s_partition(self, "orders", 0)->replica_count, 4);
    struct weft_reassign_list_reply list = s_list(self);
    assert_int_equal(list.moves_count, 1);
    assert_int_equal(list.bytes_per_second, 5000);
    assert_slice(list.moves[0].topic, "orders");
    assert_int_equal(list.moves[0].to[0], c);
    assert_true(list.moves[0].endpoint.size > 0);
    s_catch_up(self, "orders", 0);
    const struct weft_cluster_partition *partition = s_partition(self, "orders", 0);
    assert_null(partition->moving);
    assert_int_equal(partition->replica_count, 2);
    assert_int_equal(partition->leader, c);
    assert_int_equal(s_list(self).moves_count, 0);
    weft_cluster_check(self->copy);
}

static void test_coordinator_moves__a_move_can_be_given_up(void **state)
{
    struct fixture *self = *state;
    struct weft_reassign_reply reply;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 1, 1, NULL);
    int32_t a = s_partition(self, "orders", 0)->replicas[0];
    struct move cancel = {.topic = "orders"}, go = {.topic = "orders", .to = {a % 3 + 1}};
    assert_err(s_reassign(self, &cancel, 1, false, -1, &reply), WEFT_ERR_NO_REASSIGNMENT);
    assert_ok(s_reassign(self, &go, 1, false, -1, &reply));
    assert_non_null(s_partition(self, "orders", 0)->moving);
    assert_ok(s_reassign(self, &go, 1, false, -1, &reply)); // the same again changes nothing
    assert_ok(s_reassign(self, &cancel, 1, false, -1, &reply));
    assert_null(s_partition(self, "orders", 0)->moving);
    assert_int_equal(s_partition(self, "orders", 0)->replica_count, 1);
    assert_int_equal(s_partition(self, "orders", 0)->replicas[0], a);
}

static void test_coordinator_moves__to_nowhere_is_refused_with_a_sentence(void **state)
{
    struct fixture *self = *state;
    struct weft_reassign_reply reply;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 2, 2, "2");
    assert_ok(s_join(self, 4, 1, true));
    LOSE_ALL_BUT(self, 1, 2, 3);
    const struct {
        struct move move;
        weft_err_t err;
        const char *says;
    } cases[] = {
        {{"order", 0, {1, 2}}, WEFT_ERR_UNKNOWN_TOPIC, "orders"},
        {{"orders", 2, {1, 2}}, WEFT_ERR_UNKNOWN_TOPIC, "partition"},
        {{"orders", 0, {1, 77}}, WEFT_ERR_UNKNOWN_BROKER, "no broker 77"},
        {{"orders", 0, {-3, 1}}, WEFT_ERR_UNKNOWN_BROKER, "no broker -3"},
        {{"orders", 0, {1, 1}}, WEFT_ERR_INVALID_REPLICATION, "twice"},
        {{"orders", 0, {1}}, WEFT_ERR_INVALID_REPLICATION, "min.insync"},
        {{"orders", 0, {1, 2, 3, 77, 78}}, WEFT_ERR_UNKNOWN_BROKER, "no broker 77"},
        {{"orders", 0, {1, 4}}, WEFT_ERR_INVALID_REPLICATION, "not alive"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_err(s_reassign(self, &cases[i].move, 1, false, -1, &reply), cases[i].err);
        assert_non_null(strstr(self->error.text, cases[i].says));
    }
    struct move mixed[3] = {{"orders", 0, {2, 3}}, {"orders", 9, {1, 2}}, {"orders", 0, {1, 2}}}; // one is good
    assert_ok(s_reassign(self, mixed, 3, false, -1, &reply));
    assert_int_equal(reply.moves[0].error, 0);
    assert_int_equal(reply.moves[1].error, WEFT_ERR_UNKNOWN_TOPIC);
    assert_true(reply.moves[1].message.size > 0);
    assert_int_equal(reply.moves[2].error, WEFT_ERR_INVALID_REQUEST);
    assert_err(s_reassign(self, mixed, 1, false, -7, &reply), WEFT_ERR_INVALID_REQUEST);
    weft_cluster_check(self->copy);
}

static void test_coordinator_moves__a_throttle_alone(void **state)
{
    struct fixture *self = *state;
    struct weft_reassign_reply reply;
    s_cluster(self, 1);
    assert_int_equal(s_list(self).bytes_per_second, 0);
    assert_ok(s_reassign(self, NULL, 0, false, 123456, &reply));
    assert_int_equal(s_list(self).bytes_per_second, 123456);
    assert_ok(s_reassign(self, NULL, 0, false, 0, &reply));
    assert_int_equal(s_list(self).bytes_per_second, 0);
}

// ---- balance

static struct weft_balance_reply s_balance(struct fixture *self, bool replicas, bool dry_run)
{
    struct weft_balance_request request;
    struct weft_balance_reply reply;
    weft_balance_request_init(&request);
    request.id = ++self->id;
    request.replicas = replicas;
    request.dry_run = dry_run;
    weft_balance_request_encode(&request, &self->header);
    assert_ok(s_ask(self, ADMIN));
    DECODE(balance, &reply);
    return reply;
}

static void test_coordinator_moves__balance_evens_out_replicas_over_a_new_broker(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 2);
    s_topic_on(self, "orders", 30, 1, NULL);
    assert_ok(s_join(self, 3, 1, true));
    assert_int_equal(s_balance(self, false, false).moves_count, 0);
    struct weft_balance_reply reply = s_balance(self, true, true);
    assert_int_equal(reply.moves_count, 10);
    assert_int_equal(s_list(self).moves_count, 0);
    reply = s_balance(self, true, false);
    assert_int_equal(reply.moves_count, 10);
    assert_int_equal(s_list(self).moves_count, 10);
    for (uint32_t i = 0; i < 30; i++)
        if (s_partition(self, "orders", i)->moving) s_catch_up(self, "orders", i);
    for (int32_t i = 1; i <= 3; i++) assert_int_equal(s_broker(self, i)->stored_count, 10);
    assert_int_equal(s_balance(self, true, false).moves_count, 0);
}

static void test_coordinator_moves__balance_gives_leaderships_back_at_once(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 30, 3, NULL);
    struct weft_broker_drain_request drain;
    for (int undo = 0; undo < 2; undo++) {
        weft_broker_drain_request_init(&drain);
        drain.id = ++self->id;
        drain.broker_id = 2;
        drain.undo = undo;
        weft_broker_drain_request_encode(&drain, &self->header);
        assert_ok(s_ask(self, ADMIN));
    }
    assert_int_equal(s_broker(self, 2)->led_count, 0);
    struct weft_balance_reply reply = s_balance(self, false, true);
    assert_int_equal(reply.leaders_count, 10);
    assert_int_equal(reply.leaders[0].leader, 2);
    assert_int_equal(s_broker(self, 2)->led_count, 0);
    assert_int_equal(s_balance(self, false, false).leaders_count, 10);
    assert_int_equal(s_broker(self, 2)->led_count, 10);
}

// ---- a broker that leaves for good

static weft_err_t s_remove(struct fixture *self, int32_t broker, bool undo, bool dry_run,
                           struct weft_broker_remove_reply *reply)
{
    struct weft_broker_remove_request request;
    weft_broker_remove_request_init(&request);
    request.id = ++self->id;
    request.broker_id = broker;
    request.undo = undo;
    request.dry_run = dry_run;
    weft_broker_remove_request_encode(&request, &self->header);
    weft_err_t err = s_ask(self, ADMIN);
    if (!err) DECODE(broker_remove, reply);
    return err;
}

static size_t s_moving(struct fixture *self)
{
    struct weft_cluster_health_counts counts;
    s_drain(self);
    weft_cluster_count_health(self->copy, &counts);
    return counts.moving;
}

static void test_coordinator_moves__a_broker_leaves_in_waves_and_is_forgotten(void **state)
{
    enum { COUNT = 700 };
    struct fixture *self = *state;
    struct weft_broker_remove_reply reply;
    s_cluster(self, 4);
    s_topic_on(self, "orders", COUNT, 2, NULL);
    uint32_t held = s_broker(self, 3)->stored_count;
    assert_ok(s_remove(self, 3, false, true, &reply));
    assert_int_equal(reply.replicas, held);
    assert_false(s_broker(self, 3)->leaving);
    assert_ok(s_remove(self, 3, false, false, &reply));
    assert_int_equal(reply.replicas, held);
    assert_false(reply.removed);
    assert_true(s_broker(self, 3)->leaving);
    int rounds = 0;
    for (; s_broker(self, 3)->stored_count && rounds < 40; rounds++) {
        PASS(self, 11 * STEP_US, 1, 2, 3, 4);
        assert_in_range(s_moving(self), 0, 100);
        if (rounds == 1) assert_true(s_status_says(self, "still to move"));
        for (uint32_t i = 0; i < COUNT; i++)
            if (s_partition(self, "orders", i)->moving) s_catch_up(self, "orders", i);
    }
    assert_in_range(rounds, 3, 12);
    PASS(self, 2 * SECOND_US, 1, 2, 3, 4);
    assert_non_null(s_broker(self, 3)); // it runs: people stop it
    assert_true(s_status_says(self, "broker 3 is leaving and empty: stop it"));
    for (int i = 0; i < 3 && s_broker(self, 3) && s_broker(self, 3)->alive; i++)
        (void) s_beat(self, &(struct beat){.broker = 3, .start = 1, .want_stop = true});
    PASS(self, 3 * SECOND_US, 1, 2, 4);
    assert_null(s_broker(self, 3));
    assert_err(s_remove(self, 3, false, false, &reply), WEFT_ERR_UNKNOWN_BROKER);
    weft_cluster_check(self->copy);
}

static void test_coordinator_moves__a_dead_broker_is_emptied_by_the_others(void **state)
{
    struct fixture *self = *state;
    struct weft_broker_remove_reply reply;
    s_cluster(self, 4);
    s_topic_on(self, "orders", 20, 2, NULL);
    LOSE_ALL_BUT(self, 1, 2, 3);
    assert_false(s_broker(self, 4)->alive);
    assert_ok(s_remove(self, 4, false, false, &reply));
    assert_true(reply.replicas > 0);
    for (int rounds = 0; s_broker(self, 4) && rounds < 10; rounds++) {
        PASS(self, 11 * STEP_US, 1, 2, 3);
        for (uint32_t i = 0; i < 20; i++) {
            const struct weft_cluster_partition *partition = s_partition(self, "orders", i);
            if (!partition->moving) continue;
            struct wish all = {.topic = "orders", .partition = i};
            size_t count = 0;
            for (uint8_t r = 0; r < partition->replica_count; r++)
                if (partition->replicas[r] != 4) all.members[count++] = partition->replicas[r];
            assert_ok(s_wish(self, partition->leader, 1, &all));
        }
    }
    assert_null(s_broker(self, 4));
    weft_cluster_check(self->copy);
}

static void test_coordinator_moves__leaving_can_be_undone_and_needs_somewhere_to_go(void **state)
{
    struct fixture *self = *state;
    struct weft_broker_remove_reply reply;
    s_cluster(self, 2);
    s_topic_on(self, "both", 4, 2, NULL);
    assert_err(s_remove(self, 2, false, false, &reply), WEFT_ERR_INVALID_REPLICATION);
    assert_false(s_broker(self, 2)->leaving);
    assert_ok(s_join(self, 3, 1, true));
    assert_ok(s_remove(self, 2, false, false, &reply));
    PASS(self, 12 * STEP_US, 1, 2, 3);
    assert_int_equal(s_moving(self), 4);
    s_catch_up(self, "both", 1); // one is through
    assert_ok(s_remove(self, 2, true, false, &reply));
    assert_int_equal(s_moving(self), 0);
    assert_false(s_broker(self, 2)->leaving);
    assert_int_equal(s_broker(self, 2)->stored_count, 3);
    assert_err(s_remove(self, 50, false, false, &reply), WEFT_ERR_UNKNOWN_BROKER);
    PASS(self, 3 * SECOND_US, 1, 2, 3);
    assert_int_equal(s_moving(self), 0);
}

// ---- settings

static weft_err_t s_alter(struct fixture *self, const char *key, const char *value)
{
    struct weft_cluster_alter_request request;
    weft_cluster_alter_request_init(&request);
    struct weft_config_entry entry = {.key = weft_slice_text(key), .value = weft_slice_text(value)};
    request.id = ++self->id;
    request.config = &entry;
    request.config_count = 1;
    weft_cluster_alter_request_encode(&request, &self->header);
    return s_ask(self, ADMIN);
}

static void test_coordinator_moves__settings_of_the_cluster_are_checked_and_merged(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 1);
    assert_err(s_alter(self, "balance.leader", "true"), WEFT_ERR_INVALID_CONFIG);
    assert_non_null(strstr(self->error.text, "balance.leaders"));
    assert_err(s_alter(self, "balance.leader", ""), WEFT_ERR_INVALID_CONFIG);
    assert_err(s_alter(self, "balance.leaders", "perhaps"), WEFT_ERR_INVALID_CONFIG);
    assert_err(s_alter(self, "reassign.bytes", "-5"), WEFT_ERR_INVALID_CONFIG);
    assert_ok(s_alter(self, "balance.leaders", "false"));
    assert_ok(s_alter(self, "reassign.bytes", "1MiB"));
    s_drain(self);
    assert_string_equal(weft_cluster_config(self->copy, "balance.leaders"), "false");
    assert_int_equal(s_list(self).bytes_per_second, 1024 * 1024);
    assert_ok(s_alter(self, "balance.leaders", ""));
    s_drain(self);
    assert_null(weft_cluster_config(self->copy, "balance.leaders"));
    assert_int_equal(s_list(self).bytes_per_second, 1024 * 1024);
}

// ---- voters

static weft_err_t s_voter(struct fixture *self, int32_t id, const char *endpoint, bool remove)
{
    struct weft_voter_change_request request;
    weft_voter_change_request_init(&request);
    request.id = ++self->id;
    request.coordinator_id = id;
    request.endpoint = weft_slice_text(endpoint);
    request.remove = remove;
    weft_voter_change_request_encode(&request, &self->header);
    return s_ask(self, ADMIN);
}

static void test_coordinator_moves__voters_of_a_single_coordinator_stay(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 1);
    assert_err(s_voter(self, 0, "tcp://127.0.0.1:1", false), WEFT_ERR_INVALID_REQUEST);
    assert_err(s_voter(self, 2, NULL, false), WEFT_ERR_INVALID_REQUEST);
    assert_non_null(strstr(self->error.text, "endpoint"));
    assert_err(s_voter(self, 2, "tcp://127.0.0.1:1", false), WEFT_ERR_VOTER_CHANGE_REFUSED);
    assert_err(s_voter(self, 1, NULL, true), WEFT_ERR_VOTER_CHANGE_REFUSED);
    assert_err(s_voter(self, 9, NULL, true), WEFT_ERR_VOTER_CHANGE_REFUSED);
    assert_true(strlen(self->error.text) > 10);
}

// ---- operations

static weft_err_t s_create_as(struct fixture *self, const char *name, uint8_t operation, weft_id_t *id)
{
    struct weft_topic_create_request request;
    struct weft_topic_create_reply reply;
    weft_topic_create_request_init(&request);
    request.id = ++self->id;
    request.topic = weft_slice_text(name);
    request.operation = s_incarnation(operation);
    weft_topic_create_request_encode(&request, &self->header);
    weft_err_t err = s_ask(self, ADMIN);
    if (err) return err;
    DECODE(topic_create, &reply);
    *id = reply.topic_id;
    return WEFT_OK;
}

static weft_err_t s_delete_as(struct fixture *self, const char *name, uint8_t operation)
{
    struct weft_topic_delete_request request;
    weft_topic_delete_request_init(&request);
    request.id = ++self->id;
    request.topic = weft_slice_text(name);
    request.operation = s_incarnation(operation);
    weft_topic_delete_request_encode(&request, &self->header);
    return s_ask(self, ADMIN);
}

static void test_coordinator_moves__a_repeated_operation_is_answered_like_the_first(void **state)
{
    struct fixture *self = *state;
    weft_id_t first, again;
    s_cluster(self, 4);
    assert_ok(s_create_as(self, "orders", 101, &first));
    assert_int_equal(s_partition(self, "orders", 0)->replica_count, 3); // it said nothing
    assert_ok(s_create_as(self, "orders", 101, &again));
    assert_true(weft_id_equal(first, again));
    assert_err(s_create_as(self, "orders", 102, &again), WEFT_ERR_TOPIC_EXISTS);
    s_down(self); // over a coordinator that starts again
    weft_crash_disk_kill(self->disk);
    s_start(self);
    assert_ok(s_create_as(self, "orders", 101, &again));
    assert_true(weft_id_equal(first, again));
    assert_ok(s_delete_as(self, "orders", 103));
    assert_ok(s_delete_as(self, "orders", 103));
    assert_err(s_delete_as(self, "orders", 104), WEFT_ERR_UNKNOWN_TOPIC);
    assert_err(s_create_as(self, "orders", 101, &again), WEFT_ERR_UNKNOWN_TOPIC);
}

static void test_coordinator_moves__two_of_one_operation_at_once_create_one_topic(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 1);
    struct weft_topic_create_request request;
    weft_topic_create_request_init(&request);
    request.topic = weft_slice_text("orders");
    request.operation = s_incarnation(100);
    for (uint8_t i = 0; i < 2; i++) {
        request.id = ++self->id;
        weft_buf_clear(&self->header);
        weft_topic_create_request_encode(&request, &self->header);
        weft_fake_world_queue(self->world, 0, CLIENT, false, weft_buf_slice(&self->header), WEFT_SLICE_NIL, false);
    }
    weft_buf_clear(&self->header);
    weft_fake_world_settle(self->world);
    weft_id_t ids[2];
    for (uint8_t i = 0; i < 2; i++) {
        struct weft_topic_create_reply reply;
        const struct weft_fake_sent *sent = s_next_answer(self);
        assert_non_null(sent);
        assert_ok(weft_topic_create_reply_decode(&self->codec, weft_buf_slice(&sent->header), &reply, NULL));
        assert_err(reply.header.error, WEFT_OK);
        ids[i] = reply.topic_id;
    }
    assert_true(weft_id_equal(ids[0], ids[1]));
    assert_true(weft_id_equal(s_topic(self, "orders")->id, ids[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_coordinator_moves__a_partition_moves_data_first_leadership_second),
        TEST(test_coordinator_moves__a_move_can_be_given_up),
        TEST(test_coordinator_moves__to_nowhere_is_refused_with_a_sentence),
        TEST(test_coordinator_moves__a_throttle_alone),
        TEST(test_coordinator_moves__balance_evens_out_replicas_over_a_new_broker),
        TEST(test_coordinator_moves__balance_gives_leaderships_back_at_once),
        TEST(test_coordinator_moves__a_broker_leaves_in_waves_and_is_forgotten),
        TEST(test_coordinator_moves__a_dead_broker_is_emptied_by_the_others),
        TEST(test_coordinator_moves__leaving_can_be_undone_and_needs_somewhere_to_go),
        TEST(test_coordinator_moves__settings_of_the_cluster_are_checked_and_merged),
        TEST(test_coordinator_moves__voters_of_a_single_coordinator_stay),
        TEST(test_coordinator_moves__a_repeated_operation_is_answered_like_the_first),
        TEST(test_coordinator_moves__two_of_one_operation_at_once_create_one_topic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
