// SPDX-License-Identifier: MPL-2.0
/**
 * The XPUB socket, with a bound on what waits for its subscribers.
 *
 * libzmq bounds a number of messages, not bytes, and that number can't be changed while there are subscribers: one that
 * leaves at that moment crashes the process (libzmq's pull request 4647), and one that has read all may wait for good,
 * since its end of the queue tells in steps of half the number that it has read. So the number is set once, for messages
 * of 1 KiB, and the bytes of larger ones are counted until libzmq frees them. When they are too many, some subscriber is
 * slow: the socket can be opened anew with a smaller number. Subscribers connect again by themselves then, and find what
 * they missed as a gap.
 *
 * All of it belongs to one thread.
 */
#ifndef WEFT_NODES_TAP_OUTLET_H
#define WEFT_NODES_TAP_OUTLET_H

#include "../common/sockets.h"
#include "../common/unread.h"
#include "tap_inner.h"

struct weft_tap_outlet {
    weft_hosted_node_t *node;
    uint64_t bytes_max;
    char endpoint[WEFT_BOUND_BYTES_MAX]; // as bound
    bool inproc;                         // subscribers over it would not connect again
    void *socket;
    uint64_t messages;     // that may wait for one subscriber
    uint64_t mean_bytes;   // of payloads
    weft_unread_t *unread; // bytes of large payloads
};

WEFT_MUST_USE weft_err_t weft_tap_outlet_open(struct weft_tap_outlet *self, const struct weft_tap_settings *settings,
                                              const char *endpoint, struct weft_error *error);
void weft_tap_outlet_close(struct weft_tap_outlet *self); // also one that was not opened

// True: more than subscriber.bytes wait in large messages.
bool weft_tap_outlet_is_full(const struct weft_tap_outlet *self);
// False: not by half, or never.
bool weft_tap_outlet_can_shrink(const struct weft_tap_outlet *self);
// With fewer messages for each subscriber. An error: it can't be bound any more.
WEFT_MUST_USE weft_err_t weft_tap_outlet_shrink(struct weft_tap_outlet *self, struct weft_error *error);

// The last frame of a message. False: errno tells, EAGAIN.
bool weft_tap_outlet_send_payload(struct weft_tap_outlet *self, weft_slice_t payload, int flags);

#endif
