// SPDX-License-Identifier: MPL-2.0
// Seats: who was heard when, and the heartbeats that are parked until there is something to tell.
//
// A seat has one parked request at most: a newer one of the same member ends it. Each seat lies in a heap by the time at
// which it has to be looked at; that time may be too early (whoever was heard since gets a new one then), never too
// late. So a heartbeat without change is one lookup, and silence is found without walking over those who are heard.
//
// While it is to go a member hears nothing, neither yes nor no: an answer would be taken for a longer lease. For the same
// reason one that is exclusive is answered only once a barrier shows that nobody else took office since it asked
// (REPLICATION.md rule 22); one barrier serves all that asked before it, which parked requests mostly did.
#include "groups.h"

#include "../lib/base/assert.h"
#include "../lib/base/glob.h"
#include "../lib/base/mutate.h"

#include <stdlib.h>
#include <string.h>

enum { S_HEARTBEATS_A_SESSION = 3, S_WAIT_MS_MAX = 600000, S_HEARTBEAT_MS_MIN = 10 };

// ---- the heap

static void s_place(struct weft_group_rooms *rooms, size_t place, struct weft_group_seat *seat)
{
    rooms->heap[place] = seat;
    seat->place = place;
}

static void s_rise(struct weft_group_rooms *rooms, struct weft_group_seat *seat)
{
    size_t place = seat->place;
    while (place && rooms->heap[(place - 1) / 2]->due_us > seat->due_us) {
        s_place(rooms, place, rooms->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    s_place(rooms, place, seat);
}

static void s_sink(struct weft_group_rooms *rooms, struct weft_group_seat *seat)
{
    size_t place = seat->place;
    for (;;) {
        size_t child = 2 * place + 1;
        if (child + 1 < rooms->seat_count && rooms->heap[child + 1]->due_us < rooms->heap[child]->due_us) child++;
        if (child >= rooms->seat_count || rooms->heap[child]->due_us >= seat->due_us) break;
        s_place(rooms, place, rooms->heap[child]);
        place = child;
    }
    s_place(rooms, place, seat);
}

static void s_heap_add(struct weft_group_rooms *rooms, struct weft_group_seat *seat)
{
    if (rooms->seat_count == rooms->heap_capacity) {
        rooms->heap_capacity = rooms->heap_capacity ? rooms->heap_capacity * 2 : 64;
        rooms->heap = weft_realloc(rooms->heap, rooms->heap_capacity * sizeof(struct weft_group_seat *));
    }
    s_place(rooms, rooms->seat_count++, seat);
    s_rise(rooms, seat);
}

static void s_heap_remove(struct weft_group_rooms *rooms, struct weft_group_seat *seat)
{
    struct weft_group_seat *last = rooms->heap[--rooms->seat_count];
    if (last == seat) return;
    s_place(rooms, seat->place, last);
    s_rise(rooms, last);
    s_sink(rooms, last);
}

// ---- when a seat is looked at

int64_t weft_coordinator_seat_ends(const weft_coordinator_t *self, const struct weft_group_seat *seat)
{
    int64_t from_us = seat->heard_us > self->rooms->awake_us ? seat->heard_us : self->rooms->awake_us;
    if (weft_mutated("no_session_after_office") && !seat->heard) return self->rooms->awake_us;
    if (weft_mutated("session_cut_short")) return from_us + seat->session_us / 2;
    return from_us + seat->session_us;
}

static int64_t s_release_ends(const struct weft_group_seat *seat)
{
    bool waits = seat->dropped && !seat->paused && !seat->expelled;
    return waits ? seat->dropped_us + seat->release_us : WEFT_TIME_NEVER;
}

static int64_t s_due(const weft_coordinator_t *self, const struct weft_group_seat *seat)
{
    int64_t due_us = seat->parked ? seat->until_us : WEFT_TIME_NEVER;
    if (seat->leaving) return due_us;
    int64_t ends_us = weft_coordinator_seat_ends(self, seat);
    if (seat->newcomer_us > ends_us) ends_us = seat->newcomer_us;
    if (ends_us < due_us) due_us = ends_us;
    return s_release_ends(seat) < due_us ? s_release_ends(seat) : due_us;
}

void weft_coordinator_seat_schedule(weft_coordinator_t *self, struct weft_group_seat *seat)
{
    int64_t due_us = s_due(self, seat);
    if (due_us >= seat->due_us) return; // seen to when that comes
    seat->due_us = due_us;
    s_rise(self->rooms, seat);
}

static void s_release_timed_out(weft_coordinator_t *self, struct weft_group_seat *seat)
{
    const struct weft_group *group = weft_groups_find(self->groups, weft_slice_text(seat->room->name));
    const struct weft_group_member *member = group ? weft_group_member(group, seat->member) : NULL;
    if (member && member->exclusive) { // it delivers until its lease ends, so it is heard no more and waited for
        seat->expelled = true;
        return;
    }
    weft_coordinator_group_leave(self, seat->room, seat->member, weft_slice_text("did not release in time"), false,
                                 NULL, 0);
}

static void s_session_ended(weft_coordinator_t *self, struct weft_group_seat *seat)
{
    const char *why = seat->expelled ? "did not release in time"
                      : seat->paused ? "paused and did not come back in its session"
                                     : "timed out";
    weft_counter_add(self->counters, WEFT_COUNT_GROUP_TIMEOUTS, 1);
    weft_coordinator_group_leave(self, seat->room, seat->member, weft_slice_text(why), false, NULL, 0);
}

static void s_look_at(weft_coordinator_t *self, struct weft_group_seat *seat, int64_t now_us)
{
    if (!seat->leaving) {
        int64_t ends_us = weft_coordinator_seat_ends(self, seat);
        if (seat->newcomer_us > ends_us) ends_us = seat->newcomer_us;
        if (now_us >= ends_us)
            s_session_ended(self, seat);
        else if (now_us >= s_release_ends(seat))
            s_release_timed_out(self, seat);
    }
    if (seat->parked && now_us >= seat->until_us) {
        if (seat->leaving || seat->expelled)
            seat->until_us = WEFT_TIME_NEVER; // answered when that is settled
        else
            weft_coordinator_seat_answer(self, seat);
    }
}

int64_t weft_coordinator_seats_turn(weft_coordinator_t *self, int64_t now_us)
{
    struct weft_group_rooms *rooms = self->rooms;
    while (rooms->seat_count && rooms->heap[0]->due_us <= now_us) {
        struct weft_group_seat *seat = rooms->heap[0];
        if (s_due(self, seat) <= now_us) s_look_at(self, seat, now_us);
        int64_t due_us = s_due(self, seat);
        weft_assert(due_us > now_us);
        seat->due_us = due_us;
        s_sink(rooms, seat);
    }
    return rooms->seat_count ? rooms->heap[0]->due_us : WEFT_TIME_NEVER;
}

// ---- seats

struct weft_group_seat *weft_coordinator_seat(const struct weft_group_room *room, weft_id_t member)
{
    return weft_map_get(room->seats, weft_id_slice(&member));
}

// The oldest revision that dropped something which it still holds.
static uint64_t s_oldest_dropped(const struct weft_group_member *member)
{
    uint64_t oldest = 0;
    for (size_t i = 0; member->dropped_count && i < member->hold_count; i++) {
        uint64_t dropped = member->holds[i].dropped;
        if (dropped && (oldest == 0 || dropped < oldest)) oldest = dropped;
    }
    return oldest;
}

void weft_coordinator_seat_follow(weft_coordinator_t *self, struct weft_group_seat *seat,
                                  const struct weft_group_member *member)
{
    uint64_t dropped = s_oldest_dropped(member);
    if (dropped != seat->dropped) seat->dropped_us = weft_port_now_us(&self->port);
    seat->dropped = dropped;
    seat->session_us = (int64_t) member->session_ms * 1000;
    // The clock is read before a turn takes its messages in, so one may be sent later than it counts as heard (rule 22).
    if (member->exclusive) seat->session_us += WEFT_GROUP_LATE_US;
    seat->release_us = (int64_t) member->release_ms * 1000;
    seat->paused = member->paused;
    weft_coordinator_seat_schedule(self, seat);
}

struct weft_group_seat *weft_coordinator_seat_make(weft_coordinator_t *self, struct weft_group_room *room,
                                                   const struct weft_group_member *member)
{
    struct weft_group_seat *seat = weft_calloc(1, sizeof *seat);
    seat->room = room;
    seat->member = member->id;
    seat->epoch = member->epoch;
    seat->heard_us = weft_port_now_us(&self->port);
    seat->due_us = WEFT_TIME_NEVER;
    weft_map_put(room->seats, weft_id_slice(&seat->member), seat);
    s_heap_add(self->rooms, seat);
    weft_coordinator_seat_follow(self, seat, member);
    return seat;
}

static void s_forget_woken(struct weft_group_rooms *rooms, const struct weft_group_seat *seat)
{
    for (size_t i = 0; seat->woken && i < rooms->woken_count; i++)
        if (rooms->woken[i] == seat) rooms->woken[i] = rooms->woken[--rooms->woken_count];
}

void weft_coordinator_seat_free(weft_coordinator_t *self, struct weft_group_seat *seat, weft_err_t err,
                                const char *sentence)
{
    weft_coordinator_seat_refuse(self, seat, err, sentence);
    s_forget_woken(self->rooms, seat);
    s_heap_remove(self->rooms, seat);
    weft_map_remove(seat->room->seats, weft_id_slice(&seat->member));
    free(seat);
}

void weft_coordinator_seat_wake(weft_coordinator_t *self, struct weft_group_seat *seat)
{
    struct weft_group_rooms *rooms = self->rooms;
    if (seat->woken) return;
    if (rooms->woken_count == rooms->woken_capacity) {
        rooms->woken_capacity = rooms->woken_capacity ? rooms->woken_capacity * 2 : 64;
        rooms->woken = weft_realloc(rooms->woken, rooms->woken_capacity * sizeof(struct weft_group_seat *));
    }
    rooms->woken[rooms->woken_count++] = seat;
    seat->woken = true;
}

void weft_coordinator_seats_push(weft_coordinator_t *self)
{
    struct weft_group_rooms *rooms = self->rooms;
    while (rooms->woken_count) {
        struct weft_group_seat *seat = rooms->woken[--rooms->woken_count];
        seat->woken = false;
        if (seat->parked && !seat->leaving && !seat->expelled) weft_coordinator_seat_answer(self, seat);
    }
}

// ---- answers

// All that a member owns now, by topic; what it is to release is not in it.
static void s_fill_assignment(const weft_coordinator_t *self, const struct weft_group_member *member,
                              weft_arena_t *arena, struct weft_group_heartbeat_reply *reply)
{
    size_t count = member->hold_count;
    struct weft_assigned_topic *topics = weft_arena_alloc(arena, count * sizeof *topics + 1), *topic = NULL;
    uint32_t *partitions = weft_arena_alloc(arena, count * sizeof *partitions + 1);
    uint64_t *tokens = weft_arena_alloc(arena, count * sizeof *tokens + 1);
    size_t used = 0, owned = 0;
    for (size_t i = 0; i < count; i++) {
        const struct weft_group_held *held = &member->holds[i];
        if (held->dropped) continue;
        if (!topic || !weft_id_equal(topic->topic_id, held->topic)) {
            const struct weft_cluster_topic *known = weft_cluster_topic(self->cluster, held->topic);
            topic = &topics[used++];
            *topic = (struct weft_assigned_topic){.topic = known ? weft_slice_text(known->name) : WEFT_SLICE_NIL,
                                                  .topic_id = held->topic,
                                                  .partitions = &partitions[owned],
                                                  .tokens = &tokens[owned]};
        }
        partitions[owned] = held->partition;
        tokens[owned++] = held->token;
        topic->partitions_count = ++topic->tokens_count;
    }
    reply->assigned = true;
    reply->assignment = topics;
    reply->assignment_count = used;
}

static void s_fill_unknown(const weft_coordinator_t *self, const struct weft_group_member *member, weft_arena_t *arena,
                           struct weft_group_heartbeat_reply *reply)
{
    for (size_t i = 0; i < member->topic_count; i++) {
        weft_slice_t name = weft_slice_text(member->topics[i]);
        if (weft_glob_is_pattern(member->topics[i]) || weft_cluster_topic_by_name(self->cluster, name)) continue;
        if (!reply->unknown) reply->unknown = weft_arena_alloc(arena, member->topic_count * sizeof *reply->unknown);
        reply->unknown[reply->unknown_count++] = name;
    }
}

static uint32_t s_heartbeat_ms(const weft_coordinator_t *self, const struct weft_group_member *member)
{
    int64_t ms = self->rooms->settings.heartbeat_us / 1000;
    if (ms > member->session_ms / S_HEARTBEATS_A_SESSION) ms = member->session_ms / S_HEARTBEATS_A_SESSION;
    return ms < S_HEARTBEAT_MS_MIN ? S_HEARTBEAT_MS_MIN : (uint32_t) ms;
}

static void s_send_answer(weft_coordinator_t *self, const struct weft_asker *asker,
                          const struct weft_group_member *member, uint64_t seen)
{
    weft_arena_t arena;
    weft_arena_init(&arena);
    struct weft_group_heartbeat_reply reply;
    weft_group_heartbeat_reply_init(&reply);
    reply.header.id = asker->id;
    reply.epoch = member->epoch;
    reply.heartbeat_ms = s_heartbeat_ms(self, member);
    reply.session_ms = member->session_ms;
    reply.revision = member->revision;
    if (member->revision != seen) s_fill_assignment(self, member, &arena, &reply);
    s_fill_unknown(self, member, &arena, &reply);
    weft_buf_t out;
    weft_buf_init(&out);
    weft_group_heartbeat_reply_encode(&reply, &out);
    weft_coordinator_answer(self, asker, &out);
    weft_buf_fini(&out);
    weft_arena_fini(&arena);
}

// Behind the barrier the state is asked again: a heartbeat that names what is needed was kept.
static void s_answer_proved(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_group_heartbeat_request request;
    struct weft_error error;
    weft_err_t err = weft_group_heartbeat_request_decode(&self->codec, header, &request, &error);
    const struct weft_group *group = err ? NULL : weft_groups_find(self->groups, request.group);
    const struct weft_group_member *member = group ? weft_group_member(group, request.member) : NULL;
    struct weft_group_room *room = group ? weft_coordinator_room(self, request.group) : NULL;
    struct weft_group_seat *seat = member && room ? weft_coordinator_seat(room, request.member) : NULL;
    if (!seat || member->epoch != request.epoch || seat->leaving || seat->expelled)
        weft_coordinator_refuse(self, asker, WEFT_ERR_UNKNOWN_MEMBER, NULL);
    else
        s_send_answer(self, asker, member, request.seen);
}

static void s_answer_behind_barrier(weft_coordinator_t *self, const struct weft_asker *asker,
                                    const struct weft_group_answer *answer)
{
    struct weft_group_heartbeat_request request;
    weft_group_heartbeat_request_init(&request);
    request.id = asker->id;
    request.group = answer->group;
    request.member = answer->member;
    request.epoch = answer->epoch;
    request.seen = answer->seen;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_group_heartbeat_request_encode(&request, &header);
    weft_coordinator_read(self, asker, s_answer_proved, weft_buf_slice(&header));
    weft_buf_fini(&header);
}

void weft_coordinator_group_answer(weft_coordinator_t *self, const struct weft_asker *asker,
                                   const struct weft_group_answer *answer)
{
    const struct weft_group *group = weft_groups_find(self->groups, answer->group);
    const struct weft_group_member *member = group ? weft_group_member(group, answer->member) : NULL;
    if (!member || member->epoch != answer->epoch)
        weft_coordinator_refuse(self, asker, WEFT_ERR_UNKNOWN_MEMBER, NULL);
    else if (member->exclusive && self->voters_several && self->proved_us < answer->asked_us)
        s_answer_behind_barrier(self, asker, answer);
    else
        s_send_answer(self, asker, member, answer->seen);
}

// ---- parked requests

void weft_coordinator_seat_refuse(weft_coordinator_t *self, struct weft_group_seat *seat, weft_err_t err,
                                  const char *sentence)
{
    if (!seat->parked) return;
    seat->parked = seat->leaves = false;
    weft_coordinator_refuse(self, &seat->asker, err, sentence);
}

void weft_coordinator_seat_answer(weft_coordinator_t *self, struct weft_group_seat *seat)
{
    if (!seat->parked) return;
    seat->parked = seat->leaves = false;
    struct weft_group_answer answer = {.group = weft_slice_text(seat->room->name),
                                       .member = seat->member,
                                       .epoch = seat->epoch,
                                       .seen = seat->seen,
                                       .asked_us = seat->asked_us};
    weft_coordinator_group_answer(self, &seat->asker, &answer);
}

void weft_coordinator_seat_park(weft_coordinator_t *self, struct weft_group_seat *seat,
                                const struct weft_group_member *member, const struct weft_asker *asker,
                                const struct weft_group_heartbeat_request *request)
{
    int64_t now_us = weft_port_now_us(&self->port);
    bool held = seat->leaving || seat->expelled;
    if (held)
        weft_coordinator_seat_refuse(self, seat, WEFT_ERR_TIMED_OUT, "a newer request of this member took its place");
    else
        weft_coordinator_seat_answer(self, seat);
    uint32_t wait_ms = request->wait_ms;
    if (wait_ms > member->session_ms / 2) wait_ms = member->session_ms / 2; // so that it hears that it lives
    if (wait_ms > S_WAIT_MS_MAX) wait_ms = S_WAIT_MS_MAX;
    seat->parked = true;
    seat->asker = *asker;
    seat->epoch = member->epoch;
    seat->seen = request->seen;
    seat->asked_us = now_us;
    seat->until_us = held ? WEFT_TIME_NEVER : now_us + (int64_t) wait_ms * 1000;
    if (!held && (wait_ms == 0 || member->revision != request->seen))
        weft_coordinator_seat_answer(self, seat);
    else
        weft_coordinator_seat_schedule(self, seat);
}
