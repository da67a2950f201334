// SPDX-License-Identifier: MPL-2.0
/**
 * Consumer groups, inside: what the coordinator in office knows of them beside the state that all share.
 *
 * lib/core/groups holds what is agreed on. Here is what only the one in office sees, by its own monotonic clock: a *room*
 * a group, a *seat* a member: when it was heard, the request of it that is parked, since when it is to release. All of it
 * is lost with the office; the next coordinator hears everybody for a whole session first (REPLICATION.md rule 22).
 *
 * Nothing that is silent or parked costs anything: each seat has one time at which it is looked at next, in a heap.
 * A heartbeat moves that time only when it comes earlier.
 *
 *     groups.c          joins, heartbeats, subscriptions, releases      groups_wait.c   seats, their times, parked requests
 *     groups_rooms.c    rooms: turns, proposals, loss of office         groups_leave.c  who goes, and who went lately
 *     groups_plan.c     targets after a change                          groups_reads.c  list, describe, check
 *     groups_admin.c    token, delete, expiry                           groups_offsets.c  the topic __offsets
 */
#ifndef WEFT_COORDINATOR_GROUPS_H
#define WEFT_COORDINATOR_GROUPS_H

#include "coordinator.h"

#define WEFT_GROUPS_LEVEL 2          // of the cluster, that their commands need
#define WEFT_GROUP_CHANGES_MAX 20000 // joins on their way; more: OVERLOADED
#define WEFT_GROUP_GONE_MAX 4096     // remembered, of all groups together
#define WEFT_GROUP_NAMES_MAX 16      // topics that changed, before all groups are looked at
#define WEFT_GROUP_LATE_US 500000    // a turn that comes so late is a pause of this process: sessions count anew

struct weft_group_room;

/** A member, as this coordinator hears it. */
struct weft_group_seat {
    struct weft_group_room *room;
    weft_id_t member;
    int64_t heard_us; // or when it paused, or office was taken
    bool heard;       // in this run
    uint32_t idle_ms;
    int64_t session_us, release_us; // of the member; what a turn may take is in the session of an exclusive one
    bool paused;
    bool leaving;        // a group_left with it is wanted or on its way: no answer before it is settled
    bool expelled;       // exclusive and late with a release: not heard any more, gone once its lease has ended
    bool woken;          // it has another assignment
    uint64_t releasing;  // revision of a group_released on its way; 0: none
    uint64_t dropped;    // the oldest revision that it still has to carry out a release of; 0: none
    int64_t dropped_us;  // since when
    int64_t newcomer_us; // another with its instance is expected to ask again before then

    bool parked, leaves; // `leaves`: what is parked asked to leave
    struct weft_asker asker;
    uint64_t epoch, seen;
    int64_t asked_us, until_us;

    int64_t due_us; // looked at then, or earlier
    size_t place;   // in the heap
};

/** Somebody who went, for people. */
struct weft_group_gone {
    char *group; // NULL: none
    weft_id_t member;
    char *instance, *client, *host, *why;
    int64_t at_us;
};

/** Somebody who is to go. */
struct weft_group_goer {
    struct weft_group_gone gone;
    bool asked;
    struct weft_asker asker;
    uint64_t epoch; // for the answer
};

/** A group_joined or group_left, wanted or on its way. */
struct weft_group_change {
    struct weft_proposal proposal;
    weft_buf_t command;
    bool proposed;
    uint64_t office; // in which it was
    char *group;
    // of a join
    weft_id_t member;
    uint64_t digest; // of the command without its time: a repeat is the same
    uint64_t seen;
    bool asked;
    struct weft_asker asker;
    int64_t asked_us;
    struct weft_group_gone replaced;
    // of a group_left
    bool paused;
    struct weft_group_goer *goers;
    size_t goer_count, goer_capacity;
};

/** A group. */
struct weft_group_room {
    char *name;
    weft_map_t *seats;                         // member id to struct weft_group_seat
    weft_map_t *joining;                       // member id to struct weft_group_change
    struct weft_group_change *going, *pausing; // gathered until the turn; NULL: nobody
    size_t flying;                             // joins and goings proposed
    bool touched;                              // in the list of those that the turn looks at
    bool dirty;                                // the target may be out of date
    bool planning;                             // a group_assigned is on its way
    bool closed;                               // joins and goings wait, so that a target gets through
    bool deleting;                             // a group_deleted is
    int64_t dirty_us, plan_us;                 // since when; not before
};

/** Topics that changed, and how far groups were looked at for it. */
struct weft_group_sweep {
    char *names[WEFT_GROUP_NAMES_MAX];
    size_t name_count;
    bool all; // of whatever name
};

struct weft_group_settings {
    int64_t heartbeat_us, session_min_ms, session_max_ms, members_max, retention_ms;
    uint32_t offsets_partitions, offsets_replicas;
};

struct weft_group_rooms {
    weft_map_t *rooms;                // name to struct weft_group_room
    struct weft_group_room **touched; // for the next turn
    size_t touched_count, touched_capacity;
    bool touched_soon;             // which has to come at once
    uint64_t office;               // grows when one is lost
    struct weft_group_seat **heap; // by due_us
    size_t seat_count, heap_capacity;
    struct weft_group_seat **woken;
    size_t woken_count, woken_capacity;
    weft_map_t *changes; // number to struct weft_group_change: proposed
    uint64_t change_number;
    size_t joining_count;
    struct weft_group_settings settings;

    struct weft_group_gone gone[WEFT_GROUP_GONE_MAX]; // a ring
    size_t gone_next;

    struct weft_group_sweep sweep, sweep_next;
    bool sweeping;
    size_t sweep_cursor, look_cursor;
    uint64_t plan_work; // of this turn

    int64_t awake_us; // sessions count from here on at the earliest
    int64_t turned_us, tick_us, expire_us;

    bool offsets_wanted;
    bool offsets_making, offsets_raising; // a command for it is on its way
    int64_t offsets_us;                   // not tried before then
    struct weft_asker *offsets_askers;
    size_t offsets_asker_count;

    struct weft_asker *orphans; // parked when office was lost: told where the next one is
    size_t orphan_count;
    int64_t orphans_us; // at the latest
};

// ---- groups_rooms.c

void weft_coordinator_groups_new(weft_coordinator_t *self);
void weft_coordinator_groups_destroy(weft_coordinator_t *self);
struct weft_group_room *weft_coordinator_room(const weft_coordinator_t *self, weft_slice_t group); // NULL: none
struct weft_group_room *weft_coordinator_room_make(weft_coordinator_t *self, weft_slice_t group);
// The turn looks at it: joins, goings and targets that wait are proposed, and a room without a group is closed.
void weft_coordinator_room_touch(weft_coordinator_t *self, struct weft_group_room *room);
// Proposes it, and keeps it until it is settled; `settled` frees it.
void weft_coordinator_change_propose(weft_coordinator_t *self, struct weft_group_room *room,
                                     struct weft_group_change *change);
// Takes a change that is settled. *room is NULL if office was lost meanwhile.
struct weft_group_change *weft_coordinator_change_take(weft_coordinator_t *self, const struct weft_proposal *proposal,
                                                       struct weft_group_room **room);
struct weft_group_change *weft_coordinator_change_new(weft_slice_t group, enum weft_command command,
                                                      weft_settled_fn *settled);
void weft_coordinator_change_free(struct weft_group_change *change);
// COORDINATOR_LOADING while the cluster's feature level is too low.
WEFT_MUST_USE weft_err_t weft_coordinator_groups_ready(const weft_coordinator_t *self, struct weft_error *error);

// ---- groups_wait.c

struct weft_group_seat *weft_coordinator_seat(const struct weft_group_room *room, weft_id_t member); // NULL: none
struct weft_group_seat *weft_coordinator_seat_make(weft_coordinator_t *self, struct weft_group_room *room,
                                                   const struct weft_group_member *member);
// The member is as the state has it now.
void weft_coordinator_seat_follow(weft_coordinator_t *self, struct weft_group_seat *seat,
                                  const struct weft_group_member *member);
// What is parked is answered with the error.
void weft_coordinator_seat_free(weft_coordinator_t *self, struct weft_group_seat *seat, weft_err_t err,
                                const char *sentence);
int64_t weft_coordinator_seat_ends(const weft_coordinator_t *self, const struct weft_group_seat *seat);
// Something about it has another time now.
void weft_coordinator_seat_schedule(weft_coordinator_t *self, struct weft_group_seat *seat);
void weft_coordinator_seat_wake(weft_coordinator_t *self, struct weft_group_seat *seat);
// Parks a heartbeat, or answers it at once.
void weft_coordinator_seat_park(weft_coordinator_t *self, struct weft_group_seat *seat,
                                const struct weft_group_member *member, const struct weft_asker *asker,
                                const struct weft_group_heartbeat_request *request);
// Ends what is parked: with the assignment as it is, or an error.
void weft_coordinator_seat_answer(weft_coordinator_t *self, struct weft_group_seat *seat);
void weft_coordinator_seat_refuse(weft_coordinator_t *self, struct weft_group_seat *seat, weft_err_t err,
                                  const char *sentence);
/** A heartbeat to be answered. */
struct weft_group_answer {
    weft_slice_t group;
    weft_id_t member;
    uint64_t epoch, seen;
    int64_t asked_us; // when it came
};
// Answers from the state; an exclusive member once it is sure that nobody else took office since it asked.
void weft_coordinator_group_answer(weft_coordinator_t *self, const struct weft_asker *asker,
                                   const struct weft_group_answer *answer);
// Seats whose time has come; returns the next.
int64_t weft_coordinator_seats_turn(weft_coordinator_t *self, int64_t now_us);
void weft_coordinator_seats_push(weft_coordinator_t *self); // the woken ones

// ---- groups_leave.c

// `asker` may be NULL. Its seat, if any, is marked. `why` is copied.
void weft_coordinator_group_leave(weft_coordinator_t *self, struct weft_group_room *room, weft_id_t member,
                                  weft_slice_t why, bool paused, const struct weft_asker *asker, uint64_t epoch);
void weft_coordinator_leave_heartbeat(weft_coordinator_t *self, const struct weft_asker *asker,
                                      const struct weft_group_heartbeat_request *request);
// What the state tells of a member, copied; an empty `out` if there is none.
void weft_coordinator_gone_fill(const weft_coordinator_t *self, weft_slice_t group, weft_id_t member, weft_slice_t why,
                                struct weft_group_gone *out);
void weft_coordinator_gone_fini(struct weft_group_gone *gone);
void weft_coordinator_gone_keep(weft_coordinator_t *self, struct weft_group_gone *gone); // takes what it holds
// The newest entry of that member of the group, or NULL.
const struct weft_group_gone *weft_coordinator_gone_find(const weft_coordinator_t *self, weft_slice_t group,
                                                         weft_id_t member);

// ---- groups_plan.c

void weft_coordinator_room_dirty(weft_coordinator_t *self, struct weft_group_room *room);
// Proposes a target if it is time; returns when to look again.
int64_t weft_coordinator_room_plan(weft_coordinator_t *self, struct weft_group_room *room, int64_t now_us);
// Groups that topics which changed are for; true: there is more to look at.
bool weft_coordinator_groups_sweep(weft_coordinator_t *self);
void weft_coordinator_groups_look(weft_coordinator_t *self); // at a few, all in turn
void weft_coordinator_sweep_fini(struct weft_group_sweep *sweep);

// ---- groups_admin.c

void weft_coordinator_groups_expire(weft_coordinator_t *self);
// How people know a member: instance, or client@host, or its id.
void weft_coordinator_member_name(const struct weft_group_member *member, weft_buf_t *out);

// ---- groups_offsets.c

// Makes __offsets if it is not there and groups are. Raises its replicas when there are more brokers than there were.
void weft_coordinator_offsets_turn(weft_coordinator_t *self, int64_t now_us);
void weft_coordinator_offsets_want(weft_coordinator_t *self);

#endif
