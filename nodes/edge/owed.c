// SPDX-License-Identifier: MPL-2.0
// With a spool: what was refused and may come again. The core would refuse what stands behind it, for the gap; the spool
// can't see one, if the session's last batch went by it. So that gap is remembered until the batch is there.
#include "edge.h"

#include "../../lib/base/mutate.h"

#include <weft_gen/messages.h>

#include <stdlib.h>
#include <string.h>

#define S_OWED_MAX 65536 // more, of producers that never came again: all are forgotten

struct s_owed {
    int16_t epoch;
    int32_t sequence; // all from here on is refused ...
    int32_t last;     // ... until the newest that was comes again, or one behind it
};

struct s_key {
    uint8_t bytes[sizeof(weft_id_t) + sizeof(uint32_t) + sizeof(int64_t)];
};

static weft_slice_t s_key(struct s_key *out, weft_id_t topic, uint32_t partition, int64_t producer)
{
    memcpy(out->bytes, topic.bytes, sizeof topic.bytes);
    memcpy(out->bytes + sizeof topic.bytes, &partition, sizeof partition);
    memcpy(out->bytes + sizeof topic.bytes + sizeof partition, &producer, sizeof producer);
    return weft_slice(out->bytes, sizeof out->bytes);
}

// In the ring of sequences.
static bool s_is_ahead(int32_t sequence, int32_t of)
{
    uint32_t distance = ((uint32_t) sequence - (uint32_t) of) & 0x7fffffff;
    return distance > 0 && distance < 0x40000000;
}

static bool s_read(weft_slice_t data, struct weft_batch *batch)
{
    return weft_batch_looks_like_batch(data) && weft_batch_read(data, batch) == WEFT_OK && batch->producer_id >= 0 &&
           batch->base_sequence >= 0;
}

static void s_owe(weft_edge_part_t *self, weft_id_t topic, uint32_t partition, const struct weft_batch *batch)
{
    struct s_key key;
    weft_slice_t place = s_key(&key, topic, partition, batch->producer_id);
    struct s_owed *owed = weft_map_get(self->owed, place);
    if (owed == NULL) {
        if (weft_map_count(self->owed) >= S_OWED_MAX) weft_edge_owed_clear(self);
        owed = weft_calloc(1, sizeof *owed);
        owed->epoch = -1;
        weft_map_put(self->owed, place, owed);
    }
    bool earlier = batch->producer_epoch == owed->epoch && s_is_ahead(owed->sequence, batch->base_sequence);
    if (batch->producer_epoch > owed->epoch || earlier)
        *owed = (struct s_owed){.epoch = batch->producer_epoch,
                                .sequence = batch->base_sequence,
                                .last = earlier ? owed->last : batch->base_sequence};
    else if (batch->producer_epoch == owed->epoch && s_is_ahead(batch->base_sequence, owed->last))
        owed->last = batch->base_sequence;
}

void weft_edge_owe(struct weft_edge_call *call)
{
    struct weft_batch batch;
    weft_edge_part_t *self = call->edge;
    if (self->spool == NULL || call->api != WEFT_API_PRODUCE || call->call.topic == NULL) return;
    if (!call->answers) return; // nobody hears of it
    if (call->call.data != NULL && s_read(weft_shared_slice(call->call.data), &batch))
        s_owe(self, call->call.topic->id, (uint32_t) call->call.partition, &batch);
}

void weft_edge_owe_unrouted(weft_edge_part_t *self, weft_slice_t header, weft_slice_t data)
{
    struct weft_produce_request request;
    struct weft_batch batch;
    if (self->spool == NULL || !s_read(data, &batch)) return;
    if (weft_produce_request_decode(&self->codec, header, &request, &self->error) != WEFT_OK) return;
    if (weft_slice_is_text(request.acks, "none")) return;
    const struct weft_view_topic *topic = weft_edge_topic(self, request.topic, request.topic_id);
    if (topic != NULL) s_owe(self, topic->id, request.partition, &batch);
}

bool weft_edge_owes_before(weft_edge_part_t *self, weft_id_t topic, uint32_t partition, const struct weft_batch *batch)
{
    struct s_key key;
    const struct s_owed *owed = weft_map_get(self->owed, s_key(&key, topic, partition, batch->producer_id));
    if (weft_mutated("refused_is_overtaken")) return false;
    return owed != NULL && owed->epoch == batch->producer_epoch && s_is_ahead(batch->base_sequence, owed->sequence);
}

void weft_edge_paid(weft_edge_part_t *self, weft_id_t topic, uint32_t partition, const struct weft_batch *batch)
{
    struct s_key key;
    if (weft_map_count(self->owed) == 0) return;
    weft_slice_t place = s_key(&key, topic, partition, batch->producer_id);
    struct s_owed *owed = weft_map_get(self->owed, place);
    if (owed == NULL || batch->producer_epoch < owed->epoch) return;
    if (batch->producer_epoch == owed->epoch && s_is_ahead(owed->sequence, batch->base_sequence)) return;
    if (batch->producer_epoch == owed->epoch && s_is_ahead(owed->last, batch->base_sequence)) {
        owed->sequence = (int32_t) (((uint32_t) batch->base_sequence + batch->last_offset_delta + 1) & 0x7fffffff);
        return;
    }
    weft_map_remove(self->owed, place);
    free(owed);
}

void weft_edge_paid_call(struct weft_edge_call *call)
{
    struct weft_batch batch;
    weft_edge_part_t *self = call->edge;
    if (call->api != WEFT_API_PRODUCE || call->call.topic == NULL || weft_map_count(self->owed) == 0) return;
    if (call->call.data != NULL && s_read(weft_shared_slice(call->call.data), &batch))
        weft_edge_paid(self, call->call.topic->id, (uint32_t) call->call.partition, &batch);
}

void weft_edge_owed_clear(weft_edge_part_t *self)
{
    void *value;
    for (size_t i = 0; weft_map_next(self->owed, &i, NULL, &value);) free(value);
    weft_map_destroy(&self->owed);
    self->owed = weft_map_new();
}
