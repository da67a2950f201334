// SPDX-License-Identifier: MPL-2.0
// Applying commands: the dispatch, and who comes and goes.
//
// As with the cluster's, a command is checked whole before anything changes, and nothing in it is trusted. A join has
// three parts: who has the place now (the member itself, or the one whose instance it takes over) lets go of all that it
// held; the place is described anew; what is free is given to who is to hold it, which may be the same member, under new
// tokens. So a member that comes back disturbs nobody.
#include "groups_state.h"

#include "../base/assert.h"

#include <string.h>

// ---- joined

static struct weft_group_profile s_profile(const struct weft_group_joined_command *it)
{
    return (struct weft_group_profile){.client = it->client,
                                       .host = it->host,
                                       .rack = it->rack,
                                       .session_ms = it->session_ms,
                                       .release_ms = it->release_ms,
                                       .exclusive = it->exclusive};
}

static bool s_is_text(weft_slice_t text)
{
    return text.size == 0 || !memchr(text.data, 0, text.size);
}

static weft_err_t s_texts_check(const struct weft_group_joined_command *it, struct weft_error *error)
{
    weft_err_t err = weft_group_name_check(it->group, error);
    if (err) return err;
    if (weft_id_is_zero(it->member)) return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "the member has no id");
    if (it->instance.size && weft_group_name_check(it->instance, NULL) != WEFT_OK)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "the instance '%.*s' is no name: 1 to 255 bytes of UTF-8 without control characters",
                              (int) it->instance.size, (const char *) it->instance.data);
    if (!s_is_text(it->client) || !s_is_text(it->host) || !s_is_text(it->rack))
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "client, host or rack is no text");
    if (it->assignor.size && weft_assignor_of_name(it->assignor) == WEFT_ASSIGNOR_NONE)
        return weft_error_set(error, WEFT_ERR_UNSUPPORTED_ASSIGNOR,
                              "'%.*s' is no assignor; there are uniform and range", (int) it->assignor.size,
                              (const char *) it->assignor.data);
    return WEFT_OK;
}

// The setting as the coordinator checked it; anything else is the default.
static size_t s_members_max(const weft_cluster_t *cluster)
{
    const char *text = weft_cluster_config(cluster, "group.members");
    size_t value = 0;
    if (!text || !*text) return WEFT_GROUP_MEMBERS_DEFAULT;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || value > WEFT_GROUPS_MEMBERS_MAX) return WEFT_GROUP_MEMBERS_DEFAULT;
        value = value * 10 + (size_t) (*text - '0');
    }
    return value < WEFT_GROUP_MEMBERS_MAX ? value : WEFT_GROUP_MEMBERS_MAX;
}

static weft_err_t s_bytes_check(const weft_groups_t *self, size_t bytes, const struct weft_group_joined_command *it,
                                struct weft_error *error)
{
    bytes += weft_group_subscription_bytes(it->topics, it->topics_count);
    if (self->bytes + bytes <= WEFT_GROUPS_BYTES_MAX) return WEFT_OK;
    return weft_error_set(error, WEFT_ERR_GROUP_FULL,
                          "the groups of the cluster hold %zu bytes, %u are the most they may", self->bytes,
                          WEFT_GROUPS_BYTES_MAX);
}

static weft_err_t s_room_check(const weft_groups_t *self, const struct weft_group *group, bool newcomer,
                               const struct weft_group_joined_command *it, struct weft_error *error)
{
    struct weft_group_profile profile = s_profile(it);
    size_t members_max = s_members_max(self->cluster);
    if (newcomer && group && group->member_count >= members_max)
        return weft_error_set(error, WEFT_ERR_GROUP_FULL, "the group '%s' has %zu members; group.members allows %zu",
                              group->name, group->member_count, members_max);
    if (newcomer && self->member_count >= WEFT_GROUPS_MEMBERS_MAX)
        return weft_error_set(error, WEFT_ERR_GROUP_FULL,
                              "the groups of the cluster have %d members, the most they may", WEFT_GROUPS_MEMBERS_MAX);
    if (!group && weft_groups_count(self) >= WEFT_GROUPS_MAX)
        return weft_error_set(error, WEFT_ERR_GROUP_FULL, "the cluster has %d groups, the most it may",
                              WEFT_GROUPS_MAX);
    weft_err_t err = s_bytes_check(self, it->group.size + weft_group_profile_bytes(&profile, it->instance), it, error);
    return err ? err : weft_group_subscription_check(group, it->topics, it->topics_count, error);
}

static weft_err_t s_keeps(weft_groups_t *self, struct weft_group *group, const struct weft_group_joined_command *it,
                          struct weft_error *error)
{
    struct weft_group_member *member = group ? weft_group_find(group, it->member) : NULL;
    if (!member) return weft_error_set(error, WEFT_ERR_UNKNOWN_MEMBER, "the member is not in the group (any more)");
    if (member->paused)
        return weft_error_set(error, WEFT_ERR_FENCED_MEMBER,
                              "the member paused: it owns nothing and has to join again");
    weft_err_t err = s_bytes_check(self, 0, it, error);
    if (!err) err = weft_group_subscription_check(group, it->topics, it->topics_count, error);
    if (err) return err;
    if (it->topics_count) weft_group_subscribe(self, member, it->topics, it->topics_count);
    if (it->assignor.size) group->assignor = weft_assignor_of_name(it->assignor);
    self->changed = group;
    return WEFT_OK;
}

/** Who stands where a member that joins is to stand. */
struct s_places {
    struct weft_group_member *own;   // the member itself, from before
    struct weft_group_member *taken; // another, whose instance it takes over
};

static weft_err_t s_places_find(const struct weft_group *group, const struct weft_group_joined_command *it,
                                struct s_places *out, struct weft_error *error)
{
    *out = (struct s_places){.own = weft_group_find(group, it->member)};
    struct weft_group_member *holder = weft_group_find_instance(group, it->instance);
    if (holder && holder != out->own) {
        if (!holder->paused && !weft_id_equal(holder->id, it->replaces))
            return weft_error_set(error, WEFT_ERR_INSTANCE_IN_USE,
                                  "a member with the instance '%s' is in the group '%s' and alive", holder->instance,
                                  group->name);
        out->taken = holder;
    }
    return WEFT_OK;
}

// Takes a member out: all that it held is free, and its target nobody's.
static void s_remove(weft_groups_t *self, struct weft_group_member *member)
{
    struct weft_group *group = member->group;
    weft_group_holds_free(self, member);
    weft_group_target_clear(self, member);
    weft_group_member_drop(self, member);
    group->digest = 0; // the target misses somebody, even if the same member comes back at once
}

// The member where it is to stand, with the target of who stood there, holding nothing.
static struct weft_group_member *s_seat(weft_groups_t *self, struct weft_group *group, const struct s_places *places,
                                        const struct weft_group_joined_command *it)
{
    struct weft_group_member *taken = places->taken;
    if (places->own && !taken) {
        weft_group_holds_free(self, places->own);
        weft_group_member_name(self, places->own, it->instance);
        return places->own;
    }
    if (places->own) s_remove(self, places->own); // it stood elsewhere
    if (!taken) return weft_group_member_add(self, group, group->member_count, it->member, it->instance);
    weft_group_holds_free(self, taken);
    weft_group_member_name(self, taken, WEFT_SLICE_NIL);
    struct weft_group_member *member = weft_group_member_add(self, group, taken->position, it->member, it->instance);
    weft_group_target_pass(taken, member);
    if (it->topics_count == 0) {
        weft_slice_t topics[WEFT_GROUP_TOPICS_MAX];
        for (size_t i = 0; i < taken->topic_count; i++) topics[i] = weft_slice_text(taken->topics[i]);
        weft_group_subscribe(self, member, topics, taken->topic_count);
    }
    weft_group_member_drop(self, taken);
    return member;
}

static weft_err_t s_joined(weft_groups_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_group_joined_command it;
    weft_err_t err = weft_group_joined_command_decode(self->codec, command, &it, error);
    if (err) return err;
    err = s_texts_check(&it, error);
    if (err) return err;
    struct weft_group *group = weft_groups_group(self, it.group);
    if (it.keeps) return s_keeps(self, group, &it, error);
    struct s_places places = {NULL, NULL};
    if (group && (err = s_places_find(group, &it, &places, error))) return err;
    bool newcomer = !places.own && !places.taken;
    if (newcomer && it.topics_count == 0)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "a member that joins has to say which topics it reads");
    err = s_room_check(self, group, newcomer, &it, error);
    if (err) return err;
    if (!group) group = weft_groups_add(self, it.group);
    struct weft_group_member *member = s_seat(self, group, &places, &it);
    struct weft_group_profile profile = s_profile(&it);
    weft_group_member_describe(self, member, &profile);
    if (it.topics_count) weft_group_subscribe(self, member, it.topics, it.topics_count);
    if (it.assignor.size) group->assignor = weft_assignor_of_name(it.assignor);
    member->epoch = self->index;
    member->released = 0; // of the older epoch nothing is left to release
    member->paused = false;
    group->empty_since_ms = -1;
    self->changed = group;
    weft_group_touch(self, member); // it has to be told, even if there is nothing for it
    weft_group_target_ask(self, member);
    weft_groups_settle(self, group);
    return WEFT_OK;
}

// ---- left

static weft_err_t s_left(weft_groups_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_group_left_command it;
    weft_err_t err = weft_group_left_command_decode(self->codec, command, &it, error);
    if (err) return err;
    struct weft_group *group = weft_groups_group(self, it.group);
    if (!group) return WEFT_OK;
    size_t before = group->member_count;
    for (size_t i = 0; i < it.members_count; i++) {
        struct weft_group_member *member = weft_group_find(group, it.members[i]);
        if (!member || (it.paused && member->paused)) continue;
        self->changed = group;
        if (it.paused && *member->instance) {
            weft_group_holds_free(self, member);
            weft_group_touch(self, member);
            member->paused = true;
        } else
            s_remove(self, member);
    }
    if (group->member_count == 0 && before) group->empty_since_ms = it.wall_ms < 0 ? 0 : it.wall_ms;
    weft_groups_settle(self, group);
    return WEFT_OK;
}

// ---- deleted, tokened

static weft_err_t s_empty_check(const struct weft_group *group, struct weft_error *error)
{
    if (group->member_count == 0) return WEFT_OK;
    const struct weft_group_member *first = group->members[0];
    char id[WEFT_ID_TEXT_BYTES];
    weft_id_text(first->id, id);
    return weft_error_set(error, WEFT_ERR_GROUP_NOT_EMPTY, "the group '%s' has %zu members, %s%s%s%s%s among them",
                          group->name, group->member_count, *first->instance ? first->instance : id,
                          *first->client ? " (" : "", first->client, *first->host ? " on " : "", first->host);
}

static weft_err_t s_deleted(weft_groups_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_group_deleted_command it;
    weft_err_t err = weft_group_deleted_command_decode(self->codec, command, &it, error);
    if (err) return err;
    struct weft_group *group = weft_groups_group(self, it.group);
    if (!group) return weft_error_set(error, WEFT_ERR_UNKNOWN_GROUP, "there is no such group (any more)");
    err = s_empty_check(group, error);
    if (err) return err;
    self->changed = group; // told, then dropped: weft_groups_apply
    self->deleted = true;
    return WEFT_OK;
}

// Nothing to remember: the index of this command is the token, and every later one is higher.
static weft_err_t s_tokened(weft_groups_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_group_tokened_command it;
    weft_err_t err = weft_group_tokened_command_decode(self->codec, command, &it, error);
    if (err) return err;
    err = weft_group_name_check(it.group, error);
    if (err) return err;
    const struct weft_group *group = weft_groups_group(self, it.group);
    return group ? s_empty_check(group, error) : WEFT_OK; // offsets may be there of a group that never had members
}

// ---- dispatch

typedef weft_err_t s_apply_fn(weft_groups_t *self, weft_slice_t command, struct weft_error *error);

static s_apply_fn *const s_appliers[] = {
    [WEFT_COMMAND_GROUP_JOINED] = s_joined,
    [WEFT_COMMAND_GROUP_LEFT] = s_left,
    [WEFT_COMMAND_GROUP_ASSIGNED] = weft_groups_assigned,
    [WEFT_COMMAND_GROUP_RELEASED] = weft_groups_released,
    [WEFT_COMMAND_GROUP_DELETED] = s_deleted,
    [WEFT_COMMAND_GROUP_TOKENED] = s_tokened,
};

static s_apply_fn *s_applier(weft_slice_t command)
{
    enum weft_command which;
    if (weft_command_peek(command, &which) != WEFT_OK) return NULL;
    return (size_t) which < sizeof s_appliers / sizeof *s_appliers ? s_appliers[which] : NULL;
}

bool weft_groups_command(weft_slice_t command)
{
    return s_applier(command) != NULL;
}

static void s_tell(weft_groups_t *self, weft_groups_watch_fn *watch, void *context)
{
    for (size_t i = 0; i < self->touched_count; i++) {
        self->touched[i]->touched = false;
        if (watch) watch(context, self->touched[i]->group, self->touched[i]);
    }
    if (watch && self->changed) watch(context, self->changed, NULL);
    self->touched_count = 0;
    if (self->deleted) weft_groups_drop(self, &self->changed);
    self->changed = NULL;
    self->deleted = false;
}

weft_err_t weft_groups_apply(weft_groups_t *self, const weft_cluster_t *cluster, uint64_t index, weft_slice_t command,
                             weft_groups_watch_fn *watch, void *context, struct weft_error *error)
{
    if (index <= self->index)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "command %llu was applied before (the state is at %llu)",
                              (unsigned long long) index, (unsigned long long) self->index);
    self->index = index;
    s_apply_fn *apply = s_applier(command);
    if (!apply)
        return weft_error_set(error, WEFT_ERR_BAD_FRAME, "command %llu is none of consumer groups",
                              (unsigned long long) index);
    if (weft_cluster_level(cluster) < WEFT_GROUPS_LEVEL)
        return weft_error_set(error, WEFT_ERR_BAD_FRAME, "command %llu is of feature level %d, the cluster is at %u",
                              (unsigned long long) index, WEFT_GROUPS_LEVEL, weft_cluster_level(cluster));
    self->cluster = cluster;
    weft_err_t err = apply(self, command, error);
    self->cluster = NULL;
    weft_assert(self->freed_count == 0);
    s_tell(self, watch, context);
    return err;
}
