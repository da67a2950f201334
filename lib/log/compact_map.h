// SPDX-License-Identifier: MPL-2.0
/**
 * Compaction's map: key -> newest offset, in bounded memory. Internal to lib/log.
 *
 * Open addressing; a key is its SipHash-1-3 of 128 bits under a seed that nobody outside knows (Aumasson and Bernstein
 * 2012, the double-width variant): whoever chooses keys can't choose two that meet. Two different keys of 2^32 meet by
 * chance once in 2^64 runs.
 */
#ifndef WEFT_LOG_COMPACT_MAP_H
#define WEFT_LOG_COMPACT_MAP_H

#include "../base/bytes.h"

struct weft_compact_hash {
    uint64_t low, high;
};

struct weft_compact_map {
    struct weft_compact_entry *entries; // NULL: nothing was put in yet
    size_t capacity, count, capacity_max;
    uint64_t key[2];
};

// The memory is never more than bytes_max, growth included.
void weft_compact_map_init(struct weft_compact_map *self, size_t bytes_max, uint64_t seed);
void weft_compact_map_fini(struct weft_compact_map *self);
struct weft_compact_hash weft_compact_hash(const struct weft_compact_map *self, weft_slice_t key);
// The key is about to be put or asked for: brings its place from memory, which takes longer than all else.
void weft_compact_map_touch(const struct weft_compact_map *self, struct weft_compact_hash hash);
// Notes that the key stands at `offset`, which is above all before. False: it is new and there is no room.
bool weft_compact_map_put(struct weft_compact_map *self, struct weft_compact_hash hash, int64_t offset);
int64_t weft_compact_map_get(const struct weft_compact_map *self, struct weft_compact_hash hash); // -1: not there

#endif
