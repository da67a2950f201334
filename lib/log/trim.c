// SPDX-License-Identifier: MPL-2.0
/*
 * Taking away: from the end (truncate) and from the beginning (trim, retain). Both first write durably what they are
 * about to do, then do it: file `start` makes segments below it garbage wherever a crash leaves them; file `cut` says
 * that the checkpoint's synced end may be from before the truncation, so that what is missing above it is no damage. A
 * crash between any two steps leaves the log as before, as after, or (truncate) cut somewhere between, with the same
 * bytes below.
 */
#include "compact.h"
#include "log_internal.h"

#include "../base/assert.h"

// ---- truncate

struct s_cut {
    size_t segment;
    int64_t offset;   // the log's new end
    int64_t position; // in that segment
    int64_t max_timestamp_ms;
};

// The beginning of the batch that holds `offset`.
static weft_err_t s_locate(weft_log_t *self, int64_t offset, struct s_cut *cut)
{
    struct weft_segment *segment = weft_log_segment_of(self, offset);
    struct weft_index_want want = {.by_time = false, .bound = offset};
    struct weft_index_entry entry;
    struct weft_segment_walk walk;
    struct weft_batch batch;
    weft_err_t err = weft_log_index_find(self, segment, want, &entry);
    if (err) return err;
    cut->segment = (size_t) (segment - self->segments);
    cut->max_timestamp_ms = entry.max_before_ms;
    weft_segment_walk_init(&walk, segment->file, entry.position, segment->bytes);
    while (!(err = weft_segment_walk_peek(&walk, &batch))) {
        if (weft_batch_next_offset(&batch) > offset) break;
        if (batch.max_timestamp_ms > cut->max_timestamp_ms) cut->max_timestamp_ms = batch.max_timestamp_ms;
        walk.position += (int64_t) weft_batch_bytes(&batch);
    }
    if (err && err != WEFT_ERR_NOT_FOUND) return err;
    cut->position = walk.position;
    cut->offset = err ? segment->end_offset : batch.base_offset;
    return WEFT_OK;
}

// In memory: from here on nothing above the cut is known, whatever the disk says to it.
static void s_forget(weft_log_t *self, const struct s_cut *cut)
{
    struct weft_segment *segment = weft_log_active(self);
    bool empty = cut->position == 0;
    (void) weft_log_epochs_cut(self, cut->offset);
    segment->bytes = cut->position;
    segment->end_offset = cut->offset;
    segment->max_timestamp_ms = empty ? WEFT_TIME_NONE : cut->max_timestamp_ms;
    if (empty) segment->first_timestamp_ms = WEFT_TIME_NONE;
    segment->last_epoch = empty ? -1 : weft_log_epoch_at(self, cut->offset - 1);
    segment->sealed = false;
    segment->index_bad = false;
    weft_buf_clear(&self->index_page);
    self->torn = false;
    if (self->synced_end > cut->offset) self->synced_end = cut->offset;
}

static weft_err_t s_drop_behind(weft_log_t *self, size_t segment)
{
    weft_err_t err = WEFT_OK;
    while (self->segment_count > segment + 1) {
        int64_t base = weft_log_active(self)->base_offset;
        weft_log_segment_drop_last(self);
        if (!err) err = weft_log_unlink(self, base, ".log");
        if (!err) err = weft_log_unlink(self, base, ".index");
    }
    return err;
}

static weft_err_t s_cut_files(weft_log_t *self, const struct s_cut *cut)
{
    struct weft_segment *segment = weft_log_active(self);
    weft_err_t err = weft_segment_open(segment, self->disk, self->directory);
    if (!err) err = weft_log_index_cut(self, segment, cut->offset);
    if (!err) err = self->disk->ops->truncate(segment->file, cut->position);
    if (!err) err = self->disk->ops->sync(segment->file);
    if (!err) segment->dirty = true; // the next sync covers all below, whatever the ones under way say
    return err;
}

static weft_err_t s_cut(weft_log_t *self, const struct s_cut *cut)
{
    bool removed, epochs = self->epoch_count && self->epochs[self->epoch_count - 1].start_offset >= cut->offset;
    weft_err_t err = s_drop_behind(self, cut->segment);
    s_forget(self, cut);
    if (!err) err = s_cut_files(self, cut);
    if (!err) err = weft_log_snapshots_cut(self, cut->offset, &removed);
    if (!err && epochs) err = weft_log_epochs_store(self);
    if (!err) err = self->disk->ops->sync_directory(self->disk, self->directory);
    return err;
}

// Syncing the files of segments that are about to go says nothing about the end any more.
static void s_forget_pending(weft_log_t *self, int64_t end_offset)
{
    for (size_t i = 0; i < self->pending_count; i++)
        if (self->pending[i].end_offset > end_offset) self->pending[i].end_offset = -1;
}

weft_err_t weft_log_truncate(weft_log_t *self, int64_t offset)
{
    struct s_cut cut;
    if (self->broken) return WEFT_ERR_DISK_FAILED;
    if (offset < self->start_offset) return WEFT_ERR_OFFSET_OUT_OF_RANGE;
    if (offset >= weft_log_end(self)) return WEFT_OK;
    weft_err_t err = s_locate(self, offset, &cut);
    if (err) return err;

    if (!self->cut_from || cut.offset < self->cut_to) self->cut_to = cut.offset;
    // A synced end from before can be as high as the log's end is now.
    if (weft_log_end(self) > self->cut_from) self->cut_from = weft_log_end(self);
    self->shape_generation++;
    if (cut.offset < self->start_offset) err = weft_log_start_store(self, cut.offset);
    // What comes there is new. Lower than the log tells of it does no harm, if nothing is cut.
    if (!err && cut.offset < self->compacted) err = weft_log_compacted_store(self, cut.offset, self->tombstones_below);
    if (!err) err = weft_log_cut_store(self, self->cut_to, self->cut_from);
    if (err) return err; // nothing was cut

    weft_log_forget_cursors(self);
    self->sync_generation++;
    s_forget_pending(self, cut.offset);
    err = s_cut(self, &cut);
    if (!err) return WEFT_OK;
    self->broken = true; // half done: a start sorts it out
    weft_log_active(self)->index_bad = true;
    return WEFT_ERR_DISK_FAILED;
}

// ---- trim

// Epochs whose records are all gone, but for the one in force at the start.
static weft_err_t s_trim_epochs(weft_log_t *self)
{
    size_t gone = 0;
    while (gone + 1 < self->epoch_count && self->epochs[gone + 1].start_offset <= self->start_offset) gone++;
    if (gone < 64) return WEFT_OK; // not worth a new file
    self->epoch_count -= gone;
    memmove(self->epochs, self->epochs + gone, self->epoch_count * sizeof *self->epochs);
    return weft_log_epochs_store(self);
}

weft_err_t weft_log_trim(weft_log_t *self, int64_t offset)
{
    if (self->broken) return WEFT_ERR_DISK_FAILED;
    if (offset < self->start_offset || offset > weft_log_end(self)) return WEFT_ERR_OFFSET_OUT_OF_RANGE;
    if (offset == self->start_offset && !self->start_doubtful) return WEFT_OK;
    self->shape_generation++;
    weft_err_t err = weft_log_start_store(self, offset);
    if (err) return err;

    size_t gone = 0;
    while (gone + 1 < self->segment_count && self->segments[gone + 1].base_offset <= offset) {
        weft_segment_close(&self->segments[gone]); // else its bytes go with our close later, and this thread waits
        // What can't be removed now is garbage to the next start.
        weft_err_t failed = weft_log_unlink(self, self->segments[gone].base_offset, ".log");
        if (!failed) failed = weft_log_unlink(self, self->segments[gone].base_offset, ".index");
        if (failed) err = failed;
        gone++;
    }
    weft_log_segments_drop_first(self, gone);
    if (gone) weft_log_forget_cursors(self);
    if (!err) err = s_trim_epochs(self);
    if (!err && gone) err = self->disk->ops->sync_directory(self->disk, self->directory);
    return err;
}

// ---- retention

static bool s_too_old(weft_log_t *self, struct weft_segment *segment, int64_t now_ms)
{
    if (self->config.retention_ms < 0 || segment->bytes == 0) return false;
    int64_t newest = segment->max_timestamp_ms;
    // Timestamps of the future count from when they were first seen here, for as long as they are of the future: where
    // the clock was only behind, and has been set right, they count as they are.
    if (newest <= now_ms)
        segment->seen_ms = WEFT_TIME_NONE;
    else if (segment->seen_ms == WEFT_TIME_NONE)
        segment->seen_ms = now_ms;
    if (segment->seen_ms != WEFT_TIME_NONE) newest = segment->seen_ms;
    return now_ms >= newest && (uint64_t) now_ms - (uint64_t) newest > (uint64_t) self->config.retention_ms;
}

static weft_err_t s_roll_old(weft_log_t *self, int64_t now_ms)
{
    bool rolled;
    return weft_log_roll_due(self, now_ms, s_too_old(self, weft_log_active(self), now_ms), &rolled);
}

weft_err_t weft_log_retain(weft_log_t *self, int64_t now_ms, int64_t limit, size_t *removed)
{
    *removed = 0;
    if (self->broken) return WEFT_ERR_DISK_FAILED;
    weft_err_t err = s_roll_old(self, now_ms);
    if (err) return err;
    int64_t bytes = weft_log_bytes(self);
    size_t gone = 0;
    while (gone + 1 < self->segment_count) {
        struct weft_segment *segment = &self->segments[gone];
        bool too_many = self->config.retention_bytes >= 0 && bytes - segment->bytes >= self->config.retention_bytes;
        if (segment->end_offset > limit || !(too_many || s_too_old(self, segment, now_ms))) break;
        bytes -= segment->bytes;
        gone++;
    }
    if (gone == 0) return WEFT_OK;
    size_t before = self->segment_count;
    int64_t start = self->segments[gone].base_offset;
    err = start > self->start_offset ? weft_log_trim(self, start) : WEFT_OK;
    *removed = before - self->segment_count;
    return err;
}
