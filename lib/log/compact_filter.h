// SPDX-License-Identifier: MPL-2.0
/**
 * Compaction's filter: what is left of one batch. Internal to lib/log; pure: bytes in, bytes out.
 */
#ifndef WEFT_LOG_COMPACT_FILTER_H
#define WEFT_LOG_COMPACT_FILTER_H

#include "compact.h"
#include "compact_map.h"

/** What a run goes by. */
struct weft_compact_rule {
    struct weft_compact_map map; // newest offset of each key of the dirty part below `end`
    int64_t end;                 // what is at or above is left alone
    int64_t now_ms;
    int64_t horizon_ms;                    // of tombstones that are met first
    int64_t tombstones_limit;              // none at or above goes
    struct weft_compact_session *sessions; // by producer id
    size_t session_count;
};

enum weft_compact_verdict {
    WEFT_COMPACT_SAME,    // as it is
    WEFT_COMPACT_CHANGED, // `out` stands in its place
    WEFT_COMPACT_GAP      // nothing of it is needed: a gap may stand for it
};

struct weft_compact_filter {
    const struct weft_compact_rule *rule;
    weft_buf_t out;                           // CHANGED: the batch
    struct weft_batch batch;                  // its header
    weft_buf_t inflated, kept, timed, packed; // scratch
    // Counted over all batches.
    int64_t records_removed, tombstones_removed;
    int64_t tombstones_below; // above all tombstones removed because their time was up; 0: none
    int64_t next_horizon_ms;  // of the tombstones kept; INT64_MAX: none
};

void weft_compact_filter_init(struct weft_compact_filter *self, const struct weft_compact_rule *rule);
void weft_compact_filter_fini(struct weft_compact_filter *self);
// `bytes` is one batch whose checksum was right, `batch` its header. DAMAGED: what it holds are no records;
// BATCH_TOO_LARGE. Nothing is counted then.
WEFT_MUST_USE weft_err_t weft_compact_filter_batch(struct weft_compact_filter *self, weft_slice_t bytes,
                                                   const struct weft_batch *batch, enum weft_compact_verdict *verdict);
// Puts the keys of a batch from offset `from` on into the map; *full is the offset of the first record for which there
// was no room, -1: all are in. DAMAGED as above.
WEFT_MUST_USE weft_err_t weft_compact_map_batch(struct weft_compact_map *map, weft_slice_t bytes,
                                                const struct weft_batch *batch, int64_t from, weft_buf_t *scratch,
                                                int64_t *full);

// A gap over the offsets of `batch`.
struct weft_batch weft_compact_gap_of(const struct weft_batch *batch);

#endif
