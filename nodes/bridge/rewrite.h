// SPDX-License-Identifier: MPL-2.0
/**
 * Rewrite: the few batches that can't be passed on as they are. Pure.
 *
 * One source batch becomes one or more: without records below a position, without the gaps of compaction, without what
 * only compaction may write, none larger than the target takes; where source offsets do not follow on from what was
 * copied before, the first record is marked (place.h).
 */
#ifndef WEFT_BRIDGE_REWRITE_H
#define WEFT_BRIDGE_REWRITE_H

#include "place.h"

// Whether a batch can go as it is behind `expected`.
bool weft_bridge_is_plain(const struct weft_batch *batch, int64_t position, int64_t expected, size_t bytes_max);

typedef struct weft_bridge_rewrite {
    weft_batch_builder_t builder;
    weft_buf_t inflated, headers, out;
    struct weft_batch batch;
    weft_record_iter_t at;
    int64_t position;
    bool done;
} weft_bridge_rewrite_t;

struct weft_bridge_piece {
    weft_slice_t bytes; // until the next call
    int64_t source, source_next;
    uint32_t count;
    bool marked;
};

void weft_bridge_rewrite_init(weft_bridge_rewrite_t *self);
void weft_bridge_rewrite_fini(weft_bridge_rewrite_t *self);
// `bytes` stay until the last piece. BAD_BATCH: can't be read.
WEFT_MUST_USE weft_err_t weft_bridge_rewrite_begin(weft_bridge_rewrite_t *self, weft_slice_t bytes,
                                                   const struct weft_batch *batch, int64_t position);
// False: there are no more. A piece holds one record at least, however large.
bool weft_bridge_rewrite_next(weft_bridge_rewrite_t *self, int64_t producer_id, int64_t expected, size_t bytes_max,
                              struct weft_bridge_piece *piece);

#endif
