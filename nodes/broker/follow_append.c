// SPDX-License-Identifier: MPL-2.0
// What a leader answers for one partition: where to align, batches to append, marks, or why not. Its bytes land as they
// came, or not at all (I2): a batch is taken only whole, with its own checksum right, at exactly our log end, of an
// epoch not below our last and not above the one we obey. One that is not is counted and asked for again; a leader
// whose file has rotted finds out by that.
#include "follow_self.h"

#include "../../lib/base/assert.h"
#include "../../lib/base/mutate.h"
#include <weft_gen/messages.h>

#define S_BAD_US (100 * 1000)   // after a batch that was refused
#define S_DISK_US (1000 * 1000) // after a write that failed
#define S_TRACE_EVERY 16
#define S_RUN_MAX 64 // batches of one write

// ---- batches

// `end` and `epoch` are those of the batch before.
static weft_err_t s_check(const weft_partition_t *partition, weft_slice_t data, int64_t end, int32_t epoch,
                          struct weft_batch *batch)
{
    weft_err_t code = weft_batch_verify(data, batch);
    if (code != WEFT_OK) return code == WEFT_ERR_TRUNCATED ? WEFT_ERR_BAD_BATCH : code;
    bool known = batch->base_offset < end && weft_batch_next_offset(batch) <= end; // a sum of what may be anything
    bool next = batch->base_offset == end && batch->leader_epoch >= epoch &&
                batch->leader_epoch <= weft_replica_leader_epoch(partition->replica);
    return known || next ? WEFT_OK : WEFT_ERR_BAD_BATCH;
}

// Batches that were checked, back to back in `bytes`.
static weft_err_t s_append_run(weft_partition_t *partition, weft_slice_t bytes, const struct weft_batch *batches,
                               size_t count)
{
    weft_shard_t *shard = partition->shard;
    while (count != 0) {
        bool rolled = false;
        size_t taken = 0, size = 0;
        weft_err_t code = weft_log_append_run(partition->log, bytes, batches, count, &taken, &rolled);
        if (code != WEFT_OK || partition->disk_full) weft_partition_disk(partition, code, "write");
        if (code != WEFT_OK) return code;
        if (rolled) weft_partition_snapshot(partition, batches[0].base_offset); // the sessions are still those below
        for (size_t i = 0; i < taken; i++) {
            weft_replica_followed(partition->replica, &batches[i]);
            size += weft_batch_bytes(&batches[i]);
        }
        weft_counter_add(shard->counters, WEFT_COUNT_FOLLOWED_BATCHES, taken);
        weft_counter_add(shard->counters, WEFT_COUNT_FOLLOWED_BYTES, size);
        shard->written_bytes += size;
        bytes = weft_slice(bytes.data + size, bytes.size - size);
        batches += taken;
        count -= taken;
    }
    return WEFT_OK;
}

/*
 * A gap that begins below our end: the leader has merged what stands for offsets that we have with what we don't. What
 * we lack of it is a gap, too. *size bytes of the data are done with it; 0: it is no such batch.
 */
static weft_err_t s_append_gap(weft_partition_t *partition, weft_slice_t data, size_t *size)
{
    uint8_t bytes[WEFT_BATCH_HEADER_BYTES];
    struct weft_batch batch;
    int64_t end = weft_log_end(partition->log);
    *size = 0;
    if (weft_batch_verify(data, &batch) != WEFT_OK || !weft_compact_is_gap(&batch)) return WEFT_OK;
    bool across = batch.base_offset >= 0 && batch.base_offset < end && batch.base_offset <= INT64_MAX / 2 &&
                  weft_batch_next_offset(&batch) > end && batch.leader_epoch >= weft_log_last_epoch(partition->log) &&
                  batch.leader_epoch <= weft_replica_leader_epoch(partition->replica);
    if (!across) return WEFT_OK;
    batch.last_offset_delta = (uint32_t) (weft_batch_next_offset(&batch) - end - 1);
    batch.base_offset = end;
    weft_compact_gap_write(bytes, &batch);
    weft_err_t code = s_append_run(partition, weft_slice(bytes, sizeof bytes), &batch, 1);
    if (code == WEFT_OK) *size = sizeof bytes;
    return code;
}

// Appends all up to the first batch that can't be: *bad says whether that is the batch's fault, or our disk's.
static weft_err_t s_append(weft_partition_t *partition, weft_slice_t data, bool *bad)
{
    struct weft_batch batches[S_RUN_MAX];
    size_t gap;
    *bad = false;
    weft_err_t code = s_append_gap(partition, data, &gap);
    if (code != WEFT_OK) return code;
    data = weft_slice(data.data + gap, data.size - gap);
    int64_t end = weft_log_end(partition->log);
    int32_t epoch = weft_log_last_epoch(partition->log);
    while (data.size != 0 && code == WEFT_OK) {
        size_t count = 0, skipped = 0, size = 0;
        while (count < S_RUN_MAX && skipped + size < data.size) {
            weft_slice_t rest = weft_slice(data.data + skipped + size, data.size - skipped - size);
            code = s_check(partition, rest, end, epoch, &batches[count]);
            if (code != WEFT_OK) break;
            const struct weft_batch *batch = &batches[count];
            if (weft_batch_next_offset(batch) <= end) { // told twice
                if (count != 0) break;
                skipped += weft_batch_bytes(batch);
                continue;
            }
            size += weft_batch_bytes(batch);
            end = weft_batch_next_offset(batch);
            epoch = batch->leader_epoch;
            count++;
        }
        *bad = code != WEFT_OK;
        if (count != 0) {
            weft_err_t written = s_append_run(partition, weft_slice(data.data + skipped, size), batches, count);
            if (written != WEFT_OK) *bad = false;
            if (written != WEFT_OK) code = written;
        }
        data = weft_slice(data.data + skipped + size, data.size - skipped - size);
    }
    return code;
}

static void s_refuse_batch(struct weft_pull *self, weft_err_t code)
{
    weft_partition_t *partition = self->partition;
    weft_shard_t *shard = partition->shard;
    weft_counter_add(shard->counters, WEFT_COUNT_FOLLOWED_REFUSED, 1);
    if (self->failures % S_TRACE_EVERY == 0)
        weft_trace(WEFT_TRACE_WARN, shard->name, "%s: a batch of its leader, broker %d, is refused at offset %lld: %s",
                   partition->name, (int) weft_replica_leader(partition->replica),
                   (long long) weft_log_end(partition->log), weft_err_name(code));
    // Named at once, with the same place: the leader counts that, and looks at its disk.
    if (self->failures < 2) {
        self->failures++;
        weft_pull_due(self);
    } else {
        weft_pull_wait(self, S_BAD_US);
    }
}

static void s_take_data(struct weft_pull *self, const struct weft_replicate_answer *answer, weft_slice_t data)
{
    weft_partition_t *partition = self->partition;
    if (!partition->in_used && !weft_shard_make_room(partition->shard)) {
        weft_pull_wait(self, 0);
        return;
    }
    weft_partition_used(partition);
    bool bad;
    weft_err_t code = s_append(partition, data, &bad);
    // One that has caught up gets into the in-sync set by what is synced.
    bool urgent = answer->urgent || (!self->session->live && weft_log_end(partition->log) >= answer->log_end);
    if (weft_log_dirty(partition->log)) weft_partition_dirty(partition, urgent);
    if (code == WEFT_OK) {
        self->failures = 0;
        weft_pull_due(self);
    } else if (bad) {
        s_refuse_batch(self, code);
    } else {
        if (weft_log_broken(partition->log)) weft_replica_disk_failed(partition->replica);
        weft_pull_wait(self, S_DISK_US);
    }
}

// ---- marks, and where the log begins

static void s_take_marks(weft_partition_t *partition, const struct weft_replicate_answer *answer)
{
    weft_replica_leader_marks(partition->replica, answer->high_watermark, answer->durable);
    weft_partition_effects(partition);
    // What the leader has deleted goes here, too. It is committed, so our mark passes it once we have all of it.
    int64_t start = answer->log_start;
    if (start > weft_log_start(partition->log) && start <= weft_replica_committed(partition->replica))
        (void) !weft_partition_trim(partition, start); // told
}

// ---- alignment

static void s_align(struct weft_pull *self, const struct weft_replicate_answer *answer)
{
    weft_partition_t *partition = self->partition;
    int64_t end_before = weft_log_end(partition->log), own_end;
    int32_t own_epoch;
    weft_log_epoch_end(partition->log, answer->epoch, &own_epoch, &own_end);
    weft_replica_diverged(partition->replica, answer->epoch, answer->epoch_end, own_epoch, own_end);
    weft_partition_effects(partition);
    if (partition->pull != self) return; // the cut failed
    int64_t end = weft_log_end(partition->log);
    if (end < end_before) {
        weft_counter_add(partition->shard->counters, WEFT_COUNT_TRUNCATIONS, 1);
        weft_trace(WEFT_TRACE_INFO, partition->shard->name,
                   "%s: offsets %lld to %lld are not in the log of its leader, broker %d: cut off", partition->name,
                   (long long) end, (long long) end_before, (int) weft_replica_leader(partition->replica));
    }
    bool aligned = weft_replica_aligned(partition->replica);
    if (aligned || end < end_before)
        weft_pull_due(self);
    else
        weft_pull_wait(self, S_BAD_US); // it learnt nothing: an answer that can't be
    if (aligned) self->failures = 0;
}

// ---- refusals

static void s_reset(struct weft_pull *self, int64_t offset, const char *why)
{
    weft_partition_t *partition = self->partition;
    int64_t end = weft_log_end(partition->log);
    weft_err_t code = weft_log_reset(partition->log, offset);
    if (code != WEFT_OK) {
        weft_partition_disk(partition, code, "reset");
        if (weft_log_broken(partition->log)) weft_replica_disk_failed(partition->replica);
        weft_pull_wait(self, S_DISK_US);
        return;
    }
    weft_counter_add(partition->shard->counters, WEFT_COUNT_RESETS, 1);
    weft_trace(WEFT_TRACE_INFO, partition->shard->name,
               "%s: its own log ends at offset %lld, and %s: it begins anew at %lld", partition->name, (long long) end,
               why, (long long) offset);
    partition->snapshot_at = -1;
    weft_replica_reset(partition->replica, offset);
    weft_partition_effects(partition);
    if (weft_log_dirty(partition->log)) weft_partition_dirty(partition, false);
    weft_pull_due(self);
}

// Our end lies below all that the leader keeps: there is nothing that our log could be continued by.
static void s_begin_anew(struct weft_pull *self, int64_t offset)
{
    weft_partition_t *partition = self->partition;
    // Who is in sync is never below its start. Our end may be above where it begins: by batches that were never
    // committed, or because our empty log starts in the midst of a batch.
    bool empty = weft_log_end(partition->log) == weft_log_start(partition->log);
    bool below = offset < weft_replica_committed(partition->replica) && !empty && !self->asked_to_align;
    if (below || weft_replica_in_sync(partition->replica)) {
        weft_replica_unalign(partition->replica);
        weft_pull_wait(self, S_BAD_US);
        return;
    }
    s_reset(self, offset, "its leader's log begins above by now");
}

/*
 * Tombstones that we never saw are gone from the leader's log, and what they deleted may stand in ours: we begin anew
 * where the leader begins (REPLICATION.md rule 13). An empty log has nothing that was deleted; it notes that it lacks
 * the tombstones, for those who will follow us. True: what else was answered is for a log that we don't have any more.
 */
static bool s_missed_tombstones(struct weft_pull *self, const struct weft_replicate_answer *answer)
{
    weft_partition_t *partition = self->partition;
    weft_log_t *log = partition->log;
    if (answer->tombstones_below <= weft_log_tombstones_below(log) || weft_log_end(log) >= answer->tombstones_below)
        return false;
    if (weft_mutated("missed_tombstones_ignored")) return false;
    if (weft_log_end(log) > weft_log_start(log)) {
        if (weft_replica_in_sync(partition->replica)) { // can't be: who is in sync has all that is committed
            weft_replica_unalign(partition->replica);
            weft_pull_wait(self, S_BAD_US);
            return true;
        }
        weft_replica_unalign(partition->replica); // what we know to be committed is below where we begin
        s_reset(self, answer->log_start, "tombstones behind it are gone from its leader's");
        return true;
    }
    weft_err_t code = weft_log_tombstones_adopt(log, answer->tombstones_below);
    if (code == WEFT_OK) return false;
    weft_partition_disk(partition, code, "noting tombstones");
    weft_pull_wait(self, S_DISK_US);
    return true;
}

static void s_refused(struct weft_pull *self, const struct weft_replicate_answer *answer)
{
    weft_partition_t *partition = self->partition;
    weft_err_t code = weft_err_of_number(answer->error);
    weft_trace(WEFT_TRACE_DEBUG, partition->shard->name, "%s: its leader answers %s", partition->name,
               weft_err_name(code));
    bool not_ours = code == WEFT_ERR_DIVERGED || code == WEFT_ERR_INVALID_REQUEST;
    if (code == WEFT_ERR_OFFSET_OUT_OF_RANGE) {
        s_begin_anew(self, answer->log_start);
        return;
    }
    if (not_ours) weft_replica_unalign(partition->replica);
    weft_pull_wait(self, not_ours ? S_BAD_US : 0); // who leads or what is known there may be about to change
}

static void s_take(struct weft_pull *self, const struct weft_replicate_answer *answer, weft_slice_t data)
{
    weft_partition_t *partition = self->partition;
    if (s_missed_tombstones(self, answer)) return;
    if (data.size != 0) s_take_data(self, answer, data);
    if (data.size == 0 && answer->urgent && weft_log_dirty(partition->log)) weft_partition_dirty(partition, true);
    s_take_marks(partition, answer);
}

void weft_pull_answer(struct weft_pull *self, const struct weft_replicate_answer *answer, weft_slice_t data)
{
    weft_partition_t *partition = self->partition;
    weft_assert(partition->pull == self && partition->state == WEFT_PARTITION_OPEN);
    if (answer->error != 0)
        s_refused(self, answer);
    else if (self->asked_to_align)
        s_align(self, answer);
    else
        s_take(self, answer, data);
    if (partition->disk_failed) weft_follow_update(partition); // it is nobody's pull any more
}
