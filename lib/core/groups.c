// SPDX-License-Identifier: MPL-2.0
// Objects of the groups' state, and lookups.
//
// Groups are walked in order of creation and members in order of joining, so that all that applied the same commands walk
// alike: snapshots, digests and targets depend on it. Beside each group stands its index, which finds members by id and
// by instance, and for each partition who holds it and who is to. `bytes` counts what peers can make as large as they
// like, so that it can be bounded before it is allocated.
#include "groups_state.h"

#include "../base/assert.h"

#include <stdlib.h>
#include <string.h>

weft_groups_t *weft_groups_new(void)
{
    weft_groups_t *self = weft_calloc(1, sizeof *self);
    self->codec = weft_calloc(1, sizeof *self->codec);
    weft_codec_init(self->codec);
    self->groups = weft_map_new();
    self->kept = weft_calloc(1, sizeof *self->kept);
    return self;
}

static void s_member_free(struct weft_group_member *member)
{
    free(member->instance);
    free(member->client);
    free(member->host);
    free(member->rack);
    free(member->holds);
    free(member->target);
    free(member);
}

static void s_index_free(struct weft_group_index *index)
{
    void *value;
    for (size_t cursor = 0; weft_map_next(index->subscriptions, &cursor, NULL, &value);) {
        struct weft_group_subscription *subscription = value;
        free(subscription->text);
        free(subscription->topics);
        free(subscription);
    }
    for (size_t cursor = 0; weft_map_next(index->patterns, &cursor, NULL, &value);) {
        free(((struct weft_group_pattern *) value)->text);
        free(value);
    }
    for (size_t cursor = 0; weft_map_next(index->places, &cursor, NULL, &value);) free(value);
    weft_map_destroy(&index->ids);
    weft_map_destroy(&index->instances);
    weft_map_destroy(&index->subscriptions);
    weft_map_destroy(&index->patterns);
    weft_map_destroy(&index->places);
    weft_group_match_forget(index);
    free(index);
}

static void s_group_free(struct weft_group *group)
{
    for (size_t i = 0; i < group->member_count; i++) s_member_free(group->members[i]);
    s_index_free(group->index);
    free(group->members);
    free(group->name);
    free(group);
}

void weft_groups_destroy(weft_groups_t **self_p)
{
    weft_groups_t *self = *self_p;
    if (!self) return;
    void *value;
    for (size_t cursor = 0; weft_map_next(self->groups, &cursor, NULL, &value);) s_group_free(value);
    weft_map_destroy(&self->groups);
    weft_codec_fini(self->codec);
    free(self->codec);
    free(self->kept);
    free(self->freed);
    free(self->touched);
    free(self);
    *self_p = NULL;
}

// ---- groups

struct weft_group *weft_groups_group(const weft_groups_t *self, weft_slice_t name)
{
    return weft_map_get(self->groups, name);
}

struct weft_group *weft_groups_add(weft_groups_t *self, weft_slice_t name)
{
    struct weft_group *group = weft_calloc(1, sizeof *group);
    group->name = weft_slice_dup(name);
    group->empty_since_ms = -1;
    group->index = weft_calloc(1, sizeof *group->index);
    group->index->ids = weft_map_new();
    group->index->instances = weft_map_new();
    group->index->subscriptions = weft_map_new();
    group->index->patterns = weft_map_new();
    group->index->places = weft_map_new();
    group->index->kept = self->kept;
    weft_map_put(self->groups, name, group);
    self->bytes += name.size;
    return group;
}

void weft_groups_drop(weft_groups_t *self, struct weft_group **group_p)
{
    struct weft_group *group = *group_p;
    weft_assert(group->member_count == 0 && weft_map_count(group->index->places) == 0);
    self->bytes -= strlen(group->name);
    weft_map_remove(self->groups, weft_slice_text(group->name));
    s_group_free(group);
    *group_p = NULL;
}

uint64_t weft_groups_index(const weft_groups_t *self)
{
    return self->index;
}

const struct weft_group *weft_groups_find(const weft_groups_t *self, weft_slice_t name)
{
    return weft_groups_group(self, name);
}

const struct weft_group *weft_groups_next(const weft_groups_t *self, size_t *cursor)
{
    void *value;
    return weft_map_next(self->groups, cursor, NULL, &value) ? value : NULL;
}

size_t weft_groups_count(const weft_groups_t *self)
{
    return weft_map_count(self->groups);
}

// ---- members

struct weft_group_member *weft_group_find(const struct weft_group *group, weft_id_t id)
{
    return weft_map_get(group->index->ids, weft_id_slice(&id));
}

struct weft_group_member *weft_group_find_instance(const struct weft_group *group, weft_slice_t instance)
{
    return instance.size == 0 ? NULL : weft_map_get(group->index->instances, instance);
}

const struct weft_group_member *weft_group_member(const struct weft_group *group, weft_id_t id)
{
    return weft_group_find(group, id);
}

const struct weft_group_member *weft_group_instance(const struct weft_group *group, weft_slice_t instance)
{
    return weft_group_find_instance(group, instance);
}

struct weft_group_member *weft_group_member_add(weft_groups_t *self, struct weft_group *group, size_t position,
                                                weft_id_t id, weft_slice_t instance)
{
    weft_assert(position <= group->member_count && !weft_group_find(group, id));
    struct weft_group_member *member = weft_calloc(1, sizeof *member);
    member->id = id;
    member->group = group;
    member->instance = weft_strdup("");
    member->client = weft_strdup("");
    member->host = weft_strdup("");
    member->rack = weft_strdup("");
    if ((group->member_count & (group->member_count - 1)) == 0)
        group->members = weft_realloc(group->members, 2 * (group->member_count + 1) * sizeof *group->members);
    memmove(group->members + position + 1, group->members + position,
            (group->member_count - position) * sizeof *group->members);
    group->members[position] = member;
    group->member_count++;
    for (size_t i = position; i < group->member_count; i++) group->members[i]->position = i;
    weft_map_put(group->index->ids, weft_id_slice(&id), member);
    self->member_count++;
    weft_group_member_name(self, member, instance);
    return member;
}

void weft_group_member_drop(weft_groups_t *self, struct weft_group_member *member)
{
    struct weft_group *group = member->group;
    weft_assert(member->hold_count == 0 && member->target_count == 0 && !member->touched);
    weft_group_unsubscribe(self, member);
    weft_group_member_name(self, member, WEFT_SLICE_NIL);
    weft_group_member_describe(self, member, &(struct weft_group_profile){.session_ms = 0});
    weft_map_remove(group->index->ids, weft_id_slice(&member->id));
    group->member_count--;
    memmove(group->members + member->position, group->members + member->position + 1,
            (group->member_count - member->position) * sizeof *group->members);
    for (size_t i = member->position; i < group->member_count; i++) group->members[i]->position = i;
    self->member_count--;
    s_member_free(member);
}

static void s_text_set(weft_groups_t *self, char **text, weft_slice_t to)
{
    self->bytes += to.size;
    self->bytes -= strlen(*text);
    free(*text);
    *text = to.data ? weft_slice_dup(to) : weft_strdup("");
}

void weft_group_member_name(weft_groups_t *self, struct weft_group_member *member, weft_slice_t instance)
{
    if (*member->instance) weft_map_remove(member->group->index->instances, weft_slice_text(member->instance));
    s_text_set(self, &member->instance, instance);
    if (instance.size == 0) return;
    void *other = weft_map_put(member->group->index->instances, instance, member);
    weft_assert(!other); // G5
}

void weft_group_member_describe(weft_groups_t *self, struct weft_group_member *member,
                                const struct weft_group_profile *profile)
{
    s_text_set(self, &member->client, profile->client);
    s_text_set(self, &member->host, profile->host);
    s_text_set(self, &member->rack, profile->rack);
    member->session_ms = profile->session_ms;
    member->release_ms = profile->release_ms;
    member->exclusive = profile->exclusive;
}

size_t weft_group_profile_bytes(const struct weft_group_profile *profile, weft_slice_t instance)
{
    return profile->client.size + profile->host.size + profile->rack.size + instance.size;
}

// ---- places

static weft_slice_t s_place_key(uint8_t key[WEFT_GROUP_PLACE_KEY_BYTES], weft_id_t topic, uint32_t partition)
{
    memcpy(key, topic.bytes, sizeof topic.bytes);
    memcpy(key + sizeof topic.bytes, &partition, sizeof partition);
    return weft_slice(key, WEFT_GROUP_PLACE_KEY_BYTES);
}

struct weft_group_place *weft_group_place(const struct weft_group *group, weft_id_t topic, uint32_t partition)
{
    uint8_t key[WEFT_GROUP_PLACE_KEY_BYTES];
    return weft_map_get(group->index->places, s_place_key(key, topic, partition));
}

struct weft_group_place *weft_group_place_make(weft_groups_t *self, struct weft_group *group, weft_id_t topic,
                                               uint32_t partition)
{
    uint8_t bytes[WEFT_GROUP_PLACE_KEY_BYTES];
    weft_slice_t key = s_place_key(bytes, topic, partition);
    struct weft_group_place *place = weft_map_get(group->index->places, key);
    if (place) return place;
    place = weft_calloc(1, sizeof *place);
    weft_map_put(group->index->places, key, place);
    self->place_count++;
    return place;
}

void weft_group_place_trim(weft_groups_t *self, struct weft_group *group, weft_id_t topic, uint32_t partition)
{
    uint8_t bytes[WEFT_GROUP_PLACE_KEY_BYTES];
    weft_slice_t key = s_place_key(bytes, topic, partition);
    struct weft_group_place *place = weft_map_get(group->index->places, key);
    if (!place || place->holder || place->wanted) return;
    weft_map_remove(group->index->places, key);
    free(place);
    self->place_count--;
}

int weft_group_place_compare(weft_id_t a_topic, uint32_t a_partition, weft_id_t b_topic, uint32_t b_partition)
{
    int order = memcmp(a_topic.bytes, b_topic.bytes, sizeof a_topic.bytes);
    if (order) return order;
    return a_partition < b_partition ? -1 : a_partition > b_partition;
}

// ---- for people

const char *weft_group_state(const struct weft_group *group, const weft_cluster_t *cluster)
{
    if (group->member_count == 0) return "empty";
    if (weft_groups_inputs(group, cluster) != group->digest) return "assigning";
    for (size_t i = 0; i < group->member_count; i++)
        if (group->members[i]->dropped_count) return "reconciling";
    return "stable";
}
