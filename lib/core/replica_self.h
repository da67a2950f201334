// SPDX-License-Identifier: MPL-2.0
/**
 * What the files of one replica share: replica.c (life, roles, effects), replica_produce.c (producers and the log),
 * replica_marks.c (marks, reports, the in-sync set). Nobody else includes this.
 */
#ifndef WEFT_CORE_REPLICA_SELF_H
#define WEFT_CORE_REPLICA_SELF_H

#include "replica.h"
#include "waiters.h"

#include "../base/assert.h"

struct weft_replica_effect_entry { // an effect without its proposal: small, for the ring
    uint64_t token;
    int64_t offset;
    enum weft_replica_effect_type type;
    weft_err_t code;
    enum weft_level level;
    bool duplicate;
};

/** What the leader knows of a member of its assignment; same index as there. Our own entry is unused. */
struct weft_replica_view {
    int64_t log_end, synced_end;   // as reported in this epoch; -1: not yet
    int64_t log_start;             // likewise, 0: not yet
    int64_t caught_up_ms;          // it was known to have all, synced, that the leader had at this time
    int64_t target_end, target_ms; // once its synced end reaches target_end, it had all of target_ms
    bool reached;                  // a target, in this epoch
    bool held;                     // counted though nothing was asked yet, since held_ms: it is near
    int64_t held_ms;
    bool asked_in; // counted though not confirmed (rule 1), until the partition epoch moves
};

struct weft_replica {
    struct weft_replica_config config;
    weft_sessions_t *sessions;

    // the log, as told
    bool opened, disk_failed, appending;
    int64_t log_start, log_end, synced_end;
    int32_t last_epoch;   // of the last batch
    int32_t opened_epoch; // the last epoch that was on the disk when it was opened: never led again (rule 2)

    // who leads
    struct weft_replica_assignment assignment; // leader_epoch -1 until the first
    struct weft_replica_view views[WEFT_REPLICA_MEMBERS_MAX];
    enum weft_role role;
    int self_index;        // in the members, -1: none
    size_t insync_count;   // confirmed
    int64_t inherited_end; // log end at the start of this leadership (rule 5)
    bool aligned;          // follower: a prefix of the leader's log
    bool aligned_by_cut;   // and is once the truncation under way is done

    // the in-sync set asked for
    bool asked; // a question is out at this partition epoch
    int64_t asked_ms;

    int64_t now_ms; // of the last event that told

    // marks
    int64_t committed, durable;
    int64_t told_committed, told_durable; // follower: the leader's, which may be ahead of our log

    struct weft_waiters committed_waiters, durable_waiters;

    struct weft_replica_effect_entry *effects; // ring; capacity is a power of two
    size_t effect_first, effect_count, effect_capacity;
};

#define WEFT_REPLICA_ASK_AGAIN_MS 1000
#define WEFT_REPLICA_NEAR_MS 1000       // a member that had everything so lately is held
#define WEFT_REPLICA_HOLD_MS 1000       // for so long at most,
#define WEFT_REPLICA_HOLD_AGAIN_MS 5000 // and so often at most

// replica.c
void weft_replica_emit(weft_replica_t *self, const struct weft_replica_effect_entry *entry);
void weft_replica_emit_reply(weft_replica_t *self, const struct weft_waiter *waiter, weft_err_t code,
                             enum weft_level level);
void weft_replica_fail_waiters(weft_replica_t *self, weft_err_t code);

// replica_marks.c
void weft_replica_views_reset(weft_replica_t *self, int64_t now_ms);
void weft_replica_ask(weft_replica_t *self, int64_t now_ms); // for the in-sync set that the views stand for
enum weft_level weft_replica_level(const weft_replica_t *self, int64_t end_offset); // that the marks give it
void weft_replica_advance(weft_replica_t *self); // moves the marks as far as the rules allow; answers waiters

#endif
