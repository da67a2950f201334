// SPDX-License-Identifier: MPL-2.0
// The host reads what a refused create says: each sentence tells which option is wrong and what to do about it.
#include "sockets.h"

#include <errno.h>
#include <stdio.h>
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

weft_err_t weft_outside_bind(void *socket, const char *option, const char *endpoint, char bound[WEFT_BOUND_BYTES_MAX],
                             struct weft_error *error)
{
    if (zmq_bind(socket, endpoint) != 0) {
        bool used = zmq_errno() == EADDRINUSE;
        return weft_node_refuse(error, used ? WEFT_ERR_ENDPOINT_IN_USE : WEFT_ERR_INVALID_ENDPOINT, "%s=%.200s: %s",
                                option, endpoint,
                                used ? "another program has it: choose another one" : zmq_strerror(zmq_errno()));
    }
    size_t size = WEFT_BOUND_BYTES_MAX;
    if (zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, bound, &size) != 0)
        snprintf(bound, WEFT_BOUND_BYTES_MAX, "%s", endpoint);
    return WEFT_OK;
}
