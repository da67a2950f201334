// SPDX-License-Identifier: MPL-2.0
/**
 * Map: which offset of a source partition stands where in the target's. Pure.
 *
 * A list of spans in order. As long as nobody else writes to the target's partition and the source has no gaps one span
 * grows and that is all; every place where the two counts part begins another. It is bounded: where it would grow too
 * fast or too long spans are joined, and a joined span answers with its beginning: never too far, maybe too early
 * (exact says which).
 */
#ifndef WEFT_BRIDGE_MAP_H
#define WEFT_BRIDGE_MAP_H

#include "place.h"

#define WEFT_BRIDGE_MAP_SPANS_MAX 1024
#define WEFT_BRIDGE_MAP_PAGE 64      // spans that are kept together in a checkpoint
#define WEFT_BRIDGE_MAP_FRESH_MAX 16 // spans begun between two checkpoints; what comes then is joined

typedef struct weft_bridge_map {
    struct weft_bridge_span *spans;
    size_t count, capacity;
    size_t fresh;
    uint64_t dirty; // bit: a page that changed since it was kept
} weft_bridge_map_t;

void weft_bridge_map_init(weft_bridge_map_t *self);
void weft_bridge_map_fini(weft_bridge_map_t *self);
void weft_bridge_map_clear(weft_bridge_map_t *self);

/** Behind what was added before; a span that begins earlier in the source replaces what stood there (its log diverged). */
void weft_bridge_map_add(weft_bridge_map_t *self, const struct weft_bridge_span *span);

struct weft_bridge_mapped {
    int64_t offset;
    bool exact; // false: the right place is not before it, maybe behind
};
// Where to read on in the target for who would read `source` next. False: nothing was copied yet.
bool weft_bridge_map_target(const weft_bridge_map_t *self, int64_t source, struct weft_bridge_mapped *out);
bool weft_bridge_map_source(const weft_bridge_map_t *self, int64_t target, struct weft_bridge_mapped *out);

void weft_bridge_map_check(const weft_bridge_map_t *self);

#endif
