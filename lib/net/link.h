// SPDX-License-Identifier: MPL-2.0
/**
 * Link: one DEALER to one endpoint, with what its monitor says made into up and down.
 *
 * A link is up from the moment its socket takes messages to the moment its connection is lost; what was received before
 * the loss is delivered before the loss is told (libzmq drops what its I/O thread holds and our thread has not yet
 * looked at: see docs/decisions/sockets-and-threads.md). It reconnects by itself for ever, and is made anew when libzmq
 * has given the connection up (after a protocol error it does so in silence).
 */
#ifndef WEFT_NET_LINK_H
#define WEFT_NET_LINK_H

#include "net.h"
#include "outgoing.h"
#include "receive.h"

enum weft_link_event { WEFT_LINK_NOTHING, WEFT_LINK_UP, WEFT_LINK_DOWN };

typedef struct weft_dealer weft_dealer_t;

// party: whose it is, for faults in tests (disturb.h).
WEFT_MUST_USE weft_err_t weft_dealer_new(weft_net_t *net, const char *party, const char *endpoint,
                                         size_t frame_bytes_max, weft_dealer_t **out);
void weft_dealer_destroy(weft_dealer_t **self_p);

int weft_dealer_fd(const weft_dealer_t *self);
int weft_dealer_monitor_fd(const weft_dealer_t *self);
bool weft_dealer_is_up(const weft_dealer_t *self);
weft_account_t *weft_dealer_account(weft_dealer_t *self);

enum weft_received weft_dealer_receive(weft_dealer_t *self, struct weft_message *out);
// Ends `outgoing`. False: it was lost, there is no connection.
bool weft_dealer_send(weft_dealer_t *self, weft_outgoing_t *outgoing);

// The next change of the connection, to be asked until NOTHING when the monitor's fd or (while it isn't up) the
// socket's was readable, or at revive_us. Drain weft_dealer_receive first: what arrived before a loss is delivered
// before the loss is told.
enum weft_link_event weft_dealer_poll(weft_dealer_t *self, int64_t now_us);
// When poll wants to be called without any input; WEFT_TIME_NEVER if not.
int64_t weft_dealer_revive_us(const weft_dealer_t *self);

// True once after the sockets were made anew: their file descriptors are other ones.
bool weft_dealer_renewed(weft_dealer_t *self);

#endif
