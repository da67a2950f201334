// SPDX-License-Identifier: MPL-2.0
// Which topics a group reads, and the digest of all that its target depends on.
//
// The digest is a sum over members and topics, each hashed alone: their order doesn't count, and nothing has to be sorted
// for it. A static member counts by its instance, so whoever takes its place leaves the digest, and the target, as they
// are. It is asked whenever topics or the group changed; what globs match is kept meanwhile
// (groups_match.c). A view has in addition what a plan needs: topics by id, and what each subscription reads of them.
#include "groups_state.h"

#include "../base/assert.h"

#include <stdlib.h>
#include <string.h>

/** Topics found, some of them more than once. */
struct s_topics {
    const struct weft_cluster_topic **at;
    size_t count, capacity;
};

static void s_add(struct s_topics *self, const struct weft_cluster_topic *topic)
{
    if (self->count == self->capacity) {
        self->capacity = self->capacity ? 2 * self->capacity : 16;
        self->at = weft_realloc(self->at, self->capacity * sizeof(void *));
    }
    self->at[self->count++] = topic;
}

// A name that is looked up and that a glob matches as well is found once.
static struct s_topics s_find(const struct weft_group *group, const weft_cluster_t *cluster)
{
    struct s_topics out = {0};
    const struct weft_group_index *index = group->index;
    weft_group_match(group, cluster);
    for (size_t i = 0; i < index->found_count; i++) s_add(&out, index->found[i].topic);
    weft_slice_t name;
    void *value;
    for (size_t cursor = 0; weft_map_next(index->patterns, &cursor, &name, &value);) {
        if (((struct weft_group_pattern *) value)->glob) continue;
        const struct weft_cluster_topic *topic = weft_cluster_topic_by_name(cluster, name);
        if (topic && !weft_group_match_has(group, topic)) s_add(&out, topic);
    }
    return out;
}

enum {
    S_GLOB_SHARE = 16,     // bytes of globs that take as long as the rest of looking at a topic
    S_CLASS_SHARE = 8,     // likewise subscriptions, of a partition
    S_ASSIGN_MAX = 1000000 // the assignor has a bound of its own
};

uint64_t weft_groups_work(const struct weft_group *group, const weft_cluster_t *cluster)
{
    const struct weft_group_index *index = group->index;
    uint64_t topics = index->glob_count ? weft_cluster_topic_count(cluster) : 0;
    uint64_t places = weft_map_count(index->places);
    uint64_t assign = places * (1 + weft_map_count(index->subscriptions) / S_CLASS_SHARE);
    if (assign > S_ASSIGN_MAX) assign = S_ASSIGN_MAX;
    uint64_t match = topics * (1 + index->glob_bytes / S_GLOB_SHARE);
    return 1 + group->member_count + weft_map_count(index->patterns) + match + assign;
}

uint64_t weft_group_reads_work(const struct weft_group *group)
{
    return 1 + group->index->glob_bytes * S_GLOB_SHARE;
}

uint64_t weft_groups_inputs(const struct weft_group *group, const weft_cluster_t *cluster)
{
    if (group->member_count == 0) return 0;
    uint64_t sum = group->assignor + 1;
    for (size_t i = 0; i < group->member_count; i++) {
        const struct weft_group_member *member = group->members[i];
        bool fixed = *member->instance;
        sum += weft_group_hash(member->subscription->digest + fixed,
                               fixed ? weft_slice_text(member->instance) : weft_id_slice(&member->id));
    }
    struct s_topics topics = s_find(group, cluster);
    for (size_t i = 0; i < topics.count; i++)
        sum += weft_group_hash(topics.at[i]->partition_count, weft_id_slice(&topics.at[i]->id));
    free(topics.at);
    weft_group_match_done(group);
    return sum ? sum : 1; // 0 is the digest of what has no target
}

// ---- views

static int s_topic_compare(const void *a, const void *b)
{
    const struct weft_cluster_topic *const *x = a, *const *y = b;
    return memcmp((*x)->id.bytes, (*y)->id.bytes, sizeof(*x)->id.bytes);
}

size_t weft_group_view_find(const struct weft_group_view *self, weft_id_t topic)
{
    size_t low = 0, high = self->topic_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = memcmp(self->topics[middle]->id.bytes, topic.bytes, sizeof topic.bytes);
        if (order == 0) return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return SIZE_MAX;
}

static size_t s_words(const struct weft_group_view *self)
{
    return (self->topic_count + 63) / 64;
}

static void s_bit_set(uint64_t *bits, size_t position)
{
    bits[position / 64] |= (uint64_t) 1 << position % 64;
}

// Positions of what each pattern matches.
static void s_match_patterns(struct weft_group_view *self, const struct weft_group *group,
                             const weft_cluster_t *cluster)
{
    const struct weft_group_index *index = group->index;
    uint64_t *bits[WEFT_GROUP_GLOBS_MAX];
    weft_slice_t name;
    void *value;
    for (size_t cursor = 0; weft_map_next(index->patterns, &cursor, &name, &value);) {
        struct weft_group_pattern *pattern = value;
        const struct weft_cluster_topic *topic = pattern->glob ? NULL : weft_cluster_topic_by_name(cluster, name);
        pattern->position = topic ? weft_group_view_find(self, topic->id) : SIZE_MAX;
        if (!pattern->glob) continue;
        pattern->bits = weft_arena_alloc(&self->arena, s_words(self) * sizeof(uint64_t) + 1);
        memset(pattern->bits, 0, s_words(self) * sizeof(uint64_t));
        bits[pattern->number] = pattern->bits;
    }
    for (size_t i = 0; i < index->found_count; i++) {
        size_t position = weft_group_view_find(self, index->found[i].topic->id);
        for (uint32_t globs = index->found[i].globs; globs; globs &= globs - 1)
            s_bit_set(bits[__builtin_ctz(globs)], position);
    }
}

// What all patterns of a subscription match, each topic once. `bits` is room for all topics.
static void s_read(struct weft_group_view *self, const struct weft_group *group,
                   struct weft_group_subscription *subscription, uint64_t *bits)
{
    size_t words = s_words(self), count = 0;
    memset(bits, 0, words * sizeof *bits);
    for (size_t i = 0; i < subscription->topic_count; i++) {
        const struct weft_group_pattern *pattern =
            weft_map_get(group->index->patterns, weft_slice_text(subscription->topics[i]));
        if (pattern->position != SIZE_MAX) s_bit_set(bits, pattern->position);
        for (size_t k = 0; pattern->glob && k < words; k++) bits[k] |= pattern->bits[k];
    }
    for (size_t i = 0; i < words; i++) count += (size_t) __builtin_popcountll(bits[i]);
    subscription->positions = weft_arena_alloc(&self->arena, count * sizeof(uint32_t));
    subscription->position_count = 0;
    for (size_t i = 0; i < words; i++)
        for (uint64_t word = bits[i]; word; word &= word - 1)
            subscription->positions[subscription->position_count++] =
                (uint32_t) (i * 64 + (size_t) __builtin_ctzll(word));
}

void weft_group_view_init(struct weft_group_view *self, const struct weft_group *group, const weft_cluster_t *cluster)
{
    struct s_topics topics = s_find(group, cluster);
    *self = (struct weft_group_view){.topics = topics.at, .topic_count = topics.count};
    weft_arena_init(&self->arena);
    if (topics.count) qsort(self->topics, topics.count, sizeof(void *), s_topic_compare);
    size_t partitions = 0;
    for (size_t i = 0; i < self->topic_count; i++) partitions += self->topics[i]->partition_count;
    self->owner = weft_alloc(self->topic_count * sizeof *self->owner);
    self->owners = weft_alloc(partitions * sizeof *self->owners);
    memset(self->owners, 0xff, partitions * sizeof *self->owners); // -1
    int32_t *at = self->owners;
    for (size_t i = 0; i < self->topic_count; at += self->topics[i++]->partition_count) self->owner[i] = at;
    s_match_patterns(self, group, cluster);
    uint64_t *bits = weft_alloc(s_words(self) * sizeof *bits + 1);
    void *value;
    for (size_t cursor = 0; weft_map_next(group->index->subscriptions, &cursor, NULL, &value);)
        s_read(self, group, value, bits);
    free(bits);
    weft_group_match_done(group);
}

void weft_group_view_fini(struct weft_group_view *self)
{
    weft_arena_fini(&self->arena);
    free(self->topics);
    free(self->owner);
    free(self->owners);
}

bool weft_group_view_reads(const struct weft_group_member *member, size_t topic)
{
    const struct weft_group_subscription *it = member->subscription;
    size_t low = 0, high = it->position_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (it->positions[middle] < topic)
            low = middle + 1;
        else
            high = middle;
    }
    return low < it->position_count && it->positions[low] == topic;
}
