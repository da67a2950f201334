// SPDX-License-Identifier: MPL-2.0
/**
 * Admin: topics, offsets, consumer groups and the state of a cluster. Every call blocks until answered or request.timeout.ms are over.
 *
 * An admin object belongs to one thread at a time. Each call finds the node that can answer by itself (the active
 * coordinator or the partition's leader), follows redirections, outlives the failover of either and retries what may be
 * retried. It returns the server's error; weft_admin_error_text has its sentence. Every change carries an operation id,
 * the same in all its retries: one that was done already when its answer was lost is answered as done, not done twice.
 * After TIMED_OUT or LOCAL_TIMED_OUT a change may have happened.
 *
 * Results with a destructor are one block of memory: everything they point to lives as long as they do.
 *
 * Options: bootstrap, client, request.timeout.ms, silence.ms, retry.backoff.ms (docs/CONFIG.md, scope admin). Without `bootstrap`
 * WEFT_BOOTSTRAP is taken, then tcp://127.0.0.1:9650.
 */
#ifndef WEFT_ADMIN_H
#define WEFT_ADMIN_H

#include <weft/record.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_admin weft_admin_t;

WEFT_EXPORT_CHECKED weft_err_t weft_admin_new(const char *const *settings, weft_admin_t **out,
                                              struct weft_error *error);
WEFT_EXPORT void weft_admin_destroy(weft_admin_t **self_p);
WEFT_EXPORT const char *weft_admin_error_text(const weft_admin_t *self); // of the last call that failed
WEFT_EXPORT void
weft_admin_wake(weft_admin_t *self); // any thread, signal handlers: the waiting call returns INTERRUPTED
// Called once from inside a call that takes longer than after_ms, with what it waits for, so that a person can be told.
// It must not call anything of the admin object. NULL: not any more.
typedef void weft_admin_wait_fn(void *context, const char *text);
WEFT_EXPORT void weft_admin_on_wait(weft_admin_t *self, int after_ms, weft_admin_wait_fn *fn, void *context);

// ---- topics

struct weft_setting {
    const char *key;
    const char *value;
};

struct weft_topic_change {
    weft_id_t topic_id;
    uint64_t version; // of the cluster state that holds it
};

// replicas 0: the coordinator chooses, three or as many as there are brokers. `out` may be NULL. The topic can be
// produced to as soon as metadata shows its leaders: weft_admin_wait_topic.
WEFT_EXPORT_CHECKED weft_err_t weft_admin_create_topic(weft_admin_t *self, const char *topic, uint32_t partitions,
                                                       uint32_t replicas, const struct weft_setting *settings,
                                                       size_t setting_count, bool validate_only,
                                                       struct weft_topic_change *out);
/** Waits until every partition of the topic has a leader. LOCAL_TIMED_OUT. */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_wait_topic(weft_admin_t *self, const char *topic, int timeout_ms);
WEFT_EXPORT_CHECKED weft_err_t weft_admin_delete_topic(weft_admin_t *self, const char *topic,
                                                       struct weft_topic_change *out);
WEFT_EXPORT_CHECKED weft_err_t weft_admin_alter_topic(weft_admin_t *self, const char *topic,
                                                      const struct weft_setting *set, size_t set_count,
                                                      const char *const *unset, size_t unset_count,
                                                      struct weft_topic_change *out);
WEFT_EXPORT_CHECKED weft_err_t weft_admin_add_partitions(weft_admin_t *self, const char *topic, uint32_t to,
                                                         struct weft_topic_change *out);

struct weft_topic_setting {
    const char *key;
    const char *value; // in force
    bool is_default;
};

typedef struct weft_topic_config {
    weft_id_t topic_id;
    uint32_t partitions, replicas;
    const struct weft_topic_setting *settings;
    size_t setting_count;
} weft_topic_config_t;

WEFT_EXPORT_CHECKED weft_err_t weft_admin_describe_topic(weft_admin_t *self, const char *topic,
                                                         weft_topic_config_t **out);
WEFT_EXPORT void weft_topic_config_destroy(weft_topic_config_t **self_p);

// ---- metadata: who is there, what exists, who leads

struct weft_broker_info {
    int32_t id;
    bool alive;
    const char *rack;
    const char *const *endpoints; // one a shard
    size_t endpoint_count;
};

struct weft_partition_info {
    int32_t partition;
    weft_err_t error;      // why it has no leader
    int32_t leader, epoch; // leader -1: none
    const char *endpoint;  // of the shard that leads it; "" if none
    const int32_t *replicas, *isr, *offline;
    size_t replica_count, isr_count, offline_count;
};

struct weft_topic_info {
    const char *name;
    weft_id_t id;
    weft_err_t error; // UNKNOWN_TOPIC: asked for by name, does not exist
    bool internal;
    const struct weft_partition_info *partitions; // in order
    size_t partition_count;
};

typedef struct weft_metadata {
    weft_id_t cluster_id;
    uint64_t version;
    int32_t coordinator_id;          // -1: not known
    const char *const *coordinators; // endpoints, the active one first
    size_t coordinator_count;
    const struct weft_broker_info *brokers;
    size_t broker_count;
    const struct weft_topic_info *topics; // sorted by name
    size_t topic_count;
} weft_metadata_t;

/**
 * topics NULL: all of them (internal ones only if asked for); topics with count 0: no topics, brokers only. A topic
 * asked for that does not exist has its error set; the call is WEFT_OK.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_metadata(weft_admin_t *self, const char *const *topics, size_t topic_count,
                                                   bool internal, weft_metadata_t **out);
WEFT_EXPORT void weft_metadata_destroy(weft_metadata_t **self_p);

// ---- partitions (answered by their leader)

struct weft_offset_found {
    int64_t offset;       // for a time after the last record: the end
    int64_t timestamp_ms; // of the record found, -1 if none
    int32_t epoch;
    int64_t high_watermark; // committed end
    int64_t log_start;
};

/**
 * `at`: WEFT_FROM_EARLIEST, _LATEST or _TIME (_OFFSET is answered as given, with the marks). durable: latest means the
 * durable end.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_list_offsets(weft_admin_t *self, const char *topic, int32_t partition,
                                                       struct weft_position at, bool durable,
                                                       struct weft_offset_found *out);
/** Deletes all records below before_offset (-1: all that is committed). *log_start (may be NULL): first offset kept. */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_delete_records(weft_admin_t *self, const char *topic, int32_t partition,
                                                         int64_t before_offset, int64_t *log_start);

#define WEFT_REPLICAS_KNOWN_MAX 16

/** One replica as its leader knows it. */
struct weft_replica_marks {
    int32_t broker;
    bool in_sync;
    int64_t log_end, synced_end; // -1: not reported in this epoch yet
    uint32_t behind_ms;          // since it last had everything
};

struct weft_partition_marks {
    int64_t log_start, log_end, high_watermark, durable; // offsets
    int64_t bytes;                                       // on the leader's disk
    uint32_t segments, producers;                        // counts
    int32_t epoch;
    struct weft_replica_marks replicas[WEFT_REPLICAS_KNOWN_MAX];
    size_t replica_count;
};

WEFT_EXPORT_CHECKED weft_err_t weft_admin_partition_status(weft_admin_t *self, const char *topic, int32_t partition,
                                                           struct weft_partition_marks *out);

// ---- nodes

struct weft_broker_health {
    int32_t id;
    bool alive;
    bool draining; // leaderships are kept away
    bool leaving;  // its replicas are moved away for good
    bool sick;     // a disk or a thread of it is stuck or failed: leads nothing
    const char *endpoint, *rack, *version;
    uint32_t shards, leads, replicas;
    uint32_t heartbeat_age_ms; // since it was last heard, also of one that is gone
    bool heard;                // false: not by this coordinator, which took office so long ago
};

struct weft_coordinator_health {
    int32_t id;
    const char *endpoint;
    bool active;
    bool reachable;  // heard lately by the active one
    uint64_t behind; // entries it lacks
};

typedef struct weft_cluster_health {
    weft_id_t cluster_id;
    uint64_t version, epoch;
    const char *coordinator;  // endpoint of the active one
    const char *voter_change; // what becomes of the coordinators right now; "": nothing
    uint32_t level;           // feature level in force
    uint32_t topics, partitions, leaderless;
    uint32_t offline;          // partitions that lack at least one live replica
    uint32_t under_replicated; // partitions with fewer in sync than replicas
    uint32_t under_min_insync; // partitions with fewer in sync than acks all needs: they take no such records
    uint32_t moving;           // partitions whose replicas are being moved
    const struct weft_coordinator_health *coordinators;
    size_t coordinator_count;
    const struct weft_broker_health *brokers;
    size_t broker_count;
    const char *const *problems; // sentences; none when healthy
    size_t problem_count;
} weft_cluster_health_t;

WEFT_EXPORT_CHECKED weft_err_t weft_admin_cluster_status(weft_admin_t *self, weft_cluster_health_t **out);
WEFT_EXPORT void weft_cluster_health_destroy(weft_cluster_health_t **self_p);

// ---- brokers: drain, remove (answered by the coordinator, as all that follows up to voters)

struct weft_drain_state {
    uint32_t leads; // partitions that it still leads
    uint32_t stuck; // of these, partitions that no other replica can lead now
};

/**
 * Moves leaderships away from a broker and keeps them away, also over its restarts; undo: allows them again. Returns at
 * once; weft_admin_cluster_status shows how many it still leads. `out` may be NULL. UNKNOWN_BROKER.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_drain_broker(weft_admin_t *self, int32_t broker, bool undo,
                                                       struct weft_drain_state *out);

enum weft_remove_mode { WEFT_REMOVE, WEFT_REMOVE_UNDO, WEFT_REMOVE_DRY_RUN };
struct weft_remove_state {
    uint32_t replicas; // to move
    bool removed;      // it is gone
};

/**
 * Decommission: moves all replicas away from a broker, then forgets it. Returns at once; weft_admin_cluster_status shows
 * what it still stores, and it disappears from there once it stores nothing and is stopped. UNDO: keeps it; what was moved stays moved. `out` may be NULL.
 * UNKNOWN_BROKER; INVALID_REPLICATION: its replicas have nowhere to go.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_remove_broker(weft_admin_t *self, int32_t broker, enum weft_remove_mode mode,
                                                        struct weft_remove_state *out);

// ---- replicas and leaders

#define WEFT_THROTTLE_KEEP (-1) // bytes_per_second: as it is
#define WEFT_THROTTLE_NONE 0

struct weft_replica_wish {
    const char *topic;
    int32_t partition;
    const int32_t *to; // brokers; the first is preferred as leader
    size_t to_count;   // 0: cancel the move under way
};

/** A move of replicas or of a leadership, planned or under way. */
struct weft_move {
    const char *topic;
    weft_id_t topic_id;
    int32_t partition;
    const int32_t *from, *to, *isr; // isr: of those under way
    size_t from_count, to_count, isr_count;
    int32_t leader;       // now, or to be; -1: none
    const char *endpoint; // of the leader's shard; "": not told
    weft_err_t error;     // why it is refused; WEFT_OK: it is not
    const char *message;  // the same as a sentence; "" if it is not
};

typedef struct weft_moves {
    const struct weft_move *leaders; // leaderships that move (balance)
    size_t leader_count;
    const struct weft_move *moves; // replicas that move
    size_t move_count;
    uint32_t more;            // that did not fit into the answer
    int64_t bytes_per_second; // throttle in force (list); WEFT_THROTTLE_NONE
} weft_moves_t;

WEFT_EXPORT void weft_moves_destroy(weft_moves_t **self_p);

/**
 * Gives partitions other replicas: data first, leadership second. Returns once the moves are decided; copying goes on,
 * weft_admin_list_moves and weft_admin_partition_status show how far. Each wish is checked alone: one that is refused
 * has its error in `out`, the others go on; if all are refused the call is. At most 4,096 wishes a call.
 * bytes_per_second: what each receiving broker copies at most.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_reassign(weft_admin_t *self, const struct weft_replica_wish *wishes,
                                                   size_t count, int64_t bytes_per_second, bool dry_run,
                                                   weft_moves_t **out);
WEFT_EXPORT_CHECKED weft_err_t weft_admin_list_moves(weft_admin_t *self, weft_moves_t **out); // under way
/**
 * Evens out: leaders to the preferred replicas; with `replicas` also replicas over brokers and racks, as few as
 * possible.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_balance(weft_admin_t *self, bool replicas, int64_t bytes_per_second,
                                                  bool dry_run, weft_moves_t **out);

struct weft_elected {
    int32_t broker, epoch;                // who leads now, since which leader epoch
    char loss[WEFT_ERROR_TEXT_BYTES_MAX]; // of an unclean election: what may be lost, as a sentence; "" if nothing
};

/**
 * Makes another replica the leader (broker -1: the best that is left). unclean: also one that is not known to have
 * everything; acknowledged records that it lacks are lost. `out` may be NULL. NO_ELIGIBLE_LEADER, ELECTION_NOT_NEEDED.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_elect_leader(weft_admin_t *self, const char *topic, int32_t partition,
                                                       int32_t broker, bool unclean, struct weft_elected *out);

/** Settings of the whole cluster (docs/CONFIG.md, scope cluster); an empty value resets to the default. */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_alter_cluster(weft_admin_t *self, const struct weft_setting *set,
                                                        size_t set_count, uint64_t *version);

/**
 * Adds a coordinator to the quorum, or with endpoint NULL removes one; from three voters on, one at a time, with all of
 * them up. Answered when it is done: a new one copies what it lacks first, so that needs a request.timeout.ms of minutes
 * where there is much. *voters (may be NULL): how many there are then. VOTER_CHANGE_REFUSED.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_change_voter(weft_admin_t *self, int32_t coordinator, const char *endpoint,
                                                       uint32_t *voters);

// ---- consumer groups

struct weft_group_entry {
    const char *name;
    const char *state;            // "empty", "assigning", "reconciling", "stable"; "none": only offsets, no membership
    const char *assignor;         // "" where there is no membership
    uint32_t members, partitions; // partitions with a committed offset
    int64_t committed_ms;         // the last commit, Unix time; -1: none
};

typedef struct weft_group_list {
    const struct weft_group_entry *groups; // by name
    size_t count;
    uint32_t
        unanswered; // partitions of __offsets whose leader did not answer: groups that only have offsets there are missing
    uint32_t asked; // of so many
} weft_group_list_t;

/**
 * All groups: those the coordinator knows and those that only have committed offsets (of readers without membership).
 */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_list_groups(weft_admin_t *self, weft_group_list_t **out);
WEFT_EXPORT void weft_group_list_destroy(weft_group_list_t **self_p);

struct weft_group_member_info {
    weft_id_t id;
    const char *instance, *client, *host, *rack; // "" where there is none
    uint64_t epoch;
    uint32_t heard_ms; // since its last heartbeat
    uint32_t idle_ms;  // since its program last asked for records
    uint32_t session_ms;
    bool paused;               // a static member that is away
    const char *const *topics; // names and globs
    size_t topic_count;
    uint32_t owns, target, releasing; // partitions: that it holds; is to hold; was asked to release
};

struct weft_group_left_info {
    weft_id_t id;
    const char *instance, *client, *host, *why;
    uint64_t ago_ms;
};

struct weft_group_partition_info {
    const char *topic; // "" if it was deleted
    weft_id_t topic_id;
    int32_t partition;
    int32_t member;         // index in `members` of who holds it; -1: nobody
    bool releasing;         // and was asked to release it
    int64_t committed;      // next offset to be read, -1: none committed
    int64_t log_start, end; // of the partition (committed records), -1: its leader did not tell
    int64_t lag;            // end - committed, or the whole partition where nothing is committed; -1: not known
    int64_t committed_ms;   // Unix time; -1: never
    const char *metadata;   // "" if none
    weft_err_t error;       // why end is not known
};

typedef struct weft_group_info {
    const char *state;                            // as in weft_group_entry
    const char *assignor;                         // "" where there is no membership
    uint64_t epoch;                               // grows with every new target
    int64_t empty_ms;                             // how long it has had no members; -1: it has some, or never had any
    const struct weft_group_member_info *members; // in order of joining
    size_t member_count;
    const struct weft_group_left_info *left; // who left lately, newest first
    size_t left_count;
    const struct weft_group_partition_info *partitions; // owned or committed, by topic and number
    size_t partition_count;
} weft_group_info_t;

/**
 * A group: its members, and how far each partition is that somebody owns or that has a committed offset. Asks the leader
 * of every such partition for its end. UNKNOWN_GROUP: neither members nor offsets.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_describe_group(weft_admin_t *self, const char *group,
                                                         weft_group_info_t **out);
WEFT_EXPORT void weft_group_info_destroy(weft_group_info_t **self_p);

struct weft_group_committed {
    const char *topic; // "" if it was deleted
    weft_id_t topic_id;
    int32_t partition;
    int64_t offset; // next to be read
    int32_t leader_epoch;
    int64_t committed_ms;
    const char *metadata; // "" if none
};

typedef struct weft_group_offsets {
    const struct weft_group_committed *offsets; // by topic and number
    size_t count;
} weft_group_offsets_t;

/** All that a group has committed; of a group that has not, or that nobody knows, nothing. */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_group_offsets(weft_admin_t *self, const char *group,
                                                        weft_group_offsets_t **out);
WEFT_EXPORT void weft_group_offsets_destroy(weft_group_offsets_t **self_p);

/**
 * A token to commit offsets of a group that has no members: outranks all given before, so that a member that was only
 * out of reach can't take the change back. Who reads for the group without membership takes one of its own once it is
 * outranked: stop him before his offsets are set. Of a group that never had members (state "none") offsets can be set with
 * token 0. GROUP_NOT_EMPTY: the sentence says who is in it.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_group_token(weft_admin_t *self, const char *group, uint64_t *token);

/**
 * Sets offsets of a group, in order. Durable when it returns WEFT_OK. The first error of any of them is returned, its
 * sentence names the partition; *committed (may be NULL): how many were written. FENCED: the token is outranked.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_commit_group_offsets(weft_admin_t *self, const char *group, uint64_t token,
                                                               const struct weft_group_offset *list, size_t count,
                                                               size_t *committed);

/**
 * Forgets a group that has no members, and its offsets. *deleted (may be NULL): offsets that were there. GROUP_NOT_EMPTY:
 * the sentence says who is in it. UNKNOWN_GROUP: there was neither group nor offset.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_delete_group(weft_admin_t *self, const char *group, uint32_t *deleted);

// ---- single nodes

struct weft_node_counter {
    const char *name;
    uint64_t value;
};

typedef struct weft_node_report {
    const char *node, *health, *message, *version;
    uint64_t uptime_ms;
    const struct weft_node_counter *counters;
    size_t counter_count;
} weft_node_report_t;

/** endpoint NULL: any bootstrap node. */
WEFT_EXPORT_CHECKED weft_err_t weft_admin_node_status(weft_admin_t *self, const char *endpoint,
                                                      weft_node_report_t **out);
WEFT_EXPORT void weft_node_report_destroy(weft_node_report_t **self_p);

typedef struct weft_node_hello {
    uint32_t protocol_min, protocol_max;
    const char *node, *version; // type of the node, version of the software
    int32_t node_id, shard;     // -1: none
    weft_id_t cluster_id;
    uint32_t frame_bytes_max, batch_bytes_max, session_window;
    int64_t wall_ms;
    int64_t round_trip_us; // measured by this call
    const char *const *features;
    size_t feature_count;
} weft_node_hello_t;

WEFT_EXPORT_CHECKED weft_err_t weft_admin_hello(weft_admin_t *self, const char *endpoint, weft_node_hello_t **out);
WEFT_EXPORT void weft_node_hello_destroy(weft_node_hello_t **self_p);

#ifdef __cplusplus
}
#endif

#endif
