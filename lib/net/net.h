// SPDX-License-Identifier: MPL-2.0
/**
 * Net: one ZeroMQ context with what its parts share: I/O threads, the security object, and the table of mailboxes.
 *
 * A runtime has one, a client has one. It is never CZMQ's process-wide context, so that it neither takes the host's
 * signals nor its linger (ZEROMQ.md), unless a program asks for that, for inproc.
 */
#ifndef WEFT_NET_NET_H
#define WEFT_NET_NET_H

#include "mailbox.h"
#include "security.h"

#define WEFT_NET_PARTS_MAX 1024 // ids are not reused within one net

typedef struct weft_net weft_net_t;

struct weft_net_how {
    void *zmq_context;               // somebody else's, for inproc, who terminates it; NULL: one of its own
    int io_threads;                  // of its own; 0: one
    int linger_ms;                   // how long what was sent may take to leave after its socket closed; 0: 2,000
    size_t connections_max;          // 0: see weft_net_connections_max
    const weft_security_t *security; // NULL: none
};

// A ZeroMQ context as we want it, and its end: blocks until its sockets are closed and what they sent has left.
void *weft_net_context_new(int io_threads);
void weft_net_context_term(void **zmq_p);

WEFT_MUST_USE weft_err_t weft_net_new(const struct weft_net_how *how, weft_net_t **out, struct weft_error *error);
// All loops must be gone. Blocks until what they sent has left, at most the linger; in somebody else's context it leaves
// by itself.
void weft_net_destroy(weft_net_t **self_p);

// Connections accepted by all ROUTERs of this net: one in or out; the new number. Any thread.
size_t weft_net_connections_add(weft_net_t *self, int change);
// Above it no more are accepted: half of the open files that this process may have, so that a flood of connections
// can't take the other half from the logs; at most 10,000.
size_t weft_net_connections_max(const weft_net_t *self);

void *weft_net_zmq(const weft_net_t *self);
const weft_security_t *weft_net_security(const weft_net_t *self);
int weft_net_linger_ms(const weft_net_t *self);

// A mailbox for a new part; it lives as long as the net, so that late mail finds it closed and never freed.
WEFT_MUST_USE weft_err_t weft_net_mailbox_add(weft_net_t *self, weft_part_id_t *id, weft_mailbox_t **out,
                                              struct weft_error *error);
// Any thread. Mail to a part that is not there (any more) has its body freed; false says so.
bool weft_net_post(weft_net_t *self, weft_part_id_t to, const struct weft_mail *mail);

#endif
