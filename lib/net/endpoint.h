// SPDX-License-Identifier: MPL-2.0
/**
 * Endpoints as people write them: tcp://host:port, ipc://path, inproc://name. Checked before libzmq sees them, so
 * that a mistake gets a sentence; ipc paths are locked, since libzmq lets a second bind take a path in silence.
 */
#ifndef WEFT_NET_ENDPOINT_H
#define WEFT_NET_ENDPOINT_H

#include "../base/bytes.h"

WEFT_MUST_USE weft_err_t weft_endpoint_check(const char *endpoint, struct weft_error *error);
// The sentence for a failed bind: ENDPOINT_IN_USE or INVALID_ENDPOINT.
WEFT_MUST_USE weft_err_t weft_endpoint_bind_error(const char *endpoint, int zmq_errno, struct weft_error *error);
// Locks "<path>.lock" beside an ipc path; for other endpoints *fd is -1.
WEFT_MUST_USE weft_err_t weft_endpoint_lock(const char *endpoint, char *path, size_t path_bytes, int *fd,
                                            struct weft_error *error);
void weft_endpoint_unlock(const char *path, int *fd);

#endif
