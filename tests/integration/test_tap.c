// SPDX-License-Identifier: MPL-2.0
// The tap over real sockets: streams, replays, and requesters that behave badly. Restarts under load, slow subscribers
// and memory: tests/system/test_tap.py.
#include "client_cluster.h"

#include <poll.h>
#include <time.h>
#include <weft/node.h>
#include <zmq.h>

#define S_END UINT64_MAX
#define S_SOCKETS_MAX 256
#define S_HEARERS 128

static void *s_zmq;
static char s_pub[64], s_replay[64];
static weft_hosted_node_t *s_running;  // the tap of the test
static void *s_sockets[S_SOCKETS_MAX]; // its sockets
static size_t s_socket_count;

static void s_stop(void)
{
    assert_ok(weft_node_stop(&s_running));
}

static weft_hosted_node_t *s_serving(void)
{
    struct weft_error error = {0};
    if (weft_node_wait_serving(s_running, 20000, &error) != WEFT_OK) fail_msg("%s", error.text);
    return s_running;
}

static weft_hosted_node_t *s_tap(const char *topic, const char *a, const char *b, const char *c)
{
    static int s_port = 0;
    char topic_setting[64], listen[80], replay[80];
    snprintf(topic_setting, sizeof topic_setting, "topic=%s", topic);
    struct weft_error error = {0};
    weft_err_t err = WEFT_ERR_ENDPOINT_IN_USE;
    for (int tries = 0; tries < 20 && err == WEFT_ERR_ENDPOINT_IN_USE; tries++) {
        s_port = s_port ? s_port + 2 : 33000 + getpid() * 13 % 12000;
        snprintf(s_pub, sizeof s_pub, "tcp://127.0.0.1:%d", s_port);
        snprintf(s_replay, sizeof s_replay, "tcp://127.0.0.1:%d", s_port + 1);
        snprintf(listen, sizeof listen, "listen=%s", s_pub);
        snprintf(replay, sizeof replay, "replay=%s", s_replay);
        err = weft_node_start("tap", (const char *[]){s_bootstrap, topic_setting, listen, replay, a, b, c, NULL},
                              &s_running, &error);
    }
    if (err) fail_msg("%s", error.text);
    assert_string_equal(weft_node_endpoint(s_running), s_pub);
    return s_serving();
}

struct counted {
    const char *name;
    uint64_t value;
    bool found;
};

static void s_one_counter(void *context, const char *source, const char *name, const char *doc, uint64_t value)
{
    struct counted *counted = context;
    if (strcmp(name, counted->name) == 0) {
        counted->value = value;
        counted->found = true;
    }
}

static uint64_t s_counter(weft_hosted_node_t *tap, const char *name)
{
    struct counted counted = {.name = name};
    weft_node_counters(tap, s_one_counter, &counted);
    assert_true(counted.found);
    return counted.value;
}

static void s_wait_counter(weft_hosted_node_t *tap, const char *name, uint64_t value)
{
    for (int i = 0; i < 2000 && s_counter(tap, name) < value; i++) poll(NULL, 0, 10);
    if (s_counter(tap, name) < value) fail_msg("%s is %llu", name, (unsigned long long) s_counter(tap, name));
}

// Closed when the test ends, however it does: the context could not end otherwise.
static void *s_socket_of(void *context, int kind)
{
    assert_true(s_socket_count < S_SOCKETS_MAX);
    void *socket = zmq_socket(context, kind);
    assert_non_null(socket);
    s_sockets[s_socket_count++] = socket;
    int linger = 0, timeout_ms = 20000;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &timeout_ms, sizeof timeout_ms);
    if (kind == ZMQ_SUB) zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0);
    return socket;
}

static void *s_socket(int kind, const char *endpoint)
{
    void *socket = s_socket_of(s_zmq, kind);
    assert_int_equal(zmq_connect(socket, endpoint), 0);
    return socket;
}

// A requester that takes next to nothing as long as it does not read.
static void *s_deaf(void)
{
    void *socket = s_socket_of(s_zmq, ZMQ_DEALER);
    int few = 1, small = 4096;
    zmq_setsockopt(socket, ZMQ_RCVHWM, &few, sizeof few);
    zmq_setsockopt(socket, ZMQ_RCVBUF, &small, sizeof small);
    assert_int_equal(zmq_connect(socket, s_replay), 0);
    return socket;
}

static void s_close(void *socket)
{
    for (size_t i = 0; i < s_socket_count; i++)
        if (s_sockets[i] == socket) s_sockets[i] = s_sockets[--s_socket_count];
    zmq_close(socket);
}

struct message {
    int frames;
    char topic[64]; // of three frames, or of the reply with its topic
    uint64_t sequence;
    char payload[128];
};

// A message of PUB or of a replay: the last two frames are sequence and payload.
static struct message s_receive(void *socket)
{
    struct message message = {0};
    char parts[6][128] = {{0}};
    int sizes[6], more = 1;
    size_t more_bytes = sizeof more;
    for (; more; message.frames++) {
        assert_true(message.frames < 6);
        int size = zmq_recv(socket, parts[message.frames], sizeof parts[0] - 1, 0); // cut if longer
        if (size < 0) fail_msg("%s", zmq_strerror(zmq_errno()));
        sizes[message.frames] = size;
        zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &more_bytes);
    }
    assert_true(message.frames >= 2);
    assert_int_equal(sizes[message.frames - 2], 8);
    for (int i = 0; i < 8; i++) message.sequence = message.sequence << 8 | (uint8_t) parts[message.frames - 2][i];
    memcpy(message.payload, parts[message.frames - 1], 128);
    if (message.frames > 2) memcpy(message.topic, parts[message.frames - 3], 64);
    return message;
}

static void s_send_sequence(void *socket, uint64_t sequence)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t) (sequence >> (56 - 8 * i));
    zmq_send(socket, bytes, 8, 0);
}

// As a DEALER asks: an empty frame first. topic NULL: the plain form.
static void s_ask(void *dealer, const char *topic, uint64_t start)
{
    zmq_send(dealer, "", 0, ZMQ_SNDMORE);
    if (topic) zmq_send(dealer, topic, strlen(topic), ZMQ_SNDMORE);
    s_send_sequence(dealer, start);
}

// Reads a replay to its end; checks that it runs from `first` on without a gap. Returns what comes after the last one.
static uint64_t s_read_replay(void *dealer, uint64_t first, int frames)
{
    uint64_t next = first;
    for (;;) {
        struct message message = s_receive(dealer);
        assert_int_equal(message.frames, frames);
        if (message.sequence == S_END) {
            assert_string_equal(message.payload, "");
            return next;
        }
        assert_int_equal(message.sequence, next);
        next++;
    }
}

static size_t s_pad_bytes; // more bytes of each value, behind its number

static void s_fill(const char *topic, int32_t partition, int first, int count)
{
    weft_producer_t *producer = s_producer(NULL, NULL, NULL);
    weft_topic_t *handle = s_topic(producer, topic);
    for (int i = first; i < first + count; i++) {
        char value[2048] = {0};
        size_t bytes = (size_t) snprintf(value, sizeof value, "%d", i) + s_pad_bytes;
        assert_ok(weft_producer_send_wait(producer, handle, partition, WEFT_SLICE_NIL, weft_bytes(value, bytes), NULL,
                                          20000));
    }
    assert_ok(weft_producer_flush(producer, 20000));
    weft_producer_destroy(&producer);
}

static int s_tap_setup(void **state)
{
    s_zmq = zmq_ctx_new();
    return s_setup(state);
}

// Also after a test that failed halfway.
static int s_after_each(void **state)
{
    while (s_socket_count > 0) zmq_close(s_sockets[--s_socket_count]);
    s_pad_bytes = 0;
    return weft_node_stop(&s_running) == WEFT_OK ? 0 : -1;
}

static int s_tap_teardown(void **state)
{
    zmq_ctx_term(s_zmq);
    return s_teardown(state);
}

static void test_tap__a_topic_is_published_with_its_offsets_as_sequence(void **state)
{
    s_create("plain", 1);
    s_fill("plain", 0, 0, 10);
    weft_hosted_node_t *tap = s_tap("plain", "from=4", NULL, NULL);
    void *sub = s_socket(ZMQ_SUB, s_pub); // publishing begins with the first subscription
    s_wait_counter(tap, "published_count", 6);
    s_fill("plain", 0, 10, 5);
    for (uint64_t i = 4; i < 15; i++) {
        struct message message = s_receive(sub);
        char value[32];
        snprintf(value, sizeof value, "%d", (int) i);
        assert_int_equal(message.frames, 3);
        assert_string_equal(message.topic, "plain");
        assert_int_equal(message.sequence, i);
        assert_string_equal(message.payload, value);
    }
    assert_int_equal(s_counter(tap, "subscriptions_count"), 1);
    s_stop();
}

static void test_tap__replays_run_from_any_sequence_to_what_was_published(void **state)
{
    s_create("replayed", 1);
    s_fill("replayed", 0, 0, 5000);
    s_tap("replayed", NULL, NULL, NULL); // from=latest: all of it counts as published
    void *dealer = s_socket(ZMQ_DEALER, s_replay);
    s_ask(dealer, NULL, 0);
    assert_int_equal(s_read_replay(dealer, 0, 3), 5000);
    s_ask(dealer, NULL, 4990);
    assert_int_equal(s_read_replay(dealer, 4990, 3), 5000);
    s_ask(dealer, NULL, 5000); // nothing is missing
    assert_int_equal(s_read_replay(dealer, 5000, 3), 5000);
    s_ask(dealer, NULL, S_END);
    assert_int_equal(s_read_replay(dealer, 7, 3), 7);
    s_ask(dealer, "replayed", 4999); // who names the stream gets it named
    struct message message = s_receive(dealer);
    assert_int_equal(message.frames, 4);
    assert_string_equal(message.topic, "replayed");
    assert_int_equal(message.sequence, 4999);
    assert_int_equal(s_receive(dealer).sequence, S_END);
    s_send_sequence(dealer, 4998); // without the empty frame: answered without it
    assert_int_equal(s_read_replay(dealer, 4998, 2), 5000);
    s_stop();
}

// Nobody subscribes: nothing is published, but all of it can be asked for.
static void test_tap__without_subscribers_replays_run_to_the_end_of_the_log(void **state)
{
    s_create("alone", 1);
    weft_hosted_node_t *tap = s_tap("alone", "announce.ms=-1", NULL, NULL);
    void *dealer = s_socket(ZMQ_DEALER, s_replay), *req = s_socket(ZMQ_REQ, s_replay);
    s_ask(dealer, NULL, 0);
    assert_int_equal(s_read_replay(dealer, 0, 3), 0);
    for (int round = 0; round < 3; round++) {
        s_fill("alone", 0, 1000 * round, 1000);
        s_ask(dealer, NULL, 0);
        assert_int_equal(s_read_replay(dealer, 0, 3), 1000 * (uint64_t) (round + 1));
        s_ask(dealer, NULL, 990);
        s_ask(dealer, NULL, 1000 * (uint64_t) (round + 1)); // an end each
        while (s_receive(dealer).sequence != S_END) {}
        while (s_receive(dealer).sequence != S_END) {}
        s_send_sequence(req, 1000 * (uint64_t) (round + 1) - 1);
        assert_int_equal(s_receive(req).sequence, 1000 * (round + 1) - 1);
    }
    assert_int_equal(s_counter(tap, "replays_cut_count"), 0);
    assert_int_equal(s_counter(tap, "published_count"), 0);
    void *sub = s_socket(ZMQ_SUB, s_pub);
    for (uint64_t i = 0; i < 3000; i++) assert_int_equal(s_receive(sub).sequence, i); // since the tap's start
    s_stop();
}

static void test_tap__two_requests_at_once_are_both_answered_to_their_end(void **state)
{
    s_create("twice", 1);
    s_fill("twice", 0, 0, 3000);
    s_tap("twice", "replay.topic=true", NULL, NULL);
    void *dealer = s_socket(ZMQ_DEALER, s_replay);
    s_ask(dealer, NULL, 1000);
    s_ask(dealer, NULL, 10);
    uint64_t seen = 1000, ends = 0;
    bool have[3000] = {false};
    while (ends < 2) {
        struct message message = s_receive(dealer);
        assert_int_equal(message.frames, 4); // [][topic][sequence][payload]
        if (message.sequence == S_END) {
            ends++;
            assert_string_equal(message.topic, "");
        } else {
            have[message.sequence] = true;
        }
        seen++;
    }
    for (int i = 10; i < 3000; i++) assert_true(have[i]);
    s_stop();
}

static void test_tap__a_req_socket_gets_one_record_a_request(void **state)
{
    s_create("req", 1);
    s_fill("req", 0, 0, 4);
    s_tap("req", NULL, NULL, NULL);
    void *req = s_socket(ZMQ_REQ, s_replay);
    for (uint64_t i = 0; i <= 4; i++) {
        s_send_sequence(req, i);
        struct message message = s_receive(req);
        assert_int_equal(message.frames, 2);
        assert_int_equal(message.sequence, i < 4 ? i : S_END);
    }
    s_stop();
}

static void test_tap__partitions_are_streams_of_their_own(void **state)
{
    s_create("parts", 3);
    for (int32_t i = 0; i < 3; i++) s_fill("parts", i, 100 * i, 3 + i);
    weft_hosted_node_t *tap = s_tap("parts", "from=earliest", "as=kv@pod@model", NULL);
    void *sub = s_socket(ZMQ_SUB, s_pub);
    uint64_t next[3] = {0};
    for (int i = 0; i < 3 + 4 + 5; i++) {
        struct message message = s_receive(sub);
        int stream = strcmp(message.topic, "kv@pod@model") == 0 ? 0 : message.topic[13] - '0';
        assert_in_range(stream, 0, 2);
        if (stream > 0) assert_memory_equal(message.topic, "kv@pod@model/", 13);
        assert_int_equal(message.sequence, next[stream]++);
        assert_int_equal(atoi(message.payload), 100 * stream + (int) message.sequence);
    }
    void *dealer = s_socket(ZMQ_DEALER, s_replay);
    s_ask(dealer, NULL, 0); // the one with the plain name
    assert_int_equal(s_read_replay(dealer, 0, 3), 3);
    s_ask(dealer, "kv@pod@model/2", 1);
    assert_int_equal(s_read_replay(dealer, 1, 4), 5);
    s_ask(dealer, "kv@pod@model/7", 1);
    s_wait_counter(tap, "replays_malformed_count", 1);
    s_close(dealer);
    s_close(sub);
    s_stop();

    tap = s_tap("parts", "partition=2", "from=earliest", NULL);
    dealer = s_socket(ZMQ_DEALER, s_replay);
    sub = s_socket(ZMQ_SUB, s_pub);
    for (uint64_t i = 0; i < 5; i++) {
        struct message message = s_receive(sub);
        assert_string_equal(message.topic, "parts/2");
        assert_int_equal(message.sequence, i);
    }
    s_ask(dealer, NULL, 0); // there is one stream only
    assert_int_equal(s_read_replay(dealer, 0, 3), 5);
    s_stop();
}

// Advances the producer until the socket has something.
static void s_produce_until(weft_producer_t *producer, void *socket)
{
    zmq_pollitem_t items[] = {{socket, 0, ZMQ_POLLIN, 0}, {NULL, weft_producer_fd(producer), ZMQ_POLLIN, 0}};
    for (int i = 0; i < 4000 && !items[0].revents; i++) {
        weft_producer_poll(producer, 0);
        zmq_poll(items, 2, 5);
    }
}

// The others that hear each record give the requester time to ask while the tap is still busy with sending it.
static void test_tap__who_heard_a_record_gets_it_replayed(void **state)
{
    s_create("heard", 1);
    struct weft_error error = {0};
    weft_err_t err = weft_node_start("tap",
                                     (const char *[]){s_bootstrap, "topic=heard", "listen=inproc://heard-live",
                                                      "replay=inproc://heard-replay", "announce.ms=-1", NULL},
                                     &s_running, &error);
    if (err) fail_msg("%s", error.text);
    weft_hosted_node_t *tap = s_serving();
    void *subs[S_HEARERS], *dealer = s_socket_of(weft_zmq_context(), ZMQ_DEALER);
    assert_int_equal(zmq_connect(dealer, "inproc://heard-replay"), 0);
    for (int i = 0; i < S_HEARERS; i++) {
        subs[i] = s_socket_of(weft_zmq_context(), ZMQ_SUB);
        assert_int_equal(zmq_connect(subs[i], "inproc://heard-live"), 0);
    }
    s_wait_counter(tap, "subscriptions_count", S_HEARERS);
    weft_producer_t *producer = s_producer("linger.ms=0", NULL, NULL);
    weft_topic_t *topic = s_topic(producer, "heard");
    for (uint64_t i = 0; i < 300; i++) {
        assert_ok(weft_producer_send(producer, topic, 0, WEFT_SLICE_NIL, weft_text("x"), NULL));
        s_produce_until(producer, subs[0]);
        assert_int_equal(s_receive(subs[0]).sequence, i);
        s_ask(dealer, NULL, i);
        uint64_t next = s_read_replay(dealer, i, 3);
        if (next != i + 1) fail_msg("%d was heard, but its replay ended before it", (int) i);
        for (int k = 1; k < S_HEARERS; k++) assert_int_equal(s_receive(subs[k]).sequence, i);
    }
    assert_ok(weft_producer_flush(producer, 20000));
    weft_producer_destroy(&producer);
    s_stop();
}

static void test_tap__a_silent_stream_repeats_its_last_record_for_who_comes(void **state)
{
    s_create("silent", 1);
    s_fill("silent", 0, 0, 7);
    s_tap("silent", "announce.ms=10", NULL, NULL);
    void *sub = s_socket(ZMQ_SUB, s_pub);
    assert_int_equal(s_receive(sub).sequence, 6);
    void *other = s_socket(ZMQ_SUB, s_pub);
    assert_int_equal(s_receive(other).sequence, 6);
    assert_int_equal(s_receive(sub).sequence, 6); // never an older one
    s_fill("silent", 0, 7, 1);
    assert_int_equal(s_receive(other).sequence, 7);
    assert_int_equal(s_receive(sub).sequence, 7);
    s_stop();
}

// The cluster is away while the record is read anew: however long that takes, it is the last one that comes.
static void test_tap__a_repetition_that_takes_long_goes_back_no_further(void **state)
{
    s_create("patient", 1);
    s_fill("patient", 0, 0, 50);
    weft_hosted_node_t *tap = s_tap("patient", "announce.ms=1", NULL, NULL);
    void *sub = s_socket(ZMQ_SUB, s_pub);
    assert_int_equal(s_receive(sub).sequence, 49);
    assert_ok(weft_embedded_stop(&s_cluster));
    void *others[3];
    for (int i = 0; i < 3; i++) {
        others[i] = s_socket(ZMQ_SUB, s_pub);
        s_wait_counter(tap, "subscribed_count", (uint64_t) i + 2);
    }
    for (int i = 0; i < 2000 && weft_node_health(tap, NULL, 0) != WEFT_HEALTH_DEGRADED; i++) poll(NULL, 0, 10);
    assert_int_equal(weft_node_health(tap, NULL, 0), WEFT_HEALTH_DEGRADED);
    assert_in_range(s_counter(tap, "announced_count"), 1, 2); // the one under way is for all of them
    s_start();
    for (int i = 0; i < 3; i++) assert_int_equal(s_receive(others[i]).sequence, 49);
    s_fill("patient", 0, 50, 1);
    uint64_t sequence = 49;
    while (sequence == 49) sequence = s_receive(sub).sequence;
    assert_int_equal(sequence, 50);
    void *dealer = s_socket(ZMQ_DEALER, s_replay);
    s_ask(dealer, NULL, 0);
    assert_int_equal(s_read_replay(dealer, 0, 3), 51);
    s_stop();
}

static void test_tap__whole_records_are_msgpack(void **state)
{
    s_create("whole", 1);
    const int64_t now_ms = (int64_t) time(NULL) * 1000; // an old one would be retention's
    weft_producer_t *producer = s_producer(NULL, NULL, NULL);
    weft_headers_t *headers = weft_headers_new();
    weft_headers_add(headers, "h", weft_text("x"));
    struct weft_send_extra extra = {.headers = weft_headers_encoded(headers), .timestamp_ms = now_ms};
    assert_ok(weft_producer_send(producer, s_topic(producer, "whole"), 0, weft_text("k"), WEFT_SLICE_NIL, &extra));
    assert_ok(weft_producer_flush(producer, 20000));
    weft_headers_destroy(&headers);
    weft_producer_destroy(&producer);
    s_tap("whole", "payload=record", "from=earliest", NULL);
    void *sub = s_socket(ZMQ_SUB, s_pub);
    struct message message = s_receive(sub);
    // [offset 0, timestamp, key "k", value nil, headers ["h", "x"]]
    uint8_t expected[] = {0x95, 0xd3, 0, 0, 0, 0,    0, 0, 0, 0, 0xd3, 0,    0,   0,
                          0,    0,    0, 0, 0, 0xc6, 0, 0, 0, 1, 'k',  0xc0, 0x92};
    for (int i = 0; i < 8; i++) expected[11 + i] = (uint8_t) (now_ms >> (56 - 8 * i));
    assert_memory_equal(message.payload, expected, sizeof expected);
    s_stop();
}

static void test_tap__malformed_requests_are_counted_and_harm_nobody(void **state)
{
    s_create("bad", 1);
    s_fill("bad", 0, 0, 100);
    weft_hosted_node_t *tap = s_tap("bad", NULL, NULL, NULL);
    void *dealer = s_socket(ZMQ_DEALER, s_replay), *sub = s_socket(ZMQ_XSUB, s_pub);
    zmq_send(dealer, "", 0, 0);
    zmq_send(dealer, "seven..", 7, 0);
    zmq_send(dealer, "", 0, ZMQ_SNDMORE);
    zmq_send(dealer, "123456789", 9, 0);
    for (int i = 0; i < 40; i++) zmq_send(dealer, "12345678", 8, i < 39 ? ZMQ_SNDMORE : 0);
    zmq_send(sub, "\2nonsense", 9, 0);
    s_wait_counter(tap, "replays_malformed_count", 4);
    s_wait_counter(tap, "bad_subscriptions_count", 1);
    s_ask(dealer, NULL, 90);
    assert_int_equal(s_read_replay(dealer, 90, 3), 100);
    s_stop();
}

// Nothing may be changed in libzmq's queues while connections end: it crashed.
static void test_tap__subscribers_come_and_go_while_sizes_change(void **state)
{
    s_create("churn", 1);
    weft_hosted_node_t *tap = s_tap("churn", "subscriber.bytes=64KiB", "announce.ms=-1", NULL);
    void *others[8] = {NULL};
    int published = 0;
    for (int round = 0; round < 150; round++) {
        void **other = &others[round % 8];
        if (*other) s_close(*other);
        *other = s_socket(ZMQ_SUB, s_pub);
        s_pad_bytes = round % 2 ? 0 : 1500;
        s_fill("churn", 0, published, 20);
        published += 20;
    }
    s_wait_counter(tap, "published_count", (uint64_t) published);
    void *dealer = s_socket(ZMQ_DEALER, s_replay);
    s_ask(dealer, NULL, 0);
    assert_int_equal(s_read_replay(dealer, 0, 3), published);
    s_stop();
}

// Reads replays of several requesters at once, each to its end.
static void s_read_replays(void *const *dealers, uint64_t *next, int count, uint64_t end)
{
    zmq_pollitem_t items[16];
    for (int i = 0; i < count; i++) items[i] = (zmq_pollitem_t){dealers[i], 0, ZMQ_POLLIN, 0};
    for (int open = count; open > 0;) {
        assert_true(zmq_poll(items, count, 20000) > 0);
        for (int i = 0; i < count; i++) {
            for (int few = 0; few < 100 && items[i].revents; few++) {
                struct message message = s_receive(dealers[i]);
                if (message.sequence == S_END) {
                    assert_int_equal(next[i], end);
                    items[i].events = 0;
                    open--;
                } else {
                    assert_int_equal(message.sequence, next[i]++);
                }
                items[i].revents = 0;
                if (items[i].events) zmq_poll(&items[i], 1, 0);
            }
        }
    }
}

static void test_tap__requesters_that_never_read_or_vanish_hold_up_nobody(void **state)
{
    s_create("many", 1);
    s_pad_bytes = 1000; // 20 MB: more than what the kernel takes for a connection
    s_fill("many", 0, 0, 20000);
    weft_hosted_node_t *tap = s_tap("many", "replay.bytes=256KiB", "replay.stall.ms=3s", "replay.readers=1");
    void *dealers[10];
    uint64_t next[10];
    for (int i = 0; i < 8; i++) s_ask(s_deaf(), NULL, 0);
    for (int i = 0; i < 10; i++) {
        void *gone = s_socket(ZMQ_DEALER, s_replay);
        s_ask(gone, NULL, 0);
        assert_int_equal(s_receive(gone).sequence, 0);
        s_close(gone);
    }
    for (int i = 0; i < 10; i++) {
        next[i] = (uint64_t) (17000 + 100 * i); // megabytes: more than one turn
        dealers[i] = s_socket(ZMQ_DEALER, s_replay);
        s_ask(dealers[i], NULL, next[i]);
    }
    s_read_replays(dealers, next, 10, 20000);
    s_wait_counter(tap, "replays_stalled_count", 8);
    s_stop();
}

static void test_tap__more_requesters_than_allowed_are_counted(void **state)
{
    s_create("full", 1);
    s_pad_bytes = 1900;
    s_fill("full", 0, 0, 8000);
    weft_hosted_node_t *tap = s_tap("full", "replay.requesters=1", "replay.bytes=64KiB", NULL);
    void *first = s_deaf(), *second = s_socket(ZMQ_DEALER, s_replay);
    s_ask(first, NULL, 0);
    assert_int_equal(s_receive(first).sequence, 0);
    s_ask(second, NULL, 0);
    s_wait_counter(tap, "replays_refused_count", 1);
    s_close(first);
    for (int i = 0; i < 2000 && s_counter(tap, "replays_active_count") > 0; i++) poll(NULL, 0, 10);
    s_ask(second, NULL, 7000); // it has its place now
    assert_int_equal(s_read_replay(second, 7000, 3), 8000);
    s_stop();
}

static void test_tap__wrong_settings_are_refused_with_a_sentence(void **state)
{
    static const char *const wrong[][2] = {{"from=somewhere", "from=somewhere"}, {"consumer=group=g", "group"},
                                           {"consumer=nonsense=1", "nonsense"},  {"listen=nowhere", "listen=nowhere"},
                                           {"topic=no topic", "topic"},          {"topic=", "topic is not set"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        weft_hosted_node_t *tap = NULL;
        struct weft_error error = {0};
        const char *settings[] = {s_bootstrap, "topic=t", "listen=tcp://127.0.0.1:*", "replay=", wrong[i][0], NULL};
        assert_int_not_equal(weft_node_start("tap", settings, &tap, &error), WEFT_OK);
        if (!strstr(error.text, wrong[i][1])) fail_msg("'%s' does not say '%s'", error.text, wrong[i][1]);
    }
}

#define S_TEST(name) cmocka_unit_test_teardown(name, s_after_each)

int main(void)
{
    const struct CMUnitTest tests[] = {
        S_TEST(test_tap__a_topic_is_published_with_its_offsets_as_sequence),
        S_TEST(test_tap__replays_run_from_any_sequence_to_what_was_published),
        S_TEST(test_tap__without_subscribers_replays_run_to_the_end_of_the_log),
        S_TEST(test_tap__two_requests_at_once_are_both_answered_to_their_end),
        S_TEST(test_tap__a_req_socket_gets_one_record_a_request),
        S_TEST(test_tap__partitions_are_streams_of_their_own),
        S_TEST(test_tap__who_heard_a_record_gets_it_replayed),
        S_TEST(test_tap__a_silent_stream_repeats_its_last_record_for_who_comes),
        S_TEST(test_tap__a_repetition_that_takes_long_goes_back_no_further),
        S_TEST(test_tap__whole_records_are_msgpack),
        S_TEST(test_tap__malformed_requests_are_counted_and_harm_nobody),
        S_TEST(test_tap__subscribers_come_and_go_while_sizes_change),
        S_TEST(test_tap__requesters_that_never_read_or_vanish_hold_up_nobody),
        S_TEST(test_tap__more_requesters_than_allowed_are_counted),
        S_TEST(test_tap__wrong_settings_are_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, s_tap_setup, s_tap_teardown);
}
