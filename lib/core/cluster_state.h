// SPDX-License-Identifier: MPL-2.0
/**
 * Cluster, inside: the state behind weft_cluster_t and what its files share. Only lib/core/cluster*.c and
 * placement.c include it.
 *
 * cluster.c owns the objects and the lookups, cluster_apply.c the commands on topics, cluster_lead.c who leads and
 * who is in sync, cluster_snapshot.c the bytes. Everything below `changes` is the replicated state; counts and maps
 * derive from it and are rebuilt with it.
 */
#ifndef WEFT_CORE_CLUSTER_STATE_H
#define WEFT_CORE_CLUSTER_STATE_H

#include "cluster.h"

#include <weft_gen/codec.h>
#include <weft_gen/commands.h>
#include <weft_gen/limits.h>
#include <weft_gen/records.h>

#define WEFT_BROKER_SHARDS_MAX 64
#define WEFT_TOPIC_CONFIG_MAX 64

struct weft_cluster {
    weft_codec_t *codec;                 // on the heap: decoding a snapshot swaps whole states
    struct weft_cluster_change *changes; // of the command being applied
    size_t change_count, change_capacity;

    uint64_t index, epoch;
    weft_id_t id;
    int32_t coordinator_id;
    char *coordinator_endpoint;
    weft_map_t *brokers; // id (u64) to struct weft_cluster_broker, in order of registration
    weft_map_t *topics;  // id to struct weft_cluster_topic, in order of creation; owns them
    weft_map_t *names;   // name to the same
    weft_map_t *deleted; // ids of deleted topics, oldest first; the values say nothing
    uint64_t partition_count;
};

// ---- objects (cluster.c)

struct weft_cluster_broker *weft_cluster_broker_add(weft_cluster_t *self, int32_t id);
void weft_cluster_broker_describe(struct weft_cluster_broker *broker, weft_slice_t rack, weft_slice_t version,
                                  const weft_slice_t *endpoints, size_t endpoint_count);
struct weft_cluster_broker *weft_cluster_broker_find(const weft_cluster_t *self, int32_t id);
struct weft_cluster_topic *weft_cluster_topic_find(const weft_cluster_t *self, weft_id_t id);
// A topic without partitions; its name and id must be free.
struct weft_cluster_topic *weft_cluster_topic_add(weft_cluster_t *self, weft_id_t id, weft_slice_t name,
                                                  uint64_t created_index);
void weft_cluster_topic_drop(weft_cluster_t *self, struct weft_cluster_topic *topic);
// Room for `count` partitions in all; returns the first new one, zeroed, without a leader.
struct weft_cluster_partition *weft_cluster_topic_grow(weft_cluster_t *self, struct weft_cluster_topic *topic,
                                                       uint32_t count);
// Replaces the configuration by these entries, sorted by key.
void weft_cluster_topic_configure(struct weft_cluster_topic *topic, const struct weft_config_entry *entries,
                                  size_t count);
void weft_cluster_deleted_add(weft_cluster_t *self, weft_id_t id);
void weft_cluster_note(weft_cluster_t *self, enum weft_cluster_change_type type, weft_id_t topic, uint32_t partition,
                       int32_t broker);

// ---- what a command or a snapshot may hold (cluster_apply.c)

// A broker's description is within limits. INVALID_REQUEST.
WEFT_MUST_USE weft_err_t weft_cluster_broker_check(int32_t id, weft_id_t incarnation, const weft_slice_t *endpoints,
                                                   size_t endpoint_count, struct weft_error *error);
// 1 to 16 different registered brokers. INVALID_REPLICATION.
WEFT_MUST_USE weft_err_t weft_cluster_replicas_check(const weft_cluster_t *self, const int32_t *replicas, size_t count,
                                                     struct weft_error *error);
// No key twice, none empty. INVALID_CONFIG.
WEFT_MUST_USE weft_err_t weft_cluster_config_check(const struct weft_config_entry *entries, size_t count,
                                                   struct weft_error *error);

// ---- who leads, who is in sync (cluster_lead.c)

bool weft_partition_has(const int32_t *ids, uint8_t count, int32_t id);
// Gives a new partition its replicas, in-sync set and first leader.
void weft_cluster_partition_begin(weft_cluster_t *self, struct weft_cluster_partition *partition,
                                  const int32_t *replicas, size_t count);
// Takes a partition that is going away out of its brokers' counts.
void weft_cluster_partition_end(weft_cluster_t *self, struct weft_cluster_partition *partition);
// Sets the leader and keeps the brokers' counts; epochs are the caller's.
void weft_cluster_partition_lead(weft_cluster_t *self, struct weft_cluster_partition *partition, int32_t leader);

weft_err_t weft_cluster_broker_registered(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);
weft_err_t weft_cluster_broker_fenced(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);
weft_err_t weft_cluster_partition_changed(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);

#endif
