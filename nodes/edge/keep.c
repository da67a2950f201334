// SPDX-License-Identifier: MPL-2.0
// Keeping. A batch is checked as a leader would check it, gets an identity if it has none, and is appended; it is answered
// once it is synced. Of a session only what may come next is taken: a gap in it would be refused by the core later, when
// nobody is there to hear it. The same batch twice is taken: the core knows.
#include "spool_inner.h"

#include "../../lib/base/mutate.h"

#include <weft_gen/limits.h>

#include <stdlib.h>

#define S_SESSIONS_MAX 65536 // of one partition; more: it is forgotten what comes next, and anything is taken

// ---- sessions

static int32_t s_after(int32_t sequence, uint32_t count)
{
    return (int32_t) (((uint32_t) sequence + count) & 0x7fffffff);
}

// How far `sequence` lies behind `next`, in the ring of sequences: 0 is next, positive a gap.
static int32_t s_ahead(int32_t sequence, int32_t next)
{
    uint32_t distance = ((uint32_t) sequence - (uint32_t) next) & 0x7fffffff;
    return distance < 0x40000000 ? (int32_t) distance : (int32_t) distance - (int32_t) 0x7fffffff - 1;
}

void weft_spool_sessions_clear(struct weft_spooled *self)
{
    void *value;
    for (size_t i = 0; weft_map_next(self->sessions, &i, NULL, &value);) free(value);
    weft_map_destroy(&self->sessions);
    self->sessions = weft_map_new();
}

static struct weft_spool_session *s_session(struct weft_spooled *self, int64_t id, bool *made)
{
    struct weft_spool_session *session = weft_map_get_u64(self->sessions, (uint64_t) id);
    *made = session == NULL;
    if (session != NULL) return session;
    if (weft_map_count(self->sessions) >= S_SESSIONS_MAX) weft_spool_sessions_clear(self);
    session = weft_calloc(1, sizeof *session);
    weft_map_put_u64(self->sessions, (uint64_t) id, session);
    return session;
}

void weft_spool_note(struct weft_spooled *self, const struct weft_batch *batch)
{
    bool made;
    struct weft_spool_session *session = s_session(self, batch->producer_id, &made);
    int32_t next = s_after(batch->base_sequence, batch->last_offset_delta + 1);
    if (made || batch->producer_epoch > session->epoch || s_ahead(next, session->next) > 0)
        *session = (struct weft_spool_session){.epoch = batch->producer_epoch, .next = next};
}

static weft_err_t s_check_session(struct weft_spooled *self, const struct weft_batch *batch, struct weft_error *error)
{
    const struct weft_spool_session *session = weft_map_get_u64(self->sessions, (uint64_t) batch->producer_id);
    if (weft_edge_owes_before(self->spool->edge, self->topic_id, self->partition, batch))
        return weft_error_set(error, WEFT_ERR_OUT_OF_ORDER_SEQUENCE,
                              "A batch of this producer before this one was refused and has not come again.");
    if (session == NULL || batch->producer_epoch > session->epoch) return WEFT_OK;
    if (batch->producer_epoch < session->epoch)
        return weft_error_set(error, WEFT_ERR_PRODUCER_FENCED,
                              "The edge keeps batches of epoch %d of this producer, and this one is of epoch %d.",
                              (int) session->epoch, (int) batch->producer_epoch);
    if (s_ahead(batch->base_sequence, session->next) > 0)
        return weft_error_set(error, WEFT_ERR_OUT_OF_ORDER_SEQUENCE,
                              "The edge's spool expects sequence %d of this producer, and this batch has %d.",
                              (int) session->next, (int) batch->base_sequence);
    return WEFT_OK;
}

// ---- keeping

static struct weft_batch_limits s_limits(const weft_spool_t *self)
{
    return (struct weft_batch_limits){.batch_bytes_max = self->edge->requests.batch_bytes_max,
                                      .record_bytes_max = WEFT_RECORD_BYTES_MAX,
                                      .raw_bytes_max = WEFT_RAW_BYTES_MAX};
}

// What a leader would look into, so that it is refused to the producer and not to nobody.
static weft_err_t s_look_inside(weft_spool_t *self, const struct weft_batch *batch, struct weft_error *error)
{
    weft_slice_t records;
    if (weft_batch_codec(batch) == WEFT_CODEC_NONE) return WEFT_OK;
    weft_buf_clear(&self->packed);
    weft_err_t err = weft_batch_payload(weft_buf_slice(&self->scratch), batch, &self->packed, &records);
    if (err != WEFT_OK) return weft_error_set(error, err, "batch: its payload does not inflate to raw_bytes");
    return weft_batch_check_records(records, batch->count, WEFT_RECORD_BYTES_MAX, error);
}

// The batch of a request, checked, in self->scratch; its state for the stamp.
static weft_err_t s_take(weft_spool_t *self, weft_slice_t data, struct weft_batch *batch, uint32_t *crc_state,
                         struct weft_error *error)
{
    struct weft_batch_limits limits = s_limits(self);
    weft_err_t err = WEFT_OK;
    weft_buf_clear(&self->scratch);
    if (data.size == 0)
        return weft_error_set(error, WEFT_ERR_BAD_BATCH,
                              "The request has no data frame: send one batch, or bare records, behind the header.");
    if (weft_batch_looks_like_batch(data))
        weft_buf_append(&self->scratch, data.data, data.size);
    else
        err = weft_batch_of_bare_records(data, weft_port_wall_ms(&self->edge->port), &limits, &self->scratch, error);
    if (err == WEFT_OK) err = weft_batch_accept(weft_buf_slice(&self->scratch), &limits, batch, crc_state, error);
    if (err != WEFT_OK) return err;
    if (self->scratch.size != weft_batch_bytes(batch))
        return weft_error_set(error, WEFT_ERR_BAD_BATCH, "%zu bytes follow the batch: send one batch in a message.",
                              self->scratch.size - weft_batch_bytes(batch));
    return s_look_inside(self, batch, error);
}

// What came without an identity gets the edge's own, in the batch: it is as durable as that.
static weft_err_t s_name(struct weft_spooled *one, struct weft_batch *batch, uint32_t *crc_state,
                         struct weft_error *error)
{
    weft_spool_t *self = one->spool;
    struct weft_batch_limits limits = s_limits(self);
    if (batch->producer_id >= 0) return WEFT_OK;
    if (one->own_id < 0) {
        one->own_id = (int64_t) (weft_rand_next(&self->rand) >> 1) | 1;
        one->own_next = 0;
    }
    batch->producer_id = one->own_id;
    batch->producer_epoch = 0;
    batch->base_sequence = one->own_next;
    weft_batch_write_header(self->scratch.data, batch);
    weft_batch_seal(self->scratch.data, self->scratch.size);
    return weft_batch_accept(weft_buf_slice(&self->scratch), &limits, batch, crc_state, error);
}

static weft_err_t s_room(struct weft_spooled *one, size_t bytes, struct weft_error *error)
{
    weft_spool_t *self = one->spool;
    if (weft_log_broken(one->log))
        return weft_error_set(error, WEFT_ERR_DISK_FAILED,
                              "A sync of the edge's spool failed; restart it once the disk "
                              "is well.");
    if (self->bytes + (int64_t) bytes > self->bytes_max)
        return weft_error_set(error, WEFT_ERR_OVERLOADED,
                              "The leader can't be reached and the edge's spool is full (`spool.bytes`); come back "
                              "later.");
    bool empty = one->position == weft_log_end(one->log);
    if (self->max_us > 0 && !empty && weft_port_now_us(&self->edge->port) - one->oldest_us > self->max_us)
        return weft_error_set(error, WEFT_ERR_OVERLOADED,
                              "The leader has been away for longer than the edge keeps batches (`spool.max.ms`).");
    return WEFT_OK;
}

static weft_err_t s_append(struct weft_spooled *one, struct weft_batch *batch, uint32_t crc_state,
                           struct weft_error *error)
{
    weft_spool_t *self = one->spool;
    bool rolled, empty = one->position == weft_log_end(one->log);
    weft_batch_stamp(self->scratch.data, weft_log_end(one->log), 0, crc_state, batch);
    weft_err_t err = weft_log_append(one->log, weft_buf_slice(&self->scratch), WEFT_SLICE_NIL, batch, &rolled);
    if (err != WEFT_OK)
        return weft_error_set(error, err, "The edge's spool could not be written: %s", weft_err_sentence(err));
    if (empty) one->oldest_us = weft_port_now_us(&self->edge->port);
    if (batch->producer_id == one->own_id) one->own_next = s_after(one->own_next, batch->last_offset_delta + 1);
    weft_spool_note(one, batch);
    one->batches++;
    self->bytes += (int64_t) weft_batch_bytes(batch);
    one->dirty = self->any_dirty = true;
    weft_counter_add(weft_edge_counters(self->edge), WEFT_EDGE_SPOOLED, 1);
    weft_counter_add(weft_edge_counters(self->edge), WEFT_EDGE_SPOOLED_BYTES, weft_batch_bytes(batch));
    return WEFT_OK;
}

static weft_err_t s_keep(struct weft_spooled *one, weft_slice_t data, struct weft_error *error)
{
    struct weft_batch batch = {.producer_id = -1};
    uint32_t crc_state;
    weft_err_t err = s_take(one->spool, data, &batch, &crc_state, error);
    if (err != WEFT_OK) return err;
    err = s_room(one, one->spool->scratch.size, error);
    if (err == WEFT_OK && batch.producer_id >= 0) err = s_check_session(one, &batch, error);
    if (err == WEFT_OK) err = s_name(one, &batch, &crc_state, error);
    if (err == WEFT_OK) err = s_append(one, &batch, crc_state, error);
    if (err == WEFT_OK) weft_edge_paid(one->spool->edge, one->topic_id, one->partition, &batch);
    return err;
}

void weft_spool_keep(weft_spool_t *self, struct weft_edge_lane *lane, struct weft_edge_call *call)
{
    struct weft_error error = {.text = ""};
    weft_err_t err = WEFT_OK;
    if (lane->spool == NULL) lane->spool = weft_spool_find(self, lane->topic_id, lane->partition);
    if (lane->spool == NULL) err = weft_spool_open(self, lane->topic_id, lane->partition, 0, &lane->spool, &error);
    if (err == WEFT_OK) {
        lane->spool->lane = lane;
        weft_slice_t data = call->call.data != NULL ? weft_shared_slice(call->call.data) : WEFT_SLICE_NIL;
        err = s_keep(lane->spool, data, &error);
    }
    if (err != WEFT_OK) {
        weft_counter_add(weft_edge_counters(self->edge), WEFT_EDGE_SPOOL_REFUSED, 1);
        weft_edge_end_refused(call, (int) err < 0 ? WEFT_ERR_DISK_FAILED : err, error.text);
        return;
    }
    self->next_us = 0;
    weft_requests_cancel(&self->edge->requests, &call->call);
    call->state = WEFT_EDGE_KEPT;
    call->kept_end = weft_mutated("spooled_before_its_sync") ? 0 : weft_log_end(lane->spool->log);
    weft_edge_list_add(&lane->spool->kept, call);
}
