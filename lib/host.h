// SPDX-License-Identifier: MPL-2.0
/**
 * Host: some nodes made of parts over one runtime in this process: a broker or coordinator (parts_node.c), or a whole
 * cluster (weft/embedded.h).
 */
#ifndef WEFT_HOST_H
#define WEFT_HOST_H

#include "net/runtime.h"
#include "nodes.h"

#define WEFT_HOST_NODES_MAX 32

typedef struct weft_host {
    weft_runtime_t *runtime;
    struct weft_node *nodes[WEFT_HOST_NODES_MAX]; // in the order of their start
    int64_t stop_ms[WEFT_HOST_NODES_MAX];
    size_t count;
} weft_host_t;

// zmq_context NULL: one of its own, with so many I/O threads (0: by the machine's cores).
WEFT_MUST_USE weft_err_t weft_host_init(weft_host_t *self, void *zmq_context, int io_threads, struct weft_error *error);
// Creates and starts a node. The result is borrowed.
WEFT_MUST_USE weft_err_t weft_host_start(weft_host_t *self, const struct weft_parts_type *type,
                                         const weft_options_t *options, const struct weft_node **out,
                                         struct weft_error *error);
// Waits until every node serves (or is degraded). LOCAL_TIMED_OUT, INTERNAL if one failed; a sentence names the node.
WEFT_MUST_USE weft_err_t weft_host_wait_serving(const weft_host_t *self, int timeout_ms, struct weft_error *error);
enum weft_health weft_host_health(const weft_host_t *self, char *sentence, size_t sentence_bytes); // the worst
void weft_host_counters(const weft_host_t *self, weft_counter_fn *each, void *context);
// Stops all, the last started first. LOCAL_TIMED_OUT: not all came to rest.
weft_err_t weft_host_fini(weft_host_t *self);

#endif
