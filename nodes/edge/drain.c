// SPDX-License-Identifier: MPL-2.0
// Delivering. A window of batches of one identity and epoch is under way, in the order of the log; the core takes a session's
// batches in order or not at all. Whatever fails, all that is under way is waited for, what was delivered without a gap
// is done, and the rest goes again: what the core has already it knows. So the order is kept, and each is written once.
//
// What is refused for good is judged only when it is the first that is not delivered, for then nothing before it can be
// the reason.
#include "spool_inner.h"

#include "../../lib/base/mutate.h"

#include <weft_gen/limits.h>
#include <weft_gen/messages.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S_READ_BYTES (1 << 20)
#define S_TIMEOUT_MS 30000
#define S_TRIM_BYTES (8 << 20)
#define S_TRIM_US 1000000
#define S_MISSING_US 10000000 // a topic that the core doesn't know for so long is gone

static void s_done(struct weft_call *base, weft_err_t error, const char *text, const struct weft_reply_header *header,
                   struct weft_message *message);

bool weft_drain_owns(const struct weft_call *call)
{
    return call->done == s_done;
}

static weft_edge_part_t *s_edge(const struct weft_spooled *self)
{
    return self->spool->edge;
}

static struct weft_drain *s_at(struct weft_spooled *self, size_t i)
{
    return &self->flight[(self->first + i) % WEFT_DRAIN_WINDOW];
}

void weft_drain_fini(struct weft_spooled *self)
{
    for (size_t i = 0; i < self->count; i++) {
        struct weft_drain *drain = s_at(self, i);
        weft_requests_cancel(&s_edge(self)->requests, &drain->call);
        weft_shared_drop(&drain->call.data);
    }
    self->count = 0;
}

// ---- names

static const struct weft_spool_name *s_name_of(const struct weft_spooled *self, const struct weft_batch *batch)
{
    for (size_t i = self->name_count; i-- > 0;) { // the newest that fits
        const struct weft_spool_name *name = &self->names[i];
        if (name->producer_id != batch->producer_id || name->epoch != batch->producer_epoch) continue;
        uint32_t distance = ((uint32_t) batch->base_sequence - (uint32_t) name->base_sequence) & 0x7fffffff;
        if (batch->base_offset >= name->from_offset && distance < 0x40000000) return name;
    }
    return NULL;
}

// As the core knows it.
static void s_rename(const struct weft_spooled *self, struct weft_batch *batch)
{
    const struct weft_spool_name *name = s_name_of(self, batch);
    if (name == NULL) return;
    batch->base_sequence = (int32_t) (((uint32_t) batch->base_sequence - (uint32_t) name->base_sequence) & 0x7fffffff);
    batch->producer_id = name->new_id;
    batch->producer_epoch = 0;
}

// The session of `batch` goes on under a new identity: from that batch on, or behind it.
static weft_err_t s_add_name(struct weft_spooled *self, const struct weft_batch *batch, bool behind)
{
    uint32_t skip = behind ? batch->last_offset_delta + 1 : 0;
    const struct weft_spool_name name = {
        .producer_id = batch->producer_id,
        .epoch = batch->producer_epoch,
        .from_offset = batch->base_offset + skip,
        .new_id = (int64_t) (weft_rand_next(&self->spool->rand) >> 1) | 1,
        .base_sequence = (int32_t) (((uint32_t) batch->base_sequence + skip) & 0x7fffffff),
    };
    for (size_t i = 0; i < self->name_count; i++) // by an earlier life, which may have sent under it
        if (self->names[i].producer_id == name.producer_id && self->names[i].epoch == name.epoch &&
            self->names[i].from_offset == name.from_offset)
            return WEFT_OK;
    weft_err_t err = weft_spool_name_add(self, &name);
    if (err == WEFT_OK) weft_counter_add(weft_edge_counters(s_edge(self)), WEFT_EDGE_RENAMED, 1);
    return err;
}

// ---- sending

// The next batch of the log at self->next, from what was read; an empty slice at the end, or if it can't be read.
static weft_slice_t s_next_batch(struct weft_spooled *self, struct weft_batch *batch)
{
    for (int tries = 0; tries < 2; tries++) {
        while (self->read_at < self->read.size) {
            weft_slice_t rest = weft_slice(self->read.data + self->read_at, self->read.size - self->read_at);
            if (weft_batch_read(rest, batch) != WEFT_OK) break;
            if (batch->base_offset == self->next) return weft_slice(rest.data, weft_batch_bytes(batch));
            if (batch->base_offset > self->next) break;
            self->read_at += weft_batch_bytes(batch);
        }
        weft_frame_drop(&self->read);
        self->read_at = 0;
        int64_t end = weft_log_end(self->log);
        if (self->next >= end) break;
        weft_err_t err = weft_log_read(self->log, self->next, S_READ_BYTES, true, end, self->spool->pool, &self->read);
        if (err == WEFT_OK) continue;
        weft_trace(WEFT_TRACE_ERROR, self->spool->name, "spool: offset %lld can't be read (%s)", (long long) self->next,
                   weft_err_name(err));
        break;
    }
    return WEFT_SLICE_NIL;
}

static weft_shared_t *s_copy(const struct weft_batch *stored, const struct weft_batch *batch, weft_slice_t bytes)
{
    weft_buf_t copy;
    weft_buf_init(&copy);
    weft_buf_append(&copy, bytes.data, bytes.size);
    // What rotted on the disk keeps its sum, so that the core refuses it; a new sum would make it good.
    struct weft_batch whole;
    if (stored->producer_id != batch->producer_id && weft_batch_verify(bytes, &whole) == WEFT_OK) {
        weft_batch_write_header(copy.data, batch);
        weft_batch_seal(copy.data, copy.size);
    }
    return weft_shared_new(&copy);
}

static void s_encode(struct weft_spooled *self, struct weft_drain *drain)
{
    struct weft_produce_request request;
    weft_produce_request_init(&request);
    request.id = weft_requests_id(&s_edge(self)->requests, &drain->call);
    request.topic = weft_slice_text(drain->call.topic->name);
    request.topic_id = self->topic_id;
    request.partition = self->partition;
    request.timeout_ms = S_TIMEOUT_MS;
    request.spool = false; // delivered is what the log has, not the spool of another edge
    weft_buf_clear(&drain->call.header);
    weft_produce_request_encode(&request, &drain->call.header);
}

static bool s_send(struct weft_spooled *self, struct weft_view_topic *topic, const struct weft_batch *stored,
                   const struct weft_batch *batch, weft_slice_t bytes)
{
    struct weft_drain *drain = s_at(self, self->count);
    *drain = (struct weft_drain){
        .spooled = self, .offset = stored->base_offset, .end = weft_batch_next_offset(stored), .bytes = bytes.size};
    drain->call = (struct weft_call){.to = WEFT_TO_LEADER,
                                     .topic = topic,
                                     .partition = (int32_t) self->partition,
                                     .attempt_us = (int64_t) 2 * S_TIMEOUT_MS * 1000,
                                     .deadline_us = WEFT_TIME_NEVER,
                                     .done = s_done,
                                     .context = drain};
    weft_buf_init(&drain->call.header);
    s_encode(self, drain);
    drain->call.data = s_copy(stored, batch, bytes);
    if (weft_requests_try(&s_edge(self)->requests, &drain->call) != WEFT_OK) {
        weft_requests_cancel(&s_edge(self)->requests, &drain->call);
        weft_shared_drop(&drain->call.data);
        return false;
    }
    drain->under_way = true;
    if (self->count++ == 0) self->spool->active++;
    self->flight_bytes += bytes.size;
    self->flight_id = batch->producer_id;
    self->flight_epoch = batch->producer_epoch;
    self->next = drain->end;
    return true;
}

// An epoch is a session of its own: its first batch is taken whatever became of those of the epoch before, and fences them.
static bool s_is_of_flight(const struct weft_spooled *self, const struct weft_batch *batch)
{
    bool same = batch->producer_epoch == self->flight_epoch || weft_mutated("epochs_drained_together");
    return batch->producer_id == self->flight_id && same;
}

// As many as may be under way together. False: the leader can't be reached.
static bool s_fill(struct weft_spooled *self, struct weft_view_topic *topic)
{
    if (self->count == 0 && self->spool->active >= WEFT_DRAIN_ACTIVE) return false;
    while (!self->failing && self->count < WEFT_DRAIN_WINDOW && self->flight_bytes < WEFT_DRAIN_BYTES) {
        struct weft_batch stored;
        weft_slice_t bytes = s_next_batch(self, &stored);
        if (bytes.size == 0) return self->next >= weft_log_end(self->log);
        struct weft_batch batch = stored;
        s_rename(self, &batch);
        if (self->count > 0 && !s_is_of_flight(self, &batch)) return true; // another session waits for this one
        if (!s_send(self, topic, &stored, &batch, bytes)) return false;
    }
    return true;
}

// ---- answers

static void s_done(struct weft_call *base, weft_err_t error, const char *text, const struct weft_reply_header *header,
                   struct weft_message *message)
{
    struct weft_drain *drain = base->context;
    struct weft_spooled *self = drain->spooled;
    weft_counters_t *counters = weft_edge_counters(s_edge(self));
    struct weft_produce_reply reply;
    struct weft_error why;
    drain->under_way = false;
    drain->done = error == WEFT_OK || error == WEFT_ERR_DUPLICATE_SEQUENCE;
    if (drain->done && message != NULL) {
        bool told = weft_produce_reply_decode(&s_edge(self)->codec, weft_frame_slice(&message->header), &reply, &why) ==
                    WEFT_OK;
        if (error != WEFT_OK || (told && reply.duplicate)) weft_counter_add(counters, WEFT_EDGE_DRAIN_DUPLICATES, 1);
    }
    if (!drain->done) {
        drain->error = error;
        snprintf(drain->text, sizeof drain->text, "%s", text);
        self->failing = true;
    }
    self->spool->next_us = 0;
}

// The oldest of those under way is not any more.
static void s_forget_first(struct weft_spooled *self)
{
    struct weft_drain *drain = s_at(self, 0);
    weft_requests_cancel(&s_edge(self)->requests, &drain->call);
    weft_buf_fini(&drain->call.header);
    weft_shared_drop(&drain->call.data);
    self->flight_bytes -= drain->bytes;
    self->first = (self->first + 1) % WEFT_DRAIN_WINDOW;
    if (--self->count > 0) return;
    self->spool->active--;
    if (self->spool->count <= WEFT_DRAIN_ACTIVE) return;
    weft_frame_drop(&self->read); // others may go first now
    self->read_at = 0;
}

static void s_delivered(struct weft_spooled *self, int64_t end)
{
    self->position = end;
    self->batches--;
    self->tries = 0;
}

// What was delivered without a gap is done.
static void s_advance(struct weft_spooled *self)
{
    while (self->count > 0 && s_at(self, 0)->done) {
        int64_t end = s_at(self, 0)->end;
        s_forget_first(self);
        s_delivered(self, end);
        weft_counter_add(weft_edge_counters(s_edge(self)), WEFT_EDGE_DRAINED, 1);
    }
}

static bool s_all_answered(struct weft_spooled *self)
{
    for (size_t i = 0; i < self->count; i++)
        if (s_at(self, i)->under_way) return false;
    return true;
}

// ---- refused for good

static bool s_is_final(weft_err_t error)
{
    enum weft_err_class class = weft_err_class(error);
    // Of the core, not of the batch; what is damaged may be restored, and an older broker be upgraded.
    if (error == WEFT_ERR_INTERNAL || error == WEFT_ERR_WRONG_CLUSTER || error == WEFT_ERR_DAMAGED ||
        error == WEFT_ERR_UNSUPPORTED_VERSION)
        return false;
    return class == WEFT_CLASS_PERMANENT || class == WEFT_CLASS_FATAL;
}

// Sets the batch at self->position aside and goes on behind it. False: that failed, it is tried again.
static bool s_bury(struct weft_spooled *self, weft_err_t error, const char *text)
{
    struct weft_batch stored;
    self->next = self->position;
    weft_slice_t bytes = s_next_batch(self, &stored);
    if (bytes.size == 0) return false;
    if (weft_spool_dead(self, bytes, error, text) != WEFT_OK) return false;
    weft_counter_add(weft_edge_counters(s_edge(self)), WEFT_EDGE_DEAD, 1);
    weft_trace(WEFT_TRACE_WARN, self->spool->name, "spool: a batch of %u records is set aside, %s: %s",
               (unsigned) stored.count, weft_err_name(error), text);
    // Of a topic that is gone nothing is left to be delivered. Who was fenced has given up all of that epoch, and some of it may
    // have been written: under a new identity it would be written again.
    bool goes_on = error != WEFT_ERR_UNKNOWN_TOPIC && error != WEFT_ERR_PRODUCER_FENCED;
    if (weft_mutated("fenced_goes_on")) goes_on = error != WEFT_ERR_UNKNOWN_TOPIC;
    if (goes_on && s_add_name(self, &stored, true) != WEFT_OK) return false;
    s_delivered(self, weft_batch_next_offset(&stored));
    self->next = self->position;
    self->trimmed_us = 0; // so that it is set aside once
    return true;
}

// The core knows of no such session, or lacks what came before: nothing before it is in the spool any more.
static bool s_begin_anew(struct weft_spooled *self)
{
    struct weft_batch stored;
    self->next = self->position;
    weft_slice_t bytes = s_next_batch(self, &stored);
    if (bytes.size == 0) return false;
    const struct weft_spool_name *name = s_name_of(self, &stored);
    if (name != NULL && name->from_offset == stored.base_offset) return false; // that is what was tried
    return s_add_name(self, &stored, false) == WEFT_OK;
}

// The batch at self->position is not what was kept: its bytes changed on this disk.
static bool s_is_rotten(struct weft_spooled *self)
{
    struct weft_batch stored;
    self->next = self->position;
    weft_slice_t bytes = s_next_batch(self, &stored);
    return bytes.size > 0 && weft_batch_verify(bytes, &stored) != WEFT_OK;
}

// All under way is answered, and the first that is not delivered was refused or lost.
static void s_judge(struct weft_spooled *self, int64_t now_us)
{
    const struct weft_drain *drain = s_at(self, 0);
    weft_err_t error = drain->error;
    char text[sizeof drain->text];
    snprintf(text, sizeof text, "%s", drain->text);
    bool first = self->count > 0 && drain->offset == self->position && !drain->done;
    while (self->count > 0) s_forget_first(self);
    self->next = self->position;
    self->failing = false;
    weft_counter_add(weft_edge_counters(s_edge(self)), WEFT_EDGE_DRAIN_AGAIN, 1);
    if (first && (error == WEFT_ERR_OUT_OF_ORDER_SEQUENCE || error == WEFT_ERR_UNKNOWN_PRODUCER)) {
        if (s_begin_anew(self)) return;
    }
    if (first && s_is_final(error) && s_bury(self, error, text)) return;
    if (first && error == WEFT_ERR_BAD_CRC && s_is_rotten(self) &&
        s_bury(self, WEFT_ERR_DAMAGED, "The batch rotted on the disk of the edge."))
        return;
    if (weft_trace_level_now >= WEFT_TRACE_DEBUG)
        weft_trace(WEFT_TRACE_DEBUG, self->spool->name, "spool: %s: %s", weft_err_name(error), text);
    self->retry_us = now_us + weft_requests_backoff_us(&s_edge(self)->requests, ++self->tries);
}

// The topic is not known. Once the core has said so for long, all that waits for it is set aside.
static int64_t s_missing(struct weft_spooled *self, int64_t now_us)
{
    weft_edge_part_t *edge = s_edge(self);
    if (self->missing_us == 0) {
        self->missing_us = now_us;
        self->missing_updates = edge->view.updates_all;
    }
    weft_requests_refresh(&edge->requests);
    bool told = edge->view.updates_all > self->missing_updates + 1;
    if (!told) self->missing_us = now_us;
    if (now_us < self->missing_us + S_MISSING_US || self->count > 0) return now_us + S_TRIM_US;
    if (!s_bury(self, WEFT_ERR_UNKNOWN_TOPIC, "The topic was deleted while its batches waited."))
        return now_us + S_TRIM_US;
    return now_us;
}

// ---- turn

static void s_trim(struct weft_spooled *self, int64_t now_us)
{
    bool emptied = self->position == weft_log_end(self->log);
    if (weft_log_start(self->log) == self->position || weft_log_broken(self->log)) return;
    if (!emptied && now_us < self->trimmed_us + S_TRIM_US) return;
    self->trimmed_us = now_us;
    // A trim leaves the segment that is written; an empty spool holds no bytes.
    weft_err_t err = emptied ? weft_log_reset(self->log, self->position) : weft_log_trim(self->log, self->position);
    if (err != WEFT_OK)
        weft_trace(WEFT_TRACE_ERROR, self->spool->name, "spool: what was delivered can't be removed (%s)",
                   weft_err_name(err));
    if (!emptied) return;
    weft_frame_drop(&self->read);
    self->read_at = 0;
    weft_spool_emptied(self);
    if (!weft_log_dirty(self->log)) weft_log_idle(self->log);
}

int64_t weft_drain_turn(struct weft_spooled *self, int64_t now_us)
{
    weft_edge_part_t *edge = s_edge(self);
    s_advance(self);
    if (self->failing && s_all_answered(self)) s_judge(self, now_us);
    if (self->position == weft_log_end(self->log) && self->count == 0) {
        bool was = weft_log_start(self->log) < self->position;
        s_trim(self, now_us);
        if (was && self->lane != NULL) weft_edge_lane_advance(edge, self->lane); // what waited behind goes directly
        return WEFT_TIME_NEVER;
    }
    s_trim(self, now_us);
    struct weft_view_topic *topic = weft_edge_topic_of_id(edge, self->topic_id);
    if (topic == NULL) return s_missing(self, now_us);
    self->missing_us = 0;
    if (now_us < self->retry_us) return self->retry_us;
    if (s_fill(self, topic)) return self->count > 0 ? now_us + S_TRIM_US : now_us + edge->requests.config.backoff_us;
    self->retry_us = now_us + edge->requests.config.backoff_us;
    return self->retry_us;
}
