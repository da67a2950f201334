// SPDX-License-Identifier: MPL-2.0
// One batch: its records are walked once; those that stay are copied as they are, byte by byte the same, and an integer
// stands before one that does not follow the last. Only where a tombstone is met first are records written anew: the
// batch's base time becomes the time at which it goes, and each record's delta counts from there.
#include "compact_filter.h"

#include "../base/assert.h"
#include "../base/mutate.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <weft_gen/limits.h>

void weft_compact_filter_init(struct weft_compact_filter *self, const struct weft_compact_rule *rule)
{
    *self = (struct weft_compact_filter){.rule = rule, .next_horizon_ms = INT64_MAX};
    weft_buf_init(&self->out);
    weft_buf_init(&self->inflated);
    weft_buf_init(&self->kept);
    weft_buf_init(&self->timed);
    weft_buf_init(&self->packed);
}

void weft_compact_filter_fini(struct weft_compact_filter *self)
{
    weft_buf_fini(&self->out);
    weft_buf_fini(&self->inflated);
    weft_buf_fini(&self->kept);
    weft_buf_fini(&self->timed);
    weft_buf_fini(&self->packed);
}

// ---- msgpack, as far as it is needed beside the iterator, which checked it

static size_t s_int_bytes(uint8_t tag)
{
    static const uint8_t widths[8] = {1, 2, 4, 8, 1, 2, 4, 8}; // cc to d3
    return tag >= 0xcc && tag <= 0xd3 ? 1u + widths[tag - 0xcc] : 1;
}

static size_t s_array_bytes(uint8_t tag) // 0: no array
{
    return (tag & 0xf0) == 0x90 ? 1 : tag == 0xdc ? 3 : tag == 0xdd ? 5 : 0;
}

static void s_put_int(weft_buf_t *out, int64_t value)
{
    uint8_t bytes[9];
    size_t size = 1;
    uint64_t wide;
    if (value >= -32 && value <= 127) {
        bytes[0] = (uint8_t) value;
    } else if (value >= 0 && value <= UINT32_MAX) {
        bytes[0] = 0xce;
        wide = htobe64((uint64_t) value << 32);
        size = 5;
        memcpy(bytes + 1, &wide, 4);
    } else {
        bytes[0] = 0xd3;
        wide = htobe64((uint64_t) value);
        size = 9;
        memcpy(bytes + 1, &wide, 8);
    }
    weft_buf_append(out, bytes, size);
}

/*
 * A walk over records that tells where each begins, and hashes their keys: some ahead of the one in hand, so that their
 * places in the map are there when they are looked at (it is larger than any cache: without, two thirds of the time
 * went there).
 */
#define S_AHEAD 16

struct s_step {
    struct weft_record record;
    weft_slice_t bytes;
    struct weft_compact_hash hash; // of a key, if it has one
};

struct s_walk {
    const struct weft_compact_map *map; // NULL: no hashes
    weft_record_iter_t iter;
    struct s_step steps[S_AHEAD];
    size_t at, count;
    bool bad;
};

static void s_walk_init(struct s_walk *self, const struct weft_compact_map *map, weft_slice_t payload)
{
    self->map = map;
    self->at = self->count = 0;
    self->bad = false;
    weft_record_iter_init(&self->iter, payload);
}

static void s_look_ahead(struct s_walk *self)
{
    self->at = self->count = 0;
    while (self->count < S_AHEAD) {
        struct s_step *step = &self->steps[self->count];
        const uint8_t *at = self->iter.at;
        bool bad = false;
        if (!weft_record_iter_next(&self->iter, &step->record, &bad)) {
            self->bad |= bad; // told once
            return;
        }
        while (s_array_bytes(*at) == 0) at += s_int_bytes(*at); // gaps before it: the iterator passed them
        step->bytes = weft_slice(at, (size_t) (self->iter.at - at));
        self->count++;
        if (!self->map || !step->record.key.data) continue;
        step->hash = weft_compact_hash(self->map, step->record.key);
        weft_compact_map_touch(self->map, step->hash);
    }
}

// NULL: the end, or self->bad.
static const struct s_step *s_next(struct s_walk *self)
{
    if (self->at == self->count) s_look_ahead(self);
    return self->at < self->count ? &self->steps[self->at++] : NULL;
}

// ---- the first pass

weft_err_t weft_compact_map_batch(struct weft_compact_map *map, weft_slice_t bytes, const struct weft_batch *batch,
                                  int64_t from, weft_buf_t *scratch, int64_t *full)
{
    struct s_walk walk;
    const struct s_step *step;
    weft_slice_t payload;
    *full = -1;
    if (batch->count == 0) return WEFT_OK;
    if (weft_batch_payload(bytes, batch, scratch, &payload)) return WEFT_ERR_DAMAGED;
    s_walk_init(&walk, map, payload);
    while ((step = s_next(&walk)) != NULL) {
        int64_t offset = batch->base_offset + step->record.offset_delta;
        if (offset < from || !step->record.key.data) continue;
        if (weft_compact_map_put(map, step->hash, offset)) continue;
        *full = offset;
        return WEFT_OK;
    }
    return walk.bad ? WEFT_ERR_DAMAGED : WEFT_OK;
}

// ---- gaps

bool weft_compact_is_gap(const struct weft_batch *batch)
{
    return batch->count == 0 && batch->payload_bytes == 0 && batch->producer_id == -1 && batch->attributes == 0;
}

struct weft_batch weft_compact_gap_of(const struct weft_batch *batch)
{
    return (struct weft_batch){.base_offset = batch->base_offset,
                               .leader_epoch = batch->leader_epoch,
                               .format = WEFT_BATCH_FORMAT,
                               .last_offset_delta = batch->last_offset_delta,
                               .base_timestamp_ms = batch->max_timestamp_ms,
                               .max_timestamp_ms = batch->max_timestamp_ms,
                               .producer_id = -1,
                               .producer_epoch = -1,
                               .base_sequence = -1};
}

void weft_compact_gap_write(uint8_t bytes[WEFT_BATCH_HEADER_BYTES], struct weft_batch *gap)
{
    struct weft_batch sealed;
    weft_batch_write_header(bytes, gap);
    weft_batch_seal(bytes, WEFT_BATCH_HEADER_BYTES);
    weft_err_t err = weft_batch_verify(weft_slice(bytes, WEFT_BATCH_HEADER_BYTES), &sealed);
    weft_assert(err == WEFT_OK);
    *gap = sealed;
}

// ---- the second pass

// Would a replay need this batch's header to give the sessions that are alive (rule 15)?
static bool s_remembered(const struct weft_compact_rule *rule, const struct weft_batch *batch)
{
    size_t low = 0, high = rule->session_count;
    if (batch->producer_id < 0) return false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (rule->sessions[middle].producer_id < batch->producer_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < rule->session_count && rule->sessions[low].producer_id == batch->producer_id &&
           batch->base_offset >= rule->sessions[low].from_offset;
}

/** What the walk over one batch found. */
struct s_found {
    uint32_t kept;
    int64_t removed, tombstones_removed, tombstones_below;
    bool tombstones, first_met; // some stay; and some of them have no time yet
};

static bool s_stays(const struct weft_compact_rule *rule, const struct weft_batch *batch, const struct s_step *step,
                    struct s_found *found)
{
    const struct weft_record *record = &step->record;
    int64_t offset = batch->base_offset + record->offset_delta;
    if (!record->key.data || offset >= rule->end) return true;
    if (weft_compact_map_get(&rule->map, step->hash) > offset) return false;
    if (record->value.data) return true;
    bool timed = (batch->attributes & WEFT_BATCH_ATTR_DELETE_HORIZON) != 0;
    bool up = timed && rule->now_ms >= batch->base_timestamp_ms && offset < rule->tombstones_limit;
    if (up || weft_mutated("tombstone_removed_at_once")) {
        found->tombstones_removed++;
        found->tombstones_below = offset + 1;
        return false;
    }
    found->tombstones = true;
    found->first_met |= !timed;
    return true;
}

// The records that stay, in self->kept, unless all do (then it is not written).
static weft_err_t s_walk_records(struct weft_compact_filter *self, const struct weft_batch *batch, weft_slice_t payload,
                                 struct s_found *found)
{
    struct s_walk walk;
    const struct s_step *step;
    // What stays and was not copied yet, and can be as it is; gaps before its first record count, those behind it do not.
    const uint8_t *run = payload.data, *run_end = run;
    int64_t next = 0; // offset delta behind what stays
    weft_buf_clear(&self->kept);
    s_walk_init(&walk, &self->rule->map, payload);
    while ((step = s_next(&walk)) != NULL) {
        if (!s_stays(self->rule, batch, step, found)) {
            if (run) weft_buf_append(&self->kept, run, (size_t) (run_end - run));
            run = NULL;
            found->removed++;
            continue;
        }
        if (!run) {
            s_put_int(&self->kept, step->record.offset_delta - next);
            run = step->bytes.data;
        }
        run_end = step->bytes.data + step->bytes.size;
        next = step->record.offset_delta + 1;
        found->kept++;
    }
    if (walk.bad || found->kept + found->removed != batch->count) return WEFT_ERR_DAMAGED;
    if (run && found->removed) weft_buf_append(&self->kept, run, (size_t) (run_end - run));
    return WEFT_OK;
}

static int64_t s_minus(int64_t a, int64_t b)
{
    int64_t out;
    if (!__builtin_sub_overflow(a, b, &out)) return out;
    return a < b ? INT64_MIN : INT64_MAX;
}

// The same records with deltas that count from `base_ms`, in self->timed.
static void s_retime(struct weft_compact_filter *self, const struct weft_batch *batch, weft_slice_t payload,
                     int64_t base_ms)
{
    static const uint8_t array = 0x94;
    struct s_walk walk;
    const struct s_step *step;
    int64_t next = 0;
    weft_buf_clear(&self->timed);
    s_walk_init(&walk, NULL, payload);
    while ((step = s_next(&walk)) != NULL) {
        if (step->record.offset_delta != next) s_put_int(&self->timed, step->record.offset_delta - next);
        next = step->record.offset_delta + 1;
        size_t head = s_array_bytes(step->bytes.data[0]);
        head += s_int_bytes(step->bytes.data[head]);
        weft_buf_append(&self->timed, &array, 1);
        s_put_int(&self->timed, s_minus(weft_record_timestamp_ms(batch, &step->record), base_ms));
        weft_buf_append(&self->timed, step->bytes.data + head, step->bytes.size - head);
    }
}

// Header and payload into self->out; compressed as it was, where that is smaller.
static weft_err_t s_build(struct weft_compact_filter *self, struct weft_batch batch, weft_slice_t payload)
{
    enum weft_codec codec = weft_batch_codec(&batch);
    if (payload.size > WEFT_RAW_BYTES_MAX) return WEFT_ERR_BATCH_TOO_LARGE;
    batch.raw_bytes = (uint32_t) payload.size;
    if (codec != WEFT_CODEC_NONE && payload.size) {
        weft_buf_clear(&self->packed);
        weft_err_t err = weft_compress(codec, payload, &self->packed);
        if (err) return err;
        if (self->packed.size < payload.size) payload = weft_buf_slice(&self->packed);
    }
    if (payload.data != self->packed.data || codec == WEFT_CODEC_NONE)
        batch.attributes &= (uint16_t) ~WEFT_BATCH_ATTR_CODEC_MASK;
    if (payload.size > WEFT_BATCH_BYTES_MAX - WEFT_BATCH_HEADER_BYTES) return WEFT_ERR_BATCH_TOO_LARGE;
    batch.payload_bytes = (uint32_t) payload.size;
    weft_buf_clear(&self->out);
    weft_buf_reserve(&self->out, weft_batch_bytes(&batch));
    weft_batch_write_header(self->out.data, &batch);
    self->out.size = WEFT_BATCH_HEADER_BYTES;
    if (payload.size) weft_buf_append(&self->out, payload.data, payload.size);
    weft_batch_seal(self->out.data, self->out.size);
    return weft_batch_verify(weft_buf_slice(&self->out), &self->batch) ? WEFT_ERR_DAMAGED : WEFT_OK;
}

// Nothing of its records is left.
static weft_err_t s_empty(struct weft_compact_filter *self, const struct weft_batch *batch,
                          enum weft_compact_verdict *verdict)
{
    if (!s_remembered(self->rule, batch) || weft_mutated("session_header_compacted")) {
        *verdict = WEFT_COMPACT_GAP;
        return WEFT_OK;
    }
    struct weft_batch header = weft_compact_gap_of(batch);
    header.producer_id = batch->producer_id;
    header.producer_epoch = batch->producer_epoch;
    header.base_sequence = batch->base_sequence;
    bool same = batch->count == 0 && batch->payload_bytes == 0 && batch->attributes == header.attributes;
    *verdict = same ? WEFT_COMPACT_SAME : WEFT_COMPACT_CHANGED;
    return same ? WEFT_OK : s_build(self, header, weft_slice("", 0));
}

static weft_err_t s_rewrite(struct weft_compact_filter *self, const struct weft_batch *batch, weft_slice_t payload,
                            const struct s_found *found, enum weft_compact_verdict *verdict)
{
    struct weft_batch header = *batch;
    weft_slice_t left = found->removed ? weft_buf_slice(&self->kept) : payload;
    header.count = found->kept;
    if (found->first_met) {
        struct weft_batch timed = header;
        timed.base_timestamp_ms = self->rule->horizon_ms;
        timed.attributes |= WEFT_BATCH_ATTR_DELETE_HORIZON;
        weft_slice_t again = left;
        if (!(batch->attributes & WEFT_BATCH_ATTR_LOG_APPEND_TIME)) { // else the deltas say nothing
            s_retime(self, &header, left, timed.base_timestamp_ms);
            again = weft_buf_slice(&self->timed);
        }
        *verdict = WEFT_COMPACT_CHANGED;
        weft_err_t err = s_build(self, timed, again);
        // Longer deltas may not fit: then the tombstones stay without a time, until there is less beside them.
        if (err != WEFT_ERR_BATCH_TOO_LARGE) return err;
    }
    *verdict = found->removed ? WEFT_COMPACT_CHANGED : WEFT_COMPACT_SAME;
    return found->removed ? s_build(self, header, left) : WEFT_OK;
}

weft_err_t weft_compact_filter_batch(struct weft_compact_filter *self, weft_slice_t bytes,
                                     const struct weft_batch *batch, enum weft_compact_verdict *verdict)
{
    struct s_found found = {0};
    weft_slice_t payload;
    *verdict = WEFT_COMPACT_SAME;
    if (batch->base_offset >= self->rule->end) return WEFT_OK;
    if (batch->count == 0) return s_empty(self, batch, verdict);
    if (weft_batch_payload(bytes, batch, &self->inflated, &payload)) return WEFT_ERR_DAMAGED;
    weft_err_t err = s_walk_records(self, batch, payload, &found);
    if (err) return err;
    err = found.kept == 0 ? s_empty(self, batch, verdict) : s_rewrite(self, batch, payload, &found, verdict);
    if (err) return err;
    self->records_removed += found.removed;
    self->tombstones_removed += found.tombstones_removed;
    if (found.tombstones_below > self->tombstones_below) self->tombstones_below = found.tombstones_below;
    const struct weft_batch *left = *verdict == WEFT_COMPACT_CHANGED ? &self->batch : batch;
    // One that is up already waits for a follower: it goes with the next run.
    bool later = found.tombstones && (left->attributes & WEFT_BATCH_ATTR_DELETE_HORIZON) &&
                 left->base_timestamp_ms >= self->rule->now_ms;
    if (later && left->base_timestamp_ms < self->next_horizon_ms) self->next_horizon_ms = left->base_timestamp_ms;
    return WEFT_OK;
}
