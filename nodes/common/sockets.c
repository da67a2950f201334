// SPDX-License-Identifier: MPL-2.0
// The host reads what a refused create says: each sentence tells which option is wrong and what to do about it.
#include "sockets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

void weft_outside_set(void *socket, int option, int value)
{
    (void) zmq_setsockopt(socket, option, &value, sizeof value);
}

weft_err_t weft_outside_router(weft_hosted_node_t *node, int hwm, int linger_ms, int64_t request_bytes_max, void **out,
                               struct weft_error *error)
{
    void *router = zmq_socket(weft_node_zmq_context(node), ZMQ_ROUTER);
    if (!router) return weft_node_refuse(error, WEFT_ERR_INTERNAL, "no ROUTER socket: %s", zmq_strerror(zmq_errno()));
    weft_outside_set(router, ZMQ_SNDHWM, hwm);
    weft_outside_set(router, ZMQ_RCVHWM, hwm);
    weft_outside_set(router, ZMQ_LINGER, linger_ms);
    (void) zmq_setsockopt(router, ZMQ_MAXMSGSIZE, &request_bytes_max, sizeof request_bytes_max);
    *out = router;
    return WEFT_OK;
}

// libzmq takes the lower 16 bits of any number for a port.
static bool s_has_port(const char *endpoint, bool bind)
{
    const char *port = strrchr(endpoint, ':') + 1;
    char *end;
    if (bind && (strcmp(port, "*") == 0 || strcmp(port, "!") == 0)) return true;
    unsigned long number = strtoul(port, &end, 10);
    return *port >= '0' && *port <= '9' && *end == '\0' && number <= 65535 && (bind || number > 0);
}

static weft_err_t s_refuse(int code, const char *option, const char *endpoint, struct weft_error *error)
{
    const char *why = zmq_strerror(code);
    bool used = code == EADDRINUSE;
    if (used) why = "another program has it: choose another one";
    if (code == EINVAL || code == EPROTONOSUPPORT || code == ENOCOMPATPROTO)
        why = "no endpoint that can be used here; write tcp://HOST:PORT, ipc://PATH or inproc://NAME";
    if (code == ENODEV || code == EADDRNOTAVAIL)
        why = "no address of this machine; give one of its own, or * for all of them";
    return weft_node_refuse(error, used ? WEFT_ERR_ENDPOINT_IN_USE : WEFT_ERR_INVALID_ENDPOINT, "%s=%.200s: %s", option,
                            endpoint, why);
}

static weft_err_t s_check(const char *option, const char *endpoint, bool bind, struct weft_error *error)
{
    if (strncmp(endpoint, "tcp://", 6) != 0 || s_has_port(endpoint, bind)) return WEFT_OK;
    return weft_node_refuse(error, WEFT_ERR_INVALID_ENDPOINT, "%s=%.200s: its port is no number from %d to 65535%s",
                            option, endpoint, bind ? 0 : 1, bind ? " or *" : "");
}

weft_err_t weft_outside_bind(void *socket, const char *option, const char *endpoint, char bound[WEFT_BOUND_BYTES_MAX],
                             struct weft_error *error)
{
    weft_err_t err = s_check(option, endpoint, true, error);
    if (err) return err;
    if (zmq_bind(socket, endpoint) != 0) return s_refuse(zmq_errno(), option, endpoint, error);
    size_t size = WEFT_BOUND_BYTES_MAX;
    if (zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, bound, &size) != 0)
        snprintf(bound, WEFT_BOUND_BYTES_MAX, "%s", endpoint);
    return WEFT_OK;
}

weft_err_t weft_outside_connect(void *socket, const char *option, const char *endpoint, struct weft_error *error)
{
    weft_err_t err = s_check(option, endpoint, false, error);
    if (err) return err;
    return zmq_connect(socket, endpoint) == 0 ? WEFT_OK : s_refuse(zmq_errno(), option, endpoint, error);
}
