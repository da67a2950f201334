// SPDX-License-Identifier: MPL-2.0
// The coordinator on real sockets, threads and disk; clients and the broker are bare ZeroMQ sockets. In a process
// of its own it is killed with -9.
#include "tests/support/test.h"

#include "lib/base/trace.h"
#include "lib/net/runtime.h"

#include <weft_gen/config.h>
#include <weft_gen/messages.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#define S_PATIENCE_MS 10000

struct fixture {
    char directory[WEFT_TEST_PATH_BYTES];
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    pid_t process;
    void *zmq, *client, *broker;
    weft_codec_t codec;
    weft_buf_t header;
    uint8_t bytes[65536];
    uint64_t id;
};

// ---- a coordinator in a process of its own

static void s_run(const char *directory, int tell)
{
    weft_runtime_t *runtime = NULL;
    struct weft_node *node = NULL;
    struct weft_error error;
    weft_trace_level_set(WEFT_TRACE_ERROR);
    if (weft_runtime_new(&(struct weft_runtime_how){0}, &runtime, &error) != WEFT_OK) _exit(1);
    weft_options_t *options = weft_options_new(weft_options_coordinator, weft_options_coordinator_count, "coordinator");
    if (weft_options_set(options, "data", directory, &error) != WEFT_OK ||
        weft_options_set(options, "listen", "tcp://127.0.0.1:*", &error) != WEFT_OK ||
        weft_options_set(options, "snapshot.commands", "64", &error) != WEFT_OK ||
        weft_options_set(options, "session.ms", "30s", &error) != WEFT_OK)
        _exit(1);
    const struct weft_world *world = weft_runtime_world(runtime);
    if (weft_node_coordinator.create(world, options, &node, &error) != WEFT_OK) {
        fprintf(stderr, "%s\n", error.text);
        _exit(1);
    }
    world->ops->start(world->self);
    if (write(tell, node->endpoint, sizeof node->endpoint) < 0) _exit(1);
    for (;;) pause();
}

static void s_up(struct fixture *self)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    self->process = fork(); // no ZeroMQ context is open in this process now
    assert_true(self->process >= 0);
    if (self->process == 0) {
        close(ends[0]);
        s_run(self->directory, ends[1]);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], self->endpoint, sizeof self->endpoint), sizeof self->endpoint);
    close(ends[0]);
    self->zmq = zmq_ctx_new();
    void **sockets[] = {&self->client, &self->broker};
    for (size_t i = 0; i < 2; i++) {
        const int patience = S_PATIENCE_MS, linger = 0;
        *sockets[i] = zmq_socket(self->zmq, ZMQ_DEALER);
        zmq_setsockopt(*sockets[i], ZMQ_RCVTIMEO, &patience, sizeof patience);
        zmq_setsockopt(*sockets[i], ZMQ_LINGER, &linger, sizeof linger);
        assert_int_equal(zmq_connect(*sockets[i], self->endpoint), 0);
    }
}

static void s_kill(struct fixture *self)
{
    kill(self->process, SIGKILL);
    waitpid(self->process, NULL, 0);
    zmq_close(self->client);
    zmq_close(self->broker);
    zmq_ctx_term(self->zmq);
}

static int s_setup(void **state)
{
    struct fixture *self = weft_calloc(1, sizeof *self);
    weft_test_directory_make(self->directory);
    weft_codec_init(&self->codec);
    weft_buf_init(&self->header);
    *state = self;
    return 0;
}

static int s_teardown(void **state)
{
    struct fixture *self = *state;
    weft_codec_fini(&self->codec);
    weft_buf_fini(&self->header);
    weft_test_directory_remove(self->directory);
    free(self);
    return 0;
}

// ---- requests

static void s_send(struct fixture *self, void *socket)
{
    assert_true(zmq_send(socket, self->header.data, self->header.size, 0) >= 0);
    weft_buf_clear(&self->header);
}

// The next answer; its data frame, if any, is dropped, and so are pushes.
static weft_slice_t s_receive(struct fixture *self, void *socket)
{
    for (;;) {
        int size = zmq_recv(socket, self->bytes, sizeof self->bytes, 0);
        assert_true(size >= 0 && (size_t) size <= sizeof self->bytes);
        int more = 0;
        size_t more_size = sizeof more;
        zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &more_size);
        if (more) {
            zmq_msg_t rest;
            zmq_msg_init(&rest);
            assert_true(zmq_msg_recv(&rest, socket, 0) >= 0);
            zmq_msg_close(&rest);
        }
        weft_slice_t bytes = weft_slice(self->bytes, (size_t) size);
        struct weft_request_header push;
        if (weft_request_header_decode(bytes, &push, NULL) != WEFT_OK) return bytes;
    }
}

static weft_err_t s_answer(struct fixture *self, void *socket)
{
    struct weft_reply_header header;
    assert_ok(weft_reply_header_decode(&self->codec, s_receive(self, socket), &header, NULL));
    return header.error;
}

static double s_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static void s_register(struct fixture *self, uint8_t incarnation)
{
    struct weft_broker_register_request request;
    weft_err_t err;
    double deadline = s_seconds() + S_PATIENCE_MS / 1e3;
    do {
        weft_broker_register_request_init(&request);
        weft_slice_t endpoint = weft_slice_text("tcp://127.0.0.1:1");
        request.id = ++self->id;
        request.broker_id = 1;
        request.incarnation.bytes[0] = incarnation;
        request.endpoints = &endpoint;
        request.endpoints_count = 1;
        weft_broker_register_request_encode(&request, &self->header);
        s_send(self, self->broker);
        err = s_answer(self, self->broker);
    } while (err == WEFT_ERR_COORDINATOR_LOADING && s_seconds() < deadline);
    assert_ok(err);
}

static void s_ask_create(struct fixture *self, uint32_t number)
{
    char name[16];
    snprintf(name, sizeof name, "t%u", number);
    struct weft_topic_create_request request;
    weft_topic_create_request_init(&request);
    request.id = ++self->id;
    request.topic = weft_slice_text(name);
    weft_topic_create_request_encode(&request, &self->header);
    s_send(self, self->client);
}

static bool s_exists(struct fixture *self, uint32_t number)
{
    char name[16];
    snprintf(name, sizeof name, "t%u", number);
    struct weft_topic_describe_request request;
    weft_topic_describe_request_init(&request);
    request.id = ++self->id;
    request.topic = weft_slice_text(name);
    weft_topic_describe_request_encode(&request, &self->header);
    s_send(self, self->client);
    return s_answer(self, self->client) == WEFT_OK;
}

// ---- tests

static void test_coordinator_net__kill_9_loses_nothing_it_answered(void **state)
{
    struct fixture *self = *state;
    uint32_t made = 0, acked[2000];
    size_t acked_count = 0;
    for (uint8_t life = 1; life <= 6; life++) {
        double began = s_seconds();
        s_up(self);
        s_register(self, life);
        print_message("life %u: serving after %.0f ms\n", life, (s_seconds() - began) * 1e3);
        for (size_t i = 0; i < acked_count; i++) assert_true(s_exists(self, acked[i])); // I1, I9
        uint32_t asked = made + 60;
        for (uint32_t i = made; i < asked; i++) s_ask_create(self, i);
        for (uint32_t i = 0; i < 30u + life; i++) { // the others are killed under way
            assert_ok(s_answer(self, self->client));
            acked[acked_count++] = made + i;
        }
        made = asked;
        s_kill(self);
    }
}

static void test_coordinator_net__many_in_flight_share_their_syncs(void **state)
{
    struct fixture *self = *state;
    s_up(self);
    s_register(self, 1);
    double began = s_seconds();
    enum { COUNT = 2000, IN_FLIGHT = 256 };
    for (uint32_t i = 0; i < COUNT + IN_FLIGHT; i++) {
        if (i < COUNT) s_ask_create(self, i);
        if (i >= IN_FLIGHT) assert_ok(s_answer(self, self->client));
    }
    print_message("%d creations, %d in flight: %.0f a second\n", COUNT, IN_FLIGHT, COUNT / (s_seconds() - began));
    s_kill(self);
}

#define TEST(test_of__promise) cmocka_unit_test_setup_teardown(test_of__promise, s_setup, s_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_coordinator_net__kill_9_loses_nothing_it_answered),
        TEST(test_coordinator_net__many_in_flight_share_their_syncs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
