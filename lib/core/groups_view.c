// SPDX-License-Identifier: MPL-2.0
// Which topics a group reads, and the digest of all that its target depends on.
//
// The digest is a sum over members and topics, each hashed alone: their order doesn't count, and nothing has to be sorted
// for it. A static member counts by its instance, so whoever takes its place leaves the digest, and the target, as they
// are. It is asked whenever topics or the group changed; only globs make it walk the topics of the cluster, once for all of
// the group's globs. A view has in addition what a plan needs: topics by id, and what each subscription reads of them.
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

static bool s_globs_match(const struct weft_group *group, const char *topic)
{
    void *value;
    for (size_t cursor = 0; weft_map_next(group->index->patterns, &cursor, NULL, &value);)
        if (((struct weft_group_pattern *) value)->glob && weft_group_pattern_matches(value, topic)) return true;
    return false;
}

// A name that is looked up and that a glob matches as well is found once.
static struct s_topics s_find(const struct weft_group *group, const weft_cluster_t *cluster)
{
    struct s_topics out = {0};
    const struct weft_group_index *index = group->index;
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; index->glob_count && (topic = weft_cluster_next_topic(cluster, &cursor));)
        if (s_globs_match(group, topic->name)) s_add(&out, topic);
    weft_slice_t name;
    void *value;
    for (size_t cursor = 0; weft_map_next(index->patterns, &cursor, &name, &value);) {
        if (((struct weft_group_pattern *) value)->glob) continue;
        topic = weft_cluster_topic_by_name(cluster, name);
        if (topic && !(index->glob_count && s_globs_match(group, topic->name))) s_add(&out, topic);
    }
    return out;
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

static void s_match_pattern(struct weft_group_view *self, struct weft_group_pattern *pattern,
                            const weft_cluster_t *cluster)
{
    pattern->position_count = 0;
    pattern->positions = weft_arena_alloc(&self->arena, (pattern->glob ? self->topic_count : 1) * sizeof(uint32_t));
    if (!pattern->glob) {
        const struct weft_cluster_topic *topic = weft_cluster_topic_by_name(cluster, weft_slice_text(pattern->text));
        if (topic) pattern->positions[pattern->position_count++] = (uint32_t) weft_group_view_find(self, topic->id);
        return;
    }
    for (size_t i = 0; i < self->topic_count; i++)
        if (weft_group_pattern_matches(pattern, self->topics[i]->name))
            pattern->positions[pattern->position_count++] = (uint32_t) i;
}

static int s_number_compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;
    return x < y ? -1 : x > y;
}

// What all patterns of a subscription match, each topic once.
static void s_read(struct weft_group_view *self, const struct weft_group *group,
                   struct weft_group_subscription *subscription)
{
    size_t most = 0, count = 0, kept = 0;
    const struct weft_group_pattern *pattern = NULL;
    for (size_t i = 0; i < subscription->topic_count; i++) {
        pattern = weft_map_get(group->index->patterns, weft_slice_text(subscription->topics[i]));
        most += pattern->position_count;
    }
    uint32_t *all = weft_alloc(most * sizeof *all);
    for (size_t i = 0; i < subscription->topic_count; i++) {
        pattern = weft_map_get(group->index->patterns, weft_slice_text(subscription->topics[i]));
        if (pattern->position_count) memcpy(all + count, pattern->positions, pattern->position_count * sizeof *all);
        count += pattern->position_count;
    }
    if (subscription->topic_count > 1) qsort(all, count, sizeof *all, s_number_compare);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || all[kept - 1] != all[i]) all[kept++] = all[i];
    subscription->positions = weft_arena_alloc(&self->arena, kept * sizeof *all);
    subscription->position_count = kept;
    if (kept) memcpy(subscription->positions, all, kept * sizeof *all);
    free(all);
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
    void *value;
    for (size_t cursor = 0; weft_map_next(group->index->patterns, &cursor, NULL, &value);)
        s_match_pattern(self, value, cluster);
    for (size_t cursor = 0; weft_map_next(group->index->subscriptions, &cursor, NULL, &value);)
        s_read(self, group, value);
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
