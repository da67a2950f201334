// SPDX-License-Identifier: MPL-2.0
// Heartbeats of members of consumer groups: joins, what was carried out, other subscriptions.
//
// A heartbeat that tells nothing new is one look at the state and one at its seat, and costs no command. What changes
// something becomes a command, of each kind one a member under way: repeats of it (rule 21) join it. Everything is
// checked here, with sentences, before it becomes one; what a race decides is decided by applying.
//
// A refusal makes a member drop what it owns, so it must not come from a coordinator that slept while another took
// office: with several voters it is said behind a barrier.
//
// A newcomer under the instance name of a live member is told to come back; once that one was silent for its session,
// it is given some time to do so before the place is lost, and takes it over with nothing rebalanced.
#include "groups.h"

#include "../lib/base/assert.h"
#include "../lib/base/mutate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { S_RETRY_MS_MIN = 50, S_RETRY_MS_MAX = 1000, S_NEWCOMER_US = 3000000, S_SAME_RETRY_MS = 50 };

// ---- checks

static weft_err_t s_text_check(weft_slice_t text, const char *field, struct weft_error *error)
{
    if (text.size == 0) return WEFT_OK;
    char *copy = weft_slice_dup(text);
    bool clean = strlen(copy) == text.size && weft_text_is_clean(copy);
    free(copy);
    if (clean) return WEFT_OK; // stored, and shown to people
    return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "%s of a member is UTF-8 text without control characters",
                          field);
}

static weft_err_t s_request_check(const struct weft_group_heartbeat_request *request, struct weft_error *error)
{
    weft_err_t err = weft_group_name_check(request->group, error);
    if (!err && weft_id_is_zero(request->member))
        err = weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "a member draws a random id, which is not zero");
    if (!err) err = s_text_check(request->instance, "instance", error);
    if (!err) err = s_text_check(request->why, "why", error);
    return err;
}

static weft_err_t s_topics_check(const struct weft_group_heartbeat_request *request, struct weft_error *error)
{
    weft_err_t err = WEFT_OK;
    for (size_t i = 0; i < request->topics_count && !err; i++)
        err = weft_group_pattern_check(request->topics[i], error);
    if (!err && request->assignor.size && weft_assignor_of_name(request->assignor) == WEFT_ASSIGNOR_NONE)
        err = weft_error_set(error, WEFT_ERR_UNSUPPORTED_ASSIGNOR, "there is no assignor '%.*s': uniform or range",
                             (int) request->assignor.size, (const char *) request->assignor.data);
    return err;
}

static weft_err_t s_join_check(const weft_coordinator_t *self, const struct weft_group_heartbeat_request *request,
                               struct weft_error *error)
{
    const struct weft_group_settings *settings = &self->rooms->settings;
    if (request->topics_count == 0)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "a join to group '%.*s' names the topics to read, or globs over them",
                              (int) request->group.size, (const char *) request->group.data);
    if (request->session_ms < settings->session_min_ms || request->session_ms > settings->session_max_ms)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "session_ms %u is not within %lld and %lld (group.session.min.ms and .max.ms of the "
                              "cluster)",
                              request->session_ms, (long long) settings->session_min_ms,
                              (long long) settings->session_max_ms);
    if (request->release_ms == 0)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "release_ms is at least 1: nobody releases what it holds in no time");
    weft_err_t err = s_topics_check(request, error);
    if (!err) err = s_text_check(request->client, "client", error);
    if (!err) err = s_text_check(request->host, "host", error);
    if (!err) err = s_text_check(request->rack, "rack", error);
    return err;
}

static weft_err_t s_room_check(const weft_coordinator_t *self, const struct weft_group *group,
                               const struct weft_group_room *room, const struct weft_group_heartbeat_request *request,
                               struct weft_error *error)
{
    size_t members = (group ? group->member_count : 0) + (room ? weft_map_count(room->joining) : 0);
    if (group && weft_group_member(group, request->member)) return WEFT_OK;
    if (members >= (size_t) self->rooms->settings.members_max)
        return weft_error_set(error, WEFT_ERR_GROUP_FULL,
                              "group '%.*s' has %zu members, and may have %lld (group.members of the cluster)",
                              (int) request->group.size, (const char *) request->group.data, members,
                              (long long) self->rooms->settings.members_max);
    if (self->rooms->joining_count >= WEFT_GROUP_CHANGES_MAX)
        return weft_error_set(error, WEFT_ERR_OVERLOADED, "%d members are joining groups at this moment; come back",
                              WEFT_GROUP_CHANGES_MAX);
    return WEFT_OK;
}

static void s_refuse_for(weft_coordinator_t *self, const struct weft_asker *asker, weft_err_t err, uint32_t retry_ms,
                         const char *sentence)
{
    struct weft_group_heartbeat_reply reply;
    weft_group_heartbeat_reply_init(&reply);
    reply.header.id = asker->id;
    reply.header.error = (int32_t) err;
    reply.header.retry_ms = retry_ms;
    reply.header.message = weft_slice_text(sentence);
    weft_buf_t out;
    weft_buf_init(&out);
    weft_group_heartbeat_reply_encode(&reply, &out);
    weft_coordinator_answer(self, asker, &out);
    weft_buf_fini(&out);
    weft_counter_add(self->counters, WEFT_COUNT_REFUSED_REQUESTS, 1);
}

// ---- a join, or another subscription, comes back

// Who was in that place is gone, whatever it asked.
static void s_replaced(weft_coordinator_t *self, struct weft_group_room *room, struct weft_group_change *change)
{
    struct weft_group_seat *seat = weft_coordinator_seat(room, change->replaced.member);
    if (seat)
        weft_coordinator_seat_free(self, seat, WEFT_ERR_FENCED_MEMBER,
                                   "another took the place of this instance; what it owned is not its own any more");
    weft_coordinator_gone_keep(self, &change->replaced);
}

static void s_seat_joined(weft_coordinator_t *self, struct weft_group_room *room, struct weft_group_change *change,
                          const struct weft_group_member *member)
{
    if (!weft_id_is_zero(change->replaced.member)) s_replaced(self, room, change);
    struct weft_group_seat *seat = weft_coordinator_seat(room, member->id);
    if (!seat) {
        seat = weft_coordinator_seat_make(self, room, member);
    } else if (seat->epoch != member->epoch) {
        weft_coordinator_seat_refuse(self, seat, WEFT_ERR_FENCED_MEMBER, "this member joined again since it asked");
        seat->leaving = seat->expelled = false;
        seat->releasing = 0;
    }
    seat->epoch = member->epoch;
    seat->heard = true;
    if (!seat->expelled) seat->heard_us = weft_port_now_us(&self->port);
    weft_coordinator_seat_follow(self, seat, member);
}

static void s_join_settled(weft_coordinator_t *self, const struct weft_proposal *proposal,
                           const struct weft_outcome *outcome)
{
    struct weft_group_room *room;
    struct weft_group_change *change = weft_coordinator_change_take(self, proposal, &room);
    weft_slice_t name = weft_slice_text(change->group);
    const struct weft_group *group = outcome->err ? NULL : weft_groups_find(self->groups, name);
    const struct weft_group_member *member = group ? weft_group_member(group, change->member) : NULL;
    if (room) {
        weft_map_remove(room->joining, weft_id_slice(&change->member));
        self->rooms->joining_count--;
    }
    if (room && member) s_seat_joined(self, room, change, member);
    if (outcome->err) {
        weft_coordinator_refuse(self, &change->asker, outcome->err, outcome->sentence);
    } else {
        weft_assert(member != NULL);
        struct weft_group_answer answer = {.group = name,
                                           .member = change->member,
                                           .epoch = member->epoch,
                                           .seen = change->seen,
                                           .asked_us = change->asked_us};
        weft_coordinator_group_answer(self, &change->asker, &answer);
    }
    weft_coordinator_change_free(change);
}

// ---- a join, or another subscription, is wanted

// `member`: it goes on with another subscription; NULL: it joins.
static void s_encode_joined(const weft_coordinator_t *self, const struct weft_group_heartbeat_request *request,
                            const struct weft_group_member *member, weft_id_t replaces, int64_t wall_ms,
                            weft_buf_t *out)
{
    struct weft_group_joined_command command;
    weft_group_joined_command_init(&command);
    (void) self;
    command.group = request->group;
    command.member = request->member;
    command.replaces = replaces;
    command.keeps = member != NULL;
    command.instance = member ? weft_slice_text(member->instance) : request->instance;
    command.topics = request->topics;
    command.topics_count = request->topics_count;
    command.assignor = request->assignor;
    command.client = member ? weft_slice_text(member->client) : request->client;
    command.host = member ? weft_slice_text(member->host) : request->host;
    command.rack = member ? weft_slice_text(member->rack) : request->rack;
    command.session_ms = member ? member->session_ms : request->session_ms;
    command.release_ms = member ? member->release_ms : request->release_ms;
    command.exclusive = member ? member->exclusive : request->exclusive;
    command.wall_ms = wall_ms;
    weft_group_joined_command_encode(&command, out);
}

static uint64_t s_digest(const weft_coordinator_t *self, const struct weft_group_heartbeat_request *request,
                         const struct weft_group_member *member, weft_id_t replaces)
{
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    s_encode_joined(self, request, member, replaces, 0, &bytes);
    uint64_t digest = weft_slice_hash(weft_buf_slice(&bytes), 0);
    weft_buf_fini(&bytes);
    return digest;
}

// One of this member is on its way: the same joins it, another comes back when it is settled.
static bool s_is_joining(weft_coordinator_t *self, const struct weft_group_room *room, const struct weft_asker *asker,
                         const struct weft_group_heartbeat_request *request, uint64_t digest)
{
    struct weft_group_change *under_way = room ? weft_map_get(room->joining, weft_id_slice(&request->member)) : NULL;
    if (!under_way) return false;
    if (under_way->digest != digest) {
        s_refuse_for(self, asker, WEFT_ERR_OVERLOADED, S_SAME_RETRY_MS,
                     "another join or subscription of this member is being written; come back after retry_ms");
        return true;
    }
    weft_coordinator_refuse(self, &under_way->asker, WEFT_ERR_TIMED_OUT,
                            "a newer request of this member took its place");
    under_way->asker = *asker;
    under_way->seen = request->seen;
    under_way->asked_us = weft_port_now_us(&self->port);
    return true;
}

static void s_want_join(weft_coordinator_t *self, const struct weft_asker *asker,
                        const struct weft_group_heartbeat_request *request, const struct weft_group_member *member,
                        weft_id_t replaces)
{
    uint64_t digest = s_digest(self, request, member, replaces);
    struct weft_group_room *room = weft_coordinator_room(self, request->group);
    if (s_is_joining(self, room, asker, request, digest)) return;
    room = weft_coordinator_room_make(self, request->group);
    struct weft_group_change *change =
        weft_coordinator_change_new(request->group, WEFT_COMMAND_GROUP_JOINED, s_join_settled);
    change->member = request->member;
    change->digest = digest;
    change->seen = member ? request->seen : 0;
    change->asked = true;
    change->asker = *asker;
    change->asked_us = weft_port_now_us(&self->port);
    s_encode_joined(self, request, member, replaces, weft_port_wall_ms(&self->port), &change->command);
    if (!weft_id_is_zero(replaces))
        weft_coordinator_gone_fill(self, request->group, replaces, weft_slice_text("replaced"), &change->replaced);
    weft_map_put(room->joining, weft_id_slice(&change->member), change);
    self->rooms->joining_count++;
    weft_coordinator_room_touch(self, room);
    weft_coordinator_offsets_want(self);
}

// ---- joins

// The place of the instance is held by a live member: when to ask again. The place is kept for whoever knocked lately, by
// a time that a client's own back-off (2.5 s at most) fits into: else the holder would go just before, and all would move.
static void s_refuse_newcomer(weft_coordinator_t *self, const struct weft_asker *asker,
                              const struct weft_group_heartbeat_request *request,
                              const struct weft_group_member *holder, struct weft_group_seat *seat)
{
    int64_t now_us = weft_port_now_us(&self->port);
    int64_t left_ms = (weft_coordinator_seat_ends(self, seat) - now_us) / 1000 + 1;
    int64_t retry_ms = left_ms > S_RETRY_MS_MAX ? S_RETRY_MS_MAX : left_ms < S_RETRY_MS_MIN ? S_RETRY_MS_MIN : left_ms;
    seat->newcomer_us = now_us + S_NEWCOMER_US;
    struct weft_error error;
    (void) weft_error_set(
        &error, WEFT_ERR_INSTANCE_IN_USE,
        "instance '%.*s' of group '%.*s' is %s@%s, heard %lld ms ago; stop that one, or wait until it "
        "was silent for its session of %u ms; two programs can't share an instance name",
        (int) request->instance.size, (const char *) request->instance.data, (int) request->group.size,
        (const char *) request->group.data, holder->client, holder->host,
        (long long) ((now_us - seat->heard_us) / 1000), holder->session_ms);
    s_refuse_for(self, asker, error.code, (uint32_t) retry_ms, error.text);
}

// Whose place the newcomer takes; false: nobody's can be taken yet, it was refused.
static bool s_place_of(weft_coordinator_t *self, const struct weft_asker *asker,
                       const struct weft_group_heartbeat_request *request, const struct weft_group *group,
                       weft_id_t *replaces)
{
    *replaces = (weft_id_t){{0}};
    const struct weft_group_member *holder =
        group && request->instance.size ? weft_group_instance(group, request->instance) : NULL;
    if (!holder || weft_id_equal(holder->id, request->member)) return true;
    struct weft_group_seat *seat = weft_coordinator_seat(weft_coordinator_room(self, request->group), holder->id);
    weft_assert(seat != NULL);
    bool silent = weft_coordinator_seat_ends(self, seat) <= weft_port_now_us(&self->port);
    if (weft_mutated("instance_taken_at_once")) silent = true;
    if (seat->leaving || (!holder->paused && !silent)) {
        s_refuse_newcomer(self, asker, request, holder, seat);
        return false;
    }
    *replaces = holder->id;
    return true;
}

static void s_join(weft_coordinator_t *self, const struct weft_asker *asker,
                   const struct weft_group_heartbeat_request *request)
{
    struct weft_error error;
    const struct weft_group *group = weft_groups_find(self->groups, request->group);
    const struct weft_group_room *room = weft_coordinator_room(self, request->group);
    struct weft_group_seat *seat = room ? weft_coordinator_seat(room, request->member) : NULL;
    weft_id_t replaces;
    weft_err_t err = weft_coordinator_groups_ready(self, &error);
    if (!err) err = s_join_check(self, request, &error);
    if (!err) err = s_room_check(self, group, room, request, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    if (seat && seat->leaving) {
        s_refuse_for(self, asker, WEFT_ERR_OVERLOADED, S_SAME_RETRY_MS,
                     "this member goes out of the group at this moment; come back after retry_ms");
        return;
    }
    if (seat) seat->heard_us = weft_port_now_us(&self->port); // whatever it owned it dropped, so its lease is over
    if (s_place_of(self, asker, request, group, &replaces)) s_want_join(self, asker, request, NULL, replaces);
}

// ---- heartbeats

static weft_err_t s_not_a_member(const weft_coordinator_t *self, const struct weft_group_heartbeat_request *request,
                                 struct weft_error *error)
{
    const struct weft_group_gone *gone = weft_coordinator_gone_find(self, request->group, request->member);
    int64_t ago_ms = gone ? (weft_port_now_us(&self->port) - gone->at_us) / 1000 : 0;
    bool replaced = gone && strcmp(gone->why, "replaced") == 0;
    int size = (int) request->group.size;
    const char *group = (const char *) request->group.data;
    if (replaced)
        return weft_error_set(
            error, WEFT_ERR_FENCED_MEMBER,
            "another took the place of instance '%s' in group '%.*s' %lld ms ago; what this one owned "
            "is not its own any more",
            gone->instance, size, group, (long long) ago_ms);
    if (gone)
        return weft_error_set(error, WEFT_ERR_UNKNOWN_MEMBER,
                              "this member went out of group '%.*s' %lld ms ago: %s; it owns nothing there any more, "
                              "join again with epoch 0",
                              size, group, (long long) ago_ms, gone->why);
    return weft_error_set(error, WEFT_ERR_UNKNOWN_MEMBER,
                          "group '%.*s' has no such member; it owns nothing there, join with epoch 0", size, group);
}

static weft_err_t s_beat_check(const weft_coordinator_t *self, const struct weft_group_heartbeat_request *request,
                               const struct weft_group_member *member, struct weft_error *error)
{
    int size = (int) request->group.size;
    const char *group = (const char *) request->group.data;
    if (!member) return s_not_a_member(self, request, error);
    if (member->epoch != request->epoch)
        return weft_error_set(
            error, WEFT_ERR_FENCED_MEMBER,
            "this member of group '%.*s' has epoch %llu, not %llu: another under its id joined since, "
            "or its epoch is made up; drop what was owned and join again with epoch 0",
            size, group, (unsigned long long) member->epoch, (unsigned long long) request->epoch);
    if (member->paused)
        return weft_error_set(
            error, WEFT_ERR_UNKNOWN_MEMBER,
            "this member of group '%.*s' paused and owns nothing; join again with epoch 0 to take its "
            "place",
            size, group);
    if (request->seen > member->revision || request->revision > request->seen)
        return weft_error_set(
            error, WEFT_ERR_INVALID_REQUEST,
            "assignment %llu was carried out and %llu was seen, but the newest in group '%.*s' is %llu",
            (unsigned long long) request->revision, (unsigned long long) request->seen, size, group,
            (unsigned long long) member->revision);
    return s_topics_check(request, error);
}

static int s_compare(const void *a, const void *b)
{
    return weft_slice_compare(*(const weft_slice_t *) a, *(const weft_slice_t *) b);
}

// Whether it tells another subscription, or assignor with it, than the state has. Sorts the request's.
static bool s_resubscribes(const struct weft_group *group, const struct weft_group_member *member,
                           struct weft_group_heartbeat_request *request)
{
    if (request->topics_count == 0) return false;
    if (request->assignor.size && weft_assignor_of_name(request->assignor) != group->assignor) return true;
    qsort(request->topics, request->topics_count, sizeof *request->topics, s_compare);
    size_t used = 0;
    for (size_t i = 0; i < request->topics_count; i++)
        if (used == 0 || !weft_slice_equal(request->topics[used - 1], request->topics[i]))
            request->topics[used++] = request->topics[i];
    request->topics_count = used;
    if (used != member->topic_count) return true;
    for (size_t i = 0; i < used; i++)
        if (!weft_slice_is_text(request->topics[i], member->topics[i])) return true;
    return false;
}

// ---- what it released

static void s_released(weft_coordinator_t *self, const struct weft_proposal *proposal,
                       const struct weft_outcome *outcome)
{
    (void) outcome; // refused or lost: the next heartbeat tells it again
    struct weft_group_room *room;
    struct weft_group_change *change = weft_coordinator_change_take(self, proposal, &room);
    struct weft_group_seat *seat = room ? weft_coordinator_seat(room, change->member) : NULL;
    const struct weft_group *group = seat ? weft_groups_find(self->groups, weft_slice_text(change->group)) : NULL;
    const struct weft_group_member *member = group ? weft_group_member(group, change->member) : NULL;
    if (seat) seat->releasing = 0;
    if (member) weft_coordinator_seat_follow(self, seat, member);
    weft_coordinator_change_free(change);
}

static void s_release(weft_coordinator_t *self, struct weft_group_seat *seat, const struct weft_group_member *member,
                      uint64_t revision)
{
    if (!seat->dropped || revision < seat->dropped || revision <= seat->releasing || seat->leaving) return;
    struct weft_group_released_command command;
    weft_group_released_command_init(&command);
    command.group = weft_slice_text(seat->room->name);
    command.member = seat->member;
    command.epoch = member->epoch;
    command.revision = revision;
    struct weft_group_change *change =
        weft_coordinator_change_new(command.group, WEFT_COMMAND_GROUP_RELEASED, s_released);
    change->member = seat->member;
    weft_group_released_command_encode(&command, &change->command);
    seat->releasing = revision;
    weft_coordinator_change_propose(self, seat->room, change);
}

static void s_proved(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);

// `header`: the request may be news to us because another took office; nil: that was ruled out.
static void s_beat(weft_coordinator_t *self, const struct weft_asker *asker,
                   struct weft_group_heartbeat_request *request, weft_slice_t header)
{
    struct weft_error error;
    const struct weft_group *group = weft_groups_find(self->groups, request->group);
    const struct weft_group_member *member = group ? weft_group_member(group, request->member) : NULL;
    weft_err_t err = s_beat_check(self, request, member, &error);
    if (err && header.data && self->voters_several) {
        weft_coordinator_read(self, asker, s_proved, header);
        return;
    }
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    struct weft_group_seat *seat = weft_coordinator_seat(weft_coordinator_room(self, request->group), member->id);
    weft_assert(seat != NULL);
    seat->heard = true;
    seat->idle_ms = request->idle_ms;
    if (!seat->leaving && !seat->expelled) seat->heard_us = weft_port_now_us(&self->port);
    s_release(self, seat, member, request->revision);
    if (!seat->leaving && !seat->expelled && s_resubscribes(group, member, request))
        s_want_join(self, asker, request, member, (weft_id_t){{0}});
    else
        weft_coordinator_seat_park(self, seat, member, asker, request);
}

// `proved`: nobody else took office since it was asked.
static void s_heartbeat(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header, bool proved)
{
    struct weft_group_heartbeat_request request;
    struct weft_error error;
    weft_err_t err = weft_group_heartbeat_request_decode(&self->codec, header, &request, &error);
    if (!err) err = s_request_check(&request, &error);
    if (err)
        weft_coordinator_refuse(self, asker, err, error.text);
    else if (request.leave.size && !proved && self->voters_several)
        weft_coordinator_read(self, asker, s_proved, header); // who is no member here may be one elsewhere
    else if (request.leave.size)
        weft_coordinator_leave_heartbeat(self, asker, &request);
    else if (request.epoch == 0)
        s_join(self, asker, &request);
    else
        s_beat(self, asker, &request, proved ? WEFT_SLICE_NIL : header);
}

static void s_proved(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    s_heartbeat(self, asker, header, true);
}

void weft_coordinator_group_heartbeat(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    weft_counter_add(self->counters, WEFT_COUNT_GROUP_HEARTBEATS, 1);
    s_heartbeat(self, asker, header, false);
}
