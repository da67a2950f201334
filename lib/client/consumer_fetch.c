// SPDX-License-Identifier: MPL-2.0
// Asking nodes. Each partition has one call under way at most. Bytes asked for are counted as if they had arrived, so
// that all answers together stay within buffer.bytes; when that is too little for all partitions, those that have
// caught up wait in a watch, which reserves nothing (rule 25).
#include "consumer_inner.h"

#include "../base/assert.h"

#include <weft_gen/config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TRIES_MAX 3 // a leader that refuses is asked again after 200 ms at most: one answer may end an outage

static weft_consumer_part_t *s_part(const struct weft_cpartition *partition)
{
    return partition->part;
}

void weft_consumer_forget(weft_consumer_part_t *self, struct weft_cpartition *partition)
{
    weft_requests_cancel(&self->requests, &partition->call);
    self->held_bytes -= partition->asked_bytes;
    partition->asked_bytes = 0;
    weft_consumer_drop_chunks(self, partition);
}

void weft_consumer_stop_partition(weft_consumer_part_t *self, struct weft_cpartition *partition,
                                  enum weft_consumer_event_type type, int64_t offset, int64_t next, weft_err_t error,
                                  const char *text)
{
    weft_consumer_forget(self, partition);
    partition->state = WEFT_CSTATE_STOPPED;
    partition->error = error;
    partition->unheard = WEFT_OK;
    weft_consumer_tell(self, type, partition->topic, partition->index, offset, next, error, text);
}

// The log that the ends were told of is no more: they are learnt anew.
static void s_forget_ends(struct weft_cpartition *partition)
{
    partition->end = partition->end_at_start = partition->log_start = -1;
}

static void s_read_from(struct weft_cpartition *partition, int64_t offset)
{
    partition->state = WEFT_CSTATE_READ;
    partition->position = partition->fetch_offset = offset;
    partition->fetch_epoch = partition->read_epoch = -1;
    partition->caught_up = false;
}

void weft_consumer_begin_anew(weft_consumer_part_t *self, struct weft_cpartition *partition)
{
    if (partition->owned) return; // nothing of it is asked for any more; the group will take it back
    int64_t from = partition->position;
    const char *text = weft_err_sentence(WEFT_ERR_TOPIC_REPLACED);
    partition->commit.done = -1;
    s_forget_ends(partition);
    if (self->reset == WEFT_CONSUMER_RESET_ERROR) {
        weft_consumer_stop_partition(self, partition, WEFT_EVENT_STOPPED, from, -1, WEFT_ERR_TOPIC_REPLACED, text);
        return;
    }
    weft_consumer_tell(self, WEFT_EVENT_RESET, partition->topic, partition->index, from, 0, WEFT_ERR_TOPIC_REPLACED,
                       text);
    weft_consumer_move(self, partition, (struct weft_position){.from = WEFT_FROM_EARLIEST});
}

void weft_consumer_move(weft_consumer_part_t *self, struct weft_cpartition *partition, struct weft_position at)
{
    if (partition->state == WEFT_CSTATE_FENCE) { // the fence comes first
        partition->at = at;
        partition->sought = true;
        return;
    }
    weft_consumer_forget(self, partition);
    partition->error = partition->unheard = WEFT_OK;
    partition->resetting = false;
    partition->tries = 0;
    partition->retry_us = 0;
    if (at.from == WEFT_FROM_RESET) {
        if (self->reset == WEFT_CONSUMER_RESET_ERROR) {
            weft_consumer_stop_partition(self, partition, WEFT_EVENT_STOPPED, -1, -1, WEFT_ERR_OFFSET_OUT_OF_RANGE,
                                         "no offset was given, and reset=error; seek to one");
            return;
        }
        at.from = self->reset == WEFT_CONSUMER_RESET_EARLIEST ? WEFT_FROM_EARLIEST : WEFT_FROM_LATEST;
    }
    partition->at = at;
    if (at.from != WEFT_FROM_OFFSET) {
        partition->state = WEFT_CSTATE_RESOLVE;
        partition->position = -1;
        return;
    }
    s_read_from(partition, at.value);
    weft_consumer_tell(self, WEFT_EVENT_ASSIGNED, partition->topic, partition->index, -1, at.value, WEFT_OK, "");
}

void weft_consumer_behind(struct weft_cpartition *partition, int32_t leader_epoch)
{
    partition->sought_epoch = leader_epoch;
    if (partition->state == WEFT_CSTATE_READ) partition->fetch_epoch = partition->read_epoch = leader_epoch;
}

void weft_consumer_fenced(weft_consumer_part_t *self, struct weft_cpartition *partition, int64_t offset, int32_t epoch)
{
    partition->commit.done = offset;
    partition->state = WEFT_CSTATE_RESOLVE;
    if (partition->sought || offset < 0) {
        if (offset < 0) self->offsets.auto_now = true; // where it begins is to be known should it end here
        weft_consumer_move(self, partition, partition->at);
        weft_consumer_behind(partition, partition->sought_epoch);
        return;
    }
    s_read_from(partition, offset);
    partition->fetch_epoch = partition->read_epoch = epoch; // if the log holds another record there, it says so
    weft_consumer_tell(self, WEFT_EVENT_ASSIGNED, partition->topic, partition->index, -1, offset, WEFT_OK, "");
}

// The offset is gone: by the option `reset`, never in silence.
static void s_reset(weft_consumer_part_t *self, struct weft_cpartition *partition, weft_err_t error, const char *text)
{
    weft_counter_add(&self->counters, WEFT_CONSUMER_RESETS, 1);
    if (self->reset == WEFT_CONSUMER_RESET_ERROR) {
        weft_consumer_stop_partition(self, partition, WEFT_EVENT_STOPPED, partition->position, -1, error, text);
        return;
    }
    partition->state = WEFT_CSTATE_RESOLVE;
    partition->at = (struct weft_position){.from = self->reset == WEFT_CONSUMER_RESET_EARLIEST ? WEFT_FROM_EARLIEST
                                                                                               : WEFT_FROM_LATEST};
    partition->resetting = true;
    partition->error = error;
    s_forget_ends(partition);
}

static void s_try_later(weft_consumer_part_t *self, struct weft_cpartition *partition, int64_t least_us)
{
    weft_counter_add(&self->counters, WEFT_CONSUMER_RETRIES, 1);
    if (partition->tries < TRIES_MAX) partition->tries++;
    int64_t wait_us = weft_requests_backoff_us(&self->requests, partition->tries);
    partition->retry_us = weft_port_now_us(&self->port) + (wait_us > least_us ? wait_us : least_us);
}

// A refusal that fetch and list_offsets share.
static void s_refused(weft_consumer_part_t *self, struct weft_cpartition *partition, weft_err_t error, const char *text,
                      const struct weft_reply_header *header)
{
    enum weft_err_class class = weft_err_class(error);
    partition->unheard = class == WEFT_CLASS_RETRY || class == WEFT_CLASS_REFRESH ? error : WEFT_OK;
    partition->caught_up = false; // a real fetch tells soon that it is heard again, a watch would not
    if (error == WEFT_ERR_TOPIC_REPLACED && partition->owned) {
        weft_requests_refresh(&self->requests);
        s_try_later(self, partition, 0); // until the group knows
    } else if (error == WEFT_ERR_TOPIC_REPLACED) {
        weft_requests_refresh(&self->requests);
        s_reset(self, partition, error, text);
        if (partition->state != WEFT_CSTATE_STOPPED) s_try_later(self, partition, 0);
    } else if (class == WEFT_CLASS_RETRY || class == WEFT_CLASS_REFRESH) {
        // The view knows where to go, or will: asked again at once, and nothing is sent before it does.
        if (partition->call.redirected && partition->tries < 3)
            partition->tries++;
        else if (error == WEFT_ERR_LOCAL_NOT_CONNECTED && partition->tries < 1)
            partition->tries++;
        else
            s_try_later(self, partition, header ? (int64_t) header->retry_ms * 1000 : 0);
    } else
        weft_consumer_stop_partition(self, partition, WEFT_EVENT_STOPPED, partition->position, -1, error, text);
}

// ---- where to begin: list_offsets

static void s_resolved(struct weft_call *call, weft_err_t error, const char *text,
                       const struct weft_reply_header *header, struct weft_message *message)
{
    struct weft_cpartition *partition = call->context;
    weft_consumer_part_t *self = s_part(partition);
    if (partition->letting_go) return; // it stays where it is committed; kept after all, it asks again
    struct weft_list_offsets_reply reply;
    struct weft_error why;
    if (!error) {
        error = weft_list_offsets_reply_decode(&self->requests.codec, weft_frame_slice(&message->header), &reply, &why);
        text = why.text;
    }
    if (error) {
        s_refused(self, partition, error, text, header);
        return;
    }
    int64_t from = partition->resetting ? partition->position : -1;
    s_read_from(partition, reply.offset);
    partition->log_start = reply.log_start;
    partition->tries = 0;
    partition->unheard = WEFT_OK;
    weft_consumer_tell(self, partition->resetting ? WEFT_EVENT_RESET : WEFT_EVENT_ASSIGNED, partition->topic,
                       partition->index, from, reply.offset, partition->error,
                       partition->resetting ? weft_err_sentence(partition->error) : "");
    partition->resetting = false;
    partition->error = WEFT_OK;
}

static weft_err_t s_ask_offset(weft_consumer_part_t *self, struct weft_cpartition *partition)
{
    static const char *const names[] = {
        [WEFT_FROM_EARLIEST] = "earliest", [WEFT_FROM_LATEST] = "latest", [WEFT_FROM_TIME] = "time"};
    struct weft_list_offsets_request request;
    weft_list_offsets_request_init(&request);
    request.id = weft_requests_id(&self->requests, &partition->call);
    request.topic = weft_text(partition->topic->name);
    request.topic_id = partition->topic->id;
    request.partition = (uint32_t) partition->index;
    request.at = weft_text(names[partition->at.from]);
    if (partition->at.from == WEFT_FROM_TIME) request.time_ms = partition->at.value;
    request.read = weft_text(self->durable ? "durable" : "committed");
    weft_buf_clear(&partition->call.header);
    weft_list_offsets_request_encode(&request, &partition->call.header);
    partition->call.attempt_us = self->attempt_us;
    partition->call.parked_us = 0;
    partition->call.done = s_resolved;
    return weft_requests_try(&self->requests, &partition->call);
}

// ---- fetch: answers

// Keeps whole batches only; fills *next and *epoch from the last one. BAD_BATCH if not even the first is one.
static weft_err_t s_survey(struct weft_message *message, int64_t *next, int32_t *epoch)
{
    size_t at = 0;
    while (at < message->data.size) {
        struct weft_batch batch;
        weft_err_t err = weft_batch_read(weft_bytes(message->data.data + at, message->data.size - at), &batch);
        if (err && at == 0) return WEFT_ERR_BAD_BATCH;
        if (err || (at && batch.base_offset < *next)) break;
        *next = weft_batch_next_offset(&batch);
        *epoch = batch.leader_epoch;
        at += weft_batch_bytes(&batch);
    }
    if (at < message->data.size) weft_frame_shorten(&message->data, at);
    return WEFT_OK;
}

static void s_keep_chunk(weft_consumer_part_t *self, struct weft_cpartition *partition, struct weft_message *message)
{
    struct weft_cchunk *chunk = weft_calloc(1, sizeof *chunk);
    weft_frame_move(&chunk->frame, &message->data);
    chunk->partition = partition;
    chunk->serial = ++self->serial;
    chunk->previous = self->last;
    if (self->last)
        self->last->next = chunk;
    else
        self->first = chunk;
    self->last = chunk;
    partition->queued_bytes += chunk->frame.size;
    partition->chunk_count++;
    self->held_bytes += chunk->frame.size;
    weft_counter_add(&self->counters, WEFT_CONSUMER_BYTES, chunk->frame.size);
}

// The log no longer holds what was read last at fetch_offset - 1; `end` is where the common part ends.
static void s_diverged(weft_consumer_part_t *self, struct weft_cpartition *partition, int64_t end, const char *text)
{
    weft_counter_add(&self->counters, WEFT_CONSUMER_DIVERGENCES, 1);
    if (end < 0) {
        weft_consumer_drop_chunks(self, partition);
        s_reset(self, partition, WEFT_ERR_DIVERGED, text);
        return;
    }
    weft_consumer_drop_chunks(self, partition);
    s_forget_ends(partition);
    int64_t from = partition->position;
    int32_t read_epoch = partition->read_epoch;
    if (from <= end) { // nothing that was handed out is lost
        bool ahead = partition->fetch_offset > from;
        s_read_from(partition, from);
        partition->read_epoch = read_epoch;
        partition->fetch_epoch = ahead ? read_epoch : -1; // else the same question would get the same answer
        return;
    }
    if (self->reset == WEFT_CONSUMER_RESET_ERROR) {
        weft_consumer_stop_partition(self, partition, WEFT_EVENT_DIVERGED, from, -1, WEFT_ERR_DIVERGED, text);
        return;
    }
    s_read_from(partition, end);
    partition->read_epoch = read_epoch; // no record before `end` is newer: what is committed there keeps a check
    weft_consumer_tell(self, WEFT_EVENT_DIVERGED, partition->topic, partition->index, from, end, WEFT_ERR_DIVERGED,
                       "records that were read are lost; reading goes on where the common part ends");
}

static void s_take_data(weft_consumer_part_t *self, struct weft_cpartition *partition, struct weft_message *message)
{
    int64_t next = partition->fetch_offset;
    int32_t epoch = partition->fetch_epoch;
    weft_err_t err = s_survey(message, &next, &epoch);
    if (err || next <= partition->fetch_offset) {
        char text[120];
        snprintf(text, sizeof text, "the answer for offset %" PRId64 " holds no batch that reaches it",
                 partition->fetch_offset);
        weft_counter_add(&self->counters, WEFT_CONSUMER_BAD_BATCHES, 1);
        // What came before is good: it is read first, then the same place is met again with nothing waiting.
        if (partition->chunk_count)
            s_try_later(self, partition, 0);
        else {
            weft_consumer_stop_partition(self, partition, WEFT_EVENT_BAD_BATCH, partition->fetch_offset, -1,
                                         WEFT_ERR_BAD_BATCH, text);
            weft_consumer_report(self, partition, partition->fetch_offset);
        }
        return;
    }
    s_keep_chunk(self, partition, message);
    partition->fetch_offset = next;
    partition->fetch_epoch = epoch;
    partition->caught_up = false;
}

static void s_fetched(struct weft_call *call, weft_err_t error, const char *text,
                      const struct weft_reply_header *header, struct weft_message *message)
{
    struct weft_cpartition *partition = call->context;
    weft_consumer_part_t *self = s_part(partition);
    bool watch = partition->asked_bytes == 0;
    self->held_bytes -= partition->asked_bytes;
    partition->asked_bytes = 0;
    if (partition->letting_go) return; // as above
    struct weft_fetch_reply reply;
    struct weft_error why = {.code = WEFT_OK};
    weft_fetch_reply_init(&reply);
    if (message) {
        weft_err_t err =
            weft_fetch_reply_decode(&self->requests.codec, weft_frame_slice(&message->header), &reply, &why);
        if (err && !error) {
            error = err;
            text = why.text;
        }
    }
    if (error == WEFT_ERR_OFFSET_OUT_OF_RANGE) {
        s_reset(self, partition, error, text);
        return;
    }
    if (error == WEFT_ERR_DIVERGED || (!error && reply.end_offset >= 0)) {
        s_diverged(self, partition, reply.end_offset, text);
        return;
    }
    if (error) {
        s_refused(self, partition, error, text, header);
        return;
    }
    partition->tries = 0;
    partition->unheard = WEFT_OK;
    partition->log_start = reply.log_start;
    int64_t end = self->durable && reply.durable >= 0 ? reply.durable : reply.high_watermark;
    if (end > partition->end) partition->end = end;
    if (partition->end_at_start < 0 && !watch) partition->end_at_start = end;
    if (watch)
        partition->caught_up = false; // there is something, or its time was over: a real fetch tells
    else if (message->data.size)
        s_take_data(self, partition, message);
    else {
        partition->caught_up = true;
        weft_counter_add(&self->counters, WEFT_CONSUMER_EMPTY_FETCHES, 1);
    }
}

// ---- a bad batch

static void s_reported(struct weft_call *call, weft_err_t error, const char *text,
                       const struct weft_reply_header *header, struct weft_message *message)
{
    // Whatever the leader found, this reader's bytes were bad.
}

void weft_consumer_report(weft_consumer_part_t *self, struct weft_cpartition *partition, int64_t offset)
{
    struct weft_partition_status_request request;
    weft_partition_status_request_init(&request);
    request.id = weft_requests_id(&self->requests, &partition->call);
    request.topic = weft_text(partition->topic->name);
    request.topic_id = partition->topic->id;
    request.partition = (uint32_t) partition->index;
    request.suspect_offset = offset;
    weft_buf_clear(&partition->call.header);
    weft_partition_status_request_encode(&request, &partition->call.header);
    partition->call.attempt_us = self->attempt_us;
    partition->call.parked_us = 0;
    partition->call.done = s_reported;
    if (weft_requests_try(&self->requests, &partition->call)) weft_requests_cancel(&self->requests, &partition->call);
}

// ---- fetch: asking

static weft_err_t s_ask_data(weft_consumer_part_t *self, struct weft_cpartition *partition, bool watch, bool many)
{
    struct weft_fetch_request request;
    weft_fetch_request_init(&request);
    request.id = weft_requests_id(&self->requests, &partition->call);
    request.topic = weft_text(partition->topic->name);
    request.topic_id = partition->topic->id;
    request.partition = (uint32_t) partition->index;
    request.offset = partition->fetch_offset;
    request.epoch = partition->fetch_epoch;
    request.max_bytes = watch ? 0 : self->fetch_bytes;
    request.min_bytes = self->fetch_min_bytes;
    request.max_wait_ms = watch ? WEFT_CONSUMER_WATCH_MS : self->fetch_wait_ms;
    // The first answer tells the end, so it must not wait; with many partitions only watches wait.
    if (!watch && (partition->end_at_start < 0 || many)) request.max_wait_ms = 0;
    request.read = weft_text(self->durable ? "durable" : "committed");
    weft_buf_clear(&partition->call.header);
    weft_fetch_request_encode(&request, &partition->call.header);
    partition->call.attempt_us = self->attempt_us + (int64_t) request.max_wait_ms * 1000;
    partition->call.parked_us = (int64_t) request.max_wait_ms * 1000;
    partition->call.done = s_fetched;
    weft_err_t err = weft_requests_try(&self->requests, &partition->call);
    if (err) return err;
    partition->asked_bytes = request.max_bytes;
    self->held_bytes += request.max_bytes;
    weft_counter_add(&self->counters, WEFT_CONSUMER_FETCHES, 1);
    return WEFT_OK;
}

static bool s_has_room(const weft_consumer_part_t *self, const struct weft_cpartition *partition)
{
    // What paused partitions hold may fill the budget for as long as the program likes: beside it one fetch goes on.
    bool only_paused = self->held_bytes == self->paused_bytes;
    if (!only_paused && self->held_bytes + self->fetch_bytes > self->buffer_bytes) return false;
    if (partition->chunk_count < 2) return true; // one being read, one waiting; more only within a fair share
    return partition->queued_bytes + self->fetch_bytes <= self->buffer_bytes / self->partition_count;
}

// When to come back to this partition.
static int64_t s_partition_turn(weft_consumer_part_t *self, struct weft_cpartition *partition, int64_t now_us)
{
    if (partition->state == WEFT_CSTATE_STOPPED || partition->call.state == WEFT_CALL_SENT) return WEFT_TIME_NEVER;
    if (partition->topic->state != WEFT_VIEW_KNOWN || partition->state == WEFT_CSTATE_FENCE) return WEFT_TIME_NEVER;
    if (partition->owned && !weft_id_equal(partition->topic->id, partition->topic_id)) {
        weft_requests_refresh(&self->requests); // one of the two was told late
        return now_us + self->requests.config.backoff_us;
    }
    if (partition->retry_us > now_us) return partition->retry_us;
    weft_err_t err;
    if (partition->state == WEFT_CSTATE_RESOLVE) {
        if (partition->resetting && partition->chunk_count) return WEFT_TIME_NEVER; // first read what was good
        err = s_ask_offset(self, partition);
    } else {
        if (partition->quiet) return WEFT_TIME_NEVER;
        bool many = self->partition_count * (size_t) self->fetch_bytes > self->buffer_bytes;
        bool watch = many && partition->caught_up;
        if (!watch && !s_has_room(self, partition)) return WEFT_TIME_NEVER;
        err = s_ask_data(self, partition, watch, many);
    }
    if (!err) return WEFT_TIME_NEVER;
    partition->unheard = err;
    return now_us + (err == WEFT_ERR_LOCAL_WOULD_BLOCK ? 2000 : self->requests.config.backoff_us);
}

int64_t weft_consumer_fetch_turn(weft_consumer_part_t *self, int64_t now_us)
{
    int64_t next_us = WEFT_TIME_NEVER;
    self->paused_bytes = 0;
    for (size_t i = 0; i < self->partition_count; i++)
        if (self->partitions[i]->quiet) self->paused_bytes += self->partitions[i]->queued_bytes;
    for (size_t i = 0; i < self->partition_count; i++) {
        struct weft_cpartition *partition = self->partitions[(self->turn + i) % self->partition_count];
        int64_t at_us = s_partition_turn(self, partition, now_us);
        if (at_us < next_us) next_us = at_us;
    }
    self->turn++;
    return next_us;
}
