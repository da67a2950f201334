// SPDX-License-Identifier: MPL-2.0
/**
 * Sockets that a node binds for anybody's programs: options by value, and binding with a sentence a person can act on.
 *
 * Peers are of any libzmq: no option is used here that an old one would have to answer.
 */
#ifndef WEFT_COMMON_SOCKETS_H
#define WEFT_COMMON_SOCKETS_H

#include "../../lib/base/bytes.h"

#include <weft/node_type.h>

#define WEFT_BOUND_BYTES_MAX 256 // of an endpoint as bound

// For options that can't be refused, or only where they have no meaning.
void weft_outside_set(void *socket, int option, int value);

/**
 * A ROUTER for questions: requests of `request_bytes_max` at most (libzmq cuts off a sender of more), `hwm` messages
 * each way, and what was sent has `linger_ms` to leave when it is closed.
 */
WEFT_MUST_USE weft_err_t weft_outside_router(weft_hosted_node_t *node, int hwm, int linger_ms,
                                             int64_t request_bytes_max, void **out, struct weft_error *error);

/**
 * Binds at one endpoint; `bound` receives it as really bound (a free TCP port for port *). ENDPOINT_IN_USE,
 * INVALID_ENDPOINT: the sentence names the option and the endpoint.
 */
WEFT_MUST_USE weft_err_t weft_outside_bind(void *socket, const char *option, const char *endpoint,
                                           char bound[WEFT_BOUND_BYTES_MAX], struct weft_error *error);
// Connects to one endpoint, which need not be there yet.
WEFT_MUST_USE weft_err_t weft_outside_connect(void *socket, const char *option, const char *endpoint,
                                              struct weft_error *error);

#endif
