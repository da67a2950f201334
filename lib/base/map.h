// SPDX-License-Identifier: MPL-2.0
/**
 * A hash map from short byte keys to pointers (open addressing, insertion order kept for iteration).
 *
 * Keys are copied; values are borrowed. Iteration is in insertion order, so that whoever iterates is deterministic.
 */
#ifndef WEFT_BASE_MAP_H
#define WEFT_BASE_MAP_H

#include "bytes.h"

typedef struct weft_map weft_map_t;

weft_map_t *weft_map_new(void);
void weft_map_destroy(weft_map_t **self_p); // values are not freed

void *weft_map_get(const weft_map_t *self, weft_slice_t key); // NULL if absent
// value not NULL; returns the one it replaced or NULL
void *weft_map_put(weft_map_t *self, weft_slice_t key, void *value);
void *weft_map_remove(weft_map_t *self, weft_slice_t key); // returns what was there or NULL
size_t weft_map_count(const weft_map_t *self);

// Integer keys, eight bytes.
void *weft_map_get_u64(const weft_map_t *self, uint64_t key);
void *weft_map_put_u64(weft_map_t *self, uint64_t key, void *value);
void *weft_map_remove_u64(weft_map_t *self, uint64_t key);

// for (size_t i = 0; weft_map_next(map, &i, &key, &value);) ...   Removing entries is allowed meanwhile, adding is not.
// `key` (may be NULL, as `value`) is borrowed until the map changes.
bool weft_map_next(const weft_map_t *self, size_t *cursor, weft_slice_t *key, void **value);

#endif
