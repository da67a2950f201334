// SPDX-License-Identifier: MPL-2.0
/**
 * Cluster: the replicated state machine of the control plane. Applies committed commands in log order;
 * deterministic.
 *
 * The coordinator applies what its quorum committed; brokers apply the very same commands, pushed to them
 * (cluster_update), so every node holds the same cluster state at the same index, and a delta is just the commands
 * in between. A snapshot is msgpack; same state, same bytes (digest).
 *
 * Commands are messages of schemas/commands (generated encode and decode). They carry decisions (placements, ids,
 * epochs), so applying needs no randomness, clock or configuration. A command that does not fit the state is
 * refused with an error code and changes nothing but the applied index.
 *
 * Invariants (weft_cluster_check, where one state can show them):
 *     C1  names and ids are unique among live topics
 *     C2  every replica is a registered broker
 *     C3  a leader is in the in-sync set, all of which is alive and sure while there is a leader; an in-sync set is never
 *         empty; without a leader no in-sync or eligible member is alive and sure
 *     C4  leader epochs and partition epochs only grow
 *     C5  a new incarnation of a broker starts a new leader epoch for all it led (REPLICATION.md rule 2); so does a replica
 *         that is given up, for the partition
 *     C6  ids of deleted topics never come back
 *     C7  eligible members are in no in-sync set, and there are none while a leader has min_insync members in sync
 *     C8  a sick broker leads nothing and is in no in-sync set while another member is well; a draining one is given no
 *         leadership while another in-sync member could take it (what it leads yet is moved by weft_plan_leaders)
 *     C9  while replicas are moved, all of target and origin are replicas; once all of target are in sync under a leader
 *         they are the replicas, in the same step
 *     C10 leavers are in neither set, and there are none under a leader once all of both sets were heard since the last
 *         of them left
 *
 * Who may lead (REPLICATION.md rules 1, 2, 4; KIP-966). When a leader is lost the next is, in this order: an in-sync
 * member that is alive and sure; an eligible one that is alive and sure (it left the in-sync set when that fell below
 * min_insync, so nothing was committed without it). If there is none the partition waits: in-sync and eligible members
 * are then its frozen last set, which nothing shrinks. A member that restarted uncleanly meanwhile is `unsure`: it may
 * have lost what was not synced. Once every frozen member is alive and has reported (the coordinator collects
 * partition_report), leader_elected names the one with the highest (epoch of the last batch, log end); before that only
 * a person may (unclean). Two exceptions, where a report could change nothing: a frozen set of one leads as soon as it
 * is back, and so does any replica of a partition that never had a leader, for it is empty. A member stays sure that
 * was only fenced, or that started again after a clean stop: it leads at once. A damaged one (partition_changed names
 * it) leaves without becoming eligible. A broker that comes back with another data directory has nothing of what it
 * held: it leaves every last set that has others in it, and is refused (DATA_MISSING) while it is all of one, but for a
 * person's word.
 *
 * Leavers. Members that die within a session of each other are missed one after the other, and who is missed first may
 * be the only one whose machine kept what was committed and not yet synced. So whoever leaves both sets, fenced,
 * restarted uncleanly, sick or asked out, stays a candidate: he belongs to the frozen last set, and an in-sync member that
 * restarted uncleanly beside him is unsure even if it is the only one in sync. He doesn't lead by himself, for others may
 * have committed without him. He is forgotten once every in-sync and eligible member was heard (broker_heard) with a state
 * of the index at which the last of them left, or a later one: each lived on then in the start that had all. The
 * coordinator proposes that when a heartbeat shows it and somebody waits for it. Who is damaged, has another data
 * directory, or gave up its replica is no leaver; an election ends them all.
 *
 * Removed brokers. A broker that is removed may only have been cut off, and would register anew once it is back, a broker
 * that nobody wants. So its data directory is remembered, and refused (BROKER_REMOVED) until a person says otherwise; an
 * empty directory is a new broker, whatever its number.
 *
 * Operations: commands of clients carry a random id; one that was done is answered WEFT_OK and does nothing, so a
 * request may be repeated over a change of the coordinator. Refused ones are not remembered.
 */
#ifndef WEFT_CORE_CLUSTER_H
#define WEFT_CORE_CLUSTER_H

#include "../base/map.h"
#include "../base/rand.h"

#define WEFT_TOPIC_NAME_BYTES_MAX 249 // as Kafka: [a-zA-Z0-9._-], not "." or ".."
#define WEFT_REPLICAS_MAX 16
#define WEFT_CLUSTER_LEVEL_MAX 2 // the newest feature level that this software knows
// Limits of the state, held by apply, so that a snapshot always fits what schemas/records allows and a frame
// carries.
#define WEFT_CLUSTER_BROKERS_MAX 10000
#define WEFT_CLUSTER_TOPICS_MAX 60000
#define WEFT_CLUSTER_REMOVED_MAX 10000  // data directories of removed brokers remembered; the same
#define WEFT_CLUSTER_DELETED_MAX 100000 // ids of deleted topics remembered; the oldest is forgotten first

struct weft_cluster_broker {
    int32_t id;
    weft_id_t incarnation;
    weft_id_t directory; // of its data directory: another one has nothing of what it held; zero: not told yet
    bool alive;          // registered and not fenced
    char *rack;          // "" if none
    char *version;       // of its software, for people
    char **endpoints;    // one a shard
    size_t shard_count;
    char **replica_endpoints; // one a shard: its door for other brokers
    bool draining;            // leads nothing (a person's wish, or it is about to stop)
    bool stopping;            // draining until its next start only
    bool leaving;             // its replicas are moved away for good
    bool sick;                // a shard or its disk is stuck or failed; until its next start, or undone
    uint64_t heard_index;     // it was alive with the state of this index, as far as somebody asked
    uint64_t wanted_index;    // some leavers are needed until it was heard at this index; derived, never too low
    uint32_t led_count;       // partitions led now
    uint32_t stored_count;    // partitions of which it holds a replica
};

struct weft_cluster_partition {
    int32_t leader; // -1: none
    int32_t leader_epoch;
    int32_t partition_epoch;
    int32_t replicas[WEFT_REPLICAS_MAX]; // the first is preferred
    int32_t isr[WEFT_REPLICAS_MAX];
    uint8_t replica_count, isr_count;
    uint16_t eligible;                  // bit i: replicas[i] left the in-sync set but has all that is committed
    uint16_t unsure;                    // bit i: replicas[i], in the in-sync set or eligible, restarted uncleanly since
    uint16_t leavers;                   // bit i: replicas[i] left both sets, and who stayed may have lost it all since
    uint64_t leavers_index;             // when the last of them left
    struct weft_cluster_moving *moving; // NULL: its replicas are not being moved
};

/** A change of replicas under way: `replicas` of the partition are those of both until it is done. */
struct weft_cluster_moving {
    int32_t target[WEFT_REPLICAS_MAX], origin[WEFT_REPLICAS_MAX];
    uint8_t target_count, origin_count;
};

/** A coordinator, for everybody who has to find one. */
struct weft_cluster_voter {
    int32_t id;
    uint64_t server;
    char endpoint[256];
};

struct weft_cluster_topic {
    weft_id_t id;
    char *name;
    struct weft_cluster_partition *partitions;
    uint32_t partition_count;
    char **config_keys, **config_values; // only what was set, sorted by key
    size_t config_count;
    uint64_t created_index;
    uint64_t serial; // grows with every topic that is added, in the order in which they are walked; derived
};

typedef struct weft_cluster weft_cluster_t;

weft_cluster_t *weft_cluster_new(void);
void weft_cluster_destroy(weft_cluster_t **self_p);

/**
 * One change, for whoever holds derived state (shards, caches). Told at the end of apply, when the whole command
 * has taken effect. A topic's creation is one TOPIC_ADDED without its partitions; added partitions are one
 * TOPIC_CHANGED (so is configuration) and a PARTITION each.
 */
enum weft_cluster_change_type {
    WEFT_CLUSTER_BROKER,
    WEFT_CLUSTER_TOPIC_ADDED,
    WEFT_CLUSTER_TOPIC_CHANGED,
    WEFT_CLUSTER_TOPIC_REMOVED,
    WEFT_CLUSTER_PARTITION,
    WEFT_CLUSTER_SETTINGS // configuration of the cluster, voters, feature level
};
struct weft_cluster_change {
    enum weft_cluster_change_type type;
    weft_id_t topic; // of topic and partition changes
    uint32_t partition;
    int32_t broker;
};
typedef void weft_cluster_watch_fn(void *context, const struct weft_cluster_change *change);

// Applies the command of log index `index` (must be weft_cluster_index + 1 or more; gaps are legal: the quorum's
// own entries). The result is the command's own error, for its proposer. BAD_FRAME for what can't be decoded (index
// still moves: every node does the same).
weft_err_t weft_cluster_apply(weft_cluster_t *self, uint64_t index, weft_slice_t command, weft_cluster_watch_fn *watch,
                              void *context, struct weft_error *error);

uint64_t weft_cluster_index(const weft_cluster_t *self); // last applied; also the metadata version
uint64_t weft_cluster_epoch(const weft_cluster_t *self); // index of the last took_office: the coordinator's epoch
weft_id_t weft_cluster_id(const weft_cluster_t *self);   // zero until formatted
// The coordinator that last took office: its endpoint ("" if none yet) and id (-1; may be NULL).
const char *weft_cluster_coordinator(const weft_cluster_t *self, int32_t *id);

void weft_cluster_encode(const weft_cluster_t *self, weft_buf_t *out);
// Replaces the state; on BAD_FRAME it is left as it was.
WEFT_MUST_USE weft_err_t weft_cluster_decode(weft_cluster_t *self, weft_slice_t snapshot);
uint32_t weft_cluster_digest(const weft_cluster_t *self); // CRC-32C of the snapshot

const struct weft_cluster_broker *weft_cluster_broker(const weft_cluster_t *self, int32_t id); // NULL if unknown
const struct weft_cluster_topic *weft_cluster_topic(const weft_cluster_t *self, weft_id_t id);
const struct weft_cluster_topic *weft_cluster_topic_by_name(const weft_cluster_t *self, weft_slice_t name);
size_t weft_cluster_topic_count(const weft_cluster_t *self);
uint64_t weft_cluster_partition_count(const weft_cluster_t *self); // of all topics
// For what is derived of the topics there are. Both as before: the topics are the same objects (their partitions may have
// grown). `lineage` alone: so are those with a serial up to the older `added`, and others came. Never 0, and of no other
// cluster in the process; not in snapshots.
void weft_cluster_topics_version(const weft_cluster_t *self, uint64_t *lineage, uint64_t *added);
bool weft_cluster_topic_was_deleted(const weft_cluster_t *self, weft_id_t id);
bool weft_cluster_was_removed(const weft_cluster_t *self, weft_id_t directory); // the broker with this data directory
// What acks all needs in sync: the topic's min.insync, or half of the replicas rounded up; at least 1, at most all. While
// replicas are moved those before the move count.
uint32_t weft_cluster_min_insync(const struct weft_cluster_topic *topic,
                                 const struct weft_cluster_partition *partition);
// A setting of the cluster (scope cluster) as text; NULL: default.
const char *weft_cluster_config(const weft_cluster_t *self, const char *key);
const struct weft_cluster_voter *weft_cluster_voters(const weft_cluster_t *self, size_t *count);
// Feature level (rule 24): commands of a newer one are refused. Above WEFT_CLUSTER_LEVEL_MAX the node has to stop: others
// do what it doesn't understand.
uint32_t weft_cluster_level(const weft_cluster_t *self);
// The operation of a client that was done already; its command's index in *index (may be NULL). The last 10,000 are known.
bool weft_cluster_operation_done(const weft_cluster_t *self, weft_id_t operation, uint64_t *index);
// Counts over all partitions, walked.
struct weft_cluster_health_counts {
    uint32_t leaderless;
    uint32_t offline;          // no replica's broker is alive
    uint32_t under_replicated; // a replica is not in sync (those that a move adds don't count)
    uint32_t under_min_insync;
    uint32_t moving;
};
void weft_cluster_count_health(const weft_cluster_t *self, struct weft_cluster_health_counts *out);
// Iteration in order of registration / creation; cursor starts at 0.
const struct weft_cluster_broker *weft_cluster_next_broker(const weft_cluster_t *self, size_t *cursor);
const struct weft_cluster_topic *weft_cluster_next_topic(const weft_cluster_t *self, size_t *cursor);
const char *weft_cluster_topic_config(const struct weft_cluster_topic *topic, const char *key); // NULL: default

// The shard of a broker that holds a partition: the same function everywhere (hash of topic id and partition,
// modulo shards).
uint32_t weft_cluster_shard_of(weft_id_t topic, uint32_t partition, size_t shard_count);

// A sentence for a bad topic name, WEFT_OK for a good one.
WEFT_MUST_USE weft_err_t weft_topic_name_check(weft_slice_t name, struct weft_error *error);

void weft_cluster_check(const weft_cluster_t *self); // walks everything

/**
 * Placement: replicas for new partitions, spread over alive brokers by fewest replicas, then over racks; the first
 * replica of successive partitions goes round the brokers so that leaders are even. INVALID_REPLICATION if fewer
 * brokers are alive than replicas asked.
 */
WEFT_MUST_USE weft_err_t weft_placement(const weft_cluster_t *self, uint32_t partitions, uint32_t replicas,
                                        weft_rand_t *rand, int32_t (*out)[WEFT_REPLICAS_MAX], struct weft_error *error);

// ---- plans: what the coordinator proposes; nothing changes by them

struct weft_plan_leader {
    weft_id_t topic;
    uint32_t partition;
    int32_t partition_epoch, leader;
};
struct weft_plan_replicas {
    weft_id_t topic;
    uint32_t partition;
    int32_t partition_epoch;
    int32_t replicas[WEFT_REPLICAS_MAX];
    uint8_t replica_count;
};

/**
 * Leaderships that should move: away from `from` (a broker that drains; -1: from all that drain or are sick), or, with
 * `preferred`, back to the first replica that is in sync, alive and may lead. At most `max`; returns how many; *stuck
 * (may be NULL) counts those of `from` that nobody else can lead.
 */
size_t weft_plan_leaders(const weft_cluster_t *self, int32_t from, bool preferred, struct weft_plan_leader *out,
                         size_t max, size_t *stuck);
/**
 * Replicas that should move: all of `broker` (decommission; the others stay where they are), or with -1 as few as even
 * out brokers (counts differ by at most one where that is possible) and racks. Partitions that are being moved are left
 * alone. *out is allocated, *count long, the caller frees it. INVALID_REPLICATION: `broker`'s replicas have nowhere to
 * go.
 */
WEFT_MUST_USE weft_err_t weft_plan_replicas(const weft_cluster_t *self, int32_t broker, weft_rand_t *rand,
                                            struct weft_plan_replicas **out, size_t *count, struct weft_error *error);

#endif
