// SPDX-License-Identifier: MPL-2.0
#include "parts.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

struct server {
    struct echo echo;
    weft_loop_t *loop;
    struct runner runner;
};

static void s_server_start(struct server *self, weft_net_t *net, const char *listen, char *bound)
{
    self->echo.part.ops = &echo_ops;
    self->loop = loop_new(net, &self->echo.part, listen, 0, bound);
    runner_start(&self->runner, self->loop);
}

static void s_server_stop(struct server *self)
{
    runner_stop(&self->runner);
    weft_loop_destroy(&self->loop);
}

static weft_err_t s_send(struct talker *talker, weft_link_t link, const char *text)
{
    return talker->port.ops->send(talker->port.world, link, weft_slice_text(text), NULL);
}

static void s_talk_over(const char *listen)
{
    weft_net_t *net = net_new();
    struct server server = {0};
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    s_server_start(&server, net, listen, endpoint);
    struct talker talker = {.part.ops = &talker_ops};
    weft_loop_t *loop = loop_new(net, &talker.part, NULL, 0, NULL);
    weft_loop_start(loop);
    weft_link_t link = 0;
    assert_int_equal(talker.port.ops->link_open(talker.port.world, endpoint, &link), WEFT_OK);
    assert_int_not_equal(link, 0);
    assert_int_equal(s_send(&talker, link, "too early"), WEFT_ERR_LOCAL_NOT_CONNECTED);
    RUN_UNTIL(loop, talker.ups == 1);
    assert_int_equal(s_send(&talker, link, "hello"), WEFT_OK);
    RUN_UNTIL(loop, talker.replies == 1);
    assert_string_equal(talker.last, "hello");
    weft_frame_t data;
    weft_frame_init_copy(&data, weft_slice_text("0123456789"));
    assert_int_equal(talker.port.ops->send(talker.port.world, link, weft_slice_text("with"), &data), WEFT_OK);
    assert_int_equal(data.size, 0);
    RUN_UNTIL(loop, talker.replies == 2);
    assert_int_equal(talker.last_data, 10);
    // What is sent and then closed in one turn still leaves.
    int before = atomic_load(&server.echo.messages);
    assert_int_equal(s_send(&talker, link, "last"), WEFT_OK);
    talker.port.ops->link_close(talker.port.world, link);
    assert_int_equal(s_send(&talker, link, "closed"), WEFT_ERR_LOCAL_NOT_CONNECTED);
    RUN_UNTIL(loop, atomic_load(&server.echo.messages) == before + 1);
    weft_loop_destroy(&loop);
    s_server_stop(&server);
    weft_net_destroy(&net);
}

static void test_link__talks_over_tcp(void **state)
{
    s_talk_over("tcp://127.0.0.1:*");
}

static void test_link__talks_over_inproc(void **state)
{
    s_talk_over("inproc://test-link");
}

static void test_link__talks_over_ipc(void **state)
{
    char directory[] = "/tmp/weft-link-XXXXXX", endpoint[64];
    assert_non_null(mkdtemp(directory));
    snprintf(endpoint, sizeof endpoint, "ipc://%s/s", directory);
    s_talk_over(endpoint);
    assert_int_equal(rmdir(directory), 0); // neither socket nor lock is left
}

static void test_link__tells_of_loss_and_of_the_servers_next_life(void **state)
{
    weft_net_t *net = net_new(), *server_net = net_new();
    struct server first = {0}, second = {0};
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    s_server_start(&first, server_net, "tcp://127.0.0.1:*", endpoint);
    struct talker talker = {.part.ops = &talker_ops};
    weft_loop_t *loop = loop_new(net, &talker.part, NULL, 0, NULL);
    weft_loop_start(loop);
    weft_link_t link = 0;
    assert_int_equal(talker.port.ops->link_open(talker.port.world, endpoint, &link), WEFT_OK);
    RUN_UNTIL(loop, talker.ups == 1);
    s_server_stop(&first);
    RUN_UNTIL(loop, talker.downs == 1);
    assert_int_equal(s_send(&talker, link, "nobody"), WEFT_ERR_LOCAL_NOT_CONNECTED);
    s_server_start(&second, server_net, endpoint, NULL);
    RUN_UNTIL(loop, talker.ups == 2);
    assert_int_equal(s_send(&talker, link, "again"), WEFT_OK);
    RUN_UNTIL(loop, talker.replies == 1);
    assert_string_equal(talker.last, "again"); // nothing of the old life was kept for the new one
    assert_int_equal(atomic_load(&second.echo.messages), 1);
    weft_loop_destroy(&loop);
    s_server_stop(&second);
    weft_net_destroy(&net);
    weft_net_destroy(&server_net);
}

// libzmq has no event for the end of an inproc peer, and who waits for an answer sends nothing.
static void test_link__tells_of_the_end_of_an_inproc_server_without_a_send(void **state)
{
    weft_net_t *net = net_new();
    struct server first = {.echo.hold = 1}, second = {0};
    s_server_start(&first, net, "inproc://ends", NULL);
    struct talker talker = {.part.ops = &talker_ops};
    weft_loop_t *loop = loop_new(net, &talker.part, NULL, 0, NULL);
    weft_loop_start(loop);
    weft_link_t link = 0;
    assert_int_equal(talker.port.ops->link_open(talker.port.world, "inproc://ends", &link), WEFT_OK);
    RUN_UNTIL(loop, talker.ups == 1);
    assert_int_equal(s_send(&talker, link, "waits for its answer"), WEFT_OK);
    RUN_UNTIL(loop, atomic_load(&first.echo.messages) == 1);
    first.echo.held_count = 0; // it ends without one
    s_server_stop(&first);
    RUN_UNTIL(loop, talker.downs == 1);
    s_server_start(&second, net, "inproc://ends", NULL);
    RUN_UNTIL(loop, talker.ups == 2);
    assert_int_equal(s_send(&talker, link, "again"), WEFT_OK);
    RUN_UNTIL(loop, talker.replies == 1);
    assert_string_equal(talker.last, "again");
    weft_loop_destroy(&loop);
    s_server_stop(&second);
    weft_net_destroy(&net);
}

static void test_link__refuses_beyond_its_budget_and_recovers(void **state)
{
    weft_net_t *net = net_new();
    struct server server = {0};
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    s_server_start(&server, net, "tcp://127.0.0.1:*", endpoint);
    struct talker talker = {.part.ops = &talker_ops};
    weft_loop_t *loop = loop_new(net, &talker.part, NULL, 100000, NULL);
    weft_loop_start(loop);
    weft_link_t link = 0;
    assert_int_equal(talker.port.ops->link_open(talker.port.world, endpoint, &link), WEFT_OK);
    RUN_UNTIL(loop, talker.ups == 1);
    // One message of any size passes when nothing is outstanding; then the budget counts what was noted in this turn.
    weft_frame_t big, more;
    weft_frame_init_heap(&big, 200000);
    memset(big.data, 1, big.size);
    weft_frame_init_heap(&more, 10);
    assert_int_equal(talker.port.ops->send(talker.port.world, link, weft_slice_text("big"), &big), WEFT_OK);
    assert_int_equal(talker.port.ops->send(talker.port.world, link, weft_slice_text("more"), &more),
                     WEFT_ERR_LOCAL_WOULD_BLOCK);
    assert_int_equal(more.size, 10); // untouched
    RUN_UNTIL(loop, talker.replies == 1);
    assert_int_equal(talker.port.ops->send(talker.port.world, link, weft_slice_text("more"), &more), WEFT_OK);
    RUN_UNTIL(loop, talker.replies == 2);
    weft_loop_destroy(&loop);
    s_server_stop(&server);
    weft_net_destroy(&net);
}

// A server that speaks something else, then is replaced by a real one: libzmq gives such a connection up for good, the link must not.
static void test_link__outlives_a_server_of_another_protocol(void **state)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(listener, (struct sockaddr *) &address, sizeof address), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *) &address, &size), 0);
    assert_int_equal(listen(listener, 4), 0);
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", ntohs(address.sin_port));
    weft_net_t *net = net_new();
    struct talker talker = {.part.ops = &talker_ops};
    weft_loop_t *loop = loop_new(net, &talker.part, NULL, 0, NULL);
    weft_loop_start(loop);
    weft_link_t link = 0;
    assert_int_equal(talker.port.ops->link_open(talker.port.world, endpoint, &link), WEFT_OK);
    int accepted = accept(listener, NULL, NULL);
    assert_true(accepted >= 0);
    // A greeting of ZMTP 3 with a mechanism that nobody knows: a protocol error.
    unsigned char greeting[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1, 'J', 'U', 'N', 'K'};
    assert_int_equal(write(accepted, greeting, sizeof greeting), sizeof greeting);
    for (int i = 0; i < 20; i++) (void) !weft_loop_run(loop, 10000);
    close(accepted);
    close(listener);
    struct server server = {0};
    s_server_start(&server, net, endpoint, NULL);
    RUN_UNTIL(loop, talker.ups == 1);
    weft_loop_destroy(&loop);
    s_server_stop(&server);
    weft_net_destroy(&net);
}

static void test_link__refuses_endpoints_that_are_none(void **state)
{
    weft_net_t *net = net_new();
    struct talker talker = {.part.ops = &talker_ops};
    weft_loop_t *loop = loop_new(net, &talker.part, NULL, 0, NULL);
    weft_loop_start(loop);
    weft_link_t link = 77;
    static const char *const bad[] = {"",          "tcp",    "tcp://",   "tcp://host", "tcp://:1", "tcp://h:99999",
                                      "udp://h:1", "ipc://", "inproc://"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(talker.port.ops->link_open(talker.port.world, bad[i], &link), WEFT_ERR_INVALID_ENDPOINT);
    assert_int_equal(link, 77);
    weft_loop_destroy(&loop);
    weft_net_destroy(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_link__talks_over_tcp),
        cmocka_unit_test(test_link__talks_over_inproc),
        cmocka_unit_test(test_link__talks_over_ipc),
        cmocka_unit_test(test_link__tells_of_loss_and_of_the_servers_next_life),
        cmocka_unit_test(test_link__tells_of_the_end_of_an_inproc_server_without_a_send),
        cmocka_unit_test(test_link__refuses_beyond_its_budget_and_recovers),
        cmocka_unit_test(test_link__outlives_a_server_of_another_protocol),
        cmocka_unit_test(test_link__refuses_endpoints_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
