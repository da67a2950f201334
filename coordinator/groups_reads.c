// SPDX-License-Identifier: MPL-2.0
// What people and tools read of consumer groups: behind a barrier, like all reads of the coordinator in office.
//
// An answer holds what one header may. A group too large for that is described without the targets, then without what
// members own; beyond that it is refused.
#include "groups.h"

#include "../lib/base/assert.h"

#include <weft_gen/limits.h>

#include <stdlib.h>
#include <string.h>

enum { S_LEFT_MAX = 32, S_ANSWER_BYTES_MAX = WEFT_REPLY_BYTES_MAX - 65536 };

// ---- list

static int s_compare_listed(const void *a, const void *b)
{
    const struct weft_listed_group *x = a, *y = b;
    return weft_slice_compare(x->group, y->group);
}

void weft_coordinator_group_list(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    (void) header;
    struct weft_group_list_reply reply;
    weft_group_list_reply_init(&reply);
    reply.header.id = asker->id;
    reply.groups = weft_calloc(weft_groups_count(self->groups) + 1, sizeof *reply.groups);
    const struct weft_group *group;
    for (size_t cursor = 0; (group = weft_groups_next(self->groups, &cursor));)
        reply.groups[reply.groups_count++] =
            (struct weft_listed_group){.group = weft_slice_text(group->name),
                                       .state = weft_slice_text(weft_group_state(group, self->cluster)),
                                       .members = (uint32_t) group->member_count,
                                       .epoch = group->epoch,
                                       .assignor = weft_slice_text(weft_assignor_name(group->assignor))};
    qsort(reply.groups, reply.groups_count, sizeof *reply.groups, s_compare_listed);
    weft_buf_t out;
    weft_buf_init(&out);
    weft_group_list_reply_encode(&reply, &out);
    weft_coordinator_answer(self, asker, &out);
    weft_buf_fini(&out);
    free(reply.groups);
}

// ---- describe

/** A list of (topic, partition, token) by topic. */
struct s_part {
    weft_id_t topic;
    uint32_t partition;
    uint64_t token;
};

static size_t s_owned(const weft_coordinator_t *self, const struct s_part *parts, size_t count, weft_arena_t *arena,
                      struct weft_assigned_topic **out)
{
    struct weft_assigned_topic *topics = weft_arena_alloc(arena, count * sizeof *topics + 1);
    uint32_t *partitions = weft_arena_alloc(arena, count * sizeof *partitions + 1);
    uint64_t *tokens = weft_arena_alloc(arena, count * sizeof *tokens + 1);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (used == 0 || !weft_id_equal(topics[used - 1].topic_id, parts[i].topic)) {
            const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, parts[i].topic);
            topics[used++] =
                (struct weft_assigned_topic){.topic = topic ? weft_slice_text(topic->name) : WEFT_SLICE_NIL,
                                             .topic_id = parts[i].topic,
                                             .partitions = &partitions[i],
                                             .tokens = &tokens[i]};
        }
        partitions[i] = parts[i].partition;
        tokens[i] = parts[i].token;
        topics[used - 1].partitions_count = ++topics[used - 1].tokens_count;
    }
    *out = topics;
    return used;
}

static void s_fill_parts(const weft_coordinator_t *self, const struct weft_group_member *member, weft_arena_t *arena,
                         struct weft_described_member *out)
{
    struct s_part *parts = weft_arena_alloc(arena, (member->hold_count + member->target_count) * sizeof *parts + 1);
    for (size_t i = 0; i < member->hold_count; i++)
        parts[i] = (struct s_part){member->holds[i].topic, member->holds[i].partition, member->holds[i].token};
    out->owns_count = s_owned(self, parts, member->hold_count, arena, &out->owns);
    for (size_t i = 0; i < member->target_count; i++)
        parts[i] = (struct s_part){member->target[i].topic, member->target[i].partition, 0};
    struct weft_assigned_topic *target;
    out->target_count = s_owned(self, parts, member->target_count, arena, &target);
    out->target = weft_arena_alloc(arena, out->target_count * sizeof *out->target + 1);
    for (size_t i = 0; i < out->target_count; i++)
        out->target[i] = (struct weft_target_topic){.topic_id = target[i].topic_id,
                                                    .partitions = target[i].partitions,
                                                    .partitions_count = target[i].partitions_count};
}

static uint32_t s_ms(int64_t us)
{
    return us < 0 ? 0 : us / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t) (us / 1000);
}

static void s_fill_member(const weft_coordinator_t *self, const struct weft_group_room *room,
                          const struct weft_group_member *member, weft_arena_t *arena,
                          struct weft_described_member *out)
{
    const struct weft_group_seat *seat = room ? weft_coordinator_seat(room, member->id) : NULL;
    *out = (struct weft_described_member){.member = member->id,
                                          .instance = weft_slice_text(member->instance),
                                          .client = weft_slice_text(member->client),
                                          .host = weft_slice_text(member->host),
                                          .rack = weft_slice_text(member->rack),
                                          .epoch = member->epoch,
                                          .paused = member->paused,
                                          .session_ms = member->session_ms,
                                          .releasing = (uint32_t) member->dropped_count};
    if (seat) {
        out->heard_ms = s_ms(weft_port_now_us(&self->port) - seat->heard_us);
        out->idle_ms = seat->idle_ms;
    }
    out->topics = weft_arena_alloc(arena, member->topic_count * sizeof *out->topics + 1);
    out->topics_count = member->topic_count;
    for (size_t i = 0; i < member->topic_count; i++) out->topics[i] = weft_slice_text(member->topics[i]);
    s_fill_parts(self, member, arena, out);
}

static void s_fill_left(const weft_coordinator_t *self, weft_slice_t group, weft_arena_t *arena,
                        struct weft_group_describe_reply *reply)
{
    const struct weft_group_rooms *rooms = self->rooms;
    reply->left = weft_arena_alloc(arena, S_LEFT_MAX * sizeof *reply->left);
    for (size_t i = 0; i < WEFT_GROUP_GONE_MAX && reply->left_count < S_LEFT_MAX; i++) {
        const struct weft_group_gone *gone = &rooms->gone[(rooms->gone_next - 1 - i) % WEFT_GROUP_GONE_MAX];
        if (!gone->group) break;
        if (!weft_slice_is_text(group, gone->group)) continue;
        reply->left[reply->left_count++] =
            (struct weft_left_member){.member = gone->member,
                                      .instance = weft_slice_text(gone->instance),
                                      .client = weft_slice_text(gone->client),
                                      .host = weft_slice_text(gone->host),
                                      .ago_ms = (uint64_t) (weft_port_now_us(&self->port) - gone->at_us) / 1000,
                                      .why = weft_slice_text(gone->why)};
    }
}

static void s_fill_group(const weft_coordinator_t *self, const struct weft_group *group, weft_arena_t *arena,
                         struct weft_group_describe_reply *reply)
{
    const struct weft_group_room *room = weft_coordinator_room(self, weft_slice_text(group->name));
    reply->state = weft_slice_text(weft_group_state(group, self->cluster));
    reply->epoch = group->epoch;
    reply->assignor = weft_slice_text(weft_assignor_name(group->assignor));
    if (group->empty_since_ms >= 0) {
        reply->empty_ms = weft_port_wall_ms(&self->port) - group->empty_since_ms;
        if (reply->empty_ms < 0) reply->empty_ms = 0; // the clock was put back
    }
    reply->members = weft_arena_alloc(arena, group->member_count * sizeof *reply->members + 1);
    reply->members_count = group->member_count;
    for (size_t i = 0; i < group->member_count; i++)
        s_fill_member(self, room, group->members[i], arena, &reply->members[i]);
    s_fill_left(self, weft_slice_text(group->name), arena, reply);
}

// Leaves out what does not fit, least wanted first. False: even that is too much.
static bool s_encode_described(struct weft_group_describe_reply *reply, weft_buf_t *out)
{
    for (int step = 0; step < 3; step++) {
        for (size_t i = 0; step && i < reply->members_count; i++) {
            reply->members[i].target_count = 0;
            if (step == 2) reply->members[i].owns_count = 0;
        }
        weft_buf_clear(out);
        weft_group_describe_reply_encode(reply, out);
        if (out->size <= S_ANSWER_BYTES_MAX) return true;
    }
    return false;
}

void weft_coordinator_group_describe(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_group_describe_request request;
    struct weft_error error;
    weft_err_t err = weft_group_describe_request_decode(&self->codec, header, &request, &error);
    if (!err) err = weft_group_name_check(request.group, &error);
    const struct weft_group *group = err ? NULL : weft_groups_find(self->groups, request.group);
    if (!err && !group)
        err = weft_error_set(&error, WEFT_ERR_UNKNOWN_GROUP,
                             "there is no group '%.*s': it never had members, or was deleted or forgotten since",
                             (int) request.group.size, (const char *) request.group.data);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    weft_arena_t arena;
    weft_arena_init(&arena);
    struct weft_group_describe_reply reply;
    weft_group_describe_reply_init(&reply);
    reply.header.id = asker->id;
    s_fill_group(self, group, &arena, &reply);
    weft_buf_t out;
    weft_buf_init(&out);
    if (s_encode_described(&reply, &out))
        weft_coordinator_answer(self, asker, &out);
    else
        weft_coordinator_refuse(self, asker, WEFT_ERR_INVALID_REQUEST,
                                "the group has more members than one answer can describe");
    weft_buf_fini(&out);
    weft_arena_fini(&arena);
}

// ---- check

void weft_coordinator_group_check(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_group_check_request request;
    struct weft_error error;
    weft_err_t err = weft_group_check_request_decode(&self->codec, header, &request, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    struct weft_group_check_reply reply;
    weft_group_check_reply_init(&reply);
    reply.header.id = asker->id;
    reply.known = weft_calloc(request.groups_count + 1, sizeof *reply.known);
    reply.known_count = request.groups_count;
    for (size_t i = 0; i < request.groups_count; i++)
        reply.known[i] = weft_groups_find(self->groups, request.groups[i]) != NULL;
    weft_buf_t out;
    weft_buf_init(&out);
    weft_group_check_reply_encode(&reply, &out);
    weft_coordinator_answer(self, asker, &out);
    weft_buf_fini(&out);
    free(reply.known);
}
