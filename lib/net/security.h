// SPDX-License-Identifier: MPL-2.0
/**
 * Security: what the socket factory asks before a socket is bound or connected.
 *
 * There is one implementation today, weft_security_none(): nobody is asked who they are, the principal of every peer is
 * "anonymous". CURVE (keys on both ends, one ZAP handler a context that maps a client's key to a principal) is another
 * table of the same shape: `begin` starts its ZAP handler, `server` and `client` set the keys on a socket that is not
 * yet bound or connected.
 */
#ifndef WEFT_NET_SECURITY_H
#define WEFT_NET_SECURITY_H

#include "../base/error.h"

#define WEFT_PRINCIPAL_ANONYMOUS "anonymous"

typedef struct weft_security weft_security_t;

struct weft_security {
    const char *name;
    // Called once for each ZeroMQ context before its first socket, and once before the context ends.
    weft_err_t (*begin)(const weft_security_t *self, void *zmq_context, struct weft_error *error);
    void (*end)(const weft_security_t *self, void *zmq_context);
    // Called for each socket after its options were set, before bind (server) or connect (client).
    weft_err_t (*server)(const weft_security_t *self, void *socket, struct weft_error *error);
    weft_err_t (*client)(const weft_security_t *self, void *socket, const char *endpoint, struct weft_error *error);
};

const weft_security_t *weft_security_none(void);

#endif
