// SPDX-License-Identifier: MPL-2.0
// Reading. A range is read straight into the frame that leaves, then cut to whole batches by walking their headers in
// it: one pread, no copy. Where a read ended is remembered, so that a reader that goes on needs no search; offsets, not
// readers, are the key, so nobody has to say who he is.
#include "log_internal.h"

#include "../base/assert.h"

#include <weft_gen/limits.h>

#include <stdio.h>

void weft_log_forget_cursors(weft_log_t *self)
{
    for (size_t i = 0; i < WEFT_LOG_CURSORS; i++) self->cursors[i].offset = -1;
}

static void s_remember(weft_log_t *self, int64_t from, const struct weft_log_cursor *cursor)
{
    size_t at = WEFT_LOG_CURSORS;
    for (size_t i = 0; i < WEFT_LOG_CURSORS; i++)
        if (self->cursors[i].offset == from || self->cursors[i].offset == cursor->offset) at = i;
    if (at == WEFT_LOG_CURSORS) {
        at = self->cursor_next;
        self->cursor_next = (at + 1) % WEFT_LOG_CURSORS;
    }
    self->cursors[at] = *cursor;
}

// The position of the batch that holds `offset`, and the offset at which it begins; DAMAGED: the position where no such
// batch stands, if it is known.
static weft_err_t s_position(weft_log_t *self, struct weft_segment *segment, int64_t offset, int64_t *position,
                             int64_t *base_offset)
{
    for (size_t i = 0; i < WEFT_LOG_CURSORS; i++) {
        const struct weft_log_cursor *cursor = &self->cursors[i];
        if (cursor->offset != offset || cursor->base_offset != segment->base_offset) continue;
        *position = cursor->position;
        *base_offset = offset;
        return weft_log_use(self, segment);
    }
    struct weft_index_want want = {.by_time = false, .bound = offset};
    struct weft_index_entry entry;
    struct weft_segment_walk walk;
    struct weft_batch batch;
    weft_err_t err = weft_log_index_find(self, segment, want, &entry);
    if (err) return err;
    weft_segment_walk_init(&walk, segment->file, entry.position, segment->bytes);
    while (!(err = weft_segment_walk_peek(&walk, &batch)) && weft_batch_next_offset(&batch) <= offset)
        walk.position += (int64_t) weft_batch_bytes(&batch);
    *position = walk.position;
    if (err) return err == WEFT_ERR_NOT_FOUND ? WEFT_ERR_DAMAGED : err;
    if (batch.base_offset > offset) return WEFT_ERR_DAMAGED;
    *base_offset = batch.base_offset;
    return WEFT_OK;
}

struct s_range {
    size_t bytes;        // whole batches that may be returned
    int64_t next_offset; // behind them
    size_t first_bytes;  // size of the first batch, 0 if its header is not there
    bool damaged;        // something that is no batch at its offset stands behind them
    bool limited;        // the next batch reaches the limit
};

/*
 * The four fields that a range is cut by, and the bytes that announce them. A full weft_batch_read of each header made
 * reading small batches three times slower; that a batch stands at exactly the expected offset says as much, and
 * whoever reads the batch checks all of it.
 */
static bool s_header(const uint8_t *at, struct weft_batch *batch)
{
    if (at[0] != 0x9e || at[1] != 0xd3 || at[25] != 0xce || at[75] != 0xc6) return false;
    batch->base_offset = (int64_t) weft_get_u64(at + 2);
    batch->last_offset_delta = weft_get_u32(at + 26);
    batch->payload_bytes = weft_get_u32(at + 76);
    return weft_batch_bytes(batch) <= WEFT_BATCH_BYTES_MAX;
}

// Whole batches at the front of `bytes`, the first at `offset`, none that ends above `limit`. One that says it ends
// above the segment's `end` lies.
static struct s_range s_whole(weft_slice_t bytes, int64_t offset, int64_t limit, int64_t end)
{
    struct s_range range = {.next_offset = offset};
    struct weft_batch batch;
    while (bytes.size - range.bytes >= WEFT_BATCH_HEADER_BYTES) {
        range.damaged = !s_header(bytes.data + range.bytes, &batch) || batch.base_offset != range.next_offset ||
                        weft_batch_next_offset(&batch) > end;
        if (range.damaged) break;
        if (!range.bytes) range.first_bytes = weft_batch_bytes(&batch);
        range.limited = weft_batch_next_offset(&batch) > limit;
        if (range.limited || bytes.size - range.bytes < weft_batch_bytes(&batch)) break;
        range.bytes += weft_batch_bytes(&batch);
        range.next_offset = weft_batch_next_offset(&batch);
    }
    return range;
}

static weft_err_t s_fill(struct weft_segment *segment, int64_t position, size_t size, weft_frame_pool_t *pool,
                         weft_frame_t *out)
{
    weft_frame_t frame = WEFT_FRAME_EMPTY;
    size_t got;
    weft_frame_pool_take(pool, size, &frame);
    weft_err_t err = segment->file->disk->ops->pread(segment->file, frame.data, size, position, &got);
    if (!err && got < size) err = WEFT_ERR_DAMAGED; // the file is shorter than the log was when it was written
    if (err) {
        weft_frame_drop(&frame);
        return err;
    }
    weft_frame_move(out, &frame);
    return WEFT_OK;
}

// Reads what may be returned from `position`; an empty frame if that is nothing.
static weft_err_t s_range_read(struct weft_segment *segment, int64_t position, int64_t offset, size_t bytes_max,
                               bool at_least_one, int64_t limit, weft_frame_pool_t *pool, weft_frame_t *out,
                               struct s_range *range)
{
    size_t left = (size_t) (segment->bytes - position);
    size_t size = left < bytes_max ? left : bytes_max;
    if (size < WEFT_BATCH_HEADER_BYTES) size = left < WEFT_BATCH_HEADER_BYTES ? left : WEFT_BATCH_HEADER_BYTES;
    weft_err_t err = s_fill(segment, position, size, pool, out);
    if (err) return err;
    *range = s_whole(weft_frame_slice(out), offset, limit, segment->end_offset);
    if (range->bytes > bytes_max && !at_least_one) range->bytes = 0;
    bool one_too_large = !range->bytes && !range->limited && !range->damaged && range->first_bytes > size;
    if (!one_too_large || !at_least_one) return range->damaged && !range->bytes ? WEFT_ERR_DAMAGED : WEFT_OK;

    size = range->first_bytes;
    weft_frame_drop(out);
    if (size > left) return WEFT_ERR_DAMAGED;
    err = s_fill(segment, position, size, pool, out);
    if (!err) *range = s_whole(weft_frame_slice(out), offset, limit, segment->end_offset);
    return err;
}

weft_err_t weft_log_read(weft_log_t *self, int64_t offset, size_t bytes_max, bool at_least_one, int64_t limit,
                         weft_frame_pool_t *pool, weft_frame_t *out)
{
    int64_t position, base_offset;
    struct s_range range = {0};
    weft_frame_t frame = WEFT_FRAME_EMPTY;
    *out = WEFT_FRAME_EMPTY;
    if (offset < self->start_offset || offset > weft_log_end(self)) return WEFT_ERR_OFFSET_OUT_OF_RANGE;
    if (offset == weft_log_end(self) || offset >= limit || (bytes_max == 0 && !at_least_one)) return WEFT_OK;
    struct weft_segment *segment = weft_log_segment_of(self, offset);
    weft_err_t err = s_position(self, segment, offset, &position, &base_offset);
    if (!err) err = s_range_read(segment, position, base_offset, bytes_max, at_least_one, limit, pool, &frame, &range);
    if (err) {
        weft_frame_drop(&frame);
        return err;
    }
    // Where the next read is expected: behind the range, or still here.
    struct weft_log_cursor cursor = {range.next_offset, segment->base_offset, position + (int64_t) range.bytes};
    if (range.bytes && cursor.position < segment->bytes) s_remember(self, offset, &cursor);
    if (range.bytes && cursor.position == segment->bytes && !segment->sealed) s_remember(self, offset, &cursor);
    if (!range.bytes) {
        weft_frame_drop(&frame);
        return WEFT_OK;
    }
    weft_frame_shorten(&frame, range.bytes);
    weft_frame_move(out, &frame);
    return WEFT_OK;
}

// ---- what a reader suspects

// Verifies the batch that the walk stands before; `sentence` tells what is wrong with it, if its header is good.
static weft_err_t s_verify_batch(struct weft_segment_walk *walk, int64_t base_offset, char *sentence, size_t room)
{
    struct weft_batch batch, checked;
    weft_buf_t bytes;
    size_t got;
    weft_err_t err = weft_segment_walk_peek(walk, &batch);
    if (!err && batch.base_offset != base_offset) err = WEFT_ERR_DAMAGED;
    if (err) return err == WEFT_ERR_DISK_FAILED ? err : WEFT_ERR_DAMAGED;
    weft_buf_init(&bytes);
    weft_buf_reserve(&bytes, weft_batch_bytes(&batch));
    err = walk->file->disk->ops->pread(walk->file, bytes.data, weft_batch_bytes(&batch), walk->position, &got);
    bytes.size = err ? 0 : got;
    if (!err && weft_batch_verify(weft_buf_slice(&bytes), &checked)) err = WEFT_ERR_DAMAGED;
    weft_buf_fini(&bytes);
    snprintf(sentence, room, "the batch of offsets %lld to %lld does not match its checksum", (long long) base_offset,
             (long long) weft_batch_next_offset(&batch) - 1);
    return err;
}

// Without a header nobody knows where a batch ends: the first offset behind `position` whose place the index knows, or
// the next segment's.
static int64_t s_readable_behind(weft_log_t *self, struct weft_segment *segment, int64_t offset, int64_t position)
{
    int64_t low = offset, high = segment->end_offset;
    while (high - low > 1) {
        struct weft_index_want want = {.by_time = false, .bound = low + (high - low) / 2};
        struct weft_index_entry entry;
        if (!weft_log_index_find(self, segment, want, &entry) && entry.position > position)
            high = entry.offset;
        else
            low = want.bound;
    }
    return high;
}

weft_err_t weft_log_verify_at(weft_log_t *self, int64_t offset, struct weft_error *error)
{
    char sentence[160] = "", path[WEFT_LOG_PATH_BYTES_MAX];
    int64_t position = 0, base_offset = offset;
    if (offset < self->start_offset || offset >= weft_log_end(self))
        return weft_error_set(error, WEFT_ERR_OFFSET_OUT_OF_RANGE, "offset %lld is not in the log", (long long) offset);
    struct weft_segment *segment = weft_log_segment_of(self, offset);
    weft_err_t err = s_position(self, segment, offset, &position, &base_offset);
    if (!err) {
        struct weft_segment_walk walk;
        weft_segment_walk_init(&walk, segment->file, position, segment->bytes);
        err = s_verify_batch(&walk, base_offset, sentence, sizeof sentence);
    }
    if (err != WEFT_ERR_DAMAGED) return err ? weft_error_set(error, err, "%s", weft_err_sentence(err)) : WEFT_OK;
    if (!sentence[0])
        snprintf(sentence, sizeof sentence, "no batch stands there; from offset %lld on it can be read again",
                 (long long) s_readable_behind(self, segment, offset, position));
    weft_log_path(path, self->directory, segment->base_offset, ".log");
    return weft_error_set(error, err, "%s: byte %lld: %s", path, (long long) position, sentence);
}

// ---- estimates

// About where `offset` stands in its segment; exact at its ends and where a reader is expected.
static int64_t s_about(weft_log_t *self, struct weft_segment *segment, int64_t offset)
{
    if (offset <= segment->base_offset) return 0;
    if (offset >= segment->end_offset) return segment->bytes;
    for (size_t i = 0; i < WEFT_LOG_CURSORS; i++)
        if (self->cursors[i].offset == offset && self->cursors[i].base_offset == segment->base_offset)
            return self->cursors[i].position;
    struct weft_index_want want = {.by_time = false, .bound = offset};
    struct weft_index_entry entry;
    return weft_log_index_find(self, segment, want, &entry) ? 0 : entry.position;
}

int64_t weft_log_bytes_between(weft_log_t *self, int64_t offset, int64_t limit)
{
    if (offset < self->start_offset) offset = self->start_offset;
    if (limit > weft_log_end(self)) limit = weft_log_end(self);
    if (offset >= limit) return 0;
    struct weft_segment *from = weft_log_segment_of(self, offset);
    struct weft_segment *to = weft_log_segment_of(self, limit);
    int64_t bytes = s_about(self, to, limit) - s_about(self, from, offset);
    for (; from < to; from++) bytes += from->bytes;
    return bytes > 0 ? bytes : 1;
}

// ---- by time

// The first record of the batch at `position` that is not before time_ms nor below the log's start.
static weft_err_t s_record_by_time(weft_log_t *self, struct weft_segment *segment, int64_t position,
                                   const struct weft_batch *batch, int64_t time_ms, int64_t *offset,
                                   int64_t *timestamp_ms)
{
    weft_record_iter_t records;
    struct weft_record record;
    weft_buf_t bytes, scratch;
    weft_slice_t payload;
    size_t got;
    weft_buf_init(&bytes);
    weft_buf_init(&scratch);
    weft_buf_reserve(&bytes, weft_batch_bytes(batch));
    weft_err_t err =
        segment->file->disk->ops->pread(segment->file, bytes.data, weft_batch_bytes(batch), position, &got);
    bytes.size = err ? 0 : got;
    struct weft_batch checked;
    if (!err) err = weft_batch_verify(weft_buf_slice(&bytes), &checked) ? WEFT_ERR_DAMAGED : WEFT_OK;
    if (!err)
        err = weft_batch_payload(weft_buf_slice(&bytes), &checked, &scratch, &payload) ? WEFT_ERR_DAMAGED : WEFT_OK;
    if (err) goto done;

    err = WEFT_ERR_NOT_FOUND;
    weft_record_iter_init(&records, payload);
    while (err && weft_record_iter_next(&records, &record, NULL)) {
        int64_t at = checked.base_offset + record.offset_delta;
        int64_t time = weft_record_timestamp_ms(&checked, &record);
        if (time < time_ms || at < self->start_offset) continue;
        *offset = at;
        *timestamp_ms = time;
        err = WEFT_OK;
    }
done:
    weft_buf_fini(&scratch);
    weft_buf_fini(&bytes);
    return err;
}

static weft_err_t s_segment_by_time(weft_log_t *self, struct weft_segment *segment, int64_t time_ms, int64_t *offset,
                                    int64_t *timestamp_ms)
{
    struct weft_index_want want = {.by_time = true, .bound = time_ms};
    struct weft_index_entry entry;
    struct weft_segment_walk walk;
    struct weft_batch batch;
    weft_err_t err = weft_log_index_find(self, segment, want, &entry);
    if (err) return err;
    weft_segment_walk_init(&walk, segment->file, entry.position, segment->bytes);
    for (int64_t position = walk.position; !(err = weft_segment_walk_next(&walk, &batch)); position = walk.position) {
        if (batch.max_timestamp_ms < time_ms || weft_batch_next_offset(&batch) <= self->start_offset) continue;
        err = s_record_by_time(self, segment, position, &batch, time_ms, offset, timestamp_ms);
        if (err != WEFT_ERR_NOT_FOUND) return err;
    }
    return err;
}

weft_err_t weft_log_offset_by_time(weft_log_t *self, int64_t time_ms, int64_t *offset, int64_t *timestamp_ms)
{
    for (size_t i = 0; i < self->segment_count; i++) {
        struct weft_segment *segment = &self->segments[i];
        if (segment->bytes == 0 || segment->max_timestamp_ms < time_ms) continue;
        weft_err_t err = s_segment_by_time(self, segment, time_ms, offset, timestamp_ms);
        if (err != WEFT_ERR_NOT_FOUND) return err;
    }
    *offset = -1;
    *timestamp_ms = -1;
    return WEFT_OK;
}

// ---- scan

weft_err_t weft_log_scan(weft_log_t *self, int64_t offset, weft_log_scan_fn *each, void *context)
{
    if (offset < self->start_offset || offset > weft_log_end(self)) return WEFT_ERR_OFFSET_OUT_OF_RANGE;
    int64_t next = offset;
    while (next < weft_log_end(self)) {
        struct weft_segment *segment = weft_log_segment_of(self, next);
        struct weft_segment_walk walk;
        struct weft_batch batch;
        int64_t position, base_offset;
        weft_err_t err = s_position(self, segment, next, &position, &base_offset);
        if (err) return err;
        weft_segment_walk_init(&walk, segment->file, position, segment->bytes);
        while (!(err = weft_segment_walk_next(&walk, &batch))) {
            if (batch.base_offset != base_offset) return WEFT_ERR_DAMAGED;
            err = each(context, &batch);
            if (err) return err;
            base_offset = weft_batch_next_offset(&batch);
        }
        if (err != WEFT_ERR_NOT_FOUND) return err;
        if (base_offset <= next) return WEFT_ERR_DAMAGED;
        next = base_offset;
    }
    return WEFT_OK;
}
