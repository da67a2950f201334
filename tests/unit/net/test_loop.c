// SPDX-License-Identifier: MPL-2.0
#include "parts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

struct server {
    weft_net_t *net;
    struct echo echo;
    weft_loop_t *loop;
    struct runner runner;
    void *context; // the peers', not the server's
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
};

static void s_server_start(struct server *self, size_t peer_bytes_max)
{
    self->net = net_new();
    self->echo.part.ops = &echo_ops;
    self->loop = loop_new(self->net, &self->echo.part, "tcp://127.0.0.1:*", peer_bytes_max, self->endpoint);
    runner_start(&self->runner, self->loop);
    self->context = zmq_ctx_new();
}

static void s_server_stop(struct server *self)
{
    runner_stop(&self->runner);
    weft_loop_destroy(&self->loop);
    weft_net_destroy(&self->net);
    zmq_ctx_term(self->context);
}

static void test_loop__answers_one_frame_and_two(void **state)
{
    struct server server = {0};
    s_server_start(&server, 0);
    void *dealer = peer_new(server.context, ZMQ_DEALER, server.endpoint);
    char text[64];
    zmq_send(dealer, "one", 3, 0);
    assert_int_equal(peer_receive(dealer, text, sizeof text), 3);
    assert_false(peer_more(dealer));
    zmq_send(dealer, "header", 6, ZMQ_SNDMORE);
    zmq_send(dealer, "data", 4, 0);
    assert_int_equal(peer_receive(dealer, text, sizeof text), 6);
    assert_string_equal(text, "header");
    assert_true(peer_more(dealer));
    assert_int_equal(peer_receive(dealer, text, sizeof text), 4);
    assert_string_equal(text, "data");
    assert_false(peer_more(dealer));
    zmq_close(dealer);
    s_server_stop(&server);
}

static void test_loop__mirrors_the_delimiter_of_a_req(void **state)
{
    struct server server = {0};
    s_server_start(&server, 0);
    void *req = peer_new(server.context, ZMQ_REQ, server.endpoint);
    char text[64];
    for (int i = 0; i < 3; i++) {
        zmq_send(req, "ask", 3, i == 1 ? ZMQ_SNDMORE : 0);
        if (i == 1) zmq_send(req, "with data", 9, 0);
        assert_int_equal(peer_receive(req, text, sizeof text), 3);
        assert_int_equal(peer_more(req), i == 1);
        if (i == 1) assert_int_equal(peer_receive(req, text, sizeof text), 9);
    }
    zmq_close(req);
    s_server_stop(&server);
}

static void test_loop__refuses_messages_of_another_shape_and_serves_on(void **state)
{
    struct server server = {0};
    s_server_start(&server, 0);
    void *dealer = peer_new(server.context, ZMQ_DEALER, server.endpoint);
    char text[512];
    for (int i = 0; i < 2000; i++) zmq_send(dealer, "part", 4, ZMQ_SNDMORE);
    zmq_send(dealer, "last", 4, 0);
    assert_true(peer_receive(dealer, text, sizeof text) > 0);
    assert_non_null(memmem(text, sizeof text, "BAD_FRAME", 9));
    assert_false(peer_more(dealer));
    zmq_send(dealer, "", 0, 0); // an empty header is the part's to judge
    assert_int_equal(peer_receive(dealer, text, sizeof text), 0);
    zmq_send(dealer, "", 0, ZMQ_SNDMORE);
    zmq_send(dealer, "", 0, 0);
    assert_int_equal(peer_receive(dealer, text, sizeof text), 0);
    assert_true(peer_more(dealer));
    assert_int_equal(peer_receive(dealer, text, sizeof text), 0);
    zmq_send(dealer, "well", 4, 0);
    assert_int_equal(peer_receive(dealer, text, sizeof text), 4);
    assert_string_equal(text, "well");
    assert_int_equal(weft_counter_get(weft_loop_counters(server.loop), WEFT_LOOP_MALFORMED), 1);
    zmq_close(dealer);
    s_server_stop(&server);
}

static void test_loop__answers_everything_once_in_order_under_load(void **state)
{
    enum { COUNT = 20000, WINDOW = 200 };
    struct server server = {0};
    s_server_start(&server, 0);
    void *dealer = peer_new(server.context, ZMQ_DEALER, server.endpoint);
    int64_t began = clock_us();
    for (int sent = 0, got = 0; got < COUNT;) {
        for (; sent < COUNT && sent - got < WINDOW; sent++)
            assert_int_equal(zmq_send(dealer, &sent, sizeof sent, 0), sizeof sent);
        int number = -1;
        assert_int_equal(zmq_recv(dealer, &number, sizeof number, 0), sizeof number);
        assert_int_equal(number, got++);
    }
    print_message("%d small round trips in %lld us\n", COUNT, (long long) (clock_us() - began));
    assert_int_equal(weft_counter_get(weft_loop_counters(server.loop), WEFT_LOOP_MESSAGES_IN), COUNT);
    zmq_close(dealer);
    s_server_stop(&server);
}

static void test_loop__refuses_replies_to_a_peer_that_does_not_read(void **state)
{
    struct server server = {0};
    server.echo.grow = true;
    server.echo.grow_bytes = 256 * 1024;
    s_server_start(&server, 4 * 1024 * 1024);
    // A peer that asks and never reads: 1 message may wait in it, what TCP holds comes on top.
    void *deaf = zmq_socket(server.context, ZMQ_DEALER);
    int one = 1, linger = 0, small = 16 * 1024;
    zmq_setsockopt(deaf, ZMQ_RCVHWM, &one, sizeof one);
    zmq_setsockopt(deaf, ZMQ_RCVBUF, &small, sizeof small);
    zmq_setsockopt(deaf, ZMQ_LINGER, &linger, sizeof linger);
    assert_int_equal(zmq_connect(deaf, server.endpoint), 0);
    int64_t deadline = clock_us() + 10000000;
    while (atomic_load(&server.echo.refused) == 0) {
        assert_true(clock_us() < deadline);
        assert_int_equal(zmq_send(deaf, "more", 4, 0), 4);
    }
    assert_true(weft_counter_get(weft_loop_counters(server.loop), WEFT_LOOP_REPLIES_OVER_BUDGET) > 0);
    // Others are served meanwhile.
    void *dealer = peer_new(server.context, ZMQ_DEALER, server.endpoint);
    char text[64];
    zmq_send(dealer, "hello", 5, 0);
    assert_int_equal(peer_receive(dealer, text, sizeof text), 5);
    zmq_close(dealer);
    zmq_close(deaf);
    s_server_stop(&server);
}

static void test_loop__counts_replies_to_peers_that_left(void **state)
{
    struct server server = {0};
    s_server_start(&server, 0);
    struct weft_peer nobody = {.size = 5, .bytes = {0, 1, 2, 3, 4}};
    void *dealer = peer_new(server.context, ZMQ_DEALER, server.endpoint);
    char text[8];
    zmq_send(dealer, "up", 2, 0);
    peer_receive(dealer, text, sizeof text);
    runner_stop(&server.runner);
    (void) !server.echo.port.ops->reply(server.echo.port.world, &nobody, false, weft_slice_text("x"), NULL);
    assert_true(server.echo.port.ops->peer_outstanding_bytes(server.echo.port.world, &nobody) > 0);
    (void) !weft_loop_run(server.loop, 0);
    assert_int_equal(weft_counter_get(weft_loop_counters(server.loop), WEFT_LOOP_REPLIES_TO_GONE), 1);
    assert_int_equal(server.echo.port.ops->peer_outstanding_bytes(server.echo.port.world, &nobody), 0);
    runner_start(&server.runner, server.loop);
    zmq_close(dealer);
    s_server_stop(&server);
}

static void test_loop__waits_as_long_as_asked_and_no_longer(void **state)
{
    weft_net_t *net = net_new();
    struct talker talker = {.part.ops = &talker_ops};
    weft_loop_t *loop = loop_new(net, &talker.part, NULL, 0, NULL);
    weft_loop_start(loop);
    assert_int_equal(weft_loop_run(loop, 0), WEFT_OK);
    int64_t began = clock_us();
    assert_int_equal(weft_loop_run(loop, 30000), WEFT_OK);
    assert_true(clock_us() - began >= 29000);
    talker.wake_at = clock_us() + 20000;
    assert_int_equal(weft_loop_run(loop, 0), WEFT_OK);
    assert_int_equal(weft_loop_run(loop, -1), WEFT_OK); // until the part's own time
    assert_true(clock_us() >= talker.wake_at);
    weft_loop_wake(loop);
    talker.wake_at = 0;
    assert_int_equal(weft_loop_run(loop, -1), WEFT_ERR_INTERRUPTED);
    assert_int_equal(weft_loop_run(loop, 0), WEFT_OK);
    weft_loop_destroy(&loop);
    weft_net_destroy(&net);
}

static void test_loop__descriptor_is_readable_when_there_is_something_to_do(void **state)
{
    struct server server = {0};
    s_server_start(&server, 0);
    weft_net_t *net = net_new();
    struct talker talker = {.part.ops = &talker_ops};
    weft_loop_t *loop = loop_new(net, &talker.part, NULL, 0, NULL);
    weft_loop_start(loop);
    weft_link_t link;
    assert_int_equal(talker.port.ops->link_open(talker.port.world, server.endpoint, &link), WEFT_OK);
    struct pollfd item = {.fd = weft_loop_fd(loop), .events = POLLIN};
    assert_true(item.fd >= 0);
    int64_t deadline = clock_us() + 10000000;
    bool sent = false;
    while (talker.replies < 100) {
        assert_true(clock_us() < deadline);
        assert_int_equal(poll(&item, 1, 10000), 1);
        assert_int_equal(weft_loop_run(loop, 0), WEFT_OK);
        if (talker.ups == 1 && !sent) {
            for (int i = 0; i < 100; i++)
                assert_int_equal(talker.port.ops->send(talker.port.world, link, weft_slice_text("hello"), NULL),
                                 WEFT_OK);
            sent = true;
            assert_int_equal(weft_loop_run(loop, 0), WEFT_OK);
        }
    }
    for (int i = 0; i < 100 && poll(&item, 1, 0) == 1; i++) assert_int_equal(weft_loop_run(loop, 0), WEFT_OK);
    assert_int_equal(poll(&item, 1, 0), 0); // at rest
    weft_loop_wake(loop);
    assert_int_equal(poll(&item, 1, 1000), 1);
    weft_loop_destroy(&loop);
    weft_net_destroy(&net);
    s_server_stop(&server);
}

// Whoever looked a moment ago looks again when the descriptor says so, instead of turning until it is time to look.
static void test_loop__a_run_that_the_descriptor_asked_for_is_not_in_vain(void **state)
{
    enum { ROUNDS = 100, RUNS_A_ROUND = 8 };
    struct server server = {0};
    s_server_start(&server, 0);
    weft_net_t *net = net_new();
    struct talker talker = {.part.ops = &talker_ops};
    weft_loop_t *loop = loop_new(net, &talker.part, NULL, 0, NULL);
    weft_loop_start(loop);
    weft_link_t link;
    assert_int_equal(talker.port.ops->link_open(talker.port.world, server.endpoint, &link), WEFT_OK);
    struct pollfd item = {.fd = weft_loop_fd(loop), .events = POLLIN};
    int runs = 0;
    for (int asked = 0; talker.replies<ROUNDS; runs += asked> 0) {
        if (talker.ups == 1 && (int) talker.replies == asked) {
            assert_int_equal(talker.port.ops->send(talker.port.world, link, weft_slice_text("hello"), NULL), WEFT_OK);
            asked++;
        } else
            assert_int_equal(poll(&item, 1, 10000), 1);
        assert_int_equal(weft_loop_run(loop, 0), WEFT_OK);
    }
    assert_in_range(runs, ROUNDS, ROUNDS * RUNS_A_ROUND);
    weft_loop_destroy(&loop);
    weft_net_destroy(&net);
    s_server_stop(&server);
}

static void test_loop__lets_nobody_in_above_its_limit_of_connections(void **state)
{
    enum { MOST = 8 };
    struct server server = {0};
    assert_int_equal(weft_net_new(&(struct weft_net_how){.io_threads = 1, .connections_max = MOST}, &server.net, NULL),
                     WEFT_OK);
    server.echo.part.ops = &echo_ops;
    server.loop = loop_new(server.net, &server.echo.part, "tcp://127.0.0.1:*", 0, server.endpoint);
    runner_start(&server.runner, server.loop);
    server.context = zmq_ctx_new();
    char text[16];
    void *peers[MOST];
    for (int i = 0; i < MOST; i++) {
        peers[i] = peer_new(server.context, ZMQ_DEALER, server.endpoint);
        zmq_send(peers[i], "in", 2, 0);
        assert_int_equal(peer_receive(peers[i], text, sizeof text), 2);
    }
    int64_t deadline = clock_us() + 10000000;
    for (bool held = false; !held;) {
        assert_true(clock_us() < deadline);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons((uint16_t) atoi(strrchr(server.endpoint, ':') + 1)),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int rc = connect(fd, (struct sockaddr *) &address, sizeof address);
        struct pollfd item = {.fd = fd, .events = POLLOUT};
        held = rc != 0 && errno == EINPROGRESS && poll(&item, 1, 300) == 0;
        close(fd);
    }
    zmq_send(peers[0], "still", 5, 0); // who is in is served
    assert_int_equal(peer_receive(peers[0], text, sizeof text), 5);
    for (int i = 0; i < MOST; i++) zmq_close(peers[i]);
    void *late = peer_new(server.context, ZMQ_DEALER, server.endpoint); // and opens again when they left
    zmq_send(late, "late", 4, 0);
    assert_int_equal(peer_receive(late, text, sizeof text), 4);
    zmq_close(late);
    s_server_stop(&server);
}

static void test_loop__endpoint_in_use_is_said_in_a_sentence(void **state)
{
    struct server server = {0};
    s_server_start(&server, 0);
    struct echo other = {.part.ops = &echo_ops};
    weft_loop_t *loop = NULL;
    struct weft_error error = {0};
    struct weft_world_part how = {.name = "other", .listen = server.endpoint};
    assert_int_equal(weft_loop_new(server.net, &how, &other.part, &loop, NULL, &error), WEFT_ERR_ENDPOINT_IN_USE);
    assert_non_null(strstr(error.text, server.endpoint));
    assert_non_null(strstr(error.text, "--listen"));
    assert_null(loop);
    assert_true(atomic_load(&other.destroyed_flag)); // ownership passed on failure too
    s_server_stop(&server);
}

// ---- two doors

// Notes through which doors messages came, and answers each.
struct doorman {
    struct echo echo;
    uint8_t doors[4096];
    size_t count;
    struct weft_peer last[2]; // by door
};

static void s_doorman_message(struct weft_part *part, struct weft_message *message)
{
    struct doorman *self = (struct doorman *) part;
    self->last[message->peer.door] = message->peer;
    if (self->count < sizeof self->doors) self->doors[self->count++] = message->peer.door;
    echo_message(part, message);
}

struct house {
    weft_net_t *net;
    struct weft_part_ops ops;
    struct doorman doorman;
    weft_loop_t *loop; // run by the test itself
    void *context;
    char endpoints[2][WEFT_ENDPOINT_BYTES_MAX];
};

static void s_house_open(struct house *self, const char *listen, const char *listen_too)
{
    memset(self, 0, sizeof *self);
    self->net = net_new();
    self->ops = echo_ops;
    self->ops.message = s_doorman_message;
    self->doorman.echo.part.ops = &self->ops;
    struct weft_error error = {0};
    const struct weft_world_part how = {.name = "house",
                                        .listen = listen,
                                        .listen_too = listen_too,
                                        .bound_too = self->endpoints[1],
                                        .frame_bytes_max = FRAME_BYTES_MAX,
                                        .peer_bytes_max = 1000};
    weft_err_t err = weft_loop_new(self->net, &how, &self->doorman.echo.part, &self->loop, self->endpoints[0], &error);
    if (err != WEFT_OK) print_error("%s\n", error.text);
    assert_int_equal(err, WEFT_OK);
    self->context = strncmp(listen, "inproc", 6) == 0 ? weft_net_zmq(self->net) : zmq_ctx_new();
}

static void s_house_close(struct house *self)
{
    if (self->context != weft_net_zmq(self->net)) zmq_ctx_term(self->context);
    weft_loop_destroy(&self->loop);
    weft_net_destroy(&self->net);
}

static void s_house_exchange(struct house *self)
{
    void *peers[2];
    char text[64];
    for (size_t i = 0; i < 2; i++) {
        peers[i] = peer_new(self->context, ZMQ_DEALER, self->endpoints[i]);
        zmq_send(peers[i], i == 0 ? "first" : "second", i == 0 ? 5 : 6, 0);
    }
    RUN_UNTIL(self->loop, self->doorman.count == 2);
    assert_int_not_equal(self->doorman.doors[0], self->doorman.doors[1]);
    for (size_t i = 0; i < 2; i++) {
        peer_receive(peers[i], text, sizeof text);
        assert_string_equal(text, i == 0 ? "first" : "second");
        zmq_close(peers[i]);
    }
}

static void test_loop__two_doors_each_answer_their_own_peers(void **state)
{
    struct house house;
    s_house_open(&house, "tcp://127.0.0.1:*", "tcp://127.0.0.1:*");
    assert_string_not_equal(house.endpoints[0], house.endpoints[1]);
    assert_null(strchr(house.endpoints[1], '*'));
    s_house_exchange(&house);
    s_house_close(&house);
    s_house_open(&house, "inproc://house", "inproc://house-too");
    s_house_exchange(&house);
    s_house_close(&house);
    char path[64] = "/tmp/weft-doors-XXXXXX", first[128], second[128];
    assert_non_null(mkdtemp(path));
    snprintf(first, sizeof first, "ipc://%s/first", path);
    snprintf(second, sizeof second, "ipc://%s/second", path);
    s_house_open(&house, first, second);
    s_house_exchange(&house);
    s_house_close(&house);
    assert_int_equal(rmdir(path), 0); // both sockets and locks are gone
}

static void test_loop__second_door_waits_for_one_share_of_the_firsts_backlog_at_most(void **state)
{
    enum { BACKLOG = 500, LATER = 20 };
    struct house house;
    s_house_open(&house, "inproc://house", "inproc://house-too"); // over inproc all is there when a send returns
    void *client = peer_new(house.context, ZMQ_DEALER, house.endpoints[0]);
    void *replica = peer_new(house.context, ZMQ_DEALER, house.endpoints[1]);
    for (int i = 0; i < BACKLOG; i++) assert_int_equal(zmq_send(client, "b", 1, 0), 1);
    for (int i = 0; i < LATER; i++) assert_int_equal(zmq_send(replica, "r", 1, 0), 1);
    (void) !weft_loop_run(house.loop, 0);
    assert_true(house.doorman.count <= WEFT_LOOP_TURN_MESSAGES_MAX + LATER); // one share of each
    for (size_t i = 0; i < LATER; i++) assert_int_equal(house.doorman.doors[i], 1);
    assert_int_equal(zmq_send(replica, "r", 1, 0), 1);
    size_t before = house.doorman.count;
    (void) !weft_loop_run(house.loop, 0);
    assert_int_equal(house.doorman.doors[before], 1);
    RUN_UNTIL(house.loop, house.doorman.count == BACKLOG + LATER + 1);
    zmq_close(client);
    zmq_close(replica);
    s_house_close(&house);
}

static void test_loop__a_share_of_the_first_door_is_small_in_bytes_too(void **state)
{
    enum { BACKLOG = 40, BYTES = 64 * 1024, SHARE = WEFT_LOOP_DOOR_BYTES_MAX / BYTES };
    static const char batch[BYTES];
    struct house house;
    s_house_open(&house, "inproc://house", "inproc://house-too");
    void *client = peer_new(house.context, ZMQ_DEALER, house.endpoints[0]);
    for (int i = 0; i < BACKLOG; i++) {
        assert_int_equal(zmq_send(client, "h", 1, ZMQ_SNDMORE), 1);
        assert_int_equal(zmq_send(client, batch, BYTES, 0), BYTES);
    }
    (void) !weft_loop_run(house.loop, 0);
    assert_in_range(house.doorman.count, 1, SHARE + 1);
    RUN_UNTIL(house.loop, house.doorman.count == BACKLOG);
    zmq_close(client);
    s_house_close(&house);
}

static void test_loop__budgets_and_frame_limits_hold_at_both_doors(void **state)
{
    struct house house;
    s_house_open(&house, "tcp://127.0.0.1:*", "tcp://127.0.0.1:*");
    const struct weft_port *port = &house.doorman.echo.port;
    s_house_exchange(&house);
    // The same routing id at another door is another peer with a budget of its own.
    struct weft_peer one = {.size = 5, .bytes = {0, 1, 2, 3, 4}}, other = one;
    other.door = 1;
    uint8_t many[900] = {0};
    weft_slice_t header = weft_slice(many, sizeof many);
    assert_int_equal(port->ops->reply(port->world, &one, false, header, NULL), WEFT_OK);
    assert_int_equal(port->ops->peer_outstanding_bytes(port->world, &other), 0);
    assert_int_equal(port->ops->reply(port->world, &one, false, header, NULL), WEFT_ERR_LOCAL_WOULD_BLOCK);
    assert_int_equal(port->ops->reply(port->world, &other, false, header, NULL), WEFT_OK);
    assert_int_equal(port->ops->reply(port->world, &other, false, header, NULL), WEFT_ERR_LOCAL_WOULD_BLOCK);
    const weft_counters_t *counters = weft_loop_counters(house.loop);
    void *large = calloc(1, FRAME_BYTES_MAX + 1);
    for (int i = 0; i < 2; i++) {
        void *peer = peer_new(house.context, ZMQ_DEALER, house.endpoints[i]);
        uint64_t ended = weft_counter_get(counters, WEFT_LOOP_ENDED);
        size_t seen = house.doorman.count;
        zmq_send(peer, large, FRAME_BYTES_MAX + 1, 0);
        RUN_UNTIL(house.loop, weft_counter_get(counters, WEFT_LOOP_ENDED) > ended);
        assert_int_equal(house.doorman.count, seen);
        zmq_close(peer);
        RUN_UNTIL(house.loop,
                  weft_counter_get(counters, WEFT_LOOP_ENDED) == weft_counter_get(counters, WEFT_LOOP_ACCEPTED));
    }
    free(large);
    s_house_close(&house);
}

static void test_loop__second_endpoint_in_use_leaves_nothing_bound(void **state)
{
    struct house house;
    s_house_open(&house, "tcp://127.0.0.1:*", "tcp://127.0.0.1:*");
    struct echo other = {.part.ops = &echo_ops};
    struct weft_error error = {0};
    weft_loop_t *loop = NULL;
    struct weft_world_part how = {.name = "other", .listen = "inproc://free", .listen_too = house.endpoints[1]};
    assert_int_equal(weft_loop_new(house.net, &how, &other.part, &loop, NULL, &error), WEFT_ERR_ENDPOINT_IN_USE);
    assert_non_null(strstr(error.text, house.endpoints[1]));
    struct echo next = {.part.ops = &echo_ops};
    how.listen_too = NULL;
    assert_int_equal(weft_loop_new(house.net, &how, &next.part, &loop, NULL, &error), WEFT_OK);
    weft_loop_destroy(&loop);
    s_house_close(&house);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loop__answers_one_frame_and_two),
        cmocka_unit_test(test_loop__mirrors_the_delimiter_of_a_req),
        cmocka_unit_test(test_loop__refuses_messages_of_another_shape_and_serves_on),
        cmocka_unit_test(test_loop__answers_everything_once_in_order_under_load),
        cmocka_unit_test(test_loop__refuses_replies_to_a_peer_that_does_not_read),
        cmocka_unit_test(test_loop__counts_replies_to_peers_that_left),
        cmocka_unit_test(test_loop__waits_as_long_as_asked_and_no_longer),
        cmocka_unit_test(test_loop__descriptor_is_readable_when_there_is_something_to_do),
        cmocka_unit_test(test_loop__a_run_that_the_descriptor_asked_for_is_not_in_vain),
        cmocka_unit_test(test_loop__lets_nobody_in_above_its_limit_of_connections),
        cmocka_unit_test(test_loop__endpoint_in_use_is_said_in_a_sentence),
        cmocka_unit_test(test_loop__two_doors_each_answer_their_own_peers),
        cmocka_unit_test(test_loop__second_door_waits_for_one_share_of_the_firsts_backlog_at_most),
        cmocka_unit_test(test_loop__a_share_of_the_first_door_is_small_in_bytes_too),
        cmocka_unit_test(test_loop__budgets_and_frame_limits_hold_at_both_doors),
        cmocka_unit_test(test_loop__second_endpoint_in_use_leaves_nothing_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
