// SPDX-License-Identifier: MPL-2.0
// Counting sequences modulo 2^31, by distances. Only the first record of a batch can carry a mark, so a batch that is not
// compressed costs no walk.
#include "place.h"

#include <endian.h>
#include <string.h>

#define S_TAG 0x5b71u // the upper 15 of the 63 bits
#define S_TAG_SHIFT 48
#define S_SEQUENCE_MASK 0x7fffffffu

int64_t weft_bridge_producer_id(const char *bridge, weft_id_t source_cluster, weft_id_t source_topic, int32_t partition)
{
    uint64_t hash = weft_slice_hash(weft_slice_text(bridge), 0x6272696467650001u);
    hash = weft_slice_hash(weft_id_slice(&source_cluster), hash);
    hash = weft_slice_hash(weft_id_slice(&source_topic), hash);
    uint64_t wide = htobe64((uint64_t) partition);
    hash = weft_slice_hash(weft_slice(&wide, sizeof wide), hash);
    return (int64_t) ((uint64_t) S_TAG << S_TAG_SHIFT | (hash & ((UINT64_C(1) << S_TAG_SHIFT) - 1)));
}

bool weft_bridge_is_producer_id(int64_t producer_id)
{
    return (uint64_t) producer_id >> S_TAG_SHIFT == S_TAG;
}

void weft_bridge_place_init(struct weft_bridge_place *self)
{
    *self = (struct weft_bridge_place){.anchor = -1, .epoch = -1};
}

int32_t weft_bridge_sequence_add(int32_t sequence, uint32_t more)
{
    return (int32_t) (((uint32_t) sequence + more) & S_SEQUENCE_MASK);
}

// ---- marks

static void s_store(uint8_t *at, int64_t value)
{
    uint64_t wide = htobe64((uint64_t) value);
    memcpy(at, &wide, sizeof wide);
}

static int64_t s_load(const uint8_t *at)
{
    uint64_t wide;
    memcpy(&wide, at, sizeof wide);
    return (int64_t) be64toh(wide);
}

void weft_bridge_mark_write(uint8_t mark[WEFT_BRIDGE_MARK_BYTES], int64_t producer_id, int64_t source,
                            int64_t source_next)
{
    s_store(mark, producer_id);
    s_store(mark + 8, source);
    s_store(mark + 16, source_next);
}

bool weft_bridge_mark_find(weft_slice_t headers, int64_t producer_id, int64_t *source, int64_t *source_next)
{
    bool begun = false;
    weft_slice_t name, value;
    if (headers.data == NULL) return false;
    while (weft_record_header_next(&headers, &begun, &name, &value)) {
        if (!weft_slice_is_text(name, WEFT_BRIDGE_MARK) || value.size != WEFT_BRIDGE_MARK_BYTES) continue;
        int64_t first = s_load(value.data + 8), next = s_load(value.data + 16);
        if (s_load(value.data) != producer_id || first < 0 || next <= first) continue; // of a bridge before this one
        *source = first;
        *source_next = next;
        return true;
    }
    return false;
}

// ---- meeting

static bool s_mark(const struct weft_batch *batch, weft_slice_t bytes, weft_buf_t *scratch, int64_t *source,
                   int64_t *source_next)
{
    weft_slice_t payload;
    weft_record_iter_t iter;
    struct weft_record record;
    if (batch->count == 0 || weft_batch_payload(bytes, batch, scratch, &payload) != WEFT_OK) return false;
    weft_record_iter_init(&iter, payload);
    return weft_record_iter_next(&iter, &record, NULL) &&
           weft_bridge_mark_find(record.headers, batch->producer_id, source, source_next);
}

bool weft_bridge_place_meet(struct weft_bridge_place *self, int64_t producer_id, const struct weft_batch *batch,
                            weft_slice_t bytes, weft_buf_t *scratch, struct weft_bridge_span *span)
{
    int64_t target_next = weft_batch_next_offset(batch);
    if (target_next > self->target_next) self->target_next = target_next;
    if (batch->producer_id != producer_id || batch->producer_epoch < self->epoch) return false;
    int32_t expected = batch->producer_epoch == self->epoch ? self->sequence : 0;
    uint32_t gone = ((uint32_t) batch->base_sequence - (uint32_t) expected) & S_SEQUENCE_MASK;
    if (gone > S_SEQUENCE_MASK / 2) return false; // counted already
    uint32_t count = batch->last_offset_delta + 1;
    int64_t source = self->source_next + gone, source_next = source + count;
    (void) s_mark(batch, bytes, scratch, &source, &source_next);
    *span = (struct weft_bridge_span){.source = source,
                                      .source_next = source_next,
                                      .target = batch->base_offset,
                                      .target_next = target_next,
                                      .exact = source_next - source == (int64_t) count};
    self->source_next = source_next;
    self->anchor = batch->base_offset;
    self->epoch = batch->producer_epoch;
    self->sequence = weft_bridge_sequence_add(batch->base_sequence, count);
    return true;
}
