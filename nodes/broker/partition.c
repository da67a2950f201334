// SPDX-License-Identifier: MPL-2.0
// A partition's life: opened from its directory (the log recovers itself, then the sessions are rebuilt from the
// newest snapshot and the batches behind it), led or not as the cluster says, closed. The core decides, this file
// carries out: every call into the replica is followed by weft_partition_effects, so no effect is left over when the
// turn ends.
//
// A partition that can't be opened stays in its shard as REFUSED: its clients are told why, everything else goes on
// (I8, I9).
#include "partition.h"

#include "follow.h"
#include "lead.h"
#include "offsets.h"

#include "../../lib/base/assert.h"
#include "../../lib/base/mutate.h"
#include "../../lib/core/offsets.h"
#include <weft_gen/limits.h>

#include <stdlib.h>
#include <string.h>

weft_partition_t *weft_partition_new(weft_shard_t *shard, const struct weft_shard_topic *topic, uint32_t number)
{
    weft_partition_t *self = weft_calloc(1, sizeof *self);
    self->shard = shard;
    self->topic = topic->id;
    self->number = number;
    self->settings = topic->settings;
    self->keeps_offsets = strcmp(topic->name, WEFT_OFFSETS_TOPIC) == 0;
    self->damaged_at = self->reported_epoch = -1;
    self->tombstones_due_ms = INT64_MAX;
    self->directory = weft_broker_directory(shard->broker, topic->id, number);
    weft_buf_t name;
    weft_buf_init(&name);
    weft_buf_printf(&name, "%s/%u", topic->name, (unsigned) number);
    self->name = weft_slice_dup(weft_buf_slice(&name));
    weft_buf_fini(&name);
    weft_partition_list_push(&shard->all, self);
    weft_partition_list_push(&shard->unopened, self);
    self->in_unopened = true;
    weft_shard_gauge(shard, WEFT_COUNT_PARTITIONS_OPEN, 1);
    return self;
}

#define S_DURABLE_WATCH_US (2 * 1000 * 1000) // beyond its wait: a reader at work asks again within it
#define S_RETRY_US (10 * 1000 * 1000)        // a log that could not be opened is tried again, unless it is damaged

// ---- open

static void s_refuse(weft_partition_t *self, weft_err_t code, const char *sentence)
{
    weft_shard_t *shard = self->shard;
    struct weft_error error;
    weft_error_set(&error, code, "%s is not served: %s", self->name, sentence);
    self->state = WEFT_PARTITION_REFUSED;
    self->refusal = code == WEFT_ERR_DAMAGED || code == WEFT_ERR_DISK_FULL ? code : WEFT_ERR_DISK_FAILED;
    self->retry_us = weft_port_now_us(&shard->port) + S_RETRY_US;
    free(self->refusal_text);
    self->refusal_text = weft_strdup(error.text);
    weft_trace(WEFT_TRACE_ERROR, shard->name, "%s", error.text);
    weft_broker_notice_set(&shard->shared->notice, error.text);
    weft_shard_gauge(shard, WEFT_COUNT_PARTITIONS_REFUSED, 1);
    weft_replica_destroy(&self->replica);
    weft_log_destroy(&self->log);
}

static weft_err_t s_replay(void *context, const struct weft_batch *batch)
{
    weft_sessions_apply(context, batch);
    return WEFT_OK;
}

// Sessions are a function of the log's prefix (rule 15): the newest snapshot that is whole, then every batch behind it.
static weft_err_t s_load_sessions(weft_partition_t *self)
{
    weft_sessions_t *sessions = weft_replica_sessions(self->replica);
    weft_sessions_clear(sessions);
    self->snapshot_at = -1;
    int64_t from = weft_log_start(self->log);
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    int64_t at;
    if (weft_log_snapshot_get(self->log, weft_log_end(self->log), &at, &bytes) == WEFT_OK) {
        // One below the start is of no use: batches behind it are gone, and their retries would be taken for new.
        if (at >= from && weft_sessions_decode(sessions, weft_buf_slice(&bytes)) == WEFT_OK)
            from = self->snapshot_at = at;
    }
    weft_buf_fini(&bytes);
    if (weft_mutated("sessions_not_replayed")) return WEFT_OK;
    return weft_log_scan(self->log, from, s_replay, sessions);
}

static void s_take_up(weft_partition_t *self, const struct weft_log_recovery *recovery)
{
    weft_shard_t *shard = self->shard;
    self->state = WEFT_PARTITION_OPEN;
    weft_partition_used(self);
    weft_counter_add(shard->counters, WEFT_COUNT_TORN_BYTES, (uint64_t) recovery->cut_bytes);
    weft_trace(recovery->cut_bytes != 0 ? WEFT_TRACE_INFO : WEFT_TRACE_DEBUG, shard->name,
               "%s opened: offsets %lld to %lld, torn tail of %lld bytes cut", self->name,
               (long long) weft_log_start(self->log), (long long) recovery->log_end, (long long) recovery->cut_bytes);
    weft_replica_opened(self->replica, weft_log_start(self->log), weft_log_end(self->log),
                        weft_log_synced_end(self->log), weft_log_last_epoch(self->log));
    weft_partition_effects(self);
    if (weft_log_dirty(self->log)) weft_partition_dirty(self, false);
    if (self->assigned) {
        struct weft_replica_assignment assignment = self->assignment;
        weft_partition_assign(self, &assignment);
    }
}

// One of the same partition that waits for its last sync: until then it holds the directory.
static weft_partition_t *s_closing(const weft_shard_t *shard, weft_id_t topic, uint32_t number)
{
    for (size_t i = 0; i < shard->all.count && shard->closing_count != 0; i++) {
        weft_partition_t *one = shard->all.items[i];
        if (one->state == WEFT_PARTITION_CLOSING && one->number == number && weft_id_equal(one->topic, topic))
            return one;
    }
    return NULL;
}

void weft_partition_open(weft_partition_t *self)
{
    if (self->state != WEFT_PARTITION_WAITING) return;
    weft_shard_t *shard = self->shard;
    if (self->in_unopened) weft_partition_list_remove(&shard->unopened, self);
    self->in_unopened = false;
    if (s_closing(shard, self->topic, self->number) != NULL) return; // its end opens this one
    const struct weft_broker *broker = shard->broker;
    const struct weft_replica_config config = {
        .self = broker->id,
        .sessions_max = (size_t) weft_options_int(broker->options, "sessions"),
        .session_expiry_ms = weft_options_int(broker->options, "session.expiry.ms"),
        .waiters_max = (size_t) weft_options_int(broker->options, "waiters"),
        .replica_lag_ms = shard->replica_lag_ms,
        .incarnation = shard->incarnation,
    };
    struct weft_log_recovery recovery = {0};
    weft_err_t code =
        weft_log_open(broker->disk, self->directory, &self->settings.log,
                      weft_broker_found_end(broker, self->topic, self->number), &self->log, &recovery, &shard->error);
    if (code != WEFT_OK) {
        s_refuse(self, code, shard->error.text);
        return;
    }
    self->replica = weft_replica_new(&config);
    code = s_load_sessions(self);
    if (code != WEFT_OK) {
        s_refuse(self, code, "its log can't be read for the producer sessions");
        return;
    }
    s_take_up(self, &recovery);
}

void weft_partition_retry(weft_partition_t *self, int64_t now_us)
{
    if (self->state != WEFT_PARTITION_REFUSED || self->refusal == WEFT_ERR_DAMAGED || now_us < self->retry_us) return;
    weft_shard_gauge(self->shard, WEFT_COUNT_PARTITIONS_REFUSED, -1);
    self->state = WEFT_PARTITION_WAITING;
    weft_partition_open(self);
}

// ---- the cluster's word

static void s_set_leads(weft_partition_t *self)
{
    bool leads = self->state == WEFT_PARTITION_OPEN && weft_replica_role(self->replica) == WEFT_ROLE_LEADER;
    if (leads == self->leads) return;
    self->leads = leads;
    weft_shard_gauge(self->shard, WEFT_COUNT_PARTITIONS_LED, leads ? 1 : -1);
    if (!leads) weft_shard_fetch_refuse_all(self, WEFT_ERR_NOT_LEADER);
    weft_ledger_follow(self);
}

void weft_partition_assign(weft_partition_t *self, const struct weft_replica_assignment *assignment)
{
    weft_shard_t *shard = self->shard;
    self->assignment = *assignment;
    self->assigned = true;
    self->report_us = 0; // what is to be told may have changed
    if (self->state != WEFT_PARTITION_OPEN) {
        weft_partition_report(self, weft_port_now_us(&shard->port));
        return;
    }
    weft_err_t code = weft_replica_assign(self->replica, assignment, weft_port_now_us(&shard->port) / 1000);
    if (code != WEFT_OK)
        weft_trace(WEFT_TRACE_WARN, shard->name, "%s: leader epoch %d, partition epoch %d is refused: %s", self->name,
                   (int) assignment->leader_epoch, (int) assignment->partition_epoch, weft_err_name(code));
    weft_partition_effects(self);
    s_set_leads(self);
    weft_lead_assigned(self);
    weft_shard_delete_wake(self); // fewer may have to do it now
    weft_follow_update(self);
    weft_partition_report(self, weft_port_now_us(&shard->port));
}

void weft_partition_configure(weft_partition_t *self, const struct weft_topic_settings *settings)
{
    self->settings = *settings;
    if (self->log != NULL) weft_log_configure(self->log, &settings->log);
}

// ---- close

void weft_shard_forget_found(weft_shard_t *shard, weft_id_t topic, uint32_t partition)
{
    weft_broker_found_keep(shard->broker, topic, partition, 0);
    weft_shard_sync_forget(shard, topic, partition);
}

static void s_remove_tree(weft_shard_t *shard, const char *directory)
{
    weft_err_t code = weft_disk_remove_tree(shard->broker->disk, directory);
    if (code == WEFT_ERR_NOT_FOUND) return;
    if (code == WEFT_OK)
        weft_trace(WEFT_TRACE_INFO, shard->name, "%s removed: nothing of this partition is stored here any more",
                   directory);
    else
        weft_trace(WEFT_TRACE_WARN, shard->name, "%s could not be removed (%s); remove it by hand", directory,
                   weft_err_name(code));
}

void weft_shard_remove_data(weft_shard_t *shard, weft_id_t topic, uint32_t partition)
{
    const struct weft_broker *broker = shard->broker;
    char *directory = weft_broker_directory(broker, topic, partition);
    char *parent = weft_broker_directory(broker, topic, -1);
    weft_buf_t aside;
    weft_buf_init(&aside);
    weft_buf_printf(&aside, "%s" WEFT_LOG_ASIDE_SUFFIX, directory);
    char *damaged = weft_slice_dup(weft_buf_slice(&aside));
    s_remove_tree(shard, directory);
    s_remove_tree(shard, damaged);
    (void) !broker->disk->ops->rmdir(broker->disk, parent); // goes with its last partition, whichever shard holds that
    weft_shard_forget_found(shard, topic, partition);
    weft_buf_fini(&aside);
    free(damaged);
    free(parent);
    free(directory);
}

void weft_partition_destroy(weft_partition_t **self_p)
{
    weft_partition_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    weft_shard_t *shard = self->shard;
    weft_partition_list_remove(&shard->all, self);
    weft_partition_list_remove(&shard->unopened, self);
    weft_partition_list_remove(&shard->dirty, self);
    weft_partition_list_remove(&shard->woken, self);
    weft_partition_unuse(self);
    weft_lead_end(self, WEFT_ERR_NOT_LEADER);
    weft_follow_end(self);
    weft_ledger_destroy(&self->ledger);
    while (self->fetches.head != NULL) {
        struct weft_wait *wait = self->fetches.head;
        weft_wait_list_remove(&self->fetches, wait);
        weft_waits_give(&shard->waits, wait);
        shard->fetches_parked--;
    }
    while (self->deletes.head != NULL) {
        struct weft_wait *wait = self->deletes.head;
        weft_wait_list_remove(&self->deletes, wait);
        weft_waits_give(&shard->waits, wait);
    }
    weft_replica_destroy(&self->replica);
    weft_log_destroy(&self->log);
    free(self->refusal_text);
    free(self->directory);
    free(self->name);
    free(self);
}

void weft_partition_close(weft_partition_t **self_p, weft_err_t code, bool delete_data)
{
    weft_partition_t *self = *self_p;
    *self_p = NULL;
    weft_shard_t *shard = self->shard;
    weft_shard_fetch_refuse_all(self, code);
    weft_lead_end(self, code);
    weft_follow_end(self);
    if (self->state == WEFT_PARTITION_OPEN) {
        struct weft_replica_assignment nobody = self->assignment;
        nobody.leader = -1;
        nobody.leader_epoch = nobody.partition_epoch = INT32_MAX; // above whatever is in force
        // Fails what waits for a mark: it may have been written. Not an assignment of the cluster's: nothing is reported.
        (void) !weft_replica_assign(self->replica, &nobody, weft_port_now_us(&shard->port) / 1000);
        weft_partition_effects(self);
        s_set_leads(self);
        if (weft_replica_waiter_count(self->replica) != 0) { // the last epoch there is was in force
            weft_replica_disk_failed(self->replica);
            weft_partition_effects(self);
        }
    }
    if (self->disk_full) weft_shard_gauge(shard, WEFT_COUNT_PARTITIONS_DISK_FULL, -1);
    if (self->state == WEFT_PARTITION_REFUSED || self->disk_failed)
        weft_shard_gauge(shard, WEFT_COUNT_PARTITIONS_REFUSED, -1);
    weft_shard_gauge(shard, WEFT_COUNT_PARTITIONS_OPEN, -1);
    self->state = WEFT_PARTITION_CLOSING;
    shard->closing_count++;
    self->disk_full = self->disk_failed = self->assigned = false;
    self->delete_data = delete_data;
    weft_partition_compact_cancel(self);
    // Else weft_shard_synced or weft_shard_compacted ends it.
    if (self->syncs_in_flight == 0 && self->compaction == NULL) weft_partition_closed(&self);
}

// One that came back meanwhile waited for the directory.
static void s_open_next(weft_shard_t *shard, weft_id_t topic, uint32_t number)
{
    const struct weft_shard_topic *known = weft_map_get(shard->topics, weft_id_slice(&topic));
    weft_partition_t *next = known != NULL && number < known->partition_count ? known->partitions[number] : NULL;
    if (next == NULL || next->state != WEFT_PARTITION_WAITING || next->in_unopened) return;
    weft_partition_list_push(&shard->unopened, next);
    next->in_unopened = true;
}

void weft_partition_closed(weft_partition_t **self_p)
{
    weft_partition_t *self = *self_p;
    weft_shard_t *shard = self->shard;
    const weft_id_t topic = self->topic;
    const uint32_t number = self->number;
    bool delete_data = self->delete_data;
    weft_assert(self->state == WEFT_PARTITION_CLOSING && self->syncs_in_flight == 0 && self->compaction == NULL);
    if (self->log != NULL) weft_broker_found_keep(shard->broker, topic, number, weft_log_synced_end(self->log));
    weft_partition_destroy(self_p); // its files are closed before they go
    shard->closing_count--;
    weft_partition_t *older = s_closing(shard, topic, number); // its sync is still at work in the directory
    if (older != NULL)
        older->delete_data = older->delete_data || delete_data;
    else if (delete_data)
        weft_shard_remove_data(shard, topic, number);
    s_open_next(shard, topic, number);
}

// ---- effects

static void s_lose_disk(weft_partition_t *self, const char *doing)
{
    weft_shard_t *shard = self->shard;
    if (self->disk_failed) return;
    self->disk_failed = true;
    struct weft_error error;
    weft_error_set(&error, WEFT_ERR_DISK_FAILED,
                   "%s refuses to be written: %s of %s failed; look at the disk, then start the broker again",
                   self->name, doing, self->directory);
    weft_trace(WEFT_TRACE_ERROR, shard->name, "%s", error.text);
    weft_broker_notice_set(&shard->shared->notice, error.text);
    weft_shard_gauge(shard, WEFT_COUNT_PARTITIONS_REFUSED, 1);
    // The directory is given up: all that is led here is to lead elsewhere (rule 11).
    if (weft_log_broken(self->log)) atomic_store_explicit(&shard->broker->disk_failed, true, memory_order_relaxed);
}

static void s_truncate(weft_partition_t *self, int64_t offset)
{
    weft_err_t code = weft_log_truncate(self->log, offset);
    if (code == WEFT_OK && !weft_mutated("session_kept_over_truncation")) code = s_load_sessions(self); // rule 15
    weft_partition_disk(self, code, "truncate");
    if (code == WEFT_OK) {
        weft_replica_truncated(self->replica, weft_log_end(self->log), weft_log_last_epoch(self->log));
    } else { // what it holds now is not what the core knows of it
        s_lose_disk(self, "truncate");
        weft_replica_disk_failed(self->replica);
    }
}

static void s_wake(weft_partition_t *self)
{
    if (self->in_woken || (self->fetches.count == 0 && self->deletes.count == 0)) return;
    weft_partition_list_push(&self->shard->woken, self);
    self->in_woken = true;
}

void weft_partition_effects(weft_partition_t *self)
{
    struct weft_replica_effect effect;
    while (weft_replica_effect(self->replica, &effect)) {
        switch (effect.type) {
        case WEFT_REPLICA_REPLY: weft_shard_produce_done(self, &effect); break;
        case WEFT_REPLICA_COMMITTED:
        case WEFT_REPLICA_DURABLE:
            s_wake(self);
            weft_lead_moved(self);
            weft_ledger_durable(self);
            break;
        case WEFT_REPLICA_TRUNCATE: s_truncate(self, effect.offset); break;
        case WEFT_REPLICA_ASK_ISR: weft_partition_ask(self, &effect.proposal); break;
        }
    }
}

bool weft_partition_durable_wanted(const weft_partition_t *self)
{
    return weft_replica_durable_wanted(self->replica) || weft_port_now_us(&self->shard->port) < self->durable_until_us;
}

void weft_partition_durable_asked(weft_partition_t *self, uint32_t wait_ms)
{
    if (wait_ms > WEFT_SHARD_WAIT_MS_MAX) wait_ms = WEFT_SHARD_WAIT_MS_MAX;
    int64_t until_us = weft_port_now_us(&self->shard->port) + (int64_t) wait_ms * 1000 + S_DURABLE_WATCH_US;
    if (until_us > self->durable_until_us) self->durable_until_us = until_us;
    if (weft_log_dirty(self->log)) weft_partition_dirty(self, true);
    weft_lead_wanted(self);
}

void weft_partition_dirty(weft_partition_t *self, bool urgent)
{
    weft_shard_t *shard = self->shard;
    bool watched = weft_port_now_us(&shard->port) < self->durable_until_us;
    if ((urgent || watched) && !shard->sync_urgent) shard->urgent_us = weft_port_now_us(&shard->port);
    if (urgent || watched) shard->sync_urgent = true;
    if (self->in_dirty) return;
    // A follower that nobody waits for is in sync only as long as it is synced now and then (rule 3).
    int64_t due_us = weft_port_now_us(&shard->port) + (self->leads ? shard->sync_us : shard->follow_sync_us);
    if (shard->dirty.count == 0 || due_us < shard->dirty_due_us) shard->dirty_due_us = due_us;
    weft_partition_list_push(&shard->dirty, self);
    self->in_dirty = true;
}

void weft_partition_disk(weft_partition_t *self, weft_err_t code, const char *doing)
{
    weft_shard_t *shard = self->shard;
    bool full = code == WEFT_ERR_DISK_FULL;
    if (full != self->disk_full && (full || code == WEFT_OK)) {
        self->disk_full = full;
        weft_shard_gauge(shard, WEFT_COUNT_PARTITIONS_DISK_FULL, full ? 1 : -1);
        weft_trace(full ? WEFT_TRACE_ERROR : WEFT_TRACE_INFO, shard->name,
                   full ? "%s: the disk is full, free space under %s" : "%s: the disk has space again (%s)", self->name,
                   self->directory);
    }
    if (code == WEFT_OK || full) return;
    weft_counter_add(shard->counters, WEFT_COUNT_DISK_FAILURES, 1);
    weft_trace(WEFT_TRACE_ERROR, shard->name, "%s: %s failed (%s) in %s", self->name, doing, weft_err_name(code),
               self->directory);
    if (weft_log_broken(self->log)) s_lose_disk(self, doing);
}

void weft_partition_damaged(weft_partition_t *self, int64_t offset, const char *place)
{
    weft_shard_t *shard = self->shard;
    struct weft_error error;
    if (offset == self->damaged_at) return;
    self->damaged_at = offset;
    weft_error_set(&error, WEFT_ERR_DAMAGED, "%s is damaged in %s; restore it, or let readers seek behind it",
                   self->name, place);
    weft_counter_add(shard->counters, WEFT_COUNT_BATCHES_DAMAGED, 1);
    self->damaged_count++;
    self->damaged = true; // another replica is to lead, if there is one
    self->report_us = 0;
    weft_broker_notice_set(&shard->shared->damage, error.text);
    weft_trace(WEFT_TRACE_ERROR, shard->name, "%s", error.text);
}

void weft_partition_suspect(weft_partition_t *self, int64_t offset)
{
    struct weft_error error;
    weft_err_t code = weft_log_verify_at(self->log, offset, &error);
    if (code == WEFT_ERR_DAMAGED)
        weft_partition_damaged(self, offset, error.text);
    else // bad in the reader's memory or on the way, or the reader is wrong
        weft_trace(WEFT_TRACE_DEBUG, self->shard->name, "%s: a reader finds the batch at offset %lld bad, the disk not",
                   self->name, (long long) offset);
}

void weft_partition_snapshot(weft_partition_t *self, int64_t offset)
{
    weft_sessions_t *sessions = weft_replica_sessions(self->replica);
    if (offset == self->snapshot_at) return;
    self->snapshot_at = offset;
    weft_buf_t *bytes = &self->shard->scratch;
    weft_buf_clear(bytes);
    weft_sessions_encode(sessions, bytes);
    weft_err_t code = weft_log_snapshot_put(self->log, offset, weft_buf_slice(bytes));
    // Nothing is lost without it: the batches are replayed from the snapshot before.
    if (code != WEFT_OK)
        weft_trace(WEFT_TRACE_WARN, self->shard->name, "%s: snapshot of producer sessions failed (%s)", self->name,
                   weft_err_name(code));
}

void weft_partition_trimmed(weft_partition_t *self)
{
    int64_t start = weft_log_start(self->log);
    if (start == weft_replica_log_start(self->replica)) return;
    // The batches that the sessions would be rebuilt from are gone (rule 15).
    if (self->snapshot_at < start && weft_sessions_count(weft_replica_sessions(self->replica)) != 0)
        weft_partition_snapshot(self, weft_log_end(self->log));
    weft_replica_trimmed(self->replica, start);
    weft_partition_effects(self);
    weft_lead_trimmed(self);
    weft_follow_moved(self);
    s_wake(self); // fetches below the new start are out of range now
}

weft_err_t weft_partition_trim(weft_partition_t *self, int64_t offset)
{
    weft_err_t code = weft_log_trim(self->log, offset);
    if (code != WEFT_OK && code != WEFT_ERR_OFFSET_OUT_OF_RANGE) weft_partition_disk(self, code, "delete-records");
    weft_partition_trimmed(self); // the start may have moved all the same
    return code;
}
