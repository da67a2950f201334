// SPDX-License-Identifier: MPL-2.0
/*
 * One struct producer per id, found through an open-addressing table (linear probing, backward-shift deletion: no
 * tombstones), and chained by last activity, so that the longest idle is at hand. Activity is the order in which
 * batches were applied, which is the order of offsets: a snapshot in that order rebuilds the same chain.
 *
 * A producer's last batches are a ring that doubles up to WEFT_SESSION_WINDOW: most producers never have many in
 * flight, and a steady one allocates nothing. The ring holds batches of one epoch without gaps in their sequences.
 * Sequences live in 31 bits: all distances are taken modulo 2^31.
 */
#include "session.h"

#include "../base/assert.h"
#include "../base/mutate.h"

#include <stdlib.h>
#include <string.h>
#include <weft_gen/records.h>

#define SEQUENCE_MASK 0x7fffffffU
#define TABLE_CAPACITY_MIN 16
#define RING_CAPACITY_MIN 2

struct entry { // one batch remembered
    int32_t first_sequence, last_sequence;
    int64_t base_offset, end_offset;
};

struct producer {
    int64_t id;
    int64_t last_timestamp_ms;
    int64_t active_ms; // of the first expire() after its last batch; -1 until then
    struct producer *older, *newer;
    struct entry *ring;
    uint32_t ring_first, ring_count, ring_capacity;
    int16_t epoch;
};

struct weft_sessions {
    struct producer **table; // capacity is a power of two, never full
    size_t table_capacity;
    size_t count, count_max;
    int64_t expiry_ms;
    struct producer *oldest, *newest;
};

// ---- sequences and rings

static uint32_t s_distance(int32_t from, int32_t to)
{
    return ((uint32_t) to - (uint32_t) from) & SEQUENCE_MASK;
}

static int32_t s_sequence_add(int32_t sequence, uint32_t more)
{
    return (int32_t) (((uint32_t) sequence + more) & SEQUENCE_MASK);
}

static const struct entry *s_entry(const struct producer *producer, uint32_t index) // 0 is the oldest
{
    return &producer->ring[(producer->ring_first + index) & (producer->ring_capacity - 1)];
}

static const struct entry *s_last(const struct producer *producer)
{
    return s_entry(producer, producer->ring_count - 1);
}

static void s_ring_grow(struct producer *producer)
{
    uint32_t capacity = producer->ring_capacity == 0 ? RING_CAPACITY_MIN : producer->ring_capacity * 2;
    struct entry *ring = weft_alloc(capacity * sizeof *ring);
    for (uint32_t i = 0; i < producer->ring_count; i++) ring[i] = *s_entry(producer, i);
    free(producer->ring);
    producer->ring = ring;
    producer->ring_first = 0;
    producer->ring_capacity = capacity;
}

static void s_ring_push(struct producer *producer, const struct entry *entry)
{
    if (producer->ring_count == WEFT_SESSION_WINDOW) {
        producer->ring_first = (producer->ring_first + 1) & (producer->ring_capacity - 1);
        producer->ring_count--;
    } else if (producer->ring_count == producer->ring_capacity) {
        s_ring_grow(producer);
    }
    uint32_t at = (producer->ring_first + producer->ring_count) & (producer->ring_capacity - 1);
    producer->ring[at] = *entry;
    producer->ring_count++;
}

// ---- table

static size_t s_slot_of(const weft_sessions_t *self, int64_t id)
{
    uint64_t hash = (uint64_t) id * 0x9e3779b97f4a7c15ULL; // ids are the clients': spread also those that count up
    return (size_t) ((hash ^ (hash >> 32)) & (self->table_capacity - 1));
}

static struct producer *s_find(const weft_sessions_t *self, int64_t id)
{
    size_t mask = self->table_capacity - 1;
    for (size_t slot = s_slot_of(self, id);; slot = (slot + 1) & mask) {
        struct producer *producer = self->table[slot];
        if (producer == NULL || producer->id == id) return producer;
    }
}

static void s_table_insert(weft_sessions_t *self, struct producer *producer)
{
    size_t mask = self->table_capacity - 1;
    size_t slot = s_slot_of(self, producer->id);
    while (self->table[slot] != NULL) slot = (slot + 1) & mask;
    self->table[slot] = producer;
}

static void s_table_grow(weft_sessions_t *self)
{
    free(self->table);
    self->table_capacity *= 2;
    self->table = weft_calloc(self->table_capacity, sizeof(struct producer *));
    for (struct producer *producer = self->oldest; producer != NULL; producer = producer->newer) {
        s_table_insert(self, producer);
    }
}

// Takes the id out and moves up whoever probed past its slot.
static void s_table_remove(weft_sessions_t *self, int64_t id)
{
    size_t mask = self->table_capacity - 1;
    size_t hole = s_slot_of(self, id);
    while (self->table[hole]->id != id) hole = (hole + 1) & mask;
    for (size_t slot = (hole + 1) & mask; self->table[slot] != NULL; slot = (slot + 1) & mask) {
        size_t home = s_slot_of(self, self->table[slot]->id);
        if (((slot - home) & mask) >= ((slot - hole) & mask)) {
            self->table[hole] = self->table[slot];
            hole = slot;
        }
    }
    self->table[hole] = NULL;
}

// ---- chain of activity

static void s_unlink(weft_sessions_t *self, struct producer *producer)
{
    if (producer->older != NULL)
        producer->older->newer = producer->newer;
    else
        self->oldest = producer->newer;
    if (producer->newer != NULL)
        producer->newer->older = producer->older;
    else
        self->newest = producer->older;
}

static void s_link_newest(weft_sessions_t *self, struct producer *producer)
{
    producer->older = self->newest;
    producer->newer = NULL;
    if (self->newest != NULL)
        self->newest->newer = producer;
    else
        self->oldest = producer;
    self->newest = producer;
}

static void s_touch(weft_sessions_t *self, struct producer *producer)
{
    producer->active_ms = -1;
    if (self->newest == producer) return;
    s_unlink(self, producer);
    s_link_newest(self, producer);
}

static void s_drop(weft_sessions_t *self, struct producer *producer)
{
    s_unlink(self, producer);
    s_table_remove(self, producer->id);
    self->count--;
    free(producer->ring);
    free(producer);
}

static struct producer *s_add(weft_sessions_t *self, int64_t id, int16_t epoch)
{
    if (self->count == self->count_max) s_drop(self, self->oldest);
    struct producer *producer = weft_calloc(1, sizeof *producer);
    producer->id = id;
    producer->epoch = epoch;
    producer->active_ms = -1;
    s_link_newest(self, producer);
    self->count++;
    if (self->count * 2 > self->table_capacity)
        s_table_grow(self);
    else
        s_table_insert(self, producer);
    return producer;
}

// ---- life

weft_sessions_t *weft_sessions_new(size_t count_max, int64_t expiry_ms)
{
    weft_sessions_t *self = weft_calloc(1, sizeof *self);
    self->count_max = count_max == 0 ? 1 : count_max;
    self->expiry_ms = expiry_ms;
    self->table_capacity = TABLE_CAPACITY_MIN;
    self->table = weft_calloc(self->table_capacity, sizeof(struct producer *));
    return self;
}

void weft_sessions_destroy(weft_sessions_t **self_p)
{
    weft_sessions_t *self = *self_p;
    if (self == NULL) return;
    weft_sessions_clear(self);
    free(self->table);
    free(self);
    *self_p = NULL;
}

void weft_sessions_clear(weft_sessions_t *self)
{
    for (struct producer *producer = self->oldest, *next; producer != NULL; producer = next) {
        next = producer->newer;
        free(producer->ring);
        free(producer);
    }
    self->oldest = self->newest = NULL;
    self->count = 0;
    memset(self->table, 0, self->table_capacity * sizeof(struct producer *));
}

size_t weft_sessions_count(const weft_sessions_t *self)
{
    return self->count;
}

bool weft_sessions_next(const weft_sessions_t *self, struct weft_session_place *place)
{
    const struct producer *producer = place->at ? ((const struct producer *) place->at)->newer : self->oldest;
    if (producer == NULL) return false;
    *place = (struct weft_session_place){producer->id, s_entry(producer, 0)->base_offset, producer};
    return true;
}

// ---- judging and applying

// Not the next batch: written before and remembered, written before and forgotten, or out of order.
static enum weft_session_verdict s_judge_past(const struct producer *producer, const struct weft_batch *batch,
                                              int64_t *base_offset, int64_t *end_offset)
{
    int32_t last_sequence = s_sequence_add(batch->base_sequence, batch->last_offset_delta);
    for (uint32_t i = producer->ring_count; i-- > 0;) { // retries are of the latest, mostly
        const struct entry *entry = s_entry(producer, i);
        if (entry->first_sequence != batch->base_sequence || entry->last_sequence != last_sequence) continue;
        *base_offset = entry->base_offset;
        *end_offset = entry->end_offset;
        return weft_mutated("duplicate_not_seen") ? WEFT_SESSION_NEXT : WEFT_SESSION_DUPLICATE;
    }
    // OLD says "it was written": only what lies wholly before a full window can have been, and in the log it ends where
    // the window begins, or below.
    uint32_t behind = s_distance(last_sequence, s_entry(producer, 0)->first_sequence);
    bool before_window = behind > 0 && behind <= SEQUENCE_MASK / 2;
    if (before_window && producer->ring_count == WEFT_SESSION_WINDOW) {
        *end_offset = s_entry(producer, 0)->base_offset;
        return WEFT_SESSION_OLD;
    }
    return weft_mutated("gap_taken") && behind > SEQUENCE_MASK / 2 ? WEFT_SESSION_NEXT : WEFT_SESSION_GAP;
}

enum weft_session_verdict weft_sessions_judge(const weft_sessions_t *self, const struct weft_batch *batch,
                                              int64_t *base_offset, int64_t *end_offset)
{
    if (batch->producer_id < 0) return WEFT_SESSION_NEXT;
    if (batch->base_sequence < 0) return WEFT_SESSION_GAP;
    const struct producer *producer = s_find(self, batch->producer_id);
    if (producer == NULL) return batch->base_sequence == 0 ? WEFT_SESSION_NEXT : WEFT_SESSION_UNKNOWN;
    if (batch->producer_epoch < producer->epoch) return WEFT_SESSION_FENCED;
    if (batch->producer_epoch > producer->epoch) {
        return batch->base_sequence == 0 ? WEFT_SESSION_NEXT : WEFT_SESSION_GAP;
    }
    if (batch->base_sequence == s_sequence_add(s_last(producer)->last_sequence, 1)) return WEFT_SESSION_NEXT;
    return s_judge_past(producer, batch, base_offset, end_offset);
}

bool weft_sessions_ended_at(const weft_sessions_t *self, const struct weft_batch *batch, int32_t sequence)
{
    const struct producer *producer = s_find(self, batch->producer_id);
    if (producer == NULL) return true;
    return producer->epoch == batch->producer_epoch - 1 &&
           s_sequence_add(s_last(producer)->last_sequence, 1) == sequence;
}

void weft_sessions_apply(weft_sessions_t *self, const struct weft_batch *batch)
{
    if (batch->producer_id < 0 || batch->base_sequence < 0) return;
    struct entry entry = {
        .first_sequence = batch->base_sequence,
        .last_sequence = s_sequence_add(batch->base_sequence, batch->last_offset_delta),
        .base_offset = batch->base_offset,
        .end_offset = weft_batch_next_offset(batch),
    };
    struct producer *producer = s_find(self, batch->producer_id);
    if (producer == NULL) {
        producer = s_add(self, batch->producer_id, batch->producer_epoch);
    } else {
        if (batch->producer_epoch < producer->epoch) return; // never past a judge; only a strange log has it
        bool next = producer->epoch == batch->producer_epoch &&
                    s_sequence_add(s_last(producer)->last_sequence, 1) == entry.first_sequence;
        if (!next) producer->ring_count = 0;
        producer->epoch = batch->producer_epoch;
        s_touch(self, producer);
    }
    producer->last_timestamp_ms = batch->max_timestamp_ms;
    s_ring_push(producer, &entry);
}

void weft_sessions_expire(weft_sessions_t *self, int64_t now_ms)
{
    for (struct producer *producer = self->newest; producer != NULL && producer->active_ms < 0;
         producer = producer->older) {
        producer->active_ms = now_ms;
    }
    while (self->oldest != NULL && now_ms - self->oldest->active_ms > self->expiry_ms) s_drop(self, self->oldest);
}

// ---- snapshot

void weft_sessions_encode(const weft_sessions_t *self, weft_buf_t *out)
{
    struct weft_sessions_record record;
    weft_sessions_record_init(&record);
    weft_arena_t arena;
    weft_arena_init(&arena);
    record.sessions_count = self->count;
    record.sessions = weft_arena_alloc(&arena, (self->count + 1) * sizeof *record.sessions);
    size_t at = 0;
    for (const struct producer *producer = self->oldest; producer != NULL; producer = producer->newer) {
        struct weft_session *session = &record.sessions[at++];
        session->producer_id = producer->id;
        session->epoch = producer->epoch;
        session->last_timestamp_ms = producer->last_timestamp_ms;
        session->batches_count = producer->ring_count;
        session->batches = weft_arena_alloc(&arena, producer->ring_count * sizeof *session->batches);
        for (uint32_t i = 0; i < producer->ring_count; i++) {
            const struct entry *entry = s_entry(producer, i);
            session->batches[i].first_sequence = entry->first_sequence;
            session->batches[i].last_sequence = entry->last_sequence;
            session->batches[i].base_offset = entry->base_offset;
            session->batches[i].end_offset = entry->end_offset;
        }
    }
    weft_sessions_record_encode(&record, out);
    weft_arena_fini(&arena);
}

// A snapshot is a file: its CRC was right, but nothing in it is believed that weft_sessions_check would assert.
static bool s_load_one(weft_sessions_t *self, const struct weft_session *session, int64_t *last_end)
{
    size_t count = session->batches_count;
    if (session->producer_id < 0 || count == 0 || count > WEFT_SESSION_WINDOW) return false;
    if (self->count == self->count_max) s_drop(self, self->oldest); // a lower limit than when it was written
    if (s_find(self, session->producer_id) != NULL) return false;
    struct producer *producer = s_add(self, session->producer_id, session->epoch);
    producer->last_timestamp_ms = session->last_timestamp_ms;
    for (size_t i = 0; i < count; i++) {
        const struct weft_session_batch *batch = &session->batches[i];
        struct entry entry = {batch->first_sequence, batch->last_sequence, batch->base_offset, batch->end_offset};
        bool follows = i == 0 || (entry.first_sequence == s_sequence_add(s_last(producer)->last_sequence, 1) &&
                                  entry.base_offset >= s_last(producer)->end_offset);
        s_ring_push(producer, &entry);
        if (!follows || entry.first_sequence < 0 || entry.last_sequence < 0) return false;
        if (entry.base_offset < 0 || entry.base_offset >= entry.end_offset) return false;
    }
    if (s_last(producer)->end_offset <= *last_end) return false;
    *last_end = s_last(producer)->end_offset;
    return true;
}

weft_err_t weft_sessions_decode(weft_sessions_t *self, weft_slice_t bytes)
{
    weft_sessions_clear(self);
    weft_codec_t codec;
    weft_codec_init(&codec);
    struct weft_sessions_record record;
    weft_err_t err = weft_sessions_record_decode(&codec, bytes, &record, NULL);
    int64_t last_end = -1;
    for (size_t i = 0; err == WEFT_OK && i < record.sessions_count; i++) {
        if (!s_load_one(self, &record.sessions[i], &last_end)) err = WEFT_ERR_BAD_FRAME;
    }
    weft_codec_fini(&codec);
    if (err == WEFT_OK) return WEFT_OK;
    weft_sessions_clear(self);
    return WEFT_ERR_BAD_FRAME;
}

// ---- invariants

void weft_sessions_check(const weft_sessions_t *self)
{
    size_t count = 0;
    int64_t last_end = -1;
    const struct producer *older = NULL;
    for (const struct producer *producer = self->oldest; producer != NULL; producer = producer->newer) {
        weft_assert(producer->older == older);
        weft_assert(s_find(self, producer->id) == producer);
        weft_assert(producer->ring_count >= 1 && producer->ring_count <= WEFT_SESSION_WINDOW);
        for (uint32_t i = 1; i < producer->ring_count; i++) {
            const struct entry *before = s_entry(producer, i - 1), *entry = s_entry(producer, i);
            weft_assert(entry->first_sequence == s_sequence_add(before->last_sequence, 1));
            weft_assert(entry->base_offset >= before->end_offset);
        }
        weft_assert(s_last(producer)->end_offset > last_end); // the chain is in the order of the log
        last_end = s_last(producer)->end_offset;
        older = producer;
        count++;
    }
    weft_assert(self->newest == older);
    weft_assert(count == self->count && count <= self->count_max && count * 2 <= self->table_capacity);
}
