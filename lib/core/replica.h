// SPDX-License-Identifier: MPL-2.0
/**
 * Replica: the pure state machine of one replica of one partition. Events in, effects out; no clock, disk or socket.
 *
 * It knows who leads in which epoch, who counts for the two marks, where log and sync end, which produce requests wait
 * for which mark, and the producer sessions. The shard (nodes/broker) does what it says: writes, syncs, replies.
 *
 * Marks (DESIGN.md section 5): committed = every in-sync replica has it (the high watermark, held back below
 * min_insync); durable = the same, synced. With one replica committed is the log end and durable the synced end.
 *
 * Effects are the replica's until the next event; take them all with weft_replica_effect after each event.
 *
 * Invariants (weft_replica_check):
 *   R1  log_start <= durable <= committed <= log_end, and durable <= synced_end of every in-sync member
 *   R2  marks never fall within an epoch
 *   R3  epochs only grow
 *   R4  no ack effect above its mark
 *   R5  a waiter's offset lies above its mark
 *   R6  only a leader has waiters
 *   R7  sessions equal those of the log's prefix (checked by traces and fuzzer)
 */
#ifndef WEFT_CORE_REPLICA_H
#define WEFT_CORE_REPLICA_H

#include "session.h"

#define WEFT_REPLICA_MEMBERS_MAX 16
#define WEFT_REPLICA_LAG_MS 10000

typedef struct weft_replica weft_replica_t;

enum weft_acks { WEFT_ACKS_NONE, WEFT_ACKS_LEADER, WEFT_ACKS_ALL };
enum weft_level { WEFT_LEVEL_NONE, WEFT_LEVEL_LEADER, WEFT_LEVEL_COMMITTED, WEFT_LEVEL_DURABLE };
enum weft_role { WEFT_ROLE_NONE, WEFT_ROLE_LEADER, WEFT_ROLE_FOLLOWER };

struct weft_replica_member {
    int32_t broker;
    weft_id_t incarnation;
    bool in_sync;
};

/** What the coordinator decided (a partition's entry in the cluster state). */
struct weft_replica_assignment {
    int32_t leader_epoch;
    int32_t partition_epoch;
    int32_t leader; // broker id, -1: none
    uint32_t min_insync;
    struct weft_replica_member members[WEFT_REPLICA_MEMBERS_MAX];
    size_t member_count;
};

struct weft_replica_config {
    int32_t self; // this broker's id
    size_t sessions_max;
    int64_t session_expiry_ms;
    size_t waiters_max;     // produce requests parked; beyond it OVERLOADED
    int64_t replica_lag_ms; // a member behind for longer leaves the in-sync set; 0: WEFT_REPLICA_LAG_MS
    // Of this start: an assignment that names another for us gives no role (rule 2); zero: not compared.
    weft_id_t incarnation;
};

enum weft_replica_effect_type {
    WEFT_REPLICA_REPLY,     // answer produce `token`: code, base_offset, level
    WEFT_REPLICA_COMMITTED, // the high watermark moved to `offset`: wake fetches
    WEFT_REPLICA_DURABLE,   // the durable mark moved to `offset`: wake durable fetches
    WEFT_REPLICA_TRUNCATE,  // cut the log to `offset`, then reload the sessions and call weft_replica_truncated
    /*
     * Ask the coordinator for the in-sync set in `proposal` (its members' in_sync; epochs and incarnations as known
     * here: if one is old it must refuse the whole). Repeated until an assignment with a new partition epoch comes; a
     * proposal equal to the set in force only asks for that new epoch, which settles a question whose answer was lost.
     */
    WEFT_REPLICA_ASK_ISR
};

struct weft_replica_effect {
    enum weft_replica_effect_type type;
    uint64_t token;
    weft_err_t code;
    int64_t offset;
    enum weft_level level;
    bool duplicate;
    struct weft_replica_assignment proposal; // ASK_ISR
};

weft_replica_t *weft_replica_new(const struct weft_replica_config *config);
void weft_replica_destroy(weft_replica_t **self_p);

// ---- events

/** The log was opened and the sessions rebuilt (through weft_replica_sessions). All below synced_end is on the disk. */
void weft_replica_opened(weft_replica_t *self, int64_t log_start, int64_t log_end, int64_t synced_end,
                         int32_t last_epoch);
/**
 * A new assignment. One with an older leader epoch or partition epoch is refused with STALE_EPOCH and changes nothing;
 * so is leadership in an epoch that this log has records of from before its opening (rule 2). Losing leadership, or a
 * new leader epoch, fails all waiters with LEADER_CHANGED (maybe_applied). INVALID_ARGUMENT: too many members. A new
 * leader answers marks, offset queries and reads above its inherited end only once all it inherited is committed (rule
 * 5).
 */
WEFT_MUST_USE weft_err_t weft_replica_assign(weft_replica_t *self, const struct weft_replica_assignment *assignment,
                                             int64_t now_ms);

struct weft_replica_produce {
    uint64_t token; // names the request in effects; the caller's
    enum weft_acks acks;
    bool durable;
    const struct weft_batch *batch; // accepted (weft_batch_accept), not yet stamped
    // A batch that begins an epoch: only if the session ended so in the epoch before (weft_sessions_ended_at).
    bool conditional;
    int32_t after_sequence;
};

enum weft_replica_verdict {
    // Stamp with *base_offset and *leader_epoch, append, then weft_replica_appended or _append_failed; nothing between.
    WEFT_REPLICA_APPEND,
    WEFT_REPLICA_HANDLED // nothing to append: a reply effect is there already, or a duplicate waits for its mark
};

// Refusals (effects, but for acks none): NOT_LEADER, DISK_FAILED, those of the session's verdict, NOT_ENOUGH_REPLICAS
// and OVERLOADED (acks all). DUPLICATE_SEQUENCE says that the batch was applied: with acks all it waits as an ack does.
enum weft_replica_verdict weft_replica_produce(weft_replica_t *self, const struct weft_replica_produce *produce,
                                               int64_t *base_offset, int32_t *leader_epoch);
// `batch` as stamped. Queues the waiter or the reply; with one replica the committed mark moves at once.
void weft_replica_appended(weft_replica_t *self, const struct weft_replica_produce *produce,
                           const struct weft_batch *batch);
void weft_replica_append_failed(weft_replica_t *self, const struct weft_replica_produce *produce, weft_err_t code);

void weft_replica_synced(weft_replica_t *self, int64_t synced_end);
// The disk is lost to us: waiters fail with DISK_FAILED (maybe_applied), produce is refused from now on.
void weft_replica_disk_failed(weft_replica_t *self);
// The log starts at log_start now. Leader: never above the durable mark, so that what is gone was on all disks, and the
// mark's promise (no offset below it is given anew) is kept. Follower: what its leader deleted, below the committed mark.
void weft_replica_trimmed(weft_replica_t *self, int64_t log_start);
// The log was cut to log_end, durably, its last batch is of last_epoch (-1: none), the sessions were reloaded. Never
// while leading.
void weft_replica_truncated(weft_replica_t *self, int64_t log_end, int32_t last_epoch);
// The caller answered this parked request itself (its time was up): no effect will name the token any more. False: it
// was not parked.
bool weft_replica_cancel(weft_replica_t *self, uint64_t token);

/**
 * Leader: a follower's report (progress or replicate). Reports of other epochs or incarnations, or beyond the log end,
 * are refused and change nothing (NOT_LEADER, STALE_EPOCH, UNKNOWN_EPOCH, UNKNOWN_BROKER, FENCED, INVALID_REQUEST). A
 * report that is overtaken by a newer one changes nothing. A follower reports only once it is aligned.
 */
WEFT_MUST_USE weft_err_t weft_replica_report(weft_replica_t *self, int32_t broker, weft_id_t incarnation,
                                             int32_t leader_epoch, int64_t log_end, int64_t synced_end, int64_t now_ms);
/**
 * Leader: that follower, whose report comes next, names its log anew: what it told above in this epoch is void. A replica
 * that was moved away and back is empty, though its broker, the start of that and the leader epoch are the same.
 */
void weft_replica_named(weft_replica_t *self, int32_t broker, int64_t log_end, int64_t synced_end, int64_t log_start);
/** Leader: that follower, whose report comes next, keeps nothing below log_start. */
void weft_replica_starts(weft_replica_t *self, int32_t broker, int64_t log_start);
/**
 * Would weft_replica_report refuse this follower, whatever it says of its log? Same errors.
 */
WEFT_MUST_USE weft_err_t weft_replica_knows(const weft_replica_t *self, int32_t broker, weft_id_t incarnation,
                                            int32_t leader_epoch);
/** Follower: batches were appended; the leader told its marks. */
void weft_replica_followed(weft_replica_t *self, const struct weft_batch *batch);
void weft_replica_leader_marks(weft_replica_t *self, int64_t committed, int64_t durable);
/**
 * Follower, after every new leader epoch: the leader was asked for our last epoch and found `leader_epoch` (the largest
 * in its log not above it) to end at `leader_end`; our own log has `own_epoch` (the largest not above leader_epoch) end
 * at `own_end` (weft_log_epoch_end gives both). May give a TRUNCATE effect (KIP-101). While weft_replica_aligned is
 * false after it, the leader is to be asked again with the last epoch that is left (KIP-279).
 */
void weft_replica_diverged(weft_replica_t *self, int32_t leader_epoch, int64_t leader_end, int32_t own_epoch,
                           int64_t own_end);
// Follower: the log is a prefix of the leader's, so it may fetch and report. A log without a batch is.
bool weft_replica_aligned(const weft_replica_t *self);
// Follower: the leader's log does not go on from ours, whatever was found before: align again.
void weft_replica_unalign(weft_replica_t *self);
// Follower: the log was emptied, durably, and starts and ends at `offset`, where the leader's begins (not below what we
// know to be committed, unless we have nothing). It is aligned then.
void weft_replica_reset(weft_replica_t *self, int64_t offset);
// This start was registered anew: assignments from now on are compared with this incarnation.
void weft_replica_set_incarnation(weft_replica_t *self, weft_id_t incarnation);
/** Time passes: in-sync lag of members, session expiry. Cheap; call about once a second. */
void weft_replica_tick(weft_replica_t *self, int64_t now_ms);

// ---- effects and state

bool weft_replica_effect(weft_replica_t *self, struct weft_replica_effect *out); // false: none left

enum weft_role weft_replica_role(const weft_replica_t *self);
int32_t weft_replica_leader(const weft_replica_t *self); // broker id or -1
int32_t weft_replica_leader_epoch(const weft_replica_t *self);
int64_t weft_replica_committed(const weft_replica_t *self);
int64_t weft_replica_durable(const weft_replica_t *self);
int64_t weft_replica_log_end(const weft_replica_t *self);
int64_t weft_replica_synced_end(const weft_replica_t *self);
int64_t weft_replica_log_start(const weft_replica_t *self);
// Leader: no next leader has anything below (0 while fewer than min_insync are in sync: then it may be another's turn).
int64_t weft_replica_deleted(const weft_replica_t *self);
int32_t weft_replica_last_epoch(const weft_replica_t *self);          // of the last batch, -1: none
bool weft_replica_in_sync(const weft_replica_t *self);                // we are in the in-sync set that is confirmed
bool weft_replica_counts(const weft_replica_t *self, int32_t broker); // leader: that member holds back our marks
bool weft_replica_durable_wanted(const weft_replica_t *self);         // somebody waits for the durable mark
bool weft_replica_settled(const weft_replica_t *self);    // all that this leader inherited is committed (rule 5)
bool weft_replica_wants_sync(const weft_replica_t *self); // log end > synced end, and the disk is ours
size_t weft_replica_waiter_count(const weft_replica_t *self);
/** A member as the leader knows it; of itself as it is. */
struct weft_replica_peer {
    int32_t broker;
    bool in_sync;                // confirmed
    int64_t log_end, synced_end; // -1: nothing reported in this epoch
    int64_t behind_ms;           // since it was last known to have everything, synced
};
size_t weft_replica_peers(const weft_replica_t *self, struct weft_replica_peer out[WEFT_REPLICA_MEMBERS_MAX]);
weft_sessions_t *weft_replica_sessions(weft_replica_t *self); // for replay and snapshots
void weft_replica_check(const weft_replica_t *self);

#endif
