// SPDX-License-Identifier: MPL-2.0
// Forwarding, leaders that move, and bounds; no disk.
#include "edge_rig.h"

#include "nodes/edge/edge.h"

static void test_edge_forward__a_request_goes_under_an_id_of_the_edge_and_comes_back_under_its_own(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, false);
    rig_produce(&rig, 1, 7, rig_batch(&rig, -1, 0));
    rig_produce(&rig, 2, 7, rig_batch(&rig, -1, 0)); // the same id of another client
    assert_int_equal(rig.peer.call_count, 2);
    assert_true(rig.peer.calls[0].id != rig.peer.calls[1].id);
    const struct peer_call *call = peer_take(&rig.peer, WEFT_API_PRODUCE);
    assert_string_equal(call->endpoint, RIG_A);
    assert_int_equal(call->data.size, rig.batch.size);
    assert_memory_equal(call->data.data, rig.batch.data, rig.batch.size);
    peer_produced(&rig.peer, call, 100, false);
    assert_int_equal(rig_reply(&rig, 1, 7).offset, 100);
    peer_produced(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), 101, false);
    assert_int_equal(rig_reply(&rig, 2, 7).offset, 101);
    rig_fini(&rig);
}

static void test_edge_forward__a_leader_that_moved_is_followed_in_order_and_not_told(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, false);
    for (uint64_t id = 1; id <= 3; id++) rig_produce(&rig, 1, id, rig_batch(&rig, 50, (int32_t) id - 1));
    rig.peer.leaders[0] = RIG_B;
    rig.peer.epoch = 2;
    for (int i = 0; i < 3; i++)
        peer_refuse(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), WEFT_ERR_NOT_LEADER, RIG_B, 0);
    rig_advance(&rig, 300);
    for (uint64_t id = 1; id <= 3; id++) {
        const struct peer_call *call = peer_take(&rig.peer, WEFT_API_PRODUCE);
        assert_string_equal(call->endpoint, RIG_B);
        assert_int_equal(call->batch.base_sequence, id - 1);
        peer_produced(&rig.peer, call, (int64_t) id, false);
    }
    for (uint64_t id = 1; id <= 3; id++) rig_expect(&rig, 1, id, WEFT_OK);
    assert_null(weft_fake_world_take_reply(rig.peer.world));
    rig_fini(&rig);
}

static void test_edge_forward__nothing_overtakes_what_waits_for_the_new_leader(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, false);
    rig_produce(&rig, 1, 1, rig_batch(&rig, 50, 0));
    rig_produce(&rig, 1, 2, rig_batch(&rig, 50, 1));
    const struct peer_call first = *peer_take(&rig.peer, WEFT_API_PRODUCE);
    rig.peer.leaders[0] = RIG_B;
    rig.peer.epoch = 2;
    peer_refuse(&rig.peer, &first, WEFT_ERR_NOT_LEADER, RIG_B, 0);
    rig_produce(&rig, 1, 3, rig_batch(&rig, 50, 2));
    rig_advance(&rig, 20);
    assert_int_equal(rig.peer.call_count, 1); // the second is still at the old leader: nobody goes before it
    peer_refuse(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), WEFT_ERR_NOT_LEADER, RIG_B, 0);
    rig_advance(&rig, 300);
    for (int32_t sequence = 0; sequence < 3; sequence++)
        assert_int_equal(peer_take(&rig.peer, WEFT_API_PRODUCE)->batch.base_sequence, sequence);
    rig_fini(&rig);
}

static void test_edge_forward__a_lost_leader_leaves_only_those_in_doubt_that_may_not_be_repeated(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, false);
    rig_produce(&rig, 1, 1, rig_batch(&rig, -1, 0));
    rig_produce(&rig, 1, 2, rig_batch(&rig, 50, 0));
    peer_forget(&rig.peer);
    rig.peer.leaders[0] = RIG_B;
    rig.peer.epoch = 2;
    weft_fake_world_link(rig.peer.world, RIG_A, false);
    weft_fake_world_link(rig.peer.world, RIG_A, true);
    peer_pump(&rig.peer);
    rig_expect(&rig, 1, 1, WEFT_ERR_LEADER_CHANGED); // it may have been written, and would be again
    rig_advance(&rig, 300);
    const struct peer_call *call = peer_take(&rig.peer, WEFT_API_PRODUCE);
    if (strcmp(call->endpoint, RIG_B) != 0) call = peer_take(&rig.peer, WEFT_API_PRODUCE); // A was back first
    assert_int_equal(call->batch.producer_id, 50);
    assert_string_equal(call->endpoint, RIG_B);
    peer_produced(&rig.peer, call, 5, true);
    rig_expect(&rig, 1, 2, WEFT_OK);
    rig_fini(&rig);
}

// The refusal of a second attempt says nothing of the first one.
static void test_edge_forward__what_may_have_been_written_is_not_reported_as_refused(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, false);
    rig_produce(&rig, 1, 1, rig_batch(&rig, 50, 0));
    rig_produce(&rig, 1, 2, rig_batch(&rig, 50, 1));
    peer_forget(&rig.peer);
    weft_fake_world_link(rig.peer.world, RIG_A, false);
    weft_fake_world_link(rig.peer.world, RIG_A, true);
    peer_pump(&rig.peer);
    rig_advance(&rig, 300);
    peer_refuse(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), WEFT_ERR_NOT_ENOUGH_REPLICAS, NULL, 0);
    peer_refuse(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), WEFT_ERR_OUT_OF_ORDER_SEQUENCE, NULL, 0);
    for (uint64_t id = 1; id <= 2; id++) rig_expect(&rig, 1, id, WEFT_ERR_LEADER_CHANGED);
    rig_produce(&rig, 1, 3, rig_batch(&rig, 50, 0)); // sent again: the client's own doubt stays with the client
    peer_refuse(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), WEFT_ERR_NOT_ENOUGH_REPLICAS, NULL, 0);
    rig_expect(&rig, 1, 3, WEFT_ERR_NOT_ENOUGH_REPLICAS);
    rig_fini(&rig);
}

// Nor does a stop.
static void test_edge_forward__a_stop_leaves_in_doubt_what_was_sent_to_a_lost_leader(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, false);
    rig_produce(&rig, 1, 1, rig_batch(&rig, 50, 0));
    peer_forget(&rig.peer);
    weft_fake_world_link(rig.peer.world, RIG_A, false);
    peer_pump(&rig.peer);
    rig_produce(&rig, 1, 2, rig_batch(&rig, 50, 1));
    assert_true(weft_fake_world_stop(rig.peer.world, rig.node->parts[0], 100000));
    rig_expect(&rig, 1, 1, WEFT_ERR_LEADER_CHANGED);
    rig_expect(&rig, 1, 2, WEFT_ERR_STOPPING);
    rig_fini(&rig);
}

static void test_edge_forward__who_finds_no_leader_is_told_in_time(void **state)
{
    struct rig rig;
    rig_init(&rig, (const char *[]){"retry.ms=1s", NULL}, false);
    rig.peer.leaders[0] = NULL;
    weft_fake_world_link(rig.peer.world, RIG_A, false);
    rig_produce(&rig, 1, 1, rig_batch(&rig, -1, 0));
    rig_advance(&rig, 900);
    assert_int_equal(weft_fake_world_reply_count(rig.peer.world), 0);
    rig_advance(&rig, 300);
    rig_expect(&rig, 1, 1, WEFT_ERR_NOT_LEADER);
    rig_fini(&rig);
}

static void s_fetch(struct rig *rig, uint8_t client, uint64_t id, const char *topic)
{
    struct weft_fetch_request request;
    weft_fetch_request_init(&request);
    request.id = id;
    request.topic = weft_slice_text(topic);
    weft_buf_clear(&rig->buf);
    weft_fetch_request_encode(&request, &rig->buf);
    weft_fake_world_request(rig->peer.world, 0, client, false, weft_buf_slice(&rig->buf), WEFT_SLICE_NIL, false);
    peer_pump(&rig->peer);
}

static void test_edge_forward__more_than_a_client_may_have_is_sent_away_and_comes_free_again(void **state)
{
    struct rig rig;
    rig_init(&rig, (const char *[]){"client.requests=3", "requests=5", NULL}, false);
    for (uint64_t id = 1; id <= 4; id++) s_fetch(&rig, 1, id, "orders");
    rig_expect(&rig, 1, 4, WEFT_ERR_OVERLOADED);
    for (uint64_t id = 1; id <= 3; id++) s_fetch(&rig, 2, id, "orders");
    rig_expect(&rig, 2, 3, WEFT_ERR_OVERLOADED); // of all
    peer_fetched(&rig.peer, peer_take(&rig.peer, WEFT_API_FETCH), WEFT_SLICE_NIL, 0, 0);
    rig_expect(&rig, 1, 1, WEFT_OK);
    s_fetch(&rig, 1, 5, "orders");
    assert_int_equal(weft_fake_world_reply_count(rig.peer.world), 0);
    rig_fini(&rig);
}

static void test_edge_forward__answers_that_nobody_takes_are_not_built_up(void **state)
{
    struct rig rig;
    rig_init(&rig, (const char *[]){"client.bytes=1MiB", NULL}, false);
    s_fetch(&rig, 1, 1, "orders");
    weft_fake_world_outstanding(rig.peer.world, 1 << 20);
    peer_fetched(&rig.peer, peer_take(&rig.peer, WEFT_API_FETCH), rig_batch(&rig, -1, 0), 1, 0);
    rig_expect(&rig, 1, 1, WEFT_ERR_OVERLOADED);
    rig_fini(&rig);
}

static void test_edge_forward__a_topic_that_is_not_known_is_sought_and_then_asked_for(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, false);
    uint32_t asked = rig.peer.metadata_count;
    s_fetch(&rig, 1, 1, "new");
    rig_advance(&rig, 300);
    assert_true(rig.peer.metadata_count > asked);
    peer_refuse(&rig.peer, peer_take(&rig.peer, WEFT_API_FETCH), WEFT_ERR_UNKNOWN_TOPIC, NULL, 0);
    rig_expect(&rig, 1, 1, WEFT_ERR_UNKNOWN_TOPIC);
    s_fetch(&rig, 1, 2, "new");
    rig.peer.topic = "new"; // made meanwhile
    rig.peer.topic_id.bytes[0] = 8;
    rig_advance(&rig, 300);
    assert_string_equal(peer_take(&rig.peer, WEFT_API_FETCH)->endpoint, RIG_A);
    rig_fini(&rig);
}

// The node that was asked may not have heard yet of what another one was told.
static void test_edge_forward__metadata_of_a_node_that_lags_is_asked_of_the_coordinator(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, false);
    rig.peer.coordinator = RIG_B;
    struct weft_metadata_request request;
    struct weft_metadata_reply reply;
    struct weft_error error;
    weft_metadata_request_init(&request);
    request.id = 3;
    weft_buf_clear(&rig.buf);
    weft_metadata_request_encode(&request, &rig.buf);
    weft_fake_world_request(rig.peer.world, 0, 1, false, weft_buf_slice(&rig.buf), WEFT_SLICE_NIL, false);
    peer_pump(&rig.peer); // tells who the coordinator is, too
    assert_non_null(weft_fake_world_take_reply(rig.peer.world));
    rig_advance(&rig, 200);
    const char *topic = rig.peer.topic;
    rig.peer.topic = NULL; // UNKNOWN_TOPIC
    weft_fake_world_request(rig.peer.world, 0, 1, false, weft_buf_slice(&rig.buf), WEFT_SLICE_NIL, false);
    const uint32_t asked = rig.peer.metadata_count;
    peer_pump(&rig.peer);
    rig.peer.topic = topic;
    peer_pump(&rig.peer);
    rig_advance(&rig, 200);
    assert_true(rig.peer.metadata_count >= asked + 2);
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig.peer.world);
    assert_non_null(sent);
    assert_ok(weft_metadata_reply_decode(&rig.codec, weft_buf_slice(&sent->header), &reply, &error));
    assert_true(reply.topics_count == 1);
    rig_fini(&rig);
}

static void test_edge_forward__metadata_tells_of_nobody_but_the_edge(void **state)
{
    struct rig rig;
    rig_init(&rig, (const char *[]){"advertise=tcp://edge:1", NULL}, false);
    struct weft_metadata_request request;
    struct weft_metadata_reply reply;
    struct weft_error error;
    weft_metadata_request_init(&request);
    request.id = 3;
    weft_buf_clear(&rig.buf);
    weft_metadata_request_encode(&request, &rig.buf);
    rig.peer.coordinator = RIG_B;
    rig.peer.leaders[1] = NULL;
    weft_fake_world_request(rig.peer.world, 0, 1, false, weft_buf_slice(&rig.buf), WEFT_SLICE_NIL, false);
    peer_pump(&rig.peer);
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig.peer.world);
    assert_ok(weft_metadata_reply_decode(&rig.codec, weft_buf_slice(&sent->header), &reply, &error));
    assert_true(reply.header.id == 3 && reply.coordinators_count == 1);
    assert_slice(reply.coordinators[0], "tcp://edge:1");
    assert_slice(reply.topics[0].partitions[0].endpoint, "tcp://edge:1");
    assert_int_equal(reply.topics[0].partitions[1].endpoint.size, 0); // nobody leads it
    rig_fini(&rig);
}

static void test_edge_forward__what_nodes_say_among_themselves_does_not_pass(void **state)
{
    struct rig rig;
    rig_init(&rig, (const char *[]){"admin=false", NULL}, false);
    struct weft_topic_delete_request request;
    weft_topic_delete_request_init(&request);
    request.id = 1;
    request.topic = weft_slice_text("orders");
    weft_buf_clear(&rig.buf);
    weft_topic_delete_request_encode(&request, &rig.buf);
    weft_fake_world_request(rig.peer.world, 0, 1, false, weft_buf_slice(&rig.buf), WEFT_SLICE_NIL, false);
    rig_expect(&rig, 1, 1, WEFT_ERR_UNSUPPORTED);
    static const char quorum[] = "\x82\xa3"
                                 "api\xa6quorum\xa2id\x02";
    weft_fake_world_request(rig.peer.world, 0, 1, false, weft_slice(quorum, sizeof quorum - 1), WEFT_SLICE_NIL, false);
    rig_expect(&rig, 1, 2, WEFT_ERR_UNKNOWN_API);
    weft_fake_world_request(rig.peer.world, 0, 1, false, weft_slice("\xc1", 1), WEFT_SLICE_NIL, false);
    rig_expect(&rig, 1, 0, WEFT_ERR_BAD_FRAME);
    peer_pump(&rig.peer);
    assert_int_equal(rig.peer.call_count, 0);
    rig_fini(&rig);
}

static void test_edge_forward__a_stop_answers_what_was_sent_and_sends_the_rest_away(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, false);
    rig_produce(&rig, 1, 1, rig_batch(&rig, -1, 0));
    s_fetch(&rig, 1, 2, "orders");
    assert_false(weft_fake_world_stop(rig.peer.world, rig.node->parts[0], 100000));
    rig_expect(&rig, 1, 2, WEFT_ERR_STOPPING);
    peer_produced(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), 0, false);
    assert_true(weft_fake_world_stop(rig.peer.world, rig.node->parts[0], 100000));
    rig_expect(&rig, 1, 1, WEFT_OK);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edge_forward__a_request_goes_under_an_id_of_the_edge_and_comes_back_under_its_own),
        cmocka_unit_test(test_edge_forward__a_leader_that_moved_is_followed_in_order_and_not_told),
        cmocka_unit_test(test_edge_forward__nothing_overtakes_what_waits_for_the_new_leader),
        cmocka_unit_test(test_edge_forward__a_lost_leader_leaves_only_those_in_doubt_that_may_not_be_repeated),
        cmocka_unit_test(test_edge_forward__what_may_have_been_written_is_not_reported_as_refused),
        cmocka_unit_test(test_edge_forward__a_stop_leaves_in_doubt_what_was_sent_to_a_lost_leader),
        cmocka_unit_test(test_edge_forward__who_finds_no_leader_is_told_in_time),
        cmocka_unit_test(test_edge_forward__more_than_a_client_may_have_is_sent_away_and_comes_free_again),
        cmocka_unit_test(test_edge_forward__answers_that_nobody_takes_are_not_built_up),
        cmocka_unit_test(test_edge_forward__a_topic_that_is_not_known_is_sought_and_then_asked_for),
        cmocka_unit_test(test_edge_forward__metadata_of_a_node_that_lags_is_asked_of_the_coordinator),
        cmocka_unit_test(test_edge_forward__metadata_tells_of_nobody_but_the_edge),
        cmocka_unit_test(test_edge_forward__what_nodes_say_among_themselves_does_not_pass),
        cmocka_unit_test(test_edge_forward__a_stop_answers_what_was_sent_and_sends_the_rest_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
