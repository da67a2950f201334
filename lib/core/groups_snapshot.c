// SPDX-License-Identifier: MPL-2.0
// The groups' state as bytes: one record groups_snapshot (schemas/records).
//
// Same state, same bytes: groups, members and subscriptions in the order in which they were made, places by topic and
// partition. A place names its holder and who is to hold it by position, so that the largest part costs a few bytes a
// partition, and so that a snapshot can't even say that a partition has two. Decoding builds a second state beside the
// first, with limits asked before anything is allocated, and swaps the two only when all of it was good.
#include "groups_state.h"

#include "../base/assert.h"
#include "../base/crc32c.h"

#include <stdlib.h>
#include <string.h>

// ---- encode

static int s_place_compare(const void *a, const void *b)
{
    const struct weft_group_target *x = a, *y = b;
    return weft_group_place_compare(x->topic, x->partition, y->topic, y->partition);
}

// Partitions that somebody holds or is to hold, sorted.
static struct weft_group_target *s_keys(weft_arena_t *arena, const struct weft_group *group, size_t *count)
{
    *count = 0;
    struct weft_group_target *keys = weft_arena_alloc(arena, weft_map_count(group->index->places) * sizeof *keys + 1);
    weft_slice_t key;
    for (size_t cursor = 0; weft_map_next(group->index->places, &cursor, &key, NULL);) {
        weft_assert(key.size == WEFT_GROUP_PLACE_KEY_BYTES);
        struct weft_group_target *out = &keys[(*count)++];
        memcpy(out->topic.bytes, key.data, sizeof out->topic.bytes);
        memcpy(&out->partition, key.data + sizeof out->topic.bytes, sizeof out->partition);
    }
    qsort(keys, *count, sizeof *keys, s_place_compare);
    return keys;
}

static const struct weft_group_held *s_held(const struct weft_group_member *member, const struct weft_group_target *key)
{
    size_t low = 0, high = member->hold_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct weft_group_held *held = &member->holds[middle];
        if (weft_group_place_compare(held->topic, held->partition, key->topic, key->partition) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return &member->holds[low];
}

// Of one topic: keys[0] to keys[count - 1].
static void s_fill_places(weft_arena_t *arena, const struct weft_group *group, const struct weft_group_target *keys,
                          size_t count, struct weft_snapshot_places *out)
{
    *out = (struct weft_snapshot_places){.topic_id = keys[0].topic};
    out->partitions = weft_arena_alloc(arena, count * sizeof *out->partitions);
    out->holders = weft_arena_alloc(arena, count * sizeof *out->holders);
    out->targets = weft_arena_alloc(arena, count * sizeof *out->targets);
    out->tokens = weft_arena_alloc(arena, count * sizeof *out->tokens);
    out->dropped = weft_arena_alloc(arena, count * sizeof *out->dropped);
    out->partitions_count = out->holders_count = out->targets_count = out->tokens_count = count;
    for (size_t i = 0; i < count; i++) {
        const struct weft_group_place *place = weft_group_place(group, keys[i].topic, keys[i].partition);
        out->partitions[i] = keys[i].partition;
        out->holders[i] = place->holder ? (int32_t) place->holder->position : -1;
        out->targets[i] = place->wanted ? (int32_t) place->wanted->position : -1;
        if (!place->holder) continue;
        const struct weft_group_held *held = s_held(place->holder, &keys[i]);
        out->tokens[i] = held->token;
        out->dropped[i] = held->dropped;
        if (held->dropped) out->dropped_count = count;
    }
}

static void s_fill_member(const struct weft_group_member *member, struct weft_snapshot_member *out)
{
    *out = (struct weft_snapshot_member){.member = member->id,
                                         .epoch = member->epoch,
                                         .revision = member->revision,
                                         .released = member->released,
                                         .instance = weft_slice_text(member->instance),
                                         .paused = member->paused,
                                         .subscription = member->subscription->number,
                                         .client = weft_slice_text(member->client),
                                         .host = weft_slice_text(member->host),
                                         .rack = weft_slice_text(member->rack),
                                         .session_ms = member->session_ms,
                                         .release_ms = member->release_ms,
                                         .exclusive = member->exclusive};
}

// Numbers the subscriptions by the first member that has them.
static void s_fill_subscriptions(weft_arena_t *arena, const struct weft_group *group, struct weft_snapshot_group *out)
{
    size_t most = weft_map_count(group->index->subscriptions);
    out->subscriptions = weft_arena_alloc(arena, most * sizeof *out->subscriptions + 1);
    void *value;
    for (size_t cursor = 0; weft_map_next(group->index->subscriptions, &cursor, NULL, &value);)
        ((struct weft_group_subscription *) value)->number = UINT32_MAX;
    for (size_t i = 0; i < group->member_count; i++) {
        struct weft_group_subscription *it = group->members[i]->subscription;
        if (it->number != UINT32_MAX) continue;
        it->number = (uint32_t) out->subscriptions_count;
        struct weft_snapshot_subscription *to = &out->subscriptions[out->subscriptions_count++];
        to->topics_count = it->topic_count;
        to->topics = weft_arena_alloc(arena, it->topic_count * sizeof *to->topics + 1);
        for (size_t t = 0; t < it->topic_count; t++) to->topics[t] = weft_slice_text(it->topics[t]);
    }
}

static void s_fill_group(weft_arena_t *arena, const struct weft_group *group, struct weft_snapshot_group *out)
{
    *out = (struct weft_snapshot_group){.group = weft_slice_text(group->name),
                                        .epoch = group->epoch,
                                        .digest = group->digest,
                                        .assignor = weft_slice_text(weft_assignor_name(group->assignor)),
                                        .empty_since_ms = group->empty_since_ms};
    s_fill_subscriptions(arena, group, out);
    out->members_count = group->member_count;
    out->members = weft_arena_alloc(arena, group->member_count * sizeof *out->members + 1);
    for (size_t i = 0; i < group->member_count; i++) s_fill_member(group->members[i], &out->members[i]);
    size_t count, topics = 0;
    struct weft_group_target *keys = s_keys(arena, group, &count);
    for (size_t i = 0; i < count; i++) topics += i == 0 || !weft_id_equal(keys[i].topic, keys[i - 1].topic);
    out->places = weft_arena_alloc(arena, topics * sizeof *out->places + 1);
    for (size_t first = 0, next; first < count; first = next) {
        for (next = first + 1; next < count && weft_id_equal(keys[next].topic, keys[first].topic);) next++;
        s_fill_places(arena, group, keys + first, next - first, &out->places[out->places_count++]);
    }
}

void weft_groups_encode(const weft_groups_t *self, weft_buf_t *out)
{
    weft_arena_t arena;
    weft_arena_init(&arena);
    struct weft_groups_snapshot_record it;
    weft_groups_snapshot_record_init(&it);
    it.index = self->index;
    it.groups = weft_arena_alloc(&arena, weft_groups_count(self) * sizeof *it.groups + 1);
    const struct weft_group *group;
    for (size_t cursor = 0; (group = weft_groups_next(self, &cursor));)
        s_fill_group(&arena, group, &it.groups[it.groups_count++]);
    weft_groups_snapshot_record_encode(&it, out);
    weft_arena_fini(&arena);
}

uint32_t weft_groups_digest(const weft_groups_t *self)
{
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_groups_encode(self, &bytes);
    uint32_t digest = weft_crc32c(0, bytes.data, bytes.size);
    weft_buf_fini(&bytes);
    return digest;
}

// ---- decode: each returns false for what no sequence of commands could have made

static bool s_is_text(weft_slice_t text)
{
    return text.size == 0 || !memchr(text.data, 0, text.size);
}

static bool s_take_member(weft_groups_t *self, struct weft_group *group, const struct weft_snapshot_group *all,
                          const struct weft_snapshot_member *it)
{
    if (weft_id_is_zero(it->member) || weft_group_find(group, it->member) ||
        it->subscription >= all->subscriptions_count)
        return false;
    if (it->instance.size &&
        (weft_group_name_check(it->instance, NULL) != WEFT_OK || weft_group_find_instance(group, it->instance)))
        return false;
    if (!s_is_text(it->client) || !s_is_text(it->host) || !s_is_text(it->rack)) return false;
    const struct weft_snapshot_subscription *topics = &all->subscriptions[it->subscription];
    if (topics->topics_count == 0 ||
        weft_group_subscription_check(group, topics->topics, topics->topics_count, NULL) != WEFT_OK)
        return false;
    struct weft_group_profile profile = {.client = it->client,
                                         .host = it->host,
                                         .rack = it->rack,
                                         .session_ms = it->session_ms,
                                         .release_ms = it->release_ms,
                                         .exclusive = it->exclusive};
    if (self->member_count >= WEFT_GROUPS_MEMBERS_MAX || group->member_count >= WEFT_GROUP_MEMBERS_MAX) return false;
    struct weft_group_member *member =
        weft_group_member_add(self, group, group->member_count, it->member, it->instance);
    weft_group_member_describe(self, member, &profile);
    weft_group_subscribe(self, member, topics->topics, topics->topics_count);
    member->epoch = it->epoch;
    member->revision = it->revision;
    member->released = it->released;
    member->paused = it->paused;
    return self->bytes <= WEFT_GROUPS_BYTES_MAX;
}

static struct weft_group_member *s_at(const struct weft_group *group, int32_t position)
{
    return position < 0 ? NULL : group->members[position];
}

// Places of one topic.
static bool s_take_places(weft_groups_t *self, struct weft_group *group, const struct weft_snapshot_places *it)
{
    size_t count = it->partitions_count;
    if (count == 0 || weft_id_is_zero(it->topic_id) || it->holders_count != count || it->targets_count != count ||
        it->tokens_count != count || (it->dropped_count && it->dropped_count != count) ||
        count > WEFT_GROUPS_PLACES_MAX - self->place_count)
        return false;
    for (size_t i = 0; i < count; i++) {
        int32_t members = (int32_t) group->member_count;
        if (it->partitions[i] >= WEFT_PARTITIONS_MAX || (i && it->partitions[i] <= it->partitions[i - 1]) ||
            it->holders[i] < -1 || it->holders[i] >= members || it->targets[i] < -1 || it->targets[i] >= members)
            return false;
        struct weft_group_member *holder = s_at(group, it->holders[i]), *wanted = s_at(group, it->targets[i]);
        uint64_t dropped = it->dropped_count ? it->dropped[i] : 0;
        if ((!holder && !wanted) || (!holder && (dropped || it->tokens[i]))) return false;
        weft_group_place_make(self, group, it->topic_id, it->partitions[i])->wanted = wanted;
        if (wanted)
            wanted->target[wanted->target_count++] =
                (struct weft_group_target){.topic = it->topic_id, .partition = it->partitions[i]};
        if (!holder) continue;
        weft_group_hold(
            self, holder,
            (struct weft_group_held){
                .topic = it->topic_id, .partition = it->partitions[i], .token = it->tokens[i], .dropped = dropped});
        holder->fresh_count = 0; // they come sorted
    }
    return true;
}

// Room for what each member is to hold.
static void s_make_targets(struct weft_group *group, const struct weft_snapshot_group *it)
{
    size_t *counts = weft_calloc(group->member_count, sizeof *counts);
    for (size_t t = 0; t < it->places_count; t++)
        for (size_t i = 0; i < it->places[t].targets_count; i++) {
            int32_t member = it->places[t].targets[i];
            if (member >= 0 && (size_t) member < group->member_count) counts[member]++;
        }
    for (size_t i = 0; i < group->member_count; i++)
        if (counts[i]) group->members[i]->target = weft_alloc(counts[i] * sizeof(struct weft_group_target));
    free(counts);
}

static bool s_take_group(weft_groups_t *self, const struct weft_snapshot_group *it)
{
    if (weft_group_name_check(it->group, NULL) != WEFT_OK || weft_groups_group(self, it->group) ||
        weft_groups_count(self) >= WEFT_GROUPS_MAX || weft_assignor_of_name(it->assignor) == WEFT_ASSIGNOR_NONE)
        return false;
    struct weft_group *group = weft_groups_add(self, it->group);
    group->epoch = it->epoch;
    group->digest = it->digest;
    group->assignor = weft_assignor_of_name(it->assignor);
    group->empty_since_ms = it->empty_since_ms;
    for (size_t i = 0; i < it->members_count; i++)
        if (!s_take_member(self, group, it, &it->members[i])) return false;
    s_make_targets(group, it);
    for (size_t i = 0; i < it->places_count; i++) {
        if (i && memcmp(it->places[i - 1].topic_id.bytes, it->places[i].topic_id.bytes, sizeof(weft_id_t)) >= 0)
            return false;
        if (!s_take_places(self, group, &it->places[i])) return false;
    }
    return weft_group_is_right(self, group);
}

static bool s_take(weft_groups_t *self, const struct weft_groups_snapshot_record *it)
{
    self->index = it->index;
    for (size_t i = 0; i < it->groups_count; i++)
        if (!s_take_group(self, &it->groups[i])) return false;
    return true;
}

weft_err_t weft_groups_decode(weft_groups_t *self, weft_slice_t snapshot)
{
    weft_groups_t *fresh = weft_groups_new();
    struct weft_groups_snapshot_record it;
    weft_err_t err = weft_groups_snapshot_record_decode(fresh->codec, snapshot, &it, NULL);
    if (err == WEFT_OK && s_take(fresh, &it)) {
        weft_groups_t swap = *self;
        *self = *fresh;
        *fresh = swap;
    } else {
        err = WEFT_ERR_BAD_FRAME;
    }
    weft_groups_destroy(&fresh);
    return err;
}
