// SPDX-License-Identifier: MPL-2.0
/**
 * Receiving: takes one message off a socket without blocking and without copying, whatever its shape.
 *
 * Legal shapes behind the routing id: [header], [header][data], each with or without an empty delimiter frame before
 * it. Anything longer is taken off the socket in bounded portions and reported once as malformed.
 */
#ifndef WEFT_NET_RECEIVE_H
#define WEFT_NET_RECEIVE_H

#include "../wire/port.h"

#define WEFT_RECEIVE_DISCARD_FRAMES_MAX 256 // frames of one malformed message thrown away in one call

enum weft_received {
    WEFT_RECEIVED_NOTHING,   // the socket is empty: now, and only now, its file descriptor may be waited on
    WEFT_RECEIVED_MESSAGE,   // `out` holds one
    WEFT_RECEIVED_MALFORMED, // a message of another shape was dropped; out->peer and out->delimited are filled
    WEFT_RECEIVED_REST       // a portion of an earlier malformed message was thrown away
};

struct weft_receiver {
    void *socket;
    bool routed;     // a ROUTER: a routing id stands first
    bool discarding; // in the middle of a malformed message
};

// Fills all of `out` but `link`. The frames hold zmq messages; they move and drop by their ops.
enum weft_received weft_receive(struct weft_receiver *self, struct weft_message *out);

#endif
