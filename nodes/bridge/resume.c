// SPDX-License-Identifier: MPL-2.0
/*
 * Sequences alone would not do. Two runs may see the source differently (it was compacted in between), so that the same
 * sequence stands for other records; a batch that was sent on the heels of one that was refused could fit by chance. So no two
 * rounds share an epoch: the first batch of a round is a compare-and-append on the session's end, and before it is answered
 * nothing follows it. A duplicate as its answer may be another run's batch with the same numbers (the broker compares these, not
 * bytes): that ends the round, and the log tells. Later duplicates are our own, whose answers were lost.
 *
 * A place is not believed for ever: the target may have lost records that it had acknowledged (an unclean election), and
 * what was noted is of a log that is no more. So a look begins with the batch behind which the place stands, its anchor: if
 * another one is there, or none though the log should reach so far, all of the log is looked through. (If retention or
 * compaction took it, that says nothing.) The same is done, after some patience and not often, when a round is refused as
 * out of order and the log tells nothing new: mostly then a batch of ours is there and not committed yet.
 */
#include "resume.h"

#define S_DOUBTS_FIRST 3 // rounds until all is looked at
#define S_DOUBTS_EACH 12 // and then again

void weft_bridge_resume_init(struct weft_bridge_resume *self)
{
    *self = (struct weft_bridge_resume){.read_next = -1};
    weft_bridge_place_init(&self->place);
}

int64_t weft_bridge_resume_look(struct weft_bridge_resume *self)
{
    self->met = self->denied = false;
    self->checking = self->place.anchor >= 0;
    return self->checking ? self->place.anchor : self->place.target_next;
}

// Whether the batch at the anchor may be the one that is meant.
static bool s_is_anchor(const struct weft_bridge_resume *self, int64_t producer_id, const struct weft_batch *batch)
{
    if (batch->base_offset > self->place.anchor || batch->count == 0) return true; // it is gone
    int32_t next = weft_bridge_sequence_add(batch->base_sequence, batch->last_offset_delta + 1);
    return batch->base_offset == self->place.anchor && batch->producer_id == producer_id &&
           batch->producer_epoch == self->place.epoch && next == self->place.sequence;
}

bool weft_bridge_resume_meet(struct weft_bridge_resume *self, int64_t producer_id, const struct weft_batch *batch,
                             weft_slice_t bytes, weft_buf_t *scratch, struct weft_bridge_span *span)
{
    if (self->checking && weft_batch_next_offset(batch) > self->place.anchor) {
        self->denied = !s_is_anchor(self, producer_id, batch);
        self->checking = false;
    }
    if (self->checking || self->denied) return false;
    bool ours = weft_bridge_place_meet(&self->place, producer_id, batch, bytes, scratch, span);
    self->met |= ours;
    return ours;
}

// Only the log counts.
static void s_forget(struct weft_bridge_resume *self)
{
    weft_bridge_place_init(&self->place);
    self->read_next = 0;
}

enum weft_bridge_verdict weft_bridge_resume_decide(struct weft_bridge_resume *self, int64_t target_end)
{
    bool doubt = self->gap && !self->met;
    self->gap = self->owned = false;
    if (self->denied || (self->checking && target_end <= self->place.anchor)) {
        s_forget(self);
        return WEFT_BRIDGE_LOOK_ALL;
    }
    if (target_end > self->place.target_next) self->place.target_next = target_end;
    if (self->met) self->read_next = self->place.source_next;
    self->doubts = doubt ? self->doubts + 1 : 0;
    if (doubt && self->doubts % S_DOUBTS_EACH == S_DOUBTS_FIRST) {
        s_forget(self);
        return WEFT_BRIDGE_LOOK_ALL;
    }
    if (self->place.epoch == INT16_MAX) return WEFT_BRIDGE_USED_UP;
    self->sent_next = self->place.source_next;
    self->epoch = (int16_t) (self->place.epoch + 1);
    self->sequence = 0;
    return WEFT_BRIDGE_GO;
}

int32_t weft_bridge_resume_after(const struct weft_bridge_resume *self)
{
    return self->sequence == 0 && self->place.epoch >= 0 ? self->place.sequence : -1;
}

struct weft_bridge_batch weft_bridge_resume_sent(struct weft_bridge_resume *self, int64_t source, int64_t source_next,
                                                 uint32_t count)
{
    struct weft_bridge_batch batch = {source, source_next, self->sequence, self->epoch, count};
    self->sequence = weft_bridge_sequence_add(self->sequence, count);
    self->sent_next = source_next;
    return batch;
}

bool weft_bridge_resume_written(struct weft_bridge_resume *self, const struct weft_bridge_batch *batch,
                                int64_t base_offset, bool duplicate)
{
    if (duplicate && (!self->owned || base_offset < 0)) {
        self->gap |= !self->owned; // what was written is to be met: if not, the place is doubted
        return false;
    }
    self->owned = true;
    self->doubts = 0;
    self->place = (struct weft_bridge_place){.source_next = batch->source_next,
                                             .target_next = base_offset + batch->count,
                                             .anchor = base_offset,
                                             .sequence = weft_bridge_sequence_add(batch->sequence, batch->count),
                                             .epoch = batch->epoch};
    self->read_next = batch->source_next;
    return true;
}

void weft_bridge_resume_gap(struct weft_bridge_resume *self)
{
    self->gap = true;
}
