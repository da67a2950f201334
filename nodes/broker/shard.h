// SPDX-License-Identifier: MPL-2.0
/**
 * Shard: one thread's share of a broker: its partitions, its ROUTER endpoint, its copy of the cluster state.
 *
 * The turn (DESIGN.md section 4): each message that was drained is carried out at once as far as the pure core lets it
 * (append, then the replies whose promise is true by then); turn() wakes the fetches of partitions whose marks moved
 * (one answer for all that was appended meanwhile), posts one group commit for all dirty logs, opens, trims and idles
 * logs, and answers what ran out of time. Nothing is allocated per record; contexts, buffers and frames come from
 * pools.
 */
#ifndef WEFT_BROKER_SHARD_H
#define WEFT_BROKER_SHARD_H

#include "broker.h"
#include "counters.h"
#include "waits.h"

#include "../../lib/core/cluster.h"
#include "../../lib/log/log.h"
#include <weft_gen/codec.h>

typedef struct weft_partition weft_partition_t;
typedef struct weft_lead weft_lead_t;     // lead.h
typedef struct weft_follow weft_follow_t; // follow.h

/** A topic's settings, parsed. */
struct weft_topic_settings {
    struct weft_batch_limits limits;
    struct weft_log_config log;
    uint32_t min_insync; // 0: half of the replicas, rounded up
    bool append_time;    // timestamp.type append
    bool compacts;       // cleanup.policy compact or both: records need a key
    bool deletes;        // delete or both
    uint32_t dirty_percent;
    int64_t compaction_lag_ms, delete_retention_ms;
};

struct weft_shard_topic {
    weft_id_t id;
    char *name;
    struct weft_topic_settings settings;
    weft_partition_t **partitions; // by number; NULL: not held by this shard
    uint32_t partition_count;
};

/** A list in which a partition stands at most once (its flag tells). */
struct weft_partition_list {
    weft_partition_t **items;
    size_t count, capacity;
};

typedef struct weft_shard {
    struct weft_part part;
    struct weft_broker *broker;
    struct weft_broker_shard *shared; // broker->shards[number]
    weft_counters_t *counters;        // &shared->counters
    size_t number;
    char name[WEFT_NODE_NAME_BYTES_MAX];
    weft_port_t port;
    weft_cluster_t *cluster;
    weft_id_t incarnation; // zero until registered
    uint64_t applied_index;
    bool found_checked;                  // data without a topic was looked for
    weft_map_t *topics, *topics_by_name; // struct weft_shard_topic, owned by `topics`
    struct weft_partition_list all, unopened, dirty, woken;
    struct weft_partition_list ledgers;       // of __offsets, led here (offsets.h)
    size_t ledger_bytes;                      // that wait there
    weft_partition_t *used_first, *used_last; // may hold descriptors, the longest unused first
    size_t used_count, used_max;
    weft_waits_t waits;
    weft_lead_t *lead;
    weft_follow_t *follow;
    char throttle[64]; // cluster setting reassign.bytes, as text
    size_t fetches_parked, produces_waiting;
    size_t syncs_in_flight;
    size_t compactions;                   // at the compact part
    size_t closing_count;                 // partitions in `all` that wait for their last sync
    bool sync_urgent;                     // somebody waits for the durable mark
    int64_t dirty_due_us;                 // when the dirty logs are synced at the latest
    uint64_t written_bytes, synced_bytes; // appended so far, and by when the last sync was posted
    uint64_t sync_bytes;                  // what one usually carries
    int64_t sync_posted_us, sync_took_us; // the last one
    int64_t urgent_us;                    // since when sync_urgent
    int64_t started_us;
    int64_t sweep_us; // when next
    size_t sweep_at;  // position in `all`; SIZE_MAX: no sweep under way
    bool stopping;
    size_t rest_at; // a stop: the partitions before it in `all` were put to rest
    // Reused buffers.
    weft_codec_t codec;
    weft_buf_t reply, scratch;
    weft_frame_pool_t *small_frames, *large_frames;
    struct weft_error error;
    // Options.
    size_t peer_bytes_max, bytes_max, fetch_waiters_max, offsets_bytes_max;
    int64_t sync_us, follow_sync_us, retention_us;
    int64_t replica_lag_ms;
} weft_shard_t;

#define WEFT_SHARD_SMALL_FRAME_BYTES 16384
#define WEFT_SHARD_LARGE_FRAME_BYTES (1048576 + 65536) // a fetch of the default size
#define WEFT_SHARD_RETRY_MS 50                         // told with OVERLOADED and COORDINATOR_LOADING
#define WEFT_SHARD_WAIT_MS_MAX (10 * 60 * 1000)        // longest that anything is parked
#define WEFT_SHARD_TICK_US 500000

// ---- shard_answer.c

// Sends the bytes in self->reply (and a frame, which is consumed); a reply that can't go is counted.
void weft_shard_answer(weft_shard_t *self, const struct weft_asker *asker, weft_frame_t *data);
// Refuses a request; sentence NULL: that of the error table. Counts by kind. asker NULL: only counts (acks none).
void weft_shard_refuse(weft_shard_t *self, const struct weft_asker *asker, weft_err_t code, const char *sentence);
// NOT_LEADER or LEADER_CHANGED: tells who leads the partition now, and where.
void weft_shard_refuse_moved(weft_shard_t *self, const struct weft_asker *asker, weft_err_t code, weft_id_t topic,
                             uint32_t partition);
// A new leader that has not committed all it inherited tells no marks yet (rule 5).
void weft_shard_refuse_unsettled(weft_shard_t *self, const struct weft_asker *asker);
bool weft_shard_overloaded(const weft_shard_t *self);
// Data frames of this shard that the transport still holds, with so many bytes more, are above shard.bytes by more than
// bytes_beyond.
bool weft_shard_frames_full(weft_shard_t *self, size_t bytes_more, size_t bytes_beyond);
bool weft_shard_peer_full(weft_shard_t *self, const struct weft_peer *peer, size_t bytes_more);
// Another member is in sync: what this one can't serve is about to be led there.
bool weft_shard_others_may_lead(const weft_shard_t *self, const weft_partition_t *partition);
// The partition as members of the cluster know it: this start of this broker holds a replica of it.
bool weft_shard_is_member(const weft_shard_t *self, const struct weft_replica_assignment *assignment);
// A gauge of this shard moved.
void weft_shard_gauge(weft_shard_t *self, enum weft_shard_counter counter, int more);

/** Names a partition in a request. */
struct weft_target {
    weft_slice_t topic;
    weft_id_t topic_id;
    uint32_t partition;
};

// The open partition that is led here, or NULL: then the asker was refused (unless it is NULL).
weft_partition_t *weft_shard_led_partition(weft_shard_t *self, const struct weft_asker *asker,
                                           const struct weft_target *target);
// Has a coordinator told the cluster state yet? If not the asker was refused.
bool weft_shard_has_state(weft_shard_t *self, const struct weft_asker *asker);

// ---- one function a request; `header` was guarded

void weft_shard_produce(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header, weft_frame_t *data);
void weft_shard_fetch(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_shard_list_offsets(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_shard_delete_records(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_shard_partition_status(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_shard_node_status(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_shard_hello(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_shard_metadata(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_shard_topic_describe(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_shard_to_coordinator(weft_shard_t *self, const struct weft_asker *asker);

// ---- shard_produce.c, shard_fetch.c: what ends a wait

// An effect of the replica for a produce request.
void weft_shard_produce_done(weft_partition_t *partition, const struct weft_replica_effect *effect);
void weft_shard_produce_timed_out(weft_shard_t *self, struct weft_wait *wait);
// Answers the parked fetches of a partition that can be answered now.
void weft_shard_fetch_wake(weft_partition_t *partition);
void weft_shard_fetch_timed_out(weft_shard_t *self, struct weft_wait *wait);
// Refuses all parked fetches and deletions of a partition with one code.
void weft_shard_fetch_refuse_all(weft_partition_t *partition, weft_err_t code);
// Does the deletions that waited for the durable mark, as far as it has come.
void weft_shard_delete_moved(weft_partition_t *partition);
// Answers the deletions of a partition that are done by now.
void weft_shard_delete_wake(weft_partition_t *partition);
void weft_shard_delete_timed_out(weft_shard_t *self, struct weft_wait *wait);
void weft_shard_delete_refuse_all(weft_partition_t *partition, weft_err_t code);

// ---- topics.c: the shard's partitions follow its cluster state

// The watch function for weft_update_apply; `shard` is a weft_shard_t.
void weft_shard_on_change(void *shard, const struct weft_cluster_change *change);
// After a snapshot or a new incarnation: compares everything.
void weft_shard_reconcile(weft_shard_t *self);
void weft_shard_topics_fini(weft_shard_t *self);

// ---- lists

void weft_partition_list_push(struct weft_partition_list *list, weft_partition_t *partition);
void weft_partition_list_remove(struct weft_partition_list *list, const weft_partition_t *partition);

#endif
