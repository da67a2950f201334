// SPDX-License-Identifier: MPL-2.0
/**
 * Cluster, inside: the state behind weft_cluster_t and what its files share. Only lib/core/cluster*.c and
 * placement.c include it.
 *
 * cluster.c owns the objects and the lookups, cluster_apply.c the dispatch and the commands on topics,
 * cluster_settings.c those on the cluster itself, cluster_brokers.c those on brokers, cluster_change.c those on one
 * partition's leader and in-sync set, cluster_move.c those on its replicas; cluster_lead.c has the rules that all of
 * them end with, cluster_leavers.c who is needed though he left, cluster_check.c the invariants, cluster_snapshot.c the
 * bytes. Everything below `operation` is the replicated state; counts and maps derive from it and are rebuilt with it.
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
#define WEFT_CLUSTER_VOTERS_MAX 16
#define WEFT_CLUSTER_OPERATIONS_MAX 10000

// What was set, sorted by key.
struct weft_cluster_settings {
    char **keys, **values;
    size_t count;
};

struct weft_cluster {
    weft_codec_t *codec;                 // on the heap: decoding a snapshot swaps whole states
    struct weft_cluster_change *changes; // of the command being applied
    size_t change_count, change_capacity;
    weft_id_t operation; // of the command being applied, to be remembered if it is done; zero: none

    uint64_t index, epoch;
    weft_id_t id;
    int32_t coordinator_id;
    char *coordinator_endpoint;
    weft_map_t *brokers; // id (u64) to struct weft_cluster_broker, in order of registration
    weft_map_t *topics;  // id to struct weft_cluster_topic, in order of creation; owns them
    weft_map_t *names;   // name to the same
    weft_map_t *deleted; // ids of deleted topics, oldest first; the values say nothing
    weft_map_t *removed; // data directories of removed brokers, likewise
    struct weft_cluster_settings settings;
    struct weft_cluster_voter *voters;
    size_t voter_count;
    uint32_t level;
    weft_map_t *operations; // of clients, oldest first; the values are their indexes (uint64_t, owned)
    uint64_t partition_count;
    uint64_t topics_lineage, topics_added; // derived (weft_cluster_topics_version)
};

// ---- objects (cluster.c)

struct weft_cluster_broker *weft_cluster_broker_add(weft_cluster_t *self, int32_t id);
// `replica_endpoints`: as many as endpoints, or NULL: the same.
void weft_cluster_broker_describe(struct weft_cluster_broker *broker, weft_slice_t rack, weft_slice_t version,
                                  const weft_slice_t *endpoints, size_t endpoint_count,
                                  const weft_slice_t *replica_endpoints);
void weft_cluster_broker_drop(weft_cluster_t *self, struct weft_cluster_broker *broker);
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
// Replaces texts by these entries, sorted by key.
void weft_cluster_texts_set(char ***keys, char ***values, size_t *count, const struct weft_config_entry *entries,
                            size_t entry_count);
void weft_cluster_deleted_add(weft_cluster_t *self, weft_id_t id);
void weft_cluster_removed_add(weft_cluster_t *self, weft_id_t directory);
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

// ---- the cluster itself, operations (cluster_settings.c)

weft_err_t weft_cluster_formatted(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);
weft_err_t weft_cluster_took_office(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);
weft_err_t weft_cluster_altered(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);
weft_err_t weft_cluster_voters_changed(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);
weft_err_t weft_cluster_state_digest(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);
weft_err_t weft_cluster_level_raised(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);
// Different ids of 0 or more, each with an endpoint. INVALID_REQUEST.
WEFT_MUST_USE weft_err_t weft_cluster_voters_check(const struct weft_voter *voters, size_t count,
                                                   struct weft_error *error);
void weft_cluster_voters_set(weft_cluster_t *self, const struct weft_voter *voters, size_t count);
// Whether the operation was done before: its command then answers WEFT_OK and does nothing. Otherwise it is remembered
// if the command is not refused. Zero is no operation.
bool weft_cluster_operation_repeated(weft_cluster_t *self, weft_id_t operation);
void weft_cluster_operation_add(weft_cluster_t *self, weft_id_t operation, uint64_t index);

// ---- sets of replicas as bits: bit i is replicas[i]

bool weft_partition_has(const int32_t *ids, uint8_t count, int32_t id);
uint16_t weft_partition_bit(const struct weft_cluster_partition *partition, int32_t id); // 0: holds no replica
uint16_t weft_partition_isr_bits(const struct weft_cluster_partition *partition);
// The in-sync set becomes these: who stays keeps his place, who is new comes behind.
void weft_partition_isr_set(struct weft_cluster_partition *partition, uint16_t bits);
uint16_t weft_partition_bits(const struct weft_cluster_partition *partition, const int32_t *ids, size_t count);

// ---- who leads, who is in sync (cluster_lead.c)

// Gives a new partition its replicas, in-sync set and first leader.
void weft_cluster_partition_begin(weft_cluster_t *self, const struct weft_cluster_topic *topic,
                                  struct weft_cluster_partition *partition, const int32_t *replicas, size_t count);
// Takes a partition that is going away out of its brokers' counts.
void weft_cluster_partition_end(weft_cluster_t *self, struct weft_cluster_partition *partition);
// Sets the leader and keeps the brokers' counts; epochs are the caller's.
void weft_cluster_partition_lead(weft_cluster_t *self, struct weft_cluster_partition *partition, int32_t leader);
// Sets the replicas and keeps the brokers' counts; who is none any more leaves the sets.
void weft_cluster_partition_hold(weft_cluster_t *self, struct weft_cluster_partition *partition,
                                 const int32_t *replicas, size_t count);

/**
 * One change of one partition: begin, write into `partition` what the command says, end. The end brings the partition
 * to what the rules ask (leader, sets, a move that is done), gives it its new epochs and tells it, if anything is
 * different from before.
 */
struct weft_cluster_edit {
    struct weft_cluster_topic *topic;
    struct weft_cluster_partition *partition;
    struct weft_cluster_partition before;
    int32_t restarted; // a broker that has a new incarnation, -1: none
    uint16_t lost;     // bits of `before`: who leaves the sets and is known to have nothing that counts
    bool changed;      // also if nothing below looks different
};
struct weft_cluster_edit weft_cluster_edit_begin(struct weft_cluster_topic *topic, uint32_t number);
void weft_cluster_edit_end(weft_cluster_t *self, struct weft_cluster_edit *edit);
// An empty edit of each partition of which `broker` holds a replica (-1: of all) in `topic` (NULL: in all).
void weft_cluster_settle(weft_cluster_t *self, struct weft_cluster_topic *topic, int32_t broker);

// Finds what a change of one partition names, at the epoch it was decided on. UNKNOWN_TOPIC, STALE_EPOCH.
WEFT_MUST_USE weft_err_t weft_cluster_edit_find(weft_cluster_t *self, weft_id_t topic, uint32_t partition,
                                                int32_t partition_epoch, struct weft_cluster_edit *out,
                                                struct weft_error *error);

// ---- who left lately (cluster_leavers.c)

// The members of a set among the replicas of `to`.
uint16_t weft_partition_remap(const struct weft_cluster_partition *from, uint16_t bits,
                              const struct weft_cluster_partition *to);
uint32_t weft_partition_count(uint16_t bits);
// Behind a change: who left becomes a leaver, and leavers that are not needed are forgotten.
void weft_cluster_leavers_settle(weft_cluster_t *self, struct weft_cluster_edit *edit);
// Whether all that stayed were heard since the last of the leavers left.
bool weft_cluster_leavers_over(const weft_cluster_t *self, const struct weft_cluster_partition *partition);
// Those that stayed are to be heard.
void weft_cluster_leavers_want(weft_cluster_t *self, const struct weft_cluster_partition *partition);

// ---- commands

weft_err_t weft_cluster_broker_registered(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);
weft_err_t weft_cluster_broker_fenced(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);
weft_err_t weft_cluster_broker_heard(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);
weft_err_t weft_cluster_broker_changed(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);
weft_err_t weft_cluster_broker_removed(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);
weft_err_t weft_cluster_partition_changed(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);
weft_err_t weft_cluster_leaders_moved(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);
weft_err_t weft_cluster_leader_elected(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);
weft_err_t weft_cluster_reassigned(weft_cluster_t *self, weft_slice_t command, struct weft_error *error);

// ---- invariants (cluster_check.c)

// A partition as the rules make it (C2, C3, C7 to C9): asserted by weft_cluster_check, asked of snapshots.
bool weft_cluster_partition_is_right(const weft_cluster_t *self, const struct weft_cluster_topic *topic,
                                     const struct weft_cluster_partition *partition);

#endif
