// SPDX-License-Identifier: MPL-2.0
// What a replica tells the coordinator, and how a damaged one heals.
//
// A damaged replica is told of until nobody counts on it: it is in no in-sync set and not eligible, and somebody else
// leads. Only then is its directory set aside and the replica built anew: empty it would be a danger before, for who is
// in sync may be elected. Nor is it built anew in a leader epoch in which it already told that leader how far its log
// goes: it would count for what it has no more.
#include "partition.h"

#include "follow.h"
#include "lead.h"

#include "../../lib/base/assert.h"

#include <stdlib.h>

#define S_REPORT_US (1000 * 1000)

static void s_post(weft_shard_t *shard, uint32_t kind, void *body)
{
    const struct weft_mail mail = {.kind = kind, .body = body, .body_free = free};
    shard->port.ops->post(shard->port.world, shard->broker->control_id, &mail);
}

void weft_partition_ask(weft_partition_t *self, const struct weft_replica_assignment *wanted)
{
    weft_shard_t *shard = self->shard;
    struct weft_broker_ask *ask = weft_calloc(1, sizeof *ask);
    ask->topic = self->topic;
    ask->partition = self->number;
    ask->leader_epoch = wanted->leader_epoch;
    ask->partition_epoch = wanted->partition_epoch;
    for (size_t i = 0; i < wanted->member_count; i++) {
        if (!wanted->members[i].in_sync) continue;
        ask->members[ask->member_count].broker = wanted->members[i].broker;
        ask->members[ask->member_count++].incarnation = wanted->members[i].incarnation;
    }
    weft_counter_add(shard->counters, WEFT_COUNT_IN_SYNC_ASKS, 1);
    weft_trace(WEFT_TRACE_DEBUG, shard->name, "%s: asks for an in-sync set of %zu at partition epoch %d", self->name,
               ask->member_count, (int) ask->partition_epoch);
    s_post(shard, WEFT_MAIL_BROKER_ASK, ask);
}

// ---- healing

static bool s_in_sync(const weft_partition_t *self)
{
    const struct weft_replica_assignment *assignment = &self->assignment;
    for (size_t i = 0; i < assignment->member_count; i++)
        if (assignment->members[i].broker == self->shard->broker->id) return assignment->members[i].in_sync;
    return false;
}

// May it be elected though it is not in sync (KIP-966)?
static bool s_eligible(const weft_partition_t *self)
{
    const weft_shard_t *shard = self->shard;
    const struct weft_cluster_topic *topic = weft_cluster_topic(shard->cluster, self->topic);
    if (topic == NULL || self->number >= topic->partition_count) return true; // not known: better not
    const struct weft_cluster_partition *partition = &topic->partitions[self->number];
    for (uint8_t i = 0; i < partition->replica_count; i++)
        if (partition->replicas[i] == shard->broker->id) return (partition->eligible & (1u << i)) != 0;
    return true;
}

static bool s_may_rebuild(const weft_partition_t *self)
{
    const weft_shard_t *shard = self->shard;
    const struct weft_replica_assignment *assignment = &self->assignment;
    bool damaged = self->state == WEFT_PARTITION_REFUSED ? self->refusal == WEFT_ERR_DAMAGED
                                                         : self->state == WEFT_PARTITION_OPEN && self->damaged;
    bool others_lead = assignment->leader >= 0 && assignment->leader != shard->broker->id;
    return damaged && others_lead && !shard->stopping && self->syncs_in_flight == 0 && self->compaction == NULL &&
           self->reported_epoch != assignment->leader_epoch && !s_in_sync(self) && !s_eligible(self) &&
           weft_shard_is_member(shard, assignment);
}

static void s_clear(weft_partition_t *self)
{
    weft_shard_t *shard = self->shard;
    bool refused = self->state == WEFT_PARTITION_REFUSED || self->disk_failed;
    if (refused) weft_shard_gauge(shard, WEFT_COUNT_PARTITIONS_REFUSED, -1);
    if (self->disk_full) weft_shard_gauge(shard, WEFT_COUNT_PARTITIONS_DISK_FULL, -1);
    weft_shard_gauge(shard, WEFT_COUNT_BATCHES_DAMAGED, -(int) self->damaged_count);
    weft_partition_list_remove(&shard->dirty, self);
    self->in_dirty = self->disk_full = self->disk_failed = self->damaged = false;
    self->damaged_count = 0;
    self->damaged_at = self->snapshot_at = -1;
    weft_partition_unuse(self);
    weft_replica_destroy(&self->replica);
    weft_log_destroy(&self->log);
    self->state = WEFT_PARTITION_WAITING;
}

static void s_rebuild(weft_partition_t *self)
{
    weft_shard_t *shard = self->shard;
    weft_lead_end(self, WEFT_ERR_NOT_LEADER);
    weft_follow_end(self);
    s_clear(self);
    struct weft_error error;
    weft_err_t code = weft_log_set_aside(shard->broker->disk, self->directory, &error);
    if (code == WEFT_OK) {
        weft_trace(WEFT_TRACE_WARN, shard->name,
                   "%s: its damaged files are set aside in %s.damaged; it is built anew from broker %d", self->name,
                   self->directory, (int) self->assignment.leader);
        weft_counter_add(shard->counters, WEFT_COUNT_SET_ASIDE, 1);
        weft_shard_forget_found(shard, self->topic, self->number);
    } else {
        weft_trace(WEFT_TRACE_ERROR, shard->name, "%s: %s", self->name, error.text);
    }
    weft_partition_open(self); // it may be as bad as it was: then it is refused again
}

// ---- reports

static void s_report(weft_partition_t *self, bool damaged)
{
    struct weft_broker_report *report = weft_calloc(1, sizeof *report);
    report->topic = self->topic;
    report->partition = self->number;
    report->leader_epoch = self->assignment.leader_epoch;
    report->last_epoch = -1;
    report->damaged = damaged;
    if (self->state == WEFT_PARTITION_OPEN) {
        report->last_epoch = weft_log_last_epoch(self->log);
        report->log_end = damaged ? weft_log_synced_end(self->log) : weft_log_end(self->log);
    }
    s_post(self->shard, WEFT_MAIL_BROKER_REPORT, report);
}

// Its log could not be opened for want of space: it may be there yet, once there is some.
static bool s_waits_for_space(const weft_partition_t *self)
{
    return self->state == WEFT_PARTITION_REFUSED && self->refusal == WEFT_ERR_DISK_FULL;
}

void weft_partition_report(weft_partition_t *self, int64_t now_us)
{
    const struct weft_replica_assignment *assignment = &self->assignment;
    bool sick = self->state == WEFT_PARTITION_REFUSED || self->disk_failed || self->damaged;
    bool leaderless = assignment->leader < 0;
    if (!self->assigned || self->state == WEFT_PARTITION_CLOSING || (!sick && !leaderless)) return;
    if (sick && s_may_rebuild(self)) {
        s_rebuild(self);
        return;
    }
    bool counted_on =
        leaderless || assignment->leader == self->shard->broker->id || s_in_sync(self) || s_eligible(self);
    if (self->shard->stopping || !counted_on || !weft_shard_is_member(self->shard, assignment)) return;
    if (sick && assignment->member_count == 1) return; // nobody could take over
    if (leaderless && s_waits_for_space(self)) return; // it may have what the others of the last set lack
    if (!sick && self->state != WEFT_PARTITION_OPEN) return;
    if (!sick && weft_replica_wants_sync(self->replica)) { // what it tells it has, it has for good
        weft_partition_dirty(self, true);
        return;
    }
    if (now_us < self->report_us) return;
    self->report_us = now_us + S_REPORT_US;
    s_report(self, sick);
}
