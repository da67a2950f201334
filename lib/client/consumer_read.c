// SPDX-License-Identifier: MPL-2.0
// From chunks to records. A batch is verified when reading reaches it (its bytes are warm then, and iteration follows
// at once), inflated into a buffer that lives until the next poll, and its records are handed out as slices. The state
// of reading survives a poll, so that a program that takes one record a poll, or a member whose polls are limited
// (max.poll.records), does not make the same batch be verified and inflated again and again.
#include "consumer_inner.h"

#include "../base/mutate.h"

#include "../base/assert.h"

#include <stdio.h>
#include <stdlib.h>

// ---- chunks

static void s_spend(weft_consumer_part_t *self, struct weft_cchunk *chunk)
{
    if (chunk->previous)
        chunk->previous->next = chunk->next;
    else
        self->first = chunk->next;
    if (chunk->next)
        chunk->next->previous = chunk->previous;
    else
        self->last = chunk->previous;
    chunk->partition->queued_bytes -= chunk->frame.size;
    chunk->partition->chunk_count--;
    chunk->partition = NULL;
    chunk->next = self->spent;
    self->spent = chunk;
    if (self->reading != chunk) return;
    self->reading = NULL;
    self->in_batch = false;
}

void weft_consumer_drop_chunks(weft_consumer_part_t *self, struct weft_cpartition *partition)
{
    for (struct weft_cchunk *chunk = self->first, *next; chunk; chunk = next) {
        next = chunk->next;
        if (chunk->partition == partition) s_spend(self, chunk);
    }
}

static void s_free_spent(weft_consumer_part_t *self)
{
    while (self->spent) {
        struct weft_cchunk *chunk = self->spent;
        self->spent = chunk->next;
        self->held_bytes -= chunk->frame.size;
        weft_frame_drop(&chunk->frame);
        free(chunk);
    }
}

void weft_consumer_free_chunks(weft_consumer_part_t *self)
{
    while (self->first) s_spend(self, self->first);
    s_free_spent(self);
    for (size_t i = 0; i < self->scratch_count; i++) weft_buf_fini(&self->scratch[i]);
    free(self->scratch);
    self->scratch = NULL;
    self->scratch_count = self->scratch_used = 0;
}

static bool s_readable(const weft_consumer_part_t *self, const struct weft_cchunk *chunk)
{
    return chunk->serial <= self->poll_serial && !chunk->partition->quiet;
}

static struct weft_cchunk *s_next_chunk(const weft_consumer_part_t *self)
{
    for (struct weft_cchunk *chunk = self->first; chunk; chunk = chunk->next)
        if (s_readable(self, chunk)) return chunk;
    return NULL;
}

bool weft_consumer_part_begin_poll(weft_consumer_part_t *self)
{
    self->handed = NULL; // done with
    if (*self->offsets.group) {
        weft_consumer_auto_commit(self, weft_port_now_us(&self->port));
        weft_consumer_group_step(self);
    }
    s_free_spent(self);
    // Inflated batches of the poll before go, but the one that is being read.
    bool keep = self->in_batch && self->in_scratch;
    if (keep && self->scratch_used > 1) {
        weft_buf_t current = self->scratch[self->scratch_used - 1];
        self->scratch[self->scratch_used - 1] = self->scratch[0];
        self->scratch[0] = current;
    }
    self->scratch_used = keep ? 1 : 0;
    self->scratch_bytes = keep ? self->batch.raw_bytes : 0;
    self->poll_serial = self->serial;
    self->poll_left = self->group.subscribed ? self->poll_most : UINT64_MAX;
    return s_next_chunk(self) != NULL;
}

// ---- batches

static weft_buf_t *s_scratch(weft_consumer_part_t *self)
{
    if (self->scratch_used == self->scratch_count) {
        self->scratch = weft_realloc(self->scratch, (self->scratch_count + 1) * sizeof *self->scratch);
        weft_buf_init(&self->scratch[self->scratch_count++]);
    }
    weft_buf_t *scratch = &self->scratch[self->scratch_used++];
    weft_buf_clear(scratch);
    return scratch;
}

// `next`: where the batch ends, as its header says; -1: nothing in it can be believed.
static void s_bad_batch(weft_consumer_part_t *self, struct weft_cpartition *partition, int64_t offset, int64_t next,
                        weft_err_t error)
{
    char text[240];
    if (next <= offset || next <= partition->position || (partition->end >= 0 && next > partition->end)) next = -1;
    if (next >= 0)
        snprintf(text, sizeof text, "the batch of offsets %lld to %lld can't be read; seek to %lld to go on. %s",
                 (long long) offset, (long long) next - 1, (long long) next, weft_err_sentence(error));
    else
        snprintf(text, sizeof text, "the batch at offset %lld can't be read; seek behind it to go on. %s",
                 (long long) offset, weft_err_sentence(error));
    weft_counter_add(&self->counters, WEFT_CONSUMER_BAD_BATCHES, 1);
    weft_consumer_stop_partition(self, partition, WEFT_EVENT_BAD_BATCH, offset, next, error, text);
    weft_consumer_report(self, partition, offset);
}

// Records between the position and this batch do not exist (any more): said, then passed.
static void s_tell_gap(weft_consumer_part_t *self, struct weft_cpartition *partition)
{
    weft_counter_add(&self->counters, WEFT_CONSUMER_GAPS, 1);
    weft_consumer_tell(self, WEFT_EVENT_RESET, partition->topic, partition->index, partition->position,
                       self->batch.base_offset, WEFT_ERR_OFFSET_OUT_OF_RANGE, "the offsets between are gone");
    partition->position = self->batch.base_offset;
}

// All inflated batches of a poll live until the next one: when they would be more than the budget, this poll ends.
static bool s_ends_poll(weft_consumer_part_t *self)
{
    self->in_scratch = (self->batch.attributes & WEFT_BATCH_ATTR_CODEC_MASK) != 0;
    if (!self->in_scratch) return false;
    bool ends = self->scratch_used && self->scratch_bytes + self->batch.raw_bytes > self->buffer_bytes;
    if (ends) {
        self->poll_serial = 0;
        self->reading = NULL;
    } else
        self->scratch_bytes += self->batch.raw_bytes;
    return ends;
}

// The header of the next batch of the chunk being read. False: it is passed, or its partition stopped.
static bool s_find_batch(weft_consumer_part_t *self, struct weft_cchunk *chunk, weft_slice_t *bytes)
{
    struct weft_cpartition *partition = chunk->partition;
    weft_slice_t rest = weft_bytes(chunk->frame.data + chunk->at, chunk->frame.size - chunk->at);
    weft_err_t err = weft_batch_read(rest, &self->batch);
    if (err) {
        s_bad_batch(self, partition, partition->position, -1, err);
        return false;
    }
    *bytes = weft_bytes(rest.data, weft_batch_bytes(&self->batch));
    if (weft_batch_next_offset(&self->batch) > partition->position) return true;
    chunk->at += bytes->size;
    return false;
}

static weft_err_t s_verify(weft_consumer_part_t *self, weft_slice_t bytes)
{
    bool check = self->check_crc && !(self->batch.attributes & WEFT_BATCH_ATTR_CRC_ABSENT);
    return check ? weft_batch_verify(bytes, &self->batch) : WEFT_OK;
}

// The next batch of the chunk being read: opened, or passed, or its partition stopped.
static void s_open_batch(weft_consumer_part_t *self, struct weft_cchunk *chunk)
{
    struct weft_cpartition *partition = chunk->partition;
    weft_slice_t bytes, payload;
    if (!s_find_batch(self, chunk, &bytes) || s_ends_poll(self)) return;
    weft_err_t err = s_verify(self, bytes);
    if (!err) err = weft_batch_payload(bytes, &self->batch, self->in_scratch ? s_scratch(self) : NULL, &payload);
    if (err) {
        s_bad_batch(self, partition, self->batch.base_offset, weft_batch_next_offset(&self->batch), err);
        return;
    }
    if (self->batch.base_offset > partition->position) s_tell_gap(self, partition);
    weft_record_iter_init(&self->iter, payload);
    self->in_batch = true;
}

static void s_close_batch(weft_consumer_part_t *self, struct weft_cchunk *chunk, bool bad)
{
    struct weft_cpartition *partition = chunk->partition;
    self->in_batch = false;
    if (bad) {
        s_bad_batch(self, partition, self->batch.base_offset, weft_batch_next_offset(&self->batch), WEFT_ERR_BAD_BATCH);
        return;
    }
    int64_t next = weft_batch_next_offset(&self->batch);
    if (weft_mutated("consumer_steps_over") && next % 64 == 0) next++;
    if (next > partition->position) partition->position = next; // the end of a batch may be a gap of compaction
    partition->read_epoch = self->batch.leader_epoch;
    chunk->at += weft_batch_bytes(&self->batch);
}

// ---- whole batches

// The batch is handed out as it is, and counts as read.
static bool s_give_batch(weft_consumer_part_t *self, struct weft_cchunk *chunk, struct weft_batch_view *view)
{
    struct weft_cpartition *partition = chunk->partition;
    weft_slice_t bytes;
    if (!s_find_batch(self, chunk, &bytes)) return false;
    weft_err_t err = s_verify(self, bytes);
    if (err) {
        s_bad_batch(self, partition, self->batch.base_offset, weft_batch_next_offset(&self->batch), err);
        return false;
    }
    if (self->batch.base_offset > partition->position) s_tell_gap(self, partition);
    *view = (struct weft_batch_view){.topic = partition->topic->name,
                                     .topic_id = partition->topic->id,
                                     .partition = partition->index,
                                     .position = partition->position,
                                     .base_offset = self->batch.base_offset,
                                     .next_offset = weft_batch_next_offset(&self->batch),
                                     .bytes = bytes};
    weft_counter_add(&self->counters, WEFT_CONSUMER_RECORDS, self->batch.count);
    self->handed = partition;
    self->handed_epoch = partition->read_epoch;
    s_close_batch(self, chunk, false);
    return true;
}

bool weft_consumer_part_next_batch(weft_consumer_part_t *self, struct weft_batch_view *batch, bool *crossed)
{
    self->handed = NULL;
    self->in_batch = false; // of one that is half read the rest is given, as told by the position
    for (;;) {
        struct weft_cchunk *chunk = self->reading;
        if (!chunk || chunk->partition->quiet) {
            self->reading = chunk = s_next_chunk(self);
            if (!chunk) return false;
        }
        if (chunk->at == chunk->frame.size) {
            s_spend(self, chunk);
            *crossed = true;
        } else if (s_give_batch(self, chunk, batch))
            return true;
    }
}

// ---- records

// The poll has handed out its most, and this batch has more. Looked up so that what is used up is closed and freed all the
// same, and the next poll does not begin with nothing.
static bool s_is_full(const weft_consumer_part_t *self)
{
    weft_record_iter_t ahead = self->iter;
    struct weft_record found;
    bool bad = false;
    return weft_record_iter_next(&ahead, &found, &bad);
}

bool weft_consumer_part_next(weft_consumer_part_t *self, struct weft_record_view *record, bool *crossed)
{
    self->handed = NULL; // the one before is done with
    if (__builtin_expect(self->group.exclusive, 0) &&
        weft_consumer_part_lease_over(self, weft_port_now_us(&self->port)))
        return false;
    for (;;) {
        struct weft_cchunk *chunk = self->reading;
        if (!chunk) {
            self->reading = chunk = s_next_chunk(self);
            if (!chunk) return false;
        }
        struct weft_cpartition *partition = chunk->partition;
        if (__builtin_expect(partition->quiet, 0)) {
            self->reading = NULL;
            self->in_batch = false; // opened again after resume
            continue;
        }
        if (!self->in_batch) {
            if (chunk->at < chunk->frame.size)
                s_open_batch(self, chunk);
            else {
                s_spend(self, chunk);
                if (crossed) *crossed = true;
            }
            continue;
        }
        if (__builtin_expect(self->poll_left == 0, 0) && s_is_full(self)) return false;
        struct weft_record found;
        bool bad = false;
        if (!weft_record_iter_next(&self->iter, &found, &bad)) {
            s_close_batch(self, chunk, bad);
            continue;
        }
        int64_t offset = self->batch.base_offset + found.offset_delta;
        if (__builtin_expect(offset < partition->position, 0)) continue;
        self->poll_left--;
        partition->position = offset + 1;
        self->handed = partition;
        self->handed_epoch = partition->read_epoch;
        partition->read_epoch = self->batch.leader_epoch;
        record->topic = partition->topic->name;
        record->partition = partition->index;
        record->leader_epoch = self->batch.leader_epoch;
        record->offset = offset;
        record->timestamp_ms = weft_record_timestamp_ms(&self->batch, &found);
        record->key = found.key;
        record->value = found.value;
        record->headers = found.headers;
        weft_counter_add(&self->counters, WEFT_CONSUMER_RECORDS, 1);
        return true;
    }
}
