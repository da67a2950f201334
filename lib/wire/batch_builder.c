// SPDX-License-Identifier: MPL-2.0
// The builder writes records behind 80 bytes of room, so that finish() only fills in the header. A record's greatest
// size is reserved once, then all is stored without further checks; values up to 128 bytes are copied by 16-byte moves
// that overlap, which saves the call that costs more than the copy.
#include "batch.h"

#include "../base/assert.h"
#include "batch_bytes.h"

// Greatest prefixes: array 1, ts_delta 9, key and value 5 each; headers nil 1.
enum { S_PREFIX_BYTES_MAX = 1 + 9 + 5 + 5 + 1 };

void weft_batch_builder_init(weft_batch_builder_t *self)
{
    *self = (weft_batch_builder_t){.count = 0};
    weft_buf_init(&self->buf);
}

void weft_batch_builder_fini(weft_batch_builder_t *self)
{
    weft_buf_fini(&self->buf);
}

void weft_batch_builder_reset(weft_batch_builder_t *self)
{
    weft_buf_clear(&self->buf);
    self->count = 0;
    self->base_timestamp_ms = 0;
    self->max_timestamp_ms = 0;
}

size_t weft_record_bytes_bound(weft_slice_t key, weft_slice_t value, weft_slice_t headers)
{
    return S_PREFIX_BYTES_MAX + key.size + value.size + headers.size;
}

// ---- one record

static inline uint8_t *s_put_int(uint8_t *at, int64_t value)
{
    if (__builtin_expect(value >= -32 && value <= 127, 1)) {
        *at = (uint8_t) value;
        return at + 1;
    }
    if (value > 0) {
        if (value <= UINT8_MAX) return at[0] = 0xcc, at[1] = (uint8_t) value, at + 2;
        if (value <= UINT16_MAX) return at[0] = 0xcd, s_store16(at + 1, (uint16_t) value), at + 3;
        if (value <= UINT32_MAX) return at[0] = 0xce, s_store32(at + 1, (uint32_t) value), at + 5;
        return at[0] = 0xcf, s_store64(at + 1, (uint64_t) value), at + 9;
    }
    if (value >= INT8_MIN) return at[0] = 0xd0, at[1] = (uint8_t) value, at + 2;
    if (value >= INT16_MIN) return at[0] = 0xd1, s_store16(at + 1, (uint16_t) value), at + 3;
    if (value >= INT32_MIN) return at[0] = 0xd2, s_store32(at + 1, (uint32_t) value), at + 5;
    return at[0] = 0xd3, s_store64(at + 1, (uint64_t) value), at + 9;
}

static inline void s_move16(uint8_t *to, const uint8_t *from)
{
    uint64_t halves[2];
    memcpy(halves, from, sizeof halves);
    memcpy(to, halves, sizeof halves);
}

// Never reads outside `from`, never writes outside `to`.
static inline void s_copy(uint8_t *to, const uint8_t *from, size_t size)
{
    if (__builtin_expect(size > 128, 0)) {
        memcpy(to, from, size);
    } else if (size >= 16) {
        for (size_t at = 0; at < size - 16; at += 16) s_move16(to + at, from + at);
        s_move16(to + size - 16, from + size - 16);
    } else if (size >= 8) {
        uint64_t first, last;
        memcpy(&first, from, 8);
        memcpy(&last, from + size - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + size - 8, &last, 8);
    } else {
        for (size_t at = 0; at < size; at++) to[at] = from[at];
    }
}

static inline uint8_t *s_put_bytes(uint8_t *at, weft_slice_t bytes)
{
    if (!bytes.data) {
        *at = 0xc0;
        return at + 1;
    }
    if (__builtin_expect(bytes.size <= UINT8_MAX, 1)) {
        at[0] = 0xc4;
        at[1] = (uint8_t) bytes.size;
        at += 2;
    } else if (bytes.size <= UINT16_MAX) {
        at[0] = 0xc5;
        s_store16(at + 1, (uint16_t) bytes.size);
        at += 3;
    } else {
        weft_assert(bytes.size <= UINT32_MAX);
        at[0] = 0xc6;
        s_store32(at + 1, (uint32_t) bytes.size);
        at += 5;
    }
    s_copy(at, bytes.data, bytes.size);
    return at + bytes.size;
}

// What a builder's caller gives as headers is its own encoding.
__attribute__((unused)) static bool s_headers_legal(weft_slice_t headers)
{
    if (!headers.data) return true;
    weft_buf_t record;
    weft_buf_init(&record);
    weft_buf_append(&record, "\x94\x00\xc0\xc0", 4);
    weft_buf_append(&record, headers.data, headers.size);
    weft_err_t err = weft_batch_check_records(weft_buf_slice(&record), 1, UINT32_MAX, NULL);
    weft_buf_fini(&record);
    return err == WEFT_OK;
}

// Saturates: a time that an application gave is not ours to assert on.
static inline int64_t s_delta(int64_t timestamp_ms, int64_t base_ms)
{
    int64_t delta;
    if (__builtin_sub_overflow(timestamp_ms, base_ms, &delta)) return timestamp_ms < base_ms ? INT64_MIN : INT64_MAX;
    return delta;
}

void weft_batch_builder_add(weft_batch_builder_t *self, int64_t timestamp_ms, weft_slice_t key, weft_slice_t value,
                            weft_slice_t headers)
{
    weft_assert_slow(s_headers_legal(headers));
    size_t bound = weft_record_bytes_bound(key, value, headers);
    if (self->count == 0) {
        self->buf.size = 0;
        weft_buf_reserve(&self->buf, WEFT_BATCH_HEADER_BYTES + bound);
        self->buf.size = WEFT_BATCH_HEADER_BYTES;
        self->base_timestamp_ms = timestamp_ms;
        self->max_timestamp_ms = timestamp_ms;
    } else if (__builtin_expect(self->buf.capacity - self->buf.size < bound, 0)) {
        weft_buf_reserve(&self->buf, bound);
    }
    if (timestamp_ms > self->max_timestamp_ms) self->max_timestamp_ms = timestamp_ms;

    uint8_t *at = self->buf.data + self->buf.size;
    *at++ = 0x94;
    at = s_put_int(at, s_delta(timestamp_ms, self->base_timestamp_ms));
    at = s_put_bytes(at, key);
    at = s_put_bytes(at, value);
    if (__builtin_expect(!headers.data, 1)) {
        *at++ = 0xc0;
    } else {
        s_copy(at, headers.data, headers.size);
        at += headers.size;
    }
    self->buf.size = (size_t) (at - self->buf.data);
    self->count++;
}

// ---- finishing

static void s_swap(weft_buf_t *a, weft_buf_t *b)
{
    weft_buf_t kept = *a;
    *a = *b;
    *b = kept;
}

// Compresses the payload into `out`, behind room for the header; *used says whether that was smaller.
static weft_err_t s_pack(const weft_batch_builder_t *self, enum weft_codec codec, weft_buf_t *out, bool *used)
{
    weft_slice_t raw = weft_slice(self->buf.data + WEFT_BATCH_HEADER_BYTES, self->buf.size - WEFT_BATCH_HEADER_BYTES);
    weft_buf_clear(out);
    weft_buf_reserve(out, WEFT_BATCH_HEADER_BYTES);
    out->size = WEFT_BATCH_HEADER_BYTES;
    weft_err_t err = weft_compress(codec, raw, out);
    if (err) return err;
    *used = out->size < self->buf.size;
    return WEFT_OK;
}

weft_err_t weft_batch_builder_finish(weft_batch_builder_t *self, enum weft_codec codec, int64_t producer_id,
                                     int16_t producer_epoch, int32_t base_sequence, weft_buf_t *out)
{
    weft_assert(self->count > 0 && self->buf.size - WEFT_BATCH_HEADER_BYTES <= UINT32_MAX);
    size_t raw_bytes = self->buf.size - WEFT_BATCH_HEADER_BYTES;
    bool packed = false;
    if (codec != WEFT_CODEC_NONE) {
        weft_err_t err = s_pack(self, codec, out, &packed);
        if (err) return err;
    }
    if (!packed) s_swap(out, &self->buf); // the payload is not copied; the old memory of `out` serves the next batch
    struct weft_batch batch = {
        .format = WEFT_BATCH_FORMAT,
        .attributes = packed ? (uint16_t) codec : 0,
        .last_offset_delta = self->count - 1,
        .base_timestamp_ms = self->base_timestamp_ms,
        .max_timestamp_ms = self->max_timestamp_ms,
        .producer_id = producer_id,
        .producer_epoch = producer_epoch,
        .base_sequence = base_sequence,
        .count = self->count,
        .raw_bytes = (uint32_t) raw_bytes,
        .payload_bytes = (uint32_t) (out->size - WEFT_BATCH_HEADER_BYTES),
    };
    weft_batch_write_header(out->data, &batch);
    weft_batch_seal(out->data, out->size);
    weft_batch_builder_reset(self);
    return WEFT_OK;
}
