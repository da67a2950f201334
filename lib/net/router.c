// SPDX-License-Identifier: MPL-2.0
// Accounts are looked up by routing id. A reply burst goes to one peer mostly, so the last one is remembered. Idle
// entries are swept when the table has doubled since the last sweep: a constant cost a reply however many peers come
// and go.
#include "router.h"

#include "../base/map.h"
#include "../base/trace.h"
#include "sockets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define S_SWEEP_COUNT_MIN 256
#define S_HOLD_US INT64_C(200000) // other ROUTERs of this net may lose connections meanwhile

struct weft_router {
    weft_net_t *net;
    struct weft_receiver receiver;
    struct weft_bound bound;
    void *monitor;
    uint8_t door;
    int connections; // of this ROUTER
    uint64_t accepted, ended;
    int64_t watch_us; // when to try to listen again
    weft_map_t *accounts;
    size_t sweep_count; // sweep when the table has so many
    struct weft_peer last_peer;
    weft_account_t *last_account;
};

weft_err_t weft_router_new(weft_net_t *net, const char *listen, uint8_t door, size_t frame_bytes_max,
                           weft_router_t **out, char *bound, struct weft_error *error)
{
    weft_router_t *self = weft_calloc(1, sizeof *self);
    self->net = net;
    self->door = door;
    self->receiver.routed = true;
    weft_err_t err =
        weft_socket_router(net, listen, frame_bytes_max, &self->receiver.socket, &self->monitor, &self->bound, error);
    if (err != WEFT_OK) {
        free(self);
        return err;
    }
    self->watch_us = WEFT_TIME_NEVER;
    self->accounts = weft_map_new();
    self->sweep_count = S_SWEEP_COUNT_MIN;
    if (bound != NULL) snprintf(bound, WEFT_ENDPOINT_BYTES_MAX, "%s", self->bound.endpoint);
    *out = self;
    return WEFT_OK;
}

void weft_router_destroy(weft_router_t **self_p)
{
    weft_router_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    weft_net_connections_add(self->net, -self->connections);
    weft_socket_close_router(self->net, &self->receiver.socket, &self->monitor, &self->bound);
    void *value;
    weft_slice_t key;
    for (size_t i = 0; weft_map_next(self->accounts, &i, &key, &value);) {
        weft_account_t *account = value;
        weft_account_release(&account);
    }
    weft_map_destroy(&self->accounts);
    free(self);
}

int weft_router_fd(const weft_router_t *self)
{
    return weft_socket_fd(self->receiver.socket);
}

int weft_router_monitor_fd(const weft_router_t *self)
{
    return self->monitor != NULL ? weft_socket_fd(self->monitor) : -1;
}

int64_t weft_router_watch_us(const weft_router_t *self)
{
    return self->watch_us;
}

void weft_router_watch(weft_router_t *self, int64_t now_us)
{
    for (int event, value; (event = weft_socket_monitor_next(self->monitor, &value)) != 0;) {
        int change = event == ZMQ_EVENT_ACCEPTED ? 1 : event == ZMQ_EVENT_DISCONNECTED ? -1 : 0;
        self->connections += change;
        if (change > 0) self->accepted++;
        if (change < 0) self->ended++;
        weft_net_connections_add(self->net, change);
    }
    size_t connections = weft_net_connections_add(self->net, 0), most = weft_net_connections_max(self->net);
    bool holds = self->watch_us != WEFT_TIME_NEVER;
    if (!holds && connections >= most) {
        weft_trace(WEFT_TRACE_WARN, "net", "%zu connections: %s lets no more in until some leave", connections,
                   self->bound.endpoint);
        weft_socket_hold_newcomers(&self->bound, true);
        self->watch_us = now_us + S_HOLD_US;
    } else if (holds && connections < most - most / 10) {
        weft_socket_hold_newcomers(&self->bound, false);
        self->watch_us = WEFT_TIME_NEVER;
    } else if (holds && now_us >= self->watch_us) {
        self->watch_us = now_us + S_HOLD_US;
    }
}

uint64_t weft_router_accepted(const weft_router_t *self)
{
    return self->accepted;
}

uint64_t weft_router_ended(const weft_router_t *self)
{
    return self->ended;
}

enum weft_received weft_router_receive(weft_router_t *self, struct weft_message *out)
{
    out->link = 0;
    out->peer.door = self->door;
    return weft_receive(&self->receiver, out);
}

static weft_slice_t s_key(const struct weft_peer *peer)
{
    return (weft_slice_t){peer->bytes, peer->size};
}

static bool s_is_last(const weft_router_t *self, const struct weft_peer *peer)
{
    return self->last_account != NULL && self->last_peer.size == peer->size &&
           memcmp(self->last_peer.bytes, peer->bytes, peer->size) == 0;
}

size_t weft_router_outstanding(const weft_router_t *self, const struct weft_peer *peer)
{
    const weft_account_t *account =
        s_is_last(self, peer) ? self->last_account : weft_map_get(self->accounts, s_key(peer));
    return account != NULL ? weft_account_bytes(account) : 0;
}

static void s_sweep(weft_router_t *self)
{
    void *value;
    weft_slice_t key;
    for (size_t i = 0; weft_map_next(self->accounts, &i, &key, &value);) {
        weft_account_t *account = value;
        if (!weft_account_idle(account)) continue;
        weft_map_remove(self->accounts, key);
        weft_account_release(&account);
    }
    size_t twice = weft_map_count(self->accounts) * 2;
    self->sweep_count = twice > S_SWEEP_COUNT_MIN ? twice : S_SWEEP_COUNT_MIN;
    self->last_account = NULL;
}

weft_account_t *weft_router_account(weft_router_t *self, const struct weft_peer *peer)
{
    if (s_is_last(self, peer)) return self->last_account;
    weft_account_t *account = weft_map_get(self->accounts, s_key(peer));
    if (account == NULL) {
        if (weft_map_count(self->accounts) >= self->sweep_count) s_sweep(self);
        if (weft_map_count(self->accounts) >= WEFT_ROUTER_PEERS_MAX) return NULL;
        account = weft_account_new();
        weft_map_put(self->accounts, s_key(peer), account);
    }
    self->last_peer = *peer;
    self->last_account = account;
    return account;
}

bool weft_router_send(weft_router_t *self, const struct weft_peer *peer, bool delimited, weft_outgoing_t *outgoing)
{
    void *socket = self->receiver.socket;
    bool sent = zmq_send(socket, peer->bytes, peer->size, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0;
    if (sent && delimited) sent = zmq_send(socket, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0;
    if (sent) sent = weft_outgoing_send(outgoing, socket);
    if (!sent) weft_outgoing_discard(outgoing);
    return sent;
}
