// SPDX-License-Identifier: MPL-2.0
// Produce, the hot path: one header decode, one topic lookup, one pass over the batch (CRC and records' bounds), 17
// bytes patched in the received frame, one pwritev from it. No copy, no allocation, no re-encoding; where the frame is
// shared (inproc) only its 80 header bytes are copied.
//
// A request that has to wait for a mark is a context with a token; the replica names the token when the mark is there.
// Time-outs and answers can't meet twice: whoever comes first gives the context back, and its generation moves on.
#include "partition.h"

#include "lead.h"
#include "offsets.h"

#include "../../lib/base/assert.h"
#include <weft_gen/limits.h>
#include <weft_gen/messages.h>

#include <string.h>

#define S_SCRATCH_BYTES_MAX ((size_t) 4 << 20) // more is given back after use

/** A batch on its way into the log. */
struct s_incoming {
    uint8_t *header; // 80 bytes, writable; the whole batch if payload is nil
    weft_slice_t head, payload;
    struct weft_batch batch;
    uint32_t crc_state;
    uint8_t copy[WEFT_BATCH_HEADER_BYTES];
};

static const char *s_level_name(enum weft_level level)
{
    static const char *const names[] = {"none", "leader", "committed", "durable"};
    return names[level];
}

static weft_err_t s_acks(weft_shard_t *self, weft_slice_t text, enum weft_acks *acks)
{
    if (weft_slice_is_text(text, "all"))
        *acks = WEFT_ACKS_ALL;
    else if (weft_slice_is_text(text, "leader"))
        *acks = WEFT_ACKS_LEADER;
    else if (weft_slice_is_text(text, "none"))
        *acks = WEFT_ACKS_NONE;
    else
        return weft_error_set(&self->error, WEFT_ERR_INVALID_REQUEST, "acks is '%.*s'; it must be none, leader or all.",
                              (int) text.size, (const char *) text.data);
    return WEFT_OK;
}

// The whole batch in the shard's own memory: bare records, or a shared frame that has to be changed behind its header.
static void s_in_scratch(weft_shard_t *self, struct s_incoming *in)
{
    in->header = self->scratch.data;
    in->head = weft_buf_slice(&self->scratch);
    in->payload = WEFT_SLICE_NIL;
}

// Compaction could never take away what has no key (rule 14).
static weft_err_t s_keys(weft_shard_t *self, weft_slice_t records)
{
    weft_record_iter_t iter;
    struct weft_record record;
    weft_record_iter_init(&iter, records);
    while (weft_record_iter_next(&iter, &record, NULL))
        if (record.key.data == NULL)
            return weft_error_set(&self->error, WEFT_ERR_BAD_BATCH,
                                  "record %lld: it has no key, which the records of a compacted topic need",
                                  (long long) record.offset_delta);
    return WEFT_OK;
}

// What is compressed is looked into as well: a batch that does not inflate, or not to what it says, would stop every
// consumer behind it, and a topic's largest record would bind only those who don't compress.
static weft_err_t s_look_inside(weft_shard_t *self, const struct weft_topic_settings *settings, weft_slice_t bytes,
                                const struct weft_batch *batch)
{
    weft_slice_t records = weft_slice(bytes.data + WEFT_BATCH_HEADER_BYTES, batch->payload_bytes);
    if (weft_batch_codec(batch) == WEFT_CODEC_NONE) return settings->compacts ? s_keys(self, records) : WEFT_OK;
    weft_err_t code = weft_batch_payload(bytes, batch, &self->scratch, &records);
    if (code != WEFT_OK)
        code = weft_error_set(&self->error, code, "batch: its payload does not inflate to raw_bytes, which is %u",
                              (unsigned) batch->raw_bytes);
    else
        code = weft_batch_check_records(records, batch->count, settings->limits.record_bytes_max, &self->error);
    if (code == WEFT_OK && settings->compacts) code = s_keys(self, records);
    weft_buf_clear(&self->scratch);
    if (self->scratch.capacity > S_SCRATCH_BYTES_MAX) weft_buf_fini(&self->scratch);
    return code;
}

static weft_err_t s_accept(weft_partition_t *partition, weft_frame_t *data, struct s_incoming *in)
{
    weft_shard_t *self = partition->shard;
    const struct weft_topic_settings *settings = &partition->settings;
    weft_slice_t bytes = weft_frame_slice(data);
    if (bytes.size == 0)
        return weft_error_set(&self->error, WEFT_ERR_BAD_BATCH,
                              "The request has no data frame: send one batch, or bare records, behind the header.");
    if (!weft_batch_looks_like_batch(bytes)) {
        weft_buf_clear(&self->scratch);
        weft_err_t code = weft_batch_of_bare_records(bytes, weft_port_wall_ms(&self->port), &settings->limits,
                                                     &self->scratch, &self->error);
        if (code != WEFT_OK) return code;
        s_in_scratch(self, in);
        code = weft_batch_accept(in->head, &settings->limits, &in->batch, &in->crc_state, &self->error);
        bool keyed = code == WEFT_OK && settings->compacts;
        return keyed ? s_keys(self, weft_slice(in->head.data + WEFT_BATCH_HEADER_BYTES, in->batch.payload_bytes))
                     : code;
    }
    weft_err_t code = weft_batch_accept(bytes, &settings->limits, &in->batch, &in->crc_state, &self->error);
    if (code != WEFT_OK) return code;
    if (bytes.size != weft_batch_bytes(&in->batch)) // a second batch, or rubbish: nothing is skipped in silence (I7)
        return weft_error_set(&self->error, WEFT_ERR_BAD_BATCH,
                              "%zu bytes follow the batch: send one batch in a message.",
                              bytes.size - weft_batch_bytes(&in->batch));
    code = s_look_inside(self, settings, bytes, &in->batch);
    if (code != WEFT_OK) return code;
    if (!data->shared) {
        in->header = data->data;
        in->head = bytes;
        in->payload = WEFT_SLICE_NIL;
        return WEFT_OK;
    }
    weft_counter_add(self->counters, WEFT_COUNT_PRODUCE_COPIED, 1);
    if (settings->append_time) { // its checksum is computed anew over the whole
        weft_buf_clear(&self->scratch);
        weft_buf_append(&self->scratch, bytes.data, bytes.size);
        s_in_scratch(self, in);
        return WEFT_OK;
    }
    memcpy(in->copy, bytes.data, sizeof in->copy);
    in->header = in->copy;
    in->head = weft_slice(in->copy, sizeof in->copy);
    in->payload = weft_slice(bytes.data + sizeof in->copy, bytes.size - sizeof in->copy);
    return WEFT_OK;
}

static void s_count(weft_shard_t *self, const struct weft_batch *batch)
{
    weft_counter_add(self->counters, WEFT_COUNT_PRODUCE_BATCHES, 1);
    weft_counter_add(self->counters, WEFT_COUNT_PRODUCE_RECORDS, batch->count);
    weft_counter_add(self->counters, WEFT_COUNT_PRODUCE_BYTES, weft_batch_bytes(batch));
    self->written_bytes += weft_batch_bytes(batch);
}

void weft_partition_append(weft_partition_t *self, weft_slice_t head, weft_slice_t payload,
                           const struct weft_batch *stamped, const struct weft_replica_produce *produce)
{
    bool rolled = false;
    weft_err_t code = weft_log_append(self->log, head, payload, stamped, &rolled);
    if (code != WEFT_OK || self->disk_full) weft_partition_disk(self, code, "write");
    if (code != WEFT_OK) {
        weft_replica_append_failed(self->replica, produce, code);
        return;
    }
    if (rolled) weft_partition_snapshot(self, stamped->base_offset); // the sessions are still those of all below
    weft_replica_appended(self->replica, produce, stamped);
    weft_lead_appended(self);
    s_count(self->shard, stamped);
}

static void s_append(weft_partition_t *partition, struct s_incoming *in, const struct weft_replica_produce *produce,
                     int64_t base_offset, int32_t leader_epoch)
{
    weft_shard_t *self = partition->shard;
    struct weft_batch stamped = in->batch;
    if (partition->settings.append_time)
        weft_batch_stamp_append_time(in->header, base_offset, leader_epoch, weft_port_wall_ms(&self->port), &stamped);
    else
        weft_batch_stamp(in->header, base_offset, leader_epoch, in->crc_state, &stamped);
    weft_partition_append(partition, in->head, in->payload, &stamped, produce);
}

// A request that still waits after its own effects gets its deadline here.
static void s_park(weft_partition_t *partition, struct weft_wait *wait, const struct weft_produce_request *request)
{
    weft_shard_t *self = partition->shard;
    uint32_t wait_ms = request->timeout_ms < WEFT_SHARD_WAIT_MS_MAX ? request->timeout_ms : WEFT_SHARD_WAIT_MS_MAX;
    weft_waits_deadline(&self->waits, wait, weft_port_now_us(&self->port) + (int64_t) wait_ms * 1000);
    self->produces_waiting++;
    weft_counter_set(self->counters, WEFT_COUNT_PRODUCE_WAITING, self->produces_waiting);
}

static void s_unpark(weft_shard_t *self)
{
    self->produces_waiting--;
    weft_counter_set(self->counters, WEFT_COUNT_PRODUCE_WAITING, self->produces_waiting);
}

static void s_produce(weft_partition_t *partition, const struct weft_asker *asker,
                      const struct weft_produce_request *request, enum weft_acks acks, struct s_incoming *in)
{
    weft_shard_t *self = partition->shard;
    struct weft_wait *wait = NULL;
    struct weft_replica_produce produce = {.acks = acks,
                                           .durable = acks == WEFT_ACKS_ALL && request->durable,
                                           .batch = &in->batch,
                                           .conditional = request->after_sequence >= 0,
                                           .after_sequence = request->after_sequence};
    if (asker != NULL) {
        wait = weft_waits_take(&self->waits, WEFT_WAIT_PRODUCE);
        wait->asker = *asker;
        wait->partition = partition;
        produce.token = weft_wait_token(wait);
    }
    int64_t base_offset;
    int32_t leader_epoch;
    if (weft_replica_produce(partition->replica, &produce, &base_offset, &leader_epoch) == WEFT_REPLICA_APPEND)
        s_append(partition, in, &produce, base_offset, leader_epoch);
    weft_partition_effects(partition);
    bool waits = wait != NULL && weft_waits_find(&self->waits, produce.token) == wait;
    if (waits) s_park(partition, wait, request);
    if (weft_log_dirty(partition->log)) weft_partition_dirty(partition, waits && produce.durable);
    if (waits && produce.durable) weft_lead_wanted(partition); // it may be the duplicate of one for which nobody waited
}

void weft_shard_produce(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header, weft_frame_t *data)
{
    struct weft_produce_request request;
    enum weft_acks acks = WEFT_ACKS_ALL;
    weft_err_t code = weft_produce_request_decode(&self->codec, header, &request, &self->error);
    if (code == WEFT_OK) code = s_acks(self, request.acks, &acks);
    if (code != WEFT_OK) {
        weft_counter_add(self->counters, WEFT_COUNT_PRODUCE_REFUSED, 1);
        weft_shard_refuse(self, asker, code, self->error.text);
        return;
    }
    if (acks == WEFT_ACKS_NONE && asker->delimited)
        acks = WEFT_ACKS_LEADER;              // a REQ waits for a reply whatever it asked for
    if (acks == WEFT_ACKS_NONE) asker = NULL; // refusals are counted, not sent
    if (weft_shard_overloaded(self)) {
        weft_counter_add(self->counters, WEFT_COUNT_PRODUCE_REFUSED, 1);
        weft_shard_refuse(self, asker, WEFT_ERR_OVERLOADED, NULL);
        return;
    }
    const struct weft_target target = {request.topic, request.topic_id, request.partition};
    weft_partition_t *partition = weft_shard_led_partition(self, asker, &target);
    if (partition == NULL) return;
    if (partition->keeps_offsets) {
        weft_counter_add(self->counters, WEFT_COUNT_PRODUCE_REFUSED, 1);
        weft_shard_refuse(self, asker, WEFT_ERR_INVALID_REQUEST,
                          "__offsets is written by its leaders alone: send `commit` for offsets of a group.");
        return;
    }
    struct s_incoming in;
    code = s_accept(partition, data, &in);
    if (code != WEFT_OK) {
        weft_trace(WEFT_TRACE_DEBUG, self->name, "%s: a batch is refused: %s", partition->name, self->error.text);
        weft_counter_add(self->counters, WEFT_COUNT_PRODUCE_REFUSED, 1);
        weft_shard_refuse(self, asker, code, self->error.text);
        return;
    }
    s_produce(partition, asker, &request, acks, &in);
}

// ---- the end of a wait

static void s_refuse(weft_partition_t *partition, const struct weft_asker *asker, weft_err_t code)
{
    weft_shard_t *self = partition->shard;
    weft_counter_add(self->counters, WEFT_COUNT_PRODUCE_REFUSED, 1);
    if (code == WEFT_ERR_NOT_LEADER || code == WEFT_ERR_LEADER_CHANGED)
        weft_shard_refuse_moved(self, asker, code, partition->topic, partition->number);
    else
        weft_shard_refuse(self, asker, code, NULL);
}

void weft_shard_produce_done(weft_partition_t *partition, const struct weft_replica_effect *effect)
{
    weft_shard_t *self = partition->shard;
    if (effect->duplicate) weft_counter_add(self->counters, WEFT_COUNT_PRODUCE_DUPLICATES, 1);
    struct weft_wait *wait = weft_waits_find(&self->waits, effect->token);
    if (wait == NULL) return; // acks none, or it timed out
    if (wait->kind == WEFT_WAIT_OFFSETS) {
        weft_ledger_done(wait, effect);
        return;
    }
    if (effect->code != WEFT_OK) {
        s_refuse(partition, &wait->asker, effect->code);
    } else {
        struct weft_produce_reply reply;
        weft_produce_reply_init(&reply);
        reply.header.id = wait->asker.request_id;
        reply.offset = effect->offset;
        reply.level = weft_slice_text(s_level_name(effect->level));
        reply.duplicate = effect->duplicate;
        reply.log_start = weft_log_start(partition->log);
        weft_buf_clear(&self->reply);
        weft_produce_reply_encode(&reply, &self->reply);
        weft_shard_answer(self, &wait->asker, NULL);
    }
    if (wait->heap_at != 0) s_unpark(self);
    weft_waits_give(&self->waits, wait);
}

void weft_shard_produce_timed_out(weft_shard_t *self, struct weft_wait *wait)
{
    (void) !weft_replica_cancel(wait->partition->replica, weft_wait_token(wait));
    weft_counter_add(self->counters, WEFT_COUNT_PRODUCE_REFUSED, 1);
    weft_shard_refuse(self, &wait->asker, WEFT_ERR_TIMED_OUT, NULL);
    s_unpark(self);
    weft_waits_give(&self->waits, wait);
}
