// SPDX-License-Identifier: MPL-2.0
// A segment's files, its index entries on disk and the walk over batch headers. Nothing here knows of other segments.
#include "segment.h"

#include "../base/assert.h"
#include "../base/crc32c.h"

#include <weft_gen/limits.h>

#define S_FOOTER_MARK 0xffffffffu // no offset delta: those are at most WEFT_SEGMENT_BYTES_MAX
#define S_FOOTER_FORMAT 1

void weft_segment_init(struct weft_segment *self, int64_t base_offset)
{
    *self = (struct weft_segment){.base_offset = base_offset,
                                  .end_offset = base_offset,
                                  .max_timestamp_ms = WEFT_TIME_NONE,
                                  .first_timestamp_ms = WEFT_TIME_NONE,
                                  .seen_ms = WEFT_TIME_NONE,
                                  .verified_from = -1,
                                  .last_epoch = -1};
}

void weft_segment_close(struct weft_segment *self)
{
    if (self->file) self->file->disk->ops->close(&self->file);
    if (self->index_file) self->index_file->disk->ops->close(&self->index_file);
}

weft_err_t weft_segment_open(struct weft_segment *self, const struct weft_disk *disk, const char *directory)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    if (self->file) return WEFT_OK;
    return disk->ops->open(disk, weft_log_path(path, directory, self->base_offset, ".log"), WEFT_OPEN_WRITE,
                           &self->file);
}

weft_err_t weft_segment_open_index(struct weft_segment *self, const struct weft_disk *disk, const char *directory)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    if (self->index_file) return WEFT_OK;
    return disk->ops->open(disk, weft_log_path(path, directory, self->base_offset, ".index"), WEFT_OPEN_CREATE,
                           &self->index_file);
}

void weft_segment_note(struct weft_segment *self, const struct weft_batch *batch)
{
    if (self->bytes == 0) self->first_timestamp_ms = batch->base_timestamp_ms;
    if (batch->max_timestamp_ms > self->max_timestamp_ms) self->max_timestamp_ms = batch->max_timestamp_ms;
    self->bytes += (int64_t) weft_batch_bytes(batch);
    self->end_offset = weft_batch_next_offset(batch);
    self->last_epoch = batch->leader_epoch;
}

// ---- index entries

static uint32_t s_crc(int64_t base_offset, const uint8_t *bytes, size_t size)
{
    uint8_t seed[8];
    weft_put_u64(seed, (uint64_t) base_offset);
    return weft_crc32c(weft_crc32c(0, seed, sizeof seed), bytes, size);
}

void weft_index_entry_write(uint8_t *at, int64_t base_offset, const struct weft_index_entry *entry)
{
    weft_put_u32(at, (uint32_t) (entry->offset - base_offset));
    weft_put_u32(at + 4, (uint32_t) entry->position);
    weft_put_u64(at + 8, (uint64_t) entry->max_before_ms);
    weft_put_u32(at + 16, (uint32_t) entry->epoch);
    weft_put_u32(at + 20, s_crc(base_offset, at, 20));
}

bool weft_index_entry_read(const uint8_t *at, int64_t base_offset, struct weft_index_entry *entry)
{
    if (weft_get_u32(at + 20) != s_crc(base_offset, at, 20)) return false;
    entry->offset = base_offset + weft_get_u32(at);
    entry->position = weft_get_u32(at + 4);
    entry->max_before_ms = (int64_t) weft_get_u64(at + 8);
    entry->epoch = (int32_t) weft_get_u32(at + 16);
    return true;
}

void weft_index_footer_write(uint8_t *at, const struct weft_segment *segment)
{
    weft_put_u32(at, S_FOOTER_MARK);
    weft_put_u32(at + 4, S_FOOTER_FORMAT);
    weft_put_u64(at + 8, (uint64_t) segment->end_offset);
    weft_put_u64(at + 16, (uint64_t) segment->bytes);
    weft_put_u64(at + 24, (uint64_t) segment->max_timestamp_ms);
    weft_put_u64(at + 32, (uint64_t) segment->first_timestamp_ms);
    weft_put_u32(at + 40, (uint32_t) segment->last_epoch);
    weft_put_u32(at + 44, s_crc(segment->base_offset, at, 44));
}

bool weft_index_footer_read(const uint8_t *at, struct weft_segment *segment)
{
    if (weft_get_u32(at) != S_FOOTER_MARK || weft_get_u32(at + 4) != S_FOOTER_FORMAT) return false;
    if (weft_get_u32(at + 44) != s_crc(segment->base_offset, at, 44)) return false;
    segment->end_offset = (int64_t) weft_get_u64(at + 8);
    segment->bytes = (int64_t) weft_get_u64(at + 16);
    segment->max_timestamp_ms = (int64_t) weft_get_u64(at + 24);
    segment->first_timestamp_ms = (int64_t) weft_get_u64(at + 32);
    segment->last_epoch = (int32_t) weft_get_u32(at + 40);
    return true;
}

struct weft_index_entry weft_index_origin(const struct weft_segment *segment)
{
    return (struct weft_index_entry){segment->base_offset, 0, WEFT_TIME_NONE, -1};
}

static weft_err_t s_entry_at(const struct weft_segment *segment, int64_t index, struct weft_index_entry *entry)
{
    uint8_t bytes[WEFT_INDEX_ENTRY_BYTES];
    size_t got;
    weft_err_t err = segment->index_file->disk->ops->pread(segment->index_file, bytes, sizeof bytes,
                                                           index * WEFT_INDEX_ENTRY_BYTES, &got);
    if (err) return err;
    bool good = got == sizeof bytes && weft_index_entry_read(bytes, segment->base_offset, entry);
    return good ? WEFT_OK : WEFT_ERR_DAMAGED;
}

weft_err_t weft_index_search(const struct weft_segment *segment, const struct weft_index_want *want, bool lenient,
                             struct weft_index_entry *entry, int64_t *index)
{
    int64_t low = -1, high = segment->index_count; // entry `low` is good (or the origin), `high` is beyond
    struct weft_index_entry best = weft_index_origin(segment);
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        struct weft_index_entry at;
        weft_err_t err = s_entry_at(segment, middle, &at);
        if (err && !(lenient && err == WEFT_ERR_DAMAGED)) return err;
        if (!err && weft_index_before(want, &at)) {
            low = middle;
            best = at;
        } else {
            high = middle;
        }
    }
    *entry = best;
    *index = low;
    return WEFT_OK;
}

// ---- walk

void weft_segment_walk_init(struct weft_segment_walk *self, weft_file_t *file, int64_t position, int64_t end)
{
    self->file = file;
    self->position = position;
    self->end = end;
    self->window_at = 0;
    self->window_size = 0;
}

weft_err_t weft_segment_header(weft_slice_t bytes, struct weft_batch *batch)
{
    if (bytes.size < WEFT_BATCH_HEADER_BYTES) return WEFT_ERR_DAMAGED;
    weft_err_t err = weft_batch_read(bytes, batch);
    if (err && err != WEFT_ERR_TRUNCATED) return WEFT_ERR_DAMAGED;
    bool sane = weft_batch_bytes(batch) <= WEFT_BATCH_BYTES_MAX && batch->base_offset >= 0 &&
                batch->base_offset <= WEFT_LOG_OFFSET_MAX;
    return sane ? WEFT_OK : WEFT_ERR_DAMAGED;
}

static weft_err_t s_window(struct weft_segment_walk *self)
{
    int64_t inside = self->position - self->window_at;
    if (self->window_size && inside >= 0 && inside + WEFT_BATCH_HEADER_BYTES <= (int64_t) self->window_size)
        return WEFT_OK;
    self->window_size = 0;
    size_t want = sizeof self->window;
    if (self->end - self->position < (int64_t) want) want = (size_t) (self->end - self->position);
    weft_err_t err = self->file->disk->ops->pread(self->file, self->window, want, self->position, &self->window_size);
    self->window_at = self->position;
    return err;
}

weft_err_t weft_segment_walk_peek(struct weft_segment_walk *self, struct weft_batch *batch)
{
    if (self->position >= self->end) return WEFT_ERR_NOT_FOUND;
    weft_err_t err = s_window(self);
    if (err) return err;
    size_t inside = (size_t) (self->position - self->window_at);
    struct weft_batch found;
    err = weft_segment_header(weft_slice(self->window + inside, self->window_size - inside), &found);
    if (err) return err;
    if (self->position + (int64_t) weft_batch_bytes(&found) > self->end) return WEFT_ERR_DAMAGED;
    *batch = found;
    return WEFT_OK;
}

weft_err_t weft_segment_walk_next(struct weft_segment_walk *self, struct weft_batch *batch)
{
    weft_err_t err = weft_segment_walk_peek(self, batch);
    if (!err) self->position += (int64_t) weft_batch_bytes(batch);
    return err;
}
