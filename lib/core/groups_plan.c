// SPDX-License-Identifier: MPL-2.0
// The target of a group: working it out (the coordinator in office) and taking it (all).
//
// A target is worked out from the view of a group and from the last target, so that who is to have a partition keeps it.
// Only members whose target is another than before are told in the command. Taking it asks for the digest of what it was
// worked out from, and once more for everything that G6 and G7 say, members that are not told included: a command may come
// from a damaged disk or another version, and a wrong target would stay until the group changes again.
#include "groups_state.h"

#include "../base/assert.h"

#include <stdlib.h>
#include <string.h>

static int s_target_compare(const struct weft_group_target *a, const struct weft_group_target *b)
{
    return weft_group_place_compare(a->topic, a->partition, b->topic, b->partition);
}

// Position of the topic at target[i], from the one of the entry before it.
static size_t s_topic_of(const struct weft_group_view *view, const struct weft_group_target *target, size_t i,
                         size_t last)
{
    if (i && weft_id_equal(target[i].topic, target[i - 1].topic)) return last;
    return weft_group_view_find(view, target[i].topic);
}

// Writes down as owner's what the member is to hold; false if something of it is gone, not read or another's.
static bool s_claim(const struct weft_group_view *view, const struct weft_group_member *member,
                    const struct weft_group_target *target, size_t count)
{
    bool right = true;
    size_t topic = SIZE_MAX;
    bool reads = false;
    for (size_t i = 0; i < count; i++) {
        size_t last = topic;
        topic = s_topic_of(view, target, i, topic);
        if (i == 0 || topic != last) reads = topic != SIZE_MAX && weft_group_view_reads(member, topic);
        if (!reads || target[i].partition >= view->topics[topic]->partition_count ||
            view->owner[topic][target[i].partition] >= 0)
            right = false;
        else
            view->owner[topic][target[i].partition] = (int32_t) member->position;
    }
    return right;
}

// ---- planning

/** Racks of the group's members, numbered. */
struct s_racks {
    weft_map_t *numbers;  // name to number + 1, as a pointer
    uint32_t *rack_first; // by partition of all topics, one after the other, each with one more for its end
    uint32_t *racks;
};

static uint32_t s_rack_number(const struct s_racks *self, const char *rack)
{
    uintptr_t number = *rack ? (uintptr_t) weft_map_get(self->numbers, weft_slice_text(rack)) : 0;
    return number ? (uint32_t) (number - 1) : UINT32_MAX;
}

static uint32_t s_racks_fill(struct s_racks *self, const weft_cluster_t *cluster,
                             const struct weft_cluster_topic *topic, uint32_t *first, uint32_t used)
{
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        const struct weft_cluster_partition *partition = &topic->partitions[p];
        first[p] = used;
        for (uint8_t r = 0; r < partition->replica_count; r++) {
            const struct weft_cluster_broker *broker = weft_cluster_broker(cluster, partition->replicas[r]);
            uint32_t rack = broker ? s_rack_number(self, broker->rack) : UINT32_MAX;
            if (rack != UINT32_MAX) self->racks[used++] = rack;
        }
    }
    first[topic->partition_count] = used;
    return used;
}

// Nothing at all unless a member says where it is, and a broker is there: where no broker is makes no difference, and
// each rack makes members of equal subscriptions another class.
static void s_racks_init(struct s_racks *self, const struct weft_group *group, const struct weft_group_view *view,
                         const weft_cluster_t *cluster, struct weft_assign_topic *topics)
{
    *self = (struct s_racks){.numbers = weft_map_new()};
    weft_map_t *brokers = weft_map_new();
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(cluster, &cursor));)
        weft_map_put(brokers, weft_slice_text(broker->rack), broker->rack);
    for (size_t i = 0; i < group->member_count; i++) {
        weft_slice_t rack = weft_slice_text(group->members[i]->rack);
        if (rack.size && weft_map_get(brokers, rack) && !weft_map_get(self->numbers, rack))
            weft_map_put(self->numbers, rack, (void *) (uintptr_t) (weft_map_count(self->numbers) + 1));
    }
    weft_map_destroy(&brokers);
    if (weft_map_count(self->numbers) == 0) return;
    size_t partitions = 0, replicas = 0;
    for (size_t t = 0; t < view->topic_count; t++) {
        partitions += view->topics[t]->partition_count + 1;
        for (uint32_t p = 0; p < view->topics[t]->partition_count; p++)
            replicas += view->topics[t]->partitions[p].replica_count;
    }
    self->rack_first = weft_alloc(partitions * sizeof(uint32_t));
    self->racks = weft_alloc(replicas * sizeof(uint32_t));
    uint32_t *first = self->rack_first, used = 0;
    for (size_t t = 0; t < view->topic_count; first += view->topics[t++]->partition_count + 1) {
        used = s_racks_fill(self, cluster, view->topics[t], first, used);
        topics[t].rack_first = first;
        topics[t].racks = self->racks;
    }
}

static void s_racks_fini(struct s_racks *self)
{
    weft_map_destroy(&self->numbers);
    free(self->rack_first);
    free(self->racks);
}

// Owners as they are to be, from the last target.
static void s_assign(const struct weft_group *group, const weft_cluster_t *cluster, const struct weft_group_view *view)
{
    struct weft_assign_topic *topics = weft_calloc(view->topic_count, sizeof *topics);
    struct weft_assign_member *members = weft_calloc(group->member_count, sizeof *members);
    for (size_t t = 0; t < view->topic_count; t++) {
        topics[t].id = view->topics[t]->id;
        topics[t].partition_count = view->topics[t]->partition_count;
    }
    struct s_racks racks;
    s_racks_init(&racks, group, view, cluster, topics);
    for (size_t i = 0; i < group->member_count; i++) {
        const struct weft_group_member *member = group->members[i];
        members[i] = (struct weft_assign_member){.order = *member->instance ? weft_slice_text(member->instance)
                                                                            : weft_id_slice(&member->id),
                                                 .rack = s_rack_number(&racks, member->rack),
                                                 .topics = member->subscription->positions,
                                                 .topic_count = member->subscription->position_count};
        (void) s_claim(view, member, member->target, member->target_count); // what is gone is not claimed
    }
    weft_assign(group->assignor, topics, view->topic_count, members, group->member_count, view->owner);
    s_racks_fini(&racks);
    free(topics);
    free(members);
}

/** What members are to hold: those of member i stand from first[i] on. */
struct s_targets {
    struct weft_group_target *at;
    size_t *first;
};

static struct s_targets s_targets_of(const struct weft_group *group, const struct weft_group_view *view)
{
    struct s_targets out = {.first = weft_calloc(group->member_count + 2, sizeof *out.first)};
    size_t *end = out.first + 1; // of member i: first[i + 1]; counted one place further on, then moved while filling
    size_t total = 0;
    for (size_t t = 0; t < view->topic_count; t++)
        for (uint32_t p = 0; p < view->topics[t]->partition_count; p++)
            if (view->owner[t][p] >= 0) end[view->owner[t][p] + 1]++;
    for (size_t i = 0; i <= group->member_count; i++) total = end[i] += total;
    out.at = weft_alloc(total * sizeof *out.at);
    for (size_t t = 0; t < view->topic_count; t++)
        for (uint32_t p = 0; p < view->topics[t]->partition_count; p++)
            if (view->owner[t][p] >= 0)
                out.at[end[view->owner[t][p]]++] =
                    (struct weft_group_target){.topic = view->topics[t]->id, .partition = p};
    return out;
}

static bool s_same(const struct weft_group_member *member, const struct weft_group_target *target, size_t count)
{
    if (count != member->target_count) return false;
    for (size_t i = 0; i < count; i++)
        if (s_target_compare(&member->target[i], &target[i]) != 0) return false;
    return true;
}

// A member's target, as commands say it.
static void s_tell(weft_arena_t *arena, const struct weft_group_target *target, size_t count,
                   struct weft_member_target *out)
{
    size_t topics = 0;
    for (size_t i = 0; i < count; i++) topics += i == 0 || !weft_id_equal(target[i].topic, target[i - 1].topic);
    uint32_t *partitions = weft_arena_alloc(arena, count * sizeof *partitions + 1);
    out->topics = weft_arena_alloc(arena, topics * sizeof *out->topics + 1);
    for (size_t i = 0; i < count; i++) {
        partitions[i] = target[i].partition;
        if (i == 0 || !weft_id_equal(target[i].topic, target[i - 1].topic))
            out->topics[out->topics_count++] =
                (struct weft_target_topic){.topic_id = target[i].topic, .partitions = partitions + i};
        out->topics[out->topics_count - 1].partitions_count++;
    }
}

void weft_groups_plan(const struct weft_group *group, const weft_cluster_t *cluster, weft_buf_t *out)
{
    uint64_t digest = weft_groups_inputs(group, cluster);
    if (digest == group->digest) return;
    weft_assert(group->member_count); // else both are 0
    struct weft_group_view view;
    weft_group_view_init(&view, group, cluster);
    s_assign(group, cluster, &view);
    struct s_targets targets = s_targets_of(group, &view);
    struct weft_group_assigned_command it;
    weft_group_assigned_command_init(&it);
    it.group = weft_slice_text(group->name);
    it.digest = digest;
    it.members = weft_arena_alloc(&view.arena, group->member_count * sizeof *it.members);
    for (size_t i = 0; i < group->member_count; i++) {
        const struct weft_group_target *target = targets.at + targets.first[i];
        size_t count = targets.first[i + 1] - targets.first[i];
        if (s_same(group->members[i], target, count)) continue;
        it.members[it.members_count] = (struct weft_member_target){.member = group->members[i]->id};
        s_tell(&view.arena, target, count, &it.members[it.members_count++]);
    }
    weft_group_assigned_command_encode(&it, out);
    free(targets.at);
    free(targets.first);
    weft_group_view_fini(&view);
}

// ---- taking a target

/** A target that was told, checked and not yet taken. */
struct s_told {
    struct weft_group_member *member;
    struct weft_group_target *target;
    size_t count;
};

static size_t s_partitions_of(const struct weft_member_target *it)
{
    size_t count = 0;
    for (size_t i = 0; i < it->topics_count; i++) count += it->topics[i].partitions_count;
    return count;
}

static struct weft_group_target *s_target_of(const struct weft_member_target *it, size_t *count)
{
    *count = s_partitions_of(it);
    struct weft_group_target *target = weft_alloc(*count * sizeof *target);
    size_t used = 0;
    for (size_t i = 0; i < it->topics_count; i++)
        for (size_t p = 0; p < it->topics[i].partitions_count; p++)
            target[used++] =
                (struct weft_group_target){.topic = it->topics[i].topic_id, .partition = it->topics[i].partitions[p]};
    return target;
}

static bool s_sorted(const struct weft_group_target *target, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (s_target_compare(&target[i - 1], &target[i]) >= 0) return false;
    return true;
}

static weft_err_t s_told_check(const weft_groups_t *self, const struct weft_group *group,
                               const struct weft_group_view *view, const struct s_told *told, size_t count,
                               struct weft_error *error)
{
    size_t places = self->place_count;
    bool *named = weft_calloc(group->member_count, sizeof *named);
    bool right = true;
    for (size_t i = 0; i < count && right; i++) {
        right = !named[told[i].member->position] && s_sorted(told[i].target, told[i].count) &&
                s_claim(view, told[i].member, told[i].target, told[i].count);
        named[told[i].member->position] = true;
        for (size_t t = 0; t < told[i].count; t++)
            places += !weft_group_place(group, told[i].target[t].topic, told[i].target[t].partition);
    }
    for (size_t i = 0; i < group->member_count && right; i++)
        right =
            named[i] || s_claim(view, group->members[i], group->members[i]->target, group->members[i]->target_count);
    free(named);
    if (!right)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "the target of group '%s' names a partition twice, or one that is not read", group->name);
    if (places > WEFT_GROUPS_PLACES_MAX)
        return weft_error_set(error, WEFT_ERR_GROUP_FULL,
                              "the groups of the cluster read %d partitions together, the most they may",
                              WEFT_GROUPS_PLACES_MAX);
    return WEFT_OK;
}

static void s_take(weft_groups_t *self, struct weft_group *group, struct s_told *told, size_t count)
{
    // All old ones first: what moves from one to the other is in both.
    for (size_t i = 0; i < count; i++) weft_group_target_clear(self, told[i].member);
    for (size_t i = 0; i < count; i++) weft_group_target_set(self, told[i].member, &told[i].target, told[i].count);
    weft_groups_settle(self, group);
}

weft_err_t weft_groups_assigned(weft_groups_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_group_assigned_command it;
    weft_err_t err = weft_group_assigned_command_decode(self->codec, command, &it, error);
    if (err) return err;
    struct weft_group *group = weft_groups_group(self, it.group);
    if (!group) return weft_error_set(error, WEFT_ERR_UNKNOWN_GROUP, "there is no such group");
    if (group->member_count == 0 || weft_groups_inputs(group, self->cluster) != it.digest)
        return weft_error_set(error, WEFT_ERR_STALE_EPOCH, "the group '%s' changed since its target was worked out",
                              group->name);
    struct s_told *told = weft_calloc(it.members_count, sizeof *told);
    size_t count = 0, partitions = 0;
    for (; count < it.members_count; count++) {
        told[count].member = weft_group_find(group, it.members[count].member);
        partitions += s_partitions_of(&it.members[count]);
        // A static place was taken meanwhile: the digest is the same. And nothing larger than can be is looked at.
        if (!told[count].member || partitions > WEFT_GROUPS_PLACES_MAX) break;
        told[count].target = s_target_of(&it.members[count], &told[count].count);
    }
    struct weft_group_view view;
    weft_group_view_init(&view, group, self->cluster);
    if (count < it.members_count)
        err = weft_error_set(error, WEFT_ERR_STALE_EPOCH,
                             "a member of the group '%s' was replaced since its target was worked out", group->name);
    else
        err = s_told_check(self, group, &view, told, count, error);
    if (!err) {
        s_take(self, group, told, count);
        group->epoch = self->index;
        group->digest = it.digest;
    }
    weft_group_view_fini(&view);
    for (size_t i = 0; i < count; i++) free(told[i].target);
    free(told);
    return err;
}
