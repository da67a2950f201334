// SPDX-License-Identifier: MPL-2.0
// States: DOWN, RISING (handshake done, the pipe not yet seen by our socket), UP. The monitor tells of handshakes and
// losses; a link is called up only once its socket really takes messages, so that the first send after link_up is never
// refused.
//
// inproc has neither handshakes nor monitor events: such a link rises when it is made, and its loss is seen by a send
// that finds no pipe, or when the socket has nothing more to say and takes nothing. libzmq accepts an inproc connection
// before its server is bound, and queues for it. One whose server ended before it was up is made anew, too.
//
// libzmq reconnects after a lost connection but not after a protocol error (a frame beyond MAXMSGSIZE, another protocol
// on that port): then the session ends without a word. A link that isn't up again S_REVIVE_US after a loss is made
// anew.
#include "link.h"

#include "../base/trace.h"
#include "disturbed.h"
#include "endpoint.h"
#include "sockets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

#define S_REVIVE_US INT64_C(5000000)
#define S_REVIVE_INPROC_US INT64_C(100000)

enum s_state { S_DOWN, S_RISING, S_UP };

struct weft_dealer {
    weft_net_t *net;
    char *endpoint;
    size_t frame_bytes_max;
    struct weft_receiver receiver;
    void *monitor;
    weft_account_t *account;
    enum s_state state;
    bool inproc;
    bool lost; // a send found no connection: told by the next poll
    bool renewed;
    int64_t revive_us;
    weft_disturbed_t *disturbed; // by tests; NULL: not
    int64_t look_us;             // when to look what they want
};

static int64_t s_clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static weft_err_t s_open(weft_dealer_t *self)
{
    self->receiver = (struct weft_receiver){.socket = NULL, .routed = false};
    self->state = self->inproc ? S_RISING : S_DOWN;
    self->revive_us = self->inproc ? s_clock_us() + S_REVIVE_INPROC_US : WEFT_TIME_NEVER;
    self->lost = false;
    struct weft_error error = {.code = WEFT_OK};
    weft_err_t err = weft_socket_dealer(self->net, self->endpoint, self->frame_bytes_max, &self->receiver.socket,
                                        &self->monitor, &error);
    if (err != WEFT_OK) weft_trace(WEFT_TRACE_WARN, "net", "%s", error.text); // the port's error has no sentence
    return err;
}

static bool s_is_cut(const weft_dealer_t *self)
{
    return self->disturbed != NULL && weft_disturbed_is_cut(self->disturbed);
}

weft_err_t weft_dealer_new(weft_net_t *net, const char *party, const char *endpoint, size_t frame_bytes_max,
                           weft_dealer_t **out)
{
    weft_dealer_t *self = weft_calloc(1, sizeof *self);
    self->net = net;
    self->endpoint = weft_strdup(endpoint);
    self->frame_bytes_max = frame_bytes_max;
    self->inproc = strncmp(endpoint, "inproc://", strlen("inproc://")) == 0;
    self->revive_us = WEFT_TIME_NEVER;
    self->disturbed = weft_disturbed_new(party, endpoint);
    weft_err_t err = s_is_cut(self) ? weft_endpoint_check(endpoint, NULL) : s_open(self);
    if (err != WEFT_OK) {
        weft_disturbed_destroy(&self->disturbed);
        free(self->endpoint);
        free(self);
        return err;
    }
    self->account = weft_account_new();
    *out = self;
    return WEFT_OK;
}

void weft_dealer_destroy(weft_dealer_t **self_p)
{
    weft_dealer_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    weft_disturbed_destroy(&self->disturbed);
    weft_socket_close_dealer(&self->receiver.socket, &self->monitor);
    weft_account_release(&self->account);
    free(self->endpoint);
    free(self);
}

int weft_dealer_fd(const weft_dealer_t *self)
{
    return self->receiver.socket != NULL ? weft_socket_fd(self->receiver.socket) : -1;
}

int weft_dealer_monitor_fd(const weft_dealer_t *self)
{
    return self->monitor != NULL ? weft_socket_fd(self->monitor) : -1;
}

bool weft_dealer_is_up(const weft_dealer_t *self)
{
    return self->state == S_UP && !self->lost;
}

weft_account_t *weft_dealer_account(weft_dealer_t *self)
{
    return self->account;
}

int64_t weft_dealer_revive_us(const weft_dealer_t *self)
{
    int64_t revive_us = self->lost ? 0 : self->revive_us;
    return self->disturbed != NULL && self->look_us < revive_us ? self->look_us : revive_us;
}

bool weft_dealer_renewed(weft_dealer_t *self)
{
    bool renewed = self->renewed;
    self->renewed = false;
    return renewed;
}

// What is there goes through the queue of what is late; only messages are late, news of malformed ones are not.
static enum weft_received s_receive_disturbed(weft_dealer_t *self, struct weft_message *out)
{
    int64_t now_us = s_clock_us();
    for (enum weft_received received;;) {
        received = weft_receive(&self->receiver, out);
        if (received == WEFT_RECEIVED_NOTHING) break;
        if (received != WEFT_RECEIVED_MESSAGE) return received;
        weft_disturbed_put(self->disturbed, now_us, out);
    }
    return weft_disturbed_take(self->disturbed, now_us, out) ? WEFT_RECEIVED_MESSAGE : WEFT_RECEIVED_NOTHING;
}

static enum weft_received s_receive(weft_dealer_t *self, struct weft_message *out)
{
    bool late = __builtin_expect(self->disturbed != NULL, 0);
    return late ? s_receive_disturbed(self, out) : weft_receive(&self->receiver, out);
}

enum weft_received weft_dealer_receive(weft_dealer_t *self, struct weft_message *out)
{
    while (self->receiver.socket != NULL) {
        enum weft_received received = s_receive(self, out);
        if (received != WEFT_RECEIVED_NOTHING || !self->inproc || self->state != S_UP) return received;
        // What is under way to a server that ended is lost, and nobody may send again before that is told. The look may
        // take in the news of a message, too, which then has to be taken now (loop.c's rule on ZMQ_FD).
        bool readable, writable;
        weft_socket_look(self->receiver.socket, &readable, &writable);
        if (!readable && !writable) self->lost = true;
        if (!readable) break;
    }
    return WEFT_RECEIVED_NOTHING;
}

static bool s_send(weft_dealer_t *self, weft_outgoing_t *outgoing)
{
    if (self->receiver.socket != NULL) {
        if (weft_outgoing_send(outgoing, self->receiver.socket)) return true;
        // libzmq looks at its commands at most every millisecond or so while sending: it may have missed a new pipe.
        if (errno == EAGAIN && weft_socket_writable(self->receiver.socket) &&
            weft_outgoing_send(outgoing, self->receiver.socket))
            return true;
    }
    weft_outgoing_discard(outgoing);
    self->lost = true;
    return false;
}

bool weft_dealer_send(weft_dealer_t *self, weft_outgoing_t *outgoing)
{
    if (__builtin_expect(self->disturbed != NULL, 0) && weft_disturbed_hold(self->disturbed, s_clock_us(), outgoing))
        return true;
    return s_send(self, outgoing);
}

static enum weft_link_event s_fall(weft_dealer_t *self, int64_t now_us)
{
    bool was_up = self->state == S_UP;
    self->state = S_DOWN;
    self->lost = false;
    self->receiver.discarding = false;
    if (self->disturbed != NULL) weft_disturbed_clear(self->disturbed);
    self->revive_us = now_us + (self->inproc ? S_REVIVE_INPROC_US : S_REVIVE_US);
    return was_up ? WEFT_LINK_DOWN : WEFT_LINK_NOTHING;
}

static void s_renew(weft_dealer_t *self, int64_t now_us)
{
    weft_socket_close_dealer(&self->receiver.socket, &self->monitor);
    if (s_open(self) != WEFT_OK) self->revive_us = now_us + S_REVIVE_US; // tried again
    self->renewed = true;
}

// Lets out what is due, or takes the connection away with all that is in it; none is begun while it is cut.
static enum weft_link_event s_disturb(weft_dealer_t *self, int64_t now_us)
{
    bool lost = weft_disturbed_look(self->disturbed, now_us, self->state == S_UP);
    weft_outgoing_t outgoing;
    while (!lost && weft_disturbed_release(self->disturbed, now_us, &outgoing)) (void) s_send(self, &outgoing);
    self->look_us = weft_disturbed_next_us(self->disturbed, now_us);
    enum weft_link_event event = lost ? s_fall(self, now_us) : WEFT_LINK_NOTHING;
    if (lost) {
        weft_socket_close_dealer(&self->receiver.socket, &self->monitor);
        self->revive_us = WEFT_TIME_NEVER;
        self->renewed = true;
    }
    if (self->receiver.socket == NULL && !s_is_cut(self)) s_renew(self, now_us);
    return event;
}

enum weft_link_event weft_dealer_poll(weft_dealer_t *self, int64_t now_us)
{
    if (__builtin_expect(self->disturbed != NULL, 0)) {
        if (s_disturb(self, now_us) == WEFT_LINK_DOWN) return WEFT_LINK_DOWN;
        if (self->state != S_UP && s_is_cut(self)) {
            if (self->revive_us <= now_us) self->revive_us = now_us + S_REVIVE_US;
            return WEFT_LINK_NOTHING;
        }
    }
    for (int event, value; (event = weft_socket_monitor_next(self->monitor, &value)) != 0;) {
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
            if (self->state == S_DOWN) self->state = S_RISING;
            self->revive_us = WEFT_TIME_NEVER;
            continue;
        }
        if (s_fall(self, now_us) == WEFT_LINK_DOWN) return WEFT_LINK_DOWN;
    }
    if (self->lost) return s_fall(self, now_us);
    if (self->state == S_RISING && weft_socket_writable(self->receiver.socket)) {
        self->state = S_UP;
        self->revive_us = WEFT_TIME_NEVER;
        return WEFT_LINK_UP;
    }
    if (self->state != S_UP && now_us >= self->revive_us) s_renew(self, now_us);
    return WEFT_LINK_NOTHING;
}
