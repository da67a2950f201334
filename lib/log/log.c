// SPDX-License-Identifier: MPL-2.0
// A log is a list of segments in memory; offsets and sizes live there, bytes in the files. What an append does to the
// disk is one pwritev into the active segment (and, when an epoch begins, one entry in `epochs`, before it); index
// entries gather in memory and go out 170 at a time, because they can be had again from the batches. Files are opened
// at need.
#include "log_internal.h"

#include "../base/assert.h"
#include "../base/trace.h"

#include <stdlib.h>

static void s_configure(weft_log_t *self, const struct weft_log_config *config)
{
    self->config = *config;
    if (self->config.segment_bytes <= 0 || self->config.segment_bytes > WEFT_SEGMENT_BYTES_MAX)
        self->config.segment_bytes = WEFT_SEGMENT_BYTES_MAX;
    if (self->config.index_interval_bytes == 0) self->config.index_interval_bytes = 4096;
}

void weft_log_configure(weft_log_t *self, const struct weft_log_config *config)
{
    s_configure(self, config);
}

weft_err_t weft_log_open(const struct weft_disk *disk, const char *directory, const struct weft_log_config *config,
                         int64_t synced_end, weft_log_t **out, struct weft_log_recovery *recovery,
                         struct weft_error *error)
{
    struct weft_log_recovery unused;
    if (strlen(directory) >= sizeof((weft_log_t *) 0)->directory)
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT,
                              "the path '%.80s...' is too long for a data directory; use one of at most 200 bytes",
                              directory);
    weft_log_t *self = weft_calloc(1, sizeof *self);
    self->disk = disk;
    strcpy(self->directory, directory);
    s_configure(self, config);
    weft_buf_init(&self->index_page);
    weft_log_forget_cursors(self);
    for (size_t i = 0; i < WEFT_LOG_READERS; i++) self->readers[i] = -1;

    weft_err_t err = weft_log_recover(self, synced_end, recovery ? recovery : &unused, error);
    if (err) {
        self->broken = true; // nothing more is written
        weft_log_destroy(&self);
        return err;
    }
    weft_log_check(self);
    *out = self;
    return WEFT_OK;
}

void weft_log_destroy(weft_log_t **self_p)
{
    weft_log_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    // A start reads on from the last entry in the file. Failing costs that start some time and nothing else.
    if (!self->broken && self->segment_count) (void) !weft_log_index_flush(self, weft_log_active(self));
    for (size_t i = 0; i < self->segment_count; i++) weft_segment_close(&self->segments[i]);
    weft_log_pending_clear(self);
    if (self->epochs_file) self->disk->ops->close(&self->epochs_file);
    weft_buf_fini(&self->index_page);
    free(self->segments);
    free(self->epochs);
    free(self->pending);
    free(self->snapshots);
    free(self);
}

// ---- what it knows of itself

int64_t weft_log_start(const weft_log_t *self)
{
    return self->start_offset;
}

int64_t weft_log_end(const weft_log_t *self)
{
    return weft_log_active_const(self)->end_offset;
}

int32_t weft_log_last_epoch(const weft_log_t *self)
{
    return self->epoch_count ? self->epochs[self->epoch_count - 1].epoch : -1;
}

int64_t weft_log_bytes(const weft_log_t *self)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < self->segment_count; i++) bytes += self->segments[i].bytes;
    return bytes;
}

size_t weft_log_segment_count(const weft_log_t *self)
{
    return self->segment_count;
}

int64_t weft_log_max_timestamp(const weft_log_t *self)
{
    int64_t max = WEFT_TIME_NONE;
    for (size_t i = 0; i < self->segment_count; i++)
        if (self->segments[i].max_timestamp_ms > max) max = self->segments[i].max_timestamp_ms;
    return max == WEFT_TIME_NONE ? -1 : max;
}

void weft_log_check(const weft_log_t *self)
{
    weft_assert(self->segment_count > 0);
    weft_assert(self->start_offset >= self->segments[0].base_offset);
    weft_assert(self->start_offset <= weft_log_end(self));
    weft_assert(self->synced_end <= weft_log_end(self));
#ifdef WEFT_ASSERT_SLOW
    for (size_t i = 0; i < self->segment_count; i++) {
        const struct weft_segment *segment = &self->segments[i];
        weft_assert(segment->bytes >= 0 && segment->end_offset >= segment->base_offset);
        weft_assert((segment->bytes == 0) == (segment->end_offset == segment->base_offset));
        weft_assert(segment->sealed == (i + 1 < self->segment_count));
        if (i) weft_assert(segment->base_offset == self->segments[i - 1].end_offset);
        if (segment->dirty) weft_assert(segment->file && !segment->sealed);
    }
    for (size_t i = 1; i < self->epoch_count; i++) {
        weft_assert(self->epochs[i].epoch > self->epochs[i - 1].epoch);
        weft_assert(self->epochs[i].start_offset > self->epochs[i - 1].start_offset);
    }
    for (size_t i = 1; i < self->snapshot_count; i++) weft_assert(self->snapshots[i] > self->snapshots[i - 1]);
    weft_assert(self->index_page.size % WEFT_INDEX_ENTRY_BYTES == 0);
#endif
}

// ---- segments

struct weft_segment *weft_log_segment_push(weft_log_t *self, int64_t base_offset)
{
    if (self->segment_count == self->segment_capacity) {
        self->segment_capacity = self->segment_capacity ? self->segment_capacity * 2 : 1;
        self->segments = weft_realloc(self->segments, self->segment_capacity * sizeof *self->segments);
    }
    struct weft_segment *segment = &self->segments[self->segment_count++];
    weft_segment_init(segment, base_offset);
    return segment;
}

void weft_log_segment_drop_last(weft_log_t *self)
{
    weft_segment_close(&self->segments[--self->segment_count]);
}

void weft_log_segments_drop_first(weft_log_t *self, size_t count)
{
    for (size_t i = 0; i < count; i++) weft_segment_close(&self->segments[i]);
    self->segment_count -= count;
    memmove(self->segments, self->segments + count, self->segment_count * sizeof *self->segments);
}

struct weft_segment *weft_log_segment_of(weft_log_t *self, int64_t offset)
{
    size_t low = 0, high = self->segment_count; // the last segment whose base is not above `offset`
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (self->segments[middle].base_offset <= offset)
            low = middle;
        else
            high = middle;
    }
    return &self->segments[low];
}

weft_err_t weft_log_segment_create(weft_log_t *self, int64_t base_offset)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    weft_file_t *file;
    // No index of an earlier file of that name may ever be taken for this one's.
    weft_err_t err = weft_log_unlink(self, base_offset, ".index");
    if (err) return err;
    err = self->disk->ops->open(self->disk, weft_log_path(path, self->directory, base_offset, ".log"), WEFT_OPEN_CREATE,
                                &file);
    if (err) return err;
    err = self->disk->ops->truncate(file, 0);
    if (err) {
        self->disk->ops->close(&file);
        (void) self->disk->ops->unlink(self->disk, path);
        return err;
    }
    weft_log_segment_push(self, base_offset)->file = file;
    weft_log_directory_dirty(self, 1);
    return WEFT_OK;
}

weft_err_t weft_log_unlink(weft_log_t *self, int64_t offset, const char *suffix)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    weft_err_t err = self->disk->ops->unlink(self->disk, weft_log_path(path, self->directory, offset, suffix));
    return err == WEFT_ERR_NOT_FOUND ? WEFT_OK : err;
}

// The new file first: if that fails nothing has changed. What fails of the old one's index afterwards is had again at
// need.
weft_err_t weft_log_roll(weft_log_t *self)
{
    int64_t end = weft_log_end(self);
    weft_err_t err = weft_log_segment_create(self, end);
    if (err) return err;
    struct weft_segment *old = &self->segments[self->segment_count - 2];
    if (weft_log_index_seal(self, old))
        weft_trace(WEFT_TRACE_WARN, "log", "the index of %s/%020lld.log was not written; it is rebuilt when needed",
                   self->directory, (long long) old->base_offset);
    if (old->dirty) weft_log_pending_add(self, old->file, end);
    if (old->index_file) weft_log_pending_add(self, old->index_file, -1);
    old->dirty = false;
    old->sealed = true;
    weft_segment_close(old);
    return WEFT_OK;
}

// ---- append

// Does `batch` need a new segment, with `bytes` in the active one by then?
static bool s_must_roll(const weft_log_t *self, const struct weft_segment *active, int64_t bytes,
                        const struct weft_batch *batch)
{
    if (bytes == 0) return false;
    if (bytes + (int64_t) weft_batch_bytes(batch) > self->config.segment_bytes) return true;
    if (weft_batch_next_offset(batch) - active->base_offset > WEFT_SEGMENT_BYTES_MAX) return true;
    // Times are the producers': their distance may not fit into 63 bits.
    int64_t first = active->first_timestamp_ms;
    return self->config.segment_ms >= 0 && batch->max_timestamp_ms > first &&
           (uint64_t) batch->max_timestamp_ms - (uint64_t) first >= (uint64_t) self->config.segment_ms;
}

/*
 * Cuts off what a failed write may have left. Only then may anything be written behind the end again; and the cut must
 * reach the disk, as a sync meanwhile may have taken the leftovers there.
 */
static weft_err_t s_mend(weft_log_t *self, struct weft_segment *active)
{
    active->dirty = true;
    weft_err_t err = self->disk->ops->truncate(active->file, active->bytes);
    self->torn = err != WEFT_OK;
    return err;
}

static weft_err_t s_write(weft_log_t *self, struct weft_segment *active, weft_slice_t header, weft_slice_t payload)
{
    const weft_slice_t slices[2] = {header, payload};
    active->dirty = true;
    weft_err_t err = self->disk->ops->pwritev(active->file, slices, payload.size ? 2 : 1, active->bytes);
    if (err) (void) !s_mend(self, active);
    return err;
}

// Disk errors as an appender is told them.
static weft_err_t s_disk_err(weft_err_t err)
{
    return err == WEFT_ERR_DISK_FULL ? err : WEFT_ERR_DISK_FAILED;
}

// Makes the active segment one that `batch` can be written to.
static weft_err_t s_prepare(weft_log_t *self, const struct weft_batch *batch, bool *rolled)
{
    weft_assert(batch->base_offset == weft_log_end(self));
    *rolled = false;
    if (self->broken) return WEFT_ERR_DISK_FAILED;
    if (batch->leader_epoch < weft_log_last_epoch(self)) return WEFT_ERR_STALE_EPOCH; // recovery would not take it

    struct weft_segment *active = weft_log_active(self);
    weft_err_t err = weft_segment_open(active, self->disk, self->directory);
    if (err) return WEFT_ERR_DISK_FAILED;
    if (self->torn && s_mend(self, active)) return WEFT_ERR_DISK_FAILED;
    if (s_must_roll(self, active, active->bytes, batch)) {
        err = weft_log_roll(self);
        if (err) return s_disk_err(err);
        *rolled = true;
    }
    if (batch->leader_epoch > weft_log_last_epoch(self)) {
        err = weft_log_epochs_append(self, batch->leader_epoch, batch->base_offset);
        if (err) return s_disk_err(err);
    }
    return WEFT_OK;
}

// Writes what was prepared for; `batch` is the first of it.
static weft_err_t s_commit(weft_log_t *self, weft_slice_t header, weft_slice_t payload, const struct weft_batch *batch)
{
    weft_err_t err = s_write(self, weft_log_active(self), header, payload);
    if (!err) return WEFT_OK;
    (void) weft_log_epochs_cut(self, batch->base_offset);
    return s_disk_err(err);
}

weft_err_t weft_log_append(weft_log_t *self, weft_slice_t header, weft_slice_t payload, const struct weft_batch *batch,
                           bool *rolled)
{
    weft_assert(header.size + payload.size == weft_batch_bytes(batch));
    weft_err_t err = s_prepare(self, batch, rolled);
    if (!err) err = s_commit(self, header, payload, batch);
    if (!err) weft_log_index_note(self, weft_log_active(self), batch);
    return err;
}

weft_err_t weft_log_append_run(weft_log_t *self, weft_slice_t bytes, const struct weft_batch *batches, size_t count,
                               size_t *taken, bool *rolled)
{
    weft_err_t err = s_prepare(self, &batches[0], rolled);
    if (err) return err;
    struct weft_segment *active = weft_log_active(self);
    size_t run = 1, size = weft_batch_bytes(&batches[0]);
    // A segment's first time is known once its first batch is in it.
    while (run < count && active->bytes != 0 && batches[run].leader_epoch == batches[0].leader_epoch &&
           !s_must_roll(self, active, active->bytes + (int64_t) size, &batches[run]))
        size += weft_batch_bytes(&batches[run++]);
    weft_assert(size <= bytes.size);
    err = s_commit(self, weft_slice(bytes.data, size), WEFT_SLICE_NIL, &batches[0]);
    if (err) return err;
    for (size_t i = 0; i < run; i++) {
        weft_assert(batches[i].base_offset == weft_log_end(self));
        weft_log_index_note(self, active, &batches[i]);
    }
    *taken = run;
    return WEFT_OK;
}

void weft_log_idle(weft_log_t *self)
{
    for (size_t i = 0; i < self->segment_count; i++) {
        struct weft_segment *segment = &self->segments[i];
        if (segment->dirty) continue; // an error of writing back is told to those who hold the file
        if (!segment->sealed && !self->broken && weft_log_index_flush(self, segment)) continue;
        weft_segment_close(segment);
    }
    for (size_t i = 0; i < WEFT_LOG_READERS; i++) self->readers[i] = -1;
    if (self->epochs_file && !self->epochs_dirty) self->disk->ops->close(&self->epochs_file);
    if (self->index_page.size == 0) {
        weft_buf_fini(&self->index_page);
        weft_buf_init(&self->index_page);
    }
}
