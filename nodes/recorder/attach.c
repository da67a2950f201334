// SPDX-License-Identifier: MPL-2.0
// Every option of the socket is set here, each for a reason: the peers are anybody's programs, so nothing is asked of
// them that libzmq of any version would not answer (TCP keepalive instead of ZMTP heartbeats).
#include "attach.h"

#include "../common/clients.h"
#include "../common/sockets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft_gen/limits.h>
#include <zmq.h>

static void s_options(void *socket, const struct weft_attach_settings *settings)
{
    weft_outside_set(socket, ZMQ_SNDHWM, settings->hwm);
    weft_outside_set(socket, ZMQ_RCVHWM, settings->hwm);
    weft_outside_set(socket, ZMQ_LINGER, settings->linger_ms);
    weft_outside_set(socket, ZMQ_RECONNECT_IVL, 100);
    weft_outside_set(socket, ZMQ_RECONNECT_IVL_MAX, 2000);
    weft_outside_set(socket, ZMQ_TCP_KEEPALIVE, 1); // a peer that vanished without a word is found out
    weft_outside_set(socket, ZMQ_TCP_KEEPALIVE_IDLE, 30);
    weft_outside_set(socket, ZMQ_TCP_KEEPALIVE_INTVL, 10);
    weft_outside_set(socket, ZMQ_TCP_KEEPALIVE_CNT, 3);
    if (settings->message_bytes_max >= 0)
        (void) zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &settings->message_bytes_max, sizeof(int64_t));
    if (settings->identity && *settings->identity)
        (void) zmq_setsockopt(socket, ZMQ_ROUTING_ID, settings->identity, strlen(settings->identity));
    if (settings->type == ZMQ_XPUB) {
        weft_outside_set(socket, ZMQ_XPUB_VERBOSER, 1); // each subscription is counted
        weft_outside_set(socket, ZMQ_XPUB_NODROP, settings->lossless);
    }
    // A PUSH or DEALER gives nothing to a peer that is not there yet: another may take it.
    if (settings->type == ZMQ_PUSH || settings->type == ZMQ_DEALER) weft_outside_set(socket, ZMQ_IMMEDIATE, 1);
}

// ---- endpoints

static weft_err_t s_attach(weft_hosted_node_t *node, struct weft_attach *self, const char *option, const char *endpoint,
                           bool bind, bool *told, struct weft_error *error)
{
    char bound[WEFT_BOUND_BYTES_MAX];
    if (strncmp(endpoint, "inproc:", 7) == 0) self->counts = false;
    if (!bind) return weft_outside_connect(self->socket, option, endpoint, error);
    weft_err_t err = weft_outside_bind(self->socket, option, endpoint, bound, error);
    if (!err && !*told) weft_node_set_endpoint(node, bound);
    *told = true;
    return err;
}

static weft_err_t s_attach_list(weft_hosted_node_t *node, struct weft_attach *self, const char *option,
                                const char *text, bool bind, size_t *count, struct weft_error *error)
{
    char **list = weft_list_split(text);
    weft_err_t err = WEFT_OK;
    bool told = false;
    for (char **at = list; !err && *at; at++) {
        err = s_attach(node, self, option, *at, bind, &told, error);
        ++*count;
    }
    weft_list_free(&list);
    return err;
}

// ---- peers

static void s_monitor(void *context, struct weft_attach *self)
{
    char address[64];
    snprintf(address, sizeof address, "inproc://weft-attach-%p", self->socket);
    if (zmq_socket_monitor(self->socket, address, ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_CONNECTED | ZMQ_EVENT_DISCONNECTED))
        return;
    self->monitor = zmq_socket(context, ZMQ_PAIR);
    if (!self->monitor) return;
    weft_outside_set(self->monitor, ZMQ_LINGER, 0);
    weft_outside_set(self->monitor, ZMQ_RCVHWM, 0); // a full queue would block libzmq's I/O thread; look() empties it
    if (zmq_connect(self->monitor, address) == 0) return;
    zmq_close(self->monitor);
    self->monitor = NULL;
}

void weft_attach_look(struct weft_attach *self)
{
    if (!self->monitor) return;
    for (;;) {
        uint16_t event = 0;
        char text[16];
        int size = zmq_recv(self->monitor, text, sizeof text, ZMQ_DONTWAIT);
        if (size < 0) return;
        if (size >= 2) memcpy(&event, text, sizeof event);
        (void) zmq_recv(self->monitor, text, sizeof text, 0); // the endpoint
        if (event == ZMQ_EVENT_ACCEPTED || event == ZMQ_EVENT_CONNECTED) self->peers++;
        if (event == ZMQ_EVENT_DISCONNECTED && self->peers) self->peers--;
    }
}

// ---- life

weft_err_t weft_attach_open(weft_hosted_node_t *node, const struct weft_attach_settings *settings,
                            const char *connect_name, struct weft_attach *out, struct weft_error *error)
{
    void *context = weft_node_zmq_context(node);
    struct weft_attach self = {.socket = zmq_socket(context, settings->type), .counts = true};
    if (!self.socket) return weft_node_refuse(error, WEFT_ERR_INTERNAL, "no socket: %s", zmq_strerror(errno));
    s_options(self.socket, settings);
    s_monitor(context, &self);
    self.counts = self.monitor != NULL;
    size_t count = 0;
    weft_err_t err = s_attach_list(node, &self, "listen", settings->listen, true, &count, error);
    if (!err) err = s_attach_list(node, &self, connect_name, settings->connect, false, &count, error);
    if (!err && !count)
        err =
            weft_node_refuse(error, WEFT_ERR_INVALID_ARGUMENT,
                             "neither 'listen' nor '%s' is set: say where the socket binds or connects", connect_name);
    if (err)
        weft_attach_close(&self);
    else
        *out = self;
    return err;
}

void weft_attach_close(struct weft_attach *self)
{
    if (self->monitor) {
        (void) zmq_socket_monitor(self->socket, NULL, 0);
        zmq_close(self->monitor);
    }
    if (self->socket) zmq_close(self->socket);
    self->monitor = self->socket = NULL;
}
