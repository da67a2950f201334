// SPDX-License-Identifier: MPL-2.0
// A broker and a coordinator on real sockets, threads and disk; the clients are bare ZeroMQ sockets, as anybody's
// would be.
#include "tests/support/test.h"

#include "lib/net/handover.h"
#include "lib/net/runtime.h"
#include "nodes/broker/counters.h"

#include <weft_gen/config.h>
#include <weft_gen/limits.h>
#include <weft_gen/messages.h>

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

#define S_PATIENCE_MS 10000

struct s_cluster {
    char directory[WEFT_TEST_PATH_BYTES];
    weft_runtime_t *runtime;
    struct weft_node *coordinator, *broker;
    void *zmq;    // the clients' context
    void *dealer; // to the broker
    weft_codec_t codec;
    weft_buf_t header, batch;
    uint64_t next_id;
    struct weft_error error;
};

static struct s_cluster s_cluster;

// ---- clients

static void *s_connect(struct s_cluster *self, void *context, int type, const char *endpoint)
{
    void *socket = zmq_socket(context != NULL ? context : self->zmq, type);
    const int patience = S_PATIENCE_MS, linger = 0;
    assert_non_null(socket);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience, sizeof patience);
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    assert_int_equal(zmq_connect(socket, endpoint), 0);
    return socket;
}

static void s_send(struct s_cluster *self, void *socket, weft_slice_t data)
{
    weft_handover_give();
    assert_true(zmq_send(socket, self->header.data, self->header.size, data.size != 0 ? ZMQ_SNDMORE : 0) >= 0);
    if (data.size != 0) assert_true(zmq_send(socket, data.data, data.size, 0) >= 0);
}

// Header and data of the next reply; false: none came in time.
static bool s_receive(void *socket, weft_buf_t *header, weft_buf_t *data)
{
    weft_buf_t *parts[] = {header, data};
    weft_buf_clear(header);
    weft_buf_clear(data);
    int more = 1;
    for (size_t i = 0; more != 0; i++) {
        zmq_msg_t part;
        size_t size = sizeof more;
        zmq_msg_init(&part);
        if (zmq_msg_recv(&part, socket, 0) < 0) return false;
        weft_handover_take();
        assert_true(i < 2);
        weft_buf_append(parts[i], zmq_msg_data(&part), zmq_msg_size(&part));
        zmq_msg_close(&part);
        zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size);
    }
    return true;
}

static void s_ask_produce(struct s_cluster *self, void *socket, const char *acks, bool durable, weft_slice_t data)
{
    struct weft_produce_request request;
    weft_produce_request_init(&request);
    request.id = self->next_id++;
    request.topic = weft_slice_text("orders");
    request.acks = weft_slice_text(acks);
    request.durable = durable;
    weft_buf_clear(&self->header);
    weft_produce_request_encode(&request, &self->header);
    s_send(self, socket, data);
}

static struct weft_produce_reply s_take_produced(struct s_cluster *self, void *socket)
{
    static weft_buf_t header, data;
    struct weft_produce_reply reply;
    assert_true(s_receive(socket, &header, &data));
    assert_ok(weft_produce_reply_decode(&self->codec, weft_buf_slice(&header), &reply, &self->error));
    return reply;
}

static struct weft_produce_reply s_produce(struct s_cluster *self, void *socket, const char *acks, uint32_t count)
{
    weft_test_batch(&self->batch, 0, 0, count, 100);
    s_ask_produce(self, socket, acks, true, weft_buf_slice(&self->batch));
    return s_take_produced(self, socket);
}

static void s_ask_fetch(struct s_cluster *self, void *socket, int64_t offset, uint32_t max_wait_ms)
{
    struct weft_fetch_request request;
    weft_fetch_request_init(&request);
    request.id = self->next_id++;
    request.topic = weft_slice_text("orders");
    request.offset = offset;
    request.max_wait_ms = max_wait_ms;
    weft_buf_clear(&self->header);
    weft_fetch_request_encode(&request, &self->header);
    s_send(self, socket, WEFT_SLICE_NIL);
}

// Records in the next fetch reply, every batch verified.
static uint32_t s_take_fetched(struct s_cluster *self, void *socket)
{
    static weft_buf_t header, data;
    struct weft_fetch_reply reply;
    assert_true(s_receive(socket, &header, &data));
    assert_ok(weft_fetch_reply_decode(&self->codec, weft_buf_slice(&header), &reply, &self->error));
    assert_ok(reply.header.error);
    uint32_t records = 0;
    for (weft_slice_t rest = weft_buf_slice(&data); rest.size != 0;) {
        struct weft_batch batch;
        assert_ok(weft_batch_verify(rest, &batch));
        records += batch.count;
        rest = weft_slice(rest.data + weft_batch_bytes(&batch), rest.size - weft_batch_bytes(&batch));
    }
    return records;
}

// ---- the cluster

static void s_wait_serving(const struct weft_node *node)
{
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    for (int i = 0; i < S_PATIENCE_MS; i++) {
        if (node->type->health(node, sentence, sizeof sentence) == WEFT_HEALTH_SERVING) return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); // allow-sleep: pace of a deadline
    }
    fail_msg("%s does not serve: %s", node->name, sentence);
}

static struct weft_node *s_node(struct s_cluster *self, const struct weft_parts_type *type, const char *const *pairs)
{
    struct weft_node *node = NULL;
    weft_options_t *options = weft_options_new(type->options, type->option_count, type->name);
    assert_ok(weft_options_set(options, "data", weft_test_path(self->directory, type->name), &self->error));
    for (; *pairs != NULL; pairs++) assert_ok(weft_options_set_pair(options, *pairs, &self->error));
    const weft_world_t *world = weft_runtime_world(self->runtime);
    weft_err_t code = type->create(world, options, &node, &self->error);
    if (code != WEFT_OK) print_error("%s\n", self->error.text);
    assert_ok(code);
    weft_options_destroy(&options);
    world->ops->start(world->self);
    return node;
}

static void s_broker_up(struct s_cluster *self, const char *listen)
{
    char coordinators[WEFT_ENDPOINT_BYTES_MAX + 16], listens[WEFT_ENDPOINT_BYTES_MAX + 16];
    snprintf(coordinators, sizeof coordinators, "coordinators=%s", self->coordinator->endpoint);
    snprintf(listens, sizeof listens, "listen=%s", listen);
    self->broker = s_node(self, &weft_node_broker, (const char *const[]){coordinators, listens, NULL});
    s_wait_serving(self->broker);
    self->dealer = s_connect(self, NULL, ZMQ_DEALER, self->broker->endpoint);
}

static void s_broker_down(struct s_cluster *self)
{
    zmq_close(self->dealer);
    assert_ok(weft_runtime_stop_node(self->runtime, &self->broker, S_PATIENCE_MS * 1000));
}

static void s_create_topic(struct s_cluster *self)
{
    static weft_buf_t header, data;
    struct weft_topic_create_request request;
    struct weft_topic_create_reply reply;
    void *socket = s_connect(self, NULL, ZMQ_DEALER, self->coordinator->endpoint);
    weft_topic_create_request_init(&request);
    request.topic = weft_slice_text("orders");
    weft_buf_clear(&self->header);
    weft_topic_create_request_encode(&request, &self->header);
    s_send(self, socket, WEFT_SLICE_NIL);
    assert_true(s_receive(socket, &header, &data));
    assert_ok(weft_topic_create_reply_decode(&self->codec, weft_buf_slice(&header), &reply, &self->error));
    assert_ok(reply.header.error);
    zmq_close(socket);
    // The push to the broker is on its way: ask until the partition is led.
    for (int i = 0; i < S_PATIENCE_MS; i++) {
        s_ask_fetch(self, self->dealer, 0, 0);
        struct weft_reply_header fetched;
        assert_true(s_receive(self->dealer, &header, &data));
        assert_ok(weft_reply_header_decode(&self->codec, weft_buf_slice(&header), &fetched, &self->error));
        if (fetched.error == WEFT_OK) return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); // allow-sleep: pace of a deadline
    }
    fail_msg("the topic is not led");
}

static int s_setup(void **state)
{
    struct s_cluster *self = *state = &s_cluster;
    memset(self, 0, sizeof *self);
    weft_test_directory_make(self->directory);
    weft_codec_init(&self->codec);
    weft_buf_init(&self->header);
    weft_buf_init(&self->batch);
    self->zmq = zmq_ctx_new();
    assert_ok(weft_runtime_new(&(struct weft_runtime_how){0}, &self->runtime, &self->error));
    self->coordinator = s_node(self, &weft_node_coordinator, (const char *const[]){"listen=tcp://127.0.0.1:*", NULL});
    s_broker_up(self, "tcp://127.0.0.1:*");
    s_create_topic(self);
    return 0;
}

static int s_teardown(void **state)
{
    struct s_cluster *self = *state;
    s_broker_down(self);
    assert_ok(weft_runtime_stop_node(self->runtime, &self->coordinator, S_PATIENCE_MS * 1000));
    weft_runtime_destroy(&self->runtime);
    zmq_ctx_term(self->zmq);
    weft_codec_fini(&self->codec);
    weft_buf_fini(&self->header);
    weft_buf_fini(&self->batch);
    weft_test_directory_remove(self->directory);
    return 0;
}

// ---- tests

static void test_broker_net__records_go_in_and_come_out(void **state)
{
    struct s_cluster *self = *state;
    struct weft_produce_reply reply = s_produce(self, self->dealer, "all", 10);
    assert_ok(reply.header.error);
    assert_slice(reply.level, "durable");
    for (int i = 1; i < 100; i++) assert_int_equal(s_produce(self, self->dealer, "leader", 10).offset, 10 * i);
    s_ask_fetch(self, self->dealer, 0, 0);
    assert_int_equal(s_take_fetched(self, self->dealer), 1000);
}

static void test_broker_net__many_in_flight_are_answered_in_order(void **state)
{
    struct s_cluster *self = *state;
    weft_test_batch(&self->batch, 0, 0, 50, 100);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 16; i++) s_ask_produce(self, self->dealer, "all", i % 2 == 0, weft_buf_slice(&self->batch));
        bool seen[16] = {false};
        for (int i = 0; i < 16; i++) {
            struct weft_produce_reply reply = s_take_produced(self, self->dealer);
            assert_ok(reply.header.error);
            int64_t at = reply.offset / 50 - 16 * round;
            assert_true(at >= 0 && at < 16 && !seen[at]);
            seen[at] = true;
        }
    }
}

static void test_broker_net__parked_fetch_is_woken(void **state)
{
    struct s_cluster *self = *state;
    void *consumer = s_connect(self, NULL, ZMQ_DEALER, self->broker->endpoint);
    s_ask_fetch(self, consumer, 0, 8000);
    assert_int_equal(s_produce(self, self->dealer, "leader", 3).offset, 0);
    assert_int_equal(s_take_fetched(self, consumer), 3);
    zmq_close(consumer);
}

static void test_broker_net__req_is_always_answered(void **state)
{
    struct s_cluster *self = *state;
    void *req = s_connect(self, NULL, ZMQ_REQ, self->broker->endpoint);
    assert_ok(s_produce(self, req, "none", 1).header.error);
    assert_int_equal(s_produce(self, req, "all", 1).offset, 1);
    zmq_close(req);
}

static void test_broker_net__clean_stop_answers_what_waits_and_keeps_all(void **state)
{
    struct s_cluster *self = *state;
    weft_test_batch(&self->batch, 0, 0, 10, 100);
    for (int i = 0; i < 8; i++) s_ask_produce(self, self->dealer, "all", true, weft_buf_slice(&self->batch));
    assert_ok(weft_runtime_stop_node(self->runtime, &self->broker, S_PATIENCE_MS * 1000));
    // Each batch was written and said so, or refused and not written.
    uint32_t written = 0;
    for (int i = 0; i < 8; i++) {
        static weft_buf_t header, data;
        struct weft_produce_reply reply;
        const int patience = 500;
        zmq_setsockopt(self->dealer, ZMQ_RCVTIMEO, &patience, sizeof patience);
        if (!s_receive(self->dealer, &header, &data)) break; // what was still in the socket is nobody's
        assert_ok(weft_produce_reply_decode(&self->codec, weft_buf_slice(&header), &reply, &self->error));
        if (reply.header.error == WEFT_OK) written += 10;
    }
    zmq_close(self->dealer);
    s_broker_up(self, "tcp://127.0.0.1:*");
    s_ask_fetch(self, self->dealer, 0, 1000);
    if (written > 0) {
        assert_int_equal(s_take_fetched(self, self->dealer), written);
    } else {
        static weft_buf_t header, data;
        assert_true(s_receive(self->dealer, &header, &data));
    }
}

static void test_broker_net__oversize_frame_is_cut_off_and_the_others_served(void **state)
{
    struct s_cluster *self = *state;
    void *rude = s_connect(self, NULL, ZMQ_DEALER, self->broker->endpoint);
    weft_buf_t large;
    weft_buf_init(&large);
    weft_buf_reserve(&large, WEFT_FRAME_BYTES_MAX + 1);
    memset(large.data, 0x94, WEFT_FRAME_BYTES_MAX + 1);
    large.size = WEFT_FRAME_BYTES_MAX + 1;
    s_ask_produce(self, rude, "all", true, weft_buf_slice(&large));
    for (int i = 0; i < 10; i++) assert_ok(s_produce(self, self->dealer, "all", 1).header.error);
    zmq_close(rude);
    weft_buf_fini(&large);
}

static void test_broker_net__rubbish_is_answered_and_survived(void **state)
{
    struct s_cluster *self = *state;
    weft_buf_t header, data;
    weft_rand_t rand;
    weft_buf_init(&header);
    weft_buf_init(&data);
    weft_rand_init(&rand, 7);
    for (int i = 0; i < 500; i++) {
        uint8_t bytes[64];
        size_t size = (size_t) weft_rand_below(&rand, sizeof bytes);
        for (size_t k = 0; k < size; k++) bytes[k] = (uint8_t) weft_rand_next(&rand);
        weft_buf_clear(&self->header);
        weft_buf_append(&self->header, bytes, size > 0 ? size : 1);
        s_send(self, self->dealer, i % 3 == 0 ? weft_slice(bytes, size) : WEFT_SLICE_NIL);
        struct weft_reply_header reply;
        assert_true(s_receive(self->dealer, &header, &data));
        assert_ok(weft_reply_header_decode(&self->codec, weft_buf_slice(&header), &reply, &self->error));
        assert_true(reply.error != WEFT_OK);
    }
    assert_ok(s_produce(self, self->dealer, "all", 1).header.error);
    weft_buf_fini(&header);
    weft_buf_fini(&data);
}

static void test_broker_net__a_senders_message_is_not_patched_over_inproc(void **state)
{
    struct s_cluster *self = *state;
    s_broker_down(self);
    char coordinators[WEFT_ENDPOINT_BYTES_MAX + 16];
    snprintf(coordinators, sizeof coordinators, "coordinators=%s", self->coordinator->endpoint);
    self->broker =
        s_node(self, &weft_node_broker, (const char *const[]){coordinators, "listen=inproc://orders-broker", NULL});
    s_wait_serving(self->broker);
    self->dealer = s_connect(self, weft_runtime_zmq(self->runtime), ZMQ_DEALER, "inproc://orders-broker");
    assert_ok(s_produce(self, self->dealer, "all", 1).header.error);
    weft_test_batch(&self->batch, 0, 0, 100, 100);
    zmq_msg_t kept, sent;
    zmq_msg_init_size(&kept, self->batch.size);
    memcpy(zmq_msg_data(&kept), self->batch.data, self->batch.size);
    zmq_msg_init(&sent);
    zmq_msg_copy(&sent, &kept);
    s_ask_produce(self, self->dealer, "none", false, WEFT_SLICE_NIL); // no data: refused, not answered
    struct weft_produce_request request;
    weft_produce_request_init(&request);
    request.topic = weft_slice_text("orders");
    weft_buf_clear(&self->header);
    weft_produce_request_encode(&request, &self->header);
    weft_handover_give();
    assert_true(zmq_send(self->dealer, self->header.data, self->header.size, ZMQ_SNDMORE) >= 0);
    assert_true(zmq_msg_send(&sent, self->dealer, 0) >= 0);
    assert_int_equal(s_take_produced(self, self->dealer).offset, 1);
    assert_memory_equal(zmq_msg_data(&kept), self->batch.data, self->batch.size);
    s_ask_fetch(self, self->dealer, 1, 0);
    assert_int_equal(s_take_fetched(self, self->dealer), 100);
    zmq_msg_close(&kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, s_setup, s_teardown)
        TEST(test_broker_net__records_go_in_and_come_out),
        TEST(test_broker_net__many_in_flight_are_answered_in_order),
        TEST(test_broker_net__parked_fetch_is_woken),
        TEST(test_broker_net__req_is_always_answered),
        TEST(test_broker_net__clean_stop_answers_what_waits_and_keeps_all),
        TEST(test_broker_net__oversize_frame_is_cut_off_and_the_others_served),
        TEST(test_broker_net__rubbish_is_answered_and_survived),
        TEST(test_broker_net__a_senders_message_is_not_patched_over_inproc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
