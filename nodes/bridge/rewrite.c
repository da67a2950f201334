// SPDX-License-Identifier: MPL-2.0
// Two walks over the records of a piece: the first finds where it ends, because the mark in its first record says so; the
// second encodes them.
#include "rewrite.h"

#include "../../lib/base/assert.h"

#include <endian.h>
#include <string.h>

bool weft_bridge_is_plain(const struct weft_batch *batch, int64_t position, int64_t expected, size_t bytes_max)
{
    const unsigned passed = WEFT_BATCH_ATTR_CODEC_MASK | WEFT_BATCH_ATTR_LOG_APPEND_TIME;
    return batch->base_offset == expected && position <= batch->base_offset &&
           batch->count == (uint64_t) batch->last_offset_delta + 1 && (batch->attributes & ~passed) == 0 &&
           batch->max_timestamp_ms >= batch->base_timestamp_ms && weft_batch_bytes(batch) <= bytes_max;
}

void weft_bridge_rewrite_init(weft_bridge_rewrite_t *self)
{
    *self = (weft_bridge_rewrite_t){.done = true};
    weft_batch_builder_init(&self->builder);
    weft_buf_init(&self->inflated);
    weft_buf_init(&self->headers);
    weft_buf_init(&self->out);
}

void weft_bridge_rewrite_fini(weft_bridge_rewrite_t *self)
{
    weft_batch_builder_fini(&self->builder);
    weft_buf_fini(&self->inflated);
    weft_buf_fini(&self->headers);
    weft_buf_fini(&self->out);
}

weft_err_t weft_bridge_rewrite_begin(weft_bridge_rewrite_t *self, weft_slice_t bytes, const struct weft_batch *batch,
                                     int64_t position)
{
    weft_slice_t payload = WEFT_SLICE_NIL;
    self->done = true;
    if (batch->count == 0) return WEFT_OK;
    if (weft_batch_payload(bytes, batch, &self->inflated, &payload) != WEFT_OK) return WEFT_ERR_BAD_BATCH;
    self->batch = *batch;
    self->position = position;
    self->done = false;
    weft_record_iter_init(&self->at, payload);
    return WEFT_OK;
}

// ---- headers

static void s_put(weft_buf_t *out, uint8_t tag, uint64_t value, size_t bytes)
{
    uint64_t wide = htobe64(value << (64 - 8 * bytes));
    weft_buf_append(out, &tag, 1);
    weft_buf_append(out, &wide, bytes);
}

// The record's own headers and the mark behind them.
static weft_slice_t s_marked(weft_bridge_rewrite_t *self, weft_slice_t headers,
                             const uint8_t mark[WEFT_BRIDGE_MARK_BYTES])
{
    uint32_t count = 0;
    bool begun = false;
    weft_slice_t rest = headers, name, value;
    while (headers.data != NULL && weft_record_header_next(&rest, &begun, &name, &value)) count += 2;
    size_t head = headers.data == NULL ? 0 : headers.data[0] == 0xdc ? 3 : headers.data[0] == 0xdd ? 5 : 1;
    weft_buf_clear(&self->headers);
    s_put(&self->headers, 0xdd, count + 2, 4);
    if (count > 0) weft_buf_append(&self->headers, headers.data + head, headers.size - head);
    s_put(&self->headers, 0xd9, strlen(WEFT_BRIDGE_MARK), 1);
    weft_buf_append(&self->headers, WEFT_BRIDGE_MARK, strlen(WEFT_BRIDGE_MARK));
    s_put(&self->headers, 0xc4, WEFT_BRIDGE_MARK_BYTES, 1);
    weft_buf_append(&self->headers, mark, WEFT_BRIDGE_MARK_BYTES);
    return weft_buf_slice(&self->headers);
}

// ---- pieces

static bool s_next(weft_bridge_rewrite_t *self, weft_record_iter_t *at, struct weft_record *record)
{
    while (weft_record_iter_next(at, record, NULL))
        if (self->batch.base_offset + record->offset_delta >= self->position) return true;
    return false;
}

// How far the piece goes. False: it has no record.
static bool s_extent(weft_bridge_rewrite_t *self, size_t bytes_max, struct weft_bridge_piece *piece)
{
    weft_record_iter_t at = self->at;
    struct weft_record record;
    size_t bytes = WEFT_BATCH_HEADER_BYTES + 128; // and a mark
    *piece = (struct weft_bridge_piece){0};
    while (s_next(self, &at, &record)) {
        int64_t offset = self->batch.base_offset + record.offset_delta;
        bytes += weft_record_bytes_bound(record.key, record.value, record.headers);
        if (piece->count > 0 && bytes > bytes_max) return true;
        if (piece->count++ == 0) piece->source = offset;
        piece->source_next = offset + 1;
    }
    piece->source_next = weft_batch_next_offset(&self->batch); // with the gap at its end
    return piece->count > 0;
}

bool weft_bridge_rewrite_next(weft_bridge_rewrite_t *self, int64_t producer_id, int64_t expected, size_t bytes_max,
                              struct weft_bridge_piece *piece)
{
    if (self->done || !s_extent(self, bytes_max, piece)) {
        self->done = true;
        return false;
    }
    piece->marked = piece->source != expected || piece->source_next - piece->source != (int64_t) piece->count;
    uint8_t mark[WEFT_BRIDGE_MARK_BYTES];
    weft_bridge_mark_write(mark, producer_id, piece->source, piece->source_next);
    weft_batch_builder_reset(&self->builder);
    for (uint32_t i = 0; i < piece->count; i++) {
        struct weft_record record;
        bool found = s_next(self, &self->at, &record);
        weft_assert(found);
        weft_slice_t headers = piece->marked && i == 0 ? s_marked(self, record.headers, mark) : record.headers;
        weft_batch_builder_add(&self->builder, weft_record_timestamp_ms(&self->batch, &record), record.key,
                               record.value, headers);
    }
    weft_err_t err = weft_batch_builder_finish(&self->builder, weft_batch_codec(&self->batch), -1, -1, -1, &self->out);
    weft_assert(err == WEFT_OK); // the codec was readable
    piece->bytes = weft_buf_slice(&self->out);
    return true;
}
