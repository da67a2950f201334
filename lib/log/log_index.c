// SPDX-License-Identifier: MPL-2.0
// The sparse index of a log's segments: gathered while appending, written 170 entries at a time, searched in memory and
// file, and built again from the batch headers when an entry turns out bad. An index never decides what the log holds;
// it only says where to begin looking.
#include "log_internal.h"

#include "../base/assert.h"
#include "../base/trace.h"

// Adds an entry for `batch`, about to stand behind all that `segment` has noted, when one is due.
void weft_index_gather(weft_buf_t *page, int64_t *since_bytes, int64_t interval_bytes, struct weft_segment *segment,
                       const struct weft_batch *batch)
{
    struct weft_index_entry entry = {batch->base_offset, segment->bytes, segment->max_timestamp_ms,
                                     batch->leader_epoch};
    bool fits =
        entry.position <= WEFT_SEGMENT_BYTES_MAX && entry.offset - segment->base_offset <= WEFT_SEGMENT_BYTES_MAX;
    if (segment->bytes && *since_bytes >= interval_bytes && fits) {
        weft_buf_reserve(page, WEFT_INDEX_ENTRY_BYTES);
        weft_index_entry_write(page->data + page->size, segment->base_offset, &entry);
        page->size += WEFT_INDEX_ENTRY_BYTES;
        *since_bytes = 0;
    }
    *since_bytes += (int64_t) weft_batch_bytes(batch);
    weft_segment_note(segment, batch);
}

void weft_log_index_note(weft_log_t *self, struct weft_segment *segment, const struct weft_batch *batch)
{
    weft_index_gather(&self->index_page, &self->index_since_bytes, self->config.index_interval_bytes, segment, batch);
    if (self->recovering || self->index_page.size < WEFT_LOG_PAGE_ENTRIES * WEFT_INDEX_ENTRY_BYTES) return;
    if (weft_log_index_flush(self, segment)) weft_buf_clear(&self->index_page); // a coarser index serves as well
}

weft_err_t weft_log_index_flush(weft_log_t *self, struct weft_segment *segment)
{
    if (self->index_page.size == 0) return WEFT_OK;
    bool made = segment->index_file == NULL;
    weft_err_t err = weft_segment_open_index(segment, self->disk, self->directory);
    if (err) return err;
    if (made && segment->index_count == 0) weft_log_directory_dirty(self, 1);
    weft_slice_t page = weft_buf_slice(&self->index_page);
    err = self->disk->ops->pwritev(segment->index_file, &page, 1, segment->index_count * WEFT_INDEX_ENTRY_BYTES);
    if (err) return err;
    segment->index_count += (int64_t) (page.size / WEFT_INDEX_ENTRY_BYTES);
    weft_buf_clear(&self->index_page);
    return WEFT_OK;
}

weft_err_t weft_log_index_seal(weft_log_t *self, struct weft_segment *segment)
{
    uint8_t footer[WEFT_INDEX_FOOTER_BYTES];
    weft_index_footer_write(footer, segment);
    weft_slice_t slice = weft_slice(footer, sizeof footer);
    int64_t at;
    weft_err_t err = weft_log_index_flush(self, segment);
    if (!err) err = weft_segment_open_index(segment, self->disk, self->directory);
    at = segment->index_count * WEFT_INDEX_ENTRY_BYTES;
    if (!err) err = self->disk->ops->pwritev(segment->index_file, &slice, 1, at);
    if (!err) err = self->disk->ops->truncate(segment->index_file, at + WEFT_INDEX_FOOTER_BYTES);
    weft_buf_clear(&self->index_page); // the page belongs to the next segment now
    self->index_since_bytes = 0;
    return err;
}

// ---- search

// The last entry of the page in memory that `want` allows; false: none.
static bool s_page_find(const weft_log_t *self, const struct weft_segment *segment, const struct weft_index_want *want,
                        struct weft_index_entry *entry)
{
    bool found = false;
    for (size_t at = 0; at < self->index_page.size; at += WEFT_INDEX_ENTRY_BYTES) {
        struct weft_index_entry next;
        bool good = weft_index_entry_read(self->index_page.data + at, segment->base_offset, &next);
        weft_assert(good);
        if (!weft_index_before(want, &next)) break;
        *entry = next;
        found = true;
    }
    return found;
}

static weft_err_t s_rewrite(struct weft_segment *segment, weft_slice_t entries)
{
    uint8_t footer[WEFT_INDEX_FOOTER_BYTES];
    weft_index_footer_write(footer, segment);
    const weft_slice_t slices[2] = {entries, weft_slice(footer, sizeof footer)};
    const struct weft_disk_ops *ops = segment->index_file->disk->ops;
    weft_err_t err = ops->truncate(segment->index_file, 0);
    if (!err) err = ops->pwritev(segment->index_file, slices, segment->sealed ? 2 : 1, 0);
    segment->index_count = err ? 0 : (int64_t) (entries.size / WEFT_INDEX_ENTRY_BYTES);
    return err;
}

// Builds the index again from the headers. They are not verified: whoever reads the batches does that.
static weft_err_t s_rebuild(weft_log_t *self, struct weft_segment *segment)
{
    struct weft_segment_walk walk;
    struct weft_segment noted;
    struct weft_batch batch;
    weft_buf_t page;
    int64_t since = 0;
    weft_buf_init(&page);
    weft_segment_init(&noted, segment->base_offset);
    weft_segment_walk_init(&walk, segment->file, 0, segment->bytes);
    weft_err_t err;
    while (!(err = weft_segment_walk_next(&walk, &batch)))
        weft_index_gather(&page, &since, self->config.index_interval_bytes, &noted, &batch);
    if (err == WEFT_ERR_NOT_FOUND) err = weft_segment_open_index(segment, self->disk, self->directory);
    if (!err) err = s_rewrite(segment, weft_buf_slice(&page));
    if (!err && !segment->sealed) {
        weft_buf_clear(&self->index_page);
        self->index_since_bytes = since;
    }
    weft_buf_fini(&page);
    return err;
}

weft_err_t weft_log_use(weft_log_t *self, struct weft_segment *segment)
{
    weft_err_t err = weft_segment_open(segment, self->disk, self->directory);
    if (err) return err == WEFT_ERR_NOT_FOUND ? WEFT_ERR_DAMAGED : err;
    if (!segment->sealed) return WEFT_OK;
    for (size_t i = 0; i < WEFT_LOG_READERS; i++)
        if (self->readers[i] == segment->base_offset) return WEFT_OK;
    // The oldest reader's files are closed: at most a handful of descriptors a log.
    int64_t oldest = self->readers[self->reader_next];
    if (oldest >= 0 && oldest >= self->segments[0].base_offset) {
        struct weft_segment *other = weft_log_segment_of(self, oldest);
        if (other->sealed && other->base_offset == oldest) weft_segment_close(other);
    }
    self->readers[self->reader_next] = segment->base_offset;
    self->reader_next = (self->reader_next + 1) % WEFT_LOG_READERS;
    return WEFT_OK;
}

// The checksum says that an entry was written for this segment, the batch it points at that it still holds.
static weft_err_t s_confirm(struct weft_segment *segment, const struct weft_index_entry *entry)
{
    struct weft_segment_walk walk;
    struct weft_batch batch;
    if (entry->position == 0) return WEFT_OK;
    weft_segment_walk_init(&walk, segment->file, entry->position, segment->bytes);
    weft_err_t err = weft_segment_walk_peek(&walk, &batch);
    return !err && batch.base_offset != entry->offset ? WEFT_ERR_DAMAGED : err;
}

static weft_err_t s_search(weft_log_t *self, struct weft_segment *segment, const struct weft_index_want *want,
                           struct weft_index_entry *entry)
{
    int64_t index;
    if (segment->index_count == 0) return WEFT_OK;
    weft_err_t err = weft_segment_open_index(segment, self->disk, self->directory);
    if (!err) err = weft_index_search(segment, want, false, entry, &index);
    return err ? err : s_confirm(segment, entry);
}

// The index can't be built again, as where a batch is damaged: what it holds is all that leads behind the damage. An
// entry with a good checksum is taken unconfirmed: whoever reads there finds the batch that he wants, or DAMAGED.
static void s_search_unconfirmed(weft_log_t *self, struct weft_segment *segment, const struct weft_index_want *want,
                                 struct weft_index_entry *entry)
{
    int64_t index;
    if (segment->index_count == 0 || weft_segment_open_index(segment, self->disk, self->directory)) return;
    if (weft_index_search(segment, want, true, entry, &index)) *entry = weft_index_origin(segment);
}

weft_err_t weft_log_index_find(weft_log_t *self, struct weft_segment *segment, struct weft_index_want want,
                               struct weft_index_entry *entry)
{
    weft_err_t err = weft_log_use(self, segment);
    if (err) return err;
    *entry = weft_index_origin(segment);
    if (!segment->sealed && s_page_find(self, segment, &want, entry)) return WEFT_OK;
    if (segment->index_bad) {
        s_search_unconfirmed(self, segment, &want, entry);
        return WEFT_OK;
    }
    if (!s_search(self, segment, &want, entry)) return WEFT_OK;

    weft_trace(WEFT_TRACE_WARN, "log", "the index of %s/%020lld.log is bad; it is built again from the batches",
               self->directory, (long long) segment->base_offset);
    err = s_rebuild(self, segment);
    *entry = weft_index_origin(segment);
    if (!err) err = s_search(self, segment, &want, entry);
    if (err) {
        segment->index_bad = true;
        *entry = weft_index_origin(segment);
        s_search_unconfirmed(self, segment, &want, entry);
    }
    return WEFT_OK;
}

weft_err_t weft_log_index_cut(weft_log_t *self, struct weft_segment *segment, int64_t offset)
{
    struct weft_index_want want = {.by_time = false, .bound = offset - 1};
    struct weft_index_entry entry;
    int64_t index, bytes;
    weft_buf_clear(&self->index_page); // what it held below `offset` makes the index coarser, no more
    self->index_since_bytes = 0;
    weft_err_t err = weft_segment_open_index(segment, self->disk, self->directory);
    if (!err) err = weft_index_search(segment, &want, true, &entry, &index);
    if (err) return err;
    segment->index_count = index + 1;
    err = self->disk->ops->size(segment->index_file, &bytes);
    if (err || bytes == segment->index_count * WEFT_INDEX_ENTRY_BYTES) return err;
    err = self->disk->ops->truncate(segment->index_file, segment->index_count * WEFT_INDEX_ENTRY_BYTES);
    if (!err) err = self->disk->ops->sync(segment->index_file);
    return err;
}
