// SPDX-License-Identifier: MPL-2.0
/**
 * Runtime: the real world (struct weft_world) of the nodes of one process: a ZeroMQ context, and a thread for each
 * part.
 *
 * Life: new; nodes add their parts to weft_runtime_world() and start them; stop_parts for each node in the order in
 * which nodes are to end; destroy. All functions are for one thread (the one that built the runtime), except
 * weft_runtime_post.
 *
 * The threads block all signals: the host's handlers run on the host's threads.
 */
#ifndef WEFT_NET_RUNTIME_H
#define WEFT_NET_RUNTIME_H

#include "loop.h"

#include "../wire/node.h"

typedef struct weft_runtime weft_runtime_t;

struct weft_runtime_how {
    void *zmq_context;               // as weft_net_how's
    int io_threads;                  // 0: one a core, at most 4
    const weft_security_t *security; // NULL: none
    const struct weft_disk *disk;    // NULL: the real one
};

WEFT_MUST_USE weft_err_t weft_runtime_new(const struct weft_runtime_how *how, weft_runtime_t **out,
                                          struct weft_error *error);
const weft_world_t *weft_runtime_world(weft_runtime_t *self);
void *weft_runtime_zmq(const weft_runtime_t *self); // for sockets of the host that talk inproc

/*
 * Stops these parts cleanly: each in turn is asked to stop and given turns until it says that it has, then the next;
 * then all of them are destroyed and their sockets closed (replies go on leaving for the linger). Parts that were never
 * started are destroyed. LOCAL_TIMED_OUT: not all came to rest within timeout_us; they were destroyed all the same,
 * unless one is stuck inside a call and can't be (a hung disk): then its thread stays behind, weft_runtime_destroy
 * frees nothing, and the process had better end.
 */
WEFT_MUST_USE weft_err_t weft_runtime_stop_parts(weft_runtime_t *self, const weft_part_id_t *parts, size_t count,
                                                 int64_t timeout_us);
// stop_parts of the node's, with `timeout_us` for all, then the node's destroy. Nulls the pointer, unless a part is
// stuck.
WEFT_MUST_USE weft_err_t weft_runtime_stop_node(weft_runtime_t *self, struct weft_node **node_p, int64_t timeout_us);

// The counters of a part's loop; valid until the part is stopped. NULL: no such part.
const weft_counters_t *weft_runtime_counters(const weft_runtime_t *self, weft_part_id_t part);

// Whatever parts are left are ended without a clean stop. Blocks until what was sent has left, at most the linger.
void weft_runtime_destroy(weft_runtime_t **self_p);

#endif
