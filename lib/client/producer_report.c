// SPDX-License-Identifier: MPL-2.0
// The fate of records, told once. What a batch remembers of its records grows only where opaques or futures were given,
// and its memory goes round: a producer in its stride allocates nothing.
#include "producer_inner.h"

#include "../base/assert.h"

#include <stdio.h>
#include <stdlib.h>

// ---- tags

void weft_ptags_add(struct weft_ptags *self, uint32_t index, void *opaque, weft_delivery_t *delivery)
{
    if (opaque || self->opaque_count) {
        if (index >= self->opaque_capacity) {
            size_t capacity = self->opaque_capacity ? self->opaque_capacity * 2 : 256;
            if (capacity <= index) capacity = (size_t) index + 1;
            self->opaques = weft_realloc(self->opaques, capacity * sizeof(void *));
            self->opaque_capacity = capacity;
        }
        for (size_t i = self->opaque_count; i < index; i++) self->opaques[i] = NULL;
        self->opaques[index] = opaque;
        self->opaque_count = (size_t) index + 1;
    }
    if (!delivery) return;
    if (self->future_count == self->future_capacity) {
        self->future_capacity = self->future_capacity ? self->future_capacity * 2 : 16;
        self->futures = weft_realloc(self->futures, self->future_capacity * sizeof *self->futures);
    }
    self->futures[self->future_count++] = (struct weft_pbatch_future){index, delivery};
}

void weft_ptags_move(struct weft_ptags *to, struct weft_ptags *from)
{
    struct weft_ptags empty = *to;
    *to = *from;
    *from = empty;
    from->opaque_count = from->future_count = 0;
}

void weft_ptags_fini(struct weft_ptags *self)
{
    free(self->opaques);
    free(self->futures);
    *self = (struct weft_ptags){0};
}

// ---- batches go round

struct weft_pbatch *weft_producer_batch_take(weft_producer_part_t *self)
{
    struct weft_pbatch *batch = self->spare;
    if (batch) {
        self->spare = batch->next;
        struct weft_ptags tags = batch->tags;
        weft_buf_t header = batch->call.header;
        *batch = (struct weft_pbatch){.tags = tags};
        batch->call.header = header;
        return batch;
    }
    batch = weft_calloc(1, sizeof *batch);
    weft_buf_init(&batch->call.header);
    return batch;
}

void weft_producer_batch_put(weft_producer_part_t *self, struct weft_pbatch *batch)
{
    weft_assert(!batch->call.id);
    weft_buf_t buffer;
    weft_buf_init(&buffer);
    if (weft_shared_reclaim(&batch->bytes, &buffer)) {
        if (self->spare_buffer_count < self->spare_buffer_max)
            self->spare_buffers[self->spare_buffer_count++] = buffer;
        else
            weft_buf_fini(&buffer);
    }
    batch->tags.opaque_count = batch->tags.future_count = 0;
    weft_buf_clear(&batch->call.header);
    batch->next = self->spare;
    self->spare = batch;
}

// ---- telling

static void s_complete(weft_delivery_t *delivery, int32_t partition, int64_t offset, weft_err_t error,
                       enum weft_err_outcome outcome)
{
    delivery->done = true;
    delivery->producer = NULL;
    delivery->error = error;
    delivery->outcome = outcome;
    delivery->partition = partition;
    delivery->offset = offset;
    weft_delivery_drop(delivery);
}

static void s_note_error(weft_producer_part_t *self, weft_err_t error, const char *text)
{
    if (self->first_error) return;
    self->first_error = error;
    snprintf(self->first_error_text, sizeof self->first_error_text, "%s", text);
}

static void s_report_each(weft_producer_part_t *self, const struct weft_batch_report *all)
{
    struct weft_report report = {.topic = all->topic,
                                 .partition = all->partition,
                                 .error = all->error,
                                 .outcome = all->outcome,
                                 .text = all->text};
    for (uint32_t i = 0; i < all->count; i++) {
        report.offset = all->base_offset < 0 ? -1 : all->base_offset + i;
        report.opaque = all->opaques ? all->opaques[i] : NULL;
        self->report(self->report_context, &report);
    }
}

void weft_producer_report_batch(weft_producer_part_t *self, struct weft_pbatch *batch, int64_t base_offset,
                                weft_err_t error, enum weft_err_outcome outcome, const char *text)
{
    struct weft_ptags *tags = &batch->tags;
    if (tags->opaque_count) // the last records may have had none
        while (tags->opaque_count < batch->count) weft_ptags_add(tags, (uint32_t) tags->opaque_count, NULL, NULL);
    int64_t now_us = weft_port_now_us(&self->port);
    struct weft_batch_report report = {.topic = batch->partition->topic->view->name,
                                       .partition = batch->partition->index,
                                       .base_offset = base_offset,
                                       .count = batch->count,
                                       .error = error,
                                       .outcome = outcome,
                                       .text = text,
                                       .opaques = batch->given         ? &batch->opaque
                                                  : tags->opaque_count ? tags->opaques
                                                                       : NULL,
                                       .latency_us = now_us - batch->opened_us,
                                       .duplicate = batch->duplicate};
    self->waiting_count -= batch->count;
    self->waiting_bytes -= batch->size;
    self->reported_batches++;
    weft_counter_add(&self->counters, error ? WEFT_PRODUCER_FAILED : WEFT_PRODUCER_DELIVERED, batch->count);
    if (error) s_note_error(self, error, text);
    for (size_t i = 0; i < tags->future_count; i++)
        s_complete(tags->futures[i].delivery, report.partition,
                   base_offset < 0 ? -1 : base_offset + tags->futures[i].index, error, outcome);
    if (self->batch_report) self->batch_report(self->batch_report_context, &report);
    if (batch->given) report.count = 1;
    if (self->report) s_report_each(self, &report);
    weft_producer_batch_put(self, batch);
}

void weft_producer_report_one(weft_producer_part_t *self, const weft_topic_t *topic, int32_t partition, void *opaque,
                              weft_delivery_t *delivery, weft_err_t error, const char *text)
{
    self->waiting_count--;
    self->reported_batches++;
    weft_counter_add(&self->counters, WEFT_PRODUCER_FAILED, 1);
    s_note_error(self, error, text);
    if (delivery) s_complete(delivery, partition, -1, error, WEFT_OUTCOME_NOT_APPLIED);
    struct weft_batch_report report = {.topic = topic->view->name,
                                       .partition = partition,
                                       .base_offset = -1,
                                       .count = 1,
                                       .error = error,
                                       .outcome = WEFT_OUTCOME_NOT_APPLIED,
                                       .text = text,
                                       .opaques = &opaque};
    if (self->batch_report) self->batch_report(self->batch_report_context, &report);
    if (self->report) s_report_each(self, &report);
}

// ---- futures

weft_delivery_t *weft_delivery_new(struct weft_producer *producer)
{
    weft_delivery_t *self = weft_calloc(1, sizeof *self);
    self->producer = producer;
    self->references = 2;
    self->outcome = WEFT_OUTCOME_MAYBE_APPLIED;
    self->partition = -1;
    self->offset = -1;
    return self;
}

void weft_delivery_drop(weft_delivery_t *self)
{
    weft_assert(self->references > 0);
    if (--self->references == 0) free(self);
}
