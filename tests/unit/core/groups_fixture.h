// SPDX-License-Identifier: MPL-2.0
/**
 * Groups under test beside a cluster of one broker, and commands into both under one index, as a coordinator applies
 * them. The invariants are checked after every command, refused ones too.
 */
#ifndef WEFT_TESTS_UNIT_CORE_GROUPS_FIXTURE_H
#define WEFT_TESTS_UNIT_CORE_GROUPS_FIXTURE_H

#include "lib/core/groups.h"
#include "tests/support/test.h"

#include <weft_gen/commands.h>

#include <stdio.h>
#include <string.h>

struct fixture {
    weft_cluster_t *cluster;
    weft_groups_t *groups;
    uint64_t index;
    weft_buf_t command;
    struct weft_error error;
    size_t told, changed; // by the last command: assignments, groups
};

static inline weft_id_t s_id(uint32_t number)
{
    weft_id_t id = {{0}};
    id.bytes[0] = 1;
    id.bytes[12] = (uint8_t) (number >> 24);
    id.bytes[13] = (uint8_t) (number >> 16);
    id.bytes[14] = (uint8_t) (number >> 8);
    id.bytes[15] = (uint8_t) number;
    return id;
}

static inline void s_watch(void *context, const struct weft_group *group, const struct weft_group_member *member)
{
    struct fixture *self = context;
    assert_non_null(group);
    self->told += member != NULL;
    self->changed += member == NULL;
}

static inline weft_err_t s_apply(struct fixture *self)
{
    self->told = self->changed = 0;
    self->index++;
    weft_slice_t command = weft_buf_slice(&self->command);
    weft_err_t err;
    if (weft_groups_command(command)) {
        err = weft_groups_apply(self->groups, self->cluster, self->index, command, s_watch, self, &self->error);
        weft_groups_check(self->groups);
        weft_groups_check_target(self->groups, self->cluster);
        assert_int_equal(weft_groups_index(self->groups), self->index);
        if (err) assert_int_equal(self->told + self->changed, 0);
    } else
        err = weft_cluster_apply(self->cluster, self->index, command, NULL, NULL, &self->error);
    weft_buf_clear(&self->command);
    return err;
}

// ---- the cluster

static inline weft_err_t s_register(struct fixture *self, int32_t id, const char *rack)
{
    struct weft_broker_registered_command it;
    weft_broker_registered_command_init(&it);
    weft_slice_t endpoint = weft_slice_text("inproc://a");
    it.broker_id = id;
    it.incarnation = s_id((uint32_t) id);
    it.rack = weft_slice_text(rack);
    it.endpoints = &endpoint;
    it.endpoints_count = 1;
    it.clean = true;
    weft_broker_registered_command_encode(&it, &self->command);
    return s_apply(self);
}

// Partition p on broker p % brokers.
static inline void s_create_on(struct fixture *self, const char *name, uint32_t id, uint32_t partitions,
                               uint32_t brokers)
{
    struct weft_topic_created_command it;
    weft_topic_created_command_init(&it);
    int32_t *replicas = weft_calloc(partitions, sizeof *replicas);
    struct weft_placement *placement = weft_calloc(partitions, sizeof *placement);
    for (uint32_t i = 0; i < partitions; i++) {
        replicas[i] = (int32_t) (i % brokers);
        placement[i] = (struct weft_placement){.replicas = replicas + i, .replicas_count = 1};
    }
    it.topic_id = s_id(id);
    it.topic = weft_slice_text(name);
    it.placement = placement;
    it.placement_count = partitions;
    weft_topic_created_command_encode(&it, &self->command);
    free(placement);
    free(replicas);
    assert_ok(s_apply(self));
}

static inline void s_create(struct fixture *self, const char *name, uint32_t id, uint32_t partitions)
{
    s_create_on(self, name, id, partitions, 1);
}

static inline void s_grow(struct fixture *self, uint32_t id, uint32_t more)
{
    struct weft_partitions_added_command it;
    weft_partitions_added_command_init(&it);
    int32_t replica = 0;
    struct weft_placement *placement = weft_calloc(more, sizeof *placement);
    for (uint32_t i = 0; i < more; i++)
        placement[i] = (struct weft_placement){.replicas = &replica, .replicas_count = 1};
    it.topic_id = s_id(id);
    it.from = weft_cluster_topic(self->cluster, s_id(id))->partition_count;
    it.placement = placement;
    it.placement_count = more;
    weft_partitions_added_command_encode(&it, &self->command);
    free(placement);
    assert_ok(s_apply(self));
}

static inline void s_delete_topic(struct fixture *self, uint32_t id)
{
    struct weft_topic_deleted_command it;
    weft_topic_deleted_command_init(&it);
    it.topic_id = s_id(id);
    weft_topic_deleted_command_encode(&it, &self->command);
    assert_ok(s_apply(self));
}

static inline weft_err_t s_set(struct fixture *self, const char *key, const char *value)
{
    struct weft_cluster_altered_command it;
    weft_cluster_altered_command_init(&it);
    struct weft_config_entry entry = {weft_slice_text(key), weft_slice_text(value)};
    it.config = &entry;
    it.config_count = 1;
    weft_cluster_altered_command_encode(&it, &self->command);
    return s_apply(self);
}

static inline void s_raise(struct fixture *self, uint32_t level)
{
    struct weft_level_raised_command it;
    weft_level_raised_command_init(&it);
    it.level = level;
    weft_level_raised_command_encode(&it, &self->command);
    assert_ok(s_apply(self));
}

// ---- groups

/** A group_joined. */
struct join {
    const char *group;
    uint32_t member, replaces;
    const char *instance, *assignor, *rack;
    const char *topics[8]; // NULL behind the last
    bool keeps;
};

static inline weft_err_t s_join_as(struct fixture *self, const struct join *join)
{
    struct weft_group_joined_command it;
    weft_group_joined_command_init(&it);
    weft_slice_t topics[8];
    for (; it.topics_count < 8 && join->topics[it.topics_count]; it.topics_count++)
        topics[it.topics_count] = weft_slice_text(join->topics[it.topics_count]);
    it.group = weft_slice_text(join->group ? join->group : "g");
    it.member = s_id(join->member);
    if (join->replaces) it.replaces = s_id(join->replaces);
    it.keeps = join->keeps;
    it.instance = weft_slice_text(join->instance);
    it.assignor = weft_slice_text(join->assignor);
    it.rack = weft_slice_text(join->rack);
    it.client = weft_slice_text("program");
    it.host = weft_slice_text("host");
    it.topics = topics;
    it.session_ms = 10000;
    it.release_ms = 300000;
    it.wall_ms = 1000;
    weft_group_joined_command_encode(&it, &self->command);
    return s_apply(self);
}

static inline weft_err_t s_join(struct fixture *self, uint32_t member, const char *topic)
{
    return s_join_as(self, &(struct join){.member = member, .topics = {topic}});
}

static inline weft_err_t s_leave(struct fixture *self, uint32_t member, bool paused)
{
    struct weft_group_left_command it;
    weft_group_left_command_init(&it);
    weft_id_t id = s_id(member);
    it.group = weft_slice_text("g");
    it.members = &id;
    it.members_count = 1;
    it.paused = paused;
    it.wall_ms = 2000;
    weft_group_left_command_encode(&it, &self->command);
    return s_apply(self);
}

static inline const struct weft_group *s_group(struct fixture *self)
{
    const struct weft_group *group = weft_groups_find(self->groups, weft_slice_text("g"));
    assert_non_null(group);
    return group;
}

static inline const struct weft_group_member *s_member(struct fixture *self, uint32_t member)
{
    const struct weft_group_member *it = weft_group_member(s_group(self), s_id(member));
    assert_non_null(it);
    return it;
}

// The coordinator's turn: a plan, if one is due, and its command.
static inline bool s_plan(struct fixture *self)
{
    weft_groups_plan(s_group(self), self->cluster, &self->command);
    if (self->command.size == 0) return false;
    assert_ok(s_apply(self));
    assert_int_equal(s_group(self)->digest, weft_groups_inputs(s_group(self), self->cluster));
    return true;
}

static inline weft_err_t s_release_at(struct fixture *self, uint32_t member, uint64_t epoch, uint64_t revision)
{
    struct weft_group_released_command it;
    weft_group_released_command_init(&it);
    it.group = weft_slice_text("g");
    it.member = s_id(member);
    it.epoch = epoch;
    it.revision = revision;
    weft_group_released_command_encode(&it, &self->command);
    return s_apply(self);
}

// All that it was asked to.
static inline weft_err_t s_release(struct fixture *self, uint32_t member)
{
    const struct weft_group_member *it = s_member(self, member);
    return s_release_at(self, member, it->epoch, it->revision);
}

// Plans, and every member carries out what it is told, until nothing is left to do.
static inline void s_settle(struct fixture *self)
{
    (void) s_plan(self);
    for (size_t i = 0; i < s_group(self)->member_count; i++) {
        const struct weft_group_member *it = s_group(self)->members[i];
        uint32_t number = (uint32_t) it->id.bytes[12] << 24 | (uint32_t) it->id.bytes[13] << 16 |
                          (uint32_t) it->id.bytes[14] << 8 | it->id.bytes[15];
        if (it->dropped_count) assert_ok(s_release(self, number));
    }
    assert_false(s_plan(self));
    assert_string_equal(weft_group_state(s_group(self), self->cluster),
                        s_group(self)->member_count ? "stable" : "empty");
}

// Partitions in its assignment.
static inline size_t s_has(struct fixture *self, uint32_t member)
{
    const struct weft_group_member *it = s_member(self, member);
    return it->hold_count - it->dropped_count;
}

static inline const struct weft_group_held *s_held(struct fixture *self, uint32_t member, uint32_t topic,
                                                   uint32_t partition)
{
    const struct weft_group_member *it = s_member(self, member);
    for (size_t i = 0; i < it->hold_count; i++)
        if (weft_id_equal(it->holds[i].topic, s_id(topic)) && it->holds[i].partition == partition) return &it->holds[i];
    return NULL;
}

// Encodes, decodes into another state, and goes on with that.
static inline void s_through_snapshot(struct fixture *self)
{
    weft_buf_t bytes, again;
    weft_buf_init(&bytes);
    weft_buf_init(&again);
    weft_groups_encode(self->groups, &bytes);
    weft_groups_t *other = weft_groups_new();
    assert_ok(weft_groups_decode(other, weft_buf_slice(&bytes)));
    weft_groups_check(other);
    weft_groups_encode(other, &again);
    assert_int_equal(bytes.size, again.size);
    assert_memory_equal(bytes.data, again.data, bytes.size);
    assert_int_equal(weft_groups_digest(other), weft_groups_digest(self->groups));
    weft_groups_destroy(&self->groups);
    self->groups = other;
    weft_buf_fini(&bytes);
    weft_buf_fini(&again);
}

static inline int s_setup(void **state)
{
    struct fixture *self = weft_calloc(1, sizeof *self);
    self->cluster = weft_cluster_new();
    self->groups = weft_groups_new();
    weft_buf_init(&self->command);
    s_raise(self, 2);
    assert_ok(s_register(self, 0, "east"));
    *state = self;
    return 0;
}

static inline int s_teardown(void **state)
{
    struct fixture *self = *state;
    s_through_snapshot(self);
    weft_groups_destroy(&self->groups);
    weft_cluster_destroy(&self->cluster);
    weft_buf_fini(&self->command);
    free(self);
    return 0;
}

#define TEST(test_of__promise) cmocka_unit_test_setup_teardown(test_of__promise, s_setup, s_teardown)

#endif
