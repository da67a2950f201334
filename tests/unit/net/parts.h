// SPDX-License-Identifier: MPL-2.0
/**
 * Small parts for the tests of lib/net: one that answers what it is sent, one that talks over a link and notes what happens,
 * and helpers to drive loops until a condition holds or a deadline passes.
 */
#ifndef WEFT_TESTS_NET_PARTS_H
#define WEFT_TESTS_NET_PARTS_H

#include "lib/net/loop.h"
#include "lib/wire/port.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

#include <cmocka.h>

#define FRAME_BYTES_MAX (1024 * 1024)

static inline int64_t clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

// ---- a part that answers: the header comes back, with the data it had

struct echo {
    struct weft_part part;
    weft_port_t port;
    atomic_int messages;
    atomic_int refused; // replies that the port refused
    atomic_bool stop_asked;
    atomic_bool destroyed_flag;
    bool grow; // answer each header with grow_bytes of data
    size_t grow_bytes;
    int hold; // answer only when stopping: replies kept until then
    int held_count;
    struct weft_peer held[64];
};

static inline struct echo *echo_of(struct weft_part *part)
{
    return (struct echo *) part;
}

static inline void echo_start(struct weft_part *part, const weft_port_t *port)
{
    echo_of(part)->port = *port;
}

static inline void echo_message(struct weft_part *part, struct weft_message *message)
{
    struct echo *self = echo_of(part);
    bool holds = self->hold && self->held_count < 64;
    if (holds) self->held[self->held_count++] = message->peer;
    atomic_fetch_add(&self->messages, 1); // behind what the test may look at once it has seen this
    if (holds) return;
    if (self->grow) {
        weft_frame_drop(&message->data);
        weft_frame_init_heap(&message->data, self->grow_bytes);
        memset(message->data.data, 7, self->grow_bytes);
    }
    weft_err_t err = self->port.ops->reply(self->port.world, &message->peer, message->delimited,
                                           weft_frame_slice(&message->header), &message->data);
    if (err != WEFT_OK) atomic_fetch_add(&self->refused, 1);
}

static inline void echo_mail(struct weft_part *part, struct weft_mail *mail)
{
    if (mail->body != NULL && mail->body_free != NULL) mail->body_free(mail->body);
}

static inline void echo_link(struct weft_part *part, weft_link_t link) {}

static inline int64_t echo_turn(struct weft_part *part, int64_t now_us)
{
    return WEFT_TIME_NEVER;
}

static inline void echo_stop(struct weft_part *part)
{
    struct echo *self = echo_of(part);
    atomic_store(&self->stop_asked, true);
    for (int i = 0; i < self->held_count; i++) {
        weft_err_t err = self->port.ops->reply(self->port.world, &self->held[i], false, weft_slice_text("late"), NULL);
        if (err != WEFT_OK) atomic_fetch_add(&self->refused, 1);
    }
}

static inline bool echo_stopped(struct weft_part *part)
{
    return atomic_load(&echo_of(part)->stop_asked);
}

static inline void echo_destroy(struct weft_part **part) // the test owns the memory
{
    atomic_store(&echo_of(*part)->destroyed_flag, true);
    *part = NULL;
}

static const struct weft_part_ops echo_ops = {.start = echo_start,
                                              .message = echo_message,
                                              .mail = echo_mail,
                                              .link_up = echo_link,
                                              .link_down = echo_link,
                                              .turn = echo_turn,
                                              .stop = echo_stop,
                                              .stopped = echo_stopped,
                                              .destroy = echo_destroy};

// ---- a part that talks over a link

struct talker {
    struct weft_part part;
    weft_port_t port;
    int ups, downs, replies;
    weft_err_t refusal; // of a reply header that was not ours
    char last[256];
    size_t last_data;
    int64_t wake_at;
    int turns;
};

static inline struct talker *talker_of(struct weft_part *part)
{
    return (struct talker *) part;
}

static inline void talker_start(struct weft_part *part, const weft_port_t *port)
{
    talker_of(part)->port = *port;
}

static inline void talker_message(struct weft_part *part, struct weft_message *message)
{
    struct talker *self = talker_of(part);
    self->replies++;
    size_t size = message->header.size < sizeof self->last - 1 ? message->header.size : sizeof self->last - 1;
    memcpy(self->last, message->header.data, size);
    self->last[size] = '\0';
    self->last_data = message->data.size;
}

static inline void talker_up(struct weft_part *part, weft_link_t link)
{
    talker_of(part)->ups++;
}

static inline void talker_down(struct weft_part *part, weft_link_t link)
{
    talker_of(part)->downs++;
}

static inline int64_t talker_turn(struct weft_part *part, int64_t now_us)
{
    struct talker *self = talker_of(part);
    self->turns++;
    return self->wake_at != 0 ? self->wake_at : WEFT_TIME_NEVER;
}

static inline void talker_destroy(struct weft_part **part)
{
    *part = NULL;
}

static const struct weft_part_ops talker_ops = {.start = talker_start,
                                                .message = talker_message,
                                                .mail = echo_mail,
                                                .link_up = talker_up,
                                                .link_down = talker_down,
                                                .turn = talker_turn,
                                                .stop = echo_stop,
                                                .stopped = echo_stopped,
                                                .destroy = talker_destroy};

// ---- driving

// Runs the loop until the expression holds; the test fails after 10 s.
#define RUN_UNTIL(loop, expression) \
    do { \
        int64_t run_deadline = clock_us() + 10000000; \
        while (!(expression)) { \
            assert_true(clock_us() < run_deadline); \
            (void) !weft_loop_run((loop), 20000); \
        } \
    } while (0)

static inline weft_net_t *net_new(void)
{
    weft_net_t *net = NULL;
    struct weft_error error;
    assert_int_equal(weft_net_new(&(struct weft_net_how){.io_threads = 1}, &net, &error), WEFT_OK);
    return net;
}

static inline weft_loop_t *loop_new(weft_net_t *net, struct weft_part *part, const char *listen, size_t peer_bytes_max,
                                    char *bound)
{
    weft_loop_t *loop = NULL;
    struct weft_error error = {0};
    struct weft_world_part how = {
        .name = "part", .listen = listen, .frame_bytes_max = FRAME_BYTES_MAX, .peer_bytes_max = peer_bytes_max};
    weft_err_t err = weft_loop_new(net, &how, part, &loop, bound, &error);
    if (err != WEFT_OK) print_error("%s\n", error.text);
    assert_int_equal(err, WEFT_OK);
    return loop;
}

// A thread that runs a loop until told to end.
struct runner {
    weft_loop_t *loop;
    pthread_t thread;
    atomic_bool end;
};

static inline void *runner_run(void *argument)
{
    struct runner *self = argument;
    while (!atomic_load(&self->end)) (void) !weft_loop_run(self->loop, -1);
    return NULL;
}

static inline void runner_start(struct runner *self, weft_loop_t *loop)
{
    self->loop = loop;
    atomic_init(&self->end, false);
    assert_int_equal(pthread_create(&self->thread, NULL, runner_run, self), 0);
}

static inline void runner_stop(struct runner *self)
{
    atomic_store(&self->end, true);
    weft_loop_wake(self->loop);
    pthread_join(self->thread, NULL);
}

// ---- plain ZeroMQ peers

static inline void *peer_new(void *context, int type, const char *endpoint)
{
    void *socket = zmq_socket(context, type);
    assert_non_null(socket);
    int linger = 0, timeout = 10000;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &timeout, sizeof timeout);
    zmq_setsockopt(socket, ZMQ_SNDTIMEO, &timeout, sizeof timeout);
    assert_int_equal(zmq_connect(socket, endpoint), 0);
    return socket;
}

static inline int peer_receive(void *socket, char *text, size_t bytes)
{
    int size = zmq_recv(socket, text, bytes - 1, 0);
    text[size < 0 ? 0 : size < (int) bytes ? size : (int) bytes - 1] = '\0';
    return size;
}

static inline bool peer_more(void *socket)
{
    int more = 0;
    size_t size = sizeof more;
    assert_int_equal(zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size), 0);
    return more != 0;
}

#endif
