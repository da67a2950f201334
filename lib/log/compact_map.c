// SPDX-License-Identifier: MPL-2.0
// Linear probing over entries of 24 bytes; the slot is the upper half of hash times capacity, so that a capacity need
// not be a power of two. It doubles from small, for most compacted partitions hold few keys, up to a size at which old
// and new table together were within the bound.
#include "compact_map.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

struct weft_compact_entry {
    uint64_t low, high;
    int64_t next; // offset + 1; 0: free
};

#define S_CAPACITY_MIN 1024

void weft_compact_map_init(struct weft_compact_map *self, size_t bytes_max, uint64_t seed)
{
    *self = (struct weft_compact_map){.capacity_max = bytes_max / (sizeof(struct weft_compact_entry) * 3 / 2)};
    if (self->capacity_max < 2) self->capacity_max = 2; // one key a run, at least
    self->key[0] = seed;
    self->key[1] = seed * 0x9e3779b97f4a7c15ULL + 0xbf58476d1ce4e5b9ULL;
}

void weft_compact_map_fini(struct weft_compact_map *self)
{
    free(self->entries);
    self->entries = NULL;
    self->capacity = self->count = 0;
}

// ---- SipHash-1-3, 128 bits

#define S_ROTATE(x, n) (((x) << (n)) | ((x) >> (64 - (n))))

static inline void s_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = S_ROTATE(v[1], 13) ^ v[0];
    v[0] = S_ROTATE(v[0], 32);
    v[2] += v[3];
    v[3] = S_ROTATE(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = S_ROTATE(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = S_ROTATE(v[1], 17) ^ v[2];
    v[2] = S_ROTATE(v[2], 32);
}

static inline uint64_t s_end(uint64_t v[4], uint64_t mark_2, uint64_t mark_1)
{
    v[2] ^= mark_2;
    v[1] ^= mark_1;
    for (int i = 0; i < 3; i++) s_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

struct weft_compact_hash weft_compact_hash(const struct weft_compact_map *self, weft_slice_t key)
{
    uint64_t v[4] = {self->key[0] ^ 0x736f6d6570736575ULL, self->key[1] ^ 0x646f72616e646f6dULL ^ 0xee,
                     self->key[0] ^ 0x6c7967656e657261ULL, self->key[1] ^ 0x7465646279746573ULL};
    const uint8_t *at = key.data, *end = at + (key.size & ~(size_t) 7);
    uint64_t word = 0;
    for (; at != end; at += 8) {
        memcpy(&word, at, 8);
        word = le64toh(word);
        v[3] ^= word;
        s_round(v);
        v[0] ^= word;
    }
    word = (uint64_t) key.size << 56;
    for (size_t i = 0; i < (key.size & 7); i++) word |= (uint64_t) at[i] << (8 * i);
    v[3] ^= word;
    s_round(v);
    v[0] ^= word;
    struct weft_compact_hash hash;
    hash.low = s_end(v, 0xee, 0);
    hash.high = s_end(v, 0, 0xdd);
    return hash;
}

// ---- table

static size_t s_slot(const struct weft_compact_map *self, struct weft_compact_hash hash)
{
    return (size_t) (((unsigned __int128) hash.low * self->capacity) >> 64);
}

void weft_compact_map_touch(const struct weft_compact_map *self, struct weft_compact_hash hash)
{
    if (self->capacity) __builtin_prefetch(&self->entries[s_slot(self, hash)], 1);
}

// The key's entry, or the free one in which it belongs. The table is never full.
static struct weft_compact_entry *s_find(const struct weft_compact_map *self, struct weft_compact_hash hash)
{
    size_t at = s_slot(self, hash);
    for (;;) {
        struct weft_compact_entry *entry = &self->entries[at];
        if (entry->next == 0 || (entry->low == hash.low && entry->high == hash.high)) return entry;
        if (++at == self->capacity) at = 0;
    }
}

static bool s_grow(struct weft_compact_map *self)
{
    if (self->capacity == self->capacity_max) return false;
    struct weft_compact_map old = *self;
    // The last step at least doubles as well: so half of the bound, at most, stands beside what it becomes.
    self->capacity = old.capacity == 0 ? S_CAPACITY_MIN : old.capacity * 2;
    if (self->capacity > self->capacity_max / 2) self->capacity = self->capacity_max;
    self->entries = weft_calloc(self->capacity, sizeof *self->entries);
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.entries[i].next == 0) continue;
        *s_find(self, (struct weft_compact_hash){old.entries[i].low, old.entries[i].high}) = old.entries[i];
    }
    free(old.entries);
    return true;
}

bool weft_compact_map_put(struct weft_compact_map *self, struct weft_compact_hash hash, int64_t offset)
{
    for (;;) {
        struct weft_compact_entry *entry = self->capacity ? s_find(self, hash) : NULL;
        bool room = self->count < self->capacity - self->capacity / 5 - 1;
        if (entry && (entry->next || room)) {
            if (!entry->next) self->count++;
            *entry = (struct weft_compact_entry){hash.low, hash.high, offset + 1};
            return true;
        }
        if (!s_grow(self)) return false;
    }
}

int64_t weft_compact_map_get(const struct weft_compact_map *self, struct weft_compact_hash hash)
{
    return self->capacity ? s_find(self, hash)->next - 1 : -1;
}
