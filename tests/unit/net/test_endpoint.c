// SPDX-License-Identifier: MPL-2.0
#include "parts.h"

#include "lib/net/endpoint.h"
#include "lib/net/sockets.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void *s_monitor; // of the last one bound

static weft_err_t s_bind(weft_net_t *net, const char *endpoint, void **socket, struct weft_bound *bound,
                         struct weft_error *error)
{
    return weft_socket_router(net, endpoint, 0, socket, &s_monitor, bound, error);
}

static void test_endpoint__refuses_with_a_sentence_what_is_none(void **state)
{
    static const char *const bad[] = {"",           "9650",       "localhost:9650", "tcp://localhost", "tcp://:9650",
                                      "tcp://h:-1", "tcp://h:+1", "tcp://h:65536",  "tcp://h:1x",      "pgm://h:1",
                                      "ipc://",     "inproc://",  "http://h:80",    "tcp://h:",        "TCP://h:1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct weft_error error = {0};
        assert_int_equal(weft_endpoint_check(bad[i], &error), WEFT_ERR_INVALID_ENDPOINT);
        assert_non_null(strstr(error.text, "tcp://HOST:PORT"));
    }
    char lengthy[400];
    memset(lengthy, 'x', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = '\0';
    memcpy(lengthy, "ipc://", 6);
    assert_int_equal(weft_endpoint_check(lengthy, NULL), WEFT_ERR_INVALID_ENDPOINT);
    lengthy[150] = '\0';
    assert_int_equal(weft_endpoint_check(lengthy, NULL), WEFT_ERR_INVALID_ENDPOINT);
}

static void test_endpoint__takes_what_people_write(void **state)
{
    static const char *const good[] = {"tcp://127.0.0.1:9650",
                                       "tcp://*:0",
                                       "tcp://host.example:*",
                                       "tcp://[::1]:9650",
                                       "ipc:///run/weft",
                                       "ipc://@abstract",
                                       "ipc://*",
                                       "inproc://a"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(weft_endpoint_check(good[i], NULL), WEFT_OK);
}

static void test_endpoint__a_foreign_address_is_not_called_in_use(void **state)
{
    weft_net_t *net = net_new();
    struct weft_error error = {0};
    struct weft_bound bound;
    void *socket = NULL;
    assert_int_equal(s_bind(net, "tcp://192.0.2.1:9650", &socket, &bound, &error), WEFT_ERR_INVALID_ENDPOINT);
    assert_non_null(strstr(error.text, "not an address of this machine"));
    weft_net_destroy(&net);
}

static void test_endpoint__a_second_ipc_server_is_refused(void **state)
{
    char directory[] = "/tmp/weft-ipc-XXXXXX", endpoint[64], path[32];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/s", directory);
    snprintf(endpoint, sizeof endpoint, "ipc://%s", path);
    weft_net_t *net = net_new(), *other = net_new();
    struct weft_bound bound, second;
    void *socket = NULL, *twin = NULL;
    struct weft_error error = {0};
    assert_int_equal(s_bind(net, endpoint, &socket, &bound, &error), WEFT_OK);
    assert_int_equal(s_bind(other, endpoint, &twin, &second, &error), WEFT_ERR_ENDPOINT_IN_USE);
    assert_non_null(strstr(error.text, endpoint));
    weft_socket_close_router(net, &socket, &s_monitor, &bound);
    assert_int_equal(s_bind(other, endpoint, &twin, &second, &error), WEFT_OK); // free again
    weft_socket_close_router(other, &twin, &s_monitor, &second);
    weft_net_destroy(&net);
    weft_net_destroy(&other);
    assert_int_equal(rmdir(directory), 0);
}

static void test_endpoint__an_ipc_server_without_a_lock_is_in_use_and_a_dead_ones_path_is_not(void **state)
{
    char directory[] = "/tmp/weft-ipc-XXXXXX", endpoint[64];
    assert_non_null(mkdtemp(directory));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", directory);
    snprintf(endpoint, sizeof endpoint, "ipc://%s/s", directory);
    int stranger = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(stranger, (struct sockaddr *) &address, sizeof address), 0);
    assert_int_equal(listen(stranger, 1), 0);
    weft_net_t *net = net_new();
    struct weft_bound bound;
    void *made = NULL;
    assert_int_equal(s_bind(net, endpoint, &made, &bound, NULL), WEFT_ERR_ENDPOINT_IN_USE);
    close(stranger); // as killed: its path stays
    assert_int_equal(s_bind(net, endpoint, &made, &bound, NULL), WEFT_OK);
    weft_socket_close_router(net, &made, &s_monitor, &bound);
    weft_net_destroy(&net);
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_endpoint__refuses_with_a_sentence_what_is_none),
        cmocka_unit_test(test_endpoint__takes_what_people_write),
        cmocka_unit_test(test_endpoint__a_foreign_address_is_not_called_in_use),
        cmocka_unit_test(test_endpoint__a_second_ipc_server_is_refused),
        cmocka_unit_test(test_endpoint__an_ipc_server_without_a_lock_is_in_use_and_a_dead_ones_path_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
