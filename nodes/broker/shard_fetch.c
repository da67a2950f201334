// SPDX-License-Identifier: MPL-2.0
// Fetch: answered at once when there is enough, else parked on its partition and looked at again whenever the mark it
// reads up to moves: no timers in the path, the heap only ends the wait. Replies are whole batches, read by one pread
// into a pooled frame (never a mapping: ZEROMQ.md), and are not even built for a peer that takes nothing off.
//
// A fetch between its mark and the log end waits and is never out of range (rule 5). A consumer that tells the epoch
// of the record before its offset is told when the log no longer holds that record (rule 18, KIP-320).
#include "partition.h"

#include "../../lib/base/assert.h"
#include "../../lib/base/mutate.h"
#include <weft_gen/limits.h>
#include <weft_gen/messages.h>

#define S_REPLY_BYTES_MAX WEFT_BATCH_BYTES_MAX // one fetch carries no more, whatever was asked for

// ---- one try

static int64_t s_mark(const weft_partition_t *partition, bool durable)
{
    if (weft_mutated("durable_read_of_undurable")) durable = false;
    return durable ? weft_replica_durable(partition->replica) : weft_replica_committed(partition->replica);
}

static void s_reply(weft_partition_t *partition, const struct weft_asker *asker, weft_err_t code, int64_t end_offset,
                    weft_frame_t *data)
{
    weft_shard_t *self = partition->shard;
    struct weft_fetch_reply reply;
    weft_fetch_reply_init(&reply);
    reply.header.id = asker->request_id;
    reply.header.error = code;
    reply.high_watermark = weft_replica_committed(partition->replica);
    reply.durable = weft_replica_durable(partition->replica);
    reply.log_start = weft_log_start(partition->log);
    reply.end_offset = end_offset;
    weft_buf_clear(&self->reply);
    weft_fetch_reply_encode(&reply, &self->reply);
    weft_shard_answer(self, asker, data);
}

// KIP-320: is the record before the offset still the one that the consumer read? *end_offset: where the common part
// ends.
static weft_err_t s_check_epoch(const weft_partition_t *partition, const struct weft_wait_fetch *fetch,
                                int64_t *end_offset)
{
    if (fetch->epoch < 0 || fetch->offset <= weft_log_start(partition->log))
        return WEFT_OK; // unknown, or gone by retention
    if (fetch->epoch > weft_replica_leader_epoch(partition->replica)) return WEFT_ERR_UNKNOWN_EPOCH;
    int32_t found_epoch;
    int64_t end;
    weft_log_epoch_end(partition->log, fetch->epoch, &found_epoch, &end);
    if (found_epoch == fetch->epoch && end >= fetch->offset) return WEFT_OK;
    *end_offset = end < fetch->offset ? end : fetch->offset;
    return WEFT_ERR_DIVERGED;
}

static weft_err_t s_check(const weft_partition_t *partition, const struct weft_wait_fetch *fetch, int64_t *end_offset)
{
    if (fetch->offset < weft_log_start(partition->log)) return WEFT_ERR_OFFSET_OUT_OF_RANGE;
    weft_err_t code = s_check_epoch(partition, fetch, end_offset); // also of a log that is shorter now
    if (code != WEFT_OK) return code;
    return fetch->offset > weft_log_end(partition->log) ? WEFT_ERR_OFFSET_OUT_OF_RANGE : WEFT_OK;
}

// After a clean stop a log is opened without reading all of it: damage shows when somebody comes by.
static void s_refuse_damaged(weft_partition_t *partition, const struct weft_asker *asker, int64_t offset)
{
    weft_shard_t *self = partition->shard;
    struct weft_error place;
    if (weft_log_verify_at(partition->log, offset, &place) != WEFT_ERR_DAMAGED)
        weft_error_set(&place, WEFT_ERR_DAMAGED, "%s: at or behind offset %lld", partition->directory,
                       (long long) offset);
    weft_partition_damaged(partition, offset, place.text);
    if (weft_shard_others_may_lead(self, partition)) {
        weft_shard_refuse_moved(self, asker, WEFT_ERR_NOT_LEADER, partition->topic, partition->number);
        return;
    }
    weft_error_set(&self->error, WEFT_ERR_DAMAGED,
                   "%s is damaged in %s; nothing was changed. Restore it, or read on behind it: 'weft log verify' "
                   "shows where.",
                   partition->name, place.text);
    weft_shard_refuse(self, asker, WEFT_ERR_DAMAGED, self->error.text);
}

// Data that the peer's budget has no room for is not read.
static void s_send_data(weft_partition_t *partition, const struct weft_asker *asker,
                        const struct weft_wait_fetch *fetch, int64_t have_bytes)
{
    weft_shard_t *self = partition->shard;
    size_t bytes_max = fetch->max_bytes < S_REPLY_BYTES_MAX ? fetch->max_bytes : S_REPLY_BYTES_MAX;
    size_t about = (uint64_t) have_bytes < bytes_max ? (size_t) have_bytes : bytes_max;
    if (weft_shard_peer_full(self, &asker->peer, about) || weft_shard_frames_full(self, about, 0)) {
        weft_shard_refuse(self, asker, WEFT_ERR_OVERLOADED,
                          "Too many replies wait to be taken; read them, then come back after retry_ms.");
        return;
    }
    weft_frame_pool_t *pool = about <= WEFT_SHARD_SMALL_FRAME_BYTES ? self->small_frames : self->large_frames;
    weft_frame_t data = WEFT_FRAME_EMPTY;
    weft_err_t code =
        weft_log_read(partition->log, fetch->offset, bytes_max, true, s_mark(partition, fetch->durable), pool, &data);
    if (code == WEFT_ERR_OFFSET_OUT_OF_RANGE) {
        s_reply(partition, asker, code, -1, NULL);
        return;
    }
    if (code != WEFT_OK) {
        weft_partition_disk(partition, code, "read");
        if (code == WEFT_ERR_DAMAGED)
            s_refuse_damaged(partition, asker, fetch->offset);
        else
            weft_shard_refuse(self, asker, WEFT_ERR_DISK_FAILED, NULL);
        return;
    }
    if (data.size != 0) weft_counter_add(self->counters, WEFT_COUNT_FETCH_BATCH_REPLIES, 1);
    weft_counter_add(self->counters, WEFT_COUNT_FETCH_BYTES, data.size);
    s_reply(partition, asker, WEFT_OK, -1, &data);
    weft_frame_drop(&data);
}

// True: it was answered. `last`: no more waiting, answer with what is there.
static bool s_try(weft_partition_t *partition, const struct weft_asker *asker, const struct weft_wait_fetch *fetch,
                  bool last)
{
    if (!weft_replica_settled(partition->replica)) {
        if (last) weft_shard_refuse_unsettled(partition->shard, asker);
        return last;
    }
    int64_t end_offset = -1;
    weft_err_t code = s_check(partition, fetch, &end_offset);
    if (code != WEFT_OK) {
        weft_counter_add(partition->shard->counters, WEFT_COUNT_REFUSED_OTHER, 1);
        s_reply(partition, asker, code, end_offset, NULL);
        return true;
    }
    int64_t limit = s_mark(partition, fetch->durable);
    int64_t have_bytes = fetch->offset < limit ? weft_log_bytes_between(partition->log, fetch->offset, limit) : 0;
    bool watch = fetch->max_bytes == 0;
    bool enough = have_bytes > 0 && (watch || have_bytes >= fetch->min_bytes || have_bytes >= fetch->max_bytes);
    if (!enough && !last) return false;
    if (watch || have_bytes == 0)
        s_reply(partition, asker, WEFT_OK, -1, NULL);
    else
        s_send_data(partition, asker, fetch, have_bytes);
    return true;
}

// ---- the request

static void s_set_parked(weft_shard_t *self, size_t count)
{
    self->fetches_parked = count;
    weft_counter_set(self->counters, WEFT_COUNT_FETCH_PARKED, count);
}

static void s_park(weft_partition_t *partition, const struct weft_asker *asker, const struct weft_wait_fetch *fetch,
                   uint32_t wait_ms)
{
    weft_shard_t *self = partition->shard;
    if (partition->fetches.count >= self->fetch_waiters_max || weft_shard_overloaded(self)) {
        weft_shard_refuse(self, asker, WEFT_ERR_OVERLOADED, NULL);
        return;
    }
    struct weft_wait *wait = weft_waits_take(&self->waits, WEFT_WAIT_FETCH);
    wait->asker = *asker;
    wait->partition = partition;
    wait->fetch = *fetch;
    weft_wait_list_push(&partition->fetches, wait);
    int64_t wait_us = (int64_t) (wait_ms < WEFT_SHARD_WAIT_MS_MAX ? wait_ms : WEFT_SHARD_WAIT_MS_MAX) * 1000;
    weft_waits_deadline(&self->waits, wait, weft_port_now_us(&self->port) + wait_us);
    s_set_parked(self, self->fetches_parked + 1);
}

void weft_shard_fetch(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    weft_counter_add(self->counters, WEFT_COUNT_FETCH_REQUESTS, 1);
    struct weft_fetch_request request;
    weft_err_t code = weft_fetch_request_decode(&self->codec, header, &request, &self->error);
    bool durable = code == WEFT_OK && weft_slice_is_text(request.read, "durable");
    if (code == WEFT_OK && !durable && !weft_slice_is_text(request.read, "committed"))
        code =
            weft_error_set(&self->error, WEFT_ERR_INVALID_REQUEST, "read is '%.*s'; it must be committed or durable.",
                           (int) request.read.size, (const char *) request.read.data);
    if (code != WEFT_OK) {
        weft_shard_refuse(self, asker, code, self->error.text);
        return;
    }
    const struct weft_target target = {request.topic, request.topic_id, request.partition};
    weft_partition_t *partition = weft_shard_led_partition(self, asker, &target);
    if (partition == NULL) return;
    const struct weft_wait_fetch fetch = {.offset = request.offset,
                                          .epoch = request.epoch,
                                          .min_bytes = request.min_bytes,
                                          .max_bytes = request.max_bytes,
                                          .durable = durable};
    if (durable) weft_partition_durable_asked(partition, request.max_wait_ms);
    if (s_try(partition, asker, &fetch, request.max_wait_ms == 0)) return;
    s_park(partition, asker, &fetch, request.max_wait_ms);
}

// ---- the end of a wait

static void s_unpark(weft_shard_t *self, struct weft_wait *wait)
{
    weft_wait_list_remove(&wait->partition->fetches, wait);
    weft_waits_give(&self->waits, wait);
    s_set_parked(self, self->fetches_parked - 1);
}

void weft_shard_fetch_wake(weft_partition_t *partition)
{
    struct weft_wait *next;
    for (struct weft_wait *wait = partition->fetches.head; wait != NULL; wait = next) {
        next = wait->next;
        if (s_try(partition, &wait->asker, &wait->fetch, false)) s_unpark(partition->shard, wait);
    }
}

void weft_shard_fetch_timed_out(weft_shard_t *self, struct weft_wait *wait)
{
    bool answered = s_try(wait->partition, &wait->asker, &wait->fetch, true);
    weft_assert(answered);
    s_unpark(self, wait);
}

void weft_shard_fetch_refuse_all(weft_partition_t *partition, weft_err_t code)
{
    weft_shard_t *self = partition->shard;
    while (partition->fetches.head != NULL) {
        struct weft_wait *wait = partition->fetches.head;
        if (code == WEFT_ERR_NOT_LEADER)
            weft_shard_refuse_moved(self, &wait->asker, code, partition->topic, partition->number);
        else
            weft_shard_refuse(self, &wait->asker, code, NULL);
        s_unpark(self, wait);
    }
    weft_shard_delete_refuse_all(partition, code);
}
