// SPDX-License-Identifier: MPL-2.0
/**
 * A cluster state under test and commands into it. Each test program of the state machine includes it once.
 */
#ifndef WEFT_TESTS_UNIT_CORE_CLUSTER_FIXTURE_H
#define WEFT_TESTS_UNIT_CORE_CLUSTER_FIXTURE_H

#include "core/cluster.h"
#include "tests/support/test.h"

#include <weft_gen/commands.h>

#include <stdio.h>
#include <string.h>

// ---- a cluster under test, and commands into it

struct fixture {
    weft_cluster_t *cluster;
    weft_buf_t command;
    struct weft_error error;
    size_t added, changed, removed, partitions, brokers, settings; // changes told
};

static inline int s_setup(void **state)
{
    struct fixture *self = weft_calloc(1, sizeof *self);
    self->cluster = weft_cluster_new();
    weft_buf_init(&self->command);
    *state = self;
    return 0;
}

static inline int s_teardown(void **state)
{
    struct fixture *self = *state;
    weft_cluster_check(self->cluster);
    weft_cluster_destroy(&self->cluster);
    weft_buf_fini(&self->command);
    free(self);
    return 0;
}

static inline void s_watch(void *context, const struct weft_cluster_change *change)
{
    struct fixture *self = context;
    switch (change->type) {
    case WEFT_CLUSTER_BROKER: self->brokers++; break;
    case WEFT_CLUSTER_TOPIC_ADDED: self->added++; break;
    case WEFT_CLUSTER_TOPIC_CHANGED: self->changed++; break;
    case WEFT_CLUSTER_TOPIC_REMOVED: self->removed++; break;
    case WEFT_CLUSTER_PARTITION: self->partitions++; break;
    case WEFT_CLUSTER_SETTINGS: self->settings++; break;
    }
}

static inline weft_err_t s_apply(struct fixture *self)
{
    self->added = self->changed = self->removed = self->partitions = self->brokers = self->settings = 0;
    uint64_t index = weft_cluster_index(self->cluster) + 1;
    weft_err_t err =
        weft_cluster_apply(self->cluster, index, weft_buf_slice(&self->command), s_watch, self, &self->error);
    assert_int_equal(weft_cluster_index(self->cluster), index);
    weft_buf_clear(&self->command);
    return err;
}

static inline weft_id_t s_id(uint8_t number)
{
    weft_id_t id = {{0}};
    id.bytes[0] = 1;
    id.bytes[15] = number;
    return id;
}

static inline weft_err_t s_register(struct fixture *self, int32_t id, uint8_t incarnation, bool clean)
{
    struct weft_broker_registered_command it;
    weft_broker_registered_command_init(&it);
    weft_slice_t endpoints[2] = {weft_slice_text("inproc://a"), weft_slice_text("inproc://b")};
    it.broker_id = id;
    it.incarnation = s_id(incarnation);
    it.endpoints = endpoints;
    it.endpoints_count = 2;
    it.clean = clean;
    weft_broker_registered_command_encode(&it, &self->command);
    return s_apply(self);
}

static inline weft_err_t s_fence(struct fixture *self, int32_t id, uint8_t incarnation)
{
    struct weft_broker_fenced_command it;
    weft_broker_fenced_command_init(&it);
    it.broker_id = id;
    it.incarnation = s_id(incarnation);
    weft_broker_fenced_command_encode(&it, &self->command);
    return s_apply(self);
}

// It was alive when it had the state of that index; 0: of now.
static inline weft_err_t s_heard(struct fixture *self, int32_t id, uint8_t incarnation, uint64_t index)
{
    struct weft_broker_heard_command it;
    weft_broker_heard_command_init(&it);
    it.broker_id = id;
    it.incarnation = s_id(incarnation);
    it.index = index ? index : weft_cluster_index(self->cluster);
    weft_broker_heard_command_encode(&it, &self->command);
    return s_apply(self);
}

// Every partition on the same replicas.
static inline weft_err_t s_create(struct fixture *self, const char *name, uint8_t id, uint32_t partitions,
                                  int32_t *replicas, size_t count)
{
    struct weft_topic_created_command it;
    weft_topic_created_command_init(&it);
    struct weft_placement *placement = weft_calloc(partitions, sizeof *placement);
    for (uint32_t i = 0; i < partitions; i++)
        placement[i] = (struct weft_placement){.replicas = replicas, .replicas_count = count};
    it.topic_id = s_id(id);
    it.topic = weft_slice_text(name);
    it.placement = placement;
    it.placement_count = partitions;
    weft_topic_created_command_encode(&it, &self->command);
    free(placement);
    return s_apply(self);
}

static inline weft_err_t s_delete(struct fixture *self, uint8_t id)
{
    struct weft_topic_deleted_command it;
    weft_topic_deleted_command_init(&it);
    it.topic_id = s_id(id);
    weft_topic_deleted_command_encode(&it, &self->command);
    return s_apply(self);
}

static inline weft_err_t s_change(struct fixture *self, uint8_t topic, int32_t partition_epoch, int32_t leader,
                                  int32_t *isr, size_t count)
{
    struct weft_partition_changed_command it;
    weft_partition_changed_command_init(&it);
    it.topic_id = s_id(topic);
    it.partition_epoch = partition_epoch;
    it.leader = leader;
    it.isr = isr;
    it.isr_count = count;
    weft_partition_changed_command_encode(&it, &self->command);
    return s_apply(self);
}

static inline weft_err_t s_alter(struct fixture *self, uint8_t topic, const char *min_insync)
{
    struct weft_topic_altered_command it;
    weft_topic_altered_command_init(&it);
    struct weft_config_entry entry = {weft_slice_text("min.insync"), weft_slice_text(min_insync)};
    it.topic_id = s_id(topic);
    it.config = &entry;
    it.config_count = 1;
    weft_topic_altered_command_encode(&it, &self->command);
    return s_apply(self);
}

// Decided on the state as it is.
static inline int32_t s_epoch_of(struct fixture *self, uint8_t topic)
{
    return weft_cluster_topic(self->cluster, s_id(topic))->partitions[0].partition_epoch;
}

static inline weft_err_t s_move_leader(struct fixture *self, uint8_t topic, int32_t leader)
{
    struct weft_leaders_moved_command it;
    weft_leaders_moved_command_init(&it);
    struct weft_leader_move move = {
        .topic_id = s_id(topic), .partition_epoch = s_epoch_of(self, topic), .leader = leader};
    it.moves = &move;
    it.moves_count = 1;
    weft_leaders_moved_command_encode(&it, &self->command);
    return s_apply(self);
}

static inline weft_err_t s_elect(struct fixture *self, uint8_t topic, int32_t leader, uint8_t incarnation, bool unclean)
{
    struct weft_leader_elected_command it;
    weft_leader_elected_command_init(&it);
    it.topic_id = s_id(topic);
    it.partition_epoch = s_epoch_of(self, topic);
    it.leader = leader;
    it.incarnation = s_id(incarnation);
    it.unclean = unclean;
    weft_leader_elected_command_encode(&it, &self->command);
    return s_apply(self);
}

static inline weft_err_t s_reassign(struct fixture *self, uint8_t topic, int32_t *replicas, size_t count)
{
    struct weft_reassigned_command it;
    weft_reassigned_command_init(&it);
    struct weft_replica_move move = {.topic_id = s_id(topic),
                                     .partition_epoch = s_epoch_of(self, topic),
                                     .replicas = replicas,
                                     .replicas_count = count};
    it.moves = &move;
    it.moves_count = 1;
    weft_reassigned_command_encode(&it, &self->command);
    return s_apply(self);
}

// incarnation 0: any
static inline weft_err_t s_change_broker(struct fixture *self, int32_t id, uint8_t incarnation, bool draining,
                                         bool leaving, bool sick)
{
    struct weft_broker_changed_command it;
    weft_broker_changed_command_init(&it);
    it.broker_id = id;
    if (incarnation) it.incarnation = s_id(incarnation);
    it.draining = draining;
    it.leaving = leaving;
    it.sick = sick;
    weft_broker_changed_command_encode(&it, &self->command);
    return s_apply(self);
}

static inline weft_err_t s_remove(struct fixture *self, int32_t id)
{
    struct weft_broker_removed_command it;
    weft_broker_removed_command_init(&it);
    it.broker_id = id;
    weft_broker_removed_command_encode(&it, &self->command);
    return s_apply(self);
}

// The set that the leader asks for, with the incarnations it knows; the leader stays.
static inline weft_err_t s_ask(struct fixture *self, uint8_t topic, int32_t *isr, const uint8_t *incarnations,
                               size_t count, int32_t leader, int32_t damaged)
{
    const struct weft_cluster_partition *partition = &weft_cluster_topic(self->cluster, s_id(topic))->partitions[0];
    struct weft_partition_changed_command it;
    weft_partition_changed_command_init(&it);
    weft_id_t ids[WEFT_REPLICAS_MAX];
    for (size_t i = 0; i < count; i++) ids[i] = s_id(incarnations[i]);
    it.topic_id = s_id(topic);
    it.partition_epoch = partition->partition_epoch;
    it.leader_epoch = partition->leader_epoch;
    it.leader = leader;
    it.isr = isr;
    it.isr_count = it.incarnations_count = count;
    it.incarnations = ids;
    it.damaged = &damaged;
    it.damaged_count = damaged >= 0;
    weft_partition_changed_command_encode(&it, &self->command);
    return s_apply(self);
}

static inline const struct weft_cluster_partition *s_partition(struct fixture *self, uint8_t topic, uint32_t number)
{
    const struct weft_cluster_topic *it = weft_cluster_topic(self->cluster, s_id(topic));
    assert_non_null(it);
    assert_true(number < it->partition_count);
    return &it->partitions[number];
}

static inline void s_assert_isr(const struct weft_cluster_partition *partition, size_t count, int32_t a, int32_t b,
                                int32_t c)
{
    int32_t expected[3] = {a, b, c};
    assert_int_equal(partition->isr_count, count);
    for (size_t i = 0; i < count; i++) assert_int_equal(partition->isr[i], expected[i]);
}

#define TEST(test_of__promise) cmocka_unit_test_setup_teardown(test_of__promise, s_setup, s_teardown)

#endif
