// SPDX-License-Identifier: MPL-2.0
/**
 * Hosted node: what weft/node.h and weft/node_type.h promise, for any type; and what this library's own callers and
 * types need beyond that.
 *
 * Life: start (options are parsed) -> create on this thread -> run on its own -> stop.
 */
#ifndef WEFT_HOSTED_NODE_H
#define WEFT_HOSTED_NODE_H

#include "nodes.h"

// The sentence of a node whose run returned WEFT_OK unasked: its work is done, nothing failed.
#define WEFT_NODE_ENDED_BY_ITSELF "ended by itself"

// This process (the command) tells a person by itself how each node ends; from now on trace does not say it once more.
void weft_hosted_node_ends_are_told(void);
/*
 * The table must have been checked. Takes over the options and the library that the type stands in (NULL: none), also
 * on failure.
 */
WEFT_MUST_USE weft_err_t weft_hosted_node_start(const struct weft_node_type *type, weft_options_t **options_p,
                                                void **library_p, weft_hosted_node_t **out, struct weft_error *error);

// What the type says of its options before anything starts: INVALID_OPTION with its first complaint.
WEFT_MUST_USE weft_err_t weft_hosted_node_check(const struct weft_node_type *type, const weft_options_t *options,
                                                struct weft_error *error);

// ---- for types of this library, in create

const struct weft_node_type *weft_hosted_node_type(const weft_hosted_node_t *self);
void weft_hosted_node_set_name(weft_hosted_node_t *self, const char *name);
// The type keeps stop.ms by itself: it is waited for so much longer, until it has told how it went.
void weft_hosted_node_set_grace(weft_hosted_node_t *self, int64_t grace_ms);
void *weft_hosted_node_shared_zmq(const weft_hosted_node_t *self);  // NULL: its settings name no inproc endpoint
void weft_hosted_node_set_zmq(weft_hosted_node_t *self, void *zmq); // the type's own, which it terminates itself

#endif
