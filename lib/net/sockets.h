// SPDX-License-Identifier: MPL-2.0
/**
 * The socket factory: the only place that makes ZeroMQ sockets and sets their options, each with its reason.
 *
 * Every socket takes the net's security object before it is bound or connected.
 */
#ifndef WEFT_NET_SOCKETS_H
#define WEFT_NET_SOCKETS_H

#include "net.h"

#include "../wire/port.h"

#define WEFT_SOCKET_PEER_MESSAGES_MAX \
    512 // messages of one connection that wait undelivered; then its TCP window closes

// An endpoint that is bound, and the lock beside an ipc path.
struct weft_bound {
    char endpoint[WEFT_ENDPOINT_BYTES_MAX]; // as really bound
    char lock_path[WEFT_ENDPOINT_BYTES_MAX + 8];
    int lock_fd;   // -1: none
    int listen_fd; // libzmq's, of a tcp listener: for its kernel options only; -1: none
};

// A ROUTER bound to the endpoint, and the PAIR that reports its connections (NULL: inproc, nothing to report). Errors:
// INVALID_ENDPOINT, ENDPOINT_IN_USE with a sentence.
WEFT_MUST_USE weft_err_t weft_socket_router(weft_net_t *net, const char *listen, size_t frame_bytes_max, void **out,
                                            void **monitor, struct weft_bound *bound, struct weft_error *error);
// A DEALER connected to the endpoint, and the PAIR that reports what becomes of its connection (ZMQ_EVENT_*).
WEFT_MUST_USE weft_err_t weft_socket_dealer(weft_net_t *net, const char *endpoint, size_t frame_bytes_max, void **out,
                                            void **monitor, struct weft_error *error);
// Waits (milliseconds) until the endpoint is free for somebody else.
void weft_socket_close_router(weft_net_t *net, void **socket_p, void **monitor_p, struct weft_bound *bound);
void weft_socket_close_dealer(void **socket_p, void **monitor_p);

// The PAIR that receives what becomes of a socket's connections (ZMQ_EVENT_* bits), instead of any earlier one; NULL:
// no socket left.
void *weft_socket_monitor(weft_net_t *net, void *socket, int events);
// The next event and its value; 0: none now.
int weft_socket_monitor_next(void *monitor, int *value);
void weft_socket_monitor_close(void *socket, void **monitor_p);

// Lets newcomers wait in the kernel, or in again. Without effect but for tcp.
void weft_socket_hold_newcomers(const struct weft_bound *bound, bool hold);

int weft_socket_fd(void *socket);
// Lets the socket take in what its I/O thread told it, then says whether a message can be sent, or received.
bool weft_socket_writable(void *socket);
void weft_socket_look(void *socket, bool *readable, bool *writable);

#endif
