// SPDX-License-Identifier: MPL-2.0
/*
 * Entries stand in chunks that never move and are named by 32-bit numbers: the index by key (open addressing, deletion
 * by shifting back) and the list of a group's entries hold numbers only, names of groups and ids of topics are kept
 * once. An entry holds what is durable. What was appended above the durable mark waits in one queue for the whole
 * table, in the order of the log; an entry knows the last of its own there, and each knows the one before, so that the
 * newest is found at once, the durable mark moves by taking from the front, and what could not be appended goes from
 * the back.
 */
#include "offsets.h"

#include "../base/assert.h"
#include "../base/crc32c.h"
#include "../base/map.h"
#include "../base/mutate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define S_NONE UINT32_MAX
#define S_CHUNK 4096u // entries

struct s_value {
    int64_t offset, committed_ms;
    uint64_t token, n;
    uint8_t *metadata; // 4 bytes of size, then the bytes; NULL: nil
    int32_t epoch;
};

struct s_entry {
    struct s_value value; // durable, if `exists`
    uint32_t group, topic, partition;
    uint32_t next, previous; // in its group's list; free: next of the free ones
    bool exists, used;
    uint64_t newest; // number of its last in the queue + 1; 0: none
};

struct s_pending {
    struct s_value value;
    int64_t at;      // offset in the log
    uint64_t before; // as `newest`
    uint32_t entry;
    bool deletes;
};

struct s_group {
    char *name;
    size_t name_size;
    uint32_t slot, first, count;
    uint32_t fence; // its entry with topic zero
};

struct s_topic {
    weft_id_t id;
    uint32_t slot, count;
};

struct s_slots {
    void **items; // NULL: free
    uint32_t *holes;
    uint32_t count, capacity, hole_count;
};

struct weft_offsets {
    struct s_entry **chunks;
    uint32_t entry_high, entry_count, entry_free; // ever used; used now; first of the free ones
    uint32_t *index;                              // entry + 1, 0: free
    uint32_t index_mask;
    weft_map_t *groups_by_name, *topics_by_id;
    struct s_slots groups, topics;
    struct s_pending *queue;
    uint64_t queue_first; // number of its first
    size_t queue_count, queue_capacity;
    int64_t durable;
};

uint32_t weft_offsets_partition(weft_slice_t group, uint32_t partitions)
{
    return weft_crc32c(0, group.data, group.size) % partitions;
}

// ---- slots: small numbers for pointers

static uint32_t s_slot_take(struct s_slots *slots, void *item)
{
    if (slots->hole_count > 0) {
        uint32_t slot = slots->holes[--slots->hole_count];
        slots->items[slot] = item;
        return slot;
    }
    if (slots->count == slots->capacity) {
        slots->capacity = slots->capacity == 0 ? 16 : 2 * slots->capacity;
        slots->items = weft_realloc(slots->items, slots->capacity * sizeof *slots->items);
        slots->holes = weft_realloc(slots->holes, slots->capacity * sizeof *slots->holes);
    }
    slots->items[slots->count] = item;
    return slots->count++;
}

static void s_slot_give(struct s_slots *slots, uint32_t slot)
{
    slots->items[slot] = NULL;
    slots->holes[slots->hole_count++] = slot;
}

static struct s_group *s_group_at(const weft_offsets_t *self, uint32_t slot)
{
    return self->groups.items[slot];
}

static const struct s_topic *s_topic_at(const weft_offsets_t *self, uint32_t slot)
{
    return self->topics.items[slot];
}

static struct s_group *s_group(const weft_offsets_t *self, weft_slice_t name)
{
    return weft_map_get(self->groups_by_name, name);
}

static struct s_topic *s_topic(const weft_offsets_t *self, weft_id_t id)
{
    return weft_map_get(self->topics_by_id, weft_id_slice(&id));
}

static struct s_group *s_group_made(weft_offsets_t *self, weft_slice_t name)
{
    struct s_group *group = s_group(self, name);
    if (group != NULL) return group;
    group = weft_calloc(1, sizeof *group);
    group->name = weft_slice_dup(name);
    group->name_size = name.size;
    group->first = group->fence = S_NONE;
    group->slot = s_slot_take(&self->groups, group);
    weft_map_put(self->groups_by_name, name, group);
    return group;
}

static struct s_topic *s_topic_made(weft_offsets_t *self, weft_id_t id)
{
    struct s_topic *topic = s_topic(self, id);
    if (topic != NULL) return topic;
    topic = weft_calloc(1, sizeof *topic);
    topic->id = id;
    topic->slot = s_slot_take(&self->topics, topic);
    weft_map_put(self->topics_by_id, weft_id_slice(&id), topic);
    return topic;
}

static void s_group_drop(weft_offsets_t *self, struct s_group *group)
{
    if (group->count > 0) return;
    weft_map_remove(self->groups_by_name, weft_slice(group->name, group->name_size));
    s_slot_give(&self->groups, group->slot);
    free(group->name);
    free(group);
}

static void s_topic_drop(weft_offsets_t *self, struct s_topic *topic)
{
    if (topic->count > 0) return;
    weft_map_remove(self->topics_by_id, weft_id_slice(&topic->id));
    s_slot_give(&self->topics, topic->slot);
    free(topic);
}

// ---- entries and their index

static struct s_entry *s_entry(const weft_offsets_t *self, uint32_t number)
{
    return &self->chunks[number / S_CHUNK][number % S_CHUNK];
}

// splitmix64's finish (Steele, Lea, Flood 2014); what it mixes are small numbers that no peer chooses freely.
static uint32_t s_hash(uint32_t group, uint32_t topic, uint32_t partition)
{
    uint64_t x = ((uint64_t) group << 32 | partition) ^ (uint64_t) topic * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t) (x ^ x >> 31);
}

static uint32_t s_home(const weft_offsets_t *self, const struct s_entry *entry)
{
    return s_hash(entry->group, entry->topic, entry->partition) & self->index_mask;
}

static uint32_t s_lookup(const weft_offsets_t *self, uint32_t group, uint32_t topic, uint32_t partition)
{
    if (self->index == NULL) return S_NONE;
    for (uint32_t at = s_hash(group, topic, partition);; at++) {
        uint32_t number = self->index[at & self->index_mask];
        if (number == 0) return S_NONE;
        const struct s_entry *entry = s_entry(self, number - 1);
        if (entry->group == group && entry->topic == topic && entry->partition == partition) return number - 1;
    }
}

static uint32_t s_find(const weft_offsets_t *self, const struct weft_offset_key *key)
{
    const struct s_group *group = s_group(self, key->group);
    if (group == NULL) return S_NONE;
    const struct s_topic *topic = s_topic(self, key->topic);
    return topic == NULL ? S_NONE : s_lookup(self, group->slot, topic->slot, key->partition);
}

static void s_index_put(weft_offsets_t *self, uint32_t number)
{
    uint32_t at = s_home(self, s_entry(self, number));
    while (self->index[at] != 0) at = (at + 1) & self->index_mask;
    self->index[at] = number + 1;
}

static void s_index_grow(weft_offsets_t *self)
{
    uint64_t size = self->index == NULL ? 64 : (uint64_t) self->index_mask + 1;
    if (self->index != NULL && (uint64_t) self->entry_count * 4 < size * 3) return;
    if (self->index != NULL) size *= 2;
    free(self->index);
    self->index = weft_calloc(size, sizeof *self->index);
    self->index_mask = (uint32_t) (size - 1);
    for (uint32_t i = 0; i < self->entry_high; i++)
        if (s_entry(self, i)->used) s_index_put(self, i);
}

static void s_index_remove(weft_offsets_t *self, uint32_t number)
{
    uint32_t hole = s_home(self, s_entry(self, number));
    while (self->index[hole] != number + 1) hole = (hole + 1) & self->index_mask;
    for (uint32_t at = (hole + 1) & self->index_mask; self->index[at] != 0; at = (at + 1) & self->index_mask) {
        uint32_t home = s_home(self, s_entry(self, self->index[at] - 1));
        if (((at - home) & self->index_mask) < ((at - hole) & self->index_mask))
            continue; // its home lies behind the hole
        self->index[hole] = self->index[at];
        hole = at;
    }
    self->index[hole] = 0;
}

static uint32_t s_entry_take(weft_offsets_t *self)
{
    uint32_t number = self->entry_free;
    if (number != S_NONE) {
        self->entry_free = s_entry(self, number)->next;
    } else {
        number = self->entry_high++;
        if (number % S_CHUNK == 0) {
            self->chunks = weft_realloc(self->chunks, (number / S_CHUNK + 1) * sizeof *self->chunks);
            self->chunks[number / S_CHUNK] = weft_calloc(S_CHUNK, sizeof(struct s_entry));
        }
    }
    return number;
}

static uint32_t s_entry_made(weft_offsets_t *self, const struct weft_offset_key *key)
{
    struct s_group *group = s_group_made(self, key->group);
    struct s_topic *topic = s_topic_made(self, key->topic);
    uint32_t number = s_lookup(self, group->slot, topic->slot, key->partition);
    if (number != S_NONE) return number;
    s_index_grow(self);
    number = s_entry_take(self);
    struct s_entry *entry = s_entry(self, number);
    *entry = (struct s_entry){.group = group->slot,
                              .topic = topic->slot,
                              .partition = key->partition,
                              .next = group->first,
                              .previous = S_NONE,
                              .used = true};
    if (group->first != S_NONE) s_entry(self, group->first)->previous = number;
    group->first = number;
    if (weft_id_is_zero(key->topic) && key->partition == 0) group->fence = number;
    group->count++;
    topic->count++;
    self->entry_count++;
    s_index_put(self, number);
    return number;
}

// Goes if nothing is left of it.
static void s_entry_drop(weft_offsets_t *self, uint32_t number)
{
    struct s_entry *entry = s_entry(self, number);
    if (entry->exists || entry->newest != 0) return;
    struct s_group *group = s_group_at(self, entry->group);
    struct s_topic *topic = self->topics.items[entry->topic];
    s_index_remove(self, number);
    if (entry->previous != S_NONE)
        s_entry(self, entry->previous)->next = entry->next;
    else
        group->first = entry->next;
    if (entry->next != S_NONE) s_entry(self, entry->next)->previous = entry->previous;
    if (group->fence == number) group->fence = S_NONE;
    group->count--;
    topic->count--;
    s_group_drop(self, group);
    s_topic_drop(self, topic);
    entry->used = false;
    entry->next = self->entry_free;
    self->entry_free = number;
    self->entry_count--;
}

// ---- values

static struct s_value s_copy(const struct weft_offset_value *from)
{
    struct s_value value = {.offset = from->offset,
                            .committed_ms = from->committed_ms,
                            .token = from->token,
                            .n = from->n,
                            .epoch = from->epoch};
    if (from->metadata.data == NULL) return value;
    uint32_t size = (uint32_t) from->metadata.size;
    value.metadata = weft_alloc(sizeof size + size);
    memcpy(value.metadata, &size, sizeof size);
    if (size != 0) memcpy(value.metadata + sizeof size, from->metadata.data, size);
    return value;
}

static struct weft_offset_value s_view(const struct s_value *from)
{
    struct weft_offset_value value = {.offset = from->offset,
                                      .committed_ms = from->committed_ms,
                                      .token = from->token,
                                      .n = from->n,
                                      .epoch = from->epoch};
    uint32_t size;
    if (from->metadata == NULL) return value;
    memcpy(&size, from->metadata, sizeof size);
    value.metadata = weft_slice(from->metadata + sizeof size, size);
    return value;
}

static struct s_pending *s_pending(const weft_offsets_t *self, uint64_t number)
{
    return &self->queue[number & (self->queue_capacity - 1)];
}

// The newest value, NULL: there is none, or it was deleted.
static const struct s_value *s_newest(const weft_offsets_t *self, const struct s_entry *entry)
{
    if (entry->newest == 0) return entry->exists ? &entry->value : NULL;
    const struct s_pending *pending = s_pending(self, entry->newest - 1);
    return pending->deletes ? NULL : &pending->value;
}

static struct weft_offset_key s_key_of(const weft_offsets_t *self, const struct s_entry *entry)
{
    const struct s_group *group = s_group_at(self, entry->group);
    return (struct weft_offset_key){.group = weft_slice(group->name, group->name_size),
                                    .topic = s_topic_at(self, entry->topic)->id,
                                    .partition = entry->partition};
}

// ---- life

weft_offsets_t *weft_offsets_new(void)
{
    weft_offsets_t *self = weft_calloc(1, sizeof *self);
    self->entry_free = S_NONE;
    self->groups_by_name = weft_map_new();
    self->topics_by_id = weft_map_new();
    return self;
}

static void s_release(weft_offsets_t *self)
{
    for (uint64_t i = 0; i < self->queue_count; i++) free(s_pending(self, self->queue_first + i)->value.metadata);
    for (uint32_t i = 0; i < self->entry_high; i++)
        if (s_entry(self, i)->used && s_entry(self, i)->exists) free(s_entry(self, i)->value.metadata);
    for (uint32_t i = 0; i < self->entry_high; i += S_CHUNK) free(self->chunks[i / S_CHUNK]);
    for (uint32_t i = 0; i < self->groups.count; i++) {
        struct s_group *group = self->groups.items[i];
        if (group != NULL) free(group->name);
        free(group);
    }
    for (uint32_t i = 0; i < self->topics.count; i++) free(self->topics.items[i]);
    free(self->chunks);
    free(self->index);
    free(self->queue);
    free(self->groups.items);
    free(self->groups.holes);
    free(self->topics.items);
    free(self->topics.holes);
    weft_map_destroy(&self->groups_by_name);
    weft_map_destroy(&self->topics_by_id);
}

void weft_offsets_destroy(weft_offsets_t **self_p)
{
    weft_offsets_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    s_release(self);
    free(self);
}

void weft_offsets_clear(weft_offsets_t *self)
{
    s_release(self);
    *self = (weft_offsets_t){.entry_free = S_NONE, .groups_by_name = weft_map_new(), .topics_by_id = weft_map_new()};
}

// ---- judging

weft_err_t weft_offsets_judge(const weft_offsets_t *self, const struct weft_offset_key *key, uint64_t token, uint64_t n,
                              struct weft_error *error)
{
    if (weft_mutated("old_token_taken")) return WEFT_OK;
    const struct s_group *group = s_group(self, key->group);
    const struct s_value *fence =
        group != NULL && group->fence != S_NONE ? s_newest(self, s_entry(self, group->fence)) : NULL;
    if (fence != NULL && token < fence->token)
        return weft_error_set(error, WEFT_ERR_FENCED,
                              "Token %" PRIu64 " is of a life of the group that was ended under %" PRIu64 ".", token,
                              fence->token);
    const struct s_topic *topic = group != NULL ? s_topic(self, key->topic) : NULL;
    uint32_t number = topic != NULL ? s_lookup(self, group->slot, topic->slot, key->partition) : S_NONE;
    const struct s_value *value = number != S_NONE ? s_newest(self, s_entry(self, number)) : NULL;
    if (value == NULL) {
        if (self->entry_count < WEFT_OFFSETS_MAX || number != S_NONE) return WEFT_OK;
        return weft_error_set(error, WEFT_ERR_OVERLOADED, "This partition of __offsets holds %d offsets, its most.",
                              WEFT_OFFSETS_MAX);
    }
    if (token < value->token)
        return weft_error_set(error, WEFT_ERR_FENCED,
                              "Token %" PRIu64 " is below %" PRIu64 ": the partition was given to another since.",
                              token, value->token);
    if (token == value->token && token != 0 && n < value->n && !weft_mutated("older_commit_taken"))
        return weft_error_set(error, WEFT_ERR_FENCED,
                              "Commit %" PRIu64 " of token %" PRIu64 " comes behind %" PRIu64 ", which is newer.", n,
                              token, value->n);
    return WEFT_OK;
}

// ---- changes

static void s_queue_grow(weft_offsets_t *self)
{
    if (self->queue_count < self->queue_capacity) return;
    size_t capacity = self->queue_capacity == 0 ? 64 : 2 * self->queue_capacity;
    struct s_pending *queue = weft_alloc(capacity * sizeof *queue);
    for (uint64_t i = self->queue_first; i < self->queue_first + self->queue_count; i++)
        queue[i & (capacity - 1)] = *s_pending(self, i);
    free(self->queue);
    self->queue = queue;
    self->queue_capacity = capacity;
}

void weft_offsets_apply(weft_offsets_t *self, int64_t offset, const struct weft_offset_key *key,
                        const struct weft_offset_value *value)
{
    weft_assert(self->queue_count == 0 || s_pending(self, self->queue_first + self->queue_count - 1)->at < offset);
    uint32_t number = value != NULL ? s_entry_made(self, key) : s_find(self, key);
    if (number == S_NONE) return; // a tombstone of what isn't there
    struct s_entry *entry = s_entry(self, number);
    s_queue_grow(self);
    uint64_t last = self->queue_first + self->queue_count++;
    struct s_pending *pending = s_pending(self, last);
    *pending = (struct s_pending){.at = offset, .before = entry->newest, .entry = number, .deletes = value == NULL};
    if (value != NULL) pending->value = s_copy(value);
    entry->newest = last + 1;
}

void weft_offsets_durable(weft_offsets_t *self, int64_t offset)
{
    if (offset > self->durable) self->durable = offset;
    while (self->queue_count > 0) {
        const struct s_pending *pending = s_pending(self, self->queue_first);
        if (pending->at >= offset) return;
        struct s_entry *entry = s_entry(self, pending->entry);
        if (entry->exists) free(entry->value.metadata);
        entry->exists = !pending->deletes;
        entry->value = pending->value;
        if (entry->newest == self->queue_first + 1) entry->newest = 0;
        self->queue_first++;
        self->queue_count--;
        if (!entry->exists) s_entry_drop(self, pending->entry);
    }
}

void weft_offsets_undo(weft_offsets_t *self, int64_t offset)
{
    weft_assert(offset >= self->durable); // O2
    while (self->queue_count > 0) {
        uint64_t last = self->queue_first + self->queue_count - 1;
        struct s_pending *pending = s_pending(self, last);
        if (pending->at < offset) return;
        struct s_entry *entry = s_entry(self, pending->entry);
        entry->newest = pending->before > self->queue_first ? pending->before : 0;
        free(pending->value.metadata);
        self->queue_count--;
        s_entry_drop(self, pending->entry);
    }
}

// ---- looking

bool weft_offsets_find(const weft_offsets_t *self, const struct weft_offset_key *key, struct weft_offset_value *out)
{
    uint32_t number = s_find(self, key);
    if (number == S_NONE || !s_entry(self, number)->exists) return false;
    *out = s_view(&s_entry(self, number)->value);
    return true;
}

bool weft_offsets_newest(const weft_offsets_t *self, const struct weft_offset_key *key, struct weft_offset_value *out)
{
    uint32_t number = s_find(self, key);
    const struct s_value *value = number == S_NONE ? NULL : s_newest(self, s_entry(self, number));
    if (value == NULL) return false;
    *out = s_view(value);
    return true;
}

bool weft_offsets_settled(const weft_offsets_t *self, const struct weft_offset_key *key)
{
    uint32_t number = s_find(self, key);
    return number == S_NONE || s_entry(self, number)->newest == 0;
}

static bool s_each(const weft_offsets_t *self, const struct s_group *group, bool newest, weft_offsets_each_fn *each,
                   void *context)
{
    for (uint32_t at = group->first; at != S_NONE; at = s_entry(self, at)->next) {
        const struct s_entry *entry = s_entry(self, at);
        const struct s_value *value = newest ? s_newest(self, entry) : entry->exists ? &entry->value : NULL;
        if (value == NULL) continue;
        const struct weft_offset_key key = s_key_of(self, entry);
        const struct weft_offset_value view = s_view(value);
        if (!each(context, &key, &view)) return false;
    }
    return true;
}

static bool s_each_group(const weft_offsets_t *self, weft_slice_t name, bool newest, weft_offsets_each_fn *each,
                         void *context)
{
    if (name.data != NULL) {
        const struct s_group *group = s_group(self, name);
        return group == NULL || s_each(self, group, newest, each, context);
    }
    for (uint32_t i = 0; i < self->groups.count; i++)
        if (self->groups.items[i] != NULL && !s_each(self, s_group_at(self, i), newest, each, context)) return false;
    return true;
}

bool weft_offsets_each(const weft_offsets_t *self, weft_slice_t group, weft_offsets_each_fn *each, void *context)
{
    return s_each_group(self, group, false, each, context);
}

bool weft_offsets_each_newest(const weft_offsets_t *self, weft_slice_t group, weft_offsets_each_fn *each, void *context)
{
    return s_each_group(self, group, true, each, context);
}

bool weft_offsets_next(const weft_offsets_t *self, size_t *cursor, size_t *steps, struct weft_offset_key *key,
                       struct weft_offset_value *value)
{
    for (; *steps > 0; --*steps) {
        if (*cursor >= self->entry_high) {
            *cursor = SIZE_MAX;
            return false;
        }
        const struct s_entry *entry = s_entry(self, (uint32_t) (*cursor)++);
        const struct s_value *newest = entry->used ? s_newest(self, entry) : NULL;
        if (newest == NULL) continue;
        *key = s_key_of(self, entry);
        *value = s_view(newest);
        --*steps;
        return true;
    }
    return false;
}

size_t weft_offsets_count(const weft_offsets_t *self)
{
    return self->entry_count;
}

// ---- invariants

static void s_check_group(const weft_offsets_t *self, const struct s_group *group)
{
    uint32_t count = 0, previous = S_NONE;
    for (uint32_t at = group->first; at != S_NONE; at = s_entry(self, at)->next, count++) {
        const struct s_entry *entry = s_entry(self, at);
        weft_assert(entry->used && entry->group == group->slot && entry->previous == previous);
        weft_assert(entry->exists || entry->newest != 0);
        weft_assert(s_lookup(self, entry->group, entry->topic, entry->partition) == at);
        bool is_fence = weft_id_is_zero(s_topic_at(self, entry->topic)->id) && entry->partition == 0;
        weft_assert(is_fence == (group->fence == at));
        previous = at;
    }
    weft_assert(count == group->count && count > 0);
}

void weft_offsets_check(const weft_offsets_t *self)
{
    uint64_t entries = 0;
    for (uint32_t i = 0; i < self->groups.count; i++) {
        if (self->groups.items[i] == NULL) continue;
        s_check_group(self, self->groups.items[i]);
        entries += s_group_at(self, i)->count;
    }
    weft_assert(entries == self->entry_count && self->entry_count <= self->entry_high);
    int64_t at = self->durable - 1;
    for (uint64_t i = self->queue_first; i < self->queue_first + self->queue_count; i++) {
        const struct s_pending *pending = s_pending(self, i);
        weft_assert(pending->at > at && pending->before <= i); // O2: all that waits lies above the mark, in order
        weft_assert(s_entry(self, pending->entry)->used && s_entry(self, pending->entry)->newest > i);
        at = pending->at;
    }
}
