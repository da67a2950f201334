// SPDX-License-Identifier: MPL-2.0
/**
 * Update: one cluster_update on its way from the control part to the shards.
 *
 * Immutable and counted: every shard gets a reference by mail and applies the bytes to a cluster state of its own, so
 * that the hot path asks nobody. The data is msgpack pairs [index, command], back to back, or one snapshot.
 */
#ifndef WEFT_BROKER_UPDATE_H
#define WEFT_BROKER_UPDATE_H

#include "../../lib/core/cluster.h"

typedef struct weft_update weft_update_t;

struct weft_update {
    _Atomic uint32_t references;
    uint64_t epoch, from_index, to_index;
    bool snapshot;
    size_t size;
    uint8_t bytes[];
};

// A copy of `data` with one reference.
weft_update_t *weft_update_new(uint64_t epoch, uint64_t from_index, uint64_t to_index, bool snapshot,
                               weft_slice_t data);
weft_update_t *weft_update_ref(weft_update_t *self);
void weft_update_unref(void *self); // any thread; a mail's body_free

// Are the bytes well-formed pairs with indexes that only grow, in (from_index, to_index]? BAD_FRAME with a sentence.
WEFT_MUST_USE weft_err_t weft_update_check(const weft_update_t *self, struct weft_error *error);
/*
 * Applies it. A snapshot replaces the state (`watch` is not called: the caller compares everything); BAD_FRAME leaves
 * it as it was. Commands that the state refuses are no error: every node refuses them alike.
 */
WEFT_MUST_USE weft_err_t weft_update_apply(const weft_update_t *self, weft_cluster_t *cluster,
                                           weft_cluster_watch_fn *watch, void *context, struct weft_error *error);

#endif
