// SPDX-License-Identifier: MPL-2.0
// Targets: after members or topics changed, the group's new target is worked out and proposed.
//
// One group_assigned a group is under way at most. It names what it was worked out from: with another join or going
// before it in the log it is refused (STALE_EPOCH) and worked out again. So a plan waits a little for others to come,
// longer for a large group, and then for those under way; if they don't end, the room is closed: what comes then waits
// for the plan, so that a storm can't keep a group without a target.
//
// Topics that came, grew or went: groups whose subscriptions name them are looked at; a slow round over all of them sees
// the rest. All of it is bounded in a turn by what a group costs (weft_groups_work), plans of a new coordinator for all
// groups as well: heartbeats are answered between two turns.
#include "groups.h"

#include "../lib/base/assert.h"
#include "../lib/base/trace.h"

#include <stdlib.h>
#include <string.h>

enum {
    S_DELAY_US = 20000,
    S_DELAY_US_MAX = 100000,
    S_DELAY_MEMBER_US = 100,
    S_DELAY_SHARE = 8,    // of a heartbeat interval, at most
    S_PATIENCE_SHARE = 4, // likewise
    S_AGAIN_US = 200000,
    S_PLAN_WORK = 400000,  // in a turn: some 10 ms
    S_SWEEP_WORK = 200000, // likewise
    S_LOOK_WORK = 100000
};

static int64_t s_delay_us(const weft_coordinator_t *self, const struct weft_group_room *room)
{
    int64_t delay_us = S_DELAY_US + (int64_t) weft_map_count(room->seats) * S_DELAY_MEMBER_US;
    if (delay_us > S_DELAY_US_MAX) delay_us = S_DELAY_US_MAX;
    int64_t share_us = self->rooms->settings.heartbeat_us / S_DELAY_SHARE;
    return delay_us < share_us ? delay_us : share_us;
}

void weft_coordinator_room_dirty(weft_coordinator_t *self, struct weft_group_room *room)
{
    if (!room->dirty) {
        room->dirty = true;
        room->dirty_us = weft_port_now_us(&self->port);
        room->plan_us = room->dirty_us + s_delay_us(self, room);
    }
    weft_coordinator_room_touch(self, room);
}

static void s_planned(weft_coordinator_t *self, const struct weft_proposal *proposal,
                      const struct weft_outcome *outcome)
{
    struct weft_group_room *room;
    struct weft_group_change *change = weft_coordinator_change_take(self, proposal, &room);
    weft_coordinator_change_free(change);
    if (!room) return;
    room->planning = room->closed = false;
    if (!outcome->err) return;
    if (outcome->err != WEFT_ERR_STALE_EPOCH)
        weft_trace(WEFT_TRACE_WARN, self->name, "the target of group %s was not taken: %s", room->name,
                   outcome->sentence ? outcome->sentence : weft_err_name(outcome->err));
    weft_coordinator_room_dirty(self, room);
    if (outcome->err != WEFT_ERR_STALE_EPOCH) room->plan_us = weft_port_now_us(&self->port) + S_AGAIN_US;
}

static void s_propose_plan(weft_coordinator_t *self, struct weft_group_room *room, const struct weft_group *group)
{
    struct weft_group_change *change =
        weft_coordinator_change_new(weft_slice_text(room->name), WEFT_COMMAND_GROUP_ASSIGNED, s_planned);
    weft_groups_plan(group, self->cluster, &change->command);
    room->dirty = room->closed = false;
    if (change->command.size == 0) {
        weft_coordinator_change_free(change);
        return;
    }
    room->planning = true;
    weft_counter_add(self->counters, WEFT_COUNT_GROUP_PLANS, 1);
    weft_coordinator_change_propose(self, room, change);
}

int64_t weft_coordinator_room_plan(weft_coordinator_t *self, struct weft_group_room *room, int64_t now_us)
{
    if (!room->dirty || room->planning) return WEFT_TIME_NEVER; // it touches the room when it is settled
    const struct weft_group *group = weft_groups_find(self->groups, weft_slice_text(room->name));
    if (!group || group->member_count == 0) {
        room->dirty = room->closed = false;
        return WEFT_TIME_NEVER;
    }
    if (now_us < room->plan_us) return room->plan_us;
    if (room->flying) { // before it in the log
        int64_t patience_us = self->rooms->settings.heartbeat_us / S_PATIENCE_SHARE;
        room->closed = now_us - room->dirty_us > patience_us;
        return WEFT_TIME_NEVER; // each of them touches the room
    }
    if (self->rooms->plan_work >= S_PLAN_WORK) return now_us; // in the next turn, which is at once
    self->rooms->plan_work += weft_groups_work(group, self->cluster);
    s_propose_plan(self, room, group);
    return WEFT_TIME_NEVER;
}

// ---- topics that changed

void weft_coordinator_sweep_fini(struct weft_group_sweep *sweep)
{
    for (size_t i = 0; i < sweep->name_count; i++) free(sweep->names[i]);
    *sweep = (struct weft_group_sweep){.all = false};
}

void weft_coordinator_groups_topic_changed(weft_coordinator_t *self, const struct weft_cluster_change *change)
{
    if (!self->in_office || weft_groups_count(self->groups) == 0) return;
    struct weft_group_sweep *next = &self->rooms->sweep_next;
    const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, change->topic);
    if (next->all) return;
    if (!topic || next->name_count == WEFT_GROUP_NAMES_MAX) { // what it was called is not known any more
        weft_coordinator_sweep_fini(next);
        next->all = true;
        return;
    }
    for (size_t i = 0; i < next->name_count; i++)
        if (strcmp(next->names[i], topic->name) == 0) return;
    next->names[next->name_count++] = weft_strdup(topic->name);
}

static bool s_concerns(const struct weft_group *group, const struct weft_group_sweep *sweep)
{
    if (sweep->all) return group->member_count > 0;
    for (size_t i = 0; i < sweep->name_count; i++)
        if (weft_group_reads(group, weft_slice_text(sweep->names[i]))) return true;
    return false;
}

static void s_look_at(weft_coordinator_t *self, const struct weft_group *group)
{
    struct weft_group_room *room = weft_coordinator_room(self, weft_slice_text(group->name));
    if (!room || room->dirty || room->planning) return;
    if (weft_groups_inputs(group, self->cluster) != group->digest) weft_coordinator_room_dirty(self, room);
}

bool weft_coordinator_groups_sweep(weft_coordinator_t *self)
{
    struct weft_group_rooms *rooms = self->rooms;
    if (!rooms->sweeping) {
        if (!rooms->sweep_next.all && rooms->sweep_next.name_count == 0) return false;
        rooms->sweep = rooms->sweep_next;
        rooms->sweep_next = (struct weft_group_sweep){.all = false};
        rooms->sweeping = true;
        rooms->sweep_cursor = 0;
    }
    const struct weft_group *group;
    uint64_t work = 0;
    while (work < S_SWEEP_WORK && (group = weft_groups_next(self->groups, &rooms->sweep_cursor))) {
        work += 1 + rooms->sweep.name_count * weft_group_reads_work(group);
        if (!s_concerns(group, &rooms->sweep)) continue;
        work += weft_groups_work(group, self->cluster);
        s_look_at(self, group);
    }
    if (work >= S_SWEEP_WORK) return true;
    rooms->sweeping = false;
    weft_coordinator_sweep_fini(&rooms->sweep);
    return rooms->sweep_next.all || rooms->sweep_next.name_count;
}

void weft_coordinator_groups_look(weft_coordinator_t *self)
{
    const struct weft_group *group;
    uint64_t work = 0;
    while (work < S_LOOK_WORK && (group = weft_groups_next(self->groups, &self->rooms->look_cursor))) {
        work += weft_groups_work(group, self->cluster);
        if (group->member_count) s_look_at(self, group);
    }
    if (work < S_LOOK_WORK) self->rooms->look_cursor = 0;
}
