// SPDX-License-Identifier: MPL-2.0
// A payload is held once, however many subscribers it waits for: what is counted is what the slowest of them has not read.
#include "outlet.h"

#include <zmq.h>

#define LARGE_BYTES 1024        // from here on payloads are counted
#define INPROC_BYTES 4096       // is assumed of messages where the number can't be made smaller
#define MEAN_MESSAGES 64        // that the mean size is of, about
#define SUBSCRIPTION_BYTES 4096 // at most
#define LINGER_MS 500           // what does not leave in that time is asked for again
#define BIND_TRIES 400          // 5 ms each: libzmq closes the old listener in the background
#define BIND_PAUSE_MS 5

static uint64_t s_messages(const struct weft_tap_outlet *self, uint64_t message_bytes)
{
    uint64_t count = self->bytes_max / message_bytes;
    return count < 2 ? 2 : count;
}

static weft_err_t s_make(struct weft_tap_outlet *self, struct weft_error *error)
{
    self->socket = zmq_socket(weft_node_zmq_context(self->node), ZMQ_XPUB);
    if (!self->socket)
        return weft_node_refuse(error, WEFT_ERR_INTERNAL, "no XPUB socket: %s", zmq_strerror(zmq_errno()));
    weft_outside_set(self->socket, ZMQ_LINGER, LINGER_MS);
    weft_outside_set(self->socket, ZMQ_SNDHWM, (int) self->messages);
    weft_outside_set(self->socket, ZMQ_RCVHWM, 256);
    int64_t bytes_max = SUBSCRIPTION_BYTES;
    (void) zmq_setsockopt(self->socket, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max);
    weft_outside_set(self->socket, ZMQ_XPUB_VERBOSER, 1); // each subscription and its end, to count them
    weft_outside_set(self->socket, ZMQ_TCP_KEEPALIVE, 1);
    weft_outside_set(self->socket, ZMQ_TCP_KEEPALIVE_IDLE, 60);
    weft_outside_set(self->socket, ZMQ_XPUB_NODROP, 1); // a full subscriber is told; live.c decides
    weft_outside_set(self->socket, ZMQ_SNDTIMEO, 100);  // slow=wait: then it looks whether the node stops
    self->unread = weft_unread_new();
    return WEFT_OK;
}

static void s_end(struct weft_tap_outlet *self)
{
    if (self->socket) zmq_close(self->socket);
    weft_unread_drop(self->unread);
    self->socket = NULL;
    self->unread = NULL;
}

weft_err_t weft_tap_outlet_open(struct weft_tap_outlet *self, const struct weft_tap_settings *settings,
                                const char *endpoint, struct weft_error *error)
{
    *self = (struct weft_tap_outlet){.node = settings->node, .bytes_max = settings->subscriber_bytes};
    self->inproc = strncmp(endpoint, "inproc:", 7) == 0;
    self->messages = s_messages(self, self->inproc ? INPROC_BYTES : LARGE_BYTES);
    if (self->messages > settings->hwm) self->messages = settings->hwm;
    weft_err_t err = s_make(self, error);
    if (!err) err = weft_outside_bind(self->socket, "listen", endpoint, self->endpoint, error);
    if (err) s_end(self);
    return err;
}

void weft_tap_outlet_close(struct weft_tap_outlet *self)
{
    s_end(self);
}

bool weft_tap_outlet_is_full(const struct weft_tap_outlet *self)
{
    return weft_unread_bytes(self->unread) > self->bytes_max;
}

bool weft_tap_outlet_can_shrink(const struct weft_tap_outlet *self)
{
    return !self->inproc && 2 * s_messages(self, self->mean_bytes + LARGE_BYTES) <= self->messages;
}

weft_err_t weft_tap_outlet_shrink(struct weft_tap_outlet *self, struct weft_error *error)
{
    self->messages = s_messages(self, self->mean_bytes + LARGE_BYTES);
    (void) zmq_unbind(self->socket, self->endpoint);
    s_end(self);
    weft_err_t err = s_make(self, error);
    if (err) return err;
    char bound[WEFT_BOUND_BYTES_MAX];
    for (int i = 0; i < BIND_TRIES; i++) {
        err = weft_outside_bind(self->socket, "listen", self->endpoint, bound, error);
        if (err != WEFT_ERR_ENDPOINT_IN_USE || weft_node_stopping(self->node)) break;
        zmq_pollitem_t stop = {NULL, weft_node_stop_fd(self->node), ZMQ_POLLIN, 0};
        (void) zmq_poll(&stop, 1, BIND_PAUSE_MS);
    }
    return weft_node_stopping(self->node) ? WEFT_OK : err;
}

bool weft_tap_outlet_send_payload(struct weft_tap_outlet *self, weft_slice_t payload, int flags)
{
    self->mean_bytes = self->mean_bytes - self->mean_bytes / MEAN_MESSAGES + payload.size / MEAN_MESSAGES;
    if (payload.size < LARGE_BYTES) return zmq_send(self->socket, payload.data, payload.size, flags) >= 0;
    return weft_unread_send(self->unread, self->socket, payload, 0, flags);
}
