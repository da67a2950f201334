// SPDX-License-Identifier: MPL-2.0
// A received frame is the zmq_msg_t itself, kept in weft_frame's storage and moved by zmq_msg_move. Small messages keep
// their bytes inside the zmq_msg_t, so `data` is read again after each move. libzmq makes a message readable only once
// all of its parts are there, so past the first frame EAGAIN can't come.
#include "receive.h"

#include "handover.h"

#include <errno.h>
#include <string.h>
#include <zmq.h>

_Static_assert(sizeof(zmq_msg_t) <= sizeof(((weft_frame_t *) 0)->storage), "a zmq_msg_t fits a frame's storage");

static zmq_msg_t *s_message(weft_frame_t *frame)
{
    return (zmq_msg_t *) (void *) frame->storage;
}

static void s_frame_move(struct weft_frame *to, struct weft_frame *from)
{
    zmq_msg_init(s_message(to));
    zmq_msg_move(s_message(to), s_message(from));
    to->data = zmq_msg_data(s_message(to));
}

static void s_frame_drop(struct weft_frame *self)
{
    zmq_msg_close(s_message(self));
}

static const struct weft_frame_ops s_frame_ops = {.move = s_frame_move, .drop = s_frame_drop};

// False: nothing there. On success the frame is owned and *more tells whether another follows.
static bool s_receive_frame(void *socket, weft_frame_t *frame, bool *more)
{
    zmq_msg_t *message = s_message(frame);
    zmq_msg_init(message);
    int rc;
    do {
        rc = zmq_msg_recv(message, socket, ZMQ_DONTWAIT);
    } while (rc < 0 && errno == EINTR);
    if (rc < 0) return false; // an empty zmq_msg_t needs no close
    weft_handover_take();
    frame->ops = &s_frame_ops;
    frame->data = zmq_msg_data(message);
    frame->size = (size_t) rc;
    frame->shared = zmq_msg_get(message, ZMQ_SHARED) != 0;
    *more = zmq_msg_more(message) != 0;
    return true;
}

// Throws away frames up to the end of the message, or a portion of them.
static void s_discard(struct weft_receiver *self)
{
    self->discarding = true;
    for (int i = 0; i < WEFT_RECEIVE_DISCARD_FRAMES_MAX && self->discarding; i++) {
        zmq_msg_t message;
        zmq_msg_init(&message);
        int rc = zmq_msg_recv(&message, self->socket, ZMQ_DONTWAIT);
        if (rc < 0 && errno != EINTR) self->discarding = false;
        if (rc >= 0 && !zmq_msg_more(&message)) self->discarding = false;
        zmq_msg_close(&message);
    }
}

static enum weft_received s_malformed(struct weft_receiver *self, struct weft_message *out, bool more)
{
    weft_frame_drop(&out->header);
    weft_frame_drop(&out->data);
    if (more) s_discard(self);
    return WEFT_RECEIVED_MALFORMED;
}

// Takes the routing id off the socket. False: nothing there.
static bool s_receive_peer(struct weft_receiver *self, struct weft_message *out, bool *more)
{
    weft_frame_t id;
    if (!s_receive_frame(self->socket, &id, more)) return false;
    // libzmq's own ids have 5 bytes. Somebody's chosen one may have 255: it can't be kept, so its owner is not served.
    out->peer.size = id.size <= sizeof out->peer.bytes ? (uint8_t) id.size : 0;
    memcpy(out->peer.bytes, id.data, out->peer.size);
    weft_frame_drop(&id);
    return true;
}

enum weft_received weft_receive(struct weft_receiver *self, struct weft_message *out)
{
    if (self->discarding) {
        s_discard(self);
        return WEFT_RECEIVED_REST;
    }
    out->header.ops = NULL;
    out->data = WEFT_FRAME_EMPTY;
    out->delimited = false;
    out->peer.size = 0;
    bool more = true;
    if (self->routed) {
        if (!s_receive_peer(self, out, &more)) return WEFT_RECEIVED_NOTHING;
        if (out->peer.size == 0 || !more) return s_malformed(self, out, more);
    }
    if (!s_receive_frame(self->socket, &out->header, &more)) {
        out->header = WEFT_FRAME_EMPTY;
        return self->routed ? WEFT_RECEIVED_MALFORMED : WEFT_RECEIVED_NOTHING;
    }
    if (out->header.size == 0 && more) {
        out->delimited = true;
        weft_frame_drop(&out->header);
        if (!s_receive_frame(self->socket, &out->header, &more)) return s_malformed(self, out, false);
    }
    if (more && !s_receive_frame(self->socket, &out->data, &more)) return s_malformed(self, out, false);
    return more ? s_malformed(self, out, true) : WEFT_RECEIVED_MESSAGE;
}
