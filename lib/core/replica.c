// SPDX-License-Identifier: MPL-2.0
/*
 * Life, roles and effects of a replica. A role is derived from two things that come in either order: the opened log and
 * the assignment. It changes in one place, s_take_role, which also ends what the old role owed: its waiters.
 *
 * Leader epochs and partition epochs only grow (R3). An assignment of the leader epoch in force may change the in-sync
 * set and min_insync only; what followers reported stays, and with a new partition epoch whatever was asked is settled.
 */
#include "replica_self.h"

#include "../base/mutate.h"

#include <stdlib.h>

#define EFFECTS_MIN 16

weft_replica_t *weft_replica_new(const struct weft_replica_config *config)
{
    weft_replica_t *self = weft_calloc(1, sizeof *self);
    self->config = *config;
    if (self->config.replica_lag_ms <= 0) self->config.replica_lag_ms = WEFT_REPLICA_LAG_MS;
    self->sessions = weft_sessions_new(config->sessions_max, config->session_expiry_ms);
    self->assignment.leader_epoch = -1;
    self->assignment.partition_epoch = -1;
    self->assignment.leader = -1;
    self->last_epoch = -1;
    self->opened_epoch = -1;
    self->self_index = -1;
    weft_waiters_init(&self->committed_waiters);
    weft_waiters_init(&self->durable_waiters);
    return self;
}

void weft_replica_destroy(weft_replica_t **self_p)
{
    weft_replica_t *self = *self_p;
    if (self == NULL) return;
    weft_sessions_destroy(&self->sessions);
    weft_waiters_fini(&self->committed_waiters);
    weft_waiters_fini(&self->durable_waiters);
    free(self->effects);
    free(self);
    *self_p = NULL;
}

// ---- effects

static void s_effects_grow(weft_replica_t *self)
{
    size_t capacity = self->effect_capacity == 0 ? EFFECTS_MIN : self->effect_capacity * 2;
    struct weft_replica_effect_entry *effects = weft_alloc(capacity * sizeof *effects);
    for (size_t i = 0; i < self->effect_count; i++) {
        effects[i] = self->effects[(self->effect_first + i) & (self->effect_capacity - 1)];
    }
    free(self->effects);
    self->effects = effects;
    self->effect_first = 0;
    self->effect_capacity = capacity;
}

void weft_replica_emit(weft_replica_t *self, const struct weft_replica_effect_entry *entry)
{
    if (self->effect_count == self->effect_capacity) s_effects_grow(self);
    self->effects[(self->effect_first + self->effect_count) & (self->effect_capacity - 1)] = *entry;
    self->effect_count++;
}

void weft_replica_emit_reply(weft_replica_t *self, const struct weft_waiter *waiter, weft_err_t code,
                             enum weft_level level)
{
    weft_replica_emit(self, &(struct weft_replica_effect_entry){.type = WEFT_REPLICA_REPLY,
                                                                .token = waiter->token,
                                                                .code = code,
                                                                .offset = waiter->base_offset,
                                                                .level = level,
                                                                .duplicate = waiter->duplicate});
}

// The in-sync set that the views stand for: confirmed or asked for. Members that lag were taken out by whoever asked.
static void s_proposal(const weft_replica_t *self, struct weft_replica_assignment *out)
{
    *out = self->assignment;
    for (size_t i = 0; i < out->member_count; i++) {
        const struct weft_replica_view *view = &self->views[i];
        bool lags = (int) i != self->self_index && view->caught_up_ms + self->config.replica_lag_ms < self->asked_ms;
        out->members[i].in_sync = (out->members[i].in_sync || view->asked_in) && !lags;
    }
}

bool weft_replica_effect(weft_replica_t *self, struct weft_replica_effect *out)
{
    if (self->effect_count == 0) return false;
    const struct weft_replica_effect_entry *entry = &self->effects[self->effect_first];
    out->type = entry->type;
    out->token = entry->token;
    out->code = entry->code;
    out->offset = entry->offset;
    out->level = entry->level;
    out->duplicate = entry->duplicate;
    if (entry->type == WEFT_REPLICA_ASK_ISR) s_proposal(self, &out->proposal);
    self->effect_first = (self->effect_first + 1) & (self->effect_capacity - 1);
    self->effect_count--;
    return true;
}

void weft_replica_fail_waiters(weft_replica_t *self, weft_err_t code)
{
    struct weft_waiter waiter;
    while (weft_waiters_take(&self->committed_waiters, INT64_MAX, &waiter)) {
        weft_replica_emit_reply(self, &waiter, code, WEFT_LEVEL_NONE);
    }
    while (weft_waiters_take(&self->durable_waiters, INT64_MAX, &waiter)) {
        weft_replica_emit_reply(self, &waiter, code, WEFT_LEVEL_NONE);
    }
}

// ---- roles

static int s_member_of(const struct weft_replica_assignment *assignment, int32_t broker)
{
    for (size_t i = 0; i < assignment->member_count; i++) {
        if (assignment->members[i].broker == broker) return (int) i;
    }
    return -1;
}

// Are we in it, as the start that we are?
static int s_self_in(const weft_replica_t *self, const struct weft_replica_assignment *assignment)
{
    int index = s_member_of(assignment, self->config.self);
    if (index < 0 || weft_id_is_zero(self->config.incarnation)) return index;
    return weft_id_equal(assignment->members[index].incarnation, self->config.incarnation) ? index : -1;
}

static bool s_leads(const weft_replica_t *self, const struct weft_replica_assignment *assignment)
{
    return assignment->leader == self->config.self && s_self_in(self, assignment) >= 0;
}

static void s_lead(weft_replica_t *self, int64_t now_ms)
{
    self->role = WEFT_ROLE_LEADER;
    self->inherited_end = self->log_end;
    weft_replica_views_reset(self, now_ms);
}

static void s_follow(weft_replica_t *self)
{
    self->role = WEFT_ROLE_FOLLOWER;
    self->aligned = self->log_end == self->log_start && self->last_epoch < 0;
    self->aligned_by_cut = false;
    self->told_committed = self->told_durable = 0; // nothing yet, by this leader
    if (weft_mutated("truncate_by_watermark") && !self->aligned) {
        self->aligned = self->committed == self->log_end;
        self->aligned_by_cut = !self->aligned;
        if (!self->aligned)
            weft_replica_emit(
                self, &(struct weft_replica_effect_entry){.type = WEFT_REPLICA_TRUNCATE, .offset = self->committed});
    }
}

// After the log was opened or the leader epoch moved.
static void s_take_role(weft_replica_t *self, int64_t now_ms)
{
    weft_replica_fail_waiters(self, WEFT_ERR_LEADER_CHANGED); // R6
    self->role = WEFT_ROLE_NONE;
    if (!self->opened || self->self_index < 0 || self->assignment.leader < 0) return;
    if (s_leads(self, &self->assignment))
        s_lead(self, now_ms);
    else
        s_follow(self);
}

static void s_count_insync(weft_replica_t *self)
{
    self->insync_count = 0;
    for (size_t i = 0; i < self->assignment.member_count; i++) {
        if (self->assignment.members[i].in_sync) self->insync_count++;
    }
}

// Same leader epoch: keeps what is known of members that stay the same start of the same broker.
static void s_carry_views(weft_replica_t *self, const struct weft_replica_assignment *to, int64_t now_ms)
{
    struct weft_replica_view old[WEFT_REPLICA_MEMBERS_MAX];
    for (size_t i = 0; i < WEFT_REPLICA_MEMBERS_MAX; i++) old[i] = self->views[i];
    struct weft_replica_assignment from = self->assignment;
    bool settled = to->partition_epoch > from.partition_epoch, again = false;
    self->assignment = *to;
    weft_replica_views_reset(self, now_ms);
    for (size_t i = 0; i < to->member_count; i++) {
        int was = s_member_of(&from, to->members[i].broker);
        if (was < 0 || !weft_id_equal(from.members[was].incarnation, to->members[i].incarnation)) continue;
        self->views[i] = old[was];
        // Granted; or refused whole for its old partition epoch (rule 1): then its next report asks again, but a follower
        // that has everything has nothing to report.
        bool idle = !to->members[i].in_sync && self->views[i].synced_end >= self->log_end;
        if (settled && !idle) self->views[i].asked_in = false;
        again |= self->views[i].asked_in;
    }
    if (settled) self->asked = false;
    if (settled && again && self->role == WEFT_ROLE_LEADER) weft_replica_ask(self, now_ms);
}

static weft_err_t s_assign_check(const weft_replica_t *self, const struct weft_replica_assignment *to)
{
    const struct weft_replica_assignment *now = &self->assignment;
    if (to->member_count > WEFT_REPLICA_MEMBERS_MAX || to->leader_epoch < 0) return WEFT_ERR_INVALID_ARGUMENT;
    if (to->leader_epoch < now->leader_epoch || to->partition_epoch < now->partition_epoch) return WEFT_ERR_STALE_EPOCH;
    if (to->leader_epoch == now->leader_epoch && to->leader != now->leader) return WEFT_ERR_STALE_EPOCH;
    bool begins = s_leads(self, to) && (self->role != WEFT_ROLE_LEADER || to->leader_epoch > now->leader_epoch);
    if (begins && self->opened && to->leader_epoch <= self->opened_epoch) return WEFT_ERR_STALE_EPOCH; // rule 2
    return WEFT_OK;
}

weft_err_t weft_replica_assign(weft_replica_t *self, const struct weft_replica_assignment *assignment, int64_t now_ms)
{
    weft_err_t err = s_assign_check(self, assignment);
    if (err != WEFT_OK) return err;
    weft_assert(!self->appending);
    self->now_ms = now_ms;
    int self_index = s_self_in(self, assignment);
    bool same = assignment->leader_epoch == self->assignment.leader_epoch && (self_index < 0) == (self->self_index < 0);
    self->self_index = self_index;
    if (same) {
        s_carry_views(self, assignment, now_ms);
    } else {
        self->assignment = *assignment;
        s_take_role(self, now_ms);
    }
    if (self->assignment.min_insync == 0) self->assignment.min_insync = 1;
    s_count_insync(self);
    weft_replica_advance(self);
    return WEFT_OK;
}

void weft_replica_opened(weft_replica_t *self, int64_t log_start, int64_t log_end, int64_t synced_end,
                         int32_t last_epoch)
{
    weft_assert(!self->opened && 0 <= log_start && log_start <= log_end && synced_end <= log_end);
    self->opened = true;
    self->log_start = log_start;
    self->log_end = log_end;
    self->synced_end = synced_end < log_start ? log_start : synced_end; // what was trimmed is durably so
    self->last_epoch = self->opened_epoch = last_epoch;
    self->committed = self->durable = log_start; // all that is sure without having heard anybody
    if (s_leads(self, &self->assignment) && self->assignment.leader_epoch <= last_epoch) return; // rule 2
    s_take_role(self, self->now_ms);
    weft_replica_advance(self);
}

void weft_replica_set_incarnation(weft_replica_t *self, weft_id_t incarnation)
{
    self->config.incarnation = incarnation;
}

// ---- state

enum weft_role weft_replica_role(const weft_replica_t *self)
{
    return self->role;
}

int32_t weft_replica_leader(const weft_replica_t *self)
{
    return self->assignment.leader;
}

int32_t weft_replica_leader_epoch(const weft_replica_t *self)
{
    return self->assignment.leader_epoch;
}

int64_t weft_replica_committed(const weft_replica_t *self)
{
    return self->committed;
}

int64_t weft_replica_durable(const weft_replica_t *self)
{
    return self->durable;
}

int64_t weft_replica_log_end(const weft_replica_t *self)
{
    return self->log_end;
}

int64_t weft_replica_synced_end(const weft_replica_t *self)
{
    return self->synced_end;
}

int64_t weft_replica_log_start(const weft_replica_t *self)
{
    return self->log_start;
}

bool weft_replica_aligned(const weft_replica_t *self)
{
    return self->role == WEFT_ROLE_FOLLOWER && self->aligned;
}

int32_t weft_replica_last_epoch(const weft_replica_t *self)
{
    return self->last_epoch;
}

bool weft_replica_in_sync(const weft_replica_t *self)
{
    return self->self_index >= 0 && self->assignment.members[self->self_index].in_sync;
}

bool weft_replica_durable_wanted(const weft_replica_t *self)
{
    return weft_waiters_count(&self->durable_waiters) != 0;
}

bool weft_replica_settled(const weft_replica_t *self)
{
    if (weft_mutated("unsettled_leader_answers")) return self->role == WEFT_ROLE_LEADER;
    return self->role == WEFT_ROLE_LEADER && self->committed >= self->inherited_end;
}

bool weft_replica_wants_sync(const weft_replica_t *self)
{
    return self->opened && !self->disk_failed && self->log_end > self->synced_end;
}

size_t weft_replica_waiter_count(const weft_replica_t *self)
{
    return weft_waiters_count(&self->committed_waiters) + weft_waiters_count(&self->durable_waiters);
}

weft_sessions_t *weft_replica_sessions(weft_replica_t *self)
{
    return self->sessions;
}

void weft_replica_check(const weft_replica_t *self)
{
    weft_sessions_check(self->sessions);
    weft_assert(self->role == WEFT_ROLE_NONE || self->opened);
    weft_assert(self->log_start <= self->durable && self->durable <= self->committed); // R1
    weft_assert(self->committed <= self->log_end);
    weft_assert(self->synced_end <= self->log_end && self->log_start <= self->synced_end);
    weft_assert(self->role != WEFT_ROLE_FOLLOWER || self->durable <= self->synced_end);
    weft_assert(self->role == WEFT_ROLE_LEADER || weft_replica_waiter_count(self) == 0); // R6
    weft_waiters_check(&self->committed_waiters, self->committed);                       // R5
    weft_waiters_check(&self->durable_waiters, self->durable);
    weft_assert(self->role != WEFT_ROLE_LEADER || self->assignment.leader == self->config.self);
    weft_assert(self->last_epoch <= self->assignment.leader_epoch || self->role != WEFT_ROLE_LEADER); // R3
}
