// SPDX-License-Identifier: MPL-2.0
/*
 * The run: twice over the segments, by paths and in files of its own. First the keys of the dirty part go into the map,
 * until it is full; then every batch below that is filtered, from the log's first on, for what a new record makes old
 * may stand anywhere before it.
 *
 * A segment in which nothing changes is not written again, and a changed one is copied up to the first change by the
 * window. Small neighbours become one, as long as all of the next one would fit. What is written is synced every few
 * megabytes, so that a group commit next door never waits for hundreds.
 */
#include "compact_internal.h"

#include "../base/assert.h"
#include "../base/mutate.h"

#include <stdlib.h>
#include <weft_gen/limits.h>

#define S_WINDOW_BYTES (1024 * 1024)
#define S_SYNC_BYTES (16 * 1024 * 1024)

void weft_compact_cancel(weft_compact_t *self)
{
    atomic_store_explicit(&self->cancelled, true, memory_order_relaxed);
}

bool weft_compact_cancelled(const weft_compact_t *self)
{
    return atomic_load_explicit(&self->cancelled, memory_order_relaxed);
}

void weft_compact_destroy(weft_compact_t **self_p)
{
    weft_compact_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    if (self->file) self->disk->ops->close(&self->file);
    if (self->out_file) self->disk->ops->close(&self->out_file);
    weft_compact_filter_fini(&self->filter);
    weft_compact_map_fini(&self->rule.map);
    weft_buf_fini(&self->window);
    weft_buf_fini(&self->out_bytes);
    weft_buf_fini(&self->index);
    free(self->rule.sessions);
    free(self->sources);
    free(self->outputs);
    free(self);
}

static void s_unlink_one(const weft_compact_t *self, int64_t base_offset)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    (void) !self->disk->ops->unlink(self->disk, weft_log_path(path, self->directory, base_offset, WEFT_COMPACT_LOG));
    (void) !self->disk->ops->unlink(self->disk, weft_log_path(path, self->directory, base_offset, WEFT_COMPACT_INDEX));
}

void weft_compact_unlink(const weft_compact_t *self)
{
    for (size_t i = 0; i < self->output_count; i++) s_unlink_one(self, self->outputs[i].segment.base_offset);
    if (self->open && self->out_file) s_unlink_one(self, self->out.segment.base_offset);
}

// ---- reading

static weft_err_t s_source_open(weft_compact_t *self)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    const struct weft_compact_source *source = &self->sources[self->at];
    self->position = 0;
    self->offset = source->base_offset;
    weft_buf_clear(&self->window);
    self->window_at = 0;
    weft_log_path(path, self->directory, source->base_offset, ".log");
    return self->disk->ops->open(self->disk, path, WEFT_OPEN_READ, &self->file);
}

// Makes `want` bytes from the position visible.
static weft_err_t s_show(weft_compact_t *self, size_t want, weft_slice_t *out)
{
    size_t skip = (size_t) (self->position - self->window_at);
    int64_t left = self->sources[self->at].bytes - self->position;
    if ((int64_t) want > left) return WEFT_ERR_DAMAGED;
    if (self->window.size < skip + want) {
        self->window.size -= skip;
        if (self->window.size) memmove(self->window.data, self->window.data + skip, self->window.size);
        self->window_at = self->position;
        skip = 0;
        size_t room = want > S_WINDOW_BYTES ? want : S_WINDOW_BYTES, got;
        if ((int64_t) room > left) room = (size_t) left;
        room -= self->window.size;
        weft_buf_reserve(&self->window, room);
        weft_err_t err = self->disk->ops->pread(self->file, self->window.data + self->window.size, room,
                                                self->position + (int64_t) self->window.size, &got);
        if (err) return err;
        if (got < room) return WEFT_ERR_DAMAGED; // the file is shorter than it was
        self->window.size += got;
        self->moved_bytes += (int64_t) got;
        self->report.read_bytes += (int64_t) got;
    }
    *out = weft_slice(self->window.data + skip, self->window.size - skip);
    return WEFT_OK;
}

// The batch at the position, verified; it is left where it is.
static weft_err_t s_peek(weft_compact_t *self, weft_slice_t *bytes, struct weft_batch *batch)
{
    weft_err_t err = s_show(self, WEFT_BATCH_HEADER_BYTES, bytes);
    if (!err) err = weft_segment_header(*bytes, batch);
    if (!err) err = s_show(self, weft_batch_bytes(batch), bytes);
    if (err) return err;
    bytes->size = weft_batch_bytes(batch);
    bool good =
        !weft_batch_verify(*bytes, batch) && batch->base_offset == self->offset && batch->leader_epoch >= self->epoch;
    return good ? WEFT_OK : WEFT_ERR_DAMAGED;
}

static void s_pass(weft_compact_t *self, const struct weft_batch *batch)
{
    self->position += (int64_t) weft_batch_bytes(batch);
    self->offset = weft_batch_next_offset(batch);
    self->epoch = batch->leader_epoch;
}

static void s_source_close(weft_compact_t *self)
{
    self->disk->ops->close(&self->file);
    self->at++;
}

// ---- the first pass

static void s_map_done(weft_compact_t *self)
{
    if (self->file) self->disk->ops->close(&self->file);
    self->phase = WEFT_COMPACT_WRITE;
    self->at = 0;
    self->epoch = -1;
}

static weft_err_t s_map_step(weft_compact_t *self)
{
    weft_slice_t bytes;
    struct weft_batch batch;
    int64_t full;
    if (!self->file) {
        while (self->at < self->source_count && self->sources[self->at].end_offset <= self->dirty_from) self->at++;
        if (self->at == self->source_count) {
            self->rule.end = self->end;
            s_map_done(self);
            return WEFT_OK;
        }
        return s_source_open(self);
    }
    if (self->position == self->sources[self->at].bytes) {
        s_source_close(self);
        return WEFT_OK;
    }
    weft_err_t err = s_peek(self, &bytes, &batch);
    if (err) return err;
    err = weft_compact_map_batch(&self->rule.map, bytes, &batch, self->dirty_from, &self->filter.inflated, &full);
    if (err) return err;
    s_pass(self, &batch);
    if (full < 0) return WEFT_OK;
    self->rule.end = full;
    s_map_done(self);
    return WEFT_OK;
}

// ---- writing

static weft_err_t s_sync_out(weft_compact_t *self)
{
    self->unsynced = 0;
    return self->disk->ops->sync(self->out_file);
}

static weft_err_t s_write(weft_compact_t *self, weft_slice_t bytes)
{
    weft_err_t err = self->disk->ops->pwritev(self->out_file, &bytes, 1, self->flushed);
    if (err) return err;
    self->flushed += (int64_t) bytes.size;
    self->unsynced += (int64_t) bytes.size;
    self->moved_bytes += (int64_t) bytes.size;
    self->report.written_bytes += (int64_t) bytes.size;
    return self->unsynced >= S_SYNC_BYTES ? s_sync_out(self) : WEFT_OK;
}

static weft_err_t s_flush(weft_compact_t *self)
{
    if (self->out_bytes.size == 0) return WEFT_OK;
    weft_err_t err = s_write(self, weft_buf_slice(&self->out_bytes));
    weft_buf_clear(&self->out_bytes);
    return err;
}

static weft_err_t s_create(weft_compact_t *self, int64_t base_offset, const char *suffix, weft_file_t **out)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    weft_log_path(path, self->directory, base_offset, suffix);
    weft_err_t err = self->disk->ops->open(self->disk, path, WEFT_OPEN_CREATE, out);
    return err ? err : self->disk->ops->truncate(*out, 0); // one may be left of a run before
}

// Something changes: what was passed so far is to be copied first.
static weft_err_t s_materialize(weft_compact_t *self)
{
    self->copy_at = 0;
    self->copy_to = self->out.segment.bytes;
    self->flushed = self->unsynced = 0;
    return s_create(self, self->out.segment.base_offset, WEFT_COMPACT_LOG, &self->out_file);
}

static weft_err_t s_copy_step(weft_compact_t *self)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    weft_file_t *file;
    size_t size = S_WINDOW_BYTES, got;
    if (self->copy_to - self->copy_at < (int64_t) size) size = (size_t) (self->copy_to - self->copy_at);
    weft_log_path(path, self->directory, self->out.segment.base_offset, ".log");
    weft_err_t err = self->disk->ops->open(self->disk, path, WEFT_OPEN_READ, &file);
    if (err) return err;
    weft_buf_reserve(&self->out_bytes, size);
    err = self->disk->ops->pread(file, self->out_bytes.data, size, self->copy_at, &got);
    self->disk->ops->close(&file);
    if (err) return err;
    if (got < size) return WEFT_ERR_DAMAGED;
    self->out_bytes.size = size;
    self->copy_at += (int64_t) size;
    self->moved_bytes += (int64_t) size;
    self->report.read_bytes += (int64_t) size;
    return s_flush(self);
}

// Passes a batch on.
static weft_err_t s_emit(weft_compact_t *self, weft_slice_t bytes, const struct weft_batch *batch)
{
    weft_index_gather(&self->index, &self->index_since, self->index_interval_bytes, &self->out.segment, batch);
    if (!self->out_file) return WEFT_OK;
    weft_buf_append(&self->out_bytes, bytes.data, bytes.size);
    return self->out_bytes.size >= S_WINDOW_BYTES ? s_flush(self) : WEFT_OK;
}

static weft_err_t s_emit_gap(weft_compact_t *self)
{
    uint8_t bytes[WEFT_BATCH_HEADER_BYTES];
    if (!self->has_gap) return WEFT_OK;
    self->has_gap = false;
    weft_compact_gap_write(bytes, &self->gap);
    return s_emit(self, weft_slice(bytes, sizeof bytes), &self->gap);
}

// May both be one gap? Its span must fit into a batch's, and into an index entry's.
static bool s_joins(const struct weft_batch *gap, const struct weft_batch *next)
{
    return gap->leader_epoch == next->leader_epoch &&
           weft_batch_next_offset(next) - gap->base_offset <= WEFT_SEGMENT_BYTES_MAX;
}

// *ready false: what was passed is to be copied first, and the batch comes again.
static weft_err_t s_add_gap(weft_compact_t *self, const struct weft_batch *batch, bool *ready)
{
    bool joins = self->has_gap && s_joins(&self->gap, batch);
    bool changes = joins || !weft_compact_is_gap(batch);
    *ready = self->out_file || !changes;
    if (!*ready) return s_materialize(self);
    if (joins) {
        self->gap.last_offset_delta = (uint32_t) (weft_batch_next_offset(batch) - self->gap.base_offset - 1);
        if (batch->max_timestamp_ms > self->gap.max_timestamp_ms) self->gap.max_timestamp_ms = batch->max_timestamp_ms;
        return WEFT_OK;
    }
    weft_err_t err = s_emit_gap(self);
    self->has_gap = true;
    self->gap = weft_compact_is_gap(batch) ? *batch : weft_compact_gap_of(batch);
    return err;
}

static weft_err_t s_filter_batch(weft_compact_t *self, weft_slice_t bytes, const struct weft_batch *batch)
{
    enum weft_compact_verdict verdict;
    int64_t records_removed = self->filter.records_removed, tombstones_removed = self->filter.tombstones_removed;
    bool ready = true;
    weft_err_t err = weft_compact_filter_batch(&self->filter, bytes, batch, &verdict);
    if (err) return err;
    if (verdict == WEFT_COMPACT_GAP) {
        err = s_add_gap(self, batch, &ready);
    } else {
        ready = self->out_file || verdict == WEFT_COMPACT_SAME;
        if (!ready) err = s_materialize(self);
        if (ready) err = s_emit_gap(self);
        if (ready && !err && verdict == WEFT_COMPACT_SAME) err = s_emit(self, bytes, batch);
        if (ready && !err && verdict == WEFT_COMPACT_CHANGED)
            err = s_emit(self, weft_buf_slice(&self->filter.out), &self->filter.batch);
    }
    if (ready) {
        s_pass(self, batch);
    } else { // it is counted when it comes again
        self->filter.records_removed = records_removed;
        self->filter.tombstones_removed = tombstones_removed;
    }
    return err;
}

// ---- the second pass

static void s_out_begin(weft_compact_t *self)
{
    self->open = true;
    self->out = (struct weft_compact_output){.first = self->at, .count = 0};
    weft_segment_init(&self->out.segment, self->sources[self->at].base_offset);
    weft_buf_clear(&self->index);
    weft_buf_clear(&self->out_bytes);
    self->index_since = 0;
    self->copy_at = self->copy_to = 0;
    self->has_gap = false;
}

static weft_err_t s_write_index(weft_compact_t *self)
{
    uint8_t footer[WEFT_INDEX_FOOTER_BYTES];
    weft_file_t *file = NULL;
    struct weft_segment *segment = &self->out.segment;
    segment->index_count = (int64_t) (self->index.size / WEFT_INDEX_ENTRY_BYTES);
    weft_index_footer_write(footer, segment);
    const weft_slice_t slices[2] = {weft_buf_slice(&self->index), weft_slice(footer, sizeof footer)};
    weft_err_t err = s_create(self, segment->base_offset, WEFT_COMPACT_INDEX, &file);
    if (!err) err = self->disk->ops->pwritev(file, slices[0].size ? slices : slices + 1, slices[0].size ? 2 : 1, 0);
    if (!err) err = self->disk->ops->sync(file);
    if (file) self->disk->ops->close(&file);
    self->report.written_bytes += (int64_t) (self->index.size + sizeof footer);
    self->moved_bytes += (int64_t) (self->index.size + sizeof footer);
    return err;
}

static weft_err_t s_out_end(weft_compact_t *self)
{
    weft_err_t err = s_emit_gap(self);
    self->report.segments_after++;
    self->report.after_bytes += self->out.segment.bytes;
    if (!self->out_file) { // nothing changed: it stays as it is
        weft_assert(self->out.count == 1);
        self->open = false;
        return err;
    }
    if (!err) err = s_flush(self);
    if (!err && !weft_mutated("compacted_not_synced")) err = s_sync_out(self);
    if (!err) err = s_write_index(self);
    if (err) return err;
    self->disk->ops->close(&self->out_file);
    if (self->output_count == self->output_capacity) {
        self->output_capacity = self->output_capacity ? self->output_capacity * 2 : 4;
        self->outputs = weft_realloc(self->outputs, self->output_capacity * sizeof *self->outputs);
    }
    self->out.segment.sealed = true;
    self->outputs[self->output_count++] = self->out;
    self->open = false;
    return WEFT_OK;
}

// Does the next source go into the same segment?
static bool s_goes_on(const weft_compact_t *self)
{
    const struct weft_compact_source *next = &self->sources[self->at];
    if (self->at == self->source_count || next->base_offset >= self->rule.end) return false;
    return self->out.segment.bytes + (self->has_gap ? WEFT_BATCH_HEADER_BYTES : 0) + next->bytes <=
               self->segment_bytes &&
           next->end_offset - self->out.segment.base_offset <= WEFT_SEGMENT_BYTES_MAX;
}

static weft_err_t s_source_end(weft_compact_t *self)
{
    s_source_close(self);
    self->out.count++;
    if (!s_goes_on(self)) return s_out_end(self);
    return self->out_file ? WEFT_OK : s_materialize(self);
}

static weft_err_t s_finish(weft_compact_t *self)
{
    self->phase = WEFT_COMPACT_READY;
    self->report.records_removed = self->filter.records_removed;
    self->report.tombstones_removed = self->filter.tombstones_removed;
    self->report.next_horizon_ms = self->filter.next_horizon_ms;
    weft_compact_map_fini(&self->rule.map);
    return self->output_count ? self->disk->ops->sync_directory(self->disk, self->directory) : WEFT_OK;
}

static weft_err_t s_write_step(weft_compact_t *self)
{
    weft_slice_t bytes;
    struct weft_batch batch;
    if (self->copy_at < self->copy_to) return s_copy_step(self);
    if (!self->file) {
        if (self->at == self->source_count || self->sources[self->at].base_offset >= self->rule.end)
            return s_finish(self);
        if (!self->open) s_out_begin(self);
        self->report.segments_before++;
        self->report.before_bytes += self->sources[self->at].bytes;
        return s_source_open(self);
    }
    if (self->position == self->sources[self->at].bytes) return s_source_end(self);
    weft_err_t err = s_peek(self, &bytes, &batch);
    return err ? err : s_filter_batch(self, bytes, &batch);
}

weft_err_t weft_compact_step(weft_compact_t *self, size_t bytes_max, bool *more, size_t *bytes_moved)
{
    self->moved_bytes = 0;
    do {
        if (self->err || self->phase == WEFT_COMPACT_READY || weft_compact_cancelled(self)) break;
        self->err = self->phase == WEFT_COMPACT_MAP ? s_map_step(self) : s_write_step(self);
    } while (self->moved_bytes < (int64_t) bytes_max);
    *more = !self->err && self->phase != WEFT_COMPACT_READY && !weft_compact_cancelled(self);
    *bytes_moved = (size_t) self->moved_bytes;
    return self->err;
}
