// SPDX-License-Identifier: MPL-2.0
// The cluster state as bytes: one record cluster_snapshot (schemas/records).
//
// Same state, same bytes: everything is written in the order in which it was made, and what derives from other
// fields (counts, maps) is not written. Decoding builds a second state beside the first, checking it as apply would
// have, and swaps the two only when all of it was good.
#include "cluster_state.h"

#include "../base/assert.h"
#include "../base/crc32c.h"

#include <stdlib.h>
#include <string.h>

// ---- encode

// The encoder only reads; the generated structs serve decoding too and hold pointers to plain arrays.
static int32_t *s_ids(weft_arena_t *arena, const int32_t *ids, size_t count)
{
    int32_t *copy = weft_arena_alloc(arena, count * sizeof *copy + 1);
    memcpy(copy, ids, count * sizeof *copy);
    return copy;
}

// The replicas of a set, in their order.
static int32_t *s_ids_of(weft_arena_t *arena, const struct weft_cluster_partition *partition, uint16_t bits,
                         size_t *count)
{
    int32_t *ids = weft_arena_alloc(arena, WEFT_REPLICAS_MAX * sizeof *ids);
    for (uint8_t i = 0; i < partition->replica_count; i++)
        if (bits & (1u << i)) ids[(*count)++] = partition->replicas[i];
    return ids;
}

static weft_slice_t *s_texts(weft_arena_t *arena, char *const *texts, size_t count)
{
    weft_slice_t *slices = weft_arena_alloc(arena, count * sizeof *slices + 1);
    for (size_t i = 0; i < count; i++) slices[i] = weft_slice_text(texts[i]);
    return slices;
}

static struct weft_config_entry *s_entries(weft_arena_t *arena, char *const *keys, char *const *values, size_t count)
{
    struct weft_config_entry *entries = weft_arena_alloc(arena, count * sizeof *entries + 1);
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct weft_config_entry){.key = weft_slice_text(keys[i]), .value = weft_slice_text(values[i])};
    return entries;
}

static weft_id_t *s_id_list(weft_arena_t *arena, const weft_map_t *set, size_t *count)
{
    weft_id_t *ids = weft_arena_alloc(arena, weft_map_count(set) * sizeof *ids + 1);
    weft_slice_t key;
    for (size_t cursor = 0; weft_map_next(set, &cursor, &key, NULL);) ids[(*count)++] = weft_id_of_slice(key);
    return ids;
}

static void s_fill_broker(weft_arena_t *arena, const struct weft_cluster_broker *broker,
                          struct weft_snapshot_broker *out)
{
    *out = (struct weft_snapshot_broker){.id = broker->id,
                                         .incarnation = broker->incarnation,
                                         .alive = broker->alive,
                                         .directory_id = broker->directory,
                                         .draining = broker->draining,
                                         .stopping = broker->stopping,
                                         .leaving = broker->leaving,
                                         .sick = broker->sick,
                                         .heard_index = broker->heard_index};
    out->rack = weft_slice_text(broker->rack);
    out->version = weft_slice_text(broker->version);
    out->endpoints_count = broker->shard_count;
    out->endpoints = s_texts(arena, broker->endpoints, broker->shard_count);
    bool same = true;
    for (size_t i = 0; i < broker->shard_count; i++)
        same = same && strcmp(broker->endpoints[i], broker->replica_endpoints[i]) == 0;
    if (same) return;
    out->replica_endpoints_count = broker->shard_count;
    out->replica_endpoints = s_texts(arena, broker->replica_endpoints, broker->shard_count);
}

static void s_fill_partition(weft_arena_t *arena, const struct weft_cluster_partition *partition,
                             struct weft_snapshot_partition *out)
{
    *out = (struct weft_snapshot_partition){.leader = partition->leader,
                                            .leader_epoch = partition->leader_epoch,
                                            .partition_epoch = partition->partition_epoch,
                                            .replicas = s_ids(arena, partition->replicas, partition->replica_count),
                                            .replicas_count = partition->replica_count,
                                            .isr = s_ids(arena, partition->isr, partition->isr_count),
                                            .isr_count = partition->isr_count};
    if (partition->eligible) out->eligible = s_ids_of(arena, partition, partition->eligible, &out->eligible_count);
    if (partition->unsure) out->unsure = s_ids_of(arena, partition, partition->unsure, &out->unsure_count);
    if (partition->leavers) out->leavers = s_ids_of(arena, partition, partition->leavers, &out->leavers_count);
    out->leavers_index = partition->leavers_index;
    const struct weft_cluster_moving *moving = partition->moving;
    if (!moving) return;
    out->target = s_ids(arena, moving->target, moving->target_count);
    out->target_count = moving->target_count;
    out->origin = s_ids(arena, moving->origin, moving->origin_count);
    out->origin_count = moving->origin_count;
}

static void s_fill_topic(weft_arena_t *arena, const struct weft_cluster_topic *topic, struct weft_snapshot_topic *out)
{
    *out = (struct weft_snapshot_topic){
        .id = topic->id, .name = weft_slice_text(topic->name), .created_index = topic->created_index};
    out->partitions_count = topic->partition_count;
    out->partitions = weft_arena_alloc(arena, topic->partition_count * sizeof *out->partitions);
    for (uint32_t i = 0; i < topic->partition_count; i++)
        s_fill_partition(arena, &topic->partitions[i], &out->partitions[i]);
    out->config_count = topic->config_count;
    out->config = s_entries(arena, topic->config_keys, topic->config_values, topic->config_count);
}

static void s_fill_settings(weft_arena_t *arena, const weft_cluster_t *self, struct weft_cluster_snapshot_record *out)
{
    out->level = self->level;
    out->config_count = self->settings.count;
    out->config = s_entries(arena, self->settings.keys, self->settings.values, self->settings.count);
    out->voters_count = self->voter_count;
    out->voters = weft_arena_alloc(arena, self->voter_count * sizeof *out->voters + 1);
    for (size_t i = 0; i < self->voter_count; i++)
        out->voters[i] = (struct weft_voter){.id = self->voters[i].id,
                                             .server = self->voters[i].server,
                                             .endpoint = weft_slice_text(self->voters[i].endpoint)};
    out->operations = weft_arena_alloc(arena, weft_map_count(self->operations) * sizeof *out->operations + 1);
    weft_slice_t key;
    void *value;
    for (size_t cursor = 0; weft_map_next(self->operations, &cursor, &key, &value);)
        out->operations[out->operations_count++] =
            (struct weft_snapshot_operation){.id = weft_id_of_slice(key), .index = *(const uint64_t *) value};
}

void weft_cluster_encode(const weft_cluster_t *self, weft_buf_t *out)
{
    weft_arena_t arena;
    weft_arena_init(&arena);
    struct weft_cluster_snapshot_record it;
    weft_cluster_snapshot_record_init(&it);
    it.index = self->index;
    it.epoch = self->epoch;
    it.cluster_id = self->id;
    it.coordinator_id = self->coordinator_id;
    it.coordinator_endpoint = weft_slice_text(self->coordinator_endpoint);
    it.brokers = weft_arena_alloc(&arena, weft_map_count(self->brokers) * sizeof *it.brokers + 1);
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(self, &cursor));)
        s_fill_broker(&arena, broker, &it.brokers[it.brokers_count++]);
    it.topics = weft_arena_alloc(&arena, weft_map_count(self->topics) * sizeof *it.topics + 1);
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; (topic = weft_cluster_next_topic(self, &cursor));)
        s_fill_topic(&arena, topic, &it.topics[it.topics_count++]);
    it.deleted = s_id_list(&arena, self->deleted, &it.deleted_count);
    it.removed = s_id_list(&arena, self->removed, &it.removed_count);
    s_fill_settings(&arena, self, &it);
    weft_cluster_snapshot_record_encode(&it, out);
    weft_arena_fini(&arena);
}

uint32_t weft_cluster_digest(const weft_cluster_t *self)
{
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_cluster_encode(self, &bytes);
    uint32_t digest = weft_crc32c(0, bytes.data, bytes.size);
    weft_buf_fini(&bytes);
    return digest;
}

// ---- decode: each returns false for what no sequence of commands could have made

static bool s_take_broker(weft_cluster_t *self, const struct weft_snapshot_broker *it)
{
    if (weft_cluster_broker_check(it->id, it->incarnation, it->endpoints, it->endpoints_count, NULL) != WEFT_OK)
        return false;
    if (weft_cluster_broker_find(self, it->id) || (it->stopping && !it->draining) || it->heard_index > self->index)
        return false;
    if (it->replica_endpoints_count && (it->replica_endpoints_count != it->endpoints_count ||
                                        weft_cluster_broker_check(it->id, it->incarnation, it->replica_endpoints,
                                                                  it->replica_endpoints_count, NULL) != WEFT_OK))
        return false;
    struct weft_cluster_broker *broker = weft_cluster_broker_add(self, it->id);
    broker->incarnation = it->incarnation;
    broker->alive = it->alive;
    broker->directory = it->directory_id;
    broker->draining = it->draining;
    broker->stopping = it->stopping;
    broker->leaving = it->leaving;
    broker->sick = it->sick;
    broker->heard_index = it->heard_index;
    weft_cluster_broker_describe(broker, it->rack, it->version, it->endpoints, it->endpoints_count,
                                 it->replica_endpoints_count ? it->replica_endpoints : NULL);
    return true;
}

// Each names a replica of the partition.
static bool s_all_hold(const struct weft_cluster_partition *partition, const int32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!weft_partition_bit(partition, ids[i])) return false;
    return count <= WEFT_REPLICAS_MAX;
}

static void s_take_moving(const struct weft_snapshot_partition *it, struct weft_cluster_partition *out)
{
    if (!it->target_count && !it->origin_count) return;
    out->moving = weft_calloc(1, sizeof *out->moving);
    out->moving->target_count = (uint8_t) it->target_count;
    out->moving->origin_count = (uint8_t) it->origin_count;
    if (it->target_count) memcpy(out->moving->target, it->target, it->target_count * sizeof *it->target);
    if (it->origin_count) memcpy(out->moving->origin, it->origin, it->origin_count * sizeof *it->origin);
}

static bool s_take_partition(weft_cluster_t *self, const struct weft_cluster_topic *topic,
                             const struct weft_snapshot_partition *it, struct weft_cluster_partition *out)
{
    if (weft_cluster_replicas_check(self, it->replicas, it->replicas_count, NULL) != WEFT_OK) return false;
    weft_cluster_partition_hold(self, out, it->replicas, it->replicas_count);
    if (!s_all_hold(out, it->isr, it->isr_count) || !s_all_hold(out, it->eligible, it->eligible_count) ||
        !s_all_hold(out, it->unsure, it->unsure_count) || !s_all_hold(out, it->leavers, it->leavers_count) ||
        !s_all_hold(out, it->target, it->target_count) || !s_all_hold(out, it->origin, it->origin_count) ||
        it->leader < -1 || (it->leader >= 0 && !weft_partition_bit(out, it->leader)))
        return false;
    weft_cluster_partition_lead(self, out, it->leader);
    if (it->isr_count) memcpy(out->isr, it->isr, it->isr_count * sizeof it->isr[0]);
    out->isr_count = (uint8_t) it->isr_count;
    out->eligible = weft_partition_bits(out, it->eligible, it->eligible_count);
    out->unsure = weft_partition_bits(out, it->unsure, it->unsure_count);
    out->leavers = weft_partition_bits(out, it->leavers, it->leavers_count);
    out->leavers_index = it->leavers_index;
    out->leader_epoch = it->leader_epoch;
    out->partition_epoch = it->partition_epoch;
    s_take_moving(it, out);
    weft_cluster_leavers_want(self, out);
    return weft_cluster_partition_is_right(self, topic, out);
}

// A state half built is destroyed by the usual way.
static bool s_take_topic(weft_cluster_t *self, const struct weft_snapshot_topic *it)
{
    if (weft_topic_name_check(it->name, NULL) != WEFT_OK || weft_cluster_topic_by_name(self, it->name)) return false;
    if (weft_id_is_zero(it->id) || weft_cluster_topic_find(self, it->id) ||
        weft_cluster_topic_was_deleted(self, it->id))
        return false;
    if (it->partitions_count < 1 || it->partitions_count > WEFT_PARTITIONS_MAX || it->created_index > self->index)
        return false;
    if (weft_cluster_config_check(it->config, it->config_count, NULL) != WEFT_OK) return false;
    struct weft_cluster_topic *topic = weft_cluster_topic_add(self, it->id, it->name, it->created_index);
    weft_cluster_topic_configure(topic, it->config, it->config_count);
    struct weft_cluster_partition *partitions = weft_cluster_topic_grow(self, topic, (uint32_t) it->partitions_count);
    for (size_t i = 0; i < it->partitions_count; i++)
        if (!s_take_partition(self, topic, &it->partitions[i], &partitions[i])) return false;
    return true;
}

static bool s_take_settings(weft_cluster_t *self, const struct weft_cluster_snapshot_record *it)
{
    if (it->level < 1 || it->operations_count > WEFT_CLUSTER_OPERATIONS_MAX ||
        weft_cluster_config_check(it->config, it->config_count, NULL) != WEFT_OK ||
        weft_cluster_voters_check(it->voters, it->voters_count, NULL) != WEFT_OK)
        return false;
    self->level = it->level;
    struct weft_cluster_settings *settings = &self->settings;
    weft_cluster_texts_set(&settings->keys, &settings->values, &settings->count, it->config, it->config_count);
    weft_cluster_voters_set(self, it->voters, it->voters_count);
    for (size_t i = 0; i < it->operations_count; i++) {
        const struct weft_snapshot_operation *operation = &it->operations[i];
        if (weft_id_is_zero(operation->id) || operation->index > it->index ||
            weft_cluster_operation_done(self, operation->id, NULL))
            return false;
        weft_cluster_operation_add(self, operation->id, operation->index);
    }
    return true;
}

static bool s_take(weft_cluster_t *self, const struct weft_cluster_snapshot_record *it)
{
    if (it->brokers_count > WEFT_CLUSTER_BROKERS_MAX || it->topics_count > WEFT_CLUSTER_TOPICS_MAX ||
        it->deleted_count > WEFT_CLUSTER_DELETED_MAX || it->removed_count > WEFT_CLUSTER_REMOVED_MAX ||
        it->epoch > it->index)
        return false;
    self->index = it->index;
    self->epoch = it->epoch;
    self->id = it->cluster_id;
    self->coordinator_id = it->coordinator_id;
    free(self->coordinator_endpoint);
    self->coordinator_endpoint =
        it->coordinator_endpoint.data ? weft_slice_dup(it->coordinator_endpoint) : weft_strdup("");
    for (size_t i = 0; i < it->deleted_count; i++) {
        if (weft_id_is_zero(it->deleted[i]) || weft_cluster_topic_was_deleted(self, it->deleted[i])) return false;
        weft_cluster_deleted_add(self, it->deleted[i]);
    }
    for (size_t i = 0; i < it->removed_count; i++) {
        if (weft_id_is_zero(it->removed[i]) || weft_cluster_was_removed(self, it->removed[i])) return false;
        weft_cluster_removed_add(self, it->removed[i]);
    }
    for (size_t i = 0; i < it->brokers_count; i++)
        if (!s_take_broker(self, &it->brokers[i])) return false;
    for (size_t i = 0; i < it->topics_count; i++)
        if (!s_take_topic(self, &it->topics[i])) return false;
    return s_take_settings(self, it);
}

weft_err_t weft_cluster_decode(weft_cluster_t *self, weft_slice_t snapshot)
{
    weft_cluster_t *fresh = weft_cluster_new();
    struct weft_cluster_snapshot_record it;
    weft_err_t err = weft_cluster_snapshot_record_decode(fresh->codec, snapshot, &it, NULL);
    if (err == WEFT_OK && s_take(fresh, &it)) {
        weft_cluster_t swap = *self;
        *self = *fresh;
        *fresh = swap;
    } else {
        err = WEFT_ERR_BAD_FRAME;
    }
    weft_cluster_destroy(&fresh);
    return err;
}
