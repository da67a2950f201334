// SPDX-License-Identifier: MPL-2.0
// Who goes: at its own wish, for silence, or late with a release. And who went lately, for people.
//
// All of a group that go in one turn are one group_left (one more for those that pause). Until it is settled a seat is
// marked, and what the member asks meanwhile waits for the outcome. Why somebody went is not in the state: this
// coordinator remembers it for a while, so that describe and the refusal of a later heartbeat can tell.
#include "groups.h"

#include "../lib/base/assert.h"
#include "../lib/base/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { S_GOERS_MAX = 10000, S_AGAIN_US = 100000 };

// ---- who went

void weft_coordinator_gone_fini(struct weft_group_gone *gone)
{
    free(gone->group);
    free(gone->instance);
    free(gone->client);
    free(gone->host);
    free(gone->why);
    *gone = (struct weft_group_gone){.group = NULL};
}

void weft_coordinator_gone_fill(const weft_coordinator_t *self, weft_slice_t group, weft_id_t member, weft_slice_t why,
                                struct weft_group_gone *out)
{
    const struct weft_group *known = weft_groups_find(self->groups, group);
    const struct weft_group_member *it = known ? weft_group_member(known, member) : NULL;
    *out = (struct weft_group_gone){.member = member};
    if (!it) return;
    out->group = weft_slice_dup(group);
    out->instance = weft_strdup(it->instance);
    out->client = weft_strdup(it->client);
    out->host = weft_strdup(it->host);
    out->why = weft_slice_dup(why);
}

void weft_coordinator_gone_keep(weft_coordinator_t *self, struct weft_group_gone *gone)
{
    struct weft_group_rooms *rooms = self->rooms;
    if (!gone->group) return;
    struct weft_group_gone *oldest = &rooms->gone[rooms->gone_next++ % WEFT_GROUP_GONE_MAX];
    weft_coordinator_gone_fini(oldest);
    *oldest = *gone;
    oldest->at_us = weft_port_now_us(&self->port);
    *gone = (struct weft_group_gone){.group = NULL};
}

const struct weft_group_gone *weft_coordinator_gone_find(const weft_coordinator_t *self, weft_slice_t group,
                                                         weft_id_t member)
{
    const struct weft_group_rooms *rooms = self->rooms;
    for (size_t i = 0; i < WEFT_GROUP_GONE_MAX; i++) {
        const struct weft_group_gone *gone = &rooms->gone[(rooms->gone_next - 1 - i) % WEFT_GROUP_GONE_MAX];
        if (!gone->group) return NULL;
        if (weft_id_equal(gone->member, member) && weft_slice_is_text(group, gone->group)) return gone;
    }
    return NULL;
}

// ---- group_left comes back

static void s_answer_left(weft_coordinator_t *self, const struct weft_asker *asker, uint64_t epoch)
{
    struct weft_group_heartbeat_reply reply;
    weft_group_heartbeat_reply_init(&reply);
    reply.header.id = asker->id;
    reply.epoch = epoch;
    weft_buf_t out;
    weft_buf_init(&out);
    weft_group_heartbeat_reply_encode(&reply, &out);
    weft_coordinator_answer(self, asker, &out);
    weft_buf_fini(&out);
}

// It is as before, and may be found silent again a little later.
static void s_stays(weft_coordinator_t *self, struct weft_group_seat *seat, int64_t now_us)
{
    seat->leaving = false;
    if (weft_coordinator_seat_ends(self, seat) <= now_us) seat->newcomer_us = now_us + S_AGAIN_US;
    weft_coordinator_seat_answer(self, seat);
    weft_coordinator_seat_schedule(self, seat);
}

static void s_went(weft_coordinator_t *self, struct weft_group_seat *seat, const struct weft_group_goer *goer,
                   bool paused)
{
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    struct weft_error error;
    if (seat->parked && seat->leaves) {
        s_answer_left(self, &seat->asker, seat->epoch);
        seat->parked = seat->leaves = false;
    }
    (void) weft_error_set(&error, WEFT_ERR_UNKNOWN_MEMBER,
                          "this member went out of group '%s': %s; it owns nothing there any more, join again with "
                          "epoch 0",
                          seat->room->name, goer->gone.why ? goer->gone.why : "left");
    snprintf(sentence, sizeof sentence, "%s", error.text);
    if (!paused) {
        weft_coordinator_seat_free(self, seat, WEFT_ERR_UNKNOWN_MEMBER, sentence);
        return;
    }
    weft_coordinator_seat_refuse(self, seat, WEFT_ERR_UNKNOWN_MEMBER, sentence);
    seat->leaving = seat->expelled = false;
    seat->heard_us = weft_port_now_us(&self->port);
    weft_coordinator_seat_schedule(self, seat);
}

static void s_left_settled(weft_coordinator_t *self, const struct weft_proposal *proposal,
                           const struct weft_outcome *outcome)
{
    struct weft_group_room *room;
    struct weft_group_change *change = weft_coordinator_change_take(self, proposal, &room);
    int64_t now_us = weft_port_now_us(&self->port);
    for (size_t i = 0; i < change->goer_count; i++) {
        struct weft_group_goer *goer = &change->goers[i];
        struct weft_group_seat *seat = room ? weft_coordinator_seat(room, goer->gone.member) : NULL;
        if (goer->asked && outcome->err)
            weft_coordinator_refuse(self, &goer->asker, outcome->err, outcome->sentence);
        else if (goer->asked)
            s_answer_left(self, &goer->asker, goer->epoch);
        if (seat && outcome->err)
            s_stays(self, seat, now_us);
        else if (seat)
            s_went(self, seat, goer, change->paused);
        if (room && !outcome->err && !change->paused) weft_coordinator_gone_keep(self, &goer->gone);
    }
    weft_coordinator_change_free(change);
}

// ---- group_left is wanted

static struct weft_group_change *s_gather(struct weft_group_room *room, bool paused)
{
    struct weft_group_change **gathered = paused ? &room->pausing : &room->going;
    if (*gathered && (*gathered)->goer_count == S_GOERS_MAX) return NULL;
    if (!*gathered) {
        *gathered = weft_coordinator_change_new(weft_slice_text(room->name), WEFT_COMMAND_GROUP_LEFT, s_left_settled);
        (*gathered)->paused = paused;
    }
    return *gathered;
}

static struct weft_group_goer *s_add(struct weft_group_change *change)
{
    if (change->goer_count == change->goer_capacity) {
        change->goer_capacity = change->goer_capacity ? change->goer_capacity * 2 : 4;
        change->goers = weft_realloc(change->goers, change->goer_capacity * sizeof *change->goers);
    }
    struct weft_group_goer *goer = &change->goers[change->goer_count++];
    *goer = (struct weft_group_goer){.asked = false};
    return goer;
}

void weft_coordinator_group_leave(weft_coordinator_t *self, struct weft_group_room *room, weft_id_t member,
                                  weft_slice_t why, bool paused, const struct weft_asker *asker, uint64_t epoch)
{
    struct weft_group_seat *seat = weft_coordinator_seat(room, member);
    struct weft_group_change *change = s_gather(room, paused);
    if (!change) { // the rest goes next turn
        if (asker) weft_coordinator_come_back(self, asker);
        if (seat) seat->newcomer_us = weft_port_now_us(&self->port) + S_AGAIN_US;
        return;
    }
    struct weft_group_goer *goer = s_add(change);
    weft_coordinator_gone_fill(self, weft_slice_text(room->name), member, why, &goer->gone);
    goer->epoch = epoch;
    goer->asked = asker != NULL;
    if (asker) goer->asker = *asker;
    if (seat) seat->leaving = true;
    if (goer->gone.group)
        weft_trace(WEFT_TRACE_INFO, self->name, "group %s: %s%s%s@%s goes: %s", room->name, goer->gone.instance,
                   goer->gone.instance[0] ? " " : "", goer->gone.client, goer->gone.host, goer->gone.why);
    weft_coordinator_room_touch(self, room);
}

// ---- at its own wish

static weft_err_t s_leave_check(const struct weft_group_heartbeat_request *request,
                                const struct weft_group_member *member, struct weft_error *error)
{
    bool pauses = weft_slice_is_text(request->leave, "pause");
    if (!pauses && !weft_slice_is_text(request->leave, "leave"))
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "leave is 'leave', 'pause' or nil, not '%.*s'",
                              (int) request->leave.size, (const char *) request->leave.data);
    if (member && request->epoch && member->epoch != request->epoch)
        return weft_error_set(error, WEFT_ERR_FENCED_MEMBER,
                              "this member joined group '%.*s' again since, under epoch %llu: the one of epoch %llu is "
                              "gone already",
                              (int) request->group.size, (const char *) request->group.data,
                              (unsigned long long) member->epoch, (unsigned long long) request->epoch);
    if (pauses && member && !member->instance[0])
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "only a member with an instance name can pause: nobody could take this place again; "
                              "leave instead");
    return WEFT_OK;
}

// A repeat, or another wish while the first is on its way: answered when that is settled.
static void s_leave_again(weft_coordinator_t *self, struct weft_group_seat *seat,
                          const struct weft_group_member *member, const struct weft_asker *asker,
                          const struct weft_group_heartbeat_request *request)
{
    weft_coordinator_seat_park(self, seat, member, asker, request);
    seat->leaves = true;
}

void weft_coordinator_leave_heartbeat(weft_coordinator_t *self, const struct weft_asker *asker,
                                      const struct weft_group_heartbeat_request *request)
{
    const struct weft_group *group = weft_groups_find(self->groups, request->group);
    const struct weft_group_member *member = group ? weft_group_member(group, request->member) : NULL;
    struct weft_group_room *room = weft_coordinator_room(self, request->group);
    struct weft_error error;
    weft_err_t err = s_leave_check(request, member, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    bool pauses = weft_slice_is_text(request->leave, "pause");
    bool joins = room && weft_map_get(room->joining, weft_id_slice(&request->member));
    if ((!member && !joins) || (member && member->paused && pauses)) { // so it is already
        s_answer_left(self, asker, request->epoch);
        return;
    }
    struct weft_group_seat *seat = weft_coordinator_seat(room, request->member);
    if (seat && seat->leaving) {
        s_leave_again(self, seat, member, asker, request);
        return;
    }
    weft_slice_t why = request->why.size ? request->why : weft_slice_text("left");
    weft_coordinator_group_leave(self, room, request->member, why, pauses, asker, member ? member->epoch : 0);
}
