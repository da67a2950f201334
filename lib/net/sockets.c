// SPDX-License-Identifier: MPL-2.0
// Two kinds of sockets exist: a ROUTER that serves and a DEALER for each endpoint that this part talks to. The tables
// below hold what they have in common and what differs; ZEROMQ.md has the experiments behind the values.
#include "sockets.h"

#include "../base/assert.h"
#include "endpoint.h"

#include <errno.h>
#include <linux/filter.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#define S_UNBIND_MS 1000

struct s_option {
    int option;
    int value;
};

static const struct s_option s_common[] = {
    // Bytes are counted in accounts (outgoing.h): a mark in messages would make sends fail for the wrong reason.
    {ZMQ_SNDHWM, 0},
    // One connection may have so many messages waiting here; then TCP pushes back on its sender alone.
    {ZMQ_RCVHWM, WEFT_SOCKET_PEER_MESSAGES_MAX},
    // Who connects and says nothing is let go: half-open connections are the cheapest attack.
    {ZMQ_HANDSHAKE_IVL, 5000},
};

static const struct s_option s_router[] = {
    // A reply to a peer that is gone is an error to be counted, not a silent drop (I7).
    {ZMQ_ROUTER_MANDATORY, 1},
    // The first SYN storm of a restarted cluster is longer than libzmq's 100.
    {ZMQ_BACKLOG, 1024},
    // A peer whose machine vanished leaves no FIN; keepalive frees its connection. Peers may be any implementation of
    // ZMTP, so the server sends no ZMTP heartbeats by itself (it answers theirs).
    {ZMQ_TCP_KEEPALIVE, 1},
    {ZMQ_TCP_KEEPALIVE_IDLE, 15},
    {ZMQ_TCP_KEEPALIVE_INTVL, 5},
    {ZMQ_TCP_KEEPALIVE_CNT, 4},
};

static const struct s_option s_dealer[] = {
    // Without a connection a send is refused; else it would wait and surprise the server's next life.
    {ZMQ_IMMEDIATE, 1},
    // A stopped or cut-off server is noticed within 3 s even when nothing is sent (REPLICATION.md rule 23).
    {ZMQ_HEARTBEAT_IVL, 1000},
    {ZMQ_HEARTBEAT_TIMEOUT, 3000},
    // The server forgets us 6 s after our last sign of life.
    {ZMQ_HEARTBEAT_TTL, 6000},
    // A restarted server is found at once, one that stays away is asked once a second.
    {ZMQ_RECONNECT_IVL, 20},
    {ZMQ_RECONNECT_IVL_MAX, 1000},
    {ZMQ_CONNECT_TIMEOUT, 3000},
};

static void s_set_all(void *socket, const struct s_option *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int rc = zmq_setsockopt(socket, options[i].option, &options[i].value, sizeof options[i].value);
        weft_assert(rc == 0);
    }
}

static weft_err_t s_new(weft_net_t *net, int type, const char *endpoint, size_t frame_bytes_max, void **out,
                        struct weft_error *error)
{
    void *socket = zmq_socket(weft_net_zmq(net), type);
    if (socket == NULL)
        return weft_error_set(error, WEFT_ERR_TOO_LARGE,
                              "no socket left for %s (%s): raise the limit of open files (ulimit -n)", endpoint,
                              zmq_strerror(errno));
    s_set_all(socket, s_common, sizeof s_common / sizeof *s_common);
    // What was answered before a clean stop shall arrive, but a dead peer must not hold the stop up for long.
    int linger_ms = weft_net_linger_ms(net);
    zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    // A larger frame is cut off with its connection before it is allocated (I8).
    int64_t bytes_max = frame_bytes_max > 0 ? (int64_t) frame_bytes_max : -1;
    zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max);
    // IPv6 only where it is written: with it a name may resolve to an address on which nobody listens.
    int ipv6 = strchr(endpoint, '[') != NULL;
    zmq_setsockopt(socket, ZMQ_IPV6, &ipv6, sizeof ipv6);
    *out = socket;
    return WEFT_OK;
}

// The PAIR that receives the events of a socket. They are few; no mark, because libzmq's I/O thread blocks on a full
// one.
void *weft_socket_monitor(weft_net_t *net, void *socket, int events)
{
    static _Atomic uint64_t s_next = 1;
    char name[64];
    snprintf(name, sizeof name, "inproc://weft-monitor-%llu", (unsigned long long) s_next++);
    if (zmq_socket_monitor(socket, name, events) != 0) return NULL;
    void *pair = zmq_socket(weft_net_zmq(net), ZMQ_PAIR);
    if (pair == NULL) return NULL;
    int zero = 0;
    zmq_setsockopt(pair, ZMQ_RCVHWM, &zero, sizeof zero);
    zmq_setsockopt(pair, ZMQ_LINGER, &zero, sizeof zero);
    if (zmq_connect(pair, name) != 0) {
        zmq_close(pair);
        return NULL;
    }
    return pair;
}

int weft_socket_monitor_next(void *monitor, int *value)
{
    if (monitor == NULL) return 0;
    int event = 0;
    bool more = true;
    for (int i = 0; more; i++) {
        zmq_msg_t message;
        zmq_msg_init(&message);
        int rc;
        do {
            rc = zmq_msg_recv(&message, monitor, ZMQ_DONTWAIT);
        } while (rc < 0 && errno == EINTR);
        if (i == 0 && rc >= 6) { // u16 event, u32 value; the address follows in a frame of its own
            uint16_t number;
            uint32_t detail;
            memcpy(&number, zmq_msg_data(&message), sizeof number);
            memcpy(&detail, (const char *) zmq_msg_data(&message) + sizeof number, sizeof detail);
            event = number;
            *value = (int) detail;
        }
        more = rc >= 0 && zmq_msg_more(&message);
        zmq_msg_close(&message);
    }
    return event;
}

void weft_socket_monitor_close(void *socket, void **monitor_p)
{
    if (*monitor_p == NULL) return;
    zmq_socket_monitor(socket, NULL, 0);
    zmq_close(*monitor_p);
    *monitor_p = NULL;
}

static bool s_is_inproc(const char *endpoint)
{
    return strncmp(endpoint, "inproc://", 9) == 0;
}

// LISTENING is the first event of a bound socket, and there when zmq_bind returns.
static int s_listen_fd(void *pair)
{
    int fd = -1;
    return pair != NULL && weft_socket_monitor_next(pair, &fd) == ZMQ_EVENT_LISTENING ? fd : -1;
}

weft_err_t weft_socket_router(weft_net_t *net, const char *listen, size_t frame_bytes_max, void **out, void **monitor,
                              struct weft_bound *bound, struct weft_error *error)
{
    weft_err_t err = weft_endpoint_check(listen, error);
    if (err != WEFT_OK) return err;
    void *socket = NULL;
    err = s_new(net, ZMQ_ROUTER, listen, frame_bytes_max, &socket, error);
    if (err != WEFT_OK) return err;
    s_set_all(socket, s_router, sizeof s_router / sizeof *s_router);
    struct weft_bound made = {.lock_fd = -1, .listen_fd = -1};
    void *pair = NULL;
    err = weft_net_security(net)->server(weft_net_security(net), socket, error);
    if (err != WEFT_OK) goto fail_socket;
    err = weft_endpoint_lock(listen, made.lock_path, sizeof made.lock_path, &made.lock_fd, error);
    if (err != WEFT_OK) goto fail_socket;
    pair = s_is_inproc(listen)
               ? NULL
               : weft_socket_monitor(net, socket, ZMQ_EVENT_LISTENING | ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED);
    if (zmq_bind(socket, listen) != 0) {
        err = weft_endpoint_bind_error(listen, errno, error);
        goto fail_lock;
    }
    size_t size = sizeof made.endpoint;
    if (zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, made.endpoint, &size) != 0) {
        err = weft_endpoint_bind_error(listen, errno, error);
        goto fail_lock;
    }
    if (strncmp(made.endpoint, "tcp://", 6) == 0) made.listen_fd = s_listen_fd(pair);
    *bound = made;
    *monitor = pair;
    *out = socket;
    return WEFT_OK;

fail_lock:
    weft_socket_monitor_close(socket, &pair);
    weft_endpoint_unlock(made.lock_path, &made.lock_fd);
fail_socket:
    zmq_close(socket);
    return err;
}

weft_err_t weft_socket_dealer(weft_net_t *net, const char *endpoint, size_t frame_bytes_max, void **out, void **monitor,
                              struct weft_error *error)
{
    weft_err_t err = weft_endpoint_check(endpoint, error);
    if (err != WEFT_OK) return err;
    void *socket = NULL;
    err = s_new(net, ZMQ_DEALER, endpoint, frame_bytes_max, &socket, error);
    if (err != WEFT_OK) return err;
    s_set_all(socket, s_dealer, sizeof s_dealer / sizeof *s_dealer);
    void *pair = weft_socket_monitor(net, socket,
                                     ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED |
                                         ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                                         ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
    if (pair == NULL) {
        err = weft_error_set(error, WEFT_ERR_TOO_LARGE,
                             "no socket left for %s (%s): raise the limit of open files (ulimit -n)", endpoint,
                             zmq_strerror(errno));
        goto fail_socket;
    }
    err = weft_net_security(net)->client(weft_net_security(net), socket, endpoint, error);
    if (err != WEFT_OK) goto fail_pair;
    if (zmq_connect(socket, endpoint) != 0) {
        err = weft_error_set(error, WEFT_ERR_INVALID_ENDPOINT, "can't connect to '%s': %s", endpoint,
                             zmq_strerror(errno));
        goto fail_pair;
    }
    *out = socket;
    *monitor = pair;
    return WEFT_OK;

fail_pair:
    weft_socket_monitor_close(socket, &pair);
fail_socket:
    zmq_close(socket);
    return err;
}

// Unbinds and waits until the listener is really closed (libzmq does it later, on an I/O thread): until then the
// endpoint is not free, and an ipc path would be unlinked under whoever binds it next.
static void s_unbind(weft_net_t *net, void *socket, const char *endpoint)
{
    void *pair =
        s_is_inproc(endpoint) ? NULL : weft_socket_monitor(net, socket, ZMQ_EVENT_CLOSED | ZMQ_EVENT_CLOSE_FAILED);
    zmq_unbind(socket, endpoint);
    if (pair == NULL) return;
    zmq_pollitem_t item = {.socket = pair, .events = ZMQ_POLLIN};
    while (zmq_poll(&item, 1, S_UNBIND_MS) < 0 && errno == EINTR) {}
    weft_socket_monitor_close(socket, &pair);
}

void weft_socket_close_router(weft_net_t *net, void **socket_p, void **monitor_p, struct weft_bound *bound)
{
    if (*socket_p == NULL) return;
    weft_socket_monitor_close(*socket_p, monitor_p);
    // Unbound first: whoever starts next on this endpoint need not wait until the last reply has left.
    s_unbind(net, *socket_p, bound->endpoint);
    zmq_close(*socket_p);
    *socket_p = NULL;
    // libzmq 4.3.4 leaves the path behind; ours to remove, since we hold its lock.
    if (bound->lock_fd >= 0) unlink(bound->endpoint + strlen("ipc://"));
    weft_endpoint_unlock(bound->lock_path, &bound->lock_fd);
}

void weft_socket_close_dealer(void **socket_p, void **monitor_p)
{
    if (*socket_p == NULL) return;
    weft_socket_monitor_close(*socket_p, monitor_p);
    zmq_close(*socket_p);
    *socket_p = NULL;
}

// A packet filter on the listening socket that passes nothing: the kernel drops each SYN, and the newcomer's kernel
// repeats it. (Unbinding would end the connections that are there: in libzmq they belong to their listener.)
void weft_socket_hold_newcomers(const struct weft_bound *bound, bool hold)
{
    if (bound->listen_fd < 0) return;
    struct sock_filter none = {.code = BPF_RET | BPF_K, .k = 0};
    struct sock_fprog program = {.len = 1, .filter = &none};
    (void) setsockopt(bound->listen_fd, SOL_SOCKET, hold ? SO_ATTACH_FILTER : SO_DETACH_FILTER, &program,
                      sizeof program);
}

int weft_socket_fd(void *socket)
{
    int fd = -1;
    size_t size = sizeof fd;
    int rc = zmq_getsockopt(socket, ZMQ_FD, &fd, &size);
    weft_assert(rc == 0);
    return fd;
}

void weft_socket_look(void *socket, bool *readable, bool *writable)
{
    int events = 0;
    size_t size = sizeof events;
    if (zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) != 0) events = 0;
    *readable = (events & ZMQ_POLLIN) != 0;
    *writable = (events & ZMQ_POLLOUT) != 0;
}

bool weft_socket_writable(void *socket)
{
    bool readable, writable;
    weft_socket_look(socket, &readable, &writable);
    return writable;
}
