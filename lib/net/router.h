// SPDX-License-Identifier: MPL-2.0
/**
 * Router: one ROUTER socket of a part, and the account of every peer that has replies outstanding.
 *
 * It lets no more in over tcp while the net has too many connections (weft_net_connections_max): newcomers wait in the
 * kernel, those that are connected go on.
 *
 * The table of accounts is bounded: a peer is in it only while bytes for it are outstanding (and until the next sweep).
 */
#ifndef WEFT_NET_ROUTER_H
#define WEFT_NET_ROUTER_H

#include "net.h"
#include "outgoing.h"
#include "receive.h"

#define WEFT_ROUTER_PEERS_MAX 65536 // peers with replies outstanding; replies to more are dropped and counted

typedef struct weft_router weft_router_t;

// Binds. `door` is told of every peer of it (struct weft_peer); `bound` as in weft_world_ops.add.
WEFT_MUST_USE weft_err_t weft_router_new(weft_net_t *net, const char *listen, uint8_t door, size_t frame_bytes_max,
                                         weft_router_t **out, char *bound, struct weft_error *error);
// Unbinds at once; replies that were sent go on leaving for the socket's linger.
void weft_router_destroy(weft_router_t **self_p);

int weft_router_fd(const weft_router_t *self);
int weft_router_monitor_fd(const weft_router_t *self); // -1: inproc, nothing to watch
// Counts connections, holds newcomers and lets them in again. To be called when the monitor's fd was readable and at
// watch_us.
void weft_router_watch(weft_router_t *self, int64_t now_us);
int64_t weft_router_watch_us(const weft_router_t *self); // WEFT_TIME_NEVER while it lets newcomers in
// Connections that came in, and that ended for whatever reason, up to the last watch. Over inproc none are counted.
uint64_t weft_router_accepted(const weft_router_t *self);
uint64_t weft_router_ended(const weft_router_t *self);
enum weft_received weft_router_receive(weft_router_t *self, struct weft_message *out);

size_t weft_router_outstanding(const weft_router_t *self, const struct weft_peer *peer);
// The peer's account, made if absent; NULL: the table is full. Valid until the next call.
weft_account_t *weft_router_account(weft_router_t *self, const struct weft_peer *peer);
// Ends `outgoing`. False: the peer is gone.
bool weft_router_send(weft_router_t *self, const struct weft_peer *peer, bool delimited, weft_outgoing_t *outgoing);

#endif
