// SPDX-License-Identifier: MPL-2.0
/**
 * What the files of the table of committed offsets share: offsets.c (judging, changes, looking), offsets_table.c (where
 * entries stand and how they are found). Nobody else includes this.
 */
#ifndef WEFT_CORE_OFFSETS_SELF_H
#define WEFT_CORE_OFFSETS_SELF_H

#include "offsets.h"

#include "../base/map.h"

#define WEFT_OFFSETS_NONE UINT32_MAX
#define WEFT_OFFSETS_CHUNK 4096u // entries

struct weft_offsets_kept {
    int64_t offset, committed_ms;
    uint64_t token, n;
    uint8_t *metadata; // 4 bytes of size, then the bytes; NULL: nil
    int32_t epoch;
};

struct weft_offsets_entry {
    struct weft_offsets_kept value; // durable, if `exists`
    uint32_t group, topic, partition;
    uint32_t next, previous; // in its group's list; free: next of the free ones
    bool exists, used;
    uint64_t newest; // number of its last in the queue + 1; 0: none
};

struct weft_offsets_pending {
    struct weft_offsets_kept value;
    int64_t at;      // offset in the log
    uint64_t before; // as `newest`
    uint32_t entry;
    bool deletes;
};

struct weft_offsets_team {
    char *name;
    size_t name_size;
    uint32_t slot, first, count;
    uint32_t fence; // its entry with topic zero
};

struct weft_offsets_topic {
    weft_id_t id;
    uint32_t slot, count;
};

struct weft_offsets_slots {
    void **items; // NULL: free
    uint32_t *holes;
    uint32_t count, capacity, hole_count;
};

struct weft_offsets {
    struct weft_offsets_entry **chunks;
    uint32_t entry_high, entry_count, entry_free; // ever used; used now; first of the free ones
    uint32_t *index;                              // entry + 1, 0: free
    uint32_t index_mask;
    weft_map_t *groups_by_name, *topics_by_id;
    struct weft_offsets_slots groups, topics;
    struct weft_offsets_pending *queue;
    uint64_t queue_first; // number of its first
    size_t queue_count, queue_capacity;
    size_t bytes; // of metadata, and of groups
    int64_t durable;
};

// ---- offsets_table.c

static inline struct weft_offsets_entry *weft_offsets_entry(const weft_offsets_t *self, uint32_t number)
{
    return &self->chunks[number / WEFT_OFFSETS_CHUNK][number % WEFT_OFFSETS_CHUNK];
}

static inline struct weft_offsets_team *weft_offsets_team_at(const weft_offsets_t *self, uint32_t slot)
{
    return self->groups.items[slot];
}

static inline const struct weft_offsets_topic *weft_offsets_topic_at(const weft_offsets_t *self, uint32_t slot)
{
    return self->topics.items[slot];
}

static inline struct weft_offsets_pending *weft_offsets_pending(const weft_offsets_t *self, uint64_t number)
{
    return &self->queue[number & (self->queue_capacity - 1)];
}

struct weft_offsets_team *weft_offsets_team(const weft_offsets_t *self, weft_slice_t name); // NULL: none
struct weft_offsets_topic *weft_offsets_topic(const weft_offsets_t *self, weft_id_t id);
// The number of an entry, WEFT_OFFSETS_NONE if there is none.
uint32_t weft_offsets_lookup(const weft_offsets_t *self, uint32_t group, uint32_t topic, uint32_t partition);
uint32_t weft_offsets_number(const weft_offsets_t *self, const struct weft_offset_key *key);
uint32_t weft_offsets_entry_made(weft_offsets_t *self, const struct weft_offset_key *key); // or the one that is there
void weft_offsets_entry_drop(weft_offsets_t *self, uint32_t number); // goes if nothing is left of it
size_t weft_offsets_table_bytes(const weft_offsets_t *self);         // but for metadata, groups and the queue
void weft_offsets_table_fini(weft_offsets_t *self);

#endif
