// SPDX-License-Identifier: MPL-2.0
/**
 * Outbox: what a part sent in its turn, in order, until the turn is over.
 *
 * Kept in chunks that are reused and never moved, since a zmq_msg_t may not be copied.
 */
#ifndef WEFT_NET_OUTBOX_H
#define WEFT_NET_OUTBOX_H

#include "../wire/port.h"
#include "outgoing.h"

struct weft_outbox_send {
    weft_link_t link; // 0: to `peer`
    bool delimited;
    struct weft_peer peer;
    size_t bytes;
    weft_outgoing_t message;
};

struct weft_outbox_chunk;

typedef struct weft_outbox {
    struct weft_outbox_chunk *first; // the one to read
    struct weft_outbox_chunk *last;  // the one to write
    struct weft_outbox_chunk *spare;
    size_t read; // in `first`
} weft_outbox_t;

void weft_outbox_fini(weft_outbox_t *self); // discards what is in it; zeroed storage is a valid empty outbox
bool weft_outbox_empty(const weft_outbox_t *self);
// A slot at the end, to be filled at once.
struct weft_outbox_send *weft_outbox_add(weft_outbox_t *self);
// The oldest; its message must be ended (sent or discarded) before the next call. NULL: none.
struct weft_outbox_send *weft_outbox_next(weft_outbox_t *self);

#endif
