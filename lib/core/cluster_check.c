// SPDX-License-Identifier: MPL-2.0
// What is true of every cluster state (cluster.h, C1 to C10), and what can be counted in one.
//
// The check asserts: our own apply made the state. A snapshot comes from a disk or a peer, so decoding asks the very
// same question of each partition and refuses.
#include "cluster_state.h"

#include "../base/assert.h"
#include "../base/mutate.h"

#include <string.h>

// ---- what acks all needs

// Digits alone, as the options of a topic write them; anything else is the default.
static uint32_t s_number(const char *text)
{
    uint32_t value = 0;
    for (; text && *text >= '0' && *text <= '9' && value <= WEFT_REPLICAS_MAX; text++)
        value = value * 10 + (uint32_t) (*text - '0');
    return text && *text ? 0 : value;
}

uint32_t weft_cluster_min_insync(const struct weft_cluster_topic *topic, const struct weft_cluster_partition *partition)
{
    uint32_t replicas = partition->moving ? partition->moving->origin_count : partition->replica_count;
    uint32_t wanted = topic->config_count ? s_number(weft_cluster_topic_config(topic, "min.insync")) : 0;
    if (wanted == 0) wanted = (replicas + 1) / 2;
    if (wanted > replicas) wanted = replicas;
    return wanted ? wanted : 1;
}

// ---- one partition

static bool s_distinct(const int32_t *ids, uint8_t count)
{
    for (uint8_t i = 0; i < count; i++)
        if (weft_partition_has(ids, i, ids[i])) return false;
    return count >= 1 && count <= WEFT_REPLICAS_MAX;
}

static bool s_within(const struct weft_cluster_partition *partition, const int32_t *ids, uint8_t count)
{
    for (uint8_t i = 0; i < count; i++)
        if (!weft_partition_bit(partition, ids[i])) return false;
    return true;
}

static bool s_moving_right(const struct weft_cluster_partition *partition) // C9
{
    const struct weft_cluster_moving *moving = partition->moving;
    if (!moving) return true;
    if (!s_distinct(moving->target, moving->target_count) || !s_distinct(moving->origin, moving->origin_count) ||
        !s_within(partition, moving->target, moving->target_count) ||
        !s_within(partition, moving->origin, moving->origin_count))
        return false;
    uint16_t target = weft_partition_bits(partition, moving->target, moving->target_count);
    uint16_t origin = weft_partition_bits(partition, moving->origin, moving->origin_count);
    if (target == origin || (target | origin) != (1u << partition->replica_count) - 1) return false;
    return partition->leader < 0 || (target & ~weft_partition_isr_bits(partition));
}

// Which of these are alive and sure, and which of those are well.
static uint16_t s_sure(const weft_cluster_t *self, const struct weft_cluster_partition *partition, uint16_t *well)
{
    uint16_t sure = 0;
    *well = 0;
    for (uint8_t i = 0; i < partition->replica_count; i++) {
        const struct weft_cluster_broker *broker = weft_cluster_broker_find(self, partition->replicas[i]);
        uint16_t bit = (uint16_t) (1u << i);
        if (!broker->alive || (partition->unsure & bit)) continue;
        sure |= bit;
        if (!broker->sick) *well |= bit;
    }
    return sure;
}

bool weft_cluster_partition_is_right(const weft_cluster_t *self, const struct weft_cluster_topic *topic,
                                     const struct weft_cluster_partition *partition)
{
    if (!s_distinct(partition->replicas, partition->replica_count)) return false;
    for (uint8_t i = 0; i < partition->replica_count; i++)
        if (!weft_cluster_broker_find(self, partition->replicas[i])) return false; // C2
    if (!s_distinct(partition->isr, partition->isr_count) ||
        !s_within(partition, partition->isr, partition->isr_count) || !s_moving_right(partition))
        return false;
    if (partition->leader_epoch < 0 || partition->partition_epoch < 0 || partition->leader < -1) return false; // C4
    uint16_t isr = weft_partition_isr_bits(partition), well;
    uint16_t sure = s_sure(self, partition, &well);
    uint32_t all = (1u << partition->replica_count) - 1;
    if (((partition->eligible | partition->unsure) & ~all) || (isr & partition->eligible)) return false; // C7
    if (partition->unsure & ~(isr | partition->eligible)) return false;
    if ((partition->leavers & (isr | partition->eligible | ~all)) ||
        (partition->leavers == 0) != (partition->leavers_index == 0) || partition->leavers_index > self->index ||
        (partition->leavers && weft_cluster_leavers_over(self, partition)))
        return false;                                                        // C10
    if (partition->leader < 0) return !((isr | partition->eligible) & sure); // C3
    if (partition->unsure || (isr & ~sure) || !(weft_partition_bit(partition, partition->leader) & isr))
        return false; // C3
    bool committing = partition->isr_count >= weft_cluster_min_insync(topic, partition);
    if (partition->eligible && committing && !weft_mutated("eligible_while_committing")) return false; // C7
    return !(isr & well) || !(isr & ~well);                                                            // C8
}

// ---- everything

static void s_check_topic(const weft_cluster_t *self, const struct weft_cluster_topic *topic)
{
    weft_assert(weft_map_get(self->names, weft_slice_text(topic->name)) == topic); // C1
    weft_assert(weft_cluster_topic_find(self, topic->id) == topic);
    weft_assert(!weft_id_is_zero(topic->id) && !weft_cluster_topic_was_deleted(self, topic->id)); // C6
    weft_assert(topic->partition_count >= 1 && topic->partition_count <= WEFT_PARTITIONS_MAX);
    weft_assert(topic->created_index <= self->index);
    for (size_t i = 1; i < topic->config_count; i++)
        weft_assert(strcmp(topic->config_keys[i - 1], topic->config_keys[i]) < 0);
    for (uint32_t i = 0; i < topic->partition_count; i++)
        weft_assert(weft_cluster_partition_is_right(self, topic, &topic->partitions[i]));
}

static void s_check_counts(const weft_cluster_t *self, const struct weft_cluster_broker *broker)
{
    uint32_t led = 0, stored = 0;
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; (topic = weft_cluster_next_topic(self, &cursor));) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            const struct weft_cluster_partition *partition = &topic->partitions[i];
            led += partition->leader == broker->id;
            stored += weft_partition_has(partition->replicas, partition->replica_count, broker->id);
        }
    }
    weft_assert(led == broker->led_count && stored == broker->stored_count);
}

void weft_cluster_check(const weft_cluster_t *self)
{
    uint64_t partitions = 0;
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; (topic = weft_cluster_next_topic(self, &cursor));) {
        s_check_topic(self, topic);
        partitions += topic->partition_count;
    }
    weft_assert(partitions == self->partition_count);
    weft_assert(weft_map_count(self->names) == weft_map_count(self->topics)); // C1
    weft_assert(weft_map_count(self->deleted) <= WEFT_CLUSTER_DELETED_MAX);
    weft_assert(weft_map_count(self->removed) <= WEFT_CLUSTER_REMOVED_MAX);
    weft_assert(weft_map_count(self->operations) <= WEFT_CLUSTER_OPERATIONS_MAX);
    weft_assert(self->epoch <= self->index && self->level >= 1);
    weft_assert(self->voter_count <= WEFT_CLUSTER_VOTERS_MAX);
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(self, &cursor));) {
        weft_assert(broker->id >= 0 && !weft_id_is_zero(broker->incarnation));
        weft_assert(broker->shard_count >= 1 && broker->shard_count <= WEFT_BROKER_SHARDS_MAX);
        weft_assert(!broker->stopping || broker->draining);
        weft_assert(broker->heard_index <= self->index);
        s_check_counts(self, broker);
    }
}

// ---- health

static void s_count_partition(const weft_cluster_t *self, const struct weft_cluster_topic *topic,
                              const struct weft_cluster_partition *partition, struct weft_cluster_health_counts *out)
{
    const struct weft_cluster_moving *moving = partition->moving;
    uint16_t held = moving ? weft_partition_bits(partition, moving->origin, moving->origin_count)
                           : (uint16_t) ((1u << partition->replica_count) - 1);
    bool alive = false;
    for (uint8_t i = 0; i < partition->replica_count && !alive; i++)
        alive = weft_cluster_broker_find(self, partition->replicas[i])->alive;
    out->leaderless += partition->leader < 0;
    out->offline += !alive;
    out->under_replicated += partition->leader < 0 || (held & ~weft_partition_isr_bits(partition));
    out->under_min_insync += partition->leader < 0 || partition->isr_count < weft_cluster_min_insync(topic, partition);
    out->moving += moving != NULL;
}

void weft_cluster_count_health(const weft_cluster_t *self, struct weft_cluster_health_counts *out)
{
    *out = (struct weft_cluster_health_counts){0};
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; (topic = weft_cluster_next_topic(self, &cursor));)
        for (uint32_t i = 0; i < topic->partition_count; i++)
            s_count_partition(self, topic, &topic->partitions[i], out);
}
