// SPDX-License-Identifier: MPL-2.0
// Batches that a program passes on as they are, under an identity of its own (weft_producer_send_batch). They stand in the
// same queue as batches of our making and are retried like them, byte for byte; but they are never renumbered: what was
// written is then known from the log alone, by whoever reads their identity there.
#include "producer_inner.h"

#include "../base/assert.h"

#include <stdio.h>

static weft_err_t s_refuse(weft_producer_part_t *self, weft_err_t error, const char *text)
{
    snprintf(self->text, sizeof self->text, "%s", text);
    weft_counter_add(&self->counters, WEFT_PRODUCER_REFUSED, 1);
    return error;
}

static weft_err_t s_check(weft_producer_part_t *self, weft_topic_t *topic, int32_t partition, weft_slice_t bytes,
                          const struct weft_batch_identity *as, struct weft_batch *batch)
{
    if (self->fatal) return self->fatal;
    if (as->producer_id < 0 || as->epoch < 0 || as->sequence < 0)
        return s_refuse(self, WEFT_ERR_INVALID_ARGUMENT, "producer id, epoch and sequence of a batch count from 0");
    if (weft_batch_read(bytes, batch) || weft_batch_bytes(batch) != bytes.size || batch->count == 0 ||
        batch->count != (uint64_t) batch->last_offset_delta + 1)
        return s_refuse(self, WEFT_ERR_BAD_BATCH, "these bytes are no batch of records without gaps");
    if (bytes.size > self->requests.batch_bytes_max)
        return s_refuse(self, WEFT_ERR_BATCH_TOO_LARGE, "the batch is larger than the cluster takes");
    if (self->waiting_bytes + bytes.size > self->buffer_bytes && self->waiting_count)
        return s_refuse(self, WEFT_ERR_LOCAL_QUEUE_FULL, weft_err_sentence(WEFT_ERR_LOCAL_QUEUE_FULL));
    int32_t count = weft_producer_part_partition_count(self, topic);
    if (count < 0) {
        weft_requests_refresh(&self->requests); // it may be created yet
        self->wants_turn = true;
        return s_refuse(self, WEFT_ERR_UNKNOWN_TOPIC, "the topic does not exist; create it first");
    }
    if (count == 0) return s_refuse(self, WEFT_ERR_LOCAL_NOT_CONNECTED, "the topic's partitions are not known yet");
    if (!weft_id_is_zero(as->topic_id) && !weft_id_equal(as->topic_id, topic->view->id)) {
        weft_requests_refresh(&self->requests); // it may be this one that has not heard yet
        self->wants_turn = true;
        return s_refuse(self, WEFT_ERR_TOPIC_REPLACED, weft_err_sentence(WEFT_ERR_TOPIC_REPLACED));
    }
    if (partition >= 0 && partition < count) return WEFT_OK;
    weft_requests_refresh(&self->requests); // they may have become more
    self->wants_turn = true;
    return s_refuse(self, WEFT_ERR_INVALID_ARGUMENT, "the topic has no such partition");
}

weft_err_t weft_producer_part_send_batch(weft_producer_part_t *self, weft_topic_t *topic, int32_t partition,
                                         weft_slice_t bytes, const struct weft_batch_identity *as, void *opaque)
{
    struct weft_batch header;
    weft_err_t err = s_check(self, topic, partition, bytes, as, &header);
    if (err) return err;
    header.producer_id = as->producer_id;
    header.producer_epoch = as->epoch;
    header.base_sequence = as->sequence;
    header.attributes &= (uint16_t) ~WEFT_BATCH_ATTR_CRC_ABSENT;
    weft_buf_t copy = weft_producer_buffer(self);
    weft_buf_append(&copy, bytes.data, bytes.size);
    weft_batch_write_header(copy.data, &header);
    weft_batch_seal(copy.data, copy.size);
    struct weft_pbatch *batch = weft_producer_batch_take(self);
    batch->partition = topic->partitions[partition];
    batch->count = header.count;
    batch->given = true;
    batch->opaque = opaque;
    batch->after_sequence = as->after_sequence;
    batch->opened_us = weft_port_now_us(&self->port);
    batch->deadline_us = batch->opened_us + self->delivery_us;
    weft_producer_activate(self, batch->partition);
    weft_producer_queue(self, batch, &copy);
    self->waiting_count += batch->count;
    weft_counter_add(&self->counters, WEFT_PRODUCER_RECORDS, batch->count);
    return WEFT_OK;
}
