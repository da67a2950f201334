// SPDX-License-Identifier: MPL-2.0
/*
 * Producers and the log. A batch is judged before it is appended and changes no state until it was: between the
 * verdict APPEND and the caller's word there is nothing else, so a failed write leaves nothing to undo.
 *
 * Who asked for acks all waits in the queue of its mark and is answered by weft_replica_advance, the duplicate of a
 * batch like the batch itself (rule 15). A duplicate too old to be remembered is answered with an error that says "it
 * was written": no less of a promise, so it waits as well, until the mark reaches what is remembered.
 */
#include "replica_self.h"

#include "../base/mutate.h"

static enum weft_replica_verdict s_refuse(weft_replica_t *self, const struct weft_replica_produce *produce,
                                          weft_err_t code)
{
    if (produce->acks != WEFT_ACKS_NONE) {
        struct weft_waiter nobody = {.token = produce->token, .base_offset = -1};
        weft_replica_emit_reply(self, &nobody, code, WEFT_LEVEL_NONE);
    }
    return WEFT_REPLICA_HANDLED;
}

static void s_wait(weft_replica_t *self, const struct weft_replica_produce *produce, const struct weft_waiter *waiter)
{
    weft_waiters_add(produce->durable ? &self->durable_waiters : &self->committed_waiters, waiter);
}

static bool s_crowded(const weft_replica_t *self)
{
    return weft_replica_waiter_count(self) >= self->config.waiters_max;
}

static enum weft_replica_verdict s_duplicate(weft_replica_t *self, const struct weft_replica_produce *produce,
                                             weft_err_t code, int64_t base_offset, int64_t end_offset)
{
    struct weft_waiter waiter = {produce->token, base_offset, end_offset, true, code};
    int64_t mark = produce->durable ? self->durable : self->committed;
    if (weft_mutated("duplicate_does_not_wait")) mark = end_offset;
    bool waits = produce->acks == WEFT_ACKS_ALL && end_offset > mark;
    if (waits && s_crowded(self)) return s_refuse(self, produce, WEFT_ERR_OVERLOADED);
    if (waits) {
        s_wait(self, produce, &waiter);
    } else if (produce->acks != WEFT_ACKS_NONE) {
        enum weft_level level = code == WEFT_OK ? weft_replica_level(self, end_offset) : WEFT_LEVEL_NONE;
        weft_replica_emit_reply(self, &waiter, code, level);
    }
    return WEFT_REPLICA_HANDLED;
}

static weft_err_t s_verdict_error(enum weft_session_verdict verdict)
{
    switch (verdict) {
    case WEFT_SESSION_NEXT:
    case WEFT_SESSION_DUPLICATE: return WEFT_OK;
    case WEFT_SESSION_GAP: return WEFT_ERR_OUT_OF_ORDER_SEQUENCE;
    case WEFT_SESSION_OLD: return WEFT_ERR_DUPLICATE_SEQUENCE;
    case WEFT_SESSION_FENCED: return WEFT_ERR_PRODUCER_FENCED;
    case WEFT_SESSION_UNKNOWN: return WEFT_ERR_UNKNOWN_PRODUCER;
    }
    return WEFT_ERR_INTERNAL;
}

enum weft_replica_verdict weft_replica_produce(weft_replica_t *self, const struct weft_replica_produce *produce,
                                               int64_t *base_offset, int32_t *leader_epoch)
{
    weft_assert(!self->appending);
    if (self->disk_failed) return s_refuse(self, produce, WEFT_ERR_DISK_FAILED);
    if (self->role != WEFT_ROLE_LEADER) return s_refuse(self, produce, WEFT_ERR_NOT_LEADER);

    int64_t original_base = -1, original_end = -1;
    enum weft_session_verdict verdict =
        weft_sessions_judge(self->sessions, produce->batch, &original_base, &original_end);
    if (verdict == WEFT_SESSION_NEXT && produce->conditional && produce->batch->base_sequence == 0 &&
        !weft_sessions_ended_at(self->sessions, produce->batch, produce->after_sequence))
        verdict = WEFT_SESSION_GAP;
    weft_err_t code = s_verdict_error(verdict);
    if (verdict == WEFT_SESSION_DUPLICATE || verdict == WEFT_SESSION_OLD)
        return s_duplicate(self, produce, code, original_base, original_end);
    if (verdict != WEFT_SESSION_NEXT) return s_refuse(self, produce, code);

    if (produce->acks == WEFT_ACKS_ALL) {
        bool enough = self->insync_count >= self->assignment.min_insync;
        if (!enough) return s_refuse(self, produce, WEFT_ERR_NOT_ENOUGH_REPLICAS);
        if (s_crowded(self)) return s_refuse(self, produce, WEFT_ERR_OVERLOADED);
    }
    self->appending = true;
    *base_offset = self->log_end;
    *leader_epoch = self->assignment.leader_epoch;
    return WEFT_REPLICA_APPEND;
}

static void s_log_grew(weft_replica_t *self, const struct weft_batch *batch)
{
    weft_assert(batch->base_offset == self->log_end && batch->leader_epoch >= self->last_epoch); // I2, R3
    self->log_end = weft_batch_next_offset(batch);
    self->last_epoch = batch->leader_epoch;
    weft_sessions_apply(self->sessions, batch);
}

void weft_replica_appended(weft_replica_t *self, const struct weft_replica_produce *produce,
                           const struct weft_batch *batch)
{
    weft_assert(self->appending);
    self->appending = false;
    s_log_grew(self, batch);
    struct weft_waiter waiter = {produce->token, batch->base_offset, self->log_end, false, WEFT_OK};
    if (produce->acks == WEFT_ACKS_ALL) s_wait(self, produce, &waiter);
    if (produce->acks == WEFT_ACKS_LEADER) weft_replica_emit_reply(self, &waiter, WEFT_OK, WEFT_LEVEL_LEADER);
    weft_replica_advance(self);
}

void weft_replica_append_failed(weft_replica_t *self, const struct weft_replica_produce *produce, weft_err_t code)
{
    weft_assert(self->appending);
    self->appending = false;
    (void) s_refuse(self, produce, code);
}

bool weft_replica_cancel(weft_replica_t *self, uint64_t token)
{
    return weft_waiters_remove(&self->committed_waiters, token) || weft_waiters_remove(&self->durable_waiters, token);
}

void weft_replica_synced(weft_replica_t *self, int64_t synced_end)
{
    weft_assert(synced_end <= self->log_end);
    if (self->disk_failed || synced_end <= self->synced_end) return;
    self->synced_end = synced_end;
    weft_replica_advance(self);
}

void weft_replica_disk_failed(weft_replica_t *self)
{
    self->disk_failed = true;
    weft_replica_fail_waiters(self, WEFT_ERR_DISK_FAILED);
}

void weft_replica_trimmed(weft_replica_t *self, int64_t log_start)
{
    weft_assert(log_start <= self->committed && (self->role != WEFT_ROLE_LEADER || log_start <= self->durable));
    if (log_start <= self->log_start) return;
    self->log_start = log_start;
    // What was deleted on purpose is durably so: nobody waits for its sync any more.
    if (self->synced_end < log_start) self->synced_end = log_start;
    weft_replica_advance(self);
}

// ---- follower

void weft_replica_followed(weft_replica_t *self, const struct weft_batch *batch)
{
    weft_assert(weft_replica_aligned(self));
    s_log_grew(self, batch);
    weft_replica_advance(self);
}

void weft_replica_leader_marks(weft_replica_t *self, int64_t committed, int64_t durable)
{
    if (self->role != WEFT_ROLE_FOLLOWER) return;
    if (committed > self->told_committed) self->told_committed = committed;
    if (durable > self->told_durable) self->told_durable = durable;
    weft_replica_advance(self);
}

void weft_replica_diverged(weft_replica_t *self, int32_t leader_epoch, int64_t leader_end, int32_t own_epoch,
                           int64_t own_end)
{
    if (self->role != WEFT_ROLE_FOLLOWER || self->aligned) return;
    // The same epoch in both: common up to the shorter. Otherwise the leader has an epoch that we lack: only what lies
    // below the end of our older one may be common, and the question is put again for that one (KIP-279).
    bool same = own_epoch == leader_epoch;
    // It keeps nothing of our epochs, and begins at leader_end: what is below was deleted, what is above differs.
    if (same && leader_epoch < 0) own_end = self->log_end;
    int64_t common = same && leader_end < own_end ? leader_end : own_end;
    if (common < self->log_start) common = self->log_start;
    if (common >= self->log_end) {
        self->aligned = same || own_epoch < 0;
    } else {
        self->aligned_by_cut = same || common == self->log_start;
        weft_replica_emit(self, &(struct weft_replica_effect_entry){.type = WEFT_REPLICA_TRUNCATE, .offset = common});
    }
}

void weft_replica_truncated(weft_replica_t *self, int64_t log_end, int32_t last_epoch)
{
    weft_assert(self->role != WEFT_ROLE_LEADER && !self->appending);
    weft_assert(log_end >= 0 && log_end <= self->log_end && last_epoch <= self->last_epoch);
    if (log_end < self->log_start) self->log_start = log_end; // in the midst of a batch, which went whole
    self->log_end = log_end;
    self->last_epoch = last_epoch;
    if (self->synced_end > log_end) self->synced_end = log_end;
    if (self->committed > log_end) self->committed = log_end; // only after an unclean election
    if (self->durable > log_end) self->durable = log_end;
    if (self->aligned_by_cut) self->aligned = true;
    self->aligned_by_cut = false;
    weft_replica_advance(self);
}

void weft_replica_unalign(weft_replica_t *self)
{
    if (self->role != WEFT_ROLE_FOLLOWER) return;
    self->aligned = self->log_end == self->log_start && self->last_epoch < 0;
    self->aligned_by_cut = false;
}

void weft_replica_reset(weft_replica_t *self, int64_t offset)
{
    weft_assert(self->role == WEFT_ROLE_FOLLOWER && !self->appending);
    weft_assert(offset >= self->committed || self->log_end == self->log_start || !self->aligned);
    self->log_start = self->log_end = self->synced_end = offset;
    self->committed = self->durable = offset; // the leader's log begins there, so all below is committed
    self->last_epoch = -1;
    self->aligned = true;
    self->aligned_by_cut = false;
    weft_sessions_clear(self->sessions);
    weft_replica_advance(self);
}
