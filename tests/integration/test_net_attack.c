// SPDX-License-Identifier: MPL-2.0
// Hostile peers on raw TCP and raw ZeroMQ against a live node: garbage, half a handshake, frames beyond the limit, MORE for ever. The node
// lives, serves the others, and what reaches our code is bounded. What libzmq itself holds of a message that never ends is not (ZEROMQ.md, row 1):
// here that is measured, so that a change shows.
#include "tests/support/test.h"
#include "tests/unit/net/parts.h"

#include "lib/net/runtime.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_MAX 65536

struct node {
    weft_runtime_t *runtime;
    struct echo echo;
    weft_part_id_t id;
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    int port;
    void *context;
};

static void s_node_start(struct node *self)
{
    assert_ok(weft_runtime_new(&(struct weft_runtime_how){.io_threads = 1}, &self->runtime, NULL));
    self->echo.part.ops = &echo_ops;
    const weft_world_t *world = weft_runtime_world(self->runtime);
    struct weft_world_part how = {
        .name = "node", .listen = "tcp://127.0.0.1:*", .frame_bytes_max = FRAME_MAX, .peer_bytes_max = 1024 * 1024};
    assert_ok(world->ops->add(world->self, &how, &self->echo.part, &self->id, self->endpoint, NULL));
    world->ops->start(world->self);
    self->port = atoi(strrchr(self->endpoint, ':') + 1);
    self->context = zmq_ctx_new();
}

static void s_node_stop(struct node *self)
{
    zmq_ctx_term(self->context);
    assert_ok(weft_runtime_stop_parts(self->runtime, &self->id, 1, 10000000));
    weft_runtime_destroy(&self->runtime);
}

static uint64_t s_counter(const struct node *self, enum weft_loop_counter which)
{
    return weft_counter_get(weft_runtime_counters(self->runtime, self->id), which);
}

// Somebody else is served, now.
static void s_serves(struct node *self)
{
    void *dealer = peer_new(self->context, ZMQ_DEALER, self->endpoint);
    char text[16];
    zmq_send(dealer, "hello", 5, 0);
    assert_int_equal(peer_receive(dealer, text, sizeof text), 5);
    zmq_close(dealer);
}

// ---- a peer that speaks ZMTP by hand

static int s_connect(const struct node *self)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t) self->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval timeout = {.tv_sec = 5};
    int small = 16384; // what the attacker's kernel may hold of our answers
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof address), 0);
    return fd;
}

static bool s_write(int fd, const void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t written = send(fd, (const char *) data + done, size - done, MSG_NOSIGNAL);
        if (written <= 0) return false;
        done += (size_t) written;
    }
    return true;
}

static void s_read(int fd, size_t size)
{
    char byte;
    for (size_t i = 0; i < size; i++) assert_int_equal(recv(fd, &byte, 1, 0), 1);
}

static const unsigned char s_greeting[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};

// Greeting and NULL handshake of a DEALER; afterwards frames may be written.
static int s_shake_hands(const struct node *self)
{
    static const unsigned char ready[] = "\x04\x1d\x05READY\x0bSocket-Type\x00\x00\x00\x06"
                                         "DEALER";
    int fd = s_connect(self);
    assert_true(s_write(fd, s_greeting, sizeof s_greeting));
    s_read(fd, 64);
    unsigned char frame[64];
    memcpy(frame, ready, sizeof ready - 1);
    frame[1] = (unsigned char) (sizeof ready - 1 - 2);
    assert_true(s_write(fd, frame, sizeof ready - 1));
    unsigned char head[2];
    assert_int_equal(recv(fd, head, 2, MSG_WAITALL), 2);
    s_read(fd, head[1]);
    return fd;
}

static long s_resident_kib(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &pages, &resident), 2);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

// ---- attacks

static void test_attack__garbage_instead_of_a_greeting(void **state)
{
    struct node node = {0};
    s_node_start(&node);
    uint32_t rand = 12345;
    for (int i = 0; i < 50; i++) {
        int fd = s_connect(&node);
        unsigned char bytes[512];
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = (unsigned char) ((rand = rand * 1664525 + 1013904223) >> 24);
        (void) s_write(fd, bytes, sizeof bytes);
        close(fd);
    }
    s_serves(&node);
    s_node_stop(&node);
}

static void test_attack__half_a_handshake_and_silence(void **state)
{
    struct node node = {0};
    s_node_start(&node);
    int silent[50];
    for (int i = 0; i < 50; i++) {
        silent[i] = s_connect(&node);
        assert_true(s_write(silent[i], s_greeting, (size_t) (i % 64)));
    }
    s_serves(&node);
    for (int i = 0; i < 50; i++) close(silent[i]);
    s_node_stop(&node);
}

static void test_attack__garbage_after_the_handshake(void **state)
{
    struct node node = {0};
    s_node_start(&node);
    uint32_t rand = 99;
    for (int i = 0; i < 50; i++) {
        int fd = s_shake_hands(&node);
        unsigned char bytes[4096];
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = (unsigned char) ((rand = rand * 1664525 + 1013904223) >> 24);
        (void) s_write(fd, bytes, sizeof bytes);
        close(fd);
    }
    s_serves(&node);
    s_node_stop(&node);
}

static void test_attack__a_frame_beyond_the_limit_costs_its_connection_only(void **state)
{
    struct node node = {0};
    s_node_start(&node);
    int fd = s_shake_hands(&node);
    const unsigned char huge[9] = {2,    0x7f, 0xff, 0xff, 0xff,
                                   0xff, 0xff, 0xff, 0xff}; // one long frame of 2^63 - 1 bytes
    assert_true(s_write(fd, huge, sizeof huge));
    char byte;
    assert_true(recv(fd, &byte, 1, 0) <= 0); // cut off
    close(fd);
    void *dealer = peer_new(node.context, ZMQ_DEALER, node.endpoint);
    char *large = calloc(1, FRAME_MAX + 1);
    zmq_send(dealer, large, FRAME_MAX + 1, 0);
    free(large);
    s_serves(&node);
    assert_int_equal(atomic_load(&node.echo.messages), 1); // only the one that was served
    zmq_close(dealer);
    s_node_stop(&node);
}

static void test_attack__more_for_ever_stops_nobody_else(void **state)
{
    struct node node = {0};
    s_node_start(&node);
    long before = s_resident_kib();
    int fd = s_shake_hands(&node);
    enum { FRAMES = 256, PAYLOAD = 65000 };
    static unsigned char frame[9 + PAYLOAD] = {3, 0, 0, 0, 0, 0, 0, PAYLOAD >> 8, PAYLOAD & 0xff}; // long, more
    for (int i = 0; i < FRAMES; i++) {
        if (!s_write(fd, frame, sizeof frame)) break;
        if (i % 64 == 0) s_serves(&node);
    }
    s_serves(&node);
    assert_int_equal(s_counter(&node, WEFT_LOOP_MALFORMED), 0); // it has not ended, so nothing of it reached us
    print_message("%d MiB in a message without end: %ld MiB more resident\n", FRAMES * PAYLOAD >> 20,
                  (s_resident_kib() - before) / 1024);
    close(fd);
    s_serves(&node);
    s_node_stop(&node);
}

static void test_attack__messages_of_many_small_frames_are_thrown_away_in_portions(void **state)
{
    struct node node = {0};
    s_node_start(&node);
    int fd = s_shake_hands(&node);
    enum { FRAMES = 200000 };
    unsigned char *frames = malloc(FRAMES * 3);
    for (size_t i = 0; i < FRAMES; i++)
        memcpy(frames + i * 3, (const unsigned char[]){i + 1 < FRAMES ? 1 : 0, 1, 'x'}, 3);
    assert_true(s_write(fd, frames, FRAMES * 3));
    free(frames);
    int64_t deadline = clock_us() + 10000000;
    while (s_counter(&node, WEFT_LOOP_MALFORMED) < 1) {
        assert_true(clock_us() < deadline);
        s_serves(&node);
    }
    s_serves(&node);
    assert_true(s_counter(&node, WEFT_LOOP_MALFORMED) == 1);
    close(fd);
    s_node_stop(&node);
}

static void test_attack__a_flood_of_malformed_messages_answers_only_within_the_budget(void **state)
{
    struct node node = {0};
    s_node_start(&node);
    int fd = s_shake_hands(&node); // never reads the refusals
    enum { MESSAGES = 100000 };
    unsigned char *frames = malloc(MESSAGES * 9);
    static const unsigned char message[9] = {1, 1, 'a', 1, 1, 'b', 0, 1, 'c'};
    for (size_t i = 0; i < MESSAGES; i++) memcpy(frames + i * 9, message, 9);
    bool all = s_write(fd, frames, MESSAGES * 9);
    free(frames);
    s_serves(&node);
    if (all) {
        int64_t deadline = clock_us() + 20000000;
        while (s_counter(&node, WEFT_LOOP_MALFORMED) < MESSAGES) assert_true(clock_us() < deadline);
        assert_true(s_counter(&node, WEFT_LOOP_REPLIES_OVER_BUDGET) > 0);
    }
    close(fd);
    s_serves(&node);
    s_node_stop(&node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attack__garbage_instead_of_a_greeting),
        cmocka_unit_test(test_attack__half_a_handshake_and_silence),
        cmocka_unit_test(test_attack__garbage_after_the_handshake),
        cmocka_unit_test(test_attack__a_frame_beyond_the_limit_costs_its_connection_only),
        cmocka_unit_test(test_attack__more_for_ever_stops_nobody_else),
        cmocka_unit_test(test_attack__messages_of_many_small_frames_are_thrown_away_in_portions),
        cmocka_unit_test(test_attack__a_flood_of_malformed_messages_answers_only_within_the_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
