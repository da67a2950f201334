// SPDX-License-Identifier: MPL-2.0
// What tools ask of groups that have no members: a token to commit with, deletion; and groups that nobody used for long.
//
// A token is the index of a command, so it outranks all that were given before; asked for twice, the second outranks the
// first and nothing is lost. Deleting a group that is none gives a token too: its offsets may still be there.
#include "groups.h"

#include "../lib/base/assert.h"
#include "../lib/base/trace.h"

#include <stdlib.h>
#include <string.h>

enum { S_NAMED_MAX = 5, S_EXPIRED_MAX = 256, S_EXPIRE_US_MAX = 60000000, S_EXPIRE_US_MIN = 1000000 };

// ---- who is in it

void weft_coordinator_member_name(const struct weft_group_member *member, weft_buf_t *out)
{
    char id[WEFT_ID_TEXT_BYTES];
    weft_id_text(member->id, id);
    if (member->instance[0])
        weft_buf_printf(out, "%s", member->instance);
    else if (member->client[0] || member->host[0])
        weft_buf_printf(out, "%s@%s", member->client, member->host);
    else
        weft_buf_printf(out, "%s", id);
}

// A member that is away, and how long it may be: nobody can stop that one.
static void s_append_kept(const weft_coordinator_t *self, const struct weft_group_member *member, weft_buf_t *out)
{
    const struct weft_group_room *room = weft_coordinator_room(self, weft_slice_text(member->group->name));
    const struct weft_group_seat *seat = room ? weft_coordinator_seat(room, member->id) : NULL;
    if (!member->paused || !seat) return;
    int64_t left_us = weft_coordinator_seat_ends(self, seat) - weft_port_now_us(&self->port);
    weft_buf_printf(out, " (stopped, its place is kept for %lld s more)",
                    left_us > 0 ? (long long) ((left_us + 999999) / 1000000) : 0);
}

static const char *s_what_to_do(size_t members, size_t away)
{
    if (away == 0) return members == 1 ? "stop it first" : "stop them first";
    if (away == members) return members == 1 ? "wait until it is out" : "wait until they are out";
    return "stop those that run, and wait until the others are out";
}

static weft_err_t s_empty_check(const weft_coordinator_t *self, weft_slice_t name, struct weft_error *error)
{
    const struct weft_group *group = weft_groups_find(self->groups, name);
    if (!group || group->member_count == 0) return WEFT_OK;
    weft_buf_t text;
    weft_buf_init(&text);
    for (size_t i = 0; i < group->member_count && i < S_NAMED_MAX; i++) {
        if (i) weft_buf_printf(&text, ", ");
        weft_coordinator_member_name(group->members[i], &text);
        s_append_kept(self, group->members[i], &text);
    }
    if (group->member_count > S_NAMED_MAX) weft_buf_printf(&text, " and %zu more", group->member_count - S_NAMED_MAX);
    size_t away = 0;
    for (size_t i = 0; i < group->member_count; i++) away += group->members[i]->paused;
    weft_err_t err = weft_error_set(error, WEFT_ERR_GROUP_NOT_EMPTY, "group '%s' has %zu member%s: %.*s; %s",
                                    group->name, group->member_count, group->member_count == 1 ? "" : "s",
                                    (int) text.size, (const char *) text.data, s_what_to_do(group->member_count, away));
    weft_buf_fini(&text);
    return err;
}

static weft_err_t s_check(const weft_coordinator_t *self, weft_slice_t name, struct weft_error *error)
{
    weft_err_t err = weft_group_name_check(name, error);
    if (!err) err = weft_coordinator_groups_ready(self, error);
    return err ? err : s_empty_check(self, name, error);
}

// ---- token

static void s_tokened(weft_coordinator_t *self, const struct weft_proposal *proposal,
                      const struct weft_outcome *outcome)
{
    if (outcome->err) {
        weft_coordinator_refuse(self, &proposal->asker, outcome->err, outcome->sentence);
        return;
    }
    struct weft_group_token_reply reply;
    weft_group_token_reply_init(&reply);
    reply.header.id = proposal->asker.id;
    reply.token = outcome->index;
    weft_buf_t out;
    weft_buf_init(&out);
    weft_group_token_reply_encode(&reply, &out);
    weft_coordinator_answer(self, &proposal->asker, &out);
    weft_buf_fini(&out);
}

void weft_coordinator_group_token(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_group_token_request request;
    struct weft_error error;
    weft_err_t err = weft_group_token_request_decode(&self->codec, header, &request, &error);
    if (!err) err = s_check(self, request.group, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    struct weft_group_tokened_command command;
    weft_group_tokened_command_init(&command);
    command.group = request.group;
    command.operation = request.operation;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_group_tokened_command_encode(&command, &bytes);
    struct weft_proposal proposal = {.command = WEFT_COMMAND_GROUP_TOKENED, .settled = s_tokened, .asker = *asker};
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
}

// ---- delete

static void s_answer_deleted(weft_coordinator_t *self, const struct weft_asker *asker, uint64_t token, bool existed)
{
    struct weft_group_delete_reply reply;
    weft_group_delete_reply_init(&reply);
    reply.header.id = asker->id;
    reply.token = token;
    reply.existed = existed;
    weft_buf_t out;
    weft_buf_init(&out);
    weft_group_delete_reply_encode(&reply, &out);
    weft_coordinator_answer(self, asker, &out);
    weft_buf_fini(&out);
}

static void s_deleted(weft_coordinator_t *self, const struct weft_proposal *proposal,
                      const struct weft_outcome *outcome)
{
    struct weft_group_room *room;
    struct weft_group_change *change = weft_coordinator_change_take(self, proposal, &room);
    if (room) room->deleting = false;
    if (!change->asked) {
        if (!outcome->err)
            weft_trace(WEFT_TRACE_INFO, self->name, "group %s is forgotten: nobody was in it for long", change->group);
    } else if (!outcome->err || (outcome->err == WEFT_ERR_UNKNOWN_GROUP && outcome->index)) {
        s_answer_deleted(self, &change->asker, outcome->index, !outcome->err);
    } else {
        weft_coordinator_refuse(self, &change->asker, outcome->err, outcome->sentence);
    }
    weft_coordinator_change_free(change);
}

static void s_delete(weft_coordinator_t *self, weft_slice_t group, weft_id_t operation, const struct weft_asker *asker)
{
    struct weft_group_deleted_command command;
    weft_group_deleted_command_init(&command);
    command.group = group;
    command.operation = operation;
    command.expired = asker == NULL;
    struct weft_group_room *room = weft_coordinator_room_make(self, group);
    struct weft_group_change *change = weft_coordinator_change_new(group, WEFT_COMMAND_GROUP_DELETED, s_deleted);
    change->asked = asker != NULL;
    if (asker) change->asker = *asker;
    weft_group_deleted_command_encode(&command, &change->command);
    room->deleting = true;
    weft_coordinator_change_propose(self, room, change);
}

void weft_coordinator_group_delete(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_group_delete_request request;
    struct weft_error error;
    weft_err_t err = weft_group_delete_request_decode(&self->codec, header, &request, &error);
    if (!err) err = s_check(self, request.group, &error);
    if (err)
        weft_coordinator_refuse(self, asker, err, error.text);
    else
        s_delete(self, request.group, request.operation, asker);
}

// ---- groups that nobody uses any more

void weft_coordinator_groups_expire(weft_coordinator_t *self)
{
    struct weft_group_rooms *rooms = self->rooms;
    int64_t now_us = weft_port_now_us(&self->port), wall_ms = weft_port_wall_ms(&self->port);
    int64_t retention_ms = rooms->settings.retention_ms;
    if (now_us < rooms->expire_us || weft_cluster_level(self->cluster) < WEFT_GROUPS_LEVEL) return;
    int64_t again_us = retention_ms * 1000 / 4;
    again_us = again_us < S_EXPIRE_US_MIN ? S_EXPIRE_US_MIN : again_us;
    rooms->expire_us = now_us + (again_us > S_EXPIRE_US_MAX ? S_EXPIRE_US_MAX : again_us);
    const struct weft_group *group;
    size_t expired = 0;
    for (size_t cursor = 0; expired < S_EXPIRED_MAX && (group = weft_groups_next(self->groups, &cursor));) {
        if (group->member_count || group->empty_since_ms < 0 || wall_ms - group->empty_since_ms < retention_ms)
            continue;
        struct weft_group_room *room = weft_coordinator_room(self, weft_slice_text(group->name));
        if (room && (room->deleting || weft_map_count(room->joining))) continue;
        s_delete(self, weft_slice_text(group->name), (weft_id_t){{0}}, NULL);
        expired++;
    }
}
