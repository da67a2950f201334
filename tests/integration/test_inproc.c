// SPDX-License-Identifier: MPL-2.0
// inproc is one space for the whole process: nodes, clients, embedded clusters, actors and the program's own sockets
// meet there, whoever comes first.
#include "tests/support/test.h"

#include "echo_node.h"
#include "lib/net/handover.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <weft/czmq_actor.h>
#include <weft/embedded.h>
#include <weft/weft.h>
#include <weft_gen/messages.h>

static char s_directory[WEFT_TEST_PATH_BYTES];

static int s_setup(void **state)
{
    weft_test_directory_make(s_directory);
    return 0;
}

static int s_teardown(void **state)
{
    weft_test_directory_remove(s_directory);
    return 0;
}

static weft_hosted_node_t *s_start(const char *type, const char *id, const char *listen, const char *coordinators)
{
    char data[WEFT_TEST_PATH_BYTES + 64];
    snprintf(data, sizeof data, "data=%s/%s-%s", s_directory, type, id + 3);
    const char *settings[] = {id, data, listen, coordinators, NULL};
    struct weft_error error = {.code = WEFT_OK};
    weft_hosted_node_t *node = NULL;
    if (weft_node_start(type, settings, &node, &error) != WEFT_OK) fail_msg("%s", error.text);
    return node;
}

static void s_serves(const weft_hosted_node_t *node)
{
    struct weft_error error = {.code = WEFT_OK};
    if (weft_node_wait_serving(node, 20000, &error) != WEFT_OK) fail_msg("%s", error.text);
}

// ---- clients

static void s_create(const char *bootstrap, const char *topic, int16_t replicas)
{
    const char *settings[] = {bootstrap, NULL};
    weft_admin_t *admin = NULL;
    assert_ok(weft_admin_new(settings, &admin, NULL));
    weft_err_t err = weft_admin_create_topic(admin, topic, 4, replicas, NULL, 0, false, NULL);
    if (err != WEFT_OK) fail_msg("%s", weft_admin_error_text(admin));
    assert_ok(weft_admin_wait_topic(admin, topic, 10000));
    weft_admin_destroy(&admin);
}

static void s_produce(const char *bootstrap, const char *name, int count)
{
    const char *settings[] = {bootstrap, NULL};
    weft_producer_t *producer = NULL;
    weft_topic_t *topic = NULL;
    assert_ok(weft_producer_new(settings, &producer, NULL));
    assert_ok(weft_producer_topic(producer, name, &topic));
    for (int i = 0; i < count; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        assert_ok(weft_producer_send_wait(producer, topic, WEFT_PARTITION_AUTO, weft_text(text), weft_text(text), NULL,
                                          10000));
    }
    assert_ok(weft_producer_close(producer, 20000));
    weft_producer_destroy(&producer);
}

static int s_consume(const char *bootstrap, const char *topic)
{
    const char *settings[] = {bootstrap, NULL};
    weft_consumer_t *consumer = NULL;
    assert_ok(weft_consumer_new(settings, &consumer, NULL));
    struct weft_assignment all = {.topic = topic, .partition = WEFT_PARTITION_ALL, .at = {WEFT_FROM_EARLIEST, 0}};
    assert_ok(weft_consumer_assign(consumer, &all, 1));
    int got = 0;
    while (!weft_consumer_at_end(consumer)) {
        weft_records_t *records = NULL;
        assert_ok(weft_consumer_poll(consumer, 5000, &records));
        for (struct weft_record_view record; weft_records_next(records, &record);) got++;
    }
    weft_consumer_destroy(&consumer);
    return got;
}

static void test_inproc__nodes_started_apart_and_clients_are_one_cluster(void **state)
{
    // The brokers connect before their coordinator binds.
    weft_hosted_node_t *one = s_start("broker", "id=1", "listen=inproc://one", "coordinators=inproc://coordinator");
    weft_hosted_node_t *two = s_start("broker", "id=2", "listen=inproc://two", "coordinators=inproc://coordinator");
    weft_hosted_node_t *coordinator = s_start("coordinator", "id=1", "listen=inproc://coordinator", NULL);
    s_serves(coordinator);
    s_serves(one);
    s_serves(two);
    assert_string_equal(weft_node_endpoint(one), "inproc://one");
    assert_ptr_equal(weft_node_zmq_context(one), weft_node_zmq_context(coordinator));
    s_create("bootstrap=inproc://one", "orders", 2);
    s_produce("bootstrap=inproc://two", "orders", 500);
    assert_int_equal(s_consume("bootstrap=inproc://coordinator", "orders"), 500);
    assert_ok(weft_node_stop(&two)); // and comes back under its old endpoint
    two = s_start("broker", "id=2", "listen=inproc://two", "coordinators=inproc://coordinator");
    s_serves(two);
    s_produce("bootstrap=inproc://one,inproc://two", "orders", 100);
    assert_int_equal(s_consume("bootstrap=inproc://two", "orders"), 600);
    assert_ok(weft_node_stop(&one));
    assert_ok(weft_node_stop(&two));
    assert_ok(weft_node_stop(&coordinator));
    assert_ok(weft_zmq_context_set(NULL)); // nothing uses it any more
}

static void test_inproc__a_client_may_come_before_its_cluster(void **state)
{
    const char *settings[] = {"bootstrap=inproc://late", NULL};
    weft_admin_t *admin = NULL;
    assert_ok(weft_admin_new(settings, &admin, NULL));
    struct weft_embedded_options options = {.data = s_directory, .listen = "inproc://late"};
    struct weft_error error = {.code = WEFT_OK};
    weft_embedded_t *cluster = NULL;
    if (weft_embedded_start(&options, &cluster, &error) != WEFT_OK) fail_msg("%s", error.text);
    assert_ok(weft_admin_create_topic(admin, "orders", 1, 1, NULL, 0, false, NULL));
    assert_ok(weft_admin_wait_topic(admin, "orders", 10000));
    s_produce("bootstrap=inproc://late", "orders", 10);
    assert_ok(weft_embedded_stop(&cluster));
    weft_admin_destroy(&admin); // it outlives its cluster as well
}

// ---- the program's own sockets

static void s_echo(void *zmq, const char *endpoint)
{
    char text[16];
    int patience = 10000;
    void *dealer = zmq_socket(zmq, ZMQ_DEALER);
    zmq_setsockopt(dealer, ZMQ_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(zmq_connect(dealer, endpoint), 0);
    weft_handover_give();
    assert_int_equal(zmq_send(dealer, "hello", 5, 0), 5);
    assert_int_equal(zmq_recv(dealer, text, sizeof text, 0), 5);
    weft_handover_take();
    zmq_close(dealer);
}

static weft_hosted_node_t *s_echo_node(const char *listen)
{
    const char *settings[] = {listen, NULL};
    struct weft_error error = {.code = WEFT_OK};
    weft_hosted_node_t *node = NULL;
    if (weft_node_start_type(&echo_type, settings, &node, &error) != WEFT_OK) fail_msg("%s", error.text);
    return node;
}

static void test_inproc__the_programs_sockets_reach_nodes_in_the_shared_context(void **state)
{
    void *zmq = weft_zmq_context();
    weft_hosted_node_t *node = s_echo_node("listen=inproc://echo");
    assert_ptr_equal(weft_node_zmq_context(node), zmq);
    s_echo(zmq, "inproc://echo");
    assert_ok(weft_node_stop(&node));
    assert_ptr_equal(weft_zmq_context(), zmq); // asked for: it stays
    assert_ok(weft_zmq_context_set(NULL));
    node = s_echo_node("listen=tcp://127.0.0.1:*");
    void *own = weft_node_zmq_context(node);
    zmq = weft_zmq_context();
    assert_ptr_not_equal(own, zmq);
    assert_ok(weft_zmq_context_set(NULL));
    assert_ok(weft_node_stop(&node));
}

static void test_inproc__a_program_may_bring_its_context(void **state)
{
    void *mine = zmq_ctx_new(), *other = zmq_ctx_new();
    assert_ok(weft_zmq_context_set(mine));
    assert_ptr_equal(weft_zmq_context(), mine);
    weft_hosted_node_t *node = s_echo_node("listen=inproc://echo");
    s_echo(mine, "inproc://echo");
    assert_ok(weft_zmq_context_set(mine)); // no change
    assert_err(weft_zmq_context_set(other), WEFT_ERR_INVALID_ARGUMENT);
    assert_err(weft_zmq_context_set(NULL), WEFT_ERR_INVALID_ARGUMENT);
    s_echo(mine, "inproc://echo");
    assert_ok(weft_node_stop(&node));
    assert_ok(weft_zmq_context_set(other)); // nothing uses the first one now
    assert_ok(weft_zmq_context_set(NULL));
    assert_int_equal(zmq_ctx_term(mine), 0); // it is still ours
    assert_int_equal(zmq_ctx_term(other), 0);
    assert_non_null(weft_zmq_context());
    mine = zmq_ctx_new();
    assert_err(weft_zmq_context_set(mine), WEFT_ERR_INVALID_ARGUMENT); // sockets may be in the one that was asked for
    assert_ok(weft_zmq_context_set(NULL));
    zmq_ctx_term(mine);
}

static void test_inproc__two_nodes_on_one_name_are_refused(void **state)
{
    weft_hosted_node_t *node = s_start("coordinator", "id=1", "listen=inproc://same", NULL), *twin = NULL;
    char data[WEFT_TEST_PATH_BYTES + 32];
    snprintf(data, sizeof data, "data=%s/twin", s_directory);
    const char *settings[] = {"listen=inproc://same", data, NULL};
    struct weft_error error = {.code = WEFT_OK};
    assert_err(weft_node_start("coordinator", settings, &twin, &error), WEFT_ERR_ENDPOINT_IN_USE);
    assert_non_null(strstr(error.text, "inproc://same"));
    assert_ok(weft_node_stop(&node));
}

// libzmq takes the path of an ipc endpoint away from whoever has it.
static void test_inproc__two_nodes_on_one_path_are_refused_but_a_path_left_behind_is_free(void **state)
{
    char listen[WEFT_TEST_PATH_BYTES + 32];
    snprintf(listen, sizeof listen, "listen=ipc://%s/same", s_directory);
    const char *settings[] = {"topic=x", "bootstrap=tcp://127.0.0.1:1", "replay=", listen, NULL};
    weft_hosted_node_t *node = NULL, *twin = NULL;
    struct weft_error error = {.code = WEFT_OK};
    assert_ok(weft_node_start("tap", settings, &node, &error));
    assert_err(weft_node_start("tap", settings, &twin, &error), WEFT_ERR_ENDPOINT_IN_USE);
    assert_non_null(strstr(error.text, "in use"));
    assert_ok(weft_node_stop(&node));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/same", s_directory);
    (void) unlink(address.sun_path);
    int dead = socket(AF_UNIX, SOCK_STREAM, 0); // as a process that was killed leaves it
    assert_int_equal(bind(dead, (const struct sockaddr *) &address, sizeof address), 0);
    assert_int_equal(close(dead), 0);
    assert_int_equal(access(address.sun_path, F_OK), 0);
    assert_ok(weft_node_start("tap", settings, &twin, &error));
    assert_ok(weft_node_stop(&twin));
}

// ---- the actor

// hello as anybody sends it: a REQ, one frame of msgpack.
static void s_hello(zsock_t *request)
{
    static const char hello[] = "\x82\xa3"
                                "api\xa5hello\xa2id\x07";
    zmsg_t *message = zmsg_new();
    zmsg_addmem(message, hello, sizeof hello - 1);
    weft_handover_give();
    assert_int_equal(zmsg_send(&message, request), 0);
    message = zmsg_recv(request);
    weft_handover_take();
    assert_non_null(message);
    zframe_t *frame = zmsg_first(message);
    weft_codec_t codec;
    struct weft_reply_header header;
    weft_codec_init(&codec);
    assert_ok(weft_reply_header_decode(&codec, weft_bytes(zframe_data(frame), zframe_size(frame)), &header, NULL));
    assert_int_equal(header.id, 7);
    assert_int_equal(header.error, 0);
    weft_codec_fini(&codec);
    zmsg_destroy(&message);
}

static void test_inproc__an_actor_is_reached_by_any_zsock_of_the_program(void **state)
{
    // Static: ThreadSanitizer doesn't see that the actor has read all this before zactor_new returns.
    static char data[WEFT_TEST_PATH_BYTES + 32];
    static const char *const settings[] = {"listen=inproc://actor", data, NULL};
    static struct weft_node_actor_args args = {"coordinator", settings};
    snprintf(data, sizeof data, "data=%s/coordinator", s_directory);
    for (int i = 0; i < 2; i++) {
        zactor_t *actor = zactor_new(weft_node_actor, &args);
        assert_non_null(actor);
        zstr_send(actor, "ENDPOINT");
        char *endpoint = zstr_recv(actor);
        assert_string_equal(endpoint, "inproc://actor");
        zsock_t *request = zsock_new_req(endpoint);
        zsock_set_rcvtimeo(request, 10000);
        s_hello(request);
        s_hello(request);
        zsock_destroy(&request);
        zstr_free(&endpoint);
        zactor_destroy(&actor);
    }
    void *zmq = weft_zmq_context(); // CZMQ's was for the actors' time only
    assert_ptr_not_equal(zmq, zsys_init());
    assert_ok(weft_zmq_context_set(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_inproc__nodes_started_apart_and_clients_are_one_cluster, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_inproc__a_client_may_come_before_its_cluster, s_setup, s_teardown),
        cmocka_unit_test(test_inproc__the_programs_sockets_reach_nodes_in_the_shared_context),
        cmocka_unit_test(test_inproc__a_program_may_bring_its_context),
        cmocka_unit_test_setup_teardown(test_inproc__two_nodes_on_one_path_are_refused_but_a_path_left_behind_is_free,
                                        s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_inproc__two_nodes_on_one_name_are_refused, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_inproc__an_actor_is_reached_by_any_zsock_of_the_program, s_setup,
                                        s_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
