// SPDX-License-Identifier: MPL-2.0
// The order in weft_mark_tend is what makes it safe. libzmq's I/O thread tells the monitor that a peer has left before it
// asks the socket to let go of the pipe. So commands are processed first (those who joined get their pipes, those who left
// may lose theirs), and the monitor is read after that: whatever was let go of just now is known to have left. Between
// letting go and the end of a pipe lies one answer of the I/O thread, for which CALM_US is plenty.
#include "peers.h"

#include "clock.h"
#include "sockets.h"

#include <stdio.h>
#include <string.h>
#include <zmq.h>

#define CALM_US 2000000
#define FIRST_MESSAGE_BYTES 4096 // as long as no size is known

// ---- who is there

void weft_peers_watch(struct weft_peers *self, void *context, void *socket)
{
    char address[64];
    *self = (struct weft_peers){0};
    snprintf(address, sizeof address, "inproc://weft-peers-%p", socket);
    const int events =
        ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_CONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED;
    if (zmq_socket_monitor(socket, address, events)) return;
    self->monitor = zmq_socket(context, ZMQ_PAIR);
    if (!self->monitor) return;
    weft_outside_set(self->monitor, ZMQ_LINGER, 0);
    weft_outside_set(self->monitor, ZMQ_RCVHWM, 0); // a full queue would block libzmq's I/O thread; look() empties it
    if (zmq_connect(self->monitor, address) == 0) return;
    zmq_close(self->monitor);
    self->monitor = NULL;
}

void weft_peers_look(struct weft_peers *self)
{
    while (self->monitor) {
        uint16_t event = 0;
        char text[16];
        int size = zmq_recv(self->monitor, text, sizeof text, ZMQ_DONTWAIT);
        if (size < 0) return;
        if (size >= 2) memcpy(&event, text, sizeof event);
        (void) zmq_recv(self->monitor, text, sizeof text, 0); // the endpoint
        if (event == ZMQ_EVENT_ACCEPTED || event == ZMQ_EVENT_CONNECTED) self->count++;
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) self->joined_count++;
        if (event != ZMQ_EVENT_DISCONNECTED) continue;
        if (self->count > 0) self->count--;
        self->left_us = weft_mono_us();
    }
}

void weft_peers_unwatch(struct weft_peers *self, void *socket)
{
    if (!self->monitor) return;
    (void) zmq_socket_monitor(socket, NULL, 0);
    zmq_close(self->monitor);
    self->monitor = NULL;
}

// ---- the mark

static uint64_t s_messages(const struct weft_mark *self, uint64_t message_bytes)
{
    uint64_t count = self->bytes_max / message_bytes;
    if (count > self->most) count = self->most;
    return count < 2 ? 2 : count;
}

static void s_set(struct weft_mark *self, uint64_t messages)
{
    weft_outside_set(self->socket, self->option, (int) messages); // a number above 0 can't be refused
    self->now = self->wanted = messages;
}

void weft_mark_init(struct weft_mark *self, void *socket, int option, uint64_t most, uint64_t bytes_max)
{
    *self = (struct weft_mark){.socket = socket, .option = option, .most = most, .bytes_max = bytes_max};
    s_set(self, s_messages(self, FIRST_MESSAGE_BYTES));
    self->bound = self->now;
}

void weft_mark_see(struct weft_mark *self, uint64_t messages, uint64_t bytes, uint64_t overhead_bytes)
{
    uint64_t size = bytes / messages + overhead_bytes; // larger ones count at once, smaller ones by and by
    self->mean_bytes = size > self->mean_bytes ? size : (7 * self->mean_bytes + size) / 8;
    uint64_t wanted = s_messages(self, self->mean_bytes);
    bool near = wanted >= self->now - self->now / 4 && wanted <= self->now + self->now / 4;
    self->wanted = near ? self->now : wanted;
}

void weft_mark_tend(struct weft_mark *self, struct weft_peers *peers)
{
    weft_peers_look(peers);
    bool joined = peers->joined_count != self->joined_seen && self->now != self->bound;
    if (self->fixed || (self->wanted == self->now && !joined)) return;
    const uint64_t joined_count = peers->joined_count;
    int events;
    size_t events_bytes = sizeof events;
    (void) zmq_getsockopt(self->socket, ZMQ_EVENTS, &events, &events_bytes); // processes commands
    weft_peers_look(peers);
    if (!peers->monitor || (peers->left_us && weft_mono_us() - peers->left_us < CALM_US)) return;
    s_set(self, self->wanted);
    self->joined_seen = joined_count;
}
