// SPDX-License-Identifier: MPL-2.0
// A recorder on real sockets, as a program meets it.
#include "record_stage.h"

static void s_round(const char *topic, weft_hosted_node_t **node_p, uint64_t acked)
{
    stage_wait_counter(*node_p, "records_acked_count", acked);
    assert_ok(weft_node_stop(node_p));
    assert_int_equal(stage_read(topic, NULL), acked);
}

// ---- what a record holds

static void s_check_forms(int index, const struct weft_record_view *record)
{
    if (index == 0) {
        assert_slice(record->value, "one frame");
        assert_null(record->key.data);
        assert_null(record->headers.data);
    } else if (index == 1) {
        assert_int_equal(record->value.size, 0);
        assert_non_null(record->value.data);
    } else {
        assert_memory_equal(record->value.data,
                            "\x93\xc4\x01"
                            "a\xc4\x00\xc4\x03"
                            "bcd",
                            record->value.size);
        assert_string_equal(stage_header(record, "weft.frames"), "3");
    }
}

static void test_recorder__one_frame_is_the_value_and_more_are_an_array(void **state)
{
    s_create("forms", 1);
    weft_hosted_node_t *node = STAGE_NODE("recorder", "topic=forms", "listen=tcp://127.0.0.1:*");
    void *push = stage_socket(ZMQ_PUSH, weft_node_endpoint(node));
    STAGE_SEND(push, "one frame");
    STAGE_SEND(push, "");
    STAGE_SEND(push, "a", "", "bcd");
    s_round("forms", &node, 3);
    assert_int_equal(stage_read("forms", s_check_forms), 3);
    zmq_close(push);
}

static void s_check_keys(int index, const struct weft_record_view *record)
{
    if (index == 2) {
        assert_null(record->key.data);
        assert_slice(record->value, "alone");
        return;
    }
    assert_slice(record->key, index ? "key-1" : "key-0");
    assert_slice(record->value, "value");
}

static void test_recorder__a_frame_can_be_the_key(void **state)
{
    s_create("keys", 1);
    weft_hosted_node_t *node = STAGE_NODE("recorder", "topic=keys", "listen=tcp://127.0.0.1:*", "key=1");
    void *push = stage_socket(ZMQ_PUSH, weft_node_endpoint(node));
    STAGE_SEND(push, "value", "key-0");
    STAGE_SEND(push, "value", "key-1");
    STAGE_SEND(push, "alone");
    stage_wait_counter(node, "messages_without_key_count", 1);
    s_round("keys", &node, 3);
    assert_int_equal(stage_read("keys", s_check_keys), 3);
    zmq_close(push);
}

// ---- sockets

static void test_recorder__subscribes_to_beginnings_with_any_byte(void **state)
{
    s_create("subscribed", 1);
    char endpoint[256], source[300];
    void *pub = stage_bound(ZMQ_XPUB, endpoint);
    snprintf(source, sizeof source, "source=%s", endpoint);
    weft_hosted_node_t *node =
        STAGE_NODE("recorder", "topic=subscribed", "socket=sub", source, "subscribe=price,\\x2cvolume\\xff");
    // The subscriptions are there before anything is sent.
    char first[16], second[16];
    assert_int_equal(zmq_recv(pub, first, sizeof first, 0) + zmq_recv(pub, second, sizeof second, 0), 6 + 9);
    STAGE_SEND(pub, "price", "1");
    STAGE_SEND(pub, "prize", "2");
    STAGE_SEND(pub, ",volume\xff", "3");
    STAGE_SEND(pub, ",volume", "4");
    STAGE_SEND(pub, "price", "5");
    stage_wait_counter(node, "source_peers_count", 1);
    s_round("subscribed", &node, 3);
    zmq_close(pub);
}

static void s_check_router(int index, const struct weft_record_view *record)
{
    assert_slice(record->key, "me");
    assert_string_equal(stage_header(record, "weft.frames"), "3");
}

static void test_recorder__a_router_keeps_who_sent(void **state)
{
    s_create("routed", 1);
    weft_hosted_node_t *node =
        STAGE_NODE("recorder", "topic=routed", "socket=router", "listen=tcp://127.0.0.1:*", "key=0");
    void *dealer = stage_socket(ZMQ_DEALER, NULL);
    zmq_setsockopt(dealer, ZMQ_ROUTING_ID, "me", 2);
    assert_int_equal(zmq_connect(dealer, weft_node_endpoint(node)), 0);
    STAGE_SEND(dealer, "a", "b");
    s_round("routed", &node, 1);
    assert_int_equal(stage_read("routed", s_check_router), 1);
    zmq_close(dealer);
}

static void test_recorder__a_dealer_has_the_identity_that_its_router_asks_for(void **state)
{
    s_create("dealt", 1);
    char endpoint[256], source[300];
    void *router = stage_bound(ZMQ_ROUTER, endpoint);
    int mandatory = 1;
    zmq_setsockopt(router, ZMQ_ROUTER_MANDATORY, &mandatory, sizeof mandatory);
    snprintf(source, sizeof source, "source=%s", endpoint);
    weft_hosted_node_t *node = STAGE_NODE("recorder", "topic=dealt", "socket=dealer", source, "identity=the-recorder");
    int64_t deadline_us = stage_now_us() + STAGE_MS * 1000;
    while (zmq_send(router, "the-recorder", 12, ZMQ_SNDMORE) < 0) stage_turn(deadline_us, "the dealer is known");
    STAGE_SEND(router, "work");
    s_round("dealt", &node, 1);
    zmq_close(router);
}

static void test_recorder__xsub_and_several_endpoints(void **state)
{
    s_create("many", 1);
    char first[256], second[256], source[600];
    void *pubs[] = {stage_bound(ZMQ_XPUB, first), stage_bound(ZMQ_XPUB, second)};
    snprintf(source, sizeof source, "source=%s, %s", first, second);
    weft_hosted_node_t *node = STAGE_NODE("recorder", "topic=many", "socket=xsub", source);
    char subscription[8];
    for (int i = 0; i < 2; i++) assert_int_equal(zmq_recv(pubs[i], subscription, sizeof subscription, 0), 1);
    STAGE_SEND(pubs[0], "one");
    STAGE_SEND(pubs[1], "two");
    stage_wait_counter(node, "source_peers_count", 2);
    s_round("many", &node, 2);
    for (int i = 0; i < 2; i++) zmq_close(pubs[i]);
}

// ---- sequences

static void s_check_marks(int index, const struct weft_record_view *record)
{
    const char *expected = index == 3 ? "2" : index == 6 ? "5" : "";
    assert_string_equal(stage_header(record, "weft.missing"), expected);
}

static void test_recorder__gaps_are_counted_marked_and_known_over_a_restart(void **state)
{
    s_create("numbers", 1);
    char listen[300] = "listen=tcp://127.0.0.1:*";
    for (int round = 0; round < 2; round++) {
        weft_hosted_node_t *node =
            STAGE_NODE("recorder", "topic=numbers", listen, "sequence.frame=0", "sequence.format=decimal");
        void *push = stage_socket(ZMQ_PUSH, weft_node_endpoint(node));
        for (long i = 0; round == 0 && i < 6; i++) stage_send_number(push, i < 3 ? i : i + 2);
        if (round == 1) stage_send_number(push, 13);
        stage_wait_counter(node, "records_acked_count", round ? 1 : 6);
        stage_wait_counter(node, "sequence_gaps_count", 1);
        assert_int_equal(stage_counter(node, "sequence_missing_count"), round ? 5 : 2);
        assert_int_equal(stage_counter(node, "sequence_resets_count"), 0);
        zmq_close(push);
        assert_ok(weft_node_stop(&node));
    }
    assert_int_equal(stage_read("numbers", s_check_marks), 7);
}

static void test_recorder__a_source_that_lies_about_its_sequence_is_recorded_all_the_same(void **state)
{
    s_create("liar", 1);
    weft_hosted_node_t *node = STAGE_NODE("recorder", "topic=liar", "listen=tcp://127.0.0.1:*", "sequence.frame=1",
                                          "sequence.per=0", "sequence.streams=8", "sequence.format=u32le");
    void *push = stage_socket(ZMQ_PUSH, weft_node_endpoint(node));
    srand(7);
    for (int i = 0; i < 20000; i++) {
        char name[300];
        int number = rand(), bytes = rand() % 50 ? 4 : rand() % 300;
        memset(name, 'a' + rand() % 26, sizeof name);
        zmq_send(push, name, (size_t) (rand() % (int) sizeof name), ZMQ_SNDMORE);
        if (bytes == 4)
            zmq_send(push, &number, 4, 0);
        else
            zmq_send(push, name, (size_t) bytes, 0);
    }
    stage_wait_counter(node, "records_acked_count", 20000);
    assert_int_equal(stage_counter(node, "sequence_streams_count"), 8);
    assert_true(stage_counter(node, "sequence_untracked_count") > 10000);
    assert_true(stage_counter(node, "sequence_unreadable_count") > 100);
    zmq_close(push);
    s_round("liar", &node, 20000);
}

// ---- what can't be recorded

static void s_send_large(void *push, size_t bytes)
{
    void *large = calloc(1, bytes);
    assert_int_equal(zmq_send(push, large, bytes, 0), (int) bytes);
    free(large);
}

static void test_recorder__messages_that_are_too_large_are_counted_and_the_others_recorded(void **state)
{
    s_create("large", 1);
    weft_hosted_node_t *node = STAGE_NODE("recorder", "topic=large", "listen=tcp://127.0.0.1:*");
    void *push = stage_socket(ZMQ_PUSH, weft_node_endpoint(node));
    for (long i = 0; i < 100; i++) stage_send_number(push, i);
    s_send_large(push, 9 << 20); // more than any record
    s_send_large(push, 2 << 20); // more than the topic takes
    s_send_large(push, 1000000);
    for (int i = 0; i < 4096; i++) zmq_send(push, "x", 1, ZMQ_SNDMORE);
    STAGE_SEND(push, "more frames than are recorded");
    for (long i = 100; i < 200; i++) stage_send_number(push, i);
    stage_wait_counter(node, "records_acked_count", 201);
    stage_wait_counter(node, "messages_too_large_count", 2);
    stage_wait_counter(node, "records_failed_count", 1);
    stage_wait_health(node, WEFT_HEALTH_DEGRADED, "lost");
    assert_int_equal(stage_counter(node, "messages_received_count"), 204);
    zmq_close(push);
    s_round("large", &node, 201);
}

static void test_recorder__waits_for_its_topic_and_loses_nothing_meanwhile(void **state)
{
    weft_hosted_node_t *node = STAGE_NODE("recorder", "topic=later", "listen=tcp://127.0.0.1:*");
    void *push = stage_socket(ZMQ_PUSH, weft_node_endpoint(node));
    for (long i = 0; i < 1000; i++) stage_send_number(push, i);
    stage_wait_health(node, WEFT_HEALTH_DEGRADED, "'later' does not exist");
    assert_int_equal(stage_counter(node, "messages_received_count"), 0);
    s_create("later", 1);
    stage_wait_counter(node, "records_acked_count", 1000);
    stage_wait_health(node, WEFT_HEALTH_SERVING, "");
    zmq_close(push);
    s_round("later", &node, 1000);
}

static void test_recorder__can_be_stopped_while_it_waits_for_its_topic(void **state)
{
    weft_hosted_node_t *node = STAGE_NODE("recorder", "topic=never", "listen=tcp://127.0.0.1:*");
    void *push = stage_socket(ZMQ_PUSH, weft_node_endpoint(node));
    for (long i = 0; i < 1000; i++) stage_send_number(push, i);
    stage_wait_health(node, WEFT_HEALTH_DEGRADED, "'never' does not exist");
    stage_wait_counter(node, "source_peers_count", 1);
    assert_ok(weft_node_stop(&node));
    int none = 0;
    zmq_setsockopt(push, ZMQ_LINGER, &none, sizeof none);
    zmq_close(push);
}

// A topic that is deleted and made again under the recorder: what fails is counted, the rest goes on.
static void test_recorder__a_topic_that_is_deleted_is_told_and_goes_on_when_it_is_back(void **state)
{
    s_create("deleted", 1);
    weft_hosted_node_t *node = STAGE_NODE("recorder", "topic=deleted", "listen=tcp://127.0.0.1:*");
    void *push = stage_socket(ZMQ_PUSH, weft_node_endpoint(node));
    stage_send_number(push, 0);
    stage_wait_counter(node, "records_acked_count", 1);
    weft_admin_t *admin = s_admin();
    assert_ok(weft_admin_delete_topic(admin, "deleted", NULL));
    weft_admin_destroy(&admin);
    for (long i = 1; i < 100; i++) stage_send_number(push, i);
    stage_wait_counter(node, "records_failed_count", 1);
    stage_wait_health(node, WEFT_HEALTH_DEGRADED, "does not exist");
    for (long i = 100; i < 200; i++) stage_send_number(push, i); // these wait
    uint64_t failed = stage_counter(node, "records_failed_count");
    s_create("deleted", 1);
    stage_wait_counter(node, "records_acked_count", 200 - failed);
    assert_int_equal(stage_counter(node, "records_failed_count"), failed);
    assert_true(failed <= 99);
    zmq_close(push);
    assert_ok(weft_node_stop(&node));
}

static void test_recorder__a_source_that_is_not_there_is_told(void **state)
{
    s_create("nobody", 1);
    weft_hosted_node_t *node = STAGE_NODE("recorder", "topic=nobody", "socket=sub", "source=tcp://127.0.0.1:9");
    stage_wait_health(node, WEFT_HEALTH_DEGRADED, "nobody answers at tcp://127.0.0.1:9");
    assert_ok(weft_node_stop(&node));
}

// ---- a cluster that is away

static int s_next;
static void s_check_next(int index, const struct weft_record_view *record)
{
    char expected[24];
    snprintf(expected, sizeof expected, "%d", s_next++);
    assert_slice(record->value, expected);
}

static void test_recorder__a_cluster_that_is_away_makes_senders_wait_and_loses_nothing(void **state)
{
    s_create("away", 1);
    weft_hosted_node_t *node =
        STAGE_NODE("recorder", "topic=away", "listen=tcp://127.0.0.1:*", "hwm=100", "producer=buffer.bytes=64KiB");
    void *push = stage_socket(ZMQ_PUSH, NULL);
    int hwm = 100, timeout_ms = 500, buffer_bytes = 16384;
    zmq_setsockopt(push, ZMQ_SNDHWM, &hwm, sizeof hwm);
    zmq_setsockopt(push, ZMQ_SNDTIMEO, &timeout_ms, sizeof timeout_ms);
    zmq_setsockopt(push, ZMQ_SNDBUF, &buffer_bytes, sizeof buffer_bytes);
    assert_int_equal(zmq_connect(push, weft_node_endpoint(node)), 0);
    stage_send_number(push, 0);
    stage_wait_counter(node, "records_acked_count", 1);
    assert_ok(weft_embedded_stop(&s_cluster));
    int sent = 1;
    char text[24];
    for (;; sent++) { // until the sender feels it
        snprintf(text, sizeof text, "%d", sent);
        if (zmq_send(push, text, strlen(text), 0) < 0) break;
        assert_true(sent < 2000000);
    }
    stage_wait_health(node, WEFT_HEALTH_DEGRADED, "has not answered for");
    stage_wait_counter(node, "source_blocked_ms", 100);
    assert_true(stage_counter(node, "records_waiting_count") < 64 * 1024 / 4);
    s_start();
    stage_wait_counter(node, "records_acked_count", (uint64_t) sent);
    assert_int_equal(stage_counter(node, "records_failed_count"), 0);
    zmq_close(push);
    assert_ok(weft_node_stop(&node));
    s_next = 0;
    assert_int_equal(stage_read("away", s_check_next), sent);
}

// What a publisher drops meanwhile is a gap, and nothing else is missing.
static void test_recorder__what_a_publisher_drops_is_counted(void **state)
{
    s_create("dropped", 1);
    char endpoint[256], source[300], first[16];
    void *pub = stage_socket(ZMQ_XPUB, NULL);
    int hwm = 100, buffer_bytes = 16384;
    size_t size = sizeof endpoint;
    zmq_setsockopt(pub, ZMQ_SNDHWM, &hwm, sizeof hwm);
    zmq_setsockopt(pub, ZMQ_SNDBUF, &buffer_bytes, sizeof buffer_bytes);
    assert_int_equal(zmq_bind(pub, "tcp://127.0.0.1:*"), 0);
    zmq_getsockopt(pub, ZMQ_LAST_ENDPOINT, endpoint, &size);
    snprintf(source, sizeof source, "source=%s", endpoint);
    weft_hosted_node_t *node = STAGE_NODE("recorder", "topic=dropped", source, "socket=sub", "hwm=100",
                                          "producer=buffer.bytes=64KiB", "sequence.frame=0", "sequence.format=decimal");
    assert_int_equal(zmq_recv(pub, first, sizeof first, 0), 1);
    stage_send_number(pub, 0);
    stage_wait_counter(node, "records_acked_count", 1);
    assert_ok(weft_embedded_stop(&s_cluster));
    uint64_t next = 1;
    for (int64_t deadline_us = stage_now_us() + STAGE_MS * 1000; !stage_counter(node, "source_blocked_ms");) {
        for (int i = 0; i < 1000; i++) stage_send_number(pub, (long) next++);
        stage_turn(deadline_us, "the recorder's buffer is full");
    }
    for (int i = 0; i < 100000; i++) stage_send_number(pub, (long) next++); // more than all queues hold
    s_start();
    int64_t deadline_us = stage_now_us() + STAGE_MS * 1000;
    for (int turn = 1;
         stage_counter(node, "records_acked_count") + stage_counter(node, "sequence_missing_count") < next; turn++) {
        if (turn % 100 == 0) stage_send_number(pub, (long) next++); // one that arrives shows the gap before it
        stage_turn(deadline_us, "every message is recorded or counted as missing");
    }
    assert_true(stage_counter(node, "sequence_gaps_count") > 0);
    assert_int_equal(stage_counter(node, "records_failed_count"), 0);
    zmq_close(pub);
    assert_ok(weft_node_stop(&node));
}

// A player and a recorder in one process, over inproc: a topic is copied.
static void test_recorder__records_a_player_over_inproc(void **state)
{
    s_create("original", 1);
    s_create("copy", 1);
    weft_producer_t *producer = s_producer(NULL, NULL, NULL);
    s_send_numbers(producer, "original", 0, 5000);
    assert_ok(weft_producer_close(producer, STAGE_MS));
    weft_producer_destroy(&producer);
    weft_hosted_node_t *recorder = STAGE_NODE("recorder", "topic=copy", "listen=inproc://copied", "key=0");
    weft_hosted_node_t *player =
        STAGE_NODE("player", "topic=original", "target=inproc://copied", "speed=max", "plain=key-value");
    stage_wait_counter(recorder, "records_acked_count", 5000);
    assert_ok(weft_node_stop(&player));
    assert_ok(weft_node_stop(&recorder));
    assert_int_equal(s_check_numbers("copy", s_bootstrap), 5000);
}

static void test_recorder__a_stop_records_what_was_received(void **state)
{
    s_create("stopped", 1);
    for (int round = 1; round <= 5; round++) {
        weft_hosted_node_t *node =
            STAGE_NODE("recorder", "topic=stopped", "listen=tcp://127.0.0.1:*", "producer=linger.ms=10s");
        void *push = stage_socket(ZMQ_PUSH, weft_node_endpoint(node));
        for (long i = 0; i < 200; i++) stage_send_number(push, i);
        stage_wait_counter(node, "messages_received_count", 200);
        assert_ok(weft_node_stop(&node));
        assert_int_equal(stage_read("stopped", NULL), round * 200);
        zmq_close(push);
    }
}

static void test_recorder__a_stop_without_a_cluster_says_what_is_lost(void **state)
{
    s_create("given-up", 1);
    weft_hosted_node_t *node =
        STAGE_NODE("recorder", "topic=given-up", "listen=tcp://127.0.0.1:*", "stop.ms=500", "producer=linger.ms=10s");
    void *push = stage_socket(ZMQ_PUSH, weft_node_endpoint(node));
    stage_wait_health(node, WEFT_HEALTH_SERVING, "");
    assert_ok(weft_embedded_stop(&s_cluster));
    stage_send_number(push, 1);
    stage_wait_counter(node, "messages_received_count", 1);
    assert_err(weft_node_stop(&node), WEFT_ERR_LOCAL_NOT_CONNECTED);
    s_start();
    zmq_close(push);
}

static void test_recorder__what_a_person_got_wrong_is_said(void **state)
{
    STAGE_REFUSED("recorder", WEFT_ERR_INVALID_TOPIC, "topic", "listen=tcp://127.0.0.1:*");
    STAGE_REFUSED("recorder", WEFT_ERR_INVALID_ARGUMENT, "neither 'listen' nor 'source'", "topic=t");
    STAGE_REFUSED("recorder", WEFT_ERR_INVALID_ENDPOINT, "udp://x", "topic=t", "source=udp://x");
    STAGE_REFUSED("recorder", WEFT_ERR_INVALID_OPTION, "acks", "topic=t", "listen=tcp://127.0.0.1:*",
                  "producer=linger.ms=5,akcs=all");
    weft_hosted_node_t *node = STAGE_NODE("recorder", "topic=t", "listen=tcp://127.0.0.1:*");
    char listen[300];
    snprintf(listen, sizeof listen, "listen=%s", weft_node_endpoint(node));
    STAGE_REFUSED("recorder", WEFT_ERR_ENDPOINT_IN_USE, "tcp://127.0.0.1:", "topic=t", listen);
    assert_ok(weft_node_stop(&node));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorder__one_frame_is_the_value_and_more_are_an_array),
        cmocka_unit_test(test_recorder__a_frame_can_be_the_key),
        cmocka_unit_test(test_recorder__subscribes_to_beginnings_with_any_byte),
        cmocka_unit_test(test_recorder__a_router_keeps_who_sent),
        cmocka_unit_test(test_recorder__a_dealer_has_the_identity_that_its_router_asks_for),
        cmocka_unit_test(test_recorder__xsub_and_several_endpoints),
        cmocka_unit_test(test_recorder__gaps_are_counted_marked_and_known_over_a_restart),
        cmocka_unit_test(test_recorder__a_source_that_lies_about_its_sequence_is_recorded_all_the_same),
        cmocka_unit_test(test_recorder__messages_that_are_too_large_are_counted_and_the_others_recorded),
        cmocka_unit_test(test_recorder__waits_for_its_topic_and_loses_nothing_meanwhile),
        cmocka_unit_test(test_recorder__can_be_stopped_while_it_waits_for_its_topic),
        cmocka_unit_test(test_recorder__a_topic_that_is_deleted_is_told_and_goes_on_when_it_is_back),
        cmocka_unit_test(test_recorder__a_source_that_is_not_there_is_told),
        cmocka_unit_test(test_recorder__a_cluster_that_is_away_makes_senders_wait_and_loses_nothing),
        cmocka_unit_test(test_recorder__what_a_publisher_drops_is_counted),
        cmocka_unit_test(test_recorder__records_a_player_over_inproc),
        cmocka_unit_test(test_recorder__a_stop_records_what_was_received),
        cmocka_unit_test(test_recorder__a_stop_without_a_cluster_says_what_is_lost),
        cmocka_unit_test(test_recorder__what_a_person_got_wrong_is_said),
    };
    return cmocka_run_group_tests(tests, s_setup, stage_teardown);
}
