// SPDX-License-Identifier: MPL-2.0
// Progress: an offset of the source may be committed once everything that was sent for the records before it is durable
// in the target. Answers of several partitions come in any order, so sends are counted by epoch: a stretch of work that
// was closed together with the positions it reached. Epochs are committed in their order, each when its count is zero.
// Nothing waits meanwhile: up to EPOCHS stretches are under way.
#include "filter_inner.h"

#include "../../lib/base/assert.h"

#include <stdlib.h>

#define EPOCHS 16

struct place {
    bool owned;
    int64_t next, safe; // read up to here; committed, or where it began
    int32_t leader_epoch;
    bool changed; // since the epoch was opened
};

struct epoch {
    size_t waiting; // sends without a report
    bool failed;
    struct weft_group_offset *list;
    size_t count;
};

struct weft_progress {
    const char *topic;
    struct place *places; // by partition
    size_t place_count;
    struct epoch epochs[EPOCHS];
    unsigned first, open; // closed ones: [first, open)
    struct weft_group_offset *collected;
};

static struct epoch *s_epoch(weft_progress_t *self, unsigned number)
{
    return &self->epochs[number % EPOCHS];
}

weft_progress_t *weft_progress_new(const char *topic)
{
    weft_progress_t *self = weft_calloc(1, sizeof *self);
    self->topic = topic;
    return self;
}

void weft_progress_destroy(weft_progress_t **self_p)
{
    weft_progress_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    for (unsigned i = 0; i < EPOCHS; i++) free(self->epochs[i].list);
    free(self->collected);
    free(self->places);
    free(self);
}

void *weft_progress_sending(weft_progress_t *self)
{
    struct epoch *epoch = s_epoch(self, self->open);
    epoch->waiting++;
    return epoch;
}

void weft_progress_not_sent(void *opaque)
{
    struct epoch *epoch = opaque;
    epoch->waiting--;
}

void weft_progress_reported(void *opaque, bool delivered)
{
    struct epoch *epoch = opaque;
    weft_assert(epoch->waiting > 0);
    epoch->waiting--;
    if (!delivered) epoch->failed = true;
}

void weft_progress_start(weft_progress_t *self, int32_t partition, int64_t offset)
{
    size_t index = (size_t) partition;
    if (index >= self->place_count) {
        self->places = weft_realloc(self->places, (index + 1) * sizeof *self->places);
        memset(self->places + self->place_count, 0, (index + 1 - self->place_count) * sizeof *self->places);
        self->place_count = index + 1;
    }
    self->places[index] =
        (struct place){.owned = true,
                       .next = offset,
                       .safe = offset,
                       .leader_epoch = -1,
                       .changed = true}; // committed as it is, so that where it began outlives this process
}

void weft_progress_drop(weft_progress_t *self, int32_t partition)
{
    if ((size_t) partition >= self->place_count) return;
    self->places[partition] = (struct place){.next = -1, .safe = -1, .leader_epoch = -1};
    for (unsigned i = 0; i < EPOCHS; i++) {
        struct epoch *epoch = &self->epochs[i];
        for (size_t k = 0; k < epoch->count;) {
            if (epoch->list[k].partition == partition)
                epoch->list[k] = epoch->list[--epoch->count];
            else
                k++;
        }
    }
}

void weft_progress_done(weft_progress_t *self, const struct weft_record_view *record)
{
    if ((size_t) record->partition >= self->place_count || !self->places[record->partition].owned)
        weft_progress_start(self, record->partition, record->offset); // its event comes behind its first records
    struct place *place = &self->places[record->partition];
    place->next = record->offset + 1;
    place->leader_epoch = record->leader_epoch;
    place->changed = true;
}

bool weft_progress_has_new(const weft_progress_t *self)
{
    for (size_t i = 0; i < self->place_count; i++)
        if (self->places[i].changed) return true;
    return false;
}

bool weft_progress_close_epoch(weft_progress_t *self)
{
    if (self->open - self->first == EPOCHS - 1) return false;
    struct epoch *epoch = s_epoch(self, self->open);
    epoch->list = weft_realloc(epoch->list, self->place_count * sizeof *epoch->list);
    epoch->count = 0;
    for (size_t i = 0; i < self->place_count; i++) {
        struct place *place = &self->places[i];
        if (!place->changed) continue;
        place->changed = false;
        epoch->list[epoch->count++] = (struct weft_group_offset){
            .topic = self->topic, .partition = (int32_t) i, .offset = place->next, .leader_epoch = place->leader_epoch};
    }
    self->open++;
    struct epoch *next = s_epoch(self, self->open);
    weft_assert(next->waiting == 0);
    next->failed = false;
    next->count = 0;
    return true;
}

const struct weft_group_offset *weft_progress_collect(weft_progress_t *self, size_t *count)
{
    *count = 0;
    if (self->first == self->open || s_epoch(self, self->first)->waiting > 0) return NULL;
    self->collected = weft_realloc(self->collected, self->place_count * sizeof *self->collected);
    for (; self->first != self->open; self->first++) {
        struct epoch *epoch = s_epoch(self, self->first);
        if (epoch->waiting > 0 || epoch->failed) break;
        for (size_t i = 0; i < epoch->count; i++) self->places[epoch->list[i].partition].safe = epoch->list[i].offset;
        for (size_t i = 0; i < epoch->count; i++) { // the later one of a partition counts
            size_t at = 0;
            while (at < *count && self->collected[at].partition != epoch->list[i].partition) at++;
            self->collected[at] = epoch->list[i];
            if (at == *count) ++*count;
        }
    }
    return self->collected;
}

size_t weft_progress_waiting(const weft_progress_t *self)
{
    size_t waiting = 0;
    for (unsigned i = 0; i < EPOCHS; i++) waiting += self->epochs[i].waiting;
    return waiting;
}

void weft_progress_rewind(weft_progress_t *self, void (*each)(void *context, int32_t partition, int64_t offset),
                          void *context)
{
    weft_assert(weft_progress_waiting(self) == 0);
    for (unsigned i = 0; i < EPOCHS; i++) {
        self->epochs[i].failed = false;
        self->epochs[i].count = 0;
    }
    self->first = self->open;
    for (size_t i = 0; i < self->place_count; i++) {
        struct place *place = &self->places[i];
        if (!place->owned) continue;
        place->next = place->safe;
        place->changed = false;
        each(context, (int32_t) i, place->safe);
    }
}
