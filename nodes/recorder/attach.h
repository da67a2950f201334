// SPDX-License-Identifier: MPL-2.0
/**
 * Attach: the socket by which a recorder or a player meets the world outside: bound, connected, or both, at several
 * endpoints; with bounded queues and a count of the peers that are there.
 *
 * Peers over inproc can't be counted (libzmq tells of none): with an inproc endpoint `counts` is false.
 */
#ifndef WEFT_RECORDER_ATTACH_H
#define WEFT_RECORDER_ATTACH_H

#include "../../lib/base/bytes.h"

#include <weft/node_type.h>

struct weft_attach_settings {
    int type;           // ZMQ_PULL, ...
    const char *listen; // endpoints, comma separated; may be empty
    const char *connect;
    const char *identity; // routing id; NULL or empty: none
    int hwm;
    int64_t message_bytes_max; // of a frame received; -1: any
    int linger_ms;
    bool lossless; // XPUB: a full subscriber makes sends wait
};

struct weft_attach {
    void *socket;
    void *monitor; // NULL: there is none
    bool counts;   // `peers` can be believed
    int64_t peers; // connections now
};

/**
 * Makes the socket, binds and connects; tells the host the first endpoint bound. Refused, nothing left open:
 * INVALID_ENDPOINT, ENDPOINT_IN_USE with a sentence. Neither listen nor connect: INVALID_ARGUMENT (`connect_name` is what
 * that option is called).
 */
WEFT_MUST_USE weft_err_t weft_attach_open(weft_hosted_node_t *node, const struct weft_attach_settings *settings,
                                          const char *connect_name, struct weft_attach *out, struct weft_error *error);
void weft_attach_close(struct weft_attach *self); // what was sent leaves within the linger time, in the background
// Reads what happened to the connections since the last look. Call it several times a second.
void weft_attach_look(struct weft_attach *self);

#endif
