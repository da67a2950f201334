// SPDX-License-Identifier: MPL-2.0
// A described group as a plain struct: members from the coordinator's answer, then its committed offsets, merged with
// what the members hold into one list of partitions.
#include "admin_inner.h"

#include <stdlib.h>

static const char *s_text(weft_arena_t *arena, weft_slice_t text)
{
    return text.size ? weft_arena_text(arena, text) : "";
}

static const char *const *s_texts(weft_arena_t *arena, const weft_slice_t *from, size_t count)
{
    const char **texts = weft_arena_alloc(arena, (count + 1) * sizeof *texts);
    for (size_t i = 0; i < count; i++) texts[i] = weft_arena_text(arena, from[i]);
    return texts;
}

static size_t s_owned(const struct weft_described_member *member)
{
    size_t count = 0;
    for (size_t i = 0; i < member->owns_count; i++) count += member->owns[i].partitions_count;
    return count;
}

static void s_keep_members(weft_group_info_t *self, weft_arena_t *arena, const struct weft_group_describe_reply *reply)
{
    struct weft_group_member_info *members = weft_arena_alloc(arena, (reply->members_count + 1) * sizeof *members);
    for (size_t i = 0; i < reply->members_count; i++) {
        const struct weft_described_member *from = &reply->members[i];
        uint32_t target = 0;
        for (size_t k = 0; k < from->target_count; k++) target += (uint32_t) from->target[k].partitions_count;
        members[i] = (struct weft_group_member_info){.id = from->member,
                                                     .instance = s_text(arena, from->instance),
                                                     .client = s_text(arena, from->client),
                                                     .host = s_text(arena, from->host),
                                                     .rack = s_text(arena, from->rack),
                                                     .epoch = from->epoch,
                                                     .heard_ms = from->heard_ms,
                                                     .idle_ms = from->idle_ms,
                                                     .session_ms = from->session_ms,
                                                     .paused = from->paused,
                                                     .topics = s_texts(arena, from->topics, from->topics_count),
                                                     .topic_count = from->topics_count,
                                                     .owns = (uint32_t) s_owned(from),
                                                     .target = target,
                                                     .releasing = from->releasing};
    }
    self->members = members;
    self->member_count = reply->members_count;
}

static void s_keep_left(weft_group_info_t *self, weft_arena_t *arena, const struct weft_group_describe_reply *reply)
{
    struct weft_group_left_info *left = weft_arena_alloc(arena, (reply->left_count + 1) * sizeof *left);
    for (size_t i = 0; i < reply->left_count; i++)
        left[i] = (struct weft_group_left_info){.id = reply->left[i].member,
                                                .instance = s_text(arena, reply->left[i].instance),
                                                .client = s_text(arena, reply->left[i].client),
                                                .host = s_text(arena, reply->left[i].host),
                                                .why = s_text(arena, reply->left[i].why),
                                                .ago_ms = reply->left[i].ago_ms};
    self->left = left;
    self->left_count = reply->left_count;
}

static bool s_is_target(const struct weft_described_member *member, weft_id_t topic, uint32_t partition)
{
    for (size_t i = 0; i < member->target_count; i++) {
        if (!weft_id_equal(member->target[i].topic_id, topic)) continue;
        for (size_t k = 0; k < member->target[i].partitions_count; k++)
            if (member->target[i].partitions[k] == partition) return true;
    }
    return false;
}

static void s_keep_owned(weft_group_info_t *self, weft_arena_t *arena, const struct weft_group_describe_reply *reply)
{
    size_t count = 0;
    for (size_t i = 0; i < reply->members_count; i++) count += s_owned(&reply->members[i]);
    struct weft_group_partition_info *partitions = weft_arena_alloc(arena, (count + 1) * sizeof *partitions);
    count = 0;
    for (size_t i = 0; i < reply->members_count; i++) {
        const struct weft_described_member *member = &reply->members[i];
        for (size_t k = 0; k < member->owns_count; k++) {
            const char *topic = s_text(arena, member->owns[k].topic);
            for (size_t m = 0; m < member->owns[k].partitions_count; m++) {
                uint32_t partition = member->owns[k].partitions[m];
                bool stays = !member->releasing || s_is_target(member, member->owns[k].topic_id, partition);
                partitions[count++] = (struct weft_group_partition_info){.topic = topic,
                                                                         .topic_id = member->owns[k].topic_id,
                                                                         .partition = (int32_t) partition,
                                                                         .member = (int32_t) i,
                                                                         .releasing = !stays,
                                                                         .committed = -1,
                                                                         .log_start = -1,
                                                                         .end = -1,
                                                                         .lag = -1,
                                                                         .committed_ms = -1,
                                                                         .metadata = ""};
            }
        }
    }
    self->partitions = partitions;
    self->partition_count = count;
}

weft_group_info_t *weft_group_info_of(const struct weft_group_describe_reply *reply, bool known)
{
    weft_arena_t *arena;
    weft_group_info_t *self = weft_admin_block_new(sizeof *self, &arena);
    self->state = known ? s_text(arena, reply->state) : "none";
    self->assignor = s_text(arena, reply->assignor);
    self->epoch = reply->epoch;
    self->empty_ms = reply->empty_ms;
    s_keep_members(self, arena, reply);
    s_keep_left(self, arena, reply);
    s_keep_owned(self, arena, reply);
    return self;
}

void weft_group_info_destroy(weft_group_info_t **self_p)
{
    weft_admin_block_free(*self_p);
    *self_p = NULL;
}

// ---- with what is committed

static int s_compare(const void *a, const void *b)
{
    const struct weft_group_partition_info *x = a, *y = b;
    int order = strcmp(x->topic, y->topic);
    if (!order) order = memcmp(x->topic_id.bytes, y->topic_id.bytes, sizeof x->topic_id.bytes);
    return order ? order : x->partition < y->partition ? -1 : x->partition > y->partition;
}

// Both lists in one, sorted; where both tell of the same partition, its owner's entry takes the offset over.
void weft_group_info_merge(weft_group_info_t *self, const weft_group_offsets_t *offsets)
{
    weft_arena_t *arena = weft_admin_block_arena(self);
    size_t count = self->partition_count;
    struct weft_group_partition_info *all = weft_arena_alloc(arena, (count + offsets->count + 1) * sizeof *all);
    if (count) memcpy(all, self->partitions, count * sizeof *all);
    qsort(all, count, sizeof *all, s_compare);
    size_t owned = count;
    for (size_t i = 0; i < offsets->count; i++) {
        const struct weft_group_committed *from = &offsets->offsets[i];
        struct weft_group_partition_info key = {.topic = weft_arena_text(arena, weft_text(from->topic)),
                                                .topic_id = from->topic_id,
                                                .partition = from->partition,
                                                .member = -1,
                                                .log_start = -1,
                                                .end = -1,
                                                .lag = -1};
        struct weft_group_partition_info *found = owned ? bsearch(&key, all, owned, sizeof *all, s_compare) : NULL;
        if (!found) {
            found = &all[count++];
            *found = key;
        }
        found->committed = from->offset;
        found->committed_ms = from->committed_ms;
        found->metadata = weft_arena_text(arena, weft_text(from->metadata));
    }
    qsort(all, count, sizeof *all, s_compare);
    self->partitions = all;
    self->partition_count = count;
}
