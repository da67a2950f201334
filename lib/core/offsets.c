// SPDX-License-Identifier: MPL-2.0
/*
 * An entry holds what is durable. What was appended above the durable mark waits in one queue for the whole table, in the
 * order of the log; an entry knows the last of its own there, and each knows the one before, so that the newest is found
 * at once, the durable mark moves by taking from the front, and what could not be appended goes from the back.
 */
#include "offsets_self.h"

#include "../base/assert.h"
#include "../base/crc32c.h"
#include "../base/mutate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define S_HEAP_BYTES 16 // of each piece of memory

uint32_t weft_offsets_partition(weft_slice_t group, uint32_t partitions)
{
    return weft_crc32c(0, group.data, group.size) % partitions;
}

// ---- values

static size_t s_metadata_size(const struct weft_offsets_kept *value)
{
    uint32_t size = 0;
    if (value->metadata != NULL) memcpy(&size, value->metadata, sizeof size);
    return size;
}

static size_t s_metadata_bytes(const struct weft_offsets_kept *value)
{
    return value->metadata != NULL ? S_HEAP_BYTES + sizeof(uint32_t) + s_metadata_size(value) : 0;
}

static void s_forget(weft_offsets_t *self, struct weft_offsets_kept *value)
{
    self->bytes -= s_metadata_bytes(value);
    free(value->metadata);
}

static struct weft_offsets_kept s_copy(const struct weft_offset_value *from)
{
    struct weft_offsets_kept value = {.offset = from->offset,
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

static struct weft_offset_value s_view(const struct weft_offsets_kept *from)
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

// The newest value, NULL: there is none, or it was deleted.
static const struct weft_offsets_kept *s_newest(const weft_offsets_t *self, const struct weft_offsets_entry *entry)
{
    if (entry->newest == 0) return entry->exists ? &entry->value : NULL;
    const struct weft_offsets_pending *pending = weft_offsets_pending(self, entry->newest - 1);
    return pending->deletes ? NULL : &pending->value;
}

static struct weft_offset_key s_key_of(const weft_offsets_t *self, const struct weft_offsets_entry *entry)
{
    const struct weft_offsets_team *group = weft_offsets_team_at(self, entry->group);
    return (struct weft_offset_key){.group = weft_slice(group->name, group->name_size),
                                    .topic = weft_offsets_topic_at(self, entry->topic)->id,
                                    .partition = entry->partition};
}

// ---- life

weft_offsets_t *weft_offsets_new(void)
{
    weft_offsets_t *self = weft_calloc(1, sizeof *self);
    self->entry_free = WEFT_OFFSETS_NONE;
    self->groups_by_name = weft_map_new();
    self->topics_by_id = weft_map_new();
    return self;
}

static void s_release(weft_offsets_t *self)
{
    for (uint64_t i = 0; i < self->queue_count; i++)
        free(weft_offsets_pending(self, self->queue_first + i)->value.metadata);
    for (uint32_t i = 0; i < self->entry_high; i++)
        if (weft_offsets_entry(self, i)->used && weft_offsets_entry(self, i)->exists)
            free(weft_offsets_entry(self, i)->value.metadata);
    free(self->queue);
    weft_offsets_table_fini(self);
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
    *self = (weft_offsets_t){
        .entry_free = WEFT_OFFSETS_NONE, .groups_by_name = weft_map_new(), .topics_by_id = weft_map_new()};
}

// ---- judging

weft_err_t weft_offsets_judge(const weft_offsets_t *self, const struct weft_offset_key *key, uint64_t token, uint64_t n,
                              struct weft_error *error)
{
    if (weft_mutated("old_token_taken")) return WEFT_OK;
    const struct weft_offsets_team *group = weft_offsets_team(self, key->group);
    const struct weft_offsets_kept *fence = group != NULL && group->fence != WEFT_OFFSETS_NONE
                                                ? s_newest(self, weft_offsets_entry(self, group->fence))
                                                : NULL;
    if (fence != NULL && token != 0 && token < fence->token)
        return weft_error_set(error, WEFT_ERR_FENCED,
                              "Token %" PRIu64 " is of a life of the group that was ended under %" PRIu64 ".", token,
                              fence->token);
    const struct weft_offsets_topic *topic = group != NULL ? weft_offsets_topic(self, key->topic) : NULL;
    uint32_t number =
        topic != NULL ? weft_offsets_lookup(self, group->slot, topic->slot, key->partition) : WEFT_OFFSETS_NONE;
    const struct weft_offsets_kept *value =
        number != WEFT_OFFSETS_NONE ? s_newest(self, weft_offsets_entry(self, number)) : NULL;
    if (value == NULL) {
        if (self->entry_count < WEFT_OFFSETS_MAX || number != WEFT_OFFSETS_NONE) return WEFT_OK;
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

size_t weft_offsets_bytes(const weft_offsets_t *self)
{
    return weft_offsets_table_bytes(self) + self->bytes + self->queue_count * sizeof(struct weft_offsets_pending);
}

weft_err_t weft_offsets_fits(const weft_offsets_t *self, const struct weft_offset_key *key, size_t metadata_size,
                             size_t bytes_beside, size_t bytes_max, struct weft_error *error)
{
    size_t bytes = bytes_beside + weft_offsets_bytes(self);
    if (bytes + metadata_size < bytes_max) return WEFT_OK;
    uint32_t number = weft_offsets_number(self, key);
    const struct weft_offsets_entry *entry = number != WEFT_OFFSETS_NONE ? weft_offsets_entry(self, number) : NULL;
    // One of each that waits for the durable mark may stand beside what is durable, so there are never twice as many.
    bool grows = entry == NULL || entry->newest != 0 || metadata_size > s_metadata_size(&entry->value);
    if (!grows) return WEFT_OK;
    return weft_error_set(error, WEFT_ERR_OVERLOADED,
                          "Committed offsets take %zu of %zu bytes (offsets.bytes of the broker): only what is there "
                          "can be changed until some are deleted or expire.",
                          bytes, bytes_max);
}

// ---- changes

static void s_queue_grow(weft_offsets_t *self)
{
    if (self->queue_count < self->queue_capacity) return;
    size_t capacity = self->queue_capacity == 0 ? 64 : 2 * self->queue_capacity;
    struct weft_offsets_pending *queue = weft_alloc(capacity * sizeof *queue);
    for (uint64_t i = self->queue_first; i < self->queue_first + self->queue_count; i++)
        queue[i & (capacity - 1)] = *weft_offsets_pending(self, i);
    free(self->queue);
    self->queue = queue;
    self->queue_capacity = capacity;
}

void weft_offsets_apply(weft_offsets_t *self, int64_t offset, const struct weft_offset_key *key,
                        const struct weft_offset_value *value)
{
    weft_assert(self->queue_count == 0 ||
                weft_offsets_pending(self, self->queue_first + self->queue_count - 1)->at < offset);
    uint32_t number = value != NULL ? weft_offsets_entry_made(self, key) : weft_offsets_number(self, key);
    if (number == WEFT_OFFSETS_NONE) return; // a tombstone of what isn't there
    struct weft_offsets_entry *entry = weft_offsets_entry(self, number);
    s_queue_grow(self);
    uint64_t last = self->queue_first + self->queue_count++;
    struct weft_offsets_pending *pending = weft_offsets_pending(self, last);
    *pending =
        (struct weft_offsets_pending){.at = offset, .before = entry->newest, .entry = number, .deletes = value == NULL};
    if (value != NULL) pending->value = s_copy(value);
    self->bytes += s_metadata_bytes(&pending->value);
    entry->newest = last + 1;
}

void weft_offsets_durable(weft_offsets_t *self, int64_t offset)
{
    if (offset > self->durable) self->durable = offset;
    while (self->queue_count > 0) {
        const struct weft_offsets_pending *pending = weft_offsets_pending(self, self->queue_first);
        if (pending->at >= offset) return;
        struct weft_offsets_entry *entry = weft_offsets_entry(self, pending->entry);
        if (entry->exists) s_forget(self, &entry->value);
        entry->exists = !pending->deletes;
        entry->value = pending->value;
        if (entry->newest == self->queue_first + 1) entry->newest = 0;
        self->queue_first++;
        self->queue_count--;
        if (!entry->exists) weft_offsets_entry_drop(self, pending->entry);
    }
}

void weft_offsets_undo(weft_offsets_t *self, int64_t offset)
{
    weft_assert(offset >= self->durable); // O2
    while (self->queue_count > 0) {
        uint64_t last = self->queue_first + self->queue_count - 1;
        struct weft_offsets_pending *pending = weft_offsets_pending(self, last);
        if (pending->at < offset) return;
        struct weft_offsets_entry *entry = weft_offsets_entry(self, pending->entry);
        entry->newest = pending->before > self->queue_first ? pending->before : 0;
        s_forget(self, &pending->value);
        self->queue_count--;
        weft_offsets_entry_drop(self, pending->entry);
    }
}

// ---- looking

bool weft_offsets_find(const weft_offsets_t *self, const struct weft_offset_key *key, struct weft_offset_value *out)
{
    uint32_t number = weft_offsets_number(self, key);
    if (number == WEFT_OFFSETS_NONE || !weft_offsets_entry(self, number)->exists) return false;
    *out = s_view(&weft_offsets_entry(self, number)->value);
    return true;
}

bool weft_offsets_newest(const weft_offsets_t *self, const struct weft_offset_key *key, struct weft_offset_value *out)
{
    uint32_t number = weft_offsets_number(self, key);
    const struct weft_offsets_kept *value =
        number == WEFT_OFFSETS_NONE ? NULL : s_newest(self, weft_offsets_entry(self, number));
    if (value == NULL) return false;
    *out = s_view(value);
    return true;
}

bool weft_offsets_settled(const weft_offsets_t *self, const struct weft_offset_key *key)
{
    uint32_t number = weft_offsets_number(self, key);
    return number == WEFT_OFFSETS_NONE || weft_offsets_entry(self, number)->newest == 0;
}

static bool s_each(const weft_offsets_t *self, const struct weft_offsets_team *group, bool newest,
                   weft_offsets_each_fn *each, void *context)
{
    for (uint32_t at = group->first; at != WEFT_OFFSETS_NONE; at = weft_offsets_entry(self, at)->next) {
        const struct weft_offsets_entry *entry = weft_offsets_entry(self, at);
        const struct weft_offsets_kept *value = newest ? s_newest(self, entry) : entry->exists ? &entry->value : NULL;
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
        const struct weft_offsets_team *group = weft_offsets_team(self, name);
        return group == NULL || s_each(self, group, newest, each, context);
    }
    for (uint32_t i = 0; i < self->groups.count; i++)
        if (self->groups.items[i] != NULL && !s_each(self, weft_offsets_team_at(self, i), newest, each, context))
            return false;
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
        const struct weft_offsets_entry *entry = weft_offsets_entry(self, (uint32_t) (*cursor)++);
        const struct weft_offsets_kept *newest = entry->used ? s_newest(self, entry) : NULL;
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

static void s_check_group(const weft_offsets_t *self, const struct weft_offsets_team *group)
{
    uint32_t count = 0, previous = WEFT_OFFSETS_NONE;
    for (uint32_t at = group->first; at != WEFT_OFFSETS_NONE; at = weft_offsets_entry(self, at)->next, count++) {
        const struct weft_offsets_entry *entry = weft_offsets_entry(self, at);
        weft_assert(entry->used && entry->group == group->slot && entry->previous == previous);
        weft_assert(entry->exists || entry->newest != 0);
        weft_assert(weft_offsets_lookup(self, entry->group, entry->topic, entry->partition) == at);
        bool is_fence = weft_id_is_zero(weft_offsets_topic_at(self, entry->topic)->id) && entry->partition == 0;
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
        entries += weft_offsets_team_at(self, i)->count;
    }
    weft_assert(entries == self->entry_count && self->entry_count <= self->entry_high);
    weft_assert(entries != 0 || self->queue_count != 0 || self->bytes == 0);
    int64_t at = self->durable - 1;
    for (uint64_t i = self->queue_first; i < self->queue_first + self->queue_count; i++) {
        const struct weft_offsets_pending *pending = weft_offsets_pending(self, i);
        weft_assert(pending->at > at && pending->before <= i); // O2: all that waits lies above the mark, in order
        weft_assert(weft_offsets_entry(self, pending->entry)->used &&
                    weft_offsets_entry(self, pending->entry)->newest > i);
        at = pending->at;
    }
}
