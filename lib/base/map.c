// SPDX-License-Identifier: MPL-2.0
// Map: a dense array of entries in insertion order, and an open-addressed index of positions in it (linear probing, at
// most half full, deletion by shifting back, so no tombstones there). A removed entry leaves a hole (value NULL) in the
// dense array: nothing moves, hence removal during iteration is safe. Holes are closed when the array is full: by then
// at least half is holes, or it doubles. The hash is seeded by the process, so that peers can't choose keys that
// collide (I8); the order of iteration does not depend on it.
#include "map.h"

#include "assert.h"
#include "rand.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

// An id and a number behind it still stand inline.
enum { S_KEY_INLINE_BYTES = 24, S_CAPACITY_FIRST = 8 };

struct s_entry {
    uint64_t hash;
    void *value; // NULL: a hole
    size_t key_size;
    union {
        uint8_t here[S_KEY_INLINE_BYTES];
        uint8_t *heap; // when key_size > S_KEY_INLINE_BYTES
    } key;
};

struct weft_map {
    struct s_entry *entries;
    size_t used, capacity, live; // used: entries and holes; slots has 2 * capacity places
    uint32_t *slots;             // position in entries + 1; 0: free
    uint64_t seed;
};

static uint64_t s_process_seed(void)
{
    static _Atomic uint64_t seed;
    uint64_t value = atomic_load_explicit(&seed, memory_order_relaxed);
    if (value) return value;
    weft_rand_t rand;
    weft_rand_seed_os(&rand);
    uint64_t none = 0;
    value = weft_rand_next(&rand) | 1;
    return atomic_compare_exchange_strong(&seed, &none, value) ? value : none;
}

static weft_slice_t s_key(const struct s_entry *entry)
{
    return weft_slice(entry->key_size > S_KEY_INLINE_BYTES ? entry->key.heap : entry->key.here, entry->key_size);
}

static void s_free_key(struct s_entry *entry)
{
    if (entry->key_size > S_KEY_INLINE_BYTES) free(entry->key.heap);
}

weft_map_t *weft_map_new(void)
{
    weft_map_t *self = weft_calloc(1, sizeof *self);
    self->seed = s_process_seed();
    return self;
}

void weft_map_destroy(weft_map_t **self_p)
{
    weft_map_t *self = *self_p;
    if (!self) return;
    for (size_t i = 0; i < self->used; i++) {
        if (self->entries[i].value) s_free_key(&self->entries[i]);
    }
    free(self->entries);
    free(self->slots);
    free(self);
    *self_p = NULL;
}

static size_t s_mask(const weft_map_t *self)
{
    return 2 * self->capacity - 1;
}

// The slot that holds the key, or the free one where it belongs. There is always a free one.
static size_t s_find_slot(const weft_map_t *self, weft_slice_t key, uint64_t hash)
{
    size_t mask = s_mask(self), slot = hash & mask;
    for (; self->slots[slot]; slot = (slot + 1) & mask) {
        const struct s_entry *entry = &self->entries[self->slots[slot] - 1];
        if (entry->hash == hash && entry->key_size == key.size &&
            (key.size == 0 || memcmp(s_key(entry).data, key.data, key.size) == 0))
            break;
    }
    return slot;
}

static void s_rebuild_slots(weft_map_t *self)
{
    memset(self->slots, 0, 2 * self->capacity * sizeof *self->slots);
    size_t mask = s_mask(self);
    for (size_t i = 0; i < self->used; i++) {
        size_t slot = self->entries[i].hash & mask;
        while (self->slots[slot]) slot = (slot + 1) & mask;
        self->slots[slot] = (uint32_t) (i + 1);
    }
}

// Makes room for one more entry: closes the holes, and doubles when less than half was holes.
static void s_make_room(weft_map_t *self)
{
    if (self->used < self->capacity) return;
    size_t kept = 0;
    for (size_t i = 0; i < self->used; i++) {
        if (!self->entries[i].value) continue;
        if (kept != i) self->entries[kept] = self->entries[i];
        kept++;
    }
    self->used = kept;
    if (kept >= self->capacity / 2) {
        self->capacity = self->capacity ? self->capacity * 2 : S_CAPACITY_FIRST;
        weft_assert(self->capacity < UINT32_MAX / 2);
        self->entries = weft_realloc(self->entries, self->capacity * sizeof *self->entries);
        free(self->slots);
        self->slots = weft_alloc(2 * self->capacity * sizeof *self->slots);
    }
    s_rebuild_slots(self);
}

void *weft_map_get(const weft_map_t *self, weft_slice_t key)
{
    if (self->live == 0) return NULL;
    size_t slot = s_find_slot(self, key, weft_slice_hash(key, self->seed));
    return self->slots[slot] ? self->entries[self->slots[slot] - 1].value : NULL;
}

void *weft_map_put(weft_map_t *self, weft_slice_t key, void *value)
{
    weft_assert(value);
    uint64_t hash = weft_slice_hash(key, self->seed);
    if (self->capacity) {
        size_t slot = s_find_slot(self, key, hash);
        if (self->slots[slot]) {
            struct s_entry *entry = &self->entries[self->slots[slot] - 1];
            void *old = entry->value;
            entry->value = value;
            return old;
        }
    }
    s_make_room(self);
    struct s_entry *entry = &self->entries[self->used];
    *entry = (struct s_entry){.hash = hash, .value = value, .key_size = key.size};
    if (key.size > S_KEY_INLINE_BYTES) entry->key.heap = weft_alloc(key.size);
    if (key.size) memcpy(key.size > S_KEY_INLINE_BYTES ? entry->key.heap : entry->key.here, key.data, key.size);
    self->slots[s_find_slot(self, key, hash)] = (uint32_t) (self->used + 1);
    self->used++;
    self->live++;
    return NULL;
}

// Closes the free place at `slot`: entries behind it that probe past it move back (Knuth, TAOCP 3, 6.4, algorithm R).
static void s_shift_back(weft_map_t *self, size_t slot)
{
    size_t mask = s_mask(self), hole = slot;
    for (size_t next = (slot + 1) & mask; self->slots[next]; next = (next + 1) & mask) {
        size_t home = self->entries[self->slots[next] - 1].hash & mask;
        if (((next - home) & mask) < ((next - hole) & mask)) continue; // its home lies behind the hole
        self->slots[hole] = self->slots[next];
        hole = next;
    }
    self->slots[hole] = 0;
}

void *weft_map_remove(weft_map_t *self, weft_slice_t key)
{
    if (self->live == 0) return NULL;
    size_t slot = s_find_slot(self, key, weft_slice_hash(key, self->seed));
    if (!self->slots[slot]) return NULL;
    struct s_entry *entry = &self->entries[self->slots[slot] - 1];
    void *value = entry->value;
    s_shift_back(self, slot);
    s_free_key(entry); // last: `key` may be the map's own copy
    entry->value = NULL;
    self->live--;
    return value;
}

size_t weft_map_count(const weft_map_t *self)
{
    return self->live;
}

void *weft_map_get_u64(const weft_map_t *self, uint64_t key)
{
    return weft_map_get(self, weft_slice(&key, sizeof key));
}

void *weft_map_put_u64(weft_map_t *self, uint64_t key, void *value)
{
    return weft_map_put(self, weft_slice(&key, sizeof key), value);
}

void *weft_map_remove_u64(weft_map_t *self, uint64_t key)
{
    return weft_map_remove(self, weft_slice(&key, sizeof key));
}

bool weft_map_next(const weft_map_t *self, size_t *cursor, weft_slice_t *key, void **value)
{
    while (*cursor < self->used) {
        const struct s_entry *entry = &self->entries[(*cursor)++];
        if (!entry->value) continue;
        if (key) *key = s_key(entry);
        if (value) *value = entry->value;
        return true;
    }
    return false;
}
