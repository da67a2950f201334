// SPDX-License-Identifier: MPL-2.0
// Applying commands: the dispatch, and topics.
//
// A command is checked whole before anything changes: refused, it leaves no trace but the index, which moves on
// every node alike. Nothing in it is trusted: it may come from another version, a damaged disk or a peer. What a
// configuration key means is not asked here, for versions may differ in that; the coordinator asked before it
// proposed.
#include "cluster_state.h"

#include "../base/assert.h"

#include <stdlib.h>
#include <string.h>

// ---- what a command or a snapshot may hold

weft_err_t weft_cluster_broker_check(int32_t id, weft_id_t incarnation, const weft_slice_t *endpoints,
                                     size_t endpoint_count, struct weft_error *error)
{
    if (id < 0) return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "%d is no broker id: it must be 0 or more", id);
    if (weft_id_is_zero(incarnation))
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "broker %d has no incarnation", id);
    if (endpoint_count < 1 || endpoint_count > WEFT_BROKER_SHARDS_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "a broker has 1 to %d endpoints, one a shard, not %zu",
                              WEFT_BROKER_SHARDS_MAX, endpoint_count);
    for (size_t i = 0; i < endpoint_count; i++) {
        if (endpoints[i].size == 0 || memchr(endpoints[i].data, 0, endpoints[i].size))
            return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "endpoint %zu of broker %d is empty or no text", i,
                                  id);
    }
    return WEFT_OK;
}

weft_err_t weft_cluster_replicas_check(const weft_cluster_t *self, const int32_t *replicas, size_t count,
                                       struct weft_error *error)
{
    if (count < 1 || count > WEFT_REPLICAS_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_REPLICATION, "a partition has 1 to %d replicas, not %zu",
                              WEFT_REPLICAS_MAX, count);
    for (size_t i = 0; i < count; i++) {
        if (!weft_cluster_broker_find(self, replicas[i]))
            return weft_error_set(error, WEFT_ERR_INVALID_REPLICATION, "broker %d is not registered",
                                  replicas[i]); // C2
        if (weft_partition_has(replicas, (uint8_t) i, replicas[i]))
            return weft_error_set(error, WEFT_ERR_INVALID_REPLICATION, "broker %d is named twice", replicas[i]);
    }
    return WEFT_OK;
}

weft_err_t weft_cluster_config_check(const struct weft_config_entry *entries, size_t count, struct weft_error *error)
{
    if (count > WEFT_TOPIC_CONFIG_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_CONFIG, "at most %d keys can be set, not %zu",
                              WEFT_TOPIC_CONFIG_MAX, count);
    for (size_t i = 0; i < count; i++) {
        weft_slice_t key = entries[i].key, value = entries[i].value;
        if (key.size == 0 || memchr(key.data, 0, key.size) || (value.size && memchr(value.data, 0, value.size)))
            return weft_error_set(error, WEFT_ERR_INVALID_CONFIG, "configuration key %zu is empty or no text", i + 1);
        for (size_t j = 0; j < i; j++)
            if (weft_slice_equal(entries[j].key, key))
                return weft_error_set(error, WEFT_ERR_INVALID_CONFIG, "'%.*s' is set twice", (int) key.size,
                                      (const char *) key.data);
    }
    return WEFT_OK;
}

static weft_err_t s_placement_check(const weft_cluster_t *self, const struct weft_placement *placement, size_t count,
                                    struct weft_error *error)
{
    for (size_t i = 0; i < count; i++) {
        weft_err_t err = weft_cluster_replicas_check(self, placement[i].replicas, placement[i].replicas_count, error);
        if (err) return err;
    }
    return WEFT_OK;
}

// ---- topics

static weft_err_t s_topic_created_check(const weft_cluster_t *self, const struct weft_topic_created_command *it,
                                        struct weft_error *error)
{
    weft_err_t err = weft_topic_name_check(it->topic, error);
    if (err) return err;
    if (weft_cluster_topic_by_name(self, it->topic)) // C1
        return weft_error_set(error, WEFT_ERR_TOPIC_EXISTS, "topic '%.*s' exists already", (int) it->topic.size,
                              (const char *) it->topic.data);
    if (weft_id_is_zero(it->topic_id) || weft_cluster_topic_find(self, it->topic_id) ||
        weft_cluster_topic_was_deleted(self, it->topic_id)) // C6
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "the topic id is none or was used before");
    if (weft_map_count(self->topics) >= WEFT_CLUSTER_TOPICS_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "the cluster has %d topics, the most it can hold",
                              WEFT_CLUSTER_TOPICS_MAX);
    if (it->placement_count < 1 || it->placement_count > WEFT_PARTITIONS_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_PARTITIONS, "a topic has 1 to %d partitions, not %zu",
                              WEFT_PARTITIONS_MAX, it->placement_count);
    err = weft_cluster_config_check(it->config, it->config_count, error);
    if (err) return err;
    return s_placement_check(self, it->placement, it->placement_count, error);
}

static void s_place(weft_cluster_t *self, struct weft_cluster_topic *topic, const struct weft_placement *placement,
                    size_t count)
{
    uint32_t total = topic->partition_count + (uint32_t) count;
    struct weft_cluster_partition *first = weft_cluster_topic_grow(self, topic, total);
    for (size_t i = 0; i < count; i++)
        weft_cluster_partition_begin(self, topic, &first[i], placement[i].replicas, placement[i].replicas_count);
}

static weft_err_t s_topic_created(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_topic_created_command it;
    weft_err_t err = weft_topic_created_command_decode(self->codec, command, &it, error);
    if (err) return err;
    if (weft_cluster_operation_repeated(self, it.operation)) return WEFT_OK;
    err = s_topic_created_check(self, &it, error);
    if (err) return err;
    struct weft_cluster_topic *topic = weft_cluster_topic_add(self, it.topic_id, it.topic, self->index);
    weft_cluster_topic_configure(topic, it.config, it.config_count);
    s_place(self, topic, it.placement, it.placement_count);
    weft_cluster_note(self, WEFT_CLUSTER_TOPIC_ADDED, topic->id, 0, -1);
    return WEFT_OK;
}

static weft_err_t s_find(weft_cluster_t *self, weft_id_t id, struct weft_cluster_topic **out, struct weft_error *error)
{
    *out = weft_cluster_topic_find(self, id);
    if (*out) return WEFT_OK;
    return weft_error_set(error, WEFT_ERR_UNKNOWN_TOPIC,
                          weft_cluster_topic_was_deleted(self, id) ? "the topic was deleted meanwhile"
                                                                   : "no topic has that id");
}

static weft_err_t s_topic_deleted(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_topic_deleted_command it;
    weft_err_t err = weft_topic_deleted_command_decode(self->codec, command, &it, error);
    if (err) return err;
    if (weft_cluster_operation_repeated(self, it.operation)) return WEFT_OK;
    struct weft_cluster_topic *topic;
    err = s_find(self, it.topic_id, &topic, error);
    if (err) return err;
    weft_cluster_topic_drop(self, topic);
    weft_cluster_deleted_add(self, it.topic_id);
    weft_cluster_note(self, WEFT_CLUSTER_TOPIC_REMOVED, it.topic_id, 0, -1);
    return WEFT_OK;
}

static weft_err_t s_topic_altered(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_topic_altered_command it;
    weft_err_t err = weft_topic_altered_command_decode(self->codec, command, &it, error);
    if (err) return err;
    if (weft_cluster_operation_repeated(self, it.operation)) return WEFT_OK;
    struct weft_cluster_topic *topic;
    err = s_find(self, it.topic_id, &topic, error);
    if (err) return err;
    err = weft_cluster_config_check(it.config, it.config_count, error);
    if (err) return err;
    weft_cluster_topic_configure(topic, it.config, it.config_count);
    weft_cluster_note(self, WEFT_CLUSTER_TOPIC_CHANGED, topic->id, 0, -1);
    weft_cluster_settle(self, topic, -1); // min.insync may be another
    return WEFT_OK;
}

static weft_err_t s_partitions_added(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_partitions_added_command it;
    weft_err_t err = weft_partitions_added_command_decode(self->codec, command, &it, error);
    if (err) return err;
    if (weft_cluster_operation_repeated(self, it.operation)) return WEFT_OK;
    struct weft_cluster_topic *topic;
    err = s_find(self, it.topic_id, &topic, error);
    if (err) return err;
    if (it.from != topic->partition_count)
        return weft_error_set(error, WEFT_ERR_STALE_EPOCH, "topic '%s' has %u partitions, the change was decided on %u",
                              topic->name, topic->partition_count, it.from);
    if (it.placement_count < 1 || it.placement_count > WEFT_PARTITIONS_MAX - topic->partition_count)
        return weft_error_set(error, WEFT_ERR_INVALID_PARTITIONS,
                              "a topic has at most %d partitions; '%s' has %u, %zu more were asked",
                              WEFT_PARTITIONS_MAX, topic->name, topic->partition_count, it.placement_count);
    err = s_placement_check(self, it.placement, it.placement_count, error);
    if (err) return err;
    s_place(self, topic, it.placement, it.placement_count);
    weft_cluster_note(self, WEFT_CLUSTER_TOPIC_CHANGED, topic->id, 0, -1);
    for (uint32_t i = it.from; i < topic->partition_count; i++)
        weft_cluster_note(self, WEFT_CLUSTER_PARTITION, topic->id, i, -1);
    return WEFT_OK;
}

// ---- dispatch

typedef weft_err_t s_apply_fn(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);

static const struct s_applier {
    s_apply_fn *apply;
    uint32_t level; // the feature level that has it (REPLICATION.md rule 24)
} s_appliers[] = {
    [WEFT_COMMAND_CLUSTER_FORMAT] = {weft_cluster_formatted, 1},
    [WEFT_COMMAND_TOOK_OFFICE] = {weft_cluster_took_office, 1},
    [WEFT_COMMAND_BROKER_REGISTERED] = {weft_cluster_broker_registered, 1},
    [WEFT_COMMAND_BROKER_FENCED] = {weft_cluster_broker_fenced, 1},
    [WEFT_COMMAND_TOPIC_CREATED] = {s_topic_created, 1},
    [WEFT_COMMAND_TOPIC_DELETED] = {s_topic_deleted, 1},
    [WEFT_COMMAND_TOPIC_ALTERED] = {s_topic_altered, 1},
    [WEFT_COMMAND_PARTITIONS_ADDED] = {s_partitions_added, 1},
    [WEFT_COMMAND_PARTITION_CHANGED] = {weft_cluster_partition_changed, 1},
    [WEFT_COMMAND_LEADERS_MOVED] = {weft_cluster_leaders_moved, 1},
    [WEFT_COMMAND_LEADER_ELECTED] = {weft_cluster_leader_elected, 1},
    [WEFT_COMMAND_REASSIGNED] = {weft_cluster_reassigned, 1},
    [WEFT_COMMAND_BROKER_CHANGED] = {weft_cluster_broker_changed, 1},
    [WEFT_COMMAND_BROKER_REMOVED] = {weft_cluster_broker_removed, 1},
    [WEFT_COMMAND_CLUSTER_ALTERED] = {weft_cluster_altered, 1},
    [WEFT_COMMAND_VOTERS_CHANGED] = {weft_cluster_voters_changed, 1},
    [WEFT_COMMAND_STATE_DIGEST] = {weft_cluster_state_digest, 1},
    [WEFT_COMMAND_LEVEL_RAISED] = {weft_cluster_level_raised, 1},
    [WEFT_COMMAND_BROKER_HEARD] = {weft_cluster_broker_heard, 1},
};

static weft_err_t s_dispatch(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    unsigned long long index = self->index;
    enum weft_command which;
    if (weft_command_peek(command, &which) != WEFT_OK)
        return weft_error_set(error, WEFT_ERR_BAD_FRAME, "command %llu can't be read", index);
    size_t known = sizeof s_appliers / sizeof s_appliers[0];
    if ((size_t) which >= known || !s_appliers[which].apply)
        return weft_error_set(error, WEFT_ERR_BAD_FRAME, "command %llu is of a kind that is not known here", index);
    if (s_appliers[which].level > self->level)
        return weft_error_set(error, WEFT_ERR_BAD_FRAME, "command %llu is of feature level %u, the cluster is at %u",
                              index, s_appliers[which].level, self->level);
    return s_appliers[which].apply(self, command, error);
}

weft_err_t weft_cluster_apply(weft_cluster_t *self, uint64_t index, weft_slice_t command, weft_cluster_watch_fn *watch,
                              void *context, struct weft_error *error)
{
    if (index <= self->index)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "command %llu was applied before (the state is at %llu)",
                              (unsigned long long) index, (unsigned long long) self->index);
    self->index = index;
    self->change_count = 0;
    self->operation = (weft_id_t){{0}};
    weft_err_t err = s_dispatch(self, command, error);
    if (!err && !weft_id_is_zero(self->operation)) weft_cluster_operation_add(self, self->operation, index);
    for (size_t i = 0; watch && i < self->change_count; i++) watch(context, &self->changes[i]);
    return err;
}
