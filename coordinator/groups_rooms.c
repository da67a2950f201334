// SPDX-License-Identifier: MPL-2.0
// Rooms: what of each group waits for the next turn, how it is proposed, and the end of an office.
//
// Messages only note what is wanted: joins by member, goings together. The turn hands them to the quorum, so that what
// came in one turn is one command where it can be, and so that all of it can wait while a target gets through (a storm
// of joins would make every target stale: groups_plan.c). A room is closed once neither the state nor anybody waiting
// knows its group.
#include "groups.h"

#include "../lib/base/assert.h"
#include "../lib/base/options.h"
#include "../lib/base/trace.h"

#include <weft_gen/config.h>

#include <stdlib.h>
#include <string.h>

enum { S_TICK_US = 1000000, S_AWAKE_US = 250000, S_ORPHANS_US = 1000000 };

// ---- settings

static int64_t s_setting(const weft_coordinator_t *self, weft_options_t *options, const char *key)
{
    const char *text = weft_cluster_config(self->cluster, key);
    if (text) (void) !weft_options_set(options, key, text, NULL); // else its default
    return weft_options_int(options, key);
}

void weft_coordinator_groups_settings(weft_coordinator_t *self)
{
    weft_options_t *options = weft_options_new(weft_options_cluster, weft_options_cluster_count, "cluster");
    self->rooms->settings = (struct weft_group_settings){
        .heartbeat_us = 1000 * s_setting(self, options, "group.heartbeat.ms"),
        .session_min_ms = s_setting(self, options, "group.session.min.ms"),
        .session_max_ms = s_setting(self, options, "group.session.max.ms"),
        .members_max = s_setting(self, options, "group.members"),
        .retention_ms = s_setting(self, options, "offsets.retention.ms"),
        .offsets_partitions = (uint32_t) s_setting(self, options, "offsets.partitions"),
        .offsets_replicas = (uint32_t) s_setting(self, options, "offsets.replicas"),
    };
    weft_options_destroy(&options);
}

weft_err_t weft_coordinator_groups_ready(const weft_coordinator_t *self, struct weft_error *error)
{
    uint32_t level = weft_cluster_level(self->cluster);
    if (level >= WEFT_GROUPS_LEVEL) return WEFT_OK;
    return weft_error_set(error, WEFT_ERR_COORDINATOR_LOADING,
                          "the cluster is at feature level %u and consumer groups need %d: it rises by itself once all "
                          "coordinators run this version; try again then",
                          level, WEFT_GROUPS_LEVEL);
}

// ---- changes on their way

struct weft_group_change *weft_coordinator_change_new(weft_slice_t group, enum weft_command command,
                                                      weft_settled_fn *settled)
{
    struct weft_group_change *change = weft_calloc(1, sizeof *change);
    change->group = weft_slice_dup(group);
    change->proposal = (struct weft_proposal){.command = command, .settled = settled};
    weft_buf_init(&change->command);
    return change;
}

void weft_coordinator_change_free(struct weft_group_change *change)
{
    for (size_t i = 0; i < change->goer_count; i++) weft_coordinator_gone_fini(&change->goers[i].gone);
    free(change->goers);
    weft_coordinator_gone_fini(&change->replaced);
    weft_buf_fini(&change->command);
    free(change->group);
    free(change);
}

// Whether a target depends on it.
static bool s_is_input(const struct weft_group_change *change)
{
    enum weft_command command = change->proposal.command;
    return command == WEFT_COMMAND_GROUP_JOINED || command == WEFT_COMMAND_GROUP_LEFT;
}

void weft_coordinator_change_propose(weft_coordinator_t *self, struct weft_group_room *room,
                                     struct weft_group_change *change)
{
    struct weft_group_rooms *rooms = self->rooms;
    change->proposed = true;
    change->office = rooms->office;
    change->proposal.wait = ++rooms->change_number;
    weft_map_put_u64(rooms->changes, change->proposal.wait, change);
    room->flying += s_is_input(change);
    struct weft_proposal proposal = change->proposal;
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&change->command));
}

struct weft_group_change *weft_coordinator_change_take(weft_coordinator_t *self, const struct weft_proposal *proposal,
                                                       struct weft_group_room **room)
{
    struct weft_group_change *change = weft_map_remove_u64(self->rooms->changes, proposal->wait);
    weft_assert(change != NULL);
    *room = change->office == self->rooms->office ? weft_coordinator_room(self, weft_slice_text(change->group)) : NULL;
    if (!*room) return change;
    weft_assert((*room)->flying >= s_is_input(change));
    (*room)->flying -= s_is_input(change);
    weft_coordinator_room_touch(self, *room);
    return change;
}

// ---- rooms

struct weft_group_room *weft_coordinator_room(const weft_coordinator_t *self, weft_slice_t group)
{
    return weft_map_get(self->rooms->rooms, group);
}

struct weft_group_room *weft_coordinator_room_make(weft_coordinator_t *self, weft_slice_t group)
{
    struct weft_group_room *room = weft_coordinator_room(self, group);
    if (room) return room;
    room = weft_calloc(1, sizeof *room);
    room->name = weft_slice_dup(group);
    room->seats = weft_map_new();
    room->joining = weft_map_new();
    weft_map_put(self->rooms->rooms, group, room);
    return room;
}

// Looked at in the next turn; `soon`: which has to come at once.
static void s_touch(struct weft_group_rooms *rooms, struct weft_group_room *room, bool soon)
{
    rooms->touched_soon |= soon;
    if (room->touched) return;
    if (rooms->touched_count == rooms->touched_capacity) {
        rooms->touched_capacity = rooms->touched_capacity ? rooms->touched_capacity * 2 : 16;
        rooms->touched = weft_realloc(rooms->touched, rooms->touched_capacity * sizeof(struct weft_group_room *));
    }
    rooms->touched[rooms->touched_count++] = room;
    room->touched = true;
}

void weft_coordinator_room_touch(weft_coordinator_t *self, struct weft_group_room *room)
{
    s_touch(self->rooms, room, true);
}

static void s_refuse_change(weft_coordinator_t *self, struct weft_group_change *change)
{
    if (change->asked) weft_coordinator_redirect(self, &change->asker);
    for (size_t i = 0; i < change->goer_count; i++)
        if (change->goers[i].asked) weft_coordinator_redirect(self, &change->goers[i].asker);
    weft_coordinator_change_free(change);
}

// What was proposed is settled by the quorum.
static void s_room_free(weft_coordinator_t *self, struct weft_group_room *room)
{
    void *value;
    for (size_t cursor = 0; weft_map_next(room->joining, &cursor, NULL, &value);) {
        struct weft_group_change *change = value;
        if (!change->proposed) s_refuse_change(self, change);
    }
    if (room->going) s_refuse_change(self, room->going);
    if (room->pausing) s_refuse_change(self, room->pausing);
    for (size_t cursor = 0; weft_map_next(room->seats, &cursor, NULL, &value);)
        weft_coordinator_seat_free(self, value, WEFT_OK, NULL);
    weft_map_destroy(&room->seats);
    weft_map_destroy(&room->joining);
    free(room->name);
    free(room);
}

static bool s_is_over(const weft_coordinator_t *self, const struct weft_group_room *room)
{
    return !weft_groups_find(self->groups, weft_slice_text(room->name)) && weft_map_count(room->seats) == 0 &&
           weft_map_count(room->joining) == 0 && !room->going && !room->pausing && room->flying == 0 &&
           !room->planning && !room->deleting;
}

// ---- turns

// A wish may settle at once, refused: then it is gone from the map.
static void s_propose_joins(weft_coordinator_t *self, struct weft_group_room *room)
{
    void *value;
    for (size_t cursor = 0; weft_map_next(room->joining, &cursor, NULL, &value);) {
        struct weft_group_change *change = value;
        if (!change->proposed) weft_coordinator_change_propose(self, room, change);
    }
}

static void s_encode_left(const weft_coordinator_t *self, struct weft_group_change *change)
{
    weft_id_t *ids = weft_calloc(change->goer_count, sizeof *ids);
    for (size_t i = 0; i < change->goer_count; i++) ids[i] = change->goers[i].gone.member;
    struct weft_group_left_command command;
    weft_group_left_command_init(&command);
    command.group = weft_slice_text(change->group);
    command.members = ids;
    command.members_count = change->goer_count;
    command.paused = change->paused;
    command.wall_ms = weft_port_wall_ms(&self->port);
    weft_group_left_command_encode(&command, &change->command);
    free(ids);
}

static void s_propose_left(weft_coordinator_t *self, struct weft_group_room *room, struct weft_group_change **change_p)
{
    struct weft_group_change *change = *change_p;
    if (!change) return;
    *change_p = NULL;
    s_encode_left(self, change);
    weft_coordinator_change_propose(self, room, change);
}

static int64_t s_room_turn(weft_coordinator_t *self, struct weft_group_room *room, int64_t now_us)
{
    int64_t next_us = weft_coordinator_room_plan(self, room, now_us);
    if (!room->closed) {
        s_propose_joins(self, room); // first: who joined and left again does so in that order
        s_propose_left(self, room, &room->pausing);
        s_propose_left(self, room, &room->going);
    }
    return next_us;
}

static int64_t s_rooms_turn(weft_coordinator_t *self, int64_t now_us)
{
    struct weft_group_rooms *rooms = self->rooms;
    struct weft_group_room **touched = rooms->touched;
    size_t count = rooms->touched_count;
    int64_t next_us = WEFT_TIME_NEVER;
    rooms->touched = NULL;
    rooms->touched_count = rooms->touched_capacity = 0;
    rooms->touched_soon = false;
    rooms->plan_work = 0;
    for (size_t i = 0; i < count; i++) {
        touched[i]->touched = false;
        int64_t room_us = s_room_turn(self, touched[i], now_us);
        if (room_us != WEFT_TIME_NEVER) s_touch(rooms, touched[i], false);
        if (room_us < next_us) next_us = room_us;
    }
    for (size_t i = 0; i < count; i++) {
        if (touched[i]->touched || !s_is_over(self, touched[i])) continue;
        weft_map_remove(rooms->rooms, weft_slice_text(touched[i]->name));
        s_room_free(self, touched[i]);
    }
    free(touched);
    return next_us;
}

static void s_gauges(weft_coordinator_t *self)
{
    weft_counter_set(self->counters, WEFT_COUNT_GROUPS, weft_groups_count(self->groups));
    weft_counter_set(self->counters, WEFT_COUNT_GROUP_MEMBERS, self->rooms->seat_count);
}

static void s_tick(weft_coordinator_t *self, int64_t now_us)
{
    if (now_us < self->rooms->tick_us) return;
    self->rooms->tick_us = now_us + S_TICK_US;
    weft_coordinator_groups_look(self);
    weft_coordinator_groups_expire(self);
}

// ---- parked requests of an office that was lost

static int64_t s_orphans_turn(weft_coordinator_t *self, int64_t now_us)
{
    struct weft_group_rooms *rooms = self->rooms;
    if (rooms->orphan_count == 0) return WEFT_TIME_NEVER;
    int32_t active = -1;
    const char *endpoint = self->quorum->ops->active(self->quorum, &active);
    bool known = active >= 0 && active != self->id && endpoint[0];
    if (!known && now_us < rooms->orphans_us && !self->in_office && !self->quorum->ops->failure(self->quorum))
        return rooms->orphans_us;
    for (size_t i = 0; i < rooms->orphan_count; i++) weft_coordinator_redirect(self, &rooms->orphans[i]);
    rooms->orphan_count = 0;
    free(rooms->orphans);
    rooms->orphans = NULL;
    return WEFT_TIME_NEVER;
}

static void s_orphan(weft_coordinator_t *self, struct weft_group_seat *seat)
{
    struct weft_group_rooms *rooms = self->rooms;
    if (!seat->parked) return;
    rooms->orphans[rooms->orphan_count++] = seat->asker;
    seat->parked = false;
}

static void s_orphan_all(weft_coordinator_t *self)
{
    struct weft_group_rooms *rooms = self->rooms;
    if (rooms->seat_count == 0) return;
    rooms->orphans = weft_realloc(rooms->orphans, (rooms->orphan_count + rooms->seat_count) * sizeof *rooms->orphans);
    rooms->orphans_us = weft_port_now_us(&self->port) + S_ORPHANS_US;
    for (size_t i = 0; i < rooms->seat_count; i++) s_orphan(self, rooms->heap[i]);
}

int64_t weft_coordinator_groups_turn(weft_coordinator_t *self, int64_t now_us)
{
    struct weft_group_rooms *rooms = self->rooms;
    int64_t next_us = s_orphans_turn(self, now_us);
    bool late = now_us - rooms->turned_us > WEFT_GROUP_LATE_US;
    rooms->turned_us = now_us;
    s_gauges(self);
    if (!self->in_office || self->stopping) return next_us;
    if (late) rooms->awake_us = now_us; // who was asleep itself times nobody out for silence
    if (rooms->settings.heartbeat_us == 0) weft_coordinator_groups_settings(self);
    bool more = weft_coordinator_groups_sweep(self);
    int64_t seats_us = weft_coordinator_seats_turn(self, now_us);
    s_tick(self, now_us);
    weft_coordinator_offsets_turn(self, now_us);
    int64_t rooms_us = s_rooms_turn(self, now_us);
    if (more) return now_us;
    if (weft_groups_count(self->groups) == 0 && rooms->offsets_asker_count == 0) return rooms_us;
    int64_t awake_us = now_us + S_AWAKE_US;
    if (awake_us < next_us) next_us = awake_us;
    if (seats_us < next_us) next_us = seats_us;
    return rooms_us < next_us ? rooms_us : next_us;
}

bool weft_coordinator_groups_push(weft_coordinator_t *self)
{
    if (self->in_office && !self->stopping) weft_coordinator_seats_push(self);
    return self->in_office && !self->stopping && self->rooms->touched_soon;
}

// ---- the state's events

void weft_coordinator_group_changed(void *context, const struct weft_group *group,
                                    const struct weft_group_member *member)
{
    weft_coordinator_t *self = context;
    if (!self->in_office) return;
    struct weft_group_room *room = weft_coordinator_room_make(self, weft_slice_text(group->name));
    if (!member) {
        weft_coordinator_room_dirty(self, room);
        return;
    }
    struct weft_group_seat *seat = weft_coordinator_seat(room, member->id);
    if (!seat) return; // it is joining: seated when that is settled
    weft_coordinator_seat_follow(self, seat, member);
    weft_coordinator_seat_wake(self, seat);
}

// ---- office

void weft_coordinator_groups_took_office(weft_coordinator_t *self)
{
    struct weft_group_rooms *rooms = self->rooms;
    int64_t now_us = weft_port_now_us(&self->port);
    weft_coordinator_groups_settings(self);
    rooms->turned_us = rooms->awake_us = now_us;
    const struct weft_group *group;
    for (size_t cursor = 0; (group = weft_groups_next(self->groups, &cursor));) {
        struct weft_group_room *room = weft_coordinator_room_make(self, weft_slice_text(group->name));
        for (size_t i = 0; i < group->member_count; i++)
            if (!weft_coordinator_seat(room, group->members[i]->id))
                (void) weft_coordinator_seat_make(self, room, group->members[i]);
        weft_coordinator_room_dirty(self, room); // its target may have been on its way
    }
}

static void s_drop_rooms(weft_coordinator_t *self)
{
    struct weft_group_rooms *rooms = self->rooms;
    rooms->woken_count = rooms->touched_count = 0;
    rooms->touched_soon = false;
    void *value;
    for (size_t cursor = 0; weft_map_next(rooms->rooms, &cursor, NULL, &value);) {
        struct weft_group_room *room = value;
        weft_map_remove(rooms->rooms, weft_slice_text(room->name));
        s_room_free(self, room);
    }
    weft_assert(rooms->seat_count == 0);
    for (size_t i = 0; i < WEFT_GROUP_GONE_MAX; i++) weft_coordinator_gone_fini(&rooms->gone[i]);
    weft_coordinator_sweep_fini(&rooms->sweep);
    weft_coordinator_sweep_fini(&rooms->sweep_next);
    rooms->sweeping = rooms->offsets_wanted = rooms->offsets_making = rooms->offsets_raising = false;
    rooms->joining_count = 0;
    rooms->offsets_us = rooms->expire_us = 0;
}

void weft_coordinator_groups_lost_office(weft_coordinator_t *self)
{
    struct weft_group_rooms *rooms = self->rooms;
    rooms->office++;
    s_orphan_all(self);
    for (size_t i = 0; i < rooms->offsets_asker_count; i++) weft_coordinator_redirect(self, &rooms->offsets_askers[i]);
    rooms->offsets_asker_count = 0;
    s_drop_rooms(self);
}

void weft_coordinator_groups_stop(weft_coordinator_t *self)
{
    static const char sentence[] = "the coordinator is stopping; ask the others, or this one when it is back";
    for (size_t i = 0; i < self->rooms->seat_count; i++)
        weft_coordinator_seat_refuse(self, self->rooms->heap[i], WEFT_ERR_STOPPING, sentence);
}

// ---- life-cycle

void weft_coordinator_groups_new(weft_coordinator_t *self)
{
    self->groups = weft_groups_new();
    self->rooms = weft_calloc(1, sizeof *self->rooms);
    self->rooms->rooms = weft_map_new();
    self->rooms->changes = weft_map_new();
}

// Nobody is answered any more.
static void s_forget_askers(struct weft_group_rooms *rooms)
{
    void *value;
    for (size_t i = 0; i < rooms->seat_count; i++) rooms->heap[i]->parked = false;
    for (size_t cursor = 0; weft_map_next(rooms->rooms, &cursor, NULL, &value);) {
        struct weft_group_room *room = value;
        struct weft_group_change *leaving[2] = {room->going, room->pausing};
        for (size_t k = 0; k < 2; k++)
            for (size_t i = 0; leaving[k] && i < leaving[k]->goer_count; i++) leaving[k]->goers[i].asked = false;
        void *joining;
        for (size_t at = 0; weft_map_next(room->joining, &at, NULL, &joining);)
            ((struct weft_group_change *) joining)->asked = false;
    }
}

void weft_coordinator_groups_destroy(weft_coordinator_t *self)
{
    struct weft_group_rooms *rooms = self->rooms;
    s_forget_askers(rooms);
    s_drop_rooms(self);
    void *value;
    for (size_t cursor = 0; weft_map_next(rooms->changes, &cursor, NULL, &value);) weft_coordinator_change_free(value);
    weft_map_destroy(&rooms->rooms);
    weft_map_destroy(&rooms->changes);
    free(rooms->touched);
    free(rooms->heap);
    free(rooms->woken);
    free(rooms->orphans);
    free(rooms->offsets_askers);
    free(rooms);
    self->rooms = NULL;
    weft_groups_destroy(&self->groups);
}
