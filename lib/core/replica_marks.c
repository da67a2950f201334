// SPDX-License-Identifier: MPL-2.0
/*
 * Marks and the in-sync set, seen from the leader.
 *
 * A mark is the minimum over the members that count: those confirmed in sync, and those asked in (rule 1: from the
 * asking on; one asked out counts until the coordinator has confirmed). It only rises (R2), and not at all while fewer
 * than min_insync are confirmed (KIP-966). What a member reports in this epoch is all that is believed of it.
 *
 * In sync means synced within replica_lag_ms (rule 3; the log end is never behind the synced end): the leader keeps per
 * member one target, its own log end at some moment; when the member's synced end reaches the target it had, then, all
 * of that moment. This tells a member that is busy from one that falls behind without a history of log ends.
 */
#include "replica_self.h"

#include "../base/mutate.h"

// ---- marks

static bool s_lags(const weft_replica_t *self, const struct weft_replica_view *view, int64_t now_ms)
{
    return view->caught_up_ms + self->config.replica_lag_ms < now_ms;
}

static bool s_counts(const weft_replica_t *self, size_t index)
{
    const struct weft_replica_view *view = &self->views[index];
    if (weft_mutated("no_fencing_of_old_leader") && self->asked && s_lags(self, view, self->asked_ms)) return false;
    if (weft_mutated("joining_does_not_count")) return self->assignment.members[index].in_sync;
    return self->assignment.members[index].in_sync || view->asked_in || view->held;
}

static void s_leader_marks(const weft_replica_t *self, int64_t *committed, int64_t *durable)
{
    if (self->insync_count < self->assignment.min_insync && !weft_mutated("marks_below_min_insync")) return;
    int64_t written = self->log_end, synced = self->synced_end;
    for (size_t i = 0; i < self->assignment.member_count; i++) {
        if ((int) i == self->self_index || !s_counts(self, i)) continue;
        if (self->views[i].log_end < written) written = self->views[i].log_end;
        if (self->views[i].synced_end < synced) synced = self->views[i].synced_end;
    }
    if (weft_mutated("ack_before_sync")) synced = self->log_end;
    if (written > *committed) *committed = written;
    if (synced > *committed) synced = *committed;
    if (synced > *durable) *durable = synced;
}

static void s_follower_marks(const weft_replica_t *self, int64_t *committed, int64_t *durable)
{
    if (!self->aligned) return; // our log end means nothing in this epoch yet
    int64_t written = self->told_committed < self->log_end ? self->told_committed : self->log_end;
    if (written > *committed) *committed = written;
    int64_t synced = self->told_durable < self->synced_end ? self->told_durable : self->synced_end;
    if (synced > *committed) synced = *committed;
    if (synced > *durable) *durable = synced;
}

enum weft_level weft_replica_level(const weft_replica_t *self, int64_t end_offset)
{
    if (end_offset <= self->durable) return WEFT_LEVEL_DURABLE;
    return end_offset <= self->committed ? WEFT_LEVEL_COMMITTED : WEFT_LEVEL_LEADER;
}

static void s_answer(weft_replica_t *self, struct weft_waiters *waiters, int64_t mark)
{
    struct weft_waiter waiter;
    while (weft_waiters_take(waiters, mark, &waiter)) {
        weft_assert(waiter.end_offset <= self->committed); // R4
        enum weft_level level = weft_replica_level(self, waiter.end_offset);
        weft_replica_emit_reply(self, &waiter, waiter.code, waiter.code == WEFT_OK ? level : WEFT_LEVEL_NONE);
    }
}

void weft_replica_advance(weft_replica_t *self)
{
    int64_t committed = self->committed, durable = self->durable;
    if (committed < self->log_start) committed = self->log_start;
    if (durable < self->log_start) durable = self->log_start;
    if (self->role == WEFT_ROLE_LEADER && !self->disk_failed) s_leader_marks(self, &committed, &durable);
    if (self->role == WEFT_ROLE_FOLLOWER) s_follower_marks(self, &committed, &durable);

    bool committed_moved = committed > self->committed, durable_moved = durable > self->durable;
    self->committed = committed;
    self->durable = durable;
    if (committed_moved) {
        weft_replica_emit(self,
                          &(struct weft_replica_effect_entry){.type = WEFT_REPLICA_COMMITTED, .offset = committed});
        s_answer(self, &self->committed_waiters, committed);
    }
    if (durable_moved) {
        weft_replica_emit(self, &(struct weft_replica_effect_entry){.type = WEFT_REPLICA_DURABLE, .offset = durable});
        s_answer(self, &self->durable_waiters, durable);
    }
}

// ---- the in-sync set

void weft_replica_views_reset(weft_replica_t *self, int64_t now_ms)
{
    for (size_t i = 0; i < WEFT_REPLICA_MEMBERS_MAX; i++) {
        self->views[i] = (struct weft_replica_view){.log_end = -1,
                                                    .synced_end = -1,
                                                    .caught_up_ms = now_ms,
                                                    .target_end = self->log_end,
                                                    .target_ms = now_ms,
                                                    .held_ms = now_ms - WEFT_REPLICA_HOLD_AGAIN_MS};
    }
}

void weft_replica_ask(weft_replica_t *self, int64_t now_ms)
{
    self->asked = true;
    self->asked_ms = now_ms;
    weft_replica_emit(self, &(struct weft_replica_effect_entry){.type = WEFT_REPLICA_ASK_ISR});
}

static void s_catch_up(const weft_replica_t *self, struct weft_replica_view *view, int64_t now_ms)
{
    if (view->synced_end >= self->log_end)
        view->caught_up_ms = now_ms;
    else if (view->synced_end < view->target_end)
        return;
    else if (view->target_ms > view->caught_up_ms)
        view->caught_up_ms = view->target_ms;
    view->reached = true;
    view->target_end = self->log_end;
    view->target_ms = now_ms;
}

// Has it all that acknowledgements and the new leadership rest on? (rule 3) What an earlier leader called durable is not
// known here, but all of it was inherited.
static bool s_may_join(const weft_replica_t *self, const struct weft_replica_view *view)
{
    if (weft_mutated("join_by_log_end")) return view->log_end >= self->committed;
    return view->synced_end >= self->durable && view->log_end >= self->committed &&
           view->synced_end >= self->inherited_end && view->log_start >= self->log_start;
}

/*
 * One that is near is counted before it may join: while writes go on, a follower is always a round trip behind the log
 * end, and with nobody else in sync that is the committed mark. Held at its log end the mark waits for it, and it is
 * asked in. Counting one more is always right; it is not done for longer than a near one needs.
 */
static void s_hold(const weft_replica_t *self, struct weft_replica_view *view, int64_t now_ms)
{
    if (view->held && now_ms - view->held_ms >= WEFT_REPLICA_HOLD_MS) view->held = false;
    bool near =
        view->reached && view->caught_up_ms + WEFT_REPLICA_NEAR_MS >= now_ms && view->log_end >= self->inherited_end;
    if (view->held || !near || now_ms - view->held_ms < WEFT_REPLICA_HOLD_AGAIN_MS) return;
    view->held = true;
    view->held_ms = now_ms;
}

static int s_reporter(const weft_replica_t *self, int32_t broker, weft_id_t incarnation, weft_err_t *err)
{
    *err = WEFT_ERR_UNKNOWN_BROKER;
    for (size_t i = 0; i < self->assignment.member_count; i++) {
        const struct weft_replica_member *member = &self->assignment.members[i];
        if (member->broker != broker || (int) i == self->self_index) continue;
        bool same = weft_id_equal(member->incarnation, incarnation) || weft_mutated("report_by_old_incarnation");
        *err = same ? WEFT_OK : WEFT_ERR_FENCED;
        return (int) i;
    }
    return -1;
}

static weft_err_t s_check_reporter(const weft_replica_t *self, int32_t broker, weft_id_t incarnation,
                                   int32_t leader_epoch, int *index)
{
    weft_err_t err;
    bool stale = leader_epoch < self->assignment.leader_epoch && !weft_mutated("report_of_old_epoch_counts");
    bool newer = leader_epoch > self->assignment.leader_epoch;
    if (self->role != WEFT_ROLE_LEADER) return WEFT_ERR_NOT_LEADER;
    if (stale) return WEFT_ERR_STALE_EPOCH;
    if (newer) return WEFT_ERR_UNKNOWN_EPOCH;
    *index = s_reporter(self, broker, incarnation, &err);
    return err;
}

weft_err_t weft_replica_knows(const weft_replica_t *self, int32_t broker, weft_id_t incarnation, int32_t leader_epoch)
{
    int index;
    return s_check_reporter(self, broker, incarnation, leader_epoch, &index);
}

weft_err_t weft_replica_report(weft_replica_t *self, int32_t broker, weft_id_t incarnation, int32_t leader_epoch,
                               int64_t log_end, int64_t synced_end, int64_t now_ms)
{
    int index;
    weft_err_t err = s_check_reporter(self, broker, incarnation, leader_epoch, &index);
    if (err != WEFT_OK) return err;
    if (synced_end < 0 || synced_end > log_end || log_end > self->log_end) return WEFT_ERR_INVALID_REQUEST;

    self->now_ms = now_ms;
    struct weft_replica_view *view = &self->views[index];
    if (log_end > view->log_end) view->log_end = log_end; // reports may overtake each other at a reconnect
    if (synced_end > view->synced_end) view->synced_end = synced_end;
    s_catch_up(self, view, now_ms);
    bool outside = !self->assignment.members[index].in_sync && !view->asked_in;
    if (outside && s_may_join(self, view)) {
        view->asked_in = true; // rule 1: counts from now on
        view->held = false;
        view->caught_up_ms = now_ms;
        weft_replica_ask(self, now_ms);
    } else if (outside) {
        s_hold(self, view, now_ms);
    }
    weft_replica_advance(self);
    return WEFT_OK;
}

// Lower is always safe: marks never fall, and it joins later.
void weft_replica_named(weft_replica_t *self, int32_t broker, int64_t log_end, int64_t synced_end, int64_t log_start)
{
    for (size_t i = 0; i < self->assignment.member_count; i++) {
        struct weft_replica_view *view = &self->views[i];
        if (self->assignment.members[i].broker != broker || log_end >= view->log_end || log_end < synced_end) continue;
        view->log_end = log_end;
        view->synced_end = synced_end < view->synced_end ? synced_end : view->synced_end;
        view->log_start = log_start < view->log_start ? log_start : view->log_start;
        view->target_end = self->log_end;
        view->target_ms = self->now_ms;
        view->reached = false;
    }
}

static bool s_somebody_lags(weft_replica_t *self, int64_t now_ms)
{
    bool lags = false;
    for (size_t i = 0; i < self->assignment.member_count; i++) {
        if ((int) i == self->self_index || !s_counts(self, i)) continue;
        struct weft_replica_view *view = &self->views[i];
        if (view->synced_end >= self->log_end) view->caught_up_ms = now_ms; // idle is not behind
        if (!view->held && s_lags(self, view, now_ms)) lags = true;
    }
    return lags;
}

void weft_replica_starts(weft_replica_t *self, int32_t broker, int64_t log_start)
{
    for (size_t i = 0; i < self->assignment.member_count; i++)
        if (self->assignment.members[i].broker == broker && log_start > self->views[i].log_start)
            self->views[i].log_start = log_start;
}

int64_t weft_replica_deleted(const weft_replica_t *self)
{
    int64_t lowest = self->log_start;
    if (self->insync_count < self->assignment.min_insync) return 0;
    for (size_t i = 0; i < self->assignment.member_count; i++) {
        if ((int) i == self->self_index || !s_counts(self, i)) continue;
        if (self->views[i].log_start < lowest) lowest = self->views[i].log_start;
    }
    return lowest;
}

static void s_let_go(weft_replica_t *self, int64_t now_ms)
{
    bool any = false;
    for (size_t i = 0; i < self->assignment.member_count; i++) {
        struct weft_replica_view *view = &self->views[i];
        if (!view->held || now_ms - view->held_ms < WEFT_REPLICA_HOLD_MS) continue;
        view->held = false;
        any = true;
    }
    if (any) weft_replica_advance(self);
}

void weft_replica_tick(weft_replica_t *self, int64_t now_ms)
{
    self->now_ms = now_ms;
    weft_sessions_expire(self->sessions, now_ms);
    if (self->role != WEFT_ROLE_LEADER) return;
    s_let_go(self, now_ms);
    bool lags = s_somebody_lags(self, now_ms);
    bool due = !self->asked || now_ms - self->asked_ms >= WEFT_REPLICA_ASK_AGAIN_MS;
    if (due && (lags || self->asked)) weft_replica_ask(self, now_ms);
}

// ---- state

bool weft_replica_counts(const weft_replica_t *self, int32_t broker)
{
    for (size_t i = 0; i < self->assignment.member_count; i++)
        if (self->assignment.members[i].broker == broker) return s_counts(self, i);
    return false;
}

size_t weft_replica_peers(const weft_replica_t *self, struct weft_replica_peer out[WEFT_REPLICA_MEMBERS_MAX])
{
    for (size_t i = 0; i < self->assignment.member_count; i++) {
        const struct weft_replica_view *view = &self->views[i];
        bool own = (int) i == self->self_index;
        bool idle = own || view->synced_end >= self->log_end;
        out[i] = (struct weft_replica_peer){
            .broker = self->assignment.members[i].broker,
            .in_sync = self->assignment.members[i].in_sync,
            .log_end = own ? self->log_end : view->log_end,
            .synced_end = own ? self->synced_end : view->synced_end,
            .behind_ms = idle || view->caught_up_ms >= self->now_ms ? 0 : self->now_ms - view->caught_up_ms,
        };
    }
    return self->assignment.member_count;
}
