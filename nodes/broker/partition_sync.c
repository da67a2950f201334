// SPDX-License-Identifier: MPL-2.0
// Group commit and upkeep. One request at a time goes to the sync part with every log that is dirty by then; what is
// appended meanwhile makes the next one. So a durable ack waits for at most two syncs, and the busier the shard the
// more batches share one. Logs that nobody waits for go along, or by themselves after sync.ms, so that the
// durable mark moves and the checkpoint follows.
//
// Where syncs carry much, the next one waits until there is half of that, for at most as long as the last one took. Else
// the first batch behind a pause goes alone, and all that come behind it wait for it: a third of the syncs were such.
#include "partition.h"

#include "follow.h"
#include "lead.h"

#include "../../lib/base/assert.h"

#include <stdlib.h>
#include <string.h>

#define S_GATHER_BYTES_MIN (128 * 1024) // half of less takes as long as all of it
#define S_GATHER_US_MAX 1000
#define S_SWEEP_COUNT 64             // partitions looked at in one turn
#define S_IDLE_US (30 * 1000 * 1000) // a log unused for so long holds no file descriptor

// The world frees it when it can't be delivered, the shard when it came back: then the jobs hold no files any more.
static void s_request_free(void *body)
{
    struct weft_sync_request *request = body;
    if (request == NULL) return;
    for (size_t i = 0; i < request->job_count; i++) weft_log_sync_drop(&request->jobs[i].sync);
    free(request);
}

// A job for every dirty log. One holds few files: after many rolls the rest goes with the next, so that log stays
// dirty, and as urgent as it was.
static void s_begin_jobs(weft_shard_t *shard, struct weft_sync_request *request)
{
    size_t dirty = shard->dirty.count;
    shard->dirty.count = 0;
    for (size_t i = 0; i < dirty; i++) {
        weft_partition_t *partition = shard->dirty.items[i];
        struct weft_sync_job *job = &request->jobs[request->job_count];
        partition->in_dirty = false;
        if (!weft_log_sync_begin(partition->log, &job->sync)) continue;
        job->topic = partition->topic;
        job->partition = partition->number;
        job->owner = partition;
        partition->syncs_in_flight++;
        request->job_count++;
        partition->in_dirty = weft_log_dirty(partition->log);
        if (partition->in_dirty) shard->dirty.items[shard->dirty.count++] = partition;
    }
    if (shard->dirty.count == 0) shard->sync_urgent = false;
}

static void s_note_posted(weft_shard_t *shard)
{
    uint64_t bytes = shard->written_bytes - shard->synced_bytes;
    // Up fast, down slowly: what comes behind a pause is little at first.
    uint64_t kept = bytes > shard->sync_bytes ? 1 : 3;
    shard->sync_bytes = (bytes + kept * shard->sync_bytes) / (kept + 1);
    shard->synced_bytes = shard->written_bytes;
    shard->sync_posted_us = weft_port_now_us(&shard->port);
}

int64_t weft_shard_gathers_until(const weft_shard_t *shard)
{
    uint64_t bytes = shard->written_bytes - shard->synced_bytes;
    bool enough = bytes == 0 || shard->sync_bytes < S_GATHER_BYTES_MIN || bytes >= shard->sync_bytes / 2;
    if (!shard->sync_urgent || enough) return 0;
    return shard->urgent_us + (shard->sync_took_us < S_GATHER_US_MAX ? shard->sync_took_us : S_GATHER_US_MAX);
}

bool weft_shard_sync_post(weft_shard_t *shard)
{
    size_t dirty = shard->dirty.count;
    if (dirty == 0) return false;
    struct weft_sync_request *request = weft_calloc(1, sizeof *request + dirty * sizeof request->jobs[0]);
    s_begin_jobs(shard, request);
    if (request->job_count == 0) {
        s_request_free(request);
        return false;
    }
    weft_counter_add(shard->counters, WEFT_COUNT_SYNC_ROUNDS, 1);
    weft_counter_add(shard->counters, WEFT_COUNT_SYNC_FILES, request->job_count);
    s_note_posted(shard);
    shard->syncs_in_flight++;
    const struct weft_mail mail = {.kind = WEFT_MAIL_SYNC, .body = request, .body_free = s_request_free};
    shard->port.ops->post(shard->port.world, shard->broker->sync_id, &mail);
    return true;
}

static void s_job_done(weft_partition_t *partition, struct weft_sync_job *job)
{
    partition->syncs_in_flight--;
    weft_err_t code = weft_log_sync_done(partition->log, &job->sync);
    if (partition->state == WEFT_PARTITION_CLOSING) {
        if (partition->syncs_in_flight == 0 && partition->compaction == NULL) weft_partition_closed(&partition);
        return;
    }
    if (code == WEFT_OK) {
        weft_replica_synced(partition->replica, weft_log_synced_end(partition->log));
    } else {
        weft_partition_disk(partition, code, "sync"); // never retried (rule 11)
        weft_replica_disk_failed(partition->replica);
    }
    weft_partition_effects(partition);
    weft_follow_moved(partition);
    if (partition->assignment.leader < 0) weft_partition_report(partition, weft_port_now_us(&partition->shard->port));
    if (partition->disk_failed) weft_follow_update(partition);
}

void weft_shard_synced(weft_shard_t *shard, struct weft_sync_request *request)
{
    weft_assert(shard->syncs_in_flight > 0);
    shard->syncs_in_flight--;
    shard->sync_took_us = weft_port_now_us(&shard->port) - shard->sync_posted_us;
    for (size_t i = 0; i < request->job_count; i++)
        if (request->jobs[i].owner != NULL) s_job_done(request->jobs[i].owner, &request->jobs[i]);
    s_request_free(request);
}

void weft_shard_sync_forget(weft_shard_t *shard, weft_id_t topic, uint32_t partition)
{
    struct weft_sync_request *request = weft_calloc(1, sizeof *request + sizeof request->jobs[0]);
    request->job_count = 1;
    request->jobs[0].topic = topic;
    request->jobs[0].partition = partition;
    request->jobs[0].sync.end_offset = -1;
    shard->syncs_in_flight++;
    const struct weft_mail mail = {.kind = WEFT_MAIL_SYNC, .body = request, .body_free = s_request_free};
    shard->port.ops->post(shard->port.world, shard->broker->sync_id, &mail);
}

static void s_retain(weft_partition_t *partition)
{
    weft_shard_t *shard = partition->shard;
    size_t removed = 0;
    weft_err_t code = weft_log_retain(partition->log, weft_port_wall_ms(&shard->port),
                                      weft_replica_durable(partition->replica), &removed);
    if (code != WEFT_OK) weft_partition_disk(partition, code, "retention");
    weft_counter_add(shard->counters, WEFT_COUNT_SEGMENTS_REMOVED, removed);
    if (removed != 0)
        weft_trace(WEFT_TRACE_INFO, shard->name, "%s: retention removed %zu segment%s; it begins at offset %lld now",
                   partition->name, removed, removed == 1 ? "" : "s", (long long) weft_log_start(partition->log));
    weft_partition_trimmed(partition);
}

static void s_upkeep(weft_partition_t *partition, int64_t now_us)
{
    weft_shard_t *shard = partition->shard;
    weft_replica_tick(partition->replica, now_us / 1000);
    if (partition->leads) weft_lead_tick(partition, now_us);
    weft_partition_effects(partition);
    weft_partition_compact(partition, now_us);
    if (partition->leads && now_us >= partition->retain_us && partition->compaction == NULL) { // followers follow it
        partition->retain_us = now_us + shard->retention_us;
        s_retain(partition);
    }
    if (weft_log_dirty(partition->log)) weft_partition_dirty(partition, false);
    if (now_us - partition->used_us > S_IDLE_US) weft_partition_idle(partition);
}

bool weft_shard_sweep(weft_shard_t *shard, int64_t now_us)
{
    for (size_t i = 0; i < S_SWEEP_COUNT && shard->sweep_at < shard->all.count; i++, shard->sweep_at++) {
        weft_partition_t *partition = shard->all.items[shard->sweep_at];
        if (partition->state == WEFT_PARTITION_OPEN) s_upkeep(partition, now_us);
        weft_partition_retry(partition, now_us);
        weft_partition_report(partition, now_us);
    }
    if (shard->sweep_at < shard->all.count) return true;
    shard->sweep_at = SIZE_MAX;
    return false;
}
