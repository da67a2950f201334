// SPDX-License-Identifier: MPL-2.0
// Compaction of the partitions whose topics say so, leaders and followers alike: each compacts what it holds. The shard
// only looks, every few seconds: is enough of the closed segments new, or has the time of a tombstone come, then a run is
// posted to the compact part, and swapped in when it is back. While it is under way retention waits, or it would make it
// void.
//
// What was written last waits in the active segment, which nobody compacts. It is closed when its first record is
// segment.ms old, or when nothing has been appended for a while and it alone would make the partition dirty enough: a
// topic at rest is small in the end.
#include "partition.h"

#include "lead.h"

#include "../../lib/base/assert.h"
#include "../../lib/base/mutate.h"
#include "../../lib/log/compact_part.h"

#include <stdlib.h>

#define S_LOOK_US_MAX (15 * 1000 * 1000)
#define S_AGAIN_US (60 * 1000 * 1000) // after one that failed

static int64_t s_look_us(const weft_shard_t *shard)
{
    return shard->retention_us < S_LOOK_US_MAX ? shard->retention_us : S_LOOK_US_MAX;
}

// ---- is it due?

static bool s_enough(const weft_partition_t *self, int64_t dirty_bytes, int64_t total_bytes)
{
    return dirty_bytes > 0 && dirty_bytes >= total_bytes / 100 * self->settings.dirty_percent;
}

static void s_roll(weft_partition_t *self, const struct weft_compact_wish *wish, int64_t now_us)
{
    struct weft_compact_dirt dirt;
    int64_t end = weft_log_end(self->log);
    if (end != self->compact_end) {
        self->compact_end = end;
        self->compact_end_us = now_us;
    }
    weft_log_compact_dirt(self->log, wish, &dirt);
    bool rests = now_us - self->compact_end_us >= 2 * s_look_us(self->shard);
    bool now = rests && dirt.active_bytes > 0 &&
               s_enough(self, dirt.dirty_bytes + dirt.active_bytes, dirt.total_bytes + dirt.active_bytes);
    bool rolled;
    weft_err_t code = weft_log_roll_due(self->log, wish->now_ms, now, &rolled);
    if (code != WEFT_OK) weft_partition_disk(self, code, "closing a segment");
    if (rolled) weft_partition_snapshot(self, end);
    if (weft_log_dirty(self->log)) weft_partition_dirty(self, false);
}

static bool s_due(const weft_partition_t *self, const struct weft_compact_wish *wish)
{
    struct weft_compact_dirt dirt;
    weft_log_compact_dirt(self->log, wish, &dirt);
    if (dirt.total_bytes == 0) return false;
    return s_enough(self, dirt.dirty_bytes, dirt.total_bytes) || wish->now_ms >= self->tombstones_due_ms;
}

// ---- a run

static void s_begin(weft_partition_t *self, struct weft_compact_wish *wish)
{
    weft_shard_t *shard = self->shard;
    const weft_sessions_t *sessions = weft_replica_sessions(self->replica);
    struct weft_compact_session *remembered = weft_alloc(weft_sessions_count(sessions) * sizeof *remembered);
    struct weft_session_place place = {0};
    while (weft_sessions_next(sessions, &place))
        remembered[wish->session_count++] = (struct weft_compact_session){place.producer_id, place.from_offset};
    wish->sessions = remembered;
    if (weft_log_compact_begin(self->log, wish, &self->compaction)) {
        struct weft_compact_request *request = weft_calloc(1, sizeof *request);
        request->job = self->compaction;
        request->owner = self;
        shard->compactions++;
        const struct weft_mail mail = {
            .kind = WEFT_MAIL_COMPACT, .body = request, .body_free = weft_compact_request_free};
        shard->port.ops->post(shard->port.world, shard->broker->compact_id, &mail);
    }
    free(remembered);
}

void weft_partition_compact(weft_partition_t *self, int64_t now_us)
{
    weft_shard_t *shard = self->shard;
    bool can = self->settings.compacts && self->compaction == NULL && !shard->stopping && !self->disk_failed &&
               !self->disk_full && !self->damaged && !weft_log_broken(self->log);
    if (!can || now_us < self->compact_us) return;
    self->compact_us = now_us + s_look_us(shard);
    int64_t committed = weft_replica_committed(self->replica), durable = weft_replica_durable(self->replica);
    struct weft_compact_wish wish = {
        .limit = weft_mutated("compacts_what_may_go") ? weft_log_end(self->log)
                 : committed < durable                ? committed
                                                      : durable,
        .now_ms = weft_port_wall_ms(&shard->port),
        .lag_ms = self->settings.compaction_lag_ms,
        .delete_retention_ms = self->settings.delete_retention_ms,
        .tombstones_limit = weft_lead_lowest(self),
        .memory_bytes = (size_t) weft_options_int(shard->broker->options, "compact.memory"),
        .seed = shard->port.ops->seed(shard->port.world),
    };
    s_roll(self, &wish, now_us);
    if (s_due(self, &wish)) s_begin(self, &wish);
}

void weft_partition_compact_cancel(weft_partition_t *self)
{
    weft_shard_t *shard = self->shard;
    if (self->compaction == NULL) return;
    weft_compact_cancel(self->compaction);
    const struct weft_mail wake = {.kind = WEFT_MAIL_COMPACT}; // it may be waiting for its rate
    shard->port.ops->post(shard->port.world, shard->broker->compact_id, &wake);
}

// ---- its end

static void s_tell(weft_partition_t *self, const struct weft_compact_report *report)
{
    weft_shard_t *shard = self->shard;
    weft_counter_add(shard->counters, WEFT_COUNT_COMPACTIONS, 1);
    weft_counter_add(shard->counters, WEFT_COUNT_COMPACTED_RECORDS, (uint64_t) report->records_removed);
    if (report->before_bytes > report->after_bytes)
        weft_counter_add(shard->counters, WEFT_COUNT_COMPACTED_BYTES,
                         (uint64_t) (report->before_bytes - report->after_bytes));
    weft_trace(WEFT_TRACE_DEBUG, shard->name,
               "%s: compacted up to offset %lld: %lld bytes in %zu segments became %lld in %zu", self->name,
               (long long) report->compacted, (long long) report->before_bytes, report->segments_before,
               (long long) report->after_bytes, report->segments_after);
}

static void s_failed(weft_partition_t *self, weft_err_t code, const struct weft_compact_report *report)
{
    weft_shard_t *shard = self->shard;
    self->compact_us = weft_port_now_us(&shard->port) + S_AGAIN_US;
    weft_counter_add(shard->counters, WEFT_COUNT_COMPACTIONS_FAILED, 1);
    weft_trace(WEFT_TRACE_ERROR, shard->name, "%s: compaction failed at offset %lld: %s", self->name,
               (long long) report->failed_at, weft_err_name(code));
    if (code == WEFT_ERR_DAMAGED && report->failed_at >= weft_log_start(self->log))
        weft_partition_suspect(self, report->failed_at);
    else if (weft_log_broken(self->log))
        weft_partition_disk(self, code, "compaction");
    if (weft_log_broken(self->log)) weft_replica_disk_failed(self->replica);
}

void weft_shard_compacted(weft_shard_t *shard, struct weft_compact_request *request)
{
    weft_partition_t *partition = request->owner;
    struct weft_compact_report report;
    weft_assert(shard->compactions > 0 && partition->compaction == request->job);
    shard->compactions--;
    partition->compaction = NULL;
    weft_err_t code = weft_log_compact_done(partition->log, &request->job, &report);
    weft_compact_request_free(request);
    if (partition->state == WEFT_PARTITION_CLOSING) {
        if (partition->syncs_in_flight == 0) weft_partition_closed(&partition);
        return;
    }
    if (code != WEFT_OK)
        s_failed(partition, code, &report);
    else if (report.swapped)
        s_tell(partition, &report);
    if (report.swapped) {
        partition->tombstones_due_ms = report.next_horizon_ms;
        partition->compact_us = 0; // what did not fit into memory is next, if it is enough
    }
    weft_partition_effects(partition);
}
