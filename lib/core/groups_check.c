// SPDX-License-Identifier: MPL-2.0
// What is true of every groups' state (groups.h, G1 to G7).
//
// The check asserts: our own apply made the state. A snapshot comes from a disk or a peer, so decoding asks the same
// question of each group and refuses. G1 and half of G6 can't be written down otherwise: a place has one holder and one
// who is to hold it; what is checked is that members and places say the same.
#include "groups_state.h"

#include "../base/assert.h"

#include <string.h>

static bool s_holds_right(const weft_groups_t *self, const struct weft_group_member *member)
{
    size_t dropped = 0;
    for (size_t i = 0; i < member->hold_count; i++) {
        const struct weft_group_held *held = &member->holds[i];
        if (i && weft_group_place_compare(held[-1].topic, held[-1].partition, held->topic, held->partition) >= 0)
            return false;
        const struct weft_group_place *place = weft_group_place(member->group, held->topic, held->partition);
        if (!place || place->holder != member) return false;                  // G1
        if (held->token == 0 || held->token > member->revision) return false; // G2
        if (held->dropped &&
            (held->dropped <= member->released || held->dropped > member->revision || held->dropped <= held->token))
            return false;                                            // G4
        if (!held->dropped && place->wanted != member) return false; // G6
        dropped += held->dropped != 0;
    }
    return dropped == member->dropped_count && member->fresh_count == 0 && member->revision <= self->index;
}

static bool s_target_right(const struct weft_group_member *member)
{
    for (size_t i = 0; i < member->target_count; i++) {
        const struct weft_group_target *it = &member->target[i];
        if (i && weft_group_place_compare(it[-1].topic, it[-1].partition, it->topic, it->partition) >= 0) return false;
        const struct weft_group_place *place = weft_group_place(member->group, it->topic, it->partition);
        if (!place || place->wanted != member) return false; // G6
        if (!place->holder && !member->paused) return false; // G3
    }
    return true;
}

static bool s_member_right(const weft_groups_t *self, const struct weft_group_member *member)
{
    if (weft_id_is_zero(member->id) || weft_group_find(member->group, member->id) != member) return false;
    if (member->epoch == 0 || member->epoch > self->index || member->epoch > member->revision ||
        member->released > member->revision)
        return false;                                                               // G4
    if (member->paused && (!*member->instance || member->hold_count)) return false; // G5
    if (*member->instance && weft_group_find_instance(member->group, weft_slice_text(member->instance)) != member)
        return false; // G5
    if (!member->subscription || member->topic_count == 0 || member->touched) return false;
    return s_holds_right(self, member) && s_target_right(member);
}

bool weft_group_is_right(const weft_groups_t *self, const struct weft_group *group)
{
    size_t held = 0, targets = 0, both = 0, instances = 0;
    for (size_t i = 0; i < group->member_count; i++) {
        const struct weft_group_member *member = group->members[i];
        if (member->group != group || member->position != i || !s_member_right(self, member)) return false;
        held += member->hold_count;
        targets += member->target_count;
        instances += *member->instance != 0;
    }
    void *value;
    for (size_t cursor = 0; weft_map_next(group->index->places, &cursor, NULL, &value);) {
        const struct weft_group_place *place = value;
        if (!place->holder && !place->wanted) return false;
        held -= place->holder != NULL;
        targets -= place->wanted != NULL;
        both++;
    }
    if (held || targets || both > self->place_count) return false;
    if (group->epoch > self->index || (group->empty_since_ms < 0) != (group->member_count > 0)) return false;
    if (group->member_count == 0 && (group->digest || weft_map_count(group->index->patterns))) return false;
    return weft_map_count(group->index->ids) == group->member_count &&
           weft_map_count(group->index->instances) == instances;
}

void weft_groups_check(const weft_groups_t *self)
{
    size_t members = 0, places = 0;
    const struct weft_group *group;
    for (size_t cursor = 0; (group = weft_groups_next(self, &cursor));) {
        weft_assert(weft_group_is_right(self, group));
        members += group->member_count;
        places += weft_map_count(group->index->places);
    }
    weft_assert(members == self->member_count && places == self->place_count);
    weft_assert(self->freed_count == 0 && self->touched_count == 0 && !self->changed);
}

// G7
static void s_target_check(const struct weft_group *group, const weft_cluster_t *cluster)
{
    struct weft_group_view view;
    weft_group_view_init(&view, group, cluster);
    size_t wanted = 0, targets = 0;
    for (size_t i = 0; i < group->member_count; i++) {
        const struct weft_group_member *member = group->members[i];
        targets += member->target_count;
        for (size_t t = 0; t < member->target_count; t++) {
            size_t topic = weft_group_view_find(&view, member->target[t].topic);
            weft_assert(topic != SIZE_MAX && weft_group_view_reads(member, topic));
            weft_assert(member->target[t].partition < view.topics[topic]->partition_count);
        }
    }
    for (size_t t = 0; t < view.topic_count; t++) wanted += view.topics[t]->partition_count;
    weft_assert(wanted == targets);
    weft_group_view_fini(&view);
}

void weft_groups_check_target(const weft_groups_t *self, const weft_cluster_t *cluster)
{
    const struct weft_group *group;
    for (size_t cursor = 0; (group = weft_groups_next(self, &cursor));)
        if (group->member_count && weft_groups_inputs(group, cluster) == group->digest) s_target_check(group, cluster);
}
