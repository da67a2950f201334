// SPDX-License-Identifier: MPL-2.0
/*
 * Entries stand in chunks that never move and are named by 32-bit numbers: the index by key (open addressing, deletion
 * by shifting back) and the list of a group's entries hold numbers only, names of groups and ids of topics are kept
 * once.
 */
#include "offsets_self.h"

#include <stdlib.h>

#define S_MAPPED_BYTES 96 // of a group or topic beside its own: in the map and the heap

// ---- slots: small numbers for pointers

static uint32_t s_slot_take(struct weft_offsets_slots *slots, void *item)
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

static void s_slot_give(struct weft_offsets_slots *slots, uint32_t slot)
{
    slots->items[slot] = NULL;
    slots->holes[slots->hole_count++] = slot;
}

// With what the map takes for it.
static size_t s_team_bytes(const struct weft_offsets_team *group)
{
    return sizeof *group + S_MAPPED_BYTES + 2 * group->name_size;
}

struct weft_offsets_team *weft_offsets_team(const weft_offsets_t *self, weft_slice_t name)
{
    return weft_map_get(self->groups_by_name, name);
}

struct weft_offsets_topic *weft_offsets_topic(const weft_offsets_t *self, weft_id_t id)
{
    return weft_map_get(self->topics_by_id, weft_id_slice(&id));
}

static struct weft_offsets_team *s_group_made(weft_offsets_t *self, weft_slice_t name)
{
    struct weft_offsets_team *group = weft_offsets_team(self, name);
    if (group != NULL) return group;
    group = weft_calloc(1, sizeof *group);
    group->name = weft_slice_dup(name);
    group->name_size = name.size;
    group->first = group->fence = WEFT_OFFSETS_NONE;
    group->slot = s_slot_take(&self->groups, group);
    weft_map_put(self->groups_by_name, name, group);
    self->bytes += s_team_bytes(group);
    return group;
}

static struct weft_offsets_topic *s_topic_made(weft_offsets_t *self, weft_id_t id)
{
    struct weft_offsets_topic *topic = weft_offsets_topic(self, id);
    if (topic != NULL) return topic;
    topic = weft_calloc(1, sizeof *topic);
    topic->id = id;
    topic->slot = s_slot_take(&self->topics, topic);
    weft_map_put(self->topics_by_id, weft_id_slice(&id), topic);
    return topic;
}

static void s_group_drop(weft_offsets_t *self, struct weft_offsets_team *group)
{
    if (group->count > 0) return;
    self->bytes -= s_team_bytes(group);
    weft_map_remove(self->groups_by_name, weft_slice(group->name, group->name_size));
    s_slot_give(&self->groups, group->slot);
    free(group->name);
    free(group);
}

static void s_topic_drop(weft_offsets_t *self, struct weft_offsets_topic *topic)
{
    if (topic->count > 0) return;
    weft_map_remove(self->topics_by_id, weft_id_slice(&topic->id));
    s_slot_give(&self->topics, topic->slot);
    free(topic);
}

// ---- entries and their index

// splitmix64's finish (Steele, Lea, Flood 2014); what it mixes are small numbers that no peer chooses freely.
static uint32_t s_hash(uint32_t group, uint32_t topic, uint32_t partition)
{
    uint64_t x = ((uint64_t) group << 32 | partition) ^ (uint64_t) topic * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t) (x ^ x >> 31);
}

static uint32_t s_home(const weft_offsets_t *self, const struct weft_offsets_entry *entry)
{
    return s_hash(entry->group, entry->topic, entry->partition) & self->index_mask;
}

uint32_t weft_offsets_lookup(const weft_offsets_t *self, uint32_t group, uint32_t topic, uint32_t partition)
{
    if (self->index == NULL) return WEFT_OFFSETS_NONE;
    for (uint32_t at = s_hash(group, topic, partition);; at++) {
        uint32_t number = self->index[at & self->index_mask];
        if (number == 0) return WEFT_OFFSETS_NONE;
        const struct weft_offsets_entry *entry = weft_offsets_entry(self, number - 1);
        if (entry->group == group && entry->topic == topic && entry->partition == partition) return number - 1;
    }
}

uint32_t weft_offsets_number(const weft_offsets_t *self, const struct weft_offset_key *key)
{
    const struct weft_offsets_team *group = weft_offsets_team(self, key->group);
    if (group == NULL) return WEFT_OFFSETS_NONE;
    const struct weft_offsets_topic *topic = weft_offsets_topic(self, key->topic);
    return topic == NULL ? WEFT_OFFSETS_NONE : weft_offsets_lookup(self, group->slot, topic->slot, key->partition);
}

static void s_index_put(weft_offsets_t *self, uint32_t number)
{
    uint32_t at = s_home(self, weft_offsets_entry(self, number));
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
        if (weft_offsets_entry(self, i)->used) s_index_put(self, i);
}

static void s_index_remove(weft_offsets_t *self, uint32_t number)
{
    uint32_t hole = s_home(self, weft_offsets_entry(self, number));
    while (self->index[hole] != number + 1) hole = (hole + 1) & self->index_mask;
    for (uint32_t at = (hole + 1) & self->index_mask; self->index[at] != 0; at = (at + 1) & self->index_mask) {
        uint32_t home = s_home(self, weft_offsets_entry(self, self->index[at] - 1));
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
    if (number != WEFT_OFFSETS_NONE) {
        self->entry_free = weft_offsets_entry(self, number)->next;
    } else {
        number = self->entry_high++;
        if (number % WEFT_OFFSETS_CHUNK == 0) {
            self->chunks = weft_realloc(self->chunks, (number / WEFT_OFFSETS_CHUNK + 1) * sizeof *self->chunks);
            self->chunks[number / WEFT_OFFSETS_CHUNK] =
                weft_calloc(WEFT_OFFSETS_CHUNK, sizeof(struct weft_offsets_entry));
        }
    }
    return number;
}

uint32_t weft_offsets_entry_made(weft_offsets_t *self, const struct weft_offset_key *key)
{
    struct weft_offsets_team *group = s_group_made(self, key->group);
    struct weft_offsets_topic *topic = s_topic_made(self, key->topic);
    uint32_t number = weft_offsets_lookup(self, group->slot, topic->slot, key->partition);
    if (number != WEFT_OFFSETS_NONE) return number;
    s_index_grow(self);
    number = s_entry_take(self);
    struct weft_offsets_entry *entry = weft_offsets_entry(self, number);
    *entry = (struct weft_offsets_entry){.group = group->slot,
                                         .topic = topic->slot,
                                         .partition = key->partition,
                                         .next = group->first,
                                         .previous = WEFT_OFFSETS_NONE,
                                         .used = true};
    if (group->first != WEFT_OFFSETS_NONE) weft_offsets_entry(self, group->first)->previous = number;
    group->first = number;
    if (weft_id_is_zero(key->topic) && key->partition == 0) group->fence = number;
    group->count++;
    topic->count++;
    self->entry_count++;
    s_index_put(self, number);
    return number;
}

void weft_offsets_entry_drop(weft_offsets_t *self, uint32_t number)
{
    struct weft_offsets_entry *entry = weft_offsets_entry(self, number);
    if (entry->exists || entry->newest != 0) return;
    struct weft_offsets_team *group = weft_offsets_team_at(self, entry->group);
    struct weft_offsets_topic *topic = self->topics.items[entry->topic];
    s_index_remove(self, number);
    if (entry->previous != WEFT_OFFSETS_NONE)
        weft_offsets_entry(self, entry->previous)->next = entry->next;
    else
        group->first = entry->next;
    if (entry->next != WEFT_OFFSETS_NONE) weft_offsets_entry(self, entry->next)->previous = entry->previous;
    if (group->fence == number) group->fence = WEFT_OFFSETS_NONE;
    group->count--;
    topic->count--;
    s_group_drop(self, group);
    s_topic_drop(self, topic);
    entry->used = false;
    entry->next = self->entry_free;
    self->entry_free = number;
    self->entry_count--;
}

// ---- all of it

size_t weft_offsets_table_bytes(const weft_offsets_t *self)
{
    size_t entry = sizeof(struct weft_offsets_entry) + 2 * sizeof *self->index; // the index is about half full
    return self->entry_count * entry +
           weft_map_count(self->topics_by_id) * (sizeof(struct weft_offsets_topic) + S_MAPPED_BYTES);
}

void weft_offsets_table_fini(weft_offsets_t *self)
{
    for (uint32_t i = 0; i < self->entry_high; i += WEFT_OFFSETS_CHUNK) free(self->chunks[i / WEFT_OFFSETS_CHUNK]);
    for (uint32_t i = 0; i < self->groups.count; i++) {
        struct weft_offsets_team *group = self->groups.items[i];
        if (group != NULL) free(group->name);
        free(group);
    }
    for (uint32_t i = 0; i < self->topics.count; i++) free(self->topics.items[i]);
    free(self->chunks);
    free(self->index);
    free(self->groups.items);
    free(self->groups.holes);
    free(self->topics.items);
    free(self->topics.holes);
    weft_map_destroy(&self->groups_by_name);
    weft_map_destroy(&self->topics_by_id);
}
